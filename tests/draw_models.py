"""Models whose posteriors are drawn from in several ways."""

import torch
from torch import nn

from lvmlib.base import Given
from lvmlib.chain import Flow, Inverse
from lvmlib.distributions import ConditionalNormal, StandardNormal
from lvmlib.latent import VAE, LinearGaussian
from tests.layers import MaskedAutoregressive


def log_q(trace):
    return sum(step.log_q for step in trace.steps if step.q is not None)


def flow_posterior_model():
    """An inverse autoregressive posterior behind a network that reads x."""
    q = Flow([Inverse(MaskedAutoregressive(2, (4,), context=3))], ConditionalNormal((2,), nn.Linear(3, 4)))
    encoder = Given(q, nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
    model = VAE(encoder, ConditionalNormal((3,), nn.Linear(2, 3), 0.7), StandardNormal((2,)))
    return model, torch.randn(1, 3), list(encoder.parameters())


def gaussian_model():
    layer = LinearGaussian(torch.randn(3, 2), torch.randn(3), 0.8)
    with torch.no_grad():
        layer.offset += 0.5
        layer.tril += 0.1 * torch.eye(2)
    return Flow([layer], StandardNormal((2,))), torch.randn(1, 3), list(layer.parameters())


def two_layers():
    lower = LinearGaussian(torch.randn(4, 3), torch.randn(4), 0.5)
    upper = LinearGaussian(torch.randn(3, 2), torch.randn(3), 0.7)
    return Flow([lower, upper], StandardNormal((2,))), torch.randn(1, 4), [*lower.parameters(), *upper.parameters()]
