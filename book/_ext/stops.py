"""Which links of a chapter the Tab key stops at: the first that leads to a place, so that a long text can be crossed.

A chapter of the book names the same theorem, paper or chapter many times. The mouse and a screen reader find every one
of these links; the Tab key passes those by whose target it has met on the page, outside parts that are folded away.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup

ARTICLE = re.compile(r"<article\b.*?</article>", re.DOTALL)
LINK = re.compile(r'<a (class="[^"]*\breference internal\b[^"]*" href="[^"]+")')
FOLDED = ["details", "div.dropdown", "div.toggle"]


def repeats(article: str) -> list[bool]:
    """Return, for each link within the site, whether one before it leads to the same place and can be reached."""
    soup = BeautifulSoup(article, "html.parser")
    folded = {id(link) for part in soup.select(", ".join(FOLDED)) for link in part.find_all("a")}
    met: set[str] = set()
    found = []
    for link in soup.select("a.reference.internal[href]:not([tabindex])"):
        target = str(link["href"])
        found.append(target in met)
        if id(link) not in folded:
            met.add(target)
    return found


def pass_by_repeats(html: str) -> str:
    """Return a page in which the Tab key passes links by that lead where one before them did."""

    def edited(article: re.Match[str]) -> str:
        again = iter(repeats(article[0]))
        return LINK.sub(lambda link: f'<a tabindex="-1" {link[1]}' if next(again) else link[0], article[0])

    return ARTICLE.sub(edited, html, count=1)
