"""Table 1 of Burda, Grosse & Salakhutdinov (2016): VAE and IWAE with one and with two layers of codes, on binary MNIST.

    python -m lvmlib.experiments.iwae iwae --k 50 --schedule short
    python -m lvmlib.experiments.iwae vae --k 1 --layers 2 --schedule full --device cuda --compile

The published protocol: tanh units, weights by Glorot's rule, Adam with epsilon 1e-4, batches of 20, all 60,000 training
images with fresh binarization at each use, learning rates 1e-3 * 10^(-i/7) for 3^i passes, i = 0..7, 3,280 passes in
all. `--schedule short` ends after i = 4, at 121 passes. The rest (single precision, one draw of the test bits) is ours.

A run that was interrupted goes on where it stopped. It leaves a record and no weights, such as iwae_50_short.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.base import seed_everything
from lvmlib.bounds import elbo, iwae, log_likelihood
from lvmlib.chain import Flow
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.estimators import single_backward_iwae
from lvmlib.latent import HierarchicalVAE
from lvmlib.networks import MLP
from lvmlib.runs import remove_run
from lvmlib.surgery import active_units
from lvmlib.training import Loss, Objective, fit

RATES = {"full": 8, "short": 5}
BATCH = 20


def burda(layers: int = 1, mean: Tensor | None = None) -> HierarchicalVAE:
    """The published networks: 784-200-200-50, and with two layers of codes 784-200-200-100 and 100-100-100-50.

    Args:
        layers: of codes, 1 or 2.
        mean: [784], the share of ink in each pixel, with whose log-odds the decoder starts.

    Example:
        >>> from lvmlib.experiments.iwae import burda
        >>> burda(2).sample(3).shape
        torch.Size([3, 1, 28, 28])
    """
    codes = 100 if layers == 2 else 50  # of the lower layer
    lower = MLP(784, (200, 200), 2 * codes, nn.Tanh), MLP(codes, (200, 200), 784, nn.Tanh)
    upper = MLP(codes, (100, 100), 2 * 50, nn.Tanh), MLP(50, (100, 100), 2 * codes, nn.Tanh)
    for layer in (layer for net in (*lower, *upper) for layer in net if isinstance(layer, nn.Linear)):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    if mean is not None:
        lower[1][-1].bias.data = mean.clamp(0.001, 0.999).logit()
    pairs: list[Any] = [(ConditionalNormal((codes,), lower[0]), ConditionalBernoulli((1, 28, 28), lower[1]))]
    if layers == 2:
        pairs.append((ConditionalNormal((50,), upper[0]), ConditionalNormal((codes,), upper[1])))
    return HierarchicalVAE(pairs, StandardNormal((50,)))


def passes(rates: int) -> int:
    """How many passes over the data the first so many learning rates take: 1 + 3 + 9 + ...

    Example:
        >>> from lvmlib.experiments.iwae import passes
        >>> passes(5), passes(8)
        (121, 3280)
    """
    return sum(3**i for i in range(rates))


def learning_rate(step: int, per_pass: int) -> float:
    """The published schedule: 1e-3 * 10^(-i/7) for 3^i passes.

    Example:
        >>> from lvmlib.experiments.iwae import learning_rate
        >>> [round(learning_rate(step, per_pass=10), 6) for step in (0, 9, 10, 39, 40)]
        [0.001, 0.001, 0.00072, 0.00072, 0.000518]
    """
    i = math.floor(math.log(2 * (step // per_pass) + 1, 3) + 1e-9)  # passes(i) = (3^i - 1) / 2
    return 1e-3 * 10 ** (-i / 7)


def negative_bound(model: str, k: int, single: bool) -> Loss:
    """What is minimised: minus the ELBO averaged over k draws, or minus the importance-weighted bound."""
    if model == "vae":
        return lambda density, x: -elbo(density, x, k)
    bound = single_backward_iwae if single else iwae
    return lambda density, x: -bound(density, x, k)


def measured(model: Flow, train: Data, test: Data, k: int) -> dict[str, Any]:
    """Test NLL in nats and active units, by the published protocol."""
    bits = test.fixed(seed=0).x.split(100)
    nll = -sum(log_likelihood(model, x, k).sum().item() for x in bits) / len(test)
    few = train.fixed(seed=0).x[:10_000]
    return {
        "test_nll_nats": round(nll, 3),
        "test_protocol": f"importance sampling with {k} draws, {len(test):,} test images, one binary draw of seed 0",
        "active_units": active_units(model, few, k=100 if len(model.transforms) > 1 else 1),
        "active_protocol": f"variance of the posterior mean above 0.01 over {len(few):,} training images",
    }


def name_of(args: argparse.Namespace) -> str:
    """Such as iwae_50_short, or vae_1_two_layers_full_seed_1."""
    parts = [
        args.model,
        str(args.k),
        "two_layers" * (args.layers - 1),
        args.schedule,
        f"seed_{args.seed}" * (args.seed > 0),
    ]
    return "_".join(part for part in parts if part)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("vae", "iwae"), help="average outside or inside of the logarithm")
    parser.add_argument("--k", type=int, default=1, help="draws per example in training")
    parser.add_argument("--layers", type=int, choices=(1, 2), default=1, help="stochastic layers")
    parser.add_argument("--schedule", choices=tuple(RATES), default="short")
    parser.add_argument("--single", action="store_true", help="back through one draw, chosen by its weight")
    parser.add_argument("--draws", type=int, default=5000, help="per test image in the evaluation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="capture the step as one graph")
    parser.add_argument("--out", type=Path, help="the record")
    return parser.parse_args()


def main() -> None:
    """Train, evaluate and note the result."""
    args = options()
    torch.set_num_threads(1)
    origin = provenance(seed=args.seed)
    seed_everything(args.seed)
    out = args.out or SHIPPED / f"{name_of(args)}.json"
    train, _, test = (part.to(args.device) for part in load("mnist", binarize="stochastic", valid=0))
    model = burda(args.layers, train.x.flatten(1).float().mean(0).cpu() / 255).to(args.device)
    loss = negative_bound(args.model, args.k, args.single)
    objective = Objective(model, loss)
    trained: Any = torch.compile(objective, mode="reduce-overhead") if args.compile else objective
    per_pass = len(train) // BATCH
    training = out.with_suffix(".training")
    continued = training.exists()
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    start = clock()
    fit(
        trained,
        train,
        loss=lambda wrapped, x: wrapped(x),
        steps=passes(RATES[args.schedule]) * per_pass,
        batch_size=BATCH,
        lr=partial(learning_rate, per_pass=per_pass),
        optimizer=partial(torch.optim.Adam, eps=1e-4, fused=True),
        seed=args.seed,
        checkpoint=training,
        checkpoint_every=2 * per_pass,
        resume=True,
        progress=False,
    )
    minutes = (clock() - start) / 60
    record = dict(
        origin,
        model=args.model,
        k=args.k,
        layers=args.layers,
        parameters=sum(p.numel() for p in model.parameters()),
        schedule=args.schedule,
        passes=passes(RATES[args.schedule]),
        batch_size=BATCH,
        gradient="one draw chosen by its weight" if args.single else "exact",
        optimizer="Adam, epsilon 1e-4, 1e-3 * 10^(-i/7) for 3^i passes",
        data=f"MNIST, 60,000 training images, fresh binarization at each use; sha256 {train.sha256()}",
        training_minutes=round(minutes, 1),
        clock="processor time" if args.device == "cpu" else "wall clock",
        **measured(model, train, test, args.draws),
        **({"note": "an interrupted run continued: training_minutes counts its last part only"} if continued else {}),
    )
    out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    remove_run(training)
    print(f"{out.stem}: {record['test_nll_nats']:.2f} nats, active {record['active_units']}, {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
