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
from numbers import Real
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint


class _Events(Protocol):
    """What the door needs to know of a density or a transform."""

    event_shape: Any
    support: Any

    @property
    def ignores_context(self) -> bool: ...


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
        ValueError: another shape than [B, \\*event_shape], values outside the support, a context of other length or
            one that nothing would look at.
    """
    check_batch(x, density.event_shape)
    if context is not None:
        check_context(context, len(x))
        check_wanted(density, context)
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
        >>> import torch
        >>> from lvmlib.checks import looks_at_values
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


def check_wanted(density: _Events, context: Tensor | None) -> None:
    """Raise `ValueError` at the outermost call where a context is given to a density that would ignore it."""
    if context is not None and density.ignores_context and not _inside.calls:
        raise ValueError(
            f"This {type(density).__name__} takes no context: nothing in it depends on one. Leave it out, or build the "
            "model with parts that read it."
        )


def check_read(error: RuntimeError, name: str, given: Tensor) -> None:
    """Raise `ValueError` where the network of `name` stopped at the shape of what it was given."""
    if any(word in str(error) for word in ("shape", "size", "channels", "dimension")):
        raise ValueError(
            f"The network of {name} cannot read what it is given, {given.dtype} of shape {list(given.shape)}: {error}. "
            "A model that was built for a context needs it, context=..., one row per example (class labels as one-hot "
            "rows), and one that was not takes none."
        ) from error


def check_support(x: Tensor, support: Constraint, owner: str) -> None:
    """Raise `ValueError` unless all values are finite and in the support."""
    if _fits(x, support):
        return
    inside = support.check(x)
    inside = inside.view(*inside.shape, *[1] * (x.dim() - inside.dim()))  # a constraint on whole rows, such as one-hot
    outside = ~(inside & x.isfinite())
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
    """Whether floating-point values are 0 and 1 alone: :math:`x - x^2` is 0 then, and a sum with nan in it is not."""
    return not torch.addcmul(x, x, x, value=-1).abs_().sum()


def _remedy(support: Constraint) -> str:
    if support is constraints.boolean:
        return "Load the data with binarize='stochastic' or 'static', or choose another likelihood."
    return "Rescale or clean the data, or choose another likelihood."


def check_count(value: Any, name: str = "k", what: str = "counts draws", least: int | None = 1) -> int:
    """The whole number that `value` is, Python's, NumPy's or torch's; raise `ValueError` unless it is `least` or more.

    Example:
        >>> import torch
        >>> from lvmlib.checks import check_count
        >>> check_count(torch.tensor(3)), check_count(3)
        (3, 3)
    """
    plain = value if type(value) is int else _plain(value)
    if isinstance(plain, int) and not isinstance(plain, bool) and (least is None or plain >= least):
        return plain
    hint = f" Write {plain:.0f}." if isinstance(plain, float) and plain % 1 == 0 else ""
    what, range_ = f" {what} and" if what else "", "" if least is None else f", {least} or more"
    raise ValueError(f"{name}{what} must be a whole number{range_}, but it is {value!r}.{hint}")


def check_counts(least: int = 1, **values: Any) -> list[int]:
    """Several of them, each with its name: ``channels, layers = check_counts(channels=channels, layers=layers)``."""
    return [check_count(value, name, "", least) for name, value in values.items()]


def check_sizes(values: Any, name: str = "event_shape") -> torch.Size:
    """Several whole numbers, 1 or more, in a tuple; raise `ValueError` where they are something else.

    Example:
        >>> from lvmlib.checks import check_sizes
        >>> check_sizes([1, 28, 28])
        torch.Size([1, 28, 28])
    """
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__") or getattr(values, "ndim", 1) != 1:
        raise ValueError(f"{name} must be a tuple of whole numbers, such as (1, 28, 28), but it is {values!r}.")
    return torch.Size(check_count(value, f"{name}[{i}]", "") for i, value in enumerate(values))


def check_seed(seed: Any) -> int:
    """The seed as a Python number; raise `ValueError` unless it is a whole number that NumPy's generator takes."""
    plain = _plain(seed)
    if not isinstance(plain, int) or isinstance(plain, bool) or not 0 <= plain < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to 2^32 - 1, but it is {seed!r}.")
    return plain


def number(value: Any) -> float:
    """The number that `value` is, Python's, NumPy's or torch's; nan, which fails every comparison, where it is none.

    Example:
        >>> import torch
        >>> from lvmlib.checks import number
        >>> number(torch.tensor(0.5)), number("0.5"), number(True)
        (0.5, nan, nan)
    """
    plain = _plain(value)
    return math.nan if isinstance(plain, bool) or not isinstance(plain, Real) else float(plain)


def check_not_negative(value: Any, what: str) -> Any:
    """The value, a number or a tensor of them; raise `ValueError` unless all are 0 or larger."""
    if type(value) is float and value >= 0:
        return value
    if isinstance(value, Tensor) and value.dim():
        if not looks_at_values(value) or bool((value >= 0).all()):
            return value
    elif number(value) >= 0:
        return value if isinstance(value, Tensor) else number(value)
    raise ValueError(f"{what} and must not be negative, but it is {value!r}.")


def check_positive(value: Any, name: str, what: str = "") -> float:
    """The number that `value` is; raise `ValueError` unless it is positive and finite."""
    if not 0 < number(value) < math.inf:
        raise ValueError(f"{name} {what + ' and ' if what else ''}must be positive, but it is {value!r}.")
    return number(value)


def check_share(value: Any, name: str) -> float:
    """The number that `value` is; raise `ValueError` unless it lies in [0, 1)."""
    if not 0 <= number(value) < 1:
        raise ValueError(f"{name} is a share, 0 or more and less than 1, but it is {value!r}.")
    return number(value)


def check_temperature(temperature: Any) -> float:
    """The temperature as a Python number; raise `ValueError` unless it is positive and finite."""
    return check_positive(temperature, "temperature")


def _plain(value: Any) -> Any:
    """Python's own number for a single one of NumPy or torch."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


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
