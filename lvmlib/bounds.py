"""Lower bounds on the log-likelihood, and the likelihood itself by importance sampling; for every `Density`."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from lvmlib.base import Density, Flow, Step, Stochastic, Trace, check_batch, repeat_rows


def elbo(model: Density, x: Tensor, k: int = 1, beta: float = 1.0, context: Tensor | None = None) -> Tensor:
    r"""The evidence lower bound, averaged over k draws, with the KL in closed form where there is one.

    .. math:: \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    In a chain of several layers the first stochastic layer's log p(x|z), and what bijections before it pay, is the
    first term; all the rest is the second. An exact density gives its log-likelihood, whatever beta is.

    Args:
        model: any density.
        x: [B, \*event_shape].
        k: draws per example.
        beta: weight of the KL term. Below 1 the result is no lower bound on log p(x).
        context: [B, ...] or None.

    Returns:
        [B], nats.

    Raises:
        ValueError: beta is negative, k < 1, or x does not fit the model.

    Example:
        >>> from lvmlib.latent import LinearGaussian
        >>> from lvmlib.distributions import StandardNormal
        >>> model = Flow([LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)], StandardNormal((1,)))
        >>> bound = elbo(model, torch.ones(1, 1), k=100)   # the posterior is exact, so the bound is log p(x) = -1.5155
        >>> -2.2 < bound.item() < -0.9
        True

    Source: Kingma & Welling 2014, equation 3; beta: Higgins et al. 2017.
    """
    if not beta >= 0:
        raise ValueError(f"beta weighs the KL term and must not be negative, but it is {beta}.")
    if not isinstance(model, Flow) or not model.is_bound:
        return model.log_prob(x, context)
    if not any(isinstance(layer, Stochastic) for layer in model.layers):  # bijections before a base that is a bound
        check_batch(x, model.event_shape)
        z, paid = x, torch.zeros((), dtype=x.dtype, device=x.device)
        for layer in model.layers:
            z, log_det = layer(z, context)
            paid = paid + log_det
        return paid + elbo(model.base, z, k, beta, context)
    trace = model.trace(x, context, k)
    distortion, rate = distortion_and_rate(model, trace, context)
    return (-distortion - beta * rate).mean(0)


def distortion_and_rate(model: Flow, trace: Trace, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Split the negative ELBO into distortion, :math:`-\log p(x \mid z)`, and rate, the KL term.

    Args:
        model: a flow with a stochastic layer.
        trace: what `model.trace` returned.
        context: the context of that call.

    Returns:
        distortion: [k, B], rate: [k, B], nats. The rate of each row is the closed-form KL (the same for all k) where
        the last layer's posterior and the base have one, else the log-ratio at the draw.

    Raises:
        TypeError: the model has no stochastic layer.

    Source: Alemi et al. 2018, *Fixing a Broken ELBO*.
    """
    first = next((i for i, step in enumerate(trace.steps) if step.q is not None), None)
    if first is None:
        raise TypeError("distortion and rate need a stochastic layer, but this chain has none.")
    distortion = -trace.steps[first].log_p
    for step in trace.steps[:first]:
        distortion = distortion - step.log_det
    kl = closed_form_kl(model, trace.steps[-1], context)
    rate = -trace.log_base + trace.steps[-1].log_q if kl is None else kl.expand_as(distortion)
    for i, step in enumerate(trace.steps[first:], first):
        last = i == len(trace.steps) - 1
        rate = rate - step.log_det + (0 if last else step.log_q) - (0 if i == first else step.log_p)
    return distortion, rate


def closed_form_kl(model: Flow, last: Step, context: Tensor | None = None) -> Tensor | None:
    """KL from the last layer's posterior to the base, [k, B] or [B] in nats; None where no closed form is known."""
    if not isinstance(last.q, Distribution):
        return None
    rows = last.log_q.shape[1]
    q_rows = last.q.batch_shape[0]
    row_context = None if context is None else repeat_rows(context, q_rows // rows)
    try:
        kl = kl_divergence(last.q, model.base.distribution(row_context))
    except (TypeError, NotImplementedError):  # no distribution behind the base; no formula for this pair
        return None
    return kl.view(q_rows // rows, rows)


def iwae(model: Density, x: Tensor, k: int, context: Tensor | None = None) -> Tensor:
    r"""The importance-weighted bound, tighter on average the more draws it takes.

    .. math:: \log \frac1k \sum_{i=1}^k w_i, \qquad w_i = \frac{p(x, z_i)}{q(z_i \mid x)}, \quad z_i \sim q(z \mid x)

    Args:
        model: any density; an exact one gives its log-likelihood for every k.
        x: [B, \*event_shape].
        k: draws per example.
        context: [B, ...] or None.

    Returns:
        [B], nats.

    Example:
        More draws, a tighter bound; here q is exact, and one draw already gives log p(x) = -1.5155.

        >>> from lvmlib.latent import LinearGaussian
        >>> from lvmlib.distributions import StandardNormal
        >>> model = Flow([LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)], StandardNormal((1,)))
        >>> round(iwae(model, torch.ones(1, 1), k=5).item(), 4)
        -1.5155

    Source: Burda, Grosse & Salakhutdinov 2016, equation 8.
    """
    if not isinstance(model, Flow):
        return model.log_prob(x, context)
    return torch.logsumexp(model.log_weights(x, k, context), dim=0) - math.log(k)


@torch.no_grad()
def log_likelihood(model: Density, x: Tensor, k: int = 5000, chunk: int = 100, context: Tensor | None = None) -> Tensor:
    """The log-likelihood by importance sampling from the posterior, without gradient, in bounded memory.

    It is `iwae` at a large k: still a lower bound on average, and for exact densities the log-likelihood itself.

    Args:
        model: any density.
        x: [B, \\*event_shape].
        k: draws per example in all.
        chunk: draws held in memory at a time, for the whole batch.
        context: [B, ...] or None.

    Returns:
        [B], nats.

    Raises:
        ValueError: k or chunk below 1.

    Example:
        >>> from lvmlib.latent import LinearGaussian
        >>> from lvmlib.distributions import StandardNormal
        >>> model = Flow([LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)], StandardNormal((1,)))
        >>> round(log_likelihood(model, torch.ones(1, 1), k=50, chunk=20).item(), 4)
        -1.5155
    """
    if k < 1 or chunk < 1:
        raise ValueError(f"k and chunk count draws and must be 1 or more, but they are {k} and {chunk}.")
    if not isinstance(model, Flow) or not model.is_bound:
        return model.log_prob(x, context)
    total = None
    for start in range(0, k, chunk):
        part = torch.logsumexp(model.log_weights(x, min(chunk, k - start), context), dim=0)
        total = part if total is None else torch.logaddexp(total, part)
    assert total is not None
    return total - math.log(k)
