"""Code in chapters fits beside the table of contents, where a line has room for 88 columns, and no gap is printed."""

from __future__ import annotations

import re

from book._tools.execute import NOTEBOOKS
from book._tools.pairing import chapters, read_cells

COLUMNS = 88


def long_lines(cells: list) -> list[str]:
    """Return the lines of code that are too long."""
    code = [line for kind, source, _ in cells if kind == "code" for line in source.splitlines()]
    return [line for line in code if len(line) > COLUMNS]


def test_lines_of_code_fit():
    found = {path.name: long_lines(read_cells(path.with_suffix(".py"))) for path in chapters(NOTEBOOKS)}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_long_lines_are_found():
    assert long_lines([("markdown", "x" * 200, {}), ("code", "x" * 88, {})]) == []
    assert long_lines([("code", "a = 1\n" + "x" * 89, {})]) == ["x" * 89]


GAP = re.compile(r"\b(?!CONTEXT\b)[A-Z]{3,}(?:TEXT|CAPTION|ALT)\b")


def gaps(cells: list) -> list[str]:
    """Return the words that hold the place of a text, or of a caption."""
    return [word for _, source, metadata in cells for word in GAP.findall(f"{source} {metadata}")]


def test_no_text_is_still_to_be_written():
    found = {path.name: gaps(read_cells(path.with_suffix(".py"))) for path in chapters(NOTEBOOKS)}
    assert {name: words for name, words in found.items() if words} == {}


def test_a_gap_is_found_in_a_text_and_in_a_caption():
    caption = {"mystnb": {"image": {"alt": "strokes, CONVALT"}}}
    assert gaps([("markdown", "# Gaps\n\nGAPTEXT", {}), ("code", "x", caption)]) == ["GAPTEXT", "CONVALT"]
    assert gaps([("markdown", "A TEXT, the CONTEXT, DEFAULT and LATEXTEXT2", {})]) == []
