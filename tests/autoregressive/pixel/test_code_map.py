"""Codes as a map for a pixel model: names, not magnitudes; places and classes where they belong."""

import pytest
import torch

from lvmlib.autoregressive import CodeMap
from tests.precision import double_precision  # noqa: F401


def test_a_map_of_codes_knows_names_and_not_magnitudes():
    """Another numbering of the codes, with the rows of the table to match, is the same map."""
    maps = CodeMap((1, 2, 3), levels=5, features=4, scale=2)
    codes, order = torch.randint(5, (7, 1, 2, 3)), torch.randperm(5)
    out = maps(codes.double())
    assert out.shape == (7, 4, 4, 6)
    maps.values.weight.data = maps.values.weight.data[order.argsort()]
    torch.testing.assert_close(maps(order[codes].double()), out)
    assert not torch.allclose(maps(codes.double()), out)


def test_a_place_is_told_of_codes_near_by_alone_and_every_place_of_the_class():
    maps = CodeMap((1, 3, 6), levels=5, features=4, scale=2, context=3)
    codes, labels = torch.randint(5, (1, 1, 3, 6)).double(), torch.tensor([1])
    other = codes.clone()
    other[0, 0, 0, 0] = (other[0, 0, 0, 0] + 1) % 5
    change = (maps(codes, labels) - maps(other, labels)).abs().sum(1)[0]  # [6, 12]
    assert (change[:2, :2] > 0).all() and not change[:, 6:].any()
    torch.testing.assert_close(maps(codes, labels), maps(codes, torch.eye(3)[labels]))
    assert ((maps(codes, labels) - maps(codes, torch.tensor([2]))).abs().sum(1) > 0).all()


def test_refusals():
    for shape in ((4,), (2, 3, 3)):
        with pytest.raises(ValueError, match=r"codes of shape \(1, h, w\)"):
            CodeMap(shape, 3, 2)
    maps = CodeMap((1, 2, 2), 3, 2, context=4)
    with pytest.raises(ValueError, match="codes must have shape"):
        maps(torch.zeros(5, 2, 2), torch.zeros(5, 4))
    with pytest.raises(ValueError, match="needs one"):
        maps(torch.zeros(5, 1, 2, 2))
