"""A training step of RealNVP, MAF and spline flows, beside the same flows in other libraries.

    python -m benchmarks.flow_step

Log-density of a batch, gradients, Adam with all updates in one kernel. Networks have two hidden layers, and all
libraries the same number of parameters; only zuko's couplings do not, whose network reads all entries through a mask.
Each makes its scales of what the network says as it does by default.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from benchmarks.common import digits, medians, options, spreads, write
from benchmarks.flow_rivals import COUPLINGS, MASKED, MASKED_SPLINES, SPLINE_COUPLINGS, Build
from benchmarks.training_step import Way, bare, in_turn, our_nll
from lvmlib.chain import Flow
from lvmlib.distributions import StandardNormal
from lvmlib.flows import MaskedAutoregressive, Spline, SplineCoupling, maf, perceptron, realnvp


def spline_couplings(dims: int, layers: int, hidden: int) -> Flow:
    """What `nsf` is without its linear layers, which the others lack."""
    network = perceptron((hidden, hidden))
    return Flow([SplineCoupling((dims,), network, swap=i % 2 == 1) for i in range(layers)], StandardNormal((dims,)))


def masked_splines(dims: int, layers: int, hidden: int) -> Flow:
    """Masked autoregressive layers of splines, without linear layers between them."""
    orders = [range(dims) if i % 2 == 0 else range(dims - 1, -1, -1) for i in range(layers)]
    steps = [MaskedAutoregressive((dims,), (hidden, hidden), Spline(), order=order) for order in orders]
    return Flow(steps, StandardNormal((dims,)))


class Case(NamedTuple):
    """A flow and its size; our way to build it, and those of others."""

    name: str
    ours: Callable[[int, int, int], nn.Module]
    others: dict[str, Build]
    dims: int
    layers: int
    hidden: int
    steps: int


def of_vectors(build: Any) -> Callable[[int, int, int], nn.Module]:
    """One of the library's builders, called with plain numbers."""
    return lambda dims, layers, hidden: build((dims,), layers, (hidden, hidden))


CASES = [
    Case("RealNVP", of_vectors(realnvp), COUPLINGS, 6, 8, 128, 40),
    Case("RealNVP", of_vectors(realnvp), COUPLINGS, 64, 8, 128, 40),
    Case("MAF", of_vectors(maf), MASKED, 64, 5, 128, 40),
    Case("MAF", of_vectors(maf), MASKED, 784, 5, 512, 2),
    Case("Spline couplings", spline_couplings, SPLINE_COUPLINGS, 64, 3, 128, 10),
    Case("Autoregressive splines", masked_splines, MASKED_SPLINES, 64, 3, 128, 5),
]


def compare(case: Case, batch: int, rounds: int, steps: int) -> dict[str, Any]:
    """Time ours and the rivals in turn, each built anew in each round; a row of the table."""
    size = case.dims, case.layers, case.hidden
    builds = {name: lambda build=build: build(*size) for name, build in {"ours": case.ours, **case.others}.items()}
    x = torch.randn(batch, case.dims)
    ways: dict[str, Way] = {name: bare(build, our_nll, x) for name, build in builds.items()}
    runs = in_turn(ways, rounds, steps)
    ms = medians(runs)
    fastest = min((name for name in ms if name != "ours"), key=ms.__getitem__)
    print(f"{case.name}, {case.dims}" + "".join(f"  {name} {value:.3f} ms" for name, value in ms.items()), flush=True)
    return {
        "model": f"{case.name}, {case.dims} dimensions",
        "dims": case.dims,
        "layers": case.layers,
        "hidden": case.hidden,
        "batch": batch,
        "parameters": {name: sum(p.numel() for p in build().parameters()) for name, build in builds.items()},
        "ms": ms,
        "fastest": fastest,
        "ratio": digits(ms["ours"] / ms[fastest]),
        "spread_ms": spreads(runs),
        "runs_ms": {name: [digits(value) for value in values] for name, values in runs.items()},
    }


def main() -> None:
    """Measure all cases and write flow_step.json."""
    args = options(__doc__)
    began = time.perf_counter()
    batch, cases = (8, [CASES[0], *CASES[4:]]) if args.quick else (256, CASES)
    rows = [compare(case, batch, args.repeats, 1 if args.quick else case.steps) for case in cases]
    settings = f"networks of two hidden layers, batches of {batch}"
    title = "Milliseconds of a training step of flows"
    packages = ["nflows", "normflows", "zuko"]
    write(args.out, "flow_step", title, began, packages, repeats=args.repeats, settings=settings, rows=rows)


if __name__ == "__main__":
    main()
