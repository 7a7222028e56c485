"""Pixel models as decoders, behind chapter 12: a PixelVAE and its rivals, and autoencoders with two kinds of decoder.

    python -m lvmlib.experiments.pixel_decoders pixel_vae
    python -m lvmlib.experiments.pixel_decoders pixels_10

A VAE, a PixelVAE and the pixel model alone on binary MNIST: the same encoder, trunk, data, steps and learning rate.
Autoencoders with 10 or 100 numbers as codes on digits of 8 grey levels, where the decoder is trained by the squared
error or is a pixel model: again all else is the same. Nothing has converged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.autoregressive import PixelCNN
from lvmlib.base import Given
from lvmlib.bounds import distortion_and_rate, iwae
from lvmlib.checkpoints import SHIPPED
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.experiments.shipping import begin, mnist_facts, options, train_and_ship
from lvmlib.latent import VAE, DensityAutoencoder, PixelVAE
from lvmlib.networks import ConvDecoder, ConvEncoder

SHAPE, GREYS, LATENTS, MAP = (1, 28, 28), 8, 16, 16


class Times(nn.Module):
    """Multiplies by a number, between networks whose inputs and outputs are about 1 and levels 0 to 7."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """x times the factor."""
        return self.factor * x


def trunk(inputs: int) -> nn.Sequential:
    """Network from a code to a map of features [B, 16, 28, 28], which every decoder starts with."""
    return nn.Sequential(ConvDecoder(inputs, (32, 24), (MAP, 28, 28)), nn.SiLU())


def pixels(levels: int, told: bool = True) -> PixelCNN:
    """The pixel model; it sees five rows up."""
    context = (MAP, 28, 28) if told else None
    return PixelCNN(SHAPE, channels=16, layers=2, kernel=7, positions=True, levels=levels, context=context)


def encoder() -> ConditionalNormal:
    """q(z|x) of both VAEs."""
    return ConditionalNormal((LATENTS,), ConvEncoder(SHAPE, (16, 32), 2 * LATENTS))


def plain_vae() -> VAE:
    """Pixels are independent given z."""
    decoder = ConditionalBernoulli(SHAPE, nn.Sequential(trunk(LATENTS), nn.Conv2d(MAP, 1, 1)))
    return VAE(encoder(), decoder, StandardNormal((LATENTS,)))


def pixel_vae() -> PixelVAE:
    """Pixels are drawn in their order, given z.

    Example:
        >>> from lvmlib.experiments.pixel_decoders import pixel_vae
        >>> pixel_vae().sample(2).shape
        torch.Size([2, 1, 28, 28])
    """
    return PixelVAE(encoder(), pixels(2), StandardNormal((LATENTS,)), trunk(LATENTS))


def autoencoder(width: int, by_pixels: bool) -> DensityAutoencoder:
    """Codes of so many numbers for digits with levels 0 to 7.

    Example:
        >>> import torch
        >>> from lvmlib.experiments.pixel_decoders import autoencoder
        >>> autoencoder(10, by_pixels=True).draws(torch.zeros(3, 1, 28, 28), 2).shape
        torch.Size([2, 3, 1, 28, 28])
    """
    network = nn.Sequential(Times(1 / (GREYS - 1)), ConvEncoder(SHAPE, (16, 32), width))
    if by_pixels:
        return DensityAutoencoder(network, Given(pixels(GREYS), trunk(width)))
    mean = nn.Sequential(trunk(width), nn.Conv2d(MAP, 1, 1), Times(GREYS - 1))
    return DensityAutoencoder(network, ConditionalNormal(SHAPE, mean, scale=float(GREYS - 1)))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "pixel_vae": pixel_vae,
    "plain_vae": plain_vae,
    "pixels_alone": lambda: pixels(2, told=False),
    "squares_10": lambda: autoencoder(10, by_pixels=False),
    "squares_100": lambda: autoencoder(100, by_pixels=False),
    "pixels_10": lambda: autoencoder(10, by_pixels=True),
    "pixels_100": lambda: autoencoder(100, by_pixels=True),
}
"""Built as they are before ``load_checkpoint(model, "decoder_" + name)``."""
NO_WEIGHTS = {"plain_vae", "pixels_alone"}


def grey(data: Data) -> Data:
    """Digits with 8 grey levels, 0.0 to 7.0."""
    return Data((data.x // (256 // GREYS)).float(), data.y, data.name)


def autoencoder_loss(model: DensityAutoencoder, x: Tensor) -> Tensor:
    """Minus log p(x|code)."""
    return model.loss(x)


@torch.no_grad()
def of_autoencoder(model: DensityAutoencoder, test: Data) -> dict[str, Any]:
    """What the test digits cost given their codes; for squared errors, the error itself as well."""
    x = test.x
    total = sum(model.loss(part).sum().item() for part in x.split(200)) / len(x)
    found: dict[str, Any] = {"test_nats_given_code": round(total, 3)}
    if isinstance(model.decoder, ConditionalNormal):
        error = sum((model.mean(part) - part).square().sum().item() for part in x.split(200)) / len(x)
        found["test_squared_error"] = round(error / (GREYS - 1) ** 2, 3)  # of greys in [0, 1]
    return found | {"test_protocol": f"{len(x):,} test images with {GREYS} grey levels"}


@torch.no_grad()
def of_bound(model: Any, test: Data) -> dict[str, Any]:
    """Bounds on the test NLL, with one draw and with 50, and what the codes cost; or the NLL itself."""
    torch.manual_seed(0)
    x = test.fixed(seed=0).x
    if not isinstance(model, VAE):
        exact = -sum(model.log_prob(part).sum().item() for part in x.split(200)) / len(x)
        return {"test_nll_nats": round(exact, 3), "test_protocol": f"exact, {len(x):,} test images, one draw of seed 0"}
    found = torch.zeros(2)
    for part in x.split(200):
        found += torch.stack([value.sum() for value in distortion_and_rate(model.trace(part))]) / len(x)
    few = x[:500]
    tight = -torch.cat([iwae(model, part, k=50) for part in few.split(20)])
    loose = -torch.cat([model.log_weights(part, k=10).mean(0) for part in few.split(20)])
    return {
        "test_nll_nats": round(found.sum().item(), 3),
        "distortion_nats": round(found[0].item(), 3),
        "rate_nats": round(found[1].item(), 3),
        "first_500_elbo": round(loose.mean().item(), 3),
        "first_500_iwae_50": round(tight.mean().item(), 3),
        "test_protocol": f"ELBO, one draw, {len(x):,} test images, one binary draw of seed 0",
    }


def main() -> None:
    """Train, evaluate and save, unless the record is there."""
    parser = options(__doc__, passes=1, batch_size=32, lr=3e-3)
    parser.add_argument("model", choices=MODELS)
    args = parser.parse_args()
    name = f"decoder_{args.model}"
    if args.out is None and (SHIPPED / f"{name}.json").exists():
        return
    begin(args)
    args.no_weights = args.no_weights or args.model in NO_WEIGHTS
    model = MODELS[args.model]()
    coded = isinstance(model, DensityAutoencoder)
    train, _, test = load("mnist", binarize=None if coded else "stochastic", valid=0)
    facts = mnist_facts(train)
    if coded:
        train, test = grey(train), grey(test)
        facts = f"MNIST, 60,000 training images in {GREYS} grey levels; sha256 {train.sha256()}"
    train_and_ship(
        name,
        model,
        train,
        len(train),
        args,
        (lambda m: of_autoencoder(m, test)) if coded else (lambda m: of_bound(m, test)),
        autoencoder_loss if coded else None,
        data=facts,
    )


if __name__ == "__main__":
    main()
