"""The transformer with a causal mask: each position looks at all before it, in whatever order they are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive, Step
from lvmlib.autoregressive.tokens import PositionEmbedding, PositionWaves, TokenEmbedding

TokenStep = Callable[[int, Tensor], Tensor]
"""``step(t, h) -> [n, C]``: what a layer makes of token t, ``h`` [n, C], given the tokens it was shown before."""


class CausalAttention(nn.Module):
    r"""Self-attention in which token t looks at tokens 1 to t, with heads of width :math:`d = C / \text{heads}`.

    .. math:: \operatorname{head}_t = \sum_{s \le t} \alpha_{ts} v_s, \qquad
        \alpha_{ts} = \frac{\exp(q_t^\top k_s / \sqrt{d})}{\sum_{r \le t} \exp(q_t^\top k_r / \sqrt{d})}

    Queries q, keys k and values v are linear maps of the token, or with `kernel` > 1 a causal convolution over it and
    the kernel - 1 tokens before it, so that what is compared are short pieces and not single tokens.

    Args:
        channels: width of a token, C; divisible by heads.
        heads: how many.
        kernel: taps of the convolution that makes q, k and v.

    Source: Vaswani et al. 2017, *Attention Is All You Need*; Li et al. 2019, *Enhancing the Locality and Breaking the
    Memory Bottleneck of Transformer on Time Series Forecasting*, for the convolution.
    """

    def __init__(self, channels: int, heads: int, kernel: int = 1):
        super().__init__()
        self.heads, self.kernel = heads, kernel
        self.inputs = nn.Linear(kernel * channels, 3 * channels)  # q, k and v; the taps side by side, the oldest first
        self.output = nn.Linear(channels, channels)

    def forward(self, h: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        T = h.shape[1]
        taps = [h if gap == 0 else F.pad(h, (0, 0, gap, 0))[:, :T] for gap in reversed(range(self.kernel))]
        qkv = self.inputs(torch.cat(taps, 2) if self.kernel > 1 else h)  # [B, T, 3 C]
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, T, d]
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(seen.transpose(1, 2).flatten(2))

    def steps(self, n: int, length: int) -> TokenStep:
        """The same token by token. Keys and values of earlier tokens stay in buffers; a token adds one column."""
        heads, channels, output = self.heads, self.output.in_features, self.output
        d = channels // heads
        scale = torch.ones_like(self.inputs.bias)
        scale[:channels] /= math.sqrt(d)  # queries come out divided by the root already
        weight, bias = self.inputs.weight * scale[:, None], self.inputs.bias * scale
        keys, values = bias.new_zeros(n, heads, d, length), bias.new_zeros(n, heads, length, d)
        flat_keys, flat_values = keys.flatten(0, 1), values.flatten(0, 1)  # views
        past = [bias.new_zeros(n, channels)] * (self.kernel - 1)

        def step(t: int, h: Tensor) -> Tensor:
            taps = h
            if past:
                taps = torch.cat([*past, h], 1)
                past.append(h)
                past.pop(0)
            q, k, v = F.linear(taps, weight, bias).view(n, 3, heads, d).unbind(1)
            keys[..., t], values[:, :, t] = k, v
            alpha = torch.bmm(q.reshape(n * heads, 1, d), flat_keys[..., : t + 1]).softmax(2)
            return output(torch.bmm(alpha, flat_values[:, : t + 1]).view(n, channels))

        return step


class TransformerBlock(nn.Module):
    r"""Attention and a two-layer perceptron, each added to its input and each behind a normalisation of that input.

    .. math:: h' = h + \operatorname{attention}(\operatorname{norm}(h)), \qquad
        h'' = h' + W_2 \operatorname{gelu}(W_1 \operatorname{norm}(h'))

    Args:
        channels: width of a token, C; the perceptron is 4 C wide.
        heads: of the attention.
        kernel: of the attention.
        dropout: share of the entries of either sum that training sets to zero.

    Source: Vaswani et al. 2017; Xiong et al. 2020, *On Layer Normalization in the Transformer Architecture*, for the
    place of the normalisation.
    """

    def __init__(self, channels: int, heads: int, kernel: int = 1, dropout: float = 0.0):
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = CausalAttention(channels, heads, kernel)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]."""
        h = h + self.dropout(self.attention(self.norm_1(h)))
        return h + self.dropout(self.mlp(self.norm_2(h)))

    def steps(self, n: int, length: int) -> TokenStep:
        """The same token by token, without dropout."""
        attend, norm_1, norm_2, mlp = self.attention.steps(n, length), self.norm_1, self.norm_2, self.mlp

        def step(t: int, h: Tensor) -> Tensor:
            h = h + attend(t, norm_1(h))
            return h + mlp(norm_2(h))

        return step


class TransformerBlocks(nn.Module):
    """A stack of blocks and a last normalisation.

    Args:
        channels: width of a token, C.
        heads: of each block; a divisor of channels.
        layers: number of blocks.
        kernel: of the attention.
        dropout: of each block.

    Raises:
        ValueError: a size below 1, heads that do not divide the channels, or a dropout outside [0, 1).

    Example:
        >>> TransformerBlocks(channels=8, heads=2, layers=2)(torch.zeros(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(self, channels: int, heads: int, layers: int, kernel: int = 1, dropout: float = 0.0):
        super().__init__()
        if min(channels, heads, layers, kernel) < 1 or channels % heads:
            raise ValueError(
                "channels, heads, layers and kernel must be 1 or more and heads must divide channels, but they are "
                f"{channels}, {heads}, {layers} and {kernel}."
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a share, 0 or more and less than 1, but it is {dropout}.")
        self.blocks = nn.ModuleList(TransformerBlock(channels, heads, kernel, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        with torch.no_grad():  # 2 * layers sums on top of each other keep the variance of one
            for block in self.each():
                for last in (block.attention.output, cast(nn.Linear, block.mlp[2])):
                    last.weight.div_(math.sqrt(2 * layers))

    def each(self) -> list[TransformerBlock]:
        """The blocks, the first one first."""
        return [cast(TransformerBlock, block) for block in self.blocks]

    def forward(self, h: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C]; token t depends on tokens 1 to t."""
        for block in self.blocks:
            h = block(h)
        return self.norm(h)

    def steps(self, n: int, length: int) -> TokenStep:
        """The same token by token, for at most `length` tokens."""
        blocks, norm = [block.steps(n, length) for block in self.each()], self.norm

        def step(t: int, h: Tensor) -> Tensor:
            for block in blocks:
                h = block(t, h)
            return norm(h)

        return step


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
        self.blocks = TransformerBlocks(channels, heads, layers, kernel, dropout)
        self.value = TokenEmbedding(channels, self.family)
        self.source = position_embedding(positions, event_shape, channels)
        self.target = position_embedding(positions, event_shape, channels)
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
        drawn = self.value(x.flatten(1)[:, self.order[:-1]])  # [B, D - 1, C], first drawn first
        h = F.pad(drawn, (0, 0, 1, 0)) + self.places()
        if context is not None and self.context_map is not None:
            h = h + self.context_map(context)[:, None]
        outputs = self.head(self.blocks(h))  # [B, D, P]
        return outputs[:, self.order.argsort()].transpose(1, 2).unflatten(2, self.event_shape)

    def steps(self, n: int, context: Tensor | None = None) -> Step:
        """Each block keeps the keys and values of the tokens it has seen."""
        order, value, head = self.order.tolist(), self.value, self.head
        advance, places = self.blocks.steps(n, self.dims), self.places()[:, None].expand(-1, n, -1)
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
