"""Validation, early stopping and averaged weights."""

import math

import pytest
import torch
from torch import nn

from lvmlib.autoregressive import MADE, OrderingMixture
from lvmlib.base import seed_everything
from lvmlib.training import fit
from tests.line import binary, line, line_data, squared_error


def test_averaged_weights_by_their_recursion():
    ours, theirs = line(), line()
    arguments = dict(batch_size=50, lr=0.1, progress=False)
    fit(ours, line_data(), squared_error, steps=12, average=0.5, **arguments)
    average = [p.detach().clone() for p in theirs.parameters()]
    for steps in range(1, 13):
        theirs = line()
        fit(theirs, line_data(), squared_error, steps=steps, **arguments)
        decay = min(0.5, steps / (steps + 9))
        average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, theirs.parameters())]
    for a, p in zip(average, ours.parameters()):
        torch.testing.assert_close(a, p.detach())


def test_averaged_weights_end_up_in_the_model():
    plain, averaged = line(), line()
    rough = dict(steps=300, batch_size=10, lr=0.3, progress=False)
    noisy = (line_data()[0], line_data()[1] + torch.randn(200, 1, generator=torch.Generator().manual_seed(2)))
    fit(plain, noisy, squared_error, **rough)
    fit(averaged, noisy, squared_error, average=0.98, **rough)
    best = torch.linalg.lstsq(torch.cat([noisy[0], torch.ones(200, 1)], 1), noisy[1]).solution[:3, 0]
    assert (averaged.weight[0] - best).norm() < (plain.weight[0] - best).norm()


def test_early_stopping_goes_back_to_the_best_weights():
    model = line()
    x, y = line_data(20)

    def worse_and_worse(m, batch):  # validation improves for three validations, then a larger bias makes it worse
        return (m.bias - 1.0) ** 2 if torch.is_grad_enabled() else (m.bias - 0.3) ** 2

    with torch.no_grad():
        model.bias.fill_(0.0)
    history = fit(
        model, (x, y), worse_and_worse, steps=500, batch_size=20, lr=0.1, valid=(x, y), valid_every=1, patience=3,
        optimizer=lambda p, lr: torch.optim.SGD(p, lr=lr), progress=False,
    )  # fmt: skip
    best = history.valid_loss.index(min(history.valid_loss))
    assert history.stopped_early and len(history.loss) == best + 4
    assert (model.bias.item() - 0.3) ** 2 == pytest.approx(min(history.valid_loss), abs=1e-7)


def test_validation_does_not_disturb_training_and_repeats_its_draws():
    def noisy_loss(model, batch):
        return squared_error(model, batch) * (1 + torch.rand(()))

    results = []
    for valid_every in (None, 1):
        model = line()
        seed_everything(0)
        valid = line_data(50) if valid_every else None
        history = fit(
            model,
            line_data(),
            noisy_loss,
            steps=20,
            batch_size=50,
            valid=valid,
            valid_every=valid_every,
            lr=0.0,
            progress=False,
        )
        results.append(history.loss)
    assert results[0] == results[1]
    assert len(set(history.valid_loss)) == 1  # lr 0, so the same weights, and the same draws


def test_validation_is_the_mean_over_all_examples_once_per_pass_and_at_the_end():
    model, valid, seen = line().eval(), line_data(53), []

    def watched(m, batch):
        seen.append((m.training, torch.is_grad_enabled()))
        return squared_error(m, batch)

    history = fit(model, line_data(), watched, steps=10, batch_size=50, valid=valid, progress=False)
    assert history.valid_steps == [4, 8, 10]
    assert seen.count((True, True)) == 10 and seen.count((False, False)) == 2 * 3 and len(seen) == 16
    assert history.valid_loss[-1] == pytest.approx(squared_error(model, valid).mean().item(), rel=1e-5)


def test_validation_sees_the_averaged_weights_and_training_its_own():
    plain, averaged = line(), line()
    arguments = dict(steps=20, batch_size=50, lr=0.1, valid=line_data(50), valid_every=4, progress=False)
    without = fit(plain, line_data(), squared_error, **arguments)
    history = fit(averaged, line_data(), squared_error, average=0.9, **arguments)
    assert history.loss == without.loss and history.valid_loss != without.valid_loss
    assert history.valid_loss[-1] == pytest.approx(squared_error(averaged, line_data(50)).mean().item(), rel=1e-5)


def test_a_validation_loss_that_is_not_finite_stops_with_the_step():
    def broken(m, batch):
        return squared_error(m, batch) * (1.0 if torch.is_grad_enabled() else math.nan)

    with pytest.raises(FloatingPointError, match="validation loss is nan after 3 steps"):
        fit(line(), line_data(), broken, steps=9, batch_size=5, valid=line_data(10), valid_every=3, progress=False)


def test_validation_of_what_will_be_used():
    """A MADE with several mask sets: one set is trained on at a time, the mixture is validated."""
    torch.manual_seed(0)
    made, x = MADE((5,), hidden=(16,), degrees="random", masks=4), binary()

    def mixture_loss(m, batch):
        assert not m.training
        return -OrderingMixture(m).log_prob(batch)

    history = fit(made, x, steps=40, batch_size=20, lr=0.05, valid=x, valid_loss=mixture_loss, valid_every=10,
                  patience=9, progress=False)  # fmt: skip
    with torch.no_grad():
        mixture = -OrderingMixture(made).log_prob(x).mean().item()
        in_use = -made.log_prob(x).mean().item()
    assert min(history.valid_loss) == pytest.approx(mixture, rel=1e-5) and abs(mixture - in_use) > 1e-3
    with pytest.raises(ValueError, match="valid_loss is measured on validation data"):
        fit(made, x, steps=4, batch_size=20, valid_loss=mixture_loss, progress=False)


def test_averaged_batch_statistics_end_up_in_the_model():
    averaged = nn.Sequential(line(), nn.BatchNorm1d(1))
    arguments = dict(batch_size=50, lr=0.1, progress=False)
    fit(averaged, line_data(), squared_error, steps=6, average=0.5, **arguments)
    mean = torch.zeros(1)
    for steps in range(1, 7):
        own = nn.Sequential(line(), nn.BatchNorm1d(1))
        fit(own, line_data(), squared_error, steps=steps, **arguments)
        decay = min(0.5, steps / (steps + 9))
        mean = decay * mean + (1 - decay) * own[1].running_mean
    torch.testing.assert_close(averaged[1].running_mean, mean)
    assert not torch.allclose(mean, own[1].running_mean) and averaged[1].num_batches_tracked == 6
