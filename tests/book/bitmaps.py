"""Judges pictures by what they look like from afar: their shape, their size, their forms and their colours."""

from __future__ import annotations

import base64
import functools
import io
import math

import numpy as np
from PIL import Image

from tests.book.tolerance import Tolerance

PICTURES = ("image/png", "image/jpeg")
COLOURFUL = 1.3  # by which factor colours may become stronger or weaker


@functools.lru_cache(maxsize=4)
def decode(picture: str) -> np.ndarray:
    """Return a base64 picture as floats in [0, 1], [H, W, 3], laid on white paper."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGBA")
    paper = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(paper, image).convert("RGB"), dtype=float) / 255


def coarse(picture: np.ndarray, board: int) -> np.ndarray:
    """Return a picture shrunk to a square board: [3, board, board]."""
    channels = (Image.fromarray(c.astype(np.float32)) for c in np.moveaxis(picture, -1, 0))
    return np.stack([np.asarray(c.resize((board, board), Image.Resampling.BOX)) for c in channels])


def picture_distance(stored: np.ndarray, new: np.ndarray, board: int = 16) -> float:
    """Return the relative RMS between two pictures on a coarse board: 0 if equal, about 1 if unrelated."""

    def rms(x: np.ndarray) -> float:
        return float(np.sqrt(np.mean(x**2)))

    a, b = coarse(stored, board), coarse(new, board)
    edge = np.concatenate([stored[0], stored[-1], stored[:, 0], stored[:, -1]])
    background = np.median(edge, axis=0)[:, None, None]
    size = max(rms(a - background), rms(b - background))
    return rms(a - b) / size if size > 1e-9 else 0.0


def colourfulness(picture: np.ndarray) -> float:
    """Return how far, in the mean over a picture seen from afar, its strongest channel lies above its weakest."""
    channels = coarse(picture, 64)
    return float((channels.max(axis=0) - channels.min(axis=0)).mean())


def compare_pictures(stored: str, new: str, tolerance: Tolerance, strength: float = COLOURFUL) -> list[str]:
    """Return what differs between two pictures: their shape, their colours, or what they look like from afar."""
    if stored == new:
        return []
    a, b = decode(stored), decode(new)
    (height, width), (new_height, new_width) = a.shape[:2], b.shape[:2]
    if abs(math.log(width * new_height / (height * new_width))) > 0.05 or abs(math.log(width / new_width)) > 0.1:
        return [f"  the picture was {width} x {height} pixels, now it is {new_width} x {new_height}"]
    problems, colours = [], [colourfulness(x) for x in (a, b)]
    if max(colours) > strength * min(colours) + 0.002:
        problems.append(f"  the picture's colours differ in strength: expected {colours[0]:.4f}, got {colours[1]:.4f}")
    distance = picture_distance(a, b)
    if distance > tolerance.figure and not tolerance.draws:  # pictures of draws differ; their tiles are judged apart
        problems.append(
            f"  the picture looks different: relative distance {distance:.2f}, allowed {tolerance.figure:.2f}"
        )
    return problems


def compare_exactly(stored: str, new: str) -> list[str]:
    """Return what differs between two pictures that nothing describes: they must be equal, pixel by pixel."""
    if stored == new:
        return []
    a, b = decode(stored), decode(new)
    same = a.shape == b.shape and float(np.abs(a - b).max()) <= 2.5 / 255  # two levels
    return [] if same else ["  the pictures differ, and no figure of matplotlib's describes what they show"]
