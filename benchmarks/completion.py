"""The last position of a picture drawn given all others: in milliseconds, and in passes of the network.

    python -m benchmarks.completion

One pass reads all that is known and gives the probabilities of the one position that is not. The weights are random:
time does not depend on them.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.common import digits, medians, options, spreads, take_turns, write
from benchmarks.models import MODELS
from benchmarks.sampling import SHORTEST, one_pass

MEASURED = {"MADE": 16, "PixelCNN": 16, "CausalTransformer": 4}  # how many at a time, as in sampling


def measure(name: str, side: int, n: int, repeats: int) -> dict[str, Any]:
    """Complete and pass in turn; a row of the table."""
    model = MODELS[name](side).eval()
    x = torch.randint(2, (n, *model.event_shape)).float()
    tasks = {"complete": lambda: model.complete(x, known=model.dims - 1), "pass": lambda: one_pass(model, n)}
    runs = take_turns(tasks, repeats, shortest=SHORTEST)
    runs = {task: [1e3 * value for value in values] for task, values in runs.items()}
    ms = medians(runs)
    row = {
        "model": name,
        "n": n,
        "length": model.dims,
        "known": model.dims - 1,
        "ms": ms["complete"],
        "pass_ms": ms["pass"],
        "passes": digits(ms["complete"] / ms["pass"], 3),
        "spread_ms": spreads(runs),
        "runs_ms": {task: [digits(value) for value in values] for task, values in runs.items()},
    }
    print(f"{name:18} {row['ms']:.4g} ms, {row['passes']} passes of {row['pass_ms']:.4g} ms", flush=True)
    return row


def main() -> None:
    """Measure every model and write completion.json."""
    args = options(__doc__)
    began = time.perf_counter()
    side, repeats = (4, args.repeats) if args.quick else (28, 3 * args.repeats)
    rows = [measure(name, side, 2 if args.quick else n, repeats) for name, n in MEASURED.items()]
    write(args.out, "completion", "The last position given all others", began, repeats=repeats, rows=rows)


if __name__ == "__main__":
    main()
