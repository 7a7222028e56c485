"""What the parameters of one position mean: a coin, a categorical variable, or a mixture of discretized logistics."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints

from lvmlib.checks import check_count
from lvmlib.distributions import Coins, DiscretizedLogisticMixture
from lvmlib.distributions.factorised import log_prob_of_bits
from lvmlib.draws import at_least_float32


class Family:
    """A distribution over {0, ..., levels - 1} with `size` parameters for each position, computed in float32 or better.

    Attributes:
        levels: number of values, K.
        size: parameters per position, P.
    """

    levels: int
    size: int

    @property
    def support(self) -> constraints.Constraint:
        """The whole numbers from 0 to K - 1."""
        return constraints.integer_interval(0, self.levels - 1)

    def distribution(self, outputs: Tensor) -> Distribution:
        """The distribution at each position: outputs [B, P, ...] -> batch shape [B, ...]."""
        raise TypeError(f"{type(self).__name__} does not define distribution(outputs).")

    def log_prob(self, outputs: Tensor, x: Tensor) -> Tensor:
        """Log-probability of each example, summed over its positions: outputs [B, P, ...], x [B, ...] -> [B], nats."""
        return self.distribution(outputs).log_prob(x).flatten(1).sum(1)

    def table(self, outputs: Tensor) -> Tensor:
        """Probability of every value: outputs [N, P] -> [N, K]."""
        outputs = at_least_float32(outputs)
        values = torch.arange(self.levels, device=outputs.device, dtype=outputs.dtype)
        return self.distribution(outputs[..., None]).log_prob(values).exp()

    def draw(self, outputs: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """Turn two uniform numbers into a value: outputs [N, P], u [N, 2] -> [N]."""
        raise TypeError(f"{type(self).__name__} does not define draw(outputs, u, temperature).")


class BernoulliFamily(Family):
    """Values {0, 1}; one parameter, the log-odds."""

    levels, size = 2, 1
    support = constraints.boolean

    def distribution(self, outputs: Tensor) -> Distribution:
        """A coin at each position."""
        return Coins(outputs.squeeze(1), 0)  # a view whose gradient costs nothing

    def log_prob(self, outputs: Tensor, x: Tensor) -> Tensor:
        """The same sum with one operation on all positions in place of several; it runs in every step of training."""
        outputs, x = at_least_float32(outputs), at_least_float32(x)
        return log_prob_of_bits(outputs.squeeze(1), x).flatten(1).sum(1)

    def draw(self, outputs: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """1 where the first uniform number lies below the probability."""
        outputs = at_least_float32(outputs)
        return (u[:, 0] < torch.sigmoid(outputs[:, 0] / temperature)).to(outputs.dtype)


class CategoricalFamily(Family):
    """Values {0, ..., K - 1}; K parameters, the logits."""

    def __init__(self, levels: int):
        self.levels = self.size = levels

    def distribution(self, outputs: Tensor) -> Distribution:
        """A categorical variable at each position."""
        return Categorical(logits=_below_infinity(outputs).movedim(1, -1), validate_args=False)

    def table(self, outputs: Tensor) -> Tensor:
        """The softmax of the logits."""
        return _below_infinity(outputs).softmax(1)

    def draw(self, outputs: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """The value whose share of the cumulative distribution holds the first uniform number."""
        outputs = _below_infinity(outputs)
        return choose(outputs / temperature, u[:, 0]).to(outputs.dtype)


class LogisticFamily(Family):
    r"""Values {0, ..., K - 1}; a mixture of M discretized logistics with 3M parameters.

    They are the M logits of the components, then the M locations as a fraction of the half range around its centre
    (-1 the lowest level, 1 the highest), then the M log-scales as a fraction of the half range, held between -7 and 20.
    """

    def __init__(self, levels: int, components: int):
        self.levels, self.components, self.size = levels, components, 3 * components

    def parts(self, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, locations and scales, the latter two in levels, each [B, ..., M]."""
        logits, loc, log_scale = at_least_float32(outputs).movedim(1, -1).chunk(3, -1)
        half = (self.levels - 1) / 2
        return _below_infinity(logits), half * (1 + loc), half * log_scale.clamp(-7, 20).exp()

    def distribution(self, outputs: Tensor) -> Distribution:
        """A mixture of discretized logistics at each position."""
        return DiscretizedLogisticMixture(*self.parts(outputs), self.levels)

    def draw(self, outputs: Tensor, u: Tensor, temperature: float = 1.0) -> Tensor:
        """The first number chooses the component, the second is sent through its inverse distribution function.

        A temperature divides the logits of the components and multiplies their scales.
        """
        logits, loc, scale = self.parts(outputs)
        chosen = choose(logits / temperature, u[:, 0])[:, None]  # [N, 1]
        noise = torch.logit(u[:, 1], eps=torch.finfo(u.dtype).tiny)
        x = loc.gather(1, chosen)[:, 0] + temperature * scale.gather(1, chosen)[:, 0] * noise
        return x.round().clamp(0, self.levels - 1)


def _below_infinity(logits: Tensor) -> Tensor:
    """In float32 or better, and what is certain as large as a number can be: infinity minus infinity would be nan."""
    logits = at_least_float32(logits)
    return logits.clamp(max=torch.finfo(logits.dtype).max)


def choose(logits: Tensor, u: Tensor) -> Tensor:
    """Invert the cumulative distribution of each row: logits [N, K], u [N] -> [N], whole numbers."""
    cumulative = logits.softmax(1).cumsum(1)
    # Compared with its own last entry, which rounding keeps from being 1, so that no u falls behind the last value.
    return (cumulative[:, :-1] <= (u * cumulative[:, -1])[:, None]).sum(1)


def family_of(levels: int, logistics: int) -> Family:
    """The family with so many levels; `logistics` is the number of mixture components, 0 for a free table.

    Raises:
        ValueError: fewer than two levels, or a negative number of components.
    """
    levels = check_count(levels, "levels", "counts the values of one position", least=2)
    logistics = check_count(logistics, "logistics", "counts mixture components", least=0)
    if logistics:
        return LogisticFamily(levels, logistics)
    return BernoulliFamily() if levels == 2 else CategoricalFamily(levels)
