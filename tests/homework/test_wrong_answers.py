"""Every plausible wrong answer loses at least half the points of its question."""

from __future__ import annotations

from collections import Counter

import pytest
from solved import MASTERS, every, solved, together, wrong_answers

from lvmlib.homework.marks import mark

WRONG = [together(path, *answer) for path in MASTERS for answer in wrong_answers(path)]


@every
def test_every_question_is_tried_against_three(path):
    master, _ = solved(path)
    tried = Counter(question for question, _, _ in wrong_answers(path))
    few = {question.name: tried[question.name] for question in master.questions if tried[question.name] < 3}
    assert not few
    assert set(tried) <= {question.name for question in master.questions}


@pytest.mark.parametrize(("path", "question", "description", "code"), WRONG)
def test_it_loses_half_the_points(path, question, description, code, pytestconfig):
    master, names = solved(path)
    wrong = dict(names)
    exec(compile(code, f"<{question}: {description}>", "exec"), wrong)
    for seed in range(pytestconfig.getoption("seeds")):
        marks = mark(master, wrong, seed, only={question})
        points, out_of = sum(found.points for found in marks), sum(found.out_of for found in marks)
        assert points <= out_of / 2, f"seed {seed}: {points:g} of {out_of:g}"
