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
# # Homework 4: Pixel models
#
# You will build the masks of a colour PixelCNN, find out what a dilated one cannot see,
# write the likelihood of a grey level so that it survives in float32, and measure on
# scanned digits how much the pixels *below* tell about a missing one.
#
# **Time:** 4 hours. **Points:** 20. **Needs:** chapter 4; runs in 20 seconds on a CPU.
#
# **How to work.** Replace each `...` by your code. The public check below a question
# tries one small case; hidden tests use other inputs and earn most of the points. Keep
# the names and the arguments of the functions as they are. What you hand in is your own
# code: tested functions use NumPy and PyTorch, not `lvmlib`. Logarithms are natural and
# values are in nats, unless a question asks for bits.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)

# %%
from lvmlib.data import load
from lvmlib.plotting import COLOURS, use_style

use_style()

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: Masks for three colours (3 points)
#
# A colour picture is drawn pixel by pixel in reading order, and at each pixel colour by
# colour: red, then green, then blue. The channels of every layer are divided among the
# colours in equal contiguous parts: of $n$ channels, channel $j$ (counted from 0)
# belongs to colour $\lfloor jC/n \rfloor$, where $C$ is the number of colours and $n$
# is a multiple of $C$. So with $C = 3$ and $n = 6$, channels 0 and 1 are red, 2 and 3
# green, 4 and 5 blue.
#
# Write `colour_mask`, which returns the mask by which the weights of a convolution with
# a `kernel` x `kernel` window are multiplied (`kernel` is odd): a float32 tensor of
# zeros and ones, shape `[outputs, inputs, kernel, kernel]`, as in `nn.Conv2d`.
#
# - Kind `"A"`: an output channel of colour $c$ sees earlier pixels, all colours of
#   them, and at its own pixel the colours *before* $c$.
# - Kind `"B"`: the same, and at its own pixel also colour $c$ itself.

# %% [raw]
# # BEGIN SOLUTION


# %%
def colour_mask(outputs, inputs, kernel, kind, colours=3):
    """Return the mask of a convolution, float32, [outputs, inputs, kernel, kernel]."""
    # BEGIN SOLUTION
    middle = kernel // 2
    mask = torch.zeros(outputs, inputs, kernel, kernel)
    mask[:, :, :middle] = 1  # the rows above
    mask[:, :, middle, :middle] = 1  # to the left, in the pixel's own row
    to = torch.arange(outputs) * colours // outputs  # colour of each output channel
    of = torch.arange(inputs) * colours // inputs
    to = to[:, None]
    mask[:, :, middle, middle] = (of < to if kind == "A" else of <= to).float()
    return mask
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_one_colour_and_the_centre_of_three(colour_mask):
    import numpy as np
    import torch

    from lvmlib.homework.checking import close, own

    own(colour_mask)
    grey = colour_mask(1, 1, 3, "A", 1)
    want = np.array([[[[1, 1, 1], [1, 0, 0], [0, 0, 0]]]], np.float32)
    close(grey, want, "mask A of a grey picture")
    assert isinstance(grey, torch.Tensor), "return a tensor"
    centre = colour_mask(3, 3, 3, "B")[:, :, 1, 1]
    want = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1]], np.float32)
    close(centre, want, "mask B at the centre: rows are outputs, columns inputs")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_masks_follow_the_order_of_drawing(colour_mask):
    import numpy as np

    from lvmlib.homework.checking import close, rng

    draw = rng("colour masks")
    for kind in "AB":
        colours = int(draw.integers(2, 5))
        outputs, inputs = (colours * int(n) for n in draw.permutation([1, 2, 3])[:2])
        kernel = int(draw.choice([3, 5, 7]))
        row, column = np.mgrid[:kernel, :kernel]
        time = (row * kernel + column) * colours  # when red of a place is drawn
        of = np.repeat(np.arange(colours), inputs // colours)
        to = np.repeat(np.arange(colours), outputs // colours)
        when = time[None] + of[:, None, None]  # [inputs, kernel, kernel]
        now = time[kernel // 2, kernel // 2] + to
        now = now[:, None, None, None]
        want = (when < now if kind == "A" else when <= now).astype(np.float32)
        got = colour_mask(outputs, inputs, kernel, kind, colours)
        what = f"mask {kind}, {inputs} to {outputs} channels, {colours} colours"
        close(got, want, what)


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 4

# %% [markdown]
# ## Question 2: What a dilated PixelCNN does not see (4 points)
#
# A convolution with **dilation** $d$ puts its taps $d$ pixels apart: a 3x3 kernel reads
# the places $(r + d\,i,\, c + d\,j)$ with $i, j \in \{-1, 0, 1\}$. With dilations 1, 2,
# 4, ... the reach doubles at every layer at no extra cost. Does a masked stack of this
# kind see everything within its reach?
#
# Let layer $\ell$ of a stack have an odd kernel $k_\ell$ and the dilation $d_\ell$,
# mask A in the first layer and mask B in all others, one colour, and a ReLU after each.
# Output $i$ *sees* input $s$ if it depends on it for some weights, that is, if a path
# of taps leads from the one to the other. Features exist only inside the picture;
# beyond its edges every layer reads zeros, so no path leads through there.
#
# Write `seen`, which finds the set of pixels that the output at `place` sees, without
# gradients: start with the set $\{$`place`$\}$, walk from the last layer to the first,
# and replace the set at each layer by all the places that its members read. Return an
# array of booleans, shape `[size, size]`.

# %% [raw]
# # BEGIN SOLUTION


# %%
def seen(kernels, dilations, size, place):
    """Return what the output at place (row, column) sees, [size, size]."""
    # BEGIN SOLUTION
    now = np.zeros((size, size), bool)
    now[place[0], place[1]] = True
    for layer in reversed(range(len(kernels))):
        half, d, before = kernels[layer] // 2, dilations[layer], np.zeros_like(now)
        for i in range(-half, 1):
            for j in range(-half, half + 1):
                later = i == 0 and (j > 0 or (j == 0 and layer == 0))
                if later:
                    continue
                rows, columns = np.nonzero(now)
                rows, columns = rows + d * i, columns + d * j
                inside = (rows >= 0) & (columns >= 0) & (columns < size)
                before[rows[inside], columns[inside]] = True
        now = before
    return now
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [markdown]
# The next cell draws what the pixel marked by a square sees: grey is seen, tinted is
# drawn earlier but not seen. Before you run it, predict the middle panel: the blind
# spot of chapter 4 is there, of course. What else is missing, and why? The right panel
# has one more layer, without dilation, at the end.


# %%
def show_seen(panels, size=21, place=(15, 10)):
    """One panel for each list of dilations, all with 3x3 kernels."""
    _, axes = plt.subplots(1, len(panels), figsize=(7, 2.6))
    earlier = np.arange(size * size).reshape(size, size) < place[0] * size + place[1]
    for ax, dilations in zip(axes, panels):
        field = seen([3] * len(dilations), dilations, size, place)
        picture = np.ones((size, size, 3))
        picture[earlier] = (0.94, 0.75, 0.60)
        picture[field] = (0.35, 0.35, 0.35)
        ax.imshow(picture)
        ax.plot(place[1], place[0], "s", color=COLOURS["blue"], ms=4)
        ax.set(xticks=[], yticks=[])
        ax.set_title("dilations " + ", ".join(map(str, dilations)), fontsize=9)
        ax.set_xlabel(f"{int(field.sum())} pixels seen", fontsize=9)
        ax.grid(visible=False)
    plt.show()


if seen([3], [1], 5, (2, 2)) is not None:
    show_seen([[1, 1, 1], [1, 2, 4], [1, 2, 4, 1]])

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_one_layer_and_two(seen):
    import numpy as np

    from lvmlib.homework.checking import close, own

    own(seen)
    want = np.zeros((5, 5), bool)
    want[1, 1:4], want[2, 1] = True, True
    close(seen([3], [1], 5, (2, 2)), want, "one layer, mask A")
    want[0], want[1], want[2, 0] = True, [1, 1, 1, 1, 0], True
    close(seen([3, 3], [1, 1], 5, (2, 2)), want, "two layers, mask A and then mask B")


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_larger_kernels(seen):
    import numpy as np

    from lvmlib.homework.checking import close, rng

    draw = rng("kernels")
    kernels = [int(k) for k in draw.choice([3, 5, 7], 3)]
    size, place = 15, (int(draw.integers(8, 12)), int(draw.integers(4, 11)))
    reached = {place}
    for layer in (2, 1, 0):
        half = kernels[layer] // 2
        span = range(-half, half + 1)
        taps = [(i, j) for i in span for j in span if (i, j) < (0, 1 if layer else 0)]
        reached = {(r + i, c + j) for r, c in reached for i, j in taps}
        reached = {(r, c) for r, c in reached if r >= 0 and 0 <= c < size}
    want = np.zeros((size, size), bool)
    for r, c in reached:
        want[r, c] = True
    got = seen(kernels, [1, 1, 1], size, place)
    close(got, want, f"kernels {kernels}, no dilation")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_dilated_stacks_by_gradient(seen):
    import torch
    import torch.nn.functional as F

    from lvmlib.homework.checking import close, rng

    draw = rng("dilations")
    for dilations in ([1, 2, 4], [int(d) for d in draw.integers(2, 4, 3)]):
        kernels, size = [int(k) for k in draw.permutation([3, 3, 5])], 16
        place = int(draw.integers(9, 16)), int(draw.integers(0, 16))
        x = torch.ones(1, 1, size, size, dtype=torch.float64, requires_grad=True)
        h = x
        for layer, (k, d) in enumerate(zip(kernels, dilations)):
            order = torch.arange(k * k).view(1, 1, k, k)
            weight = (order < k * k // 2 + (layer > 0)).double()  # 1 or masked
            h = F.conv2d(h, weight, padding=d * (k // 2), dilation=d)
        (gradient,) = torch.autograd.grad(h[0, 0, place[0], place[1]], x)
        got = seen(kernels, dilations, size, place)
        what = f"kernels {kernels}, dilations {dilations}, place {place}"
        close(got, gradient[0, 0].numpy() > 0, what)


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 4

# %% [markdown]
# ## Question 3: The likelihood of a grey level (4 points)
#
# A pixel has $K$ levels $k = 0, \dots, K - 1$, and a network gives a mixture of $M$
# discretized logistics for it. With $F_m(t) = \sigma((t - \mu_m) / s_m)$,
#
# $$ P(k) = \sum_{m=1}^M \pi_m \left[ F_m(k + \tfrac12) - F_m(k - \tfrac12) \right] , $$
#
# where the lowest level takes all that lies below it and the highest all that lies
# above. Here $\mu_m$ and $s_m$ are in units of levels, and $\pi$ is the softmax of the
# logits.
#
# Write `mixture_log_prob`, which returns $\log P(k)$ for a batch. Levels `k` are floats
# of any shape `[...]`; `logits`, `loc` ($\mu$) and `log_scale` ($\log s$) have the
# shape `[..., M]`; the result has the shape `[...]`. Everything is float32, and it must
# be right there also far from the centre, where the two sigmoids round to the same
# number, for narrow components ($s = 0.01$) as for wide ones. Gradients must be finite
# as well, since you will train with it: mind that `torch.where` passes a gradient of
# NaN on from the branch that is *not* taken. For $a > b$ you may use
#
# $$ \log\big(\sigma(a) - \sigma(b)\big) =
# \log \sigma(a) + \log \sigma(-b) + \log(1 - e^{b - a}) . $$

# %% [raw]
# # BEGIN SOLUTION


# %%
def mixture_log_prob(k, logits, loc, log_scale, levels):
    """Return log P(k), nats, shape [...], from parameters of shape [..., M]."""
    # BEGIN SOLUTION
    k, scale = k[..., None], log_scale.exp()
    above, below = (k + 0.5 - loc) / scale, (k - 0.5 - loc) / scale  # ends of the bin
    width = torch.log(-torch.expm1(-1 / scale))
    inner = F.logsigmoid(above) + F.logsigmoid(-below) + width
    each = torch.where(k == 0, F.logsigmoid(above), inner)
    each = torch.where(k == levels - 1, F.logsigmoid(-below), each)
    return torch.logsumexp(logits.log_softmax(-1) + each, -1)
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_one_component_at_an_edge_and_inside(mixture_log_prob):
    import math

    import torch

    from lvmlib.homework.checking import close, own

    own(mixture_log_prob)
    zero = torch.zeros(3, 1)
    got = mixture_log_prob(torch.tensor([0.0, 1.0, 2.0]), zero, zero + 0.5, zero, 3)
    F = [1 / (1 + math.exp(-t)) for t in (0, 1)]  # at the two inner ends of bins
    want = torch.tensor([F[0], F[1] - F[0], 1 - F[1]]).log()
    close(got, want, "three levels, one component with mean 1/2 and scale 1")


# %%
""" # BEGIN TEST CONFIG
points: 1
hidden: true
"""  # END TEST CONFIG


def test_mixtures_sum_to_one(mixture_log_prob):
    import numpy as np
    import torch

    from lvmlib.homework.checking import as_array, close, rng

    draw = rng("mixtures")
    levels, M = int(draw.integers(5, 40)), 4
    tensor = lambda values: torch.tensor(values, dtype=torch.float32)
    logits, loc = tensor(draw.normal(size=M)), tensor(draw.uniform(-3, levels + 2, M))
    log_scale = tensor(draw.uniform(-1, 2, M))
    k = torch.arange(levels).float()
    many = [t.expand(levels, M) for t in (logits, loc, log_scale)]
    got = mixture_log_prob(k, *many, levels)
    total = np.exp(as_array(got, "log P").astype(float)).sum()
    assert abs(total - 1) < 1e-4, "sum of P over all levels"
    edges = np.arange(levels + 1) - 0.5
    edges[[0, -1]] = -np.inf, np.inf
    t = (edges[:, None] - loc.numpy().astype(float)) / np.exp(log_scale.numpy())
    F = 1 / (1 + np.exp(-t.clip(-500, 500)))
    weights = logits.double().softmax(0).numpy()
    P = (np.diff(F, axis=0) * weights).sum(1)
    got = np.exp(as_array(got, "log P"))
    close(got, P.astype(np.float32), "P(k) of a mixture of four")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_far_from_the_centre_in_float32(mixture_log_prob):
    import numpy as np
    import torch

    from lvmlib.homework.checking import close, rng

    draw = rng("tails")
    scale = 10 ** draw.uniform(-2, 2.5, (64, 1))
    loc = draw.uniform(20, 230, (64, 1)).astype(np.float32)
    k = draw.integers(1, 255, 64)
    scale = np.exp(np.log(scale).astype(np.float32).astype(float))
    # By symmetry the level may lie below the centre, where sigmoids do not round to 1
    distance = np.abs(k[:, None] - loc.astype(float))
    lower, upper = (-distance - 0.5) / scale, (-distance + 0.5) / scale
    log_F = lambda t: -np.logaddexp(0, -t)
    tail = log_F(upper) + np.log1p(-np.exp(log_F(lower) - log_F(upper)))
    parameters = [torch.zeros(64, 1), torch.tensor(loc)]
    parameters.append(torch.tensor(np.log(scale), dtype=torch.float32))
    got = mixture_log_prob(torch.tensor(k).float(), *parameters, 256)
    what = "log P of inner levels far from the centre, in float32"
    close(got, tail[:, 0].astype(np.float32), what, rtol=2e-3, atol=2e-3)


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 3

# %% [markdown]
# ## Question 4: How hard does a level pull? (3 points)
#
# Training moves the mean of a component towards the level that occurred. How fast? Let
# there be a single component, and let $a = (k + \frac12 - \mu)/s$ and
# $b = (k - \frac12 - \mu)/s$ be the ends of the bin of level $k$. Derive
#
# $$ \frac{\partial \log P(k)}{\partial \mu} $$
#
# for an inner level, for $k = 0$ and for $k = K - 1$. From
# $\sigma' = \sigma (1 - \sigma)$ the formula for inner levels collapses to one *without
# any division by a difference of sigmoids*, so that it is exact at any distance. (What
# does it tend to far from the centre? Compare it with the derivative of the logarithm
# of a Gaussian.)
#
# Write it as `pull`, with NumPy: `k` (integers) and `loc` are arrays of the same shape,
# `scale` and `levels` are numbers.

# %% [raw]
# # BEGIN SOLUTION


# %%
def pull(k, loc, scale, levels):
    """Return the derivative of log P(k) by the mean, an array of the shape of k."""
    # BEGIN SOLUTION
    sigmoid = lambda t: 0.5 * (1 + np.tanh(t / 2))
    upper = sigmoid((k + 0.5 - loc) / scale)
    lower = sigmoid((k - 0.5 - loc) / scale)
    upper = np.where(k == levels - 1, 1.0, upper)
    lower = np.where(k == 0, 0.0, lower)
    # (sigma'(a) - sigma'(b)) / (sigma(a) - sigma(b)) = 1 - sigma(a) - sigma(b)
    return (upper + lower - 1) / scale
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_signs_and_the_middle(pull):
    import numpy as np

    from lvmlib.homework.checking import close, own

    own(pull)
    got = pull(np.array([1, 2, 3]), np.array([2.0, 2.0, 2.0]), 0.7, 5)
    close(got[1], 0.0, "a level at the mean does not move it")
    assert got[0] < 0 < got[2], "a lower level pulls the mean down, a higher one up"


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_pull_by_differences_and_far_away(pull):
    import numpy as np

    from lvmlib.homework.checking import close, rng

    draw = rng("pull")
    levels, scale = int(draw.integers(8, 20)), draw.uniform(0.4, 2.5)
    k = np.append([0, levels - 1] * 2, draw.integers(1, levels - 1, 6))
    loc = k + scale * draw.uniform(-3, 3, 10)  # no further: F is rounded

    def log_P(loc):
        F = lambda t: 1 / (1 + np.exp(-(t - loc) / scale))
        top = np.where(k == levels - 1, 1, F(k + 0.5))
        return np.log(top - np.where(k == 0, 0, F(k - 0.5)))

    step = 1e-5
    want = (log_P(loc + step) - log_P(loc - step)) / (2 * step)
    close(pull(k, loc, scale, levels), want, "edges and inner levels", 1e-4, 1e-6)
    far = pull(np.array([200, 30]), np.array([20.0, 210.0]), scale, 256)
    close(far, np.array([1, -1]) / scale, "inner levels far from the mean", 1e-6)


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 3

# %% [markdown]
# ## Question 5: A hole in a picture (3 points)
#
# A picture has $D$ binary pixels in the order of drawing, and its distribution is small
# enough to be listed: an array `p` of shape `[2] * D` (that is, `[2, 2, ..., 2]`), with
# `p[x_1, ..., x_D]` $= p(x)$. Some pixels are missing. `known` is a list of $D$
# entries: 0 or 1 for a known pixel, `None` for a missing one.
#
# Two ways to fill the hole:
#
# - the exact one, a draw from $p(x_M \mid x_K)$, with $M$ for the missing places and
#   $K$ for the known ones;
# - the walk: go through the pixels in order, keep what is known, and draw each missing
#   pixel from $p(x_t \mid x_{<t})$. It yields $x_M$ with the probability
#   $\prod_{t \in M} p(x_t \mid x_{<t})$.
#
# 1. Write `fill_hole`, which returns the two distributions of $x_M$ as two arrays of
#    shape `[2] * m`, where $m$ is the number of missing pixels; axes in the order of
#    drawing.
# 2. Write `hole_gap`, which returns the expected divergence
#    $\mathbb{E}_{p(x_K)} \mathrm{KL}\big(p(x_M \mid x_K) \,\|\, \text{walk}\big)$ in
#    nats, for a list of missing places, counted from 0.
#
# All entries of `p` are positive.

# %% [raw]
# # BEGIN SOLUTION


# %%
def fill_hole(p, known):
    """Return the distributions of the missing pixels, exact and by the walk."""
    # BEGIN SOLUTION
    at_known = tuple(slice(None) if value is None else value for value in known)
    exact = p[at_known] / p[at_known].sum()
    walk = np.ones_like(p)
    for t, value in enumerate(known):
        if value is None:
            up_to = p.sum(tuple(range(t + 1, p.ndim)), keepdims=True)  # p(x_1 ... x_t)
            walk = walk * up_to / up_to.sum(t, keepdims=True)
    return exact, walk[at_known]
    # END SOLUTION


def hole_gap(p, missing):
    """Return the expected divergence from the exact way to the walk, in nats."""
    # BEGIN SOLUTION
    total, places = 0.0, [t for t in range(p.ndim) if t not in missing]
    for values in np.ndindex(*[2] * len(places)):
        known = [None] * p.ndim
        for t, value in zip(places, values):
            known[t] = value
        exact, walk = fill_hole(p, known)
        weight = p[tuple(slice(None) if v is None else v for v in known)].sum()
        total += weight * (exact * np.log(exact / walk)).sum()
    return total
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_two_pixels(fill_hole, hole_gap):
    import numpy as np

    from lvmlib.homework.checking import close, own

    own(fill_hole, hole_gap)
    p = np.array([[0.4, 0.1], [0.1, 0.4]])
    exact, walk = fill_hole(p, [None, 1])
    close(exact, np.array([0.2, 0.8]), "the first of two is missing, exact")
    close(walk, np.array([0.5, 0.5]), "the walk has not met the second pixel yet")
    close(hole_gap(p, [1]), 0.0, "for an ending the two ways agree")


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_holes_by_enumeration(fill_hole, hole_gap):
    import itertools
    import math

    from lvmlib.homework.checking import close, rng

    draw = rng("holes")
    D = 5
    p = draw.gamma(0.5, size=[2] * D) + 0.02
    p /= p.sum()
    missing = sorted(int(t) for t in draw.permutation(D - 1)[:2])
    pictures = list(itertools.product((0, 1), repeat=D))
    mass = lambda fits: sum(p[x] for x in pictures if fits(x))

    def both(x):
        """p(x_M | x_K) and the walk's probability, for the missing pixels of x."""
        fits = lambda y: all(y[t] == x[t] for t in range(D) if t not in missing)
        walk = 1.0
        for t in missing:
            upto = mass(lambda y, t=t: y[: t + 1] == x[: t + 1])
            walk *= upto / mass(lambda y, t=t: y[:t] == x[:t])
        return p[x] / mass(fits), walk

    gap = sum(p[x] * math.log(e / w) for x in pictures for e, w in [both(x)])
    known = [None if t in missing else int(draw.integers(2)) for t in range(D)]
    exact, walk = fill_hole(p, known)
    for values in itertools.product((0, 1), repeat=2):
        filled = iter(values)
        x = tuple(next(filled) if v is None else v for v in known)
        want = both(x)
        close(exact[values], want[0], f"exact, missing {missing} of {D}")
        close(walk[values], want[1], f"walk, missing {missing} of {D}")
    close(hole_gap(p, missing), gap, f"expected divergence, missing {missing}")


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q6
# points: 3

# %% [markdown]
# ## Question 6: What do the pixels below tell? (3 points)
#
# Now on real pictures: scikit-learn's scanned digits, 8x8 pixels with 17 levels, from 0
# to 16. The next two cells are given. They build a small PixelCNN from *your* masks and
# *your* likelihood, and train it for some seconds. (Four logistics for each pixel.
# The network reaches four rows up, less the blind spot, and is told nothing else.)

# %%
digits, _, digits_test = (split.x.float() for split in load("digits"))  # [n, 1, 8, 8]


class MaskedConv(nn.Conv2d):
    """A convolution whose weights are multiplied by your mask."""

    def __init__(self, inputs, outputs, kernel, kind):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.register_buffer("mask", colour_mask(outputs, inputs, kernel, kind, 1))

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class GreyPixelCNN(nn.Module):
    """Conditionals of all pixels of grey digits [B, 1, 8, 8]."""

    def __init__(self, channels=24, components=4):
        super().__init__()
        self.first = MaskedConv(1, channels, 5, "A")
        self.more = nn.ModuleList(MaskedConv(channels, channels, 3, "B") for _ in "12")
        self.last = nn.Conv2d(channels, 3 * components, 1)
        self.centres = torch.linspace(0, 16, components)

    def each(self, x):
        """log p(x_i | x_<i) of every pixel: [B, 8, 8], nats."""
        h = self.first(x / 8 - 1)
        for layer in self.more:
            h = h + layer(h.relu())
        logits, loc, log_scale = self.last(h.relu()).movedim(1, -1).chunk(3, -1)
        loc, log_scale = self.centres + 8 * loc, log_scale.clamp(-4, 4)
        return mixture_log_prob(x[:, 0], logits, loc, log_scale, 17)


# %%
def train(steps=300, batch=64, rate=5e-3):
    """A GreyPixelCNN after maximum likelihood with Adam."""
    torch.manual_seed(0)
    net = GreyPixelCNN()
    optimizer = torch.optim.Adam(net.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = digits[torch.randint(len(digits), (batch,))]
        loss = -net.each(x).sum((1, 2)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net


net = train()

# %% [markdown]
# Suppose that pixel $i = (4, 4)$ (counted from 0) of a test digit is missing and all
# others are known. Two predictions of its level:
#
# - *looking back*, $p(x_i \mid x_{<i})$;
# - *told all*, $p(x_i \mid x_{\ne i})$, where later pixels count as well. The network
#   was not trained for it, and still it knows: by Bayes' rule this is proportional to
#   $p(x)$. So try all 17 levels in the place of the pixel, compute $\log p$ of each of
#   the 17 whole pictures, and normalise.
#
# Compute for all 360 test digits minus the logarithm *to base 2* of the probability of
# the true level, and assign (plain floats or tensors with one number):
#
# - `test_bpd`: mean bits per dimension of the network on whole test digits;
# - `bits_back`: mean bits of the missing pixel, looking back;
# - `bits_all`: mean bits of the missing pixel, told all;
# - `gain_error`: the standard error of the mean of the 360 paired differences.

# %% [raw]
# # BEGIN SOLUTION


# %%
# BEGIN SOLUTION
@torch.no_grad()
def missing_pixel(net, x, r, c):
    """Bits of pixel (r, c) of each picture, looking back and told all: [n], [n]."""
    n = len(x)
    tries = x[:, None].repeat(1, 17, 1, 1, 1)  # [n, 17, 1, 8, 8]
    tries[:, :, 0, r, c] = torch.arange(17.0)
    each = net.each(tries.flatten(0, 1)).view(n, 17, 8, 8)
    true = x[:, 0, r, c].long()[:, None]
    back = each[:, :, r, c].gather(1, true)[:, 0]
    whole = each.sum((2, 3)).log_softmax(1).gather(1, true)[:, 0]
    return -back / math.log(2), -whole / math.log(2)


with torch.no_grad():
    log_p = net.each(digits_test).sum((1, 2))
back, told = missing_pixel(net, digits_test, 4, 4)
# END SOLUTION
test_bpd = (-log_p.mean() / (64 * math.log(2))).item()  # SOLUTION
bits_back = back.mean().item()  # SOLUTION
bits_all = told.mean().item()  # SOLUTION
gain_error = ((back - told).std() / len(back) ** 0.5).item()  # SOLUTION

# %% [raw]
# # END SOLUTION

# %%
if ... not in (test_bpd, bits_back, bits_all, gain_error):
    print(f"{test_bpd:.2f} bits/dim in all; the missing pixel")
    print(f"looking back {bits_back:.2f} bits, told all {bits_all:.2f}: ", end="")
    print(f"{bits_back - bits_all:.2f} +- {gain_error:.2f} less")

# %% [markdown]
# A conclusion for yourself: what does the later half of the picture save, in bits and
# as a share? Why does $p(x_i \mid x_{\ne i})$ cost 17 times as much as the other
# prediction, and which model of chapter 4 gets it in one pass?

# %% [raw]
# # BEGIN TESTS

# %%
""" # BEGIN TEST CONFIG
points: 1
"""  # END TEST CONFIG


def test_the_network_has_learned(test_bpd):
    from lvmlib.homework.checking import as_array

    # 1.95 to 2.05 with 250 to 400 steps, 16 or 24 channels, four seeds each
    # levels drawn uniformly: log2(17) = 4.09; one histogram for each pixel: 2.42
    value = as_array(test_bpd, "test_bpd").item()
    assert value < 2.42, "each pixel by itself already costs 2.42 bits; is it bits/dim?"
    assert value > 1.75, "too few bits: over how many dimensions, and to which base?"


# %%
""" # BEGIN TEST CONFIG
points: 2
hidden: true
"""  # END TEST CONFIG


def test_what_the_missing_pixel_costs(bits_back, bits_all, gain_error):
    from lvmlib.homework.checking import as_array

    values = (bits_back, bits_all, gain_error)
    back, told, error = (as_array(v, "bits of the pixel").item() for v in values)
    # Twelve trainings (250 to 400 steps, 16 or 24 channels, four seeds): looking back
    # 2.70 to 2.96, told all 2.26 to 2.48, gain 0.39 to 0.49, error 0.044 to 0.056;
    # an error of the unpaired difference would be 0.12, nats 1.9 and 1.6
    assert 2.5 < back < 3.15, "looking back: mean bits of pixel (4, 4) over 360 digits"
    assert 2.05 < told < 2.65, "told all: 17 whole pictures, normalised over the level"
    assert 0.3 < back - told < 0.6, "the difference of the two means"
    assert 0.03 < error < 0.075, "standard error of the mean of paired differences"


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION
