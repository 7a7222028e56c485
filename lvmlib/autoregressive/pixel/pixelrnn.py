"""PixelRNN: pictures read by LSTMs, a row or a diagonal at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Step
from lvmlib.autoregressive.pixel.masked_conv import MaskedConv2d, in_rows, plus
from lvmlib.autoregressive.pixel.masked_steps import PixelSteps
from lvmlib.autoregressive.pixel.picture_lstm import DiagonalBiLSTM, RowLSTM
from lvmlib.autoregressive.pixel.picture_lstm_steps import BackwardSteps, LSTMSteps, start_lstms
from lvmlib.autoregressive.pixel.pixel_model import PixelModel, rows_known
from lvmlib.autoregressive.watching import caught_up
from lvmlib.checks import check_counts


class PixelRNN(PixelModel):
    r"""Layers of two-dimensional LSTMs behind a masked convolution, with a residual path around each.

    .. math:: (i, f, o, g) = \text{gates}, \quad c = \sigma(f) \odot c' + \sigma(i) \odot \tanh(g), \quad
        h = \sigma(o) \odot \tanh(c)

    The gates are a sum of two maps: of the layer's input at the pixel (and left of it), and of states nearby.

    - ``kind="row"``, the Row LSTM: a masked 1x3 convolution of the input and a 1x3 convolution of the states of the row
      above; c' is the cell right above. All pixels of a row are computed together. What is seen of the rows above is a
      triangle that widens by one pixel on either side per row and layer.
    - ``kind="diagonal"``, the diagonal BiLSTM: a 1x1 convolution of the input and a map of the states to the left and
      above; c' is the cell to the left. Each row is shifted by one pixel against the row above, so that a diagonal
      becomes a column and is computed together. A second LSTM runs from right to left; its outputs are moved down by
      one row before the two are added, or a pixel would see those to the right of it, which are still to be drawn.
      Every pixel drawn before is seen, from the first layer on. For this the second LSTM of the first layer is also
      given the picture itself, which it may see, a row late; mask A hides from all else the pixel at which it stands,
      and so the last pixel of the row above would be hidden for good.

    Args:
        event_shape: (C, H, W).
        channels: width h of the states; the residual path has 2h features.
        layers: number of LSTM layers.
        kind: "row" or "diagonal".
        kernel: side of the first kernel (mask A), odd.
        positions: also tell every layer where it stands, as two planes of coordinates that are added where a context
            is. Without them the distance from the border is all that it has.
        levels, logistics: see `Autoregressive`.
        context: number of classes or entries of a vector, or the shape (c, H, W) of a map, added to the first
            convolution and to all gates through a 1x1 convolution without a bias.

    Raises:
        ValueError: an event that is no picture, another kind, an even kernel, sizes below 1, fewer features than
            colours.

    Example:
        >>> import torch
        >>> from lvmlib import PixelRNN
        >>> model = PixelRNN((1, 8, 8), channels=8, layers=2, kind="diagonal")
        >>> model.log_prob(torch.zeros(5, 1, 8, 8)).shape, model.sample(2).shape
        (torch.Size([5]), torch.Size([2, 1, 8, 8]))

    Source: van den Oord, Kalchbrenner and Kavukcuoglu 2016, *Pixel Recurrent Neural Networks*, sections 3.1 to 3.4.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        channels: int = 16,
        layers: int = 4,
        kind: str = "row",
        kernel: int = 7,
        positions: bool = False,
        levels: int = 2,
        logistics: int = 0,
        context: int | Sequence[int] | None = None,
    ):
        channels, layers, kernel = check_counts(channels=channels, layers=layers, kernel=kernel)
        super().__init__(event_shape, levels, logistics, context)
        if kind not in ("row", "diagonal"):
            raise ValueError(f'kind must be "row" or "diagonal", but it is {kind!r}.')
        C, h = self.colours, channels
        layer = RowLSTM if kind == "row" else DiagonalBiLSTM
        self.first = MaskedConv2d(C, 2 * h, kernel, "A", C)
        self.layers = nn.ModuleList(layer(2 * h, h, C) for _ in range(layers))
        self.expand = nn.ModuleList(MaskedConv2d(h, 2 * h, 1, "B", C) for _ in range(layers))
        self.head = MaskedConv2d(2 * h, 2 * h, 1, "B", C)
        self.last = MaskedConv2d(2 * h, C * self.family.size, 1, "B", C)
        self.add_maps([2 * h] + layers * [layer.directions * 4 * h], positions)
        self.picture = nn.Conv2d(C, 4 * h, 1, bias=False) if kind == "diagonal" else None
        with torch.no_grad():
            self.last.weight.mul_(0.1)  # the start is near the uniform distribution

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One pass, of as many steps per layer as there are rows (or diagonals)."""
        *_, (s, _) = self.path(x, context)
        return self.parameters_map(self.last(self.head(s.relu()).relu_()))

    def path(self, x: Tensor, context: Tensor | None) -> Iterator[tuple[Tensor, Any]]:
        """The residual path in front of each layer, with what the layer's LSTM made of it, and at last behind all."""
        x, (to_first, *added) = in_rows(self.encode(x)), self.added(context)
        s = in_rows(plus(self.first(x), to_first))
        if self.picture is not None:  # nothing for the first direction, the picture for the second
            picture = self.picture(x)
            added[0] = plus(F.pad(picture, (0, 0, 0, 0, picture.shape[1], 0)), added[0])
        layers: list[Any] = list(self.layers)
        for layer, expand, extra in zip(layers, self.expand, added, strict=True):
            walked = layer.walk(s, extra)
            yield s, walked
            s = s + expand(layer.shown(walked))
        yield s, None

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """Each state is computed once: what comes from the row above for a whole row, the rest pixel by pixel.

        The second direction of a diagonal layer runs along a row as soon as the row is complete, in all layers at once,
        as nothing of it is needed before.
        """
        C, H, W = self.event_shape
        to_first, *added = self.added(context)
        first = PixelSteps(self.first, n, H, W, to_first)
        layers: list[Any] = list(self.layers)
        lstms = [LSTMSteps(layer, n, H, W, extra) for layer, extra in zip(layers, added, strict=True)]
        expand = [PixelSteps(conv, n, H, W) for conv in cast("list[MaskedConv2d]", list(self.expand))]
        tail = [PixelSteps(conv, n, H, W) for conv in (self.head, self.last)]
        back = None if self.picture is None else BackwardSteps(lstms, self.picture)
        everything: list[PixelSteps] = [first, *lstms, *expand, *tail]
        i, start = rows_known(self, known)
        if x is not None and i:
            x_map = x.view(n, C, H, W)
            first.start(self.encode(x_map), i=i)
            start_lstms(lstms, back, self.path(x_map, context), i)
        order = self.order.tolist()

        def begin_row(i: int, x: Tensor) -> None:
            if back is not None and i:
                back.finish_row(i - 1, self.encode(x.view(n, C, H, W)[:, :, i - 1]))
            for steps in everything:
                steps.begin_row(i)

        def step(t: int, x: Tensor) -> Tensor:
            j, c = t // C % W, t % C
            if t:
                first.put((t - 1) // C % W, (t - 1) % C, self.encode(x[:, order[t - 1], None]))
            if j == c == 0:
                begin_row(t // (C * W), x)
            s = first.at(j, c)
            for lstm, expanding in zip(lstms, expand, strict=True):
                lstm.put(j, c, s)
                expanding.put(j, c, lstm.at(j, c))
                s = s + expanding.at(j, c)
            for steps in tail:
                steps.put(j, c, s.relu())
                s = steps.at(j, c)
            return s

        return step if x is None else caught_up(step, x, start, known)
