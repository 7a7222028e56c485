"""Bits-back coding: exact round trips, and lengths against sums over latents, the ELBO and its spread."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from lvmlib.autoregressive import FVSBN, GatedPixelCNN
from lvmlib.bounds import elbo
from lvmlib.chain import Flow
from lvmlib.compression import Stack, bits_back_decode, bits_back_encode
from lvmlib.compression.bits_back import _Chain as chain_of
from lvmlib.compression.symbols import Bins, code_of
from lvmlib.data import load
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalCategorical,
    ConditionalDiscretizedLogistic,
    ConditionalNormal,
    DiagonalNormal,
    FactorisedBernoulli,
    FactorisedCategorical,
    MixtureOfGaussians,
    StandardNormal,
)
from lvmlib.flows import Affine
from lvmlib.latent import VAE, VQVAE, HierarchicalVAE, LinearGaussian, PixelVAE
from lvmlib.networks import MLP
from lvmlib.training import fit

LETTER = bytes(range(1, 200))


def livened(model, by=0.4):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(by * torch.randn_like(p))
    return model


def mlp(*sizes):
    return MLP(*sizes, nn.Tanh)


def gaussian(context=0):
    encoder = ConditionalNormal((3,), mlp(12 + context, (8,), 6))
    return VAE(encoder, ConditionalBernoulli((12,), mlp(3 + context, (8,), 12)), StandardNormal((3,)))


def two_layers():
    lower = ConditionalNormal((4,), mlp(12, (8,), 8)), ConditionalBernoulli((12,), mlp(4, (8,), 12))
    upper = ConditionalNormal((2,), mlp(4, (8,), 4)), ConditionalNormal((4,), mlp(2, (8,), 8))
    return HierarchicalVAE([lower, upper], StandardNormal((2,)))


def three_layers():
    """Gaussians above coins above one-hots."""
    first = ConditionalCategorical((3, 4), mlp(12, (8,), 12)), ConditionalBernoulli((12,), mlp(12, (8,), 12))
    second = ConditionalBernoulli((5,), mlp(12, (8,), 5)), ConditionalCategorical((3, 4), mlp(5, (8,), 12))
    third = ConditionalNormal((2,), mlp(5, (8,), 4)), ConditionalBernoulli((5,), mlp(2, (8,), 5))
    return HierarchicalVAE([first, second, third], StandardNormal((2,)))


def grey():
    encoder, decoder = ConditionalNormal((2,), mlp(12, (8,), 4)), mlp(2, (8,), 24)
    return VAE(encoder, ConditionalDiscretizedLogistic((12,), decoder, levels=6), StandardNormal((2,)))


def autoregressive_prior():
    encoder = ConditionalBernoulli((5,), mlp(12, (8,), 5))
    return VAE(encoder, ConditionalBernoulli((12,), mlp(5, (8,), 12)), FVSBN((5,)))


def pixel_vae():
    pixels = GatedPixelCNN((1, 3, 4), channels=4, layers=2, kernel=3, levels=3, context=2)
    return PixelVAE(ConditionalNormal((2,), mlp(12, (8,), 4)), pixels, StandardNormal((2,)))


def vqvae():
    prior = GatedPixelCNN((1, 1, 2), channels=4, layers=2, kernel=3, levels=5, embedding=True)
    network = nn.ConvTranspose2d(2, 1, (3, 2), (3, 2))
    return VQVAE(nn.Conv2d(1, 2, (3, 2), (3, 2)), ConditionalBernoulli((1, 3, 4), network), prior, width=2)


MODELS = {f.__name__: f for f in (
    gaussian, two_layers, three_layers, grey, autoregressive_prior, pixel_vae, vqvae)}  # fmt: skip


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


def test_initial_bits_are_part_of_the_file_and_only_the_first_layer_asks_for_them():
    model, x = built("two_layers")
    data = bits_back_encode(model, x[:1])
    _, initial = bits_back_decode(model, data)
    q = model.pairs[0].posterior(x[:1])
    entropy = q.entropy().item() / math.log(2)
    width = sum(math.log2(b) for b in _mean_widths(model))  # of the bins, so that entropies can be compared
    assert 28 < 8 * len(initial) - (entropy - width) < 56  # 40 to be on the safe side; the second layer takes 18
    assert len(data) > len(initial)
    none = bits_back_encode(model, x[:40], initial=b"")
    back, initial = bits_back_decode(model, none)
    assert initial == b"" and torch.equal(back, x[:40])


def _mean_widths(model):
    """Widths of the bins of the first layer near the posterior's mean, within a factor of 2 or so."""
    torch.manual_seed(0)
    with torch.no_grad():
        z = model.pairs[1].generate(torch.randn(4000, 2))
    return (z.std(0) * math.sqrt(2 * math.pi) / 1024).tolist()


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
    other = livened(gaussian(), 0.01)
    found = 0
    for wrong in range(20):
        damaged = bytearray(data)
        damaged[3 + wrong] ^= 16
        try:
            back, _ = bits_back_decode(model, bytes(damaged))
            assert torch.equal(back, x[:20]), "another symbol"
        except (ValueError, AssertionError):
            found += 1
    assert found >= 18
    for wrong in (data[:-3], b"\x02\x00", b"", b"\xff\x7f\x01"):
        with pytest.raises(ValueError, match="the data"):
            bits_back_decode(model, wrong)
    with pytest.raises(ValueError, match="from another model"):
        bits_back_decode(other, data)


def test_bins_have_equal_mass_and_medians_inside():
    loc, scale = torch.tensor([0.5, -2.0]), torch.tensor([2.0, 0.1])
    bins = Bins(loc, scale, 8)
    table, number, event = code_of(DiagonalNormal(loc[None], scale.log()[None], 1), bins)
    np.testing.assert_allclose(table, 1 / 8, atol=1e-7)
    for symbols in itertools.product(range(8), repeat=2):
        z = event(torch.tensor(symbols))
        assert z.shape == (1, 2) and number(z).tolist() == list(symbols)
        below = torch.distributions.Normal(loc, scale).cdf(z[0])
        torch.testing.assert_close(below, (torch.tensor(symbols) + 0.5) / 8, atol=1e-5, rtol=0)
    q = DiagonalNormal(torch.tensor([[1.0, -1.9]]), torch.tensor([[-1.0, -3.0]]), 1)
    table = code_of(q, bins)[0]
    draws = q.sample((20_000,))[:, 0]
    places = torch.searchsorted(bins.edges, draws.double().T.contiguous())
    for d in range(2):
        share = torch.bincount(places[d], minlength=8).numpy() / 20_000
        assert (abs(share - table[d]) < 4.5 * np.sqrt(table[d] * (1 - table[d]) / 20_000) + 1e-9).all()


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


def test_tables_are_those_of_torch():
    x = torch.arange(6.0)
    p = ConditionalDiscretizedLogistic((2,), nn.Linear(3, 4), levels=6).distribution(torch.randn(1, 3))
    table = code_of(p, None)[0]
    for d in range(2):
        np.testing.assert_allclose(table[d], p.base_dist.log_prob(x[:, None, None]).exp()[:, 0, d].detach(), rtol=1e-6)


def test_refusals():
    model, x = built("gaussian")
    flow = Flow([Affine((12,))], StandardNormal((12,)))
    with pytest.raises(TypeError, match="every layer of a chain must draw"):
        bits_back_encode(flow, torch.zeros(2, 12))
    with pytest.raises(TypeError, match="this chain has none"):
        bits_back_encode(Flow([], StandardNormal((2,))), torch.zeros(2, 2))
    with pytest.raises(TypeError, match="chain of stochastic layers, but it was given a FVSBN"):
        bits_back_encode(FVSBN((12,)), x)
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
    far = VAE(model.pair.encoder, model.pair.decoder, _Far())
    with pytest.raises(ValueError, match="take fewer"):
        bits_back_encode(far, x[:2])


class _Far(FactorisedBernoulli):
    """A Gaussian at a million, a thousandth wide."""

    def __init__(self):
        super().__init__((3,))

    def distribution(self, context=None):
        return DiagonalNormal(torch.full((3,), 1e6), torch.full((3,), math.log(1e-3)), 1)
