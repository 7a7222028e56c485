"""Gradients through the draws: z is a differentiable function of the parameters of q and of noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.func import functional_call

from lvmlib.base import Density
from lvmlib.checks import check_count, check_no
from lvmlib.draws import Draw, Posterior, draw_to_weigh, frozen
from lvmlib.estimators.parts import (
    carry,
    check_draws_something,
    check_reparameterised,
    drawn,
    log_density,
    log_mean_exp,
    reparameterised,
    with_gradient,
)
from lvmlib.generators import drawing_state, restore_drawing_state
from lvmlib.stochastic import Stochastic, log_prob_rows
from lvmlib.trace import Step, Trace


def reparameterization(model: Density, x: Tensor, k: int = 1, context: Tensor | None = None) -> Tensor:
    r"""The pathwise gradient of the ELBO, averaged over k draws.

    .. math:: \nabla_\phi \mathbb{E}_{q_\phi}[\log w]
        = \mathbb{E}_\varepsilon\big[\nabla_\phi \log w(z_\phi(\varepsilon))\big],
        \qquad w = \frac{p(x, z)}{q_\phi(z \mid x)}

    `lvmlib.bounds.elbo` has the same gradient on average; where the KL term has a closed form it draws only the
    reconstruction. Unbiased.

    Args:
        model: a chain that draws, with posteriors that can be reparameterised.
        x: [B, \*event_shape].
        k: draws per example.
        context: [B, ...] or None.

    Returns:
        [B], nats; the ELBO, with the estimator for its gradient.

    Raises:
        TypeError: a posterior without differentiable draws, or a model that draws nothing.
        ValueError: k < 1, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, reparameterization
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> reparameterization(model, torch.ones(2, 1), k=3).shape
        torch.Size([2])

    Source: Kingma & Welling 2014, section 2.3; Rezende, Mohamed & Wierstra 2014.
    """
    check_draws_something(model, "reparameterization")
    return model.trace(x, context, check_count(k), draw=reparameterised("reparameterization")).log_weights.mean(0)


def stl(model: Density, x: Tensor, k: int = 1, context: Tensor | None = None) -> Tensor:
    r"""Sticking the landing: the pathwise gradient of the bound of k draws without the score of q.

    .. math:: \nabla_\phi \log \frac1k \sum_{i=1}^k \frac{p(x, z_i)}{q_{\operatorname{stop}(\phi)}(z_i \mid x)},
        \qquad z_i = z_\phi(\varepsilon_i)

    What is left out has mean zero at k = 1, so there the gradient is unbiased, and it vanishes for every draw where q
    is exact. At k > 1 the weights depend on the draws and the estimator is biased in :math:`\phi` unless q is exact;
    `dreg` is not.

    Args:
        model: a chain that draws, with posteriors that can be reparameterised, flows among them.
        x: [B, \*event_shape].
        k: draws per example.
        context: [B, ...] or None.

    Returns:
        [B], nats; the importance-weighted bound, at k = 1 the ELBO.

    Raises:
        TypeError: a posterior without differentiable draws, or a model that draws nothing.
        ValueError: k < 1, or x does not fit the model.

    Example:
        With the exact posterior the gradient does not vary: it is 0.

        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, stl
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> stl(Flow([layer], StandardNormal((1,))), torch.ones(1, 1)).backward()
        >>> layer.offset.grad.abs().item() < 1e-5
        True

    Source: Roeder, Wu & Duvenaud 2017.
    """
    check_draws_something(model, "stl")

    def draw(q: Posterior, n: int) -> tuple[Tensor, Tensor]:
        z = with_gradient(q, n, "stl")
        return z, log_density(frozen(q), z)

    trace = model.trace(x, context, check_count(k), draw=draw)
    log_weights = trace.log_weights
    for step in drawn(trace)[1:]:  # their x was drawn too, and the gradient through it has to stay
        log_weights = log_weights + step.log_q - _log_q_at_rest(step, trace)
    return log_mean_exp(log_weights)


class _LogQ(nn.Module):
    """log q(z|x) of a layer as a module, so that it can be called with other weights."""

    def __init__(self, layer: Stochastic):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
        return log_prob_rows(self.layer.posterior(x, context), z)


def _log_q_at_rest(step: Step, trace: Trace) -> Tensor:
    """log q(z|x) with a gradient to z and x, and none to the weights of q: [k, B], nats."""
    module: Any = _LogQ(step.layer)  # type: ignore[arg-type]
    weights = {name: p.detach() for name, p in module.named_parameters()}
    rows = step.x.flatten(0, 1), step.z.flatten(0, 1), trace.context  # k copies of a batch below one another
    value: Tensor = functional_call(module, weights, rows)
    return value.view(step.size)


def dreg(model: Density, x: Tensor, k: int, context: Tensor | None = None) -> Tensor:
    r"""The doubly reparameterised gradient of the importance-weighted bound.

    .. math:: \nabla_\phi \mathcal{L}_k = \mathbb{E}\Big[\sum_{i=1}^k \tilde w_i^2\,
        \frac{\partial \log w_i}{\partial z_i} \frac{\partial z_i}{\partial \phi}\Big], \qquad
        \tilde w_i = \frac{w_i}{\sum_j w_j}

    The gradient in :math:`\theta` is that of `lvmlib.bounds.iwae`. Unbiased for every k; its signal-to-noise ratio in
    :math:`\phi` does not fall as k grows. At k = 1 it is `stl`.

    Args:
        model: a chain with one layer that draws with a gradient; its posterior may be a flow.
        x: [B, \*event_shape].
        k: draws per example.
        context: [B, ...] or None.

    Returns:
        [B], nats; the importance-weighted bound.

    Raises:
        TypeError: a posterior without differentiable draws, several layers that draw with a gradient, or a model that
            draws nothing.
        ValueError: k < 1, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, dreg
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> round(dreg(model, torch.ones(1, 1), k=5).item(), 4)
        -1.5155

    Source: Tucker, Lawson, Gu & Maddison 2019, equation 8.
    """
    check_draws_something(model, "dreg")
    shares: list[Tensor] = []  # known when gradients arrive, not yet when the hook is set
    hooked: list[Posterior] = []

    def draw(q: Posterior, n: int) -> tuple[Tensor, Tensor]:
        z = with_gradient(q, n, "dreg")
        if z.requires_grad:
            check_no(
                bool(hooked),
                "dreg weighs the gradient at the draws of one layer, but this chain has several layers that draw with "
                "a gradient. Use iwae or vimco, or stl with k = 1.",
            )
            hooked.append(q)
            z.register_hook(lambda g: g * shares[0].reshape(*z.shape[:2], *[1] * (z.dim() - 2)))
        return z, log_density(frozen(q), z)

    log_weights = model.trace(x, context, check_count(k), draw=draw).log_weights
    shares.append(log_weights.detach().softmax(0))
    return log_mean_exp(log_weights)


def single_backward_iwae(model: Density, x: Tensor, k: int, context: Tensor | None = None) -> Tensor:
    r"""The importance-weighted bound of k draws, with the gradient of one of them, chosen by its weight.

    .. math:: \nabla \mathcal{L}_k = \mathbb{E}\Big[\sum_i \tilde w_i \nabla \log w_i\Big]
        = \mathbb{E}\big[\nabla \log w_j\big], \qquad j \sim \operatorname{Cat}(\tilde w_1, \dots, \tilde w_k)

    Only the chosen draw passes the model with a gradient, so a step costs k passes forward and one back, and little
    memory. Unbiased; the price is the noise of the choice. Networks must answer the same twice: no dropout.

    Args:
        model: a chain that draws, with posteriors that can be reparameterised.
        x: [B, \*event_shape].
        k: draws per example.
        context: [B, ...] or None.

    Returns:
        [B], nats; the importance-weighted bound.

    Raises:
        TypeError: a posterior without differentiable draws, or a model that draws nothing.
        ValueError: k < 1, or x does not fit the model.

    Example:
        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal, single_backward_iwae
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> round(single_backward_iwae(model, torch.ones(1, 1), k=5).item(), 4)
        -1.5155

    Source: Burda, Grosse & Salakhutdinov 2016, section 3.
    """
    check_draws_something(model, "single_backward_iwae")
    k = check_count(k)
    replay = _Replay(k, x.device)
    with torch.no_grad():
        log_weights = model.trace(x, context, k, draw=replay.record).log_weights
        chosen = Categorical(logits=log_weights.T, validate_args=False).sample()  # [B]
    bound = log_mean_exp(log_weights)
    if not torch.is_grad_enabled():
        return bound
    return bound + carry(model.trace(x, context, 1, draw=replay.only(chosen)).log_weights[0])


class _Replay:
    """Draws that can be taken a second time, from the same noise: the states of the generator are kept."""

    def __init__(self, k: int, device: torch.device):
        self.k, self.device = k, device
        self.states: list[Tensor] = []

    def record(self, q: Posterior, n: int) -> tuple[Tensor, Tensor]:
        """Draw, and remember where the generator stood."""
        check_reparameterised(q, "single_backward_iwae")
        self.states.append(drawing_state(self.device))
        return draw_to_weigh(q, n)

    def only(self, chosen: Tensor) -> Draw:
        """Draw again, and keep draw `chosen[i]` of example i.

        Behind the first layer q had k * B rows, which drew once; now it has B rows, those that were chosen, and draws k
        times. Both take the same noise in the same order, k copies of a batch below one another.
        """
        states = iter(self.states)

        def draw(q: Posterior, n: int) -> tuple[Tensor, Tensor]:
            now = drawing_state(self.device)
            restore_drawing_state(self.device, next(states))
            z, log_q = draw_to_weigh(q, self.k)
            restore_drawing_state(self.device, now)
            only = chosen, torch.arange(len(chosen), device=z.device)
            return z[only][None], log_q[only][None]  # [k, B, ...] -> [1, B, ...]

        return draw
