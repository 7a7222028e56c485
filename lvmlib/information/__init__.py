r"""Measures of information: pure functions of probabilities, for arrays and for tensors.

One convention holds for all of them.

- **Units.** ``base=2`` (the default) answers in bits, ``base=math.e`` in nats.
- **Shapes.** A distribution over ``K`` outcomes lies along the last axis; axes in front of it are batch axes and are
  kept. A joint distribution of two variables lies along the last two axes, rows for the first variable and columns for
  the second.
- **Kinds.** Lists and NumPy arrays give NumPy float64; if any argument is a tensor, the result is a tensor, gradients
  included.
- **Zeros.** ``0 log 0 = 0``: sums run over the support of ``p`` only, so outcomes with ``p = 0`` add nothing, neither
  to the value nor to the gradient. Where ``q = 0 < p`` a cross-entropy or a divergence is infinite.
- **Errors.** Probabilities that are negative, larger than one, not a number or do not sum to one, and shapes that do
  not fit, raise ``ValueError``.
"""

from lvmlib.information.counts import entropy_from_counts
from lvmlib.information.gaussian import gaussian_entropy, gaussian_kl
from lvmlib.information.measures import (
    conditional_entropy,
    cross_entropy,
    entropy,
    joint_entropy,
    js_divergence,
    kl_divergence,
    mutual_information,
    self_information,
)

__all__ = [
    "conditional_entropy",
    "cross_entropy",
    "entropy",
    "entropy_from_counts",
    "gaussian_entropy",
    "gaussian_kl",
    "joint_entropy",
    "js_divergence",
    "kl_divergence",
    "mutual_information",
    "self_information",
]
