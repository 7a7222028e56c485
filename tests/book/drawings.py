"""Judges the descriptions of figures: what matplotlib was asked to draw, part by part.

Words, colours, styles and scales must be equal, data within the tolerance; tick labels where both figures have them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from book._tools.images import restore
from tests.book.draws import compare_grids
from tests.book.texts import SHOWN_LINES, compare_text
from tests.book.tolerance import DATA, Tolerance

PLACE = 0.01  # share of a figure or of its axes by which a text may move
LOOK = {"kind", "colour", "edge", "filled", "style", "styles", "steps", "hatch", "arrow", "marker", "wide", "alpha"}
SAME_AS = {
    "from_list": "unnamed",
    "-": "(0, None)",
    "--": "(0.0, (3.7, 1.6))",
    "-.": "(0.0, (6.4, 1.6, 1.0, 1.6))",
    ":": "(0.0, (1.0, 1.65))",
}  # matplotlib 3.10 and 3.11
EXACT = LOOK | {"area", "set", "shape", "size", "tiles", "origin"}  # no tolerance reaches these


def compare_descriptions(stored: Any, new: Any, tolerance: Tolerance) -> list[str]:
    """Return what differs in what matplotlib was asked to draw."""
    problems = list(differences(stored, new, "", tolerance))
    return problems[:SHOWN_LINES] + [f"  ... and {len(problems) - SHOWN_LINES} more"] * (len(problems) > SHOWN_LINES)


def without_defaults(description: Any) -> Any:
    """Return a description without what matplotlib chose itself, which differs from version to version.

    Version 3.11 draws the outlines of histograms wider than 3.10, writes their dashes as lengths, names what has no
    name otherwise, and labels other powers of ten.
    """
    if isinstance(description, dict):
        return {k: without_defaults(v) for k, v in description.items() if k != "wide" and not k.endswith("ticks")}
    if isinstance(description, list):
        return [without_defaults(value) for value in description]
    return SAME_AS.get(description, description) if isinstance(description, str) else description


def differences(stored: Any, new: Any, where: str, tolerance: Tolerance, scale: float | None = None) -> Iterator[str]:
    """Walk through two descriptions side by side and yield every difference with its place."""
    if isinstance(stored, dict) and isinstance(new, dict):
        yield from dictionary_differences(stored, new, where, tolerance, scale)
    elif isinstance(stored, list) and isinstance(new, list):
        if len(stored) != len(new):
            yield difference(where, stored, new)
        elif all(is_number(v) for v in (*stored, *new)):
            yield from number_differences(stored, new, where, tolerance, spread(stored) if scale is None else scale)
        else:
            for i, (a, b) in enumerate(zip(stored, new)):
                name = f"{where}[{i}]"
                if isinstance(a, dict) and a.get("label"):
                    name = f"{where}[{a['label']!r}]"
                yield from differences(a, b, name, tolerance, scale)
    elif isinstance(stored, str) and isinstance(new, str) and not (is_number(stored) or is_number(new)):
        if compare_text(stored, new, tolerance):
            yield difference(where, stored, new)
    elif where.endswith((" n", " count")) and is_number(stored) and is_number(new) and tolerance.data > DATA:
        if abs(stored - new) > tolerance.data * max(stored, new):
            yield difference(where, stored, new)
    elif stored != new:
        yield difference(where, stored, new)


def dictionary_differences(
    stored: dict[str, Any], new: dict[str, Any], where: str, tolerance: Tolerance, scale: float | None
) -> Iterator[str]:
    """Compare two parts of descriptions entry by entry; some entries belong together."""
    if "values" in stored and scale is None:
        scale = spread(stored)
    apart: set[str] = set()
    if "levels" in stored and "levels" in new:
        apart = {"size", "range", "levels"}
        yield from copy_differences(stored, new, where, tolerance)
    elif "boards" in stored and stored.get("tiles") == new.get("tiles") and stored["size"] == new["size"]:
        apart = {"boards", "features"} | ({"spread"} if tolerance.draws else set())
        yield from compare_grids(stored, new, where, tolerance)
    elif "quantiles" in stored and any(f" axes[{axes - 1}]" in where for axes in tolerance.axes):
        apart = {"values"}
    for key in sorted({*stored, *new} - apart):
        if key not in stored or key not in new:
            yield difference(f"{where} {key}", stored.get(key, "nothing"), new.get(key, "nothing"))
        elif key.endswith("ticks") and f"{key[:-5]}lim" in stored and f"{key[:-5]}lim" in new:
            limits = stored[f"{key[:-5]}lim"], new[f"{key[:-5]}lim"]
            yield from tick_differences(stored[key], new[key], *limits, f"{where} {key}", tolerance)
        elif key in EXACT:
            if stored[key] != new[key]:
                yield difference(f"{where} {key}", stored[key], new[key])
        elif key == "at" and "measured" not in stored:
            if np.abs(np.subtract(stored[key], new[key], dtype=float)).max() > PLACE + tolerance.data:
                yield difference(f"{where} {key}", stored[key], new[key])
        else:
            yield from differences(stored[key], new[key], f"{where} {key}", tolerance, scale)


def number_differences(stored: list, new: list, where: str, tolerance: Tolerance, scale: float) -> Iterator[str]:
    """Yield a line if numbers moved by more than the tolerance's share of `scale` and the rounding to four digits.

    A single number has no range of its own; its size stands in for it, where the cell declares a tolerance.
    """
    a, b = np.array(stored, dtype=float), np.array(new, dtype=float)
    if scale == 0 and tolerance.data > DATA and len(a):
        scale = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        beyond = ~(np.abs(a - b) <= tolerance.data * scale + 1e-3 * np.abs(a))
    beyond &= ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if beyond.any():
        yield difference(where, stored, new)


def copy_differences(stored: dict[str, Any], new: dict[str, Any], where: str, tolerance: Tolerance) -> Iterator[str]:
    """Yield a line if the small copies of two images differ by more than the tolerance and a level of grey."""
    if stored["size"] != new["size"]:
        yield difference(f"{where} size", stored["size"], new["size"])
        return
    a, b = restore(stored), restore(new)
    across = max(abs(float(r[1]) - float(r[0])) for r in (stored["range"], new["range"]))
    bad = ~(np.abs(a - b) <= (tolerance.data + 1.01 / 254) * across) & ~(np.isnan(a) & np.isnan(b))
    if bad.any():
        _, row, column = np.argwhere(bad)[0]
        yield f"  drawn:{where}: {bad.mean():.0%} of the image differ, first at row {row + 1}, column {column + 1}"


def tick_differences(
    stored: dict[str, Any], new: dict[str, Any], limits: list, new_limits: list, where: str, tolerance: Tolerance
) -> Iterator[str]:
    """Yield a line if an axis is labelled otherwise: other labels, or labels that only one of the two figures has.

    Where the axis ends elsewhere, within the tolerance, a label beyond the other's end may be missing.
    """
    if stored.get("offset") != new.get("offset"):
        yield difference(f"{where} offset", stored.get("offset", "nothing"), new.get("offset", "nothing"))
    at, labels = np.array(stored["at"], dtype=float), stored["labels"]
    new_at, new_labels = np.array(new["at"], dtype=float), new["labels"]
    near = 2e-3 * abs(float(limits[1]) - float(limits[0]))
    for (a, a_labels), (b, b_labels), other in (
        ((at, labels), (new_at, new_labels), new_limits),
        ((new_at, new_labels), (at, labels), limits),
    ):
        low, high = sorted(map(float, other))
        for x, label in zip(a, a_labels):
            there = [text for y, text in zip(b, b_labels) if abs(x - y) <= near]
            beyond = tolerance.data > DATA and not low + near < x < high - near
            if label not in there and (there or not beyond):
                yield difference(where, labels, new_labels)
                return


def spread(description: Any) -> float:
    """Return the range of all finite numbers in a part of a description."""
    numbers = []

    def collect(part: Any) -> None:
        if isinstance(part, dict):
            for key, value in part.items():
                if key != "n":
                    collect(value)
        elif isinstance(part, list):
            for value in part:
                collect(value)
        elif is_number(part) and math.isfinite(float(part)):
            numbers.append(float(part))

    collect(description)
    return max(numbers) - min(numbers) if numbers else 0.0


def is_number(value: Any) -> bool:
    """Tell whether an entry of a description is a number; words stand for those that JSON cannot hold."""
    return (isinstance(value, (int, float)) and not isinstance(value, bool)) or value in ("nan", "inf", "-inf")


def difference(where: str, stored: Any, new: Any) -> str:
    """Word one difference of two descriptions."""

    def short(value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
        return text if len(text) <= 100 else f"{text[:97]}..."

    return f"  drawn:{where}\n    expected: {short(stored)}\n    got:      {short(new)}"
