"""Measures of discrete distributions: entropies, divergences, mutual information."""

from __future__ import annotations

from lvmlib.information.checks import (
    Array,
    arrays,
    check_distribution,
    check_joint,
    check_pair,
    check_range,
    log,
    not_negative,
    unit,
    where,
)


def self_information(p: Array, base: float = 2) -> Array:
    r"""Surprise of an event of probability ``p``.

    .. math:: I(p) = -\log p

    Zero for a certain event, infinite for an impossible one, and additive for independent events.

    Args:
        p: any shape, probabilities in [0, 1]; they need not sum to one.
        base: base of the logarithm, 2 for bits and ``math.e`` for nats.

    Returns:
        The shape of ``p``, in bits (or nats).

    Raises:
        ValueError: if a probability lies outside [0, 1].

    Example:
        >>> from lvmlib import self_information
        >>> print(self_information(1 / 8))
        3.0
        >>> print(self_information([1.0, 0.5, 0.0]))
        [ 0.  1. inf]

    Source: Shannon 1948, section 6; Cover and Thomas 2006, section 2.1.
    """
    (p,) = arrays(p)
    check_range(p)
    return not_negative((0 - log(p)) / unit(base))  # 0 - x and not -x: -log 1 would print as -0.0


def entropy(p: Array, base: float = 2) -> Array:
    r"""Entropy, the mean surprise of a distribution.

    .. math:: H(p) = -\sum_i p_i \log p_i

    Args:
        p: [..., K], probabilities that sum to one over the last axis.
        base: base of the logarithm, 2 for bits and ``math.e`` for nats.

    Returns:
        [...], in bits (or nats), between 0 and ``log K``.

    Raises:
        ValueError: if ``p`` is no distribution.

    Example:
        >>> from lvmlib import entropy
        >>> print(entropy([0.5, 0.25, 0.125, 0.125]))
        1.75

    Source: Shannon 1948, section 6.
    """
    (p,) = arrays(p)
    check_distribution(p)
    return not_negative((p * (0 - log(where(p > 0, p, 1.0)))).sum(-1) / unit(base))


def cross_entropy(p: Array, q: Array, base: float = 2) -> Array:
    r"""Cross-entropy, the mean surprise under ``q`` when outcomes come from ``p``.

    .. math:: H(p, q) = -\sum_i p_i \log q_i = H(p) + \mathrm{KL}(p \,\|\, q)

    Args:
        p: [..., K], the distribution that outcomes are drawn from.
        q: [..., K], the distribution that predicts them; batch axes broadcast against those of ``p``.
        base: base of the logarithm, 2 for bits and ``math.e`` for nats.

    Returns:
        [...], in bits (or nats); infinite if ``q`` is zero where ``p`` is not.

    Raises:
        ValueError: if ``p`` or ``q`` is no distribution, or their alphabets differ in size.

    Example:
        >>> from lvmlib import cross_entropy
        >>> print(cross_entropy([0.5, 0.5], [0.25, 0.75]).round(4))
        1.2075

    Source: Cover and Thomas 2006, theorem 5.4.3.
    """
    p, q = arrays(p, q)
    check_pair(p, q)
    return not_negative((p * (0 - log(where(p > 0, q, 1.0)))).sum(-1) / unit(base))


def kl_divergence(p: Array, q: Array, base: float = 2) -> Array:
    r"""Kullback-Leibler divergence, the excess surprise of predicting with ``q`` what comes from ``p``.

    .. math:: \mathrm{KL}(p \,\|\, q) = \sum_{i:\, p_i > 0} p_i \log \frac{p_i}{q_i}

    Never negative, zero only if ``p = q``, and not symmetric.

    Args:
        p: [..., K], the distribution that outcomes are drawn from.
        q: [..., K], the distribution that predicts them; batch axes broadcast against those of ``p``.
        base: base of the logarithm, 2 for bits and ``math.e`` for nats.

    Returns:
        [...], in bits (or nats); infinite if ``q`` is zero where ``p`` is not.

    Raises:
        ValueError: if ``p`` or ``q`` is no distribution, or their alphabets differ in size.

    Example:
        >>> from lvmlib import kl_divergence
        >>> print(kl_divergence([0.5, 0.5], [0.25, 0.75]).round(4))
        0.2075
        >>> print(kl_divergence([0.5, 0.5], [1.0, 0.0]))
        inf

    Source: Kullback and Leibler 1951.
    """
    p, q = arrays(p, q)
    check_pair(p, q)
    return not_negative((p * (log(where(p > 0, p, 1.0)) - log(where(p > 0, q, 1.0)))).sum(-1) / unit(base))


def js_divergence(p: Array, q: Array, base: float = 2) -> Array:
    r"""Jensen-Shannon divergence, the mean KL divergence of ``p`` and ``q`` from their mixture.

    .. math::
        \mathrm{JS}(p, q) = \tfrac12 \mathrm{KL}(p \,\|\, m) + \tfrac12 \mathrm{KL}(q \,\|\, m), \qquad
        m = \tfrac12 (p + q)

    Symmetric, always finite, and at most one bit.

    Args:
        p: [..., K].
        q: [..., K]; batch axes broadcast against those of ``p``.
        base: base of the logarithm, 2 for bits and ``math.e`` for nats.

    Returns:
        [...], in bits (or nats), between 0 and ``log 2``.

    Raises:
        ValueError: if ``p`` or ``q`` is no distribution, or their alphabets differ in size.

    Example:
        >>> from lvmlib import js_divergence
        >>> print(js_divergence([1.0, 0.0], [0.0, 1.0]))
        1.0

    Source: Lin 1991.
    """
    p, q = arrays(p, q)
    check_pair(p, q)
    mixture = (p + q) / 2
    return (kl_divergence(p, mixture, base) + kl_divergence(q, mixture, base)) / 2


def joint_entropy(joint: Array, base: float = 2) -> Array:
    r"""Entropy of a pair of variables.

    .. math:: H(X, Y) = -\sum_{x, y} p(x, y) \log p(x, y)

    Args:
        joint: [..., X, Y], probabilities that sum to one over the last two axes.
        base: base of the logarithm, 2 for bits and ``math.e`` for nats.

    Returns:
        [...], in bits (or nats).

    Raises:
        ValueError: if ``joint`` is no joint distribution.

    Example:
        >>> from lvmlib.information import joint_entropy
        >>> print(joint_entropy([[0.25, 0.25], [0.5, 0.0]]))
        1.5

    Source: Cover and Thomas 2006, section 2.2.
    """
    (joint,) = arrays(joint)
    check_joint(joint)
    return entropy(joint.reshape(*joint.shape[:-2], -1), base)


def conditional_entropy(joint: Array, given: int = 0, base: float = 2) -> Array:
    r"""Entropy that is left in one variable when the other is known.

    .. math:: H(Y \mid X) = -\sum_{x, y} p(x, y) \log p(y \mid x) = H(X, Y) - H(X)

    Args:
        joint: [..., X, Y], probabilities that sum to one over the last two axes.
        given: which variable is known: 0 for the rows ``X``, giving ``H(Y | X)``; 1 for the columns ``Y``, giving ``H(X
            | Y)``.
        base: base of the logarithm, 2 for bits and ``math.e`` for nats.

    Returns:
        [...], in bits (or nats).

    Raises:
        ValueError: if ``joint`` is no joint distribution or ``given`` is neither 0 nor 1.

    Example:
        >>> from lvmlib.information import conditional_entropy
        >>> joint = [[0.25, 0.25], [0.5, 0.0]]
        >>> print(conditional_entropy(joint), conditional_entropy(joint, given=1).round(4))
        0.5 0.6887

    Source: Cover and Thomas 2006, section 2.2.
    """
    (joint,) = arrays(joint)
    check_joint(joint)
    if given not in (0, 1):
        raise ValueError(f"given must be 0 (the rows are known) or 1 (the columns are known), got {given!r}")
    marginal = joint.sum(-1 if given == 0 else -2)
    marginal = marginal[..., :, None] if given == 0 else marginal[..., None, :]
    surprise = log(where(joint > 0, marginal, 1.0)) - log(where(joint > 0, joint, 1.0))
    return not_negative((joint * surprise).sum((-2, -1)) / unit(base))


def mutual_information(joint: Array, base: float = 2) -> Array:
    r"""Mutual information, what one variable tells about the other.

    .. math:: I(X; Y) = \sum_{x, y} p(x, y) \log \frac{p(x, y)}{p(x)\, p(y)} = H(Y) - H(Y \mid X)

    Symmetric, never negative, and zero only for independent variables.

    Args:
        joint: [..., X, Y], probabilities that sum to one over the last two axes.
        base: base of the logarithm, 2 for bits and ``math.e`` for nats.

    Returns:
        [...], in bits (or nats).

    Raises:
        ValueError: if ``joint`` is no joint distribution.

    Example:
        >>> from lvmlib import mutual_information
        >>> equal, independent = [[0.5, 0.0], [0.0, 0.5]], [[0.25, 0.25], [0.25, 0.25]]
        >>> print(mutual_information(equal), mutual_information(independent))
        1.0 0.0

    Source: Cover and Thomas 2006, section 2.3.
    """
    (joint,) = arrays(joint)
    check_joint(joint)
    rows, columns = joint.sum(-1)[..., :, None], joint.sum(-2)[..., None, :]
    log_joint, log_rows, log_columns = (log(where(joint > 0, p, 1.0)) for p in (joint, rows, columns))
    log_ratio = log_joint - log_rows - log_columns  # logs apart: the product of two tiny marginals would underflow
    return not_negative((joint * log_ratio).sum((-2, -1)) / unit(base))
