import torch

from lvmlib.data import Data
from lvmlib.runs.batches import batches, in_order, length, rows


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
