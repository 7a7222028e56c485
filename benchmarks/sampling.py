"""Seconds to sample: with the cache, without it, and in other libraries.

    python -m benchmarks.sampling

Without the cache each position costs a forward pass of the whole network. The weights are random: time does not depend
on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import rivals
from benchmarks.common import digits, medians, options, take_turns, version, write
from benchmarks.models import MODELS
from lvmlib.autoregressive import MADE, Autoregressive
from lvmlib.base import Density
from lvmlib.experiments.vae_mnist import vae_mnist

# name, package, what it is, what to run
Rival = tuple[str, str, str, Callable[[], object]]


def compare(
    name: str, settings: str, models: Sequence[Density], n: int, others: Sequence[Rival], repeats: int
) -> dict[str, Any]:
    """Time `n` examples of each of the models, cached and uncached, and the rivals in turn; a row of the table."""
    for model in models:
        model.eval()
    own: dict[str, Callable[[], object]] = {"cached": lambda: [model.sample(n) for model in models]}
    if all(isinstance(model, Autoregressive) for model in models):
        own["uncached"] = lambda: [model.sample(n, cache=False) for model in models]  # type: ignore[call-arg]
    runs = take_turns({**own, **{other: task for other, _, _, task in others}}, repeats)
    seconds = medians(runs)
    print(f"{name:18}" + "".join(f"  {task} {value:.4g} s" for task, value in seconds.items()), flush=True)
    return {
        "model": name,
        "settings": settings,
        "parameters": sum(p.numel() for model in models for p in model.parameters()),
        "n": n,
        "length": models[0].event_shape.numel(),
        "seconds": {task: seconds[task] for task in own},
        **({"ratio": digits(seconds["uncached"] / seconds["cached"])} if "uncached" in own else {}),
        "runs": {task: [digits(value) for value in values] for task, values in runs.items()},
        "rivals": [
            {
                "name": other,
                "version": version(package),
                "settings": text,
                "seconds": seconds[other],
                "ratio": digits(seconds[other] / seconds["cached"]),
            }
            for other, package, text, _ in others
        ],
    }


def main() -> None:
    """Measure every row and write sampling.json."""
    args = options(__doc__)
    began = time.perf_counter()
    side, hidden, n, many = (4, 16, 2, 3) if args.quick else (28, 512, 16, 64)
    length = side * side
    pixels = f"{side} x {side} binary pixels, {n} draws"
    maf = f"MAF of five such networks, each with two outputs per dimension; {many} draws"
    rows = [
        compare(
            "5 x MADE",
            f"{hidden} + {hidden} hidden units each, {length} binary dimensions, {many} draws from each",
            [MADE((length,), hidden=(hidden, hidden)) for _ in range(5)],
            many,
            [
                ("zuko", "zuko", maf, rivals.zuko_maf(length, hidden, 5, many)),
                ("nflows", "nflows", maf, rivals.nflows_maf(length, hidden, 5, many)),
            ],
            args.repeats,
        )
    ]
    beside: dict[str, list[Rival]] = {
        "PixelCNN": [
            (
                "pythae",
                "pythae",
                f"PixelCNN of 7 layers of 3 x 3 and 64 channels, the width that it has; {n} draws",
                rivals.pythae_pixelcnn(side, 7, n),
            )
        ],
        "CausalTransformer": [
            (
                "transformers",
                "transformers",
                f"GPT-2 of the same 4 blocks of width 64 with 4 heads, and its own cache; {n} draws",
                rivals.transformers_gpt2(length, 64, 4, 4, n),
            )
        ],
    }
    for name, build in MODELS.items():
        rows.append(compare(name, pixels, [build(side)], n, beside.get(name, []), args.repeats))
    if not args.quick:
        rows.append(compare("VAE", f"784-200-200-50, one pass; {pixels}", [vae_mnist()], n, [], args.repeats))
    packages = ["zuko", "nflows", "pythae", "transformers"]
    write(args.out, "sampling", "Seconds to sample", began, packages, rows=rows)


if __name__ == "__main__":
    main()
