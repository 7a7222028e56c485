"""What a figure shows, in numbers and words: what the check of outputs compares beside the picture itself.

Two pictures can look alike from afar and differ in a label, a legend or a sign; their descriptions cannot. The kernel
in which chapters run (`kernel.py`) loads this file as an extension of IPython; from then on each picture of a figure
has its description in its output's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from book._tools.artists import (
    artist_colour,
    describe_collection,
    describe_image,
    describe_lines,
    describe_patches,
    hex_colours,
    rounded,
    seen,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_MIME = "application/vnd.lvmlib.figure+json"  # under this key the metadata of a picture say what was drawn


def load_ipython_extension(shell: Any) -> None:
    """Describe every figure that the shell displays."""
    # As metadata, not as data: readers of notebooks complain about data of a kind unknown to them.
    shell.display_formatter.mimebundle_formatter.for_type_by_name("matplotlib.figure", "Figure", description)


def description(figure: Figure) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return no further data for a figure, and its description as metadata."""
    try:
        return {}, {FIGURE_MIME: describe(figure)}
    except Exception as error:  # a reader must still see the figure; the check of outputs refuses this entry
        return {}, {FIGURE_MIME: {"error": f"{type(error).__name__}: {error}"}}


def describe(figure: Figure) -> dict[str, Any]:
    """Summarise what matplotlib was asked to draw, small enough to be stored beside each picture.

    Texts (titles, labels, legends, tick labels, annotations) are kept as they are, with their places. Of the data of
    each curve, bar or cloud of points there stay their number, a few of them, and order statistics, rounded to four
    digits; of an image a small copy; of a grid of images some numbers about each (see `images.py`). Data on a
    logarithmic axis are described by their decimal logarithms, as they are seen.

    Args:
        figure: any matplotlib figure.

    Returns:
        A dictionary that JSON can hold, usually of one to ten kilobytes.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> figure, ax = plt.subplots()
        >>> _ = ax.plot([0, 1, 2], [1, 4, 9], color="#0072B2"), ax.set_xlabel("step")
        >>> description = describe(figure)
        >>> description["axes"][0]["xlabel"], description["axes"][0]["artists"][0]["y"]["values"]
        ('step', [1.0, 4.0, 9.0])
    """
    axes = all_axes(figure.axes)
    detail = 16
    parts = [describe_axes(ax, detail) for ax in axes]
    while detail > 2 and len(json.dumps(parts)) >= 9_000:  # a figure of many parts tells less about each
        detail //= 2
        parts = [describe_axes(ax, detail) for ax in axes]
    for part, ax in zip(parts, axes):
        if pictures := [describe_image(i) for i in ax.images if i.get_visible()]:
            part["images"] = pictures
    return {
        "size": rounded(figure.get_size_inches()),
        "texts": figure_texts(figure),
        "legends": [describe_legend(legend) for legend in figure.legends],
        "axes": parts,
    }


def all_axes(axes: Iterable[Any]) -> list[Any]:
    """Return axes together with their insets."""
    return [a for ax in axes if ax.get_visible() for a in (ax, *all_axes(ax.child_axes))]


def figure_texts(figure: Any) -> list[dict[str, Any]]:
    """Return the titles, labels and texts of a figure and of its subfigures."""
    own = [describe_text(t, figure.transSubfigure) for t in figure.texts if t.get_text() and t.get_visible()]
    return own + [text for part in figure.subfigs for text in figure_texts(part)]


def describe_text(text: Any, whole: Any) -> dict[str, Any]:
    """Describe a text by its words, colour and place, the latter as shares of axes or a figure, and its arrow."""
    x, y = text.get_transform().transform(text.get_unitless_position()) if not hasattr(text, "xyann") else (0.0, 0.0)
    about: dict[str, Any] = {"text": text.get_text(), "colour": hex_colours(text.get_color())}
    if not hasattr(text, "xyann"):
        about["at"] = rounded(whole.inverted().transform((x, y)))
    else:  # an annotation: where it points to, and where its words stand
        about |= {"to": place(text.xy, text.axes), "at": place(text.xyann, text.axes)}
        about["measured"] = f"{text.xycoords} {text.anncoords}"
        if text.arrow_patch is not None:
            style = type(text.arrow_patch.get_arrowstyle()).__name__
            about["arrow"] = f"{style} {artist_colour(text.arrow_patch)} {text.arrow_patch.get_linestyle()}"
    about["set"] = f"{text.get_ha()} {text.get_va()} {text.get_rotation():g} {text.get_fontweight()}"
    return about


def place(point: Any, ax: Any) -> list[Any]:
    """Return a point as an annotation was given it, categories and dates as numbers."""
    if ax is None:
        return rounded(point)
    return rounded([ax.convert_xunits(point[0]), ax.convert_yunits(point[1])])


def describe_axes(ax: Any, detail: int) -> dict[str, Any]:
    """Describe one set of axes: its words, its scales, and everything drawn on it but images."""
    about: dict[str, Any] = {
        "title": " | ".join(t for t in (ax.get_title(loc=x) for x in ("left", "center", "right")) if t)
    }
    for name in ax._axis_names:  # x and y, and z in three dimensions
        axis, limits = getattr(ax, f"{name}axis"), getattr(ax, f"get_{name}lim")()
        about[f"{name}label"] = axis.get_label_text()
        about[f"{name}scale"] = axis.get_scale()
        about[f"{name}lim"] = rounded(seen(limits, axis))
        about[f"{name}ticks"] = tick_labels(axis, limits) if ax.axison else {}
    about["off"] = not ax.axison
    about["legend"] = describe_legend(ax.get_legend()) if ax.get_legend() is not None else {}
    about["texts"] = [
        describe_text(t, ax.transAxes) for t in ax.texts if t.get_visible() and (t.get_text() or arrow(t))
    ]
    about["tables"] = [[cell.get_text().get_text() for _, cell in sorted(t.get_celld().items())] for t in ax.tables]
    about["artists"] = [
        *describe_lines(ax, detail),
        *describe_patches(ax, detail),
        *(describe_collection(ax, c, detail) for c in ax.collections if c.get_visible()),
    ]
    return {name: value for name, value in about.items() if value not in ("", [], {}, False, "linear")}


def arrow(text: Any) -> bool:
    """Tell whether a text is an annotation with an arrow."""
    return getattr(text, "arrow_patch", None) is not None


def tick_labels(axis: Any, limits: Any) -> dict[str, Any]:
    """Return the tick labels that can be read, major and minor, with their places as the axis shows them."""
    low, high = sorted(limits)
    slack = 1e-9 * (high - low)
    places, labels = [], []
    kinds = (axis.get_majorticklocs, axis.get_major_ticks, axis.get_major_formatter)
    for locations, ticks, formatter in (
        kinds,
        (axis.get_minorticklocs, axis.get_minor_ticks, axis.get_minor_formatter),
    ):
        at = [x for x in locations() if low - slack <= x <= high + slack]
        shown = ticks(len(at))
        if not (axis.get_visible() and any(t.label1.get_visible() or t.label2.get_visible() for t in shown)):
            continue
        for where, label in zip(at, formatter().format_ticks(at)):
            if label:
                places.append(where)
                labels.append(str(label))
    if not labels:
        return {}
    about = {"at": rounded(seen(places, axis)), "labels": labels}
    offset = axis.get_major_formatter().get_offset()
    return {**about, "offset": offset} if offset else about


def describe_legend(legend: Any) -> dict[str, Any]:
    """Describe a legend: its title, and each entry with the colour and the style that it explains."""
    entries = []
    for text, handle in zip(legend.get_texts(), legend.legend_handles):
        style = str(handle.get_linestyle()) if hasattr(handle, "get_linestyle") else ""
        marker = str(handle.get_marker()) if hasattr(handle, "get_marker") else ""
        entries.append({"text": text.get_text(), "colour": artist_colour(handle), "style": style, "marker": marker})
    return {"title": legend.get_title().get_text(), "entries": entries}
