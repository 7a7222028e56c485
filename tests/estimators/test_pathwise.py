"""Pathwise estimators against quadrature, closed forms, and each other through flows."""

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from lvmlib.autoregressive import MADE
from lvmlib.bounds import elbo, iwae
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalNormal, FactorisedBernoulli, StandardNormal
from lvmlib.estimators import dreg, reparameterization, single_backward_iwae, stl
from lvmlib.flows import Dequantize, Logit, VariationalDequantize
from lvmlib.latent import VAE, LinearGaussian, StochasticPair
from lvmlib.networks import MLP
from tests.draw_models import flow_posterior_model, two_layers
from tests.estimators.exact import LEVEL, all_noise, coins, decoder, deviations, gradient, line, quadrature_bound
from tests.gaussian_chain import two_layer_chain
from tests.precision import double_precision  # noqa: F401

NODES = {1: 64, 2: 64, 3: 30}
ESTIMATORS = {  # name: the estimator, k, draws of the bound that it belongs to
    "reparameterization": (lambda vae, x: reparameterization(vae, x), 1, 1),
    "reparameterization of two": (lambda vae, x: reparameterization(vae, x, 2), 2, 1),
    "stl": (lambda vae, x: stl(vae, x), 1, 1),
    "dreg of one": (lambda vae, x: dreg(vae, x, 1), 1, 1),
    "dreg": (lambda vae, x: dreg(vae, x, 2), 2, 2),
    "dreg of three": (lambda vae, x: dreg(vae, x, 3), 3, 3),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_expectation_by_quadrature_is_the_gradient_of_the_bound(monkeypatch, name):
    estimator, k, bound = ESTIMATORS[name]
    vae, x = line()
    parameters = list(vae.parameters())
    exact = quadrature_bound(vae, x, bound, NODES[k])
    wanted = gradient(exact, parameters)
    rows, weight = all_noise(monkeypatch, x, k, NODES[k])
    surrogate = (weight * estimator(vae, rows)).sum()
    torch.testing.assert_close(surrogate.detach(), exact.detach(), atol=1e-6, rtol=0)
    torch.testing.assert_close(gradient(surrogate, parameters), wanted, atol=1e-4, rtol=0)


def test_stl_of_several_draws_is_off_by_the_weighted_score_and_only_in_the_encoder(monkeypatch):
    vae, x = line()
    encoder, model = (list(p.parameters()) for p in (vae.pair.encoder, vae.pair.decoder))
    exact = quadrature_bound(vae, x, 2)
    wanted = gradient(exact, [*encoder, *model])
    rows, weight = all_noise(monkeypatch, x, 2)
    seen = gradient((weight * stl(vae, rows, 2)).sum(), [*encoder, *model])
    log_w = vae.trace(rows, k=2).log_weights.detach()
    z = vae.trace(rows, k=2).z.detach()
    score = gradient((weight * (log_w.softmax(0) * vae.posterior(rows).log_prob(z)).sum(0)).sum(), encoder)
    size = len(score)
    torch.testing.assert_close(seen[:size], wanted[:size] + score, atol=1e-4, rtol=0)
    torch.testing.assert_close(seen[size:], wanted[size:], atol=1e-4, rtol=0)
    assert score.abs().max() > 0.05


def bench():
    """p(z) = N(0, 1), p(x|z) = N(z, 1), q(z|x) = N(0.2, 0.6), at x = 1."""
    layer = LinearGaussian(torch.ones(1, 1), torch.zeros(1), 1.0)
    with torch.no_grad():
        layer.gain.zero_()
        layer.offset.fill_(0.2)
        layer.tril.fill_(0.6**0.5)
    return Flow([layer], StandardNormal((1,))), layer


@pytest.mark.parametrize(
    ("estimator", "wanted"),
    [(iwae, (0.00994, 0.00173)), (dreg, (0.00994, 0.00173)), (stl, (0.50163, -0.01882))],
)
def test_figures_of_fifty_draws(estimator, wanted):
    """In the mean and in the log of the standard deviation: the bias of STL is fifty times the gradient itself."""
    model, layer = bench()
    seen = []
    for _ in range(20):
        g = torch.autograd.grad(estimator(model, torch.ones(2000, 1), 50).mean(), [layer.offset, layer.tril])
        seen.append(torch.cat([g[0], g[1].flatten() * 0.6**0.5]))
    seen = torch.stack(seen)
    error = seen.std(0) / 20**0.5
    assert ((seen.mean(0) - torch.tensor(wanted)).abs() < LEVEL * error + 5e-6).all()
    if estimator is dreg:
        assert error.max() < 1e-5  # of 40,000 draws; that of iwae is 1e-3


def joint(lower, upper, x):
    """q(z1, z2 | x) of two linear-Gaussian layers."""
    first, second = lower.posterior(x), upper.posterior(torch.zeros(len(x), 3))
    a, s1, s2 = upper.gain, first.covariance_matrix, second.covariance_matrix
    mean = torch.cat([first.mean, first.mean @ a.T + upper.offset], 1)
    top = torch.cat([s1, s1 @ a.T], 2)
    bottom = torch.cat([a @ s1, a @ s1 @ a.T + s2], 2)
    return MultivariateNormal(mean, torch.cat([top, bottom], 1))


def test_stl_in_a_chain_of_two_layers_is_unbiased_and_silent_where_q_is_exact():
    model, marginal = two_layer_chain()
    lower, upper = model.layers
    parameters, x = list(model.parameters()), marginal.sample((3,))
    assert gradient(stl(model, x).sum(), parameters).abs().max() < 1e-9
    assert gradient(stl(model, x, 4).sum(), parameters).abs().max() < 1e-9
    assert gradient(reparameterization(model, x).sum(), parameters).abs().max() > 0.1
    posterior = joint(lower, upper, x[:1])
    posterior = MultivariateNormal(posterior.mean.detach(), posterior.covariance_matrix.detach())
    with torch.no_grad():
        lower.offset += 0.3
        upper.gain += 0.2 * torch.randn_like(upper.gain)
        upper.tril *= 1.2
    exact = marginal.log_prob(x[0]) - kl_divergence(joint(lower, upper, x[:1]), posterior)[0]
    rows = x[:1].expand(2000, 4)
    for estimator in (stl, reparameterization):
        assert deviations(lambda f=estimator: f(model, rows), exact, parameters).abs().max() < LEVEL
    draws = [torch.stack([gradient(f(model, x[:1])[0], parameters) for _ in range(200)]) for f in (stl, elbo)]
    assert draws[0].var(0).sum() < draws[1].var(0).sum()


@pytest.mark.parametrize(("estimator", "k"), [(stl, 1), (dreg, 2)])
def test_through_a_posterior_that_is_a_flow(monkeypatch, estimator, k):
    model, x, _ = flow_posterior_model()
    parameters = list(model.parameters())
    rows, weight = all_noise(monkeypatch, x, k, nodes=[40, 18][k - 1], dims=2)
    exact = (weight * iwae(model, rows, k)).sum()
    seen = (weight * estimator(model, rows, k)).sum()
    torch.testing.assert_close(seen, exact)
    torch.testing.assert_close(gradient(seen, parameters), gradient(exact, parameters), atol=2e-3, rtol=0)


def one_layer():
    layer = LinearGaussian(torch.randn(3, 2), torch.randn(3), 0.8)
    return Flow([layer], StandardNormal((2,))), torch.randn(1, 3)


def behind_a_dequantizer():
    pair = StochasticPair(ConditionalNormal((2,), MLP(3, (4,), 4)), ConditionalNormal((3,), nn.Linear(2, 3), 0.5))
    return Flow([Dequantize((3,), 4), Logit(), pair], StandardNormal((2,))), torch.tensor([[0.0, 3.0, 1.0]])


MODELS = [one_layer, lambda: two_layers()[:2], lambda: flow_posterior_model()[:2], behind_a_dequantizer]


@pytest.mark.parametrize("build", MODELS)
def test_a_single_backward_pass_is_that_of_the_draw_chosen_by_its_weight(build):
    model, x = build()
    parameters, k = list(model.parameters()), 4
    for seed in range(3):
        rows = torch.cat([x, x, x])
        torch.manual_seed(seed)
        log_weights = model.trace(rows, k=k).log_weights
        chosen = torch.distributions.Categorical(logits=log_weights.detach().T).sample()
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        surrogate = single_backward_iwae(model, rows, k)
        assert torch.equal(torch.get_rng_state(), state)  # what is drawn next is drawn for the first time
        torch.testing.assert_close(surrogate, log_weights.logsumexp(0) - torch.tensor(k).log())
        wanted = gradient(log_weights[chosen, torch.arange(3)].sum(), parameters)
        torch.testing.assert_close(gradient(surrogate.sum(), parameters), wanted)
    with torch.no_grad():
        assert not single_backward_iwae(model, x, k).requires_grad


def test_a_single_backward_pass_is_unbiased():
    vae, x = line()
    parameters, rows = list(vae.parameters()), x.expand(2000, 1)
    exact = quadrature_bound(vae, x, 3, 30)
    assert deviations(lambda: single_backward_iwae(vae, rows, 3), exact, parameters).abs().max() < LEVEL


def test_a_single_backward_pass_keeps_a_graph_of_one_draw_alone():
    seen = []

    class Watched(nn.Linear):
        def forward(self, z):
            seen.append((len(z), torch.is_grad_enabled()))
            return super().forward(z)

    watched = ConditionalNormal((2,), Watched(1, 2), 0.6)
    vae = VAE(ConditionalNormal((1,), nn.Linear(2, 2)), watched, StandardNormal((1,)))
    single_backward_iwae(vae, torch.zeros(5, 2), 50)
    assert seen == [(250, False), (5, True)]


def test_draws_as_they_come_agree_too():
    vae, x = line()
    parameters, rows = list(vae.parameters()), x.expand(1000, 1)
    for estimator, k in ((reparameterization, 1), (stl, 1), (dreg, 2)):
        exact = quadrature_bound(vae, x, k)
        assert deviations(lambda f=estimator, k=k: f(vae, rows, k), exact, parameters).abs().max() < LEVEL


def test_dreg_counts_the_layers_that_draw_with_a_gradient():
    model, x = behind_a_dequantizer()
    g = gradient(dreg(model, x.expand(6, 3), 5).sum(), list(model.parameters()))
    assert bool(g.isfinite().all()) and g.abs().max() > 0
    for refused in (two_layers()[0], in_bins()):
        x = torch.zeros(2, *refused.event_shape)
        with pytest.raises(TypeError, match="several layers that draw with a gradient"):
            dreg(refused, x, 3)
        with torch.no_grad():
            assert dreg(refused, x, 3).shape == (2,)


def in_bins():
    noise = Flow([Logit()], ConditionalNormal((3,), nn.Linear(3, 6)))
    pair = StochasticPair(ConditionalNormal((2,), nn.Linear(3, 4)), ConditionalNormal((3,), nn.Linear(2, 3), 0.5))
    return Flow([VariationalDequantize((3,), noise, 4), Logit(), pair], StandardNormal((2,)))


def test_bad_input_is_refused_at_the_door():
    vae, x, _ = coins()
    estimators = {"reparameterization": reparameterization, "stl": stl, "dreg": dreg}
    estimators["single_backward_iwae"] = single_backward_iwae
    for name, estimator in estimators.items():
        with pytest.raises(TypeError, match=f"{name} differentiates through the draws .* but Coins has none"):
            estimator(vae, x, k=2)
        with torch.no_grad(), pytest.raises(TypeError, match=name):
            estimator(vae, x, k=2)
        with pytest.raises(TypeError, match=f"{name} estimates the gradient of a bound, but this StandardNormal"):
            estimator(StandardNormal((2,)), x, k=2)
        with pytest.raises(ValueError, match="k counts draws"):
            estimator(line()[0], torch.zeros(1, 1), k=0)
    autoregressive = VAE(MADE((2,), (4,), context=2), decoder(2), FactorisedBernoulli((2,)))
    with pytest.raises(TypeError, match="but MADE has none to offer"):
        stl(autoregressive, x)


def test_a_context_is_handed_on():
    encoder = ConditionalNormal((1,), nn.Linear(3, 2))
    vae = VAE(encoder, ConditionalNormal((2,), nn.Linear(2, 2), 0.6), StandardNormal((1,)))
    x, context = torch.randn(4, 2), torch.randn(4, 1)
    for estimator in (reparameterization, stl, dreg, single_backward_iwae):
        surrogate = estimator(vae, x, k=3, context=context)
        assert surrogate.shape == (4,)
        assert gradient(surrogate.sum(), list(vae.parameters())).abs().min() > 0
