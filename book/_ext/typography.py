"""Keeps what follows a formula on its line, a full stop, a comma or the end of 'n-th'; a browser may break between."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

CLOSING = re.compile(r"(?:-th\b)?[.,;:!?)\]’”]+|-th\b")


def keep_together(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Wrap each formula and the punctuation right after it in an inline of class `nobreak`."""
    for formula in list(doctree.findall(nodes.math)):
        parent = formula.parent
        place = parent.index(formula)
        after = parent[place + 1] if place + 1 < len(parent) else None
        match = CLOSING.match(after) if isinstance(after, nodes.Text) else None
        if match:
            pair = nodes.inline("", "", formula.deepcopy(), nodes.Text(match.group()), classes=["nobreak"])
            parent[place : place + 2] = [pair, nodes.Text(after[match.end() :])]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-resolved", keep_together, priority=900)  # after the lists of theorems and pitfalls
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
