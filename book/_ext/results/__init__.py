"""Tables of results, drawn from data: what the benchmarks measured, and test likelihoods beside published ones.

    ```{benchmark} sampling
    ```

shows lvmlib/experiments/benchmarks/sampling.json. `{likelihoods} fresh` shows the records of the shipped models of
binary MNIST beside what published.json quotes under that name, `{likelihoods} static` the quoted ones alone.
`{desiderata}` shows what each family of models owes and pays. No figure is typed in: ours come from the files that the
programs wrote. `{records}` shows the test figures of all other shipped models. A record that book/results.yml does not
name, and a benchmark without its file, fail the strict build.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from book._ext.numbering import chapter_number
from book._ext.plan import CHAPTERS
from book._ext.results import timings
from book._ext.results.benchmarks import TOPICS, origin
from book._ext.results.desiderata import desiderata
from book._ext.results.likelihoods import likelihoods, others, strangers
from book._ext.results.text import Record, crosses

logger = logging.getLogger(__name__)

BENCHMARKS = "lvmlib/experiments/benchmarks"
CHECKPOINTS = "lvmlib/experiments/checkpoints"
NAMES = "book/results.yml"
PUBLISHED = "lvmlib/experiments/published.json"


class ResultsDirective(SphinxDirective):
    """What the directives share: the files, and how a chapter is named."""

    @property
    def root(self) -> Path:
        return Path(self.env.srcdir)

    def read(self, folder: str) -> dict[str, Record]:
        """Return the JSON files of a folder by name."""
        self.env.note_dependency(str(self.root / folder))
        files = sorted((self.root / folder).glob("*.json"))
        for file in files:
            self.env.note_dependency(str(file))
        return {file.stem: json.loads(file.read_text("utf-8")) for file in files}

    def published(self) -> Record:
        """Return the names of what is shown and, under `published`, the figures of others."""
        for file in (NAMES, PUBLISHED):
            self.env.note_dependency(str(self.root / file))
        found: Record = yaml.safe_load((self.root / NAMES).read_text("utf-8"))
        return {**found, "published": json.loads((self.root / PUBLISHED).read_text("utf-8"))}

    def chapter(self, number: int) -> str:
        """Name a chapter, with a link if it exists."""
        if number not in CHAPTERS:
            logger.warning(f"{NAMES} names chapter {number}, which is none", location=self.get_location())
        page = next((page for page in self.env.found_docs if chapter_number(page) == number), None)
        return f"chapter {number}" if page is None else f"{{doc}}`chapter {number} </{page}>`"

    def show(self, text: str, kind: str) -> list[nodes.Node]:
        """Turn Markdown into nodes; its tables get the class `kind`."""
        result = self.parse_text_to_nodes(crosses(text))
        for node in result:
            for table in node.findall(nodes.table):
                table["classes"] += ["results", kind, "colwidths-auto"]  # as wide as the contents ask for
        return result


class BenchmarkDirective(ResultsDirective):
    """Show one topic of the benchmarks."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        topic = self.arguments[0]
        record = self.read(BENCHMARKS).get(timings.FILES.get(topic, topic))
        if topic not in TOPICS or record is None:
            known = ", ".join(TOPICS)
            logger.warning(
                f"no {BENCHMARKS}/{topic}.json to show: run `make benchmarks ONLY={topic}` (topics: {known})",
                location=self.get_location(),
            )
            return []
        shown = self.show(f"{TOPICS[topic](record)}\n\n{origin(record)}", topic)
        shown[-1]["classes"].append("measured")  # type: ignore[index]
        return shown


class LikelihoodsDirective(ResultsDirective):
    """Show our test likelihoods beside published ones of the same protocol."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        records, published = self.read(CHECKPOINTS), self.published()
        for name in strangers(records, published):
            logger.warning(f"{NAMES} does not say what {CHECKPOINTS}/{name}.json is", location=self.get_location())
        return self.show(likelihoods(records, published, self.arguments[0], self.chapter), "likelihoods")


class RecordsDirective(ResultsDirective):
    """Show the test figures of the models that the tables of likelihoods leave out."""

    def run(self) -> list[nodes.Node]:
        return self.show(others(self.read(CHECKPOINTS), self.published(), self.chapter), "likelihoods")


class DesiderataDirective(ResultsDirective):
    """Show what each family of models owes and pays."""

    def run(self) -> list[nodes.Node]:
        text = desiderata(self.read(CHECKPOINTS), self.read(BENCHMARKS), self.published(), self.chapter)
        return self.show(text, "desiderata")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("benchmark", BenchmarkDirective)
    app.add_directive("likelihoods", LikelihoodsDirective)
    app.add_directive("records", RecordsDirective)
    app.add_directive("desiderata", DesiderataDirective)
    app.setup_extension("book._ext.cards")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
