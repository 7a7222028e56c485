"""The examples of the refresher print what the page says."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "book" / "refresher.md"


def test_examples_print_what_the_page_says() -> None:
    blocks = re.findall(r"^```pycon\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "refresher", str(PAGE), 0)
    report: list[str] = []
    result = doctest.DocTestRunner().run(examples, out=report.append)
    assert result.attempted > 60
    assert result.failed == 0, "".join(report)


def test_each_topic_has_a_formula_and_an_example() -> None:
    parts = re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.M)
    for topic in ("Trace", "Singular values", "Jacobian and change of variables", "Conditionals of a Gaussian"):
        (part,) = [part for part in parts if part.startswith(topic + "\n")]
        assert "$$" in part and ">>> torch.allclose(" in part, topic
