"""The pages of the reference: every public name stands on exactly one, and the table of floors names every module."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import lvmlib

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "book" / "reference").glob("*.md"))
FLOORS = (ROOT / "book" / "reference.md").read_text("utf-8")
INNER = {"lvmlib.cli", "lvmlib.experiments", "lvmlib.homework"}  # named in the table, not described
DIRECTIVE = re.compile(r"^\.\. (automodule|autoclass|autodata):: (\S+)\n((?:   :.*\n?)*)", re.M)

TYPED = re.compile(
    r'(?:@(?:\w+_)?property\n.*\n +|^ {0,4}\w+(?:: [^\n]+)? = .*\n *|^[})]\n)r?"""([^:\n]+: .*)', re.M
)  # a property, a variable in one line, or one in several

Entry = tuple[str, str]  # module that defines the thing, its name


def entry(module: ModuleType, name: str) -> Entry:
    """What a name stands for, whatever module it is taken from; a constant belongs to the first that lists it."""
    thing = getattr(module, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return thing.__module__, thing.__qualname__
    return "", name


def names_of(module: ModuleType) -> list[str]:
    """The names that autodoc describes under a module: a constant only where it is assigned."""
    own = [n for n, x in vars(module).items() if getattr(x, "__module__", module.__name__) == module.__name__]
    source = inspect.getsource(module)
    names = getattr(module, "__all__", [name for name in own if name[0] != "_"])
    return [name for name in names if entry(module, name)[0] or re.search(rf"^{name}\b.* = ", source, re.M)]


def described(text: str) -> list[Entry]:
    """The entries of a page."""
    found: list[Entry] = []
    for kind, target, options in DIRECTIVE.findall(text):
        if kind == "automodule":
            module, names = importlib.import_module(target), re.search(r":members:(.*)", options)
            listed = [name for name in re.split(r"[,\s]+", names[1]) if name] if names else []
            found += [entry(module, name) for name in (listed or names_of(module) if names else [])]
        else:
            parent, _, name = target.rpartition(".")
            found.append(entry(importlib.import_module(parent), name))
    return found


def packages() -> list[ModuleType]:
    """The library and its packages, but for those of the topmost floor."""
    found = [m for m in pkgutil.iter_modules(lvmlib.__path__, "lvmlib.") if m.ispkg and m.name not in INNER]
    return [lvmlib, importlib.import_module("lvmlib.autoregressive.pixel")] + [
        importlib.import_module(m.name) for m in found
    ]


COUNTS = Counter(e for page in PAGES for e in described(page.read_text("utf-8")))


@pytest.mark.parametrize("package", packages(), ids=lambda package: package.__name__)
def test_each_public_name_stands_on_one_page(package: ModuleType) -> None:
    counts = {name: COUNTS[entry(package, name)] for name in package.__all__}
    assert {name: count for name, count in counts.items() if count != 1} == {}


def test_nothing_is_described_twice() -> None:
    assert {e: count for e, count in COUNTS.items() if count > 1} == {}


def test_every_module_has_its_page() -> None:
    """Whatever can be imported, but for the topmost floor and packages' __init__, is described somewhere."""
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    named = {target for _, target, _ in DIRECTIVE.findall(text)}
    top = {m.name for m in pkgutil.iter_modules(lvmlib.__path__, "lvmlib.")} - INNER
    assert [name for name in sorted(top) if not any(t == name or t.startswith(f"{name}.") for t in named)] == []


def test_the_table_of_floors_names_every_module_and_every_page() -> None:
    table = "\n".join(line for line in FLOORS.splitlines() if line.startswith("|"))
    modules = [m.name for m in pkgutil.iter_modules(lvmlib.__path__, "lvmlib.")]
    assert [name for name in modules if not re.search(rf"`{re.escape(name)}[ `]", table)] == []
    assert sorted(re.findall(r"<reference/(\w+)>", table)) == [page.stem for page in PAGES]


def test_the_contents_of_the_book_list_every_page() -> None:
    listed = re.findall(r"file: book/reference/(\w+)", (ROOT / "_toc.yml").read_text("utf-8"))
    assert sorted(listed) == [page.stem for page in PAGES]


def test_a_page_is_read_as_autodoc_reads_it() -> None:
    def entries(text: str) -> list[Any]:
        return described(f"```{{eval-rst}}\n{text}\n```\n")

    assert entries(".. automodule:: lvmlib.data") == []
    assert ("lvmlib.data.sets", "load") in entries(".. automodule:: lvmlib.data\n   :members:")
    assert entries(".. automodule:: lvmlib.data\n   :members: Data, load") == [
        ("lvmlib.data.sets", "Data"),
        ("lvmlib.data.sets", "load"),
    ]
    assert entries(".. autoclass:: lvmlib.distributions.Coins") == [("lvmlib.distributions.factorised", "Coins")]


@pytest.mark.parametrize("path", sorted((ROOT / "lvmlib").rglob("*.py")), ids=lambda path: path.stem)
def test_the_first_line_of_an_attribute_has_no_colon(path: Path) -> None:
    """Napoleon would take what stands before it for the attribute's type."""
    if not INNER & {"lvmlib." + part for part in path.parts}:
        assert TYPED.findall(path.read_text("utf-8")) == []
