"""Examples of docstrings: each runs alone, as a reader copies it from its box, and fits on the page."""

from __future__ import annotations

import ast
import doctest
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COLUMNS = 88  # a box of code beside the contents has room for them at 1280 px
FILES = sorted((ROOT / "lvmlib").rglob("*.py"))


def boxes(docstring: str) -> Iterator[str]:
    """The examples of a docstring as the page shows them: a blank line ends a box, and each box is copied alone."""
    lines: list[str] = []
    for line in [*inspect.cleandoc(docstring).splitlines(), ""]:
        if line.strip() and (lines or line.strip().startswith(">>>")):
            lines.append(line)
        elif lines:
            yield inspect.cleandoc("\n".join(lines))
            lines = []


def examples(path: Path) -> Iterator[tuple[str, str]]:
    """Every example of a file, by the name that it stands under."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            for box in boxes(ast.get_docstring(node) or ""):
                yield getattr(node, "name", path.stem), box


def report(name: str, box: str) -> str:
    """What goes wrong when an example is run in a fresh namespace; empty if nothing does."""
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    words: list[str] = []
    example = doctest.DocTestParser().get_doctest(box, {"__name__": "__main__"}, name, None, 0)
    doctest.DocTestRunner(optionflags=flags, verbose=False).run(example, out=words.append)
    return "".join(words)


SEVERAL = [(path, list(examples(path))) for path in FILES]


@pytest.mark.parametrize(
    ("path", "found"), [pair for pair in SEVERAL if pair[1]], ids=lambda x: x.stem if isinstance(x, Path) else ""
)
def test_examples_fit_on_the_page(path: Path, found: list[tuple[str, str]]) -> None:
    long = [line for _, box in found for line in box.splitlines() if len(line) > COLUMNS]
    assert long == []


def test_boxes_that_follow_one_another_are_copied_alone():
    """The doctests of pytest take a docstring as a whole; where it shows more than one box, each is run here."""
    several = {}
    for _, found in SEVERAL:
        names = [name for name, _ in found]
        several.update({(name, box): report(name, box) for name, box in found if names.count(name) > 1})
    assert several and not any(several.values()), "".join(several.values())


def test_an_example_that_leans_on_its_module_is_seen():
    assert "NameError" in report("f", ">>> f(2)\n4")
    assert "Expected" in report("f", ">>> 2 + 2\n5")
    assert report("f", ">>> import math\n>>> math.sqrt(4)\n2.0") == ""
    assert list(boxes("Of f.\n\nExample:\n    >>> f(2)\n    4\n\nMore:\n\n    >>> 1\n    1")) == [
        ">>> f(2)\n4",
        ">>> 1\n1",
    ]


def test_doctests_get_no_names_from_their_module(tmp_path: Path):
    """Every docstring is run by pytest in a namespace of its own (see the conftest in the root)."""
    code = 'import math\n\ndef half(x):\n    """Half.\n\n    >>> {}half(3)\n    1.5\n    """\n    return x / 2\n'
    for name, start in (("leaning", ""), ("standing", "from standing import half\n    >>> ")):
        (tmp_path / f"{name}.py").write_text(code.format(start))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "conftest", "--doctest-modules"]
    command += ["-c", ROOT / "pyproject.toml", tmp_path]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "1 failed, 1 passed" in run.stdout, run.stdout + run.stderr
    assert "name 'half' is not defined" in run.stdout
