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
# (ch-surgery)=
# # ELBO surgery
#
# *The KL term of a VAE looks like a fine for straying from the prior. Averaged over the data it turns out to be two things that have little to do with each other: what the codes say about the images, and how badly the prior describes the codes. Cut them apart, and questions that sounded vague have answers in nats.*
#
# A VAE is trained to keep *each* $q_\phi(z \mid x)$ near the prior. But whoever draws from the model uses the prior in place of *all* of them together, of the **{term}`aggregated posterior`**
#
# $$ q(z) = \frac1N \sum_{n=1}^N q_\phi(z \mid x_n) . $$ (eq-sg-aggregate)
#
# {numref}`fig-sg-holes` shows both for the 2-dimensional VAE of {doc}`chapter 8 <08_vae>`.

# %% tags=["hide-input"]
import copy
import math
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence

from lvmlib import information as info
from lvmlib.base import seed_everything
from lvmlib.bounds import log_likelihood, mutual_information_bound
from lvmlib.chain import Flow
from lvmlib.checkpoints import load_checkpoint
from lvmlib.data import load
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalNormal,
    MixtureOfGaussians,
    StandardNormal,
)
from lvmlib.experiments.collapse import DECODERS, KEPT, model_of, small_digits
from lvmlib.experiments.records import record
from lvmlib.experiments.vae_mnist import vae_mnist
from lvmlib.flows import MaskedAutoregressive, MixtureLogistic, realnvp
from lvmlib.latent import VAE, LinearGaussian, VampPrior
from lvmlib.networks import MLP
from lvmlib.objectives import free_bits
from lvmlib.plotting import COLOURS, image_grid, use_style
from lvmlib.surgery import aggregated_posterior, decompose
from lvmlib.training import cosine, fit

SCALE = 1  # multiplies training runs and draws; stored outputs are those of 1
use_style()
black, blue, orange = (COLOURS[name] for name in ("black", "blue", "orange"))
green, red, sky = (COLOURS[name] for name in ("green", "vermilion", "sky"))
mean_of = lambda terms: {k: v.mean().item() for k, v in terms._asdict().items()}

# %% tags=["hide-input"]
images, _, test_images = load("mnist", binarize="stochastic")
bits = images.fixed(seed=0).x  # [50000, 1, 28, 28], one draw of the pixels
test_bits = test_images.fixed(seed=0).x  # [10000, 1, 28, 28]
flat = vae_mnist(latents=2)  # 784-200-200-2, trained for 60 passes
load_checkpoint(flat, "vae_mnist_2d")
many = 5000  # images whose codes are mixed
bits = bits[:10_000]  # more are not needed here
with torch.no_grad():
    aggregate = aggregated_posterior(flat, bits[:many])
    line = torch.linspace(-4, 4, 101)
    plane = torch.cartesian_prod(line, line)  # [10201, 2]
    log_aggregate = aggregate.log_prob(plane).view(101, 101).T
    log_prior = StandardNormal((2,)).log_prob(plane).view(101, 101).T
    below = [d.exp() for d in (log_prior, log_aggregate)]

# %% mystnb={"figure": {"caption": "Density of the prior (*left*) and of the aggregated posterior of 5,000 training images (*right*), on one scale of colours, with circles that hold 50% and 95% of the prior. The codes crowd in specks and streaks and leave gaps between them. What is drawn from the prior in a gap is decoded although no training image has its code there.", "name": "fig-sg-holes"}, "image": {"alt": "Two square heat maps over the plane. The left one is a smooth round blob. The right one fills about the same disc unevenly, with dark specks and streaks and pale gaps between them."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(6.6, 3.4), sharey=True)
names = "prior $p(z)$", "aggregated posterior $q(z)$"
for ax, density, title in zip(axes, below, names):
    shade = ax.imshow(density, origin="lower", extent=(-4, 4, -4, 4), cmap="Blues")
    shade.set_clim(0, 0.4)
    for inside in (0.5, 0.95):
        radius = math.sqrt(-2 * math.log(1 - inside))
        ax.add_patch(plt.Circle((0, 0), radius, fill=False, lw=1, color=orange))
    ax.set(title=title, xlabel="$z_1$")
    ax.grid(visible=False)
axes[0].set_ylabel("$z_2$")
plt.show()

# %% [markdown]
# :::{prf:definition} The three terms
# :label: def-sg-terms
# For a data set $x_1, \dots, x_N$, an encoder $q(z \mid x)$, a decoder $p_\theta(x \mid z)$ and a prior $p(z)$,
#
# $$
# \begin{aligned}
# &\text{reconstruction} && \frac1N \sum_n \mathbb{E}_{q(z \mid x_n)}[\log p_\theta(x_n \mid z)] = -\mathsf{D} , \\
# &\text{mutual information} && I_q = \frac1N \sum_n \operatorname{KL}(q(z \mid x_n) \,\|\, q(z)) , \\
# &\text{marginal KL} && \operatorname{KL}(q(z) \,\|\, p(z)) .
# \end{aligned}
# $$ (eq-sg-terms)
# :::
#
# $I_q$ is the mutual information ({prf:ref}`def-mutual-information`) of an image and its code when one of the $N$ images is picked at random and its code is drawn from the encoder. The goal of this chapter is the equation
#
# $$
# \frac1N \sum_n \mathcal{L}(x_n) \;=\; \underbrace{-\mathsf{D}}_{\text{reconstruction}} \;-\; \underbrace{I_q}_{\text{what codes say}} \;-\; \underbrace{\operatorname{KL}(q(z) \,\|\, p(z))}_{\text{what the prior misses}}
# $$ (eq-sg-goal)
#
# and what follows from it: which prior is best, when codes say nothing, and why samples are blurry.
#
# **What you will be able to do**
#
# - cut the ELBO of any VAE into its three terms, exactly on a data set, and say how estimates on batches are biased;
# - name the best prior for a fixed encoder, fit five others and measure what each misses, on training *and* on test images;
# - say when the best code is an empty one, watch codes empty out as the decoder grows, and compare two remedies;
# - decide with a number whether blurred samples are the prior's fault.
#
# **Needs.** KL divergence and mutual information ({doc}`chapter 1 <01_information_theory>`); the VAE, rate and distortion ({doc}`chapter 8 <08_vae>`); active units ({prf:ref}`def-iw-active`); pixel models ({doc}`chapter 4 <04_pixel_models>`) for Part 3.
#
# **Time.** Three hours on the main path, five with exercises and the stretches marked *Optional*. The code runs in about a minute on one core; a GPU would not help. Longer runs come as records and checkpoints of scripts that the text names.
#
# (sec-sg-cut)=
# ## Part 1. Cut: what is in the KL term?
#
# :::{prf:theorem} The mean KL is a mutual information and a marginal KL
# :label: thm-sg-cut
# Let $q(z \mid x_1), \dots, q(z \mid x_N)$ and $p(z)$ be densities (or probabilities, for discrete $z$), and let every $\operatorname{KL}(q(z \mid x_n) \,\|\, p(z))$ be finite. Then
#
# $$ \frac1N \sum_{n=1}^N \operatorname{KL}(q(z \mid x_n) \,\|\, p(z)) = I_q + \operatorname{KL}(q(z) \,\|\, p(z)) , $$ (eq-sg-cut)
#
# and both terms on the right are finite and not negative.
# :::
#
# :::{prf:proof}
# Each $q(z \mid x_n)$ is one of the $N$ terms of $N q(z)$, so $q(z \mid x_n) \le N q(z)$ and $\log \frac{q(z \mid x_n)}{q(z)} \le \log N$. Hence $\operatorname{KL}(q(z \mid x_n) \,\|\, q(z))$ is finite. Under $q(z \mid x_n)$ take the expectation of
#
# $$ \log \frac{q(z \mid x_n)}{p(z)} = \log \frac{q(z \mid x_n)}{q(z)} + \log \frac{q(z)}{p(z)} . $$
#
# The left side and the first term on the right have finite means, so the last one has too. Averaged over $n$, the first term on the right gives $I_q$, and the last gives $\frac1N \sum_n \mathbb{E}_{q(z \mid x_n)}\big[\log \frac{q(z)}{p(z)}\big] = \mathbb{E}_{q(z)}\big[\log \frac{q(z)}{p(z)}\big]$. Both are (means of) KL divergences, so they are not negative.
# :::
#
# With the reconstruction in front, this is {eq}`eq-sg-goal` {cite:p}`hoffman2016`. Each term has a role.
#
# - *Reconstruction* wants codes from which the image can be told.
# - *The mutual information* is subtracted: the ELBO charges one nat for each nat that codes say about images, whatever the prior is. This is the price of information, and no prior can lower it.
# - *The marginal KL* draws the cloud of all codes towards the prior. It does not care which code belongs to which image. This part is waste: the model pays it and gets nothing in return.
#
# First where everything can be counted: six images, four codes, and random tables for encoder and prior. Chapter 1's `mutual_information` reads the joint table and knows nothing of the theorem.

# %% tags=["check:thm-sg-cut"]
random = np.random.default_rng(0)
encoder_table = random.dirichlet(np.full(4, 0.5), size=6)  # q(z | x_n), [6, 4]
prior_table = random.dirichlet(np.ones(4))  # p(z), [4]
mixed_table = encoder_table.mean(0)  # q(z)
each_kl = info.kl_divergence(encoder_table, prior_table[None], base=math.e)  # [6]
joint_table = encoder_table / 6
table_told = info.mutual_information(joint_table, base=math.e)
table_missed = info.kl_divergence(mixed_table, prior_table, base=math.e)
print(f"mean KL {each_kl.mean():.6f} = {table_told:.6f} + {table_missed:.6f}", end=" ")
print("(mutual information + marginal KL, nats)")
assert abs(each_kl.mean() - table_told - table_missed) < 1e-12
assert min(table_told, table_missed) > 0.1  # the sum needs both


# %% [markdown]
# (sec-sg-by-hand)=
# ### The surgery by hand
#
# On a real model the only new ingredient is $\log q(z)$, a `logsumexp` over the $N$ posteriors. Everything else is in the trace of a VAE. For $N$ images this takes $N$ codes times $N$ posteriors, so we go through the codes in chunks: memory stays bounded and the result is exact at each code.


# %%
@torch.no_grad()
def surgery(vae, x, chunk=500):
    """Reconstruction, mutual information and marginal KL, one code for each image."""
    q = vae.posterior(x)  # N Gaussians
    z = q.sample()  # [N, d], z_n ~ q(z | x_n)
    log_own = q.log_prob(z)  # log q(z_n | x_n), [N]
    log_mixed = torch.cat(
        [
            # all posteriors at each code of the chunk: [chunk, 1, d] -> [chunk, N]
            q.log_prob(part[:, None]).logsumexp(1) - math.log(len(x))
            for part in z.split(chunk)
        ]
    )  # log q(z_n), [N]
    reconstruction = vae.likelihood(z).log_prob(x)
    marginal_kl = log_mixed - vae.prior.log_prob(z)
    return reconstruction.mean(), (log_own - log_mixed).mean(), marginal_kl.mean()


seed_everything(0)
by_hand = surgery(flat, bits[:2000])
seed_everything(0)
by_library = decompose(flat, bits[:2000], rows=2000)  # the same draws
for name, mine, theirs in zip(by_library._fields, by_hand, by_library):
    print(f"{name:>18}: by hand {mine:.3f}, lvmlib {theirs.mean():.3f} nats")
    assert abs(mine - theirs.mean()) < 1e-3 * max(1, abs(mine))

# %% [markdown]
# Is it right? In the plane there is a check that takes no draws. The integrals over $z$ become sums over a fine grid; the entropy of each $q(z \mid x_n)$ is known in closed form, and so is its KL to the prior.

# %% tags=["check:thm-sg-cut"]
few, step = bits[:200], 0.03
with torch.no_grad():
    q_few = flat.posterior(few)
    exact_rate = kl_divergence(q_few, flat.prior.distribution()).mean().item()
    side = torch.arange(-5.2, 5.2, step)
    grid = torch.cartesian_prod(side, side)
    log_q_grid = aggregated_posterior(flat, few).log_prob(grid).double()
    mass = log_q_grid.exp() * step**2  # of each cell
    mixed_entropy = -(mass * log_q_grid).sum()
    own_entropy = (q_few.stddev.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(1)
    by_grid = {
        "mutual_information": (mixed_entropy - own_entropy.mean()).item(),
        "marginal_kl": (mass * (log_q_grid - flat.prior.log_prob(grid))).sum().item(),
    }
    seed_everything(0)
    by_draws = decompose(flat, few, k=200, rows=4000)
for name, exact in by_grid.items():
    of_images = getattr(by_draws, name)
    print(f"{name:>18}: {exact:.4f} by the grid", end=", ")
    print(f"{of_images.mean():.2f} by 40,000 draws")
    assert abs(exact - of_images.mean()) < 0.02 and exact > 0.1
total = sum(by_grid.values())
print(f"together {total:.4f}, mean KL in closed form {exact_rate:.4f} nats")
assert abs(total - exact_rate) < 1e-4 * exact_rate and abs(mass.sum() - 1) < 1e-4

# %% [markdown]
# (sec-sg-log-n)=
# ### How much can the codes of a data set say?
#
# Whoever names one of $N$ images has said at most $\log N$ nats.
#
# :::{prf:theorem} At most log N
# :label: thm-sg-log-n
# $0 \le I_q \le \log N$. It is $0$ if and only if all $q(z \mid x_n)$ are equal (almost everywhere), and $\log N$ if and only if no two of them overlap, that is, if almost every $z$ has $q(z \mid x_n) > 0$ for at most one $n$.
# :::
#
# :::{prf:proof}
# $\log \frac{q(z \mid x_n)}{q(z)} \le \log N$ was the first step of the previous proof, with equality where all other posteriors vanish. Averaged, equality needs that for almost every $z$ under each $q(z \mid x_n)$. The lower end is Gibbs' inequality ({prf:ref}`thm-gibbs`): every $\operatorname{KL}(q(z \mid x_n) \,\|\, q(z))$ is 0 only if $q(z \mid x_n) = q(z)$.
# :::

# %% tags=["check:thm-sg-log-n"]
print("eight posteriors N(m_n, 0.1^2); mutual information, at most log 8 = 2.0794")
for apart in (0.0, 0.1, 0.3, 2.0):
    posteriors = Normal(apart * torch.arange(8.0).double(), 0.1)
    z = torch.linspace(-2, 16, 20_001, dtype=torch.float64)
    densities = posteriors.log_prob(z[:, None]).exp()  # [points, 8]
    mixed = densities.mean(1)
    entropy = -torch.xlogy(mixed, mixed).sum() * (z[1] - z[0])
    said = (entropy - posteriors.entropy()[0]).item()  # h(z) - h(z | n), by a sum
    print(f"  means {apart:.1f} apart: {abs(said):.4f}")
    assert -1e-6 < said < math.log(8) + 1e-6
    assert apart > 0 or abs(said) < 1e-6
    assert apart < 2 or said > math.log(8) - 1e-6

# %% [markdown]
# **Predict, then run.** Next two real encoders: the one with 2 latents of {numref}`fig-sg-holes`, and the longer run of chapter 8 with 50. Both on 5,000 training images, where $\log N = 8.52$. Which comes closer to the ceiling, and what is left of the rate for the marginal KL?

# %% tolerance={"rtol": 0.01}
deep = vae_mnist()  # 784-200-200-50, trained for 600 passes
load_checkpoint(deep, "vae_mnist")
cut = {}
for name, model in {"2 latents": flat, "50 latents": deep}.items():
    seed_everything(0)
    cut[name] = mean_of(decompose(model, bits[:many]))
    found = cut[name]
    print(f"{name:>10}: rate {found['rate']:.2f}", end=" = ")
    print(f"mutual information {found['mutual_information']:.2f}", end=" + ")
    print(f"marginal KL {found['marginal_kl']:.2f} nats")

# %% [markdown]
# :::{dropdown} What to expect
# With 50 latents the mutual information *is* $\log N$, but for 0.02 nats: nearly every one of the 5,000 images is told apart by its code. The encoder could say no more about a set of 5,000 even if it tried. The rest of the rate, over 15 nats, is marginal KL, although nobody would call this model badly trained. In 50 dimensions the aggregated posterior is a swarm of 5,000 separate specks, and no smooth prior is near *that*. With 2 latents the specks overlap, the mutual information stays below the ceiling, and the marginal KL measures what {numref}`fig-sg-holes` shows.
# :::
#
# :::{admonition} Watch out: the ceiling belongs to the sample
# :class: pitfall
# "The mutual information of a VAE is at most $\log N$" is true of the $N$ images at hand and says nothing of the images that they were drawn from. Take the *same* encoder and more images, and the ceiling rises: with 50 latents $I_q$ is 6.21 for 500 images, 7.60 for 2,000 and 8.50 for 5,000, always close to $\log N$, so that $I_q$ measures the data set and not the encoder. Only where $I_q$ stays well below $\log N$, as with 2 latents, does it settle as $N$ grows. The next cell prints both.
# :::

# %% tolerance={"rtol": 0.01}
for name, model in {"2 latents": flat, "50 latents": deep}.items():
    for size in (500, 2000, 5000):
        seed_everything(0)
        told = decompose(model, bits[:size]).mutual_information.mean()
        print(f"{name:>10}, N = {size:6,}: I = {told:.2f}", end=", ")
        print(f"log N = {math.log(size):.2f}")

# %% [markdown]
# (sec-sg-parts)=
# ### Can it be done on a batch?
#
# Going over all pairs is dear, so people estimate the terms on a batch of $M$ images. One way treats the batch as a data set of its own. The theorem above, applied twice, says what that does.
#
# :::{prf:proposition} A part says less
# :label: thm-sg-parts
# Let $S$ be a random set of $M$ of the $N$ examples, each set equally likely, $q_S$ its aggregated posterior and $I_S$ its mutual information. Then
#
# $$ I_q - \mathbb{E}[I_S] = \mathbb{E}[\operatorname{KL}(q_S \,\|\, q)] = \mathbb{E}[\operatorname{KL}(q_S \,\|\, p)] - \operatorname{KL}(q \,\|\, p) \ge 0 , $$ (eq-sg-parts)
#
# so the mutual information comes out too small on average, the marginal KL too large by the same amount, and the error is at least $I_q - \log M$.
# :::
#
# :::{prf:proof}
# Apply {eq}`eq-sg-cut` to the set $S$, with $q$ in the place of the prior: $\frac1M \sum_{n \in S} \operatorname{KL}(q(z \mid x_n) \,\|\, q) = I_S + \operatorname{KL}(q_S \,\|\, q)$. Every example is in $S$ equally often, so the expectation of the left side is $I_q$. That is the first equation. With the prior $p$ itself, the expectation of $\frac1M \sum_{n \in S} \operatorname{KL}(q(z \mid x_n) \,\|\, p)$ is the mean KL over all data, hence $\mathbb{E}[I_S] + \mathbb{E}[\operatorname{KL}(q_S \,\|\, p)] = I_q + \operatorname{KL}(q \,\|\, p)$, the second. The last claim is $I_S \le \log M$.
# :::
#
# With six images all twenty parts of three can be listed, and nothing is random.

# %% tags=["check:thm-sg-parts"]
by_part = []
for rows in combinations(range(6), 3):
    part = encoder_table[list(rows)]  # [3, 4]
    q_part = part.mean(0)
    by_part.append(
        (
            info.mutual_information(part / 3, base=math.e),
            info.kl_divergence(q_part, mixed_table, base=math.e),
            info.kl_divergence(q_part, prior_table, base=math.e),
        )
    )
told_part, apart_part, missed_part = np.mean(by_part, axis=0)
print(
    f"I - E[I_S] = {table_told - told_part:.6f}, E KL(q_S, q) = {apart_part:.6f}",
    end=", ",
)
print(f"E KL(q_S, p) - KL(q, p) = {missed_part - table_missed:.6f} nats")
assert abs(table_told - told_part - apart_part) < 1e-12 and apart_part > 0.05
assert abs(missed_part - table_missed - apart_part) < 1e-12

# %% [markdown]
# The other way knows $N$ and estimates $q(z)$ without bias: for a code of example $i$ its own posterior counts once, and the other $M - 1$ stand for all the rest,
#
# $$ \hat q(z) = \frac1N\, q(z \mid x_i) + \frac{N - 1}{N (M - 1)} \sum_{j \in S,\, j \ne i} q(z \mid x_j) . $$ (eq-sg-stratified)
#
# Its *logarithm* is too small on average (Jensen), so this time the mutual information comes out too large, though never above $\log N$ {cite:p}`chen2018tcvae`. {numref}`fig-sg-batches` shows both against the size of the batch. The truth lies between them, and neither is any good at the batch sizes of training.

# %% tolerance={"rtol": 0.02, "atol": 0.1}
seed_everything(0)
whole = mean_of(decompose(flat, bits[:many]))
sizes = (10, 30, 100, 300, 1000, 2500, many)
estimates = {"own data set": [], "stratified": []}
for size in sizes:
    for way, data_size in zip(estimates, (None, many)):
        batches = []
        for _ in range(max(2, min(20, 3000 // size)) if size < many else 1):
            part = bits[torch.randperm(many)[:size]]
            batches.append(mean_of(decompose(flat, part, data_size=data_size)))
        heard = np.array([run["mutual_information"] for run in batches])
        wasted = np.array([run["marginal_kl"] for run in batches])
        estimates[way].append((heard.mean(), wasted.mean()))
        if size in (100, 1000):
            print(f"M = {size:5,}, {way:>12}: I = {heard.mean():.1f}", end=", ")
            print(f"marginal KL = {wasted.mean():.1f}")
print(f"all {many:,}: I = {whole['mutual_information']:.1f}", end=", ")
print(f"marginal KL = {whole['marginal_kl']:.1f} nats")
for size, low, high in zip(sizes, *estimates.values()):
    truth, error = whole["mutual_information"], 0.15  # of the draws
    assert low[0] < min(truth, math.log(size)) + error and high[0] > truth - error
    assert abs(sum(low) - whole["rate"]) < 4 * error  # what one lost the other got

# %% mystnb={"figure": {"caption": "Mutual information (*left*) and marginal KL (*right*) of the VAE with 2 latents, estimated on batches of $M$ of 5,000 training images; dashed: all images. Dotted: $\\log M$, which a batch as a data set of its own cannot exceed. The stratified estimate errs to the other side, and its marginal KL is negative for small batches.", "name": "fig-sg-batches"}, "image": {"alt": "Two panels over the batch size on a logarithmic axis. Left, one curve climbs from 2.3 along the dotted line and bends towards the dashed line at 6.3, another descends to it from 8.3. Right, the mirror image, one curve falling to the dashed line from above and one rising from negative values."}} tags=["hide-input"] tolerance={"rtol": 0.05}
fig, axes = plt.subplots(1, 2, figsize=(6.8, 2.9))
for i, (ax, name) in enumerate(zip(axes, ("mutual information", "marginal KL"))):
    for (way, points), colour in zip(estimates.items(), (blue, red)):
        ax.plot(sizes, [point[i] for point in points], "o-", color=colour, label=way)
    exact = whole[name.replace(" ", "_").lower()]
    ax.axhline(exact, color=black, ls="--", lw=1.2, label="all images")
    ax.set(xscale="log", xlabel="batch size $M$", ylabel=f"{name} (nats)")
    ax.set(xlim=(9, 5600))
axes[0].plot(sizes, np.log(sizes), ":", color=black, label="$\\log M$")
axes[0].legend(fontsize=8)
plt.show()

# %% [markdown]
# The two marginal KLs of a batch of 100, 2.2 and $-0.9$ nats around a truth of 0.4, are why one does not train on either. On batches of training size, report the mean KL, which is unbiased, and leave the cut to a pass over the whole set.
#
# (sec-sg-beta)=
# ### What does $\beta$ buy?
#
# A $\beta$-VAE weights the whole KL term, so it charges $\beta$ for *both* parts. `lvmlib.experiments.surgery_terms` trained one small VAE (784-200-10) on 20,000 binary digits with six values of $\beta$ and cut all of them on all of these images.

# %%
terms = record("surgery_terms")
by_beta = {float(beta): found for beta, found in terms["betas"].items()}
ceiling = math.log(terms["examples"])
print(terms["protocol"])
print(f"nats per image; log N = {ceiling:.2f}")
print("beta  reconstruction      I  marginal KL   rate  active")
for beta, found in by_beta.items():
    row = [found[f"train_{name}"] for name in by_library._fields]
    print(f"{beta:4g}  {row[0]:14.1f} {row[1]:6.2f}", end=" ")
    print(f"{row[2]:12.2f} {row[3]:6.1f}", end="")
    print(f"  {found['active_units']:6}")

# %% mystnb={"figure": {"caption": "The three terms for six prices $\\beta$ of the KL term. *Left:* minus the reconstruction. *Right:* the rate, cut in two. Dashed: $\\log N$, the most that codes can say about 20,000 images. The panels have different scales.", "name": "fig-sg-bars"}, "image": {"alt": "Two bar charts over beta. Left, bars of reconstruction cost that grow with beta. Right, stacked bars that shrink: the lower part stays at the dashed line for small beta and falls only for large beta, the upper part shrinks first."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(6.8, 3), width_ratios=(1, 1.3))
places, labels = range(len(by_beta)), [f"{beta:g}" for beta in by_beta]
cost = [-found["train_reconstruction"] for found in by_beta.values()]
axes[0].bar(places, cost, color=sky)
axes[0].set_ylabel("nats per image")
axes[0].set_title("minus reconstruction", fontsize=10)
lower = [found["train_mutual_information"] for found in by_beta.values()]
upper = [found["train_marginal_kl"] for found in by_beta.values()]
axes[1].bar(places, lower, color=blue, label="mutual information")
axes[1].bar(places, upper, bottom=lower, color=orange, label="marginal KL")
axes[1].axhline(ceiling, color=black, ls="--", lw=1.2, label="$\\log N$")
axes[1].set_title("rate", fontsize=10)
axes[1].legend(fontsize=8)
for ax in axes:
    ax.set_xticks(places, labels)
    ax.set_xlabel("$\\beta$")
plt.show()


# %% [markdown]
# From $\beta = 0.1$ to 1 the rate falls by more than half, from 38 to 18 nats, and the mutual information hardly at all, from 9.90 to 9.71 nats. What the first nats of price remove is marginal KL, from 28 to 8. Only then do codes say less: 8.2 nats at $\beta = 3$, 3.0 at 10, and at 30 the model has collapsed, with a rate of 0.02 nats and no active unit. $\beta$ is one price for two goods, and the marginal KL is the one that is cheaper to give up.
#
# ### Exercises of Part 1
#
# :::{exercise} ★ Every image twice
# :label: ex-sg-twice
# A data set holds each of $N / 2$ different images twice. What is the largest possible $I_q$, and what becomes of the bound $\log N$?
# :::
#
# :::{solution} ex-sg-twice
# :class: dropdown
# The encoder sees only the image, so both copies have the same posterior, $q(z)$ is the average of $N/2$ different ones, and {prf:ref}`thm-sg-log-n` for these gives $I_q \le \log(N/2)$. The bound $\log N$ is correct and cannot be reached. In general $I_q$ is at most the entropy of the empirical distribution, by {prf:ref}`thm-data-processing`: the number of the example tells the code nothing beyond the image.
# :::
#
# :::{exercise} ★★ The stratified estimate
# :label: ex-sg-stratified
# Fill the gap: {eq}`eq-sg-stratified` for a batch from which each example has one code. Then answer: why is its mutual information never above $\log N$?
# :::


# %%
def stratified_log_q(log_pairs, data_size):
    """log q-hat(z_i); log_pairs[i, j] = log q(z_i | x_j), [M, M]; result [M]."""
    size = len(log_pairs)
    own = log_pairs.diagonal()  # log q(z_i | x_i), [M]
    others = ...  # your code: log of the sum over j != i, [M]
    if others is ...:
        return None
    weight = (data_size - 1) / (data_size * (size - 1))
    return torch.logaddexp(own - math.log(data_size), others + math.log(weight))


# %%
seed_everything(0)
batch = bits[:50]
with torch.no_grad():
    q_batch = flat.posterior(batch)
    z_batch = q_batch.sample()
    log_pairs = q_batch.log_prob(z_batch[:, None])  # [50, 50]
mine = stratified_log_q(log_pairs, many)
seed_everything(0)
by_batch = decompose(flat, batch, data_size=many, rows=50)
stratified_by_library = by_batch.mutual_information
if mine is not None:  # a test of your code
    assert torch.allclose(log_pairs.diagonal() - mine, stratified_by_library, atol=1e-3)

# %% [markdown]
# :::{solution} ex-sg-stratified
# :class: dropdown
# `others = log_pairs.masked_fill(torch.eye(size, dtype=bool), -math.inf).logsumexp(1)`. By its first term $\hat q(z_i) \ge q(z_i \mid x_i) / N$, so $\log q(z_i \mid x_i) - \log \hat q(z_i) \le \log N$ for every code. The cell compares with the library.
# :::

# %% tags=["hide-cell"]
diagonal = torch.eye(50, dtype=bool)
solved = log_pairs.masked_fill(diagonal, -math.inf).logsumexp(1)
solved = torch.logaddexp(
    log_pairs.diagonal() - math.log(many),
    solved + math.log((many - 1) / (many * 49)),
)
assert torch.allclose(log_pairs.diagonal() - solved, stratified_by_library, atol=1e-3)
print(f"stratified estimate from 50 images: {stratified_by_library.mean():.1f} nats")

# %% [markdown]
# (sec-sg-priors)=
# ## Part 2. Choose: which prior is best?
#
# In {eq}`eq-sg-goal` the prior stands in one term only.
#
# :::{prf:theorem} The best prior for a fixed encoder
# :label: thm-sg-prior
# For a fixed encoder and decoder, the mean ELBO over a data set is largest, among all priors, at $p(z) = q(z)$ and nowhere else. Its value there is $-\mathsf{D} - I_q$, and any other prior loses $\operatorname{KL}(q(z) \,\|\, p(z))$.
# :::
#
# :::{prf:proof}
# $\mathsf{D}$ and $I_q$ do not depend on the prior, and the last term of {eq}`eq-sg-goal` is 0 for $p = q$ and positive for every other density (Gibbs). So the mean ELBO is at most $-\mathsf{D} - I_q$, attained at $p = q$, where the mean KL is $I_q$, finite by {prf:ref}`thm-sg-log-n`.
# :::
#
# The check lets gradient ascent look for the best prior of the random table above. It sees only the mean KL.

# %% tags=["check:thm-sg-prior"]
table = torch.tensor(encoder_table)
logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")


def mean_kl():
    log_ratio = (table + 1e-300).log() - logits.log_softmax(0)
    return (table * log_ratio).sum(1).mean()


def closure():
    optimizer.zero_grad()
    loss = mean_kl()
    loss.backward()
    return loss


# %% tags=["check:thm-sg-prior"]
optimizer.step(closure)
found_prior = logits.detach().softmax(0)
show = lambda p: " ".join(f"{value:.4f}" for value in p)
print(f"prior found by ascent: {show(found_prior)}")
print(f" aggregated posterior: {show(mixed_table)}")
print(f"mean KL {mean_kl().item():.4f}, mutual information {table_told:.4f} nats")
assert np.abs(found_prior.numpy() - mixed_table).max() < 1e-4
assert abs(mean_kl().item() - table_told) < 1e-7

# %% [markdown]
# So take the aggregated posterior as the prior and be done? {numref}`sec-sg-log-n` has already warned us: with 50 latents it is 5,000 specks. Its samples would be reconstructions of the 5,000 training images and nothing else.
#
# :::{admonition} Watch out: the best prior is best *on the training set*
# :class: pitfall
# The theorem maximises the mean ELBO of the $N$ examples whose codes make up $q(z)$. For a new image what counts is whether its code finds company among theirs. With 2 latents it does. With 50 latents the aggregated posterior of 5,000 training images costs a test image three times the rate of the standard normal: it is the best prior on the training set and far worse than $\mathcal{N}(0, I)$ on the test set. The six VAEs with 10 latents show where the line runs: for $\beta \ge 3$, whose codes overlap, $q(z)$ wins on test images too, and for $\beta \le 1$ it loses. This is overfitting, by a prior with no parameters of its own. Report the KL on test images.
# :::

# %% tolerance={"rtol": 0.05}
for name, model in {"2 latents": flat, "50 latents": deep}.items():
    q_all = aggregated_posterior(model, bits[:many])
    for where, x in (("training", bits[:1000]), ("test", test_bits[:1000])):
        seed_everything(0)
        with torch.no_grad():
            trace = model.trace(x, k=1)
        z, log_q = trace.steps[0].z[0], trace.steps[0].log_q[0]
        with_normal = (log_q - trace.log_base[0]).mean()
        with_codes = (log_q - q_all.log_prob(z)).mean()
        print(f"{name:>10}, {where:>8} images: rate {with_normal:.1f}", end=" nats ")
        print(f"with N(0, I), {with_codes:.1f} with q(z) of training images")
for beta, found in by_beta.items():
    print(
        f"10 latents, beta {beta:4g}, test images: {found['test_rate']:.1f}",
        end=" and ",
    )
    print(f"{found['test_rate_of_the_aggregate']:.1f} with q(z) of 20,000")


# %% [markdown]
# What is wanted is a prior that is *like* $q(z)$ and smoother: a density model, fitted to codes. Anything from Parts I and II of this book will do.
#
# - *A mixture of $K$ Gaussians*, the obvious one.
# - *The VampPrior* {cite:p}`tomczak2018`. It keeps the form of $q(z)$ and replaces the $N$ images by $K$ learned **pseudo-inputs** $u_k$,
#
# $$ p(z) = \frac1K \sum_{k=1}^K q_\phi(z \mid u_k) . $$ (eq-sg-vamp)
#
# - *A flow* ({doc}`chapter 5 <05_flows>`) or *an autoregressive model* ({doc}`chapter 3 <03_autoregressive_models>`) of the coordinates of $z$.
#
# (sec-sg-five)=
# ### Five priors for one encoder
#
# First with encoder and decoder frozen, so that nothing moves but the prior: the VAE with 2 latents, priors fitted to the codes of 10,000 training images by maximum likelihood, a fresh draw of each code at every use, 800 steps of 500 codes each. By {prf:ref}`thm-sg-prior` this *is* maximising the ELBO, and the largest gain to be had on the training images is their marginal KL.


# %%
def build_priors():
    """Name -> an untrained prior for two latents."""
    encoder = copy.deepcopy(flat.pair.encoder).requires_grad_(False)  # stays as it is
    return {
        "normal": StandardNormal((2,)),
        "mixture": MixtureOfGaussians((2,), components=50),
        "VampPrior": VampPrior(encoder, bits[:50]),
        "flow": realnvp((2,), layers=8, hidden=(64, 64)),
        "autoregressive": Flow(
            [MaskedAutoregressive((2,), (64,), MixtureLogistic(16))],
            StandardNormal((2,)),
        ),
    }


with torch.no_grad():
    q_train = flat.posterior(bits)
    codes = torch.cat([q_train.mean, q_train.stddev], 1)  # [10000, 4]
draw_codes = lambda batch: batch[:, :2] + batch[:, 2:] * torch.randn(len(batch), 2)
seed_everything(0)
priors = build_priors()
for name, density in priors.items():
    if name == "normal":
        continue  # nothing to fit
    fit(
        density,
        codes,
        lambda density, batch: -density.log_prob(draw_codes(batch)),
        steps=800 * SCALE,
        batch_size=500,
        lr=cosine(0.02 if name in ("mixture", "VampPrior") else 3e-3, 800 * SCALE),
        progress=False,
    )

# %% [markdown]
# The five share encoder and decoder, so one set of draws serves all: the weight of a draw changes only by its prior's density. (`log_likelihood` would do the same for one VAE after another.)

# %% tolerance={"rtol": 0.02, "atol": 0.05}
seed_everything(0)
with torch.no_grad():
    trace = flat.trace(test_bits[:300], k=100)
    z_test, log_q_test = trace.steps[0].z, trace.steps[0].log_q  # [100, 300, 2], ...
    z_train = q_train.sample((1,))
    own_train = q_train.log_prob(z_train).mean()
    rest = trace.steps[0].log_p - log_q_test  # log p(x|z) - log q(z|x), [100, 300]
    fitted, all_codes = {}, aggregated_posterior(flat, bits)
    for name, density in {**priors, "q(z) of training": all_codes}.items():
        log_p = density.log_prob(z_test.flatten(0, 1)).view(100, 300)
        on_train = own_train - density.log_prob(z_train.flatten(0, 1)).mean()
        nll = math.log(100) - (rest + log_p).logsumexp(0)
        fitted[name] = on_train, (log_q_test - log_p).mean(), nll.mean()
print("KL to the prior, training and test; test NLL by 100 draws (nats)")
for name, (on_train, on_test, nll) in fitted.items():
    print(f"{name:>17}: {on_train:5.2f}  {on_test:5.2f}  {nll:7.2f}")

# %% mystnb={"figure": {"caption": "The aggregated posterior of 10,000 training images and five priors fitted to its draws, with one scale of colours. Mixture, flow and autoregressive model follow the dense streaks and smooth over the specks. The VampPrior's 50 components are as narrow as single posteriors.", "name": "fig-sg-priors"}, "image": {"alt": "Six square heat maps. The first is grainy, with specks and streaks. The normal is a smooth round blob, the mixture a dozen soft spots, the VampPrior fifty small dark dots, the flow a swirl with curved ridges, the autoregressive model a few soft vertical streaks."}} tags=["hide-input"] tolerance={"figure": 0.2}
fig, axes = plt.subplots(2, 3, figsize=(6.8, 4.7), sharex=True, sharey=True)
with torch.no_grad():
    shown = {"aggregated posterior": all_codes, **priors}
    for ax, (name, density) in zip(axes.flat, shown.items()):
        heat = density.log_prob(plane).exp().view(101, 101).T
        ax.imshow(heat, origin="lower", extent=(-4, 4, -4, 4), cmap="Blues", vmax=0.4)
        ax.set_title(name, fontsize=10)
        ax.grid(visible=False)
plt.show()

# %% mystnb={"figure": {"caption": "Means of $p_\\theta(x \\mid z)$, the decoder being the same in all rows, for twelve codes from the aggregated posterior (*first row*, so these are reconstructions of training images) and from each prior.", "name": "fig-sg-prior-samples"}, "image": {"alt": "Six rows of twelve blurred digits. In all rows most are recognisable; the row of the normal prior has one that is no digit."}} tags=["hide-input"] tolerance={"figure": 0.35, "draws": ["all"], "data": 0.05}
seed_everything(1)
with torch.no_grad():
    rows = [flat.likelihood(all_codes.sample((12,))).mean]
    rows += [flat.likelihood(density.sample(12)).mean for density in priors.values()]
image_grid(torch.cat(rows), columns=12, row_labels=["q(z)", *priors])
plt.show()

# %% [markdown]
# The yardstick is the last row. The aggregated posterior itself pays 6.36 nats on the training images, which is $I_q$, and 6.50 on test images. Between the 6.70 nats of the normal and these 6.36 there is little to gain with 2 latents, a third of a nat, and the mixture gains most of it: 6.49, *and* 6.46 on test images, where it beats the aggregated posterior. Flow and autoregressive model follow within 0.06 nats. With one set of draws for all, the test NLL moves as the KL does.
#
# The VampPrior *loses* 0.2 nats to the normal, and the picture shows why. Its encoder is frozen, so each component is as narrow as the posterior of one image; codes that say $I_q = 6.4$ nats come in about $e^{6.4} \approx 600$ distinguishable kinds, and fifty specks cannot cover them. A component of a mixture of Gaussians may be as wide as it likes. The VampPrior was meant for another situation, in which the encoder learns with it.
#
# (sec-sg-vamp)=
# ### A VampPrior by hand, trained together
#
# With encoder and decoder frozen a better prior can only recover the marginal KL. Trained *together*, the encoder may also move: it need no longer press the codes into a ball. The VampPrior is {eq}`eq-sg-vamp`, a mixture whose components the encoder computes from $u_1, \dots, u_K$; they are parameters like any other and start as training images.

# %%
latents, pseudo = 20, 100


def log_normal(z, mu, log_sigma):
    """log N(z; mu, diag sigma^2), summed over the last axis."""
    eps = (z - mu) * (-log_sigma).exp()
    return (-0.5 * eps.square() - log_sigma).sum(-1) - 10 * math.log(2 * math.pi)


def log_vamp(z, encoder, u):
    """log p(z) of the mixture of posteriors; z [B, d], u [K, 784], result [B]."""
    mu, log_sigma = encoder(u).chunk(2, dim=1)  # of each pseudo-input, [K, d]
    each = log_normal(z[:, None], mu, log_sigma)  # [B, 1, d] with [K, d] -> [B, K]
    return each.logsumexp(1) - math.log(len(u))


def three_parts(encoder, decoder, u, x):
    """log p(x|z), log q(z|x) and log p(z) at one draw; u = None is N(0, I)."""
    mu, log_sigma = encoder(x).chunk(2, dim=1)  # [B, d] each
    z = mu + log_sigma.exp() * torch.randn_like(mu)
    log_odds = decoder(z)
    log_p_x = (x * log_odds - F.softplus(log_odds)).sum(1)
    zero = torch.zeros(latents)
    log_p_z = log_normal(z, zero, zero) if u is None else log_vamp(z, encoder, u)
    return log_p_x, log_normal(z, mu, log_sigma), log_p_z


def two_layers(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 200), nn.SiLU(), nn.Linear(200, outputs))


def train(with_vamp, steps):
    """Adam on minus the one-draw ELBO; returns encoder, decoder and pseudo-inputs."""
    seed_everything(0)  # the same weights and batches for either prior
    encoder, decoder = two_layers(784, 2 * latents), two_layers(latents, 784)
    u = bits[:pseudo].flatten(1).clone().requires_grad_() if with_vamp else None
    parameters = [*encoder.parameters(), *decoder.parameters()]
    parameters += [u] if with_vamp else []
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = torch.Generator().manual_seed(0)
    for _ in range(steps):
        index = torch.randint(len(images), (100,), generator=order)
        x = images.batch(index).flatten(1)
        log_p_x, log_q, log_p_z = three_parts(encoder, decoder, u, x)
        loss = -(log_p_x - log_q + log_p_z).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return encoder, decoder, u


# %%
nets = {"N(0, I)": train(False, steps=1200 * SCALE)}
nets["VampPrior"] = train(True, steps=1200 * SCALE)

# %% [markdown]
# Twelve hundred steps are little more than two passes over the data (*not converged*), for both. In the library the same networks make a `VAE`, with the encoder given twice: once to encode, once inside the prior, where it is trained and stored only once.

# %% tolerance={"rtol": 0.01, "atol": 0.3}
trained = {}
for name, (encoder, decoder, u) in nets.items():
    q = ConditionalNormal((latents,), nn.Sequential(nn.Flatten(), encoder))
    p = ConditionalBernoulli((1, 28, 28), decoder)
    prior = StandardNormal((latents,)) if u is None else VampPrior(q, u)
    trained[name] = VAE(q, p, prior)
seed_everything(3)
with torch.no_grad():
    x, model = test_bits[:200], trained["VampPrior"]
    log_p_x, log_q, log_p_z = three_parts(*nets["VampPrior"], x.flatten(1))
    seed_everything(3)
    library = model.log_weights(x, k=1)[0]
by_hand = log_p_x - log_q + log_p_z
print(f"by hand {by_hand.mean():.2f}, lvmlib {library.mean():.2f} nats per image")
assert torch.allclose(by_hand, library, atol=0.02)
print("test NLL by 200 draws; the surgery on 5,000 training images (nats)")
for name, model in trained.items():
    seed_everything(0)
    nll = -log_likelihood(model, test_bits[:500], k=200).mean()
    found = mean_of(decompose(model, bits[:many]))
    print(f"{name:>9}: NLL {nll:.1f}", end="; ")
    print(", ".join(f"{key} {value:.1f}" for key, value in found.items()))

# %% mystnb={"figure": {"caption": "Left: binary test images. Middle and right: 48 draws each from the two models that were trained above, $z \\sim p(z)$ and then every pixel.", "name": "fig-sg-vamp"}, "image": {"alt": "Three blocks of eight rows of six binary images: real digits; draws of which many are clouds of speckle; and draws of which most are recognisable digits with ragged edges."}} tags=["hide-input"] tolerance={"figure": 0.35, "draws": ["columns 7-18"], "data": 0.05}
seed_everything(1)
blocks = [test_bits[:48]] + [model.sample(48) for model in trained.values()]
rows = torch.cat([block.view(8, 6, 1, 28, 28) for block in blocks], 1)  # [8, 18, ...]
titles = ["", "", "data", *[""] * 5, "N(0, I)", *[""] * 5, "VampPrior", *[""] * 3]
image_grid(rows.flatten(0, 1), columns=18, column_labels=titles)
plt.show()

# %% [markdown]
# The model with the VampPrior is the better one by 2.8 nats, and the surgery says where they come from. The mutual information is the same, at its ceiling $\log 5000 = 8.5$; the reconstruction is 1.6 nats *worse*; and the marginal KL is 5 nats smaller. A prior that fits is worth having when it is there during training. The draws tell the same: fewer of them are clouds of pixels. (A VampPrior costs: each step encodes 100 pseudo-inputs besides 100 images.)
#
# (sec-sg-published)=
# ### At the published size
#
# {cite:t}`tomczak2018` use two gated layers of 300 units on each side, 40 latents and 500 pseudo-inputs, and warm the KL term up over 100 passes. `python -m lvmlib.experiments.priors vamp --schedule full --device cuda` is their recipe, for MNIST and for binarized Fashion-MNIST; the *short* schedule keeps the networks and stops after 6 passes (*not converged*). Two schedules cannot be compared, so the cell prints first what was published, then those short runs that have been made, one seed each.

# %%
published = {  # data, prior -> test NLL in nats; Tomczak & Welling (2018)
    ("mnist", "normal"): 84.45,
    ("mnist", "vamp"): 82.43,
    ("fashion-mnist", "normal"): 228.70,
    ("fashion-mnist", "vamp"): 227.35,
}
print("published (Tomczak & Welling, 2018): test NLL by 5,000 draws")
for (name, prior), nll in published.items():
    print(f"{name:>14}, {prior:>14}: {nll:.2f} nats")
print("ours, short schedule, 6 passes, not converged; those that have been made")
print(" " * 32 + "NLL    rate       I  marginal KL  active")
for name in ("mnist", "fashion-mnist"):
    for prior in ("normal", "mixture", "vamp", "flow", "autoregressive"):
        run = record(f"priors_{name.replace('-', '_')}_{prior}_short")
        if run is None:
            continue
        cut_up = run["surgery"]
        parts = [cut_up[k] for k in ("rate", "mutual_information", "marginal_kl")]
        print(f"{name:>14}, {prior:>14}: {run['test_nll_nats']:.2f}", end=" ")
        print("{:7.2f} {:7.2f} {:12.2f}".format(*parts), end=" ")
        print(f"{run['active_units']:7}")


# %% [markdown]
# At the published length the VampPrior gains 2.0 nats on MNIST and 1.4 on Fashion-MNIST. After six passes it is 4.0 nats ahead on MNIST, 97.4 against 101.4. The mutual information of both is at its ceiling, $\log 10{,}000 = 9.2$ nats; the VampPrior has the smaller marginal KL and, this time, the better reconstructions too. Runs so short say how fast a model learns as much as how good it is in the end.
#
# ### Exercises of Part 2
#
# :::{exercise} ★ A pseudo-input for every image
# :label: ex-sg-all
# What is a VampPrior with $K = N$ and $u_n = x_n$? Which term of {eq}`eq-sg-goal` is then 0, on which images, and why would one not train it that way?
# :::
#
# :::{solution} ex-sg-all
# :class: dropdown
# It is the aggregated posterior, and the marginal KL is 0 on the training images by {prf:ref}`thm-sg-prior`. Every step would have to encode all $N$ images. And nothing would be left to push posteriors together: the rate is $I_q \le \log N$ however narrow they are, so that the encoder may isolate each training image at no further cost, and a test image finds no company ({numref}`sec-sg-priors`).
# :::
#
# :::{exercise} ★★ A cautious prior
# :label: ex-sg-cautious
# Mix the aggregated posterior of training images with the standard normal, $p_\alpha(z) = (1 - \alpha)\, q(z) + \alpha\, \mathcal{N}(z; 0, I)$. Fill the gap, for the VAE with 50 latents. Before you run it: how many nats can $\alpha = \frac12$ lose against the better of its two parts?
# :::


# %%
def log_mixed_prior(log_codes, log_normal_part, alpha):
    """log p_alpha at codes where both parts are known; [B] and [B]."""
    return ...  # your code


# %%
with torch.no_grad():
    seed_everything(0)
    deep_trace = deep.trace(test_bits[:1000], k=1)
    two_parts = (
        aggregated_posterior(deep, bits[:many]).log_prob(deep_trace.steps[0].z[0]),
        deep_trace.log_base[0],
    )
mine = log_mixed_prior(*two_parts, 0.5)
if mine is not ...:  # a test of your code
    assert (mine > torch.maximum(*two_parts) - math.log(2) - 1e-3).all()

# %% [markdown]
# :::{solution} ex-sg-cautious
# :class: dropdown
# `torch.logaddexp(log_codes + math.log(1 - alpha), log_normal_part + math.log(alpha))`. Each part alone is at most $p_\alpha / \min(\alpha, 1 - \alpha)$, so $\alpha = \frac12$ loses at most $\log 2 = 0.69$ nats on any image, and gains wherever $q(z)$ is the better one. The cell shows how rarely that is.
# :::

# %% tags=["hide-cell"] tolerance={"rtol": 0.03}
for alpha in (0.5, 0.9, 0.99):
    weights = math.log(1 - alpha), math.log(alpha)
    log_p = torch.logaddexp(two_parts[0] + weights[0], two_parts[1] + weights[1])
    rate = (deep_trace.steps[0].log_q[0] - log_p).mean()
    print(f"alpha = {alpha}: test rate {rate:.2f} nats", end="; ")
    print(f"N(0, I) alone {(deep_trace.steps[0].log_q[0] - two_parts[1]).mean():.2f}")
wins = (two_parts[0] > two_parts[1]).float().mean()
print(f"q(z) is the denser at the codes of {wins:.0%} of the test images")

# %% [markdown]
# (sec-sg-collapse)=
# ## Part 3. Lose: when do codes say nothing?
#
# {term}`Posterior collapse` is the state in which $q_\phi(z \mid x)$ is the prior for every $x$: the rate is 0, $I_q$ is 0, and the code is noise. It is the first thing that happens to VAEs with strong decoders {cite:p}`bowman2016`, and it looks like a failure of training. It need not be one.
#
# :::{prf:theorem} The largest bound, and what it leaves open
# :label: thm-sg-optimum
# Let $x$ take finitely many values, $x \sim p_{\mathrm{d}}$ with entropy $H$. For every encoder, decoder and prior the mean ELBO is at most $-H$, with equality if and only if $p_\theta(x) = p_{\mathrm{d}}(x)$ and $q(z \mid x)$ is the posterior. The value $-H$ is reached
#
# 1. by $p_\theta(x \mid z) = p_{\mathrm{d}}(x)$ for all $z$ and $q(z \mid x) = p(z)$, with $I_q = \mathsf{R} = 0$ and $\mathsf{D} = H$: *codes say nothing*;
# 2. by an invertible model: cut the latent space into one cell for each $x$, of prior mass $p_{\mathrm{d}}(x)$, decode each cell to its $x$, and let $q(z \mid x)$ be the prior within the cell, with $I_q = \mathsf{R} = H$ and $\mathsf{D} = 0$: *codes say everything*;
# 3. by *every* encoder whatsoever, with the prior $q(z) = \sum_x p_{\mathrm{d}}(x)\, q(z \mid x)$ and the decoder $q(x \mid z) = p_{\mathrm{d}}(x)\, q(z \mid x) / q(z)$; then $\mathsf{R} = I_q$ and $\mathsf{D} = H - I_q$.
# :::
#
# :::{prf:proof}
# By {prf:ref}`thm-lv-elbo` the ELBO is $\log p_\theta(x) - \operatorname{KL}(q(z \mid x) \,\|\, p_\theta(z \mid x))$. Its mean is $-H - \operatorname{KL}(p_{\mathrm{d}} \,\|\, p_\theta) - \mathbb{E}_{p_{\mathrm{d}}} \operatorname{KL}(q(z \mid x) \,\|\, p_\theta(z \mid x))$, and both divergences are non-negative and vanish only as stated. In the third case prior times decoder is $p_{\mathrm{d}}(x)\, q(z \mid x)$, whose marginal is $p_{\mathrm{d}}$ and whose posterior is $q(z \mid x)$; there $\mathsf{D} = H(X \mid Z) = H - I_q$ ({prf:ref}`thm-mi-forms`). The first two are special cases: a $q$ that ignores $x$, and a $q$ whose posteriors do not overlap.
# :::
#
# So the ELBO is *indifferent* to how much the codes say, anywhere between 0 and $H$. What breaks the tie is which of these optima the networks can represent and training finds. A decoder that can be $p_{\mathrm{d}}$ without $z$ is free to go to the first. A decoder that factorises over pixels cannot, unless the pixels are independent, so it must use codes. (For continuous $x$ the second optimum is only approached, as the noise of the decoder goes to 0 and the densities without bound.)
#
# The check: tables again, five values of $x$, twelve codes. We start gradient ascent on *all* of encoder, decoder and prior at thirty encoders, from empty to invertible. Every run must end at $-H$.

# %% tags=["check:thm-sg-optimum"]
random = torch.Generator().manual_seed(0)
p_d = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05]).double()
H = -(p_d * p_d.log()).sum()
sharpness = torch.linspace(0, 8, 30).double()  # of the encoder at the start
noise = torch.rand(30, 5, 12, generator=random, dtype=torch.float64)
owner = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4])  # whose cell each code is
cells = F.one_hot(owner).double()  # [12, 5]
tables = [sharpness[:, None, None] * cells.T + noise, noise.mT, noise[:, 0]]
parameters = [t.clone().requires_grad_() for t in tables]


def table_terms():
    """D, R and I for all thirty models; [30] each."""
    log_q, log_p_x, log_p_z = (t.log_softmax(-1) for t in parameters)
    joint = p_d[:, None] * log_q.exp()  # p_d(x) q(z|x), [30, 5, 12]
    distortion = -(joint * log_p_x.mT).sum((1, 2))
    rate = (joint * (log_q - log_p_z[:, None])).sum((1, 2))
    told = (joint * (log_q - joint.sum(1, keepdim=True).log())).sum((1, 2))
    return distortion, rate, told


# %% tags=["check:thm-sg-optimum"]
start_told = table_terms()[2].detach()
adam = torch.optim.Adam(parameters, lr=0.03)
for _ in range(2000):
    distortion, rate, told = table_terms()
    loss = (distortion + rate).sum()
    adam.zero_grad()
    loss.backward()
    adam.step()
bound, told = -(distortion + rate).detach(), told.detach()
print(f"-H = {-H:.4f}; bounds from {bound.min():.4f} to {bound.max():.4f} nats")
print(f"mutual information, of H = {H:.2f}:", end=" ")
print(f"{start_told.min():.2f} to {start_told.max():.2f} at the start", end=", ")
print(f"{told.min():.2f} to {told.max():.2f} at the end")
assert (bound < -H + 1e-9).all() and (bound > -H - 1e-3).all()
assert told.min() < 0.05 and told.max() > 0.5 * H


# %% [markdown]
# :::{admonition} Watch out: "a perfect decoder ignores its codes"
# :class: pitfall
# One reads that at the optimum of the ELBO $z$ carries nothing. It *may* carry nothing. All thirty models above are optimal to a thousandth of a nat and their codes carry anything from nothing to most of the entropy: each settled near the encoder that it started from. An invertible model, such as a flow, reaches the same bound with codes that say everything. Collapse is what the objective permits, and what a decoder that learns faster than its encoder chooses.
# :::
#
# (sec-sg-chain)=
# ### Two latents for a chain of bits
#
# A case where $H$ is known shows the theorem on a VAE that is trained like any other. A row of 16 bits starts with a fair coin, and each further bit repeats the one before it with probability 0.9: $H = \log 2 + 15\,(-0.9 \log 0.9 - 0.1 \log 0.1) = 5.57$ nats. The encoder is a small MLP with two latents. One decoder factorises over the bits; the other also sees the bit before, which is all that there is to know. The last run starts from a decoder that has learned this already, and two more try remedies that {numref}`sec-sg-cures` explains.


# %%
def draw_chains(n):
    """Rows of 16 bits, each equal to the one before it with probability 0.9."""
    first = torch.randint(2, (n, 1))
    flips = (torch.rand(n, 15) < 0.1).cumsum(1)
    return (torch.cat([first, first + flips], 1) % 2).float()


def chain_terms(nets, x, sees):
    """log p(x|z) at one draw and the KL of both latents; [B] and [B, 2]."""
    encoder, decoder, link = nets
    mu, log_sigma = encoder(x).chunk(2, dim=1)
    z = mu + log_sigma.exp() * torch.randn_like(mu)
    before = F.pad(2 * x[:, :-1] - 1, (1, 0))  # the bit before, as -1 or 1; 0 at first
    log_odds = decoder(z) + sees * link * before
    log_p_x = (x * log_odds - F.softplus(log_odds)).sum(1)
    return log_p_x, 0.5 * (mu**2 + (2 * log_sigma).exp() - 1 - 2 * log_sigma)


def train_chain(sees, cure="", start=0.0, steps=1000 * SCALE):
    """The rate at each step; cure is "", "annealing" or "free bits"."""
    seed_everything(0)
    link = nn.Parameter(torch.full((16,), start))
    nets = MLP(16, (32,), 4, nn.SiLU), MLP(2, (32,), 16, nn.SiLU), link
    parameters = [*nets[0].parameters(), *nets[1].parameters(), link]
    adam, rates = torch.optim.Adam(parameters, lr=5e-3), []
    for step in range(steps):
        log_p_x, kl = chain_terms(nets, draw_chains(100), sees)
        of_units = kl.mean(0)  # [2]
        rates.append(of_units.sum().item())
        beta = min(1.0, 2 * step / steps) if cure == "annealing" else 1.0
        charged = of_units.clamp(min=0.5 if cure == "free bits" else 0.0).sum()
        loss = -log_p_x.mean() + beta * charged
        adam.zero_grad()
        loss.backward()
        adam.step()
    return nets, rates


# %%
chain_runs = {
    "sees nothing": train_chain(0),
    "sees one bit": train_chain(1),
    "decoder first": train_chain(1, start=math.log(9.0)),
    "annealing": train_chain(1, "annealing"),
    "free bits": train_chain(1, "free bits"),
}

# %% tolerance={"atol": 0.2}
seed_everything(1)
chain_x = draw_chains(20_000)
same = (chain_x[:, 1:] == chain_x[:, :-1]).sum(1)
log_true = math.log(0.5) + same * math.log(0.9) + (15 - same) * math.log(0.1)
print(f"mean of -log p_d(x) on 20,000 rows: {-log_true.mean():.2f} nats")
for name, (chain_nets, _) in chain_runs.items():
    with torch.no_grad():
        sees = 0 if name == "sees nothing" else 1
        log_p_x, kl = chain_terms(chain_nets, chain_x, sees)
    gap = (log_true - log_p_x + kl.sum(1)).mean()
    print(f"{name:>13}: distortion {-log_p_x.mean():.1f}", end=" + ")
    print(f"rate {kl.sum(1).mean():.1f}, short of -H by {gap:.1f} nats")
    assert gap > -0.02

# %% [markdown]
# The factorised decoder needs its code and stays 1.4 nats short of $-H$. The four others end within 0.1 nats of it, with rates between 0 and 1 nat. The run that starts with a knowing decoder never opens its code: posterior collapse, and the *best* bound of all. The others open it early, while the decoder is poor, and then give the nats back slowly, because nothing in the objective pulls at them.
#
# (sec-sg-sweep)=
# ### A decoder that sees more and more
#
# Now real images. `lvmlib.experiments.collapse` trains one encoder (196-200-8) on MNIST averaged down to 14x14, with decoders that differ in how far they see. All are `PixelVAE`s: a PixelCNN ({doc}`chapter 4 <04_pixel_models>`) that is told $z$ through four planes of features, $p(x \mid z) = \prod_t p(x_t \mid x_{<t}, z)$. With a first kernel of 1x1 the same network sees no pixel at all, and the decoder factorises. Wider kernels and more layers let it see more, in the end 13 rows up and columns to either side, which is everything before the pixel.
#
# **Predict, then run.** The code has 8 Gaussian latents in all models. As the decoder sees more, what happens to the rate, and to the likelihood?

# %%
collapse = record("collapse")
runs = collapse["runs"]
print(collapse["protocol"])
print("decoder sees  rate     I  marginal KL  distortion  test NLL  active")
for reach in DECODERS:
    for name in (f"reach {reach}", f"reach {reach}, seed 1"):
        if name not in runs:
            continue
        found = runs[name]["train"]
        row = [found[k] for k in ("rate", "mutual_information", "marginal_kl")]
        print(f"{name[6:]:>12} {row[0]:5.2f} {row[1]:5.2f} {row[2]:12.2f}", end=" ")
        print(f"{-found['reconstruction']:11.2f}", end=" ")
        print(f"{runs[name]['test_nll_nats']:9.2f} {runs[name]['active_units']:7}")

# %% mystnb={"figure": {"caption": "One encoder, decoders that see more and more. *Left:* the rate on 5,000 training images, cut in two, against the number of rows and columns that the decoder sees. *Right:* test NLL, the ELBO (minus) and minus the reconstruction term. The codes empty out as the model gets *better*.", "name": "fig-sg-collapse"}, "image": {"alt": "Left, stacked bars that fall from 7.7 nats for the factorised decoder to 2.5. Right, three curves: NLL and minus ELBO fall and approach each other, distortion rises towards them from below."}} tags=["hide-input"]
of_reach = [runs[f"reach {reach}"] for reach in DECODERS if f"reach {reach}" in runs]
seen = [str(reach) for reach in DECODERS if f"reach {reach}" in runs]
fig, axes = plt.subplots(1, 2, figsize=(6.8, 3))
lower = [run["train"]["mutual_information"] for run in of_reach]
upper = [run["train"]["marginal_kl"] for run in of_reach]
axes[0].bar(seen, lower, color=blue, label="mutual information")
axes[0].bar(seen, upper, bottom=lower, color=orange, label="marginal KL")
axes[1].plot(seen, [run["test_nll_nats"] for run in of_reach], "o-", label="NLL")
curve = [-run["test_elbo"] for run in of_reach]
axes[1].plot(seen, curve, "s--", color=orange, label="minus ELBO")
curve = [-run["test_elbo"] - run["test_rate"] for run in of_reach]
axes[1].plot(seen, curve, "^:", color=green, label="distortion")
axes[0].set_ylabel("nats per image")
for ax in axes:
    ax.set_xlabel("rows and columns seen")
    ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# :::{dropdown} What to expect
# The rate falls, from 7.7 nats for the decoder that sees nothing to 2.5 nats for the one that sees everything, and the mutual information with it, from 6.4 to 2.4. The likelihood *improves* meanwhile, from 37.5 to 36.0 nats. A better model with emptier codes: whatever nearby pixels tell about a pixel, the code is no longer paid for.
# :::
#
# The rate does not reach 0 here. These networks are small and were stopped after 1,000 steps; the pixel model is not yet $p_{\mathrm{d}}$, and what it cannot supply itself is worth its price in code. Where the decoder *can* be $p_{\mathrm{d}}$, in the chain of bits, it went down to 0.0. And note what the active units say: all eight, in every row. They count which latents move at all, and eight latents that share 2.4 nats do. For *how much* codes say, ask the mutual information.
#
# (sec-sg-cures)=
# ### Free bits and annealing
#
# Two remedies are in common use. **{term}`KL annealing`** multiplies the KL term by a weight that rises from 0 to 1, so that codes are free while the decoder is still poor {cite:p}`bowman2016`; it may be repeated in cycles {cite:p}`fu2019`, for which the library has `cyclical`. **{term}`Free bits`** give every latent $j$ an allowance of $\lambda$ nats for which nothing is charged {cite:p}`kingma2016`:
#
# $$ \mathcal{L}^{\lambda} = -\mathsf{D} - \sum_j \max\Big(\lambda,\; \frac1B \sum_{b=1}^B \operatorname{KL}(q(z_j \mid x_b) \,\|\, p(z_j))\Big) . $$ (eq-sg-free)
#
# A latent that uses less than its allowance saves nothing by using even less: its KL has no gradient there. As $\max(\lambda, \cdot)$ is at least its second argument, $\mathcal{L}^\lambda$ is still a lower bound on average, if a looser one. The library's `free_bits` is two lines once the KL of each latent is known:

# %%
empty = model_of(*DECODERS[13])  # untrained
_, small_test = small_digits()
small_bits = small_test.fixed(seed=0).x[:64]
with torch.no_grad():
    seed_everything(0)
    trace = empty.trace(small_bits)
    q = trace.steps[0].q
    mu, sigma = q.mean, q.stddev  # [64, 8]
    of_units = 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).mean(0)  # [8]
    mine = trace.steps[0].log_p[0] - of_units.clamp(min=0.5).sum()
    seed_everything(0)
    theirs = free_bits(empty, small_bits, floor=0.5)
print(f"by hand {mine.mean():.2f}, lvmlib {theirs.mean():.2f} nats; floor 8 x 0.5 = 4")
assert torch.allclose(mine, theirs, atol=1e-2)

# %% mystnb={"figure": {"caption": "The rate on 500 test images while training, for the decoder that sees everything: plain, with the KL weight annealed over the first half, and with free bits, $\\lambda = 0.5$ nats for each of 8 latents (dotted: $8\\lambda$). Same networks, batches and steps; the vertical axis is linear up to 1 and logarithmic beyond.", "name": "fig-sg-cures"}, "image": {"alt": "Three curves of the rate against the step. The plain run rises slowly to 2.4 nats. The annealed run shoots up at once, falls back, rises to nine nats and settles a little above five. The run with free bits rises to the dotted line at four nats and stays just above it."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 3.1))
ways = {"": ("plain", black, "-"), ", annealing": ("annealing", blue, "--")}
ways |= {", free bits": ("free bits", red, "-")}
for suffix, (label, colour, style) in ways.items():
    if f"reach 13{suffix}" in runs:
        points = np.array(runs[f"reach 13{suffix}"]["curve"])
        ax.plot(*points.T, style, color=colour, label=label)
ax.axhline(4, color=black, ls=":", lw=1.2)
ax.set_yscale("symlog", linthresh=1)
ax.set(xlabel="step", ylabel="rate (nats per image)", xlim=(0, None), ylim=(0, None))
ax.set_yticks([0, 0.5, 1, 4, 10, 40], ["0", "0.5", "1", "4", "10", "40"])
ax.legend(fontsize=8)
plt.show()

# %%
print("decoder that sees everything: what the remedies leave at the end")
print("            rate     I  active   ELBO    NLL  (test, but for I and active)")
for suffix, (label, *_) in ways.items():
    if f"reach 13{suffix}" in runs:
        run = runs[f"reach 13{suffix}"]
        print(f"{label:>10} {run['test_rate']:5.2f}", end=" ")
        print(f"{run['train']['mutual_information']:5.2f}", end=" ")
        print(f"{run['active_units']:7} {run['test_elbo']:6.2f}", end=" ")
        print(f"{run['test_nll_nats']:6.2f} +- {run['test_nll_error']:.2f}")

# %% [markdown]
# Both remedies do what they promise. Plain training ends at a rate of 2.4 nats. Free bits end at 4.3, just above their allowance of 4, and stay there from early on. Annealing, after a first spike, lets the rate climb to about 9 nats while the weight is small; it falls back as the weight grows, to 5.3, but not to where the plain run is.
#
# What did they gain? Codes that say about twice as much, at a bound that is the same within 0.2 nats and a likelihood that is better by at most 0.4, where the errors over images are 0.4 and there is one seed: no loss, and no gain that this experiment could prove. That is what {prf:ref}`thm-sg-optimum` leads us to expect. Free bits and annealing choose *among* models of nearly equal likelihood one that uses its code. If the code is what you are after, that is worth having. If likelihood is, an empty code was no fault. Neither remedy is safe for ever: in the chain of bits the annealed run kept giving its nats back, step by step, once the weight was 1, and free bits held on to theirs at a price of less than 0.1 nats.
#
# :::{admonition} Watch out: "a simple decoder pushes all entropy into $z$"
# :class: pitfall
# It cannot choose anything else, one hears, so all the randomness of $x$ ends up in the code. Measured, it does not. The factorised decoder above has a rate of 7.7 nats, 6.4 of them mutual information, beside a distortion of 31.7: most of the nats of an image stay in the pixels, as coin flips at the edges of strokes. What the code takes is what pixels have *in common*, since that is all that a factorised decoder cannot supply itself.
# :::
#
# ### Exercises of Part 3
#
# :::{exercise} ★ Which latents does free bits free?
# :label: ex-sg-floor
# With $\lambda = 0.5$ and 8 latents, a colleague reports a rate of exactly 4.0 nats and says: "so the codes carry 4 nats". Give two reasons why this need not be so.
# :::
#
# :::{solution} ex-sg-floor
# :class: dropdown
# First, rate is not information: part of it may be marginal KL, which says nothing about $x$ ({prf:ref}`thm-sg-cut`); measure $I_q$. Second, a latent reaches its allowance as well by moving its posterior away from the prior *for all $x$ alike*, for instance by a mean of 1 for every image, which costs 0.5 nats and tells nothing. The active units tell the two apart, since they look at how the mean varies.
# :::
#
# :::{exercise} ★★ Every encoder is optimal
# :label: ex-sg-every
# Take the third case of {prf:ref}`thm-sg-optimum` and compute, for the tables of its check *before* training, what each of the thirty encoders reaches with its own best decoder and prior. What do the columns $\mathsf{D}$ and $\mathsf{R}$ sum to?
# :::
#
# :::{solution} ex-sg-every
# :class: dropdown
# $\mathsf{R} = I_q$ and $\mathsf{D} = H - I_q$ for each of them, so the sum is $H$ for all thirty: moving nats from distortion to rate costs nothing. The cell prints the two ends.
# :::

# %% tags=["hide-cell"]
log_q = tables[0].log_softmax(-1)
joint = p_d[:, None] * log_q.exp()  # [30, 5, 12]
marginal = joint.sum(1, keepdim=True)
best_rate = (joint * (log_q - marginal.log())).sum((1, 2))
best_distortion = -(joint * (joint / marginal).log()).sum((1, 2))
for i in (0, 29):
    print(f"encoder {i:2}: D {best_distortion[i]:.3f} + R {best_rate[i]:.3f}", end=" ")
    print(f"= {best_distortion[i] + best_rate[i]:.4f}, H = {H:.4f} nats")
assert torch.allclose(best_distortion + best_rate, H.expand(30))

# %% [markdown]
# (sec-sg-judge)=
# ## Part 4. Judge: blur, information, and a VAE with a thousand layers
#
# ### Are blurred samples the prior's fault?
#
# Chapter 8 showed that a factorised decoder must blur ({prf:ref}`thm-vae-mean`). The other suspect is the prior: in {numref}`fig-sg-holes` it sends codes into gaps where the decoder was never trained. The surgery tells them apart, because the aggregated posterior is a sampler too. Draw $z$ from $q(z)$, that is, pick a training image and draw its code: the picture *is the reconstruction* of that image. So
#
# - from reconstructions of test images to samples from $q(z)$, only the images change from new ones to old ones;
# - from samples of $q(z)$ to samples of $p(z)$, only the prior comes in.
#
# As a measure of blur take the variance that a picture leaves in its pixels, $\sum_i \pi_i (1 - \pi_i)$, which is 0 for a picture of pure black and white; MNIST's own grey levels have some too. Blur is one fault and being no digit is another, so a second number tells how sure a classifier of binary digits is (it sees pixels drawn from $\pi$, for real digits as for samples).

# %%
seed_everything(0)
reader = MLP(784, (200,), 10, nn.SiLU)  # a classifier of binary digits
right = lambda reader, batch: F.cross_entropy(reader(batch[0]), batch[1].long())
settings = {"steps": 1000, "batch_size": 100, "progress": False}
fit(reader, (images, images.y), right, lr=cosine(2e-3, 1000), **settings)


@torch.no_grad()
def judged(pi):
    """Variance left in pictures, and how often the classifier is 90% sure."""
    blur = (pi * (1 - pi)).sum((1, 2, 3)).mean().item()
    sure = reader(torch.bernoulli(pi)).softmax(1).max(1).values > 0.9
    return blur, sure.double().mean().item()


# %% tolerance={"rtol": 0.05}
greys = test_images.unit().x[:2000]
verdict = {}
print("                             blur   classifier over 90% sure")
print(f"{'data, grey levels':>25}: {judged(greys)[0]:6.1f} {judged(greys)[1]:8.2f}")
for name, model in {"2 latents": flat, "50 latents": deep, **trained}.items():
    seed_everything(0)
    with torch.no_grad():
        from_codes = aggregated_posterior(model, bits).sample((2000,))
        pictures = {
            "reconstructions": model.reconstruct(test_bits[:2000]),
            "samples of q(z)": model.likelihood(from_codes).mean,
            "samples of p(z)": model.likelihood(model.prior.sample(2000)).mean,
        }
    verdict[name] = {source: judged(pi) for source, pi in pictures.items()}
    for source, (blur, sure) in verdict[name].items():
        print(f"{name:>10}{source:>16}: {blur:6.1f} {sure:8.2f}")
    of = [blur - judged(greys)[0] for blur, _ in verdict[name].values()]
    print(f"{'':>10}share of the excess blur that stays without p(z):", end=" ")
    print(f"{of[1] / of[2]:.0%}")

# %% mystnb={"figure": {"caption": "The VAE with 50 latents: means of $p_\\theta(x \\mid z)$ for codes of test images (reconstructions), for codes from the aggregated posterior and for codes from the prior. All three blocks are soft. The prior adds little to that; what it adds are pictures that are no digits.", "name": "fig-sg-blur"}, "image": {"alt": "Three blocks of six by eight grey digits. In the first two nearly all are clean digits with soft edges; in the third several are mixtures of two digits, with edges a little softer."}} tags=["hide-input"] tolerance={"figure": 0.35, "draws": ["all"], "data": 0.05}
seed_everything(1)
with torch.no_grad():
    of_codes = aggregated_posterior(deep, bits).sample((48,))
    blocks = [
        deep.reconstruct(test_bits[:48]),
        deep.likelihood(of_codes).mean,
        deep.likelihood(deep.prior.sample(48)).mean,
    ]
rows = torch.cat([block.view(8, 6, 1, 28, 28) for block in blocks], 1)
blank = [""] * 5
titles = ["", "", "reconstructions", *[""] * 5, "from $q(z)$", *blank]
titles += ["from $p(z)$", "", "", ""]
image_grid(rows.flatten(0, 1), columns=18, column_labels=titles)
plt.show()


# %% [markdown]
# The numbers decide. Take the VAE with 50 latents. Its reconstructions leave a variance of 20.9 in the pixels, samples of the aggregated posterior 21.0, samples of the prior 23.2, and the data themselves 14.4. Of what samples of the prior have in excess of the data, **three quarters stay when the prior is taken out of the game**; in the four models it is 96, 75, 71 and 95%. Blur is mostly the decoder's. What the prior *is* guilty of is in the other column: the classifier is sure of 81% of the samples of $q(z)$, more than of real digits, and of 43% of those of $p(z)$. A better prior mends just that: with the VampPrior of {numref}`sec-sg-vamp` it is sure of 67% where the twin with $\mathcal{N}(0, I)$ has 25%, while reconstructions are as soft as before, 30.4 against 30.2.
#
# :::{admonition} Watch out: "VAE samples are blurry because the prior does not match"
# :class: pitfall
# The prior does not match, and samples are blurred, but the second does not follow from the first. Replacing the prior by the aggregated posterior, the best there is, removes a quarter of the excess blur of the VAE with 50 latents and 4% of that of the VAE with 2; the rest is in every reconstruction. A mismatched prior makes *wrong* pictures, a factorised decoder makes *soft* ones.
# :::
#
# What *does* sharpen samples is a decoder in which pixels depend on each other. For that the pictures must be compared as binary draws, since a pixel model has no mean: count how many neighbouring pixels differ, which is the length of all edges. Speckle makes it long. The next cell compares the factorised decoder of Part 3 with the one that sees everything, trained with free bits, on 14x14 digits.


# %%
@torch.no_grad()
def edges(x):
    """How many pairs of neighbouring pixels differ, per picture."""
    across = (x[..., 1:] != x[..., :-1]).sum((1, 2, 3))
    down = (x[..., 1:, :] != x[..., :-1, :]).sum((1, 2, 3))
    return (across + down).double().mean().item()


real = small_test.fixed(seed=0).x[:500]
drawn = {"data": real}
for name in ("reach 0", "reach 13, free bits"):
    small = model_of(*DECODERS[int(name.split()[1].strip(","))])
    load_checkpoint(small, KEPT[name])
    seed_everything(0)
    drawn[f"{name}, reconstructions"] = small.reconstruct(real)
    drawn[f"{name}, samples"] = small.sample(500)
for name, x in drawn.items():
    print(f"{name:>36}: {edges(x):5.1f} edges, {x.sum((1, 2, 3)).mean():.1f} ink")

# %% mystnb={"figure": {"caption": "Binary 14x14 digits. *Rows 1 and 2:* test images. *3 and 4:* their reconstructions, *5 and 6:* samples, by the factorised decoder. *7 and 8, 9 and 10:* the same by the decoder that sees everything, trained with free bits, whose code carries few nats: strokes are firmer, and reconstructions often show another digit.", "name": "fig-sg-sharp"}, "image": {"alt": "Ten rows of sixteen small binary images. Test digits with firm strokes; speckled reconstructions and samples of the factorised decoder; firmer strokes again for the pixel model, whose reconstructions often show another digit."}} tags=["hide-input"] tolerance={"figure": 0.35, "draws": ["rows 3-10"], "data": 0.05}
rows = torch.cat([x[:32] for x in drawn.values()])
kinds = ["data", "rec.", "draws", "rec.", "draws"]
labels = [kind if i == 0 else "" for kind in kinds for i in range(2)]
image_grid(rows, columns=16, row_labels=labels)
plt.show()

# %% [markdown]
# Speckle lengthens the edges of what the factorised decoder draws by four pairs of pixels, in reconstructions and in samples alike. The decoder that sees its neighbours, after the same short training, removes more than half of that excess. It needs no better prior for it: only a decoder that can draw *one* of the pictures that share a code in place of their mean. What its code still says is little, about four nats, so its reconstructions agree with the originals in some respects and are free in the others. Chapter 12 takes this up.
#
# (sec-sg-plane)=
# ### Rate, distortion, information
#
# {prf:ref}`thm-vae-rd` placed every VAE in a plane, with $H - \mathsf{D} \le I_q \le \mathsf{R}$. The surgery adds the coordinate in the middle. {numref}`fig-sg-plane` draws two points for each $\beta$ of {numref}`sec-sg-beta`: one at the rate, one at the mutual information, at the same distortion. The segment between them is the marginal KL.

# %% mystnb={"figure": {"caption": "The plane of rate and distortion for six $\\beta$, on the 20,000 training images. Filled: the rate. Hollow: the mutual information of the same model; the segment between is the marginal KL, which a better prior could save. Dashed: $\\log N$. Dotted: where the sum is the test NLL of the model with $\\beta = 1$.", "name": "fig-sg-plane"}, "image": {"alt": "A falling curve of filled dots. From each a horizontal segment leads left to a hollow dot. For small beta the hollow dots all stand on a vertical dashed line at 9.9 nats; for large beta they leave it to the left and the segments get short."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(5.6, 3.4))
of_beta = lambda name: [found[f"train_{name}"] for found in by_beta.values()]
kl, told, cost = map(of_beta, ("rate", "mutual_information", "reconstruction"))
cost = [-c for c in cost]
ax.plot(kl, cost, "o-", color=blue, label="rate")
ax.hlines(cost, told, kl, color=orange, label="marginal KL")
ax.plot(told, cost, "o", mfc="white", color=blue, label="mutual information")
for beta, a, b in zip(by_beta, kl, cost):
    ax.annotate(f"{beta:g}", (a, b), (5, 3), textcoords="offset points", fontsize=9)
ax.axvline(ceiling, color=black, ls="--", lw=1.2, label="$\\log N$")
nll = by_beta[1.0]["test_nll"]
ax.plot([0, 50], [nll, nll - 50], ":", color=black, label="NLL, $\\beta = 1$")
ax.set(xlabel="nats of code", ylabel="distortion (nats)", xlim=(0, None))
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# (sec-sg-two-joints)=
# ### Two mutual informations
#
# Chapter 1 has another way to a mutual information, a lower bound by any classifier of codes ({prf:ref}`thm-mi-bound`). With the encoder as classifier it reads $\mathbb{E}_{p(z)\, p_\theta(x \mid z)}[\log q(z \mid x) - \log p(z)]$, which is `mutual_information_bound`. It looks like the rate, and it lives in another world: there $z$ comes from the *prior* and $x$ from the *decoder*. First where both worlds are the same: $z \sim \mathcal{N}(0, 1)$, $x = z + $ noise of variance 1, data drawn from the model and the exact posterior as $q$. Then the data are spread out, while model and encoder stay.

# %%
layer = LinearGaussian(torch.ones(1, 1).double(), torch.zeros(1).double(), 1.0)
bench = Flow([layer], StandardNormal((1,)).double())
print("nats; I by surgery and its exact value, I by the bound and its exact value")
for name, variance in (("data from the model", 2.0), ("data 2 times as wide", 8.0)):
    seed_everything(0)
    x = variance**0.5 * torch.randn(4000 * SCALE, 1).double()
    by_surgery = decompose(bench, x, k=4).mutual_information.mean()
    by_bound = mutual_information_bound(bench, 100_000).mean()
    # q(z|x) = N(x/2, 1/2), so q(z) has variance variance/4 + 1/2
    exact = 0.5 * math.log((variance / 4 + 0.5) / 0.5)
    print(f"{name}: {by_surgery:.2f} ({exact:.3f})", end=", ")
    print(f"{by_bound:.2f} ({0.5 * math.log(2):.3f})")
    assert abs(by_surgery - exact) < 0.03 and abs(by_bound - 0.5 * math.log(2)) < 0.02

# %%
print("the six VAEs: I under the encoder (at most 9.90), bound under the model, rate")
for beta, found in by_beta.items():
    print(f"beta {beta:4g}: {found['train_mutual_information']:5.2f}", end="  ")
    print(f"{found['model_information']:7.2f}", end=" +- ")
    print(f"{found['model_information_error']:.2f}  {found['train_rate']:5.2f}")

# %% [markdown]
# :::{admonition} Watch out: whose mutual information?
# :class: pitfall
# $I_q$ is that of data and encoder, $p_{\mathrm{d}}(x)\, q(z \mid x)$; the bound belongs to $p(z)\, p_\theta(x \mid z)$. They are the same number only where the two joint distributions agree, which means a perfect model with exact posteriors. On the bench they agree for data from the model, 0.35 nats, and when the data are twice as wide one becomes 0.80 and the other does not notice. The six VAEs show how far apart the two can be. At $\beta = 0.1$ the bound is $-929$ nats, still correct as a lower bound on something that is not negative, and useless: the pictures that this model draws from its prior are unlike any that its encoder was trained on, and the encoder is sure of the wrong codes. At $\beta = 10$ it is 4.3, above even the rate of 3.2.
# :::
#
# (sec-sg-diffusion)=
# ### Epilogue: diffusion is a deep VAE
#
# This part of the book began with one latent variable and ends with a thousand. Take a hierarchy $x_0 \to x_1 \to \dots \to x_T$ of latents, all as large as the data $x_0$, and *fix the encoder*: each step fades its input a little and adds noise,
#
# $$ q(x_t \mid x_{t-1}) = \mathcal{N}(\alpha_t x_{t-1},\, (1 - \alpha_t^2) I) , \qquad q(x_t \mid x_0) = \mathcal{N}(a_t x_0,\, s_t^2 I) , $$ (eq-sg-forward)
#
# with $a_t = \alpha_1 \cdots \alpha_t$ and $s_t^2 = 1 - a_t^2$. Only the decoder is learned, a chain back from $p(x_T) = \mathcal{N}(0, I)$ through Gaussians $p_\theta(x_{t-1} \mid x_t)$. This is a **{term}`diffusion model`** {cite:p}`sohldickstein2015,ho2020`, and its bound is the ELBO of {prf:ref}`thm-lv-elbo` with $z = (x_1, \dots, x_T)$.
#
# :::{prf:proposition} The ELBO of a diffusion model
# :label: thm-sg-diffusion
# With $q(x_1, \dots, x_T \mid x_0) = \prod_t q(x_t \mid x_{t-1})$ and $p(x_0, \dots, x_T) = p(x_T) \prod_t p_\theta(x_{t-1} \mid x_t)$, where all terms are finite,
#
# $$
# \begin{aligned}
# \mathcal{L}(x_0) = {} & \mathbb{E}_q[\log p_\theta(x_0 \mid x_1)] - \operatorname{KL}(q(x_T \mid x_0) \,\|\, p(x_T)) \\
# & - \sum_{t=2}^T \mathbb{E}_q\big[\operatorname{KL}(q(x_{t-1} \mid x_t, x_0) \,\|\, p_\theta(x_{t-1} \mid x_t))\big] .
# \end{aligned}
# $$ (eq-sg-diffusion)
# :::
#
# :::{prf:proof}
# Given $x_0$ the encoder is a Markov chain, so for $t \ge 2$ Bayes' rule gives $q(x_t \mid x_{t-1}) = q(x_t \mid x_{t-1}, x_0) = q(x_{t-1} \mid x_t, x_0)\, q(x_t \mid x_0) / q(x_{t-1} \mid x_0)$. In the product over $t = 2, \dots, T$ the last fractions telescope to $q(x_T \mid x_0) / q(x_1 \mid x_0)$, and $q(x_1 \mid x_0)$ is the factor of $t = 1$. Hence $q(x_1, \dots, x_T \mid x_0) = q(x_T \mid x_0) \prod_{t \ge 2} q(x_{t-1} \mid x_t, x_0)$. Insert this into $\mathbb{E}_q[\log p(x_0, \dots, x_T) - \log q(x_1, \dots, x_T \mid x_0)]$ and collect the factors with the same arguments.
# :::
#
# The terms are those of a VAE: a reconstruction, a KL at the top, and one KL for each layer between, where $q(x_{t-1} \mid x_t, x_0)$ is a Gaussian in closed form. Training picks one $t$ at a time. For a check we need no network. Let $x_0$ be one number from two narrow humps; then $p(x_0 \mid x_t)$ is a mixture of two Gaussians with known mean and variance, and so is the best Gaussian $p_\theta(x_{t-1} \mid x_t)$. The library holds the same thing as a `Flow` of stochastic layers: with $T = 3$, draws of its log-weight must average to the three terms.

# %%
hump, width_0 = 1.0, 0.25  # x_0 is N(-1, 0.25^2) or N(1, 0.25^2)
x_grid = torch.linspace(-6, 6, 4001, dtype=torch.float64)
dx = x_grid[1] - x_grid[0]


def fading(T):
    """a_0, ..., a_T: from 1 down to nearly 0."""
    return torch.cos(0.49 * math.pi * torch.arange(T + 1, dtype=torch.float64) / T)


def of_x0(x_t, a):
    """log q(x_t), and mean and variance of x_0 given x_t, where x_t = a x_0 + s e."""
    variance = (a * width_0) ** 2 + 1 - a**2  # of x_t within a hump
    far = Normal(a * torch.tensor([-hump, hump]).double(), variance**0.5)
    each = far.log_prob(x_t[:, None])  # [B, 2]
    share = each.softmax(1)
    gain = a * width_0**2 / variance
    means = torch.tensor([-hump, hump]) + gain * (x_t[:, None] - far.mean)
    mean = (share * means).sum(1)
    within = width_0**2 * (1 - a**2) / variance
    spread = (share * means.square()).sum(1) - mean.square()
    return each.logsumexp(1) - math.log(2), mean, within + spread


def bridge(a, b):
    """q(x_s | x_t, x_0) = N(u x_t + c x_0, v), s before t, of a_s = a and a_t = b."""
    alpha = b / a
    noise = 1 - alpha**2
    u, c = alpha * (1 - a**2) / (1 - b**2), a * noise / (1 - b**2)
    return u, c, noise * (1 - a**2) / (1 - b**2)


# %%
def diffusion_terms(T):
    """Reconstruction, top KL and the sum of the other KLs with the best decoder."""
    a = fading(T)
    middle = 0.0
    for t in range(T, 0, -1):
        log_q, _, left = of_x0(x_grid, a[t])  # left: Var(x_0 | x_t)
        mass = log_q.exp() * dx
        if t == 1:  # log N(x_0; mean, left), averaged
            inner = -0.5 * (mass * (2 * math.pi * math.e * left).log()).sum()
        else:  # of the best variance v + c^2 Var(x_0 | x_t)
            _, c, v = bridge(a[t - 1], a[t])
            middle += 0.5 * (mass * torch.log1p(c**2 * left / v)).sum()
    second = width_0**2 + hump**2  # E x_0^2
    top = 0.5 * (a[T] ** 2 * second + 1 - a[T] ** 2 - 1 - torch.log(1 - a[T] ** 2))
    return inner.item(), top.item(), float(middle)


log_data, _, _ = of_x0(x_grid, torch.tensor(1.0).double())
data_entropy = -(log_data.exp() * log_data * dx).sum().item()
gaps = {}
print(f"E log p_d(x) = {-data_entropy:.4f}, the largest possible bound (nats)")
for T in (1, 2, 3, 5, 10, 30, 100, 300, 1000):
    inner, top, middle = diffusion_terms(T)
    gaps[T] = -data_entropy - (inner - top - middle)
    if T in (1, 3, 10, 100, 1000):
        print(f"T = {T:4}: reconstruction {inner:7.3f} - top {top:.4f}", end=" ")
        print(f"- rest {middle:6.3f} = {inner - top - middle:.4f}")
assert all(gap > 0 for gap in gaps.values()) and gaps[1000] < 0.01

# %% tags=["check:thm-sg-diffusion"]
T, fade, many_x = 3, fading(3), 200_000
seed_everything(0)
side_of = torch.randint(2, (many_x,)).double() * 2 - 1
chain = [hump * side_of + width_0 * torch.randn(many_x).double()]
log_w = torch.zeros(many_x).double()
for t in range(1, T + 1):  # up: draw x_t and divide by q(x_t | x_{t-1})
    alpha = fade[t] / fade[t - 1]
    q = Normal(alpha * chain[-1], (1 - alpha**2).sqrt())
    chain.append(q.sample())
    log_w -= q.log_prob(chain[-1])
log_w += Normal(0.0, 1.0).log_prob(chain[-1])
for t in range(T, 0, -1):  # down: the decoder's Gaussians, from the same moments
    _, mean, left = of_x0(chain[t], fade[t])
    u, c, v = bridge(fade[t - 1], fade[t]) if t > 1 else (0.0, 1.0, 0.0)
    p = Normal(u * chain[t] + c * mean, (v + c**2 * left).sqrt())
    log_w += p.log_prob(chain[t - 1])
error = (log_w.std() / many_x**0.5).item()
inner, top, middle = diffusion_terms(3)
print(f"bound by draws {log_w.mean():.3f} +- {error:.3f}", end=", ")
print(f"by the three terms {inner - top - middle:.3f} nats")
assert abs(log_w.mean() - (inner - top - middle)) < 4 * error and middle > 0.1

# %% mystnb={"figure": {"caption": "A diffusion model of one number with two humps. *Left:* what the best decoder of Gaussian steps loses against $\\log p_{\\mathrm{d}}$, against the number of layers. *Right:* for $T = 100$, the nats that layer $t$ still says about $x_0$: the mutual information $I(x_0; x_t)$.", "name": "fig-sg-diffusion"}, "image": {"alt": "Left, a falling line on logarithmic axes from 0.7 nats at one layer to a hundred-thousandth at a thousand. Right, a curve that falls from 3.5 nats to zero as t goes from 1 to 100, steeply at first."}} tags=["hide-input"]
layer_told = []
for a in fading(100)[1:]:
    log_q, _, _ = of_x0(x_grid, a)
    whole_entropy = -(log_q.exp() * log_q * dx).sum()
    noise_entropy = 0.5 * torch.log(2 * math.pi * math.e * (1 - a**2))
    layer_told.append((whole_entropy - noise_entropy).item())
print(f"layer 1 says {layer_told[0]:.1f} nats, layer 50 {layer_told[49]:.2f}", end=", ")
print(f"layer 100 says {layer_told[99]:.3f}")
fig, axes = plt.subplots(1, 2, figsize=(6.8, 2.8))
axes[0].loglog(list(gaps), list(gaps.values()), "o-", color=blue)
axes[0].set(xlabel="layers $T$", ylabel="gap (nats)")
axes[1].plot(range(1, 101), layer_told, color=blue)
axes[1].set(xlabel="layer $t$", ylabel="$I(x_0; x_t)$ (nats)", xlim=(1, 100))
axes[1].set(ylim=(0, None))
plt.show()

# %% [markdown]
# Read {numref}`fig-sg-diffusion` with the vocabulary of this chapter. *The prior fits by construction.* The encoder is fixed such that $q(x_T)$ is nearly $\mathcal{N}(0, I)$: the top KL is 0.0005 nats, nothing is left of a marginal KL, and the holes of {numref}`fig-sg-holes` are gone. *The top is collapsed by design,* $I(x_0; x_T)$ is 0.001 nats, and that is no fault: the layers below say step by step what the ones above leave open, down to the first, which says almost everything. *Gaussian steps are enough if they are small.* With one layer the best Gaussian decoder ends 0.72 nats short of the truth, because $p(x_0 \mid x_1)$ has two humps; with 10 layers 0.05, with 1,000 less than 0.001. What a VAE gains by a better encoder, a diffusion model gains by depth. It pays for that in sampling: a thousand steps in place of one.
#
# ### Exercises of Part 4
#
# :::{exercise} ★★ A prior that fits, a decoder that does not
# :label: ex-sg-suspects
# For each of these three models say which term of {eq}`eq-sg-goal` is large and what its samples look like: (a) an autoencoder with tiny $\sigma_\phi$ and the prior $\mathcal{N}(0, I)$; (b) a VAE with $\beta = 30$ and a factorised decoder; (c) a VAE with the decoder that sees everything.
# :::
#
# :::{solution} ex-sg-suspects
# :class: dropdown
# (a) The marginal KL: codes are specks, the prior hits none of them, and samples are no digits, though sharp where a speck is hit. (b) The reconstruction: rate and marginal KL are small, so the prior fits, and samples are blurred averages, since many images share a code. (c) None but the reconstruction, which is the model's whole NLL; samples are as good as those of the pixel model, and the code says nothing about them.
# :::
#
# :::{exercise} ★★★ The best reverse step
# :label: ex-sg-reverse
# Show that among Gaussians $p_\theta(x_{t-1} \mid x_t)$ the one with the mean and variance of $q(x_{t-1} \mid x_t)$ is best, and that its term of {eq}`eq-sg-diffusion` is $\frac12 \mathbb{E} \log(1 + c_t^2 \operatorname{Var}(x_0 \mid x_t) / v_t)$ in one dimension, where $q(x_{t-1} \mid x_t, x_0) = \mathcal{N}(u_t x_t + c_t x_0, v_t)$. Why does the sum shrink as $T$ grows?
# :::
#
# :::{solution} ex-sg-reverse
# :class: dropdown
# For fixed $x_t$ average the KL of Gaussians ({prf:ref}`thm-vae-kl`) over $x_0$ given $x_t$. With $p_\theta = \mathcal{N}(m, w)$ it is $\frac12 \big( (v_t + \mathbb{E}(u_t x_t + c_t x_0 - m)^2) / w - 1 + \log (w / v_t) \big)$. The best $m$ is $u_t x_t + c_t \mathbb{E}[x_0 \mid x_t]$, which leaves $v_t + c_t^2 \operatorname{Var}(x_0 \mid x_t)$ in the numerator; the best $w$ is that numerator, and the term becomes $\frac12 \log (w / v_t)$. With $T$ steps $c_t$ is of order $1/T$ and $v_t$ too, so that $c_t^2 / v_t$ is of order $1 / T$: each term is about $\frac12 c_t^2 \operatorname{Var} / v_t$ and their *sum* does not vanish. It tends to what the chain must say about $x_0$ beyond the first layers, and is paid back by a better reconstruction; the *gap* is what shrinks.
# :::
#
# (sec-sg-summary)=
# ## Summary
#
# :::{list-table} What was shown, and where it lives in `lvmlib`.
# :header-rows: 1
# :name: tab-sg-summary
#
# * - Result
#   - In one line
#   - In `lvmlib`
# * - {prf:ref}`thm-sg-cut`
#   - mean KL = mutual information + marginal KL
#   - `decompose`
# * - {prf:ref}`thm-sg-log-n`
#   - the codes of $N$ images say at most $\log N$ nats about them
#   - `decompose`
# * - {prf:ref}`thm-sg-parts`
#   - a batch as a data set of its own says too little, the stratified estimate too much
#   - `decompose(..., data_size=N)`
# * - {prf:ref}`thm-sg-prior`
#   - the best prior for a fixed encoder is the aggregated posterior, on the training set
#   - `aggregated_posterior`, `VampPrior`
# * - {prf:ref}`thm-sg-optimum`
#   - the largest bound is $-H$, with codes that say anything from nothing to everything
#   - `PixelVAE`
# * - {numref}`sec-sg-cures`
#   - free bits keep a rate; annealing frees it for a while
#   - `free_bits`, `Scheduled`, `warmup`, `cyclical`
# * - {numref}`sec-sg-two-joints`
#   - two mutual informations, under the encoder and under the model
#   - `mutual_information_bound`
# * - {prf:ref}`thm-sg-diffusion`
#   - a diffusion model is a deep VAE with a fixed encoder
#   -
# :::
#
# **In one paragraph.** The ELBO is a reconstruction, minus what the codes say, minus what the prior misses. For a fixed encoder the best prior is the aggregated posterior, which removes the last term on the training images and may be a disaster on others, so one fits a smooth density to it. The code is empty when the decoder can do without it, which the bound permits and does not ask for; free bits and annealing choose among nearly equal bounds one whose code is used. And samples are blurred mostly because the decoder factorises over pixels; what the prior spoils is which pictures come out.
#
# ## Further reading
#
# - {cite:t}`hoffman2016` cut the ELBO; {cite:t}`makhzani2016` named the aggregated posterior and fitted it adversarially; {cite:t}`chen2018tcvae` cut the marginal KL further, into a total correlation and one KL for each latent.
# - {cite:t}`tomczak2018` on the VampPrior; {cite:t}`rosca2018` on how badly the marginals of VAEs fit.
# - {cite:t}`bowman2016` met posterior collapse and annealed it; {cite:t}`chen2017` explain by bits-back coding when codes are used; {cite:t}`gulrajani2017` put a PixelCNN into a VAE; {cite:t}`he2019` blame an encoder that lags behind; {cite:t}`lucas2019` study collapse where everything is linear.
# - {cite:t}`alemi2018` on the plane of rate and distortion.
# - {cite:t}`ho2020` and {cite:t}`kingma2021` on diffusion, the latter in the language of this chapter.
