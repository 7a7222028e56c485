"""Batches of whatever `fit` is given: a tensor, a `Data`, anything else with a `batch(index)`, or a tuple of these.

Also where they meet the model: on its device, or on one where it only trains.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def length(data: Any) -> int:
    """Number of examples."""
    return len(data[0]) if isinstance(data, tuple) else len(data)


def rows(data: Any, index: Tensor) -> Any:
    """The examples at `index: [B]`; of a tuple, the tuple of its parts' examples."""
    if isinstance(data, Tensor):
        return data[moved(index, data.device)]
    if isinstance(data, tuple):
        return tuple(rows(part, index) for part in data)
    return data.batch(index)


def moved(batch: Any, device: torch.device) -> Any:
    """A batch on a device; on the way to an accelerator the processor does not wait."""
    if isinstance(batch, tuple):
        return tuple(moved(part, device) for part in batch)
    return batch.to(device, non_blocking=device.type != "cpu")


@contextmanager
def moved_to(device: str | torch.device | None, model: nn.Module) -> Iterator[torch.device]:
    """A model on a device inside the block, and where it was after it; without a device it stays where it is.

    Raises:
        ValueError: there is no such device.

    Example:
        >>> from torch import nn
        >>> from lvmlib.runs.batches import moved_to
        >>> with moved_to("cpu", nn.Linear(1, 1)) as device:
        ...     device
        device(type='cpu')
    """
    home = next(model.parameters()).device
    if device is None:
        yield home
        return
    try:
        try:
            model.to(torch.device(device))
        except (AssertionError, RuntimeError) as error:
            why = str(error).splitlines()[0].rstrip(".")
            raise ValueError(
                f"The model cannot be moved to device {str(device)!r}: {why}. Without `device` it trains where it is."
            ) from error
        yield next(model.parameters()).device
    finally:
        model.to(home)


def batches(data: Any, batch_size: int, seed: int, start: int = 0) -> Iterator[Tensor]:
    """Indices of batch `start`, `start + 1`, ...; each pass has its own order, computed from the seed alone.

    Example:
        >>> import torch
        >>> from lvmlib.runs.batches import batches
        >>> order = batches(torch.zeros(6, 2), batch_size=3, seed=0)
        >>> sorted([*next(order).tolist(), *next(order).tolist()])
        [0, 1, 2, 3, 4, 5]
    """
    n = length(data)
    per_pass = n // batch_size
    step = start
    while True:
        generator = torch.Generator("cpu").manual_seed(seed * 1_000_003 + step // per_pass)
        # Drawn on the CPU, so that the order is the same everywhere; moved once a pass, not once a step.
        order = torch.randperm(n, generator=generator, device="cpu").to(_home(data))
        for i in range(step % per_pass, per_pass):
            yield order[i * batch_size : (i + 1) * batch_size]
            step += 1


def in_order(data: Any, batch_size: int) -> Iterator[Tensor]:
    """Indices of all examples, batch by batch; the last one may be smaller."""
    yield from torch.arange(length(data), device="cpu").to(_home(data)).split(batch_size)


def _home(data: Any) -> torch.device:
    """Where the examples lie."""
    part = data[0] if isinstance(data, tuple) else data
    tensor = part if isinstance(part, Tensor) else getattr(part, "x", None)
    return tensor.device if isinstance(tensor, Tensor) else torch.device("cpu")
