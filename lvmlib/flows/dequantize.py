"""Dequantization: whole numbers become real ones, by noise within their bins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from lvmlib.checks import check_batch, check_count, check_sizes
from lvmlib.draws import Conditioned
from lvmlib.stochastic import Stochastic


class Dequantize(Stochastic):
    r"""Whole numbers x in {0, ..., K - 1} become :math:`z = (x + u) / K` in [0, 1), with u uniform on [0, 1).

    What it pays is the constant :math:`-D \log K`: the density of the noise, as the likelihood that z lies in the bin
    of x is 1. The chain behind it bounds the probability of x from below,

    .. math:: \log P(x) = \log \int_{[0, 1)^D} p\!\left(\frac{x + u}{K}\right) K^{-D}\, du
        \;\ge\; \mathbb{E}_u \log p\!\left(\frac{x + u}{K}\right) - D \log K

    Without noise, a density could be infinite on the few values that data take.

    Args:
        event_shape: shape of one example, with D entries in all.
        levels: number of values that an entry takes, K.

    Raises:
        ValueError: levels below 2.

    Example:
        >>> import torch
        >>> from lvmlib import Dequantize
        >>> z, paid = Dequantize((2,), levels=4)(torch.tensor([[0, 3]]))
        >>> (4 * z).floor(), paid
        (tensor([[0., 3.]]), tensor([-2.7726]))

    Source: Uria et al. 2013, *RNADE*; Theis et al. 2016, *A note on the evaluation of generative models*, section 3.1.
    """

    carries_data = True
    levels: int
    like: Tensor

    def __init__(self, event_shape: Sequence[int], levels: int = 256):
        super().__init__()
        self.event_shape = self.latent_shape = check_sizes(event_shape)
        self.levels = check_count(levels, "levels", "counts the values of an entry", least=2)
        self.support = constraints.integer_interval(0, self.levels - 1)
        self.register_buffer("like", torch.zeros(()), persistent=False)  # its dtype is that of z

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """The uniform distribution over the bin of x."""
        check_batch(x, self.event_shape or (), f"The input of {type(self).__name__}")
        return UniformInBin(x.to(self.like), self.levels)

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """The bin that z lies in, with certainty."""
        return Bin(z, self.levels)


def edge(levels: int, dtype: torch.dtype) -> float:
    """How far noise keeps from 0 and 1, so that no sum (x + u) / K is rounded into the next bin.

    Example:
        >>> import torch
        >>> from lvmlib.flows.dequantize import edge
        >>> f"{edge(256, torch.float32):.1e}"
        '6.1e-05'
    """
    return 2 * levels * torch.finfo(dtype).eps


class UniformInBin(Distribution):
    """The uniform distribution on [x, x + 1) / K for each entry; its log-density is D log K where it draws.

    Example:
        >>> import torch
        >>> from lvmlib.flows.dequantize import UniformInBin
        >>> UniformInBin(torch.tensor([[1.0]]), 2).rsample().ge(0.5).item()
        True
    """

    has_rsample, arg_constraints = True, {}

    def __init__(self, x: Tensor, levels: int):
        self.x, self.levels = x, levels
        super().__init__(x.shape[:1], x.shape[1:], validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """A point of the bin of each row: [\\*sample_shape, B, ...]."""
        least = edge(self.levels, self.x.dtype)
        noise = torch.rand(*sample_shape, *self.x.shape, dtype=self.x.dtype, device=self.x.device)
        return (self.x + noise.clamp(least, 1 - least)) / self.levels

    def log_prob(self, z: Tensor) -> Tensor:
        """D log K for points in the bin, minus infinity elsewhere."""
        value = self.event_shape.numel() * math.log(self.levels)
        return _in_bin(z, self.x, self.levels, len(self.event_shape), value)


class Bin(Distribution):
    """The whole number whose bin holds z, with certainty; z below 0 or from 1 on belong to the outermost bins.

    Example:
        >>> import torch
        >>> from lvmlib.flows.dequantize import Bin
        >>> Bin(torch.tensor([[0.3, 0.99]]), 4).sample()
        tensor([[1., 3.]])
    """

    has_rsample, arg_constraints = False, {}

    def __init__(self, z: Tensor, levels: int):
        self.z, self.levels = z, levels
        super().__init__(z.shape[:1], z.shape[1:], validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """The number of the bin: [\\*sample_shape, B, ...]."""
        return _bin_of(self.z, self.levels).expand(*sample_shape, *self.z.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """0 where all entries of z lie in the bins of x, minus infinity elsewhere."""
        return _in_bin(self.z, x, self.levels, len(self.event_shape), 0.0)


def _bin_of(z: Tensor, levels: int) -> Tensor:
    return (z.detach() * levels).floor().clamp(0, levels - 1)


def _in_bin(z: Tensor, x: Tensor, levels: int, axes: int, value: float) -> Tensor:
    inside = (_bin_of(z, levels) == x).flatten(-axes).all(-1) if axes else _bin_of(z, levels) == x
    return torch.full(inside.shape, value, dtype=z.dtype, device=z.device).masked_fill(~inside, -math.inf)
