"""The LSTMs of `PixelRNN`, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lvmlib.autoregressive.pixel.masked_conv import plus
from lvmlib.autoregressive.pixel.masked_steps import PixelSteps, RowSteps, offsets
from lvmlib.autoregressive.pixel.picture_lstm import DiagonalBiLSTM, RowLSTM, lstm_cell


class LSTMSteps(PixelSteps):
    """A `RowLSTM`, or the first direction of a `DiagonalBiLSTM`, at one pixel and for one colour at a time.

    The gates are those of the input, those of the states in the row above, known for a whole row when it begins, and
    with a diagonal layer those of the state to the left. `BackwardSteps` runs the second direction of such a layer.

    Args:
        layer: the whole form.
        n: number of pictures.
        height, width: their size.
        extra: added to the gates, [n or 1, 4h (or 8h, of both directions), height or 1, width or 1], or None.
    """

    def __init__(self, layer: RowLSTM | DiagonalBiLSTM, n: int, height: int, width: int, extra: Tensor | None):
        ahead, self.behind = extra, None
        if isinstance(layer, DiagonalBiLSTM) and extra is not None:
            ahead, self.behind = extra.chunk(2, 1)
        super().__init__(layer.inputs, n, height, width, ahead)
        self.layer, self.size, self.beside = layer, (n, height, width), None
        if isinstance(layer, DiagonalBiLSTM):
            self.beside, above = layer.state.detach()[0][:, self.order].chunk(2, 0)  # [h, 4h] each
            above = above.T[:, :, None]
        else:
            above = layer.state.weight.detach()[self.order].unflatten(1, (3, -1)).transpose(1, 2)  # [4h, h, 3]
        self.above = RowSteps(above[:, :, None], n, width)
        self.h = above.new_zeros(n, width, above.shape[1])
        self.c = torch.zeros_like(self.h)  # cells of this row so far, then of the row above
        self.late = torch.zeros_like(self.h)  # states of a second direction in the row above

    def begin_row(self, i: int, extra: Tensor | None = None) -> None:
        """What the states of the row above contribute, for the whole row."""
        if i:
            self.above.push(self.h.flatten(1))
            extra = plus(self.above.outputs(), extra)
        super().begin_row(i, extra)

    def at(self, j: int, c: int) -> Tensor:
        """The states of colour `c` at pixel j, of both directions if there are two: [n, h_c]."""
        gates, (start, end) = super().at(j, c), (edge // 4 for edge in self.out_at[c])
        cell = self.c[:, j, start:end]  # until now that of the row above
        if self.beside is not None:
            if j and c == 0:
                self.from_left = self.h[:, j - 1] @ self.beside
            gates = gates + self.from_left[:, slice(*self.out_at[c])] if j else gates
            cell = self.c[:, j - 1, start:end] if j else torch.zeros_like(cell)
        h, self.c[:, j, start:end] = lstm_cell(gates, cell)
        self.h[:, j, start:end] = h
        return h + self.late[:, j, start:end]


class BackwardSteps:
    """The second direction of all diagonal layers at once, along a row that is complete.

    Args:
        lstms: the first direction of each layer, which holds what the layer saw and receives the states.
        picture: from the picture to the gates of the first layer.
    """

    def __init__(self, lstms: Sequence[LSTMSteps], picture: nn.Conv2d):
        self.lstms, self.picture = lstms, picture.weight.detach()[:, :, 0, 0].T  # [C, 4h]
        layers = [cast("DiagonalBiLSTM", lstm.layer) for lstm in lstms]
        self.weight = torch.stack([layer.backward_inputs.weight.detach()[:, :, 0, 0].T for layer in layers])[:, None]
        biases = [cast("Tensor", layer.backward_inputs.bias) for layer in layers]
        self.offset = [offsets(b, lstm.behind, *lstm.size) for b, lstm in zip(biases, lstms, strict=True)]
        beside, above = torch.stack([layer.state.detach()[1] for layer in layers]).chunk(2, 1)  # [L, h, 4h] each
        self.beside, self.above = beside, above[:, None]
        self.h = torch.stack([lstm.h for lstm in lstms])  # [L, n, W, h], of the row above

    def finish_row(self, i: int, x: Tensor) -> None:
        """Walk along row `i`, with values x [n, C, W], from right to left; hand the states over to the row below."""
        width = self.lstms[0].size[2]
        seen = torch.stack([lstm.row.unflatten(1, (width, -1)) for lstm in self.lstms])  # [L, n, W, 2h]
        offset = torch.stack([offset[:, i] for offset in self.offset])
        gates = seen @ self.weight + self.h @ self.above + offset  # [L, n, W, 4h]
        gates[0] += x.transpose(1, 2) @ self.picture
        h = c = torch.zeros_like(self.h[:, :, 0])
        for j in reversed(range(width)):
            h, c = lstm_cell(torch.baddbmm(gates[:, :, j], h, self.beside), c)
            self.h[:, :, j] = h
        for lstm, late in zip(self.lstms, self.h, strict=True):
            lstm.late = late


def start_lstms(
    lstms: Sequence[LSTMSteps], back: BackwardSteps | None, path: Iterable[tuple[Tensor, Any]], i: int
) -> None:
    """Bring all layers to the end of row i - 1, from what each read and what its LSTM made of it, `PixelRNN.path`."""
    behind = []
    for lstm, (s, walked) in zip(lstms, path):
        lstm.start(s, i=i)
        if back is None:
            h, c = walked[i - 1]
            lstm.h.copy_(h)
            lstm.c.copy_(c)
        else:
            ahead, other = walked
            lstm.h.copy_(ahead[:, i - 1])
            behind.append(other[:, i - 2])
    if back is not None and i > 1:  # row i - 1 is walked back when row i begins
        back.h = torch.stack(behind)
