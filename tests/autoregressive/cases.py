"""Every autoregressive model, small, for the tests of the contract that they share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from lvmlib.autoregressive import (
    FVSBN,
    MADE,
    RNN,
    Autoregressive,
    CausalTransformer,
    GatedPixelCNN,
    PatchTransformer,
    PixelCNN,
    PixelCNNpp,
    PixelRNN,
    PixelSNAIL,
    WaveNet,
)


class Case(NamedTuple):
    """How to build a model for a test.

    build: called with event_shape and any of levels, logistics, context, order.
    shapes: event shapes to try; the first has at most 12 entries, so that all binary states can be summed over.
    channels: event shapes of more than one channel, where the model takes pictures.
    ordered: whether it takes an order.
    """

    build: Callable[..., Autoregressive]
    shapes: list[tuple[int, ...]]
    channels: list[tuple[int, ...]]
    ordered: bool = True


VECTORS = [(9,), (2, 5), (1, 3, 4)]
PICTURES = [(1, 3, 4), (1, 4, 4), (1, 6, 5)]
COLOUR = [(3, 2, 2), (2, 3, 3)]

CASES = {
    "FVSBN": Case(FVSBN, VECTORS, COLOUR),
    "WaveNet": Case(partial(WaveNet, channels=6, layers=2, stacks=2, positions=True), VECTORS, COLOUR),
    "MADE": Case(partial(MADE, hidden=(40, 32)), VECTORS, COLOUR),
    "MADE direct": Case(partial(MADE, hidden=(7,), direct=True), VECTORS, COLOUR),
    "MADE residual": Case(partial(MADE, hidden=(36, 36, 36), residual=True, degrees="random"), VECTORS, COLOUR),
    "PixelCNNpp": Case(
        partial(PixelCNNpp, channels=4, layers=1, halvings=1, levels=2, logistics=0),
        [(1, 2, 4), (1, 4, 4), (1, 6, 4)],
        [(3, 2, 2), (2, 2, 4)],
        ordered=False,
    ),
    "PixelSNAIL": Case(partial(PixelSNAIL, channels=8, blocks=2, layers=1, heads=2), PICTURES, COLOUR, ordered=False),
    "PixelCNN": Case(partial(PixelCNN, channels=6, layers=2, kernel=5), PICTURES, COLOUR, ordered=False),
    "PixelCNN positions": Case(
        partial(PixelCNN, channels=6, layers=2, kernel=5, positions=True), PICTURES, COLOUR, ordered=False
    ),
    "PixelCNN embedding": Case(
        partial(PixelCNN, channels=6, layers=2, kernel=3, embedding=True), PICTURES, COLOUR, ordered=False
    ),
    "GatedPixelCNN embedding": Case(
        partial(GatedPixelCNN, channels=6, layers=2, kernel=3, embedding=True), PICTURES, COLOUR, ordered=False
    ),
    "GatedPixelCNN": Case(partial(GatedPixelCNN, channels=6, layers=3, kernel=5), PICTURES, COLOUR, ordered=False),
    "GatedPixelCNN positions": Case(
        partial(GatedPixelCNN, channels=6, layers=2, kernel=3, positions=True), PICTURES, COLOUR, ordered=False
    ),
    "LSTM": Case(partial(RNN, hidden=24, positions=True), VECTORS, COLOUR),
    "GRU": Case(partial(RNN, hidden=8, layers=2, cell="gru"), VECTORS, COLOUR),
    "CausalTransformer": Case(partial(CausalTransformer, channels=8, heads=2, layers=2, kernel=2), VECTORS, COLOUR),
    "PatchTransformer": Case(
        partial(PatchTransformer, channels=8, heads=2, layers=2, hidden=(24,)),
        [(1, 2, 4), (1, 4, 4), (1, 4, 6)],
        [(3, 2, 2), (2, 2, 4)],
        ordered=False,
    ),
    "PixelRNN row": Case(partial(PixelRNN, channels=6, layers=2, kernel=3), PICTURES, COLOUR, ordered=False),
    "PixelRNN diagonal": Case(
        partial(PixelRNN, channels=6, layers=2, kernel=3, kind="diagonal", positions=True),
        PICTURES,
        COLOUR,
        ordered=False,
    ),
}


def build(name: str, event_shape: tuple[int, ...], seed: int = 0, **options) -> Autoregressive:
    """A float64 model with weights far enough from their start that every conditional differs."""
    torch.manual_seed(seed)
    model = CASES[name].build(event_shape, **options).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p) / max(1.0, p[0].numel() ** 0.5 if p.dim() > 1 else 1.0))
    return model
