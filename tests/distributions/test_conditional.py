import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalDiscretizedLogistic,
    ConditionalNormal,
    DiscretizedLogistic,
)


class Constant(nn.Module):
    def __init__(self, *values: float):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, context):
        return self.values.expand(len(context), -1)


@pytest.mark.parametrize("scale", [None, 0.5, "learned"])
def test_conditional_normal_against_torch(scale):
    outputs = (1.0, -1.0, math.log(2.0), math.log(3.0)) if scale is None else (1.0, -1.0)
    density = ConditionalNormal((2,), Constant(*outputs), scale)
    sigma = {None: torch.tensor([2.0, 3.0]), 0.5: 0.5, "learned": 1.0}[scale]
    x, context = torch.randn(5, 2), torch.zeros(5, 1)
    expected = Normal(torch.tensor([1.0, -1.0]), sigma).log_prob(x).sum(1)
    torch.testing.assert_close(density.log_prob(x, context), expected)
    density.log_prob(x, context).sum().backward()
    assert len(list(density.parameters())) == (2 if scale == "learned" else 1)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in density.parameters())
    assert density.sample(5, context).shape == (5, 2)
    z, log_prob = density.rsample_with_log_prob(5, context)
    torch.testing.assert_close(log_prob, density.log_prob(z, context))


def test_conditional_bernoulli_against_enumeration():
    density = ConditionalBernoulli((3,), Constant(0.3, -2.0, 4.0))
    states = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    log_prob = density.log_prob(states, torch.zeros(8, 1))
    assert log_prob.exp().sum().item() == pytest.approx(1.0, abs=1e-6)
    p = torch.sigmoid(torch.tensor([0.3, -2.0, 4.0]))
    torch.testing.assert_close(log_prob.exp(), (p**states * (1 - p) ** (1 - states)).prod(1))


def test_conditional_discretized_logistic_centre_and_ends():
    for location, level in ((-1.0, 0.0), (0.0, 7.5), (1.0, 15.0)):
        density = ConditionalDiscretizedLogistic((1,), Constant(location, math.log(3.0)), levels=16)
        logistic = density.distribution(torch.zeros(1, 1)).base_dist
        assert logistic.loc.item() == level and logistic.scale.item() == pytest.approx(3.0)
    assert density.support.check(torch.tensor(15)) and not density.support.check(torch.tensor(16))


@pytest.mark.parametrize("scale", [0.0, -1.0, "adapted"])
def test_bad_scale(scale):
    with pytest.raises(ValueError, match="scale must be"):
        ConditionalNormal((2,), Constant(0.0, 0.0), scale)


def test_missing_context_wrong_outputs_wrong_levels():
    with pytest.raises(ValueError, match="context is None"):
        ConditionalBernoulli((2,), Constant(0.0, 0.0)).sample(3)
    with pytest.raises(ValueError, match="4 outputs per example"):
        ConditionalNormal((2,), Constant(0.0, 0.0)).distribution(torch.zeros(1, 1))
    with pytest.raises(ValueError, match="levels"):
        DiscretizedLogistic(torch.zeros(1), torch.ones(1), levels=1)
    with pytest.raises(TypeError, match="no rsample"):
        ConditionalBernoulli((2,), Constant(0.0, 0.0)).rsample_with_log_prob(3, torch.zeros(3, 1))
