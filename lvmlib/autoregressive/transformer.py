"""The transformer with a causal mask: each position looks at all before it, in whatever order they are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.attention import TransformerBlocks
from lvmlib.autoregressive.autoregressive import Autoregressive, Step
from lvmlib.autoregressive.reading import vector_size
from lvmlib.autoregressive.tokens import PositionEmbedding, PositionWaves, TokenEmbedding
from lvmlib.checks import check_count


class CausalTransformer(Autoregressive):
    r"""Blocks of masked self-attention over the entries of an example, in any order.

    Token t of the network is what was drawn last, and where; and where the next one will be drawn:

    .. math:: h_t = \operatorname{value}(x_{o_{t-1}}) + \operatorname{source}(o_{t-1}) + \operatorname{target}(o_t)

    For t = 1 a start vector takes the place of the first two. Because the target is told, one network can predict any
    position next, so any order will do, and the mask is the same triangle for all of them.

    Cached sampling keeps keys and values. A draw then costs the maps of one token, and attention over those before it,
    which grows with the position. A whole sample does the arithmetic of one pass, but in D steps that wait for one
    another, and so takes the time of several.

    Args:
        event_shape: shape of one example, with D entries in all.
        channels: width of a token, C.
        heads: of each block; a divisor of channels.
        layers: number of blocks.
        kernel: of the causal convolution that makes queries, keys and values; 1 is a linear map.
        positions: "table", a learned vector for each position; "axes", the sum of a learned vector for each channel,
            row and column (or whatever axes `event_shape` has); "waves", sines and cosines of the position, whose
            weights fit any length: build the model again with another `event_shape` and load them.
        dropout: share of the entries of either sum in a block that training sets to zero.
        levels, logistics, context, order: see `Autoregressive`.

    Raises:
        ValueError: sizes below 1, heads that do not divide the channels, positions or a dropout that do not exist.

    Example:
        >>> from lvmlib import CausalTransformer
        >>> CausalTransformer((256,), levels=128, positions="waves").sample(2).shape
        torch.Size([2, 256])

    Source: Vaswani et al. 2017, *Attention Is All You Need*; Radford et al. 2019 (GPT-2); Chen et al. 2020,
    *Generative Pretraining from Pixels*; Yang et al. 2019, *XLNet*, for the target position.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        channels: int = 64,
        heads: int = 4,
        layers: int = 4,
        kernel: int = 1,
        positions: str = "table",
        dropout: float = 0.0,
        levels: int = 2,
        logistics: int = 0,
        context: int | None = None,
        order: Sequence[int] | Tensor | None = None,
    ):
        super().__init__(event_shape, levels, logistics, context, order)
        context = vector_size(self.context_shape, type(self).__name__)
        channels = check_count(channels, "channels", "")
        self.blocks = TransformerBlocks(channels, heads, layers, kernel, dropout)
        self.value = TokenEmbedding(channels, self.family)
        self.source = position_embedding(positions, self.event_shape, channels)
        self.target = position_embedding(positions, self.event_shape, channels)
        self.start = nn.Parameter(torch.randn(channels))
        self.context_map = None if context is None else nn.Linear(context, channels, bias=False)
        self.head = nn.Linear(channels, self.family.size)
        nn.init.normal_(self.head.weight, std=0.01)  # begin close to the uniform distribution
        nn.init.zeros_(self.head.bias)

    def places(self) -> Tensor:
        """What the positions add to the tokens, [D, C]: source of the last draw (or the start) and target."""
        sources = torch.cat([self.start[None], self.source()[self.order[:-1]]])
        return sources + self.target()[self.order]

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One pass of the blocks over the sequence, moved back by one position."""
        outputs = self.head(self.blocks(self.tokens(x.flatten(1), context)))  # [B, D, P]
        return outputs[:, self.order.argsort()].transpose(1, 2).unflatten(2, self.event_shape)

    def tokens(self, x: Tensor, context: Tensor | None) -> Tensor:
        """What the blocks read, first drawn first, moved back by one position: flat x [B, D] -> [B, D, C]."""
        h = F.pad(self.value(x[:, self.order[:-1]]), (0, 0, 1, 0)) + self.places()
        return h if context is None or self.context_map is None else h + self.context_map(context)[:, None]

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """Each block keeps the keys and values of the tokens it has seen."""
        order, value, head = self.order.tolist(), self.value, self.head
        past = self.tokens(x, context)[:, :known] if x is not None and known else None
        advance, places = self.blocks.steps(n, self.dims, past), self.places()[:, None].expand(-1, n, -1)
        if context is not None and self.context_map is not None:
            places = places + self.context_map(context)

        def step(t: int, x: Tensor) -> Tensor:
            h = value(x[:, order[t - 1]]) + places[t] if t else places[0]
            return head(advance(t, h))

        return step


def position_embedding(kind: str, event_shape: Sequence[int], channels: int) -> nn.Module:
    """A module without inputs that returns a vector for each position, [D, channels].

    Raises:
        ValueError: a kind that is none of "table", "axes" and "waves".
    """
    if kind == "table":
        return PositionEmbedding((math.prod(event_shape),), channels)
    if kind == "axes":
        return PositionEmbedding(event_shape, channels)
    if kind == "waves":
        return PositionWaves(math.prod(event_shape), channels)
    raise ValueError(f'positions must be "table", "axes" or "waves", but it is {kind!r}.')
