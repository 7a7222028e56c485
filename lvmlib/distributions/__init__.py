"""Parts of models that torch.distributions has no `nn.Module` for: densities with learned or computed parameters."""

from lvmlib.distributions.categorical import (
    ConditionalCategorical,
    FactorisedBernoulli,
    FactorisedCategorical,
    FactorisedCodes,
    OneHots,
)
from lvmlib.distributions.conditional import (
    ConditionalBernoulli,
    ConditionalDiscretizedLogistic,
    ConditionalMixture,
    ConditionalNormal,
    NormalMixture,
)
from lvmlib.distributions.delta import Delta
from lvmlib.distributions.densities import MixtureOfGaussians, StandardNormal, StandardUniform
from lvmlib.distributions.discretized import DiscretizedLogistic, DiscretizedLogisticMixture
from lvmlib.distributions.factorised import Coins, DiagonalNormal
from lvmlib.distributions.rows import RowMixture

__all__ = [
    "Coins",
    "ConditionalBernoulli",
    "ConditionalCategorical",
    "ConditionalDiscretizedLogistic",
    "ConditionalMixture",
    "ConditionalNormal",
    "Delta",
    "DiagonalNormal",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "FactorisedBernoulli",
    "FactorisedCategorical",
    "FactorisedCodes",
    "MixtureOfGaussians",
    "NormalMixture",
    "OneHots",
    "RowMixture",
    "StandardNormal",
    "StandardUniform",
]
