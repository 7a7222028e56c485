"""Unbiased gradients for discrete draws with a relaxed one as control variate, which learns to fit: REBAR and RELAX."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.base import Density
from lvmlib.checks import check_count, check_no, check_positive, check_type, number
from lvmlib.draws import Posterior, draw_constant
from lvmlib.estimators.parts import carry, check_draws_something, drawn, log_density
from lvmlib.estimators.relaxed import Noise, can_relax, noise_of
from lvmlib.networks import join


class ControlVariate(nn.Module):
    r"""What REBAR and RELAX subtract, as a function of a relaxed draw: :math:`c(\tilde z) = \eta \log w(\tilde z) +
    r(\tilde z, x)`, with :math:`\tilde z` at a temperature T.

    T, :math:`\eta` and the network r are trained, along with the model, to make the gradient vary less:
    ``fit(torch.nn.ModuleDict({"vae": vae, "control": control}), ...)``.

    Args:
        network: r, maps z and x side by side, [n, d + D], to [n, 1]; None for REBAR, which has none.
        temperature: T at first.
        scale: :math:`\eta` at first.

    Raises:
        ValueError: a temperature that is not positive, a scale that is not finite, or a network that gives another
            number of values.

    Example:
        >>> from lvmlib import ControlVariate
        >>> control = ControlVariate(temperature=0.5)
        >>> round(control.temperature.item(), 4), control.scale.item()
        (0.5, 1.0)

    Source: Tucker et al. 2017; Grathwohl et al. 2018.
    """

    def __init__(self, network: nn.Module | None = None, temperature: float = 0.5, scale: float = 1.0):
        super().__init__()
        self.network = network
        self.log_temperature = nn.Parameter(torch.tensor(math.log(check_positive(temperature, "temperature"))))
        if not math.isfinite(number(scale)):
            raise ValueError(f"scale must be a finite number, but it is {scale!r}.")
        self.scale = nn.Parameter(torch.tensor(number(scale)))

    @property
    def temperature(self) -> Tensor:
        """What it is now, T."""
        return self.log_temperature.exp()

    def forward(self, log_weights: Tensor, z: Tensor, x: Tensor) -> Tensor:
        """The control variate of relaxed draws z [k, B, ...] with their log-weights [k, B]: [k, B]."""
        value = self.scale * log_weights
        if self.network is None:
            return value
        rows = join(z.flatten(0, 1), x.expand(len(z), *x.shape).flatten(0, 1))  # [k * B, d + D]
        learned: Tensor = self.network(rows)
        if learned.numel() != log_weights.numel():
            raise ValueError(
                f"The network of a control variate gives one value per draw, [{len(rows)}, 1], but this one gave "
                f"{list(learned.shape)}."
            )
        return value + learned.view_as(log_weights)


def rebar(model: Density, x: Tensor, control: ControlVariate, k: int = 1, context: Tensor | None = None) -> Tensor:
    r"""The score-function gradient of the ELBO with its own relaxation as control variate.

    .. math:: \big(f(b) - \eta f(\tilde z_b)\big) \nabla_\phi \log q_\phi(b \mid x)
        + \eta \nabla_\phi f(\tilde z) - \eta \nabla_\phi f(\tilde z_b), \qquad f = \log w

    b is the discrete draw that the relaxed one :math:`\tilde z` becomes at temperature 0, and :math:`\tilde z_b` is
    drawn anew, given b. Unbiased for every T and :math:`\eta`; both follow the gradient of the variance (over
    the logits of q), along with the training of the model.

    Args:
        model: a chain with one layer that draws, from a Bernoulli or categorical posterior.
        x: [B, \*event_shape].
        control: holds T and :math:`\eta`; it is trained with the model, see the example.
        k: draws per example; each passes the decoder three times.
        context: [B, ...] or None.

    Returns:
        [B], nats; the ELBO, with the estimator for its gradient. Its mean carries, for the parameters of `control`, the
        gradient of minus the mean square of the estimator.

    Raises:
        TypeError: another posterior, several layers that draw, none, or a control variate with a network.
        ValueError: k < 1, or x does not fit the model.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import VAE, ConditionalBernoulli, ControlVariate, FactorisedBernoulli
        >>> from lvmlib import fit, rebar
        >>> encoder = ConditionalBernoulli((3,), nn.Linear(4, 3))
        >>> decoder = ConditionalBernoulli((4,), nn.Linear(3, 4))
        >>> vae = VAE(encoder, decoder, FactorisedBernoulli((3,)))
        >>> both = nn.ModuleDict({"vae": vae, "control": ControlVariate()})
        >>> loss = lambda both, x: -rebar(both["vae"], x, both["control"])
        >>> history = fit(both, torch.ones(8, 4), loss, steps=3, batch_size=8, progress=False)

    Source: Tucker et al. 2017, equation 6.
    """
    check_type(control, ControlVariate, "rebar needs a ControlVariate, but it was given a {}.")
    check_no(control.network is not None, "The control variate of rebar has no network; with one it is relax.")
    return _controlled(model, x, control, k, context, "rebar")


def relax(model: Density, x: Tensor, control: ControlVariate, k: int = 1, context: Tensor | None = None) -> Tensor:
    r"""The score-function gradient of the ELBO with a control variate that is learned.

    .. math:: \big(f(b) - c(\tilde z_b)\big) \nabla_\phi \log q_\phi(b \mid x)
        + \nabla_\phi c(\tilde z) - \nabla_\phi c(\tilde z_b), \qquad c = \eta f + r

    As `rebar`, with a network r beside the relaxed objective. Unbiased for every c.

    Args:
        model: a chain with one layer that draws, from a Bernoulli or categorical posterior.
        x: [B, \*event_shape].
        control: holds r, T and :math:`\eta`; it is trained with the model, as in the example of `rebar`.
        k: draws per example; each passes the decoder three times.
        context: [B, ...] or None.

    Returns:
        [B], nats; as `rebar`.

    Raises:
        TypeError: another posterior, several layers that draw, none, or a control variate without a network.
        ValueError: k < 1, or x does not fit the model.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import VAE, ConditionalBernoulli, ControlVariate, FactorisedBernoulli
        >>> from lvmlib import relax
        >>> encoder = ConditionalBernoulli((3,), nn.Linear(4, 3))
        >>> decoder = ConditionalBernoulli((4,), nn.Linear(3, 4))
        >>> vae = VAE(encoder, decoder, FactorisedBernoulli((3,)))
        >>> relax(vae, torch.ones(2, 4), ControlVariate(nn.Linear(7, 1))).shape
        torch.Size([2])

    Source: Grathwohl et al. 2018, equation 8 and appendix C.
    """
    check_type(control, ControlVariate, "relax needs a ControlVariate, but it was given a {}.")
    check_no(control.network is None, "relax needs a ControlVariate with a network; without one it is rebar.")
    return _controlled(model, x, control, k, context, "relax")


class _Coupled:
    """Draws three values of each: b, the relaxed draw that becomes b, and another one drawn anew given b."""

    def __init__(self, k: int, temperature: Tensor, name: str):
        self.k, self.temperature, self.name = k, temperature, name
        self.noise: Noise | None = None

    def __call__(self, q: Posterior, n: int) -> tuple[Tensor, Tensor]:
        check_no(
            not can_relax(q) or self.noise is not None,
            f"{self.name} takes a chain with one layer that draws, from a Bernoulli or categorical posterior (Coins or "
            "OneHots). Use reparameterization for continuous latents and rloo or vimco for chains of several layers.",
        )
        self.noise = noise = noise_of(q)
        before = noise.draw(self.k)
        value = noise.hard(before)
        soft = [noise.soft(z, self.temperature) for z in (before, noise.given(value))]
        z = torch.cat([value, *soft])  # [3k, B, ...]
        return z, log_density(q, z)


def _controlled(
    model: Density, x: Tensor, control: ControlVariate, k: int, context: Tensor | None, name: str
) -> Tensor:
    check_draws_something(model, name)
    k, coupled = check_count(k), _Coupled(k, control.temperature, name)
    if not torch.is_grad_enabled():
        return model.trace(x, context, k, draw=draw_constant).log_weights.mean(0)
    trace = model.trace(x, context, 3 * k, draw=coupled)
    assert coupled.noise is not None
    logits, step = coupled.noise.logits, drawn(trace)[0]
    log_weights, soft, again = trace.log_weights.chunk(3)
    log_q = step.log_q[:k]
    c, c_again = (control(f, z, x) for f, z in zip((soft, again), step.z.chunk(3)[1:]))
    ones = torch.ones_like(log_q)
    (estimate,) = torch.autograd.grad(  # in the logits of q, summed over the draws; still a function of `control`
        [log_q, c, c_again], logits, [log_weights - c_again, ones, -ones], create_graph=True
    )
    estimate = estimate / k
    elbo = (log_weights + carry(log_q)).mean(0)  # its gradient is that of log p(x, z) alone
    return elbo + carry((logits * estimate.detach()).flatten(1).sum(1)) - _to_vary_less(estimate, control)


def _to_vary_less(estimate: Tensor, control: ControlVariate) -> Tensor:
    """0, with the gradient of the estimator's mean square in the control variate's parameters, and in no others.

    The mean of the estimator does not depend on them, so this is the gradient of its variance.
    """
    parameters = [p for p in control.parameters() if p.requires_grad]
    if not parameters:
        return estimate.new_zeros(())
    square = estimate.square().flatten(1).sum(1).mean()
    gradients = torch.autograd.grad(square, parameters, retain_graph=True, allow_unused=True)
    total: Any = sum((p * g).sum() for p, g in zip(parameters, gradients) if g is not None)
    return carry(total)
