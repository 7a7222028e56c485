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
# # Homework 9: Importance-weighted autoencoders
#
# You compute the bound $\mathcal{L}_k$ from draws that do not fit into memory, and
# without any draws; you work out what the bound asks of an encoder that cannot be
# exact, and write three gradients for it. At the end you train a VAE and an IWAE on
# handwritten digits and measure how much of the IWAE's poor ELBO is a matter of width.
#
# **Time:** 3 to 4 hours. **Points:** 20. **Needs:** chapter 9; runs in 15 seconds on a
# CPU.
#
# Replace each `...` by your own code. The check below a question tries a small case;
# the hidden tests use other inputs, larger and nastier ones. Use numpy and torch as you
# like, but not `lvmlib`, which loads the data. Nats throughout.
#
# In all questions $w_i = p(x, z_i) / q(z_i \mid x)$ with $z_i \sim q(z \mid x)$, and
#
# $$ \mathcal{L}_k = \mathbb{E}\Big[\log \frac1k \sum_{i=1}^k w_i\Big] . $$

# %%
import math
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# %%
from lvmlib.data import load
from lvmlib.plotting import use_style

use_style()

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: Thousands of draws in small chunks (3 points)
#
# Likelihoods of test images are estimated with thousands of draws, and 5,000 draws for
# each of 10,000 images do not fit into memory. So the log-weights come in *chunks*: a
# list of tensors, the $c$-th of shape $[k_c, B]$, with $k_c$ draws for each of $B$
# images. The $k_c$ need not be equal. Let $k = \sum_c k_c$ be the number of all draws.
#
# Write `bound_of_chunks(chunks)`. It returns two tensors of shape $[B]$, computed from
# all $k$ draws of an image together: the estimate of $\mathcal{L}_k$, and the
# effective sample size,
#
# $$
# \log \frac1k \sum_{i=1}^k w_i
# \qquad\text{and}\qquad
# \frac{\big(\sum_{i=1}^k w_i\big)^2}{\sum_{i=1}^k w_i^2} .
# $$
#
# Take one chunk at a time and keep only what you need from it, a few numbers for each
# image. Log-weights of $-3000$ are common, and a weight may be zero, its logarithm
# `-inf` (but not all weights of an image are).

# %% [raw]
# # BEGIN SOLUTION


# %%
def bound_of_chunks(chunks):
    """The bound and the effective sample size, [B] each, from a list of [k_c, B]."""
    # BEGIN SOLUTION
    count = 0
    log_sum = log_sum_of_squares = torch.tensor(-math.inf)
    for log_w in chunks:
        count += len(log_w)
        log_sum = torch.logaddexp(log_sum, log_w.logsumexp(0))
        squares = (2 * log_w).logsumexp(0)
        log_sum_of_squares = torch.logaddexp(log_sum_of_squares, squares)
    return log_sum - math.log(count), (2 * log_sum - log_sum_of_squares).exp()
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_three_draws_in_two_chunks(bound_of_chunks):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(bound_of_chunks)
    weights = torch.tensor([[1.0, 1.0], [2.0, 1.0], [3.0, 0.0]])
    answer = bound_of_chunks([weights[:1].log(), weights[1:].log()])
    assert len(answer) == 2, "return two tensors, the bound and the sample size"
    want = torch.tensor([math.log(2), math.log(2 / 3)])
    close(answer[0], want, "the bound from the weights 1, 2, 3 and from 1, 1, 0")
    want = torch.tensor([36 / 14, 2.0])
    close(answer[1], want, "the effective sample size of 1, 2, 3 and of 1, 1, 0")


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_the_bound_of_unequal_chunks(bound_of_chunks):
    import numpy as np
    import torch
    from scipy.special import logsumexp

    from lvmlib.homework.checking import close, rng

    random = rng("chunks")
    sizes = random.integers(1, 40, size=5)
    log_w = random.normal(-3000, 5, size=(sizes.sum(), 7))
    log_w[random.random(log_w.shape) < 0.1] = -np.inf
    log_w[0] = -3001.0  # at least one weight that is not zero
    chunks = list(torch.tensor(log_w).split(sizes.tolist()))
    want = logsumexp(log_w, axis=0) - np.log(len(log_w))
    hint = "the bound of all draws together, from chunks of unequal sizes"
    close(bound_of_chunks(chunks)[0], want, hint)


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_the_sample_size_of_unequal_chunks(bound_of_chunks):
    import numpy as np
    import torch

    from lvmlib.homework.checking import close, rng

    random = rng("sample size")
    sizes = random.integers(2, 40, size=4)
    log_w = random.normal(0, 2, size=(sizes.sum(), 5))
    chunks = list(torch.tensor(log_w - 2500).split(sizes.tolist()))
    w = np.exp(log_w)
    want = w.sum(0) ** 2 / (w**2).sum(0)
    close(bound_of_chunks(chunks)[1], want, "the sample size of all draws together")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 4

# %% [markdown]
# ## Question 2: The bound without draws (4 points)
#
# Let $z$ take only $K$ values, so that $q$ is a table of $K$ probabilities. Then
# $\mathcal{L}_k$ is a sum over all $K^k$ tuples of draws, far too many for $k = 60$.
# But the mean weight of a tuple depends only on *how often* it contains each value. So
# let $n_j$ count the draws that are equal to value $j$, with $\sum_j n_j = k$, and
# derive
#
# $$
# \mathcal{L}_k = \sum_{n_1 + \dots + n_K = k} P(n_1, \dots, n_K)\,
# \log \sum_{j=1}^K \frac{n_j}{k}\, w_j .
# $$
#
# Write `exact_bound(log_joint, log_q, k)`. Its arrays of shape $[K]$ (numpy, float64)
# hold $\log p(x, z = j)$ and $\log q(z = j \mid x)$; it returns $\mathcal{L}_k$, a
# number. It must cope with $K \le 3$ and $k \le 60$ in a fraction of a second, and with
# a $q$ that leaves out a value of $z$: its `log_q` is `-inf`, and it is never drawn.

# %% [raw]
# # BEGIN SOLUTION


# %%
def exact_bound(log_joint, log_q, k):
    """L_k in nats, a number, by a sum over counts; log p(x, z) and log q(z | x) [K]."""
    # BEGIN SOLUTION
    drawn = log_q > -np.inf
    log_q, log_w = log_q[drawn], (log_joint - log_q)[drawn]
    head = product(range(k + 1), repeat=len(log_q) - 1)  # all counts but the last
    counts = np.array([[*n, k - sum(n)] for n in head if sum(n) <= k])
    log_factorial = np.cumsum(np.log(np.maximum(np.arange(k + 1), 1)))
    log_p = log_factorial[k] - log_factorial[counts].sum(1) + counts @ log_q
    largest = log_w.max()
    log_mean = np.log(counts @ np.exp(log_w - largest) / k) + largest
    return float(np.exp(log_p) @ log_mean)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_a_coin_and_two_draws(exact_bound):
    import math

    import numpy as np

    from lvmlib.homework.checking import close, own

    own(exact_bound)
    log_joint, log_q = np.log([0.1, 0.3]), np.log([0.5, 0.5])  # weights 0.2 and 0.6
    elbo = 0.5 * math.log(0.2) + 0.5 * math.log(0.6)
    close(exact_bound(log_joint, log_q, 1), elbo, "with one draw the bound is the ELBO")
    two = 0.25 * math.log(0.2) + 0.5 * math.log(0.4) + 0.25 * math.log(0.6)
    close(exact_bound(log_joint, log_q, 2), two, "two draws of a fair coin")


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_few_draws_against_all_tuples(exact_bound):
    from itertools import product

    import numpy as np

    from lvmlib.homework.checking import close, rng

    random = rng("tuples")
    for k in (3, 5):
        p, q = random.dirichlet([1, 1, 1]), random.dirichlet([2, 2, 2])
        log_joint = np.log(p) - 100
        tuples = np.array(list(product(range(3), repeat=k)))  # [3^k, k]
        log_mean = np.log((p / q)[tuples].mean(1)) - 100
        want = q[tuples].prod(1) @ log_mean
        got = exact_bound(log_joint, np.log(q), k)
        close(got, want, f"the sum over all {3**k} tuples")


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_many_draws_against_an_integral(exact_bound):
    import numpy as np

    from lvmlib.homework.checking import close, rng

    random = rng("many draws")
    p, q = random.dirichlet([3, 3, 3]), random.dirichlet([3, 3, 3])
    k = int(random.integers(40, 61))
    # log s is the integral of (exp(-t) - exp(-t s)) / t, here over log t; s = sum w_i
    t = np.exp(np.linspace(-40, 12, 8001))
    below_one = np.maximum(np.expm1(-np.outer(t, p / q)) @ q, 1e-15 - 1)
    log_psi = np.log1p(below_one)
    difference = np.expm1(-t) - np.expm1(k * log_psi)
    want = np.trapezoid(difference, np.log(t)) - np.log(k) - 20
    got = exact_bound(np.log(p) - 20, np.log(q), k)
    close(got, want, f"K = 3 and k = {k}", atol=1e-5)


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_a_value_that_is_never_drawn(exact_bound):
    import numpy as np

    from lvmlib.homework.checking import close, rng

    random = rng("coverage")
    p, q = random.dirichlet([2, 2, 2]), random.dirichlet([2, 2])
    log_q = np.array([np.log(q[0]), -np.inf, np.log(q[1])])
    n = np.arange(5)  # how many of four draws are the first value
    ways = np.array([1, 4, 6, 4, 1]) * q[0] ** n * q[1] ** (4 - n)
    want = ways @ np.log((n * p[0] / q[0] + (4 - n) * p[2] / q[1]) / 4)
    got = exact_bound(np.log(p), log_q, 4)
    close(got, want, "a q that leaves out the second of three values, k = 4")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# **Look.** The bound for three proposals, from your function. One is near the
# posterior, one far from it, and the third leaves out a value that has a tenth of the
# posterior. Which of the three lines on the right can never reach zero, and where does
# it stop?

# %%
p_xz = 0.02 * np.array([0.6, 0.3, 0.1])  # p(x) = 0.02
some_ks = [1, 2, 3, 5, 8, 12, 20, 30, 60]
proposals = {
    "near": np.array([0.5, 0.35, 0.15]),
    "far": np.array([0.1, 0.1, 0.8]),
    "one value left out": np.array([0.6, 0.4, 0.0]),
}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3))
for (name, q), style in zip(proposals.items(), ("o-", "s--", "^:")):
    with np.errstate(divide="ignore"):
        log_q = np.log(q)
    line = np.array([exact_bound(np.log(p_xz), log_q, k) for k in some_ks])
    left.plot(some_ks, line, style, label=name)
    right.plot(some_ks, math.log(0.02) - line, style, label=name)
left.axhline(math.log(0.02), color="black", lw=1, label="log p(x)")
left.set(xscale="log", xlabel="draws k", ylabel="bound (nats)")
right.set(xscale="log", yscale="log", xlabel="draws k", ylabel="gap (nats)")
left.legend(fontsize=8)
plt.show()

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 4

# %% [markdown]
# ## Question 3: What should an encoder do that misses? (4 points)
#
# Encoders are never exact. Let the posterior of some image be
# $p(z \mid x) = \mathcal{N}(a, b)$, where $b$ is a variance, and let the encoder
# answer $q = \mathcal{N}(m, v)$ with a mean that it got wrong, $m \ne a$. Which
# variance should it answer?
#
# For the ELBO you can check by hand that $\operatorname{KL}(q \,\Vert\, p(z \mid x))$
# is smallest at $v = b$, *however far off* $m$ is. For $\mathcal{L}_k$ with many draws
# the gap is about $\chi^2 / (2k)$, so what counts is
#
# $$
# \chi^2\big(p(z \mid x) \,\Vert\, q\big) = \int \frac{p(z \mid x)^2}{q(z)}\, dz - 1 .
# $$
#
# 1. Derive a closed form and write `chi_squared(a, b, m, v)`: four numbers in, a number
#    out, `math.inf` where the integral diverges.
# 2. Write `best_variance(a, b, m)`: the variance $v$ for which $\chi^2$ is smallest.
#    (There is a closed form: set the derivative of $\log(1 + \chi^2)$ to zero and take
#    the root for which $\chi^2$ is finite.) Six digits are asked for.

# %% [raw]
# # BEGIN SOLUTION


# %%
def chi_squared(a, b, m, v):
    """Chi-squared divergence from p = N(a, b) to q = N(m, v); b and v are variances."""
    # BEGIN SOLUTION
    if 2 * v <= b:
        return math.inf
    offset = (a - m) ** 2 / (2 * v - b)
    return v / math.sqrt(b * (2 * v - b)) * math.exp(offset) - 1
    # END SOLUTION


# %%
def best_variance(a, b, m):
    """The variance v that makes chi_squared(a, b, m, v) smallest."""
    # BEGIN SOLUTION
    half = 3 * b + 2 * (a - m) ** 2
    return (half + math.sqrt(half**2 - 8 * b**2)) / 4
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_unit_variances(chi_squared, best_variance):
    import math

    from lvmlib.homework.checking import close, own

    own(chi_squared, best_variance)
    close(chi_squared(0.3, 2.0, 0.3, 2.0), 0.0, "of two equal densities")
    want = 2 / math.sqrt(3) * math.exp(1 / 3) - 1
    close(chi_squared(0.0, 1.0, 1.0, 2.0), want, "p = N(0, 1) and q = N(1, 2)")
    close(best_variance(0.3, 2.0, 0.3), 2.0, "with the right mean the best q is p")
    got = best_variance(0.0, 1.0, 1.0)
    close(got, 2.280776, "p = N(0, 1), and a mean of 1", atol=1e-5)


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_the_divergence_against_quadrature(chi_squared):
    import math

    import numpy as np
    from scipy.stats import norm

    from lvmlib.homework.checking import close, rng

    random = rng("divergence")
    for _ in range(4):
        a, m = random.normal(size=2)
        b = random.uniform(0.3, 2)
        v = b * random.uniform(0.7, 2)
        z = np.linspace(-60, 60, 24_001)
        log_p, log_q = norm.logpdf(z, a, b**0.5), norm.logpdf(z, m, v**0.5)
        want = np.trapezoid(np.exp(2 * log_p - log_q), z) - 1
        close(chi_squared(a, b, m, v), want, "the integral on a grid", rtol=1e-5)
        too_narrow = chi_squared(a, b, m, 0.45 * b)
        assert too_narrow == math.inf, "where does the integral diverge?"


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_the_best_variance_against_a_search(best_variance):
    import numpy as np

    from lvmlib.homework.checking import close, rng

    random = rng("best variance")
    for _ in range(3):
        a, m = random.normal(scale=1.5, size=2)
        b = random.uniform(0.3, 2)
        low, high = 0.5 * b, 10 * b + 10 * (a - m) ** 2
        for _ in range(12):  # zoom in on log of 1 + chi^2, up to a constant
            v = np.linspace(low, high, 200)[1:-1]
            value = np.log(v) - 0.5 * np.log(2 * v - b) + (a - m) ** 2 / (2 * v - b)
            best = value.argmin()
            low, high = v[max(best - 1, 0)], v[min(best + 1, len(v) - 1)]
        close(best_variance(a, b, m), v[best], "the least chi^2", rtol=1e-4)


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# **Look.** Both criteria against the variance of $q$, for a posterior
# $\mathcal{N}(0, 1)$ and three means. The KL rises with the error of the mean, but its
# minimum stays where it is; that of $\chi^2$ moves to the right.

# %%
v_line = np.linspace(0.55, 8, 400)
fig, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3), sharex=True)
for m, style in zip((0.0, 0.75, 1.5), ("-", "--", ":")):
    kl = 0.5 * (v_line + m**2 - 1 - np.log(v_line))
    chi = [chi_squared(0.0, 1.0, m, v) for v in v_line]
    (line,) = left.plot(v_line, kl, style, label=f"m = {m}")
    left.plot(1.0, 0.5 * m**2, "o", color=line.get_color())
    right.plot(v_line, np.log1p(chi), style, label=f"m = {m}")
    v = best_variance(0.0, 1.0, m)
    right.plot(v, math.log1p(chi_squared(0.0, 1.0, m, v)), "o", color=line.get_color())
left.set(xlabel="variance of q", ylabel="KL(q, p) (nats)", ylim=(-0.1, 3))
right.set(xlabel="variance of q", ylabel="log(1 + chi-squared)", ylim=(-0.1, 3))
right.legend(fontsize=8)
plt.show()

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 4

# %% [markdown]
# ## Question 4: Three gradients for one encoder (4 points)
#
# A small VAE: one latent $z \sim \mathcal{N}(0, 1)$, and $D$ binary pixels that are
# independent given $z$, with $p(x_d = 1 \mid z) = \sigma(a_d z + b_d)$, where $\sigma$
# is the logistic function. The encoder's answer for the one image $x$ that we look at
# is $q = \mathcal{N}(\mu, s^2)$, and its parameters are $\phi = (\mu, \log s)$. Draws
# are reparameterized, $z_i = \mu + s\, \varepsilon_i$. With the normalised weights
# $\tilde w_i = w_i / \sum_j w_j$, consider three estimators of
# $\nabla_\phi \mathcal{L}_k$:
#
# $$
# \begin{aligned}
# \text{plain:} \quad & \nabla_\phi \log \frac1k \sum_i w_i , \\
# \text{STL:} \quad & \sum_i \tilde w_i\,
#   \frac{\partial \log w_i}{\partial z_i}\, \frac{\partial z_i}{\partial \phi} , \\
# \text{DReG:} \quad & \sum_i \tilde w_i^2\,
#   \frac{\partial \log w_i}{\partial z_i}\, \frac{\partial z_i}{\partial \phi} .
# \end{aligned}
# $$
#
# In the first, $\phi$ counts wherever it occurs. In the other two the derivative by
# $z_i$ is taken with the $\phi$ of $\log q_\phi(z_i \mid x)$ held fixed.
#
# Write `three_gradients(eps, x, a, b, mu, log_s)`. `eps` is a tensor of shape $[n, k]$:
# $n$ independent sets of $k$ draws. `x`, `a` and `b` have shape $[D]$, `mu` and `log_s`
# are numbers; all tensors are float64. Return a tensor of shape $[3, n, 2]$: plain, STL
# and DReG in this order, for each set, by $\mu$ and by $\log s$. Formulas and automatic
# differentiation are both fine. Nothing here needs a loop over the $n$ sets.

# %% [raw]
# # BEGIN SOLUTION


# %%
def three_gradients(eps, x, a, b, mu, log_s):
    """Plain, STL and DReG gradients by (mu, log s), [3, n, 2], from noise [n, k]."""
    # BEGIN SOLUTION
    s = math.exp(log_s)
    z = mu + s * eps  # [n, k]
    odds = z[..., None] * a + b  # [n, k, D]
    log_p = (x * odds - F.softplus(odds)).sum(-1) - 0.5 * z.square()
    log_w = log_p + 0.5 * eps.square() + log_s  # up to a constant
    share = log_w.softmax(1)  # [n, k]
    by_z = ((x - odds.sigmoid()) * a).sum(-1) - z  # of log p(x, z)
    path = by_z + eps / s  # of log w, with phi fixed
    plain = torch.stack([by_z, by_z * s * eps + 1], -1)  # [n, k, 2]
    of_path = torch.stack([path, path * s * eps], -1)
    terms = [(share, plain), (share, of_path), (share.square(), of_path)]
    return torch.stack([(w[..., None] * g).sum(1) for w, g in terms])
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_one_draw(three_gradients):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(three_gradients)
    eps, one = torch.ones(1, 1).double(), torch.ones(1).double()
    got = three_gradients(eps, one, 2 * one, 0 * one, 0.0, math.log(0.5))
    assert tuple(got.shape) == (3, 1, 2), "three gradients of two entries for each set"
    # z = 0.5, the log-odds are 1 and d log p(x, z) / dz = 2 (1 - sigmoid(1)) - z
    slope = 2 * (1 - 1 / (1 + math.exp(-1))) - 0.5
    close(got[0, 0], [slope, slope / 2 + 1], "the plain gradient from one draw")
    path = slope + 0.5 / 0.25
    close(got[1, 0], [path, path / 2], "STL from one draw")
    close(got[2, 0], got[1, 0], "with one draw STL and DReG are the same")


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_plain_and_stl_by_differentiation(three_gradients):
    import numpy as np
    import torch
    from torch.distributions import Bernoulli, Normal

    from lvmlib.homework.checking import close, rng

    random = rng("plain and STL")
    n, k, pixels = 6, 5, 4
    eps = torch.tensor(random.normal(size=(n, k)))
    a, b = random.normal(size=(2, pixels))
    x = torch.tensor(random.integers(0, 2, size=pixels)).double()
    mu, log_s = random.normal(scale=0.5, size=2)
    a, b = torch.tensor(2 * a), torch.tensor(b)
    want = []
    for stopped in (False, True):  # is the phi of log q held fixed?
        phi = torch.tensor([[mu, log_s]] * n).requires_grad_()
        m, s = phi[:, :1], phi[:, 1:].exp()
        z = m + s * eps
        q = Normal(m.detach(), s.detach()) if stopped else Normal(m, s)
        log_p = Bernoulli(logits=z[..., None] * a + b).log_prob(x).sum(-1)
        log_w = log_p + Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
        want.append(torch.autograd.grad(log_w.logsumexp(1).sum(), phi)[0].numpy())
    got = three_gradients(eps, x, a, b, float(mu), float(log_s))
    hint = "plain and STL, against automatic differentiation"
    close(got[:2], np.stack(want), hint, rtol=1e-5, atol=1e-6)


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_dreg_and_its_mean(three_gradients):
    import torch
    from torch.distributions import Bernoulli, Normal

    from lvmlib.homework.checking import close, rng

    random = rng("DReG")
    k, pixels = 4, 3
    x = torch.tensor(random.integers(0, 2, size=pixels)).double()
    a, b = (torch.tensor(random.normal(size=pixels)) for _ in range(2))
    mu, log_s = random.normal(scale=0.5, size=2).tolist()
    eps = torch.tensor(random.normal(size=(20_000, k)))
    got = three_gradients(eps, x, a, b, mu, log_s)

    phi = torch.tensor([mu, log_s], dtype=torch.float64).expand(50, 2).requires_grad_()
    z = phi[:, :1] + phi[:, 1:].exp() * eps[:50]
    log_p = Bernoulli(logits=z[..., None] * a + b).log_prob(x).sum(-1)
    fixed = Normal(phi[:, :1].detach(), phi[:, 1:].detach().exp())
    log_w = log_p + Normal(0.0, 1.0).log_prob(z) - fixed.log_prob(z)
    weighted = (log_w.softmax(1).detach() ** 2 * log_w).sum()
    want = torch.autograd.grad(weighted, phi)[0]
    hint = "DReG, against automatic differentiation"
    close(got[2][:50], want, hint, rtol=1e-5, atol=1e-6)

    apart = got[2] - got[0]
    error = apart.std(0) / len(apart) ** 0.5
    hint = "DReG and the plain gradient must have the same mean"
    assert (apart.mean(0).abs() < 6 * error).all(), hint


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# **Look.** Mean (dot) and standard deviation (bar) of 4,000 gradients by $\mu$, for an
# image with five pixels of ink and a mean $\mu$ that is too small. Two of the three
# estimators agree about the mean; one of these two becomes quiet as $k$ grows.

# %%
torch.manual_seed(0)
slopes, shifts = torch.linspace(0.5, 2.5, 5).double(), torch.zeros(5).double()
pixels = torch.ones(5).double()
fig, ax = plt.subplots(figsize=(6, 3))
for place, k in enumerate((1, 4, 16, 64)):
    noise = torch.randn(4000, k, dtype=torch.float64)
    by_mu = three_gradients(noise, pixels, slopes, shifts, 0.6, math.log(0.7))[..., 0]
    for i, (name, marker) in enumerate({"plain": "o", "STL": "s", "DReG": "^"}.items()):
        look = {"fmt": marker, "color": f"C{i}", "label": name if k == 1 else None}
        ax.errorbar(place + 0.2 * (i - 1), by_mu[i].mean(), by_mu[i].std(), **look)
ax.axhline(0, color="black", lw=1)
ax.set_xticks(range(4), ["1", "4", "16", "64"])
ax.set(xlabel="draws k", ylabel="gradient by mu (nats)")
ax.legend(fontsize=8)
plt.show()

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 2

# %% [markdown]
# ## Question 5: The log-weights of a VAE (2 points)
#
# For the experiment you need the weights of a VAE on binary images: prior
# $\mathcal{N}(0, I)$ on $\mathbb{R}^d$, encoder
# $q = \mathcal{N}(\mu, \operatorname{diag} \sigma^2)$, and pixels that are independent
# given $z$, $p(x_j = 1 \mid z) = \sigma(\ell_j)$, with the log-odds
# $\ell \in \mathbb{R}^D$ that the decoder computes from $z$.
#
# Write `log_weights(x, log_odds, z, mu, log_sigma)`: $\log w$ in nats, shape $[k, B]$,
# from `x` of shape $[B, D]$, `log_odds` $[k, B, D]$, `z` $[k, B, d]$ and `mu`,
# `log_sigma` $[B, d]$. The $k$ draws `z` are given, and gradients must flow through all
# arguments. Log-odds of $\pm 200$ must not give `inf` or NaN. Keep all constants.

# %% [raw]
# # BEGIN SOLUTION


# %%
def log_weights(x, log_odds, z, mu, log_sigma):
    """log p(x | z) + log p(z) - log q(z | x), nats, [k, B]."""
    # BEGIN SOLUTION
    log_p_x = (x * log_odds - F.softplus(log_odds)).sum(-1)
    log_p_z = -0.5 * z.square().sum(-1)  # log(2 pi) cancels against log q
    standard = (z - mu) / log_sigma.exp()
    log_q_z = -0.5 * standard.square().sum(-1) - log_sigma.sum(-1)
    return log_p_x + log_p_z - log_q_z
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 0.5
"""  # END TEST CONFIG


def test_one_pixel_and_one_latent(log_weights):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(log_weights)
    x, zero, two = torch.ones(1, 1), torch.zeros(1, 1), torch.full((1, 1), 2.0)
    odds, z = torch.tensor([[[0.0]], [[200.0]]]), torch.tensor([[[0.3]], [[-1.0]]])
    # where q is the prior, the weight is p(x | z): a half, and practically one
    want = torch.tensor([[-math.log(2)], [0.0]])
    close(log_weights(x, odds, z, zero, zero), want, "where q is the prior")
    want = want - z[..., 0] ** 2 / 2 + (z[..., 0] - 0.5) ** 2 / 8 + math.log(2)
    got = log_weights(x, odds, z, zero + 0.5, two.log())
    close(got, want, "where q has the mean 0.5 and the standard deviation 2")


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_against_distributions(log_weights):
    import torch
    from torch.distributions import Bernoulli, Normal

    from lvmlib.homework.checking import close, rng

    random = rng("log-weights")
    k, batch, pixels, latents = 3, 4, 6, 2
    x = torch.tensor(random.integers(0, 2, size=(batch, pixels))).double()
    log_odds = torch.tensor(random.normal(scale=2, size=(k, batch, pixels)))
    log_odds[0, 0, 0], x[0, 0] = 200.0, 0.0
    mu, log_sigma = torch.tensor(random.normal(size=(2, batch, latents)))
    z = torch.tensor(random.normal(size=(k, batch, latents)))
    want = Bernoulli(logits=log_odds).log_prob(x).sum(-1)
    want = want + Normal(0.0, 1.0).log_prob(z).sum(-1)
    want = want - Normal(mu, log_sigma.exp()).log_prob(z).sum(-1)
    close(log_weights(x, log_odds, z, mu, log_sigma), want, "random images and codes")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q6
# points: 3

# %% [markdown]
# ## Question 6: Is the encoder of an IWAE merely too wide? (3 points)
#
# An IWAE has a poor ELBO. Question 3 suggests one reason: its encoder is wider than the
# ELBO would have it. Then there is a cheap repair: multiply all standard deviations of
# the trained encoder by one number, the *scale*, and leave everything else as it is.
# How much of the ELBO comes back?
#
# The next cell is given. It trains with $k$ draws on binary digits of $8 \times 8$
# pixels, with your `log_weights`, and draws weights from a trained model with any
# scale. Read it, and run it.

# %%
train_set, _, test_set = load("digits", binarize="static", valid=0)
x_train, x_test = train_set.x.flatten(1), test_set.x.flatten(1)  # [1437, 64], [360, 64]


def train(k, steps=1000, latents=8):
    """Encoder and decoder, trained by the bound with k draws."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(64, 100), nn.SiLU(), nn.Linear(100, 2 * latents))
    decoder = nn.Sequential(nn.Linear(latents, 100), nn.SiLU(), nn.Linear(100, 64))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = x_train[torch.randint(len(x_train), (100,))]
        log_w = draw_log_weights((encoder, decoder), x, k)
        loss = -(log_w.logsumexp(0) - math.log(k)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return encoder, decoder


def draw_log_weights(model, x, k, scale=1.0):
    """Log-weights [k, B] of fresh draws, the encoder's sigma multiplied by `scale`."""
    encoder, decoder = model
    mu, log_sigma = encoder(x).chunk(2, dim=1)
    log_sigma = log_sigma + math.log(scale)
    z = mu + log_sigma.exp() * torch.randn(k, *mu.shape)
    return log_weights(x, decoder(z), z, mu, log_sigma)


models = {"VAE": train(k=1), "IWAE": train(k=10)}
scales = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3])

# %% [markdown]
# Now measure, on the 360 images of `x_test`, under `torch.no_grad()`. All but the last
# are dictionaries with the keys `"VAE"` and `"IWAE"`:
#
# - `elbos`: for each model an array with the mean **ELBO**, in nats per image, at each
#   of the `scales`, from 100 draws for each image. Call `torch.manual_seed(1)` before
#   each scale, so that all scales get the same noise;
# - `best_scale`: for each model the entry of `scales` with the highest ELBO;
# - `log_p`: for each model the mean of $\mathcal{L}_{1000}$ at scale 1, by your
#   `bound_of_chunks` from 20 chunks of 50 draws. Take it for $\log p_\theta(x)$;
# - `share`: the share of the IWAE's gap, $\log p_\theta(x)$ minus the ELBO at scale
#   1, that the best scale closes. A number between 0 and 1.

# %% [raw]
# # BEGIN SOLUTION

# %%
elbos, best_scale, log_p, share = {}, {}, {}, None
# BEGIN SOLUTION
for name, model in models.items():
    with torch.no_grad():
        line = []
        for scale in scales:
            torch.manual_seed(1)
            line.append(draw_log_weights(model, x_test, 100, scale).mean().item())
        chunks = [draw_log_weights(model, x_test, 50) for _ in range(20)]
    elbos[name] = np.array(line)
    best_scale[name] = float(scales[elbos[name].argmax()])
    log_p[name] = bound_of_chunks(chunks)[0].mean().item()
at_one = elbos["IWAE"][5]
share = float((elbos["IWAE"].max() - at_one) / (log_p["IWAE"] - at_one))
# The VAE's scale is right as it is. The IWAE's encoder is too wide for the ELBO, by a
# quarter, but that is less than a quarter of its gap: the rest is of another shape.
# END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 0.5
"""  # END TEST CONFIG


def test_all_numbers_are_there(elbos, best_scale, log_p, share):
    import numpy as np

    for name in ("VAE", "IWAE"):
        for answer in (elbos, best_scale, log_p):
            assert name in answer, f"a dictionary has no entry {name!r}"
        assert np.shape(elbos[name]) == (9,), "one ELBO for each of nine scales"
        assert np.isfinite(elbos[name]).all() and np.isfinite(log_p[name])
        assert log_p[name] > np.max(elbos[name]), "no ELBO exceeds the log-likelihood"
    assert 0 <= share <= 1, "a share lies between 0 and 1"


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_the_bounds_of_both_models(elbos, log_p):
    # Measured with three seeds of training: at scale 1 the VAE -23.71 to -23.79 and the
    # IWAE -24.39 to -24.47; log p -23.48 to -23.54 and -23.16 to -23.18; at scale 0.5
    # -26.2 and -25.6, at 1.3 -24.4 and -26.2.
    hint = "the ELBO of the {} at scale {}"
    wanted = {"VAE": (-26.2, -23.75, -24.4), "IWAE": (-25.6, -24.43, -26.2)}
    for name, values in wanted.items():
        for place, want, scale in zip((0, 5, 8), values, (0.5, 1.0, 1.3)):
            room = 0.25 if place == 5 else 0.5
            assert abs(elbos[name][place] - want) < room, hint.format(name, scale)
    for name, want in {"VAE": -23.5, "IWAE": -23.17}.items():
        assert abs(log_p[name] - want) < 0.25, f"the log-likelihood of the {name}"
    assert log_p["IWAE"] > log_p["VAE"] + 0.1, "which model has the higher likelihood?"


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_what_the_width_is_worth(elbos, best_scale, log_p, share):
    import numpy as np

    # Measured with three seeds: best scales 1.0 and 0.8, shares 0.22 to 0.24.
    scales = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3])
    for name, low, high in (("VAE", 0.85, 1.15), ("IWAE", 0.65, 0.95)):
        best = best_scale[name]
        assert abs(best - scales[np.argmax(elbos[name])]) < 1e-6, "the best of `scales`"
        assert low < best < high, f"the best scale of the {name}"
    at_one = elbos["IWAE"][5]
    want = (np.max(elbos["IWAE"]) - at_one) / (log_p["IWAE"] - at_one)
    assert abs(share - want) < 2e-3, "the share, from your own `elbos` and `log_p`"
    assert 0.14 < share < 0.34, "the share of the gap that one scale closes"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# **Look.** The ELBO of both models against the scale, and the log-likelihood of each.
# Which model would you draw digits from? Which encoder is closer to the posterior of
# its own model? And what else, beside its width, might set the IWAE's encoder apart?

# %%
fig, ax = plt.subplots(figsize=(6, 3.2))
for name, style in zip(models, ("o--", "s-")):
    (line,) = ax.plot(scales, elbos[name], style, label=f"{name}, ELBO")
    colour, label = line.get_color(), f"{name}, log-likelihood"
    ax.axhline(log_p[name], color=colour, lw=1, ls=style[1:], label=label)
ax.set(xlabel="scale of the encoder's sigma", ylabel="nats per image")
ax.legend(fontsize=8)
plt.show()
