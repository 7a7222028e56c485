"""Gated PixelCNN: two stacks, one for the rows above and one for the row itself, which leave no blind spot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Step
from lvmlib.autoregressive.pixel.masked_conv import MaskedConv2d, RowsAbove, in_rows, plus
from lvmlib.autoregressive.pixel.masked_steps import PixelSteps, RowSteps, offsets
from lvmlib.autoregressive.pixel.pixel_model import PixelModel, rows_known
from lvmlib.autoregressive.watching import caught_up
from lvmlib.checks import check_counts


class GatedPixelCNN(PixelModel):
    r"""A PixelCNN of two stacks: the vertical one sees the rows above, the horizontal one the row to the left as well.

    .. math::
        a_\ell &= V_\ell * v_{\ell - 1} + K_\ell c, & v_\ell &= g(a_\ell), \\
        b_\ell &= H_\ell * h_{\ell - 1} + L_\ell\, a_\ell + K'_\ell c, &
        h_\ell &= h_{\ell - 1} + R_\ell\, g(b_\ell), \\
        \text{output} &= f\Big(\sum\nolimits_\ell S_\ell\, g(b_\ell)\Big), & g(a, a') &= \tanh(a)\, \sigma(a')

    The kernels V lie over the rows above and need no mask, the kernels H over what is to the left. So every earlier
    pixel within reach is seen, also those up and to the right, where `PixelCNN` has its blind spot. The colours of a
    pixel are drawn one after another; H, R, S and f are masked for it, V is not, as all colours of the rows above are
    known.

    Args:
        event_shape: (C, H, W).
        channels: features p of each stack, after the gates.
        layers: number of gated layers, the first one included.
        kernel: width of the first layer's kernels, odd, 3 or more; those of the others are 3 wide.
        positions: also tell every layer where it stands, as two planes of coordinates that are added where a context
            is. Without them the distance from the border is all that it has.
        levels, logistics: see `Autoregressive`.
        context: number of classes or entries of a vector, or the shape (c, H, W) of a map; it enters the gates of both
            stacks in all layers, through 1x1 convolutions K without a bias.
        embedding: levels are codes, such as the indices of a codebook, and not magnitudes: each enters as a learned
            vector with as many features as a layer.

    Raises:
        ValueError: an event that is no picture, an even kernel, sizes below 1, fewer features than colours.

    Example:
        >>> import torch
        >>> from lvmlib import GatedPixelCNN
        >>> model = GatedPixelCNN((1, 28, 28), channels=8, layers=2, context=10)
        >>> model.sample(3, context=torch.tensor([0, 1, 2])).shape
        torch.Size([3, 1, 28, 28])

    Source: van den Oord et al. 2016, *Conditional Image Generation with PixelCNN Decoders*.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        channels: int = 32,
        layers: int = 7,
        kernel: int = 7,
        positions: bool = False,
        levels: int = 2,
        logistics: int = 0,
        context: int | Sequence[int] | None = None,
        embedding: bool = False,
    ):
        channels, layers, kernel = check_counts(channels=channels, layers=layers, kernel=kernel)
        super().__init__(event_shape, levels, logistics, context, channels * embedding)
        C, p = self.colours, channels
        later = range(layers - 1)
        self.vertical = nn.ModuleList(
            [RowsAbove(self.inputs, 2 * p, kernel), *(RowsAbove(p, 2 * p, 3, own_row=True) for _ in later)]
        )
        self.horizontal = nn.ModuleList(
            [
                MaskedConv2d(self.inputs, 2 * p, (1, kernel), "A", C, copies=2),
                *(MaskedConv2d(p, 2 * p, (1, 3), "B", C, copies=2) for _ in later),
            ]
        )
        self.link = nn.ModuleList(nn.Conv2d(2 * p, 2 * p, 1, bias=False) for _ in range(layers))
        # What goes on to the next layer and what skips to the output; behind the last layer there is no next one.
        self.mix = nn.ModuleList(
            [*(MaskedConv2d(p, 2 * p, 1, "B", C, copies=2) for _ in later), MaskedConv2d(p, p, 1, "B", C)]
        )
        self.head = MaskedConv2d(p, 2 * p, 1, "B", C)
        self.last = MaskedConv2d(2 * p, C * self.family.size, 1, "B", C)
        self.add_maps(2 * layers * [2 * p], positions)
        with torch.no_grad():
            self.last.weight.mul_(0.1)  # the start is near the uniform distribution

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Both stacks in one pass."""
        v = h = in_rows(self.encode(x))
        skip: Tensor | None = None
        added = self.added(context)  # for the vertical stack, for the horizontal one, for the next layer's vertical one
        for vertical, horizontal, link, mix in zip(self.vertical, self.horizontal, self.link, self.mix, strict=True):
            a = in_rows(plus(vertical(v), next(added)))
            v, g = gate(a), gate(plus(in_rows(horizontal(h)) + link(a), next(added)))
            out, *on = mix(g).split(g.shape[1], 1)  # for the output[, for the next layer]
            if on:
                h = on[0] if skip is None else h + on[0]  # the first layer sees the picture, which has other channels
            skip = plus(out, skip)
        return self.parameters_map(self.last(self.head(cast("Tensor", skip).relu()).relu_()))

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """The vertical stack runs one row at a time, when a row begins; the horizontal one pixel by pixel."""
        C, H, W = self.event_shape
        added = self.added(context)
        pairs = zip(added, added, strict=True)
        parts: list[tuple] = list(zip(self.vertical, self.horizontal, self.link, self.mix, pairs, strict=True))
        vertical = [RowSteps(conv.weight, n, W) for conv, *_ in parts]
        offset = [offsets(conv.bias, to_v, n, H, W) for conv, *_, (to_v, _) in parts]
        horizontal = [PixelSteps(conv, n, H, W, to_h) for _, conv, *_, (_, to_h) in parts]
        link = [conv.weight.detach()[h.order, :, 0, 0] for h, (_, _, conv, *_) in zip(horizontal, parts, strict=True)]
        mix = [PixelSteps(conv, n, H, W) for *_, conv, _ in parts]
        tail = [PixelSteps(conv, n, H, W) for conv in (self.head, self.last)]
        order = self.order.tolist()
        i, start = rows_known(self, known)
        if x is not None and i:  # of all that is above, only the vertical stack is ever looked at again
            v = in_rows(self.encode(x.view(n, C, H, W)))
            for l, (conv, *_, (to_v, _)) in enumerate(parts):
                vertical[l].start(v, i if l else i - 1)  # the picture lags behind: it is read when a row begins
                v = gate(plus(conv(v), to_v))

        def begin_row(i: int, x: Tensor) -> None:
            below: Tensor | None = None  # of the map that the next kernel looks at: the row that it has not seen yet
            if i:
                below = self.encode(x.view(n, C, H, W)[:, :, i - 1]).transpose(1, 2)  # [n, W, C]
            for l, rows in enumerate(vertical):
                if below is not None:
                    rows.push(below.flatten(1))
                a = rows.outputs() + offset[l][:, i]  # [n, W, 2p]
                horizontal[l].begin_row(i, F.linear(a, link[l]))
                below = gate(a, -1)
            for steps in (*mix, *tail):
                steps.begin_row(i)

        def step(t: int, x: Tensor) -> Tensor:
            j, c = t // C % W, t % C
            if t:
                horizontal[0].put((t - 1) // C % W, (t - 1) % C, self.encode(x[:, order[t - 1], None]))
            if j == c == 0:
                begin_row(t // (C * W), x)
            g = gate(horizontal[0].at(j, c))
            mix[0].put(j, c, g)
            skip, *h = mix[0].at(j, c).split(g.shape[1], 1)
            for steps, mixing in zip(horizontal[1:], mix[1:], strict=True):
                steps.put(j, c, h[0])
                g = gate(steps.at(j, c))
                mixing.put(j, c, g)
                out, *on = mixing.at(j, c).split(g.shape[1], 1)
                skip = skip + out
                h = [h[0] + on[0]] if on else h
            for steps in tail:
                steps.put(j, c, skip.relu())
                skip = steps.at(j, c)
            return skip

        return step if x is None else caught_up(step, x, start, known)


def gate(a: Tensor, dim: int = 1) -> Tensor:
    """The first half squashed by tanh, let through as far as the second half says."""
    passed, valve = a.chunk(2, dim)
    return passed.tanh() * valve.clone().sigmoid()  # a copy, as the sigmoid of a strided bfloat16 view is slow
