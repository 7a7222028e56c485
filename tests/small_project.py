"""A small project that sets itself up as this one does: the same scripts, with five small packages to install."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path):
    """A copy of the set-up with a lock of five small packages, the build backend and what it needs."""
    folder = tmp_path / "project"
    (folder / ".ci").mkdir(parents=True)
    for name in (".ci/setup", ".ci/install.py", "Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "lvmlib").mkdir()
    (folder / "lvmlib" / "__init__.py").write_text("")
    small = re.findall(r"(?m)^(?:hatchling|packaging|pathspec|pluggy|trove-classifiers)==.*$", lock())
    assert len(small) == 5
    (folder / "requirements.lock").write_text("\n".join(small) + "\n")
    install = folder / ".ci" / "install.py"
    install.write_text(re.sub(r"(?m)^SPACE = .*$", "SPACE = 100_000_000", install.read_text()))
    return folder


def lock():
    return (ROOT / "requirements.lock").read_text()


def clean_environment(**changes):
    ours = ("PYTHON", "TORCH", "PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL")
    return {**{k: v for k, v in os.environ.items() if k not in ours}, **changes}


def setup(project, path=os.defpath, command=("/bin/sh", ".ci/setup"), **environment):
    return subprocess.run(
        command,
        cwd=project,
        env=clean_environment(PATH=str(path), **environment),
        text=True,
        capture_output=True,
        timeout=300,
    )


def base_python():
    return getattr(sys, "_base_executable", sys.executable)


def assert_one_sentence(done, *parts):
    assert done.returncode != 0
    lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("make: *** [")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("make: ")
    for part in parts:
        assert part in lines[0]
