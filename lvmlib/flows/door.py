"""What the layers of flows check: shapes always, and where a map saturates, values too."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from lvmlib.base import Transform
from lvmlib.checks import _is_wrapped, check_batch, check_context, check_count, check_sizes
from lvmlib.networks import join, planes


class Open(Constraint):
    """The open interval from `low` to `high`: on its borders a map of it has no finite value.

    Example:
        >>> import torch
        >>> from lvmlib.flows.door import Open
        >>> Open(0.0, 1.0).check(torch.tensor([0.0, 0.5, 1.0]))
        tensor([False,  True, False])
    """

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """True where a value lies strictly between the borders."""
        return (value > self.low) & (value < self.high)

    def __repr__(self) -> str:
        return f"the open interval ({self.low:g}, {self.high:g})"


def check_input(layer: Transform, x: Tensor, latent: bool = False) -> None:
    """Raise `ValueError` that names the layer, unless `x` is a batch of the shape that it takes."""
    shape = layer.latent_shape if latent and layer.latent_shape is not None else layer.event_shape
    if shape is not None and not (isinstance(x, Tensor) and x.shape[1:] == shape and len(x)):
        check_batch(x, shape, f"The input of {_called(layer, latent)}")


def check_inside(layer: Transform, x: Tensor, values: Open, latent: bool = False) -> None:
    """Raise `ValueError` that names the layer, unless all values lie inside an open interval.

    Unlike the door of a density this looks on the way too, where the answer would be infinite without a word.
    """
    if torch.compiler.is_compiling() or _is_wrapped(x) or bool(values.check(x).all()):
        return
    outside = x[~values.check(x)]
    raise ValueError(
        f"{_called(layer, latent)} takes values in {values}, but {len(outside)} of {x.numel()} are not, such as "
        f"{outside[0].item():g}: there the map has no finite value, or in {str(x.dtype)[6:]} none that can be told "
        "from the border."
    )


def check_vector(layer: str, event_shape: Sequence[int]) -> torch.Size:
    """The shape; raise `ValueError` unless it is (D,)."""
    shape = check_sizes(event_shape)
    if len(shape) != 1:
        raise ValueError(f"{layer} takes vectors, of event shape (D,), but event_shape is {tuple(shape)}.")
    return shape


def check_picture(layer: str, event_shape: Sequence[int]) -> torch.Size:
    """The shape; raise `ValueError` unless it is (C, H, W)."""
    shape = check_sizes(event_shape)
    if len(shape) != 3:
        raise ValueError(f"{layer} takes pictures, of event shape (C, H, W), but event_shape is {tuple(shape)}.")
    return shape


def context_entries(context: int | None) -> int | None:
    """The number of a context's entries that a layer is built for, or None."""
    return None if context is None else check_count(context, "context", "counts the entries of a context")


def read_context(layer: Transform, context: Tensor | None, entries: int | None, rows: int) -> Tensor | None:
    """The context of a layer that was built for `entries` of it (None: without one).

    Raises:
        ValueError: it is missing, or not wanted, or of another size.
    """
    name = type(layer).__name__
    if context is None:
        if entries is not None:
            raise ValueError(f"This {name} was built with context={entries} and needs one: pass context=, one row per "
                             "example.")  # fmt: skip
        return None
    check_context(context, rows)
    if entries is None:
        raise ValueError(f"This {name} was built without a context; pass context=<number of its entries>.")
    found = context.shape[1] if context.dim() == 4 else math.prod(context.shape[1:])
    if found != entries:
        raise ValueError(f"The context of {name} must have {entries} entries per example, but it has {found}.")
    return context


def beside(layer: Transform, seen: Tensor, context: Tensor | None) -> Tensor:
    """What a network reads: an example and its context side by side; behind the channels of a picture.

    Raises:
        ValueError: a context that is a picture of another size.
    """
    if context is None:
        return seen
    if seen.dim() != 4:
        return join(seen, context)
    if context.dim() != 4:
        return planes(seen, context)
    if context.shape[2:] != seen.shape[2:]:
        raise ValueError(
            f"The context of {type(layer).__name__} must have height and width {list(seen.shape[2:])} like what the "
            f"layer sees, but it has {list(context.shape[2:])}. Pass it as a vector, or make it fit."
        )
    return torch.cat([seen, context.to(seen.dtype)], 1)


def _called(layer: Transform, latent: bool) -> str:
    return f"{type(layer).__name__}.{'inverse' if latent else 'forward'}"
