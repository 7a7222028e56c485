"""The models whose cost is followed along the length and along the positions, in the sizes of the other tables."""

from __future__ import annotations

from collections.abc import Callable

from lvmlib.autoregressive import (
    FVSBN,
    MADE,
    RNN,
    Autoregressive,
    CausalTransformer,
    GatedPixelCNN,
    PixelCNN,
    WaveNet,
)

MODELS: dict[str, Callable[[int], Autoregressive]] = {
    "FVSBN": lambda side: FVSBN((1, side, side)),
    "MADE": lambda side: MADE((1, side, side), hidden=(512, 512)),
    "RNN": lambda side: RNN((1, side, side), hidden=128),
    "WaveNet": lambda side: WaveNet((1, side, side), channels=64, layers=10),
    "CausalTransformer": lambda side: CausalTransformer((1, side, side), channels=64, heads=4, layers=4),
    "PixelCNN": lambda side: PixelCNN((1, side, side), channels=32, layers=7),
    "GatedPixelCNN": lambda side: GatedPixelCNN((1, side, side), channels=32, layers=7),
}
"""From the side of a square picture to a model of its pixels."""
