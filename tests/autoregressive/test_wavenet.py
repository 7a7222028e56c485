"""WaveNet: its receptive field by gradient, its numbers against a loop by hand, its rings at every kernel."""

import itertools
import time

import pytest
import torch

from lvmlib.autoregressive import WaveNet


def small(event_shape=(40,), seed=0, **options) -> WaveNet:
    torch.manual_seed(seed)
    model = WaveNet(event_shape, channels=5, **options).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


def reach(model: WaveNet, t: int) -> list[int]:
    """How many positions back those lie that the t-th conditional has a gradient by, in the order of drawing."""
    x = torch.randint(model.levels, (16, *model.event_shape)).double().requires_grad_()
    model.predict(x).flatten(2)[:, :, model.order[t]].sum().backward()
    seen = x.grad.flatten(1).abs().sum(0)[model.order].nonzero()[:, 0]
    return sorted((t - seen).tolist())


@pytest.mark.parametrize(
    ("layers", "stacks", "kernel", "field"), [(1, 1, 2, 2), (4, 1, 2, 16), (3, 2, 2, 15), (3, 1, 3, 15), (2, 2, 4, 19)]
)
def test_the_receptive_field_is_seen_by_gradient_and_nothing_beyond(layers, stacks, kernel, field):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    for options in ({}, {"order": order, "levels": 5}, {"positions": True}):
        model = small(layers=layers, stacks=stacks, kernel=kernel, **options)
        assert model.receptive_field == field
        assert reach(model, 39) == list(range(1, field + 1))
        assert reach(model, 6) == list(range(1, min(6, field) + 1))


def by_hand(model: WaveNet, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """The equations of a gated layer, position by position and tap by tap, for a sequence [D] in its own order."""
    h = [torch.zeros_like(model.skip_bias), *model.embed(x)[:-1]]
    total = [model.skip_bias] * len(x)
    for layer in model.layers:
        shift = layer.context_map(context)
        new = []
        for t in range(len(x)):
            f, g = layer.filter.bias + shift[: len(h[0])], layer.gate.bias + shift[len(h[0]) :]
            for j in range(layer.kernel):
                back = t - j * layer.dilation
                if back >= 0:
                    f = f + layer.filter.weight[:, :, 0, layer.kernel - 1 - j] @ h[back]
                    g = g + layer.gate.weight[:, :, 0, layer.kernel - 1 - j] @ h[back]
            z = torch.tanh(f) / (1 + torch.exp(-g))
            new.append(h[t] if layer.residual is None else h[t] + layer.residual.weight[:, :, 0, 0] @ z)
            total[t] = total[t] + layer.skip.weight[:, :, 0, 0] @ z
        h = new
    return torch.stack([model.head(s) for s in total], 1)  # [P, D]


def test_one_pass_equals_the_equations_written_out():
    model = small((13,), layers=3, stacks=2, kernel=3, levels=4, context=2)
    x, context = torch.randint(4, (2, 13)).double(), torch.randn(2, 2).double()
    outputs = model.predict(x, context)
    for row in range(2):
        torch.testing.assert_close(outputs[row], by_hand(model, x[row], context[row]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("kernel", "positions", "levels"), list(itertools.product([2, 3, 4], [False, True], [2, 6])))
def test_rings_at_every_kernel(kernel, positions, levels):
    """Sequences several times as long as the longest ring, so that every slot is written over and over."""
    order = torch.randperm(36, generator=torch.Generator().manual_seed(2))
    options = {"layers": 2, "stacks": 2, "kernel": kernel, "positions": positions, "levels": levels, "context": 3}
    model, context = small((1, 6, 6), order=order, **options), torch.randn(4, 3).double()
    draws = []
    for cache in (True, False):
        torch.manual_seed(3)
        draws.append(model.sample(4, context, cache=cache))
    assert torch.equal(*draws)
    outputs = model.predict(draws[0], context).flatten(2)
    step, x = model.steps(4, context), draws[0].flatten(1)
    with torch.no_grad():
        for t, position in enumerate(order.tolist()):
            torch.testing.assert_close(step(t, x), outputs[:, :, position], rtol=1e-10, atol=1e-10)


def test_without_positions_the_network_is_the_same_everywhere():
    """A pattern moved by three moves its parameters by three; a position input ends that."""
    x = torch.zeros(1, 40).double()
    x[0, 20:24] = torch.tensor([1.0, 0.0, 1.0, 1.0])
    for positions in (False, True):
        model = small(layers=3, positions=positions)
        moved = model.predict(x.roll(3, 1))[0, 0, 23:35] - model.predict(x)[0, 0, 20:32]
        assert (moved.abs().max() < 1e-12) == (not positions)


def test_bad_sizes_are_stopped():
    for bad in ({"channels": 0}, {"layers": 0}, {"stacks": 0}, {"kernel": 1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            WaveNet((9,), **bad)


@pytest.mark.slow
def test_the_cost_of_a_draw_does_not_depend_on_its_position():
    model, x = WaveNet((1600,)), torch.zeros(4, 1600)
    early, late = [], []
    with torch.no_grad():
        for _ in range(5):
            step = model.steps(4)
            for t in range(1600):
                start = time.process_time()
                step(t, x)
                if t // 400 in (0, 3):
                    (early if t < 400 else late).append(time.process_time() - start)
    early, late = torch.tensor(early).median(), torch.tensor(late).median()
    assert late < 1.25 * early
