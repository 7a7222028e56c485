"""Huffman's code against all lengths that satisfy Kraft's inequality; Kraft's inequality against all short codes."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from lvmlib.compression import huffman_code, kraft_sum, prefix_code, prefix_decode
from lvmlib.information import entropy


def shortest_by_brute_force(p):
    """The least mean length over all lengths with Kraft sum at most one (none above K - 1 is ever needed)."""
    best = math.inf
    for lengths in itertools.product(range(1, len(p)), repeat=len(p)):
        if sum(Fraction(1, 2**n) for n in lengths) <= 1:
            best = min(best, sum(pi * n for pi, n in zip(p, lengths, strict=True)))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_huffman_is_optimal(seed):
    size = 2 + seed % 4
    p = np.random.default_rng(seed).dirichlet(np.full(size, [0.3, 1.0, 10.0][seed % 3]))
    code = huffman_code(p)
    mean_length = sum(p[s] * len(w) for s, w in code.items())
    assert mean_length == pytest.approx(shortest_by_brute_force(p), rel=1e-12)
    assert kraft_sum(len(w) for w in code.values()) == 1
    assert entropy(p) - 1e-12 <= mean_length < entropy(p) + 1


@pytest.mark.parametrize("size", [2, 3, 10, 257, 1000])
def test_huffman_codewords_are_prefix_free_and_decode(size):
    p = np.random.default_rng(size).dirichlet(np.ones(size))
    code = huffman_code(p)
    assert not any(a != b and b.startswith(a) for a, b in itertools.pairwise(sorted(code.values())))
    symbols = np.random.default_rng(0).choice(size, p=p, size=500).tolist()
    assert prefix_decode("".join(code[s] for s in symbols), code) == symbols
    assert entropy(p) <= sum(p[s] * len(w) for s, w in code.items()) < entropy(p) + 1


def test_huffman_corner_cases():
    assert huffman_code([1.0]) == {0: ""}
    assert huffman_code({"only": 1.0}) == {"only": ""}
    assert huffman_code([0.0, 1.0, 0.0]) == {1: ""}
    assert huffman_code([0.5, 0.0, 0.5]) == {0: "0", 2: "1"}
    assert huffman_code([0.25] * 4) == {0: "00", 1: "01", 2: "10", 3: "11"}  # ties
    assert huffman_code(torch.tensor([0.25, 0.5, 0.25])) == {0: "10", 1: "0", 2: "11"}
    assert list(huffman_code({"z": 0.1, "a": 0.9})) == ["z", "a"]
    skewed = huffman_code([2.0**-i for i in range(1, 20)] + [2.0**-19])
    assert [len(w) for w in skewed.values()] == [*range(1, 20), 19]


def test_kraft():
    assert kraft_sum([1, 2, 3, 3]) == 1 and kraft_sum([]) == 0
    for lengths in itertools.product(range(4), repeat=4):
        if sum(2.0**-n for n in lengths) > 1:
            with pytest.raises(ValueError, match="Kraft sum"):
                prefix_code(lengths)
        else:
            words = list(prefix_code(lengths).values())
            assert [len(w) for w in words] == list(lengths)
            assert not any(i != j and b.startswith(a) for i, a in enumerate(words) for j, b in enumerate(words))


def test_prefix_decode_rejects():
    with pytest.raises(ValueError, match="not a prefix code"):
        prefix_decode("01", {"a": "0", "b": "01"})
    with pytest.raises(ValueError, match="not a prefix code"):
        prefix_decode("01", {"a": "0", "b": "0"})
    with pytest.raises(ValueError, match="not a prefix code"):
        prefix_decode("", {"a": ""})
    with pytest.raises(ValueError, match="left over after 1"):
        prefix_decode("10", {"a": "00", "b": "01", "c": "1"})
    with pytest.raises(ValueError, match="left over"):
        prefix_decode("2", {"a": "0", "b": "1"})


@pytest.mark.parametrize("kind", [np.asarray, lambda p: torch.tensor(p, dtype=torch.float64)], ids=["numpy", "torch"])
@pytest.mark.parametrize("bad", [[0.5, 0.6], [-0.5, 1.5], [math.nan, 1.0], [0.2, 0.2], [3.0, 4.0], []])
def test_no_distribution(kind, bad):
    with pytest.raises(ValueError, match="probabilities"):
        huffman_code(kind(bad))


def test_other_errors():
    with pytest.raises(ValueError, match="negative"):
        kraft_sum([-1, 2])
    with pytest.raises(ValueError, match="vector"):
        huffman_code([[0.5, 0.5]])
