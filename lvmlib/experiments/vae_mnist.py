"""The longer run behind chapter 08: the one-layer VAE of Burda et al. (2016), 784-200-200-50, on binary MNIST.

    python -m lvmlib.experiments.vae_mnist

About 35 minutes on one quiet core. Stochastic binarization, all 60,000 training images, averaged weights and a cosine
learning rate in place of the published 3,280 passes. An interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import nn

from lvmlib.base import seed_everything
from lvmlib.bounds import log_likelihood
from lvmlib.checkpoints import SHIPPED, provenance, save_checkpoint
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.runs import remove_run
from lvmlib.surgery import active_units
from lvmlib.training import cosine, fit


def vae_mnist(latents: int = 50, hidden: tuple[int, ...] = (200, 200)) -> VAE:
    """An MLP VAE for binary 28x28 images with tanh units; by default the published 784-200-200-50.

    Example:
        >>> from lvmlib.experiments.vae_mnist import vae_mnist
        >>> vae_mnist().sample(2).shape
        torch.Size([2, 1, 28, 28])
    """
    encoder = ConditionalNormal((latents,), MLP(784, hidden, 2 * latents, nn.Tanh))
    decoder = ConditionalBernoulli((1, 28, 28), MLP(latents, hidden[::-1], 784, nn.Tanh))
    return VAE(encoder, decoder, StandardNormal((latents,)))


def nll_on_test(model: VAE, test: Data, k: int, batch: int = 100) -> float:
    """Mean of minus the k-sample log-likelihood over one fixed draw of the binary test images, nats."""
    total = sum(log_likelihood(model, x, k=k).sum().item() for x in test.fixed(seed=0).x.split(batch))
    return -total / len(test)


def main() -> None:
    """Train, evaluate and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=600)
    parser.add_argument("--latents", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--average", type=float, default=0.9995)
    parser.add_argument("--k", type=int, default=5000, help="draws per test image in the evaluation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "vae_mnist")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    origin = provenance(seed=args.seed)  # now: the working tree may have moved on by the time training ends
    seed_everything(args.seed)
    train, _, test = load("mnist", binarize="stochastic", valid=0)
    model = vae_mnist(args.latents)
    steps = args.passes * len(train) // args.batch_size
    training = args.out.with_suffix(".training")
    continued = training.exists()
    start = time.perf_counter()
    fit(
        model,
        train,
        steps=steps,
        batch_size=args.batch_size,
        lr=cosine(args.lr, steps, warmup=1000),
        average=args.average,
        seed=args.seed,
        checkpoint=training,
        checkpoint_every=5000,
        resume=True,
    )
    minutes = (time.perf_counter() - start) / 60
    model.bfloat16().float()  # what is evaluated is what is stored
    nll = nll_on_test(model, test, args.k)
    record = dict(
        origin,
        data=f"MNIST, 60,000 training images, fresh binarization at each use; sha256 {train.sha256()}",
        passes=args.passes,
        batch_size=args.batch_size,
        optimizer=f"Adam, cosine learning rate from {args.lr} after 1000 steps of rise",
        averaged_weights=args.average,
        training_minutes=round(minutes, 1),
        **({"note": "an interrupted run continued: training_minutes counts its last part only"} if continued else {}),
        test_nll_nats=round(nll, 3),
        test_protocol=f"importance sampling with {args.k} draws, 10,000 test images, one binary draw of seed 0",
        active_latents=active_units(model, train.fixed(seed=0).x[:10_000])[0],
    )
    save_checkpoint(model, args.out, record, half=True)
    remove_run(training)
    print(f"test NLL {nll:.2f} nats, {record['active_latents']} active latents, {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
