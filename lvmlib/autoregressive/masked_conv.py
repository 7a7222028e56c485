"""Masked convolutions, the parts of pixel models: in one pass over a picture, and pixel by pixel for sampling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive


def group_sizes(channels: int, groups: int) -> list[int]:
    """Share `channels` out among `groups` colours as evenly as they go, the later ones first.

    Example:
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
        >>> conv = MaskedConv2d(1, 1, 3, "A")
        >>> conv.mask[0, 0]                       # the row above, then the row of the pixel itself
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
        rows, width = (kernel // 2 + 1, kernel) if isinstance(kernel, int) else kernel
        if width < 1 or width % 2 == 0 or rows < 1:
            raise ValueError(f"A masked convolution has a centre, so its kernel must be odd, but it is {kernel}.")
        if mask_type not in ("A", "B"):
            raise ValueError(f'mask_type must be "A" or "B", but it is {mask_type!r}.')
        if colours < 1 or copies < 1 or outputs % copies or min(inputs, outputs // copies) < colours:
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


class PixelModel(Autoregressive):
    """What pixel models share: pictures as events, contexts that are vectors or maps, and coordinates.

    Args:
        event_shape: (C, H, W).
        levels, logistics: see `Autoregressive`.
        context: number of classes or entries of a context vector, or the shape (c, H, W) of a map.
        sizes: the sizes of the model by name, to check that each is a whole number, 1 or more.

    Raises:
        ValueError: another kind of event or context, or a size below 1.
    """

    planes: Tensor

    def __init__(
        self,
        event_shape: Sequence[int],
        levels: int = 2,
        logistics: int = 0,
        context: int | Sequence[int] | None = None,
        **sizes: int,
    ):
        name = type(self).__name__
        if len(event_shape) != 3 or min(event_shape) < 1:
            raise ValueError(f"{name} models pictures of shape (C, H, W), but event_shape is {tuple(event_shape)}.")
        for key, size in sizes.items():
            if size < 1 or size % 1:
                raise ValueError(f"{key} must be a whole number, 1 or more, but it is {size}.")
        super().__init__(event_shape, levels, logistics, context)
        self.colours, self.height, self.width = self.event_shape
        shape = self.context_shape
        if shape is not None and len(shape) != 1 and (len(shape) != 3 or shape[1:] != self.event_shape[1:]):
            raise ValueError(
                f"The context of {name} must be a vector or a map of shape (c, {self.height}, {self.width}), "
                f"but it is {tuple(shape)}."
            )

    def add_maps(self, sizes: list[int], positions: bool) -> None:
        """Make the 1x1 convolutions from the context, and from two planes of coordinates, to features in some places.

        They have no bias, so that a context of zeros is no context.

        Args:
            sizes: how many features each place has.
            positions: whether the coordinates are added.
        """
        self.sizes, self.context_map, self.position_map = sizes, None, None
        if self.context_shape is not None:
            self.context_map = nn.Conv2d(self.context_shape[0], sum(sizes), 1, bias=False)
        if positions:
            self.position_map = nn.Conv2d(2, sum(sizes), 1, bias=False)
        rows, columns = (torch.linspace(-1, 1, side) for side in (self.height, self.width))
        self.register_buffer(
            "planes", torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None], persistent=False
        )

    def added(self, context: Tensor | None) -> Iterator[Tensor | None]:
        """What context and coordinates add, place by place: maps [B or 1, features, H or 1, W or 1], or None.

        They are computed when they are asked for: those of all layers together would fill more memory than the layers.
        """
        maps = context[:, :, None, None] if context is not None and context.dim() == 2 else context
        maps = None if maps is None else in_rows(maps)
        here = None if self.position_map is None else self.position_map.weight.split(self.sizes)
        told = None if maps is None or self.context_map is None else self.context_map.weight.split(self.sizes)
        for place in range(len(self.sizes)):
            extra = None if here is None else in_rows(F.conv2d(self.planes, here[place]))
            if maps is not None and told is not None:
                extra = plus(F.conv2d(maps, told[place]), extra)
            yield extra

    def parameters_map(self, outputs: Tensor) -> Tensor:
        """[B, C * P, H, W], the parameters of a colour one after another -> [B, P, C, H, W]."""
        return outputs.unflatten(1, (self.colours, self.family.size)).transpose(1, 2)


def plus(maps: Tensor, extra: Tensor | None) -> Tensor:
    """Add what a context contributes, if there is any."""
    return maps if extra is None else maps + extra


def in_rows(maps: Tensor) -> Tensor:
    """The features of a pixel next to one another in memory, in which convolutions are fastest on a CPU."""
    if maps.shape[1] > 1:
        return maps.contiguous(memory_format=torch.channels_last)
    # A map of one feature lies in memory either way; only its strides tell a convolution which way to write.
    return torch.empty_like(maps, memory_format=torch.channels_last).copy_(maps)


def offsets(bias: Tensor, extra: Tensor | None, n: int, height: int, width: int) -> Tensor:
    """A bias [O], with what a context adds to it [n or 1, O, height or 1, width or 1], as [n, height, width, O]."""
    maps = plus(bias[None, :, None, None], extra).detach()
    return maps.permute(0, 2, 3, 1).expand(n, height, width, len(bias))
