"""A training step of ours against plain PyTorch of the same size, written out by hand.

    python -m benchmarks.training_step

A step is: the mean loss of a batch, its gradients, Adam with all updates in one kernel. Both sides start from the same
weights where they have as many. Networks of convolutions are timed in both layouts of memory; the faster one counts.
The last row compares the training loop: `fit` against a bare loop over the same model and the same loss.

`make benchmarks` asks the C library to keep freed memory. Otherwise a quarter of a step goes into asking the system for
the same pages again; how many depends on what ran before, and moves the ratio of one run against the next by a tenth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks import plain, plain_vae
from benchmarks.common import clock, digits, medians, options, spreads, write
from lvmlib.autoregressive import MADE, PixelCNN
from lvmlib.bounds import elbo, iwae
from lvmlib.estimators import single_backward_iwae
from lvmlib.experiments.vae_mnist import vae_mnist
from lvmlib.training import adam, fit

Build = Callable[[], nn.Module]
Loss = Callable[[Any, Tensor], Tensor]
Way = Callable[[int], float]
"""From a number of steps to the seconds that one of them took."""


@torch.no_grad()
def same_start(plain: nn.Module, ours: nn.Module) -> nn.Module:
    """`plain` with the weights of `ours`: how long Adam's square roots take depends on the numbers."""
    for p, q in zip(plain.parameters(), ours.parameters(), strict=True):
        p.copy_(q)
    return plain


def bare(build: Build, loss: Loss, x: Tensor, channels_last: bool = False) -> Way:
    """A new network that trains for some steps on one batch."""
    x = x.to(memory_format=torch.channels_last) if channels_last else x

    def run(steps: int) -> float:
        net = build()
        if channels_last:
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = adam(net.parameters(), lr=1e-3)
        for i in range(-max(1, steps // 5), steps):  # those below 0 warm up
            if i == 0:
                start = clock()
            optimizer.zero_grad()
            loss(net, x).mean().backward()
            optimizer.step()
        return (clock() - start) / steps

    return run


def our_nll(model: Any, x: Tensor) -> Tensor:
    """Minus the log-likelihood of one of our exact models, [B] nats."""
    return -model.log_prob(x)


def our_elbo(model: Any, x: Tensor) -> Tensor:
    """What `fit` takes for its loss, [B] nats."""
    return -elbo(model, x)


def with_fit(build: Build, x: Tensor, batch: int) -> Way:
    """`fit` on new weights, with what it does before the first step and after the last."""

    def run(steps: int) -> float:
        model = build()
        fit(model, x, our_elbo, steps=max(1, steps // 5), batch_size=batch, progress=False)  # to warm up
        start = clock()
        fit(model, x, our_elbo, steps=steps, batch_size=batch, progress=False)
        return (clock() - start) / steps

    return run


def with_loop(build: Build, x: Tensor, batch: int) -> Way:
    """The loop that `fit` stands for: a new order of the examples in each pass, and nothing that is not training."""

    def train(model: nn.Module, steps: int) -> None:
        optimizer, order, at = adam(model.parameters(), lr=1e-3), torch.randperm(len(x)), 0
        for _ in range(steps):
            if at + batch > len(x):
                order, at = torch.randperm(len(x)), 0
            optimizer.zero_grad()
            our_elbo(model, x[order[at : at + batch]]).mean().backward()
            optimizer.step()
            at += batch

    def run(steps: int) -> float:
        model = build()
        train(model, max(1, steps // 5))  # to warm up
        start = clock()
        train(model, steps)
        return (clock() - start) / steps

    return run


def in_turn(ways: dict[str, Way], rounds: int, steps: int) -> dict[str, list[float]]:
    """Milliseconds of a step by each way, round after round; the first round warms up and does not count.

    Where its weights happen to lie in memory makes a network up to a tenth faster or slower for as long as it lives.
    So each round builds them anew, and the order of the runs turns round from one to the next.
    """
    runs: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(-1, rounds):
        for name in list(ways)[:: 1 if i % 2 else -1]:
            took = 1e3 * ways[name](steps if i >= 0 else 1)
            if i >= 0:
                runs[name].append(took)
    return runs


def compare(name: str, settings: str, ways: dict[str, Way], sizes: Sequence[int], rounds: int, steps: int) -> Any:
    """A row of the table: "ours" is one of the ways, and the fastest other one is compared with it."""
    runs = in_turn(ways, rounds, steps)
    ms = medians(runs)
    fastest = min(value for key, value in ms.items() if key != "ours")
    ratio = digits(ms["ours"] / fastest)
    print(f"{name:10}" + "".join(f"  {key} {value:.3f} ms" for key, value in ms.items()) + f"  {ratio}", flush=True)
    return {
        "model": name,
        "settings": settings,
        "parameters": sizes[0],
        "plain_parameters": sizes[1],
        "ours_ms": ms["ours"],
        "plain_ms": fastest,
        "ratio": ratio,
        "spread_ms": spreads(runs),
        "runs_ms": {key: [digits(value) for value in values] for key, values in runs.items()},
    }


class Pair(NamedTuple):
    """The same network twice, each with its loss."""

    name: str
    settings: str
    ours: Build
    plain: Build
    our_loss: Loss
    plain_loss: Loss
    x: Tensor
    steps: int

    def row(self, rounds: int, quick: bool) -> Any:
        """Compare the two, a plain network of convolutions in both layouts."""
        nets = self.ours(), self.plain()
        ways = {"ours": bare(self.ours, self.our_loss, self.x), "plain": bare(self.plain, self.plain_loss, self.x)}
        if any(isinstance(module, nn.Conv2d) for module in nets[1].modules()):
            ways["plain, channels last"] = bare(self.plain, self.plain_loss, self.x, channels_last=True)
        sizes = [sum(p.numel() for p in net.parameters()) for net in nets]
        return compare(self.name, self.settings, ways, sizes, rounds, 1 if quick else self.steps)


def autoregressive_pairs(quick: bool) -> list[Pair]:
    """MADE and PixelCNN on batches of binary pictures."""
    side, hidden, channels, layers, batch = (6, 16, 4, 2, 2) if quick else (28, 512, 32, 7, 64)
    shape, x = (1, side, side), torch.randint(2, (batch, 1, side, side)).float()

    def made() -> nn.Module:
        return MADE(shape, hidden=(hidden, hidden))

    def plain_made() -> nn.Module:
        return same_start(plain.plain_made(side * side, hidden), made())

    def pixelcnn() -> nn.Module:
        return PixelCNN(shape, channels=channels, layers=layers)

    def plain_pixelcnn() -> nn.Module:
        return plain.plain_pixelcnn(channels, layers)

    data = f"batch of {batch} binary {side} x {side} pictures"
    units, blocks = f"{hidden} + {hidden} hidden units", f"{layers} residual layers of {channels} channels"
    return [
        Pair("MADE", f"{units}, {data}", made, plain_made, our_nll, plain.nll, x, 40),
        Pair("PixelCNN", f"{blocks}, {data}", pixelcnn, plain_pixelcnn, our_nll, plain.nll, x, 3),
    ]


def latent_pairs(pictures: Tensor, k: int) -> list[Pair]:
    """The VAE that the library ships, trained on the ELBO, and on the bound of k draws with a fifth of the pictures."""
    few = pictures[: max(1, len(pictures) // 5)]

    def plain_net() -> nn.Module:
        return same_start(plain_vae.PlainVAE(), vae_mnist())

    def our_single(model: Any, x: Tensor) -> Tensor:
        return -single_backward_iwae(model, x, k)

    def our_iwae(model: Any, x: Tensor) -> Tensor:
        return -iwae(model, x, k)

    def plain_elbo(net: Any, x: Tensor) -> Tensor:
        return -plain_vae.elbo(net, x)

    def plain_iwae(net: Any, x: Tensor) -> Tensor:
        return -plain_vae.iwae(net, x, k)

    text = f"784-200-200-50 and back, ELBO with the KL term in closed form, batch of {len(pictures)}"
    one_back = f"the gradient of one draw chosen by its weight, against all of them; k = {k}, batch of {len(few)}"
    bound = f"the same network, k = {k}, batch of {len(few)}"
    return [
        Pair("VAE", text, vae_mnist, plain_net, our_elbo, plain_elbo, pictures, 100),
        Pair("IWAE", bound, vae_mnist, plain_net, our_iwae, plain_iwae, few, 25),
        Pair("IWAE, one back", one_back, vae_mnist, plain_net, our_single, plain_iwae, few, 25),
    ]


def loops(x: Tensor, batch: int, rounds: int, steps: int) -> Any:
    """`fit` against a bare loop; a row of the table."""
    settings = f"`fit` against a bare loop over the same VAE and loss, batches of {batch} out of {len(x):,}"
    ways = {"ours": with_fit(vae_mnist, x, batch), "plain": with_loop(vae_mnist, x, batch)}
    size = sum(p.numel() for p in vae_mnist().parameters())
    return compare("fit", settings, ways, (size, size), rounds, steps)


def main() -> None:
    """Measure all rows and write training_step.json."""
    args = options(__doc__)
    began = time.perf_counter()
    rounds = args.repeats if args.quick else 3 * args.repeats
    batch, k = (2, 3) if args.quick else (100, 50)
    x = torch.randint(2, (60 * batch, 1, 28, 28)).float()
    pairs = [*autoregressive_pairs(args.quick), *latent_pairs(x[:batch], k)]
    rows = [pair.row(rounds, args.quick) for pair in pairs]
    rows.append(loops(x, batch, rounds, 1 if args.quick else 200))
    write(args.out, "training_step", "Milliseconds of a training step", began, repeats=rounds, rows=rows)


if __name__ == "__main__":
    main()
