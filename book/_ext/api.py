"""The library's reference, made from its docstrings.

`{public-names}` lists what `lvmlib` offers at its top level, with links. Private base classes are passed over, and a
name that stands without its module in a docstring (`Raises: DataError`) is found wherever the library defines it.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode


class PublicNamesDirective(SphinxDirective):
    """List the names of `lvmlib.__all__`, each linked to its entry in the reference."""

    def run(self) -> list[nodes.Node]:
        import lvmlib

        line = nodes.paragraph("", "", classes=["public-names"])
        for name in sorted(lvmlib.__all__, key=str.lower):
            target = getattr(lvmlib, name)
            xref = addnodes.pending_xref(
                "",
                nodes.literal("", name, classes=["xref", "py"]),
                refdomain="py",
                reftype="obj",
                reftarget=f"{target.__module__}.{target.__qualname__}",
                refexplicit=True,
                refwarn=True,
                refdoc=self.env.docname,
            )
            line += [nodes.Text(" · ") if len(line) else nodes.Text(""), xref]
        return [line]


def pass_over_private(app: Sphinx, name: str, obj: type, options: Any, bases: list[type]) -> None:
    """Replace each private base class by its own bases."""
    while any(base.__name__.startswith("_") for base in bases):
        bases[:] = [b for base in bases for b in (base.__bases__ if base.__name__.startswith("_") else (base,))]


def find_unqualified(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Resolve `DataError` to `lvmlib.downloads.DataError` where only one object of the library has that name."""
    if node["refdomain"] != "py" or "." in node["reftarget"]:
        return None
    objects = env.domaindata["py"]["objects"]
    found = [name for name in objects if name.endswith(f".{node['reftarget']}") and name.startswith("lvmlib.")]
    if len(found) != 1:
        return None
    entry = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, [content], found[0])


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-bases", pass_over_private)
    app.connect("missing-reference", find_unqualified)
    app.add_directive("public-names", PublicNamesDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
