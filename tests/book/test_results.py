"""The page of results: tables drawn from records and benchmarks, on a tiny project and from what is stored."""

from __future__ import annotations

import doctest
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

sphinx_application = pytest.importorskip("sphinx.application", reason="the book's tools are not installed")

import yaml  # noqa: E402
from sphinx.util.docutils import docutils_namespace  # noqa: E402

from book._ext import results  # noqa: E402
from book._ext.plan import CHAPTERS  # noqa: E402

HEAD = {
    "command": "python -m benchmarks.x",
    "commit": "0123456789abcdef+",
    "hardware": "3-core CPU, abacus",
    "threads": 2,
    "torch": "9.9",
    "date": "2031-01-31",
    "processor": "Abacus 3000, beads",
    "packages": {"rival": "1.2"},
    "clock": "processor time",
    "repeats": 5,
}
OTHER = {"name": "rival", "version": "1.2", "settings": "as it is", "seconds": 8.71, "ratio": 42.7}
ROWS: dict[str, dict[str, Any]] = {
    "sampling": {
        "model": "MADE",
        "settings": "s",
        "parameters": 1234567,
        "n": 16,
        "seconds": {"cached": 0.2041, "uncached": 7.501},
        "ratio": 36.75,
        "length": 784,
        "pass_s": 0.0073,
        "passes": 27.96,
        "spread": {"cached": [0.2031, 0.2062], "uncached": [7.412, 7.618], "rival": [8.66, 8.9]},
        "rivals": [OTHER],
    },
    "training_step": {
        "model": "MADE",
        "settings": "s",
        "ours_ms": 9.123,
        "plain_ms": 9.0,
        "ratio": 1.0137,
        "runs_ms": {"ours": [9.0, 9.123, 9.2], "plain": [8.9, 9.0, 9.1]},
        "spread_ms": {"ours": [9.0, 9.2], "plain": [8.9, 9.1]},
    },
    "speedup": {"model": "MADE", "n": 16, "length": 784, "cached_s": 0.0412, "ratio": 36.75},
    "cost_per_position": {"model": "MADE", "cached_us": [10.0, 20.0, 30.0, 40.0], "uncached_us": 1300.0}
    | {"spread_us": {"pass": [1290.0, 1344.0]}},
    "three_ways": {
        "way": "recurrence",
        "length": 64,
        "multiply_adds": 1572864,
        "depth": 64,
        "kept_bytes": 131072,
        "reach": 63,
        "train_s": 0.0148,
        "spread": {"train_s": [0.0141, 0.0162]},
    },
    "compression": {
        "model": "MADE",
        "bits": 122.51,
        "nll_bits": 122.4,
        "excess": 0.0009,
        "encode_ms": 40.0,
        "decode_ms": 41.0,
        "spread": {"encode_ms": [39.5, 40.5], "decode_ms": [40.8, 42.3]},
    },
    "quality": {
        "model": "MADE",
        "recall_samples": 0.812,
        "recall_test": 0.648,
        "error_samples": 0.017,
        "error_test": 0.021,
    },
    "completion": {
        "model": "MADE",
        "n": 16,
        "known": 783,
        "length": 784,
        "ms": 1.89,
        "pass_ms": 1.5,
        "passes": 1.26,
        "spread_ms": {"complete": [1.85, 1.93], "pass": [1.48, 1.52]},
    },
    "flow_step": {
        "model": "RealNVP, 6 dimensions",
        "parameters": {"ours": 142384, "rival": 142385},
        "ms": {"ours": 4.2, "rival": 5.04},
        "spread_ms": {"ours": [4.11, 4.33], "rival": [4.97, 5.22]},
    },
    "flow_costs": {
        "dims": 32,
        "ms": {"MAF density": 1.234, "MAF draw": 20.5, "MAF both": 20.6, "IAF density": 20.7, "IAF draw": 1.31}
        | {"IAF both": 1.32, "anew": 61.4},
        "spread_ms": {"MAF draw": [20.1, 21.2], "anew": [60.2, 63.3]},
    },
    "determinant": {
        "dims": 1024,
        "us": {"full": 45678.0, "triangular": 23.4},
        "spread_us": {"full": [45012.0, 47000.0], "triangular": [22.1, 25.6]},
    },
    "likelihood": {
        "pictures": 1000,
        "seconds": {"ours": 3.62, "plain": 3.55},
        "ratio": 1.02,
        "spread": {"ours": [3.58, 3.71], "plain": [3.5, 3.6]},
        "memory_mb": {"ours": 18.4, "plain": 16.1},
    },
}
ROWS["passes"] = ROWS["sampling"]  # drawn from the same file
SHOWN = {  # what a reader must find in the table of each topic
    "sampling": ["lvmlib: s; 1,234,567 parameters", "0.204", "7.50", "37\xa0×", "rival (version 1.2): as it is"]
    + ["0.203–0.206", "7.41–7.62", "8.66–8.90"],
    "training_step": ["MADE", "9.12", "9.00–9.20", "9.00", "1.01\xa0×", "± 0.01"],
    "speedup": ["MADE, 16 at a time", "784 positions", "37\xa0×", "0.0412"],
    "cost_per_position": ["MADE", "10.0", "40.0", "1,300", "1,290–1,344"],
    "three_ways": ["Recurrence", "64", "1.57", "0.131", "63", "14.8", "14.1–16.2"],
    "compression": ["122.5", "122.4", "0.09 %", "40.0", "41.0", "39.5–40.5", "40.8–42.3"],
    "quality": ["81.2 ± 1.7 %", "64.8 ± 2.1 %"],
    "completion": ["MADE, 16 at a time", "783 of 784", "1.89", "1.85–1.93", "1.50", "1.26"],
    "flow_step": ["lvmlib", "rival 1.2", "142,385", "4.20", "4.97–5.22", "1.20\xa0×"],
    "flow_costs": ["D = 32, ms", "MAF, density of given data", "1.23", "20.1–21.2", "61.4"],
    "determinant": ["1,024", "45,678", "22.1–25.6", "1952\xa0×"],
    "likelihood": ["1,000", "lvmlib", "plain PyTorch", "3.62", "3.58–3.71", "1.02\xa0×", "18", "16"],
    "passes": ["MADE", "16", "784", "204", "203–206", "7.30", "28"],
}  # fmt: skip
RECORD = {
    "command": "python -m lvmlib.experiments.binary_mnist made",
    "hardware": "3-core CPU, abacus",
    "threads": 1,
    "training_minutes": 12.34,
    "test_nll_nats": 85.678,
    "train_nll_nats": 84.5,
    "test_protocol": "exact, all of them",
    "parameters": 1234567,
}
NAMES = """
binary_mnist:
  made_mnist: {model: MADE, chapter: 8}
  rnn_mnist: {model: RNN, chapter: 3}
elsewhere:
  inpainting_mnist: {model: Holes, chapter: 3, key: test_nll_nats, unit: nats}
  speech: {model: Words, chapter: 3, key: test_bits_per_sample, unit: bits/sample}
families:
  - {family: Masked, likelihood: exact, checkpoint: made_mnist, model: MADE, latents: none}
  - {family: Flows, likelihood: exact, latents: many, later: {all: 6}}
  - {family: Bounds, likelihood: a bound, checkpoint: vae_mnist, model: VAE, latents: active_latents, later: {gap: 9}}
"""
TABLE_7 = {"cite": "someone2001", "where": "Table 7", "protocol": "exact"}
PUBLISHED = {
    "fresh": {"rows": [{"model": "Worse", "nats": 99.9, **TABLE_7}, {"model": "Better", "nats": 70.25, **TABLE_7}]},
    "static": {"rows": [{"model": "Still", "nats": 60.5, **TABLE_7, "where": "Table 8"}]},
}
BIB = "@misc{someone2001, author = {Someone, Sam}, title = {T}, note = {N}, year = {2001}}\n"


def build(folder: Path, text: str, benchmarks: Any = (), records: Any = None) -> tuple[str, str]:
    """Build a book of one page and an empty chapter 8; return the warnings and the page."""
    source = folder / "source"
    for name in (results.BENCHMARKS, results.CHECKPOINTS, "book", "notebooks"):
        (source / name).mkdir(parents=True, exist_ok=True)
    for topic in benchmarks:
        (source / results.BENCHMARKS / f"{topic}.json").write_text(json.dumps({**HEAD, "rows": [ROWS[topic]]}))
    for name, record in (records or {}).items():
        (source / results.CHECKPOINTS / f"{name}.json").write_text(json.dumps(record))
    (source / results.NAMES).write_text(NAMES)
    (source / results.PUBLISHED).write_text(json.dumps(PUBLISHED))
    (source / "references.bib").write_text(BIB)
    (source / "notebooks" / "08_vae.md").write_text("# A chapter\n")
    (source / "index.md").write_text(
        f"# Top\n\n```{{toctree}}\nnotebooks/08_vae\n```\n\n{text}\n\n```{{bibliography}}\n```\n"
    )
    warnings = io.StringIO()
    settings = {
        "extensions": ["myst_nb", "sphinxcontrib.bibtex", "book._ext.results"],
        "bibtex_bibfiles": ["references.bib"],
        "bibtex_reference_style": "author_year",
        "html_theme": "basic",
        "nitpicky": True,
    }
    with docutils_namespace():
        sphinx_application.Sphinx(
            source, None, folder / "out", folder / "doctrees", "html", settings, status=None, warning=warnings
        ).build()
    said = re.sub(r"\x1b\[[0-9;]*m", "", warnings.getvalue())
    return said, (folder / "out" / "index.html").read_text("utf-8")


def plain(page: str) -> list[list[list[str]]]:
    """The tables of a page: rows of cells of text."""
    tables = re.findall(r"<table.*?</table>", page, re.S)
    rows = [re.findall(r"<tr.*?</tr>", table, re.S) for table in tables]
    return [
        [[re.sub(r"<.*?>", "", cell).strip() for cell in re.findall(r"<t[dh].*?</t[dh]>", row, re.S)] for row in table]
        for table in rows
    ]


# --- Benchmarks -------------------------------------------------------------------------------------------------------


def test_every_topic_has_an_example_here() -> None:
    assert set(results.TOPICS) == set(ROWS) == set(SHOWN)


def test_benchmarks_are_shown_with_where_they_come_from(tmp_path: Path) -> None:
    text = "\n\n".join(f"```{{benchmark}} {topic}\n```" for topic in ROWS)
    warnings, page = build(tmp_path, text, benchmarks=ROWS)
    assert warnings == ""
    tables = plain(page)
    assert len(tables) == len(ROWS)
    for (topic, expected), table in zip(SHOWN.items(), tables, strict=True):
        cells = [cell for row in table for cell in row]
        assert [cell for cell in expected if cell not in cells] == [], topic
        assert len({len(row) for row in table}) == 1, topic
    line = re.sub(r"<.*?>", "", page)
    machine = "3-core CPU, abacus, Abacus 3000, beads, 2 threads"
    said = f"python -m benchmarks.x on 2031-01-31: {machine}, PyTorch 9.9, beside rival 1.2"
    taken = "Processor time, medians of up to 5 runs that took turns."
    assert line.count(f"{said} (commit 0123456). {taken}") == len(ROWS)
    assert 'class="results sampling' in page and page.count('<p class="measured">') == len(ROWS)


@pytest.mark.parametrize("topic", ["sampling", "nonsense"])
def test_a_benchmark_without_its_file_fails(tmp_path: Path, topic: str) -> None:
    warnings, _ = build(tmp_path, f"```{{benchmark}} {topic}\n```")
    assert f"no {results.BENCHMARKS}/{topic}.json to show" in warnings


# --- Likelihoods ------------------------------------------------------------------------------------------------------


def test_ours_stand_among_the_published_ones(tmp_path: Path) -> None:
    records = {
        "made_mnist": RECORD,
        "inpainting_mnist": RECORD,
        "faces": {"test_bits_per_dim": 7},
    }  # without a protocol: no record of a run
    warnings, page = build(tmp_path, "```{likelihoods} fresh\n```\n\n```{likelihoods} static\n```", records=records)
    assert warnings == ""
    fresh, static = plain(page)
    assert [row[0] for row in fresh] == ["Model", "Better", "MADE", "Worse"]  # the best first; what is absent is absent
    assert [row[1] for row in fresh[1:]] == ["70.25", "85.68", "99.90"]
    told = "exact, all of them; 3-core CPU, abacus, 1 thread; python -m lvmlib.experiments.binary_mnist made, chapter 8"
    assert fresh[2][2:] == ["1,234,567", "12", told]
    assert fresh[1][-1] == "exact; Someone [2001], Table 7"
    assert '<a class="reference internal" href="notebooks/08_vae.html"' in page
    assert static[1:] == [["Still", "60.50", "exact; Someone [2001], Table 8"]]


def test_other_test_figures_stand_apart(tmp_path: Path) -> None:
    words = {**RECORD, "test_bits_per_sample": 4.1234}
    warnings, page = build(tmp_path, "```{records}\n```", records={"made_mnist": RECORD, "speech": words})
    assert warnings == ""
    assert [row[:3] for row in plain(page)[0]] == [
        ["Model", "Test", "Parameters"],
        ["Words", "4.123 bits/sample", "1,234,567"],
    ]


def test_a_record_that_nobody_placed_fails(tmp_path: Path) -> None:
    warnings, _ = build(tmp_path, "```{likelihoods} fresh\n```", records={"new_mnist": RECORD})
    assert f"does not say what {results.CHECKPOINTS}/new_mnist.json is" in warnings


# --- What a model owes ------------------------------------------------------------------------------------------------


def test_what_a_model_owes_is_filled_from_what_was_measured(tmp_path: Path) -> None:
    records = {"made_mnist": RECORD, "vae_mnist": {**RECORD, "train_nll_nats": None, "active_latents": 16}}
    benchmarks = ["sampling", "quality", "compression"]
    warnings, page = build(tmp_path, "```{desiderata}\n```", benchmarks=benchmarks, records=records)
    assert warnings == ""
    _, masked, flows, bounds = plain(page)[0]
    assert masked[1:7] == [
        "exact; 85.68 nats",
        "1.18 nats",
        "81% and 65%",
        "0.204 s for 16",
        "122.5 bits, 40.0 ms",
        "none",
    ]
    assert masked[7] == "12 min, 1,234,567 parameters"
    assert flows == ["Flows", "exact; chapter 6", *4 * ["chapter 6"], "many", "chapter 6"]
    assert bounds[2:7] == ["chapter 9", *3 * ["–"], "16 active"]


# --- What is stored ---------------------------------------------------------------------------------------------------

STORED = yaml.safe_load((ROOT / results.NAMES).read_text("utf-8"))
QUOTED = json.loads((ROOT / results.PUBLISHED).read_text("utf-8"))


def test_every_quotation_names_its_source() -> None:
    keys = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text("utf-8"), re.M))
    quoted = [row for group in QUOTED.values() for row in group["rows"]]
    assert quoted
    for row in quoted:
        assert row["cite"] in keys and row["where"] and row["protocol"] and 50 < row["nats"] < 150, row


def test_names_point_somewhere() -> None:
    models = (ROOT / "benchmarks" / "models.py").read_text("utf-8")
    chapters = [names["chapter"] for names in STORED["binary_mnist"].values()]
    chapters += [chapter for family in STORED["families"] for chapter in family.get("later", {}).values()]
    chapters += [names["chapter"] for names in STORED["elsewhere"].values()]
    assert set(chapters) <= set(CHAPTERS)
    records = {path.stem: json.loads(path.read_text("utf-8")) for path in (ROOT / results.CHECKPOINTS).glob("*.json")}
    for name, record in records.items():
        names = STORED["elsewhere"].get(name)
        assert names is None or names["key"] in record, name
    assert results.strangers(records, STORED) == []
    assert results.strangers({**records, "nobody": {"test_protocol": "exact"}}, STORED) == ["nobody"]
    for family in STORED["families"]:
        assert family.get("checkpoint", "made_mnist") in STORED["binary_mnist"]
        assert f'"{family.get("model", "MADE")}"' in models + '"VAE"'


@pytest.mark.parametrize("path", sorted((ROOT / results.BENCHMARKS).glob("*.json")), ids=lambda path: path.stem)
def test_stored_benchmarks_can_be_shown(path: Path) -> None:
    record = json.loads(path.read_text("utf-8"))
    table = results.TOPICS[path.stem](record)
    assert len({line.count("|") for line in table.splitlines()}) == 1
    assert results.origin(record).startswith("Measured by `python -m benchmarks.")


def test_examples() -> None:
    for module in (results.benchmarks, results.text, results.timings):
        found = doctest.testmod(module)
        assert found.attempted and not found.failed
