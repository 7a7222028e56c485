"""What a VAE may be trained on in place of its plain ELBO: free bits, and a sum over the components of a mixture."""

from __future__ import annotations

from typing import cast

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from lvmlib.base import Density
from lvmlib.bounds import distortion_and_rate
from lvmlib.checks import check_count, check_no, check_not_negative
from lvmlib.distributions import Coins, ConditionalMixture, DiagonalNormal, NormalMixture, OneHots
from lvmlib.draws import Posterior
from lvmlib.trace import Trace


def free_bits(
    model: Density, x: Tensor, floor: float = 0.1, k: int = 1, per: str = "unit", context: Tensor | None = None
) -> Tensor:
    r"""The ELBO with a KL term that costs no less than a floor, so that nothing is won by using a unit less.

    .. math:: \mathbb{E}_{q(z \mid x)}[\log p(x \mid z)] - \sum_j \max\!\Big(\lambda,
        \tfrac1B \sum_{b} \operatorname{KL}(q(z_j \mid x_b) \,\|\, p(z_j))\Big)

    Where the mean over the batch lies below the floor, the KL of that unit has no gradient. The result is never above
    the ELBO on average over the batch, so it is a bound on log p(x) too.

    Args:
        model: a chain with a latent layer.
        x: [B, \*event_shape].
        floor: :math:`\lambda`, nats.
        k: draws per example.
        per: "unit", a floor for each unit of the code (each variable, where codes are one-hot), in closed form, for
            posterior and prior of independent units; "layer", one floor for the rate as a whole, of any model.
        context: [B, ...] or None.

    Returns:
        [B], nats; the second term, which belongs to the batch, is the same in all.

    Raises:
        TypeError: no latent layer; with "unit", posterior and prior are not of independent units, or several layers.
        ValueError: a negative floor, another word for `per`, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import VAE, ConditionalBernoulli, ConditionalNormal, StandardNormal
        >>> from lvmlib import free_bits
        >>> encoder, decoder = torch.nn.Linear(9, 4), torch.nn.Linear(2, 9)
        >>> q, p = ConditionalNormal((2,), encoder), ConditionalBernoulli((9,), decoder)
        >>> vae = VAE(q, p, StandardNormal((2,)))
        >>> free_bits(vae, torch.ones(5, 9), floor=0.5).shape
        torch.Size([5])

    Source: Kingma et al. 2016, *Improved variational inference with inverse autoregressive flow*, appendix C.8.
    """
    floor = check_not_negative(floor, "floor is a number of nats")
    if per not in ("unit", "layer"):
        raise ValueError(f"per must be 'unit' or 'layer', but it is {per!r}.")
    trace = model.trace(x, context, k)
    check_no(trace.latent is None, "free_bits needs a layer with a code, but this chain has none.")
    distortion, rate = distortion_and_rate(trace)
    rates = rate.mean() if per == "layer" else _unit_kl(trace).mean(0)
    return -distortion.mean(0) - rates.clamp(min=floor).sum()


def _unit_kl(trace: Trace) -> Tensor:
    """KL of each unit, [rows, \\*units]; the sum over the units is the closed-form KL."""
    q, base = trace.steps[trace.latent or 0].q, trace.base
    several = trace.latent != len(trace.steps) - 1
    check_no(
        several or not base.has_distribution,
        "free_bits has a floor for each unit where one layer of codes meets a prior of independent units; here, take "
        "per='layer'.",
    )
    assert isinstance(q, Posterior)
    context = None if trace.context is None else trace.context[: q.batch_shape[0]]
    return kl_divergence(_units(q), _units(base.distribution(context)))


def _units(q: Posterior) -> Distribution:
    """The distribution of each unit: those of the event join the batch."""
    if isinstance(q, DiagonalNormal):
        return DiagonalNormal(q.loc, q.log_scale, 0)
    if isinstance(q, Coins):
        return Coins(q.logits, 0)
    if isinstance(q, OneHots):
        return OneHots(q.logits, 1)
    check_no(not isinstance(q, Independent), f"{q} has no independent units to give a floor to; take per='layer'.")
    return cast(Independent, q).base_dist


def stratified_elbo(model: Density, x: Tensor, k: int = 1, context: Tensor | None = None) -> Tensor:
    r"""The ELBO of a posterior that is a mixture: a sum over its components in place of a choice among them.

    .. math:: \sum_{m=1}^M \pi_m(x)\, \mathbb{E}_{q_m(z \mid x)}\!\left[\log \frac{p(x, z)}{q(z \mid x)}\right],
        \qquad q(z \mid x) = \sum_m \pi_m(x)\, q_m(z \mid x)

    Draws of a component are pathwise, and the weights :math:`\pi` stand outside of all expectations, so the gradient is
    unbiased in all parameters. It takes M times the work of one draw.

    Args:
        model: a chain with one layer that draws, whose encoder is a `ConditionalMixture` (it may stand in a `Given`).
        x: [B, \*event_shape].
        k: draws per example and component.
        context: [B, ...] or None.

    Returns:
        [B], nats.

    Raises:
        TypeError: the posterior is no such mixture.
        ValueError: k < 1, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import VAE, ConditionalBernoulli, ConditionalMixture, StandardNormal
        >>> from lvmlib import stratified_elbo
        >>> encoder = ConditionalMixture((2,), torch.nn.Linear(9, 15), 3)
        >>> decoder = torch.nn.Linear(2, 9)
        >>> vae = VAE(encoder, ConditionalBernoulli((9,), decoder), StandardNormal((2,)))
        >>> stratified_elbo(vae, torch.ones(5, 9)).shape
        torch.Size([5])

    Source: Roeder, Wu & Duvenaud 2017, *Sticking the Landing*, section 4.
    """
    k, m = check_count(k), _components(model)
    shares: list[Tensor] = []

    def of_each_component(q: Posterior, n: int) -> tuple[Tensor, Tensor]:
        check_no(not isinstance(q, NormalMixture), "stratified_elbo takes a chain in which one mixture alone is drawn.")
        assert isinstance(q, NormalMixture)
        shares.append(q.mixture_distribution.probs)  # [B, M]
        z = q.component_distribution.rsample((k,)).movedim(2, 0).flatten(0, 1)  # [k, B, M, ...] -> [M * k, B, ...]
        return z, q.log_prob(z)

    log_weights = model.trace(x, context, m * k, draw=of_each_component).log_weights  # [M * k, B]
    return (shares[0].T * log_weights.unflatten(0, (m, k)).mean(1)).sum(0)


def _components(model: Density) -> int:
    """How many the posterior has."""
    encoders = [layer.encoder for layer in getattr(model, "layers", []) if hasattr(layer, "encoder")]
    found = [part for encoder in encoders for part in encoder.modules() if isinstance(part, ConditionalMixture)]
    check_no(
        len(found) != 1 or len(encoders) != 1,
        "stratified_elbo needs a chain with one encoder, a ConditionalMixture; other models have elbo and estimators.",
    )
    return found[0].components
