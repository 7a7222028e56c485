"""Free bits and mixtures as posteriors, against formulas and quadrature."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

from lvmlib.base import Given
from lvmlib.bounds import elbo, iwae
from lvmlib.chain import Flow
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalCategorical,
    ConditionalMixture,
    ConditionalNormal,
    FactorisedBernoulli,
    FactorisedCategorical,
    MixtureOfGaussians,
    NormalMixture,
    StandardNormal,
)
from lvmlib.draws import tempered
from lvmlib.latent import VAE, HierarchicalVAE
from lvmlib.networks import MLP
from lvmlib.objectives import free_bits, stratified_elbo
from tests.gaussian_chain import two_layer_chain
from tests.precision import double_precision  # noqa: F401


def bits(n):
    return torch.bernoulli(torch.full((n, 6), 0.4))


def vae(encoder, prior, latents):
    return VAE(encoder, ConditionalBernoulli((6,), MLP(latents, (8,), 6, nn.Tanh)), prior)


def gaussian(prior=None):
    return vae(ConditionalNormal((3,), MLP(6, (8,), 6, nn.Tanh)), prior or StandardNormal((3,)), 3)


def kl_of_units(model, x):
    q = model.posterior(x)
    return 0.5 * (q.mean**2 + q.variance - 1 - q.variance.log())  # [B, 3]


def test_free_bits_by_hand():
    model, x = gaussian(), bits(20)
    kl = kl_of_units(model, x)
    floor = kl.mean(0).median().item()  # one unit below, one at it, one above
    for k in (1, 4):
        torch.manual_seed(1)
        z = model.trace(x, k=k).z
        reconstruction = model.likelihood(z.flatten(0, 1)).log_prob(x.repeat(k, 1)).view(k, 20).mean(0)
        torch.manual_seed(1)
        expected = reconstruction - kl.mean(0).clamp(min=floor).sum()
        torch.testing.assert_close(free_bits(model, x, floor, k), expected)
    torch.manual_seed(2)
    layer = free_bits(model, x, floor=50.0, per="layer")
    torch.manual_seed(2)
    torch.testing.assert_close(layer, elbo(model, x, beta=0.0) - 50.0)


def test_no_floor_is_the_elbo_and_a_floor_lowers_it():
    model, x = gaussian(), bits(20)
    values = {}
    for floor in (0.0, 0.2, 1.0):
        for per in ("unit", "layer"):
            torch.manual_seed(0)
            values[floor, per] = free_bits(model, x, floor, per=per).mean()
    torch.manual_seed(0)
    bound = elbo(model, x).mean()
    torch.testing.assert_close(values[0.0, "unit"], bound)
    torch.testing.assert_close(values[0.0, "layer"], bound)
    assert values[1.0, "unit"] < values[0.2, "unit"] < bound


def test_below_the_floor_the_kl_has_no_gradient():
    model, x = gaussian(), bits(20)

    def gradient(value):
        return torch.autograd.grad(value.mean(), model.pair.encoder.network[-1].bias)[0]

    torch.manual_seed(0)
    free = gradient(free_bits(model, x, floor=100.0))
    torch.manual_seed(0)
    torch.testing.assert_close(free, gradient(elbo(model, x, beta=0.0)))


@pytest.mark.parametrize(
    ("encoder", "prior", "units"),
    [
        (lambda: ConditionalNormal((3,), MLP(6, (8,), 6)), lambda: ConditionalNormal((3,), nn.Linear(1, 6)), 3),
        (lambda: ConditionalBernoulli((3,), MLP(6, (8,), 3)), lambda: FactorisedBernoulli((3,)), 3),
        (lambda: ConditionalCategorical((3, 2), MLP(6, (8,), 6)), lambda: FactorisedCategorical((3, 2)), 3),
    ],
)
def test_the_units_add_up_to_the_closed_form(encoder, prior, units):
    model = vae(encoder(), prior(), 6 if units == 3 and "Categorical" in type(encoder()).__name__ else 3)
    x, context = bits(5), None
    if isinstance(model.prior, ConditionalNormal):
        model.pair.join = lambda x, _: x
        model.pair.decoder.network = MLP(4, (8,), 6)
        context = torch.randn(5, 1)
    with torch.no_grad():
        for k in (1, 3):
            torch.manual_seed(0)
            bound = elbo(model, x, k, context=context).mean()
            torch.manual_seed(0)
            torch.testing.assert_close(free_bits(model, x, 0.0, k, context=context).mean(), bound)
            far = free_bits(model, x, 1000.0, k, context=context).mean()
            assert -units * 1000 - 20 < far < -units * 1000


def test_what_free_bits_refuse():
    x = bits(5)
    for model in (gaussian(MixtureOfGaussians((3,), 2)), two_layer_chain()[0]):
        with pytest.raises((TypeError, NotImplementedError), match=r"per='layer'|independent units"):
            free_bits(model, torch.randn(5, 4) if model.event_shape == (4,) else x)
    assert free_bits(gaussian(MixtureOfGaussians((3,), 2)), x, per="layer").shape == (5,)
    assert free_bits(two_layer_chain()[0], torch.randn(5, 4), per="layer").shape == (5,)
    with pytest.raises(ValueError, match="per must be"):
        free_bits(gaussian(), x, per="group")
    with pytest.raises(ValueError, match="floor"):
        free_bits(gaussian(), x, floor=-1)
    with pytest.raises(TypeError, match="needs a layer with a code"):
        free_bits(Flow([], StandardNormal((6,))), x)


def mixture_vae(latents=1, m=3):
    encoder = ConditionalMixture((latents,), MLP(6, (8,), m * (1 + 2 * latents), nn.Tanh), m)
    model = vae(encoder, StandardNormal((latents,)), latents)
    with torch.no_grad():
        last = encoder.network[-1]
        last.bias[m : m + m * latents] += torch.linspace(-2, 2, m * latents)  # apart from each other
    return model


def test_conditional_mixture_against_torch():
    encoder = ConditionalMixture((2,), nn.Linear(6, 15), 3)
    x, z = bits(5), torch.randn(5, 2)
    out = encoder.network(x)
    logits, loc, log_scale = out[:, :3], out[:, 3:9].view(5, 3, 2), out[:, 9:].view(5, 3, 2)
    normal = torch.distributions.Independent(Normal(loc, log_scale.exp()), 1)
    expected = MixtureSameFamily(Categorical(logits=logits), normal)
    torch.testing.assert_close(encoder.log_prob(z, x), expected.log_prob(z))
    torch.testing.assert_close(encoder.distribution(x).mean, expected.mean)
    cold = tempered(encoder.distribution(x), 0.5)
    normal = torch.distributions.Independent(Normal(loc, 0.5 * log_scale.exp()), 1)
    torch.testing.assert_close(cold.log_prob(z), MixtureSameFamily(Categorical(logits=2 * logits), normal).log_prob(z))
    assert encoder.sample(5, x, temperature=0.5).shape == (5, 2)
    with pytest.raises(ValueError, match="needs a network with 15 outputs per example"):
        ConditionalMixture((2,), nn.Linear(6, 14), 3).distribution(x)


def by_quadrature(model, x):
    """The ELBO of a single latent, on a grid; with a gradient."""
    z = torch.linspace(-12, 12, 4001)[:, None]
    out = model.pair.encoder.network(x)
    logits, loc, log_scale = out.chunk(3, 1)  # [B, M]
    each = logits.log_softmax(1) + Normal(loc, log_scale.exp()).log_prob(z[:, None])  # [G, B, M]
    log_q = each.logsumexp(2)
    log_p = -nn.functional.binary_cross_entropy_with_logits(
        model.pair.decoder.network(z)[:, None].expand(-1, len(x), -1), x.expand(len(z), -1, -1), reduction="none"
    ).sum(2) + Normal(0.0, 1.0).log_prob(z)
    return (log_q.exp() * (log_p - log_q)).sum(0) * 24 / 4000


def test_stratified_elbo_and_its_gradient_against_quadrature():
    model, x = mixture_vae(), bits(2)
    exact = by_quadrature(model, x)
    parameters = [model.pair.encoder.network[-1].bias, model.pair.decoder.network[-1].bias]
    expected = torch.cat(torch.autograd.grad(exact.sum(), parameters))
    values, gradients = [], []
    for _ in range(300):
        value = stratified_elbo(model, x, k=20)
        gradients.append(torch.cat(torch.autograd.grad(value.sum(), parameters)))
        values.append(value.detach())
    for draws, truth in ((torch.stack(values), exact.detach()), (torch.stack(gradients), expected)):
        error = draws.std(0) / math.sqrt(300)
        assert ((draws.mean(0) - truth).abs() < 4.5 * error + 1e-6).all()
        assert (error < 0.03).all()
    assert expected[:3].abs().min() > 1e-3  # the weights of the components have a gradient of their own


def test_stratified_elbo_of_one_component_is_the_elbo():
    model, x = mixture_vae(2, 1), bits(4)
    torch.manual_seed(0)
    value = stratified_elbo(model, x)
    plain = VAE(ConditionalNormal((2,), nn.Identity()), model.pair.decoder, model.prior)
    plain.pair.encoder.network = nn.Sequential(model.pair.encoder.network, OutputsButFirst())
    torch.manual_seed(0)
    torch.testing.assert_close(value, plain.trace(x).log_weights[0])


class OutputsButFirst(nn.Module):
    def forward(self, x):
        return x[:, 1:]


def test_a_mixture_posterior_in_every_other_use():
    model, x = mixture_vae(2), bits(4)
    with pytest.raises(TypeError, match="has no rsample"):
        elbo(model, x)
    with torch.no_grad():
        assert elbo(model, x, k=3).shape == iwae(model, x, 3).shape == (4,)
    encoder = Given(ConditionalMixture((2,), nn.Linear(5, 15), 3), nn.Linear(6, 5))
    stratified_elbo(vae(encoder, StandardNormal((2,)), 2), x).sum().backward()
    assert encoder.network.weight.grad.abs().sum() > 0
    assert isinstance(encoder.distribution(x), NormalMixture)


def test_what_stratified_elbo_refuses():
    x = bits(3)
    with pytest.raises(TypeError, match="one encoder, a ConditionalMixture"):
        stratified_elbo(gaussian(), x)
    with pytest.raises(TypeError, match="one encoder, a ConditionalMixture"):
        stratified_elbo(StandardNormal((6,)), x)
    lower = ConditionalMixture((2,), nn.Linear(6, 10), 2), ConditionalBernoulli((6,), nn.Linear(2, 6))
    upper = ConditionalNormal((1,), nn.Linear(2, 2)), ConditionalNormal((2,), nn.Linear(1, 4))
    with pytest.raises(TypeError, match="one encoder, a ConditionalMixture"):
        stratified_elbo(HierarchicalVAE([lower, upper], StandardNormal((1,))), x)
