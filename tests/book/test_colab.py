"""Colab editions: what becomes of a chapter's Markdown, metadata and outputs, and what stops the build."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

pytest.importorskip("sphinx.application", reason="the book's tools are not installed")

from book._ext.colab.lowering import Lowering, leftovers, one_line
from book._tools.pairing import ROOT
from tests.book.tiny_site import PNG, build, code, text

KNOWN = {
    ("eq", "eq-a"): "[(8.1)](#eq-a)",
    ("ref", "ex-a"): "[Exercise 8.1](#ex-a)",
    ("prf:ref", "thm-a"): "[Theorem 8.1](#thm-a)",
    ("numref", "tab-a"): "[Table 8.1](#tab-a)",
    ("numref", "fig-a"): "[Figure 8.1](#fig-a)",
    ("term", "prior"): "prior",
}


def look_up(role: str, said: str) -> str:
    return KNOWN[role, said]


def lower(*lines: str) -> tuple[str, list[tuple[int, str]]]:
    lowering = Lowering(look_up, {"a.png": "data:image/png;base64,AA"}.__getitem__, iter(["8. ", "8.1. "]))
    return lowering.cell("\n".join(lines)), lowering.problems


A = '<a name="{0}" id="{0}"></a>'


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["See {prf:ref}`thm-a`", "and **{term}`prior`**."], "See [Theorem 8.1](#thm-a)\nand **prior**."),
        (["`{eq}` stays, $a_*b_*$ too, {eq}`eq-a`"], "`{eq}` stays, $a_*b_*$ too, [(8.1)](#eq-a)"),
        (["# Title", "", "## Part"], "# 8. Title\n\n## 8.1. Part"),
        (["(sec-a)=", "## Part"], f"{A.format('sec-a')}\n\n## 8. Part"),
        (["% a remark", "text"], "text"),
        (["so", "", "$$", "a", " = b", "$$ (eq-a)"], f"so\n\n{A.format('eq-a')}\n\n$$ a = b \\tag{{8.1}} $$"),
        (["$$ a $$"], "$$ a $$"),
        (["- one", "", "  $$", "  a", "  $$"], "- one\n\n  $$ a $$"),
        ([":::{math}", ":label: eq-a", "a", ":::"], f"{A.format('eq-a')}\n\n$$ a \\tag{{8.1}} $$"),
        (["```python", "x = '{eq}`eq-a`'", "```"], "```python\nx = '{eq}`eq-a`'\n```"),
        ([":::{prf:theorem} Name", ":label: thm-a", "It is.", ":::"],
         f"> {A.format('thm-a')}**Theorem 8.1 (Name).** It is."),
        ([":::{prf:proof}", "$$ a $$", ":::"], "> *Proof.*\n>\n> $$ a $$"),
        ([":::{tip}", "Try.", ":::"], "> **Tip**\n>\n> Try."),
        ([":::{admonition} Watch out", ":class: pitfall", "- a", ":::"], "> **Watch out**\n>\n> - a"),
        ([":::{dropdown} What `x` < *y*", "Yes.", ":::"],
         "<details>\n<summary>What <code>x</code> &lt; <em>y</em></summary>\n\nYes.\n\n</details>"),
        ([":::{exercise} ★", ":label: ex-a", "Do.", ":::"], f"{A.format('ex-a')}\n\n**Exercise 8.1 ★**\n\nDo."),
        ([":::{solution} ex-a", ":class: dropdown", "Done.", ":::"],
         "<details>\n<summary>Solution to Exercise 8.1</summary>\n\nDone.\n\n</details>"),
        (["::::{exercise}", ":label: ex-a", ":::{tip}", "Try.", ":::", "::::"],
         f"{A.format('ex-a')}\n\n**Exercise 8.1**\n\n> **Tip**\n>\n> Try."),
        ([":::{list-table} Name", ":header-rows: 1", ":name: tab-a", "", "* - a", "  - $|b|$", "* - 1", "  - 2", ":::"],
         f"{A.format('tab-a')}**Table 8.1.** Name\n\n| a | $\\vert b\\vert$ |\n| --- | --- |\n| 1 | 2 |"),
        ([":::{figure} a.png", ":name: fig-a", ":alt: A dot", "Text.", ":::"],
         f"{A.format('fig-a')}\n\n![A dot](data:image/png;base64,AA)\n\n**Figure 8.1.** Text."),
        (["![dot](a.png)"], "![dot](data:image/png;base64,AA)"),
    ],
)  # fmt: skip
def test_what_becomes_of_markdown(lines: list[str], expected: str) -> None:
    assert lower(*lines) == (expected, [])


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        (["a", "{ref}`sec-none`"], 2, "{ref}`sec-none` leads nowhere"),
        (["", ":::{margin}", "x", ":::"], 2, "{margin} has no plain form"),
        ([":::{tip}", "a", "{ref}`sec-none`", ":::"], 3, "{ref}`sec-none` leads nowhere"),
        ([":::{tip}", ":open:", "a", ":::"], 1, "option open of {tip}"),
        ([":::{prf:theorem}", "a", ":::"], 1, "needs a label"),
        (["![dot](b.png)"], 1, "the picture b.png cannot be embedded"),
        ([":::{list-table}", "* - a", "  - b", "* - c", ":::"], 1, "this table has"),
        ([":::{list-table}", "* - a", "", "    b", "    - c", ":::"], 1, "this table has"),
        (["a [page](08_vae.md)"], 1, "a link to 08_vae.md is left"),
        (["so $$a$$ here"], 1, "math_inline_double 'a' is left"),
        (["\\begin{align}", "a", "\\end{align}"], 1, "amsmath"),
    ],
)
def test_what_cannot_be_lowered_is_said_with_its_line(lines: list[str], line: int, said: str) -> None:
    problems = lower(*lines)[1]
    assert [p for p in problems if p[0] == line and said in p[1]], problems


def test_formulas_of_several_lines_are_aligned() -> None:
    assert one_line("a &= b \\\\\n &= c") == r"\begin{aligned} a &= b \\ &= c \end{aligned}"
    kept = r"\begin{cases} a & b \\ c & \begin{matrix} d & e \end{matrix} \end{cases}"
    assert one_line(kept) == kept


FIGURE = {"figure": {"name": "fig-a", "caption": "As {eq}`eq-a` says."}, "image": {"alt": "A pixel"}}
THEOREM = ":::{prf:theorem} All is $1$\n:label: thm-one\nIt is, by {eq}`eq-a`.\n:::\n\n$$ a $$ (eq-a)"
EXERCISE = ":::{exercise}\n:label: ex-a\nSee {numref}`fig-a` and {ref}`ex-a`, {doc}`a page <../other>`.\n:::"
PROJECT = '[project]\nversion = "1.0"\n[project.urls]\nRepository = "https://github.com/a/b"\n[tool.lvmlib]\n'


def make(folder: Path, *cells: dict[str, Any], published: str = "[]") -> tuple[Any, str]:
    """Build a site of one chapter; return its edition and the warnings."""
    (folder / "source").mkdir()
    (folder / "source" / "pyproject.toml").write_text(f'{PROJECT}colab-branch = "colab"\npublished = {published}\n')
    extensions = ("sphinxcontrib.bibtex", "book._ext.colab")
    bibliography = {"bibtex_bibfiles": ["a.bib"], "bibtex_reference_style": "author_year", "math_numfig": True}
    (folder / "source" / "a.bib").write_text("@book{doe, author={Doe, J.}, title={A Book}, year=1999, publisher={P}}")
    pages = {"other": "# Other\n\n```{bibliography}\n```\n"}
    site = build(folder, *cells, pages=pages, more=extensions, math_eqref_format="({number})", **bibliography)
    return nbformat.read(folder / "out" / "notebooks" / "08_vae.ipynb", as_version=4), site.warnings


def test_an_edition_holds_numbers_citations_captions_and_outputs(tmp_path: Path) -> None:
    hidden = code("plot()", picture=True, mystnb=FIGURE, tags=["hide-input"], tolerance={"rtol": 0.1})
    switch = code("SCALE = 1", tags=["hide-input", "check:thm-one"])
    edition, warnings = make(tmp_path, text(THEOREM), switch, hidden, text(EXERCISE), text("{cite:t}`doe` wrote it."))
    assert warnings == ""
    nbformat.validate(edition)
    banner, install, title, theorem, check, shown, plot, caption, exercise, cited, references = edition.cells
    assert "Save a copy in Drive" in banner.source and "chapter 8" in banner.source
    assert "--no-deps" in install.source and "lvmlib-1.0-py3-none-any.whl" in install.source
    assert title.source == "# 8. A chapter"
    assert "**Theorem 8.1 (All is $1$).** It is, by [(8.1)](#eq-a)." in theorem.source
    assert "$$ a \\tag{8.1} $$" in theorem.source
    assert check.source == "*Check of [Theorem 8.1](#thm-one):*"
    assert shown.metadata == {} and plot.metadata == {"cellView": "form"}
    assert plot.outputs[0].data["image/png"] == PNG and plot.execution_count == 1
    assert caption.source.endswith("**Fig. 8.1.** As [(8.1)](#eq-a) says.")
    assert "**Exercise 8.1**" in exercise.source
    assert "See [Fig. 8.1](#fig-a) and [Exercise 8.1](#ex-a), a page." in exercise.source
    assert cited.source == "Doe [1999] wrote it."
    assert references.source.startswith("## References\n\n- ") and "A Book" in references.source


def test_links_lead_to_the_site_where_there_is_one(tmp_path: Path) -> None:
    edition, warnings = make(tmp_path, text("{doc}`a page <../other>`"), published='["site"]')
    assert warnings == ""
    assert edition.cells[3].source == "[a page](https://a.github.io/b/other.html)"
    assert "https://a.github.io/b/notebooks/08_vae.html" in edition.cells[0].source
    assert "https://a.github.io/b/" in edition.cells[1].source


@pytest.mark.parametrize("published", ["[]", '["site", "colab"]'])
def test_a_page_says_what_can_be_taken_away(tmp_path: Path, published: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "pyproject.toml").write_text(f'{PROJECT}colab-branch = "c"\npublished = {published}\n')
    (tmp_path / "source" / "book").mkdir()
    pages = {"book/welcome": "# Welcome\n\n```{take-away}\n```\n"}
    site = build(tmp_path, pages=pages, more=("book._ext.download",))
    page = site.page("book/welcome")
    assert site.warnings == ""
    links = re.findall(r'href="\.\./(\S+?\.(?:zip|whl))"', page)
    assert links == ["notebooks.zip", "wheels/lvmlib-1.0-py3-none-any.whl"]
    assert ("The rocket" in page) == ("colab" in published) and ("you upload" in page) != ("site" in published)


def test_a_build_stops_at_what_cannot_be_lowered(tmp_path: Path) -> None:
    table = ":::{list-table}\n* - a\n\n    b\n:::"
    warnings = make(tmp_path, text("fine"), text("one\n\n" + table))[1]
    assert re.search(r"08_vae\.ipynb: WARNING: cell 2, line 3: this table .*Colab cannot show it", warnings)


def test_pictures_lie_in_the_notebook(tmp_path: Path) -> None:
    (tmp_path / "source" / "notebooks").mkdir(parents=True)
    from book._ext.colab import embed

    (tmp_path / "a.png").write_bytes(base64.b64decode(PNG))
    assert embed(tmp_path, "a.png") == f"data:image/png;base64,{PNG}"
    with pytest.raises(LookupError, match="can be"):
        embed(tmp_path, "a.tiff")


@pytest.mark.parametrize("chapter", sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")), ids=lambda path: path.stem)
def test_no_chapter_has_what_cannot_be_lowered(chapter: Path) -> None:
    lowering = Lowering(lambda role, said: f"({said})", str, iter([]))
    for cell in json.loads(chapter.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            lowered = lowering.cell("".join(cell["source"]))
            assert not re.search(r"^\s*>?\s*:::|\{[\w:-]+\}`|^\([\w-]+\)=", lowered, re.MULTILINE)
    assert lowering.problems == []


def test_what_is_left_is_seen() -> None:
    assert len(list(leftovers(":::{tip}\na\n:::\n\n{eq}`a`\n\n(a)=\n# B\n\n$$ a $$ (b)"))) == 4
