"""Flows of other libraries, of the same architecture as ours: RealNVP, MAF and splines, each with two hidden layers.

All take the same numbers: of dimensions, of layers, of hidden units. A rival is imported only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.rivals import Sampler, load, sampler

Build = Callable[[int, int, int], nn.Module]
"""From dimensions, layers and hidden units to a flow with `log_prob`."""


class ReLUs(nn.Sequential):
    """Linear maps with rectifiers between them; nflows hands its networks a context, here always None."""

    def __init__(self, *widths: int):
        layers: list[nn.Module] = []
        for a, b in zip(widths, widths[1:]):
            layers += [nn.Linear(a, b), nn.ReLU()]
        super().__init__(*layers[:-1])
        self.hidden_features = widths[1]  # by which nflows scales the inputs of a softmax

    def forward(self, x: torch.Tensor, context: None = None) -> torch.Tensor:
        return super().forward(x)


def nflows_realnvp(dims: int, layers: int, hidden: int) -> nn.Module:
    """Every second entry moves, scaled by sigmoid(a + 2) + 0.001."""
    transforms = load("nflows.transforms")
    masks = [(torch.arange(dims) + i) % 2 * 2 - 1 for i in range(layers)]
    couplings = [transforms.AffineCouplingTransform(m, lambda a, b: ReLUs(a, hidden, hidden, b)) for m in masks]
    noise = load("nflows.distributions").StandardNormal([dims])
    flow: nn.Module = load("nflows.flows").Flow(transforms.CompositeTransform(couplings), noise)
    return flow


def normflows_realnvp(dims: int, layers: int, hidden: int) -> nn.Module:
    """The second half moves, scaled by exp(a); then the halves are exchanged."""
    nf, chain = load("normflows"), []
    for _ in range(layers):
        net = nf.nets.MLP([dims // 2, hidden, hidden, dims])
        chain += [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(dims, mode="swap")]
    noise = nf.distributions.DiagGaussian(dims, trainable=False)
    flow: nn.Module = nf.NormalizingFlow(noise, chain[:-1])  # nothing to exchange after the last
    return flow


class Zuko(nn.Module):
    """A flow of zuko: it makes a distribution, which is asked."""

    def __init__(self, name: str, dims: int, layers: int, hidden: int, **how: Any):
        super().__init__()
        self.flow = getattr(load("zuko.flows"), name)(dims, transforms=layers, hidden_features=(hidden, hidden), **how)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """[B], nats."""
        log_prob: torch.Tensor = self.flow().log_prob(x)
        return log_prob

    def sample(self, n: int) -> torch.Tensor:
        """[n, D]."""
        x: torch.Tensor = self.flow().sample((n,))
        return x


def nflows_maf(dims: int, layers: int, hidden: int) -> nn.Module:
    """An input layer, one block of one layer, an output layer; scaled by softplus(a) + 0.001."""
    flow: nn.Module = load("nflows.flows").MaskedAutoregressiveFlow(
        dims, hidden, num_layers=layers, num_blocks_per_layer=1, use_residual_blocks=False
    )
    return flow


def nflows_splines(dims: int, layers: int, hidden: int) -> nn.Module:
    """Every second entry moves along a spline of 8 bins, straight outside of [-5, 5]."""
    transforms = load("nflows.transforms")
    couplings = [
        transforms.PiecewiseRationalQuadraticCouplingTransform(
            (torch.arange(dims) + i) % 2 * 2 - 1,
            lambda a, b: ReLUs(a, hidden, hidden, b),
            num_bins=8,
            tails="linear",
            tail_bound=5.0,
        )
        for i in range(layers)
    ]
    noise = load("nflows.distributions").StandardNormal([dims])
    flow: nn.Module = load("nflows.flows").Flow(transforms.CompositeTransform(couplings), noise)
    return flow


def zuko(name: str, **how: Any) -> Build:
    """A maker of flows of zuko."""
    return lambda dims, layers, hidden: Zuko(name, dims, layers, hidden, **how)


COUPLINGS: dict[str, Build] = {"nflows": nflows_realnvp, "normflows": normflows_realnvp, "zuko": zuko("RealNVP")}
MASKED: dict[str, Build] = {"zuko": zuko("MAF"), "nflows": nflows_maf}
SPLINE_COUPLINGS: dict[str, Build] = {"zuko": zuko("NSF", passes=2), "nflows": nflows_splines}
MASKED_SPLINES: dict[str, Build] = {"zuko": zuko("NSF")}


def maf_sampler(name: str, dims: int, layers: int, hidden: int) -> Sampler:
    """Draws from a masked autoregressive flow of another library."""
    flow: Any = MASKED[name](dims, layers, hidden)
    return sampler(flow, flow.sample)
