"""`make site-check` measures every page of the built site as a reader's browser has it, and prints the table.

Each page is opened in headless Chromium in both themes, on a phone (390 px) and on a desktop (1440 px). What is
counted must be zero: requests to other servers, errors in the console, violations of WCAG 2.1 AA that axe-core finds,
formulas that scroll at 1280 px, and places where the Tab key stops unseen. What is measured has a limit: bytes
(compressed) before the reader scrolls, seconds until the mathematics of the first screen and of the whole page stands
on a processor four times slower than this one, the layout's shift, and how often one presses Tab before the end of the
text.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import http.server
import json
import shutil
import statistics
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
WIDTHS = {"phone": (390, 844), "desktop": (1440, 900)}
LIMITS = {"shift": 0.05, "first": 2.0, "all": 8.0, "tabs": 150}  # tabs: of a chapter
BYTES = {"chapter": 1_200_000, "text": 500_000}
COUNTED = ("outside", "errors", "axe", "scrolling", "unseen")

SHIFT = """window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({type: "layout-shift", buffered: true});"""
# Formulas come set with the page. Those in sight stand once the text fills the screen and is painted with their
# letters, all of them once the page and every letter are there and drawn. In milliseconds of the page.
STANDS = """window.stands = new Promise((tell) => {
  const inSight = (e) => { const {top, bottom} = e.getBoundingClientRect(); return top < innerHeight && bottom > 0; };
  const look = () => {
    const text = document.querySelector("article") || document.body; // the 404 page has no article
    const full = text && (document.readyState !== "loading" || text.getBoundingClientRect().bottom > innerHeight);
    const drawn = performance.getEntriesByName("first-contentful-paint").length > 0;
    if (!full || !drawn) return requestAnimationFrame(look);
    const formulas = [...text.querySelectorAll("mjx-container")].filter(inSight);
    const letters = formulas.flatMap((e) => [...e.querySelectorAll("mjx-c")]);
    const families = new Set(letters.map((e) => getComputedStyle(e, "::before").fontFamily).join().split(/, ?/));
    const waits = [...document.fonts].some((face) => face.status === "loading" && families.has(face.family));
    requestAnimationFrame(waits ? look : () => tell(performance.now()));
  };
  requestAnimationFrame(look);
});"""
FIRST = """() => Promise.race([window.stands, new Promise((_, stop) =>
  setTimeout(stop, 60000, new Error("the first screen did not stand within a minute")))])"""
ALL = """() => document.fonts.ready.then(() => new Promise((tell) =>
  requestAnimationFrame(() => requestAnimationFrame(() => tell(performance.now())))))"""
SCROLLING = """() => {
  document.querySelectorAll("details").forEach((part) => (part.open = true));
  return [...document.querySelectorAll("article mjx-container")].filter(
    (e) => e.scrollWidth > e.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(e).overflowX)).length;
}"""
STOPS = """const article = document.querySelector("article");
  const all = "a[href], button, input, select, textarea, summary, [tabindex]";
  const stops = [...document.querySelectorAll(all)].filter((e) => e.tabIndex >= 0 && e.checkVisibility());"""
TABS = f"""() => {{
  {STOPS}
  return article ? stops.filter((e) => article.contains(e) || e.compareDocumentPosition(article) & 4).length : 0;
}}"""
# Where the Tab key stops, the element shows that it has the focus. (A key was pressed before, else none would.)
UNSEEN = f"""() => {{
  {STOPS}
  return stops.filter((e) => {{
    e.focus({{preventScroll: true}});
    const style = getComputedStyle(e);
    return style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2;
  }}).map((e) => e.outerHTML.slice(0, 160));
}}"""


class Compressed(http.server.SimpleHTTPRequestHandler):
    """Serves the site; how large a file would be when compressed is known to `size_of`."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@functools.cache
def size_of(path: Path) -> int:
    """Return how many bytes of a file travel: compressed, where that helps."""
    content = path.read_bytes()
    plain = path.suffix in {".html", ".css", ".js", ".json", ".svg", ".xml", ".txt"}
    return len(gzip.compress(content)) if plain else len(content)


def serve(site: Path) -> tuple[http.server.ThreadingHTTPServer, str]:
    """Serve the site on an address of this machine."""
    handler = functools.partial(Compressed, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def open_page(browser: Any, address: str, site: Path, name: str, theme: str, width: str) -> tuple[Any, dict[str, Any]]:
    """Open a page as a first visitor does; return it with what was fetched and said."""
    across, down = WIDTHS[width]
    context = browser.new_context(viewport={"width": across, "height": down}, color_scheme=theme)
    context.add_init_script(f"localStorage.mode = '{theme}'; {SHIFT}")
    page = context.new_page()
    found: dict[str, Any] = {"outside": 0, "errors": [], "bytes": 0}

    def requested(request: Any) -> None:
        if request.url.startswith(address):
            file = site / request.url.removeprefix(address + "/").split("?")[0].split("#")[0]
            found["bytes"] += size_of(file) if file.is_file() else 0
        elif not request.url.startswith(("data:", "blob:")):
            found["outside"] += 1

    page.on("request", requested)
    page.on("pageerror", lambda error: found["errors"].append(str(error)))
    page.on("console", lambda line: line.type == "error" and found["errors"].append(line.text))
    page.goto(f"{address}/{name}", wait_until="networkidle")
    return page, found


def check(browser: Any, address: str, site: Path, name: str, theme: str, width: str, axe: str) -> dict[str, Any]:
    """Return what is counted on one page, in one theme, at one width."""
    page, found = open_page(browser, address, site, name, theme, width)
    row = {"page": name, "theme": theme, "width": width, "bytes": found["bytes"]}
    row["shift"] = round(page.evaluate("window.shift"), 3)
    row |= {"outside": found["outside"], "errors": len(found["errors"]), "said": found["errors"][:3]}
    page.evaluate(ALL)
    page.wait_for_timeout(500)  # until book.js has looked at what scrolls
    page.evaluate(axe)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
    violations = page.evaluate("(tags) => axe.run(document, {runOnly: tags}).then((r) => r.violations)", tags)
    row["axe"] = sum(len(v["nodes"]) for v in violations)
    row["rules"] = sorted({v["id"] for v in violations})
    row["examples"] = [v["nodes"][0]["html"][:160] for v in violations]
    row["scrolling"] = 0
    if width == "desktop":
        row["tabs"] = page.evaluate(TABS)
        page.keyboard.press("Tab")
        row["blind"] = page.evaluate(UNSEEN)
        row["unseen"] = len(row["blind"])
        page.set_viewport_size({"width": 1280, "height": 900})
        row["scrolling"] = page.evaluate(SCROLLING)
    page.context.close()
    return row


def settle(browser: Any, address: str, name: str) -> dict[str, float]:
    """Return the seconds until formulas stand on a phone with a quarter of this processor: those in sight, and all."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.add_init_script(STANDS)
    page.goto(f"{address}/{name}", wait_until="load")
    first, everything = page.evaluate(FIRST), page.evaluate(ALL)
    context.close()
    return {"first": round(first / 1000, 2), "all": round(everything / 1000, 2)}


def kind(name: str) -> str:
    """Return what kind of page it is."""
    return "chapter" if name.startswith("notebooks/") else "text"


def faults(row: dict[str, Any]) -> list[str]:
    """Return what is over its limit."""
    found = [f"{key} {row[key]}" for key in COUNTED if row.get(key)]
    held = [key for key in LIMITS if key != "tabs" or kind(row["page"]) == "chapter"]  # a list of 190 works has more
    found += [f"{key} {row[key]}" for key in held if row.get(key, 0) > LIMITS[key]]
    if row["bytes"] > BYTES[kind(row["page"])]:
        found.append(f"{row['bytes'] / 1e6:.2f} MB")
    return found


def show(rows: list[dict[str, Any]]) -> None:
    """Print a line a page: the worst of its four visits."""
    print(f"{'page':44} outside errors  axe scroll unseen  MB gzip  shift  tabs  first s   all s")
    for name in dict.fromkeys(row["page"] for row in rows):
        own = [row for row in rows if row["page"] == name]
        worst = {key: max(row.get(key, 0) for row in own) for key in (*COUNTED, "bytes", *LIMITS)}
        bad = sorted({fault for row in own for fault in faults(row)})
        counts = f"{worst['axe']:4} {worst['scrolling']:6} {worst['unseen']:6} {worst['bytes'] / 1e6:8.2f}"
        times = f"{worst['shift']:6.3f} {worst['tabs']:5} {worst['first']:8.2f} {worst['all']:7.2f}"
        over = f"   <- {', '.join(bad[:4])}" if bad else ""
        print(f"{name[:44]:44} {worst['outside']:7} {worst['errors']:6} {counts} {times}{over}")


def main(arguments: list[str] | None = None) -> int:
    """Measure the pages whose names begin as asked; all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help="beginnings of names, such as notebooks/08")
    parser.add_argument("--json", type=Path, help="write all rows here")
    options = parser.parse_args(arguments)
    site = ROOT / "_build" / "html"
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None or not (site / "index.html").exists():
        print("site-check: it needs Chromium (make system-deps) and the built site (make book)", file=sys.stderr)
        return 2
    import axe_playwright_python
    from playwright.sync_api import sync_playwright

    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
    names = sorted(str(p.relative_to(site)) for p in site.rglob("*.html") if "_static" not in p.parts)
    names = [n for n in names if n != "index.html" and (not options.pages or n.startswith(tuple(options.pages)))]
    server, address = serve(site)
    rows = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        for name in names:
            for theme in ("light", "dark"):
                for width in WIDTHS:
                    rows.append(check(browser, address, site, name, theme, width, axe))
            visits = [settle(browser, address, name) for _ in range(3)]  # other programs disturb one
            rows[-1] |= {key: statistics.median(visit[key] for visit in visits) for key in visits[0]}
            bad = sorted({fault for row in rows[-4:] for fault in faults(row)})
            print(f"  {name}: {', '.join(bad) or 'clean'}", file=sys.stderr, flush=True)
    server.shutdown()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), "utf-8")
    show(rows)
    over = sum(bool(faults(row)) for row in rows)
    print(f"\n{len(names)} pages in two themes at two widths: {f'{over} visits over a limit' if over else 'clean'}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
