"""`{syllabus}` shows the plan of the book as a table; chapters that exist are links.

`{course}` shows a choice of chapters, a line of text for each: weeks, number of the chapter, homework. The role `hours`
adds hours up: of `lecture 1-6`, for one. All hours come from `plan`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode

from book._ext import plan
from book._ext.late import add_late_directive
from book._ext.numbering import chapter_number
from book._ext.plan import CHAPTERS, PARTS
from book._ext.results.text import markdown
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


def hours(kind: str, chapters: Iterable[int]) -> int:
    """Return the hours of lecture or of study that chapters take.

    >>> hours("lecture", range(1, 13)) == sum(chapter.lecture for chapter in CHAPTERS.values())
    True
    """
    return sum(int(getattr(CHAPTERS[number], kind)) for number in chapters)


class HoursRole(SphinxRole):
    """The sum of hours over chapters, as in `lecture 1 7-11`."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        self.env.note_dependency(plan.__file__)
        kind, *spans = self.text.split()
        ends = [[int(end) for end in span.split("-")] for span in spans]
        return [nodes.Text(str(hours(kind, (n for end in ends for n in range(end[0], end[-1] + 1)))))], []


class CourseDirective(SphinxDirective):
    """Show weeks, chapters, hours and homework of a course, and the sum of its hours."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(plan.__file__)
        pages = {chapter_number(page): page for page in self.env.found_docs}
        rows, taught = [], []
        for line in self.content:
            week, number, homework = (cell.strip() for cell in line.split("|"))
            chapter = CHAPTERS[int(number)]
            name = f"{number}. {chapter.name}"
            link = f"{{doc}}`{name} </{pages[int(number)]}>`" if int(number) in pages else name
            rows.append([week, link, str(chapter.lecture), str(chapter.study), homework])
            taught.append(int(number))
        rows.append(["in all", "", *(str(hours(kind, taught)) for kind in ("lecture", "study")), ""])
        return self.parse_text_to_nodes(markdown(("week", "chapter", "lecture, h", "study, h", "homework"), rows))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_role("hours", HoursRole())
    app.add_directive("course", CourseDirective)
    add_late_directive(app, "syllabus", draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
