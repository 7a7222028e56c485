"""What a figure shows, in numbers and words: what the check of outputs compares beside the picture itself.

Two pictures can look alike from afar and differ in a label, a legend or a sign; their descriptions cannot. The kernel
in which chapters run (`kernel.py`) loads this file as an extension of IPython; from then on each picture of a figure
has its description in its output's metadata.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

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

    Texts (titles, labels, legends, annotations) are kept as they are. Of the data of each curve, bar, cloud of points
    or image there stay their number, a few of them, and order statistics, rounded to four digits. Data on a logarithmic
    axis are described by their decimal logarithms, as they are seen.

    Args:
        figure: any matplotlib figure.

    Returns:
        A dictionary that JSON can hold, usually of one to five kilobytes.

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
    while True:  # a figure of many parts tells less about each
        parts = [describe_axes(ax, detail) for ax in axes]
        whole = {
            "size": rounded(figure.get_size_inches()),
            "texts": figure_texts(figure),
            "legends": [describe_legend(legend) for legend in figure.legends],
            "axes": parts,
        }
        if detail <= 2 or len(json.dumps(whole)) < 9_000:
            return whole
        detail //= 2


def all_axes(axes: Iterable[Any]) -> list[Any]:
    """Return axes together with their insets."""
    return [a for ax in axes if ax.get_visible() for a in (ax, *all_axes(ax.child_axes))]


def figure_texts(figure: Any) -> list[str]:
    """Return the titles, labels and texts of a figure and of its subfigures."""
    own = [t.get_text() for t in figure.texts if t.get_text() and t.get_visible()]
    return own + [text for part in figure.subfigs for text in figure_texts(part)]


def describe_axes(ax: Any, detail: int) -> dict[str, Any]:
    """Describe one set of axes: its words, its scales, and everything drawn on it."""
    about: dict[str, Any] = {
        "title": " | ".join(t for t in (ax.get_title(loc=x) for x in ("left", "center", "right")) if t)
    }
    for name in ax._axis_names:  # x and y, and z in three dimensions
        axis, (low, high) = getattr(ax, f"{name}axis"), getattr(ax, f"get_{name}lim")()
        about[f"{name}label"] = axis.get_label_text()
        about[f"{name}scale"] = axis.get_scale()
        about[f"{name}lim"] = rounded(seen([low, high], axis))
        about[f"{name}ticks"] = fixed_tick_labels(axis)
    about["off"] = not ax.axison
    about["legend"] = describe_legend(ax.get_legend()) if ax.get_legend() is not None else {}
    about["texts"] = [t.get_text() for t in ax.texts if t.get_text() and t.get_visible()]
    about["tables"] = [[cell.get_text().get_text() for _, cell in sorted(t.get_celld().items())] for t in ax.tables]
    about["artists"] = [
        *describe_lines(ax, detail),
        *describe_patches(ax, detail),
        *(describe_collection(ax, c, detail) for c in ax.collections if c.get_visible()),
        *(describe_image(i, detail) for i in ax.images if i.get_visible()),
    ]
    return {name: value for name, value in about.items() if value not in ("", [], {}, False, "linear")}


def fixed_tick_labels(axis: Any) -> list[str]:
    """Return the tick labels that were set by hand or stand for categories."""
    from matplotlib.category import StrCategoryFormatter
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    formatter = axis.get_major_formatter()
    if not axis.get_visible() or not isinstance(formatter, (FixedFormatter, FuncFormatter, StrCategoryFormatter)):
        return []
    return [str(label) for label in formatter.format_ticks(axis.get_majorticklocs())]


def describe_legend(legend: Any) -> dict[str, Any]:
    """Describe a legend: its title, and each entry with the colour that it explains."""
    texts = [t.get_text() for t in legend.get_texts()]
    colours = [artist_colour(handle) for handle in legend.legend_handles]
    return {"title": legend.get_title().get_text(), "entries": [[t, c] for t, c in zip(texts, colours)]}


def describe_lines(ax: Any, detail: int) -> list[dict[str, Any]]:
    """Describe curves; those that look the same and share a label, or have none, count as one."""

    def look(line: Any) -> tuple[str, ...]:
        label = str(line.get_label())
        return (
            artist_colour(line),
            line.get_linestyle(),
            str(line.get_marker()),
            "" if label.startswith("_") else label,
        )

    found = []
    alike: dict[tuple[str, ...], list[Any]] = {}
    for line in ax.lines:
        if line.get_visible():
            alike.setdefault(look(line), []).append(line)
    for (colour, style, marker, label), lines in alike.items():
        data = [ln.get_data_3d() if hasattr(ln, "get_data_3d") else ln.get_data() for ln in lines]
        about = {
            "kind": "line",
            "colour": colour,
            "style": style,
            "marker": marker,
            "label": label,
            "count": len(lines),
        }
        for name, values in zip(ax._axis_names, zip(*data)):
            about[name] = summary(seen(np.concatenate([flat(v) for v in values]), getattr(ax, f"{name}axis")), detail)
        found.append(about)
    return found


def describe_patches(ax: Any, detail: int) -> list[dict[str, Any]]:
    """Describe bars, polygons and arrows; neighbours of one kind and colour count as one."""
    found = []
    patches = (p for p in ax.patches if p.get_visible())
    for (kind, colour), group in groupby(patches, key=lambda p: (type(p).__name__, artist_colour(p))):
        shapes = list(group)
        about: dict[str, Any] = {"kind": kind, "colour": colour, "count": len(shapes)}
        if kind == "Rectangle":
            edges = np.array(
                [(p.get_x(), p.get_x() + p.get_width(), p.get_y(), p.get_y() + p.get_height()) for p in shapes]
            )
            about["x"] = summary(seen(edges[:, :2].mean(axis=1), ax.xaxis), detail)
            about["bottom"] = summary(seen(edges[:, 2], ax.yaxis), 2)
            about["top"] = summary(seen(edges[:, 3], ax.yaxis), detail)
            about["width"] = summary(edges[:, 1] - edges[:, 0], 2)
        elif kind == "FancyArrowPatch":
            ends = [p._posA_posB for p in shapes if p._posA_posB is not None]
            about["ends"] = summary(flat(ends), detail)
        else:  # a polygon, an ellipse: its corners, where it stands
            corners = np.concatenate([p.get_patch_transform().transform(p.get_path().vertices) for p in shapes])
            about["x"] = summary(seen(corners[:, 0], ax.xaxis), detail)
            about["y"] = summary(seen(corners[:, 1], ax.yaxis), detail)
        found.append(about)
    return found


def describe_collection(ax: Any, collection: Any, detail: int) -> dict[str, Any]:
    """Describe a cloud of points, a filled band, a mesh, contours or arrows."""
    about: dict[str, Any] = {"kind": type(collection).__name__}
    label = str(collection.get_label())
    about["label"] = "" if label.startswith("_") else label
    array = collection.get_array()
    if array is None:
        about["colour"] = artist_colour(collection)
    else:
        about["colour"] = collection.get_cmap().name
        about["values"] = summary(flat(array), detail)
        about["clim"] = rounded(collection.get_clim())
    if hasattr(collection, "_offsets3d"):
        places = np.stack([flat(v) for v in collection._offsets3d], axis=1)
    else:
        places = np.ma.filled(collection.get_offsets(), np.nan)  # [N, 2]: where the markers stand
        if type(collection).__name__ != "PathCollection" and len(places) <= 1:  # shapes that carry their own places
            mesh = type(collection).__name__ == "QuadMesh"
            paths = [collection.get_coordinates()] if mesh else [p.vertices for p in collection.get_paths()]
            places = np.concatenate([np.reshape(p, (-1, 2)) for p in paths]) if paths else np.empty((0, 2))
    for j, name in enumerate(ax._axis_names[: places.shape[1]]):
        about[name] = summary(seen(places[:, j], getattr(ax, f"{name}axis")), detail)
    if hasattr(collection, "U"):  # arrows
        about["u"], about["v"] = summary(flat(collection.U), detail), summary(flat(collection.V), detail)
    return about


def describe_image(image: Any, detail: int) -> dict[str, Any]:
    """Describe an image by its size, its colours and the means over the squares of a coarse board."""
    values = np.ma.filled(np.ma.asarray(image.get_array()).astype(float), np.nan)  # [H, W] or [H, W, C]
    about: dict[str, Any] = {"kind": "image", "shape": list(values.shape), "extent": rounded(image.get_extent())}
    if values.ndim == 2:
        about["colour"], about["clim"] = image.get_cmap().name, rounded(image.get_clim())
        about["spread"] = rounded([np.nanmin(values), np.nanmean(values), np.nanmax(values), np.nanstd(values)])
        grey = values
    else:
        about["spread"] = rounded(np.nanmean(values[..., :3], axis=(0, 1)))
        grey = values[..., :3].mean(axis=-1)
    rows, cols = (min(detail, s) for s in grey.shape)
    about["board"] = [
        rounded(np.nanmean(cell) for cell in np.array_split(band, cols, axis=1))
        for band in np.array_split(grey, rows, axis=0)
    ]
    return about


def artist_colour(artist: Any) -> str:
    """Return the colour of a curve, of a filled shape, or of its edge where it is not filled."""
    from matplotlib.colors import to_hex, to_rgba

    if hasattr(artist, "get_facecolor"):
        filled = np.atleast_2d(artist.get_facecolor())
        several = filled if filled.size and (filled[:, 3] > 0).any() else np.atleast_2d(artist.get_edgecolor())
    elif hasattr(artist, "get_color"):
        several = np.array([to_rgba(artist.get_color())])
    else:  # a group of artists, such as an error bar
        return artist_colour(artist[0]) if isinstance(artist, tuple) and artist else ""
    names = list(dict.fromkeys(to_hex(colour) for colour in several[:1000] if len(colour)))
    return " ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def flat(values: Any) -> np.ndarray:
    """Return anything numeric as a flat array of floats."""
    return np.ravel(np.ma.filled(np.ma.asarray(values).astype(float), np.nan))


def seen(values: Any, axis: Any) -> np.ndarray:
    """Return values as an axis shows them: the decimal logarithm on a logarithmic axis."""
    array = flat(axis.convert_units(values))
    if axis.get_scale() != "log":
        return array
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(array > 0, np.log10(array), np.nan)


def rounded(values: Iterable[Any]) -> list[Any]:
    """Return numbers rounded to four digits; what JSON cannot hold becomes a word."""
    return [float(f"{v:.4g}") if math.isfinite(v) else str(float(v)) for v in map(float, values)]


def summary(values: np.ndarray, detail: int) -> dict[str, Any]:
    """Return how many values there are, some of them in order, and where the others lie."""
    n = len(values)
    picked = values if n <= detail else values[np.linspace(0, n - 1, detail).round().astype(int)]
    about: dict[str, Any] = {"n": n, "values": rounded(picked)}
    finite = values[np.isfinite(values)]
    if n > detail and len(finite):
        levels = [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1] if detail > 4 else [0, 0.5, 1]
        about["quantiles"] = rounded(np.quantile(finite, levels))
        about["mean"] = rounded([finite.mean()])
    return about
