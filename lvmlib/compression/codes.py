"""Symbol codes: a whole number of bits for each symbol.

A code gives each symbol a string of bits, its codeword. One that can be decoded at sight is a prefix code; Kraft's
inequality says which lengths its codewords may have, and Huffman's algorithm finds the best ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from lvmlib.information.checks import Array, arrays, check_distribution

__all__ = ["huffman_code", "kraft_sum", "prefix_code", "prefix_decode"]


def kraft_sum(lengths: Iterable[int]) -> Fraction:
    r"""Kraft sum of binary codeword lengths, as an exact fraction.

    .. math:: \sum_i 2^{-\ell_i}

    At most one for every uniquely decodable code; and whenever it is at most one, a prefix code with these lengths
    exists (:func:`prefix_code`).

    Args:
        lengths: codeword lengths in bits, not negative.

    Returns:
        The sum.

    Raises:
        ValueError: if a length is negative.

    Example:
        >>> from lvmlib.compression import kraft_sum
        >>> print(kraft_sum([2, 2, 1]), kraft_sum([1, 1, 2]))
        1 5/4

    Source: Kraft 1949; McMillan 1956.
    """
    lengths = [int(n) for n in lengths]
    if any(n < 0 for n in lengths):
        raise ValueError(f"codeword lengths must not be negative, got {lengths}")
    return sum((Fraction(1, 2**n) for n in lengths), Fraction(0))


def prefix_code(lengths: Mapping[Any, int] | Sequence[int]) -> dict[Any, str]:
    """Build a prefix code from codeword lengths, Kraft's construction.

    Codewords are handed out in order of length, each the first of its length that no earlier one is a prefix of, so
    equal lengths give equal codes.

    Args:
        lengths: bits for each symbol, as a mapping, or as a sequence whose symbols are 0, 1, 2, ...

    Returns:
        Symbol to codeword, a string of ``0`` and ``1``, in the order of ``lengths``.

    Raises:
        ValueError: if a length is negative, or the Kraft sum exceeds one, so that no such code exists.

    Example:
        >>> from lvmlib.compression import prefix_code
        >>> prefix_code({"a": 2, "b": 2, "c": 1})
        {'a': '10', 'b': '11', 'c': '0'}

    Source: Kraft 1949.
    """
    lengths = dict(lengths) if isinstance(lengths, Mapping) else dict(enumerate(lengths))
    total = kraft_sum(lengths.values())
    if total > 1:
        raise ValueError(
            f"no prefix code has these lengths: their Kraft sum {total} exceeds 1; make some of them longer"
        )
    code, word, depth = {}, 0, 0
    for symbol in sorted(lengths, key=lambda s: lengths[s]):  # a stable sort: ties keep the given order
        word <<= lengths[symbol] - depth
        depth = lengths[symbol]
        code[symbol] = format(word, f"0{depth}b") if depth else ""
        word += 1
    return {symbol: code[symbol] for symbol in lengths}


def prefix_decode(bits: str, code: Mapping[Any, str]) -> list[Any]:
    """Decode a string of bits with a prefix code, from left to right and without looking ahead.

    Args:
        bits: a string of ``0`` and ``1``.
        code: symbol to codeword; no codeword may be a prefix of another.

    Returns:
        The symbols.

    Raises:
        ValueError: if the code is not prefix-free or has an empty codeword, or the bits are no whole number of
            codewords.

    Example:
        >>> from lvmlib.compression import prefix_decode
        >>> "".join(prefix_decode("0011001", {"a": "00", "b": "01", "c": "1"}))
        'accac'

    Source: Cover and Thomas 2006, section 5.1.
    """
    words = sorted(code.values())  # a word and what it is a prefix of become neighbours
    if any(later.startswith(earlier) for earlier, later in zip(words, words[1:], strict=False)) or "" in words:
        raise ValueError(f"not a prefix code, so it cannot be decoded at sight: {dict(code)}")
    symbol_of = {word: symbol for symbol, word in code.items()}
    symbols, word = [], ""
    for bit in bits:
        word += bit
        if word in symbol_of:
            symbols.append(symbol_of[word])
            word = ""
    if word:
        raise ValueError(f"the bits end inside a codeword: {word!r} is left over after {len(symbols)} symbols")
    return symbols


def huffman_code(p: Mapping[Any, float] | Array) -> dict[Any, str]:
    """Huffman's code: no code that gives each symbol its own codeword has a smaller mean length.

    The two least probable nodes are merged until one is left; merges fix the lengths, and :func:`prefix_code` turns
    lengths into codewords. Ties are broken by age (symbols first, in their given order, then merges), so that equal
    input gives equal codes. A symbol of probability zero gets no codeword. A source with a single symbol needs no bits:
    its codeword is the empty string.

    Args:
        p: symbol to probability, or a vector [K] of probabilities whose symbols are 0, 1, 2, ...

    Returns:
        Symbol to codeword, a string of ``0`` and ``1``, in the order of ``p``.

    Raises:
        ValueError: if ``p`` is no distribution.

    Example:
        >>> from lvmlib import huffman_code
        >>> huffman_code({"a": 0.5, "b": 0.25, "c": 0.25})
        {'a': '0', 'b': '10', 'c': '11'}

    Source: Huffman 1952.
    """
    symbols = list(p) if isinstance(p, Mapping) else None
    (probabilities,) = arrays(list(p.values()) if isinstance(p, Mapping) else p)
    if probabilities.ndim != 1:
        raise ValueError(f"expected a vector [K] of probabilities or a mapping, got shape {tuple(probabilities.shape)}")
    check_distribution(probabilities)
    values = [float(v) for v in probabilities]
    symbols = list(range(len(values))) if symbols is None else symbols

    lengths = {i: 0 for i, v in enumerate(values) if v > 0}
    heap = [(values[i], i, [i]) for i in lengths]  # (probability, age, the symbols below this node)
    heapq.heapify(heap)
    for age in range(len(values), len(values) + len(heap) - 1):
        (v, _, left), (w, _, right) = heapq.heappop(heap), heapq.heappop(heap)
        for i in left + right:
            lengths[i] += 1  # one level further from the root
        heapq.heappush(heap, (v + w, age, left + right))
    return {symbols[i]: word for i, word in prefix_code(lengths).items()}
