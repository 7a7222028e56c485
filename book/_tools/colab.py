"""Run the Colab editions as a student does, with the packages that Colab has, and compare what they print and draw.

    python -m book._tools.colab                 every edition of _build/html: make test-colab
    python -m book._tools.colab 08 09           these: make test-colab NB="08 09"
    python -m book._tools.colab --image /usr/bin/python3     with a Python that has Colab's packages, as in a container

The packages of `.ci/colab.txt` are installed once, 5 GB, into $COLAB_CACHE (~/.cache/lvmlib-colab). Each edition gets a
copy of them, made of links; its first cell installs the library there from the built site; then it runs to its end in
an empty folder. It fails if a package that Colab has is not as it was, if a cell fails, or if an output differs by more
than the chapter's own tolerances from the stored one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from traitlets.config import Config

from book._tools import kernel
from book._tools.execute import ExecutionError, find_chapters, first_line, plain
from book._tools.image import IMAGE, lacking, names
from book._tools.pairing import ROOT, read_notebook
from tests.book.comparator import compare_outputs

SITE = ROOT / "_build" / "html"
OURS = {"lvmlib", *names(lacking())}  # what the first cell of an edition installs
SPACE = 9e9  # bytes that the packages, and what pip unpacks meanwhile, take
LISTING = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"


class Report(NamedTuple):
    """How one edition fared."""

    chapter: str
    install: float  # seconds that the first cell took
    seconds: float  # of all the others
    problems: list[str]


def cache() -> Path:
    """Return where Colab's packages are kept, outside every checkout."""
    return Path(os.environ.get("COLAB_CACHE") or "~/.cache/lvmlib-colab").expanduser()


def make_image() -> Path:
    """Return the Python of an environment with Colab's packages; make it unless it is there."""
    pins = IMAGE.read_text("utf-8")
    folder = cache() / hashlib.sha256(pins.encode()).hexdigest()[:12]
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    tools = runpy.run_path(str(ROOT / ".ci" / "pythons.py"), run_name="pythons")
    version = tools["SETS"]["colab"][0]
    base = tools["python"](version)
    if base is None:
        raise ExecutionError(f"Colab runs Python {version}, and there is none on this machine")
    cache().mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(cache()).free) < SPACE:
        raise ExecutionError(f"{cache()} has {free / 1e9:.1f} GB left, and {SPACE / 1e9:.0f} are needed")
    print(f"Installing Colab's packages into {folder}: minutes, and 5 GB", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([base, "-m", "venv", folder], check=True)
    extra = ["--extra-index-url", tools["TORCH_CPU"]] if os.environ.get("TORCH") == "cpu" else []
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *extra, "-r", IMAGE]
    subprocess.run(pip, check=True)
    (folder / "complete").touch()
    return python


def copy_image(python: Path) -> Path:
    """Return the Python of a copy that may be changed; it is made of links and so takes no space."""
    copy = Path(tempfile.mkdtemp(prefix="run-", dir=cache()))
    shutil.copytree(python.parents[1], copy, symlinks=True, copy_function=os.link, dirs_exist_ok=True)
    return copy / "bin" / "python"


def packages(python: Path) -> dict[str, str]:
    """Return the versions of all that a Python has."""
    done = subprocess.run([python, "-I", "-c", LISTING], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Say which packages are other than they were, and which came that nobody asked for."""
    moved = [f"{name} was {old}, is {after.get(name)}" for name, old in before.items() if after.get(name) != old]
    return moved + [f"{name} came too" for name in sorted(set(after) - set(before) - OURS)]


def manager(python: Path) -> type[kernel.OwnAsyncKernel]:
    """Return what starts kernels of another Python."""

    class Specs(kernel.ThisPython):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            spec = super().get_kernel_spec(kernel_name)
            spec.argv[0] = str(python)
            return spec

    class Manager(kernel.OwnAsyncKernel):
        def _kernel_spec_manager_default(self) -> Any:
            return Specs()

    return Manager


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a kernel that takes itself for Colab's, with nothing of the repository in reach."""
    shutil.copytree(ROOT / "book" / "_tools", folder / "book" / "_tools")  # describes figures, for the comparison
    env = kernel.environment(folder)
    env |= {"PYTHONPATH": str(folder), "COLAB_RELEASE_TAG": "test", "LVMLIB_SITE": SITE.as_uri() + "/"}
    env |= {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}  # else ipykernel warns of what it does itself
    return env


def run(edition: Path, python: Path, timeout: int) -> tuple[Any, float, float]:
    """Run an edition from an empty folder; return it with its new outputs, and the seconds of first and other cells."""
    nb = nbformat.read(edition, as_version=4)
    code = [cell for cell in nb.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs = []
    times: list[float] = []

    def note(cell: Any, cell_index: int, **_: Any) -> None:
        if cell.cell_type == "code":
            times.append(time.perf_counter())

    with kernel.personal_folder() as personal, tempfile.TemporaryDirectory(prefix="colab-content-") as content:
        client = NotebookClient(
            nb, timeout=timeout, kernel_name="python3", kernel_manager_class=manager(python), record_timing=False,
            config=Config(KernelManager=kernel.connection(personal)), resources={"metadata": {"path": content}},
            coalesce_streams=False, on_cell_start=note,
        )  # fmt: skip
        try:
            client.execute(env=environment(Path(personal)))
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise ExecutionError(f"code cell {len(times) - 1} fails:\n{plain(str(error))[-3000:]}") from error
    return nb, times[1] - times[0], time.perf_counter() - times[1]


def compare(new: Any, chapter: Path) -> list[str]:
    """Return the differences between an edition's new outputs and the chapter's stored ones, cell by cell."""
    stored = [cell for cell in read_notebook(chapter.with_suffix(".ipynb")).cells if cell.cell_type == "code"]
    fresh = [cell for cell in new.cells if cell.cell_type == "code"][1:]
    if [cell.source for cell in stored] != [cell.source for cell in fresh]:
        return ["the edition has other code than the chapter: make book"]
    problems = []
    for n, (old, cell) in enumerate(zip(stored, fresh), start=1):
        if found := compare_outputs(old.outputs, cell.outputs, old.metadata, old.source, other_matplotlib=True):
            problems += [f"code cell {n}: {first_line(old.source)}", *(f"    {line}" for line in found)]
    return problems


def check(chapter: Path, python: Path, own: bool, keep: Path | None, timeout: int) -> Report:
    """Try one edition; `own` says that the Python is ours to copy, `keep` where to leave the edition as it ran."""
    edition = SITE / "notebooks" / f"{chapter.name}.ipynb"
    if not edition.exists():
        return Report(chapter.name, 0, 0, [f"{edition} is not there: make book"])
    copy = copy_image(python) if own else python
    install = seconds = 0.0
    try:
        before = packages(copy)
        new, install, seconds = run(edition, copy, timeout)
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            nbformat.write(new, keep / edition.name)
        problems = changes(before, packages(copy)) + compare(new, chapter)
    except ExecutionError as error:
        problems = [str(error)]
    finally:
        if own:
            shutil.rmtree(copy.parents[1])
        else:  # so that the next edition installs them too
            subprocess.run([copy, "-m", "pip", "uninstall", "--quiet", "--yes", *OURS], check=False)
    return Report(chapter.name, install, seconds, problems)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 if every edition does as its chapter does."""
    parser = argparse.ArgumentParser(prog="colab", description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="08 or 08_vae; all when left out")
    parser.add_argument("--image", type=Path, help="a Python with Colab's packages, used as it is")
    parser.add_argument("--keep", type=Path, help="a folder for the editions as they ran, to be looked at")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds that one cell may take (1800)")
    options = parser.parse_args(arguments)
    try:
        chapters = find_chapters(options.chapters)
        python = options.image or make_image()
    except (ExecutionError, subprocess.CalledProcessError) as error:
        print(f"colab: {error}", file=sys.stderr)
        return 2
    reports = []
    for chapter in chapters:
        report = check(chapter, python, options.image is None, options.keep, options.timeout)
        reports.append(report)
        times = f"installed in {report.install:.0f} s, then {report.seconds:.0f} s"
        print(f"{report.chapter}: {times}, {'DIFFERS' if report.problems else 'as stored'}", flush=True)
        print("".join(f"  {line}\n" for line in report.problems), end="", flush=True)
    failed = [report.chapter for report in reports if report.problems]
    print(f"{len(reports) - len(failed)} of {len(reports)} editions do as their chapters do", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
