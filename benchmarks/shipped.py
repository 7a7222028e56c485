"""The shipped models of binary MNIST, with their weights."""

from __future__ import annotations

from collections.abc import Iterator

from lvmlib.base import Density
from lvmlib.checkpoints import SHIPPED, load_checkpoint
from lvmlib.experiments import binary_mnist
from lvmlib.experiments.vae_mnist import vae_mnist


def shipped(limit: int | None = None) -> Iterator[tuple[str, Density]]:
    """Each model that has weights, by the name of its class; the first `limit` of them."""
    builders = {f"{name}_mnist": build for name, build in binary_mnist.MODELS.items()} | {"vae_mnist": vae_mnist}
    there = [name for name in builders if (SHIPPED / f"{name}.safetensors").exists()]
    for name in there[:limit]:
        model: Density = builders[name]()
        load_checkpoint(model, name)
        yield type(model).__name__, model
