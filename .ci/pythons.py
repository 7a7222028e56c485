"""Run the library's tests in other environments than the locked one, each made afresh and removed afterwards.

    python .ci/pythons.py                    all of them
    python .ci/pythons.py oldest colab       these

oldest   the oldest Python that pyproject.toml admits, with the lower bound of everything that it declares
colab    what a notebook on Colab finds there: its Python and the packages that come with it
3.10 to 3.13    the newest versions that the ranges allow, on this Python

PyTorch is downloaded for each, gigabytes of CUDA included on Linux, unless TORCH=cpu.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TORCH_CPU = "https://download.pytorch.org/whl/cpu"
COLAB = [pin for pin in (ROOT / ".ci" / "colab.txt").read_text("utf-8").splitlines() if not pin.startswith("#")]
OLDEST = PROJECT["requires-python"].removeprefix(">=")
TESTS = ["-q", "-n", "2", "-m", "not slow", "lvmlib", "tests", "--ignore=tests/book", "--ignore=tests/mutation"]
OURS = ["tests/test_packaging.py", "tests/test_setup.py", "tests/test_setup_recovery.py"]  # they try the locked one


def lower_bounds(dependencies: list[str]) -> list[str]:
    """Return the least versions of ranges such as `numpy>=1.26`, to be installed as they stand."""
    found = [re.fullmatch(r"([\w-]+)>=([\w.]+)", text) for text in dependencies]
    return [f"{bound[1]}=={bound[2]}" for bound in found if bound]


SETS = {"oldest": (OLDEST, lower_bounds(PROJECT["dependencies"])), "colab": ("3.13", COLAB)}
SETS |= {version: (version, []) for version in ("3.10", "3.11", "3.12", "3.13")}


def python(version: str) -> str | None:
    """Return a Python of that version that can make environments, from PATH or from pyenv."""
    pyenv = sorted(Path(os.path.expanduser("~/.pyenv/versions")).glob(f"{version}.*/bin/python"))
    for path in [shutil.which(f"python{version}"), *map(str, pyenv)]:
        if path and not subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True).returncode:
            return path
    return None


def passes(name: str, base: str) -> bool:
    """Make the environment of a set, run the tests in it, remove it."""
    version, pins = SETS[name]
    print(f"{name}: Python {version} ({base}), {', '.join(pins) or 'the newest versions'}", flush=True)
    extra = ["--extra-index-url", TORCH_CPU] if os.environ.get("TORCH") == "cpu" else []
    with tempfile.TemporaryDirectory(prefix=f"lvmlib-{name}-") as folder:
        own = Path(folder) / "bin" / "python"
        steps = [
            [base, "-m", "venv", folder],
            [
                own,
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                *extra,
                *pins,
                ".",
                "pytest",
                "pytest-xdist",
            ],
            [own, "-m", "pytest", *TESTS, *(f"--ignore={file}" for file in OURS)],
        ]
        return all(subprocess.run(step, cwd=ROOT, check=False).returncode == 0 for step in steps)


def main(names: list[str]) -> int:
    """Run the sets that were named, or all those whose Python is here; return 0 if every one passes."""
    if unknown := set(names) - set(SETS):
        print(f"make: there is no set {min(unknown)}, only {', '.join(SETS)}.", file=sys.stderr)
        return 2
    results = {}
    for name in names or SETS:
        base = python(SETS[name][0])
        results[name] = "no such Python here" if base is None else "passes" if passes(name, base) else "FAILS"
    print("\n".join(f"{name}: {result}" for name, result in results.items()))
    wanted = results.values() if names else [result for result in results.values() if not result.startswith("no")]
    return 0 if wanted and set(wanted) == {"passes"} else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
