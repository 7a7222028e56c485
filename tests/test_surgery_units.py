"""Active units against variances that are known in closed form."""

import math

import pytest
import torch
from torch import nn

from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, FactorisedBernoulli, StandardNormal
from lvmlib.flows import iaf
from lvmlib.latent import VAE, HierarchicalVAE
from lvmlib.surgery import active_units


def linear(weight, log_scale=0.0):
    """A network whose mean is linear, with one log of the standard deviation for all: [B, D] -> [B, 2 * latents]."""
    weight = torch.as_tensor(weight)
    layer = nn.Linear(weight.shape[1], 2 * len(weight))
    with torch.no_grad():
        layer.weight.copy_(torch.cat([weight, torch.zeros_like(weight)]))
        layer.bias.copy_(torch.tensor([0.0] * len(weight) + [log_scale] * len(weight)))
    return layer


def of_one_layer(scales):
    """The posterior mean of latent j is scales[j] * x."""
    encoder = ConditionalNormal((len(scales),), linear([[s] for s in scales]))
    return VAE(encoder, ConditionalNormal((1,), nn.Linear(len(scales), 2)), StandardNormal((len(scales),)))


def of_two_layers(upper, lower_noise=0.0):
    """z1 ~ N(x, lower_noise) on one axis, and the mean of upper unit j is upper[j] * z1."""
    lower = ConditionalNormal((1,), linear([[1.0]], lower_noise)), ConditionalNormal((1,), nn.Linear(1, 2))
    above = (
        ConditionalNormal((len(upper),), linear([[u] for u in upper])),
        ConditionalNormal((1,), nn.Linear(len(upper), 2)),
    )
    return HierarchicalVAE([lower, above], StandardNormal((len(upper),)))


@pytest.fixture
def x():
    torch.manual_seed(0)
    x = torch.randn(500, 1)
    return (x - x.mean()) / x.std()


def test_a_unit_counts_where_the_variance_of_its_mean_is_above_the_threshold(x):
    scales = [0.09, 0.11, 1.0, 0.0]  # squared: 0.0081, 0.0121
    assert active_units(of_one_layer(scales), x) == [2]
    assert active_units(of_one_layer(scales), x, threshold=0.005) == [3]
    assert active_units(of_one_layer(scales), x, k=7, rows=50) == [2]  # the mean is exact whatever k is


def test_upper_units_are_counted_without_the_noise_of_their_average(x):
    """Two draws of z1 with variance 9 put 4.5 u^2 into the variance of a mean whose signal is u^2."""
    model = of_two_layers([0.05, 0.2, 0.0], lower_noise=math.log(3.0))  # signal 0.0025 and 0.04; with noise 0.014
    assert active_units(model, x, k=2) == [1, 1]
    assert active_units(model, x, k=100, rows=300) == [1, 1]


def test_a_posterior_without_a_formula_for_its_mean_is_averaged_over_draws(x):
    q = iaf((2,), layers=1, hidden=(8,), context=1)
    model = VAE(q, ConditionalNormal((1,), nn.Linear(2, 2)), StandardNormal((2,)))
    with torch.no_grad():
        for p in q.parameters():
            p.zero_()  # the standard normal, whatever x is
    assert active_units(model, x, k=50) == [0]
    with pytest.raises(ValueError, match="k must be 2 or more"):
        active_units(model, x)


def test_units_of_coins():
    encoder = nn.Linear(1, 3)
    with torch.no_grad():
        encoder.weight.copy_(torch.tensor([[0.0], [4.0], [0.1]]))
        encoder.bias.zero_()
    model = VAE(
        ConditionalBernoulli((3,), encoder), ConditionalNormal((1,), nn.Linear(3, 2)), FactorisedBernoulli((3,))
    )
    assert active_units(model, torch.tensor([[-1.0], [1.0]])) == [1]


def test_what_is_refused(x):
    with pytest.raises(ValueError, match="two examples or more"):
        active_units(of_one_layer([1.0]), x[:1])
    with pytest.raises(TypeError, match="needs a layer with a code"):
        active_units(Flow([], StandardNormal((1,))), x)
    with pytest.raises(ValueError, match="k must be 2 or more"):
        active_units(of_two_layers([1.0]), x)
    with pytest.raises(ValueError, match="threshold"):
        active_units(of_one_layer([1.0]), x, threshold=-1)
    with pytest.raises(ValueError, match="x"):
        active_units(of_one_layer([1.0]), torch.zeros(4, 2))
