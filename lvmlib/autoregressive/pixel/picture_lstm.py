"""LSTMs that walk over a picture, by rows or by diagonals."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.pixel.masked_conv import MaskedConv2d, plus


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Gates [..., 4h] (input, forget, output, new) and the cell before [..., h] -> hidden state and cell [..., h]."""
    let_in, keep, out = gates[..., : 3 * cell.shape[-1]].sigmoid().chunk(3, -1)
    cell = keep * cell + let_in * gates[..., 3 * cell.shape[-1] :].tanh()
    return out * cell.tanh(), cell


def input_gates(inputs: int, hidden: int, width: int, colours: int) -> MaskedConv2d:
    """The masked convolution from the input of a layer to its gates; at first a cell forgets little."""
    conv = MaskedConv2d(inputs, 4 * hidden, (1, width), "B", colours, copies=4)
    with torch.no_grad():
        cast("Tensor", conv.bias)[hidden : 2 * hidden] = 1
    return conv


class RowLSTM(nn.Module):
    """An LSTM that walks down the rows, all pixels of a row at once.

    Args:
        inputs: number of features of the input.
        hidden: width of the states, h.
        colours: number of colours that the features are shared out among.
    """

    directions = 1

    def __init__(self, inputs: int, hidden: int, colours: int):
        super().__init__()
        self.inputs = input_gates(inputs, hidden, 3, colours)
        self.state = nn.Linear(3 * hidden, 4 * hidden, bias=False)  # above to the left, above, above to the right

    def forward(self, s: Tensor, extra: Tensor | None = None) -> Tensor:
        """s [B, inputs, H, W], extra [B, 4h, H or 1, W or 1] -> states [B, h, H, W]."""
        return self.shown(self.walk(s, extra))

    def shown(self, rows: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The states of all rows as a map [B, h, H, W]."""
        return torch.stack([h for h, _ in rows], 1).permute(0, 3, 1, 2)

    def walk(self, s: Tensor, extra: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """States and cells of each row, [B, W, h] each."""
        rows = plus(self.inputs(s), extra).permute(2, 0, 3, 1)  # [H, B, W, 4h]
        h, c = lstm_cell(rows[0], torch.zeros_like(rows[0, ..., : rows.shape[-1] // 4]))
        walked = [(h, c)]
        for gates in rows[1:]:
            padded = F.pad(h, (0, 0, 1, 1))
            near = torch.cat([padded[:, :-2], h, padded[:, 2:]], -1)  # [B, W, 3h]
            h, c = lstm_cell(gates + self.state(near), c)
            walked.append((h, c))
        return walked


class DiagonalBiLSTM(nn.Module):
    """Two LSTMs that walk over the diagonals, from the left and from the right.

    Args:
        inputs: number of features of the input.
        hidden: width of the states, h.
        colours: number of colours that the features are shared out among.
    """

    directions = 2

    def __init__(self, inputs: int, hidden: int, colours: int):
        super().__init__()
        self.inputs = input_gates(inputs, hidden, 1, colours)
        self.backward_inputs = input_gates(inputs, hidden, 1, 1)  # needs no mask, as it is seen from the row below only
        # Of each direction: from the state beside the pixel and from the one above it.
        self.state = nn.Parameter(torch.randn(2, 2 * hidden, 4 * hidden) / (2 * hidden) ** 0.5)

    def forward(self, s: Tensor, extra: Tensor | None = None) -> Tensor:
        """s [B, inputs, H, W], extra [B, 8h, H or 1, W or 1] -> states [B, h, H, W]."""
        return self.shown(self.walk(s, extra))

    def shown(self, states: tuple[Tensor, Tensor]) -> Tensor:
        """The states of both directions as one map [B, h, H, W]."""
        late = F.pad(states[1], (0, 0, 0, 0, 1, -1))  # a row down, so that it shows what is above only
        return (states[0] + late).permute(0, 3, 1, 2)

    def walk(self, s: Tensor, extra: Tensor | None) -> tuple[Tensor, Tensor]:
        """States of the LSTM from the left and of that from the right, [B, H, W, h] each."""
        ahead, behind = (None, None) if extra is None else extra.chunk(2, 1)
        gates = torch.stack([plus(self.inputs(s), ahead), plus(self.backward_inputs(s), behind).flip(-1)])
        states = unskew(self.along_diagonals(skew(gates.permute(0, 1, 3, 4, 2))), s.shape[-1])  # [2, B, H, W, h]
        return states[0], states[1].flip(2)

    def along_diagonals(self, gates: Tensor) -> Tensor:
        """One diagonal after another: gates [2, B, H, diagonals, 4h] -> states [2, B, H, diagonals, h]."""
        B, H = gates.shape[1:3]
        h = c = torch.zeros_like(gates[:, :, :, 0]).chunk(4, -1)[0]
        states = []
        for diagonal in gates.unbind(3):
            # Outside the picture to the left all gates are 0, which keeps the states there at 0.
            near = torch.cat([h, F.pad(h, (0, 0, 1, -1))], -1).flatten(1, 2)  # [2, B * H, 2h]: beside and above
            h, c = lstm_cell(diagonal + torch.bmm(near, self.state).unflatten(1, (B, H)), c)
            states.append(h)
        return torch.stack(states, 3)


def skew(maps: Tensor) -> Tensor:
    """Move row i by i pixels to the right, so that diagonals become columns: [..., H, W, F] -> [..., H, H + W - 1, F].

    Example:
        >>> import torch
        >>> from lvmlib.autoregressive.pixel.picture_lstm import skew
        >>> skew(torch.tensor([[1, 2], [3, 4], [5, 6]])[..., None])[..., 0]
        tensor([[1, 2, 0, 0],
                [0, 3, 4, 0],
                [0, 0, 5, 6]])
    """
    H, W = maps.shape[-3:-1]
    # With H zeros behind every row, rows of H + W numbers, cut one number shorter, begin one further to the right each.
    rows = F.pad(maps, (0, 0, 0, H)).flatten(-3, -2)
    return rows[..., : H * (H + W - 1), :].unflatten(-2, (H, H + W - 1))


def unskew(maps: Tensor, width: int) -> Tensor:
    """Undo `skew`: [..., H, H + W - 1, F] -> [..., H, W, F]."""
    H = maps.shape[-3]
    rows = F.pad(maps.flatten(-3, -2), (0, 0, 0, H)).unflatten(-2, (H, H + width))
    return rows[..., :width, :]
