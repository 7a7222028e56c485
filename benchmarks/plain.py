"""MADE and PixelCNN by hand in plain PyTorch, with masks over whole kernels, as they are usually written."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainMaskedLinear(nn.Linear):
    """A linear layer under a mask of zeros and ones."""

    mask: Tensor

    def __init__(self, mask: Tensor):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.mask * self.weight, self.bias)


def plain_made(dims: int, hidden: int) -> nn.Module:
    """MADE with two hidden layers, flat binary input, logits."""
    inputs, units = torch.arange(1, dims + 1), torch.arange(hidden) * (dims - 1) // hidden + 1
    return nn.Sequential(
        nn.Flatten(),
        PlainMaskedLinear((units[:, None] >= inputs).float()),
        nn.ReLU(),
        PlainMaskedLinear((units[:, None] >= units).float()),
        nn.ReLU(),
        PlainMaskedLinear((inputs[:, None] > units).float()),
    )


class PlainMaskedConv(nn.Conv2d):
    """A convolution under mask A or B; one colour."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, mask_type: str):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        mask = torch.ones(kernel, kernel)
        mask[kernel // 2, kernel // 2 + (mask_type == "B") :] = 0
        mask[kernel // 2 + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.mask * self.weight, self.bias, padding=self.padding)


class PlainBlock(nn.Module):
    """A residual block of 2h features: 1x1 to h, masked 3x3, 1x1 back to 2h."""

    def __init__(self, h: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(2 * h, h, 1),
            nn.ReLU(),
            PlainMaskedConv(h, h, 3, "B"),
            nn.ReLU(),
            nn.Conv2d(h, 2 * h, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Signs(nn.Module):
    """Bits as -1 and +1."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x - 1


def plain_pixelcnn(h: int, layers: int) -> nn.Module:
    """PixelCNN of one colour: mask A 7x7, residual blocks, two layers of 1x1, logits."""
    head = [nn.ReLU(), nn.Conv2d(2 * h, 2 * h, 1), nn.ReLU(), nn.Conv2d(2 * h, 2 * h, 1), nn.ReLU()]
    return nn.Sequential(
        Signs(),
        PlainMaskedConv(1, 2 * h, 7, "A"),
        *(PlainBlock(h) for _ in range(layers)),
        *head,
        nn.Conv2d(2 * h, 1, 1),
    )


def nll(net: nn.Module, x: Tensor) -> Tensor:
    """Minus the log-likelihood of bits under a network that returns their logits, [B] nats."""
    return F.binary_cross_entropy_with_logits(net(x).flatten(1), x.flatten(1), reduction="none").sum(1)
