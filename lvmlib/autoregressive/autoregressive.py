"""What every autoregressive model shares: the chain rule in one pass, and sampling that computes nothing twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from lvmlib.autoregressive.families import family_of
from lvmlib.autoregressive.reading import (
    check_levels,
    check_prefix,
    raster_order,
    read_context,
    read_order,
)
from lvmlib.autoregressive.watching import dtype_at_hand, without_dropout
from lvmlib.base import Density
from lvmlib.checks import check_batch, check_count, check_sizes, check_temperature

Step = Callable[[int, Tensor], Tensor]
"""``step(t, x) -> [n, P]``, parameters of position ``order[t]`` from ``x`` [n, D], which is filled in before it."""


class Autoregressive(Density):
    r"""A distribution as a product of conditionals, one for each position of an example, in a fixed order.

    .. math:: \log p(x) = \sum_{t=1}^{D} \log p(x_{o_t} \mid x_{o_1}, \dots, x_{o_{t-1}})

    A subclass defines `predict`, which computes the parameters of all conditionals in one pass. To sample without
    computing an activation twice it also defines `steps`.

    Args:
        event_shape: shape of one example, with D entries in all.
        levels: number of values of one entry: {0, ..., levels - 1}.
        logistics: 0, each conditional is a free table (a coin for two levels, else a categorical variable); M, it is a
            mixture of M discretized logistics.
        context: number of entries of a context vector, or its shape; None for a model without context. A vector of
            whole numbers [B] is read as class labels and turned into one-hot rows.
        order: [D], the flat positions in the order in which they are drawn; pixel by pixel, line by line and the
            channels of a pixel one after another by default.

    Raises:
        ValueError: the order is no permutation, or a number of levels or components is out of range.

    Source: Frey 1998, *Graphical Models for Machine Learning and Digital Communication*; Bengio and Bengio 2000.
    """

    order: Tensor
    _dtype: torch.dtype | None = None  # `dtype_at_hand` sets it in an instance
    start_costs_a_pass = True
    """Whether `steps` behind known positions begins with a pass; a model that only looks at them says False."""

    def __init__(
        self,
        event_shape: Sequence[int],
        levels: int = 2,
        logistics: int = 0,
        context: int | Sequence[int] | None = None,
        order: Sequence[int] | Tensor | None = None,
    ):
        super().__init__(event_shape)
        self.family = family_of(levels, logistics)
        self.support = self.family.support
        self.levels = self.family.levels
        if context is None:
            self.context_shape: torch.Size | None = None
        else:
            several = isinstance(context, Sequence) or (hasattr(context, "ndim") and context.ndim > 0)
            self.context_shape = check_sizes(context if several else (context,), "context")
        # The default follows from the shape; left out, weights that do not depend on the length fit any length.
        flat = raster_order(self.event_shape) if order is None else read_order(order, self.event_shape)
        self.register_buffer("order", flat, persistent=order is not None)

    @property
    def dims(self) -> int:
        """Number of entries of one example, D."""
        return math.prod(self.event_shape)

    # -- what a subclass defines -------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Bring whole numbers into [-1, 1], the range that the networks see.

        No bit is 0 then, so that a convolution can tell the zeros around a picture from the black pixels in it. Fully
        connected networks have no border, and choose other numbers.
        """
        return (x * (2 / (self.levels - 1)) - 1).to(self.dtype)

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Parameters of all conditionals in one pass; those of a position depend on the positions before it only.

        Args:
            x: [B, \\*event_shape], whole numbers in the dtype of the weights (float32 where that is shorter).
            context: [B, \\*context_shape] in that dtype, or None.

        Returns:
            [B, P, \\*event_shape].
        """
        raise TypeError(f"{type(self).__name__} does not define predict(x, context).")

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """Begin `n` examples and return ``step(t, x)``, to be called for t = known, known + 1, ..., D - 1 in turn.

        Each call returns the parameters [n, P] of position ``order[t]``, reading ``x`` [n, D] at the positions before
        it. A subclass keeps what it has computed between the calls; this one computes everything anew.

        Args:
            n: how many.
            context: [n, \\*context_shape], or None.
            x: [n, D], flat, which holds the values of the positions that are known at the beginning; None for none.
            known: how many there are, the first of the order. A subclass reads them in one pass and not step by step.
        """
        order = self.order.tolist()

        def step(t: int, x: Tensor) -> Tensor:
            return self.predict(x.view(n, *self.event_shape), context).flatten(2)[:, :, order[t]]

        return step

    # -- what a user calls -------------------------------------------------------------------------------------------

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """The conditional distributions of all positions, each given the true values of those before it.

        Args:
            x: [B, \\*event_shape], values in {0, ..., levels - 1}.
            context: [B, \\*context_shape], class labels [B], or None.

        Returns:
            Batch shape [B], event shape `event_shape`.
        """
        outputs = self._outputs(self.check(x), context)
        return Independent(self.family.distribution(outputs), len(self.event_shape))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-probability of each example, the sum of its conditionals.

        Args:
            x: [B, \\*event_shape], values in {0, ..., levels - 1}.
            context: [B, \\*context_shape], class labels [B], or None.

        Returns:
            [B], nats.

        Raises:
            ValueError: another shape, or values that are no whole numbers in that range.
        """
        x = self.check(x)
        return self.family.log_prob(self._outputs(x, context), x)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        context: Tensor | None = None,
        temperature: float = 1.0,
        cache: bool = True,
        prefix: Tensor | None = None,
    ) -> Tensor:
        """Draw `n` examples, position by position, without gradient.

        Args:
            n: how many.
            context: [n, \\*context_shape], class labels [n], or None.
            temperature: divides the logits (and multiplies the scales of logistics); below 1 the draws are more
                probable and less varied.
            cache: keep what was computed for earlier positions; False computes everything anew for each position.
                From the same seed both draw the same examples.
            prefix: [n, m], values of the first m positions of the order, which are kept.

        Returns:
            [n, \\*event_shape], whole numbers in the dtype of the weights (float32 where that is shorter).

        Raises:
            ValueError: a temperature that is not positive, or a prefix of another shape or range.
        """
        n = check_count(n, "n")
        prefix = torch.zeros(n, 0) if prefix is None else prefix
        check_prefix(prefix, n, self.dims)
        self.check_values(prefix, "prefix")
        values = torch.zeros(n, self.dims, dtype=self.value_dtype, device=self.order.device)
        kept = torch.zeros_like(values, dtype=torch.bool)
        start = self.order[: prefix.shape[1]]
        values[:, start], kept[:, start] = prefix.to(values), True
        return self.fill(values, kept, context, temperature, cache)

    @torch.no_grad()
    def fill(
        self,
        values: Tensor,
        kept: Tensor,
        context: Tensor | None = None,
        temperature: float = 1.0,
        cache: bool = True,
    ) -> Tensor:
        """Walk the order once: keep a value where `kept` says so, draw it everywhere else.

        What is drawn depends on the kept values that come before it in the order, and on no later one. It is therefore
        a draw from the model given the kept values only where these are the first of the order, as in `sample` and
        `complete`, or where the context tells of them, as in `Inpainting`.

        Args:
            values: [n, D], flat, whole numbers in {0, ..., levels - 1}.
            kept: [n, D], True where the value is kept.
            context: [n, \\*context_shape], class labels [n], or None.
            temperature: as in `sample`.
            cache: as in `sample`.

        Returns:
            [n, \\*event_shape].
        """
        temperature = check_temperature(temperature)
        n = len(values)
        context = self.read_context(context, n)
        x = values.to(self.value_dtype).where(kept, 0)  # may hold later values: no parameter depends on them
        u = torch.rand(self.dims, n, 2, dtype=x.dtype, device=x.device)
        some_kept, order = kept.any(0).tolist(), self.order.tolist()
        drawn = (~kept).any(0)[self.order].tolist()  # [D], in the order of drawing: whether it is for any example
        places = [t for t, some in enumerate(drawn) if some]
        if not places or (len(places) == 1 and self.start_costs_a_pass):
            cache = False  # a single position needs that pass and nothing kept for others
        first = places[0] if places else 0
        given = (x, first) if first else ()
        with without_dropout(self), dtype_at_hand(self):
            step = self.steps(n, context, *given) if cache else Autoregressive.steps(self, n, context)
            for t in range(first, places[-1] + 1) if cache else places:
                outputs = step(t, x)
                if drawn[t]:
                    here, value = order[t], self.family.draw(outputs, u[t], temperature)
                    x[:, here] = x[:, here].where(kept[:, here], value) if some_kept[here] else value
        return x.view(n, *self.event_shape)

    def complete(
        self, x: Tensor, known: int, context: Tensor | None = None, temperature: float = 1.0, cache: bool = True
    ) -> Tensor:
        """Keep the first `known` positions (in the model's order) of each example and draw the others.

        What is kept is read in one pass, and in a pixel model the row in which it ends is walked again.

        Args:
            x: [B, \\*event_shape].
            known: how many positions to keep, 0 to D.
            context: [B, \\*context_shape], class labels [B], or None.
            temperature: as in `sample`.
            cache: as in `sample`.

        Returns:
            [B, \\*event_shape].

        Raises:
            ValueError: more positions than there are.
        """
        known = check_count(known, "known", "counts positions to keep", least=0)
        if known > self.dims:
            raise ValueError(f"known counts positions to keep, 0 to {self.dims}, but it is {known}.")
        x = self.check(x)
        return self.sample(len(x), context, temperature, cache, prefix=x.flatten(1)[:, self.order[:known]])

    # -- what both share ---------------------------------------------------------------------------------------------

    def _outputs(self, x: Tensor, context: Tensor | None) -> Tensor:
        """What `predict` gives for checked examples, at the precision of the values: autocast computes in bfloat16."""
        return self.predict(x, self.read_context(context, len(x))).to(x.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return self._dtype or next(p.dtype for p in self.parameters())

    @property
    def value_dtype(self) -> torch.dtype:
        """The type of values and log-probabilities, that of the weights but float32 at least."""
        return torch.promote_types(self.dtype, torch.float32)

    def check(self, x: Tensor) -> Tensor:
        """Raise unless `x` holds examples of this model; return them in the type of values."""
        check_batch(x, self.event_shape)
        self.check_values(x, "x")
        return x.to(self.order.device, self.value_dtype)

    def check_values(self, x: Tensor, name: str) -> None:
        """Raise `ValueError` unless all values are whole numbers from 0 to levels - 1."""
        check_levels(x, self.levels, name)

    def read_context(self, context: Tensor | None, rows: int) -> Tensor | None:
        """Check a context and bring it into the dtype of the weights; class labels become one-hot rows.

        Raises:
            ValueError: another shape than the model was built for, labels out of range, no context for a model that
                was built with one, or a context for a model without.
        """
        context = read_context(context, self.context_shape, rows, type(self).__name__)
        return None if context is None else context.to(self.order.device, self.dtype)
