"""Checks that several files share."""

from __future__ import annotations

import torch
from torch import Tensor


def looks_at_values(x: Tensor) -> bool:
    """Whether a check may look at the values of `x`: not while torch compiles, nor under `vmap` and `func.grad`.

    What is traced there has no values yet, so that a question about them cannot be answered, or breaks the graph. Only
    shapes are checked then.

    Example:
        >>> looks_at_values(torch.zeros(3))
        True
        >>> torch.func.vmap(lambda x: x + looks_at_values(x))(torch.zeros(3))
        tensor([0., 0., 0.])
    """
    if torch.compiler.is_compiling():
        return False
    wrapped = getattr(torch._C._functorch, "is_functorch_wrapped_tensor", None)
    return wrapped is None or not wrapped(x)
