"""Densities in the plane that are easy to look at and hard to fit, each with its exact log-density.

The shapes are those on which flows are usually shown (Grathwohl et al. 2019, *FFJORD*, section 5.1, and their code), at
the same scale: all lie within [-5, 5]^2. Where the usual recipe for drawing samples has no density in closed form, the
recipe was changed slightly, and the docstring says how; `log_prob` and `sample` always belong to the same density.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lvmlib.base import Density, check_batch, check_context

LOG_2PI = math.log(2 * math.pi)


class _Toy(Density):
    """A density over the plane without parameters; it accepts a context and ignores it."""

    origin: Tensor  # [2], zeros; it carries the device and the dtype

    def __init__(self) -> None:
        super().__init__((2,))
        self.register_buffer("origin", torch.zeros(2), persistent=False)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each point.

        Args:
            x: [B, 2].
            context: ignored; [B, ...] or None.

        Returns:
            [B], nats; :math:`-\\infty` where the density is zero.
        """
        check_batch(x, self.event_shape)
        check_context(context, len(x))
        return self._log_prob(x)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """Draw `n` points: [n, 2]."""
        check_context(context, n)
        return self._sample(n)

    def _log_prob(self, x: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not define _log_prob(x).")

    def _sample(self, n: int) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not define _sample(n).")

    def _choice(self, n: int, k: int) -> Tensor:
        return torch.randint(k, (n,), device=self.origin.device)

    def _uniform(self, n: int) -> Tensor:
        return torch.rand(n, device=self.origin.device, dtype=self.origin.dtype)

    def _normal(self, n: int) -> Tensor:
        return torch.randn(n, 2, device=self.origin.device, dtype=self.origin.dtype)


class EightGaussians(_Toy):
    r"""Eight Gaussians on a circle, :math:`p(x) = \frac18 \sum_k \mathcal{N}(x; \mu_k, \sigma^2 I)`.

    The means lie at radius :math:`4 / \sqrt 2`, and :math:`\sigma = 0.5 / \sqrt 2`. Its entropy is 2.8316 nats.

    Example:
        >>> round(EightGaussians().log_prob(torch.tensor([[4 / 2**0.5, 0.0]])).item(), 4)    # on top of a Gaussian
        -1.8379
    """

    means: Tensor  # [8, 2]
    sigma = 0.5 / math.sqrt(2)

    def __init__(self) -> None:
        super().__init__()
        angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
        means = 4 / math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1)
        self.register_buffer("means", means.to(self.origin), persistent=False)

    def _log_prob(self, x: Tensor) -> Tensor:
        squares = (x[:, None] - self.means).square().sum(-1)  # [B, 8]
        log_normal = -squares / (2 * self.sigma**2) - LOG_2PI - 2 * math.log(self.sigma)
        return log_normal.logsumexp(1) - math.log(8)

    def _sample(self, n: int) -> Tensor:
        return self.means[self._choice(n, 8)] + self.sigma * self._normal(n)


class Checkerboard(_Toy):
    r"""Uniform on the eight dark squares of a 4x4 board over :math:`[-4, 4]^2`; its entropy is :math:`\ln 32` nats.

    Example:
        >>> Checkerboard().log_prob(torch.tensor([[1.0, 1.0], [1.0, -1.0]])).exp()     # a dark square and a light one
        tensor([0.0312, 0.0000])
    """

    def _log_prob(self, x: Tensor) -> Tensor:
        column, row = torch.floor(x / 2).unbind(1)
        dark = ((column + row) % 2 == 0) & (x.abs() < 4).all(1)
        return x.new_full((len(x),), -math.log(32)).masked_fill(~dark, -math.inf)

    def _sample(self, n: int) -> Tensor:
        column = self._choice(n, 4) - 2
        row = 2 * self._choice(n, 2) - 2 + column % 2  # of the two rows whose squares are dark in this column
        corner = torch.stack([column, row], 1)
        return 2 * (corner + torch.stack([self._uniform(n), self._uniform(n)], 1))


class Rings(_Toy):
    r"""Four rings: a point on a circle of radius :math:`R`, plus :math:`\mathcal{N}(0, \sigma^2 I)`.

    .. math::
        p(x) = \frac14 \sum_R \frac{1}{2 \pi \sigma^2} \exp\!\left(-\frac{|x|^2 + R^2}{2 \sigma^2}\right)
        I_0\!\left(\frac{|x| R}{\sigma^2}\right)

    with :math:`R \in \{0.75, 1.5, 2.25, 3\}`, :math:`\sigma = 0.08` and the modified Bessel function :math:`I_0`, which
    comes from the integral over the circle (so :math:`|x|` has a mixture of Rice distributions).

    Example:
        >>> p = Rings()
        >>> bool(p.log_prob(torch.tensor([[3.0, 0.0]])) > p.log_prob(torch.tensor([[2.6, 0.0]])))
        True
    """

    radii: Tensor  # [4]
    sigma = 0.08

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("radii", torch.tensor([0.75, 1.5, 2.25, 3.0]), persistent=False)

    def _log_prob(self, x: Tensor) -> Tensor:
        r = x.norm(dim=1, keepdim=True)  # [B, 1]
        # i0e(a) = exp(-a) I0(a) neither overflows nor vanishes, and completes the square in the exponent
        log_bessel = torch.special.i0e(r * self.radii / self.sigma**2).log()
        log_ring = log_bessel - (r - self.radii).square() / (2 * self.sigma**2) - LOG_2PI - 2 * math.log(self.sigma)
        return log_ring.logsumexp(1) - math.log(4)

    def _sample(self, n: int) -> Tensor:
        angle = 2 * math.pi * self._uniform(n)
        circle = torch.stack([angle.cos(), angle.sin()], 1)
        return self.radii[self._choice(n, 4), None] * circle + self.sigma * self._normal(n)


class Pinwheel(_Toy):
    r"""Five arms: a Gaussian at (1, 0) with standard deviations 0.3 and 0.1, turned, twisted and doubled in size.

    A point :math:`v` is turned by :math:`2 \pi k / 5 + \frac14 e^{|v|}`. A rotation by an angle that depends on the
    radius alone keeps areas, so the density follows by turning back:

    .. math::
        p(x) = \frac14 \cdot \frac15 \sum_{k=0}^{4} \mathcal{N}\!\left(R_{-2\pi k/5 - \exp(|x|/2)/4}\; x / 2;
        (1, 0), \operatorname{diag}(0.3^2, 0.1^2)\right)

    The usual recipe turns by the first coordinate of :math:`v` in place of its length, nearly the same angle.

    Example:
        >>> Pinwheel().sample(3).shape
        torch.Size([3, 2])
    """

    spread: Tensor  # [2]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("spread", torch.tensor([0.3, 0.1]), persistent=False)

    def _log_prob(self, x: Tensor) -> Tensor:
        v = x / 2
        arms = torch.arange(5, device=x.device) * (2 * math.pi / 5)
        angle = arms + v.norm(dim=1, keepdim=True).exp() / 4  # [B, 5]
        turned = _rotate(v[:, None], -angle)  # [B, 5, 2]
        turned = (turned - torch.tensor([1.0, 0.0]).to(turned)) / self.spread
        log_normal = -0.5 * turned.square().sum(-1) - LOG_2PI - math.log(0.3 * 0.1)
        return log_normal.logsumexp(1) - math.log(5) - math.log(4)

    def _sample(self, n: int) -> Tensor:
        v = self._normal(n) * self.spread + torch.tensor([1.0, 0.0]).to(self.spread)
        return 2 * _rotate(v, self._choice(n, 5) * (2 * math.pi / 5) + v.norm(dim=1).exp() / 4)


def _rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Turn x: [..., 2] anticlockwise by angle: [...]."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * x[..., 0] - sin * x[..., 1], sin * x[..., 0] + cos * x[..., 1]], -1)


class _NoisyCurves(_Toy):
    r"""A uniformly chosen one of two curves, a point on it, plus :math:`\mathcal{N}(0, \sigma^2 I)`.

    .. math::
        p(x) = \frac12 \sum_{i=1}^{2} \int_0^1 \mathcal{N}\!\left(x; c_i(t), \sigma^2 I\right) w(t) \, dt

    The integral has no closed form. Gauss-Legendre quadrature gives it to nine digits (in float64), because the
    integrand is smooth and neighbouring nodes lie less than :math:`\sigma` apart.
    """

    nodes: Tensor  # [2K, 2], points of both curves
    log_weights: Tensor  # [2K]
    sigma: float
    count: int  # K

    def __init__(self) -> None:
        super().__init__()
        t, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(self.count))
        t, weights = (t + 1) / 2, weights / 2  # from [-1, 1] to [0, 1]
        weights = weights * self._weight(t) / 2
        self.register_buffer("nodes", self._curves(t).flatten(0, 1).to(self.origin), persistent=False)
        self.register_buffer("log_weights", weights.log().repeat(2).to(self.origin), persistent=False)

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
        return (self.log_weights + log_normal).logsumexp(1)

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


TOYS: dict[str, type[_Toy]] = {
    "eight_gaussians": EightGaussians,
    "checkerboard": Checkerboard,
    "two_moons": TwoMoons,
    "rings": Rings,
    "pinwheel": Pinwheel,
    "two_spirals": TwoSpirals,
}
"""The densities by name."""


def toy(name: str) -> Density:
    """Make the toy density called `name`, one of the keys of `TOYS`.

    Raises:
        ValueError: there is none of that name.

    Example:
        >>> toy("checkerboard").sample(5).shape
        torch.Size([5, 2])
    """
    if name not in TOYS:
        raise ValueError(f"There is no toy density {name!r}; the names are {', '.join(TOYS)}.")
    return TOYS[name]()
