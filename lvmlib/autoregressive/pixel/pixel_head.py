"""From the features of a pixel to the parameters of its channels, each of which may look at the channels before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lvmlib.autoregressive.families import Family, LogisticFamily
from lvmlib.autoregressive.pixel.shifted_conv import concat_elu
from lvmlib.distributions import DiscretizedLogistic
from lvmlib.draws import at_least_float32


class PixelHead(nn.Module):
    r"""Parameters of the channels of each pixel, given features that know the pixels before it only.

    A mixture of logistics has one component for the whole pixel, and its locations are coupled linearly:

    .. math::
        p(x_1, \dots, x_C) = \sum_m \pi_m \prod_c P\big(x_c \mid \mu_{cm} + \textstyle\sum_{b<c} \alpha_{cbm}\,
        \tilde x_b,\; s_{cm}\big)

    where :math:`\tilde x` is x spread over [-1, 1] and :math:`\alpha` the tanh of an output. Its conditionals are
    mixtures as well: the channels before c multiply the weights of the components by how well each explained them,

    .. math::
        p(x_c \mid x_{<c}) = \sum_m \pi_m^{(c)} P(x_c \mid \cdot), \qquad
        \log \pi_m^{(c)} = \log \pi_m + \sum_{b<c} \log P_m(x_b) + \text{const}

    so the product of what this head returns is exactly that joint mixture. A free table over the values has one hidden
    layer for each channel instead, which reads the channels before it.

    Args:
        features: per pixel.
        channels: of a picture, C.
        family: what the parameters of one channel mean.

    Source: Salimans et al. 2017, *PixelCNN++*, section 2.2.
    """

    def __init__(self, features: int, channels: int, family: Family):
        super().__init__()
        self.channels, self.family = channels, family
        pairs = channels * (channels - 1) // 2
        self.outputs = nn.ModuleList()
        if isinstance(family, LogisticFamily):
            m = family.components
            self.sizes = [m, channels * m, channels * m, pairs * m]
            self.inner = nn.Linear(features, sum(self.sizes))
            with torch.no_grad():
                self.inner.weight.mul_(0.1)
                self.inner.bias.zero_()
                self.inner.bias[m : (1 + channels) * m] = torch.linspace(-1, 1, m + 2)[1:-1].repeat(channels)
                # Components side by side, each about as wide as their distance: close to uniform over the levels.
                self.inner.bias[(1 + channels) * m : (1 + 2 * channels) * m] = -0.2 - math.log(m + 1)
        elif channels == 1:
            self.inner = nn.Linear(features, family.size)
            with torch.no_grad():
                self.inner.weight.mul_(0.1)
                self.inner.bias.zero_()
        else:
            self.inner = nn.Linear(features, channels * features)
            self.coupling = nn.Parameter(torch.randn(pairs, features))  # row c (c - 1) / 2 + b leads from b to c
            for _ in range(channels):
                layer = nn.Linear(2 * features, family.size)
                with torch.no_grad():
                    layer.weight.mul_(0.1)
                    layer.bias.zero_()
                self.outputs.append(layer)

    def forward(self, features: Tensor, x: Tensor) -> Tensor:
        """Features [B, F, H, W] and levels x [B, C, H, W] -> [B, P, C, H, W].

        Runs in the dtype of the weights, also under autocast: half precision would blur a location by half a level.
        """
        with torch.autocast(features.device.type, enabled=False):
            features = features.permute(0, 2, 3, 1).to(self.inner.weight.dtype)
            out = torch.stack(list(self.each_channel(features, lambda c: x[:, c])), 3)  # [B, H, W, C, P]
        return out.permute(0, 4, 3, 1, 2)

    def each_channel(self, features: Tensor, read: Callable[[int], Tensor]) -> Iterator[Tensor]:
        """Yield the parameters of one channel after another, [..., P], and ask for a channel only when it is needed.

        Args:
            features: [..., F].
            read: returns the levels of a channel, [...].
        """
        raw = self.inner(features)
        if isinstance(self.family, LogisticFamily):
            return self._mixtures(raw, read, self.family)
        return iter((raw,)) if self.channels == 1 else self._tables(raw, read)

    def _mixtures(self, raw: Tensor, read: Callable[[int], Tensor], family: LogisticFamily) -> Iterator[Tensor]:
        logits, loc, log_scale, coupling = at_least_float32(raw).split(self.sizes, -1)
        loc, log_scale = (t.unflatten(-1, (self.channels, -1)) for t in (loc, log_scale))  # [..., C, M]
        coupling = coupling.tanh()
        known: list[Tensor] = []  # channels before this one, spread over [-1, 1], [..., 1]
        for c in range(self.channels):
            centre = loc[..., c, :]
            for b, value in enumerate(known, start=c * (c - 1) // 2):
                centre = centre + coupling.narrow(-1, b * family.components, family.components) * value
            out = torch.cat((logits, centre, log_scale[..., c, :]), -1)
            yield out
            if c + 1 < self.channels:
                x = read(c)[..., None]
                _, centre, scale = family.parts(out.movedim(-1, 1))
                logits = logits + DiscretizedLogistic(centre, scale, family.levels).log_prob(x)
                known.append(x * (2 / (family.levels - 1)) - 1)

    def _tables(self, raw: Tensor, read: Callable[[int], Tensor]) -> Iterator[Tensor]:
        hidden = raw.unflatten(-1, (self.channels, -1)).unbind(-2)  # C of [..., F]
        known: list[Tensor] = []
        for c in range(self.channels):
            h = hidden[c]
            if c:
                known.append(read(c - 1)[..., None] * (2 / (self.family.levels - 1)) - 1)
                first = c * (c - 1) // 2
                h = h + torch.cat(known, -1).to(h.dtype) @ self.coupling[first : first + c]
            yield self.outputs[c](concat_elu(h, -1))
