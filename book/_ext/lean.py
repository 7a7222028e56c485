"""Takes out of every page what it does not need, and tells the browser in advance what it does.

The theme's icons come as half a megabyte of script (`book/_static/icons.css` has the dozen that are used), the index of
the search stands on pages that do not search, and pictures come without their size, so that the text jumps when they
arrive. The pages are edited when all of them are written; an edited page stays as it is.
"""

from __future__ import annotations

import re
import struct
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from sphinx.application import Sphinx

from book._ext.formulas import FOLDER, Setter
from book._ext.repository import read_repository
from book._ext.stops import pass_by

ICONS = re.compile(r'\s*<script[^>]*src="[^"]*scripts/fontawesome\.js[^"]*"></script>')
SEARCH = re.compile(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>')
THEME = re.compile(r'document\.documentElement\.dataset\.mode = localStorage.*?\|\| "";\s*\n.*?\|\| "";', re.DOTALL)
CHOOSE = """const data = document.documentElement.dataset;
    data.mode = localStorage.getItem("mode") || "auto";
    const night = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    data.theme = data.mode === "auto" ? night : data.mode;
    document.documentElement.classList.add("scripts");"""
BODY = '<body data-default-mode="">'
PICTURE = re.compile(r'<img ((?:(?!loading=)[^>])*?)src="([^"]*_images/[^"]*\.png)"([^>]*)>')
PASSED_BY = re.compile(r'<a class="(headerlink|reference internal image-reference)" href=')  # by the Tab key
CARD = re.compile(r'(<meta property="og:image" content=")[^"]*(")')
CARD_TEXT = re.compile(r'(<meta property="og:image:alt" content=")[^"]*(")')
TOGGLE = '<summary><span class="toctree-toggle"'
NAMED_TOGGLE = '<summary aria-label="Show or hide the pages below"><span class="toctree-toggle"'
SMALL = 20_000  # bytes: a picture with less is no card
LETTERS = ("MathJax_Main-Regular.woff", "MathJax_Math-Italic.woff")  # of nearly every formula
FONTS = ("source-serif-4-latin-wght-normal.woff2", "source-sans-3-latin-wght-normal.woff2")


@cache
def size_of(picture: Path) -> tuple[int, int]:
    """Return width and height of a PNG, in pixels."""
    with picture.open("rb") as file:
        head = file.read(24)
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def lean(html: str, page: Path, out: Path, site: str, setter: Setter) -> str:
    """Return a page without ballast.

    Args:
        html: of the page.
        page: its file.
        out: the folder of the site.
        site: the address of the site.
        setter: sets the formulas.
    """
    if 'data-default-mode=""' not in html:  # done in an earlier build, or not one of the theme's pages
        return html
    html = THEME.sub(CHOOSE, ICONS.sub("", html)).replace(BODY, '<body data-default-mode="auto">')
    if page.name != "search.html":
        html = SEARCH.sub("", html)
    html = setter.page(html)
    place = urljoin(site, page.relative_to(out).as_posix())
    seen = 0

    def sized(found: re.Match[str]) -> str:
        nonlocal seen
        seen += 1
        before, source, after = found.groups()
        width, height = size_of((page.parent / source).resolve())
        later = ' loading="lazy"' if seen > 1 else ""
        return f'<img {before}src="{source}"{after} width="{width}" height="{height}" decoding="async"{later}>'

    card = next((p for p in PICTURE.finditer(html) if (page.parent / p[2]).stat().st_size > SMALL), None)
    if card is not None:
        text = re.search(r'alt="([^"]*)"', card.group())
        html = CARD.sub(rf"\g<1>{urljoin(place, card[2])}\g<2>", html)
        html = CARD_TEXT.sub(lambda m: m[1] + (text[1] if text else "") + m[2], html)
    html = PICTURE.sub(sized, html)
    html = html.replace(TOGGLE, NAMED_TOGGLE)
    html = PASSED_BY.sub(r'<a tabindex="-1" class="\1" href=', html)
    if page.parent.name == "notebooks":
        html = pass_by(html)
    up = "../" * len(page.relative_to(out).parts[:-1]) + "_static/"
    return html.replace("<!-- Loaded before other Sphinx assets -->", head(up, formulas='class="math"' in html), 1)


def head(static: str, *, formulas: bool) -> str:
    """Return the lines by which a page asks early for what its first screen needs."""
    files = [f"fonts/{name}" for name in FONTS] + [f"{FOLDER}/{name}" for name in LETTERS if formulas]
    lines = [f'<link rel="preload" as="font" crossorigin href="{static}{file}">' for file in files]
    lines += [f'<link rel="stylesheet" href="{static}{FOLDER}/formulas.css">'] if formulas else []
    return "".join(f"{line}\n" for line in lines)


def edit_pages(app: Sphinx, exception: Exception | None) -> None:
    """Edit every page of the site."""
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    site = read_repository(Path(app.srcdir) / "pyproject.toml")["site"]
    with Setter() as setter:
        for name in [*app.env.found_docs, "search", "genindex", "404"]:
            page = out / f"{name}.html"
            if page.exists():
                html = page.read_text("utf-8")
                edited = lean(html, page, out, site, setter)
                if edited != html:
                    page.write_text(edited, "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", edit_pages, priority=600)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
