"""Train WaveNet on spoken words at 8 kHz and ship its weights.

python -m lvmlib.experiments.speech --bfloat16
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lvmlib.autoregressive import WaveNet
from lvmlib.data import load
from lvmlib.experiments.shipping import begin, options, train_and_ship
from lvmlib.experiments.text import Windows

WINDOW = 2500  # 0.31 s


def wavenet_speech(length: int = WINDOW) -> WaveNet:
    """WaveNet over mu-law codes; its weights fit any length."""
    return WaveNet((length,), channels=32, layers=9, stacks=2, levels=256)


class Crops(Windows):
    """Windows of the recordings, none across two of them."""

    def __init__(self, recordings: Tensor, length: int, stride: int):
        super().__init__(recordings.flatten(), length, stride)
        self.size = recordings.shape[1]
        self.starts = torch.arange(0, self.size - length + 1, stride)
        self.recordings = len(recordings)

    def __len__(self) -> int:
        return self.recordings * len(self.starts)

    def batch(self, index: Tensor) -> Tensor:
        """Windows [B, length] at `index`."""
        start = index // len(self.starts) * self.size + self.starts[index % len(self.starts)]
        return self.text[start[:, None] + torch.arange(self.length)]


def code_entropy(recordings: Tensor) -> float:
    """Entropy of single codes, bits for each sample: what a model without memory reaches."""
    p = recordings.flatten().long().bincount(minlength=256).double() / recordings.numel()
    return -torch.xlogy(p, p).sum().item() / math.log(2)


@torch.no_grad()
def bits_per_sample(model: WaveNet, recordings: Tensor) -> float:
    """Mean bits for each sample of whole recordings."""
    whole = wavenet_speech(recordings.shape[1])
    whole.load_state_dict(model.state_dict())
    total = sum(-whole.log_prob(x[None]).item() for x in recordings)
    return total / recordings.numel() / math.log(2)


def main() -> None:
    """Train, evaluate and save."""
    args = options(__doc__, passes=12, batch_size=8, lr=2e-3, average=0.99).parse_args()
    begin(args)
    train, valid, test = (split.x for split in load("speech"))
    crops = Crops(train, WINDOW, stride=250)
    train_and_ship(
        "wavenet_speech",
        wavenet_speech(),
        crops,
        len(crops),
        args,
        evaluate=lambda model: {
            "test_bits_per_sample": round(bits_per_sample(model, test), 4),
            "train_bits_per_sample": round(bits_per_sample(model, train[:24]), 4),
            "entropy_of_codes_bits": round(code_entropy(train), 4),
            "test_protocol": "exact, all samples of 24 recordings of words that are not in the training set",
        },
        valid=Crops(valid, WINDOW, stride=WINDOW),
        data=f"134 spoken words of 0.625 s at 8 kHz, 8-bit mu-law, crops of {WINDOW} samples; "
        f"sha256 {load('speech')[0].sha256()}",
    )


if __name__ == "__main__":
    main()
