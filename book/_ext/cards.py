"""Makes tables readable on a phone, where a row is shown as a card: every cell behind the name of its column.

Every table of the pages below `book/` becomes cards there, those of the library's reference excepted, and so does every
table that is made from data, sums up a chapter, has four columns or more, or is of the class `by-row`. The style sheet
does the rest.
"""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

TABLE = re.compile(r'<table class="([^"]*)".*?</table>', re.DOTALL)
CELL = re.compile(r"(<td\b[^>]*>)(.*?)(</td>)", re.DOTALL)
DATA = {"results", "syllabus", "runtimes", "by-row"}  # the last is what an author calls a table to be read by rows
SUMMARY = "in lvmlib"  # the head of a column that only the summaries of chapters have
WIDE = 4  # columns of a table that no phone holds
EMPTY = "<p></p>"
FORMULA = re.compile(r"\\\((.*?)\\\)")


def row_of(names: list[str], row: str, above: list[str]) -> str:
    """Return a row with its cells named; what its empty first cells leave to the row above is written for cards alone.

    `above` holds what the first cells of the last rows said, and is kept up to date.
    """
    leading, at = True, -1

    def named(found: re.Match[str]) -> str:
        nonlocal leading, at
        at += 1
        start, said, end = found.groups()
        leading = leading and said.strip() == EMPTY
        if leading and at < len(above):
            said += above[at].replace("<p>", '<p class="again">')
        elif at < len(above):
            above[at] = said
        else:
            above.append(said)
        return start.replace("<td", f'<td data-column="{names[at]}"' if at < len(names) else "<td", 1) + said + end

    return CELL.sub(named, row)


def cards(body: str, every: bool) -> str:
    """Write the name of its column on every cell of wide tables, of those made from data, of summaries, or of all.

    >>> print(cards('<table class="results"><tr><th><p>A</p></th></tr><tr><td><p>1</p></td></tr></table>', False))
    <table class="results cards"><tr><th><p>A</p></th></tr><tr><td data-column="A"><p>1</p></td></tr></table>
    """

    def shown(found: re.Match[str]) -> str:
        heads = re.findall(r"<th\b[^>]*>(.*?)</th>", found[0], re.DOTALL)
        said = [FORMULA.sub(r"\1", html.unescape(re.sub(r"<.*?>", "", head)).strip()) for head in heads]
        names = [html.escape(name) for name in said]
        if any("\\" in name for name in names):  # a formula that plain letters do not say
            return found[0]
        if not names or not (every or SUMMARY in names or len(names) >= WIDE or DATA & set(found[1].split())):
            return found[0]
        above: list[str] = []
        parts = re.split(r"(?=<tr\b)", found[0].replace(f'"{found[1]}"', f'"{found[1]} cards"', 1))
        return "".join(row_of(names, part, above) for part in parts)

    return TABLE.sub(shown, body)


def deal(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Name the cells of a page."""
    if "<table" in context.get("body", ""):
        every = page.startswith("book/") and not page.startswith("book/reference")
        context["body"] = cards(context["body"], every)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", deal)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
