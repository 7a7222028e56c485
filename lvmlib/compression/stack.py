"""An ANS coder (asymmetric numeral systems): what was pushed last is popped first.

All that was written is one number. To push a symbol is to append a digit whose base is one over its probability, to pop
is to read that digit off again, and each undoes the other exactly, whatever the number. So symbols can be popped that
nobody ever pushed: random bits become draws from any distribution, and come back when these are pushed. This is what
bits-back coding lives on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lvmlib.compression.tables import engine, indices, weights

__all__ = ["Stack"]


class Stack:
    r"""Push symbols and pop them in the reverse order.

    Of the number, the top 32 to 64 bits are at hand, as :math:`s`; those below are set aside in words of 32. A symbol
    that owns ``size`` of :math:`2^{24}` slots from ``start`` on turns them into

    .. math:: 2^{24} \lfloor s / \mathrm{size} \rfloor + \mathrm{start} + (s \bmod \mathrm{size}),

    about :math:`-\log_2 (\mathrm{size} / 2^{24})` bits longer. Popping finds the symbol that owns slot
    :math:`s \bmod 2^{24}` and goes back. From an empty stack come the symbols that own slot 0; pushing them leaves it
    empty.

    Args:
        data: what :meth:`to_bytes` returned, or random bytes to pop from. The last byte must not be zero; end random
            bytes with ``b"\x01"``.

    Raises:
        ValueError: if the data end in a zero byte.

    Example:
        >>> from lvmlib.compression import Stack, slots
        >>> stack, tables = Stack(), slots([[0.75, 0.25]] * 3)
        >>> stack.push([0, 1, 1], tables)
        >>> stack.push([1, 0, 0], tables)
        >>> print(stack.pop(tables), Stack(stack.to_bytes()).pop(tables))
        [1 0 0] [0 1 1]

    Random bytes become draws, and come back:

        >>> from lvmlib.compression import Stack, slots
        >>> tables = slots([[0.75, 0.25]] * 3)
        >>> stack = Stack(b"seven random bytes\x01")
        >>> draws = stack.pop(tables)
        >>> stack.push(draws, tables)
        >>> stack.to_bytes()
        b'seven random bytes\x01'

    Source: Duda 2009; Duda 2013 for the words that are set aside.
    """

    def __init__(self, data: bytes = b"") -> None:
        if data[-1:] == b"\0":
            raise ValueError("the data end in a zero byte, which no stack gives; after random bytes append b'\\1'")
        words = np.frombuffer(bytes(data) + bytes(-len(data) % 4), dtype="<u4").astype(np.uint32)
        self._coder, self._family = engine().stack.AnsCoder(words), engine().model.Categorical(perfect=False)

    def push(self, symbols: Any, starts: Any) -> None:
        """Encode symbols, the last one first, so that :meth:`pop` with the same tables returns them in their order.

        Args:
            symbols: [n], each in 0..K-1.
            starts: [n, K + 1], a table of slots for each.

        Raises:
            ValueError: if a symbol is none of 0..K-1, or a row is no table of slots.
        """
        rows = weights(starts)  # [n, K]
        symbols = indices(symbols, rows)
        if rows.shape[1] > 1:  # a single symbol needs no bits
            self._coder.encode_reverse(symbols, self._family, rows)

    def pop(self, starts: Any) -> np.ndarray:
        """Take symbols off the stack.

        Args:
            starts: [n, K + 1], a table of slots for each.

        Returns:
            [n], int64; those that were pushed last with these tables, or else draws, as random as the bits they use up.

        Raises:
            ValueError: if a row is no table of slots.
        """
        rows = weights(starts)  # [n, K]
        if rows.shape[1] == 1:
            return np.zeros(len(rows), dtype=np.int64)
        return self._coder.decode(self._family, rows).astype(np.int64)

    @property
    def bits(self) -> int:
        """Length of the number in bits, the leading one not counted."""
        return int(self._coder.num_valid_bits())

    def to_bytes(self) -> bytes:
        """The whole number, the lowest byte first. The stack remains as it is."""
        return self._coder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")
