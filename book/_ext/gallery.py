"""`{gallery}` shows figures of chapters on another page: small, with a line each, and leading to where they stand.

A line of its content is `notebooks/08_vae fig-manifold What the figure shows`. Pictures and their texts are taken from
the chapters when these are written, so that they are always the ones of today.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from book._ext.quotes import moved

logger = logging.getLogger(__name__)
PLACE = re.compile(r'<a class="shown" href="([^"#]+)#([^"]+)">')


class Gallery(SphinxDirective):
    """Keep a place for each figure."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        shown = ""
        for line in filter(str.strip, self.content):
            page, ident, words = line.split(maxsplit=2)
            link = self.env.app.builder.get_relative_uri(self.env.docname, page)
            shown += f'<a class="shown" href="{link}#{ident}"><span>{escape(words)}</span></a>\n'
        return [nodes.raw("", f'<div class="gallery">\n{shown}</div>', format="html")]


def picture(page: Path, ident: str, new: str, old: str) -> str:
    """Return a figure's picture as it must be written on the page `new`; nothing if there is none."""
    figure = BeautifulSoup(page.read_text("utf-8"), "html.parser").find(id=ident)
    image = figure.find("img") if figure else None
    if image is None:
        return ""
    return f'<img alt="{escape(image["alt"])}" src="{moved(image["src"], old, new)}">'


def fill_galleries(app: Sphinx, exception: Exception | None) -> None:
    """Put the pictures into their places."""
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    for here in sorted(app.env.found_docs):
        file = out / f"{here}.html"
        html = file.read_text("utf-8")

        def filled(place: re.Match[str], file: Path = file, here: str = here) -> str:
            page = (file.parent / place[1]).resolve()
            image = picture(page, place[2], f"{here}.html", page.relative_to(out.resolve()).as_posix())
            if not image:
                logger.warning(f"{here} shows #{place[2]} of {place[1]}, which is not there", location=here)
            return place[0] + image

        if 'class="shown"' in html and "<img" not in html.split('class="shown"', 1)[1].split("</a>")[0]:
            file.write_text(PLACE.sub(filled, html), "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("gallery", Gallery)
    app.connect("build-finished", fill_galleries, priority=550)  # before sizes are written into the pictures
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
