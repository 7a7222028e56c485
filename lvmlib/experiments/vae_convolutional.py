"""A convolutional VAE of binary MNIST, and one that is told the class, which chapter 08 shows.

    python -m lvmlib.experiments.vae_convolutional conditional

Ten passes, a few minutes on one core. An interrupted run continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lvmlib.bounds import log_likelihood
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.experiments.shipping import begin, mnist_facts, options, train_and_ship
from lvmlib.latent import VAE
from lvmlib.networks import ConvDecoder, ConvEncoder, planes

SHAPE, LATENTS, CLASSES = (1, 28, 28), 20, 10


def convolutional_vae(classes: int = 0) -> VAE:
    """Two convolutions of stride 2 on the way to 20 latents, and two on the way back.

    Args:
        classes: 0, or how many there are: the context is then one-hot, and joins the picture as planes and the code as
            further entries.

    Example:
        >>> import torch
        >>> from lvmlib.experiments.vae_convolutional import convolutional_vae
        >>> convolutional_vae(10).sample(10, context=torch.eye(10)).shape
        torch.Size([10, 1, 28, 28])
    """
    encoder = ConvEncoder((1 + classes, 28, 28), (16, 32), 2 * LATENTS)
    decoder = ConvDecoder(LATENTS + classes, (32, 16), SHAPE)
    q, p = ConditionalNormal((LATENTS,), encoder), ConditionalBernoulli(SHAPE, decoder)
    return VAE(q, p, StandardNormal((LATENTS,)), join=planes)


MODELS: dict[str, Callable[[], VAE]] = {"plain": convolutional_vae, "conditional": lambda: convolutional_vae(CLASSES)}


class WithClasses:
    """A split whose batches are pairs of pictures and one-hot classes."""

    def __init__(self, data: Data):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures and classes at `index`."""
        assert self.data.y is not None
        return self.data.batch(index), F.one_hot(self.data.y[index], CLASSES).float()


def nll_on_test(model: VAE, test: Data, told: bool, images: int = 2000, k: int = 500) -> dict[str, Any]:
    """Minus the log-likelihood of one binary draw of the first test images, by importance sampling, nats."""
    fixed = test.fixed(seed=0).subset(images)
    assert fixed.y is not None
    classes = F.one_hot(fixed.y, CLASSES).float()
    torch.manual_seed(0)
    total = 0.0
    for x, y in zip(fixed.x.split(100), classes.split(100)):
        total -= log_likelihood(model, x, k=k, context=y if told else None).sum().item()
    given = ", given the class" if told else ""
    return {
        "test_nll_nats": round(total / images, 2),
        "test_protocol": f"importance sampling with {k} draws, {images:,} test images, seed 0{given}",
    }


def main() -> None:
    """Train, evaluate and save."""
    parser = options(__doc__, passes=10, lr=3e-3, batch_size=100, clip_norm=1e9)
    parser.add_argument("model", choices=MODELS)
    args = parser.parse_args()
    begin(args)
    train, _, test = load("mnist", binarize="stochastic", valid=0)
    told = args.model == "conditional"

    def evaluate(model: VAE) -> dict[str, Any]:
        return nll_on_test(model, test, told)

    source = WithClasses(train) if told else train
    name = f"vae_conv_{args.model}"
    train_and_ship(name, MODELS[args.model](), source, len(train), args, evaluate, data=mnist_facts(train))


if __name__ == "__main__":
    main()
