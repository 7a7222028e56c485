"""Every model under torch's default dtype float64, and every latent model with weights of half precision."""

import pytest
import torch

import lvmlib
from lvmlib import autoregressive as ar
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalDiscretizedLogistic,
    ConditionalNormal,
    MixtureOfGaussians,
    StandardNormal,
)
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.toys import TOYS
from tests.autoregressive.cases import CASES

FAMILIES = {"coins": {}, "context": {"context": 3}, "tables": {"levels": 5}, "logistics": {"levels": 5, "logistics": 2}}


@pytest.fixture
def double_precision():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def built(name, family):
    if name == "transformer waves":
        return ar.CausalTransformer((8,), 4, 2, 1, positions="waves", **FAMILIES[family])
    if name == "patches waves":
        return ar.PatchTransformer((1, 4, 4), 2, 4, 2, 1, positions="waves", **FAMILIES[family])
    return CASES[name].build(CASES[name].channels[0], **FAMILIES[family])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [*CASES, "transformer waves", "patches waves"])
def test_autoregressive_models_in_double_precision(name, family, double_precision):
    if "embedding" in name and family == "logistics":
        pytest.skip("codes are no magnitudes")
    model = built(name, family)
    assert {t.dtype for t in model.state_dict().values() if t.is_floating_point()} == {torch.float64}
    labels = None if model.context_shape is None else torch.tensor([0, 1, 2])
    for dtype in (torch.float64, torch.float32, torch.uint8):
        x = torch.randint(model.levels, (3, *model.event_shape)).to(dtype)
        value = model.log_prob(x, labels)
        assert value.dtype == torch.float64 and value.isfinite().all()
        assert model.complete(x, 2, labels).dtype == model.sample(3, labels).dtype == torch.float64
    lvmlib.fit(model, x if labels is None else (x, labels), steps=1, batch_size=2, progress=False)


@pytest.mark.parametrize("name", TOYS)
def test_toys_in_double_precision(name, double_precision):
    density = TOYS[name]()
    x = density.sample(4)
    assert x.dtype == density.log_prob(x).dtype == torch.float64


@pytest.mark.parametrize("binarize", ["static", "stochastic"])
def test_bits_are_float32_whatever_the_default(binarize, double_precision):
    train, valid, test = lvmlib.load("digits", binarize=binarize)
    for split in (train, valid, test, train.fixed(0)):
        assert split.batch(slice(0, 2)).dtype == split.unit().x.dtype == torch.float32


def vae(decoder):
    torch.manual_seed(0)
    likelihoods = {
        "coins": ConditionalBernoulli((6,), MLP(2, (8,), 6)),
        "normal": ConditionalNormal((6,), MLP(2, (8,), 12)),
        "fixed": ConditionalNormal((6,), MLP(2, (8,), 6), scale=0.5),
        "learned": ConditionalNormal((6,), MLP(2, (8,), 6), scale="learned"),
        "logistic": ConditionalDiscretizedLogistic((6,), MLP(2, (8,), 12), levels=16),
    }
    prior = MixtureOfGaussians((2,), 3) if decoder == "fixed" else StandardNormal((2,))
    return VAE(ConditionalNormal((2,), MLP(6, (8,), 4)), likelihoods[decoder], prior)


DECODERS = ["coins", "normal", "fixed", "learned", "logistic"]


@pytest.mark.parametrize("decoder", DECODERS)
def test_latent_models_in_double_precision(decoder, double_precision):
    model, x = vae(decoder), (torch.rand(4, 6) < 0.5).to(torch.float32)  # as load gives it
    for value in (lvmlib.elbo(model, x), lvmlib.iwae(model, x, 3), lvmlib.log_likelihood(model, x, 9), model.sample(2)):
        assert value.dtype == torch.float64
    lvmlib.fit(model, x, steps=1, batch_size=2, progress=False)


@pytest.mark.parametrize("short", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("decoder", DECODERS)
def test_weights_of_half_precision_compute_densities_in_single(decoder, short):
    """The same numbers as a model in float32 whose weights were rounded, but for what the networks round inside."""
    model = vae(decoder).to(short)
    rounded = vae(decoder).to(short).float()
    x = (torch.rand(4, 6) < 0.5).float()
    for given in (x, x.to(short)):
        torch.manual_seed(1)
        value = lvmlib.log_likelihood(model, given, 2000)
        torch.manual_seed(1)
        expected = lvmlib.log_likelihood(rounded, x, 2000)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected, atol=0.05, rtol=0.01)
        assert lvmlib.elbo(model, given).dtype == model.sample(3).dtype == model.trace(given).z.dtype == torch.float32
    lvmlib.elbo(model, x).sum().backward()
    assert all(p.grad.dtype == short and p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("short", [torch.bfloat16, torch.float16])
def test_a_sum_over_many_positions_keeps_its_precision(short):
    """784 coins: in bfloat16 the sum alone would be off by more than a nat."""
    torch.manual_seed(0)
    density = ConditionalBernoulli((784,), torch.nn.Linear(2, 784)).to(short)
    z, x = torch.zeros(5, 2), (torch.rand(5, 784) < 0.5).float()
    logits = density.network.bias.double()
    exact = torch.distributions.Bernoulli(logits=logits).log_prob(x.double()).sum(1)
    torch.testing.assert_close(density.log_prob(x, z).double(), exact, atol=1e-3, rtol=0)
    rare = ConditionalBernoulli((1,), torch.nn.Linear(1, 1)).to(short)
    with torch.no_grad():
        rare.network.weight.zero_()
        rare.network.bias.fill_(-6.9)
    share = rare.sample(400_000, torch.zeros(400_000, 1)).mean().item()
    assert share == pytest.approx(torch.sigmoid(rare.network.bias.detach().float()).item(), rel=0.2)


def test_prior_densities_in_half_precision():
    torch.manual_seed(0)
    mixture = MixtureOfGaussians((2,), 3).bfloat16()
    x = torch.randn(4, 2)
    assert mixture.log_prob(x.bfloat16()).dtype == mixture.sample(2).dtype == torch.float32
    torch.testing.assert_close(mixture.log_prob(x), MixtureOfGaussians.log_prob(mixture.float(), x))
    normal = StandardNormal((2,)).bfloat16()
    assert normal.log_prob(x.bfloat16()).dtype == normal.sample(2).dtype == torch.float32
