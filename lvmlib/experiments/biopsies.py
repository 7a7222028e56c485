"""The table of chapter 05: a Gaussian, MAF and a spline flow on measurements of biopsies, with and without logarithms.

    python -m lvmlib.experiments.biopsies

Eight columns of scikit-learn's breast cancer table in five folds: three to train on, one to choose by, one to test.
A flow has two masked layers in alternating order behind a whitening layer. Each learning rate is tried with each of
five seeds in each fold; every run is stopped where its validation rows say so, and the rate of a model is the one with
the best validation NLL on average. Writes biopsies.json beside the weights; no weights are kept.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor

from lvmlib.base import seed_everything
from lvmlib.chain import Flow
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.distributions import StandardNormal
from lvmlib.flows import MaskedAutoregressive, Spline
from lvmlib.flows.elements import Element

COLUMNS = [0, 1, 2, 3, 4, 5, 8, 9]  # two further ones contain exact zeros, at which a density can be driven to infinity
RATES, EVERY = (1e-3, 2e-3, 5e-3), 10
ELEMENTS: dict[str, Callable[[], Element | None]] = {"MAF": lambda: None, "spline flow": lambda: Spline(8)}


def in_folds() -> list[Tensor]:
    """The rows of the table in five random parts."""
    table = torch.tensor(load_breast_cancer().data[:, COLUMNS])
    return list(table[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))].chunk(5))


def prepare(folds: list[Tensor], fold: int, logs: bool) -> tuple[list[Tensor], Tensor]:
    """Whitened training, validation and test rows, and the log-determinants of the test rows, nats.

    The unit of the NLL is the standardised raw column: both ways are densities of the same thing.
    """
    parts = [torch.cat([folds[(fold + i) % 5] for i in (2, 3, 4)]), folds[(fold + 1) % 5], folds[fold]]
    scale = parts[0].std(0)
    rows = [part.log() if logs else part / scale for part in parts]
    mean, root = rows[0].mean(0), torch.linalg.cholesky(torch.cov(rows[0].T, correction=0))
    white = [torch.linalg.solve_triangular(root, (r - mean).T, upper=False).T.float() for r in rows]
    of_logs = (scale / parts[2]).log().sum(1) if logs else torch.zeros(len(parts[2]))
    return white, of_logs - root.diagonal().log().sum()


def run(element: Element | None, rows: list[Tensor], lr: float, steps: int, seed: int) -> tuple[float, int, Tensor]:
    """One training: its best validation NLL, the step of it, and the NLL of each whitened test row there."""
    train, valid, test = rows
    seed_everything(seed)
    orders = torch.arange(len(COLUMNS)), torch.arange(len(COLUMNS)).flip(0)
    shape = (len(COLUMNS),)
    flow = Flow([MaskedAutoregressive(shape, (32,), element, order=o) for o in orders], StandardNormal(shape))
    optimizer, best = torch.optim.Adam(flow.parameters(), lr=lr), (math.inf, 0, torch.empty(0))
    for step in range(steps + 1):
        if step % EVERY == 0:
            with torch.no_grad():
                nll = -flow.log_prob(valid).mean().item()
                if nll < best[0]:
                    best = nll, step, -flow.log_prob(test)
        optimizer.zero_grad()
        (-flow.log_prob(train).mean()).backward()
        optimizer.step()
    return best


def contest(name: str, logs: bool, folds: list[Tensor], steps: int, seeds: int) -> dict[str, Any]:
    """All runs of one model; test NLL [fold][seed] with the rate that validation prefers."""
    start = time.process_time()
    tried: dict[float, list[list[tuple[float, int, float]]]] = {lr: [] for lr in RATES}
    for fold in range(5):
        rows, paid = prepare(folds, fold, logs)
        for lr in RATES:
            found = [run(ELEMENTS[name](), rows, lr, steps, seed) for seed in range(seeds)]
            tried[lr].append([(valid, step, (nll - paid).mean().item()) for valid, step, nll in found])
    valid = {lr: sum(v for fold in tried[lr] for v, _, _ in fold) / (5 * seeds) for lr in RATES}
    best = min(valid, key=lambda lr: valid[lr])
    return {
        "test_nll_nats": [[round(nll, 3) for _, _, nll in fold] for fold in tried[best]],
        "stopped_at": [[step for _, step, _ in fold] for fold in tried[best]],
        "lr": best,
        "validation_of_rates": {str(lr): round(value, 3) for lr, value in valid.items()},
        "seconds": round(time.process_time() - start, 1),
    }


def main() -> None:
    """Run the contest and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "biopsies.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folds = in_folds()
    record = provenance(
        seed=0,  # of the folds, and of the first run of each model; the others count on from it
        data="breast cancer table of scikit-learn, eight columns, 569 rows in five folds: three, one and one",
        protocol="exact, mean over the rows of each test fold, in units of standardised raw columns",
        optimizer=f"Adam, all rows at once, at most {args.steps} steps, the best of every {EVERY} by validation",
        tuning=f"learning rates {RATES}, by mean validation NLL over folds and seeds",
        seeds=args.seeds,
        steps=args.steps,
        clock="processor time",
        models={},
    )
    for logs in (False, True):
        way = "log" if logs else "raw"
        gauss = []
        for fold in range(5):
            (_, _, test), paid = prepare(folds, fold, logs)
            gauss.append([round((-StandardNormal((len(COLUMNS),)).log_prob(test) - paid).mean().item(), 3)])
        record["models"][f"Gaussian, {way}"] = {"test_nll_nats": gauss}
        for name in ELEMENTS:
            record["models"][f"{name}, {way}"] = found = contest(name, logs, folds, args.steps, args.seeds)
            print(f"{name}, {way}: rate {found['lr']}, {found['test_nll_nats']}", flush=True)
    seconds = sum(model.get("seconds", 0) for model in record["models"].values())
    record["training_minutes"] = round(seconds / 60, 1)
    args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
