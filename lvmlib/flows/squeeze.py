"""Two by two pixels become four channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lvmlib.base import Transform
from lvmlib.flows.door import check_input, check_picture


class Squeeze(Transform):
    """(C, H, W) becomes (4C, H/2, W/2); values only move.

    Args:
        event_shape: (C, H, W), with even H and W.

    Raises:
        ValueError: an event that is no picture, or one of odd height or width.

    Example:
        >>> import torch
        >>> from lvmlib import Squeeze
        >>> Squeeze((1, 2, 2))(torch.arange(4.0).view(1, 1, 2, 2))[0].flatten()
        tensor([0., 1., 2., 3.])

    Source: Dinh et al. 2017, section 3.6.
    """

    support = None
    """None, as entries are only moved and what follows decides."""

    def __init__(self, event_shape: Sequence[int]):
        super().__init__()
        c, h, w = self.event_shape = check_picture("Squeeze", event_shape)
        if h % 2 or w % 2:
            raise ValueError(f"Squeeze halves height and width, which must be even, but they are {h} and {w}.")
        self.latent_shape = torch.Size((4 * c, h // 2, w // 2))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x)
        return F.pixel_unshuffle(x, 2), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, z, latent=True)
        return F.pixel_shuffle(z, 2), z.new_zeros(len(z))
