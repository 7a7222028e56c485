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
# (ch-vae)=
# # Variational autoencoders
#
# *An autoencoder learns to describe an image in a few numbers. Make the description a little uncertain, charge for every
# nat it carries, and the same network becomes a model of the images: one that can be sampled, scored and explored.*
#
# **What you will be able to do**
#
# - say what a bottleneck keeps, prove that a linear one is PCA, and measure what its codes are worth when labels are rare;
# - derive the evidence lower bound, its reparameterised gradient and its closed-form KL term, and check each against
#   something you did not derive;
# - write a VAE in fifteen lines, train it on real MNIST, and estimate the log-likelihood that the bound only bounds;
# - choose a decoder and compare decoders in units that can be compared;
# - read the rate-distortion plane, and say why samples are blurry and what the latent axes do *not* mean.
#
# **Needs.** Entropy and KL divergence ({doc}`chapter 1 <01_information_theory>`), expectations and the chain rule; PyTorch to the level
# of `nn.Module`. Latent-variable models are introduced as far as they are used.
#
# **Run time.** A little over a minute on one core of a 2-core machine, most of it training on real MNIST.
# The networks are small and a GPU would hardly help. Three models took longer to train than a chapter should: they come as
# checkpoints with the script that made them, and the text says where; two comparisons come as the records of such scripts.

# %%
import copy
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence

# %%
from lvmlib.base import Transform, bits_per_dim, seed_everything
from lvmlib.bounds import distortion_and_rate, elbo, log_likelihood
from lvmlib.chain import Flow
from lvmlib.checkpoints import load_checkpoint
from lvmlib.data import load
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalDiscretizedLogistic,
    ConditionalNormal,
    StandardNormal,
)
from lvmlib.latent import VAE, LinearGaussian, StochasticPair
from lvmlib.networks import MLP
from lvmlib.plotting import COLOURS, image_grid, use_style
from lvmlib.training import cosine, fit

SCALE = 1  # multiplies every training run below; the stored outputs are those of 1
use_style()

# %% [markdown]
# (sec-bottleneck)=
# ## How few numbers describe a digit?
#
# A digit of MNIST has 784 pixels, and nearly all pictures of 784 pixels are not digits. So a digit should fit into far fewer numbers.
# Which ones? Let a network find out. An **encoder** $f$ maps the image $x \in \mathbb{R}^D$ to a **code** $z = f(x) \in \mathbb{R}^k$, a **decoder**
# $g$ maps the code back, and both are trained to give the image back:
#
# $$ \min_{f, g}\; \frac1N \sum_{n=1}^N \lVert x_n - g(f(x_n)) \rVert^2 . $$ (eq-autoencoder)
#
# This is an {term}`autoencoder`. Nothing supervises it but the data. The only thing that keeps it from copying is that $k$ is small: the
# **bottleneck**. {numref}`fig-bottleneck` shows what each width costs, beside a much older method, principal component analysis, and the
# two are closer relatives than they look.
#
# :::{prf:theorem} A linear autoencoder is PCA
# :label: thm-ae-pca
# Let $X \in \mathbb{R}^{N \times D}$ hold the centred data in its rows, with singular value decomposition $X = U S V^\top$,
# $s_1 \ge s_2 \ge \dots \ge s_D \ge 0$, and let $V_k$ be the first $k$ columns of $V$. Among all linear encoders $A \in \mathbb{R}^{k \times D}$
# and decoders $W \in \mathbb{R}^{D \times k}$,
#
# $$ \min_{A, W} \sum_n \lVert x_n - W A x_n \rVert^2 = \sum_{i > k} s_i^2 , $$ (eq-linear-autoencoder)
#
# attained by $A = V_k^\top$, $W = V_k$: project on the first $k$ principal components. If $s_k > s_{k+1}$, every minimiser gives the same
# reconstructions $W A x_n = V_k V_k^\top x_n$. If the decoder may also add a constant, the data need not be centred: the minimum is that of the centred data.
# :::
#
# :::{prf:proof}
# The reconstructions are the rows of $B = X A^\top W^\top$, a matrix of rank at most $k$. Take any $B$ of rank at most $k$, and $Q \in \mathbb{R}^{D \times k}$ with
# orthonormal columns whose span contains the rows of $B$. With $P = Q Q^\top$ we have $BP = B$, so $X - B = X(I - P) + (XP - B)$, where the rows of the
# first term are orthogonal to $\operatorname{span} Q$ and those of the second lie in it. By Pythagoras
#
# $$ \lVert X - B \rVert_F^2 = \lVert X (I - P) \rVert_F^2 + \lVert X P - B \rVert_F^2 \;\ge\; \lVert X \rVert_F^2 - \lVert X Q \rVert_F^2 . $$
#
# Now $\lVert X Q \rVert_F^2 = \operatorname{tr}(Q^\top V S^2 V^\top Q) = \sum_i c_i s_i^2$ with $c_i = \lVert Q^\top v_i \rVert^2$. As $Q$ and $V$ have orthonormal columns,
# $0 \le c_i \le 1$ and $\sum_i c_i = \operatorname{tr}(Q^\top V V^\top Q) = k$. A sum $\sum_i c_i s_i^2$ under these constraints is largest when the weight lies on the $k$
# largest $s_i^2$, so $\lVert X - B \rVert_F^2 \ge \sum_i s_i^2 - \sum_{i \le k} s_i^2 = \sum_{i > k} s_i^2$ (this much is the theorem of {cite:t}`eckart1936`). The choice
# $A = V_k^\top$, $W = V_k$ attains it. If $s_k > s_{k+1}$, equality forces $c_i = 1$ for $i \le k$ and $c_i = 0$ beyond, that is $\operatorname{span} Q = \operatorname{span} V_k$, and $B = XP = X V_k V_k^\top$.
#
# Biases: for a fixed product $WA$ a constant $b$ added to the reconstruction is best when $b = (I - WA)\bar{x}$, for which the error is that of the centred data. (A bias of the encoder only adds a vector of the form $Wa$ to $b$, so beside a bias of the decoder it gains nothing.)
# :::
#
# The codes themselves are *not* determined: $A \to M A$, $W \to W M^{-1}$ with any invertible $M$ gives the same reconstructions. Remember this; it comes back as a theorem
# about VAEs ({numref}`sec-axes`).
#
# Does gradient descent, which knows nothing of singular values, find them? We train a linear autoencoder on scikit-learn's 8x8 digits from a random start and
# compare with scikit-learn's PCA.

# %%
X = load("digits")[0].x.flatten(1).double()  # [1257, 64], grey levels 0..16
X = X - X.mean(0)
C = X.T @ X / len(X)  # all that the loss needs: |X - X A'W'|^2 / N = tr (I - WA) C (I - WA)'
torch.manual_seed(0)
A, W = (0.1 * torch.randn(*shape, dtype=X.dtype) for shape in ((8, 64), (64, 8)))
optimizer = torch.optim.LBFGS(
    [A.requires_grad_(), W.requires_grad_()], max_iter=600, tolerance_change=0, line_search_fn="strong_wolfe"
)


def closure():
    optimizer.zero_grad()
    residual = torch.eye(64, dtype=X.dtype) - W @ A
    loss = (residual @ C * residual).sum()
    loss.backward()
    return loss


# %% tags=["check:thm-ae-pca"]
optimizer.step(closure)
pca = PCA(svd_solver="full").fit(X.numpy())
discarded, V = (pca.singular_values_[8:] ** 2).sum() / len(X), torch.tensor(pca.components_[:8].T)
difference = (X @ A.T @ W.T - X @ V @ V.T).abs().max().item()
print(f"error per image: {closure().item():.3f} by gradient descent, {discarded:.3f} by the theorem")
print(f"reconstructed pixels (grey levels 0 to 16) differ by less than 0.1: {difference < 0.1}")
assert abs(closure().item() / discarded - 1) < 1e-5 and difference < 0.1

# %% [markdown]
# Gradient descent arrives at the same reconstructions. (The matrices $WA$ and $V_k V_k^\top$ themselves may differ in directions in which the data do not vary, such as corner pixels that are always 0.) Now put a hidden layer of ReLUs on both sides of the bottleneck and train on MNIST. The encoder may now fold
# the image space before it projects, so at equal $k$ it can only gain, at least on the images that it was trained on and if the optimiser finds it.

# %%
grey, _, grey_test = load("mnist")  # uint8, [50000, 1, 28, 28]
images, test_images = grey.unit(), grey_test.unit()  # float32 in [0, 1]


def autoencoder(k, width=128):
    return nn.Sequential(MLP(784, (width,), k), MLP(k, (width,), 784))  # encoder, decoder


def squared_error(model, x):
    return (model(x) - x.flatten(1)).square().sum(1)  # [B], summed over pixels


autoencoders = {}
for k in (2, 4, 8, 16, 32):
    seed_everything(0)
    autoencoders[k] = autoencoder(k)
    fit(
        autoencoders[k],
        images,
        squared_error,
        steps=700 * SCALE,
        batch_size=100,
        lr=cosine(4e-3, 700 * SCALE),
        progress=False,
    )

# %% tolerance={"rtol": 0.01}
x_test = test_images.x.flatten(1)
pca = PCA(64, svd_solver="covariance_eigh").fit(images.x.flatten(1))
centred = x_test - torch.tensor(pca.mean_)
pca_error, network_error = {}, {}
for k in (1, 2, 4, 8, 16, 32, 64):
    V = torch.tensor(pca.components_[:k].T)  # [784, k]
    pca_error[k] = (centred - centred @ V @ V.T).square().sum(1).mean().item()
with torch.no_grad():
    for k, model in autoencoders.items():
        network_error[k] = squared_error(model, test_images.x).mean().item()
print(f"squared error per test image (a constant image, the mean: {centred.square().sum(1).mean():.1f})")
for k, error in network_error.items():
    print(f"  k = {k:2d}: {pca_error[k]:5.1f} by PCA, {error:5.1f} by the autoencoder")

# %% mystnb={"figure": {"caption": "Reconstruction error on 10,000 test digits against the width of the bottleneck. Four numbers from a network describe a digit as well as eight from PCA. The advantage fades as $k$ grows, because the training was short: PCA's optimum is exact for every $k$, the network's is not. (The error is summed over pixels, with grey levels in $[0, 1]$.)", "name": "fig-bottleneck"}, "image": {"alt": "Line plot on logarithmic axes. Error falls with the bottleneck width for PCA and for the autoencoder; the autoencoder lies below PCA, most clearly at small widths, and the two meet near 32."}} tolerance={"rtol": 0.02}
fig, ax = plt.subplots()
ax.plot(list(pca_error), list(pca_error.values()), "o-", color=COLOURS["black"], label="PCA = linear autoencoder")
ax.plot(
    list(network_error),
    list(network_error.values()),
    "o-",
    color=COLOURS["blue"],
    label="one hidden layer on each side",
)
ax.set(xscale="log", yscale="log", xlabel="width of the bottleneck $k$", ylabel="squared error per image")
ax.set_xticks(list(pca_error), [str(k) for k in pca_error], minor=False)
ax.set_yticks([5, 10, 20, 50], ["5", "10", "20", "50"])
ax.minorticks_off()
ax.legend()
plt.show()

# %% mystnb={"figure": {"caption": "Test digits through the bottleneck. Eight principal components leave ghosts; eight numbers from a network give cleaner strokes, not always of the right digit.", "name": "fig-ae-reconstructions"}, "image": {"alt": "Grid of digits in five rows: original, PCA with 8 components, and autoencoders with bottlenecks 2, 8 and 32. Reconstructions sharpen down the rows."}} tolerance={"figure": 0.3, "rtol": 0.1}
V = torch.tensor(pca.components_[:8].T)
rows = [x_test[:10], centred[:10] @ V @ V.T + torch.tensor(pca.mean_)]
with torch.no_grad():
    rows += [autoencoders[k](x_test[:10]) for k in (2, 8, 32)]
labels = ["test image", "PCA, 8", "network, 2", "network, 8", "network, 32"]
image_grid(torch.cat(rows).clamp(0, 1).view(-1, 1, 28, 28), columns=10, row_labels=labels)
plt.show()

# %% [markdown]
# (sec-no-generation)=
# ## Why does an autoencoder not generate?
#
# A decoder turns 32 numbers into a digit. So draw 32 numbers and decode them: have we got a generator? Draw them from what? Training asked for one thing only,
# that *codes of images* decode well. It said nothing about where in $\mathbb{R}^{32}$ those codes lie, and nothing about what happens in between.
#
# The simplest guess is a Gaussian with the mean and covariance of the codes themselves ({numref}`sec-smooth` tries a better one). {numref}`fig-ae-no-generation` shows the codes of the 2-dimensional
# autoencoder, where the problem can be seen, and what the guess decodes to in 32 dimensions, where it is worse.

# %% mystnb={"figure": {"caption": "Left: codes of test digits in the 2-dimensional autoencoder, and the central 95% of the Gaussian with the same mean and covariance. The codes crowd into an odd shape with arms, and leave much of the ellipse empty. Right: above, reconstructions in 32 dimensions; below, decoded draws from the Gaussian fitted to the codes.", "name": "fig-ae-no-generation"}, "image": {"alt": "Left: scatter of codes, each drawn as its digit, forming arms that a drawn ellipse covers badly. Right: two blocks of decoded images; the upper ones are digits, the lower ones are blots of strokes."}} tolerance={"figure": 0.3, "rtol": 0.1}
with torch.no_grad():
    codes2, codes32 = (autoencoders[k][0](x_test) for k in (2, 32))
    guess = MultivariateNormal(codes32.mean(0), codes32.T.cov())
    torch.manual_seed(0)
    draws = autoencoders[32][1](guess.sample((2000,)))
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3.3), width_ratios=(1, 1.05))
for digit in range(10):
    left.scatter(*codes2[grey_test.y == digit][:100].T, s=16, lw=0, color=plt.cm.tab10(digit), marker=f"${digit}$")
circle = torch.stack([torch.cos(torch.linspace(0, 2 * math.pi, 100)), torch.sin(torch.linspace(0, 2 * math.pi, 100))])
radius = math.sqrt(-2 * math.log(0.05))  # 95% of a 2-D Gaussian lies within this radius
left.plot(*(codes2.mean(0)[:, None] + radius * torch.linalg.cholesky(codes2.T.cov()) @ circle), color="black", lw=1.5)
left.set(xlabel="$z_1$", ylabel="$z_2$")
with torch.no_grad():
    shown = torch.cat([autoencoders[32](x_test[:15]), draws[:15]]).clamp(0, 1).view(-1, 1, 28, 28)
image_grid(shown, columns=5, ax=right).set_title("codes of digits (above), draws (below)", fontsize=10)
right.axhline(3 * 30 - 1.5, color="black", lw=1)
plt.show()
print(f"ink of the 15 draws {draws[:15].sum(1).mean():.0f}, of test digits {x_test.sum(1).mean():.0f} pixels")


# %% tolerance={"rtol": 0.01}
def nearest(x, heap=None):
    """Mean distance to the nearest image of a heap, by default 10,000 training images."""
    heap = images.x[:10_000] if heap is None else heap
    return torch.cdist(x.flatten(1), heap.flatten(1)).min(1).values.mean().item()


with torch.no_grad():
    reconstructions = autoencoders[32](x_test[:2000])
print("distance to the nearest training image (of two thousand each)")
print(f"  test digits           {nearest(x_test[:2000]):.2f}")
print(f"  their reconstructions {nearest(reconstructions):.2f}")
print(f"  draws from the guess  {nearest(draws):.2f}")

# %% [markdown]
# The draws are further from anything in the data than real digits that were never seen, although reconstructions come out *nearer* (they are smoother). Two things are missing.
#
# 1. There is no distribution over codes that the decoder was trained for. We fitted one afterwards, and it puts mass where no code ever was.
# 2. There is no reason for the decoder to behave between codes.
#
# Both are repaired by the same step: make the latent variable part of a *model*.
#
# (sec-vae-model)=
# ## From autoencoder to model: what is maximised?
#
# :::{prf:definition} Variational autoencoder
# :label: def-vae
# A **variational autoencoder** consists of a {term}`prior` $p(z) = \mathcal{N}(0, I)$ on $\mathbb{R}^k$, a {term}`decoder` $p_\theta(x \mid z)$, a distribution over images whose parameters a network computes from $z$,
# and an {term}`encoder` $q_\phi(z \mid x) = \mathcal{N}(\mu_\phi(x), \operatorname{diag} \sigma_\phi^2(x))$, whose parameters another network computes from $x$. Prior and decoder
# are the model, $p_\theta(x) = \int p_\theta(x \mid z)\, p(z)\, dz$. The encoder is a tool for training and exploring it.
# :::
#
# To generate is now a matter of definition: draw $z \sim p(z)$, then $x \sim p_\theta(x \mid z)$. What has to be learned is $\theta$, and maximum likelihood asks for
# $\log p_\theta(x)$, an integral over all $z$ that no one can do. {cite:t}`kingma2014` and {cite:t}`rezende2014` maximise a bound on it instead.
#
# :::{prf:theorem} The evidence lower bound and its gap
# :label: thm-vae-elbo
# Let $p_\theta(x) > 0$, and let $q(z \mid x)$ be a density in $z$ that is 0 wherever $p_\theta(x \mid z)\, p(z)$ is. Then
#
# $$
# \begin{aligned}
# \log p_\theta(x) = {} & \underbrace{\mathbb{E}_{q(z \mid x)}[\log p_\theta(x \mid z)] - \operatorname{KL}(q(z \mid x) \,\|\, p(z))}_{\text{ELBO}} \\
# & + \operatorname{KL}(q(z \mid x) \,\|\, p_\theta(z \mid x)) ,
# \end{aligned}
# $$ (eq-elbo)
#
# provided the terms are finite. So the ELBO never exceeds $\log p_\theta(x)$, with equality if and only if $q(z \mid x)$ is the posterior $p_\theta(z \mid x) = p_\theta(x \mid z)\, p(z) / p_\theta(x)$.
# :::
#
# :::{prf:proof}
# Bayes' rule gives $\log p_\theta(x) = \log p_\theta(x \mid z) + \log p(z) - \log p_\theta(z \mid x)$ for every $z$ with $p_\theta(x \mid z)\, p(z) > 0$, hence for almost every $z$ under $q$. Add and subtract $\log q(z \mid x)$ and
# take the expectation under $q$; the left side does not depend on $z$:
#
# $$ \log p_\theta(x) = \mathbb{E}_q[\log p_\theta(x \mid z)] - \mathbb{E}_q\!\left[\log \frac{q(z \mid x)}{p(z)}\right] + \mathbb{E}_q\!\left[\log \frac{q(z \mid x)}{p_\theta(z \mid x)}\right] . $$
#
# The last two expectations are KL divergences, which are non-negative and 0 only for equal distributions (chapter 1).
# :::
#
# Read the ELBO as an autoencoder's loss: the first term rewards codes that decode well, and the second charges for every nat by which a code's distribution stands out from the prior. And read the
# gap: whoever raises the ELBO in $\phi$ moves $q$ towards the posterior, and whoever raises it in $\theta$ raises the likelihood *or* draws the posterior towards $q$.
#
# To check all three terms at once we need a model whose $\log p(x)$ and posterior are known: a linear decoder with Gaussian noise. We spoil its exact posterior, so that the gap is not 0.

# %% tags=["check:thm-vae-elbo"]
layer = LinearGaussian(torch.tensor([[1.0], [2.0]]), torch.zeros(2), scale=0.5)  # x = (z, 2 z) + noise
model = Flow([layer], StandardNormal((1,)))
x = torch.tensor([[1.0, 1.0]])
with torch.no_grad():
    posterior = layer.posterior(x)
    mean, covariance = layer.marginal(torch.zeros(1), torch.eye(1))
    log_px = MultivariateNormal(mean, covariance).log_prob(x).item()
    layer.gain.mul_(0.7), layer.tril.mul_(1.3)  # now q is wrong
    gap = kl_divergence(layer.posterior(x), posterior).item()
    estimates = torch.cat([elbo(model, x.expand(1000, 2)) for _ in range(200)])
    bound, error = estimates.mean().item(), estimates.std().item() / len(estimates) ** 0.5
print(f"ELBO {bound:.3f} +- {error:.3f}, gap {gap:.3f}, together {bound + gap:.3f}; log p(x) exactly {log_px:.3f}")
assert abs(bound + gap - log_px) < 4 * error and gap > 0.05

# %% [markdown]
# (sec-reparameterisation)=
# ## How does a gradient pass through a draw?
#
# The ELBO's first term is an expectation under $q_\phi$, and $\phi$ is to be trained. Estimate it with a draw $z \sim q_\phi(z \mid x)$, and the draw stands in the way: *sample from a Gaussian* is not a
# function of its parameters that could be differentiated. The way out is to draw first and shape afterwards.
#
# :::{prf:theorem} Reparameterised gradient
# :label: thm-vae-reparam
# Let $f: \mathbb{R} \to \mathbb{R}$ be continuously differentiable with $|f(z)| + |f'(z)| \le C e^{c |z|}$ for some constants, and $\sigma > 0$. With $z = \mu + \sigma \varepsilon$ and $\varepsilon \sim \mathcal{N}(0, 1)$ we have
# $z \sim \mathcal{N}(\mu, \sigma^2)$ and
#
# $$ \frac{\partial}{\partial \mu}\, \mathbb{E}[f(z)] = \mathbb{E}[f'(\mu + \sigma \varepsilon)], \qquad
# \frac{\partial}{\partial \sigma}\, \mathbb{E}[f(z)] = \mathbb{E}[f'(\mu + \sigma \varepsilon)\, \varepsilon] . $$ (eq-reparameterised)
# :::
#
# :::{prf:proof}
# An affine map of a Gaussian is Gaussian, with mean $\mu$ and variance $\sigma^2$. So $\mathbb{E}[f(z)] = \int f(\mu + \sigma \varepsilon)\, \varphi(\varepsilon)\, d\varepsilon$, where the density $\varphi$ no longer depends on the parameters. The derivatives of the integrand in $\mu$ and
# $\sigma$ are $f'(\mu + \sigma\varepsilon)\varphi(\varepsilon)$ and $f'(\mu + \sigma\varepsilon)\,\varepsilon\,\varphi(\varepsilon)$. On a bounded neighbourhood of $(\mu, \sigma)$ both are at most $C' (1 + |\varepsilon|)\, e^{c'|\varepsilon|} \varphi(\varepsilon)$, which is integrable, so by
# dominated convergence differentiation and integral may be exchanged.
# :::
#
# One draw of $\varepsilon$ per image thus gives an unbiased gradient for encoder and decoder alike, and automatic differentiation does it without being told. In several dimensions the same holds coordinate by coordinate. The check compares
# with numerical integration, which uses neither draws nor $f'$. Our $f$ is what a Bernoulli pixel contributes, $\log p(x = 1 \mid z)$ with log-odds $3z$.

# %% tags=["check:thm-vae-reparam"]
f = lambda z: F.logsigmoid(3 * z)
nodes, weights = (torch.tensor(a) for a in np.polynomial.hermite_e.hermegauss(80))
expected = lambda m, s: (f(m + s * nodes) * weights).sum().item() / math.sqrt(2 * math.pi)  # E[f(z)], by quadrature
m, s, h = -0.3, 0.8, 1e-4
exact = [(expected(m + h, s) - expected(m - h, s)) / (2 * h), (expected(m, s + h) - expected(m, s - h)) / (2 * h)]

mu = torch.full((1_000_000,), m, dtype=torch.float64, requires_grad=True)
sigma = torch.full_like(mu, s).requires_grad_()
eps = torch.randn(len(mu), generator=torch.Generator().manual_seed(0), dtype=mu.dtype)
gradients = torch.autograd.grad(f(mu + sigma * eps).sum(), (mu, sigma))  # one per draw
for name, g, truth in zip(("mu", "sigma"), gradients, exact):
    error = g.std().item() / len(g) ** 0.5
    print(f"d/d{name}: {g.mean().item():.4f} +- {error:.4f} by reparameterisation, {truth:.4f} by quadrature")
    assert abs(g.mean().item() - truth) < 4 * error

# %% tags=["hide-input"]
# fmt: off
nodes = {  # text, where it stands
    "$x$": (0, 3), "encoder $\\phi$": (1.5, 3), "$\\mu, \\sigma$": (3.1, 3), "$z = \\mu + \\sigma\\varepsilon$": (4.9, 3), "decoder $\\theta$": (7, 3),
    "$\\varepsilon$": (4.9, 4.2), "KL": (3.1, 1.6), "ELBO": (4.9, 0.8), "$\\log p_\\theta(x \\mid z)$": (7, 1.6),
    "encoder  $\\phi$": (1.5, -0.9), "$\\mu,  \\sigma$": (3.1, -0.9), "$z \\sim \\mathcal{N}(\\mu, \\sigma^2)$": (4.9, -0.9), "decoder  $\\theta$": (7, -0.9),
}
fills = {"encoder": "#d9eaf5", "decoder": "#d9eaf5", "$\\varepsilon$": "#f3dce9", "$z \\sim": "#f3dce9"}
one_way = [((0.2, 3), (0.8, 3)), ((4.9, 3.95), (4.9, 3.35)), ((2.25, -0.9), (2.75, -0.9)), ((3.45, -0.9), (4.1, -0.9))]  # no gradient returns
both_ways = [
    ((2.25, 3), (2.75, 3)), ((3.45, 3), (4.25, 3)), ((5.55, 3), (6.35, 3)), ((7, 2.65), (7, 1.95)), ((3.1, 2.65), (3.1, 1.95)),
    ((6.3, 1.3), (5.4, 0.95)), ((3.4, 1.4), (4.4, 0.95)), ((5.75, -0.9), (6.35, -0.9)),
]
# fmt: on


def arrow(ax, start, end, colour, shift=0.0):
    across = np.array([end[1] - start[1], start[0] - end[0]]) * shift / math.dist(start, end)
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end + across, start + across, arrowprops=style)


# %% mystnb={"figure": {"caption": "The computation graph of a VAE's training step. Uncoloured arrows: the forward pass. Orange arrows: where the gradient of the ELBO flows back. The noise $\\varepsilon$ and the image $x$ are inputs, so nothing flows into them; $x$ is used twice, by the encoder and as the value whose log-probability is taken. Below: a $z$ that is *drawn* from $\\mathcal{N}(\\mu, \\sigma^2)$ is not part of the computation graph as a function of $\\mu$ and $\\sigma$, and the gradient of the reconstruction term ends there.", "name": "fig-graph"}, "image": {"alt": "Diagram. The image x feeds the encoder phi, which gives mu and sigma; with noise epsilon they form z, which feeds decoder theta and the log-likelihood. A second line leads from x straight to the log-likelihood. Mu and sigma also feed the KL term. Both terms give the ELBO. Orange arrows return from the ELBO to theta and phi. A small second diagram shows the gradient blocked at a sampling node."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 4.2))
for text, place in nodes.items():
    fill = next((c for start, c in fills.items() if text.startswith(start)), "white")
    box = {"boxstyle": "round,pad=0.4", "fc": fill, "ec": "#1a1a1a"}
    ax.text(*place, text, ha="center", va="center", fontsize=10.5, bbox=box)
for start, end in one_way:
    arrow(ax, start, end, "#1a1a1a")
for start, end in both_ways:
    arrow(ax, start, end, "#1a1a1a", -0.1)
    arrow(ax, end, start, COLOURS["vermilion"], -0.1)
ax.plot([0, 0, 7], [2.65, 0.25, 0.25], color="#1a1a1a", lw=1.6)  # the image is also what the decoder is scored on
arrow(ax, (7, 0.25), (7, 1.25), "#1a1a1a")
ax.text(3.9, -1.75, "no way back from a draw to its parameters", color=COLOURS["vermilion"], ha="center", fontsize=10)
ax.axhline(-0.1, color="#bbbbbb", lw=0.8)
ax.set(xlim=(-0.4, 8), ylim=(-2, 4.6))
ax.axis("off")
plt.show()

# %% [markdown]
# :::{admonition} Watch out: `z = mu + sigma**2 * eps`
# :class: pitfall
# The noise is multiplied by the standard deviation. With the variance in its place the draws have standard deviation $\sigma^2$, while the KL term still charges for $\sigma$. Nothing crashes, the loss even looks *better* where $\sigma < 1$, and the bound
# is no bound. For $z \sim \mathcal{N}(0, 1)$, $x \mid z \sim \mathcal{N}(z, 1)$, $x = 1$ and the exact posterior $\mathcal{N}(\tfrac12, \tfrac12)$, the slip reports $-1.39$ where $\log p(x)$ is $-1.52$, as the next cell shows.
# :::

# %%
mu, var, x = 0.5, 0.5, 1.0  # the exact posterior of x = 1
log_px = -0.5 * math.log(2 * math.pi * 2) - x**2 / 4  # x ~ N(0, 2)
kl = 0.5 * (mu**2 + var - 1 - math.log(var))
for name, drawn_var in {"sigma * eps": var, "sigma**2 * eps": var**2}.items():
    reconstruction = -0.5 * math.log(2 * math.pi) - 0.5 * ((x - mu) ** 2 + drawn_var)  # E log N(x; z, 1), exactly
    print(f"mu + {name:<14} 'ELBO' {reconstruction - kl:.4f}, log p(x) {log_px:.4f}")

# %% [markdown]
# (sec-vae-kl)=
# ## What does a code cost?
#
# The second term of the ELBO needs no draw at all when both distributions are Gaussian. Chapter 1 has the divergence for any covariances ({prf:ref}`thm-gaussian-kl`); for the diagonal ones of a VAE it can be had in three lines.
#
# :::{prf:theorem} KL between Gaussians with diagonal covariance
# :label: thm-vae-kl
# For $q = \mathcal{N}(\mu, \operatorname{diag} \sigma^2)$ and $p = \mathcal{N}(m, \operatorname{diag} s^2)$ on $\mathbb{R}^k$ with all $\sigma_i, s_i > 0$,
#
# $$ \operatorname{KL}(q \,\|\, p) = \frac12 \sum_{i=1}^k \left( \frac{\sigma_i^2 + (\mu_i - m_i)^2}{s_i^2} - 1 - \log \frac{\sigma_i^2}{s_i^2} \right), $$ (eq-kl-gaussians)
#
# and for the standard normal prior
#
# $$ \operatorname{KL}(q \,\|\, \mathcal{N}(0, I)) = \frac12 \sum_i (\mu_i^2 + \sigma_i^2 - 1 - \log \sigma_i^2) . $$
# :::
#
# :::{prf:proof}
# Both densities are products over coordinates, so $\log q - \log p$ is a sum over coordinates and it suffices to take $k = 1$. There
#
# $$ \log \frac{q(z)}{p(z)} = -\frac12 \log \frac{\sigma^2}{s^2} - \frac{(z - \mu)^2}{2 \sigma^2} + \frac{(z - m)^2}{2 s^2} . $$
#
# Under $q$ we have $\mathbb{E}[(z - \mu)^2] = \sigma^2$ and $\mathbb{E}[(z - m)^2] = \sigma^2 + (\mu - m)^2$. Insert both.
# :::
#
# Each term is a price list for one latent: $\frac12\mu_i^2$ for standing away from the origin, $\frac12(\sigma_i^2 - 1 - \log \sigma_i^2)$ for being more certain than the prior, or less. A latent with $\mu_i = 0$, $\sigma_i = 1$ is free, and says nothing about $x$.

# %% tags=["check:thm-vae-kl"]
torch.manual_seed(0)
mu, m = torch.randn(2, 5, dtype=torch.float64)
sigma, s = torch.rand(2, 5, dtype=torch.float64) + 0.2
formula = 0.5 * ((sigma**2 + (mu - m) ** 2) / s**2 - 1 - (sigma**2 / s**2).log()).sum()
q, p = Independent(Normal(mu, sigma), 1), Independent(Normal(m, s), 1)
z = q.sample((1_000_000,))
log_ratio = q.log_prob(z) - p.log_prob(z)
error = log_ratio.std() / len(z) ** 0.5
library = kl_divergence(MultivariateNormal(mu, torch.diag(sigma**2)), MultivariateNormal(m, torch.diag(s**2)))
print(f"formula {formula:.4f} nats, torch with full covariances {library:.4f}")
print(f"Monte Carlo {log_ratio.mean():.4f} +- {error:.4f}")
assert abs(formula - library) < 1e-9 and abs(log_ratio.mean() - formula) < 4 * error

# %% [markdown]
# :::{admonition} Watch out: the KL term takes no sample
# :class: pitfall
# $\operatorname{KL}(q_\phi(z \mid x) \,\|\, p(z))$ is a number for each $x$, computed from $\mu$ and $\sigma$. Slides that put a drawn $z$ into it, or an expectation around it, describe the *estimator* $\log q_\phi(z \mid x) - \log p(z)$ instead. That one is unbiased too, and needed when no formula exists,
# but its single draws scatter: in the check above, by 11.4 nats around a KL of 40.6. It is not always the noisier choice for the bound as a *whole*, though: when $q$ is the exact posterior, $\log p(x, z) - \log q(z \mid x)$ is the same number for every $z$, and the closed form spoils that cancellation ({cite:p}`roeder2017`).
# :::

# %%
print(f"one draw: {log_ratio.mean():.1f} +- {log_ratio.std():.1f} nats (mean and standard deviation)")


# %% [markdown]
# (sec-fifteen-lines)=
# ## A VAE in fifteen lines
#
# Everything is in place. Binary pixels get a Bernoulli decoder, whose network returns log-odds; the encoder's network returns $\mu$ and $\log \sigma$, so that $\sigma$ is positive without further care.


# %%
def elbo_by_hand(encoder, decoder, x):
    mu, log_sigma = encoder(x).chunk(2, dim=1)  # [B, k] each
    z = mu + log_sigma.exp() * torch.randn_like(mu)  # reparameterised draw
    log_likelihood = Bernoulli(logits=decoder(z)).log_prob(x.flatten(1)).sum(1)  # log p(x | z), [B]
    kl = 0.5 * (mu**2 + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1)  # no draw needed, [B]
    return log_likelihood - kl


latents = 20
seed_everything(0)
encoder = MLP(784, (200,), 2 * latents, nn.SiLU)
decoder = MLP(latents, (200,), 784, nn.SiLU)

# %% [markdown]
# In `lvmlib` the two networks become two conditional densities, and the VAE is made of these and a prior. The same seed gives the same numbers.

# %%
untrained = VAE(
    ConditionalNormal((latents,), encoder),
    ConditionalBernoulli((1, 28, 28), decoder),
    StandardNormal((latents,)),
)
train, valid, test = load("mnist", binarize="stochastic")  # drawn anew at every use
batch = train.batch(range(100))  # [100, 1, 28, 28], values 0 and 1
seed_everything(1)
by_hand = elbo_by_hand(encoder, decoder, batch)
seed_everything(1)
from_library = elbo(untrained, batch)
print(f"by hand {by_hand.mean():.3f}, lvmlib {from_library.mean():.3f} nats per image")
assert torch.allclose(by_hand, from_library, atol=1e-2)
print(f"784 fair coins: {-784 * math.log(2):.3f} nats")

# %% [markdown]
# Before training every pixel is a coin, so the bound stands near $-784 \log 2$.
#
# **What kind of thing is this `VAE`?** A chain of layers from data to noise, each of which pays its share of the log-likelihood: a `Flow` {cite:p}`nielsen2020`. A bijection would pay its log-determinant. The one layer here is stochastic; it draws $z \sim q_\phi(z \mid x)$
# and pays $\log p_\theta(x \mid z) - \log q_\phi(z \mid x)$; the prior at the end of the chain pays $\log p(z)$. What they pay together is the log of an **importance weight**
#
# $$ \log w = \log p_\theta(x \mid z) - \log q_\phi(z \mid x) + \log p(z) , $$ (eq-log-weight)
#
# whose mean is the ELBO. `trace` shows every part of it, for as many draws as one likes:

# %%
layers = [type(layer).__name__ for layer in untrained.transforms]
print(f"a Flow: {isinstance(untrained, Flow)}; layers: {layers}; base: {type(untrained.base).__name__}")
with torch.no_grad():
    trace = untrained.trace(batch, k=3)  # the encoder runs once, three draws per image
step = trace.steps[0]
for name, value in {
    "z": step.z,
    "log p(x|z)": step.log_p,
    "log q(z|x)": step.log_q,
    "log p(z)": trace.log_base,
}.items():
    print(f"{name:>11}: shape {list(value.shape)}, mean {value.mean():8.2f}")
assert torch.allclose(trace.log_weights, step.log_p - step.log_q + trace.log_base)

# %% [markdown]
# Bounds, likelihood estimates and the chapters to come read this trace and nothing else, which is why they work unchanged when the prior becomes a flow or a second stochastic layer is added.
#
# (sec-train)=
# ## Does it learn?
#
# Two thousand steps of Adam on batches of 100. Binary images come from grey ones by drawing each pixel with its grey level as probability {cite:p}`salakhutdinov2008`, anew at every use {cite:p}`burda2016`; for validation one draw is kept.

# %%
valid_fixed = valid.fixed(seed=0).subset(2000)
seed_everything(0)
vae = copy.deepcopy(untrained)
training_steps = 2000 * SCALE
history = fit(
    vae,
    train,
    steps=training_steps,
    batch_size=100,
    lr=cosine(5e-3, training_steps, warmup=100),
    valid=valid_fixed,
    valid_every=200,
    progress=False,
)

# %% mystnb={"figure": {"caption": "The ELBO while training. The training curve is a running mean over 50 batches. Both have all but stopped rising at the end, where the learning rate has fallen to 0. Steps after the first hundred are shown.", "name": "fig-elbo"}, "image": {"alt": "Two curves of the ELBO against the training step, rising steeply from below minus 200 nats and flattening towards about minus 107; training and validation lie close together."}} tolerance={"rtol": 0.01}
running = torch.tensor(history.loss).unfold(0, 50, 1).mean(1)
fig, ax = plt.subplots()
ax.plot(range(100, training_steps + 1), -running[50:], color=COLOURS["sky"], label="training")
ax.plot(history.valid_steps, [-v for v in history.valid_loss], "o-", color=COLOURS["blue"], label="validation")
ax.set(xlabel="step", ylabel="ELBO (nats per image)")
ax.legend()
plt.show()
with torch.no_grad():
    # minus log p(x | z), and the KL term
    distortion, rate = distortion_and_rate(vae.trace(valid_fixed.x))
print(f"validation ELBO {-history.valid_loss[-1]:.1f} nats: log p(x|z) {-distortion.mean():.1f}, KL {rate.mean():.1f}")

# %% mystnb={"figure": {"caption": "Binary test images, and the mean of $p_\\theta(x \\mid z)$ at one draw $z \\sim q_\\phi(z \\mid x)$.", "name": "fig-reconstructions"}, "image": {"alt": "Two rows of digits: noisy binary test images above, their smooth reconstructions below, matching in class and slant."}} tolerance={"figure": 0.3, "rtol": 0.1}
x = test.fixed(seed=0).subset(12).x
torch.manual_seed(0)
image_grid(torch.cat([x, vae.reconstruct(x)]), columns=12, row_labels=["test image", "reconstruction"])
plt.show()

# %% [markdown]
# The reconstructions are cleaner than the images: which of the grey pixels at the edge of a stroke came out black is noise, and the code does not pay for noise.
#
# **The longer run.** A few seconds of training do not make a good model. `lvmlib` ships the classic one-layer network of {cite:t}`burda2016`, 784-200-200-50, trained by `python -m lvmlib.experiments.vae_mnist`. Its samples, and everything below that depends on patience, come from it.

# %%
from lvmlib.experiments.records import record
from lvmlib.experiments.vae_mnist import vae_mnist
from lvmlib.surgery import active_units

long_run = vae_mnist()
long_record = load_checkpoint(long_run, "vae_mnist")
for key in ("passes", "training_minutes", "test_nll_nats"):
    print(f"{key}: {long_record[key]}")
binary_test = test.fixed(seed=0)
active = active_units(long_run, binary_test.x[:2000])[0]
print(f"active latents (variance of the posterior mean above 0.01): {active} of 50")

# %% mystnb={"figure": {"caption": "Left: means of $p_\\theta(x \\mid z)$ for 36 draws $z \\sim p(z)$ from the longer run. Right: binary images drawn from $p_\\theta(x \\mid z)$ for the same $z$; these, and not the means, are samples of the model.", "name": "fig-samples"}, "image": {"alt": "Two six-by-six grids of generated digits, smooth grey on the left and speckled binary on the right. Most are recognisable digits, a few are mixtures of two."}} tolerance={"rtol": 0.01}
torch.manual_seed(0)
z = long_run.prior.sample(36)
with torch.no_grad():
    pixels = long_run.likelihood(z)
    means, samples = pixels.mean, pixels.sample()
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3.1))
image_grid(means, columns=6, ax=left).set_title("mean of $p(x \\mid z)$")
image_grid(samples, columns=6, ax=right).set_title("draw from $p(x \\mid z)$")
plt.show()
print(
    f"ink of the 36 means {means.sum((1, 2, 3)).mean():.0f}, of the draws {samples.sum((1, 2, 3)).mean():.0f}", end=""
)
print(f", of test digits {x_test.sum(1).mean():.0f}; mean to training image {nearest(means):.2f},", end=" ")
print(f"test digit to the nearest mean {nearest(test_images.x[:1000], means):.2f}")

# %% [markdown]
# The figure published for this network, by the same 5000 draws after 3,280 passes, is 86.76 nats with 19 active latents ({cite:t}`burda2016`, Table 1). Our 600 passes, with averaged weights and a cosine learning rate, stay 0.8 nats short of it.
#
# Compare the samples with {numref}`fig-ae-no-generation`: the same sort of decoder, but it was trained on draws from all over a region that the KL term holds near the prior. But it was also trained far longer. {numref}`sec-smooth` draws from both after equal training.
#
# What do the latents do? A **traversal** moves one of them through the range of the prior and keeps the others; an **interpolation** walks between the codes of two images.

# %% mystnb={"figure": {"caption": "Traversals: starting from the code of a test image (a seven), one latent at a time moves from $-3$ to $3$. Rows: the five latents whose posterior means vary most over 2000 test images.", "name": "fig-traversal"}, "image": {"alt": "Five rows of eleven digits. Along each row the seven changes gradually, in slant, width or stroke, in places turning into a one, a zero or an eight."}}
with torch.no_grad():
    code_means = long_run.posterior(binary_test.x[:2000]).mean  # [2000, 50]
    most_active = code_means.var(0).argsort(descending=True)[:5]
    z = code_means[0].repeat(5, 11, 1)  # [5, 11, 50]
    for row, latent in enumerate(most_active):
        z[row, :, latent] = torch.linspace(-3, 3, 11)
    traversal = long_run.likelihood(z.flatten(0, 1)).mean
image_grid(
    traversal,
    columns=11,
    row_labels=[f"$z_{{{i}}}$" for i in most_active],
    column_labels=["−3", *[""] * 4, "0", *[""] * 4, "3"],
)
plt.show()

# %% mystnb={"figure": {"caption": "Interpolation along straight lines between the codes of two test images (the originals stand at both ends).", "name": "fig-interpolation"}, "image": {"alt": "Four rows. In each the left binary test image turns smoothly into the right one through nine decoded images, most of them plausible digits."}}
pairs = [(0, 1), (2, 3), (4, 5), (6, 7)]
t = torch.linspace(0, 1, 9)[:, None]
rows = []
with torch.no_grad():
    for a, b in pairs:
        path = long_run.likelihood((1 - t) * code_means[a] + t * code_means[b]).mean
        rows += [binary_test.x[a][None], path, binary_test.x[b][None]]
image_grid(torch.cat(rows), columns=11)
plt.show()

# %% [markdown]
# (sec-alternating)=
# ## Encoder and decoder together, or in turns?
#
# The ELBO is a function of two sets of parameters, and classical EM climbs such a function in turns: with the model fixed, find the posterior (E-step); with the posterior fixed, improve the model (M-step). The same can be done here: train the encoder until it stops
# improving, then the decoder, and so on. Or take one gradient step in both at once, as everybody does. Both climb the same hill. On a small VAE for 8x8 digits the difference can be measured. We count minibatches: whichever network moves, each one costs a pass through both, and all but a part of the way back.

# %%
digits, _, digits_test = load("digits", binarize="stochastic")
digits_test = digits_test.fixed(seed=0)


def train_in_turns(turn, minibatches):
    """Adam on so many minibatches; with turn=None both networks move at each, else one of them for `turn` in a row."""
    seed_everything(0)
    encoder = ConditionalNormal((8,), MLP(64, (64,), 16, nn.SiLU))
    model = VAE(encoder, ConditionalBernoulli((1, 8, 8), MLP(8, (64,), 64, nn.SiLU)), StandardNormal((8,)))
    adam = [torch.optim.Adam(part.parameters(), lr=3e-3) for part in (model.pair.encoder, model.pair.decoder)]
    curve = []
    for done in range(minibatches + 1):
        if done % 100 == 0:
            with torch.no_grad(), torch.random.fork_rng():
                curve.append((done, elbo(model, digits_test.x, k=10).mean().item()))
        model.zero_grad()
        elbo(model, digits.batch(torch.randint(len(digits), (100,)))).mean().neg().backward()
        for optimizer in adam if turn is None else [adam[done // turn % 2]]:
            optimizer.step()
    return curve


# %%
turns = {"together": None, "in turns of 20": 20, "in turns of 400": 400}
climbs = {name: train_in_turns(turn, minibatches=2400 * SCALE) for name, turn in turns.items()}

# %% mystnb={"figure": {"caption": "Joint against alternating training of a small VAE on binary 8x8 digits. Turns of 20 need about twice the minibatches of joint steps. With turns of 400 the first encoder phase is a plateau: a posterior fitted to a decoder that has yet to learn anything. Later phases, of either network, flatten out halfway.", "name": "fig-alternating"}, "image": {"alt": "Three curves of the test ELBO against the number of minibatches. The joint curve rises fastest; short turns follow, about twice as slow; long turns rise in stairs and end lowest."}} tolerance={"rtol": 0.01}
fig, ax = plt.subplots()
for (name, points), colour in zip(climbs.items(), ("sky", "green", "vermilion")):
    ax.plot(*zip(*points), "--" if colour == "green" else "-", color=COLOURS[colour], label=name)
    half = dict(points)[1200 * SCALE]
    print(f"{name:>16}: test ELBO {half:.2f} nats after half of the minibatches, {points[-1][1]:.2f} after all")
ax.set(xlabel="minibatches", ylabel="test ELBO (nats per image)", ylim=(-46, -20))
ax.legend()
plt.show()

# %% [markdown]
# Joint steps get there first: after 1,200 minibatches they have what turns of 20 need all 2,400 for. In each minibatch of a turn the network that rests computes its part as well, and learns nothing from it. That factor of two is all that short turns lose; what matters beyond it is that neither network gets far ahead of the other. Long turns waste much more. The first of them fits the posterior of an *untrained* decoder, whose output hardly depends on $z$, so its posterior is the prior and there is nothing to learn; only the first decoder phase brings the jump. Every later
# phase, of either network, gains something in its first half and next to nothing in its second: it fits one network ever more closely to a partner that is about to move.
#
# (sec-almost-zero)=
# ## How large is $p(x \mid z)$ for a random $z$?
#
# The likelihood is an expectation under the prior, $p_\theta(x) = \mathbb{E}_{p(z)}[p_\theta(x \mid z)]$. Why not average $p_\theta(x \mid z)$ over draws of $z$ from the prior, and forget the encoder? Take one test image and look at what would be averaged.

# %%
picture = binary_test.x[:1]
with torch.no_grad():
    torch.manual_seed(0)
    from_prior = torch.cat(
        [long_run.likelihood(long_run.prior.sample(10_000)).log_prob(picture) for _ in range(5)]
    )  # [50000]
    trace = long_run.trace(picture, k=10_000)
    from_encoder, log_w = trace.steps[0].log_p[:, 0], trace.log_weights[:, 0]

# %% mystnb={"figure": {"caption": "One test image $x$: the distribution of $\\log p_\\theta(x \\mid z)$ when $z$ comes from the prior and when it comes from the encoder. The dashed line is $\\log p_\\theta(x)$. None of 50,000 draws from the prior reaches the region that makes up the likelihood. (Mind the logarithmic scale on the left.)", "name": "fig-almost-zero"}, "image": {"alt": "Two histograms on an axis of nats. The prior's is wide and far to the left, from about minus 1050 to minus 90; the encoder's is a narrow peak near minus 55. A dashed line marks the log-likelihood, just left of that peak."}} tolerance={"rtol": 0.005}
k = len(log_w)
log_px = (torch.logsumexp(log_w, 0) - math.log(k)).item()
fig, ax = plt.subplots()
bins = torch.arange(-1100, 0, 10).numpy()
ax.hist(from_prior, bins, density=True, color=COLOURS["vermilion"], alpha=0.8, label="$z$ from the prior")
ax.hist(from_encoder, bins, density=True, color=COLOURS["blue"], alpha=0.8, label="$z$ from the encoder")
ax.axvline(log_px, color="black", ls="--", lw=1.2, label="$\\log p_\\theta(x)$")
ax.set(xlabel="$\\log p_\\theta(x \\mid z)$ (nats)", ylabel="share of draws per nat", yscale="log")
ax.legend()
plt.show()
medians = from_prior.median(), from_encoder.median()
kl = kl_divergence(long_run.posterior(picture), long_run.prior.distribution())
print("median of log p(x|z): {:.0f} nats under the prior, {:.0f} under the encoder".format(*medians))
print(f"KL from encoder to prior: {kl.item():.1f} nats")
print(f"log p(x) from {k:,} draws of the encoder: {log_px:.1f} nats")
for n in (100, 1000, 10_000, 50_000):
    estimate = torch.logsumexp(from_prior[:n], 0) - math.log(n)
    print(f"  average of p(x|z) over {n:6,} draws from the prior: log {estimate:.1f}", end="")
    print(f"; its largest term holds {from_prior[:n].softmax(0).max():.0%} of it")

# %% [markdown]
# Under the prior a typical $\log p_\theta(x \mid z)$ lies hundreds of nats below what the encoder's draws reach: nearly every $z$ is the code of some *other* picture, and gives each wrong pixel a small probability. The average is carried by the few draws that come close by luck; often by a single one, as the shares show. That is also why the estimate *fell* from 10,000 draws to 50,000: one lucky draw among the first ten thousand was the whole average, and the next forty thousand brought only one of the same order, so that its weight was spread over more draws. The average is unbiased for $p_\theta(x)$, but its logarithm after 50,000 draws is still more than 20 nats too low. Luck has
# a price that we know: the KL from the encoder's distribution to the prior says that about $e^{\operatorname{KL}}$ draws are needed to hit the region that counts, here some hundreds of millions {cite:p}`chatterjee2018`.
#
# The encoder makes the same average possible. Since $p_\theta(x) = \mathbb{E}_{q_\phi(z \mid x)}[w]$ with the weight of {eq}`eq-log-weight`, averaging *weights* over draws from $q$ is unbiased for $p_\theta(x)$: **importance sampling**. Its logarithm is again too small on average, for the log is concave, but the gap closes as draws are added;
# one draw gives the ELBO. So a thousand weights for each image tell how loose the ELBO is.

# %% tolerance={"rtol": 0.002}
with torch.no_grad():
    torch.manual_seed(0)
    many_log_w = torch.cat([long_run.log_weights(binary_test.x[:100], k=250) for _ in range(4)])  # [1000, 100]
print("bound on log p(x), mean over 100 test images, in nats")
for k in (1, 10, 100, 1000):
    groups = many_log_w.view(-1, k, 100)  # all 1000 draws are used for every k
    print(f"  {k:4d} draws: {(torch.logsumexp(groups, 1) - math.log(k)).mean():.2f}")
torch.manual_seed(0)
fresh = log_likelihood(long_run, binary_test.x[:100], k=1000).mean()
print(f"  lvmlib.bounds.log_likelihood, 1000 fresh draws: {fresh:.2f}")
weights = many_log_w.softmax(0)
print(f"of 1000 draws, the effective number is {(1 / weights.square().sum(0)).median():.0f} (median over images)")


# %% [markdown]
# The ELBO is at least 3.5 nats too low on these images, and most of the gap closes with the first hundred draws. It is not gone with a thousand: fewer than twenty draws carry most of the weight, so even this is a lower bound on average, and papers report 5000 draws (as `test_nll_nats` above does, on all 10,000 test images).
# Note which way the error goes: an importance-sampling estimate of $\log p(x)$ never flatters a model on average.
#
# (sec-decoders)=
# ## Which decoder?
#
# The decoder's *network* gives parameters; what they parameterise is a modelling decision, and it fixes what the log-likelihood means. Start with the most common one. A Gaussian decoder $p_\theta(x \mid z) = \mathcal{N}(g_\theta(z), \sigma^2 I)$ has
#
# $$ -\log p_\theta(x \mid z) = \frac{1}{2\sigma^2} \lVert x - g_\theta(z) \rVert^2 + \frac{D}{2} \log (2\pi\sigma^2) , $$ (eq-gaussian-decoder)
#
# the autoencoder's squared error, divided by $2\sigma^2$. So $\sigma$ sets the exchange rate between distortion and KL, and training with the bare squared error has silently chosen $\sigma^2 = \frac12$. Which $\sigma$ is best?
#
# :::{prf:proposition} The best scale is the root mean squared error
# :label: thm-vae-sigma
# Let $v = \frac1D\, \mathbb{E}\lVert x - g_\theta(z) \rVert^2 > 0$, the expectation over data and $q_\phi(z \mid x)$. For fixed $\theta$ and $\phi$ the expected log-likelihood is largest at $\sigma^2 = v$, where it is $-\frac D2 (\log(2\pi v) + 1)$. With $\sigma^2$ at its best for every $\theta$ and $\phi$,
# maximising the ELBO is minimising $\frac D2 \log v + \mathbb{E}[\operatorname{KL}(q_\phi(z \mid x) \,\|\, p(z))]$: the *logarithm* of the squared error against the KL.
# :::
#
# :::{prf:proof}
# The expectation of {eq}`eq-gaussian-decoder` is $\frac{D}{2}\left(\frac{v}{\sigma^2} + \log(2\pi\sigma^2)\right)$. With $t = \sigma^2$ its derivative is $\frac D2 \left(\frac1t - \frac{v}{t^2}\right)$, negative for $t < v$ and positive for $t > v$. Insert $t = v$; constants do not move the optimum.
# :::
#
# For a fair comparison on real 8-bit images the densities must be on the same footing as a discrete decoder. Grey levels $0, \dots, 255$ get uniform noise in $[0, 1)$ on top (*dequantization*), which makes the density's log-likelihood a lower bound on that of the discrete levels: $\log \int p(x + u)\, du \ge \int \log p(x + u)\, du$ over the unit cube, by Jensen's inequality. Dividing by 256
# to please the networks is a bijection, and a chain knows what it pays: $-D \log 256$.
#
# The last candidate needs none of this, because it puts *probability* on the levels themselves. The **discretized logistic** {cite:p}`kingma2016,salimans2017` takes a bell-shaped density with location $m$ and scale $s$, both computed from $z$ for each pixel, and sorts it into one bin per level:
#
# $$
# \begin{aligned}
# P(x_i \mid z) &= \sigma\!\left(\frac{x_i + \frac12 - m_i}{s_i}\right) - \sigma\!\left(\frac{x_i - \frac12 - m_i}{s_i}\right), \\
# \sigma(t) &= \frac{1}{1 + e^{-t}} ,
# \end{aligned}
# $$ (eq-discretized-logistic)
#
# where the outermost bins reach to infinity: the first term is 1 at level 255, the second 0 at level 0. We compare in bits per dimension, nats divided by $D \log 2$.


# %%
class Rescale(Transform):
    """x -> x / 256, which pays -D log 256."""

    def forward(self, x, context=None):
        return x / 256, torch.full((len(x),), -x[0].numel() * math.log(256))

    def inverse(self, z, context=None):
        return z * 256, torch.full((len(z),), z[0].numel() * math.log(256))


class Centre(nn.Module):
    """Grey levels 0..255 to [-1, 1]: part of a network, which pays nothing."""

    def forward(self, x):
        return x / 127.5 - 1


# %%
shape = (1, 28, 28)


def gaussian(outputs=784, scale=None, start=None):
    seed_everything(0)
    network = MLP(20, (200,), outputs, nn.SiLU)
    likelihood = ConditionalNormal(shape, network, scale=scale)
    if start is not None:
        nn.init.constant_(likelihood.log_scale, math.log(start))
    return Flow(
        [Rescale(), StochasticPair(ConditionalNormal((20,), MLP(784, (200,), 40, nn.SiLU)), likelihood)],
        StandardNormal((20,)),
    )


def discretized():
    seed_everything(0)
    encoder = nn.Sequential(Centre(), MLP(784, (200,), 40, nn.SiLU))
    return VAE(
        ConditionalNormal((20,), encoder),
        ConditionalDiscretizedLogistic(shape, MLP(20, (200,), 2 * 784, nn.SiLU)),
        StandardNormal((20,)),
    )


# %%
dequantize = lambda x: x + torch.rand(x.shape)
cases = {  # a new model, what is done to a uint8 batch
    "Gaussian, sigma = 1": (lambda: gaussian(scale=1.0), dequantize),
    "Gaussian, sigma = 0.1": (lambda: gaussian(scale=0.1), dequantize),
    "Gaussian, one sigma learned": (lambda: gaussian(scale="learned", start=0.2), dequantize),
    "Gaussian, sigma for each pixel": (lambda: gaussian(outputs=2 * 784), dequantize),
    "discretized logistic": (discretized, torch.Tensor.float),
}

# %%
steps, with_decoder = 400 * SCALE, {}
for name, (build, prepare) in cases.items():
    model = with_decoder[name] = build()
    loss = lambda model, x, prepare=prepare: -elbo(model, prepare(x))
    fit(
        model,
        grey,
        loss,
        steps=steps,
        batch_size=100,
        lr=cosine(3e-3, steps, warmup=50),
        clip_norm=300.0,
        progress=False,
    )

# %% tolerance={"atol": 0.002, "rtol": 0.02}
print("8-bit MNIST, first 2000 test images: bits per dimension, of which KL")
for name, (_, prepare) in cases.items():
    torch.manual_seed(0)
    with torch.no_grad():
        distortion, rate = distortion_and_rate(with_decoder[name].trace(prepare(grey_test.x[:2000])))
    total, kl = (bits_per_dim(-t.mean(), shape) for t in (distortion + rate, rate))
    print(f"  {name:<32} {total:5.2f}  {kl:5.3f}")
print(f"  {'every level equally likely':<32} {math.log2(256):5.2f}")

# %% tags=["check:thm-vae-sigma"] tolerance={"rtol": 0.01}
model = with_decoder["Gaussian, one sigma learned"]
torch.manual_seed(0)
with torch.no_grad():
    pair = model.trace(dequantize(grey.x[:1000])).steps[1]
    x, g = pair.x[0], pair.layer.likelihood(pair.z[0]).mean  # [1000, 1, 28, 28] each
    learned = pair.layer.decoder.log_scale.exp().item()
v = (x - g).square().mean().item()
print(f"sigma learned {learned:.4f}, root mean squared error {v**0.5:.4f} (in the end equal)")
sigmas = torch.linspace(0.05, 0.4, 71)
by_torch = torch.stack([Normal(g, s).log_prob(x).sum((1, 2, 3)).mean() for s in sigmas])
best, highest = sigmas[by_torch.argmax()].item(), by_torch.max().item()
formula = -392 * (math.log(2 * math.pi * v) + 1)
print(f"highest of 71 values of sigma: {highest:.1f} nats; formula for the best: {formula:.1f}")
print(f"within a step of the root mean squared error: {abs(best - v**0.5) < 0.005}")
assert abs(best - v**0.5) < 0.005 and -0.01 < formula - highest < 1
assert abs(learned / v**0.5 - 1) < 0.15  # 400 steps bring it this near


# %% [markdown]
# From the top down. Fixing $\sigma = 1$, as half the squared error does, is worse than the uniform distribution. The learned $\sigma$ comes close to the root mean squared error and saves two bits, but a single scale must serve black borders, which hardly vary, and strokes, which do. A scale for each pixel separates the two; it is still improving when the training stops, for on black pixels its scales must shrink by a factor of several hundred on
# the way. The discretized logistic may put all of a black pixel's probability on level 0, pay nothing, and never has to fit noise that we added ourselves.
#
# :::{admonition} Watch out: squared error without its constant is not a likelihood
# :class: pitfall
# $\frac12\lVert x - g_\theta(z) \rVert^2$ looks like $-\log p_\theta(x \mid z)$ and is not: with $\sigma = 1$ on pixels in $[0, 1]$ the constant $\frac D2 \log 2\pi$ is 720 nats, and in bits per dimension the model of the table is *worse than uniform noise* (9.4 against 8), while the bare squared error, read as a
# likelihood, would seem to need next to nothing. The constant does not matter to the gradient of $\theta$; it matters as soon as you compare with anything, and $\sigma$ itself matters even to the gradient.
# :::
#
# Three remarks on comparing. The five rows share data, units and length of training, so they can be ranked, for 400 steps. The Bernoulli ELBO of {numref}`sec-train`, about $107 / (784 \log 2) = 0.20$ bits per dimension, *cannot* be put beside them: binary images are other data, with far fewer bits in them. And the Bernoulli formula applied to grey levels in
# $[0, 1]$, common as it is, is no likelihood of anything: $\pi^x (1 - \pi)^{1 - x}$ integrates over $x \in [0, 1]$ to at most one half, reached at $\pi = \frac12$; the missing factor has been worked out by {cite:t}`loaizaganem2019`.
#
# (sec-smooth)=
# ## Do similar images get similar codes?
#
# Two directions must be kept apart. *Similar $x$ to similar $z$*: an encoder is a continuous function, so a small change of the image moves its code a little, in any autoencoder. *Similar $z$ to similar $x$*, everywhere and not only at codes of images, is what sampling and interpolation need, and there the noise comes in: a decoder that must do
# with $z + $ noise had better not change much within the noise. Three models with the same networks, the same Bernoulli decoder and the same two thousand steps tell the ingredients apart: no noise (an autoencoder); noise but no KL term; noise and KL term (the VAE of {numref}`sec-train`).


# %%
def without_noise(model, x):
    return -model.likelihood(model.posterior(x).mean).log_prob(x)


losses = {
    "no noise, no KL": without_noise,
    "noise, no KL": lambda model, x: -elbo(model, x, beta=0.0),  # beta weighs the KL term
}
models = {}
for name, loss in losses.items():
    seed_everything(0)
    models[name] = VAE(
        ConditionalNormal((20,), MLP(784, (200,), 40, nn.SiLU)),
        ConditionalBernoulli((1, 28, 28), MLP(20, (200,), 784, nn.SiLU)),
        StandardNormal((20,)),
    )
    schedule = cosine(5e-3, training_steps, warmup=100)
    fit(models[name], train, loss, steps=training_steps, batch_size=100, lr=schedule, progress=False)
models["noise and KL"] = vae

# %%
a, b = test.fixed(seed=0).subset(2000), test.fixed(seed=1).x[:2000]  # the same digits, binarized twice
other = torch.randperm(2000, generator=torch.Generator().manual_seed(0))
direction = F.normalize(torch.randn(2000, 20, generator=torch.Generator().manual_seed(1)), dim=1)
lengths, changes = torch.linspace(0, 0.5, 11), {}

# %% tolerance={"atol": 0.002, "rtol": 0.05}
print("                  twin's  noise   same class   spread of    change at a fifth of")
print("                  code    sigma   neighbour    the images   the way / spread")
for name, model in models.items():
    with torch.no_grad():
        q = model.posterior(a.x)
        z, image = q.mean, model.likelihood(q.mean).mean
        typical = (z - z[other]).norm(dim=1).mean()  # distance between codes of two images
        twin = (z - model.posterior(b).mean).norm(dim=1).mean() / typical
        distances = torch.cdist(z, z).fill_diagonal_(math.inf)
        purity = (a.y[distances.argmin(1)] == a.y).float().mean()
        step = typical * F.normalize(direction * z.std(0), dim=1)  # spread like the codes
        difference = lambda x, y: (x - y).square().sum((1, 2, 3)).mean().item()
        spread = difference(image, image[other])  # between the decoded images of two digits
        changes[name] = [difference(model.likelihood(z + t * step).mean, image) / spread for t in lengths]
    noise = "none " if name.startswith("no noise") else f"{q.stddev.mean() / z.std(0).mean():.3f}"
    print(f"{name:<16} {twin:6.2f}   {noise} {purity:11.2f} {spread:12.1f} {changes[name][4]:15.3f}")

# %% mystnb={"figure": {"caption": "How much the decoded image changes when its code moves in a random direction. The unit on either axis is the mean difference of two test images: of their codes, and of their decoded images (squared). The direction is drawn with the spread that the codes have in each latent. Noise alone changes next to nothing: the curves of the first two models all but coincide.", "name": "fig-smooth"}, "image": {"alt": "Three curves of squared image change against displacement. Two coincide, without noise and with noise but no KL term. The third, with noise and KL term, lies clearly lower."}} tolerance={"rtol": 0.05}
fig, ax = plt.subplots()
for (name, change), (colour, style) in zip(changes.items(), [("vermilion", "-"), ("orange", "--"), ("blue", "-")]):
    ax.plot(lengths, change, style, color=COLOURS[colour], label=name)
ax.set(
    xlabel="displacement of the code (mean distance between two codes = 1)",
    ylabel="squared change of the image (two images = 1)",
)
ax.legend()
plt.show()

# %% [markdown]
# *Similar $x$, similar $z$* holds for all three to the same degree: a second binarization of the same digit lies at less than a fifth of the typical distance, and the nearest neighbour among the codes is a digit of the same class in 89 of 100 cases. Here the noise buys nothing.
#
# Noise without a KL term buys nothing either: the encoder spreads its codes and shrinks its $\sigma$ until the noise is a few thousandths of the spread, and what remains is an autoencoder. Only the KL term, which charges for both escapes, makes the noise bite: then $\sigma$ is more than a third of the spread. Moving a code now changes the image by 30% less, counted in
# the spread of the model's own images (which is itself smaller under the KL term, so that the bare squared change would flatter it). That is *similar $z$, similar $x$*, by a modest margin.
#
# ### Which of the two can be sampled?
#
# For the VAE we draw $z$ from the prior, as the definition says. The autoencoder gets the same guess as before, a Gaussian fitted to its codes. Both have seen the same images for two thousand steps.

# %% mystnb={"figure": {"caption": "Draws after equal training: means of $p(x \\mid z)$. Left: the autoencoder, $z$ from a Gaussian fitted to its codes. Right: the VAE, $z$ from the prior.", "name": "fig-equal-training"}, "image": {"alt": "Two grids of six rows of eight grey digits each. Many of the draws on either side are recognisable digits; others are smudges or mixtures of two digits."}} tolerance={"figure": 0.3, "rtol": 0.02}
with torch.no_grad():
    auto_codes = models["no noise, no KL"].posterior(train.batch(range(10_000))).mean
    fitted = MultivariateNormal(auto_codes.mean(0), auto_codes.T.cov())
    torch.manual_seed(0)
    decoded_draws = {
        "autoencoder": models["no noise, no KL"].likelihood(fitted.sample((2000,))).mean,
        "VAE": vae.likelihood(vae.prior.sample(2000)).mean,
    }
fig, axes = plt.subplots(1, 2, figsize=(6.4, 2.6))
for ax, (name, pixels) in zip(axes, decoded_draws.items()):
    image_grid(pixels[:48], columns=8, ax=ax).set_title(name)
plt.show()
print("                  ink   to a training image   from a test digit to a draw")
for name, pixels in {**decoded_draws, "test digits": test_images.x[-2000:]}.items():
    ink, back = pixels.sum((1, 2, 3)).mean(), nearest(test_images.x[:2000], pixels)
    print(f"{name:<15} {ink:6.1f} {nearest(pixels):15.2f} {back:25.2f}")

# %% [markdown]
# One length of training and one start decide little. `python -m lvmlib.experiments.autoencoder_draws` repeats the comparison with several of both, adds a better guess for the autoencoder (a mixture of fifty Gaussians fitted to its codes), and lets a classifier say how many of the draws it can read, with a probability above 0.95 for one of the digits.

# %%
draws_record = record("autoencoder_draws")
show = lambda values, scale=1: (
    f"{scale * np.mean(values):6.2f} +- {scale * np.std(values, ddof=1) / len(values) ** 0.5:4.2f}"
)
print(f"mean +- standard error of {draws_record['seeds']} seeds: distance to a training image, share that can be read")
for steps, runs in draws_record["runs"].items():
    for name in runs[0]:
        distance = show([run[name]["to_nearest_training_image"] for run in runs])
        readable = show([run[name]["readable"] for run in runs], 100)
        print(f"{int(steps):6,} steps  {name:<27} {distance}   {readable} %")
real = draws_record["test_images"]
print(f"              test digits {real['to_nearest_training_image']:17.2f} {100 * real['readable']:17.2f} %")

# %% [markdown]
# Two things come out, and the second is not what one is usually told. With training the draws of the autoencoder move away from the data, from 5.4 to 5.8, while those of the VAE come nearer, from 5.35 to 5.2: nothing holds the autoencoder's codes near a Gaussian, and the longer it trains, the less they resemble one. That is what the KL term is for. But the classifier can read no more of the
# VAE's draws than of the autoencoder's, four in ten of either, because draws from the prior also fall where no image was encoded. And with a mixture of fifty Gaussians in place of the one, the autoencoder is better than both by either measure, with more than eight in ten that can be read {cite:p}`ghosh2020`. (A part of that small distance is memory: the mixture has one component for every two hundred of the codes it was fitted to.)
#
# So an autoencoder lacks nothing but a distribution over its codes, and with a good one, fitted afterwards, it generates. Of the VAE this distribution is a part from the start, which is why it has a likelihood, or a bound on it, that says how good prior, decoder and encoder are *together*. A standard normal is the simplest prior, and not the best.
#
# (sec-features)=
# ## What are codes worth when labels are rare?
#
# An old hope for unsupervised learning {cite:p}`hinton2006`: learn a description of the images from plenty of pictures without labels, then a classifier on top from very few labels. We give it 100, ten of each digit, five times over, and measure accuracy on the 10,000 test images. *Frozen* features feed a logistic regression with scikit-learn's default
# regularisation, after one common rescaling. *Fine-tuned* continues training the encoder together with a new linear layer; *from scratch* is the same network from random weights. (The encoders of the VAEs were trained on binary images. Here they get grey ones, a grey level standing for the mean of its binarizations; `vae.pair` is the layer inside the VAE, which does not insist on binary input as
# the model does.)

# %%
ae_encoder = autoencoders[32][0]  # 784 -> 128 -> 32, of the first section
with torch.no_grad():
    pixel_mean, directions = torch.tensor(pca.mean_), torch.tensor(pca.components_[:32].T)
    features = {
        "raw pixels": lambda x: x.flatten(1),
        "PCA, 32": lambda x: (x.flatten(1) - pixel_mean) @ directions,
        "autoencoder, 32": ae_encoder,
        "VAE, mean of q, 20": lambda x: vae.pair.posterior(x).mean,
        "VAE, longer run, 50": lambda x: long_run.pair.posterior(x).mean,
    }
y_test = grey_test.y


# %%
def few_labels(seed):
    """Ten examples of each class, as indices into the training images."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    return torch.cat([order[images.y[order] == digit][:10] for digit in range(10)])


def train_classifier(network, x, y):
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(150 * SCALE):
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
    with torch.no_grad():
        return (network(test_images.x).argmax(1) == y_test).float().mean().item()


# %%
tuned = ["autoencoder fine-tuned", "its network from scratch", "longer run fine-tuned", "its network from scratch, too"]


class Means(nn.Module):
    """The encoder network of the longer run, of whose outputs the first half are the means."""

    def __init__(self, vae):
        super().__init__()
        self.network = vae.pair.encoder.network

    def forward(self, x):
        return self.network(x)[:, :50]


accuracy = {name: [] for name in [*(f"frozen: {name}" for name in features), *tuned]}
for name, f in features.items():
    with torch.no_grad():
        z, z_test = f(images.x[:20_000]), f(test_images.x)
        centre, scale = z.mean(0), z.std(0).square().mean().sqrt()
    for seed in range(5):
        index = few_labels(seed)
        with torch.no_grad():
            z_few = (f(images.x[index]) - centre) / scale
        classifier = LogisticRegression(max_iter=1000).fit(z_few, images.y[index])
        accuracy[f"frozen: {name}"].append(classifier.score((z_test - centre) / scale, y_test))

# %% tolerance={"atol": 0.3, "rtol": 0.01}
for seed in range(5):
    index = few_labels(seed)
    torch.manual_seed(seed)
    networks = [copy.deepcopy(ae_encoder), MLP(784, (128,), 32), copy.deepcopy(Means(long_run)), Means(vae_mnist())]
    heads = [nn.Linear(k, 10) for k in (32, 32, 50, 50)]
    for name, *parts in zip(tuned, networks, heads):
        accuracy[name].append(train_classifier(nn.Sequential(*parts), images.x[index], images.y[index]))
for name, values in accuracy.items():
    print(f"{name:<30} {100 * np.mean(values):5.1f} % (from {100 * min(values):.1f} to {100 * max(values):.1f})")

# %% [markdown]
# The spread between draws of 100 labels is about two points either way, and within it most rows agree: codes that were trained for 700 or 2,000 steps keep what the pixels say about the class, no more, and fine-tuning cannot tell such an encoder from a random one. The longer run stands apart: four points better than pixels when frozen, and when it is fine-tuned nine better than the same
# network from scratch. So the old hope is right, given an encoder that is worth its name. Two questions remain. Is it the length of the training, or that it is a VAE? And would other learning rates tell another story? `python -m lvmlib.experiments.few_labels` trains autoencoders and VAEs for different lengths, and chooses rate and number of steps of the tuning for each row on the validation
# images.

# %%
labels_record = record("few_labels")
print(f"accuracy in %, mean +- standard error of {labels_record['draws']} draws of the labels")
for name, row in labels_record["rows"].items():
    kept = show(row["frozen"], 100) if "frozen" in row else " " * 14
    print(f"  {name:<35} frozen {kept}   tuned {show(row['tuned'], 100)}")

# %% [markdown]
# It is the training and not the KL term: after 5,000 steps an autoencoder and a VAE of the larger size are worth the same, three to four points more than random weights, and after 360,000 steps the VAE is worth seven. And it is no law: the small autoencoder of the first section, with its squared error, is worth nothing here even after 7,000 steps. The standard errors are near one point; smaller
# differences should not be read.
#
# (sec-axes)=
# ## What do the axes of the latent space mean?
#
# Two latents can be looked at whole. {numref}`fig-manifold` decodes a grid over the prior of a VAE with $k = 2$ (the same script with `--latents 2` and 60 passes; its record holds the whole command): a map of digits. Neighbours resemble each other, classes have borders, and along a border digits turn into each other.

# %% mystnb={"figure": {"caption": "The manifold that a VAE with two latents has learned: decoded means on a grid whose points are equally likely under the prior (quantiles of the normal distribution in each coordinate).", "name": "fig-manifold"}, "image": {"alt": "Fourteen by fourteen grid of digits that change smoothly across the map, from ones at one side to zeros at another, with sevens, nines, fours and others in between."}}
flat = vae_mnist(latents=2)
flat_record = load_checkpoint(flat, "vae_mnist_2d")
quantiles = Normal(0, 1).icdf(torch.linspace(0.03, 0.97, 14))
grid = torch.cartesian_prod(-quantiles, quantiles).flip(1)  # z_1 to the right, z_2 upwards
with torch.no_grad():
    decoded = flat.likelihood(grid).mean
fig, ax = plt.subplots(figsize=(4.6, 4.6))
image_grid(decoded, columns=14, gap=0, ax=ax).set(
    xlabel="$z_1$ from $-1.9$ to $1.9$", ylabel="$z_2$ from $-1.9$ to $1.9$"
)
plt.show()
for size, r in {2: flat_record, 50: long_record}.items():
    print(f"test NLL with {size} latents: {r['test_nll_nats']:.1f} nats")

# %% mystnb={"figure": {"caption": "Posterior means of 2000 test images in the same two latents, each drawn as its digit. Together they fill the prior's disc; the border between fours and nines is fought over.", "name": "fig-codes"}, "image": {"alt": "Scatter plot of codes in the plane, each drawn as its digit. Ones, zeros and sevens have regions of their own at the rim, sixes and twos further in; fours, nines, fives, eights and threes overlap near the middle."}}
with torch.no_grad():
    codes = flat.posterior(binary_test.x[:2000]).mean
fig, ax = plt.subplots(figsize=(5, 4))
for digit in range(10):
    ax.scatter(*codes[binary_test.y[:2000] == digit].T, s=16, lw=0, color=plt.cm.tab10(digit), marker=f"${digit}$")
ax.set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
plt.show()

# %% [markdown]
# It is tempting to go on and name the axes. The model gives no reason to.
#
# :::{prf:proposition} The likelihood does not know the axes
# :label: thm-vae-rotation
# Let $Q$ be an orthogonal matrix. Replace the decoder by $p'_\theta(x \mid z) = p_\theta(x \mid Q^\top z)$ and the posterior by the law $q'(z \mid x)$ of $Qz$ with $z \sim q(z \mid x)$. Under the prior $\mathcal{N}(0, I)$ both $\log p(x)$ and the ELBO of every $x$ remain the same.
# :::
#
# :::{prf:proof}
# Substitute $z = Q u$, with $|\det Q| = 1$. The prior's density depends on $\lVert z \rVert = \lVert u \rVert$ alone, so $\int p_\theta(x \mid Q^\top z)\, \mathcal{N}(z; 0, I)\, dz = \int p_\theta(x \mid u)\, \mathcal{N}(u; 0, I)\, du$. Likewise $q'(z \mid x) = q(Q^\top z \mid x)$, so under $z = Qu$ the
# log-weight $\log p'_\theta(x \mid z) + \log p(z) - \log q'(z \mid x)$ equals $\log p_\theta(x \mid u) + \log p(u) - \log q(u \mid x)$ for every $u$, and $u \sim q(\cdot \mid x)$. Hence the expectations agree.
# :::
#
# Let us rotate the latent space of the longer run by a random $Q$. The posterior's covariance becomes $Q \operatorname{diag}(\sigma^2)\, Q^\top$, which is no longer diagonal; as long as we allow that, nothing changes. If we insist on a diagonal one, it depends on what is mixed: all fifty latents, of which 34 are dead, or the 16 active ones among themselves.

# %%
torch.manual_seed(0)
Q = torch.linalg.qr(torch.randn(50, 50, dtype=torch.float64)).Q
I = torch.eye(50, dtype=Q.dtype)
few = binary_test.x[:500]
with torch.no_grad():
    q = long_run.posterior(few)
    alive = (long_run.posterior(binary_test.x[:2000]).mean.var(0) > 0.01).nonzero().flatten()
mean, var = q.mean.double(), q.variance.double()
Q_alive = I.clone()
Q_alive[alive[:, None], alive] = torch.linalg.qr(torch.randn(len(alive), len(alive), dtype=Q.dtype)).Q


def nearest_diagonal(rotation):
    """Of all diagonal Gaussians p the covariance of the one with the smallest KL(p || rotated q)."""
    precision = rotation @ torch.diag_embed(1 / var) @ rotation.T
    return torch.diag_embed(1 / precision.diagonal(dim1=1, dim2=2))


# %% tags=["check:thm-vae-rotation"] tolerance={"rtol": 0.005}
rotations = {
    "as trained": (I, mean, torch.diag_embed(var)),
    "rotated": (Q, mean @ Q.T, Q @ torch.diag_embed(var) @ Q.T),
    "rotated, q diagonal": (Q, mean @ Q.T, nearest_diagonal(Q)),
    f"only the {len(alive)} active": (Q_alive, mean @ Q_alive.T, nearest_diagonal(Q_alive)),
}
bounds = {}
for name, (rotation, m, covariance) in rotations.items():
    rotated_q = MultivariateNormal(m, covariance)
    torch.manual_seed(0)
    z = rotated_q.sample((40,)) @ rotation  # rows are Q^T z, which the decoder expects
    with torch.no_grad():
        log_likelihoods = long_run.likelihood(z.flatten(0, 1).float()).log_prob(few.repeat(40, 1, 1, 1)).view(40, -1)
    bounds[name] = (
        (log_likelihoods.mean(0) - kl_divergence(rotated_q, MultivariateNormal(torch.zeros_like(m[0]), I)))
        .mean()
        .item()
    )
    error = (log_likelihoods.std(0).square().sum() / 40).sqrt().item() / len(few)
    print(f"{name:<20} ELBO {bounds[name]:8.2f} +- {error:.2f} nats")
assert abs(bounds["rotated"] - bounds["as trained"]) < 0.2
assert all(bounds[name] < bounds["as trained"] - 1 for name in list(rotations)[2:])

# %% [markdown]
# :::{admonition} Watch out: 'a diagonal prior makes the axes interpretable'
# :class: pitfall
# $\mathcal{N}(0, I)$ is the same in every orthonormal basis, so independence of the latents under the prior singles out no axes: the rotated model has the same likelihood, the same samples and the same ELBO, within the error of the estimate. If the axes of a VAE line up with anything, it is because of the *encoder's* diagonal covariance, which does break the symmetry
# (with the nearest diagonal $q$ the rotated model loses 7 nats if only the active latents are mixed among themselves, and 44 if dead ones are mixed in, for then every new axis is partly dead). That is an accident of a convenient approximation which prefers local principal directions {cite:p}`rolinek2019`, not a principle, and without further assumptions no such alignment is guaranteed {cite:p}`locatello2019`.
# :::
#
# (sec-faces)=
# ## Does it work on faces?
#
# The same recipe with convolutions, on 358 portraits of 36 persons from the ORL database {cite:p}`samaria1994`, courtesy of AT&T Laboratories Cambridge: $56 \times 48$ pixels, 16 latents, a Gaussian decoder with $\sigma = 0.2$ (`python -m lvmlib.experiments.vae_faces --data FOLDER`). The portraits are not shipped. The checkpoint is, with the posterior means
# of eight of them, and the model can tell us what it knows.

# %%
from lvmlib.experiments.vae_faces import FaceVAE

faces = FaceVAE()
faces_record = load_checkpoint(faces, "vae_faces")
for key in ("data", "training_minutes", "train_bits_per_dim", "test_bits_per_dim", "test_protocol"):
    print(f"{key}: {str(faces_record[key]).split('; sha256')[0]}")

# %% mystnb={"figure": {"caption": "Faces from the checkpoint alone. Rows 1 and 2: means of $p_\\theta(x \\mid z)$ for draws from the prior. Rows 3 to 5: straight lines between the codes of two portraits each (decoded at both ends too; no photograph is shown).", "name": "fig-faces"}, "image": {"alt": "Five rows of eight blurred grey-scale faces. The first two rows show invented faces, several of them mere blots; in the other three rows one face turns gradually into another."}} tags=["photo"] tolerance={"rtol": 0.01}
torch.manual_seed(3)
t = torch.linspace(0, 1, 8)[:, None]
with torch.no_grad():
    z = [faces.prior.sample(16), *[(1 - t) * faces.codes[a] + t * faces.codes[b] for a, b in ((0, 1), (2, 3), (4, 5))]]
    decoded = faces.likelihood(torch.cat(z)).mean
labels = ["prior", "prior", "line", "line", "line"]
image_grid(1 - decoded, columns=8, row_labels=labels)  # ink is dark, light is not
plt.show()
with torch.no_grad():
    portraits = faces.likelihood(faces.codes).mean
to_portrait = torch.cdist(decoded[:16].flatten(1), portraits.flatten(1)).amin(1).mean()
print(
    f"mean level of the 16 draws {decoded[:16].mean():.3f}, of {len(portraits)} decoded portraits {portraits.mean():.3f}; ",
    end="",
)
print(
    f"distance of two draws {torch.pdist(decoded[:16].flatten(1)).mean():.1f}, of a draw to the nearest portrait {to_portrait:.1f}"
)

# %% mystnb={"figure": {"caption": "Traversals from one code, one latent at a time from $-3$ to $3$; rows are the four latents that change the decoded face most. At the right end of the first two rows the code has left the region where portraits lie, and the face falls apart.", "name": "fig-face-traversal"}, "image": {"alt": "Four rows of nine faces; along the rows brightness, direction of light, pose and hair change gradually; the first two rows end in blots."}} tags=["photo"]
base = faces.codes[0]
with torch.no_grad():
    k = len(base)
    z = base.repeat(k, 9, 1)
    for latent in range(k):
        z[latent, :, latent] = torch.linspace(-3, 3, 9)
    traversal = faces.likelihood(z.flatten(0, 1)).mean.view(k, 9, 1, 56, 48)
    change = (traversal[:, -1] - traversal[:, 0]).square().sum((1, 2, 3))
most = change.argsort(descending=True)[:4]
image_grid(1 - traversal[most].flatten(0, 1), columns=9, row_labels=[f"$z_{{{i}}}$" for i in most.tolist()])
plt.show()

# %% [markdown]
# Portraits of four persons whom the model never saw cost 0.02 bits per dimension more than those that it was trained on. Read that with care: at $\sigma = 0.2$ even a perfect reconstruction costs $8 + \log_2(\sigma\sqrt{2\pi}) = 7.00$, and of what lies above, new persons cost about a sixth more. Most of what it has learned carries over to a new person; a little is memory. Lines between two persons run through plausible faces, though an even blend of two persons is mostly a blurred one. Draws from the prior are hit and miss: 358 codes do not fill a 16-dimensional Gaussian, and a draw that falls between them
# decodes to something that the decoder was never asked for. The scale $\sigma$ matters here. Learned, it would shrink towards the root mean squared error of the reconstructions ({prf:ref}`thm-vae-sigma`) and gain bits per dimension, but each portrait would then be told apart with more nats, and more of the prior's mass would belong to no portrait. We fixed it by hand, at 0.2, for the sake of the draws. The next section is about this exchange.
#
# (sec-rate-distortion)=
# ## What does a nat of code buy?
#
# Call minus the first term of the ELBO the **distortion** $\mathsf{D}$ and the KL term the **rate** $\mathsf{R}$, both averaged over the data. The $\beta$-VAE {cite:p}`higgins2017` minimises $\mathsf{D} + \beta\,\mathsf{R}$. With $\beta = 1$ that is minus the ELBO; other values buy less or more code. What is possible at all?
#
# :::{prf:theorem} Rate, distortion and information
# :label: thm-vae-rd
# Let $x$ take finitely many values, $x \sim p_{\mathrm{d}}$ with entropy $H$ in nats, let $q(z \mid x)$ be any encoder and $I_q$ the mutual information of $x$ and $z$ under $p_{\mathrm{d}}(x)\, q(z \mid x)$. For every decoder $p(x \mid z)$ and every prior $p(z)$, with
# $\mathsf{D} = -\mathbb{E}[\log p(x \mid z)]$ and $\mathsf{R} = \mathbb{E}[\operatorname{KL}(q(z \mid x) \,\|\, p(z))]$ finite,
#
# $$ H - \mathsf{D} \;\le\; I_q \;\le\; \mathsf{R}, \qquad\text{hence}\qquad \mathsf{R} + \mathsf{D} \ge H . $$ (eq-rate-distortion)
#
# The first inequality is an equality if and only if the decoder is the encoder's own inverse $q(x \mid z) \propto p_{\mathrm{d}}(x)\, q(z \mid x)$ for almost every $z$, the second if and only if the prior is the aggregated posterior $q(z) = \mathbb{E}_{p_{\mathrm{d}}}[q(z \mid x)]$.
# :::
#
# :::{prf:proof}
# $I_q = H - \mathbb{E}[-\log q(x \mid z)]$, and $\mathbb{E}[-\log p(x \mid z)] - \mathbb{E}[-\log q(x \mid z)] = \mathbb{E}_{q(z)} \operatorname{KL}(q(x \mid z) \,\|\, p(x \mid z)) \ge 0$; so $I_q \ge H - \mathsf{D}$. And $I_q = \mathbb{E}\left[\log \frac{q(z \mid x)}{q(z)}\right]$, so
# $\mathsf{R} - I_q = \mathbb{E}\left[\log \frac{q(z)}{p(z)}\right] = \operatorname{KL}(q(z) \,\|\, p(z)) \ge 0$. A KL divergence is 0 exactly for equal distributions.
# :::
#
# {cite:t}`alemi2018` read this as a plane on which every VAE is a point. With six images and four discrete codes everything can be summed; we try ten thousand random encoders, decoders and priors (neither difference may be negative), then the optimal decoder and prior for one encoder.

# %%
generator = torch.Generator().manual_seed(0)
random = lambda *shape: torch.rand(shape, generator=generator, dtype=torch.float64).pow(3) + 1e-6
p_data = F.normalize(random(6), p=1, dim=0)
H = -(p_data * p_data.log()).sum()


def rate_distortion(q, decoder, prior):
    """q: [..., x, z], decoder: [..., x, z] normalised over x, prior: [..., z]. Returns D, I, R, each [...]."""
    joint = p_data[:, None] * q
    marginal = joint.sum(-2, keepdim=True)  # q(z)
    D = -(joint * decoder.log()).sum((-1, -2))
    information = (joint * (q / marginal).log()).sum((-1, -2))
    R = (joint * (q / prior[..., None, :]).log()).sum((-1, -2))
    return D, information, R


# %% tags=["check:thm-vae-rd"]
encoders, decoders, priors = (
    F.normalize(random(10_000, *shape), p=1, dim=dim) for shape, dim in (((6, 4), -1), ((6, 4), -2), ((4,), -1))
)
D, information, R = rate_distortion(encoders, decoders, priors)
print(f"smallest I - (H - D): {(information - H + D).min():.4f}, smallest R - I: {(R - information).min():.4f}")
assert (information > H - D).all() and (information < R).all()
joint = p_data[:, None] * encoders[0]
D, information, R = rate_distortion(encoders[0], joint / joint.sum(0), joint.sum(0))
print(f"optimal decoder and prior: H - D = {H - D:.6f}, I = {information:.6f}, R = {R:.6f} nats (equal)")
assert torch.allclose(H - D, information) and torch.allclose(R, information)

# %% [markdown]
# Now the curve on real images. Five copies of the VAE of {numref}`sec-train` continue training, each with its own $\beta$.

# %%
plane = {}
for beta in (0.1, 0.3, 1.0, 3.0, 10.0):
    model = copy.deepcopy(vae)
    seed_everything(0)
    loss = lambda model, x, beta=beta: -elbo(model, x, beta=beta)
    fit(model, train, loss, steps=300 * SCALE, batch_size=100, lr=cosine(3e-3, 300 * SCALE, warmup=50), progress=False)
    torch.manual_seed(0)
    with torch.no_grad():
        distortion, rate = distortion_and_rate(model.trace(valid_fixed.x))
    plane[beta] = rate.mean().item(), distortion.mean().item()

# %% mystnb={"figure": {"caption": "The rate-distortion plane of binary MNIST. Each point is one $\\beta$. Dotted lines join points of equal ELBO, the lower the better; $\\beta = 1$ gets lowest. No point can lie below $\\mathsf{R} + \\mathsf{D} = H$. The entropy $H$ of binary MNIST is unknown; the thick line is drawn at the smallest negative log-likelihood in this book, that of chapter 4's PixelCNN++, which cannot be less than $H$ (on average over the data; it is measured on the test images, the points on 2000 validation images). The thin line is the longer run's.", "name": "fig-rate-distortion"}, "image": {"alt": "Five points on a falling convex curve with rate on the horizontal and distortion on the vertical axis; straight grey lines of slope minus one, and two solid lines of slope minus one below the curve, the lower one thick."}} tolerance={"rtol": 0.02}
fig, ax = plt.subplots()
r, d = zip(*plane.values())
ax.plot(r, d, "o-", color=COLOURS["blue"], label="trained with $\\beta$")
for beta, point in plane.items():
    ax.annotate(f"{beta:g}", point, (6, 4), textcoords="offset points")
axis = np.linspace(0, 60, 2)
best_nll = record("pixelcnnpp_mnist")["test_nll_nats"]
for nll, width, name in ((long_record["test_nll_nats"], 1, "the longer run"), (best_nll, 3, "PixelCNN++")):
    ax.plot(axis, nll - axis, color="black", lw=width, label=f"R + D = {nll:.1f}, NLL of {name}")
for total in (120, 150):
    ax.plot(axis, total - axis, color="#666666", lw=1.2, ls=":", label="equal ELBO" if total == 120 else None)
ax.set(xlim=(0, 60), ylim=(0, 190), xlabel="rate R (nats per image)", ylabel="distortion D (nats per image)")
ax.legend()
plt.show()
for beta, (rate, distortion) in plane.items():
    print(f"beta {beta:4g}: R {rate:5.1f}, D {distortion:6.1f}, R + D {rate + distortion:6.1f} nats")

# %% [markdown]
# Along the optimal curve the slope is $-\beta$, because $\mathsf{D} + \beta\,\mathsf{R}$ is smallest there. Going from $\beta = 1$ to $0.1$ doubles the rate and takes only some 10 nats off the distortion; going to 10 saves 21 nats of rate at the price of 70 nats of distortion. The sum is best at $\beta = 1$, as it must be when training succeeds, since there it is what was minimised. Its distance to the
# thick line is what a better network, more training and a tighter bound would gain.
#
# :::{admonition} Watch out: with $\beta < 1$ the objective is no bound
# :class: pitfall
# $\mathsf{D} + \beta\,\mathsf{R}$ with $\beta < 1$ leaves out part of the price, and minus its value may exceed $\log p(x)$. In the small model from before ($z \sim \mathcal{N}(0, 1)$, $x \mid z \sim \mathcal{N}(z, 1)$, $x = 1$, exact posterior) $\beta = 0.5$ gives $-1.40$, where $\log p(x) = -1.52$. Train with any $\beta$ you like, but report the
# ELBO with $\beta = 1$.
# :::

# %%
layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), scale=1.0)  # q is exact
model = Flow([layer], StandardNormal((1,)))
torch.manual_seed(0)
x = torch.ones(1, 1)
with torch.no_grad():
    for beta in (1.0, 0.5):
        print(f"beta {beta}: {elbo(model, x, k=1_000_000, beta=beta).item():.2f}")
    print(f"log p(x): {log_likelihood(model, x, k=1).item():.2f} (one draw is enough: q is the posterior)")

# %% [markdown]
# (sec-blurry)=
# ## Why are the samples blurry?
#
# Every sample in this chapter is soft at the edges, faces more than digits. Larger networks and longer training help only so far: softness is what the decoder was asked for.
#
# :::{prf:theorem} The best factorised decoder is an average
# :label: thm-vae-mean
# Fix an encoder $q(z \mid x)$ and let $m(z) = \mathbb{E}[x \mid z]$ be the mean of the images under $p_{\mathrm{d}}(x)\, q(z \mid x)$ given $z$. The expected log-likelihood $\mathbb{E}[\log p(x \mid z)]$ is largest, among decoders $\mathcal{N}(g(z), \sigma^2 I)$ with a given $\sigma$, at $g = m$; and among products of
# Bernoulli distributions with means $\pi(z)$, for binary $x$, at $\pi = m$.
# :::
#
# :::{prf:proof}
# Condition on $z$. Gaussian: $\mathbb{E}[\lVert x - g \rVert^2 \mid z] = \mathbb{E}[\lVert x - m \rVert^2 \mid z] + \lVert m - g \rVert^2$, because the cross term $2\,\mathbb{E}[x - m \mid z]^\top (m - g)$ vanishes. Bernoulli: $\mathbb{E}[\log p(x \mid z) \mid z] = \sum_i m_i \log \pi_i + (1 - m_i) \log(1 - \pi_i)$, minus the sum of the
# cross-entropies between coins with means $m_i$ and $\pi_i$, each smallest at $\pi_i = m_i$.
# :::
#
# So wherever the codes of several images overlap, and the KL term makes them overlap, the decoder shows their average. The check takes the coarsest code there is, $z$ = the class of the digit, and lets gradient descent find the decoder.

# %% tags=["check:thm-vae-mean"]
binary = digits.fixed(seed=0)
x, z = binary.x.flatten(1).double(), binary.y


def best_table(log_likelihood):
    table = torch.zeros(10, 64, dtype=torch.float64, requires_grad=True)  # one row for each code
    optimizer = torch.optim.LBFGS([table], max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -log_likelihood(table[z]).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return table.detach()


averages = torch.stack([x[z == digit].mean(0) for digit in range(10)])
best_bernoulli = best_table(lambda logits: Bernoulli(logits=logits).log_prob(x)).sigmoid()
best_gaussian = best_table(lambda mean: Normal(mean, 0.3).log_prob(x))
for name, table in {"Bernoulli": best_bernoulli, "Gaussian": best_gaussian}.items():
    difference = (table - averages).abs().max().item()
    print(f"{name:>9}: decoder and class averages differ by less than 0.001: {difference < 1e-3}")
    assert difference < 1e-3

# %% [markdown]
# With two latents we can watch the theorem at work on MNIST. For a code $z$ the average is $m(z) = \sum_n q(z \mid x_n)\, x_n / \sum_n q(z \mid x_n)$ over the training images, and the weights tell which images share this code.

# %% mystnb={"figure": {"caption": "Four codes of the 2-dimensional model: the decoder's mean $\\pi(z)$, the average $m(z)$ of the training images that share the code, and six images with the largest weights. Decoder and average are blurred alike; the images are not.", "name": "fig-average"}, "image": {"alt": "Four rows of eight digits. The first two columns, decoder mean and average, are nearly equal blurred digits; the other six columns are sharp digits that differ from one another in shape."}}
z = torch.tensor([[0.5, 0.5], [-1.0, 0.3], [0.2, -1.2], [1.5, -0.5]])
pictures = train.fixed(
    seed=0
).x.float()  # [50000, 1, 28, 28], one draw of the binary images that the model was trained on
with torch.no_grad():
    q = flat.posterior(pictures)
    log_q = torch.stack([q.log_prob(point.expand_as(q.mean)) for point in z])  # [4, 50000]
    weights = log_q.softmax(1)
    decoded = flat.likelihood(z).mean
average = (weights @ pictures.flatten(1)).view(-1, 1, 28, 28)
closest = weights.topk(6).indices
rows = [torch.cat([decoded[i : i + 1], average[i : i + 1], pictures[closest[i]]]) for i in range(4)]
image_grid(
    torch.cat(rows),
    columns=8,
    column_labels=[r"$\pi(z)$", "$m(z)$", *[""] * 2, "images that share the code", *[""] * 3],
)
plt.show()
sharing = 1 / weights.square().sum(1)
print("images that share a code (effective number):", [round(n) for n in sharing.tolist()])

# %%
undecided = lambda p: (p * (1 - p)).sum((1, 2, 3)).mean().item()
torch.manual_seed(0)
for name, model in {"2 latents": flat, "50 latents": long_run}.items():
    with torch.no_grad():
        pictures = model.likelihood(model.prior.sample(1000)).mean
    print(f"{name}: variance left in a picture, summed over pixels: {undecided(pictures):.1f}")
print(f"MNIST's own grey levels: {undecided(test_images.x):.1f}")

# %% [markdown]
# The decoder never computed an average; it arrived at these by gradient ascent on the ELBO. Dozens of training images share each code, and wherever they disagree about a pixel the best answer is grey. With 50 latents the codes say more and less variance is left, but still more than in MNIST's own grey levels.
#
# Drawing from $p_\theta(x \mid z)$ instead of showing its mean does not help, because the pixels are drawn independently: blur becomes speckle ({numref}`fig-samples`). What helps is to let the code say more, with a prior that follows, or a decoder in which pixels depend on each other, so that *one of the sixes* can be drawn instead of their mean.
#
# (sec-pros-cons)=
# ## What it is good for, and what not
#
# :::{list-table} The variational autoencoder, for and against.
# :header-rows: 1
# :name: tab-vae-pros-cons
#
# * - For
#   - Against
# * - Sampling costs one pass through the decoder, all pixels at once.
#   - Pixels are independent given $z$: means are blurred, draws are speckled ({numref}`sec-blurry`).
# * - Codes for new data by one pass through the encoder, with their uncertainty; interpolation, traversal, features from unlabelled data.
#   - Axes carry no meaning of their own ({numref}`sec-axes`).
# * - Any networks, any decoder: binary, grey, whatever has a likelihood.
#   - The likelihood is known only as a bound; an estimate takes thousands of passes ({numref}`sec-almost-zero`).
# * - Stable training by stochastic gradients; one draw per image is enough.
#   - The bound rewards simple posteriors, and with a powerful decoder the code may go unused.
# * - Rate and distortion can be read off and traded.
#   - Prior and codes need not match: draws from the prior may fall where no image was encoded.
# :::
#
# **Beside a normalizing flow.** A flow is the other way to turn noise into images by a network, with every layer a bijection. In the library both are one class; row by row they differ in what the layers pay.
#
# :::{list-table} A VAE and a normalizing flow.
# :header-rows: 1
# :name: tab-vae-flow
#
# * -
#   - VAE
#   - normalizing flow
# * - latent space
#   - as small as one likes
#   - as many dimensions as the data
# * - from $x$ to $z$
#   - a distribution $q_\phi(z \mid x)$, approximately the posterior
#   - a function, exactly invertible
# * - from $z$ to $x$
#   - a distribution $p_\theta(x \mid z)$
#   - the inverse function
# * - a layer pays
#   - $\log p_\theta(x \mid z) - \log q_\phi(z \mid x)$
#   - $\log \lvert \det \partial z / \partial x \rvert$
# * - $\log p(x)$
#   - a lower bound, an estimate by importance sampling
#   - exact
# * - networks
#   - any
#   - invertible, with a cheap determinant
# * - discrete data
#   - directly, by the decoder
#   - after dequantization, again a bound
# * - training
#   - one draw per image, gradient with noise
#   - no draws
# * - lossy description of $x$
#   - yes: the code leaves out noise
#   - no: $z$ keeps everything
# * - samples
#   - blurred or speckled
#   - sharp, with distortions of large shapes
# * - in `lvmlib`
#   - `Flow([StochasticPair(...)], prior)`
#   - `Flow([bijection, ...], base)`
# :::
#
# ## Summary
#
# :::{list-table} What was shown, and where it lives in `lvmlib`.
# :header-rows: 1
# :name: tab-vae-summary
#
# * - Result
#   - In one line
#   - In `lvmlib`
# * - {prf:ref}`thm-ae-pca`
#   - linear encoder and decoder, squared error: the span of the first principal components
#   -
# * - {prf:ref}`thm-vae-elbo`
#   - $\log p(x) = \text{ELBO} + \operatorname{KL}(q \,\|\, \text{posterior})$
#   - `bounds.elbo`
# * - {prf:ref}`thm-vae-reparam`
#   - $z = \mu + \sigma\varepsilon$ carries the gradient
#   - `rsample` of the encoder's distribution
# * - {prf:ref}`thm-vae-kl`
#   - $\frac12\sum(\mu^2 + \sigma^2 - 1 - \log\sigma^2)$, no draw
#   - `bounds.elbo` takes it where it exists
# * - {prf:ref}`thm-vae-sigma`
#   - best $\sigma^2$ = mean squared error
#   - `ConditionalNormal(..., scale="learned")`
# * - {prf:ref}`thm-vae-rotation`
#   - rotating the latent space changes neither $\log p(x)$ nor the ELBO
#   -
# * - {prf:ref}`thm-vae-rd`
#   - $H - \mathsf{D} \le I \le \mathsf{R}$
#   - `bounds.distortion_and_rate`
# * - {prf:ref}`thm-vae-mean`
#   - the decoder's optimum is the mean of the images that share a code
#   - `VAE.reconstruct`
# :::
#
# ## Exercises
#
# :::{exercise}
# :label: ex-vae-price
# Over the data, a latent's posterior means $\mu(x)$ have mean 0 and variance $v$, and all its posteriors have the same variance $s^2$. What is the average KL to $\mathcal{N}(0, 1)$? Which $v$ is cheapest for a given ratio $v / s^2$, and what does the latent then cost?
# :::
#
# :::{solution} ex-vae-price
# :class: dropdown
# The average of {eq}`eq-kl-gaussians` is $\frac12(v + s^2 - 1 - \log s^2)$. With $\rho = v / s^2$ it is $\frac12\left((1 + \rho) s^2 - 1 - \log s^2\right)$, smallest at $s^2 = 1/(1 + \rho)$, so that $v + s^2 = 1$: the aggregated posterior has the prior's variance. There it costs $\frac12 \log(1 + \rho)$ nats,
# the capacity of a Gaussian channel with signal-to-noise ratio $\rho$.
# :::
#
# :::{exercise}
# :label: ex-vae-beta-sigma
# Show that a $\beta$-VAE with decoder $\mathcal{N}(g_\theta(z), \sigma^2 I)$, $\sigma$ fixed, has the same optimal networks as an ordinary VAE with another fixed $\sigma$. Which one? Does the same hold for the Bernoulli decoder?
# :::
#
# :::{solution} ex-vae-beta-sigma
# :class: dropdown
# Divide the objective $\frac{1}{2\sigma^2}\lVert x - g \rVert^2 + \text{const} + \beta \operatorname{KL}$ by $\beta$: up to a constant it is the loss of an ordinary VAE with scale $\sqrt{\beta}\,\sigma$. For a Bernoulli decoder $\frac1\beta \log p_\theta(x \mid z)$ is the log of an unnormalised distribution whose normaliser depends on the
# means, so there is no such equivalence.
# :::
#
# :::{exercise}
# :label: ex-vae-continuous-bernoulli
# For which constant $c(\pi)$ is $c(\pi)\, \pi^x (1 - \pi)^{1 - x}$ a density on $x \in [0, 1]$? Conclude that the "ELBO" of a Bernoulli decoder on grey levels is always below that of the normalised one, and say which way leaving out $c(\pi)$ moves the fitted $\pi$.
# :::
#
# :::{solution} ex-vae-continuous-bernoulli
# :class: dropdown
# With $a = \log\frac{\pi}{1 - \pi}$ the integrand is $(1 - \pi)\, e^{a x}$, and $\int_0^1 (1 - \pi)\, e^{a x}\, dx = (1 - \pi)\frac{e^a - 1}{a} = \frac{2\pi - 1}{a}$ for $\pi \ne \frac12$, and $\frac12$ at $\frac12$. So $c(\pi) = \frac{1}{2\pi - 1}\log\frac{\pi}{1 - \pi}$, which is at least 2: the integral of a function that is convex in $x$ lies below the mean of its values at
# 0 and 1, $\frac12((1 - \pi) + \pi) = \frac12$. The normalised log-likelihood has the further term $\log c(\pi)$, which grows towards $\pi = 0$ and $1$. Leaving it out therefore moves the fitted $\pi$ towards $\frac12$.
# :::
#
# :::{exercise}
# :label: ex-vae-reparam
# Reparameterise (a) the exponential distribution with rate $\lambda$, (b) the logistic distribution, (c) a Bernoulli variable with mean $\pi$. Which part of {prf:ref}`thm-vae-reparam` fails in (c), and what would the formula return?
# :::
#
# :::{solution} ex-vae-reparam
# :class: dropdown
# With $u$ uniform on $(0, 1)$: (a) $-\log(u) / \lambda$; (b) $\mu + s \log\frac{u}{1 - u}$; (c) $\mathbb{1}[u < \pi]$. In (c) the map from $\pi$ to $z$ is a step for each $u$, so $f(z)$ is not continuous in the parameter, its derivative is 0 almost everywhere, and the "gradient" is 0 although $\frac{d}{d\pi}\mathbb{E}[f(z)] = f(1) - f(0)$.
# :::
#
# :::{exercise}
# :label: ex-vae-is-bias
# Let $\hat p = \frac1k \sum_i w_i$ with $\mathbb{E}[w_i] = p(x)$ and finite variance. Expand $\log \hat p$ around $p(x)$ to second order and find how far $\mathbb{E}[\log \hat p]$ lies below $\log p(x)$ for large $k$. Compare with the table in {numref}`sec-almost-zero`: does the gap fall like $1/k$ there?
# :::
#
# :::{solution} ex-vae-is-bias
# :class: dropdown
# $\log \hat p \approx \log p + \frac{\hat p - p}{p} - \frac{(\hat p - p)^2}{2 p^2}$, so $\log p - \mathbb{E}[\log \hat p] \approx \frac{\operatorname{Var}(w)}{2 k p^2}$. It does not: the steps of the table are 2.3, 0.8 and 0.4 nats, so a tenfold $k$ leaves a third to a half of the gap, not a tenth. The expansion needs $\operatorname{Var}(w) \ll k\, p^2$, and with fewer than twenty effective draws in a thousand we are far from it.
# :::
#
# :::{exercise}
# :label: ex-vae-rotation
# Which orthogonal matrices $Q$ keep a posterior with covariance $\operatorname{diag}(\sigma_1^2, \dots, \sigma_k^2)$ diagonal, if all $\sigma_i$ differ? And if some of them are equal? What does it say about the symmetry that remains in a VAE with diagonal posteriors?
# :::
#
# :::{solution} ex-vae-rotation
# :class: dropdown
# If $Q \Sigma Q^\top$ is diagonal, its entries are the eigenvalues $\sigma_i^2$ in some order and the columns of $Q^\top$ are eigenvectors of $\Sigma$. With distinct $\sigma_i$ these are $\pm$ the axes: $Q$ is a permutation with signs. Where several $\sigma_i$ are equal, their axes span an eigenspace, and within it any rotation will do; already two equal ones leave
# the rotations of a plane. So what remains in a VAE are permutations, reflections, and rotations among latents whose $\sigma_i(x)$ agree for every $x$. The dead latents are such a group, all with $\sigma_i = 1$. Among the others no two agree in practice: the family of posteriors, not the prior, has chosen the axes.
# :::
#
# :::{exercise}
# :label: ex-vae-linear
# Train a *linear* VAE on the 8x8 digits: `ConditionalNormal((8,), nn.Linear(64, 16))` as the encoder, `nn.Linear(8, 64)` with one learned scale as the decoder. (Centre the pixels first and divide them by their standard deviation.) Compare its ELBO with scikit-learn's `PCA(8).fit(x).score(x)`, the log-likelihood of probabilistic PCA. Why can the bound be tight here although the posterior
# is forced to be diagonal?
# :::
#
# :::{solution} ex-vae-linear
# :class: dropdown
# The next cell reaches an ELBO of $-69.3$ nats, where the log-likelihood of probabilistic PCA is $-69.2$. The posterior of a linear-Gaussian model has covariance $(I + W^\top W / \sigma^2)^{-1}$, the same for all $x$. Rotating the latent space ({prf:ref}`thm-vae-rotation`) until $W^\top W$ is diagonal makes it diagonal and costs nothing, so the diagonal family contains the exact posterior for one of the equivalent
# models, and the ELBO prefers that one {cite:p}`lucas2019`. Up to order and sign the axes are then the principal components: here a diagonal *posterior* recovers PCA's axes, which {prf:ref}`thm-ae-pca` could not.
# :::

# %% tags=["hide-cell"] tolerance={"atol": 0.1}
pixels8 = load("digits")[0].x.flatten(1).float()
pixels8 = pixels8 - pixels8.mean(0)
pixels8 = pixels8 / pixels8.std()  # one number for all pixels, about 4.3
seed_everything(0)
linear = VAE(
    ConditionalNormal((8,), nn.Linear(64, 16)),
    ConditionalNormal((64,), nn.Linear(8, 64), scale="learned"),
    StandardNormal((8,)),
)
fit(linear, pixels8, steps=3000, batch_size=200, lr=cosine(5e-3, 3000), progress=False)
with torch.no_grad():
    bound = elbo(linear, pixels8, k=20).mean().item()
print(f"linear VAE: ELBO {bound:.1f} nats; probabilistic PCA: {PCA(8).fit(pixels8.numpy()).score(pixels8.numpy()):.1f}")

# %% [markdown]
# ## Further reading
#
# - {cite:t}`kingma2014` and {cite:t}`rezende2014` are the two original papers; {cite:t}`kingma2019` is a book-length introduction by the former's authors.
# - Linear autoencoders: {cite:t}`baldi1989`; linear VAEs and probabilistic PCA: {cite:t}`lucas2019`. Pretraining with autoencoders: {cite:t}`hinton2006`.
# - Learned decoder scales in practice: {cite:t}`rybkin2021`. Rate and distortion: {cite:t}`alemi2018`; $\beta$-VAE: {cite:t}`higgins2017`.
# - What the latent axes can and cannot mean: {cite:t}`rolinek2019`, {cite:t}`locatello2019`.
# - Tighter bounds and how they change what is learned: {cite:t}`burda2016`.
