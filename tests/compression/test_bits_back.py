"""Bits-back coding: exact round trips, and lengths against sums over latents, the ELBO and its spread."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from lvmlib.autoregressive import FVSBN
from lvmlib.bounds import elbo
from lvmlib.chain import Flow
from lvmlib.compression import Stack, bits_back_decode, bits_back_encode
from lvmlib.compression.bits_back import _Chain as chain_of
from lvmlib.data import load
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalCategorical,
    ConditionalNormal,
    FactorisedCategorical,
    MixtureOfGaussians,
    StandardNormal,
)
from lvmlib.flows import Affine
from lvmlib.latent import VAE, HierarchicalVAE, LinearGaussian
from lvmlib.networks import MLP
from lvmlib.training import fit
from tests.compression.chains import MODELS, gaussian, livened

LETTER = bytes(range(1, 200))


def built(name):
    torch.manual_seed(0)
    model = livened(
        MODELS[name](), 0.03 if name == "two_layers" else 0.15
    )  # posteriors that stay near the prior, as those of trained models
    levels = {"grey": 6, "pixel_vae": 3}.get(name, 2)
    return model, torch.randint(levels, (100, *model.event_shape)).float()


def net_bits(model, x, **options):
    """What all examples take together, each for itself, with z chosen by random bits of its own."""
    rng, total = np.random.default_rng(0), 0
    for row in x:
        initial = rng.bytes(60) + b"\1"
        data = bits_back_encode(model, row[None], initial=initial, **options)
        assert bits_back_decode(model, data, **options)[1] == initial
        total += Stack(data[1:]).bits - Stack(initial).bits - 7  # without the header and the seal
    return total


@pytest.mark.parametrize("name", MODELS)
def test_an_example_takes_what_the_elbo_says(name):
    model, x = built(name)
    x = x[:60]
    with torch.no_grad():
        log_w = model.log_weights(x, 1000) / math.log(2)
    ideal, spread = -log_w.mean(0).sum().item(), log_w.var(0).sum().sqrt().item()
    assert (spread == 0) == (name == "vqvae")  # whose code is certain
    assert spread < 0.06 * ideal
    assert abs(net_bits(model, x) - ideal) < 4 * spread + 10


@pytest.mark.parametrize("name", MODELS)
def test_examples_come_back_one_upon_the_other(name):
    model, x = built(name)
    model.train()
    data = bits_back_encode(model, x[:100], initial=LETTER)
    back, initial = bits_back_decode(model, data)
    assert torch.equal(back, x[:100]) and back.dtype == torch.float32 and initial == LETTER
    assert model.training


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_many_rows_at_a_time(rows):
    for name in ("gaussian", "two_layers", "vqvae"):
        model, x = built(name)
        data = bits_back_encode(model, x[:30], rows=rows, bins=256)
        assert torch.equal(bits_back_decode(model, data, rows=rows, bins=256)[0], x[:30])


def bits_of_digits(split):
    return (split.unit().x > 0.5).float().flatten(1)


@pytest.mark.parametrize("layers", [1, 2])
def test_trained_models_code_real_digits_within_two_percent_of_the_elbo(layers):
    torch.manual_seed(0)
    train, _, test = load("digits")
    pair = ConditionalNormal((6,), MLP(64, (64,), 12)), ConditionalBernoulli((64,), MLP(6, (64,), 64))
    above = ConditionalNormal((3,), MLP(6, (32,), 6)), ConditionalNormal((6,), MLP(3, (32,), 12))
    model = VAE(*pair, StandardNormal((6,)))
    if layers == 2:
        model = HierarchicalVAE([pair, above], StandardNormal((3,)))
    fit(model, bits_of_digits(train), steps=500, batch_size=64, lr=3e-3, progress=False)
    x = bits_of_digits(test)[:200]
    data = bits_back_encode(model, x)
    back, initial = bits_back_decode(model, data)
    assert torch.equal(back, x)
    net = 8 * (len(data) - len(initial)) - 16 - 7
    ideal = -elbo(model, x, k=200).sum().item() / math.log(2)
    assert abs(net - ideal) < 0.02 * ideal  # 4 standard deviations
    assert 8 * len(initial) < 150 and 8 * len(data) < 64 * 200 / 2


class ExactPosterior(nn.Module):
    """Log-odds of z given x by Bayes' theorem, for one latent of K values."""

    def __init__(self, vae_parts):
        super().__init__()
        self.decoder, self.prior = vae_parts

    def forward(self, x):
        z = torch.eye(5)[:, None]  # [5, 1, 5]
        log_p = self.decoder.distribution(z).log_prob(x[:, None])  # [B, 5]
        return log_p + self.prior.log_prob(z)


def test_with_the_exact_posterior_every_example_takes_its_own_log_likelihood():
    torch.manual_seed(0)
    decoder, prior = ConditionalBernoulli((12,), MLP(5, (), 12)), FactorisedCategorical((1, 5))
    livened(decoder, 2.0), livened(prior, 1.0)
    vae = VAE(ConditionalCategorical((1, 5), ExactPosterior((decoder, prior))), decoder, prior)
    x = vae.sample(400)
    z = torch.eye(5)[:, None]
    with torch.no_grad():
        joint = torch.stack([decoder.distribution(z).log_prob(row) for row in x]) + prior.log_prob(z)
    bits = -joint.logsumexp(1).sum().item() / math.log(2)
    data = bits_back_encode(vae, x, initial=LETTER)
    net = 8 * (len(data) - len(LETTER)) - 16 - 7
    assert abs(net - bits) < 8 + 400 * 14 * 1e-5
    assert torch.equal(bits_back_decode(vae, data)[0], x)


def test_a_latent_that_says_nothing_costs_nothing():
    """q = p: what the prior asks for is what the posterior gave, bin by bin."""
    encoder, decoder = nn.Linear(12, 6), nn.Linear(3, 12)
    for layer in (encoder, decoder):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    vae = VAE(ConditionalNormal((3,), encoder), ConditionalBernoulli((12,), decoder), StandardNormal((3,)))
    x = torch.randint(2, (100, 12)).float()
    data = bits_back_encode(vae, x, initial=LETTER)
    assert abs(8 * (len(data) - len(LETTER)) - 16 - 7 - 100 * 12) <= 8


def test_a_posterior_narrower_than_a_bin_costs_one_bin():
    """A posterior a hundredth as wide as the prior: a KL of about 6 bits, where 16 bins let a number cost 4 of them."""
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(12, 2), nn.Linear(1, 12)
    for layer in (encoder, decoder):
        nn.init.zeros_(layer.bias)
    encoder.bias.data[1] = math.log(0.01)
    encoder.weight.data[1] = 0
    nn.init.zeros_(decoder.weight)
    vae = VAE(ConditionalNormal((1,), encoder), ConditionalBernoulli((12,), decoder), StandardNormal((1,)))
    x = torch.randint(2, (60, 12)).float()
    ideal = -elbo(vae, x).sum().item() / math.log(2)
    few, many = (net_bits(vae, x, bins=bins) for bins in (16, 8192))
    assert abs(many - ideal) < 35  # 4 standard deviations: 60 draws, a bit each
    assert 60 * 15.5 < few < 60 * 16 + 5 < ideal


def test_contexts_are_used_and_asked_for():
    torch.manual_seed(0)
    model, x = livened(gaussian(context=4)), torch.randint(2, (30, 12)).float()
    context = torch.eye(4)[torch.arange(30) % 4]
    data = bits_back_encode(model, x, context=context)
    assert torch.equal(bits_back_decode(model, data, context=context)[0], x)
    with pytest.raises(ValueError, match="encoded with a context"):
        bits_back_decode(model, data)
    with pytest.raises(ValueError, match="one row per example"):
        bits_back_decode(model, data, context=context[:20])


def test_another_model_or_other_data_are_found_out():
    model, x = built("gaussian")
    data = bits_back_encode(model, x[:20])
    found = 0
    for wrong in range(20):
        damaged = bytearray(data)
        damaged[-6 - wrong] ^= 16  # above the initial bits, which x does not depend on where no draw took them
        try:
            back, _ = bits_back_decode(model, bytes(damaged))
            assert torch.equal(back, x[:20]), "another symbol"
        except (ValueError, AssertionError):
            found += 1
    assert found >= 18
    for wrong in (data[:-3], b"\x02\x00", b"", b"\xff\x7f\x01"):
        with pytest.raises(ValueError, match="the data"):
            bits_back_decode(model, wrong)
    found = 0
    for _ in range(20):
        try:
            bits_back_decode(livened(gaussian(), 0.01), data)
        except ValueError as error:
            found += "from another model" in str(error)
    assert found >= 18  # seven bits miss one in 128


def test_a_layer_between_has_bins_where_the_model_puts_its_numbers():
    """z1 = -2 z2 + 0.3 + noise 0.8, so its marginal is a Gaussian of variance 4.64."""
    above = ConditionalNormal((1,), nn.Linear(1, 1), 0.8)
    above.network.weight.data.fill_(-2.0)
    above.network.bias.data.fill_(0.3)
    pair = ConditionalNormal((1,), nn.Linear(3, 2)), ConditionalBernoulli((3,), nn.Linear(1, 3))
    model = HierarchicalVAE([pair, (ConditionalNormal((1,), nn.Linear(1, 2)), above)], StandardNormal((1,)))
    nothing, lower, upper = chain_of(model, 8, None).bins
    assert nothing is None
    marginal = torch.distributions.Normal(0.3, 4.64**0.5)
    quantiles = torch.arange(1, 8) / 8
    torch.testing.assert_close(marginal.cdf(lower.edges[0].float()), quantiles, atol=0.03, rtol=0)  # of 2000 draws
    torch.testing.assert_close(torch.distributions.Normal(0.0, 1.0).cdf(upper.edges[0].float()), quantiles)
    torch.testing.assert_close(chain_of(model, 8, None).bins[1].edges, lower.edges, atol=0, rtol=0)


def test_refusals():
    model, x = built("gaussian")
    flow = Flow([Affine((12,))], StandardNormal((12,)))
    with pytest.raises(TypeError, match="every layer of a chain must draw"):
        bits_back_encode(flow, torch.zeros(2, 12))
    with pytest.raises(TypeError, match="this chain has none"):
        bits_back_encode(Flow([], StandardNormal((2,))), torch.zeros(2, 2))
    with pytest.raises(TypeError, match="chain of stochastic layers, but it was given a FVSBN"):
        bits_back_encode(FVSBN((12,)), x)
    with pytest.raises(TypeError, match="it was given a function"):
        bits_back_decode(lambda prefix: [0.5, 0.5], b"\x02\x01")
    real = Flow([LinearGaussian(torch.ones(2, 1), torch.zeros(2), 1.0)], StandardNormal((1,)))
    with pytest.raises(TypeError, match="has a MultivariateNormal"):
        bits_back_encode(real, torch.zeros(2, 2))
    mixture = VAE(model.pair.encoder, model.pair.decoder, MixtureOfGaussians((3,), 2))
    with pytest.raises(TypeError, match="has a Mixture"):
        bits_back_encode(mixture, x[:2])
    encoder, decoder = ConditionalNormal((2,), nn.Linear(3, 4)), ConditionalNormal((3,), nn.Linear(2, 3), 1.0)
    with pytest.raises(TypeError, match="has a DiagonalNormal"):
        bits_back_encode(VAE(encoder, decoder, StandardNormal((2,))), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="zero byte"):
        bits_back_encode(model, x[:2], initial=b"a\0")
    with pytest.raises(ValueError, match="bins"):
        bits_back_encode(model, x[:2], bins=1)
    with pytest.raises(ValueError, match="Boolean"):
        bits_back_encode(model, x[:2] / 2)
