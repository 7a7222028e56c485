"""Every flow of chapter 06 on four densities in the plane, each trained on the same number of points.

    python -m lvmlib.experiments.flow_gallery

Points are drawn anew at each step, so nothing can be overfitted, and the exact log-density of each toy is known: what a
flow loses against it is the Kullback-Leibler divergence. Each flow tries three learning rates on a sixth of the
steps, the two best of them on all steps, and takes the better one by fresh points, for runs with two more seeds (not
FFJORD, which takes ten times as long). Weights (bfloat16) of the first seed and the record are written at the end; a
run that was interrupted goes on with the next flow.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.base import Density, seed_everything
from lvmlib.chain import Flow
from lvmlib.checkpoints import SHIPPED, load_checkpoint, provenance, save_checkpoint
from lvmlib.experiments.shipping import forget_masked
from lvmlib.flows import ContinuousFlow, ffjord, flowpp, maf, nice, nsf, realnvp
from lvmlib.toys import toy
from lvmlib.training import cosine, fit

DENSITIES = ("eight_gaussians", "checkerboard", "rings", "two_spirals")
RATES = (1e-3, 4e-3, 1e-2)
SEEDS = 3
BATCH_SIZE = 256
HIDDEN = (64, 64)

FLOWS: dict[str, Callable[[], Flow]] = {
    "NICE": lambda: nice((2,), 8, HIDDEN),
    "RealNVP": lambda: realnvp((2,), 8, HIDDEN),
    "MAF": lambda: maf((2,), 8, HIDDEN),
    "Flow++": lambda: flowpp((2,), 4, 8, HIDDEN),
    "Spline": lambda: nsf((2,), 4, HIDDEN),
    "FFJORD": lambda: ffjord((2,), 1, (64, 64, 64)),
}
"""The columns of the gallery."""


def gallery() -> nn.ModuleDict:
    """All flows, untrained: ``gallery()["rings"]["MAF"]``; fill them with ``load_checkpoint(.., "flow_gallery")``."""
    return nn.ModuleDict(
        {density: nn.ModuleDict({name: build() for name, build in FLOWS.items()}) for density in DENSITIES}
    )


class Stream:
    """Points of a density, fresh at every use.

    Args:
        density: where they come from.
    """

    def __init__(self, density: Density):
        self.density = density

    def __len__(self) -> int:
        return 100 * BATCH_SIZE

    def batch(self, index: Tensor) -> Tensor:
        """As many new points as there are entries of `index`: [B, 2]."""
        return self.density.sample(len(index))


def in_fixed_steps(flow: Flow) -> Flow:
    """Let the continuous layers take 8 steps of rk4 while they train; they are tested with a solver that adapts."""
    for layer in flow.modules():
        if isinstance(layer, ContinuousFlow):
            layer.solver = {"method": "rk4", "options": {"step_size": 1 / 8}}
    return flow


@torch.no_grad()
def loss_against(density: Density, flow: Density, points: int, seed: int) -> dict[str, float]:
    """Cross-entropy of a flow and what it loses against the density, by the same fresh points, nats."""
    torch.manual_seed(seed)
    x = density.sample(points)
    log_q = torch.cat([flow.log_prob(part) for part in x.split(5000)])
    excess = density.log_prob(x) - log_q
    return {
        "test_nll_nats": round(-log_q.mean().item(), 4),
        "kl_nats": round(excess.mean().item(), 4),
        "standard_error": round(excess.std().item() / points**0.5, 4),
    }


def trained(build: Callable[[], Flow], density: Density, lr: float, steps: int, seed: int) -> Flow:
    """One run from a fresh start; the flow that it leaves, with the solver that adapts."""
    seed_everything(seed)
    flow, exact = in_fixed_steps(build()), build()
    with torch.random.fork_rng(devices=[]):
        flow.start_from(density.sample(BATCH_SIZE))  # ActNorm, where there is one
    fit(
        flow, Stream(density), steps=steps, batch_size=BATCH_SIZE, lr=cosine(lr, steps, warmup=50), clip_norm=5.0,
        seed=seed, progress=False,
    )  # fmt: skip
    exact.load_state_dict(flow.state_dict())
    return exact


def fresh(flow: Density, density: Density, seed: int) -> float:
    """Loss by 5,000 points of their own, for choosing: nats."""
    return loss_against(density, flow, 5000, seed + 1)["test_nll_nats"]


def measure(build: Callable[[], Flow], density: Density, steps: int, seed: int) -> tuple[Flow, dict[str, Any]]:
    """Try the rates, train with the best one, and test what is stored, the weights in bfloat16."""
    began, short = time.process_time(), max(1, steps // 6)
    tried = {lr: fresh(trained(build, density, lr, short, seed), density, seed) for lr in RATES}
    runs = {lr: trained(build, density, lr, steps, seed) for lr in sorted(tried, key=tried.__getitem__)[:2]}
    full = {lr: fresh(run, density, seed) for lr, run in runs.items()}
    best = min(full, key=full.__getitem__)
    start = time.process_time()
    slow = any(isinstance(layer, ContinuousFlow) for layer in runs[best].modules())
    others = [trained(build, density, best, steps, seed + i) for i in range(1, 1 if slow else SEEDS)]
    stop, flow = time.process_time(), runs[best]
    seeds = [loss_against(density, one, 20_000, seed + 2)["kl_nats"] for one in (flow, *others)]
    forget_masked(flow)
    flow.bfloat16().float()
    return flow, {
        **loss_against(density, flow, 20_000, seed + 2),
        "kl_before_rounding": seeds[0],
        "kl_of_seeds": seeds,
        "lr": best,
        "nll_of_rates": {str(lr): value for lr, value in tried.items()},
        "nll_of_full_runs": {str(lr): value for lr, value in full.items()},
        "weights": sum(p.numel() for p in flow.parameters()),
        "training_seconds": round((start - began) / (len(RATES) / 6 + 2), 1),
        "all_seconds": round(stop - began, 1),
    }


def main() -> None:
    """Train every flow on every density and write weights and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "flow_gallery")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    record = provenance(
        seed=args.seed,
        data=f"{', '.join(DENSITIES)} of lvmlib.toys, drawn anew at each step",
        steps=args.steps,
        batch_size=BATCH_SIZE,
        optimizer="Adam, cosine learning rate after 50 steps of rise, gradient norm at most 5.0",
        tuning=f"rates {RATES}, each on a sixth of the steps, the two best on all; the better one with {SEEDS} seeds",
        test_protocol="exact, 20,000 fresh points, weights rounded to bfloat16; divergence by the same points",
        clock="processor time",
        found={},
    )
    parts, models = args.out.with_suffix(".parts"), gallery()
    for density in DENSITIES:
        for i, (name, build) in enumerate(FLOWS.items()):
            part = parts / f"{density}_{i}"
            if not part.with_suffix(".json").exists():
                flow, found = measure(build, toy(density), args.steps, args.seed)
                save_checkpoint(flow, part, found)
                print(f"{density}, {name}: KL {found['kl_nats']} +- {found['standard_error']} nats", flush=True)
            found = load_checkpoint(models[density][name], part)  # type: ignore[index]
            record["found"].setdefault(density, {})[name] = found
            del found["weights_sha256"], found["parameters"]
    every = [row for rows in record["found"].values() for row in rows.values()]
    record["training_minutes"] = round(sum(row["all_seconds"] for row in every) / 60, 1)
    record["mean_kl_nats"] = round(sum(row["kl_nats"] for row in every) / len(every), 4)
    save_checkpoint(models, args.out, record, half=True)
    shutil.rmtree(parts)


if __name__ == "__main__":
    main()
