"""The command `lvm`: its help teaches, its errors are one sentence, and what it is told arrives."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
from solved import ROOT
from tiny_master import MASTER, NAME, write_master

pytest.importorskip("typer", reason="the extra homework is not installed")
pytest.importorskip("otter", reason="the extra homework is not installed")
tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads pyproject.toml")

from lvmlib import cli  # noqa: E402
from lvmlib.homework import commands  # noqa: E402


@pytest.fixture
def course(tmp_path):
    """A folder with masters and a wheel, and what `assign` is told of them."""
    write_master(tmp_path / "masters")
    (tmp_path / "lvmlib-0.1.0-py3-none-any.whl").write_bytes(b"a wheel")
    return ["--masters", f"{tmp_path / 'masters'}", "--wheel", f"{tmp_path / 'lvmlib-0.1.0-py3-none-any.whl'}"]


@pytest.mark.parametrize("command", ["list", "assign", "grade"])
def test_help_shows_an_example(command, capsys):
    assert cli.main(["homework", command, "--help"]) == 0
    assert f"lvm homework {command}" in capsys.readouterr().out.partition("Example")[2]


@pytest.mark.parametrize("arguments", [[], ["homework"]])
def test_a_command_that_asks_for_nothing_shows_what_there_is(arguments, capsys):
    assert cli.main(arguments) == 2
    assert "Commands:\n" in capsys.readouterr().err


def test_list(course, capsys):
    assert cli.main(["homework", "list", *course[:2]]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["title", "questions", "points", "hours"]
    assert line.split() == ["02", "A", "tiny", "one", "2", "5", "1"]


@pytest.mark.parametrize("numbers", [["2"], ["02"], ["all"]])
def test_assign(course, tmp_path, capsys, numbers):
    assert cli.main(["homework", "assign", *numbers, "--out", f"{tmp_path / 'course'}", *course]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'course' / '02' / 'student' / NAME}.ipynb" in said
    assert len(said.splitlines()) == 1


def unmarked(tmp_path):
    write_master(tmp_path / "masters", MASTER.replace("  # SOLUTION\n", "\n"))


def wrong_points(tmp_path):
    write_master(tmp_path / "masters", MASTER.replace("points: 5", "points: 6").replace("points: 3", "points: 4"))


def there_already(tmp_path):
    (tmp_path / "course" / "02").mkdir(parents=True)


ERRORS = {
    "no master": (["9"], None, "there is no homework 9, only 02"),
    "no masters": (["9", "--masters", "/nowhere"], None, "no masters in /nowhere"),
    "there already": (["2"], there_already, "--force"),
    "points": (["2"], wrong_points, "add up to 3 points, the question says 4"),
    "not marked": (["2"], unmarked, "students would see"),
    "option": (["2", "--frob"], None, "--frob"),
    "number": (["2", "--seed", "x"], None, "--seed"),
}


@pytest.mark.parametrize(("told", "before", "said"), ERRORS.values(), ids=ERRORS)
def test_an_error_is_one_sentence(course, tmp_path, capsys, told, before, said):
    if before:
        before(tmp_path)
    assert cli.main(["homework", "assign", "--out", f"{tmp_path / 'course'}", *course, *told]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("lvm: ") and said in printed.err
    assert len(printed.err.splitlines()) == 1 and "Traceback" not in printed.err


def test_an_error_that_nobody_foresaw_is_one_sentence_too(course, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lvmlib.homework.assign.write_bundle", lambda *_: {}["no such key"])
    told = ["homework", "assign", "2", "--out", f"{tmp_path / 'course'}", *course]
    assert cli.main(told) == 2
    assert capsys.readouterr().err.startswith("lvm: KeyError: 'no such key'")
    monkeypatch.setenv("LVM_TRACEBACK", "1")
    with pytest.raises(KeyError):
        cli.main(told)


def test_without_the_extra_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None if name == "typer" else name)
    assert cli.main(["homework", "list"]) == 2
    assert capsys.readouterr().err == "lvm: typer not found: pip install 'lvmlib[homework]'\n"


def test_grade_hands_on_what_it_is_told(tmp_path, capsys, monkeypatch):
    told = {}
    row = types.SimpleNamespace

    def handed_in(status, system="canvas"):
        return row(status=status, student="Jane", submission=row(owner=row(system=system)))

    def grade(*paths, **options):
        told.update(options, paths=paths)
        return [handed_in("graded"), handed_in("graded", system=""), handed_in("no notebook")]

    stub = types.ModuleType("lvmlib.homework.grading")
    stub.grade = grade
    monkeypatch.setitem(sys.modules, "lvmlib.homework.grading", stub)
    options = [
        "--workers",
        "4",
        "--deadline",
        "2027-01-31 23:59",
        "--late-penalty",
        "10",
        "--only",
        "Jane",
        "--only",
        "J*",
    ]
    line = ["homework", "grade", "course/09", "in.zip", "--out", "grades.csv", "--table", "canvas", "--again", *options]
    assert cli.main(line) == 0
    assert told["paths"] == (Path("course/09"), Path("in.zip"), Path("grades.csv"))
    assert (told["workers"], told["deadline"], told["late_penalty"]) == (4, "2027-01-31 23:59", 10)
    assert (told["only"], told["again"], told["format"], told["sandbox"]) == (["Jane", "J*"], True, "canvas", "auto")
    said = capsys.readouterr()
    assert said.out.split("\n")[:3] == ["    2  graded", "    1  no notebook", "grades.csv has 3 rows."]
    assert said.err.startswith("No number of Canvas is known for 1 of 3 students (Jane): ")
    assert cli.main([*line, "--no-sandbox"]) == 0
    assert told["sandbox"] == "none"


def test_the_package_brings_the_command():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"lvm": "lvmlib.cli:main"}
    assert commands.app.info.name == "lvm"


def test_the_page_for_instructors_says_what_the_command_does(capsys):
    page = (ROOT / "book" / "instructors.md").read_text("utf-8")
    typed = re.findall(r"^\$ lvm (homework (\w+).*)", page.replace("\\\n", " "), re.MULTILINE)
    assert {command for _, command in typed} == {"list", "assign", "grade"}
    for line, command in typed:
        cli.main(["homework", command, "--help"])
        known = capsys.readouterr().out
        assert [option for option in re.findall(r"--[\w-]+", line) if f"  {option} " not in known] == [], line
    cli.main(["homework", "list"])
    printed = capsys.readouterr().out.splitlines()
    shown = re.search(r"lvm homework list\n(.*?)```", page, re.DOTALL)
    assert shown
    assert [line for line in shown[1].splitlines() if line not in [*printed, "..."]] == []
