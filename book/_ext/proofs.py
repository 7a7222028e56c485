"""Mends the ids that sphinx-proof and sphinx-exercise repeat on a page, and names proofs for the style sheet."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx_exercise.nodes import is_exercise_node

REPEATED = {"proof", "proof-content", "exercise-content", "solution-content"}
WORD = "Proof."


def mend_ids(app: Sphinx, doctree: nodes.document) -> None:
    """Replace every id that stands on each proof, theorem, exercise or solution alike by one of its own."""
    for i, node in enumerate(doctree.findall(lambda n: isinstance(n, nodes.Element) and bool(n.get("ids")))):
        repeated = REPEATED.intersection(node["ids"])
        node["ids"] = [f"{ident}-{i}" if ident in repeated else ident for ident in node["ids"]]
        if "proof" in repeated:
            node["classes"].append("the-proof")
            name_proof(node)


def name_proof(node: nodes.Element) -> None:
    """Set the word 'Proof.', which sphinx-proof writes into the first sentence, apart from it."""
    paragraph = node[0]
    first = paragraph[0] if isinstance(paragraph, nodes.paragraph) and len(paragraph) else None
    if isinstance(first, nodes.Text) and first.startswith(WORD):
        rest = first[len(WORD) :].lstrip()
        paragraph[0:1] = [nodes.emphasis("", WORD, classes=["proof-name"]), nodes.Text(" " + rest)]


class NameExercises(SphinxPostTransform):
    """Write 'Exercise 8.1 Name' as 'Theorem 8.1 Name' is written, without sphinx-exercise's parentheses."""

    default_priority = 25  # sphinx-exercise puts the title together at 20

    def run(self, **kwargs: Any) -> None:
        for node in self.document.findall(is_exercise_node):
            title = node[0]
            if len(title) > 2 and title[0] == " (" and title[-1] == ")":
                title[0] = nodes.Text(" ")
                title.remove(title[-1])


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_post_transform(NameExercises)
    app.connect("doctree-read", mend_ids)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
