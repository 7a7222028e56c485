"""What the estimators share: how a surrogate carries a gradient, what a trace drew, and what is refused at the door."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from lvmlib.base import Density
from lvmlib.checks import check_count
from lvmlib.draws import Draw, Posterior, check_rows
from lvmlib.draws import draw as pathwise
from lvmlib.trace import Step, Trace


def carry(value: Tensor) -> Tensor:
    """Nothing, with the gradient of `value`.

    Example:
        >>> import torch
        >>> from lvmlib.estimators.parts import carry
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> nothing = carry(x**2)
        >>> nothing.item(), torch.autograd.grad(nothing, x)[0].item()
        (0.0, 6.0)
    """
    return value - value.detach()


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """The importance-weighted bound of log-weights [k, B]; [B], nats."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def drawn(trace: Trace) -> list[Step]:
    """The steps that drew."""
    return [step for step in trace.steps if step.q is not None]


def log_q(trace: Trace) -> Tensor:
    """Log-density of all that was drawn, [k, B] nats."""
    total: Any = sum(step.log_q for step in drawn(trace))
    return total


def check_draws_something(model: Density, name: str) -> None:
    """Raise `TypeError` where nothing is drawn, so that there is nothing to estimate."""
    if isinstance(model, Density) and model.is_bound:
        return
    raise TypeError(
        f"{name} estimates the gradient of a bound, but this {type(model).__name__} draws nothing: "
        "train it on its log_prob."
    )


def check_several(k: Any, name: str) -> int:
    """The number of draws; raise `ValueError` where one draw would leave no others to compare it with."""
    k = check_count(k)
    if k < 2:
        raise ValueError(f"{name} compares each draw with the others, so k must be 2 or more, but it is {k}.")
    return k


def reparameterised(name: str) -> Draw:
    """How to draw with a gradient through z; a posterior that cannot is refused in the name of the estimator."""

    def draw(q: Posterior, n: int) -> tuple[Tensor, Tensor]:
        check_reparameterised(q, name)
        return pathwise(q, n)

    return draw


def check_reparameterised(q: Posterior, name: str) -> None:
    """Raise `TypeError` where the draws of q have no gradient, as those of discrete values."""
    if not q.has_rsample:
        what = type(q).__name__ if isinstance(q, Distribution) else type(q.density).__name__
        raise TypeError(
            f"{name} differentiates through the draws of a posterior, but {what} has none to offer (its values are "
            "discrete, or its draws have no rsample). Use score_function, rloo, nvil or vimco, or, for Bernoulli and "
            "categorical latents, gumbel_softmax, straight_through, rebar or relax."
        )
    check_rows(q)


def with_gradient(q: Posterior, n: int, name: str) -> Tensor:
    """`n` draws of each row of q with a gradient through them, [n, B, ...]."""
    check_reparameterised(q, name)
    z: Tensor = q.rsample(torch.Size((n,))) if isinstance(q, Distribution) else q.rsample_with_log_prob(n)[0]
    return z


def log_density(q: Posterior, z: Tensor) -> Tensor:
    """Log q of draws [n, B, ...]: [n, B], nats."""
    value: Tensor = q.log_prob(z)
    return value
