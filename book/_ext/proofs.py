"""Mends the ids that sphinx-proof and sphinx-exercise repeat on a page, and names proofs for the style sheet."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

REPEATED = {"proof", "proof-content", "exercise-content", "solution-content"}


def mend_ids(app: Sphinx, doctree: nodes.document) -> None:
    """Drop every id that stands on each proof, theorem, exercise or solution alike; nothing links to them."""
    for node in doctree.findall(nodes.Element):
        repeated = REPEATED.intersection(node.get("ids", []))
        if repeated:
            node["ids"] = [ident for ident in node["ids"] if ident not in repeated]
        if "proof" in repeated:
            node["classes"].append("the-proof")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("doctree-read", mend_ids)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
