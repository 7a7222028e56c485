"""The scripts behind the later parts of chapter 08: factors of variation, posteriors, convolutional VAEs."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from lvmlib.bounds import elbo, log_likelihood
from lvmlib.checkpoints import SHIPPED, load_checkpoint
from lvmlib.data import load
from lvmlib.experiments import factors, posteriors, vae_convolutional


def test_no_two_pictures_of_factors_agree_and_none_is_cut_off():
    x, values = factors.factor_images()
    assert len(x) == math.prod(factors.SIZES) == len(torch.unique(values, dim=0))
    assert len(torch.unique(x.flatten(1), dim=0)) == len(x)
    ink = x.amax(1).flatten(1).sum(1)
    for shape in range(3):
        for size in range(3):  # as much ink wherever it stands and whatever its colour
            assert ink[(values[:, 0] == shape) & (values[:, 2] == size)].unique().numel() == 1


def test_a_latent_for_each_factor_has_a_gap_of_one_and_mixed_latents_have_less():
    torch.manual_seed(0)
    values = factors.factor_images()[1]
    mean = values.double() + 0.0
    scale = torch.full_like(mean, 1e-2)
    own = factors.code_information(mean, scale, values)
    torch.testing.assert_close(own, torch.diag(torch.tensor(factors.SIZES).log()), atol=0.02, rtol=0)
    assert factors.mutual_information_gap(own) == pytest.approx(1, abs=0.01)
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    mixed = factors.code_information(mean @ turn.T, (scale.square() @ turn.T.square()).sqrt(), values)
    assert factors.mutual_information_gap(mixed) < 0.5


def test_information_of_a_noisy_code_agrees_with_a_histogram():
    torch.manual_seed(0)
    values = factors.factor_images()[1]
    mean = values[:, [3]].double()
    found = factors.code_information(mean, torch.full_like(mean, 0.7), values)[0]
    z = (mean.repeat(100, 1) + 0.7 * torch.randn(100 * len(mean), 1)).squeeze().numpy()
    bins = np.digitize(z, np.linspace(-3, 10, 120))
    assert found[3] == pytest.approx(mutual_info_score(values[:, 3].repeat(100), bins), abs=0.05)
    assert found[[0, 1, 2, 4]].abs().max() < 0.02


def test_factor_runs_are_made_once(monkeypatch, tmp_path):
    monkeypatch.setattr(factors, "factor_images", lambda images=factors.factor_images: tuple(t[::9] for t in images()))
    arguments = ["factors", "--betas", "1", "4", "--seeds", "1", "--steps", "2", "--out", str(tmp_path / "factors")]
    monkeypatch.setattr(sys, "argv", arguments)
    factors.main()
    text = (tmp_path / "factors.json").read_text("utf-8")
    found = json.loads(text)
    assert list(found["runs"]) == ["1", "4"] and found["weights"] and (tmp_path / "factors.safetensors").exists()
    monkeypatch.setattr(factors, "trained", None)  # calling it would fail
    factors.main()
    assert (tmp_path / "factors.json").read_text("utf-8") == text


def test_the_shipped_factor_model_does_what_its_record_says():
    model = factors.factor_vae()
    record = load_checkpoint(model, "factors")
    found = factors.alignment(model, *factors.factor_images())
    first = record["runs"]["1"][0]
    assert found["elbo"] == pytest.approx(first["elbo"], abs=0.05)
    assert found["mig"] == pytest.approx(first["mig"], abs=0.005)
    assert found["mig_rotated"] == pytest.approx(first["mig_rotated"], abs=0.01)


def test_families_are_trained_alike_and_once(monkeypatch, tmp_path):
    def of_few(*args, **kwargs):
        return tuple(part.subset(slice(0, 200)) for part in load(*args, **kwargs))

    monkeypatch.setattr(posteriors, "load", of_few)
    out = tmp_path / "posteriors.json"
    monkeypatch.setattr(sys, "argv", ["posteriors", "--steps", "2", "--seeds", "1", "--images", "3", "--out", str(out)])
    posteriors.main()
    text = out.read_text("utf-8")
    written = json.loads(text)
    runs = written["runs"]
    assert list(runs) == list(written["parameters"]) == list(posteriors.FAMILIES)
    assert written["parameters"]["Gaussian"] == 784 * 200 + 200 + 200 * 40 + 40 + 20 * 200 + 200 + 200 * 784 + 784
    assert all(run["elbo"] < run["log_likelihood"] < 0 for (run,) in runs.values())
    monkeypatch.setattr(posteriors, "measured", None)
    posteriors.main()
    assert out.read_text("utf-8") == text


def test_shipped_plain_weights_give_what_the_record_says():
    model = vae_convolutional.convolutional_vae()
    record = load_checkpoint(model, "vae_conv_plain")
    test = load("mnist", binarize="stochastic", valid=0)[2].fixed(seed=0).subset(100)
    torch.manual_seed(0)
    values = -log_likelihood(model, test.x, k=50)
    assert values.mean().item() == pytest.approx(record["test_nll_nats"], abs=4 * values.std().item() / 10)


def test_shipped_conditional_weights_give_what_the_record_says_and_use_the_class():
    model = vae_convolutional.convolutional_vae(10)
    record = load_checkpoint(model, "vae_conv_conditional")
    test = load("mnist", binarize="stochastic", valid=0)[2].fixed(seed=0).subset(100)
    classes = torch.eye(10)[test.y]
    torch.manual_seed(0)
    values = -log_likelihood(model, test.x, k=50, context=classes)
    error = values.std().item() / 10
    assert values.mean().item() == pytest.approx(record["test_nll_nats"], abs=4 * error)
    with torch.no_grad():
        wrong = -elbo(model, test.x, context=classes.roll(1, 1))
    assert wrong.mean() > values.mean() + 10


def test_the_convolutional_script_writes_a_record(monkeypatch, tmp_path):
    def of_few(*args, **kwargs):
        return tuple(part.subset(slice(0, 200)) for part in load(*args, **kwargs))

    monkeypatch.setattr(vae_convolutional, "load", of_few)
    out = tmp_path / "small"
    monkeypatch.setattr(sys, "argv", ["vae_convolutional", "conditional", "--passes", "1", "--out", str(out)])
    monkeypatch.setattr(vae_convolutional.nll_on_test, "__defaults__", (100, 5))
    vae_convolutional.main()
    record = json.loads(out.with_suffix(".json").read_text("utf-8"))
    assert record["steps"] == 2 and "given the class" in record["test_protocol"]
    assert record["parameters"] == sum(p.numel() for p in vae_convolutional.convolutional_vae(10).parameters())


def test_the_record_of_posteriors_holds_two_seeds_of_each_family():
    runs = json.loads((SHIPPED / "posteriors.json").read_text("utf-8"))["runs"]
    assert {name: len(values) for name, values in runs.items()} == dict.fromkeys(posteriors.FAMILIES, 2)
