"""Recurrent networks as autoregressive models: all that was drawn is remembered in a state of fixed size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive, Step
from lvmlib.autoregressive.reading import vector_size
from lvmlib.autoregressive.tokens import PositionEmbedding, TokenEmbedding
from lvmlib.checks import check_counts

CELLS: dict[str, tuple[Callable[..., nn.RNNBase], Callable[..., Any]]] = {
    "lstm": (nn.LSTM, torch.lstm_cell),
    "gru": (nn.GRU, torch.gru_cell),
}
"""The network over a whole sequence and one step of the same.

:meta hide-value:
"""


class RNN(Autoregressive):
    r"""A recurrent network that reads the positions in their order.

    .. math:: h_t = f(h_{t-1}, e(x_{o_{t-1}}) + p_{o_t} + C c), \qquad \theta_t = W h_t + b

    where e is one vector for each value (categories) or an affine map of the level (two levels, or logistics), p is one
    learned vector for each position, if wanted, and c the context. The input is zero where there is nothing before.

    The state is all that a step of sampling needs, so its cost does not depend on the position. Without `positions` no
    weight depends on the length: a model of another event shape takes over the weights by ``load_state_dict``, for
    instance to draw a text longer than those of training.

    Args:
        event_shape: shape of one example, with D entries in all.
        hidden: width of the state and of the input.
        layers: number of recurrent layers, each reading the states of the one below.
        cell: "lstm" or "gru".
        positions: also tell the network which position comes next, as the sum of one learned vector per channel, row
            and column (or whatever axes `event_shape` has). Added here it does what a one-hot code appended to the
            input would, as the cell begins with a linear map.
        levels, logistics, order: see `Autoregressive`.
        context: see `Autoregressive`; a vector or class labels.

    Raises:
        ValueError: sizes below 1, or another cell.

    Example:
        >>> import torch
        >>> from lvmlib import RNN
        >>> rnn = RNN((1, 8, 8), hidden=32, cell="gru", positions=True)
        >>> rnn.log_prob(torch.zeros(5, 1, 8, 8)).shape, rnn.sample(2).shape
        (torch.Size([5]), torch.Size([2, 1, 8, 8]))
        >>> short = RNN((16,), hidden=32, levels=128)
        >>> longer = RNN((40,), hidden=32, levels=128)
        >>> longer.load_state_dict(short.state_dict())
        <All keys matched successfully>

    Source: Mikolov et al. 2010, *Recurrent neural network based language model*; Hochreiter and Schmidhuber 1997 for
    the LSTM; Cho et al. 2014 for the GRU.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        hidden: int = 128,
        layers: int = 1,
        cell: str = "lstm",
        positions: bool = False,
        levels: int = 2,
        logistics: int = 0,
        context: int | None = None,
        order: Sequence[int] | Tensor | None = None,
    ):
        super().__init__(event_shape, levels, logistics, context, order)
        context = vector_size(self.context_shape, type(self).__name__)
        hidden, layers = check_counts(hidden=hidden, layers=layers)
        if cell not in CELLS:
            raise ValueError(f'cell must be "lstm" or "gru", but it is {cell!r}.')
        self.cell = cell
        self.values = TokenEmbedding(hidden, self.family)
        self.positions = PositionEmbedding(self.event_shape, hidden) if positions else None
        self.context_map = None if context is None else nn.Linear(context, hidden, bias=False)
        self.rnn = CELLS[cell][0](hidden, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, self.family.size)

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One pass of the network over the sequence."""
        h, _ = self.rnn(self.inputs(x.flatten(1), context))  # [B, D, H]
        return self.output(h).mT[:, :, self.order.argsort()].unflatten(2, self.event_shape)

    def inputs(self, x: Tensor, context: Tensor | None) -> Tensor:
        """What the network reads, first drawn first, moved back by one position: flat x [B, D] -> [B, D, H]."""
        before = self.values(x[:, self.order[:-1]])  # [B, D - 1, H]
        return F.pad(before, (0, 0, 1, 0)) + self.told(context)

    def told(self, context: Tensor | None) -> Tensor:
        """What each step knows beside the values, from position and context: [1 or B, 1 or D, 1 or H]."""
        total = torch.zeros(1, 1, 1, dtype=self.dtype, device=self.order.device)
        if self.positions is not None:
            total = total + self.positions()[self.order]
        if context is not None and self.context_map is not None:
            total = total + self.context_map(context)[:, None]
        return total

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """One step of the recurrence; what is kept is its state alone."""
        advance = CELLS[self.cell][1]
        weights = [list(layer) for layer in self.rnn.all_weights]
        told = self.told(context).expand(-1, self.dims, self.rnn.hidden_size)
        empty = torch.zeros(n, self.rnn.hidden_size, dtype=self.dtype, device=self.order.device)
        states: list[Any] = [(empty, empty) if self.cell == "lstm" else empty for _ in weights]
        if x is not None and known:
            last = self.rnn(self.inputs(x, context)[:, :known])[1]  # of each layer, after what is known
            states = list(zip(*last, strict=True)) if self.cell == "lstm" else list(last)
        order = self.order.tolist()

        def step(t: int, x: Tensor) -> Tensor:
            h = told[:, t] + (self.values(x[:, order[t - 1]]) if t else empty)
            for i, (w_in, w_state, b_in, b_state) in enumerate(weights):
                states[i] = advance(h, states[i], w_in, w_state, b_in, b_state)
                h = states[i][0] if self.cell == "lstm" else states[i]
            return F.linear(h, self.output.weight, self.output.bias)

        return step
