import math

import pytest
import torch
from torch import nn

from lvmlib.data import Data
from lvmlib.distributions import ConditionalBernoulli, FactorisedCodes
from lvmlib.experiments import code_sizes
from lvmlib.latent import VQVAE


@pytest.fixture
def tiny():
    """Pictures of 2x4 pixels, two codes of three values: all 9 codes and all sums can be written down."""
    torch.manual_seed(0)
    decoder = ConditionalBernoulli((1, 2, 4), nn.ConvTranspose2d(4, 1, 2, 2))
    model = VQVAE(nn.Conv2d(1, 4, 2, 2), decoder, FactorisedCodes((1, 1, 2), levels=3), width=4)
    with torch.no_grad():
        model.codebook.vectors.mul_(0.5)
        model.prior.logits.copy_(torch.randn(1, 1, 2, 3))
    return model.eval()


def joint(model, x):
    """log p(x, z) of all nine codes, [9, B]."""
    z = torch.cartesian_prod(torch.arange(3), torch.arange(3)).float().view(9, 1, 1, 2)
    given = torch.stack([model.quantizer.likelihood(c[None]).log_prob(x) for c in z])
    return given + model.prior.log_prob(z)[:, None]


def test_codes_in_doubt_estimate_the_likelihood_without_bias(tiny):
    x = torch.randint(2, (3, 1, 2, 4)).float()
    with torch.no_grad():
        exact = joint(tiny, x)
        many = x.repeat_interleave(20_000, 0)
        codes, log_q = code_sizes.doubting(tiny, many, doubt=1.5)
        log_w = tiny.quantizer.likelihood(codes).log_prob(many) + tiny.prior.log_prob(codes) - log_q
    w = log_w.exp().view(3, -1).double()
    error = w.std(1) / 20_000**0.5
    assert ((w.mean(1) - exact.logsumexp(0).exp()).abs() < 4 * error).all() and (error < 0.02 * w.mean(1)).all()
    assert len(codes[:20_000].unique(dim=0)) == 9  # it does doubt


def test_without_doubt_the_bound_is_that_of_the_certain_code(tiny, monkeypatch):
    x = torch.randint(2, (50, 1, 2, 4)).float()
    codes, log_q = code_sizes.doubting(tiny, x, doubt=1e-6)
    assert torch.equal(codes, tiny.codes(x)) and log_q.abs().max() < 1e-6
    monkeypatch.setattr(code_sizes, "DOUBTS", (1e-6, 3.0))
    found = code_sizes.bounds_in_doubt(tiny, x)
    with torch.no_grad():
        certain = -tiny.log_prob(x).mean().item()
    assert found["0"] == pytest.approx(certain, abs=1e-3) and found["1e-06"] == pytest.approx(certain, abs=1e-3)
    with torch.no_grad():
        squares = torch.cdist(tiny.quantizer.encoder(x)[:, :, 0].mT, tiny.codebook.vectors).square()  # [50, 2, 3]
        q = (-squares / (3 * squares.amin(2).mean())).softmax(2)
        q = (q[:, 0, :, None] * q[:, 1, None, :]).flatten(1).T  # of all nine codes, [9, 50]
        exact = (q * (q.log() - joint(tiny, x))).sum(0).mean().item()
    many = code_sizes.bounds_in_doubt(tiny, x.repeat(400, 1, 1, 1))
    assert many["3"] == pytest.approx(exact, abs=0.05) and abs(exact - certain) > 0.2


def test_runs_of_both_kinds(monkeypatch, tmp_path):
    torch.manual_seed(0)
    few = Data(torch.randint(256, (500, 1, 28, 28), dtype=torch.uint8), None, "few", "stochastic")
    for name, value in (("STEPS", 3), ("PRIOR_STEPS", 3), ("OUT", tmp_path / "code_sizes.json"), ("FEW", 5)):
        monkeypatch.setattr(code_sizes, name, value)
    codes = code_sizes.run("vqvae 4", few, few)
    assert codes["uniform_rate"] == pytest.approx(64 * math.log(4), abs=1e-3) and codes["perplexity"] <= 4
    assert codes["rate"] < 1.1 * codes["uniform_rate"] and list(codes["in_doubt"]) == [
        "0",
        *map("{:g}".format, code_sizes.DOUBTS),
    ]
    steps = []
    monkeypatch.setattr(code_sizes, "stage", lambda model, source, loss, n, *rest: steps.append(n) or 0)
    monkeypatch.setattr(code_sizes, "remove_run", lambda out: None)
    found = code_sizes.run("vae short", few, few)
    assert steps == [2] and found["distortion"] > 300 and found["rate"] > 0
    same = code_sizes.same_vae(), code_sizes.vqvae_mnist(4)
    sizes = [sum(p.numel() for p in model.layers[0].decoder.parameters()) for model in same]
    assert sizes[0] == sizes[1]


def test_upper_and_lower_codes_cost_what_both_do(monkeypatch, tmp_path):
    torch.manual_seed(0)
    few = Data(torch.randint(256, (64, 1, 28, 28), dtype=torch.uint8), torch.arange(64) % 10, "few", "stochastic")
    monkeypatch.setattr(code_sizes, "PRIOR_STEPS", 2)
    monkeypatch.setattr(code_sizes, "OUT", tmp_path / "code_sizes.json")
    found = code_sizes.lower_codes(few, few)
    model = code_sizes.vqvae2_mnist()
    code_sizes.load_checkpoint(model, "vqvae2_mnist")
    with torch.no_grad():
        z = model.codes(few.fixed(seed=0).x)
        each = torch.stack([model.prior.log_prob(z, torch.full((64,), y)).double() for y in range(10)])
        top = z[:, :16].view(-1, 1, 4, 4)
        tops = torch.stack([model.prior.top.log_prob(top, torch.full((64,), y)) for y in range(10)])
    both = -(each.exp().mean(0)).log().mean().item()
    assert found["upper"] + found["lower_given_upper"] == pytest.approx(both, abs=0.01)
    assert found["upper"] == pytest.approx(-(tops.double().exp().mean(0)).log().mean().item(), abs=0.01)
    assert 0.8 < found["lower_alone"] / (64 * math.log(64)) < 1.2  # hardly trained
    lower = code_sizes.LowerCodes(model, few, False).batch(torch.arange(5))
    assert lower.shape == (5, 1, 8, 8)
