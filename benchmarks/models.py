"""The models of binary pictures, from the side of a square picture; at 28 those whose weights are shipped."""

from __future__ import annotations

from collections.abc import Callable

import lvmlib.autoregressive as ar

MODELS: dict[str, Callable[[int], ar.Autoregressive]] = {
    "FVSBN": lambda side: ar.FVSBN((1, side, side)),
    "MADE": lambda side: ar.MADE((1, side, side), hidden=(512, 512)),
    "RNN": lambda side: ar.RNN((1, side, side), hidden=128, positions=True),
    "WaveNet": lambda side: ar.WaveNet((1, side, side)),
    "CausalTransformer": lambda side: ar.CausalTransformer((1, side, side)),
    "PixelCNN": lambda side: ar.PixelCNN((1, side, side), channels=32, layers=7),
    "GatedPixelCNN": lambda side: ar.GatedPixelCNN((1, side, side), channels=32, layers=7),
}
