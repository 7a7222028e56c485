"""PixelSNAIL: causal convolutions for what is near, and attention over all earlier pixels for what is far."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive, Step
from lvmlib.autoregressive.pixel.masked_conv import in_rows
from lvmlib.autoregressive.pixel.pixel_head import PixelHead
from lvmlib.autoregressive.pixel.pixel_model import rows_known
from lvmlib.autoregressive.pixel.resolution import context_channels
from lvmlib.autoregressive.pixel.shifted_conv import GatedResnet, ShiftedConv2d, as_map, unit_variance_
from lvmlib.autoregressive.pixel.shifted_steps import GatedPixel, PatchCache, RowCache, late
from lvmlib.autoregressive.watching import Take, caught_up, watching
from lvmlib.checks import check_counts, check_share


class PixelSNAIL(Autoregressive):
    r"""PixelSNAIL for pictures (C, H, W), drawn pixel by pixel and channel by channel.

    Each block has gated residual blocks of causal convolutions, then attention, in which pixel i looks at all pixels
    before it, their colours and features, and at a cell that says nothing:

    .. math:: a_i = \sum_{j < i} w_{ij}\, v_j, \qquad
        w_{ij} = \frac{\exp(q_i \cdot k_j / \sqrt d)}{1 + \sum_{l < i} \exp(q_i \cdot k_l / \sqrt d)}

    The keys k and values v of pixel j may read pixel j itself, as j comes before i; the query q of pixel i may not.

    Sampling keeps what the convolutions have read and all keys and values: together the steps compute each feature
    once, and only the attention grows with the position.

    Args:
        event_shape: (C, H, W).
        channels: features.
        blocks: how often convolutions and attention take turns.
        layers: residual blocks of each turn.
        heads: attentions beside one another.
        dropout: probability with which features are set to 0 while training.
        levels: number of values of one entry.
        logistics: components of the mixture; 0 for a free table of the values.
        context: number of entries of a context vector, number of classes, or the shape (c, H, W) of a context map.

    Raises:
        ValueError: another event shape, sizes below 1, or half the channels cannot be shared out to the heads.

    Example:
        >>> from lvmlib import PixelSNAIL
        >>> model = PixelSNAIL((1, 8, 8), channels=8, blocks=2, layers=1)
        >>> model.sample(2).shape
        torch.Size([2, 1, 8, 8])

    Source: Chen et al. 2018, *PixelSNAIL: An Improved Autoregressive Generative Model*.
    """

    place: Tensor

    def __init__(
        self,
        event_shape: Sequence[int],
        channels: int = 32,
        blocks: int = 3,
        layers: int = 3,
        heads: int = 1,
        dropout: float = 0.0,
        levels: int = 2,
        logistics: int = 0,
        context: int | Sequence[int] | None = None,
    ):
        super().__init__(event_shape, levels, logistics, context)
        channels, blocks, layers, heads = check_counts(channels=channels, blocks=blocks, layers=layers, heads=heads)
        dropout = check_share(dropout, "dropout")
        _check_shape(self.event_shape, channels, heads)
        colours, height, width = self.event_shape
        maps = context_channels(self)
        self.row_above = ShiftedConv2d(colours + 1, channels, (1, 3), shift=(1, 0))
        self.left = ShiftedConv2d(colours + 1, channels, (2, 1), left=True, shift=(0, 1))
        for layer in (self.row_above, self.left):
            unit_variance_(layer)
        self.blocks = nn.ModuleList(Block(channels, layers, heads, colours, maps, dropout) for _ in range(blocks))
        self.head = PixelHead(channels, colours, self.family)
        rows = torch.linspace(-1, 1, height)[:, None].expand(height, width)
        columns = torch.linspace(-1, 1, width).expand(height, width)
        self.register_buffer("place", torch.stack((rows, columns))[None], persistent=False)  # [1, 2, H, W]

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One pass through all blocks."""
        z, context = self.encode(x), as_map(context)
        place = self.place.expand(len(x), -1, -1, -1)
        inputs = in_rows(F.pad(z, (0, 0, 0, 0, 0, 1), value=1.0))
        v = self.row_above(inputs) + self.left(inputs)
        for block in self.blocks:
            v = block(v, z, place, context)
        return self.head(F.elu(v), x)

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """One new pixel for each convolution, one new key and value for each attention."""
        colours, height, width = self.event_shape
        pixels, context = height * width, as_map(context)
        blocks = [
            BlockSteps(cast(Block, block), n, (height, width), self.place[0].permute(1, 2, 0), context)
            for block in self.blocks
        ]
        one_row, left = RowCache(self.row_above, n, width), PatchCache(self.left, n, width)
        assert self.left.bias is not None
        bias, before = self.left.bias.detach(), self.left.weight.new_zeros(n, colours + 1, width)
        i, start = rows_known(self, known)
        if x is not None and i:
            rows = [(one_row.conv, partial(one_row.start, i=i - 1)), (left.conv, partial(late, left, i=i))]
            with watching([*rows, *(pair for block in blocks for pair in block.caches(i))]):
                self.predict(x.view(n, *self.event_shape), context)
        first: tuple[Tensor, ...] = ()
        outputs: Iterator[Tensor] = iter(())

        def begin_row(r: int, picture: Tensor) -> None:
            nonlocal first
            one_row.push(before if r == 0 else F.pad(self.encode(picture[:, :, r - 1]), (0, 0, 0, 1), value=1.0))
            left.next_row()
            first = (one_row.read() + bias[:, None]).permute(2, 0, 1).contiguous().unbind(0)  # [n, F] for each column
            for block in blocks:
                block.next_row()

        def step(t: int, x: Tensor) -> Tensor:
            nonlocal outputs
            (r, c), channel = divmod(t // colours, width), t % colours
            if channel == 0:
                picture = x.view(n, colours, height, width)
                i = r * width + c
                last = self.encode(x.view(n, colours, pixels)[:, :, i - 1])  # at the first pixel nobody asks for it
                if c == 0:
                    begin_row(r, picture)
                else:
                    slot = left.slot(c)
                    slot[:, :colours] = last
                    slot[:, colours] = 1
                v = left.read(c, first[c])
                for block in blocks:
                    v = block(r, c, v, last)
                outputs = self.head.each_channel(F.elu(v), lambda b: x[:, b * pixels + i])
            return next(outputs)

        return step if x is None else caught_up(step, x, start, known)


class Block(nn.Module):
    """Residual blocks of convolutions, then attention, whose finding enters one more residual block.

    Args:
        channels: features.
        layers: residual blocks before the attention.
        heads: attentions beside one another, of channels / 2 features together.
        colours: channels of the picture.
        context: channels of the context, 0 for none.
        dropout: of the residual blocks.
    """

    def __init__(self, channels: int, layers: int, heads: int, colours: int, context: int, dropout: float):
        super().__init__()
        self.heads, self.found = heads, channels // 2
        self.near = nn.ModuleList(
            GatedResnet(channels, (2, 2), True, context=context, dropout=dropout) for _ in range(layers)
        )
        # What a pixel offers to later ones depends on its colours as well, what it asks for does not.
        self.offer = nn.Linear(channels + colours + 2, 2 * channels)
        self.ask = nn.Linear(channels + 2, channels)
        self.key_value = nn.Linear(2 * channels, 2 * self.found)
        self.query = nn.Linear(channels, self.found)
        self.mix = GatedResnet(channels, (1, 1), True, sides=(self.found,), context=context, dropout=dropout)

    def forward(self, v: Tensor, z: Tensor, place: Tensor, context: Tensor | None) -> Tensor:
        """Features v [B, F, H, W], the encoded picture z [B, C, H, W], places [B, 2, H, W] -> features."""
        for layer in self.near:
            v = layer(v, context=context)
        height, width = v.shape[2:]
        v_rows, z_rows, place_rows = (t.flatten(2).transpose(1, 2) for t in (v, z, place))  # [B, H * W, ...]
        key, value = self.offers(v_rows, z_rows, place_rows)
        query = self.asks(v_rows, place_rows)
        # Moved on by one pixel, with a cell of zeros in front, "up to and including i" means "before i".
        key, value = F.pad(key[:, :, :-1], (0, 0, 1, 0)), F.pad(value[:, :, :-1], (0, 0, 1, 0))
        found = F.scaled_dot_product_attention(query, key, value, is_causal=True)  # [B, heads, H * W, found / heads]
        found = found.transpose(2, 3).flatten(1, 2).unflatten(2, (height, width))
        return self.mix(v, in_rows(found), context=context)

    def offers(self, v: Tensor, z: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of pixels: features [B, N, F], colours [B, N, C], places [B, N, 2] -> [B, heads, N, .]."""
        hidden = F.elu(self.offer(torch.cat((v, z, place), -1)))
        key, value = self.key_value(hidden).chunk(2, -1)
        return self.split(key), self.split(value)

    def asks(self, v: Tensor, place: Tensor) -> Tensor:
        """Queries of pixels: features [B, N, F], places [B, N, 2] -> [B, heads, N, found / heads]."""
        return self.split(self.query(F.elu(self.ask(torch.cat((v, place), -1)))))

    def split(self, t: Tensor) -> Tensor:
        """Share the features out to the heads: [B, N, found] -> [B, heads, N, found / heads]."""
        return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class BlockSteps:
    """`Block`, a pixel at a time.

    The offer of a pixel reads its colours, so it is made one step later, when the next pixel asks.

    Args:
        block: the whole form.
        n: examples.
        size: (height, width).
        place: [height, width, 2], coordinates.
        context: [n, c, 1 or height, 1 or width], or None.
    """

    def __init__(self, block: Block, n: int, size: tuple[int, int], place: Tensor, context: Tensor | None):
        self.block, self.n, self.width = block, n, size[1]
        self.place = place.flatten(0, 1)[:, None].expand(-1, n, -1)  # [H * W, n, 2]
        self.near = [GatedPixel(cast(GatedResnet, layer), n, size, context) for layer in block.near]
        self.mix = GatedPixel(block.mix, n, size, context)
        heads, each = block.heads, block.found // block.heads
        # Cell 0 stays empty. Keys lie transposed, so that the product with all of them reads along memory.
        self.keys = place.new_zeros(n * heads, each, math.prod(size))
        self.values = place.new_zeros(n * heads, math.prod(size), each)
        self.scale = each**-0.5
        self.last = place.new_zeros(0)

    def caches(self, i: int) -> Iterator[tuple[nn.Module, Take]]:
        """Each layer that a cache looks at, and how it gets to the end of row i - 1 when one pass reads the picture."""
        for layer in self.near:
            for cache in (layer.first, layer.second):
                yield cache.conv, partial(cache.start, i=i)
        yield self.block.key_value, partial(self.take_offers, pixels=i * self.width)

    def take_offers(self, _: Tensor, offers: Tensor, pixels: int) -> None:
        """Keys and values of the first pixels, from those of all [n, H * W, 2 * found]."""
        key, value = (self.block.split(t).flatten(0, 1) for t in offers[:, :pixels].chunk(2, -1))
        self.keys[:, :, 1 : pixels + 1], self.values[:, 1 : pixels + 1] = key.transpose(1, 2), value

    def next_row(self) -> None:
        """Begin a row."""
        for layer in self.near:
            layer.next_row()
        self.mix.next_row()

    def __call__(self, r: int, c: int, v: Tensor, colours: Tensor) -> Tensor:
        """Features v [n, F] of pixel (r, c) and the colours [n, C] of the pixel before it -> features [n, F]."""
        for layer in self.near:
            v = layer(r, c, v)
        i = r * self.width + c
        if len(self.last):  # else one pass has read all before, or there is nothing
            key, value = self.block.offers(*(t[:, None] for t in (self.last, colours, self.place[i - 1])))
            self.keys[:, :, i] = key.flatten(0, 2)
            self.values[:, i] = value.flatten(0, 2)
        self.last = v
        query = self.block.asks(v[:, None], self.place[i][:, None]).flatten(0, 1)  # [n * heads, 1, found / heads]
        weights = (torch.bmm(query, self.keys[:, :, : i + 1]) * self.scale).softmax(-1)
        found = torch.bmm(weights, self.values[:, : i + 1]).view(self.n, -1)
        return self.mix(r, c, v, found)


def _check_shape(event_shape: Sequence[int], channels: int, heads: int) -> None:
    if len(event_shape) != 3:
        raise ValueError(f"PixelSNAIL takes pictures (C, H, W), but event_shape is {tuple(event_shape)}.")
    if channels % (2 * heads):
        raise ValueError(f"channels must be divisible by 2 * heads, but channels={channels} and heads={heads}.")
