"""What `fit` refuses, and what it says then."""

import math

import pytest
import torch
from torch import nn

from lvmlib.autoregressive import MADE
from lvmlib.training import fit
from tests.line import line, line_data, squared_error


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_the_step(number):
    model = line()
    calls = []

    def broken(m, batch):
        calls.append(1)
        return squared_error(m, batch) * (number if len(calls) == 8 else 1.0)

    with pytest.raises(FloatingPointError, match=f"{number} at step 7"):
        fit(model, line_data(), broken, steps=20, batch_size=50, progress=False)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(steps=0, batch_size=5), "steps must be a whole number, 1 or more, but it is 0"),
        (dict(steps=2.5, batch_size=5), "steps must be a whole number"),
        (dict(steps=1, batch_size=5, checkpoint_every=0), "checkpoint_every must be"),
        (dict(steps=1, batch_size=5, valid=line_data(10), valid_every=0), "valid_every must be"),
        (dict(steps=1, batch_size=5, valid=line_data(10), patience=0), "patience must be"),
        (dict(steps=1, batch_size=5, valid=line_data(0)), "valid holds no examples"),
        (dict(steps=1, batch_size=5, valid=(torch.zeros(5, 3), torch.zeros(4, 1))), "same length, but those of valid"),
        (dict(steps=1, batch_size=5, clip_norm=-1.0), "clip_norm is the largest norm"),
        (dict(steps=1, batch_size=5, lr=-0.1), "not negative, but it is -0.1 at step 0"),
        (dict(steps=9, batch_size=5, lr=lambda step: 0.2 - 0.1 * step), "not negative, but it is -0.1.* at step 3"),
        (dict(steps=1, batch_size=5, lr=math.nan), "it is nan at step 0"),
        (dict(steps=1, batch_size=500), "at least as many examples"),
        (dict(steps=1, batch_size=5, patience=2), "needs validation data"),
        (dict(steps=1, batch_size=5, average=1.0), "between 0 and 1"),
        (dict(steps=1, batch_size=5, average=0.0), "between 0 and 1"),
        (dict(steps=1, batch_size=5, clip_norm=0.0), "must be positive"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(line(), line_data(), squared_error, progress=False, **arguments)
    with pytest.raises(ValueError, match="same length"):
        fit(line(), (torch.zeros(5, 3), torch.zeros(4, 1)), squared_error, steps=1, batch_size=2)


@pytest.mark.parametrize(
    ("data", "came"),
    [
        ([[1.0, 2.0, 3.0]] * 10, "list"),
        (torch.zeros(10, 3).numpy(), "ndarray"),
        (torch.utils.data.DataLoader(torch.zeros(10, 3)), "DataLoader"),
        ((torch.zeros(10, 3), [0.0] * 10), r"\(Tensor, list\)"),
        ((), r"\(\)"),
        (None, "NoneType"),
        (torch.tensor(3.0), "Tensor"),
    ],
)
def test_data_of_another_kind(data, came):
    with pytest.raises(TypeError, match=f"data must be a lvmlib.data.Data.* but it is {came}"):
        fit(line(), data, squared_error, steps=1, batch_size=2, progress=False)
    if data is not None:
        with pytest.raises(TypeError, match=f"valid must be a lvmlib.data.Data.* but it is {came}"):
            fit(line(), line_data(), squared_error, steps=1, batch_size=2, valid=data, progress=False)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (lambda m, b: 1.0, TypeError, "it returned float"),
        (lambda m, b: torch.ones(5, dtype=torch.long), TypeError, "it returned torch.int64"),
        (lambda m, b: (m(b[0]) - b[1][:, 0]) ** 2, ValueError, r"5 in all, but it returned shape \[5, 5\]"),
        (lambda m, b: squared_error(m, b)[:0], ValueError, r"shape \[0, 1\]"),
        (lambda m, b: squared_error(m, b).detach(), ValueError, "does not depend on the model's parameters"),
        (None, TypeError, "Only a Density has a loss by default, and Linear is none"),
    ],
)
def test_bad_losses(loss, error, message):
    with pytest.raises(error, match=message):
        fit(line(), line_data(), loss, steps=1, batch_size=5, progress=False)


def test_data_outside_the_support_are_noticed_at_the_first_step():
    model = MADE((5,), hidden=(8,))
    with pytest.raises(ValueError, match="whole numbers from 0 to 1"):
        fit(model, torch.full((20, 5), 0.5), steps=1, batch_size=5, progress=False)


def test_models_without_anything_to_train():
    for model in (nn.Identity(), line().requires_grad_(False)):
        with pytest.raises(ValueError, match="nothing to train"):
            fit(model, line_data(), squared_error, steps=1, batch_size=5, progress=False)
    with pytest.raises(TypeError, match="it is a NoneType"):
        fit(None, line_data(), squared_error, steps=1, batch_size=5, progress=False)
