"""Sandboxes for tests: whether there is one here, and a small homework that is marked with it."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from lvmlib.homework.box import Box, BoxBroken, Limits, RemoteError
from lvmlib.homework.master import Master, read_master
from lvmlib.homework.remote import Result, grade_one
from tests.homework import tiny

# A build server has bubblewrap, or something is wrong with it.
needs_sandbox = pytest.mark.skipif(not shutil.which("bwrap") and not os.environ.get("CI"), reason="needs bubblewrap")

QUICK = Limits(wall=20.0, call=2.0, cpu=20, memory=1_000_000_000, processes=24, files=20_000_000, reply=4_000_000)
HONEST = ("import numpy as np", "def double(x):\n    return 2 * x", "answer = double(21)", "rest = np.arange(3.0)")


@contextmanager
def opened(*cells: str, limits: Limits = QUICK, library: bool = False, statements: bool = False) -> Iterator[Box]:
    """Yield a sandbox that has run these cells."""
    with Box(limits, library, "bubblewrap") as box:
        box.run(list(cells), statements=statements)
        yield box


def marks(*cells: str, limits: Limits = QUICK) -> dict[str, str]:
    """Grade a notebook as the grader does, in two sandboxes, and return why each answer earned nothing: "" if it did.

    Asked for are a function `double` and the values `answer`, 42, and `rest`, an array of three numbers.
    """
    reasons, values = {}, {}
    with Box(limits, True, "bubblewrap") as box:
        try:
            box.run(list(cells))
            values = box.values(["answer", "rest"])
        except BoxBroken as broken:
            reasons["run"] = str(broken)
    reasons["answer"] = "" if np.array_equal(values.get("answer", 0), 42) else "wrong"
    reasons["rest"] = "" if np.array_equal(values.get("rest", 0), [0.0, 1.0, 2.0]) else "wrong"
    with Box(limits, False, "bubblewrap") as box:
        try:
            box.run(list(cells), statements=True)
            got = box.call("double", np.array([1.5, -2.0]))
            good = isinstance(got, np.ndarray) and got.shape == (2,) and np.array_equal(got, [3.0, -4.0])
            reasons["double"] = "" if good else "wrong"
        except (BoxBroken, RemoteError) as failed:
            reasons["double"] = str(failed)
    return reasons


FULL = {"answer": "", "rest": "", "double": ""}


@functools.cache
def tiny_master() -> Master:
    """Return the master of the tiny homework."""
    with tempfile.TemporaryDirectory() as folder:
        return read_master(tiny.course(Path(folder)) / "master" / "09_tiny.py")


def grade(*cells: str) -> Result:
    """Grade a notebook that answers the tiny homework, all of it."""
    return grade_one(tiny_master(), json.loads(tiny.notebook(*cells)), 3, "bubblewrap", QUICK)


def graded_in_full() -> bool:
    """Whether an honest notebook gets all its points."""
    result = grade("import numpy as np", tiny.COIN, tiny.MEAN)
    return sum(mark.points for mark in result.marks) == 5 and not result.note


def attacks(file: str) -> dict[str, tuple[str, str]]:
    """Return the attacks in a file by name: the code of each, and the outcomes that stand behind its name."""
    text = (Path(__file__).parent / "attacks" / file).read_text("utf-8")
    blocks = [block.partition("\n") for block in re.split(r"(?m)^%% ", text)[1:]]
    return {head.partition(": ")[0]: (code.strip(), head.partition(": ")[2]) for head, _, code in blocks}
