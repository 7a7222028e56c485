"""What pretraining is worth with 100 labels, behind chapter 08: encoders against the same networks from random weights.

    python -m lvmlib.experiments.few_labels

Each encoder feeds a logistic regression (frozen) or is trained on together with a linear layer (tuned), and so is the
same network from random weights. Learning rate and number of steps of the tuning are chosen for each network on the
10,000 validation images, by the same rule for all. Writes few_labels.json beside the weights.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from lvmlib.base import seed_everything
from lvmlib.checkpoints import SHIPPED, load_checkpoint, provenance
from lvmlib.data import Data, load
from lvmlib.experiments.vae_mnist import vae_mnist
from lvmlib.networks import MLP
from lvmlib.training import cosine, fit

RATES, STEPS = (3e-4, 1e-3, 3e-3), (50, 150, 500)


class MeanOf(nn.Module):
    """The encoder of a VAE as a network: x -> the means of its approximate posterior."""

    def __init__(self, network: nn.Module, latents: int):
        super().__init__()
        self.network, self.latents = network, latents

    def forward(self, x: Tensor) -> Tensor:
        """Codes, [B, latents]."""
        return self.network(x)[:, : self.latents]


def autoencoder(images: Data, steps: int) -> nn.Module:
    """The encoder of chapter 08's autoencoder, 784-128-32, trained by squared error."""
    model = nn.Sequential(MLP(784, (128,), 32), MLP(32, (128,), 784))

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return (model(x) - x.flatten(1)).square().sum(1)

    fit(model, images, loss, steps=steps, batch_size=100, lr=cosine(4e-3, steps), progress=False)
    return model[0]


def vae_encoder(train: Data | None, steps: int = 0, noise: bool = True) -> nn.Module:
    """The encoder of `vae_mnist`: shipped, or trained as a VAE, or without noise and KL term as an autoencoder."""
    model = vae_mnist()
    if train is None:
        load_checkpoint(model, "vae_mnist")
    else:
        loss, rate = None if noise else without_noise, cosine(2e-3, steps, warmup=100)
        fit(model, train, loss, steps=steps, batch_size=100, lr=rate, progress=False)
    return network_of(model)


def without_noise(model: Any, x: Tensor) -> Tensor:
    """The loss of the same networks as an autoencoder: -log p(x | mean of q(z|x)), [B]."""
    return -model.likelihood(model.posterior(x).mean).log_prob(x)


def network_of(model: Any) -> nn.Module:
    """The network that gives the codes of a VAE."""
    return MeanOf(model.pair.encoder.network, 50)


def few_labels(images: Data, seed: int) -> tuple[Tensor, Tensor]:
    """Ten training images of each class, and their labels."""
    assert images.y is not None
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    index = torch.cat([order[images.y[order] == digit][:10] for digit in range(10)])
    return images.x[index], images.y[index]


def frozen(encoder: nn.Module, images: Data, test: Data, seed: int) -> float:
    """Test accuracy of a logistic regression on the codes, after one common rescaling."""
    x, y = few_labels(images, seed)
    with torch.no_grad():
        z = encoder(images.x[:20_000])
        centre, scale = z.mean(0), z.std(0).square().mean().sqrt()
        few, many = ((encoder(x) - centre) / scale for x in (x, test.x))
    return LogisticRegression(max_iter=1000).fit(few, y).score(many, test.y)


def tuned(encoder: nn.Module, x: Tensor, y: Tensor, lr: float, splits: tuple[Data, Data]) -> dict[int, list[float]]:
    """Accuracies on validation and test images after each number of steps."""
    network = nn.Sequential(copy.deepcopy(encoder), nn.LazyLinear(10))
    network(x[:1])
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    result = {}
    for step in range(1, max(STEPS) + 1):
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        if step in STEPS:
            with torch.no_grad():
                result[step] = [(network(s.x).argmax(1) == s.y).double().mean().item() for s in splits]
    return result


def best_tuning(encoders: list[nn.Module], images: Data, splits: tuple[Data, Data]) -> dict[str, Any]:
    """Test accuracies, one for each encoder and draw of labels, at the rate and steps best on validation images."""
    table: dict[tuple[float, int], list[list[float]]] = {(lr, n): [] for lr in RATES for n in STEPS}
    for seed, encoder in enumerate(encoders):
        x, y = few_labels(images, seed)
        for lr in RATES:
            torch.manual_seed(seed)
            for n, accuracies in tuned(encoder, x, y, lr, splits).items():
                table[lr, n].append(accuracies)
    lr, n = max(table, key=lambda key: sum(valid for valid, _ in table[key]))
    return {"lr": lr, "steps": n, "tuned": [round(accuracy, 4) for _, accuracy in table[lr, n]]}


def main() -> None:
    """Pretrain, classify, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=5, help="of the labels")
    parser.add_argument("--steps", type=int, default=5000, help="of the two larger networks trained here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "few_labels.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    began = time.perf_counter()
    images, valid, test = (split.unit() for split in load("mnist"))
    binary = load("mnist", binarize="stochastic")[0]
    pretrained: dict[str, Callable[[], nn.Module]] = {
        "autoencoder, 700 steps": lambda: autoencoder(images, 700),
        "autoencoder, 7,000 steps": lambda: autoencoder(images, 7000),
        f"larger autoencoder, {args.steps:,} steps": lambda: vae_encoder(binary, args.steps, noise=False),
        f"VAE, {args.steps:,} steps": lambda: vae_encoder(binary, args.steps),
        "VAE, shipped": lambda: vae_encoder(None),
    }
    rows = {}
    for name, build in {"small": lambda: MLP(784, (128,), 32), "large": lambda: network_of(vae_mnist())}.items():
        seed_everything(0)
        rows[f"from scratch, {name}"] = best_tuning([build() for _ in range(args.draws)], images, (valid, test))
        print(name, rows[f"from scratch, {name}"], flush=True)
    for name, train_one in pretrained.items():
        seed_everything(0)
        encoder = train_one()
        values = [round(frozen(encoder, images, test, seed), 4) for seed in range(args.draws)]
        rows[name] = {"frozen": values} | best_tuning([encoder] * args.draws, images, (valid, test))
        print(name, rows[name], flush=True)
    record = provenance(
        seed=0,
        draws=args.draws,
        data=f"MNIST, 100 labels, {len(images):,} images without; sha256 {images.sha256()}",
        tuning=f"Adam, all 100 examples at each step; rate from {RATES}, steps from {STEPS}, on validation images",
        protocol=f"{len(test):,} test images, {args.draws} draws of the labels",
        rows=rows,
    )
    record["training_minutes"] = round((time.perf_counter() - began) / 60, 1)
    args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
