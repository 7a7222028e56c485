"""What is shipped: its size, its contents, its metadata, and what importing it costs."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import time
import zipfile
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from statistics import median

import pytest
import tomllib
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lvmlib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The library as a wheel, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        cwd="/",
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_wheel_is_small(wheel):
    assert wheel.stat().st_size < 40 * MEGABYTE


def test_checkpoints_are_small():
    weights = (ROOT / "lvmlib" / "experiments" / "checkpoints").glob("*")
    assert sum(path.stat().st_size for path in weights) < 25 * MEGABYTE


def test_wheel_holds_the_library_and_nothing_else(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    listed = subprocess.run(["git", "ls-files", "lvmlib"], cwd=ROOT, text=True, capture_output=True, check=True)
    assert "lvmlib/py.typed" in inside
    assert "lvmlib/datasets/mnist.tar.xz" in inside
    assert set(listed.stdout.split()) - inside == set()
    assert {name for name in inside if not name.startswith("lvmlib/")} == set()


def test_wheel_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Version"] == PROJECT["version"] == lvmlib.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    needed = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
    plain = {need.name: str(need.specifier) for need in needed if need.marker is None}
    models = {"torch", "numpy", "scikit-learn", "matplotlib", "tqdm", "safetensors", "torchdiffeq", "constriction"}
    assert set(plain) == models | {"pooch", "filelock", "requests", "urllib3"}  # and what downloads rest on
    # An upper bound would make pip replace what is there.
    assert all(bounds.startswith(">=") and "," not in bounds for bounds in plain.values())
    assert set(metadata.get_all("Provides-Extra")) == {"book", "homework", "test"}
    assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert archive.read(name.replace("METADATA", "entry_points.txt")).decode().split("\n")[1] == "lvm = lvmlib.cli:main"


def test_installed_wheel_works_by_itself(wheel, tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", tmp_path]
    subprocess.run([*command, wheel], check=True)
    said = python(
        "import lvmlib; print(lvmlib.__file__, lvmlib.__version__, len(lvmlib.load('mnist')[2]))",
        PYTHONPATH=str(tmp_path),
    )
    assert said == f"{tmp_path / 'lvmlib' / '__init__.py'} {PROJECT['version']} 10000"


def test_import_leaves_heavy_packages_alone():
    heavy = ["sklearn", "scipy", "matplotlib", "torchdiffeq", "constriction", "IPython", "sympy", "torch._dynamo"]
    code = "import sys, torch; old = set(sys.modules); import lvmlib; print(*(set(sys.modules) - old))"
    brought = set(python(code).split())
    assert brought & set(heavy) == set()
    assert "lvmlib" in brought


@pytest.mark.slow
def test_import_is_quick():
    code = "import time, torch; t = time.perf_counter(); import lvmlib; print(time.perf_counter() - t)"
    assert median(float(python(code)) for _ in range(3)) < 2


def pins():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def test_lock_has_one_exact_version_each_and_no_addresses():
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|@|\+cpu|\+cu\d", text)
    specifiers = [list(pin.specifier) for pin in pins()]
    assert all(len(found) == 1 and found[0].operator == "==" for found in specifiers)
    names = [canonicalize_name(pin.name) for pin in pins()]
    assert len(names) == len(set(names))


def test_lock_satisfies_every_range():
    locked = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins()}
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *extras["book"], *extras["test"]]:
        need = Requirement(text)
        assert need.specifier.contains(locked[canonicalize_name(need.name)]), text


def test_lock_is_complete():
    """Nothing is left to chance: what a locked package needs is locked too, but for torch's CUDA packages."""
    locked = {canonicalize_name(pin.name) for pin in pins()}
    missing = set()
    for name in locked:
        try:
            needed = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:  # for another Python or system
            continue
        needed = [need for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]
        missing |= {(name, canonicalize_name(need.name)) for need in needed} - {(name, other) for other in locked}
    assert {pair for pair in missing if not re.match("nvidia-|cuda-|triton", pair[1])} == set()


def test_conda_draws_on_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (from_pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert "-r requirements.lock" in from_pip
    pinned_elsewhere = [entry for entry in environment["dependencies"] if isinstance(entry, str) and "=" in entry]
    assert pinned_elsewhere == ["python=3.11"]


def test_citation_file():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert "version" not in citation  # it stands in pyproject.toml


def test_example_of_the_readme_runs(capsys):
    (example,) = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "README.md").read_text())
    assert "steps=2000" in example
    names = {}
    started = time.monotonic()
    exec(example.replace("steps=2000", "steps=20").replace("k=500", "k=5"), names)
    assert time.monotonic() - started < 60
    assert names["digits"].shape == (16, 1, 28, 28)
    assert "ELBO" in capsys.readouterr().out


@pytest.mark.slow
def test_example_of_the_readme_reaches_what_it_says():
    (example,) = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "README.md").read_text())
    promised = [float(value) for value in re.findall(r"# about (-\d+)", example)]
    reached = [float(value) for value in re.findall(r"(-\d+\.\d) nats", python(example))]
    assert reached == pytest.approx(promised, abs=1.5)


def test_lower_bounds_are_those_declared():
    pythons = runpy.run_path(str(ROOT / ".ci" / "pythons.py"), run_name="pythons")
    oldest, bounds = pythons["SETS"]["oldest"]
    assert oldest == "3.10"
    assert len(bounds) == len(PROJECT["dependencies"])
    for text in PROJECT["dependencies"]:
        need = Requirement(text)
        (pin,) = (Requirement(bound) for bound in bounds if Requirement(bound).name == need.name)
        (exact,) = pin.specifier
        assert exact.operator == "==" and str(need.specifier) == f">={exact.version}"


def test_versions_of_colab_are_within_the_ranges():
    pythons = runpy.run_path(str(ROOT / ".ci" / "pythons.py"), run_name="pythons")
    version, pins = pythons["SETS"]["colab"]
    ranges = {Requirement(text).name: Requirement(text).specifier for text in PROJECT["dependencies"]}
    assert (
        version in PROJECT["requires-python"]
        or f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    )
    ours = [pin for pin in map(Requirement, pins) if pin.name in ranges]
    assert {"torch", "numpy", "matplotlib", "scikit-learn"} <= {pin.name for pin in ours}
    for pin in ours:
        assert ranges[pin.name].contains(next(iter(pin.specifier)).version)


def test_a_set_that_does_not_exist_is_named():
    pythons = runpy.run_path(str(ROOT / ".ci" / "pythons.py"), run_name="pythons")
    assert pythons["main"](["3.7"]) == 2
