"""Numbers and tables as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Record = dict[str, Any]
Chapter = Callable[[int], str]  # from its number to Markdown that names it


def number(value: float, digits: int = 3) -> str:
    """Return a number to so many significant digits, without an exponent.

    >>> number(0.04137), number(8.7, 2), number(1234.5), number(16.04)
    ('0.0414', '8.7', '1,234', '16.0')
    """
    if value == 0:
        return "0"
    places = digits - 1 - int(f"{value:e}".split("e")[1])
    return f"{value:,.{max(places, 0)}f}"


def minutes(record: Record) -> str:
    """Return how long a model was trained, in minutes.

    >>> minutes({"training_minutes": 1234.5}), minutes({"training_minutes": 0.3})
    ('1,234', '0.3')
    """
    taken = record["training_minutes"]
    return f"{taken:,.0f}" if taken >= 1 else f"{taken:.1f}"


def grouped(text: str) -> str:
    """Return text with a comma in numbers of draws, which some records lack.

    >>> grouped("importance sampling with 5000 draws")
    'importance sampling with 5,000 draws'
    """
    return re.sub(r"\b(\d+)(\d{3})(?= draws)", r"\1,\2", text)


def times(ratio: float) -> str:
    """Return how many times as long something takes.

    >>> times(36.96), times(1.0312), times(0.97)
    ('37\xa0×', '1.03\xa0×', '0.97\xa0×')
    """
    return f"{ratio:,.0f}\N{NO-BREAK SPACE}×" if ratio >= 10 else f"{ratio:.2f}\N{NO-BREAK SPACE}×"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return a table in Markdown; the columns named in `right` hold numbers.

    >>> print(markdown(["a", "b"], [["x", "1"]], right=[1]))
    | a | b |
    | --- | ---: |
    | x | 1 |
    """
    rule = ["---:" if i in set(right) else "---" for i in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def crosses(text: str) -> str:
    """Return text with the sign of multiplication in sizes such as 28 x 28, kept on one line.

    >>> crosses("7 x 7 pixels, 3 x 32 x 32")
    '7\xa0×\xa07 pixels, 3\xa0×\xa032\xa0×\xa032'
    """
    return re.sub(r"(?<=\d) x (?=\d)", "\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}", text)
