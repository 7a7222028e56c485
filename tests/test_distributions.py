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
    StandardNormal,
)


@pytest.mark.parametrize("levels", [2, 16, 256])
@pytest.mark.parametrize(("loc", "scale"), [(0.0, 20.0), (100.0, 0.03), (-40.0, 3.0), (255.0, 1.0), (300.0, 50.0)])
def test_discretized_logistic_sums_to_one_with_its_edges(levels, loc, scale):
    p = DiscretizedLogistic(torch.tensor(loc).double(), torch.tensor(scale).double(), levels)
    x = torch.arange(levels).double()
    assert p.log_prob(x).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_discretized_logistic_without_edges_would_lose_half():
    """The slip of leaving the edges out: mean 0, scale 20 then sums to 0.506."""
    x = torch.arange(256).double()
    inner = torch.sigmoid((x + 0.5) / 20) - torch.sigmoid((x - 0.5) / 20)
    assert inner.sum().item() == pytest.approx(0.506, abs=5e-4)


def test_discretized_logistic_against_differences_of_sigmoids():
    loc, scale = torch.tensor(77.3).double(), torch.tensor(4.2).double()
    x = torch.arange(1, 255).double()
    direct = (torch.sigmoid((x + 0.5 - loc) / scale) - torch.sigmoid((x - 0.5 - loc) / scale)).log()
    torch.testing.assert_close(DiscretizedLogistic(loc, scale).log_prob(x)[40:110], direct[40:110], rtol=1e-9, atol=0)


def test_discretized_logistic_stays_finite_in_float32_far_from_its_centre():
    loc = torch.tensor(0.0, requires_grad=True)
    log_scale = torch.tensor(-6.0, requires_grad=True)
    log_prob = DiscretizedLogistic(loc, log_scale.exp()).log_prob(torch.tensor([0.0, 1.0, 128.0, 255.0]))
    assert torch.isfinite(log_prob).all()
    log_prob.sum().backward()
    assert torch.isfinite(loc.grad) and torch.isfinite(log_scale.grad)


def test_discretized_logistic_samples_and_mean():
    torch.manual_seed(0)
    p = DiscretizedLogistic(torch.tensor([3.0, 12.0]), torch.tensor([2.0, 5.0]), levels=16)
    draws = p.sample((100_000,))
    assert draws.min() == 0 and draws.max() == 15
    expected = p.log_prob(torch.arange(16.0)[:, None]).exp()  # [16, 2]
    observed = torch.stack([torch.bincount(d.long(), minlength=16) / len(draws) for d in draws.T], 1)
    assert (observed - expected).abs().max() < 0.006
    torch.testing.assert_close(p.mean, draws.mean(0), atol=0.05, rtol=0)
    last = torch.tensor([15.0, 15.0])
    torch.testing.assert_close(p.expand((4, 2)).log_prob(last), p.log_prob(last).expand(4, 2))


def test_standard_normal_with_and_without_context():
    density = StandardNormal((2, 3))
    x = torch.randn(5, 2, 3)
    expected = Normal(0.0, 1.0).log_prob(x).sum((1, 2))
    torch.testing.assert_close(density.log_prob(x), expected)
    torch.testing.assert_close(density.log_prob(x, torch.zeros(5, 7)), expected)
    assert density.sample(4).shape == density.sample(4, torch.zeros(4, 1)).shape == (4, 2, 3)
    assert density.distribution(torch.zeros(4, 1)).batch_shape == (4,) and density.distribution().batch_shape == ()
    assert density.to(torch.float64).sample(1).dtype == torch.float64


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
