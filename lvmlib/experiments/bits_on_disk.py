"""Test digits compressed by latent-variable models, behind chapter 12: bits on disk beside the ELBO.

    python -m lvmlib.experiments.bits_on_disk train
    python -m lvmlib.experiments.bits_on_disk measure

`train` makes a VAE of two stochastic layers, 784-50-20, for binary MNIST (`two_layers_mnist`; not converged). `measure`
codes test images with it, with the VAE of chapter 08, `vae_mnist`, and with `vqvae_mnist`, reads the files back, and
writes bits_on_disk.json.
"""

from __future__ import annotations

import argparse
import bz2
import json
import lzma
import math
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lvmlib.base import seed_everything
from lvmlib.chain import Flow
from lvmlib.checkpoints import SHIPPED, load_checkpoint, provenance, save_checkpoint
from lvmlib.compression import bits_back_decode, bits_back_encode
from lvmlib.data import load
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.experiments.codes_mnist import vqvae_mnist
from lvmlib.experiments.shipping import mnist_facts
from lvmlib.experiments.vae_mnist import vae_mnist
from lvmlib.latent import HierarchicalVAE
from lvmlib.networks import MLP
from lvmlib.runs import remove_run
from lvmlib.training import cosine, fit

STEPS, BATCH = 8000, 100
IMAGES, FEW = 500, 100


def two_layers() -> HierarchicalVAE:
    """50 latents above the pixels and 20 above these.

    Example:
        >>> from lvmlib.experiments.bits_on_disk import two_layers
        >>> two_layers().sample(2).shape
        torch.Size([2, 1, 28, 28])
    """
    q1 = ConditionalNormal((50,), MLP(784, (200, 200), 100, nn.Tanh))
    p1 = ConditionalBernoulli((1, 28, 28), MLP(50, (200, 200), 784, nn.Tanh))
    q2 = ConditionalNormal((20,), MLP(50, (100,), 40, nn.Tanh))
    p2 = ConditionalNormal((50,), MLP(20, (100,), 100, nn.Tanh))
    return HierarchicalVAE([(q1, p1), (q2, p2)], StandardNormal((20,)))


MODELS: dict[str, Callable[[], Flow]] = {"vae_mnist": vae_mnist, "two_layers_mnist": two_layers}


@torch.no_grad()
def elbo_bits(model: Flow, x: Tensor, k: int = 50) -> float:
    """Minus the ELBO of all images together, bits."""
    return sum(-model.log_weights(part, k).mean(0).sum().item() for part in x.split(100)) / math.log(2)


def on_disk(model: Flow, x: Tensor, bins: int, rows: int = 1) -> dict[str, Any]:
    """Bits of the file for each image, with and without those that started it; whether it decodes to the images."""
    start = time.process_time()
    data = bits_back_encode(model, x, bins=bins, rows=rows)
    middle = time.process_time()
    back, initial = bits_back_decode(model, data, bins=bins, rows=rows)
    end = time.process_time()
    return {
        "images": len(x),
        "bins": bins,
        "rows": rows,
        "bits": round(8 * len(data) / len(x), 3),
        "initial_bits": 8 * len(initial),
        "net_bits": round(8 * (len(data) - len(initial)) / len(x), 3),
        "elbo_bits": round(elbo_bits(model, x, 50 if initial else 1) / len(x), 3),  # without bits q is certain
        "exact": torch.equal(back, x),
        "encode_ms": round(1000 * (middle - start) / len(x), 2),
        "decode_ms": round(1000 * (end - middle) / len(x), 2),
    }


def by_others(x: Tensor) -> dict[str, float]:
    """Bits an image by general compressors, given eight pixels to a byte."""
    packed = np.packbits(x.flatten(1).numpy().astype(np.uint8), axis=1).tobytes()
    coders: dict[str, Callable[[bytes], bytes]] = {
        "gzip": lambda data: zlib.compress(data, 9),
        "bz2": lambda data: bz2.compress(data, 9),
        "xz": lambda data: lzma.compress(data, preset=9),
    }
    sizes = {"one bit per pixel": len(packed)} | {name: len(code(packed)) for name, code in coders.items()}
    return {name: round(8 * size / len(x), 1) for name, size in sizes.items()}


def train() -> None:
    """The VAE of two layers."""
    out = SHIPPED / "two_layers_mnist"
    if out.with_suffix(".json").exists():
        return
    origin, training = provenance(seed=0), out.with_suffix(".training")
    seed_everything(0)
    data, _, test = load("mnist", binarize="stochastic", valid=0)
    model, start = two_layers(), time.process_time()
    fit(
        model,
        data,
        steps=STEPS,
        batch_size=BATCH,
        lr=cosine(2e-3, STEPS, warmup=500),
        average=0.999,
        checkpoint=training,
        resume=True,
        progress=False,
    )
    minutes = (time.process_time() - start) / 60
    model.bfloat16().float()
    bound = elbo_bits(model, test.fixed(seed=0).x, k=5) * math.log(2) / len(test)
    record = dict(
        origin,
        data=mnist_facts(data),
        protocol=f"{STEPS} steps of {BATCH}, Adam 2e-3 with cosine decay, averaged weights; not converged",
        training_minutes=round(minutes, 1),
        clock="processor time",
        test_nll_nats=round(bound, 3),
        test_protocol="ELBO, 5 draws, 10,000 test images, one binary draw of seed 0",
    )
    save_checkpoint(model, out, record, half=True)
    remove_run(training)
    print(record, flush=True)


def measure() -> None:
    """Files for both models, and how their size depends on the bins and on how many images go together."""
    x = load("mnist", binarize="stochastic", valid=0)[2].fixed(seed=0).x[:IMAGES]
    runs: dict[str, list[dict[str, Any]]] = {}
    for name, build in MODELS.items():
        model = build()
        load_checkpoint(model, name)
        runs[name] = [on_disk(model, x, 1024)]
        runs[name] += [on_disk(model, x[:FEW], bins) for bins in (4, 8, 16, 64, 256, 1024, 4096)]
        runs[name] += [on_disk(model, x[:FEW], 1024, rows) for rows in (10, 100)]
    vqvae = vqvae_mnist()
    load_checkpoint(vqvae, "vqvae_mnist")
    runs["vqvae_mnist"] = [on_disk(vqvae, x, 1024, rows=IMAGES)]
    print(json.dumps(runs, indent=1), flush=True)
    record = dict(
        provenance(seed=0),
        data="MNIST, test images, one binary draw of seed 0",
        clock="processor time",
        training_minutes=0.0,  # the models are those of other records
        others=by_others(x),
        runs=runs,
    )
    (SHIPPED / "bits_on_disk.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "measure"))
    torch.set_num_threads(1)
    {"train": train, "measure": measure}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
