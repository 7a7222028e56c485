"""What Colab brings along, and what it lacks, from `.ci/colab.txt` and `pyproject.toml`, where each stands once."""

from __future__ import annotations

import re
from pathlib import Path

import tomllib

from book._tools.pairing import ROOT

IMAGE = ROOT / ".ci" / "colab.txt"
ZIP = "notebooks.zip"  # all editions, at the top of the site
NAME = re.compile(r"[\w.-]+")


def names(lines: list[str]) -> list[str]:
    """Return the packages that requirements name.

    >>> names(["# a comment", "PyYAML==6.0.3", "torchdiffeq>=0.2.3"])
    ['pyyaml', 'torchdiffeq']
    """
    return [match[0].lower() for line in lines if (match := NAME.match(line))]


def lacking(image: Path = IMAGE, pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """Return, as ranges, what the library needs and Colab does not have."""
    needed: list[str] = tomllib.loads(pyproject.read_text("utf-8"))["project"]["dependencies"]
    there = set(names(image.read_text("utf-8").splitlines()))
    return [text for text, name in zip(needed, names(needed)) if name not in there]


def wheel_name(version: str) -> str:
    """Return the name of the library's wheel."""
    return f"lvmlib-{version}-py3-none-any.whl"
