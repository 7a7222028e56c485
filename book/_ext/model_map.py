"""`{model-map}` draws the book's models and how they hang together; what is written already can be clicked.

The drawing is SVG in the page's own colours, so it follows light and dark, and narrow enough to be read on a phone.
"""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from book._ext.late import add_late_directive
from book._ext.numbering import chapter_number
from book._ext.plan import CHAPTERS, PARTS

WIDTH, HEIGHT = 420, 560
BOX = 46  # height of a box

# chapter: x, y, width
BOXES = {
    1: (4, 8, 200),
    2: (216, 8, 200),
    3: (14, 142, 180),
    4: (32, 204, 162),
    5: (14, 288, 180),
    6: (32, 350, 162),
    7: (222, 142, 188),
    8: (222, 204, 188),
    9: (248, 266, 158),
    10: (248, 328, 158),
    11: (248, 390, 158),
    12: (70, 506, 280),
}
# Arrows as SVG paths; each ends at the box that builds on the box where it starts.
ARROWS = (
    "M204 31h10",  # 1 -> 2
    "M296 54v20q0 8-8 8H112q-8 0-8 8v4",  # 2 -> everything observed
    "M316 54v40",  # 2 -> latent variables
    "M22 188v31q0 8 8 8",  # 3 -> 4
    "M22 334v31q0 8 8 8",  # 5 -> 6
    "M316 188v14",  # 7 -> 8
    "M236 250v31q0 8 8 8h2",  # 8 -> 9
    "M236 281v62q0 8 8 8h2",  # 8 -> 10
    "M236 343v62q0 8 8 8h2",  # 8 -> 11
    "M104 460v20q0 8 8 8h50q8 0 8 8v8",  # everything observed -> 12
    "M316 460v20q0 8-8 8h-50q-8 0-8 8v8",  # latent variables -> 12
)
PANELS = (
    (4, 96, 200, PARTS[2], "log p(x) exactly"),
    (216, 96, 200, PARTS[3], "log p(x) from below"),
)
PANEL_HEIGHT = 364


def text(x: float, y: float, words: str, kind: str) -> str:
    """Return one line of text."""
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(words)}</text>'


def box(chapter: int, address: str | None) -> str:
    """Return the box of a chapter: a link where the chapter exists, dashed where it is planned."""
    x, y, width = BOXES[chapter]
    name, about = CHAPTERS[chapter].name, CHAPTERS[chapter].about
    inside = f'<rect x="{x}" y="{y}" width="{width}" height="{BOX}" rx="6"/>'
    inside += text(x + 9, y + 20, f"{chapter} {name}", "name") + text(x + 9, y + 37, about, "about")
    if address is None:
        return f'<g class="planned">{inside}</g>'
    label = f"Chapter {chapter}: {escape(name)}"
    return f'<a class="ready" href="{escape(address)}" aria-label="{label}">{inside}</a>'


def draw(addresses: dict[int, str]) -> str:
    """Return the map as SVG.

    Args:
        addresses: where to find each chapter that exists, by its number.
    """
    parts = [
        f'<svg class="model-map" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-labelledby="model-map-title">',
        '<title id="model-map-title">Map of the twelve chapters and how they build on one another</title>',
        '<defs><marker id="model-map-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0.500L7.500 4L0 7.500z"/></marker></defs>',
    ]
    for x, y, width, name, about in PANELS:
        parts.append(f'<rect class="panel" x="{x}" y="{y}" width="{width}" height="{PANEL_HEIGHT}" rx="9"/>')
        parts.append(text(x + 12, y + 20, name, "heading") + text(x + 12, y + 36, about, "about"))
    parts += [f'<path class="arrow" marker-end="url(#model-map-tip)" d="{path}"/>' for path in ARROWS]
    parts.append('<path class="kinship" d="M194 373h10q8 0 8-8V235q0-8 8-8h2"/>')
    parts.append(text(16, 424, "dotted: a flow is a VAE whose", "about"))
    parts.append(text(16, 440, "two halves are deterministic", "about"))
    parts += [box(chapter, addresses.get(chapter)) for chapter in BOXES]
    parts.append("</svg>")
    return "\n".join(parts)


def fill(app: Sphinx, docname: str) -> list[nodes.Node]:
    """Return the drawing for one page."""
    addresses = {
        number: app.builder.get_relative_uri(docname, page)
        for page in app.env.found_docs
        if (number := chapter_number(page)) is not None
    }
    return [nodes.raw("", draw(addresses), format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    add_late_directive(app, "model-map", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
