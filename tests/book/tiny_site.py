"""A site of one chapter, built in a folder of its own."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

sphinx_application = pytest.importorskip("sphinx.application", reason="the book's tools are not installed")

from sphinx.util.docutils import docutils_namespace  # noqa: E402

# One transparent pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


def text(*lines: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": "\n".join(lines)}


def code(source: str = "1", picture: bool = False, **metadata: Any) -> dict[str, Any]:
    data: dict[str, str] = {"image/png": PNG, "text/plain": "<Figure>"} if picture else {"text/plain": "1"}
    output = {"output_type": "display_data", "metadata": {}, "data": data}
    return {
        "cell_type": "code",
        "execution_count": 1,
        "metadata": metadata,
        "source": source,
        "outputs": [output],
    }


class Site:
    """A built project: its warnings, and its pages as text."""

    def __init__(self, folder: Path, warnings: str):
        self.folder, self.warnings = folder, re.sub(r"\x1b\[[0-9;]*m", "", warnings)

    def page(self, name: str = "notebooks/08_vae") -> str:
        return (self.folder / "out" / f"{name}.html").read_text("utf-8")


def build(
    folder: Path, *cells: dict[str, Any], pages: dict[str, str] | None = None, more: tuple[str, ...] = (), **config: Any
) -> Site:
    """Build a book of one chapter, `notebooks/08_vae.ipynb`, and of further Markdown pages.

    Args:
        folder: where it is built.
        cells: of the chapter, below its title.
        pages: name and text of each further page.
        more: extensions besides the usual ones.
        config: settings of Sphinx besides the usual ones.
    """
    source = folder / "source"
    (source / "notebooks").mkdir(parents=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [text("# A chapter"), *cells], "metadata": {"kernelspec": kernel}, "nbformat": 4}
    (source / "notebooks" / "08_vae.ipynb").write_text(json.dumps({**notebook, "nbformat_minor": 4}))
    names = ["notebooks/08_vae", *(pages or {})]
    contents = ["# Top", "", "```{toctree}", ":numbered:", *names, "```"]
    (source / "index.md").write_text("\n".join(contents))
    for name, content in (pages or {}).items():
        (source / f"{name}.md").write_text(content)
    ours = [
        "numbering",
        "figures",
        "checks",
        "pitfalls",
        "directives",
        "proofs",
        "runtimes",
        "model_map",
        "syllabus",
        "typography",
    ]
    settings = {
        "extensions": ["myst_nb", "sphinx_proof", "sphinx_exercise", *(f"book._ext.{name}" for name in ours), *more],
        "html_theme": "basic",
        "nb_execution_mode": "off",
        "myst_enable_extensions": ["amsmath", "colon_fence", "dollarmath"],
        "numfig": True,
        "suppress_warnings": ["myst.domains"],
        "proof_title_format": " %t",
        "nitpicky": True,
        **config,
    }
    warnings = io.StringIO()
    with docutils_namespace():
        app = sphinx_application.Sphinx(
            srcdir=source,
            confdir=None,
            outdir=folder / "out",
            doctreedir=folder / "doctrees",
            buildername="html",
            confoverrides=settings,
            status=None,
            warning=warnings,
        )
        app.build()
    return Site(folder, warnings.getvalue())


def duplicate_ids(page: str) -> list[str]:
    return [ident for ident, times in Counter(re.findall(r'\bid="([^"]+)"', page)).items() if times > 1]
