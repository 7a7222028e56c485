"""The plain autoencoder against what it is in closed form."""

import math

import pytest
import torch
from torch import nn

from lvmlib.autoregressive import MADE
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal
from lvmlib.latent import Autoencoder
from lvmlib.networks import MLP
from lvmlib.training import fit
from tests.precision import double_precision  # noqa: F401


def test_the_loss_with_a_gaussian_decoder_is_the_squared_error():
    encoder, network = nn.Linear(5, 2), nn.Linear(2, 5)
    model, x = Autoencoder(encoder, ConditionalNormal((5,), network, 1.0)), torch.randn(7, 5)
    error = (x - network(encoder(x))).square().sum(1)
    torch.testing.assert_close(model.loss(x), 0.5 * error + 2.5 * math.log(2 * math.pi))
    torch.testing.assert_close(model(x), model.loss(x))
    torch.testing.assert_close(model.reconstruct(x), network(encoder(x)).detach())
    torch.testing.assert_close(model.encode(x), encoder(x))


def test_a_linear_autoencoder_comes_to_the_error_of_principal_components():
    x = torch.randn(60, 3) @ torch.randn(3, 5) + 0.3 * torch.randn(60, 5)
    x = x - x.mean(0)
    least = torch.linalg.svdvals(x)[2:].square().sum() / 60  # what two components leave
    model = Autoencoder(nn.Linear(5, 2), ConditionalNormal((5,), nn.Linear(2, 5), 1.0))
    fit(model, x, Autoencoder.loss, steps=600, batch_size=60, lr=0.03, progress=False)
    error = (x - model.reconstruct(x)).square().sum(1).mean()
    assert least - 1e-9 < error < least + 1e-3


def test_bits_and_pixel_models():
    x = torch.bernoulli(torch.full((6, 4), 0.5))
    network = MLP(2, (8,), 4)
    model = Autoencoder(MLP(4, (8,), 2), ConditionalBernoulli((4,), network))
    error = nn.functional.binary_cross_entropy_with_logits(network(model.encode(x)), x, reduction="none").sum(1)
    torch.testing.assert_close(model.loss(x), error)
    with pytest.raises(ValueError, match="values in"):
        model.loss(x + 0.5)
    pixels = Autoencoder(MLP(4, (8,), 2), MADE((4,), (8,), context=2))
    pixels.loss(x).mean().backward()
    assert all(p.grad is not None for p in pixels.encoder.parameters())
    assert pixels.decode(torch.zeros(3, 2)).sample(5).shape == (5, 3, 4)
    with pytest.raises(TypeError, match="no mean to show"):
        pixels.reconstruct(x)


def test_what_is_refused():
    with pytest.raises(TypeError, match="The decoder must be a Density, but it is a Linear"):
        Autoencoder(nn.Linear(4, 2), nn.Linear(2, 4))
    with pytest.raises(TypeError, match="The encoder must be a network"):
        Autoencoder(torch.relu, ConditionalBernoulli((4,), nn.Linear(2, 4)))
    with pytest.raises(ValueError, match=r"x must have shape \[B, 4\]"):
        Autoencoder(nn.Linear(4, 2), ConditionalBernoulli((4,), nn.Linear(2, 4))).encode(torch.zeros(4))
