"""A VAE is a layer like any other: flow priors, flow posteriors and dequantization need no special cases."""

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from lvmlib.base import Density, Given
from lvmlib.bounds import elbo, iwae, log_likelihood
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.flows import (
    Affine,
    Logit,
    MaskedAutoregressive,
    VariationalDequantize,
    convolutions,
    glow,
    iaf,
    realnvp,
)
from lvmlib.latent import VAE, LinearGaussian
from lvmlib.networks import MLP, ConvEncoder


def vae_with_a_realnvp_prior():
    encoder = ConditionalNormal((2,), MLP(6, (16,), 4, nn.Tanh))
    decoder = ConditionalBernoulli((6,), MLP(2, (16,), 6, nn.Tanh))
    return VAE(encoder, decoder, realnvp((2,), 4, (8,))), (torch.rand(16, 6) < 0.5).float()


def vae_with_an_iaf_posterior():
    """The encoder gives the Gaussian that draws start from, and what the autoregressive layers are told."""
    layers = iaf((2,), 2, (8,), context=8).layers
    posterior = Given(Flow(layers, ConditionalNormal((2,), nn.Linear(8, 4))), MLP(6, (16,), 8, nn.Tanh))
    decoder = ConditionalBernoulli((6,), MLP(2, (16,), 6, nn.Tanh))
    return VAE(posterior, decoder, StandardNormal((2,))), (torch.rand(16, 6) < 0.5).float()


def glow_with_variational_dequantization():
    shape = (1, 4, 4)
    noise = Flow(realnvp(shape, scales=1, channels=4, context=4).layers, StandardNormal(shape))
    front = [VariationalDequantize(shape, noise, 16, convolutions(4, 1)(1, 4)), Logit()]
    flow = glow(shape, scales=2, steps=1, channels=4)
    return Flow([*front, *flow.layers], flow.base), torch.randint(16, (16, *shape))


MODELS = [vae_with_a_realnvp_prior, vae_with_an_iaf_posterior, glow_with_variational_dequantization]


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_bounds_work_on_it_and_more_draws_tighten_them(make):
    torch.manual_seed(0)
    model, x = make()
    assert model.is_bound
    (-elbo(model, x, k=2).mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    with torch.no_grad():  # the mean of many estimates: the bounds themselves
        loose, tight = (torch.stack([iwae(model, x, k) for _ in range(40)]) for k in (1, 20))
        reference = log_likelihood(model, x, 1000)
    gain = (tight - loose).mean(1)
    assert gain.mean() > 4 * gain.std() / 40**0.5 and gain.mean() > 1e-3
    assert (reference.mean() - tight.mean()) > -0.02
    assert model.sample(3).shape == (3, *model.event_shape)
    trace = model.trace(x, k=3)
    torch.testing.assert_close(sum(step.paid for step in trace.steps) + trace.log_base, trace.log_weights)


def test_a_flow_prior_against_the_closed_form():
    """Behind an affine flow the prior is a Gaussian, so both the posterior and log p(x) are known."""
    torch.manual_seed(0)
    prior = Flow([Affine((2,), "lu"), MaskedAutoregressive((2,), ())], StandardNormal((2,))).double()
    with torch.no_grad():
        for p in prior.parameters():
            p.add_(0.3 * torch.randn_like(p))
        prior.layers[1].net.output.weight.zero_()  # each entry standardised alike everywhere: affine
        points = prior.decode(torch.cat([torch.zeros(1, 2), torch.eye(2)]).double())
    mean, root = points[0], (points[1:] - points[0]).T
    layer = LinearGaussian(torch.randn(4, 2).double(), torch.randn(4).double(), 0.6, mean, root @ root.T).double()
    x = Flow([layer], prior).sample(5)
    exact = MultivariateNormal(*layer.marginal(mean, root @ root.T)).log_prob(x)
    torch.testing.assert_close(Flow([layer], prior).log_weights(x, 7), exact.expand(7, 5), rtol=1e-8, atol=1e-8)


def test_an_iaf_posterior_closes_the_gap_that_independent_coordinates_leave():
    torch.manual_seed(0)
    true = LinearGaussian(torch.tensor([[1.0, 1.0], [0.5, 1.0]]), torch.zeros(2), 0.3)
    x = Flow([true], StandardNormal((2,))).sample(256)
    exact = MultivariateNormal(*true.marginal(torch.zeros(2), torch.eye(2))).log_prob(x).mean()

    class Decoder(Density):
        def distribution(self, context=None):
            return true.likelihood(context)

    gaps = []
    for flow in (False, True):
        q = ConditionalNormal((2,), nn.Linear(2, 4))
        q = Flow(iaf((2,), 1, (), context=2).layers, q) if flow else q
        vae = VAE(q, Decoder((2,)), StandardNormal((2,)))
        optimizer = torch.optim.Adam([p for p in vae.parameters() if p.requires_grad], 3e-2)
        for _ in range(250):
            optimizer.zero_grad()
            (-elbo(vae, x).mean()).backward()
            optimizer.step()
        with torch.no_grad():
            gaps.append((exact - elbo(vae, x, k=200).mean()).item())
    assert -0.02 < gaps[1] < 0.15 * gaps[0] and gaps[0] > 0.1


def test_a_flow_told_of_pictures_by_a_network_of_its_own():
    told = Given(realnvp((3,), 2, (8,), context=5), ConvEncoder((1, 8, 8), (4,), 5))
    x, picture = torch.randn(4, 3), torch.randn(4, 1, 8, 8)
    assert told.log_prob(x, picture).shape == (4,) and told.sample(4, picture).shape == (4, 3)
    assert not told.is_bound and told.has_rsample
