"""Reads what a student handed in: the code of a notebook, or one sentence on why there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

LARGEST = 20_000_000  # bytes of a notebook, pictures included
LARGEST_CODE = 1_000_000  # characters of its code
TITLE = re.compile(r"(?m)^#+ Homework (\d+): (.+)$")


class Unreadable(Exception):
    """A file that cannot be graded: a status for the table, and a sentence."""

    def __init__(self, status: str, note: str) -> None:
        super().__init__(note)
        self.status, self.note = status, note


def read_notebook(data: bytes) -> dict[str, Any]:
    r"""Return a notebook with its code and its title alone.

    Nothing but the cells is looked at, so that a notebook whose metadata a host has stripped is as good as any.

    Args:
        data: the bytes of the file.

    Returns:
        ``{"cells": [...], "title": ...}``; each cell has a type, which is code, and a source, which is a string.

    Raises:
        Unreadable: if it is empty, too large, no JSON or no notebook.

    >>> from lvmlib.homework.notebooks import read_notebook
    >>> read_notebook(b'{"cells": [{"cell_type": "code", "source": ["x = 1\\n", "x"]}]}')
    {'cells': [{'cell_type': 'code', 'source': 'x = 1\nx'}], 'title': ''}
    """
    if not data.strip():
        raise Unreadable("empty", "The file is empty.")
    if len(data) > LARGEST:
        raise Unreadable("too large", f"The file is larger than {LARGEST // 1_000_000} MB.")
    try:
        notebook = json.loads(data)  # UTF-8, UTF-16 and UTF-32 are told apart
    except UnicodeDecodeError:
        raise Unreadable("unreadable", "The file is not UTF-8 text.") from None
    except (ValueError, RecursionError):
        raise Unreadable("unreadable", "The file is not JSON, as a notebook is; it may be cut off.") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise Unreadable("not a notebook", "The file is JSON, but no notebook of format 4: it has no list of cells.")
    code = [_source(cell) for cell in cells if isinstance(cell, dict) and cell.get("cell_type") == "code"]
    if not any(source.strip() for source in code):
        raise Unreadable("empty", "The notebook has no code.")
    if sum(map(len, code)) > LARGEST_CODE:
        raise Unreadable(
            "too large", f"The notebook has more than {LARGEST_CODE // 1_000_000} million characters of code."
        )
    texts = [_source(cell) for cell in cells if isinstance(cell, dict) and cell.get("cell_type") == "markdown"]
    title = next((found[0].lstrip("# ")[:120] for found in map(TITLE.search, texts) if found), "")
    return {"cells": [{"cell_type": "code", "source": source} for source in code], "title": title}


def _source(cell: dict[str, Any]) -> str:
    """Return the source of a cell, which a file may hold as one string or as lines."""
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    return source.encode("utf-8", "replace").decode() if isinstance(source, str) else ""


def sources(notebook: dict[str, Any]) -> list[str]:
    """Return the code of each cell of a notebook."""
    return [_source(cell) for cell in notebook["cells"] if cell.get("cell_type") == "code"]


def check_homework(notebook: dict[str, Any], number: str, answers: Collection[str]) -> None:
    """Refuse a notebook of another homework.

    It is another one if it defines none of the answers; or if its title has another number and it defines less than
    half of them, since two homeworks may share a name.

    Args:
        notebook: what `read_notebook` returned.
        number: of the homework, such as ``"09"``.
        answers: the names that its tests ask for.

    Raises:
        Unreadable: if it is another homework; the note quotes the title.
    """
    defined: set[str] = set()
    for line in "\n".join(sources(notebook)).splitlines():
        left, assigned, _ = line.partition("=")
        definition = re.match(r"\s*(?:async\s+)?(?:def|class)\s+(\w+)", line)
        defined |= {definition[1]} if definition else set(re.findall(r"\w+", left)) if assigned else set()
    share = len(defined & set(answers)) / max(len(answers), 1)
    title = TITLE.search("# " + notebook.get("title", ""))
    other = title is not None and int(title[1]) != int(number)
    if share == 0 or (other and share < 0.5):
        said = f' Its title is "{notebook["title"]}".' if title else ""
        raise Unreadable("wrong homework", f"The notebook answers no question of homework {int(number)}.{said}")
