"""Train PixelCNN++ on 32x32 colour emoji and ship its weights.

    python -m lvmlib.experiments.emoji mixture --bfloat16

905 pictures and their mirror images; `mixture` has a mixture of discretized logistics as its output, `softmax` a free
table of 256 levels, all else being equal; `colourise` is the mixture given the grey picture.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lvmlib.autoregressive import PixelCNNpp
from lvmlib.base import bits_per_dim
from lvmlib.checkpoints import load_checkpoint
from lvmlib.data import Data, load
from lvmlib.experiments.shipping import begin, options, train_and_ship

SHAPE = (3, 32, 32)

CHANNELS, LAYERS, DROPOUT = 24, 1, 0.1

MODELS: dict[str, Callable[[], PixelCNNpp]] = {
    "mixture": lambda: PixelCNNpp(SHAPE, CHANNELS, LAYERS, dropout=DROPOUT, logistics=5),
    "softmax": lambda: PixelCNNpp(SHAPE, CHANNELS, LAYERS, dropout=DROPOUT, logistics=0),
    "colourise": lambda: PixelCNNpp(SHAPE, CHANNELS, LAYERS, dropout=DROPOUT, logistics=5, context=(1, 32, 32)),
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


def grey(x: Tensor) -> Tensor:
    """The brightness of colour pictures, spread over [-1, 1]: [B, 3, H, W] in {0..255} -> [B, 1, H, W].

    The weights of red, green and blue are those of ITU-R Recommendation BT.601.
    """
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device)
    return torch.einsum("bchw,c->bhw", x.float(), weights)[:, None] / 127.5 - 1


def log_prob(model: PixelCNNpp, x: Tensor) -> Tensor:
    """Log-probability of the colours, given the grey picture where the model takes one; [B], nats."""
    return model.log_prob(x, None if model.context_shape is None else grey(x))


@torch.no_grad()
def metrics(model: PixelCNNpp, data: Data, split: str) -> dict[str, float]:
    """Mean over the pictures of a split, in nats and in bits per dimension."""
    mean = torch.cat([log_prob(model, x) for x in data.x.split(20)]).mean()
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
    if args.model == "colourise":  # all but what reads the grey picture starts where the other model ends
        trained, start = MODELS["mixture"](), "emoji_mixture"
        load_checkpoint(trained, start)
        model.load_state_dict(trained.state_dict(), strict=False)
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
        loss=lambda model, x: -log_prob(model, x),
        valid=valid,
        data=f"905 emoji, each mirrored at random; sha256 {train.sha256()}",
        start=start,
    )


if __name__ == "__main__":
    main()
