"""Chapters keep the number in their file name: `notebooks/08_vae.ipynb` is chapter 8, however few stand before it."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors.toctree import TocTreeCollector

CHAPTER = re.compile(r"notebooks/(\d\d)_\w+$")


def chapter_number(docname: str) -> int | None:
    """Return the number of a chapter (1 for `notebooks/01_information_theory`), None for any other page."""
    match = CHAPTER.match(docname)
    return int(match.group(1)) if match else None


def renumber(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Replace the running number of every chapter by its own; figures, theorems and equations follow."""
    changed = []
    for docname, sections in env.toc_secnumbers.items():
        number = chapter_number(docname)
        if number is None:
            continue
        before = dict(sections)
        for anchor, secnumber in sections.items():
            if secnumber:
                sections[anchor] = (number, *secnumber[1:])
        for node in [*env.tocs[docname].findall(nodes.reference), env.titles[docname]]:
            if node.get("secnumber"):
                node["secnumber"] = [number, *node["secnumber"][1:]]
        if sections != before:
            changed.append(docname)
    return changed + TocTreeCollector().assign_figure_numbers(env)


def setup(app: Sphinx) -> dict[str, Any]:
    # Sphinx itself numbers in the same event; a later priority sees its result.
    app.connect("env-get-updated", renumber, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
