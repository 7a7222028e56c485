"""A range coder: what was pushed first is popped first.

It narrows an interval symbol by symbol, with integers of 64 bits. The library constriction does the work. What is added
here is bytes in place of its words of 32 bits, and an ending that costs at most 2 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lvmlib.compression.tables import engine, indices, weights

__all__ = ["Decoder", "Encoder"]


class Encoder:
    """Write symbols so that a :class:`Decoder` reads them in the same order.

    Attributes:
        bits: length of the code in bits; known after :meth:`finish`.

    Example:
        Three symbols of a source with P(0) = 3/4, P(1) = 1/4:

        >>> from lvmlib.compression import Decoder, Encoder, slots
        >>> tables = slots([[0.75, 0.25]] * 3)
        >>> encoder = Encoder()
        >>> encoder.push([0, 1, 0], tables)
        >>> data = encoder.finish()
        >>> data, encoder.bits  # [36/64, 45/64) holds every fraction that begins 0.1001
        (b'\\x90', 4)
        >>> print(Decoder(data).pop(tables))
        [0 1 0]

    Source: Pasco 1976; Martin 1979.
    """

    def __init__(self) -> None:
        self.bits: int | None = None
        self._coder, self._family = engine().queue.RangeEncoder(), engine().model.Categorical(perfect=False)

    def push(self, symbols: Any, starts: Any) -> None:
        """Encode symbols, one after the other.

        Args:
            symbols: [n], each in 0..K-1.
            starts: [n, K + 1], a table of slots for each.

        Raises:
            ValueError: if a symbol is none of 0..K-1, or a row is no table of slots.
            RuntimeError: after :meth:`finish`.
        """
        if self.bits is not None:
            raise RuntimeError("this encoder is finished; begin a new stream with a new Encoder")
        rows = weights(starts)  # [n, K]
        symbols = indices(symbols, rows)
        if rows.shape[1] > 1:  # a single symbol needs no bits
            self._coder.encode(symbols, self._family, rows)

    @property
    def written(self) -> int:
        """Bytes that are settled but for a carry."""
        return 4 * self._coder.pos()[0]

    def finish(self) -> bytes:
        """End the stream with the fewest bits such that every fraction they begin lies in the interval.

        So no finished code is the beginning of another code for as many symbols. The last byte is filled up with zero
        bits.
        """
        words, (position, (low, length)) = self._coder.get_compressed(), self._coder.pos()
        if not len(words):  # nothing was narrowed
            self.bits = 0
            return b""
        # The interval [low, low + length) in units of 2^-size; so far, low lacks the words before `position`.
        size = 32 * (position + 2)
        point = int.from_bytes(words[: position + 1].astype(">u4").tobytes(), "big") << 32
        low = point - (-low & 0xFFFFFFFF)  # constriction rounds low up to a whole word
        spare = length.bit_length() - 1  # the longest piece [i, i + 1) 2^spare that may fit, or else half of it
        while (_divide_up(low, spare) + 1) << spare > low + length:
            spare -= 1
        self.bits = size - spare
        return (_divide_up(low, spare) << (-self.bits % 8)).to_bytes(-(-self.bits // 8), "big")


class Decoder:
    """Read what an :class:`Encoder` wrote, in the same order. Past the end of the data it reads zeros.

    Example:
        >>> from lvmlib.compression import Decoder, slots
        >>> decoder = Decoder(b"\\x90")
        >>> print(decoder.pop(slots([[0.75, 0.25]] * 2)), decoder.pop(slots([0.75, 0.25])))
        [0 1] [0]
    """

    def __init__(self, data: bytes) -> None:
        words = np.frombuffer(bytes(data) + bytes(-len(data) % 4), dtype=">u4").astype(np.uint32)
        self._coder, self._family = engine().queue.RangeDecoder(words), engine().model.Categorical(perfect=False)

    def pop(self, starts: Any) -> np.ndarray:
        """Take the next symbols off the stream.

        Args:
            starts: [n, K + 1], the tables of slots that they were pushed with.

        Returns:
            [n], int64.

        Raises:
            ValueError: if a row is no table of slots, or the data point at no symbol, which no encoder brings about:
                they are corrupt or belong to another model.
        """
        rows = weights(starts)  # [n, K]
        if rows.shape[1] == 1:
            return np.zeros(len(rows), dtype=np.int64)
        try:
            return self._coder.decode(self._family, rows).astype(np.int64)
        except AssertionError as error:  # what constriction raises
            raise ValueError(
                "the data point outside every symbol's interval: cut short, corrupt, or encoded with another model"
            ) from error


def _divide_up(n: int, bits: int) -> int:
    return -(-n >> bits)
