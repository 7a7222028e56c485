"""Sandboxes for tests: whether there is one here, and a small homework that is marked with it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from lvmlib.homework.box import Box, BoxBroken, Limits, RemoteError

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


def attacks(file: str) -> dict[str, tuple[str, str]]:
    """Return the attacks in a file by name: the code of each, and the outcomes that stand behind its name."""
    text = (Path(__file__).parent / "attacks" / file).read_text("utf-8")
    blocks = [block.partition("\n") for block in re.split(r"(?m)^%% ", text)[1:]]
    return {head.partition(": ")[0]: (code.strip(), head.partition(": ")[2]) for head, _, code in blocks}
