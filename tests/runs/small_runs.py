"""Small models and data for runs that are stopped and resumed."""

from pathlib import Path

from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import MLP

FILES = [".run.pt.lock", "run.pt", "run.pt.history.csv"]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def small_vae() -> VAE:
    return VAE(
        ConditionalNormal((2,), MLP(8, (8,), 4)), ConditionalBernoulli((8,), MLP(2, (8,), 8)), StandardNormal((2,))
    )
