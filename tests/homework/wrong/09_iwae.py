# %% imports
import math

import numpy as np
import torch
import torch.nn.functional as F


# %% q1: the mean of the bounds of the chunks
def bound_of_chunks(chunks):
    log_w = torch.cat(chunks)
    bounds = [c.logsumexp(0) - math.log(len(c)) for c in chunks]
    ess = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()
    return torch.stack(bounds).mean(0), ess


# %% q1: chunks count alike, whatever their size
def bound_of_chunks(chunks):
    means = torch.stack([c.logsumexp(0) - math.log(len(c)) for c in chunks])
    ess = [(2 * c.logsumexp(0) - (2 * c).logsumexp(0)).exp() for c in chunks]
    return means.logsumexp(0) - math.log(len(chunks)), torch.stack(ess).sum(0)


# %% q1: weights formed before they are summed
def bound_of_chunks(chunks):
    w = torch.cat(chunks).exp()
    return w.mean(0).log(), w.sum(0) ** 2 / w.square().sum(0)


# %% q1: the mean of the logarithms
def bound_of_chunks(chunks):
    log_w = torch.cat(chunks)
    ess = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()
    return log_w.mean(0), ess


# %% q1: the number of draws left out
def bound_of_chunks(chunks):
    log_w = torch.cat(chunks)
    ess = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()
    return log_w.logsumexp(0), ess


# %% q1: one over the largest share as the sample size
def bound_of_chunks(chunks):
    log_w = torch.cat(chunks)
    bound = log_w.logsumexp(0) - math.log(len(log_w))
    return bound, 1 / log_w.softmax(0).amax(0)


# %% q1: zeros
def bound_of_chunks(chunks):
    return torch.zeros(chunks[0].shape[1]), torch.zeros(chunks[0].shape[1])


# %% q2: the average outside the logarithm
def exact_bound(log_joint, log_q, k):
    drawn = log_q > -np.inf
    return float(np.exp(log_q[drawn]) @ (log_joint - log_q)[drawn])


# %% q2: the log-likelihood, whatever k
def exact_bound(log_joint, log_q, k):
    return float(np.logaddexp.reduce(log_joint))


# %% q2: tuples that differ in order counted once
def exact_bound(log_joint, log_q, k):
    drawn = log_q > -np.inf
    w, q = np.exp(log_joint - log_q)[drawn], np.exp(log_q)[drawn]
    total = 0.0
    counts = [[a, b] for a in range(k + 1) for b in range(k + 1 - a)]
    for head in counts:
        n = np.array([*head, k - sum(head)][-len(w) :])
        if len(w) == 3 or head[0] == 0:
            total += np.prod(q**n) * np.log(n @ w / k)
    return float(total)


# %% q2: the sum of the weights and not their mean
def exact_bound(log_joint, log_q, k):
    from math import lgamma

    drawn = log_q > -np.inf
    w, log_q = np.exp(log_joint - log_q)[drawn], log_q[drawn]
    total = 0.0
    for a in range(k + 1):
        for b in range(k + 1 - a) if len(w) == 3 else [None]:
            n = np.array([a, k - a] if b is None else [a, b, k - a - b])
            log_ways = lgamma(k + 1) - sum(lgamma(i + 1) for i in n)
            total += math.exp(log_ways + n @ log_q) * math.log(n @ w)
    return float(total)


# %% q2: the gap law in place of the sum
def exact_bound(log_joint, log_q, k):
    p_x = np.exp(log_joint).sum()
    chi = (np.exp(2 * log_joint - log_q) / p_x**2).sum() - 1
    return float(np.log(p_x) - chi / (2 * k))


# %% q2: zero
def exact_bound(log_joint, log_q, k):
    return 0.0


# %% q3: the divergence the other way round
def chi_squared(a, b, m, v):
    if 2 * b <= v:
        return math.inf
    return b / math.sqrt(v * (2 * b - v)) * math.exp((a - m) ** 2 / (2 * b - v)) - 1


# %% q3: never infinite
def chi_squared(a, b, m, v):
    inner = abs(2 * v - b)
    return v / math.sqrt(b * inner) * math.exp((a - m) ** 2 / inner)


# %% q3: half of the exponent
def chi_squared(a, b, m, v):
    if 2 * v <= b:
        return math.inf
    offset = (a - m) ** 2 / (2 * (2 * v - b))
    return v / math.sqrt(b * (2 * v - b)) * math.exp(offset) - 1


# %% q3: the variance that is best for the ELBO
def best_variance(a, b, m):
    return b


# %% q3: the second moment about m, best for the KL from p to q
def best_variance(a, b, m):
    return b + (a - m) ** 2


# %% q3: the other root
def best_variance(a, b, m):
    half = 3 * b + 2 * (a - m) ** 2
    return (half - math.sqrt(half**2 - 8 * b**2)) / 4


# %% q3: zeros
def chi_squared(a, b, m, v):
    return 0.0


def best_variance(a, b, m):
    return 0.0


# %% imports
import math

import numpy as np
import torch
import torch.nn.functional as F


def pieces(eps, x, a, b, mu, log_s):
    s = math.exp(log_s)
    z = mu + s * eps
    odds = z[..., None] * a + b
    log_p = (x * odds - F.softplus(odds)).sum(-1) - 0.5 * z.square()
    by_z = ((x - odds.sigmoid()) * a).sum(-1) - z
    return s, log_p + 0.5 * eps.square() + log_s, by_z, by_z + eps / s


def gather(terms):
    return torch.stack([(w[..., None] * g).sum(1) for w, g in terms])


# %% q4: all draws count alike
def three_gradients(eps, x, a, b, mu, log_s):
    s, log_w, by_z, path = pieces(eps, x, a, b, mu, log_s)
    share = torch.full_like(log_w, 1 / log_w.shape[1])
    plain = torch.stack([by_z, by_z * s * eps + 1], -1)
    of_path = torch.stack([path, path * s * eps], -1)
    return gather([(share, plain), (share, of_path), (share**2, of_path)])


# %% q4: DReG with weights that are not squared
def three_gradients(eps, x, a, b, mu, log_s):
    s, log_w, by_z, path = pieces(eps, x, a, b, mu, log_s)
    share = log_w.softmax(1)
    plain = torch.stack([by_z, by_z * s * eps + 1], -1)
    of_path = torch.stack([path, path * s * eps], -1)
    return gather([(share, plain), (share, of_path), (share, of_path)])


# %% q4: DReG with the derivative of log p(x, z) alone
def three_gradients(eps, x, a, b, mu, log_s):
    s, log_w, by_z, path = pieces(eps, x, a, b, mu, log_s)
    share = log_w.softmax(1)
    plain = torch.stack([by_z, by_z * s * eps + 1], -1)
    of_path = torch.stack([path, path * s * eps], -1)
    return gather([(share, plain), (share, of_path), (share**2, plain)])


# %% q4: the score left in all three
def three_gradients(eps, x, a, b, mu, log_s):
    s, log_w, by_z, _ = pieces(eps, x, a, b, mu, log_s)
    share = log_w.softmax(1)
    plain = torch.stack([by_z, by_z * s * eps + 1], -1)
    return gather([(share, plain), (share, plain), (share**2, plain)])


# %% q4: by s in place of log s
def three_gradients(eps, x, a, b, mu, log_s):
    s, log_w, by_z, path = pieces(eps, x, a, b, mu, log_s)
    share = log_w.softmax(1)
    plain = torch.stack([by_z, by_z * eps + 1 / s], -1)
    of_path = torch.stack([path, path * eps], -1)
    return gather([(share, plain), (share, of_path), (share**2, of_path)])


# %% q4: weights normalised over the sets
def three_gradients(eps, x, a, b, mu, log_s):
    s, log_w, by_z, path = pieces(eps, x, a, b, mu, log_s)
    share = log_w.softmax(0)
    plain = torch.stack([by_z, by_z * s * eps + 1], -1)
    of_path = torch.stack([path, path * s * eps], -1)
    return gather([(share, plain), (share, of_path), (share**2, of_path)])


# %% q4: zeros
def three_gradients(eps, x, a, b, mu, log_s):
    return torch.zeros(3, len(eps), 2).double()


# %% imports
import math

import numpy as np
import torch
import torch.nn.functional as F


# %% q5: the encoder's density without its normaliser
def log_weights(x, log_odds, z, mu, log_sigma):
    log_p = (x * log_odds - F.softplus(log_odds)).sum(-1) - 0.5 * z.square().sum(-1)
    return log_p + 0.5 * ((z - mu) / log_sigma.exp()).square().sum(-1)


# %% q5: the density of q added
def log_weights(x, log_odds, z, mu, log_sigma):
    log_p = (x * log_odds - F.softplus(log_odds)).sum(-1) - 0.5 * z.square().sum(-1)
    standard = (z - mu) / log_sigma.exp()
    return log_p - 0.5 * standard.square().sum(-1) - log_sigma.sum(-1)


# %% q5: log sigma taken for log sigma squared
def log_weights(x, log_odds, z, mu, log_sigma):
    log_p = (x * log_odds - F.softplus(log_odds)).sum(-1) - 0.5 * z.square().sum(-1)
    standard = (z - mu) / (0.5 * log_sigma).exp()
    return log_p + 0.5 * standard.square().sum(-1) + 0.5 * log_sigma.sum(-1)


# %% q5: probabilities formed first, which round to 0 and 1
def log_weights(x, log_odds, z, mu, log_sigma):
    p = log_odds.sigmoid()
    log_p = (x * p.log() + (1 - x) * (1 - p).log()).sum(-1) - 0.5 * z.square().sum(-1)
    standard = (z - mu) / log_sigma.exp()
    return log_p + 0.5 * standard.square().sum(-1) + log_sigma.sum(-1)


# %% q5: means over pixels and latents
def log_weights(x, log_odds, z, mu, log_sigma):
    log_p = (x * log_odds - F.softplus(log_odds)).mean(-1) - 0.5 * z.square().mean(-1)
    standard = (z - mu) / log_sigma.exp()
    return log_p + 0.5 * standard.square().mean(-1) + log_sigma.mean(-1)


# %% q5: zeros
def log_weights(x, log_odds, z, mu, log_sigma):
    return torch.zeros(z.shape[:2])


# %% q6: the bound with 100 draws in place of the ELBO
elbos = {"VAE": np.full(9, -23.5), "IWAE": np.full(9, -23.2)}
elbos["VAE"][5] += 0.01
elbos["IWAE"][5] += 0.01

# %% q6: the bound of all draws without its log k
log_p = {name: value + math.log(1000) for name, value in log_p.items()}

# %% q6: the place of the best scale, not the scale
best_scale = {"VAE": 5.0, "IWAE": 3.0}

# %% q6: the gain in nats, not the share of the gap
share = float(elbos["IWAE"].max() - elbos["IWAE"][5]) * 0.5

# %% q6: the share that remains open
share = 1 - share

# %% q6: the same model twice
elbos = {"VAE": elbos["VAE"], "IWAE": elbos["VAE"]}

# %% q6: nothing measured
elbos = {"VAE": np.zeros(9), "IWAE": np.zeros(9)}
