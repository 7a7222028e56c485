import json
import math

import pytest
import torch

from lvmlib.data import Data
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.experiments import bits_on_disk, codebooks, codes_mnist, pixel_decoders
from lvmlib.latent import VAE


@pytest.fixture
def few():
    """A few pictures of noise in place of MNIST."""
    torch.manual_seed(0)
    x = torch.randint(256, (30, 1, 28, 28), dtype=torch.uint8)
    return Data(x, torch.arange(30) % 10, "few", "stochastic")


@pytest.mark.parametrize("build", [lambda: codes_mnist.vqvae_mnist(8, classes=10), lambda: codes_mnist.vqvae2_mnist(8)])
def test_the_price_without_a_class_is_that_of_the_mixture_of_classes(few, build):
    torch.manual_seed(0)
    model = build().eval()
    x, z = few.fixed(seed=0).x, model.codes(few.fixed(seed=0).x)
    with torch.no_grad():
        for p in model.prior.parameters():
            p.add_(0.1 * torch.randn_like(p))
        found = codes_mnist.price(model, few)
        shares = torch.stack([(model.prior.log_prob(z, torch.full((30,), y))).double().exp() for y in range(10)])
        told = -model.prior.log_prob(z, few.y).mean()
        pixels = -(model.log_prob(x, few.y) - model.prior.log_prob(z, few.y)).mean()
    assert found["rate"] == pytest.approx(-shares.mean(0).log().mean().item(), abs=1e-3)
    assert found["rate_given_class"] == pytest.approx(told.item(), abs=1e-3)
    assert found["distortion"] == pytest.approx(pixels.item(), rel=1e-5)
    assert found["classes_right"] == pytest.approx((shares.argmax(0) == few.y).double().mean().item(), abs=1e-4)
    assert abs(found["rate"] - found["rate_given_class"]) > 1e-3 and found["rate"] != pytest.approx(
        math.log(8) * z[0].numel()
    )


def test_a_prior_without_classes_costs_what_it_says(few):
    torch.manual_seed(0)
    model = codes_mnist.vqvae_mnist(8).eval()
    found = codes_mnist.price(model, few)
    with torch.no_grad():
        bound = -model.log_prob(few.fixed(seed=0).x).mean().item()
    assert found["distortion"] + found["rate"] == pytest.approx(bound, rel=1e-5) and set(found) == {
        "distortion",
        "rate",
    }


def test_a_run_of_a_book_and_the_better_rate(few, monkeypatch):
    monkeypatch.setattr(codebooks, "STEPS", 6)
    monkeypatch.setattr(codebooks, "EVERY", 3)
    monkeypatch.setattr(codebooks, "BATCH", 10)
    x = few.fixed(seed=0).x
    found = codebooks.run(codebooks.WAYS["running means, start on features"], 1e-3, 0, few, x, x)
    assert len(found["perplexity_of_200"]) == 2 and found["valid_distortion"] == found["test_distortion"] < 600
    runs = {"a; 0.001; 0": {"valid_distortion": 2.0}, "a; 0.003; 0": {"valid_distortion": 1.0}}
    assert codebooks.best_rate(runs, "a") == 3e-3
    gradient, means = (codebooks.model(**codebooks.WAYS[way]) for way in ("gradient", "running means"))
    assert sum(p is gradient.codebook.vectors for p in gradient.parameters()) == 1
    assert all(p is not means.codebook.vectors for p in means.parameters())


def test_a_small_start_has_small_vectors_in_its_way_alone(few, monkeypatch):
    small = codebooks.model()
    codebooks.make_small(small.codebook)
    vectors = small.codebook.vectors
    assert 1 / 600 < vectors.max() <= 1 / 512 and -1 / 512 <= vectors.min() < -1 / 600
    assert torch.equal(small.codebook.sums, vectors)
    monkeypatch.setattr(codebooks, "STEPS", 1)
    monkeypatch.setattr(codebooks, "BATCH", 10)
    made: list[object] = []
    monkeypatch.setattr(codebooks, "make_small", made.append)
    x = few.fixed(seed=0).x[:5]
    for way, times in (("gradient", 0), ("gradient, small start", 1)):
        codebooks.run(codebooks.WAYS[way], 1e-3, 0, few, x, x)
        assert len(made) == times


def test_grey_levels_and_the_two_decoders_share_their_trunk(few):
    grey = pixel_decoders.grey(few)
    assert set(grey.x.unique().tolist()) == set(map(float, range(8)))
    assert (grey.x == (few.x // 32)).all()
    torch.manual_seed(0)
    squares, pixels = (pixel_decoders.autoencoder(10, by_pixels) for by_pixels in (False, True))
    for model in (squares, pixels):
        found = pixel_decoders.of_autoencoder(model, grey)
        assert found["test_nats_given_code"] == pytest.approx(model.loss(grey.x).mean().item(), rel=1e-4)
    error = (squares.mean(grey.x) - grey.x).square().sum((1, 2, 3)).mean() / 49
    assert pixel_decoders.of_autoencoder(squares, grey)["test_squared_error"] == pytest.approx(error.item(), abs=1e-3)
    constant = 784 * (0.5 * math.log(2 * math.pi) + math.log(7))
    assert squares.loss(grey.x).mean().item() == pytest.approx(error.item() / 2 + constant, rel=1e-4)
    sizes = [sum(p.numel() for p in model.encoder.parameters()) for model in (squares, pixels)]
    assert sizes[0] == sizes[1]


def test_bits_on_disk_of_a_small_model():
    torch.manual_seed(0)
    encoder = ConditionalNormal((2,), torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 4)))
    vae = VAE(encoder, ConditionalBernoulli((1, 28, 28), torch.nn.Linear(2, 784)), StandardNormal((2,)))
    x = vae.sample(20)
    found = bits_on_disk.on_disk(vae, x, bins=256, rows=20)  # all z from random bits; later ones would be dirty
    with torch.no_grad():
        log_w = vae.log_weights(x, 500) / math.log(2)
    spread = log_w.var(0).sum().sqrt().item() / 20  # of the mean of 20 draws, one for each image
    assert found["exact"] and abs(found["net_bits"] - found["elbo_bits"]) < 4 * spread < 0.5 * found["elbo_bits"]
    assert found["elbo_bits"] == pytest.approx(-log_w.mean().item(), rel=0.05)
    assert found["bits"] == pytest.approx(found["net_bits"] + found["initial_bits"] / 20, abs=1e-2)
    assert bits_on_disk.by_others(x)["one bit per pixel"] == 784


def test_records_agree_with_themselves():
    from lvmlib.checkpoints import SHIPPED

    for path in SHIPPED.glob("vqvae*.json"):
        record = json.loads(path.read_text("utf-8"))
        assert record["test_nll_nats"] == pytest.approx(record["test"]["rate"] + record["test"]["distortion"], abs=2e-3)
    runs = json.loads((SHIPPED / "codebooks.json").read_text("utf-8"))["runs"]
    assert len(runs) == len(codebooks.WAYS) * (len(codebooks.RATES) + len(codebooks.SEEDS) - 1)
    files = json.loads((SHIPPED / "bits_on_disk.json").read_text("utf-8"))["runs"]
    for rows in files.values():
        for row in rows:
            assert row["exact"] and (row["net_bits"] < row["bits"]) == (row["initial_bits"] > 0)
            if row["bins"] >= 64:
                assert row["net_bits"] == pytest.approx(row["elbo_bits"], rel=0.02)
