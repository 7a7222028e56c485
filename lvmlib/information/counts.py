"""Measures of what was observed, from counts."""

from __future__ import annotations

from lvmlib.information.checks import Array, arrays, unit
from lvmlib.information.measures import entropy


def entropy_from_counts(counts: Array, base: float = 2, miller_madow: bool = False) -> Array:
    r"""Plug-in estimate of an entropy: the entropy of observed frequencies.

    .. math::
        \hat H = -\sum_i \frac{n_i}{N} \log \frac{n_i}{N}, \qquad
        \hat H_{\mathrm{MM}} = \hat H + \frac{m - 1}{2 N}

    On average the plug-in estimate is too low, by about ``(K - 1) / (2 N)`` nats. Miller and Madow add this amount
    back, with the number ``m`` of outcomes seen at least once in place of the unknown ``K``; the corrected value may
    exceed ``log m``.

    Args:
        counts: [..., K], how often each outcome was seen.
        base: base of the logarithm, 2 for bits and ``math.e`` for nats.
        miller_madow: whether to add the correction.

    Returns:
        [...], in bits (or nats).

    Raises:
        ValueError: if a count is negative, or all of them are zero.

    Example:
        >>> import math
        >>> from lvmlib.information import entropy_from_counts
        >>> corrected = entropy_from_counts([5, 5], base=math.e, miller_madow=True)
        >>> print(entropy_from_counts([5, 5]), corrected.round(4))
        1.0 0.7431

    Source: Miller 1955.
    """
    (counts,) = arrays(counts)
    if counts.ndim == 0:
        raise ValueError("counts must have at least one axis, the outcomes; got a single number")
    if not bool((counts >= 0).all()):
        raise ValueError("counts must be numbers that are not negative; at least one is negative or not a number")
    total = counts.sum(-1)
    if not bool((total > 0).all()):
        raise ValueError("counts are all zero: without an observation there are no frequencies")
    estimate = entropy(counts / total[..., None], base)
    if miller_madow:
        estimate = estimate + ((counts > 0).sum(-1) - 1) / (2 * total) / unit(base)
    return estimate
