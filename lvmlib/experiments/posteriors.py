"""Four families for q(z|x) in one VAE: Gaussian, inverse autoregressive flow, mixture, categorical. Behind chapter 08.

    python -m lvmlib.experiments.posteriors

Binary MNIST, one hidden layer of 200 units on either side, the same steps, batches and rate for all. The Gaussian,
the flow and the mixture have 20 continuous latents, the last family 20 variables of 8 values each. Writes
posteriors.json beside the weights; runs that stand there are not made again.
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

from lvmlib.base import Given, seed_everything
from lvmlib.bounds import elbo, log_likelihood
from lvmlib.chain import Flow
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import load
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalCategorical,
    ConditionalMixture,
    ConditionalNormal,
    FactorisedCategorical,
    StandardNormal,
)
from lvmlib.estimators import gumbel_softmax
from lvmlib.flows import iaf
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.objectives import stratified_elbo
from lvmlib.training import cosine, fit

D, PARTS, VALUES = 20, 4, 8
Bound = Callable[[Any, Tensor], Tensor]


def network(outputs: int) -> nn.Module:
    """The encoder's network."""
    return MLP(784, (200,), outputs, nn.SiLU)


def decoder(inputs: int) -> ConditionalBernoulli:
    """The same for all families but for the number of its inputs."""
    return ConditionalBernoulli((1, 28, 28), MLP(inputs, (200,), 784, nn.SiLU))


def gaussian() -> VAE:
    """Independent Gaussians."""
    return VAE(ConditionalNormal((D,), network(2 * D)), decoder(D), StandardNormal((D,)))


class First(nn.Module):
    """The first n entries of each row."""

    def __init__(self, n: int):
        super().__init__()
        self.n = n

    def forward(self, rows: Tensor) -> Tensor:
        """[B, n] of [B, at least n]."""
        return rows[:, : self.n]


def flow() -> VAE:
    """The Gaussian again, bent by two inverse autoregressive layers, which 60 more outputs of the network tell of x."""
    told = 2 * D + 60
    bends = iaf((D,), layers=2, hidden=(100,), context=told).layers
    encoder = Given(Flow(bends, ConditionalNormal((D,), First(2 * D))), network(told))
    return VAE(encoder, decoder(D), StandardNormal((D,)))


def mixture() -> VAE:
    """Four Gaussians with weights, all of them functions of x."""
    encoder = ConditionalMixture((D,), network(PARTS * (1 + 2 * D)), PARTS)
    return VAE(encoder, decoder(D), StandardNormal((D,)))


def categorical() -> VAE:
    """Twenty choices among eight values."""
    shape = (D, VALUES)
    return VAE(ConditionalCategorical(shape, network(D * VALUES)), decoder(D * VALUES), FactorisedCategorical(shape))


FAMILIES: dict[str, tuple[Callable[[], VAE], Bound]] = {
    "Gaussian": (gaussian, elbo),
    "flow (IAF)": (flow, elbo),
    "mixture": (mixture, stratified_elbo),
    "categorical": (categorical, lambda model, x: gumbel_softmax(model, x, temperature=0.67)),
}


@torch.no_grad()
def measured(model: VAE, x: Tensor) -> dict[str, float]:
    """ELBO and log-likelihood on test images, nats."""
    seed_everything(0)
    bound = torch.stack([model.log_weights(x, k=10).mean(0) for _ in range(10)]).mean().item()
    likelihood = log_likelihood(model, x, k=1000).mean().item()
    return {"elbo": round(bound, 2), "log_likelihood": round(likelihood, 2)}


def main() -> None:
    """Train each family with each seed, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, default=300, help="test images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "posteriors.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    train, _, test = load("mnist", binarize="stochastic")
    x = test.fixed(seed=0).x[: args.images]
    kept = json.loads(args.out.read_text("utf-8")) if args.out.exists() else {}
    runs, minutes = kept.get("runs", {}), kept.get("training_minutes", 0.0)
    for seed in range(args.seeds):
        for name, (build, bound) in FAMILIES.items():
            done = runs.setdefault(name, [])
            if len(done) > seed:
                continue
            began = time.process_time()
            seed_everything(seed)
            model, rate = build(), cosine(3e-3, args.steps, warmup=100)

            def loss(model: Any, x: Tensor, bound: Bound = bound) -> Tensor:
                return -bound(model, x)

            fit(model, train, loss, steps=args.steps, batch_size=100, lr=rate, seed=seed, progress=False)
            done.append(measured(model, x))
            minutes += (time.process_time() - began) / 60
            print(seed, name, done[-1], flush=True)
            record = provenance(
                seed=0,
                data=f"MNIST, {len(train):,} training images, fresh binarization at each use; sha256 {train.sha256()}",
                steps=args.steps,
                batch_size=100,
                optimizer="Adam, cosine learning rate from 0.003 after 100 steps of rise",
                protocol=f"{len(x):,} test images; ELBO of 100 draws, log-likelihood of 1,000",
                parameters={n: sum(p.numel() for p in f[0]().parameters()) for n, f in FAMILIES.items()},
                training_minutes=round(minutes, 1),
                clock="processor time",
                runs=runs,
            )
            args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
