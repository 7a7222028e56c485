import math

import pytest
import torch
from torch import nn

from lvmlib.runs.state import Average, History, Run
from lvmlib.training import adam


class Codebook(nn.Module):
    """A weight, a codebook that moves without a gradient, a count, a mask of infinities and a constant."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, dtype=dtype))
        self.register_buffer("codes", torch.zeros(3))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]))
        self.register_buffer("shape_follows", torch.ones(1).expand(4), persistent=False)

    def move(self, step):
        with torch.no_grad():
            self.weight.add_(0.25)
        self.codes = self.codes + step  # a new tensor in the place of the old one, as such modules often do it
        self.count += 1


def test_the_average_holds_floating_buffers_and_leaves_whole_numbers_and_masks():
    model, weight, codes = Codebook(), torch.ones(2), torch.zeros(3)
    average = Average(model, 0.8)
    for step in range(1, 40):
        model.move(step)
        average.update(step)
        decay = min(0.8, step / (step + 9))
        weight, codes = decay * weight + (1 - decay) * model.weight.detach(), decay * codes + (1 - decay) * model.codes
    own = {name: t.clone() for name, t in model.state_dict().items()}
    with average.in_use():
        torch.testing.assert_close(model.weight.detach(), weight)
        torch.testing.assert_close(model.codes, codes)
        assert model.count == 39 and torch.equal(model.mask, own["mask"])
    assert all(torch.equal(t, own[name]) for name, t in model.state_dict().items())


def test_weights_of_two_bytes_are_averaged_in_four():
    model = Codebook(torch.bfloat16)
    average = Average(model, 0.9999)
    with torch.no_grad():
        model.weight.fill_(2.0)
    for _ in range(1000):
        average.update(10**6)  # each step moves the average by a thousandth of what bfloat16 can tell apart
    assert average.values["weight"].tolist() == pytest.approx([2 - 0.9999**1000] * 2, rel=1e-4)


def test_batch_statistics_at_validation_are_the_averaged_ones():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = Average(model, 0.5)
    for step in range(1, 6):
        model(torch.randn(10, 2) + step)
        average.update(step)
    with average.in_use():
        averaged = model[1].running_mean.clone()
    assert not torch.equal(averaged, model[1].running_mean) and model[1].num_batches_tracked == 5


def test_the_history_survives_as_text_to_the_last_bit():
    losses = [0.1 + 0.2, 1e-310, 3.0, 1 / 3, 1e22]
    history = History(losses, [2, 4, 5], [math.pi, 2.0, 1e-17])
    text = (history.lines(0)).decode()
    assert History.parse(text) == history
    assert b"".join([History(losses[:2], [2], [math.pi]).lines(0), history.lines(2)]).decode() == text


def test_rates_keep_their_proportion_and_a_group_at_zero_stays():
    a, b, c = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    model = nn.ParameterList([a, b, c])

    def groups(_, lr):
        each = [{"params": a, "lr": 0.0}, {"params": b, "lr": lr / 2}, {"params": c}]
        return torch.optim.SGD(each, lr=lr)

    for first in (0.1, 0.0):
        run = Run(model, groups, first)
        run.set_rate(0.3)
        assert [group["lr"] for group in run.optimizer.param_groups] == [0.0, pytest.approx(0.15), 0.3]


def test_numbers_are_looked_at_in_blocks_and_the_age_of_the_weights_is_told():
    run = Run(nn.Linear(1, 1), adam, 0.1, block=4)
    one = torch.tensor(1.0)
    for step in range(6):
        run.record(one * step, one)
        run.finish_step()
        assert len(run.history.loss) == (4 if step >= 3 else 0)
    run.look()
    assert run.history.loss == [0, 1, 2, 3, 4, 5]
    run.record(one * math.nan, one)
    for _ in range(2):
        run.finish_step()
        run.record(one, one)
    run.finish_step()
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 6\. The weights are spoilt: .* 3 updates later"):
        run.record(one, one)
