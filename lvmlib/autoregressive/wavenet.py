"""WaveNet: causal convolutions whose gaps double from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive, Step
from lvmlib.autoregressive.reading import vector_size
from lvmlib.autoregressive.tokens import PositionEmbedding, TokenEmbedding
from lvmlib.checks import check_count, check_counts


class GatedLayer(nn.Module):
    r"""One dilated causal convolution with a gate.

    .. math:: z_t = \tanh\Big(\sum_{j=0}^{k-1} F_j h_{t - jd} + f\Big) \odot
        \sigma\Big(\sum_{j=0}^{k-1} G_j h_{t - jd} + g\Big), \qquad h'_t = h_t + R z_t, \qquad s_t = S z_t

    Args:
        channels: of h, z and s.
        kernel: number of taps, k.
        dilation: gap between two taps, d.
        context: number of entries of a context vector, which shifts both halves of the gate; or None.
        last: leave out R, as no layer follows.
    """

    def __init__(self, channels: int, kernel: int, dilation: int, context: int | None, last: bool):
        super().__init__()
        self.kernel, self.dilation = kernel, dilation
        # Pictures of one line: with the channels stored last these are twice as fast as one-dimensional convolutions.
        self.filter = nn.Conv2d(channels, channels, (1, kernel), dilation=(1, dilation))
        self.gate = nn.Conv2d(channels, channels, (1, kernel), dilation=(1, dilation))
        self.context_map = None if context is None else nn.Linear(context, 2 * channels, bias=False)
        self.residual = None if last else nn.Conv2d(channels, channels, 1, bias=False)
        self.skip = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, h: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """h [B, C, 1, D] -> what the next layer reads, and what goes straight to the output, both of that shape."""
        past = F.pad(h, (self.memory, 0))
        filtered, gate = self.filter(past), self.gate(past)
        if context is not None and self.context_map is not None:
            shift = self.context_map(context)[:, :, None, None].chunk(2, 1)
            filtered, gate = filtered + shift[0], gate + shift[1]
        z = filtered.tanh() * gate.sigmoid()
        return (h if self.residual is None else h + self.residual(z)), self.skip(z)

    @property
    def memory(self) -> int:
        """How far back the oldest tap lies."""
        return (self.kernel - 1) * self.dilation

    def taps(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Filter and gate as one affine map of the k taps, the oldest first: weight [k C, 2 C], bias [1 or n, 2 C]."""
        weight = torch.cat([self.filter.weight, self.gate.weight])[:, :, 0]  # [2 C, C, k]
        bias = torch.cat([cast(Tensor, self.filter.bias), cast(Tensor, self.gate.bias)])[None]
        if context is not None and self.context_map is not None:
            bias = bias + self.context_map(context)
        return weight.permute(2, 1, 0).flatten(0, 1).contiguous(), bias


class WaveNet(Autoregressive):
    r"""Causal dilated convolutions with gates, residuals and skip connections.

    With kernel k and dilations 1, 2, 4, ... a position sees the

    .. math:: R = 1 + (k - 1) \sum_l d_l

    positions just before it, `receptive_field`, and R doubles with each layer. One stack has the dilations
    :math:`1, 2, \dots, 2^{\text{layers} - 1}`; further stacks repeat them.

    Cached sampling keeps the last :math:`(k - 1) d_l` inputs of each layer in a ring, so that a draw costs one product
    per tap and layer at whatever position (Paine et al. 2016, *Fast Wavenet Generation Algorithm*).

    Args:
        event_shape: shape of one example, with D entries in all.
        channels: width of each layer, C.
        layers: of each stack.
        stacks: how many.
        kernel: taps of each convolution.
        positions: also tell the network where it is: one learned vector per channel, row and column (or whatever axes
            `event_shape` has). A convolution alone does not know at which column of a picture it stands.
        levels, logistics, context, order: see `Autoregressive`.

    Raises:
        ValueError: channels, layers or stacks below 1, or a kernel below 2.

    Example:
        >>> from lvmlib import WaveNet
        >>> model = WaveNet((8000,), layers=10, stacks=2, levels=256)
        >>> model.receptive_field
        2047

    Source: van den Oord et al. 2016, *WaveNet: A Generative Model for Raw Audio*.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        channels: int = 32,
        layers: int = 8,
        stacks: int = 1,
        kernel: int = 2,
        positions: bool = False,
        levels: int = 2,
        logistics: int = 0,
        context: int | None = None,
        order: Sequence[int] | Tensor | None = None,
    ):
        super().__init__(event_shape, levels, logistics, context, order)
        context = vector_size(self.context_shape, type(self).__name__)
        channels, layers, stacks = check_counts(channels=channels, layers=layers, stacks=stacks)
        kernel = check_count(kernel, "kernel", "counts taps", least=2)
        self.embed = TokenEmbedding(channels, self.family)
        self.positions = PositionEmbedding(self.event_shape, channels) if positions else None
        dilations = [2**i for i in range(layers)] * stacks
        self.layers = nn.ModuleList(
            GatedLayer(channels, kernel, dilation, context, last=i == len(dilations) - 1)
            for i, dilation in enumerate(dilations)
        )
        self.skip_bias = nn.Parameter(torch.zeros(channels))
        self.head = nn.Sequential(
            nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, self.family.size)
        )
        last = cast(nn.Linear, self.head[3])
        nn.init.normal_(last.weight, std=0.01)  # begin close to the uniform distribution
        nn.init.zeros_(last.bias)

    @property
    def gated_layers(self) -> list[GatedLayer]:
        """The layers, the first one first."""
        return [cast(GatedLayer, layer) for layer in self.layers]

    @property
    def receptive_field(self) -> int:
        """Number of positions just before it, in the order of drawing, that a position sees."""
        return 1 + sum(layer.memory for layer in self.gated_layers)

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One pass of convolutions over the sequence, moved back by one position."""
        h = self.inputs(x.flatten(1))
        total = self.skip_bias[:, None, None]
        for layer in self.layers:
            h, skip = layer(h, context)
            total = total + skip
        outputs = self.head(total[:, :, 0].transpose(1, 2))  # [B, D, P]
        return outputs[:, self.order.argsort()].transpose(1, 2).unflatten(2, self.event_shape)

    def inputs(self, x: Tensor) -> Tensor:
        """What the first layer reads, moved back by one position: flat x [B, D] -> [B, C, 1, D]."""
        drawn = self.embed(x[:, self.order])  # [B, D, C], first drawn first
        h = F.pad(drawn[:, :-1], (0, 0, 1, 0))
        if self.positions is not None:
            h = h + self.positions()[self.order]
        return h.transpose(1, 2)[:, :, None]  # the channels stay stored last

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """Each layer reads its earlier taps from a ring of its past inputs and writes the new one over the oldest."""
        order, head, embed, skip_bias = self.order.tolist(), self.head, self.embed, self.skip_bias
        start = skip_bias.new_zeros(n, len(skip_bias))
        place = None if self.positions is None else self.positions()[self.order]  # [D, C]
        layers = []
        for layer in self.gated_layers:
            gaps = range(layer.memory, 0, -layer.dilation)  # how far back the taps lie, the oldest first
            residual = None if layer.residual is None else layer.residual.weight[:, :, 0, 0].T.contiguous()
            layers.append((start.new_zeros(layer.memory, *start.shape), gaps, *layer.taps(context), residual))
        if x is not None and known:
            h = self.inputs(x)[..., :known]
            for layer, (ring, *_) in zip(self.gated_layers, layers, strict=True):
                times = torch.arange(max(0, known - len(ring)), known)
                ring[times % len(ring)] = h[:, :, 0, times].permute(2, 0, 1)
                h, _ = layer(h, context)
        channels = len(skip_bias)
        skip = torch.cat([layer.skip.weight[:, :, 0, 0] for layer in self.gated_layers], 1).T.contiguous()

        def step(t: int, x: Tensor) -> Tensor:
            h = embed(x[:, order[t - 1]]) if t else start
            if place is not None:
                h = h + place[t]
            gated = []
            for ring, gaps, weight, bias, residual in layers:
                taps = torch.cat([*[ring[(t - gap) % len(ring)] for gap in gaps], h], 1)  # [n, k C]
                ring[t % len(ring)] = h
                both = torch.addmm(bias, taps, weight)
                z = both[:, :channels].tanh() * both[:, channels:].sigmoid()
                gated.append(z)
                if residual is not None:
                    h = torch.addmm(h, z, residual)
            return head(torch.addmm(skip_bias, torch.cat(gated, 1), skip))

        return step
