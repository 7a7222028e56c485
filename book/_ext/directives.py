"""Chapters use a short list of directives and roles, each of which can be lowered to plain Markdown.

Whatever else a notebook uses would show raw where it is opened outside the site, so it is refused here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from markdown_it import MarkdownIt
from mdit_py_plugins.amsmath import amsmath_plugin
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin
from mdit_py_plugins.myst_role import myst_role_plugin
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

DIRECTIVES = {
    *("prf:theorem", "prf:proposition", "prf:lemma", "prf:corollary", "prf:definition", "prf:proof", "prf:example"),
    *("admonition", "note", "tip", "exercise", "solution", "dropdown", "figure", "math", "list-table"),
}
LITERAL = {"math"}  # their content is not Markdown
ROLES = {"ref", "numref", "eq", "prf:ref", "cite:t", "cite:p", "term", "doc"}

NAME = re.compile(r"\{([^}]+)\}")


def parser() -> MarkdownIt:
    """Return a Markdown parser that knows MyST's syntax as the site's configuration has it."""
    md = MarkdownIt("commonmark").enable("table").use(colon_fence_plugin).use(dollarmath_plugin, double_inline=True)
    return md.use(amsmath_plugin).use(myst_role_plugin).use(myst_block_plugin)


def offences(text: str) -> Iterator[str]:
    """Yield what a Markdown text uses although a chapter may not.

    >>> list(offences("{abbr}`ELBO`"))
    ['role {abbr}']
    >>> list(offences("::::{note}\\n:::{margin}\\nhm\\n:::\\n::::"))
    ['directive {margin}']
    """
    for token in parser().parse(text):
        if token.type in {"fence", "colon_fence"}:
            match = NAME.match(token.info.strip())
            if match and match.group(1) not in DIRECTIVES:
                yield f"directive {{{match.group(1)}}}"
            elif match and match.group(1) not in LITERAL:
                yield from offences(token.content)
        elif token.type == "amsmath":
            environment = token.content.split("}")[0] + "}"
            yield f"bare {environment} (write $$\\begin{{aligned}} ... \\end{{aligned}}$$ (eq-label))"
        for child in token.children or []:
            if child.type == "math_inline_double":
                yield "$$...$$ in the middle of a paragraph (give it lines of its own)"
            if child.type == "myst_role" and child.meta["name"] not in ROLES:
                yield f"role {{{child.meta['name']}}}"


def check_notebook(app: Sphinx, docname: str, source: list[str]) -> None:
    """Warn about each directive and role of a notebook that is not on the list."""
    if not str(app.env.doc2path(docname)).endswith(".ipynb"):
        return
    for i, cell in enumerate(json.loads(source[0])["cells"]):
        if cell["cell_type"] != "markdown":
            continue
        for offence in offences("".join(cell["source"])):
            logger.warning(f"cell {i}: {offence} is not allowed in a chapter", location=docname)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", check_notebook)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
