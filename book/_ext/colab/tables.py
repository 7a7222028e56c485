"""Tables that are written as lists of lists (`list-table`), as Markdown's tables with bars."""

from __future__ import annotations

import re

ROW = re.compile(r"\* - ?(.*)")
CELL = re.compile(r"  - ?(.*)")
SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)|\$(?:\\.|[^$\\])+\$|\|", re.DOTALL)


def barless(cell: str) -> str:
    r"""Write the bars of a cell so that none of them ends it; in a formula a backslash would turn one into two.

    >>> barless("$p(x | z)$ or $\\|x\\|$, `a | b`")
    '$p(x \\vert  z)$ or $\\Vert x\\Vert $, `a \\| b`'
    """

    def replace(match: re.Match[str]) -> str:
        text = match[0]
        if text.startswith("$"):
            return text.replace(r"\|", r"\Vert ").replace("|", r"\vert ")
        return text.replace("|", r"\|")

    return SPAN.sub(replace, cell)


def pipe_table(content: str, header_rows: int) -> list[str]:
    r"""Return the lines of a table.

    >>> pipe_table("* - a\n  - b\n* - 1\n  - 2\n    more", 1)
    ['| a | b |', '| --- | --- |', '| 1 | 2 more |']

    Raises:
        ValueError: it has a form that Markdown's tables do not; the message completes 'this table ...'.
    """
    rows: list[list[str]] = []
    before = ""
    for line in content.strip("\n").split("\n"):
        if row := ROW.fullmatch(line):
            rows.append([row[1]])
        elif not rows:
            raise ValueError("does not begin with a row (`* - ...`)")
        elif cell := CELL.fullmatch(line):
            rows[-1].append(cell[1])
        elif re.match(r"    \S", line) and not re.match(r"    (?:[-*+] |:::|```)", line) and before.strip():
            rows[-1][-1] += " " + line.strip()
        elif line.strip():
            raise ValueError("has a cell of several paragraphs")
        before = line
    if header_rows > 1 or len({len(row) for row in rows}) != 1:
        raise ValueError("has several header rows, or rows of different lengths")
    if any("$$" in cell for row in rows for cell in row):
        raise ValueError("has a displayed formula in a cell")
    head = rows.pop(0) if header_rows else [""] * len(rows[0])
    lines = ["| " + " | ".join(map(barless, row)) + " |" for row in [head, *rows]]
    return [lines[0], "|" + " --- |" * len(head), *lines[1:]]
