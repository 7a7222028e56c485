"""Which chapters a change touches: through their own files, what they import from lvmlib, and the data they read.

Nothing is executed. Imports are followed by name: `from lvmlib import load` leads through `lvmlib/__init__.py` to the
file in which `load` is defined and to what that imports, not to all that `lvmlib` holds. A file that is no Python
(weights and their records, data sets, measurements) belongs to every chapter that names it, itself or through a module
that it imports: "vae_mnist", or f"{name}_mnist.json".
"""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath

from book._tools.pairing import ROOT, chapters

# What runs and judges all chapters: a change there touches every one.
JUDGES = ("conftest.py", "tests/book/notebook_plugin.py", "book/_tools/figures.py")
DAY = 24 * 60 * 60
Import = tuple[str, str | None]  # a module, and the name taken from it; None if the module itself


def git(*arguments: str, root: Path = ROOT) -> str | None:
    """Return what git says, or None if it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def base(root: Path = ROOT) -> str | None:
    """Return the commit that the present files are compared with; None if history does not reach back to it.

    That is where the present branch left the one that the variable BASE names; without it, the youngest commit of the
    main line that is a day older than the present one, since what is pushed at once is often more than one commit.
    """
    if given := os.environ.get("BASE"):
        return git("merge-base", given, "HEAD", root=root)
    if not (now := git("log", "-1", "--format=%ct", root=root)):
        return None
    return git("rev-list", "-1", "--first-parent", f"--before={int(now) - DAY}", "HEAD~1", root=root) or None


def changes(since: str, root: Path = ROOT) -> set[str] | None:
    """Return the files that differ from those of a commit, whether committed or not, as paths below the root."""
    differing = git("diff", "--name-only", "--no-renames", "--relative", since, root=root)
    untracked = git("ls-files", "--others", "--exclude-standard", root=root)
    return None if differing is None or untracked is None else {*differing.splitlines(), *untracked.splitlines()}


def file_of(module: str, root: Path) -> Path | None:
    """Return the file of a module, if it is one of ours."""
    path = root / module.replace(".", "/")
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if module and f.is_file()), None)


@cache
def syntax(file: Path) -> ast.Module:
    """Return a parsed Python file."""
    return ast.parse(file.read_text("utf-8"))


def imports(file: Path, root: Path) -> Iterator[tuple[str, Import]]:
    """Yield each name that a file imports and where from."""
    package = file.parent.relative_to(root).parts
    for node in ast.walk(syntax(file)):
        if isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name, (alias.name, None)) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                yield alias.asname or alias.name, (module, None if alias.name == "*" else alias.name)


def closure(start: Iterable[Path], root: Path = ROOT) -> tuple[set[Path], set[Path]]:
    """Follow imports from some files.

    Returns:
        The files that count in full, and the packages' `__init__.py` of which only a name was used.
    """
    full: set[Path] = set()
    passed: set[Path] = set()
    todo = list(start)
    while todo:
        file = todo.pop()
        if file not in full:
            full.add(file)
            todo += [f for _, wanted in imports(file, root) for f in definition(wanted, root, passed)]
    return full, passed


def definition(wanted: Import, root: Path, passed: set[Path]) -> list[Path]:
    """Return the file that defines what was imported, and note the packages that only pass it on."""
    module, name = wanted
    file = file_of(module, root)
    if file is None:
        return []
    if name and (inner := file_of(f"{module}.{name}", root)) and file.name == "__init__.py":
        return [inner]
    passing = dict(imports(file, root)) if name and file.name == "__init__.py" else {}
    if name not in passing:
        return [file]
    passed.add(file)
    return definition(passing[name], root, passed)


def stem(path: str) -> str:
    """Return the name of a file without folders and endings."""
    return PurePosixPath(path).name.split(".")[0]


def mentioned(file: Path) -> set[str]:
    """Return the strings of a Python file that may name data: without folders and endings, `*` for what varies."""
    found = set()
    for node in ast.walk(syntax(file)):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        if "\n" not in text and len(stem(text).replace("*", "")) >= 3:
            found.add(stem(text))
    return found


def touched(changed: set[str], root: Path = ROOT) -> list[str]:
    """Return the chapters that changed files touch.

    Args:
        changed: paths below the root.
        root: the project's folder.
    """
    judges = {f.relative_to(root).as_posix() for f in closure([root / name for name in JUDGES], root)[0]}
    every = [chapter.name for chapter in chapters(root / "notebooks")]
    if changed & {*judges, "requirements.lock"}:
        return every
    data = {stem(path) for path in changed if not path.endswith((".py", ".ipynb")) and not path.startswith("tests/")}
    found = []
    for name in every:
        full, passed = closure([root / "notebooks" / f"{name}.py"], root)
        files = {file.relative_to(root).as_posix() for file in full | passed} | {f"notebooks/{name}.ipynb"}
        patterns = set().union(*map(mentioned, full))
        if changed & files or any(fnmatchcase(d, pattern) for d in data for pattern in patterns):
            found.append(name)
    return found
