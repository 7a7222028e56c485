"""A recipe of ours for the VAE and the IWAE of Burda et al. (2016), with a fraction of the published steps.

    python -m lvmlib.experiments.iwae_recipe --k 1 --passes 1400 --lr 1.5e-3 --average 0.9998
    python -m lvmlib.experiments.iwae_recipe --k 50 --passes 130 --first 300

The networks are the published ones with one layer of codes; what differs is how they are trained. Batches of 100 in
place of 20, a cosine learning rate, averaged weights, and products of matrices in bfloat16 (the weights, the
log-densities and the evaluation stay in float32), which on a processor that has instructions for it makes a step of
fifty draws more than twice as fast. Most of the passes of an IWAE are made with five draws, which cost a tenth of
fifty and bring the networks most of the way.

An interrupted run goes on where it stopped, minutes included. It leaves a record and no weights, such as
iwae_50_recipe.json.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lvmlib.base import Density, seed_everything
from lvmlib.bounds import elbo, iwae
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import load
from lvmlib.experiments.iwae import burda, measured
from lvmlib.runs import remove_run
from lvmlib.schedules import Scheduled
from lvmlib.training import cosine, fit

BATCH = 100
EVERY = 6000  # steps from one checkpoint to the next


def negative_bound(model: Density, x: Tensor, k: int) -> Tensor:
    """Minus the ELBO, or minus the importance-weighted bound of k > 1 draws, [B] nats; networks run in bfloat16."""
    with torch.autocast(x.device.type, torch.bfloat16):
        return -(elbo(model, x) if k == 1 else iwae(model, x, k))


def learning_rate(peak: float, first: int, steps: int, step: int) -> float:
    """Constant in the first stage, after 500 steps of rise, and then half a cosine down to 0.

    Example:
        >>> from lvmlib.experiments.iwae_recipe import learning_rate
        >>> steps = (0, 999, 1000, 1500, 1999)
        >>> [round(learning_rate(1.0, 1000, 2000, step), 2) for step in steps]
        [0.0, 1.0, 1.0, 0.5, 0.0]
    """
    return min(1.0, (step + 1) / 500) * cosine(peak, steps - first)(max(0, step - first))


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--k", type=int, default=1, help="draws per example, 1 for the VAE")
    parser.add_argument("--passes", type=int, default=1500, help="over the data with that many draws")
    parser.add_argument("--first", type=int, default=0, help="passes with five draws before them")
    parser.add_argument("--lr", type=float, default=2e-3, help="the largest learning rate")
    parser.add_argument("--epsilon", type=float, default=1e-8, help="of Adam")
    parser.add_argument("--decay", type=float, default=0.0, help="weight decay, apart from the gradient")
    parser.add_argument("--average", type=float, default=0.9995, help="decay of the averaged weights")
    parser.add_argument("--draws", type=int, default=5000, help="per test image in the evaluation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the record")
    return parser.parse_args()


def main() -> None:
    """Train, evaluate and note the result."""
    args = options()
    torch.set_num_threads(1)
    origin = provenance(seed=args.seed)
    seed_everything(args.seed)
    kind = "vae" if args.k == 1 else "iwae"
    out = args.out or SHIPPED / f"{kind}_{args.k}_recipe.json"
    train, _, test = load("mnist", binarize="stochastic", valid=0)
    model = burda(1, train.x.flatten(1).float().mean(0) / 255)
    per_pass = len(train) // BATCH
    steps, first = (args.first + args.passes) * per_pass, args.first * per_pass
    k = Scheduled(lambda step: 5 if step < first else args.k)
    training, spent = out.with_suffix(".training"), out.with_suffix(".minutes")
    start = time.process_time() - (60 * float(spent.read_text("utf-8")) if training.exists() and spent.exists() else 0)

    def before_step(step: int) -> None:
        k(step)
        if step % EVERY == 0:  # as the checkpoint is written
            spent.write_text(f"{(time.process_time() - start) / 60}", encoding="utf-8")

    fit(
        model,
        train,
        loss=lambda density, x: negative_bound(density, x, int(k.value)),
        steps=steps,
        batch_size=BATCH,
        lr=partial(learning_rate, args.lr, first, steps),
        optimizer=partial(torch.optim.AdamW, eps=args.epsilon, weight_decay=args.decay, fused=True),
        average=args.average,
        before_step=before_step,
        seed=args.seed,
        checkpoint=training,
        checkpoint_every=EVERY,
        resume=True,
        progress=False,
    )
    minutes = (time.process_time() - start) / 60
    record = dict(
        origin,
        model=kind,
        k=args.k,
        layers=1,
        parameters=sum(p.numel() for p in model.parameters()),
        schedule="recipe",
        passes=args.first + args.passes,
        passes_with_five_draws=args.first,
        batch_size=BATCH,
        gradient="exact, networks in bfloat16",
        optimizer=f"AdamW, epsilon {args.epsilon:g}, decay {args.decay:g}, rate {args.lr:g}, in the end half a cosine",
        averaged_weights=args.average,
        data=f"MNIST, 60,000 training images, fresh binarization at each use; sha256 {train.sha256()}",
        training_minutes=round(minutes, 1),
        clock="processor time",
        **measured(model, train, test, args.draws),
    )
    out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    remove_run(training)
    spent.unlink()
    print(f"{out.stem}: {record['test_nll_nats']:.2f} nats, active {record['active_units']}, {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
