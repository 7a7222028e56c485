"""Masked convolutions a row and a pixel at a time, for sampling: each feature is computed once."""

from __future__ import annotations

import torch
from torch import Tensor

from lvmlib.autoregressive.pixel.masked_conv import MaskedConv2d, group_ends, group_index, plus


class RowSteps:
    """The last rows of a map, and what a kernel over them gives for a row: all its pixels at once.

    Args:
        weight: [O, I, rows, k], k odd.
        n: number of pictures.
        width: their width.
    """

    def __init__(self, weight: Tensor, n: int, width: int):
        outputs, inputs, rows, kernel = weight.shape
        reach = kernel // 2
        self.weight = weight.detach().permute(2, 3, 1, 0).reshape(-1, outputs)  # [rows * k * I, O]
        self.window, self.stride = kernel * inputs, inputs
        self.inside = slice(reach * inputs, (reach + width) * inputs)
        self.rows = self.weight.new_zeros(n, rows, (width + 2 * reach) * inputs)  # padded left and right

    def start(self, maps: Tensor, i: int) -> None:
        """Hold what lies just above row `i` of maps [n, I, H, W]."""
        held = min(i, self.rows.shape[1])
        if held:
            self.rows[:, -held:, self.inside] = maps[:, :, i - held : i].permute(0, 2, 3, 1).flatten(2)

    def push(self, row: Tensor) -> None:
        """Add the row below those held, [n, W * I], and forget the uppermost."""
        self.rows[:, :-1] = self.rows[:, 1:].clone()
        self.rows[:, -1, self.inside] = row

    def outputs(self) -> Tensor:
        """[n, W, O]."""
        windows = self.rows.unfold(2, self.window, self.stride)  # [n, rows, W, k * I]
        return windows.transpose(1, 2).flatten(2) @ self.weight


class PixelSteps:
    """A masked convolution evaluated at one pixel and for one colour at a time, each feature once.

    What the rows above contribute is known when a row begins, so `begin_row` computes it for all its pixels at once.
    After that a pixel is one product of a matrix with the features to the left of it and at it. These lie next to one
    another in memory, and those of earlier colours come first, so that what a colour sees is a single slice.

    Args:
        conv: the convolution.
        n: number of pictures.
        height, width: their size.
        extra: added to the outputs, [n or 1, outputs, height or 1, width or 1], or None.

    Attributes:
        order: [outputs], how the outputs are sorted here: colour by colour, all copies of a colour together.
    """

    def __init__(self, conv: MaskedConv2d, n: int, height: int, width: int, extra: Tensor | None = None):
        weight = conv.masked_weight().detach()  # [O, I, r + 1, k]
        outputs, inputs = weight.shape[:2]
        self.conv = conv
        self.order = group_index(outputs // conv.copies, conv.colours, conv.copies).argsort(stable=True)
        weight = weight[self.order]
        self.rows = RowSteps(weight[:, :, :-1], n, width) if conv.above else None
        bias = weight.new_zeros(outputs) if conv.bias is None else conv.bias
        extra = None if extra is None else extra[:, self.order]
        self.offset = offsets(bias[self.order], extra, n, height, width)

        ends_in, ends_out = group_ends(inputs, conv.colours), group_ends(outputs // conv.copies, conv.colours)
        starts_in, starts_out = [0, *ends_in[:-1]], [0, *ends_out[:-1]]
        self.inputs, self.reach = inputs, conv.reach
        self.put_at = list(zip(starts_in, ends_in, strict=True))
        self.out_at = [(conv.copies * a, conv.copies * b) for a, b in zip(starts_out, ends_out, strict=True)]
        # How many numbers a colour sees, from the leftmost tap on: all to the left, then what its mask lets it see.
        self.seen = [conv.reach * inputs + end for end in (starts_in if conv.mask_type == "A" else ends_in)]
        taps = weight[:, :, -1, : conv.reach + 1].permute(2, 1, 0).reshape(-1, outputs)  # [(r + 1) * I, O]
        self.weights = [taps[:seen, a:b].contiguous() for seen, (a, b) in zip(self.seen, self.out_at, strict=True)]
        self.row = weight.new_zeros(n, (conv.reach + width) * inputs)  # padded on the left

    def start(self, maps: Tensor, _: Tensor | None = None, *, i: int) -> None:
        """Be at the end of row i - 1, i > 0, having read maps [n, inputs, H, W] up to there."""
        if self.rows is not None:
            self.rows.start(maps, i - 1)
        self.row[:, self.reach * self.inputs :] = maps[:, :, i - 1].transpose(1, 2).flatten(1)

    def begin_row(self, i: int, extra: Tensor | None = None) -> None:
        """Move on to row `i`; `extra` [n, W, O], sorted by `order`, is added to all its outputs."""
        self.known = plus(self.offset[:, i], extra)  # [n, W, O]
        if self.rows is not None and i:
            self.rows.push(self.row[:, self.reach * self.inputs :])
            self.known = self.known + self.rows.outputs()

    def put(self, j: int, c: int, value: Tensor) -> None:
        """Store the input features of colour `c` at pixel j: [n, I_c]."""
        at, (start, end) = (j + self.reach) * self.inputs, self.put_at[c]
        self.row[:, at + start : at + end] = value

    def at(self, j: int, c: int) -> Tensor:
        """The output features of colour `c` at pixel j: [n, O_c], all copies one after another."""
        at, (start, end) = j * self.inputs, self.out_at[c]
        return torch.addmm(self.known[:, j, start:end], self.row[:, at : at + self.seen[c]], self.weights[c])


def offsets(bias: Tensor, extra: Tensor | None, n: int, height: int, width: int) -> Tensor:
    """A bias [O], with what a context adds to it [n or 1, O, height or 1, width or 1], as [n, height, width, O]."""
    maps = plus(bias[None, :, None, None], extra).detach()
    return maps.permute(0, 2, 3, 1).expand(n, height, width, len(bias))
