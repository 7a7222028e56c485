"""Chains of flows: log-determinants, draws, shapes, temperatures and data-dependent starts."""

import weakref

import pytest
import torch
from torch import nn
from torch.distributions import constraints

from lvmlib.autoregressive import MADE
from lvmlib.base import Transform
from lvmlib.chain import Chain, Flow, Inverse
from lvmlib.distributions import StandardNormal
from lvmlib.flows import Squeeze
from lvmlib.latent import LinearGaussian
from lvmlib.networks import MLP
from tests.layers import AffineCoupling, Continuous, Linear, MaskedAutoregressive, Split
from tests.precision import double_precision  # noqa: F401


def perturbed(module):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return module


def coupling(dims: int, turn: int = 0):
    return AffineCoupling(((torch.arange(dims) + turn) % 2).double(), MLP(dims, (8,), 2 * dims, nn.Tanh))


def multi_scale(shape, levels: int) -> Chain:
    c, h, w = shape
    board = ((torch.arange(h)[:, None] + torch.arange(w)) % 2).expand(shape).double()
    small = (4 * c, h // 2, w // 2)
    channels = torch.zeros(small)
    channels[: 2 * c] = 1
    layers = [
        AffineCoupling(board, nn.Conv2d(c, 2 * c, 3, padding=1)),
        Squeeze(shape),
        AffineCoupling(channels, nn.Conv2d(4 * c, 8 * c, 3, padding=1)),
    ]
    if levels > 1:
        layers.append(Split(small, multi_scale((2 * c, h // 2, w // 2), levels - 1)))
    return Chain(layers)


FLOWS = {
    "coupling": lambda: (Flow([coupling(5), coupling(5, 1)], StandardNormal((5,))), None),
    "masked autoregressive": lambda: (Flow([MaskedAutoregressive(5)], StandardNormal((5,))), None),
    "inverse autoregressive": lambda: (Flow([Inverse(MaskedAutoregressive(5))], StandardNormal((5,))), None),
    "given a context": lambda: (Flow([MaskedAutoregressive(5, context=2)], StandardNormal((5,))), torch.randn(3, 2)),
    "a chain and a flow as base": lambda: (
        Flow([Chain([coupling(5), coupling(5, 1)])], Flow([MaskedAutoregressive(5)], StandardNormal((5,)))),
        None,
    ),
    "continuous": lambda: (
        Flow([Continuous(3, MLP(4, (8,), 3, nn.Tanh), tolerance=1e-12)], StandardNormal((3,))),
        None,
    ),
    "multi-scale": lambda: (Flow([multi_scale((1, 8, 8), 3)], StandardNormal((64,))), None),
}


@pytest.mark.parametrize("name", FLOWS)
def test_log_determinant_is_that_of_autograds_jacobian_and_the_inverse_leads_back(name):
    flow, context = FLOWS[name]()
    perturbed(flow)
    x = torch.randn(3, *flow.event_shape)
    trace = flow.trace(x, context)
    log_det = sum(step.log_det[0] for step in trace.steps)
    for i in range(3):
        row = None if context is None else context[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda v, row=row: flow.trace(v.view(1, *flow.event_shape), row).z.flatten(), x[i].flatten()
        )
        assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(log_det[i].item(), abs=1e-10)
    torch.testing.assert_close(flow.decode(trace.z[0], context), x, atol=1e-10, rtol=1e-10)
    exact = StandardNormal(trace.z.shape[2:]).log_prob(trace.z[0]) + log_det
    torch.testing.assert_close(flow.log_prob(x, context), exact)
    torch.testing.assert_close(flow(x, context), exact)  # a density can be called like any module


@pytest.mark.parametrize("name", [name for name in FLOWS if name != "multi-scale"])
def test_draws_with_gradient_agree_with_log_prob_and_every_parameter_has_one(name):
    flow, context = FLOWS[name]()
    perturbed(flow)
    assert flow.has_rsample
    x, log_prob = flow.rsample_with_log_prob(3, context)
    torch.testing.assert_close(log_prob, flow.log_prob(x, context))
    x.square().sum().backward()
    assert all(p.grad is not None for p in flow.parameters())


def test_draws_through_cached_steps_have_the_gradient_of_steps_without_cache():
    flow = perturbed(Flow([MaskedAutoregressive(4)], StandardNormal((4,))))
    layer = flow.transforms[0]
    z = torch.randn(3, 4)
    cached = torch.autograd.grad(layer.inverse(z)[0].square().sum(), list(layer.parameters()))
    x = torch.zeros(3, 0)
    for t in range(4):  # everything anew for each entry
        shift, raw = layer.net(torch.cat([x, torch.zeros(3, 4 - t)], 1)).unbind(1)
        x = torch.cat([x, (z * (2 * torch.tanh(raw / 2)).exp() + shift)[:, t : t + 1]], 1)
    for a, b in zip(cached, torch.autograd.grad(x.square().sum(), list(layer.parameters()))):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("ask", [lambda flow, x: flow.log_prob(x), lambda flow, x: flow.log_weights(x, 2)])
@pytest.mark.parametrize("stochastic", [False, True])
def test_evaluation_keeps_no_step_of_the_way(ask, stochastic):
    """However deep a chain is: what a layer was given is gone when the one after the next begins."""
    given, alive = [], []

    class Watched(Transform):
        def forward(self, x, context=None):
            alive.append(sum(reference() is not None for reference in given))
            given.append(weakref.ref(x))
            return x + 1, torch.zeros(len(x))

    layers = [Watched() for _ in range(6)]
    if stochastic:
        layers.insert(3, LinearGaussian(torch.randn(4, 4), torch.randn(4), 1.0))
    with torch.no_grad():
        ask(Flow(layers, StandardNormal((4,))), torch.randn(3, 4))
    assert len(alive) == 6 and max(alive) <= 2


def test_shapes_are_checked_when_a_chain_is_built():
    with pytest.raises(ValueError, match=r"Layer 0, Squeeze, gives \[4, 4, 4\], but what follows takes \[64\]"):
        Flow([Squeeze((1, 8, 8))], StandardNormal((64,)))
    with pytest.raises(ValueError, match=r"Layer 0, Split, gives \[64\], but what follows takes \[32\]"):
        Chain([Split((4, 4, 4), coupling(2)), coupling(32)])
    with pytest.raises(ValueError, match=r"Layer 0, Inverse, gives \[1, 8, 8\], but what follows takes \[4, 4, 4\]"):
        Flow([Inverse(Squeeze((1, 8, 8)))], StandardNormal((4, 4, 4)))
    with pytest.raises(ValueError, match=r"Layer 0, LinearGaussian, gives \[2\], but what follows takes \[3\]"):
        Flow([LinearGaussian(torch.randn(4, 2), torch.randn(4), 1.0)], StandardNormal((3,)))
    assert Flow([Squeeze((1, 8, 8))], StandardNormal((4, 4, 4))).event_shape == (1, 8, 8)
    assert Chain([Squeeze((1, 8, 8)), Inverse(Squeeze((1, 8, 8)))]).latent_shape == (1, 8, 8)


def test_chain_and_inverse_take_bijections():
    layer = LinearGaussian(torch.randn(4, 2), torch.randn(4), 1.0)
    for build in (lambda: Chain([layer]), lambda: Inverse(layer)):
        with pytest.raises(TypeError, match="LinearGaussian draws"):
            build()
    with pytest.raises(TypeError, match="Transforms, but it was given a Linear"):
        Chain([nn.Linear(2, 2)])


def test_support_passes_through_layers_that_only_move_values():
    bits = MADE((4, 2, 2), hidden=(8,)).double()
    flow = Flow([Squeeze((1, 4, 4))], bits)
    assert flow.support is constraints.boolean
    x = (torch.rand(3, 1, 4, 4) < 0.5).double()
    torch.testing.assert_close(flow.log_prob(x), bits.log_prob(Squeeze((1, 4, 4))(x)[0]))
    with pytest.raises(ValueError, match="Boolean"):
        flow.log_prob(torch.full((1, 1, 4, 4), 0.5))
    assert Flow([Chain([Squeeze((1, 4, 4)), Inverse(Squeeze((1, 4, 4)))]), coupling_picture()], noise()).support is (
        constraints.real
    )


def coupling_picture():
    board = ((torch.arange(4)[:, None] + torch.arange(4)) % 2)[None].double()
    return AffineCoupling(board, nn.Conv2d(1, 2, 3, padding=1))


def noise():
    return StandardNormal((1, 4, 4))


def test_temperature_multiplies_the_noise_of_the_base():
    matrix = torch.randn(2, 2) + 2 * torch.eye(2)
    flow = Flow([Linear(matrix, torch.randn(2))], StandardNormal((2,)))
    torch.manual_seed(1)
    warm = flow.trace(flow.sample(500)).z[0]
    torch.manual_seed(1)
    cold = flow.trace(flow.sample(500, temperature=0.3)).z[0]
    torch.testing.assert_close(cold, 0.3 * warm)
    with pytest.raises(ValueError, match="temperature must be positive"):
        flow.sample(3, temperature=0.0)


def test_start_from_walks_the_chain_with_the_data():
    class Centre(Transform):
        """The simplest layer with a data-dependent start."""

        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(2))

        def forward(self, x, context=None):
            return x - self.shift, torch.zeros(len(x))

        def inverse(self, z, context=None):
            return z + self.shift, torch.zeros(len(z))

        def start_from(self, x, context=None):
            self.shift.copy_(x.mean(0))

    linear = Linear(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([5.0, 7.0]))
    first, second, third = Centre(), Centre(), Centre()
    flow = Flow([first, linear, Chain([second])], Flow([third], StandardNormal((2,))))
    x = torch.randn(50, 2) + 3
    flow.start_from(x)
    torch.testing.assert_close(first.shift.data, x.mean(0))
    torch.testing.assert_close(second.shift.data, torch.tensor([5.0, 7.0]))
    torch.testing.assert_close(third.shift.data, torch.zeros(2), atol=1e-12, rtol=0)
    torch.testing.assert_close(flow.trace(x).z[0].mean(0), torch.zeros(2), atol=1e-12, rtol=0)


def test_hutchinsons_estimate_of_the_trace_averages_to_the_exact_one():
    layer = perturbed(Continuous(3, MLP(4, (8,), 3, nn.Tanh), tolerance=1e-6))
    x = torch.randn(2, 3)
    exact = layer(x)[1]
    probes = torch.randint(2, (2 * 500, 3)) * 2.0 - 1
    each = layer.run(x.repeat(500, 1), 0.0, 1.0, probes)[1].view(500, 2)
    assert ((each.mean(0) - exact).abs() < 5 * each.std(0) / 500**0.5).all() and each.std() > 0


def test_a_continuous_flow_in_one_dimension_integrates_to_one():
    flow = perturbed(Flow([Continuous(1, MLP(2, (8,), 1, nn.Tanh), tolerance=1e-6)], StandardNormal((1,))))
    x = torch.linspace(-9, 9, 2001)[:, None]
    assert torch.trapezoid(flow.log_prob(x).exp(), x[:, 0]).item() == pytest.approx(1, abs=1e-4)
