"""Shifted convolutions step by step, for sampling; the same numbers as in one pass.

`RowCache` computes a row at a time, for what depends on the rows above only, and `PatchCache` a pixel at a time.
`GatedRow` and `GatedPixel` do the same for the residual block of PixelCNN++ and PixelSNAIL.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.pixel.shifted_conv import GatedResnet, ShiftedConv2d, concat_elu


class RowCache:
    """The last rows that a `ShiftedConv2d` centred on its column has read, for computing one row of it at a time.

    A shift by one row is the caller's: at row r it pushes row r - 1 of the input.

    Args:
        conv: the convolution.
        n: examples.
        width: columns of the input.
    """

    def __init__(self, conv: ShiftedConv2d, n: int, width: int):
        self.conv = conv
        self.rows = conv.weight.new_zeros(n, conv.in_channels, conv.kernel_size[0], width)

    def start(self, maps: Tensor, _: Tensor | None = None, *, i: int) -> None:
        """Hold the rows just above row `i` of maps [n, inputs, H, width]."""
        held = min(i, self.rows.shape[2])
        if held:
            self.rows[:, :, -held:] = maps[:, :, i - held : i]

    def push(self, row: Tensor) -> None:
        """Take in the next row: [n, inputs, width]."""
        for i in range(self.rows.shape[2] - 1):
            self.rows[:, :, i] = self.rows[:, :, i + 1]
        self.rows[:, :, -1] = row

    def read(self) -> Tensor:
        """The output at the row taken in last: [n, outputs, width / stride]."""
        conv = self.conv
        padding = (0, conv.kernel_size[1] // 2)
        return F.conv2d(self.rows, conv.weight, conv.bias, conv.stride, padding)[:, :, 0]


class PatchCache:
    """The last rows that a `ShiftedConv2d` with ``left=True`` has read, for computing one pixel of it at a time.

    They lie in memory such that the patch under the kernel is one slice, and the convolution there one product.

    Args:
        conv: the convolution. A shift by one column is the caller's: at column c it writes column c - 1 of the input.
        n: examples.
        width: columns of the input.
    """

    def __init__(self, conv: ShiftedConv2d, n: int, width: int):
        self.conv = conv
        (self.height, self.width), channels = conv.kernel_size, conv.in_channels
        self.cells = conv.weight.new_zeros(n, width + self.width - 1, self.height, channels)
        self.flat = self.cells.flatten(1)
        self.channels, self.column = channels, self.height * channels
        # [outputs, inputs, rows, columns] -> [columns * rows * inputs, outputs]
        self.weight = conv.weight.detach().permute(3, 2, 1, 0).flatten(0, 2)

    def start(self, maps: Tensor, _: Tensor | None = None, *, i: int) -> None:
        """Be at the end of row i - 1, having read maps [n, inputs, H, width] up to there."""
        held = min(i, self.height)
        if held:
            self.cells[:, self.width - 1 :, -held:] = maps[:, :, i - held : i].permute(0, 3, 2, 1)

    def next_row(self) -> None:
        """Begin a row: what was the lowest row under the kernel becomes the one above it."""
        for i in range(self.height - 1):
            self.cells[:, :, i] = self.cells[:, :, i + 1]

    def slot(self, c: int) -> Tensor:
        """Where the input at column c of this row is to be written: [n, inputs]."""
        end = (c + self.width) * self.column
        return self.flat[:, end - self.channels : end]

    def read(self, c: int, bias: Tensor) -> Tensor:
        """The output at column c of this row, plus `bias` [outputs] or [n, outputs]: [n, outputs]."""
        patch = self.flat[:, c * self.column : (c + self.width) * self.column]
        return torch.addmm(bias, patch, self.weight)


class GatedRow:
    """`GatedResnet`, a row at a time, for a block that is centred on its column.

    Args:
        block: the block.
        n: examples.
        size: (height, width) of its input.
        context: [n, c, 1 or height, 1 or width], or None.
    """

    def __init__(self, block: GatedResnet, n: int, size: tuple[int, int], context: Tensor | None):
        self.block = block
        self.first, self.second = RowCache(block.first, n, size[1]), RowCache(block.second, n, size[1])
        self.context = block.context_terms(context, n, *size)

    def __call__(self, r: int, x: Tensor, *sides: Tensor) -> Tensor:
        """Row r from x [n, channels, width] and side inputs [n, side, width]: [n, channels, width]."""
        self.first.push(concat_elu(x))
        h = self.first.read()
        for side, mapped in zip(sides, self.block.sides):
            h = h + mapped(concat_elu(side)[:, :, None])[:, :, 0]
        self.second.push(concat_elu(h))
        return x + F.glu(self.second.read() + self.context[:, :, r], 1)


class GatedPixel:
    """`GatedResnet`, a pixel at a time, for a block with ``left=True``.

    Args:
        block: the block. Its first side inputs may be given a whole row at a time, its last ones pixel by pixel.
        n: examples.
        size: (height, width) of its input.
        context: [n, c, 1 or height, 1 or width], or None.
    """

    def __init__(self, block: GatedResnet, n: int, size: tuple[int, int], context: Tensor | None):
        self.block, self.n, self.columns = block, n, size[1]
        self.first, self.second = PatchCache(block.first, n, size[1]), PatchCache(block.second, n, size[1])
        assert block.first.bias is not None and block.second.bias is not None
        self.bias = block.first.bias.detach()
        terms = block.context_terms(context, n, *size) + block.second.bias.detach()[:, None, None]
        self.second_bias = terms.permute(2, 3, 0, 1).contiguous()  # [height, width, n, 2 * channels]
        self.weights = [cast(nn.Conv2d, side).weight.detach()[:, :, 0, 0].t() for side in block.sides]

    def next_row(self, *sides: Tensor) -> None:
        """Begin a row, for which the first side inputs are known: each [n, side, width]."""
        self.first.next_row()
        self.second.next_row()
        known = self.bias.expand(self.columns, self.n, -1)
        for side, weight in zip(sides, self.weights):
            known = known + concat_elu(side).permute(2, 0, 1) @ weight
        self.first_bias = known.unbind(0)  # [n, channels] for each column
        self.later = self.weights[len(sides) :]

    def __call__(self, r: int, c: int, x: Tensor, *sides: Tensor) -> Tensor:
        """Pixel (r, c) from x [n, channels] and the other side inputs [n, side]: [n, channels]."""
        _concat_elu_into(self.first.slot(c), x)
        h = self.first.read(c, self.first_bias[c])
        for side, weight in zip(sides, self.later):
            h = torch.addmm(h, concat_elu(side), weight)
        _concat_elu_into(self.second.slot(c), h)
        return x + F.glu(self.second.read(c, self.second_bias[r, c]), 1)


def _concat_elu_into(slot: Tensor, x: Tensor) -> None:
    torch.cat((x, -x), 1, out=slot)
    F.elu_(slot)


def late(cache: PatchCache, maps: Tensor, _: Tensor, *, i: int) -> None:
    """Start a cache that at column c is given column c - 1; see `PatchCache.start`."""
    cache.start(F.pad(maps, (1, -1)), i=i)
