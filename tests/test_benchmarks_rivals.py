"""What the benchmarks set beside ours computes the same, and the models that are timed are those that are shipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]

common = pytest.importorskip("benchmarks.common", reason="the benchmarks are not shipped with the library")

from benchmarks import (  # noqa: E402
    likelihood,
    plain,
    plain_transformer,
    plain_vae,
    quality,
    rivals,
    sampling,
    training_step,
)
from benchmarks.models import MODELS  # noqa: E402
from lvmlib import bounds  # noqa: E402
from lvmlib.autoregressive import MADE, CausalTransformer, PixelCNN  # noqa: E402
from lvmlib.experiments import binary_mnist  # noqa: E402
from lvmlib.experiments.vae_mnist import vae_mnist  # noqa: E402

RIVALS = ROOT / ".venv" / "rivals"


def test_plain_made_is_our_made():
    torch.manual_seed(0)
    ours, theirs = MADE((1, 4, 4), hidden=(20, 20)), plain.plain_made(16, 20)
    layers = [layer for layer in theirs if isinstance(layer, torch.nn.Linear)]
    for layer, other in zip([*ours.net.layers, ours.net.output], layers, strict=True):
        assert torch.equal(layer.mask, other.mask)
        other.load_state_dict(layer.state_dict(), strict=False)
    x = torch.randint(2, (5, 1, 4, 4)).float()
    torch.testing.assert_close(training_step.our_nll(ours, x), plain.nll(theirs, x))


def test_plain_pixelcnn_is_our_pixelcnn():
    torch.manual_seed(0)
    ours, theirs = PixelCNN((1, 6, 6), channels=4, layers=2), plain.plain_pixelcnn(4, 2)
    blocks = [conv for row in zip(ours.reduce, ours.spread, ours.expand) for conv in row]
    convs = [module for module in theirs.modules() if isinstance(module, torch.nn.Conv2d)]
    for conv, other in zip([ours.first, *blocks, *ours.head, ours.last], convs, strict=True):
        with torch.no_grad():
            other.weight[:, :, : conv.weight.shape[2]] = conv.weight  # ours has no rows below the centre
            other.bias.copy_(conv.bias)
    x = torch.randint(2, (5, 1, 6, 6)).float()
    torch.testing.assert_close(training_step.our_nll(ours, x), plain.nll(theirs, x))


def both_vaes():
    torch.manual_seed(0)
    ours = vae_mnist()
    theirs = training_step.same_start(plain_vae.PlainVAE(), ours)
    return ours, theirs, torch.randint(2, (6, 1, 28, 28)).float()


@pytest.mark.parametrize("bound", ["elbo", "iwae"])
def test_plain_bounds_are_our_bounds(bound):
    """Same weights, same noise: same value and same gradients, which are computed in different ways."""
    ours, theirs, x = both_vaes()
    k = () if bound == "elbo" else (5,)
    values = []
    for module, model in ((bounds, ours), (plain_vae, theirs)):
        torch.manual_seed(1)
        values.append(getattr(module, bound)(model, x, *k))
        values[-1].mean().backward()
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-3)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rows", [4, 7, 1000])
def test_plain_likelihood_is_one_large_importance_weighted_bound(rows):
    _, theirs, x = both_vaes()
    torch.nn.init.zeros_(theirs.decoder[-1].weight)  # pixels do not depend on z: every estimate is exact but for q
    with torch.no_grad():
        theirs.encoder[-1].weight.zero_()
        theirs.encoder[-1].bias.zero_()  # and q is the prior
        exact = -torch.nn.functional.binary_cross_entropy_with_logits(
            theirs.decoder[-1].bias.expand(6, -1), x.flatten(1), reduction="none"
        ).sum(1)
    torch.testing.assert_close(plain_vae.log_likelihood(theirs, x, k=10, rows=rows), exact, rtol=1e-5, atol=1e-3)


@torch.no_grad()
def test_plain_likelihood_puts_its_pieces_together():
    """Three pieces of four draws each are three bounds whose mean probability counts."""
    _, theirs, x = both_vaes()
    torch.manual_seed(2)
    found = plain_vae.log_likelihood(theirs, x, k=12, rows=24)
    torch.manual_seed(2)
    pieces = torch.stack([plain_vae.iwae(theirs, x, 4) for _ in range(3)]).double()
    torch.testing.assert_close(found.double(), pieces.exp().mean(0).log(), rtol=1e-6, atol=1e-4)


def test_memory_is_counted():
    """Fifty draws of a hundred pictures by hand: pieces of a thousand rows of 784 floats, and not all five thousand."""
    used = likelihood.memory("plain", 100, 50)
    piece = 1000 * 784 * 4 / 2**20
    assert 0.9 * piece < used < 4 * 5 * piece


def test_the_plain_transformer_is_our_transformer():
    torch.manual_seed(0)
    ours = CausalTransformer((1, 4, 4), channels=16, heads=2, layers=2, positions="axes").eval()
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(0.1 * torch.randn_like(p))  # or most of it begins near 0
        theirs = plain_transformer.same_weights(ours)
        x = torch.randint(2, (5, 1, 4, 4)).float()
        walked, logits = theirs.sample(5, x.flatten(1))
        torch.testing.assert_close(logits, ours.predict(x).flatten(1))
    assert torch.equal(walked, x.flatten(1))
    drawn, _ = theirs.sample(2000)
    torch.testing.assert_close(drawn.mean(0), ours.sample(2000).flatten(1).mean(0), rtol=0, atol=0.08)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "GatedPixelCNN"])  # it is timed at PixelCNN's size
def test_the_models_that_are_timed_are_those_that_are_shipped(name):
    others = {"CausalTransformer": "transformer", "PatchTransformer": "patch_transformer"}
    key = others.get(name, name.lower())
    ours, theirs = MODELS[name](28), binary_mnist.MODELS[key]()
    assert type(ours).__name__ == type(theirs).__name__ == name
    assert str(ours) == str(theirs)  # layers and their sizes
    shapes, shipped = ({k: v.shape for k, v in model.state_dict().items()} for model in (ours, theirs))
    assert shapes == shipped


def test_without_the_cache_is_what_the_library_does_without_it():
    model = MODELS["PixelCNN"](4).eval()
    torch.manual_seed(3)
    whole = sampling.without_cache(model, 5)
    torch.manual_seed(3)
    assert torch.equal(whole, model.sample(5, cache=False))


@pytest.mark.skipif(not RIVALS.exists(), reason="`make benchmarks` installs the other libraries")
def test_all_flows_have_as_many_parameters_and_are_densities():
    code = """
import torch
from benchmarks.flow_rivals import COUPLINGS, MASKED, MASKED_SPLINES, SPLINE_COUPLINGS
from benchmarks.flow_step import masked_splines, of_vectors, spline_couplings
from benchmarks.rivals import pythae_pixelcnn
from lvmlib.flows import maf, realnvp
grid = torch.cartesian_prod(*2 * [torch.linspace(-30, 30, 601)])
kinds = [(of_vectors(realnvp), COUPLINGS), (of_vectors(maf), MASKED)]
kinds += [(spline_couplings, SPLINE_COUPLINGS), (masked_splines, MASKED_SPLINES)]
for ours, others in kinds:
    want = sum(p.numel() for p in ours(2, 4, 8).parameters())
    for name, build in {"ours": ours, **others}.items():
        torch.manual_seed(0)
        flow = build(2, 4, 8)
        if (name, others) != ("zuko", SPLINE_COUPLINGS):  # its network reads all entries through a mask
            assert sum(p.numel() for p in flow.parameters()) == want, name
        with torch.no_grad():
            total = flow.log_prob(grid).double().exp().sum() * 0.01
        assert abs(total - 1) < 0.01, (name, total)
wide, narrow = (pythae_pixelcnn(4, 2, channels).net for channels in (64, 63))
shapes = [[tuple(p.shape) for p in net.parameters()] for net in (wide, narrow)]
assert shapes[0] == [tuple(64 if d == 63 else d for d in shape) for shape in shapes[1]], shapes
"""
    env = {**os.environ, "PYTHONPATH": f"{RIVALS}{os.pathsep}{ROOT}"}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_rival_that_is_not_here_says_how_it_gets_here():
    with pytest.raises(SystemExit, match="`make benchmarks` installs it"):
        rivals.load("no_such_library")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.726])
def test_the_error_of_a_share_is_what_repeated_votes_show(share):
    torch.manual_seed(0)
    votes = (torch.rand(20_000, 500) < share).float().mean(1)
    assert quality.standard_error(share, 500) == pytest.approx(votes.std().item(), rel=0.03)


def test_neighbours_vote():
    torch.manual_seed(0)
    a, b = torch.randint(2, (2, 400, 30)).float()
    for share in quality.votes(a, b):
        assert share == pytest.approx(0.5, abs=0.1)  # one distribution, full of ties
    assert quality.votes(a, b + 100) == (1, 1)
    samples, real = quality.votes(b + 0.01, b)  # samples that copy: no neighbour is of the own side
    assert samples < 0.1 and real < 0.1
