"""A training step of ours against plain PyTorch of the same size, written out by hand.

    python -m benchmarks.training_step

A step is: the mean negative log-likelihood of a batch, its gradients, Adam. The plain networks have masks over whole
kernels, as they are usually written, and are timed in both layouts of memory; the faster one counts.

`make benchmarks` asks the C library to keep freed memory. Otherwise a quarter of a step goes into asking the system for
the same pages again; how many depends on what ran before, and moves the ratio of one run against the next by a tenth.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import clock, digits, medians, options, write
from lvmlib.autoregressive import MADE, PixelCNN

Build = Callable[[], nn.Module]


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


@torch.no_grad()
def same_start(plain: nn.Module, ours: nn.Module) -> nn.Module:
    """`plain` with the weights of `ours`: how long Adam's square roots take depends on the numbers."""
    for p, q in zip(plain.parameters(), ours.parameters(), strict=True):
        p.copy_(q)
    return plain


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


def seconds_per_step(net: nn.Module, loss: Callable[[nn.Module, Tensor], Tensor], x: Tensor, steps: int) -> float:
    """Train for some steps and return what one of them took."""
    optimizer = torch.optim.Adam(net.parameters())
    for i in range(-max(1, steps // 5), steps):  # those below 0 warm up
        if i == 0:
            start = clock()
        optimizer.zero_grad()
        loss(net, x).backward()
        optimizer.step()
    return (clock() - start) / steps


def our_loss(net: nn.Module, x: Tensor) -> Tensor:
    """Mean negative log-likelihood of one of our models."""
    return -net.log_prob(x).mean()  # type: ignore[operator]


def plain_loss(net: nn.Module, x: Tensor) -> Tensor:
    """The same of a network that returns logits."""
    logits = net(x).flatten(1)
    return F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="none").sum(1).mean()


def compare(name: str, settings: str, ours: Build, plain: Build, x: Tensor, rounds: int, steps: int) -> Any:
    """Time both in turn; a row of the table.

    Where its weights happen to lie in memory makes a network up to a tenth faster or slower for as long as it lives.
    So each round builds them anew, and the order of the runs turns round from one to the next.
    """
    last = torch.channels_last
    ways: dict[str, Callable[[], float]] = {
        "ours": lambda: seconds_per_step(ours(), our_loss, x, steps),
        "plain": lambda: seconds_per_step(plain(), plain_loss, x, steps),
    }
    if any(isinstance(module, nn.Conv2d) for module in plain().modules()):
        pictures = x.to(memory_format=last)

        def plain_last() -> nn.Module:
            return plain().to(memory_format=last)  # type: ignore[call-overload]

        ways["plain, channels last"] = lambda: seconds_per_step(plain_last(), plain_loss, pictures, steps)
    runs: dict[str, list[float]] = {key: [] for key in ways}
    for i in range(rounds):
        for key in list(ways)[:: 1 if i % 2 else -1]:
            runs[key].append(1e3 * ways[key]())
    ms = medians(runs)
    fastest = min(value for key, value in ms.items() if key != "ours")
    ratio = digits(ms["ours"] / fastest)
    print(f"{name:10}" + "".join(f"  {key} {value:.3f} ms" for key, value in ms.items()) + f"  {ratio}", flush=True)
    return {
        "model": name,
        "settings": settings,
        "parameters": sum(p.numel() for p in ours().parameters()),
        "plain_parameters": sum(p.numel() for p in plain().parameters()),
        "ours_ms": ms["ours"],
        "plain_ms": fastest,
        "ratio": ratio,
        "runs_ms": {key: [digits(value) for value in values] for key, values in runs.items()},
    }


def main() -> None:
    """Measure both models and write training_step.json."""
    args = options(__doc__)
    began = time.perf_counter()
    side, hidden, channels, layers, batch = (6, 16, 4, 2, 2) if args.quick else (28, 512, 32, 7, 64)
    rounds = args.repeats if args.quick else 3 * args.repeats
    x = torch.randint(2, (batch, 1, side, side)).float()
    shape = (1, side, side)
    rows = [
        compare(
            "MADE",
            f"{hidden} + {hidden} hidden units, batch of {batch} binary {side} x {side} pictures",
            lambda: MADE(shape, hidden=(hidden, hidden)),
            lambda: same_start(plain_made(side * side, hidden), MADE(shape, hidden=(hidden, hidden))),
            x,
            rounds,
            1 if args.quick else 40,
        ),
        compare(
            "PixelCNN",
            f"{layers} residual layers of {channels} channels, batch of {batch} binary {side} x {side} pictures",
            lambda: PixelCNN(shape, channels=channels, layers=layers),
            lambda: plain_pixelcnn(channels, layers),
            x,
            rounds,
            1 if args.quick else 3,
        ),
    ]
    write(
        args.out,
        "training_step",
        "Milliseconds of a training step",
        began,
        repeats=3 * args.repeats,
        batch=batch,
        rows=rows,
    )


if __name__ == "__main__":
    main()
