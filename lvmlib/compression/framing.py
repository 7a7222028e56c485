"""What stands in front of a code: how many symbols or examples follow."""

from __future__ import annotations

CORRUPT = "the data are not what encoding their symbols gives: cut short, extended, corrupt, or from another model"


def varint(n: int) -> bytes:
    """A whole number, seven bits per byte, the lowest first; the top bit says that more follow."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out) + bytes([n])


def read_varint(data: bytes) -> tuple[int, bytes]:
    """The number in front, and what comes after it.

    Raises:
        ValueError: if there is none.
    """
    n = 0
    for i, byte in enumerate(data[:9]):  # no number of symbols has more than 63 bits
        n |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return n, data[i + 1 :]
    raise ValueError("the data do not begin with a number of symbols: cut short, or encoded with framed=False")


def header(n: int, has_context: bool) -> bytes:
    """How many examples follow, and whether decoding needs their context."""
    return varint(2 * n + has_context)


def read_header(data: bytes, has_context: bool) -> tuple[int, bytes]:
    """The number of examples, and what comes after it.

    Raises:
        ValueError: if there is none, or they were encoded with a context and come without one, or the other way round.
    """
    n, data = read_varint(data)
    if n % 2 and not has_context:
        raise ValueError("the data were encoded with a context; pass the same one")
    if has_context and not n % 2:
        raise ValueError("the data were encoded without a context, so they must be decoded without one")
    return n // 2, data
