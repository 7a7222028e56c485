"""What every autoregressive model shares: the chain rule in one pass, and sampling that computes nothing twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Independent

from lvmlib.autoregressive.families import family_of
from lvmlib.base import Density
from lvmlib.checks import check_batch, check_context

Step = Callable[[int, Tensor], Tensor]
"""``step(t, x) -> [n, P]``: parameters of position ``order[t]`` from ``x`` [n, D], which is filled in before it."""


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
        self.levels = levels
        if context is None:
            self.context_shape: torch.Size | None = None
        else:
            self.context_shape = torch.Size((context,) if isinstance(context, int) else tuple(context))
        # The default follows from the shape; left out, weights that do not depend on the length fit any length.
        self.register_buffer("order", _checked_order(order, self.event_shape), persistent=order is not None)

    @property
    def dims(self) -> int:
        """Number of entries of one example, D."""
        return math.prod(self.event_shape)

    # -- what a subclass defines -------------------------------------------------------------------------------------

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Parameters of all conditionals in one pass; those of a position depend on the positions before it only.

        Args:
            x: [B, \\*event_shape], whole numbers in the dtype of the weights.
            context: [B, \\*context_shape] in that dtype, or None.

        Returns:
            [B, P, \\*event_shape].
        """
        raise TypeError(f"{type(self).__name__} does not define predict(x, context).")

    def steps(self, n: int, context: Tensor | None = None) -> Step:
        """Begin `n` examples and return ``step(t, x)``, to be called for t = 0, 1, ..., D - 1 in this order.

        Each call returns the parameters [n, P] of position ``order[t]``, reading ``x`` [n, D] at the positions before
        it. A subclass keeps what it has computed between the calls; this one computes everything anew.
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
            [n, \\*event_shape], whole numbers in the dtype of the weights.

        Raises:
            ValueError: a temperature that is not positive, or a prefix of another shape or range.
        """
        known = self._check_prefix(prefix, n)
        values = torch.zeros(n, self.dims, dtype=self.dtype, device=self.order.device)
        kept = torch.zeros_like(values, dtype=torch.bool)
        start = self.order[: known.shape[1]]
        values[:, start], kept[:, start] = known, True
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
        n = len(values)
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, but it is {temperature}.")
        context = self.read_context(context, n)
        step = self.steps(n, context) if cache else Autoregressive.steps(self, n, context)
        x = torch.zeros_like(values)
        u = torch.rand(self.dims, n, 2, dtype=x.dtype, device=x.device)
        all_kept, any_kept = kept.all(0).tolist(), kept.any(0).tolist()
        for t, position in enumerate(self.order.tolist()):
            outputs = step(t, x)
            if all_kept[position]:
                x[:, position] = values[:, position]
                continue
            drawn = self.family.draw(outputs, u[t], temperature)
            x[:, position] = drawn.where(~kept[:, position], values[:, position]) if any_kept[position] else drawn
        return x.view(n, *self.event_shape)

    def complete(
        self, x: Tensor, known: int, context: Tensor | None = None, temperature: float = 1.0, cache: bool = True
    ) -> Tensor:
        """Keep the first `known` positions (in the model's order) of each example and draw the others.

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
        if not 0 <= known <= self.dims:
            raise ValueError(f"known counts positions to keep, 0 to {self.dims}, but it is {known}.")
        x = self.check(x)
        return self.sample(len(x), context, temperature, cache, prefix=x.flatten(1)[:, self.order[:known]])

    # -- what both share ---------------------------------------------------------------------------------------------

    def _outputs(self, x: Tensor, context: Tensor | None) -> Tensor:
        """What `predict` gives for checked examples, in the dtype of the weights: autocast computes in bfloat16."""
        return self.predict(x, self.read_context(context, len(x))).to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that the model computes in."""
        return next(p.dtype for p in self.parameters())

    def check(self, x: Tensor) -> Tensor:
        """Raise unless `x` holds examples of this model; return them in the dtype of the weights."""
        check_batch(x, self.event_shape)
        self.check_values(x, "x")
        return x.to(self.order.device, self.dtype)

    def check_values(self, x: Tensor, name: str) -> None:
        """Raise `ValueError` unless all values are whole numbers from 0 to levels - 1."""
        # The common case in few passes, since this runs in every step of training: x - x^2 = 0 for bits alone.
        if x.is_floating_point():
            if self.levels == 2:
                fits = not torch.addcmul(x, x, x, value=-1).count_nonzero()
            else:
                fits = torch.equal(x, x.round().clamp_(0, self.levels - 1))
            if fits:
                return
        outside = (x < 0) | (x > self.levels - 1)
        if x.is_floating_point():
            outside = outside | (x != x.round())  # nan is unequal to itself
        if outside.any():
            hint = " Load the data with binarize='stochastic' or 'static'." if self.levels == 2 else ""
            raise ValueError(
                f"{name} must hold whole numbers from 0 to {self.levels - 1}, but {int(outside.sum())} of {x.numel()} "
                f"values are others, such as {x[outside][0].item():g}.{hint}"
            )

    def encode(self, x: Tensor) -> Tensor:
        """Bring whole numbers into [-1, 1], the range that the networks see.

        No bit is 0 then, so that a convolution can tell the zeros around a picture from the black pixels in it. Fully
        connected networks have no border, and choose other numbers.
        """
        return x * (2 / (self.levels - 1)) - 1

    def read_context(self, context: Tensor | None, rows: int) -> Tensor | None:
        """Check a context and bring it into the dtype of the weights; class labels become one-hot rows.

        Raises:
            ValueError: another shape than the model was built for, labels out of range, or a context for a model
                without one.
        """
        if context is None:
            return None
        check_context(context, rows)
        if self.context_shape is None:
            raise ValueError(
                f"This {type(self).__name__} was built without a context; pass context=<number of classes or shape>."
            )
        if context.dim() == 1 and not context.is_floating_point() and len(self.context_shape) == 1:
            classes = self.context_shape[0]
            if context.min() < 0 or context.max() >= classes:
                raise ValueError(
                    f"Class labels must be 0 to {classes - 1}, but they reach from {context.min()} to {context.max()}."
                )
            context = F.one_hot(context.long(), classes)
        if context.shape[1:] != self.context_shape:
            raise ValueError(
                f"context must have shape [{rows}, {', '.join(map(str, self.context_shape))}], or hold class labels, "
                f"but it has {list(context.shape)}."
            )
        return context.to(self.order.device, self.dtype)

    def _check_prefix(self, prefix: Tensor | None, n: int) -> Tensor:
        if not (n >= 1 and n % 1 == 0):
            raise ValueError(f"n counts draws and must be a whole number, 1 or more, but it is {n}.")
        if prefix is None:
            prefix = torch.zeros(n, 0)
        if prefix.dim() != 2 or len(prefix) != n or prefix.shape[1] > self.dims:
            raise ValueError(
                f"prefix must have shape [{n}, m] with m at most {self.dims}, but it has {list(prefix.shape)}."
            )
        self.check_values(prefix, "prefix")
        return prefix.to(self.order.device, self.dtype)


def raster_order(event_shape: Sequence[int]) -> Tensor:
    """Flat positions pixel by pixel and line by line, the channels of a pixel one after another; [D].

    For a shape that is not (C, H, W) the positions stay as they are stored.

    Example:
        >>> raster_order((2, 1, 3))            # stored channel by channel, drawn pixel by pixel
        tensor([0, 3, 1, 4, 2, 5])
    """
    positions = torch.arange(math.prod(event_shape))
    if len(event_shape) != 3:
        return positions
    return positions.view(*event_shape).permute(1, 2, 0).flatten()


def _checked_order(order: Sequence[int] | Tensor | None, event_shape: Sequence[int]) -> Tensor:
    if order is None:
        return raster_order(event_shape)
    order = torch.as_tensor(order).long()
    dims = math.prod(event_shape)
    if order.dim() != 1 or sorted(order.tolist()) != list(range(dims)):
        raise ValueError(f"order must name each of the {dims} positions 0..{dims - 1} once, but it is {order}.")
    return order
