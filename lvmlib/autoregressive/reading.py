"""What a model is given: values, contexts and the beginnings of examples, checked and brought into its own form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lvmlib.checks import all_bits, check_context, check_sizes, looks_at_values


def check_levels(x: Tensor, levels: int, name: str) -> None:
    """Raise `ValueError` unless all values are whole numbers from 0 to levels - 1."""
    if not looks_at_values(x) or _all_fit(x, levels):
        return
    outside = (x < 0) | (x > levels - 1)
    if x.is_floating_point():
        outside = outside | (x != x.round())  # nan is unequal to itself
    if outside.any():
        hint = " Load the data with binarize='stochastic' or 'static'." if levels == 2 else ""
        raise ValueError(
            f"{name} must hold whole numbers from 0 to {levels - 1}, but {int(outside.sum())} of {x.numel()} "
            f"values are others, such as {x[outside][0].item():g}.{hint}"
        )


def _all_fit(x: Tensor, levels: int) -> bool:
    """The common case in few passes, since this runs in every step of training."""
    if not x.is_floating_point():
        return False
    if levels == 2:
        return all_bits(x)
    return torch.equal(x, x.round().clamp_(0, levels - 1))


def read_context(context: Tensor | None, shape: torch.Size | None, rows: int, name: str) -> Tensor | None:
    """Check the context of the model `name`, which was built for `shape`; class labels become one-hot rows.

    Raises:
        ValueError: a context is missing, or not wanted, or has another shape, or labels are out of range.
    """
    if context is None:
        if shape is not None:
            raise ValueError(
                f"This {name} was built with a context of shape {tuple(shape)} and needs one: pass context=, one row "
                "per example, or class labels. A context of zeros tells it nothing."
            )
        return None
    check_context(context, rows)
    if shape is None:
        raise ValueError(f"This {name} was built without a context; pass context=<number of classes or shape>.")
    if context.dim() == 1 and not context.is_floating_point() and len(shape) == 1:
        context = _one_hot(context, shape[0])
    if context.shape[1:] != shape:
        raise ValueError(
            f"context must have shape [{rows}, {', '.join(map(str, shape))}], or hold class labels, "
            f"but it has {list(context.shape)}."
        )
    return context


def vector_size(shape: torch.Size | None, name: str) -> int | None:
    """Number of entries of the context of the model `name`, which takes a vector or none; else `ValueError`."""
    if shape is not None and len(shape) != 1:
        raise ValueError(f"The context of {name} must be a vector, but its shape is {tuple(shape)}.")
    return None if shape is None else shape[0]


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    if looks_at_values(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise ValueError(
            f"Class labels must be 0 to {classes - 1}, but they reach from {labels.min()} to {labels.max()}."
        )
    return F.one_hot(labels.long(), classes)


def check_prefix(prefix: Tensor, n: int, dims: int) -> None:
    """Raise `ValueError` unless `prefix` holds the first values of `n` examples, [n, m] with m at most `dims`."""
    if prefix.dim() != 2 or len(prefix) != n or prefix.shape[1] > dims:
        raise ValueError(f"prefix must have shape [{n}, m] with m at most {dims}, but it has {list(prefix.shape)}.")


def read_order(order: Sequence[int] | Tensor, event_shape: Sequence[int]) -> Tensor:
    """An order as a tensor [D]; raises `ValueError` unless it is a permutation of all positions."""
    order = torch.as_tensor(order).long()
    dims = math.prod(event_shape)
    if order.dim() != 1 or sorted(order.tolist()) != list(range(dims)):
        raise ValueError(f"order must name each of the {dims} positions 0..{dims - 1} once, but it is {order}.")
    return order


def raster_order(event_shape: Sequence[int]) -> Tensor:
    """Flat positions pixel by pixel and line by line, the channels of a pixel one after another; [D].

    For a shape that is not (C, H, W) the positions stay as they are stored.

    Example:
        >>> from lvmlib.autoregressive import raster_order
        >>> raster_order((2, 1, 3))            # stored channel by channel, drawn pixel by pixel
        tensor([0, 3, 1, 4, 2, 5])
    """
    event_shape = check_sizes(event_shape)
    positions = torch.arange(math.prod(event_shape))
    if len(event_shape) != 3:
        return positions
    return positions.view(*event_shape).permute(1, 2, 0).flatten()
