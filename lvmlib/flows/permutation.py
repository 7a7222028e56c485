"""Entries or channels change places; volumes stay."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lvmlib.base import Transform
from lvmlib.checks import check_batch, check_count


class Permutation(Transform):
    """The entries along the first axis of an event (of a vector, or channels of a picture) in another order.

    Args:
        order: place i of the noise takes entry ``order[i]`` of the data; a number draws a random order of so many.

    Raises:
        ValueError: the order is no permutation.

    Example:
        >>> import torch
        >>> from lvmlib import Permutation
        >>> Permutation([2, 0, 1])(torch.tensor([[10.0, 11.0, 12.0]]))[0]
        tensor([[12., 10., 11.]])
    """

    support = None
    """None, as entries are only moved and what follows decides."""
    order: Tensor

    def __init__(self, order: Sequence[int] | Tensor | int):
        super().__init__()
        if isinstance(order, (int, float, str)) or getattr(order, "ndim", 1) == 0:
            order = torch.randperm(check_count(order, "order", "counts entries"))
        places = torch.as_tensor(order).long()
        if places.dim() != 1 or sorted(places.tolist()) != list(range(len(places))) or not len(places):
            raise ValueError(f"order must name each of the places 0, 1, ... once, but it is {order}.")
        self.register_buffer("order", places)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(x)
        return x.index_select(1, self.order), x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(z)
        return z.index_select(1, self.order.argsort()), z.new_zeros(len(z))

    def _check(self, x: Tensor) -> None:
        if not isinstance(x, Tensor) or x.dim() < 2 or x.shape[1] != len(self.order) or not len(x):
            rest = tuple(x.shape[2:]) if isinstance(x, Tensor) else ()
            check_batch(x, (len(self.order), *rest), f"The input of {type(self).__name__}")


class Reverse(Permutation):
    """The entries along the first axis from last to first.

    Args:
        count: how many there are.

    Example:
        >>> import torch
        >>> from lvmlib import Reverse
        >>> Reverse(3)(torch.tensor([[10.0, 11.0, 12.0]]))[0]
        tensor([[12., 11., 10.]])
    """

    def __init__(self, count: int):
        super().__init__(torch.arange(check_count(count, "count", "counts entries")).flip(0))
