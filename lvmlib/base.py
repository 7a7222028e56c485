"""The one idea of the library: a model is a chain of layers from data to noise, ended by a base density.

Each layer pays its share of the log-likelihood. A bijection pays its log-determinant. A stochastic layer draws
:math:`z \\sim q(z \\mid x)` and pays :math:`\\log p(x \\mid z) - \\log q(z \\mid x)`, which turns the total into a
bound (Nielsen et al. 2020, *SurVAE Flows*). `Density` and `Transform` are defined here, `Stochastic` in
`lvmlib.stochastic` and the chain, `Flow`, in `lvmlib.chain`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from lvmlib.checks import (
    check_context,
    check_count,
    check_no,
    check_read,
    check_sizes,
    check_told,
    check_type,
    check_wanted,
    entrance,
    refuse,
)
from lvmlib.draws import Conditioned, tempered
from lvmlib.generators import seed_everything as seed_everything  # where it used to be

if TYPE_CHECKING:
    from lvmlib.trace import Trace


def bits_per_dim(log_prob: Tensor, event_shape: Sequence[int]) -> Tensor:
    r"""Convert a log-probability in nats into bits per dimension, the only unit conversion in the library.

    .. math:: \text{bits/dim} = -\frac{\log p(x)}{D \ln 2}

    Args:
        log_prob: any shape, nats.
        event_shape: shape of one example, with :math:`D` entries in all.

    Returns:
        Same shape as `log_prob`, bits per dimension; lower is better. Below 0 it is no code length but comes from a
        density, which may exceed 1: of pixels scaled to [0, 1], say, which lack log2(levels) bits per dimension.

    Example:
        >>> import torch
        >>> from lvmlib import bits_per_dim
        >>> uniform = -784 * torch.tensor([256.0]).log()  # every pixel uniform over 256 values
        >>> round(bits_per_dim(uniform, (1, 28, 28)).item(), 4)
        8.0
    """
    return -log_prob / (math.prod(check_sizes(event_shape)) * math.log(2))


class Density(nn.Module):
    """A distribution over events of one fixed shape, possibly given a context.

    A subclass defines `distribution`, or `log_prob` and `sample`, and `rsample_with_log_prob` where it can.

    Args:
        event_shape: shape of one example, without the batch axis.

    Attributes:
        event_shape: `torch.Size`.
        is_bound: True where `log_prob` is a lower bound in expectation and not the log-likelihood itself.
        support: the values that an entry may take.
        ignores_context: True where nothing depends on a context, so that one given from outside of a chain is refused.
    """

    is_bound: bool = False
    ignores_context: bool = False
    support: constraints.Constraint = constraints.real

    def __init__(self, event_shape: Sequence[int]):
        super().__init__()
        self.event_shape = check_sizes(event_shape)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each example, never averaged.

        Args:
            x: [B, \\*event_shape].
            context: [B, ...] or None.

        Returns:
            [B], nats.
        """
        with entrance(self, x, context):
            return self.distribution(context).log_prob(x)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """`log_prob`, so that a density can be compiled, wrapped and called like any other module."""
        return self.log_prob(x, context)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw `n` examples, without gradient.

        Args:
            n: how many.
            context: [n, ...], one row per draw, or None.
            temperature: multiplies standard deviations and divides logits; below 1 the draws vary less.

        Returns:
            [n, \\*event_shape].
        """
        n = check_count(n, "n")
        check_context(context, n)
        check_wanted(self, context)
        distribution = tempered(self.distribution(context), temperature)
        return distribution.sample() if distribution.batch_shape else distribution.sample(torch.Size((n,)))

    def given(self, context: Tensor) -> Distribution | Conditioned:
        """The density at one context, to be used more than once: networks that read the context run here.

        Args:
            context: [B, ...].

        Returns:
            A torch distribution of batch shape [B] where there is one behind the density, else a `Conditioned`.
        """
        return self.distribution(context) if self.has_distribution else Conditioned(self, context)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The torch distribution behind the density, where there is one: it offers closed-form KL.

        Returns:
            Batch shape [] without a context and [B] with one; event shape `event_shape`.

        Raises:
            TypeError: the density has no torch distribution behind it.
        """
        refuse(f"{type(self).__name__} has no torch distribution behind it; use its log_prob and sample.")

    @property
    def has_distribution(self) -> bool:
        """Whether `distribution` has something to return."""
        return type(self).distribution is not Density.distribution

    def rsample_with_log_prob(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw `n` examples with gradient and give their log-density at the cost of one pass.

        Returns:
            x: [n, \\*event_shape], log_prob: [n], nats.

        Raises:
            TypeError: the draws cannot be reparameterised.
        """
        n = check_count(n, "n")
        check_context(context, n)
        distribution = self.distribution(context)
        check_no(
            not distribution.has_rsample,
            f"{type(self).__name__} cannot draw with gradient: {distribution} has no rsample.",
        )
        x = distribution.rsample() if distribution.batch_shape else distribution.rsample(torch.Size((n,)))
        return x, distribution.log_prob(x)

    @property
    def has_rsample(self) -> bool:
        """Whether `rsample_with_log_prob` is defined."""
        return self.has_distribution or type(self).rsample_with_log_prob is not Density.rsample_with_log_prob

    def log_weights(self, x: Tensor, k: int, context: Tensor | None = None) -> Tensor:
        """Log importance weights of `k` draws; of an exact density, `k` times its log-likelihood.

        Returns:
            [k, B], nats.

        Raises:
            TypeError: the density is a bound and does not say what its weights are.
        """
        if self.is_bound:
            self.trace(x, context, k)  # which it does not have either, and says so
        k, log_prob = check_count(k), self.log_prob(x, context)
        return log_prob.expand(k, *log_prob.shape)

    def trace(self, x: Tensor, context: Tensor | None = None, k: int = 1, **how: Any) -> Trace:
        """The way of a batch from data to noise: of chains, see `lvmlib.chain.Flow.trace`; others raise a TypeError."""
        refuse(
            f"{type(self).__name__} is no chain of layers, so it has no trace and no importance weights. Where it "
            "wraps a chain, let its trace, log_weights and is_bound be those of the chain."
        )


class Given(Density):
    r"""A density whose context passes through a network first, :math:`p(x \mid f(c))`.

    However often the density is used at one context (`given`), the network runs once. This makes an encoder in front of
    a flow posterior, a conditional flow, or a pixel model that is told of a picture.

    Args:
        density: a conditional density.
        network: maps the context [B, ...] to what `density` takes as its context.

    Raises:
        TypeError: `density` is no `Density`.

    Example:
        >>> import torch
        >>> from lvmlib import MLP, ConditionalNormal, Given
        >>> told = Given(ConditionalNormal((2,), MLP(8, (), 4)), MLP(3, (16,), 8))
        >>> told.log_prob(torch.zeros(5, 2), torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    def __init__(self, density: Density, network: nn.Module):
        check_type(density, Density, "Given wraps a Density, but it was given a {}.")
        super().__init__(density.event_shape)
        self.density, self.network, self.support = density, network, density.support

    @property
    def is_bound(self) -> bool:  # type: ignore[override]
        """Whether `log_prob` of the density inside is a lower bound."""
        return self.density.is_bound

    @property
    def has_distribution(self) -> bool:
        return self.density.has_distribution

    @property
    def has_rsample(self) -> bool:
        return self.density.has_rsample

    def read(self, context: Tensor | None) -> Tensor:
        """What the network makes of the context."""
        context = check_told(context, type(self).__name__)
        try:
            out: Tensor = self.network(context)
        except RuntimeError as error:
            check_read(error, type(self).__name__, context)
            raise
        return out

    def given(self, context: Tensor) -> Distribution | Conditioned:
        return self.density.given(self.read(context))

    def distribution(self, context: Tensor | None = None) -> Distribution:
        return self.density.distribution(self.read(context))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.density.log_prob(x, self.read(context))

    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0, **how: Any) -> Tensor:
        return self.density.sample(n, self.read(context), temperature, **how)

    def rsample_with_log_prob(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.density.rsample_with_log_prob(n, self.read(context))

    def log_weights(self, x: Tensor, k: int, context: Tensor | None = None) -> Tensor:
        return self.density.log_weights(x, k, self.read(context))

    def trace(self, x: Tensor, context: Tensor | None = None, k: int = 1, **how: Any) -> Trace:
        return self.density.trace(x, self.read(context), k, **how)


class Transform(nn.Module):
    """A bijection with a tractable log-determinant; its direction is always data -> noise.

    Attributes:
        event_shape: shape on the data side, or None where any shape will do.
        latent_shape: shape on the noise side; None, that of the data side.
        support: the values that the data may take; None where a layer only moves values, so that what follows decides.
        ignores_context: True where nothing depends on a context.
    """

    event_shape: torch.Size | None = None
    latent_shape: torch.Size | None = None
    support: constraints.Constraint | None = constraints.real
    ignores_context: bool = False

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data towards noise.

        Returns:
            z: [B, ...], log_det: [B], nats, :math:`\\log \\lvert \\det \\partial z / \\partial x \\rvert`.
        """
        refuse(f"{type(self).__name__} does not define forward(x, context) -> z, log_det.")

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map noise towards data.

        Returns:
            x: [B, ...], log_det of the inverse map: [B], nats.
        """
        refuse(f"{type(self).__name__} does not define inverse(z, context) -> x, log_det.")

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The data that belong to `z`; what sampling calls."""
        return self.inverse(z, context)[0]

    def start_from(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set parameters from a first batch of data, where the layer has such a start."""
