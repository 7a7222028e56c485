import itertools

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture as OfScikitLearn
from torch.distributions import Categorical, kl_divergence

from lvmlib.latent import GaussianMixture, em
from lvmlib.training import fit
from tests.precision import double_precision  # noqa: F401

KINDS = {"spherical": "spherical", "diagonal": "diag", "full": "full"}  # ours and scikit-learn's


def clusters(n=300):
    centres = torch.tensor([[0.0, 0.0], [3.0, 1.0], [-1.0, 3.0]])
    return centres[torch.randint(3, (n,))] + torch.randn(n, 2) @ torch.tensor([[0.7, 0.3], [0.0, 0.5]])


def theirs(mixture, x, rounds):
    """scikit-learn's EM from the same start, for as many rounds."""
    other = OfScikitLearn(
        len(mixture.loc), covariance_type=KINDS[mixture.covariance], max_iter=rounds, tol=0.0, reg_covar=0.0
    )
    r = mixture.responsibilities(x).detach().numpy()
    other._initialize(x.numpy(), r)  # its M-step on our first responsibilities
    other.converged_ = True
    for _ in range(rounds - 1):
        _, log_r = other._e_step(x.numpy())
        other._m_step(x.numpy(), log_r)
    return other


@pytest.mark.parametrize("covariance", KINDS)
def test_em_takes_the_steps_of_scikit_learn(covariance):
    x = clusters()
    mixture = GaussianMixture((2,), 3, covariance).start_from(x)
    other = theirs(mixture, x, rounds=7)
    em(mixture, x, rounds=7)
    np.testing.assert_allclose(mixture.loc.detach(), other.means_, rtol=1e-7)
    np.testing.assert_allclose(mixture.logits.softmax(0).detach(), other.weights_, rtol=1e-7)
    np.testing.assert_allclose(mixture.log_prob(x).detach(), other.score_samples(x.numpy()), rtol=1e-7)


@pytest.mark.parametrize("covariance", KINDS)
def test_the_bound_rises_and_closes_at_every_e_step(covariance):
    x = clusters()
    mixture = GaussianMixture((2,), 4, covariance).start_from(x)
    start = Categorical(probs=torch.full((len(x), 4), 0.25))
    steps = em(mixture, x, rounds=15, q=start)
    assert [s.step for s in steps] == ["start", *["E", "M"] * 15]
    assert all(b.elbo >= a.elbo - 1e-10 for a, b in itertools.pairwise(steps))
    assert all(abs(s.kl) < 1e-10 for s in steps if s.step == "E")
    assert all(s.kl > 1e-8 for s in steps if s.step != "E")


def test_bound_and_divergence_add_up_to_the_log_likelihood():
    """Log p by scipy, component by component; the posterior by Bayes' theorem from it."""
    x = clusters(20)
    mixture = GaussianMixture((2,), 3, "full").start_from(x)
    with torch.no_grad():
        mixture.lower += 0.3
        mixture.logits += torch.tensor([0.5, 0.0, -1.0])
    tril, weights = mixture.scale_tril().detach(), mixture.logits.softmax(0).tolist()
    joint = np.stack(
        [
            weights[k] * multivariate_normal(mixture.loc[k].tolist(), (tril[k] @ tril[k].T).numpy()).pdf(x.numpy())
            for k in range(3)
        ],
        1,
    )
    q = Categorical(logits=torch.randn(20, 3))
    np.testing.assert_allclose(mixture.posterior(x).probs.detach(), joint / joint.sum(1, keepdims=True))
    total = mixture.elbo(x, q) + kl_divergence(q, mixture.posterior(x))
    np.testing.assert_allclose(total.detach(), np.log(joint.sum(1)))


@pytest.mark.parametrize("covariance", KINDS)
def test_the_m_step_is_where_the_gradient_vanishes(covariance):
    x, q = clusters(100), Categorical(logits=torch.randn(100, 3))
    mixture = GaussianMixture((2,), 3, covariance)
    mixture.m_step(x, q)
    mixture.elbo(x, q).sum().backward()
    for name, p in mixture.named_parameters():
        gradient = p.grad.tril(-1) if name == "lower" else p.grad
        assert gradient.abs().max() < 1e-9, name


def test_the_m_step_respects_the_floor_and_is_best_among_those_that_do():
    x, q = 0.1 * torch.randn(200, 2) @ torch.tensor([[1.0, 2.0], [0.0, 9.0]]), Categorical(torch.ones(200, 1))
    for covariance in KINDS:
        mixture = GaussianMixture((2,), 1, covariance, floor=0.2)
        mixture.m_step(x, q)
        assert mixture.scale().min() >= 0.2 - 1e-12
        best = mixture.elbo(x, q).sum().item()
        for p in (mixture.loc, mixture.log_scale, *([] if mixture.lower is None else [mixture.lower])):
            for nudge in (0.02, -0.02):
                with torch.no_grad():
                    p += nudge * torch.randn_like(p)
                    assert mixture.elbo(x, q).sum() < best + 1e-9
                    mixture.m_step(x, q)


def test_certain_and_empty_components():
    x = clusters(50)
    hard = torch.zeros(50, 3)
    hard[:25, 0] = hard[25:, 1] = 1.0
    mixture = GaussianMixture((2,), 3, "diagonal", floor=0.1)
    mixture.m_step(x, Categorical(probs=hard))
    torch.testing.assert_close(mixture.loc[0].detach(), x[:25].mean(0))
    assert mixture.elbo(x, Categorical(probs=hard)).isfinite().all() and mixture.log_prob(x).isfinite().all()
    with torch.no_grad():
        mixture.logits[2] = -torch.inf  # impossible, and q leaves it out
    assert mixture.elbo(x, Categorical(probs=hard)).isfinite().all()
    with pytest.raises(ValueError, match="component 2 is singular"):
        GaussianMixture((2,), 3, "full").m_step(x, Categorical(probs=hard))


def test_gradients_reach_the_optimum_of_em():
    x = clusters(200)
    start = GaussianMixture((2,), 2).start_from(x)
    other = GaussianMixture((2,), 2)
    other.load_state_dict(start.state_dict())
    em(start, x, rounds=200)
    fit(other, x, steps=600, batch_size=200, lr=0.05, progress=False)
    assert other.log_prob(x).mean().item() == pytest.approx(start.log_prob(x).mean().item(), abs=1e-4)


def test_pictures_work_as_events():
    x = torch.randn(30, 1, 2, 3)
    mixture = GaussianMixture((1, 2, 3), 2).start_from(x)
    em(mixture, x, rounds=2)
    assert mixture.posterior(x).probs.shape == (30, 2) and mixture.sample(4).shape == (4, 1, 2, 3)
    with pytest.raises(ValueError, match="x must have shape"):
        mixture.posterior(x[0])
