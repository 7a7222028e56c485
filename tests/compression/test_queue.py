"""The range coder against an interval of unlimited precision, which knows no words and no carry."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lvmlib.compression import TOTAL, Decoder, Encoder, slots

QUARTERS = [0, TOTAL // 4, 3 * TOTAL // 4, TOTAL]


class Interval:
    """[low, low + length) in units of 2^-size: the same steps in whole numbers as long as need be."""

    def __init__(self):
        self.low, self.length, self.size = 0, 2**64 - 1, 64

    def push(self, symbol, table):
        slot = self.length >> 24
        self.low += slot * int(table[symbol])
        self.length = slot * int(table[symbol + 1] - table[symbol])
        if self.length < 2**32:
            self.low, self.length, self.size = self.low << 32, self.length << 32, self.size + 32

    def fewest_bits(self):
        bits = self.size - self.length.bit_length()
        while True:
            bits += 1
            unit = 1 << (self.size - bits)
            first = -(-self.low // unit)
            if (first + 1) * unit <= self.low + self.length:
                return f"{first:0{bits}b}"


def random_stream(rng):
    """Tables of mixed alphabets, likely and unlikely symbols."""
    stream = []
    for _ in range(rng.integers(1, 60)):
        p = rng.dirichlet(np.full(rng.integers(1, 30), rng.choice([0.02, 0.3, 10.0])))
        stream.append((int(rng.choice(len(p), p=p if rng.random() < 0.7 else None)), slots(p)))
    return stream


def check(stream):
    encoder, exact = Encoder(), Interval()
    for symbol, table in stream:
        encoder.push(symbol, table)
        exact.push(symbol, table)
    data, bits = encoder.finish(), exact.fewest_bits()
    assert encoder.bits == len(bits) and len(data) == -(-len(bits) // 8)
    assert "".join(f"{byte:08b}" for byte in data) == bits + "0" * (-len(bits) % 8)
    decoder = Decoder(data)
    assert [int(decoder.pop(table)[0]) for _, table in stream] == [symbol for symbol, _ in stream]
    for after in (b"\0" * 9, b"\xff" * 9):  # all fractions that begin with these bits
        decoder = Decoder(int(bits.ljust(8 * len(data), "01"[after[0] > 0]), 2).to_bytes(len(data), "big") + after)
        assert [int(decoder.pop(table)[0]) for _, table in stream] == [symbol for symbol, _ in stream]


@pytest.mark.parametrize("seed", range(100))
def test_codes_are_those_of_the_exact_interval(seed):
    check(random_stream(np.random.default_rng(seed)))


def on_the_fence(length):
    """Symbols whose interval always holds 1/2, well inside: low is 0.0111...1 in binary for as long as they last."""
    exact, stream = Interval(), []
    for _ in range(length):
        slot = (2 ** (exact.size - 1) - exact.low) // (exact.length >> 24)
        table = [0, slot - TOTAL // 5, slot + TOTAL // 5, TOTAL]
        exact.push(1, table)
        stream.append((1, table))
    return stream


@pytest.mark.parametrize("length", [1, 15, 16, 17, 31, 32, 33, 62, 63, 64, 65, 200])
@pytest.mark.parametrize("last", [0, 1, 2])
def test_carry_runs_back_through_many_words(length, last):
    stream = on_the_fence(length)
    check([*stream, (last, QUARTERS)])
    check([*stream, (last, QUARTERS), *random_stream(np.random.default_rng(length))])


def test_a_carry_was_there():
    encoder = Encoder()
    for symbol, table in on_the_fence(200):
        encoder.push(symbol, table)
    before = encoder.written
    encoder.push(0, QUARTERS)
    assert before > 20 and encoder.finish()[: before - 4] == b"\x7f" + b"\xff" * (before - 5)
    encoder = Encoder()
    for symbol, table in on_the_fence(200):
        encoder.push(symbol, table)
    encoder.push(2, QUARTERS)
    assert encoder.finish()[: before - 4] == b"\x80" + bytes(before - 5)


def test_batches_are_the_same_as_one_at_a_time():
    rng = np.random.default_rng(0)
    tables, symbols = slots(rng.dirichlet(np.ones(9), size=500)), rng.integers(9, size=500)
    together, alone = Encoder(), Encoder()
    together.push(symbols[:200], tables[:200])
    together.push(symbols[200:], tables[200:])
    together.push([], tables[:0])
    for symbol, table in zip(symbols, tables, strict=True):
        alone.push(symbol, table)
    data = together.finish()
    assert data == alone.finish() and together.bits == alone.bits
    decoder = Decoder(data)
    np.testing.assert_array_equal(np.concatenate([decoder.pop(tables[:333]), decoder.pop(tables[333:])]), symbols)
    assert decoder.pop(tables[:0]).shape == (0,)


def test_the_shortest_codes_by_brute_force():
    """No shorter string of bits names an interval inside that of the stream: try them all."""
    table = slots([0.7, 0.3])
    for symbols in np.ndindex(2, 2, 2, 2):
        low, length = 0.0, 1.0
        for s in symbols:
            low, length = low + 0.7 * length * s, length * (0.3 if s else 0.7)
        needed = next(
            n for n in range(20) if any(low <= i / 2**n and (i + 1) / 2**n <= low + length for i in range(2**n))
        )
        encoder = Encoder()
        encoder.push(symbols, [table] * 4)
        encoder.finish()
        assert encoder.bits == needed


def test_codes_of_equally_many_symbols_are_prefix_free():
    table, words = slots([0.6, 0.3, 0.1]), []
    for symbols in np.ndindex(3, 3, 3, 3, 3):
        encoder = Encoder()
        encoder.push(symbols, [table] * 5)
        data = encoder.finish()
        words.append("".join(f"{byte:08b}" for byte in data)[: encoder.bits])
    words.sort()
    assert not any(b.startswith(a) for a, b in zip(words, words[1:], strict=False))
    assert sum(2.0 ** -len(w) for w in words) <= 1


@pytest.mark.parametrize("p", [[0.5, 0.5], [0.999, 0.001], [0.7, 0.2, 0.1], [1 / 256] * 256])
def test_a_long_stream_loses_a_ten_thousandth_of_a_bit_a_symbol(p):
    n = 100_000
    symbols = np.random.default_rng(1).choice(len(p), p=p, size=n)
    encoder = Encoder()
    for part in np.split(symbols, 10):
        encoder.push(part, np.broadcast_to(slots(p), (len(part), len(p) + 1)))
    ideal = -np.log2(np.array(p)[symbols]).sum()
    encoder.finish()
    assert ideal - 0.1 < encoder.bits <= ideal + 2 + 2e-4 * n


def test_the_worst_case_is_what_the_bound_says():
    """Certain symbols while the interval is short: each of them wastes up to 2^-8 of it."""
    rare, small, sure = [0, 1, TOTAL], [0, 1 << 17, TOTAL], [0, TOTAL - 1, TOTAL]
    cycle = [rare, small] + [sure] * 256
    n, encoder = 100 * len(cycle), Encoder()
    encoder.push([0] * n, cycle * 100)
    encoder.finish()
    ideal = -100 * sum(math.log2(table[1] / TOTAL) for table in cycle)
    assert 0.003 * n < encoder.bits - ideal <= 2 - n * math.log2(1 - 2**-8)


def test_written_counts_what_is_settled():
    encoder = Encoder()
    assert encoder.written == 0
    encoder.push([3] * 100, slots([[1 / 256] * 256] * 100))
    assert 92 <= encoder.written <= len(encoder.finish())


def test_past_the_end_there_are_zeros():
    tables = slots([[1 / 256] * 256] * 5)
    np.testing.assert_array_equal(Decoder(b"\x80").pop(tables), [128, 0, 0, 0, 0])
    np.testing.assert_array_equal(Decoder(b"").pop(tables), [0] * 5)


def test_errors():
    table = slots([0.5, 0.5])
    encoder = Encoder()
    encoder.push([0, 1], [table, table])
    assert encoder.finish() == encoder.finish()
    with pytest.raises(RuntimeError, match="finished"):
        encoder.push(0, table)
    with pytest.raises(ValueError, match="outside every symbol"):
        Decoder(b"\xff" * 8).pop(table)
    assert Encoder().finish() == b""
