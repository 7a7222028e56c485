"""The KL term cut open: what codes tell of the data, how far they are from the prior, and which of them are used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lvmlib.base import Density, Transform
from lvmlib.bounds import distortion_and_rate
from lvmlib.checks import check_batch, check_context, check_count, check_no, check_not_negative
from lvmlib.distributions import RowMixture
from lvmlib.draws import Draw
from lvmlib.draws import draw as pathwise
from lvmlib.stochastic import Stochastic
from lvmlib.trace import Step, Trace

NO_CODE = " needs a layer with a code, but this chain has none."


class Surgery(NamedTuple):
    """The ELBO in three terms and its KL term once more, example by example, in nats; the terms are their means.

    Attributes:
        reconstruction: [B], log p(x|z) averaged over the draws.
        mutual_information: [B], KL(q(z|x) || q(z)); their mean is the mutual information of x and z.
        marginal_kl: [B], log q(z) - log p(z) averaged over the draws; their mean is KL(q(z) || p(z)).
        rate: [B], KL(q(z|x) || p(z)), in closed form where there is one: then it checks the sum of the two before it.
    """

    reconstruction: Tensor
    mutual_information: Tensor
    marginal_kl: Tensor
    rate: Tensor


@torch.no_grad()
def decompose(
    model: Density,
    x: Tensor,
    k: int = 1,
    layer: int | None = None,
    data_size: int | None = None,
    context: Tensor | None = None,
    draw: Draw = pathwise,
    rows: int = 1000,
) -> Surgery:
    r"""Cut the mean KL term of the ELBO into the mutual information of data and codes and a marginal KL.

    .. math:: \frac1N \sum_n \operatorname{KL}(q(z \mid x_n) \,\|\, p(z)) &=
        \underbrace{\frac1N \sum_n \operatorname{KL}(q(z \mid x_n) \,\|\, q(z))}_{I_N \,\le\, \log N} +
        \operatorname{KL}(q(z) \,\|\, p(z)), \\
        q(z) &= \frac1N \sum_n q(z \mid x_n)

    With all N examples in x, q(z) is exact at every draw, and only the averages over draws are estimates. A part of
    them can be taken in two ways, which hold the truth between them, on average over random parts of M examples:

    - *the part as a data set of its own* (`data_size` left out): the mutual information comes out too small, never
      above log M, and the marginal KL by as much too large. The error falls like 1/M - 1/N once M is well above
      :math:`e^{I}`; below that it is no less than I - log M.
    - *stratified* (`data_size`: N): q(z) is estimated without bias by
      :math:`\frac1N q(z \mid x_i) + \frac{N - 1}{N (M - 1)} \sum_{j \ne i} q(z \mid x_j)` for a draw of
      :math:`q(z \mid x_i)`, so that its logarithm comes out too small, the mutual information too large, at most
      log N, and the marginal KL by as much too small, even negative.

    Where several layers draw codes, `layer` says whose q(z) is meant. What the chain pays below it is reconstruction,
    and x in the formulas is what the layer is given: data for the first, drawn codes for the others, of which k N are
    a sample (so that I comes out too small there). Layers above it count as its prior, with the bound that they pay.

    Args:
        model: a chain with a latent layer.
        x: [B, \*event_shape]; all N examples of a data set, or B = M of them.
        k: draws per example.
        layer: of those that draw a code, which; 0 is next to the data. To be given where there are several.
        data_size: N, for the stratified estimate; None: x is all there is.
        context: [B, ...] or None. q(z) then averages over contexts too.
        draw: how draws are taken; see `Flow.trace`.
        rows: draws times examples that the chain is given at a time. The k B codes themselves are all kept.

    Returns:
        A `Surgery`, without gradient.

    Raises:
        TypeError: a model without a latent layer.
        ValueError: `layer` is missing or names none, `data_size` is below B, or x does not fit the model.

    Example:
        The mean KL has a closed form, the two terms come from draws.

        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, decompose
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> terms = decompose(model, model.sample(200), k=100)
        >>> cut = terms.mutual_information.mean() + terms.marginal_kl.mean()
        >>> torch.allclose(cut, terms.rate.mean(), atol=0.05)
        True

    Source: Hoffman & Johnson 2016; the stratified estimate: Chen et al. 2018, *Isolating sources of disentanglement in
    variational autoencoders*, appendix C.2.
    """
    check_batch(x, model.event_shape)
    n = _data_size(data_size, len(x))
    reconstructions, rates, priors, steps = [], [], [], []
    for trace in _traces(model, x, k, context, draw, rows):
        place = _place(trace, layer)
        distortion, rate = distortion_and_rate(trace, place)
        reconstructions.append(-distortion.mean(0))
        rates.append(rate.mean(0))
        priors.append(trace.log_base + sum(step.paid for step in trace.steps[place + 1 :]))
        steps.append(trace.steps[place])
    z, log_q = torch.cat([step.z for step in steps], 1), torch.cat([step.log_q for step in steps], 1)
    mixture, own = _mixture(steps)
    if n == len(x):
        log_marginal = mixture.log_prob(z)
    else:
        if mixture.rows > len(x):
            raise ValueError("The codes below this layer are other ones in each draw: with data_size, k must be 1.")
        others = mixture.log_prob(z, without=own)
        log_marginal = torch.logaddexp(log_q - math.log(n), others + math.log1p(-1 / n))
    information, marginal = log_q - log_marginal, log_marginal - torch.cat(priors, 1)
    return Surgery(torch.cat(reconstructions), information.mean(0), marginal.mean(0), torch.cat(rates))


@torch.no_grad()
def aggregated_posterior(
    model: Density,
    x: Tensor,
    k: int = 1,
    layer: int | None = None,
    context: Tensor | None = None,
    rows: int = 1000,
) -> RowMixture:
    r"""The aggregated posterior of a data set, the best prior that there is for a fixed encoder.

    .. math:: q(z) = \frac1N \sum_{n=1}^N q(z \mid x_n)

    Args:
        model: a chain with a latent layer.
        x: [N, \*event_shape].
        k: draws of the codes below, where the layer is not the first that draws.
        layer: of those that draw a code, which; 0 is next to the data. To be given where there are several.
        context: [N, ...] or None.
        rows: draws times examples that the chain is given at a time.

    Returns:
        A torch distribution of batch shape [] over codes, with `log_prob` and `sample`. It holds the posterior of each
        example, and computes with a part of them at a time.

    Raises:
        TypeError: a model without a latent layer.
        ValueError: `layer` is missing or names none, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, aggregated_posterior
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> q = aggregated_posterior(model, model.sample(100))
        >>> q.log_prob(torch.zeros(5, 1)).shape, q.sample((3,)).shape
        (torch.Size([5]), torch.Size([3, 1]))

    Source: Makhzani et al. 2015, *Adversarial autoencoders*; Hoffman & Johnson 2016.
    """
    traces = _traces(model, x, k, context, pathwise, rows)
    return _mixture([trace.steps[_place(trace, layer)] for trace in traces])[0]


@torch.no_grad()
def active_units(
    model: Density, x: Tensor, k: int = 1, threshold: float = 0.01, context: Tensor | None = None, rows: int = 1000
) -> list[int]:
    r"""How many units of each layer of codes are active, which means that their posterior mean varies with x.

    .. math:: A_j = \operatorname{Var}_x\big(\mathbb{E}_{q(z_j \mid x)}[z_j]\big) > 0.01

    Above the first layer the posterior is known given the codes below, and its mean is averaged over k draws of them;
    what the noise of that average adds to the variance is subtracted.

    Args:
        model: a chain with a latent layer.
        x: [B, \*event_shape], two examples or more.
        k: draws of the codes below, 2 or more where there are several layers of codes.
        threshold: of the variance.
        context: [B, ...] or None.
        rows: draws times examples that are held in memory at a time.

    Returns:
        One number for each layer of codes, from the data on.

    Raises:
        TypeError: a model without a latent layer.
        ValueError: a single example, a single draw where several layers need more, a negative threshold, or x does not
            fit the model.

    Example:
        The encoder looks at x for the first of its two latents alone.

        >>> import torch
        >>> from lvmlib import VAE, ConditionalNormal, StandardNormal, active_units
        >>> encoder, decoder = torch.nn.Linear(1, 4), torch.nn.Linear(2, 2)
        >>> _ = encoder.weight.data.copy_(torch.tensor([[1.0], [0.0], [0.0], [0.0]]))
        >>> posterior = ConditionalNormal((2,), encoder)
        >>> likelihood = ConditionalNormal((1,), decoder)
        >>> vae = VAE(posterior, likelihood, StandardNormal((2,)))
        >>> active_units(vae, torch.tensor([[-1.0], [1.0]]))
        [1]

    Source: Burda, Grosse & Salakhutdinov 2016, section 5.2.
    """
    k, rows = check_count(k), check_count(rows, "rows", "counts draws times examples")
    threshold = check_not_negative(threshold, "threshold is compared with a variance")
    check_batch(x, model.event_shape)
    check_context(context, len(x))
    if len(x) < 2:
        raise ValueError("A variance over x needs two examples or more, but x has 1.")
    size = max(1, rows // k)
    parts = [
        _means_and_noise(model, x[i : i + size], k, None if context is None else context[i : i + size])
        for i in range(0, len(x), size)
    ]
    counts = []
    for layer in zip(*parts):  # of each: means [B, *latent_shape] and the variance of the noise in them
        means, noise = (torch.cat(pieces) for pieces in zip(*layer))
        counts.append(int((means.var(0) - noise.mean(0) > threshold).sum()))
    return counts


def _means_and_noise(model: Density, x: Tensor, k: int, context: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """Posterior means of each layer of codes, [B, \\*latent_shape], with the variance of the noise in them."""
    trace = model.trace(x, context, k)
    check_no(trace.latent is None, "active_units needs a layer with a code, but this chain has none.")
    drawn = [i for i, step in enumerate(trace.steps) if step.q is not None]
    return [_mean_and_noise(trace.steps[i], first=i == drawn[0]) for i in drawn if i >= (trace.latent or 0)]


def _mean_and_noise(step: Step, first: bool) -> tuple[Tensor, Tensor]:
    k, examples = step.size
    mean = getattr(step.q, "mean", None)  # None where q is a flow, which has only its draws
    if first and mean is not None:  # it depends on x alone
        return mean, torch.zeros_like(mean)
    if k == 1:
        raise ValueError("The posterior mean of a layer is an average over draws here: k must be 2 or more, got 1.")
    terms = step.z if mean is None else mean.unflatten(0, (k, examples))
    return terms.mean(0), terms.var(0) / k


def _traces(model: Density, x: Tensor, k: int, context: Tensor | None, draw: Draw, rows: int) -> Iterator[Trace]:
    """The ways of a few examples at a time, with all their draws."""
    k, rows = check_count(k), check_count(rows, "rows", "counts draws times examples")
    check_batch(x, model.event_shape)
    check_context(context, len(x))
    size = max(1, rows // k)
    for i in range(0, len(x), size):
        yield model.trace(x[i : i + size], None if context is None else context[i : i + size], k, draw=draw)


def _draws_code(layer: Transform) -> bool:
    return isinstance(layer, Stochastic) and not layer.carries_data


def _place(trace: Trace, layer: int | None) -> int:
    """Place in the chain of the layer that is meant."""
    places = [i for i, step in enumerate(trace.steps) if _draws_code(step.layer)]
    check_no(not places, "ELBO surgery" + NO_CODE)
    if layer is None and len(places) > 1:
        raise ValueError(f"{len(places)} layers of this chain draw codes: say which; layer=0 is next to the data.")
    layer = check_count(
        0 if layer is None else layer, "layer", "numbers the layers that draw codes from the data on", least=0
    )
    if layer >= len(places):
        raise ValueError(f"layer is {layer}, but only {len(places)} of this chain draw codes; they count from 0.")
    return places[layer]


def _mixture(steps: list[Step]) -> tuple[RowMixture, Tensor]:
    """The posteriors of all steps as one mixture, and which of its rows each draw came from, [k, N]."""
    own, first, parts = [], 0, []
    for step in steps:
        k, examples = step.size
        assert step.q is not None
        rows = step.q.batch_shape[0]  # of x, or of each of the k draws below
        own.append(first + torch.arange(rows).view(-1, examples).expand(k, -1))
        first += rows
        parts.append(step.q)
    return RowMixture(parts), torch.cat(own, 1)


def _data_size(data_size: int | None, examples: int) -> int:
    if data_size is None:
        return examples
    data_size = check_count(data_size, "data_size", "counts the examples of the whole data set")
    if data_size < examples or (data_size > examples == 1):
        raise ValueError(f"data_size is {data_size}, but x has {examples}: it is a part of the data, of two or more.")
    return data_size
