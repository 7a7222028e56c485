"""PixelRNN: pictures read by LSTMs, a row or a diagonal at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Step
from lvmlib.autoregressive.masked_conv import MaskedConv2d, PixelModel, PixelSteps, RowSteps, in_rows, offsets, plus


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
        super().__init__(event_shape, levels, logistics, context, channels=channels, layers=layers, kernel=kernel)
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
        x, (to_first, *added) = in_rows(self.encode(x)), self.added(context)
        s = in_rows(plus(self.first(x), to_first))
        if self.picture is not None:  # nothing for the first direction, the picture for the second
            picture = self.picture(x)
            added[0] = plus(F.pad(picture, (0, 0, 0, 0, picture.shape[1], 0)), added[0])
        for layer, expand, extra in zip(self.layers, self.expand, added, strict=True):
            s = s + expand(layer(s, extra))
        return self.parameters_map(self.last(self.head(s.relu()).relu_()))

    def steps(self, n: int, context: Tensor | None = None) -> Step:
        """Each state is computed once: what comes from the row above for a whole row, the rest pixel by pixel.

        The second direction of a diagonal layer runs along a row as soon as the row is complete, in all layers at once,
        as nothing of it is needed before.
        """
        C, H, W = self.event_shape
        to_first, *added = self.added(context)
        first = PixelSteps(self.first, n, H, W, to_first)
        layers: list[Any] = list(self.layers)
        lstms = [layer.steps(n, H, W, extra) for layer, extra in zip(layers, added, strict=True)]
        expand = [PixelSteps(conv, n, H, W) for conv in cast("list[MaskedConv2d]", list(self.expand))]
        tail = [PixelSteps(conv, n, H, W) for conv in (self.head, self.last)]
        back = None if self.picture is None else BackwardSteps(lstms, self.picture)
        everything: list[PixelSteps] = [first, *lstms, *expand, *tail]
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

        return step


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
        rows = plus(self.inputs(s), extra).permute(2, 0, 3, 1)  # [H, B, W, 4h]
        h, c = lstm_cell(rows[0], torch.zeros_like(rows[0, ..., : rows.shape[-1] // 4]))
        states = [h]  # [B, W, h] each
        for gates in rows[1:]:
            padded = F.pad(h, (0, 0, 1, 1))
            near = torch.cat([padded[:, :-2], h, padded[:, 2:]], -1)  # [B, W, 3h]
            h, c = lstm_cell(gates + self.state(near), c)
            states.append(h)
        return torch.stack(states, 1).permute(0, 3, 1, 2)

    def steps(self, n: int, height: int, width: int, extra: Tensor | None) -> RowLSTMSteps:
        """The same, pixel by pixel."""
        return RowLSTMSteps(self, n, height, width, extra)


class RowLSTMSteps(PixelSteps):
    """A Row LSTM evaluated at one pixel and for one colour at a time; `at` returns its state."""

    def __init__(self, layer: RowLSTM, n: int, height: int, width: int, extra: Tensor | None):
        super().__init__(layer.inputs, n, height, width, extra)
        weight = layer.state.weight.detach()[self.order]  # [4h, 3 * h]
        self.above = RowSteps(weight.unflatten(1, (3, -1)).transpose(1, 2)[:, :, None], n, width)
        self.h = weight.new_zeros(n, width, len(weight) // 4)
        self.c = torch.zeros_like(self.h)

    def begin_row(self, i: int, extra: Tensor | None = None) -> None:
        """What the states of the row above contribute, for the whole row."""
        if i:
            self.above.push(self.h.flatten(1))
            extra = plus(self.above.outputs(), extra)
        super().begin_row(i, extra)

    def at(self, j: int, c: int) -> Tensor:
        """The states of colour `c` at pixel j: [n, h_c]."""
        start, end = (edge // 4 for edge in self.out_at[c])
        h, self.c[:, j, start:end] = lstm_cell(super().at(j, c), self.c[:, j, start:end])  # until now those above
        self.h[:, j, start:end] = h
        return h


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
        ahead, behind = (None, None) if extra is None else extra.chunk(2, 1)
        gates = torch.stack([plus(self.inputs(s), ahead), plus(self.backward_inputs(s), behind).flip(-1)])
        states = unskew(self.walk(skew(gates.permute(0, 1, 3, 4, 2))), s.shape[-1])  # [2, B, H, W, h]
        late = F.pad(states[1].flip(2), (0, 0, 0, 0, 1, -1))  # a row down, so that it shows what is above only
        return (states[0] + late).permute(0, 3, 1, 2)

    def walk(self, gates: Tensor) -> Tensor:
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

    def steps(self, n: int, height: int, width: int, extra: Tensor | None) -> DiagonalSteps:
        """The same, pixel by pixel."""
        return DiagonalSteps(self, n, height, width, extra)


def skew(maps: Tensor) -> Tensor:
    """Move row i by i pixels to the right, so that diagonals become columns: [..., H, W, F] -> [..., H, H + W - 1, F].

    Example:
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


class DiagonalSteps(PixelSteps):
    """A diagonal BiLSTM at one pixel and for one colour at a time; `BackwardSteps` runs the second direction."""

    def __init__(self, layer: DiagonalBiLSTM, n: int, height: int, width: int, extra: Tensor | None):
        ahead, behind = (None, None) if extra is None else extra.chunk(2, 1)
        super().__init__(layer.inputs, n, height, width, ahead)
        self.layer, self.behind = layer, behind
        self.beside, self.above = layer.state.detach()[0][:, self.order].chunk(2, 0)  # [h, 4h] each
        self.h = self.beside.new_zeros(n, width, len(self.beside))
        self.late = torch.zeros_like(self.h)  # states of the second direction in the row above
        self.size = n, height, width

    def begin_row(self, i: int, extra: Tensor | None = None) -> None:
        """What the states of the row above contribute, for the whole row."""
        super().begin_row(i, plus(self.h @ self.above, extra))
        self.c = torch.zeros_like(self.h[:, 0])  # of the pixel to the left
        self.from_left = torch.zeros_like(self.known[:, 0])

    def at(self, j: int, c: int) -> Tensor:
        """The states of colour `c` at pixel j, of both directions: [n, h_c]."""
        if c == 0 and j:
            self.from_left = self.h[:, j - 1] @ self.beside
        gates = super().at(j, c) + self.from_left[:, slice(*self.out_at[c])]
        start, end = (edge // 4 for edge in self.out_at[c])
        h, self.c[:, start:end] = lstm_cell(gates, self.c[:, start:end])  # until now those to the left
        self.h[:, j, start:end] = h
        return h + self.late[:, j, start:end]


class BackwardSteps:
    """The second direction of all diagonal layers at once, along a row that is complete.

    Args:
        lstms: the first direction of each layer, which holds what the layer saw and receives the states.
        picture: from the picture to the gates of the first layer.
    """

    def __init__(self, lstms: Sequence[DiagonalSteps], picture: nn.Conv2d):
        self.lstms, self.picture = lstms, picture.weight.detach()[:, :, 0, 0].T  # [C, 4h]
        layers = [lstm.layer for lstm in lstms]
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
