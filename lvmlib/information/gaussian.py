"""Entropy and KL divergence of Gaussians in closed form."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from lvmlib.information.checks import Array, arrays, log, not_negative, tolerance, unit


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
        >>> import math
        >>> from lvmlib import gaussian_entropy
        >>> pair = gaussian_entropy([[2.0, 0.5], [0.5, 1.0]], base=math.e)
        >>> print(gaussian_entropy(1.0).round(4), pair.round(4))
        2.0471 3.1177

    Source: Cover and Thomas 2006, theorem 8.4.1.
    """
    (cov,) = arrays(cov)
    variances, factor = _spread(cov, diagonal, "cov")
    log_det = log(variances).sum(-1) if factor is None else _log_det(factor)
    return (variances.shape[-1] * math.log(2 * math.pi * math.e) + log_det) / 2 / unit(base)


def gaussian_kl(
    mean_p: Array, cov_p: Array, mean_q: Array = 0.0, cov_q: Array = 1.0, base: float = 2, diagonal: bool = False
) -> Array:
    r"""KL divergence between two Gaussians in closed form.

    .. math::
        \mathrm{KL}\big(\mathcal N(\mu_p, \Sigma_p) \,\|\, \mathcal N(\mu_q, \Sigma_q)\big)
        = {} & \tfrac12 \Big[ \operatorname{tr}(\Sigma_q^{-1} \Sigma_p) - D
        + \log \frac{\det \Sigma_q}{\det \Sigma_p} \\
        & + (\mu_p - \mu_q)^\top \Sigma_q^{-1} (\mu_p - \mu_q) \Big]

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
        >>> import math
        >>> from lvmlib import gaussian_kl
        >>> print(gaussian_kl(1.0, 1.0, base=math.e))
        0.5
        >>> print(gaussian_kl([1.0, 0.0], [[2.0, 0.5], [0.5, 1.0]], base=math.e).round(4))
        0.7202

    Source: Kullback 1959, chapter 9; Kingma and Welling 2014, appendix B, for the diagonal case.
    """
    mean_p, cov_p, mean_q, cov_q = arrays(mean_p, cov_p, mean_q, cov_q)
    dims = max(value.shape[-1] if value.ndim else 1 for value in (mean_p, cov_p, mean_q, cov_q))
    mean_p, mean_q = _fill(mean_p, dims, "mean_p"), _fill(mean_q, dims, "mean_q")
    var_p, factor_p = _spread(cov_p, diagonal, "cov_p", dims)
    var_q, factor_q = _spread(cov_q, diagonal, "cov_q", dims)
    difference = mean_p - mean_q  # [..., D]
    if factor_p is None and factor_q is None:
        ratio = var_p / var_q
        return not_negative((ratio - 1 - log(ratio) + difference**2 / var_q).sum(-1) / 2 / unit(base))
    factor_p = _diagonal_matrix(var_p**0.5) if factor_p is None else factor_p
    factor_q = _diagonal_matrix(var_q**0.5) if factor_q is None else factor_q
    whitened = _solve(factor_q, factor_p)  # tr(S_q^-1 S_p) is its squared Frobenius norm
    distance = _solve(factor_q, difference[..., None])
    quadratic = (whitened**2).sum((-2, -1)) + (distance**2).sum((-2, -1))
    return not_negative((quadratic - dims + _log_det(factor_q) - _log_det(factor_p)) / 2 / unit(base))


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
    if not bool((abs(cov - transposed) <= tolerance(cov) * abs(cov).max()).all()):
        raise ValueError(f"{matrix}: it is not symmetric{hint}")
    try:
        factor = torch.linalg.cholesky(cov) if isinstance(cov, Tensor) else np.linalg.cholesky(cov)
    except (np.linalg.LinAlgError, RuntimeError) as error:
        raise ValueError(f"{matrix}: it is not positive definite{hint}") from error
    return cov.diagonal(0, -2, -1), factor


def _log_det(factor: Array) -> Array:
    """log det of the matrix whose Cholesky factor this is."""
    return 2 * log(factor.diagonal(0, -2, -1)).sum(-1)


def _diagonal_matrix(x: Array) -> Array:
    return torch.diag_embed(x) if isinstance(x, Tensor) else x[..., None] * np.eye(x.shape[-1])


def _solve(a: Array, b: Array) -> Array:
    """Solve ``a y = b`` for a lower triangular ``a``."""
    return torch.linalg.solve_triangular(a, b, upper=False) if isinstance(a, Tensor) else np.linalg.solve(a, b)
