"""Seconds to sample: with the cache, without it, by hand, in other libraries, and along the length.

    python -m benchmarks.sampling

Without the cache each position costs a forward pass of the whole network, the same for each. So where that takes long,
only every eighth position is drawn, and the time counted eight times. The weights are random: time does not depend on
them. A second file, speedup.json, follows square pictures of growing side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import rivals
from benchmarks.common import LEAST, digits, medians, options, spreads, take_turns, version, write
from benchmarks.flow_rivals import maf_sampler
from benchmarks.models import FOLLOWED, MODELS
from benchmarks.plain_transformer import same_weights
from lvmlib.autoregressive import MADE, Autoregressive, CausalTransformer
from lvmlib.base import Density
from lvmlib.experiments.vae_mnist import vae_mnist
from lvmlib.flows import maf

SHORTEST = 0.02  # seconds; what takes less is repeated within a run
EVERY = {"RNN": 8, "WaveNet": 8, "CausalTransformer": 8, "PixelCNN": 8, "GatedPixelCNN": 8}


class Rival(NamedTuple):
    """Someone else at the same job."""

    name: str
    package: str
    settings: str
    sample: rivals.Sampler

    def row(self, seconds: float, ours: float) -> dict[str, Any]:
        """What is recorded of it."""
        found = {"name": self.name, "version": version(self.package), "settings": self.settings}
        return {**found, "seconds": seconds, "ratio": digits(seconds / ours)}


@torch.no_grad()
def without_cache(model: Autoregressive, n: int, every: int = 1) -> Tensor:
    """What `sample(n, cache=False)` does, a whole pass for each position, at every so-manieth position only."""
    x, u = torch.zeros(n, *model.event_shape), torch.rand(model.dims, n, 2)
    flat = x.view(n, -1)
    for t, position in list(enumerate(model.order.tolist()))[::every]:
        flat[:, position] = model.family.draw(model.predict(x).flatten(2)[:, :, position], u[t])
    return x


@torch.no_grad()
def one_pass(model: Density, n: int) -> Tensor:
    """The whole network once, over n examples: what a step of training begins with."""
    x = torch.zeros(n, *model.event_shape)
    return model.predict(x) if isinstance(model, Autoregressive) else model.log_prob(x)


def mflop(call: Callable[[], object]) -> float:
    """Millions of floating-point operations in the matrix products and convolutions of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e6


def compare(
    name: str,
    settings: str,
    model: Density,
    n: int,
    others: Sequence[Rival] = (),
    repeats: int = 1,
    uncached: bool = True,
) -> dict[str, Any]:
    """Time n examples with the cache, without it, one pass, and the rivals in turn; a row of the table."""
    model.eval()
    tasks: dict[str, Callable[[], object]] = {"cached": lambda: model.sample(n)}
    warm: dict[str, Callable[[], object]] = {}
    if not isinstance(model, Autoregressive):
        uncached = False
    length, every = model.event_shape.numel(), EVERY.get(name.split(",")[0], 1)
    if uncached:
        tasks["uncached"] = lambda: without_cache(model, n, every)  # type: ignore[arg-type]
    if not model.is_bound:
        tasks["pass"] = lambda: one_pass(model, n)
    for other in others:
        tasks[other.name] = lambda other=other: other.sample(n)
        warm[other.name] = lambda other=other: other.sample(1)
    runs = take_turns(tasks, repeats, shortest=SHORTEST, warm=warm)
    if uncached:
        drawn = len(range(0, length, every))
        runs["uncached"] = [value * length / drawn for value in runs["uncached"]]
    seconds, spread = medians(runs), spreads(runs)
    print(f"{name:18}" + "".join(f"  {task} {value:.4g} s" for task, value in seconds.items()), flush=True)
    row: dict[str, Any] = {
        "model": name,
        "settings": settings,
        "parameters": sum(p.numel() for p in model.parameters()),
        "n": n,
        "length": length,
        "seconds": {task: seconds[task] for task in ("cached", "uncached") if task in seconds},
    }
    if uncached:
        row |= {"ratio": digits(seconds["uncached"] / seconds["cached"]), "every": every}
    if "pass" in seconds:
        row |= {"pass_s": seconds["pass"], "passes": digits(seconds["cached"] / seconds["pass"], 3)}
    row |= {"spread": spread, "runs": {task: [digits(value) for value in values] for task, values in runs.items()}}
    return row | {"rivals": [other.row(seconds[other.name], seconds["cached"]) for other in others]}


def along(name: str, sides: Sequence[int], n: int, repeats: int) -> list[dict[str, Any]]:
    """Rows of speedup.json: one model at growing lengths."""
    rows = []
    for side in sides:
        row = compare(f"{name}, {side * side}", "", FOLLOWED[name](side), n, repeats=repeats)
        rows.append(follow(name, row))
    return rows


def follow(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """What speedup.json keeps of a row."""
    seconds = {f"{key}_s": value for key, value in row["seconds"].items()}
    spread = {key: row["spread"][key] for key in row["seconds"]}
    return {"model": name, "n": row["n"], "length": row["length"], **seconds, "ratio": row["ratio"], "spread": spread}


def beside(side: int, n: int) -> dict[str, list[Rival]]:
    """Who stands beside which of our models."""
    shape, length = (1, side, side), side * side
    gpt2 = rivals.transformers_gpt2(length, 64, 4, 4)
    ours = MODELS["CausalTransformer"](side).eval()
    assert isinstance(ours, CausalTransformer)
    by_hand = same_weights(ours)
    pixelcnns = []
    own = mflop(lambda: one_pass(MODELS["PixelCNN"](side), n))
    for channels, name in ((64, "pythae"), (32, "pythae, narrowed")):
        theirs = rivals.pythae_pixelcnn(side, 7, channels)
        work = mflop(lambda theirs=theirs: theirs.net({"data": torch.zeros(n, *shape)}))  # type: ignore[attr-defined]
        text = f"7 layers of 3 x 3 and {channels} channels; {work:,.0f} MFLOP a pass, ours {own:,.0f}"
        pixelcnns.append(Rival(name, "pythae", text, theirs))
    same = "the same 4 blocks of width 64 with 4 heads"
    return {
        "PixelCNN": pixelcnns,
        "CausalTransformer": [
            Rival("plain PyTorch", "torch", f"{same}, keys and values kept by hand", lambda n: by_hand.sample(n)),
            Rival("transformers", "transformers", f"GPT-2 of {same}, and its own cache", gpt2),
        ],
    }


def flows(length: int, hidden: int, n: int, repeats: int) -> dict[str, Any]:
    """The same masked autoregressive flow here, in zuko and in nflows."""
    model = maf((length,), layers=5, hidden=(hidden, hidden))
    theirs = {name: maf_sampler(name, length, 5, hidden) for name in ("zuko", "nflows")}
    others = [Rival(key, key, f"{rivals.parameters(other):,} parameters", other) for key, other in theirs.items()]
    settings = f"5 layers of {hidden} + {hidden} hidden units, {length} dimensions, {n} draws"
    return compare("MAF", settings, model, n, others, repeats)


def main() -> None:
    """Measure every row and write sampling.json and speedup.json."""
    args = options(__doc__)
    began = time.perf_counter()
    side, hidden, many = (4, 16, 3) if args.quick else (28, 512, 16)
    sides, repeats = [3] if args.quick else [8, 12, 16, 22], args.repeats

    def draws(name: str) -> int:
        """Pictures by sixteen; sequences, which take far longer without the cache, by four."""
        return 2 if args.quick else 4 if name in ("RNN", "WaveNet", "CausalTransformer") else 16

    rows = [flows(side * side, hidden, many, repeats)]
    tiny = MADE((8,), hidden=(32, 32))
    rows.append(compare("tiny MADE", "32 + 32 hidden units, 8 binary dimensions, 16 draws", tiny, 16, (), repeats))
    others, followed = beside(side, draws("PixelCNN")), []
    for name, build in MODELS.items():
        n = draws(name)
        settings = f"{side} x {side} binary pixels, {n} draws"
        row = compare(name, settings, build(side), n, others.get(name, ()), repeats, uncached=name in FOLLOWED)
        rows.append(row)
        if name in FOLLOWED:
            followed += [*along(name, sides, n, min(repeats, LEAST)), follow(name, row)]
    if not args.quick:
        n = draws("VAE")
        rows.append(compare("VAE", f"784-200-200-50, one pass; {n} draws", vae_mnist(), n, (), repeats))
    packages = ["zuko", "nflows", "pythae", "transformers"]
    write(args.out, "sampling", "Seconds to sample", began, packages, repeats=repeats, rows=rows)
    write(args.out, "speedup", "Sampling time against length", began, repeats=repeats, rows=followed)


if __name__ == "__main__":
    main()
