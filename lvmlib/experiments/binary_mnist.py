"""Train one autoregressive model on stochastically binarized MNIST and ship its weights.

    python -m lvmlib.experiments.binary_mnist pixelcnn --bfloat16

All 60,000 training images, a fresh binarization at every use. On a processor with bfloat16 arithmetic `--bfloat16`
halves the time of the convolutional models; weights, their averages and the test are in float32 either way. An
interrupted run continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import lvmlib.autoregressive as ar
from lvmlib.data import load
from lvmlib.experiments.shipping import begin, mnist_facts, mnist_metrics, options, train_and_ship

SHAPE = (1, 28, 28)


def gated_pixelcnn(context: int | Sequence[int] | None = None) -> ar.GatedPixelCNN:
    """The Gated PixelCNN of this model and of those that start from it; 14 rows up are in reach, half a picture."""
    return ar.GatedPixelCNN(SHAPE, channels=24, layers=12, positions=True, context=context)


MODELS: dict[str, Callable[[], ar.Autoregressive]] = {
    "fvsbn": lambda: ar.FVSBN(SHAPE),
    "made": lambda: ar.MADE(SHAPE, hidden=(512, 512), direct=True),
    "rnn": lambda: ar.RNN(SHAPE, hidden=128, cell="gru", positions=True),
    "wavenet": lambda: ar.WaveNet(SHAPE, channels=32, layers=9, positions=True),
    "transformer": lambda: ar.CausalTransformer(SHAPE, positions="axes"),
    "patch_transformer": lambda: ar.PatchTransformer(SHAPE, patch=2),
    "pixelcnn": lambda: ar.PixelCNN(SHAPE, channels=32, layers=7, positions=True),
    "gated_pixelcnn": gated_pixelcnn,
    "pixelrnn": lambda: ar.PixelRNN(SHAPE, positions=True),
    "pixelcnnpp": lambda: ar.PixelCNNpp(SHAPE, channels=24, layers=1, levels=2, logistics=0),
    "pixelsnail": lambda: ar.PixelSNAIL(SHAPE),
}
"""The models of the tables in chapters 03 and 04: build one, then `load_checkpoint(model, name + "_mnist")`."""


def main() -> None:
    """Train, evaluate and save."""
    parser = options(__doc__)
    parser.add_argument("model", choices=MODELS)
    args = parser.parse_args()
    begin(args)
    train, _, test = load("mnist", binarize="stochastic", valid=0)
    train_and_ship(
        f"{args.model}_mnist",
        MODELS[args.model](),
        train,
        len(train),
        args,
        evaluate=lambda model: mnist_metrics(model, train, test),
        data=mnist_facts(train),
    )


if __name__ == "__main__":
    main()
