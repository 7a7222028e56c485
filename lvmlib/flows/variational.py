"""Variational dequantization: a flow, given x, chooses the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.base import Density
from lvmlib.checks import check_batch, check_type
from lvmlib.draws import Conditioned
from lvmlib.flows.dequantize import Dequantize, edge


class VariationalDequantize(Dequantize):
    r"""Dequantization whose noise comes from a conditional density q(u|x), so that the bound can be tight.

    .. math:: \log P(x) \ge \mathbb{E}_{u \sim q(u|x)}\left[\log p\!\left(\frac{x + u}{K}\right) - D \log K
        - \log q(u \mid x)\right]

    Draws v from a density on the whole space are squeezed into the bins, :math:`u = \sigma(v)`, a hair's breadth from
    their borders.

    Args:
        event_shape: shape of one example.
        noise: q(v|c), a density of this shape with gradients through its draws, such as a conditional flow. Its context
            c is what the encoder makes of x, scaled to [-1, 1].
        levels: number of values that an entry takes, K.
        encoder: a network from x to c that keeps all axes but the first of an event, such as convolutions; it runs once
            for each x, however many draws are taken. None: c is x.

    Raises:
        TypeError: `noise` is no `Density`.
        ValueError: `noise` draws another shape, or levels is below 2.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import ConditionalNormal, VariationalDequantize
        >>> noise = ConditionalNormal((2,), nn.Linear(2, 4))
        >>> layer = VariationalDequantize((2,), noise, levels=4)
        >>> z, paid = layer(torch.tensor([[0, 3]]))
        >>> (4 * z).floor().tolist(), paid.shape
        ([[0.0, 3.0]], torch.Size([1]))

    Source: Ho et al. 2019, *Flow++*, section 3.1.
    """

    def __init__(self, event_shape: Sequence[int], noise: Density, levels: int = 256, encoder: nn.Module | None = None):
        check_type(noise, Density, "VariationalDequantize draws its noise from a Density, but it was given a {}.")
        super().__init__(event_shape, levels)
        if noise.event_shape != self.event_shape:
            raise ValueError(
                f"The noise must have the shape of the data, {list(event_shape)}, but it draws "
                f"{list(noise.event_shape)}."
            )
        self.encoder = nn.Identity() if encoder is None else encoder
        self.noise = NoiseInBin(noise, self.levels)

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Conditioned:
        """q(z|x), with a context of x and what the encoder makes of it, side by side; the layer's own is not used."""
        check_batch(x, self.event_shape or (), "The input of VariationalDequantize")
        x = x.to(self.like)
        c = self.encoder(2 * x / (self.levels - 1) - 1)
        return Conditioned(self.noise, torch.cat([x, c], 1))


class NoiseInBin(Density):
    """A density on the whole space, squeezed into the bins [x, x + 1) / K; its context holds x and c side by side.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import ConditionalNormal
        >>> from lvmlib.flows.variational import NoiseInBin
        >>> density = NoiseInBin(ConditionalNormal((1,), nn.Linear(1, 2)), levels=4)
        >>> bool(density.sample(1, torch.tensor([[3.0, 0.0]])) >= 0.75)
        True
    """

    def __init__(self, noise: Density, levels: int):
        super().__init__(noise.event_shape)
        self.noise, self.levels = noise, levels

    @property
    def has_rsample(self) -> bool:
        return self.noise.has_rsample

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        x, c = self._parts(context)
        least = edge(self.levels, z.dtype)
        u = ((z * self.levels - x - least) / (1 - 2 * least)).clamp(least, 1 - least)
        v = u.log() - torch.log1p(-u)
        return self.noise.log_prob(v, c) - self._log_det(v)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        x, c = self._parts(context)
        return self._squeezed(self.noise.sample(n, c, temperature), x)

    def rsample_with_log_prob(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, c = self._parts(context)
        v, log_prob = self.noise.rsample_with_log_prob(n, c)
        return self._squeezed(v, x), log_prob - self._log_det(v)

    def _parts(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if context is None:
            raise ValueError("NoiseInBin needs a context, which holds x and what is known of it; pass context=.")
        return context[:, : self.event_shape[0]], context[:, self.event_shape[0] :]

    def _squeezed(self, v: Tensor, x: Tensor) -> Tensor:
        least = edge(self.levels, v.dtype)
        return (x + least + (1 - 2 * least) * v.sigmoid()) / self.levels

    def _log_det(self, v: Tensor) -> Tensor:
        """Of the map from v into the bin."""
        constant = math.log1p(-2 * edge(self.levels, v.dtype)) - math.log(self.levels)
        return (F.logsigmoid(v) + F.logsigmoid(-v) + constant).flatten(1).sum(1)
