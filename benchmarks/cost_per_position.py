"""What each position costs while sampling, against its index.

    python -m benchmarks.cost_per_position

One step of the cache and the draw that follows it, timed one by one; beside it a forward pass, which is what each
position costs without the cache.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

from benchmarks.common import clock, digits, options, spreads, write
from benchmarks.models import FOLLOWED
from lvmlib.autoregressive import Autoregressive


@torch.no_grad()
def each_position(model: Autoregressive, n: int) -> list[float]:
    """Draw `n` examples and return the seconds of each position."""
    x = torch.zeros(n, model.dims)
    u = torch.rand(model.dims, n, 2)
    step, seconds = model.steps(n), []
    for t, position in enumerate(model.order.tolist()):
        start = clock()
        x[:, position] = model.family.draw(step(t, x), u[t])
        seconds.append(clock() - start)
    return seconds


@torch.no_grad()
def forward_pass(model: Autoregressive, n: int) -> float:
    """Seconds of one pass over `n` examples."""
    x = torch.zeros(n, *model.event_shape)
    start = clock()
    model.predict(x)
    return clock() - start


def by_quarter(values: Sequence[float]) -> list[float]:
    """The median of each quarter of the positions."""
    return [statistics.median(values[i * len(values) // 4 : (i + 1) * len(values) // 4]) for i in range(4)]


def main() -> None:
    """Measure every model and write cost_per_position.json."""
    args = options(__doc__)
    began = time.perf_counter()
    side, n, repeats = (4, 2, 2) if args.quick else (28, 16, args.repeats)
    rows = []
    for name, build in FOLLOWED.items():
        torch.manual_seed(0)
        model = build(side).eval()
        each_position(model, n), forward_pass(model, n)  # to warm up
        runs = [(each_position(model, n), forward_pass(model, n)) for _ in range(repeats)]
        cached = [digits(1e6 * statistics.median(seconds), 3) for seconds in zip(*(steps for steps, _ in runs))]
        passes = [1e6 * forward for _, forward in runs]
        uncached = digits(statistics.median(passes))
        quarters = [[1e6 * quarter for quarter in by_quarter(steps)] for steps, _ in runs]  # [repeats][4]
        rows.append(
            {
                "model": name,
                "n": n,
                "length": model.dims,
                "position": list(range(model.dims)),
                "cached_us": cached,
                "uncached_us": uncached,
                "spread_us": spreads(
                    {"pass": passes, "first": [q[0] for q in quarters], "last": [q[3] for q in quarters]}
                ),
            }
        )
        shown = "  ".join(f"{quarter:.0f}" for quarter in by_quarter(cached))
        print(f"{name:18} median of each quarter, us: {shown}   forward pass: {uncached:.0f}", flush=True)
    write(args.out, "cost_per_position", "Cost of each position while sampling", began, repeats=repeats, rows=rows)


if __name__ == "__main__":
    main()
