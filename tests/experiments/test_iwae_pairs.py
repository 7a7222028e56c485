"""The script behind chapter 09's comparison of gradients and encoders: its differences, and a run on a few digits."""

import json
import sys

import pytest
import torch

from lvmlib.bounds import iwae
from lvmlib.data import load
from lvmlib.experiments import iwae_pairs as script


def test_a_difference_is_paired_by_image():
    of = {k: torch.tensor([1.0, 5.0, 9.0, 13.0]) for k in script.DRAWS}
    other = {k: torch.tensor([0.0, 2.0, 8.0, 10.0]) for k in script.DRAWS}  # differences 1, 3, 1, 3: sd 2 / sqrt(3)
    shown = [2.0, pytest.approx(0.577, abs=1e-3)]
    assert script.difference(of, other) == {"L_1": shown, "L_5": shown, "L_500": shown}
    assert script.means({1: of[1]}) == {"L_1": 7.0}


def test_the_bounds_of_an_image_rise_and_the_vaes_target_is_the_first():
    torch.manual_seed(0)
    model, x = script.small_model(), torch.bernoulli(torch.full((20, 1, 28, 28), 0.2))
    found = {k: values.mean().item() for k, values in script.bounds_of(model, x).items()}
    assert found[1] < found[5] < found[500]
    with torch.no_grad():
        assert script.outside(model, x.repeat(50, 1, 1, 1), 5).mean() == pytest.approx(found[1], abs=1)


def test_only_the_given_parameters_climb_and_a_perturbed_copy_is_a_copy():
    torch.manual_seed(0)
    model = script.small_model()
    before = [p.clone() for p in model.parameters()]
    data = load("mnist", binarize="stochastic")[2].subset(slice(0, 40))
    script.climb(model, list(model.pair.encoder.parameters()), iwae, 2, data, 2, 1e-3)
    script.perturbed(model)
    moved = [not torch.equal(p, q) for p, q in zip(model.parameters(), before)]
    assert moved == ["encoder" in name for name, _ in model.named_parameters()] and sum(moved) == 4


def test_a_run_from_the_command_line_to_the_record_and_no_second_one(monkeypatch, tmp_path):
    def of_few(*args, **kwargs):
        return tuple(part.subset(slice(0, 40)) for part in load(*args, **kwargs))

    monkeypatch.setattr(script, "load", of_few)
    for name, value in {"STEPS": 2, "REFIT_STEPS": 2, "IMAGES": 20, "GRADIENTS": 3}.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr(script, "OUT", tmp_path / "pairs.json")
    monkeypatch.setattr(sys, "argv", ["iwae_pairs", "--seed", "3"])
    script.main()
    text = (tmp_path / "pairs.json").read_text("utf-8")
    found = json.loads(text)["seeds"]["3"]
    assert list(found["minus_iwae"]) == list(found["bounds"])[2:] and len(found["bounds"]) == 5
    assert set(found["noise"]) == {"IWAE", "VAE", "IWAE, perturbed"}
    monkeypatch.setattr(script, "trained", None)  # calling it would fail
    script.main()
    assert (tmp_path / "pairs.json").read_text("utf-8") == text
