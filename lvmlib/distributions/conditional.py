"""Densities whose parameters a network computes from the context: encoders, decoders and their like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, constraints

from lvmlib.base import Density
from lvmlib.checks import check_count, check_read, number
from lvmlib.distributions.discretized import DiscretizedLogistic
from lvmlib.distributions.factorised import Coins, DiagonalNormal
from lvmlib.draws import at_least_float32


class _Conditional(Density):
    """A density whose parameters a network computes from the context."""

    parameters_per_dim = 1

    def __init__(self, event_shape: Sequence[int], network: nn.Module):
        super().__init__(event_shape)
        self.network, self.dims = network, math.prod(self.event_shape)

    def _outputs(self, context: Tensor | None) -> tuple[Tensor, ...]:
        """Run the network: one tensor [B, *event_shape] per parameter of the distribution."""
        out = self._output(context, self.parameters_per_dim * self.dims, f"{self.parameters_per_dim} per dimension")
        # The parameters lie behind one another: [B, P * D] -> P tensors [B, *event_shape].
        parts = [out] if self.parameters_per_dim == 1 else out.flatten(1).chunk(self.parameters_per_dim, dim=1)
        if parts[0].shape[1:] == self.event_shape:
            return tuple(parts)
        return tuple(part.reshape(-1, *self.event_shape) for part in parts)

    def _output(self, context: Tensor | None, wanted: int, counted: str) -> Tensor:
        """Run the network, which has to return so many numbers for each row of the context."""
        if context is None:
            raise ValueError(f"{type(self).__name__} computes its parameters from a context, but context is None.")
        try:
            out: Tensor = self.network(context)
        except RuntimeError as error:
            out = self._in_its_precision(context, error)
        if out.numel() != out.shape[0] * wanted:
            raise ValueError(
                f"{type(self).__name__} with event shape {list(self.event_shape)} needs a network with {wanted} "
                f"outputs per example ({counted}), but it returned {list(out.shape[1:])}."
            )
        return out

    def _in_its_precision(self, context: Tensor, error: RuntimeError) -> Tensor:
        """Run the network on the context in the precision of its weights, or say in words why it failed."""
        dtypes = {p.dtype: None for p in self.network.parameters()}  # in their order
        if not dtypes or context.dtype in dtypes:
            check_read(error, type(self).__name__, context)
            raise error
        first = next(iter(dtypes))
        if not _converts(context.dtype, first):
            raise TypeError(
                f"The network of {type(self).__name__} computes in {first}, but it was given {context.dtype}. "
                f"Convert the data with data.unit() or x.to({first}), or the model with model.to(dtype)."
            ) from error
        out: Tensor = self.network(context.to(first))
        return out


def _converts(given: torch.dtype, wanted: torch.dtype) -> bool:
    """Where nothing is lost, and into half precision, which weights may have but draws and densities have not."""
    return given.is_floating_point and (wanted.itemsize == 2 or torch.promote_types(given, wanted) == wanted)


class ConditionalNormal(_Conditional):
    r"""A Gaussian with diagonal covariance whose parameters a network computes,
    :math:`\mathcal{N}(x; \mu(c), \operatorname{diag} \sigma(c)^2)`.

    Args:
        event_shape: shape of one example, with D entries in all.
        network: maps the context [B, ...] to [B, 2D] (mean, then log of the standard deviation), or to [B, D] where
            the standard deviation is not computed.
        scale: None, the network computes :math:`\log\sigma`; a number, a fixed :math:`\sigma`; ``"learned"``, one
            :math:`\sigma` for all dimensions, trained with the rest.

    Raises:
        ValueError: the scale is not positive, or the network has another number of outputs.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import ConditionalNormal
        >>> encoder = ConditionalNormal((2,), nn.Linear(3, 4))
        >>> encoder.distribution(torch.zeros(5, 3)).batch_shape
        torch.Size([5])
    """

    def __init__(self, event_shape: Sequence[int], network: nn.Module, scale: float | str | None = None):
        super().__init__(event_shape, network)
        fixed = not (scale is None or isinstance(scale, str))
        if not (scale is None or scale == "learned" or (fixed and 0 < number(scale) < math.inf)):
            raise ValueError(f"scale must be None, 'learned' or a positive number, but it is {scale!r}.")
        self.parameters_per_dim = 2 if scale is None else 1
        self.log_scale: Tensor | None
        if scale == "learned":
            self.log_scale = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("log_scale", torch.tensor(math.log(number(scale))) if fixed else None)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The Gaussian at each row of the context."""
        loc, *computed = self._outputs(context)
        log_scale = computed[0] if self.log_scale is None else self.log_scale.expand_as(loc)
        return DiagonalNormal(loc, log_scale, len(self.event_shape))


class ConditionalBernoulli(_Conditional):
    r"""Independent coins whose log-odds a network computes, :math:`\prod_i \pi_i^{x_i} (1 - \pi_i)^{1 - x_i}`.

    Args:
        event_shape: shape of one example, values in {0, 1}.
        network: maps the context to the log-odds, [B, D].

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import ConditionalBernoulli
        >>> decoder = ConditionalBernoulli((1, 2, 2), nn.Linear(3, 4))
        >>> decoder.sample(5, torch.zeros(5, 3)).shape
        torch.Size([5, 1, 2, 2])
    """

    support = constraints.boolean

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The Bernoulli distribution at each row of the context."""
        (logits,) = self._outputs(context)
        return Coins(logits, len(self.event_shape))


class ConditionalDiscretizedLogistic(_Conditional):
    """Whole-numbered pixels from a discretized logistic whose parameters a network computes.

    The log of the scale is held between -7 and 30: a narrower logistic than that already lies in one bin or on the
    border of two, and of a wider one only the outermost bins are left.

    Args:
        event_shape: shape of one example, values in {0, ..., levels - 1}.
        network: maps the context to [B, 2D]: the location, as a fraction of the half range around its centre (-1 is the
            darkest level, 1 the brightest), then the log of the scale in levels.
        levels: number of values that a pixel can take.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import ConditionalDiscretizedLogistic
        >>> decoder = ConditionalDiscretizedLogistic((1, 2, 2), nn.Linear(3, 8), levels=16)
        >>> bool((decoder.sample(5, torch.zeros(5, 3)) < 16).all())
        True
    """

    parameters_per_dim = 2

    def __init__(self, event_shape: Sequence[int], network: nn.Module, levels: int = 256):
        super().__init__(event_shape, network)
        self.levels = check_count(levels, "levels", "counts values", least=2)
        self.support = constraints.integer_interval(0, self.levels - 1)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The discretized logistic at each row of the context."""
        loc, log_scale = (at_least_float32(part) for part in self._outputs(context))
        centre = (self.levels - 1) / 2
        logistic = DiscretizedLogistic(centre * (1 + loc), log_scale.clamp(-7, 30).exp(), self.levels)
        return Independent(logistic, len(self.event_shape))


class NormalMixture(MixtureSameFamily):
    r"""A mixture of Gaussians with diagonal covariances, :math:`\sum_m \pi_m\, \mathcal{N}(x; \mu_m, \sigma_m^2)`.

    Args:
        logits: [\*batch, M], of the components.
        loc: [\*batch, M, \*event].
        log_scale: the same shape.
        event_dims: how many of the last axes belong to the event.

    Example:
        >>> import torch
        >>> from lvmlib.distributions import NormalMixture
        >>> q = NormalMixture(torch.zeros(5, 3), torch.zeros(5, 3, 2), torch.zeros(5, 3, 2), 1)
        >>> q.log_prob(torch.zeros(5, 2))
        tensor([-1.8379, -1.8379, -1.8379, -1.8379, -1.8379])
    """

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor, event_dims: int):
        self.logits, self.event_dims = at_least_float32(logits), event_dims
        super().__init__(
            Categorical(logits=self.logits, validate_args=False),
            DiagonalNormal(loc, log_scale, event_dims),
            validate_args=False,
        )

    def tempered(self, temperature: float) -> NormalMixture:
        """The same with its logits divided by a temperature and its standard deviations multiplied by it."""
        normal = cast(DiagonalNormal, self.component_distribution).tempered(temperature)
        return NormalMixture(self.logits / temperature, normal.loc, normal.log_scale, self.event_dims)


class ConditionalMixture(_Conditional):
    r"""A mixture of Gaussians whose parameters a network computes,
    :math:`\sum_{m=1}^M \pi_m(c)\, \mathcal{N}(x; \mu_m(c), \operatorname{diag} \sigma_m(c)^2)`.

    As the posterior of a VAE it can have several modes. No gradient passes through the choice of a component, so
    `elbo` refuses to train it; `lvmlib.objectives.stratified_elbo` draws from every component instead.

    Args:
        event_shape: shape of one example, with D entries in all.
        network: maps the context [B, ...] to [B, M + 2MD]: the logits of the components, all means, component by
            component, and then all logs of the standard deviations.
        components: number of components, M.

    Raises:
        ValueError: no component, or the network has another number of outputs.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import ConditionalMixture
        >>> encoder = ConditionalMixture((2,), nn.Linear(3, 20), components=4)
        >>> encoder.log_prob(torch.zeros(5, 2), torch.zeros(5, 3)).shape
        torch.Size([5])

    Source: Bishop 1994, *Mixture Density Networks*.
    """

    def __init__(self, event_shape: Sequence[int], network: nn.Module, components: int = 4):
        super().__init__(event_shape, network)
        self.components = check_count(components, "components", "counts Gaussians")

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The mixture at each row of the context."""
        m, d = self.components, self.dims
        out = self._output(context, m + 2 * m * d, f"{m} components of 1 + 2 times {d}").flatten(1)
        logits, loc, log_scale = out.split([m, m * d, m * d], 1)
        shape = (m, *self.event_shape)
        return NormalMixture(logits, loc.unflatten(1, shape), log_scale.unflatten(1, shape), len(self.event_shape))
