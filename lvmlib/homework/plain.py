"""Plain values and JSON, both ways: numbers, text, arrays, tensors, and lists, tuples and dicts of them.

What comes out of a sandbox is taken apart here and trusted in nothing: whatever does not describe a plain value
exactly is refused. The sandbox holds a copy of this file alone, so it imports nothing from `lvmlib`.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import sys
from typing import Any

import numpy as np

TENSORS = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
ARRAYS = (*TENSORS, "uint16", "uint32", "uint64", "complex64", "complex128")
DEPTH = 20  # lists within lists
DIMENSIONS = 32  # of an array
ITEMS = 1_000_000  # separators in one line of JSON: a few bytes each there, but a hundred once it is read
KEYS = 10_000  # of all dicts together: keys that are made to collide take time that grows with their square
DIGITS = 30_000  # hexadecimal digits of an integer: beyond this, arithmetic with it is slow
LARGEST = 1 << 53  # integers up to here are JSON numbers


def to_plain(value: Any, depth: int = 0) -> Any:
    """Return a plain value as something that JSON can hold.

    Args:
        value: None, a bool, a number, a string, an array, a tensor, or a list, tuple or dict of these.
        depth: how many containers it lies in.

    Raises:
        TypeError: if there is anything else in it; the message names it.

    >>> import numpy as np
    >>> from lvmlib.homework.plain import from_plain, to_plain
    >>> from_plain(to_plain({"a": (1, 2.5), "b": np.arange(3)}))
    {'a': (1, 2.5), 'b': array([0, 1, 2])}
    """
    kind = type(value)
    if value is None or kind in (bool, float, str):
        return value
    if kind is int:
        if value.bit_length() > 4 * DIGITS - 8:
            raise TypeError(f"an integer of {value.bit_length():,} bits")
        return value if abs(value) <= LARGEST else {"int": f"{value:x}"}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if isinstance(value, np.generic):
        return {"scalar": _array(np.asarray(value))}
    if isinstance(value, np.ndarray):
        return {"array": _array(np.asarray(value))}
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return {"tensor": _array(_of_tensor(value))}
    if depth >= DEPTH:
        raise TypeError(f"lists nested more than {DEPTH} deep")
    if isinstance(value, (list, tuple)):
        items = [to_plain(item, depth + 1) for item in value]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, dict):
        if len(value) > KEYS:
            raise TypeError(f"a dict of {len(value):,} keys")
        return {"dict": [[to_plain(key, depth + 1), to_plain(item, depth + 1)] for key, item in value.items()]}
    raise TypeError(f"{_article(kind.__name__)} (only numbers, text, arrays, tensors, and lists and dicts of these)")


def _article(word: str) -> str:
    """Return a word with its article."""
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"


def _of_tensor(value: Any) -> np.ndarray:
    """Return a tensor's numbers."""
    name = str(value.dtype).removeprefix("torch.")
    if name not in TENSORS:
        raise TypeError(f"a tensor of {name}")
    return value.detach().cpu().resolve_conj().resolve_neg().numpy()


def _array(value: np.ndarray) -> dict[str, Any]:
    """Return an array's type, shape and bytes."""
    if value.dtype.name not in ARRAYS or value.ndim > DIMENSIONS:
        raise TypeError(f"an array of {value.dtype.name} in {value.ndim} dimensions")
    little = value.astype(value.dtype.newbyteorder("<"), copy=False)
    return {
        "dtype": value.dtype.name,
        "shape": list(value.shape),
        "bytes": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def from_plain(data: Any, max_bytes: int = 64_000_000) -> Any:
    """Return the plain value that `to_plain` described.

    Args:
        data: what JSON gave.
        max_bytes: the most that all its arrays may hold together.

    Raises:
        ValueError: if it does not describe a plain value.
    """
    return _Reader(max_bytes).read(data, 0)


def parse(line: bytes) -> Any:
    """Return what a line of JSON from a stranger holds.

    Raises:
        ValueError: if it is not JSON, is nested too deeply, or would grow to many times its size.
    """
    if items(line) > ITEMS:
        raise ValueError(f"more than {ITEMS:,} items")
    try:
        return json.loads(line, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def items(line: bytes) -> int:
    """Return how many things a line of JSON holds at most, without reading it."""
    return sum(line.count(mark) for mark in (b",", b"[", b"{"))


def _integer(text: str) -> int:
    """Return an integer that is no longer than ours are; a very long one takes for ever to read."""
    if len(text) > 20:
        raise ValueError("an integer too large for a number")
    return int(text)


class _Reader:
    """Takes a description apart, counting bytes."""

    def __init__(self, left: int) -> None:
        self.left, self.keys = left, KEYS

    def read(self, data: Any, depth: int) -> Any:
        if data is None or isinstance(data, (bool, float, str)):
            return data
        if isinstance(data, int):
            if abs(data) > LARGEST:
                raise ValueError("an integer too large for a number")
            return data
        if depth > DEPTH:
            raise ValueError("nested too deeply")
        if isinstance(data, list):
            return [self.read(item, depth + 1) for item in data]
        if not isinstance(data, dict) or len(data) != 1:
            raise ValueError("not a plain value")
        ((kind, inner),) = data.items()
        reader = getattr(self, f"read_{kind}", None) if kind in KINDS else None
        if reader is None:
            raise ValueError("not a plain value")
        return reader(inner, depth + 1)

    def read_int(self, inner: Any, depth: int) -> int:
        if not isinstance(inner, str) or len(inner) > DIGITS:
            raise ValueError("not an integer")
        return int(inner, 16)

    def read_complex(self, inner: Any, depth: int) -> complex:
        if not isinstance(inner, list) or len(inner) != 2 or not all(type(part) is float for part in inner):
            raise ValueError("not a complex number")
        return complex(*inner)

    def read_tuple(self, inner: Any, depth: int) -> tuple[Any, ...]:
        if not isinstance(inner, list):
            raise ValueError("not a tuple")
        return tuple(self.read(item, depth) for item in inner)

    def read_dict(self, inner: Any, depth: int) -> dict[Any, Any]:
        if not isinstance(inner, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in inner):
            raise ValueError("not a dict")
        self.keys -= len(inner)
        if self.keys < 0:
            raise ValueError("too many keys")
        pairs = [(self.read(key, depth), self.read(item, depth)) for key, item in inner]
        try:
            return dict(pairs)
        except TypeError:
            raise ValueError("a key that is none") from None

    def read_scalar(self, inner: Any, depth: int) -> Any:
        array = self.read_array(inner, depth)
        if array.shape:
            raise ValueError("not a number")
        return array[()]

    def read_tensor(self, inner: Any, depth: int) -> Any:
        import torch

        array = self.read_array(inner, depth)
        if array.dtype.name not in TENSORS:
            raise ValueError("not a tensor")
        return torch.from_numpy(array)

    def read_array(self, inner: Any, depth: int) -> np.ndarray:
        if not isinstance(inner, dict) or inner.keys() != {"dtype", "shape", "bytes"}:
            raise ValueError("not an array")
        name, shape, text = inner["dtype"], inner["shape"], inner["bytes"]
        if name not in ARRAYS or not isinstance(text, str) or not isinstance(shape, list) or len(shape) > DIMENSIONS:
            raise ValueError("not an array")
        if not all(type(size) is int and 0 <= size < 1 << 31 for size in shape):
            raise ValueError("not a shape")
        dtype = np.dtype(name).newbyteorder("<")
        size = math.prod(shape) * dtype.itemsize
        self.left -= size
        if self.left < 0 or len(text) != 4 * ((size + 2) // 3):
            raise ValueError("the bytes of an array do not fit its shape, or are too many")
        try:
            raw = bytearray(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            raise ValueError("not the bytes of an array") from None
        if len(raw) != size or (name == "bool" and size and max(raw) > 1):
            raise ValueError("not the bytes of an array")
        return np.frombuffer(raw, dtype).reshape(shape).astype(np.dtype(name), copy=False)


KINDS = ("int", "complex", "tuple", "dict", "scalar", "tensor", "array")
