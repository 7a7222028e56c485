import argparse
import json

import pytest
import torch

from lvmlib.data import Data
from lvmlib.experiments import estimator_runs as runs

NAMES = [(latents, name) for latents in runs.SURROGATES for name in runs.SURROGATES[latents]]


@pytest.fixture
def data():
    x = (torch.arange(60 * 784).view(60, 1, 28, 28) % 7 < 2).float()
    return dict(train=Data(x), valid=x[:4], few=x[:5], test=x[:3])


@pytest.mark.parametrize(("latents", "name"), NAMES)
def test_every_estimator_passes_the_decoder_as_often_as_the_others_and_moves_all_networks(latents, name, data):
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"vae": runs.build(latents), "helper": runs.helper(name, latents)})
    rows = []
    model["vae"].pair.decoder.network.register_forward_hook(lambda module, args, out: rows.append(len(out)))
    surrogate = runs.SURROGATES[latents][name](model, data["few"])
    assert surrogate.shape == (5,) and sum(rows) == runs.PASSES * 5
    surrogate.mean().backward()
    parameters = dict(model["vae"].named_parameters())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in parameters.values())


def test_a_watched_run_measures_and_its_measurements_do_not_change_it(data):
    watched = runs.one_run("gaussian", "pathwise", 1e-3, 0, 20, data, watch=True)
    alone = runs.one_run("gaussian", "pathwise", 1e-3, 0, 20, data, watch=False)
    assert watched["curve"][0] == alone["curve"][0]
    assert [row[0] for row in watched["variance"]] == [0, 1, 4, 10, 19]
    for _, own, of_path in watched["variance"]:
        assert own == pytest.approx(of_path, rel=1.0)  # two measurements of one estimator
    assert watched["test_nll"] < -watched["test_elbo"] + 5


def test_the_rate_is_the_best_at_which_no_seed_diverges_and_finished_runs_are_kept(monkeypatch, tmp_path):
    calls = []

    def fake(latents, name, lr, seed, steps, data, watch):
        calls.append((name, lr, seed))
        if lr == 3e-2 or (lr == 3e-3 and seed == 2):
            raise FloatingPointError("diverged")
        return dict(lr=lr, seed=seed, valid_elbo=-abs(lr - 4e-3), minutes=0.0, curve=[[0, 0]], test_nll=1.0)

    monkeypatch.setattr(runs, "one_run", fake)
    args = argparse.Namespace(steps=1, seeds=2, part=tmp_path / "rows.part")
    rows: dict = {}
    runs.experiment("gaussian", ["STL"], args, {}, rows)
    found = runs.table("gaussian", rows)["STL"]
    assert [(run["lr"], run["seed"]) for run in found["runs"]] == [(1e-3, 1), (1e-3, 2)]
    assert found["other_seed_diverged"] == ["0.003"] and found["tried"]["0.03"] == -1e9
    tried = ["0.0003", "0.001", "0.003", "0.01", "0.03"]  # one more, since 0.001 was the lowest
    assert list(found["tried"]) == tried and json.loads(args.part.read_text()) == rows
    number = len(calls)
    runs.experiment("gaussian", ["STL"], args, {}, rows)
    assert len(calls) == number


def test_lower_rates_are_tried_as_long_as_the_lowest_one_wins(monkeypatch, tmp_path):
    def fake(latents, name, lr, seed, steps, data, watch):
        return dict(lr=lr, seed=seed, valid_elbo=-lr, minutes=0.0, curve=[[0, 0]])

    monkeypatch.setattr(runs, "one_run", fake)
    args = argparse.Namespace(steps=1, seeds=1, part=tmp_path / "rows.part")
    rows: dict = {}
    runs.experiment("gaussian", ["STL"], args, {}, rows)
    found = runs.table("gaussian", rows)["STL"]
    assert list(found["tried"]) == ["0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03"]
    assert [run["lr"] for run in found["runs"]] == [1e-4]


def test_only_the_rows_that_were_asked_for_are_replaced(monkeypatch, tmp_path, data):
    def fake(latents, name, lr, seed, steps, data, watch):
        return dict(lr=lr, seed=seed, valid_elbo=-abs(lr - 3e-3), minutes=1.0, curve=[[0, 0]])

    monkeypatch.setattr(runs, "one_run", fake)
    monkeypatch.setattr(runs, "load", lambda *args, **more: 3 * (data["train"],))
    out = tmp_path / "record.json"
    out.write_text(json.dumps(dict(rows={"pathwise": "old", "STL": "old"}, commit="abc", training_minutes=12.6)))
    monkeypatch.setattr("sys.argv", ["runs", "gaussian", "--only", "STL", "--out", str(out)])
    runs.main()
    record = json.loads(out.read_text())
    assert list(record["rows"]) == ["pathwise", "STL"] and record["rows"]["pathwise"] == "old"
    assert record["rows"]["STL"]["runs"][0]["lr"] == 3e-3 and record["training_minutes"] == 6.0
    assert record["kept"] == dict(rows=["pathwise"], commit="abc", training_minutes=12.6)
