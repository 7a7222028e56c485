"""`{pitfall-list}` gathers every 'Watch out' box of the book on one page.

A pitfall is an admonition of class `pitfall`. The box itself stays where it is; the list repeats its title with a link.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_id, make_refnode

from book._ext.numbering import chapter_number

PREFIX = "Watch out: "


def pitfalls(env: BuildEnvironment) -> dict[str, list[dict[str, Any]]]:
    """Return, for each page, its pitfalls: anchor, title and text as nodes."""
    if not hasattr(env, "lvm_pitfalls"):
        env.lvm_pitfalls = {}  # type: ignore[attr-defined]
    return env.lvm_pitfalls  # type: ignore[attr-defined, no-any-return]


def purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Forget what a page said before it is read again."""
    pitfalls(env).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
    """Bring together what several reading processes found."""
    pitfalls(env).update(pitfalls(other))


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
        pitfalls(app.env)[app.env.docname] = found


class pitfall_list(nodes.General, nodes.Element):
    """Stands for the list until every page has been read."""


class PitfallListDirective(SphinxDirective):
    """List every pitfall of the book, chapter by chapter."""

    def run(self) -> list[nodes.Node]:
        return [pitfall_list("")]


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the list in the place of its directive."""
    for node in list(doctree.findall(pitfall_list)):
        app.env.get_domain("math").data["has_equations"][docname] = True  # titles hold formulas
        result: list[nodes.Node] = []
        for page in sorted(pitfalls(app.env)):
            number, title = chapter_number(page), app.env.titles[page].astext()
            text = f"{number}. {title}" if number else title
            result.append(nodes.rubric("", "", make_refnode(app.builder, docname, page, "", nodes.Text(text))))
            items = nodes.bullet_list(classes=["pitfall-list"])
            for box in pitfalls(app.env)[page]:
                inner = nodes.inline("", "", *[child.deepcopy() for child in box["title"]])
                link = make_refnode(app.builder, docname, page, box["anchor"], inner)
                items += nodes.list_item("", nodes.paragraph("", "", link))
            result.append(items)
        node.replace_self(result)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(pitfall_list)
    app.add_directive("pitfall-list", PitfallListDirective)
    app.connect("doctree-read", collect)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("doctree-resolved", resolve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
