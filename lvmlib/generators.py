"""Every generator that a run may draw from, in one place: Python's, NumPy's, and torch's on each kind of device.

torch keeps one global generator for each device, and knows no way to save or seed them all alike; a kind of device that
is missing here would be reseeded, or forgotten, in silence. Generators that a program makes for itself are its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch


class _Source(NamedTuple):
    read: Callable[[], Any]
    write: Callable[[Any], Any]
    seed: Callable[[int], Any]


def _sources() -> dict[str, _Source]:
    """The generators of this process; those of a device that nothing has used yet draw nothing and are left alone."""
    sources = {
        "python": _Source(random.getstate, random.setstate, random.seed),
        "numpy": _Source(_numpy_state, np.random.set_state, lambda seed: np.random.seed(seed % 2**32)),  # noqa: NPY002
        "cpu": _Source(torch.get_rng_state, torch.set_rng_state, torch.default_generator.manual_seed),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        sources["cuda"] = _Source(torch.cuda.get_rng_state_all, _write_cuda, torch.cuda.manual_seed_all)
    if torch.backends.mps.is_available():
        sources["mps"] = _Source(torch.mps.get_rng_state, torch.mps.set_rng_state, torch.mps.manual_seed)
    return sources


def generator_states() -> dict[str, Any]:
    """The states of all generators, as plain numbers and tensors that `torch.load` reads with ``weights_only=True``.

    Example:
        >>> states = generator_states()
        >>> first = torch.rand(()), random.random()
        >>> restore_generators(states)
        >>> first == (torch.rand(()), random.random())
        True
    """
    return {name: source.read() for name, source in _sources().items()}


def restore_generators(states: dict[str, Any]) -> None:
    """Put generators back to what `generator_states` returned; states of devices that are not here are passed over."""
    for name, source in _sources().items():
        if name in states:
            source.write(states[name])


@contextmanager
def forked_generators(seed: int) -> Iterator[None]:
    """Inside the block all generators start from `seed`; after it they go on as if the block had not been.

    Example:
        >>> def draw():
        ...     with forked_generators(0):
        ...         return torch.rand(())
        >>> bool(draw() == draw())
        True
    """
    states = generator_states()
    try:
        for source in _sources().values():
            source.seed(seed)
        yield
    finally:
        restore_generators(states)


def _numpy_state() -> tuple[Any, ...]:
    state: Any = np.random.get_state()  # noqa: NPY002 (the global generator, which older libraries draw from)
    name, keys, *rest = state
    return (name, keys.tolist(), *rest)


def _write_cuda(states: list[torch.Tensor]) -> None:
    torch.cuda.set_rng_state_all(states[: torch.cuda.device_count()])
