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
# # Homework 8: Variational autoencoders
#
# Three parts of a VAE are exchanged: the encoder's Gaussian gets correlations, the
# decoder gets a likelihood for grey levels, and the code moves into the unit interval,
# where no Gaussian lives. Then you solve a VAE completely: the linear one, whose
# optimum says which latents collapse. At the end a network tries to beat it on real
# digits.
#
# **Time:** 3 to 4 hours. **Points:** 20. **Needs:** chapter 8; runs in 15 seconds on a
# CPU.
#
# Replace each `...` by your own code. The check below a question tries a small case;
# the hidden tests use other inputs, larger and nastier ones. Use numpy and torch as you
# like, but not `lvmlib`, which loads the data and draws grids. Nats, unless bits are
# asked for.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# %%
from lvmlib.data import load
from lvmlib.plotting import image_grid, use_style

use_style()

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 4

# %% [markdown]
# ## Question 1: A posterior with correlations (4 points)
#
# The usual encoder cannot say "if $z_1$ is larger, then $z_2$ is smaller". Let it
# answer with a full Gaussian, $q = \mathcal{N}(\mu, L L^\top)$, where $L$ is lower
# triangular with a positive diagonal. For $d$ latents its network returns
# $d + d (d + 1) / 2$ numbers for each image:
#
# - the first $d$ are $\mu$;
# - the others are the lower triangle of a matrix, row by row (the order of
#   `torch.tril_indices(d, d)`): $A_{11}, A_{21}, A_{22}, A_{31}, \dots$ Then
#   $L_{ij} = A_{ij}$ below the diagonal, and $L_{ii} = e^{A_{ii}}$.
#
# Find the reparameterized draw $z$ for noise $\varepsilon \sim \mathcal{N}(0, I)$, and
# derive a closed form of $\operatorname{KL}(q \,\Vert\, \mathcal{N}(0, I))$ that needs
# neither a determinant nor an inverse of a matrix.
#
# Write `draw_and_kl(params, eps)`: from `params` of shape $[B, d + d (d + 1) / 2]$ and
# `eps` $[k, B, d]$ it returns the draws $z$, $[k, B, d]$, and the KL divergence of each
# image, $[B]$. Gradients must flow to `params`.

# %% [raw]
# # BEGIN SOLUTION


# %%
def draw_and_kl(params, eps):
    """Draws [k, B, d] of a full Gaussian and its KL to N(0, I), [B]."""
    # BEGIN SOLUTION
    d = eps.shape[-1]
    mu = params[:, :d]  # [B, d]
    i, j = torch.tril_indices(d, d)
    A = params.new_zeros(len(params), d, d)
    A[:, i, j] = params[:, d:]
    log_diagonal = A.diagonal(dim1=1, dim2=2)  # [B, d]
    L = A.tril(-1) + torch.diag_embed(log_diagonal.exp())
    z = mu + torch.einsum("bij,kbj->kbi", L, eps)
    squares = mu.square().sum(1) + L.square().sum((1, 2))  # |mu|^2 + trace of L L'
    return z, 0.5 * (squares - d) - log_diagonal.sum(1)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_latents(draw_and_kl):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(draw_and_kl)
    # mu = (1, -1), L = [[2, 0], [3, 0.25]]
    params = torch.tensor([[1.0, -1.0, math.log(2), 3.0, math.log(0.25)]])
    answer = draw_and_kl(params, torch.tensor([[[0.0, 0.0]], [[1.0, 2.0]]]))
    assert len(answer) == 2, "return the draws and the KL divergence"
    want = torch.tensor([[[1.0, -1.0]], [[3.0, 2.5]]])
    close(answer[0], want, "the draws for eps = (0, 0) and (1, 2)")
    want = torch.tensor([0.5 * (2 + 4 + 9 + 0.0625 - 2) + math.log(2)])
    close(answer[1], want, "the KL divergence")


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_the_draws(draw_and_kl):
    import numpy as np
    import torch

    from lvmlib.homework.checking import close, rng

    random = rng("correlated draws")
    k, batch, d = 3, 4, 3
    params = random.normal(size=(batch, 9))
    eps = random.normal(size=(k, batch, d))
    want = np.zeros((k, batch, d))
    for n in range(batch):
        a, b, c, e, f, g = params[n, d:]
        L = np.array([[np.exp(a), 0, 0], [b, np.exp(c), 0], [e, f, np.exp(g)]])
        want[:, n] = params[n, :d] + eps[:, n] @ L.T
    got = draw_and_kl(torch.tensor(params), torch.tensor(eps))[0]
    close(got, want, "draws with three latents, image by image")


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_the_divergence(draw_and_kl):
    import torch
    from torch.distributions import MultivariateNormal, kl_divergence

    from lvmlib.homework.checking import close, rng

    random = rng("full KL")
    batch, d = 5, 4
    params = torch.tensor(random.normal(size=(batch, d + 10)))
    L = torch.zeros(batch, d, d, dtype=torch.float64)
    place = d
    for i in range(d):
        for j in range(i + 1):
            L[:, i, j] = params[:, place].exp() if i == j else params[:, place]
            place += 1
    q = MultivariateNormal(params[:, :d], scale_tril=L)
    prior = MultivariateNormal(torch.zeros(d).double(), torch.eye(d).double())
    got = draw_and_kl(params, torch.zeros(1, batch, d).double())[1]
    close(got, kl_divergence(q, prior), "the KL divergence with four latents")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 3

# %% [markdown]
# ## Question 2: A likelihood for grey levels (3 points)
#
# The Bernoulli formula on grey levels is no likelihood. The $8 \times 8$ digits have
# the levels $0, 1, \dots, 16$, and for these there is a real one that is just as
# simple: think of each pixel as 16 grains, each of which is ink with probability
# $\sigma(\ell)$, where $\sigma$ is the logistic function,
#
# $$ p(x_j \mid z) = \binom{16}{x_j}\, \sigma(\ell_j)^{x_j}\,
# (1 - \sigma(\ell_j))^{16 - x_j} , $$
#
# independently for all pixels given $z$, with log-odds $\ell$ from the decoder.
#
# Write `bits_per_pixel(x, log_odds, kl)`: *minus* the estimate of the ELBO from one
# draw, in **bits per pixel**, shape $[B]$. `x` and `log_odds` have shape $[B, D]$, `x`
# holds the levels 0 to 16 as floats, and `kl`, $[B]$, is the KL term in nats. Log-odds
# of $\pm 500$ must not give `inf` or NaN, and gradients must flow to `log_odds` and
# `kl`.

# %% [raw]
# # BEGIN SOLUTION


# %%
def bits_per_pixel(x, log_odds, kl):
    """Minus the ELBO in bits per pixel, [B], for grey levels 0 to 16."""
    # BEGIN SOLUTION
    sixteen = torch.tensor(17.0)  # lgamma(n + 1) is log n!
    ways = sixteen.lgamma() - (x + 1).lgamma() - (17 - x).lgamma()
    log_p = ways + x * log_odds - 16 * F.softplus(log_odds)
    return (kl - log_p.sum(1)) / (x.shape[1] * math.log(2))
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_fair_grains(bits_per_pixel):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(bits_per_pixel)
    x, fair = torch.tensor([[1.0, 16.0]]), torch.zeros(1, 2)
    kl = torch.tensor([math.log(2)])
    # -log2 of 16 / 2^16 and of 1 / 2^16, and one bit of KL, over two pixels
    want = torch.tensor([(12 + 16 + 1) / 2])
    close(bits_per_pixel(x, fair, kl), want, "levels 1 and 16 with log-odds of 0")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_against_the_binomial(bits_per_pixel):
    import numpy as np
    import torch
    from scipy.stats import binom

    from lvmlib.homework.checking import close, rng

    random = rng("grains")
    batch, pixels = 4, 7
    x = random.integers(0, 17, size=(batch, pixels)).astype(float)
    log_odds = random.normal(0, 3, size=(batch, pixels))
    log_p = binom.logpmf(x, 16, 1 / (1 + np.exp(-log_odds)))
    log_odds[0, 0], x[0, 0], log_p[0, 0] = 500.0, 0.0, -8000.0
    log_odds[1, 1], x[1, 1], log_p[1, 1] = -500.0, 0.0, 0.0
    kl = random.exponential(size=batch)
    want = (kl - log_p.sum(1)) / pixels / np.log(2)
    got = bits_per_pixel(*(torch.tensor(a) for a in (x, log_odds, kl)))
    close(got, want, "random levels and log-odds", rtol=1e-5)


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# **Look.** A VAE of grey digits from your two functions, trained for 800 steps: digits
# on the left, samples on the right (not the means: each pixel is drawn, 16 grains at a
# time).

# %%
levels = load("digits", valid=0)[0].x.flatten(1).float()  # [1437, 64], 0 to 16
torch.manual_seed(0)
grey_encoder = nn.Sequential(nn.Linear(64, 100), nn.SiLU(), nn.Linear(100, 8 + 36))
grey_decoder = nn.Sequential(nn.Linear(8, 100), nn.SiLU(), nn.Linear(100, 64))
both = [*grey_encoder.parameters(), *grey_decoder.parameters()]
optimizer, curve = torch.optim.Adam(both, lr=5e-3), []
decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 800)
for _ in range(800):
    batch = levels[torch.randint(len(levels), (100,))]
    z_batch, kl_batch = draw_and_kl(grey_encoder(batch / 16), torch.randn(1, 100, 8))
    loss = bits_per_pixel(batch, grey_decoder(z_batch[0]), kl_batch).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    decay.step()
    curve.append(loss.item())
with torch.no_grad():
    ink = grey_decoder(torch.randn(48, 8)).sigmoid()
drawn = torch.distributions.Binomial(16, ink).sample() / 16
fig, axes = plt.subplots(1, 2, figsize=(7, 3))
fig.get_layout_engine().set(wspace=0.1)
for ax, rows, title in zip(axes, (levels[:48] / 16, drawn), ("digits", "samples")):
    image_grid(rows.view(-1, 1, 8, 8), columns=8, ax=ax)
    ax.set_title(title)
plt.show()
print(f"last 100 batches: {np.mean(curve[-100:]):.2f} bits per pixel")
print(f"seventeen levels, nothing known: {math.log2(17):.2f} bits per pixel")

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 4

# %% [markdown]
# ## Question 3: A code between 0 and 1 (4 points)
#
# Let the prior of a code be uniform on $[0, 1]$. A Gaussian $q$ would leave the
# interval, and the beta distribution has no simple draw. Take instead the distribution
# with
#
# $$ F(z) = P(Z \le z) = 1 - (1 - z^a)^b , \qquad 0 \le z \le 1 , \quad a, b > 0 . $$
#
# 1. Write `unit_draw(u, log_a, log_b)`: the draw that belongs to uniform noise $u$,
#    with $F(z) = u$, elementwise. All are float64 tensors; `log_a` and `log_b` are
#    single numbers. Do not lose tiny $u$: at $a = b = 1$ the answer to $u = 10^{-20}$
#    is $10^{-20}$ and not 0.
# 2. Derive the KL divergence to the uniform prior and write `unit_kl(log_a, log_b)`, a
#    number. You may use that $\mathbb{E}[\log(1 - T)] = -\gamma - \psi(b + 1)$ if $T$
#    has the distribution function $t^b$ on $[0, 1]$, with the digamma function $\psi$
#    (`torch.digamma`) and $\gamma = 0.5772156649015329$.
# 3. A decoder says $\log p(x \mid z) = -(c - z)^2 / (2 s^2)$, up to a constant. Write
#    `unit_gradient(u, c, s, log_a, log_b)`: the gradient of
#    $\frac1k \sum_i \log p(x \mid z_i) - \operatorname{KL}$ by $\log a$ and by
#    $\log b$, through the draws, as a tensor of shape $[2]$. `u` has shape $[k]$; `c`
#    and `s` are plain numbers, `log_a` and `log_b` tensors as before.

# %% [raw]
# # BEGIN SOLUTION


# %%
def unit_draw(u, log_a, log_b):
    """The z with F(z) = u."""
    # BEGIN SOLUTION
    z_to_a = -torch.expm1(torch.log1p(-u) * (-log_b).exp())
    return z_to_a ** (-log_a).exp()
    # END SOLUTION


# %%
def unit_kl(log_a, log_b):
    """KL divergence to the uniform distribution, nats."""
    # BEGIN SOLUTION
    a, b = log_a.exp(), log_b.exp()
    mean_log_z = -(0.5772156649015329 + torch.digamma(b + 1)) / a
    mean_log_rest = -1 / b  # of log(1 - z^a)
    return log_a + log_b + (a - 1) * mean_log_z + (b - 1) * mean_log_rest
    # END SOLUTION


# %%
def unit_gradient(u, c, s, log_a, log_b):
    """Gradient of the estimated bound by log a and log b, [2]."""
    # BEGIN SOLUTION
    logs = torch.stack([log_a, log_b]).detach().requires_grad_()
    log_p = -0.5 * ((c - unit_draw(u, *logs)) / s) ** 2
    return torch.autograd.grad(log_p.mean() - unit_kl(*logs), logs)[0]
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_simple_shapes(unit_draw, unit_kl, unit_gradient):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(unit_draw, unit_kl, unit_gradient)
    zero, log_2 = torch.tensor([0.0, math.log(2)]).double()
    u = torch.tensor([0.19, 0.64]).double()
    close(unit_draw(u, zero, zero), u, "a = b = 1 is the uniform distribution")
    close(unit_draw(u, zero, log_2), [0.1, 0.4], "a = 1, b = 2")
    close(unit_draw(u, log_2, zero), [0.19**0.5, 0.8], "a = 2, b = 1")
    close(unit_kl(zero, zero), 0.0, "a = b = 1 is the prior")
    close(unit_kl(log_2, zero), math.log(2) - 0.5, "a = 2, b = 1")
    half = torch.tensor([0.5]).double()
    got = unit_gradient(half, 1.0, 1.0, zero, zero)
    want = [0.25 * math.log(2), -0.25 * math.log(2)]
    close(got, want, "from one draw at a = b = 1, where the KL is at its minimum")
    got = unit_gradient(half**2, 0.5, 1.0, log_2, zero)
    want = [-0.5, 0.5 * (math.pi**2 / 6 - 1)]
    close(got, want, "a = 2, b = 1, with a draw that hits c")


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_the_draw_inverts_f(unit_draw):
    import numpy as np
    import torch

    from lvmlib.homework.checking import close, rng

    random = rng("unit draw")
    for _ in range(3):
        a, b = np.exp(random.normal(scale=0.7, size=2))
        u = random.uniform(0.001, 0.999, size=20)
        logs = torch.tensor(np.log([a, b]))
        z = np.asarray(unit_draw(torch.tensor(u), *logs))
        close(1 - (1 - z**a) ** b, u, f"F of the draws, a = {a:.2f}, b = {b:.2f}")
        tiny = unit_draw(torch.tensor([1e-20]).double(), *logs)
        close(tiny, [(1e-20 / b) ** (1 / a)], "a draw for a tiny u", atol=0)


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_the_divergence_by_quadrature(unit_kl):
    import numpy as np
    import torch

    from lvmlib.homework.checking import close, rng

    random = rng("unit KL")
    for _ in range(3):
        a, b = random.uniform(1.0, 4.0, size=2)
        z = (np.arange(100_000) + 0.5) / 100_000
        log_q = np.log(a * b) + (a - 1) * np.log(z) + (b - 1) * np.log1p(-(z**a))
        want = (np.exp(log_q) * log_q).mean()
        got = unit_kl(*torch.tensor(np.log([a, b])))
        close(got, want, f"a = {a:.2f}, b = {b:.2f}", rtol=1e-3, atol=1e-4)


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_the_gradient_without_a_draw(unit_gradient):
    import numpy as np
    import torch

    from lvmlib.homework.checking import close, rng

    random = rng("unit gradient")
    z = (np.arange(100_000) + 0.5) / 100_000

    def bound(log_a, log_b, c, s):
        """By quadrature over z: no draw is differentiated here."""
        a, b = np.exp([log_a, log_b])
        log_q = np.log(a * b) + (a - 1) * np.log(z) + (b - 1) * np.log1p(-(z**a))
        return (np.exp(log_q) * (-0.5 * ((c - z) / s) ** 2 - log_q)).mean()

    c, s = float(random.uniform()), float(random.uniform(0.3, 1))
    log_a, log_b = random.uniform(0.2, 1.2, size=2)
    h = 1e-3
    want = [
        bound(log_a + h, log_b, c, s) - bound(log_a - h, log_b, c, s),
        bound(log_a, log_b + h, c, s) - bound(log_a, log_b - h, c, s),
    ]
    u = torch.tensor((np.arange(20_000) + 0.5) / 20_000)  # spread evenly over [0, 1]
    got = unit_gradient(u, c, s, *torch.tensor([log_a, log_b]))
    hint = "the gradient, against differences of the bound"
    close(got, np.array(want) / (2 * h), hint, rtol=5e-3, atol=5e-3)


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 4

# %% [markdown]
# ## Question 4: Which latents collapse? (4 points)
#
# In one VAE everything can be solved: encoder and decoder are linear, and the decoder
# is $\mathcal{N}(W z + b,\, s I)$ with a *fixed* variance $s$. Up to a constant the
# loss is
#
# $$
# \frac{1}{2s}\, \mathbb{E} \lVert x - W z - b \rVert^2 +
# \mathbb{E} \operatorname{KL}\big(q(z \mid x) \,\Vert\, \mathcal{N}(0, I)\big) ,
# $$
#
# with means over the data and over $z \sim q(z \mid x)$. (With a weight $\beta$ on the
# KL term nothing new comes up: divide by $\beta$.) The covariance of the data has the
# eigenvalues $\lambda_1 \ge \lambda_2 \ge \dots \ge \lambda_D$, and there are $d$
# latents. At the optimum latent $j$ looks after direction $j$ alone; you may take that
# for granted. What is left is one dimension:
#
# 1. Data with mean 0 and variance $\lambda$, one latent with
#    $q(z \mid x) = \mathcal{N}(m x, v)$ and the decoder $w z$. Find the best $m$, $v$
#    and $w$, as functions of $\lambda$ and $s$. For which $\lambda$ is $w = 0$, so that
#    the latent has *collapsed* to its prior?
# 2. At the optimum, what is the squared error of this direction, and what its KL? Both
#    are very simple.
#
# Write `water_filling(eigenvalues, s, d)`, for a tensor $[D]$ in descending order and
# two numbers. Return three numbers for the whole model at its optimum: how many of the
# $d$ latents are active, the mean KL (the *rate*, nats), and the mean squared error,
# summed over all $D$ directions. Mind the directions that have no latent.

# %% [raw]
# # BEGIN SOLUTION


# %%
def water_filling(eigenvalues, s, d):
    """Active latents, rate (nats) and squared error of the best linear VAE."""
    # BEGIN SOLUTION
    # For given m and v the best decoder is w = m lambda / (m^2 lambda + v); the optimum
    # has w^2 = lambda - s, m = w / lambda and v = s / lambda, if lambda > s.
    first = eigenvalues[:d]
    kept = first[first > s]
    rate = 0.5 * (kept / s).log().sum().item()
    error = len(kept) * s + eigenvalues[len(kept) :].sum().item()
    return len(kept), rate, error
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_three_directions(water_filling):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(water_filling)
    values = torch.tensor([4.0, 2.0, 0.5]).double()
    answer = water_filling(values, 1.0, 3)
    assert len(answer) == 3, "return the active latents, the rate and the error"
    assert answer[0] == 2, "two directions are worth a latent"
    close(answer[1], 0.5 * math.log(8), "the rate of the two")
    close(answer[2], 2.5, "the squared error of all three directions")
    answer = water_filling(values, 1.0, 1)
    assert answer[0] == 1, "one latent, one direction"
    close(answer[1], math.log(2), "the rate of a single latent")
    close(answer[2], 3.5, "the squared error of three directions with one latent")


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_it_is_the_optimum_of_one_direction(water_filling):
    import torch

    from lvmlib.homework.checking import close, rng

    random = rng("one direction")
    for ratio in (random.uniform(0.2, 0.9), random.uniform(1.5, 8)):
        s = float(random.uniform(0.3, 3))
        value = ratio * s
        m = torch.linspace(0, 1.2, 241).double()[:, None] / value**0.5
        v = torch.linspace(0.02, 1.2, 237).double()
        w = m * value / (m**2 * value + v)  # least squares, for any m and v
        error = value * (1 - w * m) ** 2 + w**2 * v
        rate = 0.5 * (m**2 * value + v - 1 - v.log())
        least = (error / (2 * s) + rate).min().item()
        got = water_filling(torch.tensor([value]).double(), s, 1)
        assert got[0] == (ratio > 1), "is the latent of one direction active?"
        hint = "the loss of one direction, against a search over m and v"
        close(got[2] / (2 * s) + got[1], least, hint, rtol=1e-3, atol=1e-3)


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_the_whole_model(water_filling):
    import numpy as np
    import torch

    from lvmlib.homework.checking import close, rng

    random = rng("whole model")
    data = random.normal(size=(200, 6)) @ random.normal(size=(6, 6))
    covariance = np.cov(data.T)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1].copy(), vectors[:, ::-1]
    for s, d in ((float(values[2:4].mean()), 6), (float(values[5] / 2), 4)):
        kept = np.maximum(values[:d] - s, 0)
        W = vectors[:, :d] * kept**0.5  # the best decoder, [6, d]
        precision = np.eye(d) + W.T @ W / s  # of its posterior
        A = np.linalg.solve(precision, W.T) / s  # posterior mean, [d, 6]
        rest = np.eye(6) - W @ A
        spread = np.linalg.inv(precision)
        error = np.trace(rest @ covariance @ rest.T) + np.trace(W @ spread @ W.T)
        of_mean = np.trace(A @ covariance @ A.T)
        log_det = np.linalg.slogdet(precision)[1]
        rate = 0.5 * (of_mean + np.trace(spread) - d + log_det)
        got = water_filling(torch.tensor(values), s, d)
        assert got[0] == (kept > 0).sum(), "the number of active latents"
        close(got[1], rate, f"the rate, {d} latents for six directions")
        close(got[2], error, f"the squared error, {d} latents for six directions")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 5

# %% [markdown]
# ## Question 5: Can a network do better than water filling? (5 points)
#
# The next cell is given. It trains VAEs with twelve latents on digits with grey levels
# between 0 and 1, less the mean digit, by the loss of question 4, with your
# `draw_and_kl`: for each of three variances $s$ a linear one, and one whose encoder and
# decoder have a hidden layer. None of them is told anything about eigenvalues.

# %%
x_train = load("digits", valid=0)[0].x.flatten(1).float() / 16  # [1437, 64]
x_test = load("digits", valid=0)[2].x.flatten(1).float() / 16  # [360, 64]
x_train, x_test = x_train - x_train.mean(0), x_test - x_train.mean(0)
variances = (0.45, 0.3, 0.125)


def train_vae(kind, s, steps=800, d=12):
    """Encoder and decoder, "linear" or "network", trained with the variance s."""
    torch.manual_seed(0)
    outputs = d + d * (d + 1) // 2
    if kind == "linear":
        encoder, decoder, rate = nn.Linear(64, outputs), nn.Linear(d, 64), 1e-2
    else:
        encoder = nn.Sequential(nn.Linear(64, 100), nn.SiLU(), nn.Linear(100, outputs))
        decoder = nn.Sequential(nn.Linear(d, 100), nn.SiLU(), nn.Linear(100, 64))
        rate = 5e-3
    both = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(both, lr=rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = x_train[torch.randint(len(x_train), (100,))]
        z, kl = draw_and_kl(encoder(x), torch.randn(1, 100, d))
        loss = ((x - decoder(z[0])).square().sum(1) / (2 * s) + kl).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return encoder, decoder


vaes = {kind: [train_vae(kind, s) for s in variances] for kind in ("linear", "network")}

# %% [markdown]
# Now measure.
#
# - `predicted`: an array $[3, 3]$, one row for each $s$ of `variances`: active latents,
#   rate and squared error by your `water_filling`, from the eigenvalues of the
#   covariance of `x_train` and with $d = 12$;
# - `measured`: a dictionary with the keys `"linear"` and `"network"`, each of them such
#   an array, measured on `x_train`: the rate and the squared error as means over the
#   images, the error from 20 draws of $z$ for each. A correlated $q$ may spread one
#   direction over several latents, so count as *active* the eigenvalues above 0.01 of
#   the covariance of $\mu(x)$ over the images;
# - `gain`: how much lower the network's loss is than that of the trained linear VAE at
#   $s = 0.125$, on **`x_test`**, in nats per image (squared error over $2s$ plus rate,
#   again from 20 draws).

# %% [raw]
# # BEGIN SOLUTION

# %%
predicted, measured, gain = None, {}, None
# BEGIN SOLUTION
covariance = torch.cov(x_train.double().T, correction=0)
eigenvalues = torch.linalg.eigvalsh(covariance).flip(0)
predicted = np.array([water_filling(eigenvalues, s, 12) for s in variances])


@torch.no_grad()
def measure(vae, x):
    """Active latents, rate and squared error."""
    encoder, decoder = vae
    params = encoder(x)
    z, kl = draw_and_kl(params, torch.randn(20, len(x), 12))
    error = (x - decoder(z)).square().sum(-1).mean().item()
    spread = torch.linalg.eigvalsh(torch.cov(params[:, :12].T))
    return (spread > 0.01).sum().item(), kl.mean().item(), error


for kind, of_kind in vaes.items():
    measured[kind] = np.array([measure(vae, x_train) for vae in of_kind])
losses = []
for kind in ("linear", "network"):
    _, rate, error = measure(vaes[kind][2], x_test)
    losses.append(error / (2 * variances[2]) + rate)
gain = losses[0] - losses[1]
# The linear VAE ends at the predicted optimum, dead latents included. The network lies
# below the curve of all linear ones, with fewer latents at the same variance: digits
# are not Gaussian, and a curved surface follows them with fewer coordinates.
# END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 0.5
"""  # END TEST CONFIG


def test_all_numbers_are_there(predicted, measured, gain):
    import numpy as np

    assert np.shape(predicted) == (3, 3), "`predicted` has a row for each variance"
    for name in ("linear", "network"):
        assert name in measured, f"`measured` has no entry {name!r}"
        table = np.asarray(measured[name])
        assert table.shape == (3, 3), "a row for each variance, three columns"
        assert (table > 0).all(), "all of these numbers are positive"
        assert (np.diff(table[:, 2]) < 0).all(), "a smaller s, a smaller error"
    assert np.isfinite(gain)


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_prediction_and_linear_vae(predicted, measured):
    import numpy as np

    from lvmlib.homework.checking import close

    want = np.array([[3, 0.4969, 4.1532], [4, 1.2403, 3.61], [10, 4.2787, 2.4773]])
    close(predicted, want, "the optimum, for three variances", rtol=5e-3)
    # Measured with three seeds of training: 3 to 4, 4 to 5 and 9 to 10 active latents;
    # rates of 1.00 to 1.03, 1.00 to 1.01 and 0.91 to 0.93 of the predicted ones, errors
    # of 1.00, 1.00 and 1.04 to 1.05.
    linear = np.asarray(measured["linear"])
    assert (abs(linear[:, 0] - want[:, 0]) <= 1).all(), "active latents, linear"
    assert (abs(linear[:, 1] / want[:, 1] - 1) < 0.15).all(), "the rate, linear"
    assert (abs(linear[:, 2] / want[:, 2] - 1) < 0.08).all(), "the error, linear"


# %%
""" # BEGIN TEST CONFIG
points: 2.5
hidden: true
"""  # END TEST CONFIG


def test_what_the_network_gains(predicted, measured, gain):
    import numpy as np

    # Measured with three seeds of training: 3, 4 and 7 active latents; rates 0.62 to
    # 0.63, 1.58 to 1.61 and 4.11 to 4.29, errors 4.00 to 4.01, 3.25 to 3.26 and 2.14 to
    # 2.19; a gain of 1.34 to 1.43 nats.
    network, best_linear = np.asarray(measured["network"]), np.asarray(predicted)
    assert (abs(network[:, 0] - [3, 4, 7]) <= 1).all(), "active latents, network"
    assert (abs(network[:, 1] / [0.625, 1.6, 4.2] - 1) < 0.15).all(), "rate, network"
    assert (abs(network[:, 2] / [4.0, 3.255, 2.16] - 1) < 0.07).all(), "error, network"
    loss = [table[2, 2] / 0.25 + table[2, 1] for table in (best_linear, network)]
    assert 0.9 < loss[0] - loss[1] < 1.8, "the losses at s = 0.125, on training images"
    assert 0.9 < gain < 1.9, "the gain of the network on test images"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# **Look.** The curve is water filling for all $s$ between 0.1 and 0.6, the best that
# any linear VAE can do; its slope at $s$ is $-2s$. Where do the trained VAEs lie? At
# $s = 0.125$ the network has fewer active latents than the linear VAE, and a smaller
# error at nearly the same rate. What does it do with them that a linear map cannot?

# %%
line = []
values = torch.linalg.eigvalsh(torch.cov(x_train.double().T, correction=0)).flip(0)
for s in np.linspace(0.1, 0.6, 60):
    line.append(water_filling(values, float(s), 12)[1:])
fig, ax = plt.subplots(figsize=(6, 3.2))
ax.plot(*np.array(line).T, color="black", lw=1.2, label="best linear, any s")
for (name, table), marker in zip(measured.items(), ("o", "s")):
    ax.plot(table[:, 1], table[:, 2], marker, ls="none", label=name)
    for used, rate, error in table:
        ax.annotate(f"{used:.0f}", (rate, error), (4, 4), textcoords="offset points")
ax.set(xlabel="rate (nats per image)", ylabel="squared error")
ax.set_title("numbers: active latents", fontsize=10)
ax.legend(fontsize=8)
plt.show()
