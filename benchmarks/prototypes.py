"""Flows that the library does not have yet, built on what it has, so that their speed can be judged before they come.

A coupling layer for RealNVP and a masked autoregressive layer for MAF, both as `Transform` in a `Flow`. The second one
draws with the cache of `MaskedMLP`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lvmlib.base import Transform
from lvmlib.chain import Flow
from lvmlib.distributions import StandardNormal
from lvmlib.networks import MLP, MaskedMLP


class AffineCoupling(Transform):
    r"""One half of the entries passes, the other is scaled and shifted by functions of it.

    .. math:: z_a = x_a, \qquad z_b = x_b \odot e^{\tanh s(x_a)} + t(x_a)

    Args:
        dims: number of entries, D, an even number.
        hidden: widths of the network for s and t.
        second: the second half passes and not the first.
    """

    def __init__(self, dims: int, hidden: Sequence[int], second: bool):
        super().__init__()
        self.event_shape, self.second = torch.Size((dims,)), second
        self.network = MLP(dims // 2, hidden, dims, lambda: nn.ReLU(inplace=True))

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The half that passes and the half that is moved, [B, D / 2] each."""
        first, second = x.chunk(2, 1)
        return (second, first) if self.second else (first, second)

    def whole(self, kept: Tensor, moved: Tensor) -> Tensor:
        """The halves side by side again, [B, D]."""
        return torch.cat((moved, kept) if self.second else (kept, moved), 1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = self.halves(x)
        shift, raw = self.network(kept).chunk(2, 1)
        log_scale = raw.tanh()
        return self.whole(kept, torch.addcmul(shift, moved, log_scale.exp())), log_scale.sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, moved = self.halves(z)
        shift, raw = self.network(kept).chunk(2, 1)
        log_scale = raw.tanh()
        return self.whole(kept, (moved - shift) * (-log_scale).exp()), -log_scale.sum(1)


class MaskedAutoregressive(Transform):
    r"""Each entry is shifted and scaled by functions of those before it: one pass towards the noise, D steps back.

    .. math:: z_t = \big(x_t - \mu_t(x_{<t})\big)\, e^{-\tanh s_t(x_{<t})}

    Args:
        dims: number of entries, D.
        hidden: widths of the masked network.
        backwards: the last entry comes first.
    """

    def __init__(self, dims: int, hidden: Sequence[int], backwards: bool):
        super().__init__()
        self.event_shape = torch.Size((dims,))
        order = range(dims - 1, -1, -1) if backwards else range(dims)
        self.network = MaskedMLP(dims, hidden, outputs=2, order=list(order))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        shift, raw = self.network(x).unbind(1)  # [B, D] each
        log_scale = raw.tanh()
        return (x - shift) * (-log_scale).exp(), -log_scale.sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        step, last, found, log_det = self.network.steps(len(z)), None, [], z.new_zeros(len(z))
        order = self.network.order
        for t, column in enumerate(z[:, order].unbind(1)):
            shift, raw = step(t, last).unbind(1)  # [B] each
            log_scale = raw.tanh()
            last = torch.addcmul(shift, column, log_scale.exp())
            found.append(last)
            log_det = log_det + log_scale
        return torch.stack(found, 1)[:, order.argsort()], log_det


def realnvp(dims: int, layers: int = 8, hidden: Sequence[int] = (128, 128)) -> Flow:
    """Affine couplings that take turns."""
    couplings = [AffineCoupling(dims, hidden, second=i % 2 == 1) for i in range(layers)]
    return Flow(couplings, StandardNormal((dims,)))


def maf(dims: int, layers: int = 5, hidden: Sequence[int] = (128, 128)) -> Flow:
    """Masked autoregressive layers whose order turns round from one to the next."""
    steps = [MaskedAutoregressive(dims, hidden, backwards=i % 2 == 1) for i in range(layers)]
    return Flow(steps, StandardNormal((dims,)))
