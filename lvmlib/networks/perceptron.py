"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lvmlib.checks import check_counts, check_sizes


class MLP(nn.Sequential):
    """A multilayer perceptron that flattens what comes in.

    Args:
        inputs: number of entries of one example.
        hidden: widths of the hidden layers.
        outputs: number of entries of one output.
        activation: makes the nonlinearity between two layers.

    Returns:
        [B, outputs].

    Example:
        >>> import torch
        >>> from lvmlib import MLP
        >>> MLP(784, (200, 200), 100)(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 100])
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int, activation: Callable[[], nn.Module] = nn.ReLU):
        inputs, outputs = check_counts(inputs=inputs, outputs=outputs)
        widths = [inputs, *check_sizes(hidden, "hidden")]
        layers: list[nn.Module] = [nn.Flatten()]
        for a, b in zip(widths, widths[1:]):
            layers += [nn.Linear(a, b), activation()]
        super().__init__(*layers, nn.Linear(widths[-1], outputs))


def join(x: Tensor, context: Tensor | None) -> Tensor:
    """Lay an example and its context side by side, both flattened: [B, D] and [B, C] -> [B, D + C].

    Without a context the example stays as it is.
    """
    if context is None:
        return x
    x, context = (t.unsqueeze(-1).flatten(1) for t in (x, context))  # [B, ...] -> [B, D], also where there is no ...
    return torch.cat([x, context.to(x.dtype)], dim=1)


def planes(x: Tensor, context: Tensor | None) -> Tensor:
    """Lay a context behind the channels of a picture, each entry as a plane: [B, C, H, W], [B, K] -> [B, C + K, H, W].

    A context of pictures of the same size, [B, K, H, W], gives planes as it is. Without one the picture stays alone.

    Raises:
        ValueError: a context of pictures of another size.

    Example:
        >>> import torch
        >>> from lvmlib.networks import planes
        >>> planes(torch.zeros(5, 1, 8, 8), torch.eye(10)[:5]).shape
        torch.Size([5, 11, 8, 8])
    """
    if context is None:
        return x
    if context.dim() < 4:
        context = context.unsqueeze(-1).flatten(1)[:, :, None, None].expand(-1, -1, *x.shape[2:])
    elif context.shape[2:] != x.shape[2:]:
        raise ValueError(
            f"A context of pictures must be as high and wide as what it is laid behind, {list(x.shape[2:])}, but it is "
            f"{list(context.shape[2:])}. Pass it as a vector, or make it fit."
        )
    return torch.cat([x, context.to(x.dtype)], dim=1)
