"""What draws are taken from, and how: with a gradient, without one, at a temperature, with parameters at rest."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, MultivariateNormal, Normal
from torch.distributions.transforms import Transform as TorchTransform
from torch.func import functional_call

from lvmlib.checks import check_count, check_temperature

if TYPE_CHECKING:
    from lvmlib.base import Density


def repeat_rows(x: Tensor, k: int) -> Tensor:
    """Lay `k` copies of a batch below one another, `[B, ...] -> [k * B, ...]`, copy by copy."""
    return x if k == 1 else x.expand(k, *x.shape).flatten(0, 1)


def at_least_float32(x: Tensor) -> Tensor:
    """Numbers of half precision in single precision, others as they are.

    bfloat16 has multiples of 1/256 between a half and one: log-probabilities summed in it are off by more than what
    models differ by, and a value of probability 0.001 is drawn three times too often.
    """
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class Conditioned:
    """A density together with its context: what `given` returns where no torch distribution exists.

    Args:
        density: a conditional `Density`, such as a flow or an autoregressive model.
        context: [B, ...].
    """

    def __init__(self, density: Density, context: Tensor):
        self.density, self.context = density, context

    @property
    def batch_shape(self) -> torch.Size:
        """[B], as of a torch distribution."""
        return self.context.shape[:1]

    @property
    def has_rsample(self) -> bool:
        """Whether gradients can flow through its draws."""
        return self.density.has_rsample

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of draws `z: [n, B, ...]` under each row of the context; [n, B], nats."""
        n = len(z)
        return self.density.log_prob(z.flatten(0, 1), repeat_rows(self.context, n)).view(n, -1)

    def sample(self, n: int) -> Tensor:
        """Draw `n` times for each row of the context, without gradient: [n, B, ...]."""
        rows = len(self.context)
        return self.density.sample(n * rows, repeat_rows(self.context, n)).unflatten(0, (n, rows))

    def rsample_with_log_prob(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw `n` times for each row of the context: z [n, B, ...], log q [n, B]."""
        rows = len(self.context)
        z, log_q = self.density.rsample_with_log_prob(n * rows, repeat_rows(self.context, n))
        return z.unflatten(0, (n, rows)), log_q.view(n, rows)


Posterior = Distribution | Conditioned
"""A torch distribution of batch shape [B] or a `Conditioned` density, which a stochastic layer draws from."""

Draw = Callable[[Posterior, int], tuple[Tensor, Tensor]]
"""How a chain takes draws from the posterior of a layer, ``draw(q, n)`` -> z [n, B, ...], log q [n, B]."""

Q = TypeVar("Q")


def draw(q: Posterior, n: int) -> tuple[Tensor, Tensor]:
    """Draw `n` times from each row of a posterior, with gradients through the draws.

    Args:
        q: batch shape [B].
        n: draws per row.

    Returns:
        z: [n, B, ...], log q: [n, B], nats.

    Raises:
        TypeError: draws that would need a gradient, from a posterior that has none to offer. The score term would be
            dropped without a word, and the encoder trained on a wrong gradient.

    Example:
        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> from lvmlib import draw
        >>> q = Independent(Normal(torch.zeros(5, 2), torch.ones(5, 2)), 1)
        >>> z, log_q = draw(q, 3)
        >>> z.shape, log_q.shape
        (torch.Size([3, 5, 2]), torch.Size([3, 5]))
    """
    n = check_count(n, "n")
    if isinstance(q, Distribution):
        if q.has_rsample:
            check_rows(q)
            z = q.rsample(torch.Size((n,)))
            return z, q.log_prob(z)
    elif q.has_rsample:
        return q.rsample_with_log_prob(n)
    z, log_q = draw_constant(q, n)
    if log_q.requires_grad:
        raise TypeError(
            f"{_name(q)} has no rsample, so no gradient flows through its draws and the score term would be dropped. "
            "Pass draw=draw_constant and use an estimator that adds it, or evaluate under torch.no_grad()."
        )
    return z, log_q


def draw_to_weigh(q: Posterior, n: int) -> tuple[Tensor, Tensor]:
    """As `draw`, with log q from the noise behind the draws where q can: cheaper, and enough for a weight.

    Its gradient is right in the parameters of q, and only there: a step of a trace must let log q be a function of z.

    Example:
        >>> import torch
        >>> from torch.distributions import Independent, Normal
        >>> from lvmlib.draws import draw_to_weigh
        >>> z, log_q = draw_to_weigh(Independent(Normal(torch.zeros(5, 2), 1.0), 1), 3)
        >>> z.shape, log_q.shape
        (torch.Size([3, 5, 2]), torch.Size([3, 5]))
    """
    if q.has_rsample and hasattr(q, "rsample_with_log_prob"):
        check_rows(q)
        z, log_q = q.rsample_with_log_prob(n)
        return z, log_q
    return draw(q, n)


def draw_constant(q: Posterior, n: int) -> tuple[Tensor, Tensor]:
    """Draw without a gradient through the draws: to train q, an estimator has to add the score term.

    Args:
        q: batch shape [B].
        n: draws per row.

    Returns:
        z: [n, B, ...], log q: [n, B], nats, with a gradient to the parameters of q.

    Example:
        >>> import torch
        >>> from torch.distributions import Bernoulli, Independent
        >>> from lvmlib import draw_constant
        >>> logits = torch.zeros(5, 2, requires_grad=True)
        >>> z, log_q = draw_constant(Independent(Bernoulli(logits=logits), 1), 3)
        >>> z.requires_grad, log_q.requires_grad
        (False, True)
    """
    n = check_count(n, "n")
    with torch.no_grad():
        z = q.sample(torch.Size((n,))) if isinstance(q, Distribution) else q.sample(n)
    check_rows(q)
    return z, q.log_prob(z)


def check_rows(q: Posterior) -> None:
    """Raise `ValueError` unless q has one batch dimension."""
    if len(q.batch_shape) != 1:
        raise ValueError(
            f"A posterior needs one batch dimension, [B], but {q} has batch shape {list(q.batch_shape)}; "
            "move the others into the event with torch.distributions.Independent."
        )


def frozen(q: Q) -> Q:
    r"""The same distribution with its parameters cut from the graph: its log-density has a gradient in z alone.

    .. math:: \log q_{\operatorname{stop}(\phi)}(z \mid x)

    The sticking-the-landing and doubly reparameterised estimators need it. It goes through flow posteriors too.

    Args:
        q: a torch distribution or a `Conditioned` density; it stays as it is.

    Example:
        >>> import torch
        >>> from torch.distributions import Normal
        >>> from lvmlib import frozen
        >>> loc, z = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
        >>> frozen(Normal(loc, 1.0)).log_prob(z).sum().backward()
        >>> loc.grad, z.grad
        (None, tensor([-1., -1.]))

    Source: Roeder, Wu & Duvenaud 2017, *Sticking the Landing*.
    """
    return cast(Q, _at_rest(q, {}))


def _at_rest(value: Any, done: dict[int, Any]) -> Any:
    """A copy in which all tensors are constants; `done` holds what is copied already, for a bijection and its inverse
    name each other.
    """
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, nn.Module):
        return _AtRest(value)
    if isinstance(value, list):
        return [_at_rest(v, done) for v in value]
    if not isinstance(value, (Distribution, Conditioned, TorchTransform)):
        return value
    if id(value) not in done:
        done[id(value)] = new = copy.copy(value)
        vars(new).update({name: _at_rest(part, done) for name, part in vars(value).items()})
    return done[id(value)]


class _AtRest:
    """A density with the weights that it has now, as constants."""

    def __init__(self, density: nn.Module):
        self.density = density
        self.weights = {name: t.detach() for name, t in [*density.named_parameters(), *density.named_buffers()]}

    def log_prob(self, z: Tensor, context: Tensor) -> Tensor:
        out: Tensor = functional_call(self.density, self.weights, (z, context))
        return out


def tempered(p: Distribution, temperature: float) -> Distribution:
    """The distribution at a temperature: standard deviations are multiplied by it, logits divided.

    Raises:
        TypeError: no such rule is known for this distribution.
    """
    temperature = check_temperature(temperature)
    if temperature == 1:
        return p
    if hasattr(p, "tempered"):  # a distribution of ours says it itself
        cold: Distribution = p.tempered(temperature)
        return cold
    if isinstance(p, Independent):
        return Independent(tempered(p.base_dist, temperature), p.reinterpreted_batch_ndims)
    if isinstance(p, Normal):
        return Normal(p.loc, temperature * p.scale, validate_args=False)
    if isinstance(p, MultivariateNormal):
        return MultivariateNormal(p.loc, scale_tril=temperature * p.scale_tril, validate_args=False)
    if isinstance(p, (Bernoulli, Categorical)):
        return type(p)(logits=p.logits / temperature, validate_args=False)
    raise TypeError(f"What a temperature does to {_name(p)} is not defined; draw at temperature 1.")


def _name(q: object) -> str:
    return f"A {type(q.density).__name__}" if hasattr(q, "density") else str(q)
