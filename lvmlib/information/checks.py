"""What the measures share: the few places where NumPy and torch differ, and the checks at the door."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = Any  # an ndarray or a Tensor; what comes out is of the kind that went in


def arrays(*values: Array) -> list[Any]:
    """All float tensors if any value is a tensor, else all float64 arrays."""
    example = next((v for v in values if isinstance(v, Tensor)), None)
    if example is None:
        return [np.asarray(v, dtype=np.float64) for v in values]
    dtype = example.dtype if example.is_floating_point() else torch.get_default_dtype()
    tensors = [v if isinstance(v, Tensor) else torch.as_tensor(v, dtype=dtype, device=example.device) for v in values]
    return [t if t.is_floating_point() else t.to(dtype) for t in tensors]


def log(x: Array) -> Array:
    """Natural logarithm, with log 0 = -inf."""
    if isinstance(x, Tensor):
        return torch.log(x)
    with np.errstate(divide="ignore"):  # log 0 = -inf is what is wanted
        return np.log(x)


def where(condition: Array, x: Array, otherwise: float) -> Array:
    """``x`` where the condition holds, and one number elsewhere."""
    return (torch if isinstance(x, Tensor) else np).where(condition, x, otherwise)


def not_negative(x: Array) -> Array:
    """``x`` with 0 where rounding has made it negative, and the gradient of ``x`` everywhere.

    Example:
        >>> import numpy as np
        >>> from lvmlib.information.checks import not_negative
        >>> print(not_negative(np.array([-1e-17, 0.5])))
        [0.  0.5]
    """
    return x - x.detach().clamp(max=0) if isinstance(x, Tensor) else np.maximum(x, 0.0)


def unit(base: Any) -> float:
    """How many nats one unit of information holds: ln 2 for bits."""
    number = float(base) if isinstance(base, Real) else 0.0
    if not 1 < number < math.inf:
        raise ValueError(f"base must be a number above 1 (2 gives bits, math.e gives nats), got {base!r}")
    return math.log(number)


def tolerance(p: Array) -> float:
    """How far a sum of probabilities may be from one: float32 passes; counts, scores and logits do not."""
    if isinstance(p, Tensor) and p.dtype != torch.float64:
        return 1e-4 if p.dtype == torch.float32 else 2e-2
    return 1e-6


def check_range(p: Array) -> None:
    """Raise `ValueError` unless all values lie in [0, 1]."""
    if not bool(((p >= 0) & (p <= 1 + tolerance(p))).all()):
        wrong = p[~((p >= 0) & (p <= 1 + tolerance(p)))].reshape(-1)
        raise ValueError(f"probabilities must lie between 0 and 1, got {float(wrong[0])}")


def check_sum(p: Array, axes: tuple[int, ...]) -> None:
    """Raise `ValueError` unless these are probabilities that sum to one over the given last axes."""
    if p.ndim < len(axes) or 0 in p.shape:
        last = "axis" if len(axes) == 1 else "two axes"
        raise ValueError(f"expected probabilities along the last {last}, got shape {tuple(p.shape)}")
    check_range(p)
    total = p.sum(axes)
    if not bool((abs(total - 1) <= tolerance(p)).all()):
        worst = total.reshape(-1)[int(abs(total - 1).reshape(-1).argmax())]
        hint = "divide weights or counts by their sum first"
        raise ValueError(f"probabilities must sum to 1, these sum to {float(worst):.6g}; {hint}")


def check_distribution(p: Array) -> None:
    """Raise `ValueError` unless the last axis holds distributions."""
    check_sum(p, (-1,))


def check_joint(joint: Array) -> None:
    """Raise `ValueError` unless the last two axes hold joint distributions."""
    check_sum(joint, (-2, -1))


def check_pair(p: Array, q: Array) -> None:
    """Raise `ValueError` unless both are distributions over the same outcomes."""
    check_distribution(p)
    check_distribution(q)
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(f"p and q must be over the same outcomes, got {p.shape[-1]} and {q.shape[-1]} of them")
