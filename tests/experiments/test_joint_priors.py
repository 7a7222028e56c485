"""The script behind chapter 11's table of priors: its networks, its objective, and a run on a few digits."""

import json
import sys

import pytest
import torch

from lvmlib.data import load
from lvmlib.experiments import priors as script


@pytest.fixture
def few(monkeypatch):
    """120 digits in place of all."""

    def of_few(*args, **kwargs):
        return tuple(part.subset(slice(0, 120)) for part in load(*args, **kwargs))

    monkeypatch.setattr(script, "load", of_few)
    monkeypatch.setattr(script, "COMPONENTS", 7)
    monkeypatch.setitem(script.SCHEDULES, "short", script.Schedule(2, 1, 1e-3, None, 5, 20))


def run(monkeypatch, *options):
    monkeypatch.setattr(sys, "argv", ["priors", *options])
    script.main()


def test_a_gate_multiplies_half_of_a_layer_by_the_logistic_of_the_other():
    torch.manual_seed(0)
    layer, x = script.Gated(3, 5), torch.randn(4, 3)
    a, b = layer.both(x).chunk(2, 1)
    assert torch.allclose(layer(x), a / (1 + (-b).exp()))


@pytest.mark.parametrize("name", script.PRIORS)
def test_every_prior_gives_a_density_of_the_codes_and_is_trained(few, monkeypatch, tmp_path, name):
    monkeypatch.setattr(script, "SHIPPED", tmp_path)
    run(monkeypatch, name)
    record = json.loads((tmp_path / f"priors_mnist_{name}_short.json").read_text("utf-8"))
    assert 100 < record["test_nll_nats"] < 784 * 0.6931 + 50 and record["steps"] == 2
    terms = record["surgery"]
    assert abs(terms["mutual_information"] + terms["marginal_kl"] - terms["rate"]) < 3
    each = record["test_nll_each"]
    assert len(each) == 20 and sum(each) / 20 == pytest.approx(record["test_nll_nats"], abs=0.01)
    assert 0 < record["test_rate"] < terms["rate"] + 3
    model = script.model_of(name, torch.zeros(7, 1, 28, 28))
    assert record["parameters"] == sum(p.numel() for p in model.parameters())
    assert [path.name for path in tmp_path.iterdir()] == [f"priors_mnist_{name}_short.json"]


def test_a_record_that_is_there_is_not_made_again(few, monkeypatch, tmp_path):
    (tmp_path / "there.json").write_text("{}")
    run(monkeypatch, "normal", "--out", str(tmp_path / "there.json"))
    assert (tmp_path / "there.json").read_text() == "{}"


def test_the_full_schedule_stops_early_on_the_bound_and_not_on_the_warmed_one(few, monkeypatch, tmp_path):
    monkeypatch.setitem(script.SCHEDULES, "full", script.Schedule(3, 2, 1e-3, 2, 5, 20))
    heard = {}

    def heard_fit(model, data, loss, **options):
        heard.update(options)
        return fit(model, data, loss, **options)

    fit = script.fit
    monkeypatch.setattr(script, "fit", heard_fit)
    run(monkeypatch, "vamp", "--schedule", "full", "--out", str(tmp_path / "full.json"))
    assert heard["valid_loss"] is script.negative_elbo and heard["patience"] == 2 and heard["lr"] == 1e-3
