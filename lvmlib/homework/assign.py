"""Makes the folder of a homework from its master: student's notebook, solution, what the graders need."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from lvmlib.homework.gradescope import ROOT, library_wheel, requirements, write_bundle
from lvmlib.homework.leaks import refuse_leaks
from lvmlib.homework.master import Master, find_masters, read_master
from lvmlib.homework.student import student_notebook

README = """Homework {number}: {title}, {points:g} points

student/     {name}.ipynb: give this file to students; its public tests travel inside it
solution/    {name}.ipynb: the solution, for after the deadline
master/      {name}.py: text, solution and all tests; the grader marks with it
gradescope/  {name}-autograder.zip, for Gradescope's *Configure Autograder*
secret.json  the seed from which hidden tests draw their inputs

Keep all but student/ from students. To grade what they hand in, on this machine:

    lvm homework grade {folder} SUBMISSIONS --out grades.csv

That grader runs answers in a sandbox which the tests never enter. Gradescope's does not: there a student's code and the
hidden tests share one process and one machine, so an answer can read the tests, send them elsewhere, or write its own
result. Let Gradescope collect and give first feedback, and take grades from the command above.
"""


def masters_in(folder: Path | None = None) -> list[Path]:
    """Return the masters of a folder; those of the repository when left out.

    Raises:
        FileNotFoundError: if there are none.
    """
    folder = folder or ROOT / "notebooks" / "homework"
    if not (found := find_masters(folder)):
        raise FileNotFoundError(f"there are no masters in {folder}; name the folder that holds some with --masters")
    return found


def find_master(number: str, folder: Path | None = None) -> Path:
    """Return the master of a homework.

    Args:
        number: of the chapter, "9" or "09".
        folder: where masters are; that of the repository when left out.

    Raises:
        FileNotFoundError: if it is not there.
    """
    found = {path.name[:2]: path for path in masters_in(folder)}
    if (wanted := number.zfill(2)) not in found:
        raise FileNotFoundError(f"there is no homework {number}, only {', '.join(found)}")
    return found[wanted]


def assign(
    number: str,
    out: Path,
    *,
    masters: Path | None = None,
    site: str = "",
    seed: int | None = None,
    wheel: Path | None = None,
    force: bool = False,
    check: bool = False,
) -> Path:
    """Write the folder of a homework, complete or not at all, and return it.

    Args:
        number: of the chapter.
        out: the course's folder; the homework gets a folder of its own in it, called like its number.
        masters: a folder of masters; those of the repository when left out.
        site: from where Colab takes the library: the book's address, or that of a wheel.
        seed: of the hidden tests' inputs; drawn by chance when left out, kept where the folder exists.
        wheel: of the library; built from the repository when left out.
        force: replace what is there.
        check: run the bundle on the solution, as Gradescope would, and refuse it unless the solution gets full marks.

    Raises:
        FileExistsError: if the folder is there and `force` is not given.
        ValueError: if the master is not in order, or students would see what they must not.
        RuntimeError: if the solution does not get full marks.
    """
    master = read_master(find_master(number, masters))
    target = Path(out) / master.number
    if target.exists() and not force:
        raise FileExistsError(f"{target} is there already; --force replaces what this command wrote")
    if seed is None:
        seed = old_seed(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    wheel = wheel or library_wheel(target.parent)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{master.number}-") as work:
        made = Path(work) / "made"
        write_folder(master, made, Path(work), wheel, site, seed, target)
        if check:
            check_bundle(made, master, seed)
        put_in_place(made, target)
    return target


def old_seed(folder: Path) -> int:
    """Return the seed that a folder has, so that a grade given once can be given again, or a new one."""
    file = folder / "secret.json"
    return int(json.loads(file.read_text("utf-8"))["seed"]) if file.exists() else secrets.randbelow(2**31)


def write_folder(master: Master, made: Path, work: Path, wheel: Path, site: str, seed: int, target: Path) -> None:
    """Write all that a homework's folder holds."""
    name = master.path.stem
    otters = run_otter(master.path, work, wheel)
    for kind, ours in (("student", "student"), ("autograder", "solution")):
        tests = {path.stem: path.read_text("utf-8") for path in sorted((otters / "student" / "tests").glob("*.py"))}
        notebook = student_notebook(read(otters / kind / f"{name}.ipynb"), name, tests, wheel.name, place(site, wheel))
        if kind == "student":
            refuse_leaks(notebook, master.path)
        (made / ours).mkdir(parents=True)
        (made / ours / f"{name}.ipynb").write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (made / "master").mkdir()
    shutil.copy(master.path, made / "master")
    (made / "gradescope").mkdir()
    (bundle,) = (otters / "autograder").glob("*.zip")
    write_bundle(bundle, made / "gradescope" / f"{name}-autograder.zip", seed)
    (made / "secret.json").write_text(json.dumps({"seed": seed}) + "\n", "utf-8")
    words = {"number": int(master.number), "title": master.title, "points": master.points, "name": name}
    (made / "README.txt").write_text(README.format(**words, folder=target), "utf-8")


def place(site: str, wheel: Path) -> str:
    """Return the address of the wheel, from that of the book's site or its own.

    >>> from pathlib import Path
    >>> from lvmlib.homework.assign import place
    >>> place("https://example.org/book", Path("lvmlib-0.1.0-py3-none-any.whl"))
    'https://example.org/book/wheels/lvmlib-0.1.0-py3-none-any.whl'
    """
    return site if not site or site.endswith(".whl") else f"{site.rstrip('/')}/wheels/{wheel.name}"


def run_otter(path: Path, work: Path, wheel: Path) -> Path:
    """Run Otter Assign on a master; return the folder with what it made of it."""
    import jupytext
    import nbformat
    from otter.assign import main as otter_assign

    settings = {
        "init_cell": False,  # ours brings the tests along
        "export_cell": False,
        "tests": {"files": True, "ok_format": False},
        "strip_solutions_from_all_cells": True,
        "requirements": requirements(wheel.name),
        "autograder_files": [wheel.name],
        "generate": {"show_stdout": False, "show_hidden": False},
    }
    notebook = jupytext.reads(path.read_text("utf-8"), fmt="py:percent")
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook.cells.insert(0, nbformat.v4.new_raw_cell(f"# ASSIGNMENT CONFIG\n{yaml.safe_dump(settings)}"))
    master, result = work / "otter" / f"{path.stem}.ipynb", work / "otter" / "dist"
    master.parent.mkdir()
    nbformat.write(notebook, master)
    shutil.copy(wheel, master.parent)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            otter_assign(str(master), str(result), no_pdfs=True, no_run_tests=True)
    except Exception as error:  # of several kinds: Otter's own, assertions, YAML's
        raise ValueError(f"{path.name}: {error}") from error
    return result


def read(path: Path) -> Any:
    """Return a notebook."""
    import nbformat

    return nbformat.read(path, as_version=4)


def check_bundle(made: Path, master: Master, seed: int) -> None:
    """Refuse a bundle that does not give its own solution full marks."""
    from otter.api import grade_submission

    from lvmlib.homework.checking import SEED

    name = master.path.stem
    before = os.environ.get(SEED)
    os.environ[SEED] = str(seed)
    try:
        bundle = made / "gradescope" / f"{name}-autograder.zip"
        results = grade_submission(str(made / "solution" / f"{name}.ipynb"), str(bundle), quiet=True)
    finally:
        os.environ.pop(SEED)
        os.environ.update({} if before is None else {SEED: before})
    if results.total != master.points:
        lost = [question for question, result in results.results.items() if result.score < result.possible]
        earned = f"the solution of {name} gets {results.total:g} of {master.points:g} points"
        raise RuntimeError(f"{earned}; it loses some in {', '.join(lost) or 'no question: the notebook did not run'}")


def put_in_place(made: Path, target: Path) -> None:
    """Move a finished folder to where it belongs; what else lies in an old one stays."""
    if not target.exists():
        made.rename(target)
        return
    for new in sorted(made.iterdir()):
        old = target / new.name
        if old.is_dir():
            old.rename(made.parent / f"old-{new.name}")  # removed with the temporary folder
        new.replace(old)
