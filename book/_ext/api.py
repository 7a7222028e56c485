"""The library's reference, made from its docstrings.

`{public-names}` lists what `lvmlib` offers at its top level, with links. Private base classes are passed over. A name
is described under the module that people import it from; it is found there too where it stands without a module
(`Raises: DataError`) or with the file that defines it. Long names break where a reader expects it: behind an
underscore or a dot, and before a capital.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pydoc import locate
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

DEFAULT = re.compile(r"<(?:class|function|built-in \w+) '?(?:[\w.]+\.)?(\w+)[^<>]*>")
LETTER = re.compile(r"^(:[\w ]+: )(\w\.)(?= |$)")
RETURNED = re.compile(r"^(:returns: +)\*(.*?)\* -- ")
PLACES = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[._])(?=\w)")
FIXED = (nodes.literal_block, nodes.math, nodes.math_block, addnodes.desc_signature)


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


def pass_over_repeated(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: Any) -> bool | None:
    """Leave out what says nothing new: a named tuple's fields, which its class describes, and what `print` shows."""
    repeated = name == "extra_repr" or str(obj.__doc__).startswith("Alias for field number")
    return True if repeated else None


def name_defaults(
    app: Sphinx, what: str, name: str, obj: object, options: Any, args: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write a class or a function that is a default by its name: `ReLU`, not `<class 'torch.nn...ReLU'>`.

    Sphinx reads only what Python could read, and prints the rest as it stands.
    """
    return args and DEFAULT.sub(r"\1", args).replace("<factory>", "..."), returns


def keep_letters(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Keep a description that is one letter, such as `dims: D.`, from being read as the start of a list.

    And what is returned as `z: [B, D], log_det: [B]` from being read as the value of a type `z`.
    """
    for i, line in enumerate(lines):
        if found := RETURNED.match(line):
            line = found[1] + re.sub(r"(?<!\\)\*", r"\*", found[2]) + ": " + line[found.end() :]
        lines[i] = LETTER.sub(r"\1\\\2", line)


def breakable(name: str) -> str:
    """A name with spaces without width where it may break."""
    return PLACES.sub("\u200b", name.replace("\u200b", ""))


def break_names_in_contents(app: Sphinx, env: BuildEnvironment) -> None:
    """Let the names in the contents of a page break where a reader expects it."""
    for docname in env.tocs:
        for code in env.tocs[docname].findall(nodes.literal) if docname.startswith("book/reference/") else ():
            code[:] = [nodes.Text(breakable(code.astext()))]


def set_page(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Let the names in headings and tables break too, and write an arrow as one sign, which does not."""
    if not docname.startswith("book/reference"):
        return
    for text in list(doctree.findall(nodes.Text)):
        above = list(ancestors(text))
        if any(isinstance(node, FIXED) for node in above):
            continue
        words = text.astext().replace("->", "\u2192")
        in_table = any(isinstance(node, nodes.entry) for node in above)
        if isinstance(text.parent, nodes.title) or (in_table and isinstance(text.parent, nodes.literal)):
            words = breakable(words)
        if words != text.astext():
            text.parent.replace(text, nodes.Text(words))


def ancestors(node: nodes.Node) -> Iterator[nodes.Node]:
    """The nodes that a node stands in, the nearest first."""
    while node.parent is not None:
        node = node.parent
        yield node


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-bases", pass_over_private)
    app.connect("missing-reference", find_elsewhere)
    app.connect("autodoc-skip-member", pass_over_repeated)
    app.connect("autodoc-process-signature", name_defaults)
    app.connect("autodoc-process-docstring", keep_letters, priority=900)  # after napoleon
    app.connect("env-updated", break_names_in_contents)
    app.connect("doctree-resolved", set_page)
    app.add_directive("public-names", PublicNamesDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
