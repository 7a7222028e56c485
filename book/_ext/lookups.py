"""Two small tables that scripts of the page read: where each numbered thing stands, and what each symbol means.

`_static/numbers.json` maps "theorem 1.13" to its address and title, for the search; `_static/symbols.json` holds the
rows of the page of notation, for the pop-ups over formulas. Both are read off the pages as they were written.
"""

from __future__ import annotations

import json
import re
from html import escape, unescape
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, SoupStrainer
from sphinx.application import Sphinx

from book._ext.formulas import Setter

NUMBERED = re.compile(
    r'<(?:div|figure|table)[^>]* id="([^"]+)"[^>]*>(?:(?!<div|<figure|<table).)*?'
    r'<span class="caption-number">(\w+) ([\d.]+) </span>(.*?)</(?:p|figcaption|caption)>',
    re.DOTALL,
)
EQUATION = re.compile(r'<div class="math[^>]* id="([^"]+)">\s*<span class="eqno">\(([\d.]+)\)')
TAG = re.compile(r"<[^>]+>")
FORMULA = re.compile(r"\\\((.*?)\\\)", re.DOTALL)
NOTATION = "book/notation"


def plain(html: str) -> str:
    """Return the text of a piece of a page, a formula as it is written."""
    text = unescape(TAG.sub("", re.sub(r'<a class="(?:headerlink|check-link)[^>]*>.*?</a>', "", html, flags=re.DOTALL)))
    return " ".join(text.replace("\\(", "").replace("\\)", "").split())


def numbers(page: str, html: str) -> dict[str, tuple[str, str]]:
    """Return the numbered things of a page: address and title by kind and number."""
    found = {}
    for ident, kind, number, title in NUMBERED.findall(html):
        name = f"{kind} {number}"
        words = plain(title)
        found[name.lower()] = (f"{page}#{ident}", f"{name}: {words[:90]}" if words else name)
    for ident, number in EQUATION.findall(html):
        found[f"equation {number}"] = (f"{page}#{ident}", f"Equation ({number})")
    return found


def symbols(html: str, setter: Setter) -> list[dict[str, Any]]:
    """Return the rows of the tables of notation: the symbols of each, as TeX and as HTML, and what they mean."""
    soup = BeautifulSoup(html, "html.parser", parse_only=SoupStrainer("table"))
    rows = []
    for row in soup.select("tbody tr"):
        cells = row.find_all("td")
        found = [unescape(tex).strip() for tex in FORMULA.findall(cells[0].get_text())]
        if found and len(cells) > 1:
            text = escape(" ".join(cells[1].get_text().split()))
            meaning = FORMULA.sub(lambda m: setter.formula(unescape(m[1])), text)
            rows.append({"symbols": found, "set": [setter.formula(tex) for tex in found], "meaning": meaning})
    # The longest first: q(z | x) says more of a formula than z does.
    return sorted(rows, key=lambda row: -max(map(len, row["symbols"])))


def write_lookups(app: Sphinx, exception: Exception | None) -> None:
    """Write both tables."""
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    everything: dict[str, tuple[str, str]] = {}
    for name in sorted(app.env.found_docs):
        everything |= numbers(f"{name}.html", (out / f"{name}.html").read_text("utf-8"))
    (out / "_static" / "numbers.json").write_text(json.dumps(everything, ensure_ascii=False), "utf-8")
    notation = out / f"{NOTATION}.html"
    if notation.exists():
        with Setter() as setter:
            rows = symbols(notation.read_text("utf-8"), setter)
        (out / "_static" / "symbols.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", write_lookups, priority=540)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
