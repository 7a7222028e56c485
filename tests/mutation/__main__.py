"""Run the tests against changed copies of the library's core: by hand, before a release.

    python -m tests.mutation                              200 changes, spread over the core (`make mutants`)
    python -m tests.mutation --sample 0 lvmlib/bounds.py  every change of one file

Each change lives in a process of its own, forked from one that has torch loaded already; no file is touched. A change
that no test notices either needs a test or makes no difference: those of the second kind are listed, with the reason,
in `harmless.txt`, and are passed by.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import CodeType
from typing import Any

import matplotlib.pyplot  # noqa: F401  loaded once, before the forks
import pytest
import scipy.stats  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch

from tests.mutation.changes import Change, changes

ROOT = Path(__file__).parents[2]
HARMLESS = Path(__file__).with_name("harmless.txt")
FLOW = ["tests/test_chain.py", "tests/test_draws.py", "tests/test_bounds.py", "tests/test_base.py", "tests/latent"]
CORE: dict[str, list[str]] = {  # each file, or folder, of the core and the tests that answer for it
    "lvmlib/checks.py": ["tests/test_checks.py", *FLOW, "tests/distributions"],
    "lvmlib/draws.py": [*FLOW, "tests/distributions"],
    "lvmlib/base.py": [*FLOW, "tests/distributions"],
    "lvmlib/stochastic.py": FLOW,
    "lvmlib/trace.py": FLOW,
    "lvmlib/chain.py": FLOW,
    "lvmlib/bounds.py": FLOW,
    "lvmlib/generators.py": ["tests/test_generators.py", "tests/test_base.py", "tests/runs"],
    "lvmlib/information": ["tests/test_information.py"],
    "lvmlib/distributions": ["tests/distributions", "tests/latent"],
    "lvmlib/latent": ["tests/latent", "tests/test_bounds.py"],
    "lvmlib/compression": ["tests/compression"],
    "lvmlib/training.py": ["tests/test_training.py", "tests/runs"],
    "lvmlib/runs": ["tests/runs", "tests/test_training.py"],
    "lvmlib/checkpoints.py": ["tests/test_checkpoints.py"],
}


class Changed(importlib.abc.MetaPathFinder):
    """Finds one module in its changed form; all others are left to the rest of the import system."""

    def __init__(self, module: str, path: Path, tree: Any):
        self.module, self.path, self.tree = module, path, tree

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Answer for the one module."""
        if fullname != self.module:
            return None
        finder = self

        class Loader(importlib.machinery.SourceFileLoader):
            def get_code(self, fullname: str) -> CodeType:
                return compile(finder.tree, str(finder.path), "exec")

        return importlib.util.spec_from_file_location(fullname, self.path, loader=Loader(fullname, str(self.path)))


def verdict(path: Path, tests: list[str], change: Change | None, seconds: float) -> str:
    """Run the tests against one change in a process of its own: "noticed", "too slow" or "SURVIVED"."""
    child = os.fork()
    if child == 0:
        os.setsid()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if change is not None:
            relative = path.relative_to(ROOT).with_suffix("")
            parts = relative.parts[:-1] if relative.name == "__init__" else relative.parts
            sys.meta_path.insert(0, Changed(".".join(parts), path, change.tree))
        quick = [
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "--assert=plain",
            "-m",
            "not slow",
        ]  # pytest loads no module itself
        code = pytest.main([*quick, str(path), *tests])
        os._exit(int(code))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "SURVIVED" if os.waitstatus_to_exitcode(status) == 0 else "noticed"
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too slow"


def files(names: list[str]) -> dict[Path, list[str]]:
    """The files to change, each with its tests."""
    found = {}
    for name, tests in CORE.items():
        place = ROOT / name
        for path in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            if not names or any(path == (ROOT / n) or (ROOT / n) in path.parents for n in names):
                found[path] = tests
    return found


def main() -> None:
    """Change, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="files or folders of the core; all by default")
    parser.add_argument("--sample", type=int, default=200, help="how many changes; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    known = {line.split("  #")[0].strip() for line in HARMLESS.read_text("utf-8").splitlines()}
    chosen = files(args.files)
    all_changes = [(path, change) for path in chosen for change in changes(path.read_text("utf-8"))]
    if args.sample and args.sample < len(all_changes):
        all_changes = random.Random(args.seed).sample(all_changes, args.sample)
    limits, survivors = {}, []
    for path, change in sorted(all_changes, key=lambda pair: (pair[0], pair[1].line)):
        label = f"{path.relative_to(ROOT)} {change.before}  ->  {change.after}"
        if label in known:
            continue
        if path not in limits:  # the time that the tests of this file take when nothing is changed
            start = time.monotonic()
            if verdict(path, chosen[path], None, 1800) != "SURVIVED":
                raise SystemExit(f"the tests of {path.relative_to(ROOT)} fail without any change")
            limits[path] = 20 + 5 * (time.monotonic() - start)
        result = verdict(path, chosen[path], change, limits[path])
        if result == "SURVIVED":
            survivors.append(label)
        print(f"{result:9} {path.relative_to(ROOT)}:{change}", flush=True)
    print(f"{len(all_changes)} changes, {len(survivors)} survived", *survivors, sep="\n")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
