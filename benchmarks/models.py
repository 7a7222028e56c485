"""The models of binary pictures, from the side of a square picture; at 28 those whose weights are shipped."""

from __future__ import annotations

from collections.abc import Callable

import lvmlib.autoregressive as ar

Builder = Callable[[int], ar.Autoregressive]

# Those whose cost is followed along the length and along the positions.
FOLLOWED: dict[str, Builder] = {
    "FVSBN": lambda side: ar.FVSBN((1, side, side)),
    "MADE": lambda side: ar.MADE((1, side, side), hidden=(512, 512), direct=True),
    "RNN": lambda side: ar.RNN((1, side, side), hidden=128, cell="gru", positions=True),
    "WaveNet": lambda side: ar.WaveNet((1, side, side), channels=32, layers=9, positions=True),
    "CausalTransformer": lambda side: ar.CausalTransformer((1, side, side), positions="axes"),
    "PixelCNN": lambda side: ar.PixelCNN((1, side, side), channels=32, layers=7, positions=True),
    "GatedPixelCNN": lambda side: ar.GatedPixelCNN((1, side, side), channels=32, layers=7, positions=True),
}
MODELS: dict[str, Builder] = {
    **FOLLOWED,
    "PatchTransformer": lambda side: ar.PatchTransformer((1, side, side), patch=2),
    "PixelRNN": lambda side: ar.PixelRNN((1, side, side), positions=True),
    "PixelCNNpp": lambda side: ar.PixelCNNpp((1, side, side), channels=24, layers=1, levels=2, logistics=0),
    "PixelSNAIL": lambda side: ar.PixelSNAIL((1, side, side)),
}
