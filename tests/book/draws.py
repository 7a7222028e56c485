"""Judges grids of images: tiles of data one by one, tiles that a model drew as samples of one distribution.

Other draws of the same model are as good as the stored ones, so draws are compared by statistics: how far the means of
a row (or column) moved, in standard errors; how far its mean image did; whether the images stand upright; whether they
are all the same, or copies of the data beside them. The limits below were set between what other seeds gave in all
sample figures of the book and what wrong pictures gave: noise, grey, exchanged, upside down, all of one class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from book._tools.images import FEATURES, GRID, unpack
from tests.book.tolerance import Tolerance

MOVED = 4.5  # standard errors by which the mean of a feature may move: seeds gave up to 3.0, once in 600 4.8
MEAN_IMAGE = 4.5  # squared distance of two mean images, in units of what chance gives: seeds gave up to 3.8
ALL_MEAN_IMAGES = 2.0  # the mean over G groups may be 1 + 2 / sqrt(G): seeds gave up to 1.2, with G from 2 to 16
TURNED = 2.5  # standard errors by which draws may look more like turned ones: seeds gave up to 1.5
EXCHANGED = 3.0  # and two groups like each other: once in 300 seeds 2.6, with six pairs of one kind
FLOOR = np.array([0.01, 0.01, 0.005, 0.01, 0.01, 0.02, 0.02, 0.02, 0.02, 0.02]) / 2  # of features' standard deviations


@dataclass
class Tiles:
    """What a description tells about the tiles of a grid: boards [N, C, h, w] and features [N, F]."""

    boards: np.ndarray
    features: np.ndarray

    @classmethod
    def read(cls, about: dict[str, Any]) -> Tiles:
        """Unpack a description."""
        boards = unpack(about["boards"], "u1").reshape(about["size"])
        return cls(boards, unpack(about["features"], "<u2").reshape(len(boards), len(FEATURES)))

    @property
    def flat(self) -> np.ndarray:
        """The boards as vectors."""
        return self.boards.reshape(len(self.boards), -1)


def compare_grids(stored: dict[str, Any], new: dict[str, Any], where: str, tolerance: Tolerance) -> Iterator[str]:
    """Yield what differs between two grids of images of one shape."""
    n, rows, columns = map(int, GRID.fullmatch(stored["tiles"]).groups()[:3])  # type: ignore[union-attr]
    a, b = Tiles.read(stored), Tiles.read(new)
    drawn = tolerance.drawn(rows, columns)
    moved = moved_tiles(a, b, tolerance.data) & ~drawn.ravel()[:n]
    if moved.any():
        places = ", ".join(f"row {i // columns + 1} column {i % columns + 1}" for i in np.flatnonzero(moved)[:4])
        yield f"  drawn:{where}: {moved.sum()} images of the grid are other ones, such as {places}"
    draws = np.flatnonzero(drawn.ravel()[:n])
    if len(draws) >= 2:
        groups = groups_of(drawn, n, tolerance.by_columns)
        found = [*moved_samples(a, b, groups), *turned(a.boards[draws], b.boards[draws]), *exchanged(a, b, groups)]
        copies, new_copies = coincidences(a, draws), coincidences(b, draws)
        if abs(new_copies - copies) > max(1, len(draws) // 20):
            found.append(f"{new_copies} draws equal another image of the grid, {copies} did")
        yield from (f"  drawn:{where}: {problem}" for problem in found)


def moved_tiles(a: Tiles, b: Tiles, data: float) -> np.ndarray:
    """Tell which tiles are not what they were: [N]."""
    slack = np.array([data / 3 if "sum" in name else data for name in FEATURES]) + 2 / 65534
    boards = (np.abs(a.boards - b.boards) > data + 1.01 / 254).any(axis=(1, 2, 3))
    return np.asarray(boards | (np.abs(a.features - b.features) > slack).any(axis=1))


def groups_of(drawn: np.ndarray, n: int, by_columns: bool) -> list[tuple[str, np.ndarray]]:
    """Return the rows, and if wanted the columns, of draws, with their tiles; all draws when they are few."""
    index = np.arange(drawn.size).reshape(drawn.shape)
    drawn = drawn & (index < n)
    found = [(f"row {i + 1}", index[i][drawn[i]]) for i in range(len(index))]
    if by_columns:
        found += [(f"column {j + 1}", index[:, j][drawn[:, j]]) for j in range(index.shape[1])]
    return [(name, tiles) for name, tiles in found if len(tiles) >= 3] or [("all", index[drawn])]


def moved_samples(a: Tiles, b: Tiles, groups: list[tuple[str, np.ndarray]]) -> Iterator[str]:
    """Yield a line for each group of draws that do not look like draws from the same distribution."""
    tiles = [g for _, g in groups]
    deviation = np.sqrt((variance_within(a.features, tiles) + variance_within(b.features, tiles)) / 2 + FLOOR**2)
    noise = (variance_within(a.flat, tiles) + variance_within(b.flat, tiles)).sum() / 2 + 1e-3
    distances = []
    for name, g in groups:
        chance = 2 / len(g)
        moved = np.abs(a.features[g].mean(axis=0) - b.features[g].mean(axis=0)) / deviation / chance**0.5
        if moved.max() > MOVED:
            yield f"{name}: {FEATURES[moved.argmax()]!r} of the draws moved by {moved.max():.1f} standard errors"
        distances.append(((a.flat[g].mean(axis=0) - b.flat[g].mean(axis=0)) ** 2).sum() / noise / chance)
        if distances[-1] > MEAN_IMAGE:
            yield f"{name}: the draws have another mean image, {distances[-1]:.1f} times as far as by chance"
    if np.mean(distances) > 1 + ALL_MEAN_IMAGES / len(groups) ** 0.5:
        yield f"the draws have other mean images, {np.mean(distances):.1f} times as far as by chance"


def variance_within(values: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Return the variance of values [N, D] about the means of their groups, pooled: [D]."""
    squares = sum(((values[g] - values[g].mean(axis=0)) ** 2).sum(axis=0) for g in groups)
    return np.asarray(squares / max(1, sum(len(g) - 1 for g in groups)))


def turned(boards: np.ndarray, new_boards: np.ndarray) -> Iterator[str]:
    """Yield a line if the new draws look more like the stored ones upside down or mirrored than as they are.

    A linear discriminant between the stored draws and the same turned over; its sign is what counts.
    """
    for name, axis in {"upside down": -2, "mirrored": -1}.items():
        stands = standing(likeness(boards, np.flip(boards, axis), new_boards))
        if stands < -TURNED:
            yield f"the draws look {name} ({-stands:.1f} standard errors)"


def exchanged(a: Tiles, b: Tiles, groups: list[tuple[str, np.ndarray]]) -> Iterator[str]:
    """Yield a line for the first two groups each of which looks more like what the other was than like what it was."""
    old, new = (np.concatenate([tiles.flat, 5 * tiles.features], axis=1) for tiles in (a, b))  # spread about alike
    for (name, g), (other, h) in combinations(groups, 2):
        if not np.intersect1d(g, h).size:
            stays = [standing(likeness(old[i], old[j], new[i])) for i, j in ((g, h), (h, g))]
            if max(stays) < -EXCHANGED:
                yield f"{name} and {other} look exchanged ({-max(stays):.1f} standard errors)"
                return


def standing(scores: np.ndarray) -> float:
    """Return the mean of scores in its standard errors."""
    return float(scores.mean() / (scores.std() / np.sqrt(len(scores)) + 0.05))


def likeness(these: np.ndarray, others: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return for each new tile about 1 if it looks like these and about -1 if it looks like the others."""
    a, b, x = (part.reshape(len(part), -1) for part in (these, others, new))
    centred = np.concatenate([a - a.mean(axis=0), b - b.mean(axis=0)])
    covariance = centred.T @ centred / len(centred)
    size = len(covariance)
    covariance += (0.3 * np.trace(covariance) / size + 1e-4) * np.eye(size)  # shrunk: tiles are fewer than squares
    apart = a.mean(axis=0) - b.mean(axis=0)
    weights = np.linalg.solve(covariance, apart)
    return np.asarray(2 * (x - (a.mean(axis=0) + b.mean(axis=0)) / 2) @ weights / (apart @ weights + 1e-9))


def coincidences(tiles: Tiles, draws: np.ndarray) -> int:
    """Return how many draws equal another image of the grid, data or drawn."""
    values = np.concatenate([tiles.flat, tiles.features], axis=1)
    distance = np.abs(values[draws][:, None] - values[None]).max(axis=-1)  # [draws, N]
    distance[np.arange(len(draws)), draws] = np.inf
    return int((distance.min(axis=1) < 1e-3).sum())
