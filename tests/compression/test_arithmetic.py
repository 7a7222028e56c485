"""Exact round trips, and code lengths against the model's own -log2 P, the bound that the file states."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lvmlib.compression import Encoder, arithmetic_decode, arithmetic_encode, slots


def fixed(p):
    """A model without memory."""
    return lambda prefix: p


class Counting:
    """Adaptive: one more than how often each symbol came so far, normalised. Begins anew with each stream."""

    def __init__(self, size):
        self.size = size

    def __call__(self, prefix):
        if not prefix:
            self.counts = np.ones(self.size)
        else:
            self.counts[prefix[-1]] += 1
        return self.counts / self.counts.sum()


def code(model, symbols):
    """Bits of the code, and -log2 of the probability that the model gives to the stream."""
    encoder, ideal, least = Encoder(), 0.0, 0.0
    for i, symbol in enumerate(symbols):
        p = np.array(model(symbols[:i]))
        ideal -= math.log2(p[symbol]) if p[symbol] > 0 else -math.inf
        table = slots(p)
        least -= math.log2((table[symbol + 1] - table[symbol]) / 2**24)
        encoder.push(symbol, table)
    data = encoder.finish()
    assert encoder.bits >= least - 1e-6  # no code is shorter than its slots say
    return encoder.bits, ideal, data


def bound(n, size):
    """What integers may cost at most beyond -log2 P + 2: the last term of the file's bound."""
    return -n * (math.log2(1 - size / 2**24) + math.log2(1 - 2**-8))


@pytest.mark.parametrize("size", [1, 2, 3, 27, 256, 5000])
@pytest.mark.parametrize("alpha", [0.05, 1.0, 100.0])
def test_round_trip_and_length(size, alpha):
    rng = np.random.default_rng(size)
    p = rng.dirichlet(np.full(size, alpha))
    for n in (0, 1, 2, 17, 300):
        symbols = rng.choice(size, p=p, size=n)
        for model in (fixed(p), Counting(size)):
            data = arithmetic_encode(model, symbols)
            np.testing.assert_array_equal(arithmetic_decode(model, data), symbols)
            unframed = arithmetic_encode(model, symbols, framed=False)
            np.testing.assert_array_equal(arithmetic_decode(model, unframed, length=n), symbols)
            assert len(data) - len(unframed) == (1 if n < 128 else 2)
            bits, ideal, coded = code(model, symbols.tolist())
            assert coded == unframed and len(coded) == -(-bits // 8)
            assert bits <= ideal + 2 + bound(n, size)


@pytest.mark.parametrize("p", [1e-9, 1e-6, 1e-3, 0.5, 1 - 1e-6, 1 - 1e-12])
@pytest.mark.parametrize("stream", ["likely", "unlikely", "mixed"])
def test_skewed(p, stream):
    rng, likely = np.random.default_rng(0), int(p > 0.5)
    symbols = {
        "likely": np.full(2000, likely),
        "unlikely": np.full(2000, 1 - likely),
        "mixed": rng.integers(2, size=2000),
    }
    model, x = fixed([1 - p, p]), symbols[stream].tolist()
    bits, ideal, _ = code(model, x)
    assert bits <= ideal + 2 + bound(2000, 2)
    np.testing.assert_array_equal(arithmetic_decode(model, arithmetic_encode(model, x)), x)


def test_impossible_symbols_cost_24_bits():
    model = fixed([1.0, 0.0])
    bits, _, _ = code(model, [1] * 10)
    assert 240 <= bits <= 242
    np.testing.assert_array_equal(arithmetic_decode(model, arithmetic_encode(model, [1] * 10)), [1] * 10)


def test_inputs_and_neighbours():
    model, x = Counting(256), b"to be or not to be"
    data = arithmetic_encode(model, x)
    for same in (list(x), np.frombuffer(x, np.uint8), torch.tensor(list(x)), bytearray(x)):
        assert arithmetic_encode(model, same) == data
    out = arithmetic_decode(model, data)
    assert out.dtype == np.int64 and bytes(out.tolist()) == x
    empty = arithmetic_decode(model, arithmetic_encode(model, []))
    assert empty.dtype == np.int64 and empty.shape == (0,)


def test_truncated_or_extended_data_are_always_found_out():
    rng = np.random.default_rng(0)
    for n in (1, 10, 200):
        symbols = rng.integers(5, size=n)
        data = arithmetic_encode(Counting(5), symbols)
        for cut in range(len(data)):
            with pytest.raises(ValueError, match="cut short"):
                arithmetic_decode(Counting(5), data[:cut])
        for extra in (b"\0", b"\xff", b"abc"):
            with pytest.raises(ValueError, match="cut short"):
                arithmetic_decode(Counting(5), data + extra)


def test_corruption_never_decodes_to_the_same_nor_hangs():
    rng = np.random.default_rng(0)
    symbols, found = rng.choice(3, p=[0.8, 0.15, 0.05], size=200), 0
    model = fixed([0.8, 0.15, 0.05])
    data = arithmetic_encode(model, symbols)
    for position in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            broken = bytearray(data)
            broken[position] ^= flip
            try:
                assert not np.array_equal(arithmetic_decode(model, bytes(broken)), symbols)
            except ValueError:
                found += 1
    assert found > len(data)
    with pytest.raises(ValueError, match="corrupt"):  # ten to the twelve symbols announced in front of a few bytes
        arithmetic_decode(model, b"\x80\xa0\x94\xa5\x8d\x1d" + data[2:])


def test_wrong_model_is_found_out_or_decodes_to_something_else():
    symbols = np.random.default_rng(0).integers(2, size=100)
    data = arithmetic_encode(fixed([0.5, 0.5]), symbols)
    with pytest.raises(ValueError, match="another model"):
        arithmetic_decode(fixed([0.1, 0.9]), data)


def test_errors():
    with pytest.raises(ValueError, match=r"symbol 2 at position 1 is not in 0..1"):
        arithmetic_encode(fixed([0.5, 0.5]), [0, 2])
    with pytest.raises(ValueError, match="symbol -1"):
        arithmetic_encode(fixed([0.5, 0.5]), [-1])
    with pytest.raises(ValueError, match="sum to 1"):
        arithmetic_encode(fixed([0.5, 0.6]), [0])
    for attempt in (arithmetic_encode, arithmetic_decode):
        with pytest.raises(ValueError, match=r"must return probabilities of shape \[K\], got \[1, 2\]"):
            attempt(fixed([[0.5, 0.5]]), bytes([1, 0]))
    for bad in ([0.5], [[0, 1]], "text"):
        with pytest.raises(ValueError, match="integer symbols"):
            arithmetic_encode(fixed([0.5, 0.5]), bad)
    with pytest.raises(ValueError, match="framed=False"):
        arithmetic_decode(fixed([1.0]), b"")
