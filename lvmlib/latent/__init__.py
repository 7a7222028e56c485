"""Models with stochastic layers."""

from lvmlib.latent.linear_gaussian import LinearGaussian
from lvmlib.latent.vae import VAE, StochasticPair

__all__ = ["VAE", "LinearGaussian", "StochasticPair"]
