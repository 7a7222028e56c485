"""Turns what Otter Assign makes into notebooks that open anywhere: their public tests travel inside them."""

from __future__ import annotations

from typing import Any

# What the notebook needs and Colab does not have, by the module that shows whether it is there. All of it is installed
# without dependencies: Colab has those, and its own torch and numpy stay as they are.
LACKING = {
    "torchdiffeq": "torchdiffeq>=0.2.3",
    "constriction": "constriction>=0.4.1",
    "otter": "otter-grader>=7,<8",
    "fica": "fica>=0.4.1,<1",
    "ipylab": "ipylab>=1,<2",
    "frontmatter": "python-frontmatter>=1.3,<2",
}

BEFORE = """**Before you start:** run the next cell. It brings the checks of the questions, and in Colab it
installs what is missing there. It takes a few seconds.

- **To save your work in Colab:** *File → Save a copy in Drive*. Colab forgets a notebook that is
  not saved, and every variable.
- **To come back to it:** open the copy from *Colab Notebooks* in your Drive, then
  *Runtime → Run all*."""

SET_UP = """# @title Set up: run this cell first
import importlib
import os
import subprocess
import sys
from glob import glob
from importlib.util import find_spec
from pathlib import Path

wheel = {wheel!r}
address = os.environ.get("LVMLIB_WHEEL", {address!r})  # of the wheel; empty: upload it
lacking = {lacking}
tests = {tests}

in_colab = "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ
missing = [package for module, package in lacking.items() if find_spec(module) is None]
if find_spec("lvmlib") is None:  # a wheel beside this notebook comes first
    missing += glob("lvmlib-*.whl")[:1] or [address or wheel]
if in_colab and wheel in missing and not Path(wheel).exists():
    raise RuntimeError(
        f"Upload {{wheel}}, which your instructor gives you (folder icon on the left, "
        "then the arrow that points up), and run this cell again."
    )
if in_colab and missing:  # --no-deps: Colab's own torch and numpy stay as they are
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *missing]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            "This could not be installed. Run this cell once more; if that does not help, "
            "show your instructor what pip said:\\n" + (done.stdout + done.stderr)[-1500:]
        )
    importlib.invalidate_caches()
elif missing:
    print("Install in the environment of this notebook: pip install", *map(repr, missing))

folder = Path("tests", {name!r})
folder.mkdir(parents=True, exist_ok=True)
for question, lines in tests.items():
    file, text = folder / (question + ".py"), "\\n".join(lines)
    if not file.exists() or file.read_text("utf-8") != text:
        file.write_text(text, "utf-8")

if find_spec("otter"):
    import otter

    grader = otter.Notebook(tests_dir=str(folder))"""

HAND_IN = """## Hand in

1. In Colab: *Runtime → Restart session and run all*. In Jupyter: *Kernel → Restart Kernel and Run
   All Cells*. What you hand in must run from top to bottom; a check that passed before and fails
   now relied on something that is no longer in the notebook.
2. Save. In Colab: *File → Download → Download .ipynb*. In Jupyter: *File → Download*.
3. Hand in that one file. The checks above are a part of what is graded; the rest uses other inputs."""


def student_notebook(notebook: Any, name: str, tests: dict[str, str], wheel: str, address: str = "") -> Any:
    """Return a notebook as students get it: Otter's, with a set-up cell that holds the tests, and nothing in metadata.

    Args:
        notebook: as Otter Assign wrote it; its first cell is the title.
        name: of the homework, such as 09_iwae. Its tests get a folder of that name, so that two homeworks in one folder
            do not read each other's.
        tests: by question, the text of the file that Otter wrote.
        wheel: the file name of the library's wheel.
        address: from where Colab takes the wheel; if empty, students upload it.
    """
    import nbformat

    new = nbformat.v4
    source = SET_UP.format(address=address, lacking=in_lines(LACKING), tests=in_lines(tests), wheel=wheel, name=name)
    hidden = {"cellView": "form", "jupyter": {"source_hidden": True}}  # in Colab, in Jupyter
    title, *others = [bare(cell) for cell in notebook.cells]
    before = [title, new.new_markdown_cell(BEFORE), new.new_code_cell(source, metadata=hidden)]
    cells = [*before, *others, new.new_markdown_cell(HAND_IN)]
    for n, cell in enumerate(cells):
        cell.id = f"cell-{n:03}"  # the same bytes each time
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made = new.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    nbformat.validate(made)
    return made


def bare(cell: Any) -> Any:
    """Return a cell with its text alone: grading must not need metadata, because some hosts drop them."""
    from nbformat.v4 import new_code_cell, new_markdown_cell

    return (new_code_cell if cell.cell_type == "code" else new_markdown_cell)("".join(cell.source))


def in_lines(texts: dict[str, str]) -> str:
    """Return Python source of a dictionary; a text of several lines becomes a list of them, to be read by people.

    >>> from lvmlib.homework.student import in_lines
    >>> print(in_lines({"q1": "a = 1\\nb = 2"}))
    {
        'q1': [
            'a = 1',
            'b = 2',
        ],
    }
    """
    rows = []
    for name, text in texts.items():
        lines = [f"        {line!r},\n" for line in text.split("\n")]
        rows.append(f"    {name!r}: [\n{''.join(lines)}    ],\n" if len(lines) > 1 else f"    {name!r}: {text!r},\n")
    return f"{{\n{''.join(rows)}}}"
