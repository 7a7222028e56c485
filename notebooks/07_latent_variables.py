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
# (ch-latent)=
# # Latent-variable models
#
# *Suppose that every image was made in two steps: first a few hidden decisions, then the pixels that follow from them. Such a
# model is easy to write down and easy to sample. What does it cost to learn it, when nobody ever sees the decisions?*
#
# A **latent-variable model** tells a story about each example. First something is decided that we shall never see, the **latent variable** $z$. Then the example $x$ is made, and how it is made depends on $z$.
# {numref}`fig-lv-joint` shows the whole idea with one number for $z$ and one for $x$.

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.patches import Ellipse
from scipy import stats
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal

from lvmlib import annealed_log_likelihood, effective_sample_size
from lvmlib.base import seed_everything
from lvmlib.data import load
from lvmlib.latent import PPCA, GaussianMixture, em
from lvmlib.networks import MLP
from lvmlib.plotting import COLOURS, image_grid, use_style
from lvmlib.training import fit

SCALE = 1  # multiplies training runs and draws; stored outputs are those of 1
use_style()
black, blue, orange = (COLOURS[name] for name in ("black", "blue", "orange"))
green, red, sky = (COLOURS[name] for name in ("green", "vermilion", "sky"))

# %% tags=["hide-input"]
g = lambda z: 1.3 * torch.sin(2.2 * z) + 0.2 * z  # where z puts the mean of x
noise, x_seen = 0.25, 0.5
prior = Normal(torch.tensor(0.0).double(), 1.0)
z_line = torch.linspace(-3.2, 3.2, 641, dtype=torch.float64)
x_line = torch.linspace(-3, 3, 601, dtype=torch.float64)
log_joint = prior.log_prob(z_line) + Normal(g(z_line), noise).log_prob(x_line[:, None])
p_x = torch.trapezoid(log_joint.exp(), z_line)  # [601]: summed along each row
log_of_seen = lambda z: Normal(g(z), noise).log_prob(torch.tensor(x_seen))
log_slice = prior.log_prob(z_line) + log_of_seen(z_line)
log_p_seen = torch.trapezoid(log_slice.exp(), z_line).log()  # log p(x_seen)
posterior_line = (log_slice - log_p_seen).exp()  # p(z | x_seen)

# %% mystnb={"figure": {"caption": "A latent-variable model with one number on each side. Shading: how often the pair $(z, x)$ comes up. To draw, take $z$ from the bell curve (below, dashed), go up to the curve, and add a little noise. *Right:* what is left when only $x$ is noted, the shading summed along each row. *Below, solid:* what is left when $x = 0.5$ has been seen, the shading along the dotted line. Five values of $z$ put the mean of $x$ at 0.5; three humps hold 95% of the weight.", "name": "fig-lv-joint"}, "image": {"alt": "A wavy band of shading, darkest in the middle, with a horizontal dotted line through it that cuts the band several times. To the right a density of x with humps. Below, a dashed bell curve and a solid curve with three narrow humps, and a low one at the left, where the dotted line met the band."}} tags=["hide-input"]
fig = plt.figure(figsize=(6, 4.6))
grid = fig.add_gridspec(2, 2, width_ratios=(3, 1), height_ratios=(3, 1.3))
both, right, below = (fig.add_subplot(grid[i]) for i in range(3))
levels = log_joint.exp().max() * torch.linspace(0.03, 1, 12)
both.contourf(z_line, x_line, log_joint.exp(), levels, cmap="Blues")
both.plot(z_line, g(z_line), color=orange, lw=1.2)
both.axhline(x_seen, color=black, ls=":", lw=1.2)
both.set(xlim=(-3.2, 3.2), ylim=(-3, 3), ylabel="$x$")
right.plot(p_x, x_line, color=blue)
right.set(ylim=(-3, 3), xlim=(0, None), title="$x$ alone")
below.plot(z_line, posterior_line, color=red, label="once $x = 0.5$ is seen")
below.plot(z_line, prior.log_prob(z_line).exp(), "--", color=black, label="before")
below.set(xlim=(-3.2, 3.2), ylim=(0, None), xlabel="$z$", ylabel="density")
below.legend(fontsize=8)
plt.show()

# %% [markdown]
# The two curves at the margins are the two questions of this chapter. *How probable is this $x$?* is the curve on the right: add up everything that could have made it. *What made it?* is the solid curve below: cut the picture at the $x$ that was seen. Here are the names.
#
# :::{prf:definition} Latent-variable model
# :label: def-lv-model
# A **{term}`prior`** $p(z)$ over latent variables and a **{term}`likelihood`** $p_\theta(x \mid z)$ make the joint distribution $p_\theta(x, z) = p(z)\, p_\theta(x \mid z)$. The
# **marginal likelihood** or **{term}`evidence`** of $x$, and the **{term}`posterior`** of $z$, are
#
# $$
# p_\theta(x) = \int p(z)\, p_\theta(x \mid z)\, dz , \qquad
# p_\theta(z \mid x) = \frac{p(z)\, p_\theta(x \mid z)}{p_\theta(x)} ,
# $$ (eq-lv-model)
#
# with a sum in place of the integral where $z$ takes discrete values.
# :::
#
# (The prior may have parameters too, as the weights of a mixture.) The evidence is a *weighted sum over codes*: each $z$ contributes its likelihood $p_\theta(x \mid z)$, weighted by its prior probability $p(z)$. The posterior consists of the same terms, each divided by their sum. So whoever can compute one can compute the other.
# We want to choose $\theta$ such that $\sum_n \log p_\theta(x_n)$ is large, and $\int dz$ stands in the way.
#
# **What you will be able to do**
#
# - compute evidence and posterior exactly where $z$ has few values, and say what goes wrong where it has many;
# - say why averaging over draws of the prior is useless for images, and measure it by the effective sample size;
# - derive the evidence lower bound (ELBO) in three ways and say what each is good for;
# - write and train EM by hand, and explain every bar of {numref}`fig-lv-bars`: what the E-step does to the KL, and what the M-step does;
# - measure what one network for all examples costs against one optimisation for each.
#
# **Needs.** KL divergence and Jensen's inequality ({doc}`chapter 1 <01_information_theory>`), maximum likelihood and mixtures ({doc}`chapter 2 <02_generative_modelling>`); Gaussians in several dimensions.
#
# **Time.** Three to four hours on the main path, six with exercises and the sections marked *Optional*. The code runs in about a minute on one core; a GPU would not help.
#
# (sec-lv-why)=
# ## Part 1. Hidden causes: what do they buy?
#
# Here is a story with decisions that can be named. Somebody draws a bar: first its *orientation* is chosen (one of eight), then its *thickness* (one of two); then each pixel tosses a coin of its own: ink has probability 0.6 inside the bar and 0.2 outside. {numref}`fig-lv-story` shows all 16 codes and draws from each.

# %% mystnb={"figure": {"caption": "The generative story. Columns: eight orientations. First and third row: the probability of ink in each pixel, for thin and for thick bars. Second and fourth row: an image drawn from it, all 144 pixels at once.", "name": "fig-lv-story"}, "image": {"alt": "Four rows of eight small images. Bars that turn step by step from horizontal through vertical, smooth and grey in the first and third row, and speckled black-and-white versions of the same bars below each."}} tags=["hide-input"]
axis = torch.linspace(-1, 1, 12, dtype=torch.float64)
height, width = torch.meshgrid(-axis, axis, indexing="ij")  # of each pixel's centre


def bar(angle, half):
    """Probability of ink for one code; [12, 12]."""
    along = width * math.cos(angle) + height * math.sin(angle)
    across = height * math.cos(angle) - width * math.sin(angle)
    inside = (across.abs() < half) & (along.abs() < 0.95)
    return torch.where(inside, 0.6, 0.2).double()


angles = [math.pi * i / 8 for i in range(8)]
ink = torch.stack([bar(a, half) for half in (0.15, 0.4) for a in angles])
random = torch.Generator().manual_seed(3)
uniform = torch.rand(ink.shape, dtype=torch.float64, generator=random)  # [16, 12, 12]
bars = (uniform < ink).double()  # one image for each code
rows = torch.cat([ink[:8], bars[:8], ink[8:], bars[8:]])
names = ["thin", "draws", "thick", "draws"]
image_grid(rows[:, None], columns=8, row_labels=names)
plt.show()


# %% [markdown]
# Two things to notice. **All pixels are drawn at once.** An autoregressive model must draw 144 pixels one after the other, because each depends on those before it. Here the pixels are independent *given $z$*, $p(x \mid z) = \prod_i p(x_i \mid z)$: once the code is known, one pixel says nothing more about another. The price for that is the sum over $z$.
#
# **And the sum can be done**, since 16 terms are few. {eq}`eq-lv-model` takes four lines. We try it on three images: two that were drawn above, and the most doubtful of 100 further images of code 5.


# %%
def log_joint_of_codes(x):
    """log p(x, z) for all 16 codes z; x [B, 12, 12], result [B, 16]."""
    x = x[:, None]  # [B, 1, 12, 12] against [16, 12, 12]
    log_likelihood = x * ink.log() + (1 - x) * (1 - ink).log()
    return log_likelihood.sum((-2, -1)) - math.log(16)  # the prior is uniform


random = torch.Generator().manual_seed(0)
uniform = torch.rand(100, 12, 12, dtype=torch.float64, generator=random)
of_code_5 = (uniform < ink[5]).double()
doubt = Categorical(logits=log_joint_of_codes(of_code_5)).entropy()
shown = torch.stack([bars[2], bars[12], of_code_5[doubt.argmax()]])
log_evidence = log_joint_of_codes(shown).logsumexp(1)  # log p(x)
posterior = log_joint_of_codes(shown).softmax(1)  # p(z | x)
for i, code in enumerate((2, 12, 5)):
    top = posterior[i].topk(2)
    print(f"made by code {code:2}: log p(x) = {log_evidence[i]:.1f} nats;", end=" ")
    print(f"posterior {top.values[0]:.2f} on {top.indices[0]},", end=" ")
    print(f"{top.values[1]:.2f} on {top.indices[1]}")

# %% mystnb={"figure": {"caption": "Three images and the exact posterior over the 16 codes: 0 to 7 are the orientations of thin bars, 8 to 15 those of thick ones. The first two images leave hardly any doubt about their codes. For the third, made by code 5, codes 4 and 5 share most of the posterior, with code 4 taking the larger share.", "name": "fig-lv-codes"}, "image": {"alt": "Three columns. Above, a speckled image of a bar. Below, a bar chart over sixteen codes: a single bar in the first two columns, several in the third."}} tags=["hide-input"]
fig, axes = plt.subplots(2, 3, figsize=(6.6, 3.4), height_ratios=(1.2, 1))
for i, (picture, chart) in enumerate(axes.T):
    picture.imshow(1 - shown[i], cmap="gray", vmin=0, vmax=1)
    picture.set(xticks=[], yticks=[])
    picture.grid(visible=False)
    chart.bar(range(16), posterior[i], color=[blue] * 8 + [orange] * 8)
    chart.axvline(7.5, color="#999999", lw=0.8)
    chart.set(ylim=(0, 1), xticks=(0, 4, 8, 12), xlabel="code $z$")
axes[1, 0].set_ylabel("$p(z \\mid x)$")
plt.show()

# %% [markdown]
# :::{admonition} Watch out: independent given $z$ is not independent
# :class: pitfall
# "A latent-variable model assumes that pixels are independent" is half a sentence. *Given $z$* they are. Once $z$ is summed out, they are not, and that is the whole point of having $z$. Two neighbouring pixels of our bars have correlation exactly 0 for each code, and 0.11 in the mixture over codes; treating all pixels as independent, with the right ink in each, costs 3.4 nats per image. The next cell computes the 0.11 exactly and the other two from draws.
# :::

# %%
p = ink[:, 5, 2], ink[:, 5, 3]  # ink of two neighbours under each code, [16]
m = [pixel.mean() for pixel in p]  # ... and overall
covariance = (p[0] * p[1]).mean() - m[0] * m[1]  # E[x_1 x_2] = E[E[x_1 x_2 | z]]
correlation = covariance / (m[0] * (1 - m[0]) * m[1] * (1 - m[1])).sqrt()
random = torch.Generator().manual_seed(0)
uniform = torch.rand(16_000, 12, 12, dtype=torch.float64, generator=random)
many = (uniform < ink.repeat(1000, 1, 1)).double()  # codes 0 to 15, over and over
pair = many[:, 5, 2:4].view(1000, 16, 2) - torch.stack(p, 1)  # less the code's ink
within = (pair[..., 0] * pair[..., 1]).mean() / pair.square().mean()  # correlation
alone = many * ink.mean(0).log() + (1 - many) * (1 - ink.mean(0)).log()
gap = log_joint_of_codes(many).logsumexp(1) - alone.sum((1, 2))
print(f"correlation over all codes {correlation:.2f}", end="; ")
print(f"within codes, on draws, {abs(within):.2f}")
print(f"independent pixels lose {gap.mean():.1f} nats per image")
right_code = log_joint_of_codes(many).argmax(1) == torch.arange(16).repeat(1000)
right_code = right_code.double().mean()
print(f"share of images whose likeliest code made them: {right_code:.2f}")

# %% [markdown]
# (sec-lv-few)=
# ### Few codes for real digits
#
# Nothing changes when the ink of each code is *learned*. Give $K$ codes a weight $\pi_k$ and an ink probability for each of 784 pixels; the evidence is a sum of $K$ terms, its logarithm is exact, and its gradient comes from `backward()`. With $K = 1$ this is the model of independent pixels. The images are binary MNIST, each pixel drawn
# with its grey level as probability {cite:p}`salakhutdinov2008`.
#
# **Predict, then run.** A code with 50 values carries at most $\log 50 = 3.9$ nats about the image ({ref}`exercise <ex-lv-code>`). By how much can the NLL of $K = 50$ lie below that of $K = 1$: by at most 3.9 nats per image, or by more?

# %%
train, _, test = load("mnist", binarize="stochastic")
test_bits = test.fixed(seed=0).x.flatten(1)  # [10000, 784] of 0 and 1


def log_joint_of_digits(x, a, log_odds):
    """log p(x, z = k); x [B, 784], a [K], log_odds [K, 784], result [B, K]."""
    log_likelihood = x @ log_odds.T - F.softplus(log_odds).sum(1)
    return a.log_softmax(0) + log_likelihood


mixtures = {}
ink_of_all = (train.x.float().mean(0).flatten() / 255).clamp(0.01, 0.99)
for K in (1, 10, 50):
    seed_everything(0)
    a, log_odds = torch.zeros(K), ink_of_all.logit() + 0.5 * torch.randn(K, 784)
    parameters = a.requires_grad_(), log_odds.requires_grad_()
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    for _ in range(400 * SCALE):
        x = train.batch(torch.randint(len(train), (200,))).flatten(1)
        loss = -log_joint_of_digits(x, a, log_odds).logsumexp(1).mean()  # exact NLL
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    mixtures[K] = a.detach(), log_odds.detach()

# %% tolerance={"rtol": 0.02}
print("after 400 steps at a constant rate (not converged)")
for K, parameters in mixtures.items():
    nll = -log_joint_of_digits(test_bits, *parameters).logsumexp(1).mean()
    print(f"K = {K:2}: test NLL {nll:.1f} nats per image, exactly")
of_digits = log_joint_of_digits(test_bits, *mixtures[50]).softmax(1)
sure = (of_digits.max(1).values > 0.9).float().mean()
print(f"share of test images that put over 0.9 on one of 50 codes: {sure:.2f}")

# %% mystnb={"figure": {"caption": "The ink of the 50 learned codes. Nobody told the model what a digit is: the codes turned into digits and slants, because given such a code pixels say less about each other.", "name": "fig-lv-digits"}, "image": {"alt": "Five rows of ten blurred digits, each a different shape or slant of a digit; a few look like mixtures of two."}} tags=["hide-input"] tolerance={"figure": 0.3, "rtol": 0.1}
image_grid(mixtures[50][1].sigmoid().view(-1, 1, 28, 28), columns=10)
plt.show()

# %% [markdown]
# :::{dropdown} What to expect
# Far more: 60 nats. *Each* of 784 pixels is told the same 3.9 nats, and each becomes easier to predict. If the mixture were the true distribution of $x$, independent pixels would lose exactly $\sum_i I(x_i; z) - I(x; z)$: what the code says about every single pixel, less what it costs to say it once. Nearly all test images are sure of their code: 93% put more than 0.9 on one.
# :::
#
# And a draw takes one step: choose a code, then toss all 784 coins at once.

# %%
seed_everything(1)
code = Categorical(logits=mixtures[50][0]).sample((48,))
fresh = torch.bernoulli(mixtures[50][1][code].sigmoid())  # [48, 784]

# %% mystnb={"figure": {"caption": "*Left:* 48 binarized test images. *Right:* 48 draws from the mixture of 50 codes. The strokes go where a digit has them, but the pixels speckle: given the code they are independent.", "name": "fig-lv-draws"}, "image": {"alt": "Two blocks of six rows of eight small digits. On the left clean test digits, on the right digits of recognisable shape with ragged, speckled strokes."}} tags=["hide-input"] tolerance={"draws": ["columns 10-17"], "rtol": 0.2}
blank = torch.zeros(6, 1, 784)  # a column of paper in between
blocks = [test_bits[:48].view(6, 8, 784), blank, fresh.view(6, 8, 784)]
titles = ["data"] + 8 * [""] + ["draws"] + 7 * [""]
both_blocks = torch.cat(blocks, 1).view(-1, 1, 28, 28)
image_grid(both_blocks, columns=17, column_labels=titles)
plt.show()
print(f"ink: data {test_bits.mean():.3f}, draws {fresh.mean():.3f}")

# %% [markdown]
# Fifty hidden values save nearly 30% of the nats that independent pixels cost. To say slant, thickness, loops and size independently of each other needs *combinations*: 20 latents with ten values each make $10^{20}$ codes, and the exact sum is gone. That is where Part 2 begins.
#
# (sec-lv-bayes)=
# ### Bayes' theorem, twice
#
# {eq}`eq-lv-model` is Bayes' theorem, and it works for whatever is unknown: latent variables, of which there is one per example, or *parameters*, of which there is one set for all data. A coin with unknown probability $\theta$ of heads shows three heads in three tosses. Take the prior $\operatorname{Beta}(2, 2)$, density $6\,\theta (1 - \theta)$: fair coins are likely, certain ones are not. The posterior is prior times likelihood, $\theta^4 (1 - \theta)$ up to its constant, which is $\operatorname{Beta}(5, 2)$. {numref}`fig-lv-coin` shows three answers to "what is $\theta$?".

# %% mystnb={"figure": {"caption": "Three heads in three tosses. Maximum likelihood says 1: tails are impossible. The maximum of the posterior (MAP) says 0.8. The posterior itself is the whole curve; its mean, 0.71, is the probability of heads in the next toss.", "name": "fig-lv-coin"}, "image": {"alt": "A dashed symmetric hump and a solid hump shifted to the right, over theta from 0 to 1. Three vertical lines: the mean at 0.71, the maximum at 0.8 and the maximum of the likelihood at 1."}} tags=["hide-input"]
theta = torch.linspace(0, 1, 1001, dtype=torch.float64)
prior_times_likelihood = 6 * theta * (1 - theta) * theta**3
evidence = torch.trapezoid(prior_times_likelihood, theta)
fig, ax = plt.subplots(figsize=(5, 2.6))
ax.plot(theta, 6 * theta * (1 - theta), "--", color=black, label="prior")
ax.plot(theta, prior_times_likelihood / evidence, color=red, label="posterior")
answers = {"mean": (5 / 7, ":"), "MAP": (0.8, "-."), "max. likelihood": (1.0, "-")}
for name, (value, style) in answers.items():
    ax.axvline(value, ls=style, color=blue, lw=1.2, label=name)
ax.set(xlabel="$\\theta$", ylabel="density", xlim=(0, 1.01), ylim=(0, 2.7))
ax.legend(fontsize=9, loc="upper left")
plt.show()
mode = theta[prior_times_likelihood.argmax()]
print(f"evidence p(x) = {evidence:.3f} by quadrature, exactly 1/5")
print(f"posterior mean {stats.beta(5, 2).mean():.3f}, mode {mode:.3f}")
assert abs(evidence - 0.2) < 1e-5

# %% [markdown]
# In this book $z$ is given the full treatment, a distribution, and $\theta$ gets a point, since there are $N$ examples to pin it down and only one to pin down each $z$. Some words that you will meet elsewhere:
#
# :::{prf:definition} Observed, hidden, complete
# :label: def-lv-words
# $x$ is **observed**, $z$ is **hidden** (or latent). Data $(x_n, z_n)$ would be *complete*, data $x_n$ alone are *incomplete*. $\sum_n \log p_\theta(x_n, z_n)$ is the **complete-data log-likelihood**, and $\sum_n \log p_\theta(x_n)$ the **incomplete-data log-likelihood**, which is the one to be maximised.
# :::
#
# ### Exercises of Part 1
#
# :::{exercise} ★ How much can a code say?
# :label: ex-lv-code
# Show that the mutual information of $x$ and $z$ under a latent-variable model with $K$ values of $z$ is at most $\log K$ nats. What share of $\log 16$ do our bars reach? (The entropy of the posterior, averaged over `many`, is all that you need.)
# :::
#
# :::{solution} ex-lv-code
# :class: dropdown
# $I(x; z) = H(z) - H(z \mid x) \le H(z) \le \log K$. The cell below: $H(z) = \log 16$, less the mean entropy of the posterior.
# :::

# %% tags=["hide-cell"]
entropy = Categorical(logits=log_joint_of_codes(many)).entropy().mean()
said = math.log(16) - entropy
print(f"{said:.2f} of {math.log(16):.2f} nats: {said / math.log(16):.0%}")


# %% [markdown]
# :::{exercise} ★★ A missing pixel
# :label: ex-lv-missing
# Fill the gap: the lower half of an image of a bar is missing. Compute $p(z \mid \text{upper half})$ and from it the probability of ink in each missing pixel. No new model is needed: what do the missing pixels contribute to $p(x \mid z)$ once they are summed out?
# :::


# %%
def fill_in(upper):
    """Probability of ink in the lower half; upper [B, 6, 12], result [B, 6, 12]."""
    x = upper[:, None]  # [B, 1, 6, 12] against [16, 6, 12]
    log_likelihood = x * ink[:, :6].log() + ...  # your code: pixels without ink
    posterior = log_likelihood.sum((-2, -1)).softmax(1)  # [B, 16]
    return torch.einsum("bk,kij->bij", posterior, ...)  # your code


# %% [markdown]
# :::{solution} ex-lv-missing
# :class: dropdown
# Given $z$ the pixels are independent, so the missing ones sum to a factor of 1: leave them out. $p(x_{\text{low}} \mid x_{\text{up}}) = \sum_z p(z \mid x_{\text{up}})\, p(x_{\text{low}} \mid z)$.
# :::

# %% tags=["hide-cell"]
upper, upper_ink = bars[:, None, :6], ink[:, :6]  # one image for each code
terms = upper * upper_ink.log() + (1 - upper) * (1 - upper_ink).log()
filled = torch.einsum("bk,kij->bij", terms.sum((-2, -1)).softmax(1), ink[:, 6:])
true_ink = ink[:, 6:]
print(f"mean error of the ink {(filled - true_ink).abs().mean():.3f}", end=", ")
print(f"without the upper half {(ink[:, 6:].mean(0) - true_ink).abs().mean():.3f}")

# %% [markdown]
# (sec-lv-estimate)=
# ## Part 2. Too many codes: can draws replace the sum?
#
# An integral is a mean: $p(x) = \mathbb{E}_{p(z)}[p(x \mid z)]$. So draw $z_1, \dots, z_k$ from the prior and average,
#
# $$ \hat p_k(x) = \frac1k \sum_{i=1}^k p(x \mid z_i) , \qquad z_i \sim p(z) . $$ (eq-lv-naive)
#
# This is naive Monte Carlo, and two facts about it take a line each.
#
# :::{prf:theorem} Averaging over the prior
# :label: thm-lv-prior
# $\mathbb{E}[\hat p_k(x)] = p(x)$ for every $k$. If $0 < p(x) < \infty$, then $\mathbb{E}[\log \hat p_k(x)] \le \log p(x)$, with equality if and only if $p(x \mid z)$ is the same for almost all $z$ under the prior.
# :::
#
# :::{prf:proof}
# The first is linearity of the expectation. The second is Jensen's inequality for the strictly concave logarithm, $\mathbb{E} \log \hat p_k \le \log \mathbb{E}\, \hat p_k$, with equality if and only if $\hat p_k$ is almost surely constant; an average of $k$ independent copies is constant if and only if each of them is.
# :::
#
# Unbiased for $p$, biased downwards for $\log p$, which is what we report. If the variance is finite, a second-order expansion of the logarithm around $p$ suggests by how much for large $k$: $-\operatorname{Var}[p(x \mid z)] / (2 k\, p(x)^2)$. The check uses $z \sim \mathcal{N}(0, 1)$, $x \mid z \sim \mathcal{N}(z, 1)$, where $p(x)$ is $\mathcal{N}(x; 0, 2)$.

# %% tags=["check:thm-lv-prior"]
x = torch.tensor(1.0).double()
exact = Normal(0.0, 2**0.5).log_prob(x)
random = torch.Generator().manual_seed(0)
second = 0.5 * Normal(0.0, 1.5**0.5).log_prob(x).exp() / math.pi**0.5  # E[p(x|z)^2]
relative_variance = second / (2 * exact).exp() - 1
for k in (1, 10, 100):
    z = torch.randn(20_000, k, generator=random, dtype=torch.float64)
    estimate = Normal(z, 1.0).log_prob(x).exp().mean(1)  # 20,000 estimates of p(x)
    ratio, log_error = estimate / exact.exp(), estimate.log() - exact
    error = ratio.std() / len(z) ** 0.5
    print(f"k = {k:3}: estimate / p(x) = {ratio.mean():.4f} +- {error:.4f}", end="; ")
    print(f"log: {log_error.mean():.4f}", end=", ")
    print(f"-Var/(2kp^2) = {-relative_variance / 2 / k:.4f}")
    assert abs(ratio.mean() - 1) < 4 * error and log_error.mean() < -1e-3
ignoring_z = Normal(0 * z, 1.0).log_prob(x).exp().mean(1)  # the case of equality
assert torch.allclose(ignoring_z.log(), Normal(0.0, 1.0).log_prob(x), atol=1e-12)

# %% [markdown]
# From ten draws on the expansion is good, and in one dimension a hundred draws are enough. **Predict, then run.** Now let $z$ and $x$ have $d$ coordinates, $z \sim \mathcal{N}(0, I)$ and $x \mid z \sim \mathcal{N}(z, \tfrac14 I)$. Of 100,000 draws from the prior, how many will contribute to $\hat p(x)$ in $d = 10$? In $d = 20$?
#
# To count contributions we need a measure. Equal terms count fully; a single term that dwarfs all others counts as one.
#
# :::{prf:definition} Effective sample size
# :label: def-lv-ess
# The **{term}`effective sample size`** of weights $w_1, \dots, w_k \ge 0$, not all of them 0, is
# $\mathrm{ESS} = \bigl( \sum_i w_i \bigr)^2 / \sum_i w_i^2$, a number between 1 and $k$ {cite:p}`kish1965`.
# :::
#
# If $\mathbb{E}[w^2] < \infty$, then for many draws $\mathrm{ESS} / k$ tends to $\mathbb{E}[w]^2 / \mathbb{E}[w^2]$. When the model factorises over coordinates, so does this ratio, and a product of $d$ numbers below 1 falls exponentially with $d$.

# %%
random = torch.Generator().manual_seed(0)
draws, dims = 100_000 * SCALE, range(1, 25)
x = math.sqrt(1.25)  # a typical coordinate: Var(x_i) = 1 + 1/4
second = Normal(0.0, 1.125**0.5).log_prob(torch.tensor(x)) - 0.5 * math.log(math.pi)
first = Normal(0.0, 1.25**0.5).log_prob(torch.tensor(x))
rate = second - 2 * first  # log of E[w^2] / E[w]^2, for one dimension
log_w, measured = torch.zeros(draws, dtype=torch.float64), []
for _ in dims:  # one more coordinate at a time: log p(x|z) is a sum over coordinates
    z = torch.randn(draws, generator=random, dtype=torch.float64)
    log_w += Normal(z, 0.5).log_prob(torch.tensor(x))
    measured.append(effective_sample_size(log_w).item())
for d in (1, 5, 10, 20):
    effective = f"{measured[d - 1]:8,.0f} of {draws:,} draws are effective"
    print(f"d = {d:2}: {effective}; theory {draws * math.exp(-rate * d):.2g}")
print(f"by theory each dimension costs a factor of {math.exp(rate):.1f}")

# %% [markdown]
# :::{dropdown} What to expect
# Each dimension costs a factor of 2.6. In $d = 10$ seven of 100,000 draws are left by theory, and in $d = 20$ not even one. The *measured* number flatters: it settles between one and a few, because *some* draw is always the least bad, and ESS, which knows only the draws at hand, cannot see that the good ones are missing.
# :::
#
# The same happens without any dimension to blame. Let $z$ choose one of $K$ clusters that are far apart: whatever $x$ is, only draws that chose its cluster count, about $k / K$ of $k$ draws.

# %% mystnb={"figure": {"caption": "The effective share of draws from the prior. *Left:* against the number of dimensions (dots: measured on 100,000 draws; line: the limit for many draws). *Right:* against the number of clusters (dots: measured; line: $1/K$). The vertical axes differ.", "name": "fig-lv-ess"}, "image": {"alt": "Two plots with logarithmic vertical axes. Left: dots follow a straight line down to about ten to the minus four at ten dimensions, then leave it and drift down to ten to the minus five, a single draw, while the line goes on falling. Right: dots on the line 1/K."}} tags=["hide-input"]
random = np.random.default_rng(0)
numbers = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
shares = []
for count in numbers:
    chosen = random.integers(count, size=draws)  # the prior over the clusters
    log_w = Normal(1e3 * torch.tensor(chosen).double(), 1.0).log_prob(torch.tensor(0.5))
    shares.append(effective_sample_size(log_w).item() / draws)
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8))
left.plot(dims, [m / draws for m in measured], "o", color=blue, label="measured")
left.plot(dims, [math.exp(-rate * d) for d in dims], color=orange, label="limit")
left.axhline(1 / draws, ls=":", color=black, label="a single draw")
left.set(yscale="log", xlabel="dimensions $d$", ylabel="ESS / draws")
left.set(ylim=(1e-8, 2))
right.plot(numbers, shares, "o", color=blue, label="measured")
right.plot(numbers, [1 / count for count in numbers], color=orange, label="$1/K$")
right.set(xscale="log", yscale="log", xlabel="clusters $K$", ylabel="ESS / draws")
for ax in (left, right):
    ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# (sec-lv-images)=
# ### Is it as bad for images?
#
# To know, we need a model of images whose $p(x)$ is known. **Probabilistic PCA** (PPCA) is one {cite:p}`tipping1999`: a Gaussian latent, a linear map, Gaussian noise,
#
# $$
# \begin{gathered}
# z \sim \mathcal{N}(0, I), \quad x \mid z \sim \mathcal{N}(W z + b, \sigma^2 I) \\
# \Rightarrow\quad p(x) = \mathcal{N}(x; b,\, W W^\top + \sigma^2 I) ,
# \end{gathered}
# $$ (eq-lv-ppca)
#
# since $W z + b + \sigma \varepsilon$ is a linear image of independent Gaussians. The posterior is Gaussian too: $\log p(x, z)$ is quadratic in $z$, with curvature $W^\top W / \sigma^2 + I$ and its maximum where the gradient vanishes, so that
#
# $$
# p(z \mid x) = \mathcal{N}\bigl(z;\, M^{-1} W^\top (x - b),\, \sigma^2 M^{-1}\bigr) , \qquad M = W^\top W + \sigma^2 I .
# $$ (eq-lv-ppca-posterior)
#
# Its covariance is the same for every $x$. The maximum-likelihood parameters come from the eigenvectors of the data's covariance. `lvmlib.latent.PPCA` has all this in closed form, and everything else that this chapter asks of it. We fit it to grey MNIST (pixels in $[0, 1]$), with 1 to 20 latents, draw 100,000 $z$ from the prior, and compare $\log \hat p(x)$ with the truth.

# %%
grey, _, grey_test = load("mnist")
images = grey.unit().x.flatten(1).double()[:5000]  # [5000, 784]
test_images = grey_test.unit().x.flatten(1).double()


@torch.no_grad()
def log_likelihoods(model, x, z):
    """log p(x | z) of every z for every x, [k, B], without a tensor [k, B, D]."""
    W, centred, s = model.weight, x - model.bias, model.log_scale.exp()
    squares = centred.square().sum(1) - 2 * z @ (centred @ W).T  # |x - b - W z|^2 ...
    squares = squares + (z @ (W.T @ W) * z).sum(1, keepdim=True)
    return -0.5 * squares / s**2 - x.shape[1] * (s.log() + 0.5 * math.log(2 * math.pi))


# %%
random, models = torch.Generator().manual_seed(0), {}
print("latents   median ESS of 100,000   mean log estimate - log p (nats, 20 images)")
for d in (1, 2, 5, 10, 20):
    models[d] = PPCA((784,), d).double().solve(images)
    z = torch.randn(draws, d, generator=random, dtype=torch.float64)
    log_w = log_likelihoods(models[d], test_images[:20], z)  # [draws, 20]
    estimate = log_w.logsumexp(0) - math.log(draws)
    error = (estimate - models[d].log_prob(test_images[:20])).mean()
    ess = effective_sample_size(log_w).median()
    print(f"{d:7} {ess:21.0f} {error:17.1f}")

# %% [markdown]
# With 10 latents one draw in 100,000 does all the work, and the estimate is 33 nats too low: $\hat p$ is short by a factor of $10^{14}$. With 20 latents it is 177 nats. This is why **prior sampling is useless for images**, as soon as the latents say anything in detail: an image pins its code down to a tiny region of the latent space, a draw from the prior has no chance to hit it, and nearly every term of the sum is zero for all practical purposes. More draws help too slowly: the number needed is about $\exp \operatorname{KL}(p(z \mid x) \,\Vert\, p(z))$
# {cite:p}`chatterjee2018,agapiou2017`.
#
# (sec-lv-importance)=
# ### Look where it matters
#
# If useful codes lie in a small region, draw there, and correct for the choice. With any density $q(z)$,
#
# $$
# p(x) = \int q(z)\, \frac{p(x, z)}{q(z)}\, dz
# \;\approx\; \frac1k \sum_{i=1}^k w_i , \qquad w_i = \frac{p(x, z_i)}{q(z_i)} , \quad z_i \sim q .
# $$ (eq-lv-importance)
#
# $q$ is the **proposal**, $w$ the **{term}`importance weight`**, and this is *importance sampling*. The prior as proposal gives back {eq}`eq-lv-naive`.
#
# :::{prf:theorem} Importance sampling is unbiased where it looks everywhere
# :label: thm-lv-importance
# For $z \sim q$, $\mathbb{E}[w] = \int_{q > 0} p(x, z)\, dz$. This is $p(x)$ if and only if $q(z) > 0$ for almost all $z$ with $p(x, z) > 0$; otherwise it is smaller.
# :::
#
# :::{prf:proof}
# $\mathbb{E}[w] = \int_{q > 0} q(z)\, \frac{p(x, z)}{q(z)}\, dz$, the integral of $p(x, z)$ over the set where $q > 0$. It falls short of $p(x)$ by $\int_{q = 0} p(x, z)\, dz$, which is 0 if and only if $p(x, z) = 0$ for almost all $z$ with $q(z) = 0$.
# :::
#
# Check on {numref}`fig-lv-joint`: a broad proposal, and a uniform one that ends before the hump on the right.

# %% tags=["check:thm-lv-importance"]
random = torch.Generator().manual_seed(0)
joint_at = lambda z: (prior.log_prob(z) + log_of_seen(z)).exp()
broad = 1.5 * torch.randn(1_000_000, generator=random, dtype=torch.float64)
narrow = -3 + 4.0 * torch.rand(1_000_000, generator=random, dtype=torch.float64)
seen = z_line <= 1.0
part = torch.trapezoid(log_slice[seen].exp(), z_line[seen])
truth = {"N(0, 1.5^2)": log_p_seen.exp(), "U(-3, 1)": part}
weights = [joint_at(broad) / Normal(0.0, 1.5).log_prob(broad).exp()]
weights += [joint_at(narrow) / 0.25]
for (name, expected), w in zip(truth.items(), weights):
    error = w.std() / len(w) ** 0.5
    print(f"{name:11}: mean weight {w.mean():.4f} +- {error:.4f}", end=", ")
    print(f"integral over its support {expected:.4f}, p(x) = {log_p_seen.exp():.4f}")
    assert abs(w.mean() - expected) < 4 * error

# %% [markdown]
# The second is wrong by a quarter, with a small error bar: nothing in the draws betrays what they never saw. And among proposals that cover everything, which is best?
#
# :::{prf:theorem} The best proposal is the posterior
# :label: thm-lv-best
# Let $q$ cover the support and $\operatorname{Var}_q[w] < \infty$. Then
#
# $$ \frac{\operatorname{Var}_q[w]}{p(x)^2} = \int \frac{p(z \mid x)^2}{q(z)}\, dz - 1 = \chi^2\bigl(p(z \mid x) \,\Vert\, q\bigr) \;\ge\; 0 , $$ (eq-lv-chi)
#
# with equality if and only if $q(z) = p(z \mid x)$ for almost all $z$. Then every single weight equals $p(x)$.
# :::
#
# :::{prf:proof}
# $w = p(x)\, p(z \mid x) / q(z)$, so $\mathbb{E}_q[w^2] / p(x)^2 = \int p(z \mid x)^2 / q(z)\, dz$, and $\mathbb{E}_q[w]^2 = p(x)^2$ by {prf:ref}`thm-lv-importance`. The difference is a variance, hence not negative, and it is 0 if and only if $p(z \mid x) / q(z)$ is almost surely constant under $q$; as both integrate to 1 the constant is 1.
# :::
#
# So the squared relative error of $\frac1k \sum_i w_i$ is $\chi^2 / k$, and for many draws $\mathrm{ESS} / k$ tends to $\mathbb{E}[w]^2 / \mathbb{E}[w^2] = 1 / (1 + \chi^2)$.
#
# The check needs no draws: for the 16 codes of the bars, $\chi^2$ can be summed for proposals that lead from the prior to the posterior.

# %% tags=["check:thm-lv-best"]
log_joint_z = log_joint_of_codes(bars[5:6])[0]  # [16]
p_x_bars = log_joint_z.logsumexp(0).exp()
exact_posterior = log_joint_z.softmax(0)
for share in (0.0, 0.5, 0.9, 1.0):
    q = share * exact_posterior + (1 - share) / 16
    w = log_joint_z.exp() / q
    relative = ((q * w**2).sum() - (q * w).sum() ** 2) / p_x_bars**2
    chi_squared = (exact_posterior**2 / q).sum() - 1
    print(f"{share:.0%} posterior, the rest prior: Var/p^2 = {relative:7.4f}", end=", ")
    print(f"chi^2 = {chi_squared:7.4f}", end=", ")
    print(f"mean weight / p(x) = {(q * w).sum() / p_x_bars:.3f}")
    assert torch.allclose(relative, chi_squared, atol=1e-9)

# %% [markdown]
# A beautiful result, and a circular one: the posterior is $p(x, z) / p(x)$, and $p(x)$ is what we were looking for. But it says where to go. Any $q$ *near* the posterior will do, and for images that is worth a great deal. Take PPCA with 10 latents, and proposals that have the posterior's mean but are too wide by some factor; {numref}`fig-lv-weights` shows how much of the total weight the heaviest draws carry.

# %% mystnb={"figure": {"caption": "Weights degenerate. One test image, PPCA with 10 latents, 1000 draws from each proposal, heaviest first: the cumulative share of the total weight, against the number of draws. Dotted: equal weights. From the prior, two draws carry everything.", "name": "fig-lv-weights"}, "image": {"alt": "Cumulative curves against the rank on a logarithmic axis. The curve of the prior starts near one; those of proposals three times, one and a half times and 1.1 times as wide as the posterior start lower and lower."}} tags=["hide-input"]
random = torch.Generator().manual_seed(1)
model, x = models[10], test_images[:1]
q = model.posterior(x)
loc, tril = q.mean.detach()[0], q.scale_tril.detach()[0]
eps = torch.randn(1000, 10, generator=random, dtype=torch.float64)
standard = Normal(0.0, 1.0)
proposals = {"prior": (0 * loc, torch.eye(10).double())}
for factor in (3.0, 1.5, 1.1):
    proposals[f"posterior, {factor:g} times as wide"] = (loc, factor * tril)
fig, ax = plt.subplots(figsize=(7, 2.8))
ranks, ess = torch.arange(1, 1001), {}
for (name, (m, L)), colour in zip(proposals.items(), (black, red, orange, blue)):
    z = m + eps @ L.T
    log_q = MultivariateNormal(m, scale_tril=L).log_prob(z)
    log_w = log_likelihoods(model, x, z)[:, 0] + standard.log_prob(z).sum(1) - log_q
    share = log_w.softmax(0).sort(descending=True).values.cumsum(0)
    ax.plot(ranks, share, color=colour, label=name)
    ess[name] = effective_sample_size(log_w).item()
ax.plot(ranks, ranks / 1000, ":", color="#777777", label="equal weights")
ax.set(xscale="log", xlabel="draws, heaviest first", ylabel="share of the weight")
ax.set(xlim=(1, 1000), ylim=(0, 1.03))
ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
plt.show()
for name, value in ess.items():
    print(f"{name:29}: ESS {value:5.1f} of 1000")


# %% [markdown]
# How many draws from the prior is one draw from such a $q$ worth? The error of a mean goes with the variance, so compare $\chi^2$. For two Gaussians it has a closed form, which we shall need again: $p^2 / q$ is the exponential of a quadratic function with precision $2P - Q$, if $P$ and $Q$ are the precisions of $p$ and $q$.


# %%
def log_second_moment(p, q):
    """log of the integral of p^2 / q for two Gaussians; infinity if it diverges."""
    P, Q = p.precision_matrix, q.precision_matrix
    A = 2 * P - Q  # precision of p^2 / q, which must be positive definite
    if torch.linalg.eigvalsh(A).min() < 1e-9:
        return math.inf
    b = 2 * P @ p.loc - Q @ q.loc
    log_det = P.logdet() - 0.5 * Q.logdet() - 0.5 * A.logdet()
    squares = b @ torch.linalg.solve(A, b) - 2 * p.loc @ P @ p.loc + q.loc @ Q @ q.loc
    return (log_det + 0.5 * squares).item()


exact_q = MultivariateNormal(loc, scale_tril=tril)
from_prior = log_second_moment(exact_q, MultivariateNormal(*proposals["prior"]))
wide = MultivariateNormal(loc, scale_tril=1.5 * tril)
from_q = math.exp(log_second_moment(exact_q, wide)) - 1
print(f"chi^2 of the prior {math.exp(from_prior):.1e}", end=", ")
print(f"of q, 1.5 times as wide as the posterior, {from_q:.1f}", end="; ")
print(f"ratio {math.exp(from_prior) / from_q:.1e}")
volume = (1.5 * tril).logdet().exp()
print(f"volume of q's ellipsoid over that of the prior's: {volume:.0e}")

# %% [markdown]
# One draw from this $q$ is worth about a billion draws from the prior: $q$ puts its mass into a region of $4 \cdot 10^{-8}$ of the volume, and into the likely part of that region. Learning to find the region, from $x$ alone, is what the encoder of a variational autoencoder will do ({doc}`chapter 8 <08_vae>`).
#
# :::{admonition} Watch out: $\mathbb{E}_q[\log p(x \mid z)]$ is not $\log p(x)$
# :class: pitfall
# "Draw codes that fit $x$ and average the log-likelihoods" sounds like an estimate of $\log p(x)$. It is not one, even when $q$ is the *exact* posterior. Let $z \sim \mathcal{N}(0, 1)$, $x \mid z \sim \mathcal{N}(z, 1)$ and $x = 1$. The posterior is $\mathcal{N}(\tfrac12, \tfrac12)$, and $\mathbb{E}_q[\log p(x \mid z)] = -\tfrac12 \log 2\pi - \tfrac12 (\tfrac14 + \tfrac12) = -1.294$, while $\log p(1) = \log \mathcal{N}(1; 0, 2) = -1.516$. What is missing is the price of the choice of $z$, $\operatorname{KL}(q \,\Vert\, p(z)) = 0.222$ nats. With a $q$ near the posterior such a "likelihood" of reconstructions looks too good; with a poor $q$ it may err in either direction.
# :::

# %%
from torch.distributions import kl_divergence

q = Normal(0.5, 0.5**0.5)
z = q.icdf((torch.arange(100_000) + 0.5) / 100_000)  # draws, evenly spread
reconstruction = Normal(z, 1.0).log_prob(torch.tensor(1.0)).mean()
print(f"E_q log p(x|z) = {reconstruction:.3f}", end=", ")
print(f"log p(x) = {Normal(0.0, 2**0.5).log_prob(torch.tensor(1.0)):.3f}", end=", ")
print(f"KL(q || prior) = {kl_divergence(q, Normal(0.0, 1.0)):.3f} nats")


# %% [markdown]
# (sec-lv-criteria)=
# ### Which $q$ within a family?
#
# Usually the posterior is not in the family of proposals that we can afford, and "near" must be made precise. Two candidates: the least variance of the weights, which by {eq}`eq-lv-chi` is the least $\chi^2(p(z \mid x) \,\Vert\, q)$, and the least $\operatorname{KL}(q \,\Vert\, p(z \mid x))$, which Part 3 will teach us to minimise. They are different, and the difference can be drastic.
#
# :::{prf:proposition} Least divergence, infinite variance
# :label: thm-lv-diagonal
# Let the posterior be $\mathcal{N}(0, \Sigma)$ in the plane with unit variances and correlation $\rho$, $|\rho| < 1$, and let $q_v = \mathcal{N}(0, v I)$.
#
# 1. $\operatorname{KL}(q_v \,\Vert\, p)$ is least at $v = 1 - \rho^2$, and no other Gaussian with independent coordinates comes closer.
# 2. $\operatorname{Var}[w] < \infty$ if and only if $v > (1 + |\rho|) / 2$, and then
#
#    $$ 1 + \frac{\operatorname{Var}[w]}{p(x)^2} = \frac{v^2}{\sqrt{(1 - \rho^2)\, (2v - 1 - \rho)(2v - 1 + \rho)}} , $$ (eq-lv-second-moment)
#
#    which is least at $v = \frac14 \bigl(3 + \sqrt{1 + 8 \rho^2}\bigr)$.
#
# Hence the least-KL proposal has infinite variance exactly when $|\rho| \ge \tfrac12$.
# :::
#
# :::{prf:proof}
# *1.* Let $\Lambda = \Sigma^{-1}$, with diagonal entries $1 / (1 - \rho^2)$. For $q$ with variances $v_1, v_2$, $2 \operatorname{KL} = \sum_i (\Lambda_{ii} v_i - \log v_i)$ plus a constant; each term is least at $v_i = 1 / \Lambda_{ii} = 1 - \rho^2$, and a mean $m$ other than 0 only adds $m^\top \Lambda m$.
#
# *2.* Turn the axes by 45 degrees; $q_v$ does not change, and the posterior becomes a product of Gaussians with variances $a = 1 + \rho$ and $b = 1 - \rho$. In
# one dimension $\int \mathcal{N}(t; 0, a)^2 / \mathcal{N}(t; 0, v)\, dt = \frac{\sqrt{2 \pi v}}{2 \pi a} \int e^{-t^2 (1/a - 1/(2v))} dt$, which is finite if and only if $2v > a$, and then equals $v / \sqrt{a (2v - a)}$. The product over $a$ and $b$ is {eq}`eq-lv-second-moment`, finite if $2v$ exceeds the larger of the two. Its logarithm has the derivative $\frac2v - \frac{1}{2v - a} - \frac{1}{2v - b}$. Multiply by the three denominators and use $a + b = 2$, $ab = 1 - \rho^2$: it vanishes where $2 v^2 - 3 v + 1 - \rho^2 = 0$. The smaller root,
# $\frac14(3 - \sqrt{1 + 8\rho^2}) \le \frac12$, lies outside this range, and the logarithm tends to infinity at both ends of it, so the larger root is the minimum. Finally divide $1 - \rho^2 > (1 + |\rho|)/2$ by $1 + |\rho|$: the least-KL proposal has finite variance if and only if $1 - |\rho| > \frac12$.
# :::


# %%
def plane_normal(v_1, v_2, rho=0.0):
    """The Gaussian in the plane with variances v_1, v_2 and correlation rho."""
    off = rho * (v_1 * v_2) ** 0.5
    covariance = torch.tensor([[v_1, off], [off, v_2]], dtype=torch.float64)
    return MultivariateNormal(torch.zeros(2).double(), covariance)


def best_choices(rho):
    """The two v of the proposition: least KL, least variance of the weights."""
    return 1 - rho**2, (3 + (1 + 8 * rho**2) ** 0.5) / 4


# %% tags=["check:thm-lv-diagonal"]
side = torch.linspace(-12, 12, 1201, dtype=torch.float64)
plane = torch.cartesian_prod(side, side)
grid_v = np.arange(0.1, 2.5, 0.06)
tries = [(v_1, v_2) for v_1 in grid_v for v_2 in grid_v]  # both variances free
for rho in (0.3, 0.9):
    p = plane_normal(1.0, 1.0, rho)
    kls = [kl_divergence(plane_normal(*v), p).item() for v in tries]
    seconds = [log_second_moment(p, plane_normal(*v)) for v in tries]
    on_grid = tries[np.argmin(kls)], tries[np.argmin(seconds)]
    for name, v, t in zip(("KL", "variance"), best_choices(rho), on_grid):
        variance = math.exp(log_second_moment(p, plane_normal(v, v))) - 1
        print(f"rho = {rho}, least {name}: v = {v:.2f}", end=", ")
        print(f"Var/p^2 = {variance:.2f}", end=" ")
        print(f"(best of a grid of two variances: {t[0]:.2f}, {t[1]:.2f})")
        assert max(abs(v - t[0]), abs(v - t[1])) < 0.06
    for v in (best_choices(rho)[1], 1.2):  # the best v, and one like any other
        log_ratio = 2 * p.log_prob(plane) - plane_normal(v, v).log_prob(plane)
        formula = v**2 / ((1 - rho**2) * ((2 * v - 1) ** 2 - rho**2)) ** 0.5
        assert abs(log_ratio.exp().sum() * 0.02**2 - formula) < 1e-5
for rho in (0.49, 0.5, 0.51):
    q = plane_normal(1 - rho**2, 1 - rho**2)
    at_least_kl = log_second_moment(plane_normal(1.0, 1.0, rho), q)
    print(f"least KL at rho = {rho}: Var/p^2 = {math.exp(at_least_kl) - 1:.2f}")
    assert math.isfinite(at_least_kl) == (rho < 0.5)

# %% mystnb={"figure": {"caption": "A posterior with correlation 0.9 (shaded) and round proposals. *Left:* the least-KL proposal (variance 0.19) is narrower than the posterior along its length; the least-variance round one (1.43) covers all but the tips. Circles and shading at two standard deviations. *Middle and right:* the two criteria against the proposal's variance $v$; dots: the two choices. To the left of the dotted line, at $v = 0.95$, the variance of the weights is infinite, so the least-KL choice has no dot on the right.", "name": "fig-lv-proposals"}, "image": {"alt": "Left: a thin tilted ellipse, a small circle that covers its middle part and a large circle that leaves out only its two tips. Middle: the divergence, with its minimum at 0.19 and a second dot at 1.43. Right: the relative variance, infinite up to 0.95, with a dot at its minimum, 1.88 at 1.43."}} tags=["hide-input"]
v_kl, v_chi = best_choices(0.9)
tilted = plane_normal(1.0, 1.0, 0.9)
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(7.4, 2.6))
long, short = (4 * (1 + sign * 0.9) ** 0.5 for sign in (1, -1))  # 2 standard deviations
left.add_patch(Ellipse((0, 0), long, short, angle=45, color=sky, alpha=0.7, lw=0))
for v, style, colour in ((v_kl, "-", red), (v_chi, "--", black)):
    circle = Ellipse((0, 0), 4 * v**0.5, 4 * v**0.5, fill=False, ls=style, ec=colour)
    circle.set(lw=1.5, label="least KL" if v == v_kl else "least variance")
    left.add_patch(circle)
left.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
left.set(xlim=(-2.7, 2.7), ylim=(-2.7, 2.7), aspect="equal")
left.set(xlabel="$z_1$", ylabel="$z_2$")
v_line = np.linspace(0.03, 3, 400)
kl_of = lambda v: kl_divergence(plane_normal(v, v), tilted).item()
chi_of = lambda v: math.exp(log_second_moment(tilted, plane_normal(v, v))) - 1
middle.plot(v_line, [kl_of(v) for v in v_line], color=red)
right.plot(v_line, [chi_of(v) for v in v_line], color=black)
right.axvline(0.95, ls=":", color=black)
middle.plot([v_kl, v_chi], [kl_of(v_kl), kl_of(v_chi)], "o", color=blue)
right.plot(v_chi, chi_of(v_chi), "o", color=blue)
middle.set(xlim=(0, 3), ylim=(0, 12), xlabel="$v$", title="KL$(q_v\\,||\\,p)$, nats")
right.set(xlim=(0, 3), ylim=(0, 8), xlabel="$v$", title="Var$[w] / p(x)^2$")
plt.show()

# %% [markdown]
# $\operatorname{KL}(q \,\Vert\, p)$ asks $q$ to be small wherever the posterior is small. The variance asks the opposite: that $q$ must not be small where the posterior is large, tails included. The first is easy to minimise without knowing $p(x)$, as we are about to see. The second is harder, for $\chi^2$ contains the very variance that spoils its own estimates; there are methods that minimise it nevertheless {cite:p}`dieng2017`.
#
# **Does it matter for images?** Take PPCA with 20 latents. Its latent axes may be rotated without changing $p(x)$; with those that `solve` returns, $W^\top W$ and the posterior covariance are diagonal, so we rotate them at random. The posterior covariance is the same for every $x$, hence so is the distribution of $w / p(x)$ for any $q$ centred on the posterior mean, and one experiment speaks for all images. **Predict, then run.** The least-KL diagonal $q$ has the right mean, and no two latents have a correlation above 0.35 in absolute value. Is its variance finite? And does $\mathrm{ESS} / k$ rise, fall or stay when $k$ grows from 1,000 to 100,000?

# %%
rotated = PPCA((784,), latents=20)
seed_everything(0)
rotation = torch.linalg.qr(torch.randn(20, 20)).Q
with torch.no_grad():
    rotated.weight.copy_(models[20].weight.float() @ rotation)
    rotated.bias.copy_(models[20].bias)
    rotated.log_scale.copy_(models[20].log_scale)
rotated.requires_grad_(False)
precision = rotated.weight.T @ rotated.weight / (2 * rotated.log_scale).exp()
precision = (precision + torch.eye(20)).double()  # of the posterior, for every x
best_scale = precision.diagonal().rsqrt()  # of the least-KL diagonal q
of_20 = MultivariateNormal(torch.zeros(20).double(), precision_matrix=precision)


def diagonal(scale, mean=of_20.loc):
    return MultivariateNormal(mean, scale_tril=torch.diag(scale))


factors = np.arange(1.0, 2.0, 0.05)
log_moments = [log_second_moment(of_20, diagonal(f * best_scale)) for f in factors]
widen = factors[np.argmin(log_moments)]
roots = of_20.variance.rsqrt()
correlations = of_20.covariance_matrix * roots * roots[:, None] - torch.eye(20)
print(f"largest correlation {correlations.abs().max():.2f}", end="; ")
print(f"best factor to widen by: {widen:.2f}")

# %%
to_image = rotated.posterior(test_images[:1].float()).mean[0].double()
from_there = diagonal(torch.ones(20).double(), -to_image)  # the prior, seen from there
families = {"posterior": [(1.0, of_20)], "least KL": [(1.0, diagonal(best_scale))]}
families["least KL, widened"] = [(1.0, diagonal(widen * best_scale))]
families["90% least KL, 10% prior"] = [(0.9, diagonal(best_scale)), (0.1, from_there)]
torch.manual_seed(0)
print("effective draws per thousand         k = 1,000   k = 100,000   limit")
for name, parts in families.items():
    z = torch.cat([q.sample((round(100_000 * share),)) for share, q in parts])
    log_q = [math.log(share) + q.log_prob(z) for share, q in parts]
    log_w = of_20.log_prob(z) - torch.stack(log_q).logsumexp(0)  # log of w / p(x)
    log_w = log_w[torch.randperm(100_000)]
    a_few = effective_sample_size(log_w.view(100, 1000).T).mean()  # of 100 groups
    all_of_them = effective_sample_size(log_w) / 100
    limit = 1000 * math.exp(-log_second_moment(of_20, parts[0][1]))
    limit = f"{limit:7.0f}" if len(parts) == 1 else "  not 0"
    print(f"{name:34} {a_few:11.0f} {all_of_them:13.0f} {limit}")

# %% [markdown]
# :::{dropdown} What to expect
# The least-KL proposal has infinite variance here too: many small correlations add up. Its ESS per draw falls as $k$ grows, and a thousand draws cannot show it. Widened by the best common factor, 1.35, its variance is finite, and in the limit 52 of a thousand draws stay effective. (With tails as heavy as these, ESS itself is noisy: 39 of a thousand in this run.)
# :::
#
# So a proposal that was fitted by KL should be widened before a likelihood is estimated with it, and by how much is not a matter of taste: in the plane $v$ must grow from 0.19 beyond 0.95 before the variance is finite at all. The standard precaution when nothing is known is a *defensive mixture* $\alpha\, p(z) + (1 - \alpha)\, q(z)$ {cite:p}`owen2013`: no weight exceeds $p(x \mid z) / \alpha$, so the variance is finite whenever $p(x \mid z)$ is bounded in $z$. Finite need not mean small, as the last row shows: the prior's draws hardly ever reach the tails in question.
#
# (sec-lv-annealed)=
# ### *Optional:* a yardstick that needs no proposal
#
# **Annealed importance sampling** {cite:p}`neal2001` starts from the prior and walks to the posterior through the unnormalised densities $f_t(z) = p(z)\, p(x \mid z)^{\beta_t}$, with $\beta$ rising from 0 to 1: the likelihood is switched on slowly, and at each of $T$ temperatures the draw is moved by a step of a Markov chain that leaves $f_t$ invariant. Its weight, $\prod_t p(x \mid z_{t-1})^{\beta_t - \beta_{t-1}}$, is unbiased for $p(x)$, however short the walk. No encoder is involved, so it can assess models that have one {cite:p}`wu2017`. On PPCA with 10 latents we can check it.

# %% tolerance={"atol": 1.5}
seed_everything(0)
x, model = test_images[:4], models[10]
truth = model.log_prob(x).detach()
z = torch.randn(draws, 10, dtype=torch.float64)
naive = log_likelihoods(model, x, z).logsumexp(0) - math.log(draws)
annealing = {"k": 32, "temperatures": 250, "leapfrog": 5, "step": 0.1}
walked = annealed_log_likelihood(model.chain(), x, **annealing)  # chain: z -> x
print("error of log p(x) in nats, for four test images")
for name, estimate in (("100,000 prior draws", naive), ("32 annealed chains", walked)):
    print(f"{name:>19}:", *(f"{e:6.1f}" for e in (estimate - truth).tolist()))

# %% [markdown]
# Half a nat to one nat too low instead of thirty to forty, for $32 \cdot 250 \cdot 5 = 40{,}000$ gradients an image and as many again to tune the step: a comparable amount of work. Like every logarithm of an unbiased estimate it is low on average.
#
# ### Exercises of Part 2
#
# :::{exercise} ★ Twice the latents
# :label: ex-lv-twice
# A model needs $10^4$ draws from its prior for a relative error of 10% on $p(x)$. You build a model of pairs of images, $p(x_1)\, p(x_2)$, with two independent copies of $z$. How many draws from the joint prior does it need for the same relative error?
# :::
#
# :::{solution} ex-lv-twice
# :class: dropdown
# The squared relative error is $\chi^2 / k$, so $1 + \chi^2 = 101$ for one image. It factorises over independent parts: $1 + \chi^2 = 101^2 \approx 10^4$ for the pair, and $k = 10^4 / 0.01 = 10^6$, a hundred times as many. (Two separate estimates, multiplied, would have needed about $2 \cdot 10^4$ each: use the structure where there is any.)
# :::
#
# :::{exercise} ★★ Too wide is better than too narrow
# :label: ex-lv-wide
# The posterior is $\mathcal{N}(0, I)$ in $d$ dimensions and $q = \mathcal{N}(0, c^2 I)$. Find $1 + \chi^2$. For which $c$ is it finite? Compare $c^2 = 2$ with $c^2 = \tfrac12$, and give the ESS of 1000 draws at $c = 1.5$ for $d = 10$; {numref}`fig-lv-weights` has measured it.
# :::
#
# :::{solution} ex-lv-wide
# :class: dropdown
# As in the proof of {prf:ref}`thm-lv-diagonal`, $c^2 / \sqrt{2 c^2 - 1}$ per dimension, so $1 + \chi^2 = c^{2d} (2 c^2 - 1)^{-d/2}$, finite if and only if $c^2 > \frac12$. At $c^2 = 2$ it is $(4/3)^{d/2}$, at $c^2 = \frac12$ infinite, although both are off by the same factor. At $c = 1.5$, $d = 10$: $2.25^{10} / 3.5^5 = 6.3$, an ESS of about $1000 / 6.3 = 158$, the limit for many draws; the 1,000 draws of the figure had 168.
# :::
#
# (sec-lv-bound)=
# ## Part 3. A bound in place of an integral: what does $q$ leave out?
#
# Importance sampling averages weights and then takes the logarithm. Take the logarithm first and *then* the average, and the result can be optimised. It is called the **evidence lower bound**, or {term}`ELBO`, and it will carry the rest of this book.
#
# :::{prf:definition} Evidence lower bound
# :label: def-lv-elbo
# For a distribution $q(z)$ whose support lies within that of $p_\theta(z \mid x)$,
#
# $$ \mathcal{L}(\theta, q; x) = \mathbb{E}_{q(z)}\bigl[ \log p_\theta(x, z) - \log q(z) \bigr] = \mathbb{E}_q[\log w] . $$ (eq-lv-elbo)
# :::
#
# This is the opposite of what importance sampling asks: there $q$ must be positive wherever the posterior is, here $q$ may be positive only there. {prf:ref}`thm-lv-diagonal` is the quantitative form of this difference.
#
# There are three ways to it. Each shows something that the others hide.
#
# :::{prf:theorem} The ELBO, three ways
# :label: thm-lv-elbo
# For every $q$ as above for which the expectations are finite:
#
# 1. *Jensen:* $\mathcal{L}(\theta, q; x) = \mathbb{E}_q[\log w] \le \log \mathbb{E}_q[w] \le \log p_\theta(x)$;
# 2. *Equality:* $\log p_\theta(x) = \mathcal{L}(\theta, q; x) + \operatorname{KL}\bigl(q(z) \,\Vert\, p_\theta(z \mid x)\bigr)$;
# 3. *Bayes' rule, three terms:*
#    $\log p_\theta(x) = \mathbb{E}_q[\log p_\theta(x \mid z)] - \operatorname{KL}\bigl(q(z) \,\Vert\, p(z)\bigr) + \operatorname{KL}\bigl(q(z) \,\Vert\, p_\theta(z \mid x)\bigr)$,
#    and the first two terms are $\mathcal{L}(\theta, q; x)$.
#
# The bound is an equality if and only if $q(z) = p_\theta(z \mid x)$.
# :::
#
# :::{prf:proof}
# *1.* $w = p_\theta(x, z) / q(z)$ has $\mathbb{E}_q[w] \le p_\theta(x)$ by {prf:ref}`thm-lv-importance`, and the logarithm is concave.
#
# *2.* For every $z$, $p_\theta(x) = p_\theta(x, z) / p_\theta(z \mid x)$. Take logarithms, and multiply numerator and denominator by $q(z)$:
#
# $$ \log p_\theta(x) = \log \frac{p_\theta(x, z)}{q(z)} + \log \frac{q(z)}{p_\theta(z \mid x)} . $$
#
# The left side does not depend on $z$, so it equals its own mean under $q$. The means of the two terms on the right are $\mathcal{L}$ and the KL divergence.
#
# *3.* Start from Bayes' rule, $p_\theta(x) = p_\theta(x \mid z)\, p(z) / p_\theta(z \mid x)$, and multiply and divide by $q(z)$:
#
# $$ \log p_\theta(x) = \log p_\theta(x \mid z) - \log \frac{q(z)}{p(z)} + \log \frac{q(z)}{p_\theta(z \mid x)} , $$
#
# and take means as before. The first two terms together are $\log p_\theta(x, z) - \log q(z)$.
#
# The KL divergence in *2* is never negative, and 0 exactly where $q$ is the posterior, which gives the last statement (and the inequality of *1* once more).
# :::
#
# - *Jensen* is the shortest, works for any average of weights ({doc}`chapter 9 <09_iwae>` will put $k$ of them under the logarithm), and says nothing about the gap.
# - *Equality* names the gap. Since $\log p_\theta(x)$ **does not depend on $q$**, raising $\mathcal{L}$ over $q$ by some amount lowers $\operatorname{KL}(q \,\Vert\, p_\theta(z \mid x))$ by the very same amount. That is how one can minimise a divergence from a distribution that nobody can evaluate.
# - *Bayes' rule, three terms,* is the form that gets implemented: how well codes from $q$ reconstruct $x$, minus what it costs to deviate from the prior. It is also the correction that the box in Part 2 asked for.
#
# All three on PPCA with three latents, where $\log p(x)$ is known as the density of a Gaussian, for a $q$ that has nothing to do with the posterior.

# %% tags=["check:thm-lv-elbo"]
seed_everything(0)
small = PPCA((5,), latents=3, scale=0.8).double()
x = small.sample(1)
lower = torch.tensor([[0.9, 0, 0], [0.3, 0.7, 0], [-0.2, 0.1, 0.5]]).double()
at = torch.tensor([[0.3, -0.2, 0.5]]).double()
q = MultivariateNormal(at, scale_tril=lower[None])
W, b, s = small.weight.detach(), small.bias.detach(), small.log_scale.exp().item()
covariance = W @ W.T + s**2 * torch.eye(5).double()
log_p = stats.multivariate_normal(b, covariance).logpdf(x)  # scipy, no latent in it
z = q.sample((200_000,))[:, 0]
log_x_given_z = small.likelihood(z).log_prob(x).detach()
log_w = log_x_given_z + standard.log_prob(z).sum(1) - q.log_prob(z)
bound, error = log_w.mean().item(), (log_w.std() / len(z) ** 0.5).item()
zero, identity = torch.zeros(3).double(), torch.eye(3).double()
to_prior = kl_divergence(q, MultivariateNormal(zero, identity))
to_posterior = kl_divergence(q, small.posterior(x)).item()
in_three = (log_x_given_z.mean() - to_prior + to_posterior).item()
print(f"log p(x) = {log_p:.2f};  1. E log w = {bound:.2f} <= {log_p:.2f}")
print(f"2. E log w + KL to the posterior = {bound + to_posterior:.2f}")
print(f"3. reconstruction - KL to the prior + KL to the posterior = {in_three:.2f}")
at_posterior = small.elbo(x, small.posterior(x)).item()
print(f"with the posterior as q the bound is {at_posterior:.2f}")
assert bound < log_p and abs(bound + to_posterior - log_p) < 4 * error
error = (log_x_given_z.std() / len(z) ** 0.5).item()
assert abs(in_three - log_p) < 4 * error and abs(at_posterior - log_p) < 1e-9

# %% [markdown]
# {numref}`fig-lv-elbo` shows the equality where it can be seen, on the model of {numref}`fig-lv-joint`. $q$ is a Gaussian of fixed width that slides along the axis of $z$. The two pieces trade places; their sum does not move.

# %% mystnb={"figure": {"caption": "The ELBO (lower area) and the KL divergence from the posterior (upper area) as $q = \\mathcal{N}(m, 0.15^2)$ slides along the $z$ axis, for the model and the $x = 0.5$ of the first figure. Whatever $m$ is, the two add up to $\\log p(x)$, the line on top. The axis is cut at $-15$.", "name": "fig-lv-elbo"}, "image": {"alt": "A horizontal line at minus 1.3. Below it a curve with three peaks that come within one or two nats of the line, and a shoulder to the left of the first. The area under the curve has one tint, the area between curve and line another."}} tags=["hide-input"]
nodes, node_weights = np.polynomial.hermite_e.hermegauss(40)  # for means under N(0, 1)
nodes = torch.tensor(nodes)
node_weights = torch.tensor(node_weights / node_weights.sum())


def elbo_of(m, log_s):
    """L(q; x_seen) for q = N(m, s^2), by quadrature; m, log_s tensors []."""
    z = m + log_s.exp() * nodes  # fixed nodes in place of draws
    log_p_xz = prior.log_prob(z) + log_of_seen(z)
    entropy = log_s + 0.5 * math.log(2 * math.pi * math.e)
    return (node_weights * log_p_xz).sum() + entropy


means = torch.linspace(-2.6, 2.6, 261, dtype=torch.float64)
bounds = torch.stack([elbo_of(m, torch.tensor(0.15).log()) for m in means])
fig, ax = plt.subplots(figsize=(6, 2.8))
ax.fill_between(means, -15, bounds, color=sky, alpha=0.8, lw=0)
ax.fill_between(means, bounds.clamp(min=-15), log_p_seen, color=orange, alpha=0.7, lw=0)
ax.axhline(log_p_seen, color=black)
ax.text(-2.5, log_p_seen + 0.4, "$\\log p(x)$")
ax.text(-0.8, -4.0, "KL", ha="center", fontsize=12)
ax.text(0.1, -13.5, "$\\mathcal{L}$", ha="center", fontsize=13)
ax.set(xlim=(-2.6, 2.6), ylim=(-15, 0.5), xlabel="mean $m$ of $q$", ylabel="nats")
ax.grid(visible=False)
plt.show()


# %% [markdown]
# (sec-lv-fit-q)=
# ### Finding $q$ without knowing the posterior
#
# So let mean and width of $q$ climb the bound by gradient steps. The expectation under $q$ is taken at fixed nodes, $z = m + s\,\varepsilon_j$; with random $\varepsilon$ it would be the reparameterised gradient of {doc}`chapter 8 <08_vae>`. **Predict, then run.** The posterior has three large humps and $q$ one. Two runs start from $m = -2.2$ and from $m = 1.6$. Where will they end: on a hump, between two, or across all three? And what will the KL divergence be at the end?


# %%
def fit_q(start, steps=200):
    """Gradient ascent on the ELBO over q = N(m, s^2); the whole climb is returned."""
    m = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    log_s = torch.tensor(-1.5, dtype=torch.float64, requires_grad=True)
    optimizer, climb = torch.optim.Adam([m, log_s], lr=0.05), []
    for _ in range(steps):
        bound = elbo_of(m, log_s)
        log_q = Normal(m, log_s.exp()).log_prob(z_line)  # the judge: KL on a grid
        kl = torch.trapezoid(log_q.exp() * (log_q - log_slice + log_p_seen), z_line)
        climb.append((bound.item(), kl.item()))
        optimizer.zero_grad()
        (-bound).backward()  # the posterior enters nowhere
        optimizer.step()
    return m.item(), log_s.exp().item(), np.array(climb)


climbs = {start: fit_q(start) for start in (-2.2, 1.6)}
print(f"log p(x) = {log_p_seen:.2f} nats")
for start, (m, s, climb) in climbs.items():
    bound, kl = climb[-1]
    print(f"from {start:4}: q = N({m:5.2f}, {s:.2f}^2)", end=", ")
    print(f"ELBO {bound:.2f} + KL {kl:.2f} = {bound + kl:.2f}")

# %% mystnb={"figure": {"caption": "*Left:* the climb from $m = 1.6$. ELBO and KL are mirror images, since their sum is fixed. *Right:* where the two runs ended (dashed and dotted), beside the posterior (solid), which neither of them was ever shown.", "name": "fig-lv-fit"}, "image": {"alt": "Left: two curves, one rising and one falling by the same amount, and a flat line that is their sum. Right: a density with three large humps; a dashed bell over the left hump and a dotted one over the right hump."}} tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8))
climb = climbs[1.6][2]
left.plot(climb[:, 0], color=blue, label="ELBO")
left.plot(climb[:, 1], "--", color=orange, label="KL")
left.plot(climb.sum(1), ":", color=black, label="their sum")
left.set(xlabel="step", ylabel="nats", xlim=(0, 100))
left.legend(fontsize=8)
right.plot(z_line, posterior_line, color=red, label="posterior")
for (m, s, _), style in zip(climbs.values(), ("--", ":")):
    bell = Normal(m, s).log_prob(z_line).exp()
    right.plot(z_line, bell, style, color=blue, label=f"$q$, mean ${m:.1f}$")
right.set(xlabel="$z$", ylabel="density", xlim=(-3, 3), ylim=(0, None))
right.legend(fontsize=8)
plt.show()
density = posterior_line.numpy()
lower_than_next = np.sign(np.diff(density))  # -1 where it falls, 1 where it rises
dips = np.flatnonzero(np.diff(lower_than_next) > 0) + 1
cuts = [0, *dips, 640]
for first, last in zip(cuts, cuts[1:]):  # from dip to dip
    hump = slice(first, last + 1)
    mass = np.trapezoid(density[hump], z_line[hump])
    print(f"z from {z_line[first]:5.2f} to {z_line[last]:5.2f}:", end=" ")
    print(f"{mass:.3f} of the posterior, -log = {-math.log(mass):.2f} nats")

# %% [markdown]
# :::{dropdown} What to expect
# Each run ends on one hump, and on which one is decided by its start; the largest hump, in the middle, was found by neither. $\operatorname{KL}(q \,\Vert\, p)$ punishes $q$ for going where the posterior is small, so no single Gaussian bridges the valleys. A $q$ that stays within one region has a KL of at least minus the logarithm of that region's share of the posterior, and exactly that if it *is* the posterior there. The hump on the left holds 0.18 and that on the right 0.24, so 1.74 and 1.41 nats are the least that was possible; the two Gaussians reached 1.77 and 1.42.
# :::
#
# **By how much does the bound fall short of the likelihood, then?** By $\operatorname{KL}(q \,\Vert\, p_\theta(z \mid x))$: more where the posterior has several humps, is skewed or correlated in ways that the family of $q$ is not. Keep that in mind for the end of Part 4.
#
# ### Exercises of Part 3
#
# :::{exercise} ★ Best weights
# :label: ex-lv-best
# Let $z$ be discrete. Maximise $\sum_k q_k (\log p(x, k) - \log q_k)$ over probabilities $q$ with a Lagrange multiplier, without using the theorem. Which value do you find at the maximum?
# :::
#
# :::{solution} ex-lv-best
# :class: dropdown
# $\log p(x, k) - \log q_k - 1 + \lambda = 0$ makes $q_k$ proportional to $p(x, k)$, so $q_k = p(x, k) / \sum_j p(x, j)$, the posterior, and each bracket is then $\log \sum_j p(x, j) = \log p(x)$.
# :::
#
# :::{exercise} ★★ A bound from above
# :label: ex-lv-upper
# Show that $\log p(x) \le \mathbb{E}_{p(z \mid x)}[\log p(x, z) - \log q(z)]$ for every $q$, an *evidence upper bound*. What is its gap? Why is it of less use than the lower one?
# :::
#
# :::{solution} ex-lv-upper
# :class: dropdown
# Take the mean of $\log p(x) = \log \frac{p(x, z)}{q(z)} - \log \frac{p(z \mid x)}{q(z)}$ under the posterior: the second term is $\operatorname{KL}(p(z \mid x) \,\Vert\, q) \ge 0$, the gap. The expectation is under the posterior, from which we cannot draw.
# :::
#
# :::{exercise} ★★ Two humps at once
# :label: ex-lv-mixture
# Take $q = \sum_j \alpha_j q_j$, a mixture of the *two* fitted Gaussians of {numref}`fig-lv-fit`, which hardly overlap. Show that its ELBO is about $\sum_j \alpha_j \bigl(\mathcal{L}_j - \log \alpha_j\bigr)$, with the $\mathcal{L}_j$ printed above, find the best $\alpha$, and compare with $\log p(x)$.
# :::
#
# :::{solution} ex-lv-mixture
# :class: dropdown
# Where the $q_j$ do not overlap, $\log q(z) = \log \alpha_j + \log q_j(z)$ on the $j$-th, which gives the formula. It is the ELBO of a discrete choice ({ref}`above <ex-lv-best>`), so the best $\alpha_j$ is proportional to $e^{\mathcal{L}_j}$, and its value is $\log \sum_j e^{\mathcal{L}_j}$; the cell computes it. What is still missing is above all the hump in the middle.
# :::

# %% tags=["hide-cell"]
L_1, L_2 = (climb[-1, 0] for _, _, climb in climbs.values())
print(f"two humps: {np.logaddexp(L_1, L_2):.2f} nats, log p(x) = {log_p_seen:.2f}")


# %% [markdown]
# (sec-lv-learn)=
# ## Part 4. Learning: who moves first, $q$ or $\theta$?
#
# The bound is a function of two things. The classical way to climb such a function is to take turns, and here each turn has a name.
#
# :::{prf:theorem} EM is coordinate ascent on the ELBO
# :label: thm-lv-em
# Let $\mathcal{L}(\theta, q) = \sum_n \mathcal{L}(\theta, q_n; x_n)$ and $\ell(\theta) = \sum_n \log p_\theta(x_n)$. From any $\theta_0$ repeat:
#
# - **E-step:** $q_n \leftarrow p_{\theta_t}(z \mid x_n)$ for all $n$, the maximiser of $\mathcal{L}(\theta_t, q)$ over $q$;
# - **M-step:** $\theta_{t+1} \leftarrow \arg\max_\theta \mathcal{L}(\theta, q) = \arg\max_\theta \sum_n \mathbb{E}_{q_n}[\log p_\theta(x_n, z)]$.
#
# Then $\ell(\theta_{t+1}) \ge \ell(\theta_t)$, where the maxima are assumed to exist. If $\theta_t$ is an interior point at which the derivatives exist, $\nabla_\theta \mathcal{L}(\theta, q) = \nabla_\theta\, \ell(\theta)$ at $\theta = \theta_t$ after the E-step, so at such a point EM stands still only where the likelihood is stationary.
# :::
#
# :::{prf:proof}
# By {prf:ref}`thm-lv-elbo`, $\ell(\theta) = \mathcal{L}(\theta, q) + \sum_n \operatorname{KL}(q_n \,\Vert\, p_\theta(z \mid x_n))$ for all $\theta$ and $q$. The E-step makes every KL zero, which is the maximum of $\mathcal{L}$ over $q$. So
#
# $$ \ell(\theta_t) = \mathcal{L}(\theta_t, q) \;\le\; \mathcal{L}(\theta_{t+1}, q) \;\le\; \ell(\theta_{t+1}) : $$
#
# the first inequality is the M-step, the second the bound. In $\mathcal{L}$ the entropy of $q$ does not depend on $\theta$, hence the second form of the M-step. Finally $\ell - \mathcal{L} = \sum_n \operatorname{KL} \ge 0$ is, as a function of $\theta$, at its minimum 0 at $\theta_t$, so its gradient vanishes there; if $\theta_t$ also maximises $\mathcal{L}(\cdot, q)$ in the interior, $\nabla \ell(\theta_t) = \nabla \mathcal{L}(\theta_t, q) = 0$.
# :::
#
# In the M-step the hidden $z$ has been replaced by a guess with weights: the *complete*-data log-likelihood is maximised, in which the logarithm acts on a simple density directly and not on a sum. For a mixture of Gaussians, $q_n$ is a row of **{term}`responsibilities <responsibility>`** $r_{nk} = p(k \mid x_n)$, and the M-step is the mean and covariance of the data, each example counted with weight $r_{nk}$:
#
# $$
# \begin{gathered}
# \pi_k = \frac1N \sum_n r_{nk} , \qquad \mu_k = \frac{\sum_n r_{nk}\, x_n}{\sum_n r_{nk}} , \\
# \Sigma_k = \frac{\sum_n r_{nk}\, (x_n - \mu_k)(x_n - \mu_k)^\top}{\sum_n r_{nk}} .
# \end{gathered}
# $$ (eq-lv-m-step)
#
# The derivatives of $\sum_{n,k} r_{nk} \log p_\theta(x_n, k)$ vanish there, with a multiplier for $\sum_k \pi_k = 1$; {ref}`an exercise <ex-lv-coins>` does it for coins.
#
# (sec-lv-em-by-hand)=
# ### EM by hand
#
# Four measurements of 150 irises, length and width of sepal and petal in centimetres {cite:p}`fisher1936`. There are three species, and the model is not told which flower is which.


# %%
def e_step(x, pi, mu, sigma):
    """Responsibilities [N, K] and mean log-likelihood."""
    components = MultivariateNormal(mu, sigma)
    log_joint_xk = pi.log() + components.log_prob(x[:, None])  # [N, K]
    return log_joint_xk.softmax(1), log_joint_xk.logsumexp(1).mean().item()


def m_step(x, r):
    """Weights [K], means [K, D], covariances [K, D, D]."""
    n = r.sum(0)
    mu = r.T @ x / n[:, None]
    difference = x[:, None] - mu  # [N, K, D]
    sigma = torch.einsum("nk,nki,nkj->kij", r, difference, difference)
    return n / len(x), mu, sigma / n[:, None, None]


# %%
from sklearn.datasets import load_iris

iris = load_iris()
flowers, species = torch.tensor(iris.data), torch.tensor(iris.target)  # [150, 4], cm
centred = flowers - flowers.mean(0)
spread = centred.T @ centred / 150


def run_em(first_three, rounds=40):
    """EM from three flowers as means; the log-likelihoods, the state at the end."""
    state = torch.ones(3).double() / 3, flowers[first_three], spread.expand(3, 4, 4)
    history = []
    for _ in range(rounds):
        r, log_likelihood = e_step(flowers, *state)
        history.append(log_likelihood)
        state = m_step(flowers, r)
    return history, state


# %%
for first_three in ([10, 60, 110], [10, 70, 140]):
    history, state = run_em(first_three, rounds=400)
    curve = ", ".join(f"{history[t]:.2f}" for t in (0, 1, 5, 10, 20, 399))
    found = e_step(flowers, *state)[0].argmax(1)
    table = torch.zeros(3, 3, dtype=torch.long)
    table.index_put_((species, found), torch.ones(1, dtype=torch.long), accumulate=True)
    print(f"from flowers {first_three}: log-likelihood {curve} nats per flower")
    print("   after 0, 1, 5, 10, 20 and 399 rounds;", end=" ")
    print(f"moves by 1e-12 or more: {history[-1] - history[-2] >= 1e-12};")
    print(f"   species against component {table.tolist()}")

# %% [markdown]
# The likelihood never falls. From the first start, all but five flowers end up with their species, although EM was given no labels. From the second, EM stops more than half a nat lower, and it has stopped: after 400 rounds a further one changes nothing in the twelfth decimal place. EM climbs; it does not search. Try a few starts and keep the likeliest. (But beware of one that is too likely: a component that shrinks onto a single flower has an unbounded likelihood, which a floor under the covariances prevents.) `lvmlib.latent.em` takes the same steps and reports the bound and the KL divergence after each half of a round. It is called with a model that offers three operations: its posterior, its bound for a given $q$, and its M-step.

# %%
root = torch.linalg.cholesky(spread)


@torch.no_grad()
def fresh_mixture():
    """The start of the first run by hand."""
    mixture = GaussianMixture((4,), components=3, covariance="full").double()
    mixture.loc.copy_(flowers[[10, 60, 110]])
    mixture.lower.copy_(root.tril(-1).expand(3, 4, 4))
    mixture.log_scale.copy_(root.diagonal().log().expand(3, 4))
    return mixture


# %% tags=["check:thm-lv-em"]
history, state = run_em([10, 60, 110])
mixture = fresh_mixture()
guess = Categorical(torch.ones(150, 3).double())  # a q that knows nothing
half_steps = em(mixture, flowers, rounds=40, q=guess)  # each: step, elbo, kl
after_e = [step.elbo for step in half_steps if step.step == "E"]
same = np.allclose(after_e, history) and torch.allclose(mixture.loc, state[1])
rises = all(b.elbo >= a.elbo - 1e-12 for a, b in zip(half_steps, half_steps[1:]))
largest = max(step.kl for step in half_steps if step.step == "E")
print(f"same as by hand: {same}; the bound never falls: {rises}", end="; ")
print(f"KL after every E-step below 1e-12: {largest < 1e-12}")
at_start = fresh_mixture()  # far from any maximum: here the gradients are large
of_p = torch.autograd.grad(at_start.log_prob(flowers).sum(), at_start.loc)[0]
after_e_step = Categorical(at_start.posterior(flowers).probs.detach())
for name, q in (("after an E-step", after_e_step), ("with the guess as q", guess)):
    at_q = torch.autograd.grad(at_start.elbo(flowers, q).sum(), at_start.loc)[0]
    print(f"{name}: gradient of the bound up to {at_q.abs().max():.1f}", end=", ")
    print(f"off by up to {(at_q - of_p).abs().max():.1f}")
    assert torch.allclose(at_q, of_p) == (q is after_e_step)
assert same and rises and largest < 1e-12

# %% mystnb={"figure": {"caption": "EM from the first start, seen on two of the four measurements: components (two standard deviations), and each flower in the colour of its largest responsibility. After ten rounds one component still reaches beyond the group of small petals; five rounds later it holds these alone.", "name": "fig-lv-em"}, "image": {"alt": "Four scatter plots of petal width against petal length. At the start and after five rounds three long overlapping ellipses; after ten, one of them has begun to shrink towards the separate group of small petals; after fifteen it is a small ellipse around this group, and the other two divide the larger petals."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 4, figsize=(8, 2.5), sharex=True, sharey=True)
for ax, count in zip(axes, (0, 5, 10, 15)):
    now = run_em([10, 60, 110], count)[1]
    found = e_step(flowers, *now)[0].argmax(1)
    for k, (colour, marker) in enumerate(zip((blue, orange, green), "os^")):
        ax.plot(*flowers[found == k, 2:].T, marker, ms=2.5, color=colour, alpha=0.7)
        values, vectors = torch.linalg.eigh(now[2][k, 2:, 2:])
        angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
        short, long = 4 * values.sqrt()  # 2 standard deviations to each side
        outline = Ellipse(now[1][k, 2:], long, short, angle=angle)
        outline.set(fill=False, ec=colour, lw=1.5)
        ax.add_patch(outline)
    ax.set(title=f"{count} rounds", xlim=(-2.8, 9.2), ylim=(-1.7, 4))
    ax.set_xlabel("petal length (cm)")
axes[0].set_ylabel("petal width (cm)")
plt.show()


# %% [markdown]
# (sec-lv-half-steps)=
# ### Half a step at a time
#
# PPCA offers the same three operations. The posterior is {eq}`eq-lv-ppca-posterior`; let $m_n$ be its mean for example $n$ and $S = \sigma^2 M^{-1}$ its covariance. With $b$ fixed at the mean of the data, the M-step is
#
# $$
# \begin{gathered}
# W \leftarrow \sum_n (x_n - b)\, m_n^\top \Bigl(\sum_n m_n m_n^\top + N S\Bigr)^{-1} , \\
# \sigma^2 \leftarrow \frac{1}{ND} \sum_n \Bigl(|x_n - b - W m_n|^2 + \operatorname{tr}(W^\top W S)\Bigr) :
# \end{gathered}
# $$ (eq-lv-ppca-m-step)
#
# least squares on codes that are known only up to $S$. Without the $S$ it would not maximise the bound. (`PPCA.m_step` fits $b$ as well, as the weight of a latent that is always 1; from the mean of the data it does not move.)


# %%
def ppca_round(x, W, variance):
    """One round of EM on centred x [N, D], from W [D, d] and sigma^2."""
    M = W.T @ W + variance * torch.eye(W.shape[1]).double()
    m, S = x @ W @ M.inverse(), variance * M.inverse()  # E-step: [N, d], [d, d]
    W = x.T @ m @ (m.T @ m + len(x) * S).inverse()  # M-step
    squares = (x - m @ W.T).square().sum() + len(x) * (W.T @ W @ S).trace()
    return W, squares / x.numel()


digits = load("digits")[0].x.flatten(1).double()  # [1257, 64], grey levels 0..16
seed_everything(0)
ppca = PPCA((64,), latents=2, scale=4.0).double()
ppca.bias.data.copy_(digits.mean(0))
now = ppca.weight.detach(), torch.tensor(16.0).double()
for _ in range(5):
    now = ppca_round(digits - digits.mean(0), *now)
unknowing = Independent(Normal(torch.zeros(1257, 2).double(), 1.0), 1)  # the prior
ppca_steps = em(ppca, digits, rounds=5, q=unknowing)
same = torch.allclose(ppca.weight, now[0]), torch.allclose(ppca.bias, digits.mean(0))
print(f"five rounds by hand and by the library: W the same {same[0]}, b {same[1]}")
assert all(same) and torch.allclose((2 * ppca.log_scale).exp(), now[1])

# %% [markdown]
# {numref}`fig-lv-bars` draws every half-step of EM for both models. **Before you look**: which part of the bar does an E-step change, and which part an M-step? Can the KL part ever grow?

# %% mystnb={"figure": {"caption": "EM, half-step by half-step: the mixture of irises (left) and PPCA with 2 latents on 8x8 digits (right; at its start $q$ is the prior). The lower part of each bar is the ELBO, the upper part the KL divergence of $q$ from the posterior; its top is the mean log-likelihood. Vertical axes do not start at 0 and differ.", "name": "fig-lv-bars"}, "image": {"alt": "Two stacked bar charts that rise from left to right. Bars at E-steps have a single colour and the height of the bar before; bars at M-steps are higher and have a second colour on top. The bar at the start of PPCA has both colours too."}} tags=["hide-input"]
runs = {"mixture, irises": em(fresh_mixture(), flowers, rounds=5)}
runs["PPCA, digits"] = ppca_steps
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3))
for ax, (name, steps) in zip(axes, runs.items()):
    elbos, kls = np.array([(s.elbo, s.kl) for s in steps]).T
    floor = elbos.min() - 0.15 * np.ptp(elbos + kls)
    ax.bar(range(len(steps)), elbos - floor, bottom=floor, color=sky, label="ELBO")
    ax.bar(range(len(steps)), kls, bottom=elbos, color=orange, label="KL")
    ax.set_xticks(range(len(steps)), [s.step for s in steps], fontsize=8)
    ax.set(title=name, ylabel="nats per example", ylim=(floor, None))
    ax.grid(visible=False, axis="x")
axes[1].legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.02, 1))
plt.show()
for name, steps in runs.items():
    first = ", ".join(f"{s.step} {s.elbo:.2f} + {abs(s.kl):.2f}" for s in steps[:4])
    print(f"{name}, ELBO + KL: {first}")


# %% [markdown]
# :::{dropdown} What to expect
# An E-step changes $q$ only, so $\log p_\theta(x)$, the top of the bar, cannot move: the KL falls to 0 and the ELBO takes its place. An M-step changes $\theta$ only. It raises the ELBO, and the KL grows from 0 to something positive, since $q$ is the posterior of the *old* parameters. Both parts grew, so the likelihood rose by more than the bound.
# :::
#
# **EM or gradients?** Nothing forces the turns. Both models have an exact likelihood, so it can be climbed directly, by the gradient that {prf:ref}`thm-lv-em` says is the same. All local maxima of PPCA's likelihood are equally high, and `solve` knows one of them, so we can count how far each method still has to go after each pass through the data. The rivals: L-BFGS with a line search, each evaluation of likelihood and gradient counted as a pass; Adam on all images at once (best of the rates 0.03, 0.1, 0.3, 1); Adam on batches of 100, twelve to a pass (best of 0.03, 0.1, 0.3, falling to 0 along a cosine).


# %%
def fresh_ppca():
    """The start of every run: 8 latents, random W of two decimals.

    Rounded, it is the same on every processor; L-BFGS makes much of little.
    """
    seed_everything(0)
    ppca = PPCA((64,), latents=8, scale=4.0).double()
    ppca.weight.data.copy_(ppca.weight.data.round(decimals=2))
    ppca.bias.data.copy_(digits.mean(0))
    return ppca


# %%
def by_adam(size, lr):
    """What is missing after each of 60 passes."""
    each_pass = len(digits) // size
    how = {"valid": digits, "valid_every": each_pass, "progress": False, "lr": lr}
    run = fit(fresh_ppca(), digits, steps=60 * each_pass, batch_size=size, **how)
    return [highest + loss for loss in run.valid_loss]


def by_lbfgs():
    """The least that was missing after each evaluation."""
    climber, missing = fresh_ppca(), []
    how = {"line_search_fn": "strong_wolfe", "tolerance_grad": 0, "tolerance_change": 0}
    optimizer = torch.optim.LBFGS(climber.parameters(), max_iter=99, max_eval=60, **how)

    def closure():
        optimizer.zero_grad()
        loss = -climber.log_prob(digits).mean()
        loss.backward()
        missing.append(highest + loss.item())
        return loss

    optimizer.step(closure)
    return np.minimum.accumulate(missing)[1:].tolist()


# %%
highest = PPCA((64,), latents=8).double().solve(digits).log_prob(digits).mean().item()
of_rounds = [step for step in em(fresh_ppca(), digits, 61) if step.step == "E"]
curves = {"EM": [highest - step.elbo for step in of_rounds][1:]}  # after a round
curves["L-BFGS"] = by_lbfgs()
curves["Adam, all, rate 0.3"] = by_adam(1257, 0.3)
falling = lambda t: 0.05 * (1 + math.cos(math.pi * t / 720))
curves["Adam, 100, from 0.1 to 0"] = by_adam(100, falling)
common = highest - of_rounds[0].elbo
print(f"at the common start {common:.2f} nats to go; after 1, 2, 5, 10, 20, 50 passes")
for name, curve in curves.items():
    left_over = ", ".join(f"{curve[t - 1]:.2f}" for t in (1, 2, 5, 10, 20, 50))
    print(f"{name:25}: {left_over}")

# %% mystnb={"figure": {"caption": "EM against gradient ascent on PPCA, from the same start: what is missing to the largest log-likelihood. Adam on small batches, twelve steps for one of EM, is ahead for about fourteen passes; then EM overtakes it. L-BFGS and Adam on all images lag behind EM.", "name": "fig-lv-gradient"}, "image": {"alt": "Four curves from the same point on a logarithmic vertical axis. EM's falls steadily below a thousandth of a nat. The one for batches of 100 falls first and fastest, crosses EM's at about fourteen passes near a tenth of a nat and creeps down later. L-BFGS stays high for ten passes, then falls, and reaches a thousandth of a nat about twelve passes after EM; Adam on all images falls slowest."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(5.6, 3))
looks = zip(("-", "-.", "--", ":"), (black, sky, blue, red))
for (name, curve), (style, colour) in zip(curves.items(), looks):
    ax.plot([common, *curve], style, color=colour, label=name)
ax.set(yscale="log", xlabel="passes", ylabel="nats per image to go")
ax.set(xlim=(0, 60), ylim=(1e-3, 50))
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# Where the M-step has a formula, EM's step is exact and needs no tuning. Its speed depends on how much is hidden: where codes are nearly determined by $x$ it is fast, as here; where they overlap it crawls, as for ten rounds on the irises. Gradients need no formula and no full pass through the data, and twelve rough steps can be worth more than one exact step; so everything from the next chapter on uses them.
#
# (sec-lv-restricted)=
# ### When $q$ is not allowed to be the posterior
#
# If the posterior is out of reach, choose a family $\mathcal{Q}$ and let the E-step find the best $q$ in it: **variational EM** {cite:p}`jordan1999,neal1998`. The bound still never falls. But it is no longer the likelihood at the end of the E-step, and so the argument that $\ell$ rises is gone. Worse, the *place* of the maximum moves.
#
# Take the simplest example there is: two clusters, $x \sim \tfrac12 \mathcal{N}(-\mu, 1) + \tfrac12 \mathcal{N}(\mu, 1)$ with true $\mu = 1$, and only $\mu$ to be learned. Let $\mathcal{Q}$ hold the *certain* guesses, or hard assignments: each $x$ belongs to one cluster entirely. (With equal weights and equal round covariances, as here, this restricted EM is the $k$-means algorithm.) The best certain guess is the nearer mean; its entropy is 0, so the bound is
# $\max_q \mathcal{L}(\mu, q; x) = \log \tfrac12 + \log \mathcal{N}(|x|; \mu, 1)$. Its expectation is largest at $\mu = \mathbb{E}|x|$.

# %%
x_wide = torch.linspace(-9, 9, 4001, dtype=torch.float64)
mus = torch.linspace(0, 3, 601, dtype=torch.float64)


def expectations(true_mu):
    """Expected log-likelihood and best expected bound with a certain q, for all mus."""
    each = [Normal(s * mus, 1.0).log_prob(x_wide[:, None]) for s in (-1, 1)]
    each = torch.stack(each) - math.log(2)  # log p(x, k): [2, 4001, 601]
    truth = [Normal(s * true_mu, 1.0).log_prob(x_wide).exp() / 2 for s in (-1, 1)]
    p_true = sum(truth)[:, None]
    mean = lambda curve: torch.trapezoid(p_true * curve, x_wide, dim=0)
    return mean(each.logsumexp(0)), mean(each.amax(0))


for true_mu in (0.0, 0.5, 1.0, 2.0):
    ell, bound = expectations(true_mu)
    folded = stats.foldnorm(true_mu).mean()  # E|x|
    print(f"true mu {true_mu}: likelihood is best at {mus[ell.argmax()]:.2f}", end=", ")
    print(f"the bound at {mus[bound.argmax()]:.2f} (E|x| = {folded:.2f})")
ell, bound = expectations(1.0)
moved = stats.foldnorm(1.0).mean()  # where one M-step after certain guesses leads
for name, curve in (("bound", bound), ("log-likelihood", ell)):
    values = np.interp((1.0, moved), mus, curve)
    print(f"one round from mu = 1 to {moved:.3f}: {name}", *np.round(values, 4))

# %% mystnb={"figure": {"caption": "Expected log-likelihood of two clusters with true $\\mu = 1$ (solid), and the bound with certain guesses (dashed), the best that this family of $q$ can do at each $\\mu$. The gap shrinks as the clusters move apart, so the bound is largest where the *model* is wrong: at 1.17.", "name": "fig-lv-restricted"}, "image": {"alt": "Two curves over mu from 0 to 2. The upper one has its maximum at 1, the lower one at 1.17; the gap between them narrows to the right."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(5.4, 2.8))
ax.plot(mus, ell, color=blue, label="log-likelihood")
ax.plot(mus, bound, "--", color=red, label="bound, certain $q$")
for curve, colour in ((ell, blue), (bound, red)):
    best = curve.argmax()
    ax.plot(mus[best], curve[best], "o", color=colour)
    ax.axvline(mus[best], color=colour, lw=0.7, ls=":")
ax.set(xlabel="$\\mu$", ylabel="nats per example", xlim=(0, 2), ylim=(-2.65, -1.7))
ax.legend(fontsize=9)
plt.show()


# %% [markdown]
# Even a start at the truth does not help: in one round $\mu$ moves from 1 to 1.167, the bound rises, and the log-likelihood *falls* from $-1.7558$ to $-1.7664$ nats.
#
# :::{admonition} Watch out: maximising the bound is not maximising the likelihood
# :class: pitfall
# With a restricted $q$ the maximum of the bound is a compromise between a model that fits and a model whose posterior is easy for $\mathcal{Q}$. With certain guesses, data from $\mu = 1$ give 1.17, data from $\mu = 0.5$ give 0.90, and data from a *single* cluster, $\mu = 0$, are split in two at $\pm 0.80$. More data do not help: this is a bias of the objective {cite:p}`turner2011`. The diagonal $q$ of {doc}`chapter 8 <08_vae>` is a restriction of the same kind: of two decoders that are equally likely, the bound prefers the one whose posteriors are nearer to diagonal.
# :::
#
# :::{admonition} Watch out: variational EM is not variational Bayes
# :class: pitfall
# Text that calls this algorithm "variational Bayes" confuses two things. Here $\theta$ is a *point*, found by maximising; only the latents have a distribution. That is variational EM, and so is the training of a variational autoencoder. **Variational Bayes** gives $\theta$ a prior and a $q(\theta)$ too {cite:p}`beal2003`, and its bound is one on $\log p(\text{data})$ with $\theta$ integrated out. The difference is that of our coin, which has no latent variable at all: after three heads a point estimate, $\theta = 1$, bets everything on heads, while the posterior $\operatorname{Beta}(5, 2)$ gives tails 0.29.
# :::
#
# (sec-lv-amortised)=
# ### One network for all examples
#
# An E-step for every example, for every change of $\theta$: for 50,000 images and a million steps nobody can afford it. **{term}`Amortised inference`** trains one network, the encoder, with parameters $\phi$, that maps $x$ to the parameters of its $q_\phi(z \mid x)$ {cite:p}`gershman2014,kingma2014,rezende2014`. The cost of inference is paid once, in training; then each image takes one pass. What it loses is measured in two parts {cite:p}`cremer2018`:
#
# $$
# \begin{aligned}
# \log p_\theta(x) - \mathcal{L}(\theta, q_\phi; x)
# = {} & \underbrace{\log p_\theta(x) - \max_{q \in \mathcal{Q}} \mathcal{L}(\theta, q; x)}_{\text{approximation gap}} \\
# & + \underbrace{\max_{q \in \mathcal{Q}} \mathcal{L}(\theta, q; x) - \mathcal{L}(\theta, q_\phi; x)}_{\text{amortisation gap}} .
# \end{aligned}
# $$ (eq-lv-gaps)
#
# The first is the family's fault, the second the network's. For PPCA with $\mathcal{Q}$ the diagonal Gaussians, all three quantities have a closed form: the best $q$ has the posterior's mean, and as variances the inverse of the diagonal of the posterior's precision, just as in {prf:ref}`thm-lv-diagonal`. The model is the PPCA with 20 rotated latents of Part 2; it stays fixed. The core of the experiment by hand: an encoder, trained on the bound.


# %%
def q_of(encoder, x):
    """The diagonal Gaussian that the encoder proposes for each x."""
    mean, log_scale = encoder(x).chunk(2, dim=1)  # [B, 20] each
    return Independent(Normal(mean, log_scale.exp(), validate_args=False), 1)


def train_encoder(x_train, steps):
    """Adam on minus the ELBO; theta does not move."""
    seed_everything(0)
    encoder = MLP(784, (128,), 2 * 20)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = x_train[torch.randint(len(x_train), (100,))]
        loss = -rotated.elbo(x, q_of(encoder, x)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return encoder


# %%
all_images, seen_by_none = grey.unit().x.flatten(1), test_images.float()
sizes = (500, 5_000, 50_000)
encoders = {n: train_encoder(all_images[:n], steps=3000 * SCALE) for n in sizes}


# %% [markdown]
# **Predict, then run.** All three encoders have the same network and took the same number of steps; they saw 500, 5,000 or 50,000 different images. Which one has the smallest gap on *its own training images*, and which on test images?


# %% tolerance={"rtol": 0.1, "atol": 0.02}
def best_diagonal(x):
    """The best q of the family, the same scales for all x."""
    mean = rotated.posterior(x).mean
    return Independent(Normal(mean, best_scale.float().expand_as(mean)), 1)


@torch.no_grad()
def gaps(encoder, x):
    """Approximation and amortisation gap, mean over x, nats."""
    best = rotated.elbo(x, best_diagonal(x))
    approximation = rotated.log_prob(x) - best
    amortisation = best - rotated.elbo(x, q_of(encoder, x))
    return approximation.mean().item(), amortisation.mean().item()


print("nats per image     approximation gap    amortisation gap")
measured_gaps = {}
for n, encoder in encoders.items():
    for name, x in (("training", all_images[:n][:5000]), ("test", seen_by_none[:5000])):
        approximation, amortisation = measured_gaps[n, name] = gaps(encoder, x)
        print(f"{n:6,} {name:>8} {approximation:16.2f} {amortisation:19.2f}")

# %% [markdown]
# :::{dropdown} What to expect
# The approximation gap belongs to the family and is the same everywhere. For PPCA the best $q$ has a mean that is linear in $x$ and constant scales, so a network could have no amortisation gap at all; what is left comes from too few images or too few steps. On their own training images all three encoders are within 0.05 nats of the best $q$: the steps sufficed. On test images the encoder trained on 500 images is 13 nats off: it has *memorised* their codes, and inference overfits although $\theta$ did not move. With 50,000 images training and test gap agree, 0.02 and 0.03. (With a decoder that is a network, as in {doc}`chapter 8 <08_vae>`, limited capacity joins the causes.)
# :::
#
# And the alternative, one optimisation for each image? Start each test image's $q$ at the prior, take gradient steps on its own mean and scale (Adam, the best of four rates from 0.05 to 0.3), and see how many of them it takes to be as good as one pass of the encoder. Or start it from the encoder's answer (the best of five rates from 0.001 to 0.1).

# %% tolerance={"rtol": 0.1}
x = seen_by_none[:500]
with torch.no_grad():
    best = rotated.elbo(x, best_diagonal(x)).mean()
    proposed = q_of(encoders[50_000], x)
starts = {"the prior": (torch.zeros(500, 20), torch.ones(500, 20), 0.3)}
starts["the encoder"] = (proposed.mean, proposed.stddev, 0.003)
one_by_one = {}
for name, (mean, scale, lr) in starts.items():
    mean, log_scale = mean.clone().requires_grad_(), scale.log().requires_grad_()
    optimizer, curve = torch.optim.Adam([mean, log_scale], lr=lr), []
    for _ in range(150):
        bound_of_q = rotated.elbo(x, Independent(Normal(mean, log_scale.exp()), 1))
        curve.append((best - bound_of_q.mean()).item())
        optimizer.zero_grad()
        (-bound_of_q.sum()).backward()
        optimizer.step()
    one_by_one[name] = curve
own = one_by_one["the encoder"][0]
crossed = next(t for t, value in enumerate(one_by_one["the prior"]) if value < own)
print(f"gap of the encoder {own:.2f} nats; steps from the prior to reach it: {crossed}")
print(f"training cost as much as {3000 * 100 / crossed:.0f} images, one by one")

# %% mystnb={"figure": {"caption": "The gap to the best diagonal $q$ on 500 test images, for $q$ optimised image by image. Solid: started at the prior. Dashed: started at the output of the encoder that saw 50,000 images, whose own gap is the dotted line.", "name": "fig-lv-amortised"}, "image": {"alt": "Gap against gradient step on a logarithmic vertical axis. The solid curve falls from over a thousand nats and crosses the dotted line after about a hundred steps. The dashed one starts on the dotted line, at three hundredths of a nat, and falls below a thousandth within thirty steps."}} tags=["hide-input"] tolerance={"rtol": 0.1}
fig, ax = plt.subplots(figsize=(5.4, 2.8))
for (name, curve), style in zip(one_by_one.items(), ("-", "--")):
    seen = [gap if gap > 1e-3 else np.nan for gap in curve]  # not below the axis
    ax.plot(seen, style, color=blue, label=f"one by one, from {name}")
ax.axhline(own, ls=":", color=black, label="one pass of the encoder")
ax.set(yscale="log", xlabel="gradient steps for each image", ylabel="gap (nats)")
ax.set(xlim=(0, 149), ylim=(1e-3, 3e3))
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# From the prior it takes about a hundred steps to match one pass of the encoder. Its training, 3,000 steps of 100 images, cost as much as a hundred steps for each of about 3,000 images: below that number, one by one is cheaper here, above it the encoder is. The two can be combined: a few steps that start from the encoder's answer remove what is left of its gap.
#
# (sec-lv-regularise)=
# ### *Optional:* does amortising regularise?
#
# So far $\theta$ stood still. When it learns too, the encoder's limits act back on it: a poor $q$ biases the model, as we saw. But a bias may help where maximum likelihood overfits, and noise at the encoder's input has been proposed for just that {cite:p}`shu2018`. For a linear encoder the answer is exact.
#
# :::{prf:proposition} A linear encoder that sees noise
# :label: thm-lv-noise
# Let the data have mean $b$ and covariance $C$ with eigenvalues $\lambda_1 \ge \dots \ge \lambda_D$. Let $\tilde x = x + \tau \varepsilon$ with $\tau > 0$ and $\varepsilon \sim \mathcal{N}(0, I)$, and let $q(z \mid \tilde x) = \mathcal{N}(A (\tilde x - b),\, S)$. The ELBO of PPCA with $d$ latents, averaged over data and noise and maximised over $A$ and $S$, is
#
# $$ \ell_{\tilde C}(W, \sigma) - \frac{\operatorname{tr}(C - \tilde C)}{2 \sigma^2} , \qquad \tilde C = C\, (C + \tau^2 I)^{-1}\, C , $$ (eq-lv-noise)
#
# where $\ell_{\tilde C}$ is PPCA's mean log-likelihood on data with mean $b$ and covariance $\tilde C$. With $\tilde\lambda_j = \lambda_j^2 / (\lambda_j + \tau^2)$ it is largest where the columns of $W$ are the first $d$ eigenvectors of $C$, times $\sqrt{\tilde\lambda_j - \sigma^2}$, and
#
# $$ \sigma^2 = \frac{1}{D - d} \Bigl( \sum_{j > d} \lambda_j + \sum_{j \le d} (\lambda_j - \tilde\lambda_j) \Bigr) , $$ (eq-lv-noise-solution)
#
# provided that this is less than $\tilde\lambda_d$. As $\tau \to 0$ it becomes maximum likelihood.
# :::
#
# :::{prf:proof}
# Let $M = W^\top W + \sigma^2 I$. As $\tilde x - b$ has covariance $C + \tau^2 I$ and $\mathbb{E}[(\tilde x - b)(x - b)^\top] = C$, the mean of $|x - b - W z|^2 + \sigma^2 |z|^2$ is
#
# $$ \operatorname{tr} C - 2 \operatorname{tr}(W A C) + \operatorname{tr}\bigl(M (A (C + \tau^2 I) A^\top + S)\bigr) . $$
#
# The bound is this times $-1 / (2\sigma^2)$, plus $\frac12 \log |S|$ and terms in $\sigma$ alone. It is largest at $A = M^{-1} W^\top C\, (C + \tau^2 I)^{-1}$ and $S = \sigma^2 M^{-1}$, where the three traces give $\operatorname{tr} C - \operatorname{tr}(W M^{-1} W^\top \tilde C)$ and $\sigma^2 d$. Without noise and with $A = M^{-1} W^\top$ this $q$ is the exact posterior, the traces give $\operatorname{tr} C - \operatorname{tr}(W M^{-1} W^\top C)$ and $\sigma^2 d$, and the bound is $\ell_C$, for any covariance $C$. So the bound with noise is $\ell_{\tilde C}$, but for $\operatorname{tr} C$ in the place of $\operatorname{tr} \tilde C$, which is {eq}`eq-lv-noise`. For fixed $\sigma$ the last term of {eq}`eq-lv-noise` is constant, and the best $W$ is that of Tipping and Bishop for $\tilde C$ {cite:p}`tipping1999`, which has the eigenvectors of $C$ in the same order. Then the value as a function of $\sigma^2$ has the single maximum {eq}`eq-lv-noise-solution`.
# :::
#
# The check knows none of these formulas. It climbs the library's ELBO by L-BFGS over $W$, $\sigma$, $A$ and $S$ at once, on four numbers. The bound is quadratic in $\varepsilon$, so two opposite points on each axis stand exactly for the noise.

# %% tags=["check:thm-lv-noise"]
seed_everything(2)
points = torch.randn(50, 4).double() * torch.tensor([2.5, 1.5, 0.6, 0.4]).double()
eye, d, tau = torch.eye(4).double(), 2, 0.7
points = points @ torch.linalg.qr(torch.randn(4, 4).double()).Q
free = PPCA((4,), latents=d).double()
A = torch.randn(d, 4, dtype=torch.float64).requires_grad_()
root_of_s = torch.eye(d).double().requires_grad_()
noise_points = tau * 2 * torch.cat([eye, -eye])  # mean 0, covariance tau^2 I
seen_points = (points[:, None] + noise_points).flatten(0, 1)  # [400, 4]
clean = points.repeat_interleave(8, 0)


# %% tags=["check:thm-lv-noise"]
def noisy_bound():
    mean = (seen_points - free.bias) @ A.T
    tril = root_of_s.tril().expand(400, d, d)
    return free.elbo(clean, MultivariateNormal(mean, scale_tril=tril)).mean()


unknowns = [*free.parameters(), A, root_of_s]
optimizer = torch.optim.LBFGS(unknowns, max_iter=500, line_search_fn="strong_wolfe")


def minus_bound():
    optimizer.zero_grad()
    loss = -noisy_bound()
    loss.backward()
    return loss


# %% tags=["check:thm-lv-noise"]
optimizer.step(minus_bound)
C = torch.cov(points.T, correction=0)
C_tilde = C @ torch.linalg.inv(C + tau**2 * eye) @ C
values, vectors = torch.linalg.eigh(C)
values, vectors = values.flip(0), vectors.flip(1)
shrunk = values**2 / (values + tau**2)
sigma_squared = (values[d:].sum() + (values - shrunk)[:d].sum()) / (4 - d)
W_best = vectors[:, :d] * (shrunk[:d] - sigma_squared).sqrt()
sigma_best = W_best @ W_best.T + sigma_squared * eye
trace = (torch.linalg.inv(sigma_best) @ C_tilde).trace()
value = -0.5 * (4 * math.log(2 * math.pi) + sigma_best.logdet() + trace)
value = (value - (C - C_tilde).trace() / (2 * sigma_squared)).item()
climbed = noisy_bound().item(), (2 * free.log_scale).exp().item()
print(f"climbed to {climbed[0]:.4f} nats, sigma^2 = {climbed[1]:.4f}", end="; ")
print(f"formulas {value:.4f} nats, sigma^2 = {sigma_squared:.4f}")
assert shrunk[d - 1] > sigma_squared and abs(climbed[0] - value) < 1e-6
assert abs(climbed[1] - sigma_squared) < 1e-4
found = free.weight.detach() @ free.weight.detach().T  # W itself is free to rotate
assert (found - W_best @ W_best.T).abs().max() < 1e-2

# %% [markdown]
# **Predict, then run.** Now few images for many latents, 200 for 30, where maximum likelihood overfits. As $\tau$ grows, the training likelihood can only fall. Will that of test images rise or fall?

# %%
few, d_few = all_images[:200].double(), 30
values_few, vectors_few = torch.linalg.eigh(torch.cov(few.T, correction=0))
values_few, vectors_few = values_few.flip(0).clamp(min=0), vectors_few.flip(1)


@torch.no_grad()
def best_with_noise(tau):
    """PPCA with the parameters of the proposition."""
    kept = values_few[:d_few]
    shrunk = kept**2 / (kept + tau**2)
    left_out = values_few[d_few:].sum() + (kept - shrunk).sum()
    model = PPCA((784,), d_few).double()
    model.log_scale.copy_(0.5 * (left_out / (784 - d_few)).log())
    lengths = (shrunk - left_out / (784 - d_few)).sqrt()  # nan if the condition fails
    model.weight.copy_(vectors_few[:, :d_few] * lengths)
    model.bias.copy_(few.mean(0))
    return model


# %%
taus = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2)
noisy_models = {tau: best_with_noise(tau) for tau in taus}
scores = {
    name: [model.log_prob(x).mean().item() for model in noisy_models.values()]
    for name, x in (("200 training images", few), ("10,000 test images", test_images))
}
for name, row in scores.items():
    picked = ", ".join(f"{row[i]:.1f}" for i in (0, 1, 3, 6, 8, 10))
    print(f"{name + ',':20} tau = 0, 0.1, 0.3, 0.6, 0.8, 1.2: {picked} nats")
solved = PPCA((784,), d_few).double().solve(few).log_prob(few).mean().item()
print(f"maximum likelihood on the training images, by solve: {solved:.1f} nats")
apart = torch.cdist(few, few) + torch.diag(torch.full((200,), math.inf).double())
nearest = apart.min(1).values
confused = torch.special.ndtr(-nearest / (2 * 0.5)).mean()  # by noise with tau = 0.5
print(f"distance to the nearest other image: {nearest.median():.1f} (median)", end="; ")
print(f"noise of 0.5 makes that one look nearer with probability {confused:.4f}")

# %% mystnb={"figure": {"caption": "Noise before a linear encoder: exact log-likelihood of the best PPCA with 30 latents, fitted to 200 images, against the standard deviation $\\tau$ of the noise. At $\\tau = 0$ it is maximum likelihood.", "name": "fig-lv-noise"}, "image": {"alt": "Two curves over tau from 0 to 1.2. The one for training images falls from 511 to 358 nats. The one for test images rises from 243 to 307 at 0.6 and falls again to 261."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(5, 2.8))
for (name, row), style in zip(scores.items(), ("--", "-")):
    ax.plot(taus, row, style, marker="o", ms=3, color=blue, label=name)
ax.set(xlabel="noise $\\tau$", ylabel="$\\log p(x)$, nats", xlim=(0, 1.2))
ax.legend(fontsize=8)
plt.show()


# %% [markdown]
# :::{dropdown} What to expect
# On the training images the likelihood falls with every bit of noise. On test images 64 nats are gained up to $\tau = 0.6$, and lost again beyond.
# :::
#
# Amortising *by itself* regularises nothing here: a linear encoder without noise contains the exact posterior, and maximum likelihood comes back. Noise at its input does regularise, because a *linear* encoder must shrink its answer: every leading eigenvalue $\lambda$ of the data becomes $\lambda^2 / (\lambda + \tau^2)$, and $\sigma^2$ grows. It is the limit of the encoder *together with* the noise that does it. An encoder without limits would recognise each of the 200 images through the noise, since even the nearest other one is about six away, and nothing would be gained or lost. So both sentences, "a poor $q$ biases the model" and "amortised inference regularises", can be true, and which one applies depends on the model, the encoder and the data.
#
# ### Exercises of Part 4
#
# :::{exercise} ★ Reading bars
# :label: ex-lv-read
# In a plot like {numref}`fig-lv-bars` a colleague's program shows an M-step after which the ELBO rose and the log-likelihood *fell*. Which half-step is broken, if both are meant to be exact? And could the plot be right for variational EM?
# :::
#
# :::{solution} ex-lv-read
# :class: dropdown
# The E-step. After an exact one the KL is 0, and an M-step that raises the ELBO can only add a KL that is not negative. If the top fell, the KL was positive before the M-step and became smaller: $q$ was not the posterior. In variational EM that is the normal state of affairs, so the plot can be right.
# :::
#
# :::{exercise} ★★ EM for coins
# :label: ex-lv-coins
# Fill the gap: EM for the mixture of independent coins of {numref}`sec-lv-few`, on binary digits. Derive the M-step from $\sum_n \sum_k r_{nk} \log p(x_n, k)$. Does it reach, in 20 passes over 10,000 images with $K = 50$, the NLL of the 400 steps of Adam?
# :::


# %%
def coin_m_step(x, r):
    """Weights [K] and ink [K, D] from binary x [N, D] and responsibilities [N, K]."""
    pi = ...  # your code
    means = ...  # your code; keep them away from 0 and 1
    return pi, means


# %%
some_bits, some_r = test_bits[:100], torch.softmax(test_bits[:100, 300:303], 1)
pi, means = coin_m_step(some_bits, some_r)
if pi is not ... and means is not ...:  # a test of your code
    assert torch.allclose(pi.sum(), torch.tensor(1.0)) and (means > 0).all()
    assert (some_r[:, 1] @ some_bits / some_r[:, 1].sum() - means[1]).abs().max() < 0.01

# %% [markdown]
# :::{solution} ex-lv-coins
# :class: dropdown
# The derivative by $\mu_{kd}$ of $\sum_n r_{nk} \bigl(x_{nd} \log \mu_{kd} + (1 - x_{nd}) \log(1 - \mu_{kd})\bigr)$ vanishes at $\mu_{kd} = \sum_n r_{nk} x_{nd} / \sum_n r_{nk}$: the mean image of the component, as in {eq}`eq-lv-m-step`. For the weights, the derivative of $\sum_{nk} r_{nk} \log \pi_k - \lambda (\sum_k \pi_k - 1)$ vanishes at $\pi_k = \sum_n r_{nk} / \lambda$, and $\lambda = N$ makes them sum to 1. The cell runs it on 10,000 training images. It does not catch up, 146.4 against 145.2 nats, but the comparison is not one of optimizers: it saw one draw of the bits of 10,000 images, Adam 80,000 fresh draws of bits from 50,000 images.
# :::

# %% tags=["hide-cell"] tolerance={"rtol": 0.02}
bits = train.subset(10_000).fixed(seed=0).x.flatten(1)  # [10000, 784]
seed_everything(0)
pi, log_odds = torch.ones(50) / 50, ink_of_all.logit() + 0.5 * torch.randn(50, 784)
for count in range(1, 21):
    log_joint_xk = pi.log() + bits @ log_odds.T - F.softplus(log_odds).sum(1)
    r = log_joint_xk.softmax(1)
    pi = r.mean(0)
    log_odds = ((r.T @ bits + 0.1) / (r.sum(0)[:, None] + 0.2)).logit()
    if count in (1, 5, 10, 20):
        nll = -log_joint_of_digits(test_bits, pi.log(), log_odds).logsumexp(1).mean()
        print(f"{count:2} rounds: test NLL {nll:.1f} nats")

# %% [markdown]
# :::{exercise} ★★★ Diagonal is enough for PPCA
# :label: ex-lv-diagonal
# Variational EM with diagonal Gaussians on PPCA: show that the restriction does *not* move the maximum this time, only the choice among equally likely $W$. Then try it: `PPCA.m_step` takes a diagonal $q$.
# :::
#
# :::{solution} ex-lv-diagonal
# :class: dropdown
# $W$ and $W R$ with a rotation $R$ have the same likelihood. Among the maximum-likelihood $W$ there is one with orthogonal columns; its posterior precision $W^\top W / \sigma^2 + I$ is diagonal, so a diagonal $q$ can be the posterior, and there the bound equals the largest likelihood. No $(\theta, q)$ can have more. So all global maxima of the bound are global maxima of the likelihood, and the restriction has picked the axes: with a family that can be exact *somewhere* among the optima, nothing is lost.
# :::

# %% tags=["hide-cell"]
seed_everything(0)
ppca = PPCA((64,), latents=2, scale=4.0).double()
for _ in range(200):
    q = ppca.posterior(digits)
    narrow = q.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()  # best diagonal q
    ppca.m_step(digits, Independent(Normal(q.mean, narrow), 1))
solved = PPCA((64,), latents=2).double().solve(digits)
cosine = F.cosine_similarity(*ppca.weight.detach().T, dim=0)
print(f"log-likelihood {ppca.log_prob(digits).mean():.3f}", end=", ")
print(f"maximum {solved.log_prob(digits).mean():.3f}", end="; ")
print(f"cosine between the columns of W {abs(cosine):.2f}")

# %% [markdown]
# (sec-lv-summary)=
# ## Summary
#
# :::{list-table} What was shown, and where it lives in `lvmlib`.
# :header-rows: 1
# :name: tab-lv-summary
#
# * - result
#   - in one line
#   - in `lvmlib`
# * - {prf:ref}`def-lv-model`
#   - $p(x)$ adds up all explanations; the posterior is each one's share
#   - `GaussianMixture`, `PPCA`
# * - {prf:ref}`thm-lv-prior`
#   - averaging over the prior: unbiased for $p(x)$, low for $\log p(x)$
#   - `Flow.log_weights`
# * - {numref}`fig-lv-ess`
#   - useful draws fall exponentially with dimension, and as $1/K$ with clusters
#   - `effective_sample_size`
# * - {prf:ref}`thm-lv-importance`
#   - importance weights are unbiased where $q$ covers the support
#   - `log_likelihood`, `annealed_log_likelihood`
# * - {prf:ref}`thm-lv-best`
#   - the variance of the weights is $\chi^2$ from the posterior to $q$
#   -
# * - {prf:ref}`thm-lv-diagonal`
#   - the least-KL proposal may have infinite variance
#   -
# * - {prf:ref}`thm-lv-elbo`
#   - $\log p(x)$ is ELBO plus KL to the posterior
#   - `elbo`, `PPCA.elbo`
# * - {prf:ref}`thm-lv-em`
#   - the E-step brings the KL to zero, the M-step raises the ELBO
#   - `em`
# * - {numref}`sec-lv-restricted`
#   - a restricted $q$ moves the best $\theta$
#   - `PPCA.m_step`
# * - {prf:ref}`thm-lv-noise`
#   - noise before a linear encoder shrinks what $\theta$ learns
#   -
# * - {eq}`eq-lv-gaps`
#   - what a network for all examples loses, in two parts
#   - `VAE`
# :::
#
# **For** latent variables: all pixels at once; a summary $z$ of each example; unlabelled causes that can be inspected. **Against** them: the likelihood is an integral, so it is bounded or estimated, never simply computed, once $z$ has many dimensions and the decoder is not linear. The next step is to make the decoder a network, and to train it together with the encoder by the gradient of the ELBO: {doc}`the variational autoencoder <08_vae>`. A second layer of latents above the first one, $p(x \mid z_1)\, p(z_1 \mid z_2)\, p(z_2)$, changes nothing in the theory, with $z = (z_1, z_2)$; `HierarchicalVAE` is the class.
#
# ## Further reading
#
# - {cite:t}`bishop2006`, chapters 9 and 12, on mixtures, EM and PPCA; {cite:t}`mackay2003`, chapters 22 and 29 to 33, on the same and on Monte Carlo.
# - {cite:t}`dempster1977` gave EM its name; {cite:t}`neal1998` saw it as coordinate ascent and drew the consequences.
# - {cite:t}`owen2013`, chapter 9, on importance sampling; {cite:t}`agapiou2017` and {cite:t}`chatterjee2018` on how many draws it needs.
# - {cite:t}`blei2017` is a review of variational inference; {cite:t}`jordan1999` an early and still readable one; {cite:t}`beal2003` on variational Bayes.
# - {cite:t}`cremer2018` measure both gaps in variational autoencoders, {cite:t}`shu2018` turn amortisation into a regulariser, {cite:t}`turner2011` show how a restricted $q$ misleads.
