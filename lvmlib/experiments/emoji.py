"""Train PixelCNN++ on 32x32 colour emoji and ship its weights.

    python -m lvmlib.experiments.emoji mixture --bfloat16

905 pictures and their mirror images; `mixture` has a mixture of discretized logistics as its output, `softmax` a free
table of 256 levels, all else being equal.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lvmlib.autoregressive import PixelCNNpp
from lvmlib.base import bits_per_dim
from lvmlib.data import Data, load
from lvmlib.experiments.shipping import begin, options, train_and_ship

SHAPE = (3, 32, 32)

MODELS: dict[str, Callable[[], PixelCNNpp]] = {
    "mixture": lambda: PixelCNNpp(SHAPE, channels=32, layers=2, levels=256, logistics=5),
    "softmax": lambda: PixelCNNpp(SHAPE, channels=32, layers=2, levels=256, logistics=0),
}
"""Built as they are before `load_checkpoint(model, "emoji_" + name)`."""


class Mirrored:
    """A split whose pictures come mirrored, or not, with even odds."""

    def __init__(self, data: Data):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, index: Tensor) -> Tensor:
        """Pictures [B, 3, H, W] at `index`."""
        x = self.data.batch(index)
        return torch.where((torch.rand(len(x)) < 0.5)[:, None, None, None], x.flip(-1), x)


@torch.no_grad()
def mean_bits_per_dim(model: PixelCNNpp, data: Data) -> float:
    """Mean over the pictures of a split, bits per dimension."""
    log_prob = torch.cat([model.log_prob(x) for x in data.x.split(20)])
    return bits_per_dim(log_prob, SHAPE).mean().item()


def main() -> None:
    """Train, evaluate and save."""
    parser = options(__doc__, passes=120, batch_size=16, lr=1e-3)
    parser.add_argument("model", choices=MODELS)
    args = parser.parse_args()
    begin(args)
    train, valid, test = load("emoji")
    train_and_ship(
        f"emoji_{args.model}",
        MODELS[args.model](),
        Mirrored(train),
        len(train),
        args,
        evaluate=lambda model: {
            "test_bits_per_dim": round(mean_bits_per_dim(model, test), 4),
            "train_bits_per_dim": round(mean_bits_per_dim(model, train.subset(120)), 4),
            "test_protocol": "exact, 120 test pictures, 3 x 32 x 32, 256 levels",
        },
        valid=valid,
        data=f"905 emoji, each mirrored at random; sha256 {train.sha256()}",
    )


if __name__ == "__main__":
    main()
