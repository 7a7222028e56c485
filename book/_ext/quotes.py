"""Lets one page show a box of another: the page of theorems their statements, that of pitfalls what is right.

A page keeps a place, `quote("notebooks/08_vae", "thm-elbo")`; it is filled from the page that was written, so that
formulas, numbers and links read there as they do at home.
"""

from __future__ import annotations

import os
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
PLACE = re.compile(r'<div class="quote" data-page="([^"]+)" data-id="([^"]+)"></div>')


def quote(page: str, ident: str) -> nodes.raw:
    """Return the place that a box of another page will fill."""
    return nodes.raw("", f'<div class="quote" data-page="{page}" data-id="{escape(ident)}"></div>', format="html")


@cache
def boxes(file: Path) -> dict[str, Tag]:
    """Return the boxes of a page by their ids."""
    soup = BeautifulSoup(file.read_text("utf-8"), "html.parser")
    return {str(box["id"]): box for box in soup.select("div.admonition[id]")}


def moved(address: str, old: str, new: str) -> str:
    """Return a link of the page `old` as it must be written on the page `new`."""
    if re.match(r"[a-z]+:|//", address):
        return address
    path, _, anchor = address.partition("#")
    target = os.path.normpath(os.path.join(os.path.dirname(old), path)) if path else old
    return os.path.relpath(target, os.path.dirname(new)) + (f"#{anchor}" if anchor else "")


def said(box: Tag, old: str, new: str) -> str:
    """Return what a box of the page `old` says, its title left out, for the page `new`."""
    box = BeautifulSoup(str(box), "html.parser").div
    for extra in box.select("p.admonition-title, a.headerlink, span.target, button"):
        extra.decompose()
    for tag in box.find_all(True):
        tag.attrs.pop("id", None)
        for name in ("href", "src"):
            if name in tag.attrs:
                tag[name] = moved(tag[name], old, new)
    return box.decode_contents().strip()


def fill_quotes(app: Sphinx, exception: Exception | None) -> None:
    """Fill the places of all pages."""
    if exception is not None or app.builder.name != "html":
        return
    boxes.cache_clear()
    for here in sorted(app.env.found_docs):
        file = Path(app.outdir) / f"{here}.html"
        html = file.read_text("utf-8")

        def filled(place: re.Match[str], here: str = here) -> str:
            page, ident = place.groups()
            box = boxes(Path(app.outdir) / f"{page}.html").get(ident)
            if box is None:
                logger.warning(f"{here} quotes #{ident} of {page}, which is not there", location=here)
                return ""
            content = said(box, f"{page}.html", f"{here}.html")
            return f'<div class="quote" data-page="{page}">{content}</div>'

        if "data-id=" in html and (edited := PLACE.sub(filled, html)) != html:
            file.write_text(edited, "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", fill_quotes, priority=550)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
