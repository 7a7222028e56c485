"""The shipped weights, in the code as it is now, still do on some test data what their records say of all of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lvmlib.base import bits_per_dim
from lvmlib.bounds import log_likelihood
from lvmlib.checkpoints import SHIPPED, load_checkpoint
from lvmlib.data import Data, load
from lvmlib.experiments import (
    binary_mnist,
    bits_on_disk,
    codes_mnist,
    conditional_mnist,
    emoji,
    flow_images,
    grey_digits,
    pixel_decoders,
    speech,
    text,
)
from lvmlib.experiments.vae_mnist import vae_mnist

NAMES = sorted(path.stem for path in SHIPPED.glob("*.safetensors"))
ELSEWHERE = {"vae_faces", "flow_gallery", "factors", "vae_conv_plain", "vae_conv_conditional"}
ELSEWHERE |= {"collapse_factorised", "collapse_free_bits", "frozen_vamp"}
"""Tested by the tests of their own scripts, beside this one."""


def digits() -> Data:
    return load("mnist", binarize="stochastic", valid=0)[2].fixed(seed=0)


def of_digits(model, name: str) -> Tensor:
    """NLL of each of the first hundred test images, nats."""
    test, n = digits(), 100
    if name == "inpainting_mnist":
        return conditional_mnist.inpainting_loss(model, test.x[:n])
    return -model.log_prob(test.x[:n], *([test.y[:n]] if name == "class_conditional_mnist" else []))


def of_emoji(model, name: str) -> Tensor:
    return bits_per_dim(model.log_prob(load("emoji")[2].x[:20]), emoji.SHAPE)


def of_grey(model, name: str) -> Tensor:
    return bits_per_dim(model.log_prob(load("mnist", valid=0)[2].x[:100].float()), grey_digits.SHAPE)


def of_flow(model, name: str) -> Tensor:
    """Bound on bits per dimension of each of the first hundred test pictures, one draw of the noise."""
    _, _, test, _ = flow_images.pictures(name.removeprefix("flow_"))
    context = flow_images.classes(test)[:100] if name == "flow_glow_classes" else None
    return bits_per_dim(model.log_prob(test.x[:100], context), test.event_shape)


def of_speech(model, name: str) -> Tensor:
    return torch.tensor([speech.bits_per_sample(model, x[None]) for x in load("speech")[2].x[:3]])


def of_text(model, name: str) -> Tensor:
    test = load("text")[2].x
    return torch.tensor([text.bits_per_character(model, part) for part in test.split(len(test) // 4)[:4]])


def of_two_levels(model, name: str) -> Tensor:
    """NLL bound of each of the first hundred test images where the class is not told, nats."""
    x = digits().x[:100]
    z = model.codes(x)
    rate = math.log(10) - codes_mnist.by_class(model.prior, z).logsumexp(0)
    return rate - model.quantizer.likelihood(z).log_prob(x)


def given_codes(model, name: str) -> Tensor:
    """What grey digits cost, given their codes, nats."""
    return model.loss(pixel_decoders.grey(load("mnist", valid=0)[2]).x[:100])


Each = Callable[[torch.nn.Module, str], Tensor]
CHECKS: dict[str, tuple[Callable[[], torch.nn.Module], Each, str]] = {
    **{f"{name}_mnist": (b, of_digits, "test_nll_nats") for name, b in binary_mnist.MODELS.items()},
    **{f"{name}_mnist": (b, of_digits, "test_nll_nats") for name, b in conditional_mnist.MODELS.items()},
    **{f"emoji_{name}": (b, of_emoji, "test_bits_per_dim") for name, b in emoji.MODELS.items()},
    **{f"text_{name}": (b, of_text, "test_bits_per_character") for name, b in text.MODELS.items()},
    **{f"flow_{name}": (b, of_flow, "test_bits_per_dim_without_worst") for name, b in flow_images.MODELS.items()},
    "grey_digits": (grey_digits.pixelcnnpp, of_grey, "test_bits_per_dim"),
    "wavenet_speech": (speech.wavenet_speech, of_speech, "test_bits_per_sample"),
    "vae_mnist": (vae_mnist, lambda m, _: -log_likelihood(m, digits().x[:50], k=50), "test_nll_nats"),
    "vqvae_mnist": (codes_mnist.vqvae_mnist, of_digits, "test_nll_nats"),
    "vqvae2_mnist": (codes_mnist.vqvae2_mnist, of_two_levels, "test_nll_nats"),
    "two_layers_mnist": (
        bits_on_disk.two_layers,
        lambda m, _: -m.log_weights(digits().x[:100], 5).mean(0),
        "test_nll_nats",
    ),
    "decoder_pixel_vae": (pixel_decoders.pixel_vae, of_digits, "test_nll_nats"),
    **{
        f"decoder_{kind}_{width}": (pixel_decoders.MODELS[f"{kind}_{width}"], given_codes, "test_nats_given_code")
        for kind in ("squares", "pixels")
        for width in (10, 100)
    },
    "vae_mnist_2d": (
        lambda: vae_mnist(latents=2),
        lambda m, _: -log_likelihood(m, digits().x[:50], k=50),
        "test_nll_nats",
    ),
}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ELSEWHERE])
def test_weights_give_what_the_record_says(name):
    build, each, key = CHECKS[name]
    torch.manual_seed(0)
    model = build()
    record = load_checkpoint(model, name)
    with torch.no_grad():
        values = each(model, name)
    error = values.std().item() / math.sqrt(len(values))  # of a mean over so few
    assert values.mean().item() == pytest.approx(record[key], abs=5 * error)
    assert 5 * error < 0.5 * record[key]  # so that other code, or other weights, would be found out


@pytest.mark.parametrize("name", NAMES)
def test_records_say_how_the_weights_came_about(name):
    record = json.loads((SHIPPED / f"{name}.json").read_text("utf-8"))
    assert record["command"].startswith("python -m lvmlib.experiments.")
    for key in ("commit", "data", "hardware", "parameters", "seed", "test_protocol", "torch", "training_minutes"):
        assert record[key] is not None, key
