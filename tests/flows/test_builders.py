"""Whole flows as their papers have them: densities that integrate to 1, draws that follow them, exact bookkeeping."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from lvmlib.chain import Flow
from lvmlib.distributions import StandardNormal
from lvmlib.flows import (
    Affine,
    AffineCoupling,
    Elementwise,
    InverseAutoregressive,
    MaskedAutoregressive,
    MixtureCDF,
    Spline,
    ffjord,
    flowpp,
    glow,
    iaf,
    maf,
    nice,
    nsf,
    realnvp,
)
from tests.flows.flow_cases import perturbed

SMALL = {"hidden": (8,)}
VECTORS = {  # each takes (event_shape, context)
    "nice": lambda d, c=None: nice((d,), 3, (8,), context=c),
    "realnvp": lambda d, c=None: realnvp((d,), 4, (8,), context=c),
    "flowpp": lambda d, c=None: flowpp((d,), 2, 3, (8,), context=c),
    "nsf": lambda d, c=None: nsf((d,), 2, (8,), 4, context=c),
    "nsf, autoregressive": lambda d, c=None: nsf((d,), 2, (8,), 4, autoregressive=True, context=c),
    "maf": lambda d, c=None: maf((d,), 3, (8,), context=c),
    "iaf": lambda d, c=None: iaf((d,), 3, (8,), context=c),
    "ffjord": lambda d, c=None: ffjord((d,), 1, (8,), "exact", tolerance=1e-7, context=c),
}
ONE = ["nsf, autoregressive", "maf", "iaf", "ffjord"]
PICTURES = {
    "nice": lambda c=None: nice((2, 4, 4), 2, (4,), context=c),
    "realnvp": lambda c=None: realnvp((1, 4, 4), scales=2, channels=4, context=c),
    "glow": lambda c=None: glow((1, 8, 8), scales=2, steps=2, channels=4, context=c),
    "flowpp": lambda c=None: flowpp((1, 4, 4), layers=2, components=2, channels=4, context=c),
    "maf": lambda c=None: maf((2, 3, 2), 2, (8,), context=c),
    "iaf": lambda c=None: iaf((2, 3, 2), 2, (8,), context=c),
    "ffjord": lambda c=None: ffjord((1, 2, 2), 1, (8,), "exact", tolerance=1e-8, context=c),
}
ALL = [(name, kind) for kind in (VECTORS, PICTURES) for name in kind]


def built(name, kind=None, dims=3, context=None, seed=0):
    torch.manual_seed(seed)
    flow = kind[name](context) if kind is PICTURES else VECTORS[name](dims, context)
    return perturbed(flow, 0.1 if kind is PICTURES else 0.2).double()


@pytest.mark.parametrize(("name", "kind"), ALL)
@pytest.mark.parametrize("context", [None, 2])
def test_log_prob_is_base_plus_slogdet_and_decoding_leads_back(name, kind, context):
    flow = built(name, kind, context=context)
    x, c = torch.randn(2, *flow.event_shape).double(), None if context is None else torch.randn(2, 2).double()
    trace = flow.trace(x, c)
    z = trace.z[0].detach()
    torch.testing.assert_close(flow.decode(z, c), x, rtol=1e-6, atol=1e-7)
    log_prob = flow.log_prob(x, c)
    for i in range(2):
        row = None if c is None else c[i : i + 1]
        matrix = torch.autograd.functional.jacobian(
            lambda v, row=row: flow.trace(v.view(1, *flow.event_shape), row).z.flatten(), x[i].flatten()
        )
        exact = StandardNormal(z.shape[1:]).double().log_prob(z[i : i + 1]) + torch.linalg.slogdet(matrix)[1]
        assert log_prob[i].item() == pytest.approx(exact.item(), rel=1e-8 if name != "ffjord" else 1e-6)
    if context is not None:
        assert not torch.allclose(log_prob, flow.log_prob(x, c.roll(1, 0)))


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_training_and_drawing_with_gradient_reach_every_parameter(name, kind):
    flow = built(name, kind)
    first = [p for key, p in flow.named_parameters()]
    (-flow.log_prob(torch.randn(4, *flow.event_shape).double()).mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in first)
    flow.zero_grad()
    x, log_prob = flow.rsample_with_log_prob(3)
    torch.testing.assert_close(log_prob, flow.log_prob(x), rtol=1e-6, atol=1e-6)
    (x.square().sum() + log_prob.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in first)


@pytest.mark.parametrize(("name", "kind"), ALL)
def test_copies_pickles_and_single_precision(name, kind):
    flow = built(name, kind)
    x = torch.randn(3, *flow.event_shape).double()
    expected = flow.log_prob(x)
    for other in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        torch.testing.assert_close(other.log_prob(x), expected, rtol=0, atol=0)
    single = flow.float()
    torch.testing.assert_close(single.log_prob(x.float()).double(), expected, rtol=1e-4, atol=1e-4)
    far = single.log_prob(torch.full_like(x.float(), 1e4))
    assert far.isfinite().all() and (far < -1e4).all()
    assert single.sample(2).shape == (2, *flow.event_shape)


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("context", [None, 2])
def test_a_density_in_one_dimension_integrates_to_one(name, context):
    flow, grid = built(name, dims=1, context=context), torch.linspace(-30, 30, 6001).double()[:, None]
    c = None if context is None else torch.randn(1, 2).double().expand(len(grid), 2)
    with torch.no_grad():
        assert torch.trapezoid(flow.log_prob(grid, c).exp(), dx=0.01).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("context", [None, 2])
def test_a_density_in_two_dimensions_integrates_to_one(name, context):
    reach, points = (30, 401) if name == "flowpp" else (10, 201)  # a mixture of logistics has long tails
    flow, side = built(name, dims=2, context=context), torch.linspace(-reach, reach, points).double()
    grid = torch.cartesian_prod(side, side)
    c = None if context is None else torch.randn(1, 2).double().expand(len(grid), 2)
    with torch.no_grad():
        total = flow.log_prob(grid, c).exp().sum().item() * (side[1] - side[0]).item() ** 2
    assert total == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("context", [None, 2])
def test_draws_follow_the_density(name, context):
    flow, n = built(name, dims=2, context=context, seed=3), 3000
    c = None if context is None else torch.randn(1, 2).double().expand(n, 2)
    torch.manual_seed(5)
    x = flow.sample(n, c)
    side = torch.linspace(-12, 12, 301).double()
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        mass = flow.log_prob(grid, None if c is None else c[:1].expand(len(grid), 2)).exp().view(301, 301)
    for axis in (0, 1):  # each marginal by quadrature against the draws
        marginal = mass.sum(1 - axis)
        below = (marginal.cumsum(0) - marginal / 2) / marginal.sum()
        uniform = np.interp(x[:, axis].numpy(), side.numpy(), below.numpy())
        assert stats.kstest(uniform, "uniform").pvalue > 1e-3


def test_a_mixture_cdf_gives_the_mixture_itself_and_its_draws():
    torch.manual_seed(0)
    for kind in ("gaussian", "logistic"):
        layer = perturbed(MixtureCDF((1,), 3, kind), 0.5).double()
        x = torch.linspace(-60, 60, 12_001).double()[:, None]
        assert torch.trapezoid(layer(x)[1].exp(), dx=0.01).item() == pytest.approx(1, abs=1e-6)
        flow = Flow([layer, Elementwise("logit"), Affine((1,))], StandardNormal((1,))).double()
        assert torch.trapezoid(flow.log_prob(x[5200:6801]).exp(), dx=0.01).item() == pytest.approx(1, abs=1e-4)
        points, cdf = x[:, 0].numpy(), layer(x)[0][:, 0].detach().numpy()
        draws = layer.inverse(torch.rand(4000, 1).double())[0].detach()
        assert stats.kstest(np.interp(draws[:, 0].numpy(), points, cdf), "uniform").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["realnvp", "maf", "ffjord"])
def test_compiled_by_inductor_it_gives_the_same_numbers(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    flow = built(name)
    x = torch.randn(4, 3).double()
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(flow)(x), flow.log_prob(x), rtol=1e-10, atol=1e-10)


def test_glow_starts_from_data():
    flow = glow((1, 8, 8), scales=2, steps=2, channels=4)
    x = 5 + 3 * torch.randn(64, 1, 8, 8)
    before = flow.log_prob(x).mean()
    flow.start_from(x)
    assert flow.log_prob(x).mean() > before + 100
    step = flow.trace(x).steps[1]  # the first ActNorm
    assert step.z[0].mean((0, 2, 3)).abs().max() < 1e-4
    assert (step.z[0].std((0, 2, 3), correction=0) - 1).abs().max() < 1e-4
    inner = flow.layers[-1].rest.transforms[1]  # behind the split
    assert inner.log_scale.abs().sum() > 0
    with pytest.raises(ValueError, match=r"ActNorm starts from a batch in which each channel varies"):
        flow.start_from(torch.zeros(4, 1, 8, 8))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: glow((4,)), r"glow takes pictures, of event shape \(C, H, W\)"),
        (lambda: nsf((1, 4, 4)), r"nsf takes vectors"),
        (lambda: realnvp((1,)), r"The mask of AffineCoupling must pass some entries"),
        (lambda: realnvp((1, 6, 6), scales=3), "must be even"),
        (lambda: glow((1, 8, 8), scales=0), "scales counts scales"),
        (lambda: AffineCoupling((4,), mask="quarter"), "mask must be one of half"),
        (lambda: AffineCoupling((4,), mask=torch.ones(3)), r"must have shape \(4,\)"),
        (lambda: AffineCoupling((4,), bound=0.0), "must be positive"),
        (lambda: Elementwise("silu"), "'silu' has no inverse"),
        (lambda: Elementwise("wave"), "must be one of sigmoid"),
        (lambda: Elementwise("leaky_relu", slope=-1.0), "slope .* must be positive"),
        (lambda: Affine((4,), "sparse"), "kind must be"),
        (lambda: Spline(bins=1), "bins .* 2 or more"),
        (lambda: MaskedAutoregressive((4,), way_back="sideways"), "way_back must be"),
        (lambda: MixtureCDF((1,), 0), "components .* 1 or more"),
        (lambda: ffjord((2,), trace="none"), "trace must be"),
        (lambda: ffjord((2,), method="euler"), "method must be"),
    ],
)
def test_what_cannot_be_built_says_why(build, words):
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize("element", [None, Spline(4, 3.0)])
def test_both_ways_back_of_an_autoregressive_layer_agree(element):
    torch.manual_seed(0)
    layer = perturbed(MaskedAutoregressive((20,), (32, 32), element)).double()
    z = torch.randn(7, 20).double()
    results = []
    for layer.way_back in ("steps", "parallel"):
        with torch.no_grad():
            results.append(layer.inverse(z))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)
    layer.way_back = "parallel"
    assert layer.inverse(z)[0].requires_grad  # under a gradient it goes in steps


def test_the_parallel_way_back_stops_as_soon_as_nothing_changes():
    layer, rounds = MaskedAutoregressive((30,), (8,), way_back="parallel"), []
    with torch.no_grad():
        layer.net.output.weight.zero_()
        layer.net.register_forward_hook(lambda *_: rounds.append(1))
        layer.inverse(torch.randn(5, 30))
    assert len(rounds) == 2  # one to find the answer and one to see that it stays
    perturbed(layer, 0.5)
    rounds.clear()
    with torch.no_grad():
        layer.inverse(torch.randn(5, 30))
    assert 2 < len(rounds) <= 30


def test_steps_follow_where_rounds_do_not_settle():
    """An entry that shifts the next one, and so on to the last, takes all D rounds; the rule gives up long before."""
    torch.manual_seed(0)
    layer, rounds = MaskedAutoregressive((40,), ()).double(), []
    with torch.no_grad():
        layer.net.output.weight.zero_()
        layer.net.output.weight[:40] = torch.eye(40).roll(1, 0)  # the shift of entry t is entry t - 1
    handle = layer.net.register_forward_hook(lambda *_: rounds.append(1))
    z = torch.ones(2, 40).double()
    with torch.no_grad():
        x, log_det = layer.inverse(z)
        assert len(rounds) == 10
        handle.remove()
        torch.testing.assert_close(x, torch.arange(1, 41).double().expand(2, 40))
        layer.way_back = "parallel"
        torch.testing.assert_close(layer.inverse(z), (x, log_det))


def test_an_inverse_autoregressive_layer_draws_in_one_pass():
    layer, calls = InverseAutoregressive((30,), (8,)), []
    layer.transform.net.register_forward_hook(lambda *_: calls.append(1))
    Flow([layer], StandardNormal((30,))).rsample_with_log_prob(5)
    assert len(calls) == 1
    assert isinstance(layer.transform.net.activation, nn.ReLU)
