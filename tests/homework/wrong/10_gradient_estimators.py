# %% imports
import math

import torch
import torch.nn.functional as F


# %% q1: zeros of the right shape
def gaussian_score(z, mean, log_scale):
    return torch.zeros(len(z), 2).double()


def categorical_score(z, logits):
    return torch.zeros(len(z), len(logits)).double()


# %% q1: derivative by the scale and not its logarithm; the log-normaliser forgotten
def gaussian_score(z, mean, log_scale):
    scale = math.exp(log_scale)
    eps = (z - mean) / scale
    return torch.stack([eps / scale, (eps**2 - 1) / scale], 1)


def categorical_score(z, logits):
    return F.one_hot(z, len(logits)).double()


# %% q1: the variance missing, and probabilities in place of logits
def gaussian_score(z, mean, log_scale):
    return torch.stack([z - mean, (z - mean) ** 2 - 1], 1)


def categorical_score(z, logits):
    return F.one_hot(z, len(logits)) / logits.softmax(0)


# %% q1: derivatives in z, and the sign turned
def gaussian_score(z, mean, log_scale):
    eps = (z - mean) / math.exp(log_scale)
    return torch.stack([-eps / math.exp(log_scale), 1 - eps**2], 1)


def categorical_score(z, logits):
    return logits.softmax(0) - F.one_hot(z, len(logits))


# %% q2: zeros of the right shape
def moments(logits, f, b):
    return torch.zeros(len(f)).double(), 0.0


def best_baseline(logits, f):
    return 0.0


# %% q2: the mean reward
def best_baseline(logits, f):
    return (logits.softmax(0) @ f).item()


# %% q2: weights by the length of the score and not by its square
def best_baseline(logits, f):
    q = logits.softmax(0)
    s = torch.eye(len(f)).double() - q
    weight = q * s.square().sum(1).sqrt()
    return (weight @ f / weight.sum()).item()


# %% q2: weights without the probabilities
def best_baseline(logits, f):
    s = torch.eye(len(f)).double() - logits.softmax(0)
    weight = s.square().sum(1)
    return (weight @ f / weight.sum()).item()


# %% q2: second moment in place of the variance
def moments(logits, f, b):
    q = logits.softmax(0)
    g = (f - b)[:, None] * (torch.eye(len(f)).double() - q)
    return q @ g, (q @ g.square().sum(1)).item()


# %% q2: plain mean over the values, as if they were draws
def moments(logits, f, b):
    q = logits.softmax(0)
    g = (f - b)[:, None] * (torch.eye(len(f)).double() - q)
    return g.mean(0), g.var(0).sum().item()


# %% q2: a variance by the first entry only
def moments(logits, f, b):
    q = logits.softmax(0)
    g = (f - b)[:, None] * (torch.eye(len(f)).double() - q)
    mean = q @ g
    return mean, (q @ (g - mean).square())[0].item()


# %% q3: zeros of the right shape
def loo_gradient(f, z, log_odds):
    return torch.zeros_like(log_odds)


def disarm_gradient(f1, f2, z1, z2, log_odds):
    return torch.zeros_like(log_odds)


# %% q3: the mean of all draws as the baseline
def loo_gradient(f, z, log_odds):
    return ((f - f.mean(0))[..., None] * (z - torch.sigmoid(log_odds))).mean(0)


# %% q3: the sum over the draws
def loo_gradient(f, z, log_odds):
    others = (f.sum(0) - f) / (len(f) - 1)
    return ((f - others)[..., None] * (z - torch.sigmoid(log_odds))).sum(0)


# %% q3: the others divided by k
def loo_gradient(f, z, log_odds):
    others = (f.sum(0) - f) / len(f)
    return ((f - others)[..., None] * (z - torch.sigmoid(log_odds))).mean(0)


# %% q3: right for fair coins only
def disarm_gradient(f1, f2, z1, z2, log_odds):
    return 0.25 * ((f1 - f2)[..., None] * (z1 - z2)).mean(0)


# %% q3: sigma(l) without the absolute value
def disarm_gradient(f1, f2, z1, z2, log_odds):
    half = torch.sigmoid(log_odds) / 2
    return ((f1 - f2)[..., None] * (z1 - z2) * half).mean(0)


# %% q3: the smaller of the two probabilities
def disarm_gradient(f1, f2, z1, z2, log_odds):
    half = torch.sigmoid(-log_odds.abs()) / 2
    return ((f1 - f2)[..., None] * (z1 - z2) * half).mean(0)


# %% q3: the mean of u where the coins differ, with the one half left on
def disarm_gradient(f1, f2, z1, z2, log_odds):
    half = torch.sigmoid(log_odds.abs())
    return ((f1 - f2)[..., None] * (z1 - z2) * half).mean(0)


# %% q4: zeros of the right shape
def mixture_path(z, logits, means, log_scales):
    zero = torch.zeros(len(z), len(means)).double()
    return zero, zero, zero


# %% q4: shares of the components by their weights, not by the density at z
def mixture_path(z, logits, means, log_scales):
    pi = logits.softmax(0)
    share = pi.expand(len(z), -1)
    eps = (z[:, None] - means) / log_scales.exp()
    below = torch.special.ndtr(eps)
    by_logit = -pi * (below - (pi * below).sum(1, keepdim=True))
    return by_logit, share, share * (z[:, None] - means)


# %% q4: logits treated as weights that need not sum to one
def mixture_path(z, logits, means, log_scales):
    pi, scales = logits.softmax(0), log_scales.exp()
    eps = (z[:, None] - means) / scales
    density = pi * (-0.5 * eps**2).exp() / (scales * math.sqrt(2 * math.pi))
    q = density.sum(1, keepdim=True)
    share = density / q
    by_logit = -pi * torch.special.ndtr(eps) / q
    return by_logit, share, share * (z[:, None] - means)


# %% q4: the sign of the implicit equation
def mixture_path(z, logits, means, log_scales):
    pi, scales = logits.softmax(0), log_scales.exp()
    eps = (z[:, None] - means) / scales
    density = pi * (-0.5 * eps**2).exp() / (scales * math.sqrt(2 * math.pi))
    below = torch.special.ndtr(eps)
    q = density.sum(1, keepdim=True)
    share = density / q
    by_logit = pi * (below - (pi * below).sum(1, keepdim=True)) / q
    return by_logit, share, share * (z[:, None] - means)


# %% q4: derivative in the scale and not in its logarithm
def mixture_path(z, logits, means, log_scales):
    pi, scales = logits.softmax(0), log_scales.exp()
    eps = (z[:, None] - means) / scales
    density = pi * (-0.5 * eps**2).exp() / (scales * math.sqrt(2 * math.pi))
    below = torch.special.ndtr(eps)
    q = density.sum(1, keepdim=True)
    share = density / q
    by_logit = -pi * (below - (pi * below).sum(1, keepdim=True)) / q
    return by_logit, share, share * eps


# %% q4: densities without the one over sigma
def mixture_path(z, logits, means, log_scales):
    pi, scales = logits.softmax(0), log_scales.exp()
    eps = (z[:, None] - means) / scales
    density = pi * (-0.5 * eps**2).exp() / math.sqrt(2 * math.pi)
    below = torch.special.ndtr(eps)
    q = density.sum(1, keepdim=True)
    share = density / q
    by_logit = -pi * (below - (pi * below).sum(1, keepdim=True)) / q
    return by_logit, share, share * (z[:, None] - means)


# %% q5: zeros of the right shape
def relaxed_gradient(log_odds, u, T, w, t):
    return torch.zeros_like(u)


def straight_through(slopes, log_odds):
    return torch.zeros_like(log_odds)


def straight_through_bias(log_odds, w):
    return torch.zeros_like(w)


# %% q5: 1/T forgotten, slopes without the slope of the sigmoid
def relaxed_gradient(log_odds, u, T, w, t):
    soft = torch.sigmoid((log_odds + u.log() - torch.log1p(-u)) / T)
    return 2 * (soft @ w - t)[:, None] * w * soft * (1 - soft)


def straight_through(slopes, log_odds):
    return slopes.mean(0)


# %% q5: the noise with the wrong sign
def relaxed_gradient(log_odds, u, T, w, t):
    soft = torch.sigmoid((log_odds - u.log() + torch.log1p(-u)) / T)
    return 2 * (soft @ w - t)[:, None] * w * soft * (1 - soft) / T


# %% q5: the sum of the slopes
def straight_through(slopes, log_odds):
    pi = torch.sigmoid(log_odds)
    return slopes.sum(0) * pi * (1 - pi)


# %% q5: the truth less straight-through
def straight_through_bias(log_odds, w):
    pi = torch.sigmoid(log_odds)
    return pi * (1 - pi) * w**2 * (1 - 2 * pi)


# %% q5: the bias in pi, not in the log-odds
def straight_through_bias(log_odds, w):
    pi = torch.sigmoid(log_odds)
    return w**2 * (2 * pi - 1)


# %% q5: the weight not squared
def straight_through_bias(log_odds, w):
    pi = torch.sigmoid(log_odds)
    return pi * (1 - pi) * w * (2 * pi - 1)


# %% q6: zeros
def bias_and_spread(g, exact):
    return 0.0, 0.0


measured = dict.fromkeys(measured, (0.0, 0.0))
elbos = {kind: [-20.0, -20.0] for kind in elbos}


# %% q6: the noise of the mean counted as bias
def bias_and_spread(g, exact):
    length = exact.norm()
    off = (g.mean(0) - exact).norm() / length
    return off.item(), (g.var(0).sum().sqrt() / length).item()


measured = {kind: (off + 0.7, spread) for kind, (off, spread) in measured.items()}
verdict = {"score": "bias", "straight-through": "bias"}

# %% q6: bounds with the wrong sign of the KL term
elbos = {kind: [b + 6 for b in pair] for kind, pair in elbos.items()}

# %% q6: the leave-one-out gradients of the mean of all draws, a race of its own
elbos = {**elbos, "leave one out": [b - 2 for b in elbos["leave one out"]]}

# %% q6: the order taken from the first point of the curves
ahead = ["straight-through", "straight-through"]

# %% q6: noise blamed for both
verdict = {"score": "noise", "straight-through": "noise"}

# %% q6: the score at both ends equal to that of leave one out
elbos = {**elbos, "score": elbos["leave one out"]}
