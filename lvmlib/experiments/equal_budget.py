"""Models of chapters 03 and 04 on small digits, each trained on the same number of images.

    python -m lvmlib.experiments.equal_budget

MNIST averaged down to 14x14 pixels and cut at half. Every model gets the same effort: a run on a quarter of the images
with each of four learning rates, and then one on all images with the rate of the best, by validation. Writes
equal_budget.json beside the weights; no weights are kept. A run that was interrupted goes on with the next model.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
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


def tried(
    build: Callable[[], ar.Autoregressive], splits: tuple[Data, Data], lr: float, steps: int, seed: int
) -> float | None:
    """Validation NLL at the end of a run; None where the rate is so high that training broke down."""
    try:
        return trained(build, splits, lr, steps, seed)[1][-1][1]
    except FloatingPointError:
        return None


def measure(
    build: Callable[[], ar.Autoregressive], splits: tuple[Data, Data, Data], steps: int, seed: int
) -> dict[str, Any]:
    """Try the rates on a quarter of the budget, train with the best on all of it, and test."""
    began, learn = time.process_time(), splits[:2]
    quarter = {lr: tried(build, learn, lr, steps // 4, seed) for lr in RATES}
    finite = {lr: value for lr, value in quarter.items() if value is not None}
    best = min(finite, key=lambda lr: finite[lr])
    start = time.process_time()
    model, curve = trained(build, learn, best, steps, seed)
    end = time.process_time()
    nll = each_nll(model, splits[2].x)
    return {
        "test_nll_nats": round(nll.mean().item(), 3),
        "standard_error": round(nll.std().item() / len(nll) ** 0.5, 3),
        "lr": best,
        "validation_of_rates_on_a_quarter": {str(lr): value for lr, value in quarter.items()},
        "validation_curve": [{"images": step * BATCH_SIZE, "nll_nats": value} for step, value in curve],
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_seconds": round(end - start, 1),
        "tuning_seconds": round(start - began, 1),
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
        tuning=f"learning rates {RATES}, each on a quarter of the images; the best by validation on all of them",
        validation=f"{len(valid):,} images held back from training",
        protocol=f"exact, {len(test):,} test images, standard error over images",
        clock="processor time",
        models={},
    )
    unfinished = args.out.with_suffix(".unfinished")
    if unfinished.exists():
        record = json.loads(unfinished.read_text(encoding="utf-8"))
    for name, build in MODELS.items():
        if name not in record["models"]:
            record["models"][name] = found = measure(build, (train, valid.subset(1000), test), args.steps, args.seed)
            unfinished.write_text(json.dumps(record), encoding="utf-8")
            print(f"{name}: {found['test_nll_nats']} +- {found['standard_error']} nats, rate {found['lr']}", flush=True)
    seconds = sum(m["training_seconds"] + m["tuning_seconds"] for m in record["models"].values())
    record["training_minutes"] = round(seconds / 60, 1)
    args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    unfinished.unlink()


if __name__ == "__main__":
    main()
