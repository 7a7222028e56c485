"""From a folder of submissions to a table of grades: many at a time, resumable, the same result every time."""

from __future__ import annotations

import datetime as dt
import fnmatch
import functools
import json
import sys
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lvmlib.homework import feedback as pages
from lvmlib.homework import pool, results, table
from lvmlib.homework.box import START, Limits
from lvmlib.homework.master import Master, find_masters, read_master
from lvmlib.homework.remote import Result, grade_one
from lvmlib.homework.sandbox import find_sandbox
from lvmlib.homework.submissions import Submission, collect, moment

__all__ = ["Result", "grade", "grade_one"]
NOT_YET = Result((), "not graded yet")
WORK = "lvmlib.homework.grading:job"  # what a worker does


def grade(
    course: Path,
    submissions: Path,
    out: Path,
    *,
    workers: int = 1,
    seed: int | None = None,
    deadline: str | dt.datetime | None = None,
    late_penalty: float = 0.0,
    grace: float = 0.0,
    manifest: Path | None = None,
    sandbox: str = "auto",
    limits: Limits | None = None,
    feedback: Path | None = None,
    show_hidden: bool = False,
    only: Collection[str] = (),
    again: bool = False,
    format: str = "plain",
    progress: bool = True,
) -> list[table.Row]:
    """Grade all submissions of a homework and write the table.

    What is finished is kept beside the table, in a folder called like it: an interrupted run goes on where it ended,
    and a second one grades only what has changed. The number of workers changes nothing but the time.

    Args:
        course: the folder of the homework, such as ``course/09``, with the master and the seed.
        submissions: a folder or a .zip; see `collect`.
        out: the table, a .csv file.
        workers: processes that grade side by side; about one for each core, and 2 GB of memory for each.
        seed: in place of the one in the course folder.
        deadline: such as ``2026-03-01 23:59``; later submissions are graded, and marked late.
        late_penalty: percent of the points reached that each day costs that has begun after the deadline.
        grace: minutes that a submission may come after the deadline and still be on time.
        manifest: a CSV file that says who handed in when; see `collect`.
        sandbox: "docker", "bubblewrap", the first of these that works ("auto"), or "none" for code that you trust.
        limits: of time and memory for each notebook.
        feedback: a folder for one page a student, and an index for the instructor.
        show_hidden: show students what went wrong in hidden tests in full; their inputs can be read off that.
        only: names of students, ``*`` and ``?`` allowed; the others keep what they have.
        again: grade anew what is graded already.
        format: of the table: "plain", "canvas" or "moodle".
        progress: show a bar.

    Returns:
        The rows of the table, in order of the students' names.

    Raises:
        ValueError: if an argument, the course folder or the manifest is not as described.
        SandboxMissing: if there is no sandbox; the message says what to install.
    """
    if format not in table.TABLES:
        raise ValueError(f"there is no table called {format!r}; choose one of {', '.join(table.TABLES)}")
    out, limits, course = Path(out).expanduser(), limits or Limits(), Path(course).expanduser()
    master, seed = find_master(course), find_seed(course) if seed is None else seed
    kind = find_sandbox(sandbox)
    due = table.Lateness(moment(deadline, "the deadline"), dt.timedelta(minutes=grace), late_penalty)
    for target in filter(None, (out, feedback)):
        if Path(submissions).expanduser().resolve() in Path(target).expanduser().resolve().parents:
            raise ValueError(
                f"{target} lies among the submissions, where it would be taken for one; write it elsewhere"
            )
    handed_in = collect(Path(submissions), master.number, master.answers, manifest)
    kept = out.with_name(out.name + ".results")
    for pattern in only:
        if not any(fnmatch.fnmatchcase(one.student, pattern) for one in handed_in):
            raise ValueError(f"no student is called {pattern!r}")
    found: dict[str, Result] = {}
    todo: list[tuple[Submission, str]] = []
    for one in handed_in:
        if one.notebook is None:
            found[one.student] = Result((), one.status)
            continue
        key, old = results.key_of(one.notebook, master.path, seed, limits, kind), results.load(kept, one.student)
        chosen = not only or any(fnmatch.fnmatchcase(one.student, pattern) for pattern in only)
        found[one.student] = old[1] if old and (old[0] == key or not chosen) else NOT_YET
        if chosen and (again or not old or old[0] != key):
            todo.append((one, key))
    try:
        _grade_all(
            todo, found, kept, workers, progress, master=str(master.path), seed=seed, sandbox=kind, limits=limits
        )
    finally:  # interrupted too: what is graded stands in the table
        rows = [table.row(master, one, found[one.student], due) for one in handed_in]
        text = {"plain": table.plain, "canvas": table.canvas, "moodle": table.moodle}[format](master, rows)
        results.write(out, text, "utf-8-sig" if format == "plain" else "utf-8")  # Excel reads umlauts by the mark
        if feedback is not None:
            pages.write_all(Path(feedback).expanduser(), master, rows, show_hidden)
    return rows


def _grade_all(
    todo: list[tuple[Submission, str]],
    found: dict[str, Result],
    kept: Path,
    workers: int,
    progress: bool,
    **how: Any,
) -> None:
    """Grade, keep every result at once, and enter it into `found`. One notebook of several students is graded once."""
    groups: dict[str, list[Submission]] = {}
    for one, key in todo:
        groups.setdefault(key, []).append(one)
    how["limits"] = asdict(how["limits"])
    jobs = [{"notebook": group[0].notebook, **how} for group in groups.values()]
    seconds = 2 * START + 4 * how["limits"]["wall"] + 60  # beyond whatever the sandboxes allow
    with tqdm(total=len(todo), disable=not (progress and todo), unit="student", file=sys.stderr) as bar:
        for n, answer in pool.run(jobs, WORK, workers, seconds):
            key, group = list(groups.items())[n]
            for one in group:
                if "done" in answer:
                    found[one.student] = results.as_result(answer["done"])
                    results.save(kept, one.student, key, found[one.student])
                else:
                    found[one.student] = Result((), "grader failed", f"Run it again: {answer['lost']}.")
                bar.update()


def job(notebook: dict[str, Any], master: str, seed: int, sandbox: str, limits: dict[str, Any]) -> dict[str, Any]:
    """Grade one notebook, in a worker: everything that goes in and comes out is JSON."""
    return asdict(grade_one(_master(master), notebook, seed, sandbox, Limits(**limits)))


@functools.cache
def _master(path: str) -> Master:
    """Return a master, read once."""
    return read_master(Path(path))


def find_master(course: Path) -> Master:
    """Return the master in a course folder.

    Raises:
        ValueError: if there is none, or more than one.
    """
    masters = find_masters(course / "master")
    if len(masters) != 1:
        raise ValueError(
            f"{course / 'master'} must hold one master, such as 09_iwae.py; `lvm homework assign` makes it"
        )
    return read_master(masters[0])


def find_seed(course: Path) -> int:
    """Return the seed of a course folder.

    Raises:
        ValueError: if there is none.
    """
    try:
        return int(json.loads((course / "secret.json").read_text("utf-8"))["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{course / 'secret.json'} must hold the seed, or give one") from None
