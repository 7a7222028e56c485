"""Train one flow of chapter 06 on pictures of 256 grey levels or colours and ship its weights.

    python -m lvmlib.experiments.flow_images glow_digits --passes 20 --batch-size 32 --lr 1.5e-3

Glows whose draws the chapter shows: `glow_digits` on MNIST averaged down to 14x14 pixels, `glow_classes` on the same,
told of the class (it starts from `glow_digits`), `glow_mnist` on all 28x28, `glow_emoji` on 32x32 colour emoji, each
mirrored at random. And a smaller Glow on the small digits with
uniform and with variational dequantization, `glow_uniform` and `glow_variational`, trained for equally many steps
(`--steps`); only their records are kept (`--no-weights`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, one_hot

from lvmlib.base import bits_per_dim
from lvmlib.bounds import iwae
from lvmlib.chain import Flow
from lvmlib.checkpoints import load_checkpoint
from lvmlib.data import Data, load
from lvmlib.distributions import StandardNormal
from lvmlib.experiments.emoji import Mirrored
from lvmlib.experiments.shipping import begin, options, train_and_ship
from lvmlib.flows import (
    AffineCoupling,
    Dequantize,
    Logit,
    VariationalDequantize,
    convolutions,
    glow,
)

DIGITS, MNIST, EMOJI = (1, 14, 14), (1, 28, 28), (3, 32, 32)


def of_pictures(flow: Flow, noise: Dequantize | None = None) -> Flow:
    """A flow of real numbers behind dequantization and the logit: a model of whole numbers from 0 to 255."""
    assert flow.event_shape is not None
    return Flow([noise or Dequantize(flow.event_shape), Logit(), *flow.layers], flow.base)


def chosen_noise(shape: Sequence[int], channels: int = 16) -> VariationalDequantize:
    """Variational dequantization by four couplings on a checkerboard, told of the picture by convolutions."""
    couplings = [
        AffineCoupling(shape, convolutions(channels, 1), "checkerboard", i % 2 == 1, context=channels) for i in range(4)
    ]
    encoder = convolutions(channels, 1)(shape[0], channels)
    return VariationalDequantize(shape, Flow(couplings, StandardNormal(shape)), encoder=encoder)


def small_glow() -> Flow:
    """What is trained with two kinds of noise on small digits."""
    return glow(DIGITS, scales=1, steps=8, channels=64)


MODELS: dict[str, Callable[[], Flow]] = {
    "glow_digits": lambda: of_pictures(glow(DIGITS, scales=1, steps=16, channels=128)),
    "glow_classes": lambda: of_pictures(glow(DIGITS, scales=1, steps=16, channels=128, context=10)),
    "glow_mnist": lambda: of_pictures(glow(MNIST, scales=2, steps=8, channels=64)),
    "glow_emoji": lambda: of_pictures(glow(EMOJI, scales=3, steps=4, channels=48)),
    "glow_uniform": lambda: of_pictures(small_glow()),
    "glow_variational": lambda: of_pictures(small_glow(), chosen_noise(DIGITS)),
}
"""Built as they are before `load_checkpoint(model, "flow_" + name)`."""


def small_digits(split: Data) -> Data:
    """28x28 digits as 14x14 pixels, each the mean of 2x2, rounded to a whole grey level from 0 to 255."""
    return Data(avg_pool2d(split.x.float(), 2).round().to(torch.uint8), split.y, split.name)


@torch.no_grad()
def start_from_unconditional(model: Flow, trained: Flow) -> None:
    """Give a Glow that is told of the class the weights of one that is not: at first it does not listen."""
    old, new = trained.state_dict(), model.state_dict()
    assert old.keys() == new.keys()
    for name, p in new.items():
        if p.shape == old[name].shape:
            p.copy_(old[name])
        else:  # the first convolution of a network: the channels of the context come last
            p.zero_()[:, : old[name].shape[1]] = old[name]


def classes(data: Data) -> Tensor:
    """Each label as a vector with a 1 in its place: [N, 10]."""
    assert data.y is not None
    return one_hot(data.y.long(), 10).float()


@torch.no_grad()
def metrics(model: Flow, data: Data, split: str, told: bool = False) -> dict[str, Any]:
    """The bound of one draw over a split, and of 16 draws over its first 500 pictures, in bits per dimension.

    Nothing bounds a flow's density from below, so one picture can decide a mean: it is given without the worst too.
    """
    torch.manual_seed(0)
    shape, places = data.event_shape, torch.arange(len(data))
    context = classes(data) if told else None
    at = lambda i: None if context is None else context[i]  # noqa: E731
    one = torch.cat([model.log_prob(data.x[i], at(i)) for i in places.split(100)])
    many = torch.cat([iwae(model, data.x[i], 16, at(i)) for i in places[:500].split(50)])
    bits = bits_per_dim(one, shape).sort().values
    return {
        f"{split}_bits_per_dim": round(bits.mean().item(), 4),
        f"{split}_bits_per_dim_without_worst": round(bits[:-1].mean().item(), 4),
        f"{split}_bits_per_dim_worst": [round(value, 2) for value in bits[-2:].tolist()],
        f"{split}_standard_error": round(bits.std().item() / len(bits) ** 0.5, 4),
        f"{split}_bits_per_dim_first_500": round(bits_per_dim(one[:500].mean(), shape).item(), 4),
        f"{split}_bits_per_dim_first_500_16_draws": round(bits_per_dim(many.mean(), shape).item(), 4),
    }


def pictures(name: str) -> tuple[Any, Data, Data, str]:
    """What a model draws batches from, the training pictures as they are, test pictures, and words for the record."""
    if name == "glow_emoji":
        train, _, test = load("emoji")
        return Mirrored(train), train, test, f"905 emoji, each mirrored at random; sha256 {train.sha256()}"
    train, _, test = load("mnist", valid=0)
    size = "28x28"
    if name != "glow_mnist":
        train, test, size = small_digits(train), small_digits(test), "averaged down to 14x14"
    return train, train, test, f"MNIST, 256 grey levels, {size}, 60,000 training images; sha256 {train.sha256()}"


def negative_log_weight(model: Flow, batch: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """Minus the bound of one draw of the noise: [B], nats; of pictures, or of pictures and classes."""
    x, context = batch if isinstance(batch, tuple) else (batch, None)
    return -model.log_prob(x, context)


def main() -> None:
    """Train, evaluate and save."""
    parser = options(__doc__, lr=1e-3, average=0.998)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--steps", type=int, help="in place of passes")
    args: argparse.Namespace = parser.parse_args()
    begin(args)
    source, train, test, words = pictures(args.model)
    if args.steps:
        args.passes = round(args.steps * args.batch_size / len(train), 3)
    model, told = MODELS[args.model](), args.model == "glow_classes"
    if told:
        trained = MODELS["glow_digits"]()
        load_checkpoint(trained, "flow_glow_digits")
        start_from_unconditional(model, trained)
        source, words = (train, classes(train)), f"{words}; starts from flow_glow_digits"
    else:
        model.start_from(train.batch(torch.randperm(len(train))[:256]))
    train_and_ship(
        f"flow_{args.model}",
        model,
        source,
        len(train),
        args,
        evaluate=lambda model: {
            **metrics(model, test, "test", told),
            **metrics(model, train.subset(min(2000, len(train))), "train", told),
            "test_protocol": f"bound by one draw of the noise, {len(test):,} test pictures, 256 levels",
            "train_protocol": "the same on the first 2,000 training pictures or on all",
        },
        loss=negative_log_weight,
        data=words,
    )


if __name__ == "__main__":
    main()
