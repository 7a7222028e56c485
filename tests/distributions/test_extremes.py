"""Parameters at the edge of what a number can hold: exact where the answer is finite, and never nan."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, kl_divergence

from lvmlib.autoregressive.families import family_of
from lvmlib.bounds import elbo
from lvmlib.distributions import (
    Coins,
    ConditionalDiscretizedLogistic,
    ConditionalNormal,
    DiagonalNormal,
    MixtureOfGaussians,
    StandardNormal,
)
from lvmlib.latent import VAE

SMALL = [-44.0, -60.0, -88.0, -100.0, -400.0, -800.0]
DTYPES = [torch.float32, torch.float64]


class Constant(torch.nn.Module):
    """The same outputs for every row of the context."""

    def __init__(self, *values):
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(values))

    def forward(self, context):
        return self.values.expand(len(context), -1)


def gradients(value, *of):
    return torch.autograd.grad(value.sum(), of, retain_graph=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("log_scale", SMALL)
def test_a_gaussian_of_whatever_width_is_exact_at_its_mean(log_scale, dtype):
    loc = torch.zeros(1, 1, dtype=dtype, requires_grad=True)
    scale = torch.full((1, 1), log_scale, dtype=dtype, requires_grad=True)
    q = DiagonalNormal(loc, scale, 1)
    at_mean = q.log_prob(torch.zeros(1, 1, dtype=dtype))
    assert at_mean.item() == pytest.approx(-log_scale - 0.5 * math.log(2 * math.pi), rel=1e-6)
    slope = gradients(at_mean, loc, scale)
    assert slope[0].item() == 0 and slope[1].item() == -1
    torch.manual_seed(0)
    z, log_q = q.rsample_with_log_prob(50)
    torch.testing.assert_close(q.log_prob(z), log_q)
    assert gradients(q.log_prob(z), scale)[0].item() == pytest.approx(-50, rel=1e-4)
    prior = StandardNormal((1,)).to(dtype)
    kl = kl_divergence(q, prior.distribution())
    assert kl.item() == pytest.approx(-log_scale - 0.5) and gradients(kl, scale)[0].item() == pytest.approx(-1)
    assert kl_divergence(q, DiagonalNormal(loc, scale, 1)).item() == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("log_scale", [*SMALL, *(-s for s in SMALL)])
@pytest.mark.parametrize("distance", [0.0, 1e-3, 1.0, 100.0])
def test_no_width_gives_nan_or_an_infinite_slope(distance, log_scale, dtype):
    loc = torch.zeros(1, 1, dtype=dtype, requires_grad=True)
    scale = torch.full((1, 1), log_scale, dtype=dtype, requires_grad=True)
    q = DiagonalNormal(loc, scale, 1)
    unit = DiagonalNormal(torch.zeros(1, 1, dtype=dtype), torch.zeros(1, 1, dtype=dtype), 1)
    values = [
        q.log_prob(torch.full((1, 1), distance, dtype=dtype)),
        q.log_prob(q.rsample((3,))),
        kl_divergence(q, StandardNormal((1,)).to(dtype).distribution()),
        kl_divergence(unit, q),
        kl_divergence(q, unit),
        q.entropy(),
    ]
    for value in values:
        assert value.isfinite().all()
        slopes = torch.autograd.grad(value.sum(), [loc, scale], retain_graph=True, allow_unused=True)
        assert all(slope is None or slope.isfinite().all() for slope in slopes)


def test_the_elbo_of_an_encoder_that_is_almost_a_point():
    """Here q is N(0, e^-120) and log p(x|z) = log N(0; 0, 1), so both terms are known."""
    encoder = ConditionalNormal((1,), Constant(0.0, -60.0))
    model = VAE(encoder, ConditionalNormal((1,), torch.nn.Identity(), scale=1.0), StandardNormal((1,)))
    exact = -0.5 * math.log(2 * math.pi) - (60 - 0.5)
    assert elbo(model, torch.zeros(1, 1)).item() == pytest.approx(exact, abs=1e-4)
    elbo(model, torch.zeros(1, 1)).sum().backward()
    assert encoder.network.values.grad.isfinite().all()
    sharp = VAE(
        ConditionalNormal((1,), Constant(0.0, -60.0)), ConditionalNormal((1,), Constant(0.0, -60.0)), model.prior
    )
    exact = 60 - 0.5 * math.log(2 * math.pi) - (60 - 0.5)
    assert elbo(sharp, torch.zeros(1, 1)).item() == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("covariance", ["spherical", "diagonal", "full"])
@pytest.mark.parametrize("log_scale", [-60.0, -100.0, 100.0])
def test_a_mixture_of_points_or_of_everything(log_scale, covariance):
    mixture = MixtureOfGaussians((1,), 1, covariance)
    with torch.no_grad():
        mixture.loc.zero_()
        mixture.log_scale.fill_(log_scale)
    value = mixture.log_prob(torch.zeros(1, 1))
    assert value.item() == pytest.approx(-log_scale - 0.5 * math.log(2 * math.pi), rel=1e-6)
    (value.sum() + mixture.log_prob(torch.ones(1, 1)).sum()).backward()
    assert all(p.grad.isfinite().all() for p in mixture.parameters()) and mixture.sample(3).isfinite().all()


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
def test_coins_that_are_certain(dtype):
    logits = torch.tensor([math.inf, math.inf, -math.inf, -math.inf, 1e4, -1e4], dtype=dtype, requires_grad=True)
    x = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    q = Coins(logits, 0)
    value = q.log_prob(x.to(dtype))
    assert value.tolist() == [0.0, -math.inf, 0.0, -math.inf, 0.0, 0.0]
    assert gradients(value, logits)[0].tolist() == [0.0, -1.0, 0.0, 1.0, 0.0, 0.0]
    assert q.entropy().tolist() == [0.0] * 6 and gradients(q.entropy(), logits)[0].tolist() == [0.0] * 6
    assert kl_divergence(q, Coins(logits.detach(), 0)).tolist() == [0.0] * 6
    assert q.sample((9,)).float().mean(0).tolist() == [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    bits = family_of(2, 0)
    certain = bits.log_prob(logits.detach()[None, None], x[None].to(dtype))
    assert (
        certain.item() == -math.inf and bits.distribution(logits.detach()[None, None]).log_prob(x).tolist()[0][0] == 0
    )


def test_a_value_that_is_certain():
    table = family_of(3, 0)
    outputs = torch.tensor([[math.inf, 0.0, -math.inf]], requires_grad=True)
    assert table.table(outputs).tolist() == [[1.0, 0.0, 0.0]]
    value = table.distribution(outputs[..., None]).log_prob(torch.zeros(1, 1))
    assert value.item() == 0 and gradients(value, outputs)[0].isfinite().all()
    assert table.draw(outputs, torch.rand(1, 2)).item() == 0
    mixture = family_of(8, 2)
    outputs = torch.tensor([[math.inf, -math.inf, 0.0, 0.0, 0.0, 0.0]])
    one = torch.tensor([[0.0, -math.inf, 0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(mixture.table(outputs), mixture.table(one))


@pytest.mark.parametrize("log_scale", [-1000.0, -100.0, -8.0, 31.0, 100.0, 1000.0])
def test_discretized_logistics_of_whatever_width(log_scale):
    density = ConditionalDiscretizedLogistic((1,), Constant(0.0, log_scale), levels=17)
    levels = torch.arange(17.0)[:, None]
    value = density.log_prob(levels, torch.zeros(17, 1))
    assert not value.isnan().any() and value.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert (
        value[8].item() == pytest.approx(0, abs=1e-6)
        if log_scale < 0
        else value[0].item() == pytest.approx(-math.log(2))
    )
    value[8].backward()
    assert density.network.values.grad.isfinite().all()
    mixture = family_of(17, 1)
    outputs = torch.tensor([[0.0, 0.0, log_scale]], requires_grad=True)
    value = mixture.table(outputs)
    assert value.sum().item() == pytest.approx(1, abs=1e-5)
    assert gradients(mixture.log_prob(outputs[..., None], torch.full((1, 1), 8.0)), outputs)[0].isfinite().all()


def test_kl_is_never_negative_here_either():
    torch.manual_seed(0)
    for _ in range(300):
        loc, scale = 0.1 * torch.randn(1, 3), 0.1 * torch.randn(1, 3)
        near = 1e-5 * torch.randn(1, 3)
        q = DiagonalNormal(loc, scale, 1)
        assert kl_divergence(q, DiagonalNormal(loc + near, scale + near, 1)).item() >= 0
        assert kl_divergence(DiagonalNormal(near, near, 1), StandardNormal((3,)).distribution()).item() >= 0
        assert kl_divergence(Coins(loc, 1), Coins(loc + near, 1)).item() >= 0
        assert kl_divergence(Coins(loc, 1), Independent(Bernoulli(logits=loc + near), 1)).item() >= 0
        assert kl_divergence(q, DiagonalNormal(loc + near, scale, 1).independent()).item() >= 0
        assert kl_divergence(q.independent(), DiagonalNormal(loc + near, scale, 1)).item() >= 0
