"""Couplings: some entries pass, and a network that reads them decides how the others move."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lvmlib.base import Transform
from lvmlib.checks import check_sizes
from lvmlib.flows.conditioners import Maker, default_maker
from lvmlib.flows.door import beside, check_input, context_entries, read_context
from lvmlib.flows.elements import Element, Scale, Shift
from lvmlib.flows.masks import read_mask
from lvmlib.flows.spline import Spline


class Coupling(Transform):
    r"""Entries a of the mask pass; the others, b, move by an element whose parameters a network computes from a.

    .. math:: z_a = x_a, \qquad z_b = g(x_b; \theta(x_a)), \qquad
        \log \left| \det \frac{\partial z}{\partial x} \right| = \sum_b \log g'(x_b; \theta_b(x_a))

    The network never has to be inverted. Where the mask treats all entries of a channel alike (masks of vectors,
    channel masks), the network reads the entries that pass and gives parameters of the others only. Under any other
    mask, a checkerboard, it reads the whole example with zeros in the places of the others.

    Args:
        event_shape: (D,) or (C, H, W).
        element: how entries move.
        network: makes the network, ``network(inputs, outputs)``, with numbers of entries (vectors) or channels
            (pictures); a perceptron or convolutions by default. See `lvmlib.flows.conditioners`.
        mask: "half" (first entries, or first channels; "channel" says the same), "checkerboard", or a tensor, true
            where an entry passes.
        swap: let those move that would pass, and the other way round.
        context: number of entries of a context vector (of channels, for one of height H and width W), or None.

    Raises:
        ValueError: a mask that passes all or nothing, or does not fit.

    Example:
        >>> import torch
        >>> from lvmlib.flows import Coupling, Shift
        >>> layer = Coupling((4,), Shift())
        >>> z, log_det = layer(torch.ones(3, 4))
        >>> z[0, :2].tolist(), log_det
        ([1.0, 1.0], tensor([0., 0., 0.]))

    Source: Dinh et al. 2015, *NICE: Non-linear Independent Components Estimation*, section 3.2.
    """

    event_shape: torch.Size
    order: Tensor
    back: Tensor
    mask: Tensor

    def __init__(
        self,
        event_shape: Sequence[int],
        element: Element,
        network: Maker | None = None,
        mask: str | Tensor = "half",
        swap: bool = False,
        context: int | None = None,
    ):
        super().__init__()
        self.event_shape, self.element, self.context = check_sizes(event_shape), element, context_entries(context)
        passes = read_mask(mask, self.event_shape, swap, type(self).__name__)
        by_channel = passes.flatten(1).all(1) if passes.dim() > 1 else passes
        self.split = bool((passes.flatten(1) == by_channel[:, None]).all()) if passes.dim() > 1 else True
        flat = passes.flatten()
        self.kept = int(flat.sum())
        order = torch.cat([flat.nonzero()[:, 0], (~flat).nonzero()[:, 0]])
        plain = torch.arange(len(flat))
        # Two neighbouring blocks are views; anything else is gathered.
        self.first = {True: "kept", False: "moved"}.get(bool(flat[0])) if _is_two_blocks(flat) else None
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", torch.empty_like(plain).scatter_(0, order, plain), persistent=False)
        self.register_buffer("mask", passes, persistent=False)
        channels = int(by_channel.sum()) if self.split else self.event_shape[0]
        free = self.event_shape[0] - channels if self.split else self.event_shape[0]
        maker = default_maker(self.event_shape) if network is None else network
        self.network = maker(channels + (self.context or 0), element.size * free)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x)
        return self._move(x, context, self.element.forward)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, z, latent=True)
        return self._move(z, context, self.element.inverse)

    def _move(self, x: Tensor, context: Tensor | None, by: object) -> tuple[Tensor, Tensor]:
        kept, free = self._apart(x.flatten(1))
        moved, log_slope = by(free, self.parameters_given(x, kept, context))  # type: ignore[operator]
        z = self._together(kept, moved)
        return z if z.shape == x.shape else z.view(x.shape), log_slope.sum(1)

    def parameters_given(self, x: Tensor, kept: Tensor, context: Tensor | None) -> Tensor:
        """Parameters [B, P, M] of the M entries that move, from an example and those of its entries that pass."""
        context = read_context(self, context, self.context, len(x))
        if self.split:
            seen = kept if x.dim() == 2 else kept.view(len(x), -1, *self.event_shape[1:])
        else:
            seen = x * self.mask
        out: Tensor = self.network(beside(self, seen, context))
        parameters = out.reshape(len(x), self.element.size, -1)
        return parameters if self.split else parameters.index_select(2, self.order[self.kept :])

    def _apart(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        free = flat.shape[1] - self.kept
        if self.first == "moved":
            moved, kept = flat.split([free, self.kept], 1)
            return kept, moved
        sorted_ = flat if self.first == "kept" else flat.index_select(1, self.order)
        kept, moved = sorted_.split([self.kept, free], 1)
        return kept, moved

    def _together(self, kept: Tensor, moved: Tensor) -> Tensor:
        if self.first == "moved":
            return torch.cat([moved, kept], 1)
        flat = torch.cat([kept, moved], 1)
        return flat if self.first == "kept" else flat.index_select(1, self.back)


class AdditiveCoupling(Coupling):
    r"""The coupling of NICE, :math:`z_b = x_b + t(x_a)`; volumes stay as they are.

    Args:
        event_shape, network, mask, swap, context: see `Coupling`.

    Example:
        >>> import torch
        >>> from lvmlib import AdditiveCoupling
        >>> AdditiveCoupling((4,))(torch.ones(3, 4))[0].shape
        torch.Size([3, 4])

    Source: Dinh et al. 2015, *NICE*, section 3.2.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        network: Maker | None = None,
        mask: str | Tensor = "half",
        swap: bool = False,
        context: int | None = None,
    ):
        super().__init__(event_shape, Shift(), network, mask, swap, context)


class AffineCoupling(Coupling):
    r"""The coupling of RealNVP, :math:`z_b = x_b \odot e^{s(x_a)} + t(x_a)`.

    Args:
        event_shape, network, mask, swap, context: see `Coupling`.
        bound: largest :math:`|s|`.

    Example:
        >>> import torch
        >>> from lvmlib import AffineCoupling
        >>> AffineCoupling((3, 8, 8), mask="checkerboard")(torch.ones(5, 3, 8, 8))[0].shape
        torch.Size([5, 3, 8, 8])

    Source: Dinh et al. 2017, *Density estimation using Real NVP*, section 3.2.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        network: Maker | None = None,
        mask: str | Tensor = "half",
        swap: bool = False,
        context: int | None = None,
        bound: float = 2.0,
    ):
        super().__init__(event_shape, Scale(bound), network, mask, swap, context)


class SplineCoupling(Coupling):
    """A coupling whose entries move along rational-quadratic splines.

    Args:
        event_shape, network, mask, swap, context: see `Coupling`.
        bins, bound: of the splines; see `lvmlib.flows.spline.Spline`.

    Example:
        >>> import torch
        >>> from lvmlib import SplineCoupling
        >>> SplineCoupling((4,), bins=6)(torch.ones(3, 4))[0].shape
        torch.Size([3, 4])

    Source: Durkan et al. 2019, *Neural Spline Flows*, section 3.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        network: Maker | None = None,
        mask: str | Tensor = "half",
        swap: bool = False,
        context: int | None = None,
        bins: int = 8,
        bound: float = 5.0,
    ):
        super().__init__(event_shape, Spline(bins, bound), network, mask, swap, context)


def _is_two_blocks(flat: Tensor) -> bool:
    return int((flat[1:] != flat[:-1]).sum()) == 1 and math.prod(flat.shape) > 1
