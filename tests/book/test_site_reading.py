"""What makes pages quick to load and easy to move in: tables, formulas that come set, quotes, a server's files."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("sphinx.application", reason="the book's tools are not installed")

from bs4 import BeautifulSoup
from PIL import Image
from sphinx.errors import ExtensionError

from book._ext import lean, lookups, quotes, site_files, styles
from book._ext.formulas import Setter
from book._ext.stops import pass_by

THEOREM = """<div class="proof theorem admonition" id="thm-gibbs">
<p class="admonition-title"><span class="caption-number">Theorem 1.13 </span> Gibbs’ inequality
<a class="check-link reference internal" href="#check-thm-gibbs">checked</a></p>
<section><p>For all <span class="math">\\(p\\)</span>, see <a href="02.html#x">there</a> and <a href="#y">here</a>.</p>
</section></div>
<figure class="align-default" id="fig-code"><img src="../_images/a.png"/><figcaption>
<p><span class="caption-number">Figure 1.2 </span><span class="caption-text">A code.</span></p></figcaption></figure>
<div class="math notranslate nohighlight" id="equation-eq-a">
<span class="eqno">(1.7)<a class="headerlink" href="#equation-eq-a">#</a></span>\\[ a \\]</div>"""


def test_numbered_things_are_found_by_their_number():
    found = lookups.numbers("notebooks/01.html", THEOREM)
    assert found["theorem 1.13"] == ("notebooks/01.html#thm-gibbs", "Theorem 1.13: Gibbs’ inequality")
    assert found["figure 1.2"] == ("notebooks/01.html#fig-code", "Figure 1.2: A code.")
    assert found["equation 1.7"][0] == "notebooks/01.html#equation-eq-a"


@pytest.fixture(scope="module")
def setter() -> Iterator[Setter]:
    with Setter() as mathjax:
        yield mathjax


def test_symbols_are_read_off_the_tables_longest_first(setter: Setter):
    rows = r"""<table><tbody><tr><td>\(z\)</td><td>a <a href="x">latent</a>, \(n &lt; 2\)</td></tr>
    <tr><td>\(q_\phi(z \mid x)\), \(q\)</td><td>approximate posterior</td></tr>
    <tr><td>none</td><td>x</td></tr></tbody></table>"""
    found = lookups.symbols(rows, setter)
    assert [row["meaning"] for row in found] == ["approximate posterior", f"a latent, {setter.formula('n < 2')}"]
    assert found[0]["symbols"] == [r"q_\phi(z \mid x)", "q"]
    assert found[0]["set"] == [setter.formula(tex) for tex in found[0]["symbols"]]


@pytest.mark.parametrize(
    ("address", "new"),
    [
        ("#y", "../notebooks/01.html#y"),
        ("02.html#x", "../notebooks/02.html#x"),
        ("../_images/a.png", "../_images/a.png"),
        ("https://example.org/a", "https://example.org/a"),
    ],
)
def test_links_of_a_quote_lead_where_they_led(address: str, new: str):
    assert quotes.moved(address, "notebooks/01.html", "book/theorems.html") == new


def test_a_quote_is_the_box_without_title_and_ids(tmp_path: Path):
    (tmp_path / "a.html").write_text(THEOREM, "utf-8")
    said = quotes.said(quotes.boxes(tmp_path / "a.html")["thm-gibbs"], "notebooks/01.html", "book/theorems.html")
    assert "For all" in said and "Gibbs" not in said and "id=" not in said and 'href="../notebooks/01.html#y"' in said


FORMULAS = r"""<script>window.MathJax = {"tex": {}}</script>
<script defer="defer" src="https://cdn.example/npm/mathjax@3/es5/tex-mml-chtml.js"></script>
<p><span class="math notranslate nohighlight">\(x &lt; y\)</span>,
<span class="math notranslate nohighlight">\(x &lt; y\)</span></p>
<div class="math notranslate nohighlight" id="equation-eq-a">
<span class="eqno">(1.7)<a class="headerlink" href="#equation-eq-a">#</a></span>\[\begin{split}
a &amp;= b \\ &amp;= c \end{split}\]</div>"""


def test_formulas_come_set(setter: Setter):
    done = setter.page(FORMULAS)
    page = BeautifulSoup(done, "html.parser")
    assert "script" not in done and len(page.select("mjx-container > mjx-math")) == 3
    assert [part["data-tex"] for part in page.select("span.math")] == ["x < y"] * 2
    assert [row.text for row in page.select("mjx-assistive-mml mtr")] == ["a=b", "=c"]
    assert page.select_one("#equation-eq-a > .eqno").text == "(1.7)#"
    assert setter.page(done) == done


@pytest.mark.parametrize(
    ("tex", "said"), [(r"\frac{a", "Missing close brace"), (r"\nosuch", "Undefined"), ("𝟙", "letter")]
)
def test_a_formula_that_cannot_be_set_stops_the_build(setter: Setter, tex: str, said: str):
    with pytest.raises(ExtensionError, match=said):
        setter.formula(tex)


def test_the_style_of_formulas_keeps_what_pages_use(setter: Setter):
    sheet, page = setter.style_sheet(), setter.formula(r"\mathbb{E}[x]")
    kept = styles.used(sheet, set(styles.WORD.findall(page)))
    assert len(kept) < len(sheet) / 4
    named = [c for c in re.findall(r"mjx-c[0-9A-F]+", page) if f".{c}" not in kept]
    assert named == [] and "mjx-assistive-mml" in kept and "MathJax_AMS-Regular.woff" in kept


def test_a_page_becomes_lean_once(tmp_path: Path, setter: Setter):
    (tmp_path / "_images").mkdir()
    Image.effect_noise((300, 200), 90).save(tmp_path / "_images" / "a.png")
    (tmp_path / "book").mkdir()
    page = """<meta property="og:image" content="x" /><meta property="og:image:alt" content="y" />
<script>document.documentElement.dataset.mode = localStorage.getItem("mode") || "";
    document.documentElement.dataset.theme = localStorage.getItem("theme") || "";</script>
<!-- Loaded before other Sphinx assets -->
<script defer src="../_static/scripts/fontawesome.js?digest=1"></script>
<script src="../_static/searchtools.js"></script>
<script src="../searchindex.js"></script>
<body data-default-mode=""><img alt="one" src="../_images/a.png" style="width: 9px;"/>
<img alt="two" src="../_images/a.png"/>
<a class="headerlink" href="#a">#</a></body>"""
    done = lean.lean(page, tmp_path / "book" / "a.html", tmp_path, "https://example.org/b/", setter)
    assert "fontawesome.js" not in done and "searchindex.js" not in done and "prefers-color-scheme" in done
    assert 'content="https://example.org/b/_images/a.png"' in done and 'content="one"' in done
    assert done.count('width="300" height="200"') == 2 and done.count('loading="lazy"') == 1
    assert '<a tabindex="-1" class="headerlink"' in done and 'rel="preload"' in done
    assert lean.lean(done, tmp_path / "book" / "a.html", tmp_path, "https://example.org/b/", setter) == done


def test_files_for_servers():
    ET.fromstring(site_files.site_map("https://example.org/b/", ["a.html", "b&c.html"]).encode())
    root = site_files.root_page("A & B", "https://example.org/b/", "book/welcome.html")
    assert "A &amp; B" in root and 'url=book/welcome.html"' in root and "og:image" in root
    lost = site_files.lost_page("A", "https://example.org/b/", "book/welcome.html")
    assert 'href="/b/book/welcome.html"' in lost and "noindex" in lost


def test_the_tab_key_stops_at_the_first_way_to_a_place():
    link = '<a class="reference internal" href="{}" title="t"><span>x</span></a>'.format
    mark = '<a class="check-link reference internal" href="#check">checked</a>'
    folded = f'<details class="hide"><summary>s</summary>{link("#a")}</details>'
    text = f"""{folded}{link("#a")}<p>{link("#b")}{link("#a")}</p><h2 id="c">C</h2>{link("#c")}{mark}"""
    text += link("09.html") + link("09.html#a")
    page = f"<nav>{link('#a')}{link('09.html')}</nav><article>{text}</article><p>{link('#b')}</p>"
    edited = pass_by(page)
    links = BeautifulSoup(edited, "html.parser").select("article a")
    assert [link.get("tabindex") for link in links] == [None, None, None, "-1", "-1", "-1", "-1", None]
    assert edited.replace('tabindex="-1" ', "") == page


def test_rules_that_no_page_uses_leave_the_theme_s_sheet(tmp_path):
    sheet = '@charset "UTF-8";/* a */:root{--x:1}.btn:not(.off,.on) a,.gone{top:0}@font-face{src:url(x)}'
    sheet += (
        "@media (min-width:1px){.col\\\\:2{top:1}.gone .btn{top:2}}@media print{.gone{top:3}}a[href$='.on,']{top:4}"
    )
    kept = styles.used(sheet, {"btn", "off", "on", "col:2", "col"})
    assert "gone" not in kept and "@media print" not in kept
    assert all(part in kept for part in ('@charset "UTF-8";', ":root{--x:1}", ".btn:not(.off,.on) a{top:0}", "url(x)"))
    assert "a[href$='.on,']{top:4}" in kept and kept.count("{") == kept.count("}")


def test_a_page_without_formulas_asks_for_none_of_their_letters(tmp_path, setter):
    for text, asked in (
        ("<p>none</p>", False),
        (r'<p><span class="math notranslate nohighlight">\(x\)</span></p>', True),
    ):
        page = f'<head><!-- Loaded before other Sphinx assets --></head><body data-default-mode="">{text}</body>'
        done = lean.lean(page, tmp_path / "book" / "a.html", tmp_path, "https://example.org/b/", setter)
        assert ("../_static/mathjax/formulas.css" in done) == asked == ("MathJax_Math-Italic.woff" in done)
