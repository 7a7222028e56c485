# %% imports
import math

import numpy as np
import torch


def _tables(encoder, prior, log_likelihood, weights, mixed):
    joint = weights[:, None] * encoder
    used, some = joint > 0, mixed > 0
    information = joint[used] * np.log((encoder / mixed)[used])
    marginal = mixed[some] * np.log(mixed[some] / prior[some])
    distortion = -(joint[used] * log_likelihood[used]).sum()
    return float(distortion), float(information.sum()), float(marginal.sum())


def _changed(report, name, how):
    return {beta: {**found, name: how(found)} for beta, found in report.items()}


# %% q1: zeros
def surgery(encoder, prior, log_likelihood, weights):
    return 0.0, 0.0, 0.0


# %% q1: all images equally often
def surgery(encoder, prior, log_likelihood, weights):
    even = np.full(len(weights), 1 / len(weights))
    return _tables(encoder, prior, log_likelihood, even, encoder.mean(0))


# %% q1: an aggregated posterior without the weights
def surgery(encoder, prior, log_likelihood, weights):
    return _tables(encoder, prior, log_likelihood, weights, encoder.mean(0))


# %% q1: the marginal KL the wrong way round
def surgery(encoder, prior, log_likelihood, weights):
    mixed = weights @ encoder
    D, information, _ = _tables(encoder, prior, log_likelihood, weights, mixed)
    return D, information, float((prior * np.log(prior / mixed)).sum())


# %% q1: the rate in the place of the information
def surgery(encoder, prior, log_likelihood, weights):
    mixed = weights @ encoder
    D, information, kl = _tables(encoder, prior, log_likelihood, weights, mixed)
    return D, information + kl, kl


# %% q1: zeros times infinity
def surgery(encoder, prior, log_likelihood, weights):
    mixed = weights @ encoder
    with np.errstate(all="ignore"):
        joint = weights[:, None] * encoder
        D = -(joint * log_likelihood).sum()
        information = (joint * np.log(encoder / mixed)).sum()
        kl = (mixed * np.log(mixed / prior)).sum()
        return float(D), float(information), float(kl)


# %% q1: bits
def surgery(encoder, prior, log_likelihood, weights):
    mixed = weights @ encoder
    D, information, kl = _tables(encoder, prior, log_likelihood, weights, mixed)
    return D / math.log(2), information / math.log(2), kl / math.log(2)


# %% q2: zeros of the right shape
def log_pairs(z, mean, log_scale):
    return torch.zeros(len(z), len(mean)).double()


def terms(pairs, z):
    return 0.0, 0.0


# %% q2: the log-scale taken for the scale
def log_pairs(z, mean, log_scale):
    eps = (z[:, None] - mean) / (log_scale + 1e-12)
    each = -0.5 * eps.square() - log_scale.abs().log() - 0.5 * math.log(2 * math.pi)
    return each.sum(2)


# %% q2: transposed
def log_pairs(z, mean, log_scale):
    eps = (z[:, None] - mean) * (-log_scale).exp()
    each = -0.5 * eps.square() - log_scale - 0.5 * math.log(2 * math.pi)
    return each.sum(2).T


# %% q2: one constant for all latents
def log_pairs(z, mean, log_scale):
    eps = (z[:, None] - mean) * (-log_scale).exp()
    return (-0.5 * eps.square() - log_scale).sum(2) - 0.5 * math.log(2 * math.pi)


# %% q2: mean of the logarithms
def terms(pairs, z):
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    mixed = pairs.mean(1)
    information = (pairs.diagonal() - mixed).mean().item()
    return information, (mixed - log_prior).mean().item()


# %% q2: over codes in the place of posteriors
def terms(pairs, z):
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    mixed = pairs.logsumexp(0) - math.log(len(pairs))
    information = (pairs.diagonal() - mixed).mean().item()
    return information, (mixed - log_prior).mean().item()


# %% q2: log N forgotten
def terms(pairs, z):
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    mixed = pairs.logsumexp(1)
    information = (pairs.diagonal() - mixed).mean().item()
    return information, (mixed - log_prior).mean().item()


# %% q2: densities that underflow
def terms(pairs, z):
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    mixed = pairs.exp().mean(1).log()
    information = (pairs.diagonal() - mixed).mean().item()
    return information, (mixed - log_prior).mean().item()


# %% q3: zeros
def sandwich(pairs):
    return 0.0, 0.0


# %% q3: left out, and still divided by N
def sandwich(pairs):
    N, own = len(pairs), pairs.diagonal()
    others = pairs.masked_fill(torch.eye(N, dtype=torch.bool), -math.inf).logsumexp(1)
    lower = own - pairs.logsumexp(1) + math.log(N)
    return lower.mean().item(), (own - others + math.log(N)).mean().item()


# %% q3: the two in the wrong order
def sandwich(pairs):
    N, own = len(pairs), pairs.diagonal()
    others = pairs.masked_fill(torch.eye(N, dtype=torch.bool), -math.inf).logsumexp(1)
    lower = own - pairs.logsumexp(1) + math.log(N)
    return (own - others + math.log(N - 1)).mean().item(), lower.mean().item()


# %% q3: the own log-density set to zero in place of the density
def sandwich(pairs):
    N, own = len(pairs), pairs.diagonal()
    others = pairs.masked_fill(torch.eye(N, dtype=torch.bool), 0.0).logsumexp(1)
    lower = own - pairs.logsumexp(1) + math.log(N)
    return lower.mean().item(), (own - others + math.log(N - 1)).mean().item()


# %% q3: the mean of the others' logarithms
def sandwich(pairs):
    N, own = len(pairs), pairs.diagonal()
    others = (pairs.sum(1) - own) / (N - 1)
    lower = own - pairs.logsumexp(1) + math.log(N)
    return lower.mean().item(), (own - others).mean().item()


# %% q3: columns for rows
def sandwich(pairs):
    N, own = len(pairs), pairs.diagonal()
    others = pairs.masked_fill(torch.eye(N, dtype=torch.bool), -math.inf).logsumexp(0)
    lower = own - pairs.logsumexp(0) + math.log(N)
    return lower.mean().item(), (own - others + math.log(N - 1)).mean().item()


# %% q4: zeros
def linear_vae(eigenvalues, noise, beta):
    return 0.0, 0.0, 0


# %% q4: beta left out, the PPCA solution
def linear_vae(eigenvalues, noise, beta):
    active = eigenvalues > noise
    rate = 0.5 * np.log(eigenvalues[active] / noise).sum()
    D = 0.5 * (math.log(2 * math.pi * noise) + np.minimum(eigenvalues, noise) / noise)
    return float(D.sum()), float(rate), int(active.sum())


# %% q4: the noise divided by beta
def linear_vae(eigenvalues, noise, beta):
    u = noise / beta
    active = eigenvalues > u
    rate = 0.5 * np.log(eigenvalues[active] / u).sum()
    D = 0.5 * (math.log(2 * math.pi * noise) + np.minimum(eigenvalues, u) / noise)
    return float(D.sum()), float(rate), int(active.sum())


# %% q4: the distortion under the other noise
def linear_vae(eigenvalues, noise, beta):
    u = beta * noise
    active = eigenvalues > u
    rate = 0.5 * np.log(eigenvalues[active] / u).sum()
    D = 0.5 * (math.log(2 * math.pi * u) + np.minimum(eigenvalues, u) / u)
    return float(D.sum()), float(rate), int(active.sum())


# %% q4: collapsed directions cost no distortion
def linear_vae(eigenvalues, noise, beta):
    u = beta * noise
    active = eigenvalues > u
    rate = 0.5 * np.log(eigenvalues[active] / u).sum()
    D = active.sum() * 0.5 * (math.log(2 * math.pi * noise) + beta)
    return float(D), float(rate), int(active.sum())


# %% q4: nothing ever collapses
def linear_vae(eigenvalues, noise, beta):
    u = beta * noise
    rate = 0.5 * np.log(eigenvalues / u).sum()
    D = len(eigenvalues) * 0.5 * (math.log(2 * math.pi * noise) + beta)
    return float(D), float(rate), len(eigenvalues)


# %% q4: a rate without the one half
def linear_vae(eigenvalues, noise, beta):
    u = beta * noise
    active = eigenvalues > u
    rate = np.log(eigenvalues[active] / u).sum()
    D = 0.5 * (math.log(2 * math.pi * noise) + np.minimum(eigenvalues, u) / noise)
    return float(D.sum()), float(rate), int(active.sum())


# %% q5: zeros
def gaussian_savings(mean, log_scale):
    return 0.0, 0.0


# %% q5: the covariance of the means alone
def gaussian_savings(mean, log_scale):
    v = torch.cov(mean.T, correction=0) + 1e-9 * torch.eye(mean.shape[1]).double()
    d, m = v.diagonal(), mean.mean(0)
    each = 0.5 * (m.square() + d - 1 - d.log()).sum()
    return each.item(), (0.5 * (d.log().sum() - torch.logdet(v))).item()


# %% q5: the mean variance alone
def gaussian_savings(mean, log_scale):
    v, m = (2 * log_scale).exp().mean(0), mean.mean(0)
    return (0.5 * (m.square() + v - 1 - v.log()).sum()).item(), 0.0


# %% q5: scales for variances
def gaussian_savings(mean, log_scale):
    C = torch.cov(mean.T, correction=0) + log_scale.exp().mean(0).diag()
    v, m = C.diagonal(), mean.mean(0)
    each = 0.5 * (m.square() + v.square() - 1 - 2 * v.log()).sum()
    return each.item(), (0.5 * (v.log().sum() - torch.logdet(C))).item()


# %% q5: the whole saving in the place of the first part
def gaussian_savings(mean, log_scale):
    C = torch.cov(mean.T, correction=0) + (2 * log_scale).exp().mean(0).diag()
    v, m = C.diagonal(), mean.mean(0)
    whole = 0.5 * (m.square().sum() + v.sum() - len(v) - torch.logdet(C))
    return whole.item(), (0.5 * (v.log().sum() - torch.logdet(C))).item()


# %% q5: the mean of q(z) taken as zero
def gaussian_savings(mean, log_scale):
    C = torch.cov(mean.T, correction=0) + (2 * log_scale).exp().mean(0).diag()
    v = C.diagonal()
    each = 0.5 * (v - 1 - v.log()).sum()
    return each.item(), (0.5 * (torch.logdet(C) - v.log().sum())).item()


# %% q6: zeros
report = {beta: dict.fromkeys(report[beta], 0.0) for beta in report}
predicted, confirmed, tightest = [], [], dict.fromkeys(report, "rate")

# %% q6: test images against the mixture of test images
report = _changed(report, "test_aggregate", lambda r: min(r["lower"], math.log(360)))
confirmed = [0.1, 0.3, 1.0]

# %% q6: log N forgotten in the test rate
report = _changed(report, "test_aggregate", lambda r: r["test_aggregate"] - 7.14)

# %% q6: savings added
report = _changed(report, "gaussian", lambda r: 2 * r["rate"] - r["gaussian"])
tightest = {0.1: "rate", 0.3: "rate", 1.0: "upper"}

# %% q6: an upper bound that still contains the image itself
report = _changed(report, "upper", lambda r: r["lower"] + 0.1)
predicted = [0.1, 0.3, 1.0]
