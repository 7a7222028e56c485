"""Distributions over whole-numbered pixels: a logistic variable sorted into bins, and mixtures of such."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints

from lvmlib.checks import check_count
from lvmlib.draws import at_least_float32


class DiscretizedLogistic(Distribution):
    r"""A logistic variable, sorted into the bins {0, ..., K - 1}; the outermost bins reach to infinity.

    .. math::
        P(x) = \sigma\!\left(\tfrac{x + 1/2 - \mu}{s}\right) - \sigma\!\left(\tfrac{x - 1/2 - \mu}{s}\right)

    with the first term 1 at :math:`x = K - 1` and the second 0 at :math:`x = 0`, so the probabilities sum to 1.
    With :math:`a` and :math:`b` for the two arguments, :math:`\log(\sigma(a) - \sigma(b)) = \log\sigma(a) +
    \log\sigma(-b) + \log(1 - e^{-1/s})` holds exactly and never takes the difference of two near numbers.

    Args:
        loc: :math:`\mu`, in levels, any shape.
        scale: :math:`s > 0`, in levels, the same shape.
        levels: :math:`K`.

    Raises:
        ValueError: levels below 2.

    Example:
        >>> import torch
        >>> from lvmlib import DiscretizedLogistic
        >>> p = DiscretizedLogistic(torch.tensor(0.0), torch.tensor(20.0), levels=256)
        >>> round(p.log_prob(torch.arange(256)).exp().sum().item(), 4)
        1.0

    Source: Salimans et al. 2017, *PixelCNN++*, section 2.1; Kingma et al. 2016, appendix C.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    has_rsample = False

    def __init__(self, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = False):
        self.levels = check_count(levels, "levels", "counts values", least=2)
        self.loc, self.scale = torch.broadcast_tensors(at_least_float32(loc), at_least_float32(scale))
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """The whole numbers from 0 to K - 1."""
        return constraints.integer_interval(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """Expected level, by summation over the bins."""
        values = torch.arange(self.levels, device=self.loc.device, dtype=self.loc.dtype)
        values = values.view(-1, *[1] * self.loc.dim())  # [K, 1, ..., 1]
        return (values * self.log_prob(values).exp()).sum(0)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of whole numbers `x`, nats."""
        x = x.to(self.loc.dtype)
        a = (x + 0.5 - self.loc) / self.scale
        b = (x - 0.5 - self.loc) / self.scale
        inner = F.logsigmoid(a) + F.logsigmoid(-b) + torch.log(-torch.expm1(-1 / self.scale))
        return torch.where(x <= 0, F.logsigmoid(a), torch.where(x >= self.levels - 1, F.logsigmoid(-b), inner))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw a logistic variable and round it into its bin."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            u = torch.rand(shape, device=self.loc.device, dtype=self.loc.dtype).clamp(
                min=torch.finfo(self.loc.dtype).tiny
            )
            logistic = self.loc + self.scale * (u.log() - torch.log1p(-u))
            return logistic.round().clamp(0, self.levels - 1)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> DiscretizedLogistic:
        """The same distribution with its parameters spread over a larger batch shape."""
        shape = torch.Size(batch_shape)
        return DiscretizedLogistic(self.loc.expand(shape), self.scale.expand(shape), self.levels)


class DiscretizedLogisticMixture(Distribution):
    r"""A mixture of M discretized logistics over the bins {0, ..., K - 1}.

    .. math:: P(x) = \sum_{m=1}^{M} \pi_m P_m(x), \qquad \pi = \operatorname{softmax}(\text{logits})

    Each component sums to 1 because its outermost bins reach to infinity, and so does the mixture.

    Args:
        logits: [..., M], of the components.
        loc: [..., M], in levels.
        scale: [..., M], positive, in levels.
        levels: :math:`K`.

    Raises:
        ValueError: the shapes of the parameters do not agree, or levels is below 2.

    Example:
        >>> import torch
        >>> from lvmlib import DiscretizedLogisticMixture
        >>> mean, scale = torch.tensor([10.0, 200.0]), torch.tensor([3.0, 20.0])
        >>> p = DiscretizedLogisticMixture(torch.zeros(2), mean, scale)
        >>> round(p.log_prob(torch.arange(256)).exp().sum().item(), 4)
        1.0

    Source: Salimans et al. 2017, *PixelCNN++*, section 2.1.
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    has_rsample = False

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = False
    ):
        if not logits.shape == loc.shape == scale.shape:
            shapes = ", ".join(str(list(t.shape)) for t in (logits, loc, scale))
            raise ValueError(f"logits, loc and scale must have the same shape [..., M], but they have {shapes}.")
        self.logits, self.components = at_least_float32(logits), DiscretizedLogistic(loc, scale, levels)
        self.loc, self.scale, self.levels = self.components.loc, self.components.scale, self.components.levels
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """The whole numbers from 0 to K - 1."""
        return constraints.integer_interval(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """Expected level."""
        return (self.logits.softmax(-1) * self.components.mean).sum(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of whole numbers `x`, nats."""
        weighted = self.logits.log_softmax(-1) + self.components.log_prob(x[..., None])  # [..., M]
        return weighted.logsumexp(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Choose a component, then draw from it."""
        with torch.no_grad():
            shape = torch.Size(sample_shape)
            chosen = Categorical(logits=self.logits, validate_args=False).sample(shape)[..., None]
            return self.components.sample(shape).gather(-1, chosen)[..., 0]

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> DiscretizedLogisticMixture:
        """The same mixture with its parameters spread over a larger batch shape."""
        shape = torch.Size((*batch_shape, self.logits.shape[-1]))
        return DiscretizedLogisticMixture(
            self.logits.expand(shape), self.loc.expand(shape), self.scale.expand(shape), self.levels
        )
