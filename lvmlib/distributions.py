"""Parts of models that torch.distributions has no `nn.Module` for: densities with learned or computed parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    constraints,
)

from lvmlib.base import Density, check_batch, check_context


class StandardNormal(Density):
    r"""The standard normal density, :math:`\mathcal{N}(x; 0, I)`.

    Args:
        event_shape: shape of one example.

    Example:
        >>> StandardNormal((2,)).log_prob(torch.zeros(1, 2))
        tensor([-1.8379])
    """

    loc: Tensor

    def __init__(self, event_shape: Sequence[int]):
        super().__init__(event_shape)
        self.register_buffer("loc", torch.zeros(self.event_shape), persistent=False)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """N(0, I); it accepts a context and ignores it."""
        loc = self.loc if context is None else self.loc.expand(len(context), *self.event_shape)
        return Independent(Normal(loc, torch.ones_like(loc), validate_args=False), len(self.event_shape))


class MixtureOfGaussians(Density):
    r"""A mixture of Gaussians with trainable weights, means and covariances.

    .. math:: p(x) = \sum_{k=1}^K \pi_k\, \mathcal{N}(x; \mu_k, \Sigma_k), \qquad \pi = \operatorname{softmax}(a)

    Where :math:`\Sigma_k` may shrink to a point the likelihood of any data set is unbounded; `floor` keeps it away.

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
        >>> p = MixtureOfGaussians((2,), components=3).start_from(torch.randn(100, 2))
        >>> p.log_prob(torch.zeros(5, 2)).shape, p.sample(4).shape
        (torch.Size([5]), torch.Size([4, 2]))

    Source: Bishop 2006, *Pattern Recognition and Machine Learning*, section 9.2.
    """

    def __init__(
        self, event_shape: Sequence[int], components: int = 8, covariance: str = "diagonal", floor: float = 0.0
    ):
        super().__init__(event_shape)
        if components < 1:
            raise ValueError(f"A mixture needs 1 component or more, but components={components}.")
        if covariance not in ("spherical", "diagonal", "full"):
            raise ValueError(f"covariance must be 'spherical', 'diagonal' or 'full', but it is {covariance!r}.")
        if not floor >= 0:
            raise ValueError(f"floor is a standard deviation, 0 or more, but it is {floor}.")
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
        return self.floor + self.log_scale.exp()

    def scale_tril(self) -> Tensor:
        """The factors :math:`L_k` of full covariances, [K, D, D]."""
        if self.lower is None:
            raise TypeError(f"A mixture with {self.covariance} covariances has no triangular factors; use scale().")
        return self.lower.tril(-1) + torch.diag_embed(self.scale())

    def component_log_prob(self, x: Tensor) -> Tensor:
        r"""Joint log-density of examples and components, :math:`\log \pi_k + \log \mathcal{N}(x; \mu_k, \Sigma_k)`.

        Args:
            x: [B, \\*event_shape].

        Returns:
            [B, K], nats.
        """
        check_batch(x, self.event_shape)
        x = x.flatten(1)  # [B, D]
        d, scale = self.loc.shape[1], self.scale()
        if self.covariance == "spherical":
            # cdist measures without expanding the square, which would cancel, and without a tensor [B, K, D].
            distance = torch.cdist(x, self.loc, compute_mode="donot_use_mm_for_euclid_dist")  # [B, K]
            squares, log_det = (distance / scale[:, 0]).square(), d * scale[:, 0].log()
        elif self.covariance == "diagonal":
            squares = ((x[:, None] - self.loc) / scale).square().sum(-1)  # [B, K]
            log_det = scale.log().sum(1)
        else:
            difference = (x[None] - self.loc[:, None]).transpose(1, 2)  # [K, D, B]
            white = torch.linalg.solve_triangular(self.scale_tril(), difference, upper=False)
            squares, log_det = white.square().sum(1).T, scale.log().sum(1)
        log_normal = -0.5 * (squares + d * math.log(2 * math.pi)) - log_det
        return self.logits.log_softmax(0) + log_normal

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each example; [B], nats. It accepts a context and ignores it."""
        check_batch(x, self.event_shape)
        check_context(context, len(x))
        return self.component_log_prob(x).logsumexp(1)

    def responsibilities(self, x: Tensor) -> Tensor:
        r"""Posterior probabilities of the components, :math:`r_k(x) = p(k \mid x)`: [B, K]."""
        return self.component_log_prob(x).softmax(1)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The mixture as a torch distribution; it accepts a context and ignores it."""
        k, event = len(self.loc), self.event_shape
        component: Distribution
        if self.lower is not None and len(event) == 1:
            component = MultivariateNormal(self.loc, scale_tril=self.scale_tril(), validate_args=False)
        elif self.lower is not None:
            raise TypeError("torch has no full covariance over events of several axes; use log_prob and sample.")
        else:
            scale = self.scale().expand_as(self.loc).view(k, *event)
            component = Independent(Normal(self.loc.view(k, *event), scale, validate_args=False), len(event))
        mixture: Distribution = MixtureSameFamily(
            Categorical(logits=self.logits, validate_args=False), component, validate_args=False
        )
        return mixture if context is None else mixture.expand(torch.Size((len(context),)))

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """Draw a component, then a point from it.

        Args:
            n: how many.
            context: ignored; [n, ...] or None.

        Returns:
            [n, \\*event_shape].
        """
        check_context(context, n)
        k = torch.multinomial(self.logits.softmax(0), n, replacement=True)
        noise = torch.randn(n, self.loc.shape[1], dtype=self.loc.dtype, device=self.loc.device)
        if self.lower is None:
            noise = noise * self.scale()[k]
        else:
            noise = (self.scale_tril()[k] @ noise[..., None])[..., 0]
        return (self.loc[k] + noise).view(n, *self.event_shape)


class _Conditional(Density):
    """A density whose parameters a network computes from the context."""

    parameters_per_dim = 1

    def __init__(self, event_shape: Sequence[int], network: nn.Module):
        super().__init__(event_shape)
        self.network = network

    def _outputs(self, context: Tensor | None) -> tuple[Tensor, ...]:
        """Run the network: one tensor [B, *event_shape] per parameter of the distribution."""
        if context is None:
            raise ValueError(f"{type(self).__name__} computes its parameters from a context, but context is None.")
        try:
            out = self.network(context)
        except RuntimeError as error:
            dtypes = {p.dtype for p in self.network.parameters()}
            if not dtypes or context.dtype in dtypes:
                raise
            raise TypeError(
                f"The network of {type(self).__name__} computes in {dtypes.pop()}, but it was given {context.dtype}. "
                "Convert the data with data.unit() or x.float(), or the model with model.to(dtype)."
            ) from error
        wanted = self.parameters_per_dim * math.prod(self.event_shape)
        if out.shape[1:].numel() != wanted:
            raise ValueError(
                f"{type(self).__name__} with event shape {list(self.event_shape)} needs a network with {wanted} "
                f"outputs per example ({self.parameters_per_dim} per dimension), but it returned {list(out.shape[1:])}."
            )
        parts = out.reshape(len(out), self.parameters_per_dim, *self.event_shape)
        return parts.unbind(1)


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
        >>> encoder = ConditionalNormal((2,), nn.Linear(3, 4))
        >>> encoder.distribution(torch.zeros(5, 3)).batch_shape
        torch.Size([5])
    """

    def __init__(self, event_shape: Sequence[int], network: nn.Module, scale: float | str | None = None):
        super().__init__(event_shape, network)
        if not (scale is None or scale == "learned" or (isinstance(scale, (int, float)) and scale > 0)):
            raise ValueError(f"scale must be None, 'learned' or a positive number, but it is {scale!r}.")
        self.parameters_per_dim = 2 if scale is None else 1
        self.log_scale: Tensor | None
        if scale == "learned":
            self.log_scale = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("log_scale", None if scale is None else torch.tensor(math.log(float(scale))))

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The Gaussian at each row of the context."""
        loc, *computed = self._outputs(context)
        log_scale = computed[0] if self.log_scale is None else self.log_scale.expand_as(loc)
        return Independent(Normal(loc, log_scale.exp(), validate_args=False), len(self.event_shape))


class ConditionalBernoulli(_Conditional):
    r"""Independent coins whose log-odds a network computes, :math:`\prod_i \pi_i^{x_i} (1 - \pi_i)^{1 - x_i}`.

    Args:
        event_shape: shape of one example, values in {0, 1}.
        network: maps the context to the log-odds, [B, D].

    Example:
        >>> decoder = ConditionalBernoulli((1, 2, 2), nn.Linear(3, 4))
        >>> decoder.sample(5, torch.zeros(5, 3)).shape
        torch.Size([5, 1, 2, 2])
    """

    support = constraints.boolean

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The Bernoulli distribution at each row of the context."""
        (logits,) = self._outputs(context)
        return Independent(Bernoulli(logits=logits, validate_args=False), len(self.event_shape))


class ConditionalDiscretizedLogistic(_Conditional):
    """Whole-numbered pixels from a discretized logistic whose parameters a network computes.

    Args:
        event_shape: shape of one example, values in {0, ..., levels - 1}.
        network: maps the context to [B, 2D]: the location, as a fraction of the half range around its centre (-1 is the
            darkest level, 1 the brightest), then the log of the scale in levels.
        levels: number of values that a pixel can take.

    Example:
        >>> decoder = ConditionalDiscretizedLogistic((1, 2, 2), nn.Linear(3, 8), levels=16)
        >>> bool((decoder.sample(5, torch.zeros(5, 3)) < 16).all())
        True
    """

    parameters_per_dim = 2

    def __init__(self, event_shape: Sequence[int], network: nn.Module, levels: int = 256):
        super().__init__(event_shape, network)
        self.levels = levels
        self.support = constraints.integer_interval(0, levels - 1)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The discretized logistic at each row of the context."""
        loc, log_scale = self._outputs(context)
        centre = (self.levels - 1) / 2
        logistic = DiscretizedLogistic(centre * (1 + loc), log_scale.exp(), self.levels)
        return Independent(logistic, len(self.event_shape))


class DiscretizedLogistic(Distribution):
    r"""A logistic variable, sorted into the bins {0, ..., K - 1}; the outermost bins reach to infinity.

    .. math::
        P(x) = \sigma\!\left(\tfrac{x + 1/2 - \mu}{s}\right) - \sigma\!\left(\tfrac{x - 1/2 - \mu}{s}\right)

    with the first term 1 at :math:`x = K - 1` and the second 0 at :math:`x = 0`, so the probabilities sum to 1.
    With :math:`a` and :math:`b` for the two arguments, :math:`\log(\sigma(a) - \sigma(b)) = \log\sigma(a) +
    \log\sigma(-b) + \log(1 - e^{-1/s})` holds exactly and never takes the difference of two near numbers.

    Args:
        loc: :math:`\mu`, in levels, any shape.
        scale: :math:`s > 0`, in levels, the same shape.
        levels: :math:`K`.

    Raises:
        ValueError: levels below 2.

    Example:
        >>> p = DiscretizedLogistic(torch.tensor(0.0), torch.tensor(20.0), levels=256)
        >>> round(p.log_prob(torch.arange(256)).exp().sum().item(), 4)
        1.0

    Source: Salimans et al. 2017, *PixelCNN++*, section 2.1; Kingma et al. 2016, appendix C.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    has_rsample = False

    def __init__(self, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = False):
        if levels < 2:
            raise ValueError(f"levels must be 2 or more, but it is {levels}.")
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """The whole numbers from 0 to K - 1."""
        return constraints.integer_interval(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """Expected level, by summation over the bins."""
        values = torch.arange(self.levels, device=self.loc.device, dtype=self.loc.dtype)
        values = values.view(-1, *[1] * self.loc.dim())  # [K, 1, ..., 1]
        return (values * self.log_prob(values).exp()).sum(0)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of whole numbers `x`, nats."""
        x = x.to(self.loc.dtype)
        a = (x + 0.5 - self.loc) / self.scale
        b = (x - 0.5 - self.loc) / self.scale
        inner = F.logsigmoid(a) + F.logsigmoid(-b) + torch.log(-torch.expm1(-1 / self.scale))
        return torch.where(x <= 0, F.logsigmoid(a), torch.where(x >= self.levels - 1, F.logsigmoid(-b), inner))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw a logistic variable and round it into its bin."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            u = torch.rand(shape, device=self.loc.device, dtype=self.loc.dtype).clamp(
                min=torch.finfo(self.loc.dtype).tiny
            )
            logistic = self.loc + self.scale * (u.log() - torch.log1p(-u))
            return logistic.round().clamp(0, self.levels - 1)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> DiscretizedLogistic:
        """The same distribution with its parameters spread over a larger batch shape."""
        shape = torch.Size(batch_shape)
        return DiscretizedLogistic(self.loc.expand(shape), self.scale.expand(shape), self.levels)


class DiscretizedLogisticMixture(Distribution):
    r"""A mixture of M discretized logistics over the bins {0, ..., K - 1}.

    .. math:: P(x) = \sum_{m=1}^{M} \pi_m P_m(x), \qquad \pi = \operatorname{softmax}(\text{logits})

    Each component sums to 1 because its outermost bins reach to infinity, and so does the mixture.

    Args:
        logits: [..., M], of the components.
        loc: [..., M], in levels.
        scale: [..., M], positive, in levels.
        levels: :math:`K`.

    Raises:
        ValueError: the shapes of the parameters do not agree, or levels is below 2.

    Example:
        >>> p = DiscretizedLogisticMixture(torch.zeros(2), torch.tensor([10.0, 200.0]), torch.tensor([3.0, 20.0]))
        >>> round(p.log_prob(torch.arange(256)).exp().sum().item(), 4)
        1.0

    Source: Salimans et al. 2017, *PixelCNN++*, section 2.1.
    """

    arg_constraints = {
        "logits": constraints.real_vector,
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    has_rsample = False

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = False
    ):
        if not logits.shape == loc.shape == scale.shape:
            shapes = ", ".join(str(list(t.shape)) for t in (logits, loc, scale))
            raise ValueError(f"logits, loc and scale must have the same shape [..., M], but they have {shapes}.")
        self.logits, self.loc, self.scale, self.levels = logits, loc, scale, levels
        self.components = DiscretizedLogistic(loc, scale, levels)
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """The whole numbers from 0 to K - 1."""
        return constraints.integer_interval(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """Expected level."""
        return (self.logits.softmax(-1) * self.components.mean).sum(-1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of whole numbers `x`, nats."""
        weighted = self.logits.log_softmax(-1) + self.components.log_prob(x[..., None])  # [..., M]
        return weighted.logsumexp(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Choose a component, then draw from it."""
        with torch.no_grad():
            shape = torch.Size(sample_shape)
            chosen = Categorical(logits=self.logits, validate_args=False).sample(shape)[..., None]
            return self.components.sample(shape).gather(-1, chosen)[..., 0]

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> DiscretizedLogisticMixture:
        """The same mixture with its parameters spread over a larger batch shape."""
        shape = torch.Size((*batch_shape, self.logits.shape[-1]))
        return DiscretizedLogisticMixture(
            self.logits.expand(shape), self.loc.expand(shape), self.scale.expand(shape), self.levels
        )
