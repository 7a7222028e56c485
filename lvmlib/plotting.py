"""One style for every figure, grids of images, and a description of what was drawn.

Figures are dark ink on opaque white paper, in colours that a colour-blind reader can tell apart. A page in dark mode
inverts the lightness of the finished picture, so that one picture serves both; nothing here knows about modes.

matplotlib is imported when a figure is first asked for, never by ``import lvmlib``.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "FIGURE_MIME", "describe", "image_grid", "use_style"]

#: The palette of Okabe and Ito (2008, jfly.uni-koeln.de/color), in the order in which curves take them.
COLOURS = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
    "yellow": "#F0E442",  # last: hard to see on white
}

#: Under this key the metadata of a notebook's picture say what was drawn; see :func:`describe`.
FIGURE_MIME = "application/vnd.lvmlib.figure+json"

INK = "#1a1a1a"
SCREEN_DPI = 100  # one inch of a figure takes this many pixels of a page
FILE_DPI = 180  # and this many of the file, so that it stays sharp on a dense screen

STYLE: dict[str, Any] = {
    # 6 inches are 600 pixels on a desk and about 350 on a phone, where 11.5 point type still reads like 9 pixels.
    "figure.figsize": (6.0, 3.6),
    "figure.dpi": SCREEN_DPI,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": FILE_DPI,
    "axes.facecolor": "white",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 12,
    "axes.labelsize": 11.5,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same letters
    "font.size": 11.5,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.markersize": 5,
    "patch.edgecolor": INK,
    "image.cmap": "cividis",
}


def use_style() -> None:
    """Draw every figure from here on in the book's style.

    In a notebook this also makes figures appear below their cell as sharp PNG files that are the same from run to run,
    each with a description of what was drawn (:func:`describe`) in its output's metadata under ``FIGURE_MIME``. A
    user's own matplotlib settings are put aside.

    Returns:
        Nothing.

    Example:
        >>> use_style()
        >>> import matplotlib.pyplot as plt
        >>> plt.rcParams["axes.prop_cycle"].by_key()["color"][0]
        '#0072B2'
    """
    import matplotlib as mpl
    from cycler import cycler

    shell = notebook_shell()
    if shell is not None:
        shell.enable_matplotlib("inline")  # before the settings, which it would change
    kept = {"backend", "backend_fallback", "interactive", "toolbar"}
    settings: Any = {k: v for k, v in mpl.rcParamsDefault.items() if k not in kept}
    settings.update(STYLE, **{"axes.prop_cycle": cycler(color=list(COLOURS.values()))})
    mpl.rcParams.update(settings)
    if shell is not None:
        from matplotlib.figure import Figure

        formatter = shell.display_formatter
        formatter.formatters["image/png"].for_type(Figure, notebook_png)
        # As metadata, not as data: readers of notebooks complain about data of a kind unknown to them.
        formatter.mimebundle_formatter.for_type(Figure, notebook_description)


def notebook_shell() -> Any:
    """Return the shell of the notebook that this runs in, or None outside of one."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()
    return shell if hasattr(shell, "kernel") else None  # a terminal's shell has no kernel


def notebook_png(figure: Figure) -> tuple[str, dict[str, int]] | None:
    """Return a figure as base64 PNG and the width, in pixels of a page, at which it is shown."""
    if not figure.axes and not figure.lines and not figure.texts:
        return None
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=FILE_DPI, bbox_inches="tight", pad_inches=0.06, metadata={"Software": None})
    data = file.getvalue()
    width = int.from_bytes(data[16:20], "big")  # of the IHDR chunk, which always comes first
    return base64.b64encode(data).decode("ascii"), {"width": round(width * SCREEN_DPI / FILE_DPI)}


def notebook_description(figure: Figure) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return no further data for a figure, and its description as metadata."""
    try:
        return {}, {FIGURE_MIME: describe(figure)}
    except Exception as error:  # a reader must still see the figure; the check of outputs refuses this entry
        return {}, {FIGURE_MIME: {"error": f"{type(error).__name__}: {error}"}}


def image_grid(
    images: Tensor | np.ndarray | Sequence[Tensor],
    columns: int | None = None,
    *,
    ax: Axes | None = None,
    gap: int = 2,
    limits: tuple[float, float] = (0.0, 1.0),
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
) -> Axes:
    """Show images side by side, row after row, with thin gaps between them.

    Grey images are drawn as ink on paper (large values dark), colour images as they are.

    Args:
        images: [N, 1, H, W], [N, H, W] or [N, 3, H, W]; ``uint8``, or floats between the two limits (clipped to them).
        columns: images per row; by default about as many as there are rows.
        ax: axes to draw on; by default a new figure of fitting size.
        gap: white pixels between two images.
        limits: the values of blank paper and of full ink; for colour, of black and of full light.
        row_labels: one text per row, written to its left.
        column_labels: one text per column, written above it.

    Returns:
        The axes that hold the grid.

    Raises:
        ValueError: no images, another shape, values that are not finite or far outside the limits, or another number
            of labels than rows or columns.

    Example:
        >>> ax = image_grid(torch.rand(6, 1, 28, 28), columns=3, row_labels=["data", "model"])
        >>> ax.images[0].get_array().shape
        (58, 88)
    """
    tiles = as_tiles(images, limits)  # [N, H, W, C], floats in [0, 1]
    n, height, width, channels = tiles.shape
    columns = math.ceil(math.sqrt(n)) if columns is None else columns
    if columns < 1 or gap < 0:
        raise ValueError(f"image_grid needs columns >= 1 and gap >= 0, got columns={columns}, gap={gap}")
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    for name, labels, wanted in (("row_labels", row_labels, rows), ("column_labels", column_labels, columns)):
        if labels is not None and len(labels) != wanted:
            raise ValueError(f"{name} has {len(labels)} texts for a grid of {rows} rows and {columns} columns")

    paper = 0.0 if channels == 1 else 1.0
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), paper, dtype=np.float32)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        grid[top : top + height, left : left + width] = tile

    if ax is None:
        import matplotlib.pyplot as plt

        across = min(6.0, max(2.0, 0.6 * columns * width / max(height, width)))
        _, ax = plt.subplots(figsize=(across, max(0.6, across * grid.shape[0] / grid.shape[1])))
    # Pixels stay pixels: smoothing would make the file five times as large.
    ax.imshow(grid[..., 0] if channels == 1 else grid, cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, top=False, labeltop=column_labels is not None, bottom=False, labelbottom=False)
    ax.set_xticks([j * (width + gap) + (width - 1) / 2 for j in range(columns)] if column_labels else [])
    ax.set_yticks([i * (height + gap) + (height - 1) / 2 for i in range(rows)] if row_labels else [])
    if column_labels:
        ax.set_xticklabels(column_labels)
    if row_labels:
        ax.set_yticklabels(row_labels)
    return ax


def as_tiles(images: Tensor | np.ndarray | Sequence[Tensor], limits: tuple[float, float]) -> np.ndarray:
    """Return images as floats in [0, 1] of shape [N, H, W, C], with C = 1 or 3."""
    if isinstance(images, (list, tuple)):
        if not images:
            raise ValueError("image_grid got an empty list of images")
        images = torch.stack([torch.as_tensor(image) for image in images])
    x = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3) or 0 in x.shape:
        raise ValueError(
            f"image_grid needs images of shape [N, 1, H, W], [N, H, W] or [N, 3, H, W], got {list(np.shape(images))}; "
            "a single image takes a leading axis: image[None]"
        )
    low, high = (0.0, 255.0) if x.dtype == np.uint8 else limits
    if not low < high:
        raise ValueError(f"image_grid needs limits=(low, high) with low < high, got {limits}")
    x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise ValueError(f"image_grid got {int((~np.isfinite(x)).sum())} values that are not finite")
    if x.min() < 2 * low - high or x.max() > 2 * high - low:
        raise ValueError(
            f"image_grid got values from {x.min():.4g} to {x.max():.4g} but limits {limits}; "
            "pass uint8 images, or limits=(low, high) that fit the values"
        )
    return np.moveaxis(((x - low) / (high - low)).clip(0.0, 1.0), 1, -1)


# ------------------------------------------------------------------------------------------------------------------
# What a figure shows, in numbers and words. Two pictures can look alike from afar and differ in a label, a legend or a
# sign; their descriptions cannot.


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
