"""What a role says, as Markdown: Sphinx itself is asked, so numbers and names are those of the site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin

from docutils import nodes
from docutils.utils import new_document
from pybtex.backends.markdown import Backend
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

DOMAINS = {"ref": "std", "numref": "std", "doc": "std", "term": "std", "eq": "math"}
EXPLICIT = re.compile(r"(.+?)\s*<([^<>]+)>", re.DOTALL)


def markdown(node: nodes.Node) -> str:
    """Return what a node says, formulas and emphasis kept."""
    if isinstance(node, nodes.Text):
        return str(node)
    inner = "".join(markdown(child) for child in node.children)
    if isinstance(node, nodes.math):
        return f"${inner}$"
    if isinstance(node, nodes.emphasis):
        return f"*{inner}*"
    return f"`{inner}`" if isinstance(node, nodes.literal) else inner


@contextmanager
def pages_kept(env: BuildEnvironment) -> Iterator[None]:
    """Keep pages that were read: Sphinx reads one anew for each figure that is referred to."""
    env.get_doctree = lru_cache(env.get_doctree)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del env.get_doctree  # the method is there again


class References:
    """Answers what the roles of one chapter say.

    Args:
        app: with every page read.
        docname: the chapter.
        site: the address of the published site, to which links to other pages lead; empty if there is none.
    """

    def __init__(self, app: Sphinx, docname: str, site: str):
        self.app, self.docname, self.site = app, docname, site
        self.known: dict[tuple[str, str], str] = {}
        self.cited: set[str] = set()
        self.settings = new_document("").settings  # takes longer to make than all else
        self.settings.env = app.env

    def __call__(self, role: str, text: str) -> str:
        """Return what a role says, as Markdown, with a link where there is somewhere to go.

        Raises:
            LookupError: the role is unknown, or leads nowhere.
        """
        if (role, text) not in self.known:
            self.known[role, text] = self.resolve(role, text)
        return self.known[role, text]

    def resolve(self, role: str, text: str) -> str:
        """Ask Sphinx."""
        domain, _, kind = role.rpartition(":")
        domain = domain or DOMAINS.get(role, "")
        match = EXPLICIT.fullmatch(text) if domain not in {"cite", "math"} else None
        title, target = (match[1], match[2]) if match else (text, text)
        if kind in {"ref", "numref"} and domain == "std":
            target = target.lower()
        xref = addnodes.pending_xref(
            "", nodes.inline("", title), refdomain=domain, reftype=kind, reftarget=target, refdoc=self.docname,
            refexplicit=match is not None, refwarn=False,
        )  # fmt: skip
        resolved = self.post_transformed(xref)
        links = [node for node in resolved.findall(nodes.reference) if "refid" in node or "refuri" in node]
        if not links:
            raise LookupError(target)
        said = markdown(resolved)
        if domain == "cite":
            self.cited |= {key.strip() for key in target.split(",")}
            return said
        if kind == "term":
            return said
        return self.link(said, links[0], target)

    def post_transformed(self, xref: addnodes.pending_xref) -> nodes.Element:
        """Return a paragraph with the reference as the pages show it."""
        document = new_document(self.docname, self.settings)
        document += nodes.paragraph("", "", xref)
        self.app.env.apply_post_transforms(document, self.docname)
        paragraph: Any = document[0]
        return paragraph  # type: ignore[no-any-return]

    def link(self, said: str, node: nodes.Element, target: str) -> str:
        """Return a link within the notebook, or to the site where that is published."""
        uri = node.get("refuri", "")
        if not uri or uri.startswith("#"):
            return f"[{said}](#{target})"
        page = self.app.builder.get_target_uri(self.docname)
        return f"[{said}]({urljoin(urljoin(self.site, page), uri)})" if self.site else said

    def bibliography(self) -> str:
        """Return the list of what was cited, as the site's bibliography has it, in Markdown."""
        entries = [c for c in self.app.env.get_domain("cite").citations if c.key in self.cited]  # type: ignore[attr-defined]
        texts = [" ".join(c.formatted_entry.text.render(Backend()).split()) for c in entries]
        lines = [re.sub(r"\\([.()-])", r"\1", text) for text in texts]  # the backend escapes more than it must
        return "\n".join(["## References", "", *(f"- {line}" for line in lines)])
