"""Gradients of the log-density of the draws: the score function, and what makes it vary less."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lvmlib.base import Density
from lvmlib.checks import check_count, number
from lvmlib.draws import draw_constant
from lvmlib.estimators.baselines import Baseline, NVILBaseline
from lvmlib.estimators.parts import carry, check_draws_something, check_several, log_mean_exp, log_q
from lvmlib.trace import Trace


def score_function(
    model: Density,
    x: Tensor,
    k: int = 1,
    baseline: float | Tensor | Baseline = 0.0,
    context: Tensor | None = None,
) -> Tensor:
    r"""The score-function gradient of the ELBO, averaged over k draws: REINFORCE, or the likelihood-ratio estimator.

    .. math:: \nabla_\phi \mathbb{E}_{q_\phi}[\log w] = \mathbb{E}_{q_\phi}\big[(\log w - b)\,
        \nabla_\phi \log q_\phi(z \mid x)\big], \qquad w = \frac{p(x, z)}{q_\phi(z \mid x)}

    It needs neither a differentiable draw nor a continuous z. The score has mean zero, so any baseline b that does not
    depend on the draw leaves the gradient unbiased. The gradient in :math:`\theta` is that of :math:`\log p(x, z)`.

    Args:
        model: a chain that draws, with any posteriors.
        x: [B, \*event_shape].
        k: draws per example.
        baseline: b; a number, a tensor [B] (as `optimal_baseline` returns), or a `Baseline` that learns as training
            goes on.
        context: [B, ...] or None.

    Returns:
        [B], nats; the ELBO, with the estimator for its gradient.

    Raises:
        TypeError: a model that draws nothing.
        ValueError: k < 1, a baseline of another kind or shape, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import VAE, ConditionalBernoulli, FactorisedBernoulli, score_function
        >>> encoder = ConditionalBernoulli((3,), torch.nn.Linear(4, 3))
        >>> decoder = ConditionalBernoulli((4,), torch.nn.Linear(3, 4))
        >>> vae = VAE(encoder, decoder, FactorisedBernoulli((3,)))
        >>> score_function(vae, torch.ones(2, 4), k=5).shape
        torch.Size([2])

    Source: Williams 1992; Paisley, Blei & Jordan 2012.
    """
    trace, signal = _constant_draws(model, x, context, check_count(k), "score_function")
    if isinstance(baseline, Baseline):
        value = baseline(x)
        return _with_score(trace, signal - value) + baseline.lesson(signal, value)
    return _with_score(trace, signal - _checked(baseline, signal))


def rloo(model: Density, x: Tensor, k: int, context: Tensor | None = None) -> Tensor:
    r"""The score-function gradient of the ELBO with the mean of the other draws as each draw's baseline.

    .. math:: \frac1k \sum_{i=1}^k \Big(\log w_i - \frac{1}{k-1} \sum_{j \ne i} \log w_j\Big)
        \nabla_\phi \log q_\phi(z_i \mid x)

    Unbiased, with nothing to learn and nothing to set.

    Args:
        model: a chain that draws, with any posteriors.
        x: [B, \*event_shape].
        k: draws per example, 2 or more.
        context: [B, ...] or None.

    Returns:
        [B], nats; the ELBO, with the estimator for its gradient.

    Raises:
        TypeError: a model that draws nothing.
        ValueError: k < 2, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import VAE, ConditionalBernoulli, FactorisedBernoulli, rloo
        >>> encoder = ConditionalBernoulli((3,), torch.nn.Linear(4, 3))
        >>> decoder = ConditionalBernoulli((4,), torch.nn.Linear(3, 4))
        >>> vae = VAE(encoder, decoder, FactorisedBernoulli((3,)))
        >>> rloo(vae, torch.ones(2, 4), k=5).shape
        torch.Size([2])

    Source: Salimans & Knowles 2014; Kool, van Hoof & Welling 2019.
    """
    trace, signal = _constant_draws(model, x, context, check_several(k, "rloo"), "rloo")
    return _with_score(trace, signal - _mean_of_others(signal))


def vimco(model: Density, x: Tensor, k: int, context: Tensor | None = None) -> Tensor:
    r"""The score-function gradient of the importance-weighted bound, each draw set against the bound without it.

    .. math:: \sum_{i=1}^k \big(\mathcal{L}_k - \mathcal{L}_{-i}\big) \nabla_\phi \log q_\phi(z_i \mid x)
        + \sum_{i=1}^k \tilde w_i \nabla \log w_i

    :math:`\mathcal{L}_{-i}` is the bound with :math:`w_i` replaced by the geometric mean of the others, and
    :math:`\tilde w_i = w_i / \sum_j w_j`. Unbiased.

    Args:
        model: a chain that draws, with any posteriors.
        x: [B, \*event_shape].
        k: draws per example, 2 or more.
        context: [B, ...] or None.

    Returns:
        [B], nats; the importance-weighted bound, with the estimator for its gradient.

    Raises:
        TypeError: a model that draws nothing.
        ValueError: k < 2, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import VAE, ConditionalBernoulli, FactorisedBernoulli, vimco
        >>> encoder = ConditionalBernoulli((3,), torch.nn.Linear(4, 3))
        >>> decoder = ConditionalBernoulli((4,), torch.nn.Linear(3, 4))
        >>> vae = VAE(encoder, decoder, FactorisedBernoulli((3,)))
        >>> vimco(vae, torch.ones(2, 4), k=5).shape
        torch.Size([2])

    Source: Mnih & Rezende 2016, equations 8 to 10.
    """
    trace, log_weights = _constant_draws(model, x, context, check_several(k, "vimco"), "vimco")
    bound = log_mean_exp(trace.log_weights)
    signal = bound.detach() - _bounds_without_each(log_weights)
    return bound + carry((signal * log_q(trace)).sum(0))


def nvil(model: Density, x: Tensor, baseline: NVILBaseline, k: int = 1, context: Tensor | None = None) -> Tensor:
    r"""The score-function gradient of the ELBO with a learned, centred and scaled signal.

    .. math:: \frac{\log w - C_\psi(x) - c}{\max(1, \sqrt{v})}\, \nabla_\phi \log q_\phi(z \mid x)

    :math:`C_\psi` is a network, trained by least squares along with the model; c and v are running estimates of what
    is left of the mean and of the variance, from the batches before this one. The division makes the gradient in
    :math:`\phi` shorter than the true one by a factor that does not depend on the draw; apart from it the estimator is
    unbiased. In a chain of several layers each is given the whole signal, not the part that it can change.

    Args:
        model: a chain that draws, with any posteriors.
        x: [B, \*event_shape].
        baseline: holds the network and the running estimates; it is trained with the model, see the example.
        k: draws per example.
        context: [B, ...] or None.

    Returns:
        [B], nats; the ELBO, with the estimator for its gradient, and that of minus the squared error for the baseline's
        network.

    Raises:
        TypeError: a model that draws nothing, or a baseline of another kind.
        ValueError: k < 1, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import VAE, ConditionalBernoulli, FactorisedBernoulli, NVILBaseline, fit
        >>> from lvmlib import nvil
        >>> encoder = ConditionalBernoulli((3,), torch.nn.Linear(4, 3))
        >>> decoder = ConditionalBernoulli((4,), torch.nn.Linear(3, 4))
        >>> vae = VAE(encoder, decoder, FactorisedBernoulli((3,)))
        >>> baseline = NVILBaseline(torch.nn.Linear(4, 1))
        >>> both = torch.nn.ModuleDict({"vae": vae, "baseline": baseline})
        >>> loss = lambda both, x: -nvil(both["vae"], x, both["baseline"])
        >>> history = fit(both, torch.ones(8, 4), loss, steps=3, batch_size=8, progress=False)

    Source: Mnih & Gregor 2014, algorithm 1.
    """
    if not isinstance(baseline, NVILBaseline):
        raise TypeError(f"nvil needs an NVILBaseline, but it was given a {type(baseline).__name__}.")
    trace, signal = _constant_draws(model, x, context, check_count(k), "nvil")
    value, scale = baseline(x), baseline.scale
    return _with_score(trace, (signal - value) / scale) + baseline.lesson(signal, value)


def optimal_baseline(model: Density, x: Tensor, k: int = 1000, context: Tensor | None = None) -> Tensor:
    r"""The constant that makes the score-function gradient of the ELBO vary least, estimated with k draws.

    .. math:: b^\star = \frac{\mathbb{E}\big[\log w\, \lVert s \rVert^2\big]}{\mathbb{E}\lVert s \rVert^2}, \qquad
        s = \nabla_\phi \log q_\phi(z \mid x)

    It takes the work of a backward pass for each draw: a yardstick, not a method for training.

    Args:
        model: a chain that draws, with any posteriors.
        x: [B, \*event_shape].
        k: draws per example.
        context: [B, ...] or None.

    Returns:
        [B], nats, without gradient: a `baseline` for `score_function`.

    Raises:
        TypeError: a model that draws nothing.
        ValueError: k < 1, x does not fit the model, or no parameter of a posterior requires a gradient.

    Example:
        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, optimal_baseline
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> baseline = optimal_baseline(model, torch.ones(1, 1), k=10)
        >>> round(baseline.item(), 4)  # log w is constant here
        -1.5155

    Source: Greensmith, Bartlett & Baxter 2004, theorem 8.
    """
    k, top, bottom = check_count(k), x.new_zeros(len(x)), x.new_zeros(len(x))
    parameters, at_once = [p for p in model.parameters() if p.requires_grad], max(1, 64 // len(x))
    for start in range(0, k, at_once):
        with torch.enable_grad():
            trace, signal = _constant_draws(model, x, context, min(at_once, k - start), "optimal_baseline")
            squares = _squared_norms(log_q(trace), parameters)
        top, bottom = top + (signal * squares).sum(0), bottom + squares.sum(0)
    return top / bottom


def _constant_draws(model: Density, x: Tensor, context: Tensor | None, k: int, name: str) -> tuple[Trace, Tensor]:
    """A trace whose draws have no gradient, and its log-weights as plain numbers [k, B]."""
    check_draws_something(model, name)
    trace = model.trace(x, context, k, draw=draw_constant)
    return trace, trace.log_weights.detach()


def _with_score(trace: Trace, signal: Tensor) -> Tensor:
    """The ELBO, with the gradient of log p(x, z) in the model and signal times the score in q: [B].

    The log-weights hold -log q too. Its gradient, minus the score, has mean zero, and the 1 takes it away.
    """
    return (trace.log_weights + carry((1 + signal.detach()) * log_q(trace))).mean(0)


def _checked(baseline: float | Tensor, signal: Tensor) -> float | Tensor:
    """A number, or one value per example."""
    if isinstance(baseline, Tensor):
        if baseline.shape not in ((), signal.shape[1:]):
            raise ValueError(
                f"A baseline has one value per example, [{signal.shape[1]}], but this one has shape "
                f"{list(baseline.shape)}."
            )
        return baseline
    if not math.isfinite(number(baseline)):
        raise ValueError(f"baseline must be a number, a tensor [B] or a Baseline, but it is {baseline!r}.")
    return number(baseline)


def _mean_of_others(values: Tensor) -> Tensor:
    """Of each of k rows, the mean of the others."""
    return (values.sum(0) - values) / (len(values) - 1)


def _bounds_without_each(log_weights: Tensor) -> Tensor:
    """The bound in which the geometric mean of the others stands for one weight, for each of them: [k, B]."""
    k = len(log_weights)
    others = log_weights.expand(k, *log_weights.shape).clone()  # [which is replaced, draw, B]
    each = torch.arange(k, device=log_weights.device)
    others[each, each] = _mean_of_others(log_weights)
    return others.logsumexp(1) - math.log(k)


def _squared_norms(scores: Tensor, parameters: list[torch.nn.Parameter]) -> Tensor:
    """Of the gradients of many log q in all parameters, one for each: [k, B] -> [k, B]."""
    if not scores.requires_grad:
        raise ValueError("No parameter of a posterior requires a gradient, so there is nothing to estimate.")
    each = torch.eye(scores.numel(), dtype=scores.dtype, device=scores.device).view(-1, *scores.shape)
    gradients = torch.autograd.grad(scores, parameters, each, allow_unused=True, is_grads_batched=True)
    squares = [g.flatten(1).square().sum(1) for g in gradients if g is not None]
    return torch.stack(squares).sum(0).view_as(scores)
