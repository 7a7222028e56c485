"""One style for every figure, and grids of images.

Figures are dark ink on opaque white paper, in colours that a colour-blind reader can tell apart. A page in dark mode
inverts the lightness of the finished picture, so that one picture serves both; nothing here knows about modes.

matplotlib is imported when a figure is first asked for, never by ``import lvmlib``.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "image_grid", "use_style"]

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

    In a notebook this also makes figures appear below their cell as sharp PNG files that are the same from run to run.
    A user's own matplotlib settings are put aside.

    Returns:
        Nothing.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> from lvmlib.plotting import use_style
        >>> use_style()
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

        shell.display_formatter.formatters["image/png"].for_type(Figure, notebook_png)


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
        >>> import torch
        >>> from lvmlib.plotting import image_grid
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
    shown = ax.imshow(
        grid[..., 0] if channels == 1 else grid, cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest"
    )
    shown.set_gid(f"grid of {n}: {rows} x {columns} tiles of {height} x {width}, gap {gap}")
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
