import math

import numpy as np
import pytest
import torch
from scipy.stats import logistic
from torch.distributions import Independent

from lvmlib.distributions import (
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
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


def logistics(levels=256, seed=0, batch=(4,), components=5):
    """A mixture in float64 with components in, at the edge of and outside the range, narrow and wide."""
    torch.manual_seed(seed)
    logits = torch.randn(*batch, components).double()
    loc = levels * (0.5 + torch.randn(*batch, components).double())
    scale = (levels / 10) * torch.randn(*batch, components).double().exp()
    return DiscretizedLogisticMixture(logits, loc, scale, levels)


def table(p):
    """Log-probability of each level, [K, *batch]."""
    values = torch.arange(p.levels, dtype=p.loc.dtype).view(-1, *[1] * len(p.batch_shape))
    return p.log_prob(values.expand(p.levels, *p.batch_shape))


@pytest.mark.parametrize("levels", [2, 3, 16, 256])
@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 20.0, 1e4, 1e8])
@pytest.mark.parametrize("loc", [-1e6, -40.0, 0.0, 7.5, 100.0, 255.0, 300.0, 1e6])
def test_mixture_of_logistics_sums_to_one(loc, scale, levels):
    p = DiscretizedLogisticMixture(
        torch.tensor([0.3, -1.0]).double(),
        torch.tensor([loc, loc + 3]).double(),
        torch.tensor([scale, 2 * scale]).double(),
        levels,
    )
    assert table(p).exp().sum().item() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_mixture_of_logistics_against_scipy(levels):
    """Each bin holds what lies between its sides under the mixture; the first and the last reach to infinity."""
    p = logistics(levels)
    weights = p.logits.softmax(-1).numpy()
    sides = np.concatenate([[-np.inf], np.arange(levels - 1) + 0.5, [np.inf]])
    # From the nearer tail, so that the difference does not cancel.
    low = logistic.cdf(sides[:, None, None], p.loc.numpy(), p.scale.numpy())  # [K + 1, 4, 5]
    high = logistic.sf(sides[:, None, None], p.loc.numpy(), p.scale.numpy())
    bins = np.where(low[1:] < 0.5, low[1:] - low[:-1], high[:-1] - high[1:])
    expected = torch.tensor((weights * bins).sum(-1))
    torch.testing.assert_close(table(p).exp(), expected, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(p.mean, (torch.arange(levels).double()[:, None] * expected).sum(0), rtol=1e-9, atol=0)


def test_outermost_bins_take_in_all_that_lies_beyond_them():
    far = DiscretizedLogisticMixture(torch.zeros(2, 1), torch.tensor([[-1e4], [1e4]]), torch.ones(2, 1), 256)
    assert torch.equal(far.log_prob(torch.tensor([0.0, 255.0])), torch.zeros(2))
    assert far.sample((100,)).unique(dim=0).tolist() == [[0.0, 255.0]]
    p = DiscretizedLogisticMixture(torch.zeros(1), torch.zeros(1), torch.full((1,), 20.0), 256)
    inner = table(p).exp()[1:-1].sum().item() + (1 / (1 + math.exp(-0.025)) - 1 / (1 + math.exp(0.025)))
    assert inner == pytest.approx(0.506, abs=5e-4)  # with bin 0 as narrow as the others, half of it would be lost
    assert p.log_prob(torch.tensor(0.0)).exp().item() == pytest.approx(1 / (1 + math.exp(-0.025)), rel=1e-6)


@pytest.mark.parametrize("loc", [-1e5, 0.0, 128.0, 255.0, 1e5])
@pytest.mark.parametrize("log_scale", [-7.0, -2.0, 3.0, 12.0])
def test_mixture_of_logistics_has_finite_gradients_where_it_saturates(loc, log_scale):
    """In float32, where a difference of two distribution functions would be 0 and its logarithm without gradient."""
    logits, loc = torch.zeros(256, 2, requires_grad=True), torch.full((256, 2), loc, requires_grad=True)
    log_scale = torch.full((256, 2), log_scale, requires_grad=True)
    log_prob = DiscretizedLogisticMixture(logits, loc, log_scale.exp()).log_prob(torch.arange(256))
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert all(t.grad.isfinite().all() for t in (logits, loc, log_scale))


def test_a_far_component_is_pulled_towards_the_value():
    loc = torch.tensor([5000.0], requires_grad=True)
    DiscretizedLogisticMixture(torch.zeros(1), loc, torch.ones(1)).log_prob(torch.tensor(100.0)).backward()
    assert loc.grad.item() == pytest.approx(-1, abs=1e-3)  # the slope of a logistic's tail, -1 / scale


def test_gradient_of_the_mixture_by_finite_differences():
    p = logistics(16, batch=(3,), components=2)
    x = torch.tensor([0.0, 7.0, 15.0]).double()
    parameters = [t.clone().requires_grad_() for t in (p.logits, p.loc, p.scale)]
    assert torch.autograd.gradcheck(lambda *t: DiscretizedLogisticMixture(*t, 16).log_prob(x), parameters)


@pytest.mark.parametrize("levels", [2, 16])
def test_samples_of_the_mixture_have_its_frequencies(levels):
    p = logistics(levels, batch=(2, 3))
    torch.manual_seed(1)
    n = 50_000
    draws = p.sample((n,))
    assert draws.shape == (n, 2, 3) and draws.min() >= 0 and draws.max() <= levels - 1
    assert torch.equal(draws, draws.round())
    expected = table(p).exp()  # [K, 2, 3]
    observed = torch.stack([(draws == k).double().mean(0) for k in range(levels)])
    deviation = (observed - expected).abs() / (expected * (1 - expected) / n + 1e-12).sqrt()
    assert deviation.max() < 5


def test_shapes_of_the_mixture():
    p = logistics(16, batch=(2, 3))
    assert p.batch_shape == (2, 3) and p.event_shape == ()
    assert p.sample().shape == (2, 3) and p.sample((5, 4)).shape == (5, 4, 2, 3)
    assert p.sample(torch.Size((5,))).dtype == torch.float64 and not p.sample().requires_grad
    assert p.log_prob(torch.zeros(5, 2, 3)).shape == (5, 2, 3) == p.log_prob(torch.zeros(5, 1, 1)).shape
    x = p.sample()
    wide = p.expand((7, 2, 3))
    assert wide.batch_shape == (7, 2, 3) and wide.sample((2,)).shape == (2, 7, 2, 3) and wide.levels == 16
    torch.testing.assert_close(wide.log_prob(x), p.log_prob(x).expand(7, 2, 3))
    whole = Independent(p, 1)
    assert whole.log_prob(x).shape == (2,) == whole.batch_shape
    assert p.support.check(x).all() and not p.support.check(torch.tensor(16.0))
    assert torch.equal(p.log_prob(x.to(torch.uint8)), p.log_prob(x))


def test_one_component_is_a_discretized_logistic_and_equal_ones_too():
    loc, scale = torch.tensor([3.3, -9.0]).double(), torch.tensor([0.4, 6.0]).double()
    x = torch.arange(16.0).double()[:, None]
    single = DiscretizedLogistic(loc, scale, 16).log_prob(x)
    for m in (1, 4):
        p = DiscretizedLogisticMixture(
            torch.randn(2, m).double(), loc[:, None].expand(2, m), scale[:, None].expand(2, m), 16
        )
        torch.testing.assert_close(p.log_prob(x.expand(16, 2)), single)


def test_mixture_of_logistics_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="same shape"):
        DiscretizedLogisticMixture(torch.zeros(3), torch.zeros(2), torch.ones(2))
    with pytest.raises(ValueError, match="2 or more, but it is 1"):
        DiscretizedLogisticMixture(torch.zeros(2), torch.zeros(2), torch.ones(2), levels=1)
    with pytest.raises(ValueError, match="scale"):
        DiscretizedLogisticMixture(torch.zeros(2), torch.zeros(2), torch.zeros(2), validate_args=True)


def test_parameters_are_looked_at_only_when_asked_to():
    """A network's parameters would be looked at in every step, which on an accelerator waits for the device."""
    nothing, one = torch.tensor(math.nan), torch.tensor(1.0)
    assert DiscretizedLogistic(nothing, one).loc.isnan()
    with pytest.raises(ValueError, match="parameter loc"):
        DiscretizedLogistic(nothing, one, validate_args=True)
