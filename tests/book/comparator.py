"""Judges whether the outputs of a cell are still the stored ones, as a reader would: numbers, words and pictures.

Everything here is a pure function of two sets of outputs; `notebook_plugin.py` runs the cells.

Numbers agree if they differ by at most one unit of the last printed digit, or by what the cell declares. Integers, and
all that stands between numbers, agree only if they are equal. Pictures agree if they look alike from afar *and* if
matplotlib was asked for the same: words, colours and scales exactly, data within the tolerance.
"""

from __future__ import annotations

import base64
import difflib
import html
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from book._tools.figures import FIGURE_MIME
from book._tools.outputs import clean_outputs

FIGURE, FIGURE_TRAINED = 0.2, 0.35  # relative RMS up to which two pictures look alike; the second with a tolerance
DATA = 1e-3  # share of its own range by which drawn data may move
PICTURES = ("image/png", "image/jpeg")
SHOWN_LINES = 6  # of the differences in one output

NUMBER = re.compile(
    r"(?:(?<![\w.)\]])[-+])?"  # a sign belongs to the number unless something stands before it, as in 3-4 and x[0]-1
    r"(?<![\w.])"  # digits in a word, as in float32, are part of the word
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|(?i:nan|inf)(?![a-zA-Z_]))"
)


@dataclass(frozen=True)
class Tolerance:
    """How far the values of one cell may move.

    Args:
        rtol: relative tolerance of numbers that are no integers.
        atol: absolute tolerance of numbers, integers included.
        figure: largest relative RMS between pictures.
        data: share of its range by which drawn data may move.
    """

    rtol: float = 0.0
    atol: float = 0.0
    figure: float = FIGURE
    data: float = DATA

    @classmethod
    def of_cell(cls, metadata: Any) -> Tolerance:
        """Read the tolerance that a cell declares in its metadata.

        Raises:
            ValueError: an unknown name, or a value that is no number >= 0.
        """
        declared = metadata.get("tolerance", {})
        names = list(cls.__dataclass_fields__)
        if not isinstance(declared, dict) or not set(declared) <= set(names):
            raise ValueError(f"the cell's tolerance must be a dictionary with keys among {names}, got {declared!r}")
        for name, value in declared.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"the cell's tolerance {name!r} must be a number >= 0, got {value!r}")
        if not declared:
            return cls()
        drawn = max(DATA, declared.get("rtol", 0.0), declared.get("figure", 0.0) / 2)
        return cls(**{"figure": FIGURE_TRAINED, "data": drawn, **declared})


# -- words and numbers


def same_number(stored: str, new: str, tolerance: Tolerance) -> bool:
    """Tell whether two printed numbers agree."""
    if stored == new:
        return True
    a, b = (float(text.replace(",", "")) for text in (stored, new))
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b or (math.isnan(a) and math.isnan(b))
    difference, whole = abs(a - b), [re.fullmatch(r"[-+]?[\d,]+", text) is not None for text in (stored, new)]
    if all(whole):
        return difference <= tolerance.atol if a != b else a == 0  # -0 is 0, but 1,000 is not written 1000
    if difference <= tolerance.atol + tolerance.rtol * abs(a) and (tolerance.atol or tolerance.rtol):
        return True
    if any(whole):
        return False
    (decimals, unit, digits), (others, other_unit, _) = printed_precision(stored), printed_precision(new)
    if decimals != others or digits >= 12:  # written out in full by repr, noise of the arithmetic included
        return difference <= max(1e-6 * abs(a), unit if decimals == others else 0.0)
    if decimals == 0:  # `2.` or `1e-3`: an integer but for its looks
        return a == b
    return difference <= max(unit, other_unit) * (1 + 1e-6)


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


def same_line(stored: str, new: str, tolerance: Tolerance) -> bool:
    """Tell whether two lines agree in every word and number."""
    if stored == new:
        return True
    (words, numbers), (other_words, other_numbers) = split_numbers(stored), split_numbers(new)
    return words == other_words and all(same_number(a, b, tolerance) for a, b in zip(numbers, other_numbers))


def compare_text(stored: str, new: str, tolerance: Tolerance) -> list[str]:
    """Return what differs between two texts: the lines expected and the lines that came."""
    a, b = (text.rstrip().split("\n") for text in (stored, new))
    if len(a) == len(b):
        pairs = [(i, x, y) for i, (x, y) in enumerate(zip(a, b), start=1) if not same_line(x, y, tolerance)]
        found = [f"  line {i} expected: {x}\n  line {i} got:      {y}" for i, x, y in pairs[:SHOWN_LINES]]
        return found + [f"  ... and {len(pairs) - SHOWN_LINES} more lines"] * (len(pairs) > SHOWN_LINES)
    changes = [line for line in difflib.ndiff(a, b) if line[0] in "-+"]
    found = [f"  expected {len(a)} lines, got {len(b)}:", *(f"  {line}" for line in changes[: 2 * SHOWN_LINES])]
    return found + ["  ..."] * (len(changes) > 2 * SHOWN_LINES)


def visible_text(source: str) -> str:
    """Return what a reader sees of HTML: one line per row of a table, cells apart."""
    source = re.sub(r"(?is)<(style|script|svg)\b.*?</\1>|<!--.*?-->", " ", source)
    source = re.sub(r"(?i)<br\s*/?>|</(tr|p|div|li|h\d)>", "\n", re.sub(r"\s+", " ", source))
    lines = (" ".join(line.split()) for line in html.unescape(re.sub(r"<[^>]*>", " ", source)).split("\n"))
    return "\n".join(line for line in lines if line)


# -- pictures


def decode(picture: str) -> np.ndarray:
    """Return a base64 picture as floats in [0, 1], [H, W, 3], laid on white paper."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGBA")
    paper = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(paper, image).convert("RGB"), dtype=float) / 255


def picture_distance(stored: np.ndarray, new: np.ndarray, board: int = 16) -> float:
    """Return the relative RMS between two pictures on a coarse board: 0 if equal, about 1 if unrelated."""

    def coarse(x: np.ndarray) -> np.ndarray:
        channels = (Image.fromarray(c.astype(np.float32)) for c in np.moveaxis(x, -1, 0))
        return np.stack([np.asarray(c.resize((board, board), Image.Resampling.BOX)) for c in channels])

    def rms(x: np.ndarray) -> float:
        return float(np.sqrt(np.mean(x**2)))

    a, b = coarse(stored), coarse(new)
    edge = np.concatenate([stored[0], stored[-1], stored[:, 0], stored[:, -1]])
    background = np.median(edge, axis=0)[:, None, None]
    size = max(rms(a - background), rms(b - background))
    return rms(a - b) / size if size > 1e-9 else 0.0


def compare_pictures(stored: str, new: str, tolerance: Tolerance) -> list[str]:
    """Return what differs between two pictures: their shape, or what they look like from afar."""
    if stored == new:
        return []
    a, b = decode(stored), decode(new)
    (height, width), (new_height, new_width) = a.shape[:2], b.shape[:2]
    if abs(math.log(width * new_height / (height * new_width))) > 0.05 or abs(math.log(width / new_width)) > 0.1:
        return [f"  the picture was {width} x {height} pixels, now it is {new_width} x {new_height}"]
    distance = picture_distance(a, b)
    if distance > tolerance.figure:
        return [f"  the picture looks different: relative distance {distance:.2f}, allowed {tolerance.figure:.2f}"]
    return []


def compare_descriptions(stored: Any, new: Any, tolerance: Tolerance) -> list[str]:
    """Return what differs in what matplotlib was asked to draw."""
    problems = list(differences(stored, new, "", tolerance))
    return problems[:SHOWN_LINES] + [f"  ... and {len(problems) - SHOWN_LINES} more"] * (len(problems) > SHOWN_LINES)


def differences(stored: Any, new: Any, where: str, tolerance: Tolerance, scale: float | None = None) -> Iterator[str]:
    """Walk through two descriptions side by side and yield every difference with its place."""
    if isinstance(stored, dict) and isinstance(new, dict):
        if "values" in stored and scale is None:
            scale = spread(stored)
        for key in sorted({*stored, *new}):
            if key not in stored or key not in new:
                yield difference(f"{where} {key}", stored.get(key, "nothing"), new.get(key, "nothing"))
            else:
                yield from differences(stored[key], new[key], f"{where} {key}", tolerance, scale)
    elif isinstance(stored, list) and isinstance(new, list):
        if len(stored) != len(new):
            yield difference(where, stored, new)
        elif all(is_number(v) for v in (*stored, *new)):
            yield from number_differences(stored, new, where, tolerance, spread(stored) if scale is None else scale)
        else:
            shared = spread(stored) if scale is None and where.endswith("board") else scale
            for i, (a, b) in enumerate(zip(stored, new)):
                name = f"{where}[{i}]"
                if isinstance(a, dict) and a.get("label"):
                    name = f"{where}[{a['label']!r}]"
                yield from differences(a, b, name, tolerance, shared)
    elif isinstance(stored, str) and isinstance(new, str) and not (is_number(stored) or is_number(new)):
        if compare_text(stored, new, tolerance):
            yield difference(where, stored, new)
    elif where.endswith((" n", " count")) and is_number(stored) and is_number(new) and tolerance.data > DATA:
        if abs(stored - new) > tolerance.data * max(stored, new):
            yield difference(where, stored, new)
    elif stored != new:
        yield difference(where, stored, new)


def number_differences(stored: list, new: list, where: str, tolerance: Tolerance, scale: float) -> Iterator[str]:
    """Yield a line if numbers moved by more than the tolerance's share of `scale` and the rounding to four digits."""
    a, b = np.array(stored, dtype=float), np.array(new, dtype=float)
    with np.errstate(invalid="ignore"):
        beyond = ~(np.abs(a - b) <= tolerance.data * scale + 1e-3 * np.abs(a) + tolerance.atol)
    beyond &= ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if beyond.any():
        yield difference(where, stored, new)


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


# -- all outputs of a cell


def compare_outputs(stored: list, new: list, metadata: Any) -> list[str]:
    """Return the differences between a cell's stored and new outputs; none means that they agree.

    Args:
        stored: outputs from the notebook.
        new: outputs from the kernel, in the same format.
        metadata: the cell's, with its `tolerance` and `tags`.
    """
    tolerance = Tolerance.of_cell(metadata)
    live = any(tag.startswith("live:") for tag in metadata.get("tags", []))
    a, b = clean_outputs(stored), clean_outputs(new)
    problems = []
    for kind in ("stream", "error"):
        x, y = ([printed(o) for o in outputs if o["output_type"] == kind] for outputs in (a, b))
        name = "printed text" if kind == "stream" else "error"
        if len(x) != len(y):
            problems.append(f"{name} was {'not ' * (not x)}stored, but {'none ' * (not y)}came:")
            problems += [f"    {line}" for line in "".join([*x, *y]).splitlines()[:SHOWN_LINES]]
        elif found := [line for s, n in zip(x, y) for line in compare_text(s, n, tolerance)]:
            problems += [f"{name} differs:", *found]
    x, y = ([o for o in outputs if "data" in o] for outputs in (a, b))
    if len(x) != len(y):
        problems.append(f"{len(x)} displayed outputs are stored ({kinds(x)}), {len(y)} came ({kinds(y)})")
    else:
        for i, (s, n) in enumerate(zip(x, y), start=1):
            if found := compare_displayed(s, n, tolerance, live):
                problems += [f"displayed output {i} ({kinds([s])}) differs:", *found]
    if problems and metadata.get("tolerance"):
        problems.append(f"the cell's tolerance is {json.dumps(metadata['tolerance'])}")
    return problems


def printed(output: dict) -> str:
    """Return the text of a stream or an error."""
    return output["text"] if output["output_type"] == "stream" else f"{output['ename']}: {output['evalue']}\n"


def kinds(outputs: list) -> str:
    """Name the kinds of displayed outputs, the richest of each."""
    order = (*PICTURES, "text/html", "text/latex", "text/markdown", "text/plain")
    return ", ".join(next((m for m in order if m in o["data"]), "other") for o in outputs) or "none"


def compare_displayed(stored: dict, new: dict, tolerance: Tolerance, live: bool) -> list[str]:
    """Return the differences between two displayed outputs."""
    a, b = stored["data"], new["data"]
    if set(a) != set(b):
        return [f"  expected {sorted(a)}, got {sorted(b)}"]
    problems = []
    for mime in sorted(a):
        if mime in PICTURES:
            problems += [] if live else compare_pictures(a[mime], b[mime], tolerance)
        elif mime == "text/html":
            problems += compare_text(visible_text(a[mime]), visible_text(b[mime]), tolerance)
        elif mime.startswith("text/"):
            problems += compare_text(a[mime], b[mime], tolerance)
        elif mime.endswith("json"):
            problems += list(differences(a[mime], b[mime], f" {mime}", tolerance))
    if any(mime in PICTURES for mime in a) and not live:
        shown, drawn = stored["metadata"].get(FIGURE_MIME), new["metadata"].get(FIGURE_MIME)
        if (shown is None) != (drawn is None):
            problems.append(f"  the figure's description is {'new' if shown is None else 'gone'}")
        elif shown is not None and "error" in drawn:
            problems.append(f"  the figure cannot be described: {drawn['error']}")
        elif shown is not None:
            problems += compare_descriptions(shown, drawn, tolerance)
    return problems


def check_stored(cells: list) -> list[list[str]]:
    """Return, for each code cell of a notebook, what is wrong with it before anything is run.

    Args:
        cells: the notebook's code cells that are not blank, in order.
    """
    found = []
    for n, cell in enumerate(cells, start=1):
        problems = []
        if cell.execution_count is None:
            problems.append("the cell was never executed: its execution count is empty")
        elif cell.execution_count != n:
            problems.append(f"the notebook was run out of order: execution count {cell.execution_count}, expected {n}")
        if "raises-exception" not in cell.metadata.get("tags", []):
            errors = [output for output in cell.outputs if output.output_type == "error"]
            problems += [f"the stored output is an error: {error.ename}: {error.evalue}" for error in errors]
        try:
            Tolerance.of_cell(cell.metadata)
        except ValueError as error:
            problems.append(str(error))
        found.append(problems)
    return found
