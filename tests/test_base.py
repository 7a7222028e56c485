"""The contract of Density, Transform, Stochastic and Flow, held against a chain whose log p(x) is known."""

import math
import pickle

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform

from lvmlib import base
from lvmlib.base import Density, Transform, bits_per_dim
from lvmlib.bounds import elbo, iwae
from lvmlib.chain import Flow
from lvmlib.checks import check_batch
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.draws import Conditioned, draw, draw_constant
from lvmlib.latent import VAE, LinearGaussian
from lvmlib.networks import MLP
from lvmlib.stochastic import Stochastic


class Affine(Transform):
    """A bijection with learned scale and shift, the smallest there is."""

    def __init__(self, size: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.linspace(-0.5, 0.7, size))
        self.shift = nn.Parameter(torch.linspace(1.0, -1.0, size))

    def forward(self, x, context=None):
        return x * self.log_scale.exp() + self.shift, self.log_scale.sum().expand(len(x))

    def inverse(self, z, context=None):
        return (z - self.shift) * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(z))


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def two_layer_chain(perturb: float = 0.0) -> tuple[Flow, MultivariateNormal]:
    """x <- z1 <- z2, all Gaussian, exact posteriors (moved by `perturb`), and the exact p(x)."""
    upper = LinearGaussian(torch.randn(3, 2), torch.randn(3), 0.7)
    mean, covariance = upper.marginal(torch.zeros(2), torch.eye(2))
    lower = LinearGaussian(torch.randn(4, 3), torch.randn(4), 0.5, mean, covariance)
    exact = MultivariateNormal(*lower.marginal(mean, covariance))
    with torch.no_grad():
        for layer in (lower, upper):
            layer.offset += perturb
    return Flow([lower, upper], StandardNormal((2,))), exact


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
        assert step.x.shape[:2] == (3, 6)
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


def test_context_reaches_every_layer_in_the_right_rows():
    class Shift(Transform):
        def forward(self, x, context=None):
            return x - context, torch.zeros(len(x))

        def inverse(self, z, context=None):
            return z + context, torch.zeros(len(z))

    vae = VAE(
        ConditionalNormal((2,), MLP(5, (8,), 4)), ConditionalNormal((3,), MLP(4, (8,), 3), 1.0), StandardNormal((2,))
    )
    chain = Flow([Shift(), vae.pair, Shift()], StandardNormal((2,)))
    x, context = torch.randn(6, 3), torch.randn(6, 1)
    with pytest.raises(ValueError, match="cannot read"):  # widths: the pair expects 2 context entries
        chain.trace(x, context)
    vae = VAE(
        ConditionalNormal((2,), MLP(4, (8,), 4)), ConditionalNormal((3,), MLP(3, (8,), 3), 1.0), StandardNormal((2,))
    )
    chain = Flow([Shift(), vae.pair, Shift()], StandardNormal((2,)))
    trace = chain.trace(x, context, k=3)
    step = trace.steps[1]
    for i in range(3):  # draw by draw, the rows of x and of the context belong together
        likelihood = vae.likelihood(step.z[i], context)
        torch.testing.assert_close(step.log_p[i], likelihood.log_prob(x - context))
        torch.testing.assert_close(trace.steps[2].z[i], step.z[i] - context)
    assert chain.sample(6, context).shape == (6, 3)
    with pytest.raises(ValueError, match="one row per example"):
        chain.trace(x, context[:2])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(4), ValueError, r"Add a batch dimension"),
        (torch.zeros(2, 5), ValueError, r"\[B, 4\], but it has \[2, 5\]"),
        (torch.zeros(0, 4), ValueError, "empty batch"),
        ([0.0] * 4, TypeError, "it is a list"),
    ],
)
def test_bad_batches_are_told_what_came_and_what_was_expected(x, error, message):
    flow, _ = two_layer_chain()
    with pytest.raises(error, match=message):
        flow.log_prob(x)
    with pytest.raises(error, match=message):
        check_batch(x, (4,))


def test_bad_k_and_bad_values():
    flow, _ = two_layer_chain()
    with pytest.raises(ValueError, match="1 or more, but it is 0"):
        flow.log_weights(torch.zeros(1, 4), 0)
    with pytest.raises(ValueError, match="whole number"):
        flow.log_weights(torch.zeros(1, 4), 2.5)
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match=rf"4 of 4 values are not, such as {bad}"):
            flow.log_prob(torch.full((1, 4), bad))


def test_bad_contexts():
    flow, _ = two_layer_chain()
    for bad in ([1, 2], 3, torch.tensor(3.0)):
        with pytest.raises(TypeError, match=r"context must be a torch.Tensor of shape \[2, ...\]"):
            flow.log_prob(torch.zeros(2, 4), bad)


def test_a_chain_takes_transforms_and_ends_in_a_density():
    with pytest.raises(TypeError, match="Transforms, but it was given a Linear"):
        Flow([nn.Linear(2, 2)], StandardNormal((2,)))
    with pytest.raises(TypeError, match="Density, but it was given a Linear"):
        Flow([], nn.Linear(2, 2))


def test_context_reaches_the_base():
    flow = Flow([Affine(2)], ConditionalNormal((2,), nn.Linear(1, 4)))
    x, context = torch.randn(3, 2), torch.randn(3, 1)
    z, log_det = flow.transforms[0](x)
    torch.testing.assert_close(flow.log_prob(x, context), flow.base.log_prob(z, context) + log_det)
    with torch.no_grad():
        flow.base.network.weight.fill_(0.0)
        flow.base.network.weight[0] = 1e6
    assert (flow.sample(2, torch.tensor([[1.0], [-1.0]]))[:, 0] > 0).tolist() == [True, False]
    for density in (flow, flow.base):
        assert not density.sample(2, context[:2]).requires_grad
        with pytest.raises(ValueError, match="one row per example"):
            density.sample(2, context)
        with pytest.raises(ValueError, match="one row per example"):
            density.log_prob(x, context[:2])
        with pytest.raises(ValueError, match=r"\[B, 2\], but it has \[3, 5\]"):
            density.log_prob(torch.zeros(3, 5), context)


def test_a_chain_without_layers_checks_values_for_its_base():
    base = ConditionalBernoulli((3,), nn.Linear(1, 3))
    with pytest.raises(ValueError, match="Boolean"):
        Flow([], base).log_prob(torch.full((1, 3), 0.5), torch.zeros(1, 1))


def test_a_chain_checks_values_for_its_first_layer():
    pair = VAE(
        ConditionalNormal((2,), MLP(3, (), 4)), ConditionalBernoulli((3,), MLP(2, (), 3)), StandardNormal((2,))
    ).pair
    with pytest.raises(ValueError, match="Boolean"):
        Flow([pair], StandardNormal((2,))).log_prob(torch.full((1, 3), 0.5))


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


def test_posterior_with_too_many_batch_dimensions_is_refused():
    with pytest.raises(ValueError, match="Independent"):
        draw(Normal(torch.zeros(3, 2), 1.0), 4)


def test_bits_per_dim_has_the_minus_sign_and_the_ln_2():
    log_prob = Independent(Bernoulli(probs=torch.full((10,), 0.5)), 1).log_prob(torch.zeros(1, 10))
    assert bits_per_dim(log_prob, (10,)).item() == pytest.approx(1.0)


def test_abstract_methods_say_what_is_missing():
    for call in (
        lambda: Transform()(torch.zeros(1, 1)),
        lambda: Transform().inverse(torch.zeros(1, 1)),
        lambda: Stochastic().posterior(torch.zeros(1, 1)),
        lambda: Stochastic().likelihood(torch.zeros(1, 1)),
        lambda: Flow([], StandardNormal((2,))).distribution(),
    ):
        with pytest.raises(TypeError, match=r"does not define|no torch distribution"):
            call()


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
