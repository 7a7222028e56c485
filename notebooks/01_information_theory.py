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
# # Information theory
#
# *How much is a message worth, and what does it cost to believe in the wrong model? Both answers come in bits, and
# nearly every objective in this book is one of them.*
#
# **After this chapter you will be able to**
#
# - say what {term}`surprise`, {term}`entropy`, {term}`cross-entropy`, {term}`KL divergence` and
#   {term}`mutual information` measure, and compute each in one line;
# - turn any probability model into a compressor, and read its loss as a file size;
# - prove that no code beats the entropy, and that the wrong model costs exactly the KL divergence;
# - explain why fitting with $\operatorname{KL}(p \,\|\, q)$ and with $\operatorname{KL}(q \,\|\, p)$ gives different
#   models, and which of the two {term}`maximum likelihood` is;
# - tell when an estimated entropy or mutual information is an artefact of too little data.
#
# **You need** discrete and continuous probability (expectation, conditional probability, densities), logarithms, and a
# little NumPy.
#
# **Run time** about 25 seconds on a 2-core CPU. A GPU is not needed and brings nothing here.
#
# *Units.* $\log_2$ gives bits and the natural logarithm gives nats; 1 {term}`nat` is $1/\ln 2 \approx 1.443$ bits. We
# write $\log$ where a statement holds in any unit, as long as one keeps to it. Numbers in this chapter are bits unless
# we say otherwise, and that is also the default in `lvmlib.information`; the later chapters, which take derivatives,
# use nats.

# %%
import itertools
import math
from collections import Counter, defaultdict
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize
import scipy.signal
import scipy.special
import scipy.stats
import torch

from lvmlib import information as info
from lvmlib import load
from lvmlib.compression import huffman_code, kraft_sum, prefix_code, prefix_decode
from lvmlib.plotting import COLOURS, use_style

SCALE = 1  # draws in the Monte Carlo experiments are multiplied by it; the outputs below were made with 1
use_style()

# %% [markdown]
# (sec-surprise)=
# ## How surprising is an event?
#
# "The sun rose this morning" is not news. "It snowed in July" is. Whatever number measures how much an event tells you,
# it should depend on how probable the event was, and three things seem beyond dispute:
#
# 1. a certain event tells nothing: surprise 0;
# 2. the less probable, the more surprising;
# 3. two independent events together surprise as much as the one plus the other. Ten coin flips tell ten times as much
#    as one.
#
# The third wish looks harmless. It leaves exactly one function to choose ({numref}`fig-surprise`).
#
# :::{prf:definition} Surprise
# :label: def-surprise
# The *surprise*, or self-information, of an event of probability $P$ is $I(P) = -\log P$; an impossible event has
# $I(0) = \infty$.
# :::

# %% mystnb={"figure": {"caption": "Surprise is the logarithm of one over the probability, a straight line on a logarithmic axis. Halving a probability adds one bit, wherever you start.", "name": "fig-surprise"}, "image": {"alt": "On a logarithmic axis of probability, a straight line falls from 14 bits to 0 bits at probability one. Five events are marked on it, from one word of 10,000 at 13.29 bits to a certain event at 0."}}
p = np.geomspace(5e-5, 1, 400)
events = {"a certain event": 1, "heads": 1 / 2, "a six": 1 / 6, "two sixes": 1 / 36, "one word of 10,000": 1e-4}

fig, ax = plt.subplots(figsize=(6, 3.2))
ax.plot(p, -np.log2(p))
for name, probability in events.items():
    ax.plot(probability, -np.log2(probability), "o", color=COLOURS["vermilion"])
    words = f"{name}: {info.self_information(probability):.2f}"
    place = dict(xytext=(-8, -6), ha="right") if probability == 1 else dict(xytext=(8, 4), ha="left")
    ax.annotate(words, (probability, -np.log2(probability)), textcoords="offset points", **place)
ax.set(xscale="log", xlabel="probability of the event", ylabel="surprise (bits)", xlim=(4e-5, 6), ylim=(-1, 15.5))
plt.show()

# %% [markdown]
# :::{prf:theorem} Additive surprise is a logarithm
# :label: thm-surprise
# Let $I : (0, 1] \to [0, \infty)$ never increase, let $I(pq) = I(p) + I(q)$ for all $p, q$, and let a fair coin flip
# count as one unit, $I(1/2) = 1$. Then $I(p) = -\log_2 p$.
# :::
#
# :::{prf:proof}
# Put $g(t) = I(2^{-t})$ for $t \ge 0$. Then $g$ never decreases, $g(s + t) = g(s) + g(t)$ and $g(1) = 1$. Adding
# $g(n/m)$ up $m$ times gives $m\, g(n/m) = g(n) = n\, g(1) = n$, so $g(r) = r$ for every rational $r > 0$; and
# $g(0) = 2 g(0)$ gives $g(0) = 0$. Any real $t > 0$ lies between rationals $r \le t \le r'$ as close together as we
# like, and $r = g(r) \le g(t) \le g(r') = r'$. Hence $g(t) = t$, which says $I(p) = -\log_2 p$.
# :::
#
# Another choice of the unit is another base of the logarithm and nothing else. To see the theorem bite, take three
# functions that all fall from probability 0 to probability 1, agree on a fair coin, and ask each of them about two
# independent events at once.

# %% tags=["check:thm-surprise"]
candidates = {"-log2 p": lambda p: -np.log2(p), "2 (1 - p)": lambda p: 2 * (1 - p), "1/p - 1": lambda p: 1 / p - 1}
pairs = np.random.default_rng(0).uniform(0.01, 1, size=(10_000, 2))

for name, f in candidates.items():
    error = np.abs(f(pairs[:, 0] * pairs[:, 1]) - f(pairs[:, 0]) - f(pairs[:, 1])).max()
    print(f"{name:>9}: a coin flip is worth {f(0.5):.0f}, largest error of additivity {error:.4f}")
    assert (error < 1e-12) == (name == "-log2 p")

events = [1, 1 / 2, 1 / 6, 1e-4, 0]
print("surprises (bits):", info.self_information(events).round(3))
print("expected:          0, 1, 2.585, 13.288, inf")
print(f"heads, in nats: {info.self_information(0.5, base=math.e):.4f}  (expected ln 2 = {math.log(2):.4f})")

# %% [markdown]
# `lvmlib.information.self_information` is the definition; `base=2`, the default, gives bits and `base=math.e` nats.
#
# (sec-entropy)=
# ## Entropy: how surprising is a source?
#
# One event has a surprise. A source that keeps producing events (a coin, a die, a poet) has an average one.
#
# :::{prf:definition} Entropy
# :label: def-entropy
# The *entropy* of a random variable $X$ that takes value $x_i$ with probability $p_i$ is its mean surprise,
#
# $$ H(X) = \mathbb{E}[-\log p(X)] = -\sum_i p_i \log p_i, \qquad 0 \log 0 = 0 . $$ (eq-entropy)
# :::
#
# The convention for zero is the limit of $p \log p$, and it says the sensible thing: what never happens does not count.
# {numref}`fig-entropy-area` shows the sum as an area.

# %% mystnb={"figure": {"caption": "Entropy is an area. Each outcome is a bar as wide as it is probable and as high as it is surprising. A rare outcome makes a high bar but a narrow one; the largest area belongs to equal probabilities.", "name": "fig-entropy-area"}, "image": {"alt": "Three panels of adjoining bars. Four equal outcomes give bars of height 2 and area 2 bits; probabilities one half, one quarter, one eighth and one eighth give a staircase of area 1.75 bits; probabilities 0.85 and three times 0.05 give one low broad bar and three narrow ones of height 4.3, area 0.85 bits."}}
sources = {"equal": [0.25] * 4, "unequal": [0.5, 0.25, 0.125, 0.125], "nearly certain": [0.85, 0.05, 0.05, 0.05]}

fig, axes = plt.subplots(1, 3, figsize=(7, 2.7), sharey=True)
for ax, (name, p) in zip(axes, sources.items()):
    p = np.array(p)
    ax.bar(np.cumsum(p) - p, -np.log2(p), width=p, align="edge", color=list(COLOURS.values())[:4], alpha=0.75)
    ax.set(title=f"{name}: {info.entropy(p):.2f} bits", xlabel="probability", xlim=(0, 1), xticks=[0, 0.5, 1])
axes[0].set_ylabel("surprise (bits)")
plt.show()


# %% [markdown]
# There are three ways to think about this one number, and you will need all of them.
#
# - **Mean surprise.** The definition.
# - **Mean message length.** How many yes/no questions, asked well, does it take to find out what happened? For four
#   equal outcomes, two. For probabilities 1/2, 1/4, 1/8, 1/8, ask "is it the first?", then "the second?", then "the
#   third?": $1 \cdot \frac12 + 2 \cdot \frac14 + 3 \cdot \frac14 = 1.75$ questions on average, which is the area of the
#   second panel. {ref}`sec-codes` makes this exact.
# - **Spread.** Over how many outcomes is the probability spread? $2^{H}$ is the number of equally likely outcomes that
#   would be just as uncertain. Its name is *perplexity*.


# %%
def entropy(p):
    p = np.array(p, dtype=float)
    p = p[p > 0]  # 0 log 0 = 0
    return (p * np.log2(1 / p)).sum()


sources = {"coin": np.full(2, 1 / 2), "die": np.full(6, 1 / 6), "word out of 10,000": np.full(10_000, 1e-4)}
for name, expected in {"coin": 1, "die": 2.585, "word out of 10,000": 13.288}.items():
    p = sources[name]
    assert math.isclose(entropy(p), info.entropy(p))  # ours and lvmlib's
    print(f"{name:>18}: {entropy(p):6.3f} bits (expected {expected}), perplexity {2 ** entropy(p):.0f}")

# %% [markdown]
# All three sources are uniform, and then $H = \log K$. Can another distribution over $K$ outcomes do better?
#
# :::{prf:theorem} The range of the entropy
# :label: thm-entropy-range
# For $K$ outcomes $0 \le H(X) \le \log K$. The lower bound is reached only if one outcome is certain, the upper only if
# all are equally probable.
# :::
#
# :::{prf:proof}
# Every term $-p_i \log p_i$ is non-negative, and zero only for $p_i \in \{0, 1\}$. For the upper bound use
# $\ln a \le a - 1$, with equality only at $a = 1$: the line is the tangent of a concave curve ({numref}`fig-tangent`
# draws it). In nats, with sums over the outcomes with $p_i > 0$,
#
# $$ \begin{aligned} H(X) - \ln K = \sum_i p_i \ln \frac{1}{K p_i} &\le \sum_i p_i \Big( \frac{1}{K p_i} - 1 \Big) \\ &= \frac{\#\{i : p_i > 0\}}{K} - 1 \le 0 . \end{aligned} $$
#
# Both inequalities are equalities only if every $p_i$ is $1/K$.
# :::

# %% tags=["check:thm-entropy-range"]
rng = np.random.default_rng(0)
print("entropies of 60,000 random distributions over K outcomes")
for K in (2, 6, 100):
    p = np.concatenate(
        [rng.dirichlet(np.full(K, a), size=20_000) for a in (0.1, 1, 100)]
    )  # spiky, even, nearly uniform
    h = info.entropy(p)
    print(f"K = {K:3}: from {h.min():.4f} to {h.max():.4f} bits, log2 K = {math.log2(K):.4f}")
    assert h.min() >= 0 and h.max() <= math.log2(K)
    assert info.entropy(np.eye(K)[0]) == 0 and math.isclose(info.entropy(np.full(K, 1 / K)), math.log2(K))

# %% [markdown]
# For a coin that shows heads with probability $p$ the entropy is a single curve, and it is worth remembering
# ({numref}`fig-bernoulli`): flat at the top, so that a slightly unfair coin loses next to nothing, and infinitely steep
# at the ends, so that a little doubt about a certain thing costs a lot.

# %% mystnb={"figure": {"caption": "Entropy of a coin. At p = 0.1 it is 0.469 bits, less than half of a fair coin's, though heads and tails both still occur.", "name": "fig-bernoulli"}, "image": {"alt": "A symmetric arch over the probability of heads, zero bits at 0 and 1, one bit at one half; points at 0.1 and 0.9 are marked at 0.469 bits."}}
p = np.linspace(0, 1, 501)
fig, ax = plt.subplots(figsize=(6, 3.2))
ax.plot(p, info.entropy(np.stack([p, 1 - p], axis=-1)))
for q in (0.1, 0.5, 0.9):
    h = info.entropy([q, 1 - q])
    ax.plot([q, q], [0, h], ":", color=COLOURS["vermilion"])
    ax.plot(q, h, "o", color=COLOURS["vermilion"])
for q, side, x, y in (0.1, "left", 10, -4), (0.5, "left", 8, -26), (0.9, "right", -10, -4):
    h = info.entropy([q, 1 - q])
    ax.annotate(f"{h:.3f} bits", (q, h), xytext=(x, y), textcoords="offset points", ha=side)
ax.set(xlabel="probability of heads", ylabel="entropy (bits)", xlim=(0, 1), ylim=(0, 1.05))
plt.show()

# %% [markdown]
# :::{admonition} Watch out: "the entropy is how far the values are spread"
# :class: pitfall
# It is how far the *probability* is spread, over outcomes whose values play no part. A variable that is $\pm 1$ with
# equal chances has 1 bit. So has one that is $\pm 1000$, with a standard deviation a thousand times larger. And a
# third, with values 0.99, 1.00, 1.01 and 1.02, is narrower than either and has 2 bits. The cell below prints all three.
# :::

# %%
for values in ([-1, 1], [-1000, 1000], [0.99, 1.00, 1.01, 1.02]):
    p = np.full(len(values), 1 / len(values))
    print(f"values {values!s:>24}: standard deviation {np.std(values):9.4f}, entropy {info.entropy(p):.0f} bits")

# %% [markdown]
# (sec-images)=
# ## What is an image worth?
#
# A picture of 1000 x 1000 pixels, each of three colours, each of 256 levels, is one out of $256^{3{,}000{,}000}$. By
# the theorem its entropy is at most the logarithm of that number: 24 million bits, 3 megabytes. The bound is reached by
# a source for which all such pictures are equally likely, in other words by coloured noise. Photographs are a different
# source. How far below the bound are they?
#
# Nobody knows their entropy, because nobody knows $p(\text{photograph})$. But every lossless compressor is a bound: as
# {ref}`sec-codes` proves, no decodable code is shorter on average than the entropy. So let us weigh real pictures with
# real compressors: the two photographs that come with scikit-learn, and handwritten digits from MNIST
# {cite:p}`lecun1998`. As a control we add the first photograph with the levels of each colour shuffled: the same
# histograms, but not a picture any more.

# %%
import io
import lzma
import zlib

from PIL import Image
from sklearn.datasets import load_sample_images

china, flower = load_sample_images().images  # [427, 640, 3], uint8
rng = np.random.default_rng(0)
shuffled = np.stack([rng.permutation(china[..., c].ravel()).reshape(427, 640) for c in range(3)], axis=-1)
train, _, test = load("mnist")
digits = test.x[:2000, 0].numpy()  # [2000, 28, 28], uint8
pictures = {"china": china, "flower": flower, "china, shuffled": shuffled, "2,000 digits": digits.reshape(-1, 28)}

# %% mystnb={"figure": {"caption": "The pictures to be weighed: two photographs, a piece of the first one after its levels were shuffled, and some of the 2,000 digits.", "name": "fig-pictures"}, "image": {"alt": "A Chinese temple with a tiled roof, an orange dahlia, a field of coloured noise, and rows of handwritten digits."}} tags=["photo"]
sheet = digits[:120].reshape(8, 15, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, 15 * 28)
shown = {**pictures, "china, shuffled": shuffled[:40, :60], "2,000 digits": 255 - sheet}
fig, axes = plt.subplots(1, 4, figsize=(6, 1.35))
for ax, (name, picture) in zip(axes.flat, shown.items()):
    ax.imshow(picture, cmap="gray")
    ax.set_title(name)
    ax.axis("off")
plt.show()


# %%
def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png", optimize=True)
    return file.getvalue()


coders = {"zlib": lambda x: zlib.compress(x.tobytes(), 9), "xz": lambda x: lzma.compress(x.tobytes()), "png": png}
bits_per_pixel = {}
for name, picture in pictures.items():
    pixels = picture.shape[0] * picture.shape[1]
    levels = [np.bincount(channel, minlength=256) for channel in picture.reshape(pixels, -1).T]
    row = {"no model": 8.0 * len(levels), "histogram": sum(info.entropy_from_counts(c) for c in levels)}
    row |= {coder: 8 * len(compress(picture)) / pixels for coder, compress in coders.items()}
    bits_per_pixel[name] = row
methods = list(row)

# %% tolerance={"atol": 0.02, "rtol": 0.02}
print("bits per pixel".ljust(18) + "".join(f"{column:>11}" for column in methods))
for name, row in bits_per_pixel.items():
    print(name.ljust(18) + "".join(f"{value:11.2f}" for value in row.values()))

# %% mystnb={"figure": {"caption": "Bits per pixel, as a share of what a picture without any structure would take. The histogram knows how often each level occurs; zlib and xz find repetitions in the stream of bytes; png predicts each pixel from its neighbours first.", "name": "fig-coders"}, "image": {"alt": "Grouped bars for four pictures. The photographs reach about half of the uncompressed size with png, the shuffled photograph gains almost nothing over its histogram, and the digits shrink to about a fifth."}} tolerance={"atol": 0.02, "rtol": 0.02}
fig, ax = plt.subplots(figsize=(6.6, 3.2))
for i, column in enumerate(methods[1:]):
    shares = [100 * values[column] / values["no model"] for values in bits_per_pixel.values()]
    ax.bar(np.arange(4) + 0.2 * i - 0.3, shares, width=0.19, label=column)
ax.axhline(100, color="black", linewidth=1)
ax.text(3.45, 102, "log of the number of pictures", ha="right")
ax.set(xticks=range(4), xticklabels=bits_per_pixel, ylabel="size (% of uncompressed)", ylim=(0, 132))
ax.legend(ncols=4, loc="upper left")
plt.show()

# %% [markdown]
# Read {numref}`fig-coders` from the right. Digits are mostly white paper, and xz keeps less than a fifth of their bits.
# The shuffled photograph is the control: where the neighbours say nothing, no coder does better than the histogram.
# From there down to the real photograph every bit is saved by *guessing a pixel from the others*. At the best rates in
# the table a picture of 1000 x 1000 pixels like these takes 10 to 14 Mbit instead of 24.
#
# Three cautions. The bound is on the *average* over a source, and two photographs are a small sample of one. It is an
# upper bound: a better model of photographs would find a shorter code, and such models are what this book builds. And
# both photographs are JPEG files, a format that throws detail away; straight off the camera's sensor they would cost
# more.
#
# (sec-estimation)=
# ## Can you see the entropy of a sequence?
#
# Below are two sequences of 400 flips. One coin is fair; the other shows heads nine times in ten. The eye has no
# trouble. To put a number on it we count, and take the entropy of the observed frequencies $\hat p_i = n_i / N$. This
# is the {term}`plug-in estimate` $\hat H = H(\hat p)$.

# %% mystnb={"figure": {"caption": "Two coins, 400 flips each, and the plug-in estimate of their entropies as the flips come in. Both estimates approach the true values (dashed), and both start from below: after one flip every coin seems to have entropy 0.", "name": "fig-coins"}, "image": {"alt": "Two strips of black and white cells, the first an even mixture, the second mostly black. Beside them two curves against the number of flips: one rises to 1 bit, the other settles near 0.47 bits."}}
rng = np.random.default_rng(33)
flips = {"fair": (rng.random(400) < 0.5).astype(int), "biased": (rng.random(400) < 0.9).astype(int)}
n = np.arange(1, 401)

fig = plt.figure(figsize=(7, 3.2))
grid = fig.add_gridspec(2, 2, width_ratios=[1, 1.5])
ax = fig.add_subplot(grid[:, 1])
for row, (name, x) in enumerate(flips.items()):
    strip = fig.add_subplot(grid[row, 0])
    strip.imshow(x.reshape(10, 40), cmap="gray_r", aspect="auto", interpolation="none")
    strip.set(title=f"{name}: {x.sum()} heads of 400", xticks=[], yticks=[])
    heads = np.cumsum(x)
    ax.semilogx(n, info.entropy_from_counts(np.stack([heads, n - heads], axis=-1)), label=name)
    ax.axhline(info.entropy([0.5, 0.5] if name == "fair" else [0.9, 0.1]), color=f"C{row}", linestyle="--", linewidth=1)
ax.set(xlabel="number of flips", ylabel="plug-in estimate (bits)", ylim=(-0.03, 1.08))
ax.legend(loc="lower right")
plt.show()
for name, x in flips.items():
    print(f"{name}: estimated {info.entropy_from_counts(np.bincount(x)):.4f} bits")
print(f"true:  1 and {info.entropy([0.9, 0.1]):.4f} bits")
heads = np.arange(401)
chance = scipy.stats.binom.pmf(heads, 400, 0.9)
every = info.entropy_from_counts(np.stack([heads, 400 - heads], axis=-1))
spread = math.sqrt(chance @ (every - chance @ every) ** 2)
print(f"over all sequences of the biased coin: standard deviation {spread:.3f} bits")


# %% [markdown]
# That both end so close to the truth is luck: after 400 flips the estimate for the biased coin has a standard
# deviation of 0.048 bits. Starting from below is no accident of this draw. Entropy is a concave function (the arch of
# {numref}`fig-bernoulli`), and the mean of a concave function is at most the function of the mean (Jensen's
# inequality). Now $\hat p$ is right on average, $\mathbb{E}[\hat p] = p$, so
# $\mathbb{E}[H(\hat p)] \le H(\mathbb{E}[\hat p]) = H(p)$: *on average the plug-in estimate is too low*. How much
# too low? For a coin we can sum over all possible counts and need no simulation.


# %%
def mean_plugin(p, N):
    """Expected plug-in estimate for N flips: a sum over all possible numbers of heads."""
    heads = np.arange(N + 1)
    return scipy.stats.binom.pmf(heads, N, p) @ info.entropy_from_counts(np.stack([heads, N - heads], axis=-1))


print("a fair coin, true entropy 1 bit; 1 / (2 N ln 2) is the deficit to expect")
for N in (2, 5, 10, 100):
    mean = mean_plugin(0.5, N)
    expected = 1 / (2 * N * math.log(2))
    print(f"{N:3} flips: mean {mean:.4f}, too low by {1 - mean:.4f}; 1 / (2 N ln 2) = {expected:.4f}")

# %% [markdown]
# The deficit is close to $1 / (2N)$ nats for a coin. In general it is close to $(K - 1)/(2N)$ nats once $N$ is much
# larger than $K$. The KL divergence explains why, so we come back to it in {ref}`sec-plugin-bias`. With $K$ outcomes
# and only a few times $K$ observations it is not small at all.
#
# :::{admonition} Watch out: "this sequence looks fair, so it has entropy 1"
# :class: pitfall
# Counting single symbols measures the entropy of single symbols. The sequence 0101010101... has as many zeros as ones,
# so its plug-in entropy is exactly 1 bit; yet after the first flip you know all the rest, and its rate is 0. What
# counts for a sequence is the *entropy rate*, the surprise per symbol given everything before. Counting blocks shows
# it: the plug-in entropy of blocks of 8, divided by 8, is 0.125 bits for the alternating sequence and stays at 1.000
# for a fair coin. zlib sees it too.
# :::

# %%
N = 200_000
sequences = {"alternating": np.arange(N) % 2, "fair coin": np.random.default_rng(0).integers(2, size=N)}
for name, x in sequences.items():
    packed = np.packbits(x).tobytes()
    print(f"{name}: zlib needs {8 * len(zlib.compress(packed, 9)) / N:.3f} bits per flip")
    for k in (1, 2, 4, 8):
        blocks = np.lib.stride_tricks.sliding_window_view(x, k)  # [N - k + 1, k], all blocks of k neighbours
        counts = np.bincount(blocks @ (1 << np.arange(k)))
        print(f"  blocks of {k}: {info.entropy_from_counts(counts) / k:.3f} bits per flip")

# %% [markdown]
# (sec-codes)=
# ## How short can a code be?
#
# You want to send a stream of letters a, b, c through a wire that knows 0 and 1. Here is a code: a = 00, b = 01, c = 1.
# There are no gaps between the codewords on the wire, so can the receiver tell where one ends? Send "caba", that is, 1
# 00 01 00.

# %%
code = {"a": "00", "b": "01", "c": "1"}
message = "cabacabba"
wire = "".join(code[letter] for letter in message)

decoded, word = "", ""
for bit in wire:
    word += bit
    for letter, codeword in code.items():
        if word == codeword:  # no other codeword begins like this, so it can only be this letter
            decoded, word = decoded + letter, ""
print(f"{message} -> {wire} -> {decoded}")
assert decoded == message and prefix_decode(wire, code) == list(message)

# %% [markdown]
# It works for every stream, because *no codeword is the beginning of another*. The moment the bits read so far make a
# codeword, it is certain to be meant. Such a code is called a {term}`prefix code`. As a picture it is a tree whose
# leaves are the codewords, and {numref}`fig-kraft` shows a second way to look at it: a codeword of length $\ell$
# occupies a piece of length $2^{-\ell}$ of the interval from 0 to 1, namely all binary fractions that begin with it.

# %% mystnb={"figure": {"caption": "The code a = 00, b = 01, c = 1 as a tree and as a cut of the interval [0, 1). Codewords of a prefix code own pieces that do not overlap, so their lengths add up to at most 1: short codewords are expensive.", "name": "fig-kraft"}, "image": {"alt": "Left, a binary tree with leaves a at 00, b at 01 and c at 1. Right, a bar from 0 to 1 cut at one quarter and one half into pieces owned by a, b and c."}} tags=["hide-input"]
fig, (tree, bar) = plt.subplots(1, 2, figsize=(7, 2.8), width_ratios=[1, 1.3])
nodes = {"": (2, 2), "0": (1, 1), "1": (3, 1), "00": (0.4, 0), "01": (1.6, 0)}
for word in ["0", "1", "00", "01"]:
    (x0, y0), (x1, y1) = nodes[word[:-1]], nodes[word]
    tree.plot([x0, x1], [y0, y1], color="black", linewidth=1.2, zorder=1)
    tree.text((x0 + x1) / 2 + (0.17 if word[-1] == "1" else -0.17), (y0 + y1) / 2, word[-1], ha="center")
for i, (letter, word) in enumerate(code.items()):
    tree.scatter(*nodes[word], s=520, color=f"C{i}", zorder=2)
    tree.text(*nodes[word], letter, ha="center", va="center", color="white", fontsize=14)
    left, width = int(word, 2) / 2 ** len(word), 2.0 ** -len(word)
    bar.barh(0, width, left=left, height=0.9, color=f"C{i}", edgecolor="white", linewidth=2)
    bar.text(left + width / 2, 0, f"{letter} = {word}\n1/{2 ** len(word)}", ha="center", va="center", color="white")
tree.set(xlim=(-0.2, 3.6), ylim=(-0.5, 2.2), title="a tree ...")
tree.axis("off")
bar.set(xlim=(0, 1), ylim=(-1, 1), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1])
bar.set(xlabel="binary fraction", title="... and a cut of the interval")
bar.spines["left"].set_visible(False)
plt.show()


# %% [markdown]
# So codeword lengths come out of a budget. The budget holds even for codes that are not prefix codes, as long as
# different streams of symbols always have different codes (*uniquely decodable* codes).
#
# :::{prf:theorem} Kraft and McMillan
# :label: thm-kraft
# If a binary code with codeword lengths $\ell_1, \dots, \ell_K$ is uniquely decodable, then
#
# $$ \sum_{i=1}^{K} 2^{-\ell_i} \le 1 . $$ (eq-kraft)
#
# Conversely, for any lengths that satisfy {eq}`eq-kraft` there is a prefix code with these lengths.
# :::
#
# :::{prf:proof}
# *Decodable codes keep the budget* {cite:p}`mcmillan1956`. Let $S$ be the sum and $\ell_{\max}$ the greatest length.
# Multiply $S^n$ out: one term $2^{-(\ell_{i_1} + \dots + \ell_{i_n})}$ for every stream of $n$ symbols, and the
# exponent is the length of its code. Collect streams by the length $m$ of their code; if $A_m$ of them have length $m$,
#
# $$ S^n = \sum_{m=0}^{n \ell_{\max}} A_m 2^{-m} \le n\, \ell_{\max} + 1 , $$
#
# because streams that decode differently have different codes, and there are only $2^m$ strings of $m$ bits:
# $A_m \le 2^m$. If $S$ were greater than 1, the left side would grow exponentially in $n$ and the right side only
# linearly. So $S \le 1$.
#
# *Whoever keeps the budget gets a prefix code* {cite:p}`kraft1949`. Sort the lengths, shortest first, and lay pieces of
# length $2^{-\ell_1}, 2^{-\ell_2}, \dots$ side by side from 0. They end at $S \le 1$. The $i$-th piece starts at a sum
# of earlier $2^{-\ell_j}$ with $\ell_j \le \ell_i$, a multiple of $2^{-\ell_i}$. So it consists of exactly the binary
# fractions that begin with certain $\ell_i$ digits; take these as the codeword. If one codeword were the beginning of
# another, its piece would contain the other piece. But the pieces are disjoint.
# :::
#
# To check the theorem by brute force we need a test of unique decodability that knows nothing of Kraft. Follow two
# decodings of the same bits and keep only what one of them is ahead: if what dangles is ever a codeword itself, the two
# can meet, and some stream has two meanings. (This is the test of {cite:t}`sardinas1953`.)


# %%
def uniquely_decodable(code):
    ahead = lambda a, b: {y[len(x) :] for x in a for y in b if y.startswith(x) and x != y}
    dangling, seen = ahead(code, code), set()
    while dangling - seen:
        if dangling & code:
            return False
        seen |= dangling
        dangling = ahead(code, dangling) | ahead(dangling, code)
    return True


words = ["".join(bits) for n in (1, 2, 3) for bits in itertools.product("01", repeat=n)]
codes = [set(three) for three in itertools.combinations(words, 3)]
decodable = [code for code in codes if uniquely_decodable(code)]
prefix = [code for code in decodable if not any(a != b and b.startswith(a) for a in code for b in code)]
print(f"{len(codes)} codes of three words of at most 3 bits")
print(f"{len(decodable)} uniquely decodable, {len(prefix)} of them prefix codes")

# %% tags=["check:thm-kraft"]
lengths = lambda code: tuple(sorted(len(word) for word in code))
sums = {some: kraft_sum(some) for some in {lengths(code) for code in codes}}

good = max(sums[lengths(code)] for code in decodable)
bad = max(sums[lengths(code)] for code in codes if code not in decodable)
print(f"greatest Kraft sum: {good} if uniquely decodable (expected at most 1), {bad} if not")
affordable = {some for some, total in sums.items() if total <= 1}
assert {lengths(code) for code in decodable} == affordable == {lengths(code) for code in prefix}
print(f"each of the {len(affordable)} affordable choices of lengths has a prefix code")
print("lvmlib's for lengths 1, 2, 3:", prefix_code([1, 2, 3]))

# %% [markdown]
# Codes that are decodable but not prefix codes exist, 80 of them here, and the last assertion says that they gain
# nothing. Every choice of lengths they can afford, a prefix code can too.
#
# ### The entropy is the limit
#
# How should the budget be spent if symbol $i$ comes with probability $p_i$? A codeword of length $\ell$ takes
# $2^{-\ell}$ of the budget, so give symbol $i$ the share $p_i$: length $-\log_2 p_i$, its surprise. The mean length is
# then the entropy. Only rounding to whole bits stands in the way.
#
# :::{prf:theorem} Mean length of a symbol code
# :label: thm-code-length
# Let $L = \sum_i p_i \ell_i$ be the mean length of a code for a source with probabilities $p_i$. Every uniquely
# decodable code has $L \ge H$, with equality only if $\ell_i = -\log_2 p_i$ for all $i$ with $p_i > 0$. And there is a
# prefix code with $L < H + 1$.
# :::
#
# :::{prf:proof}
# Sums run over symbols with $p_i > 0$; others need no codeword. With $\ln a \le a - 1$ and Kraft's inequality,
#
# $$ \begin{aligned} H - L = \sum_i p_i \log_2 \frac{2^{-\ell_i}}{p_i} &\le \frac{1}{\ln 2} \sum_i p_i \Big( \frac{2^{-\ell_i}}{p_i} - 1 \Big) \\ &= \frac{1}{\ln 2} \Big( \sum_i 2^{-\ell_i} - 1 \Big) \le 0 , \end{aligned} $$
#
# with equality in the first step only if $2^{-\ell_i} = p_i$ for all $i$. For the upper bound round the surprises up,
# $\ell_i = \lceil -\log_2 p_i \rceil$. Then $\sum_i 2^{-\ell_i} \le \sum_i p_i = 1$, so by {prf:ref}`thm-kraft` there
# is a prefix code with these lengths; and since $\ell_i < -\log_2 p_i + 1$, the mean is below $H + 1$.
# :::

# %% tags=["check:thm-code-length"]
lengths_of_four = [l for l in itertools.combinations_with_replacement(range(1, 12), 4) if kraft_sum(l) <= 1]
rng = np.random.default_rng(0)
rounded_up, best = [], []
for _ in range(300):
    p = np.sort(rng.dirichlet(np.full(4, 0.5)))[::-1]  # likely symbols get the short codewords
    best.append(min(p @ np.array(l) for l in lengths_of_four) - info.entropy(p))
    rounded_up.append(p @ np.ceil(-np.log2(p)) - info.entropy(p))
    assert 0 <= best[-1] <= rounded_up[-1] < 1
print(f"300 random sources of 4 symbols, {len(lengths_of_four)} choices of lengths for each")
print("bits above the entropy, expected between 0 and 1:")
print(f"  best code:            from {min(best):.4f} to {max(best):.4f}")
print(f"  surprises rounded up: from {min(rounded_up):.4f} to {max(rounded_up):.4f}")
powers_of_half = np.array([1 / 2, 1 / 4, 1 / 8, 1 / 8])  # whole surprises: equality
print("p = 1/2, 1/4, 1/8, 1/8:", powers_of_half @ [1, 2, 3, 3], "bits (entropy 1.75)")
assert min(powers_of_half @ np.array(l) for l in lengths_of_four) == info.entropy(powers_of_half) == 1.75

# %% [markdown]
# :::{admonition} Watch out: "every code has H ≤ L < H + 1"
# :class: pitfall
# The left half holds for every decodable code. The right half holds for *optimal* codes (and for rounded-up surprises).
# Three letters with probabilities 0.98, 0.01, 0.01 have an entropy of 0.161 bits; the code 00, 01, 10 spends 2 bits on
# each, which is 1.839 more. Optimal here is 1.020 bits. And a source with a single symbol needs no code at all: $H = 0$
# and the optimal codeword is the empty string, $L = 0$: the receiver only has to be told how many symbols there are.
# Implementations that insist on at least one bit have $L = 1 = H + 1$ and violate the bound.
# :::

# %%
p = [0.98, 0.01, 0.01]
lengths = {"fixed 2 bits": [2, 2, 2], "optimal": [len(word) for word in huffman_code(p).values()]}
for name, l in lengths.items():
    L, H = np.dot(p, l), info.entropy(p)
    print(f"{name:>12}: L = {L:.3f} bits, H = {H:.3f} bits, difference {L - H:.3f}")
print(f"one symbol: H = {info.entropy([1.0]):.0f} bits, optimal code {huffman_code([1.0])}")


# %% [markdown]
# (sec-huffman)=
# ### Huffman's code
#
# Rounding surprises up is good but not best. The best symbol code is Huffman's {cite:p}`huffman1952`; as the story
# goes, he found it as a student who had the choice between an examination and a term paper. His idea is to build the
# tree from its leaves: the two least probable symbols will sit deepest, so tie them together, treat the pair as one
# symbol, and repeat.
#
# :::{prf:theorem} Huffman's code is optimal
# :label: thm-huffman
# Among all uniquely decodable codes for a source with $K \ge 2$ symbols of positive probability, the code that merges
# the two least probable symbols until one is left has the smallest mean length.
# :::
#
# :::{prf:proof}
# By {prf:ref}`thm-kraft` it is enough to look at prefix codes, that is, at trees. An optimal tree exists, since only
# finitely many choices of lengths have a mean below any given bound. It has these properties. (i) *A more probable
# symbol never sits deeper:* otherwise exchanging the two would shorten the mean. (ii) *The deepest leaves come in
# pairs:* a deepest leaf without a sibling could move up to its parent. So, exchanging symbols of equal depth or of
# equal probability if need be, which leaves the mean as it is, the two least probable symbols, with probabilities $p$ and
# $p'$, may be taken to be siblings at the greatest depth.
#
# Replace this pair by its parent, as one symbol of probability $p + p'$. The mean length falls by exactly $p + p'$,
# whatever the rest of the tree looks like. So the tree is optimal if and only if the smaller tree is optimal for the
# merged source, which has $K - 1$ symbols. Repeat down to two symbols, where one bit each is optimal.
# :::
#
# In code, a node is a dictionary from the symbols below it to the bits that lead there:


# %%
def huffman(p):
    nodes = [(probability, {symbol: ""}) for symbol, probability in p.items()]
    while len(nodes) > 1:
        nodes.sort(key=lambda node: node[0], reverse=True)
        (p1, right), (p0, left) = nodes.pop(), nodes.pop()  # the two least probable
        nodes.append((p0 + p1, {s: "0" + w for s, w in left.items()} | {s: "1" + w for s, w in right.items()}))
    return nodes[0][1]


sonnets, _, last_sonnets = load(
    "text"
)  # Shakespeare's sonnets, as ASCII codes: the first 130 and, for a test, the last 16
text = bytes(sonnets.x.numpy()).decode()
letters = Counter(c for c in text.lower() if c.isalpha())
p = {letter: count / letters.total() for letter, count in letters.most_common()}
ours, library = huffman(p), huffman_code(p)
mean_length = lambda code: sum(p[s] * len(word) for s, word in code.items())
print({letter: ours[letter] for letter in "etajq"})
print(f"mean length {mean_length(ours):.4f} bits, lvmlib's {mean_length(library):.4f}")
print(f"entropy     {info.entropy(list(p.values())):.4f} bits")
assert math.isclose(mean_length(ours), mean_length(library))

# %% tags=["check:thm-huffman"]
lengths_of_five = [l for l in itertools.combinations_with_replacement(range(1, 8), 5) if kraft_sum(l) <= 1]
rng, worst = np.random.default_rng(1), 0.0
for _ in range(300):
    probabilities = np.sort(rng.dirichlet(np.full(5, rng.choice([0.3, 1, 10]))))[::-1]
    shortest = min(probabilities @ np.array(l) for l in lengths_of_five)
    by_huffman = sum(probabilities[s] * len(word) for s, word in huffman(dict(enumerate(probabilities))).items())
    worst = max(worst, abs(by_huffman - shortest))
print(f"300 random sources of 5 symbols, {len(lengths_of_five)} choices of lengths tried on each:")
print(f"Huffman's mean length differs from the best by at most {worst:.9f} bits")
assert worst < 1e-12

# %% [markdown]
# (sec-utf8)=
# ### Does the code on your disk know the alphabet's frequencies?
#
# Text files do not use Huffman's code. They use UTF-8, which has codewords of 8, 16, 24 and 32 bits, a prefix code too.
# How do its lengths compare with the surprise of the characters? We count every character of the 130 sonnets, spaces
# and line ends included, and set the apostrophe as a printed book does, as ’ (U+2019).

# %%
printed = text.replace("'", "’")
counts = Counter(printed)
share = {c: n / counts.total() for c, n in counts.items()}
surprise = {c: -math.log2(share[c]) for c in share}
text_entropy = sum(share[c] * surprise[c] for c in share)
huffman_words = huffman_code(share)
codeword_lengths = {
    "UTF-8": {c: 8 * len(c.encode()) for c in share},
    "Huffman": {c: len(huffman_words[c]) for c in share},
}
for c in "e’Jz":
    row = ", ".join(f"{name} {length[c]:2} bits" for name, length in codeword_lengths.items())
    print(f"{c}: {counts[c]:5} times, surprise {surprise[c]:5.2f} bits, {row}")

# %% mystnb={"figure": {"caption": "Codeword length against surprise for each character of the sonnets. Huffman's code follows the diagonal within a bit or so; UTF-8 gives 8 bits to all ASCII characters alike, and 24 to the apostrophe, which is no rare guest.", "name": "fig-utf8"}, "image": {"alt": "Scatter plot. Huffman lengths climb with surprise along the diagonal from 3 to 15 bits; the UTF-8 lengths lie on a flat line at 8 bits, with one point at 24 bits for the apostrophe at a surprise of about 7 bits."}}
fig, ax = plt.subplots(figsize=(6, 3.6))
for (name, length), marker in zip(codeword_lengths.items(), "s."):
    mean = sum(share[c] * length[c] for c in share)
    label = f"{name}: {mean:.2f} bits per character"
    ax.plot(list(surprise.values()), [length[c] for c in surprise], marker, alpha=0.7, label=label)
ax.plot([2, 17], [2, 17], "--", color="black", linewidth=1, label=f"entropy: {text_entropy:.2f} bits per character")
for c, name, side in (" ", "space", "right"), ("e", "e", "left"), ("’", "apostrophe", "right"):
    place = surprise[c], codeword_lengths["UTF-8"][c]
    ax.annotate(name, place, xytext=(0, 7), textcoords="offset points", ha=side)
ax.set(xlabel="surprise of the character (bits)", ylabel="length of its codeword (bits)", xlim=(1, 17.5), ylim=(0, 27))
ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# :::{admonition} Watch out: "UTF-8 gives rare symbols more bytes"
# :class: pitfall
# Its lengths follow the *code points*, the numbers that characters have in the Unicode table, and the table was not
# sorted by your text. In these sonnets the printed apostrophe occurs 528 times and takes 24 bits each time; "J" occurs
# 3 times and takes 8, as does "e", which occurs 7635 times. UTF-8 spends 8.10 bits per character where the frequencies
# ask for 4.52. It was designed to agree with ASCII and to be readable from any byte onwards, not to be short.
# :::
#
# (sec-blocks)=
# ### What is half a bit?
#
# A coin with $p = 0.1$ has entropy 0.469 bits. No symbol code gets there: two symbols, one bit each. But nobody forces
# us to code one flip at a time. Code *blocks*: two flips have four outcomes with probabilities 0.81, 0.09, 0.09, 0.01,
# and Huffman's code for these needs 1.29 bits, or 0.645 per flip. The block entropy of $n$ independent symbols is $nH$
# (we prove this as part of the chain rule), and the one bit of rounding is now shared by $n$ symbols:
#
# :::{prf:corollary} Blocks
# :label: thm-blocks
# Let $L_n$ be the mean length of an optimal code for blocks of $n$ independent symbols from one source of entropy $H$.
# Then $H \le L_n / n < H + 1/n$.
# :::
#
# :::{prf:proof}
# {prf:ref}`thm-code-length` for the blocks says $nH \le L_n < nH + 1$. Divide by $n$.
# :::

# %% mystnb={"figure": {"caption": "Huffman's code for blocks of n flips of a coin with p = 0.1. The cost per flip comes down to the entropy of 0.469 bits: this is what a fraction of a bit means. It need not fall at every step.", "name": "fig-blocks"}, "image": {"alt": "Points over block lengths 1 to 12: 1 bit per flip at n equal to 1, 0.645 at 2, then falling towards a dashed line at 0.469 bits; all points lie below the curve entropy plus one over n."}} tags=["check:thm-blocks"]
H = info.entropy([0.9, 0.1])
n = np.arange(1, 13)
per_flip, p = [], np.ones(1)
for k in n:
    p = np.kron(p, [0.9, 0.1])  # probabilities of the 2^k blocks
    per_flip.append(sum(p[block] * len(word) for block, word in huffman_code(p).items()) / k)
per_flip = np.array(per_flip)
assert (per_flip >= H).all() and (per_flip < H + 1 / n).all()

fig, ax = plt.subplots(figsize=(6, 3.2))
ax.plot(n, H + 1 / n, color=COLOURS["orange"], label="entropy + 1/n")
ax.plot(n, per_flip, "o-", label="Huffman, blocks of n flips")
ax.axhline(H, linestyle="--", color="black", linewidth=1, label=f"entropy: {H:.3f}")
ax.set(xlabel="flips per block n", ylabel="bits per flip", ylim=(0.4, 1.1), xticks=n)
ax.legend()
plt.show()
print("bits per flip for n = 1, 2, 4, 8, 12:", per_flip[[0, 1, 3, 7, 11]].round(4))
print(f"entropy: {H:.4f} bits")


# %% [markdown]
# Blocks have a price: the table of codewords has $2^n$ entries. Is there a way to code a whole book as one block,
# without writing down the table?
#
# (sec-arithmetic)=
# ## Arithmetic coding: one block for the whole stream
#
# Go back to the picture of the cut interval. Kraft's construction gives every message its own piece of $[0, 1)$, and
# the pieces can be found *one symbol at a time*: cut the interval in proportion to the probabilities of the first
# symbol and step into the piece of the one that came; cut that piece in proportion to the probabilities of the second
# symbol, *given the first*; and so on ({numref}`fig-arithmetic`). After the whole stream we stand in an interval whose
# length is the product of all these conditional probabilities, which is the probability of the stream. Write down a
# binary fraction inside it, and the receiver, who cuts along with us, can retrace every step.


# %% tags=["hide-input"]
def write_value(ax, x, row, value):
    ax.text(x, -row + 0.21, f"{value:g}", ha="center", va="bottom", fontsize=9.5)


def draw_row(ax, row, low, length, chosen):
    start = 0.0
    for i, (letter, p) in enumerate({"a": 0.5, "b": 0.3, "c": 0.2}.items()):
        on = letter == chosen
        ax.barh(-row, p, left=start, height=0.36, color=f"C{i}", alpha=1 if on else 0.3, edgecolor="white")
        ax.text(start + p / 2, -row, letter, ha="center", va="center", color="white" if on else "black")
        if on:  # zoom in: the chosen piece becomes the next row
            ax.plot([start, 0], [-row - 0.19, -row - 0.6], ":", color="black", linewidth=1)
            ax.plot([start + p, 1], [-row - 0.19, -row - 0.6], ":", color="black", linewidth=1)
            piece = low + length * start, length * p
        write_value(ax, start, row, low + length * start)
        start += p
    write_value(ax, 1, row, low + length)
    return piece


# %% mystnb={"figure": {"caption": "Arithmetic coding of 'bac' for a source with probabilities 0.5, 0.3, 0.2 for a, b, c. Each row zooms into the piece chosen in the row above. The last interval, [0.62, 0.65), has length 0.3 x 0.5 x 0.2 = 0.03, and the solid piece, all binary fractions that begin 0.101000, lies in it: the code is 101000.", "name": "fig-arithmetic"}, "image": {"alt": "Three stacked bars, each cut into pieces a, b and c in proportion 5 to 3 to 2. The chosen piece of each bar is highlighted and widens into the whole of the next bar. A fourth bar from 0.62 to 0.65 contains a piece labelled 0.101000."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6.4, 3.8))
low, length = 0.0, 1.0
for row, symbol in enumerate("bac"):
    low, length = draw_row(ax, row, low, length, symbol)
left, width = (0.625 - low) / length, 2**-6 / length  # 0.625 is 0.101000 in binary
ax.barh([-3, -3], [1, width], left=[0, left], height=0.36, color=["#dddddd", "black"])
ax.text(left + width / 2, -3, "0.101000...", ha="center", va="center", color="white")
write_value(ax, 0, 3, low)
write_value(ax, 1, 3, low + length)
ax.set(xlim=(-0.04, 1.04), ylim=(-3.3, 0.5))
ax.axis("off")
plt.show()


# %% [markdown]
# :::{prf:theorem} Arithmetic coding
# :label: thm-arithmetic
# Let a model give probability $Q > 0$ to a stream. Then $n = \lceil -\log_2 Q \rceil + 1$ bits, fewer than
# $-\log_2 Q + 2$, are enough to name an interval of length $2^{-n}$ inside the stream's interval, and the codes of
# streams of equal length, named in this way, are a prefix code. If the streams come from a source $p$, their mean
# length is below $\mathbb{E}_p[-\log_2 Q] + 2$.
# :::
#
# :::{prf:proof}
# The stream's interval $[u, u + Q)$ has length $Q \ge 2 \cdot 2^{-n}$. The first multiple $m 2^{-n}$ at or above $u$ is
# less than $2^{-n}$ away from it, so $[m 2^{-n}, (m + 1) 2^{-n})$ ends before $u + 2 \cdot 2^{-n} \le u + Q$ and lies
# inside. It consists of the fractions that begin with the $n$ binary digits of $m 2^{-n}$: these digits are the code.
# Different streams of equal length have disjoint intervals, so, as in {prf:ref}`thm-kraft`, no code is the beginning of
# another. The last statement is the mean of the first.
# :::
#
# The quantity $\mathbb{E}_p[-\log_2 Q]$ is called the cross-entropy, and it has a section of its own below. With exact
# fractions the whole coder is a dozen lines. The model is any function from the symbols so far to the probabilities of
# the next.


# %%
def interval(model, stream):
    low, length = Fraction(0), Fraction(1)
    for i, symbol in enumerate(stream):
        p = model(stream[:i])
        low, length = low + length * sum(p[:symbol]), length * p[symbol]
    return low, length


def encode(model, stream):
    low, length = interval(model, stream)
    n = 0
    while (m := math.ceil(low * 2**n)) + 1 > (low + length) * 2**n:  # does [m, m + 1) / 2^n fit?
        n += 1
    return format(m, f"0{n}b") if n else ""


def decode(model, bits, size):
    point, stream = Fraction(int("0" + bits, 2), 2 ** len(bits)), []
    for _ in range(size):
        pieces = [interval(model, [*stream, symbol]) for symbol in range(len(model(stream)))]
        stream.append(next(s for s, (low, length) in enumerate(pieces) if low <= point < low + length))
    return stream


# %% tags=["check:thm-arithmetic"]
letter_model = lambda prefix: [Fraction(n, 10) for n in (5, 3, 2)]  # or anything else that depends on the prefix
print("bac ->", encode(letter_model, [1, 0, 2]))

excess, words, mean = [], [], 0.0
for stream in itertools.product(range(3), repeat=6):
    Q = float(interval(letter_model, stream)[1])
    bits = encode(letter_model, stream)
    assert decode(letter_model, bits, 6) == list(stream) and len(bits) < -math.log2(Q) + 2
    excess.append(len(bits) + math.log2(Q))
    words.append(bits)
    mean += Q * len(bits)
words.sort()
assert not any(b.startswith(a) for a, b in zip(words, words[1:]))
print("all 729 streams of 6 symbols decode")
print(f"bits beyond -log2 Q: from {min(excess):.3f} to {max(excess):.3f} (expected from 0 to below 2)")
print(f"mean length {mean:.3f} bits, entropy of the stream {6 * info.entropy([0.5, 0.3, 0.2]):.3f}")

# %% [markdown]
# Exact fractions grow with the stream, so the time this coder takes grows at least with the square of the stream's
# length. `lvmlib.compression` does the same with 64-bit integers: it writes bits out as soon as they are settled, and its
# rounding costs about $10^{-4}$ bits per symbol. Its `slots` turns probabilities into integers too: symbol by symbol, a
# run of the numbers from 0 to $2^{24} - 1$. On the stream above both coders give the same bits.

# %%
from lvmlib.compression import Encoder, arithmetic_decode, arithmetic_encode, slots

encoder = Encoder()
encoder.push([1, 0, 2], slots([[0.5, 0.3, 0.2]] * 3))  # a table of slots for each symbol
data = encoder.finish()
print("lvmlib:", "".join(f"{byte:08b}" for byte in data)[: encoder.bits], " ours:", encode(letter_model, [1, 0, 2]))


# %% [markdown]
# ### Compressing Shakespeare
#
# Now the model earns its keep. {term}`Arithmetic coding <arithmetic coding>` turns *any* predictor of the next symbol
# into a compressor, and the file is as long as the predictor is surprised. We learn from the first 130 sonnets how
# often each character follows the last $k$ characters, mixing each order with the shorter ones below it, and compress
# the last 16, which the model has never seen. It is told one thing about them: the alphabet is that of both parts
# together, so that no character of the test is impossible. A receiver has to know it too.


# %%
class Ngram:
    """Probabilities of the next character from counts of what followed the last 0, 1, ..., order characters."""

    def __init__(self, text, order, size):
        self.order, self.size = order, size
        self.counts = defaultdict(lambda: np.zeros(size))
        for k in range(order + 1):
            for i in range(k, len(text)):
                self.counts[tuple(text[i - k : i])][text[i]] += 1

    def __call__(self, prefix):
        p = np.full(self.size, 1 / self.size)
        for k in range(min(self.order, len(prefix)) + 1):
            context = tuple(prefix[len(prefix) - k :])
            if context in self.counts:  # a longer context corrects a shorter one, the more so the oftener it was seen
                seen = self.counts[context]
                doubt = 2 * np.count_nonzero(seen)  # many different followers: expect still others
                p = (seen + doubt * p) / (seen.sum() + doubt)
        return p


# %%
alphabet = sorted(set(text) | set(bytes(last_sonnets.x.numpy()).decode()))
known = [alphabet.index(c) for c in text]
unseen = [alphabet.index(c) for c in bytes(last_sonnets.x.numpy()).decode()]
print(f"{len(known)} characters to learn from, {len(unseen)} to compress, alphabet of {len(alphabet)}")

sizes = {}
for order in range(-1, 6):
    model = Ngram(known, order, len(alphabet))
    data = arithmetic_encode(model, unseen, framed=False)
    ideal = -sum(math.log2(model(unseen[max(0, i - 5) : i])[symbol]) for i, symbol in enumerate(unseen))
    assert arithmetic_decode(model, data, length=len(unseen)).tolist() == unseen  # exact
    assert 8 * len(data) < ideal + 2 + 1e-3 * len(unseen) + 8  # the ending, rounding, and whole bytes
    name = "no model" if order < 0 else f"last {order} characters"
    sizes[name] = 8 * len(data) / len(unseen)
    print(f"{name:>17}: -log2 Q = {ideal:8.1f}, file {8 * len(data)} bits or {sizes[name]:.3f} per character")

# %% mystnb={"figure": {"caption": "Sixteen sonnets on disk. A longer memory makes the model less surprised and the file shorter, until contexts become too rare to learn from. zlib and xz, which learn from the 16 sonnets alone, cannot compete with a model that has read 130 others. Let xz read them too, and it comes close to two characters of memory.", "name": "fig-text"}, "image": {"alt": "Horizontal bars of bits per character: no model about 6, last 0 characters about 4.5, falling to about 2.5 for four characters; zlib and xz about 3.7, and 2.9 for xz that has read the other sonnets."}} tolerance={"rtol": 0.02}
raw, rest = text.encode(), bytes(last_sonnets.x.numpy())
sizes["zlib"] = 8 * len(zlib.compress(rest, 9)) / len(rest)
sizes["xz"] = 8 * len(lzma.compress(rest)) / len(rest)
sizes["xz that has read the others"] = 8 * (len(lzma.compress(raw + rest)) - len(lzma.compress(raw))) / len(rest)

fig, ax = plt.subplots(figsize=(6.2, 3.4))
colours = ["C0" if "character" in name or name == "no model" else COLOURS["orange"] for name in sizes]
ax.barh(list(sizes), list(sizes.values()), color=colours)
for i, value in enumerate(sizes.values()):
    ax.text(value + 0.06, i, f"{value:.2f}", va="center")
ax.set(xlabel="bits per character", xlim=(0, 6.9))
ax.invert_yaxis()
ax.grid(visible=False, axis="y")
plt.show()


# %% [markdown]
# In every row the file is the model's $-\log_2 Q$, to within a few bits and the filling of the last byte. (With four
# characters of memory it is a fraction of a bit shorter: the integers give very rare characters a little more than their
# due.) So *the loss of a probability model is a file size*: this is not a metaphor, and it is why later chapters report
# their models in bits per pixel. Where a model is slow, so is its compressor (each symbol costs one call of the model,
# for the sender and for the receiver alike); and the receiver must compute the same probabilities to the last bit.
#
# Shannon let people guess the next letter of printed English and put its entropy between 0.6 and 1.3 bits per letter
# {cite:p}`shannon1951`. Our best model, with four characters of memory, needs 2.46. It also has to predict capitals and
# punctuation, which Shannon left out; even so it is no reader yet.
#
# (sec-joint)=
# ## Two variables: what is left when one is known?
#
# Letters do not come alone. After a q we bet on u. How much of a letter's entropy does the letter before it take away?
#
# :::{prf:definition} Joint and conditional entropy
# :label: def-joint-entropy
# For two variables with joint distribution $p(x, y)$ the *joint entropy* is $H(X, Y) = \mathbb{E}[-\log p(X, Y)]$, the
# entropy of the pair. The *conditional entropy* is the mean surprise of $Y$ for someone who knows $X$,
#
# $$ H(Y \mid X) = \mathbb{E}[-\log p(Y \mid X)] = \sum_x p(x)\, H(Y \mid X = x) . $$ (eq-conditional-entropy)
# :::
#
# The expectation runs over *both* variables. Think of $p(y \mid x)$ as a table with one row for each $x$: first come
# the entropies of the rows, $H(Y \mid X = x)$, then their mean. A single row may well have a larger entropy than $Y$
# itself (news can confuse); the mean cannot, as we shall see.
#
# :::{prf:theorem} Chain rule
# :label: thm-chain-rule
# $H(X, Y) = H(X) + H(Y \mid X)$, and for $n$ variables
#
# $$ H(X_1, \dots, X_n) = \sum_{i=1}^{n} H(X_i \mid X_1, \dots, X_{i-1}) . $$ (eq-chain-rule)
#
# If the variables are independent with equal distributions, the entropy is $n H(X_1)$.
# :::
#
# :::{prf:proof}
# Probabilities multiply, $p(x_1, \dots, x_n) = \prod_i p(x_i \mid x_1, \dots, x_{i-1})$, so surprises add. Take
# expectations of both sides of $-\log p(x_1, \dots, x_n) = \sum_i -\log p(x_i \mid x_1, \dots, x_{i-1})$. For
# independent variables every conditional distribution is the marginal one.
# :::
#
# The chain rule is what arithmetic coding did with the sonnets, and what every autoregressive model in this book does.
# Let us look at pairs of neighbouring letters: {numref}`fig-bigrams` is their joint distribution, and
# {numref}`fig-chain-rule` what the chain rule says about it.


# %%
def joint_of_neighbours(text):
    """p(x, y) of a character and the one after it, over the letters and a stand-in for everything else."""
    index = np.array(["abcdefghijklmnopqrstuvwxyz".find(c) for c in text.lower()]) % 27  # -1, not a letter, becomes 26
    counts = np.zeros((27, 27))
    np.add.at(counts, (index[:-1], index[1:]), 1)
    return counts / counts.sum()


letter_joint = joint_of_neighbours(text)
letters = [*"abcdefghijklmnopqrstuvwxyz", "·"]
given = letter_joint / letter_joint.sum(axis=1, keepdims=True)  # p(y | x), a row for each x
h_x, h_y = entropy(letter_joint.sum(axis=1)), entropy(letter_joint.sum(axis=0))
h_xy, h_y_given_x = entropy(letter_joint.ravel()), letter_joint.sum(axis=1) @ [entropy(row) for row in given]
assert np.allclose([h_xy, h_y_given_x], [info.joint_entropy(letter_joint), info.conditional_entropy(letter_joint)])
for x in "qtn·":
    row = given[letters.index(x)]
    print(f"after {x}: entropy {entropy(row):.3f} bits, most likely {letters[row.argmax()]} ({row.max():.2f})")

# %% [markdown]
# After q no doubt is left at all. After a gap (everything that is not a letter counts as one) the next character is
# *less* certain, 4.055 bits, than for someone who knows nothing, 4.002 bits: a single piece of news can confuse.

# %% mystnb={"figure": {"caption": "How often each letter (or a gap, the dot) follows each other letter in the sonnets.", "name": "fig-bigrams"}, "image": {"alt": "A 27 by 27 heat map of letter pairs; the most frequent pairs include t followed by h, h followed by e, and e followed by a gap."}}
fig, ax = plt.subplots(figsize=(5.2, 4.4))
picture = ax.imshow(letter_joint, vmax=0.02, cmap="cividis")
ax.set(xticks=range(27), yticks=range(27), xlabel="next letter y", ylabel="letter x")
ax.set_xticklabels(letters, fontsize=9)
ax.set_yticklabels(letters, fontsize=9)
ax.grid(visible=False)
fig.colorbar(picture, ax=ax, label="p(x, y)", extend="max")
plt.show()

# %% mystnb={"figure": {"caption": "The chain rule as bars. What is in the pair is what is in x plus what is left in y. Knowing a letter takes 0.71 bits (last piece) off the entropy of the next.", "name": "fig-chain-rule"}, "image": {"alt": "Three rows of bars. H(X, Y) of 7.29 bits; H(X) of 4.00 followed by H(Y given X) of 3.29, together as long as the first row; H(Y) of 4.00, whose first 3.29 bits are the same bar and whose rest of 0.71 is grey."}} tags=["hide-input"]
rows = [
    (0, 0, h_xy, "black", f"H(X, Y) = {h_xy:.2f}"),
    (1, 0, h_x, COLOURS["blue"], f"H(X) = {h_x:.2f}"),
    (1, h_x, h_y_given_x, COLOURS["orange"], f"H(Y | X) = {h_y_given_x:.2f}"),
    (2, h_x, h_y_given_x, COLOURS["orange"], f"H(Y | X) = {h_y_given_x:.2f}"),
    (2, h_x + h_y_given_x, h_y - h_y_given_x, "#cccccc", f"{h_y - h_y_given_x:.2f}"),
]
fig, ax = plt.subplots(figsize=(6.4, 2))
for row, left, width, colour, words in rows:
    ax.barh(row, width, left=left, color=colour, height=0.7, edgecolor="white")
    ax.text(left + width / 2, row, words, ha="center", va="center", color="white" if row < 2 and left == 0 else "black")
ax.text(h_x - 0.1, 2, f"H(Y) = {h_y:.2f}, of which", ha="right", va="center")
ax.set(xlabel="bits", yticks=[], ylim=(2.5, -0.5), xlim=(0, 8.1))
ax.spines["left"].set_visible(False)
plt.show()

# %% tags=["check:thm-chain-rule"]
p = np.random.default_rng(0).dirichlet(np.full(2 * 3 * 4, 0.5)).reshape(2, 3, 4)  # three dependent variables
h_1 = entropy(p.sum((1, 2)))
h_2 = sum(p[a].sum() * entropy(p[a].sum(1) / p[a].sum()) for a in range(2))  # H(X2 | X1), row by row
h_3 = sum(p[a, b].sum() * entropy(p[a, b] / p[a, b].sum()) for a in range(2) for b in range(3))  # H(X3 | X1, X2)
total = h_1 + h_2 + h_3
print(f"three variables: {h_1:.4f} + {h_2:.4f} + {h_3:.4f} = {total:.4f} bits")
print(f"joint entropy:   {entropy(p.ravel()):.4f} bits")
assert math.isclose(total, entropy(p.ravel()))
print(f"letters:         {h_x:.4f} + {h_y_given_x:.4f} = {h_x + h_y_given_x:.4f} bits, joint entropy {h_xy:.4f}")
assert math.isclose(h_x + h_y_given_x, h_xy)
coin = np.array([0.9, 0.1])
five = np.kron(coin, np.kron(np.kron(coin, coin), np.kron(coin, coin)))  # 32 probabilities
print(f"five independent coins: {entropy(five):.4f} bits, 5 H = {5 * entropy(coin):.4f}")
assert math.isclose(entropy(five), 5 * entropy(coin))


# %% [markdown]
# (sec-kl)=
# ## What does the wrong model cost?
#
# A code is built for the probabilities that you *believe*, $q$. Symbols come with the probabilities that are *true*,
# $p$. Symbol $i$ then costs $-\log_2 q_i$ bits instead of the $-\log_2 p_i$ it deserves, and what you pay on average
# has two names, one for the total and one for the excess.
#
# :::{prf:definition} Cross-entropy and KL divergence
# :label: def-kl
# For distributions $p$ and $q$ over the same outcomes, the *cross-entropy* is the mean surprise of someone who believes
# $q$ while $p$ is true, and the *Kullback-Leibler divergence* {cite:p}`kullback1951` is the excess over the entropy:
#
# $$ \begin{aligned} H(p, q) &= -\sum_i p_i \log q_i, \\ \operatorname{KL}(p \,\|\, q) &= H(p, q) - H(p) = \sum_{i:\, p_i > 0} p_i \log \frac{p_i}{q_i} . \end{aligned} $$ (eq-kl)
#
# If $q_i = 0$ somewhere where $p_i > 0$, both are infinite: someone who holds an event to be impossible has no codeword
# for it.
# :::
#
# Mind the comma: $H(p, q)$ is about two distributions of *one* variable, $H(X, Y)$ about two variables. For densities
# the sums become integrals. To see the cost on disk, use a code made for one language on another. We have
# no second language at hand, so we take Huffman's code for the letters of the sonnets and use it on a text in which
# every letter is replaced by the next one in the alphabet.


# %%
def kl(p, q):
    p, q = np.array(p, dtype=float), np.array(q, dtype=float)
    on = p > 0  # the sum runs over the support of p, and only there
    return (p[on] * np.log2(p[on] / q[on])).sum()


believed = np.array([text.lower().count(c) for c in "abcdefghijklmnopqrstuvwxyz"]) / sum(c.isalpha() for c in text)
true = np.roll(believed, 1)  # a becomes b, b becomes c, ...
words = huffman_code(believed)
cost = {
    name: sum(p[s] * len(words[s]) for s in range(26)) for name, p in {"sonnets": believed, "shifted": true}.items()
}
print("Huffman's code for the sonnets, bits per letter:", {name: f"{bits:.3f}" for name, bits in cost.items()})
print(f"shifted text: entropy {info.entropy(true):.3f} bits", end="")
print(f", cross-entropy {info.cross_entropy(true, believed):.3f}, difference {info.kl_divergence(true, believed):.3f}")
assert math.isclose(kl(true, believed), info.kl_divergence(true, believed))
print(f"a fair coin believed to be 90:10 costs {kl([0.5, 0.5], [0.9, 0.1]):.3f} bits more than it should")
print(f"a 90:10 coin believed to be fair costs {kl([0.9, 0.1], [0.5, 0.5]):.3f} bits more than it should")

# %% [markdown]
# The shifted text is no less orderly, its entropy is still 4.191 bits, but the wrong code spends 5.316 bits per letter
# instead of 4.209. Ideal codewords of $-\log_2 q_i$ bits would have spent the cross-entropy, 5.487, which is 1.296 too
# many. That Huffman's whole bits come out below it contradicts nothing: their lengths are the ideal ones of slightly
# different beliefs, $2^{-\ell_i}$, which happen to be less wrong about this text.
#
# The last two lines differ: *the KL divergence is not symmetric*, and so it is no distance. Swapping the roles of
# belief and truth is another question.
#
# Can the wrong model ever cost *less* than the right one? The name "excess" says no, and now we prove it, in two ways,
# because both proofs return many times in this book.
#
# :::{prf:theorem} Gibbs' inequality
# :label: thm-gibbs
# $\operatorname{KL}(p \,\|\, q) \ge 0$, with equality if and only if $p = q$.
# :::
#
# :::{prf:proof}
# If the divergence is infinite there is nothing to show. Otherwise $q_i > 0$ wherever $p_i > 0$. We use natural
# logarithms; other units only multiply by a positive constant.
#
# *First proof: a tangent.* The line $a - 1$ touches $\ln a$ at $a = 1$ and lies above it everywhere else
# ({numref}`fig-tangent`). With $a = q_i / p_i$,
#
# $$ \begin{aligned} -\operatorname{KL}(p \,\|\, q) = \sum_{i:\, p_i > 0} p_i \ln \frac{q_i}{p_i} &\le \sum_{i:\, p_i > 0} p_i \Big( \frac{q_i}{p_i} - 1 \Big) \\ &= \sum_{i:\, p_i > 0} q_i - 1 \le 0 . \end{aligned} $$
#
# *Second proof: Jensen's inequality.* The logarithm is strictly concave, so the mean of a logarithm is at most the
# logarithm of the mean:
#
# $$ \begin{aligned} -\operatorname{KL}(p \,\|\, q) = \mathbb{E}_p\Big[ \ln \frac{q}{p} \Big] &\le \ln \mathbb{E}_p\Big[ \frac{q}{p} \Big] \\ &= \ln \sum_{i:\, p_i > 0} q_i \le \ln 1 = 0 . \end{aligned} $$
#
# *Equality.* In the first proof it needs $q_i = p_i$ wherever $p_i > 0$; then the $q_i$ on the support of $p$ already
# sum to 1 and the others vanish, so $q = p$. Conversely $\operatorname{KL}(p \,\|\, p) = 0$. For densities replace sums
# by integrals; equality then means equality almost everywhere.
# :::

# %% mystnb={"figure": {"caption": "The inequality behind the first proof holds for the natural logarithm: a - 1 is its tangent. The binary logarithm has slope 1.443 at a = 1 and runs above the line from a = 1 to a = 2.", "name": "fig-tangent"}, "image": {"alt": "The line a minus 1 touches the curve ln a at a equal to 1 and stays above it. The curve log2 a crosses the line at 1 and at 2 and lies above it in between; the point at a equal to 1.5, height 0.585, is marked."}}
a = np.linspace(0.12, 2.6, 300)
fig, ax = plt.subplots(figsize=(6, 3.4))
ax.plot(a, a - 1, color="black", linewidth=1.5, label="a - 1")
ax.plot(a, np.log(a), label="ln a")
ax.plot(a, np.log2(a), label="log2 a")
ax.fill_between(a, a - 1, np.log2(a), where=(a >= 1) & (a <= 2), color=COLOURS["vermilion"], alpha=0.5)
ax.plot(1.5, np.log2(1.5), "o", color=COLOURS["vermilion"])
ax.annotate(
    "log2 1.5 = 0.585",
    (1.5, np.log2(1.5)),
    xytext=(-12, 20),
    textcoords="offset points",
    ha="right",
    arrowprops={"arrowstyle": "-", "color": "black"},
)
ax.set(xlabel="a", ylabel="value", ylim=(-2, 1.7))
ax.legend(loc="lower right")
plt.show()

# %% tags=["check:thm-gibbs"]
rng = np.random.default_rng(0)
p, q = rng.dirichlet(np.ones(5), size=100_000), rng.dirichlet(np.ones(5), size=100_000)
divergence = info.kl_divergence(p, q)
print(f"100,000 random pairs: KL from {divergence.min():.4f} to {divergence.max():.2f} bits (never below 0)")
assert (divergence > 0).all() and (info.kl_divergence(p, p) == 0).all()
nearby = info.kl_divergence(p, 0.999 * p + 0.001 * q)
print(f"q a thousandth of the way from p: KL from {nearby.min():.1e} bits (still above 0)")
assert (nearby > 0).all()
half_outside = info.kl_divergence([0.5, 0.5, 0], [0.25, 0.25, 0.5])
print(f"half of q outside the support of p: {half_outside} bit (expected 1)")
print(f"q = 0 where p > 0: {info.kl_divergence([0.5, 0.5], [1, 0])}")
assert half_outside == 1 and np.isclose([kl(*pair) for pair in zip(p[:1000], q[:1000])], divergence[:1000]).all()

# %% [markdown]
# :::{admonition} Watch out: "log a ≤ a − 1, so the KL divergence in bits is non-negative"
# :class: pitfall
# The inequality is true for the natural logarithm and *false* for the binary one: $\log_2 1.5 = 0.585 > 0.5$. The
# conclusion survives, since bits are nats times a positive constant; the proof as it stands on many slides does not.
# And the sums must run over the support of $p$: in the example above $q$ has half its mass where $p$ has none, so
# $\sum_{p_i > 0} q_i = 0.5$. A proof that sums $q_i$ over all outcomes and writes "= 1" has divided by $p_i = 0$ on the
# way.
# :::
#
# (sec-forward-reverse)=
# ### Forward or reverse?
#
# Suppose $p$ has two humps and your model $q$ has only one. No choice of $q$ is right; which one is least wrong? It
# depends on who is asked to be surprised.
#
# - $\operatorname{KL}(p \,\|\, q)$, the *forward* divergence: draws come from $p$ and $q$ must not be surprised by
#   them. Wherever $p$ has mass, $q$ must have some too. The model **covers all modes**, and fills the gap between them
#   with mass that belongs nowhere.
# - $\operatorname{KL}(q \,\|\, p)$, the *reverse* one: draws come from $q$ and $p$ must not be surprised. Wherever $p$
#   has nothing, $q$ must have nothing. The model **seeks one mode** and forgets the other, at a small price: leaving
#   out a mode is cheap, setting foot between the modes is not.
#
# We compute both divergences on a fine grid for every mean and width of a Gaussian $q$, and find the minima.

# %%
normal = scipy.stats.norm.pdf
line = np.linspace(-20, 20, 1601)
dx = line[1] - line[0]
target = 0.6 * normal(line, -2, 0.8) + 0.4 * normal(line, 2.2, 0.6)

means, widths = np.linspace(-4, 4, 81), np.linspace(0.3, 4, 75)
log_q = scipy.stats.norm.logpdf(line, means[:, None, None], widths[:, None])  # [mean, width, x]
forward = (target * (np.log2(target) - log_q / math.log(2))).sum(-1) * dx
reverse = (np.exp(log_q) * (log_q / math.log(2) - np.log2(target))).sum(-1) * dx

right_half = np.where(means[:, None] > 0.5, reverse, np.inf)
fits = {}
print("fit                  mean  width  KL(p||q)  KL(q||p)  (bits)")
for name, surface in {"forward": forward, "reverse": reverse, "reverse, right hump": right_half}.items():
    i, j = fits[name] = np.unravel_index(surface.argmin(), surface.shape)
    print(f"{name:<19} {means[i]:5.2f}  {widths[j]:5.2f}  {forward[i, j]:8.2f}  {reverse[i, j]:8.2f}")
mean = (target * line).sum() * dx
print(f"{'p itself':<19} {mean:5.2f}  {math.sqrt((target * (line - mean) ** 2).sum() * dx):5.2f}")

# %% mystnb={"figure": {"caption": "One Gaussian for two humps. Forward KL has a single minimum, which takes over the mean and the variance of p and has its peak in the valley. Reverse KL has a minimum for each hump. Below, the two landscapes over mean and width of q, with their minima.", "name": "fig-forward-reverse"}, "image": {"alt": "Upper row: a two-humped density with a broad Gaussian over both humps, and the same density with one narrow Gaussian on each hump. Lower row: contours of forward KL with one basin in the middle, and of reverse KL with two basins, one per hump."}}
fig, axes = plt.subplots(2, 2, figsize=(7, 4.8), height_ratios=[1, 1.1])
columns = (
    ("forward: KL(p || q)", forward, ["forward"]),
    ("reverse: KL(q || p)", reverse, ["reverse", "reverse, right hump"]),
)
for (top, below), (title, surface, names) in zip(axes.T, columns):
    top.fill_between(line, target, color="#cccccc", label="p")
    below.contourf(means, widths, np.log2(surface.T), levels=24, cmap="cividis")
    for name, style in zip(names, "-:"):
        i, j = fits[name]
        top.plot(line, normal(line, means[i], widths[j]), style, color=COLOURS["vermilion"], label=f"q, {name}")
        below.plot(means[i], widths[j], "o", color=COLOURS["vermilion"], markeredgecolor="white", markersize=8)
    top.set(title=title, xlabel="x", xlim=(-6, 6), ylim=(0, 1.25))
    top.legend(loc="upper right", fontsize=9)
    below.set(xlabel="mean of q")
axes[0, 0].set_ylabel("density")
axes[1, 0].set_ylabel("width of q")
plt.show()

# %% [markdown]
# The forward fit has the mean and the variance of $p$ (up to the spacing of the grid): for a Gaussian, covering means
# matching moments. The reverse fits have the mean and the width of one hump each, of weight 0.6 or 0.4. Where $q$ sits
# $p$ is nearly $0.6\, q$ or $0.4\, q$, so the whole price for the hump left out is about $-\log_2 0.6 = 0.74$ or
# $-\log_2 0.4 = 1.32$ bits. Keep {numref}`fig-forward-reverse` in mind. *Maximum likelihood is forward KL*, so models
# that are too small smear; a *variational posterior is fitted by reverse KL*, so it tends to be too narrow and may miss modes.
# Most of the strengths and weaknesses of the models in this book are one of these two pictures.
#
# (sec-kl-estimators)=
# ### Estimating a KL divergence from samples
#
# With many outcomes we cannot sum. But the divergence is an expectation,
# $\operatorname{KL}(p \,\|\, q) = \mathbb{E}_p[\log p(x) - \log q(x)]$, so we may average over draws from $p$. Write
# $r = q(x) / p(x)$. Three estimators are in use {cite:p}`schulman2020`:
#
# $$ k_1 = -\ln r, \qquad k_2 = \tfrac12 (\ln r)^2, \qquad k_3 = (r - 1) - \ln r . $$ (eq-kl-estimators)
#
# The first is the definition. But when $p$ and $q$ are close, nearly half of its draws are negative, for a quantity
# that never is. The third adds $r - 1$, whose mean is zero and which is high when $-\ln r$ is low: a *control variate*.
# It is the gap between the tangent and the logarithm in {numref}`fig-tangent`, hence never negative.
#
# :::{prf:proposition} Which of them are unbiased
# :label: thm-kl-estimators
# Let $q$ be zero wherever $p$ is, and let the divergence be finite. Then $k_1$ and $k_3$ have mean
# $\operatorname{KL}(p \,\|\, q)$, and $k_3 \ge 0$ for every draw. $k_2$ is biased in general.
# :::
#
# :::{prf:proof}
# $\mathbb{E}_p[-\ln r]$ is the definition. $\mathbb{E}_p[r] = \int_{p > 0} q\, dx = 1$ because no mass of $q$ lies
# elsewhere, so $\mathbb{E}_p[k_3] = 0 + \operatorname{KL}(p \,\|\, q)$. And $k_3 \ge 0$ is the inequality
# $\ln r \le r - 1$. For the bias one example is enough: the coins $p = (\frac12, \frac12)$ and $q = (\frac14, \frac34)$
# have $\mathbb{E}_p[k_2] = \frac14 (\ln^2 \frac12 + \ln^2 \frac32) = 0.1612$ nats, while the divergence is
# $-\frac12 \ln \frac34 = 0.1438$ nats.
# :::

# %% tags=["check:thm-kl-estimators"]
estimators = {"k1": lambda l: -l, "k2": lambda l: l**2 / 2, "k3": lambda l: np.expm1(l) - l}  # of l = log r
coins = np.log([1 / 4, 3 / 4]) - np.log([1 / 2, 1 / 2])
print("coins, exact means:", {name: f"{k(coins).mean():.4f}" for name, k in estimators.items()})
print(f"coins, KL: {info.kl_divergence([0.5, 0.5], [0.25, 0.75], base=math.e):.4f} nats")
assert all(math.isclose(estimators[name](coins).mean(), -math.log(3 / 4) / 2) == (name != "k2") for name in estimators)

x = np.random.default_rng(0).normal(size=1_000_000 * SCALE)  # p = N(0, 1) and q = N(d, 1): KL = d^2 / 2
print("  d  KL exact       estimate (nats)   spread of a draw / KL")
for d in (0.1, 1.0, 2.0):
    exact = d**2 / 2
    for name, estimator in estimators.items():
        k = estimator(d * x - d**2 / 2)
        error = k.std() / math.sqrt(len(k))
        print(f"{d:3}   {exact:.3f}  {name}  {k.mean():.4f} +- {error:.4f}   {k.std() / exact:5.2f}")
        assert name == "k2" or abs(k.mean() - exact) < 4 * error
        assert name != "k2" or d < 1 or abs(k.mean() - exact) > 40 * error
        assert name != "k3" or k.min() >= 0


# %% [markdown]
# Close together ($d = 0.1$), a draw of $k_1$ spreads over 20 times the divergence, so it takes 400 draws until the
# error is as small as the quantity itself; $k_3$ takes two. The bias of $k_2$ is there but cannot be seen; at $d = 1$
# it is 25 per cent, at $d = 2$ the estimate is twice the truth. And there $k_3$ spreads three times as much as $k_1$:
# it pays for the heavy tail of the ratio $r$. This control variate helps where the two distributions are close.
#
# (sec-gaussian-kl)=
# ### Between Gaussians no samples are needed
#
# :::{prf:theorem} KL divergence between Gaussians
# :label: thm-gaussian-kl
# In $D$ dimensions, for invertible covariances and in nats,
#
# $$ \begin{aligned} \operatorname{KL}\big( \mathcal{N}(\mu_p, \Sigma_p) \,\|\, \mathcal{N}(\mu_q, \Sigma_q) \big) = \tfrac12 \Big[ &\operatorname{tr}(\Sigma_q^{-1} \Sigma_p) - D + \ln \frac{\det \Sigma_q}{\det \Sigma_p} \\ &+ (\mu_p - \mu_q)^\top \Sigma_q^{-1} (\mu_p - \mu_q) \Big] . \end{aligned} $$ (eq-gaussian-kl)
# :::
#
# :::{prf:proof}
# $\ln \mathcal{N}(x; \mu, \Sigma) = -\frac12 [ D \ln 2\pi + \ln \det \Sigma + (x - \mu)^\top \Sigma^{-1} (x - \mu) ]$.
# Subtract this for $q$ from that for $p$ and take the mean over $x \sim p$. The constants cancel, the determinants give
# the logarithm, and there remain two quadratic forms. A quadratic form is a trace,
# $v^\top A v = \operatorname{tr}(A v v^\top)$, and the mean goes inside the trace. For $p$'s own form,
# $\mathbb{E}[(x - \mu_p)(x - \mu_p)^\top] = \Sigma_p$ gives $\operatorname{tr}(\Sigma_p^{-1} \Sigma_p) = D$. For $q$'s,
# put $x - \mu_q = (x - \mu_p) + (\mu_p - \mu_q)$; the mixed terms have mean zero, so
# $\mathbb{E}[(x - \mu_q)(x - \mu_q)^\top] = \Sigma_p + (\mu_p - \mu_q)(\mu_p - \mu_q)^\top$, which gives the trace and
# the last term.
# :::
#
# For diagonal covariances this is a sum over dimensions. With means $\mu_d$ and variances $\sigma_d^2$ against a
# standard normal it is $\frac12 \sum_d (\sigma_d^2 + \mu_d^2 - 1 - \ln \sigma_d^2)$, a term in the loss of nearly
# every variational autoencoder.


# %%
def gaussian_kl(mean_p, cov_p, mean_q, cov_q):
    precision, difference = np.linalg.inv(cov_q), mean_p - mean_q
    log_det = np.linalg.slogdet(cov_q).logabsdet - np.linalg.slogdet(cov_p).logabsdet
    return (np.trace(precision @ cov_p) - len(mean_p) + difference @ precision @ difference + log_det) / 2


# %% tags=["check:thm-gaussian-kl"]
rng = np.random.default_rng(0)
mean_p, mean_q, a, b = rng.normal(size=3), rng.normal(size=3), rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
cov_p, cov_q = a @ a.T + 0.5 * np.eye(3), b @ b.T + 0.5 * np.eye(3)
formula = gaussian_kl(mean_p, cov_p, mean_q, cov_q)

P, Q = scipy.stats.multivariate_normal(mean_p, cov_p), scipy.stats.multivariate_normal(mean_q, cov_q)
x = mean_p + rng.normal(size=(200_000 * SCALE, 3)) @ np.linalg.cholesky(cov_p).T
log_ratio = P.logpdf(x) - Q.logpdf(x)
MVN = lambda mean, cov: torch.distributions.MultivariateNormal(torch.tensor(mean), torch.tensor(cov))
by_torch = float(torch.distributions.kl_divergence(MVN(mean_p, cov_p), MVN(mean_q, cov_q)))
by_lvmlib = info.gaussian_kl(mean_p, cov_p, mean_q, cov_q, base=math.e)
error = log_ratio.std() / len(x) ** 0.5
print(f"formula {formula:.4f}, torch.distributions {by_torch:.4f}, lvmlib {by_lvmlib:.4f} nats")
print(f"Monte Carlo {log_ratio.mean():.4f} +- {error:.4f}")
assert (
    math.isclose(formula, by_torch) and math.isclose(formula, by_lvmlib) and abs(log_ratio.mean() - formula) < 4 * error
)
print(f"N(1, 1) from N(0, 1): {info.gaussian_kl(1.0, 1.0, base=math.e)} nats (expected 0.5)")

# %% [markdown]
# (sec-plugin-bias)=
# ### Back to the biased estimate
#
# We owe an answer from {ref}`sec-estimation`: how far below the truth is the plug-in entropy? With the KL divergence
# the answer is an identity and two lines.
#
# :::{prf:theorem} Bias of the plug-in entropy
# :label: thm-plugin-bias
# Let $\hat p$ be the frequencies of $N$ independent draws from $p$, which has $K$ outcomes of positive probability.
# Then, in nats,
#
# $$ H(p) - \ln\Big(1 + \frac{K - 1}{N}\Big) \le \mathbb{E}[H(\hat p)] \le H(p) . $$ (eq-plugin-bias)
# :::
#
# :::{prf:proof}
# $H(\hat p) = -\sum_i \hat p_i \ln p_i - \operatorname{KL}(\hat p \,\|\, p)$, by the definition of the divergence. The
# first term has mean $H(p)$, because $\mathbb{E}[\hat p_i] = p_i$. So *the bias is exactly*
# $-\mathbb{E}[\operatorname{KL}(\hat p \,\|\, p)]$, and by Gibbs' inequality it is not positive. For the other side use
# Jensen's inequality twice, first for the mean over outcomes under $\hat p$, then for the mean over samples:
#
# $$ \begin{aligned} \mathbb{E}[\operatorname{KL}(\hat p \,\|\, p)] &\le \mathbb{E}\Big[ \ln \sum_i \frac{\hat p_i^2}{p_i} \Big] \le \ln \mathbb{E}\Big[ \sum_i \frac{\hat p_i^2}{p_i} \Big] \\ &= \ln \Big( 1 + \sum_i \frac{\operatorname{Var}(\hat p_i)}{p_i} \Big) = \ln\Big( 1 + \frac{K - 1}{N} \Big), \end{aligned} $$
#
# since $\operatorname{Var}(\hat p_i) = p_i (1 - p_i) / N$ and $\sum_i (1 - p_i) = K - 1$.
# :::
#
# The bound is about twice the truth: for large $N$ the divergence is near $\frac12 \sum_i (\hat p_i - p_i)^2 / p_i$,
# with mean $(K - 1)/(2N)$. Miller and Madow {cite:p}`miller1955` simply add this to the estimate, with the number of
# outcomes that were seen in place of $K$. The bound itself is from {cite:t}`paninski2003`.

# %% tags=["check:thm-plugin-bias"]
p = np.array([0.5, 0.3, 0.15, 0.05])
print(" N  bias     -E[KL]   bound    -(K-1)/2N  bias after correction  (nats)")
for N in (5, 20, 50):
    three = np.array([c for c in itertools.product(range(N + 1), repeat=3) if sum(c) <= N])
    counts = np.column_stack([three, N - three.sum(axis=1)])
    weight = scipy.stats.multinomial.pmf(counts, N, p)  # every possible outcome of N draws
    plugin = weight @ info.entropy_from_counts(counts, base=math.e)
    corrected = weight @ info.entropy_from_counts(counts, base=math.e, miller_madow=True)
    excess = weight @ info.kl_divergence(counts / N, p, base=math.e)
    H = info.entropy(p, base=math.e)
    print(f"{N:2}  {plugin - H:.4f}  {-excess:.4f}  {-math.log1p(3 / N):.4f}  {-3 / (2 * N):.4f}   {corrected - H:.4f}")
    assert math.isclose(plugin - H, -excess) and -math.log1p(3 / N) <= plugin - H <= 0

# %% [markdown]
# (sec-mle)=
# ## Learning is compressing: maximum likelihood
#
# You have data and a family of models $p_\theta$, and want the $\theta$ that fits best. Statistics says: make the data
# most probable. Compression says: make the file shortest. These are one and the same, since $-\log$ turns the product
# of probabilities into a sum of code lengths. And both minimise a KL divergence:
#
# :::{prf:theorem} Maximum likelihood minimises KL from the empirical distribution
# :label: thm-mle
# Let $x_1, \dots, x_N$ be data with finitely many or countably many possible values, and let the
# {term}`empirical distribution` $\hat p(x)$ be the fraction of the data that equal $x$. Then
#
# $$ -\frac1N \sum_{n=1}^{N} \log p_\theta(x_n) = H(\hat p, p_\theta) = H(\hat p) + \operatorname{KL}(\hat p \,\|\, p_\theta) , $$ (eq-mle)
#
# and $H(\hat p)$ does not depend on $\theta$. So maximising the likelihood, minimising the cross-entropy and minimising
# $\operatorname{KL}(\hat p \,\|\, p_\theta)$ have the same solutions.
# :::
#
# :::{prf:proof}
# Collect equal terms: $\frac1N \sum_n \log p_\theta(x_n) = \sum_x \hat p(x) \log p_\theta(x)$. The second equality is
# the definition of the divergence.
# :::
#
# This is the forward divergence, from the data to the model, and explains why maximum likelihood covers modes. For an
# experiment we count the letters in each word of the sonnets (the Roman numerals above them count as words too) and
# fit $1 + \text{Poisson}(\lambda)$. The model is crude, and the divergence says what that costs.

# %% tags=["check:thm-mle"]
words = "".join(c if c.isalpha() or c == "'" else " " for c in text).split()
lengths = np.array([sum(c.isalpha() for c in word) for word in words])
lengths = lengths[lengths > 0]
empirical = np.bincount(lengths) / len(lengths)  # position = length
poisson = lambda rate: scipy.stats.poisson.pmf(np.arange(-1, 40), rate)  # position = length, 40 is far beyond any word

rates = np.linspace(1.5, 6, 91)
nll = np.array([-np.log2(poisson(rate)[lengths]).mean() for rate in rates])  # word by word
padded = np.append(empirical, np.zeros(41 - len(empirical)))
divergence = np.array([info.kl_divergence(padded, poisson(rate)) for rate in rates])  # length by length
H = info.entropy(empirical)
difference = nll - divergence
print(f"{len(lengths)} words: the curves differ by {difference.min():.6f} to {difference.max():.6f} bits")
print(f"entropy of the data {H:.6f} bits")
print(f"best λ on the grid {rates[nll.argmin()]:.2f} (expected: mean minus one, {lengths.mean() - 1:.2f})")
print(f"KL divergence there: {divergence.min():.4f} bits per word")
assert np.allclose(nll, H + divergence, atol=1e-9) and nll.argmin() == divergence.argmin()

# %% mystnb={"figure": {"caption": "Word lengths in the sonnets, fitted by 1 + Poisson. The mean negative log-likelihood (what one computes) and the KL divergence from the empirical distribution (what one would like to know) differ by a constant, the entropy of the empirical distribution. Their minimum is at the same place, the mean.", "name": "fig-mle"}, "image": {"alt": "Left, bars of word-length frequencies with the fitted Poisson as points; four-letter words are most frequent. Right, two parallel U-shaped curves over lambda with minima at the same value near 3.16, a constant 2.84 bits apart."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3))
left.bar(np.arange(len(empirical)), empirical, color="#bbbbbb", label="sonnets")
left.plot(np.arange(1, 16), poisson(lengths.mean() - 1)[1:16], "o", label="best fit")
left.set(xlabel="letters in the word", ylabel="fraction of words", xlim=(0.3, 15.7))
left.legend()
right.plot(rates, nll, label="mean -log2 likelihood")
right.plot(rates, divergence, label="KL(data || model)")
right.axvline(lengths.mean() - 1, linestyle=":", color="black")
right.set(xlabel="λ", ylabel="bits per word", ylim=(0, None))
right.legend(loc="center right")
plt.show()

# %% [markdown]
# The crude model costs 0.0252 bits per word more than the best possible one, less than one per cent of the entropy of
# 2.839 bits. That the curves run in parallel is the theorem: whoever lowers the one lowers the other.
#
# :::{admonition} Watch out: "maximum likelihood minimises KL(data ‖ model)", for densities
# :class: pitfall
# For continuous data the sentence is about an infinite quantity. The empirical distribution sits on $N$ points, where a
# density has no mass at all, and $\operatorname{KL}(\hat p \,\|\, p_\theta) = \infty$ for *every* $\theta$. Sort 1,000
# draws into bins of width $w$ and the divergence is finite; but once the bins are so fine that they hold one draw each,
# it grows by $\log_2 10 = 3.32$ bits whenever they become ten times finer, as the cell below shows. What stays finite,
# and what one does minimise, is the *cross-entropy* $-\frac1N \sum_n \log p_\theta(x_n)$. So for densities say
# cross-entropy.
# :::

# %%
x = np.random.default_rng(0).normal(size=1000)
print(f"cross-entropy {-scipy.stats.norm.logpdf(x).mean() / math.log(2):.3f} bits, whatever the bins")
for width in (1e-3, 1e-4, 1e-5, 1e-6):
    bins, counts = np.unique(np.floor(x / width), return_counts=True)
    model = scipy.stats.norm.cdf((bins + 1) * width) - scipy.stats.norm.cdf(bins * width)
    frequency = counts / 1000
    print(f"bins of width {width:.0e}: KL(data || model) {frequency @ np.log2(frequency / model):6.3f} bits")

# %% [markdown]
# (sec-differential)=
# ## Entropy of a density
#
# Most data in this book are continuous, or treated as such. The obvious generalisation replaces the sum by an integral.
#
# :::{prf:definition} Differential entropy
# :label: def-differential-entropy
# A variable with density $p$ has *differential entropy* $h(X) = \mathbb{E}[-\log p(X)] = -\int p(x) \log p(x)\, dx$.
# :::
#
# {term}`Differential entropy <differential entropy>` behaves like entropy in many ways: the chain rule holds, and so do
# all inequalities that come from KL. But it is *not* an amount of information. The uniform density on $[0, a]$ shows
# why: its value is $1/a$ everywhere, so $h = \log a$.
#
# :::{admonition} Watch out: "differential entropy is entropy for continuous variables"
# :class: pitfall
# *It may be negative.* Uniform on $[0, \frac18]$: $h = -3$ bits.
#
# *It changes with the units.* Express a length in centimetres instead of metres and $h$ grows by $\log_2 100 = 6.64$
# bits; nothing else happened. In general $h(aX) = h(X) + \log |a|$.
#
# *It is not the limit of the discrete one.* Sort a standard normal into bins of width $w$. A bin at $x$ has probability
# close to $p(x)\, w$, so its surprise is close to $-\log p(x) - \log w$, and $H \approx h - \log w$. As $w \to 0$ this
# grows without bound: an exact real number takes infinitely many bits. What converges, to $h = 2.047$ bits, is
# $H + \log w$.
#
# Differences of differential entropies survive a change of units, because both sides gain the same $\log |a|$. They do not
# survive other changes of variable: with $X$ uniform on $[0, 1]$ and $Y$ of density $2y$ there,
# $h(X) - h(Y) = \ln 2 - \frac12 = 0.193$ nats, but $h(X^3) - h(Y^3) = \ln 2 - \frac32 = -0.807$ nats. KL divergence and
# mutual information keep their values under every invertible change of variable.
# :::

# %%
for width in (1, 0.1, 0.01, 0.001):
    edges = np.arange(-10, 10 + width, width)
    H = info.entropy(np.diff(scipy.stats.norm.cdf(edges)))
    print(f"standard normal in bins of {width:5}: H = {H:6.3f} bits, H + log2 w = {H + math.log2(width):.4f}")
print(f"differential entropy {info.gaussian_entropy(1.0):.4f} bits")
print(f"in units a hundred times smaller {info.gaussian_entropy(100.0**2):.4f} bits")
print(f"uniform on [0, 1/8]: {scipy.stats.uniform(0, 1 / 8).entropy() / math.log(2):.0f} bits")

# %% [markdown]
# (sec-max-entropy)=
# ### Which density has the largest entropy?
#
# Among $K$ outcomes it was the uniform distribution. On the whole line no density is uniform, and without a constraint
# there is no maximum: make it wider, and $h$ grows. So fix the width.
#
# :::{prf:theorem} The Gaussian has the largest entropy
# :label: thm-gaussian-max-entropy
# Let $X$ be a vector of $D$ dimensions with density $p$ and finite covariance $\Sigma$ (which is invertible: a variable
# with a density does not keep to a plane). Then
#
# $$ h(X) \le \tfrac12 \log \det (2 \pi e\, \Sigma) , $$ (eq-gaussian-max-entropy)
#
# with equality if and only if $X$ is Gaussian.
# :::
#
# :::{prf:proof}
# Let $g$ be the Gaussian density with the mean and the covariance of $p$. Its logarithm is a quadratic function of $x$,
# and so has the same mean under $p$ as under $g$: in nats
# $-\mathbb{E}_p[\ln g] = \frac12 [ D \ln 2\pi + \ln \det \Sigma + \operatorname{tr}(\Sigma^{-1} \Sigma) ] = \frac12 \ln \det(2 \pi e\, \Sigma)$,
# and this is $h(g)$. Now $0 \le \operatorname{KL}(p \,\|\, g) = -h(p) - \mathbb{E}_p[\ln g] = h(g) - h(p)$, with
# equality only if $p = g$.
# :::

# %%
three, pi = math.sqrt(3), math.pi
unit = {  # all with mean 0 and variance 1
    "Gaussian": scipy.stats.norm(),
    "logistic": scipy.stats.logistic(scale=three / pi),
    "Laplace": scipy.stats.laplace(scale=1 / math.sqrt(2)),
    "uniform": scipy.stats.uniform(-three, 2 * three),
}
two_humps = lambda x: (normal(x, -0.9, 0.19**0.5) + normal(x, 0.9, 0.19**0.5)) / 2
one_and_wide = lambda x: 0.8 * normal(x, 0, 0.25**0.5) + 0.2 * normal(x, 0, 2)
densities = {name: law.pdf for name, law in unit.items()} | {"two humps": two_humps, "narrow and wide": one_and_wide}

points = np.linspace(-30, 30, 600_001)
dx = points[1] - points[0]
variance = {name: (f(points) * points**2).sum() * dx for name, f in densities.items()}
h = {name: -(scipy.special.xlogy(f(points), f(points))).sum() * dx / math.log(2) for name, f in densities.items()}

# %% tags=["check:thm-gaussian-max-entropy"]
ceiling = info.gaussian_entropy(1.0)
for name in sorted(h, key=h.get, reverse=True):
    closed = f", closed form {unit[name].entropy() / math.log(2):.4f}" if name in unit else ""
    print(f"{name:>15}: variance {variance[name]:.3f}, entropy {h[name]:.4f} bits{closed}")
    assert abs(variance[name] - 1) < 1e-3 and h[name] <= ceiling + 1e-6
print(f"the bound, log2(2 pi e) / 2: {ceiling:.4f} bits")
assert (
    math.isclose(h["Gaussian"], ceiling, abs_tol=1e-6)
    and max(f for name, f in h.items() if name != "Gaussian") < ceiling
)
cov = np.array([[2.0, 0.6], [0.6, 0.5]])  # a uniform density on an ellipse with this covariance, in two dimensions
on_ellipse = math.log2(math.pi * 4 * math.sqrt(np.linalg.det(cov)))  # its area is 4 pi sqrt(det)
print(f"two dimensions: ellipse {on_ellipse:.4f}, Gaussian {info.gaussian_entropy(cov):.4f} bits")
by_scipy = scipy.stats.multivariate_normal(cov=cov).entropy() / math.log(2)
assert on_ellipse < info.gaussian_entropy(cov) and math.isclose(by_scipy, info.gaussian_entropy(cov))

# %% mystnb={"figure": {"caption": "Six densities with variance 1, and their entropies in the same colours. None reaches the entropy of the Gaussian, whether its tails are heavier (Laplace) or lighter (uniform) or its middle is empty (two humps).", "name": "fig-max-entropy"}, "image": {"alt": "Left, curves of six densities. Right, horizontal bars of their entropies: Gaussian 2.05 bits is longest, logistic and Laplace follow, then the uniform, the two humps and the mixture of narrow and wide."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2), width_ratios=[1.3, 1])
ordered = sorted(h, key=h.get)
for i, name in enumerate(ordered[::-1]):
    left.plot(points[::200], densities[name](points[::200]), color=f"C{i}", linewidth=3 if name == "Gaussian" else 1.5)
    right.barh(5 - i, h[name], color=f"C{i}")
    right.text(2.12, 5 - i, f"{h[name]:.2f}", va="center", fontsize=10)
left.set(xlim=(-3.2, 3.2), xlabel="x", ylabel="density")
right.axvline(ceiling, color="black", linestyle="--", linewidth=1)
right.set(yticks=range(6), yticklabels=ordered, xlabel="entropy (bits)", xlim=(0, 2.6))
right.grid(visible=False, axis="y")
plt.show()

# %% [markdown]
# The theorem is also advice. If all you know of a quantity is its mean and variance, then every density but the
# Gaussian claims to know something more: it is less uncertain than your knowledge allows. This is the *maximum-entropy
# principle* {cite:p}`jaynes1957`: among all distributions that agree with what you know, take the one of largest
# entropy, which builds in the least beyond it. For outcomes $x$ and a known mean of some function $f$ it reads:
#
# :::{prf:theorem} Maximum entropy under a constraint
# :label: thm-max-entropy
# Let $f$ be a function on finitely many outcomes and $c$ a number strictly between its least and its greatest value.
# Among all distributions with $\mathbb{E}[f(X)] = c$ the entropy is largest for
# $p_\lambda(x) = e^{\lambda f(x)} / Z(\lambda)$, where $Z(\lambda) = \sum_x e^{\lambda f(x)}$, with the one $\lambda$
# that satisfies the constraint.
# :::
#
# :::{prf:proof}
# The mean of $f$ under $p_\lambda$ is continuous in $\lambda$, its derivative is the variance of $f$ under $p_\lambda$,
# which is positive, and it runs from the least to the greatest value of $f$. So exactly one $\lambda$ satisfies the
# constraint. Let $p$ be any distribution that satisfies it too. In nats
#
# $$ \begin{aligned} 0 \le \operatorname{KL}(p \,\|\, p_\lambda) &= -H(p) - \sum_x p(x) \big( \lambda f(x) - \ln Z(\lambda) \big) \\ &= -H(p) - \lambda c + \ln Z(\lambda) . \end{aligned} $$
#
# The same line with $p_\lambda$ in place of $p$ gives $0 = -H(p_\lambda) - \lambda c + \ln Z(\lambda)$. Subtract:
# $H(p) \le H(p_\lambda)$, with equality only for $p = p_\lambda$.
# :::
#
# Here is the classic example: a die whose throws average 4.5 instead of 3.5, and nothing else is known about it. What
# should you bet?

# %% mystnb={"figure": {"caption": "Dice with a known mean and the largest entropy that it allows. Without news (mean 3.5) the die is fair; a higher mean tilts it exponentially, and leaves as much doubt as possible.", "name": "fig-die"}, "image": {"alt": "Three bar charts over the faces 1 to 6: flat for mean 3.5, rising gently for mean 4.5, rising steeply for mean 5.5; the entropies in the titles fall from 2.58 to 2.33 and 1.38 bits."}} tags=["check:thm-max-entropy"]
faces = np.arange(1, 7)
tilted = lambda lam: np.exp(lam * faces) / np.exp(lam * faces).sum()
fig, axes = plt.subplots(1, 3, figsize=(7, 2.6), sharey=True)
for ax, mean in zip(axes, (3.5, 4.5, 5.5)):
    lam = scipy.optimize.brentq(lambda lam, mean=mean: tilted(lam) @ faces - mean, -5, 5)
    p = tilted(lam)
    ax.bar(faces, p)
    ax.set(title=f"mean {mean}: {info.entropy(p):.2f} bits", xlabel="face", xticks=faces)
    # all other dice with this mean: move along the directions that keep the sum and the mean
    directions = np.array([np.roll([1, -2, 1, 0, 0, 0], k) for k in range(4)])
    others = p + np.random.default_rng(0).normal(size=(100_000, 4)) @ directions * 0.05
    others = others[(others > 0).all(axis=1)]
    assert np.allclose(others @ faces, mean) and (info.entropy(others) <= info.entropy(p)).all()
    H, best = info.entropy(p), info.entropy(others).max()
    print(f"mean {mean}: λ = {lam:5.3f}, p(6) = {p[5]:.3f}", end="")
    print(f", entropy {H:.4f} bits, best of {len(others):6} others {best:.4f}")
axes[0].set_ylabel("probability")
plt.show()

# %% [markdown]
# Bet on the six, then, and give it a probability of 0.347, no more: more would claim to know something else.
#
# (sec-clt)=
# ### The central limit theorem, seen through entropy
#
# Why are Gaussians everywhere? Add $n$ independent copies of a variable with mean 0 and variance 1 and rescale their
# sum, $S_n / \sqrt n$: the variance stays 1, and the entropy has a ceiling, that of the Gaussian. Adding mixes, mixing
# raises entropy. The *entropic* central limit theorem says that nothing stops the climb below the ceiling: if the entropy is
# finite to begin with, $h(S_n / \sqrt n)$ rises to $\frac12 \log 2\pi e$ {cite:p}`barron1986`, and never falls on the
# way {cite:p}`artstein2004`. We can watch it: the density of a sum of two independent variables is a convolution, and
# doubling five times takes us to $n = 32$.

# %%
step = 1 / 400
x = np.arange(-14, 14, step) + step / 2
starts = {
    "uniform": (np.abs(x) < math.sqrt(3)) / (2 * math.sqrt(3)),
    "exponential": np.where(x > -1, np.exp(-np.clip(x + 1, 0, None)), 0.0),
    "two humps": two_humps(x),
}
heights, shapes = {}, {}
for name, f in starts.items():
    grid, n = x, 1
    for _ in range(6):
        f = np.clip(f / (f.sum() * step), 1e-300, None)
        std = math.sqrt((f * grid**2).sum() * step)  # the square root of n, but for the grid
        heights[name, n] = -(f * np.log2(f)).sum() * step - math.log2(std)  # entropy of S_n / sqrt(n)
        shapes[name, n] = grid / std, f * std
        f, n = scipy.signal.fftconvolve(f, f) * step, 2 * n  # the density of the sum of two copies
        grid = 2 * grid[0] + step * np.arange(len(f))
exact = [(scipy.stats.gamma(n).entropy() - math.log(n) / 2) / math.log(2) for n in (1, 32)]  # sums of exponentials
print(f"exponential, n = 1:  {heights['exponential', 1]:.4f} bits (exact {exact[0]:.4f})")
print(f"exponential, n = 32: {heights['exponential', 32]:.4f} bits (exact {exact[1]:.4f})")
for name in ("uniform", "two humps"):
    print(f"{name}, n = 32: {heights[name, 32]:.4f} bits (ceiling {ceiling:.4f})")

# %% mystnb={"figure": {"caption": "Sums of n independent copies, rescaled to variance 1. The densities (left and middle) forget where they came from, and the entropy (right) climbs to the Gaussian's 2.047 bits, the highest that variance 1 allows.", "name": "fig-clt"}, "image": {"alt": "Left, densities of the two-humped start for n equal to 1, 2, 4 and 32 becoming a bell. Middle, the same for the exponential. Right, entropies of three starts rising with n to a dashed ceiling at 2.047 bits."}}
fig, axes = plt.subplots(1, 3, figsize=(7.6, 3), width_ratios=[1, 1, 1.2])
for ax, name in zip(axes, ["two humps", "exponential"]):
    for n, shade in zip((1, 2, 4, 32), ("#56B4E9", "#0072B2", "#E69F00", "#000000")):
        ax.plot(*shapes[name, n], color=shade, label=f"n = {n}", linewidth=1.6)
    ax.set(title=name, xlim=(-3, 3), ylim=(0, 1.05), xlabel="sum / √n")
axes[0].set_ylabel("density")
axes[0].legend(fontsize=9, ncols=2, loc="upper center")
for name, marker in zip(starts, "os^"):
    axes[2].semilogx(
        [1, 2, 4, 8, 16, 32], [heights[name, n] for n in (1, 2, 4, 8, 16, 32)], marker + "-", base=2, label=name
    )
axes[2].axhline(ceiling, color="black", linestyle="--", linewidth=1)
axes[2].set(xlabel="copies added, n", ylabel="entropy (bits)", xticks=[1, 2, 4, 8, 16, 32], ylim=(1.35, 2.1))
axes[2].set_xticklabels([1, 2, 4, 8, 16, 32])
axes[2].legend(loc="lower right")
plt.show()

# %% [markdown]
# :::{admonition} Watch out: "sums of many independent variables are Gaussian"
# :class: pitfall
# Scaled by $\sqrt n$, they need a finite variance. The Cauchy density $1 / (\pi (1 + x^2))$ has none: the *mean* of $n$ Cauchy variables has
# exactly the same density as one of them, for every $n$. Its entropy is $\log_2 4\pi = 3.651$ bits for 1 copy and for a
# million, and averaging a million measurements with Cauchy errors helps not at all. Without a variance there is no
# ceiling either: $h(S_n / \sqrt n) = \log_2 4\pi + \frac12 \log_2 n$ rises forever. The cell below averages real draws
# and measures the middle half of the results.
# :::

# %%
rng = np.random.default_rng(0)
print("width of the middle half of 4,000 means")
for n in (1, 10, 1000):
    spread = {
        name: np.subtract(*np.percentile(draw((4000, n)).mean(axis=1), [75, 25]))
        for name, draw in {"Gaussian": rng.standard_normal, "Cauchy": rng.standard_cauchy}.items()
    }
    gaussian, cauchy = spread.values()
    print(f"{n:4} draws: Gaussian {gaussian:.3f} (expected {1.349 / n**0.5:.3f}), Cauchy {cauchy:.2f} (expected 2)")
entropy_of_cauchy = scipy.stats.cauchy.entropy() / math.log(2)
print(f"entropy of a Cauchy variable {entropy_of_cauchy:.3f} bits, log2 4π = {math.log2(4 * pi):.3f}")

# %% [markdown]
# (sec-mutual-information)=
# ## What does one variable tell about another?
#
# Knowing a letter took 0.71 bits off the next. This number deserves a name. It is the length of the last piece in
# {numref}`fig-chain-rule`.
#
# :::{prf:definition} Mutual information
# :label: def-mutual-information
# The *mutual information* of two variables is the divergence of their joint distribution from what it would be if they
# were independent,
#
# $$ \begin{aligned} I(X; Y) &= \operatorname{KL}\big( p(x, y) \,\|\, p(x)\, p(y) \big) \\ &= \mathbb{E}\Big[ \log \frac{p(X, Y)}{p(X)\, p(Y)} \Big] . \end{aligned} $$ (eq-mutual-information)
# :::
#
# :::{prf:theorem} Three forms of mutual information
# :label: thm-mi-forms
# For discrete variables of finite entropy
#
# $$ \begin{aligned} I(X; Y) &= H(X) + H(Y) - H(X, Y) \\ &= H(Y) - H(Y \mid X) = H(X) - H(X \mid Y) , \end{aligned} $$ (eq-mi-forms)
#
# and $I(X; Y) \ge 0$, with equality if and only if $X$ and $Y$ are independent. So $H(Y \mid X) \le H(Y)$: on average,
# knowing more never leaves you less certain.
# :::
#
# :::{prf:proof}
# The logarithm in {eq}`eq-mutual-information` is $\log p(x, y) - \log p(x) - \log p(y)$; its mean is the first form.
# The chain rule, $H(X, Y) = H(X) + H(Y \mid X) = H(Y) + H(X \mid Y)$, gives the other two. The sign and the case of
# equality are Gibbs' inequality.
# :::
#
# Each form has its use: the divergence says how far from independence, the first form is easy to compute, and the last
# two say *by how much does one variable make the other predictable*. For densities the same holds with $h$ in place of
# $H$; and since units cancel, this is an honest number of bits again.

# %% tags=["check:thm-mi-forms"]
rng = np.random.default_rng(0)
joints = np.concatenate([rng.dirichlet(np.full(12, a), size=5000).reshape(-1, 3, 4) for a in (0.1, 1, 10)])
px, py = joints.sum(2), joints.sum(1)
as_kl = info.kl_divergence(joints.reshape(-1, 12), (px[:, :, None] * py[:, None, :]).reshape(-1, 12))
as_sum = info.entropy(px) + info.entropy(py) - info.joint_entropy(joints)
as_gain = info.entropy(py) - info.conditional_entropy(joints)
as_gain_back = info.entropy(px) - info.conditional_entropy(joints, given=1)
for form in (as_sum, as_gain, as_gain_back, info.mutual_information(joints)):
    assert np.allclose(as_kl, form, atol=1e-12)
independent = info.mutual_information(px[:, :, None] * py[:, None, :])
print(f"15,000 random joints: all forms agree, I up to {as_kl.max():.3f} bits and never below 0")
assert (as_kl >= -1e-12).all() and np.allclose(independent, 0, atol=1e-12)
print(f"products of their marginals: I at most {np.abs(independent).max():.9f} (expected 0)")
print(f"letters: H(Y) - H(Y|X) = {h_y:.4f} - {h_y_given_x:.4f} = {info.mutual_information(letter_joint):.4f} bits")

# %% [markdown]
# ### Why not just look at the correlation?
#
# Correlation asks whether a *straight line* predicts one variable from the other. Mutual information asks whether
# *anything* does. {numref}`fig-correlation` has two examples of zero correlation and plenty of information. (We sort
# the points into 16 x 16 cells and take the mutual information of the table. The next theorem shows that sorting can
# only lose information, so, apart from the bias that we come to below, these are lower bounds.)

# %%
rng = np.random.default_rng(0)
u, v, noise = rng.normal(size=(3, 20_000 * SCALE))
angle = rng.uniform(0, 2 * np.pi, size=u.size)
clouds = {
    "line": (u, 0.8 * u + 0.6 * v),
    "parabola": (u, u**2 + 0.2 * noise),
    "circle": (np.cos(angle) + 0.08 * u, np.sin(angle) + 0.08 * v),
    "independent": (u, v),
}


def binned_information(x, y, cells=16):
    edges = [np.quantile(values, np.linspace(0, 1, cells + 1)) for values in (x, y)]
    counts, _, _ = np.histogram2d(x, y, bins=edges)
    return info.mutual_information(counts / counts.sum())


numbers = {name: (abs(np.corrcoef(*xy)[0, 1]), binned_information(*xy)) for name, xy in clouds.items()}
print(f"line, exact: -log2(1 - 0.8^2) / 2 = {-math.log2(1 - 0.8**2) / 2:.3f} bits, binned {numbers['line'][1]:.3f}")
print(f"independent: {numbers['independent'][1]:.4f} bits; from bias alone {15**2 / (2 * u.size * math.log(2)):.4f}")

# %% mystnb={"figure": {"caption": "Correlation and mutual information. A parabola and a circle have correlation 0, yet knowing x narrows y down to one or two places.", "name": "fig-correlation"}, "image": {"alt": "Four scatter plots. A tilted ellipse with correlation 0.80 and 0.70 bits; a parabola with correlation 0.01 and 1.53 bits; a ring with correlation 0.01 and 1.11 bits; a round cloud with both near 0."}}
fig, axes = plt.subplots(1, 4, figsize=(7.6, 2.6))
for ax, (name, (x, y)) in zip(axes, clouds.items()):
    ax.plot(x[:1000], y[:1000], ".", markersize=2, alpha=0.5)
    correlation, bits = numbers[name]
    ax.set_title(f"{name}\ncorrelation {correlation:.2f}\n{bits:.2f} bits")
    ax.set(xlabel="x", xticks=[], yticks=[])
axes[0].set_ylabel("y")
plt.show()

# %% [markdown]
# ### Can processing create information?
#
# You measure, compress, average, plot. Could the result tell more about the thing than the measurement did?
#
# :::{prf:theorem} Data-processing inequality
# :label: thm-data-processing
# Let $Z$ be computed from $Y$ alone, possibly with randomness of its own, so that $X$ and $Z$ are independent given
# $Y$. Then $I(X; Z) \le I(X; Y)$, with equality if and only if $X$ and $Y$ are independent given $Z$.
# :::
#
# :::{prf:proof}
# We write it for discrete variables; the inequality holds for any {cite:p}`cover2006`. Define
# $I(X; Y \mid Z) = H(X \mid Z) - H(X \mid Y, Z)$, which is the mean over $z$ of the mutual information of $X$ and $Y$
# given $Z = z$; so it is non-negative, and zero only for independence given $Z$. What the pair $(Y, Z)$ tells about $X$
# is $H(X) - H(X \mid Y, Z)$. Subtract and add $H(X \mid Y)$, or else $H(X \mid Z)$; it can be told in two orders:
#
# $$ \begin{aligned} I(X; Y, Z) &= I(X; Y) + I(X; Z \mid Y) \\ &= I(X; Z) + I(X; Y \mid Z) . \end{aligned} $$
#
# By assumption $I(X; Z \mid Y) = 0$. Hence $I(X; Y) = I(X; Z) + I(X; Y \mid Z) \ge I(X; Z)$.
# :::

# %% tags=["check:thm-data-processing"]
rng = np.random.default_rng(0)
losses = []
for _ in range(2000):
    x_and_y = rng.dirichlet(np.full(15, 0.5)).reshape(3, 5)
    channel = rng.dirichlet(np.full(4, 0.5), size=5)  # p(z | y)
    losses.append(info.mutual_information(x_and_y) - info.mutual_information(x_and_y @ channel))
    triple = x_and_y[:, :, None] * channel  # p(x, y, z)
    p_z = triple.sum((0, 1))
    given_z = p_z @ info.mutual_information((triple / p_z).transpose(2, 0, 1))  # I(X; Y | Z)
    assert math.isclose(losses[-1], given_z, abs_tol=1e-9)
print(f"2,000 random chains X - Y - Z: from {min(losses):.5f} to {max(losses):.3f} bits lost (never below 0)")
assert min(losses) >= 0
renamed = x_and_y @ np.eye(5)[rng.permutation(5)]  # a processing that can be undone
before, after = info.mutual_information(x_and_y), info.mutual_information(renamed)
print(f"renaming the values of Y: {before:.6f} bits before, {after:.6f} after")
assert math.isclose(before, after)

# %% [markdown]
# ### How much does the ink know? An estimate and its bias
#
# A crude measurement on real images: the total amount of ink of a digit, a single number. How much does it tell about
# which digit it is? We sort the ink of MNIST's training images into $m$ classes of equal size and take the mutual
# information with the label from the table of counts. Doubling $m$ cuts each class in two, and by the data-processing
# inequality the coarser classes cannot tell more: in {numref}`fig-ink` the estimate rises with $m$.
#
# But look at the other pair of curves. There the labels were *shuffled*, so the truth is zero; and the estimate rises
# all the same. It is the bias of {ref}`sec-plugin-bias` in a new guise: each of the three entropies in
# $H(X) + H(Y) - H(X, Y)$ is estimated too low, the joint one, with its many cells, most of all, and so the mutual
# information comes out too *high*. With $K_x$ and $K_y$ classes, all pairs of which may occur, it does so by about
#
# $$ \frac{(K_x K_y - 1) - (K_x - 1) - (K_y - 1)}{2N} = \frac{(K_x - 1)(K_y - 1)}{2N} \text{ nats}. $$ (eq-mi-bias)
#
# With 1,000 images and 256 classes of ink the estimate reports 1.48 bits where there is nothing. (The formula, made for
# many observations per cell, says 1.66; here there are 2,560 cells.)

# %%
train, _, test = load("mnist")
label, ink = train.y.numpy(), train.x.sum(dim=(1, 2, 3)).numpy()
rank = ink.argsort(kind="stable").argsort(kind="stable")  # position in order of ink
shuffled_label = np.random.default_rng(0).permutation(label)
levels = 2 ** np.arange(1, 9)


def ink_information(label, N, m):
    counts = np.zeros((10, m))
    np.add.at(counts, (label[:N], rank[:N] * m // len(rank)), 1)
    return info.mutual_information(counts / N)


estimates = {
    (who, N): [ink_information(y, N, m) for m in levels]
    for who, y in (("label", label), ("shuffled label", shuffled_label))
    for N in (50_000, 1000)
}
for (who, N), values in estimates.items():
    print(f"{who:>14}, {N:6,} images: {values[2]:.3f} bits with 8 classes, {values[-1]:.3f} with 256")
bias = {N: 9 * 255 / (2 * N * math.log(2)) for N in (50_000, 1000)}
print(f"bias by the formula, 256 classes: {bias[50_000]:.3f} and {bias[1000]:.3f} bits")

# %% mystnb={"figure": {"caption": "Estimated information between a digit's label and its amount of ink, sorted into m classes. With 50,000 images the estimate nearly levels off; with 1,000 images and many classes most of it is bias, as the shuffled labels show, whose true information is zero. Dotted: the bias formula.", "name": "fig-ink"}, "image": {"alt": "Four curves over the number of ink classes from 2 to 256. For 50,000 images the real labels rise to 0.38 bits and nearly level off, the shuffled stay near zero. For 1,000 images both rise to more than one bit, close to dotted lines of the bias formula."}}
fig, ax = plt.subplots(figsize=(6.2, 3.5))
for (who, N), values in estimates.items():
    ax.semilogx(
        levels,
        values,
        "o-" if who == "label" else "s--",
        base=2,
        color="C0" if N == 50_000 else "C1",
        label=f"{who}, {N:,} images",
        alpha=1 if who == "label" else 0.6,
    )
for N in (50_000, 1000):
    ax.plot(levels, 9 * (levels - 1) / (2 * N) / math.log(2), ":", color="black", linewidth=1)
ax.set(xlabel="classes of ink, m", ylabel="estimated information (bits)", ylim=(-0.03, 1.75), xticks=levels)
ax.set_xticklabels(levels)
ax.legend(loc="upper left")
plt.show()

# %% [markdown]
# ### A lower bound that needs no table
#
# The whole image knows more about the label than its ink, but no table has a cell for every image. Here is a way out
# that this book uses again and again: replace a distribution that cannot be computed by a model, and make sure that the
# error has a sign. Write $z$ for what we want to know (the label) and $x$ for what we see (the image).
#
# :::{prf:theorem} Variational lower bound on mutual information
# :label: thm-mi-bound
# For discrete $z$ of finite entropy and every conditional distribution $q(z \mid x)$,
#
# $$ I(z; x) \ge H(z) + \mathbb{E}_{p(x, z)}[\log q(z \mid x)] , $$ (eq-mi-bound)
#
# with equality if and only if $q(z \mid x)$ is the posterior $p(z \mid x)$ for almost every $x$. The gap is
# $\mathbb{E}_{p(x)}[\operatorname{KL}(p(z \mid x) \,\|\, q(z \mid x))]$. If $z$ has a density and its differential entropy
# $h(z)$ is finite, the same holds for every conditional density $q(z \mid x)$, with $h(z)$ in place of $H(z)$.
# :::
#
# :::{prf:proof}
# By definition $I(z; x) = \mathbb{E}\big[\log \frac{p(z \mid x)}{p(z)}\big]$, where $p$ is a probability or a density; and
# $\mathbb{E}[-\log p(z)]$ is $H(z)$ or $h(z)$, which is finite. Write $\log p(z \mid x)$ as
# $\log q(z \mid x) + \log \frac{p(z \mid x)}{q(z \mid x)}$. The mean of the last term is the mean over $x$ of a KL divergence,
# the gap, and by Gibbs' inequality it is at least 0, with equality only for $q(z \mid x) = p(z \mid x)$ at almost every $x$.
# (If the gap is infinite, the right side of {eq}`eq-mi-bound` is $-\infty$ and nothing is claimed.)
# :::
#
# {cite:t}`barber2003` use it to train communication channels. Read it from right to left: *any classifier is a
# witness*. Take its cross-entropy loss on new images off the entropy of the labels: the images contain at least that
# much information, up to the error of estimating a mean.

# %% tags=["check:thm-mi-bound"]
rng = np.random.default_rng(0)
joint = rng.dirichlet(np.full(12, 0.4)).reshape(3, 4)  # p(z, x)
p_z, p_x = joint.sum(1), joint.sum(0)
posterior = joint / p_x  # p(z | x): a column for each x
I = info.mutual_information(joint)
bound = lambda q: info.entropy(p_z) + (joint * np.log2(q)).sum()

random_q = rng.dirichlet(np.ones(3), size=(20_000, 4)).swapaxes(1, 2)  # [20000, z, x]
bounds = np.array([bound(q) for q in random_q])
gaps = (p_x * info.kl_divergence(posterior.T, random_q.swapaxes(1, 2))).sum(-1)
print(f"I(z; x) = {I:.4f} bits; best of 20,000 random q: {bounds.max():.4f}; q = posterior: {bound(posterior):.4f}")
assert (bounds <= I).all() and np.allclose(I - bounds, gaps) and math.isclose(bound(posterior), I)
random_posterior = random_q[0]
gap_of_ratio = (joint * np.log2(posterior / random_posterior)).sum()
ratio_of_logs = (joint * np.log2(posterior) / np.log2(random_posterior)).sum()
print(f"first random q: I - bound = {I - bounds[0]:.4f}, mean of log(p / q) = {gap_of_ratio:.4f} bits")
print(f"                mean of (log p) / (log q) = {ratio_of_logs:.4f}")

# %% [markdown]
# :::{admonition} Watch out: "log p = log p · log q / log q"
# :class: pitfall
# The step in the middle of the proof multiplies and divides by $q(z \mid x)$ *inside* the logarithm:
# $\log p = \log \big[ p\, \frac{q}{q} \big] = \log q + \log \frac pq$. Lecture notes print it with a logarithm on each
# factor, $\log p \cdot \frac{\log q}{\log q}$. That is equal to $\log p$ as well, so nothing looks wrong, but it leads nowhere:
# what remains beside $\log q$ is then a *factor*, the ratio of two logarithms, and not the summand $\log \frac pq$ whose mean
# is a divergence. For the first of the random $q$ above, $\log \frac pq$ has mean 0.917 bits, which is the gap; the
# ratio $\frac{\log p}{\log q}$ has mean 0.789, which measures nothing.
# :::
#
# For a continuous $z$ take the smallest example: $z \sim \mathcal{N}(0, 1)$ is observed with noise of variance $s^2$,
# $x = z + s\,\varepsilon$. The posterior is $\mathcal{N}\big(\frac{x}{1 + s^2}, \frac{s^2}{1 + s^2}\big)$ and the information
# $\frac12 \log(1 + 1/s^2)$. We offer it the exact posterior, one that is twice as wide as it should be, and one that
# takes $x$ at its word, $\mathcal{N}(x, s^2)$. The encoder of a variational autoencoder will be such a $q$.

# %% tags=["check:thm-mi-bound"]
noise_var = 0.5**2  # s^2
exact_mi = 0.5 * math.log2(1 + 1 / noise_var)
gain, var = 1 / (1 + noise_var), noise_var / (1 + noise_var)  # of the posterior: mean gain * x, variance var
rng = np.random.default_rng(0)
z = rng.standard_normal(400_000 * SCALE)
seen = z + math.sqrt(noise_var) * rng.standard_normal(len(z))
print(f"I(z; x) = {exact_mi:.4f} bits, h(z) = {info.gaussian_entropy(1.0):.4f} bits")
for name, (a, v) in {"posterior": (gain, var), "twice as wide": (gain, 4 * var), "N(x, s^2)": (1, noise_var)}.items():
    values = info.gaussian_entropy(1.0) + scipy.stats.norm.logpdf(z, a * seen, math.sqrt(v)) / math.log(2)
    # the gap in closed form: the KL of Gaussians whose means differ by (gain - a) x, and x has variance 1 + s^2
    gap = (var / v + (gain - a) ** 2 * (1 + noise_var) / v - 1 - math.log(var / v)) / 2 / math.log(2)
    error = values.std() / math.sqrt(len(values))
    print(f"{name:>13}: bound {values.mean():.4f} +- {error:.4f}, gap {gap:.4f}, together {values.mean() + gap:.4f}")
    assert abs(values.mean() + gap - exact_mi) < 4 * error and (gap > 0.1) == (name != "posterior")

# %% [markdown]
# Now the witness for real digits: logistic regression on three descriptions of the image, each computed from the one
# before, trained on 5,000 images and heard on the 10,000 test images.

# %% tolerance={"atol": 0.005, "rtol": 0.02}
from sklearn.linear_model import LogisticRegression

pixels = {
    name: split.x[:, 0].double().numpy() / 255 for name, split in (("train", train), ("test", test))
}  # [N, 28, 28]
describe = {
    "28 x 28 pixels": lambda x: x.reshape(len(x), -1),
    "7 x 7 averages": lambda x: x.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(len(x), -1),
    "total ink": lambda x: x.mean(axis=(1, 2))[:, None] * 10,
}
label_entropy = info.entropy_from_counts(np.bincount(test.y))
witness = {}
for name, features in describe.items():
    classifier = LogisticRegression(C=0.1 if "pixels" in name else 10.0, max_iter=300)
    classifier.fit(features(pixels["train"][:5000]), label[:5000])
    log_q = classifier.predict_log_proba(features(pixels["test"]))[np.arange(len(test)), test.y]
    witness[name] = label_entropy + log_q.mean() / math.log(2)
    error = log_q.std() / math.log(2) / math.sqrt(len(test))
    print(f"{name:>15}: at least {witness[name]:.3f} +- {error:.3f} bits about the label")
print(f"entropy of the label: {label_entropy:.3f} bits, the most that anything can tell about it")

# %% mystnb={"figure": {"caption": "Left, the bound on the example with a known answer, for q that moves from ignorance to the posterior: it touches the truth exactly there. Right, what a simple classifier proves about MNIST; the dashed line is the entropy of the label.", "name": "fig-mi-bound"}, "image": {"alt": "Left, a concave curve rises to a dashed line and touches it at the right end. Right, horizontal bars: pixels 2.84 bits, averages 2.77 bits, total ink 0.34 bits, and a dashed line at 3.32 bits."}} tolerance={"atol": 0.005, "rtol": 0.02}
t = np.linspace(0, 1, 101)
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9))
left.plot(t, [bound((1 - s) * p_z[:, None] + s * posterior) for s in t], label="lower bound")
left.axhline(I, color="black", linestyle="--", linewidth=1, label="I(z; x)")
left.set(xlabel="t, for q = (1 - t) p(z) + t p(z | x)", ylabel="bits")
left.legend(loc="lower right")
right.barh(list(witness), list(witness.values()))
for i, value in enumerate(witness.values()):
    inside = dict(ha="right", color="white") if value > 1 else dict(ha="left")
    right.text(value - 0.08 if value > 1 else value + 0.08, i, f"{value:.2f}", va="center", **inside)
right.axvline(label_entropy, color="black", linestyle="--", linewidth=1)
right.set(xlabel="information about the label (bits)", xlim=(0, 3.6))
right.invert_yaxis()
plt.show()

# %% [markdown]
# For the ink we have both answers. The table of 50,000 images and 256 classes said 0.377 bits, of which 0.033 are bias;
# the witness proves 0.337 bits, give or take 0.010, without any correction. It can afford to: it was judged on images
# that it had not seen, which keeps the bound honest, and what a weak classifier misses can only lower it. For the
# pixels there is no table to compare with. A better classifier would prove more; nobody can prove more than 3.319.
#
# **What it costs and when it fails.** One classifier. The bound is only as good as the model, so it shows that
# information is *there*, never that it is absent; and where $z$ is continuous, $h(z)$ must be known: for the prior of a
# latent variable it is, for data it is not.
#
# (sec-summary-01)=
# ## Summary
#
# | quantity | formula | reads as | in `lvmlib.information` |
# | --- | --- | --- | --- |
# | surprise | $-\log p(x)$ | length of the ideal codeword for $x$ | `self_information(p)` |
# | entropy | $H(X) = \mathbb{E}[-\log p(X)]$ | mean surprise; the shortest possible mean length | `entropy(p)` |
# | conditional entropy | $H(Y \mid X) = H(X, Y) - H(X)$ | what is left when $X$ is known | `conditional_entropy(joint)` |
# | cross-entropy | $H(p, q) = \mathbb{E}_p[-\log q]$ | mean length with a code for $q$; the loss of a model | `cross_entropy(p, q)` |
# | KL divergence | $\operatorname{KL}(p \,\Vert\, q) = H(p, q) - H(p)$ | excess; never negative; zero only for $p = q$ | `kl_divergence(p, q)`, `gaussian_kl(...)` |
# | mutual information | $I(X; Y) = H(Y) - H(Y \mid X)$ | what one variable tells about the other | `mutual_information(joint)` |
# | differential entropy | $h(X) = \mathbb{E}[-\log p(X)]$, $p$ a density | differences survive a change of units, and no other change of variable | `gaussian_entropy(cov)` |
#
# What to take along into the chapters that follow:
#
# - a model's mean $-\log_2$ probability *is* the size of a file, and arithmetic coding produces that file;
# - maximum likelihood is forward KL and covers modes; variational inference is reverse KL and seeks them;
# - nearly every inequality here is Gibbs' inequality: put a model where the truth cannot be computed, and the error has
#   a sign. The evidence lower bound of the variational autoencoder will be the next one;
# - estimates of entropy are too low, of mutual information too high, until there are many more observations than
#   outcomes.
#
# (sec-exercises-01)=
# ## Exercises
#
# :::{exercise} Two dice
# :label: ex-two-dice
# You throw two dice and report only their sum. How many bits does the sum carry, how many the pair, and how many are
# lost? Is the loss a conditional entropy, and which?
# :::
#
# :::{solution} ex-two-dice
# :class: dropdown
# ```python
# pair = np.full((6, 6), 1 / 36)
# total = np.bincount(np.add.outer(np.arange(6), np.arange(6)).ravel(), weights=pair.ravel())
# print(info.entropy(pair.ravel()), info.entropy(total))  # 5.170 and 3.274
# ```
# The pair has $2 \log_2 6 = 5.170$ bits, the sum 3.274. The sum is a function of the pair, so
# $H(\text{pair}, \text{sum}) = H(\text{pair})$, and by the chain rule the loss is
# $H(\text{pair} \mid \text{sum}) = 5.170 - 3.274 = 1.896$ bits.
# :::
#
# :::{exercise} Decodable, but not at sight
# :label: ex-suffix-code
# Which of the codes {0, 01, 11} and {0, 01, 10} is uniquely decodable? What does the Kraft sum say?
# :::
#
# :::{solution} ex-suffix-code
# :class: dropdown
# The first is: read it from the right, and it is a prefix code (0, 10, 11). But decoding from the left may have to wait
# for the end of the stream: 0 followed by many ones means different things for an even and for an odd number of them.
# The second is not: 010 is both 0, 10 and 01, 0. Both have lengths 1, 2, 2 and Kraft sum 1. The inequality is about
# lengths; it promises that *some* code with these lengths is decodable, not that yours is.
# :::
#
# :::{exercise} Two best codes
# :label: ex-huffman-ties
# A source has probabilities 0.4, 0.2, 0.2, 0.1, 0.1. Break the ties of Huffman's algorithm in two ways, such that the
# longest codeword has 3 bits in one code and 4 in the other. Compare their mean lengths. Which one would you use on a
# line that carries a fixed number of bits per second?
# :::
#
# :::{solution} ex-huffman-ties
# :class: dropdown
# Merge 0.1 + 0.1 = 0.2. Now three nodes weigh 0.2. Merge the two single symbols, and then the pair with the symbol of
# 0.4: the lengths are 2, 2, 2, 3, 3. Or merge the pair with a single symbol, and the result with the other one: they
# are 1, 2, 3, 4, 4. Both means are 2.2 bits (the entropy is 2.122), and by {prf:ref}`thm-huffman` nothing is shorter.
# The first has the smaller variance, 0.16 instead of 1.36, so its buffer runs over more rarely.
# :::
#
# :::{exercise} A divergence that is symmetric
# :label: ex-js
# Flip a fair coin $B$. For heads draw $X$ from $p$, for tails from $q$. Show that $I(X; B)$ is the Jensen-Shannon
# divergence $\frac12 \operatorname{KL}(p \,\|\, m) + \frac12 \operatorname{KL}(q \,\|\, m)$ with $m = \frac12 (p + q)$,
# and conclude that it is at most one bit. When is it exactly one bit?
# :::
#
# :::{solution} ex-js
# :class: dropdown
# $X$ has distribution $m$, so $I(X; B) = \sum_b p(b) \operatorname{KL}(p(x \mid b) \,\|\, m)$, which is the formula.
# And $I(X; B) = H(B) - H(B \mid X) \le H(B) = 1$ bit, with equality if and only if $X$ always betrays the coin: $p$
# and $q$ have disjoint supports. `info.js_divergence([1, 0], [0, 1])` gives 1.
# :::
#
# :::{exercise} What if you only know the mean?
# :label: ex-exponential
# Among all densities on $[0, \infty)$ with mean $m$, which has the largest differential entropy, and how large is it?
# :::
#
# :::{solution} ex-exponential
# :class: dropdown
# The exponential density $g(x) = e^{-x/m} / m$. Its logarithm, $-\ln m - x/m$, is linear in $x$, so it has the same
# mean under every density $p$ with mean $m$: $-\mathbb{E}_p[\ln g] = \ln m + 1 = h(g)$. Then
# $0 \le \operatorname{KL}(p \,\|\, g) = -h(p) + h(g)$, as for the Gaussian. The entropy is $1 + \ln m$ nats.
# :::
#
# :::{exercise} Information between Gaussians
# :label: ex-gaussian-mi
# $X$ and $Y$ are jointly Gaussian with variances 1 and correlation $\rho$. Derive $I(X; Y) = -\frac12 \log(1 - \rho^2)$
# and confirm it with `gaussian_entropy` and with `gaussian_kl`. What happens as $\rho \to 1$, and why is this not a
# contradiction to anything?
# :::
#
# :::{solution} ex-gaussian-mi
# :class: dropdown
# $I = h(X) + h(Y) - h(X, Y) = \frac12 \log (2 \pi e)^2 - \frac12 \log \big( (2 \pi e)^2 (1 - \rho^2) \big)$.
# ```python
# rho = 0.8
# cov = np.array([[1, rho], [rho, 1]])
# print(2 * info.gaussian_entropy(1.0) - info.gaussian_entropy(cov))  # 0.7370
# print(info.gaussian_kl(np.zeros(2), cov, np.zeros(2), np.eye(2)))   # 0.7370: joint against product
# print(-math.log2(1 - rho**2) / 2)                                   # 0.7370
# ```
# As $\rho \to 1$ the information grows without bound: $X$ then determines $Y$, and an exact real number is worth
# infinitely many bits.
# :::
#
# :::{exercise} A model that learns while it compresses
# :label: ex-adaptive
# The n-gram models had 130 sonnets to learn from. Write a model for `arithmetic_encode` that starts from nothing: every
# character begins with a count of $a$, and each character that went by adds 1 to its own. Compress the 16 sonnets with
# $a = 1$ and with $a = 0.05$. How many bits does learning cost, compared with the order-0 model above?
# :::
#
# :::{solution} ex-adaptive
# :class: dropdown
# ```python
# def adaptive(a):
#     def model(prefix):
#         if not prefix:  # a new stream
#             model.counts = np.full(len(alphabet), a)
#         else:
#             model.counts[prefix[-1]] += 1
#         return model.counts / model.counts.sum()
#     return model
#
# for a in (1.0, 0.05):
#     data = arithmetic_encode(adaptive(a), unseen, framed=False)
#     assert arithmetic_decode(adaptive(a), data, length=len(unseen)).tolist() == unseen
#     print(a, 8 * len(data) / len(unseen))  # 4.551 and 4.556 bits per character
# ```
# The order-0 model that had read the other sonnets needed 44,584 bits, this one with $a = 1$ needs 44,792: learning the
# frequencies of 62 characters (the alphabet itself is given to both) from scratch costs 208 bits more, 26 bytes. Nobody had to transmit a table, since the
# decoder counts along.
# :::
#
# :::{exercise} The best control variate
# :label: ex-control-variate
# Both $k_1$ and $k_3$ belong to the family $-\log r + c\,(r - 1)$, unbiased for every $c$. Which $c$ has the least
# variance? Compute it for $p = \mathcal{N}(0, 1)$, $q = \mathcal{N}(d, 1)$ at $d = 0.1, 1, 2$.
# :::
#
# :::{solution} ex-control-variate
# :class: dropdown
# The variance is a parabola in $c$ with its minimum at
# $c^\star = -\operatorname{Cov}(-\log r, r) / \operatorname{Var}(r)$. Here
# $\mathbb{E}_p[r \log r] = \operatorname{KL}(q \,\|\, p) = d^2/2$ and $\mathbb{E}_p[\log r] = -d^2/2$, so
# $\operatorname{Cov}(\log r, r) = d^2$; and $\operatorname{Var}(r) = e^{d^2} - 1$. Hence
# $c^\star = d^2 / (e^{d^2} - 1)$: 0.995, 0.582 and 0.075. Close together $k_3$, with $c = 1$, is all but optimal; far
# apart $k_1$, with $c = 0$, is.
# :::
#
# ## Further reading
#
# - {cite:t}`shannon1948` is where all of it begins, and it is still a pleasure: entropy, codes, the noisy channel, in
#   under eighty pages. {cite:t}`shannon1951` lets people play the guessing game with English.
# - {cite:t}`cover2006` is the textbook; its chapters 2, 5 and 8 contain most of this one. {cite:t}`mackay2003` is the
#   other one, full of puzzles, and free to read online.
# - {cite:t}`witten1987` explains a practical arithmetic coder; the idea goes back to {cite:t}`rissanen1976`.
# - {cite:t}`paninski2003` tells how hard entropy is to estimate, {cite:t}`jaynes1957` what maximum entropy has to do
#   with physics.
# - Chapter 5 of {cite:t}`murphy2023` connects these measures with machine learning.
