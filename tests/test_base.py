"""The contract of Density, Transform, Stochastic and Flow, held against a chain whose log p(x) is known."""

import pickle

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform

from lvmlib import base
from lvmlib.base import Density, bits_per_dim
from lvmlib.bounds import elbo, iwae
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalNormal, StandardNormal
from lvmlib.draws import Conditioned, draw_constant
from lvmlib.latent import VAE, LinearGaussian
from lvmlib.stochastic import Stochastic
from tests.gaussian_chain import Affine, two_layer_chain
from tests.precision import double_precision  # noqa: F401


def test_two_layer_chain_with_exact_posteriors_pays_exactly_log_p():
    flow, exact = two_layer_chain()
    x = exact.sample((6,))
    log_w = flow.log_weights(x, k=5)
    assert log_w.shape == (5, 6)
    torch.testing.assert_close(log_w, exact.log_prob(x).expand(5, 6), rtol=1e-10, atol=1e-10)


def test_two_layer_chain_with_wrong_posteriors_is_an_unbiased_weight_and_a_bound():
    flow, exact = two_layer_chain(perturb=0.3)
    x = exact.sample((4,))
    log_w = flow.log_weights(x, k=200_000)
    log_p = exact.log_prob(x)
    weights = (log_w - log_p).exp()  # mean 1 if E[w] = p(x)
    error = weights.std(0) / len(weights) ** 0.5
    assert ((weights.mean(0) - 1).abs() < 5 * error).all()
    assert (log_w.mean(0) < log_p - 0.01).all()


def test_trace_shapes_and_sum():
    flow, exact = two_layer_chain(perturb=0.1)
    chain = Flow([Affine(4), *flow.transforms], flow.base)
    x = exact.sample((6,))
    trace = chain.trace(x, k=3)
    assert [step.z.shape for step in trace.steps] == [(3, 6, 4), (3, 6, 3), (3, 6, 2)]
    for step in trace.steps:
        assert step.log_p.shape == step.log_q.shape == step.log_det.shape == (3, 6)
    inputs = [x.expand(3, 6, 4), *(step.z for step in trace.steps)]
    for step, given in zip(trace.steps, inputs):
        torch.testing.assert_close(step.x, given)
    assert trace.steps[0].q is None and trace.steps[1].q.batch_shape == (6,)
    total = sum(s.log_p - s.log_q + s.log_det for s in trace.steps) + chain.base.log_prob(trace.z.flatten(0, 1)).view(
        3, 6
    )
    torch.testing.assert_close(trace.log_weights, total)
    # What the trace says of a draw is what the layer says of it.
    first, second = trace.steps[1], trace.steps[2]
    torch.testing.assert_close(first.log_q, first.q.log_prob(first.z))
    torch.testing.assert_close(second.log_p, second.layer.likelihood(second.z).log_prob(second.x))


def test_bijection_in_front_of_stochastic_layer_adds_its_log_determinant():
    flow, exact = two_layer_chain()
    affine = Affine(4)
    chain = Flow([affine, *flow.transforms], flow.base)
    x = torch.randn(5, 4)
    z, log_det = affine(x)
    torch.testing.assert_close(chain.log_weights(x, 2), (exact.log_prob(z) + log_det).expand(2, 5))


def test_exact_flow_against_torch_distributions():
    affine = Affine(3)
    flow = Flow([affine], StandardNormal((3,)))
    scale = (-affine.log_scale).exp()
    oracle = Independent(
        TransformedDistribution(Normal(torch.zeros(3), torch.ones(3)), AffineTransform(-affine.shift * scale, scale)), 1
    )
    x = torch.randn(7, 3)
    torch.testing.assert_close(flow.log_prob(x), oracle.log_prob(x))
    assert not flow.is_bound
    torch.testing.assert_close(iwae(flow, x, 4), flow.log_prob(x))
    torch.testing.assert_close(elbo(flow, x, beta=0.3), flow.log_prob(x))


def test_rsample_with_log_prob_carries_gradient_and_agrees_with_log_prob():
    flow = Flow([Affine(3), Affine(3)], StandardNormal((3,)))
    x, log_prob = flow.rsample_with_log_prob(9)
    torch.testing.assert_close(log_prob, flow.log_prob(x))
    x.sum().backward()
    assert all(p.grad is not None for p in flow.parameters())


def test_rsample_with_log_prob_raises_on_a_bound():
    flow, _ = two_layer_chain()
    with pytest.raises(TypeError, match="stochastic layer"):
        flow.rsample_with_log_prob(3)


def test_encoder_runs_once_per_example():
    rows = []

    class Counting(nn.Module):
        def forward(self, x):
            rows.append(len(x))
            return torch.zeros(len(x), 4)

    vae = VAE(ConditionalNormal((2,), Counting()), ConditionalNormal((3,), nn.Linear(2, 3), 1.0), StandardNormal((2,)))
    vae.log_weights(torch.randn(5, 3), k=50)
    assert rows == [5]


def test_sampling_never_runs_the_encoder():
    class Forbidden(nn.Module):
        def forward(self, x):
            raise AssertionError("the encoder ran")

    vae = VAE(ConditionalNormal((2,), Forbidden()), ConditionalNormal((3,), nn.Linear(2, 3), 1.0), StandardNormal((2,)))
    assert vae.sample(4).shape == (4, 3)


def test_a_likelihood_that_is_no_distribution_draws_once_for_each_row():
    asked = []

    class Counting(Density):
        def sample(self, n, context=None, temperature=1.0):
            asked.append(n)
            return context

    class Layer(Stochastic):
        def likelihood(self, z, context=None):
            return Conditioned(Counting((2,)), z)

    z = torch.randn(3, 2)
    assert torch.equal(Layer().generate(z), z) and asked == [3]


def test_samples_of_the_chain_have_its_marginal():
    flow, exact = two_layer_chain()
    x = flow.sample(100_000)
    assert not x.requires_grad
    torch.testing.assert_close(x.mean(0), exact.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(x.T.cov(), exact.covariance_matrix, atol=0.2, rtol=0.05)


class Coin(Stochastic):
    """A layer with a discrete latent, whose posterior has no rsample."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(2))

    def posterior(self, x, context=None):
        return Independent(Bernoulli(logits=self.logits.expand(len(x), 2)), 1)

    def likelihood(self, z, context=None):
        return Independent(Normal(z, 1.0), 1)


class CoinPrior(Density):
    def __init__(self):
        super().__init__((2,))

    def distribution(self, context=None):
        return Independent(Bernoulli(probs=torch.full((2,), 0.5)), 1)


def test_posterior_without_rsample_raises_under_grad_unless_an_estimator_handles_it():
    flow = Flow([Coin()], CoinPrior())
    x = torch.randn(3, 2)
    with pytest.raises(TypeError, match="draw=draw_constant"):
        flow.log_weights(x, 2)
    with torch.no_grad():
        assert flow.log_weights(x, 2).shape == (2, 3)
    trace = flow.trace(x, k=2, draw=draw_constant)
    trace.log_weights.sum().backward()
    assert flow.transforms[0].logits.grad is not None


def test_pathwise_false_stops_the_gradient_of_the_draws():
    flow, _ = two_layer_chain()
    trace = flow.trace(torch.randn(3, 4), draw=draw_constant)
    assert not trace.steps[0].z.requires_grad and trace.steps[0].log_q.requires_grad


def test_posterior_that_is_a_density_without_a_torch_distribution():
    """A flow as posterior, through `Conditioned`: same weights as the Gaussian that it is."""

    scale = torch.ones((), requires_grad=True)

    class Shifted(Density):
        def __init__(self):
            super().__init__((2,))

        def log_prob(self, z, context=None):
            return Independent(Normal(context, 0.5), 1).log_prob(z)

        def rsample_with_log_prob(self, n, context=None):
            z = context + 0.5 * scale * torch.randn(n, 2)
            return z, self.log_prob(z, context)

        def sample(self, n, context=None, temperature=1.0):
            return self.rsample_with_log_prob(n, context)[0].detach()

    class Layer(Stochastic):
        def posterior(self, x, context=None):
            return Conditioned(Shifted(), 0.4 * x)

        def likelihood(self, z, context=None):
            return Independent(Normal(z, 1.0), 1)

    flow = Flow([Layer()], StandardNormal((2,)))
    x = torch.randn(4, 2)
    trace = flow.trace(x, k=3)
    assert trace.z.shape == (3, 4, 2)
    torch.testing.assert_close(trace.steps[0].q.log_prob(trace.z), trace.steps[0].log_q)
    exact = Normal(0.0, 2**0.5).log_prob(x).sum(1)
    weights = (flow.log_weights(x, 200_000) - exact).exp()
    assert ((weights.mean(0) - 1).abs() < 5 * weights.std(0) / len(weights) ** 0.5).all()
    trace = flow.trace(x, k=3, draw=draw_constant)
    assert not trace.z.requires_grad
    z, contribution = flow.transforms[0](x)
    assert z.shape == (4, 2) and contribution.shape == (4,)
    x_new, minus = flow.transforms[0].inverse(z)
    assert x_new.shape == (4, 2) and minus.shape == (4,)


def test_forward_and_inverse_of_a_stochastic_layer_pay_opposite_amounts():
    layer = LinearGaussian(torch.randn(4, 3), torch.randn(4), 0.5)
    z = torch.randn(5, 3)
    x, paid = layer.inverse(z)
    expected = layer.posterior(x).log_prob(z) - layer.likelihood(z).log_prob(x)
    torch.testing.assert_close(paid, expected)
    z, paid = layer(x)
    torch.testing.assert_close(paid, layer.likelihood(z).log_prob(x) - layer.posterior(x).log_prob(z))


def test_bijections_before_a_base_that_is_a_bound():
    """The base draws k times and weighs its own KL, as if the chain were written in one piece."""
    flow, exact = two_layer_chain(perturb=0.3)
    nested, whole = Flow([Affine(4)], flow), Flow([Affine(4), *flow.transforms], flow.base)
    x = exact.sample((3,))
    assert nested.is_bound
    for value in (
        lambda model: model.log_weights(x, 5),
        lambda model: iwae(model, x, 5),
        lambda model: elbo(model, x, k=5, beta=0.3),
    ):
        torch.manual_seed(1)
        ours = value(nested)
        torch.manual_seed(1)
        torch.testing.assert_close(ours, value(whole))


def test_bits_per_dim_has_the_minus_sign_and_the_ln_2():
    log_prob = Independent(Bernoulli(probs=torch.full((10,), 0.5)), 1).log_prob(torch.zeros(1, 10))
    assert bits_per_dim(log_prob, (10,)).item() == pytest.approx(1.0)


def test_pickle_and_repr():
    flow, exact = two_layer_chain()
    x = exact.sample((3,))
    again = pickle.loads(pickle.dumps(flow))
    torch.testing.assert_close(again.log_weights(x, 1), flow.log_weights(x, 1))
    assert "LinearGaussian" in repr(flow)


def test_seed_everything_seeds_all_three_generators():
    import random

    import numpy as np

    base.seed_everything(3)
    first = (random.random(), np.random.rand(), torch.rand(()).item())  # noqa: NPY002
    base.seed_everything(3)
    assert first == (random.random(), np.random.rand(), torch.rand(()).item())  # noqa: NPY002


def test_a_seed_that_one_generator_refuses_touches_none():
    import random

    import numpy as np

    base.seed_everything(np.int64(7))
    before = random.getstate()
    for bad in (2**40, -1, 1.5, "7", None):
        with pytest.raises(ValueError, match="from 0 to"):
            base.seed_everything(bad)
    assert random.getstate() == before
