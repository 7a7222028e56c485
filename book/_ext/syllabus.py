"""`{syllabus}` shows the plan of the book as a table; chapters that exist are links."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

from book._ext.late import add_late_directive
from book._ext.numbering import chapter_number
from book._ext.plan import CHAPTERS, PARTS
from book._ext.tables import table

HEAD = ("Chapter", "Contents", "Lecture,\N{NO-BREAK SPACE}h", "Study,\N{NO-BREAK SPACE}h")
ROMAN = {1: "I", 2: "II", 3: "III", 4: "IV"}


def draw(app: Sphinx, docname: str) -> list[nodes.Node]:
    """Return the tables, one for each part."""
    pages = {number: page for page in app.env.found_docs if (number := chapter_number(page)) is not None}
    result: list[nodes.Node] = []
    for part, name in PARTS.items():
        rows = []
        for number, chapter in CHAPTERS.items():
            if chapter.part != part:
                continue
            label: nodes.Node = nodes.Text(f"{number}. {chapter.name}")
            if number in pages:
                label = make_refnode(app.builder, docname, pages[number], "", label)
            hours = [nodes.Text(str(chapter.lecture)), nodes.Text(str(chapter.study))]
            rows.append([label, nodes.Text(chapter.contents), *hours])
        result += [nodes.rubric("", f"Part {ROMAN[part]}. {name}"), table(HEAD, rows, "syllabus")]
    lecture = sum(chapter.lecture for chapter in CHAPTERS.values())
    study = sum(chapter.study for chapter in CHAPTERS.values())
    result.append(nodes.paragraph("", f"In all: {lecture} hours of lecture and {study} hours of study."))
    return result


def setup(app: Sphinx) -> dict[str, Any]:
    add_late_directive(app, "syllabus", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
