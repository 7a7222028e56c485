# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Homework 11: ELBO surgery
#
# You will cut the ELBO of a small model exactly, bracket the information in its codes
# from both sides, derive what $\beta$ does to a linear VAE, and find out from training
# images alone whether the aggregated posterior would be a good prior for new ones.
#
# **Time:** 4 hours. **Points:** 20. **Needs:** chapter 11; runs in about 10 seconds on
# a CPU.
#
# Fill in each `...` and run the public check below the question. The hidden tests use
# other inputs, so a formula that fits the public example only will not pass. Write your
# own code: no function of `lvmlib`, except where the notebook itself loads data or
# draws with it. All information is in nats. Posteriors are Gaussians with a mean and
# the *logarithm* of a standard deviation for each latent.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F

# %%
from lvmlib.data import load
from lvmlib.plotting import COLOURS, use_style

use_style()

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: The surgery in tables (3 points)
#
# A data set holds $N$ different images, and image $n$ has the probability $w_n$ (some
# occur more often than others). The code takes $K$ values. Encoder and prior are
# tables, $q(z \mid x_n)$ of shape `[N, K]` and $p(z)$ of shape `[K]`, and so are the
# log-likelihoods $\log p(x_n \mid z)$, shape `[N, K]`.
#
# `surgery(encoder, prior, log_likelihood, weights)`: the tuple of the distortion, the
# mutual information and the marginal KL, three numbers in nats, for the distribution
# $w$ of the images. All arguments are NumPy arrays. Beware of zeros: an encoder may
# give a code the probability 0, and a decoder may do so too
# ($\log p(x_n \mid z) = -\infty$) where the encoder does. Such terms contribute
# nothing.

# %% [raw]
# # BEGIN SOLUTION


# %%
def surgery(encoder, prior, log_likelihood, weights):
    """Distortion, mutual information and marginal KL of tables, in nats."""
    # BEGIN SOLUTION
    joint = weights[:, None] * encoder  # [N, K]
    mixed = joint.sum(0)  # q(z)
    used = joint > 0
    own, mixed_there = encoder[used], np.broadcast_to(mixed, joint.shape)[used]
    distortion = -(joint[used] * log_likelihood[used]).sum()
    information = (joint[used] * np.log(own / mixed_there)).sum()
    some = mixed > 0
    marginal_kl = (mixed[some] * np.log(mixed[some] / prior[some])).sum()
    return float(distortion), float(information), float(marginal_kl)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_images_with_a_code_each(surgery):
    import numpy as np

    from lvmlib.homework.checking import close, own

    own(surgery)
    log_likelihood = np.array([[-1.0, -np.inf], [-np.inf, -3.0]])
    half = np.array([0.5, 0.5])
    got = surgery(np.eye(2), np.array([0.25, 0.75]), log_likelihood, half)
    hint = "two images, each with a code of its own"
    close(got, [2.0, np.log(2), 0.5 * np.log(4 / 3)], hint)


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_tables(surgery):
    import numpy as np

    from lvmlib.homework.checking import close, rng

    draw = rng("tables")
    encoder, prior = draw.dirichlet(np.full(4, 0.6), 5), draw.dirichlet(np.ones(4))
    weights = draw.dirichlet(np.ones(5))
    encoder[0] = [0.3, 0.0, 0.7, 0.0]
    log_p = -draw.exponential(2, (5, 4))
    log_p[0, 1] = -np.inf
    entropy = lambda p: -sum(part * np.log(part) for part in np.ravel(p) if part > 0)
    joint = weights[:, None] * encoder
    information = entropy(weights) + entropy(joint.sum(0)) - entropy(joint)
    rate = sum(
        weights[n] * encoder[n, k] * np.log(encoder[n, k] / prior[k])
        for n in range(5)
        for k in range(4)
        if encoder[n, k] > 0
    )
    distortion = -sum(joint[joint > 0] * log_p[joint > 0])
    got = surgery(encoder, prior, log_p, weights)
    close(got[0], distortion, "the distortion, images weighted")
    close(got[1], information, "the mutual information of image and code")
    close(got[2], rate - information, "what is left of the rate: the marginal KL")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 3

# %% [markdown]
# ## Question 2: All pairs of codes and posteriors (3 points)
#
# For Gaussian posteriors the cut needs $\log q(z_i \mid x_j)$ for all pairs.
#
# - `log_pairs(z, mean, log_scale)`: codes `z` of shape `[M, d]` against the posteriors
#   of $N$ images, `mean` and `log_scale` of shape `[N, d]`. The result has shape
#   `[M, N]`, its entry $(i, j)$ is $\log q(z_i \mid x_j)$.
# - `terms(pairs, z)`: the tuple of mutual information and marginal KL of $N$ images,
#   two numbers, estimated with one code each. Here `pairs` is square, `[N, N]`, the
#   code $z_i$ was drawn from $q(z \mid x_i)$, and the prior is $\mathcal{N}(0, I)$. It
#   must also work where posteriors are so far apart that all densities but one
#   underflow.

# %% [raw]
# # BEGIN SOLUTION


# %%
def log_pairs(z, mean, log_scale):
    """log q(z_i | x_j), shape [M, N]."""
    # BEGIN SOLUTION
    eps = (z[:, None] - mean) * (-log_scale).exp()  # [M, N, d]
    each = -0.5 * eps.square() - log_scale - 0.5 * math.log(2 * math.pi)
    return each.sum(2)
    # END SOLUTION


def terms(pairs, z):
    """Mutual information and marginal KL in nats, by one code for each image."""
    # BEGIN SOLUTION
    log_own = pairs.diagonal()
    log_mixed = pairs.logsumexp(1) - math.log(len(pairs))
    log_prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    information = (log_own - log_mixed).mean().item()
    return information, (log_mixed - log_prior).mean().item()
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 0.5
"""  # END TEST CONFIG


def test_two_posteriors(log_pairs, terms):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(log_pairs, terms)
    z = torch.tensor([[0.0, 2.0]]).double()
    mean = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.0, 2.0]]).double()
    log_scale = torch.zeros(3, 2).double()
    log_scale[2, 0] = math.log(2)
    want = [[-2 - math.log(2 * math.pi), -0.5 - math.log(2 * math.pi)]]
    want[0].append(-math.log(4 * math.pi))
    close(log_pairs(z, mean, log_scale), want, "one code, three posteriors")
    same = torch.full((2, 2), -math.log(2 * math.pi)).double()
    got = terms(same, torch.zeros(2, 2).double())
    close(got, [0.0, 0.0], "two images with the prior as their posterior", atol=1e-6)


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_pairs_against_torch(log_pairs):
    import torch
    from torch.distributions import Independent, Normal

    from lvmlib.homework.checking import close, rng

    draw = rng("pairs")
    z, mean = (torch.tensor(draw.normal(size=(n, 3))) for n in (4, 5))
    log_scale = torch.tensor(draw.normal(-1, 0.5, size=(5, 3)))
    q = Independent(Normal(mean, log_scale.exp()), 1)
    want = torch.stack([q.log_prob(code) for code in z])
    close(log_pairs(z, mean, log_scale), want, "four codes, five posteriors, 3 latents")


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_terms_near_and_far(terms):
    import numpy as np
    import torch

    from lvmlib.homework.checking import close, rng

    draw = rng("terms")
    z, pairs = draw.normal(size=(6, 2)), draw.normal(-3, 2, size=(6, 6))
    log_prior = -0.5 * (z**2).sum(1) - np.log(2 * np.pi)
    mixed = np.log(np.exp(pairs).mean(1))
    want = [np.mean(np.diag(pairs) - mixed), np.mean(mixed - log_prior)]
    got = terms(torch.tensor(pairs), torch.tensor(z))
    close(got, want, "random pairs")
    far = draw.normal(-2500, 300, size=(6, 6))
    np.fill_diagonal(far, -900.0)
    got = terms(torch.tensor(far), torch.tensor(z))
    close(got[0], np.log(6), "posteriors that do not overlap, densities near exp(-900)")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 3

# %% [markdown]
# ## Question 3: Information from both sides (3 points)
#
# $I_N$ is the information that codes carry about $N$ images. Chapter 11 showed that on
# average it is at most $I_q$, the mutual information for the distribution that the
# images come from: $\mathbb{E}[I_N] \le I_q$. For a bound from the other side leave
# each image out of its own mixture,
#
# $$ \hat q_{-i}(z) = \frac{1}{N - 1} \sum_{j \ne i} q(z \mid x_j) , \qquad
# U_N = \frac1N \sum_{i=1}^N \log \frac{q(z_i \mid x_i)}{\hat q_{-i}(z_i)} . $$
#
# Given $x_i$ and $z_i$ the other images are independent of them, so $\hat q_{-i}(z_i)$
# is an unbiased estimate of $q(z_i)$, the aggregated posterior of the *distribution*.
# Its logarithm is too small on average (Jensen), and so $\mathbb{E}[U_N] \ge I_q$.
#
# `sandwich(pairs)`: the tuple of the estimate of $I_N$ and of $U_N$, two numbers, from
# `pairs` of shape `[N, N]` as in question 2.

# %% [raw]
# # BEGIN SOLUTION


# %%
def sandwich(pairs):
    """Estimates of mutual information that are too small and too large on average."""
    # BEGIN SOLUTION
    N, log_own = len(pairs), pairs.diagonal()
    lower = log_own - pairs.logsumexp(1) + math.log(N)
    itself = torch.eye(N, dtype=torch.bool)
    others = pairs.masked_fill(itself, -math.inf).logsumexp(1)
    upper = log_own - others + math.log(N - 1)
    return lower.mean().item(), upper.mean().item()
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [markdown]
# The picture tests both where the truth is known: $x \sim \mathcal{N}(0, I)$ in four
# dimensions and the encoder $q(z \mid x) = \mathcal{N}(x, 0.35^2 I)$, so that
# $I_q = 2 \log(1 + 1 / 0.35^2)$ nats.

# %%
sizes, both = (5, 10, 30, 100, 300, 1000), []
torch.manual_seed(0)
for N in sizes:
    runs = []
    for _ in range(max(3, 300 // N)):
        x = torch.randn(N, 4).double()
        z, width = x + 0.35 * torch.randn(N, 4), torch.full((N, 4), math.log(0.35))
        pairs = log_pairs(z, x, width.double())
        runs.append(None if pairs is None else sandwich(pairs))
    both.append(runs)
if all(run is not None for runs in both for run in runs):
    means = [np.mean(runs, axis=0) for runs in both]
    fig, ax = plt.subplots(figsize=(5.2, 3.0))
    black, truth = COLOURS["black"], 2 * math.log(1 + 1 / 0.35**2)
    for i, name, colour in ((1, "$U_N$", "vermilion"), (0, "$I_N$", "blue")):
        ax.plot(sizes, [m[i] for m in means], "o-", color=COLOURS[colour], label=name)
    ax.axhline(truth, ls="--", color=black, label="$I_q$")
    ax.plot(sizes, np.log(sizes), ":", color=black, label="$\\log N$")
    ax.set(xscale="log", xlabel="images $N$", ylabel="information (nats)", ylim=(0, 14))
    ax.legend()
    plt.show()

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_images(sandwich):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(sandwich)
    pairs = torch.tensor([[1.0, 0.0], [0.0, 3.0]]).double().log()
    pairs[0, 1], pairs[1, 0] = math.log(0.5), math.log(1.0)
    lower = (math.log(1 / 0.75) + math.log(3 / 2)) / 2
    upper = (math.log(1 / 0.5) + math.log(3)) / 2
    close(sandwich(pairs), [lower, upper], "two images with densities 1, 0.5 and 1, 3")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_pairs(sandwich):
    import numpy as np
    import torch
    from scipy.special import logsumexp

    from lvmlib.homework.checking import close, rng

    draw = rng("sandwich")
    pairs = draw.normal(-400, 40, size=(7, 7)) + 60 * np.eye(7)
    lower = [pairs[i, i] - logsumexp(pairs[i]) + np.log(7) for i in range(7)]
    without = [np.delete(pairs[i], i) for i in range(7)]
    upper = [pairs[i, i] - logsumexp(without[i]) + np.log(6) for i in range(7)]
    got = sandwich(torch.tensor(pairs))
    close(got[0], np.mean(lower), "I_N, at most log N")
    close(got[1], np.mean(upper), "U_N, each image left out of its own mixture")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 4

# %% [markdown]
# ## Question 4: What $\beta$ does to a linear VAE (4 points)
#
# Where everything is Gaussian and linear the plane of rate and distortion can be
# computed. The data are $x \in \mathbb{R}^d$ with mean 0 and a covariance whose
# eigenvalues are $\lambda_1, \dots, \lambda_d$. The decoder is
# $p(x \mid z) = \mathcal{N}(W z, v I)$ with a *fixed* noise $v$, there are $d$ latents
# with prior $\mathcal{N}(0, I)$, and the encoder is Gaussian with a mean that is linear
# in $x$. Encoder and $W$ minimise $\mathsf{D} + \beta\, \mathsf{R}$.
#
# At the optimum every eigendirection has a latent of its own, so solve the problem in
# one dimension: data of variance $\lambda$, $p(x \mid z) = \mathcal{N}(w z, v)$.
#
# 1. For fixed $w$ the best encoder is
#    $q(z \mid x) \propto p(z)\, p(x \mid z)^{1/\beta}$, which is the exact posterior of
#    a model with another noise. Which noise $u$?
# 2. So up to constants $\mathsf{D} + \beta\, \mathsf{R}$ is $\beta$ times the negative
#    log-likelihood of that other model, whose variance of $x$ is $w^2 + u$. Which $w^2$
#    is best? (It cannot be negative. Where it is 0 the latent has collapsed.)
# 3. Compute rate and distortion there. The rate is a mean KL; its marginal KL is 0 at
#    the optimum, so it is a mutual information. The squared error
#    $\mathbb{E}(x - wz)^2$ has a simple value, too.
#
# `linear_vae(eigenvalues, noise, beta)`: the tuple of $\mathsf{D}$ and $\mathsf{R}$ in
# nats, numbers, and the number of latents that are active (not collapsed).
# `eigenvalues` is a NumPy array. The distortion is the whole
# $-\mathbb{E} \log p(x \mid z)$, with the constant of the density.

# %% [raw]
# # BEGIN SOLUTION


# %%
def linear_vae(eigenvalues, noise, beta):
    """Distortion and rate in nats, and active latents, of the best linear beta-VAE."""
    # BEGIN SOLUTION
    # u = beta v; w^2 = lambda - u if positive. Then the model of noise u has the
    # variance of the data, z is N(0, 1) under q, and E (x - wz)^2 is u itself.
    u = beta * noise
    active = eigenvalues > u
    rate = 0.5 * np.log(eigenvalues[active] / u).sum()
    squares = np.where(active, u, eigenvalues).sum()
    constant = 0.5 * len(eigenvalues) * math.log(2 * math.pi * noise)
    return float(constant + squares / (2 * noise)), float(rate), int(active.sum())
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [markdown]
# The picture draws the plane for the 64 eigenvalues of real 8x8 digits (grey levels
# between 0 and 1, $v = 0.02$), and how many latents are active.

# %%
grey = load("digits")[0].x.flatten(1).double() / 16
spectrum = np.linalg.eigvalsh(np.cov(grey.numpy().T)).clip(1e-6)
betas = np.geomspace(0.1, 60, 60)
curve = [linear_vae(spectrum, 0.02, beta) for beta in betas]
if curve[0] is not None:
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.8))
    left.plot([c[1] for c in curve], [c[0] for c in curve], color=COLOURS["blue"])
    left.set(xlabel="rate (nats)", ylabel="distortion (nats)")
    right.step(betas, [c[2] for c in curve], color=COLOURS["blue"])
    right.set(xscale="log", xlabel="$\\beta$", ylabel="active latents")
    plt.show()

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_directions_at_beta_one(linear_vae):
    import math

    import numpy as np

    from lvmlib.homework.checking import close, own

    own(linear_vae)
    distortion, rate, active = linear_vae(np.array([4.0, 0.25]), 1.0, 1.0)
    assert active == 1, "variances 4 and 0.25, noise 1: one latent is active"
    close(rate, math.log(2), "the rate at beta = 1")
    close(distortion, math.log(2 * math.pi) + 0.625, "the distortion at beta = 1")


# %%
""" # BEGIN TEST CONFIG
points: 3
hidden: true
"""  # END TEST CONFIG


def test_against_a_search(linear_vae):
    import numpy as np
    from scipy.optimize import minimize

    from lvmlib.homework.checking import close, rng

    draw = rng("linear VAE")
    noise, beta = draw.uniform(0.3, 0.8), draw.choice([0.4, 2.5])
    times = [draw.uniform(*ends) for ends in ((1.5, 6), (0.2, 0.7), (1.3, 3))]
    eigenvalues = beta * noise * np.array(times)

    def parts(p, variance):
        """Distortion and rate of x ~ N(0, variance), z ~ N(a x, c^2), N(w z, noise)."""
        w, a, c = p[0], p[1], np.exp(p[2])
        square = variance * (1 - w * a) ** 2 + w**2 * c**2
        distortion = 0.5 * np.log(2 * np.pi * noise) + square / (2 * noise)
        return distortion, 0.5 * (a**2 * variance + c**2 - 1) - p[2]

    found = []
    for variance in eigenvalues:
        loss = lambda p, s=variance: parts(p, s)[0] + beta * parts(p, s)[1]
        at = minimize(loss, [0.5, 0.5, -0.3], method="BFGS", options={"gtol": 1e-9}).x
        found.append(parts(at, variance))
    want = np.sum(found, axis=0)
    distortion, rate, active = linear_vae(eigenvalues, noise, beta)
    assert active == 2, "how many latents stay active at this beta?"
    close(rate, want[1], "the rate at the optimum", rtol=1e-4, atol=1e-4)
    close(distortion, want[0], "the distortion at the optimum", rtol=1e-4, atol=1e-4)


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 3

# %% [markdown]
# ## Question 5: What one Gaussian can save (3 points)
#
# Of the marginal KL, how much can a prior recover that is a *single* Gaussian? Among
# all $\mathcal{N}(m, C)$ the one nearest to $q(z)$ has its mean and its covariance (of
# the mixture, not of the means alone), and replacing $\mathcal{N}(0, I)$ by it lowers
# the mean KL over the $N$ images by exactly
# $\operatorname{KL}(\mathcal{N}(m, C) \,\|\, \mathcal{N}(0, I))$. This saving has two
# parts. The first can be had by a prior with independent latents, $\sum_j
# \operatorname{KL}(\mathcal{N}(m_j, C_{jj}) \,\|\, \mathcal{N}(0, 1))$. The second is
# the *total correlation* of the Gaussian, $\operatorname{KL}(\mathcal{N}(m, C) \,\|\,
# \prod_j \mathcal{N}(m_j, C_{jj}))$.
#
# `gaussian_savings(mean, log_scale)`: the tuple of both parts in nats, two numbers, in
# closed form, for posteriors `mean` and `log_scale` of shape `[N, d]`.

# %% [raw]
# # BEGIN SOLUTION


# %%
def gaussian_savings(mean, log_scale):
    """Nats saved by the best independent Gaussians, and by correlation besides."""
    # BEGIN SOLUTION
    m, off = mean.mean(0), mean - mean.mean(0)
    C = off.T @ off / len(mean) + (2 * log_scale).exp().mean(0).diag()
    variances = C.diagonal()
    each = 0.5 * (m.square() + variances - 1 - variances.log()).sum()
    together = 0.5 * (variances.log().sum() - torch.logdet(C))
    return each.item(), together.item()
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_images_on_a_line(gaussian_savings):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(gaussian_savings)
    mean = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).double()
    log_scale = torch.zeros(2, 2).double()
    want = [1 - math.log(2), 0.5 * math.log(4 / 3)]
    hint = "means (1, 1) and (-1, -1), scales 1: variances 2, covariance 1"
    close(gaussian_savings(mean, log_scale), want, hint)


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_against_torch(gaussian_savings):
    import itertools

    import numpy as np
    import torch
    from torch.distributions import MultivariateNormal, kl_divergence

    from lvmlib.homework.checking import close, rng

    draw = rng("savings")
    mean = draw.normal(size=(6, 3)) @ draw.normal(size=(3, 3)) + 0.5
    log_scale = draw.normal(-0.7, 0.4, size=(6, 3))
    # Eight points around each mean have the moments of its Gaussian.
    signs = np.array(list(itertools.product([-1, 1], repeat=3)))
    points = (mean[:, None] + signs * np.exp(log_scale)[:, None]).reshape(-1, 3)
    m, C = torch.tensor(points.mean(0)), torch.tensor(np.cov(points.T, bias=True))
    best = MultivariateNormal(m, C)
    apart = MultivariateNormal(m, C.diagonal().diag())
    standard = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    got = gaussian_savings(torch.tensor(mean), torch.tensor(log_scale))
    close(got[0], kl_divergence(apart, standard), "the saving with independent latents")
    close(got[1], kl_divergence(best, apart), "the saving by correlation")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q6
# points: 4

# %% [markdown]
# ## Question 6: Would the aggregated posterior be a good prior? (4 points)
#
# Chapter 11 found on test images that the aggregated posterior of the training images
# is a fine prior for some encoders and a disaster for others. Could one have known
# without test images? $U_N$ leaves each training image out of its own mixture: it is
# the rate of an image under the aggregated posterior of *other* images.
#
# The data are the binary 8x8 digits, 1,257 for training and 360 for testing; the VAE is
# 64-100-8 with a factorised decoder, and `train_vae(beta)` trains it (given). It
# returns the encoder, as a function from images to means and log-scales. Run it for the
# three values of $\beta$.
#
# Store in `report` a dictionary with $\beta$ as its key and a dictionary of numbers in
# nats as its value. Draw one code for each image. The entries are, over the *training*
# images,
#
# - `"rate"`: the mean KL to $\mathcal{N}(0, I)$, in closed form,
# - `"lower"` and `"upper"`: $I_N$ and $U_N$,
# - `"gaussian"`: the rate under the best Gaussian, the rate less both savings of
#   question 5,
#
# and over the *test* images
#
# - `"test_rate"`: the mean KL to $\mathcal{N}(0, I)$, in closed form,
# - `"test_aggregate"`: their rate with the aggregated posterior of the training images
#   as the prior, the mean of $\log q(z \mid x) - \log q_{\text{train}}(z)$.
#
# Then draw two conclusions. `predicted` is the list of those $\beta$ for which
# $q_{\text{train}}$ beats $\mathcal{N}(0, I)$ on *new* images, in rising order, decided
# from the numbers of the training images alone; `confirmed` is the same list decided
# from the test images. And `tightest` is a dictionary from $\beta$ to the name of the
# smallest of the three upper bounds on $I_q$ that you have, `"rate"`, `"upper"` or
# `"gaussian"`. (They are bounds on average over data sets and for a given encoder; ours
# has seen the training images, a caveat to keep in mind.)

# %%
digits = load("digits")
train_x, test_x = ((digits[i].x.flatten(1) > 7).float() for i in (0, 2))
beta_values = [0.1, 0.3, 1.0]


def train_vae(beta, steps=1000, seed=0):
    """Return a function from images [B, 64] to mean and log-scale, [B, 8] each."""
    torch.manual_seed(seed)
    nn = torch.nn
    encoder = nn.Sequential(nn.Linear(64, 100), nn.Tanh(), nn.Linear(100, 16))
    decoder = nn.Sequential(nn.Linear(8, 100), nn.Tanh(), nn.Linear(100, 64))
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    for _ in range(steps):
        x = train_x[torch.randint(len(train_x), (64,))]
        mean, log_scale = encoder(x).chunk(2, dim=1)
        logits = decoder(mean + log_scale.exp() * torch.randn_like(mean))
        log_p = (x * logits - F.softplus(logits)).sum(1)
        kl = 0.5 * (mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1)
        loss = (beta * kl - log_p).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    def posterior(x):
        with torch.no_grad():
            return encoder(x).chunk(2, dim=1)

    return posterior


# %% [raw]
# # BEGIN SOLUTION


# %%
# BEGIN SOLUTION NO PROMPT
def one_report(posterior):
    """All numbers of one encoder."""
    out, codes, tables = {}, {}, {}
    for where, x in (("", train_x), ("test_", test_x)):
        mean, log_scale = tables[where] = posterior(x)
        codes[where] = mean + log_scale.exp() * torch.randn_like(mean)
        kl = 0.5 * (mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1)
        out[where + "rate"] = kl.mean().item()
    out["lower"], out["upper"] = sandwich(log_pairs(codes[""], *tables[""]))
    out["gaussian"] = out["rate"] - sum(gaussian_savings(*tables[""]))
    log_own = log_pairs(codes["test_"], *tables["test_"]).diagonal()
    log_mixed = log_pairs(codes["test_"], *tables[""]).logsumexp(1)
    log_mixed = log_mixed - math.log(len(train_x))
    out["test_aggregate"] = (log_own - log_mixed).mean().item()
    return out


report = {beta: one_report(train_vae(beta)) for beta in beta_values}
# END SOLUTION
""" # BEGIN PROMPT
report = ...
"""  # END PROMPT

# %%
# BEGIN SOLUTION NO PROMPT
uppers = ("rate", "upper", "gaussian")
cheaper = lambda new, old: [b for b in beta_values if report[b][new] < report[b][old]]
# END SOLUTION
predicted = cheaper("upper", "rate")  # SOLUTION
confirmed = cheaper("test_aggregate", "test_rate")  # SOLUTION
tightest = {b: min(uppers, key=report[b].get) for b in beta_values}  # SOLUTION

# %% [raw]
# # END SOLUTION

# %%
if isinstance(report, dict):
    fig, ax = plt.subplots(figsize=(5.6, 3.4))
    looks = {
        "rate": (COLOURS["black"], "-", "rate, $\\mathcal{N}(0, I)$"),
        "gaussian": (COLOURS["green"], "-.", "rate, best Gaussian"),
        "upper": (COLOURS["vermilion"], "--", "$U_N$"),
        "test_aggregate": (COLOURS["orange"], ":", "test rate, $q_{train}$"),
        "lower": (COLOURS["blue"], "-", "$I_N$"),
    }
    for key, (colour, style, label) in looks.items():
        values = [report[beta][key] for beta in beta_values]
        marker = "s" if key.startswith("test") else "o"
        ax.plot(beta_values, values, style, marker=marker, color=colour, label=label)
    ax.set(xscale="log", yscale="log", xlabel="$\\beta$", ylabel="nats")
    ax.legend(fontsize=9)
    plt.show()

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_the_report_is_consistent(report, predicted, confirmed, tightest):
    import math

    betas = [0.1, 0.3, 1.0]
    assert sorted(report) == betas, "`report` has one entry for each beta"
    names = {"rate", "lower", "upper", "gaussian", "test_rate", "test_aggregate"}
    for beta in betas:
        found = report[beta]
        assert set(found) == names, f"the entries at beta = {beta}"
        assert 0 < found["lower"] < math.log(1257) + 1e-3, "I_N is at most log N"
        assert found["lower"] < found["upper"], "U_N lies above I_N"
        assert found["gaussian"] < found["rate"], "the best Gaussian saves something"
    assert set(predicted) <= set(betas)
    assert set(confirmed) <= set(betas)
    assert sorted(tightest) == betas


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_the_numbers(report):
    # Over three seeds, at beta 0.1, 0.3 and 1: rate 17.4 to 17.6, 11.4 to 12.1 and 5.8
    # to 5.9; test rate 0.1 less; I_N 7.1, 6.8 to 6.9, 4.8 to 4.9; U_N 34 to 37, 12.9 to
    # 14.9, 5.2 to 5.3; test images under the aggregate 35 to 36, 12.8 to 14.5, 5.1 to
    # 5.2; savings 1.2 to 1.4, 0.21 to 0.23, 0.05 to 0.06.
    ranges = {
        "rate": [(15.5, 19.5), (10.3, 13.2), (5.2, 6.5)],
        "test_rate": [(15.3, 19.4), (10.2, 13.1), (5.1, 6.4)],
        "lower": [(6.95, 7.14), (6.6, 7.05), (4.4, 5.3)],
        "upper": [(26, 48), (11.3, 17), (4.7, 5.8)],
        "test_aggregate": [(26, 48), (11.3, 17), (4.5, 5.8)],
    }
    for name, at_betas in ranges.items():
        for beta, (low, high) in zip((0.1, 0.3, 1.0), at_betas):
            assert low < report[beta][name] < high, f"{name} at beta = {beta}"
    savings = [(0.7, 2.2), (0.08, 0.5), (0.01, 0.2)]
    for beta, (low, high) in zip((0.1, 0.3, 1.0), savings):
        saved = report[beta]["rate"] - report[beta]["gaussian"]
        assert low < saved < high, f"what the best Gaussian saves at beta = {beta}"


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_the_conclusions_rest_on_the_numbers(report, predicted, confirmed, tightest):
    assert list(predicted) == [1.0], "where does U_N undercut the rate?"
    assert list(confirmed) == [1.0], "where does q(z) cost new images less?"
    for beta, name in tightest.items():
        best = min(("rate", "upper", "gaussian"), key=report[beta].get)
        assert name == best, f"the smallest upper bound at beta = {beta}"
        assert name == ("gaussian" if beta < 0.5 else "upper"), "an unexpected order"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION
