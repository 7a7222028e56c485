"""Draws from a VAE beside draws from an autoencoder trained as long, behind chapter 08.

    python -m lvmlib.experiments.autoencoder_draws

The same networks, 784-200-20, the same Bernoulli decoder, data, steps and learning rate; the autoencoder has neither
noise nor KL term. Its codes are drawn from distributions fitted to the codes of training images afterwards: a Gaussian,
and a mixture of fifty. Writes autoencoder_draws.json beside the weights.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from lvmlib.base import seed_everything
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.experiments.few_labels import without_noise
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
def autoencoder_draws(model: VAE, train: Data, seed: int) -> dict[str, Tensor]:
    """Means of decoded draws from a Gaussian and from a mixture of fifty, fitted to the codes of training images."""
    codes = model.posterior(train.batch(range(10_000))).mean  # type: ignore[union-attr]
    gaussian = MultivariateNormal(codes.mean(0), codes.T.cov())
    mixture = GaussianMixture(50, random_state=seed, reg_covar=1e-3).fit(codes.double().numpy())
    drawn = torch.tensor(mixture.sample(DRAWS)[0], dtype=torch.float32)
    z = {"autoencoder, Gaussian": gaussian.sample((DRAWS,)), "autoencoder, mixture of 50": drawn}
    return {name: model.likelihood(codes).mean for name, codes in z.items()}  # type: ignore[union-attr]


def one_run(steps: int, seed: int, binary: Data, grey: Data, test: Data, reader: nn.Module) -> dict[str, Any]:
    """Train both for so many steps; what `measure` says of the draws of each."""
    models = {}
    for name, loss in {"VAE": None, "autoencoder": without_noise}.items():
        seed_everything(seed)
        models[name] = small_vae()
        rate = cosine(5e-3, steps, warmup=100)
        fit(models[name], binary, loss, steps=steps, batch_size=100, lr=rate, seed=seed, progress=False)
    torch.manual_seed(seed)
    with torch.no_grad():
        vae = models["VAE"]
        pictures = {"VAE, prior": vae.likelihood(vae.prior.sample(DRAWS)).mean}  # type: ignore[union-attr]
    pictures |= autoencoder_draws(models["autoencoder"], binary, seed)
    return {name: measure(x, grey, test, reader) for name, x in pictures.items()}


def main() -> None:
    """Train, measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[700, 2000, 7000, 20_000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "autoencoder_draws.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    began = time.perf_counter()
    binary = load("mnist", binarize="stochastic")[0]
    grey, _, test = (split.unit() for split in load("mnist"))
    seed_everything(0)
    reader = judge(grey)
    record = provenance(
        seed=0,
        seeds=args.seeds,
        data=f"MNIST, {len(binary):,} training images, fresh binarization at each use; sha256 {binary.sha256()}",
        batch_size=100,
        protocol=f"means of p(x|z) of {DRAWS:,} draws; 10,000 training and {DRAWS:,} test images, grey",
        test_images=measure(test.x[-DRAWS:], grey, test, reader),
    )
    print("test images", record["test_images"], flush=True)
    record["runs"] = {}
    for steps in args.steps:
        record["runs"][str(steps)] = [one_run(steps, s, binary, grey, test, reader) for s in range(args.seeds)]
        print(steps, json.dumps(record["runs"][str(steps)][0]), flush=True)
    record["training_minutes"] = round((time.perf_counter() - began) / 60, 1)
    args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
