"""Which links of a chapter the Tab key stops at, so that a long text can be crossed.

A chapter of the book names the same theorem, paper or chapter many times. The mouse and a screen reader find every one
of these links. The Tab key passes by those whose target it has met on the page, the menu among it and folded parts not,
those that lead back to a place which it has passed, and the mark of a check, which stands at the end of the same part.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup

ARTICLE = re.compile(r"<article\b.*?</article>", re.DOTALL)
LINK = re.compile(r'<a (class="[^"]*\breference internal\b[^"]*" href="[^"]+")')
MENU = re.compile(r'<a class="reference internal" href="([^"#]+)"')
FOLDED = ["details", "div.dropdown", "div.toggle"]


def passed_by(article: str, before: str = "") -> list[bool]:
    """Return, for each link within the site, whether one before it, or the way itself, has led to the same place.

    Args:
        article: the text of a page.
        before: what stands above it, the menu of chapters among it.
    """
    soup = BeautifulSoup(article, "html.parser")
    folded = {id(link) for part in soup.select(", ".join(FOLDED)) for link in part.find_all("a")}
    met = set(MENU.findall(before))
    found = []
    for part in soup.select("[id], a.reference.internal[href]:not([tabindex])"):
        if part.name != "a":
            met.add(f"#{part['id']}")
            continue
        target = str(part["href"])
        found.append(target in met or "check-link" in part["class"])
        if id(part) not in folded:
            met.add(target)
    return found


def pass_by(html: str) -> str:
    """Return a page in which the Tab key passes by what it need not stop at."""

    def edited(article: re.Match[str]) -> str:
        again = iter(passed_by(article[0], html[: article.start()]))
        return LINK.sub(lambda link: f'<a tabindex="-1" {link[1]}' if next(again) else link[0], article[0])

    return ARTICLE.sub(edited, html, count=1)
