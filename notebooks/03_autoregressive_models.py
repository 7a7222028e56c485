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
# (ch-autoregressive)=
# # Autoregressive models
#
# *Predict each value from those before it and multiply the probabilities: that is a likelihood, exact, for any data you can put in a row. The rest of this chapter is about who may look at whom, and about never computing anything twice.*
#
# An **{term}`autoregressive model <autoregressive model>`** takes the values of an example one at a time, a picture pixel by pixel or a text letter by letter, and predicts each from those before it. {numref}`fig-ar-idea` shows one at work.

# %% tags=["hide-input"]
import bz2
import itertools
import lzma
import math
import zlib

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.patches import Rectangle
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lvmlib.autoregressive import FVSBN, MADE
from lvmlib.base import bits_per_dim, seed_everything
from lvmlib.checkpoints import load_checkpoint
from lvmlib.data import load
from lvmlib.experiments.binary_mnist import MODELS
from lvmlib.experiments.records import benchmark, published, record
from lvmlib.plotting import COLOURS, image_grid, use_style
from lvmlib.training import cosine, fit

# %% tags=["hide-input"]
DEVICE = "cuda" if torch.cuda.is_available() else None  # where fit trains
SCALE = 10 if DEVICE else 1  # multiplies training runs; stored outputs are those of 1
use_style()
if DEVICE:
    print(f"a GPU: training runs take {SCALE} times as many steps as in the book")
black, blue, red = (COLOURS[name] for name in ("black", "blue", "vermilion"))

train, _, test = load("mnist", binarize="stochastic")  # drawn anew at every use
test_bits = test.fixed(0).x.flatten(1)  # one draw of the test images, [10000, 784]
coders = {
    "zlib": lambda b: zlib.compress(b, 9),
    "bz2": bz2.compress,
    "xz": lzma.compress,
}

# %% mystnb={"figure": {"caption": "An autoregressive model reads a digit line by line. *Left:* the pixels above and to the left are known, those tinted blue are not yet drawn. From the known ones the model computes the probability that the next pixel, outlined in orange, is ink; then a coin with that probability is tossed. *Right:* eight completions, 381 such tosses each, by a WaveNet that comes as a checkpoint.", "name": "fig-ar-idea"}, "image": {"alt": "Left, the upper half of a digit, the lower half tinted blue, one pixel where the tint begins outlined in orange. Right, eight digits that share this upper half and end differently, most of them as an 8, some as a 9."}} tags=["hide-input"] tolerance={"figure": 0.35, "draws": ["all"]}
reader = MODELS["wavenet"]()  # of the models below the one with the best likelihood
load_checkpoint(reader, "wavenet_mnist")
half, place = test_bits[61:62].view(1, 1, 28, 28), 14 * 28 + 11  # pixels known
with torch.no_grad():
    p_next = torch.sigmoid(reader.predict(half).flatten()[place]).item()
    torch.manual_seed(1)
    finished = reader.complete(half.expand(8, -1, -1, -1), known=place)
fig, (left, right) = plt.subplots(1, 2, figsize=(6.2, 2.6), width_ratios=(1, 2))
begun = half[0, 0].clone()
begun.view(-1)[place:] = 0
left.imshow(begun, cmap="gray_r", vmax=1)
later = np.ones((28, 28))
later.ravel()[:place] = np.nan  # tinted: not yet drawn
left.imshow(later, cmap="Blues", vmin=0, vmax=5)
row, column = divmod(place, 28)
left.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=red, lw=2))
left.set_title(f"next: p(ink) = {p_next:.2f}", fontsize=11)
left.axis("off")
image_grid(finished, columns=4, ax=right).set_title("eight ways to go on", fontsize=11)
plt.show()

# %% [markdown]
# :::{prf:definition} Autoregressive model
# :label: def-autoregressive
# Fix an order $o$ of the positions of $x = (x_1, \dots, x_D)$, a permutation of $1, \dots, D$. An **autoregressive model** is a product of conditional distributions, each computed from the earlier values by functions with parameters $\theta$:
#
# $$ p_\theta(x) = \prod_{t=1}^{D} p_\theta(x_{o_t} \mid x_{o_{<t}}), \qquad x_{o_{<t}} = (x_{o_1}, \dots, x_{o_{t-1}}) . $$
# :::
#
# The first goal is maximum likelihood. Given examples $x^{(1)}, \dots, x^{(N)}$, solve
#
# $$ \max_\theta\; \frac1N \sum_{n=1}^N \log p_\theta(x^{(n)}), \qquad \log p_\theta(x) = \sum_{t=1}^{D} \log p_\theta(x_{o_t} \mid x_{o_{<t}}) . $$ (eq-ar-loglik)
#
# The second goal is to draw from $p_\theta$: $x_{o_1}$ first, then $x_{o_2}$ conditioned on it, and so on. In training the conditions are the *true* earlier values and not the model's own draws, so that all $D$ terms can be computed at once. This is called **teacher forcing**.
#
# Three kinds of data come up. *Sequences*, such as text and sound, bring their order with them. *Grids*, from digits to natural images, are usually read in **raster scan**: line by line, each from left to right. *Sets* have no order at all; we pick one, or average over several ({numref}`sec-ar-orders`).
#
# **What you will be able to do**
#
# - write any distribution as a product of conditionals, in any order, and turn a network into such a product by cutting connections;
# - build a fully visible belief net, MADE, a recurrent net, WaveNet and a transformer from a few lines each, and check by a Jacobian and by a sum over all states that nothing leaks;
# - draw exactly the same samples at a fraction of the cost, by caching what each model can cache, and say what a cache cannot save;
# - use an exact likelihood, and say where that fails (Part 4).
#
# **Needs.** Entropy, cross-entropy and arithmetic coding ({doc}`chapter 1 <01_information_theory>`); PyTorch to the level of `nn.Module`.
#
# **Time.** About four hours for Parts 1 to 3, half of them for Part 1, which can stand alone; eight with Part 4, the exercises and the stretches marked *Optional*. The code runs in a minute and a half on one core. Larger models come as checkpoints, and longer experiments as *records*, files with their results, each beside the script that made it. Where there is a GPU, training runs on it, with ten times as many steps.

# %% [markdown]
# (sec-ar-build)=
# ## Part 1. Build: how does a network become a distribution?
#
# (sec-ar-chain)=
# ### Can a picture be taken one pixel at a time?
#
# There are $2^{784} \approx 10^{236}$ black-and-white pictures of 28x28 pixels. A table with a probability for each is out of the question. But a table for *one* pixel has two entries, and we can take the pixels one at a time: first the probability that the first pixel is black, then the probability that the second is, *given the first*, and so on to the last. What do we lose? Nothing, but nothing is gained yet either: the table for the last pixel has a row for each of the $2^{783}$ values of the pixels before it. What we gain is a place to put a network.
#
# :::{prf:theorem} The chain rule, in any order
# :label: thm-ar-chain
# Let $p$ be a distribution of $x = (x_1, \dots, x_D)$ on a finite set and $o$ any order of the positions, that is a permutation of $1, \dots, D$. For every $x$ with
# $p(x) > 0$,
#
# $$ p(x) = \prod_{t=1}^{D} p(x_{o_t} \mid x_{o_1}, \dots, x_{o_{t-1}}) . $$ (eq-ar-chain)
#
# Drawing $x_{o_1}$, then $x_{o_2}$ given $x_{o_1}$, and so on, draws $x$ from $p$.
# :::
#
# :::{prf:proof}
# Write $p_t = p(x_{o_1}, \dots, x_{o_t})$ for the probability of the first $t$ values, and $p_0 = 1$. Since $p_t \ge p(x) > 0$, each conditional is the ratio $p_t / p_{t-1}$, and the product
# of the ratios is $p_D / p_0 = p(x)$. The probability that the drawing ends in $x$ is by construction this product. An $x$ with $p(x) = 0$ is never drawn: at the first $t$ with $p_t = 0$ the value $x_{o_t}$ has probability 0.
# :::
#
# Each of the $D!$ orders gives different conditionals, yet all the products are the same number. The check takes a random distribution of five bits and multiplies its conditionals in all 120 orders; then it draws position by position, in one scrambled order, and counts.

# %% tags=["check:thm-ar-chain"]
random = torch.Generator().manual_seed(0)
p = torch.rand([2] * 5, generator=random, dtype=torch.float64) ** 3
p = p / p.sum()  # a table of 32 probabilities


def conditional(p, order, t):
    """p(x_{o_t} | those before) as a table of all five bits, constant in later ones."""
    up_to_here = p.sum(order[t + 1 :], keepdim=True) if t + 1 < len(order) else p
    return (up_to_here / p.sum(order[t:], keepdim=True)).expand_as(p)


all_orders = list(itertools.permutations(range(5)))
products = [math.prod(conditional(p, o, t) for t in range(5)) for o in all_orders]
worst = max((q - p).abs().max().item() for q in products)
x = torch.zeros(200_000, 5, dtype=torch.long)
for t, position in enumerate(order := (3, 0, 4, 2, 1)):
    table = conditional(p, order, t)
    x[:, position] = 1  # P(one | what was drawn); the later bits do not matter
    x[:, position] = (torch.rand(len(x), generator=random) < table[tuple(x.T)]).long()
counts = torch.bincount(x @ torch.tensor([16, 8, 4, 2, 1]), minlength=32)
chi2 = ((counts - len(x) * p.flatten()) ** 2 / (len(x) * p.flatten())).sum().item()
print(f"120 orders, products and table differ by less than 1e-15: {worst < 1e-15}")
print(f"drawn one by one: chi-square {chi2:.1f}, ", end="")
print(f"expected 31 +- {math.sqrt(62):.1f} if the draws follow p")
assert worst < 1e-15 and abs(chi2 - 31) < 4 * math.sqrt(62)

# %% [markdown]
# {numref}`fig-ar-dag` draws the factorisation as a graph, an arrow for each value that a conditional may look at. In most graphical models the art lies in leaving arrows out, and each missing arrow is an assumption about the world. Here none is missing. Since every variable is observed, such models are also called **fully visible**.

# %% mystnb={"figure": {"caption": "Three factorisations of five variables. The chain rule leaves no arrow out, and so assumes nothing. A Markov chain forgets all but the last value, and independent variables forget everything.", "name": "fig-ar-dag"}, "image": {"alt": "Three rows of five numbered nodes. In the first row every node has arcs to all later nodes, in the second each node has an arrow to the next one only, in the third there are no arrows."}} tags=["hide-input"]
fig, axes = plt.subplots(3, 1, figsize=(5, 2.4), height_ratios=(1.5, 1, 1))
names = ("chain rule: any distribution", "Markov chain", "independent")
for ax, name, reach in zip(axes, names, (4, 1, 0)):
    for start, end in itertools.combinations(range(5), 2):
        if end - start <= reach:
            bend = -0.32 if end - start > 1 else 0
            style = {"arrowstyle": "-|>", "connectionstyle": f"arc3,rad={bend}"}
            style |= {"lw": 1, "shrinkA": 9, "shrinkB": 9, "color": blue}
            ax.annotate("", (end, 0), (start, 0), arrowprops=style)
    for i in range(5):
        box = {"boxstyle": "circle,pad=0.25", "fc": "white", "ec": "#1a1a1a"}
        ax.text(i, 0, f"$x_{i + 1}$", ha="center", va="center", bbox=box, fontsize=10)
    ax.text(4.45, 0, name, va="center", fontsize=10)
    ax.set(xlim=(-0.3, 7), ylim=(-0.35, 0.7 if reach > 1 else 0.35))
    ax.axis("off")
plt.show()


# %% [markdown]
# The theorem takes a distribution apart. To *build* one we go the other way and put functions of our own choice in the place of the conditionals. They have to meet one demand.
#
# :::{prf:theorem} Normalised conditionals make a normalised model
# :label: thm-ar-normalised
# Fix an order $o$. For $t = 1, \dots, D$ let $f_t(v; x_{o_1}, \dots, x_{o_{t-1}}) \ge 0$ be functions that sum to 1 over the values $v$ of position $o_t$, whatever the earlier values are. Then
# $p(x) = \prod_t f_t(x_{o_t}; x_{o_1}, \dots, x_{o_{t-1}})$ sums to 1 over all $x$.
# :::
#
# :::{prf:proof}
# First sum over the position that is drawn last. Only the factor $f_D$ contains $x_{o_D}$, and its sum is 1, whatever the other values. What remains is the same product with one position less. After $D$ such steps the
# sum is 1.
# :::
#
# This is the great advantage of the family: $p_\theta(x)$ is normalised for *every* $\theta$, with no integral in sight, so we may train by maximum likelihood with whatever networks we like. From here on $x_t$ is the $t$-th value *in the order of drawing* where no confusion arises. Besides the sum to 1 the proof uses one thing: $f_t$ does not look at $x_{o_t}$ or at anything later. A network that breaks this rule, however slightly, gets excellent training losses that mean nothing.
#
# (sec-ar-fvsbn)=
# ### The simplest model: a logistic regression for each pixel
#
# What function should $f_t$ be? For bits the plainest choice is a coin whose log-odds are linear in what came before {cite:p}`neal1992,frey1998`:
#
# $$ p(x_t = 1 \mid x_{<t}) = \sigma\Bigl(b_t + \sum_{s < t} W_{ts}\, x_s\Bigr) . $$ (eq-ar-fvsbn)
#
# This is the **{term}`fully visible sigmoid belief net <fully visible belief net>`**: $D$ logistic regressions stacked into one strictly lower triangular matrix. A single product gives all conditionals:


# %%
def fully_visible(x, W, b):
    """Bits x [B, D] -> log-odds [B, D]; the t-th depends on the bits before t only."""
    return F.linear(x, W.tril(-1), b)


def log_prob(log_odds, x):
    """Log-probability of bits x [B, D], the sum of the conditionals; [B], nats."""
    return -F.binary_cross_entropy_with_logits(log_odds, x, reduction="none").sum(1)


def all_states(D):
    """All 2^D vectors of D bits, [2^D, D]."""
    states = list(itertools.product((0.0, 1.0), repeat=D))
    return torch.tensor(states, dtype=torch.float64)


# %% [markdown]
# Does it sum to 1? For ten bits we can add up all 1,024 states.
#
# **Predict, then run.** Beside it stands the same net with its diagonal left in, so that each bit looks at itself. Will its sum lie below 1, above 1, or either? And where would training push it?

# %% tags=["check:thm-ar-normalised"]
random = torch.Generator().manual_seed(0)
for D in (2, 6, 10, 12):
    x = all_states(D)
    W = torch.randn(D, D, generator=random, dtype=torch.float64)
    b = torch.randn(D, generator=random, dtype=torch.float64)
    total = log_prob(fully_visible(x, W, b), x).exp().sum().item()
    leaking = log_prob(F.linear(x, W.tril(0), b), x).exp().sum().item()
    print(f"D = {D:2}: {total:.12f}; with the diagonal {leaking:.3f}")
    assert abs(total - 1) < 1e-12 and abs(leaking - 1) > 0.1

# %% [markdown]
# :::{dropdown} What to expect
# With random weights the leaking net adds up to anything, above 1 or below. Training rewards high probabilities for the data, and nothing keeps the sum at 1, so training would drive it up: each bit would learn to predict itself with certainty.
# :::
#
# Now real pictures: MNIST {cite:p}`lecun1998`, each pixel drawn anew as 0 or 1 with its grey level as the probability ({term}`stochastic binarization`) whenever an image is used. The training loop fits into one cell; `lvmlib`'s `fit` is this loop with a schedule for the learning rate and careful error messages.

# %%
D, steps = 784, 400 * SCALE
W = torch.zeros(D, D, requires_grad=True)
b = torch.zeros(D, requires_grad=True)
optimizer = torch.optim.Adam([W, b], lr=5e-2)
random = torch.Generator().manual_seed(0)
for step in range(steps):
    optimizer.param_groups[0]["lr"] = 5e-2 * (1 - step / steps)
    rows = torch.randint(len(train), (100,), generator=random)
    x = train.batch(rows, random).flatten(1)  # [100, 784]
    loss = -log_prob(fully_visible(x, W, b), x).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %% tolerance={"rtol": 0.01}
mean = train.unit().x.flatten(1).mean(0).clamp(1e-4, 1 - 1e-4)
with torch.no_grad():
    results = {
        "784 fair coins": torch.full((len(test_bits),), -784 * math.log(2)),
        "784 biased coins": log_prob(mean.logit().expand_as(test_bits), test_bits),
        "fully visible belief net": log_prob(fully_visible(test_bits, W, b), test_bits),
    }
print("negative log-likelihood of the test images")
for name, value in results.items():
    nats, bits = -value.mean(), bits_per_dim(value, (784,)).mean()
    print(f"  {name:25} {nats:6.1f} nats per image = {bits:.3f} bits per pixel")
grey = test.unit().x.flatten(1)
tosses = -(torch.xlogy(grey, grey) + torch.xlogy(1 - grey, 1 - grey)).sum(1).mean()
print(f"entropy of the coin tosses, given the grey images: {tosses:.1f} nats per image")

# %% [markdown]
# Models of binary digits are compared by this number, in nats per image. It is a cross-entropy, so {doc}`chapter 1 <01_information_theory>` reads it as a file size: a digit costs 784 bits when nothing is known, and about 150 when each pixel is guessed linearly from its predecessors. The last line says what no model can avoid: the pixels are coin tosses, and even given the whole grey image the tosses cost 45.5 nats. This is a floor: of the belief net's 104 nats a better model can save 58 at most.
#
# In `lvmlib` every model of this chapter is an `Autoregressive`: `predict` gives the parameters of all conditionals in one pass, and `log_prob` and `sample` follow from it. With our weights `FVSBN` gives our numbers.

# %% tags=["hide-input"]
model = FVSBN((1, 28, 28))
with torch.no_grad():
    model.weight[0].copy_(W)
    model.bias[0].copy_(b)
    ours = log_prob(fully_visible(test_bits, W, b), test_bits)
    theirs = model.log_prob(test_bits.view(-1, 1, 28, 28))
print(f"agree within 0.001 nats: {(ours - theirs).abs().max().item() < 1e-3}")
assert torch.allclose(ours, theirs, atol=1e-3)


# %% [markdown]
# To draw an image we follow {prf:ref}`thm-ar-chain`: 784 times we compute a probability and toss a coin. {numref}`fig-ar-fvsbn` shows draws, and where the nats go on average. The border is certain to be paper and costs nothing; in the oval where there may be ink a pixel costs up to 0.4 nats. (A mean over all digits cannot show more than that; for single digits {numref}`fig-pix-surprise` in the next chapter shows the nats along the edges of the strokes.)


# %%
@torch.no_grad()
def draw(step, n, D, seed=0, dtype=torch.float64, known=None):
    """n examples of D bits; step(t, x) gives the log-odds [n] of bit t.

    It gets x [n, D], filled in before t. Bits known [n, m], if there are any, are
    the first m of each example; the others are drawn.
    """
    u = torch.rand(D, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    x = torch.zeros(n, D, dtype=dtype)
    for t in range(D):
        drawn = (u[t] < torch.sigmoid(step(t, x))).to(dtype)
        x[:, t] = drawn if known is None or t >= known.shape[1] else known[:, t]
    return x


past = W.detach().tril(-1)
samples = draw(lambda t, x: x @ past[t] + b[t], 100, 784, dtype=torch.float32)


# %%
def beside_data(draws, log_p, data, log_p_data):
    """Prints share of ink and mean cost under the model, of its draws and of data."""
    print(
        f"{len(draws)} draws: {draws.mean():.1%} ink, {-log_p.mean():.1f} nats; ",
        end="",
    )
    print(f"data: {data.mean():.1%} ink, {-log_p_data.mean():.1f} nats")


# %% mystnb={"figure": {"caption": "The fully visible belief net on binary MNIST. Left, draws from it: strokes, but hardly a digit. Right, the mean cost of each pixel of a test image in nats; a fair coin would cost 0.69.", "name": "fig-ar-fvsbn"}, "image": {"alt": "Left, twenty drawn images with broken strokes. Right, a map of 28 by 28 pixels: zero at the border, up to 0.4 nats in an oval in the middle, brightest along its top and down its middle."}} tags=["hide-input", "photo"] tolerance={"data": 0.1, "draws": ["all"]}
with torch.no_grad():
    log_odds = fully_visible(test_bits, W, b)
    cost = F.binary_cross_entropy_with_logits(log_odds, test_bits, reduction="none")
    pixel_cost = cost.mean(0)
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 2.6), width_ratios=(1.2, 1))
image_grid(samples[:20].view(-1, 1, 28, 28), columns=5, ax=left)
shown = right.imshow(pixel_cost.view(28, 28), cmap="cividis", vmin=0)
right.axis("off")
fig.colorbar(shown, ax=right, label="nats per pixel")
plt.show()
with torch.no_grad():
    log_p = log_prob(fully_visible(samples, W, b), samples)
    log_p_test = log_prob(fully_visible(test_bits, W, b), test_bits)
beside_data(samples, log_p, test_bits, log_p_test)

# %% [markdown]
# **What it costs and when it fails.** $D(D-1)/2 + D = 307{,}720$ parameters, most of them for pairs of pixels that tell little about each other, and a linear rule for each pixel. A linear rule cannot even represent *the third bit is 1 if exactly one of the first two is* ({ref}`ex-ar-xor`). There are two ways out: let the rule be deep (the rest of Part 1), or let the positions share it (Part 2).
#
# (sec-ar-made)=
# ### One deep network for all conditionals: MADE
#
# A deep network per pixel would do, but 784 networks are a lot to train. An autoencoder has 784 inputs and 784 outputs in *one* network. If only output $t$ did not see inputs $t, t + 1, \dots, D$! {cite:t}`germain2015` cut the connections through which it would.
#
# Give every unit a **degree**. Input $x_t$ has degree $t$, and so has output $t$. A hidden unit gets any number between 1 and $D - 1$, and the degree says how far it may see: up to position $m$ for a hidden unit of degree $m$. Output $t$ may see only what lies *before* $t$. Two kinds of masks are enough ({numref}`fig-ar-masks`).
#
# :::{list-table} The two kinds of masks. A connection from a unit of degree $a$ to one of degree $b$ is kept if the condition holds.
# :header-rows: 1
# :name: tab-ar-masks
#
# * -
#   - kept if
#   - what it says
# * - type A
#   - $b > a$
#   - look at earlier positions only, not at your own
# * - type B
#   - $b \ge a$
#   - look at earlier positions and at your own
# :::

# %% tags=["hide-input"]
drawn_degrees = [  # input, hidden, output
    [1, 2, 3, 4],
    [1, 1, 2, 2, 3, 3],
    [1, 2, 3, 4],
]
kinds_of_mask = [("B", blue, lambda a, b: b >= a), ("A", red, lambda a, b: b > a)]


def draw_units(ax):
    """The network: the connections that are kept, and each unit with its degree."""
    for i, (_, colour, kept) in enumerate(kinds_of_mask):
        lower, upper = drawn_degrees[i : i + 2]
        for j, a in enumerate(lower):
            for k, up in enumerate(upper):
                if kept(a, up):
                    ends = [j - len(lower) / 2, k - len(upper) / 2]
                    ax.plot(ends, [i, i + 1], color=colour, lw=1)
    for i, units in enumerate(drawn_degrees):
        circle = {"boxstyle": "circle,pad=0.2", "fc": "white", "ec": black}
        for j, a in enumerate(units):
            style = {"ha": "center", "va": "center", "bbox": circle, "fontsize": 9}
            ax.text(j - len(units) / 2, i, a, **style)


# %% mystnb={"figure": {"caption": "Masks at work in a network of four inputs and six hidden units; each unit shows its degree. Into the hidden layer go the connections of type B (blue, $b \\ge a$), into the outputs those of type A (orange, $b > a$). Input 4 feeds nothing, and output 1 is fed by nothing: it is a bias. The two matrices are the masks themselves: coloured entries are kept.", "name": "fig-ar-masks"}, "image": {"alt": "Left, a network drawn from bottom to top with degrees 1 to 4 on the inputs, 1, 1, 2, 2, 3, 3 on the hidden units and 1 to 4 on the outputs. Right, two staircase matrices: the orange one for type A leaves its first row empty, the blue one for type B leaves its last column empty."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(6.4, 2.9), width_ratios=(2.1, 1.25, 1))
draw_units(axes[0])
for i, text in enumerate(("inputs", "hidden", "outputs")):
    axes[0].text(-4.0, i, text, va="center", ha="center", fontsize=9)
axes[0].set(xlim=(-4.7, 2.4), ylim=(-0.25, 2.25))
axes[0].axis("off")
for ax, i in zip(axes[1:], (1, 0)):
    name, colour, kept = kinds_of_mask[i]
    lower, upper = drawn_degrees[i : i + 2]
    for j, a in enumerate(lower):
        for k, up in enumerate(upper):
            fill = colour if kept(a, up) else "white"
            corner = (j - 0.5, k - 0.5)
            ax.add_patch(Rectangle(corner, 1, 1, fc=fill, ec="#bbbbbb", lw=0.8))
    ax.set(xlim=(-0.5, len(lower) - 0.4), ylim=(len(upper) - 0.4, -0.55))
    ax.set_aspect("equal")
    ax.set_xticks(range(len(lower)), lower)
    ax.set_yticks(range(len(upper)), upper)
    ax.set(xlabel="from degree $a$", ylabel="to degree $b$", title=f"type {name}")
    ax.grid(visible=False)
plt.show()


# %% [markdown]
# :::{prf:theorem} When masks make a network autoregressive
# :label: thm-ar-masks
# Let a feed-forward network have inputs and outputs of degrees $1, \dots, D$, any hidden units with degrees, and only connections of type A or B. If every path from an input to an output contains a connection of type A, then output $t$ is a
# function of the inputs of degree less than $t$.
# :::
#
# :::{prf:proof}
# Along a path degrees never fall, as every connection has $b \ge a$, and they rise at least once if one connection is of type A. So a path from the input of degree $s$ to output $t$ exists only if $s < t$, and a unit is a function of the inputs from which paths lead to it.
# :::
#
# :::{dropdown} *Optional:* the converse
# A **skip** is a connection that adds the value of a unit, with weight 1, to that of a unit in a later layer. If some path from the input of degree $t$ to output $t$ has connections with $b = a$ only, then for some weights and biases output $t$ depends on that input, provided that no nonlinearity is constant and that no two skips end at the same unit.
#
# For the proof take two different values of input $t$, set all other inputs to 0, and follow the path from there to the output, choosing weights and biases so that each of its units takes two different values $h \ne h'$. Suppose that this is done for one unit and look at the next. If the path gets there by a connection with a weight, give all other connections to that
# unit weight 0. Its value is then $\varphi(wh + b) + r$, where $\varphi$ is its nonlinearity and $r$ is what a skip may add. By the choice of $w$ and $b$ the two arguments of $\varphi$ become any two numbers, so the difference $\varphi(wh + b) - \varphi(wh' + b)$ can be 0, and, since $\varphi$ is not constant, it can be something else as well. At most one of the two is cancelled by the difference that $r$ makes; take the other. If the path gets there by a skip, whose weight is 1
# once and for all, give the connections beside it weight 0: the value is $\varphi(b) + h$. (Without the choice it would not do: $\varphi(x) = \operatorname{relu}(x)$ is not constant, but $\operatorname{relu}(-\operatorname{relu}(x))$ is.)
# :::
#
# Here it is in code, as in the original paper: type B everywhere, and type A in the last layer. (In networks with skips the first layer is the safe place for type A, as we shall see below.) Nothing says that the inputs must be numbered from left to right; the degrees of the inputs *are* the order.


# %%
class MaskedNet(nn.Module):
    """Bits [B, D] -> log-odds [B, D]; position order[t] sees order[:t] only."""

    nonlinearity = staticmethod(torch.relu)

    def __init__(self, D, hidden, order=None, seed=0, lowest=1):
        super().__init__()
        random = torch.Generator().manual_seed(seed)  # hidden degrees: lowest to D - 1
        order = torch.arange(D) if order is None else order
        place = order.argsort() + 1  # degrees of the inputs: 1 for the one drawn first
        drawn = [torch.randint(lowest, D, (n,), generator=random) for n in hidden]
        self.degrees = [place, *drawn]
        type_b = [b[:, None] >= a for a, b in zip(self.degrees, self.degrees[1:])]
        type_a = place[:, None] > self.degrees[-1]
        self.masks = [mask.float() for mask in (*type_b, type_a)]
        widths = [D, *hidden, D]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x, told=0):
        (first, *rest), (mask, *masks) = self.layers, self.masks
        # told: an addition to the first hidden layer, 0 for now
        h = F.linear(x, mask.to(x) * first.weight, first.bias) + told
        for layer, mask in zip(rest, masks):
            h = F.linear(self.nonlinearity(h), mask.to(x) * layer.weight, layer.bias)
        return h


# %% [markdown]
# The mask multiplies the weight each time it is used. (Setting the forbidden weights to zero once, at the start, does not last: the gradient with respect to a weight of zero need not be zero, and the first step of the optimiser brings it back.) Who sees whom can be read off the **Jacobian** of the outputs with respect to the inputs, which automatic differentiation computes from the network alone: it knows nothing of masks. {numref}`fig-ar-jacobian` shows it for three orders.


# %%
def who_sees_whom(net, D, seed=0):
    """Largest |d output t / d input s| over eight random inputs, [D, D]."""
    x = torch.rand(8, D, generator=torch.Generator().manual_seed(seed))
    # of the sum over the eight, each of which depends on its own input only; [D, 8, D]
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x).sum(0), x)
    return jacobian.abs().amax(1)


side = 4
spiral = torch.tensor([5, 6, 10, 9, 8, 4, 0, 1, 2, 3, 7, 11, 15, 14, 13, 12])
paths = {
    "line by line": torch.arange(16),
    "spiral": spiral,
    "random": torch.randperm(16, generator=torch.Generator().manual_seed(0)),
}
nets = {}
for name, order in paths.items():
    seed_everything(0)
    nets[name] = MaskedNet(16, (200, 200), order)

# %% mystnb={"figure": {"caption": "Who sees whom in MADE, for three orders of a 4x4 picture. Above, the order in which the pixels are drawn. Middle, the Jacobian with rows (outputs) and columns (inputs) in the order of storage: dark where an output depends on an input. Below, the same sorted by the order of drawing: in all three cases strictly lower triangular.", "name": "fig-ar-jacobian"}, "image": {"alt": "Three columns. The top row shows paths through a 4 by 4 grid: line by line, a spiral from the centre, and a random order. The middle row shows 16 by 16 matrices, triangular only for the first. The bottom row shows three strictly lower triangular matrices."}} tags=["hide-input", "photo"]
fig, axes = plt.subplots(3, 3, figsize=(5.6, 5.4), height_ratios=(0.8, 1, 1))
for (name, order), (top, middle, bottom) in zip(paths.items(), axes.T):
    columns, rows = order % side, order // side
    top.plot(columns, rows, "o-", lw=1, color=blue, ms=3)
    top.plot(columns[0], rows[0], "o", color=red)
    top.set(title=name, xlim=(-0.5, 3.5), ylim=(3.5, -0.5), aspect="equal")
    top.set(xticks=[], yticks=[])
    sees = (who_sees_whom(nets[name], 16) > 0).float()
    middle.imshow(sees, cmap="gray_r", vmax=1.6)
    bottom.imshow(sees[order][:, order], cmap="gray_r", vmax=1.6)
    for ax in (middle, bottom):
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
labels = ("order", "output, as stored", "output, as drawn")
for ax, label in zip(axes[:, 0], labels):
    ax.set_ylabel(label)
for row, label in zip(axes[1:], ("input, as stored", "input, as drawn")):
    for ax in row:
        ax.set_xlabel(label)
plt.show()

# %% [markdown]
# The theorem allows the layer of type A to stand anywhere. The next cells put it first, in the middle and last, and make two checks that do not use the masks: the largest entry of the Jacobian on or above the diagonal, and the sum over all states.
#
# **Predict, then run.** In the last three cases there are *skips* around layers: a skip adds the input of a layer to its output, unit by unit, and so connects units of the same degree, which is type B. In the first of these cases there are skips around the two layers of type B, in the others around all three. Which of the six networks leak?

# %%
units = 10
random = torch.Generator().manual_seed(0)
# three layers with one unit of each degree
weights = torch.randn(3, units, units, generator=random, dtype=torch.float64)


def stack(types, skips=()):
    """Layers of the given types, with skips around those listed."""

    def net(x):
        h = x.double()
        for i, (kind, W) in enumerate(zip(types, weights)):
            y = F.linear(h, W.tril(-1 if kind == "A" else 0))
            h = torch.tanh(y) + (h if i in skips else 0)
        return 4 * h

    return net


# %% tags=["check:thm-ar-masks"]
cases = [
    ("ABB", ()),
    ("BAB", ()),
    ("BBA", ()),
    ("ABB", (1, 2)),
    ("ABB", (0, 1, 2)),
    ("BAB", (0, 1, 2)),
]
for types, skips in cases:
    net = stack(types, skips)
    leak = who_sees_whom(net, units).triu().max().item()
    total = log_prob(net(all_states(units)), all_states(units)).exp().sum().item()
    layers_skipped = ", ".join(str(i + 1) for i in skips)
    around = f"skips around layers {layers_skipped}" if skips else "no skips"
    print(f"{types}, {around:30}: leak {leak:4.1f}, sum over all states {total:.6f}")
    around_a = any(types[i] == "A" for i in skips)
    assert (leak > 0) == around_a and (abs(total - 1) > 0.1) == around_a


# %% [markdown]
# :::{dropdown} What to expect
# The last two leak, and only they: their skips go *around* the layer of type A and are a path without any A. The probabilities of the 1,024 states add up to 7 and more. Skips around layers of type B do no harm.
# :::
#
# :::{admonition} Watch out: "one type-A layer anywhere suffices"
# :class: pitfall
# It suffices in a plain chain of layers, and in a chain with skips around layers of type B, but not where a skip bypasses it. Such a model looks wonderful in training, because predicting a pixel from itself is easy. In practice: put type A in the first layer, let no skip or residual connection start before it, and test by Jacobian.
# :::
#
# Does depth pay? From here on most experiments use **small digits**: MNIST averaged over squares of 2x2 pixels and thresholded at half, 14x14 pixels of black and white, so that a model trains in seconds.


# %%
def small_digits(split):
    return (F.avg_pool2d(split.x.float(), 2) > 127.5).float()  # [N, 1, 14, 14]


def nll(model, x, *context):
    """Mean negative log-likelihood in nats per example."""
    with torch.no_grad():
        parts = zip(x.split(500), *(c.split(500) for c in context))
        return -torch.cat([model.log_prob(*part) for part in parts]).mean().item()


small, small_test = small_digits(train), small_digits(test)


# %%
def full_run(model, lr, loss=None):
    """Train on 1,500 batches of 64 small digits, 96,000 in all."""
    steps = 1500 * SCALE
    schedule = cosine(lr, steps, warmup=50)
    how = {"lr": schedule, "clip_norm": 1.0, "device": DEVICE, "progress": False}
    fit(model, small, loss, steps=steps, batch_size=64, **how)
    return model


seed_everything(0)
made = full_run(MADE((1, 14, 14), hidden=(800,), degrees="random"), 1e-2)
fvsbn = full_run(FVSBN((1, 14, 14)), 0.1)


# %% tags=["hide-input"] tolerance={"rtol": 0.01}
def with_weights_of(made, net):
    """Our net with the masks and weights of a MADE of lvmlib."""
    theirs = [*made.net.layers, made.net.output]
    net.masks = [layer.mask for layer in theirs]
    for mine, layer in zip(net.layers, theirs):
        mine.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    return net


ours, x = with_weights_of(made, MaskedNet(196, (800,))), small_test[:100]
with torch.no_grad():
    difference = log_prob(ours(x.flatten(1)), x.flatten(1)) - made.log_prob(x)
    difference = difference.abs().max().item()
print(f"MADE by hand and from lvmlib agree within 0.001 nats: {difference < 1e-3}")
assert difference < 1e-3
for name, model in {"fully visible belief net": fvsbn, "MADE": made}.items():
    nats = nll(model, small_test)
    print(f"{name:25} {nats:.2f} nats per small test digit, after 96,000 images")

# %% [markdown]
# With a hidden layer a pixel can react to *combinations* of its predecessors, and that is worth five nats after the same number of images. (`lvmlib`'s `MADE` is the class above with a choice of degrees; its weights, in our formula, give the same numbers. And all its variants sum to 1, as the hidden cell below confirms for both kinds of degrees, several orders and seeds.)

# %% tags=["hide-cell"]
worst = 0
for D, degrees, seed in itertools.product((5, 9, 12), ("even", "random"), (0, 1, 2)):
    seed_everything(seed)
    order = torch.randperm(D)
    net = MADE((D,), hidden=(30, 30), degrees=degrees, order=order, seed=seed).double()
    for p in net.parameters():
        p.data.mul_(3)  # far from uniform
    with torch.no_grad():
        worst = max(worst, abs(net.log_prob(all_states(D)).exp().sum().item() - 1))
print(f"18 models, all sums over all states within 1e-12 of 1: {worst < 1e-12}")
assert worst < 1e-12


# %% [markdown]
# (sec-ar-context)=
# ### Telling it which digit
#
# A **context** $c$, such as the class, may be seen by every unit: $p(x \mid c) = \prod_t p(x_t \mid x_{<t}, c)$. In MADE a linear map of the class, as a one-hot vector, is added to the first hidden layer, and no mask is needed. (Hidden units of degree 0, which see no pixel, now have a use: through them the first pixel learns which digit it belongs to.) This pays twice. We can ask for a digit, and by Bayes' rule $p(c \mid x) \propto p(x \mid c)\, p(c)$ the model of pictures becomes a classifier.


# %%
class ToldNet(MaskedNet):
    """Bits [B, D], classes c [B] -> log-odds [B, D]; c shifts the hidden layer."""

    def __init__(self, D, hidden, classes):
        super().__init__(D, hidden, lowest=0)
        # a linear map of one-hot vectors is a table
        self.shift = nn.Embedding(classes, hidden[0])

    def forward(self, x, c):
        return super().forward(x, told=self.shift(c))


# %%
seed_everything(0)
classes = MADE((1, 14, 14), hidden=(800,), degrees="random", context=10)
loss = lambda model, batch: -model.log_prob(*batch)
how = {"lr": cosine(1e-2, 1200 * SCALE), "device": DEVICE, "progress": False}
_ = fit(classes, (small, train.y), loss, steps=1200 * SCALE, batch_size=100, **how)


# %% tolerance={"atol": 0.005, "rtol": 0.02}
def under_each_class(x):
    """log p(x | c) for all ten classes c, [N, 10]."""
    with torch.no_grad():
        columns = [classes.log_prob(x, torch.full((len(x),), c)) for c in range(10)]
        return torch.stack(columns, 1)


joint = torch.cat([under_each_class(x) for x in small_test.split(1000)])  # [10000, 10]
marginal = -(joint.logsumexp(1) - math.log(10)).mean()  # -log sum_c p(c) p(x | c)
told_nll = -joint.gather(1, test.y[:, None]).mean()
print(f"told the class: {told_nll:.2f} nats; summed over the classes: {marginal:.2f}")
right = (joint.argmax(1) == test.y).float().mean()
print(f"Bayes' rule names the right class of {right:.1%} of the test digits")

# %% tags=["hide-cell"]
ours, x, y = (
    with_weights_of(classes, ToldNet(196, (800,), 10)),
    small_test[:100],
    test.y[:100],
)
ours.shift.load_state_dict({"weight": classes.net.context_map.weight.T})
with torch.no_grad():
    difference = log_prob(ours(x.flatten(1), y), x.flatten(1)) - classes.log_prob(x, y)
agree = difference.abs().max().item() < 1e-3
print(f"by hand and lvmlib agree within 0.001 nats: {agree}")
assert agree

# %% mystnb={"figure": {"caption": "Small digits. Above, data. Below, draws from MADE, told which digit to draw.", "name": "fig-ar-classes"}, "image": {"alt": "Grid of ten columns, one for each digit from 0 to 9. Two rows of real small digits and four rows of drawn ones, about half of them recognisable."}} tags=["hide-input"] tolerance={"draws": ["rows 3-6"], "rtol": 0.1}
labels = torch.arange(10).repeat(20)
torch.manual_seed(0)
drawn = classes.sample(200, labels)
real = torch.stack([small_test[test.y == c][i] for i in range(2) for c in range(10)])
image_grid(
    torch.cat([real, drawn[:40]]),
    columns=10,
    row_labels=["data", "", "drawn", "", "", ""],
)
plt.show()
told = under_each_class(drawn)
beside_data(drawn, told.gather(1, labels[:, None]), small_test, -told_nll)
recognised = (told.argmax(1) == labels).float().mean()
print(f"Bayes' rule finds the class that was told in {recognised:.1%} of the draws")

# %% [markdown]
# Summed over the classes, $\sum_c p(c)\, p(x \mid c)$ is again a model of pictures alone. Being told the class is worth two nats. It cannot be worth more than $\log 10 = 2.3$: $\sum_c p(c)\, p(x \mid c) \ge \frac{1}{10}\, p(x \mid c)$ for the true $c$.
#
# **What it costs and when it fails.** One pass gives all conditionals. But no rule is shared between places: a stroke learned in one corner is unknown in the next, a longer sequence needs a new network, and the first layer alone has as many weights as pixels times units. Drawing takes $D$ steps, which {numref}`sec-ar-caching` makes short.

# %% [markdown]
# (sec-ar-orders)=
# ### *Optional:* which order? All of them
#
# The chain rule is indifferent to the order; a network is not, since in some orders the conditionals are simpler functions than in others. MADE changes its order by changing its masks, so the *same weights* can be trained for many orders at once, another set of masks for each batch {cite:p}`germain2015,uria2014`. Trained with ever new orders, a model can fill in *any* missing pixels, by an order that begins with the known ones. We let it cycle through eight, and gain an ensemble for the price of one set of weights:
#
# $$ p(x) = \frac1S \sum_{s=1}^S p_s(x) , \qquad \log p(x) = \operatorname*{logmeanexp}_s \log p_s(x) , $$ (eq-ar-mixture)
#
# where logmeanexp is the logarithm of the mean of the exponentials. A mean of distributions is a distribution, and by Jensen's inequality $\log p(x)$ is at least the average of the $\log p_s(x)$.

# %%
random = torch.Generator().manual_seed(0)
orders = [torch.arange(196), *(torch.randperm(196, generator=random) for _ in range(7))]
sets = [MaskedNet(196, (800,), order, seed=s).masks for s, order in enumerate(orders)]
turns = itertools.cycle(sets)


def next_masks(net, x):
    """NLL of a batch under the masks whose turn it is; [B], nats."""
    net.masks, x = next(turns), x.flatten(1)
    return -log_prob(net(x), x)


seed_everything(0)
many = full_run(MaskedNet(196, (800,)), 1e-2, next_masks)

# %% tolerance={"rtol": 0.02}
each, x = [], small_test.flatten(1)
with torch.no_grad():
    for masks in sets:
        many.masks = masks
        each.append(log_prob(many(x), x))
each = torch.stack(each)  # [8, 10000]
mixture = each.logsumexp(0) - math.log(8)
alone = -each.mean(1)
others = alone[1:]
print(f"line by line {alone[0]:.2f} nats; ", end="")
print(f"seven random orders {others.min():.2f} to {others.max():.2f}")
print(f"mixture of the 8 orders {-mixture.mean():.2f} nats")
print(f"a MADE trained for line by line alone {nll(made, small_test):.2f} nats")

# %% [markdown]
# The ensemble beats each of its members by a nat or more. It does not beat the specialist, which saw as many images in one order alone: learning eight orders is harder than learning one. (With more hidden units and longer training the gap closes; the original paper had its best results with many masks.) And the order in which we read is the worst of the eight here. One reason may be that random orders ask the same kind of question, a pixel given others
# scattered all around it, so that seven of the eight help one another; and {numref}`sec-ar-groups` finds each of them easier by itself.
#
# :::{admonition} Watch out: averaging the logits over orderings
# :class: pitfall
# An ensemble is often formed by averaging the *outputs* of the network under several orders, pixel by pixel, and summing the resulting log-probabilities. That is not a density. Let two bits always agree. Drawn in either order the first is a fair coin
# and the second a copy, with log-odds $\pm a$. The averaged log-odds of *each* bit are $\pm a / 2$ in the direction of the other, so $(0, 0)$ and $(1, 1)$ each get $\sigma(a/2)^2$, nearly 1, and the four states "sum" to nearly 2. Each bit has been explained by the other, and nobody paid for either.
# The cells below do this with a MADE on patches of 12 pixels. (`masks=8` is `lvmlib`'s way to train several orders in turn, `OrderingMixture` its mixture.)
# :::

# %%
from lvmlib.autoregressive import OrderingMixture

patches = small[:, 0, 6:9, 4:8].flatten(1)  # 3x4 pixels from the middle of each digit
seed_everything(0)
patch_model = MADE((12,), hidden=(200,), degrees="random", masks=8)
how = {"lr": cosine(1e-2, 600 * SCALE), "device": DEVICE, "progress": False}
fit(patch_model, patches, steps=600 * SCALE, batch_size=100, **how)

x = all_states(12).float()
with torch.no_grad():
    logits = []
    for s in range(8):
        patch_model.use(s)
        logits.append(patch_model.predict(x)[:, 0])  # [4096, 12]
    averaged = log_prob(torch.stack(logits).mean(0), x)
    each = torch.stack([log_prob(one, x) for one in logits])  # [8, 4096]
    mixed = each.logsumexp(0) - math.log(8)
    assert torch.allclose(mixed, OrderingMixture(patch_model).log_prob(x), atol=1e-4)

# %% tolerance={"atol": 0.02, "rtol": 0.03}
codes = (patches @ 2 ** torch.arange(11.0, -1, -1)).long()
frequencies = codes.bincount(minlength=4096) / len(patches)
for name, log_p in {"mean of probabilities": mixed, "mean of logits": averaged}.items():
    nats = -(frequencies * log_p).sum()
    total = log_p.exp().sum()
    print(f"{name:22} sum of 4096 states {total:.3f}, 'nll' {nats:.3f} nats")
entropy = -torch.xlogy(frequencies, frequencies).sum()
print(f"plug-in entropy of the patches, which no model beats: {entropy:.3f} nats")


# %% [markdown]
# The averaged logits claim to beat the entropy of the very data that they are measured on, which is impossible ({doc}`chapter 1 <01_information_theory>`): the sure sign of a score that is not a likelihood.

# %% [markdown]
# ### Exercises of Part 1
#
# :::{exercise} ★ A classifier with a confidence
# :label: ex-ar-posterior
# Fill the gap: the posterior probabilities of the classes from $\log p(x \mid c)$, if all classes are equally likely. The numbers $p(x \mid c)$ themselves are too small to be safe: with $\log p = -110$ one of them is already 0 in single precision. How often is the classifier above wrong where it is at least 99% sure, and how often does it expect to be?
# :::


# %%
def posterior(log_p):
    """log p(x | c) [B, C] -> p(c | x) [B, C], for classes that are equally likely."""
    return ...  # your code


answer = posterior(joint)
if answer is not ...:  # a test of your code
    assert torch.allclose(answer.sum(1), torch.ones(len(joint)))
    assert torch.equal(posterior(joint - 500).argmax(1), joint.argmax(1))
    print(answer.max(1).values[:5])

# %% [markdown]
# :::{solution} ex-ar-posterior
# :class: dropdown
# `log_p.softmax(1)`: the prior $\frac{1}{10}$ cancels, and the softmax subtracts the largest exponent first. It expects to be wrong with probability $1 - \max_c p(c \mid x)$. The cell below takes the mean of that and counts. Three quarters of the digits get an answer of at least 99%, and about one in two hundred of these answers is wrong. That is rare, but several times as often as expected: the classifier is overconfident.
# :::

# %% tags=["hide-cell"] tolerance={"atol": 0.1}
p_named, named = joint.softmax(1).max(1)
sure, wrong = p_named >= 0.99, named != test.y
print(f"all 10,000:        wrong {wrong.float().mean():.1%}, ", end="")
print(f"expected {1 - p_named.mean():.1%}")
print(f"at least 99% sure: wrong {wrong[sure].float().mean():.1%}, ", end="")
print(f"expected {1 - p_named[sure].mean():.1%}; {sure.float().mean():.0%} of all")


# %% [markdown]
# :::{exercise} ★★ What a linear rule cannot do
# :label: ex-ar-xor
# Let $x_1, x_2$ be fair coins and $x_3 = 1$ if exactly one of them is 1. What is the smallest negative log-likelihood that a fully visible sigmoid belief net reaches, in the order 1, 2, 3? Does another order help? How many hidden units of degree 2 does MADE need?
# :::
#
# :::{solution} ex-ar-xor
# :class: dropdown
# $3 \log 2 = 2.079$ nats, where the entropy is $2 \log 2 = 1.386$. The first two conditionals can be exact. For the third, the likelihood is concave in $(b, W)$, and exchanging the roles of 0 and 1 in both inputs leaves the data as they are, as does flipping one input together with the output; so a maximiser is $b = 0$, $W = 0$, a fair coin. By symmetry every order gives the
# same: each of the three bits is the exclusive or of the others. Two ReLU units of degree 2 do it: $\operatorname{relu}(x_1 + x_2 - 1) + \operatorname{relu}(1 - x_1 - x_2)$ is 0 for unequal inputs and 1 for equal ones. One does not suffice: it is a monotone function of a linear one.
# :::
#
# :::{exercise} ★ How many numbers?
# :label: ex-ar-parameters
# A table for $p(x_t \mid x_{<t})$ over bits has $2^{t-1}$ free numbers. Show that all tables together have $2^D - 1$, as many as the joint distribution. What is the count for a Markov chain of order $m$?
# :::
#
# :::{solution} ex-ar-parameters
# :class: dropdown
# $\sum_{t=1}^D 2^{t-1} = 2^D - 1$: the chain rule is a change of coordinates, and loses and gains nothing. For order $m$ the first $m$ positions have $2^m - 1$ together and each later one $2^m$: $2^m - 1 + (D - m)\, 2^m$, if the tables differ from position to position, and $2^m - 1 + 2^m$ if all later positions share one.
# :::
#
# :::{exercise} ★★ Counting paths
# :label: ex-ar-mask-products
# Multiply the masks of a MADE: $M = M^{\text{out}} M^{L} \cdots M^1$ with entries counting paths. What does $M_{ts}$ count? Which hidden degrees make the whole lower triangle of $M$ positive with the fewest hidden units in one layer?
# :::
#
# :::{solution} ex-ar-mask-products
# :class: dropdown
# $M_{ts}$ is the number of paths from input $s$ to output $t$, so autoregressive means strictly lower triangular. With one hidden layer $M_{ts} = \#\{k : s \le m_k < t\}$, and this is at least 1 for all $s < t$ if and only if each degree $1, \dots, D - 1$ occurs (take $t = s + 1$): $D - 1$ units. With fewer, some pixel does not see its immediate predecessor.
# :::
#
# :::{exercise} ★★ What a mixture can lose
# :label: ex-ar-jensen
# Show that the mixture {eq}`eq-ar-mixture` is never worse than its average member, $\log p(x) \ge \frac1S \sum_s \log p_s(x)$, and, for a single $x$, never better than its best member: $\log p(x) \le \max_s \log p_s(x)$. Conclude how much at most a model loses by mixing in $S - 1$ useless ones.
# :::
#
# :::{solution} ex-ar-jensen
# :class: dropdown
# The first is Jensen's inequality for the concave logarithm. A mean is at most the largest term, which is the second, for each single $x$; but which member is best may differ from $x$ to $x$, so on a *data set* the mixture may beat each of its members. Since $p(x) \ge \frac1S p_s(x)$ for each $s$, the loss is at most $\log S$ nats for a whole image: 2.1 nats for eight members.
# :::
#
# :::{exercise} ★★★ Few labels
# :label: ex-ar-classifier
# The class-conditional MADE classifies by Bayes' rule. Compare its accuracy with 300 labelled examples and with all 50,000 to that of logistic regression on the pixels. Which is better when labels are few, and what would you expect of a MADE trained on *unlabelled* digits with the context left at zero for most of them?
# :::
#
# :::{solution} ex-ar-classifier
# :class: dropdown
# On the first 2,000 small test digits: with the first 300 examples, 150 steps of training give about 70%, logistic regression about 68%, which is no difference that 2,000 digits and one set of 300 could establish; with all 50,000, 1,200 steps give 93%, logistic regression 85%. (These digits are harder than most: on all 10,000 the same model has 94.9%, above.) With few labels the model of pictures has to be stopped in time (400 steps give 66%: the likelihood of new images has long begun to fall). With the context at zero an unlabelled digit trains all weights but those of the context, so the model
# learns what digits look like from all of them and has only ten vectors left to learn from the labels; one would expect more accuracy from few labels.
# :::

# %% [markdown]
# (sec-ar-share)=
# ## Part 2. Share: can one rule serve all positions?
#
# (sec-ar-sharing)=
# ### A state that travels
#
# A text has no fixed length, and what makes an *e* likely after *th* is the same on every page. So let all positions use *one* function. It needs a description of the past that has the same size everywhere: a **state** $h_t$, updated with every value.
#
# $$ h_t = f(h_{t-1}, x_{t-1}), \qquad p(x_t = 1 \mid x_{<t}) = \sigma(w^\top h_t + b) . $$ (eq-ar-rnn)
#
# This is **{term}`parameter sharing`** over time, and $f$ is a {term}`recurrent network`. The plain choice $\tanh(W x + U h)$ forgets quickly. The gated recurrent unit (GRU) {cite:p}`cho2014`, like the older LSTM {cite:p}`hochreiter1997`, lets the network decide how much of the state to keep. From an input $x$ and a state $h$ it computes, but for biases,
#
# $$ \begin{aligned} r &= \sigma(W_r x + U_r h), & n &= \tanh(W_n x + r \odot U_n h), \\ z &= \sigma(W_z x + U_z h), & h' &= (1 - z) \odot n + z \odot h , \end{aligned} $$ (eq-ar-gru)
#
# where $\odot$ multiplies entry by entry. The gate $z$ decides how much of the state is kept, and the gate $r$ how much of it enters the proposal $n$ for the new state $h'$:


# %%
def gru_step(x, h, W, U, b, c):
    """One step of a GRU: input x [B, I], state h [B, H] -> new state [B, H]."""
    input_r, input_z, input_n = (x @ W.T + b).chunk(3, 1)
    state_r, state_z, state_n = (h @ U.T + c).chunk(3, 1)
    reset, keep = torch.sigmoid(input_r + state_r), torch.sigmoid(input_z + state_z)
    proposal = torch.tanh(input_n + reset * state_n)
    return (1 - keep) * proposal + keep * h


# %%
class RecurrentNet(nn.Module):
    """Bits [B, D] -> log-odds [B, D], by one rule for all positions."""

    def __init__(self, hidden, places=None):
        super().__init__()
        inputs = 1 if places is None else 1 + places.shape[1]
        self.places = places  # [D, ...]: what is told about the position to be drawn
        self.gru = nn.GRU(inputs, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x):
        # the bit before, as -1 or 1, or 0 for none; [B, D, 1]
        past = F.pad(2 * x - 1, (1, 0))[:, :-1, None]
        if self.places is not None:
            past = torch.cat([past, self.places.to(x).expand(len(x), -1, -1)], 2)
        return self.out(self.gru(past)[0])[..., 0]


# %% [markdown]
# Shifting the input by one position is all that keeps the model autoregressive: the state that predicts $x_t$ has read $x_1, \dots, x_{t-1}$. (`nn.GRU` is a fast loop over our `gru_step`, as the hidden cell confirms.)

# %% tags=["hide-cell"]
seed_everything(0)
net = RecurrentNet(16)
x = small_test[:4].flatten(1)[:, 60:120]  # four lines of four digits
h, states = torch.zeros(4, 16), []
past = F.pad(2 * x - 1, (1, 0))[:, :-1, None]
for t in range(60):
    h = gru_step(past[:, t], h, *net.gru.all_weights[0])
    states.append(h)
by_hand = net.out(torch.stack(states, 1))[..., 0]
sees = who_sees_whom(net, 60)
print(f"step by step and nn.GRU agree: {torch.allclose(by_hand, net(x), atol=1e-5)}")
print(f"largest entry of the Jacobian from the diagonal up: {sees.triu().max():.1f}")
assert torch.allclose(by_hand, net(x), atol=1e-5) and sees.triu().max() == 0


# %% [markdown]
# A picture in raster scan is a sequence too, but an odd one. The pixel *above* was drawn a whole line ago, and unless the net counts, it does not even know in which column it is. So we tell it: append to each input a one-hot code of the row and the column of the pixel to be drawn. (The runs here and in the next sections take a few seconds, and *none of these models has converged*: compare a net with its neighbour in the same cell only. {numref}`sec-ar-compared` compares them all on equal terms.)


# %%
def short_run(model, steps, lr, loss=None):
    """A training run of a few seconds on small digits, from a fixed seed."""
    steps = steps * SCALE
    how = {
        "lr": cosine(lr, steps, warmup=20),
        "clip_norm": 1.0,
        "device": DEVICE,
        "progress": False,
    }
    fit(model, small, loss, steps=steps, batch_size=50, **how)
    return model.eval()


def net_nll(net, x):
    """Negative log-likelihood of pictures under a network of log-odds; [B], nats."""
    return -log_prob(net(x.flatten(1)), x.flatten(1))


one_hot = torch.eye(14)
rows, columns = one_hot.repeat_interleave(14, 0), one_hot.repeat(14, 1)
places = torch.cat([rows, columns], 1)  # [196, 28]
recurrent = {}
for name, told in {"RNN": None, "RNN, told the position": places}.items():
    seed_everything(0)
    recurrent[name] = short_run(RecurrentNet(48, told), 150, 2e-2, net_nll)

# %% tolerance={"rtol": 0.05}
x = small_test[:1000]
for name, net in recurrent.items():
    with torch.no_grad():
        nats = net_nll(net, x).mean()
    count = sum(p.numel() for p in net.parameters())
    print(f"{name:23} {nats:.2f} nats after 7,500 small digits, {count:6,} parameters")

# %% mystnb={"figure": {"caption": "Mean cost of each pixel of a small test digit under the two recurrent nets. The one that is told where it is pays less almost everywhere, and next to nothing along the sides; the other has to guess from what it has read in which column it stands.", "name": "fig-ar-position"}, "image": {"alt": "Two maps of 14 by 14 pixels on one colour scale. Both are bright in the middle and dark at the border; with the position the bright region is smaller and less bright."}} tags=["hide-input", "photo"] tolerance={"figure": 0.35, "rtol": 0.1}
flat = small_test[:1000].flatten(1)
with torch.no_grad():
    log_odds = torch.stack([net(flat) for net in recurrent.values()])  # [2, 1000, 196]
both = flat.expand_as(log_odds)
each = F.binary_cross_entropy_with_logits(log_odds, both, reduction="none").mean(1)
fig, axes = plt.subplots(1, 2, figsize=(5.4, 2.4), layout="constrained")
for ax, name, pixels in zip(axes, recurrent, each):
    shown = ax.imshow(pixels.view(14, 14), cmap="cividis", vmin=0, vmax=each.max())
    ax.set_title(name, fontsize=10)
    ax.axis("off")
fig.colorbar(shown, ax=axes, label="nats per pixel")
plt.show()

# %% [markdown]
# `lvmlib`'s `RNN` is the same, with several layers if you like, and with `positions=True`, which *adds* a learned vector for each row and each column to the input. (Appending a one-hot code does that, too: the first thing that happens to the input is a matrix product, and a product with a one-hot code picks a column.)

# %% tags=["hide-cell"]
from lvmlib.autoregressive import RNN

seed_everything(0)
model = RNN((1, 14, 14), hidden=16, cell="gru", positions=True)
x = small_test[:4].flatten(1)
value = model.values(x)  # a vector for each bit, [4, 196, 16]
inputs = F.pad(value[:, :-1], (0, 0, 1, 0)) + model.positions()
h, states = torch.zeros(4, 16), []
for t in range(196):
    h = gru_step(inputs[:, t], h, *model.rnn.all_weights[0])
    states.append(h)
by_hand = model.output(torch.stack(states, 1))[..., 0]
agree = torch.allclose(by_hand, model.predict(small_test[:4]).flatten(1), atol=1e-5)
print(f"by hand and lvmlib agree: {agree}")
assert agree


# %% [markdown]
# (sec-ar-wavenet)=
# ### Convolutions that only look back
#
# A recurrent net reads 784 pixels in 784 sequential steps, in training as well. A convolution computes all positions at once. It becomes autoregressive by padding on one side: put $k - 1$ zeros in front of the sequence, and the window that ends at $t$ contains nothing later. Such a convolution is **{term}`causal <causal convolution>`** (in the words of {numref}`tab-ar-masks`, type B). Shift the input by one position, and it is type A.
#
# Stacked, each layer of kernel $k$ lets us see $k - 1$ positions further, which is slow: for the last of 784 pixels to see all others with $k = 2$ would take 782 layers. {cite:t}`vandenoord2016wavenet` leave gaps in the window. With **dilation** $d$ the window reads $x_t, x_{t-d}, x_{t-2d}, \dots$, and with $d = 1, 2, 4, 8, \dots$ the reach doubles with each layer ({numref}`fig-ar-dilation`).
#
# :::{prf:proposition} The receptive field of dilated convolutions
# :label: thm-ar-receptive-field
# Stack causal convolutions of kernel $k \ge 2$ with dilations $d_1, \dots, d_L$ on a sequence shifted by one position, and let
#
# $$ R = 1 + (k - 1) \sum_{l=1}^L d_l . $$ (eq-ar-receptive-field)
#
# Output $t$ sees none but the $R$ positions just before it, its **receptive field**. If $d_1 = 1$ and $d_{l+1} \le 1 + (k - 1) \sum_{i \le l} d_i$ for all $l$, there are paths to each of them. With $k = 2$ and $d_l = 2^{l - 1}$ these hold, and $R = 2^L$.
# :::
#
# :::{prf:proof}
# A path from output $t$ down to the shifted input chooses in each layer one of $k$ taps, that is a step back of $j_l d_l$ with $0 \le j_l \le k - 1$. So it ends between 0 and $(k - 1) \sum_l d_l = R - 1$ positions back in the shifted sequence, which is between 1 and $R$ back in the original. All steps back
# from 0 to $S_l = (k - 1)\sum_{i \le l} d_i$ occur after $l$ layers, by induction: layer $l + 1$ adds to the interval $[0, S_l]$ its copies shifted by $d_{l+1}, 2 d_{l+1}, \dots, (k-1) d_{l+1}$, and they overlap or touch since $d_{l+1} \le S_l + 1$. Finally $\sum_{l=1}^L 2^{l-1} = 2^L - 1$.
# :::


# %%
def causal_conv(x, weight, bias, dilation):
    """x [B, C, T], weight [C', C, k] -> [B, C', T]; t reads t, t - d, t - 2d ..."""
    kernel = weight.shape[-1]
    padded = F.pad(x, ((kernel - 1) * dilation, 0))
    return F.conv1d(padded, weight, bias, dilation=dilation)


# %% [markdown]
# {numref}`fig-ar-block` shows WaveNet's layer. A **gate**, $\tanh(\cdot) \odot \sigma(\cdot)$, chooses what to let through. A **residual** connection carries the layer's input past it, so that twenty layers can be trained. And a **skip** connection carries what the layer found straight to the output. Neither goes around type A: the shift comes before everything.

# %% tags=["hide-input"]
boxes = {  # name: (x, y, text)
    "conv": (1.6, 1, "causal conv.\ndilation $d$"),
    "tanh": (3.2, 1.5, "tanh"),
    "gate": (3.2, 0.5, "$\\sigma$"),
    "times": (4.2, 1, "$\\odot$"),
    "res": (5.4, 1, "1x1"),
    "plus": (6.5, 1, "+"),
    "skip": (4.2, 2.3, "1x1"),
    "sum": (6.5, 2.3, "+"),
}


def wire(ax, *points, colour=black):
    """A line through the points, with an arrow at its end."""
    ax.plot(*zip(*points[:-1]), color=colour, lw=1.3)
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.3}
    style |= {"shrinkA": 0, "shrinkB": 0}
    ax.annotate("", points[-1], points[-2], arrowprops=style)


# %% mystnb={"figure": {"caption": "One layer of WaveNet. The causal convolution computes two maps, a filter and a gate, which are multiplied. What comes out goes two ways: added to the layer's input (blue, residual) it enters the next layer, and added to the sum over the layers before (orange, skip) it reaches the output.", "name": "fig-ar-block"}, "image": {"alt": "Block diagram from left to right: input h, a causal convolution with dilation d, which splits into tanh and sigma, a product of the two, a 1 by 1 convolution, a sum with h that arrives by a blue line around everything, and an arrow to the next layer. From the product an orange line leads through another 1 by 1 convolution to a running sum, into which an orange arrow comes from the layers before, and on to the output."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6.2, 2.7))
for x_at, y_at, text in boxes.values():
    style = {"boxstyle": "round,pad=0.3", "fc": "#eaf2fb", "ec": black}
    ax.text(x_at, y_at, text, ha="center", va="center", fontsize=10, bbox=style)
for x_from, x_to in ((0, 0.85), (4.42, 5.0), (5.8, 6.3), (6.7, 7.5)):
    wire(ax, (x_from, 1), (x_to, 1))
wire(ax, (2.25, 1), (2.5, 1), (2.5, 1.5), (2.85, 1.5))
wire(ax, (2.25, 1), (2.5, 1), (2.5, 0.5), (2.98, 0.5))
wire(ax, (3.55, 1.5), (4.2, 1.5), (4.2, 1.24))
wire(ax, (3.42, 0.5), (4.2, 0.5), (4.2, 0.76))
wire(ax, (4.7, 1), (4.7, 1.9), (4.2, 1.9), (4.2, 2.06), colour=red)
wire(ax, (4.6, 2.3), (6.3, 2.3), colour=red)
wire(ax, (6.5, 3.1), (6.5, 2.54), colour=red)
wire(ax, (6.7, 2.3), (7.5, 2.3), colour=red)
wire(ax, (0.4, 1), (0.4, -0.05), (6.5, -0.05), (6.5, 0.76), colour=blue)
ax.text(0, 1.15, "$h$", ha="center")
labels = {"next layer": (7.6, 1), "output": (7.6, 2.3), "layers before": (6.6, 2.9)}
for text, (x_at, y_at) in labels.items():
    ax.text(x_at, y_at, text, va="center", fontsize=10)
ax.text(3.2, -0.35, "residual", color=blue, ha="center", fontsize=10)
ax.text(5.45, 2.45, "skip", color=red, ha="center", fontsize=10)
ax.set(xlim=(-0.2, 8.9), ylim=(-0.5, 3.15))
ax.axis("off")
plt.show()


# %%
class WaveBlock(nn.Module):
    """h [B, C, T] -> input of the next layer, share of the output; both [B, C, T]."""

    def __init__(self, channels, dilation):
        super().__init__()
        self.dilation = dilation
        self.both = nn.Conv1d(channels, 2 * channels, kernel_size=2)  # filter and gate
        self.residual = nn.Conv1d(channels, channels, 1)
        self.skip = nn.Conv1d(channels, channels, 1)

    def forward(self, h):
        maps = causal_conv(h, self.both.weight, self.both.bias, self.dilation)
        filtered, gate = maps.chunk(2, 1)
        z = filtered.tanh() * gate.sigmoid()
        return h + self.residual(z), self.skip(z)


# %%
class WaveNetFromScratch(nn.Module):
    """Bits [B, D] -> log-odds [B, D]; told the position if there is a shape (H, W)."""

    def __init__(self, channels, dilations, shape=None):
        super().__init__()
        self.embed, self.head = nn.Conv1d(1, channels, 1), nn.Conv1d(channels, 1, 1)
        self.blocks = nn.ModuleList(WaveBlock(channels, d) for d in dilations)
        vectors = [0.1 * torch.randn(channels, size) for size in shape or ()]
        self.axes = nn.ParameterList(vectors)  # for each row, for each column

    def forward(self, x):
        h = self.embed(2 * x[:, None] - 1)  # [B, C, D]; the bits as -1 and 1
        h, total = F.pad(h, (1, 0))[..., :-1], 0  # type A: shifted by one
        if len(self.axes):
            rows, columns = self.axes
            # where the pixel to be predicted will be, [C, H * W]
            h = h + (rows[:, :, None] + columns[:, None]).flatten(1)
        for block in self.blocks:
            h, skip = block(h)
            total = total + skip
        return self.head(total.relu())[:, 0]


# %% tags=["hide-input"]
def plain_chain(kernel, dilations):
    """Causal convolutions after a shift; with positive weights no two paths cancel."""
    random = torch.Generator().manual_seed(0)
    weights = [torch.rand(1, 1, kernel, generator=random) + 0.1 for _ in dilations]

    def net(x):
        h = F.pad(x[:, None], (1, 0))[..., :-1]
        for weight, dilation in zip(weights, dilations):
            h = causal_conv(h, weight, None, dilation)
        return h[:, 0]

    return net


# %% tags=["check:thm-ar-receptive-field"]
stacks = (
    (2, [1, 2, 4, 8]),
    (2, [1, 4, 16]),
    (3, [1, 3, 9]),
    (3, [1, 4]),
    (4, [1, 2, 1]),
)
for kernel, gaps in stacks:
    sees = who_sees_whom(plain_chain(kernel, gaps), 64)[63].flip(0)  # by distance
    seen = sees.nonzero()[:, 0].tolist()
    R = 1 + (kernel - 1) * sum(gaps)
    reached = [1 + (kernel - 1) * sum(gaps[:l]) for l in range(len(gaps))]  # 1 + S_l
    whole = all(d <= r for d, r in zip(gaps, reached))
    print(f"kernel {kernel}, {gaps}: R = {R}, ", end="")
    print(f"sees {seen[0]} to {seen[-1]}, {R - len(seen)} left out")
    assert seen[0] == 1 and seen[-1] == R and (len(seen) == R) == whole

# %% tags=["hide-cell"]
for gaps in ([1, 2, 4, 8, 16], [1, 1, 1], [1, 2, 4, 1, 2, 4]):
    seed_everything(0)
    net = WaveNetFromScratch(8, gaps)
    sees = who_sees_whom(net, 64)[63].flip(0)  # by distance, starting at 0
    seen = sees.nonzero()[:, 0].tolist()
    R = 1 + sum(gaps)
    print(f"WaveNet, {gaps}: R = {R}, ", end="")
    print(f"sees {seen[0]} to {seen[-1]}, {R - len(seen)} left out")
    assert seen[0] == 1 and seen[-1] == R and len(seen) == R

# %% [markdown]
# The Jacobian agrees with the formula in all cases, for plain convolutions and (hidden cell) for the whole of WaveNet, and where the dilations grow too fast there are holes, as the condition in the proposition says.

# %% mystnb={"figure": {"caption": "Left, four dilated layers of kernel 2: every path from the output (top right) back to the inputs. Right, measured: how strongly the last of 64 outputs of a WaveNet with dilations 1, 2, 4, 8, 16 and random weights depends on the inputs before it. Those at distances 1 to 32 (shaded) count, some of them little; nothing beyond does.", "name": "fig-ar-dilation"}, "image": {"alt": "Left, a binary tree of lines from one node at the top right down to 16 input nodes. Right, points of gradient size against distance on a logarithmic axis, for distances from 1 to 32 only."}} tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 2.6), width_ratios=(1.2, 1))
active = {0}
for layer, dilation in enumerate((8, 4, 2, 1)):
    below = set()
    for node in active:
        for step in (0, dilation):
            ends = [-node, -node - step]
            left.plot(ends, [4 - layer, 3 - layer], lw=1, color=blue)
            below.add(node + step)
    active = below
for layer in range(5):
    left.plot(range(-15, 1), [layer] * 16, "o", ms=3.5, color="#1a1a1a")
left.set_yticks(range(5), ["input", "d = 1", "d = 2", "d = 4", "d = 8"])
left.set_xlabel("steps back")
left.grid(visible=False)
seed_everything(0)
net = WaveNetFromScratch(8, [1, 2, 4, 8, 16])
sees = who_sees_whom(net, 64)[63].flip(0)
distance = sees.nonzero()[:, 0]
right.plot(distance, sees[distance], "o", ms=3)
right.axvspan(1, 32, color=COLOURS["blue"], alpha=0.15, lw=0)
right.set(xlabel="distance into the past", ylabel="largest gradient")
right.set(yscale="log", xlim=(-1, 63))
plt.show()

# %% [markdown]
# On pictures WaveNet has the recurrent net's trouble, since a convolution does exactly the same thing in each column. It has the same cure, a **{term}`position encoding`**: a learned vector for each row and one for each column, added to what the first layer sees. (A vector for each *position* would do as well and take $HW$ vectors in place of $H + W$; sines and cosines of the position take none {cite:p}`vaswani2017`.)

# %% tolerance={"rtol": 0.05}
dilations = [1, 2, 4, 8, 16, 32, 64]
for name, shape in {"WaveNet": None, "WaveNet, told the position": (14, 14)}.items():
    seed_everything(0)
    net = short_run(WaveNetFromScratch(16, dilations, shape), 100, 2e-2, net_nll)
    with torch.no_grad():
        nats = net_nll(net, small_test[:1000]).mean()
    print(f"{name:26} {nats:.2f} nats after 5,000 small digits")
print(f"both see {1 + sum(dilations)} pixels back")

# %% tags=["hide-cell"]
from lvmlib.autoregressive import WaveNet

wavenet = WaveNet((1, 14, 14), channels=16, layers=7)
theirs, ours = wavenet.layers[1], WaveBlock(16, dilation=2)
with torch.no_grad():
    both = torch.cat([theirs.filter.weight, theirs.gate.weight])
    ours.both.weight.copy_(both[:, :, 0])
    ours.both.bias.copy_(torch.cat([theirs.filter.bias, theirs.gate.bias]))
    for name in ("residual", "skip"):
        getattr(ours, name).weight.copy_(getattr(theirs, name).weight[:, :, 0])
        getattr(ours, name).bias.zero_()
    h = torch.randn(3, 16, 50)
    pairs = zip(ours(h), theirs(h[:, :, None], None))
    agree = all(torch.allclose(a, b[:, :, 0], atol=1e-5) for a, b in pairs)
print(f"layers agree: {agree}; receptive field {wavenet.receptive_field}")
assert agree and wavenet.receptive_field == 1 + sum(dilations)


# %% [markdown]
# `lvmlib.autoregressive.WaveNet` is built from the same layer, as the hidden cell confirms, and ends in one hidden layer more.
#
# (sec-ar-attention)=
# ### Everyone looks at everyone before them
#
# **Self-attention** {cite:p}`vaswani2017` lets each position look up all earlier ones directly, by their contents.
#
# :::{prf:definition} Masked self-attention
# :label: def-ar-attention
# Three linear maps make of each token, a vector $h_t$, a **query** $q_t$, a **key** $k_t$ and a **value** $v_t$. The answer to the query of position $t$ is the mean of the values up to $t$, weighted by how well their keys agree with the query:
#
# $$ \operatorname{attention}_t = \sum_{s \le t} \alpha_{ts} v_s, \qquad \alpha_{ts} = \frac{\exp(q_t^\top k_s / \sqrt{d})}{\sum_{r \le t} \exp(q_t^\top k_r / \sqrt{d})} , $$ (eq-ar-attention)
#
# with $d$ the length of queries and keys.
# :::
#
# The sum over $s \le t$ instead of all $s$ is the whole mask: type B. Type A comes, once more, from a shift: token $t$ is made of the value drawn *last*. And since the weights depend on contents only, each token must say where it comes from. We tell it two positions: where the last value was drawn, and where the next will be. The second makes *any* order possible with the same triangle as mask: sort the tokens by the order of drawing.


# %%
class AttentionNet(nn.Module):
    """One head of masked self-attention: bits [B, D] -> log-odds [B, D]."""

    def __init__(self, order, C):
        super().__init__()
        D = len(order)
        self.order, self.future = order, torch.ones(D, D).triu(1).bool()
        self.value, self.start = nn.Linear(1, C), nn.Parameter(torch.randn(C))
        self.source, self.target = nn.Embedding(D, C), nn.Embedding(D, C)
        self.q, self.k, self.v = (nn.Linear(C, C) for _ in range(3))
        self.out = nn.Linear(C, 1)

    def tokens(self, x):
        last = self.order[:-1]
        drawn = self.value(2 * x[:, last, None] - 1) + self.source(last)  # what, where
        # shifted by one: a start stands where nothing has been drawn
        tokens = torch.cat([self.start.expand(len(x), 1, -1), drawn], 1)
        return tokens + self.target(self.order)

    def forward(self, x):
        h = self.tokens(x)  # [B, D, C]
        scores = self.q(h) @ self.k(h).mT / h.shape[-1] ** 0.5  # [B, D, D]
        alpha = scores.masked_fill(self.future, -math.inf).softmax(-1)
        log_odds = self.out((h + alpha @ self.v(h)).relu())[..., 0]
        return log_odds[:, self.order.argsort()]  # from the order of drawing back


# %%
small_orders = {
    "line by line": torch.arange(9),
    "spiral": torch.tensor([4, 5, 8, 7, 6, 3, 0, 1, 2]),
    "random": torch.randperm(9, generator=torch.Generator().manual_seed(0)),
}
for name, order in small_orders.items():
    seed_everything(0)
    net = AttentionNet(order, 16)
    sees = who_sees_whom(net, 9)[order][:, order]  # sorted as drawn
    x = all_states(9).float()
    total = log_prob(net(x), x).exp().sum().item()
    leak, before = (
        sees.triu().max(),
        bool((sees[torch.ones(9, 9).tril(-1) > 0] > 0).all()),
    )
    print(f"{name:13} leak {leak:.1f}, sees all before: {before}, sum {total:.5f}")
    assert leak == 0 and before and abs(total - 1) < 1e-5


# %% [markdown]
# A **transformer block** puts attention to work: several heads side by side, each with its own queries and keys; then a two-layer perceptron, applied to each token by itself. Each of the two is added to its input (a residual connection) and preceded by a normalisation of the token. With $\phi$ the nonlinearity of the perceptron and $W_1$, $W_2$ its weights,
#
# $$ h' = h + \operatorname{attention}(\operatorname{norm}(h)), \qquad h'' = h' + W_2\, \phi(W_1 \operatorname{norm}(h')) . $$ (eq-ar-block)
#
# The normalisation works within one token and so leaks nothing. (Normalising over a *batch*, or over the positions of a sequence, would.)


# %%
class Block(nn.Module):
    """Tokens h [B, T, C] -> [B, T, C]; token t depends on tokens up to t."""

    def __init__(self, C, heads, kernel=1):
        super().__init__()
        self.heads, self.kernel = heads, kernel
        self.norm_1, self.norm_2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.out = nn.Linear(kernel * C, 3 * C), nn.Linear(C, C)
        self.mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C))

    def attention(self, h):
        B, T, C = h.shape
        # the last tokens side by side, h itself last; with kernel 1 just h
        taps = [F.pad(h, (0, 0, gap, 0))[:, :T] for gap in reversed(range(self.kernel))]
        qkv = self.qkv(torch.cat(taps, 2)).view(B, T, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, T, d]
        scores = q @ k.mT / q.shape[-1] ** 0.5  # [B, heads, T, T]
        future = h.new_ones(T, T).triu(1).bool()
        alpha = scores.masked_fill(future, -math.inf).softmax(-1)
        # the heads side by side again
        return self.out((alpha @ v).transpose(1, 2).flatten(2))

    def forward(self, h):
        h = h + self.attention(self.norm_1(h))
        return h + self.mlp(self.norm_2(h))


# %%
class TransformerNet(AttentionNet):
    """Blocks in place of the single attention: bits [B, D] -> log-odds [B, D]."""

    def __init__(self, order, C, heads, layers):
        super().__init__(order, C)
        self.blocks = nn.Sequential(*(Block(C, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(C)

    def forward(self, x):
        h = self.norm(self.blocks(self.tokens(x)))
        return self.out(h)[..., 0][:, self.order.argsort()]


# %% [markdown]
# That is a whole transformer. (`kernel` in the block serves the optional stretch below.) `lvmlib`'s `CausalTransformer` has the same parts; with its weights ours gives the same log-odds, in all three orders, and passes the same tests as before. The hidden cells do this.


# %% tags=["hide-cell"]
def copy_blocks(theirs, ours):
    """Weights of a model of lvmlib with blocks, for ours."""
    ours.norm.load_state_dict(theirs.blocks.norm.state_dict())
    for mine, block in zip(ours.blocks, theirs.blocks.each()):
        pairs = [
            (mine.norm_1, block.norm_1),
            (mine.norm_2, block.norm_2),
            (mine.mlp, block.mlp),
        ]
        pairs += [
            (mine.qkv, block.attention.inputs),
            (mine.out, block.attention.output),
        ]
        for to, source in pairs:
            to.load_state_dict(source.state_dict())


# %% tags=["hide-cell"]
from lvmlib.autoregressive import CausalTransformer

for name, order in small_orders.items():
    seed_everything(0)
    theirs = CausalTransformer((9,), 16, 2, 2, order=order)
    ours = TransformerNet(order, 16, 2, 2)
    copy_blocks(theirs, ours)
    with torch.no_grad():
        ours.value.weight.copy_(theirs.value.weight.T)
        ours.value.bias.copy_(theirs.value.bias)
        ours.source.weight.copy_(theirs.source())
        ours.target.weight.copy_(theirs.target())
        ours.start.copy_(theirs.start)
        ours.out.load_state_dict(theirs.head.state_dict())
    x = all_states(9).float()
    agree = torch.allclose(ours(x), theirs.predict(x)[:, 0], atol=1e-5)
    leak = who_sees_whom(ours, 9)[order][:, order].triu().max()
    total = log_prob(ours(x), x).exp().sum()
    print(f"{name:13} agree: {agree}, leak {leak:.1f}, sum over states {total:.5f}")
    assert agree and leak == 0 and abs(total - 1) < 1e-5

# %% [markdown]
# (sec-ar-three-ways)=
# ### Three ways to process a sequence
#
# How does position $t$ learn about position $s$? We have seen three answers, and they differ in what they cost.
#
# - **Recurrence**: $h_t = f(h_{t-1}, x_{t-1})$. News from $s$ travels through $t - s$ states, one after the other, each of the same size.
# - **Convolution**: $h_t = \phi\bigl(\sum_j W_j x_{t-j}\bigr)$ over a window of $k$ values. All positions at once; what lies beyond the window is invisible, unless layers are stacked.
# - **Self-attention** ({prf:ref}`def-ar-attention`): a weighted mean over *all* of the past, with weights computed from the contents. Every pair of positions meets directly, and every pair has to be paid for.
#
# In all three the number of parameters does not depend on the length $T$ of the sequence: it is $O(1)$ in $T$. For attention, which sees everything at once, this is remarkable.
#
# :::{list-table} One layer of width $C$ on a sequence of length $T$. Work in multiply-adds; depth is the length of the longest chain of sequential products; memory while drawing is what must be kept of the past.
# :header-rows: 1
# :name: tab-ar-three-ways
#
# * -
#   - recurrence (GRU)
#   - convolution, kernel $k$
#   - self-attention
# * - parameters
#   - $6\, C^2$
#   - $k\, C^2$
#   - $4\, C^2$
# * - work of a training pass
#   - $6\, T C^2$
#   - $k\, T C^2$
#   - $4\, T C^2 + T^2 C$
# * - depth of a training pass
#   - $T$
#   - 1
#   - 4, whatever $T$
# * - reach
#   - everything, in principle
#   - $k$ positions
#   - everything
# * - layers until all is seen
#   - 1
#   - $(T - 1)/(k - 1)$; with dilation $\log_k T$
#   - 1
# * - memory while drawing
#   - $C$
#   - $(k - 1)\, C$
#   - $2\, T C$
# * - work to draw one more value
#   - $6\, C^2$
#   - $k\, C^2$
#   - $4\, C^2 + 2\, t C$
# :::
#
# The four maps of attention make queries, keys, values and the output. Its $T^2 C$ counts the pairs $s \le t$ only; code that fills the whole table of $T \times T$ pairs and then masks half of it does $2\, T^2 C$.
#
# "In principle" deserves a picture. {numref}`fig-ar-reach` asks the gradient how strongly the last output depends on each input, for one layer of each kind with random weights.

# %% tags=["hide-input"]
T, C = 128, 32
seed_everything(0)
x = torch.randn(16, T, C)
gru, conv = nn.GRU(C, C, batch_first=True), nn.Conv1d(C, C, 8)
query, key, value = (nn.Linear(C, C, bias=False) for _ in range(3))
later_ones = torch.ones(T, T).triu(1).bool()


def one_attention(x):
    scores = (query(x) @ key(x).mT / C**0.5).masked_fill(later_ones, -math.inf)
    return scores.softmax(-1) @ value(x)


layers = {
    "recurrence": lambda x: gru(x)[0],
    "convolution, kernel 8": lambda x: torch.tanh(conv(F.pad(x.mT, (7, 0)))).mT,
    "self-attention": one_attention,
}
reach = {}
for name, layer in layers.items():
    inputs = x.clone().requires_grad_()
    directions = torch.randn(16, C, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((layer(inputs)[:, -1] * directions).sum(), inputs)
    reach[name] = gradient.norm(dim=2).mean(0).flip(0)  # [T], by distance

# %% mystnb={"figure": {"caption": "How strongly the last output of one layer depends on the input a given distance back: the mean norm of the gradient, random weights, width 32. The recurrent state forgets exponentially and leaves the figure near distance 42, the window of the convolution ends, and attention reaches everything before it alike.", "name": "fig-ar-reach"}, "image": {"alt": "Gradient norm on a logarithmic axis against distance from 0 to 127. The recurrent curve falls along a straight line by many orders of magnitude, the convolution is flat and stops at distance 7, attention is flat over the whole length at a low level."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 3))
for (name, norm), style in zip(reach.items(), ("-", "o", "--")):
    seen = norm[norm > 0]
    ax.plot(range(len(seen)), seen, style, ms=4, label=name)
ax.set(
    yscale="log",
    xlabel="distance into the past",
    ylabel="norm of the gradient",
    ylim=(1e-9, 3),
)
_ = ax.legend()
plt.show()


# %% [markdown]
# The reach of a *trained* recurrent net is longer, which is what the gates are for {cite:p}`hochreiter1997`; but the net has only its last state to go by, whereas attention can look anything up. What do these differences cost in practice? {numref}`fig-ar-ways` and {numref}`fig-ar-ways-time` show measurements from `benchmarks/three_ways.py`.


# %% tags=["hide-input"]
def length_axis(ax, ticks, **labels):
    """Logarithmic axes with plain numbers at the lengths that were measured."""
    ax.set(xscale="log", yscale="log", xlabel="length", **labels)
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()


# %% mystnb={"figure": {"caption": "One layer of each kind of width 64, by length. Multiply-adds of a pass over one sequence; the longest chain of sequential products; bytes that a pass must keep of each sequence for the gradient; and how far back the last output sees at all, however faintly: the farthest input that spoils it when it is replaced by nan. (Three of the lines lie on one another: everything. How little arrives from afar in a recurrent layer is seen in {numref}`fig-ar-reach`.) Dilated: as many layers of kernel 2 as it takes to see the whole sequence.", "name": "fig-ar-ways"}, "image": {"alt": "Four panels on logarithmic axes against length. Work: attention rises with the square of the length, the others in proportion to it. Depth: recurrence rises with the length, the others stay at or below twelve. Memory: attention written out rises with the square, the others in proportion. Reach: two positions for the convolution at every length, all of them for the others."}} tags=["hide-input"]
layer_rows = benchmark("three_ways")
ways = {"recurrence": "o-", "convolution": "s-"}
ways |= {"dilated convolution": "v--", "self-attention": "^:"}
panels = {"multiply_adds": "work: multiply-adds", "depth": "depth: products in a chain"}
panels |= {"kept_bytes": "memory: bytes kept", "reach": "reach: positions back"}
ticks = sorted({row["length"] for row in layer_rows})[::2]
if layer_rows:
    fig, axes = plt.subplots(2, 2, figsize=(6, 4.8), layout="constrained", sharex=True)
    for ax, (key, title) in zip(axes.flat, panels.items()):
        for way, style in ways.items():
            mine = [row for row in layer_rows if row["way"] == way]
            label = way if key == "depth" else None
            costs = [row[key] for row in mine]
            ax.plot([row["length"] for row in mine], costs, style, ms=4, label=label)
        length_axis(ax, ticks)
        ax.set_title(title, fontsize=10)
    for ax in axes[0]:
        ax.set_xlabel("")
    fig.legend(loc="outside lower center", ncols=4, fontsize=8, columnspacing=1)
    plt.show()

# %% mystnb={"figure": {"caption": "Seconds of one training step, measured on one core in the same setting. The fused kernel computes the same attention without keeping the table of all pairs.", "name": "fig-ar-ways-time"}, "image": {"alt": "Seconds against length on logarithmic axes for five layers. The convolution is the fastest at all but the smallest lengths. The recurrence is the slowest at small lengths and grows in proportion; attention written out grows faster and overtakes it; the fused kernel stays well below that."}} tags=["hide-input"]
if layer_rows:
    fig, ax = plt.subplots(figsize=(6, 3))
    for way, style in (ways | {"fused self-attention": "^-"}).items():
        mine = [row for row in layer_rows if row["way"] == way]
        seconds = [row["train_s"] for row in mine]
        ax.plot([row["length"] for row in mine], seconds, style, ms=4, label=way)
    length_axis(ax, ticks, ylabel="seconds of a training step")
    _ = ax.legend(fontsize=8)
    plt.show()

# %% [markdown]
# At length 64 the recurrent layer and attention do the same number of multiply-adds, and still a step of the recurrent layer takes several times longer: its products are small and sequential, 64 in a row. From there on attention pays for its square. At length 1,024 it does six times the work, and, written out as in our block, keeps 18 megabytes of each sequence. The fused kernel (`scaled_dot_product_attention`, which `lvmlib` uses) computes the same numbers block by block and keeps 1.3. The dilated stack does more work than attention at short lengths, since it needs $\log_2 T$ layers to see as far, and less at long ones.
#
# (sec-ar-compared)=
# ### The models side by side
#
# The runs above cannot be compared with one another: the recurrent nets saw 7,500 images, MADE 96,000. The script `lvmlib/experiments/equal_budget.py` repeats them on equal terms. Each model sees the same 96,000 small digits, 1,500 batches of 64; each gets four learning rates to choose from, tried on a quarter of the images, the two best of them tried again on all, and held-out images decide; all are tested on the same 10,000 small digits. Where the last three quarters of the images still gained more than half a nat the table says *not converged*.

# %%
equal = record("equal_budget")


def equal_terms(names):
    """Rows of the record, with what validation gained after a quarter."""
    print(f"{'':27} parameters  rate     test nats  gain of the last three quarters")
    for name in names:
        r = equal["models"][name]
        quarter = min(r["validation_of_rates_on_a_quarter"].values())
        gain = quarter - r["validation_curve"][-1]["nll_nats"]
        score = f"{r['test_nll_nats']:5.2f} +- {r['standard_error']:.2f}"
        state = f"{gain:4.1f}{', not converged' if gain > 0.5 else ''}"
        print(f"{name:27}{r['parameters']:11,}  {r['lr']:4.2f} {score}  {state}")


equal_terms(list(equal["models"])[:9])  # the others belong to the next chapter

# %% [markdown]
# On equal terms:
#
# - The linear rule falls behind all models except the recurrent net that is not told the position. Being told is worth six nats to the recurrent net and three to WaveNet.
# - WaveNet then comes half a nat ahead of MADE with less than a twentieth of its parameters; the recurrent net stays a nat behind.
# - The transformer that goes pixel by pixel ends between MADE and the recurrent net. It gained six nats in the last three quarters, more than any other model that knows the position, so it is the furthest from convergence.
# - The transformers that work on patches of 2x2 pixels ({numref}`sec-ar-patches`) are level with WaveNet or ahead of it.
#
# None of the deep models has converged. There is one seed of each, and most models ended with the lower of the two rates that they tried in full, so a still lower one might do better. A difference of half a nat settles nothing here.
#
# At full size, 28x28 pixels and {term}`stochastic binarization`, `lvmlib/experiments/binary_mnist.py` trains them on all 60,000 images. The table reads the records of these runs. Beside them stand the figures that one open library gives for its own models of these kinds {cite:p}`hotaj2021`, which were trained for longer: the belief net for 50 passes, a MADE of 8,000 hidden units for 85, and the transformer, whose first layer is a masked convolution of 3x3 pixels, for 457. All but the belief net are also larger than ours. The list goes on, with the models of the next chapters, on the page that collects all {doc}`results <../book/results>`.

# %%
elsewhere = published("fresh")
names = {"fvsbn": "FVSBN", "made": "MADE", "rnn": "RNN", "wavenet": "WaveNet"}
names |= {"transformer": "Causal transformer", "patch_transformer": "Patch transformer"}
print(f"{'':18} parameters  passes  minutes  test nats  published")
for key, name in names.items():
    ours = ""
    if r := record(f"{key}_mnist"):
        ours = f"{r['parameters']:10,} {r['passes']:7.1f} {r['training_minutes']:8.0f}"
        ours += f" {r['test_nll_nats']:10.2f}"
    if ours or name in elsewhere:
        print(f"{name:18} {ours:38} {elsewhere.get(name, '-'):>10}")

# %% mystnb={"figure": {"caption": "Ten draws from each model of the table, in the first row ten test images for comparison. The belief net is the one trained above by hand; the others are the checkpoints of the table. All binary pictures have some ragged edges, the data included.", "name": "fig-ar-models"}, "image": {"alt": "Seven rows of ten binary digits. Data; scattered strokes from the belief net; about half legible digits from MADE; clearer ones from the RNN and WaveNet; broken strokes from the causal transformer; smooth, legible digits from the patch transformer."}} tags=["hide-input"] tolerance={"draws": ["rows 2-7"]}
rows_of_draws = {"data": test_bits[:10], "belief net": samples[:10]}
for key in ("made", "rnn", "wavenet", "transformer", "patch_transformer"):
    at_full_size = MODELS[key]()
    load_checkpoint(at_full_size, f"{key}_mnist")
    torch.manual_seed(0)
    label = names[key].removeprefix("Causal ").replace("Patch transformer", "patches")
    rows_of_draws[label] = at_full_size.sample(10)
grid = torch.cat([row.reshape(10, 1, 28, 28) for row in rows_of_draws.values()])
image_grid(grid, columns=10, row_labels=list(rows_of_draws))
plt.show()


# %% [markdown]
# WaveNet and the patch transformer are ahead of MADE by six nats after a handful of passes, with a fraction of its weights, and the recurrent net by four; {numref}`fig-ar-models` shows that the eye agrees. The causal transformer has seen less than half of the images once, since a pass takes it half an hour of one core, so its row says little. The others, too, were stopped after a fixed number of passes. (Parameters are counted as stored, those behind a mask included.) The next chapter has the models that are made for pictures.

# %% [markdown]
# (sec-ar-patches)=
# ### *Optional:* strokes and patches
#
# For pictures two variations of the transformer are worth knowing.
#
# *With convolution.* A single pixel makes a poor question: black or white. If queries and keys are made by a causal convolution over the last few tokens {cite:p}`li2019`, short strokes are compared. Here the values are made the same way. This is `kernel` in the block: the linear map reads the last `kernel` tokens, laid side by side.
#
# *Patches.* Attention costs the square of the number of tokens. Make a token out of a patch of $2 \times 2$ pixels, and there are four times fewer tokens and sixteen times fewer pairs {cite:p}`dosovitskiy2021`. The chain rule then asks for the pixels *within* the patch, given all patches before. A small MADE does that, the same for all patches, and is told the transformer's token as `ToldNet` is told a class. Token $k$ is made of patch $k - 1$ and of the place of patch $k$, row and column; the blocks turn it into a summary of all patches before; from this the MADE gets the conditionals of the four pixels of patch $k$.


# %%
class PatchNet(nn.Module):
    """Bits [B, 196] -> log-odds [B, 196], drawn patch by patch of 2 x 2 pixels."""

    def __init__(self, C, heads, layers, hidden, kernel=1):
        super().__init__()
        self.value, self.norm = nn.Linear(4, C), nn.LayerNorm(C)
        self.rows = nn.Parameter(0.1 * torch.randn(7, C))
        self.columns = nn.Parameter(0.1 * torch.randn(7, C))
        self.blocks = nn.Sequential(*(Block(C, heads, kernel) for _ in range(layers)))
        self.inner = MaskedNet(4, (hidden,), lowest=0)
        self.told = nn.Linear(C, hidden, bias=False)

    def forward(self, x):
        # 2x2 patches laid flat, as -1 and 1: [B, 49, 4]
        patches = 2 * F.unfold(x.view(-1, 1, 14, 14), 2, stride=2).mT - 1
        places = (self.rows[:, None] + self.columns).flatten(0, 1)  # [49, C]
        h = F.pad(self.value(patches[:, :-1]), (0, 0, 1, 0)) + places
        summary = self.norm(self.blocks(h))  # of the patches before, [B, 49, C]
        log_odds = self.inner(patches, self.told(summary))  # [B, 49, 4]
        return F.fold(log_odds.mT, (14, 14), 2, stride=2).flatten(1)


# %% tolerance={"rtol": 0.05}
for kernel in (1, 3):
    seed_everything(0)
    net = short_run(PatchNet(32, 2, 2, 64, kernel), 150, 1e-2, net_nll)
    name, count = (
        f"2x2 patches, kernel {kernel}",
        sum(p.numel() for p in net.parameters()),
    )
    with torch.no_grad():
        nats = net_nll(net, small_test[:1000]).mean()
    print(f"{name}: {nats:.2f} nats after 7,500 small digits, {count:,} parameters")

# %% [markdown]
# `lvmlib` calls this `PatchTransformer`; with its weights our class gives its log-odds (hidden cell).

# %% tags=["hide-cell"]
from lvmlib.autoregressive import PatchTransformer

seed_everything(0)
size = {"channels": 32, "heads": 2, "layers": 2}
theirs = PatchTransformer((1, 14, 14), patch=2, kernel=3, **size)
ours = PatchNet(32, 2, 2, 64, kernel=3)
copy_blocks(theirs, ours)
ours.rows.data, ours.columns.data = (table.data for table in theirs.place.tables)
ours.value.load_state_dict(theirs.value.state_dict())
ours.told.load_state_dict(theirs.inner.context_map.state_dict())
ours.inner.nonlinearity = F.gelu
for i, layer in enumerate((theirs.inner.layers[0], theirs.inner.output)):
    ours.inner.masks[i] = layer.mask
    ours.inner.layers[i].load_state_dict({"weight": layer.weight, "bias": layer.bias})
x = small_test[:20]
with torch.no_grad():
    agree = torch.allclose(ours(x.flatten(1)), theirs.predict(x).flatten(1), atol=1e-5)
print(f"by hand and lvmlib agree: {agree}")
assert agree

# %% [markdown]
# (sec-ar-audio)=
# ### *Optional:* sound
#
# What WaveNet was made for is sound. `load("speech")` holds words spoken by one voice, 0.625 seconds each, 8,000 samples a second, each sample one of 256 levels of the telephone's logarithmic scale. Two things change at the ends of the network: `embed` becomes a table with a vector for each of the 256 levels, and `head` gives 256 numbers for each position in place of one. They are the logits of a categorical distribution, a softmax
# in the place of the sigmoid, and everything between stays as it is. In a tenth of a second there are 800 samples, so the receptive field has to be large. The model comes as a checkpoint (script `lvmlib/experiments/speech.py`); we judge it on words that it has never heard, in bits per sample, beside general compressors and beside a table of $256 \times 256$ transition counts.

# %%
from lvmlib.experiments.speech import wavenet_speech

# uint8, [134, 5000] and [24, 5000]
speech, _, speech_test = (split.x for split in load("speech"))
voice = wavenet_speech(5000)
of_voice = load_checkpoint(voice, "wavenet_speech")
print(f"{of_voice['parameters']:,} parameters, ", end="")
print(f"{of_voice['training_minutes']:.0f} minutes on a {of_voice['hardware']}")
field = voice.receptive_field
print(f"receptive field {field} samples = {field / 8000:.3f} s")

# %% tolerance={"rtol": 0.01}
# from one sample to the next, as one number
steps_taken = 256 * speech[:, :-1].long() + speech[:, 1:].long()
pairs = steps_taken.flatten().bincount(minlength=256 * 256).view(256, 256).float()
table = (pairs + 0.05) / (pairs + 0.05).sum(1, keepdim=True)
first, second = speech_test[:, :-1].long(), speech_test[:, 1:].long()
data = speech_test.numpy().tobytes()
bits = {name: 8 * len(press(data)) / len(data) for name, press in coders.items()}
bits["order-1 table"] = -table[first, second].log2().mean().item()
with torch.no_grad():
    logits = torch.cat([voice.predict(x.float()) for x in speech_test.split(4)])
    # logits [24, 256, 5000] and samples [24, 5000] -> [24], nats
    log_p = -F.cross_entropy(logits, speech_test.long(), reduction="none").sum(1)
    agree = torch.allclose(log_p[:1], voice.log_prob(speech_test[:1]), rtol=1e-5)
bits["WaveNet"] = bits_per_dim(log_p, (5000,)).mean().item()
for name, value in bits.items():
    print(f"{name:14} {value:.3f} bits per sample")
print(f"log_prob of lvmlib is the sum of the cross-entropies: {agree}")
assert agree

# %% mystnb={"figure": {"caption": "Sound, 0.625 seconds of each. Above, a recorded word. Middle, its first half, completed by WaveNet from the dashed line on. Below, a draw from nothing.", "name": "fig-ar-audio"}, "image": {"alt": "Three waveforms on one scale. The recorded one has a short burst of periodic pulses, a quiet stretch and a longer burst. The completed one is the same up to the dashed line and goes on with pulses that grow louder and die away. The drawn one has bursts of irregular pulses with quieter stretches between them."}}
from lvmlib.data import mu_law_decode

speaker = wavenet_speech(5000)
load_checkpoint(speaker, "wavenet_speech")
speaker = speaker.double()  # so that rounding changes no draw, whatever the machine
torch.manual_seed(3)
word = speech_test[:1].double()
completed, free = speaker.complete(word, known=2500), speaker.sample(2)
sounds = {"recorded": word, "completed": completed, "drawn": free[:1]}
shared = {"sharex": True, "sharey": True, "layout": "constrained"}
fig, axes = plt.subplots(3, 1, figsize=(6, 3.3), **shared)
for ax, (name, sound) in zip(axes, sounds.items()):
    ax.plot(np.arange(5000) / 8, mu_law_decode(sound[0]), lw=0.5)
    ax.set_ylabel(name, fontsize=10)
    ax.set(yticks=[])
axes[1].axvline(2500 / 8, color=red, linestyle="--")
axes[2].set_xlabel("milliseconds")
plt.show()
kept = torch.equal(completed[:, :2500], word[:, :2500])
print(f"the completed one begins with the recording: {kept}")
with torch.no_grad():
    for name, sound in sounds.items():
        cost_bits = bits_per_dim(speaker.log_prob(sound), (5000,)).item()
        print(f"{name:9} {cost_bits:.2f} bits per sample under the model")

# %% [markdown]
# Here they are to listen to, with a second draw. The recording says *sixteenth*; its first half ends in the middle of the word, about where the second vowel begins, and WaveNet goes on with voiced sounds that make no word. The two draws are voiced sounds of changing strength, with quieter stretches between them.

# %% tags=["hide-input"]
import base64
import io
import wave as wav

from IPython.display import HTML


def player(name, codes):
    """A button that plays codes [5000] at 8,000 samples a second, as HTML."""
    file = io.BytesIO()
    with wav.open(file, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))  # one channel, two bytes a sample
        samples = (32767 * mu_law_decode(codes)).round().to(torch.int16)
        out.writeframes(samples.numpy().tobytes())
    data = base64.b64encode(file.getvalue()).decode()
    source = f'aria-label="{name}" src="data:audio/wav;base64,{data}"'
    return f"<p>{name}<br><audio controls {source}></audio></p>"


# %% tags=["hide-input"]
told_apart = {
    "recorded: a word": word[0],
    "completed: its first half, then WaveNet": completed[0],
    "drawn by WaveNet": free[0],
    "drawn by WaveNet, a second time": free[1],
}
HTML("".join(player(name, codes) for name, codes in told_apart.items()))


# %% [markdown]
# A table of which sample follows which does no better than xz. WaveNet, which looks back an eighth of a second, saves more than a bit per sample, on words that it has never heard. Its draws have the pulses of a voice and its pauses; they say nothing. (Seed 3 was chosen among three: the draws of the others have long stretches of near silence, and clicks.) An eighth of a second is shorter than most syllables, and the training was short as well.

# %% [markdown]
# ### Exercises of Part 2
#
# :::{exercise} ★★ Attention at one position
# :label: ex-ar-attend
# Fill the gap: the answer that position $t$ gets by {eq}`eq-ar-attention`, with no mask and no $-\infty$. What would your function need from the past if it were called for $t = 1, 2, 3, \dots$ in turn?
# :::


# %%
def attend_at(t, q, k, v):
    """Answer [B, d] to the query of position t; q, k, v are [B, T, d]."""
    return ...  # your code


random = torch.Generator().manual_seed(0)
q_k_v = [torch.randn(2, 7, 4, generator=random) for _ in range(3)]
if attend_at(0, *q_k_v) is not ...:  # a test of your code
    fused = F.scaled_dot_product_attention(*q_k_v, is_causal=True)  # [2, 7, 4]
    answers = torch.stack([attend_at(t, *q_k_v) for t in range(7)], 1)
    assert torch.allclose(answers, fused, atol=1e-5)
    print("right")


# %% [markdown]
# :::{solution} ex-ar-attend
# :class: dropdown
# See the hidden cell: compare one query with the keys up to $t$, normalise, average the values. The mask was needed only to do this for all positions at once. Of the past it needs all keys and all values, and of the queries only the newest: this is the *KV cache* of {numref}`sec-ar-caching`.
# :::


# %% tags=["hide-cell"]
def attend_at_solved(t, q, k, v):
    scores = (k[:, : t + 1] @ q[:, t, :, None])[..., 0]  # [B, t + 1]
    alpha = (scores / q.shape[-1] ** 0.5).softmax(1)
    return (alpha[:, None] @ v[:, : t + 1])[:, 0]


solved = torch.stack([attend_at_solved(t, *q_k_v) for t in range(7)], 1)
fused = F.scaled_dot_product_attention(*q_k_v, is_causal=True)
print(f"as by the fused kernel: {torch.allclose(solved, fused, atol=1e-5)}")
assert torch.allclose(solved, fused, atol=1e-5)


# %% [markdown]
# :::{exercise} ★ Kernel 2 or 3?
# :label: ex-ar-dilation
# You want a receptive field of at least 8,000 samples with kernels of size 2 and 3. How many layers do you need with dilations $1, k, k^2, \dots$, and how many weights per pair of channels? And with dilation 1 throughout?
# :::
#
# :::{solution} ex-ar-dilation
# :class: dropdown
# With $d_l = k^{l-1}$ {eq}`eq-ar-receptive-field` gives $R = 1 + (k - 1)\frac{k^L - 1}{k - 1} = k^L$. Kernel 2: $2^{13} = 8192$, 13 layers, 26 weights. Kernel 3: $3^9 = 19683$ (and $3^8 = 6561$ is too short), 9 layers, 27 weights. Without dilation $R = 1 + (k - 1) L$: 7,999 layers or 4,000.
# :::
#
# :::{exercise} ★★ A normalisation that leaks
# :label: ex-ar-norm
# Insert into `WaveNetFromScratch` a normalisation of $h$ over the *positions* of each sequence, `h = (h - h.mean(2, keepdim=True)) / (h.std(2, keepdim=True) + 1e-5)`, after the shift. What do the Jacobian and the sum over all states of 10 bits say, for 8 channels and dilations 1, 2, 4, 8? And a normalisation over the channels?
# :::
#
# :::{solution} ex-ar-norm
# :class: dropdown
# The mean over positions contains the future: the Jacobian has entries on and above the diagonal, and the sum is not 1. With random weights of seed 0 it is 1.001, which is easily overlooked; the entries of the Jacobian, up to 0.1, are not. Over the channels of one position nothing leaks, and the sum is 1. (Batch normalisation in training mode leaks in the same way, from the other examples, too: the likelihood of an example then depends on its neighbours in the batch, though at test time, with frozen statistics, the
# model is sound.)
# :::

# %% [markdown]
# (sec-ar-draw)=
# ## Part 3. Draw: what does caching save, and what not?
#
# (sec-ar-caching)=
# ### Drawing is slow, and need not be
#
# All these models compute their likelihood in one pass and draw in $D$ steps, because pixel $t$ has to be known before pixel $t + 1$ can be predicted. The obvious way is to run the whole network at each step and read off *one* of its $D$ outputs. That is $D$ passes, and nearly all of their work was done the step before. What can be kept follows from the masks: a unit that does not see pixel $t$ does not change when pixel $t$ is drawn.
#
# - **Belief net**: a running sum of log-odds; each new bit adds its column of $W$.
# - **Recurrent net**: the state $h_t$, all that the net knows of the past.
# - **MADE**: at step $t$ the hidden units of degree up to $t$. Sorted by degree, those that become computable at one step lie side by side.
# - **WaveNet**: the last $d$ inputs of each layer of dilation $d$, in a ring: write the new one over the oldest.
# - **Attention**: keys and values of all tokens so far, the **KV cache** of language models.
#
# Each becomes a closure, a function with a memory of its own: `step(t, x)` returns the log-odds of pixel $t$, as `draw` expects, and remembers what it computed. Three of them follow here, those of MADE and WaveNet in the hidden cells.


# %%
def fvsbn_steps(W, b, n):
    log_odds = b.repeat(n, 1)  # running sums [n, D]

    def step(t, x):
        if t:
            log_odds[:, t:] += x[:, t - 1, None] @ W[None, t:, t - 1]
        return log_odds[:, t]

    return step


def rnn_steps(net, n):
    state = [torch.zeros(n, net.gru.hidden_size).double()]

    def step(t, x):
        last = 2 * x[:, t - 1, None] - 1 if t else torch.zeros(n, 1).double()
        state[0] = gru_step(last, state[0], *net.gru.all_weights[0])
        return net.out(state[0])[:, 0]

    return step


# %%
def attention_steps(net, n):
    channels, order = len(net.start), net.order.tolist()
    keys, values = (torch.zeros(n, len(order), channels).double() for _ in range(2))

    def step(t, x):
        last = order[t - 1]
        drawn = net.start
        if t:
            drawn = net.value(2 * x[:, last, None] - 1) + net.source.weight[last]
        h = (drawn + net.target.weight[order[t]]).expand(n, -1)
        keys[:, t], values[:, t] = net.k(h), net.v(h)
        scores = (keys[:, : t + 1] @ net.q(h)[..., None])[..., 0]  # [n, t + 1]
        alpha = (scores / channels**0.5).softmax(1)
        answer = (alpha[:, None] @ values[:, : t + 1])[:, 0]
        return net.out((h + answer).relu())[:, 0]

    return step


# %% tags=["hide-cell"]
def made_steps(net, n):
    sort = [d.argsort() for d in net.degrees]  # units by degree; inputs first
    layers = list(net.layers)
    W = [m.weight[to][:, of] for m, of, to in zip(layers, sort, [*sort[1:], sort[0]])]
    b = [m.bias[to] for m, to in zip(layers, [*sort[1:], sort[0]])]
    D = len(sort[0])
    # how many units of each layer have degree up to t
    upto = [[int((d <= t).sum()) for t in range(D + 1)] for d in net.degrees]
    h = [torch.zeros(n, len(d)).double() for d in net.degrees]

    def step(t, x):
        if t:
            h[0][:, t - 1] = x[:, sort[0][t - 1]]
        # the units of degree t, from those of degree up to t in the layer below
        for i in range(1, len(h)):
            new = slice(upto[i][t - 1] if t else 0, upto[i][t])
            below = slice(upto[i - 1][t])
            sums = F.linear(h[i - 1][:, below], W[i - 1][new, below], b[i - 1][new])
            h[i][:, new] = sums.relu()
        below = slice(upto[-1][t])
        row = slice(t, t + 1)
        return F.linear(h[-1][:, below], W[-1][row, below], b[-1][row])[:, 0]

    return step


# %% tags=["hide-cell"]
def wavenet_steps(net, n):
    channels = net.head.in_channels
    rings = [torch.zeros(block.dilation, n, channels).double() for block in net.blocks]
    # a convolution of one tap is a matrix product
    linear = lambda conv, x: F.linear(x, conv.weight[..., 0], conv.bias)

    def step(t, x):
        h, total = torch.zeros(n, channels).double(), 0
        if t:
            h = linear(net.embed, 2 * x[:, t - 1, None] - 1)
        for block, ring in zip(net.blocks, rings):
            slot = t % block.dilation
            taps = torch.cat([ring[slot], h], 1)  # what came in d steps ago, and now
            ring[slot] = h
            weight = block.both.weight.mT.flatten(1)  # both taps side by side
            filtered, gate = F.linear(taps, weight, block.both.bias).chunk(2, 1)
            z = filtered.tanh() * gate.sigmoid()
            h, total = h + linear(block.residual, z), total + linear(block.skip, z)
        return linear(net.head, total.relu())[:, 0]

    return step


# %% [markdown]
# For MADE the saving can be stated exactly.
#
# :::{prf:proposition} MADE draws with the arithmetic of one pass
# :label: thm-ar-made-cost
# Let a MADE with type B masks in its hidden layers and type A in the last have hidden degrees between 0 and $D - 1$. Computing each hidden unit once, at the step at which its degree is reached, and each output once, all $D$ steps together take as many multiply-adds as the masks have ones: no more than a single dense
# pass through the network, and for evenly spread degrees about half of it. Running the network anew for each position takes $D$ dense passes.
# :::
#
# :::{prf:proof}
# At step $t$ (counted from 0) the inputs of degrees $1, \dots, t$ are known. A hidden unit of degree $m \le t$ depends on units of degree at most $m$, so all units of degree up to $t$ can be computed, and those of smaller degree have been. Output $t + 1$ needs units of degree less than $t + 1$: all known. Sorted by degree, the units of degree $t$ are a slice, and what they may see
# in the layer below is an initial slice, whose length is the number of ones in their rows of the mask. So each one of each mask is used exactly once. If the degrees of two layers are spread evenly, like independent uniform numbers, then $b \ge a$ holds for about half of the pairs.
# :::
#
# The arithmetic is that of one pass; the *latency* is not. There are still $D$ sequential steps, each now a few products of a few rows, and a machine that is good at large products and slow to start small ones still has to start $D$ times.
#
# **Predict, then run.** The same seed must give the same pictures, and `torch` itself counts the multiply-adds. For 64 pixels, running the network anew takes 64 passes. By which factor does the cache reduce the work of WaveNet, and by which that of MADE, whose masks hide half of its weights?

# %%
length, n = 64, 4
order = torch.randperm(length, generator=torch.Generator().manual_seed(0))
seed_everything(0)
W_64, b_64 = torch.randn(length, length).double(), torch.randn(length).double()
rnn, masked = RecurrentNet(16).double(), MaskedNet(length, (100, 100)).double()
wave = WaveNetFromScratch(8, [1, 2, 4, 8, 16]).double()
attentive = AttentionNet(order, 16).double()
line = range(length)
one_pass = {  # the whole network, and its step-by-step version
    "belief net": (
        lambda x: fully_visible(x, W_64, b_64),
        lambda: fvsbn_steps(W_64, b_64, n),
        line,
    ),
    "recurrent net": (rnn, lambda: rnn_steps(rnn, n), line),
    "MADE": (masked, lambda: made_steps(masked, n), line),
    "WaveNet": (wave, lambda: wavenet_steps(wave, n), line),
    "attention": (attentive, lambda: attention_steps(attentive, n), order.tolist()),
}


# %%
def anew(net, o):
    """The step that runs the whole network and reads off one output."""
    return lambda t, x: net(x)[:, o[t]]


def counted(step, o):
    """Draws in the order o, and multiply-adds per example."""
    x = torch.zeros(n, length).double()
    random = torch.Generator().manual_seed(0)
    u = torch.rand(length, n, generator=random, dtype=torch.float64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for t, position in enumerate(o):
            x[:, position] = (u[t] < torch.sigmoid(step(t, x))).double()
    return x, counter.get_total_flops() // (2 * n)


# %% tags=["check:thm-ar-made-cost"]
ones = sum(int(mask.sum()) for mask in masked.masks)
for name, (net, steps, o) in one_pass.items():
    naive, work = counted(anew(net, o), o)
    cached, less = counted(steps(), o)
    same = torch.equal(naive, cached)
    saving = f"{work:10,} and {less:7,}: 1/{work / less:.0f}"
    print(f"{name:14} same pictures: {same}; multiply-adds {saving}")
    assert same
    assert name != "MADE" or less == ones
dense = 64 * 100 + 100 * 100 + 100 * 64
print(f"ones in MADE's masks: {ones:,}; a dense pass: {dense:,}")

# %% [markdown]
# :::{dropdown} What to expect
# WaveNet's work falls by the length, 64: each step costs what one position of a pass costs. MADE and the belief net gain twice as much, and attention half as much again, because the whole network also multiplies what the masks hide, and the cached version never touches that.
# :::
#
# The pictures are the same to the last bit: nothing was approximated. In `lvmlib` every model has this built in: `sample(n, cache=True)` is the default, and `cache=False` switches it off. {numref}`fig-ar-speed` shows what it is worth, as measured by the scripts in `benchmarks/`.

# %%
model = MADE((1, 14, 14), hidden=(100, 100)).double()
torch.manual_seed(0)
fast = model.sample(8)
torch.manual_seed(0)
slow = model.sample(8, cache=False)
print(f"same samples from the same seed: {torch.equal(fast, slow)}")
assert torch.equal(fast, slow)

# %% mystnb={"figure": {"caption": "Speed-up against length, measured on one core: binary pictures of growing side, 16 drawn together from FVSBN and MADE, 4 from the others. Above, on one scale, seconds with the whole network run anew for each value and with the cache. Below, the ratio of the two; the dotted line grows in proportion to the length.", "name": "fig-ar-speed"}, "image": {"alt": "Three panels on logarithmic axes against lengths from 64 to 784, with a line for each of five models. Above left, seconds with the network run anew; above right, seconds with the cache, far lower and rising less steeply. Below, the ratios: all rise with the length, none much more steeply than the dotted line, that of the RNN the highest."}} tags=["hide-input"]
rows = benchmark("speedup")
models = {"FVSBN": "o", "MADE": "s", "RNN": "v"}
models |= {"WaveNet": "^", "CausalTransformer": "D"}
if rows:
    fig, axes = plt.subplots(2, 2, figsize=(6, 5.4), sharex=True)
    (without, cached), (key, ratio) = axes
    cached.sharey(without)  # one scale of seconds
    for (name, marker), colour in zip(models.items(), COLOURS.values()):
        mine = [row for row in rows if row["model"] == name]
        keys = ("length", "cached_s", "uncached_s")
        lengths, cached_s, anew_s = (np.array([row[k] for row in mine]) for k in keys)
        style = {"marker": marker, "ms": 4, "lw": 1.2, "color": colour}
        without.plot(lengths, anew_s, label=name.replace("Causal", ""), **style)
        cached.plot(lengths, cached_s, **style)
        ratio.plot(lengths, anew_s / cached_s, **style)
    ratio.plot(lengths, lengths / lengths[0] * 3, ":", color=COLOURS["black"], lw=1.2)
    length_axis(without, lengths, title="network anew", ylabel="seconds")
    length_axis(cached, lengths, title="with the cache")
    length_axis(ratio, lengths, title="times faster")
    for ax in (without, cached):
        ax.set_xlabel("")
        ax.tick_params(labelbottom=True)
    key.axis("off")
    key.legend(*without.get_legend_handles_labels(), loc="center")
    plt.show()

# %% mystnb={"figure": {"caption": "What the next value costs with the cache, in microseconds for 16 pictures of 784 pixels, by how many values came before it: constant for all but the transformer, by design. There the products with all earlier keys and values grow, beside linear maps that do not.", "name": "fig-ar-cost"}, "image": {"alt": "Microseconds against position from 0 to 784, on a logarithmic axis. Four flat lines, one above the other: FVSBN, MADE, RNN and WaveNet. Above them the line of the transformer, which rises."}} tags=["hide-input"]
rows = [row for row in benchmark("cost_per_position") if row["model"] in models]
if rows:
    fig, ax = plt.subplots(figsize=(6, 3))
    for row, colour in zip(rows, COLOURS.values()):
        # one point for each line of the picture
        each = np.array(row["cached_us"]).reshape(28, 28).mean(1)
        name = row["model"]
        style = {"marker": models[name], "ms": 3, "lw": 1.2, "color": colour}
        ax.plot(range(14, 784, 28), each, **style)
        ax.text(800, each[-1], name.replace("Causal", ""), va="center", fontsize=9)
    ax.set(yscale="log", xlabel="position", ylabel="microseconds", xlim=(-10, 960))
    plt.show()

# %% [markdown]
# The gain grows with the length. What a cache does *not* save is the number of steps. $D$ of them remain, one after another, and arithmetic no longer dominates them: MADE's take some tens of microseconds, most of which go into starting a handful of products at all. A model with more layers starts more products, and a transformer, with a dozen in each layer, the most; its steps also grow with $t$, as {numref}`fig-ar-cost` shows, and so does the memory of its cache.
#
# :::{list-table} What a cache saves when $D$ values are drawn, and what not.
# :header-rows: 1
# :name: tab-ar-caching
#
# * -
#   - the network anew
#   - with a cache
# * - arithmetic
#   - $D$ passes
#   - no more than one pass
# * - sequential steps
#   - $D$
#   - $D$: not saved
# * - kept in memory between steps
#   - nothing
#   - the running sum, the state, the windows or the hidden units; for attention the keys and values of all tokens so far
# * - what is drawn
#   - draws from the model
#   - the same, to the last bit
# :::
#
# The same cache serves to *complete* a picture or a text: the known values are read in like drawn ones. Our `draw` can do it already, with `known`; in `lvmlib` it is `complete(x, known=m)`, or `sample(n, prefix=...)`.

# %%
random = torch.Generator().manual_seed(0)
known = torch.randint(2, (4, 40), generator=random).double()
with torch.no_grad():
    short = draw(wavenet_steps(wave, 4), 4, 64, known=known)
    long = draw(anew(wave, range(64)), 4, 64, known=known)
alike, begins = torch.equal(short, long), torch.equal(short[:, :40], known)
print(f"completed alike: {alike}, begins as it should: {begins}")
assert alike and begins


# %% [markdown]
# (sec-ar-groups)=
# ### *Optional:* fewer steps, by drawing groups of pixels at once
#
# Caching makes the steps short; it does not make them fewer. For that one must draw several pixels in one step, independently of each other *given all groups before*. For MADE this is a matter of degrees: give all pixels of a group the same degree. With $G$ groups there are $G$ steps; $G = D$ is the chain rule and $G = 1$ is a bag of independent coins.
#
# What does it cost? The chain rule of entropy ({doc}`chapter 1 <01_information_theory>`) says: for each group $g$ the difference $\sum_{i \in g} H(x_i \mid \text{earlier groups}) - H(x_g \mid \text{earlier groups})$, which for a group of two is their mutual information given the earlier groups. So it matters *which* pixels go together. Neighbours know most about each other; pixels far apart, with known pixels in between, next to nothing. We try two
# patterns: runs of consecutive pixels, and pixels scattered at random.


# %%
class GroupedNet(MaskedNet):
    """Bits [B, D] -> log-odds; pixels of group g see groups 0 ... g - 1 only."""

    def __init__(self, groups, hidden):
        super().__init__(len(groups), hidden)
        place = groups + 1  # degrees 1 ... G
        G = int(place.max())
        degrees = [place, *(torch.randint(1, max(G, 2), (width,)) for width in hidden)]
        type_b = [b[:, None] >= a for a, b in zip(degrees, degrees[1:])]
        self.masks = [mask.float() for mask in (*type_b, place[:, None] > degrees[-1])]


scattered = torch.randperm(196, generator=torch.Generator().manual_seed(0))
patterns = {"consecutive": torch.arange(196), "scattered": scattered}


# %%
def grouped_run(order, G, steps=400 * SCALE):
    """Test NLL of a net for G groups in this order, trained for some seconds."""
    groups = torch.empty(196, dtype=torch.long)
    groups[order] = torch.arange(196) * G // 196
    seed_everything(0)
    net = GroupedNet(groups, (400,))
    ink = small.flatten(1).mean(0).clamp(1e-4, 1 - 1e-4)
    net.layers[-1].bias.data = ink.logit()  # what one step can know
    how = {"lr": cosine(1e-2, steps), "device": DEVICE, "progress": False}
    fit(net, small, net_nll, steps=steps, batch_size=100, **how)
    with torch.no_grad():
        return net_nll(net, small_test).mean().item(), groups


counts_of_groups = (1, 4, 14, 49, 196)
speed = {}
for name, pattern in patterns.items():
    speed[name] = {G: grouped_run(pattern, G) for G in counts_of_groups}
print(f"{'steps':12}" + "".join(f"{G:7}" for G in speed["scattered"]))
for name, values in speed.items():
    row = "".join(f"{value:7.1f}" for value, _ in values.values())
    print(f"{name:12}{row}  nats")

# %% mystnb={"figure": {"caption": "Speed against likelihood: small digits drawn in $G$ steps, $196/G$ pixels at a time. On the right of each curve all pixels are drawn one by one, on the left all at once. The two pictures show the first of 14 groups in each pattern, dark.", "name": "fig-ar-groups"}, "image": {"alt": "Negative log-likelihood against the number of steps on a logarithmic axis. Both curves begin at 49 nats for one step and fall; the scattered one falls much earlier than the consecutive one. Beside them, two pictures of 14 by 14 pixels: the first row dark, and 14 scattered pixels dark."}} tags=["hide-input", "photo"] tolerance={"rtol": 0.03}
fig, axes = plt.subplot_mosaic(
    [["curves", "consecutive"], ["curves", "scattered"]],
    figsize=(6.4, 3.6),
    width_ratios=(2.4, 1),
)
ax = axes["curves"]
for (name, values), marker in zip(speed.items(), "os"):
    nats = [value for value, _ in values.values()]
    ax.plot(list(values), nats, marker=marker, label=name)
    first_group = (values[14][1].view(14, 14) == 0).float()
    # paper in light grey, so that the picture has an edge
    axes[name].imshow(first_group, cmap="gray_r", vmin=-0.15, vmax=1.2)
    axes[name].set_title(name, fontsize=10)
    axes[name].axis("off")
ax.set(
    xscale="log",
    xlabel="steps to draw a digit, $G$",
    ylabel="nats per small test digit",
)
ax.set_xticks([1, 4, 14, 49, 196], ["1", "4", "14", "49", "196"])
ax.minorticks_off()
_ = ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# Scattered in 14 groups, digits take 14 steps instead of 196 and lose less than half a nat; even 4 steps lose less than 3, where independent pixels lose 19. Consecutive pixels, which know most about each other, lose more at 4, 14 and 49 steps.
#
# Scattered pixels are ahead even at 196 steps, where nothing is drawn together. Is it the short training? `lvmlib/experiments/drawing_orders.py` has trained a MADE of 800 units ten times as long, line by line and in random orders, with several seeds.

# %%
orders_record = record("drawing_orders")
print(f"{orders_record['hidden']} units, {orders_record['steps']:,} steps; ", end="")
print("test nats, a column for each seed")
for name, values in orders_record["test_nll_nats"].items():
    row = "".join(f"{value:7.2f}" for value in values)
    print(f"{name:13}{row}   mean {np.mean(values):.2f}")


# %% [markdown]
# It is not. Line by line stays a third of a nat behind, three times as much as runs of one kind differ among themselves: for this network random orders are the easier ones. One explanation, which we have not tested: in a random order most pixels are asked for when others on all sides of them are known, and filling in takes a simpler function than reading on.
#
# So $D$ steps are not a law of nature. {cite:t}`reed2017` draw pictures in groups, from coarse to fine, in a number of steps that grows with the logarithm of the number of pixels; `lvmlib.autoregressive.MultiScale` does the same with convolutions.

# %% [markdown]
# ### Exercises of Part 3
#
# :::{exercise} ★★ A window and its cache
# :label: ex-ar-window
# Let the log-odds of bit $t$ be $b + \sum_{j=1}^{k} w_j x_{t-j}$, with zeros before the first bit. Fill the gap: a function `step(t, x)` for `draw`, which gets $x$ of shape [n, D], filled in before $t$, and returns the log-odds [n] of bit $t$. It keeps the last $k$ bits and *never looks at the rest of* `x`. What does a step cost, and what does the cache save compared with running the network anew?
# :::


# %%
def window_steps(w, b, n):
    """A step for n examples; w [k] holds the weight of the newest bit first."""
    return ...  # your code


def window_anew(w, b):
    """The step that runs the whole network, a causal convolution after a shift."""

    def step(t, x):
        shifted = F.pad(x[:, None], (1, 0))[..., :-1]
        return causal_conv(shifted, w.flip(0)[None, None], b[None], 1)[:, 0, t]

    return step


w_window = torch.tensor([3.0, -2.0, 1.0, -1.0, 2.0]).double()
b_window = torch.tensor(-1.0).double()
if window_steps(w_window, b_window, 4) is not ...:  # a test of your code
    mine = draw(window_steps(w_window, b_window, 4), 4, 64)
    assert torch.equal(mine, draw(window_anew(w_window, b_window), 4, 64))
    print("right")


# %% [markdown]
# :::{solution} ex-ar-window
# :class: dropdown
# See the hidden cell. Only `x[:, t - 1]` is read, the bit drawn last. A step costs $k$ multiply-adds whatever $t$, so $D$ steps cost $kD$, as one pass does, where running the network anew costs $k D^2$. Both draw in $D$ steps, one after the other.
# :::


# %% tags=["hide-cell"]
def window_steps_solved(w, b, n):
    last = torch.zeros(n, len(w)).double()  # the last k bits, the newest first

    def step(t, x):
        nonlocal last
        if t:
            last = torch.cat([x[:, t - 1 : t], last[:, :-1]], 1)
        return last @ w + b

    return step


same = torch.equal(
    draw(window_steps_solved(w_window, b_window, 4), 4, 64),
    draw(window_anew(w_window, b_window), 4, 64),
)
print(f"same bits as with the whole network: {same}")
assert same

# %% [markdown]
# :::{exercise} ★★ Low temperature
# :label: ex-ar-temperature
# `sample(temperature=T)` divides the logits of each *conditional* by $T$. Show by an example of two bits that this is not the same as drawing from $p(x)^{1/T}$, normalised over all $x$. Name models for which it is the same.
# :::
#
# :::{solution} ex-ar-temperature
# :class: dropdown
# Let $p(x_1 = 1) = \frac12$; after a 0 the second bit is a fair coin, after a 1 it is certainly 1. As $T \to 0$, $p^{1/T}$ puts everything on the most probable pair, $(1, 1)$ with probability $\frac12$. Drawing with low temperature leaves the first bit a fair coin. The sequential version does not look ahead: it normalises each conditional by itself, and the
# normaliser $\sum_v p(v \mid x_{<t})^{1/T}$ depends on the prefix. Where it does not, as for independent positions, the two agree.
# :::

# %% [markdown]
# (sec-ar-use)=
# ## Part 4. *Optional.* Use: what is an exact likelihood good for?
#
# Five uses, each of which can be read by itself: to tell learning from memorising, to look for anomalies, to compress images into files, to describe images by gradients, and to model text. Each comes with the case in which it fails.
#
# (sec-ar-memory)=
# ### Has it learned, or learned by heart?
#
# A model that stores its training images and draws one of them makes perfect pictures. Two tests are in common use. The likelihood on *new* images is the reliable one: whoever memorises pays for it there. The other is to look: put next to each sample the training image that is most like it
# ({numref}`fig-ar-neighbours`). We ask the MADE of the table above, trained on all 60,000 images. (It has two hidden layers of 512 units and beside them the direct connections of the belief net, themselves of type A.)

# %%
digits = MODELS["made"]()  # 28x28
of_digits = load_checkpoint(digits, "made_mnist")
print(
    f"MADE on MNIST: {of_digits['train_nll_nats']:.2f} nats on training images, ",
    end="",
)
print(f"{of_digits['test_nll_nats']:.2f} on test images")

torch.manual_seed(0)
hundred = digits.sample(100)
# all that it was trained on, [60000, 1, 28, 28]
stored = (load("mnist", valid=0)[0].x > 127).float()


def nearest(x, k=1):
    """Of the k nearest training images: how many pixels differ, and which they are."""
    x, s = x.flatten(1), stored.flatten(1)
    # of bits: ones in one of the two and not in both
    distance = x.sum(1)[:, None] + s.sum(1) - 2 * x @ s.T
    return distance.topk(k, largest=False)


# %% mystnb={"figure": {"caption": "Draws from MADE (checkpoint) and under each the two training images that differ from it in the fewest pixels. None is a copy.", "name": "fig-ar-neighbours"}, "image": {"alt": "Three rows of ten binary digits: draws above, and below similar but not equal training digits."}} tags=["hide-input"] tolerance={"draws": ["rows 1-3"], "rtol": 0.2}
distance, closest = nearest(hundred, 2)
shown = torch.stack([hundred, stored[closest[:, 0]], stored[closest[:, 1]]])[:, :10]
image_grid(shown.flatten(0, 1), columns=10, row_labels=["drawn", "nearest", "2nd"])
plt.show()
images = test_bits[:1000].view(-1, 1, 28, 28)
with torch.no_grad():
    beside_data(hundred, digits.log_prob(hundred), images, digits.log_prob(images))
away = [(shown[0] != row).flatten(1).sum(1).float().mean() for row in shown[1:]]
to_new = nearest(test_bits[:200])[0].mean()
print("pixels that differ: in the figure ", end="")
print(f"{away[0]:.1f} from the nearest and {away[1]:.1f} from the second;")
print(f"100 draws from the nearest {distance[:, 0].mean():.1f}, ", end="")
print(f"binarized test digits {to_new:.1f}")

# %% [markdown]
# :::{admonition} Watch out: "the nearest training image is far, so nothing was copied"
# :class: pitfall
# Pixel distance is a poor witness. Take training images and shift them by two pixels: plain copies. The nearest training image differs from such a copy in more pixels than the nearest training image differs from a genuinely new digit, and is almost never the original. The next cell has the numbers. A model
# that memorised, and shifted, would pass the test with distinction.
# :::

# %%
originals = torch.arange(200)
copies = stored[originals].roll((0, 2), dims=(2, 3))
new = (test.x[:200] > 127).float()
to_new, to_copies = nearest(new), nearest(copies)
shifts = (-3, -2, -1, 0)
aligned = [nearest(copies.roll(shift, dims=3)).values[:, 0] for shift in shifts]
aligned = torch.stack(aligned).amin(0)
to_original = (copies != stored[originals]).flatten(1).sum(1)
found = (to_original == to_copies.values[:, 0]).float().mean()
print(f"new digits:               {to_new.values.mean():4.1f} ", end="")
print("pixels from the nearest training image")
print(f"copies shifted by two:    {to_copies.values.mean():4.1f} pixels")
print(f"  none is nearer than the original for {found:.1%} of the copies")
print(f"copies, best of 4 shifts: {aligned.mean():4.1f} pixels")

# %% [markdown]
# Knowing the trick one can undo it, by searching over shifts as well; but not every transformation can be searched over. The likelihoods above are the better evidence: a model that knew its training images by heart would be far better on them than on new ones, and ours is better by one nat.
#
# (sec-ar-anomaly)=
# ### Is a strange picture an improbable one?
#
# An exact $\log p(x)$ invites a use: what is improbable under the model must be an anomaly. Train MADE on eight of the ten digits and ask it to find the other two, and a number of stranger things. For each kind we report how often a strange image has the lower likelihood of a pair (the area under the ROC curve): 1 is a perfect alarm, 0.5 is useless, and 0 a
# perfect alarm with the wires crossed.
#
# **Predict, then run.** There are eight kinds: coins with the digits' share of ink, a checkerboard, inverted digits, digits mirrored top to bottom, digits shifted by three pixels, the unseen digits 8 and 1, and a blank picture. Which will the alarm miss?

# %%
familiar = (train.y != 1) & (train.y != 8)
seed_everything(0)
guard = MADE((1, 14, 14), hidden=(600,), degrees="random")
how = {"lr": cosine(1e-2, 800 * SCALE), "device": DEVICE, "progress": False}
fit(guard, small[familiar], steps=800 * SCALE, batch_size=100, **how)

normal = small_test[(test.y != 1) & (test.y != 8)][:1000]
random = torch.Generator().manual_seed(0)
coins = torch.rand(500, 1, 14, 14, generator=random)
checks = (torch.arange(14)[:, None] + torch.arange(14)) % 2
kinds = {
    "coins, as many dark": (coins < normal.mean()).float(),
    "checkerboard": checks.float().expand(1, 1, 14, 14),
    "inverted digits": 1 - normal[:500],
    "top and bottom mirrored": normal[:500].flip(2),
    "shifted by 3": normal[:500].roll(3, dims=3),
    "digit 8, never seen": small_test[test.y == 8][:500],
    "digit 1, never seen": small_test[test.y == 1][:500],
    "blank": torch.zeros(1, 1, 14, 14),
}

# %% tolerance={"atol": 0.03, "rtol": 0.05}
with torch.no_grad():
    usual = guard.log_prob(normal)
    strange = {name: guard.log_prob(x) for name, x in kinds.items()}
print(f"known digits: log p = {usual.mean():.1f}, standard deviation {usual.std():.1f}")
alarm, typical = {}, {}
for name, log_p in strange.items():
    truth = [0] * len(usual) + [1] * len(log_p)
    both = torch.cat([usual, log_p])
    alarm[name] = roc_auc_score(truth, -both)
    typical[name] = roc_auc_score(truth, (both - usual.mean()).abs())
    alarms = f"alarm by low p {alarm[name]:.2f}, by unusual p {typical[name]:.2f}"
    print(f"{name:23} log p = {log_p.mean():7.1f}; {alarms}")

# %% mystnb={"figure": {"caption": "Log-likelihoods under a model of eight digits. A 1, which it has never seen, is on average more probable than the digits it was trained on, and a blank picture more probable than all of them.", "name": "fig-ar-anomaly"}, "image": {"alt": "Histograms of log p. Known digits are centred near minus 30; the digit 8 overlaps them from the left and the digit 1 from the right; a vertical line for a blank picture stands further right, near minus 12."}} tags=["hide-input"] tolerance={"figure": 0.35, "rtol": 0.1}
fig, ax = plt.subplots(figsize=(6, 3))
bins = np.linspace(-80, 0, 60)
shown = {"known digits": usual}
shown |= {f"digit {c}, never seen": strange[f"digit {c}, never seen"] for c in (8, 1)}
for (name, log_p), style in zip(shown.items(), ("-", "--", ":")):
    look = {"histtype": "step", "lw": 1.6, "linestyle": style}
    ax.hist(log_p, bins, density=True, label=name, **look)
ax.axvline(strange["blank"].item(), color=black, linestyle="-.", label="blank")
ax.set(xlabel="log p(x), nats", ylabel="density")
_ = ax.legend()
plt.show()

# %% [markdown]
# Noise, textures, inverted and shifted digits are found without fail, digits mirrored top to bottom and an unseen 8 more often than not. A 1 is not found: unseen, it is *more* probable than most digits that the model knows, and a blank picture, which no one would call a digit, more probable than all of them. This is not a weakness of this model {cite:p}`nalisnick2019`. Likelihood measures how many bits a picture needs, and
# simple pictures need few. Nor does a high probability mean that something is typical: a thousand tosses of a coin with 60% heads never come out all heads, though that is the single most probable sequence. Asking whether $\log p$ is *unusual*, in either direction, repairs the grossest case (last column), at the price of more misses among images that happen to cost about as many nats as a digit.
#
# (sec-ar-compression)=
# ### From likelihood to file
#
# {doc}`Chapter 1 <01_information_theory>` promised that any model which gives one conditional probability after the other is a compressor. Here is such a model, and real images. The encoder asks the model for the probability of each pixel, given those before, and narrows an interval; the decoder asks the same questions and follows.

# %%
import tempfile
from pathlib import Path

from lvmlib.compression import (
    Decoder,
    Encoder,
    arithmetic_decode,
    arithmetic_encode,
    slots,
)


@torch.no_grad()
def encode_pixels(model, x):
    """Bits x [N, D] -> bytes, pixel by pixel in the model's order."""
    encoder, order = Encoder(), model.order.tolist()
    step, seen = model.steps(len(x)), torch.zeros_like(x)
    for t, position in enumerate(order):
        p = torch.sigmoid(step(t, seen)[:, 0])
        # integers in place of probabilities
        encoder.push(x[:, position], slots(torch.stack([1 - p, p], dim=1)))
        seen[:, position] = x[:, position]
    return encoder.finish()


# %%
@torch.no_grad()
def decode_pixels(model, data, n):
    decoder, order = Decoder(data), model.order.tolist()
    step, seen = model.steps(n), torch.zeros(n, len(order))
    for t, position in enumerate(order):
        p = torch.sigmoid(step(t, seen)[:, 0])
        bits_now = decoder.pop(slots(torch.stack([1 - p, p], dim=1)))
        seen[:, position] = torch.from_numpy(bits_now).float()
    return seen


# %%
few = test_bits[:20]
data = encode_pixels(digits, few)
ideal = -digits.log_prob(few.view(-1, 1, 28, 28)).sum().item() / math.log(2)
decoded = decode_pixels(digits, data, len(few))
exact = torch.equal(decoded, few)
print(f"20 test images: {8 * len(data):,} bits, decoded exactly: {exact}")
print(f"the model's own code length: {ideal:,.1f} bits")
assert exact and 8 * len(data) < ideal + 2 + 7 + 0.001 * ideal

# %% [markdown]
# `lvmlib.compression.arithmetic_encode` does the same for any autoregressive model and writes two things more: the number of images in front, and seven bits at the end by which damage is found out. This time the code goes to a file on disk and comes back. General compressors get the same images, eight pixels to a byte; they have never seen a digit.

# %%
images = test_bits[:100].view(-1, 1, 28, 28)
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "digits.bin"
    file.write_bytes(arithmetic_encode(digits, images))
    on_disk = 8 * file.stat().st_size
    back = arithmetic_decode(digits, file.read_bytes())
ideal = -digits.log_prob(images).sum().item() / math.log(2)
exact = torch.equal(back, images)
print(f"100 test images: {on_disk:,} bits on disk, decoded exactly: {exact}")
print(f"the model's own code length: {ideal:,.1f} bits; ", end="")
print(f"excess {on_disk - ideal:.0f} bits, {on_disk / ideal - 1:.2%}")
assert exact and abs(on_disk - ideal) < 0.002 * ideal + 32
packed = np.packbits(images.flatten(1).numpy().astype(np.uint8), axis=1).tobytes()
sizes = {"one bit per pixel": len(packed)}
sizes |= {name: len(press(packed)) for name, press in coders.items()}
for name, size in (sizes | {"MADE": on_disk / 8}).items():
    print(f"{name:18} {8 * size / 100:6.1f} bits per image")

# %% [markdown]
# :::{admonition} Watch out: encoding with the parallel pass and decoding step by step
# :class: pitfall
# The encoder knows all pixels and could get all probabilities in one pass. The decoder cannot, and must repeat the encoder's arithmetic *to the last bit*: a sum taken in another order rounds differently, and one interval boundary that differs ruins everything after it. In float32 the two ways differ in the last bits of some of the probabilities, and one is enough. So the encoder takes the slow road too, with the
# same batch, on the same kind of machine.
# :::

# %%
differ, x = 0, images.flatten(1)
with torch.no_grad():
    step, parallel = digits.steps(100), digits.predict(images).flatten(1)
    for t, position in enumerate(digits.order.tolist()):
        one_by_one = torch.sigmoid(step(t, x)[:, 0])
        differ += (one_by_one != torch.sigmoid(parallel[:, position])).sum().item()
many_differ = differ / x.numel() > 0.01
print(f"more than 1% of the probabilities differ in their last bits: {many_differ}")


# %% [markdown]
# A digit takes about 127 bits as a file, a sixth of what its pixels take one by one and well below what the general compressors need. The excess over the model's own $-\log_2 p$ is 35 bits for the whole file: 23 for the number of images and against damage, the rest for probabilities that are rounded to integers and for whole bytes. From here on, better likelihood *is* better compression.
#
# **What it costs and when it fails.** Time: coding takes the $D$ sequential steps on both sides. And trust: sender and receiver need the same model, to the bit, and the same arithmetic.
#
# (sec-ar-fisher)=
# ### The gradient as a description
#
# These models have no latent variable, no code that describes the picture as a whole. But they have parameters, and one can ask a picture: *how would you like me to change?* The answer is the score $\nabla_\theta \log p_\theta(x)$, in this use called the **{term}`Fisher score`**: a vector of fixed length for any $x$. Two pictures that pull the parameters in the same direction have
# something in common {cite:p}`jaakkola1999`. To compare them one scales: by $F^{-1/2}$, with the Fisher information $F = \mathbb{E}[\nabla \log p\, \nabla \log p^\top]$, or, as we do, simply to length 1. The score has been used to move about among pictures where no latent space is to be had {cite:p}`yan2019`.
#
# Gradients of single examples need no loop over examples. Let $\delta(x)$ be the gradient of $\log p(x)$ with respect to the sums that enter the hidden units. It is also the gradient with respect to their *biases*, since a bias is simply added to its sum. The gradient with respect to the *weight matrix* before them is $M \odot \delta(x)\, x^\top$ with the mask $M$, too large to store for thousands of pictures; but a linear classifier needs inner products only. The units of one degree $m$ see the same pixels, the first $m$, so with $\delta_{[m]}$ for these units' part of $\delta$,
#
# $$ \langle M \odot \delta(x)\, x^\top, \; M \odot \delta(x')\, x'^\top \rangle = \sum_{m=1}^{D-1} \bigl( \delta_{[m]}(x)^\top \delta_{[m]}(x') \bigr) \bigl( x_{\le m}^\top x'_{\le m} \bigr) . $$
#
# Scaling $\delta(x)$ brings such a gradient to length 1.


# %%
def hidden_and_score(model, x):
    """Activations of MADE's hidden layer, gradients w.r.t. its biases; both [N, H]."""
    kept = []
    keep = lambda layer, inputs, output: kept.append(output)
    hook = model.net.layers[0].register_forward_hook(keep)
    log_p = model.log_prob(x).sum()
    hook.remove()
    return kept[0].relu().detach(), torch.autograd.grad(log_p, kept[0])[0]


# [H]: a unit of degree m sees the first m pixels
degree = made.net.layers[0].mask.sum(1).long()


def describe(x):
    """Descriptions, all of length 1; the gradient w.r.t. the weights as two factors."""
    h, delta = hidden_and_score(made, x)
    x = x.flatten(1)
    seen = x.square().cumsum(1)[:, degree - 1]  # [N, H]
    norm = (delta.square() * seen).sum(1, keepdim=True).sqrt()  # of mask * delta x^T
    plain = {"pixels": x, "hidden units": h, "score, biases": delta}
    described = {name: [F.normalize(v)] for name, v in plain.items()}
    return described | {"score, weights": [delta / norm, x]}


# %%
def products(a, b):
    """Inner products of all pairs of descriptions, [N, M]."""
    if len(a) == 1:
        return a[0] @ b[0].T
    (delta, x), (delta_2, x_2) = a, b
    total, seen = torch.zeros(len(x), len(x_2)), torch.zeros(len(x), len(x_2))
    for m in range(1, x.shape[1]):
        # inner products of the first m pixels
        seen += x[:, m - 1, None] * x_2[:, m - 1]
        total += (delta[:, degree == m] @ delta_2[:, degree == m].T) * seen
    return total


five = describe(small[:5])["score, weights"]
layer = made.net.layers[0]
costs = [made.log_prob(x[None]).sum() for x in small[:5]]
grads = [torch.autograd.grad(cost, layer.weight) for cost in costs]
each = F.normalize(torch.stack([grad.flatten() for (grad,) in grads]))
agree = torch.allclose(products(five, five), each @ each.T, atol=1e-5)
print(f"as by automatic differentiation: {agree}")
assert agree

# %% tolerance={"atol": 2.0}
from sklearn.svm import SVC

mine, theirs = describe(small[:3000]), describe(small_test[:1000])
sizes = (30, 100, 300, 1000)
print("labels        " + "".join(f"{size:8}" for size in sizes))
for name in mine:
    accuracy = []
    for size in sizes:
        scores = []
        for first in range(0, 3 * size, size):  # three sets of labels
            rows = [v[first : first + size] for v in mine[name]]
            svm = SVC(kernel="precomputed", C=10)
            svm.fit(products(rows, rows), train.y[first : first + size])
            scores.append(svm.score(products(theirs[name], rows), test.y[:1000]))
        accuracy.append(np.mean(scores))
    print(f"{name:14}" + "".join(f"{value:8.1%}" for value in accuracy))

# %% [markdown]
# The hidden units are some points better than the pixels from which they were computed, although no label was used in making them. The score does worse than either. That is no accident. For the simplest model of all, a bag of independent coins with the log-odds as parameters, the score is $x - \mathbb{E}[x]$: the centred picture itself, which is as good a description as the pixels. For a better model it is made of the residuals $x_t - p(x_t = 1 \mid x_{<t})$, of what
# the model did *not* foresee, and the better the model the more these resemble noise: under the true distribution each of them has mean zero whatever came before, and the score as a whole has mean zero, too. What all digits of a class have in common is just what a good model foresees. The gradient with respect to the weights, with about a hundred numbers for each one of the biases, does no better.
#
# (sec-ar-text)=
# ### Text
#
# Letters were the first data of such models. {cite:t}`shannon1951` had people guess the next one. We take Shakespeare's 154 Sonnets, 130 of them to learn from, 8 to tell when to stop training, and the last 16 to be judged on, character by character. The classical model is a table of counts: how often did each character follow these $n - 1$? The longer the context, the better the guess
# and the rarer the context. So the estimates of all orders are blended, each backing off to the next shorter one (Witten and Bell's rule {cite:p}`witten1991`: trust a context the more, the more often it was seen and the fewer different characters followed it).

# %%
from collections import Counter, defaultdict

text, _, unseen = (bytes(split.x.tolist()).decode() for split in load("text"))
print(f"{len(text):,} characters to learn from, ", end="")
print(f"{len(unseen):,} to be judged on, ", end="")
print(f"{len(set(text))} different ones")
LONGEST = 8
# context of 0 to 7 characters -> counts of what came next
follow = defaultdict(Counter)
for n in range(LONGEST):
    for i in range(n, len(text)):
        follow[text[i - n : i]][text[i]] += 1


def probability(context, c):
    """Blend of all orders up to len(context) + 1."""
    p = 1 / 128
    for n in range(len(context) + 1):
        seen = follow.get(context[len(context) - n :])
        if seen is None:
            break
        total, kinds = sum(seen.values()), len(seen)
        p = (seen[c] + kinds * p) / (total + kinds)
    return p


# %%
def entropy_of_table(n):
    """Plug-in entropy of a character given n - 1 others, on the training text; bits."""
    tables = [seen for context, seen in follow.items() if len(context) == n - 1]
    total = sum(sum(seen.values()) for seen in tables)
    share = [(k, k / sum(seen.values())) for seen in tables for k in seen.values()]
    return sum(-k / total * math.log2(p) for k, p in share)


orders_n = range(1, LONGEST + 1)
plug_in = [entropy_of_table(n) for n in orders_n]
held_out_bits = []
for n in orders_n:
    before = [unseen[max(0, i - n + 1) : i] for i in range(len(unseen))]
    log_p = [math.log2(probability(past, c)) for past, c in zip(before, unseen)]
    held_out_bits.append(-np.mean(log_p))
print("n:                 " + "  ".join(f"{n:5}" for n in orders_n))
print("table, training:   " + "  ".join(f"{h:5.2f}" for h in plug_in))
print("blend, new sonnets:" + "  ".join(f"{h:5.2f}" for h in held_out_bits))

# %% tolerance={"rtol": 0.01}
from lvmlib.experiments.text import MODELS as text_models
from lvmlib.experiments.text import bits_per_character

code = torch.tensor(list(unseen.encode()))
text_bits = {}
for name, press in coders.items():
    alone = len(press(unseen.encode()))
    after = len(press((text + unseen).encode())) - len(press(text.encode()))
    text_bits[name] = 8 * after / len(unseen)
    print(f"{name:4} {8 * alone / len(unseen):.2f} bits per character; ", end="")
    print(f"{text_bits[name]:.2f} after the other sonnets")
writer = text_models["rnn"]()
of_writer = load_checkpoint(writer, "text_rnn")
text_bits["recurrent net"] = bits_per_character(writer, code)
known_text = of_writer["train_bits_per_character"]
print(f"recurrent net {text_bits['recurrent net']:.2f} bits per character, ", end="")
print(f"{of_writer['parameters']:,} parameters")
print(f"the same on sonnets that it was trained on {known_text:.2f}")

# %% [markdown]
# The recurrent net is the one of {numref}`sec-ar-sharing`, with a table of vectors in place of the bit that goes in, and a softmax over 128 characters in place of the sigmoid. Here it reads the first 256 new characters by our `gru_step`:

# %%
with torch.no_grad():
    state, before, total = torch.zeros(1, 192), torch.zeros(1, 192), 0.0
    for c in code[:256].tolist():
        state = gru_step(before, state, *writer.rnn.all_weights[0])
        total += writer.output(state).log_softmax(1)[0, c].item()
        before = writer.values.weight[c][None]
    theirs = writer.log_prob(code[None, :256]).item()
print("log-probability of 256 characters: ", end="")
print(f"{total:.1f} nats by hand, {theirs:.1f} by log_prob")
assert abs(total - theirs) < 0.01

# %% mystnb={"figure": {"caption": "Bits per character on Shakespeare's Sonnets. The entropy of tables on their own training text (dashed) falls towards zero, which is memory and not knowledge; judged on new sonnets, longer contexts stop helping at order 4. Horizontal lines: general compressors that have read the other sonnets, and a recurrent net.", "name": "fig-ar-text"}, "image": {"alt": "Bits per character against order n from 1 to 8. The dashed curve falls from 4.5 to 0.4; the solid one falls to 2.55 at order 4 and rises again to 3.0. Horizontal lines at the levels of zlib, bz2, xz and a recurrent net."}} tags=["hide-input"] tolerance={"rtol": 0.01}
fig, ax = plt.subplots(figsize=(6, 3.6))
ax.plot(orders_n, plug_in, "s--", ms=4, label="table, on its training text")
ax.plot(orders_n, held_out_bits, "o-", ms=4, label="blended tables, on new sonnets")
styles = (":", "-.", (0, (1, 3)), "-")
for style, (name, value) in zip(styles, text_bits.items()):
    ax.plot([1, 8.2], [value, value], lw=1, color=COLOURS["black"], linestyle=style)
    ax.text(8.3, value, name, va="center", fontsize=9)
ax.set_xlabel("order $n$: the character and $n - 1$ before it")
ax.set_ylabel("bits per character")
ax.set(xticks=range(1, 9), xlim=(0.7, 10), ylim=(0, 5))
_ = ax.legend(loc="upper center")
plt.show()

# %%
seed_everything(3)
longer = text_models["rnn"](400)
load_checkpoint(longer, "text_rnn")
opening = "Shall I compare thee to a"
prefix = torch.tensor([list(opening.encode())]).float()
with torch.no_grad():
    poem = longer.sample(1, temperature=0.7, prefix=prefix)[0]
print(bytes(poem.int().tolist()).decode())

# %% [markdown]
# Left alone with sixteen sonnets, the general compressors (zlib is the one inside gzip) have little to learn from. If they may read the other 130 first (we count the bytes that the last sixteen add), bz2, which sorts the text by what follows what, comes as far as the best of the blended tables. The tables show where counting ends: beyond order 4 a longer context costs more than it tells, while the entropy of the table on *its own* text goes on falling. That is the
# plug-in bias of {doc}`chapter 1 <01_information_theory>` at its worst. The recurrent net, with a state of 192 numbers in place of the last three characters, gains another fifth of a bit. (It is judged on characters with at least 128 others before them.) It knows its training sonnets better than it should, at 1.84 bits: eighty thousand characters are very little for a network. What it writes, from the first words of Sonnet 18 on and at a low temperature, keeps line, comma and capital letter, is mostly made of English words, and says nothing.

# %% [markdown]
# (sec-ar-summary)=
# ## Summary
#
# :::{list-table} What was shown, and where it lives in `lvmlib`.
# :header-rows: 1
# :name: tab-ar-summary
#
# * - result
#   - in one line
#   - in `lvmlib`
# * - {prf:ref}`thm-ar-chain`
#   - any distribution is a product of conditionals, in any order
#   - `Autoregressive(..., order=...)`
# * - {prf:ref}`thm-ar-normalised`
#   - normalised conditionals make a normalised model, for every $\theta$
#   - `log_prob`
# * - {prf:ref}`thm-ar-masks`
#   - degrees never fall along a path, and rise at least once
#   - `MADE`, `networks.MaskedMLP`
# * - {eq}`eq-ar-mixture`
#   - average probabilities over orders, never logits
#   - `OrderingMixture`
# * - {prf:ref}`thm-ar-receptive-field`
#   - $R = 1 + (k - 1) \sum_l d_l$
#   - `WaveNet(...).receptive_field`
# * - {numref}`tab-ar-three-ways`
#   - recurrence, convolution, attention: work, depth, memory
#   - `RNN`, `WaveNet`, `CausalTransformer`
# * - {prf:ref}`thm-ar-made-cost`
#   - all $D$ steps of drawing do the work of one pass
#   - `sample(..., cache=True)`
# * - {numref}`sec-ar-compression`
#   - a likelihood is a file size
#   - `compression.arithmetic_encode`
# :::
#
# **For** autoregressive models: the likelihood is exact and cheap; training is stable, one pass per example; any kind of data that can be put in a row; nothing to invert and nothing to bound; likelihoods among the best there are. **Against** them: drawing takes as many steps as there are values, however cheap each step is made; the order is imposed
# and not found; and there is no code that says in a few numbers what the picture shows. The next chapter fits them to pictures, with convolutions in two dimensions. The chapters on latent variables look for the code.
#
# ## Further reading
#
# - {cite:t}`frey1998` and {cite:t}`bengio2000` began with neural conditionals; {cite:t}`larochelle2011` (NADE) shared their weights, {cite:t}`germain2015` (MADE) put them into one pass, {cite:t}`uria2016` tells the whole story.
# - {cite:t}`vandenoord2016wavenet` is WaveNet, and {cite:t}`paine2016` its fast generation; {cite:t}`vaswani2017` is the transformer, {cite:t}`chen2020` one that draws pictures pixel by pixel.
# - {cite:t}`reed2017` draw groups of pixels in parallel, on a scale larger than ours.
# - {cite:t}`nalisnick2019` on likelihood and anomalies; {cite:t}`theis2016` on what likelihood, samples and nearest neighbours do and do not say about each other.
# - {cite:t}`jaakkola1999` introduced the Fisher score as a description of data.
