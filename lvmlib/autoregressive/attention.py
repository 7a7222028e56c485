"""Causal self-attention and stacks of it: each token looks at those before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.checks import check_counts, check_share

TokenStep = Callable[[int, Tensor], Tensor]
"""``step(t, h) -> [n, C]``, what a layer makes of token t, ``h`` [n, C], given the tokens it was shown before."""


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
        qkv = self.inputs(self.taps(h))  # [B, T, 3 C]
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, T, d]
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(seen.transpose(1, 2).flatten(2))

    def taps(self, h: Tensor) -> Tensor:
        """Each token beside the kernel - 1 before it, the oldest first: [B, T, C] -> [B, T, kernel * C]."""
        if self.kernel == 1:
            return h
        T = h.shape[1]
        return torch.cat([F.pad(h, (0, 0, gap, 0))[:, :T] for gap in reversed(range(self.kernel))], 2)

    def steps(self, n: int, length: int, past: Tensor | None = None) -> TokenStep:
        """The same token by token, for those after `past` [n, m, C], which are read at once.

        Keys and values of earlier tokens stay in buffers; a token adds one column.
        """
        heads, channels, output = self.heads, self.output.in_features, self.output
        d = channels // heads
        scale = torch.ones_like(self.inputs.bias)
        scale[:channels] /= math.sqrt(d)  # queries come out divided by the root already
        weight, bias = self.inputs.weight * scale[:, None], self.inputs.bias * scale
        keys, values = bias.new_zeros(n, heads, d, length), bias.new_zeros(n, heads, length, d)
        flat_keys, flat_values = keys.flatten(0, 1), values.flatten(0, 1)  # views
        before = [bias.new_zeros(n, channels)] * (self.kernel - 1)  # the taps of the next token, the oldest first
        if past is not None:
            m, taps = past.shape[1], self.taps(past)
            both = F.linear(taps, weight[channels:], bias[channels:]).view(n, m, 2, heads, d)
            keys[..., :m], values[:, :, :m] = both[:, :, 0].permute(0, 2, 3, 1), both[:, :, 1].transpose(1, 2)
            before = list(taps[:, -1].split(channels, 1)[1:])

        def step(t: int, h: Tensor) -> Tensor:
            taps = h
            if before:
                taps = torch.cat([*before, h], 1)
                before.append(h)
                before.pop(0)
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

    def steps(self, n: int, length: int, past: Tensor | None = None) -> TokenStep:
        """The same token by token, without dropout, for those after `past` [n, m, C]."""
        attend = self.attention.steps(n, length, None if past is None else self.norm_1(past))
        norm_1, norm_2, mlp = self.norm_1, self.norm_2, self.mlp

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
        >>> import torch
        >>> from lvmlib.autoregressive.attention import TransformerBlocks
        >>> TransformerBlocks(channels=8, heads=2, layers=2)(torch.zeros(3, 5, 8)).shape
        torch.Size([3, 5, 8])
    """

    def __init__(self, channels: int, heads: int, layers: int, kernel: int = 1, dropout: float = 0.0):
        super().__init__()
        channels, heads, layers, kernel = check_counts(channels=channels, heads=heads, layers=layers, kernel=kernel)
        if channels % heads:
            raise ValueError(f"heads must divide channels, but they are {heads} and {channels}.")
        dropout = check_share(dropout, "dropout")
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

    def steps(self, n: int, length: int, past: Tensor | None = None) -> TokenStep:
        """The same token by token, for at most `length` tokens, of which `past` [n, m, C] are read in one pass."""
        blocks, norm = [], self.norm
        for block in self.each():
            blocks.append(block.steps(n, length, past))
            past = None if past is None else block(past)

        def step(t: int, h: Tensor) -> Tensor:
            for block in blocks:
                h = block(t, h)
            return norm(h)

        return step
