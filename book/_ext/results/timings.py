"""Tables of timings: how far the runs of one figure lie apart, and the topics that compare steps, passes and memory.

A topic is a function from the record that a benchmark wrote to a table in Markdown; `results` shows it.
"""

from __future__ import annotations

from book._ext.results.text import Record, markdown, number, times

FILES = {"passes": "sampling"}  # topics whose figures lie in the file of another one


def spread(row: Record, task: str, key: str = "spread", scale: float = 1.0) -> str:
    """Return the least and the most of the runs of a task; empty where none are recorded.

    >>> spread({"spread": {"train_s": [0.0141, 0.0162]}}, "train_s", scale=1e3), spread({}, "train_s")
    ('14.1\N{EN DASH}16.2', '')
    """
    ends = row.get(key, {}).get(task)
    return "" if ends is None else "\N{EN DASH}".join(number(scale * end) for end in ends)


def share(row: Record, side: str) -> str:
    """Return a share of votes with its standard error, in percent.

    >>> share({"recall_test": 0.726, "error_test": 0.02}, "test")
    '72.6 ± 2.0%'
    """
    error = row.get(f"error_{side}")
    return f"{100 * row[f'recall_{side}']:.1f}" + (f" ± {100 * error:.1f}%" if error else "%")


def passes(record: Record) -> str:
    """How many passes of its network a model's samples take, by the clock; the fewest first."""
    rows = [
        [row["model"], str(row["n"]), f"{row['length']:,}", number(1e3 * row["seconds"]["cached"])]
        + [spread(row, "cached", scale=1e3), number(1e3 * row["pass_s"]), number(row["passes"], 2)]
        for row in sorted(record["rows"], key=lambda row: row.get("passes", 0))
        if "passes" in row
    ]
    head = ["Model", "Draws", "Positions", "Sampling, ms", "Least to most", "One pass, ms", "Passes"]
    return markdown(head, rows, right=range(1, 7))


def completion(record: Record) -> str:
    """What the last position costs when all others are given."""
    rows = [
        [f"{row['model']}, {row['n']} at a time", f"{row['known']} of {row['length']}", number(row["ms"])]
        + [spread(row, "complete", "spread_ms"), number(row["pass_ms"]), number(row["passes"])]
        for row in record["rows"]
    ]
    head = ["Model", "Given", "Completion, ms", "Least to most", "One pass, ms", "Passes"]
    return markdown(head, rows, right=range(1, 6))


def flow_step(record: Record) -> str:
    """A row for each library, those of one size together; the last column compares it with ours."""
    rows = []
    for row in record["rows"]:
        for name, ms in row["ms"].items():
            own = name == "ours"
            library = "lvmlib" if own else f"{name} {record['packages'][name]}"
            ratio = "" if own else times(ms / row["ms"]["ours"])
            cells = [f"{row['parameters'][name]:,}", number(ms), spread(row, name, "spread_ms"), ratio]
            rows.append([f"**{row['model']}**" if own else "", library, *cells])
    head = ["Model", "Library", "Parameters", "Step, ms", "Least to most", "Times ours"]
    return markdown(head, rows, right=range(2, 6))


def flow_sampling(record: Record) -> str:
    """Draws entry by entry, by parallel rounds, and by zuko."""
    ways = {"ours": "lvmlib, entry by entry", "parallel": "lvmlib, parallel rounds", "zuko": "zuko"}
    rows = []
    for row in record["rows"]:
        for way, said in ways.items():
            ratio = "" if way == "ours" else times(row["seconds"][way] / row["seconds"]["ours"])
            cells = [number(1e3 * row["seconds"][way]), spread(row, way, scale=1e3), ratio]
            rows.append([f"**{row['model']}**" if way == "ours" else "", said, *cells])
    return markdown(["Model", "Way", "Draws, ms", "Least to most", "Times ours"], rows, right=range(2, 5))


def flow_quality(record: Record) -> str:
    """A row for each library: the mean over the seeds, and the least and the most."""
    rows = []
    for row in record["rows"]:
        for name, nll in row["nll"].items():
            own = name == "ours"
            library = "lvmlib" if own else f"{name} {record['packages'][name]}"
            model = f"**{row['model']}, {row['steps']:,} steps of {row['batch']}**" if own else ""
            rows.append(
                [
                    model,
                    library,
                    f"{row['parameters'][name]:,}",
                    "diverged" if nll is None else number(nll),
                    "" if nll is None else spread(row, name),
                ]
            )
    return markdown(["Model", "Library", "Parameters", "Test NLL, nats", "Least to most"], rows, right=range(2, 5))


def likelihood(record: Record) -> str:
    """Seconds and memory of ours, of plain PyTorch and of pythae."""
    rows = []
    for row in record["rows"]:
        for way, seconds in row["seconds"].items():
            library = {"ours": "lvmlib", "plain": "plain PyTorch"}.get(way) or f"{way} {record['packages'][way]}"
            ratio = "" if way == "ours" else times(seconds / row["seconds"]["ours"])
            cells = [number(seconds), spread(row, way), ratio, f"{row['memory_mb'][way]:,.0f}"]
            first = [f"{row['pictures']:,}", f"{row['k']:,}"] if way == "ours" else ["", ""]
            rows.append([*first, library, *cells])
    head = ["Pictures", "Draws of each", "What", "Seconds", "Least to most", "Times ours", "Memory, MB"]
    return markdown(head, rows, right=[0, 1, 3, 4, 5, 6])


def flow_costs(record: Record) -> str:
    """What is asked of the flow down, dimensions across; the sequential way back by whole passes last."""
    sizes = [row["dims"] for row in record["rows"]]
    tasks = {
        f"{model} {what}": f"**{model}**, {said}"
        for model in ("MAF", "IAF")
        for what, said in {
            "density": "density of given data",
            "draw": "draws",
            "both": "draws and their density",
        }.items()
    }
    tasks["anew"] = "**MAF**, draws by a pass for each coordinate"
    rows = []
    for task, said in tasks.items():
        cells = [part for row in record["rows"] for part in (number(row["ms"][task]), spread(row, task, "spread_ms"))]
        rows.append([said, *cells])
    head = ["What", *(title for size in sizes for title in (f"D = {size}, ms", "Least to most"))]
    return markdown(head, rows, right=range(1, len(head)))


def determinant(record: Record) -> str:
    """Sizes down, ways across."""
    rows = [
        [f"{row['dims']:,}"]
        + [part for way in ("full", "triangular") for part in (number(row["us"][way]), spread(row, way, "spread_us"))]
        + [times(row["us"]["full"] / row["us"]["triangular"])]
        for row in record["rows"]
    ]
    head = ["Dimensions", "No structure, µs", "Least to most", "Triangular, µs", "Least to most", "Ratio"]
    return markdown(head, rows, right=range(6))


TOPICS = {
    "passes": passes,
    "completion": completion,
    "flow_step": flow_step,
    "flow_sampling": flow_sampling,
    "flow_quality": flow_quality,
    "flow_costs": flow_costs,
    "determinant": determinant,
    "likelihood": likelihood,
}
