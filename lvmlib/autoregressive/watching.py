"""How the caches of sampling learn of a known beginning: they look on while one pass reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

Take = Callable[[Tensor, Tensor], None]
"""``take(read, given)`` is told what a module read, and what it gave."""


@contextmanager
def watching(caches: Iterable[tuple[nn.Module, Take]]) -> Iterator[None]:
    """While the block runs, each module shows the function beside it what it reads and what it gives.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib.autoregressive.watching import watching
        >>> layer, seen = nn.Identity(), []
        >>> with watching([(layer, lambda read, given: seen.append(read))]):
        ...     _ = layer(torch.ones(2))
        >>> seen
        [tensor([1., 1.])]
    """
    handles = [
        module.register_forward_hook(lambda _, inputs, given, take=take: take(inputs[0], given))
        for module, take in caches
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Dropout belongs to training; while the block runs a model has none, whatever mode it is in."""
    active = [module for module in model.modules() if isinstance(module, nn.Dropout) and module.training]
    for module in active:
        module.train(False)
    try:
        yield
    finally:
        for module in active:
            module.train()


@contextmanager
def dtype_at_hand(model: nn.Module) -> Iterator[None]:
    """While the block runs ``model.dtype`` looks for no parameter: that took a sixth of the time of a step of MADE."""
    model.__dict__["_dtype"] = model.dtype
    try:
        yield
    finally:
        model.__dict__.pop("_dtype", None)


def caught_up(
    step: Callable[[int, Tensor], Tensor], x: Tensor, start: int, known: int
) -> Callable[[int, Tensor], Tensor]:
    """Take the steps from `start` on that are already known, where a cache could only begin there."""
    for t in range(start, known):
        step(t, x)
    return step
