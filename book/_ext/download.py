"""Each chapter's Colab edition lies beside its page (see `colab/`); the download button and `{take-away}` lead to it.

Sphinx would copy every source under `_sources/`, homework and hidden tests included, so that is off
(`html_copy_source`), and the theme's button is pointed here instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from book._ext.late import add_late_directive
from book._ext.numbering import chapter_number
from book._ext.repository import read_repository
from book._tools.image import ZIP, wheel_name


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


def take_away(app: Sphinx, docname: str) -> list[nodes.Node]:
    """Return a paragraph that says how to run chapters elsewhere, with all that can be fetched for it."""
    repository = read_repository(Path(app.srcdir) / "pyproject.toml")
    up = "../" * docname.count("/")
    wheel = wheel_name(repository["version"])
    colab = "colab" in repository["published"]
    upload = "" if "site" in repository["published"] else ", from a copy of it that you upload beside the notebook"
    return [
        nodes.paragraph(
            "",
            "",
            nodes.strong("", "Run in the browser. "),
            nodes.Text("The rocket at the top of each chapter opens it in Colab. " if colab else ""),
            nodes.Text("The arrow at the top of each chapter downloads it as a notebook for Colab and Jupyter; "),
            nodes.reference("", "one archive", refuri=f"{up}{ZIP}", internal=True),
            nodes.Text(" holds all of them. In Colab its first cell installs the library ("),
            nodes.reference("", wheel, refuri=f"{up}wheels/{wheel}", internal=True),
            nodes.Text(
                f"){upload}; in Jupyter you install that file yourself. Every chapter runs on a CPU in a minute "
            ),
            nodes.Text("or two, and no cell asks for a GPU."),
        )
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", point_download, priority=600)  # after 501, where the theme adds its buttons
    add_late_directive(app, "take-away", take_away)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
