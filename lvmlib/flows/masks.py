"""Which entries of an example a coupling lets pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def half(event_shape: Sequence[int]) -> Tensor:
    """The first half along the first axis passes: entries of a vector, or channels of a picture.

    Returns:
        [\\*event_shape], true where an entry passes.

    Example:
        >>> from lvmlib.flows.masks import half
        >>> half((5,))
        tensor([ True,  True, False, False, False])

    Source: Dinh et al. 2017, section 3.4, figure 3 on the right.
    """
    n = event_shape[0]
    line = torch.arange(n) < n // 2
    return line.view(-1, *[1] * (len(event_shape) - 1)).expand(tuple(event_shape)).clone()


def checkerboard(event_shape: Sequence[int]) -> Tensor:
    """Every other entry passes: of a vector one after another, of a picture as on the board, alike in all channels.

    Returns:
        [\\*event_shape], true where an entry passes.

    Example:
        >>> from lvmlib.flows.masks import checkerboard
        >>> checkerboard((1, 2, 3))[0].int()
        tensor([[1, 0, 1],
                [0, 1, 0]], dtype=torch.int32)

    Source: Dinh et al. 2017, section 3.4, figure 3 on the left.
    """
    axes = [torch.arange(n) for n in (event_shape[1:] if len(event_shape) > 1 else event_shape)]
    total = sum(torch.meshgrid(*axes, indexing="ij"))
    return (torch.as_tensor(total) % 2 == 0).expand(tuple(event_shape)).clone()


MASKS = {"half": half, "channel": half, "checkerboard": checkerboard}


def read_mask(mask: str | Tensor, event_shape: Sequence[int], swap: bool, layer: str) -> Tensor:
    """A mask by its name or as a tensor, the other way round where `swap`.

    Raises:
        ValueError: an unknown name, another shape, or a mask that passes all or nothing.
    """
    if isinstance(mask, str):
        if mask not in MASKS:
            raise ValueError(f"mask must be one of {', '.join(MASKS)}, or a tensor, but it is {mask!r}.")
        passes = MASKS[mask](event_shape)
    else:
        passes = mask.bool()
    if passes.shape != torch.Size(event_shape):
        raise ValueError(f"The mask of {layer} must have shape {tuple(event_shape)}, but it has {list(passes.shape)}.")
    if passes.all() or not passes.any():
        raise ValueError(
            f"The mask of {layer} must pass some entries and not others, but for event shape {tuple(event_shape)} it "
            f"passes {int(passes.sum())} of {passes.numel()}."
        )
    return ~passes if swap else passes
