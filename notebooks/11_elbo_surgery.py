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
# *The KL term of a VAE looks like a penalty for straying from the prior. Averaged over the data it is the sum of two quantities that have little to do with each other: what the codes say about the images, and how badly the prior describes the codes. Cut them apart, and questions that sounded vague have answers in nats.*
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
from torch.distributions import (
    Categorical,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

# %% tags=["hide-input"]
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
from lvmlib.experiments.frozen_vamp import PseudoInputs
from lvmlib.experiments.records import record
from lvmlib.experiments.vae_mnist import vae_mnist
from lvmlib.flows import MaskedAutoregressive, MixtureLogistic, realnvp
from lvmlib.latent import VAE, LinearGaussian, VampPrior
from lvmlib.latent.vae import StochasticPair
from lvmlib.networks import MLP
from lvmlib.objectives import free_bits
from lvmlib.plotting import COLOURS, image_grid, use_style
from lvmlib.surgery import active_units, aggregated_posterior, decompose
from lvmlib.training import cosine, fit

# %% tags=["hide-input"]
SCALE = 1  # multiplies training runs and draws; stored outputs are those of 1
use_style()
black, blue, orange = (COLOURS[name] for name in ("black", "blue", "orange"))
green, red, sky = (COLOURS[name] for name in ("green", "vermilion", "sky"))
mean_of = lambda terms: {k: v.mean().item() for k, v in terms._asdict().items()}
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

# %% mystnb={"figure": {"caption": "Density of the prior (*left*) and of the aggregated posterior of 5,000 training images (*right*), on a common colour scale, clipped at 0.4, and a grid of step 0.08. The circles in both panels hold 50% and 95% of the *prior*. The codes crowd in specks and streaks and leave gaps between them. What is drawn from the prior in a gap is decoded although none of these 5,000 images has its code there.", "name": "fig-sg-holes"}, "image": {"alt": "Two square heat maps over the plane. The left one is a smooth round blob. The right one fills about the same disc unevenly, with dark specks and streaks and pale gaps between them."}} tags=["hide-input", "photo"]
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
fig.colorbar(shade, ax=axes, shrink=0.8, extend="max", label="density")
plt.show()

# %% [markdown]
# :::{prf:definition} The terms of the surgery
# :label: def-sg-terms
# For images $x_1, \dots, x_N$, an encoder $q(z \mid x)$, a decoder $p_\theta(x \mid z)$ and a prior $p(z)$, all in nats,
#
# $$
# \begin{aligned}
# &\text{distortion} && \mathsf{D} = -\frac1N \sum_n \mathbb{E}_{q(z \mid x_n)}[\log p_\theta(x_n \mid z)] , \\
# &\text{rate} && \mathsf{R} = \frac1N \sum_n \operatorname{KL}(q(z \mid x_n) \,\|\, p(z)) , \\
# &\text{mutual information} && I_N = \frac1N \sum_n \operatorname{KL}(q(z \mid x_n) \,\|\, q(z)) , \\
# &\text{marginal KL} && \operatorname{KL}(q(z) \,\|\, p(z)) .
# \end{aligned}
# $$ (eq-sg-terms)
#
# For a distribution $p_{\mathrm{d}}$ of images, expectations under $p_{\mathrm{d}}$ replace the means over $n$, in $q(z)$ too. The mutual information is then that of $p_{\mathrm{d}}(x)\, q(z \mid x)$, written $I_q$ as in {prf:ref}`thm-vae-rd`.
# :::
#
# $I_N$ is the mutual information ({prf:ref}`def-mutual-information`) of $n$ and $z$ when one of the $N$ images is picked at random and encoded. It is $I_q$ for the *empirical* distribution, the one that knows these $N$ images and no others; for the distribution that the images were drawn from, $I_q$ is another number. The library calls $-\mathsf{D}$ the reconstruction. The goal of this chapter is the equation
#
# $$
# \frac1N \sum_n \mathcal{L}(x_n) \;=\; -\mathsf{D} \;-\; \underbrace{I_N}_{\text{what codes say}} \;-\; \underbrace{\operatorname{KL}(q(z) \,\|\, p(z))}_{\text{what the prior misses}}
# $$ (eq-sg-goal)
#
# and what follows from it: which prior is best, when codes say nothing, and where blur comes from.
#
# **What you will be able to do**
#
# - cut the ELBO of any VAE into these terms, exactly on a data set, and say what a sample can and cannot tell;
# - name the best prior for a fixed encoder, fit four others and measure what each misses, on training *and* on test images;
# - say when the best code is an empty one, relate rate and decoder, and compare remedies;
# - tell with a number how much of the blur of samples is already in reconstructions.
#
# **Needs.** KL divergence and mutual information ({doc}`chapter 1 <01_information_theory>`); the VAE, rate and distortion ({doc}`chapter 8 <08_vae>`); active units ({prf:ref}`def-iw-active`); for the priors of Part 2 the idea of an autoregressive model ({doc}`chapter 3 <03_autoregressive_models>`) and of a flow ({doc}`chapter 5 <05_flows>`), for Part 3 that of a pixel model ({doc}`chapter 4 <04_pixel_models>`).
#
# **Time.** Three hours on the main path, five with exercises and the sections marked *Optional*. The code runs in a minute or two on one core ({doc}`measured times <../book/runtimes>`); a GPU would not help. Longer runs come as records and checkpoints of scripts that the text names.
#
# (sec-sg-cut)=
# ## Part 1. Cut: what is in the KL term?
#
# :::{prf:theorem} The mean KL is a mutual information and a marginal KL
# :label: thm-sg-cut
# Let $q(z \mid x_1), \dots, q(z \mid x_N)$ and $p(z)$ be densities (or probabilities, for discrete $z$), and let every $\operatorname{KL}(q(z \mid x_n) \,\|\, p(z))$ be finite. Then
#
# $$ \mathsf{R} = \frac1N \sum_{n=1}^N \operatorname{KL}(q(z \mid x_n) \,\|\, p(z)) = I_N + \operatorname{KL}(q(z) \,\|\, p(z)) , $$ (eq-sg-cut)
#
# and both terms on the right are finite and not negative.
# :::
#
# :::{prf:proof}
# Each $q(z \mid x_n)$ is one of the $N$ terms of $N q(z)$, so $q(z \mid x_n) \le N q(z)$ and $\log \frac{q(z \mid x_n)}{q(z)} \le \log N$. Hence $\operatorname{KL}(q(z \mid x_n) \,\|\, q(z))$ is finite. Under $q(z \mid x_n)$ take the expectation of
#
# $$ \log \frac{q(z \mid x_n)}{p(z)} = \log \frac{q(z \mid x_n)}{q(z)} + \log \frac{q(z)}{p(z)} . $$
#
# The left side and the first term on the right have finite means (their negative parts always do, and their KLs are finite), so the last one has too. Averaged over $n$, the first term on the right gives $I_N$, and the last gives $\frac1N \sum_n \mathbb{E}_{q(z \mid x_n)}\bigl[\log \frac{q(z)}{p(z)}\bigr] = \mathbb{E}_{q(z)}\bigl[\log \frac{q(z)}{p(z)}\bigr]$. Both are (means of) KL divergences, so they are not negative.
# :::
#
# With the distortion in front, this is {eq}`eq-sg-goal` {cite:p}`hoffman2016`. Each term has a role.
#
# - *The distortion* asks for codes from which the image can be identified.
# - *The mutual information* is subtracted: the ELBO charges one nat for each nat that codes say about the images, whatever the prior is. No prior can lower it.
# - *The marginal KL* draws the cloud of all codes towards the prior. It does not care which code belongs to which image. On these $N$ images a better prior could save it; how much of it a prior can save on new images is the question of Part 2.
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
# Naming one of $N$ images takes at most $\log N$ nats.
#
# :::{prf:theorem} At most $\log N$
# :label: thm-sg-log-n
# $0 \le I_N \le \log N$. It is $0$ if and only if all $q(z \mid x_n)$ are equal (almost everywhere), and $\log N$ if and only if no two of them overlap, that is, if almost every $z$ has $q(z \mid x_n) > 0$ for at most one $n$.
# :::
#
# :::{prf:proof}
# $\log \frac{q(z \mid x_n)}{q(z)} \le \log N$ was the first step of the previous proof, with equality where all other posteriors vanish. Averaged, equality needs that for almost every $z$ under each $q(z \mid x_n)$. The lower end is Gibbs' inequality ({prf:ref}`thm-gibbs`): every $\operatorname{KL}(q(z \mid x_n) \,\|\, q(z))$ is 0 exactly if $q(z \mid x_n) = q(z)$.
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
    print(f"  means {apart:.1f} apart: {max(said, 0.0):.4f}")  # 0 up to rounding
    assert -1e-6 < said < math.log(8) + 1e-6
    assert apart > 0 or abs(said) < 1e-6
    assert apart < 2 or said > math.log(8) - 1e-6

# %% [markdown]
# **Predict, then run.** The encoder with 2 latents said 6.2 nats about 2,000 images. The longer run of chapter 8 has 50 latents. How many nats do its codes say about 5,000 images, where $\log N = 8.52$, and what is left of its rate for the marginal KL?

# %% tolerance={"rtol": 0.01}
deep = vae_mnist()  # 784-200-200-50, trained for 600 passes
load_checkpoint(deep, "vae_mnist")
cut = {}
for name, model in {"2 latents": flat, "50 latents": deep}.items():
    seed_everything(0)
    cut[name] = mean_of(decompose(model, bits[:many]))
    found = cut[name]
    print(f"{name:>10}: rate {found['rate']:.2f}", end="; ")
    print(f"mutual information {found['mutual_information']:.2f}", end=" and ")
    print(f"marginal KL {found['marginal_kl']:.2f} nats, by draws")

# %% [markdown]
# :::{dropdown} What to expect
# With 50 latents the mutual information *is* $\log N$ to within 0.02 nats: nearly every one of the 5,000 images can be identified by its code, and the codes could say no more about a set of 5,000 even if the encoder tried. All the rest of the rate, over 15 nats, is then counted as marginal KL, although nobody would call this model badly trained. In 50 dimensions the aggregated posterior is a swarm of 5,000 separate specks, and no smooth prior is near *that*. With 2 latents the specks overlap, the mutual information stays below the ceiling, and the marginal KL measures what {numref}`fig-sg-holes` shows. (The rate is computed in closed form and its parts from one draw for each image, so their sum may be off by a few hundredths of a nat, here and in the tables below.)
# :::
#
# The rate of an image does not depend on how many others there are. Its two parts do:

# %% tolerance={"rtol": 0.01}
for name, model in {"2 latents": flat, "50 latents": deep}.items():
    for size in (500, 2000, 5000):
        seed_everything(0)
        found = mean_of(decompose(model, bits[:size]))
        print(f"{name:>10}, N = {size:5,}:", end=" ")
        print(f"I_N {found['mutual_information']:.2f}", end=" ")
        print(f"of log N = {math.log(size):.2f}", end=", ")
        print(f"marginal KL {found['marginal_kl']:.1f}")

# %% [markdown]
# :::{admonition} Watch out: the ceiling belongs to the sample
# :class: pitfall
# "The mutual information of a VAE is at most $\log N$" is true of the $N$ images at hand and says nothing of the distribution that they were drawn from. Take the *same* encoder and more images, and the ceiling rises: with 50 latents $I_N$ is 6.21 for 500 images, 7.60 for 2,000 and 8.50 for 5,000, always close to $\log N$. There it measures the data set and not the encoder, *and so does the marginal KL*, which is the rate minus $I_N$: whatever the ceiling keeps out of the one is counted in the other. Read the two parts only where $I_N$ stays well below $\log N$, as it does with 2 latents. At the ceiling only their sum, the rate, is a property of the model.
# :::

# %% [markdown]
# (sec-sg-parts)=
# ### *Optional:* can it be done on a batch?
#
# All $N^2$ pairs are expensive, so the terms are usually estimated on a batch of $M$ images. One way treats the batch as a data set of its own. The theorem above, applied twice, says what that does.
#
# :::{prf:proposition} A part says less
# :label: thm-sg-parts
# Let $S$ be a random set of $M$ of the $N$ examples, each set equally likely, $q_S$ its aggregated posterior and $I_S$ its mutual information. Then
#
# $$ I_N - \mathbb{E}[I_S] = \mathbb{E}[\operatorname{KL}(q_S \,\|\, q)] = \mathbb{E}[\operatorname{KL}(q_S \,\|\, p)] - \operatorname{KL}(q \,\|\, p) \ge 0 , $$ (eq-sg-parts)
#
# so the mutual information comes out too small on average, the marginal KL too large by the same amount, and the error is at least $I_N - \log M$.
# :::
#
# :::{prf:proof}
# Apply {eq}`eq-sg-cut` to the set $S$, with $q$ in the place of the prior: $\frac1M \sum_{n \in S} \operatorname{KL}(q(z \mid x_n) \,\|\, q) = I_S + \operatorname{KL}(q_S \,\|\, q)$. Every example is in $S$ equally often, so the expectation of the left side is $I_N$. That is the first equation. With the prior $p$ itself, the expectation of $\frac1M \sum_{n \in S} \operatorname{KL}(q(z \mid x_n) \,\|\, p)$ is the mean KL over all data, hence $\mathbb{E}[I_S] + \mathbb{E}[\operatorname{KL}(q_S \,\|\, p)] = I_N + \operatorname{KL}(q \,\|\, p)$, the second. The last claim is $I_S \le \log M$.
# :::
#
# A data set is itself a part of something larger. With $N$ independent draws from $p_{\mathrm{d}}$ in the place of $S$ the same proof gives $\mathbb{E}[I_N] \le I_q$: what the codes of a sample say is, on average, too little.
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
# The other way knows $N$ and estimates $q(z)$: for a code of example $i$ its own posterior counts once, and the other $M - 1$ stand for all the rest,
#
# $$ \hat q(z) = \frac1N\, q(z \mid x_i) + \frac{N - 1}{N (M - 1)} \sum_{j \in S,\, j \ne i} q(z \mid x_j) . $$ (eq-sg-stratified)
#
# For a given $i$ every other example is in $S$ equally often, so the sum times $\frac{N - 1}{M - 1}$ has the mean $\sum_{j \ne i} q(z \mid x_j)$, and $\hat q(z)$ is unbiased. Its *logarithm* is too small on average (Jensen), so this time the mutual information comes out too large, though never above $\log N$ {cite:p}`chen2018tcvae`. {numref}`fig-sg-batches` shows both against the size of the batch. On average over batches the truth lies between them, and neither is close to it at the batch sizes of training.

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
        missed = np.array([run["marginal_kl"] for run in batches])
        estimates[way].append((heard.mean(), missed.mean()))
        if size in (100, 1000):
            print(f"M = {size:5,}, {way:>12}: I = {heard.mean():.1f}", end=", ")
            print(f"marginal KL = {missed.mean():.1f}")
print(f"all {many:,}: I = {whole['mutual_information']:.1f}", end=", ")
print(f"marginal KL = {whole['marginal_kl']:.1f} nats")
for size, low, high in zip(sizes, *estimates.values()):
    truth = whole["mutual_information"]
    assert low[0] < math.log(size) and abs(sum(low) - whole["rate"]) < 0.6
    if size <= 300:  # where the gaps are far wider than the noise of the draws
        assert low[0] < truth - 0.5 and high[0] > truth + 0.25

# %% mystnb={"figure": {"caption": "Mutual information (*left*) and marginal KL (*right*) of the VAE with 2 latents, estimated on batches of $M$ of 5,000 training images; dashed: all images. Dotted: $\\log M$, which a batch as a data set of its own cannot exceed. The stratified estimate errs on the other side, and its marginal KL is negative for small batches.", "name": "fig-sg-batches"}, "image": {"alt": "Two panels over the batch size on a logarithmic axis. Left, one curve climbs from 2.3 along the dotted line and bends towards the dashed line at 6.3, another descends to it from 8.3. Right, the mirror image, one curve falling to the dashed line from above and one rising from negative values."}} tags=["hide-input"] tolerance={"rtol": 0.05}
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
# The two marginal KLs of a batch of 100, 2.2 and $-0.9$ nats around 0.4, are why a *report* should not rest on either. (The $\beta$-TCVAE {cite:p}`chen2018tcvae` trains on such estimates and accepts their bias.) Of a batch report the rate, whose mean over the batch is unbiased, and leave the cut to a pass over the whole set.
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
print("beta  distortion    I_N  marginal KL    rate  active")
for beta, found in by_beta.items():
    row = [found[f"train_{name}"] for name in by_library._fields]
    print(f"{beta:4g}  {-row[0]:10.1f} {row[1]:6.2f}", end=" ")
    print(f"{row[2]:12.2f} {row[3]:7.2f}", end="")
    print(f"  {found['active_units']:6}")

# %% mystnb={"figure": {"caption": "The three terms for six prices $\\beta$ of the KL term. *Left:* the distortion. *Right:* the rate, cut in two. Dashed: $\\log N$, the most that codes can say about 20,000 images; bars that touch it say how many images there are, and only the three on the right can be read. The panels have different scales.", "name": "fig-sg-bars"}, "image": {"alt": "Two bar charts over beta. Left, bars of distortion that grow with beta. Right, stacked bars that shrink: the lower part stays at the dashed line for small beta and falls only for large beta, the upper part shrinks first."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(6.8, 3), width_ratios=(1, 1.3))
places, labels = range(len(by_beta)), [f"{beta:g}" for beta in by_beta]
cost = [-found["train_reconstruction"] for found in by_beta.values()]
axes[0].bar(places, cost, color=sky)
axes[0].set_ylabel("nats per image")
axes[0].set_title("distortion", fontsize=10)
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
# From $\beta = 0.1$ to 1 the rate falls from 38 to 18 nats (*not converged*, as the record says of all six). The table cannot say how much of this the codes of *new* images would miss: $I_N$ stands at $\log N$, its largest value for 20,000 images, or within 0.2 nats of it, so the marginal KL is little else than the rate minus $\log N$ and holds both what the prior misses and what only more images would show as information. Below the ceiling the cut is informative: 8.2 and 2.3 nats at $\beta = 3$, 3.0 and 0.2 at 10, and at 30 the model has collapsed, with a rate of 0.02 nats. The active units fall too, from 10 to 6 to 0, but they are no gauge of information: all ten are active at $\beta = 1$ *and* at $\beta = 3$, where the rate has fallen by 7 nats.
#
# ### Exercises of Part 1
#
# :::{exercise} ★ Every image twice
# :label: ex-sg-twice
# A data set holds each of $N / 2$ different images twice. What is the largest possible $I_N$, and what becomes of the bound $\log N$?
# :::
#
# :::{solution} ex-sg-twice
# :class: dropdown
# The encoder sees only the image, so both copies have the same posterior, $q(z)$ is the average of $N/2$ different ones, and {prf:ref}`thm-sg-log-n` for these gives $I_N \le \log(N/2)$. The bound $\log N$ is correct and cannot be reached. In general $I_N$ is at most the entropy of the empirical distribution, by {prf:ref}`thm-data-processing`: the number of the example tells the code nothing beyond the image.
# :::
#
# :::{exercise} ★★ The stratified estimate
# :label: ex-sg-stratified
# Complete the function, which implements {eq}`eq-sg-stratified` for a batch with one code per image. Then answer: why is its mutual information never above $\log N$?
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
# `others = log_pairs.masked_fill(torch.eye(size, dtype=bool), -math.inf).logsumexp(1)`. By its first term $\hat q(z_i) \ge q(z_i \mid x_i) / N$, so $\log q(z_i \mid x_i) - \log \hat q(z_i) \le \log N$ for every code. The hidden cell below compares this with the library.
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
# For a fixed encoder and a decoder of finite $\mathsf{D}$, the mean ELBO over a data set is largest, among all priors, at $p(z) = q(z)$ and (up to null sets) nowhere else. Its value there is $-\mathsf{D} - I_N$, and any other prior loses $\operatorname{KL}(q(z) \,\|\, p(z))$.
# :::
#
# :::{prf:proof}
# $\mathsf{D}$ and $I_N$ do not depend on the prior, and the last term of {eq}`eq-sg-goal` is 0 for $p = q$ and positive for every other density (Gibbs). So the mean ELBO is at most $-\mathsf{D} - I_N$, attained at $p = q$, where the mean KL is $I_N$, finite by {prf:ref}`thm-sg-log-n`.
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
# So take the aggregated posterior as the prior and be done? With 50 latents it is 5,000 specks. Its samples would be reconstructions of the 5,000 training images and nothing else. What does it cost a *test* image?
#
# **Predict, then run.** The next cell puts $q(z)$ of 5,000 training images in the place of $\mathcal{N}(0, I)$, for the encoders with 2 and with 50 latents. Which of the four rates fall, training and test?

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
        print(f"{name:>10}, {where:>8} images: rate {with_normal:.2f}", end=" nats ")
        print(f"with N(0, I), {with_codes:.2f} with q(z)")
print("10 latents, test images: N(0, I), and q(z) of the 20,000 training images")
for beta, found in by_beta.items():
    print(f"    beta {beta:4g}: {found['test_rate']:6.2f}", end=" and ")
    print(f"{found['test_rate_of_the_aggregate']:6.2f} nats")


# %% [markdown]
# :::{admonition} Watch out: the best prior is best *on the training set*
# :class: pitfall
# The theorem maximises the mean ELBO of the $N$ examples whose codes make up $q(z)$. For a new image what counts is whether $q(z)$ has density at its code. With 2 latents it has. With 50 latents the aggregated posterior of 5,000 training images costs a test image almost three times the rate under the standard normal: it is the best prior on the training set and far worse than $\mathcal{N}(0, I)$ on the test set. The six VAEs with 10 latents show where the change happens: at $\beta = 3$ and 10, where codes overlap, $q(z)$ wins on test images too, and for $\beta \le 1$ that of these 20,000 images loses. This is overfitting, by a prior with no parameters of its own. Report the KL on test images.
# :::
#
# How much of the 15 nats that the cut of the 50-latent VAE calls marginal KL can a *smooth* prior recover? Try the smoothest ones: a Gaussian with full covariance, fitted to the codes of 10,000 training images, and ten of them, one for each class of digit.


# %%
def gaussians(z, groups):
    """A full-covariance Gaussian for each group of codes, weighted by its share."""
    of = [z[groups == g] for g in groups.unique()]
    means = torch.stack([part.mean(0) for part in of])
    covariances = torch.stack([part.T.cov() for part in of])
    shares = Categorical(torch.tensor([float(len(part)) for part in of]))
    each = MultivariateNormal(means, covariance_matrix=covariances)
    return MixtureSameFamily(shares, each)


@torch.no_grad()
def codes_of(model, x):
    """One code for each image, its log q(z|x) and the log-density of the prior."""
    trace = model.trace(x)
    return trace.steps[0].z[0], trace.steps[0].log_q[0], trace.log_base[0]


# %% tolerance={"rtol": 0.05, "atol": 0.1}
classes = images.y[:10_000].repeat(10)
seed_everything(0)
with torch.no_grad():
    z_fit = deep.posterior(bits).sample((10,)).flatten(0, 1)  # [100000, 50]
smooth = {
    "one Gaussian": gaussians(z_fit, torch.zeros(len(z_fit))),
    "one per class": gaussians(z_fit, classes),
}
print("nats that a prior saves against N(0, I), with the error of the difference")
for where, x in (("training", bits[:2000]), ("test", test_bits[:2000])):
    z, _, log_normal_prior = codes_of(deep, x)
    for name, prior in smooth.items():
        saved = prior.log_prob(z) - log_normal_prior
        error = saved.std() / len(x) ** 0.5
        print(f"{where:>8}, {name:>13}: {saved.mean():5.2f} +- {error:.2f}")


# %% [markdown]
# One Gaussian recovers nothing on test images, ten recover 1.1 nats, out of fifteen. The cut does not say how much of the rest any prior could save on new images. What is wanted is a prior that is *like* $q(z)$ and smoother: a density model, fitted to codes. Any density model of chapters 2 to 6 will do.
#
# - *A mixture of $K$ Gaussians*, the obvious one.
# - *The VampPrior* {cite:p}`tomczak2018`. It keeps the form of $q(z)$ and replaces the $N$ images by $K$ learned **pseudo-inputs** $u_k$,
#
# $$ p(z) = \frac1K \sum_{k=1}^K q_\phi(z \mid u_k) . $$ (eq-sg-vamp)
#
# - *A flow* ({doc}`chapter 5 <05_flows>`) or *an autoregressive model* ({doc}`chapter 3 <03_autoregressive_models>`) of the coordinates of $z$.
#
# (sec-sg-five)=
# ### One encoder, four fitted priors
#
# First with encoder and decoder frozen, so that nothing moves but the prior: the VAE with 2 latents, priors fitted to the codes of 10,000 training images by maximum likelihood, a fresh draw of each code at every use, 800 steps of 500 codes each. By {prf:ref}`thm-sg-prior` this *is* maximising the ELBO, and the largest possible gain on the training images is their marginal KL. $\mathcal{N}(0, I)$ needs no fit. The VampPrior was fitted in the same way by `lvmlib.experiments.frozen_vamp`, with the rate of the mixture, and comes as a checkpoint: where its narrow components end up after 800 steps depends on the last digits of the arithmetic.


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


# %%
with torch.no_grad():
    q_train = flat.posterior(bits)
    codes = torch.cat([q_train.mean, q_train.stddev], 1)  # [10000, 4]
draw_codes = lambda batch: batch[:, :2] + batch[:, 2:] * torch.randn(len(batch), 2)
seed_everything(0)
priors = build_priors()
stored = PseudoInputs(bits[:50].clone())
load_checkpoint(stored, "frozen_vamp")
priors["VampPrior"].inputs.data.copy_(stored.inputs.data)
for name, density in priors.items():
    if name in ("normal", "VampPrior"):
        continue  # nothing to fit, or fitted before
    fit(
        density.double(),  # single precision would let rounding decide some details
        codes.double(),
        lambda density, batch: -density.log_prob(draw_codes(batch)),
        steps=800 * SCALE,
        batch_size=500,
        lr=cosine(0.02 if name == "mixture" else 3e-3, 800 * SCALE),
        progress=False,
    )
    density.float()

# %% [markdown]
# The five share encoder and decoder, so one set of draws serves all: the weight of a draw changes only by its prior's density. (`log_likelihood` would do the same for one VAE after another.)

# %% tolerance={"rtol": 0.02, "atol": 0.05}
seed_everything(0)
with torch.no_grad():
    trace = flat.trace(test_bits[:500], k=100)
    z_test, log_q_test = trace.steps[0].z, trace.steps[0].log_q  # [100, 500, 2], ...
    z_train = q_train.sample((1,))
    own_train = q_train.log_prob(z_train).mean()
    rest = trace.steps[0].log_p - log_q_test  # log p(x|z) - log q(z|x), [100, 500]
    fitted, all_codes = {}, aggregated_posterior(flat, bits)
    for name, density in {**priors, "q(z) of training": all_codes}.items():
        log_p = density.log_prob(z_test.flatten(0, 1)).view(100, 500)
        on_train = own_train - density.log_prob(z_train.flatten(0, 1)).mean()
        nll = math.log(100) - (rest + log_p).logsumexp(0)
        fitted[name] = on_train, (log_q_test - log_p).mean(0), nll
print("KL to the prior; test KL and test NLL also against the normal, image by image")
print("                   training   test   test KL less     test NLL less")
_, kl_normal, nll_normal = fitted["normal"]
for name, (on_train, on_test, nll) in fitted.items():
    print(f"{name:>17}: {on_train:8.2f} {on_test.mean():6.2f}", end="")
    for d in (kl_normal - on_test, nll_normal - nll):
        print(f"   {d.mean():6.2f} +- {d.std() / 500**0.5:.2f}", end="")
    print()

# %% tolerance={"rtol": 0.02, "atol": 0.05}
with torch.no_grad():
    narrow = q_train.stddev.log().mean(1).exp()  # geometric mean over both latents
    wide = priors["VampPrior"].encoder.given(priors["VampPrior"].inputs)
    wide = wide.stddev.log().mean(1).exp()
levels = torch.tensor([0.1, 0.5, 0.9])
for name, widths in {"posteriors": narrow, "VampPrior's 50": wide}.items():
    marks = ", ".join(f"{w:.2f}" for w in widths.quantile(levels))
    print(f"standard deviation, 10%, 50% and 90% of the {name}: {marks}")

# %% mystnb={"figure": {"caption": "The aggregated posterior of 10,000 training images, the normal prior and four priors fitted to draws of it, on a common colour scale. Mixture, flow and autoregressive model follow the dense streaks and smooth over the specks. Most of the VampPrior's 50 components are small dots; a few are wide.", "name": "fig-sg-priors"}, "image": {"alt": "Six square heat maps. The first is grainy, with specks and streaks. The normal is a smooth round blob, the mixture a dozen soft spots, the VampPrior some thirty small dark dots and a few wide pale patches, the flow a swirl with curved ridges, the autoregressive model a few soft vertical streaks."}} tags=["hide-input", "photo"] tolerance={"figure": 0.3, "data": 0.1}
fig, axes = plt.subplots(2, 3, figsize=(6.8, 4.7), sharex=True, sharey=True)
with torch.no_grad():
    shown = {"aggregated posterior": all_codes, **priors}
    for ax, (name, density) in zip(axes.flat, shown.items()):
        heat = density.log_prob(plane).exp().view(101, 101).T
        ax.imshow(heat, origin="lower", extent=(-4, 4, -4, 4), cmap="Blues", vmax=0.4)
        ax.set_title(name, fontsize=10)
        ax.grid(visible=False)
plt.show()

# %% tolerance={"atol": 0.04}
reader = MLP(784, (200,), 10, nn.SiLU)  # a classifier of binary digits, 28x28
right = lambda reader, batch: F.cross_entropy(reader(batch[0]), batch[1].long())
settings = {"steps": 1000, "batch_size": 100, "progress": False}
seed_everything(0)
fit(reader, (images, images.y), right, lr=cosine(2e-3, 1000), **settings)


@torch.no_grad()
def is_sure(pi):
    """Whether the classifier is 90% sure of a class; it sees pixels drawn from pi."""
    return (reader(torch.bernoulli(pi)).softmax(1).max(1).values > 0.9).double()


with torch.no_grad():
    correct = (reader(test_bits).argmax(1) == test_images.y).double().mean()
    print(f"share of 10,000 test images that it reads right: {correct:.2f}", end=", ")
    print(f"of which it is over 90% sure: {is_sure(test_bits).mean():.2f}")
    print("share of 2,000 draws of which it is over 90% sure, by prior:")
    for name, density in {"q(z) of training": all_codes, **priors}.items():
        seed_everything(0)
        z = all_codes.sample((2000,)) if density is all_codes else density.sample(2000)
        share = is_sure(flat.likelihood(z).mean).mean()
        print(f"{name:>17}: {share:.2f} +- {(share * (1 - share) / 2000) ** 0.5:.2f}")

# %% mystnb={"figure": {"caption": "Means of $p_\\theta(x \\mid z)$, the decoder being the same in all rows, for sixteen codes from the aggregated posterior (*first row*, so these are reconstructions of training images) and from each prior. So few draws show no difference between the priors; the counts above do.", "name": "fig-sg-prior-samples"}, "image": {"alt": "Six rows of sixteen blurred digits. In all rows most are recognisable, and in most rows one or two are mixtures of two digits; the eighth of the normal prior is none at all."}} tags=["hide-input"] tolerance={"data": 0.05, "draws": ["all"], "rtol": 0.2}
seed_everything(1)
with torch.no_grad():
    rows = [flat.likelihood(all_codes.sample((16,))).mean]
    rows += [flat.likelihood(density.sample(16)).mean for density in priors.values()]
image_grid(torch.cat(rows), columns=16, row_labels=["$q(z)$", *priors])
plt.show()

# %% [markdown]
# The yardstick is the row of $q(z)$ itself, the last of the table of rates. The aggregated posterior itself pays 6.37 nats on the training images, which is $I_N$, and the normal 6.70: there is a third of a nat to gain with 2 latents. Mixture, flow and autoregressive model gain 0.20, 0.17 and 0.15 nats of it on the training images, and 0.16, 0.12 and 0.05 on test images, where $q(z)$ itself gains 0.12 (errors 0.03; one seed each, nothing tuned). With one set of draws for all, the test NLL moves with the KL, within a tenth of a nat.
#
# The VampPrior *loses* nats to the normal, 0.4 on training and 0.6 on test images. Its encoder is frozen, and a component can only be what that encoder makes of some input. The pseudo-inputs are real numbers, free to leave the set of images, and some components became much wider than the posterior of any image. But half of the fifty are at most 0.07 wide, where the posteriors of images have a median of 0.04. Codes that say $I_N = 6.4$ nats amount to about $e^{6.4} \approx 600$ distinguishable codes, and fifty mostly narrow components cannot cover them. The classifier does not notice: it is sure of 74% of the VampPrior's draws, as of those from $q(z)$. Fifty good places give good pictures, and only the KL counts the codes that they leave out. The VampPrior was meant for another situation, in which the encoder learns with it.
#
# (sec-sg-vamp)=
# ### A VampPrior by hand, trained together
#
# With encoder and decoder frozen a better prior can only recover marginal KL. Trained *together*, the encoder may also move: it need no longer press the codes into a ball. The VampPrior is {eq}`eq-sg-vamp`, a mixture whose components the encoder computes from $u_1, \dots, u_K$; they are parameters like any other and start as training images.

# %%
latents, pseudo = 20, 100


def log_normal(z, mu, log_sigma):
    """log N(z; mu, diag sigma^2), summed over the last axis."""
    eps = (z - mu) * (-log_sigma).exp()
    constant = 0.5 * z.shape[-1] * math.log(2 * math.pi)
    return (-0.5 * eps.square() - log_sigma).sum(-1) - constant


def log_vamp(z, encoder, u):
    """log p(z) of the mixture of posteriors; z [B, d], u [K, 784], result [B].

    The u are real numbers without limits, so they need not stay images.
    """
    mu, log_sigma = encoder(u).chunk(2, dim=1)  # of each pseudo-input, [K, d]
    each = log_normal(z[:, None], mu, log_sigma)  # [B, 1, d] with [K, d] -> [B, K]
    return each.logsumexp(1) - math.log(len(u))


# %%
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


# %%
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
# Twelve hundred steps are just over two passes over the data (*not converged*), for both. In the library the same networks make a `VAE`, with the encoder given twice: once to encode, once inside the prior, where it is trained and stored only once.

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


# %%
@torch.no_grad()
def nll_with(model, prior, x, k=200):
    """NLL of each image, by k draws, with another prior in the model; None: its own."""
    parts = []
    for part in x.split(50):
        trace = model.trace(part, k=k)
        step = trace.steps[0]
        log_prior = trace.log_base if prior is None else prior.log_prob(step.z)
        log_w = step.log_p - step.log_q + log_prior  # [k, 50]
        parts.append(math.log(k) - log_w.logsumexp(0))
    return torch.cat(parts)


vamp_vae, x = trained["VampPrior"], test_bits[:50]
seed_everything(0)
library = -log_likelihood(vamp_vae, x, k=20)
seed_everything(0)
assert torch.allclose(nll_with(vamp_vae, None, x, k=20), library, atol=1e-3)

# %% tolerance={"rtol": 0.01, "atol": 0.3}
nll_of = {}
for name, model in trained.items():
    seed_everything(0)
    z, log_q, log_p_z = codes_of(model, test_bits[:2000])
    distortion = -model.likelihood(z).log_prob(test_bits[:2000]).mean()
    with torch.no_grad():
        z_fit = model.posterior(bits).sample((10,)).flatten(0, 1)  # [100000, 20]
    refit = gaussians(z_fit, classes)
    rates = (log_q - log_p_z).mean(), (log_q - refit.log_prob(z)).mean()
    print(f"{name:>9}, 2,000 test images: distortion {distortion:.1f}", end=", ")
    print(f"active units {active_units(model, bits[:many])[0]}")
    for label, density, rate in zip(("own", "refitted"), (None, refit), rates):
        nll = nll_of[name, label] = nll_with(model, density, test_bits[:500])
        print(f"{label:>12} prior: rate {rate:.1f}", end=", ")
        print(f"ELBO {-distortion - rate:.1f}; NLL of 500 images {nll.mean():.1f}")
for name, label in list(nll_of)[1:]:
    gain = nll_of["N(0, I)", "own"] - nll_of[name, label]
    print(f"{name}, {label} prior: NLL less than that of N(0, I)", end=" ")
    print(f"by {gain.mean():.1f} +- {gain.std() / 500**0.5:.1f}")

# %% tolerance={"rtol": 0.01}
for name, model in trained.items():
    seed_everything(0)
    told = mean_of(decompose(model, bits[:many]))["mutual_information"]
    print(f"{name:>9}: I_N {told:.2f} of at most {math.log(many):.2f} nats")


# %% mystnb={"figure": {"caption": "*Left:* binary test images. *Middle* and *right:* 48 draws each from the two models that were trained above, $z \\sim p(z)$ and then every pixel.", "name": "fig-sg-vamp"}, "image": {"alt": "Three blocks of eight rows of six binary images: real digits; draws of which many are clouds of speckle; and draws of which most are recognisable digits with ragged edges."}} tags=["hide-input"] tolerance={"draws": ["columns 8-13", "columns 15-20"], "rtol": 0.2}
def apart(blocks):
    """Blocks [rows, columns, 1, 28, 28] side by side, a blank column between them."""
    columns = [part for x in blocks for part in (torch.zeros_like(x[:, :1]), x)]
    return torch.cat(columns[1:], 1)


seed_everything(1)
blocks = [test_bits[:48]] + [model.sample(48) for model in trained.values()]
rows = apart(block.view(8, 6, 1, 28, 28) for block in blocks)  # [8, 20, ...]
blank = [""] * 6
titles = ["", "", "data", *blank, "$\\mathcal{N}(0, I)$", *blank]
titles += ["VampPrior", "", "", ""]
image_grid(rows.flatten(0, 1), columns=20, column_labels=titles)
plt.show()

# %% [markdown]
# In this pair of runs (one seed) the model with the VampPrior has the better test NLL, by 2.9 nats. The surgery cannot say why: for both models $I_N$ is a tenth of a nat below its ceiling. Test images can. Their distortion is 1.7 nats *higher* with the VampPrior, and their rate 4.4 lower. But the gain could be had *afterwards*: keep the model that was trained with $\mathcal{N}(0, I)$, fit one Gaussian per class to its codes, and its rate falls by 3.3 nats and its NLL by 3.5, below that of the VampPrior. So these short runs show that $\mathcal{N}(0, I)$ is a poor fit to what the encoder does and that a prior that fits pays; they do not show that it has to be there during training. {numref}`fig-sg-vamp` agrees with the NLL: fewer samples of the better model are clouds of pixels. (The VampPrior has 78,400 more parameters, its pseudo-inputs, and each step encodes these 100 besides 100 images. The Gaussians know the classes.)
#
# (sec-sg-published)=
# ### *Optional:* at the published size
#
# The VampPrior was published with two gated layers of 300 units on each side, 40 latents and 500 pseudo-inputs {cite:p}`tomczak2018`; {cite:t}`norouzi2020` trained the same networks on MNIST and binarized Fashion-MNIST, and the first cell below prints the figures that they report. `python -m lvmlib.experiments.priors vamp --schedule full --device cuda` is the full recipe, up to 2,000 passes with 100 of KL warm-up. Ours are the same networks with one seed, on the *short* schedule (6 passes, five priors on MNIST and two on Fashion-MNIST) and the *middle* one (30 passes, two priors); neither has *converged*. Two schedules cannot be compared; priors within one can.

# %% tags=["hide-input"]
published = {  # data, prior -> test NLL in nats, as reported by Norouzi et al. (2020)
    ("mnist", "normal"): 84.45,
    ("mnist", "vamp"): 82.43,
    ("fashion-mnist", "normal"): 228.70,
    ("fashion-mnist", "vamp"): 227.35,
}
print("as reported by Norouzi et al. (2020): test NLL by 5,000 draws")
for (name, prior), nll in published.items():
    print(f"{name:>14}, {prior:>14}: {nll:.2f} nats")

# %% tags=["hide-input"]
print("ours: one seed, not converged; 500 draws, 1,000 test images")
print(" " * 46 + "NLL gain on normal   rate act       size")
both = ("mnist", "fashion-mnist")
for name, length in [(name, length) for length in ("short", "middle") for name in both]:
    passes = {"short": 6, "middle": 30}[length]
    for prior in ("normal", "mixture", "vamp", "flow", "autoregressive"):
        run = record(f"priors_{name.replace('-', '_')}_{prior}_{length}")
        if run is None:  # only some were trained on Fashion-MNIST, and for longer
            continue
        each = np.array(run["test_nll_each"])
        if prior == "normal":
            of_normal = each
        less = of_normal - each
        print(f"{name:>14}, {prior:>14}, {passes:2} passes:", end=" ")
        print(f"{each.mean():6.2f}", end=" ")
        print(f"{less.mean():6.2f} +- {less.std() / len(less) ** 0.5:.2f}", end=" ")
        print(f"{run['test_rate']:6.2f} {run['active_units']:3}", end=" ")
        print(f"{run['parameters']:10,}")


# %% [markdown]
# After 6 passes all four richer priors beat $\mathcal{N}(0, I)$ on MNIST, by 2.3 to 4.6 nats: the autoregressive prior is ahead with 96.8, then come the VampPrior (97.4), the flow (97.8) and a mixture of 500 free Gaussians (99.1). The differences are far larger than their errors, but this is one seed, and sizes and learning rates that nobody tuned. The mixture is the control for the VampPrior: of its 4.0 nats a richer prior of the same number of components gains 2.3 without any tie to the encoder. The rate on test images tells none of this: $\mathcal{N}(0, I)$ and the autoregressive prior pay 17.4 and 17.5 nats. The active units do say something here: 20 of the 40 latents with $\mathcal{N}(0, I)$, 38 to 40 with every other prior.
#
# Fashion-MNIST is a warning. After 6 passes the VampPrior is *behind* there, by $0.4 \pm 0.2$ nats; after 30 it is ahead by 1.9, and on MNIST by 2.4 where 6 passes said 4.0. Runs so short say how fast a model learns as much as how good it is in the end. At the published length the VampPrior gains 2.0 nats on MNIST and 1.4 on Fashion-MNIST.
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
# It is the aggregated posterior, and the marginal KL is 0 on the training images by {prf:ref}`thm-sg-prior`. Every step would have to encode all $N$ images. And near the ceiling nothing is left to push posteriors together: the rate is $I_N \le \log N$ however narrow they are, so that the encoder may isolate each training image for at most $\log N$ nats, and a test image finds no density at its code ({numref}`sec-sg-priors`). The Exemplar VAE {cite:p}`norouzi2020` does train with images in the place of pseudo-inputs, by approximations: it leaves out the image's own component, draws a part of the others, and gives all components one variance.
# :::
#
# :::{exercise} ★★ A cautious prior
# :label: ex-sg-cautious
# Mix the aggregated posterior of training images with the standard normal, $p_\nu(z) = (1 - \nu)\, q(z) + \nu\, \mathcal{N}(z; 0, I)$. Fill the gap, for the VAE with 50 latents. Before you run it: how many nats can $\nu = \frac12$ lose against the better of its two parts?
# :::


# %%
def log_mixed_prior(log_codes, log_normal_part, nu):
    """log p_nu at codes where both parts are known; [B] and [B]."""
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
# `torch.logaddexp(log_codes + math.log(1 - nu), log_normal_part + math.log(nu))`. Each part alone is at most $p_\nu / \min(\nu, 1 - \nu)$, so $\nu = \frac12$ loses at most $\log 2 = 0.69$ nats on any image, and gains wherever $q(z)$ is the better one. The hidden cell below shows how rarely that is: none of these mixtures beats $\mathcal{N}(0, I)$ alone.
# :::

# %% tags=["hide-cell"] tolerance={"rtol": 0.03}
for nu in (0.5, 0.9, 0.99):
    weights = math.log(1 - nu), math.log(nu)
    log_p = torch.logaddexp(two_parts[0] + weights[0], two_parts[1] + weights[1])
    rate = (deep_trace.steps[0].log_q[0] - log_p).mean()
    print(f"nu = {nu}: test rate {rate:.2f} nats", end="; ")
    print(f"N(0, I) alone {(deep_trace.steps[0].log_q[0] - two_parts[1]).mean():.2f}")
wins = (two_parts[0] > two_parts[1]).float().mean()
print(f"q(z) is the denser at the codes of {wins:.0%} of the test images")

# %% [markdown]
# (sec-sg-collapse)=
# ## Part 3. Lose: when do codes say nothing?
#
# {term}`Posterior collapse` is the state in which $q_\phi(z \mid x)$ is the prior for every $x$: the rate is 0, the mutual information is 0, and the code is noise. VAEs with strong decoders often end there {cite:p}`bowman2016`, and it looks like a failure of training. It need not be one.
#
# :::{prf:theorem} The largest bound, and what it leaves open
# :label: thm-sg-optimum
# Let $x$ take finitely many values, $x \sim p_{\mathrm{d}}$ with entropy $H$ in nats. For every encoder, decoder and prior the mean ELBO under $p_{\mathrm{d}}$ is at most $-H$, with equality if and only if $p_\theta = p_{\mathrm{d}}$ and $q(z \mid x)$ is the posterior for every $x$ of positive probability (and almost every $z$). The value $-H$ is reached
#
# 1. by $p_\theta(x \mid z) = p_{\mathrm{d}}(x)$ for all $z$ and $q(z \mid x) = p(z)$, with $I_q = \mathsf{R} = 0$ and $\mathsf{D} = H$: *codes say nothing*;
# 2. for any prior with a density, by an invertible model: cut the latent space into one cell for each $x$, of prior mass $p_{\mathrm{d}}(x)$, decode each cell to its $x$, and let $q(z \mid x)$ be the prior within the cell, with $I_q = \mathsf{R} = H$ and $\mathsf{D} = 0$: *codes say everything*;
# 3. by *every* encoder whatsoever, with the prior $q(z) = \sum_x p_{\mathrm{d}}(x)\, q(z \mid x)$ and the decoder $q(x \mid z) = p_{\mathrm{d}}(x)\, q(z \mid x) / q(z)$; then $\mathsf{R} = I_q$ and $\mathsf{D} = H - I_q$.
# :::
#
# :::{prf:proof}
# By {prf:ref}`thm-lv-elbo` the ELBO is $\log p_\theta(x) - \operatorname{KL}(q(z \mid x) \,\|\, p_\theta(z \mid x))$. Its mean is $-H - \operatorname{KL}(p_{\mathrm{d}} \,\|\, p_\theta) - \mathbb{E}_{p_{\mathrm{d}}} \operatorname{KL}(q(z \mid x) \,\|\, p_\theta(z \mid x))$, and both divergences are non-negative and vanish only as stated. In the third case prior times decoder is $p_{\mathrm{d}}(x)\, q(z \mid x)$, whose marginal is $p_{\mathrm{d}}$ and whose posterior is $q(z \mid x)$; there $\mathsf{D} = H(X \mid Z) = H - I_q$ ({prf:ref}`thm-mi-forms`). The first two are special cases: a $q$ that ignores $x$, and a $q$ whose posteriors do not overlap.
# :::
#
# So the ELBO is *indifferent* to how much the codes say, anywhere between 0 and $H$, if the latent space is rich enough for it. What breaks the tie is which of these optima the networks can represent and training finds. A decoder that can be $p_{\mathrm{d}}$ without $z$ is free to go to the first. A decoder that factorises over pixels cannot, unless the pixels are independent, so it must use codes. (For continuous $x$ the second optimum is only approached, as the decoder's noise goes to 0, where densities grow without bound. And for the empirical distribution of $N$ different images $H$ is $\log N$: the optimum then knows these images by heart.)
#
# The check, in tables: five values of $x$, twelve codes. First the three optima of the theorem, then gradient ascent on *all* of encoder, decoder and prior from thirty encoders, from empty to invertible. No run may pass $-H$.

# %% tags=["check:thm-sg-optimum"]
random = torch.Generator().manual_seed(0)
p_d = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05], dtype=torch.float64)
entropy_x = -(p_d * p_d.log()).sum().item()  # H
owner = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4])  # whose cell each code is
cells = F.one_hot(owner).double()  # [12, 5]


def of_tables(q, p_x, p_z):
    """D, R and I_q of q(z|x) [5, 12], p(x|z) [12, 5] and p(z) [12]."""
    joint = p_d[:, None] * q
    distortion = -torch.xlogy(joint, p_x.T).sum()
    rate = (torch.xlogy(joint, q) - torch.xlogy(joint, p_z)).sum()
    told = (torch.xlogy(joint, q) - torch.xlogy(joint, joint.sum(0))).sum()
    return distortion.item(), rate.item(), told.item()


# %% tags=["check:thm-sg-optimum"]
in_cells = cells @ (p_d / cells.sum(0))  # a prior whose cells have the masses p_d
any_q = torch.rand(5, 12, generator=random, dtype=torch.float64).softmax(1)
any_prior = p_d @ any_q
optima = {
    "1. nothing": (in_cells.expand(5, 12), p_d.expand(12, 5), in_cells),
    "2. everything": (in_cells * cells.T / p_d[:, None], cells, in_cells),
    "3. any encoder": (any_q, (p_d[:, None] * any_q / any_prior).T, any_prior),
}
for name, tables in optima.items():
    distortion, rate, told = of_tables(*tables)
    print(f"{name:>15}: D {abs(distortion):.4f} + R {rate:.4f}", end=" = ")
    print(f"{distortion + rate:.4f}, H = {entropy_x:.4f}; I_q {max(told, 0.0):.4f}")
    assert abs(distortion + rate - entropy_x) < 1e-12 and abs(rate - told) < 1e-12
    assert abs(told - {"1": 0.0, "2": entropy_x}.get(name[0], told)) < 1e-12

# %% tags=["check:thm-sg-optimum"]
sharpness = torch.linspace(0, 8, 30).double()  # of the encoder at the start
noise = torch.rand(30, 5, 12, generator=random, dtype=torch.float64)
tables = [sharpness[:, None, None] * cells.T + noise, noise.mT, noise[:, 0]]


def table_terms():
    """D, R and I for all thirty models; [30] each."""
    log_q, log_p_x, log_p_z = (t.log_softmax(-1) for t in parameters)
    joint = p_d[:, None] * log_q.exp()  # p_d(x) q(z|x), [30, 5, 12]
    distortion = -(joint * log_p_x.mT).sum((1, 2))
    rate = (joint * (log_q - log_p_z[:, None])).sum((1, 2))
    told = (joint * (log_q - joint.sum(1, keepdim=True).log())).sum((1, 2))
    return distortion, rate, told


# %% tags=["check:thm-sg-optimum"]
parameters = [t.clone().requires_grad_() for t in tables]
start_told = table_terms()[2].detach()
adam = torch.optim.Adam(parameters, lr=0.03)
for _ in range(2000):
    distortion, rate, told = table_terms()
    loss = (distortion + rate).sum()
    adam.zero_grad()
    loss.backward()
    adam.step()
bound, told = -(distortion + rate).detach(), told.detach()
print(f"-H = {-entropy_x:.5f}; bounds from {bound.min():.5f} to {bound.max():.5f} nats")
print(f"I_q of five of them, start -> end, of H = {entropy_x:.2f}:")
chosen = (0, 7, 14, 21, 29)
print(", ".join(f"{start_told[i]:.2f} -> {told[i]:.2f}" for i in chosen))
print(f"at the end, of all thirty: {told.min():.2f} to {told.max():.2f}")
assert (bound < -entropy_x + 1e-9).all() and (bound > -entropy_x - 1e-5).all()
assert told.min() < 0.05 and told.max() > 0.5 * entropy_x
assert (told < start_told + 0.02).all()  # none gains information on the way


# %% [markdown]
# :::{admonition} Watch out: "a perfect decoder ignores its codes"
# :class: pitfall
# One reads that at the optimum of the ELBO $z$ carries nothing. It *may* carry nothing. All thirty models turn out to be optimal to a hundred-thousandth of a nat, and their codes carry anything from 0.03 to 1.00 of 1.42 nats. The order of the starts is roughly kept, though nearly all gave up part of their information on the way. An invertible map of discrete $x$ reaches the same bound with codes that say everything; a flow approaches it as its decoder's noise goes to 0. Collapse is what the objective *permits*. Whether it happens is decided by decoder and training {cite:p}`he2019`.
# :::
#
# (sec-sg-chain)=
# ### Collapse and two cures: a chain of bits
#
# A case where $H$ is known shows the theorem on a VAE with networks. A row of 16 bits starts with a fair coin, and each further bit repeats the one before it with probability 0.9: $H = \log 2 + 15\,(-0.9 \log 0.9 - 0.1 \log 0.1) = 5.57$ nats. The encoder is a small MLP with two latents. One decoder factorises over the bits; the other also sees the bit before, which is all that there is to know. It is trained in three ways: plainly, with *annealing* (the KL term is multiplied by a weight that rises from 0 to 1 over the first half of the steps) and with *free bits* (the first half nat of each latent is not charged; {numref}`sec-sg-cures` has the formula). And it is trained from two starts, from scratch and from a decoder that is set to $p_{\mathrm{d}}$ beforehand.


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


# %%
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
known = math.log(9.0)  # the link for which a decoder without a code is p_d
chain_runs = {
    "sees nothing": train_chain(0),
    "sees one bit": train_chain(1),
    "annealing": train_chain(1, "annealing"),
    "free bits": train_chain(1, "free bits"),
    "known": train_chain(1, start=known),
    "known, annealing": train_chain(1, "annealing", known),
    "known, free bits": train_chain(1, "free bits", known),
}

# %% tolerance={"atol": 0.2}
seed_everything(1)
chain_x = draw_chains(20_000)
same = (chain_x[:, 1:] == chain_x[:, :-1]).sum(1)
log_true = math.log(0.5) + same * math.log(0.9) + (15 - same) * math.log(0.1)
print("                 distortion   rate   short of E log p_d by (nats)")
chain_found = {}
for name, (chain_nets, _) in chain_runs.items():
    with torch.no_grad():
        sees = 0 if name == "sees nothing" else 1
        log_p_x, kl = chain_terms(chain_nets, chain_x, sees)
    gap = (log_true - log_p_x + kl.sum(1)).mean().item()
    chain_found[name] = kl.sum(1).mean().item(), gap
    print(f"{name:>16} {-log_p_x.mean():10.2f} {kl.sum(1).mean():6.2f} {gap:18.2f}")
    assert gap > -0.02
assert chain_found["sees nothing"][1] > 1 and chain_found["sees one bit"][0] > 0.5
assert chain_found["known"][0] < 0.1 < chain_found["known, annealing"][0]
assert chain_found["known"][1] < 0.05  # at the optimum, up to noise
assert min(chain_found[name][0] for name in ("free bits", "known, free bits")) > 0.9

# %% mystnb={"figure": {"caption": "The rate on the training batches of the chain of bits, a mean over 20 steps. *Left:* all weights start at random. *Right:* the decoder starts as $p_{\\mathrm{d}}$, and needs no code.", "name": "fig-sg-chain"}, "image": {"alt": "Two panels of the rate against the step. Left, the factorised decoder's curve stays highest; the other three rise at first, the annealed one to nearly seven nats, then fall together towards one nat, where free bits stop. Right, the plain run stays at zero, the annealed one rises to nearly three nats and falls below half a nat, and the one with free bits stays at one nat."}} tags=["hide-input"] tolerance={"figure": 0.3, "data": 0.1}
fig, axes = plt.subplots(1, 2, figsize=(6.8, 3), sharey=True)
looks = {"annealing": ("--", blue), "free bits": ("-", red), "sees nothing": ("-", sky)}
for name, (_, rates) in chain_runs.items():
    smooth_rate = np.convolve(rates, np.ones(20) / 20, mode="valid")
    style, colour = looks.get(name.removeprefix("known, "), ("-", black))
    label = name.replace("known, ", "").replace("known", "plain")
    ax = axes[int(name.startswith("known"))]
    ax.plot(range(19, len(rates)), smooth_rate, style, color=colour, label=label)
axes[0].set_ylabel("rate (nats)")
heads = "from scratch", "from a decoder that knows $p_{\\mathrm{d}}$"
for ax, title in zip(axes, heads):
    ax.set(title=title, xlabel="step", xlim=(0, len(rates)), ylim=(0, None))
    ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# The factorised decoder needs its code and ends 1.4 nats short (encoder and decoder together; its likelihood was not measured). Started from scratch the decoder that sees one bit keeps 0.9 nats and ends 0.08 short. {numref}`fig-sg-chain` shows how: the rate rises to 1.7 nats while the decoder is poor, and then falls slowly, because little in the objective pulls at it. Annealing makes the rise four times as high, and the fall leads to the same place. Free bits keep the rate at their allowance by construction.
#
# Started as $p_{\mathrm{d}}$ (the rows *known*), the *same* decoder shows collapse, and the two remedies from the same start, for as many steps, show what a cure can do. (One seed each; the decoder had nothing to learn.) Plain training leaves the code shut: its rate is 0.04 nats at a bound within 0.01 nats of the best possible, posterior collapse at the optimum. Annealing opens it to about 3 nats while little is charged. As the weight grows it closes again; 0.4 nats are left at the end and still falling, at a bound as good as that of the shut code. Free bits hold 1.1 nats and end 0.08 short. So a cure can put information into a code that plain training leaves empty, and a better bound is not to be had by it: the decoder knows everything already.
#
# (sec-sg-sweep)=
# ### A decoder that sees more and more
#
# Now real images. `lvmlib.experiments.collapse` trains one encoder (196-200-8) on MNIST averaged down to 14x14, with decoders that differ in how far they see. Each is a `PixelVAE`: a PixelCNN ({doc}`chapter 4 <04_pixel_models>`) conditioned on $z$, $p(x \mid z) = \prod_t p(x_t \mid x_{<t}, z)$. A network turns $z$ into four planes of features as large as the image, and every layer of the PixelCNN reads them beside the pixels before the one it predicts. A first kernel of 1x1 sees no pixel at all, and the decoder factorises. Wider kernels and more layers see more, in the end 13 rows up and columns to either side, which is everything before the pixel. (The decoders differ in depth and size as well; the table counts their parameters.)
#
# One rival shows what the code is worth: *no code*, the decoder that sees everything, trained and tested with $z = 0$ for all images. That is a pixel model alone, of the same network, steps and batches.
#
# **Predict, then run.** As the decoder sees more, what happens to the rate, and to the likelihood? And how many nats of likelihood does a code of $r$ nats gain over no code?

# %%
collapse = record("collapse")
runs = collapse["runs"]
print(collapse["protocol"].replace("; ", ";\n"))
print(f"N = 6,000 training images: log N = {math.log(6000):.2f}")
print("  decoder sees     size   rate    I_N  marginal KL  distortion test NLL  active")
for name, run in runs.items():
    if run["cure"] not in ("none", "no code"):
        continue  # the remedies come below
    row = [run["train"][k] for k in ("rate", "mutual_information", "marginal_kl")]
    label = name.removeprefix("reach ")
    print(f"{label:>14} {run['parameters']:9,} {row[0]:6.2f} {row[1]:6.2f}", end=" ")
    print(f"{row[2]:12.2f} {-run['train']['reconstruction']:11.2f}", end=" ")
    print(f"{run['test_nll_nats']:8.2f} {run['active_units']:7}")


# %%
def against(name, other):
    """How much larger the test NLL of `other` is, image by image; mean and error."""
    ours, theirs = (np.array(runs[each]["test_nll_each"]) for each in (name, other))
    less = theirs - ours
    return f"{less.mean():.2f} +- {less.std() / len(less) ** 0.5:.2f}"


print("test NLL of the run that sees everything, less than that of the one that sees")
for other in ("reach 0", "reach 4", "reach 13, no code"):
    if other in runs:
        print(f"{other.removeprefix('reach '):>17}: {against('reach 13', other)} nats")

# %% mystnb={"figure": {"caption": "One encoder, decoders that see more and more. *Left:* the rate on 6,000 training images, cut in two, against the number of rows and columns that the decoder sees. *Right:* nats per test image: NLL, minus the ELBO, and distortion. Codes say less as the model gets *better*.", "name": "fig-sg-collapse"}, "image": {"alt": "Left, stacked bars that get shorter as the decoder sees more. Right, three sets of points: NLL and minus ELBO fall and approach each other, distortion rises towards them from below."}} tags=["hide-input"]
of_reach = [runs[f"reach {reach}"] for reach in DECODERS if f"reach {reach}" in runs]
seen = [str(reach) for reach in DECODERS if f"reach {reach}" in runs]
fig, axes = plt.subplots(1, 2, figsize=(6.8, 3))
lower = [run["train"]["mutual_information"] for run in of_reach]
upper = [run["train"]["marginal_kl"] for run in of_reach]
axes[0].bar(seen, lower, color=blue, label="mutual information")
axes[0].bar(seen, upper, bottom=lower, color=orange, label="marginal KL")
axes[1].plot(seen, [run["test_nll_nats"] for run in of_reach], "o", label="NLL")
points = [-run["test_elbo"] for run in of_reach]
axes[1].plot(seen, points, "s", color=orange, label="minus ELBO")
points = [-run["test_elbo"] - run["test_rate"] for run in of_reach]
axes[1].plot(seen, points, "^", color=green, label="distortion")
axes[0].set_ylabel("nats per training image")
axes[1].set_ylabel("nats per test image")
axes[1].set_xlim(-0.4, len(seen) - 0.6)
for ax in axes:
    ax.set_xlabel("rows and columns seen")
    ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# :::{dropdown} What to expect
# The rate falls, from 7.9 nats for the decoder that sees nothing to 2.8 for the one that sees everything, and the mutual information with it, from 6.8 to 2.7. The likelihood *improves* meanwhile, from 37.1 to 35.6 nats. A better model whose codes say less: the code no longer has to supply what nearby pixels tell. Most of the gain in likelihood is there as soon as the decoder sees 2 rows and columns; the rate goes on falling. (For the factorised decoder $I_N$ is not far below $\log N$, so 6.8 is a number of these 6,000 images.)
# :::
#
# What is left in the code pays for itself, and for little more. On the training images it takes 3.0 nats off the distortion and is charged 2.8 for them. On test images the same pixel model without a code has an NLL of 36.03; the code gains $0.43 \pm 0.06$ nats of likelihood, at a rate of 2.6. Rate is not profit.
#
# The rate does not reach 0 while encoder and decoder learn together, nor has it settled: after twice the steps it is 3.1 nats, with a better likelihood. In 1,500 steps (three passes) the decoder has not converged, so nothing here is near the optimum of {prf:ref}`thm-sg-optimum`. A second seed of the decoder that sees everything ends at a rate of 2.4, with the same likelihood within 0.05 nats. The active units tell none of this: six to eight of the eight latents are active in every row with a code, for they count which latents move at all. For *how much* codes say, ask the mutual information.
#
# (sec-sg-late)=
# ### A code that comes late
#
# In the chain of bits the code stayed empty where the decoder knew everything before it met the code. The same can be arranged with images. Train the decoder that sees everything without a code for 1,500 steps, then give it the code and train both for as long again (*pixels first*). A rival has its code in both stretches, at the same steps, rates and batches (*twice*).
#
# **Predict, then run.** In the sweep a code gained the pixel model 0.43 nats of likelihood. Does a code that comes late find as much to say?

# %%
late = ["no code", "twice", "pixels first", "pixels first, seed 1"]
print("decoder that sees everything; rate and I_N on training images, the rest on test")
print("                       rate   I_N     ELBO    NLL  active")
for name in late:
    run = runs[f"reach 13, {name}"]
    print(f"{name:>20} {run['train']['rate']:6.2f}", end=" ")
    print(f"{run['train']['mutual_information']:5.2f} {run['test_elbo']:8.2f}", end=" ")
    print(f"{run['test_nll_nats']:6.2f} {run['active_units']:7}")
for name in late[2:]:
    curve = dict(runs[f"reach 13, {name}"]["curve"])
    print(f"{name}: rate {curve.pop(0):.2f} at first, {curve[50]:.2f}", end=" ")
    print(f"50 steps later, at most {max(curve.values()):.2f} while training")
print("test NLL, image by image:")
for name, other in (("pixels first", "no code"), ("twice", "pixels first")):
    less = against(f"reach 13, {name}", f"reach 13, {other}")
    print(f"{name:>13} less than {other:>12} by {less} nats")

# %% [markdown]
# :::{dropdown} What to expect
# It finds nothing. The rate is 0.09 nats for the untrained encoder, 0.02 after 50 steps, never above 0.04 later, and 0.03 at the end; no latent is active. This is posterior collapse, on images. A second seed ends at 0.03 as well, with one latent that still counts as active. In the second stretch the model gains $0.40 \pm 0.04$ nats of likelihood, and it gains them as a pixel model.
# :::
#
# Is that a fault? In the chain of bits the empty code stood at the optimum. Here it does not. Given its code from the first step on, the same network ends at a rate of 3.0 nats, with a better bound ($-35.43$ against $-35.65$) and a likelihood that is better by $0.47 \pm 0.06$ nats. The collapsed model is stuck: bound and likelihood would both gain from a code, and training does not find the way there. A likely reason is that to a decoder which has learned to do without it an untrained code is noise. The first fifty steps shut it out, and from then on the encoder has little to learn from. {cite:t}`he2019` blame collapse on an encoder that lags behind its decoder; here the lag was made by hand.
#
# (sec-sg-cures)=
# ### Free bits and annealing
#
# The two remedies of the chain of bits are in common use. **{term}`KL annealing`** multiplies the KL term by a weight that rises from 0 to 1, so that codes are free while the decoder is still poor {cite:p}`bowman2016`; it may be repeated in cycles {cite:p}`fu2019`. **{term}`Free bits`** give every latent $j$ an allowance of $\lambda$ nats for which nothing is charged {cite:p}`kingma2016`. On a batch of $M$ images,
#
# $$ \mathcal{L}^{\lambda} = -\mathsf{D} - \sum_j \max\Bigl(\lambda,\; \frac1M \sum_{i=1}^M \operatorname{KL}(q(z_j \mid x_i) \,\|\, p(z_j))\Bigr) . $$ (eq-sg-free)
#
# A latent that uses less than its allowance saves nothing by using even less: its KL has no gradient there. As $\max(\lambda, \cdot)$ is at least its second argument, $\mathcal{L}^\lambda$ is still a lower bound on average, if a looser one. By hand, on the trained model that sees everything, with its decoder written out too: the features of $z$, the log-odds of each pixel from the pixels before it and these features, and the log-likelihood of all pixels at once. (The floor here is 0.55 nats, so that some latents lie below it and some above.)

# %%
knowing = model_of(*DECODERS[13])
load_checkpoint(knowing, KEPT["reach 13, free bits"])
_, small_test = small_digits()
small_bits = small_test.fixed(seed=0).x[:64]
with torch.no_grad():
    seed_everything(0)
    q = knowing.posterior(small_bits)
    z, mu, sigma = q.rsample(), q.mean, q.stddev  # [64, 8] each
    pixels = knowing.pair.decoder
    planes = pixels.network(z)  # four planes of features, [64, 4, 14, 14]
    log_odds = pixels.density.predict(small_bits, planes)  # masked: x_t sees x_<t
    log_odds = log_odds.reshape(small_bits.shape)
    log_p_x = (small_bits * log_odds - F.softplus(log_odds)).sum((1, 2, 3))
    of_units = 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).mean(0)  # [8]
    floor = 0.55  # some latents lie below it and some above
    mine = log_p_x - of_units.clamp(min=floor).sum()
    seed_everything(0)
    theirs = free_bits(knowing, small_bits, floor=floor)
print("KL of the eight latents:", ", ".join(f"{kl:.2f}" for kl in of_units.sort()[0]))
print(f"they sum to {of_units.sum():.2f}; charged", end=" ")
print(f"{of_units.clamp(min=floor).sum():.2f}, with a floor of {floor} for each")
print(f"L^lambda by hand {mine.mean():.2f}, lvmlib {theirs.mean():.2f} nats")
assert torch.allclose(mine, theirs, atol=1e-2)
assert of_units.min() < floor < of_units.max()
assert of_units.clamp(min=floor).sum() - of_units.sum() > 0.05  # the floor matters

# %% mystnb={"figure": {"caption": "The rate on 500 test images while training, for the decoder that sees everything. *Left:* from scratch; plain, with the KL weight annealed over the first half, with four such cycles, and with free bits, $\\lambda = 0.5$ nats for each of 8 latents (dotted: $8\\lambda$). *Right:* the same, except for the cycles, from the decoder that was trained for 1,500 steps without a code. Same networks, batches and steps; the vertical axis is linear up to 1 and logarithmic beyond.", "name": "fig-sg-cures"}, "image": {"alt": "Two panels of the rate against the step, with a dotted line at four nats. Left, the plain run rises slowly to between two and three nats, the annealed run shoots up past ten and falls to six, the cycles leap up three times and fall to six in the end, and the run with free bits rises to the dotted line and stays just above it. Right, the plain run lies at zero from start to end, the annealed run rises to ten nats and falls to a little above the dotted line, and the run with free bits stays at that line."}} tags=["hide-input"]
ways = {"": ("plain", black, "-"), ", annealing": ("annealing", blue, "--")}
ways |= {", cycles": ("cycles", sky, "-."), ", free bits": ("free bits", red, "-")}
starts = {"": "from scratch", ", pixels first": "from the pixel model"}
starts = {start: title for start, title in starts.items() if f"reach 13{start}" in runs}
size = 2.2 + 2.3 * len(starts), 3.1
fig, axes = plt.subplots(1, len(starts), figsize=size, sharey=True, squeeze=False)
for ax, (start, title) in zip(axes[0], starts.items()):
    for way, (label, colour, style) in ways.items():
        if f"reach 13{start}{way}" in runs:
            points = np.array(runs[f"reach 13{start}{way}"]["curve"])
            ax.plot(*points.T, style, color=colour, label=label)
    ax.axhline(4, color=black, ls=":", lw=1.2)
    ax.set_yscale("symlog", linthresh=1)
    ax.set(title=title, xlabel="step", xlim=(0, None), ylim=(0, None))
    ax.set_yticks([0, 0.5, 1, 4, 10, 40], ["0", "0.5", "1", "4", "10", "40"])
axes[0, 0].set_ylabel("rate (nats per image)")
axes[0, 0].legend(fontsize=8, handlelength=3)
plt.show()

# %%
print("decoder that sees everything: what the remedies leave at the end")
print("           training: rate    I_N   test: rate   ELBO    NLL  less than plain")
for start, title in starts.items():
    print(f"{title}:")
    for way, (label, *_) in ways.items():
        name = f"reach 13{start}{way}"
        if name in runs:
            run = runs[name]
            print(f"{label:>10} {run['train']['rate']:14.2f}", end=" ")
            print(f"{run['train']['mutual_information']:6.2f}", end=" ")
            print(f"{run['test_rate']:12.2f} {run['test_elbo']:6.2f}", end=" ")
            print(f"{run['test_nll_nats']:6.2f}", end="  ")
            print("" if way == "" else against(name, f"reach 13{start}"))
small_train, _ = small_digits()
coins = small_train.unit().x[:6000].double()  # grey levels, the bias of each coin
coins = -(torch.xlogy(coins, coins) + torch.xlogy(1 - coins, 1 - coins)).sum((1, 2, 3))
print(f"entropy of the coins that binarize a training image: {coins.mean():.1f} nats")

# %% [markdown]
# From scratch, where plain training ends at 2.6 nats on test images, the remedies raise a rate that had not collapsed. Free bits bring it to their allowance of 4 within the first two hundred steps, and keep it at 4.4. Annealing lets it climb to 12 nats while the weight is small; it falls as the weight grows, and ends at 6.0. Cycles end at 6.2.
#
# From the pixel model, whose late code stays empty under plain training, they are put to the test, and both open the code. With free bits the rate reaches 4 within two hundred steps and ends at 4.2. Annealing lifts it above 10; it falls again and is level at 4.7 over the last five hundred steps. In the chain an annealed code went on closing. There it had nothing to add to the decoder, and here it has.
#
# What did they gain? From scratch, codes that say 1.6 to 2.1 times as many nats, at an ELBO that is the same within 0.1, and 0.10 to 0.20 nats of likelihood, compared image by image ($\pm 0.05$). These errors are over images; between two seeds of plain training the likelihood differs by 0.05. Training for twice as long gained more than any of them. From the pixel model, codes that say 4.2 and 4.6 nats where plain training leaves 0.03, and $0.21 \pm 0.05$ and $0.25 \pm 0.05$ nats of likelihood. The ELBO on test images is *lower* than that of the collapsed model, by 0.2 and 0.1 nats: an empty code is easy to infer, so that its bound is within 0.02 nats of the likelihood, while the other two lose 0.5 and 0.4 nats to posteriors that are not exact. Nor do the remedies make up for the late start: *twice* ends 0.2 nats ahead of both in likelihood, and with the best bound of this table, at a smaller rate.
#
# Free bits and annealing choose *among* models of nearly equal bounds one whose code says more, as {prf:ref}`thm-sg-optimum` leads us to expect. If the code is what you are after, that is worth having, and a collapsed code can be opened so. If likelihood is, the order of training mattered more in these runs (one seed each, not converged).
#
# :::{admonition} Watch out: "a simple decoder pushes all entropy into $z$"
# :class: pitfall
# A decoder that factorises, so one hears, leaves all the randomness of $x$ to the code, since it has no other choice. Measurements say otherwise. The factorised decoder above has a rate of 7.9 nats beside a distortion of 31.2. No decoder could put two thirds of that distortion to use: the coins that binarize an image have an entropy of 21.1 nats of their own. About 10 nats beyond the coins stay in the pixels, and 7.9 go through the code (8 Gaussian latents, 1,500 steps, not converged; 6.8 of them are $I_N$ of 6,000 images). What the code takes is what pixels have *in common*, since that is all that a factorised decoder cannot supply itself.
# :::
#
# ### Exercises of Part 3
#
# :::{exercise} ★ What does a rate at the floor prove?
# :label: ex-sg-floor
# With $\lambda = 0.5$ and 8 latents, a colleague reads a KL term of exactly 4.0 nats off the training loss and says: "so the codes carry 4 nats". Give two reasons why this need not be so.
# :::
#
# :::{solution} ex-sg-floor
# :class: dropdown
# First, 4.0 may be the floor and not the rate: the charged term is $8\lambda$ for all latents that use at most $\lambda$, be it 0.5 nats or none. Print the KLs themselves. Second, rate is not information: part of it may be marginal KL ({prf:ref}`thm-sg-cut`). A posterior with mean 1 for every image costs 0.5 nats, meets the allowance and tells nothing. Measure $I_N$; the active units expose this case too, since they look at how the mean varies.
# :::
#
# :::{exercise} ★★ Every encoder is optimal
# :label: ex-sg-every
# Take the third case of {prf:ref}`thm-sg-optimum` and compute, for the tables of its check *before* training, what each of the thirty encoders reaches with its own best decoder and prior. What do $\mathsf{D}$ and $\mathsf{R}$ sum to?
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
    print(f"= {best_distortion[i] + best_rate[i]:.4f}, H = {entropy_x:.4f} nats")
assert ((best_distortion + best_rate - entropy_x).abs() < 1e-9).all()


# %% [markdown]
# (sec-sg-judge)=
# ## Part 4. Judge: blur and information
#
# ### How much of the blur is the prior's?
#
# Chapter 8 showed that a factorised decoder must average over what its code does not say ({prf:ref}`thm-vae-mean`). The other suspect is the prior: in {numref}`fig-sg-holes` it sends codes into gaps where the decoder was never trained. The surgery tells them apart, because the aggregated posterior is a sampler too. Draw $z$ from $q(z)$, that is, pick a training image and draw its code: the picture *is the reconstruction* of that image. So
#
# - from reconstructions of test images to samples from $q(z)$, only the images change, from new ones to training images;
# - from samples of $q(z)$ to samples of $p(z)$, only the prior comes in.
#
# As a measure of blur take the variance that a picture leaves in its pixels, $\sum_i \pi_i (1 - \pi_i)$, where $\pi_i$ is the probability that pixel $i$ is white. It is 0 for a picture of pure black and white. The models were trained on coins with the data's own grey levels as $\pi$, so the grey levels are the floor. A second number is the share of pictures of which the classifier of {numref}`sec-sg-five` is over 90% sure. It says little about blur, and much about whether the picture resembles one of ten digits.
#
# **Predict, then run.** Of the blur that samples from $p(z)$ have above the data's own, how much is left in samples from $q(z)$? For 2 latents, for 50?


# %%
@torch.no_grad()
def judged(pi):
    """Variance left in each picture, and the share of which the classifier is sure."""
    return (pi * (1 - pi)).sum((1, 2, 3)).double(), is_sure(pi).mean().item()


# %% tolerance={"rtol": 0.05, "atol": 0.05}
error_of = lambda values: (values.std() / len(values) ** 0.5).item()
head = f"{'blur':>33}{'over 90% sure':>20}"
print(head)
seed_everything(0)
for name, data in {"test data": test_images, "training data": images}.items():
    blur, sure = judged(data.unit().x[:2000])
    print(f"{name:>25}: {blur.mean():6.1f} +- {error_of(blur):.1f} {sure:12.2f}")
floor = judged(test_images.unit().x[:2000])[0].mean()

# %% tolerance={"rtol": 0.05, "atol": 0.05}
verdict = {}
print(head)
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
        print(f"{name:>10}{source:>16}: {blur.mean():5.1f}", end=" ")
        print(f"+- {error_of(blur):.1f} {sure:12.2f}")
    of_q, of_p = (verdict[name][f"samples of {d}(z)"][0] for d in "qp")
    left = (of_q.mean() - floor) / (of_p.mean() - floor)
    spread = (error_of(of_q) ** 2 + (left * error_of(of_p)) ** 2) ** 0.5
    print(f"{'':>12}share of the excess left without p(z): {left:.2f}", end=" +- ")
    print(f"{spread / (of_p.mean() - floor):.2f}")

# %% mystnb={"figure": {"caption": "The VAE with 50 latents: means of $p_\\theta(x \\mid z)$ for codes of test images (reconstructions), for codes from the aggregated posterior and for codes from the prior. The first two blocks look alike, digits with soft edges. The third is a little softer, and several of its pictures are not digits.", "name": "fig-sg-blur"}, "image": {"alt": "Three blocks of six by eight grey digits. In the first two nearly all are clean digits with soft edges; in the third several are mixtures of two digits, with edges a little softer."}} tags=["hide-input"] tolerance={"data": 0.05, "draws": ["all"], "rtol": 0.2}
seed_everything(1)
with torch.no_grad():
    of_codes = aggregated_posterior(deep, bits).sample((48,))
    blocks = [
        deep.reconstruct(test_bits[:48]),
        deep.likelihood(of_codes).mean,
        deep.likelihood(deep.prior.sample(48)).mean,
    ]
rows = apart(block.view(8, 6, 1, 28, 28) for block in blocks)
blank = [""] * 6
titles = ["", "", "reconstructions", *blank, "from $q(z)$", *blank]
titles += ["from $p(z)$", "", "", ""]
image_grid(rows.flatten(0, 1), columns=20, column_labels=titles)
plt.show()


# %% [markdown]
# Most of the blur of samples is in the reconstructions already. For the VAE with 50 latents these leave a variance of 20.9 in the pixels, samples of $q(z)$ 21.0, samples of $p(z)$ 23.2, and the grey levels 14.4. Of what samples of the prior have in excess of the data, three quarters remain without the prior; in the four models it is 96, 75, 71 and 95%. Between models the blur of reconstructions differs far more: 42.8 with 2 latents, 30 for the two models of 1,200 steps, 20.9 with 50 latents after 600 passes. A factorised decoder must average over what the code does *not* say, and the two latents say least. But the rate is not all: the model of 1,200 steps with the prior $\mathcal{N}(0, I)$ and the one with 50 latents pay nearly the same on test images, 22 and 24 nats, and their blur differs by nine. The larger network, trained for longer, reads more out of its codes. Even that one is not at its end. By the specks of {numref}`sec-sg-log-n` each training image could be decoded to itself, and is not, presumably because a smooth network gives codes that lie close together nearly the same picture.
#
# The prior adds the rest, and it decides *which* picture comes out: the classifier is sure of 80% of the samples of $q(z)$, nearly as many as of training images (82%), and of 44% of those of $p(z)$. (It is shown pixels drawn from $\pi$; the classifier of chapter 8 is shown grey means, and is sure more often.) A better prior repairs exactly that, and with it its share of the blur. With the VampPrior of {numref}`sec-sg-vamp` the classifier is sure of 67% of the samples where the twin with $\mathcal{N}(0, I)$ has 26%, and their blur is 31.3 in place of 37.1; reconstructions are as soft as before, 30.4 against 30.2.
#
# :::{admonition} Watch out: "VAE samples are blurry because the prior does not match"
# :class: pitfall
# The prior does not match, and samples are blurred, but the second does not follow from the first. Replacing the prior by the aggregated posterior removes a quarter of the excess blur of the VAE with 50 latents and 4% of that of the VAE with 2; the rest is in every reconstruction. These are four models with factorised decoders, trained on one data set.
# :::
#
# That a decoder in which pixels depend on each other draws sharper pictures these four models cannot show: all of them factorise. For that compare binary draws, since a pixel model has no mean. Count how many neighbouring pixels differ, which is the length of all edges; speckle makes it long, and so does more ink, so divide by the number of white pixels. The next two cells do this for the factorised decoder of Part 3 and for the one that sees everything, trained with free bits, on 14x14 digits. A classifier trained on 14x14 digits says how often a reconstruction is still taken for the digit that it came from.


# %%
@torch.no_grad()
def edges_per_ink(x):
    """Pairs of neighbouring pixels that differ, per white pixel, of each picture."""
    across = (x[..., 1:] != x[..., :-1]).sum((1, 2, 3))
    down = (x[..., 1:, :] != x[..., :-1, :]).sum((1, 2, 3))
    return (across + down).double() / x.sum((1, 2, 3)).clamp(min=1)


small_reader = MLP(196, (200,), 10, nn.SiLU)
seed_everything(0)
data = small_train, small_train.y
fit(small_reader, data, right, lr=cosine(2e-3, 1000), **settings)
real, labels = small_test.fixed(seed=0).x[:1000], small_test.y[:1000]

# %% tolerance={"rtol": 0.03, "atol": 0.03}
drawn = {"data": real}
for name in ("reach 0", "reach 13, free bits"):
    small = model_of(*DECODERS[int(name.split()[1].strip(","))])
    load_checkpoint(small, KEPT[name])
    seed_everything(0)
    drawn[f"{name}, reconstructions"] = small.reconstruct(real)
    drawn[f"{name}, samples"] = small.sample(1000)
print("                                     edges per ink       ink   same digit")
for name, x in drawn.items():
    each = edges_per_ink(x)
    print(f"{name:>36}: {each.mean():.2f} +- {error_of(each):.2f}", end=" ")
    print(f"{x.sum((1, 2, 3)).mean():9.1f}", end=" ")
    with torch.no_grad():
        kept = (small_reader(x).argmax(1) == labels).double().mean()
    print("" if "samples" in name else f"{kept:9.2f}")

# %% mystnb={"figure": {"caption": "Binary 14x14 digits. *Rows 1 and 2:* test images. *3 and 4:* their reconstructions, *5 and 6:* samples, by the factorised decoder. *7 and 8, 9 and 10:* the same by the decoder that sees everything, trained with free bits. At this size the eye hardly tells the two decoders apart; the counts above do.", "name": "fig-sg-sharp"}, "image": {"alt": "Ten rows of sixteen small binary images: test digits, ragged at their edges by binarization, then reconstructions and samples of two decoders, the second pair a little bolder; some of its reconstructions show another digit."}} tags=["hide-input"] tolerance={"draws": ["rows 3-10"], "rtol": 0.2}
rows = torch.cat([x[:32] for x in drawn.values()])
kinds = ["data", "rec.", "draws", "rec.", "draws"]
names = [kind if i == 0 else "" for kind in kinds for i in range(2)]
image_grid(rows, columns=16, row_labels=names)
plt.show()

# %% [markdown]
# Per unit of ink the factorised decoder draws more edge than the data have, 2.27 in reconstructions and 2.21 in samples against 2.16. The pixel model draws less, 2.11 and 2.09 (errors 0.01; one seed, both not converged): its pictures are smoother than the data. (Both decoders use a little more ink than there is.) The speckle goes without a better prior, by a decoder that draws *one* of the pictures that share a code in place of their mean. The last column tells the price. The small classifier reads the right digit in 85% of the data, in 65% of the factorised decoder's reconstructions and in 48% of the pixel model's, whose code says little more than four nats and leaves the rest to the decoder. {numref}`fig-dc-pixelvae` shows it at full size.
#
# (sec-sg-plane)=
# ### Rate, distortion, information
#
# {prf:ref}`thm-vae-rd` placed every VAE in a plane, with $H - \mathsf{D} \le I_q \le \mathsf{R}$ for the distribution of the images. The surgery of a sample adds $I_N$. {numref}`fig-sg-plane` draws two points for each $\beta$ of {numref}`sec-sg-beta`: one at the rate, one at $I_N$, at the same distortion. (For the 20,000 images themselves $H = \log N = 9.9$ nats, so that $H - \mathsf{D}$ is negative and the lower bound says nothing.) Where the hollow points stand on the dashed line, the segment is the rate minus $\log N$ and no property of the model ({numref}`sec-sg-log-n`); only for $\beta \ge 3$ is it a marginal KL that one may read.

# %% mystnb={"figure": {"caption": "The plane of rate and distortion for six $\\beta$, on the 20,000 training images. Filled: the rate. Hollow: the mutual information $I_N$ of the same model; the segment between is the marginal KL on these images. Dashed: $\\log N$, the ceiling of $I_N$.", "name": "fig-sg-plane"}, "image": {"alt": "A falling curve of filled dots. From each a horizontal segment leads left to a hollow dot. For small beta the hollow dots all stand on a vertical dashed line at 9.9 nats; for large beta they leave it to the left and the segments get short."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(5.6, 3.4))
of_beta = lambda name: [found[f"train_{name}"] for found in by_beta.values()]
kl, told, cost = map(of_beta, ("rate", "mutual_information", "reconstruction"))
cost = [-c for c in cost]
ax.plot(kl, cost, "o-", color=blue, label="rate", clip_on=False)
ax.hlines(cost, told, kl, color=orange, label="marginal KL")
look = {"mfc": "white", "color": blue, "clip_on": False}
ax.plot(told, cost, "o", label="mutual information", **look)
for beta, x, y in zip(by_beta, kl, cost):
    ax.annotate(f"{beta:g}", (x, y), (5, 3), textcoords="offset points", fontsize=9)
ax.axvline(ceiling, color=black, ls="--", lw=1.2, label="$\\log N$")
ax.set(xlabel="nats of code", ylabel="distortion (nats)", xlim=(0, 42))
ax.legend(fontsize=8)
plt.show()

# %% [markdown]
# (sec-sg-two-joints)=
# ### *Optional:* two mutual informations
#
# Chapter 1 has another way to a mutual information, a lower bound by any classifier of codes ({prf:ref}`thm-mi-bound`). With the encoder as classifier it reads $\mathbb{E}_{p(z)\, p_\theta(x \mid z)}[\log q(z \mid x) - \log p(z)]$, which is `mutual_information_bound`. It resembles the rate, but its expectation is under the *model's* joint distribution: $z$ comes from the prior and $x$ from the decoder. First where the two joints agree: $z \sim \mathcal{N}(0, 1)$, $x = z + \varepsilon$ with $\varepsilon \sim \mathcal{N}(0, 1)$, data drawn from the model and the exact posterior as $q$. Then the data are spread out, while model and encoder stay.

# %%
layer = LinearGaussian(torch.ones(1, 1).double(), torch.zeros(1).double(), 1.0)
line_model = Flow([layer], StandardNormal((1,)).double())
print("nats; I by surgery and its exact value, I by the bound and its exact value")
for name, variance in (("data from the model", 2.0), ("data twice as wide", 8.0)):
    seed_everything(0)
    x = variance**0.5 * torch.randn(4000 * SCALE, 1).double()
    by_surgery = decompose(line_model, x, k=4).mutual_information.mean()
    by_bound = mutual_information_bound(line_model, 100_000).mean()
    # q(z|x) = N(x/2, 1/2), so q(z) has variance variance/4 + 1/2
    exact = 0.5 * math.log((variance / 4 + 0.5) / 0.5)
    print(f"{name}: {by_surgery:.2f} ({exact:.3f})", end=", ")
    print(f"{by_bound:.2f} ({0.5 * math.log(2):.3f})")
    assert abs(by_surgery - exact) < 0.03 and abs(by_bound - 0.5 * math.log(2)) < 0.02

# %%
print("the six VAEs: I_N under the encoder (at most 9.90), rate, bound under the model")
for beta, found in by_beta.items():
    print(f"beta {beta:4g}: {found['train_mutual_information']:5.2f}", end="  ")
    print(f"{found['train_rate']:5.2f}  {found['model_information']:7.2f}", end=" +- ")
    print(f"{found['model_information_error']:.2f}")

# %% [markdown]
# :::{admonition} Watch out: whose mutual information?
# :class: pitfall
# $I_q$ is that of data and encoder, $p_{\mathrm{d}}(x)\, q(z \mid x)$; the bound belongs to $p(z)\, p_\theta(x \mid z)$. They need be the same only where the two joint distributions agree, which means a perfect model with exact posteriors. On the linear model they agree for data from the model, 0.35 nats, and when the data are twice as wide one becomes 0.80 and the other is unchanged. The six VAEs show how far apart the two can be. At $\beta = 0.1$ the bound is $-929$ nats, still correct as a lower bound on something that is not negative, and useless: at pictures that this model draws, the encoder gives the codes that made them, in the mean, 929 nats less log-density than the prior does. At $\beta = 10$ it is 4.3, above even the rate of 3.2. The rate bounds $I_q$ and not the model's information: this decoder says at least 4.3 nats with a code from the prior, while the encoder, held back by $\beta$, passes on at most 3.2 about the data. A third difference is the sample: $I_N$ has the ceiling $\log N$, the bound has none.
# :::
#
# ### Exercise of Part 4
#
# :::{exercise} ★★ A prior that fits, a decoder that does not
# :label: ex-sg-suspects
# For each of these three models say which term of {eq}`eq-sg-goal` is large and what its samples look like: (a) an autoencoder with tiny $\sigma_\phi$ and the prior $\mathcal{N}(0, I)$; (b) a VAE with $\beta = 30$ and a factorised decoder; (c) a VAE with a decoder that sees everything, whose codes have collapsed.
# :::
#
# :::{solution} ex-sg-suspects
# :class: dropdown
# (a) The marginal KL: codes are specks, the prior hardly ever hits one, and most samples are not digits, though sharp where a speck is hit. (b) The distortion: rate and marginal KL are small, so the prior fits, and samples are blurred averages, since many images share a code. (c) The distortion too, which is the model's whole NLL; samples are as good as those of the pixel model, and the code has no influence on them.
# :::
#
# (sec-sg-diffusion)=
# ## Part 5. *Optional epilogue:* diffusion is a deep VAE
#
# This part of the book began with one latent variable and ends with a thousand, for data of one dimension and with the best decoder in closed form; no network is trained. Take a hierarchy $x_0 \to x_1 \to \dots \to x_T$ of latents, all as large as the data $x_0$, and *fix the encoder*: each step shrinks its input a little and adds noise,
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
# & - \sum_{t=2}^T \mathbb{E}_q\bigl[\operatorname{KL}(q(x_{t-1} \mid x_t, x_0) \,\|\, p_\theta(x_{t-1} \mid x_t))\bigr] .
# \end{aligned}
# $$ (eq-sg-diffusion)
# :::
#
# :::{prf:proof}
# Given $x_0$ the encoder is a Markov chain, so for $t \ge 2$ Bayes' rule gives $q(x_t \mid x_{t-1}) = q(x_t \mid x_{t-1}, x_0) = q(x_{t-1} \mid x_t, x_0)\, q(x_t \mid x_0) / q(x_{t-1} \mid x_0)$. In the product over $t = 2, \dots, T$ the last fractions telescope to $q(x_T \mid x_0) / q(x_1 \mid x_0)$, and $q(x_1 \mid x_0)$ is the factor of $t = 1$. Hence $q(x_1, \dots, x_T \mid x_0) = q(x_T \mid x_0) \prod_{t \ge 2} q(x_{t-1} \mid x_t, x_0)$. Insert this into $\mathbb{E}_q[\log p(x_0, \dots, x_T) - \log q(x_1, \dots, x_T \mid x_0)]$ and collect the factors with the same arguments.
# :::
#
# The terms are those of a VAE: a reconstruction, a KL at the top, and one KL for each layer between, where $q(x_{t-1} \mid x_t, x_0)$ is a Gaussian in closed form. In practice $p_\theta$ is a network that is told $t$ and predicts the noise in $x_t$; $T - 1$ times the term of one $t$ picked at random is an unbiased estimate of the sum, so that a training step needs one layer only {cite:p}`ho2020`. For a check we need no network. Let $x_0$ be one number from two narrow humps; then $q(x_0 \mid x_t)$ is a mixture of two Gaussians with known mean and variance, which give the best Gaussian $p_\theta(x_{t-1} \mid x_t)$ in closed form. In the library the same model is a `Flow` of stochastic layers. With $T = 3$, draws of its log-weight must average to the three terms.

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


# %%
def bridge(before, now):
    """q(x_{t-1} | x_t, x_0) = N(g x_t + c x_0, v), from a_{t-1} and a_t."""
    alpha = now / before
    noise = 1 - alpha**2
    g, c = alpha * (1 - before**2) / (1 - now**2), before * noise / (1 - now**2)
    return g, c, noise * (1 - before**2) / (1 - now**2)


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


# %%
log_data, _, _ = of_x0(x_grid, torch.tensor(1.0).double())
data_entropy = -(log_data.exp() * log_data * dx).sum().item()
gaps = {}
print(f"E log p_d(x) = {-data_entropy:.4f}, the largest possible bound (nats)")
print("   T  reconstruction  top KL  other KLs    bound      gap  other KLs - log T")
for T in (1, 2, 3, 5, 10, 30, 100, 300, 1000):
    inner, top, middle = diffusion_terms(T)
    gaps[T] = -data_entropy - (inner - top - middle)
    if T in (1, 3, 10, 100, 1000):
        print(f"{T:4} {inner:15.3f} {top:7.4f} {middle:10.3f}", end=" ")
        print(f"{inner - top - middle:8.4f} {gaps[T]:8.5f}", end=" ")
        print(f"{middle - math.log(T):12.3f}")
assert all(gap > 0 for gap in gaps.values()) and gaps[1000] < 0.01
assert abs(gaps[100] / gaps[1000] - 100) < 20  # the gap falls about like 1 / T^2


# %%
class Computed(nn.Module):
    """A network without weights: mean and log of the scale by a formula."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, x):
        mean, log_scale = self.formula(x[:, 0])
        return torch.stack([mean, log_scale.expand_as(mean)], 1)  # [B, 2]


def stochastic_layer(t, fade):
    """q(x_t | x_{t-1}) upwards and the best Gaussian of x_{t-1} given x_t downwards."""
    alpha = fade[t] / fade[t - 1]
    g, c, v = bridge(fade[t - 1], fade[t]) if t > 1 else (0.0, 1.0, 0.0)

    def down(x_t):
        _, mean, left = of_x0(x_t, fade[t])
        return g * x_t + c * mean, 0.5 * (v + c**2 * left).log()

    up = Computed(lambda x: (alpha * x, 0.5 * (1 - alpha**2).log()))
    both = (ConditionalNormal((1,), network) for network in (up, Computed(down)))
    return StochasticPair(*both)


# %% tags=["check:thm-sg-diffusion"]
layers = [stochastic_layer(t, fading(3)) for t in (1, 2, 3)]
three_layers = Flow(layers, StandardNormal((1,)).double())
many_x = 200_000
seed_everything(0)
side_of = torch.randint(2, (many_x, 1)).double() * 2 - 1
x_0 = hump * side_of + width_0 * torch.randn(many_x, 1).double()
with torch.no_grad():
    log_w = three_layers.log_weights(x_0, k=1)[0]
inner, top, middle = diffusion_terms(3)
print(f"bound by draws {log_w.mean():.3f} +- {error_of(log_w):.3f}", end=", ")
print(f"by the three terms {inner - top - middle:.3f} nats")
assert abs(log_w.mean() - (inner - top - middle)) < 4 * error_of(log_w)
assert min(middle, data_entropy) > 0.1

# %% mystnb={"figure": {"caption": "A diffusion model of one number with two humps. *Left:* what the best decoder of Gaussian steps loses against $\\log p_{\\mathrm{d}}$, against the number of layers. *Right:* for $T = 100$, the nats that layer $t$ still says about $x_0$: the mutual information $I(x_0; x_t)$.", "name": "fig-sg-diffusion"}, "image": {"alt": "Left, a falling line on logarithmic axes from 0.7 nats at one layer to a hundred-thousandth at a thousand. Right, a curve that falls from 3.5 nats to zero as t goes from 1 to 100, steeply at first."}} tags=["hide-input"]
layer_told = []
for faded in fading(100)[1:]:
    log_q, _, _ = of_x0(x_grid, faded)
    whole_entropy = -(log_q.exp() * log_q * dx).sum()
    noise_entropy = 0.5 * torch.log(2 * math.pi * math.e * (1 - faded**2))
    layer_told.append((whole_entropy - noise_entropy).item())
print(f"T = 100: layer 1 says {layer_told[0]:.1f} nats, layer 50 {layer_told[49]:.2f}")
top = diffusion_terms(100)[1]
print(f"layer 100 says {layer_told[99]:.8f}, the top KL is {top:.8f}")
assert 0 < layer_told[99] < top  # as the cut demands
fig, axes = plt.subplots(1, 2, figsize=(6.8, 2.8))
axes[0].loglog(list(gaps), list(gaps.values()), "o-", color=blue)
axes[0].set(xlabel="layers $T$", ylabel="gap (nats)")
axes[1].plot(range(1, 101), layer_told, color=blue)
axes[1].set(xlabel="layer $t$", ylabel="$I(x_0; x_t)$ (nats)", xlim=(1, 100))
axes[1].set(ylim=(0, None))
plt.show()

# %% [markdown]
# Read {numref}`fig-sg-diffusion` with the vocabulary of this chapter. *The top prior fits by construction.* The encoder is fixed such that $q(x_T)$ is nearly $\mathcal{N}(0, I)$: the top KL is 0.00052 nats, and next to nothing of it is marginal KL. (With $z = (x_1, \dots, x_T)$ the *whole* prior is the chain down to $x_1$. That part is learned, and for small $T$ it does not fit.) *The top is collapsed by design,* $I(x_0; x_T)$ is 0.00052 nats, and that is no fault: the layers below say step by step what the ones above leave open, down to the first. *Gaussian steps are enough if they are small.* With one layer the best Gaussian decoder ends 0.72 nats short of the truth, because $q(x_0 \mid x_1)$ has two humps; with 10 layers 0.05, with 1,000 about $10^{-5}$. What a VAE gains by a better encoder, a diffusion model gains by depth. It pays for that in sampling: a thousand steps in place of one.
#
# ### Exercise of Part 5
#
# :::{exercise} ★★★ The best reverse step
# :label: ex-sg-reverse
# Show that among Gaussians $p_\theta(x_{t-1} \mid x_t)$ the one with the mean and variance of $q(x_{t-1} \mid x_t)$ is best, and that its term of {eq}`eq-sg-diffusion` is $\frac12 \mathbb{E} \log(1 + c_t^2 \operatorname{Var}(x_0 \mid x_t) / v_t)$ in one dimension, where $q(x_{t-1} \mid x_t, x_0) = \mathcal{N}(g_t x_t + c_t x_0, v_t)$. In the table the sum of these terms grows like $\log T$. Why, although the gap shrinks?
# :::
#
# :::{solution} ex-sg-reverse
# :class: dropdown
# For fixed $x_t$ average the KL of Gaussians ({prf:ref}`thm-vae-kl`) over $x_0$ given $x_t$. With $p_\theta = \mathcal{N}(m, w)$ it is $\frac12 \bigl( (v_t + \mathbb{E}(g_t x_t + c_t x_0 - m)^2) / w - 1 + \log (w / v_t) \bigr)$. The best $m$ is $g_t x_t + c_t \mathbb{E}[x_0 \mid x_t]$, which leaves $v_t + c_t^2 \operatorname{Var}(x_0 \mid x_t)$ in the numerator; the best $w$ is that numerator, and the term becomes $\frac12 \log (w / v_t)$.
#
# Let $\delta = 0.49\,\pi / T$, so $a_t = \cos(\delta t)$. In the first layers $s_t^2 \approx \delta^2 t^2$ is small, $\operatorname{Var}(x_0 \mid x_t) \approx s_t^2$ and $1 - \alpha_t^2 \approx \delta^2 (2t - 1)$. Then $c_t \approx (2t - 1) / t^2$ and $v_t \approx \delta^2 (2t - 1)(t - 1)^2 / t^2$, so that
#
# $$ \frac{c_t^2 \operatorname{Var}(x_0 \mid x_t)}{v_t} \approx \frac{2t - 1}{(t - 1)^2} = \frac{t^2}{(t - 1)^2} - 1 . $$
#
# The term is about $\frac12 \log \frac{t^2}{(t - 1)^2} = \log \frac{t}{t - 1}$, whatever $T$ is: 0.69, 0.41, 0.29 for $t = 2, 3, 4$. The first $m$ layers together give $\log m$. Take for $m$ a small fixed share of $T$: this is $\log T$ and a constant, and the other layers add a constant too, since at a fixed share $t / T$ each term is of order $1/T$. With more layers the first one has less noise, $x_1$ says $\log T$ more about $x_0$, and the reconstruction gains just as much. What shrinks is the *gap*, the mean KL of the true $q(x_{t-1} \mid x_t)$ to a Gaussian: small steps are nearly Gaussian, and it falls about like $1 / T^2$.
# :::
#
# (sec-sg-summary)=
# ## Summary
#
# :::{list-table} What was shown, and where it lives in `lvmlib`.
# :header-rows: 1
# :name: tab-sg-summary
#
# * - result
#   - in one line
#   - in `lvmlib`
# * - {prf:ref}`thm-sg-cut`
#   - mean KL = mutual information + marginal KL
#   - `decompose`
# * - {prf:ref}`thm-sg-log-n`
#   - the codes of $N$ images say at most $\log N$ nats about them; near $\log N$ only the rate is the model's
#   - `decompose`
# * - {prf:ref}`thm-sg-parts`
#   - a batch as a data set of its own says too little, on average
#   - `decompose(..., data_size=N)`
# * - {prf:ref}`thm-sg-prior`
#   - the best prior for a fixed encoder is the aggregated posterior, on the training set
#   - `aggregated_posterior`, `VampPrior`
# * - {prf:ref}`thm-sg-optimum`
#   - the largest bound is $-H$, with codes that say anything from nothing to everything
#   - `PixelVAE`
# * - {numref}`sec-sg-late`
#   - a code that comes late stays empty, at a worse bound than with a code from the start
#   - `PixelVAE`
# * - {numref}`sec-sg-cures`
#   - free bits and annealing open a code that plain training leaves empty; free bits hold it by construction
#   - `free_bits`, `Scheduled`, `warmup`, `cyclical`
# * - {numref}`sec-sg-two-joints`
#   - two mutual informations, under the encoder and under the model
#   - `mutual_information_bound`
# * - {prf:ref}`thm-sg-diffusion`
#   - a diffusion model is a deep VAE with a fixed encoder
#   - `Flow`, `StochasticPair`
# :::
#
# **In one paragraph.** The ELBO is minus a distortion, minus what the codes say, minus what the prior misses, and on a sample the last two can be read apart only where the codes say much less than $\log N$. For a fixed encoder the best prior is the aggregated posterior, which removes the last term on the training images and may be a disaster on others, so one fits a smooth density to it. The code may be empty where the decoder can do without it, which the bound permits and does not ask for, and it may stay empty because it came late; free bits and annealing open it, and gain a little likelihood, though no better bound and not all that the late start has cost. Most of the blur of samples is in reconstructions already; what the prior spoils is above all which pictures come out.
#
# ## Further reading
#
# - {cite:t}`hoffman2016` cut the ELBO; {cite:t}`makhzani2016` named the aggregated posterior and fitted it adversarially; {cite:t}`chen2018tcvae` cut the marginal KL further, into a total correlation and one KL for each latent.
# - {cite:t}`tomczak2018` on the VampPrior, {cite:t}`norouzi2020` on the aggregated posterior as a prior that generalises; {cite:t}`rosca2018` on how badly the marginals of VAEs fit.
# - {cite:t}`bowman2016` met posterior collapse and annealed it; {cite:t}`chen2017` explain by bits-back coding when codes are used; {cite:t}`gulrajani2017` put a PixelCNN into a VAE; {cite:t}`he2019` blame an encoder that lags behind; {cite:t}`lucas2019` study collapse where everything is linear.
# - {cite:t}`alemi2018` on the plane of rate and distortion.
# - {cite:t}`ho2020` and {cite:t}`kingma2021` on diffusion, the latter in the language of this chapter.
