"""Guesses how much room a formula will take, so that a page keeps it free and does not move when the formula is set."""

from __future__ import annotations

import re
from html import unescape

INLINE = re.compile(r'<span class="math notranslate nohighlight">\\\((.*?)\\\)</span>', re.DOTALL)
DISPLAY = re.compile(r'<div class="math notranslate nohighlight"((?: id="[^"]*")?)>(?=(.*?)</div>)', re.DOTALL)
TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|[^\s]")
SMALL = 0.71  # of an index, and of what stands in a fraction within a line

# Signs by their widths, with the space around them: relations, operators, names of functions, and what takes no room.
RELATIONS = (
    r"""= < > \mapsto \le \ge \leq \geq \approx \sim \to \in \propto \ll \gg \ne \neq \equiv \leftarrow \gets \subset"""
)
OPERATORS = r"""+ - \pm \times \odot \otimes \oplus \cup \cap \setminus"""
NAMES = "log exp max min det lim sup inf sinh tanh sin cos arg Pr ln dim"
EMPTY = r"""\left \right \bigl \bigr \big \Big \Bigl \Bigr \limits \nolimits \boldsymbol \mathbf \mathbb \mathcal
    \mathrm \mathsf \mathop \operatorname \text \hat \tilde \bar \overline \underline \displaystyle \begin \end & \!"""
BY_WIDTH = {
    0.28: r". | ! ' [ ]",
    0.36: r"i j l t",
    0.45: r", ; I r s \ell",
    0.39: r"( )",
    0.5: r"/ \| \Vert \lVert \rVert \{ \}",
    0.17: r"\,",
    0.25: r"\; \  ~",
    0.6: r": J f",
    0.73: r"w \int \top * \cdot",
    0.83: r"\mid \nabla",
    0.9: r"m \circ \infty",
    1.0: r"M W \quad",
    1.15: r"\sum \prod",
    1.35: r"\dots \ldots \cdots",
    1.22: OPERATORS,
    1.33: RELATIONS,
    0.0: EMPTY,
}
WIDTHS = {sign: em for em, signs in BY_WIDTH.items() for sign in signs.split()}
WIDTHS |= {rf"\{name}": 0.17 + 0.5 * len(name) for name in NAMES.split()}
HALVES = {r"\frac", r"\tfrac", r"\dfrac", r"\binom"}
BOTH = re.compile(r"\\(sum|prod|bigcup)(?=_\S*\s*(\{[^{}]*\})?\s*\^|\^)")
BELOW = re.compile(r"\\(sum|prod|bigcup|lim|max|min|inf|sup|Big)(?![a-zA-Z])")
TALL = re.compile(r"\\(d?frac|int|[bp]matrix)(?![a-zA-Z])")
MATRIX = re.compile(r"\\begin\{([bpv]?matrix|cases)\}(.*?)\\end\{\1\}", re.DOTALL)


def letter(token: str) -> float:
    """Return the width of one sign."""
    capital = token.lstrip("\\")[:1].isupper()
    return WIDTHS.get(token, (0.79 if len(token) == 1 else 0.65) if capital else 0.55)


def argument(tokens: list[str]) -> list[str]:
    """Take one argument off the front: a group without its braces, or one sign."""
    if not tokens:
        return []
    first = tokens.pop(0)
    if WIDTHS.get(first) == 0.0:
        return [first, *argument(tokens)]
    if first in HALVES:
        return [first, "{", *argument(tokens), "}", "{", *argument(tokens), "}"]
    if first != "{":
        return [first]
    depth, inside = 1, []
    while tokens:
        token = tokens.pop(0)
        depth += (token == "{") - (token == "}")
        if not depth:
            break
        inside.append(token)
    return inside


def measure(tokens: list[str]) -> float:
    """Return the width of a row of signs."""
    tokens, total, before = list(tokens), 0.0, ""
    script = [0.0, 0.0]  # of what stands below and above the sign before
    while tokens:
        token = tokens.pop(0)
        if token in "_^":
            script["_^".index(token)] = SMALL * measure(argument(tokens)) + 0.06
            continue
        total += max(script)
        script = [0.0, 0.0]
        if token in HALVES:
            halves = [measure(argument(tokens)) for _ in range(2)]
            total += SMALL * max(halves) + 0.24
        elif token == r"\sqrt":
            total += measure(argument(tokens)) + 0.83
        elif token not in "{}":
            unary = token in "+-" and (before in ("", "(", "[", "{", ",") or WIDTHS.get(before) == 1.33)
            total += 0.78 if unary else letter(token)
        before = token
    return total + max(script)


def width(tex: str) -> float:
    r"""Return about how many em a formula within a line is wide.

    >>> from book._ext.room import width
    >>> width("x") < width("x + y") < width(r"\log p_\theta(x \mid z)")
    True
    """
    return measure(TOKEN.findall(unescape(tex)))


def height(tex: str) -> float:
    r"""Return about how many em a formula on lines of its own is high.

    >>> from book._ext.room import height
    >>> height("x = y") < height(r"x = \frac{a}{b}") < height(r"x &= y \\ &= z \\ &= w")
    True
    """
    whole = MATRIX.sub(lambda found: rf"\frac{{{found[1]}}}", unescape(tex))  # its rows are no lines of their own
    lines = [line_height(line) for line in re.split(r"\\\\", whole)]
    return sum(lines) - 0.1 * (len(lines) - 1)


def line_height(tex: str) -> float:
    """Return about how many em one line of such a formula is high."""
    high = 3.65 if BOTH.search(tex) else 3.25 if TALL.search(tex) else 2.7 if BELOW.search(tex) else 1.7
    return high + 1.5 * (r"\underbrace" in tex)


def keep_room(html: str) -> str:
    """Return a page whose formulas say how much room to keep for them."""
    html = INLINE.sub(
        lambda m: f'<span class="math notranslate nohighlight" style="--w:{width(m[1]):.1f}em">\\({m[1]}\\)</span>',
        html,
    )
    return DISPLAY.sub(
        lambda m: f'<div class="math notranslate nohighlight"{m[1]} style="--h:{height(m[2]):.1f}em">', html
    )
