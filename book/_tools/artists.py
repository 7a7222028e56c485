"""Describes what is drawn on a set of axes: curves, bars, clouds of points, images. Used by `figures.py`.

Data are described as they are seen: on a logarithmic axis by their decimal logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import numpy as np

from book._tools import images


def describe_lines(ax: Any, detail: int) -> list[dict[str, Any]]:
    """Describe curves; those that look the same and share a label, or have none, count as one."""
    alike: dict[str, tuple[dict[str, Any], list[Any]]] = {}
    for line in ax.lines:
        if line.get_visible():
            about = line_look(line)
            alike.setdefault(str(about), (about, []))[1].append(line)
    found = []
    for about, lines in alike.values():
        about |= {"count": len(lines), **strength(lines)}
        data = [ln.get_data_3d() if hasattr(ln, "get_data_3d") else ln.get_data() for ln in lines]
        for name, values in zip(ax._axis_names, zip(*data)):
            about[name] = summary(seen(np.concatenate([flat(v) for v in values]), getattr(ax, f"{name}axis")), detail)
        found.append(about)
    return found


def line_look(line: Any) -> dict[str, Any]:
    """Return what a curve looks like, whatever its data are."""
    about = {
        "kind": "line",
        "colour": artist_colour(line),
        "style": str(line.get_linestyle()),
        "marker": str(line.get_marker()),
        "label": shown_label(line),
        "steps": line.get_drawstyle(),
    }
    if about["marker"] not in ("None", "", " "):
        about["marker"] += f" {hex_colours(line.get_markerfacecolor())} {line.get_markersize():.3g}"
    return {name: value for name, value in about.items() if value not in (None, "default")}


def strength(artists: list[Any]) -> dict[str, Any]:
    """Return how wide the lines of artists are, and how opaque they are if that was set."""
    about = {"wide": summary(flat([a.get_linewidth() for a in artists]), 2)["values"]}
    alphas = [a.get_alpha() for a in artists if a.get_alpha() is not None]
    return {**about, "alpha": summary(flat(alphas), 2)["values"]} if alphas else about


def describe_patches(ax: Any, detail: int) -> list[dict[str, Any]]:
    """Describe bars, polygons and arrows; neighbours that look the same count as one."""
    found = []
    patches = (p for p in ax.patches if p.get_visible())
    for _, group in groupby(patches, key=lambda p: str(patch_look(p))):
        shapes = list(group)
        about: dict[str, Any] = {**patch_look(shapes[0]), "count": len(shapes), **strength(shapes)}
        if about["kind"] == "Rectangle":
            edges = np.array(
                [(p.get_x(), p.get_x() + p.get_width(), p.get_y(), p.get_y() + p.get_height()) for p in shapes]
            )
            about["x"] = summary(seen(edges[:, :2].mean(axis=1), ax.xaxis), detail)
            about["bottom"] = summary(seen(edges[:, 2], ax.yaxis), 2)
            about["top"] = summary(seen(edges[:, 3], ax.yaxis), detail)
            about["width"] = summary(edges[:, 1] - edges[:, 0], 2)
        elif about["kind"] == "FancyArrowPatch":
            ends = [p._posA_posB for p in shapes if p._posA_posB is not None]
            about["ends"] = summary(flat(ends), detail)
        else:  # a polygon, an ellipse: its corners, where it stands
            corners = np.concatenate([p.get_patch_transform().transform(p.get_path().vertices) for p in shapes])
            about["x"] = summary(seen(corners[:, 0], ax.xaxis), detail)
            about["y"] = summary(seen(corners[:, 1], ax.yaxis), detail)
        found.append(about)
    return found


def patch_look(patch: Any) -> dict[str, Any]:
    """Return what a filled shape or an arrow looks like, wherever it stands: its fill, its edge, its hatching."""
    about = {
        "kind": type(patch).__name__,
        "colour": artist_colour(patch),
        "filled": patch.get_fill(),
        "edge": hex_colours(patch.get_edgecolor()) if patch.get_linewidth() else "",
        "style": str(patch.get_linestyle()),
        "hatch": patch.get_hatch(),
        "label": shown_label(patch),
    }
    if hasattr(patch, "get_arrowstyle"):
        about["arrow"] = type(patch.get_arrowstyle()).__name__
    return {name: value for name, value in about.items() if value not in (None, "")}


def describe_collection(ax: Any, collection: Any, detail: int) -> dict[str, Any]:
    """Describe a cloud of points, a filled band, a mesh, contours or arrows."""
    about: dict[str, Any] = {"kind": type(collection).__name__, "label": shown_label(collection)}
    array = collection.get_array()
    mesh = about["kind"] == "QuadMesh"
    if array is None:
        about["colour"] = artist_colour(collection)
        about["styles"] = sorted({str(style) for style in collection.get_linestyle()})[:4]
    else:
        about["colour"] = collection.get_cmap().name
        about["clim"] = rounded(collection.get_clim())
        if mesh and np.ndim(array) == 2:
            about["copy"] = image_copy(filled(array))
        else:
            about["values"] = summary(flat(array), detail)
    if collection.get_alpha() is not None and np.ndim(collection.get_alpha()) == 0:
        about["alpha"] = float(collection.get_alpha())
    if hasattr(collection, "_offsets3d"):
        places = np.stack([flat(v) for v in collection._offsets3d], axis=1)
    else:
        places = np.ma.filled(collection.get_offsets(), np.nan)  # [N, 2]: where the markers stand
        if about["kind"] != "PathCollection" and len(places) <= 1:  # shapes that carry their own places
            paths = [collection.get_coordinates()] if mesh else [p.vertices for p in collection.get_paths()]
            places = np.concatenate([np.reshape(p, (-1, 2)) for p in paths]) if paths else np.empty((0, 2))
        elif collection.get_paths():  # which marker: the corners of a few
            corners = [p.vertices.round(3).tolist() for p in collection.get_paths()[:1]]
            about["marker"] = summary(flat(corners), 8)
            about["area"] = summary(flat(collection.get_sizes()), 4) if hasattr(collection, "get_sizes") else []
    for j, name in enumerate(ax._axis_names[: places.shape[1]]):
        about[name] = summary(seen(places[:, j], getattr(ax, f"{name}axis")), detail)
    if hasattr(collection, "U"):  # arrows
        about["u"], about["v"] = summary(flat(collection.U), detail), summary(flat(collection.V), detail)
    return about


def describe_image(image: Any) -> dict[str, Any]:
    """Describe an image by its size, its colours and a small copy; a grid of images, tile by tile."""
    values = filled(image.get_array())  # [H, W] or [H, W, C]
    about: dict[str, Any] = {"shape": list(values.shape), "extent": rounded(image.get_extent()), "origin": image.origin}
    if values.ndim == 2:
        about["colour"], about["clim"] = image.get_cmap().name, rounded(image.get_clim())
        about["spread"] = rounded([np.nanmin(values), np.nanmean(values), np.nanmax(values), np.nanstd(values)])
    else:
        about["spread"] = rounded(np.nanmean(values[..., :3], axis=(0, 1)))
    tiles = images.tiles_of(values, image.get_gid())
    if tiles is None:
        return {"kind": "image", **about, "copy": image_copy(values)}
    return {"kind": "grid", **about, "tiles": image.get_gid(), **images.describe_tiles(tiles)}


def image_copy(values: np.ndarray) -> dict[str, Any]:
    """Return a small copy of a matrix or an image, its range in words and numbers that JSON can hold."""
    about = images.copy(values)
    return {**about, "range": rounded(about["range"])}


def shown_label(artist: Any) -> str:
    """Return the name under which a legend knows an artist."""
    label = str(artist.get_label())
    return "" if label.startswith("_") else label


def artist_colour(artist: Any) -> str:
    """Return the colour of a curve, of a filled shape, or of its edge where it is not filled."""
    if hasattr(artist, "get_facecolor"):
        faces = np.atleast_2d(artist.get_facecolor())
        return hex_colours(faces if faces.size and (faces[:, 3] > 0).any() else artist.get_edgecolor())
    if hasattr(artist, "get_color"):
        return hex_colours(artist.get_color())
    return artist_colour(artist[0]) if isinstance(artist, tuple) and artist else ""  # a group, such as an error bar


def hex_colours(colours: Any) -> str:
    """Return the names of one or several colours."""
    from matplotlib.colors import to_hex, to_rgba_array

    names = list(dict.fromkeys(to_hex(colour) for colour in to_rgba_array(colours)[:1000]))
    return " ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def filled(values: Any) -> np.ndarray:
    """Return an array of floats in which what is masked is NaN."""
    return np.ma.filled(np.ma.asarray(values).astype(float), np.nan)


def flat(values: Any) -> np.ndarray:
    """Return anything numeric as a flat array of floats."""
    return np.ravel(filled(values))


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
