"""What flows reach after the same number of steps, beside the same flows in other libraries.

    python -m benchmarks.flow_quality

RealNVP on points of the plane, fresh ones at each step, and MAF on MNIST: grey levels with uniform noise, squeezed into
(0, 1), their logits standardised. The same batches, optimizer and learning rate for all; several seeds. Test NLL is in
nats of what the flow sees. No run is long enough to have converged. A run that came apart counts as infinitely bad: its
flow, and the mean over its seeds, have the figure null.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import digits, options, write
from benchmarks.flow_rivals import COUPLINGS, MASKED, Build
from benchmarks.flow_step import of_vectors
from lvmlib.data import load
from lvmlib.flows import maf, realnvp
from lvmlib.toys import toy
from lvmlib.training import adam

Batches = Callable[[int], Tensor]
"""From a number of rows to so many rows."""


def train(flow: Any, batch: Batches, steps: int, rows: int) -> None:
    """Adam at 1e-3, the gradient's norm cut at 5."""
    optimizer = adam(flow.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        (-flow.log_prob(batch(rows))).mean().backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()


@torch.no_grad()
def test_nll(flow: Any, x: Tensor) -> float:
    """Mean over rows, nats."""
    return -torch.cat([flow.eval().log_prob(part) for part in x.split(1000)]).mean().item()


def compare(
    model: str, builds: Mapping[str, Build], size: tuple[int, int, int], batch: Batches, test: Tensor,
    steps: int, rows: int, seeds: int,
) -> dict[str, Any]:  # fmt: skip
    """Train each flow once a seed, on the same batches; a row of the table."""
    found: dict[str, list[float]] = {name: [] for name in builds}
    for seed in range(seeds):
        for name, build in builds.items():
            torch.manual_seed(seed)
            flow = build(*size)
            torch.manual_seed(1000 + seed)  # the same batches, however many weights were drawn
            train(flow, batch, steps, rows)
            found[name].append(digits(test_nll(flow, test), 5))
    whole = {name: all(math.isfinite(value) for value in values) for name, values in found.items()}
    means = {name: digits(statistics.mean(values), 5) if whole[name] else None for name, values in found.items()}
    kept = {name: [value for value in values if math.isfinite(value)] for name, values in found.items()}
    print(model, means, flush=True)
    return {
        "model": model,
        "steps": steps,
        "batch": rows,
        "parameters": {name: sum(p.numel() for p in build(*size).parameters()) for name, build in builds.items()},
        "nll": means,
        "spread": {name: [min(values), max(values)] for name, values in kept.items() if values},
        "runs": {name: [v if math.isfinite(v) else None for v in values] for name, values in found.items()},
    }


def pictures(train_rows: int, test_rows: int) -> tuple[Batches, Tensor]:
    """Batches of MNIST with fresh noise, and test pictures with noise drawn once; standardised logits."""

    def seen(grey: Tensor) -> Tensor:
        return (1e-3 + (1 - 2e-3) * (grey + torch.rand_like(grey)) / 256).logit()

    data, _, held = load("mnist")
    x, unseen = (d.batch(slice(0, n)).flatten(1).float() for d, n in ((data, train_rows), (held, test_rows)))
    torch.manual_seed(7)
    first = seen(x[:5000])
    mean, scale = first.mean(0), first.std(0)
    test = (seen(unseen) - mean) / scale
    return lambda rows: (seen(x[torch.randint(len(x), (rows,))]) - mean) / scale, test


def main() -> None:
    """Train everything and write flow_quality.json."""
    args = options(__doc__, timed=False)
    began = time.perf_counter()
    quick, seeds, rows = args.quick, min(args.repeats, 3), []
    couplings = {"ours": of_vectors(realnvp), **COUPLINGS}
    for name in ("eight_gaussians", "two_spirals"):
        density, steps = toy(name), 2 if quick else 1000
        torch.manual_seed(7)
        test = density.sample(10 if quick else 10_000)
        model, size = f"RealNVP, {name.replace('_', ' ')}", (2, 8, 64)
        rows.append(compare(model, couplings, size, density.sample, test, steps, 256, seeds))
    if not quick:
        batch, test = pictures(50_000, 2000)
        rows.append(compare("MAF, MNIST", {"ours": of_vectors(maf), **MASKED}, (784, 5, 512), batch, test, 200, 100, 3))
    packages = ["nflows", "normflows", "zuko"]
    title = "Test NLL of flows after equal steps"
    write(args.out, "flow_quality", title, began, packages, repeats=seeds, rows=rows, timed=False)


if __name__ == "__main__":
    main()
