"""Small models whose gradients are known, and two ways to hold an estimator against them.

*All draws.* A model is given every value that its draws can take, one row for each, and the surrogates are summed with
the probabilities of these rows (for Gaussian noise, with the weights of Gauss-Hermite quadrature). What comes out is
the expectation of the estimator to rounding, and has to be the gradient of the bound, computed without any draw.

*Many draws.* The mean of many gradients, as they are drawn, is within `LEVEL` standard errors of the exact one.
"""

import itertools
import math

import numpy as np
import torch
from torch import nn

from lvmlib.distributions import (
    Coins,
    ConditionalBernoulli,
    ConditionalCategorical,
    ConditionalNormal,
    DiagonalNormal,
    FactorisedBernoulli,
    FactorisedCategorical,
    OneHots,
    StandardNormal,
)
from lvmlib.latent import VAE

LEVEL = 4.5  # exceeded by a right estimator in one of 7,000 tests of 20 entries


def gradient(value, parameters, **options):
    """Of one number, all entries one after another; 0 where nothing arrives."""
    parts = torch.autograd.grad(value, parameters, allow_unused=True, **options)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, parts)])


def decoder(inputs):
    """A Gaussian whose mean is no linear function of z."""
    return ConditionalNormal((2,), nn.Sequential(nn.Flatten(), nn.Linear(inputs, 3), nn.Tanh(), nn.Linear(3, 2)), 0.6)


def started(prior):
    nn.init.normal_(prior.logits)
    return prior


def coins(d=2):
    """A VAE of d binary latents, x, and all values of z, [S, d]."""
    vae = VAE(ConditionalBernoulli((d,), nn.Linear(2, d)), decoder(d), started(FactorisedBernoulli((d,))))
    return vae, torch.randn(1, 2), torch.tensor(list(itertools.product([0.0, 1.0], repeat=d)))


def categories(d=2, values=3):
    """A VAE of d latents of so many values, x, and all values of z, [S, d, values]."""
    encoder = ConditionalCategorical((d, values), nn.Linear(2, d * values))
    vae = VAE(encoder, decoder(d * values), started(FactorisedCategorical((d, values))))
    return vae, torch.randn(1, 2), torch.eye(values)[torch.tensor(list(itertools.product(range(values), repeat=d)))]


def line():
    """A VAE of one continuous latent, and x; q is wider than the posterior, so that weights have moments."""
    read, net = nn.Linear(1, 2), nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1))
    with torch.no_grad():
        read.weight.copy_(torch.tensor([[0.3], [0.1]]))
        read.bias.copy_(torch.tensor([0.2, -0.1]))
    return VAE(ConditionalNormal((1,), read), ConditionalNormal((1,), net, 0.8), StandardNormal((1,))), (
        torch.full((1, 1), 1.3)
    )


def weights_of_all(vae, x, z):
    """log w and log q of all values of z, [S] each."""
    rows = x.expand(len(z), *x.shape[1:])
    log_q = vae.posterior(x).log_prob(z)
    return vae.likelihood(z).log_prob(rows) + vae.prior.log_prob(z) - log_q, log_q


def exact_bound(vae, x, z, k):
    """The importance-weighted bound, a sum over all k-tuples of values; at k = 1 the ELBO."""
    log_w, log_q = weights_of_all(vae, x, z)
    tuples = torch.tensor(list(itertools.product(range(len(z)), repeat=k)))  # [S ** k, k]
    return (log_q[tuples].sum(1).exp() * (log_w[tuples].logsumexp(1) - math.log(k))).sum()


def all_draws(monkeypatch, vae, x, z, k):
    """Let k draws take all values: x in S ** k rows, and the probability of each row."""
    tuples = z[torch.tensor(list(itertools.product(range(len(z)), repeat=k)))].transpose(0, 1)  # [k, S ** k, ...]
    for kind in (Coins, OneHots):
        monkeypatch.setattr(kind, "sample", lambda self, shape: tuples)
    with torch.no_grad():
        probability = vae.posterior(x).log_prob(tuples).sum(0).exp()
    return x.expand(tuples.shape[1], *x.shape[1:]), probability


def all_noise(monkeypatch, x, k, nodes=64, dims=1):
    """Let the noise of k draws take the nodes of Gauss-Hermite quadrature: x in so many rows, and their weights."""
    at, weight = (torch.as_tensor(a) for a in np.polynomial.hermite_e.hermegauss(nodes))
    grid = torch.cartesian_prod(*[torch.arange(nodes)] * (k * dims)).view(-1, k, dims)
    noise = at[grid].transpose(0, 1)  # [k, rows, dims]
    monkeypatch.setattr(DiagonalNormal, "_noise", lambda self, shape: noise.reshape(*shape, *self.loc.shape))
    return x.expand(len(grid), *x.shape[1:]), (weight / weight.sum())[grid].flatten(1).prod(1)


def quadrature_bound(vae, x, k, nodes=64):
    """The importance-weighted bound of `line` by quadrature, from the values of densities alone."""
    at, weight = (torch.as_tensor(a) for a in np.polynomial.hermite_e.hermegauss(nodes))
    grid = torch.tensor(list(itertools.product(range(nodes), repeat=k)))
    q = vae.posterior(x)
    z = (q.loc + q.stddev * at[:, None]).view(nodes, 1)
    log_w, _ = weights_of_all(vae, x, z)
    return ((weight / weight.sum())[grid].prod(1) * (log_w[grid].logsumexp(1) - math.log(k))).sum()


def deviations(surrogate, exact, parameters, batches=100):
    """How many standard errors value and gradient of many surrogates lie from the exact bound and its gradient."""
    values, gradients = [], []
    for _ in range(batches):
        value = surrogate().mean()
        values.append(value.detach()[None])
        gradients.append(gradient(value, parameters))
    wanted = torch.cat([exact.detach()[None], gradient(exact, parameters, retain_graph=True)])
    seen = torch.cat([torch.stack(values), torch.stack(gradients)], 1)
    return (seen.mean(0) - wanted) / (seen.std(0) / batches**0.5 + 1e-9)
