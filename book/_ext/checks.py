"""Every theorem has a cell that verifies it numerically, and the two find each other.

A theorem carries a label that starts with `thm-`; its check cell, in the same chapter, carries the tag `check:thm-...`.
A theorem or proposition without a check cell, and a check cell without its theorem, each raise a warning and so fail
the strict build. The directive `{theorem-list}` lists them all.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

from book._ext.figures import is_code_cell
from book._ext.late import add_late_directive, add_notes, link_to_page, notes
from book._ext.numbering import chapter_number
from book._ext.quotes import quote

logger = logging.getLogger(__name__)

OWED = {"theorem", "proposition"}  # each of these needs a check cell
ALLOWED = OWED | {"lemma", "corollary"}  # these may have one
TAG = "check:"


def theorems(env: BuildEnvironment) -> dict[str, dict[str, Any]]:
    """Return what is known of each theorem by label: docname, kind, title (nodes) and the ids of its check cells."""
    return {label: theorem for page in notes(env, "theorems").values() for label, theorem in page.items()}


def title_nodes(theorem: nodes.Element) -> list[nodes.Node]:
    """Return the name of a theorem, which may hold mathematics."""
    children = [child.deepcopy() for child in theorem[0].children]
    if children and isinstance(children[0], nodes.Text):
        children[0] = nodes.Text(children[0].lstrip())
    return children


def tie(app: Sphinx, doctree: nodes.document) -> None:
    """Find theorems and check cells of one page, link them both ways, warn about each that stands alone."""
    docname = app.env.docname
    found = {
        node["label"]: node
        for node in doctree.findall(lambda n: isinstance(n, nodes.Element) and n.get("realtype") in ALLOWED)
    }
    checks: dict[str, list[str]] = {}
    for cell in list(doctree.findall(is_code_cell)):
        for tag in cell["cell_metadata"].get("tags", []):
            if not tag.startswith(TAG):
                continue
            label = tag.removeprefix(TAG)
            if label not in found:
                logger.warning(f"check cell: no theorem labelled {label!r} in this chapter", location=cell)
                continue
            ids = checks.setdefault(label, [])
            ids.append(f"check-{label}" if not ids else f"check-{label}-{len(ids) + 1}")
            cell.parent.insert(cell.parent.index(cell), heading(label, ids[-1], docname))

    for label, theorem in found.items():
        if theorem["realtype"] in OWED and not label.startswith("thm-"):
            logger.warning(
                f"{theorem['realtype']} {label!r}: give it a label that starts with 'thm-'", location=theorem
            )
        if theorem["realtype"] in OWED and chapter_number(docname) and label not in checks:
            logger.warning(
                f"{theorem['realtype']} {label!r} has no check cell: tag one in this chapter with '{TAG}{label}'",
                location=theorem,
            )
        notes(app.env, "theorems").setdefault(docname, {})[label] = {
            "docname": docname,
            "kind": theorem["realtype"],
            "counter": theorem["countertype"],
            "title": title_nodes(theorem),
            "checks": checks.get(label, []),
        }
        if label in checks:
            link = nodes.reference("", "checked", refid=checks[label][0], internal=True, classes=["check-link"])
            theorem[0] += link


def heading(label: str, ident: str, docname: str) -> nodes.Element:
    """Return the line above a check cell, 'Check of Theorem 8.1', linked to the theorem."""
    xref = addnodes.pending_xref(
        "", nodes.inline("", label), refdomain="prf", reftype="ref", reftarget=label, refexplicit=False, refdoc=docname
    )
    return nodes.paragraph("", "", nodes.Text("Check of "), xref, ids=[ident], classes=["check-heading"])


def fill(app: Sphinx, here: str) -> list[nodes.Node]:
    """Return, per chapter, a heading and one line per theorem: number and name, and the link to its check."""
    app.env.get_domain("math").data["has_equations"][here] = True  # names of theorems hold formulas
    env, builder, found = app.env, app.builder, theorems(app.env)
    by_chapter: dict[str, list[tuple[tuple[int, ...], str]]] = {}
    for label, theorem in found.items():
        number = env.toc_fignumbers.get(theorem["docname"], {}).get(theorem["counter"], {}).get(label)
        if number is not None:
            by_chapter.setdefault(theorem["docname"], []).append((tuple(number), label))
    result: list[nodes.Node] = []
    for docname in sorted(by_chapter):
        result.append(nodes.rubric("", "", link_to_page(app, here, docname)))
        items = nodes.bullet_list(classes=["theorem-list"])
        for counted, label in sorted(by_chapter[docname]):
            theorem = found[label]
            text = f"{theorem['kind'].title()} {'.'.join(map(str, counted))}"
            line = nodes.paragraph("", "", make_refnode(builder, here, docname, label, nodes.strong("", text)))
            if theorem["title"]:
                line += [nodes.Text(" "), *[child.deepcopy() for child in theorem["title"]]]
            for i, ident in enumerate(theorem["checks"]):
                word = "check" if len(theorem["checks"]) == 1 else f"check {i + 1}"
                target = nodes.inline("", word)
                line += [nodes.Text(" "), make_refnode(builder, here, docname, ident, target)]
                line[-1]["classes"].append("check-link")
            items += nodes.list_item("", line, quote(docname, label))
        result.append(items)
    return result


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", tie)
    add_notes(app, "theorems")
    add_late_directive(app, "theorem-list", fill)
    return {"version": "2", "env_version": 2, "parallel_read_safe": True, "parallel_write_safe": True}
