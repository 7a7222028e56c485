"""The bibliography: titles as they are printed, links to the works, and under each work the sections that cite it.

Where a work is cited is noted while pages are read; links are written when every section and exercise has its number.
"""

from __future__ import annotations

import re
from itertools import groupby
from string import ascii_lowercase
from typing import Any
from unicodedata import combining, normalize

from docutils import nodes
from pybtex.plugin import register_plugin
from pybtex.style.formatting.alpha import Style as Alpha
from pybtex.style.labels.alpha import LabelStyle
from pybtex.style.sorting.author_year_title import SortingStyle
from pybtex.style.template import field, href, join, sentence
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode
from sphinx_exercise.nodes import is_exercise_node, is_solution_node
from sphinxcontrib.bibtex.citation_target import parse_citation_targets

from book._ext.late import add_notes, notes
from book._ext.numbering import chapter_number


def breaks(address: str) -> str:
    """Return an address that may go on in the next line behind its slashes and before its signs.

    >>> breaks("a.org/b_c") == "a.org/\u200bb\u200b_c"
    True
    """
    return re.sub(r"(?<=/)(?=.)|(?<=\w)(?=[?#=&_-])", "\u200b", address)


class Label(LabelStyle):  # type: ignore[misc]
    """Sphinx's usual label, in which a year is two digits whether or not a letter follows."""

    def format_label(self, entry: Any) -> str:
        return str(super().format_label(entry))[:-2] + str(entry.fields.get("year", ""))[2:4]


class ByAuthor(SortingStyle):  # type: ignore[misc]
    """The usual order; names stand where their plain letters put them, without braces and accents."""

    def person_key(self, person: Any) -> str:
        parts = (person.rich_prelast_names + person.rich_last_names, person.rich_first_names)
        said = "  ".join(" ".join(map(str, names)) for names in parts)
        return "".join(sign for sign in normalize("NFKD", said.lower()) if not combining(sign))


class AsPrinted(Alpha):  # type: ignore[misc]
    """Sphinx's usual style, with titles in the case of the file and short links."""

    default_label_style = Label
    default_sorting_style = "by_author"

    def format_title(self, entry: Any, which_field: str, as_sentence: bool = True) -> Any:
        return sentence[field(which_field)] if as_sentence else field(which_field)

    def format_url(self, entry: Any) -> Any:
        address = entry.fields.get("url", "").split("://")[-1].rstrip("/")
        return href(field("url", raw=True))[breaks(address)] if address else field("url")

    def format_doi(self, entry: Any) -> Any:
        doi = field("doi", raw=True)
        return href(join["https://doi.org/", doi])[join["doi.org/", doi]]


def cited_as(entry: Any) -> tuple[str, ...]:
    """Return what a citation says of a work: one or two names, or the first of more, and the year."""
    names = [str(person.rich_last_names[0]) for person in entry.persons.get("author", [])]
    return (*(names if len(names) < 3 else names[:1] + ["and others"]), entry.fields.get("year", "")[:4])


def tell_apart(entries: list[Any]) -> None:
    """Give the years of works that are cited alike a letter: 2016a, 2016b, in the order of the bibliography."""
    order = sorted(entries, key=lambda entry: (cited_as(entry), ByAuthor().sorting_key(entry)))
    for said, alike in groupby(order, cited_as):
        works = list(alike)
        if len(works) > 1 and said[-1]:
            for letter, work in zip(ascii_lowercase, works, strict=False):
                work.fields["year"] = said[-1] + letter


def letter_years(app: Sphinx) -> None:
    """Tell works apart before any page cites them."""
    tell_apart(list(app.env.get_domain("cite").bibdata.data.entries.values()))  # type: ignore[attr-defined]


def place_of(citation: nodes.Element) -> tuple[str, str]:
    """Return anchor and title of the exercise or section in which a citation stands."""
    node = citation.parent
    while node is not None:
        if is_exercise_node(node) or is_solution_node(node):
            return node.get("target_label", node["label"]), ""
        if isinstance(node, nodes.section) and node["ids"] and isinstance(node[0], nodes.title):
            return node["ids"][0], node[0].astext()
        node = node.parent
    return "", ""


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Note which works a page cites, and where."""
    found = notes(app.env, "citations")[app.env.docname] = {}
    for node in doctree.findall(pending_xref):
        if node["refdomain"] == "cite":
            for target in parse_citation_targets(node["reftarget"]):
                found.setdefault(target.key, []).append(place_of(node))


def name_of(app: Sphinx, page: str, anchor: str) -> str:
    """Return what a place is called: `8.1.2`, `Exercise 8.3`, `Chapter 8`, or its page where it has no number."""
    if chapter_number(page) is None:
        return app.env.titles[page].astext()
    exercise = app.env.toc_fignumbers.get(page, {}).get("exercise", {}).get(anchor)
    section = app.env.toc_secnumbers.get(page, {}).get(f"#{anchor}")
    number = ".".join(map(str, exercise or section or ()))
    return f"Exercise {number}" if exercise else number or f"Chapter {chapter_number(page)}"


def links_back(app: Sphinx, here: str, key: str) -> list[nodes.Node]:
    """Return a link to every place that cites a work, chapters first, each once, with commas between them."""
    found: dict[str, list[nodes.Node]] = {}
    everything = notes(app.env, "citations")
    for page in sorted(everything, key=lambda name: (chapter_number(name) or 99, name)):
        for anchor, title in everything[page].get(key, []):
            name = name_of(app, page, anchor)
            link = make_refnode(app.builder, here, page, anchor, nodes.Text(name), title or None)
            found.setdefault(name, [nodes.Text(", "), link])
    return [node for pair in found.values() for node in pair][1:]


def refer_back(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Write under each work the places that cite it."""
    keys = {c.citation_id: c.key for c in app.env.get_domain("cite").citations}  # type: ignore[attr-defined]
    for work in doctree.findall(nodes.citation):
        if links := links_back(app, docname, keys.get(work["ids"][0], "")):
            work += nodes.paragraph("", "Cited in ", *links, nodes.Text("."), classes=["cited-in"])


def visit_citation(self: Any, node: nodes.Element) -> None:
    """Open a work as an item of the list; the role that docutils gives it is deprecated and belongs in no list."""
    type(self).visit_citation(self, node)
    self.body[-1] = self.body[-1].replace('role="doc-biblioentry"', 'role="listitem"')


def depart_citation(self: Any, node: nodes.Element) -> None:
    type(self).depart_citation(self, node)


def setup(app: Sphinx) -> dict[str, Any]:
    register_plugin("pybtex.style.formatting", "as_printed", AsPrinted)
    register_plugin("pybtex.style.sorting", "by_author", ByAuthor)
    app.add_node(nodes.citation, override=True, html=(visit_citation, depart_citation))
    app.connect("builder-inited", letter_years)
    app.connect("doctree-read", collect)
    add_notes(app, "citations")
    app.connect("doctree-resolved", refer_back)
    return {"version": "1", "env_version": 2, "parallel_read_safe": True, "parallel_write_safe": True}
