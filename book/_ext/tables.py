"""Tables as docutils nodes, for pages that are made from data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from docutils import nodes


def row(cells: Iterable[nodes.Node]) -> nodes.row:
    """Return one row of a table."""
    return nodes.row("", *[nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells])


def table(head: Sequence[str], rows: Iterable[Iterable[nodes.Node]], kind: str) -> nodes.table:
    """Return a table of class `kind` with `head` above the rows."""
    group = nodes.tgroup("", *[nodes.colspec(colwidth=1) for _ in head], cols=len(head))
    group += nodes.thead("", row(nodes.Text(name) for name in head))
    group += nodes.tbody("", *[row(cells) for cells in rows])
    return nodes.table("", group, classes=[kind])
