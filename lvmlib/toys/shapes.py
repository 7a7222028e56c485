"""_Toy densities with a closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lvmlib.toys.plane import LOG_2PI, _Toy


class EightGaussians(_Toy):
    r"""Eight Gaussians on a circle, :math:`p(x) = \frac18 \sum_k \mathcal{N}(x; \mu_k, \sigma^2 I)`.

    The means lie at radius :math:`4 / \sqrt 2`, and :math:`\sigma = 0.5 / \sqrt 2`. Its entropy is 2.8316 nats.

    Example:
        >>> import torch
        >>> from lvmlib.toys import EightGaussians
        >>> centre = torch.tensor([[4 / 2**0.5, 0.0]])  # of one Gaussian
        >>> round(EightGaussians().log_prob(centre).item(), 4)
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
        >>> import torch
        >>> from lvmlib.toys import Checkerboard
        >>> dark_and_light = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        >>> Checkerboard().log_prob(dark_and_light).exp()
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
        >>> import torch
        >>> from lvmlib.toys import Rings
        >>> p = Rings()
        >>> on, off = p.log_prob(torch.tensor([[3.0, 0.0], [2.6, 0.0]]))
        >>> bool(on > off)
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
        >>> from lvmlib.toys import Pinwheel
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
