"""A VampPrior fitted to the codes of a VAE that stays as it is, for the picture of priors in chapter 11.

    python -m lvmlib.experiments.frozen_vamp

The VAE is vae_mnist_2d, and the prior the mixture of its posteriors of 50 pseudo-inputs. They start as training images
and are fitted as the chapter fits its other priors: maximum likelihood of codes of 10,000 training images, a fresh draw
of each at every use. Where the narrow components end up depends on the last digits of 800 steps; the weights show the
same picture on every processor.
"""

from __future__ import annotations

import time
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lvmlib.base import seed_everything
from lvmlib.checkpoints import SHIPPED, load_checkpoint, provenance, save_checkpoint
from lvmlib.data import load
from lvmlib.experiments.vae_mnist import vae_mnist
from lvmlib.latent import VampPrior
from lvmlib.training import cosine, fit

COMPONENTS, STEPS, BATCH, RATE, IMAGES, DRAWS = 50, 800, 500, 0.02, 10_000, 20
OUT = SHIPPED / "frozen_vamp"


class PseudoInputs(nn.Module):
    """The only weights that are stored; encoder and decoder are those of vae_mnist_2d.

    Example:
        >>> import torch
        >>> from lvmlib.experiments.frozen_vamp import PseudoInputs
        >>> PseudoInputs(torch.zeros(50, 1, 28, 28)).inputs.shape
        torch.Size([50, 1, 28, 28])
    """

    def __init__(self, inputs: Tensor):
        super().__init__()
        self.inputs = nn.Parameter(inputs)


def draws(batch: Tensor) -> Tensor:
    """Codes from means and standard deviations side by side, [B, 4] -> [B, 2]."""
    return batch[:, :2] + batch[:, 2:] * torch.randn_like(batch[:, :2])


def fitted() -> tuple[VampPrior, Tensor]:
    """The prior, and the codes to which it was fitted as means and standard deviations, [images, 4]."""
    vae = vae_mnist(latents=2)
    load_checkpoint(vae, "vae_mnist_2d")
    bits = load("mnist", binarize="stochastic")[0].fixed(seed=0).x[:IMAGES]
    with torch.no_grad():
        q = cast(Distribution, vae.posterior(bits))
    codes = torch.cat([q.mean, q.stddev], 1)
    seed_everything(0)
    prior = VampPrior(vae.pair.encoder.requires_grad_(False), bits[:COMPONENTS]).double()
    fit(
        prior, codes.double(), lambda density, batch: -density.log_prob(draws(batch)), steps=STEPS, batch_size=BATCH,
        lr=cosine(RATE, STEPS), progress=False,
    )  # fmt: skip
    return prior.float(), codes


@torch.no_grad()
def cross_entropy(prior: VampPrior, codes: Tensor) -> float:
    """Minus the mean log-density at codes of the images, nats."""
    seed_everything(0)
    return -prior.log_prob(draws(codes.repeat(DRAWS, 1))).mean().item()


def main() -> None:
    """Fit the prior and store its pseudo-inputs."""
    torch.set_num_threads(1)
    start = time.process_time()
    prior, codes = fitted()
    stored = PseudoInputs(prior.inputs.detach()).bfloat16().float()
    prior.inputs.data.copy_(stored.inputs.data)  # what is evaluated is what is stored
    facts = {
        **provenance(seed=0),
        "data": f"codes that vae_mnist_2d gives {IMAGES:,} training images of MNIST, one binary draw of seed 0",
        "protocol": f"{STEPS} steps of {BATCH} codes, Adam {RATE} with cosine decay; not converged",
        "test_protocol": f"minus the log-density of {DRAWS} codes of each of these training images",
        "cross_entropy_nats": round(cross_entropy(prior, codes), 3),
        "training_minutes": round((time.process_time() - start) / 60, 2),
    }
    save_checkpoint(stored, OUT, facts, half=True)
    print(facts)


if __name__ == "__main__":
    main()
