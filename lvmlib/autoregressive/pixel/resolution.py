"""The U-net of PixelCNN++: two streams of features that go down through the resolutions and up again."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive
from lvmlib.autoregressive.pixel.shifted_conv import GatedResnet, ShiftedConv2d, as_map, unit_variance_
from lvmlib.autoregressive.pixel.shifted_steps import GatedPixel, GatedRow, PatchCache, RowCache
from lvmlib.autoregressive.watching import Take


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

    def caches(self, i: int) -> Iterator[tuple[nn.Module, Take]]:
        """Each convolution, and how its cache gets to the end of row i - 1 when one pass reads the picture."""
        for block_u, block_v in [*self.down, *self.up]:
            for cache in (block_u.first, block_u.second, block_v.first, block_v.second):
                yield cache.conv, partial(cache.start, i=i)
        if self.lower is not None:
            yield self.shrink_u.conv, partial(self.shrink_u.start, i=i)
            yield self.shrink_v.conv, partial(self.shrink_v.start, i=i)
            if i % 2:  # row i hangs on the row below that began with row i - 1
                yield self.net.grow_u, partial(self.keep, "rows_u", i=i)
                yield self.net.grow_v, partial(self.keep, "rows_v", i=i)
            yield from self.lower.caches((i + 1) // 2)

    def keep(self, name: str, _: Tensor, grown: Tensor, i: int) -> None:
        """Take rows i - 1 and i of maps that were made from half the resolution."""
        pair = grown[:, :, i - 1 : i + 1]  # [n, F, 2, width]
        setattr(self, name, pair if name == "rows_u" else pair.permute(2, 3, 0, 1).contiguous())

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
