"""Convolutions that look up and to the left only because of how their input is padded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def concat_elu(x: Tensor, dim: int = 1) -> Tensor:
    """ELU of `x` and of its negative, side by side: [B, F, ...] -> [B, 2F, ...].

    Example:
        >>> import torch
        >>> from lvmlib.autoregressive.pixel.shifted_conv import concat_elu
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
        >>> import torch
        >>> from lvmlib.autoregressive.pixel.shifted_conv import ShiftedConv2d
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
        >>> import torch
        >>> from lvmlib.autoregressive.pixel.shifted_conv import GatedResnet
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


def unit_variance_(layer: nn.Module, second_moment: float = 1.0, scale: float = 1.0) -> None:
    """Draw the weights of a layer such that its outputs have standard deviation `scale` at first, and no bias.

    Args:
        layer: a convolution or a transposed convolution, which at stride s spreads its inputs over
            :math:`s^2` times as many outputs.
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
