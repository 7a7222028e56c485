"""A page of results on a tiny project: invented records and benchmarks, and what a reader must find of them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

sphinx_application = pytest.importorskip("sphinx.application", reason="the book's tools are not installed")

from sphinx.util.docutils import docutils_namespace  # noqa: E402

from book._ext import results  # noqa: E402

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
    "flow_sampling": {
        "model": "MAF, 64 dimensions, 256 draws",
        "seconds": {"ours": 0.0204, "parallel": 0.0102, "zuko": 0.1224},
        "spread": {"ours": [0.0203, 0.0206], "parallel": [0.0101, 0.0103], "zuko": [0.121, 0.125]},
    },
    "flow_quality": {
        "model": "RealNVP, rings",
        "steps": 1000,
        "batch": 256,
        "parameters": {"ours": 142384, "rival": 142385},
        "nll": {"ours": 2.61, "rival": 2.75},
        "spread": {"ours": [2.58, 2.64], "rival": [2.71, 2.79]},
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
        "k": 5000,
        "seconds": {"ours": 3.62, "plain": 3.55, "rival": 7.24},
        "ratio": 1.02,
        "spread": {"ours": [3.58, 3.71], "plain": [3.5, 3.6], "rival": [7.1, 7.3]},
        "memory_mb": {"ours": 18.4, "plain": 16.1, "rival": 17.2},
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
    "compression": ["122.5", "122.4", "0.09%", "40.0", "41.0", "39.5–40.5", "40.8–42.3"],
    "quality": ["81.2 ± 1.7%", "64.8 ± 2.1%"],
    "completion": ["MADE, 16 at a time", "783 of 784", "1.89", "1.85–1.93", "1.50", "1.26"],
    "flow_step": ["lvmlib", "rival 1.2", "142,385", "4.20", "4.97–5.22", "1.20\xa0×"],
    "flow_sampling": ["lvmlib, entry by entry", "20.4", "121–125", "6.00\xa0×"],
    "flow_quality": ["RealNVP, rings, 1,000 steps of 256", "142,385", "2.61", "2.71–2.79"],
    "flow_costs": ["D = 32, ms", "MAF, density of given data", "1.23", "20.1–21.2", "61.4"],
    "determinant": ["1,024", "45,678", "22.1–25.6", "1,952\xa0×"],
    "likelihood": ["1,000", "5,000", "plain PyTorch", "rival 1.2", "3.62", "3.58–3.71", "2.00\xa0×", "18", "16"],
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
        "extensions": ["myst_nb", "sphinx_design", "sphinxcontrib.bibtex", "book._ext.results"],
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
