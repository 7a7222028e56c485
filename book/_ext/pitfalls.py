"""`{pitfall-list}` gathers every 'Watch out' box of the book on one page.

A pitfall is an admonition of class `pitfall`. The box itself stays where it is; the list repeats it, its title a link.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_id, make_refnode

from book._ext.late import add_late_directive, add_notes, link_to_page, notes
from book._ext.quotes import quote

PREFIX = "Watch out: "


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Give every pitfall of a page an anchor and note it."""
    found = []
    for box in doctree.findall(nodes.admonition):
        if "pitfall" not in box["classes"]:
            continue
        title = box[0].deepcopy()
        if isinstance(title[0], nodes.Text) and title[0].startswith(PREFIX):
            title[0] = nodes.Text(title[0][len(PREFIX) :])
        anchor = make_id(app.env, doctree, "pitfall", title.astext())
        box["ids"].append(anchor)
        found.append({"anchor": anchor, "title": title.children})
    if found:
        notes(app.env, "pitfalls")[app.env.docname] = found  # anchor, and title as nodes


def fill(app: Sphinx, docname: str) -> list[nodes.Node]:
    """Return, per page, a heading and a link to each of its pitfalls."""
    app.env.get_domain("math").data["has_equations"][docname] = True  # titles hold formulas
    result: list[nodes.Node] = []
    for page, boxes in sorted(notes(app.env, "pitfalls").items()):
        result.append(nodes.rubric("", "", link_to_page(app, docname, page)))
        items = nodes.bullet_list(classes=["pitfall-list"])
        for box in boxes:
            inner = nodes.inline("", "", *[child.deepcopy() for child in box["title"]])
            link = make_refnode(app.builder, docname, page, box["anchor"], inner)
            items += nodes.list_item("", nodes.paragraph("", "", link), quote(page, box["anchor"]))
        result.append(items)
    return result


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", collect)
    add_notes(app, "pitfalls")
    add_late_directive(app, "pitfall-list", fill)
    return {"version": "2", "env_version": 2, "parallel_read_safe": True, "parallel_write_safe": True}
