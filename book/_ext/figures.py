"""Figures of notebook cells: caption and alt text are owed, and a figure may be a slot for a live one.

A cell whose stored output holds a picture says in its metadata what the picture shows::

    # %% mystnb={"figure": {"name": "fig-elbo", "caption": "The bound against the step."}, "image": {"alt": "A curve"}}

A figure cell tagged `live:ID` is shown inside `<div class="live" id="live-ID" data-live="ID">`: a page script may put
something that moves in its place; print, and a reader without scripts, keep the stored picture.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


class live_slot(nodes.General, nodes.Element):
    """Holds the static picture of a live figure."""


def visit_live_slot(self: HTML5Translator, node: live_slot) -> None:
    self.body.append(self.starttag(node, "div", CLASS="live", **{"data-live": node["slot"]}))


def depart_live_slot(self: HTML5Translator, node: live_slot) -> None:
    self.body.append("</div>\n")


def is_code_cell(node: nodes.Node) -> bool:
    """Tell whether a node is a notebook's code cell as MyST-NB lays it out."""
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def picture_bundles(cell: nodes.Element) -> list[nodes.Element]:
    """Return the outputs of a cell that hold a picture."""
    bundles = cell.findall(lambda n: isinstance(n, nodes.container) and n.get("nb_element") == "mime_bundle")
    return [b for b in bundles if any(c.get("mime_type", "").startswith("image/") for c in b.children)]


def check_figures(app: Sphinx, doctree: nodes.document) -> None:
    """Warn (and so fail the strict build) where a picture has no caption, no name or no alt text."""
    for cell in doctree.findall(is_code_cell):
        bundles = picture_bundles(cell)
        metadata = cell["cell_metadata"]
        slots = [tag.removeprefix("live:") for tag in metadata.get("tags", []) if tag.startswith("live:")]
        where = f"code cell {cell['cell_index']}"
        if slots and len(bundles) != 1:
            logger.warning(
                f"{where}: tag live:{slots[0]} needs exactly one picture, found {len(bundles)}", location=cell
            )
        if not bundles:
            continue
        options = metadata.get("mystnb", {})
        figure, image = options.get("figure", {}), options.get("image", {})
        if len(bundles) > 1:
            logger.warning(f"{where}: {len(bundles)} pictures share one caption; draw one per cell", location=cell)
        for value, key in [
            (figure.get("caption"), '"figure": {"caption": ...}'),
            (figure.get("name"), '"figure": {"name": ...}'),
            (image.get("alt"), '"image": {"alt": ...}'),
        ]:
            if not str(value or "").strip():
                logger.warning(f"{where}: its picture lacks mystnb={{{key}}} in the cell's metadata", location=cell)
        for slot, bundle in zip(slots, bundles):
            bundle.replace_self(live_slot("", bundle.deepcopy(), slot=slot, ids=[f"live-{slot}"]))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(live_slot, html=(visit_live_slot, depart_live_slot))
    app.connect("doctree-read", check_figures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
