"""Small chains of every kind that bits-back coding takes."""

import torch
from torch import nn

from lvmlib.autoregressive import FVSBN, GatedPixelCNN
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalCategorical,
    ConditionalDiscretizedLogistic,
    ConditionalNormal,
    StandardNormal,
)
from lvmlib.latent import VAE, VQVAE, HierarchicalVAE, PixelVAE
from lvmlib.networks import MLP


def livened(model, by=0.4):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(by * torch.randn_like(p))
    return model


def mlp(*sizes):
    return MLP(*sizes, nn.Tanh)


def gaussian(context=0):
    encoder = ConditionalNormal((3,), mlp(12 + context, (8,), 6))
    return VAE(encoder, ConditionalBernoulli((12,), mlp(3 + context, (8,), 12)), StandardNormal((3,)))


def two_layers():
    lower = ConditionalNormal((4,), mlp(12, (8,), 8)), ConditionalBernoulli((12,), mlp(4, (8,), 12))
    upper = ConditionalNormal((2,), mlp(4, (8,), 4)), ConditionalNormal((4,), mlp(2, (8,), 8))
    return HierarchicalVAE([lower, upper], StandardNormal((2,)))


def three_layers():
    """Gaussians above coins above one-hots."""
    first = ConditionalCategorical((3, 4), mlp(12, (8,), 12)), ConditionalBernoulli((12,), mlp(12, (8,), 12))
    second = ConditionalBernoulli((5,), mlp(12, (8,), 5)), ConditionalCategorical((3, 4), mlp(5, (8,), 12))
    third = ConditionalNormal((2,), mlp(5, (8,), 4)), ConditionalBernoulli((5,), mlp(2, (8,), 5))
    return HierarchicalVAE([first, second, third], StandardNormal((2,)))


def grey():
    encoder, decoder = ConditionalNormal((2,), mlp(12, (8,), 4)), mlp(2, (8,), 24)
    return VAE(encoder, ConditionalDiscretizedLogistic((12,), decoder, levels=6), StandardNormal((2,)))


def autoregressive_prior():
    encoder = ConditionalBernoulli((5,), mlp(12, (8,), 5))
    return VAE(encoder, ConditionalBernoulli((12,), mlp(5, (8,), 12)), FVSBN((5,)))


def pixel_vae():
    pixels = GatedPixelCNN((1, 3, 4), channels=4, layers=2, kernel=3, levels=3, context=2)
    return PixelVAE(ConditionalNormal((2,), mlp(12, (8,), 4)), pixels, StandardNormal((2,)))


def vqvae():
    prior = GatedPixelCNN((1, 1, 2), channels=4, layers=2, kernel=3, levels=5, embedding=True)
    network = nn.ConvTranspose2d(2, 1, (3, 2), (3, 2))
    return VQVAE(nn.Conv2d(1, 2, (3, 2), (3, 2)), ConditionalBernoulli((1, 3, 4), network), prior, width=2)


MODELS = {f.__name__: f for f in (
    gaussian, two_layers, three_layers, grey, autoregressive_prior, pixel_vae, vqvae)}  # fmt: skip
