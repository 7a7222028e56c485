"""Convolutional networks from pictures to codes and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from lvmlib.checks import check_counts, check_sizes


class ConvEncoder(nn.Sequential):
    """Convolutions of stride 2, each halving height and width, then one linear map.

    Args:
        event_shape: (C, H, W); H and W must be divisible by 2 as often as there are layers.
        channels: of each convolution.
        outputs: number of entries of one output.
        activation: makes the nonlinearity after each convolution.

    Returns:
        [B, outputs].

    Raises:
        ValueError: the picture cannot be halved that often.

    Example:
        >>> import torch
        >>> from lvmlib.networks import ConvEncoder
        >>> ConvEncoder((1, 28, 28), (16, 32), 20)(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 20])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        channels: Sequence[int],
        outputs: int,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ):
        event_shape, channels = check_sizes(event_shape), check_sizes(channels, "channels")
        (outputs,) = check_counts(outputs=outputs)
        height, width = _halved(event_shape, len(channels))
        widths = [event_shape[0], *channels]
        layers: list[nn.Module] = []
        for a, b in zip(widths, widths[1:]):
            layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), activation()]  # [B, b, H / 2, W / 2]
        super().__init__(*layers, nn.Flatten(), nn.Linear(widths[-1] * height * width, outputs))


class ConvDecoder(nn.Sequential):
    """The way back: one linear map to a small picture, then transposed convolutions that double height and width.

    Args:
        inputs: number of entries of one code.
        channels: of the input of each transposed convolution.
        event_shape: (C, H, W) of what comes out; H and W must be divisible by 2 as often as there are layers.
        activation: makes the nonlinearity before each transposed convolution.

    Returns:
        [B, C, H, W].

    Raises:
        ValueError: a picture of that size cannot be doubled into.

    Example:
        >>> import torch
        >>> from lvmlib.networks import ConvDecoder
        >>> ConvDecoder(20, (32, 16), (1, 28, 28))(torch.zeros(3, 20)).shape
        torch.Size([3, 1, 28, 28])
    """

    def __init__(
        self,
        inputs: int,
        channels: Sequence[int],
        event_shape: Sequence[int],
        activation: Callable[[], nn.Module] = nn.SiLU,
    ):
        event_shape, channels = check_sizes(event_shape), check_sizes(channels, "channels")
        (inputs,) = check_counts(inputs=inputs)
        height, width = _halved(event_shape, len(channels))
        widths = [*channels, event_shape[0]]
        layers: list[nn.Module] = [
            nn.Linear(inputs, widths[0] * height * width),
            nn.Unflatten(1, (widths[0], height, width)),
        ]
        for a, b in zip(widths, widths[1:]):
            layers += [activation(), nn.ConvTranspose2d(a, b, 4, stride=2, padding=1)]  # [B, b, 2 H, 2 W]
        super().__init__(*layers)


def _halved(event_shape: Sequence[int], times: int) -> tuple[int, int]:
    if times < 1:
        raise ValueError("channels must name at least one convolution, but it is empty.")
    if len(event_shape) != 3 or any(size % 2**times for size in event_shape[1:]):
        raise ValueError(
            f"{times} layers of stride 2 need an event shape (C, H, W) with H and W divisible by {2**times}, "
            f"but it is {tuple(event_shape)}. Pad the pictures, or give fewer channels."
        )
    return event_shape[1] // 2**times, event_shape[2] // 2**times
