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
# (ch-flows-one)=
# # Flows I: one, two, many dimensions
#
# *Bend data until they look like plain noise, and keep account of every stretch on the way. The account is the
# likelihood, exactly; walking the bends backwards is the sampler.*
#
# :::{prf:definition} Normalizing flow
# :label: def-fl-flow
# Let $p_0$ be a density that is easy to evaluate and to draw from, the **base**, and let $z = f_\theta(x)$ be an invertible map from
# data $x$ in an open set of $\mathbb{R}^D$ onto the open set of $\mathbb{R}^D$ on which $p_0$ is positive, differentiable both ways. The **{term}`normalizing flow`** made of the two is the density
#
# $$
# \begin{aligned}
# \log p_\theta(x) = {} & \log p_0\bigl(f_\theta(x)\bigr) \\
# & + \log \left| \det \frac{\partial f_\theta(x)}{\partial x} \right| .
# \end{aligned}
# $$ (eq-fl-flow)
#
# To draw from it, draw $z \sim p_0$ and return $x = f_\theta^{-1}(z)$.
# :::
#
# $f_\theta$ *normalizes* the data: it carries them to a fixed standard form, usually the standard normal distribution, and nothing is ever learned about
# $p_0$. In one dimension the determinant is just the derivative of $f$, and {numref}`fig-fl-map` is all there is to it.

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from sklearn.datasets import load_breast_cancer
from torch import nn
from torch.distributions import MultivariateNormal

# %% tags=["hide-input"]
from lvmlib.base import seed_everything
from lvmlib.chain import Flow
from lvmlib.data import load
from lvmlib.distributions import StandardNormal
from lvmlib.experiments import biopsies as biopsies_table
from lvmlib.experiments.records import benchmark, record
from lvmlib.flows import (
    Affine,
    Elementwise,
    InverseAutoregressive,
    MaskedAutoregressive,
    MixtureCDF,
    MixtureLogistic,
    Spline,
    maf,
)
from lvmlib.networks import MLP
from lvmlib.plotting import COLOURS, use_style
from lvmlib.toys import toy
from lvmlib.training import cosine, fit

SCALE = 1  # multiplies every training run below; the stored outputs are those of 1
use_style()

# %% tags=["hide-input"]
x_line = np.linspace(-3.2, 3.2, 1281)
humps = [(0.45, -1.3, 0.4), (0.55, 1.1, 0.6)]  # weight, mean, standard deviation
x_cdf = sum(w * stats.norm.cdf(x_line, m, s) for w, m, s in humps)
x_pdf = sum(w * stats.norm.pdf(x_line, m, s) for w, m, s in humps)
z_curve = stats.norm.ppf(x_cdf)  # the flow: same CDF on both sides
z_line = np.linspace(-3, 3, 301)
z_cdf, z_pdf = stats.norm.cdf(z_line), stats.norm.pdf(z_line)

# %% mystnb={"figure": {"caption": "A flow in one dimension. The curve $z = f(x)$ carries the density of the data (below) to the base (left). Each strip, seen on either axis, holds a tenth of the probability. Where $f$ is steep, a narrow strip of $x$ is stretched over a wide strip of $z$: there the data are denser than the base is at $f(x)$.", "name": "fig-fl-map"}, "image": {"alt": "A rising curve that is flat in the middle and steeper to both sides. Below the x axis a density with two humps and a valley under the flat stretch; left of the z axis a bell curve. Ten strips of alternating tint connect the two through the curve."}} tags=["hide-input"]
ratios = {"width_ratios": (1, 3), "height_ratios": (3, 1)}
fig, axes = plt.subplots(2, 2, figsize=(6, 4.4), **ratios)
side, curve, corner, below = axes.flat
for i in range(10):
    x_in = (x_cdf >= i / 10) & (x_cdf <= (i + 1) / 10)
    z_in = (z_cdf >= i / 10) & (z_cdf <= (i + 1) / 10)
    style = {"color": COLOURS["blue" if i % 2 else "orange"], "alpha": 0.6, "lw": 0}
    below.fill_between(x_line[x_in], -x_pdf[x_in], **style)
    side.fill_betweenx(z_line[z_in], -z_pdf[z_in], **style)
    if i:
        at_x = np.interp(i / 10, x_cdf, x_line)
        at_z = stats.norm.ppf(i / 10)
        curve.plot([at_x, at_x, -3.2], [-3, at_z, at_z], lw=0.7, color="#999999")
curve.plot(x_line, z_curve, color=COLOURS["black"])
curve.text(1.3, -1.3, "$z = f(x)$", fontsize=13)
curve.set(xlim=(-3.2, 3.2), ylim=(-3, 3))
side.set(ylim=(-3, 3), ylabel="$z$: noise", xticks=[])
below.set(xlim=(-3.2, 3.2), xlabel="$x$: data", yticks=[])
side.set_title("base $p_0(z)$", fontsize=11)
below.set_ylabel("$p(x)$")
for ax in (side, curve, below):
    ax.grid(visible=False)
corner.axis("off")
plt.show()


# %% [markdown]
# **What you will be able to do**
#
# - derive the density of a flow, and say why its likelihood is exact where a network without a normaliser has none;
# - write, train and sample three flows by hand: a CDF flow on the line, an autoregressive flow in the plane, a masked
#   autoregressive flow (MAF) in many dimensions;
# - tell which functions may be layers, and what each way through MAF and its inverse (IAF) costs;
# - judge on real data, with error bars, what a flow buys over a Gaussian.
#
# **Needs.** Maximum likelihood and KL divergence ({doc}`chapter 1 <01_information_theory>`), the chain rule of probability and masked networks
# ({doc}`chapter 3 <03_autoregressive_models>`); determinants, and PyTorch to the level of `nn.Module`.
#
# **Time.** Three to four hours on the main path, six with the exercises and the stretches marked *Optional*. The code runs in less than a minute on one core;
# a GPU would not help. Times that the text quotes come from the scripts in `benchmarks/`.
#
# (sec-fl-one)=
# ## Part 1. One dimension: what happens to a density when the line is stretched?
#
# Take a rubber band with a density of paint on it, so many milligrams per centimetre, and stretch it. The paint stays where it is on the rubber, so its density falls by the factor of
# the stretch. That is the whole theory. A probability density is paint that weighs 1 in total, and $f$ maps the data line to the noise line:
# a piece $dx$ of the first and the piece of length $|f'(x)|\, dx$ of the second to which it is stretched hold the same paint.
#
# :::{prf:theorem} Change of variables on the line
# :label: thm-fl-change-line
# Let $f$ map an open interval $I$ onto an open interval $J$, continuously differentiable with $f'(x) \ne 0$ throughout, and let $Z$ have a density $p_0$ on $J$. Then
# $X = f^{-1}(Z)$ has the density
#
# $$
# \begin{aligned}
# p(x) &= p_0(f(x))\, |f'(x)| , \\
# \log p(x) &= \log p_0(f(x)) + \log |f'(x)| , \qquad x \in I .
# \end{aligned}
# $$ (eq-fl-change-line)
# :::
#
# :::{prf:proof}
# As $f'$ is continuous and never 0 it keeps its sign. For $a < b$ in $I$ let $f' > 0$. Then $a < X < b$ means $f(a) < Z < f(b)$, so
# $P(a < X < b) = \int_{f(a)}^{f(b)} p_0(z)\, dz = \int_a^b p_0(f(x))\, f'(x)\, dx$ by substitution. If $f' < 0$, the event is $f(b) < Z < f(a)$, the limits trade places, and
# the integrand becomes $p_0(f(x))\, (-f'(x))$. In both cases it is $p_0(f(x))\, |f'(x)|$, and $p$ integrates to the $\int_J p_0 = 1$ that it came from.
# :::
#
# Note what the theorem does *not* ask for: no integral has to be computed to normalise $p$. Whatever $f$ is, as long as it is a bijection onto $J$, the total is 1. The check uses a map that falls,
# $f(x) = -(x + x^3)$, under a Gaussian base: an integral, and the share of half a million draws in an interval.


# %%
def bisect(increasing, target, low=-30.0, high=30.0, halvings=60):
    """x with increasing(x) = target, by halving an interval; target [B]."""
    low, high = torch.full_like(target, low), torch.full_like(target, high)
    for _ in range(halvings):
        middle = (low + high) / 2
        too_low = increasing(middle) < target
        low = torch.where(too_low, middle, low)
        high = torch.where(too_low, high, middle)
    return (low + high) / 2


# %% tags=["check:thm-fl-change-line"]
base = torch.distributions.Normal(0.0, 1.0)
slope = lambda x: -(1 + 3 * x**2)  # f'(x) of f(x) = -(x + x^3)
log_p = lambda x: base.log_prob(-(x + x**3)) + slope(x).abs().log()
grid = torch.linspace(-4, 4, 8001, dtype=torch.float64)
total = torch.trapezoid(log_p(grid).exp(), grid).item()
inside = (grid >= 0.2) & (grid <= 0.7)
promised = torch.trapezoid(log_p(grid[inside]).exp(), grid[inside]).item()
random = torch.Generator().manual_seed(0)
z = torch.randn(500_000, generator=random, dtype=torch.float64)
x = bisect(lambda x: x + x**3, -z, -5.0, 5.0)  # f(x) = z means x + x^3 = -z
share = ((x > 0.2) & (x < 0.7)).double().mean().item()
error = (promised * (1 - promised) / len(x)) ** 0.5
print(f"integral of p: {total:.6f}")
print(f"P(0.2 < x < 0.7): by the formula {promised:.4f}", end=", ")
print(f"share of the draws {share:.4f} +- {error:.4f}")
assert abs(total - 1) < 1e-6 and abs(share - promised) < 4 * error

# %% [markdown]
# :::{admonition} Watch out: two slips in one line
# :class: pitfall
# *Leaving out the bars.* With $f' < 0$ the "density" $p_0(f(x))\, f'(x)$ is negative, and its logarithm does not exist; the next cell integrates it to $-1$. *Multiplying in the wrong place.* Densities
# are multiplied by $|f'|$, so to log-densities $\log |f'|$ is **added**. A product, $\log p_0(z) \cdot \log |f'(x)|$, which is not rare on slides, defines something whose exponential integrates to 0.29 for $f(x) = 3x$, and which for $f(x) = x$ is 0 everywhere: a "density" of 1 on the whole line.
# And mind the direction: with $g = f^{-1}$ from noise to data the same theorem reads $\log p(x) = \log p_0(z) - \log |g'(z)|$.
# :::

# %%
signed = base.log_prob(-(grid + grid**3)).exp() * slope(grid)
without_bars = torch.trapezoid(signed, grid)
product = (base.log_prob(3 * grid) * math.log(3)).exp()
print(f"f(x) = -(x + x^3) without the bars: {without_bars:.2f}")
print(f"f(x) = 3 x, product of the logarithms: {torch.trapezoid(product, grid):.2f}")


# %% [markdown]
# (sec-fl-unnormalised)=
# ### Why not simply train a positive function?
#
# Any network $h_\theta$ gives a positive function $e^{h_\theta(x)}$. Why all the care with invertible maps, when we could raise $h_\theta$ where the data are? Because **maximum likelihood is a
# competition for a fixed amount of probability**, and this network is not bound to any amount. Adding a constant $c$ to $h_\theta$ adds $c$ to the "log-likelihood" of every example. Let us watch.


# %%
def draw_humps(n, seed):
    """A Gaussian hump on the left, a skewed (Gumbel) one on the right; [n]."""
    source = np.random.default_rng(seed)
    left, right = source.normal(-1.5, 0.35, n), source.gumbel(0.8, 0.5, n)
    return torch.tensor(np.where(source.random(n) < 0.4, left, right))


def true_log_p(x):
    """Its log-density; [B], nats."""
    left, right = stats.norm.pdf(x, -1.5, 0.35), stats.gumbel_r.pdf(x, 0.8, 0.5)
    return torch.tensor(0.4 * left + 0.6 * right).log()


train, test = draw_humps(2000, 0), draw_humps(2000, 1)

# %% tolerance={"rtol": 0.05}
seed_everything(0)
h = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1)).double()
optimizer = torch.optim.Adam(h.parameters(), lr=0.02)
for step in range(301):
    value = h(train[:, None]).mean()
    if step % 100 == 0:
        mass = torch.trapezoid(h(grid[:, None])[:, 0].exp(), grid).log()
        print(f"step {step:3}: mean of h {value:6.1f}, log of the integral {mass:6.1f}")
    optimizer.zero_grad()
    (-value).backward()
    optimizer.step()


# %% [markdown]
# The "likelihood" climbs for ever, and all of the climb is the integral: the network lifts everything, data or not. The honest number is the difference of the two columns, the mean log-density, and it is $-2.1$ nats at the start and at the end. Nothing was learned. To have a density one would have to subtract $\log \int e^{h_\theta(x)} dx$ at each step. On the line a grid can do that;
# in 784 dimensions no grid can ({doc}`chapter 2 <02_generative_modelling>`). A flow never has the problem. Its integral is 1 for every $\theta$ by {prf:ref}`thm-fl-change-line`, so raising $p_\theta$ somewhere must lower it elsewhere, and
# {eq}`eq-fl-flow` *is* the log-likelihood: no bound, no estimate, no unknown constant.
#
# (sec-fl-cdf)=
# ### A first flow, by hand
#
# We need an increasing function with parameters. Statistics has a supply of them: distribution functions. Take that of a mixture of $M$ logistic distributions,
#
# $$ f_\theta(x) = \sum_{m=1}^M \pi_m\, \sigma\!\left(\frac{x - \mu_m}{s_m}\right) , \qquad \theta = (\pi, \mu, s) , $$ (eq-fl-cdf)
#
# with $\sigma$ the logistic function. It rises from 0 to 1, so the base must live on $(0, 1)$: the uniform density, whose logarithm is 0. Then {eq}`eq-fl-change-line` leaves $\log p_\theta(x) = \log f_\theta'(x)$. The slope of
# $\sigma$ is $\sigma(t)\,\sigma(-t)$.


# %%
def mixture_cdf(x, a, mu, log_s):
    """f(x) and log f'(x) of M logistics; x [B], parameters [M] or [B, M]."""
    t = (x[:, None] - mu) * (-log_s).exp()  # [B, M]
    log_pi = a.log_softmax(-1)
    z = (log_pi.exp() * t.sigmoid()).sum(-1)
    each = log_pi + F.logsigmoid(t) + F.logsigmoid(-t) - log_s
    return z, each.logsumexp(-1)


start = (torch.zeros(5), torch.linspace(-2, 2, 5), torch.zeros(5))  # a, mu, log s
theta = [p.double().requires_grad_() for p in start]
optimizer = torch.optim.Adam(theta, lr=0.05)
for _ in range(400 * SCALE):
    z, log_slope = mixture_cdf(train, *theta)
    loss = -log_slope.mean()  # log p_0(z) = 0 on (0, 1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %% [markdown]
# That is a flow, trained. Drawing needs $f_\theta^{-1}$, for which there is no formula, and none is needed: $f_\theta$ increases, so **bisection** finds the one $x$ with $f_\theta(x) = u$, here with the `bisect` of the first check. Feeding uniform numbers through an inverse distribution function is known as inverse transform
# sampling; a CDF flow is that old trick with a learned function.

# %% tolerance={"rtol": 0.01}
u = torch.rand(2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
with torch.no_grad():
    drawn = bisect(lambda x: mixture_cdf(x, *theta)[0], u)
    z_test, log_p_test = mixture_cdf(test, *theta)
floor = -true_log_p(test)
gap = -log_p_test - floor
print(f"test NLL {-log_p_test.mean():.3f} nats; of the true density {floor.mean():.3f}")
print(f"difference {gap.mean():.3f} +- {gap.std() / len(gap) ** 0.5:.3f}")

layer = MixtureCDF((1,), components=5, kind="logistic").double()
with torch.no_grad():
    for theirs, ours in zip((layer.logits, layer.loc, layer.log_scale), theta):
        theirs.copy_(ours[:, None])
    z_theirs, log_det = layer(test[:, None])
    same = torch.allclose(z_theirs[:, 0], z_test)
    same = same and torch.allclose(log_det, log_p_test)
    same_draws = torch.allclose(layer.inverse(u[:, None])[0][:, 0], drawn)
print(f"MixtureCDF gives the same: z and log-slope {same}, draws {same_draws}")
assert same and same_draws

# %% mystnb={"figure": {"caption": "The trained CDF flow. Left: test data and the learned density, with the true one dotted. Middle: the same test data after $f_\\theta$, close to uniform: normalized. Right: draws from the flow, by bisection, with the learned density.", "name": "fig-fl-cdf"}, "image": {"alt": "Three histograms. Left: two humps, with a curve and a dotted curve that nearly coincide. Middle: a flat histogram between 0 and 1 at height one. Right: two humps like those on the left."}} tags=["hide-input"] tolerance={"rtol": 0.02}
fig, axes = plt.subplots(1, 3, figsize=(7, 2.6))
bins = np.linspace(-3, 4, 36)
with torch.no_grad():
    learned = mixture_cdf(grid, *theta)[1].exp()
for ax, values in zip(axes[::2], (test, drawn)):
    ax.hist(values, bins, density=True, color=COLOURS["sky"], alpha=0.6)
    ax.plot(grid, learned, color=COLOURS["blue"], label="learned")
    ax.set(xlim=(-3, 4), ylim=(0, 0.62), xlabel="$x$")
axes[0].plot(grid, true_log_p(grid).exp(), ":", color=COLOURS["black"], label="true")
axes[0].legend(fontsize=9, handlelength=1.3)
axes[1].hist(z_test, np.linspace(0, 1, 21), density=True, color=COLOURS["orange"])
axes[1].set(xlabel="$z = f(x)$", ylim=(0, 1.5))
for ax, title in zip(axes, ("test data", "test data, normalized", "draws")):
    ax.set_title(title)
plt.show()


# %% [markdown]
# The flow lies a hundredth of a nat above the floor: five logistics cannot quite imitate a Gaussian hump beside a Gumbel one.
#
# **Predict, then run.** A mixture of five Gaussians, trained by gradient on its log-density, has as many parameters as our flow. It is the natural rival. Which one will have the lower test NLL, and why?


# %% tolerance={"rtol": 0.01}
def gaussians(x, a, mu, log_s):
    """Log-density of a mixture of M Gaussians; [B]."""
    t = (x[:, None] - mu) * (-log_s).exp()
    each = a.log_softmax(-1) - 0.5 * t**2 - log_s - 0.5 * math.log(2 * math.pi)
    return each.logsumexp(-1)


start = (torch.zeros(5), torch.linspace(-2, 2, 5), torch.zeros(5))
rival = [p.double().requires_grad_() for p in start]
optimizer = torch.optim.Adam(rival, lr=0.05)
for _ in range(400 * SCALE):
    optimizer.zero_grad()
    loss = -gaussians(train, *rival).mean()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    gap = -gaussians(test, *rival) + log_p_test
error = gap.std() / len(gap) ** 0.5
print(f"Gaussians minus flow: {gap.mean():.3f} +- {error:.3f} nats")

# %% [markdown]
# :::{dropdown} What to expect
# Hardly any difference. The slope of the CDF of a mixture *is* the density of the mixture, so under a uniform base our flow **is** a mixture of logistics, seen from the other side; what is left between the two is the shape of the components, logistics having the heavier tails. What is gained is not a better fit on the line. It is that maps can be *composed*, one behind the other, which densities cannot.
# :::
#
# (sec-fl-base)=
# ### Does the base matter?
#
# The uniform density and the Gaussian are the usual choices. Let one data set decide, and a real one: the mean radius of the cell nuclei in 569 breast biopsies {cite:p}`street1993`. The same map, a monotone spline with eight pieces on $[-5, 5]$ and 23 parameters, is trained under both. (`Spline` is one
# of `lvmlib`'s *elements*, increasing functions that take their parameters from outside; {doc}`the reference </book/reference/flows>` has its formula.)

# %% tolerance={"atol": 0.02}
biopsies = load_breast_cancer()
radius = torch.tensor(biopsies.data[:, 0])
order = torch.randperm(len(radius), generator=torch.Generator().manual_seed(0))
radius = ((radius - radius.mean()) / radius.std())[order, None]  # [569, 1]
spline, bound = Spline(bins=8, bound=5.0), 5.0
bases = {
    "Gaussian": lambda z: base.log_prob(z),
    "uniform": lambda z: torch.full_like(z, -math.log(2 * bound)),  # on [-5, 5]
}
knots = {}
for name, log_base in bases.items():
    knots[name] = torch.zeros(1, spline.size, 1).double().requires_grad_()
    optimizer = torch.optim.Adam([knots[name]], lr=0.02)
    for _ in range(300 * SCALE):
        z, log_slope = spline.forward(radius[:300], knots[name].expand(300, -1, 1))
        loss = -(log_base(z) + log_slope).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

# %% tolerance={"atol": 0.02}
nll = {}
with torch.no_grad():
    for name, log_base in bases.items():
        z, log_slope = spline.forward(radius[300:], knots[name].expand(269, -1, 1))
        nll[name] = -(log_base(z) + log_slope)[:, 0]
        print(f"{name:8} base: test NLL {nll[name].mean():.2f} nats")
gap = nll["uniform"] - nll["Gaussian"]
print(f"paired difference {gap.mean():.2f} +- {gap.std() / len(gap) ** 0.5:.2f}")

# %% [markdown]
# The two differ by no more than the noise of 269 test examples: the map makes up for the base, and only has to do different work. (Under the uniform base it has to squeeze the tails of the data into the corners of the box, and outside of the box the density is 0, so that a single outlier beyond $\pm 5$ would cost an infinite NLL. That is the one practical reason to prefer a base on the whole line.)
# There is no need to *learn* the base. Whatever a base with a scale and a shift could do, the last layer of $f$ can do as well; so $p_0$ stays fixed during training and only $f$ moves.
#
# (sec-fl-universal)=
# ### Can every density be reached?
#
# A CDF carries its own distribution to the uniform one; an inverse CDF carries the uniform one anywhere. Compose the two and any density becomes any other.
#
# :::{prf:theorem} Universality on the line
# :label: thm-fl-universal
# Let $X$ and $Y$ have continuous densities $p$ and $q$, positive on open intervals $I$ and $J$ and zero outside, with distribution functions $F$ and $G$. Then $T = G^{-1} \circ F$ is an increasing bijection from $I$ to $J$, continuously
# differentiable with $T'(x) = p(x) / q(T(x)) > 0$, and $T(X)$ has the density $q$. It is the only increasing map from $I$ onto $J$ that does this.
# :::
#
# :::{prf:proof}
# $F$ is continuously differentiable with $F' = p > 0$ on $I$, so it maps $I$ bijectively onto $(0, 1)$, and likewise $G$ maps $J$ onto $(0, 1)$. Let $U = F(X)$. For $0 < u < 1$, $P(U \le u) = P(X \le F^{-1}(u)) = u$, so $U$ is uniform, and $P(G^{-1}(U) \le y) = P(U \le G(y)) = G(y)$, so $T(X)$ has the distribution
# function $G$. Differentiating $G(T(x)) = F(x)$ gives $q(T(x))\, T'(x) = p(x)$. If $S$ is another such map, $F(x) = P(X \le x) = P(S(X) \le S(x)) = G(S(x))$, hence $S = G^{-1} \circ F$.
# :::
#
# With $q$ the base, $T$ is a flow for $p$. So on the line flows can represent every positive density, and the map is unique; how well a *parametrised* family does is a question of its size. Now do it, $x \to u \to y$, from a skewed density to our two humps.

# %% tags=["check:thm-fl-universal"]
many = 100_000
skewed = np.random.default_rng(0).gamma(2.0, 1.0, many)  # p(x) = x e^-x on (0, inf)
flat = stats.gamma.cdf(skewed, 2.0)  # F: uniform
fine = np.linspace(-6, 12, 40_001)
G = 0.4 * stats.norm.cdf(fine, -1.5, 0.35) + 0.6 * stats.gumbel_r.cdf(fine, 0.8, 0.5)
two_humps = np.interp(flat, G, fine)  # G^-1, from a table
sampled = draw_humps(many, seed=2).numpy()  # Y itself, drawn without any map
distance = stats.ks_2samp(two_humps, sampled).statistic
limit = 1.63 * (2 / many) ** 0.5
print(f"largest gap between the CDFs of T(x) and of draws of Y: {distance:.4f}")
print(f"1 in 100 pairs of samples of Y would exceed {limit:.4f}")
at = np.array([0.5, 1.0, 3.0])
T = lambda x: np.interp(stats.gamma.cdf(x, 2.0), G, fine)
measured = (T(at + 1e-2) - T(at - 1e-2)) / 2e-2
predicted = stats.gamma.pdf(at, 2.0) / np.exp(true_log_p(T(at)).numpy())
print("T' measured:", np.round(measured, 2), " p / q:", np.round(predicted, 2))
assert distance < limit and np.allclose(measured, predicted, rtol=0.02)

# %% mystnb={"figure": {"caption": "From any density to any other: $x$ through its own distribution function becomes uniform, and the uniform $u$ through the inverse distribution function of the target becomes $y$.", "name": "fig-fl-universal"}, "image": {"alt": "Three histograms: a skewed one that rises fast and falls slowly, a flat one on the unit interval, and one with two humps; on the outer two the exact densities are drawn as curves."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(7, 2.5))
panels = [(skewed, (0, 8), "$x$"), (flat, (0, 1), "$u = F(x)$")]
panels.append((two_humps, (-3, 4), "$y = G^{-1}(u)$"))
for ax, (values, limits, name) in zip(axes, panels):
    inside = values[(values > limits[0]) & (values < limits[1])]
    bins = np.linspace(*limits, 36)
    weights = np.full(len(inside), 1 / (many * (bins[1] - bins[0])))
    ax.hist(inside, bins, weights=weights, color=COLOURS["sky"], alpha=0.7)
    ax.set(xlim=limits, xlabel=name)
line = np.linspace(0, 8, 200)
axes[0].plot(line, stats.gamma.pdf(line, 2.0), color=COLOURS["blue"])
line = np.linspace(-3, 4, 200)
axes[2].plot(line, true_log_p(line).exp(), color=COLOURS["blue"])
axes[0].set_ylabel("density")
plt.show()

# %% [markdown]
# (sec-fl-layers)=
# ### Which functions may be layers?
#
# Networks are stacks of matrices and activation functions, so it is tempting to use the activations as layers of a flow. {prf:ref}`thm-fl-change-line` has two conditions, and each rules some of them out.
#
# - **A bijection with a slope that is never 0.** A *ReLU* sends all negative numbers to 0. Nobody can say which $x$ a 0 came from, so there is no way back for sampling; and its slope there is 0, so $\log |f'| = -\infty$: the likelihood of half the data is zero. (Seen from the other end: push data through a ReLU, and what arrives has no density, since all that was negative sits on a single point.) A *leaky* ReLU has a positive slope on both sides and is a perfectly good layer (a kink in one point does no harm).
# - **Onto the set on which the base lives.** A *sigmoid* is a bijection onto $(0, 1)$. Put it last, in front of a Gaussian base, and all noise outside of $(0, 1)$ is noise that no $x$ is mapped to: $p$ integrates to the Gaussian mass of $(0, 1)$ and not to 1.
#
# **Predict, then run.** What do the four densities in {numref}`fig-fl-layers` integrate to?

# %% mystnb={"figure": {"caption": "What $p_0(f(x))\\, |f'(x)|$ gives under a Gaussian base, for four functions $f$ in the last place (solid; $f$ itself dotted). The integral of the solid line stands above each panel. Only the leaky ReLU makes a density; in the others, noise to which no $x$ is mapped is missing.", "name": "fig-fl-layers"}, "image": {"alt": "Four panels with a dotted function and a solid bump. ReLU: half a bell curve, zero left of the origin. Sigmoid: a low wide bump. Tanh: a higher bump. Leaky ReLU: half a bell curve on the right, and a lower, wider tail on the left."}}
functions = {
    "ReLU": (torch.relu, lambda x: (x > 0).double()),
    "sigmoid": (torch.sigmoid, lambda x: x.sigmoid() * (-x).sigmoid()),
    "tanh": (torch.tanh, lambda x: 1 - x.tanh() ** 2),
}
leaky = lambda x: F.leaky_relu(x, 0.2)
functions["leaky ReLU"] = (leaky, lambda x: torch.where(x > 0, 1.0, 0.2))
fig, axes = plt.subplots(2, 2, figsize=(6, 4), sharex=True, sharey=True)
wide = torch.linspace(-60, 60, 24_000, dtype=torch.float64)  # no point at 0
for ax, (name, (function, its_slope)) in zip(axes.flat, functions.items()):
    pulled = base.log_prob(function(wide)).exp() * its_slope(wide)
    area = torch.trapezoid(pulled, wide)
    print(f"{name:10}: integral {area:.3f}")
    near = wide.abs() <= 4
    black, red = COLOURS["black"], COLOURS["vermilion"]
    ax.plot(wide[near], function(wide[near]), ":", color=black, label="$f(x)$")
    ax.plot(wide[near], pulled[near], color=red, label="$p_0 |f'|$")
    ax.set(xlim=(-4, 4), ylim=(-1.1, 1.1), title=f"{name}: {area:.3f}")
for ax in axes[1]:
    ax.set_xlabel("$x$")
axes[0, 0].legend(fontsize=8, loc="lower right")
plt.show()

# %% [markdown]
# :::{dropdown} What to expect
# One half for the ReLU; $\Phi(1) - \Phi(0) = 0.341$ for the sigmoid and $\Phi(1) - \Phi(-1) = 0.683$ for tanh, the Gaussian mass of the intervals onto which they map; 1 for the leaky ReLU.
# :::
#
# :::{admonition} Watch out: a sigmoid in front of a Gaussian
# :class: pitfall
# Flows with a sigmoid or tanh as the last layer in front of a Gaussian base integrate to 0.341 and 0.683. The reported NLL is not that of a density: it is too high by $\log(1 / 0.341) = 1.08$ nats for every coordinate, and draws must be thrown away unless all coordinates happen to land in the interval. Either the base lives on the interval, or the layer comes with its
# inverse: a logit in front of a Gaussian base is right for data on $(0, 1)$.
# :::
#
# The library refuses what cannot be right, and so does the sampler of a sigmoid layer when a draw has no preimage:

# %%
torch.manual_seed(0)
for attempt in (
    lambda: Elementwise("relu"),
    lambda: Flow([Elementwise("sigmoid", (1,))], StandardNormal((1,))).sample(10),
):
    try:
        attempt()
    except ValueError as problem:
        print(str(problem).split(": there")[0])


# %% [markdown]
# ### Exercises of Part 1
#
# :::{exercise} ★ A layer with a formula
# :label: ex-fl-lognormal
# Data on $(0, \infty)$ go through $f(x) = (\log x - \mu) / \sigma$ to a standard normal base. Which well-known density is this? What is its log-determinant, and which two layers is $f$ made of?
# :::
#
# :::{solution} ex-fl-lognormal
# :class: dropdown
# The log-normal density. $f'(x) = 1 / (\sigma x)$, so $\log p(x) = \log \mathcal{N}(f(x); 0, 1) - \log \sigma - \log x$: the two terms are the log-determinants of the affine layer and of the elementwise logarithm. We shall meet it again in Part 4, where it is hard to beat.
# :::
#
# :::{exercise} ★★ A heavy-tailed flow
# :label: ex-fl-sinh
# Fill the gap: let $f(x) = \operatorname{asinh}(x)$ in front of a standard normal base, return $z$ and $\log f'(x)$, and draw. Check the integral over $[-200, 200]$. How much of the probability lies beyond 4, compared with a Gaussian?
# :::


# %%
def asinh_layer(x):
    """z and log-slope of z = asinh(x)."""
    z = ...  # your code: torch.asinh
    log_slope = ...  # your code: the derivative is 1 / sqrt(1 + x^2)
    return z, log_slope


# %% [markdown]
# :::{solution} ex-fl-sinh
# :class: dropdown
# The next cell. The way back is $x = \sinh z$, and $P(|X| > 4) = P(|Z| > \operatorname{asinh} 4) = 0.036$, about 570 times the $6.3 \cdot 10^{-5}$ of a Gaussian: a layer whose slope *falls* away from the origin makes heavy tails.
# :::

# %% tags=["hide-cell"]
asinh = lambda x: (torch.asinh(x), -0.5 * torch.log1p(x**2))
line = torch.linspace(-200, 200, 400_001, dtype=torch.float64)
z, log_slope = asinh(line)
pdf = (base.log_prob(z) + log_slope).exp()
beyond = 2 * torch.trapezoid(pdf[line >= 4], line[line >= 4]).item()
print(f"integral {torch.trapezoid(pdf, line):.4f}; beyond 4: {beyond:.4f}")
print(f"a Gaussian: {2 * stats.norm.sf(4):.1e}")

# %% [markdown]
# :::{exercise} ★★ Two maps for one density
# :label: ex-fl-two-maps
# {prf:ref}`thm-fl-universal` says that the increasing map is unique. Find a second, different flow $f$ from the exponential density to the uniform base. What do the two densities have in common?
# :::
#
# :::{solution} ex-fl-two-maps
# :class: dropdown
# $f_1(x) = 1 - e^{-x}$ increases and $f_2(x) = e^{-x}$ decreases; both map $(0, \infty)$ onto $(0, 1)$ with $|f'| = e^{-x}$. The density, and so the likelihood, is the same function: data cannot tell which of the two maps made them. In more dimensions there are infinitely many (compose with any rotation of a Gaussian base).
# :::
#
# (sec-fl-two)=
# ## Part 2. Two dimensions: what takes the place of the slope?
#
# On the line the density fell by the factor by which lengths were stretched. In the plane it must fall by the factor by which *areas* are stretched. For a linear map that factor has a name.
#
# :::{prf:theorem} The determinant is a volume
# :label: thm-fl-volume
# Let $A$ be a $D \times D$ matrix with singular values $s_1, \dots, s_D$. Then $\lvert \det A \rvert = \prod_i s_i$, and $A$ multiplies the volume of every measurable set by $\lvert \det A \rvert$.
# :::
#
# :::{prf:proof}
# Take the singular value decomposition $A = U S V^\top$. From $\det(U)^2 = \det(U^\top U) = 1$ and the same for $V$ follows $\lvert \det A \rvert = \det S = \prod_i s_i$. $V^\top$ and $U$ are rotations, perhaps with a reflection; they keep lengths, and with them volumes. $S$ stretches the $i$-th axis by $s_i$, so a box with sides $h_i$
# becomes one with sides $s_i h_i$ (flat, if an $s_i$ is 0). Measurable sets are approximated by disjoint boxes as closely as one likes.
# :::

# %% tags=["check:thm-fl-volume"]
random = torch.Generator().manual_seed(0)
for D in (2, 3, 5):
    A = torch.randn(D, D, generator=random, dtype=torch.float64)
    product = torch.linalg.svdvals(A).prod()
    # Volume of the image of the unit cube: A^-1 tells which points of a box are in it.
    low, high = A.clamp(max=0).sum(1), A.clamp(min=0).sum(1)
    points = torch.rand(400_000, D, generator=random, dtype=torch.float64)
    points = low + (high - low) * points
    back = torch.linalg.solve(A, points.T)
    hits = ((back > 0) & (back < 1)).all(0).double().mean()
    volume = hits * (high - low).prod()
    error = (hits * (1 - hits) / len(points)) ** 0.5 * (high - low).prod()
    det = torch.linalg.det(A).abs()
    print(f"D = {D}: |det| {det:.3f}, singular values {product:.3f}", end=", ")
    print(f"volume {volume:.3f} +- {error:.3f}")
    assert abs(volume - product) < 4 * error

# %% [markdown]
# A smooth map is linear when looked at closely enough, with the Jacobian $J_f(x) = \partial f(x) / \partial x$ as its matrix, as {numref}`fig-fl-area` shows. So $\lvert \det J_f(x) \rvert$ takes the place of the slope.
#
# :::{prf:theorem} Change of variables
# :label: thm-fl-change
# Let $f$ map an open set $I \subseteq \mathbb{R}^D$ bijectively onto an open set $J$, continuously differentiable with $\det J_f(x) \ne 0$ throughout, and let $Z$ have the density $p_0$ on $J$. Then $X = f^{-1}(Z)$ has the density $p(x) = p_0(f(x))\, \lvert \det J_f(x) \rvert$ on $I$.
# :::
#
# :::{prf:proof}
# For a measurable $A \subseteq I$, $P(X \in A) = P(Z \in f(A)) = \int_{f(A)} p_0(z)\, dz = \int_A p_0(f(x))\, \lvert \det J_f(x) \rvert\, dx$. The last step is the substitution rule for multiple integrals; it rests on {prf:ref}`thm-fl-volume`, applied to smaller and smaller cubes.
# :::
#
# :::{prf:theorem} Composition adds log-determinants
# :label: thm-fl-compose
# If $f = f_L \circ \dots \circ f_1$ and $h_0 = x$, $h_l = f_l(h_{l-1})$, then $\log \lvert \det J_f(x) \rvert = \sum_{l=1}^L \log \lvert \det J_{f_l}(h_{l-1}) \rvert$. The Jacobian of the inverse is the inverse matrix, so its log-determinant is the negative.
# :::
#
# :::{prf:proof}
# By the chain rule $J_f(x) = J_{f_L}(h_{L-1}) \cdots J_{f_1}(h_0)$. Determinants multiply and logarithms turn products into sums. $f^{-1} \circ f$ is the identity, whose log-determinant is 0.
# :::
#
# Two simple families of layers come for free. An **elementwise** layer $z_i = f_i(x_i)$ has a diagonal Jacobian, and pays $\sum_i \log |f_i'(x_i)|$. An **affine** layer $z = Ax + b$ pays $\log \lvert \det A \rvert$, the same for every $x$. Stacks of the two already make everything that a neural network is made of, as long as the matrices are square and the activations are on the good side of {numref}`sec-fl-layers`.

# %%
random = torch.Generator().manual_seed(1)
A1, A2 = (torch.randn(2, 2, generator=random, dtype=torch.float64) for _ in range(2))
layers = [
    lambda x: (x @ A1.T, torch.linalg.slogdet(A1)[1].expand(len(x))),  # affine
    lambda x: (x.sinh(), x.cosh().log().sum(1)),  # elementwise
    lambda x: (x @ A2.T, torch.linalg.slogdet(A2)[1].expand(len(x))),
]


def stack(x):
    """z and the sum of the log-determinants; x [B, 2]."""
    total = 0
    for one in layers:
        x, log_det = one(x)
        total = total + log_det
    return x, total


# %% tags=["check:thm-fl-change", "check:thm-fl-compose"]
points = torch.randn(5, 2, generator=random, dtype=torch.float64)
jacobian = torch.autograd.functional.jacobian
jacobians = [jacobian(lambda v: stack(v[None])[0][0], v) for v in points]
autograd = torch.linalg.slogdet(torch.stack(jacobians))[1]
print(f"sum of the layers = autograd: {torch.allclose(stack(points)[1], autograd)}")
axis = torch.linspace(-6, 6, 1201, dtype=torch.float64)
plane = torch.cartesian_prod(axis, axis)  # [1442401, 2]
z, log_det = stack(plane)
mass = (base.log_prob(z).sum(1) + log_det).exp().sum() * (axis[1] - axis[0]) ** 2
print(f"integral over the plane: {mass:.5f}")
assert torch.allclose(stack(points)[1], autograd) and abs(mass - 1) < 1e-4


# %% tags=["hide-input"]
def bend(z):
    """A smooth map, one-to-one on the region shown; [..., 2]."""
    z_1, z_2 = z.unbind(-1)
    return torch.stack([z_1 + 0.35 * (1.4 * z_2).sin(), 0.8 * z_2 + 0.2 * z_1**2], -1)


corner = torch.tensor([0.5, 0.5])
edge = torch.linspace(0, 0.5, 26)
zero, full = torch.zeros(26), torch.full((26,), 0.5)
sides = [(edge, zero), (full, edge), (edge.flip(0), full), (zero, edge.flip(0))]
outline = torch.cat([torch.stack(side, 1) for side in sides]) + corner  # a square

# %% mystnb={"figure": {"caption": "A smooth map (the inverse of the flow's $f$, from noise to data) and its linear approximation. Left: a grid on the noise; right: its image. The small square becomes nearly a parallelogram, spanned by the columns of the Jacobian, whose area is the determinant times that of the square. Where cells grow, the density falls.", "name": "fig-fl-area"}, "image": {"alt": "Left, a square grid with one cell filled. Right, the same grid bent into curved cells; the filled cell is a distorted quadrilateral over which a straight-sided parallelogram is drawn, and the two nearly coincide."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.1))
ticks = torch.linspace(-2, 2, 9)
line = torch.linspace(-2, 2, 101)
for ax, warp in zip(axes, (lambda z: z, bend)):
    for tick in ticks:
        for across in (
            torch.stack([tick.expand(101), line], 1),
            torch.stack([line, tick.expand(101)], 1),
        ):
            ax.plot(*warp(across).T, color="#999999", lw=0.8)
    ax.set(aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.2, 2.6))
    ax.grid(visible=False)
axes[0].fill(*outline.T, color=COLOURS["orange"], alpha=0.7, lw=0)
axes[1].fill(*bend(outline).T, color=COLOURS["orange"], alpha=0.7, lw=0)
J = torch.autograd.functional.jacobian(bend, corner)
square = 0.5 * torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
axes[1].plot(*(bend(corner) + square @ J.T).T, color=COLOURS["blue"], lw=1.5)
axes[0].set(xlabel="$z_1$", ylabel="$z_2$", title="noise")
axes[1].set(xlabel="$x_1$", ylabel="$x_2$", title="data")
plt.show()


# %% [markdown]
# (sec-fl-whitening)=
# ### What does the simplest flow learn?
#
# One affine layer and a Gaussian base: what does maximum likelihood make of it? It *whitens* the data, that is, it gives them mean 0 and the identity as covariance.
#
# :::{prf:proposition} The affine flow whitens
# :label: thm-fl-whitening
# Let data $x_1, \dots, x_N$ have mean $\bar x$ and a nonsingular covariance $\hat\Sigma$ (with $1/N$). The likelihood of the flow $z = A x + b$ under $\mathcal{N}(0, I)$ is largest exactly where $A^\top A = \hat\Sigma^{-1}$ and $b = -A \bar x$. The transformed data then have mean 0 and covariance $I$, and the NLL is $\frac12 \log \det(2 \pi e\, \hat\Sigma)$ per example. $A$ is determined up to a rotation from the left; among lower triangular $A$ with a positive diagonal there is just one.
# :::
#
# :::{prf:proof}
# The flow's density is $\mathcal{N}(x; -A^{-1} b, (A^\top A)^{-1})$, and every Gaussian with a nonsingular covariance arises. The maximum-likelihood Gaussian has mean $\bar x$ and covariance $\hat\Sigma$, and no other has its likelihood, so $A^\top A = \hat\Sigma^{-1}$. Then $A \hat\Sigma A^\top = A (A^\top A)^{-1} A^\top = I$. The NLL is $\frac D2 \log 2\pi + \frac12 \log \det \hat\Sigma$ plus half the mean of $\lVert z \rVert^2$, which is the trace of $I$, $D$. If $A^\top A = B^\top B$, then $B A^{-1}$ is orthogonal; a lower triangular
# orthogonal matrix with a positive diagonal is $I$.
# :::


# %%
def most_likely(white, x):
    """Maximise the likelihood of an affine flow for x [N, D]; returns the NLL."""
    optimizer = torch.optim.LBFGS(white.parameters(), max_iter=200, tolerance_change=0)

    def closure():
        optimizer.zero_grad()
        loss = -white.log_prob(x).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    return closure().item()


# %% tags=["check:thm-fl-whitening"]
moons = toy("two_moons")
torch.manual_seed(0)
points = moons.sample(2000).double() @ torch.tensor([[1.0, 0.6], [0.0, 1.0]]).double()
covariance = torch.cov(points.T, correction=0)
best = 0.5 * torch.logdet(2 * math.pi * math.e * covariance)
for kind in ("full", "triangular"):
    white = Flow([Affine((2,), kind)], StandardNormal((2,))).double()
    reached = most_likely(white, points)
    z = white.layers[0](points)[0].detach()
    A = white.layers[0].matrix.whole().detach()
    after = torch.cov(z.T, correction=0)
    whitened = torch.allclose(after, torch.eye(2).double(), atol=1e-4)
    print(f"{kind:10}: NLL {reached:.4f}, by the formula {best:.4f}", end="; ")
    print(f"whitened: {whitened}")
    assert torch.allclose(A.T @ A, covariance.inverse(), atol=1e-4)

# %% [markdown]
# So a single affine flow is a Gaussian and no more. To bend, it takes nonlinear layers whose determinants stay cheap.
#
# (sec-fl-triangular)=
# ### One coordinate after another
#
# The trick that carries the rest of the chapter: let the first coordinate move by itself, and let the second move in a way that *depends on the first*.
#
# $$ z_1 = f_1(x_1), \quad z_2 = f_2(x_2;\, x_1), \qquad \frac{\partial z}{\partial x} = \begin{pmatrix} \frac{\partial f_1}{\partial x_1} & 0 \\ \frac{\partial f_2}{\partial x_1} & \frac{\partial f_2}{\partial x_2} \end{pmatrix} . $$ (eq-fl-triangular)
#
# The matrix is lower triangular, so its determinant is the product of the diagonal: *two slopes*. The entry below the diagonal, the derivative of whatever network computes the parameters of $f_2$ from $x_1$, does not matter at all. That network need not be invertible, nor do we ever differentiate it for the density. Each coordinate needs an increasing function only *in itself*.
# Going back is as easy: first $x_1 = f_1^{-1}(z_1)$, then, with $x_1$ known, $x_2 = f_2^{-1}(z_2;\, x_1)$.
#
# :::{admonition} Watch out: which derivative stands for the second coordinate
# :class: pitfall
# It is $\partial f_2 / \partial x_2$ with $x_1$ held fixed, and not $\partial f_2 / \partial x_1$. For $z_1 = x_1$ and $z_2 = e^{x_1} x_2$ the right density integrates to 1; with $|\partial f_2 / \partial x_1| = e^{x_1} |x_2|$ the integral over the plane is 1.32.
# :::

# %%
half = torch.linspace(-6, 6, 601, dtype=torch.float64)
tall = torch.linspace(-200, 200, 8001, dtype=torch.float64)
across, up = torch.meshgrid(half, tall, indexing="ij")
log_base = base.log_prob(across) + base.log_prob(across.exp() * up)
for name, factor in {"right": across.exp(), "wrong": across.exp() * up.abs()}.items():
    by_columns = torch.trapezoid(log_base.exp() * factor, up[0], dim=1)
    print(f"{name} derivative: integral {torch.trapezoid(by_columns, half):.2f}")

# %% [markdown]
# Now write it. Both $f_1$ and $f_2$ are CDF flows from Part 1 with $M = 12$ logistics. The parameters of $f_1$ are free numbers; those of $f_2$ come out of a small network that reads $x_1$. (`MLP` has two hidden layers of ReLUs, and they are welcome here: it is no layer of the flow, and nobody has to invert it.) The base is uniform on the square.

# %%
M = 12  # logistics for each coordinate


class PlanarFlow(nn.Module):
    """u_1 = F(x_1), u_2 = F(x_2 | x_1): an autoregressive flow in the plane."""

    def __init__(self):
        super().__init__()
        means = torch.linspace(-3, 3, M)
        self.start = torch.cat([torch.zeros(M), means, torch.zeros(M)])
        self.first = nn.Parameter(self.start.clone())  # a, mu, log_s of f_1
        self.net = MLP(1, (64, 64), 3 * M)

    def parameters_of(self, t, x_1):
        """a, mu, log_s of f_t, each [B, M]."""
        if t == 1:
            return self.first.expand(len(x_1), -1).chunk(3, 1)
        return (self.start + self.net(x_1[:, None])).chunk(3, 1)

    def log_prob(self, x):
        _, log_slope_1 = mixture_cdf(x[:, 0], *self.parameters_of(1, x[:, 0]))
        _, log_slope_2 = mixture_cdf(x[:, 1], *self.parameters_of(2, x[:, 0]))
        return log_slope_1 + log_slope_2  # log-density of the base is 0


# %%
@torch.no_grad()
def draw_planar(flow, u):
    """x with f(x) = u, one coordinate after the other; u [B, 2]."""
    x = torch.zeros_like(u)
    for t in (1, 2):  # x_1 must be known before x_2
        p = flow.parameters_of(t, x[:, 0])
        x[:, t - 1] = bisect(lambda v, p=p: mixture_cdf(v, *p)[0], u[:, t - 1])
    return x


# %% [markdown]
# `lvmlib.toys` provides densities of the plane, each with its exact $\log p(x)$. So the floor is known: on the same test points no model can expect a lower NLL than the true density has, and the mean difference estimates $\operatorname{KL}(p \,\Vert\, p_\theta)$. Three of them are learned here, each by the same network, with one seed, 900 steps of Adam and fresh batches of 500 points; more steps would still help the checkerboard, which is *not converged*.

# %%
names = ("two_moons", "eight_gaussians", "checkerboard")


def train_planar(draw_points, steps=900 * SCALE):
    """Train by hand on fresh draws, with a learning rate that falls to 0."""
    seed_everything(0)
    flow = PlanarFlow().double()  # rounding in float32 would grow over the steps
    optimizer, rate = torch.optim.Adam(flow.parameters()), cosine(1e-2, steps)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate(step)
        loss = -flow.log_prob(draw_points(500).double()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return flow


planar = {name: train_planar(toy(name).sample) for name in names}

# %% [markdown]
# **Predict, then run.** The flow takes $x_1$ first. Would it do as well with $x_2$ first? For which of the three densities might it matter?

# %% tolerance={"rtol": 0.02, "atol": 0.03}
flipped = lambda name: lambda n: toy(name).sample(n).flip(1)
turned = {name: train_planar(flipped(name)) for name in names}
print(f"{'':17}true density  x_1 first       x_2 first       Gaussian")
for name in names:
    torch.manual_seed(1)
    x = toy(name).sample(20_000)
    floor, x = -toy(name).log_prob(x), x.double()
    with torch.no_grad():
        normal = MultivariateNormal(x.mean(0), torch.cov(x.T))
        found = [-planar[name].log_prob(x), -turned[name].log_prob(x.flip(1))]
        found.append(-normal.log_prob(x))
    cells = [f"{v.mean():.2f} (+{(v - floor).mean():.2f})   " for v in found]
    print(f"{name:17}{floor.mean():.2f}          " + " ".join(cells).rstrip())

# %% [markdown]
# :::{dropdown} What to expect
# In principle the order is free: any density can be taken apart either way (the theorem below). With finite conditionals it can matter. One might bet on $x_1$ first for the moons, which a vertical line crosses at most twice and a horizontal line up to four times; but twelve logistics are enough for either. The eight Gaussians and the board are the same when their axes are exchanged. What both orders share is what this family finds hard: edges. The density of the checkerboard jumps along every side of a square. A mixture of logistics must spend narrow components on the jumps in $x_2$, and where the squares change places the network, continuous in $x_1$, leaves some density between them ({numref}`fig-fl-planar`, bottom row).
# :::

# %% mystnb={"figure": {"caption": "Three densities of the plane: draws from the density itself, the density learned by the autoregressive flow written by hand, and 2,000 draws from that flow (each by two bisections). Colours go by the fourth root of the density, so that faint tails show, each panel on its own scale.", "name": "fig-fl-planar"}, "image": {"alt": "Three rows of three panels for two moons, eight Gaussians on a circle and a checkerboard. In each row the middle panel shows the shape as a smooth density with faint tails and the outer ones as clouds of points; left and right look alike, apart from some stray points and soft edges in the checkerboard."}} tags=["hide-input", "photo"] tolerance={"figure": 0.35, "data": 0.2, "draws": ["axes 3", "axes 6", "axes 9"]}
fig, axes = plt.subplots(3, 3, figsize=(6, 6), sharex=True, sharey=True)
side = torch.linspace(-4.5, 4.5, 300, dtype=torch.float64)
lattice = torch.cartesian_prod(side, side)
for row, name in zip(axes, names):
    torch.manual_seed(2)
    points = toy(name).sample(2000)
    walked = draw_planar(planar[name], torch.rand(2000, 2, dtype=torch.float64))
    with torch.no_grad():
        density = planar[name].log_prob(lattice).exp().view(1, 300, 300)
        density = F.avg_pool2d(density, 3)[0].T  # means over 3 x 3 points
    row[0].plot(*points.T, ".", ms=1.2, color=COLOURS["blue"])
    row[1].imshow(density**0.25, extent=(-4.5, 4.5) * 2, origin="lower", aspect="auto")
    row[2].plot(*walked.T, ".", ms=1.2, color=COLOURS["vermilion"])
    for ax in row:
        ax.set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), aspect="equal", xticks=[], yticks=[])
        ax.grid(visible=False)
    row[0].set_ylabel(name.replace("_", " "))
for ax, title in zip(axes[0], ("data", "learned density", "draws")):
    ax.set_title(title)
plt.show()

# %% [markdown]
# In `lvmlib` the increasing function is an *element* and the layer is told which one to use: `MaskedAutoregressive((2,), hidden=(64,), element=MixtureLogistic(12))` is a flow of the same family, with the logit of the CDF in place of the CDF, so that a base on the whole line fits behind it; the element comes from Flow++ {cite:p}`ho2019`, which {doc}`the reference </book/reference/flows>` describes. It agrees with ours number for number (code hidden):

# %% tags=["hide-input"]
random = torch.Generator().manual_seed(0)
draw = lambda width: torch.randn(100, width, generator=random, dtype=torch.float64)
x, logits, loc = draw(1), draw(M), 2 * draw(M)
log_scale = 0.5 * draw(M)
u, log_slope = mixture_cdf(x[:, 0], logits, loc, log_scale)
z_ours = u.log() - (-u).log1p()  # the logit, whose slope is 1 / (u (1 - u))
paid = log_slope - u.log() - (-u).log1p()

element = MixtureLogistic(M)
spread_out = torch.linspace(-2, 2, M)  # lvmlib adds this to the means,
inside_5 = 5 * torch.atanh(log_scale / 5)  # keeps log-scales within 5
inside_5 = inside_5 + math.log((M - 1) / 2)  # and starts narrow
told = [logits, loc - spread_out, inside_5, torch.zeros(100, 2)]  # no scale, no shift
told = torch.cat(told, 1)
z_theirs, log_slope_theirs = element.forward(x, told[:, :, None])
same = torch.allclose(z_theirs[:, 0], z_ours)
same = same and torch.allclose(log_slope_theirs[:, 0], paid)
same = same and torch.allclose(element.inverse(z_theirs, told[:, :, None])[0], x)
print(f"element and hand-written CDF agree, and back again: {same}")
assert same

# %% [markdown]
# (sec-fl-rosenblatt)=
# ### Is triangular enough?
#
# It looks like a severe restriction that $z_1$ may not depend on $x_2$. It is not a restriction. {cite:t}`rosenblatt1952` wrote down the map that proves it, long before anybody trained one: send each coordinate through its *conditional* distribution function.
#
# :::{prf:theorem} Universality of triangular maps
# :label: thm-fl-rosenblatt
# Let $p$ be a positive continuous density on $\mathbb{R}^D$ whose conditionals $p(x_t \mid x_{<t})$ exist as positive densities, continuous in all their arguments, with distribution functions $F_t(x_t \mid x_{<t})$. The map $u_t = F_t(x_t \mid x_{<t})$, $t = 1, \dots, D$, is a bijection from $\mathbb{R}^D$ onto $(0, 1)^D$, and $U$ is uniform on the cube if $X$ has the density $p$. The product of the slopes $\partial u_t / \partial x_t$ is $p(x)$. Conversely, walking the map back from uniform $U$ draws from $p$, one coordinate after another.
# :::
#
# :::{prf:proof}
# Given $x_{<t}$, $F_t$ increases strictly from 0 to 1 in $x_t$, so $x_1, x_2, \dots$ are found from $u_1, u_2, \dots$ in turn: a bijection. The slope of $F_t$ in $x_t$ is $p(x_t \mid x_{<t})$, and the product of these is $p(x)$ by the chain rule. Given $X_{<t} = x_{<t}$, the variable $U_t$ is uniform by {prf:ref}`thm-fl-universal`, whatever $x_{<t}$ is. So $U_t$ is independent of $X_{<t}$, and hence of $U_{<t}$, which is a function of it. Therefore $U_1, \dots, U_D$ are independent and uniform. The inverse map applied to a uniform $U$ draws $x_t$ from $p(x_t \mid x_{<t})$, which by the chain rule of probability draws $x$ from $p$.
# :::
#
# So a triangular flow *is* the chain rule of {doc}`chapter 3 <03_autoregressive_models>`, with conditionals that are densities: one increasing function for each of them. (With an inverse Gaussian CDF behind every $u_t$ the base is $\mathcal{N}(0, I)$.) For the eight Gaussians we know the map in closed form, since the conditional of a mixture is a mixture.

# %%
eight = toy("eight_gaussians")
means, sigma = eight.means.double(), eight.sigma


def rosenblatt(x, first=0):
    """u of the exact triangular map that takes coordinate `first` first; x [B, 2]."""
    t = (x[:, None] - means) / sigma  # [B, 8, 2]
    below = torch.special.ndtr(t)
    u_first = below[..., first].mean(1)
    r = (-0.5 * t[..., first] ** 2).softmax(1)  # which Gaussian, given that coordinate
    u_second = (r * below[..., 1 - first]).sum(1)
    return torch.stack([u_first, u_second], 1)


# %% tags=["check:thm-fl-rosenblatt"]
torch.manual_seed(0)
x = eight.sample(64_000).double()
for first in (0, 1):
    u = rosenblatt(x, first)
    cell = (u * 8).long().clamp(max=7)
    counts = torch.bincount(cell[:, 0] * 8 + cell[:, 1], minlength=64)
    chi2 = ((counts - 1000.0) ** 2 / 1000).sum().item()
    v = x[:3].clone().requires_grad_()
    summed = lambda v, first=first: rosenblatt(v, first).sum(0)
    J = torch.autograd.functional.jacobian(summed, v)
    log_det = torch.linalg.slogdet(J.movedim(1, 0))[1]  # of each of the three points
    exact = torch.allclose(log_det, eight.log_prob(x[:3].float()).double(), atol=1e-4)
    print(f"x_{first + 1} first: chi-square {chi2:.1f}", end=", ")
    print(f"63 +- {126**0.5:.1f} if uniform; log-determinant = log p(x): {exact}")
    assert abs(chi2 - 63) < 4 * 126**0.5 and exact

# %% mystnb={"figure": {"caption": "Two exact flows for the same density: lines of constant $u_1$ and $u_2$, 1/16 apart, under Rosenblatt's map, with the coordinates taken in either order, over draws from the density in grey. Every inner cell holds 1/256 of the probability. A different order gives a different map, and the same density.", "name": "fig-fl-rosenblatt"}, "image": {"alt": "Two panels with a grid bent around eight clusters of grey points on a circle. In the left one all lines of one family are vertical and straight, in the right one those of one family are horizontal and straight; the lines of the other family bend towards the clusters, where cells are small."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2), sharey=True)
side = torch.linspace(-4.2, 4.2, 241, dtype=torch.float64)
lattice = torch.cartesian_prod(side, side)
levels = np.arange(1, 32, 2) / 32
torch.manual_seed(0)
eight_points = eight.sample(600)
for ax, first in zip(axes, (0, 1)):
    maps = rosenblatt(lattice, first).view(241, 241, 2)
    for i, tint in zip((0, 1), ("blue", "vermilion")):
        style = {"colors": COLOURS[tint], "linewidths": 0.7}
        ax.contour(side, side, maps[..., i].T, levels, **style)
    ax.plot(*eight_points.T, ".", ms=1.5, color="#bbbbbb", zorder=0)
    ax.set(aspect="equal", xlabel="$x_1$", title=f"$x_{first + 1}$ first")
    ax.grid(visible=False)
axes[0].set_ylabel("$x_2$")
plt.show()


# %% [markdown]
# ### Exercises of Part 2
#
# :::{exercise} ★ Polar coordinates
# :label: ex-fl-polar
# A point of the plane has angle $\varphi$, uniform on $(0, 2\pi)$, and radius $r > 0$ with density $r e^{-r^2/2}$, independent of it. Use {prf:ref}`thm-fl-change` to find the density of $(x_1, x_2) = (r \cos\varphi, r \sin\varphi)$.
# :::
#
# :::{solution} ex-fl-polar
# :class: dropdown
# The map from $(r, \varphi)$ to $x$ has Jacobian determinant $r$, so its inverse has $1/r$, and $p(x) = r e^{-r^2/2} \cdot \frac{1}{2\pi} \cdot \frac1r = \frac{1}{2\pi} e^{-\lVert x \rVert^2 / 2}$: the standard normal. Read from right to left this is the Box-Muller method: with $r = \sqrt{-2 \log u}$, uniform numbers become Gaussian ones, by a flow.
# :::
#
# :::{exercise} ★★ The second coordinate
# :label: ex-fl-banana
# Fill the gap. A banana is $x_1 = z_1$, $x_2 = z_2 + z_1^2$ with $z \sim \mathcal{N}(0, I)$. Write its log-density as a triangular flow, check that it integrates to 1, and find the NLL of the best Gaussian on it.
# :::


# %%
def banana_log_prob(x):
    """Log-density of the banana; x [B, 2]."""
    z_1, z_2 = x[:, 0], ...  # your code
    log_det = ...  # your code: what stands on the diagonal of the Jacobian?
    return base.log_prob(z_1) + base.log_prob(z_2) + log_det


# %% [markdown]
# :::{solution} ex-fl-banana
# :class: dropdown
# The next cell. $z_2 = x_2 - x_1^2$, and the diagonal is $(1, 1)$: the log-determinant is 0, however strong the bend. So the banana's entropy is that of the base, $\log 2\pi e = 2.838$ nats. Its covariance is $\operatorname{diag}(1, 1 + \operatorname{Var}(z_1^2)) = \operatorname{diag}(1, 3)$, so the best Gaussian has $\log 2\pi e + \frac12 \log 3 = 3.387$.
# :::

# %% tags=["hide-cell"]
banana = lambda x: base.log_prob(x[:, 0]) + base.log_prob(x[:, 1] - x[:, 0] ** 2)
axis_1 = torch.linspace(-6, 6, 601, dtype=torch.float64)
axis_2 = torch.linspace(-8, 44, 2601, dtype=torch.float64)
p_banana = banana(torch.cartesian_prod(axis_1, axis_2)).exp()
print(f"integral {p_banana.sum() * 0.02 * 0.02:.4f}")
print(f"entropy {math.log(2 * math.pi * math.e):.3f}", end=", ")
print(f"best Gaussian {math.log(2 * math.pi * math.e) + 0.5 * math.log(3):.3f} nats")

# %% [markdown]
# :::{exercise} ★★ A corner cut out
# :label: ex-fl-corner
# Let $x$ be uniform on the L-shaped region $(0, 2)^2 \setminus (1, 2)^2$. Find Rosenblatt's map with $x_1$ first. Is it continuous? Which condition of {prf:ref}`thm-fl-rosenblatt` fails, and does the map still draw from $p$?
# :::
#
# :::{solution} ex-fl-corner
# :class: dropdown
# The area is 3. $x_1$ has density $2/3$ on $(0, 1)$ and $1/3$ on $(1, 2)$, so $u_1 = \frac23 x_1$, then $\frac23 + \frac13 (x_1 - 1)$. Given $x_1$, $x_2$ is uniform on $(0, 2)$ or on $(0, 1)$: $u_2 = x_2 / 2$ for $x_1 < 1$ and $u_2 = x_2$ beyond. So $u_2$ jumps at $x_1 = 1$. The density is neither positive nor continuous on the plane, and the conditional is not continuous in $x_1$. The map is still a bijection onto the square up to a set of measure zero, and its inverse draws from $p$: the sampling half of the proof uses continuity in $x_t$ alone. A network that is continuous in $x_1$ can only approach it.
# :::
#
# (sec-fl-many)=
# ## Part 3. Many dimensions: one pass, or $D$ of them?
#
# Why insist on triangular maps when any Jacobian has a determinant? Because it has to be computed, and differentiated, for *every example in every step*. Without structure that is an elimination, $O(D^3)$; on a triangular matrix it is a sum of $D$ logarithms, and nothing off the diagonal is even formed. {numref}`fig-fl-determinant` shows
# what this means on one core, from `benchmarks/determinant.py`.

# %% mystnb={"figure": {"caption": "Time for the log-determinant of one $D \\times D$ matrix together with its gradient, on one core, as measured by `benchmarks/determinant.py`: without structure, and as the sum over the diagonal of a triangular one. A flow pays this for each example.", "name": "fig-fl-determinant"}, "image": {"alt": "Two lines on logarithmic axes against dimensions from 8 to 1024. The one for a triangular matrix is nearly flat. The one without structure starts close above it and rises ever more steeply, to three orders of magnitude more."}} tags=["hide-input"]
rows = benchmark("determinant")
D_axis = [row["dims"] for row in rows]
fig, ax = plt.subplots(figsize=(6, 3))
for way, style in {"full": "o-", "triangular": "s--"}.items():
    label = {"full": "no structure"}.get(way, way)
    ax.plot(D_axis, [row["us"][way] for row in rows], style, ms=4, label=label)
ax.set(xscale="log", yscale="log", xlabel="dimensions $D$", ylabel="microseconds")
ax.set_xticks(D_axis, [str(D) for D in D_axis])
ax.minorticks_off()
ax.legend()
plt.show()

# %% [markdown]
# At 64 dimensions elimination takes about five times as long, at 1,024 more than a thousand times, and a colour image of 32x32 pixels has 3,072. Three wishes, then, for a layer: it must be **invertible**, **differentiable**, and have a **determinant that is cheap to compute and to differentiate**. Autoregressive layers have all three in any number of dimensions:
#
# $$ z_t = f_t(x_t;\, x_1, \dots, x_{t-1}), \qquad \log \lvert \det J_f(x) \rvert = \sum_{t=1}^D \log \left| \frac{\partial f_t}{\partial x_t} \right| . $$ (eq-fl-autoregressive)
#
# (sec-fl-maf)=
# ### A Bayes net that is a flow
#
# What is the simplest choice of $f_t$? A shift and a scale. It turns out that we have known its sampler since chapter 3.
#
# :::{prf:theorem} Gaussian conditionals make a flow
# :label: thm-fl-maf
# Let $\mu_t$ and $\alpha_t$ be continuously differentiable functions of $x_{<t}$, $t = 1, \dots, D$. Drawing $x_t \sim \mathcal{N}\bigl(\mu_t(x_{<t}),\, e^{2 \alpha_t(x_{<t})}\bigr)$ for $t = 1, \dots, D$ in turn is drawing from the flow with base $\mathcal{N}(0, I)$ and
#
# $$ z_t = \frac{x_t - \mu_t(x_{<t})}{e^{\alpha_t(x_{<t})}} , \qquad \log \lvert \det J_f(x) \rvert = - \sum_{t=1}^D \alpha_t(x_{<t}) $$ (eq-fl-maf)
#
# The density of the one is the density of the other.
# :::
#
# :::{prf:proof}
# To draw $x_t$ is to draw $z_t \sim \mathcal{N}(0, 1)$ and to set $x_t = \mu_t(x_{<t}) + e^{\alpha_t(x_{<t})} z_t$, which is {eq}`eq-fl-maf` solved for $x_t$. So sampling is $x = f^{-1}(z)$; the map is a bijection, since $x_1, x_2, \dots$ follow from $z$ in turn. Its Jacobian is triangular with $e^{-\alpha_t}$ on the diagonal. And $\log \mathcal{N}(x_t; \mu_t, e^{2\alpha_t}) = \log \mathcal{N}(z_t; 0, 1) - \alpha_t$; sum over $t$.
# :::
#
# (ReLU networks have kinks, on a set of measure zero. The statement holds for them as well: the product of the conditionals is the density of the draws whether or not anything is differentiable.)
#
# A Bayes net of Gaussians with every arrow in it: each conditional standardises its coordinate. So one such layer is no new model. The gain comes from *stacking*. The $z$ of one layer is the data of the next, which takes the coordinates in another order and straightens what is left. This is the **{term}`masked autoregressive flow`**, MAF {cite:p}`papamakarios2017`.
#
# Who computes $\mu_t$ and $\alpha_t$? Three ways to share the work:
#
# - *One network per coordinate.* Flexible, and the number of parameters grows with $D^2$. (The table gives each its own 32 hidden units.)
# - *A recurrent network* reads $x_1, x_2, \dots$ and gives $\mu_t, \alpha_t$ from its state after $x_{t-1}$. The number of parameters does not depend on $D$, but even the density now takes $D$ sequential steps.
# - *One network with masks*, the MADE {cite:p}`germain2015` of {numref}`sec-ar-made`: all $\mu_t$ and $\alpha_t$ in one pass. (Here all coordinates share 32 units, too few for 784; a real one is wider.)

# %%
H = 32
print("parameters        D = 8       64      784")
shared = {
    "one network each": lambda D: sum(t * H + 2 * H + 2 for t in range(1, D + 1)),
    "recurrent (GRU)": lambda D: 3 * (H + H * H + 2 * H) + 2 * H + 2,
    "masked, 32 units": lambda D: D * H + H + 2 * D * H + 2 * D,
}
for name, count in shared.items():
    print(f"{name:17}" + " ".join(f"{count(D):8,}" for D in (8, 64, 784)))


# %% [markdown]
# :::{dropdown} Optional: a recurrent conditioner in ten lines
# The next cell is a flow whose conditioner is a GRU. The input is shifted by one, as in {numref}`sec-ar-sharing`, so that the state at $t$ has read $x_1, \dots, x_{t-1}$; the Jacobian comes out triangular, with the log-determinant on its diagonal.
# :::


# %% tags=["hide-input"]
class RecurrentLayer(nn.Module):
    """z_t = (x_t - mu_t) exp(-alpha_t) with mu_t, alpha_t from a GRU."""

    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(1, H, batch_first=True), nn.Linear(H, 2)

    def forward(self, x):
        before = F.pad(x[:, :-1], (1, 0))[:, :, None]  # [B, D, 1]: 0, x_1, ..., x_{D-1}
        mu, alpha = self.out(self.gru(before)[0]).unbind(2)  # each [B, D]
        return (x - mu) * (-alpha).exp(), -alpha.sum(1)


torch.manual_seed(0)
recurrent, v = RecurrentLayer().double(), torch.randn(1, 6).double()
J = torch.autograd.functional.jacobian(lambda v: recurrent(v)[0][0], v)[:, 0]  # [6, 6]
agree = torch.allclose(J.diagonal().log().sum(), recurrent(v)[1])
print(f"nothing above the diagonal: {J.triu(1).abs().max().item() == 0}", end="; ")
print(f"log-determinant on it: {agree}")


# %% [markdown]
# Here is MAF by hand: the masks of chapter 3 with two outputs for each coordinate, a shift and a log-scale, the latter held within $\pm 2$ so that no step of training can blow up.


# %%
class Conditioner(nn.Module):
    """mu_t and alpha_t from the coordinates that come before t in a given order."""

    def __init__(self, order, hidden):
        super().__init__()
        D = len(order)
        place = order.argsort() + 1  # of each coordinate: first 1, last D
        degree = 1 + torch.arange(hidden) * (D - 1) // hidden  # 1 ... D - 1
        self.M_in = (degree[:, None] >= place).float()  # [H, D]
        self.M_out = (place[:, None] > degree).float().repeat(2, 1)  # [2 D, H]
        self.hidden, self.out = nn.Linear(D, hidden), nn.Linear(hidden, 2 * D)
        with torch.no_grad():
            self.out.weight.mul_(0.1)  # near the identity
            self.out.bias.zero_()

    def forward(self, x):
        """mu and alpha of all coordinates, each [B, D], in one pass."""
        h = F.relu(F.linear(x, self.M_in * self.hidden.weight, self.hidden.bias))
        y = F.linear(h, self.M_out * self.out.weight, self.out.bias)
        mu, raw = y.chunk(2, 1)
        return mu, 2 * torch.tanh(raw / 2)


# %%
class MaskedLayer(nn.Module):
    """x -> z and its log-determinant, with the coordinates taken in a given order."""

    def __init__(self, order, hidden):
        super().__init__()
        self.order, self.conditioner = order, Conditioner(order, hidden)

    def forward(self, x):
        mu, alpha = self.conditioner(x)
        return (x - mu) * (-alpha).exp(), -alpha.sum(1)

    def inverse(self, z):
        x = torch.zeros_like(z)
        for t in self.order:  # one coordinate after another: D passes
            mu, alpha = self.conditioner(x)
            x[:, t] = mu[:, t] + alpha[:, t].exp() * z[:, t]
        return x


# %% [markdown]
# The data: eight measurements of the cell nuclei of 569 biopsies {cite:p}`street1993`, such as radius, perimeter, area and smoothness. Area grows with the square of the radius, a bend that no Gaussian can follow. We train three layers, in alternating order, on three fifths of the rows. A fifth is for validation, since a net with a few hundred rows soon learns them by heart: we keep the weights that were best on it.

# %%
columns = [0, 1, 2, 3, 4, 5, 8, 9]  # two further ones contain exact zeros, see below
table = torch.tensor(biopsies.data[:, columns])
shuffled = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))
folds = table[shuffled].chunk(5)
train_rows, valid_rows, test_rows = torch.cat(folds[2:]), folds[1], folds[0]
center, spread = train_rows.mean(0), train_rows.std(0)
standardise = lambda rows: ((rows - center) / spread).float()
train_x, valid_x, test_x = map(standardise, (train_rows, valid_rows, test_rows))
forwards, backwards = torch.arange(8), torch.arange(8).flip(0)


def log_prob(layers, x):
    """Log-density of a stack of layers under a standard normal base; [B], nats."""
    total = 0
    for one in layers:
        x, log_det = one(x)
        total = total + log_det
    return total + base.log_prob(x).sum(1)


# %%
seed_everything(0)
hand_made = [MaskedLayer(o, H) for o in (forwards, backwards, forwards)]
weights = [p for one in hand_made for p in one.parameters()]
optimizer = torch.optim.Adam(weights, lr=5e-3)
lowest, kept = math.inf, []
for step in range(201 * SCALE):
    if step % 10 == 0:
        with torch.no_grad():
            valid_nll = -log_prob(hand_made, valid_x).mean()
        if valid_nll < lowest:
            lowest, best_step = valid_nll, step
            kept = [p.detach().clone() for p in weights]
    optimizer.zero_grad()
    loss = -log_prob(hand_made, train_x).mean()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    for p, best in zip(weights, kept):
        p.copy_(best)


# %% tolerance={"rtol": 0.1, "atol": 0.1}
@torch.no_grad()
def draw_from(layers, z):
    """Walk the stack backwards."""
    for one in reversed(layers):
        z = one.inverse(z)
    return z


normal = MultivariateNormal(train_x.mean(0), torch.cov(train_x.T, correction=0))
noise = torch.randn(569, 8, generator=torch.Generator().manual_seed(1))
maf_draws = draw_from(hand_made, noise)
with torch.no_grad():
    of_maf, of_normal = -log_prob(hand_made, test_x), -normal.log_prob(test_x)
    back = maf_draws
    for one in hand_made:
        back, _ = one(back)
gap = of_normal - of_maf
print(f"test NLL: Gaussian {of_normal.mean():.1f}, MAF {of_maf.mean():.1f} nats")
print(f"gain {gap.mean():.1f} +- {gap.std() / len(gap) ** 0.5:.1f}", end="; ")
print(f"on {(gap > 0).float().mean():.0%} of the rows, median {gap.median():.1f}")
print(f"drawn, and through the flow again: {torch.allclose(back, noise, atol=1e-3)}")
assert torch.allclose(back, noise, atol=1e-3)

# %% [markdown]
# Trained, tested, sampled. MAF is ahead of the best Gaussian on most of these 114 rows; the mean is less sure than the median, because a few unusual rows cost a model dearly, and Part 4 asks how sure it is. `lvmlib`'s `maf` is the same stack. With our weights copied into it, it gives the same density, and the same draws from the same noise:

# %%
theirs = maf((8,), layers=3, hidden=(H,))
with torch.no_grad():
    for layer, ours in zip(theirs.layers, hand_made):
        layer.net.layers[0].load_state_dict(ours.conditioner.hidden.state_dict())
        layer.net.output.load_state_dict(ours.conditioner.out.state_dict())
    same = torch.allclose(theirs.log_prob(test_x), -of_maf, atol=1e-3)
    same_draws = torch.allclose(theirs.decode(noise), maf_draws, atol=1e-3)
print(f"the same density: {same}; the same draws: {same_draws}")
assert same and same_draws

# %% tags=["check:thm-fl-maf"]
one = hand_made[0]
with torch.no_grad():
    mu, alpha = one.conditioner(test_x)
    conditionals = torch.distributions.Normal(mu, alpha.exp()).log_prob(test_x)
    agree = torch.allclose(conditionals.sum(1), log_prob([one], test_x), atol=1e-3)
J = torch.autograd.functional.jacobian(lambda v: one(v[None])[0][0], test_x[0])
log_det = torch.linalg.slogdet(J)[1]
exact = torch.allclose(log_det, one(test_x[:1])[1], atol=1e-4)
print(f"product of Gaussian conditionals = flow: {agree}")
print(f"triangular: {J.triu(1).abs().max().item() == 0}", end="; ")
print(f"log-determinant by autograd: {exact}")
assert agree and exact and J.triu(1).abs().max() == 0

# %% mystnb={"figure": {"caption": "Two of the eight measurements, radius and area, standardised. Left: all 569 rows. Middle: as many draws from the best Gaussian, which knows the correlation and not the bend. Right: draws from the MAF written by hand.", "name": "fig-fl-biopsies"}, "image": {"alt": "Three scatter plots of area against radius. The data lie on a thin upward-bent curve. The Gaussian's draws lie on a straight thin band that runs below the curve's lower end. MAF's draws follow the curve, a little more scattered than the data."}} tags=["hide-input"] tolerance={"figure": 0.35, "data": 0.1, "draws": ["axes 3"]}
fig, axes = plt.subplots(1, 3, figsize=(7, 2.7), sharex=True, sharey=True)
torch.manual_seed(1)
clouds = {"data": standardise(table), "Gaussian": normal.sample((569,))}
clouds["MAF"] = maf_draws
tints = ("blue", "green", "vermilion")
for ax, (name, cloud), tint in zip(axes, clouds.items(), tints):
    ax.plot(cloud[:, 0], cloud[:, 3], ".", ms=3, color=COLOURS[tint])
    ax.set(title=name, xlabel="radius", xlim=(-3, 4.5), ylim=(-3, 6))
axes[0].set_ylabel("area")
plt.show()

# %% [markdown]
# (sec-fl-iaf)=
# ### Which way is fast?
#
# Look at the two methods of `MaskedLayer`. `forward` is one pass. `inverse` is $D$ of them, because $\mu_t$ needs the *data* $x_{<t}$, which appear one by one. That is the price that MAF pays for sampling.
#
# It can be paid elsewhere. Let the conditioner read the *noise* that came before:
#
# $$ x_t = \mu_t(z_{<t}) + e^{\alpha_t(z_{<t})}\, z_t . $$ (eq-fl-iaf)
#
# All $z$ are known at once when we draw, so drawing is one pass. This is the **{term}`inverse autoregressive flow`**, IAF {cite:p}`kingma2016`: the same layer walked in the other direction. Now the density of *given* data is slow: $z_t$ can only be found once $z_{<t}$ are. But the density of its *own* draws is free, since whoever has drawn $x$ still has the $z$ it came from.
#
# :::{list-table} Three costs, in passes of the conditioner (one evaluation of the network that computes the parameters); *steps* are sequential. The last two rows say what follows for two uses.
# :header-rows: 1
# :name: tab-fl-costs
#
# * - What is asked
#   - MAF: reads data
#   - IAF: reads noise
# * - density of a given $x$
#   - 1 pass
#   - $D$ steps
# * - a draw
#   - $D$ steps
#   - 1 pass
# * - a draw and its density
#   - $D$ steps
#   - 1 pass
# * - training by maximum likelihood
#   - fast
#   - slow: the density of given $x$
# * - posterior of a VAE (draws, with their density)
#   - slow
#   - fast
# :::
#
# :::{admonition} Watch out: "IAF samples slowly"
# :class: pitfall
# The sentence, and its twin *MAF samples quickly*, are the wrong way round. *Inverse* does not refer to what is slow. In `lvmlib`, as in the papers, MAF's fast direction is data to noise and IAF's is noise to data; the measurement below settles it.
# :::

# %%
layer = InverseAutoregressive((8,), hidden=(H,)).double()
torch.manual_seed(0)
for p in layer.parameters():
    nn.init.normal_(p, std=0.3)
z = torch.randn(4, 8, dtype=torch.float64)
with torch.no_grad():
    shift, raw = layer.transform.net(z).unbind(1)  # one pass: reads noise
    by_hand = shift + (2 * torch.tanh(raw / 2)).exp() * z
    agree = torch.allclose(layer.inverse(z)[0], by_hand)
print(f"equation and lvmlib's InverseAutoregressive agree: {agree}")
assert agree

# %% [markdown]
# **What do $D$ steps cost?** Less than $D$ passes, for a reason that {prf:ref}`thm-ar-made-cost` gave: a hidden unit of degree $m$ never changes again once $x_1, \dots, x_m$ are known. Computing each unit once, as soon as its inputs are there, all $D$ steps together do the arithmetic of a *single* pass. `lvmlib` samples this way. What remains is latency, $D$ short steps in a row where the other direction has one long one.

# %% mystnb={"figure": {"caption": "Milliseconds for 100 rows, on one core, by `benchmarks/flow_costs.py`: a MAF and the IAF with the same five layers. Solid: one pass. Dashed: the sequential direction, each hidden unit computed once. The three curves of either kind lie on one another, as they should. Dotted: the same by a whole pass for each coordinate.", "name": "fig-fl-costs"}, "image": {"alt": "Milliseconds on a logarithmic axis against 8, 32 and 128 dimensions. Three solid lines lie together at the bottom and hardly rise. Three dashed lines lie together far above and rise about tenfold from 8 to 128 dimensions. A dotted line starts near the dashed ones and rises more steeply."}}
rows = benchmark("flow_costs")
D_axis = [row["dims"] for row in rows]
kinds = {
    "MAF density": ("o-", "blue"),
    "MAF draw": ("o--", "blue"),
    "IAF density": ("s--", "vermilion"),
    "IAF draw": ("s-", "vermilion"),
    "MAF both": ("v--", "sky"),
    "IAF both": ("^-", "orange"),
    "anew": (".:", "black"),
}
print(f"{'':21}" + "".join(f"    D = {D:3}" for D in D_axis))
fig, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
names_of = {"anew": "MAF draw, D passes"}
names_of |= {f"{way} both": f"{way} draw and density" for way in ("MAF", "IAF")}
for kind, (style, tint) in kinds.items():
    ms, name = [row["ms"][kind] for row in rows], names_of.get(kind, kind)
    ax.plot(D_axis, ms, style, ms=5, color=COLOURS[tint], label=name)
    print(f"{name:21}" + "".join(f"{value:8.3g} ms" for value in ms))
ax.set(xscale="log", yscale="log", xlabel="dimensions $D$", ylabel="milliseconds")
ax.set_xticks(D_axis, [str(D) for D in D_axis])
ax.minorticks_off()
fig.legend(fontsize=9, loc="outside lower center", ncols=3, handlelength=3)
plt.show()

# %% [markdown]
# The measurement is symmetric, as it must be: what is slow for one is fast for the other. At 128 dimensions the sequential direction takes some twenty times as long as the other, although it does the same arithmetic; by whole passes it would be another four times as long.
#
# (sec-fl-rounds)=
# ### Could all coordinates be found at once?
#
# The inverse solves the equation $x = \mu(x) + e^{\alpha(x)} z$ for $x$. Here is a bold way to solve an equation of the form $x = g(x)$: start anywhere, put the right-hand side on the left, and repeat {cite:p}`song2021`. In general this need not converge. Here it must.
#
# :::{prf:proposition} The parallel inverse is exact after $D$ rounds
# :label: thm-fl-rounds
# For an autoregressive layer with inverses $x_t = g_t(z_t;\, x_{<t})$ and any start $x^{(0)}$ let $x_t^{(k)} = g_t(z_t;\, x_{<t}^{(k-1)})$ for all $t$ at once. Then $x_t^{(k)} = x_t$ for all $t \le k$. So $D$ rounds suffice, and if a round changes nothing, the result is exact.
# :::
#
# :::{prf:proof}
# By induction on $k$. For $k = 1$, $x_1^{(1)} = g_1(z_1) = x_1$. If $x_s^{(k-1)} = x_s$ for all $s \le k - 1$, then for $t \le k$ all of $x_{<t}^{(k-1)}$ is right, and $x_t^{(k)} = g_t(z_t; x_{<t}) = x_t$. If $x^{(k)} = x^{(k-1)}$, then further rounds change nothing either, among them round $D$.
# :::

# %% tags=["check:thm-fl-rounds"]
deep = MaskedAutoregressive((12,), hidden=(48, 48)).double()
torch.manual_seed(0)
for p in deep.parameters():
    nn.init.normal_(p, std=0.5)  # strong dependences
z = torch.randn(50, 12, dtype=torch.float64)


@torch.no_grad()
def in_rounds(layer, z, count):
    """All iterates x^(0) ... x^(count); [count + 1, B, D]."""
    iterates = [torch.zeros_like(z)]
    for _ in range(count):
        iterates.append(layer.element.inverse(z, layer.net(iterates[-1]))[0])
    return torch.stack(iterates)


with torch.no_grad():
    deep.way_back = "steps"
    exact = deep.inverse(z)[0]
wrong = (in_rounds(deep, z, 12) - exact).abs() > 1e-9 * exact.abs().clamp(min=1)
for k in (1, 5, 11, 12):
    right = (~wrong[k].any(0)).sum()
    print(f"round {k:2}: {right:2} of 12 coordinates right in all 50 rows")
    assert not wrong[k][:, :k].any()
assert wrong[11].any()  # with dependences this strong the last round is needed

# %% [markdown]
# **Predict, then run.** Each round is a full pass, but a parallel one, in which a GPU has plenty to do. Train a MAF of five layers on the 8x8 digits, $D = 64$, with uniform noise added to their whole-numbered grey levels, since a density needs data that have one (the next chapter asks what that noise does). How many rounds will its layers need before the largest error falls below 0.001: nearly 64, or far fewer?

# %%
digits = load("digits")[0]  # grey levels 0 ... 16
seed_everything(0)
levels = digits.x.flatten(1).float() + torch.rand(len(digits), 64)  # no equal values
images, steps = (levels - 8.5) / 4, 900 * SCALE
pixels = maf((64,), layers=5)
settings = {"steps": steps, "batch_size": 100, "lr": cosine(2e-3, steps)}
history = fit(pixels, images, **settings, progress=False)
early, late = np.mean(history.loss[-300:-200]), np.mean(history.loss[-100:])
pixels = pixels.double()

# %% tolerance={"atol": 2, "rtol": 0.1}
z = torch.randn(100, 64, generator=torch.Generator().manual_seed(0)).double()
errors = []
for layer in reversed(pixels.layers):  # from the noise on
    layer.way_back = "steps"
    with torch.no_grad():
        exact = layer.inverse(z)[0]
    errors.append((in_rounds(layer, z, 64) - exact).abs().amax((1, 2)))
    z = exact
for i, error in enumerate(errors):
    needed = (error > 1e-3).sum().item()
    print(f"layer {5 - i}: error below 0.001 after {needed} rounds")
print(f"training NLL {late:.0f} nats, {early - late:.0f} lower than 200 steps before")

# %% mystnb={"figure": {"caption": "The parallel inverse of a trained MAF, layer by layer, on 100 draws of 64 coordinates: the largest error over all of them against the number of rounds. The theorem promises an exact result after 64, far to the right of the axis; the curves end at $10^{-12}$, close to the rounding of float64.", "name": "fig-fl-rounds"}, "image": {"alt": "Five curves on a logarithmic axis that fall from errors of about ten to ten to the minus twelve within 20 of the 64 rounds; that of layer 5, nearest to the noise, falls most slowly."}} tags=["hide-input"] tolerance={"figure": 0.35, "data": 0.1}
fig, ax = plt.subplots(figsize=(6, 3.2))
for i, error in enumerate(errors):
    last = int((error > 1e-12).sum()) + 1
    ax.plot(range(last), error[:last].clamp(min=1e-12), label=f"layer {5 - i}")
ax.set(yscale="log", xlim=(0, 20), xlabel="round", ylabel="largest error")
ax.set_xticks(range(0, 21, 5))
ax.legend(fontsize=9)
plt.show()

# %% [markdown]
# :::{dropdown} What to expect
# Far fewer. That 64 rounds suffice is a statement about the longest possible chain of dependences. In this trained model (one seed, and each layer started from the exact result of the one before) an error in one coordinate arrives at the next one shrunk, and dies out after a handful of links. The result is no approximation: once a round changes nothing, the sample is exact.
# :::
#
# `MaskedAutoregressive(..., way_back="parallel")` walks back like this, `"steps"` by the other method, and the default chooses: rounds on a GPU, where a step of a few rows leaves it idle, and steps, after a short try, on a processor.
#
# (sec-fl-kl)=
# ### What has training done?
#
# Maximum likelihood has two readings for a flow. From the data's side: make $p_\theta$ close to the data. From the other side: make the *transformed data look like the base*. They are the same {cite:p}`papamakarios2021`.
#
# :::{prf:theorem} Maximum likelihood normalizes
# :label: thm-fl-kl
# Let the data have a density $p_{\mathrm d}$ with finite differential entropy $h(p_{\mathrm d})$, and let $q_\theta$ be the density of $f_\theta(X)$ for $X \sim p_{\mathrm d}$. Then
#
# $$ \mathbb{E}_{p_{\mathrm d}}[-\log p_\theta(x)] = h(p_{\mathrm d}) + \operatorname{KL}(q_\theta \,\Vert\, p_0) . $$ (eq-fl-kl)
# :::
#
# :::{prf:proof}
# $\mathbb{E}[-\log p_\theta] - h(p_{\mathrm d}) = \mathbb{E}_{p_{\mathrm d}}[\log p_{\mathrm d}(x) - \log p_\theta(x)]$. By {prf:ref}`thm-fl-change`, $\log p_{\mathrm d}(x) = \log q_\theta(f_\theta(x)) + \log \lvert \det J \rvert$ and $\log p_\theta(x) = \log p_0(f_\theta(x)) + \log \lvert \det J \rvert$. The log-determinants cancel and $\mathbb{E}[\log q_\theta(z) - \log p_0(z)]$ with $z = f_\theta(x)$ is left.
# :::
#
# So a flow is trained to turn the data into noise, and what is left of structure in $z$ is, nat for nat, what the model is still missing. The theorem needs a *density* of the data. A finite training set has none, nor have columns of rounded numbers or exact zeros: there the likelihood can be driven to infinity by spikes. (Two of the ten columns of our table hold exact zeros, so we left them out. The other eight are rounded to three or four digits, finely enough for flows as small and as briefly trained as ours not to notice; {prf:ref}`thm-mog-unbounded` is the same trouble with mixtures.)

# %% tags=["check:thm-fl-kl"]
m, s = 0.3, 0.7  # data: log-normal, log x ~ N(m, s^2)
b, c = -0.2, 1.3  # flow: z = (log x - b) / c, standard normal base
nll_density = lambda x: -stats.norm.logpdf((np.log(x) - b) / c) + np.log(c * x)
x = np.exp(np.linspace(m - 10 * s, m + 10 * s, 200_001))
integrand = stats.lognorm.pdf(x, s, scale=np.exp(m)) * nll_density(x)
expected_nll = torch.trapezoid(torch.tensor(integrand), torch.tensor(x)).item()
entropy = stats.lognorm(s, scale=np.exp(m)).entropy()
m_z, s_z = (m - b) / c, s / c  # z is Gaussian: closed-form KL to N(0, 1)
kl = 0.5 * (s_z**2 + m_z**2 - 1) - np.log(s_z)
print(f"expected NLL by quadrature {expected_nll:.5f}, entropy + KL {entropy + kl:.5f}")
assert abs(expected_nll - entropy - kl) < 1e-5


# %% [markdown]
# ### Exercises of Part 3
#
# :::{exercise} ★ Why the order must change
# :label: ex-fl-orders
# Stack ten MAF layers that all take the coordinates in the same order, with any weights. Show that $x_1$ is Gaussian whatever the weights, and that $x_2$ given $x_1$ is, too. How does reversing every other layer help?
# :::
#
# :::{solution} ex-fl-orders
# :class: dropdown
# In each layer $z_1 = (x_1 - \mu_1) e^{-\alpha_1}$ with constants, so after ten layers $x_1$ is still an affine function of a Gaussian. Given $x_1$ all first coordinates on the way are fixed, hence $\mu_2$ and $\alpha_2$ of every layer, and $x_2$ is again an affine function of a Gaussian. Compositions of triangular maps are triangular, here with affine conditionals. With the order reversed in between, $x_1$ moves by parameters that depend on coordinates which in turn depend on $x_1$: the map is no longer affine in it.
# :::
#
# :::{exercise} ★★ The parallel inverse
# :label: ex-fl-parallel
# Fill the gap: walk one `MaskedLayer` back in rounds, stop when nothing changes by more than 0.001, and return the number of rounds. How many do the three layers of our trained MAF need for `noise`?
# :::


# %%
def parallel_inverse(layer, z):
    """x with layer(x) = z, and the number of rounds that it took."""
    x = torch.zeros_like(z)
    for k in range(1, z.shape[1] + 1):
        new = ...  # your code: one pass of layer.conditioner, and one line
        if new is ...:  # your code: has anything changed by more than 0.001?
            return x, k
        x = new
    return x, k


# %% [markdown]
# :::{solution} ex-fl-parallel
# :class: dropdown
# The next cell. One of the rounds only finds out that nothing changes any more. With eight coordinates that depend strongly on one another nearly all eight rounds are needed: the saving comes with many weakly dependent coordinates.
# :::


# %% tags=["hide-cell"] tolerance={"atol": 1}
@torch.no_grad()
def walk_back(layer, z):
    x = torch.zeros_like(z)
    for k in range(1, z.shape[1] + 1):
        mu, alpha = layer.conditioner(x)
        new = mu + alpha.exp() * z
        if (new - x).abs().max() < 1e-3:
            return new, k
        x = new
    return x, k


z = noise
for one in reversed(hand_made):
    z, rounds = walk_back(one, z)
    print(f"{rounds} rounds")
assert torch.allclose(z, maf_draws, atol=1e-3)

# %% [markdown]
# :::{exercise} ★★★ The density of an IAF draw
# :label: ex-fl-iaf-density
# A posterior $q(z \mid x)$ in a VAE is an IAF. The ELBO needs $\log q$ of its own draws, and chapter 9 will want $\log q$ of draws that came from *somewhere else*. What does each cost? When would you take a MAF as the posterior?
# :::
#
# :::{solution} ex-fl-iaf-density
# :class: dropdown
# Its own draws: nothing, the log-determinant falls out of drawing. Draws of others: $D$ sequential steps, or up to $D$ parallel rounds. If both are needed often (say, to compare two posteriors on each other's draws), neither flow is fast at both; coupling layers, in the next chapter, are. A MAF would pay when given points must be scored far more often than points are drawn.
# :::
#
# (sec-fl-table)=
# ## Part 4. What does it buy on real data?
#
# The table of biopsies again, now as a fair contest. Three models: the Gaussian; MAF, whose element is a shift and a scale; and the same masked networks with a rational-quadratic spline as the element {cite:p}`durkan2019`, a smooth increasing curve through knots. Each flow has two layers of 32 hidden units in alternating order, behind a whitening layer fitted to the training rows, so that it starts from the best Gaussian. Three folds are trained on, one chooses, one tests.
# Every run is stopped where the validation fold says so, and the learning rate of each model is the one, of three, that validation prefers. (In Part 3 there were other units, one fold and other settings, so those numbers do not compare with these.)
#
# One more rival should be on the list. All eight measurements are positive and skewed, and a statistician would take logarithms before anything else. That is a *layer*, elementwise, without a single parameter, and its log-determinant makes the NLL comparable, in the units of the raw table. So each model runs twice, with the layer in front and without. Here is one run, of MAF on one fold:

# %% tolerance={"rtol": 0.05, "atol": 0.1}
table_folds = biopsies_table.in_folds()
white, paid = biopsies_table.prepare(table_folds, fold=1, logs=False)
how = {"lr": 5e-3, "steps": 100, "seed": 0}
valid_nll, stopped_at, nll = biopsies_table.run(None, white, **how)
print(f"validation NLL {valid_nll:.1f} nats in whitened units, at step {stopped_at}")
print(f"test NLL {(nll - paid).mean():.2f}, in units of the raw columns")

# %% [markdown]
# With so few rows two things matter as much as the model: which rows are tested, and the seed of the networks. So `lvmlib/experiments/biopsies.py`, from which this cell takes its functions, tests every model on each of five folds with five seeds. The table reads its record. Errors are taken over the five folds, after a mean over seeds (training rows are shared between folds, so they are a little too small); beside them stands the worst of the 25 runs.

# %%
contest = record("biopsies")["models"]
score = {name: np.array(m["test_nll_nats"]) for name, m in contest.items()}
per_fold = {name: values.mean(1) for name, values in score.items()}
standard_error = lambda v: v.std(ddof=1) / len(v) ** 0.5
print(f"{'':18}  rate   test NLL, nats   median  worst run")
for name, values in score.items():
    mean, error = per_fold[name].mean(), standard_error(per_fold[name])
    rate = f"{contest[name]['lr']:6.3f}" if "lr" in contest[name] else 6 * " "
    cells = f"{mean:6.2f} +- {error:.2f}   {np.median(values):7.2f} {values.max():9.2f}"
    print(f"{name:18}{rate}  {cells}")
print("\npaired differences over the five folds")
pairs = [("Gaussian, raw", "MAF, raw"), ("Gaussian, raw", "spline flow, raw")]
pairs += [("MAF, raw", "spline flow, raw"), ("spline flow, raw", "Gaussian, log")]
pairs += [("Gaussian, log", "MAF, log"), ("Gaussian, log", "spline flow, log")]
for a, b in pairs:
    gap = per_fold[a] - per_fold[b]
    print(f"{a:16} minus {b:16} {gap.mean():5.2f} +- {standard_error(gap):.2f}")

# %% [markdown]
# Read the raw columns first. The spline flow takes almost two nats per row off the Gaussian, ten of its standard errors over folds, and MAF one and a half, three of them: the bend of {numref}`fig-fl-biopsies` is real, and a flow finds it. On average the element makes no difference that five folds could show. In the worst run it does: one seed of MAF loses more than five nats on a fold, where its siblings gain. A scale that a network sets can send an unusual row far out; a spline is the identity outside of its box.
#
# Now the logarithm. *A plain Gaussian after a log transform is half a nat better than the best network on the raw columns*, with nothing to train but a mean and a covariance. Area grows as the square of radius; after the logarithm that is a straight line, and straight lines are what Gaussians know. Either flow gains another half nat behind it, and the two are level. With 341 training rows knowledge about the data is worth as much as a network; flows are the framework in which the two can be combined, because the fixed layer pays its log-determinant like every other. This is one table: whoever wants to rank flows needs more of them.
#
# ### Exercises of Part 4
#
# :::{exercise} ★ Other units
# :label: ex-fl-units
# Somebody reports an NLL of 3.1 nats for lengths in centimetres and somebody else 0.8 for the same data and model in metres. By how much must the two differ for a three-dimensional $x$, and who is right? What does this say about the absolute value of the numbers in our table?
# :::
#
# :::{solution} ex-fl-units
# :class: dropdown
# Centimetres to metres is an affine layer with slope $1/100$ in each coordinate. $p_{\text{cm}}(x) = p_{\text{m}}(x / 100) \cdot 100^{-3}$, so the NLL in centimetres is larger by $3 \log 100 = 13.8$ nats; the two reports cannot both be right. The value of a density's NLL depends on the units, and only differences in the same units mean anything. Ours are in units of each fold's raw standard deviations.
# :::
#
# :::{exercise} ★★★ The order of the columns
# :label: ex-fl-column-order
# Give the flows of `biopsies_table.run` a random order of the columns (and its reverse in the second layer). Over ten orders, is the spread of the mean NLL of MAF on the raw columns large beside the standard error over folds? Whitening by the Cholesky factor depends on the order, too: does a rotation behind it change the Gaussian? The MAF?
# :::
#
# :::{solution} ex-fl-column-order
# :class: dropdown
# In a copy of the function, set `orders = (o, o.flip(0))` with `o = torch.randperm(8)`, and take the mean over folds. The Gaussian cannot notice any of it, since its likelihood does not change under rotations of $z$ ({prf:ref}`thm-fl-whitening`). MAF's conditionals are Gaussian only along the axes that it is given, so both the order and a rotation change what it can express, and with it the NLL. Compare the spread that you find with that of the five seeds, too, before you call it an effect of the order. This is why deep flows put a *learned* linear layer between any two others, as the next chapter does.
# :::
#
# (sec-fl-summary)=
# ## Summary
#
# :::{list-table} What was shown, and where it lives in `lvmlib`.
# :header-rows: 1
# :name: tab-fl-summary
#
# * - result
#   - in one line
#   - in `lvmlib`
# * - {prf:ref}`thm-fl-change-line`, {prf:ref}`thm-fl-change`
#   - the density of the noise, times the factor by which volumes are stretched
#   - `Flow.log_prob`
# * - {prf:ref}`thm-fl-universal`
#   - $G^{-1} \circ F$ carries any density on the line to any other
#   - `MixtureCDF`
# * - {numref}`sec-fl-layers`
#   - a layer is a bijection, its slope never 0, onto the set where the base lives
#   - `Elementwise`
# * - {prf:ref}`thm-fl-volume`, {prf:ref}`thm-fl-compose`
#   - determinants are volumes; layers add their logarithms
#   - `Chain`
# * - {prf:ref}`thm-fl-whitening`
#   - one affine layer is a Gaussian: it whitens
#   - `Affine`
# * - {prf:ref}`thm-fl-rosenblatt`
#   - triangular maps reach every positive density with continuous conditionals
#   - `MaskedAutoregressive` with an element
# * - {prf:ref}`thm-fl-maf`
#   - Gaussian conditionals are a flow
#   - `maf`
# * - {numref}`tab-fl-costs`
#   - MAF is fast on given data, IAF on its own draws
#   - `iaf`, `InverseAutoregressive`
# * - {prf:ref}`thm-fl-rounds`
#   - the parallel inverse is exact after $D$ rounds, often far sooner
#   - `way_back="parallel"`
# * - {prf:ref}`thm-fl-kl`
#   - maximum likelihood is $\operatorname{KL}(f(\text{data}) \,\Vert\, p_0)$ plus a constant
#   - `training.fit`
# :::
#
# **For** autoregressive flows: an exact likelihood for continuous data; every positive density with continuous conditionals within reach, in principle and with flexible elements (a single affine layer has Gaussian conditionals only); a code $z$ of the same size as $x$, found by one pass; layers that combine with whatever is known about the data. **Against** them: $z$ has as many coordinates as $x$, so nothing is summarised; one of the two directions is sequential; data with holes or sharp edges are hard for smooth maps; and discrete data have no density at all. The next chapter removes the sequential direction, takes flows to images, and deals with discrete data.
#
# ## Further reading
#
# - {cite:t}`papamakarios2021` is a survey that reads well; {cite:t}`tabak2010` are the beginning of the modern story, {cite:t}`rosenblatt1952` of the triangular map.
# - {cite:t}`papamakarios2017` (MAF) and {cite:t}`kingma2016` (IAF); {cite:t}`rezende2015` brought flows to variational inference.
# - Richer elements: {cite:t}`huang2018` use monotone networks and prove universality, {cite:t}`durkan2019` splines.
# - {cite:t}`song2021` on the parallel inverse; {cite:t}`vandenoord2018` trained an IAF to imitate a WaveNet, so that speech could be drawn in one pass.
