"""The foot of every page: version and date, licences, how to cite, where to report an error; and `{how-to-cite}`."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, date, datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import tomllib
from docutils import nodes
from markupsafe import Markup
from sphinx.application import Sphinx

from book._ext.late import add_late_directive
from book._ext.numbering import chapter_number
from book._ext.plan import CHAPTERS
from book._ext.repository import Repository, read_repository

CITING, ERRATA, LICENCES = "book/citing", "book/errata", "book/licences"
CC = "https://creativecommons.org/licenses/by/4.0/"


@cache
def edition(root: Path) -> date:
    """Return the day of this edition: of its last commit, or today where there is no history."""
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        return datetime.fromtimestamp(int(epoch), UTC).date()
    line = ["git", "-C", str(root), "log", "-1", "--format=%cs"]
    try:
        return date.fromisoformat(subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip())
    except (OSError, subprocess.CalledProcessError, ValueError):
        return datetime.now(UTC).date()


def in_words(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def report_address(repository: Repository, page: str, title: str, errata: str) -> str:
    """Return where an error of a page is reported: a form that names the page, or the page that says how."""
    if "repository" not in repository["published"]:
        return f"{errata}#report-an-error"
    words = f"Page: {repository['site']}{page}.html\nVersion: {repository['version']}\nWhere, and what it says:\n"
    return f"{repository['url']}/issues/new?" + urlencode({"title": f"Error in {title}", "body": words})


def foot(repository: Repository, day: date, page: str, title: str, links: dict[str, str]) -> str:
    """Return the foot of a page in HTML; `links` has the addresses of the pages it names, seen from there."""
    report = report_address(repository, page, title, links[ERRATA])
    return (
        f'<p class="colophon">Version {escape(repository["version"])}, <time datetime="{day}">{in_words(day)}</time>. '
        "By the authors of the lvm-book. "
        f'<a href="{links[LICENCES]}">Text and figures</a> under <a rel="license" href="{CC}">CC BY 4.0</a>, '
        "code under the MIT licence.</p>\n"
        f'<p class="colophon"><a href="{links[CITING]}">How to cite</a> · <a href="{links[ERRATA]}">Errata</a> · '
        f'<a href="{escape(report)}">Report an error on this page</a></p>'
    )


def put_foot(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Hand the foot to the theme's template."""
    root = Path(app.srcdir)
    links = {name: app.builder.get_relative_uri(pagename, name) for name in (CITING, ERRATA, LICENCES)}
    title = Markup(context.get("title", "")).striptags() or pagename
    context["theme_extra_footer"] = foot(
        read_repository(root / "pyproject.toml"), edition(root), pagename, title, links
    )


def entry(kind: str, key: str, fields: dict[str, str]) -> str:
    """Return an entry of BibTeX."""
    width = max(map(len, fields))
    rows = ",\n".join(f"  {name:<{width}} = {{{value}}}" for name, value in fields.items() if value)
    return f"@{kind}{{{key},\n{rows}\n}}"


def entries(root: Path, chapters: list[int]) -> list[str]:
    """Return the entries for the book, and for one of its chapters."""
    repository = read_repository(root / "pyproject.toml")
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    day = edition(root)
    author = "{" + project["authors"][0]["name"] + "}"
    common = {"author": author, "title": "{Deep latent-variable models}", "year": str(day.year)}
    common["note"] = f"Version {repository['version']}, {in_words(day)}"
    common["url"] = repository["site"] if "site" in repository["published"] else ""
    book = entry("misc", "lvmbook", common)
    if not chapters:
        return [book]
    number = 8 if 8 in chapters else chapters[0]
    part = common | {"booktitle": common["title"], "title": "{" + CHAPTERS[number].name + "}", "chapter": str(number)}
    return [book, entry("incollection", f"lvmbook:{number}", part)]


def how_to_cite(app: Sphinx, docname: str) -> list[nodes.Node]:
    """Return the entries as blocks that can be copied."""
    chapters = sorted(n for page in app.env.found_docs if (n := chapter_number(page)) is not None)
    texts = entries(Path(app.srcdir), chapters)
    return [nodes.literal_block(text, text, language="bibtex") for text in texts]


def where_to_report(app: Sphinx, docname: str) -> list[nodes.Node]:
    """Return a paragraph with the address, once the world can see it."""
    repository = read_repository(Path(app.srcdir) / "pyproject.toml")
    if "repository" not in repository["published"]:
        return [nodes.paragraph("", "Send it to whoever gave you these pages: their repository is not public yet.")]
    link = nodes.reference("", "list of open questions", refuri=f"{repository['url']}/issues", internal=False)
    return [nodes.paragraph("", "", nodes.Text("Write it into the repository's "), link, nodes.Text("."))]


def makers(app: Sphinx, docname: str) -> list[nodes.Node]:
    """Return a paragraph that says who makes the book and, once the world can see it, where."""
    repository = read_repository(Path(app.srcdir) / "pyproject.toml")
    words = "The authors of the lvm-book, and everyone who has sent them a correction. "
    if "repository" not in repository["published"]:
        return [nodes.paragraph("", words + "Text, figures, code, tests and homework are made in one repository.")]
    link = nodes.reference("", repository["url"].removeprefix("https://"), refuri=repository["url"], internal=False)
    before = nodes.Text(words + "Text, figures, code, tests and homework are made in one repository, ")
    return [nodes.paragraph("", "", before, link, nodes.Text("."))]


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", put_foot, priority=600)
    add_late_directive(app, "how-to-cite", how_to_cite)
    add_late_directive(app, "makers", makers)
    add_late_directive(app, "where-to-report", where_to_report)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
