"""Models of chapters 03 and 04 on small digits, each trained on the same number of images.

    python -m lvmlib.experiments.equal_budget

MNIST averaged down to 14x14 pixels and cut at half. Every model gets the same effort: a run on a quarter of the images
with each of four learning rates, then one on all images with each of the two best; of these the better by validation
is tested. (A short run likes a higher rate than a long one, so its best alone would not do.) Writes equal_budget.json
beside the weights; no weights are kept. What was interrupted goes on with the next run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

import lvmlib.autoregressive as ar
from lvmlib.base import Density, seed_everything
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import Data, load
from lvmlib.training import cosine, fit

SHAPE = (1, 14, 14)
BATCH_SIZE = 64
RATES = (3e-3, 1e-2, 3e-2, 1e-1)

MODELS: dict[str, Callable[[], ar.Autoregressive]] = {
    "FVSBN": lambda: ar.FVSBN(SHAPE),
    "MADE": lambda: ar.MADE(SHAPE, hidden=(800,), degrees="random"),
    "RNN": lambda: ar.RNN(SHAPE, hidden=48, cell="gru"),
    "RNN, told the position": lambda: ar.RNN(SHAPE, hidden=48, cell="gru", positions=True),
    "WaveNet": lambda: ar.WaveNet(SHAPE, channels=16, layers=7),
    "WaveNet, told the position": lambda: ar.WaveNet(SHAPE, channels=16, layers=7, positions=True),
    "Causal transformer": lambda: ar.CausalTransformer(SHAPE, 32, heads=2, layers=2, positions="axes"),
    "Patch transformer": lambda: ar.PatchTransformer(SHAPE, patch=2, channels=32, heads=2, layers=2),
    "Patch transformer, kernel 3": lambda: ar.PatchTransformer(SHAPE, 2, channels=32, heads=2, layers=2, kernel=3),
    "PixelCNN": lambda: ar.PixelCNN(SHAPE, channels=16, layers=6, kernel=5, positions=True),
    "Gated PixelCNN": lambda: ar.GatedPixelCNN(SHAPE, channels=16, layers=4, kernel=5, positions=True),
    "Row LSTM": lambda: ar.PixelRNN(SHAPE, channels=12, layers=2, kernel=5, positions=True),
    "Diagonal BiLSTM": lambda: ar.PixelRNN(SHAPE, channels=12, layers=1, kernel=5, kind="diagonal", positions=True),
    "PixelCNN++": lambda: ar.PixelCNNpp(SHAPE, channels=12, layers=1, halvings=1, levels=2, logistics=0),
    "PixelSNAIL": lambda: ar.PixelSNAIL(SHAPE, channels=16, blocks=2, layers=2),
}


def small_digits(split: Data) -> Data:
    """28x28 grey digits as 14x14 pixels of 0 and 1: is the mean of 2x2 pixels above half of full ink?"""
    return Data((avg_pool2d(split.x.float(), 2) > 127.5).float(), split.y, split.name)


@torch.no_grad()
def each_nll(model: Density, x: Tensor) -> Tensor:
    """Minus the log-likelihood of each example, nats: [N]."""
    return -torch.cat([model.log_prob(part) for part in x.split(100)])


def trained(build: Callable[[], ar.Autoregressive], splits: tuple[Data, Data], lr: float, steps: int, seed: int) -> Any:
    """One run from a fresh start: the model, and its validation NLL at ten times, the last at the end."""
    seed_everything(seed)
    model = build()
    history = fit(
        model,
        splits[0],
        steps=steps,
        batch_size=BATCH_SIZE,
        lr=cosine(lr, steps, warmup=50),
        clip_norm=1.0,
        valid=splits[1],
        valid_every=max(1, steps // 10),
        seed=seed,
        progress=False,
    )
    return model, list(zip(history.valid_steps, (round(value, 3) for value in history.valid_loss)))


def run(
    build: Callable[[], ar.Autoregressive], splits: tuple[Data, Data, Data], lr: float, steps: int, seed: int
) -> dict[str, Any]:
    """One training and its test; without figures where the rate is so high that training broke down."""
    start = time.process_time()
    try:
        model, curve = trained(build, splits[:2], lr, steps, seed)
    except FloatingPointError:
        return {"seconds": round(time.process_time() - start, 1), "valid_nll_nats": None}
    seconds = time.process_time() - start
    nll = each_nll(model, splits[2].x)
    return {
        "seconds": round(seconds, 1),
        "valid_nll_nats": curve[-1][1],
        "test_nll_nats": round(nll.mean().item(), 3),
        "standard_error": round(nll.std().item() / len(nll) ** 0.5, 3),
        "validation_curve": [{"images": step * BATCH_SIZE, "nll_nats": value} for step, value in curve],
    }


def best(runs: dict[float, dict[str, Any]], count: int) -> list[float]:
    """The `count` rates with the lowest validation NLL among those that did not break down."""
    finished = [lr for lr in runs if runs[lr]["valid_nll_nats"] is not None]
    return sorted(finished, key=lambda lr: runs[lr]["valid_nll_nats"])[:count]


def measure(once: Callable[[float, int], dict[str, Any]], steps: int) -> dict[str, Any]:
    """All runs of one model, by `once(rate, steps)`: all rates on a quarter, the two best in full."""
    quarter = {lr: once(lr, steps // 4) for lr in RATES}
    full = {lr: once(lr, steps) for lr in best(quarter, 2)}
    lr = best(full, 1)[0]
    taken = dict(full[lr])
    seconds = taken.pop("seconds")
    spent = sum(found["seconds"] for found in (*quarter.values(), *full.values()))
    del taken["valid_nll_nats"]
    return {
        **taken,
        "lr": lr,
        "validation_of_rates_on_a_quarter": {str(lr): found["valid_nll_nats"] for lr, found in quarter.items()},
        "validation_of_rates_in_full": {str(lr): found["valid_nll_nats"] for lr, found in full.items()},
        "test_of_rates_in_full": {str(lr): found.get("test_nll_nats") for lr, found in full.items()},
        "training_seconds": seconds,
        "tuning_seconds": round(spent - seconds, 1),
    }


def main() -> None:
    """Train every model and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "equal_budget.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train, valid, test = (small_digits(split) for split in load("mnist"))
    record = provenance(
        seed=args.seed,
        data=f"MNIST averaged down to 14x14 and cut at half, {len(train):,} training images; sha256 {train.sha256()}",
        images_seen=args.steps * BATCH_SIZE,
        steps=args.steps,
        batch_size=BATCH_SIZE,
        optimizer="Adam, cosine learning rate after 50 steps of rise, gradient norm at most 1.0",
        tuning=f"learning rates {RATES}, each on a quarter of the images; the two best by validation on all of them, "
        "and of these the better by validation",
        validation=f"1,000 of {len(valid):,} images held back from training",
        protocol=f"exact, {len(test):,} test images, standard error over images",
        clock="processor time",
        models={},
    )
    splits = (train, valid.subset(1000), test)
    unfinished = args.out.with_suffix(".unfinished")
    runs = json.loads(unfinished.read_text(encoding="utf-8")) if unfinished.exists() else {}

    def once(name: str, build: Callable[[], ar.Autoregressive], lr: float, steps: int) -> dict[str, Any]:
        key = f"{name}, rate {lr}, {steps} steps"
        if key not in runs:
            runs[key] = run(build, splits, lr, steps, args.seed)
            unfinished.write_text(json.dumps(runs), encoding="utf-8")
        return runs[key]

    for name, build in MODELS.items():
        found = measure(partial(once, name, build), args.steps)
        record["models"][name] = found | {"parameters": sum(p.numel() for p in build().parameters())}
        print(f"{name}: {found['test_nll_nats']} +- {found['standard_error']} nats, rate {found['lr']}", flush=True)
    seconds = sum(m["training_seconds"] + m["tuning_seconds"] for m in record["models"].values())
    record["training_minutes"] = round(seconds / 60, 1)
    args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    unfinished.unlink()


if __name__ == "__main__":
    main()
