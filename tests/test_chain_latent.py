"""Chains with latent variables: flows as priors and posteriors, dequantization and codes."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from lvmlib.autoregressive import MADE
from lvmlib.base import Density, Given
from lvmlib.bounds import distortion_and_rate, elbo, iwae, log_likelihood
from lvmlib.chain import Flow, Inverse
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.draws import draw_constant
from lvmlib.flows import Dequantize, Logit
from lvmlib.latent import VAE, LinearGaussian, StochasticPair
from lvmlib.networks import MLP, ConvDecoder, ConvEncoder, planes
from lvmlib.stochastic import Stochastic
from tests.layers import Delta, Linear, MaskedAutoregressive
from tests.precision import double_precision  # noqa: F401


def gaussian_under(matrix, shift) -> tuple[LinearGaussian, MultivariateNormal]:
    """A layer whose prior is what Linear(matrix, shift) makes of noise, with the exact posterior; and its p(x)."""
    covariance = torch.linalg.inv(matrix) @ torch.linalg.inv(matrix).T
    mean = -torch.linalg.solve(matrix, shift)
    layer = LinearGaussian(torch.randn(4, 2), torch.randn(4), 0.6, mean, covariance)
    return layer, MultivariateNormal(*layer.marginal(mean, covariance))


def test_a_flow_as_prior_is_walked_as_part_of_the_chain():
    matrix, shift = torch.randn(2, 2) + 2 * torch.eye(2), torch.randn(2)
    layer, exact = gaussian_under(matrix, shift)
    x = exact.sample((5,))
    nested = Flow([layer], Flow([Linear(matrix, shift)], StandardNormal((2,))))
    flat = Flow([layer, Linear(matrix, shift)], StandardNormal((2,)))
    for flow in (nested, flat):
        torch.testing.assert_close(flow.log_weights(x, 7), exact.log_prob(x).expand(7, 5), rtol=1e-10, atol=1e-10)
        trace = flow.trace(x, k=3)
        assert len(trace.steps) == 2 and trace.base is flow.end and isinstance(trace.base, StandardNormal)
        distortion, rate = distortion_and_rate(trace)
        torch.testing.assert_close(-distortion - rate, trace.log_weights)
    assert nested.sample(3).shape == (3, 4)


class LinearDecoder(Density):
    """p(x|z) of a linear-Gaussian layer, as a density."""

    def __init__(self, layer):
        super().__init__(layer.event_shape)
        self.layer = layer

    def distribution(self, context=None):
        return self.layer.likelihood(context)


class Counting(nn.Module):
    """A network that notes how many rows it was given."""

    def __init__(self, network):
        super().__init__()
        self.network, self.rows = network, []

    def forward(self, x):
        self.rows.append(len(x))
        return self.network(x)


def test_an_inverse_autoregressive_posterior_reads_each_example_once_and_weighs_right():
    layer = LinearGaussian(torch.randn(4, 3), torch.randn(4), 1.0)
    exact = MultivariateNormal(*layer.marginal(torch.zeros(3), torch.eye(3)))
    features = Counting(MLP(4, (8,), 6, nn.Tanh))
    q = Flow([Inverse(MaskedAutoregressive(3, context=6))], ConditionalNormal((3,), nn.Linear(6, 6)))
    vae = VAE(Given(q, features), LinearDecoder(layer), StandardNormal((3,)))
    x = exact.sample((4,))
    trace = vae.trace(x, k=5)
    assert features.rows == [4] and trace.z.shape == (5, 4, 3)
    torch.testing.assert_close(trace.steps[0].log_q, trace.steps[0].q.log_prob(trace.z))
    with torch.no_grad():
        weights = (vae.log_weights(x, 100_000) - exact.log_prob(x)).exp()  # mean 1 where E[w] = p(x)
    assert ((weights.mean(0) - 1).abs() < 5 * weights.std(0) / len(weights) ** 0.5).all()
    assert vae.sample(3).shape == (3, 4)


def test_given_hands_on_whatever_its_density_can_do():
    inner = ConditionalNormal((2,), nn.Linear(3, 4))
    told, context, x = Given(inner, nn.Linear(5, 3)), torch.randn(6, 5), torch.randn(6, 2)
    read = told.network(context)
    torch.testing.assert_close(told.log_prob(x, context), inner.log_prob(x, read))
    torch.testing.assert_close(told.given(context).log_prob(x), inner.log_prob(x, read))
    torch.testing.assert_close(told.distribution(context).mean, inner.distribution(read).mean)
    assert told.sample(6, context, temperature=0.5).shape == told.rsample_with_log_prob(6, context)[0].shape == (6, 2)
    assert told.has_rsample and told.has_distribution and not told.is_bound
    with pytest.raises(ValueError, match="pass context="):
        told.log_prob(x)
    vae = VAE(ConditionalNormal((2,), MLP(3 + 3, (), 4)), ConditionalNormal((3,), MLP(2 + 3, (), 6)), noise_of(2))
    bound, x = Given(vae, nn.Linear(5, 3)), torch.randn(6, 3)
    torch.manual_seed(1)
    expected = vae.log_weights(x, 9, bound.network(context))
    torch.manual_seed(1)
    torch.testing.assert_close(bound.log_weights(x, 9, context), expected)
    assert bound.is_bound and elbo(bound, x, beta=0.5, context=context).shape == (6,)
    torch.manual_seed(1)
    expected = iwae(vae, x, 9, bound.network(context))
    torch.manual_seed(1)
    torch.testing.assert_close(iwae(bound, x, 9, context), expected)
    assert bound.trace(x, context).z.shape == (1, 6, 2)
    assert not bound.trace(x, context, draw=draw_constant).z.requires_grad
    bits, prefix = Given(MADE((4,), hidden=(8,), context=3).double(), nn.Linear(5, 3)), torch.ones(6, 2)
    assert torch.equal(bits.sample(6, context, prefix=prefix)[:, :2], prefix)


def test_a_base_that_is_a_bound_but_no_chain_draws_its_own_share():
    vae = VAE(ConditionalNormal((2,), MLP(3 + 3, (), 4)), ConditionalNormal((3,), MLP(2 + 3, (), 6)), noise_of(2))
    told, front = Given(vae, nn.Linear(5, 3)), Linear(torch.eye(3) * 2, torch.ones(3))
    x, context = torch.randn(4, 3), torch.randn(4, 5)
    nested, whole = Flow([front], told), Flow([front, *vae.layers], vae.base)
    for k in (1, 6):
        torch.manual_seed(1)
        ours = nested.log_weights(x, k, context)
        torch.manual_seed(1)
        torch.testing.assert_close(ours, whole.log_weights(x, k, told.network(context)))
    pair = StochasticPair(ConditionalNormal((3,), MLP(4 + 5, (), 6)), ConditionalNormal((4,), MLP(3 + 5, (), 8)))
    assert Flow([pair, front], told).log_weights(torch.randn(4, 4), 6, context).shape == (6, 4)


def noise_of(dims):
    return StandardNormal((dims,))


def test_a_bound_that_says_nothing_of_its_weights_is_refused():
    class Own(Density):
        is_bound = True

        def log_prob(self, x, context=None):
            return -x.square().sum(1)

    for ask in (lambda m, x: log_likelihood(m, x, 10), lambda m, x: iwae(m, x, 3), lambda m, x: elbo(m, x)):
        with pytest.raises(TypeError, match="no importance weights"):
            ask(Own((2,)), torch.zeros(1, 2))


def test_a_convolutional_vae_is_told_of_a_context():
    encoder = ConditionalNormal((4,), ConvEncoder((1 + 10, 8, 8), (8,), 8))
    decoder = ConditionalBernoulli((1, 8, 8), ConvDecoder(4 + 10, (8,), (1, 8, 8)))
    vae = VAE(encoder, decoder, StandardNormal((4,)), join=planes)
    x, context = (torch.rand(3, 1, 8, 8) < 0.5).double(), torch.eye(10)[:3]
    q = vae.posterior(x, context)
    torch.testing.assert_close(
        q.mean, encoder.network(torch.cat([x, context[:, :, None, None].expand(3, 10, 8, 8)], 1))[:, :4]
    )
    torch.manual_seed(0)
    first = elbo(vae, x, context=context)
    torch.manual_seed(0)
    assert not torch.allclose(first, elbo(vae, x, context=context.roll(1, 0)))
    assert vae.sample(3, context).shape == (3, 1, 8, 8)


def test_the_rate_splits_into_mutual_information_and_distance_of_the_aggregated_posterior():
    """What surgery will read of a trace: the latent layer, its q and its draws. The integrals are taken on a grid."""
    layer, n = LinearGaussian(torch.randn(3, 2), torch.randn(3), 0.8), 40
    model = Flow([layer], StandardNormal((2,)))
    x = model.sample(n)
    trace = model.trace(x, k=2000)
    step = trace.steps[trace.latent]
    aggregated = step.q.log_prob(step.z.flatten(0, 1)[:, None]).logsumexp(1).view(2000, n) - math.log(n)
    mutual, marginal = (step.log_q - aggregated).mean(), (aggregated - trace.log_base).mean()
    points = torch.cartesian_prod(*[torch.linspace(-6, 6, 161)] * 2)
    log_q = layer.posterior(x).log_prob(points[:, None])  # [points, n]
    log_mean, cell = log_q.logsumexp(1) - math.log(n), (12 / 160) ** 2
    exact = (log_q.exp() * (log_q - log_mean[:, None])).sum() * cell / n
    far = (log_mean.exp() * (log_mean - StandardNormal((2,)).log_prob(points))).sum() * cell
    assert mutual.item() == pytest.approx(exact.item(), abs=0.02) and 0 < exact < math.log(n)
    assert marginal.item() == pytest.approx(far.item(), abs=0.02)
    q = layer.posterior(x)
    kl = torch.distributions.kl_divergence(q, MultivariateNormal(torch.zeros(2), torch.eye(2))).mean()
    assert (exact + far).item() == pytest.approx(kl.item(), abs=1e-3)


def quantized_flow(levels: int = 4) -> tuple[Flow, torch.Tensor, torch.Tensor]:
    """A flow over {0, ..., 3} in one dimension, all its events, and their log-probabilities by quadrature."""
    inner = [Logit(0.0), Linear(torch.tensor([[0.7]]), torch.tensor([0.4]))]
    flow, density = Flow([Dequantize((1,), levels), *inner], StandardNormal((1,))), Flow(inner, StandardNormal((1,)))
    x = torch.arange(levels).double()[:, None]
    points = (torch.arange(20_000) + 0.5) / 20_000 / levels
    exact = torch.stack([density.log_prob((points + i / levels)[:, None]).logsumexp(0) for i in range(levels)])
    return flow, x, exact - math.log(20_000 * levels)


def test_many_draws_of_dequantization_give_the_integral_over_the_bin():
    flow, x, exact = quantized_flow()
    assert exact.exp().sum().item() == pytest.approx(1, abs=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(iwae(flow, x, 100_000), exact, atol=5e-3, rtol=0)
        assert (elbo(flow, x, k=100_000) < exact).all()
    with pytest.raises(ValueError, match="expects values in"):
        flow.log_prob(torch.tensor([[4.0]]))
    assert set(flow.sample(500).flatten().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_beta_does_not_weigh_what_carries_the_data():
    flow, x, _ = quantized_flow()
    values = []
    for beta in (0.0, 1.0, 5.0):
        torch.manual_seed(0)
        values.append(elbo(flow, x, k=3, beta=beta))
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(values[2], values[1])
    assert flow.is_bound and flow.trace(x).latent is None
    with pytest.raises(TypeError, match="layer with a code"):
        distortion_and_rate(flow.trace(x))


def test_a_vae_behind_dequantization_has_its_own_rate():
    pair = StochasticPair(ConditionalNormal((2,), MLP(3, (8,), 4)), ConditionalNormal((3,), MLP(2, (8,), 3), 0.3))
    model = Flow([Dequantize((3,), 8), pair], StandardNormal((2,)))
    x = torch.randint(8, (4, 3)).double()
    trace = model.trace(x, k=3)
    distortion, rate = distortion_and_rate(trace)
    first, second = trace.steps
    assert trace.latent == 1
    torch.testing.assert_close(-distortion, second.log_p + first.log_p - first.log_q)
    torch.testing.assert_close(first.log_q, torch.full((3, 4), 3 * math.log(8)))
    q = second.q  # one row for each draw of each example
    kl = 0.5 * (q.loc**2 + q.scale**2 - 1 - 2 * q.scale.log()).sum(1).view(3, 4)
    torch.testing.assert_close(rate, kl)


def test_a_quantizer_has_the_same_bound_for_every_number_of_draws():
    class Quantizer(Stochastic):
        def __init__(self):
            super().__init__()
            self.event_shape, self.latent_shape = torch.Size((2,)), torch.Size((1, 2, 1))
            self.book = nn.Parameter(torch.randn(5, 2))

        def posterior(self, x, context=None):
            return Delta(torch.cdist(x, self.book).topk(2, largest=False).indices.double().view(-1, 1, 2, 1))

        def likelihood(self, z, context=None):
            return ConditionalNormal((2,), nn.Identity(), 0.3).distribution(self.book[z.flatten(1)[:, 0].long()])

    prior = MADE((1, 2, 1), hidden=(8,), levels=5).double()
    model = Flow([Quantizer()], prior)
    x = torch.randn(6, 2)
    torch.testing.assert_close(iwae(model, x, 7), iwae(model, x, 1))
    z = model.trace(x).z[0]
    torch.testing.assert_close(iwae(model, x, 1), model.layers[0].likelihood(z).log_prob(x) + prior.log_prob(z))
    assert model.sample(3).shape == (3, 2)


def test_a_discrete_posterior_that_is_autoregressive():
    """MADE as q and as p(z): evaluated without a gradient; under one, an estimator has to be asked for."""
    encoder = MADE((3,), hidden=(16,), context=2).double()
    decoder = ConditionalNormal((2,), nn.Linear(3, 2), 0.7)
    model = Flow([StochasticPair(encoder, decoder)], MADE((3,), hidden=(8,)).double())
    x = torch.randn(4, 2)
    states = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
    joint = [decoder.distribution(s.expand(4, 3)).log_prob(x) + model.base.log_prob(s[None]) for s in states]
    with torch.no_grad():
        torch.testing.assert_close(iwae(model, x, 20_000), torch.stack(joint).logsumexp(0), atol=0.02, rtol=0)
    with pytest.raises(TypeError, match="draw=draw_constant"):
        model.log_weights(x, 2)
    assert not Flow([], encoder).has_rsample
