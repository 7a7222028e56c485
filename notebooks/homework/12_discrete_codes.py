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
# # Homework 12: Discrete codes
#
# You will differentiate a quantiser by hand, tell a codebook what its codes cost, write
# a coder that gets bits back, and store colour pictures in fewer bits. In the end you
# will know which saves more: a codebook that knows its price, or a prior that knows the
# neighbours.
#
# **Time:** 4 hours. **Points:** 20. **Needs:** chapter 12; runs in about 5 seconds on a
# CPU.
#
# Fill in each `...` and run the public check below the question. The hidden tests use
# other inputs, so a formula that fits the public example only will not pass. Write your
# own code: no function of `lvmlib`, except where the notebook itself loads data or
# draws with it. Codes are whole numbers that count from 0.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch

# %%
from lvmlib.data import load
from lvmlib.plotting import image_grid, use_style

use_style()

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: The gradients of a quantiser (3 points)
#
# A VQ-VAE rounds $N$ feature vectors $h_i$ to the nearest vectors of a codebook,
# $c_i = \arg\min_k \lVert h_i - e_k \rVert$, and shows the decoder
# $\tilde e_i = h_i + \operatorname{stop}(e_{c_i} - h_i)$. With a codebook that learns
# by gradient its loss is
#
# $$ L = -\log p_\theta(x \mid \tilde e) + \sum_{i=1}^N \Big( \lVert
# \operatorname{stop}(h_i) - e_{c_i} \rVert^2 + \beta\, \lVert h_i -
# \operatorname{stop}(e_{c_i}) \rVert^2 \Big) . $$
#
# `vq_gradients(h, book, g, beta)`: the tuple of the codes, shape `[N]`, the gradient
# that backpropagation gives for `h`, shape `[N, E]`, and the one for `book`, shape
# `[K, E]`. The decoder has already sent back
# $g_i = \partial (-\log p_\theta) / \partial \tilde e_i$, shape `[N, E]`. Work the
# gradients out on paper; use no automatic differentiation.

# %% [raw]
# # BEGIN SOLUTION


# %%
def vq_gradients(h, book, g, beta):
    """Codes [N], and the gradients of the loss in h [N, E] and in the book [K, E]."""
    # BEGIN SOLUTION
    codes = torch.cdist(h, book).argmin(1)
    pull = 2 * (h - book[codes])  # from the vector to its feature
    in_book = torch.zeros_like(book).index_add(0, codes, -pull)
    return codes, g + beta * pull, in_book
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_three_features_two_vectors(vq_gradients):
    import torch

    from lvmlib.homework.checking import close, own

    own(vq_gradients)
    h = torch.tensor([[0.0, 1.0], [2.0, 0.0], [3.0, 1.0]]).double()
    book = torch.tensor([[0.0, 0.0], [3.0, 0.0]]).double()
    codes, in_h, in_book = vq_gradients(h, book, torch.ones(3, 2).double(), 0.5)
    close(codes, [0, 1, 1], "the nearest vector of each feature")
    close(in_h, [[1.0, 2.0], [0.0, 1.0], [1.0, 2.0]], "the gradient in the features")
    close(in_book, [[0.0, -2.0], [2.0, -2.0]], "the gradient in the codebook")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_against_backpropagation(vq_gradients):
    import torch

    from lvmlib.homework.checking import close, rng

    draw = rng("vq gradients")
    h, book = (torch.tensor(draw.normal(size=(n, 3)) + 0.3) for n in (9, 4))
    book *= 1.5
    weights, beta = torch.tensor(draw.normal(size=(9, 3))), draw.uniform(0.1, 0.6)
    h.requires_grad_()
    book.requires_grad_()
    codes = (h[:, None] - book).square().sum(2).argmin(1)
    e = book[codes]
    shown = h + (e - h).detach()
    loss = (weights * torch.sin(shown)).sum() + (h.detach() - e).square().sum()
    loss = loss + beta * (h - e.detach()).square().sum()
    want = torch.autograd.grad(loss, [h, book])
    g = weights * torch.cos(shown.detach())
    got = vq_gradients(h.detach(), book.detach(), g, beta)
    close(got[0], codes, "codes of random features")
    close(got[1], want[0], "the gradient in the features, by backpropagation")
    close(got[2], want[1], "the gradient in the codebook, by backpropagation")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 3

# %% [markdown]
# ## Question 2: A codebook that knows its price (3 points)
#
# Stage one of a VQ-VAE chooses the nearest vector, whatever it costs to write down its
# number; chapter 12 found that this makes the bound poor. If code $k$ has the share
# $p_k$, its number costs $-\log_2 p_k$ bits. So let a feature choose by both,
#
# $$ c_i = \arg\min_k \Big( \lVert h_i - e_k \rVert^2 - \mu \log_2 p_k \Big) , $$
#
# where the price $\mu$ says how much squared error one bit is worth. This is
# *entropy-constrained* vector quantisation (Chou, Lookabaugh and Gray, 1989). One
# iteration of it chooses the codes, then moves each vector to the mean of the features
# that chose it, then sets $p_k$ to the share of features that chose $k$. None of the
# three steps increases $\sum_i (\lVert h_i - e_{c_i} \rVert^2 - \mu \log_2 p_{c_i})$.
#
# `priced_step(h, book, log_p, price)`: the tuple of the codes `[N]`, the new book
# `[K, E]` and the new shares as logarithms to the base 2, `[K]`, where `log_p` holds
# the old ones. A code that nobody chose keeps its vector and gets the share 0, whose
# logarithm is $-\infty$. With a positive price it is never chosen again; with $\mu = 0$
# shares must play no part at all (mind $0 \cdot \infty$), and the iteration is that of
# $k$-means.

# %% [raw]
# # BEGIN SOLUTION


# %%
def priced_step(h, book, log_p, price):
    """Codes [N], new book [K, E] and new log2 of the shares [K]."""
    # BEGIN SOLUTION
    # |h - e|^2 = |h|^2 - 2 h.e + |e|^2; the first is the same for all k.
    cost = book.square().sum(1) - 2 * h @ book.T
    if price > 0:
        cost = cost - price * log_p
    codes = cost.argmin(1)
    n = torch.bincount(codes, minlength=len(book)).to(h)
    sums = torch.zeros_like(book).index_add(0, codes, h)
    means = sums / n.clamp(min=1)[:, None]
    return codes, torch.where(n[:, None] > 0, means, book), (n / len(h)).log2()
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_a_line_of_four(priced_step):
    import torch

    from lvmlib.homework.checking import close, own

    own(priced_step)
    h = torch.tensor([[0.0], [1.0], [2.0], [4.0]]).double()
    book = torch.tensor([[0.0], [3.0], [9.0]]).double()
    log_p = torch.tensor([-1.0, -2.0, -2.0]).double()
    codes, new, shares = priced_step(h, book, log_p, 0.0)
    close(codes, [0, 0, 1, 1], "the codes at price 0")
    close(new, [[0.5], [3.0], [9.0]], "the means of the features, at price 0")
    close(shares, [-1.0, -1.0, -float("inf")], "log2 of the shares, at price 0")
    codes, new, _ = priced_step(h, book, log_p, 4.0)
    close(codes, [0, 0, 0, 1], "the codes at a price of 4 for each bit")
    close(new, [[1.0], [4.0], [9.0]], "the means of the features, at price 4")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_features_and_a_dead_code(priced_step):
    import numpy as np
    import torch

    from lvmlib.homework.checking import close, rng

    draw = rng("priced step")
    h, book = 1.5 * draw.normal(size=(120, 2)), draw.normal(size=(5, 2))
    shares = draw.dirichlet(np.ones(5))
    shares[3] = 0.0
    with np.errstate(divide="ignore"):
        log_p = np.log2(shares)
    for price in (0.0, draw.uniform(0.6, 1.2)):
        codes = []
        for feature in h:
            cost = [((feature - e) ** 2).sum() for e in book]
            if price > 0:
                cost = [c - price * l for c, l in zip(cost, log_p)]
            codes.append(int(np.argmin(cost)))
        new, counts = book.copy(), np.bincount(codes, minlength=5)
        for k in range(5):
            if counts[k]:
                new[k] = np.mean([f for f, c in zip(h, codes) if c == k], axis=0)
        with np.errstate(divide="ignore"):
            want = np.log2(counts / 120)
        got = priced_step(*(torch.tensor(a) for a in (h, book, log_p)), price)
        close(got[0], codes, f"the codes at a price of {price:.2f}")
        close(got[1], new, f"the new codebook at a price of {price:.2f}")
        close(got[2], want, f"log2 of the shares at a price of {price:.2f}")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 3

# %% [markdown]
# ## Question 3: A stack of symbols in one number (3 points)
#
# Asymmetric numeral systems (ANS) keep a whole message in one integer, the state $s$.
# Symbol $k$ owns $n_k$ of $M = \sum_j n_j$ slots, from $b_k = n_0 + \dots + n_{k-1}$
# on, and has the probability $n_k / M$. Python's integers have no largest value, so
# nothing ever has to be moved out of the state. Pushing symbol $k$ is
#
# $$ s \;\leftarrow\; M \lfloor s / n_k \rfloor + b_k + (s \bmod n_k) , $$
#
# which multiplies $s$ by about $M / n_k$ and so makes it $\log_2 (M / n_k)$ bits
# longer. Popping undoes it, last symbol first: which symbol owns the slot $s \bmod M$,
# and what was $s$ before?
#
# - `push(state, symbol, counts)` returns the new state; `pop(state, counts)` returns
#   the tuple of the symbol and the state before. `counts` is a list of positive whole
#   numbers; $M$ may be any number. Use whole numbers throughout: a state may have
#   thousands of digits, and `/` or a NumPy integer would round or overflow.
# - `encode(symbols, counts)` returns the state that holds a list of symbols, beginning
#   with the state 1. Push them so that the first symbol is popped first.
#   `decode(state, n, counts)` returns the list of `n` symbols.

# %% [raw]
# # BEGIN SOLUTION


# %%
def push(state, symbol, counts):
    """The state with one more symbol on it."""
    # BEGIN SOLUTION
    quotient, rest = divmod(state, counts[symbol])
    return sum(counts) * quotient + sum(counts[:symbol]) + rest
    # END SOLUTION


def pop(state, counts):
    """The symbol on top, and the state without it."""
    # BEGIN SOLUTION
    quotient, slot = divmod(state, sum(counts))
    symbol, start = 0, 0
    while slot >= start + counts[symbol]:
        start += counts[symbol]
        symbol += 1
    return symbol, counts[symbol] * quotient + slot - start
    # END SOLUTION


def encode(symbols, counts):
    """All symbols in one integer; the first is on top."""
    # BEGIN SOLUTION
    state = 1
    for symbol in reversed(symbols):
        state = push(state, symbol, counts)
    return state
    # END SOLUTION


def decode(state, n, counts):
    """The first n symbols of a state."""
    # BEGIN SOLUTION
    symbols = []
    for _ in range(n):
        symbol, state = pop(state, counts)
        symbols.append(symbol)
    return symbols
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 0.5
"""  # END TEST CONFIG


def test_ten_slots(push, pop, encode, decode):
    from lvmlib.homework.checking import own

    own(push, pop, encode, decode)
    counts = [7, 2, 1]
    assert push(25, 1, counts) == 128, "push symbol 1 of counts 7, 2, 1 on the state 25"
    assert list(pop(128, counts)) == [1, 25], "and pop it again"
    assert encode([2, 0], counts) == 19, "from 1: push 0, then 2"
    assert list(decode(19, 2, counts)) == [2, 0], "and decode it"


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_push_and_pop_on_large_states(push, pop):
    from lvmlib.homework.checking import rng

    draw = rng("push")
    counts = [int(c) for c in draw.integers(1, 40, 6)]
    M = sum(counts)
    for symbol in (0, 3, 5):
        state = int.from_bytes(draw.bytes(60), "big")
        n, start = counts[symbol], sum(counts[:symbol])
        after = M * (state // n) + start + state % n
        assert push(state, symbol, counts) == after, "push on a state of 480 bits"
        assert list(pop(after, counts)) == [symbol, state], "pop from 480 bits and more"


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_messages_come_back_and_are_short(encode, decode):
    import math

    from lvmlib.homework.checking import rng

    draw = rng("messages")
    counts = [int(c) for c in draw.integers(1, 30, 5)]
    M = sum(counts)
    p = [n / M for n in counts]
    symbols = [int(s) for s in draw.choice(5, 300, p=p)]
    bits = sum(-math.log2(p[s]) for s in symbols)
    state = 1
    for s in symbols[::-1]:
        state = M * (state // counts[s]) + sum(counts[:s]) + state % counts[s]
    got = encode(symbols, counts)
    assert list(decode(state, 300, counts)) == symbols, "300 symbols decoded"
    assert abs(got.bit_length() - bits) < 20, "the length of 300 symbols in bits"
    assert got == state, "300 symbols encoded, from the state 1"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 4

# %% [markdown]
# ## Question 4: Bits back (4 points)
#
# A model with a latent $z \in \{0, \dots, K - 1\}$ and data $x \in \{0, \dots, V - 1\}$
# comes as tables of counts, nested lists: `prior` with $K$ counts, `likelihood[z]` with
# the $V$ counts of $p(x \mid z)$, and `posterior[x]` with the $K$ counts of
# $q(z \mid x)$. All are positive; each row has its own sum.
#
# - `bits_back_encode(xs, prior, likelihood, posterior, state)`: the state after all of
#   `xs` have been coded with bits-back coding, one after the other in the given order,
#   on a stack that holds `state` at the start. For each $x$: pop $z$ with
#   $q(z \mid x)$, push $x$ with $p(x \mid z)$, push $z$ with $p(z)$.
# - `bits_back_decode(n, prior, likelihood, posterior, state)`: the tuple of the list of
#   `n` symbols, in the order in which they were given to the encoder, and the state
#   that lay on the stack at the start. Which step must be undone first?
# - `bits_per_symbol(p_x, prior, likelihood, posterior)`: for $x$ drawn from the
#   probabilities `p_x` (a list), the tuple of three mean lengths in bits: that of
#   bits-back coding on an ideal stack of random bits, net; that of sending
#   $z \sim q(z \mid x)$ and then $x$ *without* getting anything back; and that of a
#   coder that uses the exact $p(x) = \sum_z p(z)\, p(x \mid z)$.
#
# Use your `push` and `pop`.

# %% [raw]
# # BEGIN SOLUTION


# %%
def bits_back_encode(xs, prior, likelihood, posterior, state):
    """The state with all symbols on it."""
    # BEGIN SOLUTION
    for x in xs:
        z, state = pop(state, posterior[x])
        state = push(state, x, likelihood[z])
        state = push(state, z, prior)
    return state
    # END SOLUTION


def bits_back_decode(n, prior, likelihood, posterior, state):
    """The n symbols in their order, and the state before them."""
    # BEGIN SOLUTION
    xs = []
    for _ in range(n):
        z, state = pop(state, prior)
        x, state = pop(state, likelihood[z])
        state = push(state, z, posterior[x])
        xs.append(x)
    return xs[::-1], state
    # END SOLUTION


def bits_per_symbol(p_x, prior, likelihood, posterior):
    """Mean bits: net with bits back, without, and of the exact marginal."""
    # BEGIN SOLUTION
    shares = lambda table: table / table.sum(-1, keepdims=True)
    tables = (np.array(table, dtype=float) for table in (prior, likelihood, posterior))
    p_z, p_xz, q = (shares(table) for table in tables)
    weight = np.array(p_x)[:, None] * q  # [V, K]
    joint = p_z * p_xz.T  # p(x, z), [V, K]
    without = -(weight * np.log2(joint)).sum()
    back = -(weight * np.log2(q)).sum()
    exact = -(np.array(p_x) * np.log2(joint.sum(1))).sum()
    return float(without - back), float(without), float(exact)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 0.5
"""  # END TEST CONFIG


def test_one_symbol(bits_back_encode, bits_back_decode, bits_per_symbol):
    from lvmlib.homework.checking import close, own

    own(bits_back_encode, bits_back_decode, bits_per_symbol)
    prior, posterior = [1, 1], [[1, 3], [3, 1]]
    likelihood = [[3, 1], [1, 3]]
    # 13 = 4 * 3 + 1: slot 1 of x = 0 belongs to z = 1, which leaves 3 * 3 + 0 = 9.
    # Push x = 0 under z = 1: 4 * 9 = 36. Push z = 1: 2 * 36 + 1 = 73.
    tables = prior, likelihood, posterior
    assert bits_back_encode([0], *tables, 13) == 73, "x = 0 on the state 13"
    xs, state = bits_back_decode(1, *tables, 73)
    assert list(xs) == [0], "the symbol comes back"
    assert state == 13, "and so does the state before it"
    net, without, exact = bits_per_symbol([0.5, 0.5], *tables)
    close(exact, 1.0, "two symbols, equally probable")
    assert exact < net < without, "which of the three lengths is the shortest?"


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_encode_and_decode(bits_back_encode, bits_back_decode):
    from lvmlib.homework.checking import rng

    draw = rng("bits back")
    table = lambda *shape: draw.integers(1, 20, shape).tolist()
    prior, likelihood, posterior = table(3), table(3, 4), table(4, 3)
    xs = draw.integers(0, 4, 12).tolist()
    start = int.from_bytes(draw.bytes(40), "big") | 1 << 320

    def push(s, k, counts):
        return sum(counts) * (s // counts[k]) + sum(counts[:k]) + s % counts[k]

    def pop(s, counts):
        slot = s % sum(counts)
        k = next(k for k in range(len(counts)) if slot < sum(counts[: k + 1]))
        return k, counts[k] * (s // sum(counts)) + slot - sum(counts[:k])

    state = start
    for x in xs:
        z, state = pop(state, posterior[x])
        state = push(push(state, x, likelihood[z]), z, prior)
    got = bits_back_encode(xs, prior, likelihood, posterior, start)
    assert got == state, "the state after twelve symbols"
    back, rest = bits_back_decode(12, prior, likelihood, posterior, state)
    assert list(back) == xs, "twelve symbols decoded, in the order of the encoder"
    assert rest == start, "the stack as it was before encoding"


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_lengths(bits_per_symbol):
    import math

    import numpy as np

    from lvmlib.homework.checking import close, rng

    draw = rng("lengths")
    table = lambda *shape: draw.integers(1, 30, shape).tolist()
    prior, likelihood, posterior = table(3), table(3, 5), table(5, 3)
    p_x = draw.dirichlet(np.ones(5)).tolist()
    net = without = exact = 0.0
    for x in range(5):
        marginal = 0.0
        for z in range(3):
            p = prior[z] / sum(prior) * likelihood[z][x] / sum(likelihood[z])
            q = posterior[x][z] / sum(posterior[x])
            marginal += p
            without -= p_x[x] * q * math.log2(p)
            net -= p_x[x] * q * math.log2(p / q)
        exact -= p_x[x] * math.log2(marginal)
    got = bits_per_symbol(p_x, prior, likelihood, posterior)
    close(got[0], net, "net bits a symbol with bits back")
    close(got[1], without, "bits a symbol without bits back")
    close(got[2], exact, "bits a symbol with the exact marginal")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 3

# %% [markdown]
# ## Question 5: A prior that knows the neighbour (3 points)
#
# A prior over pictures of codes need not be a network.
# `code_bits(train, test, K, alpha)` compares two that only count. Both are fitted to
# `train` and judged on `test`, tensors of codes of shape `[n, H, W]`, and the result is
# the tuple of the mean bits a code of `test` under each:
#
# 1. *shares*: all codes independent, $p_k = (n_k + \alpha) / (n + K \alpha)$, where
#    $n_k$ counts how often $k$ occurs in `train` and $n = \sum_k n_k$;
# 2. *left neighbour*: each code given the one to its left in the same row,
#    $p(k \mid j) = (n_{jk} + \alpha) / (n_j + K \alpha)$, where $n_{jk}$ counts how
#    often $k$ follows $j$ and $n_j = \sum_k n_{jk}$. The first code of a row has a
#    context of its own, the edge, with counts of its own.

# %% [raw]
# # BEGIN SOLUTION


# %%
def code_bits(train, test, K, alpha):
    """Mean bits a code of test, by shares and given the left neighbour."""

    # BEGIN SOLUTION
    def pairs(codes):
        edge = torch.full_like(codes[:, :, :1], K)
        return torch.cat([edge, codes[:, :, :-1]], 2).flatten(), codes.flatten()

    (before, code), (test_before, test_code) = pairs(train), pairs(test)
    counts = torch.bincount(before * K + code, minlength=(K + 1) * K).view(K + 1, K)
    rows = counts.double() + alpha
    shares = counts.sum(0).double() + alpha
    alone = -(shares / shares.sum()).log2()[test_code]
    given = -(rows / rows.sum(1, keepdim=True)).log2()[test_before, test_code]
    return alone.mean().item(), given.mean().item()
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_stripes(code_bits):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(code_bits)
    train = torch.tensor([[[0, 1, 0, 1], [0, 1, 0, 1]]])
    alone, given = code_bits(train, train[:, :1], 2, 1.0)
    close(alone, 1.0, "two codes, equally frequent")
    # The edge: 0 twice. After 0: 1 four times. After 1: 0 twice. One more of each.
    want = -(2 * math.log2(3 / 4) + 2 * math.log2(5 / 6)) / 4
    close(given, want, "stripes, given the left neighbour")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_pictures(code_bits):
    import math

    import numpy as np
    import torch

    from lvmlib.homework.checking import close, rng

    draw = rng("code bits")
    K, alpha = 4, draw.uniform(0.2, 0.8)
    train, test = draw.integers(0, 3, (6, 3, 5)), draw.integers(0, K, (2, 3, 4))
    counts, alone, given = {}, [], []
    for picture in train:
        for row in picture:
            for before, code in zip(["edge", *row], row):
                counts[before, code] = counts.get((before, code), 0) + 1
    total = lambda keep: sum(n for pair, n in counts.items() if keep(pair))
    for picture in test:
        for row in picture:
            for j, k in zip(["edge", *row], row):
                n_k = total(lambda pair, k=k: pair[1] == k) + alpha
                alone.append(-math.log2(n_k / (train.size + K * alpha)))
                n_j = total(lambda pair, j=j: pair[0] == j) + K * alpha
                given.append(-math.log2((counts.get((j, k), 0) + alpha) / n_j))
    got = code_bits(torch.tensor(train), torch.tensor(test), K, alpha)
    close(got[0], np.mean(alone), "bits a code by shares, one code never seen")
    close(got[1], np.mean(given), "bits a code given the left neighbour")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q6
# points: 4

# %% [markdown]
# ## Question 6: Colour pictures in few bits (4 points)
#
# The data are the 32x32 emoji, 905 for training and 120 for testing. No network: the
# *features* are the 8x8 patches themselves, each 4x4 pixels of three colours, 48
# numbers between 0 and 1. A codebook of such patches is an encoder and a decoder in
# one, and two codebooks are compared:
#
# - `"plain"`: $K = 32$, price 0, which is $k$-means;
# - `"priced"`: $K = 128$, with the price 0.28 a bit.
#
# Fit both to all training patches with 15 iterations of `priced_step`, from
# `first_book(K)` and equal shares, $\log_2 p_k = -\log_2 K$. Then code training and
# test pictures with the final book and shares (the codes that `priced_step` returns for
# them; its new book is not used), as pictures of shape `[n, 8, 8]`.
#
# Store in `results` a dictionary from the two names to a dictionary of numbers:
#
# - `"distortion"`: the mean over test patches of the squared error, summed over the 48
#   numbers of a patch;
# - `"shares"` and `"neighbour"`: the two results of `code_bits` with $\alpha = 0.1$,
#   fitted to the codes of the training pictures and judged on those of the test
#   pictures.
#
# Then **write the file**: the codes of all test pictures of the `"priced"` book in one
# integer by `encode`, picture after picture and row after row, with the counts
# `to_counts(shares)` made from the shares of the codes of the training pictures. Store
# in `file_bits` its length, `bit_length()`.
#
# Last, **conclude**. Both books have nearly the same distortion, so bits can be
# compared. Store in `saved` a dictionary of what is saved, in bits a code, against the
# plain book with a prior of shares: `"price"` by the priced book with a prior of
# shares, `"neighbour"` by the plain book with the left neighbour, `"both"` by the
# priced book with the left neighbour. And store in `larger` the name of the larger of
# the first two.
#
# In the picture look at the background, too: with a price all pale patches share one
# code, the cheapest, and its vector is their mean.

# %%
emoji, _, test_emoji = load("emoji")


def to_patches(x):
    """Pictures uint8 [n, 3, 32, 32] as patches [n, 8, 8, 48] between 0 and 1."""
    tiles = (x.float() / 255).view(len(x), 3, 8, 4, 8, 4)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(len(x), 8, 8, 48)


def to_pictures(patches):
    """The inverse, as floats."""
    tiles = patches.view(-1, 8, 8, 3, 4, 4).permute(0, 3, 1, 4, 2, 5)
    return tiles.reshape(-1, 3, 32, 32)


train_patches, test_patches = to_patches(emoji.x), to_patches(test_emoji.x)


def first_book(K, seed=0):
    """K training patches that are not of one colour, [K, 48]."""
    flat = train_patches.reshape(-1, 48)
    varied = flat[flat.std(1) > 0.05]
    random = torch.Generator().manual_seed(seed)
    return varied[torch.randperm(len(varied), generator=random)[:K]].clone()


def to_counts(shares, total=2**16):
    """Positive whole counts with about these shares."""
    return [max(1, round(total * share)) for share in shares.tolist()]


# %% [raw]
# # BEGIN SOLUTION


# %%
# BEGIN SOLUTION NO PROMPT
def fitted(K, price):
    """A book and the log2 of its shares, after 15 iterations."""
    book, log_p = first_book(K), torch.full((K,), -math.log2(K))
    flat = train_patches.reshape(-1, 48)
    for _ in range(15):
        _, book, log_p = priced_step(flat, book, log_p, price)
    return book, log_p


def coded(patches, book, log_p, price):
    """Pictures of codes, [n, 8, 8]."""
    return priced_step(patches.reshape(-1, 48), book, log_p, price)[0].view(-1, 8, 8)


results, shown, maps = {}, {}, {}
for name, K, price in (("plain", 32, 0.0), ("priced", 128, 0.28)):
    book, log_p = fitted(K, price)
    maps[name] = [coded(p, book, log_p, price) for p in (train_patches, test_patches)]
    shown[name] = book[maps[name][1]]  # [n, 8, 8, 48]
    bits = code_bits(*maps[name], K, 0.1)
    error = (test_patches - shown[name]).square().sum(3).mean().item()
    results[name] = {"distortion": error, "shares": bits[0], "neighbour": bits[1]}
# END SOLUTION
""" # BEGIN PROMPT
results = ...
shown = ...  # for the picture: from the name to the decoded test patches [n, 8, 8, 48]
"""  # END PROMPT

# %%
# BEGIN SOLUTION NO PROMPT
of_train, of_test = maps["priced"]
counts = to_counts(torch.bincount(of_train.flatten(), minlength=128) / of_train.numel())
# END SOLUTION
file_bits = encode(of_test.flatten().tolist(), counts).bit_length()  # SOLUTION

# %%
# BEGIN SOLUTION NO PROMPT
plain, priced = results["plain"], results["priced"]
saved = {
    "price": plain["shares"] - priced["shares"],
    "neighbour": plain["shares"] - plain["neighbour"],
    "both": plain["shares"] - priced["neighbour"],
}
# END SOLUTION
""" # BEGIN PROMPT
saved = ...
"""  # END PROMPT
larger = "neighbour"  # SOLUTION

# %% [raw]
# # END SOLUTION

# %%
if isinstance(shown, dict) and isinstance(file_bits, int):
    rows = [test_patches[:12], shown["plain"][:12], shown["priced"][:12]]
    pictures = to_pictures(torch.cat(rows)).clamp(0, 1)
    labels = ["test picture", "plain", "priced"]
    image_grid(pictures, columns=12, row_labels=labels)
    plt.show()
    for name, found in results.items():
        print(f"{name:>6}:", ", ".join(f"{key} {n:.3f}" for key, n in found.items()))
    print(f"file: {file_bits:,} bits, {file_bits / 120 / 64:.3f} for each code")

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_the_answers_fit_together(results, file_bits, saved, larger):
    from lvmlib.homework.checking import close

    assert set(results) == {"plain", "priced"}, "`results` has one entry for each book"
    for name, found in results.items():
        assert set(found) == {"distortion", "shares", "neighbour"}, name
        assert 0.3 < found["distortion"] < 3.8, f"the distortion of the {name} book"
        assert 0 < found["neighbour"] < found["shares"] < 7, f"bits of the {name} book"
    assert isinstance(file_bits, int), "the length of the file is a whole number"
    want = results["plain"]["shares"] - results["priced"]["neighbour"]
    close(saved["both"], want, "what is saved by price and neighbour together")
    assert larger in ("price", "neighbour")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_rates_and_distortions(results, file_bits):
    # Over four seeds of the first book, and after 14 or 15 iterations: distortion 0.82
    # to 0.83 and 0.82 to 0.85; shares 4.02 to 4.08 and 3.52 to 3.62 bits, left
    # neighbour 2.71 to 2.80 and 2.37 to 2.43.
    ranges = {
        "distortion": [(0.78, 0.88), (0.78, 0.9)],
        "shares": [(3.9, 4.2), (3.35, 3.75)],
        "neighbour": [(2.6, 2.95), (2.2, 2.6)],
    }
    for key, of_books in ranges.items():
        for name, (low, high) in zip(("plain", "priced"), of_books):
            assert low < results[name][key] < high, f"{key} of the {name} book"
    bits = results["priced"]["shares"] * 120 * 64
    assert abs(file_bits - bits) < 0.01 * bits, "a file as long as the shares say"


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_the_conclusion(results, saved, larger):
    from lvmlib.homework.checking import close

    plain, priced = results["plain"], results["priced"]
    close(saved["price"], plain["shares"] - priced["shares"], "what the price saves")
    by_neighbour = plain["shares"] - plain["neighbour"]
    close(saved["neighbour"], by_neighbour, "what the left neighbour saves")
    # Over four seeds: 0.40 to 0.56 by the price, 1.27 to 1.30 by the neighbour.
    assert 0.3 < saved["price"] < 0.75, "what the price saves, in bits a code"
    assert 1.1 < saved["neighbour"] < 1.5, "what the neighbour saves, in bits a code"
    assert larger == "neighbour", "which of the two saves more?"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION
