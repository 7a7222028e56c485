"""Convolutions that look up and to the left only because of how their input is padded, whole and step by step.

`ShiftedConv2d` is the whole convolution. A model that draws pixel by pixel computes the same numbers bit by bit:
`RowCache` a row at a time, for what depends on the rows above only, and `PatchCache` a pixel at a time. `GatedResnet`
is the residual block of PixelCNN++ and PixelSNAIL; `GatedRow` and `GatedPixel` are its two cached forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def concat_elu(x: Tensor, dim: int = 1) -> Tensor:
    """ELU of `x` and of its negative, side by side: [B, F, ...] -> [B, 2F, ...].

    Example:
        >>> concat_elu(torch.ones(1, 1))
        tensor([[ 1.0000, -0.6321]])
    """
    return F.elu(torch.cat((x, -x), dim), inplace=True)


class ShiftedConv2d(nn.Conv2d):
    """A convolution whose output at row r reads rows r and above, and columns as `left` says.

    Args:
        inputs: channels of what comes in.
        outputs: channels of what goes out.
        kernel: (rows, columns). The lowest row of the kernel lies on row r.
        left: False, the kernel is centred on column c ("down-shifted"; its width must be odd); True, its last column
            lies on column c ("down-right-shifted").
        shift: (rows, columns) by which the output is pushed further down and right. With (1, 0) it reads the rows
            above r only, with (0, 1) the columns left of c only.
        stride: 2 keeps the outputs at even rows and columns.

    Raises:
        ValueError: a centred kernel of even width.

    Example:
        >>> conv = ShiftedConv2d(1, 1, (2, 3), shift=(1, 0))
        >>> x = torch.zeros(1, 1, 4, 4, requires_grad=True)
        >>> conv(x)[0, 0, 2, 1].backward()
        >>> (x.grad[0, 0] != 0).int()
        tensor([[1, 1, 1, 0],
                [1, 1, 1, 0],
                [0, 0, 0, 0],
                [0, 0, 0, 0]], dtype=torch.int32)

    Source: Salimans et al. 2017, *PixelCNN++*, section 2.3.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        left: bool = False,
        shift: tuple[int, int] = (0, 0),
        stride: int = 1,
    ):
        if not left and kernel[1] % 2 == 0:
            raise ValueError(f"A kernel that is centred on its column needs an odd width, but it is {kernel[1]} wide.")
        super().__init__(inputs, outputs, kernel, stride)
        side = kernel[1] - 1 if left else kernel[1] // 2
        rows, columns = shift
        # A negative number of rows or columns to add takes them away.
        self.pads = (side + columns, kernel[1] - 1 - side - columns, kernel[0] - 1 + rows, -rows)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        return super().forward(F.pad(x, self.pads) if any(self.pads) else x)


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
        (self.height, self.width), channels = conv.kernel_size, conv.in_channels
        self.cells = conv.weight.new_zeros(n, width + self.width - 1, self.height, channels)
        self.flat = self.cells.flatten(1)
        self.channels, self.column = channels, self.height * channels
        # [outputs, inputs, rows, columns] -> [columns * rows * inputs, outputs]
        self.weight = conv.weight.detach().permute(3, 2, 1, 0).flatten(0, 2)

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


class GatedResnet(nn.Module):
    r"""A gated residual block: two shifted convolutions, and a sigmoid gate on what is added.

    .. math:: h = f_1(\phi(x)) + \sum_j V_j \phi(s_j), \quad (a, b) = f_2(\phi(h)) + U c, \quad y = x + a\,\sigma(b)

    where :math:`\phi` is `concat_elu`, :math:`s_j` are side inputs and c is the context.

    Args:
        channels: of x and y.
        kernel: (rows, columns) of both convolutions.
        left: as in `ShiftedConv2d`.
        sides: channels of each side input.
        context: channels of the context, 0 for none.
        dropout: probability that an entry of :math:`\phi(h)` is set to 0 while training.

    Example:
        >>> block = GatedResnet(8, (2, 3), sides=(4,))
        >>> block(torch.zeros(2, 8, 5, 5), torch.zeros(2, 4, 5, 5)).shape
        torch.Size([2, 8, 5, 5])

    Source: Salimans et al. 2017, *PixelCNN++*; van den Oord et al. 2016, *Conditional Image Generation with PixelCNN
    Decoders*.
    """

    def __init__(
        self,
        channels: int,
        kernel: tuple[int, int],
        left: bool = False,
        sides: Sequence[int] = (),
        context: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.first = ShiftedConv2d(2 * channels, channels, kernel, left)
        self.sides = nn.ModuleList(nn.Conv2d(2 * side, channels, 1, bias=False) for side in sides)
        self.second = ShiftedConv2d(2 * channels, 2 * channels, kernel, left)
        self.context_map = nn.Conv2d(context, 2 * channels, 1, bias=False) if context else None
        self.dropout = nn.Dropout(dropout)
        for layer in (self.first, *self.sides):
            unit_variance_(layer, 0.63)
        unit_variance_(self.second, 0.63, scale=0.1)  # a block starts as little more than the identity

    def forward(self, x: Tensor, *sides: Tensor, context: Tensor | None = None) -> Tensor:
        """x [B, channels, H, W], side inputs [B, side, H, W], context [B, c, 1 or H, 1 or W] -> [B, channels, H, W]."""
        h = self.first(concat_elu(x))
        for side, mapped in zip(sides, self.sides):
            h = h + mapped(concat_elu(side))
        h = self.second(self.dropout(concat_elu(h)))  # [B, 2 * channels, H, W]
        if context is not None and self.context_map is not None:
            h = h + self.context_map(context)
        a, b = h.chunk(2, 1)
        # F.glu computes the same, but on CPU its backward pass takes several times as long, and so does a sigmoid of
        # numbers that do not lie side by side.
        return x + a * torch.sigmoid(b.clone())

    def context_terms(self, context: Tensor | None, n: int, height: int, width: int) -> Tensor:
        """What the context adds to the second convolution: [n, 2 * channels, height, width]."""
        if context is None or self.context_map is None:
            return self.second.weight.new_zeros(()).expand(n, self.second.out_channels, height, width)
        return self.context_map(context).detach().expand(n, -1, height, width)


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


def unit_variance_(layer: nn.Module, second_moment: float = 1.0, scale: float = 1.0) -> None:
    """Draw the weights of a layer such that its outputs have standard deviation `scale` at first, and no bias.

    Args:
        layer: a convolution or a transposed convolution, which spreads its inputs over stride^2 as many outputs.
        second_moment: mean square of an input; 0.63 for the ELU of a standard normal variable.
        scale: wanted standard deviation.
    """
    assert isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    reads = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.weight[:, 0].numel()
    if isinstance(layer, nn.ConvTranspose2d):
        reads //= layer.stride[0] * layer.stride[1]
    nn.init.normal_(layer.weight, std=scale * (reads * second_moment) ** -0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def as_map(context: Tensor | None) -> Tensor | None:
    """A context vector [B, c] as a map of one pixel [B, c, 1, 1], which broadcasts; a map stays as it is."""
    return context[:, :, None, None] if context is not None and context.dim() == 2 else context
