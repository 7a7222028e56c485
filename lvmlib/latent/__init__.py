"""Models with stochastic layers, and models whose posterior is known."""

from lvmlib.latent.em import HalfStep, em
from lvmlib.latent.hierarchical import HierarchicalVAE
from lvmlib.latent.linear_gaussian import LinearGaussian
from lvmlib.latent.mixture import GaussianMixture
from lvmlib.latent.ppca import PPCA
from lvmlib.latent.vae import VAE, StochasticPair

__all__ = [
    "PPCA",
    "VAE",
    "GaussianMixture",
    "HalfStep",
    "HierarchicalVAE",
    "LinearGaussian",
    "StochasticPair",
    "em",
]
