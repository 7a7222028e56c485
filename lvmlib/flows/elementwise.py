"""One function for every entry, without parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import constraints

from lvmlib.base import Transform
from lvmlib.checks import check_positive, check_share, check_sizes
from lvmlib.flows.door import Open, check_input, check_inside

REAL = Open(-math.inf, math.inf)
UNIT, BALL, POSITIVE = Open(0.0, 1.0), Open(-1.0, 1.0), Open(0.0, math.inf)
# name: (values it takes, values it gives)
RANGES = {
    "sigmoid": (REAL, UNIT),
    "logit": (UNIT, REAL),
    "tanh": (REAL, BALL),
    "atanh": (BALL, REAL),
    "softplus": (REAL, POSITIVE),
    "leaky_relu": (REAL, REAL),
}
NO_BIJECTION = {
    "relu": "It maps all negative numbers to 0; take 'leaky_relu' or 'softplus'.",
    "gelu": "It falls before it rises, so two numbers share a value; take 'leaky_relu' or 'softplus'.",
    "silu": "It falls before it rises, so two numbers share a value; take 'leaky_relu' or 'softplus'.",
    "abs": "A number and its opposite share a value.",
    "square": "A number and its opposite share a value.",
    "sign": "All positive numbers share a value.",
    "sin": "It repeats itself.",
    "cos": "It repeats itself.",
}


class Elementwise(Transform):
    r"""A strictly increasing function applied to every entry.

    .. math:: z_i = f(x_i), \qquad \log \left| \det \frac{\partial z}{\partial x} \right| = \sum_i \log f'(x_i)

    The base that follows must live on the values that f gives: behind a sigmoid or tanh a Gaussian base would make a
    density that does not integrate to 1.

    Args:
        function: "sigmoid", "logit", "tanh", "atanh", "softplus" or "leaky_relu".
        event_shape: shape of one example, or None, where any will do.
        slope: of leaky ReLU for negative numbers.

    Raises:
        ValueError: a function that is no bijection, or an unknown one. On the way: a value on or outside of the border
            of what f takes, such as a 1 that a sigmoid gave in float32.

    Example:
        >>> import torch
        >>> from lvmlib import Elementwise
        >>> z, log_det = Elementwise("sigmoid")(torch.zeros(1, 2))
        >>> z, log_det
        (tensor([[0.5000, 0.5000]]), tensor([-2.7726]))
        >>> Elementwise("relu")
        Traceback (most recent call last):
        ...
        ValueError: 'relu' has no inverse. It maps all negative numbers to 0; take ...
    """

    def __init__(self, function: str, event_shape: Sequence[int] | None = None, slope: float = 0.1):
        super().__init__()
        if function in NO_BIJECTION:
            raise ValueError(f"{function!r} has no inverse. {NO_BIJECTION[function]}")
        if function not in RANGES:
            raise ValueError(f"function must be one of {', '.join(RANGES)}, but it is {function!r}.")
        self.function, self.slope = function, check_positive(slope, "slope", "keeps leaky ReLU invertible")
        self.event_shape = None if event_shape is None else check_sizes(event_shape)
        self.takes, self.gives = RANGES[function]
        self.support = constraints.real if self.takes is REAL else self.takes

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x)
        if self.takes is not REAL:
            check_inside(self, x, self.takes)
        z, log_slope = self._pair(x, self.function)
        return z, log_slope.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, z, latent=True)
        if self.gives is not REAL:
            check_inside(self, z, self.gives, latent=True)
        x, log_slope = self._pair(z, INVERSES[self.function])
        return x, log_slope.flatten(1).sum(1)

    def _pair(self, x: Tensor, function: str) -> tuple[Tensor, Tensor]:
        """The function and the log of its slope, both without cancellation."""
        if function == "leaky_relu" or function == "steep_relu":
            slope = self.slope if function == "leaky_relu" else 1 / self.slope
            below = x < 0
            return torch.where(below, slope * x, x), torch.zeros_like(x).masked_fill(below, math.log(slope))
        return PAIRS[function](x)

    def extra_repr(self) -> str:
        return self.function


INVERSES = {
    "sigmoid": "logit",
    "logit": "sigmoid",
    "tanh": "atanh",
    "atanh": "tanh",
    "softplus": "softplus_inverse",
    "leaky_relu": "steep_relu",
}
PAIRS = {
    "sigmoid": lambda x: (torch.sigmoid(x), F.logsigmoid(x) + F.logsigmoid(-x)),
    "logit": lambda u: (u.log() - torch.log1p(-u), -u.log() - torch.log1p(-u)),
    # 1 - tanh^2 = 4 / (e^x + e^-x)^2
    "tanh": lambda x: (torch.tanh(x), 2 * (math.log(2) - x - F.softplus(-2 * x))),
    "atanh": lambda y: (torch.atanh(y), -torch.log1p(-y) - torch.log1p(y)),
    "softplus": lambda x: (_softplus(x), F.logsigmoid(x)),
    "softplus_inverse": lambda y: (y + torch.log(-torch.expm1(-y)), -torch.log(-torch.expm1(-y))),
}


def _softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))  # torch's own is the identity from 20 on


class Logit(Transform):
    r"""From [0, 1] to the real line, with some room at the borders.

    .. math:: z = \operatorname{logit}\left(\tfrac{\alpha}{2} + (1 - \alpha)\, x\right)

    With :math:`\alpha > 0` pixels that are exactly 0 or 1 have a finite image. The way back reaches a little beyond
    [0, 1], so a draw can lie outside of it; dequantization rounds it into the outermost bin.

    Args:
        alpha: how much room, from 0 to below 1.

    Raises:
        ValueError: alpha is out of range.

    Example:
        >>> import torch
        >>> from lvmlib import Logit
        >>> Logit(0.1)(torch.tensor([[0.0, 0.5]]))[0]
        tensor([[-2.9444,  0.0000]])

    Source: Dinh et al. 2017, section 4.1, with :math:`\alpha` = 0.05 there as here.
    """

    def __init__(self, alpha: float = 0.05):
        super().__init__()
        self.alpha, self.takes = check_share(alpha, "alpha"), UNIT
        self.support = constraints.unit_interval if self.alpha else UNIT

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x)
        u = self.alpha / 2 + (1 - self.alpha) * x
        check_inside(self, u, UNIT)
        z, log_slope = PAIRS["logit"](u)
        return z, (log_slope + math.log1p(-self.alpha)).flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        u, log_slope = PAIRS["sigmoid"](z)
        x = (u - self.alpha / 2) / (1 - self.alpha)
        return x, (log_slope - math.log1p(-self.alpha)).flatten(1).sum(1)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"
