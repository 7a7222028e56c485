"""Probabilistic PCA: a Gaussian latent, a linear decoder, and nothing that cannot be computed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, LowRankMultivariateNormal, MultivariateNormal, Normal

from lvmlib.base import Density
from lvmlib.chain import Flow
from lvmlib.checks import (
    check_batch,
    check_context,
    check_count,
    check_positive,
    check_temperature,
    check_wanted,
    entrance,
)
from lvmlib.distributions import StandardNormal
from lvmlib.draws import at_least_float32
from lvmlib.latent.linear_gaussian import LinearGaussian


class PPCA(Density):
    r"""Probabilistic PCA, with its exact posterior, its ELBO for any Gaussian q and the M-step of EM.

    .. math:: z \sim \mathcal{N}(0, I), \quad x \mid z \sim \mathcal{N}(W z + b, \sigma^2 I), \qquad
        p(x) = \mathcal{N}(b, W W^\top + \sigma^2 I)

    `solve` gives the maximum-likelihood parameters in closed form, `lvmlib.latent.em` climbs to them by EM, and
    `lvmlib.training.fit` by gradients of the exact log-likelihood.

    Args:
        event_shape: shape of one example, with D entries in all.
        latents: d, the number of coordinates of z.
        scale: :math:`\sigma` at the start.

    Attributes:
        weight: W, [D, d]; drawn from :math:`\mathcal{N}(0, 1/d)` at first.
        bias: b, [D].
        log_scale: [], :math:`\log \sigma`.

    Raises:
        ValueError: no latent, or a scale that is not positive.

    Example:
        >>> import torch
        >>> from lvmlib import PPCA, seed_everything
        >>> seed_everything(0)
        >>> x = torch.randn(200, 3) @ torch.randn(3, 5)
        >>> ppca = PPCA((5,), latents=2).solve(x)
        >>> ppca.posterior(x).event_shape, ppca.log_prob(x).shape
        (torch.Size([2]), torch.Size([200]))

    Source: Tipping & Bishop 1999, *Probabilistic Principal Component Analysis*.
    """

    ignores_context = True

    def __init__(self, event_shape: Sequence[int], latents: int = 2, scale: float = 1.0):
        super().__init__(event_shape)
        latents = check_count(latents, "latents", "counts coordinates of z")
        scale = check_positive(scale, "scale", "is a standard deviation")
        d = math.prod(self.event_shape)
        self.weight = nn.Parameter(torch.randn(d, latents) / latents**0.5)
        self.bias = nn.Parameter(torch.zeros(d))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def _values(self) -> tuple[Tensor, Tensor, Tensor]:
        weight, bias, log_scale = (at_least_float32(p) for p in (self.weight, self.bias, self.log_scale))
        return weight, bias, (2 * log_scale).exp()

    def _marginal(self) -> LowRankMultivariateNormal:
        weight, bias, variance = self._values()
        return LowRankMultivariateNormal(bias, weight, variance.expand_as(bias), validate_args=False)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The exact log-density of each example; [B], nats. A context is nothing to it."""
        with entrance(self, x, context):
            return self._marginal().log_prob(x.flatten(1))

    @property
    def has_distribution(self) -> bool:
        """Whether `distribution` has something to return; it does for events of one axis only."""
        return len(self.event_shape) == 1

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The marginal Gaussian of x, in as many rows as a context has."""
        if not self.has_distribution:
            raise TypeError("torch has no full covariance over events of several axes; use log_prob and sample.")
        marginal = self._marginal()
        return marginal if context is None else marginal.expand(torch.Size((len(context),)))

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw z, then x given z; [n, \\*event_shape]. The temperature multiplies both standard deviations."""
        n, temperature = check_count(n, "n"), check_temperature(temperature)
        check_context(context, n)
        check_wanted(self, context)
        weight, bias, variance = self._values()
        z = temperature * torch.randn(n, weight.shape[1], dtype=weight.dtype, device=weight.device)
        noise = temperature * variance.sqrt() * torch.randn(n, len(bias), dtype=weight.dtype, device=weight.device)
        return (z @ weight.T + bias + noise).view(n, *self.event_shape)

    def posterior(self, x: Tensor) -> MultivariateNormal:
        r"""The exact posterior :math:`\mathcal{N}(M^{-1} W^\top (x - b), \sigma^2 M^{-1})`, with
        :math:`M = W^\top W + \sigma^2 I`; batch shape [B].
        """
        with entrance(self, x):
            weight, bias, variance = self._values()
            root = torch.linalg.cholesky(weight.T @ weight + variance * torch.eye(weight.shape[1]).to(weight))
            mean = torch.cholesky_solve(weight.T @ (x.flatten(1) - bias).T, root).T  # [B, d]
            tril = torch.linalg.cholesky(variance * torch.cholesky_inverse(root))
            return MultivariateNormal(mean, scale_tril=tril, validate_args=False)

    def likelihood(self, z: Tensor) -> Independent:
        r""":math:`p(x \mid z) = \mathcal{N}(W z + b, \sigma^2 I)`, batch shape [B]."""
        check_batch(z, self.weight.shape[1:], "z")
        weight, bias, variance = self._values()
        loc = (z @ weight.T + bias).view(-1, *self.event_shape)
        return Independent(Normal(loc, variance.sqrt().expand_as(loc), validate_args=False), len(self.event_shape))

    def elbo(self, x: Tensor, q: Distribution) -> Tensor:
        r"""The evidence lower bound at any Gaussian q(z), without a draw.

        .. math:: \mathbb{E}_q[\log p(x \mid z) + \log p(z)] + H(q)

        Args:
            x: [B, \*event_shape].
            q: a Gaussian with batch shape [B] and event shape [d]: full (`MultivariateNormal`) or diagonal.

        Returns:
            [B], nats.
        """
        with entrance(self, x):
            weight, bias, variance = self._values()
            residual = x.flatten(1) - bias - q.mean @ weight.T  # [B, D]
        squares = residual.square().sum(1) + _trace(weight.T @ weight, q)
        log_likelihood = -0.5 * (squares / variance + len(bias) * (2 * math.pi * variance).log())
        seconds = (q.mean.square() + q.variance).sum(1)
        log_prior = -0.5 * (seconds + weight.shape[1] * math.log(2 * math.pi))
        return log_likelihood + log_prior + q.entropy()

    @torch.no_grad()
    def m_step(self, x: Tensor, q: Distribution) -> None:
        r"""Set W, b and sigma to those that maximise :math:`\sum_n \mathcal{L}(\theta, q_n; x_n)`, in closed form.

        Args:
            x: [N, \*event_shape].
            q: a Gaussian with batch shape [N] and event shape [d], full or diagonal.
        """
        with entrance(self, x):
            flat, mean = x.flatten(1).to(self.weight), q.mean
        ones = torch.ones_like(mean[:, :1])
        known = torch.cat([mean, ones], 1)  # [N, d + 1]: b is the weight of a latent that is always 1
        moments = known.T @ known
        moments[:-1, :-1] += _covariances(q).sum(0)
        joined = torch.linalg.solve(moments, known.T @ flat).T  # [D, d + 1]
        self.weight.copy_(joined[:, :-1])
        self.bias.copy_(joined[:, -1])
        squares = (flat - known @ joined.T).square().sum(1) + _trace(self.weight.T @ self.weight, q)
        self.log_scale.copy_(0.5 * (squares.mean() / flat.shape[1]).log())

    @torch.no_grad()
    def solve(self, x: Tensor) -> PPCA:
        """Set the maximum-likelihood parameters, from the eigenvectors of the covariance of x.

        Args:
            x: [N, \\*event_shape]; fewer latents than entries.

        Returns:
            The model itself.

        Raises:
            ValueError: as many latents as entries, or data without any variance beyond the latents.
        """
        with entrance(self, x):
            flat = x.flatten(1).double()
        latents = self.weight.shape[1]
        values, vectors = torch.linalg.eigh(torch.cov(flat.T, correction=0).view(len(self.bias), -1))
        rest = values[: len(values) - latents]  # eigh puts the largest last
        if not len(rest) or not rest.mean() > 1e-12 * values[-1]:
            raise ValueError(f"{latents} latents leave no variance for the noise; use fewer.")
        top = vectors[:, -latents:].flip(1) * (values[-latents:].flip(0) - rest.mean()).clamp(min=0).sqrt()
        self.weight.copy_(top)
        self.bias.copy_(flat.mean(0))
        self.log_scale.copy_(0.5 * rest.mean().log())
        return self

    def chain(self) -> Flow:
        """A copy of the model as a chain of one stochastic layer, for bounds and estimators; events of one axis."""
        weight, bias, variance = (p.detach().clone() for p in self._values())
        return Flow([LinearGaussian(weight, bias, variance.sqrt().item())], StandardNormal(weight.shape[1:]).to(weight))


def _covariances(q: Distribution) -> Tensor:
    """[B, d, d] of a full or a diagonal Gaussian."""
    return q.covariance_matrix if isinstance(q, MultivariateNormal) else torch.diag_embed(q.variance)


def _trace(gram: Tensor, q: Distribution) -> Tensor:
    """Trace of `gram` [d, d] times the covariance of each row of q; [B]."""
    if isinstance(q, MultivariateNormal):
        return (gram * q.covariance_matrix).sum((-2, -1))
    return q.variance @ gram.diagonal()
