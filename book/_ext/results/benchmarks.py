"""A table for each topic of the benchmarks, and the line that says where it comes from."""

from __future__ import annotations

import math
import statistics

from book._ext.results import timings
from book._ext.results.text import Record, markdown, number, times


def origin(record: Record) -> str:
    """Return the line that says how, where and when a benchmark was measured."""
    packages = [f"{name} {version}" for name, version in record["packages"].items()]
    beside = f", beside {', '.join(packages)}" if packages else ""
    threads = f"{record['threads']} thread" + ("s" if record["threads"] > 1 else "")
    processor = f"{record['processor']}, " if record.get("processor") else ""
    commit = f" (commit {record['commit'][:7]})" if record.get("commit") else ""
    timing = record["clock"].capitalize()
    if "repeats" in record:
        timing += f", medians of up to {record['repeats']} runs that took turns"
    return (
        f"Measured by `{record['command']}` on {record['date']}: {record['hardware']}, {processor}{threads}, "
        f"PyTorch {record['torch']}{beside}{commit}. {timing}."
    )


def sampling(record: Record) -> str:
    """One line for each contestant; the last column compares it with ours."""
    rows = []
    for row in record["rows"]:
        settings = f"{row['settings']}; {row['parameters']:,} parameters"
        cells = [number(row["seconds"]["cached"]), timings.spread(row, "cached"), ""]
        rows.append([f"**{row['model']}**", f"lvmlib: {settings}", *cells])
        if "uncached" in row["seconds"]:
            cells = [number(row["seconds"]["uncached"]), timings.spread(row, "uncached"), times(row["ratio"])]
            rows.append(["", "the same without the cache", *cells])
        for rival in row["rivals"]:
            what = f"{rival['name']} (version {rival['version']}): {rival['settings']}"
            cells = [number(rival["seconds"]), timings.spread(row, rival["name"]), times(rival["ratio"])]
            rows.append(["", what, *cells])
    return markdown(["Model", "What", "Seconds", "Least to most", "Times ours"], rows, right=[2, 3, 4])


def ratio_error(row: Record) -> float:
    """Return the standard error of the ratio of two medians, from the runs of ours and of the faster plain network.

    >>> round(ratio_error({"ratio": 1.0, "runs_ms": {"ours": [9.0, 10.0, 11.0], "plain": [10.0, 10.0, 10.0]}}), 4)
    0.0724
    """
    plain = min((runs for key, runs in row["runs_ms"].items() if key != "ours"), key=statistics.median)
    # The median of n values of a bell curve has sqrt(pi / 2) times the standard error of their mean.
    relative = [
        math.sqrt(math.pi / 2 / len(runs)) * statistics.stdev(runs) / statistics.median(runs)
        for runs in (row["runs_ms"]["ours"], plain)
    ]
    return float(row["ratio"] * math.hypot(*relative))


def training_step(record: Record) -> str:
    """Ours against plain PyTorch."""
    rows = [
        [row["model"], row["settings"], number(row["ours_ms"]), timings.spread(row, "ours", "spread_ms")]
        + [number(row["plain_ms"]), times(row["ratio"]), f"± {ratio_error(row):.2f}"]
        for row in record["rows"]
    ]
    head = ["Model", "Settings", "lvmlib, ms", "Least to most", "Plain PyTorch, ms", "Ratio", "Its error"]
    return markdown(head, rows, right=[2, 3, 4, 5, 6])


def speedup(record: Record) -> str:
    """How many times faster the cache is: models down, lengths across."""
    lengths = sorted({row["length"] for row in record["rows"]})
    ratio = {(row["model"], row["length"]): row["ratio"] for row in record["rows"]}
    rows = [
        [f"{row['model']}, {row['n']} at a time", *(times(ratio[row["model"], length]) for length in lengths)]
        + [number(row["cached_s"])]
        for row in record["rows"]
        if row["length"] == lengths[-1]
    ]
    head = ["Model", *(f"{length} positions" for length in lengths), f"Cached, s, {lengths[-1]} positions"]
    return markdown(head, rows, right=range(1, len(head)))


def cost_per_position(record: Record) -> str:
    """The median cost of a position in the first and in the last quarter, and that of a forward pass."""
    rows = []
    for row in record["rows"]:
        cost = row["cached_us"]
        quarter = max(1, len(cost) // 4)
        first, last = (sorted(part)[len(part) // 2] for part in (cost[:quarter], cost[-quarter:]))
        spread = timings.spread(row, "pass", "spread_us")
        rows.append([row["model"], number(first), number(last), number(row["uncached_us"]), spread])
    head = ["Model", "First quarter, µs", "Last quarter, µs", "A forward pass, µs", "Least to most"]
    return markdown(head, rows, right=[1, 2, 3, 4])


def three_ways(record: Record) -> str:
    """Work, depth, memory, reach and time of each way at a short and at a long length."""
    lengths = sorted({row["length"] for row in record["rows"]})
    shown = [lengths[len(lengths) // 3], lengths[-1]]
    rows = [
        [
            row["way"].capitalize(),
            f"{row['length']:,}",
            number(row["multiply_adds"] / 1e6),
            f"{row['depth']:,}",
            number(row["kept_bytes"] / 1e6),
            f"{row['reach']:,}",
            number(1e3 * row["train_s"]),
            timings.spread(row, "train_s", scale=1e3),
        ]
        for row in sorted(record["rows"], key=lambda row: row["length"])
        if row["length"] in shown
    ]
    head = ["Way", "Length", "Multiply-adds, millions", "Depth", "Kept, MB", "Reach", "Training step, ms"]
    return markdown([*head, "Least to most"], rows, right=range(1, 8))


def compression(record: Record) -> str:
    """Bits on disk beside the model's own code length, and how long the coder takes."""
    rows = [
        [row["model"], number(row["bits"], 4), number(row["nll_bits"], 4), f"{100 * row['excess']:.2f}%"]
        + [cell for way in ("encode_ms", "decode_ms") for cell in (number(row[way]), timings.spread(row, way))]
        for row in record["rows"]
    ]
    head = ["Model", "On disk, bits", "Code length, bits", "Excess", "Encode, ms", "Least to most", "Decode, ms"]
    return markdown([*head, "Least to most"], rows, right=range(1, 8))


def quality(record: Record) -> str:
    """How well samples are told from test images."""
    rows = [[row["model"], *(timings.share(row, side) for side in ("samples", "test"))] for row in record["rows"]]
    return markdown(["Samples from", "Samples that say yes", "Test images that say yes"], rows, right=[1, 2])


TOPICS = {
    "sampling": sampling,
    "training_step": training_step,
    "speedup": speedup,
    "cost_per_position": cost_per_position,
    "three_ways": three_ways,
    "compression": compression,
    "quality": quality,
    **timings.TOPICS,
}
