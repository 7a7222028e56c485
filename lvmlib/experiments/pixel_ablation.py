"""What each training trick buys: train a small pixel model with all of them, then with one left out at a time.

    python -m lvmlib.experiments.pixel_ablation

A Gated PixelCNN on 5,000 digits of 14x14 binary pixels, so few that a model can learn them by heart. Each variant is
trained with several seeds and scored on the same 10,000 test digits. Writes pixel_ablation.json beside the weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import avg_pool2d

from lvmlib.autoregressive import Autoregressive, GatedPixelCNN, PixelCNN
from lvmlib.base import seed_everything
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import Data, load
from lvmlib.experiments.shipping import nll
from lvmlib.training import cosine, fit

SHAPE = (1, 14, 14)
BATCH_SIZE = 64

VARIANTS: dict[str, dict[str, Any]] = {
    "everything": {},
    "one binarization, frozen": {"fresh": False},
    "constant learning rate": {"falling": False},
    "weights not averaged": {"average": None},
    "neither": {"falling": False, "average": None},
    "gradients not clipped": {"clip_norm": None},
    "one stack, no gates": {"build": lambda: PixelCNN(SHAPE, 16, 6, 5, positions=True)},
    "half as deep": {"build": lambda: GatedPixelCNN(SHAPE, 25, 2, 5, positions=True)},
    "no coordinates": {"build": lambda: GatedPixelCNN(SHAPE, 16, 4, 5)},
}
"""What differs from the full recipe; "neither" leaves out both of the two before it. Sizes are chosen so that all
networks have about as many parameters."""


def shrunk(split: Data) -> Data:
    """28x28 digits as 14x14 grey levels, the means of 2x2 pixels, binarized anew at every use."""
    x = avg_pool2d(split.x.float(), 2).round().to(torch.uint8)
    return Data(x, split.y, split.name, binarize="stochastic")


def run(
    train: Data,
    test: Data,
    steps: int,
    seed: int,
    build: Callable[[], Autoregressive] = lambda: GatedPixelCNN(SHAPE, 16, 4, 5, positions=True),
    fresh: bool = True,
    falling: bool = True,
    average: float | None = 0.99,
    clip_norm: float | None = 1.0,
    lr: float = 4e-3,
) -> dict[str, float]:
    """Train one variant; parameters, and test and training NLL in nats for each digit."""
    seed_everything(seed)
    model = build()
    fit(
        model,
        train if fresh else train.fixed(seed),
        steps=steps,
        batch_size=BATCH_SIZE,
        lr=cosine(lr, steps, warmup=50) if falling else lr,
        average=average,
        clip_norm=clip_norm,
        seed=seed,
        progress=False,
    )
    return {
        "test_nll_nats": round(nll(model, test), 3),
        "train_nll_nats": round(nll(model, train), 3),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def main() -> None:
    """Train every variant and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "pixel_ablation.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    began = time.perf_counter()
    train, _, test = (shrunk(split) for split in load("mnist", valid=0))
    train = train.subset(args.examples)
    record = provenance(
        seed=0,
        seeds=args.seeds,
        data=f"MNIST averaged down to 14x14, the first {len(train):,} training images; sha256 {train.sha256()}",
        steps=args.steps,
        batch_size=BATCH_SIZE,
        test_protocol="exact, 10,000 test images, one binary draw of seed 0",
    )
    record["variants"] = {}
    for name, changes in VARIANTS.items():
        runs = [run(train, test, args.steps, seed, **changes) for seed in range(args.seeds)]
        record["variants"][name] = runs
        print(f"{name}: {', '.join(str(r['test_nll_nats']) for r in runs)} nats", flush=True)
    record["training_minutes"] = round((time.perf_counter() - began) / 60, 1)
    args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
