"""Other libraries at the same job: samplers, which are functions of the number of draws. Flows are in `flow_rivals`.

A rival is imported only when it is asked for. Sampling runs without gradient, which not all of them see to themselves.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Sampler = Callable[[int], object]
"""From a number of draws to the draws."""


def load(name: str) -> Any:
    """Import a rival, or say how it gets here."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SystemExit(f"{name} cannot be imported ({error}); `make benchmarks` installs it.") from error


def parameters(sampler: Sampler) -> int:
    """How many weights the model behind a sampler has."""
    return sum(p.numel() for p in sampler.net.parameters())  # type: ignore[attr-defined]


def sampler(net: nn.Module, draw: Sampler) -> Sampler:
    """`draw` without gradient, together with the network that it draws from."""

    def run(n: int) -> object:
        with torch.no_grad():
            return draw(n)

    run.net = net.eval()  # type: ignore[attr-defined]
    return run


def pythae_pixelcnn(side: int, layers: int, channels: int = 64) -> Sampler:
    """The sampler of pythae's PixelCNN, on binary pictures: as many 3 x 3 layers, of 64 channels or of fewer.

    pythae samples the codes of a VQ-VAE. Here each pixel is its own code, and the decoder hands it through. Its width
    is fixed at 64; for another one its layers are built again from the same parts.
    """
    models, samplers, parts = load("pythae.models"), load("pythae.samplers"), load("pythae.models.nn")
    output = load("pythae.models.base.base_utils").ModelOutput

    class Encoder(parts.BaseEncoder):  # type: ignore[name-defined, misc]
        def forward(self, x: torch.Tensor) -> Any:
            return output(embedding=x)

    class Decoder(parts.BaseDecoder):  # type: ignore[name-defined, misc]
        def forward(self, z: torch.Tensor) -> Any:
            return output(reconstruction=z)

    config = models.VQVAEConfig(input_dim=(1, side, side), latent_dim=1, num_embeddings=2)
    vqvae = models.VQVAE(config, encoder=Encoder(), decoder=Decoder())
    theirs = samplers.PixelCNNSampler(vqvae, samplers.PixelCNNSamplerConfig(n_layers=layers + 1, kernel_size=3))
    if channels != 64:
        theirs.pixelcnn_model.net = pythae_layers(layers + 1, channels)
    theirs.is_fitted = True  # time does not depend on the weights
    return sampler(theirs.pixelcnn_model, lambda n: theirs.sample(num_samples=n, batch_size=n))


def pythae_layers(layers: int, channels: int) -> nn.Sequential:
    """What pythae's PixelCNN builds in its constructor, at another width: two values, one colour, kernels of 3 x 3."""
    conv = load("pythae.models.normalizing_flows.pixelcnn.utils").MaskedConv2d
    blocks = [
        nn.Sequential(
            conv("B" if i else "A", channels if i else 1, channels, 3, 1, 1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        for i in range(layers)
    ]
    return nn.Sequential(*blocks, nn.Conv2d(channels, 2, 1))


def transformers_gpt2(length: int, width: int, heads: int, layers: int) -> Sampler:
    """GPT-2 of Hugging Face's transformers in the size given, with its own key/value cache; binary tokens."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    transformers = load("transformers")
    config = transformers.GPT2Config(
        vocab_size=3,  # 0, 1 and the token that begins
        n_positions=length + 1,
        n_embd=width,
        n_head=heads,
        n_layer=layers,
        bos_token_id=2,
        eos_token_id=None,
        pad_token_id=None,
    )
    model: nn.Module = transformers.GPT2LMHeadModel(config).eval()

    how = dict(do_sample=True, top_k=0, min_new_tokens=length, max_new_tokens=length, bad_words_ids=[[2]])
    return sampler(model, lambda n: model.generate(torch.full((n, 1), 2), **how))  # type: ignore[operator]
