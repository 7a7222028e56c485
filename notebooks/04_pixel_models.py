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
# *Draw a picture one pixel at a time, line by line, and ask a network each time: given all that is there, what comes
# next? Done with care this gives an exact likelihood, sharp samples, and a cost that is much lower than it looks.*
#
# **What you will be able to do**
#
# - write a PixelCNN with masks of your own, prove that it is a proper distribution, and see by gradients what it cannot see;
# - derive gates and two stacks, discretized logistics and the coupling of colours, and check each against an exact number;
# - choose between recurrence, convolution and attention over pixels, by reach, work and likelihood;
# - sample from any of them with the arithmetic of about one forward pass;
# - condition: on a class, a small picture, a half picture, or on codes.
#
# **Needs.** The chain rule of probability and masks for sequences ({doc}`chapter 3 <03_autoregressive_models>`), entropy and cross-entropy
# ({doc}`chapter 1 <01_information_theory>`), convolutions.
#
# **Run time.** About a minute on one core of a 2-core machine, most of it training small models; where there is a GPU they train on it, for ten times as many steps. What trains for longer comes as checkpoints with the scripts that made
# them; what is timed comes from the records of `benchmarks/`.

# %%
import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

# %%
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
from lvmlib.base import bits_per_dim, seed_everything
from lvmlib.checkpoints import load_checkpoint
from lvmlib.data import Data, load
from lvmlib.distributions import DiscretizedLogistic, DiscretizedLogisticMixture
from lvmlib.experiments import binary_mnist, conditional_mnist, emoji
from lvmlib.networks import MLP
from lvmlib.plotting import COLOURS, image_grid, use_style
from lvmlib.training import cosine, fit

DEVICE = "cuda" if torch.cuda.is_available() else None  # where fit trains
SCALE = 10 if DEVICE else 1  # multiplies every training run below; the stored outputs are those of 1
use_style()
if DEVICE:
    print(f"a GPU: training runs take {SCALE} times as many steps as in the book")


# %% [markdown]
# (sec-pix-next)=
# ## What colour is the next pixel?
#
# Take the chain rule ({prf:ref}`thm-ar-chain`) and read a picture as you read this page: line by line, from the left. With
# $x_{<i}$ for all pixels before the $i$-th,
#
# $$ \log p(x) = \sum_{i=1}^{D} \log p(x_i \mid x_{<i}) . $$ (eq-pix-chain)
#
# Each factor is a small classification problem, *what value has this pixel, given those above and to the left?*, and
# a network that answers it for every $i$ is a generative model with an exact likelihood. This much holds for any
# sequence. What is special about a picture is that it has two dimensions. The pixels that tell most about pixel $(r, c)$ are its
# neighbours, and in the sequence the neighbour above lies a whole line back. So the networks of this chapter look at the
# plane, and their weights are the same everywhere in it.
#
# Three questions organise what follows. *What can a pixel see?* Masks, the blind spot, and the cures for it. *What does it
# predict?* A coin, a table of 256 values, or something that knows that 127 lies next to 128. *What does it cost to draw?*
# Everything that we train in the chapter itself is small: the digits of chapter 3, averaged down to 14x14 pixels and made black or white by a threshold.


# %%
def shrunk(split):
    """A split of 28x28 digits as 14x14 pixels of 0 and 1: is the mean of 2x2 pixels above one half?"""
    return Data((F.avg_pool2d(split.x.float(), 2) > 127.5).float(), split.y, split.name)


def beside_data(draws, log_p, data, log_p_data):
    """Prints share of ink and mean cost under the model, of its draws and of data."""
    print(f"{len(draws)} draws: {draws.mean():.1%} ink, {-log_p.mean():.1f} nats; ", end="")
    print(f"data: {data.mean():.1%} ink, {-log_p_data.mean():.1f} nats")


mnist, _, mnist_test = load("mnist")
small, small_test = shrunk(mnist), shrunk(mnist_test)
print(f"training: {small}")
print(f"196 fair coins cost {196 * math.log(2):.2f} nats")


# %% [markdown]
# (sec-pix-masks)=
# ## How do you keep a convolution from looking ahead?
#
# A convolution with a 3x3 kernel computes the features of a pixel from the pixel and its eight neighbours. Four of these, and the
# pixel itself, are still unknown when the pixel is to be drawn. So set their weights to zero: multiply the kernel by
# a mask, which makes it a {term}`masked convolution`. There are two {cite:p}`vandenoord2016`. **Mask A** hides the pixel itself and all that follow. **Mask B** hides only what follows:
# from the second layer on the input at a pixel is made of earlier pixels, and may be used.


# %%
class MaskedConv(nn.Conv2d):
    """A convolution that sees the pixels before each pixel, with kind "B" also the pixel itself."""

    def __init__(self, inputs, outputs, kernel, kind):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        mask = torch.ones(kernel, kernel)
        mask[kernel // 2, kernel // 2 + (kind == "B") :] = 0  # right of the centre; with A the centre too
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


print("mask A:", MaskedConv(1, 1, 3, "A").mask.int().tolist())
print("mask B:", MaskedConv(1, 1, 3, "B").mask.int().tolist())


# %% [markdown]
# The weights stay as they are and the mask is applied each time they are used. (Code that overwrites the weights with their masked values has to do
# so again after every optimiser step.) Is the result a distribution?
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
# The check computes all $196 \times 196$ derivatives, and, where there are few enough pictures, their sum. And it makes the mistake that the proposition
# warns of, mask B in the first layer: then every pixel is told itself, the loss falls to zero, and there is no model.


# %% tags=["check:thm-pix-masks"]
def derivatives(function, shape):
    """Derivatives of all log-odds by all pixels: [D, D], entry (i, s) for output i and pixel s."""
    x = torch.rand(shape, dtype=torch.float64)
    D = x.numel()
    return torch.autograd.functional.jacobian(lambda x: function(x[None]).flatten(), x).view(D, D)


torch.manual_seed(0)
net = pixelcnn(channels=8, layers=4).double()
J = derivatives(net, (1, 14, 14))
print(f"largest derivative by the pixel itself or a later one: {J.triu().abs().max():.1f}")
every = torch.tensor([[int(b) for b in f"{i:09b}"] for i in range(2**9)]).double().view(-1, 1, 3, 3)
log_prob = -F.binary_cross_entropy_with_logits(net(every), every, reduction="none").flatten(1).sum(1)
print(f"sum over all {len(every)} pictures of 3x3 pixels: {log_prob.exp().sum():.12f}")
assert J.triu().abs().max() == 0 and J.tril(-1).abs().max() > 0 and abs(log_prob.exp().sum() - 1) < 1e-12
net[0].mask[1, 1] = 1  # mask B in the first layer
itself = derivatives(net, (1, 14, 14)).diag().count_nonzero()
print(f"with mask B first, derivatives by the pixel itself that are not 0: {itself}")


# %% [markdown]
# Training is maximum likelihood. Because $x$ is known, all 196 conditionals come out of *one* pass, which is what makes these
# models pleasant to train.


# %% tolerance={"rtol": 0.02}
def nll(net, x):
    """Minus log p(x), nats: [B]."""
    logits = net(x)
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)


seed_everything(0)
net = pixelcnn(channels=16, layers=4)
print(f"before training: {nll(net, small_test.x).mean():.2f} nats per digit")
steps = 300 * SCALE
fit(net, small, nll, steps=steps, batch_size=64, lr=cosine(1e-2, steps, warmup=20), device=DEVICE, progress=False)
with torch.no_grad():
    print(f"after {steps} steps:  {nll(net, small_test.x).mean():.2f} nats")


# %% [markdown]
# To draw, there is no way around the order: compute the log-odds of the first pixel, draw it, compute those of the second. Beneath this figure and others like it a line says how much ink the draws have and what they cost under the model, beside data. The mean cost of its own draws is the entropy of the model, that of data its cross-entropy; for the true distribution the two are equal.


# %%
@torch.no_grad()
def draw(net, u):
    """Pictures [n, 1, H, W] from uniform numbers of that shape, one pass for every pixel."""
    x = torch.zeros_like(u)
    for r in range(u.shape[2]):
        for c in range(u.shape[3]):
            logits = net(x)[:, 0, r, c]  # all others are thrown away
            x[:, 0, r, c] = (u[:, 0, r, c] < logits.sigmoid()).float()
    return x


u = torch.rand(12, 1, 14, 14, generator=torch.Generator().manual_seed(0))
samples = draw(net, u)

# %% mystnb={"figure": {"caption": "Above: digits of 14x14 binary pixels. Below: draws from the PixelCNN of the cell above after a few seconds of training. Strokes are sharp and locally right; what they add up to is seldom a digit.", "name": "fig-pix-first"}, "image": {"alt": "Two rows of twelve small binary pictures: digits above; below, sharp strokes and loops, one or two of which could be taken for digits."}} tolerance={"draws": ["row 2"], "rtol": 0.2}
image_grid(torch.cat([small_test.x[:12], samples]), columns=12, row_labels=["data", "draws"])
plt.show()
with torch.no_grad():
    beside_data(samples, -nll(net, samples), small_test.x, -nll(net, small_test.x))

# %% [markdown]
# The draws are sharp, neither speckled as from independent pixels nor blurred as a mean: each pixel was decided in the light of all
# earlier decisions. `lvmlib` has the same masked convolution. It does not store the rows that the mask would hide altogether, which saves a third of the work of a 3x3 kernel.

# %%
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
# ## What can a PixelCNN not see?
#
# A stack of 3x3 kernels sees one row and one column further with each layer, so one expects that a pixel with enough layers above it sees everything that
# was drawn before. Ask the gradient: which pixels change the output at one place at all? These are its {term}`receptive field`.


# %%
def field(predict, shape, place, inputs=4):
    """Where the derivative of the output at `place` is not zero: [H, W], True or False."""
    x = torch.rand(inputs, *shape, dtype=torch.float64, requires_grad=True)
    at_place = predict(x)[..., place[0], place[1]]
    (gradient,) = torch.autograd.grad((at_place * torch.randn_like(at_place)).sum(), x)
    return gradient.abs().sum((0, 1)) > 0


def show_field(ax, seen, place):
    """Seen pixels dark, unseen earlier ones in colour, later ones white, the place itself marked."""
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
# :::{prf:proposition} The blind spot
# :label: thm-pix-blind
# In a stack of $L$ masked 3x3 convolutions with ReLUs between them, A first and then B, consider the output at pixel $(r, c)$ and the pixel $a$ rows further up and
# $b$ columns further right (left, for negative $b$). The one depends on the other for some weights if and only if $0 \le a \le L$ and $-L \le b \le a$, but not $a = 0 \le b$. For no number of layers, and no weights, does the output depend
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
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    a, b = place[0] - rows, columns - place[1]
    return (a >= 0) & (a <= layers) & (b >= -layers) & (b <= a) & ~((a == 0) & (b >= 0))


size = 17
for layers in (1, 2, 3, 5, 7):
    seen = field(pixelcnn(8, layers).double(), (1, size, size), (8, 8))
    assert torch.equal(seen, predicted(size, (8, 8), layers))
    blind = 1 - seen.sum().item() / (2 * layers * (layers + 1))
    print(f"L = {layers}: {seen.sum():3d} pixels seen, as predicted; {blind:.1%} of the square is blind")


# %% [markdown]
# The wedge is the {term}`blind spot`. A residual PixelCNN such as `lvmlib.PixelCNN` sees no more: its blocks contain the same kernels. A larger first kernel (its own is 7x7) moves the border of the
# wedge, but not its slope. Does it matter? For digits not very much: what lies in the wedge can often be guessed from what lies outside. Here are pictures
# for which it is all that matters: every row is the row above moved three pixels to the left, with three fresh random pixels at its end. Whoever sees the wedge knows all but $8 + 7 \cdot 3 = 29$ of 64 pixels;
# whoever does not, knows nothing.


# %% tolerance={"rtol": 0.05}
def diagonals(n, size=8, shift=3):
    x = torch.randint(0, 2, (n, 1, size, size)).float()
    for r in range(1, size):
        x[:, :, r, : size - shift] = x[:, :, r - 1, shift:]
    return x


seed_everything(0)
pictures, unseen = diagonals(10_000), diagonals(500)
for build in (PixelCNN, GatedPixelCNN):
    model = build((1, 8, 8), channels=8, layers=4, kernel=3)
    steps = 250 * SCALE
    fit(model, pictures, steps=steps, batch_size=32, lr=cosine(2e-2, steps, warmup=20), device=DEVICE, progress=False)
    with torch.no_grad():
        print(f"{build.__name__:>13}: {-model.log_prob(unseen).mean():.1f} nats")
print(f"64 coins: {64 * math.log(2):.1f} nats, 29 coins: {29 * math.log(2):.1f} nats")

# %% [markdown]
# (sec-pix-gated)=
# ## Two stacks and a gate
#
# The second model in the cell above is the cure {cite:p}`vandenoord2016gated`. It changes two things.
#
# **Two stacks.** The wedge arises because one kernel has to do two jobs, to carry news from above and to stop at the pixel. Give each job a network of its own:
#
# - the **vertical stack** $v$ sees the rows above and nothing else. All of a row above is known, so its kernels need no mask; it is enough to move them up by one row;
# - the **horizontal stack** $h$ runs along the row from the left, with masks, and receives the vertical stack's features at each pixel.
#
# The horizontal stack may read the vertical one, not the other way round.
#
# **A gate.** What the next pixel looks like is often a matter of *both this and that*, a product of features, and a layer of ReLUs has none. The LSTM cell, which had served PixelRNN ({numref}`sec-pix-rnn`) better than ReLUs had served convolutions {cite:p}`vandenoord2016gated`, has multiplications of the form $h = \sigma(o) \tanh(s)$. Take over just these, as a {term}`gate` with both arguments from convolutions:
#
# $$ g(a, b) = \tanh(a)\, \sigma(b) . $$ (eq-pix-gate)
#
# :::{prf:proposition} What a gate does
# :label: thm-pix-gate
# (i) $g(a, b) = \mathbb{E}[s \tanh a]$ for a switch $s \sim \operatorname{Bern}(\sigma(b))$. (ii) For small arguments $g(a, b) = \frac12 a + \frac14 a b + R$ with $|R| \le \frac13 |a|^3 + \frac{1}{48} |a| |b|^3$, so a gate computes products of features. (iii) Its derivatives
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
switch = torch.bernoulli(b.detach().sigmoid().expand(1000, -1))  # thrown a thousand times for each (a, b)
by_b = a.tanh() * b.sigmoid() * (-b).sigmoid()  # the derivative that (iii) gives
mean, error = (switch * a.tanh()).mean(0), (a.tanh() * by_b / 1000).sqrt()
remainder = (g - a / 2 - a * b / 4).abs() / (a.abs() ** 3 / 3 + a.abs() * b.abs() ** 3 / 48)
d_a, d_b = torch.autograd.grad(g.sum(), (a, b))
print(f"(i)   standardised error of the mean: {((mean - g) / error).std():.2f}  (expected 1)")
print(f"(ii)  largest remainder as a share of its bound: {remainder.max():.2f}")
print(f"(iii) equal to automatic differentiation: {torch.allclose(d_b, by_b)}")
assert abs(((mean - g) / error).std() - 1) < 0.05 and remainder.max() <= 1
assert torch.allclose(d_a, b.sigmoid() * (1 - a.tanh() ** 2)) and torch.allclose(d_b, by_b)


# %% [markdown]
# Here is the whole network in the symbols of the text, run with the weights of a `lvmlib.GatedPixelCNN`. The first vertical kernel covers rows above; later ones the row above and the "own" row of features, which were
# themselves made from rows above. The horizontal layers end in a 1x1 convolution, half of which goes on to the next layer as a residual, the other half skips to the output. (The library reads bits as $-1$ and $+1$. A convolution pads the picture with zeros; where a bit may be 0 too, it cannot tell the border from empty paper,
# and samples get specks along the edges.)


# %%
def gate(a):
    first, second = a.chunk(2, 1)
    return first.tanh() * second.sigmoid()


def two_stacks(model, x):
    """Log-odds [B, 1, H, W] of binary pictures, with the weights of a GatedPixelCNN."""
    v = h = model.encode(x)  # bits as -1 and +1
    skipped = 0
    layers = zip(model.vertical, model.horizontal, model.link, model.mix)
    for layer, (V, H, link, mix) in enumerate(layers):
        side = V.weight.shape[3] // 2
        below = 0 if layer else -1  # the first layer must not see the pixel's own row
        a = F.conv2d(F.pad(v, (side, side, side, below)), V.weight, V.bias)  # rows above, full width
        row = H.masked_weight()  # taps at the pixel's left and, with mask B, at the pixel
        b = F.conv2d(F.pad(h, (H.reach, row.shape[3] - 1 - H.reach, 0, 0)), row, H.bias) + link(a)
        v, g = gate(a), gate(b)
        out, *on = mix(g).split(g.shape[1], 1)  # for the output, and for the next layer if there is one
        skipped = skipped + out
        if on:
            h = h + on[0] if layer else on[0]
    return model.last(model.head(skipped.relu()).relu())


# %%
torch.manual_seed(0)
model = GatedPixelCNN((1, 14, 14), channels=8, layers=4)
logits = two_stacks(model, small_test.x[:5])
print(f"equal to lvmlib: {torch.allclose(logits, model.predict(small_test.x[:5])[:, 0], atol=1e-5)}")

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
# horizontal features of layer $\ell - 1$ one place to the left, whose rectangle $1 \le a \le R_{\ell - 1}$, $-R_{\ell - 1} - 1 \le b \le R_{\ell - 1} - 1$ lies in the one that is there already. The union is the square's part before $(r, c)$. That no dependence need be cancelled is seen as before from positive weights, with biases so large that all arguments are positive: there both derivatives of a gate are positive, by (iii) of {prf:ref}`thm-pix-gate`.
# :::

# %% tags=["check:thm-pix-gated"]
size = 17
for kernel, layers in ((3, 1), (3, 4), (5, 2), (7, 3), (7, 7)):
    torch.manual_seed(layers)
    model = GatedPixelCNN((1, size, size), channels=8, layers=layers, kernel=kernel).double()
    R = kernel // 2 + layers - 1
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    square = ((rows - 8).abs() <= R) & ((columns - 8).abs() <= R)
    earlier = (rows < 8) | ((rows == 8) & (columns < 8))
    seen = field(model.predict, (1, size, size), (8, 8))
    print(
        f"kernel {kernel}, {layers} layers: {seen.sum():3d} pixels seen, 2R(R + 1) = {2 * R * (R + 1):3d}"
        f"{' (the picture ends first)' if R > 8 else ''}"
    )
    assert torch.equal(seen, square & earlier)


# %% [markdown]
# (sec-pix-rnn)=
# ## Recurrence over rows and diagonals
#
# Before PixelCNN came PixelRNN, in the same paper {cite:p}`vandenoord2016`: an LSTM sees *all* of its past, however far. In reading order it would take one step for each pixel, 784 for a digit, also in training. Two arrangements do with fewer.
#
# **Row LSTM.** The states of a whole row are computed at once from those of the row above, by a convolution of width 3 along the row, and from the input, by a masked convolution of width $k$ (3 in the pictures here, 7 in the trained models). A picture of $H$ rows takes $H$ steps. But the states bring news from above through a cone: of row $r - a$, pixel $(r, c)$ hears no column beyond $c + a + \lfloor k/2 \rfloor - 1$, which is $c + a$ for $k = 3$. That is the wedge of
# the PixelCNN again: a wider first kernel moves it, and no number of layers opens it.
#
# **Diagonal BiLSTM.** Shift every row one place further to the right than the row above it ({numref}`fig-pix-skew`). The two neighbours of a pixel, the left one and the upper one, then both stand in the column before it, so that an LSTM may run over the *columns* of the skewed picture, all pixels of
# a diagonal at once, in $H + W - 1$ steps. One that starts in the upper left corner hears of everything up and to the left. A second one runs from the upper right; its features are moved down by a row before they are added, since the pixel to the right is not known yet. Being a row late they may be told of the pixel at which they stand, too, which mask A hides from all other features: the second direction of the first layer also reads the picture itself. (Without that, nobody would hear of the last pixel of the row above.) Together the two
# have heard of everything that was drawn.


# %%
def skew(x):
    """Row r moves r places to the right: [B, F, H, W] -> [B, F, H, W + H - 1]."""
    B, features, H, W = x.shape
    padded = F.pad(x, (0, H)).flatten(2)[..., : H * (W + H - 1)]  # each row too long by one place
    return padded.view(B, features, H, W + H - 1)


def unskew(x, W):
    """The way back: [B, F, H, W + H - 1] -> [B, F, H, W]."""
    H = x.shape[2]
    return F.pad(x.flatten(2), (0, H)).view(*x.shape[:3], W + H)[..., :W]


x = torch.arange(1.0, 36).view(1, 1, 5, 7)  # 5 rows, 7 columns, all different
s = skew(x)[0, 0]
print(f"unskewed again: {torch.equal(unskew(skew(x), 7), x)}")
for r in range(1, 5):
    for c in range(1, 7):  # pixel (r, c) stands in column r + c, its two neighbours in the one before
        assert s[r, r + c] == x[0, 0, r, c]
        assert s[r, r + c - 1] == x[0, 0, r, c - 1] and s[r - 1, r + c - 1] == x[0, 0, r - 1, c]

# %% mystnb={"figure": {"caption": "Left: a picture of five rows; tints, three in turn, tell diagonals apart, and no pixel of a diagonal is reached from another one through left and upper neighbours. Right: skewed, each diagonal is a column, and both neighbours of a pixel (dots) stand in the column before its own (square).", "name": "fig-pix-skew"}, "image": {"alt": "Left: a grid of 5 by 7 cells tinted by diagonal. Right: the same cells with each row moved one place further right, so that each diagonal forms a vertical column. A square marks a cell and two dots mark its left and upper neighbours."}}
diagonal = (torch.arange(5)[:, None] + torch.arange(7)[None]).float()[None, None]
fig, axes = plt.subplots(1, 2, figsize=(6, 1.9), width_ratios=(7, 11))
for ax, picture, shift in zip(axes, (diagonal, skew(diagonal + 1) - 1), (0, 1)):
    grid = picture[0, 0].clone()
    grid[grid < 0] = float("nan")
    ax.imshow(grid % 3, cmap="Blues", vmin=-1, vmax=5)
    r, c = 3, 3
    ax.plot(c + shift * r, r, "s", color=COLOURS["vermilion"], ms=9)
    ax.plot([c - 1 + shift * r, c + shift * (r - 1)], [r, r - 1], "o", color=COLOURS["vermilion"])
    ax.grid(visible=False)
    ax.set(xticks=[], yticks=[])
plt.show()


# %% [markdown]
# An LSTM over the columns of the skewed picture, in both directions, is a few lines more. `state` maps the states of the two neighbours to the gates.


# %%
def along_diagonals(gates, state):
    """What inputs say to the gates [B, 4h, H, W], a map [2h, 4h] of earlier states -> [B, h, H, W]."""
    B, size, H, W = gates.shape
    gates, states = skew(gates), []
    h = c = gates.new_zeros(B, H, size // 4)
    for d in range(W + H - 1):
        above = F.pad(h, (0, 0, 1, -1))  # in the column before, one row up: the upper neighbour
        total = gates[..., d].transpose(1, 2) + torch.cat([h, above], 2) @ state  # [B, H, 4h]
        let_in, keep, out, new = total.chunk(4, 2)
        c = keep.sigmoid() * c + let_in.sigmoid() * new.tanh()
        h = out.sigmoid() * c.tanh()
        states.append(h)
    return unskew(torch.stack(states, 3).transpose(1, 2), W)


torch.manual_seed(0)
layer = PixelRNN((1, 6, 6), channels=4, layers=1, kind="diagonal").layers[0]
s = torch.randn(2, 8, 6, 6)
ahead = along_diagonals(layer.inputs(s), layer.state[0])
behind = along_diagonals(layer.backward_inputs(s).flip(3), layer.state[1]).flip(3)  # from right to left
together = ahead + F.pad(behind, (0, 0, 1, -1))  # moved down by a row
print(f"equal to lvmlib: {torch.allclose(together, layer(s), atol=1e-6)}, in {6 + 6 - 1} steps")

# %% [markdown]
# The gradient says what each arrangement hears of:

# %%
torch.manual_seed(0)
size, place = 15, (9, 7)
rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
wedge = (columns - place[1] > place[0] - rows) & (rows < place[0])
for kind, layers in (("row", 1), ("row", 3), ("diagonal", 1)):
    model = PixelRNN((1, size, size), channels=4, layers=layers, kind=kind, kernel=3).double()
    seen = field(model.predict, (1, size, size), place)
    before, hidden = place[0] * size + place[1], (seen & wedge).sum()
    print(f"{kind:>8}, layers {layers}: {seen.sum():3d} of {before} earlier pixels seen, ", end="")
    print(f"{hidden:2d} of {wedge.sum()} in the wedge")


# %% [markdown]
# **Attention.** A third way to hear of everything in one layer is to look at it. In PixelSNAIL {cite:p}`chen2018` blocks of causal convolutions, for what is near, take turns with self-attention over all earlier pixels, for what is far. Pixel $i$ asks with a query $q_i$; every earlier pixel
# $j$ offers a key $k_j$, both of $d$ numbers, and a value $v_j$:
#
# $$ a_i = \sum_{j < i} w_{ij} v_j , \qquad w_{ij} = \frac{\exp(q_i^\top k_j / \sqrt{d})}{1 + \sum_{l < i} \exp(q_i^\top k_l / \sqrt{d})} . $$ (eq-pix-attention)
#
# The 1 in the denominator is an empty cell, so that the first pixel has something to look at and every other one may look at nothing. One detail makes or breaks the model: $k_j$ and $v_j$ may depend on pixel $j$ itself, because $j < i$, but $q_i$ may not depend on pixel $i$, and $j = i$ must be masked. In code a
# shift by one place does it.


# %%
def attend(query, key, value):
    """Each pixel looks at the pixels before it and at an empty cell: 2 x [B, N, d], [B, N, e] -> [B, N, e]."""
    N = query.shape[1]
    # cell 0 is empty, cell j + 1 holds pixel j
    key, value = (F.pad(t, (0, 0, 1, 0))[:, :N] for t in (key, value))
    scores = query @ key.transpose(1, 2) / query.shape[2] ** 0.5  # [B, N, N]
    later = torch.ones(N, N).triu(1).bool()
    return scores.masked_fill(later, -math.inf).softmax(2) @ value


# %%
torch.manual_seed(0)
model = PixelSNAIL((1, 4, 4), channels=8, blocks=1, layers=1, heads=1)
block, place = model.blocks[0], model.place.expand(2, -1, -1, -1)
features, picture = torch.randn(2, 8, 4, 4), torch.randn(2, 1, 4, 4)
near = block.near[0](features)  # a causal convolution
by_pixel = [t.flatten(2).transpose(1, 2) for t in (near, picture, place)]  # [2, 16, ...]
(key,), (value,) = (t.unbind(1) for t in block.offers(*by_pixel))  # of one head
found = attend(block.asks(by_pixel[0], by_pixel[2])[:, 0], key, value)
ours = block.mix(near, found.transpose(1, 2).reshape(2, 4, 4, 4))
print(f"equal to lvmlib: {torch.allclose(ours, block(features, picture, place, None), atol=1e-6)}")

# %% mystnb={"figure": {"caption": "What the output at the marked pixel depends on (grey) and what it does not although it was drawn before (tinted), in six small networks; the title counts the seen pixels. Two stacks see a square without a wedge, of a side that grows with the layers. Halving the resolution makes each layer reach twice as far. Diagonal recurrence and attention reach everything.", "name": "fig-pix-fields"}, "image": {"alt": "Six panels. PixelCNN: grey region with a blind wedge on the upper right. Gated PixelCNN: a full square above and to the left. Row LSTM: a cone that widens upwards. Diagonal BiLSTM: everything earlier. PixelCNN++: everything earlier. PixelSNAIL: everything earlier."}}
size, place = 16, (10, 8)
models = {
    "PixelCNN": PixelCNN((1, size, size), channels=8, layers=4, kernel=3),
    "Gated PixelCNN": GatedPixelCNN((1, size, size), channels=8, layers=5, kernel=3),
    "Row LSTM": PixelRNN((1, size, size), channels=4, layers=2, kind="row", kernel=3),
    "Diagonal BiLSTM": PixelRNN((1, size, size), channels=4, layers=1, kind="diagonal", kernel=3),
    "PixelCNN++": PixelCNNpp((1, size, size), channels=4, layers=1, halvings=1, levels=2, logistics=0),
    "PixelSNAIL": PixelSNAIL((1, size, size), channels=8, blocks=1, layers=2),
}
fig, axes = plt.subplots(2, 3, figsize=(6, 4.3))
for ax, (name, model) in zip(axes.flat, models.items()):
    seen = field(model.double().predict, (1, size, size), place)
    show_field(ax, seen, place)
    ax.set_title(f"{name}: {int(seen.sum())}", fontsize=11)
plt.show()
print(f"in the titles: how many of {place[0] * size + place[1]} earlier pixels are seen")

# %% [markdown]
# How far a network reaches is one thing, how much it takes from there another. But a reach that ends is a limit which no training moves: what lies outside cannot be used by any weights.
# {numref}`fig-pix-growth` measures how it grows.

# %% mystnb={"figure": {"caption": "Pixels that the output at the centre of a 33x33 picture depends on, measured by gradients, against the number of layers. Crosses: what the proposition on the blind spot and the theorem on two stacks give. Both grow with the square of the depth until the picture ends; PixelCNN falls behind by nearly a quarter.", "name": "fig-pix-growth"}, "image": {"alt": "Two rising curves against the number of layers from 1 to 16. The gated network's curve lies above the PixelCNN's, with crosses from the formulas on both, and a dashed horizontal line at 544 earlier pixels."}}
torch.manual_seed(0)  # dead units would hide some of what is seen
size, place, depths = 33, (16, 16), (1, 2, 4, 6, 8, 12, 16)
counts = {"PixelCNN, 3x3": [], "Gated PixelCNN, 3 wide": []}
for layers in depths:
    model = pixelcnn(8, layers).double()
    counts["PixelCNN, 3x3"].append(field(model, (1, size, size), place).sum().item())
    model = GatedPixelCNN((1, size, size), channels=4, layers=layers, kernel=3).double()
    counts["Gated PixelCNN, 3 wide"].append(field(model.predict, (1, size, size), place).sum().item())
fig, ax = plt.subplots(figsize=(6, 3.2))
formulas = [[L * (3 * L + 5) / 2 for L in depths], [2 * L * (L + 1) for L in depths]]
for (name, values), formula, colour in zip(counts.items(), formulas, ("vermilion", "blue")):
    ax.plot(depths, values, "o-", color=COLOURS[colour], label=name)
    ax.plot(depths, formula, "x", color=COLOURS["black"], ms=9)
    assert values == formula
ax.axhline(16 * 33 + 16, ls="--", lw=1.2, color=COLOURS["black"])
ax.annotate("all earlier pixels", (1, 16 * 33 + 16), xytext=(0, 4), textcoords="offset points")
ax.set(xlabel="layers", ylabel="pixels seen", ylim=(-25, 610))
_ = ax.legend(loc="upper left", bbox_to_anchor=(0, 0.9))
plt.show()


# %% [markdown]
# (sec-pix-cache)=
# ## What does a pixel cost to draw?
#
# `draw` above ran the whole network once for each pixel and threw away everything but one number: for 28x28 pixels, 784 forward passes. This is the price at which these models are usually quoted, and nobody has to pay it. Between two steps *one pixel* has become known. What changes in the
# feature maps?
#
# :::{prf:proposition} Nothing needs to be computed twice
# :label: thm-pix-cache
# In a network as in {prf:ref}`thm-pix-masks` let the features of every layer be computed at pixel $i$, for that pixel only, when pixels before $i$ are drawn and $i$ is not. Then (i) each of these features has its final value: it is what a pass over the finished picture gives; (ii) all $D$ steps together do the multiplications of one
# forward pass with the masked-out ones left away.
# :::
#
# :::{prf:proof}
# (i) By {prf:ref}`thm-pix-masks` the features at $i$ are functions of the pixels before $i$, which do not change any more. The features that a kernel reads besides those at $i$ belong to pixels before $i$ and were computed, finally, at their steps. (ii) Each feature of each layer at each pixel is computed once, from the taps that the mask leaves; that is what one pass does.
# :::
#
# So keep the feature map of every layer and fill it in as the picture grows. For the PixelCNN from above:


# %%
@torch.no_grad()
def draw_cached(net, u):
    """As `draw`, with every feature computed once."""
    n, _, H, W = u.shape
    convs = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    maps = [torch.zeros(n, conv.in_channels, H + 1, W + 2) for conv in convs]  # with a border of zeros
    x = torch.zeros_like(u)
    for r in range(H):
        for c in range(W):
            for conv, above, below in zip(convs, maps, maps[1:]):
                patch = above[:, :, r : r + 2, c : c + 3]  # two rows of three around (r, c)
                weight = (conv.weight * conv.mask)[:, :, :2]
                below[:, :, r + 1, c + 1] = F.conv2d(patch, weight, conv.bias)[:, :, 0, 0].relu()
            logits = F.linear(maps[-1][:, :, r + 1, c + 1], convs[-1].weight[:, :, 0, 0], convs[-1].bias)
            x[:, 0, r, c] = (u[:, 0, r, c] < logits[:, 0].sigmoid()).float()
            maps[0][:, 0, r + 1, c + 1] = x[:, 0, r, c]
    return x


# %% tags=["check:thm-pix-cache"]
def multiplications(function, *arguments):
    """Multiply-adds of all convolutions and matrix products, attention written out."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        result = function(*arguments)
    return result, counter.get_total_flops() // 2


naive, work_naive = multiplications(draw, net, u)
cached, work_cached = multiplications(draw_cached, net, u)
_, work_pass = multiplications(net, u)
print(f"the same pictures: {torch.equal(naive, cached)}")
print(f"one forward pass {work_pass / 1e6:8.1f} million multiply-adds")
print(f"cached sampling  {work_cached / 1e6:8.1f}")
print(f"naive sampling   {work_naive / 1e6:8.1f} = {work_naive // work_pass} passes")
taps = sum(layer.weight[:, :, :2].numel() for layer in net if isinstance(layer, nn.Conv2d))
assert torch.equal(naive, cached) and work_naive == 196 * work_pass
assert work_cached == len(u) * 196 * taps  # each feature once, from two rows of each kernel


# %% [markdown]
# Less than one pass, even: a pass multiplies the lowest row of each 3x3 kernel, which the mask has filled with zeros, and a patch leaves it away (it still multiplies the one or two zeros in the pixel's own row). The numbers drawn are the same from the same uniform numbers; nothing is approximated.
#
# What remains is to be quick about 784 small steps, and there the picture helps again. What the *rows above* contribute to a row is known when the row begins, for all its pixels at once. So each convolution splits in two: the upper kernel rows, once for each row as one matrix product, and the taps to the left, once for each pixel. In
# a Gated PixelCNN this is the very division into two stacks: the vertical stack runs a row at a time, the horizontal one a pixel at a time. For a diagonal LSTM the second direction waits for the row to be complete; for attention the keys and values of all pixels are kept, and only the weighted sum grows.
# {numref}`fig-pix-cost` shows what is left for each pixel.


# %%
def work_per_pixel(model):
    """Multiply-adds of each step while one picture is drawn: [D]."""
    step, x, spent = model.steps(1), torch.zeros(1, model.dims), [0]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for t in range(model.dims):
            step(t, x)
            spent.append(counter.get_total_flops() // 2)
    return torch.tensor(spent).diff()


# %% mystnb={"figure": {"caption": "Multiply-adds for each pixel of a 16x16 picture. Solid: with features kept. The spikes are the beginnings of rows, where all that the rows above contribute is computed for a whole row; between them the cost is flat. PixelSNAIL, whose convolutions are computed a pixel at a time, is nearly smooth; it rises a little, since attention has one more pixel to look at each time. Dashed: without the cache every pixel costs a forward pass; the lines of PixelSNAIL and Gated PixelCNN all but coincide.", "name": "fig-pix-cost"}, "image": {"alt": "Logarithmic number of multiply-adds per pixel against the pixel's index. Two comb-shaped curves with a spike every 16 pixels and a smooth one, that of PixelSNAIL, which slowly rises. Between the spikes all lie two orders of magnitude and more below dashed horizontal lines."}}
shape = (1, 16, 16)
models = {
    "Gated PixelCNN": (GatedPixelCNN(shape, channels=32, layers=7), "blue"),
    "PixelCNN": (PixelCNN(shape, channels=32, layers=7), "vermilion"),
    "PixelSNAIL": (PixelSNAIL(shape, channels=32, blocks=2, layers=2), "green"),
}
fig, ax = plt.subplots(figsize=(6, 3.6))
for name, (model, colour) in models.items():
    work = work_per_pixel(model)
    _, work_pass = multiplications(model.predict, torch.zeros(1, *shape))
    ax.plot(work / 1e6, lw=1, color=COLOURS[colour], label=name)
    ax.axhline(work_pass / 1e6, ls="--", lw=1.4, color=COLOURS[colour])
    print(f"{name:>14}, millions: all steps {work.sum() / 1e6:.1f}, one pass {work_pass / 1e6:.1f}")
ax.set(yscale="log", xlabel="pixel, in the order of drawing", xlim=(0, 256))
ax.set(ylabel="million multiply-adds")
_ = ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, columnspacing=1)
plt.show()

# %% [markdown]
# In this sense sampling is as cheap as one forward pass: the sums over all steps are about what one pass takes (and less where a pass multiplies masked zeros). But the steps wait for one another, so the time is that of hundreds of short steps and not of one long one. {numref}`fig-pix-time` shows what a step takes on a processor.

# %% mystnb={"figure": {"caption": "Time for each pixel while 16 pictures of 28x28 binary pixels are drawn together, measured by `benchmarks/cost_per_position`: with features kept (solid) and without (dashed).", "name": "fig-pix-time"}, "image": {"alt": "Logarithmic time per pixel against pixel index. Two flat curves near a quarter of a millisecond, that of the Gated PixelCNN with a spike of two milliseconds every 28 pixels and some small noise, lie two orders of magnitude below two dashed horizontal lines at about 16 and 50 milliseconds."}}
from lvmlib.experiments.records import benchmark, published, record

costs = {row["model"]: row for row in benchmark("cost_per_position")}
fig, ax = plt.subplots(figsize=(6, 3.2))
for name, colour in {"PixelCNN": "vermilion", "Gated PixelCNN": "blue"}.items():
    row = costs.get(name.replace(" ", ""), {"position": [], "cached_us": [], "uncached_us": math.nan})
    cached_ms = [us / 1000 for us in row["cached_us"]]
    ax.plot(row["position"], cached_ms, lw=1, color=COLOURS[colour], label=name)
    ax.axhline(row["uncached_us"] / 1000, ls="--", lw=1.4, color=COLOURS[colour])
ax.set(yscale="log", xlabel="pixel, in the order of drawing", ylabel="milliseconds", xlim=(0, 784))
_ = ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
plt.show()

# %% [markdown]
# {cite:t}`ramachandran2017` report factors of up to 183 for PixelCNN++ on a graphics processor, where many small steps waste even more than here. Other models and other libraries stand on the page of results.
#
# :::{admonition} Watch out: "PixelCNN trains in parallel, so it also samples in parallel"
# :class: pitfall
# One pass gives all conditionals *of a picture that is there*. Feed an empty picture in and draw all pixels from the one pass, and each pixel is drawn given zeros above and to the left. That is the model's opinion of where a first speck of ink might be, over and over; no stroke is ever continued. The next cell counts the ink.
# :::

# %% tolerance={"rtol": 0.1}
with torch.no_grad():
    at_once = (u < net(torch.zeros_like(u)).sigmoid()).float()
    in_order = draw_cached(net, torch.rand(100, 1, 14, 14))
for name, x in (("data", small_test.x), ("drawn in order", in_order), ("drawn at once", at_once)):
    print(f"pixels of ink, {name}: {x.sum((1, 2, 3)).mean():.1f}")

# %% [markdown]
# (sec-pix-table)=
# ## Which is best?
#
# All of them, first side by side and small, with the models of {doc}`chapter 3 <03_autoregressive_models>`, as its {numref}`sec-ar-compared` describes: the same 96,000 images of 14x14 pixels for each, the same four learning rates to choose from (the two best on a quarter are tried on all), the same 10,000 test digits, one seed. The networks are of comparable depth; PixelCNN, Gated PixelCNN and both LSTMs are told the position.

# %%
equal = record("equal_budget")
print(f"{'':>27}  parameters  test nats   gain of the last three quarters   minutes")
for name, r in sorted(equal["models"].items(), key=lambda item: item[1]["test_nll_nats"]):
    quarter = min(filter(None, r["validation_of_rates_on_a_quarter"].values()))  # None: it diverged
    gain = quarter - r["validation_curve"][-1]["nll_nats"]
    row = f"{r['parameters']:10,}  {r['test_nll_nats']:5.2f} +- {r['standard_error']:.2f}"
    state = "nats, not converged" if gain > 0.5 else "nats"
    print(f"{name:>27}  {row}  {gain:4.1f} {state:20}  {r['training_seconds'] / 60:6.1f}")
by_rate = equal["models"]["Gated PixelCNN"]["test_of_rates_in_full"]
print("\nGated PixelCNN with a rate of", "; of ".join(f"{rate}: {nll:.2f}" for rate, nll in by_rate.items()))

# %% [markdown]
# After as much data as MADE has seen, no pixel model loses to it by more than a quarter of a nat, and each has at most a sixth of its 315,000 weights. PixelCNN and Row LSTM are level with it; the Gated PixelCNN, whose stacks leave no blind spot, is half a nat ahead. Of those that see everything, the Diagonal BiLSTM manages as much as MADE with 6,313 weights, the fewest of all; PixelSNAIL, by attention, gains a nat and PixelCNN++, by halving, nearly two. The order says how far each came with 96,000 images and not how
# good it becomes: by the measure of the table hardly one has converged. It is one seed, and the rates are a factor of three apart: the Gated PixelCNN came to 29.01 nats with a rate of 0.03 and to 27.84 with 0.01. Half a nat more or less settles nothing here.
#
# **At full size.** `python -m lvmlib.experiments.binary_mnist` and `... conditional_mnist` trained networks on 28x28 digits: 60,000 training images by {term}`stochastic binarization`, drawn as 0 and 1 anew at every use, on one processor core. Each left a record beside its weights. The table reads these records, and beside them the
# published figures that the page of {doc}`results <../book/results>` quotes. Two kinds of figures must be kept apart. Those under *fresh* are of networks that, like ours, saw their training set drawn anew for every pass {cite:p}`hotaj2021`; but they are larger, and that library's scripts train their PixelCNN, Gated PixelCNN and PixelSNAIL for 457 passes. Those under *fixed*, from {cite:t}`vandenoord2016`, belong to *one* binarization of MNIST, a file that does not come with this book, in which a second pass brings nothing new; {cite:t}`burda2016` found their models about two nats worse
# on it. FVSBN and MADE are models of {doc}`chapter 3 <03_autoregressive_models>`. A model whose full-size training has not been run has no row; every script is there.

# %%
names = {"FVSBN": "fvsbn", "MADE": "made", "PixelRNN, Row LSTM": "pixelrnn", "PixelCNN": "pixelcnn"}
names |= {"Gated PixelCNN": "gated_pixelcnn", "PixelCNN++": "pixelcnnpp", "PixelSNAIL": "pixelsnail"}
names |= {"multi-scale": "multi_scale", "hierarchical": "hierarchical"}
zoo = {label: facts for label, name in names.items() if (facts := record(f"{name}_mnist"))}

# %%
fresh, fixed = published("fresh"), published("static")
quoted = lambda table, label: f"{table[label]:.2f}" if table.get(label) else ""
print(f"{'nats for each digit':>20}   test  train   fresh  fixed")
for label, facts in zoo.items():
    bound = "<=" if "bound" in facts["test_protocol"] else "  "
    print(
        f"{label:>20} {bound}{facts['test_nll_nats']:.2f}  {facts['train_nll_nats']:.2f}  "
        f"{quoted(fresh, label):>6}  {quoted(fixed, label):>5}"
    )
print(f"{'published only':>20}  {quoted(fixed, 'PixelRNN, Diagonal BiLSTM'):>29}")

# %% [markdown]
# (The last line is of a PixelRNN whose layers are Diagonal BiLSTMs; a bound would be marked with <=.) And what each took:

# %%
measured = {row["model"]: row for row in benchmark("sampling") if row["n"] == 16}
row_of = {"PixelRNN, Row LSTM": "PixelRNN", "PixelCNN++": "PixelCNNpp"}
row_of["Gated PixelCNN"] = "GatedPixelCNN"
print(f"{'':>20}  parameters  passes  minutes | seconds  measured with")
for label, facts in zoo.items():
    row = measured.get(row_of.get(label, label))
    cost = f"{row['seconds']['cached']:7.2f}  {row['parameters']:10,}" if row else ""
    print(f"{label:>20}  {facts['parameters']:10,}  {facts['passes']:6g}  {facts['training_minutes']:7.0f} | {cost}")


# %% [markdown]
# The seconds are those of `benchmarks/sampling` for 16 digits, with the cache and on one core. The networks measured there have as many parameters as the last column says: the Gated PixelCNN has seven layers of 32 channels there.
#
# Four observations on the pixel models, each on one seed. *Training and test digits cost nearly the same*, so nothing has been learned by heart. What is missing to the published figures is training or size: the other library's Gated PixelCNN is 128 channels wide and was trained for 457 passes, ours has 24 channels and saw the data three and a half times. Nothing here has converged, and the distance from a published figure says little about a kind of model.
#
# *Those that reach everything come out ahead:* PixelCNN++ by halving, then PixelSNAIL by attention. They also have the most parameters of the pixel models; PixelCNN++ needs less than half as long to train. The Gated PixelCNN follows. Its twelve layers have no blind spot, reach 14 rows up, and have as many parameters as seven layers of 32 channels would.
#
# *Reach is cheap to have by recurrence.* The Row LSTM is half a nat behind the PixelCNN, with two fifths of its parameters and a third of the passes. One explanation is that its states carry news from all rows above, while seven residual blocks after a 7x7 kernel end ten rows up.
#
# *It helps to know where one is.* PixelCNN, Gated PixelCNN and Row LSTM are told by two planes of coordinates that every layer reads (`positions=True`), and {numref}`sec-pix-tricks` weighs what that buys. A convolution treats all places alike. But MNIST's digits are all centred, and how far away the top of the digit is cannot be seen from ten rows below it.


# %% mystnb={"figure": {"caption": "Draws from the trained models, none selected, and binarized test digits above. All are sharp. From the last two most are digits, from the other two about half; the others consist of strokes that did not agree on one.", "name": "fig-pix-samples"}, "image": {"alt": "Ten rows of twelve binary digits: two rows of data, then two each from Row LSTM, PixelCNN, Gated PixelCNN and PixelCNN++. The last four are the most legible."}} tolerance={"draws": ["rows 3-10"], "rtol": 0.2}
def trained(name, script=binary_mnist, checkpoint="{}_mnist"):
    """A model of a training script with its shipped weights, and the record of its training."""
    model = script.MODELS[name]()
    return model, load_checkpoint(model, checkpoint.format(name))


binary_test = load("mnist", binarize="stochastic", valid=0)[2].fixed(seed=0)
rows, labels = [binary_test.x[:24]], ["data", ""]
for label in ("PixelRNN, Row LSTM", "PixelCNN", "Gated PixelCNN", "PixelCNN++"):
    if label in zoo:
        model, _ = trained(names[label])
        torch.manual_seed(0)
        rows.append(model.sample(24))
        labels += [label, ""]
        print(f"{label:>18}: ", end="")
        with torch.no_grad():
            log_p, log_p_data = (model.log_prob(x) for x in (rows[-1], binary_test.x[:200]))
        beside_data(rows[-1], log_p, binary_test.x[:200], log_p_data)
image_grid(torch.cat(rows), columns=12, row_labels=labels)
plt.show()

# %% [markdown]
# Where in a picture are the nats? Every pixel has a probability and so a {term}`surprise`, and they add up to the negative log-likelihood. {numref}`fig-pix-surprise` draws both. Paper is cheap, and so is the inside of a stroke. In these three about two thirds are paid in a twentieth of the pixels, along the edges: where a stroke begins or turns, and for the raggedness that the binarization drew. The latter no model can foresee. Even if the grey levels $g$ of the digit were known, the coins thrown for its pixels would cost their entropies, $\sum_i H(g_i)$; and as knowing more never raises an entropy, this is a floor for every model of these bits, and under every number of the table.

# %% mystnb={"figure": {"caption": "Three test digits, the probability that the Gated PixelCNN gave to ink at each pixel just before seeing it, and the surprise of what it then saw (black: 4 nats or more). The surprises of a picture add up to its negative log-likelihood, given on the left.", "name": "fig-pix-surprise"}, "image": {"alt": "Three rows of three pictures. Probabilities look like the digit, blurred; the surprise is a thin outline of the strokes, with a few dark points where a stroke begins or turns."}} tolerance={"data": 0.1, "figure": 0.3, "rtol": 0.05}
gated, _ = trained("gated_pixelcnn")
chosen = binary_test.x[[1, 4, 18]]
with torch.no_grad():
    ink = gated.conditionals(chosen).base_dist
    probability, surprise = ink.probs, -ink.log_prob(chosen)
totals = [f"{total:.0f} nats" for total in surprise.flatten(1).sum(1).tolist()]
panels = torch.stack([chosen, probability, (surprise / 4).clamp(max=1)], 1).flatten(0, 1)
fig, ax = plt.subplots(figsize=(3.6, 3.4))
image_grid(panels, columns=3, ax=ax, row_labels=totals, column_labels=["digit", "p(ink)", "surprise"])
plt.show()
large = surprise > math.log(2)
share = (surprise * large).sum() / surprise.sum()
print(f"pixels that surprised more than a coin: {large.float().mean():.1%}, with {share:.0%} of the nats")
grey = mnist_test.x.double() / 255
entropy = -torch.special.xlogy(grey, grey) - torch.special.xlogy(1 - grey, 1 - grey)
print(f"entropy of the coins, mean over the test digits: {entropy.sum((1, 2, 3)).mean():.1f} nats")

# %% [markdown]
# **Temperature.** The logits of each conditional may be divided by a {term}`temperature` $T$ before the draw. Below 1 every pixel takes the likelier value more often: strokes get smoother, and what is likely once becomes likelier still; above 1 noise creeps in. The model's own opinion of its draws says how far from the data each is: two hundred draws at $T = 1$ cost about what as many test digits do (some three nats more, with a standard error of two), at $T = 0.7$ a quarter less, and at $T = 1.3$ half as much again.

# %% mystnb={"figure": {"caption": "Draws of the Gated PixelCNN at three temperatures, from the same random numbers. Cold draws are smooth, many of them a 4, 7 or 9; warm ones are frayed.", "name": "fig-pix-temperature"}, "image": {"alt": "Three rows of twelve digits. At temperature 0.7 strokes are smooth and many digits are a 4, a 7 or a 9; at 1 they look like the data; at 1.3 they are ragged."}} tolerance={"draws": ["rows 1-3"], "rtol": 0.2}
rows, temperatures = [], (0.7, 1.0, 1.3)
for temperature in temperatures:
    torch.manual_seed(1)
    rows.append(gated.sample(200, temperature=temperature))
image_grid(torch.cat([x[:12] for x in rows]), columns=12, row_labels=[f"$T = {t}$" for t in temperatures])
plt.show()
named = {f"draws, T = {t}": x for t, x in zip(temperatures, rows)} | {"test digits": binary_test.x[:200]}
for name, x in named.items():
    with torch.no_grad():
        cost = -gated.log_prob(x)
    error = cost.std() / len(x) ** 0.5
    print(f"{name:14}: {cost.mean():5.1f} +- {error:.1f} nats at T = 1, {x.mean():.1%} ink")

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
by_pixel = {"00": 1 - first, "01": 0.0, "10": first * sharper(0.5), "11": first * sharper(0.5)}
for x in p:
    joint = p[x] ** (1 / T) / Z
    print(f"{x}: p {p[x]:.2f}, at T = 1/2 jointly {joint:.3f}, pixel by pixel {by_pixel[x]:.3f}")


# %% [markdown]
# (sec-pix-logistic)=
# ## What does a pixel with 256 levels predict?
#
# Grey or colour pixels have 256 values. The first pixel models predicted them with a softmax over 256 logits: a free table, which can have any shape, and which must learn every entry by itself. It does not know that 127 lies between 126 and 128. PixelCNN++ {cite:p}`salimans2017` puts the knowledge in: a level is a continuous brightness, **rounded**.
#
# Let the brightness be a mixture of $M$ logistic distributions, each with distribution function $F(t) = \sigma((t - \mu)/s)$, for no better reason than that $F$ is easy. The probability of level $k$ is what falls into the bin around it:
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
    """Probabilities of the levels 0..K-1 under one logistic, straight from the definition: [K]."""
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
    library = DiscretizedLogisticMixture(*(t.expand(K, 5) for t in (pi.log(), loc, scale)), K)
    difference = (library.log_prob(levels).exp() - ours).abs().max().item()
    worst = max(worst, abs(ours.sum().item() - 1), difference)
print(f"200 mixtures, centres on and off the scale: sums, and lvmlib, right to 1e-12: {worst < 1e-12}")
with_edges, without = bins(0, 20, K).sum(), bins(0, 20, K, edges=False).sum()
print(f"mean 0, scale 20: sum {with_edges:.3f}, without edge bins {without:.3f}")
assert worst < 1e-12 and abs(without - 0.506) < 5e-4

# %% [markdown]
# :::{admonition} Watch out: the edge bins
# :class: pitfall
# Code that uses the plain difference for all levels circulates. Its "probabilities" of a logistic with mean 0 and scale 20 sum to 0.506: half of the mass lies on levels that do not exist. It reports an NLL that is too *high* and, worse, cannot say "black" with certainty except by an ever smaller scale. And it is black and white, the ends of the scale, that scans, drawings and emoji have most of.
# :::
#
# :::{admonition} Watch out: the logarithm of a difference
# :class: pitfall
# Far above the centre of a logistic both sigmoids are rounded to 1, their difference is 0, and its logarithm $-\infty$: in float32, already some 17 scales away. With $a$ and $b$ the arguments at the upper and the lower end,
# $\log(\sigma(a) - \sigma(b)) = \log \sigma(a) + \log \sigma(-b) + \log(1 - e^{-1/s})$ holds exactly (exercise) and never subtracts. The next cell compares.
# :::

# %%
far = torch.tensor(200.0)  # level 200 for a logistic at 20 with scale 5, in float32
naive = (torch.sigmoid((far + 0.5 - 20) / 5) - torch.sigmoid((far - 0.5 - 20) / 5)).log()
stable = DiscretizedLogistic(torch.tensor(20.0), torch.tensor(5.0), 256).log_prob(far)
exact = math.log(math.exp(-179.5 / 5) - math.exp(-180.5 / 5))  # the tail of a logistic is exponential
print(f"log P(200): {naive:.2f} by the difference, {stable:.4f} stable, {exact:.4f} from the tail")


# %% [markdown]
# **Does it pay?** The claim is that knowing the scale saves data. So take the smallest pixel model that there is, a network that predicts a grey level of an emoji from its left, upper and upper left neighbours, with each kind of output, and train it on more and more pixels.


# %%
def pixels(split):
    """Grey levels and their three neighbours, from all pictures of a split: [N], [N, 3]."""
    grey = split.x.float().mean(1).round()  # [n, 32, 32]
    now, left, up, corner = grey[:, 1:, 1:], grey[:, 1:, :-1], grey[:, :-1, 1:], grey[:, :-1, :-1]
    busy = (left != up) | (up != corner)  # leave out what is flat, which is no problem for anyone
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
held = (target[order[-2000:]], neighbours[order[-2000:]])  # training stops when these get worse
few = {}
how = dict(steps=1500 * SCALE, lr=cosine(3e-3, 1500 * SCALE), batch_size=100, device=DEVICE, progress=False)
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
# With 300 pixels, and 2,000 more that say when to stop, five logistics do nearly as well as the table with 30,000, which takes all the steps it may; with 3,000 they are half a bit ahead of it. Their advantage must end somewhere, since a table can learn any distribution and a mixture of five only some. For emoji it does not end here, nor for the photographs of {cite:t}`salimans2017`.
#
# {numref}`fig-pix-heads` shows why. From so few pixels the table has hardly left the uniform distribution, and its teeth are the values that it has met. The logistics know at once which levels are near to which, and put mass on the two ends, where the edge bins collect what lies beyond.

# %% mystnb={"figure": {"caption": "Distribution of a grey level given neighbours of the levels 120, 128 and 124 (left, up, corner; above), or 255, 255 and 200 (below), after training on the fewest pixels. The softmax's table is ragged where it has met few values; the mixture is smooth, and its last bin holds all that lies beyond the end of the scale.", "name": "fig-pix-heads"}, "image": {"alt": "Two rows of two bar charts over the levels 0 to 255. Upper row: the softmax is ragged and almost flat, the mixture a smooth peak near 125. Lower row: the softmax is ragged and rises a little to a spike at 255; the mixture rises smoothly from 150 on and ends in a spike at 255 that holds nearly everything."}} tolerance={"data": 0.1}
fig, axes = plt.subplots(2, 2, figsize=(6, 3.4), sharex=True)
for column, name in zip(axes.T, families):
    for ax, around in zip(column, ([120.0, 128, 124], [255.0, 255, 200])):
        with torch.no_grad():
            out = few[name](torch.tensor(around).expand(256, 3) / 127.5 - 1)
            p = families[name][1](out).log_prob(torch.arange(256)).exp()
        ax.bar(range(256), p, width=1, color=COLOURS["blue"])
        ax.set_yscale("log")
        ax.set(ylim=(1e-5, 1))
    column[0].set_title(name)
    column[1].set_xlabel("grey level")
axes[0, 0].set_ylabel("probability")
plt.show()

# %% [markdown]
# (sec-pix-colour)=
# ## In which order do the colours of a pixel come?
#
# A colour picture has three numbers at each pixel. Draw red first, then green given red, then blue given both:
#
# $$ p(x) = \prod_{i} p(x_{i,R} \mid x_{<i})\; p(x_{i,G} \mid x_{<i}, x_{i,R})\; p(x_{i,B} \mid x_{<i}, x_{i,R}, x_{i,G}) . $$ (eq-pix-colour)
#
# In a PixelCNN the masks see to it. The features of each layer are divided into three groups, one for each colour, and the masks differ only in what the centre of the kernel connects: with mask A a group sees *earlier* colours of the same pixel, with mask B earlier ones and its own. {numref}`fig-pix-rgb` draws the derivatives of all outputs by all inputs of a
# picture of four colour pixels: a triangle again, now with three steps for each pixel.

# %% mystnb={"figure": {"caption": "Which outputs (rows) of a colour PixelCNN depend on which inputs (columns), in a picture of 2x2 pixels, in the order of drawing. Below the diagonal all is dark, on it and above it nothing is: no colour sees itself or a later one. Lines separate pixels.", "name": "fig-pix-rgb"}, "image": {"alt": "A 12 by 12 matrix, lower triangular without its diagonal, with lines after every third row and column."}}
torch.manual_seed(0)
model = PixelCNN((3, 2, 2), channels=24, layers=2, kernel=3, levels=4).double()
order = model.order  # flat positions in the order of drawing: pixel by pixel, R, G, B
depends = torch.zeros(12, 12)
for x in torch.rand(8, 1, 3, 2, 2, dtype=torch.float64):  # a ReLU may be shut for one picture
    J = torch.autograd.functional.jacobian(lambda x: model.predict(x).square().sum(1), x)
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
from lvmlib.autoregressive.families import family_of
from lvmlib.autoregressive.pixel.pixel_head import PixelHead


def P(x, centre, scale, K=8):
    """Bins of logistics in levels, with the edges: x [N, 1], centre [N, M] or [M], scale [M] -> [N, M]."""
    upper = torch.sigmoid((x + 0.5 - centre) / scale).masked_fill(x == K - 1, 1)
    return upper - torch.sigmoid((x - 0.5 - centre) / scale).masked_fill(x == 0, 0)


torch.manual_seed(0)
K, M, half = 8, 3, 3.5  # levels, components, half of the range 0..7
head = PixelHead(features=6, channels=3, family=family_of(K, M)).double()
with torch.no_grad():
    for parameter in head.inner.parameters():  # any weights will do
        parameter.normal_()
features = torch.randn(1, 6, 1, 1, dtype=torch.float64)
logits, *rest = head.inner(features[0, :, 0, 0]).detach().split([M, 3 * M, 3 * M, 3 * M])
loc, log_scale, coupling = (t.view(3, M) for t in rest)
scale, (alpha, beta, gamma) = half * log_scale.exp(), coupling.tanh()
colours = torch.cartesian_prod(*[torch.arange(K).double()] * 3)  # [512, 3]
red, green, blue = colours.split(1, 1)
z_red, z_green = red / half - 1, green / half - 1  # spread over [-1, 1]

# %% tags=["check:thm-pix-coupling"]
joint = logits.softmax(0) * P(red, half * (1 + loc[0]), scale[0])
joint = joint * P(green, half * (1 + loc[1] + alpha * z_red), scale[1])
joint = (joint * P(blue, half * (1 + loc[2] + beta * z_red + gamma * z_green), scale[2])).sum(1)  # [512]
with torch.no_grad():
    out = head(features.expand(512, -1, -1, -1), colours.view(512, 3, 1, 1))
    each = family_of(K, M).distribution(out).log_prob(colours.view(512, 3, 1, 1))
product = each.sum((1, 2, 3)).exp()
print(f"sum over 512 colours: {joint.sum():.12f}")
print(f"equal to the product of conditionals: {torch.allclose(joint, product, atol=1e-12)}")
assert abs(joint.sum() - 1) < 1e-12 and torch.allclose(joint, product, atol=1e-12)

# %% [markdown]
# :::{admonition} Watch out: a 32x32 colour picture takes 3,072 steps, not 1,024
# :class: pitfall
# A model of colours one by one, as in {eq}`eq-pix-colour`, makes $3 \cdot 32 \cdot 32 = 3{,}072$ draws, each of which waits for the one before. Counts of "one step for each pixel" forget the colours. PixelCNN++ does get by with 1,024 runs of its *network*, since the network does not look at the colours of the pixel being drawn; the three draws from the mixture still come one after another,
# but they cost next to nothing. For bits/dim the total is divided by 3,072 in either case.
# :::

# %%
for model in (PixelCNN((3, 32, 32), levels=256), PixelCNNpp((3, 32, 32), channels=8, layers=1)):
    print(f"{type(model).__name__}: {len(model.order)} steps, 32 * 32 = {32 * 32}")

# %% [markdown]
# (sec-pix-up)=
# ## What do down- and upsampling and shortcuts bring?
#
# Long reach takes many layers ({numref}`fig-pix-growth`), and each of them runs at all pixels. PixelCNN++ does most of its work at lower resolution instead: halve the picture by convolutions of stride 2, go on at a quarter of the cost with kernels that now reach twice as far, halve once more, and come back up. What the halving threw away returns by **shortcuts** from the
# way down to the way up at equal resolution, as in a U-net {cite:p}`ronneberger2015`.
#
# Is it still autoregressive? No mask can be seen in such a network. It has the two streams of the Gated PixelCNN, and its convolutions are *shifted*. In the stream of the rows above the kernel is centred on the column, and its lowest row lies on the row of the place. In the stream of the row to the left its lower right corner lies on the place. The first layer of the one is pushed down by a row, that of the other right by a column. So features at a
# place know only pixels before it. With stride 2 the coarse feature at $(r, c)$ reads fine features up to the place $(2r, 2c)$, the first of its square in the order, and so knows only pixels before $(2r, 2c)$. Going up again, all four places of the square may use it. (The stream of the rows above stays, at both resolutions, above the first row of a square.)

# %%
torch.manual_seed(0)
model = PixelCNNpp((1, 8, 8), channels=4, layers=1, halvings=2, levels=2, logistics=0).double()
J = derivatives(lambda x: model.predict(x), (1, 8, 8))
print(f"largest derivative by the pixel itself or a later one: {J.triu().abs().max():.1f}")
print(f"derivatives by earlier pixels that are not 0: {J.tril(-1).count_nonzero() / (64 * 63 / 2):.0%}")
assert J.triu().abs().max() == 0

# %% [markdown]
# What does it buy? Compare networks of ten to sixteen residual blocks of the same width:

# %%
x = torch.zeros(1, 1, 32, 32)
for halvings, layers in ((0, 3), (1, 1), (2, 1)):
    model = PixelCNNpp((1, 32, 32), channels=32, layers=layers, halvings=halvings, levels=2, logistics=0)
    blocks = sum(type(module).__name__ == "GatedResnet" for module in model.modules())
    _, work = multiplications(model.predict, x)
    reach = field(model.double().predict, (1, 32, 32), (24, 16), inputs=1).sum().item()
    print(f"{halvings} halvings, {blocks} blocks: {work / 1e6:3.0f} million multiply-adds, ", end="")
    print(f"{reach} of 784 pixels seen")


# %% [markdown]
# With two halvings every earlier pixel is in reach, for two thirds of the multiplications of a network of fewer blocks at full resolution that sees little more than half of them.
#
# And the shortcuts? A coarse pixel serves all four pixels of its square because it has seen nothing of the square itself. So without shortcuts the second pixel of a square never hears of the first, its left neighbour, and those of the lower row hear of nothing in their own row: the pixels that tell most. Cut them and ask the gradient:


# %%
def sees_left(model):
    """Share of the pixels whose prediction depends on the pixel to the left."""
    J = derivatives(lambda x: model.predict(x), (1, 8, 8)).view(8, 8, 8, 8)
    return sum(bool(J[r, c, r, c - 1] != 0) for r in range(8) for c in range(1, 8)) / 56


torch.manual_seed(0)
model = PixelCNNpp((1, 8, 8), channels=4, layers=1, halvings=2, levels=2, logistics=0).double()
print(f"pixels that see their left neighbour: {sees_left(model):.0%} with shortcuts")
for module in model.modules():
    for pair in getattr(module, "up", ()):  # on the way up, the last input of both blocks is a shortcut
        for block in (pair.u, pair.v):
            nn.init.zeros_(block.sides[-1].weight)
print(f"                                      {sees_left(model):.0%} without")

# %% [markdown]
# Only pixels that begin a coarsest square, here of 4x4, are left: 2 of the 56 that have a left neighbour.
#
# (sec-pix-emoji)=
# ## Colour pictures
#
# The colour set of this book is small: 905 emoji for training, 60 for validation, 120 for testing, 32x32 pixels each. `python -m lvmlib.experiments.emoji` trained PixelCNN++ on them and their mirror images, with five coupled logistics as its output.

# %%
colourful, facts = trained("mixture", emoji, "emoji_{}")
test_bpd, train_bpd = facts["test_bits_per_dim"], facts["train_bits_per_dim"]
print(f"test {test_bpd:.2f} bits/dim, training pictures {train_bpd:.2f}")
print(f"{facts['parameters']:,} parameters, {facts['training_minutes']:.0f} minutes of training")

# %% [markdown]
# Test and training pictures cost nearly the same, so the model has not learned its 905 pictures by heart. (For comparison with another set of pictures and a much larger network: PixelCNN++ reports 2.92 bits/dim on the natural photographs of CIFAR-10 {cite:p}`salimans2017`. Emoji on white are easier for each pixel, and fewer.)

# %% mystnb={"figure": {"caption": "Emoji from the test set, and draws from PixelCNN++ with coupled logistics, none selected, at two temperatures. A pixel fits its neighbours in colour and shading; there are no whole objects.", "name": "fig-pix-emoji"}, "image": {"alt": "Three blocks of small colour pictures on white. Above, real emoji: animals, food and objects. Below, two blocks of generated pictures: scattered coloured patches, none of them identifiable; those at the lower temperature leave more of the paper white."}} tags=["photo"] tolerance={"draws": ["rows 2-3"], "rtol": 0.2}
torch.manual_seed(0)
blocks = [emoji_test.x[:8].float(), colourful.sample(8), colourful.sample(8, temperature=0.9)]
image_grid(torch.cat(blocks) / 255, columns=8, row_labels=["data", "$T = 1$", "$T = 0.9$"])
plt.show()
for name, x in zip(("data", "T = 1", "T = 0.9"), blocks):
    with torch.no_grad():
        bpd = bits_per_dim(colourful.log_prob(x), (3, 32, 32)).mean()
    paper, (r, g, b) = (x == 255).all(1).float().mean(), x.mean((0, 2, 3)).tolist()
    print(f"{name:>7}: {bpd:.2f} bits/dim, {paper:.1%} white paper, mean colour {r:.1f} {g:.1f} {b:.1f}")

# %% [markdown]
# **The table at full size.** In {numref}`sec-pix-logistic` the mixture beat the table of 256 values where examples are few. Here they are 905 pictures, or nearly three million colour values. The same PixelCNN++ was trained twice, with each of the two outputs and for as many passes:

# %%
for name in ("mixture", "softmax"):
    facts = record(f"emoji_{name}")
    each = f"test {facts['test_bits_per_dim']:.2f}, training {facts['train_bits_per_dim']:.2f} bits/dim"
    print(f"{name:>8}: {each}; {facts['parameters']:,} parameters, {facts['passes']:.0f} passes")

# %% [markdown]
# On the pictures that it was trained on the table is nearly as good. On others it is a quarter of a bit worse: what it learns of a level it learns of that level alone, and 905 pictures are few for 768 outputs at each pixel, where the mixture has 50. The mixture loses next to nothing from the one to the other.

# %% [markdown]
# **Colourisation.** Which colours fit a grey picture $y$? Draws from $p(x \mid y)$. A model in reading order cannot be *asked* for it, because $y$ says something about pixels that come later too. But it can be *told* {cite:p}`kolesnikov2017`: let every conditional look at the grey picture on all sides,
#
# $$ \log p(x \mid y) = \sum_t \log p(x_t \mid x_{<t}, h(y)) . $$ (eq-pix-told)
#
# The map $h(y)$ comes out of ordinary convolutions. They need no masks, since $y$ is given and not predicted; five of them with growing dilation see 16 pixels to each side. A layer of the pixel model adds $h$ at a pixel, times a matrix of its own, to what goes into the gate there. The sum stays a distribution of $x$ for each $y$: the order of the pixels is untouched.
#
# `Colourisation` wraps a `PixelCNNpp` in this way. Ours began with the weights from above and was trained on. The gradient shows that the first pixel, of which an unconditional model knows nothing, is told of the grey below and to the right:

# %%
colouriser, facts = trained("colourise", emoji, "emoji_{}")
grey = torch.rand(1, 1, 32, 32, requires_grad=True)
white = torch.full((1, 3, 32, 32), 255.0)
corner = colouriser.model.predict(white, colouriser.features(grey))[..., 0, 0]
(gradient,) = torch.autograd.grad(corner.square().sum(), grey)
rows, columns = gradient[0, 0].nonzero().amax(0).add(1).tolist()
print(f"the pixel in the corner is told of {rows} rows and {columns} columns of grey pixels")
print(f"test: {facts['test_bits_per_dim']:.2f} bits/dim given the grey picture, {test_bpd:.2f} without")

# %% mystnb={"figure": {"caption": "Colourisation of test pictures. Left: the grey picture that the model is told. Then four draws given it. Right: the original. Outline and shading are right throughout; a draw decides on colours, and now and then changes its mind within an object.", "name": "fig-pix-colourise"}, "image": {"alt": "Five rows of six pictures: a grey emoji, four versions of it in different colours, and the original. Within a version most neighbouring parts agree in colour; some patches do not."}} tags=["photo"] tolerance={"draws": ["columns 2-5"], "rtol": 0.2}
originals = emoji_test.x[[3, 40, 71, 100, 9]]
told = colouriser.grey(originals)  # [5, 1, 32, 32], in [-1, 1]
torch.manual_seed(0)
coloured = colouriser.sample(20, told.repeat_interleave(4, 0)).split(4)
shades = 127.5 * (told + 1).repeat(1, 3, 1, 1)
rows = [torch.cat([shades[i, None], coloured[i], originals[i, None]]) for i in range(5)]
image_grid(torch.cat(rows) / 255, columns=6, column_labels=["told", *["draw"] * 4, "original"])
plt.show()
draws = torch.cat(coloured)
error = (colouriser.grey(draws) - told.repeat_interleave(4, 0)).square().mean().sqrt()
apart = torch.stack([x[0] - x[1] for x in coloured]).square().mean().sqrt()
with torch.no_grad():
    log_p = (colouriser.log_prob(x, t) for x, t in ((originals, told), (draws, told.repeat_interleave(4, 0))))
    bpd, bpd_draws = (bits_per_dim(value, (3, 32, 32)).mean() for value in log_p)
print(f"grey again, draws differ from what was told by {error:.3f}; two draws differ by {apart:.1f} levels")
print(f"given the grey picture the originals cost {bpd:.2f} bits/dim, the draws {bpd_draws:.2f}")

# %% [markdown]
# The corner is told of more than 16 columns and rows because the layers of the pixel model carry the map on: to the right, along the rows above, and downwards by the squares over which the halvings average it.
#
# Two draws for the same picture differ, which is the point: nothing in the grey says whether the can is yellow or blue. Outline and shading are told, and that is worth a third of the bits. What 905 pictures do not teach is taste. The model has seen what a shaded surface looks like in many colours, but not often enough that clover is green.
#
#
# (sec-pix-tricks)=
# ## What does each training trick buy?
#
# The recipe behind the models of this chapter has a number of ingredients that are usually listed and seldom weighed:
#
# - a fresh binarization at every use;
# - a learning rate that rises, then falls along a cosine, and an average over the weights of the last hundred steps or so;
# - gradients clipped to a norm of 1;
# - in the network: two stacks with gates, depth, and coordinates.
#
# Weigh them: a small Gated PixelCNN on 5,000 digits of 14x14 pixels with everything, then with one thing changed at a time.
# `python -m lvmlib.experiments.pixel_ablation` trained each variant for 1,000 steps of 64 digits, with two seeds. Networks that lose layers or gates are made wider or deeper, so that all have about as many parameters.

# %% mystnb={"figure": {"caption": "Test NLL of a small Gated PixelCNN with the whole recipe, and with one ingredient left out at a time; a dot for each of two seeds. \"Neither\" has a constant learning rate and no average. To the left is better; the dashed line is the mean with everything.", "name": "fig-pix-tricks"}, "image": {"alt": "A dot plot with one row for each variant and two dots in each row. Without coordinates both dots lie more than two nats to the right of the line; all others lie within one nat of it, the constant learning rate to its left."}}
ablation = record("pixel_ablation")["variants"]
means = {name: sum(r["test_nll_nats"] for r in runs) / len(runs) for name, runs in ablation.items()}
fig, ax = plt.subplots(figsize=(6, 3.2))
for row, runs in enumerate(ablation.values()):
    ax.plot([r["test_nll_nats"] for r in runs], [row] * len(runs), "o", color=COLOURS["blue"])
ax.axvline(means["everything"], ls="--", lw=1.2, color=COLOURS["black"])
ax.set_yticks(range(len(ablation)), list(ablation))
ax.invert_yaxis()
ax.set(xlabel="test NLL (nats)")
plt.show()
for name, runs in ablation.items():
    train_mean = sum(r["train_nll_nats"] for r in runs) / len(runs)
    seeds = " and ".join(f"{r['test_nll_nats']:.2f}" for r in runs)
    print(f"{name:>24}: test {seeds}, {means[name] - means['everything']:+.2f}; training {train_mean:.2f}")

# %% [markdown]
# First the noise: two seeds of one variant differ by up to 0.25 nats and typically by 0.1, so a difference of means below 0.2 or so says little. Then, from the largest:
#
# - **Where one is** is worth 2.3 nats, more than everything else together, and costs two planes of numbers.
# - **Depth**, four layers of 16 channels in place of two of 25, is worth 0.8; **two stacks with gates**, in place of six layers of one stack, 0.4 with 7% more parameters.
# - **Clipping** is worth 0.3: it keeps a rare large gradient from undoing what was learned.
# - **Fresh binarization** is worth perhaps 0.2 in these few passes. The training NLL is on one draw of the coins, for the frozen variant of seed 0 the very draw that it was trained on. Its mean lies 0.3 nats below the test NLL, where the two differ by at most 0.06 in every other variant: it has begun to learn coins by heart.
# - **A falling learning rate** *costs* 0.3 here. The run is so short that the network does better to keep moving to the end, and the average over the weights removes the noise of that; without the average ("neither") the gain is nearly gone. Where the rate does fall to zero the average changes nothing, as the last weights hardly move.
#
# None of these numbers is a law. A run ten times as long would be expected to like the falling rate better and the fresh coins more; what the table teaches is to weigh before believing, and to run more than one seed.
#
# (sec-pix-class)=
# ## A class, and what else one may be told
#
# A model of $p(x \mid y)$ is a model of $p(x)$ in which every factor is told $y$. For a class that is a bias for each feature map, chosen by the class, in every gate: a one-hot vector through a linear map, which is what `context=10` adds to a `GatedPixelCNN`.

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
    nearest = (stored.sum(1) - 2 * x.flatten(1) @ stored.T).argmin(1)  # the number of pixels that differ, less x.sum()
    right = (mnist.y[nearest] == y).float().mean()
    print(f"{name}: {x.mean():.1%} ink, nearest training image of the right class for {right:.1%}")
print(f"test NLL given the class: {facts['test_nll_nats']:.2f} nats")

# %% [markdown]
# (Do not read the worth of a label from the table: 81.93 nats without, 79.12 with are 2.81 apart, more than the $\log 10 = 2.30$ nats that a label can tell. This model began with the weights of the other and was trained on.)
#
# A model of $p(x \mid y)$ is also a classifier. Nobody trained it to be one: Bayes' rule turns ten likelihoods into ten posterior probabilities, $p(y \mid x) \propto p(x \mid y)\, p(y)$.

# %% tolerance={"atol": 1.0}
x, y = binary_test.x[:100], binary_test.y[:100]
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
# ## More pixels: super-resolution
#
# A small picture $y$ of 7x7 grey levels, each the mean of 4x4 binary pixels, and the question: which 28x28 pictures belong to it? Not *which is the best*, because the mean of all of them would be a blurred $y$ again; a draw from $p(x \mid y)$ decides for one. (How well the draws fit what was told is printed below the figure: nothing forces them.) The network is told of $y$ through a map: enlarge $y$, pass it through ordinary convolutions, which may look everywhere since $y$ is given and not predicted, and add the result to the
# gates. {cite:t}`dahl2017` join the two at the other end: a conditioning network that sees only $y$ and a PixelCNN that sees only the pixels before each compute logits of their own, and the logits are added. Lest the sum be left to the PixelCNN, the conditioning network's logits are trained to predict the pixels by themselves as well, by a second cross-entropy.

# %% mystnb={"figure": {"caption": "Super-resolution. Left: the 7x7 picture that the model is told. Then five draws of 28x28 pixels given it. Right: the original. The draws agree where the small picture decides and differ where it does not.", "name": "fig-pix-super"}, "image": {"alt": "Five rows of seven pictures: a coarse grey digit, five sharp binary digits that fit it and differ in details, and the original."}} tolerance={"draws": ["columns 2-6"], "rtol": 0.2}
enlarger, facts = trained("super_resolution", conditional_mnist)
originals = binary_test.x[[0, 2, 8, 15, 61]]
told = enlarger.shrink(originals)  # [5, 1, 7, 7]
torch.manual_seed(0)
large = enlarger.sample(25, told.repeat_interleave(5, 0))
blocks = told.repeat_interleave(4, 2).repeat_interleave(4, 3)
rows = [torch.cat([blocks[i : i + 1], large[5 * i : 5 * i + 5], originals[i : i + 1]]) for i in range(5)]
image_grid(torch.cat(rows), columns=7, column_labels=["told", *["draw"] * 5, "original"])
plt.show()
error = (enlarger.shrink(large) - told.repeat_interleave(5, 0)).square().mean().sqrt()
others = enlarger.shrink(binary_test.x[:200])
spread = (others - others.mean(0)).square().mean().sqrt()
print(f"test NLL given the small picture: {facts['test_nll_nats']:.2f} nats")
print(f"shrunk again, draws differ from what was told by {error:.3f} (digits among them: {spread:.3f})")
groups = large.view(5, 5, 784)
apart, off = (groups[:, 0] != groups[:, 1]).sum(1), (groups[:, 0] != originals.flatten(1)).sum(1)
print(f"two draws for one picture differ in {apart.float().mean():.1f} pixels, a draw and the original", end="")
print(f" in {off.float().mean():.1f}")

# %% [markdown]
# The small picture is a function of the large one, so $p(x) = p(y)\, p(x \mid y)$ for the true distribution: the nats for $y$ and those for $x$ given $y$ add up to the nats for $x$. Coarse-to-fine models ({numref}`sec-pix-scales`) are built on this.
#
# (sec-pix-complete)=
# ## Half a picture
#
# **A beginning** is the easy case. If the upper half is given, its pixels are the first of the order, and drawing the rest one by one is *exactly* a draw from $p(x_{\text{lower}} \mid x_{\text{upper}})$. Nothing has to be trained for it, and the cache is filled by one pass over the given pixels.

# %% mystnb={"figure": {"caption": "Completion. Left: upper halves of test digits, and nothing else, are given. Then six ends drawn by the Gated PixelCNN. Right: the original. Where several digits begin alike, several come out.", "name": "fig-pix-complete"}, "image": {"alt": "Five rows of eight pictures: an upper half with an empty lower half, six completions which differ from one another, and the original digit."}} tolerance={"draws": ["columns 2-7"], "rtol": 0.2}
originals = binary_test.x[[1, 4, 7, 11, 18]]
known = 14 * 28
torch.manual_seed(0)
ends = gated.complete(originals.repeat_interleave(6, 0), known)
assert torch.equal(ends[..., :14, :], originals.repeat_interleave(6, 0)[..., :14, :])
given = originals.clone()
given[..., 14:, :] = 0
rows = [torch.cat([given[i : i + 1], ends[6 * i : 6 * i + 6], originals[i : i + 1]]) for i in range(5)]
image_grid(torch.cat(rows), columns=8, column_labels=["given", *["draw"] * 6, "original"])
plt.show()
with torch.no_grad():
    beside_data(ends, gated.log_prob(ends), originals, gated.log_prob(originals))
lower = ends[..., 14:, :].reshape(5, 6, -1)
apart = (lower[:, 0] != lower[:, 1]).sum(1).float().mean()
print(f"lower halves: two draws for one upper half differ in {apart:.1f} of 392 pixels")

# %% [markdown]
# **A hole** is the hard case. Suppose a square in the middle is missing. Walk along the order, keep what is known, draw what is not: every drawn pixel looks back at known pixels, but nobody has told it what lies to its right and below. With $M$ for the places of missing pixels and $K$ for those of known ones, it is a draw from $\prod_{t \in M} p(x_t \mid x_{<t})$ and not from $p(x_M \mid x_K)$; what it starts need not fit what comes.
#
# :::{admonition} Watch out: "keep the known pixels and sample the others"
# :class: pitfall
# For pixels that are not the first in the order this does not condition on the known ones that come later. Their probabilities, which would have to weigh the draws, are thrown away. The numbers below say what that costs.
# :::
#
# A model that is *told* can do it: give it a map with the known pixels, and which ones they are, through convolutions that may look everywhere, as in {eq}`eq-pix-told`. Trained with random holes, `lvmlib.autoregressive.Inpainting` maximises
#
# $$ \log p(x_M \mid x_K) = \sum_{t \in M} \log p(x_t \mid x_{<t}, h(x_K, K)) , $$ (eq-pix-holes)
#
# which is the chain rule again, over the missing pixels only. The one below began as the Gated PixelCNN of the table and was trained on, with a rectangle of random size and place cut from every digit. Set it against the Gated PixelCNN itself, which looks back.

# %% tolerance={"rtol": 0.05}
told_all, facts = trained("inpainting", conditional_mnist)
x = binary_test.x[:200]
hole, top = torch.ones(2, 200, 1, 28, 28)
hole[..., 8:20, 8:20], top[..., :15, :] = 0, 0  # 1 where a pixel is known
for name, known in (("a hole of 12x12", hole), ("the upper 15 rows", top)):
    with torch.no_grad():
        each = gated.conditionals(x).base_dist.log_prob(x)  # [200, 1, 28, 28]
        back, both = -(each * (1 - known)).flatten(1).sum(1), -told_all.log_prob(x, known)
    gain, error = (back - both).mean(), (back - both).std() / len(x) ** 0.5
    print(f"{name:>17}: {back.mean():.1f} nats looking back, {both.mean():.1f} told all, ", end="")
    print(f"{gain:.1f} +- {error:.1f} less")

# %% mystnb={"figure": {"caption": "A hole of 12x12 pixels in the middle of a digit: the given part, three draws of the model that looks back only, three of the one that is told all that is known, and the original. Both know the strokes above; only the second knows where those below wait to be met.", "name": "fig-pix-inpaint"}, "image": {"alt": "Five rows of eight pictures: a digit with a grey square in its middle, three fillings by each of two models, and the original."}} tolerance={"draws": ["columns 2-7"], "rtol": 0.2}
chosen, mask = binary_test.x[[1, 4, 7, 11, 18]], hole[:15]
given = chosen.repeat_interleave(3, 0)
torch.manual_seed(0)
back = gated.fill(given.flatten(1), mask.bool().flatten(1)).split(3)
both = told_all.fill(given, mask).split(3)
holed = torch.where(hole[:5].bool(), chosen, 0.3)
rows = [torch.cat([holed[i, None], back[i], both[i], chosen[i, None]]) for i in range(5)]
labels = ["given", "", "looks back", "", "", "told", "", "original"]
image_grid(torch.cat(rows), columns=8, column_labels=labels)
plt.show()
for name, x in (("looks back", torch.cat(back)), ("told", torch.cat(both)), ("original", given)):
    with torch.no_grad():
        fits, ink = -told_all.log_prob(x, mask).mean(), x[..., 8:20, 8:20].mean()
    print(f"{name:>10}: {ink:.1%} ink in the hole, {fits:.1f} nats under the model that is told")

# %% [markdown]
# Two nats less, and a little more where looking back means to begin with nothing. It can be seen where the part below decides, as in the third row. There is more to be had: the network was told during little more than one pass, of holes of all sizes, and used what it was told only as far as it had learned to.

# %% [markdown]
# (sec-pix-scales)=
# ## From coarse to fine, in few steps
#
# The order of the pixels is ours to choose, and so is how many are drawn at once. Draw a coarse picture first, every fourth pixel of every fourth row, pixel by pixel: 49 steps for a digit. Then double it twice. Each doubling adds three groups: the pixels to the right of those that are there, those below, and those diagonally below. Within a group the pixels are drawn
# *at once*, independent of one another given all groups before {cite:p}`reed2017`:
#
# $$ \log p(x) = \log p(x_{\text{coarse}}) + \sum_{g} \sum_{t \in g} \log p(x_t \mid x_{\text{groups before } g}) . $$ (eq-pix-groups)
#
# It is still an exact likelihood, and for 28x28 pixels it takes $49 + 3 + 3 = 55$ steps instead of 784. The price is the assumption: two pixels of one group cannot agree on which of them is to be ink. The total correlation within a group is lost, whatever the network ({ref}`ex-pix-groups`). Against it stands that
# the networks of the doublings need no masks and see on all sides.

# %% mystnb={"figure": {"caption": "Steps against test NLL of 28x28 digits: one step with independent pixels, 55 steps from coarse to fine, 784 steps pixel by pixel. Both axes cost something, the horizontal one time and the vertical one nats.", "name": "fig-pix-scales"}, "image": {"alt": "Scatter plot with a logarithmic axis of steps. Independent pixels at 1 step lie far above the others; the multi-scale model at 55 steps lies at about the height of the two models at 784 steps."}} tolerance={"data": 0.02}
scales, facts = trained("multi_scale", conditional_mnist)
ink = load("mnist", valid=0)[0].x.float().mean(0) / 255  # every pixel by itself, from the training images
ink = ink.clamp(1e-6, 1 - 1e-6).expand_as(binary_test.x)
independent = 784 * F.binary_cross_entropy(ink, binary_test.x).item()
points = {"independent pixels": (1, independent), "multi-scale": (scales.steps, facts["test_nll_nats"])}
points |= {name: (784, zoo[name]["test_nll_nats"]) for name in ("PixelCNN", "Gated PixelCNN")}
fig, ax = plt.subplots(figsize=(6, 3))
for (name, (count, value)), drop in zip(points.items(), (0, 0, 6, -6)):
    ax.plot(count, value, "o", color=COLOURS["blue"])
    ax.annotate(name, (count, value), xytext=(8, drop), textcoords="offset points", va="center")
    print(f"{name:>18}: {count:3d} steps, {value:6.2f} nats")
ax.set(
    xscale="log", xlabel="steps that wait for one another", ylabel="test NLL (nats)", xlim=(0.7, 2e4), ylim=(60, 220)
)
plt.show()

# %% [markdown]
# A fourteenth of the steps, and the picture costs hardly more nats than by the PixelCNN; the Gated PixelCNN, with all 784 steps, needs three less. Two things speak for the groups here. Their networks see on all sides. And what pixels of one group cannot agree upon is little: the coins of the binarization are independent anyway, given the grey levels. Where neighbouring pixels share a colour to the last bit, as in the emoji, the same assumption would cost more. On larger pictures there is more to gain: for 224x224 pixels 64 steps in place of 50,176.
#
# {numref}`fig-pix-scales-samples` shows how much 49 of 784 pixels settle, for an eighth of the nats.

# %% mystnb={"figure": {"caption": "Draws of the multi-scale model, none selected. Above: the coarse pictures of 7x7 pixels, drawn pixel by pixel. Below: doubled twice, in six further steps.", "name": "fig-pix-scales-samples"}, "image": {"alt": "Two rows of twelve pictures: coarse 7 by 7 patterns above, below the pictures of 28 by 28 pixels that grew from them."}} tolerance={"draws": ["rows 1-2"], "rtol": 0.2}
torch.manual_seed(0)
x = scales.sample(12)
coarse = x[..., ::4, ::4].repeat_interleave(4, 2).repeat_interleave(4, 3)
image_grid(torch.cat([coarse, x]), columns=12, row_labels=["7x7", "28x28"])
plt.show()
coarse_test = binary_test.x[..., ::4, ::4]
with torch.no_grad():
    print(f"the 49 coarse pixels: {-scales.coarse.log_prob(coarse_test).mean():.1f} nats of the test NLL")
    beside_data(x, scales.log_prob(x), binary_test.x[:1000], scales.log_prob(binary_test.x[:1000]))

# %% [markdown]
# (sec-pix-hierarchy)=
# ## First the gist, then the pixels
#
# A pixel model decides everything in passing, the gist of the picture included: whether this becomes a 3 is settled somewhere along the first stroke. A hierarchy says the gist first. Let a deterministic encoder $c$ map a picture to binary codes on a coarse grid, let a prior $p(c)$ model the codes (another pixel model, over a tiny picture) and a decoder $p(x \mid c)$ the pixels given the codes.
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
# ({ref}`ch-vae` trains bounds of this kind, with a distribution over the codes of a picture in place of one code.) And it speaks of super-resolution as well: there $c(x)$ is the small picture.

# %% tags=["check:thm-pix-codes"]
torch.manual_seed(1)
pixels_model = GatedPixelCNN((1, 2, 6), channels=4, layers=1, kernel=3, context=(2, 2, 6))
tiny = HierarchicalPixelModel(FVSBN((1, 1, 3)), pixels_model, channels=4).double()
strings = lambda n: torch.tensor([[i >> b & 1 for b in range(n)] for i in range(2**n)]).double()
x, codes = strings(12).view(-1, 1, 2, 6), strings(3).view(-1, 1, 1, 3)  # all pictures, all codes
with torch.no_grad():
    for p in tiny.parameters():
        p.add_(0.5 * torch.randn_like(p))
    maps = tiny.features(2 * codes - 1)[:, None].expand(-1, len(x), -1, -1, -1)  # [8, 4096, 2, 2, 6]
    given = torch.stack([tiny.pixels.log_prob(x, context) for context in maps])  # log p(x | c), [8, 4096]
    terms = tiny.prior.log_prob(codes)[:, None] + given
    log_p, bound = terms.logsumexp(0), tiny.log_prob(x)
    place = torch.tensor([1.0, 2, 4]).double()
    chosen = (tiny.codes(x).round().flatten(1) @ place).long()  # number of c(x)
    posterior = terms.log_softmax(0).gather(0, chosen[None])[0]  # log p(c(x) | x)
slack = log_p - bound
print(f"sum over all {len(x)} pictures: p(x) {log_p.exp().sum():.10f}, bound {bound.exp().sum():.4f}")
print(f"bound never above: {bool((slack >= -1e-9).all())}")
print(f"slack equals -log p(c(x) | x): {torch.allclose(slack, -posterior)}")
assert abs(log_p.exp().sum() - 1) < 1e-9 and (slack >= -1e-9).all() and torch.allclose(slack, -posterior)

# %% [markdown]
# How does one train the encoder? Not by the bound. A decoder as strong as a PixelCNN models $x$ quite well without any codes, and then the codes are an expense: maximising the bound drives them towards saying nothing. (In VAEs the same thing is called {term}`posterior collapse`.) So give the encoder a weak partner to train with, an **auxiliary decoder** that draws all
# pixels independently of each other {cite:p}`defauw2019`. It *needs* to be told where the strokes are. Its gradient trains the encoder; when that is done the auxiliary decoder is thrown away, and prior and pixel model are trained for the codes as they are.

# %% tolerance={"rtol": 0.05}
hierarchy, facts = trained("hierarchical", conditional_mnist)
x = binary_test.x[:200]
with torch.no_grad():
    codes = hierarchy.codes(x).round()  # [200, 4, 7, 7], bits
    price = -hierarchy.prior.log_prob(codes).mean()
    total, independent = -hierarchy.log_prob(x).mean(), hierarchy.auxiliary_loss(x).mean()
    alone = -gated.log_prob(x).mean()
print(f"test NLL at most {facts['test_nll_nats']:.2f} nats")
print(f"of 200 digits {total:.1f}: {price:.1f} for the codes and {total - price:.1f} for the pixels given them")
print(f"{independent:.1f} for the pixels by the auxiliary decoder; the Gated PixelCNN needs {alone:.1f} in all")

# %% mystnb={"figure": {"caption": "A hierarchy with four bits on a grid of 7x7 as codes. Left: test digits. Then five draws of the pixels given their codes: the shape of every stroke is in the codes, the draws differ in the raggedness of its edges. The two rows at the bottom: new pictures, codes from the prior.", "name": "fig-pix-hierarchy"}, "image": {"alt": "Four rows of six pictures, in each of which the five draws resemble the first; below, two rows of new pictures."}} tolerance={"draws": ["columns 2-6", "rows 5-6"], "rtol": 0.2}
chosen = binary_test.x[[0, 1, 7, 18]]
torch.manual_seed(0)
codes = hierarchy.codes(chosen).detach().round()
again = hierarchy.decode(codes.repeat_interleave(5, 0)).split(5)
rows = [torch.cat([chosen[i, None], again[i]]) for i in range(4)]
labels = ["", "", "", "", "new", "new"]
fresh_draws = hierarchy.sample(12)
image_grid(torch.cat([*rows, fresh_draws]), columns=6, row_labels=labels)
plt.show()
off = (torch.stack(again) != chosen[:, None]).flatten(2).sum(2).float().mean()
print(f"draws with the same codes differ from the digit in {off:.1f} pixels; new pictures, at most:")
with torch.no_grad():
    beside_data(
        fresh_draws, hierarchy.log_prob(fresh_draws), binary_test.x[:200], hierarchy.log_prob(binary_test.x[:200])
    )

# %% [markdown]
# (The two terms of the loss share no parameter, so each is trained by its own.) In nats the codes do not pay. The auxiliary decoder wants to be told the shape of every stroke, and with four bits for 4x4 pixels it is. That makes expensive codes; what they leave to the pixels is little more than the coins of the binarization, which no code foresees. And the bound charges for one code where the pixels need not have known which. A pixel model alone tells a digit in fewer nats because it decides only what it needs, when it needs it.
#
# What the codes buy is control. Draws with the same codes share the digit, a picture is edited by turning a few bits, and the prior works on 196 bits in place of 784 pixels. With fewer bits they would say less, and leave more of the shape to the decoder.
#
# ## Summary
#
# :::{list-table} What was shown, and where it lives in `lvmlib`.
# :header-rows: 1
# :name: tab-pix-summary
#
# * - Result
#   - In one line
#   - In `lvmlib.autoregressive`
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
#   - `distributions.DiscretizedLogisticMixture`
# * - {prf:ref}`thm-pix-coupling`
#   - the coupled mixture is a product of mixtures with posterior weights
#   - `PixelCNNpp`
# * - {prf:ref}`thm-pix-codes`
#   - $\log p(x) \ge \log p(c(x)) + \log p(x \mid c(x))$
#   - `HierarchicalPixelModel`
# :::
#
# :::{list-table} The models of this chapter by how they reach what was drawn before.
# :header-rows: 1
# :name: tab-pix-models
#
# * - Model
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
# ## Exercises
#
# :::{exercise}
# :label: ex-pix-two-a
# What happens if *two* layers have mask A? If the first has mask B and only the second mask A? Decide first, then ask the gradient (`field`).
# :::
#
# :::{solution} ex-pix-two-a
# :class: dropdown
# Two masks A are still autoregressive, as each only removes paths. But a path now has to take two proper steps back: the left neighbour, one step away, can be reached in no way, and neither can the pixel above to the right; the others around it only by a detour. The most useful pixels are lost. With B first and A second the order is obeyed too, as long as *every* path passes the mask A: what the first layer makes of a pixel
# is seen only from later places. It fails with the first residual connection or skip that leads around the second layer. "A first" is the placement that survives later changes of the network.
# :::
#
# :::{exercise}
# :label: ex-pix-blind-kernel
# What is the blind spot of a stack of masked $k \times k$ convolutions, $k = 2\rho + 1$, mask A first? Which earlier pixels does one layer of size $k$ with mask A, followed by any number of 3x3 layers with mask B, never see?
# :::
#
# :::{solution} ex-pix-blind-kernel
# :class: dropdown
# A step up by $a' \ge 1$ rows can go right by at most $\rho$; so it pays to climb one row at a time, and a path that ends $a$ rows up has $b \le \rho a$. The wedge $b > \rho a$, $a \ge 1$, is never seen: it is narrower, but always there. With one $k \times k$ layer and 3x3 layers after it one step is wide. A path gets furthest to the right if that step climbs one row: $b \le \rho + (a - 1)$. So pixels with $b > a + \rho - 1$, $a \ge 1$, are never seen.
# :::
#
# :::{exercise}
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
# :::{exercise}
# :label: ex-pix-logistic-limits
# For one discretized logistic with edge bins: which distribution over the levels arises for $s \to 0$ with $\mu$ fixed (not at a boundary)? For $\mu \to -\infty$ with $s$ fixed? For $s \to \infty$ with $\mu$ fixed? The last one is not uniform: how would you initialise a mixture so that training starts near uniform?
# :::
#
# :::{solution} ex-pix-logistic-limits
# :class: dropdown
# All mass on the level nearest to $\mu$ (on 0 or $K - 1$ if $\mu$ lies off the scale). All mass on level 0. Half on level 0 and half on level $K - 1$, because $F$ is nearly $\frac12$ over the whole scale and the edge bins take the rest. So wide components are the wrong start; take several, with centres spread evenly over the scale and scales well below their distance. `lvmlib` takes 0.41 of the distance. Then the levels in the middle have about the same probability; the two ends have more, because the edge bins collect the tails: for $M$ components 5.9 times as much as the middle with $M = 3$, 3.8 times with $M = 5$ and 2.2 times with $M = 10$.
# :::
#
# :::{exercise}
# :label: ex-pix-diagonal
# In {numref}`sec-pix-rnn` the second direction of the Diagonal BiLSTM is moved down by one row. Which pixels would a network see wrongly without that, and why is nothing lost by it?
# :::
#
# :::{solution} ex-pix-diagonal
# :class: dropdown
# The direction from the upper right has, at $(r, c)$, heard of the pixels to the right in row $r$, $(r, c + 1), (r, c + 2), \dots$, which come later. Worse, it has heard of $(r, c)$ itself, because the features to its right are made from it: the network would be told the answer. Moved down, place $(r, c)$ receives what belongs to $(r - 1, c)$: rows above $r$ only, among them those to the right. What is not heard of this way, the pixels to the left in row $r$, the first direction knows.
# :::
#
# :::{exercise}
# :label: ex-pix-groups
# In a multi-scale model two neighbouring pixels of one group are independent given the groups before. Let the truth, given these, be 10 or 01 with probability $\frac12$ each, as where a stroke one pixel wide may pass through either. What is the least KL divergence from the truth to a model that draws both at once, and what share of its draws is impossible? What does drawing them one after another cost in steps?
# :::
#
# :::{solution} ex-pix-groups
# :class: dropdown
# The best product distribution has the true margins, two fair coins; its cross-entropy is $2 \log 2$, the entropy of the truth $\log 2$, so the divergence is $\log 2$, the mutual information of the two pixels. Half of its draws, 00 and 11, never occur in the data. One more step removes it. In general a group costs the *total correlation* of its pixels, the sum of their entropies minus their joint entropy, given what came before.
# :::
#
# :::{exercise}
# :label: ex-pix-classifier
# In {numref}`sec-pix-class` the test NLL given the right class and the marginal $\log \frac{1}{10} \sum_k p(x \mid k)$ differ by a mean of nearly $\log 10$. Which information-theoretic quantity does that difference bound, what bounds it in turn, and how many classification errors does it allow?
# :::
#
# :::{solution} ex-pix-classifier
# :class: dropdown
# For equally probable classes $\mathbb{E}[\log p(x \mid y) - \log p(x)] = \log 10 + \mathbb{E}[\log p(y \mid x)]$, where the mean is over data and $p$ is the model: $\log 10$ minus the cross-entropy of the model as a classifier. A cross-entropy is at least the entropy $H(y \mid x)$ of the truth, so this is a lower bound of the true mutual information $I(x; y) = \log 10 - H(y \mid x)$, and tight if the model's posterior is right. Both are at most $\log 10$.
# Where the classifier errs, the right class has a posterior of at most $\frac12$ and costs at least $\log 2$. The shortfall from $\log 10$ divided by $\log 2$ is therefore an upper bound of the share of errors: with the 2.20 nats printed there, $0.10 / 0.69$ or 15%, where 3% were made.
# :::
#
# ## Further reading
#
# - {cite:t}`vandenoord2016` has Row LSTM, Diagonal BiLSTM and PixelCNN in one paper; {cite:t}`vandenoord2016gated` the two stacks and the gate.
# - {cite:t}`salimans2017` is short and full of good decisions; the discretized logistic is from {cite:t}`kingma2016`. {cite:t}`chen2018` add attention.
# - Cached sampling for convolutional models: {cite:t}`ramachandran2017`.
# - Other orders and groups: {cite:t}`reed2017`, and {cite:t}`menick2019` with subscale orders. Colourisation by way of an auxiliary grey picture: {cite:t}`kolesnikov2017`.
# - What likelihood does and does not say about samples: {cite:t}`theis2016`.
