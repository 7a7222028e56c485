"""A convolutional VAE that is told of a class, and its parts, against the same in plain torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lvmlib.bounds import elbo
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import MLP, ConvDecoder, ConvEncoder, planes
from lvmlib.training import fit
from tests.precision import double_precision  # noqa: F401


def conditional_vae(prior=None):
    """Codes are vectors: the encoder sees the class as planes, the decoder beside the code."""
    return VAE(
        ConditionalNormal((2,), ConvEncoder((1 + 3, 8, 8), (4, 4), 4)),
        ConditionalBernoulli((1, 8, 8), ConvDecoder(2 + 3, (4, 4), (1, 8, 8))),
        prior or StandardNormal((2,)),
        join=planes,
    )


def pictures(n):
    return torch.bernoulli(torch.full((n, 1, 8, 8), 0.5)), torch.eye(3)[torch.arange(n) % 3]


@pytest.mark.parametrize("learned", [False, True])
def test_the_bound_against_plain_torch(learned):
    """With p(z|c) = N(m(c), s(c)^2) or N(0, I): the class changes prior, encoder and decoder."""
    network = nn.Linear(3, 4)
    vae = conditional_vae(ConditionalNormal((2,), network) if learned else None)
    x, c = pictures(6)
    seen = torch.cat([x, c[:, :, None, None].expand(-1, -1, 8, 8)], 1)
    mean, log_scale = vae.pair.encoder.network(seen).chunk(2, 1)
    torch.manual_seed(0)
    z = mean + log_scale.exp() * torch.randn(1, 6, 2)[0]
    logits = vae.pair.decoder.network(torch.cat([z, c], 1))
    error = F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1)
    m, s = network(c).chunk(2, 1) if learned else (torch.zeros(6, 2), torch.zeros(6, 2))
    kl = (s - log_scale + ((2 * log_scale).exp() + (mean - m) ** 2) / (2 * (2 * s).exp()) - 0.5).sum(1)
    torch.manual_seed(0)
    torch.testing.assert_close(elbo(vae, x, context=c), -error - kl)
    assert vae.sample(6, c).shape == vae.reconstruct(x, c).shape == x.shape
    fit(vae, (x, c), steps=2, batch_size=3, progress=False)


def test_codes_that_are_pictures_get_the_class_as_planes_too():
    vae = VAE(
        ConditionalNormal((2, 4, 4), nn.Conv2d(1 + 3, 4, 4, 2, 1)),
        ConditionalBernoulli((1, 8, 8), nn.ConvTranspose2d(2 + 3, 1, 4, 2, 1)),
        StandardNormal((2, 4, 4)),
        join=planes,
    )
    x, c = pictures(5)
    z = torch.randn(5, 2, 4, 4)
    expected = vae.pair.decoder.network(torch.cat([z, c[:, :, None, None].expand(-1, -1, 4, 4)], 1)).sigmoid()
    torch.testing.assert_close(vae.likelihood(z, c).mean, expected)
    assert vae.log_weights(x, 3, c).shape == (3, 5) and vae.sample(5, c).shape == x.shape


def test_a_condition_that_is_a_picture():
    vae = VAE(
        ConditionalNormal((2,), ConvEncoder((1 + 1, 8, 8), (4, 4), 4)),
        ConditionalBernoulli((1, 8, 8), MLP(2 + 64, (8,), 64)),
        StandardNormal((2,)),
        join=planes,
    )
    x, _ = pictures(5)
    expected = vae.pair.encoder.network(torch.cat([x, 1 - x], 1))[:, :2]
    torch.testing.assert_close(vae.posterior(x, 1 - x).mean, expected)
    assert elbo(vae, x, context=1 - x).shape == (5,)
    with pytest.raises(ValueError, match=r"as high and wide as what it is laid behind, \[8, 8\], but it is \[4, 4\]"):
        planes(x, x[:, :, :4, :4])
