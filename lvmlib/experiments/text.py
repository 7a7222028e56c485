"""Train a character model on Shakespeare's Sonnets and ship its weights.

    python -m lvmlib.experiments.text rnn

Windows of the 130 sonnets of the training split, early stopping on the next 8, tested on the last 16.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lvmlib.autoregressive import RNN, Autoregressive, CausalTransformer
from lvmlib.data import load
from lvmlib.experiments.shipping import begin, options, train_and_ship

WINDOW = 256

MODELS: dict[str, Callable[..., Autoregressive]] = {
    "rnn": lambda length=WINDOW: RNN((length,), hidden=192, cell="gru", levels=128),
    "transformer": lambda length=WINDOW: CausalTransformer(
        (length,), channels=128, heads=4, layers=3, positions="waves", dropout=0.2, levels=128
    ),
}
"""Built as they are before `load_checkpoint(model, "text_" + name)`; both take any length."""


class Windows:
    """All windows of `length` characters that begin at a multiple of `stride`."""

    def __init__(self, text: Tensor, length: int, stride: int = 1):
        self.text, self.length, self.stride = text, length, stride

    def __len__(self) -> int:
        return (len(self.text) - self.length) // self.stride + 1

    def batch(self, index: Tensor) -> Tensor:
        """Windows [B, length] at `index`."""
        return self.text[self.stride * index[:, None] + torch.arange(self.length)]


@torch.no_grad()
def bits_per_character(model: Autoregressive, text: Tensor, context: int = WINDOW // 2) -> float:
    """Bits for each character after the first `context`, every one given at least so many before it."""
    length = model.event_shape[0]
    total, characters = 0.0, 0
    for start in range(0, len(text) - length + 1, length - context):
        window = text[None, start : start + length]
        conditionals = model.conditionals(window)
        each = conditionals.base_dist.log_prob(window.to(model.dtype))[0, context:]  # type: ignore[attr-defined]
        total, characters = total - each.sum().item(), characters + len(each)
    return total / characters / math.log(2)


def main() -> None:
    """Train, evaluate and save."""
    parser = options(__doc__, passes=40, batch_size=32, lr=2e-3, average=0.99)
    parser.add_argument("model", choices=MODELS)
    args = parser.parse_args()
    begin(args)
    train, valid, test = (split.x for split in load("text"))
    windows = Windows(train, WINDOW, stride=16)
    train_and_ship(
        f"text_{args.model}",
        MODELS[args.model](),
        windows,
        len(windows),
        args,
        evaluate=lambda model: {
            "test_bits_per_character": round(bits_per_character(model, test), 4),
            "train_bits_per_character": round(bits_per_character(model, train[: len(test)]), 4),
            "test_protocol": f"characters with {WINDOW // 2} to {WINDOW - 1} others before them; the last 16 sonnets",
        },
        valid=Windows(valid, WINDOW, stride=64),
        data=f"Sonnets 1 to 130, windows of {WINDOW} characters at every 16th; sha256 {load('text')[0].sha256()}",
    )


if __name__ == "__main__":
    main()
