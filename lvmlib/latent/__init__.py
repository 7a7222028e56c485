"""Models with stochastic layers, and models whose posterior is known."""

from lvmlib.latent.codebook import Codebook, perplexity
from lvmlib.latent.em import HalfStep, em
from lvmlib.latent.hierarchical import HierarchicalVAE
from lvmlib.latent.linear_gaussian import LinearGaussian
from lvmlib.latent.mixture import GaussianMixture
from lvmlib.latent.pixel_vae import DensityAutoencoder, PixelVAE
from lvmlib.latent.ppca import PPCA
from lvmlib.latent.vae import VAE, StochasticPair
from lvmlib.latent.vqvae import VQVAE, VectorQuantizer
from lvmlib.latent.vqvae2 import VQVAE2, TwoLevelPrior, TwoLevelQuantizer

__all__ = [
    "PPCA",
    "VAE",
    "VQVAE",
    "VQVAE2",
    "Codebook",
    "DensityAutoencoder",
    "GaussianMixture",
    "HalfStep",
    "HierarchicalVAE",
    "LinearGaussian",
    "PixelVAE",
    "StochasticPair",
    "TwoLevelPrior",
    "TwoLevelQuantizer",
    "VectorQuantizer",
    "em",
    "perplexity",
]
