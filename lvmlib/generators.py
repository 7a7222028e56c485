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

from lvmlib.checks import check_seed


class _Source(NamedTuple):
    read: Callable[[], Any]
    write: Callable[[Any], Any]
    seed: Callable[[int], Any]


def _sources() -> dict[str, _Source]:
    """The generators of this process; those of a device that nothing has used yet draw nothing and are left alone."""
    sources = {
        "python": _Source(random.getstate, random.setstate, random.seed),
        "numpy": _Source(_numpy_state, np.random.set_state, np.random.seed),
        "cpu": _Source(torch.get_rng_state, torch.set_rng_state, torch.default_generator.manual_seed),
    }
    for kind in ("cuda", "xpu", "mps", torch._C._get_privateuse1_backend_name()):
        device = getattr(torch, kind, None)
        if device is not None and _in_use(kind, device):
            sources[kind] = _of_device(device)
    return sources


def _in_use(kind: str, device: Any) -> bool:
    if kind == "mps":
        return torch.backends.mps.is_available()
    return device.is_available() and (not hasattr(device, "is_initialized") or device.is_initialized())


def _of_device(device: Any) -> _Source:
    """The generators of one kind of device, of which there may be several; all have their states saved in a list."""
    if not hasattr(device, "get_rng_state_all"):
        return _Source(device.get_rng_state, device.set_rng_state, device.manual_seed)

    def write(states: list[torch.Tensor]) -> None:
        device.set_rng_state_all(states[: device.device_count()])  # saved where there may have been more of them

    return _Source(device.get_rng_state_all, write, device.manual_seed_all)


def seed_everything(seed: int) -> None:
    """Seed every generator that the library and its notebooks draw from: Python's, NumPy's and torch's.

    Args:
        seed: a whole number from 0 to :math:`2^{32} - 1`.

    Raises:
        ValueError: another seed; no generator is touched.

    Example:
        >>> import torch
        >>> from lvmlib import seed_everything
        >>> seed_everything(0)
        >>> first = torch.rand(())
        >>> seed_everything(0)
        >>> bool(torch.rand(()) == first)
        True
    """
    seed = check_seed(seed)
    torch.manual_seed(seed)  # also of devices that nothing has used yet, for when something does
    for source in _sources().values():
        source.seed(seed)


def generator_states() -> dict[str, Any]:
    """The states of all generators, as plain numbers and tensors that `torch.load` reads with ``weights_only=True``.

    Example:
        >>> import random
        >>> import torch
        >>> from lvmlib.generators import generator_states, restore_generators
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


def drawing_state(device: torch.device) -> torch.Tensor:
    """The state of the one generator that torch draws from on a device: quicker to read than those of all.

    Example:
        >>> import torch
        >>> from lvmlib.generators import drawing_state, restore_drawing_state
        >>> state = drawing_state(torch.device("cpu"))
        >>> first = torch.rand(())
        >>> restore_drawing_state(torch.device("cpu"), state)
        >>> bool(torch.rand(()) == first)
        True
    """
    if device.type in ("cpu", "mps"):
        state: torch.Tensor = (torch if device.type == "cpu" else torch.mps).get_rng_state()
        return state
    return getattr(torch, device.type).get_rng_state(device)


def restore_drawing_state(device: torch.device, state: torch.Tensor) -> None:
    """Put a device's generator back to what `drawing_state` returned."""
    if device.type in ("cpu", "mps"):
        (torch if device.type == "cpu" else torch.mps).set_rng_state(state)
    else:
        getattr(torch, device.type).set_rng_state(state, device)


@contextmanager
def forked_generators(seed: int) -> Iterator[None]:
    """Inside the block all generators start from `seed`; after it they go on as if the block had not been.

    Example:
        >>> import torch
        >>> from lvmlib.generators import forked_generators
        >>> def draw():
        ...     with forked_generators(0):
        ...         return torch.rand(())
        >>> bool(draw() == draw())
        True
    """
    seed, states = check_seed(seed), generator_states()
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
