"""Tables of results, drawn from data: what the benchmarks measured, and test likelihoods beside published ones.

    ```{benchmark} sampling
    ```

shows benchmarks/results/sampling.json. `{likelihoods} fresh` shows the records of the shipped models of binary MNIST
beside what book/published.yml quotes under that name, `{likelihoods} static` the quoted ones alone. `{desiderata}`
shows what each family of models owes and pays. No figure is typed in: ours come from the files that the programs
wrote. `{records}` shows the test figures of all other shipped models. A record that book/published.yml does not know,
and a benchmark without its file, fail the strict build.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from book._ext import timings
from book._ext.cells import markdown, number, times
from book._ext.numbering import chapter_number
from book._ext.plan import CHAPTERS

logger = logging.getLogger(__name__)

BENCHMARKS = "benchmarks/results"
CHECKPOINTS = "lvmlib/experiments/checkpoints"
PUBLISHED = "book/published.yml"

HEAD = ["Parameters", "Training, min", "Protocol of the test, hardware, source"]
Record = dict[str, Any]
Chapter = Callable[[int], str]  # from its number to Markdown that names it


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


# --- Benchmarks -------------------------------------------------------------------------------------------------------


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
        [row["model"], number(row["bits"], 4), number(row["nll_bits"], 4), f"{100 * row['excess']:.2f} %"]
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


# --- Likelihoods ------------------------------------------------------------------------------------------------------


def told_by(record: Record, chapter: str) -> list[str]:
    """Cells that every record fills."""
    machine = f"{record['hardware']}, {record['threads']} thread" + ("s" if record["threads"] > 1 else "")
    source = f"{record['test_protocol']}; {machine}; `{record['command']}`, {chapter}"
    return [f"{record['parameters']:,}", f"{record['training_minutes']:,.0f}", source]


def ours(records: dict[str, Record], published: Record, chapter: Chapter) -> list[tuple[float, list[str]]]:
    """A line for each record of a model of binary MNIST, with its test NLL to sort by."""
    lines = []
    for name, names in published["binary_mnist"].items():
        if name in records:
            nats = records[name]["test_nll_nats"]
            told = told_by(records[name], chapter(names["chapter"]))
            lines.append((nats, [f"**{names['model']}**", f"{nats:.2f}", *told]))
    return lines


def theirs(published: Record, group: str) -> list[tuple[float, list[str]]]:
    """A line for each published figure of a group."""
    lines = []
    for row in published["published"][group]:
        source = f"{row['protocol']}; {{cite:t}}`{row['cite']}`, {row['where']}"
        lines.append((row["nats"], [row["model"], f"{row['nats']:.2f}", "", "", source]))
    return lines


def likelihoods(records: dict[str, Record], published: Record, group: str, chapter: Chapter) -> str:
    """The best first; ours in bold."""
    lines = theirs(published, group) + (ours(records, published, chapter) if group == "fresh" else [])
    cells = [cells for _, cells in sorted(lines, key=lambda line: line[0])]
    if group == "fresh":
        return markdown(["Model", "Test NLL, nats", *HEAD], cells, right=[1, 2, 3])
    return markdown(
        ["Model", "Test NLL, nats", "Protocol and source"], [[*row[:2], row[-1]] for row in cells], right=[1]
    )


def others(records: dict[str, Record], published: Record, chapter: Chapter) -> str:
    """The test figures of the models that the other tables leave out."""
    rows = [
        [names["model"], f"{number(records[name][names['key']], 4)} {names['unit']}"]
        + told_by(records[name], chapter(names["chapter"]))
        for name, names in published["elsewhere"].items()
        if name in records
    ]
    return markdown(["Model", "Test", *HEAD], rows, right=[1, 2, 3])


def strangers(records: dict[str, Record], published: Record) -> list[str]:
    """Records of one model with a test figure that published.yml does not place; an ablation has variants instead."""
    known = {*published["binary_mnist"], *published["elsewhere"]}
    models = {name for name, record in records.items() if "test_protocol" in record and "variants" not in record}
    return sorted(models - known)


# --- What a model owes ------------------------------------------------------------------------------------------------


def desiderata(records: dict[str, Record], benchmarks: dict[str, Record], published: Record, chapter: Chapter) -> str:
    """One family a row; what is not measured yet names the chapter that will measure it."""

    def measured(topic: str, family: Record) -> Record | None:
        rows = benchmarks.get(topic, {"rows": []})["rows"]
        return next((row for row in rows if row["model"] == family.get("model")), None)

    def cell(family: Record, key: str, value: str | None) -> str:
        if value is not None:
            return value
        later = family.get("later", {})
        number = later.get(key, later.get("all"))
        return "–" if number is None else chapter(number)

    rows = []
    for family in published["families"]:
        record = records.get(family.get("checkpoint"), {})
        draw, judged, code = (measured(topic, family) for topic in ("sampling", "quality", "compression"))
        nats, train = record.get("test_nll_nats"), record.get("train_nll_nats")
        latents = family["latents"]
        if latents == "active_latents":
            latents = f"{record['active_latents']} active" if "active_latents" in record else None
        cost = f"{record['training_minutes']:,.0f} min, {record['parameters']:,} parameters" if record else None
        speed = f"{number(draw['seconds']['cached'])} s for {draw['n']}" if draw else None
        coding = f"{number(code['bits'], 4)} bits, {number(code['encode_ms'])} ms" if code else None
        rows.append(
            [
                family["family"],
                f"{family['likelihood']}; " + cell(family, "likelihood", None if nats is None else f"{nats:.2f} nats"),
                cell(family, "gap", None if None in (nats, train) else f"{nats - train:.2f} nats".replace("-", "−")),
                cell(family, "quality", judged and "{recall_samples:.0%} and {recall_test:.0%}".format(**judged)),
                cell(family, "speed", speed),
                cell(family, "compression", coding),
                cell(family, "latents", latents),
                cell(family, "cost", cost),
            ]
        )
    head = ["Family", "Likelihood", "Generalisation gap", "Sample quality", "Sampling", "Compression of an image"]
    return markdown([*head, "Latents", "Training"], rows)


# --- Directives -------------------------------------------------------------------------------------------------------


class ResultsDirective(SphinxDirective):
    """What the directives share: the files, and how a chapter is named."""

    @property
    def root(self) -> Path:
        return Path(self.env.srcdir)

    def read(self, folder: str) -> dict[str, Record]:
        """Return the JSON files of a folder by name."""
        self.env.note_dependency(str(self.root / folder))
        files = sorted((self.root / folder).glob("*.json"))
        for file in files:
            self.env.note_dependency(str(file))
        return {file.stem: json.loads(file.read_text("utf-8")) for file in files}

    def published(self) -> Record:
        self.env.note_dependency(str(self.root / PUBLISHED))
        found: Record = yaml.safe_load((self.root / PUBLISHED).read_text("utf-8"))
        return found

    def chapter(self, number: int) -> str:
        """Name a chapter, with a link if it exists."""
        if number not in CHAPTERS:
            logger.warning(f"{PUBLISHED} names chapter {number}, which is none", location=self.get_location())
        page = next((page for page in self.env.found_docs if chapter_number(page) == number), None)
        return f"chapter {number}" if page is None else f"{{doc}}`chapter {number} </{page}>`"

    def show(self, text: str, kind: str) -> list[nodes.Node]:
        """Turn Markdown into nodes; its tables get the class `kind`."""
        result = self.parse_text_to_nodes(text)
        for node in result:
            for table in node.findall(nodes.table):
                table["classes"] += ["results", kind, "colwidths-auto"]  # as wide as the contents ask for
        return result


class BenchmarkDirective(ResultsDirective):
    """Show one topic of the benchmarks."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        topic = self.arguments[0]
        record = self.read(BENCHMARKS).get(timings.FILES.get(topic, topic))
        if topic not in TOPICS or record is None:
            known = ", ".join(TOPICS)
            logger.warning(
                f"no {BENCHMARKS}/{topic}.json to show: run `make benchmarks ONLY={topic}` (topics: {known})",
                location=self.get_location(),
            )
            return []
        shown = self.show(f"{TOPICS[topic](record)}\n\n{origin(record)}", topic)
        shown[-1]["classes"].append("measured")  # type: ignore[index]
        return shown


class LikelihoodsDirective(ResultsDirective):
    """Show our test likelihoods beside published ones of the same protocol."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        records, published = self.read(CHECKPOINTS), self.published()
        for name in strangers(records, published):
            logger.warning(f"{PUBLISHED} does not say what {CHECKPOINTS}/{name}.json is", location=self.get_location())
        return self.show(likelihoods(records, published, self.arguments[0], self.chapter), "likelihoods")


class RecordsDirective(ResultsDirective):
    """Show the test figures of the models that the tables of likelihoods leave out."""

    def run(self) -> list[nodes.Node]:
        return self.show(others(self.read(CHECKPOINTS), self.published(), self.chapter), "likelihoods")


class DesiderataDirective(ResultsDirective):
    """Show what each family of models owes and pays."""

    def run(self) -> list[nodes.Node]:
        text = desiderata(self.read(CHECKPOINTS), self.read(BENCHMARKS), self.published(), self.chapter)
        return self.show(text, "desiderata")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("benchmark", BenchmarkDirective)
    app.add_directive("likelihoods", LikelihoodsDirective)
    app.add_directive("records", RecordsDirective)
    app.add_directive("desiderata", DesiderataDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
