"""Everything a page needs comes from the page's own server: MathJax and its fonts among them."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

# Of the 24 MB that the package carries, the parts that set a formula of TeX when it comes near the screen, with MathML
# beside it for screen readers. The one file that holds all of them holds a menu too, which is as large as the rest.
PARTS = ("input/tex", "output/chtml", "a11y/assistive-mml", "ui/lazy")
WANTED = (
    "startup.js",
    *(f"{part}.js" for part in ("core", "output/chtml/fonts/tex", *PARTS)),
    "input/tex/extensions/*.js",  # loaded where a formula asks for one
    "output/chtml/fonts/woff-v2/*.woff",
)


def mathjax_files() -> list[tuple[Path, Path]]:
    """Return each file of MathJax that the site ships, with its place below `_static/mathjax`."""
    spec = find_spec("sphinx-mathjax-offline")
    if spec is None or spec.origin is None:
        raise ExtensionError("sphinx-mathjax-offline is not installed: install requirements.lock")
    folder = Path(spec.origin).parent / "static" / "mathjax"
    return [(path, path.relative_to(folder)) for pattern in WANTED for path in sorted(folder.glob(pattern))]


def use_local_mathjax(app: Sphinx, config: Config) -> None:
    """Load MathJax from the site's own files."""
    config.mathjax_path = "mathjax/startup.js"
    config.mathjax3_config.setdefault("loader", {})["load"] = list(PARTS)


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Copy MathJax into the built site, unless it is there."""
    if exception is not None or app.builder.format != "html":
        return
    for source, place in mathjax_files():
        target = Path(app.outdir) / "_static" / "mathjax" / place
        if not target.is_file() or target.stat().st_size != source.stat().st_size:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", use_local_mathjax)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
