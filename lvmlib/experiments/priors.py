"""Five priors trained together with the VAE, beside the published figures of the VampPrior.

    python -m lvmlib.experiments.priors vamp --schedule short
    python -m lvmlib.experiments.priors vamp --data fashion-mnist --schedule full --device cuda

The networks of Tomczak & Welling (2018), with which Norouzi et al. (2020) made the table for MNIST and Fashion-MNIST:
two gated layers of 300 units on each side, 40 latents, batches of 100, Adam, 500 pseudo-inputs (or components of the
mixture). The published recipe is `--schedule full`: rate 5e-4, the KL term warmed up for 100 passes, up to 2,000 passes
with early stopping after 50 without gain on the validation images, 5,000 draws in the test. `--schedule short` has 6
passes, 1 of them of warm-up, a cosine rate from 3e-3, and 500 draws for 1,000 test images; `--schedule middle` the same
with 30 passes, 5 of warm-up. Ours throughout: pseudo-inputs start from training images and have no limits; means of a
mixture start from the prior.

A run that was interrupted goes on where it stopped. It leaves a record and no weights, such as
priors_mnist_vamp_short.json; a record that is there is not made again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lvmlib.base import Density, seed_everything
from lvmlib.bounds import distortion_and_rate, elbo, log_likelihood
from lvmlib.chain import Flow
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, MixtureOfGaussians, StandardNormal
from lvmlib.experiments.records import compact
from lvmlib.flows import MaskedAutoregressive, MixtureLogistic, realnvp
from lvmlib.latent import VAE, VampPrior
from lvmlib.runs import remove_run
from lvmlib.schedules import Scheduled, warmup
from lvmlib.surgery import active_units, decompose
from lvmlib.training import cosine, fit, negative_elbo

PRIORS = ("normal", "mixture", "vamp", "flow", "autoregressive")
LATENTS, COMPONENTS, BATCH = 40, 500, 100


class Schedule(NamedTuple):
    """How long a run is and how it is tested."""

    passes: int
    warm: int
    rate: float
    patience: int | None
    draws: int
    test: int


SCHEDULES = {
    "short": Schedule(6, 1, 3e-3, None, 500, 1000),
    "middle": Schedule(30, 5, 3e-3, None, 500, 1000),
    "full": Schedule(2000, 100, 5e-4, 50, 5000, 10_000),
}


class Gated(nn.Module):
    r"""A layer with gates, :math:`h = (A x + a) \odot \sigma(B x + b)`.

    Source: Tomczak & Welling 2018, section 4.2, after Dauphin et al. 2016.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.both = nn.Linear(inputs, 2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs] -> [B, outputs]."""
        return nn.functional.glu(self.both(x), 1)


def gated(inputs: int, outputs: int) -> nn.Sequential:
    """Two gated layers of 300, then a linear one."""
    return nn.Sequential(nn.Flatten(), Gated(inputs, 300), Gated(300, 300), nn.Linear(300, outputs))


def prior_of(name: str, encoder: Density, examples: Tensor) -> Density:
    """One of the five, for codes of the encoder's shape; a VampPrior starts from the examples.

    Example:
        >>> import torch
        >>> from lvmlib import StandardNormal
        >>> from lvmlib.experiments.priors import prior_of
        >>> prior_of("flow", StandardNormal((4,)), torch.zeros(0)).sample(2).shape
        torch.Size([2, 4])
    """
    shape = encoder.event_shape
    if name == "normal":
        return StandardNormal(shape)
    if name == "mixture":
        return MixtureOfGaussians(shape, COMPONENTS)
    if name == "vamp":
        return VampPrior(encoder, examples)
    if name == "flow":
        return realnvp(shape, 6, (100, 100))
    return Flow([MaskedAutoregressive(shape, (200,), MixtureLogistic(8))], StandardNormal(shape))


def model_of(name: str, examples: Tensor) -> VAE:
    """The VAE with gated layers, and one of the priors."""
    encoder = ConditionalNormal((LATENTS,), gated(784, 2 * LATENTS))
    decoder = ConditionalBernoulli((1, 28, 28), gated(LATENTS, 784))
    return VAE(encoder, decoder, prior_of(name, encoder, examples))


@torch.no_grad()
def measured(model: VAE, train: Data, test: Data, schedule: Schedule) -> dict[str, Any]:
    """Test NLL and bound, and the terms of the surgery over 10,000 training images."""
    seed_everything(0)
    bits, x = train.fixed(seed=0).x[:10_000], test.fixed(seed=0).x[: schedule.test]
    nll = -torch.cat([log_likelihood(model, part, schedule.draws) for part in x.split(100)])
    bound = torch.cat([elbo(model, part, k=10) for part in x.split(100)])
    return {
        "test_nll_nats": round(nll.mean().item(), 3),
        "test_nll_error": round(nll.std().item() / len(nll) ** 0.5, 3),
        "test_nll_each": [round(value, 2) for value in nll.tolist()],
        "test_elbo": round(bound.mean().item(), 3),
        "test_rate": round(torch.cat([_rate(model, part) for part in x.split(100)]).mean().item(), 3),
        "test_protocol": f"importance sampling with {schedule.draws} draws, {len(x):,} test images, one binary draw of "
        "seed 0; the error is that over images",
        "surgery": {name: round(value.mean().item(), 3) for name, value in decompose(model, bits)._asdict().items()},
        "surgery_protocol": f"{len(bits):,} training images as a data set of their own, one code each",
        "active_units": active_units(model, bits)[0],
    }


def _rate(model: VAE, x: Tensor) -> Tensor:
    return distortion_and_rate(model.trace(x, k=10))[1].mean(0)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", choices=PRIORS)
    parser.add_argument("--data", choices=("mnist", "fashion-mnist"), default="mnist")
    parser.add_argument("--schedule", choices=tuple(SCHEDULES), default="short")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="the record")
    return parser.parse_args()


def main() -> None:
    """Train, evaluate and note the result."""
    args = options()
    torch.set_num_threads(1)
    origin, schedule = provenance(seed=args.seed), SCHEDULES[args.schedule]
    out = args.out or SHIPPED / f"priors_{args.data.replace('-', '_')}_{args.prior}_{args.schedule}.json"
    if out.exists():
        return
    seed_everything(args.seed)
    train, valid, test = (part.to(args.device) for part in load(args.data, binarize="stochastic"))
    model = model_of(args.prior, train.fixed(seed=0).x[:COMPONENTS].cpu()).to(args.device)
    per_pass = len(train) // BATCH
    steps, beta = schedule.passes * per_pass, Scheduled(warmup(schedule.warm * per_pass))
    training = out.with_suffix(".training")
    continued = training.exists()
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    start = clock()
    history = fit(
        model,
        train,
        lambda model, x: -elbo(model, x, beta=beta.value),
        steps=steps,
        batch_size=BATCH,
        lr=schedule.rate if args.schedule == "full" else cosine(schedule.rate, steps),
        before_step=beta,
        valid=valid.fixed(seed=0) if schedule.patience else None,
        valid_loss=negative_elbo if schedule.patience else None,
        patience=schedule.patience,
        seed=args.seed,
        checkpoint=training,
        checkpoint_every=2 * per_pass,
        resume=True,
        progress=False,
    )
    minutes = (clock() - start) / 60
    record = dict(
        origin,
        prior=args.prior,
        parameters=sum(p.numel() for p in model.parameters()),
        data=f"{args.data}, {len(train):,} training images, fresh binarization at each use; sha256 {train.sha256()}",
        schedule=args.schedule,
        steps=len(history.loss),
        protocol=f"{schedule._asdict()}, Adam, batches of {BATCH}{'; not converged' * (args.schedule == 'short')}",
        training_minutes=round(minutes, 1),
        clock="processor time" if args.device == "cpu" else "wall clock",
        **measured(model, train, test, schedule),
        **({"note": "an interrupted run continued: training_minutes counts its last part only"} if continued else {}),
    )
    out.write_text(compact(record), encoding="utf-8")
    remove_run(training)
    print(f"{out.stem}: {record['test_nll_nats']:.2f} nats, {record['surgery']}, {minutes:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
