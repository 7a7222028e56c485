"""Rational-quadratic splines: monotone curves through knots, straight outside of a box, inverted in closed form."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lvmlib.checks import check_count, check_no, check_positive
from lvmlib.flows.elements import Element

LEAST = 1e-3  # least share of a bin in its side of the box, and least slope at a knot


class Spline(Element):
    r"""A rational-quadratic spline with K bins on [-b, b]; outside it is the identity.

    In a bin from :math:`(x_0, y_0)` to :math:`(x_1, y_1)` with slopes :math:`d_0, d_1` at its ends, with
    :math:`s = (y_1 - y_0) / (x_1 - x_0)` and :math:`\theta = (x - x_0) / (x_1 - x_0)`,

    .. math:: z = y_0 + \frac{(y_1 - y_0)(s \theta^2 + d_0 \theta (1 - \theta))}
        {s + (d_0 + d_1 - 2s)\, \theta (1 - \theta)}

    All parameters 0 make it the identity everywhere.

    Args:
        bins: number of bins, K.
        bound: b, half the side of the box.

    Raises:
        ValueError: fewer than 2 bins, more than fit, or a box without a side.

    Example:
        >>> import torch
        >>> from lvmlib.flows import Spline
        >>> spline = Spline(bins=4)
        >>> spline.forward(torch.tensor([[0.5, 9.0]]), torch.zeros(1, spline.size, 2))[0]
        tensor([[0.5000, 9.0000]])

    Source: Durkan et al. 2019, *Neural Spline Flows*, equations 4 to 8; Gregory & Delbourgo 1982.
    """

    def __init__(self, bins: int = 8, bound: float = 5.0):
        self.bins = check_count(bins, "bins", "counts the pieces of a spline", least=2)
        self.bound = check_positive(bound, "bound", "is half the side of the box")
        check_no(self.bins >= 1 / LEAST, f"bins must be below {1 / LEAST:g}, of which each has its least width.")
        self.size = 3 * self.bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        at, (x0, w, y0, h, d0, d1) = self._bin(x, parameters, of=0)
        t = (at - x0) / w  # from 0 to 1 within the bin
        return self._outside(x, *_curve(t, w, y0, h, d0, d1))

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        at, (x0, w, y0, h, d0, d1) = self._bin(z, parameters, of=1)
        s, y = h / w, at - y0
        bend = y * (d0 + d1 - 2 * s)
        a, b, c = h * (s - d0) + bend, h * d0 - bend, -s * y  # a t^2 + b t + c = 0
        t = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        _, log_slope = _curve(t, w, y0, h, d0, d1)
        return self._outside(z, x0 + t * w, -log_slope)

    def _outside(self, x: Tensor, moved: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.abs() < self.bound
        return torch.where(inside, moved, x), log_slope.masked_fill(~inside, 0.0)

    def _bin(self, x: Tensor, parameters: Tensor, of: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The bin of each entry, on the axis of x (`of` = 0) or of z (1): corner, sides, and slopes at both ends."""
        widths, heights, slopes = parameters.split([self.bins, self.bins, self.bins - 1], 1)
        sides = torch.stack([widths, heights], 1).softmax(2)  # [B, 2, K, ...]
        sides = 2 * self.bound * (LEAST + (1 - LEAST * self.bins) * sides)
        ends = sides.cumsum(2)
        at = x.clamp(-self.bound, self.bound)
        place = (at[:, None] + self.bound >= ends[:, of, :-1]).sum(1)[:, None]  # [B, 1, ...], from 0 to K - 1
        both = place[:, None].expand(-1, 2, *[-1] * (place.dim() - 1))
        side = sides.gather(2, both)
        corner = ends.gather(2, both) - side - self.bound
        (x0, y0), (w, h) = corner[:, :, 0].unbind(1), side[:, :, 0].unbind(1)
        slopes = LEAST + F.softplus(slopes + math.log(math.expm1(1 - LEAST)))  # 1 at a parameter of 0
        slopes = F.pad(slopes, [0, 0] * (x.dim() - 1) + [1, 1], value=1.0)  # [B, K + 1, ...]
        d0, d1 = slopes.gather(1, torch.cat([place, place + 1], 1)).unbind(1)
        return at, (x0, w, y0, h, d0, d1)


def _curve(t: Tensor, w: Tensor, y0: Tensor, h: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    """The curve of a bin at the fraction t of its width, and the log of its slope."""
    s, r = h / w, 1 - t
    tr = t * r
    below = s + (d0 + d1 - 2 * s) * tr
    z = y0 + h * (s * t.square() + d0 * tr) / below
    slope = d1 * t.square() + 2 * s * tr + d0 * r.square()
    return z, 2 * (s / below).log() + slope.log()
