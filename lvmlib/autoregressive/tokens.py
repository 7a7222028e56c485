"""How a sequence model reads values and positions: one vector for each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.families import CategoricalFamily, Family


class TokenEmbedding(nn.Module):
    """A vector for each value: a table where values are categories, an affine map where they are magnitudes.

    Args:
        channels: width of a vector, C.
        family: what the values are; `CategoricalFamily` reads a table [K, C], every other one spreads
            {0, ..., K - 1} over [-1, 1] and maps that number.

    Returns:
        [..., C] for values [...].

    Example:
        >>> import torch
        >>> from lvmlib.autoregressive.families import family_of
        >>> from lvmlib.autoregressive.tokens import TokenEmbedding
        >>> TokenEmbedding(8, family_of(levels=128, logistics=0))(torch.zeros(2, 5)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, channels: int, family: Family):
        super().__init__()
        self.levels = family.levels
        categorical = isinstance(family, CategoricalFamily)
        self.weight = nn.Parameter(torch.randn(self.levels if categorical else 1, channels))
        self.bias = None if categorical else nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Whole numbers [...] -> [..., C]."""
        if self.bias is not None:
            return (x * (2 / (self.levels - 1)) - 1).to(self.bias.dtype)[..., None] * self.weight[0] + self.bias
        if x.requires_grad:
            # Hats over the whole numbers are one-hot there, and have a slope: a Jacobian sees what a table hides.
            values = torch.arange(self.levels, device=x.device)
            return (1 - (x[..., None] - values).abs()).clamp(min=0).to(self.weight.dtype) @ self.weight
        return F.embedding(x.long(), self.weight)


class PositionEmbedding(nn.Module):
    """A learned vector for each position: the sum of one vector per axis, such as channel, row and column.

    Args:
        shape: number of positions along each axis, such as (C, H, W); (D,) gives each position a vector of its own.
        channels: width of a vector.

    Returns:
        [D, channels], in the order in which the positions are stored.

    Example:
        >>> from lvmlib.autoregressive.tokens import PositionEmbedding
        >>> PositionEmbedding((1, 28, 28), 8)().shape
        torch.Size([784, 8])

    Source: Parmar et al. 2018, *Image Transformer*, for rows and columns.
    """

    def __init__(self, shape: Sequence[int], channels: int):
        super().__init__()
        self.tables = nn.ParameterList(0.1 * torch.randn(size, channels) for size in shape)

    def forward(self) -> Tensor:
        """All positions, [D, channels]."""
        total = self.tables[0]
        for table in list(self.tables)[1:]:
            total = (total[:, None] + table).flatten(0, 1)  # the last axis runs fastest
        return total


class PositionWaves(nn.Module):
    r"""A vector for each position made of sines and cosines, and a learned linear map of it.

    .. math:: \sin(p\, 10000^{-2i / C}) \quad\text{and}\quad \cos(p\, 10000^{-2i / C}), \qquad i = 0, 1, \dots

    No weight belongs to one position, so the weights fit sequences of any length.

    Args:
        positions: how many, D.
        channels: width of a vector, C.

    Returns:
        [D, channels].

    Example:
        >>> from lvmlib.autoregressive.tokens import PositionWaves
        >>> PositionWaves(256, 8)().shape
        torch.Size([256, 8])

    Source: Vaswani et al. 2017, *Attention Is All You Need*, section 3.5.
    """

    waves: Tensor

    def __init__(self, positions: int, channels: int):
        super().__init__()
        rates = 10000 ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
        angles = torch.arange(positions, dtype=torch.float64)[:, None] * rates  # [D, C / 2]
        waves = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :channels]
        self.map = nn.Linear(channels, channels, bias=False)
        self.register_buffer("waves", waves.to(self.map.weight), persistent=False)

    def forward(self) -> Tensor:
        """All positions, [D, channels]."""
        return self.map(self.waves)
