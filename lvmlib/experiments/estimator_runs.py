"""One VAE, many gradients, behind chapter 10: the same networks trained with each estimator on binary MNIST.

    python -m lvmlib.experiments.estimator_runs gaussian
    python -m lvmlib.experiments.estimator_runs bernoulli

784-200-20-200-784 with Gaussian latents, 784-200-32-200-784 with Bernoulli ones; three passes through the decoder per
example and step for every estimator. Each takes the learning rate, out of four, that gave the best bound on validation
images, and then runs with other seeds; where the lowest rate wins, lower ones are tried too. Writes
estimators_gaussian.json and estimators_bernoulli.json beside the weights. About ten minutes for each on one quiet core;
an interrupted experiment continues behind the last finished run, and `--only` replaces the rows that it names.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import lvmlib.estimators as est
from lvmlib.base import seed_everything
from lvmlib.bounds import elbo, log_likelihood
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, FactorisedBernoulli, StandardNormal
from lvmlib.evaluation import gradient_moments
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.training import cosine, fit

BATCH = 50
PASSES = 3  # of the decoder, per example and step
LATENTS = {"gaussian": 20, "bernoulli": 32}
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
LOWER = (3e-4, 1e-4)  # in turn, for whom the lowest rate is the best: an optimum at the edge may lie beyond it
Surrogate = Callable[[Any, Tensor], Tensor]


def build(latents: str) -> VAE:
    """The networks, the same for every estimator.

    Example:
        >>> from lvmlib.experiments.estimator_runs import build
        >>> build("bernoulli").sample(2).shape
        torch.Size([2, 1, 28, 28])
    """
    n = LATENTS[latents]
    decoder = ConditionalBernoulli((1, 28, 28), MLP(n, (200,), 784))
    if latents == "bernoulli":
        return VAE(ConditionalBernoulli((n,), MLP(784, (200,), n)), decoder, FactorisedBernoulli((n,)))
    return VAE(ConditionalNormal((n,), MLP(784, (200,), 2 * n)), decoder, StandardNormal((n,)))


def guess() -> nn.Module:
    """A network that predicts the signal from x."""
    return MLP(784, (100,), 1)


def helper(name: str, latents: str) -> nn.Module:
    """What an estimator learns beside the model."""
    made: dict[str, Callable[[], nn.Module]] = {
        "running baseline": est.RunningBaseline,
        "learned baseline": lambda: est.LearnedBaseline(guess()),
        "NVIL": lambda: est.NVILBaseline(guess()),
        "REBAR": est.ControlVariate,
        "RELAX": lambda: est.ControlVariate(MLP(LATENTS[latents] + 784, (100,), 1)),
    }
    return made[name]() if name in made else nn.Module()


SURROGATES: dict[str, dict[str, Surrogate]] = {
    "gaussian": {
        "no baseline": lambda m, x: est.score_function(m["vae"], x, PASSES),
        "running baseline": lambda m, x: est.score_function(m["vae"], x, PASSES, m["helper"]),
        "learned baseline": lambda m, x: est.score_function(m["vae"], x, PASSES, m["helper"]),
        "leave-one-out": lambda m, x: est.rloo(m["vae"], x, PASSES),
        "pathwise": lambda m, x: est.reparameterization(m["vae"], x, PASSES),
        "STL": lambda m, x: torch.stack([est.stl(m["vae"], x) for _ in range(PASSES)]).mean(0),
    },
    "bernoulli": {
        "no baseline": lambda m, x: est.score_function(m["vae"], x, PASSES),
        "running baseline": lambda m, x: est.score_function(m["vae"], x, PASSES, m["helper"]),
        "NVIL": lambda m, x: est.nvil(m["vae"], x, m["helper"], PASSES),
        "leave-one-out": lambda m, x: est.rloo(m["vae"], x, PASSES),
        "VIMCO": lambda m, x: est.vimco(m["vae"], x, PASSES),
        "Gumbel-softmax": lambda m, x: est.gumbel_softmax(m["vae"], x, PASSES, temperature=2 / 3),
        "straight-through": lambda m, x: est.straight_through(m["vae"], x, PASSES),
        "REBAR": lambda m, x: est.rebar(m["vae"], x, m["helper"]),  # one draw passes the decoder three times
        "RELAX": lambda m, x: est.relax(m["vae"], x, m["helper"]),
    },
}


@torch.no_grad()
def mean_elbo(vae: VAE, x: Tensor, k: int = 1) -> float:
    """Mean ELBO of images, nats."""
    return elbo(vae, x, k=k).mean().item()


def total_variance(surrogate: Callable[[], Tensor], vae: VAE, n: int = 40) -> float:
    """Sum of the variances of all entries of the encoder's gradient; the surrogate's mean is over a batch."""
    return gradient_moments(surrogate, vae.pair.encoder.parameters(), n).variance.sum().item()


def one_run(latents: str, name: str, lr: float, seed: int, steps: int, data: dict[str, Any], watch: bool) -> dict:
    """Train once; the bound on validation images along the way, with `watch` the variance too."""
    seed_everything(seed)
    model: Any = nn.ModuleDict({"vae": build(latents), "helper": helper(name, latents)})
    vae: Any = model["vae"]
    surrogate = SURROGATES[latents][name]
    curve: list[list[float]] = []
    variance: list[list[float]] = []

    def look(step: int) -> None:
        if step % (steps // 20) == 0:
            curve.append([step, round(mean_elbo(vae, data["valid"]), 2)])
        if watch and step in (steps // 100, steps // 20, steps // 5, steps // 2, steps - 1):
            state = torch.get_rng_state()
            model.eval()  # baselines answer and do not learn
            own = total_variance(lambda: surrogate(model, data["few"]), vae)
            if name == "NVIL":
                own *= model["helper"].scale.item() ** 2  # it divides by the scale
            row = [step, own]
            if latents == "gaussian":
                row.append(total_variance(lambda: est.reparameterization(vae, data["few"], PASSES), vae))
            variance.append(row)
            model.train()
            torch.set_rng_state(state)

    start = time.perf_counter()
    fit(
        model,
        data["train"],
        lambda model, x: -surrogate(model, x),
        steps=steps,
        batch_size=BATCH,
        lr=cosine(lr, steps, warmup=100),
        before_step=look,
        seed=seed,
        progress=False,
    )
    minutes = (time.perf_counter() - start) / 60
    curve.append([steps, round(mean_elbo(vae, data["valid"], k=5), 2)])
    result = dict(lr=lr, seed=seed, valid_elbo=curve[-1][1], minutes=round(minutes, 2), curve=curve)
    if watch:
        test = data["test"]
        result |= dict(
            variance=[[r[0], *(float(f"{v:.4g}") for v in r[1:])] for r in variance],
            test_elbo=round(mean_elbo(vae, test, k=5), 2),
            test_nll=round(-log_likelihood(vae, test, k=200).mean().item(), 2),
        )
    return result


def experiment(latents: str, names: list[str], args: argparse.Namespace, data: dict[str, Any], rows: dict) -> None:
    """Rates first, then seeds; what is in `rows` already is not run again."""

    def run(name: str, lr: float, seed: int, watch: bool) -> dict:
        key = f"{name}, {lr:g}, seed {seed}" + (", watched" if watch else "")
        if key not in rows:
            try:
                rows[key] = one_run(latents, name, lr, seed, args.steps, data, watch)
            except FloatingPointError:  # diverged: a rate that is too high loses the comparison
                rows[key] = dict(lr=lr, seed=seed, valid_elbo=-1e9, minutes=0.0, curve=[])
            args.part.write_text(json.dumps(rows), encoding="utf-8")
            print(key, rows[key]["valid_elbo"], rows[key].get("test_nll", ""), rows[key]["minutes"], flush=True)
        return rows[key]

    def best(name: str, rates: tuple[float, ...]) -> float | None:
        for lr in sorted(rates, key=lambda lr: -run(name, lr, 0, False)["valid_elbo"]):
            if all(run(name, lr, seed, True)["curve"] for seed in range(1, args.seeds + 1)):
                return lr
        return None  # a rate at which another seed diverges gave way to the next best, to the last

    for name in names:
        rates: tuple[float, ...] = RATES
        for lower in LOWER:
            if best(name, rates) != min(rates):
                break
            rates = (lower, *rates)
        best(name, rates)


def table(latents: str, rows: dict) -> dict[str, Any]:
    """For each estimator the bounds at each rate and the runs at the best one."""
    result: dict[str, Any] = {}
    for name in SURROGATES[latents]:
        mine = [(key, row) for key, row in rows.items() if key.startswith(name + ", ")]
        if not mine:
            continue
        tried = {row["lr"]: row["valid_elbo"] for key, row in mine if "watched" not in key}
        watched = [row for key, row in mine if "watched" in key]
        diverged = {row["lr"] for row in watched if not row["curve"]}
        best = max((row["lr"] for row in watched if row["lr"] not in diverged), key=lambda lr: tried[lr])
        result[name] = dict(
            tried={f"{lr:g}": tried[lr] for lr in sorted(tried)},
            other_seed_diverged=[f"{lr:g}" for lr in sorted(diverged)],
            runs=[row for row in watched if row["lr"] == best],
        )
    return result


def splits(train: Data, valid: Data, test: Data) -> dict[str, Any]:
    """What the runs train on, and the fixed images on which they are measured."""
    one, two = valid.fixed(seed=0).x, test.fixed(seed=0).x
    return dict(train=train, valid=one[:2000], few=one[2000:2100], test=two[:2000])


def main() -> None:
    """Train, measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("latents", choices=LATENTS)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2, help="runs at the best rate, beside the one that chose it")
    parser.add_argument("--only", nargs="+", help="names of estimators")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out = args.out or SHIPPED / f"estimators_{args.latents}.json"
    args.part = args.out.with_suffix(".part")
    rows: dict[str, Any] = json.loads(args.part.read_text(encoding="utf-8")) if args.part.exists() else {}
    loaded = load("mnist", binarize="stochastic")
    names = args.only or list(SURROGATES[args.latents])
    experiment(args.latents, names, args, splits(*loaded), rows)
    old = json.loads(args.out.read_text(encoding="utf-8")) if args.only and args.out.exists() else {"rows": {}}
    new = table(args.latents, rows)
    kept = [name for name in old["rows"] if name not in new]
    record = provenance(
        seed=0,
        data=f"MNIST, {len(loaded[0]):,} training images, fresh binarization at each use; sha256 {loaded[0].sha256()}",
        steps=args.steps,
        batch_size=BATCH,
        decoder_passes=PASSES,
        optimizer=f"Adam, cosine rate after 100 steps of rise, peak from {RATES}: best of seed 0 on validation images",
        protocol="2,000 test images, one binary draw of seed 0; NLL by importance sampling with 200 draws",
        rows={name: new[name] if name in new else old["rows"][name] for name in old["rows"] | new},
        training_minutes=round(sum(row["minutes"] for row in rows.values()), 1),
        kept=dict(rows=kept, commit=old["commit"], training_minutes=old["training_minutes"]) if kept else {},
    )
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    args.part.unlink()


if __name__ == "__main__":
    main()
