"""What servers and search engines look for beside the pages: a root, a page for the lost, a map, robots.txt."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape as xml

from sphinx.application import Sphinx

from book._ext.repository import read_repository

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<meta name="description" content="{description}">
{head}
<style>
:root {{ color-scheme: light dark; }}
body {{ background: #fffefb; color: #22262b; }}
a {{ color: #0b5a8c; }}
a:focus-visible {{ outline: 0.16rem solid; outline-offset: 0.16rem; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #15181d; color: #dde1e6; }}
  a {{ color: #7cc0f0; }}
}}
body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 34rem; margin: 12vh auto; padding: 0 1.2rem; }}
</style>
</head>
<body>
<main>
<h1>{heading}</h1>
{text}
</main>
</body>
</html>
"""

ROOT_HEAD = """<meta http-equiv="refresh" content="0; url={welcome}">
<link rel="canonical" href="{site}{welcome}">
<meta property="og:title" content="{title}">
<meta property="og:type" content="book">
<meta property="og:url" content="{site}">
<meta property="og:description" content="{description}">
<meta property="og:image" content="{site}_static/preview.png">
<meta name="twitter:card" content="summary_large_image">"""

DESCRIPTION = (
    "An executable course on generative models whose likelihood can be computed or bounded, with every theorem proved "
    "and every output checked."
)


def root_page(title: str, site: str, welcome: str) -> str:
    """Return the page at the site's root: it leads to the first page, and carries a title and a card of its own."""
    words = {"title": escape(title), "description": escape(DESCRIPTION), "site": site, "welcome": welcome}
    text = f'<p>{words["description"]}</p>\n<p><a href="{welcome}">Open the book</a></p>'
    return PAGE.format(**words, head=ROOT_HEAD.format(**words), heading=words["title"], text=text)


def lost_page(title: str, site: str, welcome: str) -> str:
    """Return the page for addresses that do not exist; a server shows it at any depth, so its links are absolute."""
    base = urlsplit(site).path
    text = (
        "<p>There is no page at this address. A chapter may have been renamed, or a letter lost on the way.</p>\n"
        f'<p><a href="{base}{welcome}">The first page</a> has the map of all chapters; '
        f'<a href="{base}search.html">the search</a> looks through every page.</p>'
    )
    head = '<meta name="robots" content="noindex">'
    return PAGE.format(
        title=f"Not found: {escape(title)}", description="No such page.", head=head, heading="Not found", text=text
    )


def site_map(site: str, addresses: list[str]) -> str:
    """Return the map of the site for search engines."""
    rows = "\n".join(f"  <url><loc>{xml(site + address)}</loc></url>" for address in addresses)
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="{space}">\n{rows}\n</urlset>\n'


def write_files(app: Sphinx, exception: Exception | None) -> None:
    """Write the four files beside the pages."""
    if exception is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    site = read_repository(Path(app.srcdir) / "pyproject.toml")["site"]
    welcome = app.builder.get_target_uri(app.config.root_doc)
    addresses = sorted(app.builder.get_target_uri(name) for name in app.env.found_docs)
    files = {
        "index.html": root_page(app.config.html_title or app.config.project, site, welcome),
        "404.html": lost_page(app.config.project, site, welcome),
        "sitemap.xml": site_map(site, addresses),
        "robots.txt": f"User-agent: *\nAllow: /\n\nSitemap: {site}sitemap.xml\n",
    }
    for name, content in files.items():
        if app.builder.get_target_uri(app.config.root_doc) != name:
            (out / name).write_text(content, "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", write_files, priority=400)  # before a plain redirect is put at the root
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
