"""Reads the master of a homework: its questions, the parts that earn their points, its cells."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

BEGIN, END = "# BEGIN ", "# END "
CONFIG = re.compile(r'""" # BEGIN TEST CONFIG\n(.*?)""" +# END TEST CONFIG\n', re.DOTALL)
NAME = re.compile(r"(\d\d)_\w+\.py")


@dataclass(frozen=True)
class Part:
    """A test of a question: a function whose parameters are names of answers."""

    name: str
    points: float
    hidden: bool
    source: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question, with the parts that earn its points."""

    name: str
    title: str
    points: float
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Master:
    """A homework as its author wrote it: text, solution and tests in one file."""

    path: Path
    number: str
    title: str
    hours: str
    questions: tuple[Question, ...]
    solution: tuple[str, ...]  # the code cells that a solved notebook holds, in order

    @property
    def points(self) -> float:
        """The points of the whole homework."""
        return sum(question.points for question in self.questions)

    @property
    def functions(self) -> frozenset[str]:
        """The names that the solution defines as functions or classes; all other answers are values."""
        tree = ast.parse("\n".join(plain_code(cell) for cell in self.solution))
        kinds = ast.FunctionDef | ast.ClassDef
        return frozenset(node.name for node in tree.body if isinstance(node, kinds))

    @property
    def answers(self) -> tuple[str, ...]:
        """All names that tests ask for, in order."""
        names = [name for question in self.questions for part in question.parts for name in part.parameters]
        return tuple(dict.fromkeys(names))


def plain_code(cell: str) -> str:
    """Return the source of a cell without the lines that only IPython understands."""
    return "\n".join("" if line.lstrip()[:1] in ("%", "!") else line for line in cell.splitlines())


def find_masters(folder: Path) -> list[Path]:
    """Return the masters in a folder, in the order of their chapters."""
    return sorted(path for path in folder.glob("*.py") if NAME.fullmatch(path.name))


def read_master(path: Path) -> Master:
    """Return a master.

    Args:
        path: of the file, Jupytext's py:percent with Otter's raw cells.

    Raises:
        ValueError: if something in it is not as it must be; the message says where.
    """
    import jupytext

    path = Path(path)
    if not NAME.fullmatch(path.name):
        raise ValueError(f"{path.name}: a master is called like its chapter, 09_iwae.py")
    cells = jupytext.reads(path.read_text("utf-8"), fmt="py:percent").cells
    head = next((cell.source for cell in cells if cell.cell_type == "markdown"), "")
    title = re.match(r"# Homework \d+: (.+)", head)
    hours = re.search(r"\*\*Time:\*\* (.+?) hours?\b", head)
    if not title or not hours:
        raise ValueError(f"{path.name}: its first text must begin `# Homework N: ...` and hold `**Time:** 3 hours`")
    questions, solution = _walk(path.name, cells)
    return Master(path, path.name[:2], title[1].strip(), hours[1], questions, solution)


def _walk(where: str, cells: list[Any]) -> tuple[tuple[Question, ...], tuple[str, ...]]:
    """Return the questions of a master, and the code cells of its solution."""
    questions: list[Question] = []
    solution: list[str] = []
    config: dict[str, Any] | None = None
    parts: list[Part] = []
    text, in_tests = "", False
    for cell in cells:
        source = cell.source.strip()
        if cell.cell_type == "raw":
            mark, _, rest = source.partition("\n")
            if mark == f"{BEGIN}QUESTION":
                config, text, parts = yaml.safe_load(rest), "", []
            elif mark in (f"{BEGIN}TESTS", f"{END}TESTS"):
                in_tests = mark.startswith(BEGIN)
            elif mark == f"{END}QUESTION":
                questions.append(_question(where, config, text, parts))
                config = None
        elif cell.cell_type == "markdown" and config is not None:
            text = text or source
        elif cell.cell_type == "code" and in_tests:
            parts.append(_part(where, source))
        elif cell.cell_type == "code":
            solution.append(source)
    return tuple(questions), tuple(solution)


def _part(where: str, source: str) -> Part:
    """Return the part that a cell of tests holds."""
    found = CONFIG.match(source)
    config = yaml.safe_load(found[1]) if found else None
    body = source[found.end() :] if found else source
    tree = ast.parse(body).body
    if not config or len(tree) != 1 or not isinstance(tree[0], ast.FunctionDef):
        raise ValueError(f"{where}: a cell of tests holds its configuration and one function:\n{source[:200]}")
    names = tuple(argument.arg for argument in tree[0].args.args)
    return Part(tree[0].name, config.get("points", 0), config.get("hidden", False), body, names)


def _question(where: str, config: dict[str, Any] | None, text: str, parts: list[Part]) -> Question:
    """Return a question, its points checked against those of its parts."""
    if config is None:
        raise ValueError(f"{where}: a question ends that did not begin")
    name, points = config["name"], config["points"]
    title = re.match(r"#+ Question \w+: (.+?)(?: \([\d.]+ points?\))?$", text.split("\n")[0])
    if not title:
        raise ValueError(f"{where}, {name}: its text must begin `## Question 1: ... (4 points)`")
    earned = sum(part.points for part in parts)
    if abs(earned - points) > 1e-9:
        raise ValueError(f"{where}, {name}: its parts add up to {earned:g} points, the question says {points:g}")
    return Question(name, title[1], points, tuple(parts))
