"""Exact round trips, and code lengths against the model's own -log2 P, the bound that the file states."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from lvmlib import compression
from lvmlib.autoregressive import FVSBN, MADE, RNN, OrderingMixture
from lvmlib.compression import TOTAL, Decoder, Encoder, arithmetic_decode, arithmetic_encode, slots
from lvmlib.data import load
from lvmlib.distributions import StandardNormal
from lvmlib.training import fit


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
    encoder, ideal = Encoder(), 0.0
    for i, symbol in enumerate(symbols):
        p = np.array(model(symbols[:i]))
        ideal -= math.log2(p[symbol]) if p[symbol] > 0 else -math.inf
        c = slots(p)
        encoder.push(int(c[symbol]), int(c[symbol + 1] - c[symbol]))
    data = encoder.finish()
    return encoder.bits, ideal, data


def bound(n, size):
    """What integers may cost at most beyond -log2 P + 2: the last term of the file's bound."""
    return -n * (math.log2(1 - size / 2**32) + math.log2(1 - 2**-24))


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
            assert bits <= ideal + 2 + bound(n, size) and bits >= ideal - 1e-6


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


@pytest.mark.parametrize("p", [[0.5, 0.5], [0.999, 0.001], [0.7, 0.2, 0.1]])
def test_long_streams(p):
    symbols = np.random.default_rng(1).choice(len(p), p=p, size=100_000).tolist()
    c = slots(p).tolist()
    encoder = Encoder()
    for s in symbols:
        encoder.push(c[s], c[s + 1] - c[s])
    data = encoder.finish()
    ideal = -np.log2(np.array(p)[symbols]).sum()
    assert ideal - 0.1 < encoder.bits <= ideal + 2 + bound(100_000, len(p))
    assert bound(100_000, len(p)) < 0.01
    decoder = Decoder(data)
    for s in symbols:
        assert c[s] <= decoder.target() < c[s + 1]
        decoder.pop(c[s], c[s + 1] - c[s])


def test_the_shortest_codes_by_brute_force():
    """No shorter string of bits names an interval inside that of the stream: try them all."""
    for symbols in np.ndindex(2, 2, 2, 2):
        low, length = 0.0, 1.0
        for s in symbols:
            low, length = low + 0.7 * length * s, length * (0.3 if s else 0.7)
        needed = next(
            n for n in range(20) if any(low <= i / 2**n and (i + 1) / 2**n <= low + length for i in range(2**n))
        )
        encoder = Encoder()
        for s in symbols:
            encoder.push(7 * s, 3 if s else 7, total=10)
        encoder.finish()
        assert encoder.bits == needed


def test_codes_of_equally_many_symbols_are_prefix_free():
    model, words = fixed([0.6, 0.3, 0.1]), []
    for symbols in np.ndindex(3, 3, 3, 3, 3):
        bits, _, data = code(model, list(symbols))
        words.append("".join(f"{byte:08b}" for byte in data)[:bits])
    words.sort()
    assert not any(b.startswith(a) for a, b in zip(words, words[1:], strict=False))
    assert sum(2.0 ** -len(w) for w in words) <= 1


def test_carry_runs_back_through_many_bytes():
    """The middle half of the middle half of ... straddles 1/2: low is 0.0111...1 in binary until the last symbol."""
    runs = [(1, 2)] * 200 + [(3, 1)]
    encoder, low, length = Encoder(), Fraction(0), Fraction(1)
    for start, size in runs:
        before = bytes(encoder._written)
        encoder.push(start, size, total=4)
        low, length = low + length * start / 4, length * size / 4
    data = encoder.finish()
    assert before == b"\x7f" + b"\xff" * (len(before) - 1) and len(before) > 15
    assert data[:16] == b"\x80" + bytes(15)
    value = Fraction(int.from_bytes(data, "big"), 2 ** (8 * len(data)))
    assert low <= value < value + Fraction(1, 2**encoder.bits) <= low + length
    decoder = Decoder(data)
    for start, size in runs:
        assert start <= decoder.target(4) < start + size
        decoder.pop(start, size, total=4)


def test_slots():
    rng = np.random.default_rng(0)
    for size in (1, 2, 100, 65_536):
        p = rng.dirichlet(np.full(size, 0.01) + (size == 1))
        c = slots(p)
        assert c[0] == 0 and c[-1] == TOTAL and (np.diff(c) >= 1).all() and c.dtype == np.int64
        assert (np.diff(c) / TOTAL >= p * (1 - size / TOTAL) - 1e-18).all()
    np.testing.assert_array_equal(slots(torch.tensor([0.25, 0.75])), slots([0.25, 0.75]))
    float32 = torch.softmax(torch.randn(1000, generator=torch.Generator().manual_seed(0)), -1)
    assert slots(float32)[-1] == TOTAL


def test_impossible_symbols_cost_32_bits():
    model = fixed([1.0, 0.0])
    bits, _, _ = code(model, [1] * 10)
    assert 320 <= bits <= 322
    np.testing.assert_array_equal(arithmetic_decode(model, arithmetic_encode(model, [1] * 10)), [1] * 10)


def test_inputs_and_neighbours():
    model, x = Counting(256), b"to be or not to be"
    data = arithmetic_encode(model, x)
    for same in (list(x), np.frombuffer(x, np.uint8), torch.tensor(list(x)), bytearray(x)):
        assert arithmetic_encode(model, same) == data
    out = arithmetic_decode(model, data)
    assert out.dtype == np.int64 and bytes(out.tolist()) == x
    assert arithmetic_decode(model, arithmetic_encode(model, [])).shape == (0,)


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
    for bad in ([0.5, 0.6], [-0.1, 1.1], [math.nan, 1.0]):
        with pytest.raises(ValueError, match="sum to 1"):
            slots(bad)
    for bad in ([], [[1.0]], np.full(70_000, 1 / 70_000)):
        with pytest.raises(ValueError, match="vector"):
            slots(bad)
    for bad in ([0.5], [[0, 1]], "text"):
        with pytest.raises(ValueError, match="integer symbols"):
            arithmetic_encode(fixed([0.5, 0.5]), bad)
    encoder = Encoder()
    for run in ((0, 0, 4), (3, 2, 4), (-1, 1, 4), (0, 1, 2**33)):
        with pytest.raises(ValueError, match="slots"):
            encoder.push(*run)
    encoder.finish()
    with pytest.raises(RuntimeError, match="finished"):
        encoder.push(0, 1, 2)
    assert encoder.finish() == encoder.finish()
    with pytest.raises(ValueError, match="point at slot"):
        Decoder(b"\0").pop(1, 1, 2)
    with pytest.raises(ValueError, match="outside every symbol"):
        Decoder(b"\xff" * 8).target(3)
    with pytest.raises(ValueError, match="framed=False"):
        arithmetic_decode(fixed([1.0]), b"")


def sequential(kind, **options):
    """A small model far from uniform, in float32 as it would be used."""
    torch.manual_seed(0)
    model = {
        "made": lambda: MADE((1, 3, 4), hidden=(20, 20), **options),
        "gru": lambda: RNN((7,), hidden=12, cell="gru", **options),
        "fvsbn": lambda: FVSBN((2, 2, 3), **options),
    }[kind]()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


@pytest.mark.parametrize("kind", ["made", "gru", "fvsbn"])
@pytest.mark.parametrize("n", [1, 70])
@pytest.mark.parametrize("family", [{}, {"levels": 6}, {"levels": 256, "logistics": 3}], ids=["binary", "table", "mix"])
def test_examples_come_back_and_take_what_the_model_says(kind, n, family):
    order = torch.randperm(12 if kind != "gru" else 7)
    model = sequential(kind, order=order, context=3, **family)
    x, labels = torch.randint(model.levels, (n, *model.event_shape)), torch.randint(3, (n,))
    for context in (None, labels):
        data = arithmetic_encode(model, x, context=context)
        out = arithmetic_decode(model, data, context=context)
        assert out.dtype == torch.float32 and torch.equal(out.long(), x)
        ideal = -model.double().log_prob(x, context).sum().item() / math.log(2)
        model.float()
        header = 1 if n < 64 else 2
        rounding = 2 + 7 + n * model.dims * model.levels / 2**31 + 1e-5 * ideal  # the last: float32 against float64
        assert ideal - 1e-5 * ideal <= 8 * (len(data) - header) - 7 <= ideal + rounding  # 7 bits of the seal
        bare = arithmetic_encode(model, x, framed=False, context=context)
        assert bare == data[header:]
        assert torch.equal(arithmetic_decode(model, bare, length=n, context=context).long(), x)
    assert model.training  # as before


def test_a_hundred_real_digits_within_a_thousandth_and_32_bits():
    train, _, test = load("mnist", binarize="static")
    torch.manual_seed(0)
    model = MADE((1, 28, 28), hidden=(64,))
    fit(model, train.subset(5000), steps=200, batch_size=100, lr=5e-3, progress=False)
    x = test.batch(torch.arange(100))
    model.eval()
    ideal = -model.log_prob(x).sum().item() / math.log(2)
    assert ideal < 100 * 784 / 2  # it has learned something: half of what blank bits take
    data = arithmetic_encode(model, x)
    assert abs(8 * len(data) - ideal) <= 0.001 * ideal + 32
    assert torch.equal(arithmetic_decode(model, data), x)


def test_dropout_is_off_while_coding():
    class Forgetful(FVSBN):
        def steps(self, n, context=None):
            step = super().steps(n, context)
            return lambda t, x: torch.nn.functional.dropout(step(t, x), 0.5, self.training)

    torch.manual_seed(0)
    model = Forgetful((2, 10))
    with torch.no_grad():
        model.weight.normal_(0, 3)
    x = torch.randint(2, (20, 2, 10))
    assert torch.equal(arithmetic_decode(model, arithmetic_encode(model, x)).long(), x)
    assert model.training


def test_examples_with_another_model_or_broken_data_are_found_out():
    model, other = sequential("made", context=3), sequential("made", context=3)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(0.9)
    x = torch.randint(2, (30, 1, 3, 4))
    labels = torch.randint(3, (30,))
    data = arithmetic_encode(model, x, context=labels)
    wrong = [(other, data, labels), (model, data, (labels + 1) % 3)]
    wrong += [(model, data[:i], labels) for i in range(1, len(data))]
    wrong += [(model, data + extra, labels) for extra in (b"\0", b"\xff", b"abc")]
    for coder, stream, context in wrong:
        with pytest.raises(ValueError, match="another model"):
            arithmetic_decode(coder, stream, context=context)
    found = 0
    for position in range(1, len(data)):
        broken = bytearray(data)
        broken[position] ^= 0x10
        try:
            assert not torch.equal(arithmetic_decode(model, bytes(broken), context=labels).long(), x)
        except ValueError:
            found += 1
    assert found > 0.9 * (len(data) - 1)
    with pytest.raises(ValueError, match="encoded with a context; pass"):
        arithmetic_decode(model, data)
    with pytest.raises(ValueError, match="without a context"):
        arithmetic_decode(model, arithmetic_encode(model, x), context=labels)
    with pytest.raises(ValueError, match="one row per example"):
        arithmetic_decode(model, data, context=labels[:5])
    with pytest.raises(ValueError, match="not 1 to 65536"):  # ten to the twelve examples announced
        arithmetic_decode(model, b"\x80\xa0\x94\xa5\x8d\x1d" + data[1:])
    with pytest.raises(ValueError, match="framed=False"):
        arithmetic_decode(model, b"")


def test_a_wrong_seal_is_found_out(monkeypatch):
    """A code that is right in all but its checksum."""
    model, x = sequential("made"), torch.randint(2, (3, 1, 3, 4))
    data, seal = arithmetic_encode(model, x), compression._seal
    for off_by in (1, 64, 127):
        with monkeypatch.context() as patch:
            patch.setattr(compression, "_seal", lambda symbols, off=off_by: (seal(symbols) + off) % 128)
            forged = arithmetic_encode(model, x)
        assert len(forged) <= len(data) + 1
        with pytest.raises(ValueError, match="another model"):
            arithmetic_decode(model, forged)


def test_what_cannot_be_coded_is_refused():
    model = sequential("made")
    with pytest.raises(ValueError, match="whole numbers from 0 to 1"):
        arithmetic_encode(model, torch.full((2, 1, 3, 4), 2))
    with pytest.raises(ValueError, match="must have shape"):
        arithmetic_encode(model, torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="at most 65536"):
        arithmetic_encode(RNN((1,), hidden=1), torch.zeros(65537, 1))
    with pytest.raises(ValueError, match="built without a context"):
        arithmetic_encode(model, torch.zeros(2, 1, 3, 4), context=torch.zeros(2, 3))
    for attempt in (
        lambda: arithmetic_encode(StandardNormal((3,)), torch.zeros(2, 3)),
        lambda: arithmetic_decode(OrderingMixture(MADE((3,), hidden=(4,), masks=2)), b"\0"),
    ):
        with pytest.raises(TypeError, match="needs an Autoregressive model"):
            attempt()
    for attempt in (
        lambda: arithmetic_encode(fixed([0.5, 0.5]), [0], context=torch.zeros(1, 3)),
        lambda: arithmetic_decode(fixed([0.5, 0.5]), b"\1\0", context=torch.zeros(1, 3)),
    ):
        with pytest.raises(ValueError, match="let the function itself"):
            attempt()
    with torch.no_grad():
        model.net.output.bias.fill_(math.nan)
    with pytest.raises(ValueError, match="sum to 1"):
        arithmetic_encode(model, torch.zeros(2, 1, 3, 4))
