import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm
from sklearn.decomposition import PCA
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from lvmlib.bounds import elbo as sampled_elbo
from lvmlib.latent import PPCA, em
from lvmlib.training import fit
from tests.precision import double_precision  # noqa: F401


def data(n=300, d=6):
    return torch.randn(n, 3) @ torch.randn(3, d) + 0.3 * torch.randn(n, d) + torch.arange(d)


def shaken(latents=2, d=4):
    model = PPCA((d,), latents, 0.6)
    with torch.no_grad():
        model.bias += torch.randn(d)
    return model


def full(n, d):
    return MultivariateNormal(torch.randn(n, d), scale_tril=torch.eye(d) + 0.3 * torch.randn(n, d, d).tril(-1))


def diagonal(n, d):
    return Independent(Normal(torch.randn(n, d), torch.rand(n, d) + 0.3), 1)


def test_solve_is_scikit_learns_probabilistic_pca():
    """Its score is that of PPCA with the discarded variance as noise, by the unbiased covariance, which is matched."""
    x = data()
    model, theirs = PPCA((6,), 2).solve(x), PCA(2, svd_solver="full").fit(x.numpy())
    theirs.explained_variance_ *= 299 / 300  # divides by N, as maximum likelihood does
    theirs.noise_variance_ *= 299 / 300
    np.testing.assert_allclose(model.log_prob(x).detach(), theirs.score_samples(x.numpy()), rtol=1e-9)


def moment(x, w, b, power):
    """Integral of z^power p(x, z) over z, by quadrature, for one latent and noise 0.6."""
    return quad(lambda z: z**power * norm.pdf(z) * norm.pdf(x, w * z + b, 0.6).prod(), -8, 8, epsabs=1e-13)[0]


def test_log_density_against_scipy_and_posterior_against_quadrature():
    model = shaken(latents=1)
    x = torch.randn(3, 4)
    W, b = model.weight.detach(), model.bias.detach()
    covariance = W @ W.T + 0.36 * torch.eye(4)
    expected = multivariate_normal(b.numpy(), covariance.numpy()).logpdf(x.numpy())
    np.testing.assert_allclose(model.log_prob(x).detach(), expected)
    q = model.posterior(x)
    for i in range(3):
        evidence, first, second = (moment(x[i].numpy(), W[:, 0].numpy(), b.numpy(), power) for power in range(3))
        mean = first / evidence
        assert math.log(evidence) == pytest.approx(expected[i], abs=1e-7)
        assert q.mean[i].item() == pytest.approx(mean, abs=1e-7)
        assert q.variance[i].item() == pytest.approx(second / evidence - mean**2, abs=1e-7)


@pytest.mark.parametrize("make", [full, diagonal])
def test_bound_and_divergence_add_up(make):
    model, x, q = shaken(), torch.randn(7, 4), make(7, 2)
    wide = MultivariateNormal(q.mean, covariance_matrix=torch.diag_embed(q.variance)) if make is diagonal else q
    torch.testing.assert_close(model.elbo(x, q) + kl_divergence(wide, model.posterior(x)), model.log_prob(x))


@pytest.mark.parametrize("make", [full, diagonal])
def test_the_m_step_is_where_the_gradient_vanishes(make):
    x, q = data(100), make(100, 2)
    model = PPCA((6,), 2)
    model.m_step(x, q)
    model.elbo(x, q).mean().backward()
    assert all(p.grad.abs().max() < 1e-9 for p in model.parameters())


def test_em_rises_to_the_solution():
    x = data()
    model, solution = PPCA((6,), 2), PPCA((6,), 2).solve(x)
    steps = em(model, x, rounds=300, q=diagonal(len(x), 2))
    assert all(b.elbo >= a.elbo - 1e-10 for a, b in itertools.pairwise(steps))
    assert all(abs(s.kl) < 1e-10 for s in steps if s.step == "E")
    assert model.log_prob(x).mean().item() == pytest.approx(solution.log_prob(x).mean().item(), abs=1e-6)
    gram = model.weight @ model.weight.T  # W itself is determined up to a rotation
    torch.testing.assert_close(gram, solution.weight @ solution.weight.T, atol=1e-3, rtol=0)


def test_gradients_reach_the_solution():
    x = data()
    model, solution = PPCA((6,), 2), PPCA((6,), 2).solve(x)
    fit(model, x, steps=700, batch_size=300, lr=0.05, progress=False)
    assert model.log_prob(x).mean().item() == pytest.approx(solution.log_prob(x).mean().item(), abs=1e-3)


def test_the_chain_is_the_same_model():
    model, x = shaken(), torch.randn(5, 4)
    chain = model.chain()
    torch.testing.assert_close(chain.log_weights(x, 3), model.log_prob(x).expand(3, 5))  # its q is the posterior
    assert (sampled_elbo(chain, x, k=20_000) - model.log_prob(x)).abs().max() < 0.1
    model.bias.data += 1.0
    assert not torch.allclose(chain.log_weights(x, 1)[0], model.log_prob(x))  # a copy


def test_draws_have_the_moments_of_the_marginal():
    model = shaken()
    x = model.sample(200_000)
    marginal = model.distribution()
    torch.testing.assert_close(x.mean(0), marginal.mean.detach(), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), marginal.covariance_matrix.detach(), atol=0.05, rtol=0.02)
    cold = model.sample(50_000, temperature=0.5)
    torch.testing.assert_close(cold.var(0), x.var(0) / 4, atol=0.02, rtol=0.03)


def test_pictures_contexts_and_refusals():
    x = torch.randn(40, 1, 2, 3)
    model = PPCA((1, 2, 3), 2).solve(x)
    assert model.sample(4).shape == model.likelihood(torch.zeros(4, 2)).mean.shape == (4, 1, 2, 3)
    assert not model.has_distribution and PPCA((3,)).distribution(torch.zeros(5, 1)).batch_shape == (5,)
    with pytest.raises(TypeError, match="several axes"):
        model.distribution()
    with pytest.raises(ValueError, match="takes no context"):
        model.log_prob(x, torch.zeros(40, 1))
    with pytest.raises(ValueError, match="leave no variance"):
        PPCA((3,), 3).solve(torch.randn(20, 3))
    with pytest.raises(ValueError, match="leave no variance"):
        PPCA((3,), 1).solve(torch.randn(20, 1) @ torch.randn(1, 3))


@pytest.mark.parametrize("short", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_compute_in_single(short):
    model, x = PPCA((4,), 2).to(short), torch.randn(5, 4).float()
    assert model.log_prob(x).dtype == model.posterior(x).mean.dtype == model.sample(3).dtype == torch.float32
