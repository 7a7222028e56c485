"""What an image or a grid of images shows, in a few bytes: a small copy of it, and per tile what a small copy hides.

`pack` and `unpack` turn numbers in [0, 1] into text and back, since descriptions are stored as JSON.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np

SIDE = 32  # an image of at most so many rows and columns is kept whole
BOARD = (8, 7, 6, 5, 4)  # a tile of a grid shrinks to so many rows and columns: the first that divides them
FEATURES = ("ink", "on", "rough", "grey", "colour", "x", "y", "sum 1", "sum 2", "sum 3")  # of a tile, each in [0, 1]
GRID = re.compile(r"grid of (\d+): (\d+) x (\d+) tiles of (\d+) x (\d+), gap (\d+)")


def pack(values: np.ndarray, kind: str) -> str:
    """Return numbers in [0, 1] as text, each of one byte ("u1") or two ("<u2"); NaN becomes the largest."""
    top = np.iinfo(kind).max - 1
    levels = np.where(np.isnan(values), top + 1, np.nan_to_num(values * top).round().clip(0, top))
    return base64.b64encode(levels.astype(kind).tobytes()).decode()


def unpack(text: str, kind: str) -> np.ndarray:
    """Return the numbers that `pack` wrote."""
    levels = np.frombuffer(base64.b64decode(text), kind)
    top = np.iinfo(kind).max - 1
    return np.where(levels > top, np.nan, levels / top)


def shrunk(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the means over the squares of a coarse board: [..., H, W] becomes [..., rows, columns]."""
    for axis, parts in ((-2, rows), (-1, columns)):
        pieces = np.array_split(values, min(parts, values.shape[axis]), axis=axis)
        values = np.concatenate([piece.mean(axis=axis, keepdims=True) for piece in pieces], axis=axis)
    return values


def copy(values: np.ndarray) -> dict[str, Any]:
    """Return a small copy of a matrix [H, W] or an image [H, W, C], with the range that its levels share."""
    planes = values[None] if values.ndim == 2 else np.moveaxis(values[..., :3], -1, 0)
    board = shrunk(planes, SIDE, SIDE) if values.ndim == 2 else shrunk(planes, SIDE // 2, SIDE // 2)
    finite = board[np.isfinite(board)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    levels = (board - low) / (high - low) if high > low else np.where(np.isnan(board), np.nan, 0.0)
    return {"size": list(board.shape), "range": [low, high], "levels": pack(levels, "u1")}


def restore(about: dict[str, Any]) -> np.ndarray:
    """Return the small copy that `copy` described: [C, rows, columns]."""
    low, high = map(float, about["range"])
    return low + (high - low) * unpack(about["levels"], "u1").reshape(about["size"])


def tiles_of(values: np.ndarray, name: str) -> np.ndarray | None:
    """Cut a picture drawn by `lvmlib.plotting.image_grid` into its tiles, [N, C, h, w]; None if it is no grid.

    Args:
        values: [H, W] or [H, W, C], in [0, 1].
        name: the id of the image, in which `image_grid` says how the tiles lie.
    """
    if not (found := GRID.fullmatch(name or "")):
        return None
    n, _, columns, height, width, gap = map(int, found.groups())
    planes = values[None] if values.ndim == 2 else np.moveaxis(values[..., :3], -1, 0)
    corners = [(i // columns * (height + gap), i % columns * (width + gap)) for i in range(n)]
    return np.stack([planes[:, top : top + height, left : left + width] for top, left in corners])


def describe_tiles(tiles: np.ndarray) -> dict[str, Any]:
    """Describe each tile by a board of means per channel, and by its features.

    The boards are those of `tile_boards`. The features are the ink; the share of pixels that are on; how rough it is
    (what neighbours differ by); how grey; how colourful; the centre of its ink; and three sums with signs drawn once
    and for all, in which every single pixel counts.
    """
    boards = tile_boards(tiles)
    return {"size": list(boards.shape), "boards": pack(boards, "u1"), "features": pack(features(tiles), "<u2")}


def tile_boards(tiles: np.ndarray) -> np.ndarray:
    """Shrink tiles [N, C, h, w] to small boards, whose squares are of one size so that a board can be turned over."""
    return shrunk(tiles, *(next((k for k in BOARD if side % k == 0), min(side, BOARD[1])) for side in tiles.shape[2:]))


def features(tiles: np.ndarray) -> np.ndarray:
    """Return the FEATURES of tiles [N, C, h, w]: [N, 10], each in [0, 1]."""
    n, _, height, width = tiles.shape
    grey = tiles.mean(axis=1)
    ink = grey.mean(axis=(1, 2))
    across = np.abs(np.diff(tiles, axis=-1)).mean(axis=(1, 2, 3)) if width > 1 else np.zeros(n)
    down = np.abs(np.diff(tiles, axis=-2)).mean(axis=(1, 2, 3)) if height > 1 else np.zeros(n)
    weight = np.where(ink > 1e-9, ink * height * width, 1.0)
    x = (grey * np.linspace(0, 1, width)).sum(axis=(1, 2)) / weight
    y = (grey * np.linspace(0, 1, height)[:, None]).sum(axis=(1, 2)) / weight
    signs = np.random.default_rng(0).choice((-1.0, 1.0), (3, *tiles.shape[1:]))
    sums = np.tensordot(tiles, signs, axes=([1, 2, 3], [1, 2, 3])) / np.sqrt(tiles[0].size)
    middling = np.minimum(tiles, 1 - tiles).mean(axis=(1, 2, 3)) * 2
    colour = (tiles.max(axis=1) - tiles.min(axis=1)).mean(axis=(1, 2))
    on = (4 * (grey - 0.5) + 0.5).clip(0, 1).mean(axis=(1, 2))  # no jump where a pixel is half on
    columns = [ink, on, (across + down) / 2, middling, colour, x, y]
    return np.concatenate([np.stack(columns, axis=1), 0.5 + sums / 16], axis=1).clip(0, 1)
