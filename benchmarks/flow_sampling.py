"""Draws from a masked autoregressive flow, beside the same flow of zuko.

    python -m benchmarks.flow_sampling

Five layers with networks of two hidden layers and random weights; ours goes back entry by entry, which takes as long
whatever the weights are. The parallel way, which `way_back="auto"` tries where a pass is little work, is beside it for
these weights, at which it needs few rounds; a trained flow needs more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import torch

from benchmarks.common import digits, medians, options, spreads, take_turns, write
from benchmarks.flow_rivals import maf_sampler
from benchmarks.rivals import parameters
from lvmlib.chain import Flow
from lvmlib.flows import MaskedAutoregressive, maf

LAYERS = 5


def drawing(flow: Flow, n: int, way_back: str) -> Callable[[], torch.Tensor]:
    """n draws by one of the ways back."""

    def draw() -> torch.Tensor:
        for layer in flow.layers:
            cast(MaskedAutoregressive, layer).way_back = way_back
        return flow.sample(n)

    return draw


def compare(dims: int, hidden: int, n: int, repeats: int) -> dict[str, Any]:
    """Time both ways back and zuko in turn; a row of the table."""
    flow, zuko = maf((dims,), LAYERS, (hidden, hidden)), maf_sampler("zuko", dims, LAYERS, hidden)
    tasks: dict[str, Callable[[], object]] = {"ours": drawing(flow, n, "steps")}
    tasks |= {"parallel": drawing(flow, n, "parallel"), "zuko": lambda: zuko(n)}
    runs = take_turns(tasks, repeats, shortest=0.02, warm={"zuko": lambda: zuko(2)})
    seconds = medians(runs)
    print(f"MAF, {dims}" + "".join(f"  {name} {value:.4g} s" for name, value in seconds.items()), flush=True)
    return {
        "model": f"MAF, {dims} dimensions, {n} draws",
        "dims": dims,
        "n": n,
        "parameters": {"ours": sum(p.numel() for p in flow.parameters()), "zuko": parameters(zuko)},
        "seconds": seconds,
        "ratio": digits(seconds["zuko"] / seconds["ours"]),
        "spread": spreads(runs),
        "runs": {name: [digits(value) for value in values] for name, values in runs.items()},
    }


def main() -> None:
    """Measure two sizes and write flow_sampling.json."""
    args = options(__doc__)
    began = time.perf_counter()
    sizes = [(4, 8, 3)] if args.quick else [(64, 128, 256), (784, 512, 64)]
    rows = [compare(*size, args.repeats) for size in sizes]
    title = "Seconds to draw from a masked autoregressive flow"
    write(args.out, "flow_sampling", title, began, ["zuko"], repeats=args.repeats, rows=rows)


if __name__ == "__main__":
    main()
