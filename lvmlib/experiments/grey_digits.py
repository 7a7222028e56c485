"""Train PixelCNN++ on the 256 grey levels of MNIST and ship its weights.

    python -m lvmlib.experiments.grey_digits --bfloat16

The digits as they are, 28x28 pixels with the levels 0 to 255 and no binarization; five discretized logistics at each
pixel. The run is far shorter than those behind published figures.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from lvmlib.autoregressive import PixelCNNpp
from lvmlib.base import bits_per_dim
from lvmlib.data import load
from lvmlib.experiments.shipping import begin, options, train_and_ship

SHAPE = (1, 28, 28)


def pixelcnnpp() -> PixelCNNpp:
    """The network, built as it is before `load_checkpoint(model, "grey_digits")`."""
    return PixelCNNpp(SHAPE, channels=16, layers=1, logistics=5)


@torch.no_grad()
def metrics(model: PixelCNNpp, x: torch.Tensor) -> dict[str, Any]:
    """Mean over test images, in nats and in bits per dimension, and the standard error of the latter."""
    bits = torch.cat([bits_per_dim(model.log_prob(part), SHAPE) for part in x.split(100)])
    return {
        "test_nll_nats": round(bits.mean().item() * 784 * math.log(2), 2),
        "test_bits_per_dim": round(bits.mean().item(), 4),
        "standard_error_bits_per_dim": round(bits.std().item() / len(bits) ** 0.5, 4),
        "test_protocol": f"exact, the first {len(x):,} test images, 28 x 28, 256 levels",
    }


def main() -> None:
    """Train, evaluate and save."""
    args = options(__doc__, passes=0.75, batch_size=16, lr=3e-3, average=0.998).parse_args()
    begin(args)
    train, _, test = load("mnist", valid=0)
    train_and_ship(
        "grey_digits",
        pixelcnnpp(),
        train,
        len(train),
        args,
        evaluate=lambda model: metrics(model, test.x[:2000].float()),
        data=f"MNIST, 60,000 training images of 256 grey levels; sha256 {train.sha256()}",
        converged=False,
    )


if __name__ == "__main__":
    main()
