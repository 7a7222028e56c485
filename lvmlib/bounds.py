"""Lower bounds on the log-likelihood, itself by importance sampling, and on mutual information; for every `Density`."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from lvmlib.base import Density
from lvmlib.chain import Flow
from lvmlib.checks import check_batch, check_context, check_count, check_no, check_not_negative
from lvmlib.distributions import Coins, DiagonalNormal
from lvmlib.information.checks import not_negative
from lvmlib.stochastic import Stochastic
from lvmlib.trace import Trace


def elbo(model: Density, x: Tensor, k: int = 1, beta: float = 1.0, context: Tensor | None = None) -> Tensor:
    r"""The evidence lower bound, averaged over k draws, with the KL in closed form where there is one.

    .. math:: \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    In a chain of several layers the log p(x|z) of the first layer with a code, and what layers before it pay, is the
    first term (dequantization among them); all the rest is the second. A density without a code, such as a flow,
    gives its log-likelihood or the bound on it, whatever beta is.

    Args:
        model: any density.
        x: [B, \*event_shape].
        k: draws per example.
        beta: weight of the KL term. Below 1 the result is no lower bound on log p(x).
        context: [B, ...] or None.

    Returns:
        [B], nats.

    Raises:
        TypeError: a bound of one's own that has no `trace`.
        ValueError: beta is negative, k < 1, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, elbo
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> bound = elbo(model, torch.ones(1, 1), k=100)  # exact posterior: log p(x) = -1.5155
        >>> -2.2 < bound.item() < -0.9
        True

    Source: Kingma & Welling 2014, equation 3; beta: Higgins et al. 2017.
    """
    k, beta = check_count(k), check_not_negative(beta, "beta weighs the KL term")
    if not model.is_bound:
        return model.log_prob(x, context)
    trace = model.trace(x, context, k)
    latent = trace.latent
    if latent is None:
        return trace.log_weights.mean(0)
    reconstruction, rate = _reconstruction_and_rate(trace, latent)
    bound = reconstruction - (rate if beta == 1 else beta * rate)
    return bound.squeeze(0) if bound.shape[0] == 1 else bound.mean(0)


def distortion_and_rate(trace: Trace, latent: int | None = None) -> tuple[Tensor, Tensor]:
    r"""Split the negative ELBO into distortion, :math:`-\log p(x \mid z)`, and rate, the KL term.

    Args:
        trace: what `model.trace` returned, for a model with a latent layer.
        latent: place in the trace of the layer whose code is meant; all that the chain pays before it is distortion.
            `trace.latent`, the first of them, by default.

    Returns:
        distortion: [k, B], rate: [k, B], nats. The rate of each row is the closed-form KL (the same for all k) where
        the last layer's posterior and the base have one, else the log-ratio at the draw.

    Raises:
        TypeError: the model has no latent layer.

    Example:
        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal
        >>> from lvmlib.bounds import distortion_and_rate
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> trace = model.trace(torch.ones(1, 1))
        >>> distortion, rate = distortion_and_rate(trace)
        >>> torch.allclose(-distortion - rate, trace.log_weights)
        True

    Source: Alemi et al. 2018, *Fixing a Broken ELBO*.
    """
    latent = trace.latent if latent is None else latent
    check_no(latent is None, "distortion and rate need a layer with a code, but this chain has none.")
    reconstruction, rate = _reconstruction_and_rate(trace, latent or 0)
    return -reconstruction, rate.expand_as(reconstruction)


def _reconstruction_and_rate(trace: Trace, latent: int) -> tuple[Tensor, Tensor]:
    before, first, after = trace.steps[:latent], trace.steps[latent], trace.steps[latent + 1 :]
    reconstruction = first.log_p
    for step in before:
        reconstruction = reconstruction + step.paid
    kl = closed_form_kl(trace)
    if kl is None:
        rate = first.log_q - trace.log_base
    elif not after:
        return reconstruction, kl
    else:  # the last layer's log q is in the KL
        rate = kl + first.log_q - after[-1].log_p
        after = after[:-1]
    for step in after:
        rate = rate - step.paid
    return reconstruction, rate


def closed_form_kl(trace: Trace) -> Tensor | None:
    """KL from the last layer's posterior to the base, [k, B] or [B] in nats; None where no closed form is known."""
    last, base = trace.steps[-1], trace.base
    if not isinstance(last.q, Distribution) or not base.has_distribution:
        return None
    rows = last.size[1]
    q_rows = last.q.batch_shape[0]
    context = trace.context
    if context is not None and len(context) != q_rows:
        context = context[:q_rows]  # the k draws stand below one another, copy by copy
    prior = base.distribution(context)
    try:
        kl: Tensor = kl_divergence(last.q, prior)
    except NotImplementedError:  # no formula for this pair
        return None
    if not isinstance(last.q, (DiagonalNormal, Coins)):  # theirs is not
        kl = not_negative(kl)
    return kl if q_rows == rows else kl.view(-1, rows)


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

        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, iwae
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> round(iwae(model, torch.ones(1, 1), k=5).item(), 4)
        -1.5155

    Source: Burda, Grosse & Salakhutdinov 2016, equation 8.
    """
    k = check_count(k)
    if not model.is_bound:
        return model.log_prob(x, context)
    return torch.logsumexp(model.log_weights(x, k, context), dim=0) - math.log(k)


@torch.no_grad()
def log_likelihood(model: Density, x: Tensor, k: int = 5000, rows: int = 1000, context: Tensor | None = None) -> Tensor:
    """The log-likelihood by importance sampling from the posterior, without gradient, in bounded memory.

    It is `iwae` at a large k: still a lower bound on average, and for exact densities the log-likelihood itself.

    Args:
        model: any density.
        x: [B, \\*event_shape].
        k: draws per example in all.
        rows: draws times examples that are held in memory at a time, whatever B and k are.
        context: [B, ...] or None.

    Returns:
        [B], nats.

    Raises:
        TypeError: a bound of one's own that has no `log_weights`.
        ValueError: k or rows below 1, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, log_likelihood
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> round(log_likelihood(model, torch.ones(1, 1), k=50, rows=20).item(), 4)
        -1.5155
    """
    k, rows = check_count(k), check_count(rows, "rows", "counts draws times examples")
    check_batch(x, model.event_shape)
    check_context(context, len(x))
    examples = max(1, rows // k) if model.is_bound else rows  # few examples with all their draws: few encoder passes
    parts = [(i, min(i + examples, len(x))) for i in range(0, len(x), examples)]
    contexts = [None if context is None else context[a:b] for a, b in parts]
    return torch.cat([_of_rows(model, x[a:b], k, rows, c) for (a, b), c in zip(parts, contexts)])


def _of_rows(model: Density, x: Tensor, k: int, rows: int, context: Tensor | None) -> Tensor:
    """`log_likelihood` of a few examples, with `rows` draws of them at a time."""
    if not model.is_bound:
        return model.log_prob(x, context)
    at_once = max(1, rows // len(x))
    total = None
    for start in range(0, k, at_once):
        part = torch.logsumexp(model.log_weights(x, min(at_once, k - start), context), dim=0)
        total = part if total is None else torch.logaddexp(total, part)
    assert total is not None
    return total - math.log(k)


@torch.no_grad()
def mutual_information_bound(model: Density, n: int, context: Tensor | None = None) -> Tensor:
    r"""A lower bound on the mutual information of data and codes under the model's own joint p(z) p(x|z).

    .. math:: I_p(x; z) \ge \mathbb{E}_{p(z)\, p(x \mid z)}\big[\log q(z \mid x) - \log p(z)\big]

    It is tight where q is the posterior. The mutual information of `decompose` is another one, under the data and the
    encoder; the two agree only where these joints do. In a chain of several layers z stands for the codes of all.

    Args:
        model: a chain with a latent layer.
        n: how many pairs (x, z) are drawn.
        context: [n, ...] or None; with one, the mutual information is conditional on it.

    Returns:
        [n], nats; the mean is the bound, and may be negative.

    Raises:
        TypeError: a model without a latent layer.

    Example:
        x = z + noise, both of variance 1, and q exact: the mutual information is log(2) / 2 = 0.347.

        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, mutual_information_bound
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> 0.3 < mutual_information_bound(model, 10_000).mean().item() < 0.4
        True

    Source: Barber & Agakov 2003, *The IM algorithm*, equation 3.
    """
    n = check_count(n, "n")
    layers, end = (model.layers, model.end) if isinstance(model, Flow) else ([], model)
    places = [i for i, layer in enumerate(layers) if isinstance(layer, Stochastic) and not layer.carries_data]
    check_no(not places, "mutual_information_bound needs a layer with a code, but this chain has none.")
    coded = Flow(layers[places[0] :], end)  # what lies before only gives the data another form
    z, drawn = coded.end.sample(n, context), []
    for layer in reversed(coded.layers):
        if isinstance(layer, Stochastic):
            drawn.append(z)
        z = layer.generate(z, context)
    trace = coded.trace(z, context, draw=lambda q, _: (drawn[-1][None], q.log_prob(drawn.pop()[None])))
    above: Tensor | float = sum(step.paid for step in trace.steps[1:])
    return (trace.steps[0].log_q - above - trace.log_base)[0]


def effective_sample_size(log_weights: Tensor) -> Tensor:
    r"""How many of the draws are at work: Kish's effective sample size of importance weights.

    .. math:: \frac{(\sum_i w_i)^2}{\sum_i w_i^2}

    It is k where all weights are equal and 1 where one of them is all there is. Measured on the very draws that it
    judges, it cannot see what none of them hit.

    Args:
        log_weights: [k, ...], nats, as `Flow.log_weights` gives them.

    Returns:
        [...], between 1 and k.

    Example:
        >>> import torch
        >>> from lvmlib import effective_sample_size
        >>> effective_sample_size(torch.tensor([0.0, 0.0, -100.0, -100.0]))
        tensor(2.)

    Source: Kish 1965, *Survey Sampling*; for importance sampling, Owen 2013, *Monte Carlo theory, methods and
    examples*, section 9.3.
    """
    w = log_weights.softmax(0)  # shifting all log-weights changes nothing
    return 1 / w.square().sum(0)
