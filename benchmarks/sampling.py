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
from lvmlib.autoregressive import MADE, RNN, Autoregressive, CausalTransformer, GatedPixelCNN, PixelCNN, WaveNet

# name, package, what it is, what to run
Rival = tuple[str, str, str, Callable[[], object]]


def compare(
    name: str, settings: str, models: Sequence[Autoregressive], n: int, others: Sequence[Rival], repeats: int
) -> dict[str, Any]:
    """Time `n` examples of each of the models, cached and uncached, and the rivals in turn; a row of the table."""
    tasks: dict[str, Callable[[], object]] = {
        "cached": lambda: [model.sample(n) for model in models],
        "uncached": lambda: [model.sample(n, cache=False) for model in models],
    }
    runs = take_turns({**tasks, **{other: task for other, _, _, task in others}}, repeats)
    seconds = medians(runs)
    print(f"{name:18}" + "".join(f"  {task} {value:.4g} s" for task, value in seconds.items()), flush=True)
    return {
        "model": name,
        "settings": settings,
        "parameters": sum(p.numel() for model in models for p in model.parameters()),
        "n": n,
        "length": models[0].dims,
        "seconds": {task: seconds[task] for task in tasks},
        "ratio": digits(seconds["uncached"] / seconds["cached"]),
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
    side, hidden, channels, layers, n, many = (4, 16, 4, 2, 2, 3) if args.quick else (28, 512, 32, 7, 16, 64)
    shape, length, repeats = (1, side, side), side * side, args.repeats

    def row(name: str, settings: str, *models: Autoregressive, n: int = n, others: Sequence[Rival] = ()) -> Any:
        for model in models:
            model.eval()
        return compare(name, settings, models, n, others, repeats)

    made = [MADE((length,), hidden=(hidden, hidden)) for _ in range(5)]
    maf = f"a flow of five such networks, each with two outputs per dimension; {many} draws"
    width, heads, blocks = (8, 2, 2) if args.quick else (64, 4, 4)
    stack = 3 if args.quick else 10
    rows = [
        row(
            "MADE, five of them",
            f"{hidden} + {hidden} hidden units each, {length} binary dimensions, {many} draws from each",
            *made,
            n=many,
            others=[
                ("zuko, MAF", "zuko", maf, rivals.zuko_maf(length, hidden, 5, many)),
                ("nflows, MAF", "nflows", maf, rivals.nflows_maf(length, hidden, 5, many)),
            ],
        ),
        row(
            "PixelCNN",
            f"{layers} residual layers of {channels} channels, {side} x {side} binary pixels, {n} draws",
            PixelCNN(shape, channels=channels, layers=layers),
            others=[
                (
                    "pythae, PixelCNN",
                    "pythae",
                    f"{layers} layers of 3 x 3 x 64 channels, the width it has; {n} draws",
                    rivals.pythae_pixelcnn(side, layers, n),
                )
            ],
        ),
        row(
            "Gated PixelCNN",
            f"{layers} residual layers of {channels} channels, {side} x {side} binary pixels, {n} draws",
            GatedPixelCNN(shape, channels=channels, layers=layers),
        ),
        row(
            "Causal transformer",
            f"{blocks} blocks of width {width} with {heads} heads, {length} binary positions, {n} draws",
            CausalTransformer((length,), channels=width, heads=heads, layers=blocks),
            others=[
                (
                    "transformers, GPT-2",
                    "transformers",
                    f"the same size, with its own key/value cache; {n} draws",
                    rivals.transformers_gpt2(length, width, heads, blocks, n),
                )
            ],
        ),
        row(
            "WaveNet",
            f"{stack} layers of {width} channels, dilations up to {2 ** (stack - 1)}, {length} binary positions, "
            f"{n} draws",
            WaveNet((length,), channels=width, layers=stack, stacks=1, kernel=2),
        ),
        row("RNN", f"an LSTM of {2 * width} units, {length} binary positions, {n} draws", RNN((length,), 2 * width)),
    ]
    packages = ["zuko", "nflows", "pythae", "transformers"]
    write(args.out, "sampling", "Seconds to sample", began, packages, rows=rows)


if __name__ == "__main__":
    main()
