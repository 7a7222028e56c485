"""What tests of homework use: inputs by seed, comparisons that explain, answers that are one's own."""

import math

import numpy as np
import pytest
import torch

import lvmlib
from lvmlib.homework.checking import SEED, close, own, rng, seeded


def test_a_name_and_a_seed_decide_the_numbers(monkeypatch):
    with seeded(3):
        first = rng("a").normal(size=4)
        assert (rng("a").normal(size=4) == first).all()
        assert not (rng("b").normal(size=4) == first).any()
        with seeded(4):
            assert not (rng("a").normal(size=4) == first).any()
        assert (rng("a").normal(size=4) == first).all()
    monkeypatch.setenv(SEED, "3")
    assert (rng("a").normal(size=4) == first).all()


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (None, "return"),
        (..., "not answered"),
        ("0.5", "expected numbers, got str"),
        ([[1], [2, 3]], "expected numbers, got list"),
        (np.array([0.5, 0.5]), r"expected shape \(\), got \(2,\)"),
        (math.nan, "NaN"),
        (0.6, "the entropy"),
        (np.array(object()), "expected numbers"),
    ],
)
def test_what_differs_is_said(got, message):
    with pytest.raises(AssertionError, match=message):
        close(got, 0.5, "the entropy")


def test_numbers_arrays_and_tensors_are_alike():
    close(torch.tensor(0.1), 0.1, "float32 rounds")
    close(np.float64(0.1), torch.tensor(0.1), "float32 rounds")
    close([1, 2], torch.tensor([1.0, 2.0]), "a list")
    close(-math.inf, -math.inf, "infinite")
    with pytest.raises(AssertionError):
        close(0.1 + 1e-6, 0.1, "float64 does not")


def helper(model, x):
    return lvmlib.elbo(model, x)


def calls_a_helper(model, x):
    return helper(model, x) + 1


def imports_inside(model, x):
    from lvmlib.bounds import elbo

    return elbo(model, x)


def nested(model, x):
    return [lvmlib.elbo(model, row) for row in x]


class Borrowed(torch.nn.Module):
    def forward(self, x):
        return lvmlib.MADE(x)


class Child(lvmlib.MADE):
    pass


BORROWED = [helper, calls_a_helper, imports_inside, nested, Borrowed, Child, lvmlib.MADE, lvmlib.elbo]


@pytest.mark.parametrize("answer", BORROWED)
def test_an_answer_of_the_library_is_refused(answer):
    with pytest.raises(AssertionError, match="lvmlib"):
        own(answer)


def test_an_answer_of_ones_own_passes():
    def own_bound(log_w):
        return torch.logsumexp(log_w, 0) - math.log(len(log_w))

    own(own_bound, torch.nn.Linear, calls_itself)
    with pytest.raises(AssertionError, match="not defined"):
        own(None)


def calls_itself(n):
    return n and calls_itself(n - 1)
