"""_Toy densities along curves, whose integral is taken by quadrature."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lvmlib.toys.plane import LOG_2PI, _Toy


class _NoisyCurves(_Toy):
    r"""A uniformly chosen one of two curves, a point on it, plus :math:`\mathcal{N}(0, \sigma^2 I)`.

    .. math::
        p(x) = \frac12 \sum_{i=1}^{2} \int_0^1 \mathcal{N}\!\left(x; c_i(t), \sigma^2 I\right) w(t) \, dt

    The integral has no closed form. Gauss-Legendre quadrature gives it to nine digits (in float64), because the
    integrand is smooth and neighbouring nodes lie less than :math:`\sigma` apart.
    """

    nodes: Tensor  # [2K, 2], points of both curves
    node_log_weights: Tensor  # [2K]
    sigma: float
    count: int  # K

    def __init__(self) -> None:
        super().__init__()
        t, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(self.count))
        t, weights = (t + 1) / 2, weights / 2  # from [-1, 1] to [0, 1]
        weights = weights * self._weight(t) / 2
        self.register_buffer("nodes", self._curves(t).flatten(0, 1).to(self.origin), persistent=False)
        self.register_buffer("node_log_weights", weights.log().repeat(2).to(self.origin), persistent=False)

    def _curves(self, t: Tensor) -> Tensor:
        """Both curves at t: [n] -> [2, n, 2]."""
        raise TypeError(f"{type(self).__name__} does not define _curves(t).")

    def _weight(self, t: Tensor) -> Tensor:
        """Density of t on [0, 1]."""
        return torch.ones_like(t)

    def _parameter(self, n: int) -> Tensor:
        """Draws of t from that density."""
        return self._uniform(n)

    def _log_prob(self, x: Tensor) -> Tensor:
        return torch.cat([self._log_prob_of_piece(piece) for piece in x.split(4096)])  # each needs tensors [B, 2K]

    def _log_prob_of_piece(self, x: Tensor) -> Tensor:
        squares = (x[:, :1] - self.nodes[:, 0]).square() + (x[:, 1:] - self.nodes[:, 1]).square()  # [B, 2K]
        log_normal = -squares / (2 * self.sigma**2) - LOG_2PI - 2 * math.log(self.sigma)
        return (self.node_log_weights + log_normal).logsumexp(1)

    def _sample(self, n: int) -> Tensor:
        points = self._curves(self._parameter(n))  # [2, n, 2]
        which = self._choice(n, 2)
        return points[which, torch.arange(n, device=which.device)] + self.sigma * self._normal(n)


class TwoMoons(_NoisyCurves):
    r"""Two half circles of radius 2 that reach into each other, uniform along the arc, plus Gaussian noise of
    :math:`\sigma = 0.2`.

    .. math::
        p(x) = \frac{1}{2\pi} \int_0^\pi
        \mathcal{N}\!\left(x; \binom{2\cos\theta - 1}{2\sin\theta - 0.2}, \sigma^2 I\right) +
        \mathcal{N}\!\left(x; \binom{1 - 2\cos\theta}{0.8 - 2\sin\theta}, \sigma^2 I\right) d\theta

    The integral is taken by Gauss-Legendre quadrature.

    Example:
        >>> import torch
        >>> from lvmlib.toys import TwoMoons
        >>> top = torch.tensor([[-1.0, 1.8]])       # the top of the upper moon
        >>> round(TwoMoons().log_prob(top).item(), 3)
        -1.839
    """

    sigma = 0.2
    count = 128

    def _curves(self, t: Tensor) -> Tensor:
        cos, sin = (math.pi * t).cos(), (math.pi * t).sin()
        upper = torch.stack([2 * cos - 1, 2 * sin - 0.2], -1)
        lower = torch.stack([1 - 2 * cos, 0.8 - 2 * sin], -1)
        return torch.stack([upper, lower])


class TwoSpirals(_NoisyCurves):
    r"""Two spirals of one and a half turns, :math:`\pm \frac{\varphi}{3} (-\cos\varphi, \sin\varphi)`, plus Gaussian
    noise of :math:`\sigma = 0.1`.

    The angle is :math:`\varphi = 3 \pi s` with density :math:`2 s` on [0, 1], so that the points thin out little along
    the arms. The usual recipe adds a uniform jitter too, left out here. The integral over :math:`s` is taken by
    Gauss-Legendre quadrature.

    Example:
        >>> import torch
        >>> from lvmlib.toys import TwoSpirals
        >>> p = TwoSpirals()
        >>> x = p.sample(4)
        >>> torch.allclose(p.log_prob(x), p.log_prob(-x), atol=1e-5)
        True
    """

    sigma = 0.1
    count = 384

    def _curves(self, t: Tensor) -> Tensor:
        angle = 3 * math.pi * t
        arm = (angle / 3)[:, None] * torch.stack([-angle.cos(), angle.sin()], -1)
        return torch.stack([arm, -arm])

    def _weight(self, t: Tensor) -> Tensor:
        return 2 * t

    def _parameter(self, n: int) -> Tensor:
        return self._uniform(n).sqrt()
