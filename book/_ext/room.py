"""Guesses how much room a formula will take, so that a page keeps it free and does not move when the formula is set."""

from __future__ import annotations

import re
from html import unescape

INLINE = re.compile(r'<span class="math notranslate nohighlight">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="math notranslate nohighlight"((?: id="[^"]*")?)>(?=(.*?)</div>)', re.DOTALL)
TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[_^{}]|[^\s]")
WIDE = set("=<>+-") | set(r"\le \ge \approx \sim \to \in \mid \propto \ll \gg \ne \equiv \cdot \times \pm".split())
NOTHING = set(r"\left \right \mathbb \mathcal \mathrm \mathbf \operatorname \text \, \! \bigl \bigr \big \Big \limits".split())
NOTHING |= set(r"\boldsymbol \mathbf \hat \tilde \bar \displaystyle \begin \end &".split())
BIG = set(r"\sum \int \prod \iint \log \exp \max \min \det \lim \sup \inf".split())


def width(tex: str) -> float:
    """Return about how many em a formula is wide.

    >>> width("x") < width("x + y") < width(r"\\log p_\\theta(x \\mid z)")
    True
    """
    total, small = 0.0, []  # how deep braces of indices are
    index_next = False
    for token in TOKEN.findall(unescape(tex)):
        if token in "_^":
            index_next = True
            continue
        if token == "{":
            small.append(index_next)
            index_next = False
            continue
        if token == "}":
            if small:
                small.pop()
            continue
        size = 0.65 if index_next or any(small) else 1.0
        index_next = False
        if token in NOTHING:
            continue
        total += size * (1.45 if token in BIG else 1.25 if token in WIDE else 0.36 if token in "()[],.;|" else 0.55)
    return total


def height(tex: str) -> float:
    """Return about how many em a formula on lines of its own is high.

    >>> height("x = y") < height(r"x = \\frac{a}{b}") < height(r"x &= y \\\\ &= z \\\\ &= w")
    True
    """
    rows = re.split(r"\\\\", unescape(tex))
    tall = re.compile(r"\\[dt]?frac|\\sum|\\int|\\prod|\\bigl|pmatrix|bmatrix|\\underbrace")
    return sum(2.6 if tall.search(row) else 1.55 for row in rows)


def keep_room(html: str) -> str:
    """Return a page whose formulas say how much room to keep for them."""
    html = INLINE.sub(
        lambda m: f'<span class="math notranslate nohighlight" style="--w:{width(m[1]):.1f}em">\\({m[1]}\\)</span>', html
    )
    return DISPLAY.sub(
        lambda m: f'<div class="math notranslate nohighlight"{m[1]} style="--h:{height(m[2]):.1f}em">', html
    )
