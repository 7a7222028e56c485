"""REBAR and RELAX: unbiased whatever the control variate is, and it learns to make the gradient vary less."""

import pytest
import torch
from torch import nn

from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, FactorisedBernoulli, StandardNormal
from lvmlib.estimators import ControlVariate, rebar, relax, score_function
from lvmlib.latent import VAE, StochasticPair
from tests.estimators.exact import LEVEL, categories, coins, decoder, deviations, exact_bound, gradient, line
from tests.precision import double_precision  # noqa: F401


def control_for(vae, with_network):
    torch.manual_seed(5)
    inputs = vae.prior.event_shape.numel() + 2
    network = nn.Sequential(nn.Linear(inputs, 4), nn.Tanh(), nn.Linear(4, 1)) if with_network else None
    return ControlVariate(network, temperature=0.4, scale=0.8)


def estimator_of(control):
    return rebar if control.network is None else relax


@pytest.mark.parametrize("with_network", [False, True])
@pytest.mark.parametrize("build", [coins, categories])
@pytest.mark.parametrize("k", [1, 2])
def test_whatever_the_control_variate_is_the_gradient_is_unbiased(build, with_network, k):
    vae, x, z = build()
    control = control_for(vae, with_network)
    parameters, rows = list(vae.parameters()), x.expand(1000, 2)
    exact = exact_bound(vae, x, z, 1)
    estimator = estimator_of(control)
    assert deviations(lambda: estimator(vae, rows, control, k), exact, parameters, 60).abs().max() < LEVEL


@pytest.mark.parametrize("with_network", [False, True])
def test_the_control_variate_follows_the_variance_and_nothing_else(with_network):
    """The gradient that its parameters get is that of minus the mean square, by finite differences."""
    vae, x, _ = coins()
    control, rows = control_for(vae, with_network), x.expand(50, 2)
    parameters, estimator = list(control.parameters()), estimator_of(control_for(vae, with_network))

    def mean_square():
        """Of the gradient in the logits, one for each row."""
        torch.manual_seed(1)
        logits = vae.posterior(rows).logits.detach().requires_grad_()
        vae.pair.encoder = Given(logits)
        estimate = torch.autograd.grad(estimator(vae, rows, control, 2).sum(), logits)[0]
        return estimate.square().sum(1).mean().item()

    torch.manual_seed(1)
    encoder = vae.pair.encoder
    seen = gradient(estimator(vae, rows, control, 2).mean(), parameters)
    wanted = []
    for p in parameters:
        for i in range(p.numel()):
            with torch.no_grad():
                ends = []
                for step in (1e-5, -2e-5):
                    p.view(-1)[i] += step
                    with torch.enable_grad():
                        ends.append(mean_square())
                    vae.pair.encoder = encoder
                p.view(-1)[i] += 1e-5
            wanted.append((ends[0] - ends[1]) / 2e-5)
    torch.testing.assert_close(seen, -torch.tensor(wanted), atol=1e-5, rtol=1e-3)


class Given(ConditionalBernoulli):
    """Coins with these log-odds, whatever x is."""

    def __init__(self, logits):
        super().__init__((2,), nn.Identity())
        self.odds = logits

    def _outputs(self, context):
        return (self.odds,)


def spread(surrogate, parameters, n=80):
    return torch.stack([gradient(surrogate().mean(), parameters) for _ in range(n)]).var(0).sum()


@pytest.mark.parametrize("with_network", [False, True])
def test_a_trained_control_variate_makes_the_gradient_vary_less(with_network):
    vae, x, _ = coins()
    encoder, rows, control = list(vae.pair.encoder.parameters()), x.expand(20, 2), control_for(vae, with_network)
    estimator, optimizer = estimator_of(control), torch.optim.Adam(control.parameters(), lr=0.05)
    before = spread(lambda: estimator(vae, rows, control), encoder)
    for _ in range(80):
        optimizer.zero_grad()
        (-estimator(vae, rows, control).mean()).backward()
        optimizer.step()
    after = spread(lambda: estimator(vae, rows, control), encoder)
    assert after < 1.05 * before and after < 0.2 * spread(lambda: score_function(vae, rows), encoder)


def test_the_value_is_the_elbo_also_without_gradient():
    vae, x, z = coins()
    control, rows = ControlVariate(), x.expand(1000, 2)
    exact = exact_bound(vae, x, z, 1)
    with torch.no_grad():
        values = torch.stack([rebar(vae, rows, control, 2).mean() for _ in range(50)])
    assert (values.mean() - exact).abs() < LEVEL * values.std() / 50**0.5
    for p in control.parameters():
        p.requires_grad_(False)
    assert rebar(vae, rows, control).requires_grad


def test_the_parameters_are_what_they_are_called():
    control = ControlVariate(temperature=0.25, scale=0.7)
    torch.testing.assert_close(control.temperature, torch.tensor(0.25))
    torch.testing.assert_close(
        control(torch.full((2, 3), 2.0), torch.zeros(2, 3, 2), torch.zeros(3, 2)), torch.full((2, 3), 1.4)
    )
    network = nn.Linear(3, 1)
    control = ControlVariate(network, scale=0.7)
    z, x = torch.randn(2, 3, 1), torch.randn(3, 2)
    value = control(torch.zeros(2, 3), z, x)
    torch.testing.assert_close(value[1, 2], network(torch.cat([z[1, 2], x[2]]))[0])


def test_bad_input_is_refused_at_the_door():
    vae, x, _ = coins()
    network = nn.Linear(4, 1)
    with pytest.raises(TypeError, match="rebar has no network; with one it is relax"):
        rebar(vae, x, ControlVariate(network))
    with pytest.raises(TypeError, match="relax needs a ControlVariate with a network; without one it is rebar"):
        relax(vae, x, ControlVariate())
    with pytest.raises(ValueError, match=r"one value per draw, \[2, 1\], but this one gave \[2, 2\]"):
        relax(vae, x, ControlVariate(nn.Linear(4, 2)), k=2)
    with pytest.raises(ValueError, match="temperature must be positive"):
        ControlVariate(temperature=0.0)
    for bad in ("1", True, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="scale must be a finite number"):
            ControlVariate(scale=bad)
    lower = StochasticPair(ConditionalBernoulli((2,), nn.Linear(2, 2)), decoder(2))
    upper = StochasticPair(ConditionalBernoulli((1,), nn.Linear(2, 1)), ConditionalBernoulli((2,), nn.Linear(1, 2)))
    two = Flow([lower, upper], FactorisedBernoulli((1,)))
    for name, estimator, control in (("rebar", rebar, ControlVariate()), ("relax", relax, ControlVariate(network))):
        with pytest.raises(TypeError, match=f"{name} needs a ControlVariate, but it was given a Linear"):
            estimator(vae, x, network)
        with pytest.raises(TypeError, match=f"{name} takes a chain with one layer that draws, from a Bernoulli"):
            estimator(two, x, control)
        with pytest.raises(TypeError, match=f"{name} takes a chain with one layer"):
            estimator(line()[0], torch.zeros(1, 1), control)
        with pytest.raises(TypeError, match=f"{name} .* draws nothing"):
            estimator(StandardNormal((2,)), x, control)
        with pytest.raises(ValueError, match="k counts draws"):
            estimator(vae, x, control, k=0)


def test_a_context_is_handed_on():
    encoder = ConditionalBernoulli((2,), nn.Linear(3, 2))
    vae = VAE(encoder, ConditionalNormal((2,), nn.Linear(3, 2), 0.6), FactorisedBernoulli((2,)))
    x, context = torch.randn(4, 2), torch.randn(4, 1)
    assert rebar(vae, x, ControlVariate(), 3, context).shape == (4,)
    with torch.no_grad():
        assert rebar(vae, x, ControlVariate(), 3, context).shape == (4,)
