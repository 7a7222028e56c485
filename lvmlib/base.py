"""The one idea of the library: a model is a chain of layers from data to noise, ended by a base density.

Each layer pays its share of the log-likelihood. A bijection pays its log-determinant. A stochastic layer draws
:math:`z \\sim q(z \\mid x)` and pays :math:`\\log p(x \\mid z) - \\log q(z \\mid x)`, which turns the total into a
bound (Nielsen et al. 2020, *SurVAE Flows*). `Density`, `Transform`, `Stochastic` and `Flow` are all there is to it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints


def seed_everything(seed: int) -> None:
    """Seed every generator that the library and its notebooks draw from: Python's, NumPy's and torch's.

    Args:
        seed: a whole number, 0 or larger.

    Example:
        >>> seed_everything(0)
        >>> first = torch.rand(())
        >>> seed_everything(0)
        >>> bool(torch.rand(()) == first)
        True
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (older libraries draw from NumPy's global generator)
    torch.manual_seed(seed)


def bits_per_dim(log_prob: Tensor, event_shape: Sequence[int]) -> Tensor:
    r"""Convert a log-probability in nats into bits per dimension, the only unit conversion in the library.

    .. math:: \text{bits/dim} = -\frac{\log p(x)}{D \ln 2}

    Args:
        log_prob: any shape, nats.
        event_shape: shape of one example, with :math:`D` entries in all.

    Returns:
        Same shape as `log_prob`, bits per dimension; lower is better.

    Example:
        >>> uniform = -784 * math.log(256) * torch.ones(1)   # every pixel uniform over 256 values
        >>> round(bits_per_dim(uniform, (1, 28, 28)).item(), 4)
        8.0
    """
    return -log_prob / (math.prod(event_shape) * math.log(2))


def check_batch(x: Tensor, event_shape: Sequence[int], name: str = "x") -> None:
    """Raise `ValueError` unless `x` is a batch of events, `[B, *event_shape]`, of at least one row."""
    expected = tuple(event_shape)
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{name} must be a torch.Tensor of shape [B, {_comma(expected)}], but it is a {type(x).__name__}."
        )
    if x.dim() != len(expected) + 1 or tuple(x.shape[1:]) != expected:
        hint = " Add a batch dimension with x[None]." if tuple(x.shape) == expected else ""
        raise ValueError(f"{name} must have shape [B, {_comma(expected)}], but it has {list(x.shape)}.{hint}")
    if len(x) == 0:  # torch's Independent fails on it with a message about reshaping
        raise ValueError(f"{name} is an empty batch, of shape {list(x.shape)}; it needs at least one example.")


def check_context(context: Tensor | None, rows: int) -> None:
    """Raise `ValueError` unless `context` is None or has one row per example."""
    if context is None:
        return
    if not isinstance(context, Tensor) or context.dim() == 0:
        what = "a single number" if isinstance(context, Tensor) else f"a {type(context).__name__}"
        raise TypeError(f"context must be a torch.Tensor of shape [{rows}, ...] or None, but it is {what}.")
    if len(context) != rows:
        raise ValueError(f"context must have one row per example, {rows} in all, but it has {len(context)}.")


def _comma(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))


def repeat_rows(x: Tensor, k: int) -> Tensor:
    """Lay `k` copies of a batch below one another, `[B, ...] -> [k * B, ...]`, copy by copy."""
    return x if k == 1 else x.expand(k, *x.shape).flatten(0, 1)


class Density(nn.Module):
    """A distribution over events of one fixed shape, possibly given a context.

    Attributes:
        event_shape: shape of one example.
        is_bound: True where `log_prob` returns (an unbiased estimate of) a lower bound instead of the log-density.
        support: which values an event may take; checked at the door of `Flow.trace`.
    """

    event_shape: torch.Size
    is_bound: bool = False
    support: constraints.Constraint = constraints.real

    def __init__(self, event_shape: Sequence[int]):
        super().__init__()
        self.event_shape = torch.Size(event_shape)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each example, never averaged.

        Args:
            x: [B, \\*event_shape].
            context: [B, ...] or None.

        Returns:
            [B], nats.
        """
        check_batch(x, self.event_shape)
        check_context(context, len(x))
        return self.distribution(context).log_prob(x)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """Draw `n` examples, without gradient.

        Args:
            n: how many.
            context: [n, ...], one row per draw, or None.

        Returns:
            [n, \\*event_shape].
        """
        check_context(context, n)
        distribution = self.distribution(context)
        return distribution.sample() if distribution.batch_shape else distribution.sample(torch.Size((n,)))

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The torch distribution behind the density, where there is one: it offers closed-form KL.

        Returns:
            Batch shape [] without a context and [B] with one; event shape `event_shape`.

        Raises:
            TypeError: the density has no torch distribution behind it.
        """
        raise TypeError(f"{type(self).__name__} has no torch distribution behind it; use its log_prob and sample.")

    def rsample_with_log_prob(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw `n` examples with gradient and give their log-density at the cost of one pass.

        Returns:
            x: [n, \\*event_shape], log_prob: [n], nats.

        Raises:
            TypeError: the draws cannot be reparameterised.
        """
        check_context(context, n)
        distribution = self.distribution(context)
        if not distribution.has_rsample:
            raise TypeError(f"{type(self).__name__} cannot draw with gradient: {distribution} has no rsample.")
        x = distribution.rsample() if distribution.batch_shape else distribution.rsample(torch.Size((n,)))
        return x, distribution.log_prob(x)


class Given(Density):
    r"""A conditional density whose context passes through a network first.

    .. math:: p(x \mid c) = p(x \mid h = \text{network}(c))

    Args:
        density: takes what the network gives as its context.
        network: a module from contexts to contexts.

    Example:
        >>> from lvmlib.distributions import ConditionalNormal
        >>> density = Given(ConditionalNormal(nn.Linear(3, 4), (2,)), nn.Linear(5, 3))
        >>> density.log_prob(torch.zeros(7, 2), torch.zeros(7, 5)).shape
        torch.Size([7])
    """

    def __init__(self, density: Density, network: nn.Module):
        super().__init__(density.event_shape)
        self.density, self.network, self.support = density, network, density.support

    @property
    def is_bound(self) -> bool:  # type: ignore[override]
        return self.density.is_bound

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each example given its context; [B], nats."""
        return self.density.log_prob(x, self.network(context))

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0, **options: Any) -> Tensor:
        """Draw one example for each context; `options` go on to the density."""
        return self.density.sample(n, self.network(context), temperature, **options)  # type: ignore[call-arg]

    def rsample_with_log_prob(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw with gradient, one example for each context: x [n, \\*event_shape], log_prob [n]."""
        return self.density.rsample_with_log_prob(n, self.network(context))


class Transform(nn.Module):
    """A bijection with a tractable log-determinant; its direction is always data -> noise.

    Attributes:
        event_shape: shape on the data side, or None where any shape will do.
        support: which values the data may take; a chain asks its first layer.
    """

    event_shape: torch.Size | None = None
    support: constraints.Constraint = constraints.real

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data towards noise.

        Returns:
            z: [B, ...], log_det: [B], nats, :math:`\\log |\\det \\partial z / \\partial x|`.
        """
        raise TypeError(f"{type(self).__name__} does not define forward(x, context) -> z, log_det.")

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map noise towards data.

        Returns:
            x: [B, ...], log_det of the inverse map: [B], nats.
        """
        raise TypeError(f"{type(self).__name__} does not define inverse(z, context) -> x, log_det.")

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The data that belong to `z`; what sampling calls."""
        return self.inverse(z, context)[0]


class Conditioned:
    """A conditional density together with its context: what `posterior` returns where no torch distribution exists.

    Args:
        density: a conditional `Density` that can draw with gradient, such as a flow.
        context: [B, ...].
    """

    def __init__(self, density: Density, context: Tensor):
        self.density, self.context = density, context

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of draws `z: [n, B, ...]` under each row of the context; [n, B], nats."""
        n = len(z)
        return self.density.log_prob(z.flatten(0, 1), repeat_rows(self.context, n)).view(n, -1)

    def rsample_with_log_prob(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw `n` times for each row of the context: z [n, B, ...], log q [n, B]."""
        rows = len(self.context)
        z, log_q = self.density.rsample_with_log_prob(n * rows, repeat_rows(self.context, n))
        return z.unflatten(0, (n, rows)), log_q.view(n, rows)


class Stochastic(Transform):
    r"""A layer that draws, and so turns the likelihood of its chain into a bound.

    It pays :math:`\log p(x \mid z) - \log q(z \mid x)` for the :math:`z \sim q(z \mid x)` that it drew.
    """

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """The (approximate) posterior q(z|x): a distribution of batch shape [B], or a `Conditioned` density."""
        raise TypeError(f"{type(self).__name__} does not define posterior(x, context).")

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """The likelihood p(x|z): a distribution of batch shape [B], or a `Conditioned` density."""
        raise TypeError(f"{type(self).__name__} does not define likelihood(z, context).")

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Draw x ~ p(x|z), without gradient; sampling never runs the encoder."""
        likelihood = self.likelihood(z, context)
        with torch.no_grad():
            if isinstance(likelihood, Conditioned):
                return likelihood.density.sample(len(z), likelihood.context)
            return likelihood.sample()

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw z ~ q(z|x) and pay for it.

        Returns:
            z: [B, ...], log p(x|z) - log q(z|x): [B], nats.
        """
        z, log_q = draw(self.posterior(x, context), 1)
        z = z.flatten(0, 1)
        return z, log_prob_rows(self.likelihood(z, context), x) - log_q[0]

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw x ~ p(x|z) and pay for it.

        Returns:
            x: [B, ...], log q(z|x) - log p(x|z): [B], nats.
        """
        x = self.generate(z, context)
        return x, log_prob_rows(self.posterior(x, context), z) - log_prob_rows(self.likelihood(z, context), x)


def log_prob_rows(p: Distribution | Conditioned, x: Tensor) -> Tensor:
    """Log-density of row i of `x` under row i of `p`: [B], nats."""
    return p.log_prob(x[None])[0] if isinstance(p, Conditioned) else p.log_prob(x)


def draw(q: Distribution | Conditioned, n: int, pathwise: bool = True) -> tuple[Tensor, Tensor]:
    """Draw `n` times from each row of a posterior.

    Args:
        q: batch shape [B].
        n: draws per row.
        pathwise: let gradients flow through the draws. Without it the draws are constants, and an estimator that
            adds the score term is needed to train q.

    Returns:
        z: [n, B, ...], log q: [n, B], nats.

    Raises:
        TypeError: `pathwise` draws that would need a gradient, from a posterior that has none to offer. The score
            term would be dropped without a word, and the encoder trained on a wrong gradient.
    """
    if isinstance(q, Conditioned):
        if pathwise:
            return q.rsample_with_log_prob(n)
        with torch.no_grad():
            z, _ = q.rsample_with_log_prob(n)
        return z, q.log_prob(z)
    can_follow = pathwise and q.has_rsample
    z = q.rsample(torch.Size((n,))) if can_follow else q.sample(torch.Size((n,)))
    log_q = q.log_prob(z)
    if log_q.dim() != 2:
        raise ValueError(
            f"A posterior needs one batch dimension, [B], but {q} has batch shape {list(q.batch_shape)}; "
            "move the others into the event with torch.distributions.Independent."
        )
    if pathwise and not can_follow and log_q.requires_grad:
        raise TypeError(
            f"{q} has no rsample, so no gradient flows through its draws and the score term would be dropped. "
            "Pass pathwise=False and use an estimator that adds it, or evaluate under torch.no_grad()."
        )
    return z, log_q


@dataclass
class Step:
    """What one layer did to a batch; all tensors carry the k draws in front.

    Attributes:
        layer: the layer itself.
        x: its input, [k, B, ...].
        z: its output, [k, B, ...].
        q: the posterior that z was drawn from, over [B] rows (first stochastic layer) or [k * B]; None for a bijection.
        log_p: log p(x|z), [k, B], nats; 0 for a bijection.
        log_q: log q(z|x), [k, B], nats; 0 for a bijection.
        log_det: log|det dz/dx|, [k, B], nats; 0 for a stochastic layer.
    """

    layer: Transform
    x: Tensor
    z: Tensor
    q: Distribution | Conditioned | None
    log_p: Tensor
    log_q: Tensor
    log_det: Tensor


@dataclass
class Trace:
    """The whole way of a batch from data to noise, read by bounds, estimators and surgery.

    Attributes:
        steps: one per layer, from the data on.
        z: what reached the base density, [k, B, ...].
        log_base: its log-density there, [k, B], nats.
    """

    steps: list[Step]
    z: Tensor
    log_base: Tensor

    @property
    def log_weights(self) -> Tensor:
        r""":math:`\log w = \log p(x, z) - \log q(z \mid x)` of each draw, [k, B], nats."""
        total = self.log_base
        for step in self.steps:
            total = total + step.log_p - step.log_q + step.log_det
        return total


class Flow(Density):
    r"""A chain of transforms, from data to noise, ended by a base density.

    .. math:: \log p(x) \;(\ge)\; \log p_0(z) + \sum_\ell \text{contribution}_\ell

    Equality where every layer is a bijection; otherwise the right-hand side is a bound in expectation, `is_bound`.

    Args:
        transforms: layers in the order in which data pass them.
        base: the density at the end of the chain.

    Example:
        A flow without layers is its base density.

        >>> from lvmlib.distributions import StandardNormal
        >>> flow = Flow([], StandardNormal((2,)))
        >>> flow.log_prob(torch.zeros(1, 2))
        tensor([-1.8379])

    Source: Nielsen et al. 2020, *SurVAE Flows*, algorithm 1.
    """

    def __init__(self, transforms: Iterable[Transform], base: Density):
        layers = list(transforms)
        for layer in layers:
            if not isinstance(layer, Transform):
                raise TypeError(f"A chain is made of Transforms, but it was given a {type(layer).__name__}.")
        if not isinstance(base, Density):
            raise TypeError(f"A chain ends in a Density, but it was given a {type(base).__name__}.")
        shapes = [layer.event_shape for layer in layers if layer.event_shape is not None]
        super().__init__(shapes[0] if shapes else base.event_shape)
        self.transforms = nn.ModuleList(layers)
        self.base = base
        self.support = layers[0].support if layers else base.support

    @property
    def is_bound(self) -> bool:  # type: ignore[override]
        return self.base.is_bound or any(isinstance(layer, Stochastic) for layer in self.transforms)

    @property
    def layers(self) -> list[Transform]:
        """The transforms as a plain list, from the data on."""
        return cast("list[Transform]", list(self.transforms))

    def trace(self, x: Tensor, context: Tensor | None = None, k: int = 1, pathwise: bool = True) -> Trace:
        """Follow a batch from data to noise, with `k` draws of every stochastic layer.

        The first stochastic layer's encoder runs once per example, not k times.

        Args:
            x: [B, \\*event_shape].
            context: [B, ...] or None.
            k: number of draws per example.
            pathwise: let gradients flow through the draws; see `draw`.

        Returns:
            A `Trace`: per layer z [k, B, ...], q, log_p, log_q and log_det [k, B] in nats.

        Raises:
            ValueError: `x` has another shape than [B, \\*event_shape], values outside the support, or k < 1.
            TypeError: a posterior cannot pass on the gradient that `pathwise` promises.
        """
        self._check(x, context, k)
        rows, steps = len(x), []
        z, row_context, drawn = x, context, False

        def shaped(t: Tensor) -> Tensor:  # [B] or [k * B] -> [k, B]
            return t.view(-1, rows, *t.shape[1:]).expand(k, rows, *t.shape[1:])

        for layer in self.layers:
            x_in, q = z, None
            if isinstance(layer, Stochastic):
                q = layer.posterior(x_in, row_context)
                z, log_q = draw(q, 1 if drawn else k, pathwise)
                z, log_q = z.flatten(0, 1), log_q.flatten()  # [k * B, ...]
                if not drawn:
                    x_in = repeat_rows(x_in, k)
                    row_context = None if context is None else repeat_rows(context, k)
                    drawn = True
                log_p = log_prob_rows(layer.likelihood(z, row_context), x_in)
                log_det = torch.zeros_like(log_p)
            else:
                z, log_det = layer(x_in, row_context)
                log_p = log_q = torch.zeros_like(log_det)
            steps.append(Step(layer, shaped(x_in), shaped(z), q, shaped(log_p), shaped(log_q), shaped(log_det)))
        if self.base.is_bound and not drawn:  # all draws are the base's own
            z, row_context = repeat_rows(z, k), None if context is None else repeat_rows(context, k)
        return Trace(steps, shaped(z), shaped(self.base.log_prob(z, row_context)))

    def log_weights(self, x: Tensor, k: int, context: Tensor | None = None) -> Tensor:
        r"""Log importance weights :math:`\log p(x, z) - \log q(z \mid x)` of `k` draws.

        Returns:
            [k, B], nats. For an exact flow all rows are the log-likelihood.
        """
        return self.trace(x, context, k).log_weights

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-likelihood; where `is_bound`, the ELBO estimated with one draw.

        Returns:
            [B], nats.
        """
        return self.log_weights(x, 1, context)[0]

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """Draw from the base and walk the chain back; encoders never run."""
        check_context(context, n)
        z = self.base.sample(n, context)
        for layer in reversed(self.layers):
            z = layer.generate(z, context)
        return z

    def rsample_with_log_prob(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw with gradient and give the log-density of the draws; exact flows only.

        Raises:
            TypeError: a layer is stochastic, so the density of a draw is not known.
        """
        if self.is_bound:
            raise TypeError(
                "rsample_with_log_prob needs a chain of bijections, but this flow has a stochastic layer, "
                "so the density of its own draws is an integral. Use sample, or log_weights on given data."
            )
        z, log_prob = self.base.rsample_with_log_prob(n, context)
        for layer in reversed(self.layers):
            z, log_det = layer.inverse(z, context)
            log_prob = log_prob - log_det
        return z, log_prob

    def _check(self, x: Tensor, context: Tensor | None, k: int) -> None:
        if k < 1 or k % 1:
            raise ValueError(f"k counts draws and must be a whole number, 1 or more, but it is {k}.")
        check_batch(x, self.event_shape)
        check_context(context, len(x))
        outside = ~(self.support.check(x) & x.isfinite())
        if outside.any():
            raise ValueError(
                f"{type(self).__name__} expects values in {self.support}, but {int(outside.sum())} of {x.numel()} "
                f"values are not, such as {x[outside][0].item():g}. {_remedy(self.support)}"
            )


def _remedy(support: constraints.Constraint) -> str:
    if support is constraints.boolean:
        return "Load the data with binarize='stochastic' or 'static', or choose another likelihood."
    return "Rescale or clean the data, or choose another likelihood."
