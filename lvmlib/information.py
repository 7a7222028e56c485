r"""Measures of information: pure functions of probabilities, for arrays and for tensors.

One convention holds for the whole file.

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

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "conditional_entropy",
    "cross_entropy",
    "entropy",
    "entropy_from_counts",
    "gaussian_entropy",
    "gaussian_kl",
    "huffman_code",
    "joint_entropy",
    "js_divergence",
    "kl_divergence",
    "kraft_sum",
    "mutual_information",
    "prefix_code",
    "prefix_decode",
    "self_information",
]

Array = Any  # an ndarray or a Tensor; what comes out is of the kind that went in


# --- Discrete distributions -------------------------------------------------------------------------------------------


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
        >>> print(self_information(1 / 8))
        3.0
        >>> print(self_information([1.0, 0.5, 0.0]))
        [ 0.  1. inf]

    Source: Shannon (1948), section 6; Cover and Thomas (2006), section 2.1.
    """
    (p,) = _arrays(p)
    _check_range(p)
    return (0 - _log(p)) / _unit(base)  # 0 - x and not -x: -log 1 would print as -0.0


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
        >>> print(entropy([0.5, 0.25, 0.125, 0.125]))
        1.75

    Source: Shannon (1948), section 6.
    """
    (p,) = _arrays(p)
    _check_distribution(p)
    return (p * (0 - _log(_where(p > 0, p, 1.0)))).sum(-1) / _unit(base)


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
        >>> print(cross_entropy([0.5, 0.5], [0.25, 0.75]).round(4))
        1.2075

    Source: Cover and Thomas (2006), theorem 5.4.3.
    """
    p, q = _arrays(p, q)
    _check_pair(p, q)
    return (p * (0 - _log(_where(p > 0, q, 1.0)))).sum(-1) / _unit(base)


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
        >>> print(kl_divergence([0.5, 0.5], [0.25, 0.75]).round(4))
        0.2075
        >>> print(kl_divergence([0.5, 0.5], [1.0, 0.0]))
        inf

    Source: Kullback and Leibler (1951).
    """
    p, q = _arrays(p, q)
    _check_pair(p, q)
    return (p * (_log(_where(p > 0, p, 1.0)) - _log(_where(p > 0, q, 1.0)))).sum(-1) / _unit(base)


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
        >>> print(js_divergence([1.0, 0.0], [0.0, 1.0]))
        1.0

    Source: Lin (1991).
    """
    p, q = _arrays(p, q)
    _check_pair(p, q)
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
        >>> print(joint_entropy([[0.25, 0.25], [0.5, 0.0]]))
        1.5

    Source: Cover and Thomas (2006), section 2.2.
    """
    (joint,) = _arrays(joint)
    _check_joint(joint)
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
        >>> joint = [[0.25, 0.25], [0.5, 0.0]]
        >>> print(conditional_entropy(joint), conditional_entropy(joint, given=1).round(4))
        0.5 0.6887

    Source: Cover and Thomas (2006), section 2.2.
    """
    (joint,) = _arrays(joint)
    _check_joint(joint)
    if given not in (0, 1):
        raise ValueError(f"given must be 0 (the rows are known) or 1 (the columns are known), got {given!r}")
    marginal = joint.sum(-1 if given == 0 else -2)
    marginal = marginal[..., :, None] if given == 0 else marginal[..., None, :]
    surprise = _log(_where(joint > 0, marginal, 1.0)) - _log(_where(joint > 0, joint, 1.0))
    return (joint * surprise).sum((-2, -1)) / _unit(base)


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
        >>> print(mutual_information([[0.5, 0.0], [0.0, 0.5]]), mutual_information([[0.25, 0.25], [0.25, 0.25]]))
        1.0 0.0

    Source: Cover and Thomas (2006), section 2.3.
    """
    (joint,) = _arrays(joint)
    _check_joint(joint)
    rows, columns = joint.sum(-1)[..., :, None], joint.sum(-2)[..., None, :]
    log_joint, log_rows, log_columns = (_log(_where(joint > 0, p, 1.0)) for p in (joint, rows, columns))
    log_ratio = log_joint - log_rows - log_columns  # logs apart: the product of two tiny marginals would underflow
    return (joint * log_ratio).sum((-2, -1)) / _unit(base)


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
        >>> print(entropy_from_counts([5, 5]), entropy_from_counts([5, 5], base=math.e, miller_madow=True).round(4))
        1.0 0.7431

    Source: Miller (1955).
    """
    (counts,) = _arrays(counts)
    if counts.ndim == 0:
        raise ValueError("counts must have at least one axis, the outcomes; got a single number")
    if not bool((counts >= 0).all()):
        raise ValueError("counts must be numbers that are not negative; at least one is negative or not a number")
    total = counts.sum(-1)
    if not bool((total > 0).all()):
        raise ValueError("counts are all zero: without an observation there are no frequencies")
    estimate = entropy(counts / total[..., None], base)
    if miller_madow:
        estimate = estimate + ((counts > 0).sum(-1) - 1) / (2 * total) / _unit(base)
    return estimate


# --- Gaussians --------------------------------------------------------------------------------------------------------


def gaussian_entropy(cov: Array, base: float = 2, diagonal: bool = False) -> Array:
    r"""Differential entropy of a Gaussian, which does not depend on its mean.

    .. math:: h = \tfrac12 \log \det (2 \pi e\, \Sigma)

    Args:
        cov: a variance (one dimension), variances [D], or a covariance matrix [..., D, D]; with ``diagonal=True``,
            variances [..., D].
        base: base of the logarithm, 2 for bits and ``math.e`` for nats.
        diagonal: whether the last axis holds variances rather than the columns of a matrix. One axis always holds
            variances.

    Returns:
        [...], in bits (or nats). It may be negative.

    Raises:
        ValueError: if a variance is not positive or a matrix is not symmetric positive definite.

    Example:
        >>> print(gaussian_entropy(1.0).round(4), gaussian_entropy([[2.0, 0.5], [0.5, 1.0]], base=math.e).round(4))
        2.0471 3.1177

    Source: Cover and Thomas (2006), theorem 8.4.1.
    """
    (cov,) = _arrays(cov)
    variances, factor = _spread(cov, diagonal, "cov")
    log_det = _log(variances).sum(-1) if factor is None else _log_det(factor)
    return (variances.shape[-1] * math.log(2 * math.pi * math.e) + log_det) / 2 / _unit(base)


def gaussian_kl(
    mean_p: Array, cov_p: Array, mean_q: Array = 0.0, cov_q: Array = 1.0, base: float = 2, diagonal: bool = False
) -> Array:
    r"""KL divergence between two Gaussians in closed form.

    .. math::
        \mathrm{KL}\big(\mathcal N(\mu_p, \Sigma_p) \,\|\, \mathcal N(\mu_q, \Sigma_q)\big)
        = \tfrac12 \Big[ \operatorname{tr}(\Sigma_q^{-1} \Sigma_p) - D
        + (\mu_p - \mu_q)^\top \Sigma_q^{-1} (\mu_p - \mu_q) + \log \frac{\det \Sigma_q}{\det \Sigma_p} \Big]

    The second Gaussian is the standard normal unless one is given.

    Args:
        mean_p: [..., D], or a single number for one dimension.
        cov_p: a variance shared by all dimensions, variances [D], or a covariance matrix [..., D, D]; with
            ``diagonal=True``, variances [..., D].
        mean_q: as ``mean_p``; a single number stands for a vector of it.
        cov_q: as ``cov_p``; a single number stands for a multiple of the identity matrix.
        base: base of the logarithm, 2 for bits and ``math.e`` for nats.
        diagonal: whether the last axis of ``cov_p`` and ``cov_q`` holds variances rather than the columns of a matrix.
            One axis always holds variances.

    Returns:
        [...], in bits (or nats): the batch axes of all four arguments, broadcast.

    Raises:
        ValueError: if shapes do not fit, a variance is not positive or a matrix is not symmetric positive definite.

    Example:
        >>> print(gaussian_kl(1.0, 1.0, base=math.e))
        0.5
        >>> print(gaussian_kl([1.0, 0.0], [[2.0, 0.5], [0.5, 1.0]], base=math.e).round(4))
        0.7202

    Source: Kullback (1959), chapter 9; Kingma and Welling (2014), appendix B, for the diagonal case.
    """
    mean_p, cov_p, mean_q, cov_q = _arrays(mean_p, cov_p, mean_q, cov_q)
    dims = max(value.shape[-1] if value.ndim else 1 for value in (mean_p, cov_p, mean_q, cov_q))
    mean_p, mean_q = _fill(mean_p, dims, "mean_p"), _fill(mean_q, dims, "mean_q")
    var_p, factor_p = _spread(cov_p, diagonal, "cov_p", dims)
    var_q, factor_q = _spread(cov_q, diagonal, "cov_q", dims)
    difference = mean_p - mean_q  # [..., D]
    if factor_p is None and factor_q is None:
        ratio = var_p / var_q
        return (ratio - 1 - _log(ratio) + difference**2 / var_q).sum(-1) / 2 / _unit(base)
    factor_p = _diagonal_matrix(var_p**0.5) if factor_p is None else factor_p
    factor_q = _diagonal_matrix(var_q**0.5) if factor_q is None else factor_q
    whitened = _solve(factor_q, factor_p)  # tr(S_q^-1 S_p) is its squared Frobenius norm
    distance = _solve(factor_q, difference[..., None])
    quadratic = (whitened**2).sum((-2, -1)) + (distance**2).sum((-2, -1))
    return (quadratic - dims + _log_det(factor_q) - _log_det(factor_p)) / 2 / _unit(base)


# --- Symbol codes -----------------------------------------------------------------------------------------------------


def kraft_sum(lengths: Iterable[int]) -> Fraction:
    r"""Kraft sum of binary codeword lengths, as an exact fraction.

    .. math:: \sum_i 2^{-\ell_i}

    At most one for every uniquely decodable code; and whenever it is at most one, a prefix code with these lengths
    exists (:func:`prefix_code`).

    Args:
        lengths: codeword lengths in bits, not negative.

    Returns:
        The sum.

    Raises:
        ValueError: if a length is negative.

    Example:
        >>> print(kraft_sum([2, 2, 1]), kraft_sum([1, 1, 2]))
        1 5/4

    Source: Kraft (1949); McMillan (1956).
    """
    lengths = [int(n) for n in lengths]
    if any(n < 0 for n in lengths):
        raise ValueError(f"codeword lengths must not be negative, got {lengths}")
    return sum((Fraction(1, 2**n) for n in lengths), Fraction(0))


def prefix_code(lengths: Mapping[Any, int] | Sequence[int]) -> dict[Any, str]:
    """Build a prefix code from codeword lengths, Kraft's construction.

    Codewords are handed out in order of length, each the first of its length that no earlier one is a prefix of, so
    equal lengths give equal codes.

    Args:
        lengths: bits for each symbol, as a mapping, or as a sequence whose symbols are 0, 1, 2, ...

    Returns:
        Symbol to codeword, a string of ``0`` and ``1``, in the order of ``lengths``.

    Raises:
        ValueError: if a length is negative, or the Kraft sum exceeds one, so that no such code exists.

    Example:
        >>> prefix_code({"a": 2, "b": 2, "c": 1})
        {'a': '10', 'b': '11', 'c': '0'}

    Source: Kraft (1949).
    """
    lengths = dict(lengths) if isinstance(lengths, Mapping) else dict(enumerate(lengths))
    total = kraft_sum(lengths.values())
    if total > 1:
        raise ValueError(
            f"no prefix code has these lengths: their Kraft sum {total} exceeds 1; make some of them longer"
        )
    code, word, depth = {}, 0, 0
    for symbol in sorted(lengths, key=lambda s: lengths[s]):  # a stable sort: ties keep the given order
        word <<= lengths[symbol] - depth
        depth = lengths[symbol]
        code[symbol] = format(word, f"0{depth}b") if depth else ""
        word += 1
    return {symbol: code[symbol] for symbol in lengths}


def prefix_decode(bits: str, code: Mapping[Any, str]) -> list[Any]:
    """Decode a string of bits with a prefix code, from left to right and without looking ahead.

    Args:
        bits: a string of ``0`` and ``1``.
        code: symbol to codeword; no codeword may be a prefix of another.

    Returns:
        The symbols.

    Raises:
        ValueError: if the code is not prefix-free or has an empty codeword, or the bits are no whole number of
            codewords.

    Example:
        >>> "".join(prefix_decode("0011001", {"a": "00", "b": "01", "c": "1"}))
        'accac'

    Source: Cover and Thomas (2006), section 5.1.
    """
    words = sorted(code.values())  # a word and what it is a prefix of become neighbours
    if any(later.startswith(earlier) for earlier, later in zip(words, words[1:], strict=False)) or "" in words:
        raise ValueError(f"not a prefix code, so it cannot be decoded at sight: {dict(code)}")
    symbol_of = {word: symbol for symbol, word in code.items()}
    symbols, word = [], ""
    for bit in bits:
        word += bit
        if word in symbol_of:
            symbols.append(symbol_of[word])
            word = ""
    if word:
        raise ValueError(f"the bits end inside a codeword: {word!r} is left over after {len(symbols)} symbols")
    return symbols


def huffman_code(p: Mapping[Any, float] | Array) -> dict[Any, str]:
    """Huffman's code: no code that gives each symbol its own codeword has a smaller mean length.

    The two least probable nodes are merged until one is left; merges fix the lengths, and :func:`prefix_code` turns
    lengths into codewords. Ties are broken by age (symbols first, in their given order, then merges), so that equal
    input gives equal codes. A symbol of probability zero gets no codeword. A source with a single symbol needs no bits:
    its codeword is the empty string.

    Args:
        p: symbol to probability, or a vector [K] of probabilities whose symbols are 0, 1, 2, ...

    Returns:
        Symbol to codeword, a string of ``0`` and ``1``, in the order of ``p``.

    Raises:
        ValueError: if ``p`` is no distribution.

    Example:
        >>> huffman_code({"a": 0.5, "b": 0.25, "c": 0.25})
        {'a': '0', 'b': '10', 'c': '11'}

    Source: Huffman (1952).
    """
    symbols = list(p) if isinstance(p, Mapping) else None
    (probabilities,) = _arrays(list(p.values()) if isinstance(p, Mapping) else p)
    if probabilities.ndim != 1:
        raise ValueError(f"expected a vector [K] of probabilities or a mapping, got shape {tuple(probabilities.shape)}")
    _check_distribution(probabilities)
    values = [float(v) for v in probabilities]
    symbols = list(range(len(values))) if symbols is None else symbols

    lengths = {i: 0 for i, v in enumerate(values) if v > 0}
    heap = [(values[i], i, [i]) for i in lengths]  # (probability, age, the symbols below this node)
    heapq.heapify(heap)
    for age in range(len(values), len(values) + len(heap) - 1):
        (v, _, left), (w, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        for i in left + right:
            lengths[i] += 1  # one level further from the root
        heapq.heappush(heap, (v + w, age, left + right))
    return {symbols[i]: word for i, word in prefix_code(lengths).items()}


# --- NumPy or torch: the few places where they differ, and the checks at the door -------------------------------------


def _arrays(*values: Array) -> list[Any]:
    """All float tensors if any value is a tensor, else all float64 arrays."""
    example = next((v for v in values if isinstance(v, Tensor)), None)
    if example is None:
        return [np.asarray(v, dtype=np.float64) for v in values]
    dtype = example.dtype if example.is_floating_point() else torch.get_default_dtype()
    tensors = [v if isinstance(v, Tensor) else torch.as_tensor(v, dtype=dtype, device=example.device) for v in values]
    return [t if t.is_floating_point() else t.to(dtype) for t in tensors]


def _log(x: Array) -> Array:
    if isinstance(x, Tensor):
        return torch.log(x)
    with np.errstate(divide="ignore"):  # log 0 = -inf is what is wanted
        return np.log(x)


def _where(condition: Array, x: Array, otherwise: float) -> Array:
    return (torch if isinstance(x, Tensor) else np).where(condition, x, otherwise)


def _solve(a: Array, b: Array) -> Array:
    """Solve ``a y = b`` for a lower triangular ``a``."""
    return torch.linalg.solve_triangular(a, b, upper=False) if isinstance(a, Tensor) else np.linalg.solve(a, b)


def _diagonal_matrix(x: Array) -> Array:
    return torch.diag_embed(x) if isinstance(x, Tensor) else x[..., None] * np.eye(x.shape[-1])


def _log_det(factor: Array) -> Array:
    """log det of the matrix whose Cholesky factor this is."""
    return 2 * _log(factor.diagonal(0, -2, -1)).sum(-1)


def _unit(base: float) -> float:
    if not (base > 0 and base != 1):
        raise ValueError(f"base must be positive and not 1 (2 gives bits, math.e gives nats), got {base!r}")
    return math.log(base)


def _tolerance(p: Array) -> float:
    """How far a sum of probabilities may be from one: float32 passes; counts, scores and logits do not."""
    if isinstance(p, Tensor) and p.dtype != torch.float64:
        return 1e-4 if p.dtype == torch.float32 else 2e-2
    return 1e-6


def _check_range(p: Array) -> None:
    if not bool(((p >= 0) & (p <= 1 + _tolerance(p))).all()):
        wrong = p[~((p >= 0) & (p <= 1 + _tolerance(p)))].reshape(-1)
        raise ValueError(f"probabilities must lie between 0 and 1, got {float(wrong[0])}")


def _check_sum(p: Array, axes: tuple[int, ...]) -> None:
    if p.ndim < len(axes) or 0 in p.shape:
        where = "axis" if len(axes) == 1 else "two axes"
        raise ValueError(f"expected probabilities along the last {where}, got shape {tuple(p.shape)}")
    _check_range(p)
    total = p.sum(axes)
    if not bool((abs(total - 1) <= _tolerance(p)).all()):
        worst = total.reshape(-1)[int(abs(total - 1).reshape(-1).argmax())]
        hint = "divide weights or counts by their sum first"
        raise ValueError(f"probabilities must sum to 1, these sum to {float(worst):.6g}; {hint}")


def _check_distribution(p: Array) -> None:
    _check_sum(p, (-1,))


def _check_joint(joint: Array) -> None:
    _check_sum(joint, (-2, -1))


def _check_pair(p: Array, q: Array) -> None:
    _check_distribution(p)
    _check_distribution(q)
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(f"p and q must be over the same outcomes, got {p.shape[-1]} and {q.shape[-1]} of them")


def _fill(value: Array, dims: int, name: str) -> Array:
    """A vector [..., D]; a single number stands for a vector of it."""
    if value.ndim == 0:
        ones = torch.ones(dims, dtype=value.dtype, device=value.device) if isinstance(value, Tensor) else np.ones(dims)
        return value * ones
    if value.shape[-1] != dims:
        raise ValueError(f"{name} of shape {tuple(value.shape)} does not fit the others, which have {dims} dimensions")
    return value


def _spread(cov: Array, diagonal: bool, name: str, dims: int | None = None) -> tuple[Array, Array | None]:
    """Variances [..., D], and the Cholesky factor [..., D, D] if a full matrix was given, else None."""
    dims = (cov.shape[-1] if cov.ndim else 1) if dims is None else dims
    cov = _fill(cov, dims, name)
    if diagonal or cov.ndim == 1:
        if not bool((cov > 0).all()):
            raise ValueError(f"{name} must hold positive variances; the smallest is {float(cov.min())}")
        return cov, None
    matrix = f"{name} of shape {tuple(cov.shape)} is no covariance matrix [..., D, D]"
    hint = "; for variances [..., D] pass diagonal=True"
    if cov.shape[-1] != cov.shape[-2]:
        raise ValueError(matrix + hint)
    transposed = cov.mT if isinstance(cov, Tensor) else np.swapaxes(cov, -1, -2)
    if not bool((abs(cov - transposed) <= _tolerance(cov) * abs(cov).max()).all()):
        raise ValueError(f"{matrix}: it is not symmetric{hint}")
    try:
        factor = torch.linalg.cholesky(cov) if isinstance(cov, Tensor) else np.linalg.cholesky(cov)
    except (np.linalg.LinAlgError, RuntimeError) as error:
        raise ValueError(f"{matrix}: it is not positive definite{hint}") from error
    return cov.diagonal(0, -2, -1), factor
