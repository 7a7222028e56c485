"""Pixel models as decoders, against quadrature over one latent and sums over all small pictures."""

import itertools

import pytest
import torch
from torch import nn

from lvmlib.autoregressive import FVSBN, GatedPixelCNN, PixelCNN
from lvmlib.base import Given
from lvmlib.bounds import distortion_and_rate, elbo, log_likelihood
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import VAE, DensityAutoencoder, PixelVAE
from lvmlib.networks import MLP
from lvmlib.training import fit
from tests.precision import double_precision  # noqa: F401

SHAPE = (1, 2, 2)


def livened(model):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return model


def small(features=True) -> PixelVAE:
    torch.manual_seed(1)
    encoder = ConditionalNormal((1,), MLP(4, (6,), 2))
    context = (3, 2, 2) if features else 1
    pixels = PixelCNN(SHAPE, channels=3, layers=1, kernel=3, context=context)
    network = nn.Sequential(nn.Linear(1, 12), nn.Unflatten(1, (3, 2, 2))) if features else None
    model = livened(PixelVAE(encoder, pixels, StandardNormal((1,)), network))
    with torch.no_grad():
        encoder.network[-1].weight.mul_(0.2)
        encoder.network[-1].bias.copy_(torch.tensor([0.1, 0.1]))  # wide enough for importance sampling
    return model


def pictures() -> torch.Tensor:
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=4))).view(16, *SHAPE)


@pytest.mark.parametrize("features", [True, False])
@torch.no_grad()
def test_the_likelihood_is_that_of_quadrature(features):
    model, x = small(features), pictures()
    grid = torch.linspace(-8, 8, 801)[:, None]
    pixels = model.pair.decoder.density if features else model.pair.decoder
    told = model.pair.decoder.network(grid) if features else grid
    log_p = torch.stack([pixels.log_prob(picture.expand(801, -1, -1, -1), told) for picture in x], 1)  # [801, 16]
    joint = log_p + torch.distributions.Normal(0.0, 1.0).log_prob(grid)
    exact = joint.logsumexp(0) + torch.tensor(16 / 800).log()
    torch.testing.assert_close(exact.exp().sum(), torch.tensor(1.0))
    assert log_p[:, 5].std() > 0.05  # z says something
    torch.testing.assert_close(log_likelihood(model, x, k=20_000, rows=40_000), exact, atol=0.02, rtol=0)
    assert (elbo(model, x, k=500) < exact + 0.02).all()
    z = torch.randn(16, 1)
    given = pixels.log_prob(x, model.pair.decoder.network(z) if features else z)
    torch.testing.assert_close(model.likelihood(z).log_prob(x[None])[0], given)


def test_everything_learns_and_draws():
    model, x = small(), pictures()
    elbo(model, x, k=3).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.sample(5).shape == (5, *SHAPE)
    torch.manual_seed(0)
    draws = torch.stack([model.reconstruct(x) for _ in range(3)])
    assert set(draws.unique().tolist()) == {0.0, 1.0} and not torch.equal(draws[0], draws[1])
    distortion, rate = distortion_and_rate(model.trace(x, k=4))
    assert distortion.shape == rate.shape == (4, 16) and (rate >= 0).all()


def test_a_latent_is_left_unused_where_the_pixels_need_none():
    """Pixels of one common colour: a pixel model alone is exact, so the rate of a PixelVAE goes to 0 in training."""
    torch.manual_seed(0)
    x = (torch.rand(256, 1, 1, 1) < 0.5).double().expand(-1, *SHAPE).contiguous()
    vae = small(features=False)
    plain = VAE(
        ConditionalNormal((1,), MLP(4, (6,), 2)), ConditionalBernoulli(SHAPE, MLP(1, (6,), 4)), StandardNormal((1,))
    )
    rates = []
    for model in (vae, plain):
        fit(model, x, steps=300, batch_size=32, lr=0.03, progress=False)
        rates.append(distortion_and_rate(model.trace(x))[1].mean().item())
    assert rates[0] < 0.4 and rates[1] > 0.69  # a bit, which pixels that are independent given z must be told


def test_the_loss_of_a_mean_is_the_squared_error():
    torch.manual_seed(0)
    model = DensityAutoencoder(MLP(4, (6,), 2), ConditionalNormal(SHAPE, MLP(2, (6,), 4), scale=0.5))
    x = torch.rand(6, *SHAPE)
    error = (model.mean(x) - x).square().flatten(1).sum(1)
    constant = 4 * torch.log(torch.tensor(0.5 * (2 * torch.pi) ** 0.5))
    torch.testing.assert_close(model.loss(x), error / (2 * 0.25) + constant)
    torch.testing.assert_close(model.mean(x), model.decoder.network(model.encoder(x)).view_as(x))
    draws = model.draws(x, 4000)
    torch.testing.assert_close(draws.std(0), torch.full_like(x, 0.5), atol=0.04, rtol=0)


def test_the_loss_of_a_pixel_model_is_its_log_likelihood_given_the_code():
    torch.manual_seed(0)
    pixels = GatedPixelCNN(SHAPE, channels=3, layers=1, kernel=3, context=(3, 2, 2))
    network = nn.Sequential(nn.Linear(2, 12), nn.Unflatten(1, (3, 2, 2)))
    model, x = livened(DensityAutoencoder(MLP(4, (6,), 2), Given(pixels, network))), pictures()
    code = model.encoder(x)
    torch.testing.assert_close(model.loss(x), -pixels.log_prob(x, network(code)))
    model.loss(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    one = x[3:4]
    p = torch.stack([pixels.log_prob(picture[None], network(model.encoder(one)))[0] for picture in x]).exp()
    draws = model.draws(one, 4000)[:, 0]  # of one code
    place = (draws.flatten(1) * torch.tensor([8.0, 4.0, 2.0, 1.0])).sum(1).long()
    seen = torch.bincount(place, minlength=16) / 4000
    assert ((seen - p).abs() < 4.5 * (p * (1 - p) / 4000).sqrt() + 1e-3).all()
    mean = (p[:, None, None, None] * x).sum(0)
    torch.testing.assert_close(model.mean(one, 4000)[0], mean, atol=0.04, rtol=0)


def test_a_code_that_is_wide_enough_fixes_the_picture():
    torch.manual_seed(0)
    x = pictures().repeat(16, 1, 1, 1)
    model = DensityAutoencoder(MLP(4, (16,), 4), GatedPixelCNN(SHAPE, channels=8, layers=1, kernel=3, context=4))
    fit(model, x, DensityAutoencoder.loss, steps=300, batch_size=32, lr=0.02, progress=False)
    assert model.loss(x).mean() < 0.1 and (model.draws(x)[0] == x).double().mean() > 0.97


def test_refusals():
    with pytest.raises(TypeError, match="decodes with an Autoregressive model, but it was given a StandardNormal"):
        PixelVAE(ConditionalNormal((1,), MLP(4, (), 2)), StandardNormal(SHAPE), StandardNormal((1,)))
    with pytest.raises(ValueError, match="agree about z"):
        PixelVAE(ConditionalNormal((1,), MLP(4, (), 2)), FVSBN(SHAPE, context=2), StandardNormal((2,)))
    with pytest.raises(TypeError, match="decoder must be a Density"):
        DensityAutoencoder(MLP(4, (), 2), MLP(2, (), 4))
    with pytest.raises(TypeError, match="encoder must be a torch"):
        DensityAutoencoder(len, StandardNormal((2,)))
    model = DensityAutoencoder(MLP(4, (), 2), ConditionalBernoulli(SHAPE, MLP(2, (), 4)))
    with pytest.raises(ValueError, match="Boolean"):
        model.loss(torch.rand(3, *SHAPE))
    with pytest.raises(ValueError, match=r"\[B, 1, 2, 2\]"):
        model.draws(torch.zeros(3, 4))
