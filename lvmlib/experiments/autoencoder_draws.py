"""Draws from a VAE beside draws from an autoencoder trained as long, behind chapter 08.

    python -m lvmlib.experiments.autoencoder_draws

The same networks, 784-200-20, the same Bernoulli decoder, data, steps and learning rate; the autoencoder has neither
noise nor KL term. Its codes are drawn from distributions fitted to the codes of training images afterwards: a Gaussian,
and a mixture of fifty. The VAE's are drawn from its prior, and from a mixture of fifty as well; so are those of the
shipped longer run. Writes autoencoder_draws.json beside the weights; models whose rows stand there are not trained
again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from lvmlib.base import seed_everything
from lvmlib.checkpoints import SHIPPED, load_checkpoint, provenance
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.experiments.few_labels import without_noise
from lvmlib.experiments.vae_mnist import vae_mnist
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.training import cosine, fit

DRAWS = 2000


def small_vae() -> VAE:
    """The VAE that chapter 08 trains."""
    encoder = ConditionalNormal((20,), MLP(784, (200,), 40, nn.SiLU))
    return VAE(encoder, ConditionalBernoulli((1, 28, 28), MLP(20, (200,), 784, nn.SiLU)), StandardNormal((20,)))


def judge(train: Data) -> nn.Module:
    """A classifier of grey digits, which is to say how many draws it can read."""
    model = MLP(784, (256,), 10)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0].flatten(1)), batch[1], reduction="none")

    fit(model, (train.x, train.y), loss, steps=5000, batch_size=100, lr=cosine(2e-3, 5000), progress=False)
    return model


@torch.no_grad()
def measure(pictures: Tensor, train: Data, test: Data, reader: nn.Module) -> dict[str, float]:
    """How near pictures are to data, how near data are to pictures, how much ink, and how many can be read.

    Args:
        pictures: [2000, 1, 28, 28], grey levels in [0, 1].
        train: whose first 10,000 images the pictures are compared with.
        test: whose first 2,000 images look for their nearest picture.
        reader: a classifier.

    Returns:
        Mean distance from a picture to the nearest training image and from a test image to the nearest picture, mean
        ink, and the share of pictures to which the classifier gives a class with probability above 0.95.
    """
    flat = pictures.flatten(1)
    return {
        "to_nearest_training_image": round(nearest(flat, train.x[:10_000].flatten(1)), 3),
        "from_test_image_to_nearest": round(nearest(test.x[:DRAWS].flatten(1), flat), 3),
        "ink": round(flat.sum(1).mean().item(), 2),
        "readable": round((reader(flat).softmax(1).amax(1) > 0.95).double().mean().item(), 4),
    }


def nearest(a: Tensor, b: Tensor) -> float:
    """Mean distance of the rows of a from the nearest row of b."""
    return torch.cdist(a, b).amin(1).mean().item()


@torch.no_grad()
def mixture_codes(model: VAE, train: Data, seed: int, noise: bool) -> Tensor:
    """Codes drawn from a mixture of fifty Gaussians fitted to the codes of 10,000 training images, [2000, d].

    Args:
        model: whose latents with a variance of the posterior mean above 0.01 get the mixture, the others the prior.
        train: the images.
        seed: of the mixture.
        noise: whether the codes are draws from q(z|x) or its means.
    """
    q = model.posterior(train.batch(range(10_000)))
    codes = q.sample() if noise else q.mean  # type: ignore[union-attr, call-arg]
    used = q.mean.var(0) > 0.01  # type: ignore[union-attr]
    mixture = GaussianMixture(50, random_state=seed, reg_covar=1e-3).fit(codes[:, used].double().numpy())
    z = torch.randn(DRAWS, codes.shape[1])
    z[:, used] = torch.tensor(mixture.sample(DRAWS)[0], dtype=torch.float32)
    return z[torch.randperm(DRAWS, generator=torch.Generator().manual_seed(seed))]  # they come sorted by component


@torch.no_grad()
def autoencoder_draws(model: VAE, train: Data, seed: int) -> dict[str, Tensor]:
    """Means of decoded draws from a Gaussian and from a mixture of fifty, fitted to the codes of training images."""
    torch.manual_seed(seed)
    codes = model.posterior(train.batch(range(10_000))).mean  # type: ignore[union-attr]
    gaussian = MultivariateNormal(codes.mean(0), codes.T.cov()).sample((DRAWS,))
    z = {"Gaussian": gaussian, "mixture of 50": mixture_codes(model, train, seed, noise=False)}
    return {f"autoencoder, {name}": model.likelihood(codes).mean for name, codes in z.items()}  # type: ignore[union-attr]


@torch.no_grad()
def vae_draws(model: VAE, train: Data, seed: int) -> dict[str, Tensor]:
    """Means of decoded draws from the prior, and from a mixture of fifty fitted to draws from q(z|x)."""
    torch.manual_seed(seed)
    z = {"prior": model.prior.sample(DRAWS)}
    z["mixture of 50"] = mixture_codes(model, train, seed, noise=True)
    return {f"VAE, {name}": model.likelihood(codes).mean for name, codes in z.items()}  # type: ignore[union-attr]


def one_run(
    steps: int, seed: int, binary: Data, judged: Callable[[Tensor], Any], kept: dict[str, Any]
) -> dict[str, Any]:
    """Train both for so many steps, unless the rows are there; what is to be said of the draws of each."""
    rows: dict[str, Any] = {}
    for name, loss, draws in (("VAE", None, vae_draws), ("autoencoder", without_noise, autoencoder_draws)):
        rows |= {row: values for row, values in kept.items() if row.startswith(name)}
        if sum(row.startswith(name) for row in rows) == 2:
            continue
        seed_everything(seed)
        model = small_vae()
        rate = cosine(5e-3, steps, warmup=100)
        fit(model, binary, loss, steps=steps, batch_size=100, lr=rate, seed=seed, progress=False)
        rows |= {row: judged(pictures) for row, pictures in draws(model, binary, seed).items()}
    return rows


def longer_run(binary: Data, test: Data, judged: Callable[[Tensor], Any]) -> dict[str, Any]:
    """The same of the shipped VAE with 50 latents, and of its reconstructions of test images."""
    model = vae_mnist()
    load_checkpoint(model, "vae_mnist")
    pictures = vae_draws(model, binary, 0)
    pictures["VAE, reconstructions"] = model.reconstruct(test.fixed(seed=0).x[-DRAWS:])
    return {name: judged(x) for name, x in pictures.items()}


def main() -> None:
    """Train, measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[700, 2000, 7000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "autoencoder_draws.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    began = time.perf_counter()
    binary, _, binary_test = load("mnist", binarize="stochastic")
    grey, _, test = (split.unit() for split in load("mnist"))
    seed_everything(0)
    reader = judge(grey)

    def judged(pictures: Tensor) -> dict[str, float]:
        return measure(pictures, grey, test, reader)

    kept = json.loads(args.out.read_text("utf-8")) if args.out.exists() else {}
    record = provenance(
        seed=0,
        seeds=args.seeds,
        data=f"MNIST, {len(binary):,} training images, fresh binarization at each use; sha256 {binary.sha256()}",
        batch_size=100,
        protocol=f"means of p(x|z) of {DRAWS:,} draws; 10,000 training and {DRAWS:,} test images, grey",
        test_images=judged(test.x[-DRAWS:]),
        longer_run=longer_run(binary, binary_test, judged),
    )
    print(json.dumps(record["longer_run"]), flush=True)
    record["runs"] = kept.get("runs", {})
    for steps in args.steps:
        before = [*record["runs"].get(str(steps), []), *[{}] * args.seeds]
        runs = [one_run(steps, seed, binary, judged, before[seed]) for seed in range(args.seeds)]
        record["runs"][str(steps)] = runs
        print(steps, json.dumps(runs[0]), flush=True)
        minutes = kept.get("training_minutes", 0) + (time.perf_counter() - began) / 60
        args.out.write_text(
            json.dumps(record | {"training_minutes": round(minutes, 1)}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
