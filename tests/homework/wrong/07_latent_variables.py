# %% imports
import math

import numpy as np
import torch


# %% q1: the prior left out of the mixture
def defensive_log_weights(log_likelihood, log_prior, log_q, alpha):
    return log_likelihood + log_prior - log_q


# %% q1: the shares of the mixture exchanged
def defensive_log_weights(log_likelihood, log_prior, log_q, alpha):
    share = torch.tensor([alpha, 1 - alpha]).double().log()
    mixture = torch.logaddexp(share[0] + log_q, share[1] + log_prior)
    return log_likelihood + log_prior - mixture


# %% q1: a geometric mixture
def defensive_log_weights(log_likelihood, log_prior, log_q, alpha):
    return log_likelihood + log_prior - (1 - alpha) * log_q - alpha * log_prior


# %% q1: densities formed first
def defensive_log_weights(log_likelihood, log_prior, log_q, alpha):
    mixture = (1 - alpha) * log_q.exp() + alpha * log_prior.exp()
    return log_likelihood + log_prior - mixture.log()


def estimate(log_w):
    w = log_w.exp()
    error = w.std(correction=0) / w.mean() / len(w) ** 0.5
    return w.mean().log().item(), error.item()


# %% q1: the error of one draw, not of the mean
def estimate(log_w):
    k, total = len(log_w), log_w.logsumexp(0)
    ess = (2 * total - (2 * log_w).logsumexp(0)).exp()
    return (total - math.log(k)).item(), (k / ess - 1).sqrt().item()


# %% q1: one over the effective sample size
def estimate(log_w):
    k, total = len(log_w), log_w.logsumexp(0)
    ess = (2 * total - (2 * log_w).logsumexp(0)).exp()
    return (total - math.log(k)).item(), (1 / ess).sqrt().item()


# %% q1: the mean and the error of the logarithms
def estimate(log_w):
    k = len(log_w)
    return log_w.mean().item(), (log_w.std(correction=0) / k**0.5).item()


# %% q1: zeros
def defensive_log_weights(log_likelihood, log_prior, log_q, alpha):
    return torch.zeros_like(log_q)


def estimate(log_w):
    return 0.0, 0.0


# %% imports
import math

import numpy as np
import torch


def e_step(x, seen, filled, pi, mu, var):
    log_density = -0.5 * ((filled - mu) ** 2 / var + (2 * math.pi * var).log())
    log_joint = pi.log() + (log_density * seen[:, None]).sum(2)
    return log_joint, log_joint.softmax(1)


# %% q2: missing counts as zero
def em_round(x, pi, mu, var):
    filled, everywhere = x.nan_to_num()[:, None], torch.ones_like(x)
    log_joint, r = e_step(x, everywhere, filled, pi, mu, var)
    weight = r.sum(0)[:, None]
    new_mu = (r[:, :, None] * filled).sum(0) / weight
    new_var = (r[:, :, None] * (filled - new_mu) ** 2).sum(0) / weight
    return r.mean(0), new_mu, new_var, log_joint.logsumexp(1).sum().item()


# %% q2: missing entries filled in with the mean of their feature
def em_round(x, pi, mu, var):
    filled = torch.where(x.isnan(), x.nanmean(0), x)[:, None]
    log_joint, r = e_step(x, torch.ones_like(x), filled, pi, mu, var)
    weight = r.sum(0)[:, None]
    new_mu = (r[:, :, None] * filled).sum(0) / weight
    new_var = (r[:, :, None] * (filled - new_mu) ** 2).sum(0) / weight
    return r.mean(0), new_mu, new_var, log_joint.logsumexp(1).sum().item()


# %% q2: sums over what was recorded, divided by the weight of all examples
def em_round(x, pi, mu, var):
    seen, filled = ~x.isnan(), x.nan_to_num()[:, None]
    log_joint, r = e_step(x, seen, filled, pi, mu, var)
    weight, r_seen = r.sum(0)[:, None], r[:, :, None] * seen[:, None]
    new_mu = (r_seen * filled).sum(0) / weight
    new_var = (r_seen * (filled - new_mu) ** 2).sum(0) / weight
    return r.mean(0), new_mu, new_var, log_joint.logsumexp(1).sum().item()


# %% q2: missing entries filled in with the old means, their variance forgotten
def em_round(x, pi, mu, var):
    seen = ~x.isnan()
    log_joint, r = e_step(x, seen, x.nan_to_num()[:, None], pi, mu, var)
    filled = torch.where(seen[:, None], x.nan_to_num()[:, None], mu)
    weight = r.sum(0)[:, None]
    new_mu = (r[:, :, None] * filled).sum(0) / weight
    new_var = (r[:, :, None] * (filled - new_mu) ** 2).sum(0) / weight
    return r.mean(0), new_mu, new_var, log_joint.logsumexp(1).sum().item()


# %% q2: examples with holes dropped
def em_round(x, pi, mu, var):
    x = x[~x.isnan().any(1)]
    log_joint, r = e_step(x, torch.ones_like(x), x[:, None], pi, mu, var)
    weight = r.sum(0)[:, None]
    new_mu = (r[:, :, None] * x[:, None]).sum(0) / weight
    new_var = (r[:, :, None] * (x[:, None] - new_mu) ** 2).sum(0) / weight
    return r.mean(0), new_mu, new_var, log_joint.logsumexp(1).sum().item()


# %% q2: variances around the old means
def em_round(x, pi, mu, var):
    seen, filled = ~x.isnan(), x.nan_to_num()[:, None]
    log_joint, r = e_step(x, seen, filled, pi, mu, var)
    r_seen = r[:, :, None] * seen[:, None]
    weight = r_seen.sum(0)
    new_mu = (r_seen * filled).sum(0) / weight
    new_var = (r_seen * (filled - mu) ** 2).sum(0) / weight
    return r.mean(0), new_mu, new_var, log_joint.logsumexp(1).sum().item()


# %% q2: the normaliser counted for missing entries too, and a mean over examples
def em_round(x, pi, mu, var):
    seen, filled = ~x.isnan(), x.nan_to_num()[:, None]
    log_joint, r = e_step(x, seen, filled, pi, mu, var)
    r_seen = r[:, :, None] * seen[:, None]
    weight = r_seen.sum(0)
    new_mu = (r_seen * filled).sum(0) / weight
    new_var = (r_seen * (filled - new_mu) ** 2).sum(0) / weight
    return r.mean(0), new_mu, new_var, log_joint.logsumexp(1).mean().item()


# %% q2: nothing changes
def em_round(x, pi, mu, var):
    return pi, mu, var, 0.0


# %% imports
import math
from itertools import product

import numpy as np
import torch


def all_codes(d):
    return torch.tensor(list(product([0.0, 1.0], repeat=d)), dtype=torch.float64)


def log_joint_of(x, W, b, sigma, pi, normaliser=True, prior=True):
    z = all_codes(len(pi))
    log_prior = (z * pi.log() + (1 - z) * (1 - pi).log()).sum(1)
    squares = (x[:, None] - z @ W.T - b).square().sum(2)
    constant = x.shape[1] * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
    return prior * log_prior - 0.5 * squares / sigma**2 - normaliser * constant


# %% q3: a uniform prior over the codes
def exact_posterior(x, W, b, sigma, pi):
    log_joint = log_joint_of(x, W, b, sigma, pi, prior=False)
    log_joint = log_joint - len(pi) * math.log(2)
    return log_joint.logsumexp(1), log_joint.softmax(1)


# %% q3: the normaliser left out
def exact_posterior(x, W, b, sigma, pi):
    log_joint = log_joint_of(x, W, b, sigma, pi, normaliser=False)
    return log_joint.logsumexp(1), log_joint.softmax(1)


# %% q3: densities formed before they are summed
def exact_posterior(x, W, b, sigma, pi):
    joint = log_joint_of(x, W, b, sigma, pi).exp()
    return joint.sum(1).log(), joint / joint.sum(1, keepdim=True)


# %% q3: a mean over codes as well as their prior
def exact_posterior(x, W, b, sigma, pi):
    log_joint = log_joint_of(x, W, b, sigma, pi)
    return log_joint.logsumexp(1) - len(pi) * math.log(2), log_joint.softmax(1)


# %% q3: the joint in place of the posterior
def exact_posterior(x, W, b, sigma, pi):
    log_joint = log_joint_of(x, W, b, sigma, pi)
    return log_joint.logsumexp(1), log_joint.exp()


# %% q3: normalised over the images
def exact_posterior(x, W, b, sigma, pi):
    log_joint = log_joint_of(x, W, b, sigma, pi)
    return log_joint.logsumexp(1), log_joint.softmax(0)


# %% q3: zeros
def exact_posterior(x, W, b, sigma, pi):
    return torch.zeros(len(x)), torch.zeros(len(x), 2 ** len(pi))


# %% imports
import math

import numpy as np
import torch


def at_mean(x, m, W, b, sigma, pi):
    squares = (x - b - m @ W.T).square().sum(1)
    constant = x.shape[1] * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
    return -0.5 * squares / sigma**2 - constant


def to_prior(m, pi):
    return (torch.xlogy(m, m / pi) + torch.xlogy(1 - m, (1 - m) / (1 - pi))).sum(1)


# %% q4: the likelihood at the mean code
def mean_field_elbo(x, m, W, b, sigma, pi):
    return at_mean(x, m, W, b, sigma, pi) - to_prior(m, pi)


# %% q4: the entropy of q forgotten
def mean_field_elbo(x, m, W, b, sigma, pi):
    spread = 0.5 * ((m * (1 - m)) @ W.square().sum(0)) / sigma**2
    log_prior = m @ pi.log() + (1 - m) @ (1 - pi).log()
    return at_mean(x, m, W, b, sigma, pi) - spread + log_prior


# %% q4: the variance with the wrong sign
def mean_field_elbo(x, m, W, b, sigma, pi):
    spread = 0.5 * ((m * (1 - m)) @ W.square().sum(0)) / sigma**2
    return at_mean(x, m, W, b, sigma, pi) + spread - to_prior(m, pi)


# %% q4: all causes updated at once, from the old values
def sweep(x, m, W, b, sigma, pi):
    rest = x - b - m @ W.T
    size = W.square().sum(0)
    logit = pi.logit() + (rest @ W + m * size - 0.5 * size) / sigma**2
    return logit.sigmoid()


# %% q4: the cause's own contribution not taken out
def sweep(x, m, W, b, sigma, pi):
    m = m.clone()
    for j in range(len(pi)):
        rest, w = x - b - m @ W.T, W[:, j]
        m[:, j] = (pi[j].logit() + (rest @ w - 0.5 * w @ w) / sigma**2).sigmoid()
    return m


# %% q4: half the squared length forgotten
def sweep(x, m, W, b, sigma, pi):
    m = m.clone()
    for j in range(len(pi)):
        w = W[:, j]
        rest = x - b - m @ W.T + m[:, j : j + 1] * w
        m[:, j] = (pi[j].logit() + rest @ w / sigma**2).sigmoid()
    return m


# %% q4: from the last cause to the first, in place
def sweep(x, m, W, b, sigma, pi):
    for j in reversed(range(len(pi))):
        w = W[:, j]
        rest = x - b - m @ W.T + m[:, j : j + 1] * w
        m[:, j] = (pi[j].logit() + (rest @ w - 0.5 * w @ w) / sigma**2).sigmoid()
    return m


# %% q4: zeros
def mean_field_elbo(x, m, W, b, sigma, pi):
    return torch.zeros(len(x))


def sweep(x, m, W, b, sigma, pi):
    return torch.zeros_like(m)


# %% q5: sums over the images
gap_of_sweeps = 360 * gap_of_sweeps
gaps = {name: 360 * value for name, value in gaps.items()}
amortisation = 360 * amortisation

# %% q5: counted from one
matched = matched + 1

# %% q5: the whole gap as the encoder's fault
amortisation = gaps["linear"]

# %% q5: the linear encoder against the network
amortisation = gaps["linear"] - gaps["network"]

# %% q5: no sweep after the encoders
gaps = {
    "linear": gaps["linear"],
    "linear + sweep": gaps["linear"],
    "network": gaps["network"],
    "network + sweep": gaps["network"],
}

# %% q5: one entry for the start left out
gap_of_sweeps = np.append(gap_of_sweeps[1:], gap_of_sweeps[-1])

# %% q5: nothing measured
gap_of_sweeps, gaps = np.zeros(31), {}
matched, amortisation = 0, 0.0
