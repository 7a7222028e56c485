"""Train PixelCNN++ on 32x32 colour emoji and ship its weights.

    python -m lvmlib.experiments.emoji mixture --bfloat16

905 pictures and their mirror images; `mixture` has a mixture of discretized logistics as its output, `softmax` a free
table of 256 levels, all else being equal; `colourise` is the mixture given the grey picture.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lvmlib.autoregressive import Colourisation, PixelCNNpp
from lvmlib.base import Density, bits_per_dim
from lvmlib.checkpoints import load_checkpoint
from lvmlib.data import Data, load
from lvmlib.experiments.shipping import begin, options, train_and_ship

SHAPE = (3, 32, 32)

CHANNELS, LAYERS, DROPOUT = 24, 1, 0.1


def pixelcnnpp(logistics: int = 5, context: tuple[int, int, int] | None = None) -> PixelCNNpp:
    """The network that all share."""
    return PixelCNNpp(SHAPE, CHANNELS, LAYERS, dropout=DROPOUT, logistics=logistics, context=context)


MODELS: dict[str, Callable[[], Density]] = {
    "mixture": pixelcnnpp,
    "softmax": lambda: pixelcnnpp(logistics=0),
    "colourise": lambda: Colourisation(pixelcnnpp(context=(16, 32, 32))),
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
def metrics(model: Density, data: Data, split: str) -> dict[str, float]:
    """Mean over the pictures of a split, in nats and in bits per dimension."""
    mean = torch.cat([model.log_prob(x) for x in data.x.split(20)]).mean()
    bits = bits_per_dim(mean, SHAPE).item()
    return {f"{split}_nll_nats": round(-mean.item(), 2), f"{split}_bits_per_dim": round(bits, 4)}


def main() -> None:
    """Train, evaluate and save."""
    parser = options(__doc__, passes=50, batch_size=16, lr=1e-3)
    parser.add_argument("model", choices=MODELS)
    args = parser.parse_args()
    begin(args)
    train, valid, test = load("emoji")
    model, start = MODELS[args.model](), "random weights"
    if isinstance(model, Colourisation):  # all but what reads the grey picture starts where the other model ends
        trained, start = pixelcnnpp(), "emoji_mixture"
        load_checkpoint(trained, start)
        model.model.load_state_dict(trained.state_dict(), strict=False)
    train_and_ship(
        f"emoji_{args.model}",
        model,
        Mirrored(train),
        len(train),
        args,
        evaluate=lambda model: {
            **metrics(model, test, "test"),
            **metrics(model, train.subset(120), "train"),
            "test_protocol": "exact, 120 test pictures, 3 x 32 x 32, 256 levels; training: the first 120",
        },
        valid=valid,
        data=f"905 emoji, each mirrored at random; sha256 {train.sha256()}",
        start=start,
    )


if __name__ == "__main__":
    main()
