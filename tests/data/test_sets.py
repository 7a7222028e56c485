"""Sets are split, and batches drawn from them, as the docstrings say."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest
import torch

from lvmlib.data import Data, load


@pytest.fixture(scope="module")
def mnist():
    return load("mnist")


def grey(values, **keywords) -> Data:
    return Data(torch.tensor(values, dtype=torch.uint8), **keywords)


def test_all_sixty_thousand(mnist):
    train, valid, test = load("mnist", valid=0)
    assert len(train) == 60_000
    assert len(valid) == 0
    assert valid.event_shape == (1, 28, 28)
    assert torch.equal(train.x[:50_000], mnist[0].x)
    assert torch.equal(train.x[50_000:], mnist[1].x)
    assert torch.equal(test.x, mnist[2].x)


def test_nobody_can_spoil_the_next_load(mnist):
    train, _, _ = load("mnist")
    train.x.zero_()
    assert load("mnist")[0].x.float().mean() > 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "minst"},
            "no data set 'minst'; the names are mnist, digits, text, emoji, speech, fashion-mnist, cifar-10",
        ),
        ({"name": "digits", "binarize": "yes"}, "binarize must be None"),
        ({"name": "text", "binarize": "static"}, "no grey levels"),
        ({"name": "cifar-10", "binarize": "stochastic"}, "no grey levels"),
        ({"name": "emoji", "binarize": "stochastic"}, "no grey levels"),
        ({"name": "speech", "binarize": "static"}, "no grey levels"),
        ({"name": "speech", "valid": 150}, "from 0 to 149 for speech"),
        ({"name": "digits", "valid": 1437}, "from 0 to 1436"),
        ({"name": "digits", "valid": -1}, "0 or more, but it is -1"),
        ({"name": "digits", "valid": 0.1}, "but it is 0.1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(**arguments)


def test_a_stochastic_batch_is_a_fresh_bernoulli_draw():
    levels = torch.arange(256, dtype=torch.uint8)
    data = Data(levels.expand(40_000, 256), binarize="stochastic")
    generator = torch.Generator().manual_seed(0)
    draws = data.batch(slice(None), generator)
    assert draws.dtype == torch.float32
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    p = levels.double() / 255
    error = (draws.double().mean(0) - p).abs()
    assert (error <= 4.5 * (p * (1 - p) / 40_000).sqrt()).all(), "4.5 standard errors, for 256 means at once"
    assert draws[:, 0].sum() == 0, "black stays black"
    assert draws[:, 255].all(), "white stays white"
    again = data.batch(slice(None), generator)
    assert not torch.equal(again, draws)
    agreement = (again == draws).double().mean()
    assert abs(agreement - (p**2 + (1 - p) ** 2).mean()) < 0.001, "two draws are independent of one another"
    assert torch.equal(data.batch(slice(None), torch.Generator().manual_seed(0)), draws)


def test_a_batch_draws_from_the_global_generator_by_default():
    data = load("digits", binarize="stochastic")[0]
    torch.manual_seed(3)
    first = data.batch([0, 1])
    torch.manual_seed(3)
    assert torch.equal(data.batch([0, 1]), first)
    assert not torch.equal(data.batch([0, 1]), first)


def test_seventeen_levels_binarize_with_probability_x_over_16():
    data = Data(torch.full((40_000,), 4, dtype=torch.uint8), binarize="stochastic", levels=17)
    assert abs(data.batch(slice(None), torch.Generator().manual_seed(0)).mean() - 0.25) < 0.01
    assert abs(data.fixed(0).x.mean() - 0.25) < 0.01


def test_the_static_draw_never_changes():
    train, valid, test = load("mnist", binarize="static")
    assert train.x.dtype == torch.float32
    assert set(test.x.unique().tolist()) == {0.0, 1.0}
    assert packed(train.x[:1000]) == "5771a6d21ad60d9b"
    assert packed(test.x) == "24d940a7f1971047"
    everything, _, same_test = load("mnist", binarize="static", valid=0)
    assert torch.equal(everything.x, torch.cat([train.x, valid.x])), "the draw must not depend on where valid begins"
    assert torch.equal(same_test.x, test.x)
    assert torch.equal(train.batch([5, 7]), train.x[[5, 7]]), "a static split draws nothing"


def packed(x: torch.Tensor) -> str:
    return hashlib.sha256(np.packbits(x.numpy().astype(np.uint8)).tobytes()).hexdigest()[:16]


def test_a_fixed_draw_is_the_same_every_time(mnist):
    test = load("mnist", binarize="stochastic")[2]
    fixed = test.fixed(0)
    assert fixed.x.dtype == torch.float32
    assert packed(fixed.x) == "e57c29358f8feb9d"
    assert torch.equal(fixed.batch(slice(0, 100)), fixed.batch(slice(0, 100)))
    assert not torch.equal(test.fixed(1).x, fixed.x)
    assert torch.equal(fixed.y, test.y)
    expected = test.x.double().mean() / 255
    assert abs(fixed.x.double().mean() - expected) < 3e-4
    assert mnist[2].fixed(0) is mnist[2], "grey levels are fixed already"


def test_ways_to_index():
    data = grey([[0], [10], [20], [30]])
    wanted = torch.tensor([[10], [30]], dtype=torch.uint8)
    mask = torch.tensor([False, True, False, True])
    for index in (torch.tensor([1, 3]), [1, 3], slice(1, None, 2), torch.tensor([-3, -1]), mask, range(1, 4, 2)):
        assert torch.equal(data.batch(index), wanted)
    assert data.batch(1).tolist() == [[10]]
    assert data.batch(-1).tolist() == [[30]]
    assert data.batch([]).shape == (0, 1)
    with pytest.raises(IndexError):
        data.batch([4])
    with pytest.raises(TypeError, match="whole numbers"):
        data.batch([0.5])


def test_unit_divides_by_the_brightest_level():
    assert grey([[0, 51, 255]]).unit().x.tolist() == [[0.0, pytest.approx(0.2), 1.0]]
    assert grey([[0, 4, 16]], levels=17, binarize="stochastic").unit().batch([0]).tolist() == [[0.0, 0.25, 1.0]]
    continuous = Data(torch.rand(3, 2))
    assert continuous.unit() is continuous


def test_subsets_keep_labels_and_binarization():
    data = grey([[0], [10], [20]], y=torch.tensor([7, 8, 9]), binarize="stochastic", levels=21, name="three")
    first = data.subset(2)
    assert first.x.tolist() == [[0], [10]]
    assert first.y.tolist() == [7, 8]
    assert (first.binarize, first.levels, first.name) == ("stochastic", 21, "three")
    assert data.subset([2, 0]).y.tolist() == [9, 7]
    assert len(data.subset(0)) == 0
    with pytest.raises(ValueError, match="0 to 3 examples, but 4"):
        data.subset(4)


def test_moving_to_a_device():
    moved = grey([[1], [2]], y=torch.tensor([0, 1]), binarize="stochastic").to("meta")
    assert moved.x.device.type == "meta"
    assert moved.y.device.type == "meta"
    assert moved.binarize == "stochastic"
    assert repr(moved) == "Data(data: 2 x [1], uint8 0..255, drawn as 0/1 at each batch, meta)"


def test_the_hash_sees_every_byte(mnist):
    x = mnist[2].x
    assert grey([[1, 2]]).sha256() == hashlib.sha256(b"\1\2").hexdigest()
    assert Data(x).sha256() == hashlib.sha256(x.numpy().tobytes()).hexdigest()
    changed = x.clone()
    changed[-1, 0, 27, 27] += 1
    assert Data(changed).sha256() != Data(x).sha256()
    assert Data(x, mnist[2].y).sha256() != Data(x).sha256()
    assert Data(x[::2]).sha256() == Data(x[::2].clone()).sha256()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": [1, 2]}, TypeError, "but it is a list"),
        ({"x": torch.tensor(1.0)}, TypeError, r"float32 tensor of shape \[\]"),
        ({"x": torch.zeros(3), "y": torch.zeros(2)}, ValueError, "3 rows and y has 2"),
        ({"x": torch.zeros(3), "binarize": "stochastic"}, TypeError, "Only uint8"),
        ({"x": torch.zeros(3, dtype=torch.uint8), "binarize": "static"}, ValueError, "use load"),
    ],
)
def test_bad_data(arguments, error, message):
    with pytest.raises(error, match=message):
        Data(**arguments)


def test_batches_cost_little(mnist):
    """A loader with worker processes is not needed: an epoch of batches of 100 takes well under a second."""
    train = load("mnist", binarize="stochastic")[0]
    order = torch.randperm(len(train)).split(100)
    start = time.perf_counter()
    for index in order[:50]:
        train.batch(index)
    assert (time.perf_counter() - start) / 50 < 0.02, "some 0.2 ms on an idle core"
