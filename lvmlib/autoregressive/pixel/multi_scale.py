"""Multi-scale: a small picture drawn pixel by pixel, then doubled, with a quarter of all pixels drawn at once."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from lvmlib.autoregressive.autoregressive import Autoregressive
from lvmlib.base import Density
from lvmlib.checks import check_batch, check_count, check_counts


class MultiScale(Density):
    r"""A picture drawn from coarse to fine, in groups of pixels that are independent given all groups before them.

    The pixels in every :math:`2^S`-th row and column are a small picture with a model of its own. Each doubling adds
    three groups to the grid: the pixels to the right of those that are there, those below, and those diagonally below.

    .. math:: \log p(x) = \log p(x_{\text{coarse}})
        + \sum_{g} \sum_{t \in g} \log p(x_t \mid \text{all groups before } g)

    The likelihood is exact. Sampling takes the steps of the small picture and 3 more for each doubling: 55 in place of
    784 for 28x28 pixels from 7x7. The price is that pixels of one group cannot look at one another.

    Args:
        coarse: the model of the small picture, event shape (C, h, w).
        doublings: S; the whole picture is :math:`2^S` times as high and as wide.
        channels: width of the convolutional networks that predict a group.
        layers: residual blocks in each of them.

    Raises:
        ValueError: the small picture is none, or `doublings` is below 1.

    Example:
        >>> from lvmlib import FVSBN
        >>> from lvmlib.autoregressive import MultiScale
        >>> model = MultiScale(FVSBN((1, 7, 7)), doublings=2, channels=8, layers=1)
        >>> model.sample(3).shape
        torch.Size([3, 1, 28, 28])

    Source: Reed et al. 2017, *Parallel multiscale autoregressive density estimation*; van den Oord et al. 2016,
    *Pixel recurrent neural networks*, section 3.6, for the coarse-to-fine order.
    """

    def __init__(self, coarse: Autoregressive, doublings: int = 2, channels: int = 32, layers: int = 3):
        doublings, channels = check_counts(doublings=doublings, channels=channels)
        layers = check_count(layers, "layers", "", least=0)
        if len(coarse.event_shape) != 3:
            shape = tuple(coarse.event_shape)
            raise ValueError(f"MultiScale doubles pictures (C, h, w), but the small model has event shape {shape}.")
        colours, height, width = coarse.event_shape
        super().__init__((colours, height << doublings, width << doublings))
        self.coarse, self.doublings, self.support, self.family = coarse, doublings, coarse.support, coarse.family
        self.networks = nn.ModuleList(
            _GroupNetwork(known * colours, coarse.family.size * colours, channels, layers)
            for _ in range(doublings)
            for known in (1, 2, 3)
        )

    @property
    def steps(self) -> int:
        """Number of draws that follow one another, one for each entry of the small picture, three for each doubling."""
        return self.coarse.dims + 3 * self.doublings

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-probability of each picture.

        Args:
            x: [B, C, H, W].
            context: [B, ...] for the small picture's model, or None.

        Returns:
            [B], nats.
        """
        check_batch(x, self.event_shape)
        self.coarse.check_values(x, "x")
        x = x.to(self.coarse.order.device, self.coarse.value_dtype)
        stride = 1 << self.doublings
        total = self.coarse.log_prob(x[..., ::stride, ::stride], context)
        for level in range(self.doublings):  # from coarse to fine
            stride = 1 << (self.doublings - level - 1)
            groups = _split(x[..., ::stride, ::stride])
            for known in (1, 2, 3):
                outputs = self._outputs(level, groups[:known])
                total = total + self.family.log_prob(outputs, groups[known])
        return total

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw `n` pictures: the small one pixel by pixel, then group by group.

        Args:
            n: how many.
            context: [n, ...] for the small picture's model, or None.
            temperature: as in `Autoregressive.sample`.

        Returns:
            [n, C, H, W].
        """
        x = self.coarse.sample(n, context, temperature)
        for level in range(self.doublings):
            groups = [x]
            for _ in (1, 2, 3):
                outputs = self._outputs(level, groups)
                flat = outputs.movedim(1, -1).flatten(0, -2)  # [n * C * h * w, P]
                u = torch.rand(len(flat), 2, dtype=x.dtype, device=flat.device)
                groups.append(self.family.draw(flat, u, temperature).view_as(x))
            x = _merge(groups)
        return x

    def _outputs(self, level: int, groups: list[Tensor]) -> Tensor:
        """Parameters of the next group from those before it: [B, P, C, h, w]."""
        network = cast(_GroupNetwork, self.networks[3 * level + len(groups) - 1])
        known = self.coarse.encode(torch.cat(groups, 1))
        return network(known).unflatten(1, (self.family.size, self.event_shape[0])).to(known.dtype)


class _GroupNetwork(nn.Module):
    """Convolutions with residual blocks; they may look everywhere, for all that they are shown is drawn already."""

    def __init__(self, inputs: int, outputs: int, channels: int, layers: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 3, padding=1)
        self.inner = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2 * layers))
        self.last = nn.Conv2d(channels, outputs, 1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] -> [B, outputs, h, w]."""
        h = self.first(x)
        blocks = iter(self.inner)
        for a, b in zip(blocks, blocks):
            h = h + b(silu(a(silu(h))))
        return self.last(silu(h))


def _split(x: Tensor) -> list[Tensor]:
    """The four groups of a picture, [B, C, 2h, 2w] -> 4 of [B, C, h, w]: there, right of it, below, diagonal."""
    return [x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]]


def _merge(groups: list[Tensor]) -> Tensor:
    """The inverse of `_split`."""
    rows = [torch.stack(groups[i : i + 2], -1).flatten(-2) for i in (0, 2)]  # 2 of [B, C, h, 2w]
    return torch.stack(rows, -2).flatten(-3, -2)
