"""The house stands on its floors: a file imports only from floors below its own, or from its own folder."""

import ast
import inspect
from pathlib import Path

import pytest

import lvmlib

ROOT = Path(lvmlib.__file__).parent
FLOORS = [
    {"information"},
    {"checks", "draws", "base", "stochastic", "trace", "chain", "data", "downloads", "generators"},
    {"distributions", "networks", "toys"},
    {"autoregressive", "flows"},
    {"latent"},
    {"bounds", "annealed", "estimators", "objectives", "surgery", "evaluation", "compression"},
    {"training", "runs", "schedules", "checkpoints", "plotting"},
    {"cli", "experiments", "homework"},
]
CORE = [
    "checks",
    "generators",
    "draws",
    "base",
    "stochastic",
    "trace",
    "chain",
]  # one idea in several files, each on those before it
HELPERS = {  # on the same floor, one way only
    ("data", "checks"),
    ("data", "downloads"),
    ("training", "runs"),
    ("estimators", "bounds"),
    ("objectives", "bounds"),
    ("surgery", "bounds"),
    ("cli", "homework"),
}
FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def floor_of(module: str) -> int:
    for number, names in enumerate(FLOORS):
        if module in names:
            return number
    raise AssertionError(f"lvmlib/{module} stands on no floor; give it one here and in the docstring of lvmlib")


def may_import(own: str, other: str, node: ast.AST, path: Path) -> bool:
    if own in CORE and other in CORE:
        return CORE.index(other) < CORE.index(own) or in_type_checking(node, path)
    return floor_of(other) < floor_of(own) or (own, other) in HELPERS


def in_type_checking(node: ast.AST, path: Path) -> bool:
    """Names for annotations only: such an import never runs."""
    blocks = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.If)]
    return any(
        getattr(block.test, "id", "") == "TYPE_CHECKING" and inner.lineno == node.lineno
        for block in blocks
        for inner in block.body
    )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.startswith("lvmlib.") and name.split(".")[1] != own:
                other = name.split(".")[1]
                assert may_import(own, other, node, path), f"{own} must not import {other}"
            assert name != "lvmlib", "import from the module that defines a name"


def test_floors_are_described_where_a_newcomer_looks():
    described = lvmlib.__doc__
    for path in FILES:
        module = path.relative_to(ROOT).parts[0].removesuffix(".py")
        assert f"``{module}``" in described or f"``lvmlib.{module}``" in described, (
            f"{module} is not in lvmlib's docstring"
        )


@pytest.mark.parametrize("name", lvmlib.__all__)
def test_every_public_name_has_a_docstring_with_an_example(name):
    thing = getattr(lvmlib, name)
    doc = inspect.getdoc(thing) or ""
    assert doc, f"{name} has no docstring"
    contract = {"Density", "Transform", "Stochastic", "Autoregressive"}  # abstract: their subclasses carry the examples
    if name not in contract:
        assert ">>>" in doc, f"{name} has no example"


def test_matplotlib_and_scikit_learn_are_not_imported_by_lvmlib():
    import subprocess
    import sys

    code = (
        "import sys, lvmlib; print([m for m in ('matplotlib', 'sklearn', 'torchdiffeq', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
