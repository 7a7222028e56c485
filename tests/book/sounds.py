"""Judges the sounds of an output: players in its HTML, each of which holds a WAV file of its own."""

from __future__ import annotations

import base64
import binascii
import io
import re
import wave

import numpy as np

from tests.book.tolerance import Tolerance

PLAYER = re.compile(
    r"""<audio controls aria-label="([^"<>]+)" src="data:audio/wav;base64,([A-Za-z0-9+/=]*)"></audio>"""
)
LOUD = 32768  # of 16-bit samples
LARGEST = 100_000  # bytes that the sounds of one output may take, as written in the page


def without_sounds(html: str) -> str:
    """Return HTML without its players; what is left of any other kind of player cannot be compared."""
    return PLAYER.sub("", html)


def read(data: str) -> tuple[int, np.ndarray]:
    """Return the rate of a sound and its samples, from -1 to 1.

    Raises:
        ValueError: it is no WAV file of one channel of 16-bit samples, or it is empty.
    """
    try:
        with wave.open(io.BytesIO(base64.b64decode(data, validate=True))) as file:
            kind = (file.getnchannels(), file.getsampwidth())
            rate, frames = file.getframerate(), file.readframes(file.getnframes())
    except (wave.Error, EOFError, binascii.Error) as error:
        raise ValueError(f"a sound is no WAV file: {error}") from error
    if kind != (1, 2) or not frames:
        raise ValueError(f"a sound has {kind[0]} channels of {kind[1]} bytes and {len(frames)} bytes in all")
    return rate, np.frombuffer(frames, "<i2") / LOUD


def unheard(html: str) -> list[str]:
    """Return what is wrong with the sounds of an output."""
    players = PLAYER.findall(html)
    problems = []
    for _, data in players:
        try:
            read(data)
        except ValueError as error:
            problems.append(f"  {error}")
    if (size := sum(len(data) for _, data in players)) > LARGEST:
        problems.append(f"  the sounds take {size:,} bytes, more than the {LARGEST:,} allowed")
    return problems


def compare_sounds(stored: str, new: str, tolerance: Tolerance) -> list[str]:
    """Return the differences between the sounds of two outputs: names, rates, lengths, samples."""
    a, b = PLAYER.findall(stored), PLAYER.findall(new)
    if [name for name, _ in a] != [name for name, _ in b]:
        return [f"  the sounds were {[name for name, _ in a]}, now they are {[name for name, _ in b]}"]
    if unheard(stored) or unheard(new):
        return []  # said elsewhere
    problems = []
    for (name, old), (_, other) in zip(a, b):
        (rate, x), (new_rate, y) = read(old), read(other)
        if (rate, len(x)) != (new_rate, len(y)):
            problems.append(f"  {name!r} was {len(x)} samples at {rate} a second, now {len(y)} at {new_rate}")
        elif float(np.abs(x - y).max()) > tolerance.data * float(np.ptp(x)) + 1 / LOUD:
            first = int(np.abs(x - y).argmax())
            problems.append(f"  {name!r} sounds otherwise: sample {first} was {x[first]:.4f}, is {y[first]:.4f}")
    return problems
