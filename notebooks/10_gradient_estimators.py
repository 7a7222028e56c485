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
# (ch-gradients)=
# # Gradient estimators
#
# *To train an encoder we need the derivative of a mean whose draws come from the encoder itself. The draws are random numbers; what does it mean to differentiate them? And what if they are zeros and ones, which cannot move by a little?*
#
# A **gradient estimator** is a random vector whose mean is, or is close to, the gradient of an expectation. Throughout this chapter the expectation is
#
# $$ J(\phi) = \mathbb{E}_{q_\phi(z)}[f(z)] = \int q_\phi(z)\, f(z)\, dz , $$ (eq-ge-problem)
#
# and the difficulty is *where the parameter sits*: not in $f$, but in the distribution that we draw from. {numref}`fig-ge-two-ways` shows the two ways out on eight draws from $q_\phi = \mathcal{N}(\phi, 1)$.

# %% tags=["hide-input"]
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch.distributions import Normal

from lvmlib.plotting import COLOURS, use_style

SCALE = 1  # multiplies training runs and draws; stored outputs are those of 1
use_style()
black, blue, orange = (COLOURS[name] for name in ("black", "blue", "orange"))
green, red, sky = (COLOURS[name] for name in ("green", "vermilion", "sky"))
purple = COLOURS["purple"]

hill = lambda z: 3 + 1.5 * torch.tanh(z) + 0.4 * torch.sin(2 * z)
hill_slope = lambda z: 1.5 * (1 - torch.tanh(z) ** 2) + 0.8 * torch.cos(2 * z)
eight = torch.tensor([-1.7, -1.3, -0.7, -0.2, 0.25, 0.6, 1.0, 1.8]).double()
z_line = torch.linspace(-2.6, 2.6, 521, dtype=torch.float64)

# %% mystnb={"figure": {"caption": "Eight draws (dots) from $\\mathcal{N}(\\phi, 1)$ at $\\phi = 0$, and a function $f$ (line) whose mean we want to increase. *Left:* leave the draws where they are and change how probable they are. The bar below each draw is $f(z)$ times the derivative of $\\log q_\\phi(z)$: positive (solid) if the draw votes for a larger $\\phi$. *Right:* move $\\phi$, and the draws move with it. The arrow at each draw is 0.5 times the slope $f'(z)$: to the right if the draw would climb by moving right. Both kinds of vote have the same mean, $J'(0)$; the ones on the left scatter three times as widely (below).", "name": "fig-ge-two-ways"}, "image": {"alt": "Two panels with the same curve and the same eight dots on it. In the left one bars of very different height, some up and some down, stand below the dots. In the right one short horizontal arrows start at the dots, most of them pointing right."}} tags=["hide-input"]
votes = hill(eight) * eight  # at phi = 0 the score of N(phi, 1) is z
fig, panels = plt.subplots(1, 2, figsize=(7.2, 3.1), sharex=True, sharey=True)
for ax, title in zip(panels, ("reweigh the draws", "move the draws")):
    ax.plot(z_line, hill(z_line), color=blue)
    ax.plot(eight, hill(eight), "o", color=black, zorder=3)
    ax.set(title=title, xlabel="$z$", xlim=(-2.6, 2.6), ylim=(-5, 5.5))
for z_i, vote in zip(eight, votes / 2):
    colour, hatch = (green, None) if vote > 0 else (red, "///")
    panels[0].bar(z_i, vote, bottom=-1.5, width=0.16, color=colour, hatch=hatch)
panels[0].axhline(-1.5, color=black, lw=0.8)
label = "$f(z)\\,\\partial_\\phi \\log q_\\phi(z)$, half scale"
panels[0].text(-2.5, -4.6, label, fontsize=9)
arrow = {"arrowstyle": "->", "lw": 1.8, "mutation_scale": 7, "shrinkA": 0, "shrinkB": 0}
for z_i, slope in zip(eight, hill_slope(eight)):
    panels[1].annotate(
        "",
        (z_i + 0.5 * slope, hill(z_i)),
        (z_i, hill(z_i)),
        arrowprops=arrow | {"color": green if slope > 0 else red},
    )
panels[0].set_ylabel("$f(z)$")
plt.show()

# %% tags=["hide-input"]
z = torch.randn(100_000, generator=torch.Generator().manual_seed(0)).double()
for name, vote in {"reweigh": hill(z) * z, "move": hill_slope(z)}.items():
    print(f"{name:>7}: mean vote {vote.mean():.2f}, spread {vote.std():.2f}")

# %% [markdown]
# The goal in symbols: given draws $z \sim q_\phi$, find a random vector $g$ with
#
# $$ \mathbb{E}[g] = \nabla_\phi\, \mathbb{E}_{q_\phi(z)}[f(z)] \qquad\text{and small}\qquad \operatorname{Var}[g] . $$ (eq-ge-goal)
#
# (The variance of a vector is counted as the sum of the variances of its entries.) For a variational autoencoder $f$ is $\log w = \log p_\theta(x, z) - \log q_\phi(z \mid x)$ and $J$ is the ELBO ({doc}`chapter 7 <07_latent_variables>`). {doc}`Chapter 8 <08_vae>` used one answer, the reparameterised gradient, and promised a proof. Here it is, beside its rival, and beside what one does when $z$ is discrete.
#
# **What you will be able to do**
#
# - derive the score-function and the pathwise gradient, state what each needs, and say when the reparameterisation fails;
# - say why the score function is noisy, and what a baseline changes and what it does not;
# - derive the gradient of the ELBO line by line, and from it two estimators that remove the score again (STL and DReG);
# - choose an estimator for discrete latents, and say what it costs in bias, variance and passes through the decoder;
# - write and train a VAE with binary latents by hand, with nothing but a score and a baseline.
#
# **Needs.** The ELBO and importance weights ({doc}`chapter 7 <07_latent_variables>`), the VAE ({doc}`chapter 8 <08_vae>`).
#
# **Time.** Three to four hours on the main path, six with exercises and the sections marked *Optional*. The code runs in about a minute on one core; a GPU would not help.
#
# (sec-ge-two)=
# ## Part 1. Two ways to the gradient: which can you use?
#
# :::{admonition} Watch out: "Monte Carlo is impossible here"
# :class: pitfall
# $\nabla_\phi \int q_\phi(z) f(z)\, dz = \int \nabla_\phi q_\phi(z)\, f(z)\, dz$ is no longer a mean, since $\nabla_\phi q_\phi$ is not a density; so, one reads, the gradient cannot be estimated by Monte Carlo. Only the *naive* way is closed: draw $z$, treat the draw as a constant, differentiate $f(z)$. For $z \sim \mathcal{N}(\phi, 1)$, $f(z) = z^2$ and $\phi = 1$ that gives 0, and the truth is $2\phi = 2$. Two other ways are open, and both return 2 in the next cell.
# :::

# %%
random = torch.Generator().manual_seed(0)
eps = torch.randn(100_000, generator=random, dtype=torch.float64)
phi = torch.tensor(1.0).double().requires_grad_()
z = phi + eps
stuck = z.detach()  # a draw as a constant
log_q = Normal(phi, 1.0).log_prob(stuck)
ways = {"naive": (stuck**2).mean() + 0 * phi}  # phi is nowhere to be seen
ways["score"] = (stuck**2 * log_q).mean()
ways["pathwise"] = (z**2).mean()
for way, surrogate in ways.items():
    (slope,) = torch.autograd.grad(surrogate, phi, retain_graph=True)
    print(f"{way:>8}: {slope:.2f}")

# %% [markdown]
# (sec-ge-score)=
# ### Reweigh: the score function
#
# The derivative of a logarithm, $\nabla \log q = \nabla q / q$, turns $\nabla q$ back into a mean under $q$: $\nabla_\phi q_\phi = q_\phi\, \nabla_\phi \log q_\phi$. The vector $s_\phi(z) = \nabla_\phi \log q_\phi(z)$ is the **{term}`score`** of $q_\phi$, and what follows from it is also called the *likelihood-ratio* gradient.
#
# :::{prf:theorem} The score-function gradient
# :label: thm-ge-score
# Let $U$ be a ball around $\phi_0$. For almost all $z$ let $q_\phi(z)$ be differentiable in $\phi$ on all of $U$, and $\lVert f(z)\, \nabla_\phi q_\phi(z) \rVert \le M(z)$ for all $\phi \in U$, with an integrable $M$; let $q_\phi$ be positive on a set that does not depend on $\phi \in U$; let $\mathbb{E}_{q_\phi} \lvert f \rvert < \infty$. Then at $\phi_0$
#
# $$ \nabla_\phi\, \mathbb{E}_{q_\phi}[f(z)] = \mathbb{E}_{q_\phi}\bigl[f(z)\, s_\phi(z)\bigr] , \qquad s_\phi(z) = \nabla_\phi \log q_\phi(z) . $$ (eq-ge-score)
#
# For discrete $z$ read sums for integrals. If $f$ depends on $\phi$ too, and $\nabla_\phi f_\phi$ is dominated in the same sense, $\mathbb{E}_{q_\phi}[\nabla_\phi f_\phi(z)]$ is added.
# :::
#
# :::{prf:proof}
# Along one coordinate of $\phi$ the difference quotient of $q_\phi(z) f(z)$ equals $f(z)\, \partial q_\phi(z)$ at some point in between (mean value theorem), so $M(z)$ dominates it, and by dominated convergence limit and integral may change places: $\nabla \int q_\phi f\, dz = \int f\, \nabla q_\phi\, dz$. Where $q_\phi > 0$, $\nabla q_\phi = q_\phi\, \nabla \log q_\phi$; where $q_\phi = 0$, it is 0 on all of $U$ and so is its gradient. Hence the integral is {eq}`eq-ge-score`. With $f_\phi$, the product rule gives the second term.
# :::
#
# The only requirement on $f$ is that it can be *evaluated* and is integrable as above: it may have jumps, be a program, a game, or a measurement. And $z$ may be discrete. The check compares with exact gradients: quadrature for a smooth $f$ and for a step, enumeration for eight binary strings.

# %%
nodes = torch.linspace(-9, 9, 180_001, dtype=torch.float64)  # in standard deviations
node_weights = Normal(0.0, 1.0).log_prob(nodes).exp() * (nodes[1] - nodes[0])


def exact_slope(f, phi, sigma=1.0, delta=1e-3):
    """dJ/dphi for N(phi, sigma^2) by quadrature and a central difference."""
    places = phi - delta, phi + delta
    J = [(node_weights * f(place + sigma * nodes)).sum() for place in places]
    return ((J[1] - J[0]) / (2 * delta)).item()


def mean_and_error(g):
    """Mean of draws g [n], and its standard error."""
    return g.mean().item(), (g.std() / len(g) ** 0.5).item()


# %% tags=["check:thm-ge-score"]
phi, n = 0.4, 1_000_000
z = phi + torch.randn(n, generator=random, dtype=torch.float64)
step = lambda z: (z > 0).double()
for name, f in {"smooth hill": hill, "step 1[z > 0]": step}.items():
    g, error = mean_and_error(f(z) * (z - phi))  # the score of N(phi, 1) is z - phi
    exact = exact_slope(f, phi)
    print(f"{name:>13}: {g:.3f} +- {error:.3f}, by quadrature {exact:.3f}")
    assert abs(g - exact) < 4 * error + 1e-3
bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3))).double()  # [8, 3]
value = torch.tensor([3.0, -1, 2, 0, 5, -2, 1, 4]).double()  # f of each string
log_odds = torch.tensor([0.5, -1.0, 0.2]).double().requires_grad_()
coin_log_q = (bits * log_odds - F.softplus(log_odds)).sum(1)  # [8]
(exact_coins,) = torch.autograd.grad((coin_log_q.exp() * value).sum(), log_odds)
coin_scores = bits - log_odds.sigmoid()  # d/dl log q of a coin with log-odds l
expected = (coin_log_q.exp()[:, None] * value[:, None] * coin_scores).sum(0)
print("   coins:", *(f"{e:.3f}" for e in expected.tolist()), "by enumeration", end=" ")
print("and by autograd", *(f"{e:.3f}" for e in exact_coins.tolist()))
assert torch.allclose(expected, exact_coins)

# %% [markdown]
# Put $f = 1$: the mean of a constant does not move, so its gradient is 0.
#
# :::{prf:theorem} The score has mean zero
# :label: thm-ge-zero
# Let the conditions of {prf:ref}`thm-ge-score` hold for $f = 1$. Then $\mathbb{E}_{q_\phi}[s_\phi(z)] = 0$. Hence, if they hold for $f$ as well, for every number $b$ that does not depend on the draw,
# $\mathbb{E}_{q_\phi}[(f(z) - b)\, s_\phi(z)] = \nabla_\phi\, \mathbb{E}_{q_\phi}[f(z)]$.
# :::
#
# :::{prf:proof}
# $\mathbb{E}_{q_\phi}[s_\phi] = \int \nabla_\phi q_\phi\, dz = \nabla_\phi \int q_\phi\, dz = \nabla_\phi 1 = 0$. Multiply by $b$ and subtract from {eq}`eq-ge-score`.
# :::
#
# A random $b$ may be subtracted as well if $\mathbb{E}[s_\phi \mid b] = 0$, for instance if it is independent of $z$, since then $\mathbb{E}[b\, s_\phi] = \mathbb{E}\bigl[b\, \mathbb{E}[s_\phi \mid b]\bigr] = 0$. Several estimators below use such a $b$.
#
# **Predict, then run.** The condition that looks like small print is "a set that does not depend on $\phi$". Take $z$ uniform on $[0, \phi]$ at $\phi = 2$ and $f(z) = z$, so that $J(\phi) = \phi / 2$. What is the mean of the score, and what does {eq}`eq-ge-score` return for $J' = \frac12$?

# %% tags=["check:thm-ge-zero"]
mean_score = (node_weights * (nodes**2 - 1)).sum().item()  # by log sigma, at any phi
coin_score = (coin_log_q.detach().exp()[:, None] * coin_scores.detach()).sum(0)
print(f"Gaussian: mean score below 1e-9: {abs(mean_score) < 1e-9}", end="; ")
print(f"coins: {coin_score.abs().max():.1e}")
assert abs(mean_score) < 1e-9 and coin_score.abs().max() < 1e-12
shifted = coin_log_q.exp()[:, None] * (value[:, None] - 7.0) * coin_scores
assert torch.allclose(shifted.sum(0), exact_coins)  # every value less 7
phi = torch.tensor(2.0).double().requires_grad_()
z = phi.item() * (torch.arange(1000).double() + 0.5) / 1000  # U(0, 2), evenly spread
(uniform_score,) = torch.autograd.grad(-phi.log(), phi)  # log q = -log phi, for every z
print(f"uniform: mean score {uniform_score:.2f};", end=" ")
print(f"dJ/dphi = 0.50, estimator {(z * uniform_score).mean():.2f}")

# %% [markdown]
# :::{dropdown} What to expect
# The score of the uniform density is $-1/\phi$ for *every* $z$, so its mean is $-0.5$, and the estimator returns $-0.5$ where the truth is $+0.5$: not even the sign is right. What is missing is the mass that enters at the moving edge, $q_\phi(\phi)\, f(\phi) = \frac12 \cdot 2 = 1$.
# :::
#
# (sec-ge-pathwise)=
# ### Move: the pathwise gradient
#
# The other way writes the draw as a function of noise, $z = t_\phi(\varepsilon)$, where $\varepsilon$ has a distribution without parameters. "$\mathbb{E}_{q_\phi}[f(z)]$ is $\mathbb{E}[f(t_\phi(\varepsilon))]$" is the *law of the unconscious statistician* (LOTUS): to compute the mean of $f(z)$ nobody needs the density of $z$. Now $\phi$ stands inside the mean, where it can be differentiated.
#
# :::{prf:theorem} The pathwise gradient
# :label: thm-ge-pathwise
# Let $\varepsilon \sim p(\varepsilon)$, and let $z = t_\phi(\varepsilon)$ have the distribution $q_\phi$ for every $\phi$ in an open interval $I$. Write $F(\phi, \varepsilon) = f(t_\phi(\varepsilon))$, with $\mathbb{E} \lvert F(\phi, \varepsilon) \rvert < \infty$, and suppose
#
# 1. for almost all $\varepsilon$, $F(\cdot\,, \varepsilon)$ is *locally absolutely continuous* on $I$, that is, the integral of its derivative;
# 2. $\lvert \partial_\phi F(\phi, \varepsilon) \rvert \le M(\varepsilon)$ with $\mathbb{E}[M] < \infty$, for almost all $\phi$.
#
# Then $J$ is Lipschitz on $I$, and
#
# $$ \frac{d}{d\phi}\, \mathbb{E}_{q_\phi}[f(z)] = \mathbb{E}_{p(\varepsilon)}\Bigl[ \frac{\partial}{\partial \phi} f(t_\phi(\varepsilon)) \Bigr] $$ (eq-ge-pathwise)
#
# for almost all $\phi$, and at every $\phi$ at which the right side is continuous. For several parameters this holds coordinate by coordinate. Where $f$ and $t_\phi$ are differentiable, the right side is $\mathbb{E}\bigl[f'(z)\, \partial_\phi t_\phi(\varepsilon)\bigr]$, the chain rule.
# :::
#
# :::{prf:proof}
# LOTUS: $J(\phi) = \mathbb{E}[F(\phi, \varepsilon)]$, since $t_\phi(\varepsilon)$ has the distribution $q_\phi$. For $\phi_1 < \phi_2$ in $I$, by the first condition $F(\phi_2, \varepsilon) - F(\phi_1, \varepsilon) = \int_{\phi_1}^{\phi_2} \partial_\phi F(\phi, \varepsilon)\, d\phi$ for almost all $\varepsilon$. Take means; by the second condition $\lvert \partial_\phi F \rvert$ is integrable in $(\phi, \varepsilon)$ for $\phi \in [\phi_1, \phi_2]$, so Fubini's theorem lets the integrals change places:
#
# $$ J(\phi_2) - J(\phi_1) = \int_{\phi_1}^{\phi_2} R(\phi)\, d\phi , \qquad R(\phi) = \mathbb{E}\bigl[\partial_\phi F(\phi, \varepsilon)\bigr] , \qquad \lvert R \rvert \le \mathbb{E}[M] . $$
#
# So $J$ is Lipschitz and, as the integral of $R$, differentiable with $J' = R$ almost everywhere, and wherever $R$ is continuous.
# :::
#
# In words: along the path $f$ may have kinks and no jumps, and its slopes may not be too steep on average. In practice: location and scale, $t(\varepsilon) = \mu + \sigma \varepsilon$, and an $f$ that is Lipschitz, such as a network with ReLU units; then $M(\varepsilon)$ is the Lipschitz constant times $1$ or $\lvert \varepsilon \rvert$. Countably many kinks do no harm, since a $z$ with a density meets one with probability 0. The check includes such a kink and compares with quadrature.

# %% tags=["check:thm-ge-pathwise"]
kink = lambda z: (z - 0.2).relu() + 0.3 * z
scales = 0.7 - 1e-3, 0.7 + 1e-3
for name, f in {"smooth": hill, "kink": kink}.items():
    mu = torch.full_like(eps, 0.4).requires_grad_()  # one copy for each draw
    sigma = torch.full_like(eps, 0.7).requires_grad_()
    each = torch.autograd.grad(f(mu + sigma * eps).sum(), (mu, sigma))
    J = [(node_weights * f(0.4 + scale * nodes)).sum() for scale in scales]
    exacts = exact_slope(f, 0.4, 0.7), ((J[1] - J[0]) / 2e-3).item()
    for parameter, draws, exact in zip(("mu", "sigma"), each, exacts):
        g, error = mean_and_error(draws)
        print(f"{name:>6}, d/d{parameter:<5}: {g:.3f} +- {error:.3f}", end=", ")
        print(f"by quadrature {exact:.3f}")
        assert abs(g - exact) < 4 * error + 1e-4


# %% [markdown]
# (sec-ge-fails)=
# ### When does the reparameterisation fail?
#
# :::{admonition} Watch out: automatic differentiation does not warn you
# :class: pitfall
# Take the step $f(z) = \mathbf{1}[z > 0]$ and $z = \phi + \varepsilon$. Then $J(\phi) = \Phi(\phi)$, with slope $0.40$ at $\phi = 0$. The pathwise gradient is exactly **0**, for every draw: $f' = 0$ wherever it exists. `backward()` returns it without complaint. "Then $f$ must be continuous" is the usual repair, and it is not enough. The **Cantor function** climbs from 0 to 1 *continuously* and has slope 0 almost everywhere. For $z \sim \mathcal{N}(0.5, 0.3^2)$ its mean rises with the slope $0.73$; the pathwise gradient is again 0. What is missing is the first condition of {prf:ref}`thm-ge-pathwise`: such an $f$ is not the integral of its derivative. The score function gets both right.
# :::
#
# Where do the true slopes come from? As $\phi$ grows, the density of $z$ is carried past the places where $f$ rises, so $J'$ is that density, averaged over the rise of $f$: for the step its value at 0. The Cantor function rises by the same amount in each of the $2^{17}$ intervals that are left after the middle third has been cut out 17 times, so there $J'$ is the mean of the density over their left ends. The last column asks how often $f(z + 10^{-7}) = f(z)$; what is missing from 1 are draws within $10^{-7}$ of a rise.


# %%
def cantor(x, digits=40):
    """The Cantor function: ternary digits up to the first 1, halved, in base 2."""
    x, y, open_ = x.clamp(0, 1), torch.zeros_like(x), torch.ones_like(x)
    for i in range(1, digits + 1):
        digit = (3 * x).floor().clamp(max=2)
        y = y + open_ * torch.where(digit == 1, 1.0, digit / 2) / 2**i
        open_ = open_ * (digit != 1)  # after the first 1 nothing is added
        x = 3 * x - digit
    return y


# %%
left_ends = torch.zeros(1).double()  # of the intervals on which the function rises
for i in range(1, 18):  # each cut leaves a left and a right third
    left_ends = torch.cat([left_ends, left_ends + 2 / 3**i])
cases = {"step": (step, 0.0, 1.0), "Cantor": (cantor, 0.5, 0.3)}
rises = {"step": Normal(0.0, 1.0).log_prob(torch.tensor(0.0)).exp()}
rises["Cantor"] = Normal(0.5, 0.3).log_prob(left_ends).exp().mean()
for name, (f, phi, sigma) in cases.items():
    by_score = (node_weights * f(phi + sigma * nodes) * nodes / sigma).sum()
    z = phi + sigma * nodes
    flat = (f(z + 1e-7) == f(z)).double()
    print(f"{name:>6}: true slope {rises[name]:.2f}", end=", ")
    print(f"score function {by_score:.2f}", end=", ")
    print(f"share of draws with slope 0: {(node_weights * flat).sum():.3f}")
    assert abs(by_score - rises[name]) < 1e-3

# %% mystnb={"figure": {"caption": "Three functions of $z$ (*left*), and their means under $\\mathcal{N}(\\phi, 0.3^2)$ as $\\phi$ moves (*right*). All three means rise smoothly. The pathwise gradient is right for the ramp (solid) and 0 everywhere for the step (dashed) and the Cantor function (dotted).", "name": "fig-ge-fails"}, "image": {"alt": "Left: a ramp from zero to one, a single jump at one half, and a staircase with infinitely many small steps. Right: three smooth curves that rise from zero to one, the one of the step most steeply; the other two lie close together."}} tags=["hide-input"]
ramp = lambda z: z.clamp(0, 1)
jump = lambda z: (z > 0.5).double()
phi_line = torch.linspace(-0.5, 1.5, 80, dtype=torch.float64)  # none on the jump
x_line = torch.linspace(-0.5, 1.5, 2000, dtype=torch.float64)  # nor here
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8), sharey=True)
styles = {"ramp": (ramp, "-"), "step": (jump, "--"), "Cantor": (cantor, ":")}
for (name, (f, style)), colour in zip(styles.items(), (blue, orange, red)):
    left.plot(x_line, f(x_line), style, color=colour, label=name)
    coarse = nodes[::50]
    mass = 50 * node_weights[::50]
    J_line = [(mass * f(p + 0.3 * coarse)).sum() for p in phi_line]
    right.plot(phi_line, J_line, style, color=colour, label=name)
left.set(xlabel="$z$", ylabel="$f(z)$", xlim=(-0.5, 1.5))
right.set(xlabel="$\\phi$", title="$J(\\phi)$", xlim=(-0.5, 1.5))
left.set_title("$f(z)$")
left.legend(fontsize=9)
plt.show()

# %% [markdown]
# So the pathwise gradient fails, or cannot be had, in these cases:
#
# - **$z$ is discrete.** Every $t_\phi$ takes discrete values, so its slope is 0 wherever it exists, and {eq}`eq-ge-pathwise` would return 0.
# - **$f$ has jumps, or is not absolutely continuous**, as in the box. Thresholds, rounding, ranks and accuracies belong here. (Clipping and the sorted values themselves do not: like the ramp of {numref}`fig-ge-fails` they have kinks only.)
# - **$f$ has no gradient that we can reach**: a simulator, a game, a user.
# - **There is no smooth $t_\phi$ at hand.** A mixture whose component is drawn first contains a discrete choice, and a sampler that rejects proposals jumps. (Some of these have a smooth path all the same, through the distribution function: a mixture in one dimension, or a gamma distribution by its shape, which `rsample` differentiates implicitly {cite:p}`figurnov2018`.)
# - **Nothing dominates.** If $f'$ grows so fast that $\mathbb{E} \lvert f'(z) \rvert$ is infinite, the right side does not exist.
#
# The score function asks for less: a $q_\phi$ that is smooth in $\phi$ with a fixed support, and values of $f$. It pays in variance. How much, {numref}`fig-ge-continuous` measures for eight estimators on one problem. First, where the noise comes from.
#
# (sec-ge-noise)=
# ### Why is the score function noisy?
#
# {eq}`eq-ge-score` uses the *value* $f(z)$ and never its slope. With many latents the trouble shows: let $z \in \mathbb{R}^d$ have independent coordinates $z_i \sim \mathcal{N}(\phi_i, 1)$ and $f(z) = \sum_i f_i(z_i)$. The derivative by $\phi_1$ concerns $f_1$ alone. The pathwise gradient knows that: $\partial f / \partial z_1 = f_1'(z_1)$. The score function multiplies $s_1 = z_1 - \phi_1$ by *all* $d$ terms. The $d - 1$ others contribute nothing to the mean, only noise, by their spread and above all by their own *mean*.
#
# **Predict, then run.** Take $f_i(z_i) = -\frac12 (z_i - 1)^2$ at $\phi = 0$ and measure the variance of one entry of the gradient for $d$ from 1 to 1000. Three curves: score function, score function with $\mathbb{E} f$ subtracted, pathwise. What are their slopes on a log-log plot? (The fourth, dash-dotted, belongs to a baseline for this one latent and is explained below.)

# %%
dims, taste = np.array([1, 3, 10, 30, 100, 300, 1000]), {}
for d in dims:
    z = torch.randn(20_000 * SCALE, d, generator=random, dtype=torch.float32)
    f = -0.5 * (z - 1).square().sum(1)
    others = f + 0.5 * (z[:, 0] - 1) ** 2  # the terms that do not contain z_1
    signals = f, f + d, f - (others - 1)  # E f = -d, and E f_1 = -1
    taste[d] = [(signal * z[:, 0]).var() for signal in signals]
    taste[d].append((1 - z[:, 0]).var())
d_line = np.logspace(0, 3, 100)
# Per latent -(z - 1)^2 / 2 has mean -1 and variance 3/2; with s = z_1, E[f s] = 1 and
# E[f_1 s^2] = -2, E[f_1^2 s^2] = 17/2 (moments of the normal distribution).
plain = 8.5 - 1 + (d_line - 1) * 4 + (d_line - 1) * 1.5 + (d_line - 1) ** 2
centred = 8.5 - 4 + 1 - 1 + (d_line - 1) * 1.5

# %% mystnb={"figure": {"caption": "Variance of one entry of the gradient against the number of latents (dots: 20,000 draws; lines: exact), for a sum of one term for each latent. Score function with nothing subtracted (solid), with the mean of $f$ subtracted (dashed), with a baseline for this latent, the terms of all other latents and the mean of its own, subtracted (dash-dotted), pathwise (dotted).", "name": "fig-ge-dimension"}, "image": {"alt": "Log-log plot of variance against dimension from one to one thousand. The solid line rises with slope two, the dashed one with slope one; the dash-dotted one is flat at four and a half, the dotted one flat at one. Dots lie on the lines."}} tags=["hide-input"] tolerance={"rtol": 0.05}
fig, ax = plt.subplots(figsize=(5.6, 3.1))
names = ("score function", "less the mean of $f$", "less the others", "pathwise")
exact_lines = (plain, centred, np.full(100, 4.5), np.ones(100))
looks = zip(names, ("-", "--", "-.", ":"), (red, orange, green, blue))
for i, (name, style, colour) in enumerate(looks):
    ax.plot(d_line, exact_lines[i], style, color=colour, label=name)
    ax.plot(dims, [taste[d][i] for d in dims], "o", color=colour, ms=4)
ax.set(xscale="log", yscale="log", xlabel="latents $d$", xlim=(0.9, 1100))
ax.set_ylabel("variance of one entry")
ax.legend(fontsize=9)
plt.show()
print(f"{'latents':>13}", *(f"{d:10}" for d in (1, 10, 100, 1000)))
for i, name in enumerate(("score", "less mean", "less others", "pathwise")):
    print(f"{name:>13}", *(f"{taste[d][i]:10.2g}" for d in (1, 10, 100, 1000)))
    for d in dims:
        exact = np.interp(d, d_line, exact_lines[i])
        assert abs(taste[d][i] / exact - 1) < 0.15


# %% [markdown]
# :::{dropdown} What to expect
# Slopes 2, 1 and 0: the mean of the other terms grows with $d$, and its square with $d^2$; the variance of their spread grows with $d$. With 1000 latents one pathwise draw is worth a million draws of the plain score function, and 1,500 of the centred one. Subtracting a constant removes the $d^2$ part and leaves the part proportional to $d$; that part is the price of not knowing which latent caused what. Where it *is* known, as in this sum, the terms of the other latents may be subtracted from the signal of latent 1, since they do not depend on its draw. Then the variance is 4.5 for every $d$.
# :::
#
# In *one* dimension the order can be reversed, and the score function may well be the better of the two. Let $f(z) = \sin(20 z)$; its slopes are large and cancel, its values are bounded. ({ref}`ex-ge-wiggle`.)
#
# ### Exercises of Part 1
#
# :::{exercise} ★ A rate
# :label: ex-ge-poisson
# Fill the gap: the score-function gradient of $\mathbb{E}[f(z)]$ by the log-rate $\phi$ of a Poisson variable, $q_\phi(z) = e^{z \phi - e^\phi} / z!$. The `assert` below the solution takes $f(z) = \sqrt z$ at rate 3, where the exact answer is known by summation.
# :::


# %%
def poisson_gradient(f, phi, n=200_000):
    """Estimate of d/dphi E f(z), z ~ Poisson(exp(phi)): mean and error."""
    random = torch.Generator().manual_seed(0)
    z = torch.poisson(torch.full((n,), math.exp(phi)), generator=random).double()
    score = ...  # your code: derivative of log q by phi
    return None if score is ... else mean_and_error(f(z) * score)


# %% [markdown]
# :::{solution} ex-ge-poisson
# :class: dropdown
# $\log q_\phi(z) = z \phi - e^\phi - \log z!$, so the score is $z - e^\phi$. For $f(z) = \sqrt z$ and rate 3 the exact derivative is $\sum_z q(z) \sqrt z\, (z - 3)$.
# :::

# %% tags=["hide-cell"]
counts = torch.arange(80).double()
rate = 3.0
q_counts = (counts * math.log(rate) - rate - torch.lgamma(counts + 1)).exp()
exact = (q_counts * counts.sqrt() * (counts - rate)).sum()
seen = torch.poisson(torch.full((200_000,), rate), generator=random).double()
g, error = mean_and_error(seen.sqrt() * (seen - rate))
print(f"{g:.3f} +- {error:.3f}, exact {exact:.3f}")
assert abs(g - exact) < 4 * error
attempt = poisson_gradient(torch.sqrt, math.log(rate))
assert attempt is None or abs(attempt[0] - exact) < 5 * attempt[1]  # your solution

# %% [markdown]
# :::{exercise} ★★ Where the score function wins
# :label: ex-ge-wiggle
# $z \sim \mathcal{N}(\phi, 1)$ at $\phi = 0$ and $f(z) = \sin(a z)$. Compute both variances exactly, with $\mathbb{E} \cos(a z) = e^{-a^2/2}$ and its second derivative in $a$. From which $a$ on (numerically) is the score function better?
# :::
#
# :::{solution} ex-ge-wiggle
# :class: dropdown
# The gradient is $a\, e^{-a^2/2}$. Pathwise: $\mathbb{E}[a^2 \cos^2(az)] = \frac{a^2}{2}(1 + e^{-2a^2})$. Score: $\mathbb{E}[\sin^2(az)\, z^2] = \frac12 \bigl(1 - \mathbb{E}[z^2 \cos(2az)]\bigr) = \frac12 \bigl(1 - (1 - 4a^2)\, e^{-2a^2}\bigr)$. From both subtract $a^2 e^{-a^2}$. They are equal where $a^2 (1 + e^{-2a^2}) = 1 - (1 - 4a^2) e^{-2a^2}$, which the cell solves: $a = 1.11$. For $a = 20$ the pathwise variance is 400 times as large.
# :::

# %% tags=["hide-cell"]
a = torch.linspace(0.5, 20, 195_001, dtype=torch.float64)
damp = (-2 * a**2).exp()
by_path = a**2 / 2 * (1 + damp) - a**2 * (-(a**2)).exp()
by_score = (1 - (1 - 4 * a**2) * damp) / 2 - a**2 * (-(a**2)).exp()
crossing = a[(by_score < by_path).double().argmax()].item()
print(f"score function better from a = {crossing:.2f};", end=" ")
print(f"at a = 20 the ratio is {by_path[-1] / by_score[-1]:.0f}")
z = torch.randn(400_000, generator=random, dtype=torch.float64)
sampled = (2 * (2 * z).cos()).var() / ((2 * z).sin() * z).var()
at_2 = (a - 2).abs().argmin()
print(f"ratio at a = 2: {by_path[at_2] / by_score[at_2]:.2f}, on draws {sampled:.2f}")
assert abs(sampled / (by_path[at_2] / by_score[at_2]) - 1) < 0.02

# %% [markdown]
# (sec-ge-less)=
# ## Part 2. Less noise: what may be subtracted?
#
# Add 1000 to every reward $f(z)$ and the problem is the same: the same best $\phi$, the same gradient. The score-function estimator is not the same at all. So two questions: which quantities *may* we subtract, and which is best to subtract? The general answer first.
#
# :::{prf:theorem} Control variates and the best baseline
# :label: thm-ge-control
# Let $g$ and $h$ be random numbers with finite variances, $\mathbb{E}[h] = 0$ and $\operatorname{Var}[h] > 0$. Then $g - c h$ has the mean of $g$ for every number $c$, and its variance is least at $c^\star = \operatorname{Cov}(g, h) / \operatorname{Var}[h]$, where
#
# $$ \operatorname{Var}[g - c^\star h] = (1 - \rho^2) \operatorname{Var}[g] , \qquad \rho = \text{correlation of } g \text{ and } h . $$ (eq-ge-control)
#
# In particular, among the estimators $(f(z) - b)\, s(z)$ of {prf:ref}`thm-ge-zero`, with $0 < \mathbb{E}\lVert s \rVert^2 < \infty$ and $\mathbb{E}[f^2 \lVert s \rVert^2] < \infty$, the sum of the variances of all entries is least at
#
# $$ b^\star = \frac{\mathbb{E}\bigl[f(z)\, \lVert s(z) \rVert^2\bigr]}{\mathbb{E}\lVert s(z) \rVert^2} . $$ (eq-ge-baseline)
# :::
#
# :::{prf:proof}
# $\operatorname{Var}[g - c h] = \operatorname{Var}[g] - 2 c \operatorname{Cov}(g, h) + c^2 \operatorname{Var}[h]$ is a parabola in $c$ with its minimum at $c^\star$ and the value $\operatorname{Var}[g] - \operatorname{Cov}(g, h)^2 / \operatorname{Var}[h]$ there. For the second part put $g_j = f s_j$ and $h_j = s_j$, which have $\mathbb{E}[h_j] = 0$, and add over the entries $j$: the mean does not depend on $b$, and $\sum_j \mathbb{E}[(f - b)^2 s_j^2] = \mathbb{E}[(f - b)^2 \lVert s \rVert^2]$ is least where its derivative $-2\, \mathbb{E}[(f - b) \lVert s \rVert^2]$ vanishes.
# :::
#
# $b^\star$ is a weighted mean of the rewards and not the plain mean, which most code subtracts: draws with a large score count more. Let us see how much that matters where everything can be computed by hand: $z \sim \mathcal{N}(\phi, 1)$ at $\phi = 0$ and $f(z) = -(z - 2)^2$, so that the gradient is exactly $4$.

# %%
reward = lambda z: -((z - 2) ** 2)
score = lambda z: z  # d/dphi log N(z; phi, 1) at phi = 0
z_million = torch.randn(1_000_000, generator=random, dtype=torch.float64)
baselines = {"none": 0.0, "rewards + 1000": -1000.0, "mean reward": -5.0, "best": -7.0}
gradients = {}
for name, b in baselines.items():
    gradients[name] = (reward(z_million) - b) * score(z_million)

# %% tags=["check:thm-ge-control"]
for name, g in gradients.items():
    b = baselines[name]
    exact_std = (103 + 14 * b + b**2 - 16) ** 0.5  # E[f^2 s^2] = 103, E[f s^2] = -7
    mean, error = mean_and_error(g)
    print(f"{name:>15}: mean {mean:5.2f} +- {error:.2f}, exactly 4", end="; ")
    print(f"spread {g.std():6.2f}, exactly {exact_std:.2f}")
    assert abs(mean - 4) < 4 * error and abs(g.std() / exact_std - 1) < 0.01
g, h = gradients["none"], score(z_million)  # the first part; c, rho from the draws
c_best = ((g * h).mean() - g.mean() * h.mean()) / h.var()
rho = np.corrcoef(g, h)[0, 1]
left, right = (g - c_best * h).var().item(), (1 - rho**2) * g.var().item()
print(f"c* = {c_best:.2f}; Var[g - c* h] = {left:.1f}", end=", ")
print(f"(1 - rho^2) Var[g] = {right:.1f}")
assert abs(left - right) < 1e-3 * left
assert all((g - c * h).var() > left for c in (c_best - 0.1, c_best + 0.1))

# %% [markdown]
# One million draws agree with the algebra. The mean stays at 4 within its error; the spread fell from 9.3 to 6.2 with the best constant, and the mean reward (6.5) gave away little. With 1000 added it takes $(993 / 6.2)^2 \approx 26{,}000$ times as many draws to reach the same accuracy: this, and not the theorem, is why nobody ships a score-function estimator without a baseline.
#
# **What does a baseline change, then?** Not the mean, only the spread. A baseline that is *one number for all latents* cannot remove the noise that comes from the other latents (the dashed line of {numref}`fig-ge-dimension`). A baseline for each latent may: if $q$ factorises, $b_i$ may look at every $z_j$ with $j \ne i$, since these are independent of $z_i$ (the dash-dotted line). To use this one must know which terms of $f$ a latent cannot touch; with a dense decoder it touches all of them. Apart from the draw itself a baseline may depend on anything: on $x$, on the step, on other draws. For a VAE $\log w$ varies mostly *between* images, since some have more ink than others, and a small network $b_\psi(x)$ can predict that part. That is the learned baseline of {cite:t}`mnih2014`, trained beside the model by least squares.
#
# :::{admonition} Watch out: the mean of the same draws is not a constant
# :class: pitfall
# "Subtract the mean reward of the batch" is harmless where every draw belongs to another $x$ and the batch is large. With $k$ draws of *one* distribution, the mean $\bar f$ contains $f(z_i)$ itself, and $\mathbb{E}[(f(z_i) - \bar f)\, s(z_i)] = (1 - \frac1k) \nabla J$: a gradient that is too short, at $k = 2$ by half. In the example above the mean falls from 4 to 2. (Adam, which divides by the size of the gradient, hides a factor; plain gradient descent does not, nor does a loss in which another term, say a closed-form KL, stands unscaled beside it.) The remedy costs nothing: leave $f(z_i)$ out of its own baseline.
# :::
#
# :::{prf:theorem} Leave one out
# :label: thm-ge-loo
# Let $z_1, \dots, z_k \sim q_\phi$ be independent, $k \ge 2$, under the conditions of {prf:ref}`thm-ge-score` and {prf:ref}`thm-ge-zero`, and write $f_i = f(z_i)$, $s_i = s(z_i)$, $\bar f$ and $\bar s$ for their means. Then
#
# $$ \frac1k \sum_{i=1}^k \Bigl( f_i - \frac{1}{k-1} \sum_{j \ne i} f_j \Bigr) s_i = \frac{1}{k-1} \sum_{i=1}^k (f_i - \bar f)(s_i - \bar s) $$ (eq-ge-loo)
#
# is an unbiased estimator of $\nabla_\phi J$; the mean of $(f_i - \bar f)\, s_i$ is $(1 - \frac1k) \nabla_\phi J$.
# :::
#
# :::{prf:proof}
# The others are independent of $z_i$, so $\mathbb{E}[f_j s_i] = \mathbb{E}[f_j]\, \mathbb{E}[s_i] = 0$ for $j \ne i$, and each summand on the left has the mean $\mathbb{E}[f_i s_i] = \nabla J$. For the equality, $f_i - \frac{1}{k-1} (k \bar f - f_i) = \frac{k}{k-1} (f_i - \bar f)$, and $\sum_i (f_i - \bar f)\, \bar s = 0$. Last, $\mathbb{E}[\bar f s_i] = \frac1k \nabla J$.
# :::
#
# So the leave-one-out gradient (RLOO, for REINFORCE leave-one-out, after a name of the score-function gradient that Part 3 explains; {cite:t}`salimans2014,kool2019`) is the *sample covariance of reward and score*: shift all rewards, and it does not notice. The check adds over all 64 pairs of the eight strings of Part 1, and draws pairs for the 4 that became 2.

# %% tags=["check:thm-ge-loo"]
p = (bits * log_odds - F.softplus(log_odds)).sum(1).exp().detach()  # of the 8 strings
scores = bits - log_odds.detach().sigmoid()
fair, short = torch.zeros(3).double(), torch.zeros(3).double()
for i, j in itertools.product(range(8), repeat=2):
    pair_f, pair_s = value[[i, j]], scores[[i, j]]
    others = pair_f.flip(0)  # k = 2: the mean of the others is the other one
    fair += p[i] * p[j] * ((pair_f - others)[:, None] * pair_s).mean(0)
    short += p[i] * p[j] * ((pair_f - pair_f.mean())[:, None] * pair_s).mean(0)
    covariance = ((pair_f - pair_f.mean())[:, None] * (pair_s - pair_s.mean(0))).sum(0)
    assert torch.allclose(covariance, ((pair_f - others)[:, None] * pair_s).mean(0))
print("exact         ", *(f"{g:6.3f}" for g in exact_coins.tolist()))
print("leave one out ", *(f"{g:6.3f}" for g in fair.tolist()))
print("mean of both  ", *(f"{g:6.3f}" for g in short.tolist()))
pairs = z_million.view(-1, 2)
signal = reward(pairs) - reward(pairs).mean(1, keepdim=True)
halved, error = mean_and_error((signal * pairs).mean(1))
print(f"f = -(z - 2)^2 with the mean of two draws: {halved:.2f} +- {error:.2f}")
assert torch.allclose(fair, exact_coins)
assert torch.allclose(short, exact_coins / 2)
assert abs(halved - 2) < 4 * error


# %% [markdown]
# (sec-ge-elbo)=
# ### The gradient of the ELBO, line by line
#
# Now the case we are after. $f$ is $\log w = \log p_\theta(x, z) - \log q_\phi(z \mid x)$, and $\phi$ sits in two places: in the draws *and* inside $f$.
#
# :::{prf:proposition} The ELBO's score-function gradient
# :label: thm-ge-elbo
# Under the conditions of {prf:ref}`thm-ge-score` and {prf:ref}`thm-ge-zero`, with $q_\phi$ short for $q_\phi(z \mid x)$ and $s = \nabla_\phi \log q_\phi$,
#
# $$
# \begin{aligned}
# & \nabla_\phi\, \mathbb{E}_{q_\phi}[\log p_\theta(x, z) - \log q_\phi] \\
# & \quad = \mathbb{E}_{q_\phi}\bigl[(\log p_\theta(x, z) - \log q_\phi)\, s\bigr] + \mathbb{E}_{q_\phi}\bigl[\nabla_\phi(-\log q_\phi)\bigr] \\
# & \quad = \mathbb{E}_{q_\phi}[\log w \; s] - \mathbb{E}_{q_\phi}[s] \\
# & \quad = \mathbb{E}_{q_\phi}\bigl[(\log w - b)\, s\bigr] \quad\text{for every number } b ,
# \end{aligned}
# $$ (eq-ge-elbo)
#
# and $\nabla_\theta\, \mathbb{E}_{q_\phi}[\log w] = \mathbb{E}_{q_\phi}[\nabla_\theta \log p_\theta(x, z)]$, where the derivative may be taken inside.
# :::
#
# :::{prf:proof}
# First line: {prf:ref}`thm-ge-score` with an $f_\phi$ that depends on $\phi$. Second: $-\log q_\phi$ is the only part of $f_\phi$ that does, and its gradient is $-s$. Third: $\mathbb{E}[s] = 0$. In $\theta$ the distribution of the draws is constant, and $\log q_\phi$ does not contain $\theta$.
# :::
#
# The $\phi$ inside $-\log q_\phi$ adds a term of mean zero: it may be kept or dropped. (Dropping it is the baseline $b = 0$; keeping it is $b = 1$.) But $-\log q_\phi$ must stay in the *signal*, since that is where the entropy of $q_\phi$ comes from. (For the mean of a Gaussian it makes no difference, as the entropy does not depend on it; for the scale it does.)
#
# :::{admonition} Watch out: $\nabla_\theta$ printed for $\nabla_\phi$
# :class: pitfall
# Slides print the result as $\mathbb{E}_{q_\phi}[\log w\; \nabla_\theta \log q_\phi(z \mid x)]$. Read literally this is **zero**: $q_\phi$ does not contain $\theta$. It is the gradient of neither parameter. On the model below with one $\theta$, $z \sim \mathcal{N}(0, 1)$, $x \mid z \sim \mathcal{N}(\theta z, 1)$ at $\theta = 1$, $x = 1$, and $q = \mathcal{N}(0.2, 0.6^2)$, the ELBO has the derivative $0.60$ by the mean of $q$ and $-0.20$ by $\theta$.
# :::


# %%
def log_joint(z, theta=1.0, x=1.0):
    """log p(x, z) of the small Gaussian model."""
    log_x_given_z = Normal(theta * z, 1.0).log_prob(torch.tensor(x))
    return Normal(0.0, 1.0).log_prob(z) + log_x_given_z


def exact_elbo(m, log_s, theta):
    """In closed form: E z = m, E z^2 = m^2 + s^2; x = 1."""
    s2 = math.exp(2 * log_s)
    squares = m**2 + s2 + (1 - theta * m) ** 2 + theta**2 * s2
    entropy = log_s + 0.5 * math.log(2 * math.pi * math.e)
    return -0.5 * squares - math.log(2 * math.pi) + entropy


# %% tags=["check:thm-ge-elbo"]
at = {"mean of q": 0.2, "log-scale of q": math.log(0.6), "theta": 1.0}
parameters = [torch.tensor(v).double().requires_grad_() for v in at.values()]
m, log_s, theta = parameters
z = (m + log_s.exp() * nodes).detach()  # quadrature nodes in place of draws
log_q = Normal(m, log_s.exp()).log_prob(z)
log_w = log_joint(z, theta) - log_q
by_score = (node_weights * (log_w.detach() * log_q + log_joint(z, theta))).sum()
by_score = torch.autograd.grad(by_score, parameters, retain_graph=True)
options = {"allow_unused": True, "retain_graph": True}
no_entropy = (node_weights * log_joint(z).detach() * log_q).sum()
no_entropy = torch.autograd.grad(no_entropy, parameters, **options)
in_f = torch.autograd.grad(-(node_weights * log_q).sum(), parameters, **options)
for i, name in enumerate(at):
    moved = [list(at.values()) for _ in range(2)]
    moved[0][i], moved[1][i] = moved[0][i] - 1e-5, moved[1][i] + 1e-5
    exact = (exact_elbo(*moved[1]) - exact_elbo(*moved[0])) / 2e-5
    print(f"by {name:14}: exact {exact:5.2f}, score {by_score[i]:5.2f}", end="")
    if name != "theta":
        print(f"; phi inside -log q {abs(in_f[i]):.2f}", end="; ")
        print(f"signal log p alone {no_entropy[i]:.2f}", end="")
        assert abs(in_f[i]) < 1e-9
    print()
    assert abs(by_score[i] - exact) < 1e-6
print("gradient of log q by theta:", in_f[2])  # None: theta is not in it


# %% [markdown]
# (sec-ge-stl)=
# ### The pathwise gradient has a score in it, too
#
# The pathwise gradient of the ELBO differentiates $\log w$ at $z = t_\phi(\varepsilon)$, and $\phi$ sits in two places again:
#
# $$
# \frac{d}{d\phi} \log w
# = \underbrace{\frac{\partial \log w}{\partial z}\, \frac{\partial t_\phi(\varepsilon)}{\partial \phi}}_{\text{through the draw}}
# \;-\; \underbrace{s_\phi(z)}_{\text{through } -\log q_\phi} .
# $$ (eq-ge-two-paths)
#
# The second term has mean zero, so it may be dropped: hold the parameters of $\log q$ still and let only the draw move. {cite:t}`roeder2017` call this **sticking the landing** (STL), for the reason stated last in
#
# :::{prf:proposition} STL
# :label: thm-ge-stl
# Under the conditions of {prf:ref}`thm-ge-pathwise` for $\log w$ and of {prf:ref}`thm-ge-zero`, $g_{\mathrm{STL}} = \frac{\partial \log w}{\partial z} \frac{\partial t_\phi(\varepsilon)}{\partial \phi}$ is an unbiased estimator of $\nabla_\phi \mathcal{L}$. If $q_\phi(z \mid x) = p_\theta(z \mid x)$, it is 0 for every draw, while the pathwise gradient is $-s_\phi(z)$.
# :::
#
# :::{prf:proof}
# Take the mean of {eq}`eq-ge-two-paths`; that of $s_\phi$ is 0. If $q_\phi$ is the posterior, $\log w = \log p_\theta(x)$ for all $z$, so $\partial \log w / \partial z = 0$.
# :::
#
# Near the optimum the score is all that is left of the noise, and STL removes it. Far from the optimum it may vary *more*: the score is a control variate with the coefficient fixed at 1, which need not be near $c^\star$.
#
# Does the same trick work for the importance-weighted bound $\mathcal{L}_k = \mathbb{E} \log \frac1k \sum_i w_i$, on which the IWAE of {doc}`chapter 9 <09_iwae>` is trained? The derivative of $\log \sum_j w_j$ by $\log w_i$ is $\tilde w_i = w_i / \sum_j w_j$, so its pathwise gradient weighs {eq}`eq-ge-two-paths` by these shares,
#
# $$ \nabla_\phi \mathcal{L}_k = \mathbb{E} \sum_{i=1}^k \tilde w_i \Bigl( \frac{\partial \log w_i}{\partial z_i} \frac{\partial z_i}{\partial \phi} - s_i \Bigr) , $$ (eq-ge-iwae)
#
# and $\tilde w_i s_i$ does *not* have mean zero, since $\tilde w_i$ depends on the draw. Dropping it gives a biased estimator. But it need not be dropped. It can be *replaced*: the two theorems of Part 1 are two expressions for one gradient, so a score can be traded for a path.
#
# :::{prf:proposition} DReG
# :label: thm-ge-dreg
# Let $z_i = t_\phi(\varepsilon_i)$ be independent, and let the conditions of {prf:ref}`thm-ge-score` and {prf:ref}`thm-ge-pathwise` hold for $\log w$ and, as functions of $z_i$, for the weights $\tilde w_i$. Then
#
# $$ \nabla_\phi \mathcal{L}_k = \mathbb{E} \sum_{i=1}^k \tilde w_i^2\, \frac{\partial \log w_i}{\partial z_i}\, \frac{\partial z_i}{\partial \phi} . $$ (eq-ge-dreg)
# :::
#
# :::{prf:proof}
# Fix all draws but $z_i$, and write $\omega(z_i)$ for $\tilde w_i$ as a function of this one draw, with $\phi$ inside $\log w$ held still. {prf:ref}`thm-ge-score` and {prf:ref}`thm-ge-pathwise` give the gradient of $\mathbb{E}_{q_\phi}[\omega(z_i)]$ in two ways, so
#
# $$ \mathbb{E}[\omega(z_i)\, s_i] = \mathbb{E}\Bigl[ \frac{\partial \omega}{\partial z_i} \frac{\partial z_i}{\partial \phi} \Bigr] , \qquad \frac{\partial \omega}{\partial z_i} = \tilde w_i (1 - \tilde w_i) \frac{\partial \log w_i}{\partial z_i} , $$
#
# the second since $\omega = w_i / (w_i + \text{rest})$. Take the mean over the other draws and insert this for $\tilde w_i s_i$ in {eq}`eq-ge-iwae`: the factor of $\frac{\partial \log w_i}{\partial z_i} \frac{\partial z_i}{\partial \phi}$ becomes $\tilde w_i - \tilde w_i (1 - \tilde w_i) = \tilde w_i^2$.
# :::
#
# At $k = 1$ DReG is STL. ($\theta$ is not in the draws, so nothing changes for it: $\nabla_\theta \mathcal{L}_k = \mathbb{E} \sum_i \tilde w_i\, \nabla_\theta \log p_\theta(x, z_i)$.) The name is short for *doubly reparameterised gradient* {cite:p}`tucker2019`. The check, at $q = \mathcal{N}(0.2, 0.6)$ (a variance of 0.6), computes $\mathcal{L}_2$ by quadrature over both draws and differentiates it numerically, with no estimator involved; then the means of the three estimators on the same grid, and for $k = 50$ on draws.


# %%
def small_estimators(eps, m, s):
    """IWAE's, STL's and DReG's gradients by mean and log-scale; eps [..., k]."""
    z = m + s * eps
    log_w = log_joint(z) - Normal(m, s).log_prob(z)
    share = log_w.softmax(-1)
    slope = 1 - 2 * z + (z - m) / s**2  # d log w / dz, at theta = x = 1
    path = {"mean": slope, "log-scale": slope * s * eps}  # times dz / dphi
    score = {"mean": eps / s, "log-scale": eps**2 - 1}
    for name in path:
        yield name, "pathwise", (share * (path[name] - score[name])).sum(-1)
        yield name, "STL", (share * path[name]).sum(-1)
        yield name, "DReG", (share**2 * path[name]).sum(-1)


def bound_of_two(m, log_s, e, mass):
    """L_2 by quadrature over a grid of two draws."""
    log_w = log_joint(m + math.exp(log_s) * e) - Normal(0, 1).log_prob(e) + log_s
    both = torch.logaddexp(log_w[:, None], log_w[None]) - math.log(2)
    return (mass[:, None] * mass * both).sum().item()


# %% tags=["check:thm-ge-stl"]
posterior = 0.5, 0.5**0.5  # mean and scale of the exact posterior
for name, estimator, g in small_estimators(eps[:, None], *posterior):
    if estimator != "DReG":
        print(f"exact q, {name:9}: {estimator:8} mean {abs(g.mean()):.2f}", end=", ")
        print(f"sd {g.std():.2f}")
    assert estimator == "pathwise" or g.abs().max() < 1e-12
exact_slopes = {"mean": 0.6, "log-scale": 0.28}  # of the ELBO at N(0.2, 0.6^2), above
for name, estimator, g in small_estimators(eps[:, None], 0.2, 0.6):
    mean, error = mean_and_error(g)
    if estimator != "DReG":
        print(f"q off,   {name:9}: {estimator:8} mean {mean:.2f}", end=", ")
        print(f"sd {g.std():.2f}, exact {exact_slopes[name]:.2f}")
    assert abs(mean - exact_slopes[name]) < 4 * error

# %% tags=["check:thm-ge-dreg"]
e, mass = nodes[::300], 300 * node_weights[::300]  # 601 nodes for each draw
delta, q_mean, q_scale = 1e-4, 0.2, 0.6**0.5
L = lambda dm, ds: bound_of_two(q_mean + dm, math.log(q_scale) + ds, e, mass)
exact_2 = {"mean": (L(delta, 0) - L(-delta, 0)) / (2 * delta)}
exact_2["log-scale"] = (L(0, delta) - L(0, -delta)) / (2 * delta)
grid = torch.stack(torch.meshgrid(e, e, indexing="ij"), -1)  # [601, 601, 2]
for name, estimator, g in small_estimators(grid, q_mean, q_scale):
    on_grid = (mass[:, None] * mass * g).sum().item()
    print(f"k = 2, {name:9}: exact {exact_2[name]:.4f}, {estimator:8} {on_grid:.4f}")
    assert (abs(on_grid - exact_2[name]) < 1e-5) == (estimator != "STL")
fifty = torch.randn(40_000 * SCALE, 50, generator=random, dtype=torch.float64)
of_50 = {key[:2]: key[2] for key in small_estimators(fifty, q_mean, q_scale)}
for (name, estimator), g in of_50.items():
    mean, error = mean_and_error(g)
    off = mean - of_50[name, "pathwise"].mean()
    near = abs(off) < 4 * mean_and_error(of_50[name, "pathwise"])[1]
    assert near == (estimator != "STL")
    print(f"k = 50, {name:9}: {estimator:8} {mean:7.4f} +- {error:.0e}", end=", ")
    print(f"sd {g.std():.2g}, |mean| / sd {abs(mean) / g.std():.2g}")

# %% [markdown]
# At $k = 2$ pathwise and DReG agree with the exact gradient in every printed digit, and STL does not. At $k = 50$ the gradient by the mean of $q$ is nearly gone, and STL still reports 0.50: its bias has *grown*, from 0.27 to 0.49. The standard deviation of DReG is smaller than that of the pathwise gradient by a factor of more than a hundred here. That is what repairs the *signal-to-noise ratio*, mean over standard deviation, which for the pathwise gradient falls with $k$ ({numref}`fig-iw-snr`) {cite:p}`rainforth2018`: here it is about 0.05, and about 11 for DReG.
#
# (sec-ge-contest)=
# ### All of them on one problem
#
# One model: $x \in \mathbb{R}^6$ with a decoder that is a small network, two latents, sixteen examples, and a linear encoder with 28 parameters that has been trained for a short while. The exact gradient of the ELBO is computed by quadrature over $z$, with $q_\phi$ evaluated on a fixed grid, so that no estimator's formula enters. Each estimator takes two draws for each example. The running and the learned baseline are trained first, with the model's parameters held fixed.

# %% tags=["hide-input"]
from torch import nn

import lvmlib.estimators as est
from lvmlib.base import seed_everything
from lvmlib.bounds import elbo
from lvmlib.data import load
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalCategorical,
    ConditionalNormal,
    FactorisedBernoulli,
    FactorisedCategorical,
    StandardNormal,
)
from lvmlib.evaluation import gradient_moments
from lvmlib.experiments.records import record
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.plotting import image_grid
from lvmlib.training import cosine, fit

# %%
seed_everything(3)
decoder_net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 6))
with torch.no_grad():
    for layer in (decoder_net[0], decoder_net[2]):
        layer.weight.mul_(3.0)
line = VAE(
    ConditionalNormal((2,), nn.Linear(6, 4)),
    ConditionalNormal((6,), decoder_net, 0.5),
    StandardNormal((2,)),
).double()
sixteen = line.sample(16)
encoder_parameters = list(line.pair.encoder.parameters())
optimizer = torch.optim.Adam(encoder_parameters, lr=0.02)
for _ in range(150):
    optimizer.zero_grad()
    (-est.reparameterization(line, sixteen, k=4).mean()).backward()
    optimizer.step()


# %%
def exact_gradient():
    """Of the mean ELBO of the sixteen, in the encoder, by quadrature on a grid."""
    axis = torch.linspace(-6, 6, 241, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)  # [Z, 2]
    log_q = line.posterior(sixteen).log_prob(z[:, None])  # [Z, 16]
    log_x_given_z = line.likelihood(z).log_prob(sixteen[:, None])  # [16, Z]
    log_p = log_x_given_z.T + line.prior.log_prob(z)[:, None]
    elbo = (log_q.exp() * (log_p - log_q)).sum(0) * 0.05**2
    gradients = torch.autograd.grad(elbo.mean(), encoder_parameters)
    return torch.cat([g.flatten() for g in gradients])


# %%
running, learned = est.RunningBaseline(0.99), est.LearnedBaseline(MLP(6, (32,), 1))
learned = learned.double()
optimizer = torch.optim.Adam(learned.parameters(), lr=0.02)
for _ in range(400):
    est.score_function(line, sixteen, 2, running)
    optimizer.zero_grad()
    (-est.score_function(line, sixteen, 2, learned).mean()).backward()
    optimizer.step()
running.eval(), learned.eval()  # from here on they answer and do not learn
best = est.optimal_baseline(line, sixteen, k=400)
with torch.no_grad():
    level = line.log_weights(sixteen, 1000).mean().round().item()
continuous = {
    "score, no baseline": lambda: est.score_function(line, sixteen, 2),
    f"constant ${level:.0f}$": lambda: est.score_function(line, sixteen, 2, level),
    "running mean": lambda: est.score_function(line, sixteen, 2, running),
    "learned $b(x)$": lambda: est.score_function(line, sixteen, 2, learned),
    "leave one out": lambda: est.rloo(line, sixteen, 2),
    "optimal baseline": lambda: est.score_function(line, sixteen, 2, best),
    "pathwise": lambda: est.reparameterization(line, sixteen, 2),
    "STL": lambda: (est.stl(line, sixteen) + est.stl(line, sixteen)) / 2,
}

# %% tolerance={"rtol": 0.2, "atol": 1.5}
exact, measured = exact_gradient(), {}
seed_everything(0)
print("total variance    largest deviation from the exact gradient, in standard errors")
for name, surrogate in continuous.items():
    m = measured[name] = gradient_moments(surrogate, encoder_parameters, 1000 * SCALE)
    off = ((m.mean - exact).abs() / m.standard_error).max()
    print(f"{m.variance.sum():10.2g} {off:18.1f}      {name.replace('$', '')}")
    assert off < 4.5  # an entry is that far out by chance once in 150,000

# %% mystnb={"figure": {"caption": "Total variance of the gradient in the encoder's 28 parameters, two draws for each of sixteen examples (1,000 gradients each; logarithmic axis). Circles: score function with different baselines. Squares: estimators that use the slope of $\\log w$. All are unbiased.", "name": "fig-ge-continuous"}, "image": {"alt": "One marker a row on a logarithmic axis. The score function without baseline lies furthest right, a constant and the running mean well to its left, learned, leave-one-out and optimal baselines further left; the squares of pathwise and STL lie furthest left."}} tags=["hide-input"] tolerance={"rtol": 0.2, "figure": 0.3}
fig, ax = plt.subplots(figsize=(6.2, 3.2))
for row, (name, m) in enumerate(measured.items()):
    colour, marker = (blue, "s") if name in ("pathwise", "STL") else (orange, "o")
    ax.plot(m.variance.sum(), row, marker, color=colour, ms=8, mec=black)
ax.set(xscale="log", xlabel="total variance", yticks=range(len(measured)))
ax.set_xlim(10, 2000)
ax.set_yticklabels(measured)
ax.invert_yaxis()
plt.show()


# %% [markdown]
# Read from top to bottom. Any sensible constant takes away seven eighths of the variance, and it does not matter whether it is set by hand, as the rounded mean of $\log w$, or tracked by a running mean. A baseline that knows $x$ halves what is left, and comes within 13% of the optimal one for each $x$: here $\log w$ varies mostly between examples. Leave-one-out comes close without learning anything. The pathwise estimators are ahead of the best baseline by a factor of 1.4 (pathwise) and 2.4 (STL). With two latents the gap is small; with twenty, on real digits, it will be different.
#
# ### Exercises of Part 2
#
# :::{exercise} ★ Leave one out in one line
# :label: ex-ge-loo
# Fill the gap: a surrogate whose gradient in $\phi$ is {eq}`eq-ge-loo`. The `assert` compares with the sample covariance.
# :::


# %%
def loo_surrogate(f, log_q):
    """A number whose gradient is the leave-one-out estimator; f, log_q [k]."""
    k = len(f)
    others = ...  # your code: for each draw the mean of the other rewards
    return None if others is ... else ((f - others).detach() * log_q).sum() / k


# %% [markdown]
# :::{solution} ex-ge-loo
# :class: dropdown
# `others = (f.sum() - f) / (k - 1)`. The baseline must be detached together with the reward, else $\phi$ inside $f$ sends gradients of its own.
# :::

# %% tags=["hide-cell"]
phi = torch.tensor(0.3).double().requires_grad_()
z = (phi + torch.randn(6, generator=random, dtype=torch.float64)).detach()
rewards, log_q = torch.sin(z), Normal(phi, 1.0).log_prob(z)
others = (rewards.sum() - rewards) / 5
by_loo = ((rewards - others) * log_q).sum() / 6
(g,) = torch.autograd.grad(by_loo, phi, retain_graph=True)
covariance = np.cov(rewards, (z - phi).detach())[0, 1]
print(f"surrogate {g:.6f}, sample covariance {covariance:.6f}")
assert abs(g - covariance) < 1e-12
attempt = loo_surrogate(rewards, log_q)
assert attempt is None or torch.allclose(torch.autograd.grad(attempt, phi)[0], g)

# %% [markdown]
# :::{exercise} ★★ The best constant for STL
# :label: ex-ge-between
# Pathwise and STL are the members $c = 1$ and $c = 0$ of the family $g_{\mathrm{STL}} - c\, s$. For the small Gaussian model and $q = \mathcal{N}(\mu, \sigma^2)$ find the variance of the gradient by the mean as a function of $c$. Which $c$ is best? When does the plain pathwise gradient beat STL?
# :::
#
# :::{solution} ex-ge-between
# :class: dropdown
# $\partial \log w / \partial z = 1 - 2z + (z - \mu)/\sigma^2 = 1 - 2\mu + (1/\sigma - 2\sigma)\, \varepsilon$, and the score is $\varepsilon / \sigma$. So $g = 1 - 2\mu + (1/\sigma - 2\sigma - c/\sigma)\, \varepsilon$, of variance $(1/\sigma - 2\sigma - c/\sigma)^2$, which is 0 at $c = 1 - 2\sigma^2$. At the exact posterior, $\sigma^2 = \frac12$, that is $c = 0$, STL; for a very narrow $q$ it tends to 1, pathwise. Pathwise has variance $4\sigma^2$, STL $(1/\sigma - 2\sigma)^2$, which is larger if $\sigma^2 < \frac14$. The cell confirms the two variances at $\sigma = 0.4$.
# :::

# %% tags=["hide-cell"]
for name, estimator, g in small_estimators(eps[:, None], 0.2, 0.4):
    if name == "mean" and estimator != "DReG":
        formula = 4 * 0.4**2 if estimator == "pathwise" else (1 / 0.4 - 0.8) ** 2
        print(f"{estimator}: variance {g.var():.3f}, formula {formula:.3f}")
        assert abs(g.var() / formula - 1) < 0.02

# %% [markdown]
# (sec-ge-discrete)=
# ## Part 3. Discrete latents: what if nothing can move?
#
# Let $z \in \{0, 1\}^d$ with $q_\phi(z \mid x) = \prod_i \pi_i^{z_i} (1 - \pi_i)^{1 - z_i}$. A draw cannot move by a little, so the pathwise gradient is 0 and of no use. There are two remedies. One keeps the score function and reduces its variance; the other moves a continuous stand-in and accepts a bias, or removes it afterwards.
#
# The bench for this part: a VAE with three binary latents, $x \in \mathbb{R}^4$ and sixteen examples. With $2^3 = 8$ codes every expectation can be summed, so bias and variance of each estimator can be told apart exactly.

# %%
seed_everything(5)
decoder_net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))
with torch.no_grad():
    for layer in (decoder_net[0], decoder_net[2]):
        layer.weight.mul_(3.0)
coin_vae = VAE(
    ConditionalBernoulli((3,), nn.Linear(4, 3)),
    ConditionalNormal((4,), decoder_net, 0.7),
    FactorisedBernoulli((3,)),
).double()
many = coin_vae.sample(16)
coin_parameters = list(coin_vae.pair.encoder.parameters())  # 15 numbers
optimizer = torch.optim.Adam(coin_parameters, lr=0.02)
for _ in range(60):
    optimizer.zero_grad()
    (-est.rloo(coin_vae, many, 4).mean()).backward()
    optimizer.step()


# %%
def of_all_codes(z):
    """log w and log q of codes z [S, 3] for each example, [S, 16] each."""
    log_q = coin_vae.posterior(many).log_prob(z[:, None])
    log_x_given_z = coin_vae.likelihood(z).log_prob(many[:, None]).T
    return log_x_given_z + coin_vae.prior.log_prob(z)[:, None] - log_q, log_q


def summed_gradient(k=1):
    """Of the mean of L_k over the sixteen, in the encoder: all 8^k tuples of codes."""
    log_w, log_q = of_all_codes(bits)
    index = torch.cartesian_prod(*[torch.arange(8)] * k).view(-1, k)  # [8^k, k]
    bound = log_w[index].logsumexp(1) - math.log(k)  # [8^k, 16]
    total = (log_q[index].sum(1).exp() * bound).sum(0).mean()
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, coin_parameters)])


exact_coin = summed_gradient()
print(f"length of the exact gradient {exact_coin.norm():.3f}", end=", ")
print(f"of that of L_3 {summed_gradient(3).norm():.3f}")

# %% [markdown]
# (sec-ge-scored)=
# ### The score function with less variance: NVIL, RLOO, VIMCO
#
# - **NVIL** ("neural variational inference and learning", {cite:t}`mnih2014`) learns a baseline $b_\psi(x) + b_0$ and divides the centred signal by a running standard deviation:
#   $\frac{\log w - b_\psi(x) - b_0}{\max(1, \sqrt v)}\, s$. Here $b_0$ and $v$ are the running mean and variance of what $b_\psi$ leaves. The division changes the length of the gradient in $\phi$ and not its direction, and Adam would undo that change of length.
# - **RLOO** is {prf:ref}`thm-ge-loo` with $f = \log w$. Nothing is learned; it needs $k \ge 2$ draws.
# - **VIMCO** {cite:p}`mnih2016` carries the same idea over to the importance-weighted bound $\mathcal{L}_k$. There *one* signal, $\hat{\mathcal{L}}_k = \log \frac1k \sum_j w_j$, would be given to all $k$ draws, whether they contributed or not. Each draw is set against the bound in which its own weight is replaced by the geometric mean of the others:
#
# $$
# \begin{aligned}
# \nabla_\phi \mathcal{L}_k &= \mathbb{E} \Bigl[ \sum_i \bigl(\hat{\mathcal{L}}_k - \hat{\mathcal{L}}_{-i}\bigr)\, s_i \;-\; \sum_i \tilde w_i\, s_i \Bigr] , \\
# \hat{\mathcal{L}}_{-i} &= \log \frac1k \Bigl( \sum_{j \ne i} w_j + \prod_{j \ne i} w_j^{1/(k-1)} \Bigr) .
# \end{aligned}
# $$ (eq-ge-vimco)
#
# All three are unbiased (NVIL up to a positive factor), for the reason of {prf:ref}`thm-ge-loo`: what is subtracted from signal $i$ does not contain draw $i$. (In the geometric mean the others stand in for $\log w_i$ by their average, as they stand in for $f_i$ in {eq}`eq-ge-loo`.) The second sum of {eq}`eq-ge-vimco` is the gradient of $\hat{\mathcal{L}}_k$ itself, through $-\log q_\phi$ in the weights; it does not vanish for $k > 1$.
#
# ### *Optional:* the policy gradient is the same formula
#
# Reinforcement learning knows {eq}`eq-ge-score` under another name. An agent sees the state $x_t$, takes an action $z_t \sim q_\phi(z_t \mid x_t)$, its *policy*, and is led to the next state. A trajectory of $d$ actions has the probability $\prod_t q_\phi(z_t \mid x_t)\, p(x_{t+1} \mid x_t, z_t)$ and earns the reward $f$. The transition probabilities drop out of the score, since only the policy contains $\phi$:
#
# $$ \nabla_\phi\, \mathbb{E}[f] = \mathbb{E}\Bigl[ f \sum_{t=1}^d \nabla_\phi \log q_\phi(z_t \mid x_t) \Bigr] , $$ (eq-ge-policy)
#
# which is REINFORCE {cite:p}`williams1992`, and the reason why an agent can learn without a model of its environment. An action cannot change rewards of the past, so the score of step $t$ may be given the *rest* of the reward only. That "reward to go" is a baseline, too: what is subtracted is what was earned before $z_t$, and it does not depend on $z_t$: given the past, the $t$-th score has mean zero. A corridor of four steps, in which every step earns the place reached plus 3, all 16 action sequences summed:

# %%
logit = torch.tensor(0.4).double().requires_grad_()  # one policy for all places
walks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).double()  # 1: right
place = (2 * walks - 1).cumsum(1)  # where one stands after each step
rewards = place + 3.0  # [16, 4], one reward at each step
log_p = (walks * logit - F.softplus(logit)).sum(1)
(exact,) = torch.autograd.grad((log_p.exp() * rewards.sum(1)).sum(), logit)
p_walk, score_t = log_p.exp().detach(), (walks - logit.sigmoid()).detach()
to_go = rewards.flip(1).cumsum(1).flip(1)  # from step t on
kinds = {"whole reward": rewards.sum(1, keepdim=True), "reward to go": to_go}
for name, signal in kinds.items():
    g = (signal * score_t).sum(1)
    mean = (p_walk * g).sum()
    print(f"{name}: mean {mean:.3f}, exact {exact:.3f}", end=", ")
    print(f"variance {(p_walk * (g - mean) ** 2).sum():.1f}")
    assert torch.allclose(mean, exact)


# %% [markdown]
# (sec-ge-relaxed)=
# ### Move a stand-in: Gumbel-softmax and straight-through
#
# A coin with log-odds $l$ can be tossed with noise outside: $z = \mathbf{1}[\zeta > 0]$ with $\zeta = l + \log u - \log(1 - u)$ and $u$ uniform. Everything is smooth up to the last step. Make that smooth as well,
#
# $$
# \begin{aligned}
# \text{for a coin}\quad & \tilde z = \sigma(\zeta / T) , \\
# \text{for $K$ values}\quad & \tilde z = \operatorname{softmax}\bigl((\log \pi + G) / T\bigr) , \\
# & G_i = -\log(-\log u_i) ,
# \end{aligned}
# $$ (eq-ge-gumbel)
#
# with one uniform $u_i$ for each value ($G_i$ is called *Gumbel noise*), and the pathwise gradient of $\mathbb{E}[\log p_\theta(x \mid \tilde z)] - \operatorname{KL}(q_\phi(z \mid x) \,\Vert\, p_\theta(z))$ exists: the **{term}`Gumbel-softmax`** or concrete distribution {cite:p}`jang2017,maddison2017`. It is the exact gradient of another objective, in which the decoder is shown codes *between* 0 and 1. The KL term stays that of the hard codes and is computed in closed form, as by {cite:t}`jang2017`; only the reconstruction is relaxed. ({cite:t}`maddison2017` relax the densities as well.) As the temperature $T$ falls, $\tilde z$ tends to $z$ and the bias to 0, while the slope of $\sigma(\zeta / T)$ grows like $1/T$ near $\zeta = 0$ and takes the variance with it.
#
# The **{term}`straight-through`** estimator {cite:p}`bengio2013` sends the hard $z$ forward and pretends in the backward pass that it is its own mean:
#
# $$ g_{\mathrm{ST}} = \frac{\partial \log p_\theta(x \mid z)}{\partial z} \bigg|_{z}\, \frac{\partial \pi_\phi}{\partial \phi} - \nabla_\phi \operatorname{KL}(q_\phi(z \mid x) \,\Vert\, p_\theta(z)) , $$ (eq-ge-st)
#
# the second term again exact. In code: `z = hard + (pi - pi.detach())`. As it stands it has no temperature by which to turn its bias down (with the mean replaced by $\tilde z$ it has one: `gumbel_softmax(hard=True)` {cite:p}`jang2017`). For one coin and $f(z) = (z - 0.45)^2$ the truth is $\frac{d}{d\pi} \mathbb{E} f = f(1) - f(0) = 0.1$, and straight-through gives $\mathbb{E}[2(z - 0.45)] = 2\pi - 0.9$: wrong by $2\pi - 1$. Near $\pi = 0$ or 1 that is ten times the truth, and of the wrong sign on one side. For linear $f$ straight-through is right; Gumbel-softmax is not even then ({ref}`ex-ge-linear`).
#
# **Predict, then run.** How do the relative bias, $\lVert \mathbb{E}[g] - \nabla \rVert / \lVert \nabla \rVert$, and the spread of Gumbel-softmax change on our bench as $T$ rises from 0.05 to 4? At which $T$ is half of the gradient bias? And is straight-through better or worse than that?


# %%
def flat_gradient(value):
    """In the encoder's parameters, one after another."""
    gradients = torch.autograd.grad(value, coin_parameters)
    return torch.cat([g.flatten() for g in gradients])


def relaxed(T, k):
    """The mean of k relaxed ELBOs."""
    return est.gumbel_softmax(coin_vae, many, k, temperature=T).mean()


def relative_bias(mean):
    """How far off a mean gradient is, as a share of the exact one."""
    return ((mean - exact_coin).norm() / exact_coin.norm()).item()


# %% tolerance={"rtol": 0.2, "atol": 0.03}
temperatures, curves = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0), []
seed_everything(0)
for T in temperatures:
    mean = sum(flat_gradient(relaxed(T, 4000)) for _ in range(5 * SCALE)) / (5 * SCALE)
    m = gradient_moments(lambda T=T: relaxed(T, 3), coin_parameters, 200)
    spread = m.variance.sum().sqrt() / exact_coin.norm()
    noise = spread * (3 / (20_000 * SCALE)) ** 0.5  # in the mean of 20,000 draws
    curves.append((relative_bias(mean), spread, noise))
codes = bits[:, None].expand(8, 16, 3).clone().requires_grad_()  # all z, for each x
rows, x_rows = codes.flatten(0, 1), many.repeat(8, 1)
q = coin_vae.posterior(many)
kl_slope = q.logits - coin_vae.prior.logits  # d KL / d pi, in closed form
log_x_given_z = coin_vae.likelihood(rows).log_prob(x_rows)
(slope_z,) = torch.autograd.grad(log_x_given_z.sum(), codes)
mean_slope = (q.log_prob(bits[:, None]).exp()[..., None] * slope_z).sum(0) - kl_slope
straight = flat_gradient((mean_slope.detach() * q.mean).sum(1).mean())  # no draw in it
for T, (bias, spread, noise) in zip(temperatures, curves):
    print(f"Gumbel-softmax, T = {T:4}: relative bias {bias:.2f}", end=" ")
    print(f"(of it noise about {noise:.2f}), spread {spread:.2f}")
print(f"straight-through, over all codes: relative bias {relative_bias(straight):.2f}")

# %% mystnb={"figure": {"caption": "Gumbel-softmax on the bench with three coins: bias (solid) and standard deviation of a gradient with three draws for each example (dashed) against the temperature, both as a share of the length of the exact gradient. Dotted: the bias of straight-through, which has no temperature. Both axes are logarithmic.", "name": "fig-ge-temperature"}, "image": {"alt": "Bias rises with temperature from about 0.08 to about 0.8; the standard deviation falls with it. A horizontal dotted line marks the bias of straight-through."}} tags=["hide-input"] tolerance={"rtol": 0.2, "figure": 0.3}
fig, ax = plt.subplots(figsize=(5.6, 3.0))
for i, (name, style, colour) in enumerate((("bias", "-", red), ("spread", "--", blue))):
    ax.plot(temperatures, [c[i] for c in curves], style, color=colour, label=name)
ax.axhline(relative_bias(straight), ls=":", color=black, label="bias, straight-through")
ax.set(xscale="log", yscale="log", xlabel="temperature $T$", xlim=(0.05, 4))
ax.set_ylabel("share of the gradient")
ax.legend(fontsize=9)
plt.show()

# %% [markdown]
# :::{dropdown} What to expect
# From about 8% at $T = 0.05$, part of it noise of the 20,000 draws, to 78% at $T = 4$, and 90% for straight-through. At $T = 0.1$ and below the standard deviation of a gradient with three draws exceeds two lengths of the gradient itself; at $T = 1$ more than half of the gradient is bias. This decoder is strongly curved between the corners, and the numbers are those of *one* model; what does not depend on the model is the direction of both curves.
# :::
#
# (sec-ge-rebar)=
# ### Move a stand-in and take it back: REBAR and RELAX
#
# A biased gradient with little variance makes a good *control variate*, if its mean can be subtracted exactly. {cite:t}`tucker2017` found how. Let $\tilde z$ be the relaxed draw, $z$ the hard draw that it becomes, and $\tilde z'$ a *second* relaxed draw, taken from the distribution of $\tilde z$ given $z$. (For a coin: the same formula, with a new $u$ that is uniform on $(1 - \pi, 1)$ if $z = 1$ and on $(0, 1 - \pi)$ if $z = 0$.)
#
# :::{prf:proposition} Unbiased with any relaxed control variate
# :label: thm-ge-rebar
# Let $\kappa$ be a function for which $\kappa(\tilde z)$ and, given $z$, $\kappa(\tilde z')$ meet the conditions of {prf:ref}`thm-ge-pathwise`. Then
#
# $$ \nabla_\phi\, \mathbb{E}_{q_\phi}[f(z)] = \mathbb{E}\Bigl[ \bigl(f(z) - \kappa(\tilde z')\bigr)\, s_\phi(z) + \nabla_\phi \kappa(\tilde z) - \nabla_\phi \kappa(\tilde z') \Bigr] , $$ (eq-ge-rebar)
#
# where the last two gradients go through the noise of $\tilde z$, and of $\tilde z'$ given $z$. If $\kappa$ contains $\phi$ itself, both may include that or both leave it out; the two means cancel. A $\phi$ inside $f$ is treated as in {prf:ref}`thm-ge-elbo`.
# :::
#
# :::{prf:proof}
# Put $m_\phi(z) = \mathbb{E}[\kappa(\tilde z) \mid z] = \mathbb{E}[\kappa(\tilde z') \mid z]$. The product rule on $\mathbb{E}[\kappa(\tilde z)] = \sum_z q_\phi(z)\, m_\phi(z)$ gives
# $\nabla_\phi \mathbb{E}[\kappa(\tilde z)] = \mathbb{E}[m_\phi(z)\, s_\phi(z)] + \mathbb{E}[\nabla_\phi m_\phi(z)]$. The left side is $\mathbb{E}[\nabla_\phi \kappa(\tilde z)]$ and the last term $\mathbb{E}[\nabla_\phi \kappa(\tilde z')]$, both pathwise. So what {eq}`eq-ge-rebar` adds to $f(z)\, s_\phi(z)$ has the mean $-\mathbb{E}[m_\phi s_\phi] + \nabla_\phi \mathbb{E}[\kappa(\tilde z)] - \mathbb{E}[\nabla_\phi m_\phi] = 0$.
# :::
#
# **REBAR** takes $\kappa(\tilde z) = \eta \log w(\tilde z)$: at a low temperature $\tilde z'$ lies near the corner $z$, so $\kappa(\tilde z')$ is close to $f(z)$ and the noisy first term nearly vanishes, while the last two terms grow; $T$ balances them. **RELAX** {cite:p}`grathwohl2018` adds a network, $\kappa = \eta \log w + r(\tilde z, x)$. Since no choice of $\eta$, $T$ or $r$ can introduce bias, all are trained to make the variance small: the gradient of the variance is that of $\mathbb{E}\lVert g \rVert^2$, as the mean does not depend on them. (`lvmlib` takes this norm over the log-odds of $q$, not over the encoder's weights.) The price is three passes through the decoder for each draw.
#
# The check is exact: one coin, $f(z) = (z - 0.45)^2$, and a $\kappa$ that has nothing to do with $f$; both noises are spread evenly over their ranges.

# %% tags=["check:thm-ge-rebar"]
l = torch.tensor(0.8).double().requires_grad_()
even = (torch.arange(200_000).double() + 0.5) / 200_000
f_coin = lambda z: (z - 0.45) ** 2
kappa = lambda zeta: torch.sin(3 * torch.sigmoid(zeta / 0.5)) - 0.7
pi = l.sigmoid()
mean_f = pi * f_coin(1.0) + (1 - pi) * f_coin(0.0)
(exact,) = torch.autograd.grad(mean_f, l, retain_graph=True)
(free,) = torch.autograd.grad(kappa(l + even.logit()).mean(), l)  # grad of kappa(z~)
estimate, first_only = free, 0.0
for z, probability in ((1.0, pi.item()), (0.0, 1 - pi.item())):
    # u given z is uniform on the part of (0, 1) that makes z: above or below 1 - pi.
    u = 1 - pi + pi * even if z == 1 else (1 - pi) * even
    again = kappa(l + u.logit()).mean()
    (bound_path,) = torch.autograd.grad(again, l, retain_graph=True)
    first = (f_coin(z) - again.item()) * (z - pi.item())
    estimate = estimate + probability * (first - bound_path)
    first_only = first_only + probability * first
print(f"exact {exact:.5f}, estimator {estimate:.5f}", end="; ")
print(f"without the two gradients of kappa {first_only:.5f}")
assert abs(estimate - exact) < 1e-6

# %% [markdown]
# (sec-ge-discrete-contest)=
# ### All of them on one bench
#
# Every estimator gets *three passes through the decoder* for each example: three draws for most, one for REBAR and RELAX. The score function's helpers (baselines, control variates) are trained for 400 steps with the model's parameters held fixed; the temperatures of REBAR and RELAX start at 0.5. VIMCO is held against the exact gradient of its own objective, $\mathcal{L}_3$.

# %%
seed_everything(0)
helpers = {
    "mean": est.RunningBaseline(0.99),
    "NVIL": est.NVILBaseline(MLP(4, (32,), 1)),
    "REBAR": est.ControlVariate(),
    "RELAX": est.ControlVariate(MLP(7, (32,), 1)),
}
helpers = {name: helper.double() for name, helper in helpers.items()}
discrete = {
    "score, no baseline": lambda: est.score_function(coin_vae, many, 3),
    "running mean": lambda: est.score_function(coin_vae, many, 3, helpers["mean"]),
    "NVIL": lambda: est.nvil(coin_vae, many, helpers["NVIL"], 3),
    "leave one out": lambda: est.rloo(coin_vae, many, 3),
    "VIMCO": lambda: est.vimco(coin_vae, many, 3),
    "REBAR": lambda: est.rebar(coin_vae, many, helpers["REBAR"]),
    "RELAX": lambda: est.relax(coin_vae, many, helpers["RELAX"]),
    "Gumbel-softmax, T = 0.5": lambda: est.gumbel_softmax(coin_vae, many, 3, 0.5),
    "straight-through": lambda: est.straight_through(coin_vae, many, 3),
}

# %%
for name, helper in helpers.items():
    learned_here = list(helper.parameters())
    optimizer = torch.optim.Adam(learned_here, lr=0.02) if learned_here else None
    for _ in range(400):
        surrogate = -discrete["running mean" if name == "mean" else name]().mean()
        if optimizer:
            for p, g in zip(learned_here, torch.autograd.grad(surrogate, learned_here)):
                p.grad = g
            optimizer.step()
    helper.eval()

# %% tolerance={"rtol": 0.2, "atol": 1.5}
exact_of = dict.fromkeys(discrete, exact_coin) | {"VIMCO": summed_gradient(3)}
coin_moments, coin_bias = {}, {}
seed_everything(1)
print("   variance   bias   in standard errors")
for name, surrogate in discrete.items():
    m = gradient_moments(surrogate, coin_parameters, 1000 * SCALE)
    scale = 1.0 if name != "NVIL" else helpers["NVIL"].scale.item()  # it divides
    mean, variance = scale * m.mean, scale**2 * m.variance
    off = mean - exact_of[name]
    coin_moments[name] = variance.sum().item()
    coin_bias[name] = (off.norm() / exact_of[name].norm()).item()
    z_value = (off.abs() / (variance / m.n).sqrt()).max().item()
    print(f"{variance.sum():11.2g} {coin_bias[name]:6.2f} {z_value:10.1f}     {name}")
    biased = name.startswith(("Gumbel", "straight"))
    assert (z_value < 4.5) != biased
nine = lambda: est.rloo(coin_vae, many, 9)
m = gradient_moments(nine, coin_parameters, 1000 * SCALE)
print(f"nine passes: leave one out {m.variance.sum():.2g}", end=", ")
print(f"three draws of REBAR {coin_moments['REBAR'] / 3:.2g}")

# %% mystnb={"figure": {"caption": "Total variance of the gradient in the encoder's fifteen parameters on the bench with three coins, three passes through the decoder for each of sixteen examples (1,000 gradients each; logarithmic axis). The two crosses belong to biased estimators; beside them stands the bias, the mean of these gradients less the enumerated one, as a share of the latter. VIMCO is an estimator of the gradient of $\\mathcal{L}_3$.", "name": "fig-ge-discrete"}, "image": {"alt": "One marker a row on a logarithmic axis for nine estimators. The score function without baseline lies furthest right, then REBAR, RELAX, running mean, leave-one-out, NVIL and VIMCO in falling order; the biased Gumbel-softmax and straight-through lie furthest left and are marked with their bias."}} tags=["hide-input"] tolerance={"rtol": 0.2, "figure": 0.3}
fig, ax = plt.subplots(figsize=(6.2, 3.4))
for row, (name, variance) in enumerate(coin_moments.items()):
    biased = name.startswith(("Gumbel", "straight"))
    colour, marker = (sky, "X") if biased else (orange, "o")
    ax.plot(variance, row, marker, color=colour, ms=8, mec=black)
    if biased:
        note = f"bias {coin_bias[name]:.0%}"
        free = {"fc": "white", "ec": "none", "pad": 1}  # of grid lines
        ax.text(variance * 1.15, row, note, va="center", fontsize=9, bbox=free)
ax.set(xscale="log", xlabel="total variance", yticks=range(len(coin_moments)))
ax.set_xlim(0.4, 40)
ax.set_yticklabels([name.replace("T =", "$T$ =") for name in coin_moments])
ax.invert_yaxis()
plt.show()

# %% [markdown]
# Three groups: the plain score function, its unbiased improvements, and the two biased estimators. (What the table calls the bias of an unbiased estimator is the noise of 1,000 gradients.) The unbiased ones agree with the enumeration, and their variance is two to seven times smaller than the plain score function. VIMCO belongs to another objective with another gradient, so its place says only that its noise is moderate. REBAR and RELAX have one draw where the others have three; three draws of REBAR vary a third as much. At equal cost that does not catch up here: with nine passes each, the variance of leave-one-out is 1 and that of REBAR 2.4. And the biased ones vary least: straight-through has little variance about the wrong mean. Which of them trains the better model is not decided by this figure; Part 4 will ask.
#
# ### Exercises of Part 3
#
# :::{exercise} ★★ The Gumbel-max trick
# :label: ex-ge-gumbel
# Let $G_1, \dots, G_K$ be independent Gumbel noise. Show that $\arg\max_i (\log \pi_i + G_i)$ has the distribution $\operatorname{Cat}(\pi)$. (Waiting times are easier than Gumbels: what is the distribution of $e^{-G_i} = -\log u_i$?)
# :::
#
# :::{solution} ex-ge-gumbel
# :class: dropdown
# $P(-\log u_i > \tau) = P(u_i < e^{-\tau}) = e^{-\tau}$, so $e^{-G_i}$ is exponential with rate 1 and $e^{-G_i} / \pi_i$ exponential with rate $\pi_i$. The largest $\log \pi_i + G_i$ is the smallest $e^{-G_i} / \pi_i$, the first of $K$ alarm clocks. Clock $i$ rings first with probability $\int_0^\infty \pi_i e^{-\pi_i \tau} \prod_{j \ne i} e^{-\pi_j \tau}\, d\tau = \pi_i / \sum_j \pi_j = \pi_i$.
# :::

# %% tags=["hide-cell"]
pi = torch.tensor([0.5, 0.3, 0.15, 0.05]).double()
waits = torch.empty(400_000, 4, dtype=torch.float64).exponential_(generator=random)
gumbel = -waits.log()
shares = torch.bincount((pi.log() + gumbel).argmax(1), minlength=4) / len(gumbel)
print("shares", *(f"{share:.3f}" for share in shares.tolist()))
assert (shares - pi).abs().max() < 4 * 0.5 / len(gumbel) ** 0.5

# %% [markdown]
# :::{exercise} ★★ When is straight-through right?
# :label: ex-ge-st
# One coin with mean $\pi$. Show that the straight-through gradient has the mean $(1 - \pi) f'(0) + \pi f'(1)$, and that it is unbiased for *every* $\pi$ if and only if $f'(0) = f'(1) = f(1) - f(0)$. Which polynomials of degree 3 have this property? Then average over *where* the derivative is taken: for which distribution of a place $y \in [0, 1]$ is $\mathbb{E}[f'(y)] = f(1) - f(0)$ for all smooth $f$?
# :::
#
# :::{solution} ex-ge-st
# :class: dropdown
# $z$ is 1 with probability $\pi$, which gives the mean; the truth is $f(1) - f(0)$ for every $\pi$. At $\pi = 0$ and $\pi = 1$ they agree only if both slopes equal the difference, and then they agree for all $\pi$. For $f = \alpha_1 z + \alpha_2 z^2 + \alpha_3 z^3$: $f'(0) = \alpha_1$, $f'(1) = \alpha_1 + 2\alpha_2 + 3\alpha_3$ and $f(1) - f(0) = \alpha_1 + \alpha_2 + \alpha_3$ are equal if and only if $\alpha_2 = \alpha_3 = 0$: only linear functions, among cubics. By the fundamental theorem of calculus the uniform distribution on $[0, 1]$ is right: $\int_0^1 f'(y)\, dy = f(1) - f(0)$. (With several coins each one would need its own draws along the line, at the corners of all others.)
# :::

# %% tags=["hide-cell"]
cubic_slope = lambda y: 2 * y - 0.9 + 3 * y**2  # of f = z^2 - 0.9 z + z^3
for pi_1 in (0.1, 0.5, 0.9):
    st = (1 - pi_1) * cubic_slope(0.0) + pi_1 * cubic_slope(1.0)
    print(f"pi = {pi_1}: straight-through {st:.2f}, exactly 1.10")
print(f"derivative at a uniform place: {cubic_slope(even).mean():.2f}")

# %% [markdown]
# :::{exercise} ★ Gumbel-softmax and a linear function
# :label: ex-ge-linear
# One fair coin, $l = 0$, and $f(z) = z$. What does Gumbel-softmax return at $T = 1$ for the derivative by $l$, and what is the truth? (At $T = 1$ and $l = 0$, which function of $u$ is $\tilde z$?)
# :::
#
# :::{solution} ex-ge-linear
# :class: dropdown
# $\tilde z = \sigma(\log u - \log(1 - u)) = u$, so $\partial \tilde z / \partial l = \tilde z (1 - \tilde z) = u (1 - u)$, of mean $\frac12 - \frac13 = \frac16$. The truth is $\frac{d}{dl} \sigma(l) = \pi (1 - \pi) = \frac14$. The mean of $\tilde z$ is $\frac12$ here, as it should be, but its *slope* in $l$ is not that of $\pi$: away from $l = 0$ the relaxed coin has another mean than the hard one.
# :::

# %% tags=["hide-cell"]
for T in (0.1, 2 / 3, 1.0, 2.0):
    soft = (even.logit() / T).sigmoid()
    relaxed_slope = (soft * (1 - soft) / T).mean()
    print(f"T = {T:.2f}: relaxed slope {relaxed_slope:.3f}, exact 0.250")
    assert T != 1 or abs(relaxed_slope - 1 / 6) < 1e-6

# %% [markdown]
# :::{exercise} ★★ The temperature of REBAR
# :label: ex-ge-eta
# The scale $\eta$ enters {eq}`eq-ge-rebar` linearly, $g = g_0 - \eta\, h$. Use {prf:ref}`thm-ge-control` to write down the best $\eta$, where $g_0$ is the score function, and estimate by it, on the bench, how much of the variance of $g_0$ is left at $T = 0.1$, 0.5, and 2. (`est.ControlVariate(temperature=T, scale=eta)` and `gradient_moments` do the measuring.)
# :::
#
# :::{solution} ex-ge-eta
# :class: dropdown
# For the sum of the variances of all entries, $\eta^\star = \sum_j \operatorname{Cov}(g_{0j}, h_j) / \sum_j \operatorname{Var}[h_j]$. The variance is a parabola in $\eta$, so three measurements, at $\eta = 0$, 1 and 2, determine it, and its minimum. ($g_0$ is the score function with one draw.) About half of the variance is left at $T = 0.1$, and about a seventh at 0.5 and at 2 (250 gradients do not tell these two apart). So a temperature at which Gumbel-softmax itself would be far off makes a good control variate.
# :::

# %% tags=["hide-cell"] tolerance={"rtol": 0.2, "atol": 0.2}
seed_everything(0)
for T in (0.1, 0.5, 2.0):
    at_eta = []
    for eta in (0.0, 1.0, 2.0):
        control = est.ControlVariate(temperature=T, scale=eta).double()
        one = lambda control=control: est.rebar(coin_vae, many, control)
        at_eta.append(gradient_moments(one, coin_parameters, 250).variance.sum().item())
    v_0, v_1, v_2 = at_eta
    curvature, tilt = (v_2 - 2 * v_1 + v_0) / 2, (4 * v_1 - v_2 - 3 * v_0) / 2
    best_eta = -tilt / (2 * curvature)
    left = (v_0 - tilt**2 / (4 * curvature)) / v_0
    print(f"T = {T}: best eta {best_eta:.1f}, share of the variance left {left:.2f}")

# %% [markdown]
# (sec-ge-digits)=
# ## Part 4. On real digits: which estimator trains a model best?
#
# (sec-ge-by-hand)=
# ### A VAE with binary latents, by hand
#
# This is all it takes, in the symbols of {eq}`eq-ge-elbo`: 32 binary latents with a learned prior, an encoder 784-200-32, a decoder 32-200-784, and a learned baseline $b_\psi(x)$. No draw is differentiated anywhere.

# %%
train, _, test = load("mnist", binarize="stochastic")
test_bits = test.fixed(seed=0).x[:1000]  # [1000, 1, 28, 28] of 0 and 1


def log_bernoulli(log_odds, value):
    """log probability of zeros and ones under independent coins; [B, D] -> [B]."""
    return -F.binary_cross_entropy_with_logits(log_odds, value, reduction="none").sum(1)


def score_loss(x):
    """Its gradient is minus the estimator; x [B, 784]."""
    log_odds = encoder(x)  # [B, 32]
    z = torch.bernoulli(log_odds.sigmoid().detach())
    log_q = log_bernoulli(log_odds, z)
    log_p = log_bernoulli(decoder(z), x) + log_bernoulli(prior.expand(len(x), 32), z)
    log_w = (log_p - log_q).detach()  # the signal: a number, without gradient
    b = baseline(x)[:, 0]
    ascent = log_p + (log_w - b.detach()) * log_q  # theta; phi
    return -ascent.mean() + (log_w - b).square().mean(), log_w.mean().item()


# %%
seed_everything(0)
encoder, decoder = MLP(784, (200,), 32), MLP(32, (200,), 784)
baseline, prior = MLP(784, (100,), 1), torch.zeros(32, requires_grad=True)
modules = nn.ModuleList([encoder, decoder, baseline])
optimizer = torch.optim.Adam([*modules.parameters(), prior], lr=1e-2)
steps, by_hand = 4000 * SCALE, []
decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
for _ in range(steps):
    x = train.batch(torch.randint(len(train), (100,))).flatten(1)
    loss, bound = score_loss(x)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    decay.step()
    by_hand.append(bound)

# %% tolerance={"rtol": 0.03}
with torch.no_grad():
    z = torch.bernoulli(prior.sigmoid().expand(48, 32))
    drawn = torch.bernoulli(decoder(z).sigmoid()).view(-1, 1, 28, 28)
for at_step in (100, 300, 1000, 4000):
    window = by_hand[at_step * SCALE - 100 : at_step * SCALE]
    print(f"step {at_step:4}: ELBO {np.mean(window):7.1f} nats (mean of 100 batches)")

# %% mystnb={"figure": {"caption": "*Left:* 48 test images. *Right:* 48 draws from the VAE with 32 binary latents that was trained with a score and a baseline: codes from the learned prior, then every pixel drawn. The training was cut short (*not converged*).", "name": "fig-ge-samples"}, "image": {"alt": "Two blocks of six rows of eight small binary images. On the left real digits; on the right speckled shapes, some of which can be read as digits."}} tags=["hide-input"] tolerance={"draws": ["columns 10-17"]}
blank = torch.zeros(6, 1, 784)  # a column of paper in between
blocks = [test_bits[:48].view(6, 8, 784), blank, drawn.view(6, 8, 784)]
titles = ["data"] + 8 * [""] + ["draws"] + 7 * [""]
both_blocks = torch.cat(blocks, 1).view(-1, 1, 28, 28)
image_grid(both_blocks, columns=17, column_labels=titles)
plt.show()

# %% [markdown]
# The rate 0.01 was not tuned for this run; it is the one that most estimators of the race below choose. Nor is $-142$ nats, measured on training batches, a good bound: with a baseline of the same kind and three draws for each image, NVIL ends there at $-136$ on test images, after half as many steps. The library's estimator is the same as this one. Wrap encoder, decoder and prior as a `VAE`, let both take the same batch and the same noise, and compare every gradient.

# %%
hand_vae = VAE(
    ConditionalBernoulli((32,), encoder),
    ConditionalBernoulli((1, 28, 28), decoder),
    FactorisedBernoulli((32,)),
)
hand_vae.prior.logits.data.copy_(prior.data)
hand_baseline = est.LearnedBaseline(baseline)
weights = [*encoder.parameters(), *decoder.parameters(), *baseline.parameters()]
x = test_bits[:100]
seed_everything(0)
mine = torch.autograd.grad(score_loss(x.flatten(1))[0], [*weights, prior])
seed_everything(0)
surrogate = est.score_function(hand_vae, x, 1, hand_baseline)
theirs = torch.autograd.grad(-surrogate.mean(), [*weights, hand_vae.prior.logits])
off = max(((a - b).norm() / b.norm()).item() for a, b in zip(mine, theirs))
print(f"{len(mine)} tensors of gradients agree within {1e-4:.0e} of their length")
assert off < 1e-4


# %% [markdown]
# (sec-ge-lr)=
# ### Likelihood ratio against reparameterisation
#
# With *Gaussian* latents both ways are open, so they can be compared: the same networks (784-200-20-200-784), the same data, 2,000 steps of 50 images, three draws for each image. Each estimator was given four learning rates, 0.001, 0.003, 0.01 and 0.03, and kept the one that was best for seed 0 on validation images; the results are those of two other seeds at that rate (a rate at which one of these diverged gave way to the next best). Where the lowest rate won, 0.0003 was tried as well. The rate rises for 100 steps and then falls to zero along a cosine; gradients are not clipped. NLL is estimated by importance sampling with 200 draws on 2,000 test images; it is an upper bound. `python -m lvmlib.experiments.estimator_runs gaussian` makes the record that the next cells read.


# %%
def print_bounds(rows):
    """The runs of a record, one number for each seed."""
    print("estimator         rate   test ELBO: seeds 1, 2, mean", end="")
    print("   NLL, 200 draws      gap")
    for name, row in rows.items():
        bound = [run["test_elbo"] for run in row["runs"]]
        nll = [run["test_nll"] for run in row["runs"]]
        print(f"{name:17} {row['runs'][0]['lr']:<6g}", end="")
        for numbers in (bound, nll):
            print("  ", *(f"{n:6.1f}" for n in [*numbers, np.mean(numbers)]), end="")
        print(f"   {-np.mean(bound) - np.mean(nll):5.1f}")


def print_rates(rows):
    """How the rates were chosen."""
    rates = sorted({lr for row in rows.values() for lr in row["tried"]}, key=float)
    print("\nvalidation ELBO of seed 0, rate by rate; of seeds 1, 2 at the best rate")
    print("(x: diverged; *: diverged with another seed)")
    print(" " * 17, *(f"{lr:>7} " for lr in rates))
    for name, row in rows.items():
        marks = ["*" if lr in row["other_seed_diverged"] else " " for lr in rates]
        bounds = [row["tried"].get(lr) for lr in rates]
        cells = ["" if b is None else "x" if b < -1e8 else f"{b:.1f}" for b in bounds]
        print(f"{name:17}", *(f"{c:>7}{m}" for c, m in zip(cells, marks)), end=" ;")
        print(*(f"{run['valid_elbo']:7.1f}" for run in row["runs"]))


# %%
gaussian_runs = record("estimators_gaussian")
print_bounds(gaussian_runs["rows"])
print_rates(gaussian_runs["rows"])

# %% mystnb={"figure": {"caption": "One VAE with 20 Gaussian latents on binary MNIST, trained with six gradient estimators, each at the rate in the table (seed 1). *Left:* ELBO on 2,000 validation images against step. *Right:* total variance of the gradient in the encoder for a fixed batch of 100 images, over that of the pathwise gradient at the same weights (logarithmic axes). All runs are cut short: *not converged*.", "name": "fig-ge-lr"}, "image": {"alt": "Left: six rising curves; pathwise and STL lie on top, leave-one-out and the learned baseline below, and the score function without baseline far below. Right: variance ratio against step. At the last step the score function without baseline stands at ten thousand, running and learned baseline at hundreds, leave-one-out at twenty, pathwise at one, STL below it."}} tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.6))
styles_of_6 = ("-", "--", "-.", ":", "-", "--")
looks = zip((red, orange, purple, green, blue, black), styles_of_6)
for (name, row), (colour, style) in zip(gaussian_runs["rows"].items(), looks):
    run = row["runs"][0]
    left.plot(*np.array(run["curve"][1:]).T, style, color=colour, label=name, lw=1.5)
    measured_at = np.array(run["variance"])
    ratio = measured_at[:, 1] / measured_at[:, 2]
    right.plot(measured_at[:, 0], ratio, style, color=colour, marker=".")
left.set(xlabel="step", ylabel="ELBO (nats)", xlim=(0, 2000), ylim=(-210, -100))
right.set(xscale="log", yscale="log", xlabel="step", ylabel="variance ratio")
fig.legend(fontsize=9, loc="outside lower center", ncols=3)
plt.show()
print("variance over that of the pathwise gradient at the same weights, last step:")
for name, row in gaussian_runs["rows"].items():
    last = [run["variance"][-1] for run in row["runs"]]
    print(f"{name:18}", *(f"{own / of_path:8.2g}" for _, own, of_path in last))

# %% [markdown]
# After 2,000 steps the pathwise gradients are at about 103 nats on test images, leave-one-out at 114, the learned baseline at 134, the running mean at 142, and the plain score function at 164. The decoder's gradient is of the same kind for all six; what differs is how well the encoder is told where to go. At the end of its run the plain score function varies about seventeen thousand times as much as the pathwise gradient would at the same weights. A learned baseline brings this down to hundreds, leave-one-out to twenty. The learned one has to predict $\log w$ from $x$, and after 2,000 steps it does so only in part; the other two draws of the same image know it at once ({ref}`ex-ge-running` measures this). What remains is of the size (tens) that {numref}`fig-ge-dimension` leads one to expect of twenty latents that share one reward, and a dense decoder offers no baseline for each latent.
#
# There is a second cost, in the lower half of the table: a noisy gradient needs a small learning rate. The pathwise gradients are best at 0.01. There three of the four score functions *diverge*, and leave-one-out, which survives, is better at 0.003. So the gap is not only noise per step; it is the speed that noise allows. But note what the table cannot support. No baseline and the running mean end at 0.001 (the running mean would have taken 0.003, had another seed not diverged there); at 0.0003 both are worse after these 2,000 steps. Over a longer run that rate might serve them better, as clipping might. Seeds differ little among the last three estimators and much among the first three: the running mean at 0.001 reached $-173$ on validation images with seed 0 and $-153$ and $-155$ with the next two. That is twenty nats between seeds, as much as between neighbouring rows. The order of the extremes is safe; the order of the two worst rests on few runs.
#
# STL has a third of the variance of the pathwise gradient and the same result: at this rate and length, variance is no longer what limits the training. {cite:t}`roeder2017` report gains from STL; these runs do not show any. The curves are flat at the end because the rate has been taken to zero, not because training has converged. The means agree; it is a race, and not a difference in the goal.
#
# (sec-ge-discrete-digits)=
# ### Nine estimators for binary latents
#
# Now latents that cannot be reparameterised: 32 bits, the networks of the model by hand, and all estimators of Part 3. **Predict, then run.** Which wins on test images: one of the unbiased ones with the least variance on the bench, or a biased one with less variance still? And how far behind is the score function without any baseline?
#
# The budget is the same for all, *three passes through the decoder* for each image and step, and 2,000 steps of 50 images; the rate is tuned as before. (Gumbel-softmax runs at $T = \frac23$, the value of {cite:t}`maddison2017` for binary latents; $T$ was not tuned.) All are judged with *hard* codes on 2,000 test images, twice: by the ELBO, and by importance sampling with 200 draws. Three things are not equal. The two biased estimators have the KL term in closed form, where the others sample it. REBAR and RELAX spend their three passes on one hard draw, so the decoder, too, learns from one draw where it has three elsewhere. And equal passes are not equal time: these two also differentiate twice.

# %%
bernoulli_runs = record("estimators_bernoulli")
print_bounds(bernoulli_runs["rows"])
print_rates(bernoulli_runs["rows"])

# %% mystnb={"figure": {"caption": "One VAE with 32 binary latents on binary MNIST, trained with nine estimators at equal cost in passes through the decoder. *Left:* ELBO of hard codes on 2,000 validation images. *Right:* total variance of each estimator's gradient in the encoder, at the weights of its own run (seed 1; logarithmic axes; NVIL multiplied by its scale). Dotted lines belong to biased estimators. *Not converged.*", "name": "fig-ge-nine"}, "image": {"alt": "Left: nine rising curves; Gumbel-softmax ends on top, leave-one-out, REBAR, RELAX and straight-through lie close together below it, then VIMCO, NVIL and the running baseline, and the score function without baseline far below. Right: nine curves of variance against step, spread over three orders of magnitude at the last step; the score function without baseline is highest, straight-through and Gumbel-softmax are lowest."}} tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(7.4, 4.0))
palette = [black, red, orange, green, blue, sky, purple, "#777777", "#8c510a"]
styles_of_9 = ("-", "--", "-.", "-", "--", ":", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
looks = zip(palette, styles_of_9)
for (name, row), (colour, style) in zip(bernoulli_runs["rows"].items(), looks):
    run = row["runs"][0]
    look = {"color": colour, "ls": style, "lw": 1.5}
    left.plot(*np.array(run["curve"][1:]).T, label=name, **look)
    right.plot(*np.array(run["variance"]).T, marker=".", **look)
left.set(xlabel="step", ylabel="ELBO (nats)", xlim=(0, 2000), ylim=(-190, -120))
right.set(xscale="log", yscale="log", xlabel="step", ylabel="total variance")
fig.legend(fontsize=9, loc="outside lower center", ncols=3)
plt.show()


# %% [markdown]
# :::{dropdown} What to expect
# Gumbel-softmax is ahead by either measure, although it is *biased*: of the best unbiased estimator by 5 nats of ELBO (leave-one-out) and by 8 of the 200-draw bound (VIMCO). The rest depends on the judge. By the ELBO, which all but VIMCO maximise or aim to maximise, leave-one-out, REBAR and RELAX lie ahead of straight-through, RELAX by half a nat only; importance sampling, which forgives a poor $q$, puts straight-through second. NVIL, the running mean and the plain score function follow by either measure, 11, 19 and 40 nats of ELBO behind Gumbel-softmax. There are two seeds for each row, and they differ by up to three nats, by less than one for leave-one-out, Gumbel-softmax, straight-through and RELAX; gaps smaller than that decide nothing.
# :::
#
# The last column is the distance between the two measures: about 8 nats for NVIL, leave-one-out, REBAR and RELAX, 12 to 14 for Gumbel-softmax, straight-through and VIMCO. With gaps of this size 200 draws do not reach the likelihood either, and their number is a bound like the other. It fits that a biased gradient *of the encoder* should hurt $q$ first and the decoder less; for VIMCO, which maximises $\mathcal{L}_3$, a low ELBO is no fault. Nor does variance alone decide: straight-through varies least and is not the best by either measure.
#
# Leave-one-out, three lines of code and no parameter, does as well as the two estimators that train a control variate, at the same number of passes. (That is a stricter budget than in {cite:t}`tucker2017` and {cite:t}`grathwohl2018`, who compare step by step with one draw each.) And a caution: 2,000 steps are a short run. Bias does not shrink with more steps while noise averages out, so a longer run may end differently; this record does not say.
#
# Where does the bias point? On the bench with three coins the mean of many draws can be held against the enumeration.


# %% tolerance={"atol": 0.15}
def compared(found, reference):
    """Cosine; parts along and across the reference, and the bias, in its lengths."""
    cosine_to = F.cosine_similarity(found, reference, dim=0)
    along = (found @ reference) / reference.square().sum()
    across = (found - along * reference).norm() / reference.norm()
    bias = (found - reference).norm() / reference.norm()
    return " ".join(f"{number:6.2f}" for number in (cosine_to, along, across, bias))


seed_everything(0)
judged = {
    "leave-one-out, again": est.rloo,
    "Gumbel-softmax, T = 0.1": lambda *a: est.gumbel_softmax(*a, temperature=0.1),
    "Gumbel-softmax, T = 2/3": lambda *a: est.gumbel_softmax(*a, temperature=2 / 3),
    "Gumbel-softmax, T = 2": lambda *a: est.gumbel_softmax(*a, temperature=2.0),
    "straight-through": est.straight_through,
}
print(" " * 27, "cosine  along across   bias")
for name, estimator in judged.items():
    parts = [flat_gradient(estimator(coin_vae, many, 4000).mean()) for _ in range(5)]
    print(f"{name:26}", compared(sum(parts) / 5, exact_coin))

# %% [markdown]
# *Along* the exact gradient Gumbel-softmax at $T = \frac23$ is nearly right; most of its bias stands *across* it, and turns the gradient without making it shorter. A small step in such a direction still climbs. That is one possible reason why these gradients can train a model well; another is the closed form of the KL term, and we did not separate the two. All this holds for one small model at one set of weights, and we did not measure it on the digits. Measure the bias of your own model where it stands.
#
# (sec-ge-which)=
# ### Which one should you take?
#
# - $z$ continuous, $f$ smooth: **pathwise**; with a $q$ that is rich enough to come close to the posterior, **STL**; for the importance-weighted bound, **DReG**.
# - $z$ discrete, several passes of the decoder affordable: **leave one out** for the ELBO, **VIMCO** for $\mathcal{L}_k$. Nothing to learn, nothing to tune, no bias.
# - $z$ discrete, one pass only: a learned baseline (NVIL). REBAR and RELAX cost three passes and a second derivative, and with three passes leave-one-out is available too; in our race they did not do better than it.
# - A biased estimator (Gumbel-softmax, straight-through) where its bias has been measured, or where only the end result counts and is judged by a bound with hard codes, as in the race that Gumbel-softmax won. Leave-one-out stands before it in this list because its bias is zero on every model. Chapter 12 uses straight-through for codebooks.
# - $f$ is a black box: the score function, with leave-one-out if you may call $f$ several times, and otherwise a learned baseline or RELAX with $\kappa = r$ alone, for which {cite:t}`grathwohl2018` made it.
#
# ### Exercises of Part 4
#
# :::{exercise} ★ A baseline by hand
# :label: ex-ge-running
# In `score_loss`, replace the learned baseline by the running mean of the signal. Write the two lines, and say which part of the noise it cannot remove.
# :::
#
# :::{solution} ex-ge-running
# :class: dropdown
# `b = running` before the step and `running = 0.9 * running + 0.1 * log_w.mean().item()` after it: from the batches *before* this one, so that it does not depend on its draws. It removes the common mean, whose square is most of the second moment, and not the differences *between* images, which $b_\psi(x)$ predicts. The cell measures both on the trained model: nearly all of the remaining variance lies between images, and the learned baseline explains about seven tenths of it. Leave-one-out leaves about a thirtieth of what the learned baseline leaves, and this is why it wins on digits: it compares draws of one image, so of the part between images nothing is left. (Numbers of one digit, since other processors train slightly different models.)
# :::

# %% tags=["hide-cell"]
with torch.no_grad():
    signal = hand_vae.log_weights(test_bits, 50)  # [50, 1000]
    unexplained = (signal - hand_baseline(test_bits)).square().mean()
within = signal.var(0).mean()  # of the draws of one image
one_digit = lambda number: f"{float(f'{number:.1g}'):,.0f}"
print(f"second moment {one_digit(signal.square().mean())}", end=", ")
print(f"variance {one_digit(signal.var())}", end=", ")
print(f"of it within images {one_digit(within)}", end="; ")
print(f"learned baseline explains {1 - unexplained / signal.var():.1f}")
left_by_loo = 1.5 * within  # of three draws: the variance of one and of the mean of two
print(f"leaving one out of three leaves {one_digit(left_by_loo)}", end=", ")
print(f"the learned baseline {one_digit(unexplained / left_by_loo)} times that")


# %% [markdown]
# :::{exercise} ★★★ Categories
# :label: ex-ge-categories
# Replace the 32 coins by ten categorical latents of eight values (`ConditionalCategorical`, `FactorisedCategorical`), about as many nats. Which lines of `score_loss` change? Which estimators of `lvmlib` run without any change? Train one of them for 1,000 steps.
# :::
#
# :::{solution} ex-ge-categories
# :class: dropdown
# Only the distribution: `z` is ten one-hot rows and `log_q` a sum of log-softmax entries. The score knows nothing about the kind of $z$. In `lvmlib` every estimator of Part 3 accepts either; the cell trains both with leave-one-out. After 1,000 steps, and with one seed, the coins are four nats ahead.
# :::


# %% tags=["hide-cell"] tolerance={"rtol": 0.05}
def trained_on(encoder_of, prior, z_size):
    """A VAE with these latents after 1,000 steps with leave-one-out."""
    seed_everything(0)
    posterior = encoder_of(MLP(784, (100,), z_size))
    pixels = ConditionalBernoulli((1, 28, 28), MLP(z_size, (100,), 784))
    vae, surrogate = VAE(posterior, pixels, prior), lambda vae, x: -est.rloo(vae, x, 3)
    how = {"batch_size": 50, "lr": cosine(3e-3, 1000 * SCALE), "progress": False}
    fit(vae, train, surrogate, steps=1000 * SCALE, **how)
    return vae


of_eight = lambda network: ConditionalCategorical((10, 8), network)
of_two = lambda network: ConditionalBernoulli((32,), network)
rivals = {"ten of eight": trained_on(of_eight, FactorisedCategorical((10, 8)), 80)}
rivals["32 coins"] = trained_on(of_two, FactorisedBernoulli((32,)), 32)
for name, vae in rivals.items():
    with torch.no_grad():
        print(f"{name:>12}: test ELBO {elbo(vae, test_bits, k=5).mean():.1f} nats")

# %% [markdown]
# (sec-ge-summary)=
# ## Summary
#
# :::{list-table} What was shown, and where it lives in `lvmlib`.
# :header-rows: 1
# :name: tab-ge-summary
#
# * - result
#   - in one line
#   - in `lvmlib`
# * - {prf:ref}`thm-ge-score`
#   - value times score: any $f$, any $z$, fixed support
#   - `score_function`
# * - {prf:ref}`thm-ge-zero`
#   - the score has mean zero, so a baseline brings no bias
#   - `RunningBaseline`, `LearnedBaseline`
# * - {prf:ref}`thm-ge-pathwise`
#   - slope times path: $f$ absolutely continuous along the path
#   - `reparameterization`
# * - {prf:ref}`thm-ge-control`
#   - the best constant weighs rewards by the squared score
#   - `optimal_baseline`
# * - {prf:ref}`thm-ge-loo`
#   - the mean of the *other* draws is an unbiased baseline
#   - `rloo`, `vimco`
# * - {prf:ref}`thm-ge-elbo`
#   - $\phi$ inside $-\log q_\phi$ contributes 0 on average
#   - `score_function`
# * - {prf:ref}`thm-ge-stl`
#   - without the score, no noise at the exact posterior
#   - `stl`
# * - {prf:ref}`thm-ge-dreg`
#   - squared weights: unbiased for every $k$
#   - `dreg`
# * - {prf:ref}`thm-ge-rebar`
#   - a relaxed draw as control variate brings no bias
#   - `rebar`, `relax`
# * - {numref}`fig-ge-temperature`
#   - relaxed draws trade bias for variance
#   - `gumbel_softmax`, `straight_through`
# * - {numref}`fig-ge-continuous`, {numref}`fig-ge-discrete`
#   - all variances on one problem
#   - `gradient_moments`
# :::
#
# ## Further reading
#
# - {cite:t}`mohamed2020` is the review of Monte Carlo gradients, with their history outside of machine learning.
# - {cite:t}`williams1992` for the score function in reinforcement learning, {cite:t}`greensmith2004` on its baselines, {cite:t}`paisley2012` on its use for variational inference.
# - {cite:t}`kingma2014` and {cite:t}`rezende2014` on the reparameterised gradient of the ELBO; {cite:t}`figurnov2018` on paths without a formula.
# - {cite:t}`roeder2017`, {cite:t}`rainforth2018` and {cite:t}`tucker2019` on the score inside the pathwise gradient.
# - {cite:t}`mnih2014`, {cite:t}`mnih2016`, {cite:t}`jang2017`, {cite:t}`maddison2017`, {cite:t}`tucker2017` and {cite:t}`grathwohl2018` on discrete latents.
