"""The reference: a name is found under the module that people import it from, however it is asked for."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import NamedTuple

import pytest

sphinx_application = pytest.importorskip("sphinx.application", reason="the book's tools are not installed")

from docutils import nodes  # noqa: E402
from sphinx.util.docutils import docutils_namespace  # noqa: E402

from book._ext.api import (  # noqa: E402
    break_names_in_contents,
    keep_letters,
    name_defaults,
    pass_over_repeated,
    set_page,
)

PAGE = """
# Reference

{py:func}`one <lvmlib.data.load>` {py:func}`two <lvmlib.data.sets.load>` {py:class}`three <Data>`
{py:meth}`four <lvmlib.data.sets.Data.batch>` {py:func}`five <lvmlib.data.sets.describe>`
{py:func}`six <len>` {py:func}`seven <lvmlib.toys.load>`

```{public-names}
```

```{eval-rst}
.. automodule:: lvmlib.data
   :members:
```
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("reference")
    (folder / "source").mkdir()
    (folder / "source" / "index.md").write_text(PAGE)
    settings = {
        "extensions": ["myst_parser", "sphinx.ext.autodoc", "book._ext.api"],
        "html_theme": "basic",
        "source_suffix": {".md": "markdown"},  # a dictionary of its own: Sphinx would write into the default of all
    }
    with docutils_namespace():
        sphinx_application.Sphinx(
            *(folder / "source", None, folder / "out", folder / "doctrees", "html", settings),
            status=None,
            warning=io.StringIO(),
        ).build()
    return (folder / "out" / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ("one", "lvmlib.data.load"),
        ("two", "lvmlib.data.load"),
        ("three", "lvmlib.data.Data"),
        ("four", "lvmlib.data.Data.batch"),
        ("five", None),
        ("six", None),
        ("seven", None),
    ],
)
def test_a_name_leads_to_its_entry(page: str, words: str, address: str | None) -> None:
    found = re.search(rf'href="#([^"]*)"[^>]*><code[^>]*>(<span[^>]*>)*{words}<', page)
    assert (found and found[1]) == address


def test_public_names_are_links_where_they_are_described(page: str) -> None:
    linked = re.findall(r'href="#(lvmlib[^"]*)"[^>]*><code class="xref py[^"]*"><span class="pre">(\w+)<', page)
    assert {("lvmlib.data.load", "load"), ("lvmlib.data.Data", "Data")} <= set(linked)


def test_names_in_the_contents_break_where_a_reader_expects_it() -> None:
    names = "log_prob(), TwoMoons"
    tocs = {page: nodes.paragraph("", "", nodes.literal("", names)) for page in ("book/reference/base", "book/a")}
    for _ in range(2):  # a page that did not change is met again
        break_names_in_contents(None, SimpleNamespace(tocs=tocs))
    assert [toc.astext() for toc in tocs.values()] == ["log_\u200bprob(), Two\u200bMoons", names]


def test_headings_break_behind_dots_and_arrows_are_one_sign() -> None:
    page = nodes.section("", nodes.title("", "lvmlib.data"), nodes.paragraph("", "[B] -> [B], a.b"))
    page += nodes.literal_block("", "f() -> None")
    document = nodes.document(None, None, "", page)
    set_page(None, document, "book/reference/data")
    assert [node.astext() for node in page] == ["lvmlib.\u200bdata", "[B] \u2192 [B], a.b", "f() -> None"]


@pytest.mark.parametrize(
    ("args", "written"),
    [
        ("(f: Make = <class 'torch.nn.modules.activation.ReLU'>)", "(f: Make = ReLU)"),
        ("(draw=<function draw at 0x7f00>)", "(draw=draw)"),
        ("(f=<function draw>, n: int = 1)", "(f=draw, n: int = 1)"),
        ("(runs: list = <factory>)", "(runs: list = ...)"),
        (None, None),
    ],
)
def test_a_default_is_written_by_its_name(args: str | None, written: str | None) -> None:
    assert name_defaults(None, "class", "", None, None, args, None) == (written, None)


def test_a_letter_does_not_start_a_list() -> None:
    lines = [":param dims: D.", ":returns: ELBO. It", "1. first"]
    keep_letters(None, "class", "", None, None, lines)
    assert lines == [r":param dims: \D.", ":returns: ELBO. It", "1. first"]


def test_what_is_returned_has_no_type_before_its_colon() -> None:
    lines = [":returns: *z* -- [B, D], log_det: [B].", ":returns: *[B, *event]* -- x.", ":returns: ELBO, *not* -- a."]
    keep_letters(None, "method", "", None, None, lines)
    assert lines == [":returns: z: [B, D], log_det: [B].", r":returns: [B, \*event]: x.", ":returns: ELBO, *not* -- a."]


def test_fields_of_a_named_tuple_are_described_once() -> None:
    class Pair(NamedTuple):
        first: int

    assert pass_over_repeated(None, "class", "first", Pair.first, False, None)
    assert pass_over_repeated(None, "class", "count", Pair.count, False, None) is None
