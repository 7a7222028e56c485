"""Judges whether the outputs of a cell are still the stored ones, as a reader would: numbers, words and pictures.

Everything here is a pure function of two sets of outputs; `notebook_plugin.py` runs the cells. Numbers and words are
judged in `texts.py`, pictures as they look in `pictures.py`, what matplotlib was asked to draw in `drawings.py`, and
samples of a model in `draws.py`, sounds in `sounds.py`. `check_stored` judges a notebook before anything is run.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from book._tools.figures import FIGURE_MIME
from book._tools.outputs import SEAL, clean_outputs, digest
from book._tools.pairing import ROOT
from lvmlib.plotting import FILE_DPI, SCREEN_DPI
from tests.book.bitmaps import COLOURFUL, PICTURES, compare_exactly, compare_pictures, decode
from tests.book.drawings import compare_descriptions, without_defaults
from tests.book.sounds import compare_sounds, unheard, without_sounds
from tests.book.texts import SHOWN_LINES, compare_text, literals, visible_text
from tests.book.tolerance import FIGURE_OTHER, Tolerance

KINDS = ("image/png", "text/plain", "text/html", "text/latex", "text/markdown")  # others cannot be compared
UNSEEN = re.compile(r"<(img|svg|audio|video|canvas|iframe|object|embed|script|picture)\b|!\[[^\]]*\]\(", re.IGNORECASE)
LIVE = ROOT / "book" / "_static" / "live"  # the script of a live figure is called like the figure


def live_figures() -> set[str]:
    """Return the names of the figures that a script of the page puts in motion."""
    return {script.stem for script in LIVE.glob("*.js")}


def compare_outputs(
    stored: list,
    new: list,
    metadata: Any,
    source: str = "",
    live: set[str] | None = None,
    other_matplotlib: bool = False,
) -> list[str]:
    """Return the differences between a cell's stored and new outputs; none means that they agree.

    Args:
        stored: outputs from the notebook.
        new: outputs from the kernel, in the same format.
        metadata: the cell's, with its `tolerance` and `tags`.
        source: the cell's; a number that stands in it was chosen, not measured, and no tolerance moves it.
        live: names of figures that scripts put in motion; their pictures are not compared.
        other_matplotlib: the new outputs come from another version of it, whose defaults and layout may differ.
    """
    tolerance = Tolerance.of_cell(metadata)
    chosen = literals(source)
    names = live_figures() if live is None else live
    moving = any(tag.removeprefix("live:") in names for tag in metadata.get("tags", []) if tag.startswith("live:"))
    a, b = clean_outputs(stored), clean_outputs(new)
    problems = []
    for kind in ("stream", "error"):
        x, y = ([printed(o) for o in outputs if o["output_type"] == kind] for outputs in (a, b))
        name = "printed text" if kind == "stream" else "error"
        if len(x) != len(y):
            problems.append(f"{name} was {'not ' * (not x)}stored, but {'none ' * (not y)}came:")
            problems += [f"    {line}" for line in "".join([*x, *y]).splitlines()[:SHOWN_LINES]]
        elif found := [line for s, n in zip(x, y) for line in compare_text(s, n, tolerance, chosen)]:
            problems += [f"{name} differs:", *found]
    x, y = ([o for o in outputs if "data" in o] for outputs in (a, b))
    if len(x) != len(y):
        problems.append(f"{len(x)} displayed outputs are stored ({kinds(x)}), {len(y)} came ({kinds(y)})")
    elif [o["output_type"] for o in a] != [o["output_type"] for o in b] and not problems:
        problems.append("the outputs come in another order")
    else:
        for i, (s, n) in enumerate(zip(x, y), start=1):
            if found := compare_displayed(s, n, tolerance, chosen, moving, other_matplotlib):
                problems += [f"displayed output {i} ({kinds([s])}) differs:", *found]
    if problems and metadata.get("tolerance"):
        problems.append(f"the cell's tolerance is {json.dumps(metadata['tolerance'])}")
    return problems


def printed(output: dict) -> str:
    """Return the text of a stream or an error."""
    return output["text"] if output["output_type"] == "stream" else f"{output['ename']}: {output['evalue']}\n"


def kinds(outputs: list) -> str:
    """Name the kinds of displayed outputs, the richest of each."""
    return (
        ", ".join(next((m for m in (*PICTURES, *reversed(KINDS)) if m in o["data"]), "other") for o in outputs)
        or "none"
    )


def compare_displayed(
    stored: dict, new: dict, tolerance: Tolerance, chosen: set[str], moving: bool, other_matplotlib: bool = False
) -> list[str]:
    """Return the differences between two displayed outputs."""
    a, b = stored["data"], new["data"]
    if set(a) != set(b):
        return [f"  expected {sorted(a)}, got {sorted(b)}"]
    problems = list(dict.fromkeys([*refused(stored), *refused(new)]))
    for mime in sorted(a):
        if mime == "text/html":
            problems += compare_text(visible_text(a[mime]), visible_text(b[mime]), tolerance, chosen)
            problems += compare_sounds(a[mime], b[mime], tolerance)
        elif mime.startswith("text/"):
            problems += compare_text(a[mime], b[mime], tolerance, chosen)
    if any(mime in PICTURES for mime in a) and not moving:
        problems += compare_figures(stored, new, tolerance, other_matplotlib)
    return problems


def compare_figures(stored: dict, new: dict, tolerance: Tolerance, other_matplotlib: bool = False) -> list[str]:
    """Return the differences between two pictures, as they look and as they are described."""
    (a, shown), (b, drawn) = ((o["data"].get("image/png", ""), o["metadata"].get(FIGURE_MIME)) for o in (stored, new))
    if (shown is None) != (drawn is None):
        return [f"  the figure's description is {'new' if shown is None else 'gone'}"]
    if shown is None:
        return compare_exactly(a, b) if a and b else []
    if error := shown.get("error") or drawn.get("error"):
        return [f"  the figure cannot be described: {error}"]
    problems = [
        f"  the {which} picture is not the one that its description belongs to" for which in unsealed(stored, new)
    ]
    widths = [o["metadata"].get("image/png", {}).get("width") for o in (stored, new)]
    if (widths[0] is None) != (widths[1] is None) or (widths[0] and not 0.9 < widths[0] / widths[1] < 1.1):
        problems.append(f"  the picture was shown {widths[0]} pixels wide, now {widths[1]}")
    plain = [{k: v for k, v in about.items() if k != SEAL} for about in (shown, drawn)]
    if other_matplotlib:  # its outlines may be half as wide again, which is that much more colour
        problems += compare_pictures(a, b, replace(tolerance, figure=FIGURE_OTHER), strength=2 * COLOURFUL)
        plain = [without_defaults(about) for about in plain]
    else:
        problems += compare_pictures(a, b, tolerance)
    return problems + compare_descriptions(*plain, tolerance)


def unsealed(stored: dict, new: dict) -> list[str]:
    """Say which of two outputs holds a picture that its description does not belong to."""
    named = {"stored": stored, "new": new}
    return [
        n for n, o in named.items() if o["metadata"][FIGURE_MIME].get(SEAL) != digest(o["data"].get("image/png", ""))
    ]


def refused(output: dict) -> list[str]:
    """Return why an output cannot be compared: a kind of data, or of HTML, that nothing here reads."""
    data = output["data"]
    problems = [f"  an output of the kind {mime} cannot be compared" for mime in data if mime not in KINDS]
    problems += unheard(data.get("text/html", ""))
    for mime in ("text/html", "text/markdown"):
        text = without_sounds(data.get(mime, "")) if mime == "text/html" else data.get(mime, "")
        if found := UNSEEN.search(text):
            problems.append(f"  {mime} with {found[0]!r} cannot be compared: show a figure or text instead")
    return problems


# -- a notebook before it is run


def check_stored(cells: list, live: set[str] | None = None) -> list[list[str]]:
    """Return, for each code cell of a notebook, what is wrong with it before anything is run.

    Args:
        cells: the notebook's code cells, in order.
        live: names of figures that scripts put in motion.
    """
    found, n = [], 0
    for cell in cells:
        if not cell.source.strip():
            found.append(["a cell without code has outputs"] if cell.outputs or cell.execution_count else [])
            continue
        n += 1
        problems = []
        if cell.execution_count is None:
            problems.append("the cell was never executed: its execution count is empty")
        elif cell.execution_count != n:
            problems.append(f"the notebook was run out of order: execution count {cell.execution_count}, expected {n}")
        problems += check_outputs(cell)
        names = live_figures() if live is None else live
        for tag in cell.metadata.get("tags", []):
            if tag.startswith("live:") and tag.removeprefix("live:") not in names:
                problems.append(f"the tag {tag} names no live figure; there are: {', '.join(sorted(names)) or 'none'}")
        try:
            Tolerance.of_cell(cell.metadata)
        except ValueError as error:
            problems.append(str(error))
        found.append(problems)
    return found


def check_outputs(cell: Any) -> list[str]:
    """Return what a cell's stored outputs hold that should not be stored."""
    problems = []
    outputs = [dict(o) for o in cell.outputs]
    if "raises-exception" not in cell.metadata.get("tags", []):
        errors = [o for o in outputs if o["output_type"] == "error"]
        problems += [f"the stored output is an error: {e['ename']}: {e['evalue']}" for e in errors]
    if (kept := clean_outputs(outputs)) != outputs:
        left = next((o for o in outputs if o not in kept), outputs[0])
        what = left.get("name") or ", ".join(left.get("data", {})) or left["output_type"]
        problems.append(f"the stored output ({what}) is not what `make execute` would store of it")
    for output in outputs:
        if output["output_type"] == "execute_result" and output["execution_count"] != cell.execution_count:
            problems.append("an output has another execution count than its cell")
        if "data" in output:
            problems += [line.strip() for line in refused(output)]
            problems += check_width(output)
    return problems


def check_width(output: dict) -> list[str]:
    """Return what is wrong with the width at which a page shows a stored picture."""
    width = output["metadata"].get("image/png", {}).get("width")
    if "image/png" not in output["data"] or width is None:
        return []
    pixels = decode(output["data"]["image/png"]).shape[1]
    return (
        []
        if abs(width - pixels * SCREEN_DPI / FILE_DPI) <= 1
        else [f"a picture of {pixels} pixels is to be shown {width} pixels wide"]
    )
