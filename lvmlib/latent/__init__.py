"""Models with stochastic layers, and models whose posterior is known.

The approximate posterior of a VAE is whatever density its encoder is; `lvmlib.latent.priors` lists priors.

==============  ==============================================================  =================================
posterior       encoder                                                         trained on
==============  ==============================================================  =================================
Gaussian        ``ConditionalNormal((d,), network)``                            ``elbo``, ``iwae``
flow (IAF)      ``Given(iaf((d,), context=c), network)``, the network gives     ``elbo``, ``iwae``
                c numbers
mixture         ``ConditionalMixture((d,), network, components)``               ``stratified_elbo``
bits            ``ConditionalBernoulli((d,), network)``                         ``vimco``, ``gumbel_softmax``, ...
categorical     ``ConditionalCategorical((d, K), network)``                     ``vimco``, ``gumbel_softmax``, ...
==============  ==============================================================  =================================

An inverse autoregressive flow as the posterior; its network runs once for each x:

>>> import torch
>>> from lvmlib import MLP, VAE, ConditionalBernoulli, Given, StandardNormal, elbo, iaf
>>> encoder = Given(iaf((2,), layers=2, hidden=(16,), context=8), MLP(9, (16,), 8))
>>> decoder = ConditionalBernoulli((9,), MLP(2, (16,), 9))
>>> vae = VAE(encoder, decoder, StandardNormal((2,)))
>>> elbo(vae, torch.ones(5, 9)).shape
torch.Size([5])
"""

from lvmlib.latent.autoencoder import Autoencoder
from lvmlib.latent.codebook import Codebook, perplexity
from lvmlib.latent.em import HalfStep, em
from lvmlib.latent.hierarchical import HierarchicalVAE
from lvmlib.latent.linear_gaussian import LinearGaussian
from lvmlib.latent.mixture import GaussianMixture
from lvmlib.latent.pixel_vae import DensityAutoencoder, PixelVAE
from lvmlib.latent.ppca import PPCA
from lvmlib.latent.priors import OneHotCodes, VampPrior
from lvmlib.latent.vae import VAE, StochasticPair
from lvmlib.latent.vqvae import VQVAE, VectorQuantizer
from lvmlib.latent.vqvae2 import VQVAE2, TwoLevelPrior, TwoLevelQuantizer

__all__ = [
    "PPCA",
    "VAE",
    "VQVAE",
    "VQVAE2",
    "Autoencoder",
    "Codebook",
    "DensityAutoencoder",
    "GaussianMixture",
    "HalfStep",
    "HierarchicalVAE",
    "LinearGaussian",
    "OneHotCodes",
    "PixelVAE",
    "StochasticPair",
    "TwoLevelPrior",
    "TwoLevelQuantizer",
    "VampPrior",
    "VectorQuantizer",
    "em",
    "perplexity",
]
