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
# (ch-generative)=
# # Generative modelling
#
# *A classifier answers one question about a picture. A generative model knows what pictures are like: ideally, it can be asked anything about them and draw new ones.*
#
# You have examples $x_1, \dots, x_N$: photographs, sentences, molecules. Some process made them and could make more. Call its distribution $p_{\mathrm{d}}$, the *data distribution*. Nobody will tell you $p_{\mathrm{d}}$; the examples are all you have.
#
# :::{prf:definition} Generative model
# :label: def-generative
# A **generative model** of the data is a probability distribution $p_\theta$ over the space in which $x$ lives, learned from examples $x_1, \dots, x_N \sim p_{\mathrm{d}}$. It may be given by a formula for $p_\theta(x)$ or only by a program that draws. Learning one has two objectives:
#
# 1. **Approximate** the data distribution: $p_\theta \approx p_{\mathrm{d}}$, between the examples too, not only at them.
# 2. **Draw** from it: produce new $x \sim p_\theta$ that look like fresh draws from $p_{\mathrm{d}}$.
# :::
#
# {numref}`fig-gm-idea` shows both objectives at work in the plane.

# %% tags=["hide-input"]
import copy
import itertools
import json
import lzma
import math
import zlib

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    MultivariateNormal,
    Normal,
)

# %% tags=["hide-input"]
from lvmlib import information as info
from lvmlib.autoregressive import FVSBN
from lvmlib.base import bits_per_dim, seed_everything
from lvmlib.checkpoints import SHIPPED
from lvmlib.data import load
from lvmlib.distributions import MixtureOfGaussians
from lvmlib.experiments.covered_digits import COVERS
from lvmlib.networks import MLP
from lvmlib.plotting import COLOURS, image_grid, use_style
from lvmlib.toys import TwoMoons
from lvmlib.training import cosine, fit

DEVICE = "cuda" if torch.cuda.is_available() else None  # where fit trains
SCALE = 10 if DEVICE else 1  # multiplies training runs; stored outputs are those of 1
use_style()
if DEVICE:
    print(f"a GPU: training runs take {SCALE} times as many steps as in the book")

# %% mystnb={"figure": {"caption": "A generative model of points in the plane. *Left:* the data, 1,000 draws from $p_{\\mathrm{d}}$. *Middle:* the model's density $p_\\theta(x)$, the stronger the shade, the larger: the first objective. *Right:* 1,000 new draws from $p_\\theta$: the second objective. No point on the right is copied from the left.", "name": "fig-gm-idea"}, "image": {"alt": "Three square panels with the same axes. Left: dots form two half moons that reach into each other. Middle: a grey shading with the same two moons. Right: other dots, which form the same two moons."}} tags=["hide-input"] tolerance={"data": 0.1}
seed_everything(0)
two_moons = TwoMoons()
moons, moons_test = two_moons.sample(20_000), two_moons.sample(10_000)
first = MixtureOfGaussians((2,), 30, "spherical").start_from(moons)
fit(first, moons, steps=300, batch_size=500, lr=cosine(0.05, 300), progress=False)
horizontal, vertical = torch.linspace(-4, 4, 161), torch.linspace(-3, 3, 121)
with torch.no_grad():
    height = first.log_prob(torch.cartesian_prod(horizontal, vertical)).exp()
    fresh = first.sample(1000)
fig, axes = plt.subplots(1, 3, figsize=(6.8, 2.2), sharex=True, sharey=True)
axes[0].plot(*moons[:1000].T, ".", ms=1.5, color=COLOURS["black"])
box = (-4, 4, -3, 3)
axes[1].imshow(height.view(161, 121).T, origin="lower", extent=box, cmap="Greys")
axes[2].plot(*fresh.T, ".", ms=1.5, color=COLOURS["blue"])
titles = "$x_n \\sim p_{\\mathrm{d}}$", "$p_\\theta(x)$", "$x \\sim p_\\theta$"
for ax, title in zip(axes, titles):
    ax.set(xlim=box[:2], ylim=box[2:], aspect="equal", title=title, xlabel="$x_1$")
    ax.grid(visible=False)
axes[0].set_ylabel("$x_2$")
plt.show()


# %% [markdown]
# In symbols, the first objective usually becomes {term}`maximum likelihood`,
#
# $$ \max_\theta\; \frac1N \sum_{n=1}^{N} \log p_\theta(x_n), $$ (eq-gm-goal)
#
# which for large $N$ brings $p_\theta$ as close to $p_{\mathrm{d}}$ as the family allows, in the sense of $\operatorname{KL}(p_{\mathrm{d}} \,\|\, p_\theta)$ ({doc}`chapter 1 <01_information_theory>`). The second asks for an algorithm that returns $x \sim p_\theta$ in reasonable time. Neither objective implies the other. A sampler that has learned only the sevens among handwritten digits may draw beautiful new ones, but gives the other nine digits probability 0; other models can score every $x$, but need thousands of steps to draw one. A classifier $p(y \mid x)$ meets neither: it takes $x$ as given.
#
# **What you will be able to do**
#
# - say what a generative model is, write one, train it and draw from it in twenty lines;
# - tell an explicit density from an implicit sampler, and prove what the second one cannot do;
# - say when a network trained for one question beats a model of everything, and when it does not;
# - score a model in nats, bits and bits per dimension without losing a minus sign or a $\ln 2$, and read a generalisation gap;
# - measure the curse of dimensionality, fit Bayes nets, neural conditionals and mixtures to real images, and name what each of them lacks.
#
# **Needs.** Entropy, cross-entropy, KL divergence and maximum likelihood ({doc}`chapter 1 <01_information_theory>`); PyTorch to the level of `nn.Module`. A few places use the conditional distribution of a Gaussian ({numref}`sec-gm-joint`), Lipschitz functions and sets of volume 0 ({prf:ref}`thm-no-density`), spanning trees ({prf:ref}`thm-chow-liu`), and a recurrent network (a GRU, in hidden code). From here on logarithms are natural and likelihoods are in nats, unless a line says bits.
#
# **Time.** About three and a half hours on the main path, an hour of them for Part 1, which can stand alone; seven with exercises and the stretches marked *Optional*. The code runs in a minute and a half on one core. No GPU is needed; if there is one, training runs on it for ten times as many steps.
#
# (sec-gm-define)=
# ## Part 1. Define: what is a generative model, and which kinds are there?
#
# (sec-gm-by-hand)=
# ### A generative model in twenty lines
#
# Every generative model in this book consists of the same four pieces: a family of distributions, a loss, a way to minimise it (usually a training loop) and a sampler. Here they are for the moons. (In the code `two_moons` is $p_{\mathrm{d}}$ itself, which we know for once, and `moons` and `moons_test` are draws from it.) The family is a **mixture of Gaussians**, $K$ round hills with weights $\pi_k > 0$ that sum to 1:
#
# $$ p_\theta(x) = \sum_{k=1}^{K} \pi_k\, \mathcal{N}(x; \mu_k, \sigma_k^2 I) . $$ (eq-mixture)
#
# The weights come from a softmax and the widths from an exponential, so $p_\theta$ is a density whatever numbers $\theta$ contains.


# %%
def log_mixture(x, logits, loc, log_scale):
    """log p(x), [B], of K Gaussians: x [B, D], loc [K, D], the others [K]."""
    squares = (x[:, None] - loc).square().sum(2) / log_scale.exp() ** 2  # [B, K]
    log_normal = -squares / 2 - loc.shape[1] * (log_scale + math.log(2 * math.pi) / 2)
    return (logits.log_softmax(0) + log_normal).logsumexp(1)


# %% [markdown]
# The loss is the **negative log-likelihood** (NLL), {eq}`eq-gm-goal` with the sign changed, estimated on a random batch:

# %%
torch.manual_seed(0)
theta = {
    "logits": torch.zeros(30),
    "loc": moons[:30].clone(),
    "log_scale": torch.zeros(30),
}
adam = torch.optim.Adam([part.requires_grad_() for part in theta.values()], lr=0.03)
for _ in range(600 * SCALE):
    batch = moons[torch.randint(len(moons), (500,))]
    nll = -log_mixture(batch, **theta).mean()
    adam.zero_grad()
    nll.backward()
    adam.step()


# %% [markdown]
# To draw, choose a hill and step away from its centre at random:


# %%
@torch.no_grad()
def draw_mixture(n):
    k = torch.multinomial(theta["logits"].softmax(0), n, replacement=True)  # [n]
    scale = theta["log_scale"].exp()[k, None]  # [n, 1]
    return theta["loc"][k] + scale * torch.randn(n, 2)


# %% [markdown]
# That is all. How well are the objectives met? Since `two_moons.log_prob` gives $\log p_{\mathrm{d}}$, both can be measured. The NLL on *fresh* data estimates $-\mathbb{E}_{p_{\mathrm{d}}}[\log p_\theta(x)] = H(p_{\mathrm{d}}) + \operatorname{KL}(p_{\mathrm{d}} \,\|\, p_\theta)$, and its excess over the entropy is the divergence that remains. In the other direction we ask how probable the model's draws are under $p_{\mathrm{d}}$.

# %% tolerance={"atol": 0.03}
with torch.no_grad():
    model_nll = -log_mixture(moons_test, **theta)
drawn_moons = draw_mixture(10_000)
entropy_d = -two_moons.log_prob(moons_test)  # its mean estimates the entropy of p_d
excess = (model_nll - entropy_d).mean()
print(f"1. approximate: NLL {model_nll.mean():.3f}", end=" = ")
print(f"entropy {entropy_d.mean():.3f} + KL(p_d || p_theta) {excess:.3f} nats")
rare = torch.quantile(entropy_d, 0.99)  # 1% of the data are less probable than that
strays = (-two_moons.log_prob(drawn_moons) > rare).float().mean()
print(f"2. draw: {strays:.0%} of draws lie where only 1% of the data do")

by_library = MixtureOfGaussians((2,), 30, "spherical")
state = {name: part.detach() for name, part in theta.items()}
by_library.load_state_dict(state | {"log_scale": state["log_scale"][:, None]})
with torch.no_grad():
    difference = (by_library.log_prob(moons_test) + model_nll).abs().max()
print(f"lvmlib's mixture with our theta, the same log-densities: {difference < 1e-4}")
assert difference < 1e-4 and excess > 0

# %% [markdown]
# The last lines hand our parameters to `lvmlib.distributions.MixtureOfGaussians`, which returns the same log-densities. The library's training loop is `lvmlib.training.fit`; from here on we use both.
#
# **Discrete: softmax. Continuous: harder.** If $x$ takes one of $K$ values, a softmax over $K$ numbers can express every distribution (probabilities of 0 in the limit), and you need no other. For continuous $x$ no such universal output exists. A network that returns a positive number for each $x$ is not a density until it integrates to 1, and the integral usually has no closed form, so one has to *choose* a family that is normalised by construction, and each choice excludes something. Mixtures are one choice, flows ({doc}`5 <05_flows>`, {doc}`6 <06_deep_flows>`) another. Images are discrete, and a softmax does not help: a black-and-white image of 28x28 pixels can take $2^{784}$ values, too many for any computer. Most of this book is about ways around these two obstacles, the integral and the number of values.
#
# (sec-taxonomy)=
# ### Which kinds are there?
#
# :::{prf:definition} Explicit density, implicit sampler
# :label: def-explicit
# An **explicit** model gives $\log p_\theta(x)$ for every $x$: exactly, by a lower bound, or up to a constant that does not depend on $x$. An **implicit** model is a program that draws: noise $z$ from a fixed distribution, then $x = f_\theta(z)$ {cite:p}`mohamed2016`. It need not be able to say how probable a draw is.
# :::
#
# {numref}`fig-taxonomy` sorts the families by what they can say about $\log p_\theta(x)$. Two branches usually need a **Markov chain** to draw: start anywhere, and change $x$ at random again and again until the start is forgotten. *Energy-based models*, such as *Boltzmann machines* {cite:p}`ackley1985`, give $\log p_\theta(x)$ up to a constant, and usually need the chain for training, too. A *generative stochastic network* (GSN) {cite:p}`bengio2014` *is* such a chain: it learns the random step, and the distribution to which the chain converges is never written down. This book keeps to the explicit side, and there to models that draw without a chain: each can be scored, checked and turned into a compressor.

# %% tags=["hide-input"]
families = {  # name: (column, row, parent, outside this book)
    "generative\nmodels": (0, 5.3, None, False),
    "explicit\ndensity": (1, 3.6, "generative\nmodels", False),
    "implicit\nsampler": (1, 9, "generative\nmodels", False),
    "exact": (2, 1, "explicit\ndensity", False),
    "a bound": (2, 4, "explicit\ndensity", False),
    "up to a\nconstant": (2, 6.5, "explicit\ndensity", False),
    "direct": (2, 8.5, "implicit\nsampler", False),
    "by a chain": (2, 10, "implicit\nsampler", False),
    "tables, Bayes nets (2)": (3, 0, "exact", False),
    "autoregressive (3, 4)": (3, 1, "exact", False),
    "normalizing flows (5, 6)": (3, 2, "exact", False),
    "latent variables, VAEs (7-11)": (3, 3, "a bound", False),
    "discrete codes (12)": (3, 4, "a bound", False),
    "diffusion models": (3, 5, "a bound", True),
    "Boltzmann machines*": (3, 6, "up to a\nconstant", True),
    "other energy-based models*": (3, 7, "up to a\nconstant", True),
    "matching by distances (2)": (3, 8, "direct", False),
    "GANs": (3, 9, "direct", True),
    "GSN*": (3, 10, "by a chain", True),
}
place = [0.0, 0.9, 1.75, 2.45]  # of the four columns

# %% mystnb={"figure": {"caption": "Generative models, by what they can say about $\\log p_\\theta(x)$. Solid boxes carry the number of the chapter that treats them; dashed ones lie outside this book. Those marked with a star usually draw by a Markov chain. VAE, GAN and GSN stand for variational autoencoder, generative adversarial network and generative stochastic network. Diffusion models return at the end of chapter 11, where they are read as deep variational autoencoders.", "name": "fig-taxonomy"}, "image": {"alt": "A tree. Generative models split into explicit density and implicit sampler. Explicit density splits into exact (tables and Bayes nets, chapter 2; autoregressive models, 3 and 4; normalizing flows, 5 and 6), bounded (latent-variable models and VAEs, 7 to 11; discrete codes, 12; diffusion models, dashed) and up to a constant (Boltzmann machines and other energy-based models, both dashed and with a star). Implicit sampler splits into direct (matching by distances, chapter 2; GANs, dashed) and Markov chain (GSN, with a star, dashed)."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 4.3))
for name, (column, row, parent, outside) in families.items():
    dash = "--" if outside else "-"
    style = {"boxstyle": "round,pad=0.3", "fc": "white", "ec": "black", "ls": dash}
    align = "left" if column == 3 else "center"
    options = {"ha": align, "va": "center", "fontsize": 10, "bbox": style, "zorder": 3}
    ax.text(place[column], row, name, **options)
    if parent:
        above, level, *_ = families[parent]
        ends = [place[above], place[column] - 0.06 * (column == 3)]
        ax.plot(ends, [level, row], color="#888888", lw=1.2)
ax.set(xlim=(-0.35, 4.1), ylim=(10.6, -0.6))
ax.axis("off")
plt.show()


# %% [markdown]
# (sec-implicit)=
# ### What can a sampler not do?
#
# Let us train one and see. A sampler has no likelihood to maximise, so it needs another loss: a distance between two distributions that can be estimated from samples alone. The *energy distance* of {cite:t}`szekely2013`,
#
# $$ \mathcal{E}(p, q) = 2\, \mathbb{E}\lVert X - Y \rVert - \mathbb{E}\lVert X - X' \rVert - \mathbb{E}\lVert Y - Y' \rVert  , $$ (eq-energy)
#
# with independent $X, X' \sim p$ and $Y, Y' \sim q$ of finite means, is never negative, and 0 only if $p = q$; it is a relative of the maximum mean discrepancy of {cite:t}`gretton2012`. A {term}`generative adversarial network` (GAN) {cite:p}`goodfellow2014` learns its distance: a second network is trained to tell
# draws from data. Its pictures are sharper, and its optimisation is harder. For our question the difference does not matter: either model is a network that turns noise into data. We train three: two on the moons, from two numbers of noise and from a single one, and one on 8x8 digits, from eight.


# %%
def energy_distance(x, y):
    """An unbiased estimate from two batches [B, D]: no point is paired with itself."""
    b = len(x)
    within = lambda u: torch.cdist(u, u).sum() / (b * (b - 1))
    return 2 * torch.cdist(x, y).mean() - within(x) - within(y)


def sampler(data, noise, hidden, steps, squash=(), peak=3e-3):
    seed_everything(0)
    f = nn.Sequential(MLP(noise, hidden, data.shape[1]), *squash)
    draw = lambda f, x: f(torch.randn(len(x), noise, device=x.device))
    loss = lambda f, x: energy_distance(x, draw(f, x))
    options = {"lr": cosine(peak, steps), "device": DEVICE, "progress": False}
    fit(f, data, loss, steps=steps, batch_size=256, **options)
    return f.requires_grad_(False)


curve = sampler(moons, 1, (128, 128), 2000 * SCALE, peak=1e-2)
sheet = sampler(moons, 2, (64, 64, 64), 1500 * SCALE, peak=2e-2)
flat8 = lambda split: split.x.flatten(1).float() / 16  # [N, 64] in [0, 1]
digits, _, digits_test = map(flat8, load("digits"))
painter = sampler(digits, 8, (128, 256), 1200 * SCALE, [nn.Sigmoid()])

# %% mystnb={"figure": {"caption": "Samplers trained by energy distance. *Left:* two moons, and what networks make of two numbers of noise and of one. A continuous map sends a connected space of noise to a connected set, so a bridge between the moons must remain: with two numbers a haze of points, with one a piece of the curve. *Right:* 8x8 digits (above the line) and draws from a network with eight numbers of noise (below).", "name": "fig-sampler"}, "image": {"alt": "Left: three small scatter plots; the data form two moons, two-dimensional noise gives the two moons with scattered points between them, one-dimensional noise a thin curve that runs along both moons and crosses from one to the other. Right: a grid of real 8x8 digits above and generated ones below, many of them readable, some smudged."}} tags=["hide-input"] tolerance={"data": 0.1, "draws": ["rows 5-8", "axes 2"], "rtol": 0.15}
torch.manual_seed(1)
fig = plt.figure(figsize=(6.4, 3.2))
left, right = fig.subfigures(1, 2, width_ratios=(0.62, 1))
clouds = {
    "data": moons,
    "2 numbers": sheet(torch.randn(2000, 2)),
    "1 number": curve(torch.randn(2000, 1)),
}
stacked = left.subplots(3, 1, sharex=True, sharey=True)
for ax, (name, points) in zip(stacked, clouds.items()):
    ax.plot(*points[:2000].T, ".", ms=1)
    ax.set(xlim=(-4.5, 4.5), ylim=(-3, 3), xticks=[], yticks=[])
    ax.set_title(name, fontsize=10, pad=2)
ax = right.subplots()
forty = painter(torch.randn(40, 8))
tiles = torch.cat([digits[:40], forty]).view(-1, 1, 8, 8)
image_grid(tiles, columns=10, gap=1, ax=ax)
ax.axhline(4 * 9 - 1, color="black", lw=1.2)
plt.show()
apart = lambda x, others: torch.cdist(x, others).amin(1).mean().item()  # to the nearest
inks = (part.sum(1).mean() for part in (forty, digits_test))
print("ink of 40 draws {:.1f}, of test digits {:.1f}".format(*inks))
print(f"mean distance to a training digit {apart(forty, digits):.2f},", end=" ")
print(f"from a test digit to a draw {apart(digits_test, forty):.2f}")

# %% tolerance={"rtol": 0.15}
torch.manual_seed(1)
for name, f, noise in (("2 numbers", sheet, 2), ("1 number", curve, 1)):
    stray = (-two_moons.log_prob(f(torch.randn(10_000, noise))) > rare).float().mean()
    print(f"{name:>9} of noise: {stray:.1%} of draws lie where only 1% of the data do")

# %% [markdown]
# The samplers meet the second objective, though not perfectly. Some bridge between the moons is unavoidable, but a steeper map would send fewer draws onto it; and nearly one draw in ten lies where only 1% of the data do. Now ask for the first. How many bits would this test digit take? Is that scan unusual? Which of two samplers finds it more probable? All of these need $\log p_\theta(x)$, and when the noise has fewer dimensions than the data, that is worse than unknown: it does not exist.
#
# :::{prf:theorem} A sampler with less noise than data has no density
# :label: thm-no-density
# Let $f: \mathbb{R}^k \to \mathbb{R}^D$ be locally Lipschitz (every network of affine layers, ReLUs, sigmoids and their like is), and $k < D$. Then the image $f(\mathbb{R}^k)$ has volume 0. Hence, whatever the distribution of $z$, $x = f(z)$ has no density; and if the data
# do have one, $p_{\mathrm{d}}$, then a data point falls into the sampler's range with probability 0, and $\operatorname{KL}(p_{\mathrm{d}} \,\|\, p_f) = \infty$ for the distribution $p_f$ of $f(z)$. (For distributions in general, the divergence is infinite if some set has positive probability under the first and probability 0 under the second.)
# :::
#
# :::{prf:proof}
# $\mathbb{R}^k$ is a countable union of closed unit cubes, and a countable union of sets of volume 0 has volume 0; so let $Q$ be one such cube. It is compact and convex, so $f$ has a Lipschitz constant $L$ on it. Cut $Q$ into $m^k$ cubes of side $1/m$. Each has diameter
# $\sqrt{k}/m$, so its image fits into a cube of side $2 L \sqrt{k} / m$. All of them together have volume at most $m^k\, (2 L \sqrt{k} / m)^D = (2 L \sqrt{k})^D\, m^{k - D}$, which tends to 0 as $m \to \infty$.
#
# If $x = f(z)$ had a density $g$, then $1 = P(x \in f(\mathbb{R}^k)) = \int_{f(\mathbb{R}^k)} g(x)\, dx = 0$. And if the data have a density, they fall into the set $f(\mathbb{R}^k)$ with probability 0, on which $p_f$ puts all its mass: its complement has probability 1 under the data and 0 under the sampler, so the divergence
# is infinite.
# :::
#
# The proof counts boxes, and so can we.
#
# **Predict, then run.** Cover the range of either sampler of the moons with boxes of side $\epsilon$ and add up their areas. By what factor does each sum shrink when $\epsilon$ is halved?

# %% tags=["check:thm-no-density"] tolerance={"rtol": 0.05}
line, square = torch.linspace(-3, 3, 500_000)[:, None], torch.linspace(-3, 3, 800)
noises = {
    "1 number": (curve, line),
    "2 numbers": (sheet, torch.cartesian_prod(square, square)),
}
sides = (0.4, 0.2, 0.1, 0.05)
print("                   the area shrinks by a factor of")
print("side halved from" + "".join(f"{side:8}" for side in sides[:-1]))
for name, (f, z) in noises.items():
    points, areas = torch.cat([f(part) for part in z.split(100_000)]).double(), []
    for side in sides:
        boxes = (points / side).floor().long()
        areas.append(side**2 * len((boxes[:, 0] * 1_000_000 + boxes[:, 1]).unique()))
    factors = [coarse / fine for coarse, fine in zip(areas, areas[1:])]
    print(f"{name:>9} of noise" + "".join(f"{factor:8.2f}" for factor in factors))
    if name == "1 number":  # the curve enters a new box once for every `side` it moves
        length = points.diff(dim=0).abs().sum().item()  # along the two axes
        ratio = areas[-1] / (sides[-1] * length)
    assert abs(factors[-1] - 2) < 0.05 if name == "1 number" else 1 < factors[-1] < 1.1
print(f"1 number: area of the smallest boxes / (side x length) {ratio:.2f}")
assert abs(ratio - 1) < 0.02


# %% [markdown]
# :::{dropdown} What to expect
# For two numbers of noise the area settles down: the factor tends to 1. For one number it halves with $\epsilon$, as $m^{k - D} = m^{-1}$ in the proof. The last line says why: the area is $\epsilon$ times the length of the curve, measured along the axes, which is fixed.
# :::
#
# #### *Optional:* a likelihood after all?
#
# One way out is to draw a few thousand samples, put a small Gaussian of width $h$ on each (a *Parzen window*), and call the resulting density the model's. For years papers reported it as "the log-likelihood" of samplers.
#
# :::{admonition} Watch out: "log-likelihood by Parzen windows"
# :class: pitfall
# This number belongs to the kernel, not to the model. For our painter of digits, the next cell finds anything from about $-190$ to $+8$ nats per test digit as $h$ goes from 0.06 to 0.4. And at *every* width a "model" that has merely memorised the 1,257 training digits scores better than the painter with ten thousand
# draws. {cite:t}`theis2016` show that with affordable numbers of samples the estimate is far off even for the truth, and ranks models wrongly.
# :::


# %% tolerance={"atol": 1.0, "rtol": 0.05}
def parzen(x, samples, h):
    """Mean log-density of x under Gaussians of width h around the samples, nats."""
    squares = torch.cdist(x, samples).square()  # [B, S]
    log_kernel = -squares / (2 * h**2) - x.shape[1] / 2 * math.log(2 * math.pi * h**2)
    return (log_kernel.logsumexp(1) - math.log(len(samples))).mean().item()


torch.manual_seed(2)
draws = painter(torch.randn(10_000, 8))
widths = (0.06, 0.1, 0.15, 0.2, 0.3, 0.4)
print("nats per test digit, h =" + "".join(f"{h:8}" for h in widths))
for name, kept in (("10,000 draws", draws), ("training digits", digits)):
    by_width = [parzen(digits_test, kept, h) for h in widths]
    print(f"{name:>24}" + "".join(f"{nats:8.1f}" for nats in by_width))


# %% [markdown]
# ### Exercises of Part 1
#
# :::{exercise} ★ The other divergence
# :label: ex-gm-reverse
# Fill the gap: the estimate of $\operatorname{KL}(p \,\|\, q)$ from draws $x \sim p$ and the log-densities of both at these draws. Then estimate $\operatorname{KL}(p_\theta \,\|\, p_{\mathrm{d}})$ for our mixture of the moons. Is it larger than the divergence printed above? Which of the two punishes stray draws?
# :::


# %%
def divergence(log_p, log_q):
    """An estimate of KL(p || q), nats, from log p and log q at draws of p, [N] each."""
    return ...  # your code


# %%
with torch.no_grad():
    of_draws = -two_moons.log_prob(drawn_moons), -log_mixture(drawn_moons, **theta)
estimate = divergence(-of_draws[1], -of_draws[0])
if estimate is not ...:  # a test of your code
    known_p, known_q = Normal(0.0, 1.0), Normal(1.0, 2.0)
    x_known = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    tested = divergence(known_p.log_prob(x_known), known_q.log_prob(x_known))
    assert abs(tested - (math.log(2) + 2 / 8 - 0.5)) < 0.01
    print(estimate)

# %% [markdown]
# :::{solution} ex-gm-reverse
# :class: dropdown
# `return (log_p - log_q).mean()`. The cell below prints both divergences with their standard errors: these draws cannot tell which is larger. A draw where $p_{\mathrm{d}}$ is tiny makes $\log (p_\theta / p_{\mathrm{d}})$ large, and only in this direction is the average taken over draws of the model; the other direction punishes data that the model misses.
# :::

# %% tags=["hide-cell"] tolerance={"atol": 0.03}
pairs = {
    "KL(p_theta || p_d)": of_draws[0] - of_draws[1],
    "KL(p_d || p_theta)": model_nll - entropy_d,
}
for name, ratios in pairs.items():
    error = ratios.std() / len(ratios) ** 0.5
    print(f"{name} = {ratios.mean():.3f} +- {error:.3f} nats")


# %% [markdown]
# :::{exercise} ★★ The energy distance in one dimension
# :label: ex-gm-energy
# Let $p$ and $q$ on the real line have distribution functions $F$ and $G$ and finite means. Show that $\mathcal{E}(p, q) = 2 \int (F - G)^2\, dt$, so that it is never negative and is 0 only for equal distributions. (Write $|x - y| = \int (\mathbf{1}[x \le t < y] + \mathbf{1}[y \le t < x])\, dt$.)
# :::
#
# :::{solution} ex-gm-energy
# :class: dropdown
# For independent $X \sim F$ and $Y \sim G$, taking the expectation inside (all terms are non-negative), $\mathbb{E}|X - Y| = \int \bigl( F (1 - G) + G (1 - F) \bigr)\, dt$. In the same way $\mathbb{E}|X - X'| = 2 \int F (1 - F)\, dt$ and $\mathbb{E}|Y - Y'| = 2 \int G (1 - G)\, dt$; all are finite because the means are. So
# $\mathcal{E} = \int \bigl( 2F + 2G - 4FG - 2F + 2F^2 - 2G + 2G^2 \bigr)\, dt = 2 \int (F - G)^2\, dt$. It is 0 only if $F = G$ almost everywhere, and, both being continuous from the right, everywhere. In more dimensions the same follows by averaging over all directions on which one projects.
# :::

# %% [markdown]
# (sec-gm-ask)=
# ## Part 2. Ask: what is a model of everything good for?
#
# (sec-supervised)=
# ### One question at a time: supervised learning
#
# Here is a digit, somewhere on a noisy background. Which digit is it? How far does it lean? Where is it? Which pixels belong to it? How would you describe it over the telephone? These are *classification*, *regression*, *detection*, *segmentation* and *captioning*. {numref}`fig-tasks` shows them answered, and the answers look quite different: a word from a list of ten, one real number, four of them, 784 yes-or-no decisions, a sentence.
#
# To a probabilist they look alike. There is an input $x$, an answer $y$, and a model of
#
# $$ p_\theta(y \mid x) , $$ (eq-supervised)
#
# fitted by {term}`maximum likelihood`: make $-\log p_\theta(y_n \mid x_n)$ small on average. All that changes is the space in which $y$ lives, and with it the distribution whose parameters the network computes ({numref}`tab-tasks`):
#
# :::{list-table} Five tasks of supervised learning: one model, five distributions of the answer.
# :header-rows: 1
# :name: tab-tasks
#
# * - task
#   - answer
#   - its distribution
#   - the loss
# * - classification
#   - one of 10
#   - categorical
#   - softmax cross-entropy
# * - regression
#   - a number, here the slant
#   - Gaussian, learned scale
#   - squared error, with the scale: $(y - \mu)^2 / 2\sigma^2 + \log\sigma$, plus a constant
# * - detection
#   - corners of a box in $\mathbb{R}^4$
#   - Gaussian, learned scales
#   - the same
# * - segmentation
#   - $\{0, 1\}^{784}$
#   - independent coins, one per pixel
#   - binary cross-entropy
# * - captioning
#   - a sentence
#   - each word given the words before it
#   - language-model loss
# :::
#
# With *several* objects in the picture the answer is a set, whose size is not known beforehand. A common solution lays a coarse grid over the picture and lets each cell answer for the objects centred in it: a coin for whether there is one, a Gaussian for its box, a categorical for its class {cite:p}`redmon2016`. The loss is, once more, a sum of $-\log$ probabilities.
#
# {term}`Supervised learning <supervised learning>` means that somebody supplied the $y$. Let us supply them: we shift digits of MNIST by up to four pixels and lay them on noise, so that mask, box and slant (how far a stroke moves to the right for each pixel that it rises) are known exactly. The sentence follows a rule: it says how much ink there is, and how the digit leans compared with others of its class.


# %% tags=["hide-input"]
def scenes(data, n, seed):
    """Shifted digits on noise [n, 1, 28, 28], the digits' masks and their boxes."""
    # a box is (left, top, right, bottom)
    g = torch.Generator().manual_seed(seed)
    wide = F.pad(data.x[:n, 0].float() / 255, (4, 4, 4, 4))  # [n, 36, 36]
    top, left = torch.randint(9, (2, n, 1), generator=g) + torch.arange(28)  # [n, 28]
    which = torch.arange(n)[:, None, None]
    digit = wide[which, top[:, :, None], left[:, None, :]]  # [n, 28, 28]
    blocks = torch.rand(n, 7, 7, generator=g)  # each becomes 4x4 pixels
    blocks = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)
    noise = 0.6 * blocks * torch.rand(n, 28, 28, generator=g)
    mask = digit > 0.5
    columns, rows = mask.any(1).float(), mask.any(2).float()  # where ink is, [n, 28]
    first = [columns.argmax(1), rows.argmax(1)]
    last = [28 - part.flip(1).argmax(1) for part in (columns, rows)]
    picture = torch.maximum(digit, noise)[:, None]
    return picture, mask[:, None].float(), torch.stack(first + last, 1).float()


WORDS = ["<end>", "a", "thin", "bold", "leaning", "left", "right"]
WORDS += ["zero", "one", "two", "three", "four"]
WORDS += ["five", "six", "seven", "eight", "nine"]


# %% tags=["hide-input"]
def describe(mask, labels):
    """Sentences as word numbers [n, 6], filled up with <end>, and slants [n, 1]."""
    m, axis = mask[:, 0], torch.arange(28.0)
    ink = m.sum((1, 2))
    # distances from the centre of the ink, [n, 28, 28] with dx
    dy = axis[:, None] - ((m.sum(2) * axis).sum(1) / ink)[:, None, None]
    dx = axis[None, :] - ((m.sum(1) * axis).sum(1) / ink)[:, None, None]
    # positive: the top leans right
    slant = -(m * dx * dy).sum((1, 2)) / (m * dy * dy).sum((1, 2))
    usual = torch.stack([slant[labels == d].mean() for d in range(10)])
    leans = slant - usual[labels]  # more than others of its kind
    sentences = torch.zeros(len(m), 6, dtype=torch.long)
    values = zip(ink.tolist(), leans.tolist(), labels.tolist())
    for i, (area, lean, label) in enumerate(values):
        words = ["a"] + ["thin"] * (area < 75) + ["bold"] * (area > 130)
        words += [WORDS[7 + label]]
        words += ["leaning", "right"] * (lean > 0.2)
        words += ["leaning", "left"] * (lean < -0.2)
        sentences[i, : len(words)] = torch.tensor([WORDS.index(word) for word in words])
    return sentences, slant[:, None]


def to_text(sentence):
    return " ".join(WORDS[i] for i in sentence if i)


# %% [markdown]
# One small network with two convolutional encoders, one for *what* (class, slant and sentence) and one for *where* (box and mask), returns the parameters of the five distributions. Its loss is the sum of five $-\log$ probabilities.


# %% tags=["hide-input"]
def halve(a, b):
    """A layer from a to b channels and half the resolution."""
    return nn.Sequential(nn.Conv2d(a, b, 4, stride=2, padding=1), nn.ReLU())


def upscale(a, b):
    """A layer from a to b channels and twice the resolution."""
    return nn.ConvTranspose2d(a, b, 4, stride=2, padding=1)


# %% tags=["hide-input"]
class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        encode = [halve(1, 16), halve(16, 32), nn.Flatten()]
        self.what = nn.Sequential(*encode, nn.Linear(32 * 49, 128), nn.ReLU())
        self.label, self.word = nn.Linear(128, 10), nn.Linear(128, len(WORDS))
        self.embed = nn.Embedding(len(WORDS), 32)
        self.gru = nn.GRU(32, 128, batch_first=True)
        self.coarse, self.fine = halve(1, 16), halve(16, 32)
        to_box = nn.Linear(32 * 49, 128), nn.ReLU(), nn.Linear(128, 4)
        self.box = nn.Sequential(nn.Flatten(), *to_box)
        self.log_scale = nn.Parameter(torch.zeros(4))
        self.up, self.mask = upscale(32, 16), upscale(32, 1)
        self.slant, self.slant_scale = nn.Linear(128, 1), nn.Parameter(torch.zeros(1))

    def where(self, x):
        """Distributions of the box and of the mask."""
        coarse = self.coarse(x)  # [B, 16, 14, 14]
        fine = self.fine(coarse)  # [B, 32, 7, 7]
        both = torch.cat([F.relu(self.up(fine)), coarse], 1)  # [B, 32, 14, 14]
        mask = self.mask(both)  # [B, 1, 28, 28], log-odds
        box = Independent(Normal(14 + 7 * self.box(fine), self.log_scale.exp()), 1)
        return box, Independent(Bernoulli(logits=mask), 3)


# %% tags=["hide-input"]
def losses(reader, batch):
    """-log p(y|x) of class, box, mask and sentence: [5, B], nats."""
    x, label, slant, box, mask, sentence = batch
    seen = reader.what(x)  # [B, 128]
    p_box, p_mask = reader.where(x)
    so_far = F.pad(sentence[:, :-1], (1, 0))  # each word sees those before it
    state, _ = reader.gru(reader.embed(so_far), seen[None])
    log_word = Categorical(logits=reader.word(state)).log_prob(sentence)  # [B, 6]
    counts = F.pad(sentence, (1, 0), value=1)[:, :-1] != 0  # up to the first <end>
    log_label = Categorical(logits=reader.label(seen)).log_prob(label)
    p_slant = Normal(reader.slant(seen), reader.slant_scale.exp())
    log_slant, log_sentence = p_slant.log_prob(slant).sum(1), (log_word * counts).sum(1)
    log_where = [p_box.log_prob(box), p_mask.log_prob(mask)]
    return -torch.stack([log_label, log_slant, *log_where, log_sentence])


# %% tolerance={"atol": 0.15, "rtol": 0.05}
grey, _, grey_test = load("mnist")  # uint8, [50000, 1, 28, 28], [10000, 1, 28, 28]


def all_answers(data, n, seed):
    x, mask, box = scenes(data, n, seed)
    sentence, slant = describe(mask, data.y[:n])
    return x, data.y[:n], slant, box, mask, sentence


train_scenes = all_answers(grey, 20_000, 0)
test_scenes = all_answers(grey_test, 2000, 1)
seed_everything(0)
reader = Reader()
with torch.no_grad():
    before = losses(reader, test_scenes).mean(1)
total, steps = lambda model, batch: losses(model, batch).sum(0), 600 * SCALE
options = {"lr": cosine(4e-3, steps, warmup=30), "device": DEVICE, "progress": False}
fit(reader, train_scenes, total, steps=steps, batch_size=64, **options)
with torch.no_grad():
    after = losses(reader, test_scenes).mean(1)
print("-log p(answer | x) on 2,000 test scenes, nats")
for name, a, b in zip(("class", "slant", "box", "mask", "sentence"), before, after):
    print(f"{name:>10}: {a:6.1f} before training, {b:5.2f} after")


# %% [markdown]
# The five numbers share a unit, nats, and may be added: together they are the negative log-probability of all five answers, taken as independent given $x$. That is why one loss, without hand-tuned weights, could train all heads. (For box and slant it is a *density* in units of pixels, which may exceed 1; so the slant's $-\log$ may be negative, and another unit of length would add a constant.) To answer, take the most probable class, the means of slant, box and mask, and a sentence word by word. The usual scores:


# %% tags=["hide-input"]
@torch.no_grad()
def read(reader, x):
    """Probabilities of classes; expected slant, box and mask; a sentence."""
    seen, (box, mask) = reader.what(x), reader.where(x)
    state, word, sentence = seen[None], torch.zeros(len(x), 1, dtype=torch.long), []
    for _ in range(6):
        output, state = reader.gru(reader.embed(word), state)
        word = reader.word(output).argmax(-1)  # [B, 1]
        sentence.append(word)
    sentence = torch.cat(sentence, 1)
    sentence[(sentence == 0).cumsum(1) > 0] = 0  # nothing after the first <end>
    label, slant = reader.label(seen).softmax(1), reader.slant(seen)
    return label, slant, box.mean, mask.mean, sentence


# %% tags=["hide-input"] tolerance={"rtol": 0.05}
area = lambda box: (box[:, 2:] - box[:, :2]).clamp(min=0).prod(1)
x_scene, label, slant, box, mask, sentence = test_scenes
p_label, slant_hat, box_hat, mask_hat, sentence_hat = read(reader, x_scene)
corners = (
    torch.maximum(box[:, :2], box_hat[:, :2]),
    torch.minimum(box[:, 2:], box_hat[:, 2:]),
)
shared = area(torch.cat(corners, 1))
inside, true = mask_hat > 0.5, mask > 0
both, either = (inside & true).sum((1, 2, 3)), (inside | true).sum((1, 2, 3))
print(f"class: {(p_label.argmax(1) == label).float().mean():.1%} correct")
error, spread = (slant - slant_hat).square().mean(), slant.var()
print(f"slant: {1 - error / spread:.1%} of the variance explained")
of_boxes = (shared / (area(box) + area(box_hat) - shared)).mean()
print(f"box: overlap / union {of_boxes:.2f} on average")
print(f"mask: overlap / union {(both / either).float().mean():.2f}")
flawless = (sentence == sentence_hat).all(1).float().mean()
print(f"sentence: {flawless:.1%} correct in every word")

# %% mystnb={"figure": {"caption": "Five tasks on the same test scenes. *Top:* the picture, with the predicted box. *Middle:* the predicted probability that a pixel belongs to the digit, with a line that leans by the predicted slant. *Below:* the most probable class, and a sentence chosen word by word. Each is read off a distribution $p_\\theta(y \\mid x)$.", "name": "fig-tasks"}, "image": {"alt": "Five columns. In the top row noisy pictures of digits with a box drawn around each digit; in the middle row the clean shapes of the digits as probabilities, with a slanted line through each; below each column the recognised digit and a short description such as a bold zero."}} tags=["hide-input"] tolerance={"rtol": 0.15}
fig, axes = plt.subplots(2, 5, figsize=(6.8, 3.4))
for i, (top, bottom) in zip((25, 34, 48, 53, 31), axes.T):
    for ax, picture in ((top, test_scenes[0][i, 0]), (bottom, mask_hat[i, 0])):
        ax.imshow(picture, cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
    a, b, c, d = box_hat[i].tolist()
    frame = {"fill": False, "ec": COLOURS["vermilion"], "lw": 2}
    top.add_patch(plt.Rectangle((a - 0.5, b - 0.5), c - a, d - b, **frame))
    rise = 10 * np.array([1, -1])  # rows count downwards
    middle = (a + c - 1) / 2, (b + d - 1) / 2
    run_over = middle[0] + slant_hat[i].item() * rise
    bottom.plot(run_over, middle[1] - rise, "--", color=COLOURS["vermilion"], lw=2)
    bottom.set(xlim=(-0.5, 27.5), ylim=(27.5, -0.5))
    words = to_text(sentence_hat[i]).replace(" leaning", "\nleaning")
    bottom.set_xlabel(f"{p_label[i].argmax()}\n{words}", fontsize=9.5)
axes[0, 0].set_ylabel("picture and box")
axes[1, 0].set_ylabel("mask and slant")
plt.show()

# %% [markdown]
# Two remarks before we let go of the labels. First, the larger $y$ gets, the less independent answers suffice. Nothing ties the five together, and now and then class and sentence contradict each other:

# %% tolerance={"atol": 2}
# the digit that the sentence speaks of
named = sentence_hat.where(sentence_hat >= 7, 0).amax(1) - 7
different = (named != p_label.argmax(1)).float().mean()
print(f"class and sentence name different digits in {different:.1%} of the scenes")
assert different > 0.02

# %% [markdown]
# The mask treats its 784 pixels as independent given the picture; if two shapes are possible, it can only be half sure of every pixel in which they differ ({ref}`ex-gm-mask`). The sentence does better, because each word is chosen in view of the words before it. *A conditional model with a large answer is a generative model of answers.* Second, whoever supplied the $y$ decided what the task was. Turn it around, from the sentence to the picture, and the same loss trains a painter that works to order.
#
# (sec-unsupervised)=
# ### No question at all: unsupervised learning
#
# Throw the labels away. What remains is a pile of pictures $x_1, \dots, x_N$, and {term}`unsupervised learning` asks about the distribution $p_{\mathrm{d}}(x)$ that they came from. The classical methods each ask one thing about it: *clustering*, whether there are groups ($k$-means); *dimension reduction*, in which directions the data vary (PCA); *density estimation*, how probable each $x$ is, which is our first objective. {numref}`fig-unsupervised` shows the first two on the digits, {numref}`fig-densities` the third in one dimension (how much ink?) and in two (the first two principal components).

# %%
images, test_images = grey.unit(), grey_test.unit()  # float32 in [0, 1]
X, X_test = images.x.flatten(1), test_images.x.flatten(1)  # [50000, 784], [10000, 784]
kmeans = KMeans(10, n_init=1, random_state=0).fit(X[:10_000].numpy())
cluster = torch.tensor(kmeans.predict(X_test.numpy())).long()
cluster_table = torch.zeros(10, 10)  # cluster by digit
cluster_table.index_put_((cluster, grey_test.y), torch.ones(()), accumulate=True)
pca = PCA(50, svd_solver="covariance_eigh").fit(X.numpy())
flat_plane = lambda x: torch.tensor(pca.transform(x.numpy())[:, :2]).float()
plane, plane_test = flat_plane(X), flat_plane(X_test)  # [N, 2]
centres = torch.tensor(kmeans.cluster_centers_)  # [10, 784]
centre_error = (X_test - centres[cluster]).square().sum(1).mean()
mean_error = (X_test - X.mean(0)).square().sum(1).mean()

# %% tolerance={"rtol": 0.02}
largest = cluster_table.max(1).values.sum() / cluster_table.sum()
held = pca.explained_variance_ratio_
g = torch.Generator().manual_seed(0)
by_chance = torch.zeros(20, 10, 10)  # the labels shuffled, twenty times
for shuffled in by_chance:
    labels = grey_test.y[torch.randperm(len(X_test), generator=g)]
    shuffled.index_put_((cluster, labels), torch.ones(()), accumulate=True)
chance = by_chance.amax(2).sum(1).mean() / len(X_test)
print(f"its most frequent digit makes up {largest:.1%} of a cluster, on average")
print(f"(the same with shuffled labels: {chance:.1%})")
print(f"squared error per image: {mean_error:.1f} for the mean image,")
print(f"                         {centre_error:.1f} for the nearest of ten centres")
two_hold, all_hold = held[:2].sum(), held.sum()
print(f"2 components of 784 hold {two_hold:.1%} of the variance,", end=" ")
print(f"50 hold {all_hold:.1%}")

# %% mystnb={"figure": {"caption": "Structure without labels. *Left:* the ten centres that $k$-means finds; several digits share a centre, and others get two. *Right:* test digits in the plane of the first two principal components, drawn as the digit that they are (the methods never saw this). Ones and zeros lie apart; in the middle everything overlaps.", "name": "fig-unsupervised"}, "image": {"alt": "Left: ten blurred average digits. Right: scatter plot of digits in a plane, zeros at the far right, ones at the far left, the other digits mixed between."}} tags=["hide-input"] tolerance={"figure": 0.35}
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3.2), width_ratios=(0.42, 1))
image_grid(centres.view(-1, 1, 28, 28), columns=2, ax=left)
for digit in range(10):
    shown = plane_test[grey_test.y == digit][:50]
    right.scatter(*shown.T, s=20, lw=0, color=plt.cm.tab10(digit), marker=f"${digit}$")
right.set(xlabel="first principal component", ylabel="second")
plt.show()

# %% [markdown]
# Clusters and components describe the data; a *density* can also be scored on data that it has not seen. In one or two dimensions everything works: count, smooth, or add a few Gaussians. The NLL on test data ranks them.

# %% tolerance={"rtol": 0.02}
ink, ink_test = X.sum(1), X_test.sum(1)  # one number per image, in pixels
ink_edges = torch.linspace(0, 400, 101)  # bins of 4 pixels
counts = torch.histogram(ink, ink_edges).hist + 0.01  # so that no bin has probability 0
ink_density = counts / counts.sum() / 4  # a density: it integrates to 1
log_density = {"histogram": ink_density.log()[(ink_test / 4).long().clamp(max=99)]}
log_density["Gaussian"] = Normal(ink.mean(), ink.std()).log_prob(ink_test)
seed_everything(0)
ink_units = ink[:, None] / 100  # in units of 100 pixels
mixture1 = MixtureOfGaussians((1,), 4).start_from(ink_units)
how = {"steps": 600, "batch_size": 500, "lr": cosine(0.05, 600), "progress": False}
fit(mixture1, ink_units, **how)
with torch.no_grad():
    of_units = mixture1.log_prob(ink_test[:, None] / 100)
    log_density["mixture of 4"] = of_units - math.log(100)
for name, values in log_density.items():
    print(f"ink: {-values.mean():.3f} nats per test image by the {name}")

gauss2 = MultivariateNormal(plane.mean(0), plane.T.cov())
mixture2 = MixtureOfGaussians((2,), 12, "full").start_from(plane)
fit(mixture2, plane, **how)
with torch.no_grad():
    print(f"plane: {-gauss2.log_prob(plane_test).mean():.3f} nats by one", end=" ")
    print(f"Gaussian, {-mixture2.log_prob(plane_test).mean():.3f} by a mixture of 12")

# %% mystnb={"figure": {"caption": "Density estimation where it is easy. *Left:* how much ink a digit takes, as a histogram, with one Gaussian and a mixture of four. *Right:* a mixture of twelve Gaussians over the first two principal components; each line encloses a region of higher density.", "name": "fig-densities"}, "image": {"alt": "Left: a right-skewed histogram with two curves; the mixture follows its lean to the left, the Gaussian does not. Right: contour lines with one ridge for the ones and a broad hill for the other digits, over a cloud of points."}} tags=["hide-input"] tolerance={"figure": 0.3, "rtol": 0.1}
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3))
left.stairs(ink_density, ink_edges, fill=True, color="#bbbbbb", label="histogram")
grid = torch.linspace(0, 280, 300)
with torch.no_grad():
    by_four = mixture1.log_prob(grid[:, None] / 100).exp() / 100
    plane_axes = torch.linspace(-7, 10, 90), torch.linspace(-6, 7, 90)
    field = mixture2.log_prob(torch.cartesian_prod(*plane_axes)).exp().view(90, 90).T
by_one = Normal(ink.mean(), ink.std()).log_prob(grid).exp()
left.plot(grid, by_one, "--", color=COLOURS["black"], label="Gaussian")
left.plot(grid, by_four, color=COLOURS["blue"], label="mixture of 4")
left.set(xlabel="ink of an image (pixels)", ylabel="density (1 / pixel)")
left.set(xlim=(0, 280), ylim=(0, 0.0125))
left.legend(fontsize=9, loc="upper right", handlelength=1.7)
right.plot(*plane_test[:500].T, ".", ms=1.5, color="#999999")
right.contour(*plane_axes, field, levels=8, cmap="cividis", linewidths=1.2)
right.set(xlabel="first principal component", ylabel="second")
right.set(xlim=(-6, 9), ylim=(-5.5, 6.5))
plt.show()

# %% [markdown]
# In one dimension a table of counts is as good as the best curve. What becomes of it in 784 dimensions is the subject of Part 4.
#
# (sec-gm-joint)=
# ### Any question: the joint distribution
#
# A model of $p(y \mid x)$ answers one question: *this* $y$ from *that* $x$. A generative model of both, the joint distribution $p(x, y)$, answers every question about these variables, because each conditional distribution is a ratio of sums or integrals over it:
#
# $$ p(y \mid x_{\text{seen}}) = \frac{\int p(x_{\text{seen}}, x_{\text{rest}}, y)\, d x_{\text{rest}}}{\sum_{y'} \int p(x_{\text{seen}}, x_{\text{rest}}, y')\, d x_{\text{rest}}} . $$ (eq-joint)
#
# Cover the right half of the picture: the left half must now suffice. Nothing is retrained: the missing pixels are integrated out. Take one of the crudest joint models, one Gaussian for each digit on pictures shrunk to 14x14, where the integral in {eq}`eq-joint` amounts to crossing out rows and columns of a covariance matrix:

# %%
shrunk = lambda split: F.avg_pool2d(split.x, 2).flatten(1).double()  # [N, 196]
small, small_test = shrunk(images), shrunk(test_images)
means = torch.stack([small[grey.y == d].mean(0) for d in range(10)])
covariances = torch.stack([small[grey.y == d].T.cov() for d in range(10)])
covariances = covariances + 0.02 * torch.eye(196)


def log_joint(x, seen):
    """log p(x_seen, y) for each y, [B, 10]; `seen` marks those of 196 pixels."""
    part = lambda d: MultivariateNormal(means[d][seen], covariances[d][seen][:, seen])
    log_p = torch.stack([part(d).log_prob(x[:, seen]) for d in range(10)], 1)
    return log_p - math.log(10)  # the ten digits are equally frequent


# %% [markdown]
# Its rivals are two networks trained to name the digit, five runs each. One has seen *whole* digits only (5,000 steps, 128 hidden units), and is shown the mean image where nothing is seen. The other, the *mask network*, was trained for this task: 15,000 steps on digits covered by random half-planes, with the mask as a second input (256 hidden units). We ask about covers of that kind, and about two that no network was trained for: the middle missing, and three pixels in four missing at random. (`python -m lvmlib.experiments.covered_digits` trains the rivals; it takes half an hour.)
#
# **Predict, then run.** Where does the joint model win: on whole digits, on half digits, or on the covers that no network was trained for? And whose probabilities can you trust? *Too sure by* is the number of percentage points by which the probability that a model states for its answer exceeds, on average, the share of its answers that are right.

# %% tolerance={"rtol": 0.01}
covered = json.loads((SHIPPED / "covered_digits.json").read_text())
rivals = ("whole_digits", "covered_digits")
print("                      right answers (%)                   too sure by (points)")
print("                   joint   whole digits  mask network    joint  whole   mask")
for name, seen in COVERS.items():
    log_p = log_joint(small_test, seen).log_softmax(1)
    correct = (log_p.argmax(1) == grey_test.y).double().mean().item()
    sure = [log_p.exp().amax(1).mean().item() - correct]
    print(f"{name:<17} {100 * correct:6.1f}", end="")
    for rival in rivals:
        runs = [100 * run[name]["accuracy"] for run in covered[rival]]
        print(f"{np.mean(runs):9.1f} +-{np.std(runs, ddof=1) / 5**0.5:4.1f}", end="")
        sure.append(np.mean([run[name]["overconfidence"] for run in covered[rival]]))
    print("  " + "".join(f"{100 * excess:7.1f}" for excess in sure))


# %% [markdown]
# :::{dropdown} What to expect
# Where the question is known in advance, train a network for it. On whole digits both networks beat the joint model by two points, and where half-planes are covered the mask network stays ahead (90.2% against 87.8% at half a picture). The network that never met a cover falls to 62% there. On the covers that no network was trained for, the joint model is ahead or level: with three pixels in four missing it gets 81.5% right, the mask network 72.7%, the other 21%; with the middle missing it ties with the mask network.
#
# Nor are good probabilities automatic. The mask network is well calibrated where it was trained (within a point or so), and off by 6 to 8 points, in either direction, where it was not; the crude Gaussian is too sure everywhere, by 3 to 23 points, because it misdescribes the pixels, and its conditional distributions inherit the error.
# :::
#
# So the case for a joint model is not that it classifies better. It is that *the question need not be known in advance*. The same ten Gaussians *complete* the picture ({numref}`fig-completion`), which no classifier does, and they score what they see: $\log p(x_{\text{seen}})$, the logarithm of the denominator of {eq}`eq-joint`, says how usual the visible part is.


# %%
def complete(x, seen):
    """The mean of p(x_rest | x_seen, y) for the most probable y."""
    y = log_joint(x[None], seen).argmax().item()
    C, m = covariances[y], means[y]
    weights = torch.linalg.solve(C[seen][:, seen], x[seen] - m[seen])
    return x.clone().masked_scatter_(~seen, m[~seen] + C[~seen][:, seen] @ weights)


# %% mystnb={"figure": {"caption": "One joint model, another question. From the left half of a test digit (top; the tinted part is covered) follow the class, and the expected right half given the class (middle, on a tint); at the bottom is the truth. Nothing was trained for this task.", "name": "fig-completion"}, "image": {"alt": "Three rows of ten small digits. Top: left halves only, the right halves tinted blue. Middle: the same with plausible blurred right halves. Bottom: the true digits."}} tags=["hide-input"] tolerance={"figure": 0.25, "rtol": 0.02}
half = torch.arange(196) % 14 < 7
shown = small_test[:10]
completed = torch.stack([complete(x, half) for x in shown])
rows = torch.stack([torch.where(half, shown, 0.0), completed, shown]).clamp(0, 1)
paper = torch.ones(3, 1, 3, 196)  # [row, digit, colour, pixel]
paper[:2, :, :, ~half] = torch.tensor([0.80, 0.90, 1.0])[:, None]  # what is covered
coloured = (paper * (1 - rows[:, :, None])).reshape(30, 3, 14, 14).float()
image_grid(coloured, columns=10, gap=1, row_labels=["seen", "completed", "truth"])
plt.show()
missed = {"completed": completed, "mean image": small.mean(0).expand_as(shown)}
for name, filled in missed.items():
    error = (filled - shown)[:, ~half].square().sum(1).mean()
    print(f"squared error of the hidden half, {name}: {error:.2f} per digit")
halves = small_test[:2000]
strange = halves.view(-1, 14, 14).flip(1).flatten(1)  # mirrored, top to bottom
usual, unusual = (log_joint(part, half).logsumexp(1) for part in (halves, strange))
higher = (usual > unusual).double().mean()
print(f"a left half is more probable than its mirror image: {higher:.1%}")


# %% [markdown]
# That is the bargain of this book: a harder learning problem, and in return a model that can answer questions not foreseen in training. It answers every question as well as it knows the joint distribution, no better; so most chapters are about learning that distribution better than ten Gaussians do.
#
# :::{list-table} What generative models are used for.
# :header-rows: 1
# :name: tab-uses
#
# * - use
#   - what is asked of the model
#   - for example
# * - sampling
#   - draw $x \sim p_\theta(x)$
#   - images (most chapters from here on), speech {cite:p}`vandenoord2016wavenet`, music {cite:p}`huang2019`, video {cite:p}`kalchbrenner2017`
# * - art, super-resolution, colour
#   - draw $x$ given a sentence, a small or a grey picture
#   - faces from 8x8 pixels {cite:p}`dahl2017`
# * - compression
#   - $-\log_2 p_\theta(x)$ bits for each $x$
#   - photographs {cite:p}`balle2018`; digits, in chapters 3, 4 and 12
# * - anomaly detection
#   - is $p_\theta(x)$ small? (a question with a trap, {cite:t}`nalisnick2019`)
#   - medicine: lesions in brain scans, by a model of healthy ones {cite:p}`pinaya2022`
# * - representation
#   - features inside the model, or $p_\theta(z \mid x)$
#   - classifying with few labels {cite:p}`chen2020`
# * - planning
#   - draw futures, given the past and one's own actions
#   - an agent that practises inside its own model {cite:p}`ha2018`
# * - science
#   - draw from a density known up to a constant, and reweight; search in a latent space
#   - molecules {cite:p}`noe2019,gomez2018`, quantum fields {cite:p}`albergo2019`
# :::
#
# ### Exercises of Part 2
#
# :::{exercise} ★ A mask that is half sure
# :label: ex-gm-mask
# A picture $x$ admits two masks, $A$ and $B$, which differ in $m$ pixels and are equally probable. What is the smallest expected $-\log p(y \mid x)$ that a model with independent pixels can reach, and what can any model reach? What does the best independent model draw?
# :::
#
# :::{solution} ex-gm-mask
# :class: dropdown
# Each of the $m$ pixels is 1 in exactly one of the two masks, so its marginal probability is $\frac12$, and the best independent model says so: it pays $\ln 2$ for each, $m \ln 2$ in all, and nothing for the pixels on which the masks agree. The best model of all knows that there are two, and pays $\ln 2$. A draw from the independent model takes each of the $m$ pixels from
# $A$ or $B$ by a coin of its own, and is equal to $A$ or to $B$ with probability $2^{1 - m}$ only.
# :::
#
# :::{exercise} ★★★ A density from a classifier
# :label: ex-gm-nce
# Train a classifier to tell data (label 1) from as many draws of a known density $q$ (label 0). Show that the best possible classifier has log-odds $\log p_{\mathrm{d}}(x) - \log q(x)$, so that adding $\log q$ turns a classifier into a density. Try it on the ink, with $q$ the fitted Gaussian and logistic regression on $t, t^2, t^3, t^4$ for the standardised ink $t$. (A density of $t$, divided by the standard deviation of the ink, is one of the ink.)
# Does the result integrate to 1?
# :::
#
# :::{solution} ex-gm-nce
# :class: dropdown
# With equal numbers of both, $P(1 \mid x) = p_{\mathrm{d}}(x) / (p_{\mathrm{d}}(x) + q(x))$ by Bayes' rule, whose log-odds are $\log p_{\mathrm{d}}(x) - \log q(x)$; and cross-entropy is minimised by the true conditional distribution.
# ```python
# from sklearn.linear_model import LogisticRegression
#
# t = ((ink - ink.mean()) / ink.std()).double()
# rng = np.random.default_rng(0)
# features = lambda t: np.stack([t, t**2, t**3, t**4], 1)
# both = np.concatenate([t.numpy(), rng.standard_normal(len(t))])
# labels = np.repeat([1, 0], len(t))
# judge = LogisticRegression(C=1e6, max_iter=1000).fit(features(both), labels)
# log_q = lambda t: -(t**2) / 2 - math.log(2 * math.pi) / 2
# log_density = lambda t: judge.decision_function(features(t)) + log_q(t)
# grid = np.linspace(-4, 6, 2001)
# print(np.trapezoid(np.exp(log_density(grid)), grid))
# t_test = ((ink_test - ink.mean()) / ink.std()).double().numpy()
# print(-log_density(t_test).mean() + math.log(ink.std()))
# ```
# The integral is 1.002, although nothing forced it to be 1, and the NLL is 4.933 nats, next to the mixture's 4.932. This is noise-contrastive estimation {cite:p}`gutmann2010`, and the second network of a GAN is such a classifier.
# :::

# %% [markdown]
# (sec-gm-demand)=
# ## Part 3. Demand: what does a model owe us, and how is it scored?
#
# (sec-owes)=
# ### What does a model owe us?
#
# We want an explicit $p_\theta(x)$. No computer could store a table of $2^{784}$ probabilities; a network with a million weights that computes them fits on a telephone. This is {term}`function approximation`. But not every network will do. The two objectives become three demands: the first two make approximation possible, the third drawing.
#
# 1. **It is a distribution, for every $\theta$.** $p_\theta(x) \ge 0$ and $\sum_x p_\theta(x) = 1$ (or the integral), not just for one: training passes through many.
# 2. **$\log p_\theta(x)$ and its gradient are cheap**, for training and scoring.
# 3. **Sampling is cheap.**
#
# The first is the hard one. Take any network with one output $f_\theta(x)$ and make it positive, $e^{f_\theta(x)}$. If this alone is taken for the likelihood, it is easily maximised: add a constant to $f$, and the "likelihood" of everything, data and noise alike, grows without bound. What is missing is the
# normaliser $Z(\theta) = \sum_x e^{f_\theta(x)}$, a sum of $2^{784}$ terms for a binary digit. Energy-based models {cite:p}`lecun2006` do without its value, at the price of Markov chains. All other explicit models are normalised by construction. The oldest construction writes the joint distribution as a product of small conditional ones.
#
# :::{prf:definition} Bayes net
# :label: def-bayes-net
# Let $x = (x_1, \dots, x_D)$, and give each $i$ a set of *parents* $\operatorname{pa}(i)$, such that the graph with an arrow from every parent to its child has no directed cycle. A **Bayes net** is the product $p_\theta(x) = \prod_{i=1}^{D} p_\theta(x_i \mid x_{\operatorname{pa}(i)})$, where each factor, for each value of the parents, is a distribution of $x_i$ {cite:p}`pearl1988`.
# :::
#
# :::{prf:theorem} A product of conditionals is normalised for every $\theta$
# :label: thm-net-normalised
# A Bayes net of discrete variables sums to 1, whatever functions of $\theta$ and of the parents the factors are. Drawing each $x_i$ from its factor, parents before children, draws from $p_\theta$.
# :::
#
# :::{prf:proof}
# The graph has no cycle, so the variables can be numbered with parents before children. Then $x_D$ is nobody's parent and appears in one factor only, $\sum_{x_D} p_\theta(x_D \mid x_{\operatorname{pa}(D)}) = 1$, and what remains is a Bayes net of $D - 1$ variables. Repeat until nothing is left but 1. The probability that the
# procedure draws $x$ is the product of the probabilities of its steps, which is $p_\theta(x)$.
# :::
#
# *Whatever functions*: the factors may be neural networks. Below, small networks with random weights compute the conditionals of ten binary variables, each from its parents only. We sum the product over all 1,024 states, for five settings of the weights. For comparison we also sum two functions that are not Bayes nets: $e^{f_\theta}$, and the same product with
# arrows from every variable to every other, where each factor is still a distribution but the graph has cycles.


# %% tags=["check:thm-net-normalised"]
def product_of_conditionals(parents, weights, x):
    """prod_i p(x_i | parents); row i of `parents` [D, D] marks the parents of x_i."""
    w1, w2 = weights  # [D, H, D], [D, H]: a small network for each variable
    hidden = torch.einsum("ihj,bij->bih", w1, x[:, None] * parents).tanh()
    logits = (hidden * w2).sum(2)  # [B, D]
    return Bernoulli(logits=logits).log_prob(x).sum(1).exp()


states = torch.tensor(list(itertools.product((0, 1), repeat=10))).double()  # [1024, 10]
ordered, circular = torch.ones(10, 10).tril(-1).double(), 1 - torch.eye(10).double()
print("sums over all 1,024 states:")
for seed in range(5):
    g = torch.Generator().manual_seed(seed)
    how = {"generator": g, "dtype": torch.float64}
    weights = [torch.randn(10, 16, 10, **how), torch.randn(10, 16, **how)]
    acyclic = product_of_conditionals(ordered, weights, states).sum()
    cyclic = product_of_conditionals(circular, weights, states).sum()
    f = (states @ weights[0][0].T).tanh() @ weights[1][0]
    total = f.exp().sum()
    others = f"circular {cyclic:6.3f}, exp(f) {total:7.1f}"
    print(f"theta {seed}: Bayes net {acyclic:.12f}, {others}")
    assert abs(acyclic - 1) < 1e-12 and abs(cyclic - 1) > 1e-3

# %% [markdown]
# (sec-score)=
# ### How is a model scored?
#
# On data that it has not seen. The **empirical negative log-likelihood** on test data is
#
# $$ \text{NLL} = -\frac1N \sum_{n=1}^N \log p_\theta(x_n) \quad \text{nats per example}, $$ (eq-nll)
#
# an estimate of the {term}`cross-entropy` $-\mathbb{E}_{p_{\mathrm{d}}}[\log p_\theta(x)] = H(p_{\mathrm{d}}) + \operatorname{KL}(p_{\mathrm{d}} \,\|\, p_\theta)$: the entropy of the source, which no model can beat on average, plus what this model wastes (chapter 1). It is reported in several units ({numref}`tab-units`):
#
# :::{list-table} Units of the score, with $D$ the number of dimensions of $x$.
# :header-rows: 1
# :name: tab-units
# :class: by-row
#
# * - unit
#   - formula
#   - for
# * - nats
#   - $-\log p_\theta(x)$
#   - binary images, densities
# * - bits
#   - $-\log_2 p_\theta(x) = -\log p_\theta(x) / \ln 2$
#   - files
# * - bits per dimension
#   - $-\log p_\theta(x) / (D \ln 2)$
#   - colour and grey images, any size
# * - perplexity
#   - $\exp(-\log p_\theta(x) / D)$
#   - text of $D$ words: as uncertain as a uniform choice among so many
# :::
#
# In `lvmlib` every `log_prob` returns nats for each example, and `lvmlib.base.bits_per_dim` is the one place that converts. Let us use it on MNIST with all 256 grey levels and four simple models: the uniform distribution, and tables of counts with one histogram for all pixels, one for each pixel, or one for each value of the previous pixel.

# %%
pixels, pixels_test = grey.x.flatten(1).long(), grey_test.x.flatten(1).long()  # 0..255


def conditional_table(context, value, contexts):
    """log p(value | context) [contexts, 256] by counting, 1/256 added to each count."""
    cell = context.flatten() * 256 + value.flatten()
    counts = torch.bincount(cell, minlength=contexts * 256).view(contexts, 256)
    return torch.log((counts + 1 / 256) / (counts.sum(1, keepdim=True) + 1))


position = torch.arange(784).expand_as(pixels)
shift = lambda x: F.pad(x, (1, 0))[:, :-1]  # the pixel before, in reading order
contexts = {
    "one histogram": (torch.zeros_like, 1),
    "one for each pixel": (lambda x: position[: len(x)], 784),
    "given the pixel before": (shift, 256),
}
scores = {"uniform": torch.full((len(pixels_test),), -784 * math.log(256))}
for name, (context, n) in contexts.items():
    table = conditional_table(context(pixels), pixels, n)
    scores[name] = table[context(pixels_test), pixels_test].sum(1)  # [10000], nats

# %%
print("model                    nats/image  bits/image  bits/dim   standard error")
for name, log_p in scores.items():
    bits = bits_per_dim(log_p, (784,))
    error = bits.std() / len(bits) ** 0.5
    nats = -log_p.mean()
    print(f"{name:<24} {nats:9.1f} {nats / math.log(2):11.1f}", end="")
    print(f" {bits.mean():9.3f} {error:12.3f}")
raw = grey_test.x[:2000].numpy().tobytes()
for name, file in (("zlib", zlib.compress(raw, 9)), ("lzma", lzma.compress(raw))):
    per_image, per_pixel = 8 * len(file) / 2000, 8 * len(file) / len(raw)
    print(f"{name:<24} {'':9} {per_image:11.1f} {per_pixel:9.3f}    (a file of 2,000)")

# %% [markdown]
# The last model involves no network and looks at nothing but the previous pixel; yet it lands between two general-purpose compressors, and arithmetic coding (chapter 1) would turn its score into a file of that size, for a receiver who has the table. (The comparison is not on equal terms: the tables were counted on 50,000 images, while each compressor starts from nothing on its file of 2,000.) With 10,000 test images the standard error is at most 0.004, so that two models 0.02 bits per dimension apart can be
# ranked.
#
# :::{admonition} Watch out: "bits per dimension $= \log p / D$"
# :class: pitfall
# Two things are missing, and both slips are common. With both slips the last model scores $-0.98$, and whoever minimises that gets the worst model there is. With the *minus sign* but without the $\ln 2$ (nats called bits) it scores 0.98 and seems to beat lzma by far; the true figure is 1.42, behind lzma. The slip by a factor of 0.69 is larger than most
# differences between published models.
# :::

# %%
log_p = scores["given the pixel before"].mean()
print(f"log p / D = {log_p / 784:.3f}    -log p / D = {-log_p / 784:.3f}", end="    ")
print("-log p / (D ln 2) = ", end="")
print(f"{bits_per_dim(log_p, (784,)):.3f} bits/dim")

# %% [markdown]
# #### How far apart are training and test score?
#
# Compare both scores with the best that the family can reach on fresh data. On average the training score is better than that, and the test score worse; in the simplest case by the same amount. (The average is over data sets. For a single pair of training and test set the gap can have the other sign, as MNIST shows below, where tables with few parents score better on the test set.)
#
# :::{prf:theorem} The sign of the generalisation gap
# :label: thm-gap
# Let the training data $x_1, \dots, x_N$ and a new $x$ be independent draws from $p_{\mathrm{d}}$, let $L(\theta) = -\mathbb{E}\log p_\theta(x)$ be finite at its minimum $\theta^\star$, and let $\hat\theta$ maximise the likelihood of the training data. Then
#
# $$ \mathbb{E}\Bigl[-\frac1N \sum_n \log p_{\hat\theta}(x_n)\Bigr] \;\le\; L(\theta^\star) \;\le\; \mathbb{E}\bigl[-\log p_{\hat\theta}(x)\bigr] , $$ (eq-gap)
#
# where the expectations run over the training data and $x$. For discrete data also $L(\theta^\star) \ge H(p_{\mathrm{d}})$.
# :::
#
# :::{prf:proof}
# On the training data $\hat\theta$ is at least as good as $\theta^\star$, by definition: $-\frac1N \sum_n \log p_{\hat\theta}(x_n) \le -\frac1N \sum_n \log p_{\theta^\star}(x_n)$. Take expectations; the right side becomes $L(\theta^\star)$. For the second inequality, $\hat\theta$ depends on the training data only, so given these
# the expectation of $-\log p_{\hat\theta}(x)$ over the new $x$ is $L(\hat\theta) \ge L(\theta^\star)$. And $L(\theta) = H(p_{\mathrm{d}}) + \operatorname{KL}(p_{\mathrm{d}} \,\|\, p_\theta) \ge H(p_{\mathrm{d}})$.
# :::
#
# For $\mathcal{N}(\mu, I)$ in $D$ dimensions with unknown mean, all three can be computed: $\mathbb{E}\lVert \hat\mu - \mu \rVert^2 = D/N$, and the two sides of {eq}`eq-gap` lie $D / (2N)$ below and above the entropy $\frac D2 \log 2\pi e$. This is the number of parameters divided by twice the number of examples, and the same holds approximately for every regular model that contains
# the truth, is fitted to its maximum and has many more examples than parameters {cite:p}`akaike1974`. None of the models below meets all of these conditions, so we shall measure their gaps.

# %% tags=["check:thm-gap"]
D, N = 20, 50
g = torch.Generator().manual_seed(0)
sets = torch.randn(20_000, N, D, generator=g)  # 20,000 training sets
new = torch.randn(20_000, D, generator=g)
best = sets.mean(1, keepdim=True)  # maximum likelihood
train_nll = (sets - best).square().sum(2).mean(1) / 2 + D / 2 * math.log(2 * math.pi)
test_nll = (new - best[:, 0]).square().sum(1) / 2 + D / 2 * math.log(2 * math.pi)
entropy = D / 2 * math.log(2 * math.pi * math.e)
print(f"entropy {entropy:.3f} nats, D / (2N) = {D / (2 * N)}")
expected_nll = {
    "training": (train_nll, entropy - D / (2 * N)),
    "test": (test_nll, entropy + D / (2 * N)),
}
for name, (nll, expected) in expected_nll.items():
    error = nll.std() / len(nll) ** 0.5
    print(f"{name:>8}: {nll.mean():.3f} +- {error:.3f} nats (expected {expected:.3f})")
    assert abs(nll.mean() - expected) < 4 * error


# %% [markdown]
# ### Exercises of Part 3
#
# :::{exercise} ★ The sign and the ln 2
# :label: ex-gm-bits
# Fill the gap: bits per dimension from $\log p_\theta(x)$ in nats. What do the four models of the table above score for the first test image?
# :::


# %%
def to_bits_per_dim(log_prob, dims):
    """From log p(x) in nats, [B], and the number of dimensions."""
    return ...  # your code


# %%
one_image = torch.stack([value[0] for value in scores.values()])  # [4]
converted = to_bits_per_dim(one_image, 784)
if converted is not ...:  # a test of your code
    assert torch.allclose(converted, bits_per_dim(one_image, (784,)), atol=1e-4)
    assert abs(converted[0] - 8) < 1e-3  # the uniform distribution on 256 levels
    print(converted)

# %% [markdown]
# :::{solution} ex-gm-bits
# :class: dropdown
# `return -log_prob / (dims * math.log(2))`. The cell below prints the four.
# :::

# %% tags=["hide-cell"] tolerance={"rtol": 0.001}
print([round(value.item(), 3) for value in -one_image / (784 * math.log(2))])

# %% [markdown]
# :::{exercise} ★ Units
# :label: ex-gm-units
# Convert: (a) 80 nats per binary 28x28 image to bits per dimension; (b) 3 bits per dimension on 32x32 colour images to nats per image; (c) a perplexity of 20 per word, with words of 5.5 characters on average (the space included), to bits per character. (d) Model A reaches 2.95 bits per dimension and model B 2.94 on 32x32 colour images. How much more probable
# does B find a typical test image?
# :::
#
# :::{solution} ex-gm-units
# :class: dropdown
# (a) $80 / (784 \ln 2) = 0.147$. (b) $3 \cdot 3072 \ln 2 = 6388$ nats. (c) $\log_2 20 / 5.5 = 0.786$ bits per character. (d) By a factor of $2^{0.01 \cdot 3072} = 2^{30.7} \approx 1.8 \cdot 10^9$. Whether this is "a small improvement" depends on what you want to do with it.
# :::
#
# :::{exercise} ★★ How many bins?
# :label: ex-gm-bins
# Fit histograms of 5, 10, 20, ..., 640 equal bins on $[0, 400]$ to the ink of the first 1,000 training digits, with 0.1 added to each count, and score them on the test digits. How far apart are the best number of bins for training and for test? Explain the shape of both curves with {prf:ref}`thm-gap`.
# :::
#
# :::{solution} ex-gm-bins
# :class: dropdown
# ```python
# few = ink[:1000]
# for K in (5, 10, 20, 40, 80, 160, 320, 640):
#     width = 400 / K
#     counts = torch.histc(few, K, 0, 400) + 0.1
#     log_p = (counts / counts.sum() / width).log()
#     score = lambda v: -log_p[(v / width).long().clamp(max=K - 1)].mean().item()
#     print(K, score(few), score(ink_test))
# ```
# Each bin of the coarser histograms is a union of bins of the finer ones, so on the training data more bins are (but for the 0.1) never worse: 4.84 nats with 40 bins, 4.74 with 640. On the test data 40 bins are best, at 4.97; 640 need 5.12. The gap opens with the number of parameters over the number of examples.
# :::

# %% [markdown]
# (sec-gm-try)=
# ## Part 4. Try: why do the first ideas fail on 784 pixels?
#
# (sec-histogram)=
# ### Why not simply count?
#
# The most literal model of the data is the data itself. The {term}`empirical distribution` gives each of the $N$ training examples the probability $1/N$; its training NLL is $\log N$, 10.8 nats for 50,000 images, and no distribution over images, which are discrete, has a lower one. But its test NLL is infinite as soon as one test image is missing from the training set, and all of them are:

# %%
known = {image.tobytes() for image in grey.x.numpy()}
found = sum(image.tobytes() in known for image in grey_test.x.numpy())
print(f"{found} of the {len(grey_test):,} test images are among the training images")

# %% [markdown]
# A first remedy is to sort the data into bins. The result is the histogram, and it is not an ad hoc choice.
#
# :::{prf:theorem} The histogram is the maximum-likelihood estimate
# :label: thm-histogram
# Divide a region that contains all $N$ data into bins of volumes $v_1, \dots, v_K > 0$, of which bin $j$ contains $n_j$ of them. Among all densities that are constant on each bin and 0 outside, the likelihood is largest for
#
# $$ \hat p(x) = \frac{n_j}{N v_j} \quad \text{for } x \text{ in bin } j, $$ (eq-histogram)
#
# and only for this one. With $\hat q_j = n_j / N$ its training NLL is $H(\hat q) + \sum_j \hat q_j \log v_j$.
# :::
#
# :::{prf:proof}
# Such a density is given by the masses $q_j \ge 0$, $\sum_j q_j = 1$, of the bins; its value in bin $j$ is $q_j / v_j$. Its mean log-likelihood is $\sum_j \hat q_j \log (q_j / v_j) = \sum_j \hat q_j \log q_j - \sum_j \hat q_j \log v_j$, and by Gibbs' inequality $\sum_j \hat q_j \log q_j \le \sum_j \hat q_j \log \hat q_j$, with equality only
# for $q = \hat q$.
# :::
#
# A numerical optimiser should find the same masses. We let L-BFGS fit the logits of twelve bins of unequal width to the ink of the digits.

# %% tags=["check:thm-histogram"]
edges = torch.tensor([0, 20, 35, 50, 60, 70, 80, 95, 110, 130, 160, 200, 400]).double()
widths, bin_of = edges.diff(), torch.bucketize(ink.double(), edges, right=True) - 1
counts = torch.bincount(bin_of, minlength=12).double()
logits = torch.zeros(12, dtype=torch.float64, requires_grad=True)
settings = {"tolerance_grad": 1e-12, "line_search_fn": "strong_wolfe"}
optimizer = torch.optim.LBFGS([logits], max_iter=500, **settings)


def closure():
    optimizer.zero_grad()
    loss = -(counts / counts.sum() * (logits.log_softmax(0) - widths.log())).sum()
    loss.backward()
    return loss


optimizer.step(closure)
frequency = counts / counts.sum()
formula = info.entropy(frequency.numpy(), base=math.e)
formula += (frequency * widths.log()).sum().item()
error = (logits.softmax(0) - frequency).abs().max().item()
print(f"NLL {closure().item():.6f} nats by L-BFGS, {formula:.6f} by the formula")
print(f"largest difference of the masses below 1e-5: {error < 1e-5}")
assert error < 1e-5 and abs(closure().item() - formula) < 1e-9

# %% [markdown]
# #### The curse of dimensionality, measured
#
# In one dimension the histogram was as good as any model. Now take a window of $d$ pixels in the middle of binary digits and let every pattern of black and white be a bin: $2^d$ of them. How often does a test image show a pattern that none of the 50,000 training images had? The column *predicted* comes from the training images alone, as the number of patterns that occur exactly once among them, divided by 50,000; the optional stretch below proves why. For the test score a small number is added to each count, or unseen patterns would make it infinite; we take the best of seventeen such numbers on the test images, which flatters the histogram.

# %%
binary, binary_valid, binary_test = load("mnist", binarize="static")
to_bool = lambda part: part.x[:, 0].bool().numpy()  # [N, 28, 28]
B, B_test = map(to_bool, (binary, binary_test))


def patterns(x, h, w):
    """The middle h x w window of each image as one whole number below 2^(h w)."""
    top, left = 14 - h // 2, 14 - w // 2
    bits = x[:, top : top + h, left : left + w].reshape(len(x), -1)
    return bits @ (1 << np.arange(h * w))


# %%
def window_scores(h, w):
    """Share of unseen test patterns, its prediction, and three NLLs per pixel."""
    train, test, d = patterns(B, h, w), patterns(B_test, h, w), h * w
    values, counts = np.unique(train, return_counts=True)
    where = np.searchsorted(values, test).clip(max=len(values) - 1)
    n = np.where(values[where] == test, counts[where], 0)  # how often each was seen
    add = 10.0 ** -np.arange(17)[:, None]  # to each of 2^d counts, [17, 1]
    smoothed = -np.log((n + add) / (len(train) + add * 2.0**d)).mean(1) / d
    bits = lambda number: number[:, None] >> np.arange(d) & 1  # binary digits, [N, d]
    pixel = bits(train).mean(0)
    coins = -np.log(np.where(bits(test), pixel, 1 - pixel)).mean()
    histogram = info.entropy(counts / len(train), base=math.e) / d
    predicted = (counts == 1).sum() / len(train)
    # the best of the seventeen is chosen on the test images
    return (n == 0).mean(), predicted, histogram, smoothed.min(), coins


# %%
windows = [(k // 2, (k + 1) // 2) for k in range(2, 15)]  # 1 x 1, 1 x 2, 2 x 2, ...
windows.append((7, 9))
d = [h * w for h, w in windows]
unseen, predicted, *window_nll = np.array([window_scores(h, w) for h, w in windows]).T
print("                    unseen test patterns    NLL per pixel")
print("pixels     bins     measured   predicted   training    test")
for i in (0, 2, 4, 6, 8, 10, 12, 13):
    shares = f"{unseen[i]:12.2%} {predicted[i]:11.2%}"
    of_train, of_test, _ = (kind[i] for kind in window_nll)
    print(f"{d[i]:6d} {2.0 ** d[i]:8.1e} {shares} {of_train:10.3f} {of_test:7.3f}")

# %% mystnb={"figure": {"caption": "The curse of dimensionality on real digits. *Left:* share of test windows whose exact pattern is not among the 50,000 training images (points), and its prediction from the training images alone (line). *Right:* NLL of the histogram per pixel; from about 12 pixels on training and test part company, and at 63 the histogram is no better than independent pixels (dotted).", "name": "fig-curse"}, "image": {"alt": "Left: the share of unseen patterns rises along an S-shaped curve from 0 below 10 pixels to 95 per cent at 63; points and line coincide. Right: training NLL falls steadily; test NLL falls at first and then rises; and meets the nearly level dotted line for independent pixels."}} tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3))
left.plot(d, predicted, color=COLOURS["sky"], label="predicted")
left.plot(d, unseen, "o", color=COLOURS["vermilion"], label="measured")
left.set(xlabel="pixels in the window", ylabel="share of unseen patterns")
left.set(xlim=(0, 64), ylim=(-0.03, 1))
left.legend(loc="upper left")
kinds = {"training": "-", "test": "--", "independent pixels, test": ":"}
for values, (name, style) in zip(window_nll, kinds.items()):
    right.plot(d, values, style, label=name)
right.set(xlabel="pixels in the window", ylabel="nats per pixel")
right.set(xlim=(0, 64), ylim=(0, 0.72))
right.legend(loc="center left", bbox_to_anchor=(0, 0.2), fontsize=9)
plt.show()

# %% [markdown]
# The prediction is close, though it uses no test image. Between 12 and 40 pixels somewhat fewer test patterns are new than predicted (at 25 pixels 33.4% against 36.0%, with a standard error of 0.5%). The prediction assumes that both sets come from one distribution; MNIST's test digits were written by other people {cite:p}`lecun1998`.
#
# With sixteen pixels the histogram is far better than independent pixels. With sixty-three, 95 test patterns in 100 are new to it, and its excellent training score is mere memorisation. A whole digit has 784 pixels and $2^{784} \approx 10^{236}$ bins, which no amount of data can fill. To say anything about a pattern never seen, a model must *generalise*: treat some
# patterns like others. The rest of this chapter tries two ways: assume that each variable depends directly on few others (Bayes nets), or compute probabilities by functions that are smooth in their inputs (networks, mixtures).

# %% [markdown]
# #### *Optional:* why training images predict what is unseen
#
# :::{prf:theorem} How much is still unseen
# :label: thm-good-turing
# Let $X_1, \dots, X_N$ be independent draws from one discrete distribution, and $S$ the number of values that occur exactly once among them. Then
#
# $$ P(X_N \notin \{X_1, \dots, X_{N-1}\}) = \frac{\mathbb{E}[S]}{N} . $$ (eq-good-turing)
#
# The number of values seen exactly once, divided by $N$, is an unbiased estimate of the probability that the next observation after $N - 1$ is new.
# :::
#
# :::{prf:proof}
# $S$ counts the $n$ for which $X_n$ differs from all the others, so $\mathbb{E}[S] = \sum_{n=1}^N P(X_n \notin \{X_m : m \ne n\})$. The draws are independent and alike, so all $N$ terms are the same, and the last one is $P(X_N \notin \{X_1, \dots, X_{N-1}\})$.
# :::
#
# Turing found this during the war, and {cite:t}`good1953` published it. (The proof uses only that $X_1, \dots, X_N$ are exchangeable.) For a known distribution the probability is $\sum_k p_k (1 - p_k)^{N-1}$, and we can check.

# %% tags=["check:thm-good-turing"]
p = 0.97 ** np.arange(400) * 0.03
p[-1] += 1 - p.sum()
rng = np.random.default_rng(0)
for N in (10, 100, 1000):
    once = [(rng.multinomial(N, p) == 1).sum() / N for _ in range(4000)]
    exact = (p * (1 - p) ** (N - 1)).sum()
    error = np.std(once) / len(once) ** 0.5
    print(f"N = {N:4d}: unseen {exact:.4f} exactly,", end=" ")
    print(f"{np.mean(once):.4f} +- {error:.4f} by values seen once")
    assert abs(np.mean(once) - exact) < 4 * error


# %% [markdown]
# (sec-bayes-nets)=
# ### Which independence is worth assuming?
#
# The chain rule, $p(x) = \prod_i p(x_i \mid x_1, \dots, x_{i-1})$, assumes nothing, but its last table alone has $2^{783}$ rows. A Bayes net needs fewer, because it declares that most of the earlier variables do not matter. In the extreme case none of them does, and the pixels are independent. In the next simplest case one does, the previous pixel (a Markov chain). But why
# that one? If each pixel may have any one parent, the graph is a tree, and the best of all trees can be found by counting alone.
#
# :::{prf:theorem} The best tree is a maximum spanning tree (Chow and Liu)
# :label: thm-chow-liu
# Let $\hat p$ be the empirical distribution of $N$ observations of discrete variables $x_1, \dots, x_D$, with $\hat H$ and $\hat I$ its entropies and mutual informations. For a tree $T$ on the variables, directed away from any root, the largest likelihood is reached with $p(x_i \mid x_{\operatorname{pa}(i)}) = \hat p(x_i \mid x_{\operatorname{pa}(i)})$, and there
#
# $$ \text{NLL}(T) = \sum_{i=1}^{D} \hat H(x_i) - \sum_{(i, j) \in T} \hat I(x_i; x_j) . $$ (eq-chow-liu)
#
# So the tree with the largest likelihood is a spanning tree of largest total mutual information, and the choice of the root does not matter.
# :::
#
# :::{prf:proof}
# Group the log-likelihood by factors:
#
# $$ \frac1N \sum_n \log p(x_n) = \sum_i \sum_{x_i, x_{\operatorname{pa}(i)}} \hat p(x_i, x_{\operatorname{pa}(i)}) \log p(x_i \mid x_{\operatorname{pa}(i)}) . $$
#
# The tables are separate parameters, so each term is maximised by itself, for each value of the parent; by Gibbs' inequality the maximum is at $\hat p(x_i \mid x_{\operatorname{pa}(i)})$,
# with value $-\hat H(x_i \mid x_{\operatorname{pa}(i)}) = -\hat H(x_i) + \hat I(x_i; x_{\operatorname{pa}(i)})$ (for the root, which has no parent, $-\hat H(x_i)$). Add them up. The first sum of {eq}`eq-chow-liu` is the same for all trees, and the second is symmetric in $i$ and $j$, so directions do not enter.
# :::
#
# {cite:t}`chow1968` proved this and applied it to hand-printed numerals. On $D$ pixels there are $D^{D-2}$ trees (Cayley's formula), each coded by $D - 2$ numbers. On five pixels that makes $5^3 = 125$, few enough to score them all, each by multiplying its tables.


# %%
def pairwise_information(x, a=0.0):
    """Mutual information of binary columns, nats [D, D]; `a` is added to each count."""
    n11 = (x.T @ x).double()
    n10 = n11.diag()[:, None] - n11  # the first is 1, the second 0
    n01, n00 = n10.T, len(x) - n11 - n10 - n10.T
    joint = torch.stack([n00, n01, n10, n11]).view(2, 2, *n00.shape) + a  # [2, 2, D, D]
    joint = joint / joint.sum((0, 1))
    product = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return torch.xlogy(joint, joint / product).sum((0, 1))


# %%
def configuration(rows, parent):
    """The values of the parents as one whole number: [N]."""
    number = np.zeros(rows.shape[1], dtype=np.int32)
    for j in parent:
        number = 2 * number + rows[j]
    return number


# %%
class TableNet:
    """A Bayes net of binary variables; `parents[i]` lists the parents of variable i.

    Each has a table of counts, to which `a` is added: nothing has probability 0.
    """

    def __init__(self, x, parents, a=0.5):
        rows = np.ascontiguousarray(x.T, dtype=np.int32)
        self.parents, self.p = parents, []
        for i, parent in enumerate(parents):
            given, size = configuration(rows, parent), 2 ** len(parent)
            n = np.bincount(given, minlength=size)
            ones = np.bincount(given[rows[i] == 1], minlength=size)
            self.p.append((ones + a) / (n + 2 * a))  # p(x_i = 1 | parents)

    def log_prob(self, x):
        rows, total = np.ascontiguousarray(x.T, dtype=np.int32), 0.0
        for i, parent in enumerate(self.parents):
            p = self.p[i][configuration(rows, parent)]
            total = total + np.log(np.where(rows[i] == 1, p, 1 - p))
        return total  # [N], nats


# %% tags=["check:thm-chow-liu"]
five = B[:, [8, 11, 14, 17, 20], [10, 12, 15, 17, 18]].astype(np.float32)  # [50000, 5]
I = pairwise_information(torch.tensor(five))
H = sum(info.entropy([p, 1 - p], base=math.e) for p in five.mean(0).astype(float))
trees = {}
for code in itertools.product(range(5), repeat=3):  # each triple codes one tree
    tree = nx.from_prufer_sequence(list(code))
    order = list(nx.bfs_edges(tree, 0))
    parents = [[next((a for a, b in order if b == i), None)] for i in range(5)]
    net = TableNet(five, [[] if p == [None] else p for p in parents], a=1e-9)
    nll = -net.log_prob(five).mean()  # by multiplying tables
    by_formula = H - sum(I[a, b].item() for a, b in tree.edges)
    assert abs(nll - by_formula) < 1e-6
    trees[frozenset(map(frozenset, tree.edges))] = nll
best = nx.maximum_spanning_tree(nx.from_numpy_array(I.numpy() * (1 - np.eye(5))))
found = trees[frozenset(map(frozenset, best.edges))]
values = sorted(trees.values())
print(f"{len(trees)} trees, NLL from {values[0]:.4f} to {values[-1]:.4f} nats")
print(f"maximum spanning tree: {found:.4f} nats")
assert found == values[0] and len(trees) == 125

# %% [markdown]
# On all 784 pixels there are $784^{782}$ trees, and the best one is found in a fraction of a second.

# %%
x, x_test = binary.x.flatten(1), binary_test.x.flatten(1)  # float32 0/1, [N, 784]
xb, xb_test = B.reshape(-1, 784), B_test.reshape(-1, 784)  # the same as bool
I = pairwise_information(x, a=0.5).fill_diagonal_(0)
spanning = minimum_spanning_tree(-I.numpy())  # scipy minimises
root = 14 * 28 + 14
tree_order, predecessor = breadth_first_order(spanning, root, directed=False)
tree_parents = [[int(p)] if p >= 0 else [] for p in predecessor]
depth = np.zeros(784, dtype=int)
for i in tree_order[1:]:
    depth[i] = depth[predecessor[i]] + 1

nets = {
    "independent pixels": TableNet(xb, [[]] * 784),
    "Markov chain": TableNet(xb, [[i - 1] if i else [] for i in range(784)]),
    "best tree": TableNet(xb, tree_parents),
}
both_nll = lambda net: [-net.log_prob(part).mean() for part in (xb[:10_000], xb_test)]
net_nll = {name: both_nll(net) for name, net in nets.items()}
for name, (a, b) in net_nll.items():
    print(f"{name:>18}: {a:6.2f} nats per training image, {b:6.2f} per test image")
print(f"the tree is {depth.max()} levels deep;", end=" ")
print(f"its edges carry {-spanning.sum():.1f} nats of mutual information")

# %% mystnb={"figure": {"caption": "The best tree over the 784 pixels of binary MNIST; the stronger an edge, the more mutual information it carries. The algorithm was not told which pixels are neighbours: counting alone found the grid. Edges with less than a thousandth of a nat, near the border, are left out.", "name": "fig-chow-liu"}, "image": {"alt": "A square of 28 by 28 positions joined by short line segments into one tree. Long parallel runs of horizontal and vertical segments, with few diagonal ones, form a labyrinth; they are strong in the middle and faint near the border."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(4.2, 4.2))
for i in tree_order[1:]:
    j = predecessor[i]
    strength = min(1.0, I[i, j].item() / 0.35)
    if I[i, j] > 1e-3:
        shade, width = plt.cm.Greys(0.25 + 0.75 * strength), 1 + 1.5 * strength
        ax.plot([i % 28, j % 28], [i // 28, j // 28], color=shade, lw=width)
ax.set(xlim=(-0.5, 27.5), ylim=(27.5, -0.5), aspect="equal")
ax.set(xlabel="column", ylabel="row")
ax.grid(visible=False)
plt.show()


# %% [markdown]
# #### More parents: tables against networks
#
# Now let each pixel have as parents the $k$ nearest pixels that precede it in reading order. Its table has $2^k$ rows, and the curse returns: with many parents, most rows are visited by no training image. A network computes the same conditional probability from the same parents (or from all earlier pixels)
# with a number of weights that is proportional to $k$, and it assigns a probability to combinations that it has never seen. The simplest network is a logistic regression for each pixel on *all* pixels before it; the next one adds hidden units. Each hidden unit $h$ gets a random number $m_h$. It reads only pixels $j < m_h$, and only the outputs $i \ge m_h$ read it.
#
# **Predict, then run.** With how many parents do tables have the lowest NLL on unseen images? And can logistic regression, which is linear but uses *all* earlier pixels, beat the best of them?


# %%
class Logistic(nn.Module):
    """p(x_i = 1 | all pixels before i) = sigmoid(b_i + sum_{j<i} W_ij x_j)."""

    def __init__(self, x):
        super().__init__()
        D, rate = x.shape[1], (x.sum(0) + 0.5) / (len(x) + 1)
        self.weight = nn.Parameter(torch.zeros(D, D))
        self.bias = nn.Parameter(torch.logit(rate, eps=1e-3))
        self.register_buffer("before", torch.ones(D, D).tril(-1))  # 1 where j < i

    def logits(self, x):
        return F.linear(x, self.weight * self.before, self.bias)  # [B, D], all at once

    def log_prob(self, x):
        logits = self.logits(x)
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


# %%
class Neural(Logistic):
    """With hidden units: unit h reads pixels j < m_h; outputs i >= m_h read unit h."""

    def __init__(self, x, hidden):
        super().__init__(x)
        D = x.shape[1]
        number = torch.randint(1, D, (hidden,))  # m_h, drawn once for each unit
        self.into, self.out = nn.Linear(D, hidden), nn.Parameter(torch.zeros(D, hidden))
        pixel = torch.arange(D)
        self.register_buffer("sees", (pixel < number[:, None]).float())  # [hidden, D]
        self.register_buffer("reads", (pixel[:, None] >= number).float())  # [D, hidden]

    def logits(self, x):
        hidden = F.relu(F.linear(x, self.into.weight * self.sees, self.into.bias))
        return super().logits(x) + F.linear(hidden, self.out * self.reads)


# %% [markdown]
# A path from $x_j$ through a hidden unit $h$ to output $i$ thus has $j < m_h \le i$, and the direct connections have $j < i$. So this is a Bayes net, whatever the weights, and by {prf:ref}`thm-net-normalised` it is normalised. Chapter 3 develops the idea: the first class is `lvmlib.autoregressive.FVSBN`, a fully visible belief net {cite:p}`frey1998`, and the second is a small `MADE` {cite:p}`germain2015`.

# %%
offsets = [(dy, dx) for dy in range(-4, 1) for dx in range(-4, 5) if (dy, dx) < (0, 0)]
offsets.sort(key=lambda o: (math.hypot(*o), o))


def nearest(k):
    """For each pixel the k nearest pixels before it in reading order, in the image."""
    around = lambda i: [(i // 28 + dy, i % 28 + dx) for dy, dx in offsets[:k]]
    spots = [around(i) for i in range(784)]
    return [[r * 28 + c for r, c in spot if r >= 0 and 0 <= c < 28] for spot in spots]


sizes = (0, 1, 2, 4, 7, 10, 13, 16)
tables = {k: TableNet(xb, nearest(k)) for k in sizes}
table_nll = {k: both_nll(net) for k, net in tables.items()}
for k in (2, 10, 16):
    a, b = table_nll[k]
    print(f"tables, {k:2d} parents: {a:6.2f} nats training, {b:6.2f} test,", end=" ")
    print(f"gap {b - a:5.2f}")
# the choice is made on images that are not reported on
xb_valid = binary_valid.x.flatten(1).bool().numpy()
best_k = min(tables, key=lambda k: -tables[k].log_prob(xb_valid).mean())
print(f"best on 10,000 validation images: {best_k} parents")
best_name = f"tables, {best_k} parents"
nets[best_name], net_nll[best_name] = tables[best_k], table_nll[best_k]

# %% tolerance={"rtol": 0.02}
seed_everything(0)
logistic = Logistic(x)
negative = lambda model, batch: -model.log_prob(batch)
on = {"device": DEVICE, "progress": False}
how = {"steps": 800 * SCALE, "batch_size": 200, "lr": cosine(0.02, 800 * SCALE)}
fit(logistic, x, negative, **how, **on)
neural = Neural(x, 300)
how = {"steps": 1000 * SCALE, "batch_size": 100, "lr": cosine(0.01, 1000 * SCALE)}
fit(neural, x, negative, **how, **on)
network_nll = {}
with torch.no_grad():
    for name, model in (("logistic", logistic), ("hidden units", neural)):
        parts = x[:10_000], x_test
        a, b = (-model.log_prob(part).mean().item() for part in parts)
        network_nll[name] = [a, b]
        print(f"{name:>12}, all pixels before: {a:.2f} nats training, {b:.2f} test")

# %% [markdown]
# The networks see the data only two or three times; chapter 3 trains longer. (With few parents the gap is negative: MNIST's test digits are, on average, a little easier than its training digits.) With our weights, `lvmlib`'s network returns the same log-probabilities:

# %%
fvsbn = FVSBN((784,))
with torch.no_grad():
    fvsbn.weight[0].copy_(logistic.weight)
    fvsbn.bias[0].copy_(logistic.bias)
    hundred = x_test[:100]
    difference = fvsbn.log_prob(hundred) - logistic.log_prob(hundred)
    difference = difference.abs().max().item()
print(f"log-probabilities of 100 test images agree to 0.01 nats: {difference < 0.01}")
assert difference < 0.01

# %% mystnb={"figure": {"caption": "Tables against networks on binary MNIST. With more parents the training NLL of tables (dashed) keeps falling, while their test NLL (solid) turns upwards after about ten parents. Networks use all earlier pixels. (Without parents both curves are at 206 nats, above the axes.)", "name": "fig-parents"}, "image": {"alt": "Plot of NLL against number of parents from 0 to 16. Both table curves fall steeply from above the plot to 97 (test) and 94 (training) at ten parents; then the test curve rises to 101 while the training curve falls to 87. Horizontal lines mark the logistic network slightly above the best table and the network with hidden units below it."}} tags=["hide-input"] tolerance={"data": 0.03, "rtol": 0.02}
fig, ax = plt.subplots(figsize=(6, 3.4))
of_train, of_test = zip(*(table_nll[k] for k in sizes))
ax.plot(sizes, of_test, "o-", color=COLOURS["vermilion"], label="tables, test")
ax.plot(sizes, of_train, "o--", color=COLOURS["vermilion"], label="tables, training")
for name, style, colour in (("logistic", "-.", "black"), ("hidden units", ":", "blue")):
    level, label = network_nll[name][1], f"{name}, all before, test"
    ax.axhline(level, ls=style, color=COLOURS[colour], label=label)
ax.set(xlabel="parents of each pixel", ylabel="NLL (nats per image)", ylim=(82, 150))
ax.legend()
plt.show()


# %% [markdown]
# :::{dropdown} What to expect
# Ten parents. With 16, a pixel's table has 65,536 rows, most of which few images visit or none, and the test NLL rises again. And no: the best tables, with 97.2 nats, are ahead of the logistic regression's 98.4, and six times as many steps only bring it to 98.3.
# :::
#
# What do they draw? A Bayes net is sampled parents first. For the network that takes 784 steps, but each step only adds the newest pixel's contribution to the hidden units, with no full pass; chapter 3 builds on this.


# %%
@torch.no_grad()
def sample(net, n):
    """Draw pixel after pixel; each adds one column of weights to the hidden sums."""
    x = torch.zeros(n, 784)
    weight, out = net.weight * net.before, net.out * net.reads
    into = net.into.weight * net.sees
    total = net.into.bias.repeat(n, 1)  # [n, hidden]
    for i in range(784):
        logit = net.bias[i] + x @ weight[i] + F.relu(total) @ out[i]
        x[:, i] = torch.bernoulli(logit.sigmoid())
        total += x[:, i : i + 1] * into[:, i]
    return x


# %%
def sample_tables(net, n, order, rng):
    """Draw the variables in an order that has parents before children."""
    rows = np.zeros((784, n), dtype=np.int64)
    for i in order:
        rows[i] = rng.random(n) < net.p[i][configuration(rows, net.parents[i])]
    return torch.tensor(rows.T, dtype=torch.float32)


rng = np.random.default_rng(0)
order_of = lambda name: tree_order if name == "best tree" else range(784)
samples = {}
for name, net in nets.items():
    samples[name] = sample_tables(net, 2000, order_of(name), rng)
torch.manual_seed(3)
samples["hidden units"] = sample(neural, 2000)

# %% mystnb={"figure": {"caption": "Ten draws from each model, and ten real test digits. The better the likelihood, the more structure: independent pixels know where ink is likely; the chain adds horizontal strokes, and the tree adds vertical ones; ten parents give clean pen strokes without a plan; the network with hidden units begins to write digits.", "name": "fig-net-samples"}, "image": {"alt": "Six rows of ten binary images. From top to bottom: clouds of dots, clouds of horizontal dashes, ragged strokes, smooth curved strokes without meaning, shapes that are partly digits, and real digits."}} tags=["hide-input"] tolerance={"draws": ["rows 1-5"], "rtol": 0.1}
ten = [drawn[:10] for drawn in samples.values()] + [x_test[:10]]
rows = torch.cat(ten).view(-1, 1, 28, 28)
labels = [*(name.replace(", ", ",\n") for name in samples), "test digits"]
image_grid(rows, columns=10, row_labels=labels)
plt.show()
print("                             distance to the nearest    from a test digit")
print("                      ink         training image      to the nearest draw")
for name, drawn in (samples | {"test digits": x_test[-500:]}).items():
    drawn = drawn[:500]
    there, back = apart(drawn, x[:10_000]), apart(x_test[:500], drawn)
    print(f"{name:<20} {drawn.sum(1).mean():5.1f} {there:18.2f} {back:24.2f}")

# %% [markdown]
# From row to row the draws come closer to the training images, in the order of the likelihoods. All models in {numref}`fig-net-samples` but the last were fitted by counting alone. The linear model does not beat counting; hidden units do, with fewer parameters than the tables have. What a network gains is *shared statistical strength*: a logistic regression over 400 parents has 401 weights, where a table needs $2^{400}$ rows.
#
# (sec-mog)=
# ### Why not a mixture of Gaussians?
#
# A second way to build a flexible density is to add simple ones, as the mixture of Gaussians in {eq}`eq-mixture` does. It is normalised for every $\theta$, has a cheap gradient and can be sampled in two steps. With enough components it comes as close as you like (in $L_1$) to any density, and in the plane it is hard to beat. It is usually fitted by the EM algorithm of chapter 7, but gradient ascent works too, and the gradient shows what training does.
#
# :::{prf:theorem} Each centre is drawn to the examples that it is responsible for
# :label: thm-mog-gradient
# With $r_k(x) = \pi_k\, \mathcal{N}(x; \mu_k, \sigma_k^2 I) / p_\theta(x)$, the posterior probability that component $k$ generated $x$,
#
# $$ \nabla_{\mu_k} \log p_\theta(x) = r_k(x)\, \frac{x - \mu_k}{\sigma_k^2} , $$ (eq-mog-gradient)
#
# and $\partial \log p_\theta(x) / \partial a_k = r_k(x) - \pi_k$ for weights $\pi = \operatorname{softmax}(a)$.
# :::
#
# :::{prf:proof}
# $\nabla_{\mu_k} p_\theta = \pi_k \nabla_{\mu_k} \mathcal{N}(x; \mu_k, \sigma_k^2 I) = \pi_k\, \mathcal{N}(x; \mu_k, \sigma_k^2 I)\, (x - \mu_k) / \sigma_k^2$; divide by $p_\theta$. For the weights, $\partial \pi_j / \partial a_k = \pi_j (\mathbf{1}[j = k] - \pi_k)$, so $\partial p_\theta / \partial a_k = \pi_k \mathcal{N}(x; \mu_k, \sigma_k^2 I) - \pi_k\, p_\theta$; divide again.
# :::
#
# Autograd on `log_mixture`, the theorem and `lvmlib` should agree:

# %% tags=["check:thm-mog-gradient"]
g = torch.Generator().manual_seed(0)
leaf = lambda *shape: torch.randn(*shape, generator=g).double().requires_grad_()
points, logits, loc, log_scale = leaf(7, 3), leaf(4), leaf(4, 3), leaf(4)
value = log_mixture(points, logits, loc, log_scale)
value.sum().backward()

pi, scale = logits.softmax(0), log_scale.exp()
eye = torch.eye(3).double()
hill = lambda m, s: MultivariateNormal(m, s**2 * eye).log_prob(points)
parts = [w.log() + hill(m, s) for w, m, s in zip(pi, loc, scale)]
r = torch.stack(parts, 1).softmax(1)  # [7, 4]
by_theorem = (
    (r[:, :, None] * (points[:, None] - loc) / scale[:, None] ** 2).sum(0),
    (r - pi).sum(0),
)
by_autograd = loc.grad, logits.grad
errors = [(a - b).abs().max().item() for a, b in zip(by_autograd, by_theorem)]
print(f"autograd and theorem agree to 1e-12: {max(errors) < 1e-12}")

library = MixtureOfGaussians((3,), 4, "spherical").double()
library.load_state_dict({"logits": logits, "loc": loc, "log_scale": log_scale[:, None]})
same = torch.allclose(library.log_prob(points), value)
same = same and torch.allclose(library.responsibilities(points), r)
print(f"lvmlib agrees on densities and responsibilities: {same}")
assert max(errors) < 1e-12 and same

# %% [markdown]
# #### *Optional:* a likelihood without a maximum
#
# Before we fit mixtures to images, a warning: their likelihood can be driven to infinity.
#
# :::{prf:theorem} The likelihood of a mixture of Gaussians has no maximum
# :label: thm-mog-unbounded
# Let $K \ge 2$, and let the means and scales be free. For any $N \ge 1$ data points the likelihood of {eq}`eq-mixture` is unbounded. A *single* Gaussian with a diagonal covariance is enough where one coordinate is the same in all of the data.
# :::
#
# :::{prf:proof}
# Put $\mu_1$ on $x_1$ and let $\sigma_1 \to 0$ with everything else fixed. The density at $x_1$ is at least $\pi_1 (2\pi\sigma_1^2)^{-D/2}$, which grows without limit; at every other data point it is at least $\pi_2\, \mathcal{N}(x_n; \mu_2, \sigma_2^2 I) > 0$, which does not depend on $\sigma_1$. So the product tends to infinity. In the second case let
# the standard deviation of that coordinate tend to 0 at the common value.
# :::
#
# One component becomes a spike on one example, while the score of every other example stays bounded below. The second case is not a curiosity: dozens of pixels of MNIST are 0 in every training image, so the likelihood of a Gaussian with one variance for each pixel has no maximum either. The mixtures of `lvmlib` can be given a smallest standard deviation, `floor`, which keeps the likelihood bounded. (*Dequantization*, in chapter 6, deals with data that lie on whole numbers.)

# %% tags=["check:thm-mog-unbounded"]
spiked = MixtureOfGaussians((2,), 2, "spherical").double()
points = plane[:1000].double()
with torch.no_grad():
    spiked.loc.copy_(torch.stack([points[0], points.mean(0)]))
    total = []
    for power in range(2, 11, 2):
        spike, broad = -power * math.log(10), points.std().log().item()
        spiked.log_scale.copy_(torch.tensor([[spike], [broad]]))
        total.append(spiked.log_prob(points).sum().item())
        print(f"spike of width {f'1e-{power}:':6} log-likelihood", end=" ")
        print(f"of 1,000 points {total[-1]:.2f} nats")
growth = total[-1] - total[-2]
expected = 2 * math.log(100)
print(f"last step: {growth:.4f} nats (2 dimensions times ln 100 = {expected:.4f})")
blank = (X.max(0).values == 0).sum()
print(f"pixels that are 0 in all 50,000 training images: {blank}")
assert abs(growth - 2 * math.log(100)) < 1e-3

# %% [markdown]
# #### On images
#
# With one scale per component, shared by all 784 pixels, no component collapses in practice. We train mixtures of 1 to 300 components on MNIST, with training images as initial centres. Here $p_\theta$ is a *density* of pixels in $[0, 1]$, which may exceed 1, so the NLL may be negative; the optional stretch below converts it into bits per dimension. The 200 steps are less than one pass over the data, so the larger mixtures have *not converged*: with five times as many (`SCALE = 5`) the mixture of 300 reaches $-273.6$ nats on the test images, twelve better than below.

# %% tolerance={"rtol": 0.03}
mixtures, density = {}, {}
for K in (1, 10, 100, 300):
    seed_everything(0)
    mixtures[K] = MixtureOfGaussians((784,), K, "spherical").start_from(X[:5000])
    steps = 200 * SCALE
    fit(mixtures[K], X, steps=steps, batch_size=200, lr=cosine(0.03, steps), **on)
    with torch.no_grad():
        score = lambda part, model=mixtures[K]: -model.log_prob(part).mean().item()
        density[K] = [score(X[:10_000]), score(X_test)]
    on_train, on_test = density[K]
    print(f"K = {K:3d}: {on_train:7.1f} nats training, {on_test:7.1f} test")

# %% [markdown]
# {numref}`fig-mixture` shows what the numbers hide. A draw is a centre plus noise, independent and of the same width in every pixel. The centres are averages of training images, so draws differ only in *which* of 300 pictures they show and in the snow on it. Real images differ from their centre in another way: a stroke leans, a
# loop is wider, and neighbouring pixels change together.

# %% mystnb={"figure": {"caption": "A mixture of 300 Gaussians on MNIST. Samples are stored centres plus independent noise. The lower rows show what the noise should look like: test images, the centre that takes responsibility for each, and the difference (drawn around middle grey), which has strokes in it.", "name": "fig-mixture"}, "image": {"alt": "Five rows of ten images: smooth average digits; the same digits covered in snow; sharp test digits; the blurred centres nearest to them; and differences, grey images in which strokes lighter and darker than the grey can be seen."}} tags=["hide-input"] tolerance={"data": 0.05, "draws": ["rows 1-2"], "rtol": 0.1}
torch.manual_seed(4)
mixture = mixtures[300].requires_grad_(False)
k = torch.multinomial(mixture.logits.softmax(0), 10, replacement=True)
drawn = mixture.loc[k] + mixture.scale()[k] * torch.randn(10, 784)
centre = mixture.loc[mixture.responsibilities(X_test[:10]).argmax(1)]
difference = 0.5 + 0.5 * (X_test[:10] - centre)
rows = torch.cat([mixture.loc[k], drawn, X_test[:10], centre, difference])
rows = rows.clamp(0, 1).view(-1, 1, 28, 28)
labels = ["centre", "sample", "test image", "its centre", "difference"]
image_grid(rows, columns=10, row_labels=labels)
plt.show()
shown_of = {"centres": mixture.loc[k], "samples": drawn, "test images": X_test[:500]}
for name, shown in shown_of.items():
    print(f"{name}: ink {shown.sum(1).mean():.0f},", end=" ")
    print(f"distance to the nearest training image {apart(shown, X[:10_000]):.1f}")


# %% tolerance={"atol": 0.01, "rtol": 0.03}
def neighbour_correlation(rest):
    """Correlation of horizontal neighbours, the centre subtracted."""
    rest = rest.view(-1, 28, 28)
    return ((rest[:, :, 1:] * rest[:, :, :-1]).mean() / rest.square().mean()).item()


responsible = mixture.responsibilities(X_test)
rest = X_test - mixture.loc[responsible.argmax(1)]
k = torch.multinomial(mixture.logits.softmax(0), 2000, replacement=True)
noise = mixture.scale()[k] * torch.randn(2000, 784)
print("correlation of neighbouring pixels around the centre:")
print(f"{neighbour_correlation(rest):.2f} in test images,", end=" ")
print(f"{neighbour_correlation(noise):.2f} in samples")
energy = torch.linalg.svdvals(rest).square()
share = energy[:27].sum() / energy.sum()
print(f"27 directions of 784 hold {share:.1%} of test images' variation", end=" ")
print("around the centre")
most = responsible.max(1).values.mean()
print(f"the most responsible component has {most:.3f} of the posterior on average")


# %% [markdown]
# The last line shows the second failure. In 784 dimensions squared distances differ so much that one component nearly always takes all the responsibility: the mixture has become a lookup table of pictures. It also improves slowly: going from 10 to 100 components gains 144 nats of test NLL, going on to 300 another
# 49 (more with longer training), while the gap between training and test doubles.
#
# #### *Optional:* what the mixture scores in bits
#
# :::{admonition} Watch out: "negative bits per dimension: the model is superb"
# :class: pitfall
# A density has a unit, one over the unit of $x$. On pixels in $[0, 1]$ our mixture scores a *negative* NLL; the same model on pixels in $\{0, \dots, 255\}$ scores $784 \ln 255 = 4344$ nats more, 8 bits per dimension. Neither number says anything about quality, and neither can be compared with the discrete models above. What can be compared is the probability
# that a model gives to each of the 256 grey levels, the mass of an interval one level wide: the next cell finds 2.8 bits per dimension for the mixture of 300, twice what the table of neighbouring pixels needs.
# :::


# %% tolerance={"rtol": 0.03}
def log_mass(mixture, levels):
    """log P(grey levels) [B]: masses of bins 1 / 255 wide, the outer ones open."""
    total = []
    for image in levels.double():  # [784]
        # the distribution function of each component, [K, 784]
        z = lambda edge: torch.special.ndtr((edge - mixture.loc) / mixture.scale())
        low = z((image - 0.5) / 255).masked_fill(image == 0, 0.0)
        high = z((image + 0.5) / 255).masked_fill(image == 255, 1.0)
        inside = (high - low).clamp(min=1e-30)  # acts far out in the tails only
        total.append((inside.log().sum(1) + mixture.logits.log_softmax(0)).logsumexp(0))
    return torch.stack(total)


double = copy.deepcopy(mixture).double()
mass = bits_per_dim(log_mass(double, pixels_test[::50]), (784,)).mean().item()
as_bits = lambda nats: bits_per_dim(-torch.tensor(nats), (784,))
on_unit = as_bits(density[300][1])
on_levels = as_bits(density[300][1] + 784 * math.log(255))
print(f"density on [0, 1]:          {on_unit:6.3f} 'bits/dim'")
print(f"density on [0, 255]:        {on_levels:6.3f} 'bits/dim'")
print(f"mass of the grey levels:    {mass:6.3f} bits/dim")
table = bits_per_dim(scores["given the pixel before"][::50], (784,)).mean()
print(f"given the pixel before:     {table:6.3f} bits/dim, on the same 200 images")


# %% [markdown]
# (sec-desiderata)=
# ### What do we want?
#
# No model excels at everything. The rest of the book is a tour of the trade-offs, and it is fairer to fix the criteria, and how each is measured, before the contestants enter: the three demands of Part 3 become seven wishes ({numref}`tab-desiderata`).
#
# :::{list-table} Seven things that one may want of a generative model, and what we measure for each.
# :header-rows: 1
# :name: tab-desiderata
#
# * - wish
#   - metric
#   - best is
# * - likelihood
#   - test NLL, in nats for binary images, bits/dim for grey and colour
#   - low; never below the entropy
# * - generalisation
#   - gap: test NLL minus training NLL
#   - near 0, at a low test NLL
# * - sample quality
#   - how often the nearest neighbour of a sample is a sample, and that of a test image a test image; and a look at the grid
#   - 50% and 50%
# * - sampling speed
#   - seconds to draw; here: sequential steps
#   - 1 step
# * - compression
#   - bytes on disk by arithmetic coding (or bits-back coding, chapter 12), and seconds to get there and back
#   - as few bytes as the NLL predicts
# * - latents
#   - is there a hidden variable $z$ behind $x$ (chapter 7); what a linear classifier can read from it
#   - short, and useful
# * - training cost
#   - parameters, passes over the data, minutes on 2 cores
#   - low
# :::
#
# Two of them need explanation. For *sample quality*, pool equally many samples and test images, and let the nearest neighbour of each vote on which of the two it is {cite:p}`lopezpaz2017`. If both come from one distribution, half of the votes are right, for samples and for images alike. (The measure that most papers report, the Fréchet distance of {cite:t}`heusel2017`, compares
# means and covariances of features from one large network.) And *likelihood and sample quality are different things*: mix 1% of a superb model with 99% of noise, and the log-likelihood of each real example falls by at most $\ln 100 = 4.6$ nats, while 99 draws in 100 are noise {cite:p}`theis2016`. No single row of the table will do.


# %%
def told_apart(a, b, n=1000):
    """Shares of n samples and of n images whose neighbour is of their kind."""
    # in random order, or ties would all go to one side
    order = torch.randperm(2 * n, generator=torch.Generator().manual_seed(0))
    pool, side = torch.cat([a[:n], b[:n]])[order], order < n
    nearest = torch.cdist(pool, pool).fill_diagonal_(math.inf).argmin(1)
    right = (side[nearest] == side).float()
    return right[side].mean().item(), right[~side].mean().item()


to_bits = 1 / (784 * math.log(2))
masks = neural.before.sum() + neural.sees.sum() + neural.reads.sum()
weights = int(masks) + 784 + 300  # those that are not masked, and the biases
results = {}
for name in samples:
    a, b = (network_nll | net_nll)[name]
    count = sum(map(len, nets[name].p)) if name in nets else weights
    steps = {"independent pixels": 1, "best tree": depth.max() + 1}.get(name, 784)
    told = told_apart(samples[name], x_test)
    results[name + " (binary)"] = b * to_bits, (b - a) * to_bits, *told, steps, count
k = torch.multinomial(mixture.logits.softmax(0), 2000, replacement=True)
drawn = (mixture.loc[k] + mixture.scale()[k] * torch.randn(2000, 784)).clamp(0, 1)
count = sum(p.numel() for p in mixture.parameters())
gap = (density[300][1] - density[300][0]) * to_bits
results["300 Gaussians (grey)"] = (mass, gap, *told_apart(drawn, X_test), 2, count)

# %% tolerance={"atol": 0.005, "rtol": 0.1}
print(f"{'with a neighbour':>60}")
print(f"{'of the same kind:':>60}")
print(f"{'bits/dim':>36}{'gap':>7}{'samples':>9}{'images':>8}", end="")
print(f"{'steps':>6}{'parameters':>11}")
for name, (bits, gap, samples_told, real_told, steps, count) in results.items():
    told = f"{samples_told:9.1%}{real_told:8.1%}"
    print(f"{name:<28}{bits:8.3f}{gap:7.3f}{told}{steps:6d}{count:11,}")
others, real = told_apart(x_test[1000:], x_test)
print(f"{'other test images (binary)':<43}{others:9.1%}{real:8.1%}")

# %% [markdown]
# The table answers five of the seven wishes (all but compression and latents), and its last line is the ideal. No model of this chapter comes near it. Only the mixture has a latent, a number from 1 to 300, and the models with the best likelihoods draw one pixel after another. Binary and grey images are different data: their bits cannot be compared. (For the mixture, *bits/dim* counts the probability of the grey levels, from the optional stretch above.)
#
# :::{admonition} Watch out: "a two-sample test at 50% means perfect samples"
# :class: pitfall
# Average the two shares, as is often done, and *independent pixels* score 50.4%: the worst model of the table looks perfect. Its clouds of dots are so far from one another that the nearest neighbour of nearly every one is a test digit, and the nearest neighbour of nearly every digit is a digit: all votes say "image", and half of them are right.
# A vote that is *always wrong* on one side tells the sides apart as well as one that is always right. Look at both shares; and look at the pictures.
# :::
#
# The page of {doc}`results <../book/results>` answers the seven wishes for the models of all chapters, measured on one machine.
#
# Of the dashed families in {numref}`fig-taxonomy`, one returns: *diffusion models* {cite:p}`sohldickstein2015,ho2020`, the source of many of today's machine-made pictures. Each is a variational autoencoder with a fixed encoder and very many layers, and the last part of {doc}`chapter 11 <11_elbo_surgery>` reads it as one.
#
# ### Exercises of Part 4
#
# :::{exercise} ★★ How many images would it take?
# :label: ex-gm-how-many
# All $K$ patterns are equally probable. Show that the expected probability of the unseen ones after $N$ draws is $(1 - 1/K)^N$, and find the $N$ at which it is one per cent. How many binary 7x7 windows is that? Why do real digits need far fewer, according to {numref}`fig-curse`?
# :::
#
# :::{solution} ex-gm-how-many
# :class: dropdown
# A given pattern is missed by all $N$ draws with probability $(1 - 1/K)^N$; multiply by its probability $1/K$ and add up $K$ such terms. For large $K$ this is $e^{-N/K}$, one per cent at $N = K \ln 100 \approx 4.6\, K$. For $K = 2^{49}$ that is $2.6 \cdot 10^{15}$ images. Digits are far from uniform: their windows have far less entropy than 49 bits, and the share of unseen patterns depends on how probable the patterns are,
# not on how many there could be. It is the structure, not the number of pixels, that decides how many images one needs, and a model that knows the structure needs fewer still.
# :::
#
# :::{exercise} ★★★ Classify with trees
# :label: ex-gm-tan
# Fit one best tree to each digit of binary MNIST and classify test images by Bayes' rule with equal priors. How does it compare with independent pixels for each digit? And how many nats per image does the mixture of the ten trees need?
# :::
#
# :::{solution} ex-gm-tan
# :class: dropdown
# ```python
# def tree_net(x):
#     I = pairwise_information(x, a=0.5).fill_diagonal_(0)
#     spanning = minimum_spanning_tree(-I.numpy())
#     _, before = breadth_first_order(spanning, root, directed=False)
#     parents = [[int(p)] if p >= 0 else [] for p in before]
#     return TableNet(x.numpy().astype(bool), parents)
#
# trees_of = [tree_net(x[binary.y == d]) for d in range(10)]
# pixels_of = [TableNet(xb[(binary.y == d).numpy()], [[]] * 784) for d in range(10)]
# for ten_nets in (trees_of, pixels_of):
#     s = np.stack([net.log_prob(xb_test) for net in ten_nets], 1)  # [10000, 10]
#     correct = (s.argmax(1) == binary_test.y.numpy()).mean()
#     print(correct, -np.logaddexp.reduce(s - np.log(10), 1).mean())
# ```
# Trees: 91.5% correct and 114.7 nats, where one tree for all digits needs 135.0. Independent pixels for each digit: 84.0% correct and 170.9 nats, against 205.8 without the digits. Neither saw a gradient.
# :::
#
# :::{exercise} ★★ As many components as examples
# :label: ex-gm-kde
# Take $K = N$ components, fix each mean on a training example and let all share one scale $\sigma$. Which $\sigma$ maximises the training likelihood? And if each example is scored by the components of the *others* only? Find the best $\sigma$ of this kind for the 8x8 digits (`digits`), and compare the score on `digits_test`.
# :::
#
# :::{solution} ex-gm-kde
# :class: dropdown
# None: each example sits on its own spike, so $\sigma \to 0$ drives the likelihood to infinity, as in {prf:ref}`thm-mog-unbounded`. Leaving the own spike out,
# ```python
# squares = torch.cdist(digits, digits).square().fill_diagonal_(math.inf)
# for h in np.arange(0.10, 0.30, 0.02):
#     log_kernel = -squares / (2 * h**2) - 32 * math.log(2 * math.pi * h**2)
#     inside = (log_kernel.logsumexp(1) - math.log(len(digits) - 1)).mean()
#     print(f"{h:.2f} {inside:.2f} {parzen(digits_test, digits, h):.2f}")
# ```
# the best width is 0.14, with 29.2 nats, and on `digits_test` it gives 29.8, the best there too.
# :::
#
# (sec-summary-02)=
# ## Summary
#
# :::{list-table} What was shown, and where it lives in `lvmlib`.
# :header-rows: 1
# :name: tab-gm-summary
#
# * - result
#   - in one line
#   - in `lvmlib`
# * - {prf:ref}`def-generative`
#   - two objectives: approximate $p_{\mathrm{d}}$, and draw
#   -
# * - {eq}`eq-supervised`
#   - five supervised tasks are one: learn $p_\theta(y \mid x)$
#   -
# * - {prf:ref}`thm-no-density`
#   - a sampler with less noise than data has no density at all
#   -
# * - {prf:ref}`thm-net-normalised`
#   - a product of conditionals without cycles sums to 1 for every $\theta$
#   - `autoregressive`
# * - {prf:ref}`thm-gap`
#   - training NLL too low, test NLL too high, on average
#   -
# * - {prf:ref}`thm-histogram`
#   - counting is maximum likelihood
#   -
# * - {prf:ref}`thm-good-turing`
#   - values seen once estimate the probability of unseen ones
#   -
# * - {prf:ref}`thm-chow-liu`
#   - the best tree is a maximum spanning tree of mutual information
#   -
# * - {prf:ref}`thm-mog-gradient`
#   - centres move towards the examples that they are responsible for
#   - `distributions.MixtureOfGaussians`
# * - {prf:ref}`thm-mog-unbounded`
#   - the likelihood of a mixture has no maximum
#   - its `floor`
# * - {eq}`eq-nll`
#   - nats, bits, bits per dimension: one quantity
#   - `bits_per_dim`
# :::
#
# What to remember:
#
# - a model owes a distribution for every $\theta$, a cheap $\log p_\theta(x)$ with its gradient, and cheap samples; every later chapter trades one of the three;
# - in high dimension the question is never how to memorise the data but which unseen patterns to treat alike;
# - give a number with its unit, its data and its gap, or do not give it.
#
# ## Further reading
#
# - Chapter 20 of {cite:t}`murphy2023` is a map of the whole field, in greater breadth than ours; {cite:t}`theis2016` is the classical warning about how generative models are compared.
# - Mixtures of Gaussians, with EM and with priors on everything: chapter 9 of {cite:t}`bishop2006`. Bayes nets: {cite:t}`pearl1988`.
# - {cite:t}`chow1968` on trees and {cite:t}`good1953` on unseen species are short and still a pleasure to read.
# - Samplers: {cite:t}`mohamed2016` for the principles, {cite:t}`goodfellow2014` for the one that became famous, {cite:t}`gretton2012` and {cite:t}`szekely2013` for distances between sets of samples.
# - Energy-based models: {cite:t}`lecun2006`. Diffusion as a bound: {cite:t}`sohldickstein2015`, {cite:t}`ho2020`, {cite:t}`kingma2021`.
