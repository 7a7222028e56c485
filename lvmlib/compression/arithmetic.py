r"""Arithmetic coding: turn any stream of conditional probabilities into bits, and back, exactly.

A symbol code spends a whole number of bits on each symbol. An arithmetic code spends them on the whole stream: it cuts
[0, 1) into one interval per stream, as long as the stream is probable, by narrowing an interval symbol by symbol, and
names the last interval by a binary fraction inside it.

The narrowing is that of :class:`Encoder` and :class:`Decoder`, which know integers only. :func:`arithmetic_encode` and
:func:`arithmetic_decode` drive them with a model: a function from what came before to probabilities, or an
`Autoregressive` model, which codes a whole batch of examples in one stream.

**How long the code is.** For a stream of ``n`` symbols to which the model gives probability ``P``, over an alphabet of
``K`` symbols,

.. math:: \text{bits} \;\le\; -\log_2 P + 2 + n \log_2 \frac{1}{(1 - K / 2^{24})(1 - 2^{-8})}.

The 2 bits are the price of ending the stream inside its interval. The last term is the price of doing this with
integers: probabilities become multiples of :math:`2^{-24}`, at least one of them each (see :func:`slots`), and of an
interval of 32 to 64 bits, cut into :math:`2^{24}` equal slots, up to :math:`2^{-8}` stays unused when it is short. At
worst this takes 0.006 bits a symbol; as the interval goes through all lengths in turn, the mean is near
:math:`1.3 \cdot 10^{-4}`. Bytes round up once, by at most 7 bits. What is written in front and behind is not counted
here; see :func:`arithmetic_encode`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy as np
from torch import Tensor

from lvmlib.autoregressive import Autoregressive
from lvmlib.base import Density
from lvmlib.checks import check_count
from lvmlib.compression.examples import decode_examples, encode_examples
from lvmlib.compression.framing import CORRUPT, read_varint, varint
from lvmlib.compression.queue import Decoder, Encoder
from lvmlib.compression.tables import slots

__all__ = ["arithmetic_decode", "arithmetic_encode"]

Model = Callable[[list[int]], Any]


def arithmetic_encode(
    model: Model | Autoregressive, x: Any, framed: bool = True, context: Tensor | None = None
) -> bytes:
    """Compress symbols with the probabilities of a model.

    **A function.** ``model(prefix)`` returns the probabilities [K] of the next symbol, given the symbols so far, a list
    of int that it must not change. It is called once for each prefix length 0, 1, 2, ... in this order, so an adaptive
    model may keep counts, update them from ``prefix[-1]`` and start anew when the prefix is empty. Decoding calls it in
    the same way and must get *the same* probabilities, to the last bit.

    **An autoregressive model.** A batch of examples becomes one stream, in the order in which the model draws: the
    first position of 256 examples, their second, and so on, then the next 256. Both sides take the model's cached
    steps, with as many rows, never its pass over all positions at once: the two add up in different orders, so many of
    their probabilities differ in the last bits, and a single slot that differs would garble all that follows. For the
    same reason both sides need the same weights in the same dtype, the same build of torch, number of threads and kind
    of processor or accelerator. Seven bits at the end seal the stream, so that decoding with anything else is nearly
    always found out. A stream takes at least one bit for each example, so that its length bounds what it may announce.

    Args:
        model: as above; an `Autoregressive` model is run in evaluation mode.
        x: for a function, symbols 0..K-1: a sequence, array or tensor of one axis. For an `Autoregressive` model,
            [n, \\*event_shape].
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
        >>> import torch
        >>> from lvmlib import MADE, arithmetic_decode, arithmetic_encode
        >>> biased = lambda prefix: [0.99, 0.01]
        >>> data = arithmetic_encode(biased, [0] * 1000)
        >>> len(data)  # 1000 symbols of 0.0145 bits each take 2 bytes, and their number takes 2
        4
        >>> print(arithmetic_decode(biased, data).sum())
        0
        >>> made = MADE((1, 8, 8), hidden=(32,))
        >>> x = made.sample(5)
        >>> torch.equal(arithmetic_decode(made, arithmetic_encode(made, x)), x)
        True

    Source: Rissanen and Langdon 1979; Witten, Neal and Cleary 1987.
    """
    if isinstance(model, Autoregressive):
        return encode_examples(model, x, framed, context)
    _check_function(model, context)
    symbols = _symbols(x)
    encoder = Encoder()
    prefix: list[int] = []
    for position, symbol in enumerate(symbols):
        starts = _table(model, prefix)
        if not 0 <= symbol < len(starts) - 1:
            raise ValueError(
                f"symbol {symbol} at position {position} is not in 0..{len(starts) - 2}, the model's alphabet"
            )
        encoder.push(symbol, starts)
        prefix.append(symbol)
    return (varint(len(symbols)) if framed else b"") + encoder.finish()


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
        >>> from lvmlib import arithmetic_decode, arithmetic_encode
        >>> uniform = lambda prefix: np.full(256, 1 / 256)
        >>> bytes(arithmetic_decode(uniform, arithmetic_encode(uniform, b"as it was")).tolist())
        b'as it was'
    """
    length = None if length is None else check_count(length, "length", "counts symbols or examples", least=None)
    if isinstance(model, Autoregressive):
        return decode_examples(model, data, length, context)
    _check_function(model, context)
    if length is None:
        length, data = read_varint(data)
    encoder, decoder = Encoder(), Decoder(data)
    prefix: list[int] = []
    for _ in range(length):
        starts = _table(model, prefix)
        symbol = int(decoder.pop(starts)[0])
        encoder.push(symbol, starts)
        prefix.append(symbol)
        if encoder.written > len(data):  # else a corrupt number of symbols would keep us here for hours
            raise ValueError(CORRUPT)
    if encoder.finish() != bytes(data):
        raise ValueError(CORRUPT)
    return np.array(prefix, dtype=np.int64)


def _check_function(model: Any, context: Tensor | None) -> None:
    if isinstance(model, Density):
        raise TypeError(
            f"a {type(model).__name__} gives no probabilities position by position; arithmetic coding needs an "
            "Autoregressive model, or a function from a prefix to probabilities"
        )
    if context is not None:
        raise ValueError("a context is for Autoregressive models; let the function itself hold it")


def _table(model: Model, prefix: list[int]) -> np.ndarray:
    starts = slots(model(prefix))
    if starts.ndim != 1:
        shape = [*starts.shape[:-1], starts.shape[-1] - 1]
        raise ValueError(f"the model must return probabilities of shape [K], got {shape}")
    return starts


def _symbols(x: Any) -> list[int]:
    array = np.frombuffer(x, dtype=np.uint8) if isinstance(x, (bytes, bytearray)) else None
    if array is None:
        array = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"expected a sequence of integer symbols, got shape {array.shape} and dtype {array.dtype}")
    return array.tolist()
