"""Every homework: its solution gets full marks at every seed, its text and points are in order."""

from __future__ import annotations

import re

from solved import ROOT, every, solved

from lvmlib.homework.marks import mark
from lvmlib.homework.master import read_master


@every
def test_the_solution_gets_full_marks_at_every_seed(path, pytestconfig):
    master, names = solved(path)
    for seed in range(pytestconfig.getoption("seeds")):
        lost = [found for found in mark(master, names, seed) if not found.passed]
        assert not lost, f"seed {seed}: {lost}"


@every
def test_questions_points_and_parts(path):
    master = read_master(path)
    assert 4 <= len(master.questions) <= 6
    assert master.points == 20
    assert 2 <= float(re.findall(r"[\d.]+", master.hours)[-1]) <= 4
    hidden = sum(part.points for question in master.questions for part in question.parts if part.hidden)
    assert hidden >= 0.6 * master.points
    for question in master.questions:
        names = [part.name for part in question.parts]
        assert len(set(names)) == len(names)
        assert any(part.hidden for part in question.parts)
        assert not question.parts[0].hidden
        if set(question.parts[0].parameters) & master.functions:
            assert "own(" in question.parts[0].source


@every
def test_it_belongs_to_a_chapter(path):
    assert (ROOT / "notebooks" / path.name).exists()


@every
def test_its_text_is_plain_markdown_of_88_columns(path):
    text = path.read_text("utf-8")
    assert not re.search(r"\{[a-z:]+\}`|^# :::|^# ```\{", text, re.MULTILINE)
    wide = [line for line in text.splitlines() if len(line) > 88 and "http" not in line]
    assert not wide


@every
def test_nothing_of_a_solution_is_left_outside_its_marks(path):
    """Functions have a body between BEGIN SOLUTION and END SOLUTION, or one line marked SOLUTION."""
    master = read_master(path)
    cells = "\n".join(master.solution)
    for name in set(master.answers):
        assert re.search(rf"(?m)^(def|class) {name}\b|^{name}\b.*=|\b{name}\b.* = ", cells), name
    assert cells.count("# BEGIN SOLUTION") == cells.count("# END SOLUTION")
    assert len(re.findall(r"# (BEGIN )?SOLUTION", cells)) >= len(master.questions)
