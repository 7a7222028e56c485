"""The page of results: tables drawn from records and benchmarks, on a tiny project and from what is stored."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

sphinx_application = pytest.importorskip("sphinx.application", reason="the book's tools are not installed")

import yaml  # noqa: E402

from book._ext import cards, results  # noqa: E402
from book._ext.plan import CHAPTERS  # noqa: E402
from tests.book.tiny_results import RECORD, ROWS, SHOWN, build, plain  # noqa: E402


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
    told = "exact, all of them; 3-core CPU, abacus, 1 thread; chapter 8"
    assert fresh[2][2:] == ["1,234,567", "12", told]
    assert fresh[1][-1] == "exact; Someone [2001], Table 7"
    (folded,) = re.findall(r"<details.*?</details>", page, re.DOTALL)
    assert "made" in re.sub(r"<.*?>", "", folded) and "binary_mnist made" in re.sub(r"<.*?>", "", folded)
    assert page.count('data-column="Parameters"') == 3
    assert '<a class="reference internal" href="notebooks/08_vae.html"' in page
    assert static[1:] == [["Still", "60.50", "exact; Someone [2001], Table 8"]]


def test_other_test_figures_stand_apart(tmp_path: Path) -> None:
    words = {**RECORD, "test_bits_per_sample": 4.1234, "test_nll_error": 0.125}
    warnings, page = build(tmp_path, "```{records}\n```", records={"made_mnist": RECORD, "speech": words})
    assert warnings == ""
    assert [row[:3] for row in plain(page)[0]] == [
        ["Model", "Test", "Parameters"],
        ["Words", "4.123\xa0±\xa00.12 bits/sample", "1,234,567"],
    ]


def test_cards_say_again_what_stands_above() -> None:
    rows = [["A", "", "1"], ["", "", "2"], ["B", "", "3"]]
    body = "".join("<tr>" + "".join(f"<td><p>{cell}</p></td>" for cell in row) + "</tr>" for row in rows)
    table = f'<table class="results x"><tr><th><p>Model</p></th><th><p>Way</p></th><th>n</th></tr>{body}</table>'
    page = cards.cards(table, every=False)
    assert 'class="results x cards"' in page and page.count('data-column="Way"') == 3
    assert page.count('<td data-column="Model"><p></p><p class="again">A</p></td>') == 1
    assert page.count(">A<") == 2 and page.count(">B<") == page.count(">1<") == 1
    plain_table = table.replace("results x", "docutils")
    assert cards.cards(plain_table, every=False) == plain_table != cards.cards(plain_table, every=True)
    summary = plain_table.replace("<th>n</th>", "<th>in <code>lvmlib</code></th>", 1)
    assert 'data-column="in lvmlib"' in cards.cards(summary, every=False)
    wide = plain_table.replace("<th>n</th>", "<th>n</th><th>m</th>", 1)
    assert 'data-column="n"' in cards.cards(wide, every=False)
    assert 'data-column="of n"' in cards.cards(wide.replace("<th>n<", r"<th>of <span>\(n\)</span><"), every=False)
    hard = wide.replace("<th>n<", r"<th><span>\(\theta\)</span><")
    assert cards.cards(hard, every=False) == hard


def test_a_record_that_nobody_placed_fails(tmp_path: Path) -> None:
    warnings, _ = build(tmp_path, "```{likelihoods} fresh\n```", records={"new_mnist": RECORD})
    assert f"does not say what {results.CHECKPOINTS}/new_mnist.json is" in warnings


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
    records["bits_on_disk"] = {"runs": {"vae_mnist": [{"bits": 129.98, "encode_ms": 2.22}, {"bits": 1.0}]}}
    _, page = build(tmp_path, "```{desiderata}\n```", benchmarks=benchmarks, records=records)
    assert plain(page)[0][3][2:7] == ["chapter 9", "–", "–", "130.0 bits, 2.22 ms", "16 active"]
    assert plain(page)[0][1][5] == "122.5 bits, 40.0 ms"  # coded directly, as before


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
        assert family.get("checkpoint", "made_mnist") in STORED["binary_mnist"] | STORED["elsewhere"]
        assert f'"{family.get("model", "MADE")}"' in models + '"VAE"'


@pytest.mark.parametrize("path", sorted((ROOT / results.BENCHMARKS).glob("*.json")), ids=lambda path: path.stem)
def test_stored_benchmarks_can_be_shown(path: Path) -> None:
    record = json.loads(path.read_text("utf-8"))
    table = results.TOPICS[path.stem](record)
    assert len({line.count("|") for line in table.splitlines()}) == 1
    assert results.origin(record).startswith("Measured by `python -m benchmarks.")


def test_examples() -> None:
    for module in (cards, results.benchmarks, results.text, results.timings):
        found = doctest.testmod(module)
        assert found.attempted and not found.failed
