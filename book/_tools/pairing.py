"""Notebooks in pairs: `NN_topic.py` to read, review and merge, `NN_topic.ipynb` with the outputs.

Both hold the same cells. The notebook also remembers a fingerprint of the cells at the time when the two were last
brought into step, so that a later difference can be traced to the twin that was edited.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeAlias

import jupytext
import nbformat

from book._tools.outputs import clean_outputs

ROOT = Path(__file__).resolve().parents[2]
FORMATS = "ipynb,py:percent"
CHAPTER = re.compile(r"\d\d_\w+")

# Left behind by editors and by jupytext; none of it is the author's.
NOISE = {
    "ExecuteTime", "autoscroll", "cell_marker", "collapsed", "editable", "execution", "id", "jupyter",
    "jp-MarkdownHeadingCollapsed", "lines_to_end_of_cell_marker", "lines_to_next_cell", "outputId", "scrolled",
    "trusted", "vscode",
}  # fmt: skip

Cell: TypeAlias = tuple[str, str, dict[str, Any]]  # kind, source, metadata


class PairingError(Exception):
    """The two files of a chapter cannot be brought into step without losing something."""


def read_cells(path: Path) -> list[Cell]:
    """Return the cells of a chapter from its `.py` or from its `.ipynb`, without outputs.

    Raises:
        PairingError: the file is no notebook, or the metadata of a cell cannot be read.
    """
    try:
        nb = (
            read_notebook(path)
            if path.suffix == ".ipynb"
            else jupytext.reads(path.read_text("utf-8"), fmt="py:percent")
        )
        return notebook_cells(nb)
    except (PairingError, OSError):
        raise
    except Exception as error:
        raise PairingError(f"{path}: is no notebook ({error})") from error


def read_notebook(path: Path) -> Any:
    """Read an `.ipynb`."""
    try:
        return nbformat.reads(path.read_text("utf-8"), as_version=4)
    except Exception as error:
        raise PairingError(f"{path}: is no notebook ({error})") from error


def notebook_cells(nb: Any) -> list[Cell]:
    """Return kind, source and metadata of each cell."""
    cells = []
    for cell in nb.cells:
        metadata = {k: v for k, v in cell.metadata.items() if k not in NOISE and v != []}
        if "incorrectly_encoded_metadata" in metadata:
            line = metadata["incorrectly_encoded_metadata"]
            raise PairingError(f"the metadata of a cell are no valid `key=JSON`: # %% {line}")
        cells.append((cell.cell_type, cell.source.strip("\n"), json.loads(json.dumps(metadata))))
    return cells


def fingerprint(cells: list[Cell]) -> str:
    """Return a short hash of all cells."""
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()[:16]


def to_text(cells: list[Cell]) -> str:
    """Return cells as a formatted `.py` in the percent format."""
    nb = make_notebook(cells)
    del nb.metadata["lvmlib"], nb.metadata["language_info"]
    text = jupytext.writes(nb, fmt="py:percent")
    text = re.sub(r"^#\s+jupytext_version: .*\n", "", text, flags=re.MULTILINE)  # would change with every upgrade
    return ruff_format(text, "chapter.py")


def ruff_format(text: str, name: str) -> str:
    """Format source code with the project's settings; `name` tells ruff of which kind it is."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(ROOT / "notebooks" / name), "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", cwd=ROOT, check=False)
    if done.returncode != 0:
        raise PairingError(f"the code cannot be formatted: {done.stderr.strip()}")
    return done.stdout


def format_cells(cells: list[Cell]) -> list[Cell]:
    """Return the cells in the one format that ruff leaves alone both in the `.py` and in the `.ipynb`."""
    for _ in range(3):
        as_text = notebook_cells(jupytext.reads(to_text(cells), fmt="py:percent"))
        as_json = ruff_format(nbformat.writes(make_notebook(as_text)), "chapter.ipynb")
        formatted = notebook_cells(nbformat.reads(as_json, as_version=4))
        if formatted == cells:
            return cells
        cells = formatted
    raise PairingError("ruff formats a cell of this chapter differently in the .py and in the .ipynb")


def make_notebook(cells: list[Cell], outputs: list[tuple[int | None, list[Any]]] | None = None) -> Any:
    """Return a notebook with the least metadata and with ids that follow from the cells.

    Args:
        cells: kind, source and metadata of each.
        outputs: of each code cell, in order: its execution count and its outputs.
    """
    nb = nbformat.v4.new_notebook()
    nb.nbformat_minor = 5
    nb.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nb.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}
    nb.metadata.jupytext = {"formats": FORMATS}
    nb.metadata.lvmlib = {"in_step": fingerprint(cells)}
    results = iter(outputs or [])
    seen: dict[Any, int] = {}
    for kind, source, metadata in cells:
        again = seen[kind, source] = seen.get((kind, source), -1) + 1
        cell = getattr(nbformat.v4, f"new_{kind}_cell")(source=source, metadata=metadata)
        cell.id = hashlib.sha256(f"{kind}\0{source}\0{again}".encode()).hexdigest()[:8]
        if kind == "code" and outputs is not None:
            cell.execution_count, cell.outputs = next(results)
            cell.outputs = [nbformat.from_dict(output) for output in cell.outputs]
        nb.cells.append(cell)
    return nb


def to_json(cells: list[Cell], outputs: list[tuple[int | None, list[Any]]]) -> str:
    """Return cells and their outputs as an `.ipynb` in the one layout. Jupyter saves in another."""
    return json.dumps(make_notebook(cells, outputs), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def stored_outputs(nb: Any) -> list[tuple[int | None, list[Any]]]:
    """Return execution count and outputs of each code cell, as far as they are worth keeping."""
    return [(c.get("execution_count"), clean_outputs(c.outputs)) for c in nb.cells if c.cell_type == "code"]


def choose_source(py: Path, ipynb: Path, prefer: str | None = None) -> Path:
    """Return the twin whose cells hold.

    The `.py` is the source. Only where the `.py` is as it was when the two were last in step, and the notebook is not,
    the notebook has been edited and holds.

    Args:
        py: path of the text; it or the notebook may be missing.
        ipynb: path of the notebook.
        prefer: "py" or "ipynb" decides where both were edited.

    Raises:
        PairingError: neither exists, or both were edited and differ.
    """
    if not py.exists() and not ipynb.exists():
        raise PairingError(f"there is neither {py} nor {ipynb}")
    if prefer is not None:
        return py if prefer == "py" else ipynb
    if not py.exists() or not ipynb.exists():
        return py if py.exists() else ipynb
    text, notebook = fingerprint(read_cells(py)), fingerprint(read_cells(ipynb))
    known = read_notebook(ipynb).metadata.get("lvmlib", {}).get("in_step")
    if text == notebook or notebook == known:
        return py
    if text == known:
        return ipynb
    stem = py.with_suffix("")
    raise PairingError(
        f"{py} and {ipynb} differ, and both were edited since they were last in step. Nothing was changed.\n"
        f"  Compare them:        jupytext --to py:percent --output - {ipynb} | diff - {py}\n"
        f"  Keep the text:       python book/_tools/execute.py --from py {stem}\n"
        f"  Keep the notebook:   python book/_tools/execute.py --from ipynb {stem}"
    )


def chapters(folder: Path) -> list[Path]:
    """Return the chapters of a folder as paths without a suffix, sorted."""
    files = (p for p in folder.iterdir() if p.suffix in (".py", ".ipynb")) if folder.is_dir() else ()
    return sorted({p.with_suffix("") for p in files if CHAPTER.fullmatch(p.stem)})


def pairing_problems(folder: Path) -> list[str]:
    """Say in what the pairs of a folder are out of step: one line per problem, none if all is well."""
    problems = []
    for stem in chapters(folder):
        py, ipynb = stem.with_suffix(".py"), stem.with_suffix(".ipynb")
        missing = [p for p in (py, ipynb) if not p.exists()]
        if missing:
            problems.append(f"{missing[0].name} is missing: make execute NB={stem.name[:2]} writes it")
            continue
        try:
            text, cells, nb = read_cells(py), read_cells(ipynb), read_notebook(ipynb)
        except PairingError as error:
            problems.append(str(error))
            continue
        difference = first_difference(text, cells)
        if difference:
            problems.append(
                f"{py.name} and {ipynb.name} differ in {difference}; make execute NB={stem.name[:2]} mends it"
            )
        elif ipynb.read_text("utf-8") != to_json(cells, stored_outputs(nb)):
            tidy = make_notebook(cells).metadata
            other = [key for key in sorted({*tidy, *nb.metadata}) if nb.metadata.get(key) != tidy.get(key)]
            which = f" (metadata {', '.join(other)})" if other else ""
            problems.append(f"{ipynb.name} was saved in another layout{which}; make format mends it")
    return problems


def first_difference(ours: list[Cell], theirs: list[Cell]) -> str:
    """Name the first cell in which two lists of cells differ, and how; empty if they are equal."""
    for i, (a, b) in enumerate(zip(ours, theirs), start=1):
        for what, left, right in zip(("kind", "source", "metadata"), a, b):
            if left != right:
                if what == "source":
                    pairs = zip_longest(left.split("\n"), right.split("\n"), fillvalue="(no such line)")
                    left, right = next((x, y) for x, y in pairs if x != y)
                return f"the {what} of cell {i}:\n    .py:    {left}\n    .ipynb: {right}"
    if len(ours) != len(theirs):
        return f"the number of cells: {len(ours)} and {len(theirs)}"
    return ""


if __name__ == "__main__":
    sys.exit("\n".join(pairing_problems(ROOT / "notebooks")) or None)
