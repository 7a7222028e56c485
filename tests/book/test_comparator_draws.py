"""Grids of images: other draws of the same distribution pass, everything that is not that fails.

Real test digits stand in for the draws of a perfect model, so that other seeds cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from book._tools.images import describe_tiles
from lvmlib.data import load
from tests.book.draws import compare_grids
from tests.book.tolerance import Tolerance

SEEDS = range(1, 41)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Binary test digits [10000, 1, 28, 28], and their classes."""
    test = load("mnist", valid=0)[2]
    return (test.x.numpy() > 127).astype(float), test.y.numpy()


def grid(tiles: np.ndarray, columns: int) -> dict[str, Any]:
    n, _, height, width = tiles.shape
    name = f"grid of {n}: {-(-n // columns)} x {columns} tiles of {height} x {width}, gap 2"
    return {"tiles": name, **describe_tiles(tiles)}


def judge(stored: np.ndarray, new: np.ndarray, columns: int, draws: list[str], data: float = 1e-3) -> list[str]:
    return list(compare_grids(grid(stored, columns), grid(new, columns), "", Tolerance(draws=tuple(draws), data=data)))


# Each layout: columns, what is declared, which tiles are draws, and the images for a seed.


def rows(digits: tuple, seed: int) -> np.ndarray:
    """Two rows of data, four of draws."""
    drawn = np.random.default_rng(seed).choice(5000, 48, replace=False)
    return np.concatenate([digits[0][9000:9024], digits[0][drawn]])


def one_row(digits: tuple, seed: int) -> np.ndarray:
    """A row of data and one of draws."""
    return np.concatenate(
        [digits[0][9000:9012], digits[0][np.random.default_rng(seed).choice(5000, 12, replace=False)]]
    )


def classes(digits: tuple, seed: int) -> np.ndarray:
    """Six draws of each digit, a column each."""
    rng = np.random.default_rng(seed)
    of_class = np.stack(
        [rng.choice(np.flatnonzero(digits[1][:5000] == k), 6, replace=False) for k in range(10)], axis=1
    )
    return digits[0][of_class.ravel()]


def conditional(digits: tuple, seed: int) -> np.ndarray:
    """What was told, five draws given it (the digit with a ragged edge), and the original."""
    original = digits[0][9000:9005]
    flips = np.random.default_rng(seed).random((5, 5, 1, 28, 28)) < 0.3 * edge(original)[:, None]
    draws = np.where(flips, 1 - original[:, None], original[:, None])
    told = original.reshape(5, 1, 7, 4, 7, 4).mean(axis=(3, 5)).repeat(4, axis=2).repeat(4, axis=3)
    return np.concatenate([told[:, None], draws, original[:, None]], axis=1).reshape(35, 1, 28, 28)


def edge(x: np.ndarray) -> np.ndarray:
    around = [np.roll(x, shift, axis) for shift in (1, -1) for axis in (-1, -2)]
    return np.max([*around, x], axis=0) - np.min([*around, x], axis=0)


LAYOUTS: dict[str, tuple[int, list[str], slice | np.ndarray, Callable]] = {
    "rows": (12, ["rows 3-6"], np.arange(24, 72), rows),
    "one row": (12, ["row 2"], np.arange(12, 24), one_row),
    "classes": (10, ["columns 1-10"], np.arange(60), classes),
    "conditional": (7, ["columns 2-6"], np.arange(35).reshape(5, 7)[:, 1:6].ravel(), conditional),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_seeds_pass(layout, digits):
    columns, draws, _, make = LAYOUTS[layout]
    stored = make(digits, 0)
    found = {seed: problems for seed in SEEDS if (problems := judge(stored, make(digits, seed), columns, draws))}
    assert found == {}


def noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (rng.random(x.shape) < x.mean()).astype(float)


def all_of_one_class(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (
        np.roll(x[:1], 1, axis=-1) if len(x) == 1 else np.concatenate([x[:1]] * len(x)) * rng.permuted(x, axis=0) ** 0
    )


def shuffled_pixels(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permuted(x.reshape(len(x), -1), axis=1).reshape(x.shape)


WRONG: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "noise": noise,
    "pixels shuffled": shuffled_pixels,
    "grey": lambda x, rng: np.full_like(x, x.mean()),
    "blank": lambda x, rng: np.zeros_like(x),
    "faint": lambda x, rng: 0.7 * x,
    "inverted": lambda x, rng: 1 - x,
    "upside down": lambda x, rng: x[:, :, ::-1],
    "on their side": lambda x, rng: x.swapaxes(-1, -2),
    "moved down": lambda x, rng: np.roll(x, 3, axis=-2),
    "moved to the right": lambda x, rng: np.roll(x, 3, axis=-1),
    "wide strokes": lambda x, rng: np.max(
        [np.roll(x, (i, j), (-2, -1)) for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0
    ),
    "blurred": lambda x, rng: (x + sum(np.roll(x, s, a) for s in (1, -1) for a in (-1, -2))) / 5,
    "specks": lambda x, rng: np.where(rng.random(x.shape) < 0.06, 1 - x, x),
    "all the same": all_of_one_class,
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_wrong_draws_fail(layout, wrong, digits):
    columns, draws, drawn, make = LAYOUTS[layout]
    stored, new = make(digits, 0), make(digits, 1)  # what is wrong comes with another seed: nothing else is equal
    rng = np.random.default_rng(0)
    new[drawn] = WRONG[wrong](new[drawn], rng)
    assert judge(stored, new, columns, draws), "this difference was not noticed"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mirrored_draws_fail(layout, digits):
    """Of few digits one cannot tell whether they are mirrored unless they are the same ones."""
    columns, draws, drawn, make = LAYOUTS[layout]
    stored, new = make(digits, 0), make(digits, 1 if layout in ("classes", "conditional") else 0)
    new[drawn] = new[drawn][..., ::-1]
    assert judge(stored, new, columns, draws)


@pytest.mark.parametrize(("name", "axis"), [("upside down", -2), ("mirrored", -1)])
def test_turned_draws_are_called_so(name, axis, digits):
    """Those of one class, where it is plain which side is up."""
    sevens = digits[0][np.flatnonzero(digits[1] == 7)]
    stored, new = sevens[:48], sevens[48:96]
    assert not [line for line in judge(stored, new, 12, ["all"]) if "draws look" in line]
    assert [line for line in judge(stored, np.flip(new, axis), 12, ["all"]) if f"the draws look {name}" in line]


def exchanged(columns: int, one: int, other: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a change that exchanges two columns of a grid."""

    def change(x: np.ndarray) -> np.ndarray:
        order = np.arange(len(x)).reshape(-1, columns)
        order[:, [one, other]] = order[:, [other, one]]
        return x[order.ravel()]

    return change


def one_pixel(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[0, 0, 14, 14] = 1 - x[0, 0, 14, 14]
    return x


GRIDS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "a row of data is noise": ("rows", lambda x: np.concatenate([(x[:12] + x[12:24]) % 2, x[12:]])),
    "rows of data exchanged": ("rows", lambda x: np.concatenate([x[12:24], x[:12], x[24:]])),
    "rows of draws exchanged": ("rows", lambda x: x[[*range(24), *range(36, 48), *range(24, 36), *range(48, 72)]]),
    "data in place of draws": ("rows", lambda x: np.concatenate([x[:24], x[:24], x[:24]])),
    "draws in place of data": ("rows", lambda x: np.concatenate([x[24:48], x[24:]])),
    "a tile of data upside down": ("rows", lambda x: np.concatenate([x[:1, :, ::-1], x[1:]])),
    "a tile of data mirrored": ("one row", lambda x: np.concatenate([x[:1, ..., ::-1], x[1:]])),
    "one pixel of the data": ("one row", one_pixel),
    "two tiles of data exchanged": ("one row", lambda x: x[[1, 0, *range(2, 24)]]),
    "classes exchanged": ("classes", exchanged(10, 0, 1)),
    "all of one class": ("classes", lambda x: x[np.arange(60) // 10 * 10 + 1]),
    "classes in another order": ("classes", lambda x: x[np.arange(60).reshape(6, 10)[:, ::-1].ravel()]),
    "told and original exchanged": ("conditional", exchanged(7, 0, 6)),
    "a draw and the original exchanged": ("conditional", exchanged(7, 1, 6)),
    "the originals as draws": (
        "conditional",
        lambda x: x[np.where(np.arange(35) % 7 == 0, np.arange(35), np.arange(35) // 7 * 7 + 6)],
    ),
    "draws under another condition": (
        "conditional",
        lambda x: x[np.where(np.isin(np.arange(35) % 7, (0, 6)), np.arange(35), (np.arange(35) + 7) % 35)],
    ),
}


@pytest.mark.parametrize("wrong", GRIDS)
def test_wrong_grids_fail(wrong, digits):
    layout, change = GRIDS[wrong]
    columns, draws, _, make = LAYOUTS[layout]
    stored = make(digits, 0)
    assert judge(stored, stored, columns, draws) == []
    assert judge(stored, change(stored), columns, draws), "this difference was not noticed"


def test_nothing_is_a_draw_unless_declared(digits):
    stored, new = rows(digits, 0), rows(digits, 1)
    problems = judge(stored, new, 12, [])
    assert "48 images of the grid are other ones, such as row 3 column 1" in problems[0]
    assert judge(stored, stored + 1e-5, 12, []) == []
    faint = stored.copy()
    faint[:12] *= 0.97
    assert judge(stored, faint, 12, [])
    assert judge(stored, faint, 12, [], data=0.05) == []
