r"""Arithmetic coding: turn any stream of conditional probabilities into bits, and back, exactly.

A symbol code spends a whole number of bits on each symbol. An arithmetic code spends them on the whole stream: it cuts
[0, 1) into one interval per stream, as long as the stream is probable, by narrowing an interval symbol by symbol, and
names the last interval by a binary fraction inside it.

The file has two layers. :class:`Encoder` and :class:`Decoder` know integers only: a symbol is a run of ``size`` among
``total`` slots. :func:`arithmetic_encode` and :func:`arithmetic_decode` drive them with a model: a function from what
came before to probabilities, or an `Autoregressive` model, which codes a whole batch of examples in one stream.

**How long the code is.** For a stream of ``n`` symbols to which the model gives probability ``P``, over an alphabet of
``K`` symbols,

.. math:: \text{bits} \;\le\; -\log_2 P + 2 + n \log_2 \frac{1}{(1 - K / 2^{32})(1 - 2^{-24})}.

The 2 bits are the price of ending the stream inside its interval. The last term is the price of doing this with
integers: probabilities become multiples of :math:`2^{-32}`, at least one of them each (see :func:`slots`), and the
interval is kept to 56 bits or more. For an alphabet of 256 it is below :math:`2 \cdot 10^{-7}` bits per symbol. Bytes
round up once, by at most 7 bits. What is written in front is not counted here; see :func:`arithmetic_encode`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from lvmlib.autoregressive import Autoregressive
from lvmlib.base import Density

__all__ = ["Decoder", "Encoder", "arithmetic_decode", "arithmetic_encode", "slots"]

WORD = 64  # bits of the interval that are kept at hand; those above are settled but for a carry
TOTAL = 1 << 32  # slots that a distribution is cut into
_FULL = 1 << WORD
_LOW = 1 << (WORD - 8)  # the interval is at least this long before each symbol

_CORRUPT = "the data are not what encoding their symbols gives: cut short, extended, corrupt, or from another model"

_MOST = 1 << 16  # examples in one stream
_SEALS = 1 << 7  # values of the checksum at its end

Model = Callable[[list[int]], Any]


class Encoder:
    r"""Narrow an interval symbol by symbol and write down where it is.

    The interval is ``[low, low + length)`` in units of :math:`2^{-(8w + 64)}` where ``w`` bytes are written. Once it is
    short, the top byte of ``low`` is written out. A later carry may still run back through bytes that are written, as
    it does in adding by hand: 0.4999 + 0.0002.

    Attributes:
        bits: length of the code in bits; known after :meth:`finish`.

    Example:
        Three symbols of a source with P(0) = 3/4, P(1) = 1/4:

        >>> encoder = Encoder()
        >>> for symbol in (0, 1, 0):
        ...     encoder.push(*[(0, 3), (3, 1)][symbol], total=4)
        >>> data = encoder.finish()
        >>> data, encoder.bits  # the interval is [36/64, 45/64): all fractions that begin 0.1001 lie in it
        (b'\x90', 4)

    Source: Rissanen and Langdon (1979); Martin (1979), for the carry.
    """

    def __init__(self) -> None:
        self.bits: int | None = None
        self._low, self._length, self._written = 0, _FULL, bytearray()

    def push(self, start: int, size: int, total: int = TOTAL) -> None:
        """Encode one symbol that owns the slots ``[start, start + size)`` of ``total``.

        Raises:
            ValueError: if the slice is empty or sticks out, or ``total`` exceeds 2^32.
            RuntimeError: after :meth:`finish`.
        """
        _check_slice(start, size, total)
        if self.bits is not None:
            raise RuntimeError("this encoder is finished; begin a new stream with a new Encoder")
        step = self._length // total
        self._low += start * step
        self._length = size * step
        self._carry()
        while self._length <= _LOW:
            self._written.append(self._low >> (WORD - 8))
            self._low = (self._low << 8) & (_FULL - 1)
            self._length <<= 8

    @property
    def written(self) -> int:
        """Bytes written so far."""
        return len(self._written)

    def finish(self) -> bytes:
        """End the stream with the fewest bits such that every fraction they begin lies in the interval.

        So no finished code is the beginning of another code for as many symbols. The last byte is filled up with zero
        bits.
        """
        if self.bits is None:
            extra = 0  # at most 9: an interval longer than 2^56 holds an aligned piece of length 2^55
            while True:
                unit = _FULL >> extra
                point = -(-self._low // unit) * unit  # the first multiple of unit in the interval
                if point + unit <= self._low + self._length:
                    break
                extra += 1
            self._low = point
            self._carry()
            self.bits = 8 * len(self._written) + extra
            self._written += self._low.to_bytes(WORD // 8, "big")[: -(-extra // 8)]
        return bytes(self._written)

    def _carry(self) -> None:
        if self._low >= _FULL:
            self._low -= _FULL
            i = len(self._written) - 1
            while self._written[i] == 0xFF:
                self._written[i] = 0
                i -= 1
            self._written[i] += 1


class Decoder:
    r"""Follow an :class:`Encoder` and say which symbol comes next.

    :meth:`target` gives the next slot; find the symbol that owns it, and :meth:`pop` its run off the stream. Past the
    end of ``data`` it reads zeros.

    Example:
        >>> decoder, symbols = Decoder(b"\x90"), []
        >>> for _ in range(3):
        ...     symbol = 0 if decoder.target(total=4) < 3 else 1
        ...     decoder.pop(*[(0, 3), (3, 1)][symbol], total=4)
        ...     symbols.append(symbol)
        >>> symbols
        [0, 1, 0]
    """

    def __init__(self, data: bytes) -> None:
        size = WORD // 8
        self._data, self._position = bytes(data), size
        self._offset = int.from_bytes(self._data[:size].ljust(size, b"\0"), "big")  # from the start of the interval
        self._length = _FULL

    def target(self, total: int = TOTAL) -> int:
        """The slot of ``total`` that the data point at.

        Raises:
            ValueError: if they point at none, which no encoder brings about: the data are corrupt or belong to another
                model.
        """
        slot = self._offset // (self._length // total)
        if slot >= total:
            raise ValueError("the data point outside every symbol's interval: corrupt, or encoded with another model")
        return slot

    def pop(self, start: int, size: int, total: int = TOTAL) -> None:
        """Take the symbol that owns the slots ``[start, start + size)`` of ``total`` off the stream.

        Raises:
            ValueError: if the slice is empty or sticks out, or does not hold :meth:`target`.
        """
        _check_slice(start, size, total)
        if not start <= self.target(total) < start + size:
            raise ValueError(f"the data point at slot {self.target(total)}, not at one of [{start}, {start + size})")
        step = self._length // total
        self._offset -= start * step
        self._length = size * step
        while self._length <= _LOW:
            byte = self._data[self._position] if self._position < len(self._data) else 0
            self._position += 1
            self._offset = (self._offset << 8) | byte
            self._length <<= 8


def slots(p: Any) -> np.ndarray:
    r"""Cut ``2**32`` slots into one run per symbol, in proportion to ``p`` and at least one each.

    Symbol ``i`` gets :math:`1 + \lfloor p_i (2^{32} - K) \rfloor` slots, and the most probable one also what is left
    over. So its share is never below :math:`p_i (1 - K / 2^{32})`, however small ``p_i`` is: rounding costs at most
    :math:`-\log_2(1 - K / 2^{32}) \approx 1.44\, K / 2^{32}` bits per symbol. A symbol of probability zero can still be
    coded, for 32 bits or a little more.

    Args:
        p: [K], probabilities (list, array or tensor), K at most 65536.

    Returns:
        [K + 1], int64, where each run starts; symbol ``i`` owns ``[c[i], c[i + 1])``.

    Raises:
        ValueError: if ``p`` is no distribution over at most 65536 symbols.

    Example:
        >>> print(slots([0.5, 0.5, 0.0]))
        [         0 2147483648 4294967295 4294967296]
    """
    p = np.asarray(p.detach().cpu() if isinstance(p, Tensor) else p, dtype=np.float64)
    if p.ndim != 1 or not 1 <= len(p) <= 1 << 16:
        raise ValueError(f"expected a vector of 1 to 65536 probabilities, got shape {p.shape}")
    return _slots_of_rows(p[None])[0]


def _slots_of_rows(p: np.ndarray) -> np.ndarray:
    """`slots` of each row: [n, K] -> [n, K + 1]."""
    total = p.sum(1, keepdims=True)
    bad = ~((p.min(1) >= 0) & (np.abs(total[:, 0] - 1) < 1e-3))  # also where there is nan; float32 probabilities pass
    if bad.any():
        row = p[bad][0]
        raise ValueError(f"expected probabilities that sum to 1, got smallest {row.min():.6g} and sum {row.sum():.6g}")
    sizes = 1 + np.floor(p / total * (TOTAL - p.shape[1])).astype(np.int64)
    sizes[np.arange(len(p)), p.argmax(1)] += TOTAL - sizes.sum(1)
    return np.pad(sizes.cumsum(1), ((0, 0), (1, 0)))


def arithmetic_encode(
    model: Model | Autoregressive, x: Any, framed: bool = True, context: Tensor | None = None
) -> bytes:
    """Compress symbols with the probabilities of a model.

    **A function.** ``model(prefix)`` returns the probabilities [K] of the next symbol, given the symbols so far, a list
    of int that it must not change. It is called once for each prefix length 0, 1, 2, ... in this order, so an adaptive
    model may keep counts, update them from ``prefix[-1]`` and start anew when the prefix is empty. Decoding calls it in
    the same way and must get *the same* probabilities, to the last bit.

    **An `Autoregressive` model.** A batch of examples becomes one stream, in the order in which the model draws: the
    first position of all examples, the second of all, and so on. Both sides take the model's cached steps, with as many
    rows, never its pass over all positions at once: the two add up in different orders, so many of their probabilities
    differ in the last bits, and a single slot that differs would garble all that follows. For the same reason both
    sides need the same weights in the same dtype, the same build of torch, number of threads and kind of processor or
    accelerator. Seven bits at the end seal the stream, so that decoding with anything else is nearly always found out.

    Args:
        model: as above; an `Autoregressive` model is run in evaluation mode.
        x: for a function, symbols 0..K-1: a sequence, array or tensor of one axis. For an `Autoregressive` model,
            [n, \\*event_shape], at most 65536 examples.
        framed: whether the number of symbols is written in front (1 byte below 128 symbols, 2 below 16384, ...), or
            that of examples together with whether there is a context (1 byte below 64, 2 below 8192, ...). Without it,
            the decoder must be told.
        context: [n, ...] or class labels [n], for an `Autoregressive` model. It is not stored: decoding needs it too.

    Returns:
        The code. See the head of this file for its length.

    Raises:
        TypeError: if the model is a density without an order, such as a VAE.
        ValueError: if a symbol is none of 0..K-1, the model returns no distribution, or the context does not fit.

    Example:
        >>> biased = lambda prefix: [0.99, 0.01]
        >>> data = arithmetic_encode(biased, [0] * 1000)
        >>> len(data)  # 1000 symbols of 0.0145 bits each take 2 bytes, and their number takes 2
        4
        >>> print(arithmetic_decode(biased, data).sum())
        0
        >>> from lvmlib import MADE
        >>> made = MADE((1, 8, 8), hidden=(32,))
        >>> x = made.sample(5)
        >>> torch.equal(arithmetic_decode(made, arithmetic_encode(made, x)), x)
        True

    Source: Rissanen and Langdon (1979); Witten, Neal and Cleary (1987).
    """
    if isinstance(model, Autoregressive):
        return _encode_examples(model, x, framed, context)
    _check_function(model, context)
    symbols = _symbols(x)
    encoder = Encoder()
    prefix: list[int] = []
    for position, symbol in enumerate(symbols):
        starts = slots(model(prefix))
        if not 0 <= symbol < len(starts) - 1:
            raise ValueError(
                f"symbol {symbol} at position {position} is not in 0..{len(starts) - 2}, the model's alphabet"
            )
        encoder.push(int(starts[symbol]), int(starts[symbol + 1] - starts[symbol]))
        prefix.append(symbol)
    return (_varint(len(symbols)) if framed else b"") + encoder.finish()


@overload
def arithmetic_decode(
    model: Autoregressive, data: bytes, length: int | None = None, context: Tensor | None = None
) -> Tensor: ...
@overload
def arithmetic_decode(
    model: Model, data: bytes, length: int | None = None, context: Tensor | None = None
) -> np.ndarray: ...
def arithmetic_decode(
    model: Model | Autoregressive, data: bytes, length: int | None = None, context: Tensor | None = None
) -> np.ndarray | Tensor:
    """Recover what :func:`arithmetic_encode` was given.

    What was decoded is encoded again on the way and must give ``data``. Data that were cut short or extended are
    therefore always found out; a byte that was changed is often, but not always: some changes yield another stream's
    code. Where this matters, store a checksum beside the code.

    Args:
        model: the function or the `Autoregressive` model that the data were encoded with.
        data: the code.
        length: number of symbols, or of examples, if it was encoded with ``framed=False``.
        context: that of the encoding, for an `Autoregressive` model.

    Returns:
        For a function [n], int64, the symbols. For an `Autoregressive` model [n, \\*event_shape], whole numbers in the
        dtype of its weights.

    Raises:
        ValueError: if the data cannot come from this model, or the context is missing or does not fit.

    Example:
        >>> import numpy as np
        >>> uniform = lambda prefix: np.full(256, 1 / 256)
        >>> bytes(arithmetic_decode(uniform, arithmetic_encode(uniform, b"as it was")).tolist())
        b'as it was'
    """
    if isinstance(model, Autoregressive):
        return _decode_examples(model, data, length, context)
    _check_function(model, context)
    if length is None:
        length, data = _read_varint(data)
    encoder, decoder = Encoder(), Decoder(data)
    prefix: list[int] = []
    for _ in range(length):
        starts = slots(model(prefix))
        symbol = int(np.searchsorted(starts, decoder.target(), side="right")) - 1
        run = int(starts[symbol]), int(starts[symbol + 1] - starts[symbol])
        decoder.pop(*run)
        encoder.push(*run)
        prefix.append(symbol)
        if encoder.written > len(data):  # else a corrupt number of symbols would keep us here for hours
            raise ValueError(_CORRUPT)
    if encoder.finish() != bytes(data):
        raise ValueError(_CORRUPT)
    return np.array(prefix, dtype=np.int64)


def _encode_examples(model: Autoregressive, x: Tensor, framed: bool, context: Tensor | None) -> bytes:
    values = model.check(x).flatten(1)  # [n, D]
    n = len(values)
    if n > _MOST:
        raise ValueError(f"one stream holds at most {_MOST} examples, but x has {n}; encode it in parts")
    encoder, symbols = Encoder(), values.long().cpu().numpy()
    with _tables(model, n, context) as table:
        known = torch.zeros_like(values)
        for t, position in enumerate(model.order.tolist()):
            starts = _slots_of_rows(table(t, known))
            here = symbols[:, position, None]
            low, high = (np.take_along_axis(starts, here + i, 1)[:, 0].tolist() for i in (0, 1))
            for a, b in zip(low, high):
                encoder.push(a, b - a)
            known[:, position] = values[:, position]
    encoder.push(_seal(symbols), 1, _SEALS)
    return (_varint(2 * n + (context is not None)) if framed else b"") + encoder.finish()


def _decode_examples(model: Autoregressive, data: bytes, n: int | None, context: Tensor | None) -> Tensor:
    if n is None:
        n, data = _read_varint(data)
        n, has_context = n // 2, bool(n % 2)
        if has_context != (context is not None):
            raise ValueError(
                "the data were encoded with a context; pass the same one"
                if has_context
                else "the data were encoded without a context, so they must be decoded without one"
            )
    if not 1 <= n <= _MOST:  # before so much memory is asked for
        raise ValueError(f"the data announce {n} examples, not 1 to {_MOST}: corrupt, or not encoded with a model")
    encoder, decoder = Encoder(), Decoder(data)
    symbols = np.zeros((n, model.dims), dtype=np.int64)
    with _tables(model, n, context) as table:
        known = torch.zeros(n, model.dims, dtype=model.dtype, device=model.order.device)
        for t, position in enumerate(model.order.tolist()):
            for row, starts in enumerate(_slots_of_rows(table(t, known))):
                symbol = int(np.searchsorted(starts, decoder.target(), side="right")) - 1
                run = int(starts[symbol]), int(starts[symbol + 1] - starts[symbol])
                decoder.pop(*run)
                encoder.push(*run)
                symbols[row, position] = symbol
            if encoder.written > len(data):
                raise ValueError(_CORRUPT)
            known[:, position] = torch.from_numpy(symbols[:, position]).to(known)
    encoder.push(_seal(symbols), 1, _SEALS)
    if encoder.finish() != bytes(data):  # another seal would end in another code
        raise ValueError(_CORRUPT)
    return known.view(n, *model.event_shape)


@contextmanager
def _tables(model: Autoregressive, n: int, context: Tensor | None) -> Iterator[Callable[[int, Tensor], np.ndarray]]:
    """``table(t, x) -> [n, K]``: what the sampler would draw position ``order[t]`` from, in float64."""
    training = [module for module in model.modules() if module.training]
    model.eval()  # or dropout would make of each side a model of its own
    try:
        with torch.no_grad():
            step = model.steps(n, model.read_context(context, n))
            yield lambda t, x: model.family.table(step(t, x).cpu().double()).numpy()
    finally:
        for module in training:
            module.training = True


def _seal(symbols: np.ndarray) -> int:
    """A checksum of all symbols: codes of two models may end alike, their symbols then seldom do."""
    return zlib.crc32(symbols.astype("<i8").tobytes()) % _SEALS


def _check_function(model: Any, context: Tensor | None) -> None:
    if isinstance(model, Density):
        raise TypeError(
            f"a {type(model).__name__} gives no probabilities position by position; arithmetic coding needs an "
            "Autoregressive model, or a function from a prefix to probabilities"
        )
    if context is not None:
        raise ValueError("a context is for Autoregressive models; let the function itself hold it")


def _symbols(x: Any) -> list[int]:
    array = np.frombuffer(x, dtype=np.uint8) if isinstance(x, (bytes, bytearray)) else None
    if array is None:
        array = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"expected a sequence of integer symbols, got shape {array.shape} and dtype {array.dtype}")
    return array.tolist()


def _check_slice(start: int, size: int, total: int) -> None:
    if not (0 < total <= TOTAL and size > 0 and start >= 0 and start + size <= total):
        raise ValueError(f"slots [{start}, {start + size}) of {total}: expected at least one, inside 1 to 2^32 of them")


def _varint(n: int) -> bytes:
    """Seven bits per byte, the lowest first; the top bit says that more follow."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def _read_varint(data: bytes) -> tuple[int, bytes]:
    n = 0
    for i, byte in enumerate(data):
        n |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return n, data[i + 1 :]
    raise ValueError("the data end before the number of symbols does: cut short, or encoded with framed=False")
