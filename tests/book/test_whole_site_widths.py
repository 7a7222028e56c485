"""What fits on a screen, code on a desktop, tables of results and figures on a phone; and that its measuring ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from book._tools import site_check
from tests.book.test_whole_site import CHAPTERS

# Code that scrolls although no line of it has more than 88 columns, and printed lines that scroll.
SCROLLING_CODE = """() => [...document.querySelectorAll("article pre")].filter((e) => {
    const longest = Math.max(...e.textContent.split("\\n").map((line) => line.length));
    return e.scrollWidth > e.clientWidth && (longest <= 88 || e.closest(".cell_output"));
}).map((e) => e.textContent.slice(0, 80))"""


@pytest.mark.slow
def test_no_code_of_a_chapter_scrolls_on_a_desktop(site: Path, address: str, browser: Any) -> None:
    """It is large enough to read: 13 pixels beside text of 18."""
    page = browser.new_page(viewport={"width": 1280, "height": 740})
    for chapter in CHAPTERS:
        page.goto(f"{address}/notebooks/{chapter.stem}.html", wait_until="load")
        page.evaluate("() => document.fonts.ready.then(() => null)")
        page.evaluate("() => document.querySelectorAll('details').forEach((part) => (part.open = true))")
        assert page.evaluate(SCROLLING_CODE) == [], chapter.stem
        size = "getComputedStyle(document.querySelector('.cell_input pre')).fontSize"
        assert page.evaluate(size) == "13px"
    page.close()


@pytest.mark.slow
def test_results_on_a_phone_show_every_column(address: str, browser: Any) -> None:
    """A row is a card: each cell within the screen, behind the name of its column."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{address}/book/results.html", wait_until="load")
    cells = page.locator("table.results td").evaluate_all("""(all) => all.filter((e) => e.checkVisibility()).map((e) =>
        [getComputedStyle(e, "::before").content, e.getBoundingClientRect().right, e.scrollWidth - e.clientWidth])""")
    assert len(cells) > 300
    assert {name for name, _, _ in cells} >= {'"Model"', '"Protocol of the test, hardware, source"'}
    assert '""' not in {name for name, _, _ in cells}
    assert max(right for _, right, _ in cells) <= 390 and max(over for _, _, over in cells) <= 1
    page.close()


@pytest.mark.slow
def test_a_figure_leads_to_its_picture(site: Path, address: str, browser: Any) -> None:
    """By the Tab key where it is shown much smaller than it was drawn, as on a phone."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{address}/notebooks/08_vae.html", wait_until="load")
    link = page.locator("article figure a.image-reference").first
    page.wait_for_function("() => document.querySelector('figure a.image-reference').tabIndex === 0")
    assert (site / "notebooks" / str(link.get_attribute("href"))).is_file()
    page.set_viewport_size({"width": 1440, "height": 900})
    page.wait_for_function("() => document.querySelector('figure a.image-reference').tabIndex === -1")
    page.close()


@pytest.mark.slow
def test_the_measuring_of_a_page_without_an_article_ends(address: str, browser: Any) -> None:
    """The 404 page has none, and is no chapter to be waited for."""
    assert 0 < site_check.settle(browser, address, "404.html")["first"] < 60
