"""The table of grades: one row a student, for people, for Canvas or for Moodle."""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from lvmlib.homework.master import Master
from lvmlib.homework.remote import Result
from lvmlib.homework.submissions import Submission

TABLES = ("plain", "canvas", "moodle")
DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Lateness:
    """When submissions are due, and what it costs to be late.

    Attributes:
        deadline: None for no deadline.
        grace: that a submission may come later and still be on time.
        penalty: percent of the points reached that each day costs that has begun after the deadline.
    """

    deadline: dt.datetime | None = None
    grace: dt.timedelta = dt.timedelta(0)
    penalty: float = 0.0

    def by(self, submission: Submission) -> dt.timedelta | None:
        """Return by how much a submission is late; nothing if it is on time; None if nobody knows when it came."""
        if self.deadline is None or submission.submitted is None:
            return None
        over = submission.submitted - self.deadline
        return over if over > self.grace else dt.timedelta(0)

    def days(self, submission: Submission) -> int:
        """Return how many days have begun; one where the course system only says that it is late."""
        over = self.by(submission)
        return int(bool(submission.owner.late)) if over is None else math.ceil(over / DAY)

    def words(self, submission: Submission) -> str:
        """Return how late it is, in words; nothing if it is on time."""
        over = self.by(submission)
        if over is None:
            return "yes" if submission.owner.late else ""
        minutes = math.ceil(over / dt.timedelta(minutes=1))
        days, hours = minutes // 1440, minutes % 1440 // 60
        return "" if not minutes else f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"


@dataclass(frozen=True)
class Row:
    """What the table says of one student."""

    submission: Submission
    result: Result
    questions: tuple[float, ...]  # points of each
    out_of: float
    late: str
    total: float  # after what lateness costs
    note: str

    @property
    def student(self) -> str:
        """The student's name."""
        return self.submission.student

    @property
    def status(self) -> str:
        """What became of the submission."""
        return self.result.status

    @property
    def percentage(self) -> float:
        """The total, of a hundred."""
        return 100 * self.total / self.out_of if self.out_of else 0.0


def row(master: Master, submission: Submission, result: Result, lateness: Lateness) -> Row:
    """Return a student's row."""
    points = tuple(
        sum(mark.points for mark in result.marks if mark.question == question.name) for question in master.questions
    )
    late, notes = lateness.words(submission), [submission.note, result.note]
    off = min(100.0, lateness.penalty * lateness.days(submission)) if sum(points) else 0.0
    if off:
        notes.append(f"{off:g} % off for being late.")
    total = sum(points) * (1 - off / 100)
    note = " ".join(note for note in notes if note)
    return Row(submission, result, points, master.points, late, total, note)


def safe(text: str) -> str:
    """Return text that no spreadsheet takes for a formula.

    >>> from lvmlib.homework.table import safe
    >>> safe("=1+1"), safe("Jane")
    ("'=1+1", 'Jane')
    """
    return f"'{text}" if text.lstrip()[:1] in tuple("=+-@|%") or text[:1] in ("\t", "\r", "\n") else text


def number(points: float) -> str:
    """Return points as one writes them."""
    return f"{points:.2f}".rstrip("0").rstrip(".")


def plain(master: Master, rows: Sequence[Row]) -> str:
    """Return the table for people."""
    names = [question.name for question in master.questions]
    head = ["student", "status", *names, "total", "out of", "percentage", "late", "note"]
    body = [
        [
            safe(one.student),
            one.status,
            *map(number, one.questions),
            number(one.total),
            number(one.out_of),
            number(one.percentage),
            one.late,
            safe(one.note),
        ]
        for one in rows
    ]
    return _csv([head, *body])


def canvas(master: Master, rows: Sequence[Row]) -> str:
    """Return the table that Canvas imports under *Grades*, *Import*.

    Canvas finds a student by the number that its own file names hold; for other files the name stands as login too.
    The name of the last column is that of the assignment; Canvas asks which one is meant if it has none of that name.
    """
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", f"Homework {int(master.number)}"]
    body = [["    Points Possible", "", "", "", "", number(master.points)]]
    for one in rows:
        owner = one.submission.owner
        known = owner.number if owner.system == "canvas" else ""
        login = "" if known else owner.email or one.student
        body.append([safe(one.student), known, "", safe(login), "", number(one.total)])
    return _csv([head, *body])


def moodle(master: Master, rows: Sequence[Row]) -> str:
    """Return the table that Moodle takes as an assignment's offline grading worksheet, or under *Grades*, *Import*.

    The worksheet finds a student by the number that Moodle's own folder names hold. Where there is none, import the
    table under *Grades*, and map *Email address* or *Full name*.
    """
    head = ["Identifier", "Full name", "Email address", "Status", "Grade", "Maximum grade"]
    head += ["Last modified (submission)", "Last modified (grade)", "Feedback comments"]
    body = []
    for one in rows:
        owner = one.submission.owner
        known = f"Participant {owner.number}" if owner.system == "moodle" else ""
        said = " ".join(filter(None, [one.status + ".", one.note]))
        grade = [number(one.total), number(one.out_of), "", "", safe(said)]
        body.append([known, safe(one.student), safe(owner.email), safe(one.status), *grade])
    return _csv([head, *body])


def unknown(format: str, rows: Sequence[Row]) -> list[str]:
    """Return the students whom a course system will have to find by name, since no file holds its number."""
    return [one.student for one in rows if format != "plain" and one.submission.owner.system != format]


def _csv(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()
