"""The Colab edition of each chapter, beside its page: plain Markdown, numbers and citations resolved, ready to run.

What has no plain form is a warning with page, cell and line, and fails the strict build. All editions also lie in one
archive. `book/_tools/colab.py` runs them in Colab's set of packages.
"""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

from book._ext.colab.edition import BANNER, install_cell, lower_cells, notebook, text_cell
from book._ext.colab.lowering import Lowering
from book._ext.colab.references import References, pages_kept
from book._ext.numbering import chapter_number
from book._ext.repository import read_repository
from book._tools.image import ZIP, lacking, wheel_name

logger = logging.getLogger(__name__)

KINDS = {".png": "image/png", ".svg": "image/svg+xml", ".jpg": "image/jpeg"}


def embed(folder: Path, path: str) -> str:
    """Return a picture as an address that holds its bytes."""
    if path.startswith("data:"):
        return path
    file = folder / path
    if file.suffix not in KINDS:
        raise LookupError(f"only {', '.join(KINDS)} can be")
    return f"data:{KINDS[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"


def sections(app: Sphinx, docname: str) -> Iterator[str]:
    """Yield the number of each heading of a page, in order, as the page shows it."""
    for number in app.env.toc_secnumbers.get(docname, {}).values():
        yield f"{'.'.join(map(str, number))}. " if number else ""


def make_edition(app: Sphinx, docname: str) -> str:
    """Return the Colab edition of a chapter."""
    repository = read_repository(Path(app.srcdir) / "pyproject.toml")
    site = repository["site"] if "site" in repository["published"] else ""
    source = Path(app.env.doc2path(docname))
    references = References(app, docname, site)
    lowering = Lowering(references, partial(embed, source.parent), sections(app, docname))

    def say(cell: int, line: int, problem: str) -> None:
        logger.warning(f"cell {cell}, line {line}: {problem}: Colab cannot show it", location=docname, type="colab")

    cells = lower_cells(json.loads(source.read_text("utf-8"))["cells"], lowering, say)
    name = f"chapter {chapter_number(docname)} of *{app.config.project}*"
    banner = BANNER.format(chapter=f"[{name}]({site}{app.builder.get_target_uri(docname)})" if site else name)
    first = [text_cell(banner), install_cell(site, wheel_name(repository["version"]), lacking())]
    last = [text_cell(references.bibliography())] if references.cited else []
    return notebook([*first, *cells, *last], source.name)


def write_editions(app: Sphinx, exception: Exception | None) -> None:
    """Write each chapter's edition beside its page, and all of them into one archive."""
    if exception is not None or app.builder.name != "html":
        return
    chapters = sorted(name for name in app.env.found_docs if chapter_number(name))
    file = Path(app.outdir) / ZIP
    with pages_kept(app.env), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for docname in chapters:
            edition = make_edition(app, docname)
            (Path(app.outdir) / f"{docname}.ipynb").write_text(edition, "utf-8")
            member = zipfile.ZipInfo(f"{docname.rsplit('/', 1)[-1]}.ipynb")  # undated: the same bytes each time
            archive.writestr(member, edition, zipfile.ZIP_DEFLATED)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", write_editions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
