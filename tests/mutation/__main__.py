"""Run the tests against changed copies of the library's core: by hand, before a release.

    python -m tests.mutation                              200 changes, spread over the core (`make mutants`)
    python -m tests.mutation --sample 0 lvmlib/bounds.py  every change of one file

Each change lives in a process of its own, forked from one that has torch loaded already; no file is touched. It meets
the tests that run its lines first, and the others only if none of these notices. A change that no test notices either
needs a test or makes no difference: those of the second kind are listed, with the reason, in `harmless.txt`, and are
passed by.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import pickle
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import torch

from tests.mutation.changes import Change, changes
from tests.mutation.reach import Chosen, Recorder

ROOT = Path(__file__).parents[2]
HARMLESS = Path(__file__).with_name("harmless.txt")
# Not torch._dynamo, which switches off the checks of torch.distributions.
LOADED_ONCE = ["matplotlib.pyplot", "scipy.stats", "sklearn.datasets", "safetensors.torch", "torch.func", "requests"]
LOADED_ONCE += [
    "constriction",
    "pooch",
    "torchdiffeq",
    "tqdm.auto",
    "zuko",
]
FLOW = ["tests/test_base*.py", "tests/test_bounds.py", "tests/test_chain*.py", "tests/test_draws.py"]
FLOW += ["tests/test_conditions.py", "tests/test_frozen.py", "tests/latent"]
CORE: dict[str, list[str]] = {  # each file, or folder, of the core and the tests that answer for it
    "lvmlib/checks.py": ["tests/test_checks.py", *FLOW, "tests/distributions"],
    "lvmlib/draws.py": [*FLOW, "tests/distributions"],
    "lvmlib/base.py": [*FLOW, "tests/distributions"],
    "lvmlib/stochastic.py": FLOW,
    "lvmlib/trace.py": FLOW,
    "lvmlib/chain.py": FLOW,
    "lvmlib/bounds.py": FLOW,
    "lvmlib/estimators": ["tests/estimators"],
    "lvmlib/evaluation.py": ["tests/test_evaluation.py"],
    "lvmlib/generators.py": ["tests/test_generators.py", "tests/test_base.py", "tests/runs"],
    "lvmlib/information": ["tests/test_information*.py"],
    "lvmlib/distributions": ["tests/distributions", "tests/latent"],
    "lvmlib/latent": ["tests/latent", "tests/test_bounds.py"],
    "lvmlib/compression": ["tests/compression"],
    "lvmlib/training.py": ["tests/test_training*.py", "tests/runs"],
    "lvmlib/runs": ["tests/runs", "tests/test_training*.py"],
    "lvmlib/checkpoints.py": ["tests/test_checkpoints.py"],
    "lvmlib/data": ["tests/data"],
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


def run(places: list[str], plugins: list[Any]) -> int:
    """Run tests, in a process that was forked for it."""
    quick = ["-x", "-q", "-p", "no:cacheprovider", "--assert=plain", "-m", "not slow"]  # pytest loads no module itself
    return int(pytest.main([*quick, *places], plugins))


def in_a_fork(task: Any, seconds: float) -> int | None:
    """What a task returns that runs in a process of its own, without a word; None if it takes longer than this."""
    child = os.fork()
    if child == 0:
        os.setsid()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os._exit(task())
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def reach(path: Path, places: list[str]) -> dict[int, list[str]]:
    """Which tests run which lines of a file that is left as it is."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "record")

        def task() -> int:
            recorder = Recorder(path)
            with recorder.coverage.collect():
                code = run(places, [recorder])
            record.write_bytes(pickle.dumps(recorder.lines()))
            return code

        if in_a_fork(task, 1800) != 0:
            raise SystemExit(f"the tests of {path.relative_to(ROOT)} fail without any change")
        return pickle.loads(record.read_bytes())


def verdict(path: Path, places: list[str], change: Change, lines: dict[int, list[str]], seconds: float) -> str:
    """Run the tests against one change: "noticed", "too slow" or "SURVIVED"."""
    relative = path.relative_to(ROOT).with_suffix("")
    module = ".".join(relative.parts[:-1] if relative.name == "__init__" else relative.parts)

    def task(places: list[str], plugins: list[Any]) -> int:
        sys.meta_path.insert(0, Changed(module, path, change.tree))
        return run(places, plugins)

    near = list(dict.fromkeys(test for line in change.lines for test in lines.get(line, ())))
    where = list(dict.fromkeys(test.split("::")[0] for test in near))
    code: int | None = 0
    if near:
        code = in_a_fork(lambda: task(where, [Chosen(near)]), seconds)
    if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        code = in_a_fork(lambda: task(places, []), seconds)
    return {None: "too slow", 0: "SURVIVED"}.get(code, "noticed")


def files(names: list[str]) -> dict[Path, list[str]]:
    """The files to change, each with its tests and its own examples."""
    found = {}
    for name, tests in CORE.items():
        place = ROOT / name
        for path in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            if not names or any(path == (ROOT / n) or (ROOT / n) in path.parents for n in names):
                found[path] = [str(path.relative_to(ROOT))]
                found[path] += [str(p.relative_to(ROOT)) for t in tests for p in sorted(ROOT.glob(t))]
    return found


def main() -> None:
    """Change, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="files or folders of the core; all by default")
    parser.add_argument("--sample", type=int, default=200, help="how many changes; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for module in LOADED_ONCE:
        with suppress(ImportError):
            importlib.import_module(module)
    known = set(HARMLESS.read_text("utf-8").splitlines())
    chosen = files(args.files)
    all_changes = [(path, change) for path in chosen for change in changes(path.read_text("utf-8"))]
    made = {f"{path.relative_to(ROOT)} {change.text}" for path, change in all_changes}
    places = tuple(f"{path.relative_to(ROOT)} " for path in chosen)
    for line in sorted(line for line in known - made if line.startswith(places)):
        print(f"{HARMLESS.name} names a change that is made no more: {line}")
    if args.sample and args.sample < len(all_changes):
        all_changes = random.Random(args.seed).sample(all_changes, args.sample)
    reached, limits, survivors = {}, {}, []
    for path, change in sorted(all_changes, key=lambda pair: (pair[0], pair[1].line)):
        label = f"{path.relative_to(ROOT)} {change.text}"
        if label in known:
            continue
        if path not in limits:
            start = time.monotonic()
            reached[path] = reach(path, chosen[path])
            limits[path] = 60 + 5 * (time.monotonic() - start)
        result = verdict(path, chosen[path], change, reached[path], limits[path])
        if result == "SURVIVED":
            survivors.append(label)
        print(f"{result:9} {path.relative_to(ROOT)}:{change}", flush=True)
    print(f"{len(all_changes)} changes, {len(survivors)} survived", *survivors, sep="\n")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
