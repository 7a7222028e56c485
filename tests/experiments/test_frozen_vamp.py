"""The script behind one panel of chapter 11: what is fitted, what is stored, and what the stored weights do."""

import json

import pytest
import torch

from lvmlib.checkpoints import SHIPPED, load_checkpoint
from lvmlib.experiments import frozen_vamp as script
from lvmlib.latent import VampPrior


def test_codes_are_drawn_from_their_means_and_deviations():
    torch.manual_seed(0)
    batch = torch.tensor([[1.0, -2.0, 0.1, 3.0]]).repeat(20_000, 1)
    z = script.draws(batch)
    assert torch.allclose(z.mean(0), batch[0, :2], atol=0.1)
    assert torch.allclose(z.std(0), batch[0, 2:], rtol=0.03)


def test_a_run_fits_the_pseudo_inputs_alone_and_stores_them(monkeypatch, tmp_path, capsys):
    for name, value in {"STEPS": 3, "BATCH": 20, "IMAGES": 60, "COMPONENTS": 7, "OUT": tmp_path / "few"}.items():
        monkeypatch.setattr(script, name, value)
    script.main()
    assert "cross_entropy_nats" in capsys.readouterr().out
    start = script.load("mnist", binarize="stochastic")[0].fixed(seed=0).x[:7]
    stored = script.PseudoInputs(torch.zeros(7, 1, 28, 28))
    record = load_checkpoint(stored, tmp_path / "few")
    moved = (stored.inputs - start).abs()
    assert 0 < moved.max() < 0.1  # three steps of at most 0.02, and the rounding
    assert record["parameters"] == 7 * 784 and record == json.loads((tmp_path / "few.json").read_text("utf-8"))


def test_shipped_weights_do_what_the_record_says():
    stored = script.PseudoInputs(torch.zeros(script.COMPONENTS, 1, 28, 28))
    record = load_checkpoint(stored, script.OUT)
    vae = script.vae_mnist(latents=2)
    load_checkpoint(vae, "vae_mnist_2d")
    bits = script.load("mnist", binarize="stochastic")[0].fixed(seed=0).x[: script.IMAGES]
    with torch.no_grad():
        q = vae.posterior(bits)
    codes = torch.cat([q.mean, q.stddev], 1)
    fitted = VampPrior(vae.pair.encoder, stored.inputs)
    assert script.cross_entropy(fitted, codes) == pytest.approx(record["cross_entropy_nats"], abs=0.01)
    assert script.cross_entropy(VampPrior(vae.pair.encoder, bits[:50]), codes) > record["cross_entropy_nats"] + 0.1
    assert script.OUT.parent == SHIPPED
