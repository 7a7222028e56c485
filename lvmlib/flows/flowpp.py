"""The coupling of Flow++: entries move by the distribution function of a mixture, told by a network with attention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.checks import check_counts, check_sizes
from lvmlib.flows.conditioners import Maker, near_zero, perceptron
from lvmlib.flows.coupling import Coupling
from lvmlib.flows.mixture import MixtureLogistic


class MixtureLogisticCoupling(Coupling):
    """A coupling whose entries move by the logit of a mixture of logistics, then by a scale and a shift.

    The way back has no formula; the quantile of the mixture is found to float precision, see `lvmlib.flows.mixture`.

    Args:
        event_shape, mask, swap, context: see `Coupling`.
        network: see `Coupling`; for pictures `attention` by default.
        components: of each mixture.

    Example:
        >>> import torch
        >>> from lvmlib import MixtureLogisticCoupling
        >>> from lvmlib.flows import attention
        >>> layer = MixtureLogisticCoupling((1, 4, 4), attention(8, blocks=1), "checkerboard")
        >>> layer(torch.ones(3, 1, 4, 4))[0].shape
        torch.Size([3, 1, 4, 4])

    Source: Ho et al. 2019, *Flow++*, sections 3.2 and 3.3.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        network: Maker | None = None,
        mask: str | Tensor = "half",
        swap: bool = False,
        context: int | None = None,
        components: int = 8,
    ):
        if network is None:
            network = attention() if len(check_sizes(event_shape)) == 3 else perceptron()
        super().__init__(event_shape, MixtureLogistic(components), network, mask, swap, context)


def attention(channels: int = 32, blocks: int = 2, heads: int = 4) -> Maker:
    """A maker of networks for pictures that turns between gated convolutions and attention over all places.

    Example:
        >>> import torch
        >>> from lvmlib.flows import attention
        >>> attention(8, blocks=1)(3, 6)(torch.zeros(5, 3, 4, 4)).shape
        torch.Size([5, 6, 4, 4])

    Source: Ho et al. 2019, *Flow++*, section 3.3.
    """
    channels, blocks, heads = check_counts(channels=channels, blocks=blocks, heads=heads)
    if channels % heads or channels % 4:
        raise ValueError(f"channels must be divisible by heads and by 4, but channels={channels} and heads={heads}.")

    def make(inputs: int, outputs: int) -> nn.Module:
        last = nn.Conv2d(channels, outputs, 3, padding=1)
        middle: list[nn.Module] = []
        for _ in range(blocks):
            middle += [
                Gated(channels, nn.Conv2d(channels, channels, 3, padding=1)),
                Gated(channels, Attention(channels, heads)),
            ]
        return near_zero(nn.Sequential(nn.Conv2d(inputs, channels, 3, padding=1), *middle, last), last)

    return make


class Gated(nn.Module):
    r"""A residual block with a gate, normalised over channels: :math:`\operatorname{norm}(h + a \odot \sigma(b))`.

    Args:
        channels: of h.
        inner: what looks at other places, from so many channels to as many.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib.flows.flowpp import Gated
        >>> Gated(4, nn.Identity())(torch.zeros(2, 4, 3, 3)).shape
        torch.Size([2, 4, 3, 3])
    """

    def __init__(self, channels: int, inner: nn.Module):
        super().__init__()
        self.inner, self.gate, self.norm = inner, nn.Conv2d(channels, 2 * channels, 1), nn.GroupNorm(1, channels)

    def forward(self, h: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        out: Tensor = self.norm(h + F.glu(self.gate(F.elu(self.inner(F.elu(h)))), dim=1))
        return out


class Attention(nn.Module):
    """Every place of a picture looks at all places.

    Args:
        channels: divisible by 4 and by `heads`.
        heads: number of heads.

    Example:
        >>> import torch
        >>> from lvmlib.flows.flowpp import Attention
        >>> Attention(8, 2)(torch.zeros(2, 8, 3, 3)).shape
        torch.Size([2, 8, 3, 3])

    Source: Vaswani et al. 2017, *Attention Is All You Need*, sections 3.2 and 3.5.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads, self.read = heads, nn.Conv2d(channels, 3 * channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        """[B, C, H, W] to the same."""
        read = self.read(h + _places(h)).flatten(2).unflatten(1, (3 * self.heads, -1))  # [B, 3 heads, C / heads, H * W]
        # In order of places: otherwise torch takes its plain path, which is three times as slow on a processor.
        query, key, value = read.transpose(2, 3).contiguous().chunk(3, 1)
        return F.scaled_dot_product_attention(query, key, value).transpose(2, 3).reshape(h.shape)


def _places(h: Tensor) -> Tensor:
    """Sines and cosines of where a place lies, [C, H, W]."""
    channels, height, width = h.shape[1:]
    rates = torch.exp(-math.log(1e3) * torch.arange(channels // 4) / (channels // 4)).to(h)
    rows = torch.arange(height).to(h)[:, None, None] * rates  # [H, 1, C / 4]
    columns = torch.arange(width).to(h)[None, :, None] * rates
    both = torch.cat([rows.expand(-1, width, -1), columns.expand(height, -1, -1)], 2)
    return torch.cat([both.sin(), both.cos()], 2).permute(2, 0, 1)
