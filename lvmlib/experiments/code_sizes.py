"""Why the bound of a VQ-VAE is loose, behind chapter 12: the size of its book, the length of its training, its encoder.

    python -m lvmlib.experiments.code_sizes "vqvae 16"

The VQ-VAE of `codes_mnist` with books of 2 to 64 vectors, and a VAE with the same encoder and decoder, whose code is a
Gaussian vector in place of a rounded one. The VAE takes as many steps as both stages of the VQ-VAE; "short" means a
third of the steps. Of each VQ-VAE also the bound with an encoder that doubts, which gives codes near a feature a share
too. "lower codes" is a prior of the lower codes of the stored `vqvae2_mnist` that is not told the upper ones. Each run
is an entry of code_sizes.json; runs that are there are not made again.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from lvmlib.base import seed_everything
from lvmlib.bounds import distortion_and_rate
from lvmlib.checkpoints import SHIPPED, load_checkpoint, provenance
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalNormal, StandardNormal
from lvmlib.experiments.codes_mnist import (
    BATCH,
    PRIOR_STEPS,
    STEPS,
    TEST,
    WIDTH,
    Codes,
    by_class,
    code_loss,
    decoder,
    features,
    grid_prior,
    price,
    stage,
    two_stages,
    usage,
    vqvae2_mnist,
    vqvae_mnist,
)
from lvmlib.latent import VAE, VQVAE, VQVAE2
from lvmlib.runs import remove_run

OUT, FEW = SHIPPED / "code_sizes.json", 500
DOUBTS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # unit: mean squared distance to a vector
KINDS = ("vqvae 2", "vqvae 4", "vqvae 16", "vqvae 64", "vae")
NAMES = (*KINDS, *(f"{kind} short" for kind in KINDS), "lower codes")


def same_vae() -> VAE:
    """The networks of `vqvae_mnist` around vectors of the same size, each with a Gaussian of its own.

    Example:
        >>> from lvmlib.experiments.code_sizes import same_vae
        >>> same_vae().sample(2).shape
        torch.Size([2, 1, 28, 28])
    """
    shape = (WIDTH, 8, 8)
    return VAE(ConditionalNormal(shape, features(2 * WIDTH)), decoder(WIDTH), StandardNormal(shape))


def doubting(model: VQVAE, x: Tensor, doubt: float) -> tuple[Tensor, Tensor]:
    """Codes drawn from q(z_i = k|x), which falls with the squared distance to vector k, and log q of the draw.

    Args:
        model: whose vectors are the centres.
        x: [B, 1, 28, 28].
        doubt: 0 is the certain code; the unit is the mean squared distance of a feature to its own vector.

    Returns:
        codes [B, 1, 8, 8] and log-probabilities [B].
    """
    h = model.quantizer.encoder(x).movedim(1, -1)  # [B, 8, 8, E]
    squares = (h[..., None, :] - model.codebook.vectors).square().sum(-1)  # [B, 8, 8, K]
    q = Categorical(logits=-squares / (doubt * squares.min(-1).values.mean()))
    z = q.sample()
    return z[:, None].float(), q.log_prob(z).sum((1, 2))


@torch.no_grad()
def bounds_in_doubt(model: VQVAE, x: Tensor) -> dict[str, float]:
    """Minus the mean bound, nats, for each doubt; "0" is the certain encoder."""
    torch.manual_seed(0)
    found = {"0": -model.log_prob(x).mean().item()}
    for doubt in DOUBTS:
        z, log_q = doubting(model, x, doubt)
        log_p = model.quantizer.likelihood(z).log_prob(x) + model.prior.log_prob(z)
        found[f"{doubt:g}"] = (log_q - log_p).mean().item()
    return {key: round(value, 3) for key, value in found.items()}


@torch.no_grad()
def price_of_vae(model: VAE, test: Data) -> dict[str, float]:
    """Nats of pixels given codes, and of codes, over the test images: one draw each."""
    torch.manual_seed(0)
    parts = [distortion_and_rate(model.trace(x)) for x in test.fixed(seed=0).x.split(500)]
    distortion, rate = (torch.cat(values).mean().item() for values in zip(*parts))
    return {"distortion": round(distortion, 3), "rate": round(rate, 3)}


class LowerCodes(Codes):
    """Lower codes of a VQ-VAE of two levels."""

    model: VQVAE2

    def batch(self, index: Tensor) -> Tensor:
        """[B, 1, 8, 8]."""
        return self.model.prior.split(self.model.codes(self.data.batch(index)))[1]


def lower_codes(train: Data, test: Data) -> dict[str, Any]:
    """What the lower codes cost without the upper ones, and the upper ones; no class is told or known."""
    model, out = vqvae2_mnist(), OUT.with_name("code_sizes_lower")
    load_checkpoint(model, "vqvae2_mnist")
    seed_everything(0)
    alone = grid_prior(8, model.codebooks[1].size)
    minutes = stage(alone, LowerCodes(model, train, False), code_loss, PRIOR_STEPS, 3e-3, 0.995, out)
    remove_run(out)
    with torch.no_grad():
        z = model.codes(test.fixed(seed=0).x)
        upper, lower = model.prior.split(z)
        both = by_class(model.prior, z).logsumexp(0).mean().item() - math.log(10)
        first = by_class(model.prior.top, upper).logsumexp(0).mean().item() - math.log(10)
        rate = -alone.eval().log_prob(lower).mean().item()
    found = {"lower_alone": rate, "upper": -first, "lower_given_upper": first - both}
    return {key: round(value, 3) for key, value in found.items()} | {"training_minutes": round(minutes, 1)}


def run(name: str, train: Data, test: Data) -> dict[str, Any]:
    """Train one model, and say what codes and pixels of the test images cost."""
    kind, out = name.removesuffix(" short"), OUT.with_name("code_sizes_" + name.replace(" ", "_"))
    share = 3 if name.endswith("short") else 1
    seed_everything(0)
    begin = time.process_time()
    if kind == "vae":
        vae = same_vae()
        minutes = stage(vae, train, None, (STEPS + PRIOR_STEPS) // share, 2e-3, None, out)
        remove_run(out)
        found: dict[str, Any] = price_of_vae(vae, test)
        model: nn.Module = vae
    else:
        vqvae = vqvae_mnist(int(kind.removeprefix("vqvae ")))
        minutes = sum(two_stages(vqvae, train, STEPS // share, PRIOR_STEPS // share, out))
        found = price(vqvae, test) | usage(vqvae, test)
        found["uniform_rate"] = round(64 * math.log(vqvae.codebook.size), 3)
        found["in_doubt"] = bounds_in_doubt(vqvae, test.fixed(seed=0).x[:FEW])
        model = vqvae
    found["parameters"] = sum(p.numel() for p in model.parameters())
    print(name, found, f"{(time.process_time() - begin) / 60:.1f} min", flush=True)
    return found | {"training_minutes": round(minutes, 1)}


def save(runs: dict[str, Any]) -> None:
    """Writes the record."""
    content = dict(
        provenance(seed=0),
        data="MNIST, 60,000 training images, fresh binarization at each use",
        protocol=f"VQ-VAE: {STEPS} steps for encoder, decoder and book, then {PRIOR_STEPS} for the prior; VAE: their "
        f"sum; batches of {BATCH}, Adam with cosine decay from 2e-3 (prior 3e-3), no rate tuned; not converged",
        evaluated=f"bounds, the first {TEST:,} test images, one binary draw of seed 0; in doubt, the first {FEW}",
        clock="processor time",
        training_minutes=round(sum(run["training_minutes"] for run in runs.values()), 1),
        runs=runs,
    )
    OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """The runs that are named and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=NAMES, default=NAMES)
    torch.set_num_threads(1)
    names = parser.parse_args().names
    train, _, test = load("mnist", binarize="stochastic", valid=0)
    for name in names:
        runs = json.loads(OUT.read_text(encoding="utf-8"))["runs"] if OUT.exists() else {}
        if name not in runs:
            make = lower_codes if name == "lower codes" else functools.partial(run, name)
            save(runs | {name: make(train, test.subset(TEST))})


if __name__ == "__main__":
    main()
