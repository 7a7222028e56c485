"""The site's extensions, each on a tiny project of its own; and, marked slow, the whole site in a browser."""

from __future__ import annotations

import doctest
import functools
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

sphinx_application = pytest.importorskip("sphinx.application", reason="the book's tools are not installed")

from sphinx.util.docutils import docutils_namespace  # noqa: E402

from book._ext import directives, download, model_map, offline, repository, runtimes  # noqa: E402
from book._ext.numbering import chapter_number  # noqa: E402
from book._ext.plan import CHAPTERS, PARTS  # noqa: E402

# One transparent pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
FIGURE = {"figure": {"name": "fig-a", "caption": "A pixel."}, "image": {"alt": "A pixel"}}

THEOREM = """:::{prf:theorem} All is $1$
:label: thm-one
It is.
:::

:::{prf:proof}
Clear.
:::
"""


# --- Tiny projects ----------------------------------------------------------------------------------------------------


def text(*lines: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": "\n".join(lines)}


def code(source: str = "1", picture: bool = False, **metadata: Any) -> dict[str, Any]:
    data: dict[str, str] = {"image/png": PNG, "text/plain": "<Figure>"} if picture else {"text/plain": "1"}
    output = {"output_type": "display_data", "metadata": {}, "data": data}
    return {
        "cell_type": "code",
        "execution_count": 1,
        "metadata": metadata,
        "source": source,
        "outputs": [output],
    }


class Site:
    """A built project: its warnings, and its pages as text."""

    def __init__(self, folder: Path, warnings: str):
        self.folder, self.warnings = folder, re.sub(r"\x1b\[[0-9;]*m", "", warnings)

    def page(self, name: str = "notebooks/08_vae") -> str:
        return (self.folder / "out" / f"{name}.html").read_text("utf-8")


def build(folder: Path, *cells: dict[str, Any], pages: dict[str, str] | None = None) -> Site:
    """Build a book of one chapter, `notebooks/08_vae.ipynb`, and of further Markdown pages."""
    source = folder / "source"
    (source / "notebooks").mkdir(parents=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [text("# A chapter"), *cells], "metadata": {"kernelspec": kernel}, "nbformat": 4}
    (source / "notebooks" / "08_vae.ipynb").write_text(json.dumps({**notebook, "nbformat_minor": 4}))
    names = ["notebooks/08_vae", *(pages or {})]
    contents = ["# Top", "", "```{toctree}", ":numbered:", *names, "```"]
    (source / "index.md").write_text("\n".join(contents))
    for name, content in (pages or {}).items():
        (source / f"{name}.md").write_text(content)
    ours = [
        "numbering",
        "figures",
        "checks",
        "pitfalls",
        "directives",
        "proofs",
        "runtimes",
        "model_map",
        "syllabus",
        "typography",
    ]
    settings = {
        "extensions": ["myst_nb", "sphinx_proof", "sphinx_exercise", *(f"book._ext.{name}" for name in ours)],
        "html_theme": "basic",
        "nb_execution_mode": "off",
        "myst_enable_extensions": ["amsmath", "colon_fence", "dollarmath"],
        "numfig": True,
        "suppress_warnings": ["myst.domains"],
        "proof_title_format": " %t",
        "nitpicky": True,
    }
    warnings = io.StringIO()
    with docutils_namespace():
        app = sphinx_application.Sphinx(
            srcdir=source,
            confdir=None,
            outdir=folder / "out",
            doctreedir=folder / "doctrees",
            buildername="html",
            confoverrides=settings,
            status=None,
            warning=warnings,
        )
        app.build()
    return Site(folder, warnings.getvalue())


# --- Figures ----------------------------------------------------------------------------------------------------------


def test_a_figure_with_caption_name_and_alt_text_passes(tmp_path: Path) -> None:
    site = build(tmp_path, code(picture=True, mystnb=FIGURE))
    assert site.warnings == ""
    assert 'alt="A pixel"' in site.page() and "A pixel." in site.page()


@pytest.mark.parametrize(
    ("missing", "said"),
    [(("figure", "caption"), '"caption"'), (("figure", "name"), '"name"'), (("image", "alt"), '"alt"')],
)
def test_a_figure_without_one_of_them_fails(tmp_path: Path, missing: tuple[str, str], said: str) -> None:
    metadata = json.loads(json.dumps(FIGURE))
    del metadata[missing[0]][missing[1]]
    site = build(tmp_path, code(picture=True, mystnb=metadata))
    assert "its picture lacks" in site.warnings and said in site.warnings


def test_a_picture_without_metadata_fails(tmp_path: Path) -> None:
    assert build(tmp_path, code(picture=True)).warnings.count("its picture lacks") == 3


def test_a_live_slot_holds_the_static_picture(tmp_path: Path) -> None:
    site = build(tmp_path, code(picture=True, mystnb=FIGURE, tags=["live:manifold"]))
    assert site.warnings == ""
    slot = re.search(r"<figure.*?</figure>", site.page(), re.S)
    assert slot is not None
    assert re.search(r'<div class="live" data-live="manifold" id="live-manifold">\s*<img', slot.group())
    assert "<figcaption" in slot.group()


def test_a_live_slot_without_a_picture_fails(tmp_path: Path) -> None:
    assert "needs exactly one picture" in build(tmp_path, code(tags=["live:manifold"])).warnings


# --- Theorems and checks ----------------------------------------------------------------------------------------------


def test_theorem_and_check_find_each_other(tmp_path: Path) -> None:
    lists = {"theorems": "# Theorems\n\n```{theorem-list}\n```\n"}
    site = build(tmp_path, text(THEOREM), code(tags=["check:thm-one"]), pages=lists)
    assert site.warnings == ""
    page = site.page()
    assert 'href="#check-thm-one"' in page, "the theorem links to its check"
    heading = re.search(r'<p class="check-heading" id="check-thm-one">.*?</p>', page, re.S)
    assert heading is not None and 'href="#thm-one"' in heading.group(), "the check links to its theorem"
    assert "Theorem 8.1" in heading.group(), "a chapter keeps the number of its file"
    entry = site.page("theorems")
    assert "Theorem 8.1" in entry and "notebooks/08_vae.html#thm-one" in entry
    assert "notebooks/08_vae.html#check-thm-one" in entry and "All is" in entry


def test_a_theorem_without_a_check_fails(tmp_path: Path) -> None:
    assert "'thm-one' has no check cell" in build(tmp_path, text(THEOREM)).warnings


def test_a_proposition_without_a_check_fails(tmp_path: Path) -> None:
    assert "has no check cell" in build(tmp_path, text(THEOREM.replace("theorem", "proposition"))).warnings


def test_a_check_without_a_theorem_fails(tmp_path: Path) -> None:
    assert "no theorem labelled 'thm-two'" in build(tmp_path, code(tags=["check:thm-two"])).warnings


def test_a_label_that_is_no_theorems_label_fails(tmp_path: Path) -> None:
    site = build(tmp_path, text(THEOREM.replace("thm-one", "one")), code(tags=["check:one"]))
    assert "give it a label that starts with 'thm-'" in site.warnings


def test_a_lemma_may_stand_alone(tmp_path: Path) -> None:
    assert build(tmp_path, text(THEOREM.replace("theorem", "lemma"))).warnings == ""


# --- What chapters may write ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (":::{margin}\nhm\n:::", "directive {margin}"),
        ("::::{note}\n:::{warning}\nhm\n:::\n::::", "directive {warning}"),
        ("```{code-block} python\n1\n```", "directive {code-block}"),
        ("{abbr}`ELBO`", "role {abbr}"),
        ("- a list with {kbd}`x`", "role {kbd}"),
        ("\\begin{align}\na &= b\n\\end{align}", "bare \\begin{align}"),
        ("so that $$a = b$$ here", "middle of a paragraph"),
    ],
)
def test_what_cannot_be_lowered_is_refused(source: str, said: str) -> None:
    assert [offence for offence in directives.offences(source) if said in offence]


@pytest.mark.parametrize(
    "source",
    [
        THEOREM,
        "$$ a = b $$ (eq-x)",
        "$$\n\\begin{aligned} a &= b \\end{aligned}\n$$ (eq-x)",
        "See {eq}`eq-x`, {prf:ref}`thm-one`, {cite:t}`kingma2014`, {numref}`fig-a` and {term}`posterior`.",
        "```python\nprint({'a': 1})\n```",
        ":::{math}\n:label: eq-y\na = {b}`c`\n:::",
        "::::{exercise}\n:label: ex-a\n:::{tip}\nTry.\n:::\n::::",
    ],
)
def test_what_can_be_lowered_passes(source: str) -> None:
    assert list(directives.offences(source)) == []


def test_a_refused_directive_fails_the_build(tmp_path: Path) -> None:
    site = build(tmp_path, text(":::{warning}\nhm\n:::"))
    assert "directive {warning} is not allowed in a chapter" in site.warnings


# --- Ids, pitfalls, run times -----------------------------------------------------------------------------------------


def duplicate_ids(page: str) -> list[str]:
    return [ident for ident, times in Counter(re.findall(r'\bid="([^"]+)"', page)).items() if times > 1]


def test_no_id_stands_twice_on_a_page(tmp_path: Path) -> None:
    exercise = ":::{exercise}\n:label: ex-%s\nDo.\n:::\n\n:::{solution} ex-%s\n:class: dropdown\nDone.\n:::\n"
    cells = [THEOREM, THEOREM.replace("one", "two"), exercise.replace("%s", "a"), exercise.replace("%s", "b")]
    checks = [code(tags=["check:thm-one"]), code(tags=["check:thm-one"]), code(tags=["check:thm-two"])]
    site = build(tmp_path, text(*cells), *checks)
    assert site.warnings == ""
    assert duplicate_ids(site.page()) == []
    assert len(re.findall('class="proof-name"', site.page())) == 2


def test_punctuation_stays_with_its_formula(tmp_path: Path) -> None:
    site = build(tmp_path, text("So $a = b$, and $c$ is $d$). Then *$e$* follows."))
    kept = re.findall(r'<span class="nobreak"><span class="math[^>]*>(.*?)</span>(.*?)</span>', site.page())
    assert kept == [(r"\(a = b\)", ","), (r"\(d\)", ").")]


def test_pitfalls_are_collected(tmp_path: Path) -> None:
    box = ":::{admonition} Watch out: $\\sigma^2$ is no standard deviation\n:class: pitfall\nIt is its square.\n:::\n"
    site = build(tmp_path, text(box), pages={"pitfalls": "# Pitfalls\n\n```{pitfall-list}\n```\n"})
    assert site.warnings == ""
    link = re.search(r'href="notebooks/08_vae\.html#([^"]+)"[^>]*>(?!8)(.*?)</a>', site.page("pitfalls"), re.S)
    assert link is not None and "is no standard deviation" in link.group(2) and "Watch out" not in link.group(2)
    assert f'id="{link.group(1)}"' in site.page()


def test_a_chapter_without_a_run_time_fails(tmp_path: Path) -> None:
    site = build(tmp_path, pages={"times": "# Times\n\n```{runtime-list}\n```\n"})
    assert "has no run time of notebooks/08_vae" in site.warnings


def test_run_times_come_from_the_file(tmp_path: Path) -> None:
    entry = {"seconds": 61.7, "hardware": "2-core CPU", "threads": 1, "date": "2026-01-31", "lvmlib": "0.1.0"}
    (tmp_path / "source" / "book").mkdir(parents=True)
    (tmp_path / "source" / runtimes.FILE).write_text(json.dumps({"08_vae": entry}))
    site = build(tmp_path, pages={"times": "# Times\n\n```{runtime-list}\n```\n"})
    assert site.warnings == ""
    cells = re.findall(r"<td>(.*?)</td>", site.page("times"), re.S)
    assert [re.sub(r"<.*?>", "", cell).strip() for cell in cells[1:4]] == ["62", "2-core CPU", "1"]


# --- Map, syllabus, buttons, addresses --------------------------------------------------------------------------------


def test_map_and_syllabus_link_what_exists(tmp_path: Path) -> None:
    pages = {"map": "# Map\n\n```{model-map}\n```\n", "plan": "# Plan\n\n```{syllabus}\n```\n"}
    site = build(tmp_path, pages=pages)
    assert site.warnings == ""
    assert re.findall(r'<a class="ready" href="([^"]+)"', site.page("map")) == ["notebooks/08_vae.html"]
    assert site.page("map").count('class="planned"') == len(CHAPTERS) - 1
    assert re.findall(r'<td><p><a[^>]*href="([^"]+)"', site.page("plan")) == ["notebooks/08_vae.html"]


def test_the_map_fits_its_frame() -> None:
    for chapter, (x, y, width) in model_map.BOXES.items():
        assert x >= 0 and x + width <= model_map.WIDTH and y >= 0 and y + model_map.BOX <= model_map.HEIGHT, chapter
    assert set(model_map.BOXES) == set(CHAPTERS) == set(range(1, 13))
    assert {chapter.part for chapter in CHAPTERS.values()} == set(PARTS)


def test_every_chapter_is_in_the_table_of_contents() -> None:
    contents = (ROOT / "_toc.yml").read_text("utf-8")
    for notebook in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        assert re.search(rf"^ +- file: notebooks/{notebook.stem}$", contents, re.M), f"{notebook.name} is in no part"


def test_numbers_of_chapters() -> None:
    assert chapter_number("notebooks/08_vae") == 8
    assert chapter_number("notebooks/homework/08_vae") is None
    assert chapter_number("book/welcome") is None


def test_the_address_stands_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(
        '[project]\nversion = "1"\n[project.urls]\nRepository = "https://github.com/a/b/"\n'
        '[tool.lvmlib]\ncolab-branch = "c"\n'
    )
    found = repository.read_repository(file)
    assert (found["url"], found["owner"], found["name"]) == ("https://github.com/a/b", "a", "b")
    assert (found["site"], found["colab_branch"]) == ("https://a.github.io/b/", "c")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[project]\n", "must name the repository"),
        ('[project.urls]\nRepository = "https://github.com/a"\n[tool.lvmlib]\ncolab-branch = "c"\n', "/OWNER/NAME"),
    ],
)
def test_a_missing_address_is_a_clear_error(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "pyproject.toml").write_text(content)
    with pytest.raises(Exception, match=said):
        repository.read_repository(tmp_path / "pyproject.toml")


class _App:
    srcdir = str(ROOT)


def buttons() -> dict[str, Any]:
    return {
        "header_buttons": [
            {"label": "launch-buttons", "buttons": [{"text": "Colab", "url": "https://elsewhere"}]},
            {
                "label": "source-buttons",
                "buttons": [{"label": "source-edit-button", "url": "edit/08_vae.ipynb"}],
            },
            {
                "label": "download-buttons",
                "buttons": [
                    {"label": "download-source-button", "url": "_sources/08_vae.ipynb", "tooltip": ""},
                    {"label": "download-pdf-button"},
                ],
            },
        ]
    }


def test_buttons_of_a_chapter() -> None:
    context = buttons()
    repository.point_buttons(_App(), "notebooks/08_vae", "", context, None)  # type: ignore[arg-type]
    download.point_download(_App(), "notebooks/08_vae", "", context, None)  # type: ignore[arg-type]
    launch, edit, load = (group["buttons"][0]["url"] for group in context["header_buttons"])
    address = repository.read_repository(ROOT / "pyproject.toml")
    assert launch.endswith(f"/github/{address['owner']}/{address['name']}/blob/colab/notebooks/08_vae.ipynb")
    assert edit == "edit/08_vae.py"
    assert load == "08_vae.ipynb"


def test_a_page_that_is_no_chapter_offers_no_source() -> None:
    context = buttons()
    download.point_download(_App(), "book/welcome", "", context, None)  # type: ignore[arg-type]
    assert [button["label"] for button in context["header_buttons"][2]["buttons"]] == ["download-pdf-button"]


# --- Files that the site ships ----------------------------------------------------------------------------------------


def test_mathjax_comes_with_its_fonts() -> None:
    files = [str(place) for _, place in offline.mathjax_files()]
    assert "tex-chtml.js" in files
    assert sum(place.endswith(".woff") for place in files) >= 20


def test_typefaces_stay_small_and_carry_their_licence() -> None:
    folder = ROOT / "book" / "_static" / "fonts"
    named = set(re.findall(r'url\("([^"]+)"\)', (folder / "fonts.css").read_text("utf-8")))
    assert named == {path.name for path in folder.glob("*.woff2")}
    assert sum(path.stat().st_size for path in folder.glob("*.woff2")) < 400_000
    assert "SIL OPEN FONT LICENSE" in (folder / "OFL.txt").read_text("utf-8")


def test_what_the_extensions_mark_is_styled() -> None:
    sheet = (ROOT / "book" / "_static" / "book.css").read_text("utf-8")
    marks = ["model-map", "check-heading", "check-link", "the-proof", "proof-name", "pitfall", "tag_photo", "citation"]
    assert [mark for mark in marks if f".{mark}" not in sheet] == []


def test_examples_of_the_extensions() -> None:
    for module in (directives, runtimes):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed


# --- The whole site ---------------------------------------------------------------------------------------------------

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    tool = Path(sys.executable).parent / "jupyter-book"
    command = [sys.executable, tool, "build", ".", "-n", "-W", "--keep-going", "--path-output", folder]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return folder / "_build" / "html"


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium; skipped where it is missing, but never on the build server."""
    if CHROMIUM is None:
        reason = "Chromium is not installed: run `make system-deps`"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


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


@pytest.mark.slow
def test_chapters_can_be_downloaded_and_sources_cannot(site: Path) -> None:
    assert not (site / "_sources").exists()
    chapters = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    for chapter in chapters:
        shipped = site / "notebooks" / f"{chapter}.ipynb"
        assert shipped.read_bytes() == (ROOT / "notebooks" / shipped.name).read_bytes()
        assert f'href="{chapter}.ipynb"' in shipped.with_suffix(".html").read_text("utf-8")


@pytest.mark.slow
def test_the_wheel_is_offered_and_small(site: Path) -> None:
    (wheel,) = (site / "wheels").glob("*.whl")
    assert wheel.name.startswith("lvmlib-") and wheel.stat().st_size < 40_000_000


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
        formulas = page.locator("span.math, div.math").count()
        if formulas:
            page.evaluate("() => MathJax.startup.promise.then(() => null)")
            assert page.locator("mjx-container").count() >= formulas, f"{name}: formulas are not set"
            assert page.locator("mjx-merror").count() == 0, f"{name}: a formula is wrong"
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
        if page.locator("span.math, div.math").count():
            page.evaluate("() => MathJax.startup.promise.then(() => document.fonts.ready).then(() => null)")
            assert page.evaluate(CUT) == [], f"{name}: formulas of which so many pixels are hidden"
    page.close()


@pytest.mark.slow
def test_the_accessibility_menu_of_formulas_stays_local(address: str, browser: Any) -> None:
    page = browser.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{address}/book/notation.html", wait_until="networkidle")
    page.evaluate("() => MathJax.startup.promise.then(() => MathJax.loader.load('a11y/explorer')).then(() => null)")
    page.evaluate(
        "() => { MathJax.startup.document.options.enableExplorer = true; MathJax.startup.document.rerender() }"
    )
    page.wait_for_timeout(1500)
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    page.close()


@pytest.mark.slow
def test_search_finds_without_a_network(address: str, browser: Any) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=entropy")
    page.wait_for_selector("#search-results li a", timeout=10_000)
    assert page.locator("#search-results li").count() >= 2
    page.close()
