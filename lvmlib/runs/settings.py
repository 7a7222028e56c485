"""What has to be the same for a resumed run to be the same run, in a form that is small and can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvmlib.runs.batches import length
from lvmlib.runs.state import Run

ROWS = 256
"""How many rows of a tensor `digest` reads, spread evenly from the first to the last."""

_HOW = {"params", "lr", "initial_lr", "fused", "foreach", "capturable", "differentiable"}  # how, not what, is computed


def digest(data: Any) -> str | None:
    """A short fingerprint of data: shapes, types, and up to 256 rows of every tensor, which takes milliseconds.

    Of an object with a `batch` the class and everything plain that it holds count: tensors, numbers, strings and
    further such objects. No batch is drawn. A change that touches none of the rows that are read goes unnoticed.

    Example:
        >>> import torch
        >>> from lvmlib.runs import digest
        >>> x = torch.arange(10.0)
        >>> same, other, two = digest(x.clone()), digest(x + 1), digest((x, x))
        >>> digest(x) == same, digest(x) == other, digest(x) == two
        (True, False, False)
    """
    if data is None:
        return None
    sha = hashlib.sha256()
    _feed(sha, data)
    return sha.hexdigest()[:16]


def _feed(sha: Any, thing: Any) -> None:
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        thing = torch.as_tensor(thing)
    if isinstance(thing, Tensor):
        sha.update(f"{thing.dtype} {list(thing.shape)}".encode())
        if thing.dim() > 0:
            index = torch.linspace(0, len(thing) - 1, min(len(thing), ROWS), dtype=torch.float64, device="cpu")
            thing = thing.detach()[index.long().to(thing.device)]
        sha.update(thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(thing, (tuple, list)):
        sha.update(f"{len(thing)} parts".encode())
        for part in thing:
            _feed(sha, part)
    elif isinstance(thing, (str, int, float, type(None))):
        sha.update(repr(thing).encode())
    else:
        sha.update(type(thing).__name__.encode())
        for name, value in sorted(getattr(thing, "__dict__", {}).items()) if hasattr(thing, "batch") else ():
            sha.update(name.encode())
            _feed(sha, value)


def named(thing: Any) -> Any:
    """A setting as something that can be stored and compared: a number as it is, a function by its name.

    Example:
        >>> from lvmlib.runs import digest
        >>> from lvmlib.runs.settings import named
        >>> named(0.1), named(digest), named(None)
        (0.1, 'digest', None)
    """
    if thing is None or isinstance(thing, (bool, str, tuple)):
        return thing
    if isinstance(thing, Integral):
        return int(thing)
    if hasattr(thing, "func"):  # functools.partial
        return named(thing.func)
    if callable(thing):
        return getattr(thing, "__name__", type(thing).__name__)
    try:
        return float(thing)
    except (TypeError, ValueError):
        return str(thing)


def run_settings(run: Run, data: Any, valid: Any, **others: Any) -> dict[str, Any]:
    """All settings of a run: `others` as `named` gives them, digests of the data, and the next two.

    Of the optimizer they hold its class and of each group its settings and its share of the learning rate; of the model
    the class of every module, by which another activation is noticed, though not one that is no module of its own.
    """
    settings = {
        "examples": length(data),
        "data": digest(data),
        "valid": digest(valid),
        **{name: named(value) for name, value in others.items()},
    }
    settings["optimizer"] = type(run.optimizer).__name__
    for i, (group, share) in enumerate(zip(run.optimizer.param_groups, run.shares)):
        where = f" of parameter group {i}" if len(run.shares) > 1 else ""
        settings[f"parameters{where}"] = sum(p.numel() for p in group["params"])
        settings[f"share of lr{where}"] = share
        settings |= {f"{key}{where}": named(value) for key, value in group.items() if key not in _HOW}
    return settings | {
        f"module {name or 'itself'}": type(module).__name__ for name, module in run.model.named_modules()
    }


def differences(found: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The settings that differ, with both values.

    Example:
        >>> from lvmlib.runs.settings import differences
        >>> differences({"seed": 0, "lr": 0.1}, {"seed": 1, "lr": 0.1})
        'seed 0 (now 1)'
    """
    keys = [*now, *(key for key in found if key not in now)]
    # An option that is off and one that was not known when the checkpoint was written are the same.
    differ = [key for key in keys if (found.get(key) or None) != (now.get(key) or None)]
    return ", ".join(f"{key} {found.get(key)} (now {now.get(key)})" for key in differ)
