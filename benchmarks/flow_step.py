"""A training step of RealNVP on tables of numbers, beside the same flow in three other libraries.

    python -m benchmarks.flow_step

Eight affine couplings, each with a network of two hidden layers of 128 units, on batches of 256 rows: log-density,
gradients, Adam with all updates in one kernel. All have the same number of parameters; each makes its scales of what
the network says as it does by default. Ours is a prototype on `Flow` and `Transform`, until the library has couplings.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.common import digits, medians, options, spreads, write
from benchmarks.prototypes import realnvp
from benchmarks.rivals import COUPLINGS
from benchmarks.training_step import Way, bare, in_turn, our_nll

LAYERS, HIDDEN = 8, 128


def compare(dims: int, batch: int, rounds: int, steps: int) -> dict[str, Any]:
    """Time ours and the rivals in turn, each built anew in each round; a row of the table."""
    builds = {"ours": lambda: realnvp(dims, LAYERS, (HIDDEN, HIDDEN))}
    builds |= {name: lambda build=build: build(dims, LAYERS, HIDDEN) for name, build in COUPLINGS.items()}
    x = torch.randn(batch, dims)
    ways: dict[str, Way] = {name: bare(build, our_nll, x) for name, build in builds.items()}
    runs = in_turn(ways, rounds, steps)
    ms = medians(runs)
    fastest = min((name for name in ms if name != "ours"), key=ms.__getitem__)
    print(f"RealNVP, {dims:2}" + "".join(f"  {name} {value:.3f} ms" for name, value in ms.items()), flush=True)
    return {
        "model": f"RealNVP, {dims} dimensions",
        "dims": dims,
        "batch": batch,
        "parameters": {name: sum(p.numel() for p in build().parameters()) for name, build in builds.items()},
        "ms": ms,
        "fastest": fastest,
        "ratio": digits(ms["ours"] / ms[fastest]),
        "spread_ms": spreads(runs),
        "runs_ms": {name: [digits(value) for value in values] for name, values in runs.items()},
    }


def main() -> None:
    """Measure a small and a large table and write flow_step.json."""
    args = options(__doc__)
    began = time.perf_counter()
    batch, rounds, steps = (8, args.repeats, 1) if args.quick else (256, 3 * args.repeats, 40)
    rows = [compare(dims, batch, rounds, steps) for dims in (6, 64)]
    settings = f"{LAYERS} affine couplings, networks of {HIDDEN} + {HIDDEN} hidden units, batch of {batch}"
    title = "Milliseconds of a training step of RealNVP"
    write(args.out, "flow_step", title, began, list(COUPLINGS), repeats=rounds, settings=settings, rows=rows)


if __name__ == "__main__":
    main()
