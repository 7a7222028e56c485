"""PixelCNN++: shifted convolutions, a U-net between resolutions, and a mixture of logistics for each pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive, Step
from lvmlib.autoregressive.pixel_head import PixelHead
from lvmlib.autoregressive.shifted_conv import (
    GatedPixel,
    GatedResnet,
    GatedRow,
    PatchCache,
    RowCache,
    ShiftedConv2d,
    as_map,
    unit_variance_,
)


class PixelCNNpp(Autoregressive):
    r"""PixelCNN++ for pictures (C, H, W), drawn pixel by pixel and channel by channel.

    .. math:: p(x) = \prod_{i} \sum_m \pi_m(x_{<i}) \prod_{c} P\big(x_{ic} \mid \mu_{cm}(x_{<i}, x_{i,<c}),
        s_{cm}(x_{<i})\big)

    Two streams of features, one of the rows above a pixel and one of the pixels to its left as well, go down through
    the resolutions and up again with shortcuts between equals. `PixelHead` turns them into the parameters of each
    channel.

    Sampling keeps what it has computed: the stream of the rows above is known for a whole row when the row begins, and
    at half the resolution the other stream changes at every other pixel of every other row only. Together all steps
    do the work of one forward pass.

    Args:
        event_shape: (C, H, W); H and W must be divisible by 2 as often as `halvings` says.
        channels: features of each stream.
        layers: residual blocks of each stream at each resolution on the way down; on the way up there is one more.
        halvings: how often height and width are halved.
        dropout: probability with which features are set to 0 while training.
        levels: number of values of one entry.
        logistics: components of the mixture; 0 for a free table of the values.
        context: number of entries of a context vector, number of classes, or the shape (c, H, W) of a context map.

    Raises:
        ValueError: another event shape, sizes below 1, or a picture that cannot be halved so often.

    Example:
        >>> model = PixelCNNpp((3, 8, 8), channels=8, layers=1, halvings=1)
        >>> model.sample(2).shape
        torch.Size([2, 3, 8, 8])

    Source: Salimans et al. 2017, *PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and
    Other Modifications*. Weights are not normalised here; blocks start close to the identity instead.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        channels: int = 32,
        layers: int = 2,
        halvings: int = 2,
        dropout: float = 0.0,
        levels: int = 256,
        logistics: int = 5,
        context: int | Sequence[int] | None = None,
    ):
        super().__init__(event_shape, levels, logistics, context)
        _check_sizes(self.event_shape, halvings, channels=channels, layers=layers)
        inputs, width = self.event_shape[0] + 1, channels
        maps = context_channels(self)
        self.above = ShiftedConv2d(inputs, width, (2, 3), shift=(1, 0))
        self.row_above = ShiftedConv2d(inputs, width, (1, 3), shift=(1, 0))
        self.left = ShiftedConv2d(inputs, width, (2, 1), left=True, shift=(0, 1))
        for layer in (self.above, self.row_above, self.left):
            unit_variance_(layer)
        self.halvings = halvings
        self.net = Resolution(width, layers, halvings, maps, dropout)
        self.head = PixelHead(width, self.event_shape[0], self.family)

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One pass through the two streams."""
        z = F.pad(self.encode(x), (0, 0, 0, 0, 0, 1), value=1.0)  # a channel of ones tells the picture from its border
        z = z.contiguous(memory_format=torch.channels_last)
        u, v = self.above(z), self.row_above(z) + self.left(z)
        _, v = self.net(u, v, pyramid(context, self.halvings))
        return self.head(F.elu(v), x)

    def steps(self, n: int, context: Tensor | None = None) -> Step:
        """The stream of the rows above once a row, the other once a pixel, the head once a channel."""
        channels, height, width = self.event_shape
        pixels = height * width
        net = ResolutionSteps(self.net, n, (height, width), pyramid(context, self.halvings))
        above, left = RowCache(self.above, n, width), PatchCache(self.left, n, width)
        one_row = RowCache(self.row_above, n, width)
        assert self.left.bias is not None
        bias, zero = self.left.bias.detach(), self.left.weight.new_zeros(n, channels + 1, width)
        first: tuple[Tensor, ...] = ()
        outputs: Iterator[Tensor] = iter(())

        def begin_row(r: int, picture: Tensor) -> None:
            nonlocal first
            last = zero if r == 0 else F.pad(self.encode(picture[:, :, r - 1]), (0, 0, 0, 1), value=1.0)
            above.push(last)
            one_row.push(last)
            left.next_row()
            first = (one_row.read() + bias[:, None]).permute(2, 0, 1).contiguous().unbind(0)  # [n, F] for each column
            net.row(r, above.read())

        def step(t: int, x: Tensor) -> Tensor:
            nonlocal outputs
            (r, c), channel = divmod(t // channels, width), t % channels
            if channel == 0:
                picture = x.view(n, channels, height, width)
                if c == 0:
                    begin_row(r, picture)
                else:
                    slot = left.slot(c)
                    slot[:, :channels] = self.encode(picture[:, :, r, c - 1])
                    slot[:, channels] = 1
                v = net.pixel(r, c, left.read(c, first[c]))
                outputs = self.head.each_channel(F.elu(v), lambda b: x[:, b * pixels + r * width + c])
            return next(outputs)

        return step


class Resolution(nn.Module):
    """The part of a PixelCNN++ that works at one resolution, around the part that works at half of it.

    Args:
        width: features of each stream.
        layers: blocks on the way down.
        halvings: resolutions below this one.
        context: channels of the context, 0 for none.
        dropout: of the blocks.
    """

    def __init__(self, width: int, layers: int, halvings: int, context: int, dropout: float):
        super().__init__()
        self.down = nn.ModuleList(Pair(width, False, context, dropout) for _ in range(layers))
        self.up = nn.ModuleList(Pair(width, True, context, dropout) for _ in range(layers + (halvings > 0)))
        self.lower: Resolution | None = None
        if halvings:
            self.shrink_u = ShiftedConv2d(width, width, (2, 3), stride=2)
            self.shrink_v = ShiftedConv2d(width, width, (2, 2), left=True, stride=2)
            self.lower = Resolution(width, layers, halvings - 1, context, dropout)
            # Pixel (i, j) below becomes the square at (2i, 2j), which lies behind all that it has read.
            self.grow_u = nn.ConvTranspose2d(width, width, (2, 3), stride=2, padding=(0, 1), output_padding=(0, 1))
            self.grow_v = nn.ConvTranspose2d(width, width, 2, stride=2)
            for layer in (self.shrink_u, self.shrink_v, self.grow_u, self.grow_v):
                unit_variance_(layer)

    def forward(self, u: Tensor, v: Tensor, contexts: list[Tensor | None]) -> tuple[Tensor, Tensor]:
        """Streams u (rows above) and v (left as well) [B, F, H, W], context at each resolution -> the same shapes."""
        shortcuts = [(u, v)]
        for pair in self.down:
            u, v = pair(u, v, contexts[0])
            shortcuts.append((u, v))
        if self.lower is None:
            u, v = shortcuts.pop()
        else:
            u, v = self.lower(self.shrink_u(u), self.shrink_v(v), contexts[1:])
            u, v = self.grow_u(u), self.grow_v(v)
        for pair in self.up:
            u, v = pair(u, v, contexts[0], shortcuts.pop())
        return u, v


class Pair(nn.Module):
    """One residual block of each stream; that of the second stream reads the first as well.

    Args:
        width: features of each stream.
        shortcut: whether both read a shortcut from the way down.
        context: channels of the context, 0 for none.
        dropout: of the blocks.
    """

    def __init__(self, width: int, shortcut: bool, context: int, dropout: float):
        super().__init__()
        sides = (width,) if shortcut else ()
        self.u = GatedResnet(width, (2, 3), False, sides, context, dropout)
        self.v = GatedResnet(width, (2, 2), True, (width, *sides), context, dropout)

    def forward(
        self, u: Tensor, v: Tensor, context: Tensor | None, shortcut: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, Tensor]:
        """Streams u and v, context, shortcut (u, v) from the way down -> u and v."""
        u = self.u(u, *shortcut[:1], context=context)
        return u, self.v(v, u, *shortcut[1:], context=context)


class ResolutionSteps:
    """`Resolution`, its first stream a row at a time and its second a pixel at a time.

    Args:
        net: the whole form.
        n: examples.
        size: (height, width) at this resolution.
        contexts: as for `Resolution`, n rows.
    """

    def __init__(self, net: Resolution, n: int, size: tuple[int, int], contexts: list[Tensor | None]):
        def cached(pairs: nn.ModuleList) -> list[tuple[GatedRow, GatedPixel]]:
            blocks = [(pair.u, pair.v) for pair in cast("list[Pair]", list(pairs))]
            return [(GatedRow(u, n, size, contexts[0]), GatedPixel(v, n, size, contexts[0])) for u, v in blocks]

        self.net, self.down, self.up = net, cached(net.down), cached(net.up)
        self.lower: ResolutionSteps | None = None
        if net.lower is not None:
            height, width = size
            self.shrink_u, self.shrink_v = RowCache(net.shrink_u, n, width), PatchCache(net.shrink_v, n, width)
            self.lower = ResolutionSteps(net.lower, n, (height // 2, width // 2), contexts[1:])
            assert net.shrink_v.bias is not None and net.grow_v.bias is not None
            self.shrink_bias = net.shrink_v.bias.detach()
            # One product makes the four pixels of a square: [inputs, outputs, 2, 2] -> [inputs, (row, column, output)]
            self.grow_weight = net.grow_v.weight.detach().permute(0, 2, 3, 1).flatten(1).contiguous()
            self.grow_bias = net.grow_v.bias.detach().repeat(4)
            self.rows_u = self.rows_v = net.grow_v.weight.new_zeros(2, width, n, net.grow_v.out_channels)

    def row(self, r: int, u: Tensor) -> Tensor:
        """Row r of the first stream, u [n, F, width] -> the same, and all that it means for the second stream."""
        shortcuts = [u]
        for block_u, block_v in self.down:
            u = block_u(r, u)
            block_v.next_row(u)
            shortcuts.append(u)
        if self.lower is None:
            u = shortcuts.pop()
        else:
            self.shrink_u.push(u)
            self.shrink_v.next_row()
            if r % 2 == 0:  # row r / 2 below changes now, and with it two rows here
                low = self.lower.row(r // 2, self.shrink_u.read())
                self.rows_u = self.net.grow_u(low[:, :, None])  # [n, F, 2, width]
            u = self.rows_u[:, :, r % 2]
        for block_u, block_v in self.up:
            u = block_u(r, u, shortcuts.pop())
            block_v.next_row(u)
        return u

    def pixel(self, r: int, c: int, v: Tensor) -> Tensor:
        """Pixel (r, c) of the second stream: v [n, F] -> [n, F]."""
        shortcuts = [v]
        for _, block in self.down:
            v = block(r, c, v)
            shortcuts.append(v)
        if self.lower is None:
            v = shortcuts.pop()
        else:
            self.shrink_v.slot(c).copy_(v)
            if r % 2 == 0 and c % 2 == 0:  # a pixel below changes now, and with it a square here
                low = self.lower.pixel(r // 2, c // 2, self.shrink_v.read(c, self.shrink_bias))
                square = torch.addmm(self.grow_bias, low, self.grow_weight).unflatten(1, (2, 2, -1))
                self.rows_v[:, c : c + 2] = square.permute(1, 2, 0, 3)  # [2, 2, n, F]
            v = self.rows_v[r % 2, c]
        for _, block in self.up:
            v = block(r, c, v, shortcuts.pop())
        return v


def pyramid(context: Tensor | None, halvings: int) -> list[Tensor | None]:
    """The context at each resolution: a map is averaged over squares, a vector stays the same for all of them."""
    contexts = [as_map(context)]
    for _ in range(halvings):
        last = contexts[-1]
        contexts.append(last if last is None or last.shape[2:] == (1, 1) else F.avg_pool2d(last, 2))
    return contexts


def context_channels(model: Autoregressive) -> int:
    """Channels of a model's context seen as a map, 0 without one.

    Raises:
        ValueError: the context is neither a vector nor a map of the height and width of the pictures.
    """
    shape = model.context_shape
    if shape is None:
        return 0
    if len(shape) not in (1, 3) or (len(shape) == 3 and shape[1:] != model.event_shape[1:]):
        raise ValueError(
            f"context must be a number, or the shape (c, {', '.join(map(str, model.event_shape[1:]))}) of a map over "
            f"the picture, but it is {tuple(shape)}."
        )
    return shape[0]


def _check_sizes(event_shape: Sequence[int], halvings: int, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be 1 or more, but it is {size}.")
    if halvings < 0:
        raise ValueError(f"halvings must be 0 or more, but it is {halvings}.")
    if len(event_shape) != 3 or any(size % 2**halvings for size in event_shape[1:]):
        raise ValueError(
            f"PixelCNNpp takes pictures (C, H, W) with H and W divisible by {2**halvings} for halvings={halvings}, but "
            f"event_shape is {tuple(event_shape)}. Pad the pictures, or halve them less often."
        )
