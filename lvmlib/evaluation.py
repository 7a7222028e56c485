"""How good a posterior and a gradient estimator are: gaps of inference, signal and noise of gradients, resampling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, MultivariateNormal, Normal

from lvmlib.base import Density
from lvmlib.checks import check_count, check_no, check_positive
from lvmlib.distributions import DiagonalNormal
from lvmlib.draws import Conditioned, Draw, Posterior
from lvmlib.draws import draw as pathwise
from lvmlib.trace import Trace


class GradientMoments(NamedTuple):
    """Mean and variance of a stochastic gradient, entry by entry.

    Attributes:
        mean: [P], of all parameters one after another.
        variance: [P], of one gradient.
        n: how many gradients they come from.
    """

    mean: Tensor
    variance: Tensor
    n: int

    @property
    def snr(self) -> Tensor:
        r"""Signal-to-noise ratio :math:`|\mathbb{E} g| / \operatorname{sd}(g)`, [P]; nan where nothing arrives."""
        return self.mean.abs() / self.variance.sqrt()

    @property
    def standard_error(self) -> Tensor:
        """Of the mean, [P]."""
        return (self.variance / self.n).sqrt()


def gradient_moments(surrogate: Callable[[], Tensor], parameters: Iterable[Tensor], n: int = 1000) -> GradientMoments:
    r"""Mean, variance and signal-to-noise ratio of a gradient estimator, from n independent gradients.

    .. math:: \operatorname{SNR} = \frac{|\mathbb{E}\, g|}{\sqrt{\operatorname{Var} g}}

    At n gradients an SNR below :math:`1 / \sqrt n` cannot be told from 0.

    Args:
        surrogate: called n times; returns what is differentiated, a tensor that is averaged over its entries.
        parameters: in which the gradient is taken; a generator, such as ``model.encoder.parameters()``, will do.
        n: how many gradients, 2 or more.

    Returns:
        A `GradientMoments`, without gradient.

    Raises:
        ValueError: n below 2, or no parameters.

    Example:
        The gradient of z ~ N(m, 1) in m is 1 whatever is drawn, that of its square 2z, at m = 1 of SNR 1.

        >>> import torch
        >>> from lvmlib import gradient_moments
        >>> m = torch.ones(1, requires_grad=True)
        >>> moments = gradient_moments(lambda: (m + torch.randn(1)) ** 2, [m], n=2000)
        >>> 0.9 < moments.snr.item() < 1.1
        True

    Source: Rainforth et al. 2018, *Tighter variational bounds are not necessarily better*, equation 3.
    """
    n, parameters = check_count(n, "n", "counts gradients", least=2), list(parameters)
    if not parameters:
        raise ValueError("There are no parameters to take a gradient in.")
    mean = squares = torch.zeros(())
    for i in range(n):  # Welford's sums, which do not cancel
        gradients = torch.autograd.grad(surrogate().mean(), parameters, allow_unused=True)
        flat = torch.cat([(p * 0 if g is None else g).detach().flatten() for p, g in zip(parameters, gradients)])
        mean, squares = (flat, torch.zeros_like(flat)) if i == 0 else _taken_in(mean, squares, flat, i + 1)
    return GradientMoments(mean, squares / (n - 1), n)


def _taken_in(mean: Tensor, squares: Tensor, new: Tensor, count: int) -> tuple[Tensor, Tensor]:
    difference = new - mean
    mean = mean + difference / count
    return mean, squares + difference * (new - mean)


@torch.no_grad()
def implicit_posterior(
    model: Density, x: Tensor, k: int, n: int = 1, context: Tensor | None = None, rows: int = 1000
) -> Tensor:
    r"""Draws from what the importance-weighted bound takes for its posterior: one of k draws, chosen by its weight.

    .. math:: z = z_j, \quad j \sim \operatorname{Cat}(\tilde w_1, \dots, \tilde w_k), \qquad
        z_1, \dots, z_k \sim q(z \mid x), \quad \tilde w_i \propto w_i

    At k = 1 it is q; as k grows it comes close to the posterior. The ELBO of this distribution lies between the bound
    of k draws and the log-likelihood.

    Args:
        model: a chain with a latent layer.
        x: [B, \*event_shape].
        k: draws of q for each draw that is returned.
        n: how many draws per example.
        context: [B, ...] or None.
        rows: draws times examples that are held in memory at a time, or k times examples where that is more.

    Returns:
        [n, B, \*latent_shape], of the first layer whose z is a code for the data.

    Raises:
        TypeError: a model without such a layer.
        ValueError: k, n or rows below 1, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, implicit_posterior
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> implicit_posterior(model, torch.ones(2, 1), k=5, n=3).shape
        torch.Size([3, 2, 1])

    Source: Cremer, Morris & Duvenaud 2017, *Reinterpreting importance-weighted autoencoders*; Rubin 1988.
    """
    k, n, rows = check_count(k), check_count(n, "n"), check_count(rows, "rows", "counts draws times examples")
    at_once, parts = max(1, rows // (k * len(x))), []
    for start in range(0, n, at_once):
        m = min(at_once, n - start)
        trace = model.trace(x, context, m * k)
        latent = _latent(trace, "implicit_posterior")
        z = trace.steps[latent].z.unflatten(0, (m, k))  # [m, k, B, ...]
        weights = trace.log_weights.unflatten(0, (m, k)).movedim(1, -1)  # [m, B, k]
        chosen = Categorical(logits=weights, validate_args=False).sample()  # [m, B]
        draws, examples = torch.arange(m)[:, None], torch.arange(len(x))
        parts.append(z[draws, chosen.cpu(), examples])
    return torch.cat(parts)


class InferenceGaps(NamedTuple):
    """What amortised inference loses, example by example, in nats.

    Attributes:
        log_likelihood: [B], log p(x).
        best: [B], the ELBO of the best posterior of the same family.
        elbo: [B], the ELBO of the posterior that the encoder gives.
    """

    log_likelihood: Tensor
    best: Tensor
    elbo: Tensor

    @property
    def approximation(self) -> Tensor:
        """What the family of q costs, even at its best, [B] nats."""
        return self.log_likelihood - self.best

    @property
    def amortisation(self) -> Tensor:
        """What it costs that an encoder, and not a search for each example, finds q, [B] nats."""
        return self.best - self.elbo


def inference_gaps(
    model: Density,
    x: Tensor,
    steps: int = 1000,
    lr: float = 0.01,
    k: int = 10,
    draws: int = 5000,
    context: Tensor | None = None,
    log_p: Tensor | None = None,
) -> InferenceGaps:
    r"""The gap between log-likelihood and ELBO in two parts: the family of q, and its amortisation by an encoder.

    .. math:: \log p(x) - \mathcal{L}[q] = \underbrace{\log p(x) - \mathcal{L}[q^\star]}_{\text{approximation}}
        + \underbrace{\mathcal{L}[q^\star] - \mathcal{L}[q]}_{\text{amortisation}}, \qquad
        q^\star = \arg\max_{q \in \mathcal{Q}} \mathcal{L}[q]

    The parameters of q are optimised for each example, from those that the encoder gives, with Adam at a rate that
    falls along half a cosine; the model stays as it is. A posterior that is a flow keeps its weights, and what it is
    told is optimised: the context behind the encoder's network. The search ends somewhere below the maximum, so the
    approximation gap is an upper bound on average, and the amortisation gap a lower one.

    Args:
        model: a chain with one layer that draws, whose posterior is a `DiagonalNormal`, torch's Gaussians, or a flow.
        x: [B, \*event_shape].
        steps: of the optimisation.
        lr: its learning rate at first.
        k: draws per example and step.
        draws: per example, for the three numbers that are returned.
        context: [B, ...] or None.
        log_p: log p(x), [B], where it is known better than importance sampling from :math:`q^\star` can tell.

    Returns:
        An `InferenceGaps`, without gradient.

    Raises:
        TypeError: another posterior, discrete ones among them, several layers that draw, or none.
        ValueError: counts below 1, a rate that is not positive, or x does not fit the model.

    Example:
        A posterior that is exact but for its mean, which is off by 1.

        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, inference_gaps
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> _ = layer.offset.data.add_(1.0), torch.manual_seed(0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> gaps = inference_gaps(model, torch.ones(1, 1), steps=200, lr=0.1)
        >>> gaps.approximation.abs().item() < 0.01, 0.9 < gaps.amortisation.item() < 1.1
        (True, True)

    Source: Cremer, Li & Duvenaud 2018, section 3.
    """
    steps, k, draws = check_count(steps, "steps", ""), check_count(k), check_count(draws, "draws")
    lr = check_positive(lr, "lr")
    with torch.no_grad():
        q = _only_posterior(model.trace(x, context))
        amortised = _in_parts(model, x, context, draws, pathwise).mean(0)
    free, leaves = _free(q)
    optimizer = torch.optim.Adam(leaves, lr=lr)

    def from_free(_: Posterior, n: int) -> tuple[Tensor, Tensor]:
        return pathwise(free(), n)

    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        with torch.enable_grad():
            objective = model.trace(x, context, k, draw=from_free).log_weights.mean(0).sum()
            gradients = torch.autograd.grad(-objective, leaves)
        for leaf, gradient in zip(leaves, gradients):
            leaf.grad = gradient
        optimizer.step()
    with torch.no_grad():
        log_weights = _in_parts(model, x, context, draws, from_free)
    likelihood = log_weights.logsumexp(0) - math.log(draws) if log_p is None else log_p
    return InferenceGaps(likelihood, log_weights.mean(0), amortised)


def _latent(trace: Trace, name: str) -> int:
    """Place of the latent layer; raise `TypeError` where there is none."""
    check_no(trace.latent is None, f"{name} needs a layer with a code, but this chain has none.")
    return trace.latent or 0


def _only_posterior(trace: Trace) -> Posterior:
    """The posterior of a chain with one layer that draws."""
    drawn = [step.q for step in trace.steps if step.q is not None]
    check_no(len(drawn) != 1, f"inference_gaps takes a chain with one layer that draws, but this one has {len(drawn)}.")
    q: Posterior = drawn[0]
    return q


def _in_parts(model: Density, x: Tensor, context: Tensor | None, draws: int, draw: Draw, rows: int = 1000) -> Tensor:
    """Log-weights [draws, B], with at most `rows` of them, or B, in memory at a time."""
    at_once = max(1, rows // len(x))
    sizes = [min(at_once, draws - start) for start in range(0, draws, at_once)]
    return torch.cat([model.trace(x, context, size, draw=draw).log_weights for size in sizes])


def _free(q: Posterior) -> tuple[Callable[[], Posterior], list[Tensor]]:
    """A function that makes q from parameters of its own for each row, and these parameters, to be optimised."""

    def own(value: Tensor) -> Tensor:
        return value.detach().clone().requires_grad_()

    if isinstance(q, DiagonalNormal):
        loc, log_scale, dims = own(q.loc), own(q.log_scale), q.event_dims
        return lambda: DiagonalNormal(loc, log_scale, dims), [loc, log_scale]
    if isinstance(q, Independent) and isinstance(q.base_dist, Normal):
        loc, log_scale, dims = own(q.mean), own(q.stddev.log()), q.reinterpreted_batch_ndims
        return lambda: DiagonalNormal(loc, log_scale, dims), [loc, log_scale]
    if isinstance(q, MultivariateNormal):
        loc, tril = own(q.loc), own(q.scale_tril.expand(*q.loc.shape, q.loc.shape[-1]))
        return lambda: MultivariateNormal(loc, scale_tril=tril.tril(), validate_args=False), [loc, tril]
    if isinstance(q, Conditioned) and q.has_rsample:
        told, density = own(q.context), q.density
        return lambda: Conditioned(density, told), [told]
    what = type(q).__name__ if isinstance(q, Distribution) else type(q.density).__name__
    raise TypeError(
        f"inference_gaps optimises Gaussian posteriors and flows, through differentiable draws, but this one is {what}."
    )
