"""Numbers and tables as text, for the pages of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def number(value: float, digits: int = 3) -> str:
    """Return a number to so many significant digits, without an exponent.

    >>> number(0.04137), number(8.7, 2), number(1234.5), number(16.04)
    ('0.0414', '8.7', '1,234', '16.0')
    """
    if value == 0:
        return "0"
    places = digits - 1 - int(f"{value:e}".split("e")[1])
    return f"{value:,.{max(places, 0)}f}"


def times(ratio: float) -> str:
    """Return how many times as long something takes.

    >>> times(36.96), times(1.0312), times(0.97)
    ('37\xa0×', '1.03\xa0×', '0.97\xa0×')
    """
    return f"{ratio:.0f}\N{NO-BREAK SPACE}×" if ratio >= 10 else f"{ratio:.2f}\N{NO-BREAK SPACE}×"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return a table in Markdown; the columns named in `right` hold numbers.

    >>> print(markdown(["a", "b"], [["x", "1"]], right=[1]))
    | a | b |
    | --- | ---: |
    | x | 1 |
    """
    rule = ["---:" if i in set(right) else "---" for i in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])
