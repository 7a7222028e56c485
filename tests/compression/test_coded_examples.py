"""Examples of autoregressive models, coded and decoded: round trips, lengths, and data that are not what they seem."""

from __future__ import annotations

import math

import pytest
import torch

from lvmlib.autoregressive import FVSBN, MADE, RNN, OrderingMixture
from lvmlib.compression import arithmetic_decode, arithmetic_encode, examples
from lvmlib.compression.framing import varint
from lvmlib.data import load
from lvmlib.distributions import StandardNormal
from lvmlib.training import fit


def fixed(p):
    """A model without memory."""
    return lambda prefix: p


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
    for context in (None, torch.randint(3, (n,))):
        model = sequential(kind, order=order, context=None if context is None else 3, **family)
        x = torch.randint(model.levels, (n, *model.event_shape))
        data = arithmetic_encode(model, x, context=context)
        out = arithmetic_decode(model, data, context=context)
        assert out.dtype == torch.float32 and torch.equal(out.long(), x)
        ideal = -model.double().log_prob(x, context).sum().item() / math.log(2)
        model.float()
        header = 1 if n < 64 else 2
        rounding = 2 + 7 + n * model.dims * (2e-4 + model.levels / 2**23)
        rounding += 1e-5 * ideal  # float32 against float64
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
        arithmetic_decode(model, arithmetic_encode(sequential("made"), x), context=labels)
    with pytest.raises(ValueError, match="one row per example"):
        arithmetic_decode(model, data, context=labels[:5])
    with pytest.raises(ValueError, match="which hold 1 to"):  # ten to the twelve examples announced
        arithmetic_decode(model, b"\x80\xa0\x94\xa5\x8d\x1d" + data[1:])
    with pytest.raises(ValueError, match="framed=False"):
        arithmetic_decode(model, b"")


def refuse_to_start(self, n, context=None):
    raise AssertionError(f"the cache of {n} examples was asked for")


@pytest.mark.parametrize("announced", [65_535, 10**12])
def test_a_header_that_announces_too_much_is_refused_before_memory_is_asked_for(monkeypatch, announced):
    model, x = sequential("made"), torch.randint(2, (30, 1, 3, 4))
    data = arithmetic_encode(model, x)
    monkeypatch.setattr(MADE, "steps", refuse_to_start)
    for forged in (varint(2 * announced) + data[1:], varint(2 * announced), b"\0" + data[1:]):
        with pytest.raises(ValueError, match="which hold 1 to"):
            arithmetic_decode(model, forged)
    for n in (announced, 0, -1):
        with pytest.raises(ValueError, match="which hold 1 to"):
            arithmetic_decode(model, data[1:], length=n)


def test_decoding_stops_soon_after_the_data_end(monkeypatch):
    """Zeros go on for ever, and uniform symbols take bits: what follows the end must not be decoded to the end."""
    calls = 0

    def fair(prefix):
        nonlocal calls
        calls += 1
        assert calls < 1000
        return [0.5, 0.5]

    with pytest.raises(ValueError, match="cut short"):
        arithmetic_decode(fair, varint(10**12) + bytes(10))
    model, groups, steps = sequential("made"), [], MADE.steps
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    monkeypatch.setattr(MADE, "steps", lambda self, n, c=None: (groups.append(n), steps(self, n, c))[1])
    with pytest.raises(ValueError, match="cut short"):
        arithmetic_decode(model, bytes(1000), length=8000)
    assert sum(groups) <= 1024  # 12 bits each


def test_many_examples_go_through_the_model_in_groups(monkeypatch):
    model, groups, contexts, steps = sequential("made", context=3), [], [], MADE.steps

    def watched(self, n, context=None):
        groups.append(n)
        contexts.append(context)
        return steps(self, n, context)

    monkeypatch.setattr(MADE, "steps", watched)
    x, labels = torch.randint(2, (600, 1, 3, 4)), torch.randint(3, (600,))
    data = arithmetic_encode(model, x, context=labels)
    assert torch.equal(arithmetic_decode(model, data, context=labels).long(), x)
    assert torch.equal(torch.cat(contexts).argmax(1), torch.cat([labels, labels]))  # each with its own
    assert groups == [256, 256, 88] * 2
    groups.clear()
    with pytest.raises(ValueError, match="another model"):  # the length allows it, what follows does not
        arithmetic_decode(model, varint(2 * 1000 + 1) + data[2:] + data, context=torch.randint(3, (1000,)))
    assert sum(groups) < 1300


def test_examples_that_cost_nothing_take_one_bit_each():
    """So that a long list of them does not look like a corrupt header."""
    model = sequential("made")
    with torch.no_grad():
        model.net.output.weight.zero_()
        model.net.output.bias.fill_(-30)
    for n in (1, 8, 9, 500):
        x = torch.zeros(n, 1, 3, 4)
        data = arithmetic_encode(model, x, framed=False)
        assert len(data) == -(-n // 8) if n > 16 else len(data) in (1, 2)  # the seal and the ending take up to 9 bits
        assert torch.equal(arithmetic_decode(model, data, length=n), x)
        for broken in (data[:-1], data + b"\0"):
            with pytest.raises(ValueError, match="corrupt"):
                arithmetic_decode(model, broken, length=n)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("family", [{}, {"levels": 256}, {"levels": 6, "logistics": 2}], ids=["binary", "table", "mix"])
def test_lossless_whatever_dtype_the_weights_have(dtype, family):
    model = sequential("made", **family).to(dtype)
    x = torch.randint(model.levels, (40, 1, 3, 4))
    out = arithmetic_decode(model, arithmetic_encode(model, x))
    assert out.dtype == torch.promote_types(dtype, torch.float32) and torch.equal(out.long(), x)


def test_short_weights_code_every_value():
    """bfloat16 has no 257."""
    model = MADE((3,), hidden=(4,), levels=300).to(torch.bfloat16)
    x = torch.tensor([[257, 0, 299], [256, 255, 1]])
    assert torch.equal(arithmetic_decode(model, arithmetic_encode(model, x)).long(), x)


def test_another_kernel_decodes_exactly_or_is_refused(monkeypatch):
    """Probabilities that differ in their last bits, as those of another processor do."""
    model, x = sequential("made", levels=6), torch.randint(6, (40, 1, 3, 4))
    data, steps, same, refused = arithmetic_encode(model, x), MADE.steps, 0, 0
    for seed in range(60):
        noise = torch.Generator().manual_seed(seed)

        def other(self, n, context=None, noise=noise, size=10.0 ** -(5 + seed % 6)):
            step = steps(self, n, context)
            return lambda t, known: (y := step(t, known)) + size * torch.randn(y.shape, generator=noise)

        with monkeypatch.context() as patch:
            patch.setattr(MADE, "steps", other)
            try:
                assert torch.equal(arithmetic_decode(model, data).long(), x)
                same += 1
            except ValueError:
                refused += 1
    assert same > 5 and refused > 5


def test_a_wrong_seal_is_found_out(monkeypatch):
    """A code that is right in all but its checksum."""
    model, x = sequential("made"), torch.randint(2, (3, 1, 3, 4))
    data, seal = arithmetic_encode(model, x), examples.seal
    for off_by in (1, 64, 127):
        with monkeypatch.context() as patch:
            patch.setattr(examples, "seal", lambda symbols, off=off_by: (seal(symbols) + off) % 128)
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
    with pytest.raises(ValueError, match="empty batch"):
        arithmetic_encode(model, torch.zeros(0, 1, 3, 4))
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
