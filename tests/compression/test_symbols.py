"""Tables and bins of a chain's variables, against torch's distributions and draws."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical, Independent, Normal, Poisson

from lvmlib.autoregressive import FVSBN
from lvmlib.compression import Stack
from lvmlib.compression.symbols import Bins, code_of, pop, push
from lvmlib.distributions import Coins, ConditionalDiscretizedLogistic, Delta, DiagonalNormal, OneHots, StandardNormal
from lvmlib.draws import Conditioned


def test_bins_have_equal_mass_and_medians_inside():
    loc, scale = torch.tensor([0.5, -2.0]), torch.tensor([2.0, 0.1])
    bins = Bins(loc, scale, 8)
    table, number, event = code_of(DiagonalNormal(loc[None], scale.log()[None], 1), bins)
    np.testing.assert_allclose(table, 1 / 8, atol=1e-7)
    for symbols in itertools.product(range(8), repeat=2):
        z = event(torch.tensor(symbols))
        assert z.shape == (1, 2) and number(z).tolist() == list(symbols)
        below = torch.distributions.Normal(loc, scale).cdf(z[0])
        torch.testing.assert_close(below, (torch.tensor(symbols) + 0.5) / 8, atol=1e-5, rtol=0)
    q = DiagonalNormal(torch.tensor([[1.0, -1.9]]), torch.tensor([[-1.0, -3.0]]), 1)
    table = code_of(q, bins)[0]
    draws = q.sample((20_000,))[:, 0]
    places = torch.searchsorted(bins.edges, draws.double().T.contiguous())
    for d in range(2):
        share = torch.bincount(places[d], minlength=8).numpy() / 20_000
        assert (abs(share - table[d]) < 4.5 * np.sqrt(table[d] * (1 - table[d]) / 20_000) + 1e-9).all()


def test_tables_are_those_of_torch():
    x = torch.arange(6.0)
    p = ConditionalDiscretizedLogistic((2,), nn.Linear(3, 4), levels=6).distribution(torch.randn(1, 3))
    table = code_of(p, None)[0]
    for d in range(2):
        np.testing.assert_allclose(table[d], p.base_dist.log_prob(x[:, None, None]).exp()[:, 0, d].detach(), rtol=1e-6)


def test_every_kind_of_variable_is_pushed_and_popped():
    torch.manual_seed(0)
    bins = Bins(torch.zeros(2, 3), torch.ones(2, 3), 64)
    model = FVSBN((2, 3), levels=5, context=4)
    kinds = {
        "gaussian": (DiagonalNormal(torch.randn(4, 2, 3), torch.randn(4, 2, 3), 2), bins),
        "torch's gaussian": (Independent(Normal(torch.randn(4, 2, 3), 0.5), 2), bins),
        "coins": (Coins(torch.randn(4, 2, 3), 2), None),
        "torch's coins": (Independent(Bernoulli(logits=torch.randn(4, 2, 3)), 2), None),
        "one-hots": (OneHots(torch.randn(4, 2, 3), 2), None),
        "categories": (Independent(Categorical(logits=torch.randn(4, 2, 3, 7)), 2), None),
        "certain": (Delta(torch.ones(4, 2, 3), 2), None),
        "one after another": (Conditioned(model, torch.randn(4, 4)), None),
    }
    rng = np.random.default_rng(0)
    letter = rng.bytes(300) + b"\1"
    stack, drawn = Stack(letter), {}
    for name, (p, cuts) in kinds.items():
        drawn[name] = pop(stack, p, cuts)
        assert drawn[name].shape == (4, 2, 3)
    for name, (p, cuts) in reversed(kinds.items()):
        push(stack, p, drawn[name], cuts)
    assert stack.to_bytes() == letter


def test_a_push_takes_minus_the_log_probability():
    torch.manual_seed(0)
    p, model = Coins(2 * torch.randn(50, 6), 1), FVSBN((6,), context=4)
    told = Conditioned(model, torch.randn(50, 4))
    for q in (p, told):
        x = q.sample() if isinstance(q, Coins) else q.sample(1)[0]
        log_p = q.log_prob(x) if isinstance(q, Coins) else q.log_prob(x[None])[0]
        stack = Stack(np.random.default_rng(0).bytes(10) + b"\1")
        before = stack.bits
        push(stack, q, x, None)
        assert abs(stack.bits - before + log_p.sum().item() / math.log(2)) < 2


def test_what_has_no_table_is_refused():
    for p, name in (
        (Independent(Poisson(torch.ones(2, 3)), 1), "Poisson"),
        (Normal(torch.zeros(2, 3), 1.0), "Normal"),
    ):
        with pytest.raises(TypeError, match=f"has a {name}"):
            code_of(p, None)
    with pytest.raises(TypeError, match="has a StandardNormal"):
        pop(Stack(), Conditioned(StandardNormal((3,)), torch.zeros(2, 1)), None)


def test_bins_that_float32_cannot_tell_apart_are_refused():
    loc, scale = torch.tensor([1e6]), torch.tensor([1e-3])
    with pytest.raises(ValueError, match="1024 bins of a latent are closer to one another"):
        Bins(loc, scale, 1024)
    Bins(loc.double(), scale.double(), 1024)
