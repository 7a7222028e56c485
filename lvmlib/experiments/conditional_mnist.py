"""Train what is built from pixel models: class-conditional, super-resolution, inpainting, multi-scale, hierarchical.

    python -m lvmlib.experiments.conditional_mnist super_resolution --bfloat16

Stochastically binarized MNIST, all 60,000 training images. The pixel models start from the weights of the Gated
PixelCNN that was trained without a context (`binary_mnist gated_pixelcnn`), so that a few passes are enough. An
interrupted run continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lvmlib.autoregressive import GatedPixelCNN, HierarchicalPixelModel, Inpainting, MultiScale, SuperResolution
from lvmlib.base import Density
from lvmlib.checkpoints import load_checkpoint
from lvmlib.data import Data, load
from lvmlib.experiments.binary_mnist import gated_pixelcnn
from lvmlib.experiments.shipping import begin, mnist_facts, mnist_metrics, options, train_and_ship


def with_map(features: int = 16) -> GatedPixelCNN:
    """A Gated PixelCNN that takes a map of features as context."""
    return gated_pixelcnn(context=(features, 28, 28))


MODELS: dict[str, Callable[[], Density]] = {
    "class_conditional": lambda: gated_pixelcnn(context=10),
    "super_resolution": lambda: SuperResolution(with_map(), factor=4),
    "inpainting": lambda: Inpainting(with_map()),
    "multi_scale": lambda: MultiScale(GatedPixelCNN((1, 7, 7), channels=32, layers=3), doublings=2),
    "hierarchical": lambda: HierarchicalPixelModel(
        GatedPixelCNN((4, 7, 7), channels=32, layers=3), with_map(), channels=32
    ),
}
"""Built as they are before `load_checkpoint(model, name + "_mnist")`."""


def start_from_unconditional(model: Density) -> str:
    """Give the pixel model inside the weights of the Gated PixelCNN without a context; say so for the record."""
    pixels = {
        GatedPixelCNN: lambda m: m,
        SuperResolution: lambda m: m.model,
        Inpainting: lambda m: m.model,
        HierarchicalPixelModel: lambda m: m.pixels,
    }.get(type(model))
    if pixels is None:
        return "random weights"
    trained = gated_pixelcnn()
    load_checkpoint(trained, "gated_pixelcnn_mnist")
    missing = pixels(model).load_state_dict(trained.state_dict(), strict=False).missing_keys
    assert all("context" in name for name in missing), missing
    return "the pixel model starts from gated_pixelcnn_mnist, all else from random weights"


class Labelled:
    """A split whose batches are (x, y)."""

    def __init__(self, data: Data):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Examples and labels at `index`."""
        assert self.data.y is not None
        return self.data.batch(index), self.data.y[index]


def random_holes(x: Tensor) -> Tensor:
    """Known pixels, [B, 1, H, W]: 1 outside one rectangle of random place and size, a side of it 7 to 28 long."""
    B, _, H, W = x.shape
    sides = torch.randint(7, 29, (B, 2))
    corner = (torch.rand(B, 2) * (torch.tensor([H, W]) - sides + 1)).long()
    rows, columns = torch.arange(H)[None], torch.arange(W)[None]
    tall = (rows >= corner[:, :1]) & (rows < corner[:, :1] + sides[:, :1])  # [B, H]
    wide = (columns >= corner[:, 1:]) & (columns < corner[:, 1:] + sides[:, 1:])  # [B, W]
    return (~(tall[:, None, :, None] & wide[:, None, None, :])).to(x)


def inpainting_loss(model: Inpainting, x: Tensor) -> Tensor:
    """Minus the log-probability of what is in a random hole, given what is around it."""
    return -model.log_prob(x, random_holes(x))


def class_loss(model: GatedPixelCNN, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Minus the log-probability given the class."""
    x, y = batch
    return -model.log_prob(x, y)


def hierarchical_loss(model: HierarchicalPixelModel, x: Tensor) -> Tensor:
    """Both stages at once: no parameter is in both terms, so each is trained by its own."""
    return model.auxiliary_loss(x) - model.log_prob(x)


LOSSES: dict[str, Callable[[Any, Any], Tensor]] = {
    "class_conditional": class_loss,
    "inpainting": inpainting_loss,
    "hierarchical": hierarchical_loss,
}


@torch.no_grad()
def hole_nll(model: Inpainting, test: Data) -> dict[str, Any]:
    """Mean over the test images, one hole for each."""
    torch.manual_seed(0)
    x = test.fixed(seed=0).x
    total = sum(-model.log_prob(rows, random_holes(rows)).sum().item() for rows in x.split(200))
    return {
        "test_nll_nats": round(total / len(x), 3),
        "test_protocol": "exact, of the pixels of one random hole in each of 10,000 test images, given the others",
    }


def main() -> None:
    """Train, evaluate and save."""
    parser = options(__doc__, passes=2, lr=1e-3)
    parser.add_argument("model", choices=MODELS)
    args = parser.parse_args()
    begin(args)
    train, _, test = load("mnist", binarize="stochastic", valid=0)
    labelled = args.model == "class_conditional"

    def evaluate(model: Any) -> dict[str, Any]:
        return hole_nll(model, test) if args.model == "inpainting" else mnist_metrics(model, train, test, labelled)

    model = MODELS[args.model]()
    start = start_from_unconditional(model)
    train_and_ship(
        f"{args.model}_mnist",
        model,
        Labelled(train) if labelled else train,
        len(train),
        args,
        evaluate,
        LOSSES.get(args.model),
        data=mnist_facts(train),
        start=start,
    )


if __name__ == "__main__":
    main()
