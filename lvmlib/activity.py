"""Which latents a model uses: the units whose posterior mean changes with x."""

from __future__ import annotations

import torch
from torch import Tensor

from lvmlib.base import Density
from lvmlib.checks import check_batch, check_context, check_count, check_no, check_not_negative
from lvmlib.trace import Step


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

        >>> from lvmlib.distributions import ConditionalNormal, StandardNormal
        >>> from lvmlib.latent import VAE
        >>> encoder, decoder = torch.nn.Linear(1, 4), torch.nn.Linear(2, 2)
        >>> _ = encoder.weight.data.copy_(torch.tensor([[1.0], [0.0], [0.0], [0.0]]))
        >>> vae = VAE(ConditionalNormal((2,), encoder), ConditionalNormal((1,), decoder), StandardNormal((2,)))
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
