"""Draws, and the estimators that are built from them: against enumeration, and against the pathwise gradient."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import (
    MultivariateNormal,
)

from lvmlib.autoregressive import MADE
from lvmlib.base import Transform
from lvmlib.bounds import iwae
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalNormal, StandardNormal
from lvmlib.draws import draw, draw_constant, frozen
from lvmlib.latent import VAE, LinearGaussian, StochasticPair
from tests.draw_models import flow_posterior_model, gaussian_model, log_q, two_layers
from tests.precision import double_precision  # noqa: F401

GROUPS = 50  # of rows that are copies of one example: each gives one estimate of the gradient


def carry(value):
    """Nothing, with a gradient."""
    return value - value.detach()


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
