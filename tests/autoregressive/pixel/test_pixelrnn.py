"""PixelRNN: its LSTMs against torch's and against loops over pixels, what they see, what sampling costs."""

import pytest
import torch
from torch import nn

from lvmlib.autoregressive import PixelRNN
from lvmlib.autoregressive.pixel.picture_lstm import DiagonalBiLSTM, RowLSTM, lstm_cell, skew, unskew
from tests.autoregressive.pixel.pictures import (
    check_cached_parameters,
    check_seen,
    livened,
    offsets_from,
    work_of_sampling,
)

KINDS = ["row", "diagonal"]


def gates_as_in_torch(weight: torch.Tensor) -> torch.Tensor:
    """Ours are input, forget, output, new; torch's are input, forget, new, output."""
    let_in, keep, out, new = weight.chunk(4)
    return torch.cat([let_in, keep, new, out])


def torch_lstm(inputs: torch.Tensor, state: torch.Tensor, bias: torch.Tensor) -> nn.LSTM:
    """nn.LSTM with our weights: inputs [4h, I], state [4h, h], bias [4h]."""
    lstm = nn.LSTM(inputs.shape[1], state.shape[1], batch_first=True).double()
    with torch.no_grad():
        lstm.weight_ih_l0.copy_(gates_as_in_torch(inputs))
        lstm.weight_hh_l0.copy_(gates_as_in_torch(state))
        lstm.bias_ih_l0.copy_(gates_as_in_torch(bias))
        lstm.bias_hh_l0.zero_()
    return lstm


def test_row_lstm_on_a_column_is_an_lstm():
    torch.manual_seed(0)
    layer, s = RowLSTM(4, 3, 1).double(), torch.randn(2, 4, 7, 1).double()
    with torch.no_grad():
        lstm = torch_lstm(layer.inputs.weight[:, :, 0, 1], layer.state.weight[:, 3:6], layer.inputs.bias)
        torch.testing.assert_close(layer(s)[..., 0], lstm(s[..., 0].transpose(1, 2))[0].transpose(1, 2))


def test_diagonal_lstm_on_a_row_is_an_lstm():
    torch.manual_seed(0)
    layer, s = DiagonalBiLSTM(4, 3, 1).double(), torch.randn(2, 4, 1, 7).double()
    with torch.no_grad():
        lstm = torch_lstm(layer.inputs.weight[:, :, 0, 0], layer.state[0, :3].T, layer.inputs.bias)
        torch.testing.assert_close(layer(s)[:, :, 0], lstm(s[:, :, 0].transpose(1, 2))[0].transpose(1, 2))


def test_row_lstm_against_a_loop_over_pixels():
    torch.manual_seed(0)
    layer, s = RowLSTM(4, 3, 2).double(), torch.randn(2, 4, 4, 5).double()
    left, above, right = layer.state.weight.chunk(3, 1)
    nothing, states = torch.zeros(2, 3).double(), {}
    gates = layer.inputs(s)
    for i in range(4):
        for j in range(5):
            near = [states.get((i - 1, j + b), (nothing, nothing)) for b in (-1, 0, 1)]
            total = gates[:, :, i, j] + sum(h @ w.T for (h, _), w in zip(near, (left, above, right), strict=True))
            states[i, j] = lstm_cell(total, near[1][1])
    found = layer(s)
    for (i, j), (h, _) in states.items():
        torch.testing.assert_close(found[:, :, i, j], h)


def test_diagonal_bilstm_against_a_loop_over_pixels():
    torch.manual_seed(0)
    layer, s = DiagonalBiLSTM(4, 3, 2).double(), torch.randn(2, 4, 4, 5).double()
    nothing = torch.zeros(2, 3).double()
    total = torch.zeros(2, 3, 4, 5).double()
    for way, inputs in enumerate((layer.inputs, layer.backward_inputs)):
        gates, states = inputs(s), {}
        beside, above = layer.state[way].chunk(2)
        for i in range(4):
            for j in range(5) if way == 0 else reversed(range(5)):
                h, c = states.get((i, j - 1 if way == 0 else j + 1), (nothing, nothing))
                h_above = states.get((i - 1, j), (nothing, nothing))[0]
                states[i, j] = lstm_cell(gates[:, :, i, j] + h @ beside + h_above @ above, c)
                if i + way < 4:
                    total[:, :, i + way, j] += states[i, j][0].detach()  # the second direction a row further down
    torch.testing.assert_close(layer(s), total)


def test_skewing_is_undone():
    maps = torch.randn(2, 3, 4, 5, 6)
    skewed = skew(maps)
    assert skewed.shape == (2, 3, 4, 8, 6)
    assert torch.equal(skewed[:, :, 3, 3:], maps[:, :, 3]) and not skewed[:, :, 3, :3].any()
    assert torch.equal(unskew(skewed, 5), maps)


@pytest.mark.parametrize("shape", [(1, 6, 13), (3, 6, 13)], ids=["grey", "colour"])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_row_lstm_sees_a_triangle(shape, layers):
    model = livened(PixelRNN(shape, channels=15, layers=layers, kernel=3))
    row, column, r = 5, 7, 1
    up, right = offsets_from(model, row, column)
    to_the_left = -right <= r + layers + up  # a pixel per layer along the row, and one per row upwards
    expected = ((up == 0) & (right < 0) & to_the_left) | ((up > 0) & to_the_left & (right <= r + up - 1))
    check_seen(model, row, column, expected)
    assert not expected[up > 0].all()


@pytest.mark.parametrize("shape", [(1, 5, 9), (3, 5, 9)], ids=["grey", "colour"])
def test_a_diagonal_bilstm_sees_all_that_was_drawn(shape):
    model = livened(PixelRNN(shape, channels=15, layers=1, kernel=3, kind="diagonal"))
    for row, column in [(4, 3), (2, 8), (3, 0)]:
        up, right = offsets_from(model, row, column)
        check_seen(model, row, column, (up > 0) | ((up == 0) & (right < 0)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 4, 4)], ids=["grey", "colour"])
def test_sampling_does_the_work_of_one_pass(kind, shape):
    assert work_of_sampling(PixelRNN(shape, channels=12, layers=2, kind=kind)) < 1.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 9), (1, 9, 1), (1, 1, 1), (3, 1, 4), (3, 4, 1)])
def test_pictures_of_one_row_or_column(kind, shape):
    model = livened(PixelRNN(shape, channels=6, layers=2, kind=kind, levels=3))
    assert model.log_prob(torch.zeros(2, *shape)).isfinite().all()
    check_cached_parameters(model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_as_context(kind):
    model = livened(PixelRNN((2, 4, 5), channels=6, layers=2, kind=kind, levels=3, context=(2, 4, 5)))
    check_cached_parameters(model, torch.randn(3, 2, 4, 5).double())


def test_bad_models_are_stopped_at_the_door():
    with pytest.raises(ValueError, match='kind must be "row" or "diagonal"'):
        PixelRNN((1, 4, 4), kind="column")
    with pytest.raises(ValueError, match="layers must be a whole number"):
        PixelRNN((1, 4, 4), layers=0)
    with pytest.raises(ValueError, match=r"pictures of shape \(C, H, W\)"):
        PixelRNN((16,))
    with pytest.raises(ValueError, match="needs a channel of its own"):
        PixelRNN((3, 4, 4), channels=2)
