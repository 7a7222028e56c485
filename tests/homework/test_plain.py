"""Plain values survive the way out of a sandbox, and nothing else gets through."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

from lvmlib.homework.plain import DEPTH, from_plain, parse, to_plain


def there_and_back(value: object) -> object:
    return from_plain(parse(json.dumps(to_plain(value)).encode()))


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -3, 2**53, 2**53 + 1, -(2**200), 1.5, float("inf"), 1 - 2j, "Zürich\n", [], [1, [2.0, "x"]], ()]
    + [(1, (2,)), {"a": {"b": [None]}}, {1: 2, (1, "x"): 3, None: 4, False: 5.5}],
    ids=repr,
)
def test_python_values_come_back_equal_and_of_the_same_type(value):
    back = there_and_back(value)
    assert back == value and type(back) is type(value)


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3).T, np.zeros((0, 4), np.int16), np.array(2.5), np.array([True, False])]
    + [np.array([np.nan, -np.inf, -0.0], np.float32), np.arange(3, dtype=">i4"), np.ones(2, np.complex64)]
    + [np.arange(20).reshape(4, 5)[::2, ::-1], np.arange(3, dtype=np.uint64) + 2**63],
    ids=lambda a: f"{a.dtype.str}{a.shape}",
)
def test_arrays_come_back_bit_for_bit(array):
    back = there_and_back(array)
    assert back.dtype == array.dtype.newbyteorder("=") and back.shape == array.shape
    np.testing.assert_array_equal(back, array)
    back[...] = 1  # the test may write into what it got


def test_tensors_come_back_as_tensors_without_their_graph():
    tensor = torch.arange(6.0).reshape(2, 3).requires_grad_().T * 2
    back = there_and_back({"weights": [tensor]})["weights"][0]
    assert torch.equal(back, tensor.detach()) and back.dtype == torch.float32 and not back.requires_grad
    assert there_and_back(torch.tensor(True)).dtype == torch.bool


def test_a_number_of_numpy_stays_one():
    assert type(there_and_back(np.float32(0.1))) is np.float32


class Liar:
    """Says that it is an array."""

    __class__ = property(lambda self: np.ndarray)

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        return np.ones(3)


@pytest.mark.parametrize(
    "value",
    [object(), print, np.array(["text"]), np.array([None]), np.zeros(2, "M8[s]"), torch.zeros(2, dtype=torch.bfloat16)]
    + [iter([1]), {1, 2}, b"bytes", 1 << 1_000_000, [[{"deep": (lambda: 0)}]], np.zeros(2, [("a", "f8")])],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_is_named(value):
    with pytest.raises(TypeError, match=r"^an? "):
        to_plain(value)


def test_a_liar_is_taken_at_its_word_and_only_its_word_travels():
    np.testing.assert_array_equal(there_and_back(Liar()), np.ones(3))


def test_lists_are_nested_only_so_deep():
    value: list = []
    for _ in range(DEPTH + 1):
        value = [value]
    with pytest.raises(TypeError, match="nested"):
        to_plain(value)
    with pytest.raises(ValueError, match="nested"):
        from_plain(value)


GOOD = to_plain(np.arange(2.0))["array"]
FORGED = {
    "object array": {"array": GOOD | {"dtype": "object"}},
    "dtype that is a list": {"array": GOOD | {"dtype": ["f8"]}},
    "structured": {"array": GOOD | {"dtype": "f8,f8"}},
    "shape too large": {"array": GOOD | {"shape": [3]}},
    "shape too small": {"array": GOOD | {"shape": [1]}},
    "negative shape": {"array": GOOD | {"shape": [-1, -2]}},
    "shape of bools": {"array": GOOD | {"shape": [True, 2]}},
    "shape of floats": {"array": GOOD | {"shape": [2.0]}},
    "huge empty shape": {"array": GOOD | {"shape": [0, 1 << 60], "bytes": ""}},
    "many dimensions": {"array": GOOD | {"shape": [1] * 40 + [2]}},
    "not base64": {"array": GOOD | {"bytes": "!" * 24}},
    "padding inside": {"array": GOOD | {"bytes": "=" * 24}},
    "bool that is 2": {"array": {"dtype": "bool", "shape": [3], "bytes": "AgIC"}},
    "more keys": {"array": GOOD | {"__reduce__": 1}},
    "not a number": {"scalar": GOOD},
    "tensor of complex": {"tensor": to_plain(np.ones(2, complex))["array"]},
    "two kinds": {"array": GOOD, "tuple": []},
    "unknown kind": {"pickle": "gASVCgAAAA=="},
    "method of the reader": {"read": [1]},
    "plain dict": {"a": 1},
    "key that is a list": {"dict": [[[1], 2]]},
    "pair of three": {"dict": [[1, 2, 3]]},
    "integer in words": {"int": "zz"},
    "long integer": {"int": "f" * 100_000},
    "large integer": 1 << 60,
    "complex of text": {"complex": ["1", "2"]},
    "tuple of nothing": {"tuple": None},
}


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED)
def test_forged_descriptions_are_refused(data):
    with pytest.raises(ValueError):
        from_plain(data)


def test_arrays_together_hold_no_more_bytes_than_allowed():
    data = to_plain([np.zeros(100), np.zeros(100)])
    from_plain(data, 1600)
    with pytest.raises(ValueError, match="too many"):
        from_plain(data, 1599)


def test_keys_that_collide_do_not_hold_up_the_grader():
    keys = [{"int": f"{n * (2**61 - 1):x}"} for n in range(1, 200_000)]
    start = time.monotonic()
    with pytest.raises(ValueError, match="too many keys"):
        from_plain({"dict": [[key, 0] for key in keys]})
    with pytest.raises(ValueError, match="too many keys"):
        from_plain([{"dict": [[key, 0] for key in keys[:4_000]]}] * 4)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b"{" * 10, b"", b"\xff\xfe", b"1" * 5000, b"[" + b"0," * 2_000_000 + b"0]", b'{"a":' * 50_000],
    ids=["deep lists", "broken", "empty", "not text", "long integer", "many items", "deep dicts"],
)
def test_lines_that_are_not_json_of_ordinary_size_are_refused(line):
    with pytest.raises(ValueError):
        parse(line)
