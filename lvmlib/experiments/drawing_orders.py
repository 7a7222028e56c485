"""Is it easier for MADE to read small digits line by line, or in an order drawn at random?

    python -m lvmlib.experiments.drawing_orders

One hidden layer, small digits, long enough for the answer not to hang on the training: line by line with several seeds,
and several random orders, each with a seed of its own. Writes drawing_orders.json beside the weights.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from lvmlib.autoregressive import MADE
from lvmlib.base import seed_everything
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import Data, load
from lvmlib.experiments.equal_budget import SHAPE, each_nll, small_digits
from lvmlib.training import cosine, fit

BATCH_SIZE = 100


def run(train: Data, test: Data, order: torch.Tensor | None, steps: int, hidden: int, seed: int) -> float:
    """Train one MADE in one order; its test NLL in nats for each digit."""
    seed_everything(seed)
    model = MADE(SHAPE, hidden=(hidden,), degrees="random", order=order, seed=seed)
    schedule = cosine(1e-2, steps)
    fit(model, train, steps=steps, batch_size=BATCH_SIZE, lr=schedule, seed=seed, progress=False)
    return round(each_nll(model, test.x).mean().item(), 3)


def main() -> None:
    """Train in every order and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--hidden", type=int, default=800)
    parser.add_argument("--orders", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "drawing_orders.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train, _, test = (small_digits(split) for split in load("mnist"))
    record = provenance(
        seed=f"0 to {args.orders - 1}, of the order, the masks, the first weights and the batches",
        data=f"MNIST averaged down to 14x14 and cut at half, {len(train):,} training images; sha256 {train.sha256()}",
        steps=args.steps,
        batch_size=BATCH_SIZE,
        hidden=args.hidden,
        optimizer="Adam, cosine learning rate from 0.01",
        protocol=f"exact, {len(test):,} test images",
        clock="processor time",
    )
    began = time.process_time()
    found: dict[str, list[float]] = {"line by line": [], "random order": []}
    for seed in range(args.orders):
        shuffled = torch.randperm(196, generator=torch.Generator().manual_seed(seed))
        for name, order in (("line by line", None), ("random order", shuffled)):
            found[name].append(run(train, test, order, args.steps, args.hidden, seed))
            print(f"{name}, seed {seed}: {found[name][-1]} nats", flush=True)
    record["test_nll_nats"] = found
    record["training_minutes"] = round((time.process_time() - began) / 60, 1)
    args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
