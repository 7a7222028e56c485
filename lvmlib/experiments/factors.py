"""Do the axes of a VAE line up with the factors that made the pictures? The runs behind chapter 08.

    python -m lvmlib.experiments.factors

3,456 pictures of 16 x 16 pixels in colour, one for each combination of shape, colour, size, column and row, and a
convolutional VAE for them, trained with several weights of the KL term and several seeds. Alignment is measured by the
mutual information gap (MIG), of the model as trained and after ten random rotations of its latent space, which leave
its ELBO as it was. Seeds that stand in factors.json are not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lvmlib.base import seed_everything
from lvmlib.bounds import distortion_and_rate, elbo
from lvmlib.checkpoints import SHIPPED, provenance, save_checkpoint
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import ConvDecoder, ConvEncoder
from lvmlib.training import cosine, fit

NAMES = ("shape", "colour", "size", "column", "row")
SIZES = (3, 6, 3, 8, 8)
COLOURS = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]])  # red, green, blue, ...
SHAPE, LATENTS = (3, 16, 16), 8


def factor_images() -> tuple[Tensor, Tensor]:
    """All pictures, [3456, 3, 16, 16] of 0 and 1, and the factors that made them, [3456, 5] whole numbers.

    No two agree: discs are a little narrower than squares of their size, so that they lose their corners.

    Example:
        >>> from lvmlib.experiments.factors import factor_images
        >>> x, factors = factor_images()
        >>> x.shape, [int(f.max()) + 1 for f in factors.T]
        (torch.Size([3456, 3, 16, 16]), [3, 6, 3, 8, 8])
    """
    factors = torch.cartesian_prod(*map(torch.arange, SIZES))
    shape, colour, size, column, row = (f[:, None, None] for f in factors.T)
    radius = 2 + size
    across = torch.arange(16) - (column + 4)  # [N, 1, 16]: pixels to the right of the centre
    down = torch.arange(16)[:, None] - (row + 4)
    square = (across.abs() < radius) & (down.abs() < radius)
    disc = across.square() + down.square() <= (radius - 0.6).square()
    triangle = (down.abs() < radius) & (2 * across.abs() < down + radius)
    inside = torch.where(shape == 0, square, torch.where(shape == 1, disc, triangle))  # [N, 16, 16]
    return (COLOURS[colour.flatten()][:, :, None, None] * inside[:, None]).float(), factors


def factor_vae() -> VAE:
    """A convolutional VAE for them, with more latents than there are factors."""
    encoder = ConditionalNormal((LATENTS,), ConvEncoder(SHAPE, (16, 32), 2 * LATENTS))
    decoder = ConditionalBernoulli(SHAPE, ConvDecoder(LATENTS, (32, 16), SHAPE))
    return VAE(encoder, decoder, StandardNormal((LATENTS,)))


def code_information(mean: Tensor, scale: Tensor, factors: Tensor) -> Tensor:
    r"""I(z_j; v_f) of each latent and each factor under q(z|x), with one draw for each picture: [d, number of factors].

    .. math:: I(z_j; v) = \mathbb{E}\left[\log \frac{q(z_j \mid v)}{q(z_j)}\right], \qquad
        q(z_j) = \tfrac1N \sum_n q(z_j \mid x_n), \quad q(z_j \mid v) \text{ the same over pictures with factor } v

    Args:
        mean: of q(z|x), [N, d].
        scale: the standard deviations, [N, d].
        factors: [N, number of factors], whole numbers.

    Source: Chen et al. 2018, *Isolating sources of disentanglement in VAEs*, section 4.1.
    """
    z = mean + scale * torch.randn_like(mean)
    found = torch.zeros(mean.shape[1], factors.shape[1])
    for j in range(mean.shape[1]):
        density = (-0.5 * ((z[:, j, None] - mean[:, j]) / scale[:, j]).square()).exp() / scale[:, j]  # [draw, picture]
        for f, values in enumerate(factors.T):
            member = F.one_hot(values).to(density.dtype)  # [N, values]
            given = (density @ member / member.sum(0)).gather(1, values[:, None]).squeeze(1)
            found[j, f] = (given / density.mean(1)).log().mean()
    return found


def mutual_information_gap(information: Tensor) -> float:
    r"""MIG: how far the most informative latent of a factor is ahead of the next, in units of the factor's entropy.

    Args:
        information: [d, number of factors], of uniform factors in the order of `NAMES`.

    Example:
        >>> import torch
        >>> from lvmlib.experiments.factors import SIZES, mutual_information_gap
        >>> mutual_information_gap(torch.diag(torch.tensor(SIZES).log()))
        1.0
    """
    first, second = information.topk(2, dim=0).values
    return ((first - second) / torch.tensor(SIZES).log()).mean().item()


@torch.no_grad()
def alignment(model: VAE, x: Tensor, factors: Tensor) -> dict[str, Any]:
    """ELBO, rate and MIG of a model, as trained and averaged over ten random rotations."""
    seed_everything(0)
    q = model.posterior(x)
    mean, scale = q.mean, q.stddev  # type: ignore[union-attr]
    distortion, rate = distortion_and_rate(model.trace(x))
    information = code_information(mean, scale, factors)
    rotated = []
    for _ in range(10):
        turn = torch.linalg.qr(torch.randn(LATENTS, LATENTS)).Q
        turned = code_information(mean @ turn.T, (scale.square() @ turn.T.square()).sqrt(), factors)
        rotated.append(mutual_information_gap(turned))
    return {
        "elbo": round(-(distortion + rate).mean().item(), 2),
        "rate": round(rate.mean().item(), 2),
        "information": [[round(i, 3) for i in row] for row in information.tolist()],
        "mig": round(mutual_information_gap(information), 4),
        "mig_rotated": round(sum(rotated) / len(rotated), 4),
    }


def trained(x: Tensor, beta: float, steps: int, seed: int) -> VAE:
    """One run."""
    seed_everything(seed)
    model = factor_vae()
    rate = cosine(3e-3, steps, warmup=100)
    fit(model, x, lambda m, b: -elbo(m, b, beta=beta), steps=steps, batch_size=100, lr=rate, seed=seed, progress=False)
    return model


def main() -> None:
    """Train, measure, write the record, and ship one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--betas", type=float, nargs="+", default=[1, 4])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--shipped-beta", type=float, default=1, help="the beta whose seed 0 is shipped")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED / "factors")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    path = args.out.with_suffix(".json")
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    runs, minutes = kept.get("runs", {}), kept.get("training_minutes", 0.0)
    x, factors = factor_images()
    for seed in range(args.seeds):
        for beta in args.betas:
            done = runs.setdefault(f"{beta:g}", [])
            if len(done) > seed:
                continue
            began = time.process_time()
            model = trained(x, beta, args.steps, seed).bfloat16().float()
            done.append(alignment(model, x, factors))
            minutes += (time.process_time() - began) / 60
            print(seed, beta, {k: v for k, v in done[-1].items() if k != "information"}, flush=True)
            facts = provenance(seed=0, data="all 3,456 pictures of five factors", steps=args.steps)
            facts |= {"test_protocol": "ELBO of one draw and MIG on all pictures, which are those trained on"}
            facts |= {"batch_size": 100, "optimizer": "Adam, cosine learning rate from 0.003 after 100 steps of rise"}
            facts |= {"factor_entropies": [round(math.log(n), 3) for n in SIZES], "clock": "processor time"}
            of_shipped = [run["mig"] for run in runs.get(f"{args.shipped_beta:g}", [])]
            facts |= {"mean_mig": round(sum(of_shipped) / max(1, len(of_shipped)), 3)}
            facts |= {"training_minutes": round(minutes, 1), "runs": runs}
            if seed == 0 and beta == args.shipped_beta:
                save_checkpoint(model, args.out, facts, half=True)
                kept = json.loads(path.read_text("utf-8"))
            facts |= {k: kept[k] for k in ("weights", "weights_sha256", "parameters") if k in kept}
            path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
