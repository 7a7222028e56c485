"""What the training scripts share: their options, one run of `fit` that can be interrupted, and the record."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.base import Density, seed_everything
from lvmlib.checkpoints import SHIPPED, provenance, save_checkpoint
from lvmlib.data import Data
from lvmlib.networks import MaskedLinear
from lvmlib.runs import remove_run
from lvmlib.training import cosine, fit


def options(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """The options of a training script; `defaults` replace those given here."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=float, default=20, help="over the training examples")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3, help="the peak of a cosine, after 200 steps of rise")
    parser.add_argument("--average", type=float, default=0.999, help="decay of the averaged weights")
    parser.add_argument("--clip-norm", type=float, default=1.0)
    parser.add_argument("--bfloat16", action="store_true", help="forward pass in bfloat16; everything else in float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-weights", action="store_true", help="save the record alone")
    parser.add_argument("--out", type=Path, help="the checkpoint, without its suffix")
    parser.set_defaults(**defaults)
    return parser


def train_and_ship(
    name: str,
    model: nn.Module,
    source: Any,
    examples: int,
    args: argparse.Namespace,
    evaluate: Callable[[Any], dict[str, Any]],
    loss: Callable[[Any, Any], Tensor] | None = None,
    valid: Any = None,
    **facts: Any,
) -> dict[str, Any]:
    """Train, round the weights to bfloat16, evaluate, and save weights and record.

    Args:
        name: of the checkpoint.
        model: built after `begin`.
        source: what `fit` draws batches from.
        examples: how many examples one pass has.
        args: the parsed `options`.
        evaluate: metrics of the trained model, for the record.
        loss: minus the log-likelihood by default.
        valid: validation data, in the form of `source`: the weights with the best validation loss are shipped, and
            training ends after ten validations, two in each pass, that are no better.
        facts: further entries of the record, such as what the data are.

    Returns:
        The record.
    """
    out = args.out or SHIPPED / name
    steps = max(1, int(args.passes * examples) // args.batch_size)
    training = out.with_suffix(".training")
    continued = training.exists()
    # One thread on a machine that others use as well: what counts is the time that the processor gave to it.
    alone = args.threads == 1 and torch.device(args.device).type == "cpu"
    clock = time.process_time if alone else time.perf_counter
    start = clock()
    history = fit(
        model.to(args.device),
        source,
        loss=in_bfloat16(loss) if args.bfloat16 else loss,
        steps=steps,
        batch_size=args.batch_size,
        lr=cosine(args.lr, steps, warmup=200),
        clip_norm=args.clip_norm,
        average=args.average,
        valid=valid,
        valid_every=None if valid is None else max(1, examples // args.batch_size // 2),
        patience=None if valid is None else 10,
        seed=args.seed,
        checkpoint=training,
        checkpoint_every=250,
        resume=True,
    )
    minutes = (clock() - start) / 60
    forget_masked(model)
    model.bfloat16().float()  # what is evaluated is what is stored
    record = dict(
        args.origin,
        **facts,
        passes=args.passes,
        batch_size=args.batch_size,
        optimizer=f"Adam, cosine learning rate from {args.lr} after 200 steps of rise, gradient norm at most "
        f"{args.clip_norm}{', forward pass in bfloat16' if args.bfloat16 else ''}",
        averaged_weights=args.average,
        steps=len(history.loss),
        training_minutes=round(minutes, 1),
        clock="processor time" if alone else "wall clock",
        **({"note": "an interrupted run continued: training_minutes counts its last part only"} if continued else {}),
        **evaluate(model),
    )
    if args.no_weights:
        record["parameters"] = sum(p.numel() for p in model.parameters())
        out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    else:
        save_checkpoint(model, out, record, half=True)
    remove_run(training)
    print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in record.items() if "_nll" in key or "_bits" in key))
    return record


@torch.no_grad()
def forget_masked(model: nn.Module) -> None:
    """Set weights that a mask hides to zero: they mean nothing, and zeros pack to almost no bytes."""
    for layer in model.modules():
        if isinstance(layer, MaskedLinear):
            layer.weight.view(-1, *layer.mask.shape).mul_(layer.mask)


def begin(args: argparse.Namespace) -> None:
    """Seed, set the threads, and note where the run starts from: the working tree may move on before it ends."""
    torch.set_num_threads(args.threads)
    args.origin = provenance(seed=args.seed)
    seed_everything(args.seed)


def in_bfloat16(loss: Callable[[Any, Any], Tensor] | None) -> Callable[[Any, Any], Tensor]:
    """The same loss with matrix products and convolutions in bfloat16."""

    def rounded(model: Any, batch: Any) -> Tensor:
        device = batch[0].device if isinstance(batch, tuple) else batch.device
        with torch.autocast(device.type, torch.bfloat16):
            return loss(model, batch) if loss else -model.log_prob(batch)

    return rounded


@torch.no_grad()
def nll(model: Density, data: Data, with_labels: bool = False, batch: int = 200) -> float:
    """Mean of minus the log-likelihood over one fixed draw of the examples, nats."""
    fixed = data.fixed(seed=0)
    total = 0.0
    for start in range(0, len(fixed), batch):
        rows = slice(start, start + batch)
        labels = fixed.y[rows] if with_labels and fixed.y is not None else None
        total -= model.log_prob(fixed.x[rows], labels).sum().item()
    return total / len(fixed)


def mnist_metrics(model: Density, train: Data, test: Data, with_labels: bool = False) -> dict[str, Any]:
    """The metrics that every record of a model of binary MNIST holds."""
    kind = "bound" if model.is_bound else "exact"
    few = train.subset(min(10_000, len(train)))
    return {
        "test_nll_nats": round(nll(model, test, with_labels), 3),
        "test_protocol": f"{kind}, {len(test):,} test images, one binary draw of seed 0",
        "train_nll_nats": round(nll(model, few, with_labels), 3),
        "train_protocol": f"{kind}, the first {len(few):,} training images, one binary draw of seed 0",
    }


def mnist_facts(train: Data) -> str:
    """What the record says of the training data."""
    return f"MNIST, 60,000 training images, fresh binarization at each use; sha256 {train.sha256()}"
