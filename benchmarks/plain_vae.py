"""A VAE of binary pictures by hand in plain PyTorch: two bounds to train on, and the likelihood by importance sampling.

Nothing is computed that the number asked for does not need: the KL term of the ELBO has its closed form, the encoder
runs once for each picture however many draws are taken, and log q(z|x) is read off the noise that made z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear maps with tanh between them."""
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:]):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class PlainVAE(nn.Module):
    """Gaussian posterior, standard Gaussian prior, pixels that are coins."""

    def __init__(self, dims: int = 784, hidden: Sequence[int] = (200, 200), latents: int = 50):
        super().__init__()
        self.encoder = mlp([dims, *hidden, 2 * latents])
        self.decoder = mlp([latents, *reversed(hidden), dims])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log of the standard deviation, [B, d] each, of q(z|x)."""
        mean, log_scale = self.encoder(x.flatten(1)).chunk(2, 1)
        return mean, log_scale


def elbo(vae: PlainVAE, x: Tensor) -> Tensor:
    """One draw, [B] nats."""
    mean, log_scale = vae.encode(x)
    scale = log_scale.exp()
    logits = vae.decoder(mean + scale * torch.randn_like(mean))
    distortion = F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="none").sum(1)
    rate = (0.5 * (mean.square() + scale.square() - 1) - log_scale).sum(1)
    return -distortion - rate


def log_weights(vae: PlainVAE, mean: Tensor, log_scale: Tensor, x: Tensor, k: int) -> Tensor:
    """log p(x, z) - log q(z|x) of k draws, [k, B] nats, for flat pictures [B, D]."""
    noise = torch.randn(k, *mean.shape)
    z = mean + log_scale.exp() * noise  # [k, B, d]
    logits = vae.decoder(z)  # [k, B, D]
    log_p = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(2)
    return log_p + 0.5 * (noise.square() - z.square()).sum(2) + log_scale.sum(1)  # the 2 pi of p(z) and q cancel


def iwae(vae: PlainVAE, x: Tensor, k: int) -> Tensor:
    """The importance-weighted bound of k draws, [B] nats."""
    mean, log_scale = vae.encode(x)
    return log_weights(vae, mean, log_scale, x.flatten(1), k).logsumexp(0) - math.log(k)


@torch.no_grad()
def log_likelihood(vae: PlainVAE, x: Tensor, k: int, rows: int = 1000) -> Tensor:
    """Importance sampling with k draws in pieces of at most `rows` draws times pictures, [B] nats."""
    done = []
    for pictures in x.flatten(1).split(rows):
        mean, log_scale = vae.encode(pictures)
        chunk = max(1, rows // len(pictures))
        parts = [
            log_weights(vae, mean, log_scale, pictures, min(chunk, k - start)).logsumexp(0)
            for start in range(0, k, chunk)
        ]
        done.append(torch.stack(parts).logsumexp(0) - math.log(k))
    return torch.cat(done)
