"""From a folder of submissions to one notebook a student, or the reason why there is none."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lvmlib.homework.files import File, contents, unpack, walk
from lvmlib.homework.layouts import CANVAS, GRADESCOPE, MOODLE, Owner, clean, owners, read_gradescope
from lvmlib.homework.notebooks import Unreadable, check_homework, read_notebook

BESIDE = {".csv", ".txt", ".md", ".yml", ".yaml", ".html", ".log", ".json"}  # lie loose among submissions, and are none
MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Submission:
    """What one student handed in."""

    owner: Owner
    file: str = ""  # the notebook that counts
    notebook: dict[str, Any] | None = None  # None where nothing can be graded
    status: str = ""  # and then this says why
    note: str = ""
    submitted: dt.datetime | None = None

    @property
    def student(self) -> str:
        """The student's name."""
        return self.owner.student


def collect(
    folder: Path, number: str = "00", answers: tuple[str, ...] = (), manifest: Path | None = None
) -> list[Submission]:
    """Return one submission a student, sorted by name.

    The folder may hold files that are called like their students, a folder for each student, or what Canvas, Moodle or
    Gradescope export; it may be a .zip of these. Of several notebooks of one student counts the latest that can be read
    and belongs to this homework: by the number of the upload where Canvas gave one, else by time, else by name.

    When something was submitted says the manifest, if it names the student; else Gradescope's own record; else the time
    of the file. Of files from Canvas only its own mark counts, since their times are those of the download.

    Args:
        folder: of the submissions, or a .zip.
        number: of the homework.
        answers: names that its tests ask for; a notebook that defines none of them belongs to another one.
        manifest: a CSV file with the columns ``name`` and ``submitted``, by default ``manifest.csv`` in the folder. A
            student whom it names and who handed in nothing is listed as such.

    Raises:
        ValueError: if there is no such folder, or if the manifest is not as described.
    """
    folder = Path(folder).expanduser()
    files = _without_wrapper(walk(folder))
    times = _read_manifest(files, manifest)
    pairs = list(_owned(files))
    found = []
    for student in dict.fromkeys(owner.key for owner, _ in pairs):
        own = [(owner, file) for owner, file in pairs if owner.key == student]
        found.append(_latest(own, number, answers))
    found = _told_apart(found)
    listed: dict[str, dt.datetime | None] = dict(times)
    dated = [_dated(submission, listed) for submission in found]
    absent = [Submission(Owner(clean(name)), "", None, "not submitted", "No file.") for name in listed]
    return sorted(dated + absent, key=lambda one: (one.student.casefold(), one.student))


def _without_wrapper(files: list[File]) -> list[File]:
    """Leave out a folder that holds nothing but a folder for each student, or an export of Gradescope."""
    tops = {file.parts[0] for file in files}
    inside = [file.parts[1:] for file in files]
    wraps = len(tops) == 1 and (all(len(rest) > 1 for rest in inside) or (GRADESCOPE,) in inside)
    if not wraps or MOODLE.fullmatch(next(iter(tops))):
        return files
    return [replace(file, parts=file.parts[1:]) for file in files]


def _owned(files: list[File]) -> Iterator[tuple[Owner, File]]:
    """Yield the files that are somebody's, with whose they are."""
    records = next((file for file in files if file.parts == (GRADESCOPE,)), None)
    gradescope: Mapping[str, list[Owner]] = {}
    if records is not None:
        gradescope = read_gradescope(contents(records).decode("utf-8", "replace"))
    for file in files:
        ending = "." + file.parts[-1].lower().rpartition(".")[2]
        loose = len(file.parts) == 1 and not file.kind and ending in BESIDE
        if not loose or CANVAS.fullmatch(file.parts[-1]) or MOODLE.fullmatch(file.parts[-1]):
            for owner in owners(file.parts, gradescope):
                yield owner, file


def _latest(own: list[tuple[Owner, File]], number: str, answers: tuple[str, ...]) -> Submission:
    """Return the latest of a student's notebooks that can be graded, or what is wrong with the latest."""
    own = sorted(own, key=lambda pair: (pair[0].attempt, pair[1].modified, _natural(pair[1].name)), reverse=True)
    problem: Submission | None = None
    count = 0
    chosen: Submission | None = None
    for owner, file, read in _candidates(own):
        count += 1
        try:
            if chosen is None:
                notebook = read_notebook(read())
                if answers:
                    check_homework(notebook, number, answers)
                chosen = Submission(owner, file.name, notebook, submitted=file.modified)
        except Unreadable as wrong:
            problem = problem or Submission(owner, file.name, None, wrong.status, wrong.note, file.modified)
    if chosen is not None:
        several = f"Of {count} notebooks, {clean(chosen.file)} counts, the latest." if count > 1 else ""
        return replace(chosen, note=several)
    return problem or _nothing(*own[0], [file for _, file in own])


def _nothing(owner: Owner, file: File, files: list[File]) -> Submission:
    """Say what there is in place of a notebook."""
    there = ", ".join(clean(one.name) for one in files[:3] if one.parts[-1])
    status, note = "no notebook", f"No .ipynb; there is {there}."
    if not there:
        try:
            file.read(1)
        except Unreadable as wrong:
            status, note = wrong.status, wrong.note
    return Submission(owner, "", None, status, note, file.modified)


def _candidates(own: list[tuple[Owner, File]]) -> Iterator[tuple[Owner, File, Callable[[], bytes]]]:
    """Yield the notebooks of a student, those inside archives too, and a way to read each."""
    for owner, file in own:
        if file.kind == "notebook":
            yield owner, file, lambda file=file: contents(file)  # type: ignore[misc]
        elif file.kind == "zip":
            try:
                inner = [member for member in unpack(file) if member.kind == "notebook"]
            except Unreadable as wrong:
                yield owner, file, lambda wrong=wrong: _raise(wrong)  # type: ignore[misc]
                continue
            for member in sorted(inner, key=lambda one: (one.modified, _natural(one.name)), reverse=True):
                named = replace(member, parts=(*file.parts, *member.parts))
                yield owner, named, lambda member=member: contents(member)  # type: ignore[misc]


def _raise(wrong: Unreadable) -> bytes:
    raise wrong


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts 2 before 10."""
    pieces = re.split(r"(\d+)", name)
    return [(len(piece.lstrip("0")) if n % 2 else 0, piece) for n, piece in enumerate(pieces)]


def _told_apart(found: list[Submission]) -> list[Submission]:
    """Give students whose names read alike names that do not."""
    seen: set[str] = set()
    told = []
    for one in sorted(found, key=lambda one: one.owner.key):
        name, n = one.student, 1
        while name.casefold() in seen:
            n += 1
            name = f"{one.student} ({one.owner.number or n})" if n == 2 else f"{one.student} ({n})"
        seen.add(name.casefold())
        told.append(replace(one, owner=replace(one.owner, student=name)))
    return told


def _dated(one: Submission, listed: dict[str, dt.datetime | None]) -> Submission:
    """Set when a submission came, and strike its student off the list."""
    owner = one.owner
    names = {owner.student, owner.raw, owner.number, owner.email, Path(one.file).name} - {""}
    for name in list(listed):
        if name.casefold() in {clean(known).casefold() for known in names}:
            when = listed.pop(name)
            return replace(one, submitted=when or one.submitted, owner=replace(owner, late=None) if when else owner)
    if owner.submitted or owner.system == "canvas":
        return replace(one, submitted=owner.submitted)
    return one


def _read_manifest(files: list[File], path: Path | None) -> dict[str, dt.datetime | None]:
    """Return times by names, as the manifest has them."""
    inside = next((file for file in files if file.parts == (MANIFEST,)), None)
    if path is None and inside is None:
        return {}
    data = Path(path).read_bytes() if path is not None else contents(inside) if inside else b""
    text = data.decode("utf-8-sig", "replace")
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",")
    if not {"name", "submitted"} <= set(rows.fieldnames or ()):
        raise ValueError(f"the manifest needs the columns name and submitted; it has {head.strip()!r}")
    times: dict[str, dt.datetime | None] = {}
    for line, row in enumerate(rows, 2):
        if name := clean(row["name"] or "") if (row["name"] or "").strip() else "":
            times[name] = moment(row["submitted"], f"line {line} of the manifest")
    return times


def moment(text: str | dt.datetime | None, what: str) -> dt.datetime | None:
    """Return a point in time; the clock is this machine's where none is named.

    Args:
        text: such as ``2026-03-01 23:59`` or ``2026-03-01T22:59Z``; empty for none.
        what: is being read, for the message.

    Raises:
        ValueError: if it is no time.
    """
    if isinstance(text, dt.datetime):
        return text.astimezone()
    if not (text or "").strip():
        return None
    try:
        return dt.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", str(text).strip())).astimezone()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{what}: {text!r} is no time; write it like 2026-03-01 23:59") from None
