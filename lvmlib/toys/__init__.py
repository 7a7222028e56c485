"""Densities in the plane that are easy to look at and hard to fit, each with its exact log-density.

The shapes are those on which flows are usually shown (Grathwohl et al. 2019, *FFJORD*, section 5.1, and their code), at
the same scale: all lie within :math:`[-5, 5]^2`. Where the usual recipe for drawing samples has no density in closed
form, the recipe was changed slightly, and the docstring says how; `log_prob` and `sample` always belong to the same
density.
"""

from __future__ import annotations

from lvmlib.base import Density
from lvmlib.toys.curves import TwoMoons, TwoSpirals
from lvmlib.toys.plane import _Toy
from lvmlib.toys.shapes import Checkerboard, EightGaussians, Pinwheel, Rings

__all__ = ["TOYS", "Checkerboard", "EightGaussians", "Pinwheel", "Rings", "TwoMoons", "TwoSpirals", "toy"]

TOYS: dict[str, type[_Toy]] = {
    "eight_gaussians": EightGaussians,
    "checkerboard": Checkerboard,
    "two_moons": TwoMoons,
    "rings": Rings,
    "pinwheel": Pinwheel,
    "two_spirals": TwoSpirals,
}
"""The densities by name.

:meta hide-value:
"""


def toy(name: str) -> Density:
    """Make the toy density called `name`, one of the keys of `TOYS`.

    Raises:
        ValueError: there is none of that name.

    Example:
        >>> from lvmlib.toys import toy
        >>> toy("checkerboard").sample(5).shape
        torch.Size([5, 2])
    """
    if name not in TOYS:
        raise ValueError(f"There is no toy density {name!r}; the names are {', '.join(TOYS)}.")
    return TOYS[name]()
