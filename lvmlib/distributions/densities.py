"""Densities that stand for themselves: the standard normal, the uniform one and a mixture of Gaussians."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Uniform,
    constraints,
)

from lvmlib.base import Density
from lvmlib.checks import (
    check_batch,
    check_context,
    check_count,
    check_not_negative,
    check_temperature,
    check_wanted,
    entrance,
)
from lvmlib.distributions.factorised import RANGE, StandardNoise
from lvmlib.draws import at_least_float32


class StandardNormal(Density):
    r"""The standard normal density, :math:`\mathcal{N}(x; 0, I)`.

    Args:
        event_shape: shape of one example.

    Example:
        >>> import torch
        >>> from lvmlib import StandardNormal
        >>> StandardNormal((2,)).log_prob(torch.zeros(1, 2))
        tensor([-1.8379])
    """

    loc: Tensor
    ignores_context = True

    def __init__(self, event_shape: Sequence[int]):
        super().__init__(event_shape)
        self.register_buffer("loc", torch.zeros(self.event_shape), persistent=False)
        self._noise: StandardNoise | None = None  # made once: every step of training asks for it

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """N(0, I), in as many rows as a context has."""
        if context is not None:
            return StandardNoise(self.loc.expand(len(context), *self.event_shape), len(self.event_shape))
        if self._noise is None or self._noise.zeros is not self.loc:  # the module has moved since
            self._noise = StandardNoise(self.loc, len(self.event_shape))
        return self._noise


class StandardUniform(Density):
    r"""The uniform density on the cube :math:`[0, 1]^D`: the base of flows that end in distribution functions.

    Args:
        event_shape: shape of one example.

    Example:
        >>> import torch
        >>> from lvmlib import StandardUniform
        >>> StandardUniform((2,)).log_prob(torch.tensor([[0.5, 1.0]]))
        tensor([0.])
    """

    zeros: Tensor
    support = constraints.unit_interval
    ignores_context = True

    def __init__(self, event_shape: Sequence[int]):
        super().__init__(event_shape)
        self.register_buffer("zeros", torch.zeros(self.event_shape), persistent=False)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The uniform distribution, in as many rows as a context has."""
        zeros = self.zeros if context is None else self.zeros.expand(len(context), *self.event_shape)
        return Independent(_OnCube(zeros, zeros + 1, validate_args=False), len(self.event_shape))


class _OnCube(Uniform):
    """With both ends, unlike torch's: a distribution function may round to 1."""

    def log_prob(self, value: Tensor) -> Tensor:
        inside = value.ge(self.low) & value.le(self.high)
        return torch.zeros_like(value).masked_fill(~inside, -math.inf)


class MixtureOfGaussians(Density):
    r"""A mixture of Gaussians with trainable weights, means and covariances.

    .. math:: p(x) = \sum_{k=1}^K \pi_k\, \mathcal{N}(x; \mu_k, \Sigma_k), \qquad \pi = \operatorname{softmax}(a)

    Where :math:`\Sigma_k` may shrink to a point the likelihood of any data set is unbounded; `floor` keeps it away.
    With a floor of 0 distances are still measured in standard deviations of :math:`7 \cdot 10^{-16}` or more (float32).

    Args:
        event_shape: shape of one example, with D entries in all.
        components: :math:`K`.
        covariance: ``"spherical"``, :math:`\Sigma_k = \sigma_k^2 I`; ``"diagonal"``; or ``"full"``,
            :math:`\Sigma_k = L_k L_k^\top` with a lower triangular :math:`L_k`.
        floor: smallest standard deviation (of the diagonal of :math:`L_k` for full covariances).

    Attributes:
        logits: [K], :math:`a`.
        loc: [K, D], the means; drawn from the standard normal at first.
        log_scale: [K, D], or [K, 1] for spherical covariances; logarithm of the standard deviation above `floor`.
        lower: [K, D, D], what lies below the diagonal of :math:`L_k`; None unless covariances are full.

    Raises:
        ValueError: fewer than one component, an unknown kind of covariance, or a negative floor.

    Example:
        >>> import torch
        >>> from lvmlib import MixtureOfGaussians
        >>> p = MixtureOfGaussians((2,), components=3).start_from(torch.randn(100, 2))
        >>> p.log_prob(torch.zeros(5, 2)).shape, p.sample(4).shape
        (torch.Size([5]), torch.Size([4, 2]))

    Source: Bishop 2006, *Pattern Recognition and Machine Learning*, section 9.2.
    """

    ignores_context = True

    def __init__(
        self, event_shape: Sequence[int], components: int = 8, covariance: str = "diagonal", floor: float = 0.0
    ):
        super().__init__(event_shape)
        components = check_count(components, "components", "counts Gaussians")
        if covariance not in ("spherical", "diagonal", "full"):
            raise ValueError(f"covariance must be 'spherical', 'diagonal' or 'full', but it is {covariance!r}.")
        floor = check_not_negative(floor, "floor is a standard deviation")
        d = math.prod(self.event_shape)
        self.covariance, self.floor = covariance, floor
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, d))
        self.log_scale = nn.Parameter(torch.zeros(components, 1 if covariance == "spherical" else d))
        self.lower = nn.Parameter(torch.zeros(components, d, d)) if covariance == "full" else None

    @torch.no_grad()
    def start_from(self, x: Tensor) -> MixtureOfGaussians:
        """Put the means on randomly chosen examples and let each component be as wide as the data.

        Args:
            x: [N, \\*event_shape], at least as many examples as components and not all equal.

        Returns:
            The mixture itself.

        Raises:
            ValueError: another shape, too few examples, or examples without any spread.
        """
        check_batch(x, self.event_shape)
        if len(x) < len(self.loc):
            raise ValueError(f"{len(self.loc)} components need as many examples to start from, but x has {len(x)}.")
        flat = x.flatten(1).to(self.loc)
        spread = flat.std(0).square().mean().sqrt()
        if not spread > self.floor:
            raise ValueError(f"The examples have standard deviation {spread:.4g}; it must exceed floor={self.floor}.")
        self.loc.copy_(flat[torch.randperm(len(x))[: len(self.loc)]])
        self.log_scale.fill_((spread - self.floor).log().item())
        self.logits.zero_()
        if self.lower is not None:
            self.lower.zero_()
        return self

    def scale(self) -> Tensor:
        """Standard deviations, [K, D] or [K, 1]; for full covariances the diagonals of :math:`L_k`."""
        log_scale = at_least_float32(self.log_scale)
        return self.floor + log_scale.clamp(*RANGE[log_scale.dtype]).exp()

    def scale_tril(self) -> Tensor:
        """The factors :math:`L_k` of full covariances, [K, D, D]."""
        if self.lower is None:
            raise TypeError(f"A mixture with {self.covariance} covariances has no triangular factors; use scale().")
        return at_least_float32(self.lower).tril(-1) + torch.diag_embed(self.scale())

    def component_log_prob(self, x: Tensor) -> Tensor:
        r"""Joint log-density of examples and components, :math:`\log \pi_k + \log \mathcal{N}(x; \mu_k, \Sigma_k)`.

        Args:
            x: [B, \*event_shape].

        Returns:
            [B, K], nats.
        """
        check_batch(x, self.event_shape)
        loc, scale = at_least_float32(self.loc), self.scale()
        x = x.flatten(1).to(torch.promote_types(x.dtype, loc.dtype))  # [B, D]
        d, log_scale = loc.shape[1], scale.log() if self.floor else at_least_float32(self.log_scale)  # exact, if tiny
        if self.covariance == "spherical":
            # cdist measures without expanding the square, which would cancel, and without a tensor [B, K, D].
            distance = torch.cdist(x, loc, compute_mode="donot_use_mm_for_euclid_dist")  # [B, K]
            squares, log_det = (distance / scale[:, 0]).square(), d * log_scale[:, 0]
        elif self.covariance == "diagonal":
            squares = ((x[:, None] - loc) / scale).square().sum(-1)  # [B, K]
            log_det = log_scale.sum(1)
        else:
            difference = (x[None] - loc[:, None]).transpose(1, 2)  # [K, D, B]
            white = torch.linalg.solve_triangular(self.scale_tril(), difference, upper=False)
            squares, log_det = white.square().sum(1).T, log_scale.sum(1)
        log_normal = -0.5 * (squares + d * math.log(2 * math.pi)) - log_det
        return at_least_float32(self.logits).log_softmax(0) + log_normal

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each example; [B], nats. A context is nothing to it."""
        with entrance(self, x, context):
            return self.component_log_prob(x).logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        r"""Posterior probabilities of the components, :math:`r_k(x) = p(k \mid x)`: [B, K]."""
        return self.component_log_prob(x).softmax(1)

    @property
    def has_distribution(self) -> bool:
        """Whether `distribution` has something to return; it has nothing for full covariances over several axes."""
        return self.lower is None or len(self.event_shape) == 1

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The mixture as a torch distribution, in as many rows as a context has."""
        k, event, loc = len(self.loc), self.event_shape, at_least_float32(self.loc)
        component: Distribution
        if self.lower is not None and len(event) == 1:
            component = MultivariateNormal(loc, scale_tril=self.scale_tril(), validate_args=False)
        elif self.lower is not None:
            raise TypeError("torch has no full covariance over events of several axes; use log_prob and sample.")
        else:
            scale = self.scale().expand_as(loc).view(k, *event)
            component = Independent(Normal(loc.view(k, *event), scale, validate_args=False), len(event))
        mixture: Distribution = MixtureSameFamily(
            Categorical(logits=at_least_float32(self.logits), validate_args=False), component, validate_args=False
        )
        return mixture if context is None else mixture.expand(torch.Size((len(context),)))

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw a component, then a point from it.

        Args:
            n: how many.
            context: None; inside of a chain, ignored.
            temperature: divides the logits of the components and multiplies their standard deviations.

        Returns:
            [n, \\*event_shape].
        """
        n, temperature = check_count(n, "n"), check_temperature(temperature)
        check_context(context, n)
        check_wanted(self, context)
        loc = at_least_float32(self.loc)
        k = torch.multinomial((at_least_float32(self.logits) / temperature).softmax(0), n, replacement=True)
        noise = temperature * torch.randn(n, loc.shape[1], dtype=loc.dtype, device=loc.device)
        if self.lower is None:
            noise = noise * self.scale()[k]
        else:
            noise = (self.scale_tril()[k] @ noise[..., None])[..., 0]
        return (loc[k] + noise).view(n, *self.event_shape)
