"""Relaxed draws: what they are distributed as, and how far their gradients are from the exact ones."""

import math

import pytest
import torch
from torch import nn

from lvmlib.autoregressive import MADE
from lvmlib.bounds import elbo
from lvmlib.chain import Flow
from lvmlib.distributions import (
    Coins,
    ConditionalBernoulli,
    ConditionalNormal,
    FactorisedBernoulli,
    OneHots,
    StandardNormal,
)
from lvmlib.estimators import gumbel_softmax, reparameterization, straight_through
from lvmlib.estimators.relaxed import noise_of
from lvmlib.flows import Dequantize
from lvmlib.latent import VAE, StochasticPair
from tests.estimators.exact import (
    LEVEL,
    categories,
    coins,
    decoder,
    deviations,
    exact_bound,
    gradient,
    line,
)
from tests.precision import double_precision  # noqa: F401

POSTERIORS = [
    Coins(torch.tensor([[-1.2, 0.4, 2.0]]).double(), 1),
    OneHots(torch.tensor([[[0.5, -1.0, 1.2], [0.0, 2.0, 0.3]]]).double(), 2),
]


@pytest.mark.parametrize("q", POSTERIORS)
def test_the_last_step_draws_each_value_as_often_as_its_probability_says(q):
    noise = noise_of(q)
    z = noise.draw(40_000)
    value = noise.hard(z)
    error = (q.mean * (1 - q.mean) / 40_000).sqrt()
    assert ((value.mean(0) - q.mean).abs() < LEVEL * error).all()
    assert set(value.unique().tolist()) == {0.0, 1.0}
    assert (noise.soft(z, 0.001) - value).abs().gt(0.01).double().mean() < 0.01
    soft = noise.soft(z, 0.7)
    assert bool((soft >= 0).all() and (soft <= 1).all())
    if isinstance(q, OneHots):
        torch.testing.assert_close(soft.sum(-1), torch.ones(40_000, 1, 2))
        torch.testing.assert_close(soft, (z / 0.7).softmax(-1))
    else:
        torch.testing.assert_close(soft, (z / 0.7).sigmoid())


@pytest.mark.parametrize("q", POSTERIORS)
def test_values_drawn_anew_keep_the_discrete_value_and_have_the_distribution_of_the_first(q):
    noise = noise_of(q)
    z = noise.draw(40_000)
    value = noise.hard(z)
    anew = noise.given(value)
    assert torch.equal(noise.hard(anew), value)
    for power in (1, 2):
        first, second = (noise.soft(t, 1.0) ** power for t in (z, anew))
        error = ((first.var(0) + second.var(0)) / 40_000).sqrt()
        assert ((first.mean(0) - second.mean(0)).abs() < LEVEL * error).all()
    shown = value.flatten(2) == 1  # given the value: compare within each of them
    for entry in range(shown.shape[2]):
        where = shown[:, 0, entry]
        first, second = (t.flatten(2)[:, 0, entry][where].sigmoid() for t in (z, anew))
        assert (first.mean() - second.mean()).abs() < LEVEL * ((first.var() + second.var()) / where.sum()).sqrt()
    others = z.flatten(2)[:, 0, :3][shown[:, 0, 0]], anew.flatten(2)[:, 0, :3][shown[:, 0, 0]]
    first, second = (t[:, 1:].sigmoid() for t in others)  # of the values that were not drawn, too
    assert ((first.mean(0) - second.mean(0)).abs() < LEVEL * ((first.var(0) + second.var(0)) / len(first)).sqrt()).all()


def test_extreme_probabilities_give_finite_draws_and_gradients():
    for kind, logits in ((Coins, [[-200.0, 0.0, 200.0]]), (OneHots, [[-300.0, 0.0, 300.0]])):
        raw = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
        noise = noise_of(kind(raw, 1))
        z = noise.draw(100)
        soft = noise.soft(z, 0.5), noise.soft(noise.given(noise.hard(z)), 0.5)
        (g,) = torch.autograd.grad(sum(s.square().sum() for s in soft), raw)
        assert bool(g.isfinite().all()) and all(bool(s.isfinite().all()) for s in soft)


def one_coin():
    """One binary latent, so that relaxed draws can be summed over a grid of their uniform noise."""
    vae = VAE(ConditionalBernoulli((1,), nn.Linear(2, 1)), decoder(1), FactorisedBernoulli((1,)))
    return vae, torch.randn(1, 2)


def relaxed_elbo(vae, x, temperature, points=20_000):
    """E log p(x | z~) - KL by the midpoint rule over the uniform noise."""
    u = (torch.arange(points) + 0.5) / points
    logit = vae.posterior(x).logits[0, 0]
    z = ((logit + u.logit()) / temperature).sigmoid()[:, None]
    q, p = logit.sigmoid(), vae.prior.logits.sigmoid()[0]
    kl = q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()
    return vae.likelihood(z).log_prob(x.expand(points, 2)).mean() - kl


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_gumbel_softmax_estimates_the_relaxed_elbo(temperature):
    vae, x = one_coin()
    parameters, rows = list(vae.parameters()), x.expand(1000, 2)
    exact = relaxed_elbo(vae, x, temperature)
    surrogate = lambda: gumbel_softmax(vae, rows, k=2, temperature=temperature)  # noqa: E731
    assert deviations(surrogate, exact, parameters).abs().max() < LEVEL


def test_the_bias_of_gumbel_softmax_falls_with_the_temperature():
    vae, x = one_coin()
    parameters = list(vae.parameters())
    exact = gradient(exact_bound(vae, x, torch.tensor([[0.0], [1.0]]), 1), parameters)
    bias = [
        (gradient(relaxed_elbo(vae, x, t), parameters) - exact).norm() / exact.norm() for t in (2.0, 0.5, 0.1, 0.02)
    ]
    assert bias[0] > bias[1] > bias[2] > bias[3] and bias[0] > 0.01 and bias[3] < 2e-3


def reconstruction_and_kl(vae, x, z):
    q = vae.posterior(x)
    rows = x.expand(len(z), 2)
    return vae.likelihood(z).log_prob(rows), torch.distributions.kl_divergence(q, vae.prior.distribution())[0]


@pytest.mark.parametrize("build", [coins, categories])
def test_straight_through_sends_the_gradient_at_the_discrete_draw_to_the_probabilities(build):
    vae, x, z = build()
    encoder, model = (list(p.parameters()) for p in (vae.pair.encoder, vae.pair.decoder))
    exact = exact_bound(vae, x, z, 1)
    right = gradient(exact, [*encoder, *model])
    probability = vae.posterior(x).log_prob(z).exp().detach()
    corners = z.clone().requires_grad_()
    log_p, kl = reconstruction_and_kl(vae, x, corners)
    (slope,) = torch.autograd.grad((probability * log_p).sum(), corners, retain_graph=True)
    wanted = gradient((slope.sum(0) * vae.posterior(x).mean[0]).sum() - kl, encoder)
    rows, batches = x.expand(1000, 2), 100
    seen = torch.stack([gradient(straight_through(vae, rows).mean(), [*encoder, *model]) for _ in range(batches)])
    z_scores = (seen.mean(0) - torch.cat([wanted, right[len(wanted) :]])) / (seen.std(0) / batches**0.5 + 1e-9)
    assert z_scores.abs().max() < LEVEL
    assert (wanted - right[: len(wanted)]).norm() > 0.02 * right[: len(wanted)].norm()  # its bias
    values = torch.stack([straight_through(vae, rows, k=2).mean() for _ in range(50)])
    assert (values.mean() - exact).abs() < LEVEL * values.std() / 50**0.5


@pytest.mark.parametrize("build", [coins, categories])
def test_straight_through_is_unbiased_where_the_objective_is_linear_in_z(build):
    vae, x, z = build()
    size = z[0].numel()
    vae.pair.decoder = Linear(size)
    parameters, rows = list(vae.parameters()), x.expand(1000, 2)
    exact = exact_bound(vae, x, z, 1)
    assert deviations(lambda: straight_through(vae, rows), exact, parameters).abs().max() < LEVEL


class Linear(ConditionalNormal):
    """log p(x|z) = a z, which is no density, and linear."""

    def __init__(self, size):
        super().__init__((2,), nn.Linear(1, 1))
        self.slope = nn.Parameter(torch.randn(size))

    def distribution(self, context=None):
        outer = self

        class Score(torch.distributions.Distribution):
            arg_constraints = {}

            def log_prob(self, x):
                return context.flatten(1) @ outer.slope

        return Score(context.shape[:1], (2,), validate_args=False)


def test_hard_gumbel_softmax_has_the_value_of_the_elbo_and_the_gradient_of_the_soft_draw():
    vae, x, z = coins()
    rows = x.expand(1000, 2)
    exact = exact_bound(vae, x, z, 1)
    values = torch.stack([gumbel_softmax(vae, rows, temperature=0.5, hard=True).mean() for _ in range(50)])
    assert (values.mean() - exact).abs() < LEVEL * values.std() / 50**0.5
    encoder = list(vae.pair.encoder.parameters())
    torch.manual_seed(3)
    seen = gradient(gumbel_softmax(vae, rows, temperature=0.5, hard=True).mean(), encoder)
    torch.manual_seed(3)
    noise = noise_of(vae.posterior(rows))
    before = noise.draw(1)[0]
    corners = noise.hard(before).detach().requires_grad_()
    log_p = vae.likelihood(corners).log_prob(rows).mean()
    (slope,) = torch.autograd.grad(log_p, corners)
    kl = torch.distributions.kl_divergence(vae.posterior(rows), vae.prior.distribution()).mean()
    wanted = gradient((slope * (before / 0.5).sigmoid()).sum() - kl, encoder)
    torch.testing.assert_close(seen, wanted)


def test_a_chain_may_hold_other_layers_and_other_priors():
    pair = StochasticPair(ConditionalBernoulli((2,), nn.Linear(3, 2)), ConditionalNormal((3,), nn.Linear(2, 3), 0.5))
    model = Flow([Dequantize((3,), 4), pair], MADE((2,), (8,)))  # no closed-form KL
    for estimator in (gumbel_softmax, straight_through):
        surrogate = estimator(model, torch.tensor([[0.0, 3.0, 1.0]] * 5), k=3)
        g = gradient(surrogate.sum(), list(model.parameters()))
        assert surrogate.shape == (5,) and bool(g.isfinite().all()) and g.abs().max() > 0
    vae, x = line()
    for estimator in (gumbel_softmax, straight_through):  # nothing to relax: the ELBO with its closed-form KL
        torch.manual_seed(0)
        value = estimator(vae, x)
        torch.manual_seed(0)
        torch.testing.assert_close(value, elbo(vae, x))
    bins = Flow([Dequantize((3,), 4)], StandardNormal((3,)))
    torch.manual_seed(0)
    value = gumbel_softmax(bins, torch.zeros(2, 3), k=3)
    torch.manual_seed(0)
    torch.testing.assert_close(value, reparameterization(bins, torch.zeros(2, 3), k=3))


def test_bad_input_is_refused_at_the_door():
    vae, x, _ = coins()
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="temperature must be positive"):
            gumbel_softmax(vae, x, temperature=bad)
    other = VAE(MADE((2,), (4,), context=2), decoder(2), FactorisedBernoulli((2,)))
    for name, estimator in (("gumbel_softmax", gumbel_softmax), ("straight_through", straight_through)):
        with pytest.raises(TypeError, match=f"{name} differentiates through the draws .* but MADE has none"):
            estimator(other, x)
        with pytest.raises(TypeError, match=f"{name} .* draws nothing"):
            estimator(StandardNormal((2,)), x)
        with pytest.raises(ValueError, match="k counts draws"):
            estimator(vae, x, k=0)


def test_a_context_is_handed_on():
    encoder = ConditionalBernoulli((2,), nn.Linear(3, 2))
    vae = VAE(encoder, ConditionalNormal((2,), nn.Linear(3, 2), 0.6), FactorisedBernoulli((2,)))
    x, context = torch.randn(4, 2), torch.randn(4, 1)
    assert gumbel_softmax(vae, x, 3, context=context).shape == straight_through(vae, x, 3, context).shape == (4,)
