"""Digits of which a part is covered, behind chapter 02: one joint model against networks trained for the question.

    python -m lvmlib.experiments.covered_digits

Digits of 14x14 grey levels. Rivals are a network that saw whole digits only, whose missing pixels are filled with the
mean image, and one that was trained on random half-plane covers with the mask as a second input. The joint model is one
Gaussian for each class, fitted by counting. Writes covered_digits.json beside the weights.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from lvmlib.base import seed_everything
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import Data, load
from lvmlib.networks import MLP
from lvmlib.training import cosine, fit

ROW, COLUMN = torch.arange(196) // 14, torch.arange(196) % 14

COVERS: dict[str, Tensor] = {
    "whole": COLUMN >= 0,
    "left two thirds": COLUMN < 9,
    "left half": COLUMN < 7,
    "no middle": ((ROW - 6.5).abs() > 4) | ((COLUMN - 6.5).abs() > 4),
    "one pixel in four": torch.rand(196, generator=torch.Generator().manual_seed(0)) < 0.25,
}
"""What is seen of the 196 pixels. The last two are no half-planes: nobody trained for them."""

Scores = Callable[[Tensor, Tensor], Tensor]


def shrunk(split: Data) -> tuple[Tensor, Tensor]:
    """28x28 grey levels as 14x14 means in [0, 1], flat, [N, 196], and the labels, [N]."""
    assert split.y is not None
    return F.avg_pool2d(split.unit().x, 2).flatten(1), split.y


def half_planes(n: int) -> Tensor:
    """Masks of what is seen, [n, 196]: one side of a random line, at least a tenth of the square's width."""
    angle, share = 2 * math.pi * torch.rand(n, 1), 0.1 + 0.9 * torch.rand(n, 1)
    across = torch.cos(angle) * (COLUMN - 6.5) + torch.sin(angle) * (ROW - 6.5)  # [n, 196]
    low, high = across.amin(1, keepdim=True), across.amax(1, keepdim=True)
    return (across <= low + share * (high - low)).to(torch.float32)


def joint_model(x: Tensor, y: Tensor) -> Scores:
    """log p(x_seen, y) of one Gaussian for each class with equal priors, [B, 10]."""
    x = x.double()
    means = torch.stack([x[y == d].mean(0) for d in range(10)])
    covariances = torch.stack([x[y == d].T.cov() for d in range(10)]) + 0.02 * torch.eye(196)

    def scores(x: Tensor, seen: Tensor) -> Tensor:
        parts = [MultivariateNormal(m[seen], c[seen][:, seen]) for m, c in zip(means, covariances)]
        return torch.stack([part.log_prob(x[:, seen].double()) for part in parts], 1) - math.log(10)

    return scores


def on_whole_digits(x: Tensor, y: Tensor, steps: int) -> Scores:
    """A classifier that never met a cover; it is shown the mean image where nothing is seen."""
    model, mean = MLP(196, (128,), 10), x.mean(0)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    fit(model, (x, y), loss, steps=steps, batch_size=100, lr=cosine(5e-3, steps), progress=False)
    return lambda x, seen: model(torch.where(seen, x, mean))


def on_covered_digits(x: Tensor, y: Tensor, steps: int) -> Scores:
    """A classifier of what is seen and of the mask, trained on half-planes drawn anew for each example."""
    model = MLP(2 * 196, (256,), 10)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        seen = half_planes(len(batch[0]))
        return F.cross_entropy(model(torch.cat([batch[0] * seen, seen], 1)), batch[1], reduction="none")

    fit(model, (x, y), loss, steps=steps, batch_size=100, lr=cosine(5e-3, steps), progress=False)
    return lambda x, seen: model(torch.cat([x * seen, seen.float().expand_as(x)], 1))


@torch.no_grad()
def metrics(scores: Scores, x: Tensor, y: Tensor) -> dict[str, dict[str, float]]:
    """For each cover: accuracy, -log p(y | x_seen) in nats, and by how much the claimed accuracy is too high."""
    result = {}
    for name, seen in COVERS.items():
        log_p = scores(x, seen).log_softmax(1)
        right, claimed = (log_p.argmax(1) == y).double().mean(), log_p.exp().amax(1).double().mean()
        result[name] = {
            "accuracy": round(right.item(), 4),
            "label_nll_nats": round(F.nll_loss(log_p, y).item(), 4),
            "overconfidence": round((claimed - right).item(), 4),
        }
    return result


def main() -> None:
    """Train every rival with several seeds and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000, help="of the classifier of whole digits")
    parser.add_argument("--covered-steps", type=int, default=15_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "covered_digits.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    began = time.perf_counter()
    train, _, test = load("mnist")
    (x, y), (x_test, y_test) = shrunk(train), shrunk(test)
    record = provenance(
        seed=0,
        seeds=args.seeds,
        data=f"MNIST averaged down to 14x14, {len(train):,} training images; sha256 {train.sha256()}",
        steps={"whole digits": args.steps, "covered digits": args.covered_steps},
        batch_size=100,
        protocol=f"{len(test):,} test images",
        joint_model=[metrics(joint_model(x, y), x_test, y_test)],
    )
    rivals = {
        "whole_digits": lambda: on_whole_digits(x, y, args.steps),
        "covered_digits": lambda: on_covered_digits(x, y, args.covered_steps),
    }
    for name, train_one in rivals.items():
        record[name] = []
        for seed in range(args.seeds):
            seed_everything(seed)
            record[name].append(metrics(train_one(), x_test, y_test))
            print(name, {cover: values["accuracy"] for cover, values in record[name][-1].items()}, flush=True)
    record["training_minutes"] = round((time.perf_counter() - began) / 60, 1)
    args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
