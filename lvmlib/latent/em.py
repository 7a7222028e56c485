"""Expectation maximisation: coordinate ascent on the evidence lower bound, half-step by half-step."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from lvmlib.checks import check_count


class ExactPosterior(Protocol):
    """What EM asks of a model; `GaussianMixture` and `PPCA` have it."""

    def posterior(self, x: Tensor) -> Any:
        """The exact posterior p(z|x), batch shape [B]."""

    def elbo(self, x: Tensor, q: Any) -> Tensor:
        """The bound at any q; [B], nats."""

    def m_step(self, x: Tensor, q: Any) -> None:
        """Maximise the sum of the bounds over the parameters."""


class HalfStep(NamedTuple):
    """Where EM stands after half a step; all means over the examples, in nats.

    Attributes:
        step: "start", "E" or "M".
        elbo: the bound.
        kl: divergence of q from the exact posterior. The two add up to the mean log-likelihood.
    """

    step: str
    elbo: float
    kl: float


@torch.no_grad()
def em(model: ExactPosterior, x: Tensor, rounds: int = 10, q: Any = None) -> list[HalfStep]:
    r"""Train a model in place by EM.

    .. math:: \text{E: } q_n \leftarrow p_\theta(z \mid x_n), \qquad
        \text{M: } \theta \leftarrow \arg\max_\theta \sum_n \mathcal{L}(\theta, q_n; x_n)

    Neither half-step can lower the bound; after an E-step it is the log-likelihood, which therefore never falls.

    Args:
        model: a `GaussianMixture`, a `PPCA`, or any other model with `posterior`, `elbo` and `m_step`.
        x: [N, \*event_shape].
        rounds: E-steps, each with an M-step behind it.
        q: what to start with, reported as "start"; nothing by default, and the first half-step is an E-step.

    Returns:
        One `HalfStep` for each half-step.

    Example:
        >>> import torch
        >>> from lvmlib import PPCA, em, seed_everything
        >>> seed_everything(0)
        >>> x = torch.randn(200, 3) @ torch.randn(3, 5)
        >>> steps = em(PPCA((5,), latents=2), x, rounds=2)
        >>> [step.step for step in steps]
        ['E', 'M', 'E', 'M']
        >>> steps[0].elbo < steps[1].elbo < steps[2].elbo < steps[3].elbo
        True

    Source: Dempster, Laird & Rubin 1977; as coordinate ascent, Neal & Hinton 1998.
    """
    rounds = check_count(rounds, "rounds", "counts E-steps")
    steps = [] if q is None else [_half_step("start", model, x, q)]
    for _ in range(rounds):
        q = model.posterior(x)
        steps.append(_half_step("E", model, x, q))
        model.m_step(x, q)
        steps.append(_half_step("M", model, x, q))
    return steps


def _half_step(name: str, model: ExactPosterior, x: Tensor, q: Any) -> HalfStep:
    posterior = model.posterior(x)
    if isinstance(posterior, MultivariateNormal) and not isinstance(q, MultivariateNormal):
        q_full = MultivariateNormal(q.mean, scale_tril=torch.diag_embed(q.stddev))  # torch has no formula for the pair
        kl = kl_divergence(q_full, posterior)
    else:
        kl = kl_divergence(q, posterior)
    return HalfStep(name, model.elbo(x, q).mean().item(), kl.mean().item())
