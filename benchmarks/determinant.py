"""The log-determinant of a matrix and its gradient: by elimination, and from the diagonal of a triangular matrix.

    python -m benchmarks.determinant

What a flow pays for each example whose Jacobian has no structure, against what it pays where that is triangular.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import medians, options, spreads, take_turns, write


def full(matrix: Tensor) -> Tensor:
    """log |det|, O(D^3)."""
    return torch.linalg.slogdet(matrix)[1]


def triangular(matrix: Tensor) -> Tensor:
    """The same for a triangular matrix, O(D)."""
    return matrix.diagonal().abs().log().sum()


def measure(dims: int, repeats: int) -> dict[str, Any]:
    """Microseconds of value and gradient for one matrix of one size."""
    dense = torch.randn(dims, dims, requires_grad=True)
    diagonal = torch.rand(dims).add(0.5).requires_grad_()
    ways: dict[str, Callable[[], object]] = {
        "full": lambda: torch.autograd.grad(full(dense), dense),
        "triangular": lambda: torch.autograd.grad(diagonal.abs().log().sum(), diagonal),
    }
    lower = dense.detach().tril(-1) + diagonal.detach().diag()
    torch.testing.assert_close(full(lower), triangular(lower), rtol=1e-3, atol=1e-3)
    us = {name: [1e6 * s for s in runs] for name, runs in take_turns(ways, repeats, 1.0, 0.01).items()}
    return {"dims": dims, "us": medians(us), "spread_us": spreads(us)}


def main() -> None:
    """Measure at several sizes and write determinant.json."""
    args = options(__doc__)
    began = time.perf_counter()
    rows = [measure(d, args.repeats) for d in ((4, 8) if args.quick else (8, 16, 32, 64, 128, 256, 512, 1024))]
    title = "The log-determinant of a matrix, with its gradient"
    write(args.out, "determinant", title, began, repeats=args.repeats, rows=rows)


if __name__ == "__main__":
    main()
