"""The whole site, as it is built, in a browser."""

from __future__ import annotations

import html
import re
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

sphinx_application = pytest.importorskip("sphinx.application", reason="the book's tools are not installed")

import nbformat  # noqa: E402
from markdown_it import MarkdownIt  # noqa: E402

from lvmlib.homework.master import find_masters, read_master  # noqa: E402
from tests.book.tiny_site import duplicate_ids  # noqa: E402

LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}


def pages(site: Path) -> list[str]:
    return sorted(str(path.relative_to(site)) for path in site.rglob("*.html") if "_static" not in path.parts)


class References(HTMLParser):
    """Gathers what a page makes the browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        fetched = tag == "link" and not {"canonical", "next", "prev", "index", "search"} & set(values["rel"].split())
        if fetched:
            self.found.append(values["href"])
        if tag in LOADS and values.get("src"):
            self.found.append(values["src"])
        self.found += re.findall(r"url\(['\"]?([^'\")]+)", values.get("style", ""))
        self.found += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for name in pages(site):
        parser = References()
        parser.feed((site / name).read_text("utf-8"))
        outside = [url for url in parser.found if re.match(r"(https?:)?//", url)]
        assert outside == [], f"{name} fetches {outside}"
        for url in parser.found:
            if not url.startswith(("data:", "#")):
                file = ((site / name).parent / url.split("?")[0].split("#")[0]).resolve()
                assert file.exists(), f"{name} refers to {url}, which is not there"
    for sheet in site.rglob("*.css"):
        content = re.sub(r"/\*.*?\*/", "", sheet.read_text("utf-8"), flags=re.S)
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", content), sheet


CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
MYST = re.compile(r":::|\{[\w:-]+\}|(?:^|>)\([\w-]+\)=|\(eq-", re.MULTILINE)
FORMULA = re.compile(r"\$\$.+?\$\$|\$(?:\\.|[^$\\])+\$", re.DOTALL)


def rendered(cells: list[Any]) -> str:
    """Return the text cells of a notebook as HTML, without code and formulas."""
    markdown = MarkdownIt("commonmark").enable("table")
    texts = [FORMULA.sub("formula", cell.source) for cell in cells if cell.cell_type == "markdown"]
    shown = "\n".join(map(markdown.render, texts))
    return re.sub(r"<(code|pre)\b.*?</\1>", "", shown, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_each_chapter_has_a_colab_edition(site: Path, chapter: Path) -> None:
    """It is valid, holds the chapter's code and outputs, and shows no directive, no role and no link to nowhere."""
    file = site / "notebooks" / chapter.name
    assert f'href="{chapter.name}"' in file.with_suffix(".html").read_text("utf-8")
    edition = nbformat.read(file, as_version=4)
    nbformat.validate(edition)
    assert {key for cell in edition.cells for key in cell.metadata} <= {"cellView"}
    code = [cell for cell in edition.cells if cell.cell_type == "code"][1:]
    stored = [cell for cell in nbformat.read(chapter, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.source for cell in code] == [cell.source for cell in stored]
    for new, old in zip(code, stored):
        assert [o.get("data", o.get("text")) for o in new.outputs] == [
            o.get("data", o.get("text")) for o in old.outputs
        ]
    prose = rendered(edition.cells)
    assert MYST.findall(prose) == []
    assert set(re.findall(r'href="#([^"]+)"', prose)) <= set(re.findall(r'name="([^"]+)"', prose))


@pytest.mark.slow
def test_all_editions_come_in_one_archive_and_no_sources(site: Path) -> None:
    assert not (site / "_sources").exists()
    with zipfile.ZipFile(site / "notebooks.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            chapter.name: (site / "notebooks" / chapter.name).read_bytes() for chapter in CHAPTERS
        }
    welcome = (site / "book" / "welcome.html").read_text("utf-8")
    links = re.findall(r'href="\.\./(notebooks\.zip|wheels/[^"]+)"', welcome)
    assert len(links) == 2 and all((site / link).is_file() for link in links)


@pytest.mark.slow
def test_the_wheel_is_offered_and_small(site: Path) -> None:
    (wheel,) = (site / "wheels").glob("*.whl")
    assert wheel.name.startswith("lvmlib-") and wheel.stat().st_size < 40_000_000


def texts(site: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every file of the site, of those in its archives and its wheel too."""
    for path in site.rglob("*"):
        if path.suffix in (".zip", ".whl"):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield f"{path.name}: {name}", archive.read(name).decode("utf-8", "replace")
        elif path.is_file():
            yield str(path.relative_to(site)), html.unescape(path.read_text("utf-8", "replace"))


@pytest.mark.slow
def test_no_homework_is_on_the_site(site: Path) -> None:
    """Neither its files nor the name of one hidden test, on pages, in the search index, in what can be downloaded."""
    masters = find_masters(ROOT / "notebooks" / "homework")
    assert masters
    parts = [part for path in masters for question in read_master(path).questions for part in question.parts]
    hidden = [part.name for part in parts if part.hidden]
    for name, text in texts(site):
        assert "notebooks/homework" not in name and "tests/homework" not in name, name
        assert [test for test in hidden if test in text] == [], name


@pytest.mark.slow
def test_no_id_stands_twice_on_any_page(site: Path) -> None:
    for name in pages(site):
        assert duplicate_ids((site / name).read_text("utf-8")) == [], name


# The contrast of two colours after the Web Content Accessibility Guidelines; what is half transparent is mixed first.
CONTRAST = """
(selector) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const read = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(read(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const v = c[i] / 255; return sum + weight * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }, 0);
  const shown = (e) => e.textContent.trim() && e.checkVisibility();
  return [...document.querySelectorAll(selector)].filter(shown).map((e) => {
    const back = ground(e), a = light(over(read(getComputedStyle(e).color), back)), b = light(back);
    return [e.textContent.trim().slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}
"""


TEXTS = ".admonition-title, .admonition-title *:not(mjx-container *), .admonition p, .admonition a, .check-heading, "
TEXTS += (
    ".check-heading a, figcaption p, .bd-article > section > p, .bd-article a, .toc-entry a, .bd-links a, caption, "
)


TEXTS += ".highlight span"


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_in_a_browser(site: Path, address: str, browser: Any, theme: str) -> None:
    """No request leaves, nothing is wider than a phone, formulas are set, all text can be read."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=theme)
    context.add_init_script(f"localStorage.mode = localStorage.theme = '{theme}'")
    page = context.new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda response: response.status < 400 or errors.append(f"{response.status} {response.url}"))
    for name in pages(site):
        if name == "index.html":  # leads to the welcome page at once
            continue
        page.goto(f"{address}/{name}", wait_until="networkidle")
        assert page.locator("span.math:not(:has(mjx-math)), div.math:not(:has(mjx-math))").count() == 0, name
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} pixels wider than a phone"
        page.set_viewport_size({"width": 1280, "height": 740})  # with both side bars
        faint = [(words, round(ratio, 2)) for words, ratio in page.evaluate(CONTRAST, TEXTS) if ratio < 4.5]
        assert faint == [], f"{name}, {theme}: too faint"
        page.set_viewport_size({"width": 360, "height": 740})
    outside = [url for url in requests if not url.startswith((address, "data:", "blob:"))]
    assert outside == []
    assert errors == []
    context.close()


# Formulas wider than what surrounds them, folded ones too: their first words, and how many pixels cannot be seen.
CUT = """() => {
    document.querySelectorAll("details").forEach(part => part.open = true);
    const shown = [];
    for (const formula of document.querySelectorAll("mjx-container")) {
        const hidden = formula.scrollWidth - formula.clientWidth;
        if (hidden > 1 && ["auto", "scroll"].includes(getComputedStyle(formula).overflowX)) {
            const near = formula.closest(".proof, section")?.querySelector("p, h2, h3")?.textContent ?? "";
            shown.push([near.trim().slice(0, 60), hidden]);
        }
    }
    return shown;
}"""


@pytest.mark.slow
def test_no_formula_scrolls_on_a_desktop(site: Path, address: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 740})
    for name in pages(site):
        if name == "index.html":  # leads to the welcome page at once
            continue
        page.goto(f"{address}/{name}", wait_until="load")
        page.evaluate("() => document.fonts.ready.then(() => null)")
        assert page.evaluate(CUT) == [], f"{name}: formulas of which so many pixels are hidden"
    page.close()


# What a page of the reference hides at its sides: boxes of code, tables and signatures that are wider than their place,
# and names that leave the list of contents.
HIDDEN = """() => {
    const inner = (part) => { const range = document.createRange(); range.selectNodeContents(part); return range; };
    const list = document.querySelector(".bd-sidebar-secondary")?.getBoundingClientRect();
    const names = [...document.querySelectorAll(".bd-sidebar-secondary a")].filter(
        (name) => innerWidth >= 1280 && name.offsetParent && inner(name).getBoundingClientRect().right > list.right);
    const places = "article table, article .pst-scrollable-table-container, article dt.sig";
    const code = innerWidth < 1280 ? "" : ", article pre";
    const wide = (part) => part.scrollWidth > part.clientWidth + 1;
    const parts = [...document.querySelectorAll(places + code)].filter(wide);
    return [...names, ...parts].map((part) => part.textContent.trim().slice(0, 60));
}"""


@pytest.mark.slow
def test_the_reference_is_cut_nowhere(site: Path, address: str, browser: Any) -> None:
    for width in (1440, 1280, 390):
        page = browser.new_page(viewport={"width": width, "height": 900})
        for name in [name for name in pages(site) if name.startswith("book/reference")]:
            page.goto(f"{address}/{name}", wait_until="load")
            page.evaluate("() => document.fonts.ready.then(() => null)")
            assert page.evaluate(HIDDEN) == [], f"{name} at {width} pixels"
            height = page.evaluate("document.documentElement.scrollHeight")
            assert height < 20_000 or width < 1440, f"{name} is {height} pixels tall: split it"
        page.close()


@pytest.mark.slow
def test_screen_readers_find_mathml_in_every_formula(address: str, browser: Any) -> None:
    page = browser.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{address}/book/notation.html", wait_until="networkidle")
    bare = (
        "[...document.querySelectorAll('mjx-container')].filter((e) => !e.querySelector('mjx-assistive-mml > math *'))"
    )
    assert page.locator("mjx-container").count() > 100 and page.evaluate(f"() => {bare}.length") == 0
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    page.close()


@pytest.mark.slow
def test_search_finds_without_a_network(address: str, browser: Any) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=entropy")
    page.wait_for_selector("#search-results li a", timeout=10_000)
    assert page.locator("#search-results li").count() >= 2
    page.close()


@pytest.mark.slow
def test_search_leads_to_sections_and_numbers(address: str, browser: Any) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=Theorem+1.13")
    first = page.wait_for_selector("#search-results p.numbered a", timeout=10_000)
    assert first.inner_text().startswith("Theorem 1.13") and "#thm-" in first.get_attribute("href")
    page.goto(f"{address}/search.html?q=codebook+collapse")
    page.wait_for_selector("#search-results li[data-led]", timeout=10_000)
    led = "[...document.querySelectorAll('#search-results li a')].some((a) => a.hash && a.textContent.includes('›'))"
    page.wait_for_function(f"() => {led}")
    page.close()


@pytest.mark.slow
def test_a_link_shows_what_it_leads_to(address: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/notebooks/09_iwae.html", wait_until="load")
    links = "article a.reference.internal[href*='#thm-'], article a.reference.internal[href*='#equation-']"
    for link in (page.locator(links).first, page.locator("article .bibtex-citation a").first):
        link.scroll_into_view_if_needed()
        link.hover()
        shown = page.wait_for_selector(".preview", timeout=5_000)
        assert len(shown.inner_text()) > 30
        page.keyboard.press("Escape")
        assert page.locator(".preview").count() == 0
        page.mouse.move(2, 2)
    page.close()


@pytest.mark.slow
def test_a_formula_says_what_its_symbols_mean(address: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/notebooks/09_iwae.html", wait_until="networkidle")
    page.locator("article div.math mjx-math").first.hover()
    shown = page.wait_for_selector(".preview dl.symbols dd", timeout=5_000)
    assert shown.inner_text()
    page.close()


# Inline formulas of which something hides beyond the edge of their paragraph, and none of whose ancestors scrolls.
LOST = """() => [...document.querySelectorAll(".bd-article mjx-container:not([display])")].filter((formula) => {
    const block = formula.closest("p, li, td, dd, figcaption");
    if (!block || !block.checkVisibility() || formula.classList.contains("scrolls")) return false;
    const edge = block.getBoundingClientRect().right + 1;
    return [...formula.querySelectorAll("mjx-math > *")].some((part) => part.getBoundingClientRect().right > edge);
}).map((formula) => formula.parentElement.dataset.tex)"""


@pytest.mark.slow
def test_on_a_phone_a_wide_formula_in_a_line_is_seen_whole(address: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{address}/notebooks/11_elbo_surgery.html", wait_until="networkidle")
    for width in (390, 391, 390, 360):  # looked at anew after every change
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(1_500)
        assert page.evaluate(LOST) == []
    page.evaluate("() => document.querySelectorAll('.admonition.dropdown .toggle-button').forEach((b) => b.click())")
    page.wait_for_timeout(1_500)
    assert page.evaluate(LOST) == []
    page.close()


@pytest.mark.slow
def test_the_contents_follow_the_text(address: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"{address}/notebooks/08_vae.html", wait_until="load")
    for share in (0.9, 0.4):
        page.evaluate(f"() => scrollTo({{top: {share} * document.body.scrollHeight, behavior: 'instant'}})")
        page.wait_for_function(
            """() => { const mark = document.querySelector(".bd-toc a.here")?.getBoundingClientRect();
            return mark && mark.top > 50 && mark.bottom < innerHeight; }"""
        )
    page.close()


@pytest.mark.slow
def test_a_film_shows_its_frames(address: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"{address}/notebooks/06_deep_flows.html", wait_until="load")  # the picture of the film is far below
    pane = page.locator(".film-window").first
    pane.scroll_into_view_if_needed()
    assert pane.bounding_box()["height"] > 100
    moved = "(e) => e.querySelector('img').style.transform"
    first = pane.evaluate(moved)
    page.locator(".film-bar input").first.press("ArrowRight")
    assert "NaN" not in first != pane.evaluate(moved)
    page.close()


@pytest.mark.slow
def test_the_tab_key_shows_where_it_is(address: str, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/notebooks/09_iwae.html", wait_until="load")
    for _ in range(25):
        page.keyboard.press("Tab")
        width = page.evaluate("() => parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert width >= 2, page.evaluate("() => document.activeElement.outerHTML.slice(0, 120)")
    page.close()


@pytest.mark.slow
def test_lists_say_what_they_list(site: Path) -> None:
    for name, count in (("theorems", 80), ("pitfalls", 50)):
        html = (site / "book" / f"{name}.html").read_text("utf-8")
        quotes = re.findall(r'<div class="quote" data-page="[^"]*">(.{20})', html, re.DOTALL)
        assert len(quotes) > count
        assert "data-id=" not in html
