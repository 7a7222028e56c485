"""Each chapter's notebook lies beside its page, and the download button fetches it.

Sphinx would copy every source under `_sources/`, homework and hidden tests included, so that is off
(`html_copy_source`), and the theme's button is pointed here instead.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from book._ext.numbering import chapter_number


def point_download(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Offer the notebook of a chapter, and of every page only what exists: to print it."""
    chapter = chapter_number(pagename) is not None
    for group in context.get("header_buttons", []):
        if group.get("label") != "download-buttons":
            continue
        for button in group["buttons"]:
            if button["label"] == "download-source-button":
                button["url"] = pagename.rsplit("/", 1)[-1] + ".ipynb"
                button["tooltip"] = "Download this chapter as a notebook"
        if not chapter:
            group["buttons"] = [b for b in group["buttons"] if b["label"] != "download-source-button"]


def copy_notebooks(app: Sphinx, exception: Exception | None) -> None:
    """Put each chapter's notebook beside its page."""
    if exception is not None or app.builder.format != "html":
        return
    for docname in app.env.found_docs:
        if chapter_number(docname) is not None:
            source = Path(app.env.doc2path(docname))
            shutil.copyfile(source, Path(app.outdir) / (docname + source.suffix))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", point_download, priority=600)  # after 501, where the theme adds its buttons
    app.connect("build-finished", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
