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
# # Homework 1: Information theory
#
# You write the measures of information yourself, with the cases that break most
# one-liners; you build the best code for a line that knows more than two symbols; and
# at the end you read an enciphered poem with nothing but the price of a wrong model.
#
# **Time:** 3 hours. **Points:** 20. **Needs:** chapter 1 (information theory). The
# notebook runs in a few seconds on a CPU.
#
# Replace each `...` by your answer and run the public check below the question. Hidden
# tests call your functions with other inputs, so a function may use its arguments,
# NumPy and your other functions, but not `lvmlib` and not the data that the notebook
# loads. Logarithms are binary (bits) unless a question says nats.

# %%
import heapq  # a queue that hands out its smallest entry first
import math

import matplotlib.pyplot as plt
import numpy as np

# %%
from lvmlib import load  # the data, and nothing else

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 4

# %% [markdown]
# ## Question 1: Entropy and KL divergence, zeros included (4 points)
#
# Write
#
# $$ H(p) = -\sum_i p_i \log p_i , \qquad
# \operatorname{KL}(p \,\|\, q) = \sum_i p_i \log \frac{p_i}{q_i} $$
#
# for whole tables of distributions at once: `p` and `q` are float arrays of one shape
# `[..., K]`, the sums run over the **last** axis, and the results have the shape of the
# axes before it (a single number for arrays of shape `[K]`). `base` is the base of the
# logarithm: 2 gives bits, `math.e` gives nats.
#
# What never happens costs nothing: where $p_i = 0$ the term is 0, whatever $q_i$ is.
# What the model holds to be impossible, but happens, costs everything: the divergence
# is `inf` where $q_i = 0 < p_i$. No result may ever be `nan`.

# %% [raw]
# # BEGIN SOLUTION


# %%
def entropy(p, base=2.0):
    """Return the entropy of each distribution in p [..., K], to that base; [...]."""
    # BEGIN SOLUTION
    safe = np.where(p > 0, p, 1.0)  # log 1 = 0 stands in for log 0
    return -(p * np.log(safe)).sum(-1) / math.log(base)
    # END SOLUTION


def kl_divergence(p, q, base=2.0):
    """Return KL(p || q) for each pair of distributions in p and q [..., K]; [...]."""
    # BEGIN SOLUTION
    happens = p > 0
    ratio = np.where(happens, p, 1.0) / np.where(happens & (q > 0), q, 1.0)
    terms = np.where(happens & (q == 0), np.inf, p * np.log(ratio))
    return terms.sum(-1) / math.log(base)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_small_distributions(entropy, kl_divergence):
    import numpy as np

    from lvmlib.homework.checking import close, own

    own(entropy, kl_divergence)
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    close(entropy(p), 1.5, "half a bit for each of the three terms")
    close(kl_divergence(p, q), 0.25, "two terms differ from 0: 1/2 and -1/4 bits")
    both = np.stack([p, q])
    close(entropy(both), [1.5, 1.5], "one number for each row")
    close(kl_divergence(both, both), [0.0, 0.0], "no divergence from itself")


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_random_tables_in_several_units(entropy, kl_divergence):
    import math

    import numpy as np
    import scipy.stats

    from lvmlib.homework.checking import close, rng

    draw = rng("entropy")
    shape = tuple(int(n) for n in draw.integers(2, 5, size=2))
    p, q = draw.dirichlet(np.full(6, 0.7), size=(2, *shape))
    p, q = 0.99 * p + 0.01 / 6, 0.99 * q + 0.01 / 6
    for base in (2.0, math.e, 10.0):
        want = scipy.stats.entropy(p, base=base, axis=-1)
        close(entropy(p, base), want, f"entropies of a table to base {base:.3g}")
        want = scipy.stats.entropy(p, q, base=base, axis=-1)
        close(kl_divergence(p, q, base), want, f"divergences to base {base:.3g}")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_what_never_happens_and_what_is_held_impossible(entropy, kl_divergence):
    import numpy as np
    import scipy.stats

    from lvmlib.homework.checking import close, rng

    draw = rng("zeros")
    p, q = draw.dirichlet(np.ones(5), size=(2, 12))
    p[draw.random(p.shape) < 0.4] = 0
    q[6:][draw.random((6, 5)) < 0.3] = 0
    p[:, 0], q[:, 0] = np.maximum(p[:, 0], 0.1), np.maximum(q[:, 0], 0.1)
    p[0, 3], q[0, 3], p[7, 2], q[7, 2] = 0, 0.3, 0.2, 0  # both cases, at every seed
    p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
    close(entropy(p), scipy.stats.entropy(p, base=2, axis=1), "0 log 0 is 0")
    close(entropy(np.eye(4)), np.zeros(4), "a certain outcome has no entropy")
    want = scipy.stats.entropy(p, q, base=2, axis=1)
    close(kl_divergence(p, q), want, "finite where q is 0 only if p is 0 there too")
    close(kl_divergence(p, p), np.zeros(12), "zeros shared by both cost nothing")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 4

# %% [markdown]
# ## Question 2: The best code for any line (4 points)
#
# Morse had more than two symbols at his disposal, and flash memory stores 4, 8 or 16
# levels in one cell. Let a line carry $D$ different symbols, the digits
# $0, \dots, D - 1$. A prefix code with word lengths $\ell_1, \dots, \ell_K$ exists if
# and only if $\sum_i D^{-\ell_i} \le 1$, and Huffman's idea gives the shortest mean
# length again: merge the least probable nodes, **$D$ at a time**, until one node is
# left.
#
# One thing is new. Every merge replaces $D$ nodes by one, so it takes away $D - 1$ of
# them. With, say, $D = 3$ and $K = 4$ the last merge would find only two nodes, and a
# free place at the root, where words are shortest, would stay empty. Find out how to
# waste places only where words are longest.
#
# `huffman_lengths(p, arity)` takes the probabilities `p` (a list or array of $K$
# positive numbers) and $D$, and returns a list of $K$ integers, the length of the word
# for each symbol, in the order of `p`. A single symbol needs the empty word, length 0.
# How you break ties is up to you: what counts is the mean length.

# %% [raw]
# # BEGIN SOLUTION


# %%
def huffman_lengths(p, arity=2):
    """Return the word lengths of an optimal prefix code over `arity` digits; K ints."""
    # BEGIN SOLUTION
    lengths = [0] * len(p)
    nodes = [(float(weight), i, [i]) for i, weight in enumerate(p)]  # i breaks ties
    idle = -(len(p) - 1) % (arity - 1)  # symbols that never occur fill up the tree
    nodes += [(0.0, len(p) + i, []) for i in range(idle)]
    heapq.heapify(nodes)
    while len(nodes) > 1:
        merged = [heapq.heappop(nodes) for _ in range(arity)]
        below = [symbol for _, _, symbols in merged for symbol in symbols]
        for symbol in below:
            lengths[symbol] += 1  # everything below the new node moves down
        heapq.heappush(nodes, (sum(node[0] for node in merged), merged[0][1], below))
    return lengths
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_words_of_a_small_source(huffman_lengths):
    from lvmlib.homework.checking import close, own

    own(huffman_lengths)
    lengths = huffman_lengths([0.125, 0.5, 0.125, 0.25], 2)
    close(lengths, [3, 1, 3, 2], "powers of 1/2 get the length of their surprise")
    close(huffman_lengths([1.0], 2), [0], "one symbol, the empty word")
    close(huffman_lengths([1 / 3] * 3, 3), [1, 1, 1], "a digit for each of three")


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_two_digits_and_many_ties(huffman_lengths):
    import itertools

    import numpy as np

    from lvmlib.homework.checking import close, rng

    draw = rng("huffman")
    for size in (2, 5, 7):
        p = draw.integers(1, 6, size=size) / 1.0
        p = p / p.sum()
        lengths = np.array(huffman_lengths(p, 2))
        assert lengths.shape == (size,), "one length for each symbol"
        assert (2.0**-lengths).sum() <= 1 + 1e-12, "no prefix code has these lengths"
        every = itertools.combinations_with_replacement(range(1, size + 1), size)
        falling = np.sort(p)[::-1]  # the likeliest symbols get the shortest words
        best = min(falling @ l for l in every if sum(2.0**-n for n in l) <= 1)
        close(p @ lengths, best, "mean length, against all lengths that are possible")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_more_than_two_digits(huffman_lengths):
    import itertools

    import numpy as np

    from lvmlib.homework.checking import close, rng

    draw = rng("arity")
    for arity, size in ((3, 4), (3, 6), (4, 6), (5, 7), (3, 7)):
        p = draw.dirichlet(np.full(size, 0.8)) * 0.9 + 0.1 / size
        lengths = np.array(huffman_lengths(p, arity))
        assert lengths.shape == (size,), "one length for each symbol"
        kraft = (float(arity) ** -lengths).sum()
        assert kraft <= 1 + 1e-12, f"no prefix code of {arity} digits has these lengths"
        every = itertools.combinations_with_replacement(range(1, 5), size)
        falling = np.sort(p)[::-1]
        fits = [l for l in every if (float(arity) ** -np.array(l)).sum() < 1 + 1e-9]
        best = min(falling @ l for l in fits)
        close(p @ lengths, best, f"mean length over {arity} digits for {size} symbols")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 4

# %% [markdown]
# ## Question 3: What is left to tell, once a third variable is known? (4 points)
#
# Given $C$, what does $A$ still tell about $B$? The *conditional mutual information* is
# the mean over $c$ of the mutual information that is left,
#
# $$ I(A; B \mid C) = \sum_c p(c)\, I(A; B \mid C = c)
# = H(A \mid C) - H(A \mid B, C) . $$
#
# (a) `mutual_information(joint)` takes a table $p(a, b)$, an array `[A, B]`, and
# returns $I(A; B)$ in bits. `conditional_information(joint)` takes $p(a, b, c)$, an
# array `[A, B, C]`, and returns $I(A; B \mid C)$ in bits. Entries of a table may be 0,
# and so may a whole slice: a value $c$ that never occurs.
#
# (b) Knowing more can *reveal* dependence, and it can *remove* it. `revealing()`
# returns a table `[2, 2, 2]` of three bits with $I(A; B) = 0$ and $I(A; B \mid C) = 1$
# bit; `removing()` returns one with $I(A; B) = 1$ bit and $I(A; B \mid C) = 0$.

# %% [raw]
# # BEGIN SOLUTION


# %%
def mutual_information(joint):
    """Return I(A; B) in bits from p(a, b), an array [A, B]."""
    # BEGIN SOLUTION
    of_a, of_b = entropy(joint.sum(1)), entropy(joint.sum(0))
    return of_a + of_b - entropy(joint.ravel())
    # END SOLUTION


def conditional_information(joint):
    """Return I(A; B | C) in bits from p(a, b, c), an array [A, B, C]."""
    # BEGIN SOLUTION
    # the chain rule, three times: H(A, C) + H(B, C) - H(C) - H(A, B, C)
    of_ac, of_bc = entropy(joint.sum(1).ravel()), entropy(joint.sum(0).ravel())
    return of_ac + of_bc - entropy(joint.sum((0, 1))) - entropy(joint.ravel())
    # END SOLUTION


def revealing():
    """Return p(a, b, c) [2, 2, 2] with I(A; B) = 0 and I(A; B | C) = 1 bit."""
    # BEGIN SOLUTION
    a, b, c = np.indices((2, 2, 2))
    return ((a ^ b) == c) / 4  # two fair coins, and whether they differ
    # END SOLUTION


def removing():
    """Return p(a, b, c) [2, 2, 2] with I(A; B) = 1 bit and I(A; B | C) = 0."""
    # BEGIN SOLUTION
    a, b, c = np.indices((2, 2, 2))
    return ((a == c) & (b == c)) / 2  # A and B are copies of one fair coin, C
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_copies_and_independent_coins(
    mutual_information,
    conditional_information,
    revealing,
    removing,
):
    import numpy as np

    from lvmlib.homework.checking import close, own

    own(mutual_information, conditional_information, revealing, removing)
    close(mutual_information(np.eye(4) / 4), 2.0, "one of four values, and its copy")
    close(mutual_information(np.full((2, 3), 1 / 6)), 0.0, "independent variables")
    twice = np.stack([np.eye(2) / 4] * 2, axis=2)
    close(conditional_information(twice), 1.0, "C is a coin that nobody depends on")
    for table in (revealing(), removing()):
        close(np.shape(table), (2, 2, 2), "three bits")
        close(np.sum(table), 1.0, "a distribution sums to 1")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_tables(mutual_information, conditional_information):
    import numpy as np

    from lvmlib.homework.checking import close, rng

    draw = rng("tables")

    def information(joint):
        product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        on = joint > 0
        return (joint[on] * np.log2(joint[on] / product[on])).sum()

    for a, b, c in ((2, 3, 4), (4, 2, 3), (3, 5, 2)):
        joint = draw.dirichlet(np.full(a * b * c, 0.4)).reshape(a, b, c)
        joint[draw.random((a, b, c)) < 0.2] = 0
        joint[:, :, 1] *= draw.random() < 0.5  # perhaps a value that never occurs
        joint[0, 0, 0] += 0.05
        joint /= joint.sum()
        pair = joint.sum(2)
        close(mutual_information(pair), information(pair), f"a table of {a} x {b}")
        weights = joint.sum((0, 1))
        slices = [(w, joint[:, :, i] / w) for i, w in enumerate(weights) if w > 0]
        want = sum(w * information(part) for w, part in slices)
        got = conditional_information(joint)
        close(got, want, f"the mean over c of a table of {a} x {b} x {c}")


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_dependence_revealed_and_removed(
    mutual_information,
    conditional_information,
    revealing,
    removing,
):
    import numpy as np

    from lvmlib import information as info
    from lvmlib.homework.checking import close

    for table, without, given in ((revealing(), 0.0, 1.0), (removing(), 1.0, 0.0)):
        p = np.asarray(table, dtype=float)
        assert (p >= 0).all(), "probabilities are not negative"
        close(p.sum(), 1.0, "a distribution sums to 1")
        close(info.mutual_information(p.sum(2)), without, "I(A; B)", atol=1e-6)
        weights = p.sum((0, 1))
        slices = [(w, p[:, :, i] / w) for i, w in enumerate(weights) if w > 0]
        left = sum(w * info.mutual_information(part) for w, part in slices)
        close(left, given, "I(A; B | C)", atol=1e-6)
        close(mutual_information(p.sum(2)), without, "your function says so too")
        close(conditional_information(p), given, "your function says so too")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 3

# %% [markdown]
# ## Question 4: Densities (3 points)
#
# In this question all logarithms are natural (nats).
#
# (a) `gaussian_entropy(cov)` returns the differential entropy
# $h = \frac12 \ln \det(2 \pi e\, \Sigma)$ of a Gaussian from its covariance, an array
# `[D, D]`. With $D = 200$ and variances of $10^{-4}$ the entropy is about $-637$ nats,
# but the determinant is below the smallest number that a computer can store.
#
# (b) Data are Gaussian, $p = \mathcal{N}(m, s^2)$; the model is a Laplace density with
# the same centre, $q(x) = \frac{1}{2b} e^{-|x - m| / b}$. Derive
# $\operatorname{KL}(p \,\|\, q)$ in closed form: write it as cross-entropy minus
# entropy, with $\mathbb{E}_p |x - m| = s \sqrt{2 / \pi}$. `gauss_laplace_kl(s, b)`
# returns it.
#
# (c) Which $b$ makes the divergence smallest? `best_b(s)` returns it. How much is left
# at the best $b$, and does it depend on $s$? (Nothing to hand in for this; but think
# what it says about the choice of a family.)

# %% [raw]
# # BEGIN SOLUTION


# %%
def gaussian_entropy(cov):
    """Return the differential entropy of a Gaussian with covariance [D, D], nats."""
    # BEGIN SOLUTION
    _, log_det = np.linalg.slogdet(cov)
    return (len(cov) * math.log(2 * math.pi * math.e) + log_det) / 2
    # END SOLUTION


def gauss_laplace_kl(s, b):
    """Return KL(N(m, s^2) || Laplace(m, b)), nats."""
    # BEGIN SOLUTION
    cross_entropy = math.log(2 * b) + s * math.sqrt(2 / math.pi) / b
    return cross_entropy - math.log(2 * math.pi * math.e * s**2) / 2
    # END SOLUTION


def best_b(s):
    """Return the b for which KL(N(m, s^2) || Laplace(m, b)) is smallest."""
    # BEGIN SOLUTION
    return s * math.sqrt(2 / math.pi)  # the mean absolute deviation
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_signs_and_shapes(gaussian_entropy, gauss_laplace_kl, best_b):
    import math

    import numpy as np

    from lvmlib.homework.checking import close, own

    own(gaussian_entropy, gauss_laplace_kl, best_b)
    unit = math.log(2 * math.pi * math.e)
    close(gaussian_entropy(np.eye(2)), unit, "two independent standard normals")
    assert gaussian_entropy(1e-4 * np.eye(3)) < 0, "a narrow density, negative entropy"
    kl, b = gauss_laplace_kl(2.0, 1.5), best_b(2.0)
    assert kl > 0, "a divergence between different densities is positive"
    assert gauss_laplace_kl(2.0, b) < kl, "the best b beats another"


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_against_quadrature(gaussian_entropy, gauss_laplace_kl, best_b):
    import numpy as np
    import scipy.optimize
    import scipy.stats

    from lvmlib.homework.checking import close, rng

    draw = rng("densities")
    root = draw.normal(size=(4, 4))
    cov = root @ root.T + 0.1 * np.eye(4)
    want = scipy.stats.multivariate_normal(cov=cov).entropy()
    close(gaussian_entropy(cov), want, "four dependent variables")
    scales = draw.uniform(0.5e-4, 2e-4, size=200)
    want = scipy.stats.norm(scale=scales**0.5).entropy().sum()
    close(gaussian_entropy(np.diag(scales)), want, "200 narrow variables")

    s, b = draw.uniform(0.3, 3, size=2)
    x = np.linspace(-12, 12, 48_001) * s
    p, log_p = scipy.stats.norm.pdf(x, scale=s), scipy.stats.norm.logpdf(x, scale=s)

    def divergence(scale):
        log_q = scipy.stats.laplace.logpdf(x, scale=scale)
        return np.trapezoid(p * (log_p - log_q), x)

    got, want = gauss_laplace_kl(s, b), divergence(b)
    close(got, want, f"the divergence for s = {s:.3f}, b = {b:.3f}", 1e-4, 1e-5)
    found = scipy.optimize.minimize_scalar(divergence, bounds=(s / 5, 5 * s)).x
    close(best_b(s), found, "the b of the smallest divergence", rtol=1e-3)


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 5

# %% [markdown]
# ## Question 5: Reading a cipher by its code length (5 points)
#
# The poem below has been enciphered: letters are numbers from 0 (a) to 25 (z), and to
# the $i$-th letter a key digit was added, modulo 26. The key has $T$ digits and is used
# over and over, so letter $i$ was moved by digit $i \bmod T$ (counting from 0). You
# know neither the key nor $T$. All you have is `q`, the shares of the 26 letters in
# other poems, and a code built on it: a letter $x$ costs $-\log_2 q_x$ bits. Deciphered
# with the wrong key, the text looks wrong to the model, and wrong is expensive.
#
# (a) `crack(cipher, period, q)` takes an array of $N$ letters, a key length and the
# model, an array `[K]` of positive probabilities (here $K = 26$), and returns the key
# under which the deciphered text costs least: a list of `period` integers below $K$.
# The $i$-th deciphered letter is $(\text{cipher}_i - \text{key}_{i \bmod T}) \bmod K$.
#
# (b) Which $T$? Try all from 1 to 30, three ways, and keep the $T$ where each is
# smallest:
#
# - `naive_period`: the mean, over the $T$ classes of letters that share a key digit, of
#   the entropy of the letter counts of the class, $H(\hat p)$. (A wrong $T$ mixes
#   letters moved by different amounts, which makes the mixture more even.)
# - `fitted_period`: the cost of the text deciphered with `crack`'s key.
# - `period`: the cost of *all that has to be sent*, the text and the key, whose $T$
#   digits cost $\log_2 K$ bits each. `whole_cost(cipher, period, q)` returns this sum
#   in bits.
#
# (c) Report `key` (the key for `period`), and the cost under `q` in bits per letter of
# the enciphered poem, `bits_before`, and of the deciphered one, `bits_after`. The first
# is more than $\log_2 26 = 4.70$ bits: a wrong model can be worse than none.
#
# Plot the three curves of (b) over $T$, and explain to yourself why two of the three
# answers are too long.

# %%
CIPHER = (
    "tynxjmswlbfjrzlgjovauwfsljitjaeclievlmlmwxgpkqwruynxkplsgglrylawvuzc"
    "cmkxkiigfedifxdtnwjhkuesnwjhkyoeimkwlbvbrvfijiwbpxaxqqrckqfkhuzcznaq"
    "aayikmsgznytveaxtykivzaxoyitkpgyybedkbgpgpvnvbdsnykdkmdpeyjdraliknph"
    "zkcqwhnwvvllwcisvillkvvcvijrghvljjmxzyrakpxvggkwvqjtzsjxtqsrkeednngv"
    "azzhywmpvxvhgiavamydltvkjinbrlsrvcebpushfyjhdqyllmgtrsapdiwiymwrgqkw"
    "zaapdqitjbaryqfgclawylfleagfsxdpuadefxvgvzkfqgrsvijwtycxvdwhtykwrbaq"
    "ssedkjwwghfgkpgytycxvltislkwzvwiqyjhkzsmybkiywmkznyngzgyvbvpibysocut"
)


# %%
def to_numbers(text):
    """Return the letters of a text as numbers from 0 to 25."""
    letters = [ord(letter) - ord("a") for letter in text.lower() if letter.isalpha()]
    return np.array(letters)


cipher = to_numbers(CIPHER)
sonnets = to_numbers(bytes(load("text")[0].x.numpy()).decode())  # 62,111 letters
q = np.bincount(sonnets, minlength=26) / len(sonnets)
print(f"{len(cipher)} letters in cipher; rarest letter of the model: {q.min():.4f}")

# %% [raw]
# # BEGIN SOLUTION


# %%
def crack(cipher, period, q):
    """Return the cheapest key of `period` digits, a list of integers below len(q)."""
    # BEGIN SOLUTION
    size, key = len(q), []
    for start in range(period):
        counts = np.bincount(cipher[start::period], minlength=size)
        costs = [-np.roll(counts, -shift) @ np.log2(q) for shift in range(size)]
        key.append(int(np.argmin(costs)))
    return key
    # END SOLUTION


def whole_cost(cipher, period, q):
    """Return what text and key cost together with the cheapest key, bits."""
    # BEGIN SOLUTION
    plain = decipher(cipher, crack(cipher, period, q), len(q))
    return -np.log2(q)[plain].sum() + period * math.log2(len(q))
    # END SOLUTION


# BEGIN SOLUTION NO PROMPT
def decipher(cipher, key, size=26):
    """Return the letters that a key makes of a cipher."""
    return (cipher - np.resize(key, len(cipher))) % size


# END SOLUTION

# %%
periods = np.arange(1, 31)
# BEGIN SOLUTION NO PROMPT
naive = []  # mean entropy of the classes, bits per letter
for t in periods:
    counts = [np.bincount(cipher[start::t], minlength=26) for start in range(t)]
    naive.append(np.mean([entropy(c / c.sum()) for c in counts]))
whole = np.array([whole_cost(cipher, t, q) for t in periods])  # bits
fitted = whole - periods * math.log2(26)
# END SOLUTION
naive_period = int(periods[np.argmin(naive)])  # SOLUTION
fitted_period = int(periods[np.argmin(fitted)])  # SOLUTION
period = int(periods[np.argmin(whole)])  # SOLUTION

# %%
key = crack(cipher, period, q)  # SOLUTION
bits_before = -np.log2(q)[cipher].mean()  # SOLUTION
bits_after = -np.log2(q)[decipher(cipher, key)].mean()  # SOLUTION
# BEGIN SOLUTION NO PROMPT
print("key:", "".join(chr(97 + digit) for digit in key))
print("".join(chr(97 + x) for x in decipher(cipher, key)[:60]), "...")
print(f"{bits_before:.3f} bits per letter before, {bits_after:.3f} after")
print("periods:", naive_period, fitted_period, period)

fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.plot(periods, naive, ":", label="entropy of the counts")
ax.plot(periods, fitted / len(cipher), "--", label="text alone")
ax.plot(periods, whole / len(cipher), label="text and key")
for t, curve in ((naive_period, naive), (fitted_period, fitted / len(cipher))):
    ax.plot(t, curve[t - 1], "o", color="black")
ax.plot(period, whole[period - 1] / len(cipher), "o", color="black")
ax.set(xlabel="length of the key, $T$", ylabel="bits per letter", xlim=(0, 31))
ax.set_ylim(2.4, 5.5)
ax.legend(loc="lower left")
plt.show()
# END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_a_cipher_of_three_letters(crack, whole_cost):
    import numpy as np

    from lvmlib.homework.checking import close, own

    own(crack, whole_cost)
    q = np.array([0.5, 0.25, 0.25])
    cipher = np.array([1, 2, 1, 2, 1, 0])  # at even places 1, at odd places mostly 2
    close(crack(cipher, 2, q), [1, 2], "the most frequent letter should become 0")
    want = 5 * 1 + 1 * 2 + 2 * np.log2(3)
    close(whole_cost(cipher, 2, q), want, "five zeros, one other letter, two digits")


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_random_ciphers(crack, whole_cost):
    import numpy as np

    from lvmlib.homework.checking import close, rng

    draw = rng("cipher")
    for size, period in ((26, 5), (10, 3)):
        q = 0.9 * draw.dirichlet(np.full(size, 0.5)) + 0.1 / size
        secret = draw.integers(size, size=period)
        plain = draw.choice(size, p=q, size=301)
        moved = (plain + np.resize(secret, 301)) % size
        best, cost = [], period * np.log2(size)
        for start in range(period):
            letters = moved[start::period]
            costs = [-np.log2(q[(letters - s) % size]).sum() for s in range(size)]
            best.append(int(np.argmin(costs)))
            cost += min(costs)
        hint = f"the key of {period} digits of an alphabet of {size} letters"
        close(crack(moved, period, q), best, hint)
        close(whole_cost(moved, period, q), cost, "text and key together")


# %%
""" # BEGIN TEST CONFIG
points: 2.5
hidden: true
"""  # END TEST CONFIG


def test_the_poem_is_read(
    whole_cost,
    period,
    fitted_period,
    naive_period,
    key,
    bits_before,
    bits_after,
):
    import numpy as np

    from lvmlib import load
    from lvmlib.homework.checking import close

    # everything follows from the poem and the shares of letters: nothing is random
    train, _, test = (bytes(split.x.numpy()).decode().lower() for split in load("text"))
    numbers = lambda text: np.array([ord(c) - 97 for c in text if c.isalpha()])
    q = np.bincount(numbers(train), minlength=26)
    q = q / q.sum()
    plain = numbers(test[test.index("be wise") : test.index("cxli\n")])
    secret = np.array([18, 20, 17, 15, 17, 8, 18, 4])
    cipher = (plain + np.resize(secret, len(plain))) % 26
    close(period, 8, "the period where text and key are cheapest together")
    close(key, secret, "the key")
    close(bits_before, -np.log2(q[cipher]).mean(), "the enciphered poem under q", 1e-4)
    close(bits_after, -np.log2(q[plain]).mean(), "the deciphered poem under q", 1e-4)
    close(fitted_period, 24, "the period where the text alone is cheapest")
    close(naive_period, 30, "the period of the smallest mean entropy")
    want = -np.log2(q[plain]).sum() + 8 * np.log2(26)
    close(whole_cost(cipher, 8, q), want, "what poem and key cost")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION
