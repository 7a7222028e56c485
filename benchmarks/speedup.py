"""Sampling time against length, with the cache and without it.

    python -m benchmarks.speedup

Square pictures of growing side, so that all models can take part.
"""

from __future__ import annotations

import time

import torch

from benchmarks.common import digits, medians, options, take_turns, write
from benchmarks.models import FOLLOWED


def main() -> None:
    """Measure every model at every length and write speedup.json."""
    args = options(__doc__)
    began = time.perf_counter()
    sides, n = ([3, 4], 2) if args.quick else ([8, 12, 16, 22, 28], 4)
    rows = []
    for name, build in FOLLOWED.items():
        for side in sides:
            torch.manual_seed(0)
            model = build(side).eval()
            tasks = {"cached": lambda: model.sample(n), "uncached": lambda: model.sample(n, cache=False)}  # noqa: B023
            seconds = medians(take_turns(tasks, args.repeats, enough=3))
            ratio = digits(seconds["uncached"] / seconds["cached"])
            rows.append(
                {
                    "model": name,
                    "n": n,
                    "length": side * side,
                    "cached_s": seconds["cached"],
                    "uncached_s": seconds["uncached"],
                    "ratio": ratio,
                }
            )
            print(f"{name:18} {side * side:4}  {seconds['cached']:.4g} s  {seconds['uncached']:.4g} s", flush=True)
    write(args.out, "speedup", "Sampling time against length", began, rows=rows)


if __name__ == "__main__":
    main()
