from functools import partial

import numpy as np
import pytest
import torch

from lvmlib.data import Data
from lvmlib.runs.settings import differences, digest, named


class Source:
    def __init__(self, data, width=3):
        self.data, self.width, self.numbers = data, width, np.arange(4)

    def __len__(self):
        return len(self.data)

    def batch(self, index):
        raise AssertionError("a digest draws nothing")


def test_a_digest_tells_apart_what_differs_and_nothing_else():
    x, y = torch.arange(24, dtype=torch.uint8).view(6, 4), torch.arange(6)
    cases = [
        x, x.clone().flip(0), x[:5], x.float(), x.view(6, 2, 2), (x, y), (x, y + 1), (x,), Data(x), Data(x, y),
        Data(x, binarize="stochastic"), Data(x, levels=24), Source(Data(x)), Source(Data(x), 4), Source(Data(x + 1)),
        x.bfloat16(), x[:0], x == 1,
    ]  # fmt: skip
    digests = [digest(case) for case in cases]
    assert len(set(digests)) == len(cases) and all(len(d) == 16 for d in digests)
    assert digest(Source(Data(x.clone(), y.clone()))) == digest(Source(Data(x, y))) and digest(None) is None


def test_a_digest_reads_a_fixed_number_of_rows():
    x = torch.zeros(10_000, 3)
    before = digest(x)
    for row, seen in ((0, True), (9_999, True), (17, False)):
        changed = x.clone()
        changed[row] = 1
        assert (digest(changed) != before) == seen


def test_settings_as_they_are_compared():
    def loss(model, batch):
        return batch

    assert named(loss) == named(partial(loss, 1)) == "loss"
    assert [named(value) for value in (None, np.int64(3), np.float32(0.5), True, "a", (0.9, 0.99))] == [
        None, 3, 0.5, True, "a", (0.9, 0.99),
    ]  # fmt: skip
    assert type(named(np.int64(3))) is int and type(named(np.float64(0.1))) is float


@pytest.mark.parametrize(
    ("found", "now", "text"),
    [
        ({"a": 1}, {"a": 1, "new": False}, ""),
        ({"a": 1, "old": None}, {"a": 1}, ""),
        ({"a": 1}, {"a": 1, "new": 2}, "new None (now 2)"),
        ({"b": 3, "a": 1}, {"a": 2}, "a 1 (now 2), b 3 (now None)"),
    ],
)
def test_differences(found, now, text):
    assert differences(found, now) == text


def test_data_of_another_kind_are_other_data_even_with_the_same_parts():
    class One:
        batch = None

        def __init__(self):
            self.x = torch.arange(3.0)

    class Other(One):
        pass

    assert digest(One()) == digest(One()) != digest(Other())
