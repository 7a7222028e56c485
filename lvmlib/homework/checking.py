"""What the tests of homework use: random inputs that the instructor's seed decides, and comparisons that explain."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

SEED = "LVM_HOMEWORK_SEED"  # the environment variable that sets the seed where nothing else does
_seeds: list[int] = []


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let `rng` draw from this seed inside the block."""
    _seeds.append(seed)
    try:
        yield
    finally:
        _seeds.pop()


def rng(name: str) -> np.random.Generator:
    r"""Return the generator of a test's inputs: one for each name, decided by the instructor's seed.

    Args:
        name: of the stream; two tests that draw from one name get the same numbers.

    >>> from lvmlib.homework.checking import rng, seeded
    >>> with seeded(7):
    ...     a, b = rng("weights").normal(), rng("weights").normal()
    >>> a == b
    True
    """
    seed = _seeds[-1] if _seeds else int(os.environ.get(SEED, "0"))
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def as_array(value: Any, what: str) -> np.ndarray:
    """Return a number, an array, a tensor or a list of numbers as an array.

    Raises:
        AssertionError: if it is anything else; the message says what came.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    assert value is not None, f"{what}: None came back; is there a `return`?"
    assert value is not ..., f"{what}: this is not answered yet"
    try:
        array = np.asarray(value)
    except Exception:
        array = np.asarray(None)
    assert array.dtype.kind in "biuf", f"{what}: expected numbers, got {type(value).__name__}"
    return array


def close(got: Any, want: Any, hint: str, rtol: float | None = None, atol: float | None = None) -> None:
    """Compare an answer with what was expected, shape first; the hint says what to look at.

    Args:
        got: a number, an array or a tensor.
        want: likewise; its shape is the one expected.
        hint: the sentence that a student reads when the two differ.
        rtol: how far they may lie apart, relative to `want`; 1e-4 for float32, and 1e-6 otherwise.
        atol: the same in absolute terms; 1e-5 for float32, and 1e-8 otherwise.

    Raises:
        AssertionError: if they differ in kind, shape or value.

    >>> import numpy as np
    >>> from lvmlib.homework.checking import close
    >>> close(0.1 + 0.2, 0.3, "the sum of the two")
    >>> close(np.zeros(3), np.zeros(2), "the sum of the two")
    Traceback (most recent call last):
    AssertionError: the sum of the two: expected shape (2,), got (3,)
    """
    wanted, array = as_array(want, hint), as_array(got, hint)
    assert array.shape == wanted.shape, f"{hint}: expected shape {wanted.shape}, got {array.shape}"
    single = np.float32 in (array.dtype, wanted.dtype)
    rtol = (1e-4 if single else 1e-6) if rtol is None else rtol
    atol = (1e-5 if single else 1e-8) if atol is None else atol
    array, wanted = array.astype(float), wanted.astype(float)
    assert not (np.isnan(array) & ~np.isnan(wanted)).any(), f"{hint}: NaN came back"
    assert np.allclose(array, wanted, rtol, atol, equal_nan=True), hint


def own(*answers: Any) -> None:
    """Refuse an answer that is the library's, or that calls the library.

    Args:
        answers: functions or classes. One that runs in a sandbox passes: there the library does not exist.

    Raises:
        AssertionError: if one comes from `lvmlib`, or names something that does.

    >>> from lvmlib import elbo
    >>> from lvmlib.homework.checking import own
    >>> own(elbo)
    Traceback (most recent call last):
    AssertionError: `elbo` comes from lvmlib; write your own
    """
    for answer in answers:
        name = getattr(answer, "__name__", "this")
        assert answer is not None, "this is not defined yet; run the cell that defines it"
        assert not _of_library(answer), f"`{name}` comes from lvmlib; write your own"
        assert not any(map(_of_library, _used(answer))), f"`{name}` uses lvmlib; write it without"


def _of_library(thing: Any) -> bool:
    """Return whether a thing is `lvmlib`, one of its modules, or defined in one."""
    module = getattr(thing, "__module__", None) or getattr(thing, "__name__", None)
    return isinstance(module, str) and module.partition(".")[0] == "lvmlib"


def _used(answer: Any) -> list[Any]:
    """Return the global things that an answer names, itself or through other functions beside it."""
    waiting: list[Any] = [answer]
    seen: list[Any] = []
    while waiting:
        thing = waiting.pop()
        if any(thing is other for other in seen):
            continue
        seen.append(thing)
        if isinstance(thing, type) and not _of_library(thing):
            waiting += [value for value in vars(thing).values() if hasattr(value, "__code__")]
            waiting += [base for base in thing.__mro__ if _of_library(base)]
        elif hasattr(thing, "__code__"):
            waiting += _named(thing)
    return seen


def _named(function: Any) -> list[Any]:
    """Return the global things that the code of a function names or imports, nested functions included."""
    codes, names = [function.__code__], set()
    while codes:
        code = codes.pop()
        names |= set(code.co_names)
        codes += [constant for constant in code.co_consts if hasattr(constant, "co_names")]
    found = [function.__globals__[name] for name in names if name in function.__globals__]
    return found + [sys.modules["lvmlib"]] * any(name.partition(".")[0] == "lvmlib" for name in names)
