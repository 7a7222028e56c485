"""Puts a Colab edition together: banner, install cell, and the chapter's cells with what Colab understands of them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from book._ext.checks import TAG
from book._ext.colab.lowering import Lowering, anchor

HIDDEN = {"hide-input", "hide-cell"}
SWITCH = "SCALE = "  # a cell that holds the chapter's switch stays visible

BANNER = """This is {chapter} as a notebook for Colab. Run the next cell before all others; it takes a few seconds.

- **To save your work:** *File → Save a copy in Drive*. Colab forgets a notebook that is not saved, and every variable.
- **To come back to it:** open the copy from *Colab Notebooks* in your Drive, then *Runtime → Run all*."""

INSTALL = """# @title Install the library (does nothing outside Colab)
import importlib.util
import os
import subprocess
import sys
from glob import glob

site = os.environ.get("LVMLIB_SITE", {site!r})
wheel = {wheel!r}
others = {others!r}  # Colab has all else
in_colab = "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ

if in_colab and importlib.util.find_spec("lvmlib") is None:
    # A wheel that you have uploaded comes before the site's. --no-deps: Colab's own torch and numpy stay as they are.
    source = (glob("lvmlib-*.whl") or [site + "wheels/" + wheel])[0]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", source, *others]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"The library could not be installed. Run this cell once more; if that does not help, get {{wheel}} from "
            f"{{site or 'whoever gave you this notebook'}}, upload it (folder icon on the left), and run this cell "
            f"again. What pip said:\\n{{(done.stdout + done.stderr)[-1500:]}}"
        )
elif importlib.util.find_spec("lvmlib") is None:
    print(f"lvmlib is not here: pip install {{wheel}}, which lies beside this book's pages in wheels/.")
"""


def install_cell(site: str, wheel: str, others: list[str]) -> dict[str, Any]:
    """Return the cell that installs the library in Colab.

    Args:
        site: the address from which the wheel comes; empty while the site is not published.
        wheel: the file's name.
        others: what the library needs and Colab lacks, as pip takes it.
    """
    source = INSTALL.format(site=site, wheel=wheel, others=others)
    return code_cell(source.rstrip("\n"), {"cellView": "form"})


def code_cell(source: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Return a code cell that has not been run."""
    return {"cell_type": "code", "execution_count": None, "metadata": metadata, "outputs": [], "source": source}


def text_cell(source: str) -> dict[str, Any]:
    """Return a text cell."""
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def plain_output(output: dict[str, Any]) -> dict[str, Any]:
    """Return a stored output without what only the check of outputs reads."""
    if "metadata" not in output:
        return output
    kept = {key: value for key, value in output["metadata"].items() if key.startswith("image/")}
    return {**output, "metadata": kept}


def lower_cells(cells: list[dict[str, Any]], lowering: Lowering, say: Any) -> list[dict[str, Any]]:
    """Lower a chapter's cells; a figure is followed by its caption, and a check preceded by what it checks.

    Args:
        cells: of the notebook as stored.
        lowering: of the chapter.
        say: takes the number of a cell, a line in it, and what is wrong there.
    """
    lowered = []
    for n, cell in enumerate(cells):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lowered.append(text_cell(lowering.cell(source)))
        elif cell["cell_type"] == "code":
            tags = cell["metadata"].get("tags", [])
            lowered += [text_cell(heading(tag.removeprefix(TAG), lowering)) for tag in tags if tag.startswith(TAG)]
            hide = HIDDEN & set(tags) and SWITCH not in source
            kept = code_cell(source, {"cellView": "form"} if hide else {})
            kept["execution_count"] = cell["execution_count"]
            kept["outputs"] = [plain_output(output) for output in cell["outputs"]]
            lowered.append(kept)
            if figure := cell["metadata"].get("mystnb", {}).get("figure"):
                lowered.append(text_cell(caption(figure, lowering)))
        else:
            say(n, 1, f"a cell of the kind {cell['cell_type']}")
        for line, problem in lowering.problems:
            say(n, line, problem)
        lowering.problems.clear()
    return lowered


def heading(label: str, lowering: Lowering) -> str:
    """Return the line above the cell that checks a theorem."""
    return f"*Check of {lowering.say('prf:ref', label, 1)}:*"


def caption(figure: dict[str, str], lowering: Lowering) -> str:
    """Return the caption of a figure, with its number."""
    number = lowering.numbered("numref", figure.get("name"), 1)
    return f"{anchor(figure.get('name'))}**{number}.** " + lowering.cell(figure.get("caption", ""))


def notebook(cells: list[dict[str, Any]], name: str) -> str:
    """Return a notebook in the format of Jupyter, as text."""
    for n, cell in enumerate(cells):
        cell["id"] = hashlib.sha256(f"{n}\0{cell['source']}".encode()).hexdigest()[:8]
        cell["source"] = cell["source"].splitlines(keepends=True)
    metadata = {
        "colab": {"name": name, "provenance": [], "toc_visible": True},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    book = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"
