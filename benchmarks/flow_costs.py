"""What a masked autoregressive flow and an inverse one cost: the density of given data, drawing, and both at once.

    python -m benchmarks.flow_costs

The two are the same stack of masked layers, walked in opposite directions, with the same weights. One direction is a
pass of each network. The other goes entry by entry: in *steps* that compute each hidden unit once, as `lvmlib` does,
or, as it is often written, by a whole pass for each entry, *anew*. Both at once means draws with their density.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from benchmarks.common import medians, options, spreads, take_turns, write
from lvmlib.base import Transform
from lvmlib.chain import Flow, Inverse
from lvmlib.distributions import StandardNormal
from lvmlib.flows import MaskedAutoregressive, maf

LAYERS, HIDDEN = 5, (128, 128)


def inverse_of(flow: Flow) -> Flow:
    """The same layers, walked the other way: an inverse autoregressive flow."""
    return Flow([Inverse(layer) for layer in reversed(flow.layers)], StandardNormal(flow.event_shape))


def anew(layers: list[MaskedAutoregressive], z: Tensor) -> Tensor:
    """The way back with a pass of the whole network for each entry."""
    for layer in reversed(layers):
        x = torch.zeros_like(z)
        for _ in range(z.shape[1]):
            x, _ = layer.element.inverse(z, layer.net(x))
        z = x
    return z


def tasks(dims: int, rows: int) -> dict[str, Callable[[], object]]:
    """What is timed, by model and by what is asked of it."""
    forwards = maf((dims,), LAYERS, HIDDEN)
    layers = cast("list[MaskedAutoregressive]", forwards.layers)
    for layer in layers:
        layer.way_back = "steps"
    x, found = torch.randn(rows, dims), dict[str, Callable[[], object]]()
    for name, flow in {"MAF": forwards, "IAF": inverse_of(forwards)}.items():
        found[f"{name} density"] = lambda flow=flow: flow.log_prob(x)
        found[f"{name} draw"] = lambda flow=flow: flow.sample(rows)
        found[f"{name} both"] = lambda flow=flow: flow.rsample_with_log_prob(rows)
    found["anew"] = lambda: anew(layers, x)
    return found


def check(dims: int) -> None:
    """The two ways back agree, and the two flows are inverses, or nothing here means what it says."""
    flow, z = maf((dims,), LAYERS, HIDDEN), torch.randn(3, dims)
    for layer in flow.layers:
        cast(MaskedAutoregressive, layer).way_back = "steps"
    x = flow.decode(z)
    torch.testing.assert_close(anew(cast("list[MaskedAutoregressive]", flow.layers), z), x, rtol=1e-3, atol=1e-3)
    first: Transform = inverse_of(flow).layers[0]
    torch.testing.assert_close(first(z)[0], flow.layers[-1].inverse(z)[0])


@torch.no_grad()
def measure(dims: int, rows: int, repeats: int) -> dict[str, Any]:
    """All costs at one number of dimensions, milliseconds."""
    check(dims)
    runs = take_turns(tasks(dims, rows), repeats, enough=1.0, shortest=0.02)
    ms = {name: [1e3 * seconds for seconds in values] for name, values in runs.items()}
    return {"dims": dims, "rows": rows, "ms": medians(ms), "spread_ms": spreads(ms)}


def main() -> None:
    """Measure at several numbers of dimensions and write flow_costs.json."""
    args = options(__doc__)
    began = time.perf_counter()
    dims, rows = ((4, 8), 2) if args.quick else ((8, 32, 128), 100)
    settings = f"{LAYERS} layers with networks of {HIDDEN[0]} + {HIDDEN[1]} hidden units, {rows} rows"
    measured = [measure(d, rows, args.repeats) for d in dims]
    title = "What the two directions of an autoregressive flow cost"
    write(args.out, "flow_costs", title, began, repeats=args.repeats, settings=settings, rows=measured)


if __name__ == "__main__":
    main()
