"""The check of outputs on the chapters themselves: wrong changes of what is stored must fall, harmless ones must pass.

Every kind of change is made in each chapter once, on the first cell to which it applies; nothing is run.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import pytest

from book._tools.execute import NOTEBOOKS
from book._tools.figures import FIGURE_MIME
from book._tools.pairing import chapters, read_notebook
from tests.book.bitmaps import colourfulness
from tests.book.comparator import compare_outputs
from tests.book.mutants import (
    LONG,
    PLAIN,
    SHORT,
    WHOLE,
    Change,
    add,
    artist,
    axes,
    chosen_number,
    drawn,
    drop,
    levels,
    lines,
    order,
    picture,
    put,
    reversed_values,
    scaled,
    text,
    within,
)

CHAPTERS = [path.name for path in chapters(NOTEBOOKS)]
PNG = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}, "metadata": {}}
LINE = {"output_type": "stream", "name": "stdout", "text": "one more line\n"}
STDERR = {"output_type": "stream", "name": "stderr", "text": "UserWarning: mind the gap\n"}
BAR = {**LINE, "text": "\r 10%|#    | 1/10 [00:00<00:01]\r100%|###| 10/10 [00:09<00:00, 1.1it/s]\n"}
WIDGET = {**PNG, "data": {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "bar"}}


def grey(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=-1, keepdims=True).repeat(3, axis=-1)


# Kinds of change; "exact" cells declare no tolerance, "loose" ones do, "any" may.
WRONG: dict[str, tuple[str, Change]] = {
    "a short number by one unit": ("exact", text(SHORT, lambda m: f"{float(m[1]) + 0.1:.1f}")),
    "a long number by two units": ("exact", text(LONG, lambda m: f"{float(m[0]) + 0.02:.2f}")),
    "a sign": ("exact", text(PLAIN, r"-\g<0>")),
    "nan": ("any", text(PLAIN, "nan")),
    "ten times as much": ("any", text(PLAIN, scaled(10))),
    "half as much": ("loose", text(r"(?<![\d.,\w\[+-])[1-9]\d+\.\d+(?![\d\w])", scaled(0.5))),
    "one more decimal": ("exact", text(r"(?<![\d.,\w\[+-])\d+\.\d{1,6}(?![\d\w])", r"\g<0>1")),
    "an integer": ("exact", text(WHOLE, lambda m: str(int(m[0]) + 1))),
    "a chosen number": ("any", chosen_number),
    "a word": ("any", text(r"(?<![\w.])[a-z]{4,}", lambda m: m[0][::-1] + "x")),
    "a unit": ("any", text(r"\b(nats|bits)\b", lambda m: "bits" if m[0] == "nats" else "nats")),
    "percent": ("any", text(r"(?<=\d)%", "")),
    "an entry in another column": ("any", text(r"^([^\[\n]*\S) {3,}(\d+\.\d+)\b", r"\1 \2  ")),
    "a line gone": ("any", lines(lambda found: found[1:])),
    "lines exchanged": ("exact", lines(lambda found: [found[1], found[0], *found[2:]])),
    "a line twice": ("any", lines(lambda found: [found[0], *found])),
    "text gone": ("any", drop("stream")),
    "text from nowhere": ("any", lambda o, c: all(x["output_type"] != "stream" for x in o) and add(LINE)(o, c)),
    "another picture": ("any", add(PNG)),
    "a sound": ("any", add({**PNG, "data": {"text/html": "<audio src='data:audio/wav;base64,AAAA'>"}})),
    "figure gone": ("any", drop("display_data")),
    "figure twice": ("any", lambda o, c: FIGURE_MIME in o[0].get("metadata", {}) and add(o[0])(o, c)),
    "size of the figure": ("any", drawn(put("size", lambda v: [v[0], v[1] + 1]))),
    "label of an axis": ("any", axes(put("xlabel", lambda v: f"{v} x"))),
    "title": ("any", axes(put("title", lambda v: f"{v} x"))),
    "scale of an axis": ("any", axes(put("xscale", lambda v: "symlog"))),
    "limits": ("any", axes(put("ylim", lambda v: [v[0], v[1] + (v[1] - v[0])]))),
    "axes upside down": ("any", axes(put("ylim", lambda v: v[::-1]))),
    "tick labels in percent": ("any", axes(within("yticks", put("labels", lambda v: [f"{x}%" for x in v])))),
    "tick labels gone": ("any", axes(lambda part: part.pop("xticks", False))),
    "ticks moved": ("any", axes(within("xticks", put("labels", lambda v: [*v[1:], v[0]] if len(v) > 1 else v)))),
    "legend gone": ("any", axes(lambda part: part.pop("legend", False))),
    "names in the legend exchanged": (
        "any",
        axes(within("legend", lambda legend: exchange_texts(legend["entries"]))),
    ),
    "a text elsewhere": ("any", axes(within("texts", lambda v: put("at", lambda at: [at[0] + 0.4, at[1]])(v[0])))),
    "a text gone": ("any", axes(lambda part: part.pop("texts", False))),
    "an axes gone": ("any", drawn(lambda about: len(about["axes"]) > 1 and about["axes"].pop())),
    "something drawn gone": ("any", axes(within("artists", lambda v: len(v) > 1 and v.pop()))),
    "colour": ("any", artist(put("colour", lambda v: "#123456"))),
    "dashes": ("any", artist(put("style", lambda v: ":" if v != ":" else "-"))),
    "marker": ("any", artist(put("marker", lambda v: "x #000000 5"))),
    "width of a line": ("any", artist(put("wide", lambda v: [2 * x + 1 for x in v]))),
    "fill": ("any", artist(put("filled", lambda v: not v))),
    "number of points": ("any", artist(within("x", put("n", lambda v: 2 * v + 3)))),
    "a curve turned round": ("any", artist(lambda a: a["kind"] == "line" and reversed_values(a["y"]))),
    "bars in another order": ("any", artist(lambda a: a["kind"] == "Rectangle" and reversed_values(a["top"]))),
    "heat map, rows in another order": ("any", axes(within("images", lambda v: levels(lambda x: x[:, ::-1])(v[0])))),
    "heat map, two rows": ("any", axes(within("images", lambda v: levels(neighbours)(v[0])))),
    "colour map": ("any", axes(within("images", lambda v: put("colour", lambda c: f"{c}_r")(v[0])))),
    "images exchanged": ("any", order(lambda index: np.roll(index, 1, axis=0))),
    "images in another row": ("any", order(lambda index: index[[1, 0, *range(2, len(index))]])),
    "images mirrored": ("any", order(lambda index: index[:, ::-1])),
    "all the same images": ("any", order(lambda index: index * 0, drawn_only=True)),
    "draws in another row": ("any", order(lambda index: index[::-1], drawn_only=True)),
    "picture grey": ("any", picture(grey)),
    "picture grey, described": (
        "any",
        picture(lambda x: grey(x) if colourfulness(x) > 0.005 else x, True),  # one red line is the description's affair
    ),
    "picture upside down": ("exact", picture(lambda x: x[::-1], True)),
    "picture blank": ("exact", picture(np.ones_like, True)),
    "picture inverted": ("exact", picture(lambda x: 1 - x, True)),
    "picture of another shape": ("any", picture(lambda x: x[: len(x) * 3 // 4], True)),
    "picture retouched": ("any", picture(lambda x: np.where(np.indices(x.shape)[0] < 9, 0.9, x))),
    "description gone": ("any", lambda o, c: [x["metadata"].pop(FIGURE_MIME, None) for x in o if "data" in x]),
    "width on the page": ("any", lambda o, c: [x["metadata"]["image/png"].update(width=70) for x in o if "data" in x]),
}


def exchange_texts(entries: list) -> bool:
    if len(entries) < 2 or entries[0]["text"] == entries[1]["text"]:
        return False
    entries[0]["text"], entries[1]["text"] = entries[1]["text"], entries[0]["text"]
    return True


def neighbours(x: np.ndarray) -> np.ndarray:
    """Exchange the two neighbouring rows that differ most."""
    i = np.abs(np.diff(x.astype(float), axis=1)).max(axis=(0, 2)).argmax() if x.shape[1] > 1 else 0
    rows = np.arange(x.shape[1])
    rows[i : i + 2] = rows[i : i + 2][::-1]
    return x[:, rows]


HARMLESS: dict[str, tuple[str, Change]] = {
    "as stored": ("any", lambda o, c: True),
    "a long number by one unit": ("exact", text(LONG, lambda m: f"{float(m[0]) + 0.01:.2f}")),
    "within the tolerance": ("loose", text(r"(?<![\d.,\w\[+-])[1-9]\d\d\.\d+(?![\d\w])", scaled(1.001))),
    "typographic minus": ("any", text(r"(?<=\s)-(?=\d)", "\N{MINUS SIGN}")),
    "blanks at the end": ("any", text(r"$(?=\n)", "  ")),
    "warnings": ("any", add(STDERR)),
    "a progress bar": ("any", add(BAR)),
    "a widget": ("any", add(WIDGET)),
    "printed in two parts": ("any", lambda o, c: o[0]["output_type"] == "stream" and add({**LINE, "text": ""})(o, c)),
    "rounding in the data": ("any", artist(lambda a: "y" in a and put("values", nudge)(a["y"]))),
    "rounding of a text's place": (
        "any",
        axes(within("texts", lambda v: "measured" not in v[0] and put("at", nudge)(v[0]))),
    ),
    "one pixel further right": ("any", picture(lambda x: np.roll(x, 1, axis=1), True)),
    "edges smoothed differently": (
        "any",
        picture(lambda x: x + 0.01 * np.random.default_rng(0).standard_normal(x.shape), True),
    ),
}


def nudge(values: list) -> list:
    return [v * (1 + 2e-4) if isinstance(v, float) else v for v in values]


@functools.cache
def code(chapter: str) -> list[Any]:
    cells = read_notebook(NOTEBOOKS / f"{chapter}.ipynb").cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.outputs]


def mutant(chapter: str, how: str, change: Change) -> tuple[Any, list] | None:
    """Return the first cell of a chapter to which a change applies, and its outputs after it."""
    for cell in code(chapter):
        if how == "any" or (how == "loose") == bool(cell.metadata.get("tolerance")):
            outputs = copy.deepcopy([dict(o) for o in cell.outputs])
            if change(outputs, cell):
                return cell, outputs
    return None


def applicable(kinds: dict[str, tuple[str, Change]]) -> list[tuple[str, str]]:
    return [(chapter, kind) for kind in kinds for chapter in CHAPTERS if mutant(chapter, *kinds[kind]) is not None]


def test_enough_mutants():
    wrong, harmless = applicable(WRONG), applicable(HARMLESS)
    assert len(wrong) >= 150
    assert len(harmless) >= 40
    assert {kind for _, kind in wrong} == set(WRONG)
    assert {kind for _, kind in harmless} == set(HARMLESS)


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_outputs_fall(kind):
    found = {chapter: mutant(chapter, *WRONG[kind]) for chapter in CHAPTERS}
    unnoticed = []
    for chapter, (cell, outputs) in ((chapter, pair) for chapter, pair in found.items() if pair):
        for stored, new in ((cell.outputs, outputs), (outputs, cell.outputs)):
            if not compare_outputs(stored, new, cell.metadata, cell.source):
                unnoticed.append(f"{chapter}: {cell.source[:200]}")
    assert unnoticed == []


@pytest.mark.parametrize("kind", HARMLESS)
def test_harmless_outputs_pass(kind):
    found = {chapter: mutant(chapter, *HARMLESS[kind]) for chapter in CHAPTERS}
    for cell, outputs in filter(None, found.values()):
        assert compare_outputs(cell.outputs, outputs, cell.metadata, cell.source) == [], cell.source
