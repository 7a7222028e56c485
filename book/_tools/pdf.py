"""`make pdf` prints the built site: the whole book, or one chapter, as A4 pages in `_build/pdf`.

Headless Chromium prints each page of `_toc.yml` in the light colours, once all of its formulas are set and all of its
pictures are there. The solutions of a chapter move behind its text, so that nobody meets them beside the exercise; code
that a page folds away (of set-ups and figures) is left out, for the notebook has it; all else that is folded is open.
What is still wider than the paper is made smaller. The parts become one file with bookmarks and numbered pages, and
links from one page to another lead to its place in the file.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from book._ext.repository import read_repository
from book._tools.joining import joined
from book._tools.site_check import FLAGS, serve

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
OUT = ROOT / "_build" / "pdf"
MARGIN = {"top": "20mm", "bottom": "18mm", "left": "18mm", "right": "18mm"}
WIDTH = 658  # pixels between the margins of A4: 174 mm
LINE = "font: 8pt Helvetica, Arial, sans-serif; color: #5c6066; width: 100%; margin: 0 18mm;"

PREPARE = """async (named) => {
  document.documentElement.dataset.theme = "light";
  const article = document.querySelector("article.bd-article");
  const moved = [];
  let task = "";
  for (const part of article.querySelectorAll("div.exercise, div.solution")) {
    const title = part.querySelector(".admonition-title");
    if (part.matches(".exercise")) task = title.querySelector(".caption-number").textContent.trim();
    if (part.matches(".exercise")) continue;
    title.textContent = `Solution of ${task}`;
    moved.push(part); // with the cells that it leads to
    for (let next = part; (next = next.nextElementSibling)?.matches("div.cell");) moved.push(next);
  }
  if (moved.length) {
    const title = Object.assign(document.createElement("h2"), {textContent: "Solutions"});
    for (const folded of moved.flatMap((part) => [...part.querySelectorAll("details.hide")])) {
      folded.querySelector("summary").remove();
      folded.replaceWith(...folded.childNodes);
    }
    (article.querySelector(":scope > section") || article).append(title, ...moved);
  }
  for (const part of article.querySelectorAll("details.hide.above-input, details.hide.below-input")) part.remove();
  for (const part of article.querySelectorAll("details")) part.open = true;
  for (const part of article.querySelectorAll(".toggle-hidden")) part.classList.remove("toggle-hidden");
  for (const image of article.querySelectorAll("img")) image.loading = "eager";
  for (const sound of article.querySelectorAll("audio")) sound.replaceWith("(a sound: listen on the page itself)");
  const anchors = Object.assign(document.createElement("div"), {className: "print-anchors"});
  for (const name of named) if (document.getElementById(name)) {
    anchors.append(Object.assign(document.createElement("a"), {href: "#" + name, textContent: "."}));
  }
  article.prepend(anchors);
  await Promise.all([...document.images].map((image) => image.decode().catch(() => null)));
  await document.fonts.ready;
}"""
# What is too wide shrinks: a formula by its letters, a table as a whole.
FIT = """() => {
  for (const part of document.querySelectorAll("article mjx-container, article table")) {
    const flowing = part.matches("mjx-container:not([display])");
    const room = part.closest("p, li, dd, td, .pst-scrollable-table-container, .cell_output, .admonition, section");
    const most = part.matches("mjx-container[display]") ? part.clientWidth : room.clientWidth;
    const wide = flowing ? part.getBoundingClientRect().width : part.scrollWidth;
    if (most && wide > most + 1) part.style.zoom = 0.98 * most / wide;
  }
}"""
# What a reader of the paper would not see: the first words, and by how many pixels it goes on.
CLIPPED = """() => {
  const article = document.querySelector("article.bd-article");
  const edge = article.getBoundingClientRect().right + 1;
  return [...article.querySelectorAll("*")].filter((e) => e.checkVisibility() && !e.closest(
    "mjx-math, mjx-assistive-mml, svg, .print-anchors, .visually-hidden")).map((e) => {
    const style = getComputedStyle(e);
    const hidden = style.overflowX === "visible" || !e.clientWidth ? 0 : e.scrollWidth - e.clientWidth;
    const beyond = style.display === "none" ? 0 : e.getBoundingClientRect().right - edge;
    return [e.tagName.toLowerCase() + " " + e.textContent.trim().slice(0, 60), Math.round(Math.max(hidden, beyond))];
  }).filter(([, pixels]) => pixels > 1);
}"""


def pages_of(contents: dict[str, Any]) -> list[str]:
    """Return the names of all pages in the order of a table of contents.

    >>> pages_of({"root": "a", "parts": [{"chapters": [{"file": "b", "sections": [{"file": "c"}]}]}]})
    ['a', 'b', 'c']
    """
    below = [part for key in ("parts", "chapters", "sections") for part in contents.get(key, [])]
    own = [contents[key] for key in ("root", "file") if key in contents]
    return own + [name for part in below for name in pages_of(part)]


def title_of(name: str) -> str:
    """Return the title of a page, with the number of a chapter."""
    found = re.search(r"<title>(.*?) (?:&#8212;|—) ", (SITE / f"{name}.html").read_text("utf-8"), re.DOTALL)
    return unescape(re.sub(r"<.*?>", "", found[1])).strip() if found else name


def named_elsewhere() -> dict[str, set[str]]:
    """Return, for each page, the anchors that links of all pages name."""
    found: dict[str, set[str]] = {}
    for page in SITE.rglob("*.html"):
        for path, anchor in re.findall(r'href="([^"#:?]+\.html)#([^"]+)"', page.read_text("utf-8")):
            target = (page.parent / path).resolve()
            if target.is_relative_to(SITE):
                found.setdefault(str(target.relative_to(SITE)), set()).add(unquote(unescape(anchor)))
    return found


def open_printed(browser: Any, address: str, name: str, anchors: set[str]) -> Any:
    """Open a page as it goes to the printer."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 985}, color_scheme="light")
    page.add_init_script("localStorage.mode = localStorage.theme = 'light'")
    page.goto(f"{address}/{name}.html", wait_until="load")
    page.emulate_media(media="print", color_scheme="light")
    page.evaluate(PREPARE, sorted(anchors))
    page.evaluate(FIT)
    return page


def printed(page: Any, header: str) -> bytes:
    """Print a page; its lower margin stays free for the page number."""
    empty, head = "<span></span>", f'<div style="{LINE} text-align: right;">{escape(header)}</div>'
    form = {"display_header_footer": True, "header_template": head, "footer_template": empty}
    return bytes(page.pdf(format="A4", margin=MARGIN, print_background=True, outline=True, tagged=True, **form))


def page_numbers(browser: Any, count: int) -> bytes:
    """Print as many empty pages, numbered."""
    page = browser.new_page()
    page.set_content("<div style='break-after: page'>&nbsp;</div>" * (count - 1) + "<div>&nbsp;</div>")
    foot = f'<div style="{LINE} text-align: center;"><span class="pageNumber"></span></div>'
    form = {"display_header_footer": True, "header_template": "<span></span>", "footer_template": foot}
    content = bytes(page.pdf(format="A4", margin=MARGIN, **form))
    page.close()
    return content


def main(arguments: list[str] | None = None) -> int:
    """Print the book, or the chapters whose names begin as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapter", nargs="?", help="the beginning of a chapter's name, such as 08")
    options = parser.parse_args(arguments)
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None or not (SITE / "index.html").exists():
        print("pdf: it needs Chromium (make system-deps) and the built site (make book)", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    names = pages_of(yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8")))
    if options.chapter:
        names = [name for name in names if Path(name).name.startswith(options.chapter)]
    if not names:
        print(f"pdf: no page begins with {options.chapter}", file=sys.stderr)
        return 2
    repository = read_repository(ROOT / "pyproject.toml")
    public = repository["site"] if "site" in repository["published"] else None
    anchors, (server, address) = named_elsewhere(), serve(SITE)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        parts = {}
        for name in names:
            page = open_printed(browser, address, name, anchors.get(f"{name}.html", set()))
            for what, pixels in page.evaluate(CLIPPED):
                print(f"  {name}: {pixels} pixels too wide: {what}", file=sys.stderr)
            parts[name] = printed(page, title_of(name))
            page.close()
            print(f"  {name}", file=sys.stderr, flush=True)
        document = joined(parts, address, public, lambda count: page_numbers(browser, count))
    server.shutdown()
    document.compress_identical_objects()
    document.add_metadata({"/Title": "Deep latent-variable models" if len(names) > 1 else title_of(names[0])})
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / ("book.pdf" if len(names) > 1 else f"{Path(names[0]).name}.pdf")
    document.write(file)
    print(f"{len(document.pages)} pages: {file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
