"""Draws, and the estimators that are built from them: against enumeration, and against the pathwise gradient."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
)

from lvmlib.autoregressive import MADE
from lvmlib.base import Given, Transform
from lvmlib.bounds import iwae
from lvmlib.chain import Flow, Inverse
from lvmlib.distributions import Coins, ConditionalNormal, DiagonalNormal, StandardNormal
from lvmlib.draws import Conditioned, draw, draw_constant, frozen, tempered
from lvmlib.latent import VAE, LinearGaussian, StochasticPair
from tests.layers import MaskedAutoregressive

GROUPS = 50  # of rows that are copies of one example: each gives one estimate of the gradient


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


# -- estimators as surrogates: the value is the objective, the gradient the estimator ----------------------------------


def carry(value):
    """Nothing, with a gradient."""
    return value - value.detach()


def log_q(trace):
    return sum(step.log_q for step in trace.steps if step.q is not None)


def score_function(model, x, k):
    trace = model.trace(x, k=k, draw=draw_constant)
    log_w = trace.log_weights
    return (log_w + carry(log_w.detach() * log_q(trace))).mean(0)


def rloo(model, x, k):
    trace = model.trace(x, k=k, draw=draw_constant)
    log_w = trace.log_weights
    others = (log_w.sum(0) - log_w) / (k - 1)
    return (log_w + carry((log_w - others).detach() * log_q(trace))).mean(0)


def vimco(model, x, k):
    trace = model.trace(x, k=k, draw=draw_constant)
    log_w = trace.log_weights
    bound = log_w.logsumexp(0) - math.log(k)
    without = log_w[None].expand(k, -1, -1).clone()
    without[torch.arange(k), torch.arange(k)] = (log_w.sum(0) - log_w) / (k - 1)
    baseline = without.logsumexp(1) - math.log(k)
    return bound + carry(((bound - baseline).detach() * log_q(trace)).sum(0))


def stl(model, x, k):
    trace = model.trace(x, k=k)
    rest = sum(step.log_q - step.log_prob(frozen(step.q)) for step in trace.steps if step.q is not None)
    return (trace.log_weights + rest).mean(0)


def dreg(model, x, k):
    weights = []

    def weighted(q, n):
        z, _ = draw(q, n)
        z.register_hook(lambda g: g * weights[0].view(*weights[0].shape, *[1] * (g.dim() - 2)))
        return z, frozen(q).log_prob(z)

    log_w = model.trace(x, k=k, draw=weighted).log_weights
    weights.append(log_w.detach().softmax(0))
    return log_w.logsumexp(0) - math.log(k)


def pathwise(model, x, k):
    return model.log_weights(x, k).mean(0)


def gradient(value, parameters):
    grads = torch.autograd.grad(value, parameters, allow_unused=True)
    return torch.cat([torch.zeros(p.numel()) if g is None else g.flatten() for g, p in zip(grads, parameters)])


def mean_and_error(estimator, model, x, k, rows, parameters=None):
    """Mean of an estimate of the gradient over many copies of x, with its standard error."""
    parameters = list(model.parameters()) if parameters is None else parameters
    copies = x.expand(rows // GROUPS, *x.shape[1:])
    each = torch.stack([gradient(estimator(model, copies, k).mean(), parameters) for _ in range(GROUPS)])
    return each.mean(0), each.std(0) / GROUPS**0.5


def agree(a, b):
    (a, error_a), (b, error_b) = a, b
    z = (a - b) / ((error_a**2 + error_b**2).sqrt() + 1e-12)
    return z.abs().max() < 5


# -- discrete latents, where the exact gradient is a sum over eight states ---------------------------------------------

STATES = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)


def discrete_model():
    encoder = MADE((3,), hidden=(6,), context=2).double()
    decoder = ConditionalNormal((2,), nn.Linear(3, 2), 0.7)
    return Flow([StochasticPair(encoder, decoder)], MADE((3,), hidden=(4,)).double()), torch.randn(1, 2)


def exact_gradient(model, x, k):
    """Of the bound of k draws, by enumeration of all k-tuples of states."""
    pair = model.transforms[0]
    q = pair.encoder.log_prob(STATES, x.expand(8, 2))
    log_w = pair.decoder.log_prob(x.expand(8, 2), STATES) + model.base.log_prob(STATES) - q
    total = 0.0
    for states in itertools.product(range(8), repeat=k):
        index = list(states)
        total = total + q[index].sum().exp() * (log_w[index].logsumexp(0) - math.log(k))
    return gradient(total, list(model.parameters()))


@pytest.mark.parametrize(
    ("estimator", "k", "of"), [(score_function, 1, 1), (score_function, 3, 1), (rloo, 4, 1), (vimco, 3, 3)]
)
def test_estimators_through_an_autoregressive_posterior_against_enumeration(estimator, k, of):
    model, x = discrete_model()
    exact = exact_gradient(model, x, of)
    mean, error = mean_and_error(estimator, model, x, k, rows=30_000)
    assert ((mean - exact).abs() < 5 * error + 1e-9).all()
    assert error.max() < 0.25 * exact.abs().max()  # else the test could not fail


# -- continuous latents ------------------------------------------------------------------------------------------------


def flow_posterior_model():
    """An inverse autoregressive posterior behind a network that reads x."""
    q = Flow([Inverse(MaskedAutoregressive(2, (4,), context=3))], ConditionalNormal((2,), nn.Linear(3, 4)))
    encoder = Given(q, nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
    model = VAE(encoder, ConditionalNormal((3,), nn.Linear(2, 3), 0.7), StandardNormal((2,)))
    return model, torch.randn(1, 3), list(encoder.parameters())


def gaussian_model():
    layer = LinearGaussian(torch.randn(3, 2), torch.randn(3), 0.8)
    with torch.no_grad():
        layer.offset += 0.5
        layer.tril += 0.1 * torch.eye(2)
    return Flow([layer], StandardNormal((2,))), torch.randn(1, 3), list(layer.parameters())


def two_layers():
    lower = LinearGaussian(torch.randn(4, 3), torch.randn(4), 0.5)
    upper = LinearGaussian(torch.randn(3, 2), torch.randn(3), 0.7)
    return Flow([lower, upper], StandardNormal((2,))), torch.randn(1, 4), [*lower.parameters(), *upper.parameters()]


@pytest.mark.parametrize("build", [flow_posterior_model, gaussian_model, two_layers])
def test_sticking_the_landing_has_the_mean_of_the_pathwise_gradient(build):
    model, x, of = build()
    a, b = (mean_and_error(estimator, model, x, 1, 10_000, of) for estimator in (pathwise, stl))
    assert agree(a, b)
    assert not torch.allclose(a[1], b[1], rtol=0.01)  # another estimator indeed
    torch.manual_seed(3)
    value = stl(model, x, 3)
    torch.manual_seed(3)
    torch.testing.assert_close(value, pathwise(model, x, 3))


@pytest.mark.parametrize("build", [flow_posterior_model, gaussian_model])
def test_doubly_reparameterised_gradient_has_the_mean_of_the_pathwise_gradient_of_iwae(build):
    model, x, of = build()
    a = mean_and_error(iwae, model, x, 8, 4000, of)
    b = mean_and_error(dreg, model, x, 8, 4000, of)
    assert agree(a, b)
    torch.manual_seed(3)
    value = dreg(model, x, 8)
    torch.manual_seed(3)
    torch.testing.assert_close(value, iwae(model, x, 8))


class ByContext(Transform):
    """A bijection whose shift is a linear map of the context: with it a flow can be the exact posterior."""

    def __init__(self, gain, offset, tril):
        super().__init__()
        self.gain, self.offset, self.tril = nn.Parameter(gain), nn.Parameter(offset), nn.Parameter(tril)
        self.event_shape = offset.shape

    def forward(self, z, context=None):
        noise = torch.linalg.solve_triangular(self.tril, (z - self.mean(context)).T, upper=False).T
        return noise, -self.tril.diag().log().sum().expand(len(z))

    def inverse(self, noise, context=None):
        return noise @ self.tril.T + self.mean(context), self.tril.diag().log().sum().expand(len(noise))

    def mean(self, context):
        return context @ self.gain.T + self.offset


@pytest.mark.parametrize("as_flow", [True, False])
def test_with_the_exact_posterior_sticking_the_landing_has_no_variance_at_all(as_flow):
    layer = LinearGaussian(torch.randn(3, 2), torch.randn(3), 0.8)
    exact = MultivariateNormal(*layer.marginal(torch.zeros(2), torch.eye(2)))
    model, of = Flow([layer], StandardNormal((2,))), list(layer.parameters())
    if as_flow:
        moved = ByContext(layer.gain.data, layer.offset.data, layer.tril.data)
        decoder = ConditionalNormal((3,), nn.Linear(2, 3), 0.8)
        decoder.network.weight.data, decoder.network.bias.data = layer.weight, layer.bias
        model, of = VAE(Flow([moved], StandardNormal((2,))), decoder, StandardNormal((2,))), list(moved.parameters())
    x = exact.sample((4,))
    torch.testing.assert_close(stl(model, x, 5), exact.log_prob(x))
    assert gradient(stl(model, x, 5).sum(), of).abs().max() < 1e-11
    assert gradient(pathwise(model, x, 5).sum(), of).abs().max() > 0.1


def test_injected_draws_give_the_joint_density_with_a_gradient_in_z():
    model, _, _ = two_layers()
    given = [torch.randn(1, 5, 3, requires_grad=True), torch.randn(1, 5, 2)]
    x, turn = torch.randn(5, 4), iter(given)

    def injected(q, n):
        z = next(turn)
        return z, q.log_prob(z)

    trace = model.trace(x, draw=injected)
    lower, upper = model.transforms
    joint = lower.likelihood(given[0][0]).log_prob(x) + upper.likelihood(given[1][0]).log_prob(given[0][0])
    joint = joint + model.base.log_prob(given[1][0])
    torch.testing.assert_close((trace.log_weights + log_q(trace))[0], joint)
    (by_trace,) = torch.autograd.grad((trace.log_weights + log_q(trace)).sum(), given[0])
    (by_hand,) = torch.autograd.grad(joint.sum(), given[0])
    torch.testing.assert_close(by_trace, by_hand)


def test_a_draw_of_the_wrong_shape_is_refused():
    model, x, _ = gaussian_model()
    with pytest.raises(ValueError, match=r"must return z \[3, 1, ...\]"):
        model.trace(x, k=3, draw=lambda q, n: draw(q, 2))
    with pytest.raises(ValueError, match=r"log q \[3, 1\]"):
        model.trace(x, k=3, draw=lambda q, n: (draw(q, n)[0], draw(q, n)[1].sum(0)))


# -- frozen, tempered --------------------------------------------------------------------------------------------------


def parametrised(*shape):
    return torch.randn(*shape, requires_grad=True)


@pytest.mark.parametrize(
    "build",
    [
        lambda a, b: Independent(Normal(a, b.exp()), 1),
        lambda a, b: DiagonalNormal(a, b, 1),
        lambda a, b: MultivariateNormal(a, scale_tril=torch.diag_embed(b.exp())),
        lambda a, b: Independent(TransformedDistribution(Normal(a, 1.0), AffineTransform(b, 2 * b.exp())), 1),
        lambda a, b: Independent(
            MixtureSameFamily(Categorical(logits=torch.stack([a, b], -1)), Normal(torch.stack([a, b], -1), 1.0)), 1
        ),
    ],
)
def test_frozen_keeps_the_value_and_cuts_the_parameters_alone(build):
    a, b = parametrised(5, 2), parametrised(5, 2)
    q, z = build(a, b), parametrised(3, 5, 2)
    torch.testing.assert_close(frozen(q).log_prob(z), q.log_prob(z))
    grads = torch.autograd.grad(frozen(q).log_prob(z).sum(), [z, a, b], allow_unused=True)
    assert grads[0] is not None and grads[1] is None and grads[2] is None
    torch.testing.assert_close(grads[0], torch.autograd.grad(q.log_prob(z).sum(), z)[0])
    assert torch.autograd.grad(q.log_prob(z).sum(), a)[0].abs().sum() > 0  # q itself is as it was


def test_frozen_goes_through_a_flow_and_its_context():
    model, x, of = flow_posterior_model()
    q = model.posterior(x.expand(4, 3))
    assert isinstance(q, Conditioned) and q.batch_shape == (4,)
    z = parametrised(3, 4, 2)
    rest = frozen(q)
    torch.testing.assert_close(rest.log_prob(z), q.log_prob(z))
    grads = torch.autograd.grad(rest.log_prob(z).sum(), [z, *of], allow_unused=True)
    assert all(g is None for g in grads[1:])
    torch.testing.assert_close(grads[0], torch.autograd.grad(q.log_prob(z).sum(), z)[0])


def test_draw_constant_through_a_flow_cuts_the_draws_and_keeps_the_density():
    model, x, of = flow_posterior_model()
    z, density = draw_constant(model.posterior(x), 5)
    assert z.shape == (5, 1, 2) and density.shape == (5, 1) and not z.requires_grad
    assert all(g is not None for g in torch.autograd.grad(density.sum(), of))


def test_a_temperature_multiplies_scales_and_divides_logits():
    loc, raw = torch.randn(4, 2), torch.randn(4, 2)
    x, bits = torch.randn(4, 2), (torch.rand(4, 2) < 0.5).double()
    normal, coin = Independent(Normal(loc, 0.5 * raw.exp()), 1), Independent(Bernoulli(logits=raw / 0.5), 1)
    tril = torch.diag_embed(raw.exp())
    for ours, expected, value in [
        (Independent(Normal(loc, raw.exp()), 1), normal, x),
        (DiagonalNormal(loc, raw, 1), normal, x),
        (MultivariateNormal(loc, scale_tril=tril), normal, x),
        (Independent(Bernoulli(logits=raw), 1), coin, bits),
        (Coins(raw, 1), coin, bits),
        (Categorical(logits=raw), Categorical(logits=raw / 0.5), bits[:, 0]),
    ]:
        torch.testing.assert_close(tempered(ours, 0.5).log_prob(value), expected.log_prob(value))
        assert tempered(ours, 1.0) is ours
    with pytest.raises(TypeError, match="not defined"):
        tempered(torch.distributions.Cauchy(0.0, 1.0), 0.5)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature must be positive"):
            tempered(coin, bad)
