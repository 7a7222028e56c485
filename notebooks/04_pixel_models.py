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
# (ch-pixel-models)=
# # Pixel models
#
# *Draw a picture one pixel at a time, row by row, and ask a network each time: given all that is there, what comes
# next? Done with care this gives an exact likelihood, sharp samples, and sampling that costs much less than it seems to.*
#
# A **pixel model** is an autoregressive model of images. It draws one pixel after another, each row from left to right, and before each pixel a convolutional network gives the probability of every value, conditioned on all pixels drawn so far. {numref}`fig-pix-idea` shows one digit on its way.

# %% tags=["hide-input"]
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

DEVICE = "cuda" if torch.cuda.is_available() else None  # where fit trains
SCALE = 10 if DEVICE else 1  # multiplies training runs; stored outputs are those of 1
if DEVICE:
    print(f"a GPU: training runs take {SCALE} times as many steps as in the book")

# %% tags=["hide-input"]
from lvmlib.autoregressive import (
    FVSBN,
    GatedPixelCNN,
    HierarchicalPixelModel,
    MaskedConv2d,
    PixelCNN,
    PixelCNNpp,
    PixelRNN,
    PixelSNAIL,
)
from lvmlib.autoregressive.families import family_of
from lvmlib.autoregressive.pixel.pixel_head import PixelHead
from lvmlib.autoregressive.pixel.shifted_conv import ShiftedConv2d
from lvmlib.base import bits_per_dim, seed_everything
from lvmlib.checkpoints import load_checkpoint
from lvmlib.data import Data, load
from lvmlib.distributions import DiscretizedLogistic, DiscretizedLogisticMixture
from lvmlib.experiments import binary_mnist, conditional_mnist, emoji, grey_digits
from lvmlib.experiments.records import benchmark, published, record
from lvmlib.networks import MLP
from lvmlib.plotting import COLOURS, image_grid, use_style
from lvmlib.training import cosine, fit

use_style()


# %% mystnb={"figure": {"caption": "A digit on its way through a pixel model. Tinted: not drawn yet. The square marks the next pixel, and the title is the probability of ink that a trained Gated PixelCNN gives there, having seen everything before it. In the third picture the stroke must go on.", "name": "fig-pix-idea"}, "image": {"alt": "Four panels of the same binary digit 7, known down to different rows, the rest tinted. A square marks the next pixel in each; the titles give probabilities of ink."}} tags=["hide-input"] tolerance={"figure": 0.05}
def trained(name, script=binary_mnist, checkpoint="{}_mnist"):
    """A model with its shipped weights, and the record of its training."""
    model = script.MODELS[name]()
    return model, load_checkpoint(model, checkpoint.format(name))


gated, _ = trained("gated_pixelcnn")
binary_test = load("mnist", binarize="stochastic", valid=0)[2].fixed(seed=0)
digit = binary_test.x[:1]
with torch.no_grad():
    ink = gated.conditionals(digit).base_dist.probs[0, 0]  # p(x_i = 1 | x_<i)
fig, axes = plt.subplots(1, 4, figsize=(6, 1.8))
for ax, (r, c) in zip(axes, ((5, 14), (8, 12), (14, 18), (24, 12))):
    picture = 1 - digit[0].repeat(3, 1, 1).permute(1, 2, 0)  # ink is dark
    picture[r, c:] = picture[r + 1 :] = torch.tensor([0.94, 0.85, 0.75])
    ax.imshow(picture, interpolation="nearest")
    ax.plot(c, r, "s", color=COLOURS["blue"], ms=4)
    ax.set_title(f"p(ink) = {ink[r, c]:.2f}", fontsize=11)
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
plt.show()


# %% [markdown]
# (sec-pix-next)=
# With $x_{<i}$ for all pixels before the $i$-th in this order, the **raster scan**, the chain rule ({prf:ref}`thm-ar-chain`) says
#
# $$ \log p(x) = \sum_{i=1}^{D} \log p(x_i \mid x_{<i}) . $$ (eq-pix-chain)
#
# The goal is to find parameters $\theta$ that maximise the mean of $\log p_\theta(x)$ over data, and to draw from $p_\theta$. Each factor is a small classification problem, and whatever the network answers, the product is a distribution with an exact likelihood. This much holds for any sequence. But a picture has two dimensions: a pixel depends most on its neighbours, and in the sequence the neighbour above lies a whole row back. So the networks of this chapter are convolutions over the plane, with the same weights everywhere.
#
# **What you will be able to do**
#
# - write, train and sample a PixelCNN, a Gated PixelCNN and a small PixelCNN++ of your own;
# - say what a PixelCNN cannot see, why two stacks of layers mend it, and check both by gradients;
# - choose between recurrence, convolution and attention over pixels, by reach, work and likelihood;
# - predict grey levels and colours by discretized logistics, and say when these beat a softmax;
# - condition on a class, a small picture or part of a picture.
#
# **Needs.** The chain rule of probability and masks for sequences ({doc}`chapter 3 <03_autoregressive_models>`), entropy and cross-entropy ({doc}`chapter 1 <01_information_theory>`), convolutions.
#
# **Time.** About four hours on the main path, an hour and a half of them for Part 1, which can stand alone; seven with exercises and the stretches marked *Optional*. The code runs in about a minute and a half on one core. Models that took longer come as checkpoints or records, with the script that made them.
#
# (sec-pix-build)=
# ## Part 1. Build: how does a convolution become a distribution?
#
# Everything that we train in this chapter ourselves is small. Most of it learns the *small digits* of {doc}`chapter 3 <03_autoregressive_models>`: MNIST averaged down to 14x14 pixels and made black or white by a threshold.


# %%
def shrunk(split):
    """Digits of 28x28 as 14x14 pixels of 0 and 1: are 2x2 means above one half?"""
    return Data((F.avg_pool2d(split.x.float(), 2) > 127.5).float(), split.y, split.name)


def beside_data(draws, log_p, data, log_p_data):
    """Prints share of ink and mean cost under the model, of its draws and of data."""
    print(
        f"{len(draws)} draws: {draws.mean():.1%} ink, {-log_p.mean():.1f} nats; ",
        end="",
    )
    print(f"data: {data.mean():.1%} ink, {-log_p_data.mean():.1f} nats")


mnist, _, mnist_test = load("mnist")
small, small_test = shrunk(mnist), shrunk(mnist_test)
print(f"training: {small}")
print(f"196 fair coins cost {196 * math.log(2):.2f} nats")

# %% [markdown]
# (sec-pix-masks)=
# ### Masks: a convolution that does not look ahead
#
# A convolution with a 3x3 kernel computes the features of a pixel from the pixel and its eight neighbours. Four of these, and the
# pixel itself, are still unknown when the pixel is to be drawn. So set their weights to zero: multiply the kernel by
# a mask, which makes it a {term}`masked convolution`. There are two {cite:p}`vandenoord2016`. **Mask A** hides the pixel itself and all that follow. **Mask B** hides only what follows:
# from the second layer on, the features at a pixel have been computed from earlier pixels alone, so they may be used. With reading order as the degree, these are the types A and B of {numref}`tab-ar-masks`; they differ in the centre tap only ({numref}`fig-pix-masks`).

# %% mystnb={"figure": {"caption": "The two masks of a 3x3 kernel. The square marks the pixel whose features are computed; blue taps are kept, white ones are set to 0. Mask A leaves the pixel itself out, mask B does not.", "name": "fig-pix-masks"}, "image": {"alt": "Two grids of 3 by 3 cells. In both the upper row and the left neighbour are blue and the rest is white, but in the right one, mask B, the centre is blue as well."}} tags=["hide-input", "photo"]
fig, axes = plt.subplots(1, 2, figsize=(3.6, 1.7))
for ax, kind in zip(axes, "AB"):
    taps = torch.tensor([[1, 1, 1], [1, int(kind == "B"), 0], [0, 0, 0]])
    ax.imshow(taps, cmap="Blues", vmax=1.6)
    ax.plot(1, 1, "s", color=COLOURS["vermilion"], ms=9)
    ax.hlines([0.5, 1.5], -0.5, 2.5, color=COLOURS["black"], lw=0.8)
    ax.vlines([0.5, 1.5], -0.5, 2.5, color=COLOURS["black"], lw=0.8)
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"mask {kind}", fontsize=11)
    ax.grid(visible=False)
plt.show()


# %%
class MaskedConv(nn.Conv2d):
    """A convolution that sees earlier pixels, with kind "B" also the pixel itself."""

    def __init__(self, inputs, outputs, kernel, kind):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        mask = torch.ones(kernel, kernel)
        # right of the centre in the pixel's own row; with mask A the centre too
        mask[kernel // 2, kernel // 2 + (kind == "B") :] = 0
        mask[kernel // 2 + 1 :] = 0  # the rows below
        self.register_buffer("mask", mask)

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


def pixelcnn(channels, layers):
    """The smallest PixelCNN: log-odds of every pixel from a picture [B, 1, H, W]."""
    parts = [MaskedConv(1, channels, 3, "A")]
    for _ in range(layers - 1):
        parts += [nn.ReLU(), MaskedConv(channels, channels, 3, "B")]
    return nn.Sequential(*parts, nn.ReLU(), nn.Conv2d(channels, 1, 1))


# %% [markdown]
# The weights stay as they are and the mask is applied each time they are used. Is the result a distribution?
#
# :::{prf:proposition} Masked convolutions obey the order
# :label: thm-pix-masks
# Let the first layer be a convolution with mask A, and let all others be convolutions with mask B or act on each pixel alone; residual connections may lead
# around these others, not around the first. Then the output at a pixel depends only on pixels before it in reading order. If it is taken as the
# log-odds $\ell_i$ of that pixel, $p(x) = \prod_i \sigma(\ell_i)^{x_i} (1 - \sigma(\ell_i))^{1 - x_i}$ sums to 1 over all pictures, whatever the weights.
# :::
#
# :::{prf:proof}
# Write $s \prec i$ for "$s$ comes before $i$". By induction over the layers the features at $i$ depend only on pixels $s \prec i$. For the first layer
# this is what mask A says. A later layer with mask B computes features at $i$ from features at places $t$ with $t \prec i$ or $t = i$. Those depend on pixels $s \prec t$,
# and so $s \prec i$. Acting on a pixel alone, or adding the features at $i$ of two such layers, changes nothing. So each factor is a distribution of $x_i$ whose parameter is a function of $x_{<i}$. Sum over the last pixel first: only the last
# factor contains it, and it sums to 1; then over the last but one; and so on.
# :::
#
# The check computes all $196 \times 196$ derivatives, and adds up the probabilities of all 512 pictures of 3x3 pixels. Then it makes a common mistake, mask B in the first layer: every pixel sees its own value, the loss can fall to zero, and nothing has been modelled.


# %% tags=["check:thm-pix-masks"]
def derivatives(function, shape):
    """Derivatives [D, D] of all log-odds: entry (i, s) for output i and pixel s."""
    x = torch.rand(shape, dtype=torch.float64)
    D = x.numel()
    outputs = lambda x: function(x[None]).flatten()
    return torch.autograd.functional.jacobian(outputs, x).view(D, D)


torch.manual_seed(0)
net = pixelcnn(channels=8, layers=4).double()
J = derivatives(net, (1, 14, 14))
leak = J.triu().abs().max()
print(f"largest derivative with respect to a pixel not drawn before: {leak:.1f}")
every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 9).view(-1, 1, 3, 3)
log_odds = net(every)  # of all 512 pictures of 3x3 pixels
log_prob = (every * log_odds - F.softplus(log_odds)).flatten(1).sum(1)
print(f"sum over all {len(every)} pictures of 3x3 pixels: {log_prob.exp().sum():.12f}")
assert leak == 0 and J.tril(-1).abs().max() > 0
assert abs(log_prob.exp().sum() - 1) < 1e-12
net[0].mask[1, 1] = 1  # mask B in the first layer
itself = derivatives(net, (1, 14, 14)).diag().count_nonzero()
print(f"with mask B first, {itself} of 196 log-odds depend on their own pixel")


# %% [markdown]
# Training is maximum likelihood. Because $x$ is known, all 196 conditionals come out of *one* pass, each of them computed from the true earlier pixels (*teacher forcing*).


# %%
def nll(net, x):
    """Minus log p(x), nats: [B]."""
    log_odds = net(x)
    return (F.softplus(log_odds) - x * log_odds).flatten(1).sum(1)


def train(net, pictures, loss=nll, steps=300 * SCALE, rate=1e-2):
    """Adam on random batches of 64, with a learning rate that falls along a cosine."""
    net.to(DEVICE)
    optimiser = torch.optim.Adam(net.parameters(), rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x = pictures[torch.randint(len(pictures), (64,))].to(DEVICE)
        optimiser.zero_grad()
        loss(net, x).mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        falling.step()
    return net.cpu()


# %% tolerance={"rtol": 0.02}
seed_everything(0)
net = pixelcnn(channels=16, layers=4)
untrained = nll(net, small_test.x[:1000]).mean()
print(f"before training: {untrained:.2f} nats per digit")
train(net, small.x)
with torch.no_grad():
    some = small_test.x[:2000]
    test_cost = {"one stack, ReLUs": nll(net, some)}
print(f"after {300 * SCALE} steps: {test_cost['one stack, ReLUs'].mean():.2f} nats")


# %% [markdown]
# Drawing has to follow the order: compute the log-odds of the first pixel, draw it, compute those of the second. The line below this figure, as below similar ones, compares draws with data: the share of ink, and the mean cost under the model, $-\log p(x)$. The mean cost of its own draws is the entropy of the model, that of data its cross-entropy; for the true distribution the two are equal.


# %%
@torch.no_grad()
def draw(net, u):
    """Pictures [n, 1, H, W] from uniform numbers, one pass for every pixel."""
    x = torch.zeros_like(u)
    for r in range(u.shape[2]):
        for c in range(u.shape[3]):
            logits = net(x)[:, 0, r, c]  # all others are thrown away
            x[:, 0, r, c] = (u[:, 0, r, c] < logits.sigmoid()).float()
    return x


u = torch.rand(12, 1, 14, 14, generator=torch.Generator().manual_seed(0))
samples = draw(net, u)

# %% mystnb={"figure": {"caption": "Above: digits of 14x14 binary pixels. Below: draws from the PixelCNN of the cell above after a few seconds of training. Strokes are sharp and locally right; what they add up to is seldom a digit.", "name": "fig-pix-first"}, "image": {"alt": "Two rows of twelve small binary pictures: digits above; below, sharp strokes and loops, one or two of which could be taken for digits."}} tolerance={"draws": ["row 2"], "rtol": 0.2}
labels = ["data", "draws"]
image_grid(torch.cat([small_test.x[:12], samples]), columns=12, row_labels=labels)
plt.show()
log_p_test = -test_cost["one stack, ReLUs"]
beside_data(samples, -nll(net, samples), small_test.x[:2000], log_p_test)

# %% [markdown]
# The draws are sharp, neither speckled like independent pixels nor blurred like a mean, because each pixel was drawn given those before it. The masked convolution of `lvmlib` is the same, but does not store the rows that the mask hides altogether, a third of a 3x3 kernel.

# %% tags=["hide-input"]
conv = MaskedConv2d(16, 16, 3, "B")
ours = MaskedConv(16, 16, 3, "B")
with torch.no_grad():
    stored = conv.masked_weight()  # [16, 16, 2, 3]: the row above and the pixel's own
    ours.weight[:, :, : stored.shape[2], : stored.shape[3]] = stored
    ours.bias.copy_(conv.bias)
x = torch.randn(2, 16, 14, 14)
print(f"equal: {torch.allclose(conv(x), ours(x), atol=1e-5)}")


# %% [markdown]
# (sec-pix-blind)=
# ### The blind spot: what a PixelCNN cannot see
#
# A stack of 3x3 kernels sees one row and one column further with each layer, so one expects that a pixel with enough layers above it sees everything that
# was drawn before. Ask the gradient: which pixels change the output at one place at all? These are its {term}`receptive field`.
#
# **Predict, then run.** The marked pixel stands in row 10 of a picture of 17x17. With eight layers of 3x3 kernels, can it see every earlier pixel within eight rows and columns? Sketch the region before you look.


# %%
def field(predict, shape, place, inputs=4):
    """Where the output at `place` has a derivative other than zero: [H, W]."""
    x = torch.rand(inputs, *shape, dtype=torch.float64, requires_grad=True)
    at_place = predict(x)[..., place[0], place[1]]
    (gradient,) = torch.autograd.grad((at_place * torch.randn_like(at_place)).sum(), x)
    return gradient.abs().sum((0, 1)) > 0


def show_field(ax, seen, place):
    """Seen pixels dark, unseen earlier ones tinted, later ones white."""
    r, c = place
    earlier = torch.zeros_like(seen)
    earlier[:r], earlier[r, :c] = True, True
    picture = torch.ones(*seen.shape, 3)
    picture[earlier] = torch.tensor([0.94, 0.75, 0.60])
    picture[seen] = torch.tensor([0.35, 0.35, 0.35])
    ax.imshow(picture, interpolation="nearest")
    ax.plot(c, r, "s", color=COLOURS["blue"], ms=5)
    ax.grid(visible=False)
    ax.set(xticks=[], yticks=[])


# %% mystnb={"figure": {"caption": "What the output at the marked pixel depends on, by automatic differentiation, in PixelCNNs of 1, 2, 4 and 8 layers of 3x3 kernels. Grey: seen. Tinted: drawn earlier and not seen. More layers reach further up and to the left, but never into the wedge on the upper right.", "name": "fig-pix-blind"}, "image": {"alt": "Four panels of 17 by 17 pixels. The grey region grows from a few neighbours to a large area bounded on the right by a diagonal line that rises from the marked pixel; the wedge to the right of the diagonal stays tinted in all panels."}}
torch.manual_seed(0)
size, place = 17, (10, 8)
fig, axes = plt.subplots(1, 4, figsize=(6, 1.8))
for ax, layers in zip(axes, (1, 2, 4, 8)):
    seen = field(pixelcnn(8, layers).double(), (1, size, size), place)
    show_field(ax, seen, place)
    ax.set_title("1 layer" if layers == 1 else f"{layers} layers", fontsize=11)
plt.show()
print(f"8 layers see {int(seen.sum())} of {place[0] * size + place[1]} earlier pixels")


# %% [markdown]
# :::{dropdown} What to expect
# No. To the left the region grows as expected. To the upper right it ends at a diagonal: a step of a mask to the right always goes up one row, too, since in its own row a kernel sees nothing to the right. So after $a$ rows no path has come further right than $a$ columns.
# :::
#
# :::{prf:proposition} The blind spot
# :label: thm-pix-blind
# In a stack of $L$ masked 3x3 convolutions with ReLUs between them, A first and then B, the output at $(r, c)$ can depend on the pixel $(r - a, c + b)$, for some weights, if and only if $0 \le a \le L$, $-L \le b \le a$, and $b < 0$ where $a = 0$. For no number of layers, and no weights, does it depend
# on pixels with $b > a \ge 1$.
# :::
#
# :::{prf:proof}
# The output depends on a pixel if a path of $L$ steps leads there, each step a tap of a mask. Going towards the input, a step of mask B changes $(a, b)$ by one of
# $(1, -1), (1, 0), (1, 1), (0, -1), (0, 0)$; a step of mask A by one of the first four. A step moves $b$ up by at most 1, and only if it also moves $a$ up by 1; hence $b \le a$ along every path, and $a \le L$,
# $b \ge -L$. Since one step of the $L$ is never $(0, 0)$, the path does not end where it began, and with $a = 0$ it has gone left.
#
# Conversely, let $(a, b)$ satisfy the conditions. Take $a$ steps upwards and $L - a$ others. The upward steps together can change $b$ by anything from $-a$ to $a$, the others by anything from $-(L - a)$ to $0$, so together
# by anything from $-L$ to $a$. If $a = 0$, then $b < 0$, and the step with mask A can be one to the left; if $a \ge 1$, let it be one of those upwards. The dependence that a path carries might be cancelled by another path or cut by a ReLU, but not where all weights and biases are positive. Every ReLU then passes on what comes, and the derivative is a sum of positive
# numbers, one for each path.
# :::
#
# Within the square that $L$ layers span there are $2L(L + 1)$ earlier pixels, of which $\frac12 L(L - 1)$ are not seen: a quarter of them when $L$ is large. Among them is the pixel two to the right in the row above. The check computes the field of networks with random weights, in which the dependences do not happen to cancel either.


# %% tags=["check:thm-pix-blind"]
def predicted(size, place, layers):
    """The field that the proposition predicts: [size, size]."""
    a = (place[0] - torch.arange(size))[:, None]  # rows up
    b = torch.arange(size) - place[1]  # columns to the right
    return (a >= 0) & (a <= layers) & (b >= -layers) & (b <= a) & ~((a == 0) & (b >= 0))


size = 17
for layers in (1, 2, 3, 5, 7):
    seen = field(pixelcnn(8, layers).double(), (1, size, size), (8, 8))
    assert torch.equal(seen, predicted(size, (8, 8), layers))
    blind = 1 - seen.sum().item() / (2 * layers * (layers + 1))
    print(
        f"L = {layers}: {seen.sum():3d} pixels seen, as predicted; {blind:5.1%} of",
        "the square is blind",
    )


# %% [markdown]
# The wedge is the {term}`blind spot`. A residual PixelCNN such as `lvmlib.PixelCNN` sees no more: its blocks contain the same kernels. A larger first kernel (its own is 7x7) moves the border of the
# wedge, but not its slope. Does it matter? For digits not very much: what lies in the wedge can often be guessed from what lies outside. Here are pictures
# for which it is all that matters: every row is the row above moved three pixels to the left, with three fresh random pixels at its end. A model that sees the wedge can predict all but $8 + 7 \cdot 3 = 29$ of the 64 pixels;
# one that does not can predict none.
#
# **Predict, then run.** How many nats will the PixelCNN need for such a picture, 64 coins costing $64 \log 2 = 44.4$? And a Gated PixelCNN, our next model, which has no blind spot?


# %% tolerance={"rtol": 0.05}
def diagonals(n, size=8, shift=3):
    x = torch.randint(0, 2, (n, 1, size, size)).float()
    for r in range(1, size):
        x[:, :, r, : size - shift] = x[:, :, r - 1, shift:]
    return x


seed_everything(0)
pictures, unseen = diagonals(10_000), diagonals(500)
for build in (PixelCNN, GatedPixelCNN):
    rival = build((1, 8, 8), channels=8, layers=4, kernel=3)
    cost = lambda model, x: -model.log_prob(x)
    train(rival, pictures, cost, steps=250 * SCALE, rate=2e-2)
    with torch.no_grad():
        print(f"{build.__name__:>13}: {-rival.log_prob(unseen).mean():.1f} nats")
print(f"64 coins: {64 * math.log(2):.1f} nats, 29 coins: {29 * math.log(2):.1f} nats")


# %% [markdown]
# :::{dropdown} What to expect
# The PixelCNN learns nothing at all: 44.4 nats, the cost of 64 coins. The network with two stacks comes down to 20.1, the cost of the 29 random pixels. No amount of training would help the first one.
# :::
#
# (sec-pix-gated)=
# ### Two stacks and a gate
#
# The second model in the cell above is the **Gated PixelCNN** {cite:p}`vandenoord2016gated`. It changes two things.
#
# **Two stacks.** The wedge arises because one kernel has two jobs: to carry information from above, and to stop at the pixel. Because it must stop at the pixel, it cannot reach to the right in its own row, and so every step to the right costs a step up. Give each job a stack of layers of its own ({numref}`fig-pix-stacks`):
#
# - the **vertical stack** $v$ sees the rows above and nothing else. All of a row above is known, so its kernels need no mask: they reach as far to the right as to the left, and layer by layer they cover a full rectangle. Only the first layer must be moved up by one row. From then on the features at row $r$ are made of rows above $r$, so later kernels may read their own row too;
# - the **horizontal stack** $h$ runs along the row from the left, with masks, and receives the vertical stack's features at each pixel.
#
# $h$ may read $v$, but not the other way round: the kernels of $v$, which reach to the right, would pick up features of $h$ made from pixels that are not yet drawn.


# %% tags=["hide-input"]
def box(ax, x, y, text, colour="white"):
    style = {"boxstyle": "round,pad=0.3", "fc": colour, "ec": "#1a1a1a"}
    ax.text(x, y, text, ha="center", va="center", fontsize=10, bbox=style)


def arrow(ax, *points, colour="#1a1a1a"):
    """A line through points with an arrow at its end."""
    ax.plot(*zip(*points[:-1]), color=colour, lw=1.3) if len(points) > 2 else None
    style = {"arrowstyle": "-|>", "color": colour, "lw": 1.3}
    style |= {"shrinkA": 0, "shrinkB": 0}
    ax.annotate("", points[-1], points[-2], arrowprops=style)


# %% tags=["hide-input"]
def draw_kernels(ax):
    """What the two kernels read at the marked pixel."""
    for k in range(6):
        ax.plot([0, 5], [k, k], [k, k], [0, 5], color="#bbbbbb", lw=0.8)
    pale, strong = {"alpha": 0.3, "lw": 0}, {"fill": False, "lw": 2.5}
    for x, y, w, h, name in ((1, 2, 3, 2, "blue"), (1, 2, 2, 1, "vermilion")):
        for style in (pale, strong):
            ax.add_patch(plt.Rectangle((x, y), w, h, color=COLOURS[name], **style))
    ax.plot(2.5, 2.5, "s", color=COLOURS["vermilion"], ms=8)
    label = {"ha": "center", "va": "center"}  # on white, which hides the grid
    label["bbox"] = {"fc": "white", "ec": "none", "pad": 1}
    ax.text(2.5, 4.5, "vertical kernel V", color=COLOURS["blue"], **label)
    ax.text(2.5, 1.5, "horizontal kernel H", color=COLOURS["vermilion"], **label)
    ax.set_aspect("equal")


# %% mystnb={"figure": {"caption": "The two stacks in the second layer and later. Left: what the kernels read at the marked pixel, the vertical one (blue) the features of its own and the row above, the horizontal one (orange) the pixel and its left neighbour. Right: one layer. Features of the vertical stack, which know only rows above, pass to the horizontal stack by a 1x1 convolution (link); there is no way back.", "name": "fig-pix-stacks"}, "image": {"alt": "Left: a grid in which a block of two rows by three columns around the marked pixel is outlined in blue and the pixel with its left neighbour in orange. Right: a diagram with two columns of boxes. Vertical stack: v, convolution V, gate, new v. Horizontal stack: h, masked convolution H, plus, gate, a 1x1 convolution, then a plus sign with h, new h, and an arrow to the output. An arrow labelled link leads from the vertical to the horizontal column."}} tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(6.6, 3.8), width_ratios=(2, 3))
draw_kernels(left)
for x, titles in ((0, ("$v$", "V: 2x3", "gate", "new $v$")), (3, ("$h$", "H: masked"))):
    for y, text in zip((0, 1, 3, 5), titles):
        box(right, x, y, text, "#d9eaf5" if x == 0 else "#fbe6c8")
for y, text in ((2, "+"), (3, "gate"), (4, "1x1"), (5, "new $h$")):
    box(right, 3, y, text, "white" if text == "+" else "#fbe6c8")
for points in (
    ((0, 0.3), (0, 0.7)), ((0, 1.3), (0, 2.7)), ((0, 3.3), (0, 4.7)),
    ((0, 2), (2.75, 2)), ((3, 0.3), (3, 0.7)), ((3, 1.3), (3, 1.75)),
    ((3, 2.3), (3, 2.7)), ((3, 3.3), (3, 3.7)), ((3, 4.3), (3, 4.7)),
    ((3.3, 0), (4.3, 0), (4.3, 5), (3.65, 5)), ((2.6, 4), (1.6, 4)),
):  # fmt: skip
    arrow(right, *points)
right.text(1.4, 2.1, "link", ha="center")
right.text(1.5, 4, "to the\noutput", ha="right", va="center", fontsize=9)
right.text(4.2, 2.6, "residual", rotation=90, ha="right", va="center", fontsize=9)
right.set(xlim=(-0.9, 4.6), ylim=(-0.5, 5.5))
for ax in (left, right):
    ax.axis("off")
plt.show()

# %% [markdown]
# **A gate.** Whether the next pixel is ink often depends on *this and that together*, a product of features, which a layer of ReLUs cannot form. The LSTM cell of PixelRNN ({numref}`sec-pix-rnn`), which fitted images better than ReLU convolutions did {cite:p}`vandenoord2016gated`, has multiplications of the form $h = \sigma(o) \tanh(s)$, with $o$ the output gate and $s$ the state of the cell. The Gated PixelCNN takes over just these, as a {term}`gate` with both arguments from convolutions:
#
# $$ g(a, b) = \tanh(a)\, \sigma(b) . $$ (eq-pix-gate)
#
# :::{prf:proposition} What a gate does
# :label: thm-pix-gate
# (i) $g(a, b) = \mathbb{E}[s \tanh a]$ for a switch $s \sim \operatorname{Bern}(\sigma(b))$. (ii) For small arguments $g(a, b) \approx \frac12 a + \frac14 a b$, so a gate computes products of features; the error is at most $\frac13 |a|^3 + \frac{1}{48} |a| |b|^3$. (iii) Its derivatives
# are $\partial_a g = \sigma(b)(1 - \tanh^2 a)$ and $\partial_b g = \tanh(a)\,\sigma(b)\,\sigma(-b)$: each factor scales the gradient of the other.
# :::
#
# :::{prf:proof}
# (i) is the definition of the mean. (iii) is the product rule with $\tanh' = 1 - \tanh^2$ and $\sigma' = \sigma(b)\sigma(-b)$. (ii): Taylor's theorem gives $|\tanh a - a| \le \frac13 |a|^3$, since the third derivative of $\tanh$ lies between $-2$ and $\frac23$, and $|\sigma(b) - \frac12 - \frac14 b| \le \frac{1}{48}|b|^3$, since
# the third derivative of $\sigma$ lies between $-\frac18$ and $\frac1{24}$. Write $g - a(\frac12 + \frac14 b) = (\tanh a - a)\,\sigma(b) + a\,(\sigma(b) - \frac12 - \frac14 b)$ and use $\sigma(b) \le 1$.
# :::

# %% tags=["check:thm-pix-gate"]
torch.manual_seed(0)
a, b = (4 * torch.rand(2, 10_000, dtype=torch.float64) - 2).requires_grad_()
g = a.tanh() * b.sigmoid()
thrown = b.detach().sigmoid().expand(1000, -1)  # a thousand times for each (a, b)
switch = torch.bernoulli(thrown)
by_b = a.tanh() * b.sigmoid() * (-b).sigmoid()  # the derivative that (iii) gives
mean, error = (switch * a.tanh()).mean(0), (a.tanh() * by_b / 1000).sqrt()
bound = a.abs() ** 3 / 3 + a.abs() * b.abs() ** 3 / 48
remainder = (g - a / 2 - a * b / 4).abs() / bound
d_a, d_b = torch.autograd.grad(g.sum(), (a, b))
print(
    f"(i)   standardised error of the mean: {((mean - g) / error).std():.2f} ",
    "(expected 1)",
)
print(f"(ii)  largest remainder as a share of its bound: {remainder.max():.2f}")
print(f"(iii) equal to automatic differentiation: {torch.allclose(d_b, by_b)}")
assert abs(((mean - g) / error).std() - 1) < 0.05 and remainder.max() <= 1
assert torch.allclose(d_b, by_b)
assert torch.allclose(d_a, b.sigmoid() * (1 - a.tanh() ** 2))


# %% [markdown]
# Here is one layer, with the kernels of {numref}`fig-pix-stacks`, and the network made of four. The first layer differs: its vertical kernel ends above the pixel's own row and its horizontal kernel left of the pixel (mask A). No mask is multiplied anywhere: each kernel has only the taps that it may use, and padding puts it in its place.


# %%
def gate(a):
    first, second = a.chunk(2, 1)
    return first.tanh() * second.sigmoid()


# %%
class GatedLayer(nn.Module):
    """One layer of both stacks: v knows the rows above, h also the row to the left."""

    def __init__(self, inputs, p, kernel, first=False):
        super().__init__()
        self.first, self.side = first, kernel // 2
        rows = self.side if first else 2  # later: the row above and their own
        self.V = nn.Conv2d(inputs, 2 * p, (rows, kernel))
        self.H = nn.Conv2d(inputs, 2 * p, (1, self.side + (not first)))  # mask A or B
        self.link = nn.Conv2d(2 * p, 2 * p, 1, bias=False)
        self.mix = nn.Conv2d(p, 2 * p, 1)
        self.top = rows if first else 1  # rows of zeros to put above the picture

    def forward(self, v, h):
        s, (height, width) = self.side, h.shape[2:]
        # zeros to the left, to the right, above; none below or, for H, to the right
        a = self.V(F.pad(v, (s, s, self.top, 0)))
        a = a[:, :, :height]  # row r reads up to its own, in the first layer above it
        b = self.H(F.pad(h, (s, 0, 0, 0)))[..., :width]  # columns in the same way
        b = b + self.link(a)
        out, on = self.mix(gate(b)).chunk(2, 1)  # to the output, to the next layer
        # no residual around mask A: it would carry the pixel itself
        return gate(a), on if self.first else h + on, out


# %%
class TwoStacks(nn.Module):
    """A Gated PixelCNN: log-odds [B, 1, H, W] of binary pictures."""

    def __init__(self, p=16, layers=4, kernel=3):
        super().__init__()
        later = [GatedLayer(p, p, 3) for _ in range(layers - 1)]
        self.layers = nn.ModuleList([GatedLayer(1, p, kernel, first=True), *later])
        wider, last = nn.Conv2d(p, 2 * p, 1), nn.Conv2d(2 * p, 1, 1)
        self.head = nn.Sequential(nn.ReLU(), wider, nn.ReLU(), last)

    def forward(self, x):
        v = h = 2 * x - 1  # bits as -1 and +1
        total = 0
        for layer in self.layers:
            v, h, out = layer(v, h)
            total = total + out
        return self.head(total)


# %% [markdown]
# (Bits are read as $-1$ and $+1$ for a reason. A convolution pads the picture with zeros. If a bit may be 0 too, the network cannot tell the border from empty paper, and its samples get specks along the edges.)
#
# Loss, loop and sampling are those of the PixelCNN: `nll`, `train` and `draw` work as they stand.

# %% tolerance={"rtol": 0.02}
seed_everything(0)
two_stacks = train(TwoStacks(p=8), small.x)
with torch.no_grad():
    test_cost["two stacks, gates"] = nll(two_stacks, small_test.x[:2000])
for (name, cost), network in zip(test_cost.items(), (net, two_stacks)):
    weights = sum(parameter.numel() for parameter in network.parameters())
    print(f"{name:>17}: {cost.mean():.2f} nats, {weights:,} weights")

# %% mystnb={"figure": {"caption": "Draws from our Gated PixelCNN (below), none selected, after a few seconds of training (*not converged*); data above. Strokes hang together a little better than in {numref}`fig-pix-first`; one or two draws can be taken for digits.", "name": "fig-pix-gated-draws"}, "image": {"alt": "Two rows of twelve small binary pictures: digits above, below sharp strokes, one or two of which can be read as digits."}} tolerance={"draws": ["row 2"], "rtol": 0.2}
drawn = draw(two_stacks, u)
labels = ["data", "draws"]
image_grid(torch.cat([small_test.x[:12], drawn]), columns=12, row_labels=labels)
plt.show()
log_p_test = -test_cost["two stacks, gates"]
beside_data(drawn, -nll(two_stacks, drawn), small_test.x[:2000], log_p_test)


# %% [markdown]
# With fewer weights and as many steps, two stacks with gates need 34.4 nats where the PixelCNN needs 37.7, on the first 2,000 test digits. (One seed, *not converged*; and the comparison does not separate stacks from gates.)
#
# `lvmlib.GatedPixelCNN` is the same network, with colours, contexts and a cache added. With its weights ours gives the same numbers:


# %% tags=["hide-input"]
def with_weights_of(theirs, ours):
    """Our network with the weights of a lvmlib.GatedPixelCNN."""
    parts = zip(theirs.vertical, theirs.horizontal, theirs.link, theirs.mix)
    with torch.no_grad():
        for layer, (V, H, link, mix) in zip(ours.layers, parts):
            for mine, weight, bias in (
                (layer.V, V.weight, V.bias),
                (layer.H, H.masked_weight(), H.bias),
                (layer.mix, mix.masked_weight(), mix.bias),
            ):
                # the last mix has half the outputs, a masked kernel a centre of zeros
                mine.weight[: len(weight)] = weight[..., : mine.weight.shape[3]]
                mine.bias[: len(bias)] = bias
            layer.link.weight.copy_(link.weight)
        for mine, other in ((ours.head[1], theirs.head), (ours.head[3], theirs.last)):
            mine.weight.copy_(other.masked_weight())
            mine.bias.copy_(other.bias)
    return ours


torch.manual_seed(0)
theirs = GatedPixelCNN((1, 14, 14), channels=8, layers=4, kernel=5)
ours = with_weights_of(theirs, TwoStacks(8, 4, kernel=5))
logits = theirs.predict(small_test.x[:5])[:, 0]
print(f"equal to lvmlib: {torch.allclose(ours(small_test.x[:5]), logits, atol=1e-5)}")

# %% [markdown]
# :::{prf:theorem} Two stacks have no blind spot
# :label: thm-pix-gated
# Let the first vertical kernel be $k \ge 3$ wide, $k$ odd, and $\lfloor k/2 \rfloor$ rows high, the other vertical kernels 3 wide and 2 high; horizontal kernels are one row, as wide, and masked. Then the output of a Gated PixelCNN of $L$ layers at $(r, c)$ can depend on *every* pixel that comes before it and lies in the square of
# half side $R = \lfloor k/2 \rfloor + L - 1$ around it, and on no other pixel.
# :::
#
# :::{prf:proof}
# Let $R_\ell = \lfloor k/2 \rfloor + \ell - 1$. By induction the vertical features of layer $\ell$ at $(r, c)$ can see exactly the rectangle $1 \le a \le R_\ell$, $|b| \le R_\ell$ ($a$ rows up, $b$ columns right). For $\ell = 1$ it is
# the kernel itself. A layer with a kernel of rows $\{0, 1\}$ up and columns $\{-1, 0, 1\}$ widens it by one row upwards and one column to each side, and adds none below $a = 1$. The horizontal features of layer $\ell$ at $(r, c)$ see that rectangle through the link, and
# the pixels $(0, -1), \dots, (0, -R_\ell)$ of the row: the first layer sees $\lfloor k/2 \rfloor$ to the left, mask A, and each mask B adds one. They also read
# horizontal features of layer $\ell - 1$ one place to the left, whose rectangle $1 \le a \le R_{\ell - 1}$, $-R_{\ell - 1} - 1 \le b \le R_{\ell - 1} - 1$ lies in the one that is there already. The union is the square's part before $(r, c)$. That the dependences need not cancel one another follows as before from positive weights, with biases so large that all arguments are positive: there both derivatives of a gate are positive, by (iii) of {prf:ref}`thm-pix-gate`.
# :::

# %% tags=["check:thm-pix-gated"]
size = 17
for kernel, layers in ((3, 1), (3, 4), (5, 2), (7, 3), (7, 7)):
    torch.manual_seed(layers)
    model = TwoStacks(8, layers, kernel).double()
    R = kernel // 2 + layers - 1
    places = torch.arange(size)
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    square = ((rows - 8).abs() <= R) & ((columns - 8).abs() <= R)
    earlier = (rows < 8) | ((rows == 8) & (columns < 8))
    seen = field(model, (1, size, size), (8, 8))
    print(
        f"kernel {kernel}, layers {layers}: {seen.sum():3d} pixels seen, 2R(R + 1)",
        f"= {2 * R * (R + 1):3d}",
        f"{' (the picture ends first)' if R > 8 else ''}",
    )
    assert torch.equal(seen, square & earlier)


# %% [markdown]
# A receptive field says which pixels *can* matter. How much each of them *does* matter in a trained network is the size of the derivative, averaged over pictures ({numref}`fig-pix-weighted`).


# %%
def pull(network, pictures, row, column):
    """Mean absolute derivative of the log-odds at (row, column): [H, W]."""
    x = pictures.clone().requires_grad_()
    at_place = network(x)[:, 0, row, column].sum()  # the pictures do not interact
    (slope,) = torch.autograd.grad(at_place, x)
    return slope.abs().mean((0, 1))


# %% mystnb={"figure": {"caption": "The weighted receptive field of pixel (7, 7): mean size of the derivative of its log-odds with respect to every other pixel, over 1,000 test digits, as a share of the sum. The scale is logarithmic; white pixels have no influence. Neighbours count most. The two stacks also use the wedge that the PixelCNN cannot see.", "name": "fig-pix-weighted"}, "image": {"alt": "Two panels of 14 by 14 pixels. In both the influence is greatest next to the marked pixel and fades with distance; in the left one it ends at a diagonal on the upper right, in the right one it does not."}} tags=["hide-input", "photo"] tolerance={"data": 0.1, "figure": 0.2, "atol": 0.03}
fig, axes = plt.subplots(1, 2, figsize=(5.4, 2.5), layout="constrained")
for ax, network, title in zip(axes, (net, two_stacks), ("PixelCNN", "two stacks")):
    strength = pull(network, small_test.x[:1000], 7, 7)
    strength = strength / strength.sum()
    near = strength[6, 6:9].sum() + strength[7, 6]
    print(f"{title:>10}: share of the four adjacent earlier pixels {near:.2f}")
    strength[strength == 0] = float("nan")  # drawn white
    shades = ax.imshow(strength, cmap="Blues", norm="log", vmin=1e-4, vmax=0.3)
    ax.plot(7, 7, "s", color=COLOURS["vermilion"], ms=5)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=11)
    ax.grid(visible=False)
fig.colorbar(shades, ax=axes, label="share")
plt.show()


# %% [markdown]
# That is the whole of a pixel model. What follows compares its relatives (Part 2), gives pixels more than two values (Part 3) and conditions the model on something known (Part 4).
#
# ### Exercises of Part 1
#
# :::{exercise} ★★ What is the wedge worth?
# :label: ex-pix-weighted
# Fill the gap: given the influences of {numref}`fig-pix-weighted`, what share of their sum comes from pixels in the wedge of {prf:ref}`thm-pix-blind`, $a \ge 1$ rows up and more than $a$ columns to the right? The test applies it to both networks, with the influences on the first 200 test digits.
# :::


# %%
def share_of_wedge(strength, row, column):
    """Share of the sum of `strength` [H, W] from places in the wedge."""
    return ...  # your code


# %%
influences = (pull(network, small_test.x[:200], 7, 7) for network in (net, two_stacks))
answers = [share_of_wedge(strength, 7, 7) for strength in influences]
if ... not in answers:  # a test of your code
    assert answers[0] == 0  # the PixelCNN does not see the wedge
    # 15 of 196 pixels are in it: 5 + 4 + 3 + 2 + 1, one to five rows up
    assert abs(share_of_wedge(torch.ones(14, 14), 7, 7) - 15 / 196) < 1e-6
    print(f"PixelCNN {answers[0]:.2f}, two stacks {answers[1]:.2f}")


# %% [markdown]
# :::{solution} ex-pix-weighted
# :class: dropdown
# Count rows up and columns to the right as two tensors that broadcast against each other. The share is 0 in the PixelCNN. In the two stacks it is about a tenth: a network that can see the wedge does use it, though most of what it needs lies elsewhere.
# :::


# %% tags=["hide-cell"] tolerance={"atol": 0.05}
def wedge_share(strength, row, column):
    a = row - torch.arange(strength.shape[0])[:, None]  # rows up
    b = torch.arange(strength.shape[1]) - column  # columns to the right
    return (strength * ((a >= 1) & (b > a))).sum() / strength.sum()


for name, network in (("PixelCNN", net), ("two stacks", two_stacks)):
    strength = pull(network, small_test.x[:200], 7, 7)
    print(f"{name:>10}: share of the wedge {wedge_share(strength, 7, 7):.2f}")

# %% [markdown]
# :::{exercise} ★ Two masks A
# :label: ex-pix-two-a
# What happens if *two* layers have mask A? If the first has mask B and only the second mask A? Decide first, then ask the gradient (`field`).
# :::
#
# :::{solution} ex-pix-two-a
# :class: dropdown
# Two masks A are still autoregressive, as each only removes paths. But a path now has to take two proper steps back: the left neighbour, one step away, cannot be reached at all, and neither can the pixel above to the right; the others around it only by a detour. The most useful pixels are lost. With B first and A second the order is obeyed too, as long as *every* path passes the mask A: what the first layer makes of a pixel
# is seen only from later places. It fails with the first residual connection or skip that leads around the second layer. "A first" is the placement that survives later changes of the network.
# :::
#
# :::{exercise} ★★ A larger kernel
# :label: ex-pix-blind-kernel
# What is the blind spot of a stack of masked $k \times k$ convolutions, $k = 2\rho + 1$, mask A first? Which earlier pixels does one layer of size $k$ with mask A, followed by any number of 3x3 layers with mask B, never see?
# :::
#
# :::{solution} ex-pix-blind-kernel
# :class: dropdown
# A step up by $a' \ge 1$ rows can go right by at most $\rho$; so it pays to climb one row at a time, and a path that ends $a$ rows up has $b \le \rho a$. The wedge $b > \rho a$, $a \ge 1$, is never seen: it is narrower, but always there. With one $k \times k$ layer and 3x3 layers after it one step is wide. A path gets furthest to the right if that step climbs one row: $b \le \rho + (a - 1)$. So pixels with $b > a + \rho - 1$, $a \ge 1$, are never seen.
# :::
#
# (sec-pix-measure)=
# ## Part 2. Measure: how far does it see, what does it cost, how good is it?
#
# The Gated PixelCNN sees a square that grows with its layers. Three other designs reach further:
#
# - **PixelRNN** runs an LSTM over the pixels, a recurrent network with gates like the GRU of {doc}`chapter 3 <03_autoregressive_models>`. Its **Row LSTM** computes the states of a row from those of the row above, in $H$ steps for $H$ rows; its **Diagonal BiLSTM** computes them along diagonals, from the upper left and from the upper right, in $H + W - 1$ steps.
# - **PixelSNAIL** alternates causal convolutions with self-attention to all earlier pixels.
# - **PixelCNN++** does most of its work at lower resolution and returns to the full one (Part 3).
#
# {numref}`fig-pix-fields` sets them side by side.

# %% mystnb={"figure": {"caption": "What the output at the marked pixel depends on (grey) and what it does not although it was drawn before (tinted), in six small networks; the title counts the seen pixels. Two stacks see a square without a wedge, of a side that grows with the layers. Halving the resolution makes each layer reach twice as far. Diagonal recurrence and attention reach everything.", "name": "fig-pix-fields"}, "image": {"alt": "Six panels. PixelCNN: grey region with a blind wedge on the upper right. Gated PixelCNN: a full square above and to the left. Row LSTM: a cone that widens upwards. Diagonal BiLSTM: everything earlier. PixelCNN++: everything earlier. PixelSNAIL: everything earlier."}}
size, place = 16, (10, 8)
shape = (1, size, size)
halved = {"halvings": 1, "levels": 2, "logistics": 0}
models = {
    "PixelCNN": PixelCNN(shape, channels=8, layers=4, kernel=3),
    "Gated PixelCNN": GatedPixelCNN(shape, channels=8, layers=5, kernel=3),
    "Row LSTM": PixelRNN(shape, channels=4, layers=2, kind="row", kernel=3),
    "Diagonal BiLSTM": PixelRNN(shape, 4, layers=1, kind="diagonal", kernel=3),
    "PixelCNN++": PixelCNNpp(shape, channels=4, layers=1, **halved),
    "PixelSNAIL": PixelSNAIL(shape, channels=8, blocks=1, layers=2),
}
fig, axes = plt.subplots(2, 3, figsize=(6, 4.3))
for ax, (name, model) in zip(axes.flat, models.items()):
    seen = field(model.double().predict, (1, size, size), place)
    show_field(ax, seen, place)
    ax.set_title(f"{name}: {int(seen.sum())}", fontsize=11)
plt.show()
before = place[0] * size + place[1]
print(f"in the titles: how many of {before} earlier pixels are seen")

# %% [markdown]
# {numref}`fig-pix-growth` shows how the field grows with depth.

# %% mystnb={"figure": {"caption": "Pixels that the output at the centre of a 33x33 picture depends on, measured by gradients, against the number of layers. Crosses: what the proposition on the blind spot and the theorem on two stacks give. Both grow with the square of the depth until the picture ends; PixelCNN falls behind by nearly a quarter.", "name": "fig-pix-growth"}, "image": {"alt": "Two rising curves against the number of layers from 1 to 16. The gated network's curve lies above the PixelCNN's, with crosses from the formulas on both, and a dashed horizontal line at 544 earlier pixels."}}
torch.manual_seed(0)  # dead units would hide some of what is seen
size, place, depths = 33, (16, 16), (1, 2, 4, 6, 8, 12, 16)
counts = {"PixelCNN, 3x3": [], "Gated PixelCNN, 3 wide": []}
for layers in depths:
    model = pixelcnn(8, layers).double()
    counts["PixelCNN, 3x3"].append(field(model, (1, size, size), place).sum().item())
    seen = field(TwoStacks(4, layers).double(), (1, size, size), place)
    counts["Gated PixelCNN, 3 wide"].append(seen.sum().item())
fig, ax = plt.subplots(figsize=(6, 3.2))
formulas = [[L * (3 * L + 5) / 2 for L in depths], [2 * L * (L + 1) for L in depths]]
lines = zip(counts.items(), formulas, ("vermilion", "blue"))
for (name, values), formula, colour in lines:
    ax.plot(depths, values, "o-", color=COLOURS[colour], label=name)
    ax.plot(depths, formula, "x", color=COLOURS["black"], ms=9)
    assert values == formula
ax.axhline(16 * 33 + 16, ls="--", lw=1.2, color=COLOURS["black"])
ax.text(1, 16 * 33 + 32, "all earlier pixels", va="bottom")
ax.set(xlabel="layers", ylabel="pixels seen", ylim=(-25, 630))
_ = ax.legend(loc="upper left", bbox_to_anchor=(0, 0.83))
plt.show()


# %% [markdown]
# (sec-pix-rnn)=
# ### *Optional:* recurrence and attention over pixels
#
# Before PixelCNN came PixelRNN, in the same paper {cite:p}`vandenoord2016`: an LSTM sees *all* of its past, however far. In reading order it would take one step for each pixel, 784 for a digit, also in training. Two arrangements do with fewer.
#
# **Row LSTM.** The states of a whole row are computed at once from those of the row above, by a convolution of width 3 along the row, and from the input, which a masked convolution of $k \times k$ pixels has read ($k = 3$ in the pictures here, 7 in the trained models). A picture of $H$ rows takes $H$ steps. But what the states carry from above forms a cone: of row $r - a$, pixel $(r, c)$ sees nothing to the right of column $c + a + \lfloor k/2 \rfloor - 1$, which is $c + a$ for $k = 3$. That is the wedge of
# the PixelCNN again: a wider first kernel moves it, and no number of layers opens it.
#
# **Diagonal BiLSTM.** Shift every row one place further to the right than the row above it ({numref}`fig-pix-skew`). The two neighbours of a pixel, the left one and the upper one, then both stand in the column before it, so that an LSTM may run over the *columns* of the skewed picture, all pixels of
# a diagonal at once, in $H + W - 1$ steps. One that starts in the upper left corner sees everything up and to the left. A second one runs from the upper right; its features are moved down by a row before they are added, since the pixel to the right is not known yet. Because of this move the second direction may read the pixel at its own position: once moved, this is the pixel above. In the first layer it therefore reads the picture without mask A. (With the mask, the last pixel of the row above would never be seen.) Together the two see everything that was drawn.


# %%
def skew(x):
    """Row r moves r places to the right: [B, F, H, W] -> [B, F, H, W + H - 1]."""
    B, features, H, W = x.shape
    padded = F.pad(x, (0, H)).flatten(2)  # each row too long by one place
    padded = padded[..., : H * (W + H - 1)]
    return padded.view(B, features, H, W + H - 1)


def unskew(x, W):
    """The way back: [B, F, H, W + H - 1] -> [B, F, H, W]."""
    H = x.shape[2]
    return F.pad(x.flatten(2), (0, H)).view(*x.shape[:3], W + H)[..., :W]


x = torch.arange(1.0, 36).view(1, 1, 5, 7)  # 5 rows, 7 columns, all different
s = skew(x)[0, 0]
print(f"unskewed again: {torch.equal(unskew(skew(x), 7), x)}")
for r in range(1, 5):
    for c in range(1, 7):  # (r, c) in column r + c, both neighbours in the one before
        assert s[r, r + c] == x[0, 0, r, c]
        assert s[r, r + c - 1] == x[0, 0, r, c - 1]
        assert s[r - 1, r + c - 1] == x[0, 0, r - 1, c]

# %% mystnb={"figure": {"caption": "Left: a picture of five rows; tints, three in turn, tell diagonals apart, and no pixel of a diagonal is reached from another one through left and upper neighbours. Right: skewed, each diagonal is a column, and both neighbours of a pixel (dots) stand in the column before its own (square).", "name": "fig-pix-skew"}, "image": {"alt": "Left: a grid of 5 by 7 cells tinted by diagonal. Right: the same cells with each row moved one place further right, so that each diagonal forms a vertical column. A square marks a cell and two dots mark its left and upper neighbours."}}
diagonal = (torch.arange(5)[:, None] + torch.arange(7)[None]).float()[None, None]
fig, axes = plt.subplots(1, 2, figsize=(6, 1.9), width_ratios=(7, 11))
for ax, picture, shift in zip(axes, (diagonal, skew(diagonal + 1) - 1), (0, 1)):
    grid = picture[0, 0].clone()
    grid[grid < 0] = float("nan")
    ax.imshow(grid % 3, cmap="Blues", vmin=-1, vmax=5)
    r, c = 3, 3
    ax.plot(c + shift * r, r, "s", color=COLOURS["vermilion"], ms=9)
    ax.plot(
        [c - 1 + shift * r, c + shift * (r - 1)],
        [r, r - 1],
        "o",
        color=COLOURS["vermilion"],
    )
    ax.grid(visible=False)
    ax.set(xticks=[], yticks=[])
plt.show()


# %% [markdown]
# An LSTM over the columns of the skewed picture, in both directions, is a few lines more. `state` maps the states of the two neighbours to the gates.


# %%
def along_diagonals(gates, state):
    """Gates from the input [B, 4h, H, W], from states [2h, 4h] -> [B, h, H, W]."""
    B, size, H, W = gates.shape
    gates, states = skew(gates), []
    h = c = gates.new_zeros(B, H, size // 4)
    for d in range(W + H - 1):
        above = F.pad(h, (0, 0, 1, -1))  # one row up: the upper neighbour
        total = torch.cat([h, above], 2) @ state  # [B, H, 4h]
        total = total + gates[..., d].transpose(1, 2)
        let_in, keep, out, new = total.chunk(4, 2)
        c = keep.sigmoid() * c + let_in.sigmoid() * new.tanh()
        h = out.sigmoid() * c.tanh()
        states.append(h)
    return unskew(torch.stack(states, 3).transpose(1, 2), W)


# %% tags=["hide-input"]
torch.manual_seed(0)
layer = PixelRNN((1, 6, 6), channels=4, layers=1, kind="diagonal").layers[0]
s = torch.randn(2, 8, 6, 6)
ahead = along_diagonals(layer.inputs(s), layer.state[0])
from_right = layer.backward_inputs(s).flip(3)  # from right to left
behind = along_diagonals(from_right, layer.state[1]).flip(3)
together = ahead + F.pad(behind, (0, 0, 1, -1))  # moved down by a row
print(
    f"equal to lvmlib: {torch.allclose(together, layer(s), atol=1e-6)}, in",
    f"{6 + 6 - 1} steps",
)

# %% [markdown]
# The gradient shows what each arrangement sees:

# %%
torch.manual_seed(0)
size, place = 15, (9, 7)
rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
wedge = (columns - place[1] > place[0] - rows) & (rows < place[0])
for kind, layers in (("row", 1), ("row", 3), ("diagonal", 1)):
    model = PixelRNN((1, size, size), 4, layers, kind=kind, kernel=3).double()
    seen = field(model.predict, (1, size, size), place)
    before, hidden = place[0] * size + place[1], (seen & wedge).sum()
    print(
        f"{kind:>8}, layers {layers}: {seen.sum():3d} of {before} earlier pixels",
        "seen, ",
        end="",
    )
    print(f"{hidden:2d} of {wedge.sum()} in the wedge")


# %% [markdown]
# **Attention.** A third way to reach everything, in one layer, is to look at it directly. In PixelSNAIL {cite:p}`chen2018` blocks of causal convolutions, for what is near, take turns with self-attention over all earlier pixels, for what is far. Pixel $i$ asks with a query $q_i$; every earlier pixel
# $j$ offers a key $k_j$, both of $d$ numbers, and a value $v_j$:
#
# $$ a_i = \sum_{j < i} w_{ij} v_j , \qquad w_{ij} = \frac{\exp(q_i^\top k_j / \sqrt{d})}{1 + \sum_{l < i} \exp(q_i^\top k_l / \sqrt{d})} . $$ (eq-pix-attention)
#
# The 1 in the denominator is an empty cell, so that the first pixel has something to look at and every other one may look at nothing. One detail makes or breaks the model: $k_j$ and $v_j$ may depend on pixel $j$ itself, because $j < i$, but $q_i$ may not depend on pixel $i$, and $j = i$ must be masked. In code a
# shift by one place does it.


# %%
def attend(query, key, value):
    """Look back, or at an empty cell: 2 x [B, N, d], [B, N, e] -> [B, N, e]."""
    N = query.shape[1]
    # cell 0 is empty, cell j + 1 holds pixel j
    key, value = (F.pad(t, (0, 0, 1, 0))[:, :N] for t in (key, value))
    scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5  # [B, N, N]
    later = torch.ones(N, N).triu(1).bool()
    return scores.masked_fill(later, -math.inf).softmax(2) @ value


# %%
torch.manual_seed(0)
model = PixelSNAIL((1, 4, 4), channels=8, blocks=1, layers=1, heads=1)
block, spots = model.blocks[0], model.place.expand(2, -1, -1, -1)
features, picture = torch.randn(2, 8, 4, 4), torch.randn(2, 1, 4, 4)
near = block.near[0](features)  # a causal convolution
# each [2, 16, ...], a row for each pixel
by_pixel = [part.flatten(2).transpose(1, 2) for part in (near, picture, spots)]
(key,), (value,) = (t.unbind(1) for t in block.offers(*by_pixel))  # of one head
found = attend(block.asks(by_pixel[0], by_pixel[2])[:, 0], key, value)
ours = block.mix(near, found.transpose(1, 2).reshape(2, 4, 4, 4))
print(
    "equal to lvmlib:",
    f"{torch.allclose(ours, block(features, picture, spots, None), atol=1e-6)}",
)


# %% [markdown]
# (sec-pix-cache)=
# ### What does a pixel cost to draw?
#
# `draw` ran the whole network once for each pixel and threw away everything but one number: for 28x28 pixels, 784 forward passes. This is the cost usually quoted for these models, and it is avoidable. Between two steps only *one pixel* has become known. What changes in the feature maps?
#
# :::{prf:proposition} Nothing needs to be computed twice
# :label: thm-pix-cache
# In a network as in {prf:ref}`thm-pix-masks` let the features of every layer be computed at pixel $i$, for that pixel only, once all pixels before $i$ are drawn. Then (i) each of these features has its final value: it is what a pass over the finished picture gives; (ii) all $D$ steps together do the multiplications of one
# forward pass with the masked-out ones left out.
# :::
#
# :::{prf:proof}
# (i) By {prf:ref}`thm-pix-masks` the features at $i$ are functions of the pixels before $i$, which do not change any more. The features that a kernel reads besides those at $i$ belong to pixels before $i$ and got their final values at their own steps. (ii) Each feature of each layer at each pixel is computed once, from the taps that the mask leaves; that is what one pass does.
# :::
#
# So keep the feature map of every layer and fill it in as the picture grows. For the PixelCNN from above:


# %%
@torch.no_grad()
def draw_cached(net, u):
    """As `draw`, with every feature computed once."""
    n, _, H, W = u.shape
    convs = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    # feature maps with a border of zeros, above and on both sides
    maps = [torch.zeros(n, conv.in_channels, H + 1, W + 2) for conv in convs]
    x = torch.zeros_like(u)
    for r in range(H):
        for c in range(W):
            for conv, above, below in zip(convs, maps, maps[1:]):
                patch = above[:, :, r : r + 2, c : c + 3]  # 2x3 around (r, c)
                weight = (conv.weight * conv.mask)[:, :, :2]
                found = F.conv2d(patch, weight, conv.bias)[:, :, 0, 0]
                below[:, :, r + 1, c + 1] = found.relu()
            logits = F.linear(
                maps[-1][:, :, r + 1, c + 1],
                convs[-1].weight[:, :, 0, 0],
                convs[-1].bias,
            )
            x[:, 0, r, c] = (u[:, 0, r, c] < logits[:, 0].sigmoid()).float()
            maps[0][:, 0, r + 1, c + 1] = x[:, 0, r, c]
    return x


# %% tags=["check:thm-pix-cache"]
def multiplications(function, *arguments):
    """Multiply-adds of all convolutions and matrix products, attention written out."""
    with (
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        result = function(*arguments)
    return result, counter.get_total_flops() // 2


naive, work_naive = multiplications(draw, net, u)
cached, work_cached = multiplications(draw_cached, net, u)
_, work_pass = multiplications(net, u)
print(f"the same pictures: {torch.equal(naive, cached)}")
print(f"one forward pass {work_pass / 1e6:8.1f} million multiply-adds")
print(f"cached sampling  {work_cached / 1e6:8.1f}")
print(f"naive sampling   {work_naive / 1e6:8.1f} = {work_naive // work_pass} passes")
layers_ = [layer for layer in net if isinstance(layer, nn.Conv2d)]
taps = sum(layer.weight[:, :, :2].numel() for layer in layers_)
assert torch.equal(naive, cached) and work_naive == 196 * work_pass
assert work_cached == len(u) * 196 * taps  # each feature once, two rows of a kernel


# %% [markdown]
# It is even less than one pass, because a pass also multiplies the lowest row of each 3x3 kernel, which the mask has filled with zeros. The same uniform numbers give the same picture; nothing is approximated.
#
# The many small steps can be made cheaper still. What the *rows above* contribute to a row is known when the row begins, for all its pixels at once. So each convolution splits in two: the upper kernel rows, once for each row as one matrix product, and the taps to the left, once for each pixel. In a Gated PixelCNN this is the very division into two stacks. For attention, the keys and values of all pixels are kept (a *KV cache*), and each step computes one weighted sum over them. {numref}`fig-pix-cost` shows what each pixel then costs.


# %%
def work_per_pixel(model):
    """Multiply-adds of each step while one picture is drawn: [D]."""
    step, x, spent = model.steps(1), torch.zeros(1, model.dims), [0]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for t in range(model.dims):
            step(t, x)
            spent.append(counter.get_total_flops() // 2)
    return torch.tensor(spent).diff()


# %% mystnb={"figure": {"caption": "What each pixel costs, with features kept (solid) and without (dashed). Left: multiply-adds while two rows of a picture of 12x12 pixels are drawn, the sixth and the seventh. The spikes are the beginnings of rows, where all that the rows above contribute is computed for a whole row at once. Right: milliseconds while 16 pictures of 28x28 pixels are drawn together, measured by `benchmarks/cost_per_position`, which leaves PixelSNAIL out. Both vertical axes are logarithmic, in different units: keeping features saves about two orders of magnitude in each.", "name": "fig-pix-cost"}, "image": {"alt": "Two panels. Left, million multiply-adds against pixel index: two flat curves with spikes at pixels 60 and 72, where rows begin, and a level one of PixelSNAIL, all well below dashed horizontal lines. Right, milliseconds against pixel index: two flat curves near a quarter of a millisecond, one with a spike every 28 pixels, far below dashed lines at about 16 and 50 milliseconds."}} tags=["hide-input"]
shape = (1, 12, 12)
models = {
    "Gated PixelCNN": (GatedPixelCNN(shape, channels=32, layers=7), "blue"),
    "PixelCNN": (PixelCNN(shape, channels=32, layers=7), "vermilion"),
    "PixelSNAIL": (PixelSNAIL(shape, channels=32, blocks=2, layers=2), "green"),
}
fig, (left, right) = plt.subplots(1, 2, figsize=(6.8, 3.2))
for name, (model, colour) in models.items():
    work = work_per_pixel(model)
    _, work_pass = multiplications(model.predict, torch.zeros(1, *shape))
    two_rows = torch.arange(60, 84)
    left.plot(two_rows, work[60:84] / 1e6, color=COLOURS[colour], label=name)
    left.axhline(work_pass / 1e6, ls="--", lw=1.4, color=COLOURS[colour])
    print(f"{name:>14}, millions: all steps {work.sum() / 1e6:.1f}", end=", ")
    print(f"one pass {work_pass / 1e6:.1f}")
costs = {row["model"]: row for row in benchmark("cost_per_position")}
for name, colour in {"PixelCNN": "vermilion", "Gated PixelCNN": "blue"}.items():
    row = costs[name.replace(" ", "")]
    cached_ms = [us / 1000 for us in row["cached_us"]]
    right.plot(row["position"], cached_ms, lw=1, color=COLOURS[colour])
    right.axhline(row["uncached_us"] / 1000, ls="--", lw=1.4, color=COLOURS[colour])
left.set(yscale="log", xlabel="pixel", ylabel="million multiply-adds", xlim=(60, 83))
right.set(yscale="log", xlabel="pixel", ylabel="milliseconds", xlim=(0, 784))
fig.legend(loc="outside upper center", ncols=3)
plt.show()

# %% [markdown]
# Caching saves *arithmetic*: all steps together multiply no more than one forward pass. It does not save *steps*. There are still $D$ of them in sequence, so drawing takes the time of hundreds of short steps, far longer than one pass on hardware that works in parallel.
#
# {cite:t}`ramachandran2017` report speed-ups of up to 183 for PixelCNN++ on a graphics processor.
#
# :::{admonition} Watch out: "PixelCNN trains in parallel, so it also samples in parallel"
# :class: pitfall
# One pass gives all conditionals *of a picture that is there*. If all pixels are drawn from one pass over an empty picture, each is drawn given zeros above and to the left, and no stroke is ever continued.
# :::
#
# **Predict, then run.** Test digits have 25 pixels of ink. Will digits drawn all at once have more than that, less, or as much?

# %% tolerance={"rtol": 0.1}
with torch.no_grad():
    at_once = (u < net(torch.zeros_like(u)).sigmoid()).float()
    in_order = draw_cached(net, torch.rand(100, 1, 14, 14))
for name, x in (
    ("data", small_test.x),
    ("drawn in order", in_order),
    ("drawn at once", at_once),
):
    print(f"pixels of ink, {name}: {x.sum((1, 2, 3)).mean():.1f}")

# %% [markdown]
# :::{dropdown} What to expect
# Less: some nine, a third of what data have, and of what the same network draws pixel by pixel.
# :::
#
# (sec-pix-table)=
# ### Which is best?
#
# First a comparison on small digits, under the rules of {numref}`sec-ar-compared` and with the models of {doc}`chapter 3 <03_autoregressive_models>`: each model gets the same 1,500 batches of 64 digits, the same four learning rates to choose from (the two best after a quarter of the steps are run in full), the same 10,000 test digits, and one seed. *Not converged* means that the last three quarters of the steps still gained over half a nat. PixelCNN, Gated PixelCNN and both LSTMs are told the position of each pixel.

# %%
equal = record("equal_budget")
print(f"{'':>27}  parameters  test nats      gain of the last 3/4    minutes")
order = sorted(equal["models"].items(), key=lambda item: item[1]["test_nll_nats"])
for name, r in order:
    rates = r["validation_of_rates_on_a_quarter"].values()
    quarter = min(value for value in rates if value is not None)  # None: it diverged
    gain = quarter - r["validation_curve"][-1]["nll_nats"]
    cost = f"{r['test_nll_nats']:5.2f} +- {r['standard_error']:.2f}"
    state = "nats, not converged" if gain > 0.5 else "nats"
    minutes = r["training_seconds"] / 60
    print(f"{name:>27}  {r['parameters']:10,}  {cost}  {gain:4.1f} {state:20}", end="")
    print(f"{minutes:6.1f}")
by_rate = equal["models"]["Gated PixelCNN"]["test_of_rates_in_full"]
print(
    "\nGated PixelCNN with a rate of",
    "; of ".join(f"{rate}: {test:.2f}" for rate, test in by_rate.items()),
)

# %% [markdown]
# FVSBN, the linear model, needs 33.6 nats, and every pixel model is at least five nats better. MADE, with 28.4, is harder to beat:
#
# - PixelCNN, Row LSTM and Diagonal BiLSTM are level with it;
# - the Gated PixelCNN, which has no blind spot, is half a nat ahead;
# - PixelSNAIL is one nat ahead, PixelCNN++ nearly two.
#
# None of these has more than a sixth of MADE's 315,000 weights; the Diagonal BiLSTM has 6,313. The order says how far each came with 96,000 images, not how good it can become: only FVSBN has converged. There is one seed, and the learning rates are a factor of three apart: the Gated PixelCNN reached 29.01 nats with a rate of 0.03 and 27.84 with 0.01. A difference of half a nat settles nothing here.
#
# Convolutions also train faster than recurrence, here by little: the PixelCNN took 40 seconds of one core, the Row LSTM 46 and the Diagonal BiLSTM 61, with a half and a third of the weights. Parallel hardware should widen the gap: an LSTM over 28 rows takes 28 sequential steps, a convolution one.
#
# **At full size.** `python -m lvmlib.experiments.binary_mnist` and `... conditional_mnist` trained networks on 28x28 digits, 60,000 images drawn anew at every use ({term}`stochastic binarization`), on one processor core. The table shows them beside published figures of two kinds. Those under *fresh* are of networks that, like ours, saw their training set drawn anew for every pass {cite:p}`hotaj2021`; but they were trained for longer, the belief net for 50 passes, MADE for 85 and the others for 457; and MADE, the Gated PixelCNN (128 channels where ours has 24) and PixelSNAIL are larger than ours. Those under *fixed*, from {cite:t}`vandenoord2016`, belong to *one* binarization of MNIST, a file that does not come with this book, where a second pass brings nothing new; {cite:t}`burda2016` found their models about two nats worse on it.

# %%
names = {"FVSBN": "fvsbn", "MADE": "made", "PixelRNN, Row LSTM": "pixelrnn"}
names |= {"PixelCNN": "pixelcnn", "Gated PixelCNN": "gated_pixelcnn"}
names |= {"PixelCNN++": "pixelcnnpp", "PixelSNAIL": "pixelsnail"}
names |= {"multi-scale": "multi_scale", "hierarchical": "hierarchical"}
found = {label: record(f"{name}_mnist") for label, name in names.items()}
zoo = {label: facts for label, facts in found.items() if facts}

# %%
fresh, fixed = published("fresh"), published("static")
quoted = lambda table, label: f"{table[label]:.2f}" if table.get(label) else ""
print(f"{'nats for each digit':>20}     test   train    fresh  fixed")
for label, facts in zoo.items():
    bound = "<=" if "bound" in facts["test_protocol"] else "  "
    print(
        f"{label:>20} {bound}{facts['test_nll_nats']:6.2f} ",
        f"{facts['train_nll_nats']:6.2f}  ",
        f"{quoted(fresh, label):>6}  {quoted(fixed, label):>5}",
    )
print(f"{'published only':>20}  {quoted(fixed, 'PixelRNN, Diagonal BiLSTM'):>31}")

# %% [markdown]
# (The last line is of a PixelRNN with Diagonal BiLSTMs. Multi-scale and hierarchical models follow in Part 4; <= marks an upper bound.) And what each took:

# %%
measured = {row["model"]: row for row in benchmark("sampling") if row["n"] == 16}
row_of = {"PixelRNN, Row LSTM": "PixelRNN", "PixelCNN++": "PixelCNNpp"}
row_of["Gated PixelCNN"] = "GatedPixelCNN"
print(f"{'':>20}  parameters  passes  minutes | seconds  measured with")
for label, facts in zoo.items():
    row = measured.get(row_of.get(label, label))
    cost = f"{row['seconds']['cached']:7.2f}  {row['parameters']:10,}" if row else ""
    print(
        f"{label:>20}  {facts['parameters']:10,}  {facts['passes']:6g} ",
        f"{facts['training_minutes']:7.0f} | {cost}",
    )

# %% [markdown]
# The seconds are those of `benchmarks/sampling` for 16 digits, with the cache and on one core, with as many parameters as the last column says.
#
# Each row is one seed. *Training and test digits cost nearly the same*, so the models have not memorised the data. None of ours has converged, and the distance from a published figure says little about a kind of model.
#
# *Of the pixel models, those that reach everything come out ahead:* PixelCNN++ by halving, then PixelSNAIL by attention. They also have more parameters than the PixelCNNs and the Row LSTM. Reach alone is not enough: the belief net and MADE see every earlier pixel as well.
#
# *Position matters.* PixelCNN, Gated PixelCNN and Row LSTM are given two planes of coordinates that every layer reads (`positions=True`). A convolution treats all places alike, but MNIST's digits are centred, and a pixel cannot always see where the digit began.

# %% mystnb={"figure": {"caption": "Draws from the trained models, none selected, and binarized test digits above. All are sharp. From the last two most are digits, from the other two about half; the others consist of strokes that did not agree on one.", "name": "fig-pix-samples"}, "image": {"alt": "Ten rows of twelve binary digits: two rows of data, then two each from Row LSTM, PixelCNN, Gated PixelCNN and PixelCNN++. The last four are the most legible."}} tolerance={"draws": ["rows 3-10"], "rtol": 0.2}
rows, labels = [binary_test.x[:24]], ["data", ""]
for label in ("PixelRNN, Row LSTM", "PixelCNN", "Gated PixelCNN", "PixelCNN++"):
    if label in zoo:
        model, _ = trained(names[label])
        torch.manual_seed(0)
        rows.append(model.sample(24))
        labels += [label, ""]
        print(f"{label:>18}: ", end="")
        with torch.no_grad():
            some = binary_test.x[:100]
            log_p, log_p_data = (model.log_prob(x) for x in (rows[-1], some))
        beside_data(rows[-1], log_p, some, log_p_data)
image_grid(torch.cat(rows), columns=12, row_labels=labels)
plt.show()

# %% [markdown]
# Where in a picture are the nats? Every pixel has a probability and so a {term}`surprise`, and they add up to the negative log-likelihood ({numref}`fig-pix-surprise`). Paper is cheap, and so is the inside of a stroke. In these three digits about two thirds of the nats fall on a twentieth of the pixels, along the edges: where a stroke begins or turns, and where the binarization is ragged, which no model can foresee. Even given the grey levels $g$ of the digit, the coins thrown for its pixels cost their entropies, $\sum_i H(g_i)$. Knowing more never raises an entropy, so this is a floor under every number of the table.

# %% mystnb={"figure": {"caption": "Three test digits, the probability that the Gated PixelCNN gave to ink at each pixel just before seeing it, and the surprise of what it then saw (black: 4 nats or more). The surprises of a picture add up to its negative log-likelihood, given on the left.", "name": "fig-pix-surprise"}, "image": {"alt": "Three rows of three pictures. Probabilities look like the digit, blurred; the surprise is a thin outline of the strokes, with a few dark points where a stroke begins or turns."}} tags=["photo"] tolerance={"data": 0.1, "figure": 0.3, "rtol": 0.05}
chosen = binary_test.x[[1, 4, 18]]
with torch.no_grad():
    ink = gated.conditionals(chosen).base_dist
    probability, surprise = ink.probs, -ink.log_prob(chosen)
totals = [f"{total:.0f} nats" for total in surprise.flatten(1).sum(1).tolist()]
panels = torch.stack([chosen, probability, (surprise / 4).clamp(max=1)], 1)
fig, ax = plt.subplots(figsize=(3.6, 3.4))
labels = {"row_labels": totals, "column_labels": ["digit", "p(ink)", "surprise"]}
image_grid(panels.flatten(0, 1), columns=3, ax=ax, **labels)
plt.show()
large = surprise > math.log(2)
share = (surprise * large).sum() / surprise.sum()
print(
    f"pixels that surprised more than a coin: {large.float().mean():.1%}, with",
    f"{share:.0%} of the nats",
)
grey = mnist_test.x.double() / 255
entropy = -torch.special.xlogy(grey, grey) - torch.special.xlogy(1 - grey, 1 - grey)
print(
    "entropy of the coins, mean over the test digits:",
    f"{entropy.sum((1, 2, 3)).mean():.1f} nats",
)

# %% [markdown]
# (sec-pix-temperature)=
# ### *Optional:* temperature
#
# The logits of each conditional may be divided by a {term}`temperature` $T$ before the draw. Below 1 every pixel takes the likelier value more often: strokes get smoother, and what is likely once becomes likelier still; above 1 noise creeps in. What its draws cost under the model itself says how far from the data each setting is: a hundred draws at $T = 1$ cost a little more than as many test digits (six nats, with a standard error of nearly three), at $T = 0.7$ about a quarter less than these, and at $T = 1.3$ nearly half as much again.

# %% mystnb={"figure": {"caption": "Draws of the Gated PixelCNN at three temperatures, from the same random numbers. Cold draws are smooth, many of them a 1, 7 or 9; warm ones are frayed.", "name": "fig-pix-temperature"}, "image": {"alt": "Three rows of twelve digits. At temperature 0.7 strokes are smooth and many digits are a 1, a 7 or a 9; at 1 they look like the data; at 1.3 they are ragged."}} tolerance={"draws": ["rows 1-3"], "rtol": 0.2}
rows, temperatures = [], (0.7, 1.0, 1.3)
for temperature in temperatures:
    torch.manual_seed(1)
    rows.append(gated.sample(100, temperature=temperature))
image_grid(
    torch.cat([x[:12] for x in rows]),
    columns=12,
    row_labels=[f"$T = {t}$" for t in temperatures],
)
plt.show()
named = {f"draws, T = {t}": x for t, x in zip(temperatures, rows)}
named["test digits"] = binary_test.x[:100]
for name, x in named.items():
    with torch.no_grad():
        cost = -gated.log_prob(x)
    error = cost.std() / len(x) ** 0.5
    print(
        f"{name:14}: {cost.mean():5.1f} +- {error:.1f} nats at T = 1,",
        f"{x.mean():.1%} ink",
    )

# %% [markdown]
# :::{admonition} Watch out: temperature is applied pixel by pixel
# :class: pitfall
# Dividing the logits of all conditionals by $T$ does not sample from $p(x)^{1/T} / Z$. Each conditional is sharpened by itself, whatever its choice leads to. Two pixels suffice: let $p(x_1 = 1) = 0.6$; after a 1 the second pixel is a fair coin, after a 0 it is certainly 0. The likeliest picture is 00, with probability 0.4. As $T \to 0$ the power of the joint puts
# everything on 00; the conditionals' way goes to $x_1 = 1$ with certainty and never draws 00. The next cell has the numbers at $T = \frac12$, and {ref}`ex-ar-temperature` asks when the two agree.
# :::

# %%
p = {"00": 0.4, "01": 0.0, "10": 0.3, "11": 0.3}
T = 0.5
Z = sum(v ** (1 / T) for v in p.values())
sharper = lambda q: q ** (1 / T) / (q ** (1 / T) + (1 - q) ** (1 / T))
first = sharper(0.6)
by_pixel = {
    "00": 1 - first,
    "01": 0.0,
    "10": first * sharper(0.5),
    "11": first * sharper(0.5),
}
for x in p:
    joint = p[x] ** (1 / T) / Z
    print(
        f"{x}: p {p[x]:.2f}, at T = 1/2 jointly {joint:.3f}, pixel by pixel",
        f"{by_pixel[x]:.3f}",
    )

# %% [markdown]
# (sec-pix-tricks)=
# ### *Optional:* what does each training trick buy?
#
# The recipe behind the models of this chapter has a number of ingredients that are often listed and seldom measured:
#
# - a fresh binarization at every use;
# - a learning rate that rises, then falls along a cosine, and an average over the weights of the last hundred steps or so;
# - gradients clipped to a norm of 1;
# - in the network: two stacks with gates, depth, and coordinates.
#
# To weigh them, take a small Gated PixelCNN on 5,000 digits of 14x14 pixels with all of them, then change one thing at a time.
# `python -m lvmlib.experiments.pixel_ablation` trained each variant for 1,000 steps of 64 digits, with two seeds. Networks that lose layers or gates are made wider or deeper, so that all have about as many parameters.

# %% mystnb={"figure": {"caption": "Test NLL of a small Gated PixelCNN with the whole recipe, and with one ingredient left out at a time; a dot for each of two seeds. \"Neither\" has a constant learning rate and no average. To the left is better; the dashed line is the mean with everything.", "name": "fig-pix-tricks"}, "image": {"alt": "A dot plot with one row for each variant and two dots in each row. Without coordinates both dots lie more than two nats to the right of the line; all others lie within one nat of it, the constant learning rate to its left."}}
ablation = record("pixel_ablation")["variants"]
mean_of = lambda runs, key: sum(r[key] for r in runs) / len(runs)
means = {name: mean_of(runs, "test_nll_nats") for name, runs in ablation.items()}
fig, ax = plt.subplots(figsize=(6, 3.2))
for row, runs in enumerate(ablation.values()):
    ax.plot(
        [r["test_nll_nats"] for r in runs],
        [row] * len(runs),
        "o",
        color=COLOURS["blue"],
    )
ax.axvline(means["everything"], ls="--", lw=1.2, color=COLOURS["black"])
ax.set_yticks(range(len(ablation)), list(ablation))
ax.invert_yaxis()
ax.set(xlabel="test NLL (nats)")
plt.show()
for name, runs in ablation.items():
    train_mean = sum(r["train_nll_nats"] for r in runs) / len(runs)
    seeds = " and ".join(f"{r['test_nll_nats']:.2f}" for r in runs)
    print(
        f"{name:>24}: test {seeds}, {means[name] - means['everything']:+.2f};",
        f"training {train_mean:.2f}",
    )


# %% [markdown]
# First the noise: two seeds of one variant differ by up to 0.25 nats and typically by 0.1, so a difference of means below 0.2 or so says little. Then, from the largest:
#
# - **Position** is worth 2.3 nats, more than everything else together, and costs two planes of numbers.
# - **Depth**, four layers of 16 channels in place of two of 25, is worth 0.8; **two stacks with gates**, in place of six layers of one stack, 0.4 with 7% more parameters.
# - **Clipping** is worth 0.3: it keeps a rare large gradient from undoing earlier progress.
# - **Fresh binarization** is worth perhaps 0.2 in these few passes. The training NLL is on one draw of the coins, for the frozen variant of seed 0 the very draw that it was trained on. Its mean lies 0.3 nats below the test NLL, where the two differ by at most 0.06 in every other variant: it has begun to memorise the coins.
# - **A falling learning rate** *costs* 0.3 here. The run is so short that the network does better to keep moving to the end, and the average over the weights removes the noise of that; without the average ("neither") the gain is nearly gone. Where the rate does fall to zero the average changes nothing, as the last weights hardly move.
#
# None of these numbers is a law. In a run ten times as long the falling rate and the fresh coins would be expected to do better. The lesson is to measure before believing, and to run more than one seed.
#
# ### Exercises of Part 2
#
# :::{exercise} ★★ A given beginning
# :label: ex-pix-begin
# Fill the gap: like `draw`, but the first `rows` rows of the pictures `given` are kept and only the rest is drawn. It is a draw from $p(x_{\text{lower}} \mid x_{\text{upper}})$; say why.
# :::


# %%
def draw_below(network, given, rows, u):
    """Pictures [n, 1, H, W] whose first rows are those of `given`, u [n, 1, H, W]."""
    return ...  # your code


# %%
finished = draw_below(two_stacks, small_test.x[:12], 7, u)
if finished is not ...:  # a test of your code
    assert torch.equal(finished[:, :, :7], small_test.x[:12, :, :7])
    from_nothing = draw_below(two_stacks, small_test.x[:12], 0, u)
    assert torch.equal(from_nothing, draw(two_stacks, u))
    image_grid(torch.cat([small_test.x[:12], finished]), columns=12)


# %% [markdown]
# :::{solution} ex-pix-begin
# :class: dropdown
# Start from `x = given.clone()` instead of zeros and let `r` run from `rows`. What stands in the lower rows of `given` does no harm, since the network never looks ahead. The given pixels are the first of the order, so the product of the remaining conditionals is exactly $p(x_{\text{lower}} \mid x_{\text{upper}})$. {numref}`sec-pix-complete` does this with a larger model.
# :::
#
# :::{exercise} ★★ Moved down by a row
# :label: ex-pix-diagonal
# In {numref}`sec-pix-rnn` the second direction of the Diagonal BiLSTM is moved down by one row. Which pixels would a network see wrongly without that, and why is nothing lost by it?
# :::
#
# :::{solution} ex-pix-diagonal
# :class: dropdown
# The direction from the upper right sees, at $(r, c)$, the pixels to the right in row $r$, $(r, c + 1), (r, c + 2), \dots$, which come later. Worse, it sees $(r, c)$ itself, which it reads without a mask: the network would see the answer. Moved down, $(r, c)$ receives what belongs to $(r - 1, c)$: pixels of the rows above $r$ only, also those to the right. The pixels to the left in row $r$, which this direction does not see, the first one does.
# :::
#
# (sec-pix-levels)=
# ## Part 3. Levels: what does a pixel predict?
#
# So far a pixel was black or white. This part asks what distribution a network should predict for 256 grey levels or colours, and builds the model that answered it, PixelCNN++.
#
# (sec-pix-logistic)=
# ### Grey levels: a table or a mixture of logistics?
#
# The first pixel models predicted 256 values with a softmax over 256 logits: a free table, which can have any shape, and must learn every entry separately. It does not know that 127 lies between 126 and 128. PixelCNN++ {cite:p}`salimans2017` puts the knowledge in: a level is a continuous brightness, **rounded**. One example of 127 then makes 126 and 128 more likely as well, and $3M$ numbers, for $M$ bumps, do the work of 256. Why several bumps? Because the next pixel may be paper *or* ink, and a single bump would have to lie in between.
#
# Let the brightness be a mixture of $M$ logistic distributions, each with distribution function $F(t) = \sigma((t - \mu)/s)$. Any distribution will do whose $F$ is easy to compute and whose tails are not too thin: ten standard deviations off, a level costs 20 nats under a logistic, 53 under a normal distribution ({ref}`ex-pix-normal`). The probability of level $k$ is what falls into the bin around it:
#
# $$ P(k) = \sum_{m=1}^{M} \pi_m \left[ F_m\!\left(k + \tfrac12\right) - F_m\!\left(k - \tfrac12\right) \right], \qquad k \in \{0, \dots, K - 1\}, $$ (eq-pix-logistic)
#
# except that the lowest bin reaches down to $-\infty$ and the highest up to $\infty$: read $F_m(-\frac12)$ as 0 and $F_m(K - \frac12)$ as 1.
#
# This is a mixture of {term}`discretized logistics <discretized logistic>`.
#
# :::{prf:theorem} A discretized logistic mixture sums to 1
# :label: thm-pix-logistic
# With these edge bins $P(k) > 0$ and $\sum_{k=0}^{K-1} P(k) = 1$ for all real $\mu_m$, all $s_m > 0$ and all weights $\pi_m \ge 0$ with $\sum_m \pi_m = 1$. Without them, the sum is $\sum_m \pi_m [F_m(K - \frac12) - F_m(-\frac12)] < 1$.
# :::
#
# :::{prf:proof}
# For one component the sum over $k$ telescopes: every boundary $k + \frac12$ with $0 \le k < K - 1$ occurs once with a plus, as the upper end of bin $k$, and once with a minus, as the lower end of bin $k + 1$. What remains is the upper end of the last bin minus the lower end of the first, $1 - 0$ with the edge bins, and
# $F(K - \frac12) - F(-\frac12) < 1$ without. Each term is positive, as $F$ increases strictly and lies strictly between 0 and 1. The mixture is a weighted mean of ones.
# :::


# %%
def bins(loc, scale, K, edges=True):
    """Probabilities [K] of the levels 0..K-1 under one logistic, by definition."""
    F_upper = torch.sigmoid((torch.arange(K, dtype=torch.float64) + 0.5 - loc) / scale)
    F_lower = torch.sigmoid((torch.arange(K, dtype=torch.float64) - 0.5 - loc) / scale)
    if edges:
        F_upper[-1], F_lower[0] = 1, 0
    return F_upper - F_lower


# %% tags=["check:thm-pix-logistic"]
torch.manual_seed(0)
K, levels = 256, torch.arange(256)
worst = 0.0
for _ in range(200):
    pi = torch.randn(5).double().softmax(0)
    loc, scale = 400 * torch.rand(5).double() - 72, 60 * torch.rand(5).double() + 0.05
    ours = sum(weight * bins(m, s, K) for weight, m, s in zip(pi, loc, scale))
    parts = (part.expand(K, 5) for part in (pi.log(), loc, scale))
    library = DiscretizedLogisticMixture(*parts, K)
    difference = (library.log_prob(levels).exp() - ours).abs().max().item()
    worst = max(worst, abs(ours.sum().item() - 1), difference)
print(
    "200 mixtures, centres on and off the scale: sums, and lvmlib, right to",
    f"1e-12: {worst < 1e-12}",
)
with_edges, without = bins(0, 20, K).sum(), bins(0, 20, K, edges=False).sum()
print(f"mean 0, scale 20: sum {with_edges:.3f}, without edge bins {without:.3f}")
assert worst < 1e-12 and abs(without - 0.506) < 5e-4

# %% [markdown]
# :::{admonition} Watch out: the edge bins
# :class: pitfall
# Code that uses the plain difference for all levels is in circulation. Its "probabilities" of a logistic with mean 0 and scale 20 sum to 0.506: half of the mass lies on levels that do not exist. It reports an NLL that is too *high* and, worse, cannot say "black" with certainty except by an ever smaller scale. In scans, drawings and emoji black and white are the most frequent levels.
# :::
#
# :::{admonition} Watch out: the logarithm of a difference
# :class: pitfall
# Far above the centre of a logistic both sigmoids are rounded to 1, their difference is 0, and its logarithm $-\infty$: in float32, already some 17 scales away. With $a$ and $b$ the arguments at the upper and the lower end,
# $\log(\sigma(a) - \sigma(b)) = \log \sigma(a) + \log \sigma(-b) + \log(1 - e^{-1/s})$ holds exactly ({ref}`ex-pix-log-difference`) and never subtracts. The next cell compares.
# :::

# %%
far = torch.tensor(200.0)  # level 200 for a logistic at 20 with scale 5, in float32
upper, lower = torch.sigmoid((far + 0.5 - 20) / 5), torch.sigmoid((far - 0.5 - 20) / 5)
rounded_off = (upper - lower).log()
stable = DiscretizedLogistic(torch.tensor(20.0), torch.tensor(5.0), 256).log_prob(far)
# far out, the tail of a logistic is exponential
exact = math.log(math.exp(-179.5 / 5) - math.exp(-180.5 / 5))
print(f"log P(200): {rounded_off:.2f} by the difference", end=", ")
print(f"{stable:.4f} stable, {exact:.4f} from the tail")


# %% [markdown]
# **Does it pay?** Knowing the scale should save data. So take the smallest pixel model that there is, a network that predicts a grey level from its left, upper and upper left neighbours, with each kind of output, and train it on 300, 3,000 and 30,000 pixels of *emoji*: colour pictures of 32x32 pixels, made grey, without the places where the three neighbours are equal.
#
# **Predict, then run.** Which of the two is ahead at each size, and does the gap grow or shrink?


# %%
def pixels(split):
    """Grey levels and their three neighbours, from a split: [N], [N, 3]."""
    grey = split.x.float().mean(1).round()  # [n, 32, 32]
    now, left = grey[:, 1:, 1:], grey[:, 1:, :-1]
    up, corner = grey[:, :-1, 1:], grey[:, :-1, :-1]
    busy = (left != up) | (up != corner)  # leave out what is flat
    return now[busy], torch.stack([left, up, corner], -1)[busy] / 127.5 - 1


emoji_train, _, emoji_test = load("emoji")
target, neighbours = pixels(emoji_train)
test_target, test_neighbours = (t[:20_000] for t in pixels(emoji_test))
families = {
    "softmax": (256, lambda out: torch.distributions.Categorical(logits=out)),
    "mixture": (15, lambda out: mixture(out)),
}


def mixture(out):
    """Five logistics from 15 numbers: [N, 15]."""
    logits, loc, log_scale = out.chunk(3, -1)
    scale = 127.5 * (log_scale - 2).clamp(min=-7).exp()
    return DiscretizedLogisticMixture(logits, 127.5 * (1 + loc), scale)


# %% tolerance={"rtol": 0.1}
def bits(name, network, levels, neighbours):
    """Minus log2 p(level | neighbours) with one of the two families: [N]."""
    return -families[name][1](network(neighbours)).log_prob(levels) / math.log(2)


order = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))
# training stops when these get worse
held = (target[order[-2000:]], neighbours[order[-2000:]])
few = {}
how = dict(steps=1500 * SCALE, lr=cosine(3e-3, 1500 * SCALE), batch_size=100)
how |= dict(device=DEVICE, progress=False)
for n in (300, 3_000, 30_000):
    for name in families:
        seed_everything(0)
        network = MLP(3, (64, 64), families[name][0])
        data = (target[order[:n]], neighbours[order[:n]])
        loss = lambda network, batch, name=name: bits(name, network, *batch)
        fit(network, data, loss, valid=held, valid_every=20, patience=10, **how)
        few.setdefault(name, network)  # those of the fewest pixels, for the figure
        with torch.no_grad():
            test = bits(name, network, test_target, test_neighbours).mean()
        print(f"{n:6,} pixels: {name} {test:.2f} bits")

# %% [markdown]
# :::{dropdown} What to expect
# The mixture wins at every size, and by most where data are few: 1.3 bits with 300 pixels, 0.8 with 3,000, 0.6 with 30,000.
# :::
#
# With 300 pixels, and 2,000 more that say when to stop, five logistics do nearly as well as the table with 30,000 (where neither has *converged*); with 3,000 they are half a bit ahead of it. Their advantage must end somewhere, since a table can learn any distribution and a mixture of five only some. For emoji it does not end here, nor for the photographs of {cite:t}`salimans2017`.
#
# {numref}`fig-pix-heads` shows why. From so few pixels the table has hardly left the uniform distribution, and its teeth are the values that it has met. The logistics know at once which levels are near to which, and put mass on the two ends, where the edge bins collect what lies beyond.

# %% mystnb={"figure": {"caption": "Distribution of a grey level given neighbours of the levels 120, 128 and 124 (left, up, corner; above), or 255, 255 and 200 (below), after training on the fewest pixels. The softmax's table is ragged: its teeth are the values that it has met. The mixture is smooth but for its two end bins (dots), which hold what lies beyond the scale: below, the last one has nearly all of the probability.", "name": "fig-pix-heads"}, "image": {"alt": "Two rows of two bar charts over the levels 0 to 255. Upper row: the softmax is ragged and almost flat, the mixture a smooth peak near 125. Lower row: the softmax is ragged and rises a little to a spike at 255; the mixture rises smoothly from 150 on and ends in a spike at 255 that holds nearly everything. Dots stand on the bars of the levels 0 and 255; that of 0 is too low to be seen in the last panel."}} tolerance={"data": 0.1, "rtol": 0.1}
fig, axes = plt.subplots(2, 2, figsize=(6, 3.4), sharex=True)
for column, name in zip(axes.T, families):
    for ax, around in zip(column, ([120.0, 128, 124], [255.0, 255, 200])):
        with torch.no_grad():
            out = few[name](torch.tensor(around).expand(256, 3) / 127.5 - 1)
            p = families[name][1](out).log_prob(torch.arange(256)).exp()
        ax.bar(range(256), p, width=1, color=COLOURS["blue"])
        at_the_ends = {"color": COLOURS["vermilion"], "clip_on": False}
        seen_ends = [k for k in (0, 255) if p[k] > 1e-5]  # the others are off the scale
        ax.vlines(seen_ends, 1e-5, p[seen_ends], lw=1.5, **at_the_ends)
        ax.plot(seen_ends, p[seen_ends], "o", ms=4, **at_the_ends)
        ax.set_yscale("log")
        ax.set(ylim=(1e-5, 1))
    column[0].set_title(name)
    column[1].set_xlabel("grey level")
    print(f"{name}: probability of level 255 in the lower row {p[255]:.3f}")
axes[0, 0].set_ylabel("probability")
plt.show()

# %% [markdown]
# (sec-pix-up)=
# ### PixelCNN++: down, up, and shortcuts
#
# Long reach takes many layers ({numref}`fig-pix-growth`), and each of them runs at all pixels. PixelCNN++ does most of its work at lower resolution instead: halve the picture by convolutions of stride 2, go on at a quarter of the cost with kernels that now reach twice as far, halve once more, and come back up. What the halving threw away returns by **shortcuts** from the way
# down to the way up at equal resolution, as in a U-net {cite:p}`ronneberger2015`.
#
# {numref}`fig-pix-updown` draws a small one, which we now build.

# %% mystnb={"figure": {"caption": "A small PixelCNN++. Both stacks go down to half the resolution and up again. Upper row: 8x8 pixels, lower row: 4x4. A pair has a residual block for each stack; the dashed shortcuts bring back what the halving lost.", "name": "fig-pix-updown"}, "image": {"alt": "A U-shaped diagram. From the left: the picture, shifted convolutions, a pair of blocks at 8 by 8, an arrow down with stride 2, a pair at 4 by 4, an arrow up by a transposed convolution, two pairs at 8 by 8, then the mixture of logistics. Two dashed arrows lead across the top from the way down to the two pairs on the way up."}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6.6, 2.5))
# fmt: off
stations = {
    "picture": (0, 1), "shifted\nconvolutions": (1.6, 1), "pair": (3.1, 1),
    " pair ": (4.4, 0), "pair ": (5.7, 1), " pair": (7, 1), "logistics": (8.5, 1),
}
# fmt: on
for text, (x, y) in stations.items():
    box(ax, x, y, text.strip(), "#d9eaf5" if "pair" in text else "white")
for start, end in ((0.55, 0.8), (2.4, 2.7), (6.1, 6.6), (7.4, 7.9)):
    arrow(ax, (start, 1), (end, 1))
arrow(ax, (3.25, 0.75), (3.9, 0.15))
arrow(ax, (4.9, 0.15), (5.55, 0.75))
ax.text(3.35, 0.3, "stride 2", ha="right", fontsize=9)
ax.text(5.45, 0.3, "transposed, stride 2", ha="left", fontsize=9)
for y, resolution in ((1, "8x8"), (0, "4x4")):
    ax.text(-0.8, y, resolution, ha="right", va="center", fontsize=9)
for start, end, height in ((3.1, 5.7, 1.75), (1.6, 7.0, 2.15)):
    path = ([start, start, end, end], [1.3, height, height, 1.4])
    ax.plot(*path, ls="--", lw=1.3, color=COLOURS["vermilion"])
    arrow(ax, (end, 1.4), (end, 1.25), colour=COLOURS["vermilion"])
ax.text(4.4, 1.8, "shortcuts", ha="center", va="bottom", fontsize=9)
ax.set(xlim=(-1.4, 9.2), ylim=(-0.4, 2.4))
ax.axis("off")
plt.show()

# %% [markdown]
# Is it still autoregressive? It has the vertical stack $v$ and the horizontal stack $h$ of the Gated PixelCNN, and its convolutions are *shifted* ({numref}`fig-pix-shifted`): a kernel of $v$ reads its own row and the row above, around its column; a kernel of $h$ ends at the pixel itself. Again only the first layer is moved, down by a row in $v$ and right by a column in $h$. With stride 2 the coarse feature at $(r, c)$ is computed at pixel $(2r, 2c)$, the first of its four in reading order, from features that know earlier pixels only. So it knows nothing of the four, and all four may use it on the way up.

# %% mystnb={"figure": {"caption": "The two kernels of PixelCNN++ in later layers. The square marks the pixel whose features are computed, blue taps are read. In the vertical stack features of the marked row, also those on the right, know only rows above it. With stride 2 the result belongs to all four outlined pixels, of which the marked one comes first.", "name": "fig-pix-shifted"}, "image": {"alt": "Two grids of 4 by 6 cells. In both a pixel is marked, and the 2 by 2 cells that begin with it are outlined. On the left two rows of three cells around the pixel's column, its own row and the row above, are blue; on the right two rows of two cells that end at the pixel."}} tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(5, 1.8), gridspec_kw={"wspace": 0.2})
for ax, stack, columns in zip(axes, ("vertical", "horizontal"), (3, 2)):
    taps = torch.zeros(4, 6)
    taps[1:3, 1 : 1 + columns] = 1  # the marked pixel is (2, 2)
    ax.imshow(taps, cmap="Blues", vmax=1.6)
    ax.hlines(torch.arange(-0.5, 4), -0.5, 5.5, color="#bbbbbb", lw=0.8, clip_on=False)
    ax.vlines(torch.arange(-0.5, 6), -0.5, 3.5, color="#bbbbbb", lw=0.8, clip_on=False)
    ax.spines[:].set_visible(False)
    four = plt.Rectangle((1.5, 1.5), 2, 2, fill=False, lw=2, zorder=3)
    ax.add_patch(four)
    ax.plot(2, 2, "s", color=COLOURS["vermilion"], ms=8)
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"{stack}: 2x{columns}", fontsize=11)
    ax.grid(visible=False)
plt.show()


# %%
class Shifted(nn.Conv2d):
    """Reads rows up to its own, and columns around its own or, with left, up to it."""

    def __init__(self, inputs, outputs, kernel, left=False, stride=1):
        super().__init__(inputs, outputs, kernel, stride)
        side = kernel[1] // 2
        sides = (kernel[1] - 1, 0) if left else (side, side)
        self.margin = (*sides, kernel[0] - 1, 0)  # zeros left, right, above, below

    def forward(self, x):
        return super().forward(F.pad(x, self.margin))


# %%
class Pair(nn.Module):
    """A gated residual block for each stack, with or without a shortcut."""

    def __init__(self, p, shortcut=False):
        super().__init__()
        # v reads itself, h reads itself and v, and each its shortcut if there is one
        self.above = Shifted((1 + shortcut) * p, 2 * p, (2, 3))
        self.left = Shifted((2 + shortcut) * p, 2 * p, (2, 2), left=True)

    def forward(self, v, h, *old):  # old: nothing, or v and h from the way down
        # old[:1] is the old v, old[1:] the old h; both are empty without a shortcut
        v = v + gate(self.above(torch.cat([v, *old[:1]], 1)))
        h = h + gate(self.left(torch.cat([h, v, *old[1:]], 1)))  # v never reads h
        return v, h


# %%
class FirstMaps(nn.Module):
    """Takes the place of mask A: v knows rows above, h also pixels to the left."""

    def __init__(self, p):
        super().__init__()
        self.above, self.left = Shifted(2, p, (2, 3)), Shifted(2, p, (2, 1), left=True)

    def forward(self, z):
        z = torch.cat([z, torch.ones_like(z)], 1)  # tells the picture from its border
        # A pad of 1 and -1 adds a row (or column) of zeros and cuts off the last one:
        # the map moves by one.
        v = F.pad(self.above(z), (0, 0, 1, -1))  # down
        return v, v + F.pad(self.left(z), (1, -1))  # right


def mixture_head(p, M):
    """The last convolution, which starts with M bumps side by side."""
    head = nn.Conv2d(p, 3 * M, 1)
    head.weight.data.mul_(0.1)
    start = [torch.zeros(M), torch.linspace(-1, 1, M), torch.full((M,), -1.5)]
    head.bias.data = torch.cat(start)
    return head


# %%
class SmallPixelCNNpp(nn.Module):
    """Pictures [B, 1, H, W] of levels 0..K-1 -> parameters [B, 3M, H, W]."""

    def __init__(self, p=16, K=17, M=3):
        super().__init__()
        self.K, self.M = K, M
        self.first = FirstMaps(p)
        self.shrink_v = Shifted(p, p, (2, 3), stride=2)
        self.shrink_h = Shifted(p, p, (2, 2), left=True, stride=2)
        self.grow_v, self.grow_h = (nn.ConvTranspose2d(p, p, 2, 2) for _ in "vh")
        self.down, self.middle = Pair(p), Pair(p)
        self.up = nn.ModuleList([Pair(p, shortcut=True), Pair(p, shortcut=True)])
        self.out = mixture_head(p, M)

    def forward(self, x):
        v, h = self.first(2 * x / (self.K - 1) - 1)
        shortcuts = [(v, h)]
        v, h = self.down(v, h)
        shortcuts.append((v, h))
        v, h = self.middle(self.shrink_v(v), self.shrink_h(h))
        v, h = self.grow_v(v), self.grow_h(h)
        for pair in self.up:
            v, h = pair(v, h, *shortcuts.pop())
        return self.out(F.elu(h))


# %%
def levels_of(network, x):
    """The distribution of the level at each pixel, pictures [B, 1, H, W] known."""
    parts = network(x).permute(0, 2, 3, 1).chunk(3, -1)  # of M numbers at each pixel
    half = (network.K - 1) / 2
    loc, scale = half * (1 + parts[1]), half * parts[2].clamp(min=-5).exp()
    return DiscretizedLogisticMixture(parts[0], loc, scale, network.K)


def grey_nll(network, x):
    """Minus log p(x), nats: [B]."""
    return -levels_of(network, x).log_prob(x[:, 0]).flatten(1).sum(1)


torch.manual_seed(0)
little = SmallPixelCNNpp()
slopes = derivatives(lambda x: little.double()(x).square().sum(1), (1, 8, 8))
ahead_of_itself = slopes.triu().abs().max()
print("largest derivative with respect to a pixel not drawn before:", end=" ")
print(f"{ahead_of_itself:.1f}")
seen_share = slopes.tril(-1).count_nonzero() / (64 * 63 / 2)
print(f"derivatives with respect to earlier pixels that are not 0: {seen_share:.0%}")
assert ahead_of_itself == 0

# %% [markdown]
# Data for it: 1,257 digits of 8x8 pixels with 17 grey levels. The loop is `train`, as before; drawing goes pixel by pixel, and each level is a draw from a mixture of three rounded logistics.

# %% tolerance={"rtol": 0.03}
grey_train, _, grey_test = load("digits")
seed_everything(0)
little = SmallPixelCNNpp()
train(little, grey_train.x.float(), grey_nll, steps=200 * SCALE)
with torch.no_grad():
    nats = grey_nll(little, grey_test.x.float()).mean()
print(f"test: {nats / (64 * math.log(2)):.2f} bits/dim; uniform levels cost", end=" ")
print(f"{math.log2(17):.2f}")


# %% mystnb={"figure": {"caption": "Digits of 8x8 pixels with 17 grey levels. Above: test digits. Below: draws from the small PixelCNN++, none selected, after 200 steps (*not converged*).", "name": "fig-pix-little"}, "image": {"alt": "Four rows of twelve small grey pictures: two rows of digits, then two rows of draws, about half of which look like digits."}} tolerance={"draws": ["rows 3-4"], "rtol": 0.2} tags=["hide-input", "photo"]
@torch.no_grad()
def draw_levels(network, n, size=8):
    """Grey pictures [n, 1, size, size], one pass for every pixel."""
    x = torch.zeros(n, 1, size, size)
    for r in range(size):
        for c in range(size):
            x[:, 0, r, c] = levels_of(network, x).sample()[:, r, c].float()
    return x


torch.manual_seed(0)
grey_draws = draw_levels(little, 24)
panels = torch.cat([grey_test.x[:24].float(), grey_draws]) / 16
image_grid(panels, columns=12, row_labels=["data", "", "draws", ""])
plt.show()
with torch.no_grad():
    for name, x in (("test digits", grey_test.x[:24].float()), ("draws", grey_draws)):
        print(f"{name:>11}: {grey_nll(little, x).mean():.1f} nats", end=", ")
        print(f"mean level {x.mean():.1f} of 16")

# %% [markdown]
# `lvmlib.PixelCNNpp` has more blocks at each resolution, up to several halvings, and a cache. Its convolutions are these:

# %% tags=["hide-input"]
torch.manual_seed(0)
kinds = (((2, 3), False, 1), ((2, 2), True, 2), ((2, 1), True, 1))
for kernel, to_left, stride in kinds:
    theirs = ShiftedConv2d(4, 4, kernel, left=to_left, stride=stride)
    ours = Shifted(4, 4, kernel, to_left, stride)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 4, 8, 8)
    same = torch.allclose(ours(x), theirs(x), atol=1e-6)
    print(f"kernel {kernel}, stride {stride}: equal to lvmlib: {same}")

# %% [markdown]
# What does it buy? Compare networks of ten to sixteen residual blocks of the same width:

# %%
x = torch.zeros(1, 1, 32, 32)
for halvings, layers in ((0, 3), (1, 1), (2, 1)):
    model = PixelCNNpp(
        (1, 32, 32),
        channels=32,
        layers=layers,
        halvings=halvings,
        levels=2,
        logistics=0,
    )
    blocks = sum(type(module).__name__ == "GatedResnet" for module in model.modules())
    _, work = multiplications(model.predict, x)
    reach = field(model.double().predict, (1, 32, 32), (24, 16), inputs=1).sum().item()
    print(
        f"halvings {halvings}, blocks {blocks}: {work / 1e6:3.0f} million",
        "multiply-adds, ",
        end="",
    )
    print(f"{reach} of 784 pixels seen")


# %% [markdown]
# With two halvings every earlier pixel is in reach, for two thirds of the multiplications of a network of fewer blocks at full resolution that sees little more than half of them.
#
# And the shortcuts? A coarse pixel serves all four pixels of its square because it has seen nothing of the square itself. So without shortcuts the second pixel of a square does not see the first, its left neighbour, and those of the lower row see nothing of their own row, where the closest pixels are. Cut them and ask the gradient:


# %%
def sees_left(model):
    """Share of the pixels whose prediction depends on the pixel to the left."""
    J = derivatives(lambda x: model.predict(x), (1, 8, 8)).view(8, 8, 8, 8)
    return sum(bool(J[r, c, r, c - 1] != 0) for r in range(8) for c in range(1, 8)) / 56


torch.manual_seed(0)
twice = {"halvings": 2, "levels": 2, "logistics": 0}
model = PixelCNNpp((1, 8, 8), channels=4, layers=1, **twice).double()
print(f"pixels that see their left neighbour: {sees_left(model):.0%} with shortcuts")
for module in model.modules():
    for pair in getattr(module, "up", ()):  # the last input of both blocks: a shortcut
        for block in (pair.u, pair.v):  # lvmlib's names for the stacks v and h
            nn.init.zeros_(block.sides[-1].weight)
print(f"                                      {sees_left(model):.0%} without")

# %% [markdown]
# Only pixels that begin a coarsest square, here of 4x4, are left: 2 of the 56 that have a left neighbour.

# %% [markdown]
# (sec-pix-grey)=
# ### MNIST with all its grey levels
#
# `python -m lvmlib.experiments.grey_digits` trained a PixelCNN++ of 16 channels, with five logistics for each pixel, on MNIST as it is: 28x28 pixels with 256 levels. {numref}`fig-pix-grey` shows its draws.

# %% mystnb={"figure": {"caption": "MNIST with 256 grey levels. Above: test digits. Below: draws from a PixelCNN++, none selected, after less than one pass over the data (*not converged*). Strokes have soft edges and a natural width, but what they add up to is seldom a digit.", "name": "fig-pix-grey"}, "image": {"alt": "Six rows of eight grey digits: two rows of data, then four of draws with smooth strokes, a few of them legible."}} tags=["photo"] tolerance={"draws": ["rows 3-6"], "rtol": 0.2}
grey_model = grey_digits.pixelcnnpp()
facts = load_checkpoint(grey_model, "grey_digits")
torch.manual_seed(0)
grey_drawn = grey_model.sample(32)
originals = mnist_test.x[:16].float()
panels = torch.cat([originals, grey_drawn]) / 255
image_grid(panels, columns=8, row_labels=["data", "", "draws", "", "", ""])
plt.show()
bits_found, error = facts["test_bits_per_dim"], facts["standard_error_bits_per_dim"]
print(f"test: {bits_found:.3f} +- {error:.3f} bits/dim,", end=" ")
print(f"after {facts['passes']:g} passes", end="")
print(f" in {facts['training_minutes']:.0f} minutes, {facts['parameters']:,} weights")
for name, x in (("data", originals), ("draws", grey_drawn)):
    with torch.no_grad():
        bpd = bits_per_dim(grey_model.log_prob(x), (1, 28, 28)).mean()
    print(f"{name:>5}: {bpd:.2f} bits/dim, mean level {x.mean():.1f}")

# %% [markdown]
# After three quarters of a pass the model needs 1.117 bits/dim on the first 2,000 test images and has *not converged*. For Glow, a flow trained far longer, {cite:t}`chen2019` quote a bound of 1.05. (Both are bits/dim of 256 levels. They must not be compared with nats of *binarized* digits, which are other data.) An edge bin keeps paper white, and within a stroke one logistic says how dark it is.

# %% [markdown]
# (sec-pix-colour)=
# ### Colours: in which order?
#
# A colour picture has three numbers at each pixel. Draw red first, then green given red, then blue given both:
#
# $$ p(x) = \prod_{i} p(x_{i,R} \mid x_{<i})\; p(x_{i,G} \mid x_{<i}, x_{i,R})\; p(x_{i,B} \mid x_{<i}, x_{i,R}, x_{i,G}) . $$ (eq-pix-colour)
#
# In a PixelCNN the masks enforce this. The features of each layer are divided into three groups, one for each colour, and the masks differ only in what the centre of the kernel connects: with mask A a group sees *earlier* colours of the same pixel, with mask B earlier ones and its own. {numref}`fig-pix-rgb` shows which outputs depend on which inputs in a
# picture of four colour pixels: a triangle again, now with three steps for each pixel.

# %% mystnb={"figure": {"caption": "Which outputs (rows) of a colour PixelCNN depend on which inputs (columns), in a picture of 2x2 pixels, in the order of drawing. Below the diagonal all is dark, on it and above it nothing is: no colour sees itself or a later one. Lines separate pixels.", "name": "fig-pix-rgb"}, "image": {"alt": "A 12 by 12 matrix, lower triangular without its diagonal, with lines after every third row and column."}} tags=["photo"]
torch.manual_seed(0)
model = PixelCNN((3, 2, 2), channels=24, layers=2, kernel=3, levels=4).double()
order = model.order  # flat positions in the order of drawing: pixel by pixel, R, G, B
depends = torch.zeros(12, 12)
outputs = lambda x: model.predict(x).square().sum(1)
for x in torch.rand(8, 1, 3, 2, 2, dtype=torch.float64):  # a ReLU may be shut for one
    J = torch.autograd.functional.jacobian(outputs, x)
    depends[J.reshape(12, 12)[order][:, order] != 0] = 1
fig, ax = plt.subplots(figsize=(3.4, 3.4))
ax.imshow(depends, cmap="Blues", vmin=0, vmax=1.3)
for k in (2.5, 5.5, 8.5):
    ax.axhline(k, color=COLOURS["black"], lw=0.8)
    ax.axvline(k, color=COLOURS["black"], lw=0.8)
ax.set_xticks(range(12), list("RGB" * 4))
ax.set_yticks(range(12), list("RGB" * 4))
ax.set(xlabel="input", ylabel="output")
ax.grid(visible=False)
plt.show()
below, elsewhere = int(depends.tril(-1).sum()), int(depends.triu().sum())
print(f"dark entries: {below} of 66 below the diagonal, {elsewhere} elsewhere")
assert torch.equal(depends, torch.ones(12, 12).tril(-1))

# %% [markdown]
# :::{admonition} Watch out: a 32x32 colour picture takes 3,072 steps, not 1,024
# :class: pitfall
# A model of colours one by one, as in {eq}`eq-pix-colour`, makes $3 \cdot 32 \cdot 32 = 3{,}072$ draws, each of which waits for the one before. Counts of "one step for each pixel" forget the colours. PixelCNN++, which predicts all three colours by one mixture, does get by with 1,024 runs of its *network*, since the network does not look at the colours of the pixel being drawn; the three draws from the mixture still come one after another,
# but they cost next to nothing. For bits/dim the total is divided by 3,072 in either case.
# :::

# %%
print("colour pictures of 8x8 pixels (32x32: 16 times as many)")
for model in (
    PixelCNN((3, 8, 8), levels=256),
    PixelCNNpp((3, 8, 8), channels=8, layers=1),
):
    runs = (work_per_pixel(model) > 0).sum()  # draws that the network has to run for
    print(f"{type(model).__name__:>10}: {len(model.order)} draws, {runs} network runs")


# %% [markdown]
# (sec-pix-coupling)=
# ### *Optional:* three colours by one mixture
#
# Three groups of features are a heavy price for the three numbers of one pixel. PixelCNN++ has the network look at whole pixels and predict all three colours by *one* mixture, in which each component couples the colours linearly. With $\tilde x$ for levels spread over $[-1, 1]$,
#
# $$\begin{aligned} p(x_R, x_G, x_B) = \sum_m \pi_m\, & P_m(x_R \mid \mu_{m}^R)\, P_m(x_G \mid \mu_m^G + \alpha_m \tilde x_R) \\
# & P_m(x_B \mid \mu_m^B + \beta_m \tilde x_R + \gamma_m \tilde x_G), \end{aligned}$$ (eq-pix-coupling)
#
# with weights, locations, scales and couplings from the network's features at the pixel. (Here locations are in the units of $\tilde x$ too, and $P_m(\cdot \mid \mu)$ is the discretized logistic with location $\mu$ and the scale that component $m$ has for the colour.) This is not the product of three mixtures with the weights $\pi_m$, because the red level tells which component is at work. But it *is* a product of three conditionals. Each is again a mixture, with weights brought up to date after each colour, so that the colours can be drawn one after another.
#
# :::{prf:proposition} The coupled mixture as a product of conditionals
# :label: thm-pix-coupling
# Let $p(x_1, \dots, x_C) = \sum_m \pi_m \prod_c P_m(x_c \mid x_{<c})$ with distributions $P_m(\cdot \mid x_{<c})$. Then
#
# $$\begin{aligned} p(x_c \mid x_{<c}) &= \sum_m \pi_m^{(c)} P_m(x_c \mid x_{<c}), \\ \pi_m^{(c)} &\propto \pi_m \prod_{b < c} P_m(x_b \mid x_{<b}), \end{aligned}$$ (eq-pix-posterior-weights)
#
# again a mixture, whose weights are the posterior probabilities of the components given the colours so far. Hence $p$ sums to 1.
# :::
#
# :::{prf:proof}
# Summing the joint over $x_C$, then over $x_{C-1}$, and so on gives $p(x_{\le c}) = \sum_m \pi_m \prod_{b \le c} P_m(x_b \mid x_{<b})$, as every $P_m$ sums to 1. Divide $p(x_{\le c})$ by $p(x_{<c}) = \sum_m \pi_m \prod_{b < c} P_m(x_b \mid x_{<b})$: the $m$-th term of the numerator is the $m$-th term of the denominator times $P_m(x_c \mid x_{<c})$. The product of the conditionals telescopes to $p$.
# :::
#
# The check takes 8 levels, so that all 512 colours can be listed, writes the joint down as it stands in {eq}`eq-pix-coupling`, and compares with the head that `lvmlib.PixelCNNpp` uses, which yields conditionals.


# %%
def P(x, centre, scale, K=8):
    """Bins of logistics: x [N, 1], centre [N, M] or [M], scale [M] -> [N, M]."""
    upper = torch.sigmoid((x + 0.5 - centre) / scale).masked_fill(x == K - 1, 1)
    return upper - torch.sigmoid((x - 0.5 - centre) / scale).masked_fill(x == 0, 0)


torch.manual_seed(0)
K, M, half = 8, 3, 3.5  # levels, components, half of the range 0..7
head = PixelHead(features=6, channels=3, family=family_of(K, M)).double()
with torch.no_grad():
    for parameter in head.inner.parameters():  # any weights will do
        parameter.normal_()
features = torch.randn(1, 6, 1, 1, dtype=torch.float64)
sizes = [M, 3 * M, 3 * M, 3 * M]
logits, *rest = head.inner(features[0, :, 0, 0]).detach().split(sizes)
loc, log_scale, coupling = (t.view(3, M) for t in rest)
scale, (alpha, beta, gamma) = half * log_scale.exp(), coupling.tanh()
colours = torch.cartesian_prod(*[torch.arange(K).double()] * 3)  # [512, 3]
red, green, blue = colours.split(1, 1)
z_red, z_green = red / half - 1, green / half - 1  # spread over [-1, 1]

# %% tags=["check:thm-pix-coupling"]
joint = logits.softmax(0) * P(red, half * (1 + loc[0]), scale[0])
joint = joint * P(green, half * (1 + loc[1] + alpha * z_red), scale[1])
joint = joint * P(blue, half * (1 + loc[2] + beta * z_red + gamma * z_green), scale[2])
joint = joint.sum(1)  # [512]
with torch.no_grad():
    out = head(features.expand(512, -1, -1, -1), colours.view(512, 3, 1, 1))
    each = family_of(K, M).distribution(out).log_prob(colours.view(512, 3, 1, 1))
product = each.sum((1, 2, 3)).exp()
print(f"sum over 512 colours: {joint.sum():.12f}")
print(
    "equal to the product of conditionals:",
    f"{torch.allclose(joint, product, atol=1e-12)}",
)
assert abs(joint.sum() - 1) < 1e-12 and torch.allclose(joint, product, atol=1e-12)

# %% [markdown]
# (sec-pix-emoji)=
# ### Small colour pictures
#
# The colour set of this book is small: 905 emoji for training, 60 for validation, 120 for testing, 32x32 pixels each. `python -m lvmlib.experiments.emoji` trained PixelCNN++ on them and their mirror images, with five coupled logistics as its output.

# %%
colourful, facts = trained("mixture", emoji, "emoji_{}")
test_bpd, train_bpd = facts["test_bits_per_dim"], facts["train_bits_per_dim"]
print(f"test {test_bpd:.2f} bits/dim, training pictures {train_bpd:.2f}")
print(
    f"{facts['parameters']:,} parameters, {facts['training_minutes']:.0f} minutes",
    "of training",
)

# %% [markdown]
# Test and training pictures cost nearly the same, so the model has not memorised its 905 pictures.

# %% mystnb={"figure": {"caption": "Emoji from the test set; the same with the lower half drawn by PixelCNN++ given the upper half; and draws from nothing. None selected. Edges and colours are carried on below the middle for a few rows; there are no whole objects, and without a beginning there are only patches.", "name": "fig-pix-emoji"}, "image": {"alt": "Three rows of eight small colour pictures on white. Above, real emoji: animals, food and objects. In the middle the same upper halves, continued downwards by coloured patches that match at the seam and soon dissolve. Below, scattered coloured patches, none of them identifiable."}} tags=["photo"] tolerance={"draws": ["rows 2-3"], "rtol": 0.2}
torch.manual_seed(0)
whole = emoji_test.x[[3, 12, 40, 47, 58, 71, 86, 100]].float()
completed = colourful.complete(whole, 3 * 16 * 32)
blocks = {"data": whole, "completed": completed, "drawn": colourful.sample(8)}
image_grid(torch.cat(list(blocks.values())) / 255, columns=8, row_labels=list(blocks))
plt.show()
assert torch.equal(completed[:, :, :16], whole[:, :, :16])
for name, x in blocks.items():
    with torch.no_grad():
        bpd = bits_per_dim(colourful.log_prob(x), (3, 32, 32)).mean()
    paper, (r, g, b) = (x == 255).all(1).float().mean(), x.mean((0, 2, 3)).tolist()
    print(f"{name:>9}: {bpd:.2f} bits/dim, {paper:.1%} white paper", end=", ")
    print(f"mean colour {r:.1f} {g:.1f} {b:.1f}")

# %% [markdown]
# **The table at full size.** In {numref}`sec-pix-logistic` the mixture beat the table of 256 values where examples are few. Here they are 905 pictures, or nearly three million colour values. The same PixelCNN++ was trained twice, with each of the two outputs and for as many passes:

# %%
for name in ("mixture", "softmax"):
    facts = record(f"emoji_{name}")
    each = f"test {facts['test_bits_per_dim']:.2f}"
    each += f", training {facts['train_bits_per_dim']:.2f} bits/dim"
    print(
        f"{name:>8}: {each}; {facts['parameters']:,} parameters,",
        f"{facts['passes']:.0f} passes",
    )

# %% [markdown]
# On the training pictures the table is nearly as good. On test pictures it is a quarter of a bit worse: it learns about each level separately, and 905 pictures are few for 768 outputs at each pixel, where the mixture has 50.

# %% [markdown]
# (sec-pix-colourise)=
# ### *Optional:* colourisation
#
# Which colours fit a grey picture $y$? Draws from $p(x \mid y)$. A model of $p(x)$ in reading order cannot give them, because $y$ says something about later pixels too. But a model can be conditioned on $y$ {cite:p}`kolesnikov2017`: let every factor see the whole grey picture,
#
# $$ \log p(x \mid y) = \sum_t \log p(x_t \mid x_{<t}, h(y)) . $$ (eq-pix-told)
#
# The map $h(y)$ comes out of ordinary convolutions. They need no masks, since $y$ is given and not predicted; five of them with growing dilation see 16 pixels to each side. A layer of the pixel model adds $h$ at a pixel, times a matrix of its own, to what goes into the gate there; at the coarse resolutions $h$ is averaged over the square that a coarse pixel stands for. The sum stays a distribution of $x$ for each $y$: the order of the pixels is untouched.
#
# `Colourisation` wraps a `PixelCNNpp` in this way. Ours began with the weights from above and was trained on. The gradient shows that the first pixel, for which an unconditional model has nothing to go on, depends on the grey picture below and to the right:

# %%
colouriser, facts = trained("colourise", emoji, "emoji_{}")
grey = torch.rand(1, 1, 32, 32, requires_grad=True)
white = torch.full((1, 3, 32, 32), 255.0)
corner = colouriser.model.predict(white, colouriser.features(grey))[..., 0, 0]
(gradient,) = torch.autograd.grad(corner.square().sum(), grey)
rows, columns = gradient[0, 0].nonzero().amax(0).add(1).tolist()
print(
    f"the pixel in the corner sees {rows} rows and {columns} columns of grey",
    "pixels",
)
print(
    f"test: {facts['test_bits_per_dim']:.2f} bits/dim given the grey picture,",
    f"{test_bpd:.2f} without",
)

# %% mystnb={"figure": {"caption": "Colourisation of test pictures. Left: the grey picture that the model is told. Then four draws given it. Right: the original. Outline and shading are right throughout; but most draws mix several colours within one object, and large parts stay grey.", "name": "fig-pix-colourise"}, "image": {"alt": "Five rows of six pictures: a grey emoji, four versions of it in different colours, and the original. Most versions are patched from several colours, and parts of them are grey."}} tags=["photo"] tolerance={"draws": ["columns 2-5"], "rtol": 0.2}
originals = emoji_test.x[[3, 40, 71, 100, 9]]
told = colouriser.grey(originals)  # [5, 1, 32, 32], in [-1, 1]
torch.manual_seed(0)
coloured = colouriser.sample(20, told.repeat_interleave(4, 0)).split(4)
shades = 127.5 * (told + 1).repeat(1, 3, 1, 1)
rows = [torch.cat([shades[i, None], coloured[i], originals[i, None]]) for i in range(5)]
labels = ["told", *["draw"] * 4, "original"]
image_grid(torch.cat(rows) / 255, columns=6, column_labels=labels)
plt.show()
draws = torch.cat(coloured)
error = (colouriser.grey(draws) - told.repeat_interleave(4, 0)).square().mean().sqrt()
apart = torch.stack([x[0] - x[1] for x in coloured]).square().mean().sqrt()
with torch.no_grad():
    pairs = ((originals, told), (draws, told.repeat_interleave(4, 0)))
    log_p = (colouriser.log_prob(*pair) for pair in pairs)
    bpd, bpd_draws = (bits_per_dim(value, (3, 32, 32)).mean() for value in log_p)
print(
    f"grey again, draws differ from what was told by {error:.3f}; two draws differ",
    f"by {apart:.1f} levels",
)
print(
    f"given the grey picture the originals cost {bpd:.2f} bits/dim, the draws",
    f"{bpd_draws:.2f}",
)


# %% [markdown]
# At the corner itself the map knows 17 columns and rows. The layers of the pixel model carry it further: to the right, since the vertical stack reads its own row on both sides; and downwards by three rows, since at the coarsest resolution $h$ is a mean over 4x4 pixels.
#
# Two draws for the same picture differ, which is the point: nothing in the grey says whether the can is yellow or blue. Outline and shading are told, and that is worth a third of the bits. What 905 pictures do not teach is taste. The model has seen what a shaded surface looks like in many colours, but not often enough that clover is green.
#
# ### Exercises of Part 3
#
# :::{exercise} ★★ Another law, rounded
# :label: ex-pix-normal
# Nothing in {prf:ref}`thm-pix-logistic` needs a logistic. Fill the gap: probabilities of the levels under a *normal* law, rounded, with edge bins. Compare it with a logistic of the same standard deviation, $s\pi/\sqrt3$, far from the centre. What would a network suffer from that puts a level ten standard deviations away?
# :::


# %%
def normal_bins(loc, std, K):
    """Probabilities [K] of the levels under a rounded N(loc, std^2), float64."""
    return ...  # your code


# %%
rounded = normal_bins(100.0, 10.0, 256)
if rounded is not ...:  # a test of your code
    assert abs(rounded.sum() - 1) < 1e-12
    assert abs(normal_bins(0, 20, 256)[0] - 0.51) < 0.01
    logistic = bins(100.0, 10 * 3**0.5 / math.pi, 256)
    print(f"P(200): normal {rounded[200]:.1e}, logistic {logistic[200]:.1e}")
    print("(a 0 under the normal law is no mistake of yours: its cdf rounds to 1)")

# %% [markdown]
# :::{solution} ex-pix-normal
# :class: dropdown
# The lines of `bins` with $\Phi((t - \mu)/\sigma)$ in place of the sigmoid; the sum telescopes for any $F$ that is 0 and 1 at the far ends. The tail of a normal law falls like $e^{-d^2/2}$, that of a logistic like $e^{-d}$ only. The cell below shows what a surprise costs: a level at ten standard deviations costs 53 nats under the normal law and 20 under the logistic, and the normal one soon underflows to an infinite loss. Heavy tails forgive early mistakes.
# :::

# %% tags=["hide-cell"]
edges = torch.distributions.Normal(100.0, 10.0).cdf(torch.arange(257).double() - 0.5)
edges[0], edges[-1] = 0, 1
logistic_bins = bins(100.0, 10 * 3**0.5 / math.pi, 256)
distance = torch.tensor(10.05).double()  # upper tail by symmetry, where cdf rounds to 1
tail = torch.special.log_ndtr(torch.tensor([-9.95, -10.05]).double())
cost = -(tail[0] + torch.log1p(-(tail[1] - tail[0]).exp()))
print(f"sum {edges.diff().sum():.12f}; ten standard deviations away:", end=" ")
print(f"normal {cost:.0f} nats, logistic {-logistic_bins[200].log():.0f} nats")

# %% [markdown]
# :::{exercise} ★ The logarithm of a bin
# :label: ex-pix-log-difference
# Show $\log(\sigma(a) - \sigma(b)) = \log \sigma(a) + \log \sigma(-b) + \log(1 - e^{b - a})$ for $a > b$. Why may the last term be computed with $a - b = 1/s$ once and for all, and why is it `log(-expm1(-1 / s))`?
# :::
#
# :::{solution} ex-pix-log-difference
# :class: dropdown
# Bring the difference to one denominator:
#
# $$\begin{aligned} \sigma(a) - \sigma(b) &= \frac{1}{1 + e^{-a}} - \frac{1}{1 + e^{-b}} = \frac{e^{-b} - e^{-a}}{(1 + e^{-a})(1 + e^{-b})} \\
# &= \sigma(a)\, \frac{e^{-b}}{1 + e^{-b}}\, (1 - e^{b - a}) = \sigma(a)\,\sigma(-b)\,(1 - e^{b - a}) . \end{aligned}$$
#
# Upper and lower end of a bin are 1 apart, so $a - b = 1/s$ for all levels. For large $s$ the difference $1 - e^{-1/s}$ loses its digits; `expm1` computes $e^t - 1$ without
# the subtraction.
# :::
#
# :::{exercise} ★★ Limits of a logistic
# :label: ex-pix-logistic-limits
# For one discretized logistic with edge bins: which distribution over the levels arises for $s \to 0$ with $\mu$ fixed (not at a boundary)? For $\mu \to -\infty$ with $s$ fixed? For $s \to \infty$ with $\mu$ fixed? The last one is not uniform: how would you initialise a mixture so that training starts near uniform?
# :::
#
# :::{solution} ex-pix-logistic-limits
# :class: dropdown
# All mass on the level nearest to $\mu$ (on 0 or $K - 1$ if $\mu$ lies off the scale). All mass on level 0. Half on level 0 and half on level $K - 1$, because $F$ is nearly $\frac12$ over the whole scale and the edge bins take the rest. So wide components are the wrong start; take several, with centres spread evenly over the scale and scales well below their distance. `lvmlib` takes 0.41 of the distance. Then the levels in the middle have about the same probability; the two ends have more, because the edge bins collect the tails: for $M$ components 5.9 times as much as the middle with $M = 3$, 3.8 times with $M = 5$ and 2.2 times with $M = 10$.
# :::
#
# (sec-pix-told)=
# ## Part 4. Condition: what may the model be told?
#
# A class, a small picture, half a picture: every factor of the chain rule may be conditioned on anything that is known, and the product is still a distribution.
#
# (sec-pix-class)=
# ### A class
#
# A model of $p(x \mid y)$ is a model of $p(x)$ in which every factor is conditioned on $y$. For a class this takes a bias for each feature map, chosen by the class, in every gate: a one-hot vector passed through a linear map. `context=10` adds it to a `GatedPixelCNN`.

# %% mystnb={"figure": {"caption": "Class-conditional draws, six for each digit, none selected.", "name": "fig-pix-class"}, "image": {"alt": "Six rows of ten binary digits, in each row a zero to a nine, nearly all legible."}} tolerance={"draws": ["columns 1-10"], "rtol": 0.2}
classes, facts = trained("class_conditional", conditional_mnist)
torch.manual_seed(0)
drawn = classes.sample(60, torch.arange(10).repeat(6))
image_grid(drawn, columns=10, column_labels=[str(k) for k in range(10)])
plt.show()
stored = (mnist.x > 127).float().flatten(1)
pairs = {"draws": (drawn, torch.arange(10).repeat(6))}
pairs["test digits"] = binary_test.x[:200], binary_test.y[:200]
for name, (x, y) in pairs.items():
    # the number of pixels that differ, less x.sum()
    nearest = (stored.sum(1) - 2 * x.flatten(1) @ stored.T).argmin(1)
    right = (mnist.y[nearest] == y).float().mean()
    print(
        f"{name:>11}: {x.mean():.1%} ink, nearest training image of the right class",
        f"for {right:.1%}",
    )
print(f"test NLL given the class: {facts['test_nll_nats']:.2f} nats")

# %% [markdown]
# A model of $p(x \mid y)$ is also a classifier. Nobody trained it to be one: Bayes' rule turns ten likelihoods into ten posterior probabilities, $p(y \mid x) \propto p(x \mid y)\, p(y)$.

# %% tolerance={"atol": 1.0}
x, y = binary_test.x[:50], binary_test.y[:50]
with torch.no_grad():
    each = [classes.log_prob(x, torch.full_like(y, k)) for k in range(10)]
by_class = torch.stack(each, 1)  # log p(x | k), [100, 10]
told_right = by_class.gather(1, y[:, None])[:, 0]
marginal = by_class.logsumexp(1) - math.log(10)  # classes equally probable
wrong = (by_class.argmax(1) != y).sum().item()
worth = (told_right - marginal).mean()
print(f"errors on {len(x)} test digits: {wrong}")
print(f"the class is worth {worth:.2f} of at most log 10 = {math.log(10):.2f} nats")

# %% [markdown]
# (sec-pix-super)=
# ### Super-resolution
#
# A small picture $y$ of 7x7 grey levels, each the mean of 4x4 binary pixels, and the question: which 28x28 pictures belong to it? Not *which is the best*, because the mean of all of them would be a blurred $y$ again; a draw from $p(x \mid y)$ decides for one. The network receives $y$ as a map: enlarge $y$, pass it through ordinary convolutions, which need no mask since $y$ is given and not predicted, and add the result to the
# gates. {cite:t}`dahl2017` use two networks and join them only at the output. A *conditioning network*, which sees only $y$, and a *prior network*, a PixelCNN, which sees only the earlier pixels, each compute logits for every pixel, and the two sets of logits are added before the softmax. Trained by this sum alone, the model tends to ignore $y$, since earlier pixels are the better predictors; so a second cross-entropy, of the conditioning network's logits alone, is added to the loss.

# %% mystnb={"figure": {"caption": "Super-resolution. Left: the 7x7 picture that the model is told. Then five draws of 28x28 pixels given it. Right: the original. The draws agree where the small picture decides and differ where it does not.", "name": "fig-pix-super"}, "image": {"alt": "Five rows of seven pictures: a coarse grey digit, five sharp binary digits that fit it and differ in details, and the original."}} tolerance={"draws": ["columns 2-6"], "rtol": 0.2}
enlarger, facts = trained("super_resolution", conditional_mnist)
originals = binary_test.x[[0, 2, 8, 15, 61]]
told = enlarger.shrink(originals)  # [5, 1, 7, 7]
torch.manual_seed(0)
large = enlarger.sample(25, told.repeat_interleave(5, 0))
blocks = told.repeat_interleave(4, 2).repeat_interleave(4, 3)
parts = zip(blocks.split(1), large.split(5), originals.split(1))
labels = ["told", *["draw"] * 5, "original"]
image_grid(torch.cat([p for row in parts for p in row]), 7, column_labels=labels)
plt.show()
error = (enlarger.shrink(large) - told.repeat_interleave(5, 0)).square().mean().sqrt()
others = enlarger.shrink(binary_test.x[:200])
spread = (others - others.mean(0)).square().mean().sqrt()
print(f"test NLL given the small picture: {facts['test_nll_nats']:.2f} nats")
print(f"shrunk again, draws differ from what was told by {error:.3f}", end=" ")
print(f"(digits from their mean: {spread:.3f})")
groups = large.view(5, 5, 784)
apart = (groups[:, 0] != groups[:, 1]).sum(1).float().mean()
off = (groups[:, 0] != originals.flatten(1)).sum(1).float().mean()
print(f"two draws for one picture differ in {apart:.1f} pixels, a", end=" ")
print(f"draw and the original in {off:.1f}")

# %% [markdown]
# The small picture is a function of the large one, so $p(x) = p(y)\, p(x \mid y)$ for the true distribution: the nats for $y$ and those for $x$ given $y$ add up to the nats for $x$. Coarse-to-fine models ({numref}`sec-pix-scales`) are built on this.
#
# (sec-pix-complete)=
# ### Half a picture
#
# **A beginning** is the easy case. If the upper half is given, its pixels are the first of the order, and drawing the rest one by one is *exactly* a draw from $p(x_{\text{lower}} \mid x_{\text{upper}})$. It needs no training, and one pass over the given pixels fills the cache.

# %% mystnb={"figure": {"caption": "Completion. Left: upper halves of test digits, and nothing else, are given. Then six ends drawn by the Gated PixelCNN. Right: the original. Where several digits begin alike, several come out.", "name": "fig-pix-complete"}, "image": {"alt": "Five rows of eight pictures: an upper half with an empty lower half, six completions which differ from one another, and the original digit."}} tolerance={"draws": ["columns 2-7"], "rtol": 0.2}
originals = binary_test.x[[1, 4, 7, 11, 18]]
known = 14 * 28
torch.manual_seed(0)
ends = gated.complete(originals.repeat_interleave(6, 0), known)
assert torch.equal(ends[..., :14, :], originals.repeat_interleave(6, 0)[..., :14, :])
given = originals.clone()
given[..., 14:, :] = 0
parts = zip(given.split(1), ends.split(6), originals.split(1))
labels = ["given", *["draw"] * 6, "original"]
image_grid(torch.cat([p for row in parts for p in row]), 8, column_labels=labels)
plt.show()
with torch.no_grad():
    beside_data(ends, gated.log_prob(ends), originals, gated.log_prob(originals))
lower = ends[..., 14:, :].reshape(5, 6, -1)
apart = (lower[:, 0] != lower[:, 1]).sum(1).float().mean()
print(f"lower halves: two draws for one upper half differ in {apart:.1f} of 392 pixels")

# %% [markdown]
# **A hole** is the hard case. Suppose a square in the middle is missing. Walk along the order, keep what is known, draw what is not: every drawn pixel is conditioned on earlier pixels, but not on the known ones to its right and below. With $M$ for the places of missing pixels and $K$ for those of known ones, the result is a draw from $\prod_{t \in M} p(x_t \mid x_{<t})$ and not from $p(x_M \mid x_K)$; a stroke that it begins need not meet the known ones further down.
#
# :::{admonition} Watch out: "keep the known pixels and sample the others"
# :class: pitfall
# For pixels that are not the first in the order this does not condition on the known ones that come later. Their probabilities, by which the draws would have to be weighted, are ignored. The numbers below say what that costs.
# :::
#
# A model can be trained for it: give it a map of the known pixels, and of which ones they are, through unmasked convolutions, as in {eq}`eq-pix-told`. Trained with random holes, `lvmlib.autoregressive.Inpainting` maximises
#
# $$ \log p(x_M \mid x_K) = \sum_{t \in M} \log p(x_t \mid x_{<t}, h(x_K, K)) , $$ (eq-pix-holes)
#
# which is the chain rule again, over the missing pixels only. The one below began as the Gated PixelCNN of the table and was trained on, with a rectangle of random size and place cut from every digit. Compare it with the Gated PixelCNN itself, which only looks back.

# %% tolerance={"rtol": 0.05}
told_all, facts = trained("inpainting", conditional_mnist)
x = binary_test.x[:100]
hole, top = torch.ones(2, 100, 1, 28, 28)
hole[..., 8:20, 8:20], top[..., :15, :] = 0, 0  # 1 where a pixel is known
for name, known in (("a hole of 12x12", hole), ("the upper 15 rows", top)):
    with torch.no_grad():
        each = gated.conditionals(x).base_dist.log_prob(x)  # [100, 1, 28, 28]
        back, both = (
            -(each * (1 - known)).flatten(1).sum(1),
            -told_all.log_prob(x, known),
        )
    gain, error = (back - both).mean(), (back - both).std() / len(x) ** 0.5
    print(
        f"{name:>17}: {back.mean():.1f} nats looking back, {both.mean():.1f} told",
        "all, ",
        end="",
    )
    print(f"{gain:.1f} +- {error:.1f} less")

# %% mystnb={"figure": {"caption": "A hole of 12x12 pixels in the middle of a digit: the given part, three draws of the model that looks back only, three of the one that is told all that is known, and the original. Both know the strokes above; only the second knows where those below wait to be met.", "name": "fig-pix-inpaint"}, "image": {"alt": "Five rows of eight pictures: a digit with a grey square in its middle, three fillings by each of two models, and the original."}} tolerance={"draws": ["columns 2-7"], "rtol": 0.2}
chosen, mask = binary_test.x[[1, 4, 7, 11, 18]], hole[:15]
given = chosen.repeat_interleave(3, 0)
torch.manual_seed(0)
back = gated.fill(given.flatten(1), mask.bool().flatten(1)).split(3)
both = told_all.fill(given, mask).split(3)
holed = torch.where(hole[:5].bool(), chosen, 0.3)
parts = zip(holed.split(1), back, both, chosen.split(1))
rows = [torch.cat(row) for row in parts]
labels = ["given", "", "looks back", "", "", "told", "", "original"]
image_grid(torch.cat(rows), columns=8, column_labels=labels)
plt.show()
for name, x in (
    ("looks back", torch.cat(back)),
    ("told", torch.cat(both)),
    ("original", given),
):
    with torch.no_grad():
        fits, ink = -told_all.log_prob(x, mask).mean(), x[..., 8:20, 8:20].mean()
    print(
        f"{name:>10}: {ink:.1%} ink in the hole, {fits:.1f} nats under the model",
        "that is told",
    )

# %% [markdown]
# The gain is two nats, and a little more where looking back means beginning with nothing. It shows in the figure where the part below decides, as in the third row. More can be expected of longer training (*not converged*): the network saw holes of all sizes, for little more than one pass.

# %% [markdown]
# (sec-pix-scales)=
# ### *Optional:* from coarse to fine, in few steps
#
# We may choose the order of the pixels, and how many are drawn at once. Draw a coarse picture first, every fourth pixel of every fourth row, pixel by pixel: 49 steps for a digit. Then double it twice. Each doubling adds three groups: the pixels to the right of those that are there, those below, and those diagonally below. Within a group the pixels are drawn
# *at once*, independent of one another given all groups before {cite:p}`reed2017`:
#
# $$ \log p(x) = \log p(x_{\text{coarse}}) + \sum_{g} \sum_{t \in g} \log p(x_t \mid x_{\text{groups before } g}) . $$ (eq-pix-groups)
#
# It is still an exact likelihood, and for 28x28 pixels it takes $49 + 3 + 3 = 55$ steps instead of 784. The price is the assumption: two pixels of one group cannot agree on which of them is to be ink. The total correlation within a group, the sum of the entropies of its pixels minus their joint entropy, is lost, whatever the network ({ref}`ex-pix-groups`). Against it stands that
# the networks of the doublings need no masks and see on all sides.

# %% mystnb={"figure": {"caption": "Steps against test NLL of 28x28 digits: 55 steps from coarse to fine, and 784 steps pixel by pixel. Further right a picture takes longer to draw; further up it costs more nats. Independent pixels (one step) lie far above the panel.", "name": "fig-pix-scales"}, "image": {"alt": "Scatter plot with a logarithmic axis of steps and nats from 80 to 87. The multi-scale model at 55 steps lies at 85.0, PixelCNN at 784 steps just below it at 84.7, the Gated PixelCNN at 81.9."}} tags=["hide-input"] tolerance={"data": 0.02}
scales, facts = trained("multi_scale", conditional_mnist)
mean_ink = load("mnist", valid=0)[0].x.float().mean(0) / 255  # every pixel by itself
mean_ink = mean_ink.clamp(1e-6, 1 - 1e-6).expand_as(binary_test.x)
independent = 784 * F.binary_cross_entropy(mean_ink, binary_test.x).item()
points = {"multi-scale": (scales.steps, facts["test_nll_nats"])}
for name in ("PixelCNN", "Gated PixelCNN"):
    points[name] = (784, zoo[name]["test_nll_nats"])
fig, ax = plt.subplots(figsize=(5, 2.6))
for name, (count, value) in points.items():
    ax.plot(count, value, "o", color=COLOURS["blue"])
    ax.text(count * 1.1, value, name, va="center")
    print(f"{name:>18}: {count:3d} steps, {value:6.2f} nats")
print(f"independent pixels:   1 step,  {independent:6.2f} nats")
ax.set(xscale="log", xlim=(30, 4000), ylim=(80, 87))
ax.set(xlabel="sequential steps", ylabel="test NLL (nats)")
ax.grid(visible=False)
plt.show()

# %% [markdown]
# With a fourteenth of the steps, a picture costs hardly more nats than under the PixelCNN; the Gated PixelCNN, with all 784 steps, needs three fewer. Two things speak for the groups here. Their networks see on all sides. And pixels of one group have little left to agree on: the coins of the binarization are independent anyway, given the grey levels. Where neighbouring pixels share a colour to the last bit, as in the emoji, the same assumption would cost more. On larger pictures there is more to gain: for 224x224 pixels 64 steps in place of 50,176.
#
# {numref}`fig-pix-scales-samples` shows how much 49 of 784 pixels settle, for an eighth of the nats.

# %% mystnb={"figure": {"caption": "Draws of the multi-scale model, none selected. Above: the coarse pictures of 7x7 pixels, drawn pixel by pixel. Below: doubled twice, in six further steps.", "name": "fig-pix-scales-samples"}, "image": {"alt": "Two rows of twelve pictures: coarse 7 by 7 patterns above, below the pictures of 28 by 28 pixels that grew from them."}} tolerance={"draws": ["rows 1-2"], "rtol": 0.2}
torch.manual_seed(0)
x = scales.sample(12)
coarse = x[..., ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3)
image_grid(torch.cat([coarse, x]), columns=12, row_labels=["7x7", "28x28"])
plt.show()
coarse_test = binary_test.x[:1000, :, ::4, ::4]
with torch.no_grad():
    print(
        f"the 49 coarse pixels: {-scales.coarse.log_prob(coarse_test).mean():.1f}",
        "nats of the test NLL",
    )
    log_p, log_p_data = scales.log_prob(x), scales.log_prob(binary_test.x[:200])
beside_data(x, log_p, binary_test.x[:200], log_p_data)

# %% [markdown]
# (sec-pix-hierarchy)=
# ### *Optional:* first the gist, then the pixels
#
# A pixel model never decides what the picture is to be: whether it becomes a 3 is settled somewhere along the first stroke. A hierarchy settles the gist first. Let a deterministic encoder $c$ map a picture to binary codes on a coarse grid, let a prior $p(c)$ model the codes (another pixel model, over a tiny picture) and a decoder $p(x \mid c)$ the pixels given the codes.
#
# :::{prf:proposition} Deterministic codes give a bound
# :label: thm-pix-codes
# Let $p(x) = \sum_{c'} p(c')\, p(x \mid c')$, and $c(x)$ be any function from pictures to codes. Then
#
# $$\begin{aligned} \log p(x) &= \log p(c(x)) + \log p(x \mid c(x)) - \log p(c(x) \mid x) \\
# &\ge \log p(c(x)) + \log p(x \mid c(x)), \end{aligned}$$ (eq-pix-codes)
#
# where $p(c \mid x)$ is the model's posterior. The bound is tight if and only if no other code could have produced $x$. And $\sum_x p(c(x))\, p(x \mid c(x)) \le 1$: used as a score, it is that of a distribution that wastes some of its mass.
# :::
#
# :::{prf:proof}
# Bayes' rule is $p(c \mid x)\, p(x) = p(c)\, p(x \mid c)$; take logarithms at $c = c(x)$. The last term is a probability, so minus its logarithm is not negative, and it is 0 if and only if $p(c(x) \mid x) = 1$. Exponentiate the inequality and sum over $x$.
# :::
#
# ({doc}`Chapter 8 <08_vae>` trains bounds of this kind, with a distribution over the codes of a picture in place of one code.) The proposition applies to super-resolution as well: there $c(x)$ is the small picture.

# %% tags=["check:thm-pix-codes"]
torch.manual_seed(1)
strings = lambda n: (torch.arange(2**n)[:, None] >> torch.arange(n) & 1).double()
of_pixels = GatedPixelCNN((1, 2, 6), 4, layers=1, kernel=3, context=(2, 2, 6))
tiny = HierarchicalPixelModel(FVSBN((1, 1, 3)), of_pixels, channels=4).double()
x = strings(12).view(-1, 1, 2, 6)  # all pictures
codes = strings(3).view(-1, 1, 1, 3)  # all codes
with torch.no_grad():
    for p in tiny.parameters():
        p.add_(0.5 * torch.randn_like(p))
    maps = tiny.features(2 * codes - 1)[:, None]  # [8, 1, 2, 2, 6]
    maps = maps.expand(-1, len(x), -1, -1, -1)  # the same for each of 4096 pictures
    # log p(x | c), [8, 4096]
    given = torch.stack([tiny.pixels.log_prob(x, code_map) for code_map in maps])
    terms = tiny.prior.log_prob(codes)[:, None] + given
    log_p, bound = terms.logsumexp(0), tiny.log_prob(x)
    place = torch.tensor([1.0, 2, 4]).double()
    chosen = (tiny.codes(x).round().flatten(1) @ place).long()  # number of c(x)
    posterior = terms.log_softmax(0).gather(0, chosen[None])[0]  # log p(c(x) | x)
slack = log_p - bound
print(f"sum over all {len(x)} pictures: p(x) {log_p.exp().sum():.10f},", end=" ")
print(f"bound {bound.exp().sum():.4f}")
print(f"bound never above: {bool((slack >= -1e-9).all())}")
print(f"slack equals -log p(c(x) | x): {torch.allclose(slack, -posterior)}")
assert abs(log_p.exp().sum() - 1) < 1e-9
assert (slack >= -1e-9).all() and torch.allclose(slack, -posterior)

# %% [markdown]
# How does one train the encoder? Not by the bound. A decoder as strong as a PixelCNN models $x$ quite well without any codes, and then the codes are an expense: maximising the bound drives their information towards zero. (In VAEs the same thing is called {term}`posterior collapse`.) So give the encoder a weak partner to train with, an **auxiliary decoder** that draws all
# pixels independently of each other {cite:p}`defauw2019`. It *needs* to be told where the strokes are. Its gradient trains the encoder; when that is done the auxiliary decoder is thrown away, and prior and pixel model are trained for the codes as they are. (Once the codes are fixed, $\log p(c(x))$ depends on the prior alone and $\log p(x \mid c(x))$ on the pixel model alone, so each is trained by its own term.)

# %% tolerance={"rtol": 0.05}
hierarchy, facts = trained("hierarchical", conditional_mnist)
x = binary_test.x[:100]
with torch.no_grad():
    codes = hierarchy.codes(x).round()  # [100, 4, 7, 7], bits
    price = -hierarchy.prior.log_prob(codes).mean()
    hierarchy_log_p = hierarchy.log_prob(x)
    total = -hierarchy_log_p.mean()
    independent = hierarchy.auxiliary_loss(x).mean()
    alone = -gated.log_prob(x).mean()
print(f"test NLL at most {facts['test_nll_nats']:.2f} nats")
print(
    f"of 100 digits {total:.1f}: {price:.1f} for the codes and {total - price:.1f}",
    "for the pixels given them",
)
print(
    f"{independent:.1f} for the pixels by the auxiliary decoder; the Gated",
    f"PixelCNN needs {alone:.1f} in all",
)

# %% mystnb={"figure": {"caption": "A hierarchy with four bits on a grid of 7x7 as codes. First column: test digits. Then five draws of the pixels given their codes: the shape of every stroke is in the codes, the draws differ in the raggedness of its edges. The two rows at the bottom: new pictures, with codes from the prior, and so without an original.", "name": "fig-pix-hierarchy"}, "image": {"alt": "Four rows of six pictures, in each of which the five draws resemble the first; below, two rows of new pictures."}} tolerance={"draws": ["columns 2-6"], "rtol": 0.2}
chosen = binary_test.x[[0, 1, 7, 18]]
torch.manual_seed(0)
codes = hierarchy.codes(chosen).detach().round()
again = hierarchy.decode(codes.repeat_interleave(5, 0)).split(5)
rows = [torch.cat([chosen[i, None], again[i]]) for i in range(4)]
fresh_draws = hierarchy.sample(10)
blank = torch.zeros(1, 1, 28, 28)  # a new picture has no original
rows += [torch.cat([blank, new]) for new in fresh_draws.split(5)]
labels = ["digit", *["draw"] * 5]
sides = ["same codes"] * 4 + ["new codes"] * 2
image_grid(torch.cat(rows), columns=6, row_labels=sides, column_labels=labels)
plt.show()
off = (torch.stack(again) != chosen[:, None]).flatten(2).sum(2).float().mean()
print(
    f"draws with the same codes differ from the digit in {off:.1f} pixels; new",
    "pictures, at most:",
)
with torch.no_grad():
    log_p = hierarchy.log_prob(fresh_draws)
beside_data(fresh_draws, log_p, binary_test.x[:100], hierarchy_log_p)

# %% [markdown]
# In nats the codes do not pay. The auxiliary decoder wants to be told the shape of every stroke, and with four bits for 4x4 pixels it is. That makes expensive codes; what they leave to the pixels is little more than the coins of the binarization, which no code foresees. And the bound counts the nats for naming one particular code, even where other codes could have produced the same picture. A pixel model alone describes a digit in fewer nats, because it decides only what it needs, when it needs it.
#
# What the codes buy is control. Draws with the same codes share the digit, a picture is edited by turning a few bits, and the prior works on 196 bits in place of 784 pixels. With fewer bits they would say less, and leave more of the shape to the decoder.
#
# ### Exercises of Part 4
#
# :::{exercise} ★★★ Two pixels at once
# :label: ex-pix-groups
# In a multi-scale model two neighbouring pixels of one group are independent given the groups before. Let the truth, given these, be 10 or 01 with probability $\frac12$ each, as where a stroke one pixel wide may pass through either. What is the least KL divergence from the truth to a model that draws both at once, and what share of its draws is impossible? What does drawing them one after another cost in steps?
# :::
#
# :::{solution} ex-pix-groups
# :class: dropdown
# The best product distribution has the true margins, two fair coins; its cross-entropy is $2 \log 2$, the entropy of the truth $\log 2$, so the divergence is $\log 2$, the mutual information of the two pixels. Half of its draws, 00 and 11, never occur in the data. One more step removes it. In general a group costs the *total correlation* of its pixels, the sum of their entropies minus their joint entropy, given what came before.
# :::
#
# :::{exercise} ★★★ What a class can be worth
# :label: ex-pix-classifier
# In {numref}`sec-pix-class` the test NLL given the right class and the marginal $\log \frac{1}{10} \sum_k p(x \mid k)$ differ by a mean of nearly $\log 10$. Which information-theoretic quantity does that difference bound, what bounds it in turn, and how many classification errors does it allow?
# :::
#
# :::{solution} ex-pix-classifier
# :class: dropdown
# For equally probable classes $\mathbb{E}[\log p(x \mid y) - \log p(x)] = \log 10 + \mathbb{E}[\log p(y \mid x)]$, where the mean is over data and $p$ is the model: $\log 10$ minus the cross-entropy of the model as a classifier. A cross-entropy is at least the entropy $H(y \mid x)$ of the truth, so this is a lower bound of the true mutual information $I(x; y) = \log 10 - H(y \mid x)$, and tight if the model's posterior is right. Both are at most $\log 10$.
# Where the classifier errs, the right class has a posterior of at most $\frac12$ and costs at least $\log 2$. The shortfall from $\log 10$ divided by $\log 2$ is therefore an upper bound of the share of errors: with the 2.16 nats printed there, $0.14 / 0.69$ or a fifth, where two errors were made on 50 digits.
# :::
#
# ## Summary
#
# :::{list-table} What was shown, and where it lives in `lvmlib`.
# :header-rows: 1
# :name: tab-pix-summary
#
# * - result
#   - in one line
#   - in `lvmlib`
# * - {prf:ref}`thm-pix-masks`
#   - mask A first, then B: every pixel sees earlier ones only
#   - `MaskedConv2d`, `PixelCNN`
# * - {prf:ref}`thm-pix-blind`
#   - one stack never sees the wedge $b > a \ge 1$
#   -
# * - {prf:ref}`thm-pix-gate`
#   - $\tanh(a)\,\sigma(b) \approx \frac12 a + \frac14 ab$: products of features
#   - `GatedPixelCNN`
# * - {prf:ref}`thm-pix-gated`
#   - two stacks see the whole square of half side $\lfloor k/2 \rfloor + L - 1$
#   - `GatedPixelCNN`
# * - {prf:ref}`thm-pix-cache`
#   - all steps together do the work of one pass
#   - `sample(..., cache=True)`, in every model
# * - {prf:ref}`thm-pix-logistic`
#   - with edge bins the probabilities sum to 1
#   - `DiscretizedLogisticMixture`
# * - {prf:ref}`thm-pix-coupling`
#   - the coupled mixture is a product of mixtures with posterior weights
#   - `PixelCNNpp`
# * - {prf:ref}`thm-pix-codes`
#   - $\log p(x) \ge \log p(c(x)) + \log p(x \mid c(x))$
#   - `autoregressive.HierarchicalPixelModel`
# :::
#
# :::{list-table} The models of this chapter by how they reach what was drawn before.
# :header-rows: 1
# :name: tab-pix-models
#
# * - model
#   - sees
#   - steps in training
#   - kept while sampling
# * - `PixelCNN`
#   - a square less a wedge
#   - 1
#   - the last rows of each layer
# * - `GatedPixelCNN`
#   - a square
#   - 1
#   - the last rows of each layer
# * - `PixelRNN`, rows
#   - a cone
#   - $H$
#   - the state of a row
# * - `PixelRNN`, diagonals
#   - everything
#   - $H + W - 1$
#   - the states of a row
# * - `PixelCNNpp`
#   - a large square, by halving
#   - 1
#   - the last rows at each resolution
# * - `PixelSNAIL`
#   - everything
#   - 1
#   - keys and values of all pixels
# :::
#
# ## Further reading
#
# - {cite:t}`vandenoord2016` has Row LSTM, Diagonal BiLSTM and PixelCNN in one paper; {cite:t}`vandenoord2016gated` the two stacks and the gate.
# - {cite:t}`salimans2017` is short and full of good decisions; the discretized logistic is from {cite:t}`kingma2016`. {cite:t}`chen2018` add attention.
# - Cached sampling for convolutional models: {cite:t}`ramachandran2017`.
# - Other orders and groups: {cite:t}`reed2017`, and {cite:t}`menick2019` with subscale orders. Colourisation by way of an auxiliary grey picture: {cite:t}`kolesnikov2017`.
# - What likelihood does and does not say about samples: {cite:t}`theis2016`.
