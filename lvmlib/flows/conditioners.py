"""The networks inside of flows, each made by a function of how many inputs and outputs it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lvmlib.checks import check_count, check_counts, check_sizes
from lvmlib.networks import MLP

Maker = Callable[[int, int], nn.Module]
"""``maker(inputs, outputs)`` -> network; a layer knows how many entries or channels its network reads and gives."""


def perceptron(hidden: Sequence[int] = (128, 128), activation: Callable[[], nn.Module] = nn.ReLU) -> Maker:
    """A maker of multilayer perceptrons, with outputs near 0 at the start.

    Example:
        >>> import torch
        >>> from lvmlib.flows import perceptron
        >>> perceptron((16,))(3, 4)(torch.zeros(5, 3)).shape
        torch.Size([5, 4])
    """
    hidden = check_sizes(hidden, "hidden")

    def make(inputs: int, outputs: int) -> nn.Module:
        network = MLP(inputs, hidden, outputs, activation)
        return near_zero(network, network[-1])

    return make


def convolutions(channels: int = 64, blocks: int = 2) -> Maker:
    """A maker of residual networks of convolutions, which keep height and width, with outputs near 0 at the start.

    Example:
        >>> import torch
        >>> from lvmlib.flows import convolutions
        >>> convolutions(8)(3, 6)(torch.zeros(5, 3, 4, 4)).shape
        torch.Size([5, 6, 4, 4])

    Source: Dinh et al. 2017, section 3.5, without its batch normalization.
    """
    channels, blocks = check_counts(channels=channels, blocks=blocks)

    def make(inputs: int, outputs: int) -> nn.Module:
        last = nn.Conv2d(channels, outputs, 3, padding=1)
        middle = [Residual(_two_convolutions(channels)) for _ in range(blocks)]
        return near_zero(nn.Sequential(nn.Conv2d(inputs, channels, 3, padding=1), *middle, nn.ReLU(), last), last)

    return make


def bottleneck(channels: int = 512) -> Maker:
    """A maker of Glow's networks: convolutions of size 3, 1 and 3, with outputs near 0 at the start.

    Example:
        >>> import torch
        >>> from lvmlib.flows import bottleneck
        >>> bottleneck(8)(3, 6)(torch.zeros(5, 3, 4, 4)).shape
        torch.Size([5, 6, 4, 4])

    Source: Kingma & Dhariwal 2018, *Glow*, appendix B.
    """
    channels = check_count(channels, "channels", "")

    def make(inputs: int, outputs: int) -> nn.Module:
        last = nn.Conv2d(channels, outputs, 3, padding=1)
        first = [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 1), nn.ReLU()]
        return near_zero(nn.Sequential(*first, last), last)

    return make


def default_maker(event_shape: Sequence[int], hidden: Sequence[int] = (128, 128), channels: int = 64) -> Maker:
    """A perceptron for vectors, convolutions for pictures."""
    return convolutions(channels) if len(event_shape) == 3 else perceptron(hidden)


class Residual(nn.Module):
    """What a block makes of its input, added to it.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib.flows.conditioners import Residual
        >>> Residual(nn.Identity())(torch.ones(1))
        tensor([2.])
    """

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, h: Tensor) -> Tensor:
        """h plus what the block makes of it."""
        return h + self.block(h)


def _two_convolutions(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 1)
    )


def near_zero(network: nn.Module, last: nn.Module) -> nn.Module:
    """Let the outputs be small at first, so that the flow starts near the simplest of its maps."""
    with torch.no_grad():
        for name, p in last.named_parameters():
            p.mul_(0.1 if name == "weight" else 0.0)
    return network
