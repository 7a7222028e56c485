"""Figures that the chapters and the page of results print: what our runs and timings left, and what others published.

`checkpoints/*.json` are the records of training runs, `benchmarks/*.json` what the scripts of the folder benchmarks
measured, and `published.json` figures from the literature, each with its source (a key of the book's bibliography),
where in it the figure stands, and its protocol.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lvmlib.checkpoints import SHIPPED

BENCHMARKS = Path(__file__).parent / "benchmarks"
PUBLISHED = Path(__file__).parent / "published.json"


def record(name: str) -> dict[str, Any] | None:
    """What a training script noted about its run; None if the run has not been made.

    Example:
        >>> from lvmlib.experiments.records import record
        >>> record("made_mnist")["test_protocol"]
        'exact, 10,000 test images, one binary draw of seed 0'
    """
    path = SHIPPED / f"{name}.json"
    return _read(path) if path.exists() else None


def benchmark(topic: str) -> list[dict[str, Any]]:
    """The rows that ``python -m benchmarks.<topic>`` measured.

    Raises:
        ValueError: there is no such topic; the message lists those there are.

    Example:
        >>> from lvmlib.experiments.records import benchmark
        >>> sorted({row["way"] for row in benchmark("three_ways")})
        ['convolution', 'dilated convolution', 'fused self-attention', 'recurrence',
         'self-attention']
    """
    path = BENCHMARKS / f"{topic}.json"
    if not path.exists():
        there = ", ".join(sorted(path.stem for path in BENCHMARKS.glob("*.json")))
        raise ValueError(f"nothing was measured under the name {topic!r}; there are: {there}")
    rows: list[dict[str, Any]] = _read(path)["rows"]
    return rows


def published(protocol: str) -> dict[str, float]:
    """Test negative log-likelihoods that others report for binary MNIST, nats per digit, by model.

    Args:
        protocol: ``"fresh"``, pixels drawn anew from the grey levels at each use, or ``"static"``, the one fixed
            binarization of Salakhutdinov and Murray.

    Raises:
        ValueError: another protocol.

    Example:
        >>> from lvmlib.experiments.records import published
        >>> published("static")["PixelCNN"]
        81.3
    """
    groups = _read(PUBLISHED)
    if protocol not in groups:
        raise ValueError(f"protocol must be one of {', '.join(map(repr, groups))}, got {protocol!r}")
    return {row["model"]: row["nats"] for row in groups[protocol]["rows"]}


def compact(content: dict[str, Any]) -> str:
    """A record as text, each list of numbers on one line.

    Example:
        >>> from lvmlib.experiments.records import compact
        >>> print(compact({"seed": 0, "curve": [[0, 0.5], [1, 0.25]]}), end="")
        {
          "seed": 0,
          "curve": [
            [0, 0.5],
            [1, 0.25]
          ]
        }
    """
    on_one_line = lambda match: "[" + " ".join(match.group(1).split()) + "]"  # noqa: E731
    return re.sub(r"\[([-\d.eE,\s]+)\]", on_one_line, json.dumps(content, indent=2)) + "\n"


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
