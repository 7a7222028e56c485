"""The script behind chapter 11's bars: what it measures, by other means, and a run on a few digits."""

import json
import math
import sys

import pytest
import torch

from lvmlib.bounds import elbo
from lvmlib.data import load
from lvmlib.experiments import surgery_terms as script


def test_the_terms_add_up_and_the_ceiling_holds():
    torch.manual_seed(0)
    model, x = script.small_model(), torch.bernoulli(torch.full((40, 1, 28, 28), 0.2))
    with torch.no_grad():  # an encoder that tells all 40 apart
        model.pair.encoder.network[-1].bias[script.LATENTS :] = -6.0
    found = script.measured(model, x, x)
    assert found["train_mutual_information"] == pytest.approx(math.log(40), abs=1e-3)
    cut = found["train_mutual_information"] + found["train_marginal_kl"]
    assert cut == pytest.approx(found["train_rate"], rel=0.05)
    assert found["test_rate_of_the_aggregate"] == pytest.approx(math.log(40), abs=1e-3)  # the same images
    with torch.no_grad():
        bound = elbo(model, x, k=50).mean().item()
    assert -found["test_distortion"] - found["test_rate"] == pytest.approx(bound, rel=0.02)


def test_a_run_from_the_command_line_to_the_record_and_no_second_one(monkeypatch, tmp_path, capsys):
    def of_few(*args, **kwargs):
        return tuple(part.subset(slice(0, 120)) for part in load(*args, **kwargs))

    monkeypatch.setattr(script, "load", of_few)
    changes = {"BETAS": (0.5, 2.0), "EXAMPLES": 110, "STEPS": 2, "TEST": 20, "DRAWS": 5, "PAIRS": 50}
    for name, value in changes.items():
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr(script, "OUT", tmp_path / "terms.json")
    monkeypatch.setattr(sys, "argv", ["surgery_terms"])
    script.main()
    found = json.loads((tmp_path / "terms.json").read_text("utf-8"))
    assert list(found["betas"]) == ["0.5", "2"] and found["examples"] == 110
    capsys.readouterr()
    script.main()
    assert capsys.readouterr().out == ""
