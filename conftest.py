"""`pytest --book notebooks` runs the chapters and compares every output with the stored one.

It stands in the root because pytest reads the options of a conftest further down too late for an argument such as
`notebooks`. All else is in tests/book/: comparator.py judges, notebook_plugin.py runs.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from _pytest.doctest import DoctestItem

if find_spec("nbval") is None or find_spec("jupytext") is None:  # the library's tests alone need neither
    collect_ignore_glob = ["tests/book/*", "book/*"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flags."""
    parser.addoption("--book", action="store_true", help="run notebooks and compare all outputs with the stored ones")
    parser.addoption("--book-rerun", action="store_true", help="with --book: then run each cell once more, in place")
    parser.addoption("--seeds", type=int, default=1, help="how many seeds the tests of homework draw their inputs from")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the cells of a chapter together, which share a kernel, however xdist was told to distribute tests."""
    if config.getoption("--book") and getattr(config.option, "dist", "no") != "no":
        config.option.dist = "loadfile"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect notebooks, when they are asked for."""
    if not parent.config.getoption("--book") or file_path.suffix != ".ipynb":
        return None
    if parent.config.option.nbval or parent.config.option.nbval_lax:
        raise pytest.UsageError("--book replaces --nbval: give only one, else every cell runs twice")
    from tests.book.notebook_plugin import NotebookFile

    return NotebookFile.from_parent(parent, path=file_path)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the notebooks' `.py` twins alone: they are no tests, and importing one would run it."""
    return True if config.getoption("--book") and collection_path.suffix == ".py" else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Take the names of its module from an example: it must run as a reader copies it, alone in a fresh Python."""
    if isinstance(item, DoctestItem):
        item.dtest.globs = {"__name__": "__main__"}
