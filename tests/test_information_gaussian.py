"""Measures of Gaussians. Oracles: scipy, torch.distributions, quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch.distributions import MultivariateNormal, Normal
from torch.distributions import kl_divergence as torch_kl

from lvmlib import information as info

BASES = [2, math.e, 10]


def covariance(dims, seed, batch=()):
    a = np.random.default_rng(seed).normal(size=(*batch, dims, dims))
    return a @ np.swapaxes(a, -1, -2) + 0.1 * np.eye(dims)


@pytest.mark.parametrize("base", BASES)
def test_gaussian_entropy_equals_scipy(base):
    cov = covariance(4, 0)
    expected = scipy.stats.multivariate_normal(cov=cov).entropy() / math.log(base)
    assert info.gaussian_entropy(cov, base) == pytest.approx(expected, rel=1e-12)
    variances = np.array([[0.5, 2.0], [1e-6, 3.0]])
    expected = scipy.stats.norm(scale=np.sqrt(variances)).entropy().sum(-1) / math.log(base)
    np.testing.assert_allclose(info.gaussian_entropy(variances, base, diagonal=True), expected, rtol=1e-12)
    assert info.gaussian_entropy(4.0, base) == pytest.approx(scipy.stats.norm(scale=2).entropy() / math.log(base))


def test_gaussian_kl_equals_torch():
    mean_p, mean_q = (torch.tensor(np.random.default_rng(s).normal(size=(6, 3))) for s in (1, 2))
    cov_p, cov_q = (torch.tensor(covariance(3, s, (6,))) for s in (3, 4))
    expected = torch_kl(MultivariateNormal(mean_p, cov_p), MultivariateNormal(mean_q, cov_q))
    torch.testing.assert_close(info.gaussian_kl(mean_p, cov_p, mean_q, cov_q, math.e), expected, rtol=1e-10, atol=0)
    got = info.gaussian_kl(mean_p.numpy(), cov_p.numpy(), mean_q.numpy(), cov_q.numpy())
    np.testing.assert_allclose(got, expected.numpy() / math.log(2), rtol=1e-10)

    var_p, var_q = cov_p.diagonal(0, -2, -1), cov_q.diagonal(0, -2, -1)
    expected = torch_kl(Normal(mean_p, var_p.sqrt()), Normal(mean_q, var_q.sqrt())).sum(-1)
    got = info.gaussian_kl(mean_p, var_p, mean_q, var_q, math.e, diagonal=True)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=0)


def test_gaussian_kl_mixed_forms_agree():
    mean, cov = np.array([[1.0, 2.0], [0.0, -1.0]]), covariance(2, 5)
    to_standard = info.gaussian_kl(mean, cov)
    np.testing.assert_allclose(to_standard, info.gaussian_kl(mean, cov, np.zeros(2), np.eye(2)), rtol=1e-13)
    full = info.gaussian_kl(mean, np.diag([2.0, 3.0]), 0.5, cov)
    np.testing.assert_allclose(full, info.gaussian_kl(mean, [2.0, 3.0], [0.5, 0.5], cov), rtol=1e-13)
    full = info.gaussian_kl(mean, cov, 0.5, np.diag([2.0, 3.0]))
    np.testing.assert_allclose(full, info.gaussian_kl(mean, cov, [0.5, 0.5], [2.0, 3.0]), rtol=1e-13)
    np.testing.assert_allclose(
        info.gaussian_kl(0.0, cov, 0.0, 2 * cov), info.gaussian_kl(np.zeros(2), cov, 0.0, 2 * cov)
    )
    assert info.gaussian_kl(mean[0], cov, mean[0], cov) == pytest.approx(0, abs=1e-14)


def test_gaussian_kl_by_quadrature():
    p, q = scipy.stats.norm(0.3, 0.7), scipy.stats.norm(-0.5, 1.6)
    integral, error = scipy.integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -10, 10)
    assert error < 1e-8
    assert info.gaussian_kl(0.3, 0.49, -0.5, 2.56, math.e) == pytest.approx(integral, rel=1e-9)


def test_gaussian_gradients():
    rng = np.random.default_rng(0)
    mean = torch.tensor(rng.normal(size=3), requires_grad=True)
    factor = torch.tensor(rng.normal(size=(3, 3)), requires_grad=True)
    cov = lambda a: a @ a.mT + torch.eye(3, dtype=torch.float64)  # noqa: E731
    assert torch.autograd.gradcheck(
        lambda m, a: info.gaussian_kl(m, cov(a), m.flip(0), cov(a).flip(0, 1)), (mean, factor)
    )
    assert torch.autograd.gradcheck(lambda a: info.gaussian_entropy(cov(a)), (factor,))
    log_var = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, s: info.gaussian_kl(m, s.exp(), diagonal=True), (mean, log_var))


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_gaussian_errors(kind):
    for cov, message in (
        ([[1.0, 2.0], [2.0, 1.0]], "positive definite"),
        ([[1.0, 0.5], [0.0, 1.0]], "symmetric"),
        ([[1.0, 1.0]], "diagonal=True"),
        ([1.0, -1.0], "positive variances"),
        (0.0, "positive variances"),
    ):
        with pytest.raises(ValueError, match=message):
            info.gaussian_entropy(kind(cov))
        with pytest.raises(ValueError, match=message):
            info.gaussian_kl(0.0, kind(cov))
    with pytest.raises(ValueError, match="does not fit"):
        info.gaussian_kl(kind([0.0, 0.0]), 1.0, kind([0.0, 0.0, 0.0]), 1.0)
    with pytest.raises(ValueError, match="does not fit"):
        info.gaussian_kl(kind([0.0, 0.0]), kind([1.0, 1.0, 1.0]))
