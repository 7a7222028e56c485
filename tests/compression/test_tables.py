"""What reaches the coders is decided by whole numbers alone: our runs come out of constriction slot by slot."""

from __future__ import annotations

import math
import sys

import constriction
import numpy as np
import pytest
import torch

from lvmlib.compression import TOTAL, Decoder, Encoder, Stack, slots
from lvmlib.compression.tables import indices, weights

QUEUE = "0e3b90bd4d4d990a69c3bd893bdb504d9290a89c3d5d4986125c"
STACK = "f5e125d89dcf30fd67b39aca8fbf2c7c57c85c30628e2d935e442ddfa34b29341a"
SCALE = (2**64 - 1) >> 24  # length of one slot in a fresh range coder


def cut(sizes):
    """A table from sizes of runs, without any probability."""
    return np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.int64))])


def random_cuts():
    """Runs of every kind: a few slots, many, one; at the front, in the middle, at the end."""
    rng = np.random.default_rng(0)
    for size in (2, 3, 5, 17, 256, 1000):
        yield cut(np.diff(np.sort([0, *rng.choice(TOTAL - 1, size - 1, replace=False) + 1, TOTAL])))
        for big in (0, size // 2, size - 1):
            sizes = np.ones(size, dtype=np.int64)
            sizes[big] += TOTAL - size
            yield cut(sizes)
    for size in (4096, 65_536):
        sizes = rng.multinomial(TOTAL - size, rng.dirichlet(np.full(size, 0.02))) + 1
        yield cut(sizes)
        yield cut(np.full(size, TOTAL // size))


def from_probabilities():
    rng = np.random.default_rng(1)
    for size in (2, 3, 10, 300, 65_536):
        yield slots(rng.dirichlet(np.full(size, 0.01)))
        yield slots(rng.dirichlet(np.full(size, 100.0)))
    for p in ([1.0, 0.0], [0.0, 1.0], [0.0, 1.0, 0.0], [1 - 1e-16, 1e-16], [5e-324, 1.0, 1e-300], [1e-8, 1 - 1e-8]):
        yield slots(p)
    for ulps in range(-3, 4):  # as near to the border of two slots as it gets
        border = 5 / (TOTAL - 2) * (1 + ulps * 2**-52)
        yield slots([border, 1 - border])
    yield slots(torch.tensor([0.1] * 10))  # float32, whose sum is not quite 1


CUTS = [*random_cuts(), *from_probabilities()]


def some(table):
    """All symbols of small tables; of large ones the first, the last, the most and least probable and a few more."""
    size = len(table) - 1
    if size <= 300:
        return range(size)
    sizes = np.diff(table)
    drawn = np.random.default_rng(2).choice(size, 100)
    return sorted({0, 1, size - 2, size - 1, int(sizes.argmax()), int(sizes.argmin()), *drawn.tolist()})


@pytest.mark.parametrize("table", CUTS, ids=lambda t: f"{len(t) - 1}")
def test_the_queue_sees_our_runs(table):
    for symbol in some(table):
        start, end = int(table[symbol]), int(table[symbol + 1])
        encoder = Encoder()
        encoder.push(symbol, table)
        assert encoder._coder.pos() == (0, (SCALE * start, SCALE * (end - start)))
        for point in (SCALE * start, SCALE * end - 1):  # the first and the last that mean this symbol
            assert Decoder(point.to_bytes(8, "big")).pop(table) == symbol


@pytest.mark.parametrize("table", CUTS, ids=lambda t: f"{len(t) - 1}")
def test_the_stack_sees_our_runs(table):
    for symbol in some(table):
        start, size = int(table[symbol]), int(table[symbol + 1] - table[symbol])
        number = 0x0123_4567
        stack = Stack(number.to_bytes(4, "little"))
        stack.push(symbol, table)
        pushed = (number // size << 24) + start + number % size
        assert int.from_bytes(stack.to_bytes(), "little") == pushed
        for slot in (start, start + size - 1):
            assert Stack((1 << 24 | slot).to_bytes(4, "little")).pop(table) == symbol


def test_weights_are_exact_in_float32():
    """Every partial sum is a whole number that float32 holds, in whatever order it is added up."""
    for table in CUTS:
        w = weights(table)[0]
        assert w.dtype == np.float32
        np.testing.assert_array_equal(w.astype(np.int64) + 1, np.diff(table))
        assert w.sum() == w.cumsum()[-1] == w[::-1].cumsum()[-1] == TOTAL - len(w)


def test_a_concrete_model_of_constriction_agrees():
    """Its second way to the runs, which sums up the whole table in advance."""
    for table in CUTS[:20]:
        coder = constriction.stream.queue.RangeEncoder()
        coder.encode(len(table) - 2, constriction.stream.model.Categorical(weights(table)[0], perfect=False))
        start = int(table[-2])
        assert coder.pos() == (0, (SCALE * start, SCALE * (TOTAL - start)))


def test_codes_are_the_same_bytes_as_ever():
    """Written once, read on every machine and after every upgrade: no random generator, no floating point."""
    tables, symbols, state = [], [], 1
    for _ in range(60):
        sizes = []
        for _ in range(4):
            state = state * 48271 % (2**31 - 1)
            sizes.append(1 + state % (TOTAL // 6))
        tables.append(cut([*sizes, TOTAL - sum(sizes)]))
        symbols.append(state % 5)
    encoder, stack = Encoder(), Stack(b"as ever\1")
    encoder.push(symbols, tables)
    stack.push(symbols, tables)
    assert encoder.finish().hex() == QUEUE
    assert stack.to_bytes().hex() == STACK


def test_slots():
    rng = np.random.default_rng(0)
    for size in (1, 2, 100, 65_536):
        p = rng.dirichlet(np.full(size, 0.01) + (size == 1))
        c = slots(p)
        assert c[0] == 0 and c[-1] == TOTAL and (np.diff(c) >= 1).all() and c.dtype == np.int64
        assert (np.diff(c) / TOTAL >= p * (1 - size / TOTAL) - 1e-15).all()
        least = [1 + math.floor(x) for x in p * (TOTAL - size)]  # in plain Python, slot by slot
        assert (np.abs(np.diff(c) - least)[np.arange(size) != p.argmax()] <= 1).all()
    np.testing.assert_array_equal(slots(torch.tensor([0.25, 0.75])), slots([0.25, 0.75]))
    rows = rng.dirichlet(np.ones(7), size=(2, 3))
    np.testing.assert_array_equal(slots(rows), [[slots(p) for p in block] for block in rows])
    assert slots(np.zeros((0, 3))).shape == (0, 4)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        p = torch.softmax(torch.randn(1000, generator=torch.Generator().manual_seed(0)), -1).to(dtype)
        assert slots(p)[-1] == TOTAL


def test_short_probabilities_are_reckoned_in_double_precision():
    p = np.random.default_rng(0).dirichlet(np.ones(1000)).astype(np.float32)
    exact = slots(p.astype(np.float64))
    assert np.array_equal(slots(p), exact) and np.array_equal(slots(torch.tensor(p)), exact)


def test_a_total_does_not_depend_on_the_order_of_a_vector_unit():
    """np.sum adds in blocks whose width depends on the processor; the tables must not."""
    free = TOTAL - 4000
    p = np.random.default_rng(1).multinomial(free, np.full(4000, 1 / 4000)) / free  # whole slots, but for rounding
    total = 0.0
    for x in p.tolist():
        total += x

    def sizes(total):
        runs = [1 + math.floor(x / total * free) for x in p.tolist()]
        runs[int(p.argmax())] += TOTAL - sum(runs)
        return runs

    assert sizes(total) != sizes(math.fsum(p))  # another order gives other tables
    np.testing.assert_array_equal(np.diff(slots(p)), sizes(total))


def test_what_is_no_distribution_is_refused():
    for bad in ([0.5, 0.6], [-0.1, 1.1], [math.nan, 1.0], [[0.5, 0.5], [0.5, 0.6]], [math.inf, 0.0], [0.5, 0.502]):
        with pytest.raises(ValueError, match="sum to 1"):
            slots(bad)
    slots([0.5, 0.5005])  # what float32 leaves
    for bad in ([], 1.0, np.full(70_000, 1 / 70_000)):
        with pytest.raises(ValueError, match="expected 1 to 65536 probabilities"):
            slots(bad)


def test_what_is_no_table_is_refused():
    half = TOTAL // 2
    bad = [
        [0.5, 0.5],
        [0, half],
        [1, half, TOTAL],
        [0, half, half, TOTAL],
        [0, TOTAL, half, TOTAL],
        [0],
        [[[0, TOTAL]]],
        5,
    ]
    bad += [np.array([0.0, half, TOTAL]), np.arange(0, TOTAL + 1, TOTAL // 2**17), np.zeros((0, 1), dtype=int)]
    for table in bad:
        for coder in (lambda t: Encoder().push(0, t), Decoder(b"\0").pop, lambda t: Stack().push(0, t), Stack().pop):
            with pytest.raises(ValueError, match="as slots\\(p\\) gives them"):
                coder(table)


def test_symbols_that_do_not_fit_are_refused():
    rows = weights(slots([[0.5, 0.5]] * 2))
    assert indices([0, 1], rows).dtype == np.int32
    np.testing.assert_array_equal(indices(torch.tensor([1.0, 0.0]), rows), [1, 0])
    for bad in ([0, 2], [-1, 0], [2**32, 0]):
        with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
            indices(bad, rows)
    with pytest.raises(ValueError, match=r"whole numbers, got 0\.5"):
        indices([0.5, 0], rows)
    for bad in (0, [0], [0, 0, 0]):
        with pytest.raises(ValueError, match="one symbol for each of 2 tables"):
            indices(bad, rows)


def test_an_alphabet_of_one_takes_nothing():
    table = slots([[1.0]] * 3)
    encoder, stack = Encoder(), Stack()
    encoder.push([0, 0, 0], table)
    stack.push([0, 0, 0], table)
    assert encoder.finish() == stack.to_bytes() == b"" and encoder.bits == stack.bits == 0
    for coder in (Decoder(b""), stack):
        np.testing.assert_array_equal(coder.pop(table), [0, 0, 0])


def test_without_constriction_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    for coder in (Encoder, Stack, lambda: Decoder(b"")):
        with pytest.raises(ImportError, match="pip install constriction"):
            coder()
