"""Wrong and harmless changes of stored outputs, for `test_comparator_chapters.py`.

Each takes the outputs of one cell (and its metadata and source) and changes them in place, or says that there is
nothing to change by returning False; so one list serves every chapter, whatever it prints and draws.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from book._tools.figures import FIGURE_MIME
from book._tools.outputs import SEAL, digest
from tests.book.bitmaps import decode
from tests.book.texts import literals

Change = Callable[[list, Any], Any]  # outputs, cell -> False if it does not apply


# -- printed text


def text(pattern: str, replacement: str | Callable[[re.Match], str], flags: int = re.MULTILINE) -> Change:
    """Return a change of the first piece of printed text that a pattern finds."""

    def change(outputs: list, cell: Any) -> bool:
        for output in outputs:
            if output["output_type"] == "stream":
                new, n = re.subn(pattern, replacement, output["text"], count=1, flags=flags)
                if n and new != output["text"]:
                    output["text"] = new
                    return True
        return False

    return change


def lines(edit: Callable[[list[str]], list[str]]) -> Change:
    """Return a change of the lines of printed text; there must be three."""

    def change(outputs: list, cell: Any) -> bool:
        for output in outputs:
            if output["output_type"] == "stream" and len(found := output["text"].rstrip("\n").split("\n")) >= 3:
                new = "\n".join(edit(found)) + "\n"
                if new != output["text"] and found[0] != found[1]:
                    output["text"] = new
                    return True
        return False

    return change


def chosen_number(outputs: list, cell: Any) -> bool:
    """Change a printed number that stands in the code by a hundredth of itself or a unit of its last digit."""
    for number in sorted(literals(cell.source)):
        if "." in number and "e" not in number.lower():
            other = f"{float(number) + 10.0 ** -len(number.partition('.')[2]):.{len(number.partition('.')[2])}f}"
            if text(rf"(?<![\d.+-]){re.escape(number)}(?![\d.])", other)(outputs, cell):
                return True
    return False


def scaled(factor: float) -> Callable[[re.Match], str]:
    return lambda m: f"{factor * float(m[0]):.{len(m[0].partition('.')[2])}f}"


SHORT = r"(?<![\d.,\w])(\d?\.\d)(?![\d\w])"  # a number of one or two digits, such as 0.5
LONG = r"(?<![\d.,\w])(?!1\.000)\d{2,}\.\d{2}(?![\d\w])"  # of four and more
PLAIN = r"(?<![\d.,\w\[+-])(?!0\.0+\b)\d+\.\d+(?![\d\w])"
WHOLE = r"(?<![\d.,\w\[+-])[1-9]\d*(?![\d.,\w])"


# -- figures


def figures(outputs: list) -> Iterator[tuple[dict, dict]]:
    """Yield each output that holds a described figure, and the description."""
    for output in outputs:
        if FIGURE_MIME in output.get("metadata", {}):
            yield output, output["metadata"][FIGURE_MIME]


def drawn(edit: Callable[[dict], Any]) -> Change:
    """Return a change of the description of a figure."""
    return lambda outputs, cell: any(edit(about) for _, about in figures(outputs))


def axes(edit: Callable[[dict], Any]) -> Change:
    """Return a change of the first axes to which it applies."""
    return drawn(lambda about: any(edit(part) for part in about["axes"]))


def artist(edit: Callable[[dict], Any]) -> Change:
    """Return a change of the first curve, set of bars or cloud of points to which it applies."""
    return axes(lambda part: any(edit(a) for a in part.get("artists", [])))


def put(key: str, value: Callable[[Any], Any]) -> Callable[[dict], bool]:
    """Return an edit that replaces an entry, where there is one."""

    def edit(part: dict) -> bool:
        if key not in part or (new := value(part[key])) == part[key]:
            return False
        part[key] = new
        return True

    return edit


def within(key: str, edit: Callable[[Any], Any]) -> Callable[[dict], Any]:
    """Return an edit of an entry's inside."""
    return lambda part: key in part and edit(part[key])


def reversed_values(part: dict) -> bool:
    """Turn a curve round, if that changes it by much of its range."""
    values = np.array(part["values"], dtype=float)
    if (
        not np.isfinite(values).all()
        or np.abs(values - values[::-1]).max() < 0.5 * np.ptp(values)
        or np.ptp(values) == 0
    ):
        return False
    part["values"] = values[::-1].tolist()
    return True


def levels(edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict], bool]:
    """Return an edit of the small copy of an image, bytes [C, rows, columns], if it changes much of it."""

    def change(about: dict) -> bool:
        copy = about.get("copy")
        if copy is None:
            return False
        old = np.frombuffer(base64.b64decode(copy["levels"]), "u1").reshape(copy["size"])
        new = edit(old)
        if np.abs(new.astype(float) - old).max() < 128:
            return False
        copy["levels"] = base64.b64encode(np.ascontiguousarray(new).tobytes()).decode()
        return True

    return change


def order(permutation: Callable[[np.ndarray], np.ndarray], drawn_only: bool = False) -> Change:
    """Return a change that puts the tiles of a grid of images in another order."""

    def change(outputs: list, cell: Any) -> bool:
        draws = cell.metadata.get("tolerance", {}).get("draws")
        for _, about in figures(outputs):
            for image in (i for part in about["axes"] for i in part.get("images", []) if "boards" in i):
                rows, columns = map(int, re.findall(r"(\d+) x (\d+) tiles", image["tiles"])[0])
                index = np.arange(rows * columns).reshape(rows, columns)
                moved = permutation(index)  # a single column has no mirror image
                whole = draws != ["all"] and rows > 1 and image["size"][0] == index.size and (moved != index).any()
                if bool(draws) == drawn_only and whole:
                    for key, kind in (("boards", "u1"), ("features", "<u2")):
                        old = np.frombuffer(base64.b64decode(image[key]), kind).reshape(index.size, -1)
                        image[key] = base64.b64encode(old[moved.ravel()].tobytes()).decode()
                    return True
        return False

    return change


def picture(edit: Callable[[np.ndarray], np.ndarray], seal: bool = False) -> Change:
    """Return a change of the picture alone: its description stays, and, if wanted, is made to name the new picture."""

    def change(outputs: list, cell: Any) -> bool:
        for output, about in figures(outputs):
            old = decode(output["data"]["image/png"])
            new = (255 * edit(old)).round().clip(0, 255).astype("u1")
            if new.shape == old.shape and np.abs(new / 255 - old).max() < 1e-6:
                return False
            file = io.BytesIO()
            Image.fromarray(new).save(file, "png", compress_level=1)
            output["data"]["image/png"] = base64.b64encode(file.getvalue()).decode()
            if seal:
                about[SEAL] = digest(output["data"]["image/png"])
            return True
        return False

    return change


# -- outputs


def add(output: dict[str, Any]) -> Change:
    return lambda outputs, cell: outputs.append(output) or True


def drop(kind: str) -> Change:
    def change(outputs: list, cell: Any) -> bool:
        left = [o for o in outputs if o["output_type"] != kind]
        gone = len(left) < len(outputs)
        outputs[:] = left
        return gone

    return change
