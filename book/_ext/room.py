"""Guesses how much room a formula will take, so that a page keeps it free and does not move when the formula is set."""

from __future__ import annotations

import re
from html import unescape

INLINE = re.compile(r'<span class="math notranslate nohighlight">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="math notranslate nohighlight"((?: id="[^"]*")?)>(?=(.*?)</div>)', re.DOTALL)
TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[_^{}]|[^\s]")
WIDE = set("=<>+-") | {
    r"\le",
    r"\ge",
    r"\approx",
    r"\sim",
    r"\to",
    r"\in",
    r"\mid",
    r"\propto",
    r"\ll",
    r"\gg",
    r"\ne",
    r"\equiv",
    r"\cdot",
    r"\times",
    r"\pm",
}
NOTHING = {
    r"\left",
    r"\right",
    r"\mathbb",
    r"\mathcal",
    r"\mathrm",
    r"\mathbf",
    r"\operatorname",
    r"\text",
    r"\,",
    r"\!",
    r"\bigl",
    r"\bigr",
    r"\big",
    r"\Big",
    r"\limits",
}
NOTHING |= {r"\boldsymbol", r"\mathbf", r"\hat", r"\tilde", r"\bar", r"\displaystyle", r"\begin", r"\end", r"&"}
LIMITS = re.compile(r"\\(sum|prod|underbrace|[bB]igg|bigcup|left)\b")
TALL = re.compile(r"\\([dt]?frac|int|[bp]matrix|big[lr]?|lim|max|min)\b")
BIG = {r"\sum", r"\int", r"\prod", r"\iint", r"\log", r"\exp", r"\max", r"\min", r"\det", r"\lim", r"\sup", r"\inf"}


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
    return sum(3.6 if LIMITS.search(row) else 3.1 if TALL.search(row) else 1.6 for row in rows) + 0.3 * (len(rows) - 1)


def keep_room(html: str) -> str:
    """Return a page whose formulas say how much room to keep for them."""
    html = INLINE.sub(
        lambda m: f'<span class="math notranslate nohighlight" style="--w:{width(m[1]):.1f}em">\\({m[1]}\\)</span>',
        html,
    )
    return DISPLAY.sub(
        lambda m: f'<div class="math notranslate nohighlight"{m[1]} style="--h:{height(m[2]):.1f}em">', html
    )
