"""Keeps what was graded, one file a student beside the table, so that a second run grades only what has changed."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import tempfile
import unicodedata
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lvmlib.homework.box import Limits
from lvmlib.homework.marks import Mark
from lvmlib.homework.notebooks import sources
from lvmlib.homework.remote import Result


def key_of(notebook: dict[str, Any], master: Path, seed: int, limits: Limits, sandbox: str) -> str:
    """Return what decides a result: the notebook's code, the master, the seed, the limits, and the library itself."""
    what = [sources(notebook), master.read_text("utf-8"), seed, asdict(limits), sandbox, _version()]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


@functools.cache
def _version() -> str:
    """Return what tells one state of the library from another: the grader's code, and what tests compare with."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def file_name(student: str) -> str:
    """Return a name for a student's files that any system can have and no other student gets.

    >>> from lvmlib.homework.results import file_name
    >>> file_name("Jörg O'Neill/../x")
    'jorg-o-neill-x-7660ec76'
    """
    ascii_ = unicodedata.normalize("NFKD", student).encode("ascii", "ignore").decode().lower()
    readable = re.sub(r"[^a-z0-9]+", "-", ascii_).strip("-")[:40].strip("-")
    return f"{readable or 'student'}-{hashlib.sha256(student.encode('utf-8', 'replace')).hexdigest()[:8]}"


def load(folder: Path, student: str) -> tuple[str, Result] | None:
    """Return the key and the result that are kept for a student; None if there are none, or a damaged file."""
    try:
        kept = json.loads((folder / f"{file_name(student)}.json").read_text("utf-8"))
        return kept["key"], as_result(kept["result"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(folder: Path, student: str, key: str, result: Result) -> None:
    """Keep a result."""
    text = json.dumps({"student": student, "key": key, "result": asdict(result)}, indent=1)
    write(folder / f"{file_name(student)}.json", text + "\n")


def as_result(data: dict[str, Any]) -> Result:
    """Return a result as JSON had it."""
    return Result(tuple(Mark(**one) for one in data["marks"]), data["status"], data["note"])


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "w", encoding=encoding, errors="replace", newline="") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
