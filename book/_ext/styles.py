"""Takes out of the theme's style sheet, four fifths of which style what this book does not have, all that no page uses.

A rule stays if every class that one of its selectors names occurs as a word in a page or a script; so what a script may
add to a page keeps its style.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

SHEET = "styles/pydata-sphinx-theme.css"
WORD = re.compile(r"[\w-]+")
CLASS = re.compile(r"\.(-?[_a-zA-Z](?:[\w-]|\\.)*)")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
UNUSED = {"fontawesome.js"}  # among the scripts: no page loads it
GROUPS = ("@media", "@supports", "@layer")


def blocks(sheet: str) -> Iterator[tuple[str, str | None]]:
    """Yield what stands before each block of a style sheet, and the block; none where a line ends without one."""
    start = depth = inside = 0
    for place in re.finditer(r"[{};]", sheet):
        sign, at = place[0], place.start()
        if sign == ";" and not depth:
            yield sheet[start : at + 1], None
            start = at + 1
        elif sign == "{":
            depth += 1
            inside = at + 1 if depth == 1 else inside
        elif sign == "}":
            depth -= 1
            if not depth:
                yield sheet[start : inside - 1], sheet[inside:at]
                start = at + 1


def selectors(text: str) -> list[str]:
    """Return the selectors that commas part, those within brackets kept whole."""
    return re.split(r",(?![^()\[\]]*[)\]])", text)


def used(sheet: str, words: set[str]) -> str:
    """Return a style sheet with the rules whose classes are among the words.

    >>> from book._ext.styles import used
    >>> used(".a,.b .c{color:red}.c{top:0}@media print{.c{top:1}.a{top:2}}p{top:3}", {"a"})
    '.a{color:red}@media print{.a{top:2}}p{top:3}'
    """
    kept = []
    for head, block in blocks(COMMENT.sub("", sheet)):
        if block is None:
            kept.append(head)
        elif head.strip().startswith(GROUPS):
            if inside := used(block, words):
                kept.append(f"{head}{{{inside}}}")
        elif head.strip().startswith("@"):
            kept.append(f"{head}{{{block}}}")
        elif names := [s for s in selectors(head) if {c.replace("\\", "") for c in CLASS.findall(s)} <= words]:
            kept.append(f"{','.join(names)}{{{block}}}")
    return "".join(kept)


def words_of(files: Iterable[Path]) -> set[str]:
    """Return all words of some files."""
    return {word for file in files for word in WORD.findall(file.read_text("utf-8", "replace"))}


def pages_of(out: Path) -> list[Path]:
    """Return the pages of a site."""
    return [*out.glob("*.html"), *out.glob("book/**/*.html"), *out.glob("notebooks/*.html")]


def trim(app: Sphinx, exception: Exception | None) -> None:
    """Trim the theme's style sheet; an incremental build finds it as the theme has it, since Sphinx copies it anew."""
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    sheet = out / "_static" / SHEET
    if sheet.is_file():
        scripts = [file for file in (out / "_static").rglob("*.js") if file.name not in UNUSED]
        words = words_of([*pages_of(out), *scripts])
        sheet.write_text(used(sheet.read_text("utf-8"), words), "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", trim, priority=700)  # when every page is as it will be
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
