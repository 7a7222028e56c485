"""The ANS coder against its definition in whole numbers, and as a source of draws."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from lvmlib.compression import Stack, slots


class Number:
    """ANS by its definition: a top of 32 to 64 bits, and words of 32 below it."""

    def __init__(self, data):
        number = int.from_bytes(data, "little")
        self.words = []
        while number >= 2**64:
            self.words.append(number % 2**32)
            number >>= 32
        self.top = number

    def push(self, symbol, table):
        start, size = int(table[symbol]), int(table[symbol + 1] - table[symbol])
        if self.top >> 40 >= size:  # it would not fit into 64 bits
            self.words.append(self.top % 2**32)
            self.top >>= 32
        self.top = (self.top // size << 24) + start + self.top % size

    def pop(self, table):
        slot = self.top % 2**24
        symbol = next(s for s in range(len(table) - 1) if slot < table[s + 1])
        self.top = (self.top >> 24) * int(table[symbol + 1] - table[symbol]) + slot - int(table[symbol])
        if self.top < 2**32 and self.words:
            self.top = self.top << 32 | self.words.pop()
        return symbol

    @property
    def data(self):
        number = self.top
        for word in reversed(self.words):
            number = number << 32 | word
        return number.to_bytes(-(-number.bit_length() // 8), "little")


@pytest.mark.parametrize("seed", range(60))
def test_pushes_and_pops_are_those_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    data = rng.bytes(int(rng.integers(40))) + b"\1" if seed % 4 else b""
    stack, exact = Stack(data), Number(data)
    assert stack.to_bytes() == exact.data == data
    for _ in range(200):
        table = slots(rng.dirichlet(np.full(rng.integers(2, 20), rng.choice([0.02, 1.0]))))
        if rng.random() < 0.5:
            assert stack.pop(table) == exact.pop(table)
        else:
            symbol = int(rng.integers(len(table) - 1))
            stack.push(symbol, table)
            exact.push(symbol, table)
        assert stack.to_bytes() == exact.data
        assert stack.bits == max(0, int.from_bytes(exact.data, "little").bit_length() - 1)


@pytest.mark.parametrize("size", [2, 17, 256, 65_536])
def test_last_in_first_out(size):
    rng, stack, pushed = np.random.default_rng(size), Stack(), []
    for n in (1, 7, 50):
        tables = slots(rng.dirichlet(np.full(size, 0.5), size=n))
        symbols = rng.integers(size, size=n)
        stack.push(symbols, tables)
        pushed.append((symbols, tables))
    stack = Stack(stack.to_bytes())  # over a file
    for symbols, tables in reversed(pushed):
        out = stack.pop(tables)
        assert out.dtype == np.int64
        np.testing.assert_array_equal(out, symbols)
    assert stack.to_bytes() == b"" and stack.bits == 0


@pytest.mark.parametrize("alpha", [0.1, 1.0, 100.0])
def test_a_symbol_takes_what_its_probability_says(alpha):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(256, alpha), size=5000)
    symbols = np.array([rng.choice(256, p=row) for row in p])
    stack, random = Stack(rng.bytes(100) + b"\1"), 801
    before = stack.bits
    stack.push(symbols, slots(p))
    ideal = -np.log2(p[np.arange(5000), symbols]).sum()
    assert abs(stack.bits - before - ideal) < 1 + 5000 * 3e-4 and before == random - 1


def test_random_bits_become_draws_and_come_back():
    rng = np.random.default_rng(0)
    data, p = rng.bytes(100_000) + b"\1", np.array([0.4, 0.3, 0.2, 0.09, 0.01])
    stack, tables = Stack(data), slots(np.broadcast_to(p, (100_000, 5)))
    before, draws = stack.bits, stack.pop(tables)
    seen = np.bincount(draws, minlength=5)
    assert scipy.stats.chisquare(seen, 100_000 * p).pvalue > 0.001
    assert scipy.stats.chi2_contingency(np.histogram2d(draws[1:], draws[:-1], 5)[0]).pvalue > 0.001  # independent
    entropy = -(seen * np.log2(p)).sum()
    assert before - stack.bits == pytest.approx(entropy, rel=1e-4)
    stack.push(draws, tables)
    assert stack.to_bytes() == data


def test_bits_back_pays_the_marginal():
    """p(z) p(x|z), with z drawn from p(z|x) by popping: the net cost is -log2 p(x), and all comes back."""
    rng = np.random.default_rng(0)
    prior, likelihood = rng.dirichlet(np.ones(8)), rng.dirichlet(np.full(50, 0.3), size=8)
    joint = prior[:, None] * likelihood
    marginal = joint.sum(0)
    posterior = slots((joint / marginal).T)
    x = rng.choice(50, p=marginal, size=3000)
    seed = rng.bytes(20) + b"\1"
    stack = Stack(seed)
    before = stack.bits
    for symbol in x:
        z = stack.pop(posterior[symbol])
        stack.push(symbol, slots(likelihood)[z])
        stack.push(z, slots(prior))
    ideal = -np.log2(marginal[x]).sum()
    assert abs(stack.bits - before - ideal) < 1 + 3000 * 3 * 3e-4
    stack, back = Stack(stack.to_bytes()), []
    for _ in x:
        z = stack.pop(slots(prior))
        symbol = stack.pop(slots(likelihood)[z])
        stack.push(z, posterior[symbol])
        back.append(int(symbol[0]))
    assert back[::-1] == x.tolist() and stack.to_bytes() == seed


def test_an_empty_stack_gives_slot_zero_and_takes_it_back():
    stack, tables = Stack(), slots([[0.3, 0.7]] * 50)
    draws = stack.pop(tables)
    assert not draws.any() and stack.to_bytes() == b""
    stack.push(draws, tables)
    assert stack.to_bytes() == b"" and stack.bits == 0


def test_data_that_no_stack_gives_are_refused():
    for data in (b"\0", b"abc\0", bytes(8)):
        with pytest.raises(ValueError, match="zero byte"):
            Stack(data)
