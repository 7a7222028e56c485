"""The linear map in which a mask takes connections away."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.checks import check_counts

PIECES = 4  # of a large map, each without the columns that none of its rows sees
LARGE = 100_000  # weights from which on pieces are faster than the whole


class MaskedLinear(nn.Linear):
    r"""A linear map in which some connections do not exist.

    .. math:: y = (M \odot W)\, x + b

    The mask multiplies the weights whenever they are used, so whatever an optimizer does to them, no connection arises.

    Args:
        inputs: number of inputs.
        mask: [R, inputs], 1 where a connection exists and 0 where none does.
        blocks: the map has blocks * R outputs; each block of R rows has the same mask.
        bias: whether a constant is added.

    Example:
        >>> import torch
        >>> from lvmlib.networks import MaskedLinear
        >>> layer = MaskedLinear(3, torch.ones(3, 3).tril(-1))
        >>> torch.autograd.functional.jacobian(layer, torch.zeros(3)).count_nonzero(1)
        tensor([0, 1, 2])
    """

    mask: Tensor

    def __init__(self, inputs: int, mask: Tensor, blocks: int = 1, bias: bool = True):
        inputs, blocks = check_counts(inputs=inputs, blocks=blocks)
        if mask.dim() != 2 or mask.shape[1] != inputs:
            raise ValueError(f"mask must have shape [outputs, {inputs}], but it has {list(mask.shape)}.")
        super().__init__(inputs, blocks * len(mask), bias)
        self.register_buffer("mask", torch.empty(0), persistent=False)
        self.renew(mask)

    def renew(self, mask: Tensor) -> None:
        """Go over to another mask of the same shape."""
        self.mask = mask.to(self.weight)  # a new tensor: a graph waiting for its backward keeps the old one
        self.pieces = pieces_of(mask) if self.weight.numel() >= LARGE else []

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs] -> [B, blocks * R]."""
        if self.pieces:
            return self._in_pieces(x)
        if len(self.mask) == len(self.weight):
            return F.linear(x, self.mask * self.weight, self.bias)
        weight = self.mask * self.weight.unflatten(0, (-1, len(self.mask)))  # [blocks, R, inputs]
        return F.linear(x, weight.flatten(0, 1), self.bias)

    def _in_pieces(self, x: Tensor) -> Tensor:
        """The same; of each piece only the columns that its rows see are multiplied."""
        blocks, rows = len(self.weight) // len(self.mask), [rows for rows, _, _ in self.pieces]
        weights = self.weight.unflatten(0, (blocks, -1)).split(rows, 1)
        found = []
        for (_, start, end), weight, mask in zip(self.pieces, weights, self.mask.split(rows)):
            seen = mask[:, start:end] * weight[:, :, start:end]  # [blocks, rows, columns]
            found.append(F.linear(x[..., start:end], seen.flatten(0, 1)).unflatten(-1, (blocks, -1)))
        y = torch.cat(found, -1).flatten(-2)
        return y if self.bias is None else y + self.bias


def pieces_of(mask: Tensor) -> list[tuple[int, int, int]]:
    """Number of rows, first column and end of the columns in use for each of some pieces of a mask, from the top.

    Empty where that would spare less than an eighth of the columns: the units are in no order then.

    Example:
        >>> import torch
        >>> from lvmlib.networks.masked_linear import pieces_of
        >>> pieces_of(torch.ones(8, 8).tril())
        [(2, 0, 2), (2, 0, 4), (2, 0, 6), (2, 0, 8)]
    """
    found = []
    for part in mask.bool().chunk(PIECES):
        used = part.any(0).nonzero()[:, 0].tolist()
        start, end = (used[0], used[-1] + 1) if used else (0, 1)
        found.append((len(part), start, end))
    needed = sum(rows * (end - start) for rows, start, end in found)
    return found if needed <= 7 / 8 * mask.numel() else []
