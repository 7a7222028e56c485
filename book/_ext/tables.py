"""Tables as docutils nodes, for pages that are made from data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from docutils import nodes


def row(cells: Iterable[nodes.Node]) -> nodes.row:
    """Return one row of a table."""
    return nodes.row("", *[nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells])


def table(
    head: Sequence[str], rows: Iterable[Iterable[nodes.Node]], kind: str, widths: Sequence[int] = ()
) -> nodes.table:
    """Return a table of class `kind` with `head` above the rows; `widths` of its columns, or all alike."""
    group = nodes.tgroup("", *[nodes.colspec(colwidth=width) for width in widths or [1] * len(head)], cols=len(head))
    group += nodes.thead("", row(nodes.Text(name) for name in head))
    group += nodes.tbody("", *[row(cells) for cells in rows])
    return nodes.table("", group, classes=[kind])
