"""Mixtures of Gaussians and of logistics in one dimension: their distribution functions, and the way back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lvmlib.checks import check_count
from lvmlib.flows.elements import Element, bounded

Curve = Callable[[Tensor], tuple[Tensor, Tensor]]
"""``curve(x)`` -> value, log of the slope."""

ROUNDS = 200  # at the latest; about ten are taken


class Mixture:
    r"""A mixture in one dimension, for each entry one of its own, :math:`\sum_m \pi_m\, p(x; \mu_m, s_m)`.

    Args:
        logits: [B or 1, M, ...], of the components.
        loc: as `logits`.
        log_scale: as `logits`.
        kind: "gaussian" or "logistic".

    Example:
        >>> import torch
        >>> from lvmlib.flows.mixture import Mixture
        >>> one = torch.zeros(1, 1, 1)
        >>> mixture = Mixture(one, one, one, "gaussian")
        >>> log_below, log_above, log_density = mixture.logs(torch.zeros(1, 1))
        >>> log_below.exp(), log_density
        (tensor([[0.5000]]), tensor([[-0.9189]]))
    """

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor, kind: str):
        self.log_share, self.loc, self.log_scale, self.kind = logits.log_softmax(1), loc, log_scale, kind

    def logs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log F(x), log(1 - F(x)) and log F'(x), each of the shape of x; both tails keep their digits."""
        at = (x[:, None] - self.loc) * (-self.log_scale).exp()  # [B, M, ...]
        if self.kind == "logistic":
            below, above = F.logsigmoid(at), F.logsigmoid(-at)
            density = below + above - self.log_scale
        else:
            below, above = torch.special.log_ndtr(at), torch.special.log_ndtr(-at)
            density = -0.5 * (at.square() + math.log(2 * math.pi)) - self.log_scale
        below, above, density = ((self.log_share + part).logsumexp(1) for part in (below, above, density))
        return below, above, density

    def logit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """logit F(x) and the log of its slope."""
        below, above, density = self.logs(x)
        return below - above, density - below - above

    def quantile(self, logit: Tensor) -> Tensor:
        """x with the given logit F(x), to float precision, with a gradient.

        It lies between the quantiles of the components, which have closed forms.
        """
        with torch.no_grad():
            if self.kind == "logistic":
                standard = logit
            else:  # ndtri loses the upper tail, and the lower one is its mirror
                standard = -torch.special.ndtri((-logit.abs()).sigmoid()) * logit.sign()
                standard = standard.clamp(-40, 40)
            ends = self.loc + self.log_scale.exp() * standard[:, None]
            width = 1e-3 * self.log_scale.exp().amax(1)
            x = increasing_root(self.logit, logit, ends.amin(1) - width, ends.amax(1) + width)
        value, log_slope = self.logit(x)
        return x - (value - logit) * (-log_slope).exp().detach()  # one step of Newton, for the gradient


@torch.no_grad()
def increasing_root(curve: Curve, target: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """x with curve(x) = target, by Newton's method, and by halving where that would leave the bracket.

    Args:
        curve: strictly increasing; gives value and log of the slope.
        target: any shape.
        low: no root lies below it; as `target`.
        high: no root lies above it; as `target`.

    Returns:
        As `target`, to the precision of its dtype.

    Example:
        >>> import torch
        >>> from lvmlib.flows.mixture import increasing_root
        >>> curve = lambda x: (x**3 + x, (3 * x**2 + 1).log())
        >>> increasing_root(curve, *torch.tensor([[2.0], [0.0], [9.0]]))
        tensor([1.])
    """
    close = 4 * torch.finfo(target.dtype).eps
    x, done = (low + high) / 2, torch.zeros_like(target, dtype=torch.bool)
    for i in range(ROUNDS):
        value, log_slope = curve(x)
        low, high = torch.where(value <= target, x, low), torch.where(value >= target, x, high)
        step = (target - value) * (-log_slope).exp()
        new = x + step
        # Every third round halves, in case Newton's steps creep along one side.
        new = torch.where((new >= low) & (new <= high) & (i % 3 != 2), new, (low + high) / 2)
        done = done | (step.abs() <= close * x.abs()) | (high - low <= close * x.abs())
        x = torch.where(done, x, new)
        if bool(done.all()):
            break
    return x


class MixtureLogistic(Element):
    r"""The map of Flow++: the logit of a mixture's distribution function, then a scale and a shift.

    .. math:: z = e^{a}\, \operatorname{logit}\left(\sum_m \pi_m\, \sigma\big((x - \mu_m) / s_m\big)\right) + b

    At parameters near 0 the components stand side by side over [-2, 2], each half as wide as they are apart.

    Args:
        components: number of components, M.

    Raises:
        ValueError: fewer than one component.

    Example:
        >>> import torch
        >>> from lvmlib.flows import MixtureLogistic
        >>> element = MixtureLogistic(components=1)
        >>> element.forward(torch.tensor([[3.0]]), torch.zeros(1, element.size, 1))[0]
        tensor([[3.]])

    Source: Ho et al. 2019, *Flow++*, section 3.2, equations 11 to 13.
    """

    def __init__(self, components: int = 8):
        self.components = check_count(components, "components", "counts parts of a mixture")
        self.size = 3 * self.components + 2

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        mixture, log_scale, shift = self._read(parameters)
        value, log_slope = mixture.logit(x)
        return torch.addcmul(shift, value, log_scale.exp()), log_slope + log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        mixture, log_scale, shift = self._read(parameters)
        x = mixture.quantile((z - shift) * (-log_scale).exp())
        return x, -mixture.logit(x)[1] - log_scale

    def _read(self, parameters: Tensor) -> tuple[Mixture, Tensor, Tensor]:
        m = self.components
        logits, loc, log_scale, rest = parameters.split([m, m, m, 2], 1)
        if m > 1:  # side by side at the start, and narrow enough to tell modes apart: wide ones stay blurred
            loc = loc + torch.linspace(-2, 2, m).to(loc).view(-1, *[1] * (loc.dim() - 2))
            log_scale = log_scale - math.log((m - 1) / 2)  # half of the distance between neighbours
        raw, shift = rest.unbind(1)
        return Mixture(logits, loc, bounded(log_scale, 5.0), "logistic"), bounded(raw, 2.0), shift
