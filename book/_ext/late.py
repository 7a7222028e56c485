"""What one page shows of all others: notes taken while pages are read, and directives that are filled in the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

from book._ext.numbering import chapter_number

Fill = Callable[[Sphinx, str], list[nodes.Node]]


class placeholder(nodes.General, nodes.Element):
    """Stands for what a directive shows until every page has been read."""


class LateDirective(SphinxDirective):
    """Keep a place."""

    def run(self) -> list[nodes.Node]:
        return [placeholder("", directive=self.name)]


def fill_places(name: str, fill: Fill, app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Replace each place that the directive `name` has kept."""
    for node in list(doctree.findall(placeholder)):
        if node["directive"] == name:
            node.replace_self(fill(app, docname))


def add_late_directive(app: Sphinx, name: str, fill: Fill, keep: type[LateDirective] = LateDirective) -> None:
    """Let `{name}` show what `fill(app, docname)` returns for its page once every page has been read."""
    app.add_node(placeholder, override=True)  # each directive adds it
    app.add_directive(name, keep)
    app.connect("doctree-resolved", partial(fill_places, name, fill))


def link_to_page(app: Sphinx, here: str, page: str) -> nodes.reference:
    """Return a link to a page, named by its number and title."""
    number, title = chapter_number(page), app.env.titles[page].astext()
    return make_refnode(app.builder, here, page, "", nodes.Text(f"{number}. {title}" if number else title))


def notes(env: BuildEnvironment, name: str) -> dict[str, Any]:
    """Return what was noted under a name, by page."""
    if not hasattr(env, f"lvm_{name}"):
        setattr(env, f"lvm_{name}", {})
    found: dict[str, Any] = getattr(env, f"lvm_{name}")
    return found


def add_notes(app: Sphinx, name: str) -> None:
    """Let pages be noted under a name: what a page said is forgotten before it is read again."""

    def purge(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
        notes(env, name).pop(docname, None)

    def merge(app: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
        notes(env, name).update(notes(other, name))  # what several reading processes found

    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
