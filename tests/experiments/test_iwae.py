"""The script behind the published table: its schedule, its networks, and a run on a few digits."""

import json
import sys

import pytest
import torch

from lvmlib.bounds import elbo, iwae
from lvmlib.data import load
from lvmlib.experiments import iwae as script
from lvmlib.experiments.iwae import burda, learning_rate, negative_bound, passes


@pytest.fixture
def few(monkeypatch):
    """40 digits in place of 60,000."""

    def of_few(*args, **kwargs):
        return tuple(part.subset(slice(0, 40)) for part in load(*args, **kwargs))

    monkeypatch.setattr(script, "load", of_few)


def run(monkeypatch, out, *options):
    monkeypatch.setattr(sys, "argv", ["iwae", *options, "--draws", "20", "--out", str(out)])
    script.main()
    return json.loads(out.read_text("utf-8"))


def test_each_rate_lasts_three_times_as_long_as_the_one_before():
    per_pass = 3000
    steps = [passes(i) * per_pass for i in range(9)]
    assert steps[-1] == 9_840_000 and passes(5) == 121
    for i, step in enumerate(steps[:-1]):
        assert learning_rate(step, per_pass) == pytest.approx(1e-3 * 10 ** (-i / 7))
        assert learning_rate(steps[i + 1] - 1, per_pass) == pytest.approx(1e-3 * 10 ** (-i / 7))


@pytest.mark.parametrize(("layers", "weights"), [(1, 425_284), (2, 521_084)])
def test_the_networks_have_the_published_widths_and_start_at_the_mean(layers, weights):
    torch.manual_seed(0)
    mean = torch.linspace(0, 1, 784)
    model = burda(layers, mean)
    assert sum(p.numel() for p in model.parameters()) == weights
    z = torch.zeros(2, 50 * layers)
    start = model.pairs[0].likelihood(z).mean.flatten(1)  # with no bias elsewhere, a code of 0 brings nothing
    assert torch.allclose(start, mean.clamp(0.001, 0.999).expand(2, -1), atol=1e-6)


def test_the_vae_averages_outside_of_the_logarithm_and_the_iwae_inside():
    torch.manual_seed(0)
    model, x = burda(), torch.bernoulli(torch.full((3, 1, 28, 28), 0.2))
    bounds = {"vae": elbo, "iwae": iwae}
    for name, bound in bounds.items():
        for single in (False, True):
            torch.manual_seed(1)
            value = negative_bound(name, 7, single)(model, x)
            torch.manual_seed(1)
            assert torch.allclose(value, -bound(model, x, 7), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "name"),
    [(("vae",), "vae_1_short"), (("iwae", "--k", "3", "--single", "--layers", "2"), "iwae_3_two_layers_short")],
)
def test_a_run_from_the_command_line_to_the_record(few, monkeypatch, tmp_path, capsys, options, name):
    monkeypatch.setattr(script, "SHIPPED", tmp_path)
    monkeypatch.setattr(sys, "argv", ["iwae", *options, "--draws", "20"])
    script.main()
    record = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))
    assert 50 < record["test_nll_nats"] < 784 * 0.6931 and len(record["active_units"]) == record["layers"]
    assert (record["model"], record["passes"]) == (options[0], 121) and name in capsys.readouterr().out
    assert record["parameters"] == (521_084 if record["layers"] == 2 else 425_284)
    assert "20 draws, 40 test images" in record["test_protocol"]
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.json"]


def test_an_interrupted_run_goes_on(few, monkeypatch, tmp_path):
    whole = run(monkeypatch, tmp_path / "whole.json", "vae")
    fit = script.fit

    def interrupted(*args, steps, **kwargs):
        fit(*args, steps=60, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(script, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(patch, tmp_path / "parts.json", "vae")
    assert not (tmp_path / "parts.json").exists()
    parts = run(monkeypatch, tmp_path / "parts.json", "vae")
    assert parts["test_nll_nats"] == whole["test_nll_nats"]  # bit for bit
    assert "interrupted" in parts["note"] and "note" not in whole
