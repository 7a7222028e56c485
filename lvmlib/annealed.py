"""Annealed importance sampling: the likelihood of a latent-variable model without an encoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from lvmlib.base import Density
from lvmlib.chain import Flow
from lvmlib.checks import check_batch, check_count, check_no, check_positive
from lvmlib.stochastic import Stochastic, log_prob_rows

TARGET = 0.65  # share of accepted proposals at which Hamiltonian steps are about most efficient (Neal 2011)
Energy = Callable[[Tensor], Tensor]


def annealed_log_likelihood(
    model: Density, x: Tensor, k: int = 16, temperatures: int = 200, leapfrog: int = 10, step: float = 0.1
) -> Tensor:
    r"""Log-likelihood by annealed importance sampling from the prior; the encoder is never asked.

    Chains walk from the prior to the posterior through :math:`f_t(z) = p(z)\, p(x \mid z)^{\beta_t}`, with one
    Hamiltonian step at each temperature.

    .. math:: \log \frac1k \sum_{i=1}^k w_i, \qquad
        \log w = \sum_{t=1}^T (\beta_t - \beta_{t-1}) \log p(x \mid z_{t-1})

    The mean weight is unbiased for p(x), so its logarithm is low on average, like any other bound by importance
    weights. Sizes of steps are tuned for each example in a first run and held in a second one, which is the one that
    counts: a step that adapts to the chain it moves would spoil the unbiasedness.

    Args:
        model: a chain of one stochastic layer with an exact prior, such as a `VAE`.
        x: [B, \*event_shape].
        k: chains per example.
        temperatures: T, the number of steps from the prior to the posterior.
        leapfrog: steps of the integrator within each Hamiltonian step.
        step: size of these at the start of the tuning.

    Returns:
        [B], nats, without gradient.

    Raises:
        TypeError: the model is no such chain.

    Example:
        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, annealed_log_likelihood
        >>> from lvmlib import seed_everything
        >>> seed_everything(0)
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> estimate = annealed_log_likelihood(model, torch.ones(1, 1), k=100, temperatures=50)
        >>> abs(estimate.item() + 1.5155) < 0.05
        True

    Source: Neal 2001, *Annealed Importance Sampling*; for decoders, Wu et al. 2017.
    """
    k, temperatures = check_count(k), check_count(temperatures, "temperatures", "counts steps")
    leapfrog = check_count(leapfrog, "leapfrog", "counts steps of the integrator")
    step = check_positive(step, "step", "is the size of a step")
    chain = _of_one_layer(model)
    check_batch(x, model.event_shape)
    first = torch.full((len(x),), step, dtype=x.dtype, device=x.device)
    tuned: list[Tensor] = []
    _anneal(chain, x, k, temperatures, leapfrog, _tuning(first, tuned))
    log_weights = _anneal(chain, x, k, temperatures, leapfrog, lambda t, accepted: tuned[t])
    return torch.logsumexp(log_weights, 0) - math.log(k)


def _of_one_layer(model: Density) -> Flow:
    fits = isinstance(model, Flow) and len(model.transforms) == 1 and isinstance(model.transforms[0], Stochastic)
    check_no(
        not fits or cast(Flow, model).base.is_bound,
        "Annealing takes a chain of one stochastic layer that ends in an exact prior, such as a VAE.",
    )
    return cast(Flow, model)


StepSize = Callable[[int, "Tensor | None"], Tensor]


def _tuning(step: Tensor, kept: list[Tensor]) -> StepSize:
    """Sizes that grow while most proposals are accepted and shrink while few are; [B] at each temperature."""

    def size(t: int, accepted: Tensor | None) -> Tensor:
        last = kept[-1] if kept else step
        factor = 1.0 if accepted is None else torch.where(accepted > TARGET, 1.05, 0.95)
        kept.append(last * factor)
        return kept[-1]

    return size


def _anneal(model: Flow, x: Tensor, k: int, temperatures: int, leapfrog: int, size: StepSize) -> Tensor:
    """Log-weights of k chains for each example, [k, B]."""
    layer = model.layers[0]
    assert isinstance(layer, Stochastic)

    def log_likelihood(z: Tensor) -> Tensor:
        return log_prob_rows(layer.likelihood(z), x, k)

    z = model.base.sample(k * len(x))
    log_w = z.new_zeros(k * len(x))
    betas = _schedule(temperatures)
    accepted: Tensor | None = None
    for t in range(temperatures):
        with torch.no_grad():
            log_w += (betas[t + 1] - betas[t]) * log_likelihood(z)
        if t + 1 < temperatures:  # the last move would change no weight
            beta = betas[t + 1]
            energy = lambda z, beta=beta: -model.base.log_prob(z) - beta * log_likelihood(z)  # noqa: E731
            z, moved = _hamiltonian(energy, z, size(t, accepted).repeat(k), leapfrog)
            accepted = moved.view(k, -1).mean(0)  # [B]
    return log_w.view(k, -1)


def _schedule(temperatures: int) -> list[float]:
    """Inverse temperatures from 0 to 1, close to one another at both ends."""
    t = torch.linspace(-4, 4, temperatures + 1, dtype=torch.float64).sigmoid()
    betas: list[float] = ((t - t[0]) / (t[-1] - t[0])).tolist()
    return betas


def _hamiltonian(energy: Energy, z: Tensor, step: Tensor, leapfrog: int) -> tuple[Tensor, Tensor]:
    """One Hamiltonian step of each row: where it ends, and 1.0 where the proposal was accepted, [rows]."""
    step = step.view(-1, *[1] * (z.dim() - 1))
    momentum = torch.randn_like(z)
    value, slope = _with_gradient(energy, z)
    start = value + 0.5 * momentum.square().flatten(1).sum(1)
    new = z
    momentum = momentum - 0.5 * step * slope
    for i in range(leapfrog):
        new = new + step * momentum
        value, slope = _with_gradient(energy, new)
        momentum = momentum - (step if i + 1 < leapfrog else 0.5 * step) * slope
    end = value + 0.5 * momentum.square().flatten(1).sum(1)
    accept = torch.rand_like(start).log() < start - end  # False where the energy is nan
    return torch.where(accept.view(step.shape), new, z), accept.to(z.dtype)


def _with_gradient(energy: Energy, z: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = energy(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope
