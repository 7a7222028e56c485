"""Seconds to sample: with the cache, without it, in other libraries, and along the length.

    python -m benchmarks.sampling

Without the cache each position costs a forward pass of the whole network. The weights are random: time does not depend
on them. A second file, speedup.json, follows square pictures of growing side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import rivals
from benchmarks.common import digits, medians, options, take_turns, version, write
from benchmarks.models import FOLLOWED, MODELS
from lvmlib.autoregressive import MADE
from lvmlib.base import Density
from lvmlib.experiments.vae_mnist import vae_mnist

# name, package, what it is, what to run
Rival = tuple[str, str, str, Callable[[], object]]


def compare(
    name: str,
    settings: str,
    models: Sequence[Density],
    n: int,
    others: Sequence[Rival] = (),
    repeats: int = 1,
    uncached: bool = True,
) -> dict[str, Any]:
    """Time `n` examples of each of the models, cached and uncached, and the rivals in turn; a row of the table."""
    for model in models:
        model.eval()
    own: dict[str, Callable[[], object]] = {"cached": lambda: [model.sample(n) for model in models]}
    if uncached:
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


def along(name: str, sides: Sequence[int], n: int, repeats: int) -> list[dict[str, Any]]:
    """Rows of speedup.json: one model at growing lengths."""
    rows = []
    for side in sides:
        row = compare(f"{name}, {side * side}", "", [FOLLOWED[name](side)], n, repeats=repeats)
        rows.append(follow(name, row))
    return rows


def follow(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """What speedup.json keeps of a row."""
    seconds = {f"{key}_s": value for key, value in row["seconds"].items()}
    return {"model": name, "n": row["n"], "length": row["length"], **seconds, "ratio": row["ratio"]}


def main() -> None:
    """Measure every row and write sampling.json and speedup.json."""
    args = options(__doc__)
    began = time.perf_counter()
    side, hidden, many = (4, 16, 3) if args.quick else (28, 512, 64)
    length, repeats = side * side, args.repeats
    sides = [3] if args.quick else [8, 12, 16, 22]

    def draws(name: str) -> int:
        """Pictures by sixteen; sequences, which take far longer without the cache, by four."""
        return 2 if args.quick else 4 if name in ("RNN", "WaveNet", "CausalTransformer") else 16

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
            repeats,
        )
    ]
    n = draws("PixelCNN")
    text = f"PixelCNN of 7 layers of 3 x 3 and 64 channels, the width that it has; {n} draws"
    beside: dict[str, list[Rival]] = {"PixelCNN": [("pythae", "pythae", text, rivals.pythae_pixelcnn(side, 7, n))]}
    n = draws("CausalTransformer")
    text = f"GPT-2 of the same 4 blocks of width 64 with 4 heads, and its own cache; {n} draws"
    gpt2 = rivals.transformers_gpt2(length, 64, 4, 4, n)
    beside["CausalTransformer"] = [("transformers", "transformers", text, gpt2)]

    followed = []
    for name, build in MODELS.items():
        n = draws(name)
        settings = f"{side} x {side} binary pixels, {n} draws"
        row = compare(name, settings, [build(side)], n, beside.get(name, ()), repeats, uncached=name in FOLLOWED)
        rows.append(row)
        if name in FOLLOWED:
            followed += [*along(name, sides, n, repeats), follow(name, row)]
    if not args.quick:
        n = draws("VAE")
        rows.append(compare("VAE", f"784-200-200-50, one pass; {n} draws", [vae_mnist()], n, (), repeats, False))
    packages = ["zuko", "nflows", "pythae", "transformers"]
    write(args.out, "sampling", "Seconds to sample", began, packages, repeats=repeats, rows=rows)
    write(args.out, "speedup", "Sampling time against length", began, repeats=repeats, rows=followed)


if __name__ == "__main__":
    main()
