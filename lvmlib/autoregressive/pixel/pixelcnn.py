"""PixelCNN: a stack of masked convolutions, trained on all pixels at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Step
from lvmlib.autoregressive.pixel.masked_conv import MaskedConv2d, in_rows, plus
from lvmlib.autoregressive.pixel.masked_steps import PixelSteps
from lvmlib.autoregressive.pixel.pixel_model import PixelModel, rows_known
from lvmlib.autoregressive.watching import caught_up, watching
from lvmlib.checks import check_counts


class PixelCNN(PixelModel):
    r"""A convolutional network whose kernels are masked, so that each pixel sees those before it, line by line.

    A convolution with mask A, then residual blocks around one with mask B, then two layers of 1x1 and the output:

    .. math:: s_0 = A * x, \qquad s_{\ell + 1} = s_\ell + U_\ell\, \rho\big(B_\ell * \rho(V_\ell\, \rho(s_\ell))\big),
        \qquad \rho(a) = \max(a, 0)

    The colours of a pixel are drawn one after another, red, green, blue: each has its share of the features, which see
    the earlier colours of the same pixel. Pixels up and to the right lie in a blind spot that no number of layers
    opens; `GatedPixelCNN` has none.

    Args:
        event_shape: (C, H, W).
        channels: features h inside the blocks (after :math:`V` and :math:`B`); the path s has 2h.
        layers: number of residual blocks.
        kernel: side of the kernel with mask A, odd; those with mask B are 3x3.
        positions: also tell every layer where it stands, as two planes of coordinates that are added where a context
            is. Without them the distance from the border is all that it has.
        levels, logistics: see `Autoregressive`.
        context: number of classes or entries of a vector, or the shape (c, H, W) of a map. It is added to each masked
            convolution through a 1x1 convolution without a bias.
        embedding: levels are codes, such as the indices of a codebook, and not magnitudes: each enters as a learned
            vector with as many features as a layer.

    Raises:
        ValueError: an event that is no picture, an even kernel, sizes below 1, fewer features than colours.

    Example:
        >>> import torch
        >>> from lvmlib import PixelCNN
        >>> model = PixelCNN((1, 28, 28), channels=8, layers=2)
        >>> model.log_prob(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5])

    Source: van den Oord, Kalchbrenner and Kavukcuoglu 2016, *Pixel Recurrent Neural Networks*, table 1.
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
        C, h = self.colours, channels
        self.first = MaskedConv2d(self.inputs, 2 * h, kernel, "A", C)
        self.reduce = nn.ModuleList(MaskedConv2d(2 * h, h, 1, "B", C) for _ in range(layers))
        self.spread = nn.ModuleList(MaskedConv2d(h, h, 3, "B", C) for _ in range(layers))
        self.expand = nn.ModuleList(MaskedConv2d(h, 2 * h, 1, "B", C) for _ in range(layers))
        self.head = nn.ModuleList(MaskedConv2d(2 * h, 2 * h, 1, "B", C) for _ in range(2))
        self.last = MaskedConv2d(2 * h, C * self.family.size, 1, "B", C)
        self.add_maps([2 * h] + layers * [h], positions)
        with torch.no_grad():
            self.last.weight.mul_(0.1)  # the start is near the uniform distribution
            for conv in cast("list[MaskedConv2d]", list(self.expand)):
                conv.weight.mul_(0.5)  # and the blocks near the identity

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One pass of masked convolutions."""
        added = self.added(context)
        s = in_rows(plus(self.first(in_rows(self.encode(x))), next(added)))
        for reduce, spread, expand, extra in zip(self.reduce, self.spread, self.expand, added, strict=True):
            s = s + expand(plus(spread(reduce(s.relu()).relu_()), extra).relu_())
        for conv in self.head:
            s = conv(s.relu())
        return self.parameters_map(self.last(s.relu()))

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """Each feature of each pixel is computed once: the rows above for a whole row, the rest when its turn comes."""
        C, H, W = self.event_shape
        added = self.added(context)
        first = PixelSteps(self.first, n, H, W, next(added))
        convs = cast("list[tuple[MaskedConv2d, ...]]", list(zip(self.reduce, self.spread, self.expand, strict=True)))
        blocks = [
            (PixelSteps(reduce, n, H, W), PixelSteps(spread, n, H, W, extra), PixelSteps(expand, n, H, W))
            for (reduce, spread, expand), extra in zip(convs, added, strict=True)
        ]
        tail = [PixelSteps(conv, n, H, W) for conv in cast("list[MaskedConv2d]", [*self.head, self.last])]
        everything = [first, *(steps for block in blocks for steps in block), *tail]
        i, start = rows_known(self, known)
        if x is not None and i:
            rows = [steps for steps in everything if steps.rows is not None]
            with watching((steps.conv, partial(steps.start, i=i)) for steps in rows):
                self.predict(x.view(n, C, H, W), context)
        order = self.order.tolist()

        def step(t: int, x: Tensor) -> Tensor:
            if t:
                first.put((t - 1) // C % W, (t - 1) % C, self.encode(x[:, order[t - 1], None]))
            j, c = t // C % W, t % C
            if j == c == 0:
                for steps in everything:
                    steps.begin_row(t // (C * W))
            s = first.at(j, c)
            for reduce, spread, expand in blocks:
                reduce.put(j, c, s.relu())
                spread.put(j, c, reduce.at(j, c).relu_())
                expand.put(j, c, spread.at(j, c).relu_())
                s = s + expand.at(j, c)
            for steps in tail:
                steps.put(j, c, s.relu())
                s = steps.at(j, c)
            return s

        return step if x is None else caught_up(step, x, start, known)
