r"""Probabilities become integers: the tables that both coders read.

Encoder and decoder must agree on every probability to the last bit, so no coder here ever sees one. :func:`slots` cuts
``2**24`` slots into runs, one for each symbol, and these runs alone decide what is written.

The coders themselves come from the library constriction. It takes weights :math:`w_i` in floating point and gives
symbol ``i`` of ``K`` the run that begins at

.. math:: \Big\lfloor \frac{2^{24} - K}{\sum_j w_j} \sum_{j < i} w_j \Big\rfloor + i.

For weights that are one less than the sizes of our runs the fraction is 1 and each sum is a whole number below
:math:`2^{24}`, which float32 holds exactly. So out come our own runs, slot by slot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["TOTAL", "slots"]

TOTAL = 1 << 24  # slots that a distribution is cut into
MOST = 1 << 16  # symbols of the largest alphabet


def slots(p: Any) -> np.ndarray:
    r"""Cut ``2**24`` slots into one run per symbol, in proportion to ``p`` and at least one each.

    Symbol ``i`` gets :math:`1 + \lfloor p_i (2^{24} - K) \rfloor` slots, and the most probable one also what is left
    over. So its share is never below :math:`p_i (1 - K / 2^{24})`, however small ``p_i`` is: rounding costs at most
    :math:`-\log_2(1 - K / 2^{24}) \approx 1.44\, K / 2^{24}` bits per symbol. A symbol of probability zero can still be
    coded, for 24 bits or a little more.

    Args:
        p: [..., K], probabilities along the last axis (list, array or tensor), K at most 65536.

    Returns:
        [..., K + 1], int64, where each run starts; symbol ``i`` owns ``[c[i], c[i + 1])``.

    Raises:
        ValueError: if a row of ``p`` is no distribution over 1 to 65536 symbols.

    Example:
        >>> from lvmlib.compression import slots
        >>> print(slots([0.5, 0.5, 0.0]))
        [       0  8388608 16777215 16777216]
    """
    p = np.asarray(p.detach().cpu().double() if isinstance(p, Tensor) else p, dtype=np.float64)
    if p.ndim == 0 or not 1 <= p.shape[-1] <= MOST:
        raise ValueError(f"expected 1 to {MOST} probabilities along the last axis, got shape {p.shape}")
    rows = p.reshape(-1, p.shape[-1])  # [n, K]
    total = rows.cumsum(1)[:, -1:]  # in order: sum() adds in another one on another processor
    _check_probabilities(rows, total)
    starts = np.zeros((len(rows), p.shape[-1] + 1), dtype=np.int64)
    sizes = (rows / total * (TOTAL - p.shape[-1])).astype(np.int64) + 1
    sizes[np.arange(len(rows)), rows.argmax(1)] += TOTAL - sizes.sum(1)
    sizes.cumsum(1, out=starts[:, 1:])
    return starts.reshape(*p.shape[:-1], p.shape[-1] + 1)


def weights(starts: Any) -> np.ndarray:
    """What constriction turns into these very runs: [n, K + 1], or one row [K + 1] -> [n, K], float32.

    Raises:
        ValueError: if a row is no table of slots.
    """
    starts = np.atleast_2d(np.asarray(starts))
    sizes = starts[:, 1:] - starts[:, :-1]
    if not (starts.ndim == 2 and starts.dtype.kind in "iu" and 1 <= sizes.shape[1] <= MOST and _cuts(starts, sizes)):
        raise ValueError(
            f"expected rows [n, K + 1] of whole numbers that rise from 0 to {TOTAL}, K at most {MOST}, as slots(p) "
            f"gives them, got shape {starts.shape} and {str(starts[:1])[:80]}"
        )
    return (sizes - 1).astype(np.float32)


def indices(symbols: Any, rows: np.ndarray) -> np.ndarray:
    """Symbols [n] as int32, one for each row [n, K] of weights.

    Raises:
        ValueError: if there are more or fewer, or one is none of 0..K-1.
    """
    symbols = np.asarray(symbols.detach().cpu().double() if isinstance(symbols, Tensor) else symbols).reshape(-1)
    n, size = rows.shape
    if len(symbols) != n:
        raise ValueError(f"expected one symbol for each of {n} tables, got {len(symbols)}")
    if n and not 0 <= symbols.min() <= symbols.max() < size:
        raise ValueError(f"symbols must lie in 0..{size - 1}, these reach from {symbols.min()} to {symbols.max()}")
    whole = symbols.astype(np.int32)
    if (whole != symbols).any():
        raise ValueError(f"symbols must be whole numbers, got {symbols[whole != symbols][0]}")
    return whole


def engine() -> Any:
    """The stream coders of constriction, imported when first needed.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        import constriction
    except ImportError as error:
        raise ImportError("the coders of lvmlib need the package constriction: pip install constriction") from error
    return constriction.stream


def _cuts(starts: np.ndarray, sizes: np.ndarray) -> bool:
    return bool(sizes.min(initial=1) > 0 and not starts[:, 0].any() and (starts[:, -1] == TOTAL).all())


def _check_probabilities(p: np.ndarray, total: np.ndarray) -> None:
    good = (p.min(1) >= 0) & (abs(total[:, 0] - 1) < 1e-3)  # not where there is nan; float32 probabilities pass
    if not good.all():
        row = p[~good][0]
        raise ValueError(f"expected probabilities that sum to 1, got smallest {row.min():.6g} and sum {row.sum():.6g}")
