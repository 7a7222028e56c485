"""What `make pdf` makes of pages: their order, one document with links and numbers, and nothing that clips."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sphinx.application", reason="the book's tools are not installed")
pypdf = pytest.importorskip("pypdf")

import yaml  # noqa: E402

from book._tools import pdf  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture
def blank(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": pdf.WIDTH, "height": 985})
    page.emulate_media(media="print")
    yield page
    page.close()


def test_the_book_has_every_page_in_order() -> None:
    names = pdf.pages_of(yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8")))
    chapters = [name for name in names if name.startswith("notebooks/")]
    assert names[0] == "book/welcome" and len(set(names)) == len(names)
    assert chapters == sorted(f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


@pytest.mark.slow
def test_what_is_wider_than_the_paper_is_told(blank: Any) -> None:
    wide = "<p>fits</p><pre style='overflow: auto'>" + "x" * 300 + "</pre><div style='width: 900px'>beyond</div>"
    blank.set_content(f"<article class='bd-article'>{wide}</article>")
    assert [what.split()[0] for what, pixels in blank.evaluate(pdf.CLIPPED) if pixels > 100] == ["pre", "div"]


@pytest.mark.slow
def test_a_wide_table_is_made_to_fit(blank: Any) -> None:
    table = "<table><tr><td style='white-space: nowrap'>" + "word " * 200 + "</td></tr></table>"
    blank.set_content(f"<article class='bd-article' style='width: 600px'><section>{table}</section></article>")
    assert blank.evaluate(pdf.CLIPPED)
    blank.evaluate(pdf.FIT)
    assert blank.evaluate(pdf.CLIPPED) == []


@pytest.mark.slow
def test_links_between_pages_lead_into_the_book(blank: Any, browser: Any) -> None:
    """A page that the book holds is reached within it, any other on the site, or nowhere while there is none."""
    here = "http://127.0.0.1:1"
    parts = {}
    for name, other in (("a", "b.html#there"), ("b", "c.html")):
        away = "<p style='break-before: page'>2</p>" * (name == "b")
        words = f"<h1>{name}</h1><a href='{here}/{other}'>x</a><a href='#there'>y</a>{away}<p id='there'>there</p>"
        blank.set_content(f"<article class='bd-article'>{words}</article>")
        parts[name] = pdf.printed(blank, name)

    def links(site: str | None) -> list[Any]:
        book = pdf.joined(parts, here, site, lambda count: pdf.page_numbers(browser, count))
        stream = io.BytesIO()
        book.write(stream)
        read = pypdf.PdfReader(stream)
        assert [page.extract_text().split()[-1] for page in read.pages] == ["1", "2", "3"]
        assert [item.title for item in read.outline] == ["a", "b"]
        found = [link.get_object() for page in read.pages for link in page.get("/Annots", [])]
        order = [page.indirect_reference.idnum for page in read.pages]
        to = lambda link: order.index(link["/Dest"][0].idnum) if "/Dest" in link else link.get("/A", {}).get("/URI")  # noqa: E731
        return [to(link) for link in found]

    assert links("https://example.org/book/") == [2, 0, "https://example.org/book/c.html", 2]
    assert links(None) == [2, 0, None, 2]


@pytest.mark.slow
def test_nothing_clips_on_paper(site: Path, address: str, browser: Any) -> None:
    clipped = {}
    for name in pdf.pages_of(yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))):
        page = pdf.open_printed(browser, address, name, set())
        clipped[name] = page.evaluate(pdf.CLIPPED)
        page.close()
    assert {name: found for name, found in clipped.items() if found} == {}


@pytest.mark.slow
def test_a_page_is_printed(site: Path, address: str, browser: Any) -> None:
    """Formulas are set, solutions stand at the end, and the title has the number of the chapter."""
    page = pdf.open_printed(browser, address, "notebooks/08_vae", {"ch-vae"})
    assert page.locator("article mjx-container").count() >= page.locator("article .math").count()
    boxes = page.locator("div.exercise, div.solution").evaluate_all("(all) => all.map((e) => e.className)")
    solutions = ["solution" in names for names in boxes]
    assert any(solutions) and solutions == sorted(solutions)
    titles = page.locator("div.solution > .admonition-title").all_inner_texts()
    assert len(set(titles)) == len(titles) and titles[0] == "Solution of Exercise 8.1"
    assert page.locator("h2:has-text('Solutions') ~ div.cell").count() > 1  # those that a solution leads to
    read = pypdf.PdfReader(io.BytesIO(pdf.printed(page, "8. Variational autoencoders")))
    page.close()
    assert 30 < len(read.pages) < 52
    assert "8. Variational autoencoders" in read.pages[3].extract_text()
    assert read.outline[0].title.startswith("8.")
