"""Other libraries at the same job; each function builds a model and returns the call that samples from it.

A rival is imported only when it is asked for. Sampling runs without gradient, which not all of them see to themselves.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Sampler = Callable[[], object]


def load(name: str) -> Any:
    """Import a rival, or say how it gets here."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SystemExit(f"{name} cannot be imported ({error}); `make benchmarks` installs it.") from error


def zuko_maf(dims: int, hidden: int, layers: int, n: int) -> Sampler:
    """A masked autoregressive flow whose layers each have two hidden layers."""
    flow = load("zuko.flows").MAF(features=dims, transforms=layers, hidden_features=(hidden, hidden)).eval()
    return torch.no_grad()(lambda: flow().sample((n,)))


def nflows_maf(dims: int, hidden: int, layers: int, n: int) -> Sampler:
    """The same of nflows: an input layer, one block of one layer, an output layer."""
    flow = load("nflows.flows").MaskedAutoregressiveFlow(
        dims, hidden, num_layers=layers, num_blocks_per_layer=1, use_residual_blocks=False
    )
    flow.eval()
    return torch.no_grad()(lambda: flow.sample(n))


def pythae_pixelcnn(side: int, layers: int, n: int) -> Sampler:
    """The sampler of pythae's PixelCNN, on binary pictures: as many 3 x 3 layers; their 64 channels are fixed.

    pythae samples the codes of a VQ-VAE. Here each pixel is its own code, and the decoder hands it through.
    """
    models, samplers, parts = load("pythae.models"), load("pythae.samplers"), load("pythae.models.nn")
    output = load("pythae.models.base.base_utils").ModelOutput

    class Encoder(parts.BaseEncoder):  # type: ignore[name-defined, misc]
        def forward(self, x: torch.Tensor) -> Any:
            return output(embedding=x)

    class Decoder(parts.BaseDecoder):  # type: ignore[name-defined, misc]
        def forward(self, z: torch.Tensor) -> Any:
            return output(reconstruction=z)

    shape = (1, side, side)
    config = models.VQVAEConfig(input_dim=shape, latent_dim=1, num_embeddings=2)
    vqvae = models.VQVAE(config, encoder=Encoder(), decoder=Decoder())
    sampler = samplers.PixelCNNSampler(vqvae, samplers.PixelCNNSamplerConfig(n_layers=layers + 1, kernel_size=3))
    sampler.pixelcnn_model.eval()
    sampler.is_fitted = True  # time does not depend on the weights
    return torch.no_grad()(lambda: sampler.sample(num_samples=n, batch_size=n))


def transformers_gpt2(length: int, width: int, heads: int, layers: int, n: int) -> Sampler:
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
    begin = torch.full((n, 1), 2)
    return torch.no_grad()(
        lambda: model.generate(  # type: ignore[operator]
            begin, do_sample=True, top_k=0, min_new_tokens=length, max_new_tokens=length, bad_words_ids=[[2]]
        )
    )
