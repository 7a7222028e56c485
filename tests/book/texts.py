"""Judges printed text: every word, every number, and where in its line each of them stands.

A number must come out as it is stored, up to the noise of rounding or to what the cell declares: see `same_number`.
"""

from __future__ import annotations

import difflib
import html
import io
import math
import re
import tokenize
from collections.abc import Set

from tests.book.tolerance import Tolerance

SHOWN_LINES = 6  # of the differences in one output

NUMBER = re.compile(
    r"(?:(?<![\w.)\]])[-+])?"  # a sign belongs to the number unless something stands before it, as in 3-4 and x[0]-1
    r"(?<![\w.])"  # digits in a word, as in float32, are part of the word
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|(?i:nan|inf)(?![a-zA-Z_]))"
)


NOISE = 1e-3  # of a number: the last printed digit may move by one unit if that is less
NOTHING_CHOSEN: frozenset[str] = frozenset()

BRACKETS = re.compile(r"\[[^\[\]]*\]|\[[^\[\]]*$|^[^\[\]]*\]")  # or a part of a line whose brackets close on another


def same_number(stored: str, new: str, tolerance: Tolerance, chosen: Set[str] = NOTHING_CHOSEN) -> bool:
    """Tell whether two printed numbers agree.

    Integers and short numbers, such as beta 0.5, must be equal; where rounding moves them, the cell declares a
    tolerance. A number of four digits and more may differ by one unit of the last, a thousandth of it at most: nobody
    chooses 89.04, and a reader takes 89.05 for the same.

    Args:
        stored: as it was printed.
        new: as it is printed now.
        tolerance: what the cell declares.
        chosen: numbers, as printed, that stand in the code: these are no measurements, and no tolerance moves them.
    """
    if stored == new:
        return True
    a, b = (float(text.replace(",", "")) for text in (stored, new))
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b or (math.isnan(a) and math.isnan(b))
    difference, whole = abs(a - b), [re.fullmatch(r"[-+]?[\d,]+", text) is not None for text in (stored, new)]
    if all(whole):
        return difference <= tolerance.atol if a != b else a == 0  # -0 is 0, but 1,000 is not written 1000
    if stored.lstrip("+-") in chosen or new.lstrip("+-") in chosen:
        return False
    if difference <= tolerance.atol + tolerance.rtol * abs(a) and (tolerance.atol or tolerance.rtol):
        return True
    if any(whole):
        return False
    (decimals, unit, digits), (others, other_unit, other_digits) = printed_precision(stored), printed_precision(new)
    if max(digits, other_digits) >= 12:  # written out in full by repr, noise of the arithmetic included
        return difference <= 1e-6 * abs(a)
    if decimals != others:
        return False
    if a == b:  # -0.00
        return True
    small = min(unit, other_unit) <= NOISE * min(abs(a), abs(b))
    return small and difference <= max(unit, other_unit) * (1 + 1e-6)


def literals(source: str) -> set[str]:
    """Return the numbers with a point or an exponent that stand in code, as written."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):  # magic commands
        return set()
    found = {token.string for token in tokens if token.type == tokenize.NUMBER}
    return {number for number in found if re.search(r"[.eE]", number) and not number.startswith("0x")}


def printed_precision(text: str) -> tuple[int, float, int]:
    """Return the number of decimals, the unit of the last digit, and the number of significant digits."""
    mantissa, _, power = text.lower().lstrip("+-").replace(",", "").partition("e")
    decimals = len(mantissa.partition(".")[2])
    return decimals, 10.0 ** (int(power or 0) - decimals), len(mantissa.replace(".", "").lstrip("0"))


def split_numbers(line: str) -> tuple[list[str], list[str]]:
    """Split a line into the words around its numbers, blanks evened out, and the numbers."""
    line = re.sub(r"\b0x[0-9a-f]{6,}\b", "0x...", line.replace("\N{MINUS SIGN}", "-"))
    words, numbers, end = [], [], 0
    for match in NUMBER.finditer(line):
        words.append(line[end : match.start()])
        numbers.append(match[0])
        end = match.end()
    return [" ".join(w.split()) for w in [*words, line[end:]]], numbers


def same_columns(stored: str, new: str) -> bool:
    """Tell whether everything in a line stands where it stood: an entry under another heading is another entry.

    A number may have become longer or shorter. What stands beside it then keeps its beginning (left-aligned), its end
    (right-aligned), its middle, or its distance from what comes before. Within brackets, as NumPy and torch print
    arrays, all entries of a line take turns, and blanks mean nothing.
    """
    a, b = ([m.span() for m in re.finditer(r"\S+", BRACKETS.sub("[]", line))] for line in (stored, new))
    ends = zip([(0, 0), *a], [(0, 0), *b])
    return len(a) == len(b) and all(
        start == s or end == e or abs(start + end - s - e) == 1 or start - before == s - other
        for (start, end), (s, e), ((_, before), (_, other)) in zip(a, b, ends)
    )


def same_line(stored: str, new: str, tolerance: Tolerance, chosen: Set[str] = NOTHING_CHOSEN) -> bool:
    """Tell whether two lines agree in every word and number, and in where these stand."""
    if stored == new:
        return True
    (words, numbers), (other_words, other_numbers) = split_numbers(stored), split_numbers(new)
    same = words == other_words and all(same_number(a, b, tolerance, chosen) for a, b in zip(numbers, other_numbers))
    return same and same_columns(stored.rstrip(), new.rstrip())


def compare_text(stored: str, new: str, tolerance: Tolerance, chosen: Set[str] = NOTHING_CHOSEN) -> list[str]:
    """Return what differs between two texts: the lines expected and the lines that came."""
    a, b = (text.rstrip().split("\n") for text in (stored, new))
    if len(a) == len(b):
        lines = enumerate(zip(a, b), start=1)
        pairs = [(i, x, y) for i, (x, y) in lines if not same_line(x, y, tolerance, chosen)]
        found = [f"  line {i} expected: {x}\n  line {i} got:      {y}" for i, x, y in pairs[:SHOWN_LINES]]
        return found + [f"  ... and {len(pairs) - SHOWN_LINES} more lines"] * (len(pairs) > SHOWN_LINES)
    changes = [line for line in difflib.ndiff(a, b) if line[0] in "-+"]
    found = [f"  expected {len(a)} lines, got {len(b)}:", *(f"  {line}" for line in changes[: 2 * SHOWN_LINES])]
    return found + ["  ..."] * (len(changes) > 2 * SHOWN_LINES)


def visible_text(source: str) -> str:
    """Return what a reader sees of HTML: one line per row of a table, its cells apart, empty ones included."""
    source = re.sub(r"(?is)<(style|script)\b.*?</\1>|<!--.*?-->", " ", source)
    source = re.sub(r"(?i)<br\s*/?>|</(tr|p|div|li|h\d)>", "\n", re.sub(r"\s+", " ", source))
    source = re.sub(r"(?i)</t[hd]>", " | ", source)
    lines = (" ".join(line.split()) for line in html.unescape(re.sub(r"<[^>]*>", " ", source)).split("\n"))
    return "\n".join(line for line in lines if line)
