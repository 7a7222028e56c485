"""Sets every formula while the book is built, so that a page arrives with its mathematics in place.

MathJax runs here, in an engine for JavaScript, as it would in a browser: it makes letters out of its own typefaces, and
beside them MathML for screen readers. Readers load no script for formulas, wait for none, and see no page move. The
source stays with each formula, as `data-tex`, for the pop-ups that explain its symbols.
"""

from __future__ import annotations

import json
import logging
import re
from html import escape, unescape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fontTools import subset
from py_mini_racer import MiniRacer
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from book._ext.styles import pages_of, used, words_of

FOLDER = "mathjax"  # below _static: the style sheet of formulas, and their typefaces
PARTS = ("adaptors/liteDOM", "core", "input/tex", "output/chtml", "output/chtml/fonts/tex", "a11y/assistive-mml")
SCRIPTS = (*(f"{part}.js" for part in PARTS), "input/tex/extensions/*.js")  # which a formula asks for by name
TYPEFACES = "output/chtml/fonts/woff-v2/*.woff"
START = """
var MathJax = {
  loader: {
    load: %s,
    paths: {mathjax: ""},
    require: (path) => { (0, eval)(FILES[path.replace(/^[/]+/, "")]); return {}; },
  },
  startup: {typeset: false},
  tex: {packages: {"[-]": ["noundefined"]}}, // a name that TeX does not know is a fault
  chtml: {fontURL: ".", adaptiveCSS: false, matchFontHeight: false},
};
function set(tex, display) {
  MathJax.texReset();
  return MathJax.startup.adaptor.outerHTML(MathJax.tex2chtml(tex, {display}));
}
"""
INLINE = re.compile(r'<span class="math notranslate nohighlight">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(
    r'<div class="math notranslate nohighlight"((?: id="[^"]*")?)>((?:(?!</div>).)*?)\\\[(.*?)\\\]</div>', re.DOTALL
)
LOADER = re.compile(
    r'\s*<script[^>]*>window\.MathJax = .*?</script>|\s*<script[^>]*src="[^"]*mathjax[^"]*"></script>', re.DOTALL
)
FAULT = re.compile(r'data-mjx-error="([^"]*)"')
SIGN = re.compile(r"\\([0-9A-Fa-f]{2,6}) ?|\\?(.)", re.DOTALL)  # as style sheets write it, by its number or as it is
STRANGER = re.compile(r"<mjx-utext[^>]*>(.*?)</mjx-utext>")  # a sign that none of MathJax's typefaces has


def mathjax() -> Path:
    """Return the folder in which the package of MathJax keeps its files."""
    spec = find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ExtensionError("sphinx-mathjax-offline is not installed: install requirements.lock")
    return Path(spec.origin).parent / "static" / "mathjax"


class Setter:
    r"""MathJax, for as long as the `with` block lasts.

    >>> from book._ext.formulas import Setter
    >>> with Setter() as setter:
    ...     html = setter.formula("x^2")
    >>> html.count("<mjx-c "), "<math" in html
    (2, True)
    """

    def __init__(self) -> None:
        self.known: dict[tuple[str, bool], str] = {}

    def __enter__(self) -> Setter:
        folder, self.engine = mathjax(), MiniRacer()
        files = {f.relative_to(folder).as_posix(): f.read_text("utf-8") for name in SCRIPTS for f in folder.glob(name)}
        self.engine.eval(f"var FILES = {json.dumps(files)}; {START % json.dumps(PARTS)}")
        self.engine.eval((folder / "startup.js").read_text("utf-8"))
        self.engine.eval("MathJax.startup.promise.then(() => null)").get(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def formula(self, tex: str, *, display: bool = False) -> str:
        """Return a formula as HTML.

        Raises:
            ExtensionError: TeX finds a fault in it, or a sign in it is in no typeface.
        """
        if (tex, display) not in self.known:
            html = str(self.engine.eval(f"set({json.dumps(tex)}, {json.dumps(display)})"))
            if fault := FAULT.search(html):
                raise ExtensionError(f"{unescape(fault[1])} in the formula {tex}")
            if stranger := STRANGER.search(html):
                raise ExtensionError(f"MathJax has no letter for {stranger[1]} in the formula {tex}")
            self.known[tex, display] = html
        return self.known[tex, display]

    def page(self, html: str) -> str:
        """Return a page with every formula set; one that has them set comes back as it is."""

        def inline(found: re.Match[str]) -> str:
            tex = unescape(found[1]).strip()
            return f'<span class="math" data-tex="{escape(tex)}">{self.formula(tex)}</span>'

        def block(found: re.Match[str]) -> str:
            ident, number, tex = found[1], found[2], unescape(found[3]).strip()
            return f'<div class="math"{ident} data-tex="{escape(tex)}">{number}{self.formula(tex, display=True)}</div>'

        return DISPLAY.sub(block, INLINE.sub(inline, LOADER.sub("", html)))

    def style_sheet(self) -> str:
        """Return the style of everything that MathJax can set."""
        return str(self.engine.eval("MathJax.startup.adaptor.textContent(MathJax.chtmlStylesheet())"))


def signs_of(sheet: str) -> str:
    r"""Return the signs that a style sheet writes.

    >>> from book._ext.formulas import signs_of
    >>> signs_of('.a::before { content: "x"; } .b::before { content: "\\2212"; }')
    ' x−'
    """
    said = " ".join(re.findall(r'content: "((?:[^"\\]|\\.)*)"', sheet))
    return "".join(sorted({chr(int(code, 16)) if code else sign for code, sign in SIGN.findall(said)}))


def lighten(typeface: Path, signs: str, target: Path) -> None:
    """Write a typeface with these signs alone."""
    options = subset.Options(flavor="woff", notdef_outline=True)
    options.drop_tables += ["FFTM"]  # when it was made
    font = subset.load_font(str(typeface), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=signs)
    subsetter.subset(font)
    subset.save_font(font, str(target), options)


def add_styles(app: Sphinx, exception: Exception | None) -> None:
    """Write the style sheet and its typefaces, without signs that no page has."""
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    folder = out / "_static" / FOLDER
    folder.mkdir(exist_ok=True)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every table that it leaves as it is
    with Setter() as setter:
        sheet = used(setter.style_sheet(), words_of(pages_of(out)))
    (folder / "formulas.css").write_text(sheet, "utf-8")
    for typeface in mathjax().glob(TYPEFACES):
        lighten(typeface, signs_of(sheet), folder / typeface.name)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", add_styles, priority=650)  # when every page is as it will be
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
