import copy
import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, multivariate_normal
from torch.distributions import Normal

from lvmlib.chain import Flow
from lvmlib.checks import trusted
from lvmlib.distributions import (
    MixtureOfGaussians,
    StandardNormal,
    StandardUniform,
)
from lvmlib.flows import MixtureCDF


def test_standard_normal_with_and_without_context():
    density = StandardNormal((2, 3))
    x = torch.randn(5, 2, 3)
    expected = Normal(0.0, 1.0).log_prob(x).sum((1, 2))
    torch.testing.assert_close(density.log_prob(x), expected)
    with trusted():  # as inside of a chain
        torch.testing.assert_close(density.log_prob(x, torch.zeros(5, 7)), expected)
        assert density.sample(4).shape == density.sample(4, torch.zeros(4, 1)).shape == (4, 2, 3)
    assert density.distribution(torch.zeros(4, 1)).batch_shape == (4,) and density.distribution().batch_shape == ()
    assert density.to(torch.float64).sample(1).dtype == torch.float64


def test_standard_uniform():
    density = StandardUniform((2, 3))
    torch.manual_seed(0)
    x = density.sample(2000)
    assert x.shape == (2000, 2, 3) and (density.log_prob(x) == 0).all()
    assert density.distribution(torch.zeros(4, 1)).batch_shape == (4,)
    for axis in x.flatten(1).T:
        assert kstest(axis, "uniform").pvalue > 1e-4
    with trusted():  # as inside of a chain, where a distribution function may round to 1
        ends = torch.stack([torch.zeros(2, 3), torch.ones(2, 3), torch.full((2, 3), 1.5)])
        assert density.log_prob(ends).tolist() == [0, 0, -math.inf]
    with pytest.raises(ValueError, match="StandardUniform expects values in"):
        density.log_prob(torch.full((1, 2, 3), 1.5))


def test_a_distribution_function_under_a_uniform_base_is_the_mixture():
    flow = Flow([MixtureCDF((2,), 3)], StandardUniform((2,))).double()
    layer, x = flow.layers[0], torch.randn(7, 2, dtype=torch.float64)
    torch.nn.init.normal_(layer.logits)
    parts = Normal(layer.loc, layer.log_scale.exp()).log_prob(x[:, None])  # [7, 3, 2]
    expected = (layer.logits.log_softmax(0) + parts).logsumexp(1).sum(1)
    torch.testing.assert_close(flow.log_prob(x), expected)
    draws = flow.sample(5)
    torch.testing.assert_close(flow.trace(draws).z[0].ge(0).all(), torch.tensor(True))


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
    with trusted():  # as inside of a chain
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
        ({"components": 0}, "components counts Gaussians and must be a whole number, 1 or more"),
        ({"covariance": "round"}, "'round'"),
        ({"floor": -1.0}, "floor"),
    ):
        with pytest.raises(ValueError, match=message):
            MixtureOfGaussians((2,), **arguments)
    with pytest.raises(TypeError, match="no triangular factors"):
        MixtureOfGaussians((2,)).scale_tril()
    with pytest.raises(ValueError, match="context"):
        MixtureOfGaussians((2,)).log_prob(torch.zeros(3, 2), torch.zeros(2, 1))


@pytest.mark.parametrize("covariance", ["spherical", "diagonal", "full"])
def test_a_temperature_narrows_components_and_sharpens_their_choice(covariance):
    p = MixtureOfGaussians((1,), 2, covariance)
    with torch.no_grad():
        p.logits.copy_(torch.tensor([1.0, 0.0]))
        p.loc.copy_(torch.tensor([[-50.0], [50.0]]))
    torch.manual_seed(0)
    x = p.sample(20_000, temperature=0.5)
    first = x[x < 0]
    assert len(first) / len(x) == pytest.approx(torch.sigmoid(torch.tensor(2.0)).item(), abs=0.015)
    assert first.std().item() == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize(
    ("covariance", "shape", "there"),
    [("diagonal", (3,), True), ("diagonal", (1, 2), True), ("full", (3,), True), ("full", (1, 2), False)],
)
def test_a_mixture_has_a_distribution_unless_it_is_full_over_several_axes(covariance, shape, there):
    assert MixtureOfGaussians(shape, 2, covariance=covariance).has_distribution == there
