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
# # Homework 3: Autoregressive models
#
# You build a MADE for pixels with several grey levels, from its likelihood and its
# masks to its samples; you work out which inputs a stack of causal convolutions sees;
# and you measure how many bits of a digit one neighbour explains, and how many only the
# whole past does.
#
# **Time:** 4 hours. **Points:** 20. **Needs:** chapter 3 (autoregressive models). The
# notebook runs in ten seconds on a CPU.
#
# Replace each `...` by your answer and run the public check below the question. Hidden
# tests call your functions with other inputs, so a function may use its arguments,
# NumPy, PyTorch and your other functions, but not `lvmlib` and not what the notebook
# has loaded or trained. Positions, values and units are counted from 0, degrees from 1.

# %%
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F

# %%
from lvmlib import load  # the data
from lvmlib.plotting import image_grid  # and pictures of them

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 4

# %% [markdown]
# ## Question 1: The likelihood of grey levels, and its gradient (4 points)
#
# Each of $D$ pixels has one of $K$ values. For each the model gives $K$ logits $a$, and
# $p(x_i = v) = e^{a_{iv}} / \sum_w e^{a_{iw}}$. Arguments: `logits`, a tensor `[B, D,
# K]` of floats, and `x`, a tensor `[B, D]` of integers from 0 to $K - 1$.
#
# (a) `log_prob(logits, x)` returns the log-probability of each example, the sum over
# its pixels, `[B]`, in nats. It must be right for logits of any size: with the logits
# $(1000, 0)$ the second value has log-probability $-1000$.
#
# (b) Derive the gradient of one example's log-probability by its own logits.
# `log_prob_gradient(logits, x)` returns it, `[B, D, K]`, by the formula and without
# automatic differentiation.

# %% [raw]
# # BEGIN SOLUTION


# %%
def log_prob(logits, x):
    """Return log p of values x [B, D] under logits [B, D, K]; [B], nats."""
    # BEGIN SOLUTION
    log_p = logits.log_softmax(-1)  # [B, D, K]
    return log_p.gather(-1, x[..., None])[..., 0].sum(1)
    # END SOLUTION


def log_prob_gradient(logits, x):
    """Return the derivatives of log_prob by the logits, [B, D, K]."""
    # BEGIN SOLUTION
    return F.one_hot(x, logits.shape[-1]) - logits.softmax(-1)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_pixels_of_two_values(log_prob, log_prob_gradient):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(log_prob, log_prob_gradient)
    logits = torch.tensor([[[0.0, 0.0], [0.0, math.log(3.0)]]])
    x = torch.tensor([[1, 1]])
    close(log_prob(logits, x), [math.log(0.5 * 0.75)], "one half times three quarters")
    want = [[[-0.5, 0.5], [-0.25, 0.25]]]
    close(log_prob_gradient(logits, x), want, "the gradient for both pixels")


# %%
""" # BEGIN TEST CONFIG
points: 3
hidden: true
"""  # END TEST CONFIG


def test_random_and_large_logits(log_prob, log_prob_gradient):
    import torch

    from lvmlib.homework.checking import close, rng

    draw = rng("levels")
    for scale, values in ((1.0, 5), (3000.0, 3)):
        logits = torch.tensor(scale * draw.normal(size=(4, 6, values)))
        x = torch.tensor(draw.integers(values, size=(4, 6)))
        law = torch.distributions.Categorical(logits=logits.requires_grad_())
        want = law.log_prob(x).sum(1)
        (gradient,) = torch.autograd.grad(want.sum(), logits)
        hint = f"{values} values, logits of size {scale:.0f}"
        close(log_prob(logits.detach(), x), want, hint)
        close(log_prob_gradient(logits.detach(), x), gradient, f"gradient, {hint}")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 5

# %% [markdown]
# ## Question 2: Masks for pixels with K values (5 points)
#
# MADE as in the chapter, but for $D$ pixels with $K$ values each. A pixel enters as a
# *one-hot vector*: input unit $iK + v$ is 1 if $x_i = v$, and 0 otherwise, so there are
# $DK$ input units. Output unit $iK + v$ is the logit of $x_i = v$, so there are as many
# outputs. All $K$ units of a pixel share its degree.
#
# (a) `made_masks(order, hidden, values)` returns the list of masks, tensors of zeros
# and ones of shape `[units of the layer above, units of the layer below]`, from the
# inputs upwards. `order` is a list of the $D$ positions in the order of drawing: the
# pixel `order[0]` is drawn first and has degree 1. `hidden` holds one list for each
# hidden layer, the degrees of its units; `values` is $K$. Connections into hidden
# layers are of type B (from degree $a$ to degree $b \ge a$), those into the outputs of
# type A ($b > a$).
#
# (b) `made_logits(x, weights, biases, masks)` returns the logits `[B, D, K]` for
# integers `x` `[B, D]`. The lists `weights` and `biases` have an entry for each mask,
# of the shapes that `F.linear` takes; between layers stands a ReLU, after the last one
# nothing. Turn the one-hot vectors into the floating-point type of the weights.

# %% [raw]
# # BEGIN SOLUTION


# %%
def made_masks(order, hidden, values):
    """Return the masks of a MADE, from the inputs upwards, each [above, below]."""
    # BEGIN SOLUTION
    place = torch.empty(len(order), dtype=torch.long)
    place[torch.tensor(order)] = torch.arange(1, len(order) + 1)
    visible = place.repeat_interleave(values)  # degrees of inputs and of outputs
    degrees = [visible, *(torch.tensor(layer) for layer in hidden)]
    masks = [above[:, None] >= below for below, above in zip(degrees, degrees[1:])]
    masks.append(visible[:, None] > degrees[-1])
    return [mask.float() for mask in masks]
    # END SOLUTION


def made_logits(x, weights, biases, masks):
    """Return the logits [B, D, K] of all pixels for values x [B, D]."""
    # BEGIN SOLUTION
    values = weights[0].shape[1] // x.shape[1]
    h = F.one_hot(x, values).flatten(1).to(weights[0])  # [B, D K]
    for i, (weight, bias, mask) in enumerate(zip(weights, biases, masks)):
        h = h.relu() if i else h
        h = F.linear(h, weight * mask.to(weight), bias)
    return h.view(*x.shape, values)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_pixels_one_hidden_unit(made_masks, made_logits):
    import torch

    from lvmlib.homework.checking import close, own

    own(made_masks, made_logits)
    first, last = made_masks([1, 0], [[1]], 2)  # pixel 1 is drawn first
    close(first, [[0, 0, 1, 1]], "a unit of degree 1 sees the pixel drawn first")
    close(last, [[1], [1], [0], [0]], "only the pixel drawn second may read it")
    x = torch.tensor([[0, 1], [1, 1], [1, 0]])
    weights = [torch.tensor([[9.0, 9, 2, -1]]), torch.tensor([[1.0], [3], [9], [9]])]
    biases = [torch.tensor([0.5]), torch.tensor([0.0, 0, 1, 2])]
    logits = made_logits(x, weights, biases, [first, last])
    want = [[[0.0, 0], [1, 2]], [[0, 0], [1, 2]], [[2.5, 7.5], [1, 2]]]
    close(logits, want, "the hidden unit is relu(0.5 - 1) or relu(0.5 + 2)")


# %%
""" # BEGIN TEST CONFIG
points: 1.5
hidden: true
"""  # END TEST CONFIG


def test_every_connection(made_masks):
    from lvmlib.homework.checking import close, rng

    draw = rng("masks")
    for pixels, values, widths in ((4, 3, (7,)), (6, 2, (9, 8)), (3, 4, (6, 5, 6))):
        order = list(range(pixels))
        while all(order[order[i]] == i for i in order):  # places differ from the order
            order = draw.permutation(pixels).tolist()
        hidden = [draw.integers(1, pixels, size=w).tolist() for w in widths]
        masks = made_masks(order, hidden, values)
        assert len(masks) == len(widths) + 1, "one mask for each layer of weights"
        degree = [order.index(i) + 1 for i in range(pixels) for _ in range(values)]
        layers = [degree, *hidden, degree]
        for n, mask in enumerate(masks):
            above, below, last = layers[n + 1], layers[n], n == len(masks) - 1
            want = [[float(b > a if last else b >= a) for a in below] for b in above]
            close(mask, want, f"mask {n} of {len(masks)}, order {order}")


# %%
""" # BEGIN TEST CONFIG
points: 2.5
hidden: true
"""  # END TEST CONFIG


def test_nothing_leaks_and_all_states_sum_to_one(made_masks, made_logits):
    import itertools

    import torch

    from lvmlib.homework.checking import close, rng

    draw = rng("made")
    for pixels, values, widths in ((4, 3, (12,)), (5, 2, (10, 9))):
        order = list(range(pixels))
        while all(order[order[i]] == i for i in order):  # places differ from the order
            order = draw.permutation(pixels).tolist()
        hidden = [draw.integers(1, pixels, size=w).tolist() for w in widths]
        masks = made_masks(order, hidden, values)
        sizes = [pixels * values, *widths, pixels * values]
        shapes = list(zip(sizes[1:], sizes))
        weights = [torch.tensor(draw.normal(size=shape)) for shape in shapes]
        biases = [torch.tensor(draw.normal(size=shape[0])) for shape in shapes]
        states = torch.tensor(list(itertools.product(range(values), repeat=pixels)))
        got = torch.as_tensor(made_logits(states, weights, biases, masks))

        place = torch.tensor([order.index(i) for i in range(pixels)]) + 1
        place = place.repeat_interleave(values)
        degrees = [place, *map(torch.tensor, hidden), place]
        h = torch.zeros(len(states), pixels, values, dtype=torch.float64)
        h = h.scatter(2, states[..., None], 1.0).flatten(1)
        for n, (weight, bias) in enumerate(zip(weights, biases)):
            above, below = degrees[n + 1][:, None], degrees[n]
            allowed = above > below if n == len(widths) else above >= below
            h = (h.clamp(min=0) if n else h) @ (weight * allowed).T + bias
        close(got, h.view(-1, pixels, values), f"logits of all {len(states)} states")
        log_p = torch.distributions.Categorical(logits=got).log_prob(states).sum(1)
        close(log_p.exp().sum(), 1.0, "the probabilities of all states add up to 1")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 4

# %% [markdown]
# ## Question 3: A causal convolution, and what a stack of them sees (4 points)
#
# (a) Write the causal convolution with kernel size $k$, dilation $d$ and shift $s$,
#
# $$ y_t = b + \sum_{j=0}^{k-1} W_j \, x_{t - s - jd} , $$
#
# where $x_t$ is 0 for $t < 0$. With $s = 0$ the output sees its own input (type B),
# with $s = 1$ only earlier ones (type A). `causal_conv(x, weight, bias, dilation,
# shift)` takes `x` `[B, C, T]`, `weight` `[C', C, k]` with $W_j$ = `weight[:, :, j]`,
# and `bias` `[C']`, and returns `[B, C', T]`. (Mind the direction: $W_0$ meets the
# *newest* value. In `F.conv1d` the last entry of the kernel does.)
#
# (b) Stack such layers, each a triple `(kernel, dilation, shift)`. The output at $t$
# depends on the inputs $x_{t - \ell}$ for certain lags $\ell$, not always without gaps.
# `lags(layers)` takes the list of triples and returns the sorted list of all lags
# $\ell$ to which a path leads.

# %% [raw]
# # BEGIN SOLUTION


# %%
def causal_conv(x, weight, bias, dilation, shift):
    """Return the causal convolution of x [B, C, T]; [B, C', T]."""
    # BEGIN SOLUTION
    length, result = x.shape[2], bias[:, None]  # [C', 1]
    for j in range(weight.shape[2]):
        back = min(shift + j * dilation, length)  # further back there are only zeros
        moved = F.pad(x, (back, 0))[..., :length]  # x_{t - back} at place t
        result = result + torch.einsum("oc,bct->bot", weight[:, :, j], moved)
    return result
    # END SOLUTION


def lags(layers):
    """Return the sorted lags that a stack of (kernel, dilation, shift) layers sees."""
    # BEGIN SOLUTION
    reached = {0}
    for kernel, dilation, shift in layers:
        reached = {lag + shift + j * dilation for lag in reached for j in range(kernel)}
    return sorted(reached)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_one_channel_by_hand(causal_conv, lags):
    import torch

    from lvmlib.homework.checking import close, own

    own(causal_conv, lags)
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    weight, bias = torch.tensor([[[10.0, 1.0]]]), torch.tensor([0.5])
    want = [[[10.5, 20.5, 31.5, 42.5]]]
    close(causal_conv(x, weight, bias, 2, 0), want, "10 x_t + x_{t-2} + 0.5")
    want = [[[0.5, 10.5, 21.5, 32.5]]]
    close(causal_conv(x, weight, bias, 1, 1), want, "10 x_{t-1} + x_{t-2} + 0.5")
    close(lags([(2, 3, 1)]), [1, 4], "one layer has as many lags as its kernel")


# %%
""" # BEGIN TEST CONFIG
points: 3
hidden: true
"""  # END TEST CONFIG


def test_against_sums_and_gradients(causal_conv, lags):
    import numpy as np
    import torch
    import torch.nn.functional as F

    from lvmlib.homework.checking import close, rng

    draw = rng("convolution")
    for kernel, dilation, shift in ((3, 2, 0), (2, 3, 1), (4, 5, 1)):
        x, weight = draw.normal(size=(2, 3, 9)), draw.normal(size=(4, 3, kernel))
        bias = draw.normal(size=4)
        want = np.zeros((2, 4, 9)) + bias[:, None]
        for t in range(9):
            for j in range(kernel):
                if (source := t - shift - j * dilation) >= 0:
                    want[:, :, t] += x[:, :, source] @ weight[:, :, j].T
        arrays = [torch.tensor(a) for a in (x, weight, bias)]
        got = causal_conv(*arrays, dilation, shift)
        close(got, want, f"kernel {kernel}, dilation {dilation}, shift {shift}")

    shapes = draw.integers([2, 1, 0], [4, 6, 2], size=(2, 3, 3))
    stacks = [[tuple(map(int, layer)) for layer in stack] for stack in shapes]
    for stack in [[(2, 1, 1), (2, 4, 1), (2, 16, 0)], *stacks]:
        x = torch.zeros(1, 1, 80, requires_grad=True)
        h = x
        for kernel, dilation, shift in stack:  # all weights 1: no two paths cancel
            h = F.pad(h, ((kernel - 1) * dilation + shift, 0))
            h = F.conv1d(h, torch.ones(1, 1, kernel), dilation=dilation)[..., :80]
        (gradient,) = torch.autograd.grad(h[0, 0, -1], x)
        want = gradient[0, 0].flip(0).nonzero()[:, 0]
        close(lags(stack), want, f"the lags of the layers {stack}")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 3

# %% [markdown]
# ## Question 4: Drawing pixel by pixel (3 points)
#
# `draw(order, weights, biases, masks, u)` draws $N$ examples from the MADE of question
# 2 and returns them as integers `[N, D]`. Randomness comes in from outside: `u` `[N,
# D]` has numbers drawn uniformly from $[0, 1)$, and pixel $i$ of example $n$ is the
# smallest value $v$ with $u_{ni} < p(x_i \le v \mid \text{pixels drawn before})$.
# Column $i$ belongs to pixel $i$, whenever it is drawn.

# %% [raw]
# # BEGIN SOLUTION


# %%
def draw(order, weights, biases, masks, u):
    """Return examples [N, D] drawn from a MADE in the given order with u [N, D]."""
    # BEGIN SOLUTION
    x = torch.zeros(u.shape, dtype=torch.long)
    for i in order:
        p = made_logits(x, weights, biases, masks)[:, i].softmax(1)  # [N, K]
        x[:, i] = (u[:, i, None] >= p.cumsum(1)[:, :-1]).sum(1)
    return x
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_a_pixel_and_its_copy(draw):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(draw)
    # two pixels of two values; pixel 1 is drawn first, pixel 0 most likely copies it
    masks = [torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[1.0], [1], [0], [0]])]
    weights = [torch.tensor([[0.0, 0, 0, 6]]), torch.tensor([[0.0], [1], [0], [0]])]
    biases = [torch.zeros(1), torch.tensor([0.0, -3, 0, math.log(3.0)])]
    u = torch.tensor([[0.5, 0.2], [0.5, 0.3], [0.01, 0.9], [0.99, 0.1]])
    want = [[0, 0], [1, 1], [0, 1], [1, 0]]
    close(draw([1, 0], weights, biases, masks, u), want, "four draws")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_random_nets_and_orders(draw):
    import torch

    from lvmlib.homework.checking import close, rng

    random = rng("draw")
    for pixels, values, width in ((5, 3, 14), (8, 4, 30)):
        order = [int(i) for i in random.permutation(pixels)]
        place = torch.tensor([order.index(i) + 1 for i in range(pixels)])
        place = place.repeat_interleave(values)
        unit = torch.tensor(random.integers(1, pixels, size=width))
        masks = [(unit[:, None] >= place).double(), (place[:, None] > unit).double()]
        units = pixels * values
        normal = lambda *shape: torch.tensor(random.normal(size=shape))
        weights = [normal(width, units), normal(units, width)]
        biases = [normal(width), normal(units)]
        u = torch.tensor(random.random((50, pixels)))
        want = torch.zeros(50, pixels, dtype=torch.long)
        for i in order:
            ones = torch.zeros(50, pixels, values).double()
            ones = ones.scatter(2, want[..., None], 1.0).flatten(1)
            h = (ones @ (weights[0] * masks[0]).T + biases[0]).clamp(min=0)
            logits = h @ (weights[1] * masks[1]).T + biases[1]
            p = logits.view(50, pixels, values)[:, i].softmax(1)
            for n in range(50):
                want[n, i] = int((p[n].cumsum(0) <= u[n, i]).sum())
        got = draw(order, weights, biases, masks, u)
        close(got, want, f"50 draws of {pixels} pixels in the order {order}")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 4

# %% [markdown]
# ## Question 5: What does the past know? (4 points)
#
# Digits of 8x8 pixels with 4 grey levels, 1,257 for training and 360 for test. How many
# bits does a test digit cost, on average, under three models trained on the same
# images?
#
# - `bits_independent`: independent pixels. The probability of level $v$ at a position
#   is $(n_v + \frac12) / (N + 2)$, with $n_v$ the number of training images that have
#   it.
# - `bits_above`: each pixel given the pixel directly above it (above the first row lies
#   paper, level 0). From $n_{wv}$ training images with $w$ above $v$ at a position,
#   $p(v \mid w) = (n_{wv} + \frac14) / (n_w + 1)$, where $n_w = \sum_v n_{wv}$.
# - `bits_made`: your MADE, pixels drawn row by row, with one hidden layer of 256 units,
#   of degrees $1, 2, \dots, 63, 1, 2, \dots$ in turn. Train it by Adam for 300 steps on
#   batches of 64 training images drawn at random, with a learning rate that falls
#   linearly from 0.01 to 0. Start with zero biases, weights of standard deviation
#   $1 / \sqrt{256}$ in the first layer and a tenth of that in the second.
#
# Report all three in bits per image. `share` is the share of MADE's gain over
# independent pixels that the pixel above alone brings. `bits_by_row` is a list of 8
# numbers that add up to `bits_made`: the mean cost of the pixels in each row. Compare
# them with the cost of the rows under independent pixels: in which rows does the past
# help most, and why?
#
# Show the mean cost of each pixel as a picture, for all three models on one scale, and
# twenty draws from your MADE beside test digits (`image_grid`).

# %%
splits = load("digits")
train, valid, test = (s.x.flatten(1).long() * 4 // 17 for s in splits)  # levels 0 to 3
print(train.shape, test.shape, train.max())  # [1257, 64], [360, 64], 3

# %% [raw]
# # BEGIN SOLUTION


# %%
# BEGIN SOLUTION NO PROMPT
spot = torch.arange(64)


def counted(context, x, a):
    """Return log p(level | context) at each position from counts plus a, [64, 4, 4]."""
    counts = torch.full((64, 4, 4), a)
    where = (spot.expand_as(x), context(x), x)
    counts.index_put_(where, torch.tensor(1.0), accumulate=True)
    return (counts / counts.sum(2, keepdim=True)).log()


def cost(context, a):
    """Return the bits of each test pixel under a counted model, [360, 64]."""
    table = counted(context, train, a)
    return -table[spot.expand_as(test), context(test), test] / math.log(2)


by_place = cost(torch.zeros_like, 0.5)
by_above = cost(lambda x: F.pad(x, (8, 0))[:, :64], 0.25)
# END SOLUTION
bits_independent = by_place.sum(1).mean().item()  # SOLUTION
bits_above = by_above.sum(1).mean().item()  # SOLUTION


# %%
# BEGIN SOLUTION NO PROMPT
def train_made(seed, steps=300, width=256):
    """Return weights, biases and masks of a MADE for the digits, drawn row by row."""
    random = torch.Generator().manual_seed(seed)
    degrees = [1 + i % 63 for i in range(width)]
    masks = made_masks(list(range(64)), [degrees], 4)
    weights = [torch.randn(width, 256, generator=random) / 16]
    weights.append(torch.randn(256, width, generator=random) / 160)
    biases = [torch.zeros(width), torch.zeros(256)]
    parameters = [p.requires_grad_() for p in (*weights, *biases)]
    optimizer = torch.optim.Adam(parameters, lr=0.01)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / steps)
        x = train[torch.randint(len(train), (64,), generator=random)]
        loss = -log_prob(made_logits(x, weights, biases, masks), x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [w.detach() for w in weights], [b.detach() for b in biases], masks


net = train_made(seed=0)
log_p = made_logits(test, *net).log_softmax(2)
by_past = -log_p.gather(2, test[..., None])[..., 0] / math.log(2)  # [360, 64]
# END SOLUTION
bits_made = by_past.sum(1).mean().item()  # SOLUTION
bits_by_row = by_past.mean(0).view(8, 8).sum(1).tolist()  # SOLUTION
share = (bits_independent - bits_above) / (bits_independent - bits_made)  # SOLUTION

# %%
# BEGIN SOLUTION NO PROMPT
print(f"independent {bits_independent:.2f}, given the pixel above {bits_above:.2f}, ")
print(f"MADE {bits_made:.2f} bits per image; the pixel above brings {share:.0%} of it")
panels = {"independent": by_place, "given the pixel above": by_above, "MADE": by_past}
fig, axes = plt.subplots(1, 3, figsize=(7, 2.6), layout="constrained")
for ax, (name, bits) in zip(axes, panels.items()):
    mean = bits.mean(0).view(8, 8).numpy()
    shown = ax.imshow(mean, vmin=0, vmax=2, cmap="cividis")
    ax.set_title(f"{name}\n{bits.sum(1).mean():.1f} bits", fontsize=10)
    ax.axis("off")
fig.colorbar(shown, ax=axes, label="bits per pixel")
plt.show()

u = torch.rand(20, 64, generator=torch.Generator().manual_seed(1))
drawn = draw(list(range(64)), *net, u)
pictures = torch.cat([drawn, test[:20]]).view(-1, 1, 8, 8) / 3
image_grid(pictures, columns=10, gap=1, row_labels=["drawn", "", "test", ""])
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


def test_independent_pixels_and_the_order_of_the_three(
    bits_independent,
    bits_above,
    bits_made,
    bits_by_row,
    share,
):
    import numpy as np

    from lvmlib import load
    from lvmlib.homework.checking import close

    x, _, new = (s.x.flatten(1).numpy().astype(int) * 4 // 17 for s in load("digits"))
    p = np.stack([(x == v).sum(0) + 0.5 for v in range(4)]) / (len(x) + 2)  # [4, 64]
    want = -np.log2(p[new, np.arange(64)]).sum(1).mean()
    close(bits_independent, want, "independent pixels, bits per test image", rtol=1e-4)
    assert bits_made < bits_above < bits_independent, "the more is known, the cheaper"
    close(np.shape(bits_by_row), (8,), "one number for each row")
    assert 0 < share < 1, "a share of the gain"


# %%
""" # BEGIN TEST CONFIG
points: 3
hidden: true
"""  # END TEST CONFIG


def test_bits_of_the_three_models(
    bits_independent,
    bits_above,
    bits_made,
    bits_by_row,
    share,
):
    import numpy as np

    from lvmlib import load
    from lvmlib.homework.checking import close

    x, _, new = (s.x.flatten(1).numpy().astype(int) * 4 // 17 for s in load("digits"))
    above = lambda x: np.concatenate([np.zeros_like(x[:, :8]), x[:, :-8]], 1)
    counts = np.full((64, 4, 4), 0.25)
    np.add.at(counts, (np.arange(64), above(x), x), 1)
    p = counts / counts.sum(2, keepdims=True)
    want = -np.log2(p[np.arange(64), above(new), new]).sum(1).mean()
    close(bits_above, want, "given the pixel above, bits per test image", rtol=1e-4)
    # 54.3 to 54.8 bits at 12 seeds, and no row further than 0.2 bits from its mean
    close(bits_made, 54.6, "MADE, bits per test image", rtol=0, atol=1.0)
    total = sum(float(bits) for bits in bits_by_row)
    close(total, bits_made, "the rows add up to the image", rtol=1e-3)
    want = [7.34, 7.16, 7.18, 7.26, 7.3, 6.53, 7.17, 4.66]
    close(bits_by_row, want, "MADE, bits of each row", rtol=0, atol=0.45)
    gains = bits_independent - bits_above, bits_independent - bits_made
    close(share, gains[0] / gains[1], "the share of the gain", rtol=1e-3)


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION
