import numpy as np
import pytest
import torch
from torch import nn

from lvmlib.networks import MaskedLinear, MaskedMLP, masked, masked_linear


def paths(net):
    """Whether any path leads from input s to outputs of t: products of the masks, as matrices of numbers of paths."""
    reach = np.eye(net.dims)
    for layer in net.layers:
        mask = layer.mask.numpy()
        step = mask @ reach
        reach = step + (reach if net.residual and layer is not net.layers[0] else 0)
    return (net.output.mask.numpy() @ reach) > 0  # [D, D]


@pytest.mark.parametrize("degrees", ["even", "random"])
@pytest.mark.parametrize("hidden", [(), (30,), (30, 25), (20, 20, 20)])
def test_masked_paths_lead_to_later_positions_and_to_all_of_them(hidden, degrees):
    for seed in range(3):
        order = torch.randperm(7)
        for residual in {False, len(set(hidden)) == 1}:
            net = MaskedMLP(7, hidden, 2, order=order, degrees=degrees, seed=seed, masks=3, residual=residual)
            for mask_set in range(3):
                net.use(mask_set)
                assert torch.equal(net.order, order)
                reach = paths(net)[order][:, order]
                if degrees == "even":  # with random degrees a path may be missing
                    assert (reach == np.tri(7, k=-1)).all()
                assert not np.triu(reach).any() and reach.any()


def test_mask_sets_differ_in_order_and_connectivity():
    for degrees in ("even", "random"):
        net = MaskedMLP(9, (20, 20), 1, masks=4, degrees=degrees)
        masks, orders = [], []
        for mask_set in range(4):
            net.use(mask_set)
            masks.append(net.layers[1].mask)
            orders.append(tuple(net.order.tolist()))
            reach = paths(net)[net.order][:, net.order]
            assert not np.triu(reach).any()
        assert len(set(orders)) == 4
        assert orders[0] == tuple(range(9))
        assert not any(torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])
    with pytest.raises(ValueError, match="mask sets are 0 to 3"):
        net.use(4)


def test_masked_weights_that_are_changed_make_no_connection():
    net = MaskedMLP(5, (8,), 1)
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1.0)
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x[None])[0, 0], torch.rand(5))
    assert ((jacobian != 0).numpy() == np.tri(5, k=-1)).all()


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("context", [None, 2])
@pytest.mark.parametrize(
    ("hidden", "degrees"), [((), "even"), ((3,), "even"), ((40, 40), "even"), ((9, 9, 9), "random")]
)
def test_masked_steps_are_the_one_pass(hidden, degrees, context, residual):
    for mask_set in range(2):
        net = MaskedMLP(6, hidden, 3, context, degrees=degrees, masks=2, activation=nn.Tanh, residual=residual).double()
        net.use(mask_set)
        x = torch.randn(4, 6).double()
        c = None if context is None else torch.randn(4, context).double()
        with torch.no_grad():
            expected, step = net(x, c), net.steps(4, c)
            for t, position in enumerate(net.order):
                got = step(t, x[:, net.order[t - 1]] if t else None)
                torch.testing.assert_close(got, expected[:, :, position], rtol=1e-12, atol=1e-12)


def test_masked_context_reaches_the_first_position_and_none_is_zeros():
    net = MaskedMLP(5, (20, 20), 2, context=3, order=[4, 2, 0, 1, 3], activation=nn.Tanh).double()
    x = torch.randn(1, 5).double()
    jacobian = torch.autograd.functional.jacobian(lambda c: net(x, c)[0], torch.randn(1, 3).double())  # [2, 5, 1, 3]
    assert (jacobian != 0).all()
    assert torch.equal(net(x), net(x, torch.zeros(1, 3).double()))
    for hidden in ((), (4,)):
        with pytest.raises(ValueError, match="without a context"):
            MaskedMLP(5, hidden, 2)(torch.zeros(1, 5), torch.zeros(1, 3))


def test_masks_travel_with_the_weights():
    net = MaskedMLP(6, (12, 12), 2, degrees="random", masks=3, seed=1)
    net.use(2)
    other = MaskedMLP(6, (12, 12), 2, degrees="random", masks=3, seed=2)
    x = torch.randn(3, 6)
    assert not torch.equal(other.degrees, net.degrees)
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x)) and torch.equal(other.order, net.order)
    assert not any("mask" in key.split(".")[-1] and "set" not in key for key in net.state_dict())


@pytest.mark.parametrize("kind", ["even", "random"])
def test_masks_are_drawn_on_the_cpu_whatever_the_default_device_is(kind):
    expected = masked._degrees(9, (8, 5), 1, kind, False, torch.Generator("cpu").manual_seed(3), shuffled=True)
    with torch.device("meta"):
        drawn = masked._degrees(9, (8, 5), 1, kind, False, torch.Generator("cpu").manual_seed(3), shuffled=True)
    assert torch.equal(drawn, expected)


def test_masked_networks_refuse_what_makes_no_sense():
    for arguments, message in [
        ({"dims": 0}, "dims must be"),
        ({"hidden": (4, 0)}, r"hidden\[1\] must be"),
        ({"outputs": 0}, "outputs must be"),
        ({"masks": 0}, "masks must be"),
        ({"degrees": "odd"}, "even"),
        ({"order": [0, 0, 1]}, "order must name"),
        ({"hidden": (4, 5), "residual": True}, "one width"),
    ]:
        with pytest.raises(ValueError, match=message):
            MaskedMLP(**{"dims": 3, "hidden": (4,), "outputs": 1, **arguments})
    with pytest.raises(ValueError, match="mask must have"):
        MaskedLinear(3, torch.ones(3, 2))
    assert MaskedMLP(1, (4,), 2)(torch.randn(3, 1)).shape == (3, 2, 1)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("hidden", [(), (3,), (20, 20)])
def test_masked_steps_have_the_gradient_of_the_one_pass(hidden, direct):
    """Inputs that were given to a step and weights alike; writing into a cache would break the graph."""
    net = MaskedMLP(6, hidden, 2, 2, activation=nn.Tanh, direct=direct).double()
    x, c = torch.randn(4, 6).double().requires_grad_(), torch.randn(4, 2).double()
    weigh = torch.randn(4, 2, 6).double()
    by_pass = torch.autograd.grad((net(x, c) * weigh).sum(), [x, *net.parameters()])
    step = net.steps(4, c)
    outputs = [step(t, x[:, net.order[t - 1]] if t else None) for t in range(6)]
    by_steps = torch.autograd.grad((torch.stack(outputs, 2) * weigh[:, :, net.order]).sum(), [x, *net.parameters()])
    for a, b in zip(by_steps, by_pass):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("known", [1, 3, 5])
def test_masked_steps_read_a_prefix_in_one_piece(known, residual):
    net = MaskedMLP(6, (9, 9), 2, degrees="random", activation=nn.Tanh, residual=residual, direct=True).double()
    x = torch.randn(4, 6).double()
    with torch.no_grad():
        expected, step, given = net(x), net.steps(4), x[:, net.order]
        for t in range(known, 6):
            got = step(t, given[:, :known] if t == known else given[:, t - 1])
            torch.testing.assert_close(got, expected[:, :, net.order[t]], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_large_masked_map_in_pieces_is_the_whole_one(blocks, backwards):
    mask = torch.ones(210, 190).tril(-1)
    mask = mask.flip(1) if backwards else mask
    layer = MaskedLinear(190, mask, blocks).double()
    assert len(layer.pieces) == 0 if blocks * mask.numel() < masked_linear.LARGE else len(layer.pieces) > 1
    layer.pieces = masked_linear.pieces_of(mask)
    x = torch.randn(2, 5, 190, dtype=torch.float64, requires_grad=True)
    whole = x @ (mask.repeat(blocks, 1) * layer.weight).t() + layer.bias
    sides = [x, layer.weight, layer.bias]
    cotangent = torch.randn_like(whole)
    wanted, found = (torch.autograd.grad(y, sides, cotangent) for y in (whole, layer(x)))
    torch.testing.assert_close(layer(x), whole)
    torch.testing.assert_close(found, wanted)


def test_pieces_follow_the_mask_set_and_are_spared_where_units_are_in_no_order():
    net = MaskedMLP(400, (300,), 1, order=range(400), masks=2)
    first = net.layers[0].pieces
    assert first[0] == (75, 0, 99) and first[-1] == (75, 0, 398)
    net.use(1)  # the same order, but units at random places
    assert net.layers[0].pieces == []
    net.use(0)
    assert net.layers[0].pieces == first
