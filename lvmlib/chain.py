"""The chain of layers from data to noise, ended by a base density: the one class that all models are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from lvmlib.base import Density, Transform
from lvmlib.checks import check_context, check_count, check_link, check_no, check_type, check_wanted, entrance, trusted
from lvmlib.draws import Draw, draw, draw_to_weigh
from lvmlib.stochastic import Stochastic
from lvmlib.trace import Trace, Walk, end_of_chain


class Flow(Density):
    r"""A chain of transforms, from data to noise, ended by a base density.

    .. math:: \log p(x) \;(\ge)\; \log p_0(z) + \sum_\ell \text{contribution}_\ell

    Equality where every layer is a bijection; otherwise the right-hand side is a bound in expectation, `is_bound`. A
    base that is a `Flow` itself, such as a flow prior, is walked as part of the chain.

    Args:
        transforms: layers in the order in which data pass them.
        base: the density at the end of the chain.

    Raises:
        TypeError: a layer is no `Transform`, or the base no `Density`.
        ValueError: a layer gives another shape than the next one takes.

    Example:
        A flow without layers is its base density.

        >>> import torch
        >>> from lvmlib import Flow, StandardNormal
        >>> flow = Flow([], StandardNormal((2,)))
        >>> flow.log_prob(torch.zeros(1, 2))
        tensor([-1.8379])

    Source: Nielsen et al. 2020, *SurVAE Flows*, algorithm 1.
    """

    def __init__(self, transforms: Iterable[Transform], base: Density):
        layers = list(transforms)
        check_type(base, Density, "A chain ends in a Density, but it was given a {}.")
        shape, support = _data_side(layers, base.event_shape, base.support)
        super().__init__(cast(torch.Size, shape))
        self.transforms, self.base = nn.ModuleList(layers), base
        self.support = cast(Constraint, support)

    @property
    def layers(self) -> list[Transform]:
        """The transforms as a plain list, from the data on; those of a base that is a flow belong to it."""
        own = cast("list[Transform]", list(self.transforms))
        return own + self.base.layers if isinstance(self.base, Flow) else own

    @property
    def end(self) -> Density:
        """The density at the very end of the chain."""
        return self.base.end if isinstance(self.base, Flow) else self.base

    @property
    def is_bound(self) -> bool:  # type: ignore[override]
        """Whether `log_prob` is a lower bound, because a layer draws or the base itself gives a bound."""
        return self.base.is_bound or any(isinstance(layer, Stochastic) for layer in self.transforms)

    @property
    def ignores_context(self) -> bool:  # type: ignore[override]
        """Whether neither the base nor any layer depends on a context."""
        return self.end.ignores_context and all(layer.ignores_context for layer in self.layers)

    @property
    def has_rsample(self) -> bool:
        return self.base.has_rsample and not self.is_bound

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-likelihood; where `is_bound`, the ELBO estimated with one draw.

        Returns:
            [B], nats.
        """
        if self.is_bound:
            return self.log_weights(x, 1, context)[0]
        with entrance(self, x, context):
            z, paid = x, cast(Tensor, 0.0)
            for layer in self.layers:
                z, log_det = layer(z, context)
                paid = paid + log_det
            return paid + self.end.log_prob(z, context)

    def log_weights(self, x: Tensor, k: int, context: Tensor | None = None) -> Tensor:
        r"""Log importance weights :math:`\log p(x, z) - \log q(z \mid x)` of `k` draws; no step of the way is kept.

        Returns:
            [k, B], nats. For an exact flow all rows are the log-likelihood.
        """
        k = check_count(k)
        if not self.is_bound:
            return super().log_weights(x, k, context)
        with entrance(self, x, context):
            walk = Walk(x, context, k)
            paid: Any = sum(step.paid for step in walk.through(self.layers, draw_to_weigh))
            return paid + end_of_chain(self.end, walk.z, walk.size, walk.context)

    def trace(self, x: Tensor, context: Tensor | None = None, k: int = 1, draw: Draw = draw) -> Trace:  # type: ignore[override]
        """Follow a batch from data to noise, with `k` draws of every stochastic layer.

        Every encoder runs once per example, not k times.

        Args:
            x: [B, \\*event_shape].
            context: [B, ...] or None.
            k: number of draws per example.
            draw: how to draw from a posterior: `lvmlib.draws.draw`, `draw_constant`, or a function of one's own,
                ``draw(q, n) -> z [n, B, ...], log q [n, B]``.

        Returns:
            A `Trace`.

        Raises:
            ValueError: `x` has another shape than [B, \\*event_shape], values outside the support, or k < 1.
            TypeError: a posterior cannot pass on the gradient that `draw` promises.
        """
        k = check_count(k)
        with entrance(self, x, context):
            walk = Walk(x, context, k)
            return Trace(list(walk.through(self.layers, draw)), walk, self.end)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw from the base, at a temperature, and walk the chain back; encoders never run.

        Returns:
            [n, \\*event_shape].
        """
        n = check_count(n, "n")
        check_context(context, n)
        check_wanted(self, context)
        with trusted():
            return self.decode(self.end.sample(n, context, temperature), context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Walk the chain back from a point of the base's space; a stochastic layer draws x ~ p(x|z).

        Args:
            z: [B, ...], as in `Trace.z[i]`.
            context: [B, ...] or None.

        Returns:
            [B, \\*event_shape].
        """
        with trusted():
            for layer in reversed(self.layers):
                z = layer.generate(z, context)
        return z

    def rsample_with_log_prob(self, n: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw with gradient and give the log-density of the draws; exact flows only.

        Raises:
            TypeError: a layer is stochastic, so the density of a draw is not known.
        """
        n = check_count(n, "n")
        check_context(context, n)
        check_no(
            self.is_bound,
            "rsample_with_log_prob needs a chain of bijections, but this flow has a stochastic layer, so the density "
            "of its own draws is an integral. Use sample, or log_weights on given data.",
        )
        with trusted():
            z, log_prob = self.end.rsample_with_log_prob(n, context)
            for layer in reversed(self.layers):
                z, log_det = layer.inverse(z, context)
                log_prob = log_prob - log_det
        return z, log_prob

    @torch.no_grad()
    def start_from(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set the parameters of layers that start from data (ActNorm), from a first batch, layer by layer."""
        with entrance(self, x, context):
            _start(self.layers, x, context)


class Chain(Transform):
    """Several bijections as one.

    Args:
        transforms: in the order in which data pass them.

    Raises:
        TypeError: a layer is no bijection.
        ValueError: a layer gives another shape than the next one takes.

    Example:
        >>> import torch
        >>> from lvmlib import Chain, Transform
        >>> class Double(Transform):
        ...     def forward(self, x, context=None):
        ...         return 2 * x, x.new_full((len(x),), x.shape[1]) * torch.tensor(2.0).log()
        >>> Chain([Double(), Double()])(torch.ones(1, 3))
        (tensor([[4., 4., 4.]]), tensor([4.1589]))
    """

    def __init__(self, transforms: Iterable[Transform]):
        super().__init__()
        layers = list(transforms)
        _check_bijections(layers)
        latent = layers[-1].event_shape if layers[-1].latent_shape is None else layers[-1].latent_shape
        self.latent_shape = latent
        self.event_shape, self.support = _data_side(layers, latent, None)
        self.transforms = nn.ModuleList(layers)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total: Any = 0.0
        for layer in self.transforms:
            x, log_det = layer(x, context)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total: Any = 0.0
        for layer in reversed(cast("list[Transform]", list(self.transforms))):
            z, log_det = layer.inverse(z, context)
            total = total + log_det
        return z, total

    def start_from(self, x: Tensor, context: Tensor | None = None) -> None:
        _start(cast("list[Transform]", list(self.transforms)), x, context)


class Inverse(Transform):
    """A bijection walked the other way: an inverse autoregressive flow is the `Inverse` of a masked one.

    Args:
        transform: the bijection.

    Raises:
        TypeError: it is no bijection.

    Example:
        >>> import torch
        >>> from lvmlib import Inverse, Transform
        >>> class Double(Transform):
        ...     def inverse(self, z, context=None):
        ...         return z / 2, -z.new_full((len(z),), z.shape[1]) * torch.tensor(2.0).log()
        >>> Inverse(Double())(torch.ones(1, 3))
        (tensor([[0.5000, 0.5000, 0.5000]]), tensor([-2.0794]))
    """

    def __init__(self, transform: Transform):
        super().__init__()
        _check_bijections([transform])
        self.transform = transform
        self.event_shape = transform.event_shape if transform.latent_shape is None else transform.latent_shape
        self.latent_shape = transform.event_shape

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform.inverse(x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.transform(z, context)


Shape = torch.Size | None


def _data_side(layers: list[Transform], shape: Shape, support: Constraint | None) -> tuple[Shape, Constraint | None]:
    """Shape and support on the data side, seen from the end; each layer must give what the next one takes."""
    for i, layer in reversed(list(enumerate(layers))):
        check_type(layer, Transform, "A chain is made of Transforms, but it was given a {}.")
        latent = layer.latent_shape
        if latent is None and not isinstance(layer, Stochastic):
            latent = layer.event_shape
        check_link(i, type(layer).__name__, latent, shape)
        shape = shape if layer.event_shape is None else torch.Size(layer.event_shape)
        support = support if layer.support is None else layer.support
    return shape, support


def _check_bijections(layers: list[Transform]) -> None:
    for layer in layers:
        check_type(layer, Transform, "A chain is made of Transforms, but it was given a {}.")
        check_no(
            isinstance(layer, Stochastic),
            f"Chain and Inverse take bijections, but {type(layer).__name__} draws; put it into a Flow by itself.",
        )


def _start(layers: Iterable[Transform], x: Tensor, context: Tensor | None) -> None:
    for layer in layers:
        layer.start_from(x, context)
        x = layer(x, context)[0]
