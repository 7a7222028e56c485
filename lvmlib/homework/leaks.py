"""Knows what students must not see of a master, without asking the tool that is to hide it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHORT = 12  # characters; shorter lines give nothing away and stand everywhere


def secrets_of(path: Path) -> list[str]:
    """Return the lines of hidden tests and of solutions that stand nowhere in what students see.

    Args:
        path: of the master.

    Raises:
        ValueError: if a cell of a solution has no mark that says what of it to hide.
    """
    import jupytext

    hidden: list[str] = []
    seen: list[str] = []
    block = ""
    for cell in jupytext.reads(path.read_text("utf-8"), fmt="py:percent").cells:
        source = cell.source.strip()
        if cell.cell_type == "raw":
            head = source.split("\n")[0]
            block = head.removeprefix("# BEGIN ") if head.startswith("# BEGIN ") else ""
        elif block == "TESTS":
            (hidden if "hidden: true" in source.partition("END TEST CONFIG")[0] else seen).extend(both(source))
        elif cell.cell_type == "markdown":
            (hidden if block == "SOLUTION" else seen).extend(source.split("\n"))
        else:
            if block == "SOLUTION" and "SOLUTION" not in source:
                raise ValueError(
                    f"{path.name}: a cell of a solution is not marked, and students would see it:\n{source}"
                )
            for solves, line in lines_of(source):
                (hidden if solves else seen).append(line)
    text = "\n".join(seen)
    stripped = dict.fromkeys(line.strip() for line in hidden)
    return [line for line in stripped if len(line) >= SHORT and line not in text]


def both(source: str) -> list[str]:
    """Return the lines of a test as written, and as Otter writes them down."""
    return [*source.split("\n"), *ast.unparse(ast.parse(source)).split("\n")]


def lines_of(source: str) -> Iterator[tuple[bool, str]]:
    """Yield the lines of a code cell, and of each whether it solves something."""
    inside = False
    for line in source.split("\n"):
        end = line.rstrip()
        if "# BEGIN SOLUTION" in line:
            inside = True
        elif end.endswith("# END SOLUTION"):
            inside = False
        elif end.endswith(("# SOLUTION", "# SOLUTION NO PROMPT")):
            yield True, line.rpartition("#")[0].rstrip()
        else:
            yield inside, line


def strings(data: Any) -> Iterator[str]:
    """Yield every string in a notebook: sources, metadata, outputs, attachments."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield str(key)
            yield from strings(value)
    elif isinstance(data, list):
        for value in data:
            yield from strings(value)


def refuse_leaks(notebook: Any, path: Path) -> None:
    """Refuse a notebook that shows students anything of a hidden test or of a solution.

    Raises:
        ValueError: with the first line that it shows.
    """
    shown = "\n".join(strings(notebook))
    for line in secrets_of(path):
        if line in shown:
            raise ValueError(f"{path.name}: students would see this line of a solution or a hidden test: {line}")
