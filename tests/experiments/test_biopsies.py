import json

import pytest
import torch
from torch.distributions import MultivariateNormal

from lvmlib.checkpoints import SHIPPED
from lvmlib.experiments import biopsies


@pytest.mark.parametrize("logs", [False, True])
def test_whitening_pays_so_that_both_ways_are_densities_of_the_same_columns(logs):
    folds = biopsies.in_folds()
    (train, _, test), paid = biopsies.prepare(folds, 1, logs)
    torch.testing.assert_close(torch.cov(train.T, correction=0), torch.eye(8), atol=1e-4, rtol=0)
    white = MultivariateNormal(torch.zeros(8), torch.eye(8)).log_prob(test) + paid
    raw = torch.cat([folds[i] for i in (3, 4, 0)])
    scale = raw.std(0)
    seen = raw.log() if logs else raw
    normal = MultivariateNormal(seen.mean(0), torch.cov(seen.T, correction=0))
    direct = normal.log_prob(folds[1].log() if logs else folds[1]) + scale.log().sum()
    direct = direct - folds[1].log().sum(1) if logs else direct
    torch.testing.assert_close(white.double(), direct, atol=1e-3, rtol=1e-4)


def test_the_rows_of_a_fold_are_tested_and_no_others():
    folds = biopsies.in_folds()
    assert sum(map(len, folds)) == 569
    for fold in range(5):
        sizes = [len(rows) for rows in biopsies.prepare(folds, fold, logs=False)[0]]
        assert sum(sizes) == 569 and sizes[2] == len(folds[fold]) and sizes[1] == len(folds[(fold + 1) % 5])


def test_a_run_stops_where_validation_is_best():
    white, _ = biopsies.prepare(biopsies.in_folds(), 0, logs=True)
    start, _, nll = biopsies.run(None, white, lr=5e-3, steps=0, seed=0)
    best, step, test_nll = biopsies.run(None, white, lr=5e-3, steps=40, seed=0)
    assert best < start and 0 < step <= 40 and test_nll.mean() < nll.mean()
    assert biopsies.run(None, white, lr=1e3, steps=20, seed=0)[:2] == (start, 0)  # from where it only gets worse


def test_the_rate_is_the_one_that_validation_prefers(monkeypatch):
    prefers = {1e-3: 3.0, 2e-3: 1.0, 5e-3: 2.0}
    monkeypatch.setattr(biopsies, "run", lambda e, rows, lr, steps, seed: (prefers[lr], seed, torch.full((3,), lr)))
    monkeypatch.setattr(biopsies, "prepare", lambda folds, fold, logs: (None, torch.zeros(3)))
    found = biopsies.contest("MAF", False, [], steps=1, seeds=2)
    assert found["lr"] == 2e-3 and found["stopped_at"] == [[0, 1]] * 5 and found["test_nll_nats"][0] == [0.002, 0.002]


def test_the_shipped_record():
    models = json.loads((SHIPPED / "biopsies.json").read_text("utf-8"))["models"]
    assert len(models) == 6
    white, paid = biopsies.prepare(biopsies.in_folds(), 2, logs=True)
    found = models["spline flow, log"]
    _, step, nll = biopsies.run(biopsies.ELEMENTS["spline flow"](), white, found["lr"], steps=60, seed=1)
    if found["stopped_at"][2][1] <= 60:
        assert step == pytest.approx(found["stopped_at"][2][1], abs=10)
    assert (nll - paid).mean().item() == pytest.approx(found["test_nll_nats"][2][1], abs=0.1)
