"""A page for each student, and an index for the instructor: plain HTML that needs nothing else and runs nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

from lvmlib.homework.marks import Mark
from lvmlib.homework.master import Master, Question
from lvmlib.homework.remote import without_words
from lvmlib.homework.results import file_name, write
from lvmlib.homework.table import Row, number

STYLE = """
:root { color-scheme: light dark; --paper: #fffefb; --card: #f6f4ee; --ink: #22252a; --soft: #5c6066; --line: #dcd8ce;
  --link: #0b5a8a; --good: #00684c; --bad: #a33f00; --bar: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181d; --card: #1e2229; --ink: #dfe2e6; --soft: #a0a6ae;
  --line: #3a4049; --link: #7cc0ea; --good: #5fd0a8; --bad: #f0935a; --bar: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0; } h2 { font-size: 1.15rem; margin: 0; }
p { margin: .4rem 0; } a { color: var(--link); }
code { font: .92em ui-monospace, monospace; background: var(--card); padding: 0 .25em; border-radius: 3px; }
.soft { color: var(--soft); } .good { color: var(--good); } .bad { color: var(--bad); }
.total { font-size: clamp(1.5rem, 6vw, 2rem); font-weight: 600; margin: 1rem 0 0; }
.note { border-left: 4px solid var(--bad); background: var(--card); padding: .5rem .8rem; margin: 1rem 0; }
section { border-top: 1px solid var(--line); margin-top: 1.6rem; padding-top: 1rem; }
.head { display: flex; gap: 1rem; justify-content: space-between; align-items: baseline; }
.points { white-space: nowrap; font-variant-numeric: tabular-nums; }
.track { height: 6px; border-radius: 3px; background: var(--line); margin: .5rem 0 .8rem; overflow: hidden; }
.track i { display: block; height: 100%; background: var(--bar); }
ul { list-style: none; margin: 0; padding: 0; }
li { padding: .5rem 0 .5rem 1.7rem; position: relative; } li + li { border-top: 1px solid var(--line); }
li > b { position: absolute; left: 0; }
.tag { font-size: .8rem; border: 1px solid var(--line); border-radius: 1em; padding: 0 .55em; margin-left: .4em; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; margin-top: .6rem; }
.scroll { overflow-wrap: normal; } td:first-child { min-width: 8rem; overflow-wrap: anywhere; }
td.note-cell { min-width: 14rem; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bins { display: flex; align-items: flex-end; gap: 3px; height: 5.5rem; margin: .8rem 0 0; }
.bins div { flex: 1; display: flex; flex-direction: column; justify-content: flex-end; text-align: center; height: 100%;
  font-size: .75rem; color: var(--soft); min-width: 0; }
.bins i { display: block; background: var(--bar); border-radius: 2px 2px 0 0; min-height: 1px; }
.ticks { display: flex; gap: 3px; font-size: .75rem; color: var(--soft); text-align: center; }
.ticks span { flex: 1; min-width: 0; }
.bins, .ticks { white-space: nowrap; overflow-wrap: normal; }
@media (max-width: 40rem) { .many { gap: 1px; } .many > * { font-size: .68rem; }
  .ticks.many span:nth-child(even) { visibility: hidden; } }
.axis { font-size: .8rem; color: var(--soft); text-align: center; margin: 0; }
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
SAID = {
    "empty": "There is nothing in the file that was handed in.",
    "unreadable": "The file that was handed in cannot be read.",
    "not a notebook": "The file that was handed in is not a notebook.",
    "too large": "The file that was handed in is too large.",
    "wrong homework": "The notebook that was handed in belongs to another homework.",
    "no notebook": "No notebook was handed in.",
    "not submitted": "Nothing was handed in.",
    "grader failed": "The notebook could not be graded yet.",
    "not graded yet": "The notebook has not been graded yet.",
}


def write_all(folder: Path, master: Master, rows: Sequence[Row], show_hidden: bool = False) -> None:
    """Write one page a student, and `index.html` for the instructor, who hands out the former and keeps the latter.

    Args:
        folder: made if it is not there.
        master: the homework.
        rows: of the table.
        show_hidden: also say in the words of a student's own code what failed in hidden parts; from these their inputs
            could be read.
    """
    for row in rows:
        write(folder / f"{file_name(row.student)}.html", student_page(master, row, show_hidden))
    write(folder / "index.html", index_page(master, rows))


def student_page(master: Master, row: Row, show_hidden: bool = False) -> str:
    """Return a student's page: points for each question, what failed in which part, and the hint."""
    title = f"Homework {int(master.number)}: {master.title}"
    body = [f"<h1>{_text(title)}</h1>", f'<p class="soft">{escape(row.student)}</p>']
    total = f"{number(row.total)} of {number(row.out_of)} points"
    body.append(f'<p class="total">{total} <span class="soft">({number(row.percentage)}&nbsp;%)</span></p>')
    body.append(_track(row.total, row.out_of))
    said = [SAID.get(row.status, ""), row.note, f"Late by {row.late}." if row.late not in ("", "yes") else ""]
    if note := " ".join(filter(None, said)):
        body.append(f'<p class="note">{_text(note)}</p>')
    if row.result.marks:
        body += [_question(question, row.result.marks, show_hidden) for question in master.questions]
        body.append('<p class="soft">Hidden tests run on inputs that are not shown.</p>')
    return PAGE.format(title=escape(f"{title} - {row.student}"), style=STYLE, body="\n".join(body))


def _question(question: Question, marks: Sequence[Mark], show_hidden: bool) -> str:
    """Return what a student reads of a question."""
    own = [mark for mark in marks if mark.question == question.name]
    points = sum(mark.points for mark in own)
    items = "".join(_part(mark, show_hidden) for mark in own)
    return (
        f'<section><div class="head"><h2>{_text(_heading(question))}</h2>'
        f'<span class="points">{number(points)} of {number(question.points)}</span></div>'
        f"{_track(points, question.points)}<ul>{items}</ul></section>"
    )


def _part(mark: Mark, show_hidden: bool) -> str:
    """Return what a student reads of a part."""
    sign = '<b class="good" title="passed">✓</b>' if mark.passed else '<b class="bad" title="failed">✗</b>'
    tag = '<span class="tag soft">hidden</span>' if mark.hidden else ""
    reason = mark.reason if show_hidden or not mark.hidden else without_words(mark.reason)
    why = f"<p>{_text(reason[:1].upper() + reason[1:])}</p>" if reason else ""
    points = f'<span class="points soft">{number(mark.points)} of {number(mark.out_of)}</span>'
    return f'<li>{sign}<div class="head"><span>{escape(_words(mark.part))}{tag}</span>{points}</div>{why}</li>'


def index_page(master: Master, rows: Sequence[Row]) -> str:
    """Return the instructor's page: how points are distributed, which parts fail and why, and all students."""
    title = f"Homework {int(master.number)}: {master.title}"
    graded = [row for row in rows if row.status == "graded"]
    counts = Counter(row.status for row in rows)
    body = [f"<h1>{_text(title)}</h1>"]
    body.append(f'<p class="soft">{", ".join(f"{n} {escape(status)}" for status, n in sorted(counts.items()))}. ')
    body.append("For the instructor: hand out the students' pages, not this one. ")
    body.append('<a href="#students">All students</a></p>')
    if graded:
        body.append("<section><h2>Total</h2>")
        body.append(_distribution([row.total for row in graded], master.points) + "</section>")
        body += [_spread(question, n, graded) for n, question in enumerate(master.questions)]
    body.append(
        f'<section id="students"><h2>Students</h2><div class="scroll">{_students(master, rows)}</div></section>'
    )
    return PAGE.format(title=escape(title), style=STYLE, body="\n".join(body))


def _spread(question: Question, n: int, graded: Sequence[Row]) -> str:
    """Return how a question went: the distribution of its points, and how often each part was passed."""
    parts = []
    for part in question.parts:
        marks = [
            one for row in graded for one in row.result.marks if (one.question, one.part) == (question.name, part.name)
        ]
        failed = Counter(mark.reason for mark in marks if not mark.passed)
        passed = sum(mark.passed for mark in marks)
        why = "".join(f"<p>{count} × {_text(reason)}</p>" for reason, count in failed.most_common(3))
        tag = '<span class="tag soft">hidden</span>' if part.hidden else ""
        share = f'<span class="points">{passed} of {len(marks)} passed</span>'
        parts.append(f'<li><div class="head"><span>{escape(_words(part.name))}{tag}</span>{share}</div>')
        parts.append(f"{_track(passed, len(marks))}<div class=soft>{why}</div></li>")
    shown = _distribution([row.questions[n] for row in graded], question.points)
    return f"<section><h2>{_text(_heading(question))}</h2>{shown}<ul>{''.join(parts)}</ul></section>"


def _distribution(points: Sequence[float], out_of: float) -> str:
    """Return a histogram, with mean and median: a bar for each point, or half a point, up to about twenty."""
    halves = out_of <= 8 and any(one % 1 for one in points)
    width = 0.5 if halves else max(1, round(out_of / 20))
    bins = Counter(int(min(one, out_of) // width) for one in points)
    most = max(bins.values())
    bars, ticks = [], []
    for n in range(int(out_of // width) + 1):
        count = bins[n]
        bars.append(f'<div>{count or ""}<i style="height:{80 * count / most:.0f}%"></i></div>')
        ticks.append(f"<span>{number(n * width)}</span>")
    ordered = sorted(points)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    mean, many = number(sum(points) / len(points)), " many" if len(bars) > 12 else ""
    return (
        f'<p class="soft">Mean {mean}, median {number(middle)} of {number(out_of)} points.</p>'
        f'<div class="bins{many}">{"".join(bars)}</div><div class="ticks{many}">{"".join(ticks)}</div>'
        '<p class="axis">points, rounded down; above each bar the number of students</p>'
    )


def _students(master: Master, rows: Sequence[Row]) -> str:
    """Return the table of all students."""
    heads = [question.name for question in master.questions] + ["total", "%"]
    head = "<th>student</th><th>status</th>" + "".join(f'<th class="n">{escape(one)}</th>' for one in heads)
    body = []
    for row in rows:
        numbers = [*row.questions, row.total, row.percentage]
        cells = "".join(f'<td class="n">{number(one)}</td>' for one in numbers)
        link = f'<a href="{file_name(row.student)}.html">{escape(row.student)}</a>'
        colour = "" if row.status == "graded" else ' class="bad"'
        rest = f'<td class="n">{escape(row.late)}</td><td class="note-cell soft">{_text(row.note)}</td>'
        body.append(f"<tr><td>{link}</td><td{colour}>{escape(row.status)}</td>{cells}{rest}</tr>")
    return f'<table><tr>{head}<th class="n">late</th><th>note</th></tr>{"".join(body)}</table>'


def _track(points: float, out_of: float) -> str:
    """Return a bar filled as far as points reach."""
    share = 100 * points / out_of if out_of else 0
    return f'<div class="track"><i style="width:{share:.0f}%"></i></div>'


def _heading(question: Question) -> str:
    """Return a question's heading."""
    return f"{question.name.upper()}. {question.title}"


def _words(name: str) -> str:
    """Return the name of a test as words."""
    words = name.removeprefix("test_").replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def _text(text: str) -> str:
    """Return text as HTML, what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
