"""Checks at the door: by the outermost call alone, exact, and out of the way of torch's transforms."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import constraints

from lvmlib import checks
from lvmlib.autoregressive import MADE
from lvmlib.bounds import elbo, iwae
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, MixtureOfGaussians, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.toys import TwoMoons
from tests.layers import AffineCoupling


def vae():
    torch.manual_seed(0)
    return VAE(
        ConditionalNormal((2,), MLP(6, (8,), 4)), ConditionalBernoulli((6,), MLP(2, (8,), 6)), StandardNormal((2,))
    )


def bits(n=4):
    return (torch.rand(n, 6) < 0.5).float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8, torch.int64, torch.bool])
def test_bits_are_told_from_everything_else(dtype):
    good = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    checks.check_support(good, constraints.boolean, "X")
    if dtype is torch.bool:
        return
    bad = [2, -1, 255] + ([0.5, 1e-30, math.nan, math.inf, -math.inf, 1 - 1e-7] if dtype.is_floating_point else [])
    for value in bad:
        if dtype is torch.uint8 and value < 0:
            continue
        x = good.clone()
        x[1, 1] = value
        with pytest.raises(ValueError, match="1 of 4 values are not"):
            checks.check_support(x, constraints.boolean, "X")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_real_values_are_finite(value):
    x = torch.zeros(3, 2)
    checks.check_support(x, constraints.real, "X")
    x[2, 1] = value
    with pytest.raises(ValueError, match="1 of 6 values are not"):
        checks.check_support(x, constraints.real, "X")


def test_whole_numbers_have_a_range():
    levels = constraints.integer_interval(0, 15)
    checks.check_support(torch.arange(16.0)[None], levels, "X")
    for value in (-1.0, 16.0, 2.5, math.nan):
        with pytest.raises(ValueError, match="1 of 2 values"):
            checks.check_support(torch.tensor([[3.0, value]]), levels, "X")


@pytest.mark.parametrize(
    ("density", "x"),
    [
        (StandardNormal((2,)), torch.tensor([[0.0, math.nan]])),
        (MixtureOfGaussians((2,), 2), torch.tensor([[0.0, math.inf]])),
        (TwoMoons(), torch.tensor([[0.0, math.nan]])),
        (Flow([], StandardNormal((2,))), torch.tensor([[0.0, math.nan]])),
    ],
)
def test_every_density_looks_at_its_support(density, x):
    with pytest.raises(ValueError, match="1 of 2 values are not"):
        density.log_prob(x)


def test_values_outside_the_support_of_coins_are_refused_by_the_density_itself():
    coins = ConditionalBernoulli((1,), nn.Linear(1, 1))
    with pytest.raises(ValueError, match="Boolean"):
        coins.log_prob(torch.tensor([[200.0]]), torch.zeros(1, 1))


def test_only_the_outermost_call_looks_at_values(monkeypatch):
    seen = []
    monkeypatch.setattr(checks, "check_support", lambda x, support, owner: seen.append(owner))
    model = Flow([], Flow([vae().pair], Flow([], StandardNormal((2,)))))
    for ask in (model.log_prob, model, lambda x: elbo(model, x), lambda x: iwae(model, x, 3), model.trace):
        seen.clear()
        value = ask(bits())
        getattr(value, "log_weights", None)
        assert seen == ["Flow"]
    seen.clear()
    model.base.end.log_prob(torch.zeros(1, 2))  # the same density, called from outside
    assert seen == ["StandardNormal"]


def test_after_an_error_inside_the_next_call_looks_again():
    model = vae()
    model.pair.decoder.network = nn.Linear(3, 6)
    with pytest.raises(ValueError, match="cannot read"):
        model.log_prob(bits())
    with pytest.raises(ValueError, match="Boolean"):
        vae().log_prob(torch.full((1, 6), 0.5))


def test_threads_do_not_share_what_is_inside():
    from concurrent.futures import ThreadPoolExecutor

    with checks.trusted(), ThreadPoolExecutor(1) as pool:
        assert not checks.looks_at_values(torch.zeros(1))
        assert pool.submit(checks.looks_at_values, torch.zeros(1)).result()


def exact_models():
    torch.manual_seed(0)
    mask = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    flow = Flow([AffineCoupling(mask, MLP(6, (8,), 12, nn.Tanh))], StandardNormal((6,)))
    return {"flow": (flow, torch.randn(4, 6)), "MADE": (MADE((6,), hidden=(8,)), bits())}


@pytest.mark.parametrize("name", ["flow", "MADE"])
def test_vmap_and_grad_pass_through(name):
    model, x = exact_models()[name]
    parameters = dict(model.named_parameters())
    buffers = dict(model.named_buffers())

    def nats(weights, row):
        return torch.func.functional_call(model, (weights, buffers), (row[None],))[0]

    per_example = torch.func.vmap(torch.func.grad(nats), in_dims=(None, 0))(parameters, x)
    for i in range(len(x)):
        by_hand = torch.autograd.grad(model.log_prob(x[i : i + 1])[0], list(parameters.values()), allow_unused=True)
        for got, want in zip((g[i] for g in per_example.values()), by_hand):
            torch.testing.assert_close(got, torch.zeros_like(got) if want is None else want, rtol=1e-4, atol=1e-5)
    slope = torch.func.grad(lambda v: model.log_prob(v[None])[0])(x[0])
    leaf = x[:1].clone().requires_grad_()
    torch.testing.assert_close(slope, torch.autograd.grad(model.log_prob(leaf)[0], leaf)[0][0])


@pytest.mark.parametrize("ask", [lambda m, x: m(x), elbo, lambda m, x: iwae(m, x, 3)])
def test_a_vae_compiles_into_one_graph(ask):
    model, x = vae(), bits()
    ask(model, x)  # torch remembers which formula a KL has; looking it up is nothing that it can compile
    torch._dynamo.reset()
    compiled = torch.compile(lambda v: ask(model, v), fullgraph=True, backend="eager")
    torch.manual_seed(1)
    got = compiled(x)
    torch.manual_seed(1)
    torch.testing.assert_close(got, ask(model, x))


def test_single_numbers_are_events_too():
    checks.check_batch(torch.zeros(3), ())
    with pytest.raises(ValueError, match="empty batch"):
        checks.check_batch(torch.zeros(0), ())


def test_what_must_not_be_negative_may_be_small():
    for good in (0.0, 0.5, 0, np.float32(0.5)):
        assert checks.check_not_negative(good, "beta weighs the KL") == good
    several = torch.tensor([0.0, 0.5, 2.0])
    assert checks.check_not_negative(several, "beta weighs the KL") is several
    for bad in (-0.5, math.nan, torch.tensor([0.5, -0.5]), torch.tensor([math.nan])):
        with pytest.raises(ValueError, match="must not be negative"):
            checks.check_not_negative(bad, "beta weighs the KL")


def test_counts_are_pythons_or_numpys():
    assert [checks.check_count(k) for k in (3, np.int64(3), np.uint8(3), torch.tensor(3))] == [3, 3, 3, 3]
    for bad in (0, -1, 2.5, 3.0, math.nan, "3", None, True, np.bool_(True), torch.tensor(True), (16,), np.array([3])):
        with pytest.raises(ValueError, match="whole number, 1 or more"):
            checks.check_count(bad)
