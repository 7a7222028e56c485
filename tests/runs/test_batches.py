import pytest
import torch
from torch import nn

from lvmlib.data import Data
from lvmlib.runs.batches import batches, in_order, length, moved_to, rows
from lvmlib.training import fit


def test_each_pass_shows_every_example_once_in_a_new_order():
    order_of = batches(torch.zeros(10), 5, seed=0, start=0)
    passes = [torch.cat([next(order_of), next(order_of)]) for _ in range(3)]
    for order in passes:
        assert sorted(order.tolist()) == list(range(10))
    assert not torch.equal(passes[0], passes[1])
    late = batches(torch.zeros(10), 5, seed=0, start=3)
    assert torch.equal(next(late), passes[1][5:])


def test_the_order_of_another_seed_is_another_in_every_pass():
    """Seed s and pass p must not share an order with seed s + 1 and pass p - 1."""
    orders = [next(batches(torch.zeros(50), 50, seed, start=step)).tolist() for seed in range(4) for step in range(4)]
    assert len({tuple(order) for order in orders}) == 16


def test_batches_where_the_default_device_is_another():
    expected = next(batches(torch.zeros(10), 5, seed=0))
    with torch.device("meta"):
        assert next(batches(torch.zeros(10, device="cpu"), 5, seed=0)).tolist() == expected.tolist()
        assert [len(index) for index in in_order(torch.zeros(10, device="cpu"), 4)] == [4, 4, 2]


def test_rows_of_a_tuple_are_those_of_its_parts():
    grey, y = torch.arange(12, dtype=torch.uint8).view(4, 3), torch.arange(4)
    index = torch.tensor([3, 1])
    drawn, labels = rows((Data(grey, y, binarize="stochastic", levels=12), y), index)
    assert drawn.shape == (2, 3) and drawn.dtype == torch.float32 and set(drawn.unique().tolist()) <= {0.0, 1.0}
    assert labels.tolist() == [3, 1] and length((grey, y)) == 4


class Traveller(nn.Linear):
    """A line that notes where it was sent."""

    def __init__(self):
        super().__init__(1, 1)
        self.sent = []

    def to(self, device):
        self.sent.append(str(device))
        return super().to(device)


def test_the_model_is_back_where_it_was():
    line = Traveller()
    with moved_to(None, line) as device:
        assert device == torch.device("cpu")
    assert line.sent == []
    with moved_to("cpu", line) as device:
        assert device == torch.device("cpu")
    with pytest.raises(ZeroDivisionError), moved_to("cpu", line):
        raise ZeroDivisionError
    assert line.sent == ["cpu"] * 4


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "mtia"])
def test_a_device_that_is_not_there(device):
    line = Traveller()
    with pytest.raises(ValueError, match=f"moved to device '{device}'"), moved_to(device, line):
        pass
    assert line.weight.device == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fit_trains_on_a_device_and_comes_back():
    """What stays on the processor (data, validation data, the model before and after) need not be moved by hand."""
    x = 3 + torch.randn(256, 1)
    line = Traveller()
    seen = []

    def loss(model, batch):
        seen.append(batch.device.type)
        return (model(batch) - 2 * batch) ** 2

    options = {"steps": 300, "batch_size": 64, "lr": 0.1, "average": 0.9, "valid": x, "patience": 99}
    history = fit(line, x, loss, device="cuda", progress=False, **options)
    assert set(seen) == {"cuda"}
    assert line.weight.device.type == "cpu"
    assert history.valid_loss[-1] < 0.1 * history.valid_loss[0]
