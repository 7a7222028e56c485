"""One-hot categoricals and learned discrete priors, against torch and against sums over all values."""

import itertools

import pytest
import torch
from torch import nn
from torch.distributions import Independent, OneHotCategorical, kl_divergence

from lvmlib.bounds import closed_form_kl, elbo
from lvmlib.distributions import (
    Coins,
    ConditionalCategorical,
    ConditionalNormal,
    FactorisedBernoulli,
    FactorisedCategorical,
    OneHots,
)
from lvmlib.draws import draw_constant, frozen, tempered
from lvmlib.latent import VAE
from tests.precision import double_precision  # noqa: F401


def corners(variables: int, values: int) -> torch.Tensor:
    rows = list(itertools.product(range(values), repeat=variables))
    return torch.eye(values)[torch.tensor(rows)]  # [values ** variables, variables, values]


def test_one_hots_agree_with_torch():
    logits = torch.randn(5, 2, 3)
    ours, theirs = OneHots(logits, 2), Independent(OneHotCategorical(logits=logits), 1)
    x = theirs.sample((7,))
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.mean, theirs.mean)
    assert torch.equal(ours.mode, theirs.mode)
    other = torch.randn(2, 3)
    p = OneHots(other, 2).expand((5,)), Independent(OneHotCategorical(logits=other.expand(5, 2, 3)), 1)
    torch.testing.assert_close(kl_divergence(ours, p[0]), kl_divergence(theirs, p[1]))
    torch.testing.assert_close(kl_divergence(ours, OneHots(other, 2)), kl_divergence(theirs, p[1]))
    torch.testing.assert_close(tempered(ours, 0.5).logits, 2 * logits)
    torch.testing.assert_close(ours.expand((4, 5)).log_prob(x[:4]), theirs.log_prob(x[:4]))
    many = OneHots(torch.randn(6, 2, 3), 2)
    torch.testing.assert_close(many.in_copies(3).log_prob(x[0, :2]).flatten(), many.log_prob(x[0, :2].repeat(3, 1, 1)))
    torch.testing.assert_close(frozen(ours).log_prob(x), ours.log_prob(x))
    with pytest.raises(NotImplementedError, match="events of shape"):
        kl_divergence(ours, OneHots(torch.zeros(3, 3), 2))


def test_one_hots_are_drawn_as_often_as_their_probability_says():
    q = OneHots(torch.randn(4, 2, 3), 2)
    x = q.sample((20_000,))
    assert set(x.unique().tolist()) == {0.0, 1.0} and bool((x.sum(-1) == 1).all())
    error = (q.mean * (1 - q.mean) / 20_000).sqrt()
    assert ((x.mean(0) - q.mean).abs() < 4.5 * error).all()


def test_impossible_values_are_never_drawn_and_cost_nothing():
    q = OneHots(torch.tensor([[[0.0, -torch.inf, 1.0]]], requires_grad=True), 2)
    x = q.sample((1000,))
    assert x[..., 1].sum() == 0 and bool(q.log_prob(x).isfinite().all()) and bool(q.entropy().isfinite())
    assert q.log_prob(torch.tensor([[[0.0, 1.0, 0.0]]])) < -1e300
    (g,) = torch.autograd.grad(q.log_prob(x).sum(), q.logits)
    assert bool(g.isfinite().all())


def test_a_vae_with_categorical_latents_has_the_bound_that_the_sum_over_all_values_gives():
    encoder, prior = ConditionalCategorical((2, 3), nn.Linear(2, 6)), FactorisedCategorical((2, 3))
    decoder = ConditionalNormal((2,), nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), 0.7)
    vae, x, z = VAE(encoder, decoder, prior), torch.randn(1, 2), corners(2, 3)
    with torch.no_grad():
        prior.logits.copy_(torch.randn(2, 3))
        q, p = vae.posterior(x), prior.distribution()
        log_q, log_joint = q.log_prob(z), p.log_prob(z) + decoder.distribution(z).log_prob(x)
        torch.testing.assert_close(log_q.exp().sum(), torch.tensor(1.0))
        torch.testing.assert_close(kl_divergence(q, p)[0], (log_q.exp() * (log_q - p.log_prob(z))).sum())
        trace = vae.trace(x, k=5)
        torch.testing.assert_close(closed_form_kl(trace), kl_divergence(q, p))
        exact = (log_q.exp() * (log_joint - log_q)).sum()
        draws = vae.log_weights(x, 50_000)[:, 0]
        assert (draws.mean() - exact).abs() < 4.5 * draws.std() / 50_000**0.5
        assert (elbo(vae, x, k=50_000) - exact).abs() < 4.5 * draws.std() / 50_000**0.5
    assert vae.sample(4).shape == (4, 2)
    z, log_q = draw_constant(vae.posterior(x.expand(3, 2)), 4)
    assert z.shape == (4, 3, 2, 3) and log_q.shape == (4, 3) and log_q.requires_grad


@pytest.mark.parametrize(
    ("prior", "kind", "outside"),
    [
        (FactorisedBernoulli, Coins, 0.5),
        (FactorisedCategorical, OneHots, 1.0),
    ],
)
def test_learned_priors_are_uniform_at_first_and_have_as_many_rows_as_a_context(prior, kind, outside):
    prior = prior((2, 3))
    p = prior.distribution()
    assert isinstance(p, kind) and p.batch_shape == () and p.event_shape == (2, 3)
    torch.testing.assert_close(p.mean, torch.full((2, 3), 1 / 2 if kind is Coins else 1 / 3))
    assert prior.distribution(torch.zeros(7, 1)).batch_shape == (7,)
    x = prior.sample(6)
    assert x.shape == (6, 2, 3) and prior.log_prob(x).requires_grad
    with pytest.raises(ValueError, match="expects values in"):
        prior.log_prob(torch.full((1, 2, 3), outside))
