# %% imports
import math

import numpy as np
import torch
import torch.nn.functional as F


def log_normal(z, mu, log_sigma):
    t = (z - mu) * (-log_sigma).exp()
    return -0.5 * t**2 - log_sigma - 0.5 * math.log(2 * math.pi)


def changed(u, w):
    product = u @ w
    return u + (F.softplus(product) - 1 - product) * w / (w @ w)


# %% q1: the plain formula, infinite in float32
def squashed_log_prob(z, mu, log_sigma):
    slope = 1 - torch.tanh(z) ** 2
    return (log_normal(z, mu, log_sigma) - slope.log()).sum(1)


# %% q1: the patch that circulates
def squashed_log_prob(z, mu, log_sigma):
    slope = 1 - torch.tanh(z) ** 2
    return (log_normal(z, mu, log_sigma) - (slope + 1e-6).log()).sum(1)


# %% q1: the slope multiplied in the wrong direction
def squashed_log_prob(z, mu, log_sigma):
    log_slope = 2 * (math.log(2) - z - F.softplus(-2 * z))
    return (log_normal(z, mu, log_sigma) + log_slope).sum(1)


# %% q1: no change of variables
def squashed_log_prob(z, mu, log_sigma):
    return log_normal(z, mu, log_sigma).sum(1)


# %% q1: the mean over coordinates
def squashed_log_prob(z, mu, log_sigma):
    log_slope = 2 * (math.log(2) - z - F.softplus(-2 * z))
    return (log_normal(z, mu, log_sigma) - log_slope).mean(1)


# %% q1: zeros
def squashed_log_prob(z, mu, log_sigma):
    return torch.zeros(len(z))


# %% q2: u as it is
def planar(x, u, w, b):
    t = torch.tanh(x @ w + b)
    return x + t[:, None] * u, torch.log((1 + (1 - t**2) * (u @ w)).abs())


# %% q2: the derivative of tanh forgotten
def planar(x, u, w, b):
    u = changed(u, w)
    t = torch.tanh(x @ w + b)
    return x + t[:, None] * u, torch.log(1 + t * (u @ w))


# %% q2: the log-determinant of the inverse
def planar(x, u, w, b):
    u = changed(u, w)
    t = torch.tanh(x @ w + b)
    return x + t[:, None] * u, -torch.log(1 + (1 - t**2) * (u @ w))


# %% q2: u changed without the division by the square of w
def planar(x, u, w, b):
    product = u @ w
    u = u + (F.softplus(product) - 1 - product) * w / w.norm()
    t = torch.tanh(x @ w + b)
    return x + t[:, None] * u, torch.log(1 + (1 - t**2) * (u @ w))


# %% q2: log-determinant 0
def planar(x, u, w, b):
    t = torch.tanh(x @ w + b)
    return x + t[:, None] * changed(u, w), torch.zeros(len(x)).double()


# %% q2: the inverse as if z were x
def planar_inverse(z, u, w, b):
    return z - torch.tanh(z @ w + b)[:, None] * changed(u, w)


# %% q2: fixed-point iteration, which need not converge
def planar_inverse(z, u, w, b):
    u, x = changed(u, w), z
    for _ in range(100):
        x = z - torch.tanh(x @ w + b)[:, None] * u
    return x


# %% q2: bisection with the unconstrained u
def planar_inverse(z, u, w, b):
    target, slope = z @ w, u @ w
    low, high = target - slope.abs(), target + slope.abs()
    for _ in range(100):
        middle = (low + high) / 2
        too_low = middle + slope * torch.tanh(middle + b) < target
        low = torch.where(too_low, middle, low)
        high = torch.where(too_low, high, middle)
    return z - torch.tanh(low + b)[:, None] * u


# %% q3: the inverse of the covariance in place of the factor
def gaussian_as_maf(mean, cov):
    W = -np.tril(np.linalg.inv(cov), -1)
    return mean - W @ mean, W, 0.5 * np.log(np.diag(cov))


# %% q3: the factor itself as W
def gaussian_as_maf(mean, cov):
    L = np.linalg.cholesky(cov)
    W = np.tril(L, -1)
    return mean - W @ mean, W, np.log(np.diag(L))


# %% q3: alpha from the marginal variances
def gaussian_as_maf(mean, cov):
    L = np.linalg.cholesky(cov)
    W = np.tril(np.eye(len(mean)) - np.diag(L)[:, None] * np.linalg.inv(L), -1)
    return mean - W @ mean, W, 0.5 * np.log(np.diag(cov))


# %% q3: the means themselves as intercepts
def gaussian_as_maf(mean, cov):
    L = np.linalg.cholesky(cov)
    W = np.tril(np.eye(len(mean)) - np.diag(L)[:, None] * np.linalg.inv(L), -1)
    return mean, W, np.log(np.diag(L))


# %% q3: log-variances
def gaussian_as_maf(mean, cov):
    L = np.linalg.cholesky(cov)
    W = np.tril(np.eye(len(mean)) - np.diag(L)[:, None] * np.linalg.inv(L), -1)
    return mean - W @ mean, W, 2 * np.log(np.diag(L))


# %% q3: zeros
def gaussian_as_maf(mean, cov):
    return np.zeros(len(mean)), np.zeros((len(mean),) * 2), np.zeros(len(mean))


# %% q4: always D
def rounds_needed(depends):
    return len(depends)


# %% q4: the edges of the longest path
def rounds_needed(depends):
    longest = np.zeros(len(depends), int)
    for t in range(len(depends)):
        if depends[t].any():
            longest[t] = 1 + longest[depends[t]].max()
    return int(longest.max())


# %% q4: the largest number of dependences of one coordinate
def rounds_needed(depends):
    return int(depends.sum(1).max()) + 1


# %% q4: how many coordinates depend on anything
def rounds_needed(depends):
    return int(depends.any(1).sum()) + 1


# %% q4: the shortest way instead of the longest
def rounds_needed(depends):
    rounds = np.ones(len(depends), int)
    for t in range(len(depends)):
        if depends[t].any():
            rounds[t] = 1 + rounds[depends[t]].min()
    return int(rounds.max())


# %% q4: one
def rounds_needed(depends):
    return 1


# %% q5: the slope of f is forgotten
def expand(y):
    f, rate = 2 * y / 255 - 1, math.log(256)
    x = f.sign() * torch.expm1(f.abs() * rate) / 255
    return x, f.abs() * rate + math.log(rate / 255)


# %% q5: the slope with the sign of f
def expand(y):
    f, rate = 2 * y / 255 - 1, math.log(256)
    x = f.sign() * torch.expm1(f.abs() * rate) / 255
    return x, f * rate + math.log(2 * rate / 255**2)


# %% q5: the slope of the way back
def expand(y):
    f, rate = 2 * y / 255 - 1, math.log(256)
    x = f.sign() * torch.expm1(f.abs() * rate) / 255
    return x, -f.abs() * rate - math.log(2 * rate / 255**2)


# %% q5: the logarithm of 1 + mu is forgotten
def expand(y):
    f, rate = 2 * y / 255 - 1, math.log(256)
    x = f.sign() * torch.expm1(f.abs() * rate) / 255
    return x, f.abs() * rate + math.log(2 / 255**2)


# %% q5: the slope subtracted
def code_bits(log_p, y):
    f, rate = 2 * y / 255 - 1, math.log(256)
    log_slope = f.abs() * rate + math.log(2 * rate / 255**2)
    return -(log_p - log_slope) / math.log(2)


# %% q5: nats
def code_bits(log_p, y):
    f, rate = 2 * y / 255 - 1, math.log(256)
    return -(log_p + f.abs() * rate + math.log(2 * rate / 255**2))


# %% q5: eight bits, whatever comes
def code_bits(log_p, y):
    return torch.full_like(y, 8.0)


# %% q6: the root of the mean square is forgotten
def scale_flow(past, now, w, a, b):
    alpha = a + b * torch.log((past**2).mean(1) + 1e-8)
    z = (now - past @ w) * torch.exp(-alpha)
    return z, -0.5 * z**2 - alpha - 0.5 * math.log(2 * math.pi)


# %% q6: the log-determinant with the wrong sign
def scale_flow(past, now, w, a, b):
    alpha = a + b * torch.log((past**2).mean(1) + 1e-8) / 2
    z = (now - past @ w) * torch.exp(-alpha)
    return z, -0.5 * z**2 + alpha - 0.5 * math.log(2 * math.pi)


# %% q6: the sum of squares in place of their mean, no logarithm of 2 pi
def scale_flow(past, now, w, a, b):
    alpha = a + b * torch.log((past**2).sum(1) + 1e-8) / 2
    z = (now - past @ w) * torch.exp(-alpha)
    return z, -0.5 * z**2 - alpha


# %% q6: bits on the training rows
bits_iid, bits_mean, bits_scale, bits_both = 8.29, 6.77, 6.78, 5.81

# %% q6: nats
bits_iid, bits_mean, bits_scale, bits_both = 5.74, 4.81, 4.69, 4.16

# %% q6: the gains of both halves added up
bits_iid, bits_mean, bits_scale, bits_both = 8.28, 6.93, 6.76, 5.41

# %% q6: mean and scale exchanged
bits_iid, bits_mean, bits_scale, bits_both = 8.28, 6.76, 6.93, 6.0

# %% q6: the log-slope of the layer not paid
bits_iid, bits_mean, bits_scale, bits_both = -0.72, -2.07, -2.24, -3.0

# %% q6: zeros
bits_iid, bits_mean, bits_scale, bits_both = 0.0, 0.0, 0.0, 0.0
