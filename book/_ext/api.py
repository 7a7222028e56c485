"""The library's reference, made from its docstrings.

`{public-names}` lists what `lvmlib` offers at its top level, with links. Private base classes are passed over. A name
is described under the module that people import it from; it is found there too where it stands without a module
(`Raises: DataError`) or with the file that defines it. In the contents beside a page a long name breaks behind an
underscore.
"""

from __future__ import annotations

from pydoc import locate
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
            line += [nodes.Text("\N{NO-BREAK SPACE}· ") if len(line) else nodes.Text(""), xref]
        return [line]


def pass_over_private(app: Sphinx, name: str, obj: type, options: Any, bases: list[type]) -> None:
    """Replace each private base class by its own bases."""
    while any(base.__name__.startswith("_") for base in bases):
        bases[:] = [b for base in bases for b in (base.__bases__ if base.__name__.startswith("_") else (base,))]


def find_elsewhere(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Find the entry of an object that is asked for by another name than the one it is described under.

    `DataError` becomes `lvmlib.downloads.DataError` where only one object of the library has that name, and
    `lvmlib.data.sets.load` becomes `lvmlib.data.load`, which names the same function.
    """
    target: str = node["reftarget"]
    if node["refdomain"] != "py" or ("." in target and not target.startswith("lvmlib.")):
        return None
    objects = env.domaindata["py"]["objects"]
    ending = f".{target.rpartition('.')[2]}"
    found = [name for name, entry in objects.items() if name.endswith(ending) and not entry.aliased]
    if "." in target:
        thing = locate(target)
        found = [name for name in found if thing is not None and locate(name) is thing]
    else:
        found = [name for name in found if name.startswith("lvmlib.")]
    if len(found) != 1:
        return None
    entry = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, [content], found[0])


def break_behind_underscores(app: Sphinx, env: BuildEnvironment) -> None:
    """Let the names in the contents of a page break where a reader expects it, by spaces without width."""
    for docname in env.tocs:
        for code in env.tocs[docname].findall(nodes.literal) if docname.startswith("book/reference/") else ():
            name = code.astext().replace("\u200b", "")
            code[:] = [nodes.Text(name.replace("_", "_\u200b"))]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-bases", pass_over_private)
    app.connect("missing-reference", find_elsewhere)
    app.connect("env-updated", break_behind_underscores)
    app.add_directive("public-names", PublicNamesDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
