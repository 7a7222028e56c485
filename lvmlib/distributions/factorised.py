"""Gaussians and coins over whole events, as torch distributions that are light enough for every step of training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Normal, constraints, kl_divergence, register_kl

from lvmlib.draws import at_least_float32
from lvmlib.information.checks import not_negative

LOG_2PI = math.log(2 * math.pi)


def _range(dtype: torch.dtype) -> tuple[float, float]:
    """Between which logarithms of scales neither a scale nor the square of a distance in it overflows."""
    return 0.4 * math.log(torch.finfo(dtype).tiny), 0.499 * math.log(torch.finfo(dtype).max)


RANGE = {dtype: _range(dtype) for dtype in (torch.float32, torch.float64)}


class DiagonalNormal(Distribution):
    r"""A Gaussian with diagonal covariance, :math:`\mathcal{N}(x; \mu, \operatorname{diag} \sigma^2)`.

    .. math:: \log p(x) = -\tfrac12 \Big\lVert \frac{x - \mu}{\sigma} \Big\rVert^2 - \sum_i \log \sigma_i
        - \tfrac{D}{2} \log 2\pi

    It is torch's ``Independent(Normal(loc, scale), event_dims)``, but keeps
    :math:`\log \sigma`, as networks compute it. So a very small scale costs no precision, and one pass over the draws
    does what takes torch three.

    So that nothing overflows, draws and distances from the mean take a :math:`\sigma` below
    :math:`7 \cdot 10^{-16}` or above :math:`10^{19}` for the nearer of the two (in float64, :math:`10^{-123}` and
    :math:`10^{153}`). The term :math:`\log \sigma` itself has no such limits.

    Args:
        loc: :math:`\mu`, [\*batch, \*event]; numbers of half precision are computed with in float32.
        log_scale: :math:`\log \sigma`, the same shape.
        event_dims: how many of the last axes belong to the event.

    Example:
        >>> import torch
        >>> from lvmlib.distributions import DiagonalNormal
        >>> q = DiagonalNormal(torch.zeros(5, 2), torch.zeros(5, 2), 1)
        >>> q.log_prob(torch.zeros(5, 2))
        tensor([-1.8379, -1.8379, -1.8379, -1.8379, -1.8379])
    """

    has_rsample = True
    arg_constraints = {"loc": constraints.real, "log_scale": constraints.real}

    def __init__(self, loc: Tensor, log_scale: Tensor, event_dims: int):
        self.loc, self.log_scale, self.event_dims = at_least_float32(loc), at_least_float32(log_scale), event_dims
        self._stddev: Tensor | None = None
        batch = loc.dim() - event_dims
        super().__init__(loc.shape[:batch], loc.shape[batch:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """All real events."""
        return constraints.independent(constraints.real, self.event_dims)

    @property
    def mean(self) -> Tensor:
        r""":math:`\mu`, [\*batch, \*event]."""
        return self.loc

    mode = mean

    @property
    def stddev(self) -> Tensor:
        r""":math:`\sigma`, held inside its range, [\*batch, \*event]."""
        if self._stddev is None:  # draws and KL both need it
            self._stddev = self.held.exp()
        return self._stddev

    @property
    def held(self) -> Tensor:
        r""":math:`\log \sigma` where it is exponentiated, held inside its range, [\*batch, \*event]."""
        return F.hardtanh(self.log_scale, *RANGE[self.log_scale.dtype])  # clamp, with a backward pass in one kernel

    scale = stddev

    @property
    def variance(self) -> Tensor:
        r""":math:`\sigma^2`, [\*batch, \*event]."""
        return self.stddev.square()

    def log_prob(self, x: Tensor) -> Tensor:
        r"""Log-density of [..., \*batch, \*event]; [..., \*batch], nats."""
        squares = _sum(((x - self.loc) * (-self.held).exp()).square(), self.event_dims)
        return -0.5 * squares - _sum(self.log_scale, self.event_dims) - 0.5 * self.event_shape.numel() * LOG_2PI

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        r""":math:`\mu + \sigma \epsilon` with standard normal noise: [\*sample_shape, \*batch, \*event]."""
        return torch.addcmul(self.loc, self.stddev, self._noise(sample_shape))

    def rsample_with_log_prob(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw `n` times, with log q from the noise itself: z [n, \\*batch, \\*event], log q [n, \\*batch] in nats.

        As functions of the parameters both are what they are elsewhere; as a function of z alone log q is not.
        """
        noise = self._noise((n,))
        squares = _sum(noise.square(), self.event_dims)
        log_q = -0.5 * squares - _sum(self.log_scale, self.event_dims) - 0.5 * self.event_shape.numel() * LOG_2PI
        return torch.addcmul(self.loc, self.stddev, noise), log_q

    def _noise(self, sample_shape: Sequence[int]) -> Tensor:
        return torch.randn(*sample_shape, *self.loc.shape, dtype=self.loc.dtype, device=self.loc.device)

    def entropy(self) -> Tensor:
        r"""Differential entropy, [\*batch], nats."""
        return _sum(self.log_scale, self.event_dims) + 0.5 * self.event_shape.numel() * (1 + LOG_2PI)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> DiagonalNormal:
        """The same distribution with its parameters spread over a larger batch shape."""
        shape = torch.Size((*batch_shape, *self.event_shape))
        return DiagonalNormal(self.loc.expand(shape), self.log_scale.expand(shape), self.event_dims)

    def tempered(self, temperature: float) -> DiagonalNormal:
        """The same with its standard deviations multiplied by a temperature."""
        return DiagonalNormal(self.loc, self.log_scale + math.log(temperature), self.event_dims)

    def in_copies(self, k: int) -> DiagonalNormal:
        """With k copies of a batch below one another as an axis of their own: batch shape [k * B] -> [k, B]."""
        return DiagonalNormal(self.loc.unflatten(0, (k, -1)), self.log_scale.unflatten(0, (k, -1)), self.event_dims)

    def independent(self) -> Independent:
        """The same in torch's own words."""
        return Independent(Normal(self.loc, self.stddev, validate_args=False), self.event_dims)


class StandardNoise(DiagonalNormal):
    r"""The standard normal distribution, :math:`\mathcal{N}(0, I)`.

    Args:
        zeros: [\*batch, \*event].
        event_dims: how many of the last axes belong to the event.
    """

    def __init__(self, zeros: Tensor, event_dims: int):
        super().__init__(zeros, zeros, event_dims)
        self.zeros = zeros  # as given: loc may be of higher precision

    def log_prob(self, x: Tensor) -> Tensor:
        r"""Log-density of [..., \*batch, \*event]; [..., \*batch], nats."""
        squares = at_least_float32(x).square()
        if self.batch_shape:
            squares = squares.expand(torch.broadcast_shapes(x.shape, self.loc.shape))
        return -0.5 * _sum(squares, self.event_dims) - 0.5 * self.event_shape.numel() * LOG_2PI

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> StandardNoise:
        """The same distribution over a larger batch shape."""
        return StandardNoise(self.loc.expand(torch.Size((*batch_shape, *self.event_shape))), self.event_dims)


class Coins(Distribution):
    r"""Independent coins with log-odds :math:`l`, :math:`\log p(x) = \sum_i x_i l_i - \log(1 + e^{l_i})`.

    Torch's ``Independent(Bernoulli(logits=logits), event_dims)``, for coins that are certain (infinite log-odds) too.

    Args:
        logits: log-odds of 1, [\*batch, \*event].
        event_dims: how many of the last axes belong to the event.

    Example:
        >>> import torch
        >>> from lvmlib.distributions import Coins
        >>> Coins(torch.zeros(5, 3), 1).log_prob(torch.ones(5, 3))
        tensor([-2.0794, -2.0794, -2.0794, -2.0794, -2.0794])
    """

    has_enumerate_support = False
    arg_constraints = {"logits": constraints.real}

    def __init__(self, logits: Tensor, event_dims: int):
        self.logits, self.event_dims = at_least_float32(logits), event_dims
        batch = logits.dim() - event_dims
        super().__init__(logits.shape[:batch], logits.shape[batch:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Events of zeros and ones."""
        return constraints.independent(constraints.boolean, self.event_dims)

    @property
    def mean(self) -> Tensor:
        r"""Probabilities of 1, [\*batch, \*event]."""
        return torch.sigmoid(self.logits)

    probs = mean

    @property
    def mode(self) -> Tensor:
        r"""The more probable side of each coin, [\*batch, \*event]."""
        return (self.logits > 0).to(self.logits.dtype)

    @property
    def variance(self) -> Tensor:
        r"""Of each coin, [\*batch, \*event]."""
        return self.mean * torch.sigmoid(-self.logits)

    def log_prob(self, x: Tensor) -> Tensor:
        r"""Log-probability of zeros and ones [..., \*batch, \*event]; [..., \*batch], nats."""
        signed = self.logits * (2 * at_least_float32(x)).sub_(1)
        if self.event_dims and not signed.requires_grad:
            return _sum_of_log_sigmoids(signed.flatten(-self.event_dims))
        return _sum(F.logsigmoid(signed), self.event_dims)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        r"""Draw zeros and ones: [\*sample_shape, \*batch, \*event]."""
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(*sample_shape, *self.logits.shape))

    def entropy(self) -> Tensor:
        r"""[\*batch], nats."""
        logits = self.logits.clamp(-1e4, 1e4)  # where nothing is left, but 0 times infinity would be nan
        one, zero = self.mean * -F.logsigmoid(logits), torch.sigmoid(-logits) * -F.logsigmoid(-logits)
        return _sum(one + zero, self.event_dims)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Coins:
        """The same distribution with its parameters spread over a larger batch shape."""
        return Coins(self.logits.expand(torch.Size((*batch_shape, *self.event_shape))), self.event_dims)

    def tempered(self, temperature: float) -> Coins:
        """The same with its log-odds divided by a temperature."""
        return Coins(self.logits / temperature, self.event_dims)

    def in_copies(self, k: int) -> Coins:
        """With k copies of a batch below one another as an axis of their own: batch shape [k * B] -> [k, B]."""
        return Coins(self.logits.unflatten(0, (k, -1)), self.event_dims)

    def independent(self) -> Independent:
        """The same in torch's own words."""
        return Independent(Bernoulli(logits=self.logits, validate_args=False), self.event_dims)


def log_prob_of_bits(logits: Tensor, x: Tensor) -> Tensor:
    """Log-probability of zeros and ones, each under a coin with these log-odds, which may be infinite."""
    return F.logsigmoid(logits * (2 * x - 1))


def _sum_of_log_sigmoids(x: Tensor) -> Tensor:
    """Over the last axis; a hundred sigmoids of |x|, all between 1/2 and 1, share one logarithm: half the time."""
    products = [part.prod(-1) for part in x.abs().sigmoid().split(100, -1)]
    return x.clamp(max=0).sum(-1) + torch.stack(products).log().sum(0)


def _sum(x: Tensor, axes: int) -> Tensor:
    """Over the last axes."""
    return x.sum(tuple(range(-axes, 0))) if axes else x


def _check_same_event(q: Distribution, p: Distribution) -> None:
    if q.event_shape != p.event_shape:
        raise NotImplementedError(f"KL between events of shape {list(q.event_shape)} and {list(p.event_shape)}")


@register_kl(DiagonalNormal, DiagonalNormal)  # type: ignore[untyped-decorator]
def _kl_diagonal(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    _check_same_event(q, p)
    ratio = q.log_scale - p.log_scale
    squares = ((q.loc - p.loc) * (-p.held).exp()).square()
    growth = (2 * ratio.clamp(max=RANGE[ratio.dtype][1])).exp()
    return not_negative(_sum(0.5 * (growth + squares - 1) - ratio, q.event_dims))


@register_kl(DiagonalNormal, StandardNoise)  # type: ignore[untyped-decorator]
def _kl_to_noise(q: DiagonalNormal, p: StandardNoise) -> Tensor:
    _check_same_event(q, p)
    return not_negative(_sum(0.5 * (q.loc.square() + q.variance - 1) - q.log_scale, q.event_dims))


@register_kl(DiagonalNormal, Independent)  # type: ignore[untyped-decorator]
@register_kl(Coins, Independent)  # type: ignore[untyped-decorator]
def _kl_to_torch(q: DiagonalNormal | Coins, p: Independent) -> Tensor:
    return not_negative(kl_divergence(q.independent(), p))


@register_kl(Independent, DiagonalNormal)  # type: ignore[untyped-decorator]
@register_kl(Independent, Coins)  # type: ignore[untyped-decorator]
def _kl_from_torch(q: Independent, p: DiagonalNormal | Coins) -> Tensor:
    return not_negative(kl_divergence(q, p.independent()))


@register_kl(Coins, Coins)  # type: ignore[untyped-decorator]
def _kl_coins(q: Coins, p: Coins) -> Tensor:
    _check_same_event(q, p)
    batch = torch.broadcast_shapes(q.batch_shape, p.batch_shape)  # torch's coins do not do it
    return not_negative(kl_divergence(q.expand(batch).independent(), p.expand(batch).independent()))
