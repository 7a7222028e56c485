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
# *How much is a message worth, and what does it cost to believe in the wrong model? Both answers come in bits, and nearly every objective in this book is one of the two.*
#
# A *source* produces symbols: coin flips, letters, the pixels of an image. Symbol $i$ comes with probability $p_i$. The rarer a symbol, the more surprising it is to see it; **information theory** measures that surprise, averages it, and shows that the average is, to within a bit, the shortest mean length of a message.
#
# :::{prf:definition} Surprise and entropy
# :label: def-entropy
# The **surprise** (self-information) of an event of probability $P$ is $-\log P$; an impossible event has surprise $\infty$. The **entropy** of a random variable $X$ that takes value $x_i$ with probability $p_i$ is its mean surprise,
#
# $$ H(X) = \mathbb{E}[-\log p(X)] = -\sum_i p_i \log p_i, \qquad 0 \log 0 = 0 . $$ (eq-entropy)
# :::
#
# Outcomes that never happen do not count. {numref}`fig-entropy-area` draws the sum as an area.

# %% tags=["hide-input"]
import itertools
import lzma
import math
import zlib
from collections import Counter, defaultdict
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import scipy.signal
import scipy.special
import scipy.stats
import torch

from lvmlib import information as info
from lvmlib import load
from lvmlib.compression import huffman_code, kraft_sum, prefix_code, prefix_decode
from lvmlib.plotting import COLOURS, use_style

SCALE = 1  # multiplies the Monte Carlo draws; stored outputs are those of 1
use_style()
blue, orange, red = (COLOURS[name] for name in ("blue", "orange", "vermilion"))
hues = list(COLOURS.values())

# %% mystnb={"figure": {"caption": "Mean surprise is an area. Each outcome is a bar, as wide as it is probable and as high as it is surprising. *Left:* four equal outcomes. *Middle:* unequal ones have less entropy. *Right:* the same source, seen by someone who believes the four probabilities in reverse order. Dashed: the heights of the middle panel. The area grows by 0.875 bits; no wrong belief can make it smaller.", "name": "fig-entropy-area"}, "image": {"alt": "Three panels of four adjoining bars. Equal outcomes give bars of height 2 and area 2 bits. Probabilities one half, one quarter, one eighth and one eighth give a rising staircase of area 1.75 bits. In the third panel the same widths carry heights 3, 3, 2 and 1, an area of 2.625 bits, and a dashed line repeats the staircase of the second."}} tags=["hide-input"]
even, uneven = np.full(4, 1 / 4), np.array([1 / 2, 1 / 4, 1 / 8, 1 / 8])
panels = {"equal": (even, even), "unequal": (uneven, uneven)}
panels["wrong belief"] = uneven, uneven[::-1]
fig, axes = plt.subplots(1, 3, figsize=(7, 2.7), sharey=True)
for ax, (name, (true_p, belief)) in zip(axes, panels.items()):
    start, height = np.cumsum(true_p) - true_p, -np.log2(belief)
    ax.bar(start, height, width=true_p, align="edge", color=hues[:4], alpha=0.75)
    ax.set(title=f"{name}: {true_p @ height:g} bits", xlabel="probability")
    ax.set(xlim=(0, 1), xticks=[0, 0.5, 1])
edges = np.append(0, np.cumsum(uneven))
axes[2].stairs(-np.log2(uneven), edges, ls="--", color="black")
axes[0].set_ylabel("surprise (bits)")
plt.show()

# %% [markdown]
# The goal of this chapter is two statements about these areas. Suppose that symbol $i$ is coded with $\ell_i$ bits, in such a way that every stream of symbols can be decoded. Then the mean length $\sum_i p_i \ell_i$ is never less than the entropy, written $H(p)$, and the smallest possible mean length $L^\star$ exceeds it by less than one bit. And a code with the lengths $-\log q_i$, ideal for a model $q$ instead of $p$, costs an extra amount, the KL divergence of {numref}`sec-kl`, which is never negative ($\mathbb{E}_p$ is the mean over draws from $p$):
#
# $$ H(p) \le L^\star < H(p) + 1, \qquad \underbrace{\mathbb{E}_p[-\log q(X)]}_{\text{cost of believing } q} = \underbrace{H(p)}_{\text{unavoidable}} + \underbrace{\operatorname{KL}(p \,\|\, q)}_{\ge\, 0} . $$ (eq-it-goal)
#
# The left side of the second statement is the loss with which most models in this book are trained.
#
# **What you will be able to do**
#
# - say what {term}`surprise`, {term}`entropy`, {term}`cross-entropy`, {term}`KL divergence` and {term}`mutual information` measure, and compute each in one line;
# - turn any probability model into a compressor, and read its loss as a file size;
# - prove that no code beats the entropy, and that, rounding aside, the wrong model costs exactly the KL divergence;
# - explain why fitting with $\operatorname{KL}(p \,\|\, q)$ and with $\operatorname{KL}(q \,\|\, p)$ gives different models, and which of the two {term}`maximum likelihood` is;
# - tell when an estimated entropy is an artefact of too little data.
#
# **Needs.** Discrete and continuous probability (expectation, conditional probability, densities), logarithms, a little NumPy; one loop uses PyTorch.
#
# **Time.** About four hours on the main path, an hour and a half of them for Part 1, which can stand alone; seven with exercises and the stretches marked *Optional*. The code runs in half a minute on one core.
#
# **Units.** $\log_2$ gives bits and the natural logarithm gives nats; 1 {term}`nat` is $1/\ln 2 \approx 1.443$ bits. We write $\log$ where a statement holds in any unit. Numbers in this chapter are in bits unless we say otherwise, which is also the default of `lvmlib.information`; later chapters, which take derivatives, use nats.
#
# **Marks.** `lvmlib` is the small library that comes with this book. A theorem marked *checked* is followed by a cell that tests it numerically. *Predict, then run* asks for a guess before you read on. Stars grade the exercises.
#
# (sec-it-code)=
# ## Part 1. Code: how short can a message be?
#
# (sec-surprise)=
# ### Surprise: why a logarithm?
#
# "The sun rose this morning" is not news; "it snowed in July" is. Three things seem beyond dispute: a certain event has surprise 0; a less probable event is more surprising; and the surprises of *independent* events add up, so that ten coin flips tell ten times as much as one. Together with a choice of unit, they leave exactly one function ({numref}`fig-surprise`).

# %% mystnb={"figure": {"caption": "Surprise is the logarithm of one over the probability: a straight line on a logarithmic axis. Halving a probability adds one bit, wherever you start.", "name": "fig-surprise"}, "image": {"alt": "On a logarithmic axis of probability, which ends at 1, a straight line falls from 14 bits to 0. Five events are marked on it, from one word of 10,000 at 13.29 bits to a certain event at 0."}} tags=["hide-input"]
chances = np.geomspace(5e-5, 1, 400)
examples = {"a certain event": 1, "heads": 1 / 2, "a six": 1 / 6}
examples |= {"two sixes": 1 / 36, "one word of 10,000": 1e-4}
fig, ax = plt.subplots(figsize=(4.8, 3.2))
ax.plot(chances, -np.log2(chances))
for name, chance in examples.items():
    bits = info.self_information(chance)
    ax.plot(chance, bits, "o", color=red, clip_on=False)
    place = dict(xytext=(9, -2 if chance == 1 else 3), textcoords="offset points")
    ax.annotate(f"{name}: {bits:.2f}", (chance, bits), **place)
ax.set(xscale="log", xlabel="probability of the event", ylabel="surprise (bits)")
ax.set(xlim=(5e-5, 1), ylim=(0, 15))
plt.show()

# %% [markdown]
# :::{prf:theorem} Additive surprise is a logarithm
# :label: thm-surprise
# Let $I : (0, 1] \to [0, \infty)$ never increase, let $I(pq) = I(p) + I(q)$ for all $p, q$, and let a fair coin flip count as one unit, $I(1/2) = 1$. Then $I(p) = -\log_2 p$.
# :::
#
# :::{prf:proof}
# Put $g(t) = I(2^{-t})$ for $t \ge 0$. Then $g$ never decreases, $g(s + t) = g(s) + g(t)$ and $g(1) = 1$. Adding $g(n/m)$ up $m$ times gives $m\, g(n/m) = g(n) = n\, g(1) = n$, so $g(r) = r$ for every rational $r > 0$; and $g(0) = 2 g(0)$ gives $g(0) = 0$. Any real $t > 0$ lies between rationals $r \le t \le r'$ as close together as we like, and $r = g(r) \le g(t) \le g(r') = r'$. Hence $g(t) = t$, which says $I(p) = -\log_2 p$.
# :::
#
# Another unit is another base of the logarithm. Compare three functions that all fall to 0 at probability 1 and agree on a fair coin: only one of them is additive.

# %% tags=["check:thm-surprise"]
candidates = {
    "-log2 p": lambda p: -np.log2(p),
    "2 (1 - p)": lambda p: 2 * (1 - p),
    "1/p - 1": lambda p: 1 / p - 1,
}
first, second = np.random.default_rng(0).uniform(0.01, 1, size=(2, 10_000))

for name, f in candidates.items():
    error = np.abs(f(first * second) - f(first) - f(second)).max()
    print(f"{name:>9}: a coin flip is worth {f(0.5):.0f},", end=" ")
    print(f"largest error of additivity {error:.4f}")
    assert (error < 1e-12) == (name == "-log2 p")

print("surprises:", info.self_information([1, 1 / 2, 1 / 6, 1e-4, 0]).round(3))
print("expected:  0, 1, 2.585, 13.288, inf")
heads_in_nats = info.self_information(0.5, base=math.e)
print(f"heads, in nats: {heads_in_nats:.4f} (expected ln 2 = {math.log(2):.4f})")


# %% [markdown]
# (sec-entropy)=
# ### Entropy: the mean surprise
#
# There are three ways to think about this number.
#
# - **Mean surprise.** The definition, and the area in {numref}`fig-entropy-area`.
# - **Mean message length.** How many yes/no questions, asked well, does it take to find out what happened? For four equal outcomes, two. For probabilities 1/2, 1/4, 1/8, 1/8, ask "is it the first?", then "the second?", then "the third?": $1 \cdot \frac12 + 2 \cdot \frac14 + 3 \cdot \frac14 = 1.75$ questions on average, exactly the entropy.
# - **Spread.** $2^H$ is the number of equally likely outcomes that would be just as uncertain, the *perplexity*.


# %%
def entropy(p):
    p = np.array(p, dtype=float)
    p = p[p > 0]  # 0 log 0 = 0
    return (p * np.log2(1 / p)).sum()


for name, K in {"coin": 2, "die": 6, "word out of 10,000": 10_000}.items():
    alike = np.full(K, 1 / K)
    assert math.isclose(entropy(alike), info.entropy(alike))  # ours and lvmlib's
    print(f"{name:>18}: {entropy(alike):6.3f} bits,", end=" ")
    print(f"log2 K = {math.log2(K):6.3f}, perplexity {2 ** entropy(alike):.0f}")

# %% [markdown]
# All three sources are uniform, and then $H = \log K$. Can another distribution over $K$ outcomes do better?
#
# :::{prf:theorem} The range of the entropy
# :label: thm-entropy-range
# For $K$ outcomes $0 \le H(X) \le \log K$. The lower bound is reached only if one outcome is certain, the upper only if all are equally probable.
# :::
#
# :::{prf:proof}
# Every term $-p_i \log p_i$ is non-negative, and zero only for $p_i \in \{0, 1\}$. For the upper bound use $\ln a \le a - 1$, with equality only at $a = 1$: the line is the tangent of a concave curve ({numref}`fig-tangent` draws it). In nats, with sums over the outcomes with $p_i > 0$,
#
# $$ \begin{aligned} H(X) - \ln K = \sum_i p_i \ln \frac{1}{K p_i} &\le \sum_i p_i \Bigl( \frac{1}{K p_i} - 1 \Bigr) \\ &= \frac{\#\{i : p_i > 0\}}{K} - 1 \le 0 . \end{aligned} $$
#
# Both inequalities are equalities only if every $p_i$ is $1/K$.
# :::

# %% tags=["check:thm-entropy-range"]
rng = np.random.default_rng(0)
print("entropies of 60,000 random distributions over K outcomes")
for K in (2, 6, 100):
    kinds = (0.1, 1, 100)  # spiky, in between, nearly uniform
    tables = [rng.dirichlet(np.full(K, a), size=20_000) for a in kinds]
    h = info.entropy(np.concatenate(tables))
    print(f"K = {K:3}: {h.min():.4f} to {h.max():.4f}, log2 K = {math.log2(K):.4f}")
    assert h.min() >= 0 and h.max() <= math.log2(K)
    assert info.entropy(np.eye(K)[0]) == 0
    assert math.isclose(info.entropy(np.full(K, 1 / K)), math.log2(K))

# %% [markdown]
# For a coin with probability $p$ of heads the entropy is a curve worth remembering ({numref}`fig-bernoulli`): flat at the top, so that a slightly unfair coin loses next to nothing, and infinitely steep at the ends, where a little doubt about a certain thing costs a lot.

# %% mystnb={"figure": {"caption": "Entropy of a coin. At $p = 0.1$ it is 0.469 bits, less than half of a fair coin's, although one flip in ten still comes up heads.", "name": "fig-bernoulli"}, "image": {"alt": "A symmetric arch over the probability of heads, zero bits at 0 and 1, one bit at one half; points at 0.1 and 0.9 are marked at 0.469 bits."}} tags=["hide-input"]
heads_p = np.linspace(0, 1, 501)
fig, ax = plt.subplots(figsize=(6, 3.2))
ax.plot(heads_p, info.entropy(np.stack([heads_p, 1 - heads_p], axis=-1)))
labels = {0.1: ("left", 10, -4), 0.5: ("left", 8, -26), 0.9: ("right", -10, -4)}
for q, (side, dx, dy) in labels.items():
    bits = info.entropy([q, 1 - q])
    ax.plot([q, q], [0, bits], ":", color=red)
    ax.plot(q, bits, "o", color=red)
    where = dict(xytext=(dx, dy), textcoords="offset points", ha=side)
    ax.annotate(f"{bits:.3f} bits", (q, bits), **where)
ax.set(xlabel="probability of heads", ylabel="entropy (bits)")
ax.set(xlim=(0, 1), ylim=(0, 1.05))
plt.show()

# %% [markdown]
# :::{admonition} Watch out: "the entropy is how far the values are spread"
# :class: pitfall
# It is how far the *probability* is spread, over outcomes whose values play no part. A variable that is $\pm 1$ with equal chances has 1 bit, and so has one that is $\pm 1000$, with a standard deviation a thousand times larger. One with four equally likely values 0.99, 1.00, 1.01, 1.02 is narrower than either and has 2 bits.
# :::

# %%
for values in ([-1, 1], [-1000, 1000], [0.99, 1.00, 1.01, 1.02]):
    bits = info.entropy(np.full(len(values), 1 / len(values)))
    deviation = f"standard deviation {np.std(values):9.4f}"
    print(f"values {values!s:>24}: {deviation}, entropy {bits:.0f} bits")

# %% [markdown]
# (sec-estimation)=
# ### Can you see the entropy of a sequence?
#
# {numref}`fig-coins` shows two sequences of 400 flips. One coin is fair; the other shows heads nine times in ten. To put a number on the difference, count, and take the entropy of the observed frequencies $\hat p_i = n_i / N$: the {term}`plug-in estimate` $\hat H = H(\hat p)$.

# %% mystnb={"figure": {"caption": "Two coins, 400 flips each (row by row), and the plug-in estimate of their entropies as the flips come in. Both start from below: after one flip every coin seems to have entropy 0.", "name": "fig-coins"}, "image": {"alt": "Two strips of cells in two shades, the first an even mixture, the second mostly of one shade. Beside them two curves against the number of flips, and dashed lines at the true values: one rises to 1 bit, the other settles near 0.47 bits."}} tags=["hide-input"]
rng = np.random.default_rng(33)
bias_of = {"fair": 0.5, "biased": 0.9}
flips = {name: (rng.random(400) < p).astype(int) for name, p in bias_of.items()}
so_far = np.arange(1, 401)
fig = plt.figure(figsize=(7, 3.2))
grid = fig.add_gridspec(2, 2, width_ratios=[1, 1.5])
ax = fig.add_subplot(grid[:, 1])
for row, (name, x) in enumerate(flips.items()):
    strip = fig.add_subplot(grid[row, 0])
    strip.imshow(x.reshape(10, 40), cmap="gray_r", aspect="auto", interpolation="none")
    strip.set(title=f"{name}: {x.sum()} heads of 400", xticks=[], yticks=[])
    heads = np.cumsum(x)
    running = info.entropy_from_counts(np.stack([heads, so_far - heads], axis=-1))
    ax.semilogx(so_far, running, color=f"C{row}", label=name)
    truth = info.entropy([bias_of[name], 1 - bias_of[name]])
    ax.axhline(truth, color=f"C{row}", ls="--", lw=1, label=f"true: {truth:.3f}")
ax.set(xlabel="number of flips", ylabel="plug-in estimate (bits)", ylim=(-0.03, 1.08))
ax.set(xlim=(1, 400))
ax.legend(loc=(0.2, 0.55), ncols=2, fontsize=9)
plt.show()
for name, x in flips.items():
    print(f"{name}: estimated {info.entropy_from_counts(np.bincount(x)):.4f} bits")


# %% [markdown]
# That the biased coin's estimate ends so close to the truth is luck: over all sequences it has a standard deviation of 0.048 bits (the fair coin's, at the flat top of {numref}`fig-bernoulli`, only 0.003). That both start from below is not luck. Entropy is a sum of concave functions $-p_i \log p_i$, hence concave, and the mean of a concave function is at most the function of the mean (Jensen's inequality). Since $\mathbb{E}[\hat p] = p$, we get $\mathbb{E}[H(\hat p)] \le H(\mathbb{E}[\hat p]) = H(p)$: *on average the plug-in estimate is too low*. By how much? For a coin we can sum over all possible counts.


# %%
def mean_plugin(p, N):
    """Mean plug-in estimate of N flips and its standard deviation, by enumeration."""
    heads = np.arange(N + 1)
    chance = scipy.stats.binom.pmf(heads, N, p)
    estimate = info.entropy_from_counts(np.stack([heads, N - heads], axis=-1))
    mean = chance @ estimate
    return mean, math.sqrt(chance @ (estimate - mean) ** 2)


for N in (2, 5, 10, 100):
    mean, _ = mean_plugin(0.5, N)
    rule = 1 / (2 * N * math.log(2))
    print(f"{N:3} fair flips: too low by {1 - mean:.4f}, 1 / (2 N ln 2) = {rule:.4f}")
for p in (0.5, 0.9):
    print(f"400 flips, p = {p}: standard deviation {mean_plugin(p, 400)[1]:.3f} bits")

# %% [markdown]
# In general the deficit is close to $(K - 1)/(2N)$ nats once $N$ is much larger than the number of outcomes $K$ (see {numref}`sec-plugin-bias`). With few observations per outcome it is large.
#
# :::{admonition} Watch out: "this sequence looks fair, so it has entropy 1"
# :class: pitfall
# Counting single symbols measures the entropy of single symbols. The sequence 0101010101... has as many zeros as ones, so its plug-in entropy is exactly 1 bit; yet after the first flip you know all the rest. What counts for a sequence is the *entropy rate*, the mean surprise per symbol given everything before it, and here the rate is 0. Counting blocks shows it: the plug-in entropy of blocks of 8, divided by 8, is 0.125 bits for the alternating sequence and 1.000 for a fair coin.
# :::

# %%
N = 200_000
sequences = {"alternating": np.arange(N) % 2}
sequences["fair coin"] = np.random.default_rng(0).integers(2, size=N)
for name, x in sequences.items():
    rates = []
    for k in (1, 2, 4, 8):
        # [N - k + 1, k]: every stretch of k neighbours, read as a binary number
        blocks = np.lib.stride_tricks.sliding_window_view(x, k) @ (1 << np.arange(k))
        rates.append(info.entropy_from_counts(np.bincount(blocks)) / k)
    zipped = 8 * len(zlib.compress(np.packbits(x), 9)) / N
    in_blocks = ", ".join(f"{rate:.3f}" for rate in rates)
    print(f"{name:>11}: blocks of 1, 2, 4, 8 have {in_blocks};", end=" ")
    print(f"zlib needs {zipped:.3f} bits per flip")

# %% [markdown]
# (sec-codes)=
# ### Prefix codes and their budget
#
# You want to send a stream of letters a, b, c through a wire that knows 0 and 1. Here is a code: a = 00, b = 01, c = 1. There are no gaps between codewords on the wire, so can the receiver tell where one ends?

# %%
code = {"a": "00", "b": "01", "c": "1"}
message = "cabacabba"
wire = "".join(code[letter] for letter in message)

decoded, word = "", ""
for bit in wire:
    word += bit
    for letter, codeword in code.items():
        if word == codeword:  # no other codeword begins like this
            decoded, word = decoded + letter, ""
print(f"{message} -> {wire} -> {decoded}")
assert decoded == message and prefix_decode(wire, code) == list(message)

# %% [markdown]
# It works for every stream, because *no codeword is the beginning of another*. As soon as the bits read so far make a codeword, that codeword must be the one sent. Such a code is called a {term}`prefix code`. It is a tree whose leaves are the codewords, and {numref}`fig-kraft` shows a second way to look at it: a codeword of length $\ell$ occupies a piece of length $2^{-\ell}$ of the interval from 0 to 1, namely all binary fractions that begin with it.

# %% mystnb={"figure": {"caption": "The code a = 00, b = 01, c = 1 as a tree and as a cut of the interval [0, 1). Codewords of a prefix code own pieces that do not overlap, so the lengths of the pieces add up to at most 1: short codewords are expensive.", "name": "fig-kraft"}, "image": {"alt": "Left, a binary tree with leaves a at 00, b at 01 and c at 1. Right, a bar from 0 to 1 cut at one quarter and one half into pieces owned by a, b and c."}} tags=["hide-input"]
fig, (tree, bar) = plt.subplots(1, 2, figsize=(7, 2.8), width_ratios=[1, 1.3])
nodes = {"": (2, 2), "0": (1, 1), "1": (3, 1), "00": (0.4, 0), "01": (1.6, 0)}
for word in ["0", "1", "00", "01"]:
    (x0, y0), (x1, y1) = nodes[word[:-1]], nodes[word]
    tree.plot([x0, x1], [y0, y1], color="black", linewidth=1.2, zorder=1)
    side = 0.17 if word[-1] == "1" else -0.17
    tree.text((x0 + x1) / 2 + side, (y0 + y1) / 2, word[-1], ha="center")
for i, (letter, word) in enumerate(code.items()):
    middle = dict(ha="center", va="center", color="white")
    tree.scatter(*nodes[word], s=520, color=f"C{i}", zorder=2)
    tree.text(*nodes[word], letter, fontsize=14, **middle)
    left, width = int(word, 2) / 2 ** len(word), 2.0 ** -len(word)
    bar.barh(0, width, left=left, height=0.9, color=f"C{i}", edgecolor="white", lw=2)
    bar.text(left + width / 2, 0, f"{letter} = {word}\n1/{2 ** len(word)}", **middle)
tree.set(xlim=(-0.2, 3.6), ylim=(-0.5, 2.2), title="a tree ...")
tree.axis("off")
bar.set(xlim=(0, 1), ylim=(-1, 1), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1])
bar.set(xlabel="binary fraction", title="... and a cut of the interval")
bar.spines["left"].set_visible(False)
plt.show()


# %% [markdown]
# So codeword lengths come out of a budget. A code is *uniquely decodable* if different streams of symbols always have different codes; for every such code the budget is the same.
#
# :::{prf:theorem} Kraft and McMillan
# :label: thm-kraft
# If a binary code with codeword lengths $\ell_1, \dots, \ell_K$ is uniquely decodable, then
#
# $$ \sum_{i=1}^{K} 2^{-\ell_i} \le 1 . $$ (eq-kraft)
#
# Conversely, for any lengths that satisfy {eq}`eq-kraft` there is a prefix code with these lengths. The left side is the code's *Kraft sum*, and {eq}`eq-kraft` is *Kraft's inequality*.
# :::
#
# :::{prf:proof}
# *Decodable codes keep to the budget* {cite:p}`mcmillan1956`. Let $S$ be the sum and $\ell_{\max}$ the greatest length. Multiply $S^n$ out: one term $2^{-(\ell_{i_1} + \dots + \ell_{i_n})}$ for every stream of $n$ symbols, and the exponent is the length of its code. Collect streams by the length $m$ of their code; if $A_m$ of them have length $m$,
#
# $$ S^n = \sum_{m=0}^{n \ell_{\max}} A_m 2^{-m} \le n\, \ell_{\max} + 1 , $$
#
# because different streams have different codes, and there are only $2^m$ strings of $m$ bits: $A_m \le 2^m$. If $S$ were greater than 1, the left side would grow exponentially in $n$ and the right side only linearly. So $S \le 1$.
#
# *Within the budget there is a prefix code* {cite:p}`kraft1949`. Sort the lengths, shortest first, and lay pieces of length $2^{-\ell_1}, 2^{-\ell_2}, \dots$ side by side from 0. They end at $S \le 1$. Piece $i$ starts at a sum of earlier $2^{-\ell_j}$ with $\ell_j \le \ell_i$, a multiple of $2^{-\ell_i}$. So it consists of exactly the binary fractions that begin with certain $\ell_i$ digits; take these as the codeword. If one codeword were the beginning of another, its piece would contain the other piece. But the pieces are disjoint.
# :::
#
# So *a prefix code is enough*: the lengths of any uniquely decodable code keep to the budget, and a prefix code with the same lengths can be decoded at sight.
#
# (sec-kraft-check)=
# ### *Optional:* all small codes
#
# To check the theorem by brute force we need a test of unique decodability that knows nothing of Kraft. Follow two decodings of the same bits and keep only what one of them is ahead by: if what dangles is ever a codeword itself, the two can meet, and some stream has two meanings. This is the test of {cite:t}`sardinas1953`.


# %%
def uniquely_decodable(code):
    def ahead(a, b):
        return {y[len(x) :] for x in a for y in b if y.startswith(x) and x != y}

    dangling, seen = ahead(code, code), set()
    while dangling - seen:
        if dangling & code:
            return False
        seen |= dangling
        dangling = ahead(code, dangling) | ahead(dangling, code)
    return True


def is_prefix_code(code):
    return not any(a != b and b.startswith(a) for a in code for b in code)


strings = ["".join(s) for n in (1, 2, 3) for s in itertools.product("01", repeat=n)]
codes = [set(three) for three in itertools.combinations(strings, 3)]
decodable = [some for some in codes if uniquely_decodable(some)]
prefix_codes = [some for some in decodable if is_prefix_code(some)]
print(f"{len(codes)} codes of three words of at most 3 bits, {len(decodable)}", end=" ")
print(f"uniquely decodable, {len(prefix_codes)} of them prefix codes")

# %% tags=["check:thm-kraft"]
lengths_of = lambda some: tuple(sorted(len(word) for word in some))
sums = {lengths_of(some): kraft_sum(lengths_of(some)) for some in codes}
good = max(sums[lengths_of(some)] for some in decodable)
bad = max(sums[lengths_of(some)] for some in codes if some not in decodable)
print(f"greatest Kraft sum: {good} if uniquely decodable, {bad} if not")
affordable = {lengths for lengths, total in sums.items() if total <= 1}
assert {lengths_of(some) for some in decodable} == affordable
assert {lengths_of(some) for some in prefix_codes} == affordable
print(f"each of the {len(affordable)} affordable choices of lengths has a prefix code")
print("lvmlib's for lengths 1, 2, 3:", prefix_code([1, 2, 3]))

# %% [markdown]
# Codes that are decodable but not prefix codes exist, 80 of them here. They gain nothing: every choice of lengths they can afford, a prefix code can too.
#
# (sec-entropy-limit)=
# ### The entropy is the limit
#
# How should the budget be spent if symbol $i$ comes with probability $p_i$? A codeword of length $\ell$ takes $2^{-\ell}$ of the budget, so give symbol $i$ the share $p_i$, which means length $-\log_2 p_i$: its surprise. The mean length is then the entropy. Only rounding to whole bits stands in the way.
#
# :::{prf:theorem} Mean length of a symbol code
# :label: thm-code-length
# Let $L = \sum_i p_i \ell_i$ be the mean length of a code for a source with probabilities $p_i$. Every uniquely decodable code has $L \ge H$, with equality only if $\ell_i = -\log_2 p_i$ for all $i$ with $p_i > 0$. And there is a prefix code with $L < H + 1$.
# :::
#
# :::{prf:proof}
# Sums run over symbols with $p_i > 0$; others need no codeword. With $\ln a \le a - 1$ and Kraft's inequality,
#
# $$ \begin{aligned} H - L = \sum_i p_i \log_2 \frac{2^{-\ell_i}}{p_i} &\le \frac{1}{\ln 2} \sum_i p_i \Bigl( \frac{2^{-\ell_i}}{p_i} - 1 \Bigr) \\ &= \frac{1}{\ln 2} \Bigl( \sum_i 2^{-\ell_i} - 1 \Bigr) \le 0 , \end{aligned} $$
#
# with equality in the first step only if $2^{-\ell_i} = p_i$ for all $i$. For the upper bound round the surprises up, $\ell_i = \lceil -\log_2 p_i \rceil$. Then $\sum_i 2^{-\ell_i} \le \sum_i p_i = 1$, so by {prf:ref}`thm-kraft` there is a prefix code with these lengths; and since $\ell_i < -\log_2 p_i + 1$, the mean is below $H + 1$.
# :::

# %% tags=["check:thm-code-length"]
choices = itertools.combinations_with_replacement(range(1, 12), 4)
lengths_of_four = np.array([l for l in choices if kraft_sum(l) <= 1])  # [925, 4]
rng = np.random.default_rng(0)
sources = rng.dirichlet(np.full(4, 0.5), size=300)
sources = np.sort(sources)[:, ::-1]  # likely symbols first
excess_best = (sources @ lengths_of_four.T).min(1) - info.entropy(sources)
rounded = np.ceil(-np.log2(sources))
excess_rounded = (sources * rounded).sum(1) - info.entropy(sources)
print(f"300 random sources, {len(lengths_of_four)} choices of lengths for each")
print("bits above the entropy, expected between 0 and 1:")
for name, above in {"best code": excess_best, "rounded up": excess_rounded}.items():
    print(f"  {name:>10}: from {above.min():.4f} to {above.max():.4f}")
    assert (above >= 0).all() and (above < 1).all()
shortest = (lengths_of_four @ uneven).min()  # 1/2, 1/4, 1/8, 1/8: whole surprises
print(f"p = 1/2, 1/4, 1/8, 1/8: {shortest} bits, entropy {info.entropy(uneven)}")
assert shortest == info.entropy(uneven) == 1.75
assert (excess_best <= excess_rounded).all()

# %% [markdown]
# :::{admonition} Watch out: "every code has $H \le L < H + 1$"
# :class: pitfall
# The left half holds for every decodable code, the right half for *optimal* ones (and for rounded-up surprises). Three letters with probabilities 0.98, 0.01, 0.01 have an entropy of 0.161 bits; the code 00, 01, 10 spends 2 bits on each, an optimal one $L = 1.020$. And a single symbol needs no code at all: $H = 0$, and the optimal codeword is the empty string, $L = 0$. Implementations that insist on at least one bit violate the bound.
# :::

# %%
lopsided = [0.98, 0.01, 0.01]
optimal_lengths = [len(word) for word in huffman_code(lopsided).values()]
for name, l in {"fixed 2 bits": [2, 2, 2], "optimal": optimal_lengths}.items():
    L, H_three = np.dot(lopsided, l), info.entropy(lopsided)
    print(f"{name:>12}: L = {L:.3f}, H = {H_three:.3f}, difference {L - H_three:.3f}")
print(f"one symbol: H = {info.entropy([1.0]):.0f}, optimal code {huffman_code([1.0])}")


# %% [markdown]
# (sec-huffman)=
# ### Huffman's code
#
# Rounding surprises up is good, but not optimal. The best symbol code is due to {cite:t}`huffman1952`, who built the tree from its leaves: the two least probable symbols will sit deepest, so tie them together, treat the pair as one symbol, and repeat.
#
# :::{prf:theorem} Huffman's code is optimal
# :label: thm-huffman
# Among all uniquely decodable codes for a source with $K \ge 2$ symbols of positive probability, the code that merges the two least probable symbols until one is left has the smallest mean length.
# :::
#
# :::{prf:proof}
# By {prf:ref}`thm-kraft` it is enough to look at prefix codes, that is, at trees. In some optimal tree the two least probable symbols, with probabilities $p$ and $p'$, are siblings at the greatest depth (see below). Replace this pair by its parent, as one symbol of probability $p + p'$. The mean length falls by exactly $p + p'$, whatever the rest of the tree looks like. So the tree is optimal if and only if the smaller tree is optimal for the merged source, which has $K - 1$ symbols. Repeat down to two symbols, where one bit each is optimal.
# :::
#
# :::{dropdown} *Optional:* why the two least probable may be siblings
# An optimal tree exists, since only finitely many choices of lengths have a mean below any given bound. It has two properties. (i) *A more probable symbol never sits deeper:* otherwise exchanging the two would shorten the mean. (ii) *The deepest leaves come in pairs:* a deepest leaf without a sibling could move up to its parent. So, exchanging symbols of equal depth or of equal probability if need be, which leaves the mean as it is, the two least probable become siblings at the greatest depth.
# :::
#
# In code, a node is a dictionary from the symbols below it to the bits that lead there. We try it on the letters of the first 130 of Shakespeare's sonnets; the last 16 are kept for a test.


# %%
def huffman(p):
    nodes = [(probability, {symbol: ""}) for symbol, probability in p.items()]
    while len(nodes) > 1:
        nodes.sort(key=lambda node: node[0], reverse=True)
        (p1, right), (p0, left) = nodes.pop(), nodes.pop()  # the two least probable
        below = {s: "0" + w for s, w in left.items()}
        below |= {s: "1" + w for s, w in right.items()}
        nodes.append((p0 + p1, below))
    return nodes[0][1]


first_sonnets, _, last_sonnets = load("text")  # as ASCII codes
text = bytes(first_sonnets.x.numpy()).decode()
letter_counts = Counter(c for c in text.lower() if c.isalpha())
letter_p = {c: n / letter_counts.total() for c, n in letter_counts.most_common()}
H_letters = info.entropy(list(letter_p.values()))
mean_length = lambda code: sum(letter_p[s] * len(word) for s, word in code.items())
ours, library = huffman(letter_p), huffman_code(letter_p)
print({letter: ours[letter] for letter in "etajq"})
print(f"mean length {mean_length(ours):.4f} bits, lvmlib's {mean_length(library):.4f}")
print(f"entropy     {H_letters:.4f} bits")
assert math.isclose(mean_length(ours), mean_length(library))

# %% tags=["check:thm-huffman"]
choices = itertools.combinations_with_replacement(range(1, 8), 5)
lengths_of_five = np.array([l for l in choices if kraft_sum(l) <= 1])
rng, worst = np.random.default_rng(1), 0.0
for _ in range(300):
    some_p = np.sort(rng.dirichlet(np.full(5, rng.choice([0.3, 1, 10]))))[::-1]
    tree_of = huffman(dict(enumerate(some_p)))
    by_huffman = sum(some_p[s] * len(word) for s, word in tree_of.items())
    worst = max(worst, abs(by_huffman - (lengths_of_five @ some_p).min()))
print(f"300 random sources of 5 symbols, {len(lengths_of_five)} choices of lengths:")
print(f"Huffman's mean length differs from the best by at most {worst:.9f} bits")
assert worst < 1e-12

# %% [markdown]
# (sec-utf8)=
# ### *Optional:* does the code on your disk know the frequencies?
#
# Text files do not use Huffman's code. They use UTF-8, a prefix code with codewords of 8, 16, 24 and 32 bits. How do its lengths compare with the surprise of the characters? We count every character of the 130 sonnets, spaces and line breaks included, and set the apostrophe as a printed book does, as ’ (U+2019).

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
    row = ", ".join(f"{name} {l[c]:2} bits" for name, l in codeword_lengths.items())
    print(f"{c}: {counts[c]:5} times, surprise {surprise[c]:5.2f} bits, {row}")

# %% mystnb={"figure": {"caption": "Codeword length against surprise for each character of the sonnets. Huffman's code follows the diagonal within a bit or so; UTF-8 gives 8 bits to all ASCII characters alike, and 24 to the apostrophe, which is far from rare.", "name": "fig-utf8"}, "image": {"alt": "Scatter plot. Huffman lengths climb with surprise along the diagonal from 3 to 15 bits; the UTF-8 lengths lie on a flat line at 8 bits, with one point at 24 bits for the apostrophe at a surprise of about 7 bits."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 3.6))
for (name, length), marker in zip(codeword_lengths.items(), "s."):
    mean = sum(share[c] * length[c] for c in share)
    place = list(surprise.values()), [length[c] for c in surprise]
    ax.plot(*place, marker, alpha=0.7, label=f"{name}: {mean:.2f} bits per character")
diagonal = f"entropy: {text_entropy:.2f} bits per character"
ax.plot([2, 16], [2, 16], "--", color="black", linewidth=1, label=diagonal)
marked = {" ": ("space", "right"), "e": ("e", "left"), "’": ("apostrophe", "right")}
for c, (name, side) in marked.items():
    place = surprise[c], codeword_lengths["UTF-8"][c]
    ax.annotate(name, place, xytext=(0, 7), textcoords="offset points", ha=side)
ax.set(xlabel="surprise of the character (bits)", xlim=(1, 17), ylim=(0, 27))
ax.set(ylabel="length of its codeword (bits)")
ax.legend(loc="upper right")
plt.show()

# %% [markdown]
# :::{admonition} Watch out: "UTF-8 gives rare symbols more bytes"
# :class: pitfall
# Its lengths follow the *code points*, the numbers that characters have in the Unicode table, and the table was not sorted by your text. In these sonnets the printed apostrophe occurs 528 times and takes 24 bits each time; "J" occurs 3 times and takes 8, as does "e", which occurs 7635 times. UTF-8 spends 8.10 bits per character where the frequencies ask for 4.52. It was designed to agree with ASCII and to be readable from any byte onwards, not to be short.
# :::
#
# (sec-blocks)=
# ### What is half a bit?
#
# A coin with $p = 0.1$ has entropy 0.469 bits. No symbol code gets there: two symbols, one bit each. But we may code several flips at a time. Two flips have four outcomes with probabilities 0.81, 0.09, 0.09, 0.01, and Huffman's code for these *blocks* needs 1.29 bits, or 0.645 per flip. Surprises of independent symbols add, so a block of $n$ has entropy $nH$, and the one bit of rounding is now shared by $n$ symbols:
#
# :::{prf:corollary} Blocks
# :label: thm-blocks
# Let $L_n$ be the mean length of an optimal code for blocks of $n$ independent symbols from one source of entropy $H$. Then $H \le L_n / n < H + 1/n$.
# :::
#
# :::{prf:proof}
# {prf:ref}`thm-code-length` for the blocks says $nH \le L_n < nH + 1$. Divide by $n$.
# :::

# %% tags=["check:thm-blocks"]
H_coin, block_sizes = info.entropy([0.9, 0.1]), np.arange(1, 13)
per_flip, block_p = [], np.ones(1)
for k in block_sizes:
    block_p = np.kron(block_p, [0.9, 0.1])  # probabilities of the 2^k blocks
    words = huffman_code(block_p)
    per_flip.append(sum(block_p[b] * len(word) for b, word in words.items()) / k)
per_flip = np.array(per_flip)
assert (per_flip >= H_coin).all() and (per_flip < H_coin + 1 / block_sizes).all()
print("bits per flip for n = 1, 2, 4, 8, 12:", per_flip[[0, 1, 3, 7, 11]].round(4))
print(f"entropy: {H_coin:.4f} bits")

# %% mystnb={"figure": {"caption": "Huffman's code for blocks of $n$ flips of a coin with $p = 0.1$. The cost per flip comes down to the entropy of 0.469 bits: this is what a fraction of a bit means. It need not fall at every step.", "name": "fig-blocks"}, "image": {"alt": "Points over block lengths 1 to 12: 1 bit per flip at n equal to 1, 0.645 at 2, then falling towards a dashed line at 0.469 bits; all points lie below the curve entropy plus one over n."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 3.2))
ax.plot(block_sizes, H_coin + 1 / block_sizes, color=orange, label="entropy + 1/n")
ax.plot(block_sizes, per_flip, "o-", label="Huffman, blocks of n flips")
ax.axhline(H_coin, ls="--", color="black", lw=1, label=f"entropy: {H_coin:.3f}")
ax.set(xlabel="flips per block n", ylabel="bits per flip", ylim=(0.4, 1.1))
ax.set_xticks(block_sizes)
ax.legend()
plt.show()


# %% [markdown]
# Blocks have a price: the table of codewords has $2^n$ entries. Can a whole book be coded as one block without such a table?
#
# (sec-arithmetic)=
# ### Arithmetic coding: one block for the whole stream
#
# Go back to the picture of the cut interval. Kraft's construction gives every message its own piece of $[0, 1)$, and the piece can be found *one symbol at a time*: cut the interval in proportion to the probabilities of the first symbol and step into the piece of the one that occurred; cut that piece in proportion to the probabilities of the second symbol, *given the first*; and so on ({numref}`fig-arithmetic`). In the end you stand in an interval whose length is the product of these probabilities: the probability of the stream. Write down a binary fraction inside it, and the receiver, who cuts along with you, can retrace every step.


# %% tags=["hide-input"]
def write_value(ax, x, row, value):
    ax.text(x, -row + 0.21, f"{value:g}", ha="center", va="bottom", fontsize=9.5)


def draw_row(ax, row, low, length, chosen):
    start = 0.0
    for i, (letter, p) in enumerate({"a": 0.5, "b": 0.3, "c": 0.2}.items()):
        on = letter == chosen
        style = dict(color=f"C{i}", alpha=1 if on else 0.3, edgecolor="white")
        ax.barh(-row, p, left=start, height=0.36, **style)
        ink = "white" if on else "black"
        ax.text(start + p / 2, -row, letter, ha="center", va="center", color=ink)
        if on:  # zoom in: the chosen piece becomes the next row
            for x, end in ((start, 0), (start + p, 1)):
                ax.plot([x, end], [-row - 0.19, -row - 0.6], ":", color="black", lw=1)
            piece = low + length * start, length * p
        write_value(ax, start, row, low + length * start)
        start += p
    write_value(ax, 1, row, low + length)
    return piece


# %% mystnb={"figure": {"caption": "Arithmetic coding of 'bac' for a source with probabilities 0.5, 0.3, 0.2 for a, b, c. Each row zooms into the piece chosen in the row above. The last interval, [0.62, 0.65), has length $0.3 \\times 0.5 \\times 0.2 = 0.03$, and the solid piece, all binary fractions that begin 0.101000, lies in it: the code is 101000.", "name": "fig-arithmetic"}, "image": {"alt": "Three stacked bars, each cut into pieces a, b and c in proportion 5 to 3 to 2. The chosen piece of each bar is highlighted and widens into the whole of the next bar. A fourth bar from 0.62 to 0.65 contains a piece labelled 0.101000."}} tags=["hide-input"]
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
# Let a model give probability $Q > 0$ to a stream. Then $n = \lceil -\log_2 Q \rceil + 1$ bits, fewer than $-\log_2 Q + 2$, are enough to name an interval of length $2^{-n}$ inside the stream's interval, and the codes of streams of equal length, named in this way, are a prefix code. If the streams come from a source $p$, their mean length is below $\mathbb{E}_p[-\log_2 Q] + 2$.
# :::
#
# :::{prf:proof}
# The stream's interval $[u, u + Q)$ has length $Q \ge 2 \cdot 2^{-n}$. The first multiple $m 2^{-n}$ at or above $u$ is less than $2^{-n}$ away from it, so $[m 2^{-n}, (m + 1) 2^{-n})$ ends before $u + 2 \cdot 2^{-n} \le u + Q$ and lies inside. It consists of the fractions that begin with the $n$ binary digits of $m 2^{-n}$: these digits are the code. Different streams of equal length have disjoint intervals, so, as in {prf:ref}`thm-kraft`, no code is the beginning of another. The last statement is the mean of the first.
# :::
#
# With exact fractions, coder and decoder take two dozen lines. The model is any function from the symbols so far to the probabilities of the next.


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
    while (m := math.ceil(low * 2**n)) + 1 > (low + length) * 2**n:
        n += 1  # [m, m + 1) / 2^n does not fit: one more bit
    return format(m, f"0{n}b") if n else ""


def decode(model, bits, size):
    point, stream = Fraction(int("0" + bits, 2), 2 ** len(bits)), []
    for _ in range(size):
        for symbol in range(len(model(stream))):  # whose piece is the point in?
            low, length = interval(model, [*stream, symbol])
            if low <= point < low + length:
                break
        stream.append(symbol)
    return stream


# %% tags=["check:thm-arithmetic"]
letter_model = lambda prefix: [Fraction(n, 10) for n in (5, 3, 2)]  # ignores the prefix
print("bac ->", encode(letter_model, [1, 0, 2]))

excess, code_words, mean = [], [], 0.0
for stream in itertools.product(range(3), repeat=6):
    Q = float(interval(letter_model, stream)[1])
    bits = encode(letter_model, stream)
    assert decode(letter_model, bits, 6) == list(stream)
    excess.append(len(bits) + math.log2(Q))
    code_words.append(bits)
    mean += Q * len(bits)
code_words.sort()
assert not any(b.startswith(a) for a, b in zip(code_words, code_words[1:]))
print("all 729 streams of 6 symbols decode, and the codes are a prefix code")
print(f"bits beyond -log2 Q: from {min(excess):.3f} to {max(excess):.3f}, below 2")
print(f"mean length {mean:.3f}, entropy {6 * info.entropy([0.5, 0.3, 0.2]):.3f} bits")
assert max(excess) < 2

# %% [markdown]
# Exact fractions grow with the stream. `lvmlib.compression` does the same with 64-bit integers: it writes bits out as soon as they are settled, and its rounding costs about $10^{-4}$ bits per symbol. Its function `slots` replaces probabilities by integers as well: of the numbers $0, \dots, 2^{24} - 1$ each symbol owns a run in proportion to its probability. On the stream above both coders give the same bits.

# %%
from lvmlib.compression import Encoder, slots

library_encoder = Encoder()
library_encoder.push([1, 0, 2], slots([[0.5, 0.3, 0.2]] * 3))  # slots for each symbol
as_bits = "".join(f"{byte:08b}" for byte in library_encoder.finish())
print("lvmlib:", as_bits[: library_encoder.bits], end=" ")
print(" ours:", encode(letter_model, [1, 0, 2]))


# %% [markdown]
# (sec-shakespeare)=
# ### A model of Shakespeare, trained, compressing and sampled
#
# {term}`Arithmetic coding <arithmetic coding>` turns *any* predictor of the next symbol into a compressor, and the file is as long as the predictor is surprised. So here is a first model of text. It counts in the first 130 sonnets how often each character follows the last $k$ characters. The prediction from $k$ characters, $p_k$, refines that from $k - 1$, beginning with the uniform $p_{-1}$: if the context was seen $n > 0$ times, and $n_c$ times before the character $c$,
#
# $$ p_k(c) = \frac{n_c + d\, p_{k-1}(c)}{n + d}, \qquad d = 2 \cdot \#\{c : n_c > 0\} . $$
#
# Otherwise $p_k = p_{k-1}$. As $n$ grows the counts outweigh $p_{k-1}$, but more slowly if many *different* characters have followed, because more new ones must then be expected. (The factor 2 is a choice.) We compress the last 16 sonnets, which the model has never seen; the receiver knows their length and the alphabet of all the sonnets.


# %%
class Ngram:
    """Probabilities of the next character, given the last 0, 1, ..., order ones."""

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
            if context in self.counts:
                seen = self.counts[context]  # n_c for every character c
                d = 2 * np.count_nonzero(seen)  # number of different followers, times 2
                p = (seen + d * p) / (seen.sum() + d)
        return p


# %%
from lvmlib.compression import arithmetic_decode, arithmetic_encode

rest = bytes(last_sonnets.x.numpy())
alphabet = sorted(set(text) | set(rest.decode()))
known = [alphabet.index(c) for c in text]
unseen = [alphabet.index(c) for c in rest.decode()]
print(f"{len(known)} characters to learn from, {len(unseen)} to compress,", end=" ")
print(f"alphabet of {len(alphabet)}")

ngrams, sizes = {}, {}
for order in range(-1, 6):
    ngrams[order] = model = Ngram(known, order, len(alphabet))
    # framed=False: the length is not written in front, the receiver knows it
    data = arithmetic_encode(model, unseen, framed=False)
    back = arithmetic_decode(model, data, length=len(unseen))
    assert back.tolist() == unseen  # exact
    pasts = (unseen[max(0, i - 5) : i] for i in range(len(unseen)))
    ideal = -sum(math.log2(model(past)[c]) for past, c in zip(pasts, unseen))
    # the end of the stream, rounding, and whole bytes
    assert 8 * len(data) < ideal + 2 + 1e-3 * len(unseen) + 8
    name = {-1: "no model", 0: "frequencies", 1: "last character"}.get(order)
    name = name or f"last {order} characters"
    sizes[name] = 8 * len(data) / len(unseen)
    print(f"{name:>17}: -log2 Q = {ideal:7.1f}, file {8 * len(data)} bits", end=", ")
    print(f"{sizes[name]:.3f} per character")

# %% mystnb={"figure": {"caption": "Sixteen sonnets on disk. A longer memory makes the model less surprised and the file shorter, until contexts become too rare to learn from. zlib and xz, which learn from the 16 sonnets alone, beat the bare frequencies, but no model with a memory that has read 130 others. If xz may read them too, it comes close to the model with two characters of memory.", "name": "fig-text"}, "image": {"alt": "Horizontal bars of bits per character: no model about 6, frequencies about 4.5, falling to about 2.5 for four characters; zlib and xz about 3.7, and 2.9 for xz that has read the other sonnets."}} tags=["hide-input"] tolerance={"rtol": 0.02}
raw = text.encode()
bars = dict(sizes)
bars["zlib"] = 8 * len(zlib.compress(rest, 9)) / len(rest)
bars["xz"] = 8 * len(lzma.compress(rest)) / len(rest)
after_reading = len(lzma.compress(raw + rest)) - len(lzma.compress(raw))
bars["xz, others read"] = 8 * after_reading / len(rest)
fig, ax = plt.subplots(figsize=(6.2, 3.4))
ax.barh(list(bars), list(bars.values()), color=[blue] * len(sizes) + [orange] * 3)
for i, value in enumerate(bars.values()):
    ax.text(value + 0.06, i, f"{value:.2f}", va="center")
ax.set(xlabel="bits per character", xlim=(0, 6.9))
ax.invert_yaxis()
ax.grid(visible=False, axis="y")
plt.show()

# %% [markdown]
# In every row the file is the model's $-\log_2 Q$, to within a few bits and the padding of the last byte. (With four characters it is 0.2 bits shorter: the rounding of probabilities to integers happened to favour this text.) So *the loss of a probability model is a file size*. This is why later chapters report bits per pixel. The price is speed: each symbol costs one call of the model for sender and receiver alike, and both must compute the same probabilities to the last bit.
#
# The same machine runs backwards. The *decoder* turns bits into text, and fed with coin flips instead of a code it steps into each piece of the interval with the probability of that piece: it **samples** from the model.

# %%
from lvmlib.compression import Decoder


def sample(model, length, seed):
    coin_flips = Decoder(np.random.default_rng(seed).bytes(length))
    stream = []
    for _ in range(length):
        stream.append(int(coin_flips.pop(slots(model(stream[-5:])))[0]))
    return "".join(alphabet[symbol] for symbol in stream)


for order in (0, 1, 4):
    print(f"--- order {order}\n{sample(ngrams[order], 150, seed=1)}")

# %% [markdown]
# With four characters of memory most words are words, and no sentence is a sentence. Shannon let people guess the next letter of printed English, without capitals and punctuation, and put its entropy between 0.6 and 1.3 bits per letter {cite:p}`shannon1951`. Our best model needs 2.46.
#
# (sec-images)=
# ### What is an image worth?
#
# A picture of 1000x1000 pixels, each of three colours, each of 256 levels, is one out of $256^{3{,}000{,}000}$. By {prf:ref}`thm-entropy-range` its entropy is at most the logarithm of that number: 24 million bits, 3 megabytes. Only pure noise, all levels independent and equally likely, reaches the bound. How far below it are photographs? Nobody knows $p(\text{photograph})$, but every lossless compressor gives an upper bound, because no decodable code is shorter on average than the entropy.
#
# **Predict, then run.** We compress the two photographs that come with scikit-learn and 2,000 handwritten digits from MNIST {cite:p}`lecun1998`. As a control we add the first photograph with the levels of each colour shuffled ({numref}`fig-pictures`). `histogram` is the entropy of a single level, from counts, summed over the colours. Will zlib, xz and png need fewer bits for the shuffled photograph than the histogram says, as many, or more?

# %%
import io

from PIL import Image
from sklearn.datasets import load_sample_images

china, flower = load_sample_images().images  # [427, 640, 3], uint8
rng = np.random.default_rng(0)
levels_of = china.reshape(-1, 3).T  # [3, pixels]
shuffled = np.stack([rng.permutation(one) for one in levels_of], -1)
shuffled = shuffled.reshape(china.shape)
train, _, test = load("mnist")
digits = test.x[:2000, 0].numpy()  # [2000, 28, 28], uint8
pictures = {"china": china, "flower": flower, "china, shuffled": shuffled}
pictures["2,000 digits"] = digits.reshape(-1, 28)

# %% mystnb={"figure": {"caption": "What is compressed: two photographs, a piece of the first one after its levels were shuffled, and some of the 2,000 digits.", "name": "fig-pictures"}, "image": {"alt": "A Chinese temple with a tiled roof, an orange dahlia, a field of coloured noise, and rows of handwritten digits."}} tags=["photo", "hide-input"]
sheet = digits[:120].reshape(8, 15, 28, 28).transpose(0, 2, 1, 3).reshape(8 * 28, -1)
shown = pictures | {"china, shuffled": shuffled[:40, :60], "2,000 digits": 255 - sheet}
fig, axes = plt.subplots(1, 4, figsize=(6, 1.35))
for ax, (name, picture) in zip(axes.flat, shown.items()):
    ax.imshow(picture, cmap="gray")
    ax.set_title(name)
    ax.set_anchor("N")  # titles at one height
    ax.axis("off")
plt.show()


# %% tolerance={"atol": 0.02, "rtol": 0.02}
def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png", optimize=True)
    return file.getvalue()


coders = {
    "zlib": lambda x: zlib.compress(x.tobytes(), 9),
    "xz": lambda x: lzma.compress(x.tobytes()),
    "png": png,
}
bits_per_pixel = {}
for name, picture in pictures.items():
    n_pixels = picture.shape[0] * picture.shape[1]
    channels = picture.reshape(n_pixels, -1).T
    tables = [np.bincount(channel, minlength=256) for channel in channels]
    sizes_of = {"no model": 8.0 * len(tables)}
    sizes_of["histogram"] = sum(info.entropy_from_counts(c) for c in tables)
    for coder, compress in coders.items():
        sizes_of[coder] = 8 * len(compress(picture)) / n_pixels
    bits_per_pixel[name] = sizes_of
methods = ["no model", "histogram", *coders]
print("bits per pixel".ljust(18) + "".join(f"{method:>11}" for method in methods))
for name, sizes_of in bits_per_pixel.items():
    print(name.ljust(18) + "".join(f"{sizes_of[method]:11.2f}" for method in methods))

# %% mystnb={"figure": {"caption": "Bits per pixel, as a share of what a picture without any structure would take. The histogram knows how often each level occurs; zlib and xz find repetitions in the stream of bytes; png predicts each pixel from its neighbours first.", "name": "fig-coders"}, "image": {"alt": "Grouped bars for four pictures. The photographs reach about half of the uncompressed size with png, the shuffled photograph needs slightly more than its histogram, and the digits shrink to about a fifth."}} tags=["hide-input"] tolerance={"atol": 0.02, "rtol": 0.02}
fig, ax = plt.subplots(figsize=(6.6, 3.2))
for i, method in enumerate(methods[1:]):
    shares = [100 * row[method] / row["no model"] for row in bits_per_pixel.values()]
    ax.bar(np.arange(4) + 0.2 * i - 0.3, shares, width=0.19, label=method)
ax.axhline(100, color="black", linewidth=1)
ax.text(3.45, 102, "log of the number of pictures", ha="right")
ax.set(xticks=range(4), xticklabels=bits_per_pixel, ylim=(0, 132))
ax.set(ylabel="size (% of uncompressed)")
ax.legend(ncols=4, loc="upper left")
plt.show()


# %% [markdown]
# :::{dropdown} What to expect
# Slightly more. Where the neighbours say nothing, no coder beats the histogram, and each adds a little overhead of its own: 23.5 to 23.7 bits against 22.99. Between the shuffled photograph and the real one, every bit is saved by *guessing a level from other levels*.
# :::
#
# At the best rates in the table, 1000x1000 pixels of such photographs take 10 to 14 Mbit instead of 24. (These are estimates of upper bounds, from two pictures that have lost detail as JPEG files.) A better model would find shorter codes, and such models are what this book builds.
#
# ### Exercises of Part 1
#
# :::{exercise} ★ Decodable, but not at sight
# :label: ex-suffix-code
# Which of the codes {0, 01, 11} and {0, 01, 10} is uniquely decodable? What does the Kraft sum say?
# :::
#
# :::{solution} ex-suffix-code
# :class: dropdown
# The first is: read it from the right, and it is a prefix code (0, 10, 11). But decoding from the left may have to wait for the end of the stream: 0 followed by many ones means different things for an even and for an odd number of them. The second is not: 010 is both 0, 10 and 01, 0. Both have lengths 1, 2, 2 and Kraft sum 1. The inequality is about lengths; it promises that *some* code with these lengths is decodable, not that yours is.
# :::
#
# :::{exercise} ★★ Two best codes
# :label: ex-huffman-ties
# A source has probabilities 0.4, 0.2, 0.2, 0.1, 0.1. Break the ties of Huffman's algorithm in two ways, so that the longest codeword has 3 bits in one code and 4 in the other. Compare their mean lengths. Which one would you use on a line that carries a fixed number of bits per second?
# :::
#
# :::{solution} ex-huffman-ties
# :class: dropdown
# Merge 0.1 + 0.1 = 0.2. Now three nodes weigh 0.2. Merge the two single symbols, and then the pair with the symbol of 0.4: the lengths are 2, 2, 2, 3, 3. Or merge the pair with a single symbol, and the result with the other one: they are 1, 2, 3, 4, 4. Both means are 2.2 bits (the entropy is 2.122), and by {prf:ref}`thm-huffman` nothing is shorter. The first has the smaller variance, 0.16 instead of 1.36, so its buffer overflows less often.
# :::
#
# :::{exercise} ★★ From lengths to codewords
# :label: ex-kraft-words
# Fill the gap with the construction in the proof of {prf:ref}`thm-kraft`: pieces side by side, shortest codeword first. Each piece starts at a multiple of $2^{-\ell}$; its $\ell$ binary digits are the codeword.
# :::


# %%
def codewords(lengths):
    """Return a prefix code with these lengths, which are sorted and within budget."""
    words, start = [], Fraction(0)  # where the next piece begins
    for length in lengths:
        words.append(...)  # your code: a string of `length` characters 0 and 1
        start += Fraction(1, 2**length)
    return words


# %%
answer = codewords([1, 2, 3, 3])
if answer[0] is not ...:  # a test of your code
    assert answer == ["0", "10", "110", "111"], answer

# %% [markdown]
# :::{solution} ex-kraft-words
# :class: dropdown
# `start * 2**length` is a whole number; written in binary with leading zeros it is the codeword. The next cell builds a code for the lengths of Huffman's code for the letters.
# :::

# %% tags=["hide-cell"]
start, built = Fraction(0), []
for length in sorted(len(word) for word in ours.values()):
    built.append(format(int(start * 2**length), f"0{length}b"))
    start += Fraction(1, 2**length)
built_length = sum(p * len(word) for p, word in zip(letter_p.values(), built))
assert is_prefix_code(set(built)) and math.isclose(built_length, mean_length(ours))
print(f"26 words, from {built[0]} to {built[-1]}, mean length {built_length:.4f} bits")


# %% [markdown]
# :::{exercise} ★★ A model that learns while it compresses
# :label: ex-adaptive
# The n-gram models had 130 sonnets to learn from. Fill the gap with a model that starts from nothing: every character begins with a count of $a$, and each character that goes by adds 1 to its own. Compress the 16 sonnets with $a = 1$ and with $a = 0.05$. How many bits does learning cost, compared with the frequencies learned from 130 sonnets?
# :::


# %%
def adaptive(a):
    def model(prefix):
        if not prefix:  # a new stream
            model.counts = np.full(len(alphabet), a)
        else:  # one more character has gone by: prefix[-1]
            ...  # your code
        return model.counts / model.counts.sum()

    return model


# %%
trial = arithmetic_encode(adaptive(1.0), unseen, framed=False)
if 8 * len(trial) < 58_000:  # a test of your code: without learning it is 58,608 bits
    assert 8 * len(trial) == 44_792
    print(8 * len(trial) / len(unseen), "bits per character")


# %% [markdown]
# :::{solution} ex-adaptive
# :class: dropdown
# The gap is `model.counts[prefix[-1]] += 1`. The frequencies of the other sonnets needed 44,584 bits, this model with $a = 1$ needs 44,792: learning the frequencies of 62 characters from scratch costs 208 bits, 26 bytes. With $a = 0.05$ it is about 50 bits more. Nobody had to transmit a table, since the decoder counts along.
# :::


# %% tags=["hide-cell"]
def learning(a):
    def model(prefix):
        if not prefix:
            model.counts = np.full(len(alphabet), a)
        else:
            model.counts[prefix[-1]] += 1
        return model.counts / model.counts.sum()

    return model


for a in (1.0, 0.05):
    data = arithmetic_encode(learning(a), unseen, framed=False)
    assert arithmetic_decode(learning(a), data, length=len(unseen)).tolist() == unseen
    n_bits = 8 * len(data)
    print(f"a = {a}: {n_bits} bits, {n_bits / len(unseen):.3f} per character")


# %% [markdown]
# (sec-it-compare)=
# ## Part 2. Compare: what does a wrong model cost?
#
# (sec-kl)=
# ### Cross-entropy and KL divergence
#
# A code is built for the probabilities that you *believe*, $q$. Symbols come with the probabilities that are *true*, $p$. Rounding aside, symbol $i$ then costs $-\log_2 q_i$ bits instead of the $-\log_2 p_i$ it deserves.
#
# :::{prf:definition} Cross-entropy and KL divergence
# :label: def-kl
# For distributions $p$ and $q$ over the same outcomes, the **cross-entropy** is the mean surprise of someone who believes $q$ while $p$ is true, and the **Kullback-Leibler divergence** {cite:p}`kullback1951` is the excess over the entropy:
#
# $$ \begin{aligned} H(p, q) &= -\sum_i p_i \log q_i, \\ \operatorname{KL}(p \,\|\, q) &= H(p, q) - H(p) = \sum_{i:\, p_i > 0} p_i \log \frac{p_i}{q_i} . \end{aligned} $$ (eq-kl)
#
# If $q_i = 0$ somewhere where $p_i > 0$, both are infinite: someone who holds an event to be impossible has no codeword for it.
# :::
#
# The outcomes with $p_i > 0$ are the *support* of $p$. For densities the sums become integrals. The log-ratio $\log \frac{p}{q}$ is weighted by $p$, so what matters most is to be right where $p$ is large. This rule of thumb has a limit: an outcome with $p_i = 0.01$ and $q_i = 10^{-12}$ adds 0.33 bits, and as $q_i \to 0$ this one rare outcome outweighs all others.
#
# To see the cost on disk, take Huffman's code for the letters of the sonnets and use it on a text with every letter replaced by the next in the alphabet.


# %%
def kl(p, q):
    p, q = np.array(p, dtype=float), np.array(q, dtype=float)
    on = p > 0  # the sum runs over the support of p, and only there
    return (p[on] * np.log2(p[on] / q[on])).sum()


believed = np.array([letter_p.get(c, 0) for c in "abcdefghijklmnopqrstuvwxyz"])
moved = np.roll(believed, 1)  # a becomes b, b becomes c, ...
believed_words = huffman_code(believed)
for name, shares in {"sonnets": believed, "shifted text": moved}.items():
    spent = sum(shares[s] * len(believed_words[s]) for s in range(26))
    print(f"{name:>12}: {spent:.3f} bits per letter, entropy {entropy(shares):.3f}")
print(f"cross-entropy {info.cross_entropy(moved, believed):.3f},", end=" ")
print(f"KL divergence {info.kl_divergence(moved, believed):.3f} bits")
assert math.isclose(kl(moved, believed), info.kl_divergence(moved, believed))
print(f"a fair coin believed to be 90:10 costs {kl([0.5, 0.5], [0.9, 0.1]):.3f} extra")
print(f"a 90:10 coin believed to be fair costs {kl([0.9, 0.1], [0.5, 0.5]):.3f} extra")

# %% [markdown]
# The shifted text is no less orderly, but the wrong code spends 5.316 bits per letter instead of 4.209. (Less than the cross-entropy, 5.487: rounded to whole bits, Huffman's lengths are ideal for the beliefs $2^{-\ell_i}$, which happen to be less wrong about this text.) The two coins show that *the KL divergence is not symmetric*, so it is not a distance.
#
# Can the wrong model ever cost *less* than the right one? No; we prove it twice, because both proofs return throughout this book.
#
# :::{prf:theorem} Gibbs' inequality
# :label: thm-gibbs
# $\operatorname{KL}(p \,\|\, q) \ge 0$, with equality if and only if $p = q$.
# :::
#
# :::{prf:proof}
# If the divergence is infinite there is nothing to show. Otherwise $q_i > 0$ wherever $p_i > 0$. We use natural logarithms; other units only multiply by a positive constant.
#
# *First proof: a tangent.* The line $a - 1$ touches $\ln a$ at $a = 1$ and lies above it everywhere else ({numref}`fig-tangent`). With $a = q_i / p_i$,
#
# $$ \begin{aligned} -\operatorname{KL}(p \,\|\, q) = \sum_{i:\, p_i > 0} p_i \ln \frac{q_i}{p_i} &\le \sum_{i:\, p_i > 0} p_i \Bigl( \frac{q_i}{p_i} - 1 \Bigr) \\ &= \sum_{i:\, p_i > 0} q_i - 1 \le 0 . \end{aligned} $$
#
# *Second proof: Jensen's inequality.* The logarithm is strictly concave, so the mean of a logarithm is at most the logarithm of the mean:
#
# $$ \begin{aligned} -\operatorname{KL}(p \,\|\, q) = \mathbb{E}_p\Bigl[ \ln \frac{q}{p} \Bigr] &\le \ln \mathbb{E}_p\Bigl[ \frac{q}{p} \Bigr] \\ &= \ln \sum_{i:\, p_i > 0} q_i \le \ln 1 = 0 . \end{aligned} $$
#
# *Equality.* In the first proof it needs $q_i = p_i$ wherever $p_i > 0$; then the $q_i$ on the support of $p$ already sum to 1 and the others vanish, so $q = p$. Conversely $\operatorname{KL}(p \,\|\, p) = 0$. For densities replace sums by integrals; equality then means equality almost everywhere.
# :::

# %% mystnb={"figure": {"caption": "The inequality behind the first proof holds for the natural logarithm: $a - 1$ is its tangent. The binary logarithm has slope 1.443 at $a = 1$ and runs above the line from $a = 1$ to $a = 2$ (shaded).", "name": "fig-tangent"}, "image": {"alt": "The line a minus 1 touches the curve ln a at a equal to 1 and stays above it. The curve log2 a crosses the line at 1 and at 2 and lies above it in between; the point at a equal to 1.5, height 0.585, is marked."}} tags=["hide-input"]
a_line = np.linspace(0.12, 2.6, 300)
binary = np.log2(a_line)
fig, ax = plt.subplots(figsize=(6, 3.4))
ax.plot(a_line, a_line - 1, color="black", ls="--", linewidth=1.5, label="a - 1")
ax.plot(a_line, np.log(a_line), label="ln a")
ax.plot(a_line, binary, label="log2 a")
between = (a_line >= 1) & (a_line <= 2)
ax.fill_between(a_line, a_line - 1, binary, where=between, color=red, alpha=0.5)
ax.plot(1.5, np.log2(1.5), "o", color=red)
thin = {"arrowstyle": "-", "color": "black"}
where = dict(xytext=(-12, 20), textcoords="offset points", ha="right", arrowprops=thin)
ax.annotate("log2 1.5 = 0.585", (1.5, np.log2(1.5)), **where)
ax.set(xlabel="a", ylabel="value", xlim=(0, 2.6), ylim=(-2, 1.7))
ax.legend(loc="lower right")
plt.show()

# %% tags=["check:thm-gibbs"]
rng = np.random.default_rng(0)
some_p, some_q = rng.dirichlet(np.ones(5), size=(2, 100_000))
divergence = info.kl_divergence(some_p, some_q)
print(f"100,000 random pairs: KL from {divergence.min():.4f}", end=" ")
print(f"to {divergence.max():.2f} bits (never below 0)")
assert (divergence > 0).all() and (info.kl_divergence(some_p, some_p) == 0).all()
by_hand = [kl(*pair) for pair in zip(some_p[:1000], some_q[:1000])]
assert np.allclose(by_hand, divergence[:1000])
nearby = info.kl_divergence(some_p, 0.999 * some_p + 0.001 * some_q)
print(f"q a thousandth of the way from p: KL from {nearby.min():.1e} bits (above 0)")
assert (nearby > 0).all()
half_outside = info.kl_divergence([0.5, 0.5, 0], [0.25, 0.25, 0.5])
print(f"half of q outside the support of p: {half_outside} bit (expected 1)")
print(f"q = 0 where p > 0: {info.kl_divergence([0.5, 0.5], [1, 0])}")
assert half_outside == 1

# %% [markdown]
# :::{admonition} Watch out: "$\log a \le a - 1$, so the KL divergence in bits is non-negative"
# :class: pitfall
# The inequality is true for the natural logarithm and *false* for the binary one: $\log_2 1.5 = 0.585 > 0.5$. The conclusion survives, since bits are nats times a positive constant; the proof on many slides does not. And the sums must run over the support of $p$: in the example above $q$ has half its mass where $p$ has none, so $\sum_{p_i > 0} q_i = 0.5$. A proof that sums $q_i$ over all outcomes and writes "=&nbsp;1" has divided by $p_i = 0$ on the way.
# :::
#
# (sec-forward-reverse)=
# ### Forward or reverse?
#
# Suppose $p$ has two humps and your model $q$, a Gaussian, has only one. No choice of $q$ is right; which one is least wrong? In the *forward* divergence $\operatorname{KL}(p \,\|\, q)$ draws come from $p$, and $q$ must not be surprised by them. In the *reverse* one, $\operatorname{KL}(q \,\|\, p)$, draws come from $q$, and $p$ must not be surprised.
#
# **Predict, then run.** We compute both on a fine grid for every mean and width of $q$. Where does the best $q$ sit in each case, and how many minima are there?

# %%
normal = scipy.stats.norm.pdf
line = np.linspace(-20, 20, 1601)
line_step = line[1] - line[0]
target = 0.6 * normal(line, -2, 0.8) + 0.4 * normal(line, 2.2, 0.6)

means, widths = np.linspace(-4, 4, 81), np.linspace(0.3, 4, 75)
# [mean, width, x]
ln_q = scipy.stats.norm.logpdf(line, means[:, None, None], widths[:, None])
log_ratio_pq = np.log2(target) - ln_q / math.log(2)
forward = (target * log_ratio_pq).sum(-1) * line_step
reverse = -(np.exp(ln_q) * log_ratio_pq).sum(-1) * line_step

right_half = np.where(means[:, None] > 0.5, reverse, np.inf)
surfaces = {"forward": forward, "reverse": reverse, "reverse, right hump": right_half}
fits = {}
print("fit                  mean  width  KL(p||q)  KL(q||p)  (bits)")
for name, surface in surfaces.items():
    i, j = fits[name] = np.unravel_index(surface.argmin(), surface.shape)
    print(f"{name:<19} {means[i]:5.2f}  {widths[j]:5.2f}", end="  ")
    print(f"{forward[i, j]:8.2f}  {reverse[i, j]:8.2f}")
target_mean = (target * line).sum() * line_step
target_width = math.sqrt((target * (line - target_mean) ** 2).sum() * line_step)
print(f"{'p itself':<19} {target_mean:5.2f}  {target_width:5.2f}")

# %% mystnb={"figure": {"caption": "One Gaussian for two humps. Forward KL has a single minimum; there $q$ has the mean and the variance of $p$, and its peak stands in the valley between the humps. Reverse KL has a minimum for each hump. Below, the two landscapes over mean and width of $q$ (each with its own logarithmic scale), with dots at their minima.", "name": "fig-forward-reverse"}, "image": {"alt": "Upper row: a two-humped density with a broad Gaussian over both humps, and the same density with one narrow Gaussian on each hump. Lower row: contours of forward KL with one basin in the middle, and of reverse KL with two basins, one per hump."}} tags=["photo", "hide-input"]
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
        top.plot(line, normal(line, means[i], widths[j]), style, color=red, label=name)
        below.plot(means[i], widths[j], "o", color=red, mec="white", markersize=8)
    top.set(title=title, xlabel="x", xlim=(-6, 6), ylim=(0, 1.25))
    top.legend(loc="upper right", fontsize=9)
    below.set(xlabel="mean of q")
axes[0, 0].set_ylabel("density")
axes[1, 0].set_ylabel("width of q")
plt.show()


# %% [markdown]
# :::{dropdown} What to expect
# Forward: one minimum, between the humps. Wherever $p$ has mass, $q$ must have some too. It **covers all modes** (humps), and fills the gap between them with mass that belongs nowhere. For a Gaussian, covering means matching moments: mean and variance are those of $p$, up to the spacing of the grid. Reverse: two minima, one on each hump. Wherever $p$ has nothing, $q$ must have nothing. It **seeks one mode** and forgets the other, at a small price: where $q$ sits, $p$ is nearly $0.6\, q$ or $0.4\, q$, so forgetting the other hump costs about $-\log_2 0.6 = 0.74$ or $-\log_2 0.4 = 1.32$ bits.
# :::
#
# Keep {numref}`fig-forward-reverse` in mind. *Maximum likelihood is forward KL*, so models that are too small smear; the *approximate posteriors* of the variational autoencoder and its kin are fitted by *reverse KL*, so they tend to be too narrow and may miss modes.
#
# (sec-gaussian-kl)=
# ### Between Gaussians: a closed form
#
# :::{prf:theorem} KL divergence between Gaussians
# :label: thm-gaussian-kl
# In $D$ dimensions, for invertible covariances and in nats,
#
# $$ \begin{aligned} &\operatorname{KL}\bigl( \mathcal{N}(\mu_p, \Sigma_p) \,\|\, \mathcal{N}(\mu_q, \Sigma_q) \bigr) \\ &\quad = \tfrac12 \Bigl[ \operatorname{tr}(\Sigma_q^{-1} \Sigma_p) - D + \ln \frac{\det \Sigma_q}{\det \Sigma_p} \\ &\qquad\quad + (\mu_p - \mu_q)^\top \Sigma_q^{-1} (\mu_p - \mu_q) \Bigr] . \end{aligned} $$ (eq-gaussian-kl)
# :::
#
# :::{prf:proof}
# Subtract $\ln \mathcal{N}(x; \mu, \Sigma) = -\frac12 [ D \ln 2\pi + \ln \det \Sigma + (x - \mu)^\top \Sigma^{-1} (x - \mu) ]$ for $q$ from that for $p$ and take the mean over $x \sim p$. The constants cancel, and the determinants give the logarithm. A quadratic form is a trace, $v^\top A v = \operatorname{tr}(A v v^\top)$, and the mean goes inside the trace. For $p$'s own form, $\mathbb{E}[(x - \mu_p)(x - \mu_p)^\top] = \Sigma_p$ gives $\operatorname{tr}(\Sigma_p^{-1} \Sigma_p) = D$. For $q$'s, put $x - \mu_q = (x - \mu_p) + (\mu_p - \mu_q)$; the mixed terms have mean zero, so $\mathbb{E}[(x - \mu_q)(x - \mu_q)^\top] = \Sigma_p + (\mu_p - \mu_q)(\mu_p - \mu_q)^\top$, which gives the trace and the last term.
# :::
#
# For diagonal covariances this is a sum over dimensions. With means $\mu_d$ and variances $\sigma_d^2$ against a standard normal it is $\frac12 \sum_d (\sigma_d^2 + \mu_d^2 - 1 - \ln \sigma_d^2)$, a term in the loss of nearly every variational autoencoder.


# %%
def gaussian_kl(mean_p, cov_p, mean_q, cov_q):
    precision, gap = np.linalg.inv(cov_q), mean_p - mean_q
    log_det = np.linalg.slogdet(cov_q).logabsdet - np.linalg.slogdet(cov_p).logabsdet
    trace = np.trace(precision @ cov_p)
    return (trace - len(gap) + log_det + gap @ precision @ gap) / 2


# %% tags=["check:thm-gaussian-kl"]
rng = np.random.default_rng(0)
mean_p, mean_q = rng.normal(size=(2, 3))
root_p, root_q = rng.normal(size=(2, 3, 3))
cov_p, cov_q = (root @ root.T + 0.5 * np.eye(3) for root in (root_p, root_q))
formula = gaussian_kl(mean_p, cov_p, mean_q, cov_q)

P = scipy.stats.multivariate_normal(mean_p, cov_p)
Q_density = scipy.stats.multivariate_normal(mean_q, cov_q)
noise = rng.normal(size=(200_000 * SCALE, 3))
draws = mean_p + noise @ np.linalg.cholesky(cov_p).T
log_ratios = P.logpdf(draws) - Q_density.logpdf(draws)
error = log_ratios.std() / len(draws) ** 0.5
tensors = (torch.tensor(x) for x in (mean_p, cov_p, mean_q, cov_q))
mp, cp, mq, cq = tensors
MVN = torch.distributions.MultivariateNormal
by_torch = torch.distributions.kl_divergence(MVN(mp, cp), MVN(mq, cq)).item()
by_lvmlib = info.gaussian_kl(mean_p, cov_p, mean_q, cov_q, base=math.e)
print(f"formula {formula:.4f}, PyTorch {by_torch:.4f}, lvmlib {by_lvmlib:.4f} nats")
print(f"Monte Carlo {log_ratios.mean():.4f} +- {error:.4f}")
assert math.isclose(formula, by_torch) and math.isclose(formula, by_lvmlib)
assert abs(log_ratios.mean() - formula) < 4 * error

# %% [markdown]
# (sec-kl-estimators)=
# ### *Optional:* estimating a KL divergence from samples
#
# With many outcomes we cannot sum, and most densities have no closed form. But the divergence is an expectation, $\operatorname{KL}(p \,\|\, q) = \mathbb{E}_p[\log p(x) - \log q(x)]$, so we may average over draws from $p$. Write $r = q(x) / p(x)$. Three estimators are in use {cite:p}`schulman2020`:
#
# $$ k_1 = -\ln r, \qquad k_2 = \tfrac12 (\ln r)^2, \qquad k_3 = (r - 1) - \ln r . $$ (eq-kl-estimators)
#
# The first is the definition. But when $p$ and $q$ are close, nearly half of its draws are negative, for a quantity that never is. The third adds $r - 1$, whose mean is zero and which is high when $-\ln r$ is low. A term of known mean that is added to cancel noise is called a *control variate*. So $k_3$ is the gap between the tangent and the logarithm in {numref}`fig-tangent`, hence never negative.
#
# :::{prf:proposition} Which of them are unbiased
# :label: thm-kl-estimators
# Let $q$ be zero wherever $p$ is, and let the divergence be finite. Then $k_1$ and $k_3$ have mean $\operatorname{KL}(p \,\|\, q)$, and $k_3 \ge 0$ for every draw. $k_2$ is biased in general.
# :::
#
# :::{prf:proof}
# $\mathbb{E}_p[-\ln r]$ is the definition. $\mathbb{E}_p[r] = \int_{p > 0} q\, dx = 1$ because no mass of $q$ lies elsewhere, so $\mathbb{E}_p[k_3] = 0 + \operatorname{KL}(p \,\|\, q)$. And $k_3 \ge 0$ is the inequality $\ln r \le r - 1$. For the bias one example is enough: the coins $p = (\frac12, \frac12)$ and $q = (\frac14, \frac34)$ have $\mathbb{E}_p[k_2] = \frac14 (\ln^2 \frac12 + \ln^2 \frac32) = 0.1612$ nats, while the divergence is $-\frac12 \ln \frac34 = 0.1438$ nats.
# :::

# %% tags=["check:thm-kl-estimators"]
estimators = {  # of l = ln r
    "k1": lambda l: -l,
    "k2": lambda l: l**2 / 2,
    "k3": lambda l: np.expm1(l) - l,
}
coin_ratio = np.log([1 / 4, 3 / 4]) - np.log([1 / 2, 1 / 2])
coin_kl = info.kl_divergence([0.5, 0.5], [0.25, 0.75], base=math.e)
exact_means = {name: k(coin_ratio).mean() for name, k in estimators.items()}
print(f"coins: KL {coin_kl:.4f};", {k: f"{m:.4f}" for k, m in exact_means.items()})
assert all(math.isclose(m, coin_kl) == (k != "k2") for k, m in exact_means.items())

normals = np.random.default_rng(0).normal(size=1_000_000 * SCALE)  # p = N(0, 1)
print("  d  KL exact      estimate (nats)      spread of a draw / KL")
for d in (0.1, 1.0, 2.0):  # q = N(d, 1), so KL = d^2 / 2
    exact = d**2 / 2
    for name, estimator in estimators.items():
        k = estimator(d * normals - d**2 / 2)
        error = k.std() / math.sqrt(len(k))
        print(f"{d:3}   {exact:.3f}  {name}  {k.mean():.5f} +- {error:.5f}", end="   ")
        print(f"{k.std() / exact:5.2f}")
        assert name == "k2" or abs(k.mean() - exact) < 4 * error
        assert name != "k2" or d < 1 or abs(k.mean() - exact) > 40 * error
        assert name != "k3" or k.min() >= 0

# %% [markdown]
# Close together ($d = 0.1$), a draw of $k_1$ spreads over 20 times the divergence, so it takes 400 draws until the error is as small as the quantity itself; $k_3$ takes two. The bias of $k_2$ is there but cannot be seen; at $d = 1$ it is 25 per cent, at $d = 2$ the estimate is twice the truth. And there $k_3$ spreads three times as much as $k_1$: it pays for the heavy tail of the ratio $r$. This control variate helps where the two distributions are close.
#
# (sec-mle)=
# ### Learning is compressing: maximum likelihood
#
# You have data and a family of models $p_\theta$. Statistics says: make the data most probable. Compression says: make the file shortest. These are one and the same, since $-\log$ turns the product of probabilities into a sum of code lengths. And both minimise a KL divergence:
#
# :::{prf:theorem} Maximum likelihood minimises KL from the empirical distribution
# :label: thm-mle
# Let $x_1, \dots, x_N$ be data with finitely many or countably many possible values, and let the {term}`empirical distribution` $\hat p(x)$ be the fraction of the data that equal $x$. Then
#
# $$ -\frac1N \sum_{n=1}^{N} \log p_\theta(x_n) = H(\hat p, p_\theta) = H(\hat p) + \operatorname{KL}(\hat p \,\|\, p_\theta) , $$ (eq-mle)
#
# and $H(\hat p)$ does not depend on $\theta$. So maximising the likelihood, minimising the cross-entropy and minimising $\operatorname{KL}(\hat p \,\|\, p_\theta)$ have the same solutions.
# :::
#
# :::{prf:proof}
# Collect equal terms: $\frac1N \sum_n \log p_\theta(x_n) = \sum_x \hat p(x) \log p_\theta(x)$. The second equality is the definition of the divergence.
# :::
#
# This is the forward divergence, which is why maximum likelihood covers modes.
#
# **Predict, then run.** Here is a training loop: a model of single letters with $p_\theta = \operatorname{softmax}(\theta)$, trained by gradient descent on the mean surprise of the letters of the sonnets. It starts at the uniform distribution, $\log_2 26 = 4.70$ bits. Will the loss fall to 0? If not, where does it stop, and what does $p_\theta$ look like then?

# %%
letters_only = [ord(c) - ord("a") for c in text.lower() if c.isalpha()]
data_letters = torch.tensor(letters_only)  # [62,111]
theta = torch.zeros(26, dtype=torch.float64, requires_grad=True)
optimiser = torch.optim.Adam([theta], lr=0.1)
for step in range(301):
    log_q = theta.log_softmax(0)  # [26], natural logarithms
    loss = -log_q[data_letters].mean() / math.log(2)  # bits per letter
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if step in (0, 10, 30, 100, 300):
        from_data = kl(believed, log_q.exp().detach().numpy())
        print(f"step {step:3}: loss {loss.item():.4f}, KL(data || model)", end=" ")
        print(f"{from_data:.4f}, difference {loss.item() - from_data:.4f} bits")

# %% [markdown]
# :::{dropdown} What to expect
# It stops at the entropy of the letters, 4.1906 bits, where the divergence is 0 and $p_\theta$ is the table of frequencies that counting gives at once. A loss that is a code length never falls to 0 unless the data are certain; what training removes is the KL part.
# :::
#
# If the family does not contain $\hat p$, some divergence remains. We count the letters in each word of the sonnets (the Roman numerals above them count as words too) and fit $1 + \text{Poisson}(\lambda)$.

# %% tags=["check:thm-mle"]
spaced = "".join(c if c.isalpha() or c == "'" else " " for c in text)
word_lengths = np.array([sum(c.isalpha() for c in word) for word in spaced.split()])
word_lengths = word_lengths[word_lengths > 0]
# position = length; 40 is far beyond any word
poisson = lambda rate: scipy.stats.poisson.pmf(np.arange(-1, 40), rate)
empirical = np.bincount(word_lengths, minlength=41) / len(word_lengths)

lambdas = np.linspace(1.5, 6, 91)
nll = np.array([-np.log2(poisson(l)[word_lengths]).mean() for l in lambdas])  # by word
to_model = np.array([info.kl_divergence(empirical, poisson(l)) for l in lambdas])
H_words = info.entropy(empirical)
print(f"{len(word_lengths)} words: the curves differ by", end=" ")
print(f"{(nll - to_model).min():.6f} to {(nll - to_model).max():.6f} bits")
print(f"entropy of the data {H_words:.6f} bits")
best_lambda, expected_lambda = lambdas[nll.argmin()], word_lengths.mean() - 1
print(f"best λ on the grid {best_lambda:.2f}, mean minus one {expected_lambda:.2f}")
print(f"KL divergence there: {to_model.min():.4f} bits per word")
assert np.allclose(nll, H_words + to_model, atol=1e-9)
assert nll.argmin() == to_model.argmin()

# %% mystnb={"figure": {"caption": "Word lengths in the sonnets, fitted by 1 + Poisson. *Left:* data and best fit. *Right:* the mean negative log-likelihood (what one computes) and the KL divergence from the empirical distribution (what one would like to know) differ by a constant, the entropy of the empirical distribution. Their minimum is at the same place.", "name": "fig-mle"}, "image": {"alt": "Left, bars of word-length frequencies with the fitted Poisson as points; four-letter words are most frequent. Right, two parallel U-shaped curves over lambda with minima at a dotted line near 3.16, a constant 2.84 bits apart."}} tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(7, 3))
left.bar(np.arange(41), empirical, color="#bbbbbb", label="sonnets")
left.plot(np.arange(1, 16), poisson(expected_lambda)[1:16], "o", label="best fit")
left.set(xlabel="letters in the word", ylabel="fraction of words", xlim=(0.3, 15.7))
left.legend()
right.plot(lambdas, nll, label="mean -log2 likelihood")
right.plot(lambdas, to_model, label="KL(data || model)")
right.axvline(expected_lambda, ls=":", color="black", label="mean length - 1")
right.set(xlabel="λ", ylabel="bits per word", xlim=(1.5, 6), ylim=(0, 4.4))
right.legend(loc=(0.38, 0.35), fontsize=9, handlelength=1.2)
plt.show()

# %% [markdown]
# The crude model costs 0.0252 bits per word more than the best possible one, whose cost is the entropy, 2.839 bits.
#
# :::{admonition} Watch out: "maximum likelihood minimises $\operatorname{KL}(\text{data} \,\|\, \text{model})$", for densities
# :class: pitfall
# The empirical distribution sits on $N$ points, where a density has no mass at all, and $\operatorname{KL}(\hat p \,\|\, p_\theta) = \infty$ for *every* $\theta$. Sort 1,000 draws into bins of width $w$ and the divergence is finite; but once the bins are so fine that they hold one draw each, it grows by $\log_2 10 = 3.32$ bits whenever they become ten times finer. What stays finite, and what one does minimise, is the *cross-entropy* $-\frac1N \sum_n \log p_\theta(x_n)$.
# :::

# %%
thousand = np.random.default_rng(0).normal(size=1000)
in_bits = -scipy.stats.norm.logpdf(thousand).mean() / math.log(2)
print(f"cross-entropy {in_bits:.3f} bits, whatever the bins")
for width in (1e-3, 1e-4, 1e-5, 1e-6):
    bins, counted = np.unique(np.floor(thousand / width), return_counts=True)
    mass = np.diff(scipy.stats.norm.cdf([bins * width, (bins + 1) * width]), axis=0)[0]
    bits = (counted / 1000) @ np.log2(counted / 1000 / mass)
    print(f"bins of width {width:.0e}: KL(data || model) {bits:6.3f} bits")

# %% [markdown]
# (sec-plugin-bias)=
# ### *Optional:* back to the biased estimate
#
# How far below the truth is the plug-in entropy ({numref}`sec-estimation`)? The KL divergence answers with an identity, and Jensen's inequality with a bound.
#
# :::{prf:theorem} Bias of the plug-in entropy
# :label: thm-plugin-bias
# Let $\hat p$ be the frequencies of $N$ independent draws from $p$, which has $K$ outcomes of positive probability. Then, in nats,
#
# $$ H(p) - \ln\Bigl(1 + \frac{K - 1}{N}\Bigr) \le \mathbb{E}[H(\hat p)] \le H(p) . $$ (eq-plugin-bias)
# :::
#
# :::{prf:proof}
# $H(\hat p) = -\sum_i \hat p_i \ln p_i - \operatorname{KL}(\hat p \,\|\, p)$, by the definition of the divergence. The first term has mean $H(p)$, because $\mathbb{E}[\hat p_i] = p_i$. So *the bias is exactly* $-\mathbb{E}[\operatorname{KL}(\hat p \,\|\, p)]$, and by Gibbs' inequality it is not positive. For the other side use Jensen's inequality twice, first for the mean over outcomes under $\hat p$, then for the mean over samples:
#
# $$ \begin{aligned} \mathbb{E}[\operatorname{KL}(\hat p \,\|\, p)] &\le \mathbb{E}\Bigl[ \ln \sum_i \frac{\hat p_i^2}{p_i} \Bigr] \le \ln \mathbb{E}\Bigl[ \sum_i \frac{\hat p_i^2}{p_i} \Bigr] \\ &= \ln \Bigl( 1 + \sum_i \frac{\operatorname{Var}(\hat p_i)}{p_i} \Bigr) = \ln\Bigl( 1 + \frac{K - 1}{N} \Bigr), \end{aligned} $$
#
# since $\mathbb{E}[\hat p_i^2] = p_i^2 + \operatorname{Var}(\hat p_i)$ and $\sum_i p_i = 1$, and since $\operatorname{Var}(\hat p_i) = p_i (1 - p_i) / N$ and $\sum_i (1 - p_i) = K - 1$.
# :::
#
# The bound is about twice the truth: for large $N$ the divergence is near $\frac12 \sum_i (\hat p_i - p_i)^2 / p_i$, with mean $(K - 1)/(2N)$. Miller and Madow {cite:p}`miller1955` simply add this to the estimate, with the number of outcomes that were seen in place of $K$. The bound itself is from {cite:t}`paninski2003`.

# %% tags=["check:thm-plugin-bias"]
four_p = np.array([0.5, 0.3, 0.15, 0.05])
H_four, nats = info.entropy(four_p, base=math.e), dict(base=math.e)
print(" N  bias     -E[KL]   bound    -(K-1)/2N  after correction  (nats)")
for N in (5, 20, 50):
    everything = itertools.product(range(N + 1), repeat=3)
    three = np.array([c for c in everything if sum(c) <= N])
    # all counts that N draws can give
    outcomes = np.column_stack([three, N - three.sum(axis=1)])
    weight = scipy.stats.multinomial.pmf(outcomes, N, four_p)
    bias = weight @ info.entropy_from_counts(outcomes, **nats) - H_four
    corrected = weight @ info.entropy_from_counts(outcomes, miller_madow=True, **nats)
    mean_kl = weight @ info.kl_divergence(outcomes / N, four_p, **nats)
    print(f"{N:2}  {bias:.4f}  {-mean_kl:.4f}  {-math.log1p(3 / N):.4f}", end="  ")
    print(f"{-3 / (2 * N):.4f}   {corrected - H_four:.4f}")
    assert math.isclose(bias, -mean_kl) and -math.log1p(3 / N) <= bias <= 0


# %% [markdown]
# ### Exercises of Part 2
#
# :::{exercise} ★★ Too sure, or not sure enough?
# :label: ex-tempered
# A model can be made more or less sure of itself: $q_T(x) \propto q(x)^{1/T}$ with a *temperature* $T$. Fill the gap. Which $T$ costs the fewest bits on the first 3,000 characters of the test sonnets for the model with four characters of memory, and which for the one with a single character? What does $T \ne 1$ say about a model?
# :::


# %%
def tempered(q, T):
    """Return q_T for each row of q [N, K], each row with sum 1."""
    return ...  # your code


def bits_at(order, T, temper):
    """Return bits per character, tempered, for the first 3,000 of the test sonnets."""
    table = np.array([ngrams[order](unseen[max(0, i - 5) : i]) for i in range(3000)])
    return -np.log2(temper(table, T)[np.arange(3000), unseen[:3000]]).mean()


# %%
if tempered(np.full((1, 4), 1 / 4), 2.0) is not ...:  # a test of your code
    assert np.allclose(tempered(np.array([[0.9, 0.1]]), 2.0), [[0.75, 0.25]])
    print([round(bits_at(4, T, tempered), 3) for T in (0.8, 0.9, 1.0, 1.1)])


# %% [markdown]
# :::{solution} ex-tempered
# :class: dropdown
# Raise to the power $1/T$ and divide each row by its sum. The next cell tries a grid of temperatures. With one character of memory $T = 1$ is best. With four, $T = 1.2$ saves 0.024 bits per character: many of its contexts were seen only once or twice, and it trusts them too much. (A fair use of $T$ would choose it on text other than the test.)
# :::


# %% tags=["hide-cell"]
def with_temperature(q, T):
    powers = q ** (1 / T)
    return powers / powers.sum(axis=1, keepdims=True)


for order in (1, 4):
    grid_of_T = (0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6)
    curve = {T: bits_at(order, T, with_temperature) for T in grid_of_T}
    print(f"order {order}:", ", ".join(f"{T}: {b:.3f}" for T, b in curve.items()))

# %% [markdown]
# :::{exercise} ★★★ The best control variate
# :label: ex-control-variate
# (For the optional section on estimators.) Both $k_1$ and $k_3$ belong to the family $-\ln r + c\,(r - 1)$, unbiased for every $c$. Which $c$ has the least variance? Compute it for $p = \mathcal{N}(0, 1)$, $q = \mathcal{N}(d, 1)$ at $d = 0.1, 1, 2$.
# :::
#
# :::{solution} ex-control-variate
# :class: dropdown
# The variance is a parabola in $c$ with its minimum at $c^\star = -\operatorname{Cov}(-\ln r, r) / \operatorname{Var}(r)$. Here $\mathbb{E}_p[r \ln r] = \operatorname{KL}(q \,\|\, p) = d^2/2$ and $\mathbb{E}_p[\ln r] = -d^2/2$, so $\operatorname{Cov}(\ln r, r) = d^2$; and $\operatorname{Var}(r) = e^{d^2} - 1$. Hence $c^\star = d^2 / (e^{d^2} - 1)$: 0.995, 0.582 and 0.075. Close together $k_3$, with $c = 1$, is all but optimal; far apart $k_1$, with $c = 0$, is.
# :::

# %% [markdown]
# (sec-it-relate)=
# ## Part 3. Extend: what changes for densities, and for two variables?
#
# (sec-differential)=
# ### Entropy of a density
#
# For continuous data the obvious generalisation replaces the sum by an integral.
#
# :::{prf:definition} Differential entropy
# :label: def-differential-entropy
# A variable with density $p$ has **differential entropy** $h(X) = \mathbb{E}[-\log p(X)] = -\int p(x) \log p(x)\, dx$.
# :::
#
# Much of what holds for entropy carries over to {term}`differential entropy`: the chain rule ({numref}`sec-joint`) and every inequality that follows from $\operatorname{KL} \ge 0$. But $h$ is *not* an amount of information. A probability is at most 1, so surprise cannot be negative; a density may exceed 1, and $h$ is negative whenever $\log p(X)$ is positive on average. Think of $2^h$ as a width, that of the uniform density with the same entropy: *$h$ is negative if and only if this width is less than one unit.* The uniform density on $[0, a]$ is $1/a$ everywhere, so $h = \log a$, negative for $a < 1$. A Gaussian has $h = \frac12 \log(2 \pi e\, \sigma^2)$, negative for $\sigma < 1/\sqrt{2 \pi e} = 0.242$.
#
# :::{admonition} Watch out: "differential entropy is entropy for continuous variables"
# :class: pitfall
# *It may be negative.* Uniform on $[0, \frac18]$: $h = -3$ bits.
#
# *It changes with the units.* Express a length in centimetres instead of metres and $h$ grows by $\log_2 100 = 6.64$ bits; nothing else happened. In general $h(aX) = h(X) + \log |a|$.
#
# *It is not the limit of the discrete one.* Sort a standard normal into bins of width $w$. A bin at $x$ has probability close to $p(x)\, w$, so its surprise is close to $-\log p(x) - \log w$, and $H \approx h - \log w$. As $w \to 0$ this grows without bound: an exact real number takes infinitely many bits. What converges, to $h = 2.047$ bits, is $H + \log w$.
#
# Differences of differential entropies survive a change of units, because both sides gain the same $\log |a|$. They do not survive other changes of variable: with $X$ uniform on $[0, 1]$ and $Y$ of density $2y$ there, $h(X) - h(Y) = \ln 2 - \frac12 = 0.193$ nats, but $h(X^3) - h(Y^3) = \ln 2 - \frac32 = -0.807$ nats. The KL divergence, a mean of the log-ratio of two densities, keeps its value under every invertible change of variable.
# :::

# %%
for width in (1, 0.1, 0.01, 0.001):
    edges = np.arange(-10, 10 + width, width)
    H_bins = info.entropy(np.diff(scipy.stats.norm.cdf(edges)))
    print(f"standard normal in bins of {width:5}: H = {H_bins:6.3f} bits,", end=" ")
    print(f"H + log2 w = {H_bins + math.log2(width):.4f}")
print(f"differential entropy {info.gaussian_entropy(1.0):.4f} bits,", end=" ")
print(f"in units a hundred times smaller {info.gaussian_entropy(100.0**2):.4f}")
eighth = scipy.stats.uniform(0, 1 / 8).entropy() / math.log(2)
print(f"uniform on [0, 1/8]: {eighth:.0f} bits")
cube_x, cube_y = scipy.stats.beta(1, 1), scipy.stats.beta(2, 1)  # uniform, and 2y
# h(u^3) = h(u) + E[ln 3 u^2]: the logarithm of the slope is added
slope = lambda law: law.expect(lambda u: math.log(3) + 2 * math.log(u))
before = cube_x.entropy() - cube_y.entropy()
after = before + slope(cube_x) - slope(cube_y)
print(f"h(X) - h(Y) = {before:.3f} nats, h(X^3) - h(Y^3) = {after:.3f} nats")

# %% [markdown]
# (sec-max-entropy)=
# ### Which density has the largest entropy?
#
# Among the distributions over $K$ outcomes the uniform one had the largest entropy. On the whole line no density is uniform, and without a constraint there is no maximum: make it wider, and $h$ grows. So fix the variance.
#
# :::{prf:theorem} The Gaussian has the largest entropy
# :label: thm-gaussian-max-entropy
# Let $X$ be a vector of $D$ dimensions with density $p$ and finite covariance $\Sigma$ (which is invertible: a variable with a density cannot lie in a hyperplane). Then
#
# $$ h(X) \le \tfrac12 \log \det (2 \pi e\, \Sigma) , $$ (eq-gaussian-max-entropy)
#
# with equality if and only if $X$ is Gaussian.
# :::
#
# :::{prf:proof}
# Let $g$ be the Gaussian density with the mean and the covariance of $p$. Its logarithm is a quadratic function of $x$, and so has the same mean under $p$ as under $g$: in nats $-\mathbb{E}_p[\ln g] = \frac12 [ D \ln 2\pi + \ln \det \Sigma + \operatorname{tr}(\Sigma^{-1} \Sigma) ] = \frac12 \ln \det(2 \pi e\, \Sigma)$, and this is $h(g)$. Now $0 \le \operatorname{KL}(p \,\|\, g) = -h(p) - \mathbb{E}_p[\ln g] = h(g) - h(p)$, with equality only if $p = g$.
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
densities = {name: law.pdf for name, law in unit.items()}
densities |= {"two humps": two_humps, "narrow and wide": one_and_wide}

fine = np.linspace(-30, 30, 600_001)
fine_step = fine[1] - fine[0]
values_of = {name: f(fine) for name, f in densities.items()}
variance = {name: (f * fine**2).sum() * fine_step for name, f in values_of.items()}
plogp = {name: scipy.special.xlogy(f, f) for name, f in values_of.items()}
h_of = {name: -f.sum() * fine_step / math.log(2) for name, f in plogp.items()}

# %% tags=["check:thm-gaussian-max-entropy"]
ceiling = info.gaussian_entropy(1.0)
for name in sorted(h_of, key=h_of.get, reverse=True):
    closed = unit[name].entropy() / math.log(2) if name in unit else None
    words = f", closed form {closed:.4f}" if closed else ""
    print(f"{name:>15}: variance {variance[name]:.3f},", end=" ")
    print(f"entropy {h_of[name]:.4f} bits{words}")
    assert abs(variance[name] - 1) < 1e-3 and h_of[name] <= ceiling + 1e-6
    assert (h_of[name] > ceiling - 1e-6) == (name == "Gaussian")
print(f"the bound, log2(2 pi e) / 2: {ceiling:.4f} bits")
ellipse_cov = np.array([[2.0, 0.6], [0.6, 0.5]])  # uniform on an ellipse: in 2-D,
area = math.pi * 4 * math.sqrt(np.linalg.det(ellipse_cov))  # with this covariance
flat, bell = math.log2(area), info.gaussian_entropy(ellipse_cov)
print(f"two dimensions: ellipse {flat:.4f}, Gaussian {bell:.4f} bits")
by_scipy = scipy.stats.multivariate_normal(cov=ellipse_cov).entropy() / math.log(2)
assert flat < bell and math.isclose(by_scipy, bell)

# %% mystnb={"figure": {"caption": "Six densities with variance 1, and their entropies in the same colours. None of the other five reaches the entropy of the Gaussian (thick; dashed on the right), whether its tails are heavier (Laplace) or lighter (uniform) or it dips in the middle (two humps).", "name": "fig-max-entropy"}, "image": {"alt": "Left, curves of six densities. Right, horizontal bars of their entropies: Gaussian 2.05 bits is longest, logistic and Laplace follow, then the uniform, the two humps and the mixture of narrow and wide."}} tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2), width_ratios=[1.3, 1])
ordered = sorted(h_of, key=h_of.get)
for i, name in enumerate(ordered[::-1]):
    thick = 3 if name == "Gaussian" else 1.5
    left.plot(fine[::200], values_of[name][::200], color=f"C{i}", linewidth=thick)
    right.barh(5 - i, h_of[name], color=f"C{i}")
    right.text(2.12, 5 - i, f"{h_of[name]:.2f}", va="center", fontsize=10)
left.set(xlim=(-3.2, 3.2), ylim=(0, None), xlabel="x", ylabel="density")
right.axvline(ceiling, color="black", linestyle="--", linewidth=1)
right.set(yticks=range(6), yticklabels=ordered, xlabel="entropy (bits)", xlim=(0, 2.6))
right.grid(visible=False, axis="y")
plt.show()

# %% [markdown]
# The theorem is also advice. If all you know of a quantity is its mean and variance, every density but the Gaussian claims to know something more. This is the *maximum-entropy principle* {cite:p}`jaynes1957`: of all distributions that agree with what you know, take the one of largest entropy. It is one reason why *Gaussian noise models many systems well*. The other is the central limit theorem: an error that is the sum of many small independent ones is nearly Gaussian. Both arguments assume a finite variance, and neither promises the right tails.
#
# (sec-die)=
# ### *Optional:* maximum entropy under other constraints
#
# For finitely many outcomes and a known mean of some function $f$ the principle reads:
#
# :::{prf:theorem} Maximum entropy under a constraint
# :label: thm-max-entropy
# Let $f$ be a function on finitely many outcomes and $c$ a number strictly between its least and its greatest value. Among all distributions with $\mathbb{E}[f(X)] = c$ the entropy is largest for $p_\lambda(x) = e^{\lambda f(x)} / Z(\lambda)$, where $Z(\lambda) = \sum_x e^{\lambda f(x)}$, with the one $\lambda$ that satisfies the constraint.
# :::
#
# :::{prf:proof}
# The mean of $f$ under $p_\lambda$ is continuous in $\lambda$, its derivative is the variance of $f$ under $p_\lambda$, which is positive, and it runs from the least to the greatest value of $f$. So exactly one $\lambda$ satisfies the constraint. Let $p$ be any distribution that satisfies it too. In nats
#
# $$ \begin{aligned} 0 \le \operatorname{KL}(p \,\|\, p_\lambda) &= -H(p) - \sum_x p(x) \bigl( \lambda f(x) - \ln Z(\lambda) \bigr) \\ &= -H(p) - \lambda c + \ln Z(\lambda) . \end{aligned} $$
#
# The same line with $p_\lambda$ in place of $p$ gives $0 = -H(p_\lambda) - \lambda c + \ln Z(\lambda)$. Subtract: $H(p) \le H(p_\lambda)$, with equality only for $p = p_\lambda$.
# :::
#
# Here is the classic example: a die whose throws average 4.5 instead of 3.5, and nothing else is known about it. What should you bet?

# %% tags=["check:thm-max-entropy"]
import scipy.optimize

faces = np.arange(1, 7)
tilted = lambda lam: np.exp(lam * faces) / np.exp(lam * faces).sum()
off = lambda lam, mean: tilted(lam) @ faces - mean
# directions that keep the sum and the mean
directions = np.array([np.roll([1, -2, 1, 0, 0, 0], k) for k in range(4)])
dice = {}
for mean in (3.5, 4.5, 5.5):
    lam = scipy.optimize.brentq(off, -5, 5, args=(mean,))
    dice[mean] = tilted(lam)
    moves = np.random.default_rng(0).normal(size=(100_000, 4)) @ directions
    others = dice[mean] + 0.05 * moves
    others = others[(others > 0).all(axis=1)]  # other dice with this mean
    H_die, best = info.entropy(dice[mean]), info.entropy(others).max()
    assert np.allclose(others @ faces, mean) and best <= H_die
    print(f"mean {mean}: λ = {abs(lam):5.3f}, p(6) = {dice[mean][5]:.3f}", end=", ")
    print(f"entropy {H_die:.4f} bits, best of {len(others):6} others {best:.4f}")

# %% mystnb={"figure": {"caption": "Dice with a known mean and the largest entropy that it allows. Without news (mean 3.5) the die is fair; a higher mean tilts it exponentially, and leaves as much doubt as possible.", "name": "fig-die"}, "image": {"alt": "Three bar charts over the faces 1 to 6: flat for mean 3.5, rising gently for mean 4.5, rising steeply for mean 5.5; the entropies in the titles fall from 2.58 to 2.33 and 1.38 bits."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(7, 2.6), sharey=True)
for ax, (mean, die) in zip(axes, dice.items()):
    ax.bar(faces, die)
    ax.set(title=f"mean {mean}: {info.entropy(die):.2f} bits")
    ax.set(xlabel="face", xticks=faces)
axes[0].set_ylabel("probability")
plt.show()

# %% [markdown]
# Bet on the six, then, and give it a probability of 0.347, no more: more would claim to know something else.
#
# (sec-clt)=
# ### *Optional:* the central limit theorem, seen through entropy
#
# Add $n$ independent copies of a variable with mean 0 and variance 1 and rescale their sum, $S_n / \sqrt n$: the variance stays 1, and the entropy has a ceiling, that of the Gaussian. The *entropic* central limit theorem says that nothing stops the climb below the ceiling: if the entropy is finite to begin with, $h(S_n / \sqrt n)$ rises to $\frac12 \log 2\pi e$ {cite:p}`barron1986`, and never falls on the way {cite:p}`artstein2004`. We can watch it: the density of a sum of two independent variables is a convolution, and doubling five times takes us to $n = 32$.

# %%
clt_step = 1 / 400
clt_x = np.arange(-14, 14, clt_step) + clt_step / 2
shifted = np.clip(clt_x + 1, 0, None)
starts = {
    "uniform": (np.abs(clt_x) < three) / (2 * three),
    "exponential": np.where(clt_x > -1, np.exp(-shifted), 0.0),
    "two humps": two_humps(clt_x),
}
heights, shapes = {}, {}
for name, f in starts.items():
    grid, n = clt_x, 1
    for _ in range(6):
        f = np.clip(f / (f.sum() * clt_step), 1e-300, None)
        std = math.sqrt((f * grid**2).sum() * clt_step)  # sqrt(n), but for the grid
        # entropy of S_n / sqrt(n)
        heights[name, n] = -(f * np.log2(f)).sum() * clt_step - math.log2(std)
        shapes[name, n] = grid / std, f * std
        f, n = scipy.signal.fftconvolve(f, f) * clt_step, 2 * n  # sum of two copies
        grid = 2 * grid[0] + clt_step * np.arange(len(f))
for n in (1, 32):  # sums of exponentials are gamma variables
    gamma = (scipy.stats.gamma(n).entropy() - math.log(n) / 2) / math.log(2)
    found = heights["exponential", n]
    print(f"exponential, n = {n:2}: {found:.4f} bits (exact {gamma:.4f})")
for name in ("uniform", "two humps"):
    print(f"{name}, n = 32: {heights[name, 32]:.4f} bits (ceiling {ceiling:.4f})")

# %% mystnb={"figure": {"caption": "Sums of $n$ independent copies, rescaled to variance 1. The densities (left and middle) forget where they came from, and the entropy (right) climbs to the Gaussian's 2.047 bits (dashed), the highest that variance 1 allows.", "name": "fig-clt"}, "image": {"alt": "Left, densities of the two-humped start for n equal to 1, 2, 4 and 32 becoming a bell. Middle, the same for the exponential. Right, entropies of three starts rising with n to a dashed ceiling at 2.047 bits."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(7.6, 3), width_ratios=[1, 1, 1.2])
for ax, name in zip(axes, ["two humps", "exponential"]):
    for n, style in zip((1, 2, 4, 32), (":", "-.", "--", "-")):
        ax.plot(*shapes[name, n], style, label=f"n = {n}", linewidth=1.6)
    ax.set(title=name, xlim=(-3, 3), ylim=(0, 1.05), xlabel="sum / √n")
axes[0].set_ylabel("density")
axes[1].legend(fontsize=9, loc="upper right")
copies = [1, 2, 4, 8, 16, 32]
for name, marker in zip(starts, "os^"):
    climb = [heights[name, n] for n in copies]
    axes[2].semilogx(copies, climb, marker + "-", base=2, label=name)
axes[2].axhline(ceiling, color="black", linestyle="--", linewidth=1)
axes[2].set(xlabel="copies added, n", ylabel="entropy (bits)", ylim=(1.35, 2.1))
axes[2].set_xticks(copies, copies)
axes[2].legend(loc="lower right")
plt.show()

# %% [markdown]
# :::{admonition} Watch out: "sums of many independent variables are Gaussian"
# :class: pitfall
# Divided by $\sqrt n$, a sum tends to a Gaussian only if the variance is finite. The Cauchy density $1 / (\pi (1 + x^2))$ has no variance: the *mean* of $n$ Cauchy variables has exactly the same density as one of them, for every $n$. Its entropy is $\log_2 4\pi = 3.651$ bits for 1 copy and for a million, and averaging a million measurements with Cauchy errors helps not at all. Without a variance there is no ceiling either: $h(S_n / \sqrt n) = \log_2 4\pi + \frac12 \log_2 n$ rises forever. The cell below averages real draws and measures the middle half of the results.
# :::

# %%
rng = np.random.default_rng(0)
middle_half = lambda x: np.subtract(*np.percentile(x.mean(axis=1), [75, 25]))
print("width of the middle half of 4,000 means")
for n in (1, 10, 1000):
    of_normal = middle_half(rng.standard_normal((4000, n)))
    of_cauchy = middle_half(rng.standard_cauchy((4000, n)))
    print(f"{n:4} draws: Gaussian {of_normal:.3f}", end=" ")
    print(f"(expected {1.349 / n**0.5:.3f}), Cauchy {of_cauchy:.2f} (expected 2)")
entropy_of_cauchy = scipy.stats.cauchy.entropy() / math.log(2)
print(f"entropy of a Cauchy variable {entropy_of_cauchy:.3f} bits,", end=" ")
print(f"log2 4π = {math.log2(4 * pi):.3f}")


# %% [markdown]
# (sec-joint)=
# ### Two variables: what is left when one is known?
#
# Letters do not come alone. After a q we bet on u. How much of a letter's entropy does the letter before it take away?
#
# :::{prf:definition} Joint and conditional entropy
# :label: def-joint-entropy
# For two variables with joint distribution $p(x, y)$ the **joint entropy** is $H(X, Y) = \mathbb{E}[-\log p(X, Y)]$, the entropy of the pair. The **conditional entropy** is the mean surprise of $Y$ for someone who knows $X$,
#
# $$ H(Y \mid X) = \mathbb{E}[-\log p(Y \mid X)] = \sum_x p(x)\, H(Y \mid X = x) . $$ (eq-conditional-entropy)
# :::
#
# The expectation runs over *both* variables: in the table $p(y \mid x)$, with one row for each $x$, take the entropy of each row, then the mean over rows. A single row may have a larger entropy than $Y$ itself (news can confuse); the mean cannot, as we shall see. Mind the comma: $H(X, Y)$ is about two variables, the cross-entropy $H(p, q)$ about two distributions of one.
#
# :::{prf:theorem} Chain rule
# :label: thm-chain-rule
# $H(X, Y) = H(X) + H(Y \mid X)$, and for $n$ variables
#
# $$ H(X_1, \dots, X_n) = \sum_{i=1}^{n} H(X_i \mid X_1, \dots, X_{i-1}) . $$ (eq-chain-rule)
#
# If the variables are independent and identically distributed, the entropy is $n H(X_1)$.
# :::
#
# :::{prf:proof}
# Probabilities multiply, $p(x_1, \dots, x_n) = \prod_i p(x_i \mid x_1, \dots, x_{i-1})$, so surprises add. Take expectations of both sides of $-\log p(x_1, \dots, x_n) = \sum_i -\log p(x_i \mid x_1, \dots, x_{i-1})$. For independent variables every conditional distribution is the marginal one.
# :::
#
# The chain rule is what arithmetic coding did with the sonnets, and what the autoregressive models of chapters 3 and 4 do. {numref}`fig-bigrams` shows it for neighbouring letters.


# %%
def joint_of_neighbours(text):
    """p(x, y) of a character and the next one: 26 letters, and 26 for anything else."""
    # find returns -1 for anything else, and -1 % 27 is 26
    index = ["abcdefghijklmnopqrstuvwxyz".find(c) % 27 for c in text.lower()]
    pairs = np.zeros((27, 27))
    np.add.at(pairs, (index[:-1], index[1:]), 1)
    return pairs / pairs.sum()


letter_joint = joint_of_neighbours(text)
letters = [*"abcdefghijklmnopqrstuvwxyz", "·"]
p_first = letter_joint.sum(axis=1)
given = letter_joint / p_first[:, None]  # p(y | x), a row for each x
h_x, h_y = entropy(p_first), entropy(letter_joint.sum(axis=0))
h_xy, h_y_given_x = entropy(letter_joint.ravel()), p_first @ [entropy(g) for g in given]
assert math.isclose(h_xy, info.joint_entropy(letter_joint))
assert math.isclose(h_y_given_x, info.conditional_entropy(letter_joint))
print(f"knowing nothing: entropy {h_y:.3f} bits")
for x in "qtn·":
    follow = given[letters.index(x)]
    print(f"after {x}: entropy {entropy(follow):.3f} bits,", end=" ")
    print(f"most likely {letters[follow.argmax()]} ({follow.max():.2f})")

# %% mystnb={"figure": {"caption": "*Left:* which letter follows which in the sonnets. Each row is a distribution $p(y \\mid x)$. The dot stands for everything that is not a letter. *Right:* the entropy of the same row. The mean over rows, weighted by $p(x)$, is $H(Y \\mid X)$ (dashed). Only the dot's row lies above $H(Y)$ (dotted): after a gap you know less about the next character than before.", "name": "fig-bigrams"}, "image": {"alt": "Left, a 27 by 27 heat map with one row for each letter; the row of q has a single bright cell at u, and the dot's row is even. Right, a horizontal bar for each row, from 0 bits for q to 4.06 for the dot, with vertical lines at 3.29 and 4.00 bits."}} tags=["photo", "hide-input"]
fig = plt.figure(figsize=(7, 6))
ax, right = fig.subplots(1, 2, width_ratios=[1.9, 1], sharey=True)
picture = ax.imshow(given, vmax=0.5, cmap="cividis", aspect="auto")
ax.set(xlabel="next letter y", ylabel="letter x")
ax.set_xticks(range(27), letters, fontsize=10.5)
ax.set_yticks(range(27), letters, fontsize=10.5)
ax.grid(visible=False)
below = dict(location="bottom", shrink=0.6, aspect=40, extend="max")
fig.colorbar(picture, ax=[ax, right], label="p(y | x)", **below)
right.barh(range(27), [entropy(g) for g in given])
marks = [(h_y_given_x, "--", "H(Y | X)", "right"), (h_y, ":", "H(Y)", "left")]
for at, style, name, side in marks:
    right.axvline(at, ls=style, color="black", lw=1.2)
    right.text(at, -0.8, name, ha=side, va="bottom", fontsize=9)
right.set(xlabel="entropy of the row (bits)", ylim=(26.5, -0.5), xlim=(0, 4.5))
right.grid(visible=False, axis="y")
plt.show()

# %% mystnb={"figure": {"caption": "The chain rule as bars. What is in the pair is what is in $x$ plus what is left in $y$. Knowing a letter takes 0.71 bits (last piece) off the entropy of the next.", "name": "fig-chain-rule"}, "image": {"alt": "Three rows of bars. H(X, Y) of 7.29 bits; H(X) of 4.00 followed by H(Y given X) of 3.29, together as long as the first row; H(Y) of 4.00, whose first 3.29 bits are the same bar and whose rest of 0.71 is grey."}} tags=["hide-input"]
pieces = [
    (0, 0, h_xy, "black", f"H(X, Y) = {h_xy:.2f}"),
    (1, 0, h_x, blue, f"H(X) = {h_x:.2f}"),
    (1, h_x, h_y_given_x, orange, f"H(Y | X) = {h_y_given_x:.2f}"),
    (2, h_x, h_y_given_x, orange, f"H(Y | X) = {h_y_given_x:.2f}"),
    (2, h_x + h_y_given_x, h_y - h_y_given_x, "#cccccc", f"{h_y - h_y_given_x:.2f}"),
]
fig, ax = plt.subplots(figsize=(6.4, 2))
for row, left, width, colour, label in pieces:
    ax.barh(row, width, left=left, color=colour, height=0.7, edgecolor="white")
    ink = "white" if left == 0 else "black"
    ax.text(left + width / 2, row, label, ha="center", va="center", color=ink)
ax.text(h_x - 0.1, 2, f"H(Y) = {h_y:.2f}, of which", ha="right", va="center")
ax.set(xlabel="bits", yticks=[], ylim=(2.5, -0.5), xlim=(0, 8.1))
ax.spines["left"].set_visible(False)
plt.show()

# %% tags=["check:thm-chain-rule"]
cube = np.random.default_rng(0).dirichlet(np.full(24, 0.5)).reshape(2, 3, 4)
scaled = lambda part: part.sum() * entropy(part.ravel() / part.sum())  # one row's share
h_1 = entropy(cube.sum((1, 2)))
h_2 = sum(scaled(rows) for rows in cube.sum(2))  # H(X2 | X1)
h_3 = sum(scaled(row) for rows in cube for row in rows)  # H(X3 | X1, X2)
print(f"three variables: {h_1:.4f} + {h_2:.4f} + {h_3:.4f} =", end=" ")
print(f"{h_1 + h_2 + h_3:.4f} bits, joint entropy {entropy(cube.ravel()):.4f}")
assert math.isclose(h_1 + h_2 + h_3, entropy(cube.ravel()))
print(f"letters: {h_x:.4f} + {h_y_given_x:.4f} =", end=" ")
print(f"{h_x + h_y_given_x:.4f} bits,", end=" ")
print(f"joint entropy {h_xy:.4f}")
assert math.isclose(h_x + h_y_given_x, h_xy)
coin = np.array([0.9, 0.1])
five = np.kron(coin, np.kron(np.kron(coin, coin), np.kron(coin, coin)))  # [32]
print(f"five coins: {entropy(five):.4f} bits, 5 H = {5 * entropy(coin):.4f}")
assert math.isclose(entropy(five), 5 * entropy(coin))

# %% [markdown]
# (sec-mutual-information)=
# ### What does one variable tell about another?
#
# The 0.71 bits that a letter takes off the next, the last piece in {numref}`fig-chain-rule`, deserve a name.
#
# :::{prf:definition} Mutual information
# :label: def-mutual-information
# The **mutual information** of two variables is the divergence of their joint distribution from what it would be if they were independent,
#
# $$ \begin{aligned} I(X; Y) &= \operatorname{KL}\bigl( p(x, y) \,\|\, p(x)\, p(y) \bigr) \\ &= \mathbb{E}\Bigl[ \log \frac{p(X, Y)}{p(X)\, p(Y)} \Bigr] . \end{aligned} $$ (eq-mutual-information)
# :::
#
# :::{prf:theorem} Three forms of mutual information
# :label: thm-mi-forms
# For discrete variables of finite entropy
#
# $$ \begin{aligned} I(X; Y) &= H(X) + H(Y) - H(X, Y) \\ &= H(Y) - H(Y \mid X) = H(X) - H(X \mid Y) , \end{aligned} $$ (eq-mi-forms)
#
# and $I(X; Y) \ge 0$, with equality if and only if $X$ and $Y$ are independent. So $H(Y \mid X) \le H(Y)$: on average, knowing more never leaves you less certain.
# :::
#
# :::{prf:proof}
# The logarithm in {eq}`eq-mutual-information` is $\log p(x, y) - \log p(x) - \log p(y)$; its mean is the first form. The chain rule, $H(X, Y) = H(X) + H(Y \mid X) = H(Y) + H(X \mid Y)$, gives the other two. The sign and the case of equality are Gibbs' inequality.
# :::
#
# The last two forms say *by how much one variable makes the other predictable*. For densities the same holds with $h$ in place of $H$; and since units cancel, this is an honest number of bits again.

# %% tags=["check:thm-mi-forms"]
rng = np.random.default_rng(0)
tables = [rng.dirichlet(np.full(12, a), size=5000) for a in (0.1, 1, 10)]
joints = np.concatenate(tables).reshape(-1, 3, 4)
px, py = joints.sum(2), joints.sum(1)
product = px[:, :, None] * py[:, None, :]
as_kl = info.kl_divergence(joints.reshape(-1, 12), product.reshape(-1, 12))
forms = [
    info.entropy(px) + info.entropy(py) - info.joint_entropy(joints),
    info.entropy(py) - info.conditional_entropy(joints),
    info.entropy(px) - info.conditional_entropy(joints, given=1),
    info.mutual_information(joints),
]
assert all(np.allclose(as_kl, form, atol=1e-12) for form in forms)
low, high = as_kl.min(), as_kl.max()
print(f"15,000 random joints: all forms agree, I from {low:.4f} to {high:.3f} bits")
independent = info.mutual_information(product)
assert (as_kl >= -1e-12).all() and np.allclose(independent, 0, atol=1e-12)
letters_tell = info.mutual_information(letter_joint)
print(f"letters: {h_y:.4f} - {h_y_given_x:.4f} = {letters_tell:.4f} bits")
assert math.isclose(h_y - h_y_given_x, letters_tell)

# %% [markdown]
# (sec-correlation)=
# ### Why not just look at the correlation?
#
# Correlation asks whether a *straight line* predicts one variable from the other; mutual information asks whether *anything* does. {numref}`fig-correlation` has two examples of zero correlation and plenty of information. (We sort the points into 16x16 cells and take the information of the table of counts. By the next theorem sorting can only lose information.)

# %%
rng = np.random.default_rng(0)
u, v, jitter = rng.normal(size=(3, 20_000 * SCALE))
angle = rng.uniform(0, 2 * np.pi, size=u.size)
clouds = {
    "line": (u, 0.8 * u + 0.6 * v),
    "parabola": (u, u**2 + 0.2 * jitter),
    "circle": (np.cos(angle) + 0.08 * u, np.sin(angle) + 0.08 * v),
    "independent": (u, v),
}


def binned_information(x, y, cells=16):
    edges = [np.quantile(values, np.linspace(0, 1, cells + 1)) for values in (x, y)]
    counts, _, _ = np.histogram2d(x, y, bins=edges)
    return info.mutual_information(counts / counts.sum())


found_bits = {name: binned_information(*xy) for name, xy in clouds.items()}
exact_line = -math.log2(1 - 0.8**2) / 2
print(f"line, exact: {exact_line:.3f} bits, binned {found_bits['line']:.3f}")
from_bias = 15**2 / (2 * u.size * math.log(2))
print(f"independent: {found_bits['independent']:.4f} bits; bias alone {from_bias:.4f}")

# %% mystnb={"figure": {"caption": "Correlation and mutual information. A parabola and a circle have correlation 0 (up to 0.01 in these samples), yet knowing $x$ narrows $y$ down to one or two places.", "name": "fig-correlation"}, "image": {"alt": "Four scatter plots. A tilted ellipse with correlation 0.80 and 0.70 bits; a parabola with correlation 0.01 and 1.53 bits; a ring with correlation 0.01 and 1.11 bits; a round cloud with both near 0."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 4, figsize=(7.6, 2.6))
for ax, (name, (x, y)) in zip(axes, clouds.items()):
    ax.plot(x[:1000], y[:1000], ".", markersize=2, alpha=0.5)
    correlation = abs(np.corrcoef(x, y)[0, 1])
    ax.set_title(f"{name}\ncorrelation {correlation:.2f}\n{found_bits[name]:.2f} bits")
    ax.set(xlabel="x", xticks=[], yticks=[])
axes[0].set_ylabel("y")
plt.show()

# %% [markdown]
# (sec-data-processing)=
# ### Can processing create information?
#
# Can an average or a plot tell you more than the measurement that it was made from?
#
# :::{prf:theorem} Data-processing inequality
# :label: thm-data-processing
# Let $Z$ be computed from $Y$ alone, possibly with randomness of its own, so that $X$ and $Z$ are independent given $Y$. Then $I(X; Z) \le I(X; Y)$, with equality if and only if $X$ and $Y$ are independent given $Z$.
# :::
#
# :::{prf:proof}
# We write it for discrete variables; the inequality holds for any {cite:p}`cover2006`. Define $I(X; Y \mid Z) = H(X \mid Z) - H(X \mid Y, Z)$, which is the mean over $z$ of the mutual information of $X$ and $Y$ given $Z = z$; so it is non-negative, and zero only for independence given $Z$. What the pair tells about $X$ is $I(X; Y, Z) = H(X) - H(X \mid Y, Z)$. Subtracting and adding $H(X \mid Y)$, or else $H(X \mid Z)$, splits it in two ways:
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
    about_x = info.mutual_information(x_and_y)
    losses.append(about_x - info.mutual_information(x_and_y @ channel))
    triple = x_and_y[:, :, None] * channel  # p(x, y, z)
    sum_z = triple.sum((0, 1))
    slices = (triple / sum_z).transpose(2, 0, 1)  # p(x, y | z)
    left_given_z = sum_z @ info.mutual_information(slices)  # I(X; Y | Z)
    assert math.isclose(losses[-1], left_given_z, abs_tol=1e-9)
print(f"2,000 random chains X - Y - Z: from {min(losses):.5f}", end=" ")
print(f"to {max(losses):.3f} bits lost (never below 0)")
assert min(losses) >= 0
renamed = x_and_y @ np.eye(5)[rng.permutation(5)]  # a processing that can be undone
after = info.mutual_information(renamed)
print(f"renaming the values of Y: {about_x:.6f} bits before, {after:.6f} after")
assert math.isclose(about_x, after)

# %% [markdown]
# (sec-mi-bound)=
# ### A lower bound that needs no table
#
# How much does the image of a digit tell about its label? No table has a cell for every image. This book's usual way out is to replace a distribution that cannot be computed by a model, so that the error has a known sign. Write $z$ for what we want to know (the label) and $x$ for what we see (the image); lower-case letters, as is usual for models, now stand for the variables as well.
#
# :::{prf:theorem} Variational lower bound on mutual information
# :label: thm-mi-bound
# For discrete $z$ of finite entropy and every conditional distribution $q(z \mid x)$,
#
# $$ I(z; x) \ge H(z) + \mathbb{E}_{p(x, z)}[\log q(z \mid x)] , $$ (eq-mi-bound)
#
# with equality if and only if $q(z \mid x)$ is the posterior $p(z \mid x)$ for almost every $x$. The gap is $\mathbb{E}_{p(x)}[\operatorname{KL}(p(z \mid x) \,\|\, q(z \mid x))]$. If $z$ has a density and its differential entropy $h(z)$ is finite, the same holds for every conditional density $q(z \mid x)$, with $h(z)$ in place of $H(z)$.
# :::
#
# :::{prf:proof}
# By definition $I(z; x) = \mathbb{E}\bigl[\log \frac{p(z \mid x)}{p(z)}\bigr]$, where $p$ is a probability or a density; if it is infinite, nothing is claimed. And $\mathbb{E}[-\log p(z)]$ is $H(z)$ or $h(z)$, which is finite. Write $\log p(z \mid x)$ as $\log q(z \mid x) + \log \frac{p(z \mid x)}{q(z \mid x)}$. The mean of the last term is the mean over $x$ of a KL divergence, the gap, and by Gibbs' inequality it is at least 0, with equality only for $q(z \mid x) = p(z \mid x)$ at almost every $x$. (An infinite gap makes the right side of {eq}`eq-mi-bound` $-\infty$.)
# :::
#
# The bound is used for training by {cite:t}`barber2003`.

# %% tags=["check:thm-mi-bound"]
rng = np.random.default_rng(0)
joint_zx = rng.dirichlet(np.full(12, 0.4)).reshape(3, 4)  # p(z, x)
p_z, p_x = joint_zx.sum(1), joint_zx.sum(0)
posterior = joint_zx / p_x  # p(z | x): a column for each x
exact_I = info.mutual_information(joint_zx)
lower = lambda q: info.entropy(p_z) + (joint_zx * np.log2(q)).sum()

random_q = rng.dirichlet(np.ones(3), size=(20_000, 4)).swapaxes(1, 2)  # [20000, z, x]
bounds = np.array([lower(q) for q in random_q])
gaps = (p_x * info.kl_divergence(posterior.T, random_q.swapaxes(1, 2))).sum(-1)
print(f"I(z; x) = {exact_I:.4f} bits; best of 20,000 random q:", end=" ")
print(f"{bounds.max():.4f}; q = posterior: {lower(posterior):.4f}")
assert (bounds <= exact_I).all() and np.allclose(exact_I - bounds, gaps)
assert math.isclose(lower(posterior), exact_I)
log_posterior, log_first = np.log2(posterior), np.log2(random_q[0])
gap_of_ratio = (joint_zx * (log_posterior - log_first)).sum()
ratio_of_logs = (joint_zx * log_posterior / log_first).sum()
print(f"first random q: gap {gaps[0]:.4f}, mean of log(p / q)", end=" ")
print(f"{gap_of_ratio:.4f}, of (log p) / (log q) {ratio_of_logs:.4f}")

# %% [markdown]
# :::{admonition} Watch out: "$\log p = \log p \cdot \log q / \log q$"
# :class: pitfall
# The proof multiplies and divides by $q(z \mid x)$ *inside* the logarithm: $\log p = \log \bigl[ p\, \frac{q}{q} \bigr] = \log q + \log \frac pq$. Lecture notes print it with a logarithm on each factor, $\log p \cdot \frac{\log q}{\log q}$. That equals $\log p$ too but leads nowhere: we need the *summand* $\log \frac pq$, whose mean is a divergence. For the first of the random $q$ above this mean is the gap, 0.917 bits; the *factor* $\frac{\log p}{\log q}$ has mean 0.789, which measures nothing.
# :::
#
# For a continuous $z$ take the smallest example: $z \sim \mathcal{N}(0, 1)$ is observed with noise of variance $s^2$, $x = z + s\,\varepsilon$. The posterior is $\mathcal{N}\bigl(\frac{x}{1 + s^2}, \frac{s^2}{1 + s^2}\bigr)$ and the information $\frac12 \log(1 + 1/s^2)$. We try the posterior, one that is twice as wide, and one that takes $x$ at its word, $\mathcal{N}(x, s^2)$. The encoder of a variational autoencoder will be such a $q$.

# %% tags=["check:thm-mi-bound"]
noise_var = 0.5**2  # s^2
exact_mi, h_z = 0.5 * math.log2(1 + 1 / noise_var), info.gaussian_entropy(1.0)
gain, var = 1 / (1 + noise_var), noise_var / (1 + noise_var)  # posterior N(gain x, var)
rng = np.random.default_rng(0)
latent = rng.standard_normal(400_000 * SCALE)
seen = latent + math.sqrt(noise_var) * rng.standard_normal(len(latent))
print(f"I(z; x) = {exact_mi:.4f} bits, h(z) = {h_z:.4f} bits")
guesses = {"posterior": (gain, var), "twice as wide": (gain, 4 * var)}
guesses["N(x, s^2)"] = (1, noise_var)
for name, (a, q_var) in guesses.items():
    log_q_z = scipy.stats.norm.logpdf(latent, a * seen, math.sqrt(q_var)) / math.log(2)
    # the gap in closed form: a KL of Gaussians whose means differ by (gain - a) x
    off_mean = (gain - a) ** 2 * (1 + noise_var)
    gap = (var / q_var + off_mean / q_var - 1 - math.log(var / q_var)) / 2 / math.log(2)
    total, error = h_z + log_q_z.mean() + gap, log_q_z.std() / len(seen) ** 0.5
    print(f"{name:>13}: bound {h_z + log_q_z.mean():.4f} +- {error:.4f},", end=" ")
    print(f"gap {gap:.4f}, together {total:.4f}")
    assert abs(total - exact_mi) < 4 * error and (gap > 0.1) == (name != "posterior")

# %% [markdown]
# Read the bound from right to left: *any classifier is a witness*. Subtract its cross-entropy loss on new images from the entropy of the labels: the images contain at least that much information about them. For real digits we train logistic regression on 5,000 images and evaluate it on the 10,000 test images, for three descriptions of an image, each computed from the one before.

# %% tolerance={"atol": 0.005, "rtol": 0.02}
from sklearn.linear_model import LogisticRegression

label = train.y.numpy()
train_pixels, test_pixels = (s.x[:, 0].double().numpy() / 255 for s in (train, test))
flat_rows = lambda x: x.reshape(len(x), -1)
describe = {
    "28x28 pixels": flat_rows,
    # [N, 28, 28] -> [N, 7, 4, 7, 4]: the mean over each block of 4x4
    "7x7 averages": lambda x: flat_rows(x.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4))),
    "total ink": lambda x: x.mean(axis=(1, 2))[:, None] * 10,
}
label_entropy = info.entropy_from_counts(np.bincount(test.y))
witness = {}
for name, features in describe.items():
    weak = 0.1 if "pixels" in name else 10.0  # C, the inverse of the penalty
    classifier = LogisticRegression(C=weak, max_iter=300)
    classifier.fit(features(train_pixels[:5000]), label[:5000])
    log_q_y = classifier.predict_log_proba(features(test_pixels))  # [N, 10]
    log_q_y = log_q_y[np.arange(len(test)), test.y] / math.log(2)
    witness[name], error = label_entropy + log_q_y.mean(), log_q_y.std() / 100
    print(f"{name:>15}: at least {witness[name]:.3f} +- {error:.3f} bits")
print(f"entropy of the label: {label_entropy:.3f} bits, the most there is to know")

# %% mystnb={"figure": {"caption": "*Left:* the bound on the example with a known answer, for $q$ that moves from ignorance to the posterior: it touches the truth exactly there. *Right:* what a simple classifier proves about MNIST; the dashed line is the entropy of the label.", "name": "fig-mi-bound"}, "image": {"alt": "Left, a concave curve rises to a dashed line and touches it at the right end. Right, horizontal bars: pixels 2.84 bits, averages 2.77 bits, total ink 0.34 bits, and a dashed line at 3.32 bits."}} tags=["hide-input"] tolerance={"atol": 0.005, "rtol": 0.02}
mix = np.linspace(0, 1, 101)
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9))
on_the_way = [lower((1 - t) * p_z[:, None] + t * posterior) for t in mix]
left.plot(mix, on_the_way, label="lower bound")
left.axhline(exact_I, color="black", linestyle="--", linewidth=1, label="I(z; x)")
left.set(xlabel="t, for q = (1 - t) p(z) + t p(z | x)", ylabel="bits")
left.set(xlim=(0, 1), ylim=(0, 0.3))
left.legend(loc="lower right")
right.barh(list(witness), list(witness.values()))
for i, value in enumerate(witness.values()):
    inside = dict(ha="right", color="white") if value > 1 else dict(ha="left")
    at = value - 0.08 if value > 1 else value + 0.08
    right.text(at, i, f"{value:.2f}", va="center", **inside)
right.axvline(label_entropy, color="black", linestyle="--", linewidth=1)
right.set(xlabel="bits about the label", xlim=(0, 3.6))
right.invert_yaxis()
plt.show()

# %% [markdown]
# The bound is evaluated on images that the classifier has not seen, which keeps it honest, and what a weak classifier misses can only lower it. It shows that information is *there*, never that it is absent. And where $z$ is continuous, $h(z)$ must be known: it is for a variable whose distribution we choose, and it is not for data.
#
# (sec-ink)=
# ### *Optional:* estimating mutual information from a table
#
# The ink of an image is a single number, so here a table will do. Sort the amounts of ink of MNIST's training images into $m$ classes of equal size and take the mutual information with the label from the table of counts. Doubling $m$ cuts each class in two, and by the data-processing inequality the coarser classes cannot tell more: the estimate never falls as $m$ doubles.
#
# **Predict, then run.** Now *shuffle* the labels among the images, so that the true information is zero. For 1,000 images and 256 classes of ink, will the estimate be near 0, above it or below it, and by a tenth of a bit or by more than one?

# %%
ink = train.x.sum(dim=(1, 2, 3)).numpy()
rank = ink.argsort(kind="stable").argsort(kind="stable")  # position in order of ink
shuffled_label = np.random.default_rng(0).permutation(label)
classes = 2 ** np.arange(1, 9)


def ink_information(label, N, m):
    """Plug-in information between the label of N images and m classes of ink, bits."""
    counts = np.zeros((10, m))
    np.add.at(counts, (label[:N], rank[:N] * m // len(rank)), 1)
    return info.mutual_information(counts / N)


estimates = {}
for name, y in (("label", label), ("shuffled label", shuffled_label)):
    for N in (50_000, 1000):
        values = estimates[name, N] = [ink_information(y, N, m) for m in classes]
        print(f"{name:>14}, {N:6,} images: {values[2]:.3f} bits", end=" ")
        print(f"with 8 classes, {values[-1]:.3f} with 256")

# %% mystnb={"figure": {"caption": "Estimated information between a digit's label and its amount of ink, sorted into $m$ classes. With 50,000 images the estimate nearly levels off; with 1,000 images and many classes most of it is bias, as the shuffled labels show, whose true information is zero.", "name": "fig-ink"}, "image": {"alt": "Four curves over the number of ink classes from 2 to 256. For 50,000 images the real labels rise to 0.38 bits and nearly level off, the shuffled stay near zero. For 1,000 images both rise to more than one bit, close to a dotted line of the bias formula."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6.2, 3.5))
for (name, N), values in estimates.items():
    style = "o-" if name == "label" else "s--"
    colour = "C0" if N == 50_000 else "C1"
    who = f"{name}, {N:,} images"
    ax.semilogx(classes, values, style, base=2, color=colour, label=who)
for N, legend in ((50_000, "bias formula"), (1000, None)):
    formula_bits = 9 * (classes - 1) / (2 * N) / math.log(2)
    ax.plot(classes, formula_bits, ":", color="black", linewidth=1, label=legend)
ax.set(xlabel="classes of ink, m", ylabel="estimated information (bits)")
ax.set(xlim=(1.9, 270), ylim=(-0.03, 1.75))
ax.set_xticks(classes, classes)
ax.legend(loc="upper left")
plt.show()


# %% [markdown]
# :::{dropdown} What to expect
# The estimate is 1.48 bits where there is nothing. Each of the three entropies in $H(X) + H(Y) - H(X, Y)$ is estimated too low ({numref}`sec-plugin-bias`), the joint one, with its many cells, most of all, and so the mutual information comes out too *high*.
# :::
#
# With $K_x$ and $K_y$ classes, all pairs of which may occur, the bias is about
#
# $$ \frac{(K_x K_y - 1) - (K_x - 1) - (K_y - 1)}{2N} = \frac{(K_x - 1)(K_y - 1)}{2N} \text{ nats}. $$ (eq-mi-bias)
#
# (For 1,000 images in 2,560 cells the formula, made for many observations per cell, says 1.66 bits.) Compare the table with the witness: 50,000 images and 256 classes gave 0.377 bits, of which 0.033 are bias by the formula; the classifier proved 0.337 bits, give or take 0.010, without any correction.
#
# ### Exercises of Part 3
#
# :::{exercise} ★ Two dice
# :label: ex-two-dice
# You throw two dice and report only their sum. How many bits does the sum carry, how many the pair, and how many are lost? Is the loss a conditional entropy, and if so, which one?
# :::
#
# :::{solution} ex-two-dice
# :class: dropdown
# ```python
# pair = np.full((6, 6), 1 / 36)
# faces_sum = np.add.outer(np.arange(6), np.arange(6))
# total = np.bincount(faces_sum.ravel(), weights=pair.ravel())
# print(info.entropy(pair.ravel()), info.entropy(total))  # 5.170 and 3.274
# ```
# The pair has $2 \log_2 6 = 5.170$ bits, the sum 3.274. The sum is a function of the pair, so $H(\text{pair}, \text{sum}) = H(\text{pair})$, and by the chain rule the loss is $H(\text{pair} \mid \text{sum}) = 5.170 - 3.274 = 1.896$ bits.
# :::
#
# :::{exercise} ★★ A divergence that is symmetric
# :label: ex-js
# Flip a fair coin $B$. For heads draw $X$ from $p$, for tails from $q$. Show that $I(X; B)$ is the Jensen-Shannon divergence $\frac12 \operatorname{KL}(p \,\|\, m) + \frac12 \operatorname{KL}(q \,\|\, m)$ with $m = \frac12 (p + q)$, and conclude that it is at most one bit. When is it exactly one bit?
# :::
#
# :::{solution} ex-js
# :class: dropdown
# $X$ has distribution $m$, so $I(X; B) = \sum_b p(b) \operatorname{KL}(p(x \mid b) \,\|\, m)$, which is the formula. And $I(X; B) = H(B) - H(B \mid X) \le H(B) = 1$ bit, with equality if and only if $X$ always betrays the coin: $p$ and $q$ have disjoint supports. `info.js_divergence([1, 0], [0, 1])` gives 1.
# :::
#
# :::{exercise} ★★ What if you only know the mean?
# :label: ex-exponential
# Among all densities on $[0, \infty)$ with mean $m$, which has the largest differential entropy, and how large is it? For which $m$ is it negative?
# :::
#
# :::{solution} ex-exponential
# :class: dropdown
# The exponential density $g(x) = e^{-x/m} / m$. Its logarithm, $-\ln m - x/m$, is linear in $x$, so it has the same mean under every density $p$ with mean $m$: $-\mathbb{E}_p[\ln g] = \ln m + 1 = h(g)$. Then $0 \le \operatorname{KL}(p \,\|\, g) = -h(p) + h(g)$, as for the Gaussian. The entropy is $1 + \ln m$ nats, negative for $m < 1/e$.
# :::
#
# :::{exercise} ★★ Information between Gaussians
# :label: ex-gaussian-mi
# $X$ and $Y$ are jointly Gaussian with variances 1 and correlation $\rho$. Derive $I(X; Y) = -\frac12 \log(1 - \rho^2)$ and confirm it with `info.gaussian_entropy` and with `info.gaussian_kl`. What happens as $\rho \to 1$, and why is that no contradiction?
# :::
#
# :::{solution} ex-gaussian-mi
# :class: dropdown
# $I = h(X) + h(Y) - h(X, Y) = \frac12 \log (2 \pi e)^2 - \frac12 \log \bigl( (2 \pi e)^2 (1 - \rho^2) \bigr)$.
# ```python
# rho = 0.8
# cov = np.array([[1, rho], [rho, 1]])
# print(2 * info.gaussian_entropy(1.0) - info.gaussian_entropy(cov))  # 0.7370
# zero, one = np.zeros(2), np.eye(2)
# print(info.gaussian_kl(zero, cov, zero, one))  # 0.7370: joint against product
# print(-math.log2(1 - rho**2) / 2)              # 0.7370
# ```
# As $\rho \to 1$ the information grows without bound: $X$ then determines $Y$, and an exact real number is worth infinitely many bits.
# :::
#
# :::{exercise} ★★ A bias that you can measure
# :label: ex-shuffle
# (For the optional section on tables.) The bias formula fails where cells are nearly empty. Shuffling does not: the mean estimate over shuffled labels *is* the bias for independent variables. Fill the gap, subtract it from the estimate for 1,000 images, and see how close you come to what 50,000 images say, for 8 and for 256 classes.
# :::


# %%
def shuffled_bias(label, N, m, repeats=20):
    """Mean of ink_information over random permutations of the first N labels."""
    shuffles = [np.random.default_rng(seed).permutation for seed in range(repeats)]
    values = [... for shuffle in shuffles]  # your code: one estimate for each shuffle
    return None if values[0] is ... else np.mean(values)


# %%
if shuffled_bias(label, 1000, 8) is not None:  # a test of your code
    assert 0.03 < shuffled_bias(label, 1000, 8) < 0.06
    for m in (8, 256):
        print(m, ink_information(label, 1000, m) - shuffled_bias(label, 1000, m))

# %% [markdown]
# :::{solution} ex-shuffle
# :class: dropdown
# In the gap stands `ink_information(shuffle(label[:N]), N, m)`. With 8 or 32 classes the corrected estimate agrees with that of 50,000 images up to its own noise (over 50 sets of 1,000 images it has a standard deviation of 0.05 bits). With 256 classes it is much too low: labels that do depend on the ink fill fewer cells than shuffled ones, so shuffling overstates their bias. No correction replaces data.
# :::

# %% tags=["hide-cell"]
for m in (8, 32, 256):
    shuffles = [np.random.default_rng(seed).permutation for seed in range(20)]
    again = [ink_information(shuffle(label[:1000]), 1000, m) for shuffle in shuffles]
    few, many = ink_information(label, 1000, m), ink_information(label, 50_000, m)
    print(f"{m:3} classes: {few:.3f} - {np.mean(again):.3f} =", end=" ")
    print(f"{few - np.mean(again):.3f} bits; 50,000 images say {many:.3f}")

# %% [markdown]
# (sec-summary-01)=
# ## Summary
#
# :::{list-table} The quantities of this chapter.
# :header-rows: 1
# :name: tab-it-summary
#
# * - quantity
#   - formula
#   - reads as
#   - in `lvmlib`
# * - surprise
#   - $-\log p(x)$
#   - length of the ideal codeword for $x$
#   - `self_information(p)`
# * - entropy
#   - $H(X) = \mathbb{E}[-\log p(X)]$
#   - mean surprise; the shortest possible mean length
#   - `entropy(p)`
# * - cross-entropy
#   - $H(p, q) = \mathbb{E}_p[-\log q]$
#   - mean length with the ideal code for $q$; the loss of a model
#   - `cross_entropy(p, q)`
# * - KL divergence
#   - $\operatorname{KL}(p \,\|\, q) = H(p, q) - H(p)$
#   - excess; never negative; zero only for $p = q$
#   - `kl_divergence(p, q)`, `gaussian_kl(...)`
# * - differential entropy
#   - $h(X) = \mathbb{E}[-\log p(X)]$, $p$ a density
#   - may be negative; differences survive a change of units, but not a general change of variable
#   - `gaussian_entropy(cov)`
# * - conditional entropy
#   - $H(Y \mid X) = H(X, Y) - H(X)$
#   - what is left when $X$ is known
#   - `information.conditional_entropy(joint)`
# * - mutual information
#   - $I(X; Y) = H(Y) - H(Y \mid X)$
#   - what one variable tells about the other
#   - `mutual_information(joint)`
# :::
#
# What to take along:
#
# - a model's mean $-\log_2$ probability *is* the size of a file, and arithmetic coding produces that file;
# - maximum likelihood is forward KL and covers modes; *variational inference*, which fits an approximate posterior, is reverse KL and seeks one;
# - nearly every inequality here is Gibbs' inequality: put a model where the truth cannot be computed, and the error has a sign. The evidence lower bound of the variational autoencoder will be the next one;
# - plug-in estimates of entropy are too low on average, of mutual information too high, until there are many more observations than outcomes.
#
# ## Further reading
#
# - {cite:t}`shannon1948` is where all of it begins: entropy, codes, the noisy channel, in under eighty pages. {cite:t}`shannon1951` lets people play the guessing game with English.
# - {cite:t}`cover2006` is the textbook; its chapters 2, 5 and 8 contain most of this one. {cite:t}`mackay2003` is the other one, full of puzzles, and free to read online.
# - {cite:t}`witten1987` explains a practical arithmetic coder; the idea goes back to {cite:t}`rissanen1976`.
# - {cite:t}`paninski2003` tells how hard entropy is to estimate, {cite:t}`jaynes1957` what maximum entropy has to do with physics.
# - Chapter 5 of {cite:t}`murphy2023` connects these measures with machine learning.
