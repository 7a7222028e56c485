"""PixelCNN++: shifted convolutions, a U-net between resolutions, and a mixture of logistics for each pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from lvmlib.autoregressive.autoregressive import Autoregressive, Step
from lvmlib.autoregressive.pixel.masked_conv import in_rows
from lvmlib.autoregressive.pixel.pixel_head import PixelHead
from lvmlib.autoregressive.pixel.pixel_model import rows_known
from lvmlib.autoregressive.pixel.resolution import Resolution, ResolutionSteps, context_channels, pyramid
from lvmlib.autoregressive.pixel.shifted_conv import ShiftedConv2d, unit_variance_
from lvmlib.autoregressive.pixel.shifted_steps import PatchCache, RowCache, late
from lvmlib.autoregressive.watching import caught_up, watching
from lvmlib.checks import check_count, check_counts, check_share


class PixelCNNpp(Autoregressive):
    r"""PixelCNN++ for pictures (C, H, W), drawn pixel by pixel and channel by channel.

    .. math:: p(x) = \prod_{i} \sum_m \pi_m(x_{<i}) \prod_{c} P\big(x_{ic} \mid \mu_{cm}(x_{<i}, x_{i,<c}),
        s_{cm}(x_{<i})\big)

    Two streams of features, one of the rows above a pixel and one of the pixels to its left as well, go down through
    the resolutions and up again with shortcuts between equals. `PixelHead` turns them into the parameters of each
    channel.

    Sampling keeps what it has computed: the stream of the rows above is known for a whole row when the row begins, and
    at half the resolution the other stream changes at every other pixel of every other row only. Together all steps
    do the work of one forward pass.

    Args:
        event_shape: (C, H, W); H and W must be divisible by 2 as often as `halvings` says.
        channels: features of each stream.
        layers: residual blocks of each stream at each resolution on the way down; on the way up there is one more.
        halvings: how often height and width are halved.
        dropout: probability with which features are set to 0 while training.
        levels: number of values of one entry.
        logistics: components of the mixture; 0 for a free table of the values.
        context: number of entries of a context vector, number of classes, or the shape (c, H, W) of a context map.

    Raises:
        ValueError: another event shape, sizes below 1, or a picture that cannot be halved so often.

    Example:
        >>> from lvmlib import PixelCNNpp
        >>> model = PixelCNNpp((3, 8, 8), channels=8, layers=1, halvings=1)
        >>> model.sample(2).shape
        torch.Size([2, 3, 8, 8])

    Source: Salimans et al. 2017, *PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and
    Other Modifications*. Weights are not normalised here; blocks start close to the identity instead.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        channels: int = 32,
        layers: int = 2,
        halvings: int = 2,
        dropout: float = 0.0,
        levels: int = 256,
        logistics: int = 5,
        context: int | Sequence[int] | None = None,
    ):
        super().__init__(event_shape, levels, logistics, context)
        channels, layers = check_counts(channels=channels, layers=layers)
        halvings, dropout = check_count(halvings, "halvings", "", least=0), check_share(dropout, "dropout")
        _check_shape(self.event_shape, halvings)
        inputs, width = self.event_shape[0] + 1, channels
        maps = context_channels(self)
        self.above = ShiftedConv2d(inputs, width, (2, 3), shift=(1, 0))
        self.row_above = ShiftedConv2d(inputs, width, (1, 3), shift=(1, 0))
        self.left = ShiftedConv2d(inputs, width, (2, 1), left=True, shift=(0, 1))
        for layer in (self.above, self.row_above, self.left):
            unit_variance_(layer)
        self.halvings = halvings
        self.net = Resolution(width, layers, halvings, maps, dropout)
        self.head = PixelHead(width, self.event_shape[0], self.family)

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One pass through the two streams."""
        z = F.pad(self.encode(x), (0, 0, 0, 0, 0, 1), value=1.0)  # a channel of ones tells the picture from its border
        z = in_rows(z)
        u, v = self.above(z), self.row_above(z) + self.left(z)
        _, v = self.net(u, v, pyramid(context, self.halvings))
        return self.head(F.elu(v), x)

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """The stream of the rows above once a row, the other once a pixel, the head once a channel."""
        channels, height, width = self.event_shape
        pixels = height * width
        net = ResolutionSteps(self.net, n, (height, width), pyramid(context, self.halvings))
        above, left = RowCache(self.above, n, width), PatchCache(self.left, n, width)
        one_row = RowCache(self.row_above, n, width)
        assert self.left.bias is not None
        bias, zero = self.left.bias.detach(), self.left.weight.new_zeros(n, channels + 1, width)
        i, start = rows_known(self, known)
        if x is not None and i:
            rows = [(cache.conv, partial(cache.start, i=i - 1)) for cache in (above, one_row)]
            with watching([*rows, (left.conv, partial(late, left, i=i)), *net.caches(i)]):
                self.predict(x.view(n, *self.event_shape), context)
        first: tuple[Tensor, ...] = ()
        outputs: Iterator[Tensor] = iter(())

        def begin_row(r: int, picture: Tensor) -> None:
            nonlocal first
            last = zero if r == 0 else F.pad(self.encode(picture[:, :, r - 1]), (0, 0, 0, 1), value=1.0)
            above.push(last)
            one_row.push(last)
            left.next_row()
            first = (one_row.read() + bias[:, None]).permute(2, 0, 1).contiguous().unbind(0)  # [n, F] for each column
            net.row(r, above.read())

        def step(t: int, x: Tensor) -> Tensor:
            nonlocal outputs
            (r, c), channel = divmod(t // channels, width), t % channels
            if channel == 0:
                picture = x.view(n, channels, height, width)
                if c == 0:
                    begin_row(r, picture)
                else:
                    slot = left.slot(c)
                    slot[:, :channels] = self.encode(picture[:, :, r, c - 1])
                    slot[:, channels] = 1
                v = net.pixel(r, c, left.read(c, first[c]))
                outputs = self.head.each_channel(F.elu(v), lambda b: x[:, b * pixels + r * width + c])
            return next(outputs)

        return step if x is None else caught_up(step, x, start, known)


def _check_shape(event_shape: Sequence[int], halvings: int) -> None:
    if len(event_shape) != 3 or any(size % 2**halvings for size in event_shape[1:]):
        raise ValueError(
            f"PixelCNNpp takes pictures (C, H, W) with H and W divisible by {2**halvings} for halvings={halvings}, but "
            f"event_shape is {tuple(event_shape)}. Pad the pictures, or halve them less often."
        )
