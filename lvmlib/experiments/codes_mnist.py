"""VQ-VAEs of binary MNIST behind chapter 12: codes on one level and on two.

    python -m lvmlib.experiments.codes_mnist 64
    python -m lvmlib.experiments.codes_mnist two-levels

Encoder, decoder and book first, with all else the same; then a prior over the codes, told the class or not. Nothing has
converged. The runs with weights are `vqvae_mnist` (64 vectors, the prior not told the class) and `vqvae2_mnist`.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.autoregressive import CodeMap, GatedPixelCNN
from lvmlib.base import Density, seed_everything
from lvmlib.checkpoints import SHIPPED, provenance, save_checkpoint
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalBernoulli
from lvmlib.experiments.shipping import forget_masked, mnist_facts
from lvmlib.latent import VQVAE, VQVAE2, TwoLevelPrior, perplexity
from lvmlib.latent.vqvae import CodeModel
from lvmlib.runs import remove_run
from lvmlib.training import cosine, fit

WIDTH, LEVELS = 16, 64  # entries of a vector, vectors of a book
STEPS, PRIOR_STEPS, BATCH = 2500, 3000, 64
TEST = 2000  # images that are priced


def features(outputs: int) -> nn.Sequential:
    """Network from a digit, with two pixels of paper all round, to [B, outputs, 8, 8]."""
    first, second = nn.Conv2d(1, 16, 4, 2, 1), nn.Conv2d(16, 32, 4, 2, 1)
    return nn.Sequential(nn.ZeroPad2d(2), first, nn.SiLU(), second, nn.SiLU(), nn.Conv2d(32, outputs, 1))


def decoder(inputs: int) -> ConditionalBernoulli:
    """p(x|z), given [B, inputs, 8, 8]: coins for the pixels."""
    layers = [nn.Conv2d(inputs, 32, 3, padding=1), nn.SiLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.SiLU()]
    return ConditionalBernoulli(
        (1, 28, 28), nn.Sequential(*layers, nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.ZeroPad2d(-2))
    )


def grid_prior(side: int, levels: int, context: Any = None) -> GatedPixelCNN:
    """A pixel model of codes on a grid."""
    shape = (1, side, side)
    return GatedPixelCNN(
        shape, channels=24, layers=3, kernel=3, positions=True, levels=levels, embedding=True, context=context
    )


def vqvae_mnist(levels: int = LEVELS, classes: int | None = None) -> VQVAE:
    """One level: 8x8 codes of 64 values.

    Example:
        >>> from lvmlib.experiments.codes_mnist import vqvae_mnist
        >>> vqvae_mnist().sample(2).shape
        torch.Size([2, 1, 28, 28])
    """
    return VQVAE(features(WIDTH), decoder(WIDTH), grid_prior(8, levels, classes), WIDTH, restart=0.1)


def vqvae2_mnist(levels: int = LEVELS) -> VQVAE2:
    """Two levels: 4x4 codes above, 8x8 below, all of 64 values; the upper prior and the map are told the class.

    Example:
        >>> import torch
        >>> from lvmlib.experiments.codes_mnist import vqvae2_mnist
        >>> vqvae2_mnist().sample(2, torch.tensor([3, 7])).shape
        torch.Size([2, 1, 28, 28])
    """
    told = CodeMap((1, 4, 4), levels, features=24, scale=2, context=10)
    prior = TwoLevelPrior(grid_prior(4, levels, 10), grid_prior(8, levels, (24, 8, 8)), told)
    top = nn.Sequential(nn.SiLU(), nn.Conv2d(32, 32, 4, 2, 1), nn.SiLU(), nn.Conv2d(32, WIDTH, 1))
    bottom = nn.Sequential(nn.Conv2d(32 + WIDTH, 32, 1), nn.SiLU(), nn.Conv2d(32, WIDTH, 1))
    return VQVAE2(features(32), top, bottom, decoder(2 * WIDTH), prior, WIDTH, restart=0.1)


MODELS: dict[str, Callable[[], CodeModel]] = {"64": vqvae_mnist, "two-levels": vqvae2_mnist}
SHIPPED_AS = {"64": "vqvae_mnist", "two-levels": "vqvae2_mnist"}


class Codes:
    """Codes of fresh binarizations of a split, with the classes where the prior is told them."""

    def __init__(self, model: CodeModel, data: Data, labelled: bool):
        self.model, self.data, self.labelled = model, data, labelled

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, index: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Codes at `index`, or (codes, classes)."""
        codes = self.model.codes(self.data.batch(index))
        if not self.labelled or self.data.y is None:
            return codes
        return codes, self.data.y[index]


def code_loss(prior: Density, batch: Any) -> Tensor:
    """Minus the log-probability of codes, given the classes where there are any."""
    return -prior.log_prob(*batch) if isinstance(batch, tuple) else -prior.log_prob(batch)


def by_class(prior: Density, z: Tensor) -> Tensor:
    """Log-probabilities of codes under each of ten classes, [10, B]; their mean probability is that without a class."""
    return torch.stack([prior.log_prob(z, torch.full((len(z),), y)) for y in range(10)])


@torch.no_grad()
def price(model: CodeModel, data: Data) -> dict[str, float]:
    """Means over one fixed draw of the images: nats of pixels given codes, of codes, of codes given the class."""
    fixed, labelled = data.fixed(seed=0), model.prior.context_shape is not None
    sums = {"distortion": 0.0, "rate": 0.0} | ({"rate_given_class": 0.0, "classes_right": 0.0} if labelled else {})
    for rows in torch.arange(len(fixed)).split(500):
        x, z = fixed.x[rows], model.codes(fixed.x[rows])
        sums["distortion"] -= model.quantizer.likelihood(z).log_prob(x).sum().item()
        if labelled and fixed.y is not None:
            y = fixed.y[rows]
            each = by_class(model.prior, z)
            sums["rate"] -= (each.logsumexp(0) - math.log(10)).sum().item()
            sums["rate_given_class"] -= each.gather(0, y[None]).sum().item()
            sums["classes_right"] += (each.argmax(0) == y).sum().item()
        else:
            sums["rate"] -= model.prior.log_prob(z).sum().item()
    return {key: round(value / len(fixed), 4) for key, value in sums.items()}


def usage(model: CodeModel, data: Data) -> dict[str, Any]:
    """Perplexity of each level's codes over the first 10,000 images."""
    z = model.codes(data.subset(min(10_000, len(data))).fixed(seed=0).x)
    if isinstance(model, VQVAE):
        return {"perplexity": round(perplexity(z, model.codebook.size).item(), 1)}
    assert isinstance(model, VQVAE2)
    levels = zip(model.prior.split(z), model.codebooks)
    return {"perplexity": [round(perplexity(codes, book.size).item(), 1) for codes, book in levels]}


def stage(model: nn.Module, source: Any, loss: Any, steps: int, rate: float, average: float | None, out: Any) -> float:
    """One stage of the training, which an interruption does not lose; minutes of processor time."""
    start = time.process_time()
    fit(
        model,
        source,
        loss,
        steps=steps,
        batch_size=BATCH,
        lr=cosine(rate, steps, warmup=100),
        average=average,
        seed=0,
        checkpoint=out,
        checkpoint_every=500,
        resume=True,
        progress=False,
    )
    return (time.process_time() - start) / 60


def two_stages(model: CodeModel, train: Data, steps: int, prior_steps: int, out: Path) -> tuple[float, float]:
    """Encoder, decoder and book, then the prior, all rounded to bfloat16 in the end; minutes of both stages."""
    first, second = out.with_suffix(".codes"), out.with_suffix(".prior")
    model.start_from(train.batch(range(500)))
    minutes = stage(model, train, type(model).loss, steps, 2e-3, None, first)
    model.bfloat16().float()  # the codes that the prior learns are those of the stored encoder
    codes = Codes(model, train, model.prior.context_shape is not None)
    prior_minutes = stage(model.prior, codes, code_loss, prior_steps, 3e-3, 0.995, second)
    forget_masked(model)
    model.bfloat16().float()  # what is evaluated is what is stored
    for part in (first, second):
        remove_run(part)
    return minutes, prior_minutes


def main() -> None:
    """Train both stages of one model, evaluate, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--prior-steps", type=int, default=PRIOR_STEPS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    out = SHIPPED / SHIPPED_AS[args.model]
    if out.with_suffix(".json").exists():
        return
    origin = provenance(seed=0)
    train, _, test = load("mnist", binarize="stochastic", valid=0)
    seed_everything(0)
    model = MODELS[args.model]()
    minutes, prior_minutes = two_stages(model, train, args.steps, args.prior_steps, out)
    on_test, on_train = (price(model, data.subset(min(TEST, len(data)))) for data in (test, train))
    record = dict(
        origin,
        data=mnist_facts(train),
        protocol=f"{args.steps} steps for encoder, decoder and book, Adam 2e-3, then {args.prior_steps} for the prior, "
        f"Adam 3e-3 and averaged weights, both with cosine decay and batches of {BATCH}; not converged",
        training_minutes=round(minutes + prior_minutes, 1),
        prior_minutes=round(prior_minutes, 1),
        clock="processor time",
        places=model.prior.event_shape.numel(),
        **usage(model, train),
        test=on_test,
        train=on_train,
        test_nll_nats=round(on_test["distortion"] + on_test["rate"], 3),
        train_nll_nats=round(on_train["distortion"] + on_train["rate"], 3),
        test_protocol=f"bound, the first {TEST:,} test images, one binary draw of seed 0",
        train_protocol=f"bound, the first {TEST:,} training images, one binary draw of seed 0",
    )
    save_checkpoint(model, out, record, half=True)
    print(args.model, record["test"], record["perplexity"], record["training_minutes"], flush=True)


if __name__ == "__main__":
    main()
