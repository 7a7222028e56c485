"""The faces of chapter 08: a small convolutional VAE trained on the 400 grey-scale portraits of the ORL database.

    python -m lvmlib.experiments.vae_faces --data FOLDER

About five minutes on a core of its own. FOLDER holds the database as AT&T Laboratories Cambridge provided it, ten
portraits of 40 persons each (s1/1.pgm to s40/10.pgm; Samaria & Harter 1994). The portraits are not shipped: the
checkpoint holds the weights in bfloat16 and, under `codes`, posterior means of eight portraits, so that faces can
be drawn and blended without the data.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lvmlib.base import bits_per_dim, seed_everything
from lvmlib.bounds import elbo
from lvmlib.checkpoints import SHIPPED, provenance, save_checkpoint
from lvmlib.distributions import ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import ConvDecoder, ConvEncoder
from lvmlib.runs import remove_run
from lvmlib.training import cosine, fit

FACE = (1, 56, 48)


class FaceVAE(VAE):
    """A convolutional VAE for grey-scale faces in [0, 1], with a Gaussian decoder of one fixed scale.

    The scale sets the rate: the smaller it is, the more nats tell 358 portraits apart, and the more of the prior's mass
    belongs to none of them. It is fixed by hand, larger than the likelihood would like, for the sake of the draws.

    Attributes:
        codes: [8, latents], posterior means of eight portraits that the model was trained on.

    Example:
        >>> from lvmlib.experiments.vae_faces import FaceVAE
        >>> FaceVAE(latents=4, channels=(2, 2, 2)).sample(2).shape
        torch.Size([2, 1, 56, 48])
    """

    codes: Tensor

    def __init__(self, latents: int = 16, channels: tuple[int, ...] = (32, 64, 96), scale: float = 0.2):
        encoder = ConditionalNormal((latents,), ConvEncoder(FACE, channels, 2 * latents))
        decoder = ConditionalNormal(FACE, ConvDecoder(latents, channels[::-1], FACE), scale)
        super().__init__(encoder, decoder, StandardNormal((latents,)))
        self.register_buffer("codes", torch.zeros(8, latents))


def portraits(folder: Path, persons: range) -> Tensor:
    """The portraits of some persons, uint8 [N, 1, 112, 92].

    Some copies in circulation had their line ends converted as if they were text. That is undone; a file that it does
    not bring back to its length (2 of the 400 in one such copy) is left out.

    Raises:
        FileNotFoundError: the folder holds no portrait of these persons.
    """
    header, found = b"P5\n92 112\n255\n", []
    for file in (folder / f"s{person}" / f"{i}.pgm" for person in persons for i in range(1, 11)):
        data = file.read_bytes() if file.exists() else b""
        if len(data) != len(header) + 112 * 92:
            data = data.replace(b"\r\n", b"\n")
        if len(data) == len(header) + 112 * 92 and data.startswith(header):
            found.append(np.frombuffer(data, np.uint8, offset=len(header)).reshape(1, 112, 92))
    if not found:
        raise FileNotFoundError(f"{folder} holds no portraits s1/1.pgm to s40/10.pgm, 92 x 112 pixels, binary PGM.")
    return torch.tensor(np.stack(found))


def shrink(x: Tensor) -> Tensor:
    """Portraits uint8 [B, 1, 112, 92] as whole grey levels 0..255 of half the size, [B, 1, 56, 48], float."""
    x = F.pad(x.float(), (2, 2, 0, 0), mode="replicate")
    return F.avg_pool2d(x, 2).round()


def jitter(x: Tensor) -> Tensor:
    """A fresh variant of each portrait: mirrored or not, moved by up to two pixels, a little brighter or darker."""
    flip = torch.rand(len(x), 1, 1, 1) < 0.5
    x = torch.where(flip, x.flip(-1), x)
    down, right = torch.randint(0, 5, (2,)).tolist()
    x = F.pad(x, (2, 2, 2, 2), mode="replicate")[..., down : down + FACE[1], right : right + FACE[2]]
    return (x * (0.9 + 0.2 * torch.rand(len(x), 1, 1, 1))).clamp(0, 255)


def dequantize(x: Tensor) -> Tensor:
    """Grey levels 0..255 spread evenly over their bins, in [0, 1]: without this a density may grow without bound."""
    return (x + torch.rand_like(x)) / 256


def negative_elbo(model: VAE, x: Tensor) -> Tensor:
    """Minus the ELBO of dequantized variants while training, of the portraits as they are when not."""
    return -elbo(model, dequantize(jitter(x) if model.training else x))


@torch.no_grad()
def mean_bits(model: VAE, x: Tensor, draws: int) -> float:
    """Minus the ELBO of whole grey levels in bits per dimension; the 8 undoes the division by 256."""
    bound = torch.stack([elbo(model, dequantize(x)) for _ in range(draws)]).mean()
    return bits_per_dim(bound, FACE).item() + 8


def main() -> None:
    """Train, evaluate and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the ORL faces")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch-size", type=int, default=40)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--average", type=float, default=0.999)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "vae_faces")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    seed_everything(args.seed)
    train, test = portraits(args.data, range(1, 37)), portraits(args.data, range(37, 41))  # four persons never seen
    digest = hashlib.sha256(train.numpy().tobytes() + test.numpy().tobytes()).hexdigest()
    model = FaceVAE()
    start = time.perf_counter()
    fit(
        model,
        shrink(train),
        negative_elbo,
        steps=args.steps,
        batch_size=args.batch_size,
        lr=cosine(args.lr, args.steps, warmup=200),
        average=args.average,
        seed=args.seed,
        checkpoint=args.out.with_suffix(".training"),
        resume=True,
    )
    minutes = (time.perf_counter() - start) / 60
    with torch.no_grad():
        chosen = shrink(train[:: len(train) // 8][:8])
        model.codes.copy_(model.posterior((chosen + 0.5) / 256).mean)  # type: ignore[union-attr]
        model.bfloat16().float()  # what is evaluated is what is stored
    record = provenance(
        seed=args.seed,
        data=f"ORL faces, persons 1-36 to train on ({len(train)}), 37-40 to test on ({len(test)}); sha256 {digest}",
        steps=args.steps,
        batch_size=args.batch_size,
        optimizer=f"Adam, cosine learning rate from {args.lr}, averaged weights ({args.average})",
        training_minutes=round(minutes, 1),
        test_bits_per_dim=round(mean_bits(model, shrink(test), draws=100), 3),
        test_protocol="minus the ELBO of dequantized grey levels, 100 draws, 56 x 48 pixels",
        train_bits_per_dim=round(mean_bits(model, shrink(train), draws=100), 3),
    )
    save_checkpoint(model, args.out, record, half=True)
    remove_run(args.out.with_suffix(".training"))
    print({key: record[key] for key in ("test_bits_per_dim", "train_bits_per_dim", "training_minutes")})


if __name__ == "__main__":
    main()
