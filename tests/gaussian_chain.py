"""A chain of two layers whose log p(x) is known."""

import torch
from torch import nn
from torch.distributions import MultivariateNormal

from lvmlib.base import Transform
from lvmlib.chain import Flow
from lvmlib.distributions import StandardNormal
from lvmlib.latent import LinearGaussian


class Affine(Transform):
    """A bijection with learned scale and shift, the smallest there is."""

    def __init__(self, size: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.linspace(-0.5, 0.7, size))
        self.shift = nn.Parameter(torch.linspace(1.0, -1.0, size))

    def forward(self, x, context=None):
        return x * self.log_scale.exp() + self.shift, self.log_scale.sum().expand(len(x))

    def inverse(self, z, context=None):
        return (z - self.shift) * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(z))


def two_layer_chain(perturb: float = 0.0) -> tuple[Flow, MultivariateNormal]:
    """x <- z1 <- z2, all Gaussian, exact posteriors (moved by `perturb`), and the exact p(x)."""
    upper = LinearGaussian(torch.randn(3, 2), torch.randn(3), 0.7)
    mean, covariance = upper.marginal(torch.zeros(2), torch.eye(2))
    lower = LinearGaussian(torch.randn(4, 3), torch.randn(4), 0.5, mean, covariance)
    exact = MultivariateNormal(*lower.marginal(mean, covariance))
    with torch.no_grad():
        for layer in (lower, upper):
            layer.offset += perturb
    return Flow([lower, upper], StandardNormal((2,))), exact
