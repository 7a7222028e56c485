"""MADE: an autoencoder whose connections are cut until it is autoregressive, and mixtures over orderings of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive, Step
from lvmlib.autoregressive.reading import vector_size
from lvmlib.base import Density
from lvmlib.checks import check_count
from lvmlib.networks import MaskedMLP

FEW, LITTLE = 8, 300_000  # positions, and rows times weights, up to which drawing without a cache was measured faster


class MADE(Autoregressive):
    r"""A masked autoencoder for distribution estimation.

    One `MaskedMLP` reads x and gives the parameters of all conditionals at once; its masks leave no path from a
    position to itself or to an earlier one:

    .. math:: \log p(x) = \sum_t \log p(x_{o_t} \mid \theta_t(x_{o_1}, \dots, x_{o_{t-1}}))

    The network sees levels spread over [-1, 1], one number for each entry. That suits values with an order, such as
    grey levels; for codes without one take a model that embeds them, such as `RNN`, or `PixelCNN` with `embedding`.

    With several mask sets the same weights serve many orderings and connectivities: in training mode each call of
    `log_prob` goes on to the next set, and a step of training sees one of them. In evaluation mode the set stays as it
    is, until `use` chooses another. `OrderingMixture` averages over all of them. Where that is what will be used,
    early stopping must look at it too, and not at the set that training happened to stand at: `mixture_loss`.

    Args:
        event_shape: shape of one example, with D entries in all.
        hidden: widths of the hidden layers.
        levels, logistics: see `Autoregressive`.
        order: see `Autoregressive`; all mask sets keep to it.
        context: number of entries of a context vector, or of classes; None for a model without context.
        degrees: "even" or "random", how many inputs each hidden unit may see; see `MaskedMLP`.
        masks: number of mask sets.
        seed: of what is drawn for masks; the weights come from torch's generator.
        activation: makes the nonlinearity.
        residual: add to each hidden layer but the first the layer below it.
        direct: connect each position with all positions before it by a linear map as well, an `FVSBN` beside the
            hidden layers. Worth having where these are narrower than the input.

    Raises:
        ValueError: an empty layer, or an argument out of range.

    Example:
        >>> import torch
        >>> from lvmlib import MADE
        >>> made = MADE((1, 28, 28), hidden=(64, 64))
        >>> made.log_prob(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5])
        >>> made.sample(2).shape
        torch.Size([2, 1, 28, 28])

    Source: Germain et al. 2015, *MADE: Masked Autoencoder for Distribution Estimation*.
    """

    @torch.inference_mode(False)  # as above all of weights: a MADE built for inference can be trained afterwards
    def __init__(
        self,
        event_shape: Sequence[int],
        hidden: Sequence[int] = (512, 512),
        levels: int = 2,
        logistics: int = 0,
        context: int | None = None,
        order: Sequence[int] | Tensor | None = None,
        degrees: str = "even",
        masks: int = 1,
        seed: int = 0,
        activation: Callable[[], nn.Module] = nn.ReLU,
        residual: bool = False,
        direct: bool = False,
    ):
        super().__init__(event_shape, levels, logistics, context, order)
        masks = check_count(masks, "masks", "counts mask sets")
        context = vector_size(self.context_shape, type(self).__name__)
        if order is not None or masks == 1:
            order = self.order
        self.net = MaskedMLP(
            self.dims, hidden, self.family.size, context, order, degrees, masks, seed, activation, residual, direct
        )
        if order is None:
            self.net.orders[0] = self.order  # the first set has the default order, as without masks
        self.use(0)
        self.register_load_state_dict_post_hook(_follow_masks)

    @property
    def masks(self) -> int:
        """Number of mask sets."""
        return len(self.net.orders)

    def use(self, mask_set: int) -> None:
        """Choose the mask set, and with it the order, that every method uses from now on.

        Raises:
            ValueError: there is no such set.
        """
        with torch.inference_mode(False):  # masks made in inference mode could never be trained with
            self.net.use(mask_set)
            self.order = self.net.order

    def encode(self, x: Tensor) -> Tensor:
        """Bits stay 0 and 1, more levels span [-1, 1].

        Most bits are 0 in the pictures of this book, and an input of 0 moves no weight: with -1 in its place each of
        hundreds of empty pixels would act as one more bias, and training goes far worse.
        """
        return x.to(self.dtype) if self.levels == 2 else super().encode(x)

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One pass through the masked network."""
        return self.net(self.encode(x.flatten(1)), context).unflatten(2, self.event_shape)

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """Each hidden unit once, as soon as its inputs are drawn; see `MaskedMLP.steps`.

        For few positions and little arithmetic whole passes are faster than the preparations for anything else.
        """
        if self.dims <= FEW and n * sum(p.numel() for p in self.net.parameters()) <= LITTLE:
            return super().steps(n, context)
        forward, order, seen = self.net.steps(n, context), self.order.tolist(), 0

        def step(t: int, x: Tensor) -> Tensor:
            nonlocal seen
            new = x[:, order[seen]] if t == seen + 1 else x[:, self.order[seen:t]]  # at first, all that is known
            seen = t
            return forward(t, self.encode(new) if t else None)

        return step

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """See `Autoregressive.log_prob`; in training mode it goes on to the next mask set first."""
        if self.training and self.masks > 1:
            self.use((int(self.net.mask_set) + 1) % self.masks)
        return super().log_prob(x, context)


def mixture_loss(made: MADE, batch: Any) -> Tensor:
    """Minus the log-probability under the mixture of all mask sets: what `fit` validates with, as its `valid_loss`.

    Args:
        made: a `MADE` with several mask sets.
        batch: x [B, \\*event_shape], or (x, context).

    Returns:
        [B], nats.

    Example:
        >>> import torch
        >>> from lvmlib import MADE
        >>> from lvmlib.autoregressive.made import mixture_loss
        >>> made = MADE((1, 8, 8), hidden=(32,), masks=4)
        >>> mixture_loss(made, torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5])
    """
    x, context = batch if isinstance(batch, (tuple, list)) else (batch, None)
    return -OrderingMixture(made).log_prob(x, context)


def _follow_masks(made: MADE, _: object) -> None:
    made.use(int(made.net.mask_set))


class OrderingMixture(Density):
    r"""The mixture of the densities that one `MADE` has under its mask sets.

    .. math:: p(x) = \frac1S \sum_{s=1}^{S} p_s(x)

    The average is over probabilities of whole examples. Averaging the logits of each position over orderings gives
    something else, which does not sum to 1. As a mixture of products over several orders it has no `conditionals`
    that are computed in one pass.

    Args:
        made: a `MADE` with several mask sets, best trained with them.

    Raises:
        ValueError: it has one mask set only.

    Example:
        >>> import torch
        >>> from lvmlib import MADE, OrderingMixture
        >>> mixture = OrderingMixture(MADE((1, 8, 8), hidden=(32,), masks=4))
        >>> mixture.log_prob(torch.zeros(5, 1, 8, 8)).shape, mixture.sample(3).shape
        (torch.Size([5]), torch.Size([3, 1, 8, 8]))

    Source: Germain et al. 2015, section 4.2; Uria, Murray and Larochelle 2014, *A Deep and Tractable Density
    Estimator*, for ensembles of orderings.
    """

    def __init__(self, made: MADE):
        if made.masks < 2:
            raise ValueError("A mixture over orderings needs a MADE with two or more mask sets; build it with masks=8.")
        super().__init__(made.event_shape)
        self.made = made
        self.support = made.support

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-mean-exp of the log-probabilities under all mask sets, at the cost of as many passes.

        Args:
            x: [B, \\*event_shape], values in {0, ..., levels - 1}.
            context: [B, C], class labels [B], or None.

        Returns:
            [B], nats.
        """
        x = self.made.check(x)
        each = [self.made.conditionals(x, context).log_prob(x) for _ in self._sets()]
        return torch.stack(each).logsumexp(0) - math.log(len(each))

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0, cache: bool = True) -> Tensor:
        """Choose a mask set for each draw, and draw from it.

        Args:
            n: how many.
            context: [n, C], class labels [n], or None.
            temperature: as in `Autoregressive.sample`, within each mask set.
            cache: as in `Autoregressive.sample`.

        Returns:
            [n, \\*event_shape].
        """
        n = check_count(n, "n")
        context = self.made.read_context(context, n)
        device = self.made.order.device
        chosen = torch.randint(self.made.masks, (n,), device=device)
        x = torch.empty(n, *self.event_shape, dtype=self.made.value_dtype, device=device)
        for s in self._sets():
            rows = (chosen == s).nonzero()[:, 0]
            if len(rows):
                part = None if context is None else context[rows]
                x[rows] = self.made.sample(len(rows), part, temperature, cache)
        return x

    def _sets(self) -> Iterator[int]:
        """Go through the mask sets, and back to the one that was in use."""
        before = int(self.made.net.mask_set)
        try:
            for s in range(self.made.masks):
                self.made.use(s)
                yield s
        finally:
            self.made.use(before)
