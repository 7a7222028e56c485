"""`{runtime-list}` shows how long each chapter ran when its outputs were last stored, from book/runtimes.json.

`make execute` writes that file; nothing in it is typed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

from book._ext.late import LateDirective, add_late_directive
from book._ext.numbering import chapter_number
from book._ext.tables import table

logger = logging.getLogger(__name__)

FILE = "book/runtimes.json"
HEAD = ("Chapter", "Seconds", "Hardware", "Threads", "Date", "lvmlib")


def duration(seconds: float) -> str:
    """Return seconds to a precision that means something.

    >>> duration(4.26), duration(71.3)
    ('4.3', '71')
    """
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"


class RuntimeListDirective(LateDirective):
    """Show the table of run times."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(Path(self.env.srcdir) / FILE))
        return super().run()


def fill(app: Sphinx, docname: str) -> list[nodes.Node]:
    """Return the table."""
    path = Path(app.srcdir) / FILE
    times = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    rows = []
    for chapter in sorted(name for name in app.env.found_docs if chapter_number(name)):
        entry = times.get(chapter.removeprefix("notebooks/"))
        if entry is None:
            logger.warning(f"{FILE} has no run time of {chapter}: run `make execute`", location=docname)
            continue
        text = f"{chapter_number(chapter)}. {app.env.titles[chapter].astext()}"
        rows.append(
            [
                make_refnode(app.builder, docname, chapter, "", nodes.Text(text)),
                nodes.Text(duration(entry["seconds"])),
                nodes.Text(entry["hardware"]),
                nodes.Text(str(entry["threads"])),
                nodes.Text(entry["date"]),
                nodes.Text(entry["lvmlib"]),
            ]
        )
    return [table(HEAD, rows, "runtimes")] if rows else []


def setup(app: Sphinx) -> dict[str, Any]:
    add_late_directive(app, "runtime-list", fill, RuntimeListDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
