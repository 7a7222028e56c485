"""The invertible convolution of size 1: one matrix that mixes the channels of every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lvmlib.base import Transform
from lvmlib.flows.affine import LU
from lvmlib.flows.door import check_input, check_picture


class Invertible1x1Conv(Transform):
    r"""A learned rotation of the channels, in place of a permutation between couplings.

    .. math:: z_{:,ij} = A\, x_{:,ij}, \qquad
        \log \left| \det \frac{\partial z}{\partial x} \right| = H W \sum_c \log |s_c|

    A is kept as `LU`, whose diagonal s pays.

    Args:
        event_shape: (C, H, W).

    Raises:
        ValueError: an event that is no picture.

    Example:
        >>> import torch
        >>> from lvmlib import Invertible1x1Conv
        >>> Invertible1x1Conv((4, 8, 8))(torch.ones(5, 4, 8, 8))[0].shape
        torch.Size([5, 4, 8, 8])

    Source: Kingma & Dhariwal 2018, *Glow*, section 3.2.
    """

    event_shape: torch.Size

    def __init__(self, event_shape: Sequence[int]):
        super().__init__()
        self.event_shape = check_picture("Invertible1x1Conv", event_shape)
        self.matrix = LU(self.event_shape[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x)
        return F.conv2d(x, self.matrix.whole()[:, :, None, None]), self._log_det(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, z, latent=True)
        columns = z.transpose(0, 1).flatten(1)  # [C, B * H * W]
        x = self.matrix.solve(columns).view(-1, len(z), *self.event_shape[1:]).transpose(0, 1)
        return x, -self._log_det(len(z))

    def _log_det(self, rows: int) -> Tensor:
        return (self.event_shape[1] * self.event_shape[2] * self.matrix.log_det()).expand(rows)
