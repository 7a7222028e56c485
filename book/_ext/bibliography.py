"""The bibliography: titles as they are printed, links to the works, and under each work the sections that cite it.

Where a work is cited is noted while pages are read; links are written when every section and exercise has its number.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from pybtex.plugin import register_plugin
from pybtex.style.formatting.alpha import Style as Alpha
from pybtex.style.template import field, href, join, sentence
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode
from sphinx_exercise.nodes import is_exercise_node, is_solution_node
from sphinxcontrib.bibtex.citation_target import parse_citation_targets

from book._ext.late import add_notes, notes
from book._ext.numbering import chapter_number


class AsPrinted(Alpha):  # type: ignore[misc]
    """Sphinx's usual style, with titles in the case of the file and short links."""

    def format_title(self, entry: Any, which_field: str, as_sentence: bool = True) -> Any:
        return sentence[field(which_field)] if as_sentence else field(which_field)

    def format_url(self, entry: Any) -> Any:
        address = entry.fields.get("url", "").split("://")[-1].rstrip("/")
        return href(field("url", raw=True))[address] if address else field("url")

    def format_doi(self, entry: Any) -> Any:
        doi = field("doi", raw=True)
        return href(join["https://doi.org/", doi])[join["doi.org/", doi]]


def place_of(citation: nodes.Element) -> tuple[str, str, str]:
    """Return kind, anchor and title of the exercise or section in which a citation stands."""
    node = citation.parent
    while node is not None:
        if is_exercise_node(node) or is_solution_node(node):
            return "exercise", node.get("target_label", node["label"]), ""
        if isinstance(node, nodes.section) and node["ids"] and isinstance(node[0], nodes.title):
            return "section", node["ids"][0], node[0].astext()
        node = node.parent
    return "section", "", ""


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Note which works a page cites, and where."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for node in doctree.findall(pending_xref):
        if node["refdomain"] == "cite":
            for target in parse_citation_targets(node["reftarget"]):
                found.setdefault(target.key, []).append(place_of(node))
    notes(app.env, "citations")[app.env.docname] = found


def name_of(app: Sphinx, page: str, kind: str, anchor: str, title: str) -> str:
    """Return what a place is called: `8.1.2`, `Exercise 8.3`, or its page where it has no number."""
    if kind == "exercise":
        return "Exercise " + ".".join(map(str, app.env.toc_fignumbers[page]["exercise"][anchor]))
    number = app.env.toc_secnumbers.get(page, {}).get(f"#{anchor}") if chapter_number(page) else None
    return ".".join(map(str, number)) if number else app.env.titles[page].astext()


def places(app: Sphinx, key: str) -> list[tuple[str, str, str, str]]:
    """Return name, page, anchor and title of every place that cites a work, chapters first, each once."""
    found = {}
    everything = notes(app.env, "citations")
    for page in sorted(everything, key=lambda name: (chapter_number(name) or 99, name)):
        for kind, anchor, title in everything[page].get(key, []):
            name = name_of(app, page, kind, anchor, title)
            found.setdefault(name, (name, page, anchor, title))
    return list(found.values())


def refer_back(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Write under each work the places that cite it."""
    keys = {c.citation_id: c.key for c in app.env.get_domain("cite").citations}  # type: ignore[attr-defined]
    for work in doctree.findall(nodes.citation):
        links = nodes.paragraph("", "Cited in ", classes=["cited-in"])
        for name, page, anchor, title in places(app, keys.get(work["ids"][0], "")):
            link = make_refnode(app.builder, docname, page, anchor, nodes.Text(name), title or None)
            links += [link, nodes.Text(", ")]
        if len(links) > 1:
            links[-1] = nodes.Text(".")
            work += links


def visit_citation(self: Any, node: nodes.Element) -> None:
    """Open a work as an item of the list; the role that docutils gives it is deprecated and belongs in no list."""
    type(self).visit_citation(self, node)
    self.body[-1] = self.body[-1].replace('role="doc-biblioentry"', 'role="listitem"')


def depart_citation(self: Any, node: nodes.Element) -> None:
    type(self).depart_citation(self, node)


def setup(app: Sphinx) -> dict[str, Any]:
    register_plugin("pybtex.style.formatting", "as_printed", AsPrinted)
    app.add_node(nodes.citation, override=True, html=(visit_citation, depart_citation))
    app.connect("doctree-read", collect)
    add_notes(app, "citations")
    app.connect("doctree-resolved", refer_back)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
