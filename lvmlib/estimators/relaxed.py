"""Gradients through a continuous stand-in for a discrete draw: cheap, of low variance, and biased."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lvmlib.base import Density
from lvmlib.bounds import distortion_and_rate
from lvmlib.checks import check_count, check_temperature
from lvmlib.distributions import Coins, OneHots
from lvmlib.distributions.categorical import one_hot
from lvmlib.draws import Draw, Posterior
from lvmlib.estimators.parts import check_draws_something, log_density, reparameterised


def gumbel_softmax(
    model: Density,
    x: Tensor,
    k: int = 1,
    temperature: float = 1.0,
    hard: bool = False,
    context: Tensor | None = None,
) -> Tensor:
    r"""The pathwise gradient through Gumbel-softmax draws, of which a discrete draw is the limit.

    .. math:: \tilde z = \operatorname{softmax}\!\big((\log \pi + g) / T\big),
        \qquad g_c \sim \operatorname{Gumbel}(0, 1)

    and for coins :math:`\tilde z = \sigma((l + \log u - \log(1 - u)) / T)` with log-odds l and uniform u. The KL term
    has its closed form where there is one; elsewhere the densities are evaluated at :math:`\tilde z`, between the
    values that they are made for. Biased: at high temperatures :math:`\tilde z` is far from a corner, at low ones the
    gradient varies without bound.

    Args:
        model: a chain whose posteriors are Bernoulli or categorical (`lvmlib.distributions.Coins`, `OneHots`), or can
            be reparameterised.
        x: [B, \*event_shape].
        k: draws per example.
        temperature: of the soft draws, T.
        hard: True sends the discrete draw forward and the gradient of the soft one back (straight-through
            Gumbel-softmax); then the value is the ELBO itself.
        context: [B, ...] or None.

    Returns:
        [B], nats; the ELBO of the relaxed draws.

    Raises:
        TypeError: a posterior that can neither be relaxed nor reparameterised, or a model that draws nothing.
        ValueError: k < 1, a temperature that is not positive, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import MLP, VAE, ConditionalBernoulli, ConditionalCategorical
        >>> from lvmlib import FactorisedCategorical, gumbel_softmax
        >>> decoder = ConditionalBernoulli((4,), MLP(6, (), 4))
        >>> encoder = ConditionalCategorical((2, 3), torch.nn.Linear(4, 6))
        >>> vae = VAE(encoder, decoder, FactorisedCategorical((2, 3)))
        >>> gumbel_softmax(vae, torch.ones(5, 4), temperature=0.5).shape
        torch.Size([5])

    Source: Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017.
    """
    temperature = check_temperature(temperature)

    def relax(noise: Noise, n: int) -> Tensor:
        z = noise.draw(n)
        soft = noise.soft(z, temperature)
        return noise.hard(z) + (soft - soft.detach()) if hard else soft

    return _relaxed_elbo(model, x, k, context, "gumbel_softmax", relax)


def straight_through(model: Density, x: Tensor, k: int = 1, context: Tensor | None = None) -> Tensor:
    r"""The gradient of the ELBO as if a discrete draw were its own mean: forward z, backward :math:`\pi`.

    .. math:: \nabla_\phi \approx \frac{\partial \log w}{\partial z} \frac{\partial \pi_\phi}{\partial \phi}

    Biased, unless :math:`\log w` is linear in z; of low variance.

    Args:
        model: a chain whose posteriors are Bernoulli or categorical, or can be reparameterised.
        x: [B, \*event_shape].
        k: draws per example.
        context: [B, ...] or None.

    Returns:
        [B], nats; the ELBO, with the estimator for its gradient.

    Raises:
        TypeError: a posterior that is neither of these, or a model that draws nothing.
        ValueError: k < 1, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import VAE, ConditionalBernoulli, FactorisedBernoulli, straight_through
        >>> encoder = ConditionalBernoulli((3,), torch.nn.Linear(4, 3))
        >>> decoder = ConditionalBernoulli((4,), torch.nn.Linear(3, 4))
        >>> vae = VAE(encoder, decoder, FactorisedBernoulli((3,)))
        >>> straight_through(vae, torch.ones(2, 4), k=5).shape
        torch.Size([2])

    Source: Bengio, Léonard & Courville 2013.
    """

    def relax(noise: Noise, n: int) -> Tensor:
        return noise.hard(noise.draw(n)) + (noise.mean - noise.mean.detach())

    return _relaxed_elbo(model, x, k, context, "straight_through", relax)


Relax = Callable[["Noise", int], Tensor]


def _relaxed_elbo(model: Density, x: Tensor, k: int, context: Tensor | None, name: str, relax: Relax) -> Tensor:
    check_draws_something(model, name)
    trace = model.trace(x, context, check_count(k), draw=_relaxing(name, relax))
    if trace.latent is None:
        return trace.log_weights.mean(0)
    distortion, rate = distortion_and_rate(trace)
    return -(distortion + rate).mean(0)


def _relaxing(name: str, relax: Relax) -> Draw:
    """Relaxed draws from discrete posteriors, pathwise ones from the others."""
    otherwise = reparameterised(name)

    def draw(q: Posterior, n: int) -> tuple[Tensor, Tensor]:
        if not can_relax(q):
            return otherwise(q, n)
        z = relax(noise_of(q), n)
        return z, log_density(q, z)

    return draw


def can_relax(q: Posterior | None) -> bool:
    """Whether it is known how to make a discrete draw from noise."""
    return isinstance(q, (Coins, OneHots))


def noise_of(q: Posterior) -> Noise:
    """How the draws of a discrete posterior are made from noise."""
    assert isinstance(q, (Coins, OneHots))
    return CoinNoise(q) if isinstance(q, Coins) else GumbelNoise(q)


class Noise:
    """Discrete values as a function of noise that is smooth up to its last step, `hard`.

    Args:
        q: a distribution with `logits`, [B, \\*event].
    """

    def __init__(self, q: Coins | OneHots):
        self.logits, self.mean = q.logits, q.mean

    def draw(self, n: int) -> Tensor:
        """The values before the last step: [n, B, \\*event], with a gradient to the logits."""
        raise NotImplementedError

    def given(self, value: Tensor) -> Tensor:
        """New values before the last step, from their distribution given what the last step made of them."""
        raise NotImplementedError

    def hard(self, before: Tensor) -> Tensor:
        """The last step."""
        raise NotImplementedError

    def soft(self, before: Tensor, temperature: float | Tensor) -> Tensor:
        """The last step made smooth."""
        raise NotImplementedError


class CoinNoise(Noise):
    """A coin shows 1 where its log-odds and logistic noise are positive together.

    Source of `given`: Tucker et al. 2017, appendix C.
    """

    def draw(self, n: int) -> Tensor:
        return self.logits + torch.logit(_uniform(n, self.logits))

    def given(self, value: Tensor) -> Tensor:
        noise = torch.logit(_uniform(len(value), self.logits))
        one = F.softplus(noise + F.softplus(self.logits))  # log(1 + v / (1 - v) / (1 - pi))
        return torch.where(value > 0.5, one, -F.softplus(noise + F.softplus(-self.logits)))

    def hard(self, before: Tensor) -> Tensor:
        return (before > 0).to(before.dtype)

    def soft(self, before: Tensor, temperature: float | Tensor) -> Tensor:
        return torch.sigmoid(before / temperature)


class GumbelNoise(Noise):
    """The largest of the log-probabilities with Gumbel noise wins.

    Source of `given`: Maddison, Tarlow & Minka 2014, as Tucker et al. 2017 use it.
    """

    def draw(self, n: int) -> Tensor:
        return self.logits.log_softmax(-1) - _exponential(n, self.logits).log()

    def given(self, value: Tensor) -> Tensor:
        waits = _exponential(len(value), self.logits)  # Gumbel noise is minus the logarithm of a waiting time
        first = (value * waits).sum(-1, keepdim=True).log()  # the first to come, at the rate 1 of all values together
        others = torch.logaddexp(first, waits.log() - self.logits.log_softmax(-1))  # and then, each at its own rate
        return -torch.where(value > 0.5, first, others)

    def hard(self, before: Tensor) -> Tensor:
        return one_hot(before)

    def soft(self, before: Tensor, temperature: float | Tensor) -> Tensor:
        return (before / temperature).softmax(-1)


def _uniform(n: int, like: Tensor) -> Tensor:
    """Uniform noise [n, \\*shape] that keeps off 0 and 1, where its log-odds are infinite."""
    eps = torch.finfo(like.dtype).eps
    return torch.rand(n, *like.shape, dtype=like.dtype, device=like.device).clamp(eps, 1 - eps)


def _exponential(n: int, like: Tensor) -> Tensor:
    """Waiting times of mean 1, [n, \\*shape], never 0."""
    return -torch.log1p(-_uniform(n, like))
