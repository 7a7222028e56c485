"""What is checked at the door: shapes always, values at the outermost call, and nothing that would get in the way.

A density stands inside a chain, a chain inside a bound. Whoever is called from outside looks at the values of `x`; what
is called on the way takes them as they are. Under `torch.compile`, `vmap` and `torch.func.grad` nobody looks: a value
there is not known yet.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint


class _Events(Protocol):
    """What the door needs to know of a density or a transform."""

    event_shape: Any
    support: Any


class _Inside(threading.local):
    """Counts the calls that we are inside of, one count for each thread."""

    calls = 0

    def __enter__(self) -> None:
        self.calls += 1

    def __exit__(self, *error: object) -> None:
        self.calls -= 1


_inside = _Inside()
_is_wrapped = getattr(getattr(torch._C, "_functorch", None), "is_functorch_wrapped_tensor", lambda _: False)


def entrance(density: _Events, x: Tensor, context: Tensor | None = None) -> AbstractContextManager[None]:
    """Check a batch and its context, and be inside: ``with entrance(self, x, context): ...``.

    Raises:
        TypeError: `x` or the context is no tensor.
        ValueError: another shape than [B, \\*event_shape], values outside the support, a context of other length.
    """
    check_batch(x, density.event_shape)
    if context is not None:
        check_context(context, len(x))
    if torch.compiler.is_compiling():
        return nullcontext()
    if not (_inside.calls or _is_wrapped(x)):
        check_support(x, density.support, type(density).__name__)
    return _inside


def trusted() -> AbstractContextManager[None]:
    """Inside this block nobody looks at values, which on an accelerator would wait for the device."""
    return nullcontext() if torch.compiler.is_compiling() else _inside


def looks_at_values(x: Tensor) -> bool:
    """Whether this is the outermost call, and one in which values are known.

    Example:
        >>> looks_at_values(torch.zeros(3))
        True
        >>> torch.func.vmap(lambda x: x + looks_at_values(x))(torch.zeros(3))
        tensor([0., 0., 0.])
    """
    return not (torch.compiler.is_compiling() or _inside.calls or _is_wrapped(x))


def check_batch(x: Tensor, event_shape: Sequence[int], name: str = "x") -> None:
    """Raise `ValueError` unless `x` is a batch of events, `[B, *event_shape]`, of at least one row."""
    if isinstance(x, Tensor) and x.dim() > 0 and x.shape[1:] == event_shape and x.shape[0] > 0:
        return
    expected = tuple(event_shape)
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor of shape [B, {_comma(expected)}], but it is a {type(x).__name__}."
        )
    if x.dim() != len(expected) + 1 or tuple(x.shape[1:]) != expected:
        hint = " Add a batch dimension with x[None]." if tuple(x.shape) == expected else ""
        raise ValueError(f"{name} must have shape [B, {_comma(expected)}], but it has {list(x.shape)}.{hint}")
    # torch's Independent fails on an empty batch with a message about reshaping
    raise ValueError(f"{name} is an empty batch, of shape {list(x.shape)}; it needs at least one example.")


def check_context(context: Tensor | None, rows: int) -> None:
    """Raise `ValueError` unless `context` is None or has one row per example."""
    if context is None:
        return
    if not isinstance(context, Tensor) or context.dim() == 0:
        what = "a single number" if isinstance(context, Tensor) else f"a {type(context).__name__}"
        raise TypeError(f"context must be a torch.Tensor of shape [{rows}, ...] or None, but it is {what}.")
    if len(context) != rows:
        raise ValueError(f"context must have one row per example, {rows} in all, but it has {len(context)}.")


def check_support(x: Tensor, support: Constraint, owner: str) -> None:
    """Raise `ValueError` unless all values are finite and in the support."""
    if _fits(x, support):
        return
    outside = ~(support.check(x) & x.isfinite())
    if outside.dim() < x.dim():  # a constraint on whole rows, such as a simplex
        outside = outside.view(*outside.shape, *[1] * (x.dim() - outside.dim())).expand_as(x)
    raise ValueError(
        f"{owner} expects values in {support}, but {int(outside.sum())} of {x.numel()} "
        f"values are not, such as {x[outside][0].item():g}. {_remedy(support)}"
    )


def _fits(x: Tensor, support: Constraint) -> bool:
    """In as few passes over `x` as it takes, since this runs in every step of training."""
    if not x.is_floating_point():
        return bool(support.check(x).all())
    x = x.detach()
    if support is constraints.boolean:
        return all_bits(x)
    if not (x.amin() > -math.inf and x.amax() < math.inf):
        return False
    return support is constraints.real or bool(support.check(x).all())


def all_bits(x: Tensor) -> bool:
    """Whether floating-point values are 0 and 1 alone: x - x^2 is 0 then, and nan is unequal to 0."""
    return not torch.addcmul(x, x, x, value=-1).count_nonzero()


def _remedy(support: Constraint) -> str:
    if support is constraints.boolean:
        return "Load the data with binarize='stochastic' or 'static', or choose another likelihood."
    return "Rescale or clean the data, or choose another likelihood."


def check_count(value: Any, name: str = "k", what: str = "counts draws") -> int:
    """The whole number that `value` is, Python's or NumPy's; raise `ValueError` unless it is 1 or more."""
    if type(value) is int and value >= 1:
        return value
    try:
        fits = value >= 1 and value % 1 == 0
    except (TypeError, ValueError, RuntimeError):
        fits = False
    if not fits or isinstance(value, bool):
        raise ValueError(f"{name} {what} and must be a whole number, 1 or more, but it is {value!r}.")
    return int(value)


def check_seed(seed: Any) -> int:
    """The seed as a Python number; raise `ValueError` unless it is a whole number that NumPy's generator takes."""
    try:
        fits = 0 <= seed < 2**32 and seed % 1 == 0
    except (TypeError, ValueError, RuntimeError):
        fits = False
    if not fits:
        raise ValueError(f"seed must be a whole number from 0 to 2^32 - 1, but it is {seed!r}.")
    return int(seed)


def check_not_negative(value: float, what: str) -> None:
    """Raise `ValueError` unless the value is 0 or larger."""
    if not value >= 0:
        raise ValueError(f"{what} and must not be negative, but it is {value}.")


def check_temperature(temperature: float) -> None:
    """Raise `ValueError` unless the temperature is positive and finite."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive, but it is {temperature}.")


def check_type(value: object, kind: type, sentence: str) -> None:
    """Raise `TypeError` with ``sentence.format(name of value's type)`` unless `value` is of this kind."""
    if not isinstance(value, kind):
        raise TypeError(sentence.format(type(value).__name__))


def check_no(fault: bool, sentence: str) -> None:
    """Raise `TypeError` with this sentence where there is a fault."""
    if fault:
        raise TypeError(sentence)


def refuse(sentence: str) -> NoReturn:
    """Raise `TypeError` with this sentence: what was asked for does not exist."""
    raise TypeError(sentence)


def check_told(context: Tensor | None, name: str) -> Tensor:
    """The context; raise `ValueError` where there is none."""
    if context is None:
        raise ValueError(f"This {name} is told of a context; pass context=, one row per example.")
    return context


def check_link(place: int, name: str, gives: Sequence[int] | None, takes: Sequence[int] | None) -> None:
    """Raise `ValueError` where a layer gives another shape than what follows takes; None fits anything."""
    if gives is not None and takes is not None and torch.Size(gives) != torch.Size(takes):
        raise ValueError(f"Layer {place}, {name}, gives {list(gives)}, but what follows takes {list(takes)}.")


def check_draws(z: Tensor, log_q: Tensor, n: int, rows: int) -> None:
    """Raise `ValueError` unless z is [n, B, ...] and log q [n, B]."""
    if z.shape[:2] != (n, rows) or log_q.shape != (n, rows):
        shapes = f"{list(z.shape)} and {list(log_q.shape)}"
        raise ValueError(f"draw(q, n) must return z [{n}, {rows}, ...] and log q [{n}, {rows}], but they are {shapes}.")


def _comma(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
