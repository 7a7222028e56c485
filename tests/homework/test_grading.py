"""The grader: what a notebook earns and why, many at a time, kept and resumed, and the table that comes of it."""

from __future__ import annotations

import csv
import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import pytest
import tiny

from lvmlib.homework import grading, pool, results
from lvmlib.homework.box import Limits
from lvmlib.homework.grading import grade, grade_one
from lvmlib.homework.marks import Mark, mark
from lvmlib.homework.master import read_master
from lvmlib.homework.notebooks import read_notebook
from lvmlib.homework.remote import Remote, Result, without_words
from lvmlib.homework.table import safe, unknown

NUMPY = "import numpy as np"
GOOD = (NUMPY, tiny.COIN, tiny.MEAN)
SHORT = Limits(wall=6.0, call=2.0)


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    return read_master(tiny.course(tmp_path_factory.mktemp("tiny")) / "master" / "09_tiny.py")


def graded(master, *cells: str, seed: int = 3) -> Result:
    return grade_one(master, read_notebook(tiny.notebook(*cells)), seed, "none", SHORT)


def reasons(result: Result) -> list[str]:
    return [mark.reason for mark in result.marks]


# ---------------------------------------------------------------- one notebook


def test_a_right_answer_gets_all_points(master):
    result = graded(master, *GOOD)
    assert [mark.points for mark in result.marks] == [1, 2, 1, 1]
    assert (result.status, result.note, reasons(result)) == ("graded", "", [""] * 4)


def test_what_is_missing_says_which_cell_failed(master):
    result = graded(master, NUMPY, "def coin_entropy(p:\n    1", tiny.MEAN)
    coin, _, mean, _ = reasons(result)
    assert coin == "`coin_entropy` is missing: code cell 2 failed with SyntaxError: '(' was never closed (line 1)"
    assert mean == "`mean_entropy` is missing: code cell 3 failed with NameError: name 'coin_entropy' is not defined"


def test_what_was_never_written_is_said(master):
    coin, _, mean, _ = reasons(graded(master, NUMPY, "1 / 0", "other = 1"))
    first = "The first error: code cell 2 failed with ZeroDivisionError: division by zero"
    assert mean == f"`mean_entropy` is not defined in the notebook. {first}"
    assert coin == "`coin_entropy` is not defined in the notebook."  # definitions alone run there


def test_what_comes_back_must_be_plain(master):
    cells = "def coin_entropy(p):\n    return (x for x in p)", "mean_entropy = lambda: 1"
    coin, _, mean, _ = reasons(graded(master, NUMPY, *cells))
    assert coin.startswith("`coin_entropy` returned a generator")
    assert mean == "`mean_entropy` is not answered yet, or it is no number, array or tensor."


def test_an_unanswered_notebook_is_told_so(master):
    coin, _, mean, _ = reasons(graded(master, "def coin_entropy(p):\n    ...", "mean_entropy = ..."))
    assert "None came back" in coin and "not answered yet" in mean


def test_an_error_in_a_call_is_quoted(master):
    coin = reasons(graded(master, "def coin_entropy(p):\n    raise ValueError('odd')"))[0]
    assert coin == "`coin_entropy` failed with ValueError: odd"


def test_time_runs_out_in_a_call_and_in_the_notebook(master):
    slow = "def coin_entropy(p):\n    while True: pass"
    coin, again, mean, _ = reasons(graded(master, NUMPY, slow, "while True: pass", "mean_entropy = 1"))
    assert coin == "`coin_entropy` took longer than 2 seconds."
    assert again  # and the sandbox may be gone, or not
    assert mean == (
        "`mean_entropy` is missing: code cell 4 did not run, since code cell 3 took all the time that there is."
    )


def test_a_notebook_that_ends_itself_still_has_functions(master):
    result = graded(master, *GOOD, "import os; os._exit(0)")
    assert [mark.points for mark in result.marks] == [1, 2, 0, 0]
    assert result.note == "The run of the whole notebook ended early. The notebook ended its own process."
    assert "did not run to its end" in reasons(result)[2]


def test_a_function_of_the_library_is_worth_nothing(master):
    cells = "from lvmlib.information import entropy", "import numpy as np"
    borrowed = "def coin_entropy(p):\n    return np.array([entropy(np.array([q, 1 - q])) for q in p])"
    result = graded(master, *cells, borrowed, tiny.MEAN)
    assert [mark.points for mark in result.marks][:2] == [0, 0]


def test_no_hidden_input_is_seen_before_a_public_part_is_marked(master):
    (one, two) = master.questions
    hidden_first = replace(master, questions=(replace(one, parts=one.parts[::-1]), two))
    spy = "seen = []\ndef coin_entropy(p):\n    seen.append(p.tolist())\n    raise ValueError(str(seen))"
    hidden, public, *_ = reasons(graded(hidden_first, spy))
    assert public == "`coin_entropy` failed with ValueError: [[0.5]]"
    assert hidden.count(",") > 2 and without_words(hidden) == "`coin_entropy` failed with ValueError."


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("`f` failed with E0_1234: 5", "`f` failed with an error of its own."),
        ("`f` returned a x1234 (only numbers, ...).", "`f` returned something that is not plain"),
        ("ValueError: could not convert string to float: '0.123'", "What came back could not be checked (ValueError)."),
        ("KeyError", "What came back could not be checked (KeyError)."),
        ("a fair coin has one bit", "a fair coin has one bit"),
        ("`f` took longer than 2 seconds.", "`f` took longer than 2 seconds."),
        ("", ""),
    ],
)
def test_hidden_parts_show_no_words_of_the_students_code(reason, shown):
    assert without_words(reason).startswith(shown) and "123" not in without_words(reason)


def test_a_remote_function_is_taken_for_the_students():
    from lvmlib.homework.checking import own

    own(Remote(lambda *_: 1, "f", str))


# ---------------------------------------------------------------- workers


def test_a_job_that_dies_hangs_or_raises_costs_itself(tmp_path):
    tiny.course(tmp_path)
    home = str(tmp_path / "course" / "09" / "master" / "09_tiny.py")

    def arguments(first: str) -> dict:
        return {"notebook": {"cells": [{"source": first}]}, "master": home, "seed": 0, "sandbox": "", "limits": {}}

    jobs = [arguments(first) for first in ("good", "die", "hang", "good", "die", "bad")] + [{"odd": 1}]
    answers = dict(pool.run(jobs, "tiny:fake", workers=2, seconds=6))
    assert sorted(answers) == list(range(7))
    assert [n for n in answers if "done" in answers[n]] == sorted(n for n in (0, 3, 5))
    assert "exit status 3" in answers[1]["lost"] and "longer than 6" in answers[2]["lost"]
    assert "TypeError" in answers[6]["lost"]


# ---------------------------------------------------------------- many, kept and resumed


@pytest.fixture
def school(tmp_path, monkeypatch):
    """Return a function that grades a folder with the fake grader, and says whom it graded."""
    monkeypatch.setattr(grading, "WORK", "tiny:fake")
    home = tiny.course(tmp_path)
    (tmp_path / "in").mkdir()

    def run(**how: object) -> tuple[dict[str, dict[str, str]], list[str]]:
        log = home / "master" / "log"
        log.write_text("")
        how = {"sandbox": "none", "progress": False, **how}
        grade(home, tmp_path / "in", tmp_path / "out" / "grades.csv", **how)
        with open(tmp_path / "out" / "grades.csv", encoding="utf-8-sig", newline="") as file:
            rows = {row["student"]: row for row in csv.DictReader(file)}
        return rows, sorted(log.read_text().split())

    run.folder = tmp_path  # type: ignore[attr-defined]
    return run


def hand_in(school, name: str, first: str, **metadata: object) -> None:
    data = tiny.notebook(first, "coin_entropy = 1", **metadata)
    (school.folder / "in" / f"{name}.ipynb").write_bytes(data)


def test_a_second_run_grades_only_what_changed(school):
    for name in ("ann", "bob", "eve"):
        hand_in(school, name, f"good_{name}")
    rows, done = school(workers=2)
    assert done == ["good_ann", "good_bob", "good_eve"]
    assert [(row["status"], row["q1"], row["total"], row["percentage"]) for row in rows.values()] == [
        ("graded", "3", "5", "100")
    ] * 3
    first = (school.folder / "out" / "grades.csv").read_bytes()
    assert school() == (rows, [])
    assert (school.folder / "out" / "grades.csv").read_bytes() == first
    hand_in(school, "ann", "good_ann", kernelspec={"name": "other"})
    assert school()[1] == []
    hand_in(school, "bob", "bad_bob")
    rows, done = school()
    assert done == ["bad_bob"] and rows["bob"]["total"] == "0"
    assert school(seed=9)[1] == ["bad_bob", "good_ann", "good_eve"]
    assert school(seed=9, only=["a*"], again=True)[1] == ["good_ann"]
    assert school(seed=9, limits=Limits(wall=1))[1] == ["bad_bob", "good_ann", "good_eve"]


def test_only_some_leaves_the_others_as_they_were(school):
    for name in ("ann", "bob"):
        hand_in(school, name, f"good_{name}")
    rows, done = school(only=["ann"])
    assert done == ["good_ann"] and rows["bob"]["status"] == "not graded yet"
    hand_in(school, "bob", "bad_bob")
    school()
    hand_in(school, "bob", "good_bob")
    rows, done = school(only=["ann"], seed=4)
    assert done == ["good_ann"] and rows["bob"]["total"] == "0"


def test_an_interrupted_run_goes_on_where_it_ended(school, monkeypatch):
    for first in ("bad", "good"):  # what stands of an earlier notebook says nothing of the present one
        for n in range(4):
            hand_in(school, f"s{n}", f"{first}_{n}")
        if first == "bad":
            school()
    keep, kept = results.save, []

    def interrupted(*arguments):
        keep(*arguments)
        kept.append(arguments[1])
        if len(kept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(results, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        school()
    text = (school.folder / "out" / "grades.csv").read_text("utf-8-sig")
    assert text.count("graded,3") == 2 and text.count("not graded yet") == 2
    monkeypatch.setattr(results, "save", keep)
    rows, done = school()
    assert len(done) == 2 and {row["total"] for row in rows.values()} == {"5"}


def test_a_worker_that_dies_costs_one_student_until_the_next_run(school):
    hand_in(school, "ann", "good")
    hand_in(school, "bob", "die")
    rows, _ = school()
    assert rows["ann"]["total"] == "5" and rows["bob"]["status"] == "grader failed"
    assert "exit status 3" in rows["bob"]["note"]
    assert school()[1] == ["die"]


def test_one_notebook_of_two_students_is_graded_once(school):
    for name in ("ann", "bob"):
        hand_in(school, name, "good")
    rows, done = school()
    assert done == ["good"] and [row["total"] for row in rows.values()] == ["5", "5"]


def test_a_damaged_result_is_graded_anew(school):
    hand_in(school, "ann", "good")
    school()
    (file,) = (school.folder / "out" / "grades.csv.results").iterdir()
    for damage in ("{", "[]", '{"key": 1}', file.read_text().replace("points", "pints")):
        file.write_text(damage)
        assert school()[1] == ["good"]


def test_what_cannot_be_graded_has_a_row(school):
    hand_in(school, "ann", "good")
    for name, data in {"=1+1": b"", "it's; $(x)\nno": b"{", "@SUM": b"[]"}.items():
        (school.folder / "in" / f"{name}.ipynb").write_bytes(data)
    rows, _ = school()
    assert {name: row["status"] for name, row in rows.items()} == {
        "'=1+1": "empty",
        "'@SUM": "not a notebook",
        "ann": "graded",
        "it's; $(x) no": "unreadable",
    }
    assert rows["'=1+1"]["note"] == "The file is empty." and rows["'=1+1"]["total"] == "0"


def test_late(school):
    for name in ("ann", "bob", "eve", "ida"):
        hand_in(school, name, f"good_{name}")
    hand_in(school, "doejane_LATE_123_456_x", "good_jane")
    times = "name,submitted\nann,2026-03-01 23:00\nbob,2026-03-02 00:05\neve,2026-03-03 01:00\nida,2026-03-20\n"
    (school.folder / "in" / "manifest.csv").write_text(times)
    rows, _ = school(deadline="2026-03-01 23:59", late_penalty=10, grace=10)
    assert {name: row["late"] for name, row in rows.items()} == {
        "ann": "",
        "bob": "",
        "doejane": "yes",
        "eve": "1 d 1 h",
        "ida": "18 d 0 h",
    }
    assert [row["total"] for row in rows.values()] == ["5", "5", "4.5", "4", "0"]
    assert rows["eve"]["note"] == "20 % off for being late." and rows["eve"]["percentage"] == "80"
    rows, done = school(deadline=dt.datetime(2026, 3, 1, 23, 59))
    assert done == [] and rows["bob"]["late"] == "0 h 6 min" and rows["ida"]["total"] == "5"
    assert school()[0]["eve"]["late"] == ""


def table_of(school, **how: object) -> list[list[str]]:
    home = school.folder / "course" / "09"
    grade(home, school.folder / "in", school.folder / "t.csv", sandbox="none", progress=False, **how)
    with open(school.folder / "t.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_table_for_canvas(school):
    hand_in(school, "doejane_12345_678910_09", "good")
    hand_in(school, "jdoe", "bad")
    assert table_of(school, format="canvas") == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Homework 9"],
        ["    Points Possible", "", "", "", "", "5"],
        ["doejane", "12345", "", "", "", "5"],
        ["jdoe", "", "", "jdoe", "", "0"],
    ]


def test_the_table_for_moodle(school):
    hand_in(school, "Jane Doe_77_assignsubmission_file_09", "good")
    head, jane = table_of(school, format="moodle")
    row = dict(zip(head, jane))
    assert row["Identifier"] == "Participant 77" and row["Full name"] == "Jane Doe"
    assert (row["Grade"], row["Maximum grade"], row["Last modified (grade)"]) == ("5", "5", "")
    assert row["Feedback comments"] == "graded."


def test_an_answer_of_none_is_named(school):
    master = read_master(school.folder / "course" / "09" / "master" / "09_tiny.py")
    lost = [one.reason for one in mark(master, {"coin_entropy": lambda p: None}, 0) if one.question == "q1"]
    assert len(lost) == 2 and all("None came back" in reason for reason in lost)
    source = "def test_it(coin_entropy):\n    len(coin_entropy(1))"
    part = replace(master.questions[0].parts[0], name="test_it", source=source)
    question = replace(master.questions[0], parts=(part,))
    (asked,) = mark(replace(master, questions=(question,)), {"coin_entropy": lambda p: None}, 0)
    assert asked.reason == "None came back where an answer was expected; is there a `return`?"


def test_who_has_no_number_is_named(school):
    hand_in(school, "doejane_12345_678910_09", "good")
    hand_in(school, "jdoe", "bad")
    rows = grade(
        school.folder / "course" / "09", school.folder / "in", school.folder / "t.csv", sandbox="none", progress=False
    )
    assert unknown("canvas", rows) == ["jdoe"] and unknown("moodle", rows) == ["doejane", "jdoe"]
    assert unknown("plain", rows) == []


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", " =1", "|x", "\r1"])
def test_no_cell_is_a_formula(text):
    assert safe(text) == f"'{text}"


def test_doors(school, tmp_path):
    home, into = tmp_path / "course" / "09", tmp_path / "out.csv"
    hand_in(school, "ann", "good")
    with pytest.raises(ValueError, match="no table called 'excel'; choose one of plain, canvas, moodle"):
        school(format="excel")
    with pytest.raises(ValueError, match="no student is called 'bob'"):
        school(only=["ann", "bob"])
    with pytest.raises(ValueError, match="the deadline: 'soon' is no time"):
        school(deadline="soon")
    with pytest.raises(ValueError, match="neither a folder"):
        grade(home, tmp_path / "nowhere", into, sandbox="none")
    with pytest.raises(ValueError, match="must hold one master"):
        grade(tmp_path, tmp_path / "in", into, sandbox="none")
    with pytest.raises(ValueError, match="lies among the submissions"):
        grade(home, tmp_path / "in", tmp_path / "in" / "grades.csv", sandbox="none")
    (home / "secret.json").write_text("{}")
    with pytest.raises(ValueError, match="must hold the seed"):
        grade(home, tmp_path / "in", into, sandbox="none")
    assert not into.exists()


def test_files_of_students_have_names_that_any_system_takes():
    names = ["a/../b", "日本", "", "x" * 500, "CON", "a b", "a  b", "-rf", "Jörg\n"]
    files = [results.file_name(name) for name in names]
    assert len(set(files)) == len(names) and all(file.isascii() and len(file) < 60 for file in files)
    assert not any(set(file) & set(" /\\.:*?\n") or file.startswith("-") for file in files)


def test_a_result_survives_being_kept(tmp_path):
    result = Result((Mark("q1", "test_x", 0.5, 1.0, True, 'why "not" – é'),), "graded", "a note")
    results.save(tmp_path, "Jörg", "key", result)
    assert results.load(tmp_path, "Jörg") == ("key", result) and results.load(tmp_path, "Ann") is None


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "grades.csv"
    results.write(target, "old")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        results.write(target, "new")
    assert target.read_text() == "old" and [path.name for path in Path(tmp_path).iterdir()] == ["grades.csv"]


# ---------------------------------------------------------------- all of it


@pytest.mark.slow
@pytest.mark.parametrize("sandbox", ["bubblewrap"])
def test_from_a_folder_to_the_same_bytes_with_any_number_of_workers(tmp_path, sandbox):
    home = tiny.course(tmp_path)
    folder = tmp_path / "in"
    folder.mkdir()
    cells = {
        "good": GOOD,
        "wrong": (NUMPY, "def coin_entropy(p):\n    return 0 * p", tiny.MEAN),
        "loop": (*GOOD, "while True: pass"),
        "gone": (*GOOD, "import os; os._exit(1)"),
        "spies": (NUMPY, f"open({str(home / 'secret.json')!r}).read()", tiny.COIN, "mean_entropy = 0.5"),
    }
    for name, code in cells.items():
        (folder / f"{name}.ipynb").write_bytes(tiny.notebook(*code))
    written = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}"
        how = {"workers": workers, "sandbox": sandbox, "limits": SHORT, "feedback": out / "pages", "progress": False}
        grade(home, folder, out / "grades.csv", **how)
        written.append({path.name: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()})
    assert written[0] == written[1] and len(written[0]) == 1 + 5 + 5 + 1
    table = written[0]["grades.csv"].decode("utf-8-sig")
    assert "good,graded,3,2,5,5,100" in table and "wrong,graded,0,1,1" in table
    assert "loop,graded,3,2,5" in table and "gone,graded,3,0,3" in table and "spies,graded,3,1,4" in table
    kept = json.loads(next(data for name, data in written[0].items() if name.startswith("loop") and ".json" in name))
    assert kept["student"] == "loop"
