"""Real images through the arithmetic coder: bits on disk beside the model's own code length, and the time it takes.

    python -m benchmarks.compression

One hundred binary test images in one stream, written to disk, read again, decoded and compared, several times after one
that warms up. Needs the shipped weights.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import clock, digits, medians, options, spreads, write
from benchmarks.shipped import shipped
from lvmlib.autoregressive import Autoregressive
from lvmlib.compression import arithmetic_decode, arithmetic_encode
from lvmlib.data import load


def there_and_back(model: Autoregressive, x: Tensor) -> tuple[float, float, float]:
    """Encode, write, read, decode and compare: bits, and milliseconds of either way, of one image.

    Raises:
        ValueError: what was decoded is not what was encoded.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images"
        start = clock()
        path.write_bytes(arithmetic_encode(model, x))
        encoded = clock()
        again = arithmetic_decode(model, path.read_bytes())
        decoded = clock()
        bits = 8 * path.stat().st_size / len(x)
    if not torch.equal(again, x):
        raise ValueError(f"{type(model).__name__} did not decode what it had encoded.")
    return bits, 1e3 * (encoded - start) / len(x), 1e3 * (decoded - encoded) / len(x)


def measure(name: str, model: Autoregressive, x: Tensor, repeats: int) -> dict[str, Any]:
    """Bits and milliseconds for one image; a row of the table."""
    with torch.no_grad():
        nll = -model.log_prob(x).double().mean().item() / math.log(2)
    there_and_back(model, x[:2])  # to warm up
    bits, encode, decode = zip(*(there_and_back(model, x) for _ in range(repeats)))
    runs = {"encode_ms": encode, "decode_ms": decode}
    return {
        "model": name,
        "images": len(x),
        "bits": digits(bits[0], 6),
        "nll_bits": digits(nll, 6),
        "excess": digits(bits[0] / nll - 1, 3),
        **medians(runs),
        "spread": spreads(runs),
    }


def main() -> None:
    """Code the images with every shipped autoregressive model and write compression.json."""
    args = options(__doc__)
    began = time.perf_counter()
    _, _, test = load("mnist", binarize="stochastic", valid=0)
    x = test.fixed(seed=0).x[: 3 if args.quick else 100]
    rows = []
    for name, model in shipped(limit=1 if args.quick else None):
        if isinstance(model, Autoregressive):
            rows.append(measure(name, model, x, args.repeats))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    write(args.out, "compression", "Test images through the arithmetic coder", began, repeats=args.repeats, rows=rows)


if __name__ == "__main__":
    main()
