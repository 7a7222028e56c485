# %% imports
import math

import numpy as np
import torch
import torch.nn.functional as F


def factors(params, d):
    i, j = torch.tril_indices(d, d)
    A = params.new_zeros(len(params), d, d)
    A[:, i, j] = params[:, d:]
    log_diagonal = A.diagonal(dim1=1, dim2=2)
    return params[:, :d], A.tril(-1) + torch.diag_embed(log_diagonal.exp()), log_diagonal


# %% q1: the transpose of L
def draw_and_kl(params, eps):
    mu, L, logs = factors(params, eps.shape[-1])
    squares = mu.square().sum(1) + L.square().sum((1, 2)) - eps.shape[-1]
    return mu + torch.einsum("bji,kbj->kbi", L, eps), 0.5 * squares - logs.sum(1)


# %% q1: the trace without what stands below the diagonal
def draw_and_kl(params, eps):
    mu, L, logs = factors(params, eps.shape[-1])
    squares = mu.square().sum(1) + (2 * logs).exp().sum(1) - eps.shape[-1]
    return mu + torch.einsum("bij,kbj->kbi", L, eps), 0.5 * squares - logs.sum(1)


# %% q1: half of the log-determinant
def draw_and_kl(params, eps):
    mu, L, logs = factors(params, eps.shape[-1])
    squares = mu.square().sum(1) + L.square().sum((1, 2)) - eps.shape[-1]
    z = mu + torch.einsum("bij,kbj->kbi", L, eps)
    return z, 0.5 * squares - 0.5 * logs.sum(1)


# %% q1: the diagonal without its exponential
def draw_and_kl(params, eps):
    d = eps.shape[-1]
    mu, L, logs = factors(params, d)
    L = L.tril(-1) + torch.diag_embed(logs)
    squares = mu.square().sum(1) + L.square().sum((1, 2)) - d
    return mu + torch.einsum("bij,kbj->kbi", L, eps), 0.5 * squares - logs.sum(1)


# %% q1: the dimension left out
def draw_and_kl(params, eps):
    mu, L, logs = factors(params, eps.shape[-1])
    squares = mu.square().sum(1) + L.square().sum((1, 2))
    return mu + torch.einsum("bij,kbj->kbi", L, eps), 0.5 * squares - logs.sum(1)


# %% q1: the covariance in place of its root
def draw_and_kl(params, eps):
    mu, L, logs = factors(params, eps.shape[-1])
    S = L @ L.transpose(1, 2)
    squares = mu.square().sum(1) + L.square().sum((1, 2)) - eps.shape[-1]
    return mu + torch.einsum("bij,kbj->kbi", S, eps), 0.5 * squares - logs.sum(1)


# %% q1: zeros
def draw_and_kl(params, eps):
    return torch.zeros_like(eps), torch.zeros(len(params))


# %% q2: no binomial coefficient
def bits_per_pixel(x, log_odds, kl):
    log_p = x * log_odds - 16 * F.softplus(log_odds)
    return (kl - log_p.sum(1)) / (x.shape[1] * math.log(2))


# %% q2: the Bernoulli formula on grey levels
def bits_per_pixel(x, log_odds, kl):
    log_p = x / 16 * log_odds - F.softplus(log_odds)
    return (kl - log_p.sum(1)) / (x.shape[1] * math.log(2))


# %% q2: nats
def bits_per_pixel(x, log_odds, kl):
    ways = math.lgamma(17) - (x + 1).lgamma() - (17 - x).lgamma()
    log_p = ways + x * log_odds - 16 * F.softplus(log_odds)
    return (kl - log_p.sum(1)) / x.shape[1]


# %% q2: the KL term with the wrong sign
def bits_per_pixel(x, log_odds, kl):
    ways = math.lgamma(17) - (x + 1).lgamma() - (17 - x).lgamma()
    log_p = ways + x * log_odds - 16 * F.softplus(log_odds)
    return (-kl - log_p.sum(1)) / (x.shape[1] * math.log(2))


# %% q2: the KL term not divided by the pixels
def bits_per_pixel(x, log_odds, kl):
    ways = math.lgamma(17) - (x + 1).lgamma() - (17 - x).lgamma()
    log_p = ways + x * log_odds - 16 * F.softplus(log_odds)
    return (kl - log_p.mean(1)) / math.log(2)


# %% q2: probabilities formed first, which round to 0 and 1
def bits_per_pixel(x, log_odds, kl):
    p = log_odds.sigmoid()
    ways = math.lgamma(17) - (x + 1).lgamma() - (17 - x).lgamma()
    log_p = ways + x * p.log() + (16 - x) * (1 - p).log()
    return (kl - log_p.sum(1)) / (x.shape[1] * math.log(2))


# %% q2: zeros
def bits_per_pixel(x, log_odds, kl):
    return torch.zeros(len(x))


# %% imports
import math

import numpy as np
import torch

GAMMA = 0.5772156649015329


def right_draw(u, log_a, log_b):
    return (-torch.expm1(torch.log1p(-u) / log_b.exp())) ** (1 / log_a.exp())


def right_kl(log_a, log_b):
    a, b = log_a.exp(), log_b.exp()
    mean_log_z = -(GAMMA + torch.digamma(b + 1)) / a
    return log_a + log_b + (a - 1) * mean_log_z - (b - 1) / b


# %% q3: 1 - F(z) = u
def unit_draw(u, log_a, log_b):
    return (1 - u ** (1 / log_b.exp())) ** (1 / log_a.exp())


def unit_gradient(u, c, s, log_a, log_b):
    logs = torch.stack([log_a, log_b]).requires_grad_()
    log_p = -0.5 * ((c - unit_draw(u, *logs)) / s) ** 2
    return torch.autograd.grad(log_p.mean() - right_kl(*logs), logs)[0]


# %% q3: a and b exchanged
def unit_draw(u, log_a, log_b):
    return right_draw(u, log_b, log_a)


def unit_kl(log_a, log_b):
    return right_kl(log_b, log_a)


# %% q3: F in place of its inverse, its gradient with it
def unit_draw(u, log_a, log_b):
    return 1 - (1 - u ** log_a.exp()) ** log_b.exp()


def unit_gradient(u, c, s, log_a, log_b):
    logs = torch.stack([log_a, log_b]).requires_grad_()
    log_p = -0.5 * ((c - unit_draw(u, *logs)) / s) ** 2
    return torch.autograd.grad(log_p.mean() - right_kl(*logs), logs)[0]


# %% q3: the mean of log z taken for that of log z to the a
def unit_kl(log_a, log_b):
    a, b = log_a.exp(), log_b.exp()
    mean_log = -(GAMMA + torch.digamma(b + 1))
    return log_a + log_b + (a - 1) * mean_log - (b - 1) / b


# %% q3: digamma of b
def unit_kl(log_a, log_b):
    a, b = log_a.exp(), log_b.exp()
    mean_log_z = -(GAMMA + torch.digamma(b)) / a
    return log_a + log_b + (a - 1) * mean_log_z - (b - 1) / b


# %% q3: the entropy in place of the divergence
def unit_kl(log_a, log_b):
    return -right_kl(log_a, log_b)


# %% q3: the gradient without that of the KL
def unit_gradient(u, c, s, log_a, log_b):
    logs = torch.stack([log_a, log_b]).requires_grad_()
    log_p = -0.5 * ((c - right_draw(u, *logs)) / s) ** 2
    return torch.autograd.grad(log_p.mean(), logs)[0]


# %% q3: draws that carry no gradient
def unit_gradient(u, c, s, log_a, log_b):
    logs = torch.stack([log_a, log_b]).requires_grad_()
    return torch.autograd.grad(-right_kl(*logs), logs)[0]


# %% q3: by a and b, not by their logarithms
def unit_gradient(u, c, s, log_a, log_b):
    ab = torch.stack([log_a, log_b]).exp().requires_grad_()
    log_p = -0.5 * ((c - right_draw(u, *ab.log())) / s) ** 2
    return torch.autograd.grad(log_p.mean() - right_kl(*ab.log()), ab)[0]


# %% q3: zeros
def unit_draw(u, log_a, log_b):
    return torch.zeros_like(u)


def unit_kl(log_a, log_b):
    return torch.tensor(0.0)


def unit_gradient(u, c, s, log_a, log_b):
    return torch.zeros(2)


# %% imports
import math

import numpy as np
import torch


# %% q4: all latents stay active
def water_filling(eigenvalues, s, d):
    rate = 0.5 * (eigenvalues[:d] / s).log().abs().sum().item()
    return d, rate, d * s + eigenvalues[d:].sum().item()


# %% q4: the error of plain PCA
def water_filling(eigenvalues, s, d):
    kept = eigenvalues[:d][eigenvalues[:d] > s]
    rate = 0.5 * (kept / s).log().sum().item()
    return len(kept), rate, eigenvalues[len(kept) :].sum().item()


# %% q4: directions without a latent forgotten
def water_filling(eigenvalues, s, d):
    kept = eigenvalues[:d][eigenvalues[:d] > s]
    rate = 0.5 * (kept / s).log().sum().item()
    return len(kept), rate, eigenvalues[:d].clamp(max=s).sum().item()


# %% q4: as many latents as there are directions
def water_filling(eigenvalues, s, d):
    kept = eigenvalues[eigenvalues > s]
    rate = 0.5 * (kept / s).log().sum().item()
    return len(kept), rate, eigenvalues.clamp(max=s).sum().item()


# %% q4: the rate without its half
def water_filling(eigenvalues, s, d):
    kept = eigenvalues[:d][eigenvalues[:d] > s]
    error = len(kept) * s + eigenvalues[len(kept) :].sum().item()
    return len(kept), (kept / s).log().sum().item(), error


# %% q4: the capacity with the whole variance as signal
def water_filling(eigenvalues, s, d):
    kept = eigenvalues[:d][eigenvalues[:d] > s]
    error = len(kept) * s + eigenvalues[len(kept) :].sum().item()
    return len(kept), 0.5 * (1 + kept / s).log().sum().item(), error


# %% q4: the variance taken for a standard deviation
def water_filling(eigenvalues, s, d):
    kept = eigenvalues[:d][eigenvalues[:d] > s**2]
    error = len(kept) * s**2 + eigenvalues[len(kept) :].sum().item()
    return len(kept), 0.5 * (kept / s**2).log().sum().item(), error


# %% q4: zeros
def water_filling(eigenvalues, s, d):
    return 0, 0.0, 0.0


# %% q5: the error as a mean over pixels
measured = {name: table / [1, 1, 64] for name, table in measured.items()}
gain = gain / 64

# %% q5: the rate in bits
measured = {name: table / [1, math.log(2), 1] for name, table in measured.items()}

# %% q5: the eigenvalues of the correlation, not of the covariance
predicted = np.array([[12, 12.0, 20.0], [12, 14.0, 19.0], [12, 20.0, 17.0]])

# %% q5: the wrong sign of the gain
gain = -gain

# %% q5: the gain in rate alone
gain = measured["linear"][2, 1] - measured["network"][2, 1]

# %% q5: the error not divided by 2 s
gain = (measured["linear"] - measured["network"])[2, 1:].sum()

# %% q5: the same VAE twice
measured = {"linear": measured["linear"], "network": measured["linear"]}

# %% q5: nothing measured
predicted, gain = np.ones((3, 3)), 0.0
measured = {"linear": np.ones((3, 3)), "network": np.ones((3, 3))}
