"""A table for each topic of the benchmarks, and the line that says where it comes from."""

from __future__ import annotations

import math
import statistics

from book._ext.results.text import Record, markdown, number, times


def origin(record: Record) -> str:
    """Return the line that says how, where and when a benchmark was measured."""
    packages = [f"{name} {version}" for name, version in record["packages"].items()]
    beside = f", beside {', '.join(packages)}" if packages else ""
    threads = f"{record['threads']} thread" + ("s" if record["threads"] > 1 else "")
    commit = f" (commit {record['commit'][:7]})" if record.get("commit") else ""
    timing = record["clock"].capitalize()
    if "repeats" in record:
        timing += f", medians of up to {record['repeats']} runs that took turns"
    return (
        f"Measured by `{record['command']}` on {record['date']}: {record['hardware']}, {threads}, "
        f"PyTorch {record['torch']}{beside}{commit}. {timing}."
    )


def sampling(record: Record) -> str:
    """One line for each contestant; the last column compares it with ours."""
    rows = []
    for row in record["rows"]:
        settings = f"{row['settings']}; {row['parameters']:,} parameters"
        rows.append([f"**{row['model']}**", f"lvmlib: {settings}", number(row["seconds"]["cached"]), ""])
        if "uncached" in row["seconds"]:
            rows.append(["", "the same without the cache", number(row["seconds"]["uncached"]), times(row["ratio"])])
        for rival in row["rivals"]:
            what = f"{rival['name']} (version {rival['version']}): {rival['settings']}"
            rows.append(["", what, number(rival["seconds"]), times(rival["ratio"])])
    return markdown(["Model", "What", "Seconds", "Times ours"], rows, right=[2, 3])


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
        [row["model"], row["settings"], number(row["ours_ms"]), number(row["plain_ms"]), times(row["ratio"])]
        + [f"± {ratio_error(row):.2f}"]
        for row in record["rows"]
    ]
    return markdown(
        ["Model", "Settings", "lvmlib, ms", "Plain PyTorch, ms", "Ratio", "Its error"], rows, right=[2, 3, 4, 5]
    )


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
        rows.append([row["model"], number(first), number(last), number(row["uncached_us"])])
    head = ["Model", "First quarter, µs", "Last quarter, µs", "A forward pass, µs"]
    return markdown(head, rows, right=[1, 2, 3])


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
        ]
        for row in sorted(record["rows"], key=lambda row: row["length"])
        if row["length"] in shown
    ]
    head = ["Way", "Length", "Multiply-adds, millions", "Depth", "Kept, MB", "Reach", "Training step, ms"]
    return markdown(head, rows, right=range(1, 7))


def compression(record: Record) -> str:
    """Bits on disk beside the model's own code length, and how long the coder takes."""
    rows = [
        [row["model"], number(row["bits"], 4), number(row["nll_bits"], 4), f"{100 * row['excess']:.2f} %"]
        + [number(row["encode_ms"]), number(row["decode_ms"])]
        for row in record["rows"]
    ]
    head = ["Model", "On disk, bits", "Code length, bits", "Excess", "Encode, ms", "Decode, ms"]
    return markdown(head, rows, right=range(1, 6))


def quality(record: Record) -> str:
    """How well samples are told from test images."""
    rows = [
        [row["model"], f"{100 * row['recall_samples']:.1f} %", f"{100 * row['recall_test']:.1f} %"]
        for row in record["rows"]
    ]
    return markdown(["Samples from", "Samples that say yes", "Test images that say yes"], rows, right=[1, 2])


TOPICS = {
    "sampling": sampling,
    "training_step": training_step,
    "speedup": speedup,
    "cost_per_position": cost_per_position,
    "three_ways": three_ways,
    "compression": compression,
    "quality": quality,
}
