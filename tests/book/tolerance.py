"""How far the values of one cell may move, as its metadata declare: `tolerance={"rtol": 0.05}`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

FIGURE, FIGURE_TRAINED = 0.2, 0.35  # relative RMS up to which two pictures look alike; the second with a tolerance
FIGURE_OTHER = 0.5  # and where another matplotlib drew one of them: from here on pictures are wrong
DATA = 1e-3  # share of its own range by which drawn data may move

# A looser tolerance would leave nothing to check: a number that may move by more than a fifth, a curve by more than a
# fifth of its range, or a picture by more than 0.35 can hardly be told from another: wrong pictures begin at 0.5.
CAPS = {"rtol": 0.2, "atol": 2.0, "figure": FIGURE_TRAINED, "data": 0.2}

DRAWS = re.compile(r"(rows?|columns?) (\d+)(?:-(\d+))?|axes (\d+)|all")


@dataclass(frozen=True)
class Tolerance:
    """How far the values of one cell may move.

    Args:
        rtol: relative tolerance of numbers that are no integers.
        atol: absolute tolerance of numbers, integers included.
        figure: largest relative RMS between pictures.
        data: share of its range by which drawn data may move; unless declared, it follows from `rtol` and `figure`, but
            where there are draws, what is no draw must be what it was.
        draws: which tiles of a grid of images are draws of a model, so that other ones would be as good: "rows 2-6",
            "columns 2-6" (draws under a condition, each row or column of the grid its own), "row 3", "all"; or which
            axes of a figure show a draw as a curve: "axes 3". Of such a curve only the distribution of values counts.
    """

    rtol: float = 0.0
    atol: float = 0.0
    figure: float = FIGURE
    data: float = DATA
    draws: tuple[str, ...] = ()

    @classmethod
    def of_cell(cls, metadata: Any) -> Tolerance:
        """Read the tolerance that a cell declares in its metadata.

        Raises:
            ValueError: an unknown name, a value that is no number >= 0 or lies above its cap, or draws that name no
                rows or columns.
        """
        declared = metadata.get("tolerance", {})
        names = list(cls.__dataclass_fields__)
        if not isinstance(declared, dict) or not set(declared) <= set(names):
            raise ValueError(f"the cell's tolerance must be a dictionary with keys among {names}, got {declared!r}")
        draws = declared.get("draws", [])
        if not isinstance(draws, list) or not all(isinstance(d, str) and DRAWS.fullmatch(d) for d in draws):
            raise ValueError(f'the cell\'s tolerance "draws" must be a list such as ["rows 2-6"], got {draws!r}')
        numbers = {name: value for name, value in declared.items() if name != "draws"}
        for name, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise ValueError(f"the cell's tolerance {name!r} must be a number >= 0, got {value!r}")
            if value > CAPS[name]:
                raise ValueError(f"the cell's tolerance {name!r} is {value!r}, more than the {CAPS[name]} allowed")
        if not declared:
            return cls()
        drawn = DATA if draws else max(DATA, declared.get("rtol", 0.0), declared.get("figure", 0.0) / 2)
        return cls(**{"figure": FIGURE_TRAINED, "data": drawn, **numbers, "draws": tuple(draws)})

    def drawn(self, rows: int, columns: int) -> np.ndarray:
        """Tell which tiles of a grid are draws: [rows, columns], True or False."""
        found = np.zeros((rows, columns), dtype=bool)
        for declared in self.draws:
            kind, first, last, axes = DRAWS.fullmatch(declared).groups()  # type: ignore[union-attr]
            if axes is None:
                part = slice(int(first) - 1, int(last or first)) if first else slice(None)
                found[part if not kind or kind.startswith("row") else (slice(None), part)] = True
        return found

    @property
    def by_columns(self) -> bool:
        """Tell whether the columns of a grid, too, are groups of draws."""
        return any(declared.startswith("column") for declared in self.draws)

    @property
    def axes(self) -> list[int]:
        """The axes, counted from 1, that show a draw as a curve."""
        return [int(d.removeprefix("axes ")) for d in self.draws if d.startswith("axes ")]
