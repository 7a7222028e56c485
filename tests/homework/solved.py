"""A master with its solution run once, and the wrong answers to it."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import matplotlib
import pytest
import torch

from lvmlib.homework.master import Master, find_masters, plain_code, read_master

ROOT = Path(__file__).parents[2]
MASTERS = find_masters(ROOT / "notebooks" / "homework")
WRONG = Path(__file__).parent / "wrong"


def together(path: Path, *values: str) -> object:
    """Return arguments of a test that one worker runs with all others of a master: its solution takes seconds."""
    return pytest.param(path, *values, marks=pytest.mark.xdist_group(path.stem), id="-".join([path.stem, *values[:2]]))


every = pytest.mark.parametrize("path", [together(path) for path in MASTERS])


@functools.cache
def solved(path: Path) -> tuple[Master, dict[str, object]]:
    """Return a master and what its solution defines."""
    matplotlib.use("Agg")
    torch.set_num_threads(1)
    master = read_master(path)
    names: dict[str, object] = {"__name__": "__main__"}
    for n, cell in enumerate(master.solution):
        exec(compile(plain_code(cell), f"<{path.name}, code cell {n}>", "exec"), names)
    matplotlib.pyplot.close("all")
    return master, names


def wrong_answers(path: Path) -> list[tuple[str, str, str]]:
    """Return question, description and code of each wrong answer to a master."""
    file = WRONG / path.name
    blocks = re.split(r"(?m)^# %% ", file.read_text("utf-8")) if file.exists() else [""]
    answers, imports = [], ""
    for block in blocks[1:]:
        head, _, code = block.partition("\n")
        if head.strip() == "imports":
            imports = code
        else:
            question, _, description = head.partition(": ")
            answers.append((question, description.strip(), imports + code))
    return answers
