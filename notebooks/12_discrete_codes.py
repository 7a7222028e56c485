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
# (ch-codes)=
# # Discrete codes and expressive decoders
#
# *Two ways out of the blur. Let the code be a small picture whose pixels are numbers from a list, and let a pixel model draw it. Or let a pixel model be the decoder, and leave to the code what a pixel model sees poorly. Then put the bound to the test: how many bits does a latent-variable model need on disk?*
#
# A **{term}`discrete code`** is a latent variable $z = (z_1, \dots, z_D)$ with whole numbers $z_i \in \{1, \dots, K\}$ (in programs they count from 0). A **vector-quantised VAE** (VQ-VAE) {cite:p}`vandenoord2017` gets them by rounding: an encoder network turns $x$ into a feature vector for each place of a small grid, each of these is replaced by the nearest of $K$ vectors in a **{term}`codebook`**, and the code is the number of that vector. {numref}`fig-dc-first` shows what remains of a digit.

# %% tags=["hide-input"]
import copy
import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lvmlib.autoregressive import GatedPixelCNN
from lvmlib.base import seed_everything
from lvmlib.bounds import distortion_and_rate, elbo, iwae
from lvmlib.checkpoints import load_checkpoint
from lvmlib.compression import Stack, bits_back_decode, bits_back_encode, slots
from lvmlib.data import load
from lvmlib.distributions import ConditionalBernoulli, FactorisedCodes
from lvmlib.experiments import bits_on_disk, codes_mnist, pixel_decoders
from lvmlib.experiments.records import record
from lvmlib.experiments.vae_mnist import vae_mnist
from lvmlib.latent import VQVAE, Codebook, perplexity
from lvmlib.plotting import COLOURS, image_grid, use_style
from lvmlib.training import cosine, fit

# %% tags=["hide-input"]
DEVICE = "cuda" if torch.cuda.is_available() else None  # where networks are trained
SCALE = 10 if DEVICE else 1  # multiplies training runs; stored outputs are those of 1
use_style()
if DEVICE:
    print(f"a GPU: training runs take {SCALE} times as many steps as in the book")
black, blue, orange = (COLOURS[name] for name in ("black", "blue", "orange"))
green, red, sky = (COLOURS[name] for name in ("green", "vermilion", "sky"))
train, valid, test = load("mnist", binarize="stochastic")
test_bits = test.fixed(seed=0)  # one binary draw of each test digit


def beside(data, drawn):
    """Six rows of eight data, a gap, and eight draws."""
    gap = torch.zeros(6, 1, *data.shape[1:])
    data, drawn = (x.view(6, 8, *x.shape[1:]) for x in (data, drawn))
    return image_grid(torch.cat([data, gap, drawn], 1).flatten(0, 1), columns=17)


# %% tags=["hide-input"]
vqvae = codes_mnist.vqvae_mnist()
vq_record = load_checkpoint(vqvae, "vqvae_mnist")
some = test_bits.x[:10]
some_codes = vqvae.codes(some)  # [10, 1, 8, 8], numbers 0 to 63
with torch.no_grad():
    some_means = vqvae.reconstruct(some)

# %% mystnb={"figure": {"caption": "Binary test digits (*above*), their codes (*middle*) and the mean of $p_\\theta(x \\mid z)$ given the codes alone (*below*). A code map is an 8x8 picture whose pixels are names: equal colours are equal codes, and similar colours mean nothing. The rim has codes of its own, since the convolutions pad with zeros there.", "name": "fig-dc-first"}, "image": {"alt": "Three rows of ten pictures. Above, speckled binary digits. In the middle, eight by eight mosaics of many colours in which the paper around each digit has few colours and the strokes have many. Below, smooth reconstructions of the same digits."}} tags=["hide-input"] tolerance={"figure": 0.1}
palettes = {"tab20b": 20, "tab20c": 20, "Set3": 24}
shades = [plt.get_cmap(name)(np.linspace(0, 1, n)) for name, n in palettes.items()]
colours = np.concatenate(shades)[:, :3]
uses = torch.bincount(some_codes.flatten().long(), minlength=64)
rank = uses.argsort(descending=True).argsort()  # the most used gets the first colour


def painted(codes):
    """Code maps [n, 1, h, w] as pictures [n, 3, 28, 28] of colours."""
    rgb = torch.tensor(colours).float()[rank[codes[:, 0].long()]]  # [n, h, w, 3]
    return F.interpolate(rgb.movedim(-1, 1), size=28, mode="nearest")


above, below = (1 - x.expand(-1, 3, -1, -1) for x in (some, some_means))
three = torch.cat([above, painted(some_codes), below])
image_grid(three, columns=10, row_labels=["digit", "codes", "mean"])
plt.show()


# %% [markdown]
# The goal in symbols. Given a deterministic encoder, $z = c_\phi(x)$, find a decoder and a prior for
#
# $$ \log p_\theta(x) \;\ge\; \underbrace{\log p_\theta(x \mid c_\phi(x))}_{\text{trained first}} \;+\; \underbrace{\log p(c_\phi(x))}_{\text{trained after}} . $$ (eq-dc-goal)
#
# The prior has a *picture of codes* to model, so it can be any pixel model of {doc}`chapter 4 <04_pixel_models>`, over 64 places instead of 784. Part 1 builds the code, Part 2 prices it, Part 3 makes the pixel model the decoder, and Part 4 writes files.
#
# **What you will be able to do**
#
# - write a vector quantiser with its straight-through gradient and its running means, and keep its codes in use;
# - say which part of a VQ-VAE's loss is a bound on $\log p_\theta(x)$ and which is not, and compute the bound;
# - train and sample a prior for one and for two levels of codes;
# - predict what a code keeps when the decoder is a pixel model, and check whether its draws are calibrated;
# - turn any VAE into a lossless compressor whose files are as long as the ELBO says.
#
# **Needs.** VAEs ({doc}`chapter 8 <08_vae>`), pixel models ({doc}`chapter 4 <04_pixel_models>`), the straight-through gradient ({doc}`chapter 10 <10_gradient_estimators>`), arithmetic coding ({doc}`chapter 1 <01_information_theory>`). Chapter 11 is mentioned, and not assumed.
#
# **Time.** Three hours on the main path, five with exercises and what is marked *Optional*. The code runs in about a minute on one core; models that took longer come as checkpoints with their scripts.
#
# (sec-dc-build)=
# ## Part 1. Build: how do you train a network that rounds?
#
# Let $h = f_\phi(x)$ be the features, a vector $h_i \in \mathbb{R}^E$ for each of $D$ places, and $e_1, \dots, e_K$ the vectors of the codebook. The code, and what the decoder receives of it, are
#
# $$ z_i = c(h_i) = \arg\min_k \lVert h_i - e_k \rVert , \qquad p_\theta(x \mid z) = p_\theta(x \mid e_{z_1}, \dots, e_{z_D}) . $$ (eq-dc-quantise)
#
# Rounding has slope 0 wherever it has one, so no gradient reaches the encoder. The remedy is the {term}`straight-through` gradient, which {doc}`chapter 10 <10_gradient_estimators>` used for binary draws, measured, and found biased. Here it skips the rounding: the forward pass uses $e$, the backward pass pretends that it was $h$. In code `h + (e - h).detach()`, in symbols
#
# $$
# \begin{aligned}
# \tilde e &= h + \operatorname{stop}(e_{c(h)} - h) , \\
# \operatorname{loss}(x) &= \underbrace{-\log p_\theta(x \mid \tilde e)}_{\text{decoder, encoder}} + \underbrace{\beta\, \lVert h - \operatorname{stop}(e_{c(h)}) \rVert^2}_{\text{commitment}} .
# \end{aligned}
# $$ (eq-dc-loss)
#
# The {term}`commitment` term pulls the features towards their vectors, with $\beta = \frac14$ by custom. It keeps the pretence harmless: the gradient was computed at $e$ and is applied at $h$, so the two had better be close.
#
# And the codebook? No gradient of the likelihood reaches it, since $\tilde e$ passes its gradient to $h$. It needs a pull of its own, towards the features. One can add $\lVert \operatorname{stop}(h) - e_{c(h)} \rVert^2$, the **codebook loss**. Or one can do as $k$-means does and put each vector at the mean of the features that chose it, here a running mean over batches: with counts $n_k$ and sums $S_k$ of the features of a batch with code $k$ {cite:p}`vandenoord2017` (appendix A.1),
#
# $$
# \begin{aligned}
# N_k &\leftarrow \gamma N_k + (1 - \gamma)\, n_k , \qquad m_k \leftarrow \gamma m_k + (1 - \gamma)\, S_k , \\
# e_k &\leftarrow m_k / N_k .
# \end{aligned}
# $$ (eq-dc-ema)
#
# These look like two methods. They are one method with two step sizes.
#
# :::{prf:theorem} Running means are gradient steps
# :label: thm-dc-ema
# Let $0 \le \gamma < 1$ and $e_k = m_k / N_k$ before the update {eq}`eq-dc-ema`, with $N_k > 0$ before and $N_k' > 0$ after it. Then the update is a gradient step on the codebook loss of the batch, $C = \sum_i \lVert h_i - e_{c(h_i)} \rVert^2$ with the codes held fixed:
#
# $$ e_k' = e_k - \eta_k\, \nabla_{e_k} C , \qquad \eta_k = \frac{1 - \gamma}{2 N_k'} . $$ (eq-dc-ema-step)
#
# With $\gamma = 0$ and $n_k > 0$ it puts $e_k$ at the mean of its features, which minimises $C$ at these codes: an iteration of $k$-means.
# :::
#
# :::{prf:proof}
# $\nabla_{e_k} C = -2 \sum_{i : c(h_i) = k} (h_i - e_k) = -2\,(S_k - n_k e_k)$. On the other side, with $m_k = N_k e_k$ and $N_k' = \gamma N_k + (1 - \gamma) n_k$,
#
# $$ e_k' = \frac{\gamma N_k e_k + (1 - \gamma) S_k}{N_k'} = \frac{N_k' e_k + (1 - \gamma)(S_k - n_k e_k)}{N_k'} = e_k + \frac{1 - \gamma}{N_k'} (S_k - n_k e_k) . $$
#
# For $\gamma = 0$ this is $S_k / n_k$.
# :::
#
# So each vector has a step size of its own. In a steady state $N_k' \approx n_k$, and every vector moves the fraction $1 - \gamma$ of the way to the mean of its features, however often it is used. In practice the codebook loss differs from this in its rate, and in the scaling that an optimiser such as Adam adds. (A code that no feature chose has $S_k = n_k = 0$: it stays where it is, under a plain gradient step too.)
#
# ### The quantiser in thirty lines


# %%
class HandQuantiser(nn.Module):
    """Rounds features to K vectors, which follow them as running means."""

    def __init__(self, K, E, gamma=0.99, beta=0.25):
        super().__init__()
        e = torch.randn(K, E)
        self.register_buffer("e", e)  # no parameters: no gradient reaches the book
        self.register_buffer("N", torch.ones(K))
        self.register_buffer("m", e.clone())
        self.gamma, self.beta = gamma, beta

    def forward(self, h):
        """h [B, E, H, W] -> codes [B, H, W], vectors as h, penalty [B]."""
        rows = h.detach().movedim(1, -1).flatten(0, -2)  # [B H W, E], place by place
        codes = torch.cdist(rows, self.e).argmin(1)  # [B H W]
        e = self.e[codes].view(*h.movedim(1, -1).shape).movedim(-1, 1)
        straight = h + (e - h).detach()  # the value of e, the gradient of h
        penalty = self.beta * (h - e).square().flatten(1).sum(1)
        return codes.view(len(h), *h.shape[2:]), straight, penalty


# %% [markdown]
# The codebook learns after each batch, without a gradient, by {eq}`eq-dc-ema`.


# %%
@torch.no_grad()
def learn(book, h, codes):
    """Move the vectors of a quantiser towards the means of their features."""
    rows = h.movedim(1, -1).flatten(0, -2)
    chosen = F.one_hot(codes.flatten(), len(book.e)).to(rows)  # [B H W, K]
    n, S = chosen.sum(0), chosen.T @ rows
    book.N.mul_(book.gamma).add_(n, alpha=1 - book.gamma)
    book.m.mul_(book.gamma).add_(S, alpha=1 - book.gamma)
    used = n > 0
    book.e[used] = book.m[used] / book.N[used, None]
    dead = (book.N < 0.1).nonzero()[:, 0]  # hardly ever chosen: start again
    book.e[dead] = book.m[dead] = rows[torch.randperm(len(rows))[: len(dead)]]
    book.N[dead] = 1


# %% [markdown]
# The last three lines of `learn` are the **restart** of a dead code, for which see {numref}`sec-dc-dead`. `lvmlib.latent.Codebook` does the same. First the check of the theorem, by automatic differentiation in double precision, then the equality of the two.

# %% tags=["check:thm-dc-ema"]
seed_everything(1)
ema = HandQuantiser(K=5, E=3).double()
ema.N.copy_(torch.rand(5) + 0.5), ema.m.copy_(torch.randn(5, 3))
ema.e.copy_(ema.m / ema.N[:, None])
h = torch.randn(4, 3, 2, 2).double()
codes, _, _ = ema(h)
e = ema.e.clone().requires_grad_()  # the book as a parameter
C = (h.movedim(1, -1) - e[codes]).square().sum()
(slope,) = torch.autograd.grad(C, e)
learn(ema, h, codes)
eta = (1 - ema.gamma) / (2 * ema.N)
step_error = (e.detach() - eta[:, None] * slope - ema.e).abs().max()
print(f"running mean against gradient step: largest difference {step_error:.0e}")
assert step_error < 1e-12 and slope.abs().max() > 1
kmeans = HandQuantiser(K=5, E=3, gamma=0.0).double()
codes, _, _ = kmeans(h)
learn(kmeans, h, codes)
at_means = [h.movedim(1, -1)[codes == k].mean(0) for k in codes.unique()]
assert torch.allclose(kmeans.e[codes.unique()], torch.stack(at_means))

# %%
seed_everything(2)
ours, restarts = HandQuantiser(K=64, E=4), 0
theirs = Codebook(size=64, width=4, restart=0.1)
for name, value in {"vectors": ours.e, "sums": ours.m, "counts": ours.N}.items():
    getattr(theirs, name).copy_(value)
for seed in range(400):
    seed_everything(seed)
    h = (3 * torch.randn(8, 4, 3, 3)).requires_grad_()
    target = torch.randn(8, 4, 3, 3)
    gradients = []
    for way in ("ours", "theirs"):
        seed_everything(seed)  # a restart draws places: the same for both
        if way == "ours":
            codes, vectors, penalty = ours(h)
            learn(ours, h, codes)
            restarts += ((ours.N == 1) & (ours.m == ours.e).all(1)).sum().item()
        else:
            their_codes, vectors, penalty = theirs.quantise(h, 0.25, learn=True)
        loss = (penalty + (vectors * target).flatten(1).sum(1)).sum()
        gradients += torch.autograd.grad(loss, h)
    assert torch.equal(codes, their_codes.long())
    assert torch.allclose(*gradients, atol=1e-5)
    assert torch.allclose(ours.e, theirs.vectors, atol=1e-5)
print(f"400 batches, {restarts} restarts: equal codes, gradients and codebooks")
assert restarts >= 10

# %% [markdown]
# ### Train it, and draw from it
#
# The data are binary digits; the grid has 8x8 places (the digit is padded to 32x32 and halved twice); the codebook has 64 vectors of 16 numbers. Everything is written out, and the line marked `the loss above` is {eq}`eq-dc-loss`.

# %%
seed_everything(0)
hand_encoder = nn.Sequential(
    nn.ZeroPad2d(2),
    *(nn.Conv2d(1, 16, 4, 2, 1), nn.SiLU()),  # [B, 16, 16, 16]
    *(nn.Conv2d(16, 32, 4, 2, 1), nn.SiLU()),  # [B, 32, 8, 8]
    nn.Conv2d(32, 16, 1),
)
hand_decoder = nn.Sequential(
    *(nn.Conv2d(16, 32, 3, padding=1), nn.SiLU()),
    *(nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.SiLU()),
    *(nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.ZeroPad2d(-2)),  # cuts the margin off
)
hand_quantiser = HandQuantiser(K=64, E=16)  # has no parameters
hand_model = nn.ModuleList([hand_encoder, hand_decoder, hand_quantiser])


# %%
def pixel_nats(logits, x):
    """-log p(x|z) of coins, [B]."""
    coins = torch.distributions.Bernoulli(logits=logits)
    return -coins.log_prob(x).sum((1, 2, 3))


hand_model.to(DEVICE)
adam, hand_steps = torch.optim.Adam(hand_model.parameters(), lr=3e-3), 500 * SCALE
decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, hand_steps)
for _ in range(hand_steps):
    x = train.batch(torch.randint(len(train), (64,))).to(DEVICE)
    h = hand_encoder(x)
    codes, vectors, penalty = hand_quantiser(h)
    loss = (pixel_nats(hand_decoder(vectors), x) + penalty).mean()  # the loss above
    adam.zero_grad(), loss.backward(), adam.step(), decay.step()
    learn(hand_quantiser, h.detach(), codes)
_ = hand_model.cpu()

# %% tolerance={"rtol": 0.1}
with torch.no_grad():
    x = test_bits.x[:1000]
    hand_codes, vectors, _ = hand_quantiser(hand_encoder(x))
    hand_distortion = pixel_nats(hand_decoder(vectors), x).mean()
print(f"pixels given their codes: {hand_distortion:.1f} nats of 784 log 2 = 543.4")
print(f"perplexity of the codes: {perplexity(hand_codes, 64):.1f} of 64")

# %% [markdown]
# So far this is an autoencoder with rounded codes. To draw from it we need a prior: the encoder is frozen, its codes become a data set of 8x8 pictures with 64 values, and a small Gated PixelCNN learns them. One thing differs from a picture of grey levels. **A code is a name, not a magnitude**: code 7 is not more than code 3, so each enters the network as a learned vector (`embedding=True`) and not as a number.

# %%
seed_everything(0)
grid = {"levels": 64, "embedding": True, "positions": True}
hand_prior = GatedPixelCNN((1, 8, 8), channels=24, layers=3, kernel=3, **grid)
with torch.no_grad():
    pictures = train.batch(range(10_000))
    parts = [hand_quantiser(hand_encoder(x))[0] for x in pictures.split(1000)]
    code_maps = torch.cat(parts)[:, None].float()  # [10000, 1, 8, 8]
options = {"batch_size": 64, "lr": cosine(5e-3, 500 * SCALE, warmup=50)}
options |= {"device": DEVICE, "progress": False}
history = fit(hand_prior, code_maps, steps=500 * SCALE, **options)

# %% mystnb={"figure": {"caption": "What half a minute of training buys. *Left:* test digits. *Right:* draws from our own model, none selected: codes from the prior, pixels from $p(x \\mid z)$. *Not converged*: strokes are there, and some whole digits.", "name": "fig-dc-hand"}, "image": {"alt": "Two grids of six rows of eight speckled pictures. On the left binary digits; on the right strokes and loops, some of which form digits."}} tolerance={"draws": ["columns 10-17"], "rtol": 0.1}
torch.manual_seed(0)
with torch.no_grad():
    drawn = hand_prior.sample(240)[:, 0].long()  # [240, 8, 8]
    logits = hand_decoder(hand_quantiser.e[drawn].movedim(-1, 1))
    hand_draws = torch.bernoulli(logits.sigmoid())
    hand_rate = -hand_prior.log_prob(hand_codes[:, None].float()).mean()
beside(test_bits.x[:48], hand_draws[:48])
plt.show()
print(f"codes: {hand_rate:.1f} nats; uniform over 64 values {64 * math.log(64):.1f}")
print(f"so -log p(x) is at most {hand_distortion + hand_rate:.1f} nats")
ink = hand_draws.mean() / test_bits.x.mean()
print(f"ink of 240 draws: {ink:.2f} times that of the test digits")

# %% [markdown]
# (sec-dc-objective)=
# ### What is being maximised?
#
# The loss {eq}`eq-dc-loss` has a likelihood in it, a penalty in squared distances, and no prior. Which bound is it?
#
# :::{prf:theorem} The bound of a VQ-VAE
# :label: thm-dc-bound
# Let $p(x) = \sum_z p(z)\, p_\theta(x \mid z)$ with $z \in \{1, \dots, K\}^D$, let $c$ be any function from examples to codes, and $q(z \mid x) = \mathbf{1}[z = c(x)]$.
#
# 1. The ELBO is $\mathcal{L}(x) = \log p_\theta(x \mid c(x)) + \log p(c(x))$. Nothing in it is random, $\mathcal{L}_k = \mathcal{L}$ for every number of draws $k$, and $\operatorname{KL}(q \,\|\, p) = -\log p(c(x))$.
# 2. Under the uniform prior $\operatorname{KL}(q \,\|\, p) = D \log K$ for every $x$, $\theta$ and $c$.
# 3. Let $x \sim p_{\mathrm{d}}$, and let $P(z)$ be the distribution of $c(x)$ with entropy $H(P)$. Then
#
# $$
# \begin{aligned}
# \mathbb{E}_{p_{\mathrm{d}}}\bigl[-\log p(c(x))\bigr] &= H(P) + \operatorname{KL}(P \,\|\, p) , \\
# H(P) &= I(x; z) \le D \log K .
# \end{aligned}
# $$ (eq-dc-rate)
#
# Among all priors $p = P$ is best, and training the prior improves the bound by $\operatorname{KL}(P \,\|\, \text{uniform}) = D \log K - H(P)$ at most.
# :::
#
# :::{prf:proof}
# 1\. $\log q = 0$ at the only $z$ that is ever drawn, so the log-weight is the stated sum for every draw, and the mean of $k$ equal weights is that weight. 2. $p(z) = K^{-D}$. 3. The left side is the cross-entropy of $P$ and $p$, that is $H(P) + \operatorname{KL}(P \,\|\, p)$. Since $z$ is a function of $x$, $H(z \mid x) = 0$ and $I(x; z) = H(P)$, which is at most the logarithm of the number of codes. For uniform $p$ the left side is $D \log K$.
# :::
#
# How far the bound falls short is known from {doc}`chapter 4 <04_pixel_models>` ({prf:ref}`thm-pix-codes`): $\log p(x) - \mathcal{L}(x) = -\log p(c(x) \mid x)$, the surprise of the chosen code under the model's own posterior. Importance weighting ({doc}`chapter 9 <09_iwae>`) with this $q$ cannot reduce it.
#
# So the first stage is aimed at the ELBO under the uniform prior, *up to its constant*, less the penalty. The penalty belongs to no bound: it serves the gradient. Nor is the gradient that of the ELBO, which is 0 in the encoder almost everywhere. What is guaranteed is this: whatever encoder, decoder and codebook come out of stage one, and whatever prior out of stage two, **{eq}`eq-dc-goal` evaluated at them is a bound on $\log p(x)$**.
#
# **Predict, then run.** Under the uniform prior the 64 codes of a digit cost $64 \log 64 = 266.2$ nats. Guess what is left of that under the trained prior, and by how many nats 50 draws improve the bound. (The third cell below answers; the first two check the theorem.)

# %% tags=["check:thm-dc-bound"]
seed_everything(3)
K, places = 3, 2
tiny = VQVAE(
    nn.Conv2d(1, 4, (2, 2), (2, 2)),  # pictures of 2x4 -> features [B, 4, 1, 2]
    ConditionalBernoulli((1, 2, 4), nn.ConvTranspose2d(4, 1, 2, 2)),
    FactorisedCodes((1, 1, 2), levels=K),
    width=4,
).double()
tiny.codebook.vectors.mul_(0.3)
strings = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 8).double()

# %% tags=["check:thm-dc-bound"]
x = strings.view(-1, 1, 2, 4)  # all 256 pictures
z = torch.cartesian_prod(*[torch.arange(K)] * places).double().view(-1, 1, 1, 2)
with torch.no_grad():
    tiny.prior.logits.copy_(torch.randn(1, 1, 2, K))
    given = torch.stack([tiny.quantizer.likelihood(c[None]).log_prob(x) for c in z])
    joint = tiny.prior.log_prob(z)[:, None] + given  # log p(x, z), [9, 256]
    log_px, bound = joint.logsumexp(0), elbo(tiny, x)
    chosen = (tiny.codes(x).flatten(1) @ torch.tensor([3.0, 1.0]).double()).long()
    missed = -joint.log_softmax(0).gather(0, chosen[None])[0]  # -log p(c(x)|x)
    data = torch.rand(256).double().softmax(0)  # any distribution of the data
    P = torch.zeros(9).double().index_add_(0, chosen, data)  # of the codes
    H = -torch.special.xlogy(P, P).sum()
    log_prior = tiny.prior.log_prob(z)
    rate = -(data * log_prior[chosen]).sum()
    divergence = (torch.special.xlogy(P, P) - P * log_prior).sum()
    assert torch.allclose(log_px - bound, missed) and (missed > 0).all()
    assert torch.allclose(rate, H + divergence) and rate > H and (P > 0).sum() > 2
    tiny.prior.logits.zero_()  # uniform
    without_rate = elbo(tiny, x) + places * math.log(K)
    assert torch.allclose(without_rate, given[chosen, range(256)])
print(f"mean of log p(x) {data @ log_px:.3f}, of the bound {data @ bound:.3f} nats")
most = places * math.log(K)
print(f"rate {rate:.3f} = H(P) {H:.3f} + KL {divergence:.3f}; H(P) <= {most:.3f}")

# %% tolerance={"rtol": 0.02}
x = test_bits.x[:60]
with torch.no_grad():
    once, fifty = elbo(vqvae, x), iwae(vqvae, x, k=50)
    distortion, rate = (part.mean() for part in distortion_and_rate(vqvae.trace(x)))
print(f"k = 1: {once.mean():.2f} nats; k = 50: {fifty.mean():.2f} nats")
print(f"pixels {distortion:.1f} + codes {rate:.1f}; codes at a uniform prior", end=" ")
print(f"{64 * math.log(64):.1f}")
assert torch.allclose(once, fifty, atol=1e-3)

# %% [markdown]
# :::{dropdown} What to expect
# About a third is left. And 50 draws bring nothing: fifty draws from a distribution on one point are one draw. A deterministic encoder leaves a gap that importance weighting cannot close. (These are the first 60 test digits; Part 2 has 2,000.)
# :::
#
# :::{admonition} Watch out: the KL term is constant, so it may be left out
# :class: pitfall
# Out of the *gradient*, yes. Out of the *number*, no. The reconstruction term of the model of {numref}`fig-dc-first` is about 40 nats a digit. Taken as a likelihood it would beat every model of this course by 40 nats; it is a bound on nothing. Under the uniform prior that training assumes, $D \log K = 64 \log 64 = 266.2$ nats must be added to it, and under a trained prior the rate that the cell above prints. The "log-likelihood" of a VQ-VAE without its rate is a reconstruction error.
# :::
#
# (sec-dc-dead)=
# ### Why do codes die?
#
# A vector moves only if some feature chooses it. Vectors that lie far from all features are chosen by none, do not move, and are chosen by none in the next batch. So a large codebook may end with a few vectors in use. How many are *effectively* in use is measured by the {term}`perplexity` of their shares $f_k$, $\exp(-\sum_k f_k \log f_k)$: the size of a codebook with the same entropy whose codes are all used equally often.
#
# `python -m lvmlib.experiments.codebooks` trained our VQ-VAE with $K = 512$ in seven ways. The codebook learns by gradient (codebook loss) or as running means, and starts from vectors $e_k \sim \mathcal{N}(0, I)$ or from *small* ones with entries uniform on $[-1/K, 1/K]$; running means may also start on features of the first batch. The first two are tried with **restarts** {cite:p}`dhariwal2020` as well: a code whose running count $N_k$ falls below 0.1 per batch is put on a feature drawn from the batch. All else is the same, each way is shown at the better of two learning rates, and there are two seeds.
#
# **Predict, then run.** Rank the seven by the perplexity after 500 steps, and guess its size for the ways without restarts.

# %% mystnb={"figure": {"caption": "Perplexity of the codes of 200 validation digits while training, $K = 512$; two seeds for each way; the axis ends at 512, all codes. A count that starts at 1 and is never added to falls below 0.1 after 230 batches: there the restarts set in. Until then the first two ways coincide with their restarted twins. *Not converged.*", "name": "fig-dc-dead"}, "image": {"alt": "Perplexity from one to five hundred on a logarithmic axis against the training step, seven pairs of curves. Without restarts they rise from one to between two and seven; the start on features falls from eighty to three and ends near five; with restarts they jump from below three to between seventy-five and ninety between steps 200 and 250, when the running counts of unused codes have fallen to 0.1."}} tags=["hide-input"]
books = record("codebooks")
ways = {}
for key, run in books["runs"].items():
    way, rate_tried, seed = key.split("; ")
    ways.setdefault(way, {}).setdefault(rate_tried, []).append(run)
best = {way: max(rates.values(), key=len) for way, rates in ways.items()}
colours_of_ways = (red, orange, sky, green, blue, red, orange)
lines_of_ways = (":", "--", "-.", "-", (0, (6, 1)), "-", (0, (4, 1, 1, 1)))
styles = zip(best, colours_of_ways, lines_of_ways)
fig, ax = plt.subplots(figsize=(6.4, 3.4))
for way, colour, style in styles:
    for i, run in enumerate(best[way]):
        on_the_way = run["perplexity_of_200"]
        steps = books["steps_between"] * np.arange(len(on_the_way))
        label = way if i == 0 else None
        ax.plot(steps, on_the_way, ls=style, color=colour, lw=1.5, label=label)
ax.set(xlabel="step", ylabel="perplexity", yscale="log", xlim=(0, 500), ylim=(1, 512))
ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
plt.show()

# %% tags=["hide-input"]
print(f"{'way':32}{'rate':>6}{'perplexity':>16}{'pixels, nats':>16}")
for way, rates in ways.items():
    tried = max(rates, key=lambda r: len(rates[r]))
    used = " ".join(f"{run['test_perplexity']:6.1f}" for run in rates[tried])
    nats = " ".join(f"{run['test_distortion']:6.2f}" for run in rates[tried])
    print(f"{way:32}{tried:>6}{used:>16}{nats:>16}")


# %% [markdown]
# :::{dropdown} What to expect
# Without restarts the perplexity ends between two and seven of 512, by gradient and by running means alike: {prf:ref}`thm-dc-ema` says that both take the same kind of step, and neither moves a vector that no feature chooses. A start near the features, small or on them, helps little. With restarts it is about 110, either way. (The table is of step 500. Restarted codes that found no feature fall below 0.1 again some 230 batches later, and get a second chance after the last point of the figure, at step 450.)
# :::
#
# Dead codes do no harm in themselves: under a trained prior a code that nobody uses costs nothing. Do they cost the decoder information? Compare the two columns. With restarts the running means reach 70.1 and 67.3 nats; without them they reach 69.4 nats from a start on features, with a perplexity of 6. A good start brings as much here as a hundred more codes, in one of two seeds at least; only gradient with restarts is clearly ahead of all others. So *perplexity is no measure of quality*. It says how much of the codebook is in use; what that is worth, the pixels must say, and the bound (Part 2).
#
# Between gradient and running means the race decides little: it is short, the higher of the two rates won everywhere, so a still higher one might win, and the running means have a second knob, $\gamma$, left at its customary 0.99. Within these limits the gradient with Adam was faster. The models below use the more customary running means, with a start on features and with restarts.
#
# ### Exercises of Part 1
#
# :::{exercise} ★ Perplexity
# :label: ex-dc-perplexity
# Fill the gap: the perplexity of a tensor of codes. What is it for codes that are uniform over half of the codebook? And why can the perplexity of one batch mislead?
# :::


# %%
def my_perplexity(codes, K):
    """exp of the entropy of the shares of K codes."""
    counts = torch.bincount(codes.flatten().long(), minlength=K).double()
    entropy = lambda shares: ...  # your code; 0 log 0 is 0
    value = entropy(counts / counts.sum())
    return None if value is ... else value.exp()


# %% [markdown]
# :::{solution} ex-dc-perplexity
# :class: dropdown
# `torch.special.entr(shares).sum()`. Uniform over $K / 2$ codes it is $K / 2$. A batch with fewer places than codes cannot show more codes than it has places, and estimates of entropy from counts are too low ({doc}`chapter 1 <01_information_theory>`); so take it over many images.
# :::

# %% tags=["hide-cell"]
half = torch.arange(32).repeat(10)
by_library = perplexity(half, 64)
print(f"uniform over half of 64 codes: {by_library:.1f}")
few = torch.randint(64, (50,), generator=torch.Generator().manual_seed(3))
print(f"50 draws from all 64: {perplexity(few, 64):.1f}")
attempt = my_perplexity(half, 64)
assert attempt is None or abs(attempt - by_library) < 1e-5  # your solution

# %% [markdown]
# :::{exercise} ★★ Where does the encoder's gradient come from?
# :label: ex-dc-gradient
# For the hand-made model compute, on a batch, (a) the gradient of the decoder's term in the encoder's weights *without* straight-through, by a finite difference along a random direction; (b) the straight-through gradient along the same direction. What does (a) say about "the gradient of the VQ-VAE's loss"?
# :::
#
# :::{solution} ex-dc-gradient
# :class: dropdown
# (a) is exactly 0 as long as no feature crosses a border between two vectors: the loss is piecewise constant in the encoder. (b) is not 0. The straight-through gradient is no noisy estimate of the gradient of this loss; it is a different direction, the decoder's gradient at $e$ used at $h$. Whether the loss goes down along it, over steps long enough for features to cross borders, is an empirical question: the training above is the evidence.
# :::

# %% tags=["hide-cell"] tolerance={"rtol": 0.2}
x = test_bits.x[:64].double()
nets = hand_encoder, hand_quantiser, hand_decoder
exact_nets = [copy.deepcopy(net).double() for net in nets]
exact_encoder, exact_quantiser, exact_decoder = exact_nets
convolution = exact_encoder[-1].weight  # the last layer of the encoder
direction = torch.randn(convolution.shape, generator=torch.Generator().manual_seed(0))


def codes_and_loss():
    codes, vectors, _ = exact_quantiser(exact_encoder(x))
    return codes, pixel_nats(exact_decoder(vectors), x).mean()


codes, loss = codes_and_loss()
(straight,) = torch.autograd.grad(loss, convolution)
with torch.no_grad():
    convolution.add_(direction, alpha=1e-8)
    codes_after, loss_after = codes_and_loss()
print(f"codes changed by a step of 1e-8: {(codes != codes_after).sum()}")
promised = 1e-8 * (straight * direction).sum()
print(f"change of the loss: straight-through {promised:.1e}, really", end=" ")
print(f"{(loss_after - loss).abs():.12f}")

# %% [markdown]
# (sec-dc-price)=
# ## Part 2. Price: what does the prior model, and what do codes cost?
#
# From here on the models come from `python -m lvmlib.experiments.codes_mnist`: the networks of Part 1, trained for a few minutes, one seed each. *None of them has converged*. All had the same steps and learning rates, and none was tuned.
#
# **The second stage in the symbols of the first.** By {prf:ref}`thm-dc-bound` the best prior is $P$, the distribution of the codes of the data. Fitting a prior is maximum likelihood on code maps, $\max_p \mathbb{E}_{x \sim p_{\mathrm{d}}} \log p(c(x))$ with $c$ held fixed. So **what a VQ-VAE's prior models is the data set as its encoder writes it down**: which mosaic of names occurs. It never sees a pixel. Whatever the codes do not keep is left to the decoder, which draws each pixel independently.
#
# {numref}`fig-dc-usage` looks at the alphabet: how often each name is used, and for what.

# %% mystnb={"figure": {"caption": "The alphabet of the model of {numref}`fig-dc-first`. *Left:* how often each of the 64 codes is used over 1,000 test digits, sorted; logarithmic axis. *Right:* what each code stands for: the average of the 12x12 pixels around its place over all its uses, in the same order, row by row. The four most used stand for paper, and so do a few others (border and middle have different names for it); the rest are edges and strokes.", "name": "fig-dc-usage"}, "image": {"alt": "Left, bars that fall from fourteen per cent for the first code, with a jump after the fourth, to a fifth of a per cent. Right, a grid of 64 small patches: the first ones nearly blank, the others blurred strokes and edges in many directions and positions."}} tags=["hide-input"] tolerance={"figure": 0.15}
z = vqvae.codes(test_bits.x[:1000])
shares = torch.bincount(z.flatten().long(), minlength=64) / z.numel()
by_share = shares.argsort(descending=True)
padded = F.pad(test_bits.x[:1000], (6, 6, 6, 6))  # [1000, 1, 40, 40]
around = padded.unfold(2, 12, 4).unfold(3, 12, 4)  # [1000, 1, 8, 8, 12, 12]
chosen = F.one_hot(z.flatten().long(), 64).float()  # [64000, 64]
patches = chosen.T @ around.reshape(-1, 144) / chosen.sum(0)[:, None]
patches = patches[by_share].view(64, 1, 12, 12)
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9))
left.bar(range(64), shares[by_share], color=blue, width=0.9)
left.set(xlabel="code, most used first", ylabel="share", yscale="log")
left.set_xlim(-0.6, 63.6)
image_grid(patches, columns=8, ax=right)
plt.show()
print(f"perplexity {perplexity(z, 64):.1f} of 64;", end=" ")
print(f"the most used code: {shares.max():.0%}")

# %% [markdown]
# **What it costs.** The bound of the model of {numref}`fig-dc-first`, beside three models from elsewhere in this course:

# %% tags=["hide-input"]
found = record("vqvae_mnist")
on_test = found["test"]
print(f"codes {on_test['rate']:.1f} + pixels {on_test['distortion']:.1f} nats")
known = {
    "VQ-VAE, the bound": "vqvae_mnist",
    "VAE of Part 3, ELBO": "decoder_plain_vae",
    "VAE of chapter 8, 5,000 draws": "vae_mnist",
    "Gated PixelCNN of chapter 4, exact": "gated_pixelcnn_mnist",
}
for label, stored in known.items():
    found = record(stored)
    print(f"{label:36}{found['test_nll_nats']:6.1f} nats", end="")
    print(f"{found['training_minutes']:6.1f} minutes of training")

# %% [markdown]
# The trained prior pays a third of what the uniform one would, 91.4 nats instead of 266.2: this is what stage two is for. As a bound on $-\log p(x)$ the sum is still a poor one. {cite:t}`vandenoord2017` found their VQ-VAE close behind a VAE on CIFAR-10, 4.67 against 4.51 bits per dimension, both with the size of the code tuned. Ours was not, so before we blame rounding, let us look for the cause.
#
# (sec-dc-loose)=
# ### Why is the bound so high?
#
# There are four suspects: short training, too large a code, a decoder that draws each pixel independently, and a deterministic encoder. `python -m lvmlib.experiments.code_sizes` examined them one by one, with the networks, data and steps of the model above. The codebook has $K = 4$, 16 or 64 vectors; and a **VAE** with the *same* encoder and decoder has a Gaussian vector of 16 numbers for each place in place of a rounded one, with prior $\mathcal{N}(0, I)$.
#
# **Predict, then run.** Stage one of a VQ-VAE ignores the price of its codes. Does the bound get better or worse as the codebook shrinks from 64 to 16 and to 4 vectors?

# %% mystnb={"figure": {"caption": "What codes and pixels cost, for codebooks of 4, 16 and 64 vectors and for a VAE with the same networks. Thin lines join equal bounds, the sum of both (*lower left is better*). First 2,000 test digits. *Not converged.*", "name": "fig-dc-sizes"}, "image": {"alt": "A plane with nats of codes across and nats of pixels upward. The points for codebooks of 64, 16 and 4 vectors run from the lower right to the upper left; 16 and 4 vectors lie just above the slanted line for a sum of 100 nats, 64 vectors just above that for 130, and the VAE near that for 120."}} tags=["hide-input"]
sizes = record("code_sizes")["runs"]
found = record("vqvae_mnist")
sizes["vqvae 64"] = {**found, **found["test"], "uniform_rate": 64 * math.log(64)}
fig, ax = plt.subplots(figsize=(5.4, 3.6))
ax.grid(False)
for total in range(100, 151, 10):
    ax.plot([0, total], [total, 0], color="0.8", lw=0.8, zorder=0)
    ax.text(total - 35.5, 36, f"{total}", color="0.35", fontsize=8)
compared = ("vqvae 64", "vqvae 16", "vqvae 4", "vae")
for name in compared:
    at = sizes[name]["rate"], sizes[name]["distortion"]
    label = name.replace("vqvae ", "$K$ = ").replace("vae", "VAE")
    ax.plot(*at, "o", color=blue if "K" in label else orange, ms=8)
    beside_it = {"xytext": (6, 4), "textcoords": "offset points"}
    free = {"fc": "white", "ec": "none", "pad": 1}  # of slanted lines
    ax.annotate(label, at, fontsize=9, bbox=free, **beside_it)
ax.set(xlabel="codes (nats)", ylabel="pixels (nats)", xlim=(0, 120), ylim=(35, 110))
plt.show()

# %% tags=["hide-input"]
print(f"{'':15}codes, uniform   codes   pixels   bound   perplexity")
for name in compared:
    run = sizes[name]
    uniform, used = run.get("uniform_rate"), run.get("perplexity")
    line = f"{name:15}" + (f"{uniform:14.1f}" if uniform else " " * 14)
    line += f"{run['rate']:8.1f}{run['distortion']:9.1f}"
    line += f"{run['rate'] + run['distortion']:8.1f}"
    print(line + (f"{used:13.1f}" if used else ""))


# %% [markdown]
# :::{dropdown} What to expect
# Better. With 16 vectors the same networks come to 102.2 nats and with 4 to 103.4, where 64 vectors need 132.3.
# :::
#
# **The size of the code** was the main culprit. Stage one has no reason to save codes: under the prior that it assumes every code costs the same, so the encoder writes down all that fits, ragged edges included, and the bill comes in stage two. From 16 to 64 vectors the pixels gain 12 nats and the codes cost 42 more. A VAE has the price of its code in its loss. A VQ-VAE has it in the numbers $K$ and $D$, and they must be tuned.
#
# **Rounding** as such is not to blame: with 16 vectors the VQ-VAE is 17 nats ahead of the VAE with the same networks. Nor does that make it the better idea. Its prior was trained and that of the VAE was not; under the uniform prior its 16 vectors cost 177.4 nats, and it is far behind. A VAE gains from a trained prior too (chapter 11), and from a code that suits it: that of Part 3, with 16 numbers for the whole digit, has 106.3.
#
# **The decoder** is the same for all, so it explains no difference. That all of them stay 20 nats and more behind the pixel models is in part its doing.
#
# **Training** was equally short for all of them, one seed each and no rate tuned. What more of it would change is not measured here.
#
# The last suspect can be questioned without any training. Give the same model an encoder *with* doubt: $q(z_i = k \mid x) \propto \exp(-\lVert h_i - e_k \rVert^2 / \tau)$, independently at each place. Any $q$ gives a bound, and $\tau \to 0$ is the certain code.


# %% tolerance={"rtol": 0.03}
def doubtful_bound(model, x, doubt):
    """Minus the bound, nats; doubt is tau in units of the mean squared distance."""
    h = model.quantizer.encoder(x).movedim(1, -1)  # [B, 8, 8, E]
    squares = (h[..., None, :] - model.codebook.vectors).square().sum(-1)  # [..., K]
    tau = doubt * squares.min(-1).values.mean()
    q = torch.distributions.Categorical(logits=-squares / tau)
    z = q.sample()
    log_q, z = q.log_prob(z).sum((1, 2)), z[:, None].float()
    log_joint = model.quantizer.likelihood(z).log_prob(x) + model.prior.log_prob(z)
    return (log_q - log_joint).mean()


torch.manual_seed(0)
doubts = (1e-4, 3e-3, 1e-2, 3e-2)
with torch.no_grad():
    nats = [doubtful_bound(vqvae, test_bits.x[:200], doubt) for doubt in doubts]
print("K = 64:", *(f"doubt {doubt:g}: {nat:.1f};" for doubt, nat in zip(doubts, nats)))
for name in ("vqvae 16", "vqvae 4"):
    tried = sizes[name]["in_doubt"]
    print(f"{name}, 500 digits: certain {tried['0']:.1f},", end=" ")
    print(f"best of {len(tried) - 1} doubts {min(tried.values()):.1f}")

# %% [markdown]
# Some doubt is worth having, but only a little: a fraction of a nat with 64 vectors, and 2 to 2.5 nats with 16 or 4. What doubt gains is a floor for how far the bound lies below $\log p(x)$, which none of these figures measures. (Doubt of another shape may be worth more.) A deterministic encoder gets nothing back for codes that would have done as well; what a VAE gets back is measured in Part 4.
#
# So the cause is in the main the size of the code, and a VQ-VAE is no worse a density model than a VAE by nature. The draws below come from the model with 64 vectors, whose reconstructions are the best and whose bound is the worst: a pixel model has planned them over 64 places instead of 784.
#
# {numref}`fig-dc-samples` shows the draws.

# %% mystnb={"figure": {"caption": "Test digits (*left*) and draws of the VQ-VAE (*right*), none selected: codes from the prior, pixels from $p(x \\mid z)$. *Not converged.*", "name": "fig-dc-samples"}, "image": {"alt": "Two blocks of six rows of eight binary pictures. On the left test digits, on the right generated ones: clean strokes with ragged edges, about half of them recognisable digits."}} tolerance={"draws": ["columns 10-17"], "rtol": 0.1}
torch.manual_seed(0)
vq_draws = vqvae.sample(48)
beside(test_bits.x[:48], vq_draws)
plt.show()
with torch.no_grad():
    of_draws, of_data = (-elbo(vqvae, x).mean() for x in (vq_draws, test_bits.x[:500]))
print(f"bound of the draws {of_draws:.1f} nats, of test digits {of_data:.1f};", end=" ")
print(f"ink {vq_draws.mean() / test_bits.x.mean():.2f} times that of the test digits")

# %% [markdown]
# (sec-dc-two)=
# ### *Optional:* two levels, and a class
#
# A VQ-VAE-2 {cite:p}`razavi2019` has codes on two grids. The encoder works from the top down: features $f(x)$ on the fine grid are condensed to the coarse one and rounded to the upper codes $z_1$; then the lower codes $z_2$ are made from $f(x)$ *and* the vectors of $z_1$, so that they only have to say what the upper ones have not said. The decoder receives both. The bound is {eq}`eq-dc-goal` with $z = (z_1, z_2)$ and a prior in two factors, each a pixel model, the lower one given the upper codes as a map, and both given the class $y$:
#
# $$ \log p_\theta(x \mid y) \ge \log p_\theta(x \mid z_1, z_2) + \log p(z_2 \mid z_1, y) + \log p(z_1 \mid y) . $$ (eq-dc-two)
#
# Ours has 4x4 upper and 8x8 lower codes, 64 values each. {numref}`fig-dc-classes` draws from it, a row for each class.

# %% mystnb={"figure": {"caption": "Class-conditional draws of the VQ-VAE-2, none selected, a row for each class: upper codes, lower codes given these, pixels given both. *Left:* a test digit of the class. *Not converged.*", "name": "fig-dc-classes"}, "image": {"alt": "Ten rows of nine pictures. The first in each row is a test digit, the other eight are drawn. About two thirds look like the class of their row, best among the noughts, ones and sixes; the others are malformed or no digits, most of all among the eights."}} tolerance={"draws": ["columns 2-9"], "rtol": 0.1}
two_levels = codes_mnist.vqvae2_mnist()
two_record = load_checkpoint(two_levels, "vqvae2_mnist")
torch.manual_seed(0)
classes = torch.arange(10).repeat_interleave(8)
of_class = two_levels.sample(80, classes).view(10, 8, 1, 28, 28)
first = torch.stack([test_bits.x[test.y == y][0] for y in range(10)])
rows = torch.cat([first[:, None], of_class], 1).flatten(0, 1)
image_grid(rows, columns=9, row_labels=[str(y) for y in range(10)])
plt.show()

# %% [markdown]
# Does the class help, and do two levels? A prior that is told the class is also a prior that is not, $p(z) = \frac1{10} \sum_y p(z \mid y)$, so the bounds of both models below are for pixels without a class, and comparable; the second has seen labels, an advantage if anything. And by Bayes' rule such a prior is a *classifier of codes*, $p(y \mid z) \propto p(z \mid y)$.

# %% tags=["hide-input"]
rivals = {"one level": "vqvae_mnist", "two levels, told y": "vqvae2_mnist"}
print(f"{'':20}places   codes   pixels   bound   codes given y   y from z")
for name, stored in rivals.items():
    found = record(stored)
    on_test = found["test"]
    line = f"{name:20}{found['places']:6}{on_test['rate']:9.1f}"
    line += f"{on_test['distortion']:8.1f}"
    line += f"{found['test_nll_nats']:8.1f}"
    if "rate_given_class" in on_test:
        line += f"{on_test['rate_given_class']:13.1f}{on_test['classes_right']:13.1%}"
    print(line)

# %% tolerance={"rtol": 0.03}
few, labels = test_bits.x[:200], test.y[:200]
with torch.no_grad():
    z_two = two_levels.codes(few)
    upper, lower = two_levels.prior.split(z_two)
    upper_nats = -two_levels.prior.top.log_prob(upper, labels).mean()
    all_nats = -two_levels.prior.log_prob(z_two, labels).mean()
    each = [two_levels.prior.log_prob(z_two, torch.full((200,), y)) for y in range(10)]
    given = elbo(two_levels, few, context=labels)  # a bound on log p(x|y)
    each = torch.stack(each)  # [10, 200]
    unknown = given - each.gather(0, labels[None])[0] + each.logsumexp(0) - math.log(10)
print(f"upper codes {upper_nats:.1f} nats, lower ones given these", end=" ")
print(f"{all_nats - upper_nats:.1f}; in all, with the pixels, {-given.mean():.1f}")
print(f"not told the class {-unknown.mean():.1f};", end=" ")
print(f"right class for {(each.argmax(0) == labels).sum()} of 200 digits")
alone = sizes["lower codes"]
print(f"2,000 digits, no class: upper {alone['upper']:.1f},", end=" ")
print(f"lower given these {alone['lower_given_upper']:.1f},", end=" ")
print(f"lower alone {alone['lower_alone']:.1f} nats")
assert (given - unknown <= math.log(10) + 1e-4).all()


# %% [markdown]
# The two levels together write 21 nats more than one level, for pixels that are no better. The last line shows how little they share the work: given the upper codes, the lower ones cost 31 nats less than under a prior of their own, and the upper ones cost 33. The saving does not quite pay for them, so nearly all that the upper codes say is in the lower codes too, although both the lower encoder and the decoder are shown the upper vectors. (The prior of the lower codes alone had as many steps, and no classes.) Nothing in stage one asks two levels to share the work, or to be brief; each writes down all that fits, and a larger code made the bound worse in {numref}`fig-dc-sizes` too. (One seed, *not converged*, and with the same steps there are more than twice as many weights to train.) {cite:t}`razavi2019` made two levels for pictures of 256x256 pixels, with grids of 32 and 64, where one pixel model does not see far enough, and judged them by their samples.
#
# What does carry over is the control: one row, one class, in most of the draws. The class is worth 1.9 of the $\log 10 = 2.3$ nats that it may be worth at most, and the prior of codes recognises nine digits in ten, although it was trained to draw and not to classify.
#
# ### Exercises of Part 2
#
# :::{exercise} ★ What may a class be worth?
# :label: ex-dc-class
# Show that $\log p(z \mid y) - \log p(z) \le \log 10$ for $p(z) = \frac1{10} \sum_{y'} p(z \mid y')$, with equality if and only if no other class could have produced $z$. What does it mean that the mean difference in the table is 1.9 nats, not far from $\log 10 = 2.3$?
# :::
#
# :::{solution} ex-dc-class
# :class: dropdown
# $p(z) \ge \frac1{10} p(z \mid y)$, since all other terms of the sum are at least 0; equality if they are all 0. The difference is $\log 10 + \log p(y \mid z)$ with the model's posterior over classes; it is close to $\log 10$ when the codes give the class away, as the share of digits classified rightly confirms.
# :::
#
# :::{exercise} ★★ A prior that forgets the picture
# :label: ex-dc-shuffle
# Fill the gap: replace the prior by independent codes with the shares of each place, the best of that kind (`FactorisedCodes`). What is its rate on test digits, in nats, beside that of the Gated PixelCNN? The difference estimates how much neighbouring codes say about each other.
# :::


# %%
def independent_rate(codes, new_codes, K=64):
    """Mean nats of new codes under shares for each place, learned from codes."""
    counts = F.one_hot(codes.flatten(1).long(), K).double().sum(0) + 0.5  # [64, K]
    shares = counts / counts.sum(1, keepdim=True)
    nats = lambda new, shares: ...  # your code: sum over places, mean over pictures
    value = nats(new_codes.flatten(1).long(), shares)  # [n, 64], [64, K]
    return None if value is ... else value.item()


# %% [markdown]
# :::{solution} ex-dc-shuffle
# :class: dropdown
# `-shares.log()[range(64), new].sum(1).mean()`. The half in the counts keeps a code that was not seen at a place from costing infinitely many nats. The cell prints the answer: without their neighbours the codes cost half as much again.
# :::

# %% tags=["hide-cell"] tolerance={"rtol": 0.03}
learned = vqvae.codes(train.fixed(seed=0).x[:10_000]).flatten(1).long()
fresh_codes = vqvae.codes(test_bits.x[:1000])
counts = F.one_hot(learned, 64).double().sum(0) + 0.5
log_shares = (counts / counts.sum(1, keepdim=True)).log()
apart = -log_shares[range(64), fresh_codes.flatten(1).long()].sum(1).mean()
with torch.no_grad():
    together = -vqvae.prior.log_prob(fresh_codes).mean()
print(f"independent places {apart:.1f} nats, Gated PixelCNN {together:.1f}")
attempt = independent_rate(learned, fresh_codes)
assert attempt is None or abs(attempt - apart) < 1e-6  # your solution

# %% [markdown]
# (sec-dc-decoders)=
# ## Part 3. Decode: what does a code keep when the decoder is a pixel model?
#
# In Parts 1 and 2 the pixel model drew the code and the decoder painted independent pixels. Now the roles are swapped: the code is a vector again, and $p_\theta(x \mid z)$ is a pixel model that is given $z$ as a map of features,
#
# $$ p_\theta(x \mid z) = \prod_{t=1}^{784} p_\theta(x_t \mid x_{<t}, h(z)) . $$ (eq-dc-pixel-decoder)
#
# What $x_{<t}$ tells about $x_t$ need not be told by $z$. A pixel model that sees far can therefore do without $z$: {term}`posterior collapse`, treated in chapter 11. One that sees five rows up, as here, can finish a stroke and cannot plan a digit. This division of labour is the idea of the **PixelVAE** {cite:p}`gulrajani2017` and of the variational lossy autoencoder {cite:p}`chen2017`: *what the decoder can see for itself, the code leaves out.*
#
# ### A PixelVAE and its two halves
#
# `python -m lvmlib.experiments.pixel_decoders` trained three models of binary digits with the same data, steps and learning rate: a VAE with 16 latents whose decoder is convolutional and draws independent pixels; the PixelVAE, whose decoder has the same layers and hands its map to a PixelCNN; and that PixelCNN alone.

# %% tags=["hide-input"]
print(f"{'':14}parameters{'test, nats':>16}{'pixels':>9}{'code':>7}", end="")
print(f"{'first 500: ELBO':>18}{'50 draws':>11}")
for name in ("plain_vae", "pixels_alone", "pixel_vae"):
    found = record(f"decoder_{name}")
    known = "exact" if name == "pixels_alone" else "ELBO"
    line = f"{name:14}{found['parameters']:10,}{known:>8}{found['test_nll_nats']:8.1f}"
    if "rate_nats" in found:
        line += f"{found['distortion_nats']:9.1f}{found['rate_nats']:8.1f}"
        tight, loose = found["first_500_iwae_50"], found["first_500_elbo"]
        line += f"{loose:18.1f}{tight:11.1f}"
    print(line)
saved = record("decoder_pixels_alone")["test_nll_nats"] - found["distortion_nats"]
print(f"{found['rate_nats']:.1f} nats of code save {saved:.1f} nats of pixels")

# %% [markdown]
# For the same steps the PixelVAE is better than either half: 87.2 nats, where the pixel model alone has 90.5 and the VAE 106.3. Read this with care: one seed, none converged, and equal steps are not equal work, for the PixelCNN alone has a thirteenth of the weights. {cite:t}`gulrajani2017` (Table 1, static binarization) have 87.41 for a convolutional VAE, 80.64 for a PixelVAE, 80.10 for a Gated PixelCNN alone and 80.08 for a Gated PixelVAE. So against a VAE the pixel model in the decoder gains nats there too; but a $z$ on top of a pixel model gains some only as long as that model is short-sighted.
#
# Look at what the code costs. The VAE spends 24 nats of code to bring the pixels down to 82; the PixelVAE reaches the same 82 with 5 nats. What the VAE's code had to tell about thickness and edges of strokes, presumably, a pixel model can see in the five rows above.
#
# **When does $z$ carry nothing?** If $q_\phi(z \mid x)$ is the prior, the rate is 0, and the best that the decoder can do with its random $z$ is to ignore it: what is left is the pixel model alone (with a constant map added), at 90.5 nats. A code is worth its nats if it saves more of them in the pixels, as the last line of the table says it does here. With distortion $\mathsf{D}$ and rate $\mathsf{R}$ as in {doc}`chapter 8 <08_vae>`, every VAE has
#
# $$ \mathbb{E}_{p_{\mathrm{d}}}[-\mathcal{L}(x)] = \mathsf{D} + \mathsf{R} \;\ge\; H(p_{\mathrm{d}}) , $$ (eq-dc-collapse)
#
# and a decoder that can be $p_{\mathrm{d}}$ on its own attains the right side with $\mathsf{R} = 0$: nothing is left to save, and collapse is an optimum. (It need not be the only one. Chapter 11 proves what holds there, lets the decoder see more and more, and watches the rate fall.) Our PixelCNN sees five rows up. It cannot be $p_{\mathrm{d}}$, the plan of a digit is hidden from it, and so the code has not collapsed.
#
# In code a PixelVAE is a VAE with one line exchanged, that of $\log p_\theta(x \mid z)$. Here is its bound by hand, for one draw of $z$:

# %%
pixel_vae = pixel_decoders.pixel_vae()
load_checkpoint(pixel_vae, "decoder_pixel_vae")
torch.manual_seed(0)
trunk, pixel_cnn = pixel_vae.pair.decoder.network, pixel_vae.pair.decoder.density
x = test_bits.x[:20]
with torch.no_grad():
    q = pixel_vae.pair.encoder.distribution(x)
    z = q.sample()  # [20, 16]
    feature_map = trunk(z)  # [20, 16, 28, 28]: the code as a picture
    log_p_x = pixel_cnn.log_prob(x, feature_map)  # a PixelCNN, given the map
    log_p_z = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    bound_by_hand = log_p_x + log_p_z - q.log_prob(z)
    by_library = pixel_vae.likelihood(z).log_prob(x[None])[0]
    by_library += pixel_vae.prior.log_prob(z) - pixel_vae.posterior(x).log_prob(z)
assert torch.allclose(bound_by_hand, by_library, atol=1e-3)
print(f"bound of 20 digits: {-bound_by_hand.mean():.1f} nats")

# %% [markdown]
# {numref}`fig-dc-pixelvae` shows the division of labour. Fix $z$ and draw the pixels again and again: what stays the same is what the code keeps. With five nats that is often not even the class.

# %% mystnb={"figure": {"caption": "The PixelVAE. *Left:* test digits. *Middle:* pixels drawn five times at one code $z \\sim q_\\phi(z \\mid x)$ of the digit. Five nats of code keep place and slant, and often not the class. *Right:* new codes from the prior, one draw each. *Not converged.*", "name": "fig-dc-pixelvae"}, "image": {"alt": "Five rows of twelve binary digits in three blocks. In each row the five digits of the middle block share place and slant with the one on the left and differ from one another, sometimes in class: a seven comes back as a nine or a four. The block on the right holds new digits, some of them malformed."}} tolerance={"draws": ["columns 3-7", "columns 9-14"], "rtol": 0.15}
torch.manual_seed(0)
x = test_bits.x[[0, 1, 2, 4, 7]]
with torch.no_grad():
    z = pixel_vae.posterior(x).sample()
    again = pixel_vae.likelihood(z.repeat_interleave(5, 0)).sample(1)
    again = again.view(5, 5, 1, 28, 28)
    fresh = pixel_vae.sample(30).view(5, 6, 1, 28, 28)
gap = torch.zeros(5, 1, 1, 28, 28)
three = torch.cat([x[:, None], gap, again, gap, fresh], 1)
image_grid(three.flatten(0, 1), columns=14)
plt.show()
x = test_bits.x[:100]
with torch.no_grad():
    once, twice = pixel_vae.likelihood(pixel_vae.posterior(x).sample()).sample(2)
other = twice.roll(1, 0)  # that of another digit
pairs = {"at one code": twice, "at codes of two digits": other}
for where, partner in pairs.items():
    apart = (once != partner).flatten(1).sum(1).float()
    error = apart.std() / len(apart) ** 0.5
    print(f"pixels that differ, two draws {where}: {apart.mean():.0f} +- {error:.0f}")

# %% [markdown]
# (sec-dc-autoencoders)=
# ### Two autoencoders, two bottlenecks
#
# A cleaner experiment leaves the prior out. {cite:t}`vandenoord2016gated` trained an autoencoder whose decoder is a PixelCNN, beside one trained by squared error, with bottlenecks of 10 and of 100 numbers, and looked at what came back. We repeat it on digits with 8 grey levels: one encoder, one convolutional trunk from the code to a map, and behind it either a last convolution that gives a mean (squared error) or a PixelCNN. Data, steps and learning rate are the same.
#
# **Predict, then run.** Both have a code of 10 numbers. Which of the two reconstructions is closer to the original in squared error: the mean, or a draw of the PixelCNN? By how much, if the PixelCNN's distribution were exactly right?

# %% mystnb={"figure": {"caption": "Original, reconstruction by squared error, and four draws from the PixelCNN autoencoder, with 10 numbers as a code (*left*) and with 100 (*right*). The six digits were picked: most are hard. *Not converged.* The mean is blurred where the code leaves something open; the draws are sharp there, and differ.", "name": "fig-dc-autoencoders"}, "image": {"alt": "Six rows of grey digits in two blocks. In each block an original, a smooth reconstruction and four drawn ones with crisp edges. With ten numbers the draws differ in the course of strokes, with a hundred hardly."}} tolerance={"draws": ["columns 3-6", "columns 10-13"], "rtol": 0.15}
models = {}
for kind in ("squares", "pixels"):
    for width in (10, 100):
        coder = pixel_decoders.autoencoder(width, by_pixels=kind == "pixels")
        load_checkpoint(coder, f"decoder_{kind}_{width}")
        models[kind, width] = coder
grey_test = pixel_decoders.grey(load("mnist", valid=0)[2])
x = grey_test.x[[2, 3, 8, 18, 33, 61]]
blocks = []
torch.manual_seed(0)
for width in (10, 100):
    mean = models["squares", width].mean(x).clamp(0, 7)
    four = models["pixels", width].draws(x, 4)  # [4, 6, 1, 28, 28]
    blocks += [torch.cat([x[None], mean[None], four]).transpose(0, 1)]
gap = torch.zeros(6, 1, 1, 28, 28)
both = torch.cat([blocks[0], gap, blocks[1]], 1).flatten(0, 1) / 7
labels = ["$x$", "mean", "", "draws", "", ""]
image_grid(both, columns=13, column_labels=[*labels, "", *labels])
plt.show()

# %% [markdown]
# :::{dropdown} What to expect
# A decoder's own mean is closer than its draw, by a factor of 2. (The two networks here have codes of their own, so theirs will be about 2.) Two draws $x, x'$ from $p(x \mid \text{code})$ that are independent given the code have $\mathbb{E} \lVert x - x' \rVert^2 = 2\, \mathbb{E} \lVert x - \mathbb{E}[x \mid \text{code}] \rVert^2$, and if the decoder is right, the original is such a draw. So a draw *must* be worse in squared error than the mean. That is no defect of the decoder, and it provides a test of it.
# :::
#
# :::{prf:proposition} A calibrated draw doubles the squared error
# :label: thm-dc-draw
# Let $x$ and $x'$ below have finite second moments, let $s$ be a code of $x$, let $m(s) = \mathbb{E}[x \mid s]$ and $V = \mathbb{E} \lVert x - m(s) \rVert^2$. Let $x'$ be drawn from any distribution $r(x' \mid s)$ with mean $m'(s)$ and total variance $v'(s)$, independently of $x$ given $s$. Then
#
# $$ \mathbb{E} \lVert x - x' \rVert^2 = V + \mathbb{E} \lVert m(s) - m'(s) \rVert^2 + \mathbb{E}\, v'(s) \;\ge\; V . $$ (eq-dc-draw)
#
# If $r(\cdot \mid s)$ is the distribution of $x$ given $s$, the right side is $2V$. For any $r$, it equals $V$ if and only if $x' = m(s)$ almost surely.
# :::
#
# :::{prf:proof}
# Given $s$ write $x - x' = (x - m) + (m - m') + (m' - x')$. The first and the third have mean 0 and are independent, the second is a constant; so the squared norms add up. With $r = p(\cdot \mid s)$: $m' = m$ and $\mathbb{E}\, v' = V$.
# :::
#
# This is why squared error trains blur: among all reconstructions it rewards the one with no variance. It also tests a decoder that draws. Let $x'$ and $x''$ be two independent draws for the same code; for a *calibrated* decoder $\mathbb{E} \lVert x' - x'' \rVert^2 = \mathbb{E} \lVert x - x' \rVert^2$: the original is no farther from a draw than another draw is. The check does the algebra on a table of probabilities; then comes the test on the digits.

# %% tags=["check:thm-dc-draw"]
table = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)).double()
table /= table.sum()  # p(s, x) of 4 codes and 6 values
values = torch.tensor([[0.0, 1], [2, 0], [1, 1], [3, 2], [0, 4], [5, 1]]).double()
p_s, p_x = table.sum(1), table / table.sum(1, keepdim=True)
wrong = p_x.flip(0) ** 2  # some other decoder
wrong /= wrong.sum(1, keepdim=True)
squares = torch.cdist(values, values).square()  # |x - x'|^2
m = p_x @ values
V = (p_s * (p_x * torch.cdist(m, values).square()).sum(1)).sum()
for name, r in {"right": p_x, "wrong": wrong}.items():
    lhs = torch.einsum("s,sx,sy,xy->", p_s, p_x, r, squares)  # by enumeration
    m_r = r @ values
    spread = (p_s * (r * torch.cdist(m_r, values).square()).sum(1)).sum()
    rhs = V + (p_s * (m - m_r).square().sum(1)).sum() + spread
    print(f"{name} decoder: {lhs:.4f} = {rhs:.4f}; V = {V:.4f}, ratio {lhs / V:.3f}")
    assert torch.isclose(lhs, rhs) and (name == "wrong" or torch.isclose(lhs, 2 * V))

# %% tolerance={"rtol": 0.1, "atol": 0.4}
x = grey_test.x[:400]
squares_between = lambda a, b: (a - b).square().sum((1, 2, 3)) / 49  # greys in [0, 1]
torch.manual_seed(0)
print("squared errors   other net's mean  own mean  draw  draw from draw  difference")
for width in (10, 100):
    mean = models["squares", width].mean(x)
    four = models["pixels", width].draws(x, 4)  # [4, 400, 1, 28, 28]
    pairs = [squares_between(a, b) for a, b in itertools.combinations(four, 2)]
    to_draw = torch.stack(pairs).mean(0)  # [400], over six pairs
    to_data = torch.stack([squares_between(a, x) for a in four]).mean(0)
    own = to_data - to_draw / 2  # its expectation is that of the draws' mean
    excess, error = (to_draw - to_data).mean(), (to_draw - to_data).std() / 20
    print(f"{width:4} numbers {squares_between(mean, x).mean():17.2f}", end="")
    print(f"{own.mean():12.2f}{to_data.mean():7.2f}{to_draw.mean():11.2f}", end="")
    print(f"{excess:12.2f} +- {error:.2f}")

# %% [markdown]
# With 10 numbers the code leaves much open: which way the stroke of a 5 runs, whether an 8 is closed. The mean shows all possibilities at once, as blur; each draw shows one of them, sharply. A draw is about twice as far from the original as the decoder's own mean (31.7 and 15.0), as the proposition demands. Is the PixelCNN *calibrated*? Nearly: with 10 numbers two draws are $1.7 \pm 0.3$ farther from each other than from the original, of 33.4 in all. They vary a little too much, as the draws of a decoder do that has not finished learning. (The test is necessary, not sufficient: a biased mean and too small a variance could balance.) The other network's mean is closer to the original still, 13.1, because squared error was all that this network was trained for, its code included. With 100 numbers little is left to decide, and the draws agree.
#
# So blur and variety are two answers to the same lack of information. Squared error answers with the mean, which is no digit; a likelihood answers with a distribution, whose draws look like digits, most of them. Which one you want depends on its use: the mean for the least error, a draw for a picture that could be real.
#
# ### Exercises of Part 3
#
# :::{exercise} ★★ Half of a draw
# :label: ex-dc-average
# Average $n$ independent draws $x'_1, \dots, x'_n$ for one code. For a calibrated decoder, what is $\mathbb{E} \lVert x - \bar x' \rVert^2$ in units of $V$? Check it with the PixelCNN autoencoder of 10 numbers, and say how the limit for large $n$ compares with the error of the mean that squared error learned.
# :::
#
# :::{solution} ex-dc-average
# :class: dropdown
# The average has the mean $m$ and the variance $V / n$, so $V (1 + \frac1n)$. The cell measures $n = 1$, 4 and 16. Extrapolated to infinite $n$, the error of the PixelCNN's *mean* is about a tenth larger than that of the network that was trained on nothing else: its code was chosen for another purpose.
# :::

# %% tags=["hide-cell"] tolerance={"rtol": 0.08}
x = grey_test.x[:60]
torch.manual_seed(0)
sixteen = models["pixels", 10].draws(x, 16)  # [16, 60, 1, 28, 28]
error_of = lambda y: ((y - x).square().sum((1, 2, 3)).mean() / 49).item()
averaged = {n: error_of(sixteen[:n].mean(0)) for n in (1, 4, 16)}
limit = (16 * averaged[16] - averaged[1]) / 15  # removes the term in 1 / n
print("average of n draws:", *(f"{n}: {error:.2f}" for n, error in averaged.items()))
other_error = error_of(models["squares", 10].mean(x))
print(f"limit {limit:.2f}; by squared error {other_error:.2f}")


# %% [markdown]
# (sec-dc-bits)=
# ## Part 4. Write: how many bits does a latent-variable model need on disk?
#
# In {doc}`chapter 3 <03_autoregressive_models>` an exact likelihood became a file of that length: give each symbol its conditional probability, and an arithmetic coder does the rest. A VAE has no $p_\theta(x)$ to give to a coder. It has $p(z)$ and $p_\theta(x \mid z)$, so one can *send a code and then the pixels*:
#
# $$ \text{bits} = -\log_2 p(z) - \log_2 p_\theta(x \mid z) \qquad \text{for some } z . $$ (eq-dc-two-part)
#
# With the best $z$ that is still more than $-\log_2 p(x)$, because many codes would do and the message says which one was taken, which nobody asked. That piece of information, $-\log_2 q(z \mid x)$ bits of it, is what **bits-back coding** {cite:p}`wallace1990,hinton1993` recovers: *let the choice of $z$ carry bits that are to be sent anyway.* A receiver who has decoded $x$ knows $q(z \mid x)$, sees which $z$ was chosen, and reads those bits off.
#
# ### A number as a stack
#
# The coder that makes this simple is **asymmetric numeral systems**, ANS {cite:p}`duda2009`. All that has been written is one whole number $s$. To push a symbol of probability $p$ is to append a digit whose base is about $1/p$, so that $s$ grows by the factor $1/p$, that is by $-\log_2 p$ bits. To pop is to read the digit off. What was pushed last is popped first: a stack, where an arithmetic coder is a queue. As there, a probability is a whole number of slots: symbol $k$ owns `size` of $2^{24}$ slots, from `start` on.


# %%
class HandStack:
    """A whole number with symbols in it; the last one in is the first one out."""

    def __init__(self, data=b"\1"):  # the 1 on top keeps leading zeros
        self.s = int.from_bytes(data, "little")

    def push(self, symbols, starts):  # starts [n, K + 1], one row for each symbol
        for k, row in zip(reversed(symbols), reversed(starts)):
            start, size = int(row[k]), int(row[k + 1] - row[k])
            self.s = (self.s // size << 24) + start + self.s % size

    def pop(self, starts):
        symbols = []
        for row in starts:
            slot = self.s % 2**24  # the symbol that owns this slot is on top
            k = int(np.searchsorted(row, slot, side="right")) - 1
            start, size = int(row[k]), int(row[k + 1] - row[k])
            self.s = (self.s >> 24) * size + slot - start
            symbols.append(k)
        return symbols

    @property
    def bits(self):
        return self.s.bit_length() - 1


# %%
probabilities = [0.7, 0.2, 0.1]
rows, six = slots([probabilities] * 6), [0, 0, 1, 0, 2, 0]
stack = HandStack(np.random.default_rng(0).bytes(10) + b"\1")
s_before = stack.s
stack.push(six, rows)
worth = -sum(math.log2(probabilities[k]) for k in six)
print(f"six symbols worth {worth:.2f} bits:", end=" ")
print(f"the number grew by {math.log2(stack.s) - math.log2(s_before):.2f} bits")
print(f"popped: {stack.pop(rows)}; as before: {stack.s == s_before}")
stack = HandStack(b"bits that nobody pushed\1")
draws = stack.pop(rows)  # reading symbols that were never written
print(f"popped from text: {draws};", end=" ")
stack.push(draws, rows)
print("pushed back:", stack.s.to_bytes(24, "little")[:-1].decode())

# %% [markdown]
# The second half is the point. **Symbols can be popped that nobody pushed**: the bits on the stack are turned into a draw from any distribution we like, and pushing the draw turns it back into the same bits. So "choose $z$ by bits that are to be sent anyway" is a `pop` under $q(z \mid x)$. The whole scheme for one example:
#
# 1. pop $z$ under $q(z \mid x)$: the stack gets shorter by $-\log_2 q(z \mid x)$ bits;
# 2. push $x$ under $p_\theta(x \mid z)$: longer by $-\log_2 p_\theta(x \mid z)$;
# 3. push $z$ under $p(z)$: longer by $-\log_2 p(z)$.
#
# The receiver undoes them, last step first: pop $z$ under $p(z)$, pop $x$ under $p_\theta(x \mid z)$, push $z$ under $q(z \mid x)$. The stack is then what it was before.
#
# :::{prf:theorem} Bits-back coding costs minus the ELBO
# :label: thm-dc-bits-back
# Let $z$ be discrete, and let the stack be ideal: pushing (popping) a symbol of probability $p$ makes it $-\log_2 p$ bits longer (shorter), and each undoes the other. Let the bits that a pop reads be *fair coins*, independent of $x$ and of what was popped before, so that popping under $q$ is a draw from $q$. Let $q(z \mid x) > 0$ only where $p(z)\, p_\theta(x \mid z) > 0$. Then the three steps can be undone, and coding $x$ lengthens the stack by
#
# $$
# \begin{aligned}
# \Delta(x, z) &= \log_2 q(z \mid x) - \log_2 p_\theta(x \mid z) - \log_2 p(z) \text{ bits}, \\
# \mathbb{E}_{q(z \mid x)}[\Delta(x, z)] &= - \frac{\mathcal{L}(x)}{\ln 2} .
# \end{aligned}
# $$ (eq-dc-net)
#
# In a chain of layers with $q(z_1, \dots, z_L \mid x) = q(z_1 \mid x)\, q(z_2 \mid z_1) \cdots$, pop and push of the next layer may follow at once (pop $z_1$, push $x$, pop $z_2$, push $z_1$, ..., push $z_L$), with the same result for the ELBO of the chain.
# :::
#
# :::{prf:proof}
# The lengths of the three steps add up to $\Delta$, the logarithm of $q(z \mid x) / p_\theta(x, z)$; its mean under $q$ is minus the ELBO, in bits. After popping $z$ and $x$ the receiver knows $x$, so can form $q(z \mid x)$; pushing $z$ under it undoes the sender's pop. For the chain the steps are those of the one-layer scheme with $(z_{\ell-1}, z_\ell)$ in the place of $(x, z)$, layer by layer, and $\Delta = \log_2 q(z_1, \dots, z_L \mid x) - \log_2 p(x, z_1, \dots, z_L)$. Undoing all steps in reverse order needs at each step only what has been recovered: $z_L$ from the prior, then $z_{L-1}$ from $p(z_{L-1} \mid z_L)$, after which $z_L$ can be pushed under $q(z_L \mid z_{L-1})$, and so on down to $x$.
# :::
#
# An ideal stack never runs dry, so enough bits must lie on it at the start: as many as the pops are ever ahead of the pushes. With $z_0 = x$ that is
#
# $$ \max_{\ell \le L} \Bigl[ \sum_{j=1}^{\ell} -\log_2 q(z_j \mid z_{j-1}) - \sum_{j=1}^{\ell - 1} -\log_2 p_\theta(z_{j-1} \mid z_j) \Bigr] , $$ (eq-dc-initial)
#
# with one layer the bits of $z \sim q(z \mid x)$. They are called the **initial bits**, and come back at the end of decoding.
#
# Real coders come close to the ideal one, since 24-bit slots round probabilities very little. The assumption to watch is the one about fair coins. In the check a lender takes care of it: before every pop 24 random bits of somebody else's are put on the stack, and they are not counted as ours. There are three codes and five values of $x$, everything is enumerated, and the hand-made stack codes with one layer and with two. Then the same without the lender.

# %%
random = np.random.default_rng(0)
simplex = lambda *shape: random.dirichlet(np.ones(shape[-1]), shape[:-1])
p_x_z, q_z_x, p_data = simplex(3, 5), simplex(5, 3), simplex(1, 5)[0]
p_z_w, q_w_z, p_w = simplex(2, 3), simplex(3, 2), simplex(1, 2)[0]  # a second layer
p_z = p_w @ p_z_w
toy_tables = [slots(p) for p in (p_x_z, q_z_x, p_z_w, q_w_z, p_z[None], p_w[None])]
X_Z, Z_X, Z_W, W_Z, Z, W = toy_tables  # X_Z[z] is the table of p(x|z)
toy_start = random.bytes(40) + b"\1"


# %%
def push_all(stack, message, layers, fair):
    """Push a message symbol by symbol; the result is the number of bits lent."""
    lent = 0
    for x_i in message:
        for layer in range(layers):
            if fair:  # a lender's bits
                stack.s, lent = (stack.s << 24) + int(random.integers(2**24)), lent + 24
            if layer == 0:
                z_i = stack.pop(Z_X[[x_i]])  # choose z by the bits at hand
                stack.push([x_i], X_Z[z_i])
            else:
                w_i = stack.pop(W_Z[z_i])
        stack.push(z_i, Z_W[w_i] if layers == 2 else Z)
        if layers == 2:
            stack.push(w_i, W)
    return lent


# %%
def pop_all(stack, n, layers, fair):
    """Pop n symbols, the last one first, and undo all that pushing them did."""
    back = []
    for _ in range(n):
        w_i = stack.pop(W) if layers == 2 else None
        z_i = stack.pop(Z_W[w_i] if layers == 2 else Z)
        if layers == 2:
            stack.push(w_i, W_Z[z_i])
            stack.s >>= 24 * fair
        back += stack.pop(X_Z[z_i])
        stack.push(z_i, Z_X[back[-1:]])
        stack.s >>= 24 * fair
    return back[::-1]


def there_and_back(message, layers, fair):
    """Push all, pop all: net bits a symbol, and whether everything is undone."""
    stack, start = HandStack(toy_start), HandStack(toy_start)
    lent = push_all(stack, message, layers, fair)
    net = (stack.bits - start.bits - lent) / len(message)
    back = pop_all(stack, len(message), layers, fair)
    return net, back == message and stack.s == start.s


# %% tags=["check:thm-dc-bits-back"]
message = random.choice(5, 6000, p=p_data).tolist()
share = np.bincount(message) / len(message)  # of each x
q_one = share[:, None] * q_z_x  # [x, z]
q_two = q_one[:, :, None] * q_w_z  # [x, z, w]
delta_one = np.log2(q_z_x / (p_x_z * p_z[:, None]).T)
p_two = p_x_z.T[:, :, None] * (p_z_w.T * p_w)
delta_two = np.log2(q_two / share[:, None, None] / p_two)
for layers, q, delta in ((1, q_one, delta_one), (2, q_two, delta_two)):
    cost = (q * delta).sum()  # minus the ELBO of the message, bits
    centre = (q * delta).reshape(5, -1).sum(1) / share  # of each x
    centre = centre.reshape(5, *[1] * (q.ndim - 1))
    error = ((q * (delta - centre) ** 2).sum() / len(message)) ** 0.5
    net, undone = there_and_back(message, layers, fair=True)
    dirty, undone_too = there_and_back(message, layers, fair=False)
    print(f"{layers} layer(s): -ELBO {cost:.2f} bits; fair coins {net:.2f}", end=" ")
    both_undone = undone and undone_too
    print(f"+- {error:.2f}, what lies there {dirty:.2f}; undone {both_undone}")
    assert undone and undone_too and abs(net - cost) < 4 * error
random_prior, Z = Z, slots((p_data @ q_z_x)[None])  # the aggregated posterior as prior
cost_aggregated = (q_one * np.log2(q_z_x / (p_x_z * (p_data @ q_z_x)[:, None]).T)).sum()
net, undone = there_and_back(message, 1, fair=False)
Z = random_prior
print(f"p(z) = q(z): -ELBO {cost_aggregated:.2f} bits; what lies there {net:.2f}")
assert undone and abs(net - cost_aggregated) < 4 * error

# %% [markdown]
# With fair coins the lengths agree with the ELBO within three standard errors. Without them decoding is as exact as ever, but the length differs. Why are the bits not fair? The next $z$ is drawn with what was pushed last, the code of the previous $z$ under $p(z)$. An arithmetic or ANS code looks like fair coins if what it encodes was drawn from the distribution that it was encoded with. The $z$ that are pushed come from the **aggregated posterior** $q(z) = \mathbb{E}_x[q(z \mid x)]$, so the coins are fair when the aggregated posterior is the prior: the last line sets $p(z)$ to it, and the excess is gone. {cite:t}`townsend2019` call other bits *dirty*. They can make the file longer, as with one layer here, or shorter, as with two.

# %% [markdown]
# ### With a VAE
#
# Two things are new. **The latents are real numbers.** Cut each axis into $K$ bins of equal mass under the prior; the number of its bin takes the place of $z$, and the decoder is given the bin's median. If the bins have the width $\delta$ and are narrow, the prior pays $-\log_2(p(z)\, \delta)$ and the posterior gives back $-\log_2(q(z \mid x)\, \delta)$: *the width cancels*. **And the bits have to come from somewhere.** For the second image they are the code of the first; the first needs some to start with.

# %%
BINS = 1024
quantiles = torch.special.ndtri(torch.arange(1, 2 * BINS).double() / (2 * BINS))
medians, edges = quantiles[::2], quantiles[1::2]  # of BINS bins with equal mass


def bin_table(q):
    """Slots of the bins of a Gaussian, a row for each of d latents: [d, BINS + 1]."""
    loc, scale = q.mean.double().T, q.stddev.double().T  # [1, d] -> [d, 1]
    below = torch.special.ndtr((edges - loc) / scale)  # [d, BINS - 1]
    ends = torch.zeros_like(loc), torch.ones_like(loc)
    return slots(torch.cat([ends[0], below, ends[1]], 1).diff(dim=1))


def pixel_table(vae, bins_of_z):
    z = medians[bins_of_z].float()[None]  # [1, d]
    logits = vae.likelihood(z).logits.flatten()
    return slots(torch.stack([(-logits).sigmoid(), logits.sigmoid()], 1))  # [784, 3]


# %%
@torch.no_grad()
def encode(stack, vae, x):
    """Push one picture x [1, 28, 28]."""
    q = bin_table(vae.posterior(x[None]))
    z = list(stack.pop(q))  # 1. choose z by the bits at hand
    stack.push(x.flatten().long().tolist(), pixel_table(vae, z))  # 2.
    stack.push(z, bin_table(vae.prior.distribution(torch.zeros(1, 1))))  # 3.


@torch.no_grad()
def decode(stack, vae):
    """Pop one picture."""
    z = list(stack.pop(bin_table(vae.prior.distribution(torch.zeros(1, 1)))))
    x = torch.tensor(np.array(stack.pop(pixel_table(vae, z)))).float().view(1, 28, 28)
    stack.push(z, bin_table(vae.posterior(x[None])))
    return x


# %% tolerance={"rtol": 0.01}
vae = vae_mnist()  # 784-200-200-50, from chapter 8
load_checkpoint(vae, "vae_mnist")
hundred = test_bits.x[:100]
initial = np.random.default_rng(0).bytes(150) + b"\1"  # 1,200 random bits
stack = HandStack(initial)
for x in hundred:
    encode(stack, vae, x)
hand_net = (stack.bits - 1200) / 100
by_library = bits_back_encode(vae, hundred, bins=BINS, initial=initial)
with torch.no_grad():
    elbo_bits = -vae.log_weights(hundred, k=200).mean() / math.log(2)
print(f"by hand: {hand_net:.2f} bits a digit; -ELBO {elbo_bits:.2f}")
backwards = [decode(stack, vae) for _ in hundred]
exact = torch.equal(torch.stack(backwards[::-1]), hundred)
print(f"decoded exactly: {exact}; the {8 * 150} bits are back:", end=" ")
print(stack.s == int.from_bytes(initial, "little"))
assert exact and abs(hand_net / elbo_bits - 1) < 0.02

# %% [markdown]
# `lvmlib.compression.bits_back_encode` does these steps on a faster stack of 32-bit words (that of the package `constriction`), puts the number of images in front, and a seal of seven bits, by which decoding with the wrong model is noticed, at the end. On *its* stack our `encode` must leave the same bytes:

# %% tolerance={"rtol": 0.01}
fast = Stack(initial)
for x in hundred:
    encode(fast, vae, x)
inside = Stack(by_library[2:])  # behind the number of images
inside.pop(slots(np.full(128, 1 / 128)))  # the seal
print(f"{len(by_library) / 1000:.2f} kB; the same but for number and seal:", end=" ")
print(inside.to_bytes() == fast.to_bytes())
pictures, returned = bits_back_decode(vae, by_library, bins=BINS)
assert torch.equal(pictures, hundred) and returned == initial
assert inside.to_bytes() == fast.to_bytes()

# %% [markdown]
# How much of this survives coarse bins, and a second layer? {numref}`fig-dc-bits` uses the record of `python -m lvmlib.experiments.bits_on_disk`, with the same VAE and one of two layers, 784-50-20.
#
# **Predict, then run.** We cut each of the 50 axes into $K$ bins. How does the *net* length, without the initial bits, change from $K = 4$ to 4,096? And the number of initial bits?

# %% mystnb={"figure": {"caption": "One hundred test digits by bits-back coding: length of the file for each digit, without (solid) and with (dashed) the bits that it was started with, against the number of bins for each latent. Horizontal lines: minus the ELBO. *Left:* the VAE of chapter 8. *Right:* a VAE of two stochastic layers.", "name": "fig-dc-bits"}, "image": {"alt": "Two panels of bits a digit against the number of bins on a logarithmic axis. The solid line falls from far above to the horizontal line and stays on it from 64 bins on; the dashed line lies a few bits above it and rises slowly."}} tags=["hide-input"]
coded = record("bits_on_disk")
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3), sharey=True)
for ax, (name, runs) in zip(axes, coded["runs"].items()):
    sweep = sorted(
        (run for run in runs if run["images"] == 100 and run["rows"] == 1),
        key=lambda run: run["bins"],
    )
    at = [run["bins"] for run in sweep]
    ax.plot(at, [run["net_bits"] for run in sweep], "o-", color=blue, label="net")
    ax.plot(at, [run["bits"] for run in sweep], "s--", color=orange, label="file")
    ax.axhline(sweep[0]["elbo_bits"], color=black, lw=1.2, label="$-$ELBO")
    title = {"vae_mnist": "one layer", "two_layers_mnist": "two layers"}[name]
    ax.set(xscale="log", xlabel="bins for each latent", title=title)
axes[0].set_ylabel("bits a digit")
axes[0].legend(fontsize=9)
plt.show()

# %% tags=["hide-input"]
print(f"{'':18}images bins  rows   file   net   -ELBO   started with   exact")
for name, runs in coded["runs"].items():
    for run in (r for r in runs if r["bins"] in (16, 1024)):
        line = f"{name:18}{run['images']:6}{run['bins']:5}{run['rows']:6}"
        line += f"{run['bits']:8.1f}"
        line += f"{run['net_bits']:7.1f}{run['elbo_bits']:7.1f}"
        line += f"{run['initial_bits']:9} bits"
        print(line + f"{run['exact']!s:>9}")
print("500 digits by others:", *(f"{k} {v}," for k, v in coded["others"].items()))
whole_file = coded["runs"]["vae_mnist"][0]["bits"]
print(f"by the VAE, all counted: {whole_file / 784:.2f} bits a pixel;", end=" ")
weights_kb = 2 * record("vae_mnist")["parameters"] / 1e3  # bfloat16
print(f"the file {whole_file * 500 / 8e3:.0f} kB, its weights {weights_kb:.0f} kB")
exact = record("gated_pixelcnn_mnist")["test_nll_nats"] / math.log(2)
print(f"Gated PixelCNN of chapter 4, exact: {exact:.1f} bits a digit (10,000 digits)")

# %% [markdown]
# :::{dropdown} What to expect
# Net, almost nothing changes from 64 bins on: the width cancels. With 4 or 8 bins a bin is coarser than the posterior, and the median is a bad stand-in for the latent. The initial bits grow by one for each latent whenever $K$ doubles: 50 latents, so from 64 to 4,096 bins by some 300.
# :::
#
# Net, the file is as long as the ELBO says, for both models. The dirty bits that cost a third of a bit in the table of random numbers do next to nothing here: as far as one latent at a time is concerned, which is how the coder sees them, training has brought the aggregated posterior close to the prior. With the initial bits the 500 digits take 130 bits each, 0.17 bits a pixel: half of what gzip needs, and well below bz2. The exact likelihood of the Gated PixelCNN is worth a shorter file, as the last line says; what bits-back coding shows is that a bound can be cashed in as well. And nobody can read any of these files without the model: its weights weigh a hundred times as much as 500 digits, and gzip needs none. {cite:t}`townsend2019` reported 0.19 for a VAE of 40 latents. (The two layers have the worse bound because that model was trained for one minute. *Not converged.*)
#
# The rows of 10 and of 100 tell of a limit. Images can go through the networks together, which is faster, and then all their first latents are chosen before any pixel has been pushed: the initial bits grow in proportion. With two layers {eq}`eq-dc-initial` has two terms to compare. In bins as narrow as these the upper latents of a digit ask for more bits than its pixels have brought, so the first layer's bits are not enough. `bits_back_encode` finds the number by a trial run on more bits than it could need. {ref}`ex-dc-swap` gives it too few, and shows what a dry stack costs.
#
# :::{admonition} Watch out: "the initial bits come back, so they cost nothing"
# :class: pitfall
# They come back to the *receiver*, who did not ask for them. Unless you have other data to send, they are part of the file: the first digit alone needs hundreds of bits before it can be written, and the cell below prints what files of 1, 10 and 100 digits weigh. The cost is paid once a file, not once a digit. And if the bits at the start are not random, all zeros for example, then $z$ is not a draw from $q$: the cell starts each of 50 digits on zeros instead of random bits, and pays hundreds of bits more than the bound.
# :::

# %% tolerance={"rtol": 0.03}
for n in (1, 10, 100):
    whole = bits_back_encode(vae, hundred[:n], bins=BINS)
    print(f"{n:3} digits: {8 * len(whole) / n:6.1f} bits a digit, all counted")
lengths = {"random bits": [], "zeros": []}
for x in hundred[:50]:
    for name, kind in (("random bits", initial), ("zeros", bytes(150) + b"\1")):
        single = Stack(kind)
        encode(single, vae, x)
        lengths[name].append(single.bits - 1200)
with torch.no_grad():
    fifty_elbo = -vae.log_weights(hundred[:50], k=200).mean(0) / math.log(2)
for name, bits in lengths.items():
    gap = torch.tensor(bits) - fifty_elbo
    error = gap.std() / 50**0.5
    print(f"started on {name}: {gap.mean():.1f} +- {error:.1f} bits above -ELBO")

# %% [markdown]
# (sec-dc-disk)=
# ### What discrete codes need
#
# The same function writes the files of a VQ-VAE. Its $q$ is certain: step 1 pops nothing, there are no initial bits, and none to get back. The file holds {eq}`eq-dc-two-part` with $z = c(x)$, the bound of {prf:ref}`thm-dc-bound` in bits.

# %% tolerance={"rtol": 0.02}
twenty = test_bits.x[:20]
on_disk = bits_back_encode(vqvae, twenty, rows=20)
again, none = bits_back_decode(vqvae, on_disk, rows=20)
with torch.no_grad():
    vq_bits = -elbo(vqvae, twenty).sum() / math.log(2)
print(f"20 digits: {8 * len(on_disk)} bits on disk, bound {vq_bits:.0f};", end=" ")
print(f"decoded exactly: {torch.equal(again, twenty)}; initial bytes: {len(none)}")
assert torch.equal(again, twenty) and abs(8 * len(on_disk) - vq_bits) < 40


# %% [markdown]
# ### Exercises of Part 4
#
# :::{exercise} ★ Push and pop
# :label: ex-dc-ans
# Fill the gap: the inverse of a push. Let a symbol own `size` of $2^{24}$ slots from `start` on. Given $s' = 2^{24} \lfloor s / \text{size} \rfloor + \text{start} + (s \bmod \text{size})$, return $s$.
# :::


# %%
def pop_number(s, start, size):
    """Undo a push of the symbol that owns slots start to start + size - 1."""
    before = ...  # your code; the slot is s % 2**24
    return None if before is ... else before


# %% [markdown]
# :::{solution} ex-dc-ans
# :class: dropdown
# `before = (s >> 24) * size + s % 2**24 - start`: the quotient by `size` is `s' >> 24`, and the remainder is the distance of the slot from `start`.
# :::

# %% tags=["hide-cell"]
pushed = (123_456_789 // 1000 << 24) + 500 + 123_456_789 % 1000
answer = (pushed >> 24) * 1000 + pushed % 2**24 - 500
attempt = pop_number(pushed, 500, 1000)
print(answer)
assert answer == 123_456_789 and attempt in (None, answer)  # your solution

# %% [markdown]
# :::{exercise} ★★ Without bits back
# :label: ex-dc-without
# What would a digit cost if the sender drew $z$ from $q(z \mid x)$ with a coin of its own and got nothing back? Compute it for 1,024 and for 4,096 bins, and explain the difference between the two. What if the sender took the bin of the posterior mean?
# :::
#
# :::{solution} ex-dc-without
# :class: dropdown
# The bins have equal mass under the prior, so $z$ costs $50 \log_2 K$ bits whatever it is: 500 bits with 1,024 bins, and the pixels besides. In the terms of {eq}`eq-dc-net` that is $-\mathcal{L} + H(q)$, with the entropy $H(q)$ of the bins, which the cell computes. It grows by $\log_2 4 = 2$ bits for each of the 50 latents when the bins become four times as fine: without bits back one pays for binary places of $z$ that nobody needs, for idle latents as for active ones. The bin of the mean costs the same 500 bits and saves a few in the pixels.
# :::

# %% tags=["hide-cell"] tolerance={"rtol": 0.02}
with torch.no_grad():
    q = vae.posterior(hundred)
    entropy = (q.stddev.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(1)  # nats
    density = vae.prior.distribution(torch.zeros(100, 1)).log_prob(q.sample((50,)))
    for bins in (1024, 4096):
        # narrow bins: H(q) of the bins is the cross-entropy of their count and density
        width = math.log(bins) * 50 + density.mean(0)  # sum of log(1 / delta)
        extra = (entropy + width).mean() / math.log(2)
        print(f"{bins} bins: {elbo_bits + extra:.0f} bits, {elbo_bits:.0f} with")

# %% [markdown]
# :::{exercise} ★★★ Initial bits of two layers
# :label: ex-dc-swap
# With two layers one might pop both latents first ($z_1$, then $z_2$) and push afterwards ($x$, $z_1$, $z_2$). The net length is the same. Which number changes, and by how much? Use {eq}`eq-dc-net` and the table above.
# :::
#
# :::{solution} ex-dc-swap
# :class: dropdown
# The initial bits. Popping both first asks for $-\log_2 q(z_1 \mid x) - \log_2 q(z_2 \mid z_1)$ bits before anything has been pushed. In the order of the theorem (Bit-Swap {cite:p}`kingma2019swap`) $x$ already lies on the stack when $z_2$ is popped, and {eq}`eq-dc-initial` asks for the first term alone, *if $x$ has brought as many bits as $z_2$ asks for*. The cell computes what $z_2$ asks for, the entropy of its bins: with mass $1 / K$ under the prior a bin is $1 / (K\, p(z))$ wide, so that is $\mathbb{E}[\log_2 p(z_2) - \log_2 q(z_2 \mid z_1)] + d \log_2 K$. The pixels have not brought it; the difference must lie there too, for each of the images that are coded together.
#
# Then the cell leaves just these bits out. Pops from a dry stack return the first bin of each latent, a value from the far tail: decoding is still exact, and the digits become much longer.
# :::

# %% tags=["hide-cell"] tolerance={"rtol": 0.02}
deep = bits_on_disk.two_layers()
load_checkpoint(deep, "two_layers_mnist")
torch.manual_seed(0)
with torch.no_grad():
    trace = deep.trace(hundred, k=20)
ratio = (trace.log_base - trace.steps[1].log_q).mean() / math.log(2)
pushed_bits = -trace.steps[0].log_p.mean() / math.log(2)
asked = 20 * math.log2(1024) + ratio
print(f"z2 asks for {asked:.0f} bits; the pixels have pushed {pushed_bits:.0f}")
coded_at_once = bits_back_encode(deep, hundred, rows=100)
_, enough = bits_back_decode(deep, coded_at_once, rows=100)
too_few = enough[round(100 * (asked - pushed_bits).item() / 8) :]
dry = bits_back_encode(deep, hundred, rows=100, initial=too_few)
for name, file, lent in (("enough", coded_at_once, enough), ("too few", dry, too_few)):
    net = 8 * (len(file) - len(lent)) / 100
    print(f"{name:>7}: {8 * len(lent) / 1000:.1f} kbit to start with,", end=" ")
    print(f"{net:.1f} bits a digit net")
print(f"-ELBO {-deep.log_weights(hundred, 20).mean().item() / math.log(2):.1f} bits")
assert torch.equal(bits_back_decode(deep, dry, rows=100)[0], hundred)

# %% [markdown]
# (sec-dc-summary)=
# ## Summary
#
# :::{list-table} What was shown, and where it lives in `lvmlib`.
# :header-rows: 1
# :name: tab-dc-summary
#
# * - result
#   - in one line
#   - in `lvmlib`
# * - {prf:ref}`thm-dc-ema`
#   - running means are gradient steps with a rate for each code
#   - `Codebook`
# * - {prf:ref}`thm-dc-bound`
#   - no draw, no gain from $k$; uniform prior $D \log K$, best prior $H(P)$
#   - `VQVAE`, `elbo`
# * - {numref}`fig-dc-dead`
#   - codes die unless they are restarted
#   - `Codebook(restart=...)`, `perplexity`
# * - {numref}`fig-dc-sizes`
#   - in these runs the size of the codebook moves the bound most
#   - `distortion_and_rate`
# * - {numref}`fig-dc-classes`
#   - two levels of codes, a prior for each, told the class
#   - `VQVAE2`, `TwoLevelPrior`, `CodeMap`
# * - {numref}`fig-dc-pixelvae`
#   - what the decoder sees for itself, the code leaves out
#   - `PixelVAE`
# * - {prf:ref}`thm-dc-draw`
#   - a calibrated draw has twice the squared error of the mean
#   - `DensityAutoencoder`
# * - {prf:ref}`thm-dc-bits-back`
#   - pop $z$, push $x$, push $z$: net length minus the ELBO
#   - `bits_back_encode`, `Stack`
# :::
#
# (sec-dc-course)=
# ## The course in two pages
#
# Twelve chapters asked one question: *what is $\log p_\theta(x)$, and what does it take to know it?* There were four kinds of answer.
#
# - **All of it, one variable at a time** (chapters 3 and 4). The chain rule costs nothing in accuracy. The price is paid in sampling: one step for each variable; and there is no code.
# - **All of it, by a change of variables** (chapters 5 and 6). Exact too, and one step to draw; but every layer must be a bijection, and $z$ is as large as $x$.
# - **A bound, by a latent variable** (chapters 7 to 11). Any networks, a short code, a cheap draw; in exchange for an integral that one can only bound. Five chapters were about the places where something is lost between the bound and the data: one encoder for all images, its family, the prior, the decoder.
# - **A mixture of these** (this chapter). The layers of the library's one class, `Flow`, can be of each kind, and most of what is in use today is such a mixture: a code, a strong model of the code, a decoder for what is left.
#
# Behind all four stands {doc}`chapter 1 <01_information_theory>`: a model that is $\operatorname{KL}(p_{\mathrm{d}} \,\|\, p_\theta)$ nats away from the data wastes that many nats *in a file*, and in Part 4 the bound too became a file of its length.
#
# The wishes of {doc}`chapter 2 <02_generative_modelling>` ({numref}`tab-desiderata`), as far as one table can answer them, from the records of this course for binary MNIST. All figures are test nats a digit; flows are missing because they model grey levels. More columns are on the page of {doc}`results <../book/results>`.

# %% tags=["hide-input"]
lines = [
    ("MADE", "made_mnist", "exact", "784", "none"),
    ("RNN", "rnn_mnist", "exact", "784", "none"),
    ("Transformer *", "transformer_mnist", "exact", "784", "none"),
    ("Gated PixelCNN", "gated_pixelcnn_mnist", "exact", "784", "none"),
    ("PixelCNN++", "pixelcnnpp_mnist", "exact", "784", "none"),
    ("VAE, 50 latents", "vae_mnist", "5000 draws", "1", "50 numbers"),
    ("IWAE, k = 50", "iwae_50_recipe", "5000 draws", "1", "50 numbers"),
    ("VAE, two layers *", "two_layers_mnist", "ELBO", "2", "50 + 20 numbers"),
    ("PixelVAE *", "decoder_pixel_vae", "ELBO", "1 + 784", "16 numbers"),
    ("VQ-VAE, K = 64 *", "vqvae_mnist", "bound", "64 + 1", "64 of 64 values"),
    ("VQ-VAE, K = 16 *", "code_sizes", "bound", "64 + 1", "64 of 16 values"),
    ("VQ-VAE-2 *", "vqvae2_mnist", "bound", "16 + 64 + 1", "80 of 64 values"),
]
print(f"{'':18}{'nats':>5}  {'how known':12}{'steps a draw':14}{'code':16}", end=" ")
print("parameters minutes")
for name, stored, how, steps, code in lines:
    found = record(stored)
    if stored == "code_sizes":
        found = found["runs"]["vqvae 16"]
        found["test_nll_nats"] = found["rate"] + found["distortion"]
    line = f"{name:18}{found['test_nll_nats']:5.1f}  {how:12}{steps:14}{code:16}"
    print(line + f"{found['parameters']:11,}{found['training_minutes']:8.1f}")
print("* far from converged")

# %% [markdown]
# Read it with the caution that this course has asked for all along: training times run from one minute to an hour, a loose bound says little about $p_\theta$, and no row is best in every column. What cannot be put in numbers:
#
# :::{list-table} The families of this book, by what they offer and what they require.
# :header-rows: 1
# :name: tab-dc-families
#
# * -
#   - autoregressive
#   - flow
#   - VAE
#   - discrete codes
# * - $\log p(x)$
#   - exact
#   - exact (discrete $x$: a bound)
#   - a bound
#   - a bound
# * - drawing
#   - $D$ steps
#   - one pass (MAF: $D$ steps)
#   - one pass
#   - as many steps as codes, then one pass
# * - code
#   - none
#   - as large as $x$, invertible
#   - short, stochastic
#   - short, deterministic, discrete
# * - requires of the networks
#   - an order, masks
#   - bijections with a cheap determinant
#   - a $q$ with a low-variance gradient
#   - a rounding that learns
# * - compresses by
#   - arithmetic coding
#   - either, after dequantization
#   - bits-back coding
#   - arithmetic coding of the codes, then of the pixels
# * - typical failure
#   - slow; loses the plan
#   - large shapes come out wrong
#   - blur; unused code
#   - dead codes; a code of the wrong size
# * - chapters
#   - 3, 4
#   - 5, 6
#   - 7 to 11
#   - 12
# :::
#
# **Where to read on.** *Diffusion models* {cite:p}`ho2020` are VAEs with a fixed encoder of many layers (the last part of chapter 11), and their samples are sharp because no single step has to guess much. *Latent diffusion* {cite:p}`rombach2022` puts one on the feature maps of an autoencoder, discrete or not: Part 2 of this chapter with another prior. *Transformers over discrete codes* of images {cite:p}`esser2021` and sound {cite:p}`dhariwal2020` are Part 2 with a larger prior. *Very deep VAEs* {cite:p}`child2021` stack dozens of stochastic layers, and overtake PixelCNNs in likelihood. *Flow matching* {cite:p}`lipman2023` trains continuous flows without solving an equation. In any of their papers you can now ask the same questions: which distribution, which bound, how many steps, how many bits?
#
# ## Further reading
#
# - {cite:t}`vandenoord2017` on the VQ-VAE, {cite:t}`razavi2019` on two levels; {cite:t}`dhariwal2020` on restarts, for music.
# - {cite:t}`vandenoord2016gated`, sections 2.4 and 3.4, on PixelCNN autoencoders; {cite:t}`gulrajani2017` and {cite:t}`chen2017` on pixel models as decoders.
# - {cite:t}`wallace1990` and {cite:t}`hinton1993` for the argument of bits back; {cite:t}`frey1997` for a first coder; {cite:t}`townsend2019` for ANS and dirty bits, {cite:t}`kingma2019swap` for chains.
# - {cite:t}`duda2009` on ANS.
