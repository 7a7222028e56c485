"""Mu-law codes are those of its formula."""

from __future__ import annotations

import math

import pytest
import torch

from lvmlib.data import mu_law_decode, mu_law_encode


def test_mu_law_is_its_formula():
    """Against the formula in Python's own arithmetic, at every 16-bit amplitude."""
    samples = range(-32768, 32768)
    expected = [
        math.floor(255 * (math.copysign(math.log(1 + 255 * abs(s / 32768)) / math.log(256), s) + 1) / 2 + 0.5)
        for s in samples
    ]
    x = torch.tensor(samples, dtype=torch.float64) / 32768
    assert mu_law_encode(x).tolist() == expected
    assert mu_law_encode(x.float()).tolist() == expected, "16 bits and a power of two: exact in float32"
    assert mu_law_encode(torch.tensor([[-7.0, 7.0]])).tolist() == [[0, 255]], "clipped"


@pytest.mark.parametrize("levels", [2, 3, 17, 128, 256])
def test_mu_law_there_and_back(levels):
    codes = torch.arange(levels)
    x = mu_law_decode(codes, levels)
    assert x.dtype == torch.float32
    assert mu_law_encode(x, levels).tolist() == codes.tolist()
    assert (x.diff() > 0).all()
    assert torch.allclose(x, -x.flip(0)), "an odd function"
    assert (x[0], x[-1]) == (-1, 1)
    # No amplitude is farther from what its code stands for than the neighbours of that code are.
    sound = torch.linspace(-1, 1, 10_001)
    code = mu_law_encode(sound, levels).long()
    low, high = x[(code - 1).clamp(min=0)], x[(code + 1).clamp(max=levels - 1)]
    assert ((low <= sound) & (sound <= high)).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mu_law_encode(torch.tensor([1, 0])), TypeError, "floating-point tensor .*int64"),
        (lambda: mu_law_encode(torch.tensor([0.0, math.nan])), ValueError, "NaN"),
        (lambda: mu_law_encode(torch.zeros(1), levels=257), ValueError, "from 2 to 256, but it is 257"),
        (lambda: mu_law_decode(torch.tensor([0, 16]), levels=16), ValueError, "from 0 to 16"),
        (lambda: mu_law_decode(torch.tensor([-1])), ValueError, "from -1 to -1"),
        (lambda: mu_law_decode(torch.tensor([0]), levels=True), ValueError, "but it is True"),
    ],
)
def test_bad_mu_law(call, error, message):
    with pytest.raises(error, match=message):
        call()
