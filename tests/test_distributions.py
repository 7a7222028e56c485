import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import logistic, multivariate_normal
from torch import nn
from torch.distributions import Independent, Normal

from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalDiscretizedLogistic,
    ConditionalNormal,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    MixtureOfGaussians,
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
    with pytest.raises(ValueError, match="levels must be 2"):
        DiscretizedLogisticMixture(torch.zeros(2), torch.zeros(2), torch.ones(2), levels=1)
    with pytest.raises(ValueError, match="scale"):
        DiscretizedLogisticMixture(torch.zeros(2), torch.zeros(2), torch.zeros(2), validate_args=True)


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


def mixture(covariance, event_shape=(3,), components=4, floor=0.0):
    """A mixture in float64 whose parameters are all different."""
    torch.manual_seed(0)
    p = MixtureOfGaussians(event_shape, components, covariance, floor).double()
    with torch.no_grad():
        for parameter in p.parameters():
            parameter.copy_(0.7 * torch.randn_like(parameter))
    return p


def covariances(p):
    d = p.loc.shape[1]
    tril = p.scale_tril() if p.covariance == "full" else torch.diag_embed(p.scale().expand(-1, d))
    return (tril @ tril.mT).detach().numpy()


@pytest.mark.parametrize("covariance", ["spherical", "diagonal", "full"])
def test_mixture_of_gaussians_against_scipy(covariance):
    p, x = mixture(covariance, floor=0.1), torch.randn(7, 3).double()
    weights = p.logits.softmax(0).detach().numpy()
    terms = [
        weight * multivariate_normal(mean, cov).pdf(x.numpy())
        for weight, mean, cov in zip(weights, p.loc.detach().numpy(), covariances(p))
    ]
    expected = torch.tensor(np.log(np.sum(terms, 0)))
    torch.testing.assert_close(p.log_prob(x).detach(), expected)
    torch.testing.assert_close(p.distribution().log_prob(x), p.log_prob(x))
    torch.testing.assert_close(p.responsibilities(x).detach(), torch.tensor(np.array(terms) / np.sum(terms, 0)).T)


@pytest.mark.parametrize("covariance", ["spherical", "diagonal", "full"])
def test_mixture_of_gaussians_integrates_to_one_and_every_parameter_learns(covariance):
    p = mixture(covariance, (2,))
    axis = torch.linspace(-14, 14, 701).double()
    grid = torch.cartesian_prod(axis, axis)
    total = p.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-4)
    p.log_prob(torch.randn(5, 2).double()).sum().backward()
    for name, parameter in p.named_parameters():
        used = parameter.grad[:, 1, 0] if name == "lower" else parameter.grad
        assert (used != 0).all(), name


@pytest.mark.parametrize("covariance", ["spherical", "diagonal", "full"])
def test_mixture_of_gaussians_samples_have_its_moments(covariance):
    p = mixture(covariance)
    draws = p.sample(200_000)
    weights = p.logits.softmax(0).detach().numpy()
    means = p.loc.detach().numpy()
    mean = weights @ means
    second = sum(w * (c + np.outer(m, m)) for w, m, c in zip(weights, means, covariances(p)))
    torch.testing.assert_close(draws.mean(0), torch.tensor(mean), atol=0.03, rtol=0)
    torch.testing.assert_close(draws.T.cov(), torch.tensor(second - np.outer(mean, mean)), atol=0.1, rtol=0.05)


def test_mixture_of_gaussians_takes_any_event_shape_and_ignores_a_context():
    p, flat = mixture("diagonal", (1, 2, 3)), mixture("diagonal", (6,))
    x, context = torch.randn(5, 1, 2, 3).double(), torch.zeros(5, 4)
    torch.testing.assert_close(p.log_prob(x, context), flat.log_prob(x.flatten(1)))
    assert p.sample(5, context).shape == (5, 1, 2, 3) == p.distribution().sample((5,)).shape
    assert p.distribution(context).log_prob(x).shape == (5,)
    full = mixture("full", (1, 2, 3))
    assert full.log_prob(x).shape == (5,) and full.sample(5).shape == (5, 1, 2, 3)
    with pytest.raises(TypeError, match="several axes"):
        full.distribution()


def test_mixture_of_gaussians_keeps_its_accuracy_far_from_the_origin_in_float32():
    """Squares that are expanded before they are subtracted would lose everything here."""
    p = mixture("spherical", (50,))
    with torch.no_grad():
        p.loc += 1000
        p.log_scale.fill_(-2)
    x = p.sample(20)
    torch.testing.assert_close(
        copy.deepcopy(p).float().log_prob(x.float()).double(), p.log_prob(x), rtol=1e-3, atol=0.1
    )


def test_mixture_of_gaussians_starts_from_data():
    torch.manual_seed(0)
    x = 5 + 2 * torch.randn(1000, 2)
    p = MixtureOfGaussians((2,), 10, "full", floor=0.5).start_from(x)
    assert all((x == mean).all(1).any() for mean in p.loc) and len(p.loc.unique(dim=0)) == 10
    torch.testing.assert_close(p.scale(), torch.full((10, 2), 2.0), atol=0.1, rtol=0)
    for wrong, message in ((x[:9], "10 components"), (torch.ones(20, 2), "must exceed"), (x[:, :1], "shape")):
        with pytest.raises(ValueError, match=message):
            p.start_from(wrong)


def test_mixture_of_gaussians_refuses_what_it_cannot_be():
    for arguments, message in (
        ({"components": 0}, "1 component"),
        ({"covariance": "round"}, "'round'"),
        ({"floor": -1.0}, "floor"),
    ):
        with pytest.raises(ValueError, match=message):
            MixtureOfGaussians((2,), **arguments)
    with pytest.raises(TypeError, match="no triangular factors"):
        MixtureOfGaussians((2,)).scale_tril()
    with pytest.raises(ValueError, match="context"):
        MixtureOfGaussians((2,)).log_prob(torch.zeros(3, 2), torch.zeros(2, 1))
