"""How well samples are told from test images by their nearest neighbour: the two-sample test of one neighbour.

    python -m benchmarks.quality

As many samples as test images lie in one heap. The nearest neighbour of each, itself left out, votes for its own side.
Where the two sides have one distribution half of the votes are right, on each side for itself: their mean alone says
little, because where all neighbours lie on one side it is a half as well. Each share is of one set of samples, and
beside it stands its standard error, taking the votes for independent: 0.02 for five hundred. Needs the shipped weights.

Source: Lopez-Paz and Oquab 2017, *Revisiting Classifier Two-Sample Tests*.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from benchmarks.common import digits, options, write
from benchmarks.shipped import shipped
from lvmlib.data import load


def votes(samples: Tensor, real: Tensor) -> tuple[float, float]:
    """Share of the samples, and of the real examples, whose nearest neighbour is of their own side; both [N, ...].

    >>> a = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    >>> votes(a, a + 100)
    (1.0, 1.0)
    """
    shuffled = torch.randperm(2 * len(samples))  # or ties would all go to one side
    heap, sampled = torch.cat([samples, real]).flatten(1)[shuffled], shuffled < len(samples)
    distance = torch.cdist(heap, heap, p=1)
    own = sampled[distance.fill_diagonal_(torch.inf).argmin(1)] == sampled
    return own[sampled].float().mean().item(), own[~sampled].float().mean().item()


def standard_error(share: float, n: int) -> float:
    """Of a share of n votes; a share of 0 or 1 is taken for one vote from it, or its error would be 0.

    >>> round(standard_error(0.5, 500), 4), round(standard_error(1.0, 500), 4)
    (0.0224, 0.002)
    """
    p = min(max(share, 1 / n), 1 - 1 / n)
    return math.sqrt(p * (1 - p) / n)


def main() -> None:
    """Judge every shipped model of binary MNIST and write quality.json."""
    args = options(__doc__)
    began = time.perf_counter()
    n = 20 if args.quick else 500
    _, _, test = load("mnist", binarize="stochastic", valid=0)
    real = test.fixed(seed=0).x
    rows = []
    another = votes(real[n : 2 * n], real[:n])  # what test images themselves would get
    for name, model in [("test images", None), *shipped(limit=1 if args.quick else None)]:
        torch.manual_seed(0)
        samples, own = another if model is None else votes(model.sample(n), real[:n])
        rows.append(
            {
                "model": name,
                "n": n,
                "recall_samples": digits(samples),
                "recall_test": digits(own),
                "error_samples": digits(standard_error(samples, n), 2),
                "error_test": digits(standard_error(own, n), 2),
            }
        )
        print(f"{name:18} samples {samples:.3f}, test images {own:.3f}", flush=True)
    write(args.out, "quality", "Samples told from test images by their nearest neighbour", began, rows=rows)


if __name__ == "__main__":
    main()
