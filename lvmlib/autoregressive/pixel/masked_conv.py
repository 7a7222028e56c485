"""Masked convolutions, the parts of pixel models, in one pass over a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.checks import check_count, check_counts, check_sizes, looks_at_values


def group_sizes(channels: int, groups: int) -> list[int]:
    """Share `channels` out among `groups` colours as evenly as they go, the later ones first.

    Example:
        >>> from lvmlib.autoregressive.pixel.masked_conv import group_sizes
        >>> group_sizes(32, 3)
        [10, 11, 11]
    """
    return [channels * (g + 1) // groups - channels * g // groups for g in range(groups)]


def group_ends(channels: int, groups: int) -> list[int]:
    """Where the group of each colour ends: the channels before ``ends[g]`` belong to colours 0 to g."""
    return [channels * (g + 1) // groups for g in range(groups)]


def group_index(channels: int, groups: int, copies: int = 1) -> Tensor:
    """The colour that each of `copies` x `channels` features belongs to; the copies lie one after another.

    Example:
        >>> from lvmlib.autoregressive.pixel.masked_conv import group_index
        >>> group_index(4, 2, copies=2)
        tensor([0, 0, 1, 1, 0, 0, 1, 1])
    """
    return torch.arange(groups).repeat_interleave(torch.tensor(group_sizes(channels, groups))).repeat(copies)


class MaskedConv2d(nn.Module):
    r"""A convolution in which a pixel sees those before it, line by line, and nothing of those after it.

    The features of each pixel are shared out among the C colours, which are drawn one after another. Mask B lets the
    features of a colour see those of the same and of earlier colours at the same pixel; mask A only those of earlier
    colours, so that the first layer does not see what is to be drawn. Of the pixels before it each feature sees all.

    .. math:: y_{ij} = b + \sum_{a \le r} \sum_b \big(M \odot W\big)_{ab} \, x_{i + a - r, j + b - r},
        \qquad r = \lfloor k / 2 \rfloor

    The rows below the centre would be masked altogether, and so would what is right of it in a kernel of one row. They
    are neither stored nor computed, which makes a 3x3 convolution a third cheaper than a full kernel under a mask.

    Args:
        inputs: number of channels of the input.
        outputs: number of channels of the output.
        kernel: side of the (full, square) kernel, odd; or (rows above and including the centre, odd width).
        mask_type: "A" or "B".
        colours: number of colours, C; `inputs` and `outputs` are shared out among them.
        copies: the outputs are so many maps one after another (the gates of a unit, say), each shared out on its own.
        bias: whether to add one.

    Attributes:
        weight: [outputs, inputs, r + 1, k]; [outputs, inputs, 1, r + 1] for a kernel of one row.
        mask: the same shape, zeros and ones.

    Raises:
        ValueError: an even kernel, another mask type, or fewer channels than colours.

    Example:
        >>> from lvmlib import MaskedConv2d
        >>> conv = MaskedConv2d(1, 1, 3, "A")
        >>> conv.mask[0, 0]  # the row above, then the row of the pixel itself
        tensor([[1., 1., 1.],
                [1., 0., 0.]])

    Source: van den Oord, Kalchbrenner and Kavukcuoglu 2016, *Pixel Recurrent Neural Networks*, section 3.4.
    """

    mask: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        mask_type: str,
        colours: int = 1,
        copies: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        inputs, outputs, colours, copies = check_counts(inputs=inputs, outputs=outputs, colours=colours, copies=copies)
        if isinstance(kernel, Sequence):
            rows, width = check_sizes(kernel, "kernel")
        else:
            width = check_count(kernel, "kernel", "")
            rows = width // 2 + 1
        if width % 2 == 0:
            raise ValueError(f"A masked convolution has a centre, so its kernel must be odd, but it is {kernel}.")
        if mask_type not in ("A", "B"):
            raise ValueError(f'mask_type must be "A" or "B", but it is {mask_type!r}.')
        if outputs % copies or min(inputs, outputs // copies) < colours:
            raise ValueError(
                f"Each of {colours} colours needs a channel of its own, but {inputs} inputs and {outputs} outputs in "
                f"{copies} copies do not give them one."
            )
        self.inputs, self.outputs, self.mask_type, self.colours, self.copies = (
            inputs,
            outputs,
            mask_type,
            colours,
            copies,
        )
        self.above, self.reach = rows - 1, width // 2
        self.right = self.reach if self.above else 0  # how far the kernel reaches to the right
        self.weight = nn.Parameter(torch.empty(outputs, inputs, rows, self.reach + 1 + self.right))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.register_buffer("mask", self._mask(), persistent=False)
        seen = self.mask.sum((1, 2, 3)).clamp(min=1)  # taps that each output has, which sets the size of its weights
        with torch.no_grad():
            self.weight.copy_(torch.randn_like(self.weight) / seen.sqrt()[:, None, None, None])

    def _mask(self) -> Tensor:
        mask = torch.ones_like(self.weight)
        mask[:, :, -1, self.reach + 1 :] = 0
        seeing = group_index(self.outputs // self.copies, self.colours, self.copies)[:, None]
        seen = group_index(self.inputs, self.colours)[None]
        mask[:, :, -1, self.reach] = (seen < seeing if self.mask_type == "A" else seen <= seeing).float()
        return mask

    def masked_weight(self) -> Tensor:
        """What the convolution computes with, [outputs, inputs, r + 1, k]."""
        nothing_hidden = self.reach == 0 and self.colours == 1 and self.mask_type == "B"
        return self.weight if nothing_hidden else self.mask * self.weight

    def forward(self, x: Tensor) -> Tensor:
        """x [B, inputs, H, W] -> [B, outputs, H, W]."""
        if self.above or self.reach:
            x = F.pad(x, (self.reach, self.right, self.above, 0))
        return F.conv2d(x, self.masked_weight(), self.bias)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        size = f"{self.above + 1}x{2 * self.reach + 1}"
        return f"{self.inputs}, {self.outputs}, rows x width={size}, mask={self.mask_type}, colours={self.colours}"


class RowsAbove(nn.Module):
    """A convolution over the rows above a pixel, as wide as it likes: nothing there needs a mask.

    Args:
        inputs, outputs: number of channels.
        kernel: width of the kernel, odd; it is kernel // 2 rows high and ends in the row above the pixel.
        own_row: let it end in the row of the pixel itself, one row more; for inputs that were made from rows above.

    Source: van den Oord et al. 2016, *Conditional Image Generation with PixelCNN Decoders*, section 2.2.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, own_row: bool = False):
        super().__init__()
        if kernel < 3 or kernel % 2 == 0:
            raise ValueError(f"A kernel over the rows above must be odd and 3 or more, but it is {kernel}.")
        rows = kernel // 2 + own_row
        self.padding = (kernel // 2, kernel // 2, kernel // 2, 0 if own_row else -1)  # left, right, top, bottom
        self.weight = nn.Parameter(torch.randn(outputs, inputs, rows, kernel) / (inputs * rows * kernel) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, inputs, H, W] -> [B, outputs, H, W]."""
        return F.conv2d(F.pad(x, self.padding), self.weight, self.bias)


def plus(maps: Tensor, extra: Tensor | None) -> Tensor:
    """Add what a context contributes, if there is any."""
    return maps if extra is None else maps + extra


def in_rows(maps: Tensor) -> Tensor:
    """The features of a pixel next to one another in memory, in which convolutions are fastest on a CPU."""
    if not (looks_at_values(maps) or torch.compiler.is_compiling()):
        return maps  # under vmap and func.grad a tensor has no such thing as its place in memory
    if maps.shape[1] > 1:
        return maps.contiguous(memory_format=torch.channels_last)
    # A map of one feature lies in memory either way; only its strides tell a convolution which way to write.
    return torch.empty_like(maps, memory_format=torch.channels_last).copy_(maps)
