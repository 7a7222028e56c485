"""`{syllabus}` shows the plan of the book as a table; chapters that exist are links."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

from book._ext.numbering import chapter_number
from book._ext.plan import CHAPTERS, PARTS
from book._ext.tables import table

HEAD = ("Chapter", "Contents", "Lecture, h", "Study, h")
ROMAN = {1: "I", 2: "II", 3: "III", 4: "IV"}


class syllabus(nodes.General, nodes.Element):
    """Stands for the table until every page has been read."""


class SyllabusDirective(SphinxDirective):
    """Show the table of chapters and hours."""

    def run(self) -> list[nodes.Node]:
        return [syllabus("")]


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the tables, one for each part, in the place of the directive."""
    for node in list(doctree.findall(syllabus)):
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
        node.replace_self(result)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(syllabus)
    app.add_directive("syllabus", SyllabusDirective)
    app.connect("doctree-resolved", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
