"""Which models, shapes and families are tried together."""

import itertools

import pytest
import torch

from lvmlib.autoregressive import Autoregressive
from tests.autoregressive.cases import CASES

NAMES = sorted(CASES)
FAMILIES = [{"levels": 2}, {"levels": 5}, {"levels": 7, "logistics": 2}]
FAMILY_IDS = ["binary", "categorical", "logistics"]


def fits(name: str, family: dict) -> bool:
    """Mixtures of logistics are of magnitudes, embeddings are of codes."""
    return not ("embedding" in name and "logistics" in family)


def examples(model: Autoregressive, n: int) -> torch.Tensor:
    return torch.randint(model.levels, (n, *model.event_shape)).double()


def all_states(model: Autoregressive) -> torch.Tensor:
    values = itertools.product(range(model.levels), repeat=model.dims)
    return torch.tensor(list(values), dtype=torch.float64).view(-1, *model.event_shape)


def shapes_of(name: str) -> list[tuple[int, ...]]:
    return [*CASES[name].shapes, *CASES[name].channels]


EVERY_SHAPE = [(name, shape) for name in NAMES for shape in shapes_of(name)]
EVERY_SHAPE_AND_FAMILY = [
    pytest.param(name, shape, family, id=f"{name}-{'x'.join(map(str, shape))}-{key}")
    for name, shape in EVERY_SHAPE
    for family, key in zip(FAMILIES, FAMILY_IDS, strict=True)
    if fits(name, family)
]
