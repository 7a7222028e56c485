"""The recipe of ours beside the published table: its bounds, its rate, and a run on a few digits."""

import json
import sys

import pytest
import torch

from lvmlib.bounds import elbo, iwae
from lvmlib.data import load
from lvmlib.experiments import iwae_recipe as script
from lvmlib.experiments.iwae import burda


def run(monkeypatch, folder, *options):
    """On 300 digits in place of 60,000; the record that it leaves."""

    def of_few(*args, **kwargs):
        return tuple(part.subset(slice(0, 300)) for part in load(*args, **kwargs))

    monkeypatch.setattr(script, "load", of_few)
    monkeypatch.setattr(script, "SHIPPED", folder)
    monkeypatch.setattr(sys, "argv", ["iwae_recipe", *options, "--draws", "20"])
    script.main()
    (path,) = folder.iterdir()  # nothing else is left
    return path.name, json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("k", [1, 7])
def test_the_bound_is_the_library_s_but_for_the_precision_of_the_networks(k):
    torch.manual_seed(0)
    model, x = burda(), torch.bernoulli(torch.full((3, 1, 28, 28), 0.2))
    torch.manual_seed(1)
    value = script.negative_bound(model, x, k)
    torch.manual_seed(1)
    exact = -(elbo(model, x) if k == 1 else iwae(model, x, k))
    assert value.dtype == torch.float32 and torch.allclose(value, exact, rtol=3e-3)


def test_the_rate_stays_and_then_falls_to_zero():
    rates = [script.learning_rate(2e-3, 1000, 3000, step) for step in (0, 499, 999, 2000, 2999)]
    assert rates == pytest.approx([4e-6, 2e-3, 2e-3, 1e-3, 0], abs=1e-8)


def test_a_run_from_the_command_line_to_the_record(monkeypatch, tmp_path):
    seen = []

    def watched(model, x, k):
        seen.append(k)
        return bound(model, x, k)

    bound = script.negative_bound
    monkeypatch.setattr(script, "negative_bound", watched)
    name, record = run(monkeypatch, tmp_path, "--k", "3", "--first", "2", "--passes", "4")
    assert seen == [5] * 6 + [3] * 12
    assert name == "iwae_3_recipe.json" and (record["passes"], record["passes_with_five_draws"]) == (6, 2)
    assert 50 < record["test_nll_nats"] < 784 * 0.6931 and record["training_minutes"] >= 0


def test_minutes_of_an_interrupted_run_add_up(monkeypatch, tmp_path):
    monkeypatch.setattr(script, "EVERY", 6)

    class Stop(Exception):
        pass

    bound, calls = script.negative_bound, []

    def stops(model, x, k):
        calls.append(k)
        if len(calls) == 10:
            raise Stop
        return bound(model, x, k)

    monkeypatch.setattr(script, "negative_bound", stops)
    with pytest.raises(Stop):
        run(monkeypatch, tmp_path, "--passes", "6")
    (tmp_path / "vae_1_recipe.minutes").write_text("60", encoding="utf-8")
    name, record = run(monkeypatch, tmp_path, "--passes", "6")
    assert len(calls) == 10 + 18 - 6  # from the checkpoint on
    assert name == "vae_1_recipe.json" and 60 <= record["training_minutes"] < 61
