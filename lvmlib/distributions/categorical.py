"""Discrete latents and their priors: one-hot categoricals, and coins, categoricals and codes of learned probability."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, constraints, register_kl

from lvmlib.base import Density
from lvmlib.checks import check_count
from lvmlib.distributions.conditional import _Conditional
from lvmlib.distributions.factorised import Coins
from lvmlib.draws import at_least_float32


class OneHots(Distribution):
    r"""Independent categorical variables, each written as a one-hot row,
    :math:`\log p(x) = \sum_i \sum_c x_{ic} \log \pi_{ic}` with :math:`\pi_i = \operatorname{softmax}(l_i)`.

    As a function of x the log-probability is linear, so it is defined between the corners of the simplex too.

    Args:
        logits: :math:`l`, [\*batch, \*event]; the last axis of the event holds the K values of a variable.
        event_dims: how many of the last axes belong to the event, 1 or more.

    Example:
        >>> import torch
        >>> from lvmlib.distributions import OneHots
        >>> OneHots(torch.zeros(5, 2, 4), 2).log_prob(torch.eye(4)[:2].expand(5, 2, 4))
        tensor([-2.7726, -2.7726, -2.7726, -2.7726, -2.7726])
    """

    has_enumerate_support = False
    arg_constraints = {"logits": constraints.real_vector}

    def __init__(self, logits: Tensor, event_dims: int):
        self.logits, self.event_dims = at_least_float32(logits), event_dims
        batch = logits.dim() - event_dims
        super().__init__(logits.shape[:batch], logits.shape[batch:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Events of one-hot rows."""
        return constraints.independent(constraints.one_hot, self.event_dims - 1)

    @property
    def mean(self) -> Tensor:
        r"""Probabilities :math:`\pi`, [\*batch, \*event]."""
        return self.logits.softmax(-1)

    probs = mean

    @property
    def mode(self) -> Tensor:
        r"""The most probable value of each variable, [\*batch, \*event]."""
        return one_hot(self.logits)

    @property
    def log_probs(self) -> Tensor:
        r""":math:`\log \pi`, finite also where a value is impossible, so that 0 times it is 0; [\*batch, \*event]."""
        return self.logits.log_softmax(-1).clamp(min=torch.finfo(self.logits.dtype).min)

    def log_prob(self, x: Tensor) -> Tensor:
        r"""Log-probability of one-hot rows [..., \*batch, \*event]; [..., \*batch], nats."""
        return (at_least_float32(x) * self.log_probs).sum(tuple(range(-self.event_dims, 0)))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        r"""Draw one-hot rows: [\*sample_shape, \*batch, \*event]."""
        with torch.no_grad():
            probs = self.mean.expand(*sample_shape, *self.logits.shape)
            values = torch.multinomial(probs.reshape(-1, probs.shape[-1]), 1)  # [rows, 1]
            return torch.zeros_like(probs).view(-1, probs.shape[-1]).scatter_(1, values, 1.0).view(probs.shape)

    def entropy(self) -> Tensor:
        r"""[\*batch], nats."""
        return -self.log_prob(self.mean)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> OneHots:
        """The same distribution with its parameters spread over a larger batch shape."""
        return OneHots(self.logits.expand(torch.Size((*batch_shape, *self.event_shape))), self.event_dims)

    def tempered(self, temperature: float) -> OneHots:
        """The same with its logits divided by a temperature."""
        return OneHots(self.logits / temperature, self.event_dims)

    def in_copies(self, k: int) -> OneHots:
        """With k copies of a batch below one another as an axis of their own: batch shape [k * B] -> [k, B]."""
        return OneHots(self.logits.unflatten(0, (k, -1)), self.event_dims)


def one_hot(scores: Tensor) -> Tensor:
    """The corner of the simplex at the largest of the scores on the last axis, in their dtype.

    Example:
        >>> import torch
        >>> from lvmlib.distributions.categorical import one_hot
        >>> one_hot(torch.tensor([0.1, 3.0, -1.0]))
        tensor([0., 1., 0.])
    """
    return F.one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)


@register_kl(OneHots, OneHots)  # type: ignore[untyped-decorator]
def _kl_one_hots(q: OneHots, p: OneHots) -> Tensor:
    if q.event_shape != p.event_shape:
        raise NotImplementedError(f"KL between events of shape {list(q.event_shape)} and {list(p.event_shape)}")
    return (q.mean * (q.log_probs - p.log_probs)).sum(tuple(range(-q.event_dims, 0)))


class ConditionalCategorical(_Conditional):
    r"""Independent categorical variables whose logits a network computes, written as one-hot rows:
    :math:`\prod_i \prod_c \pi_{ic}^{x_{ic}}` with :math:`\pi_i = \operatorname{softmax}(l_i)`.

    Args:
        event_shape: [\*variables, K]: the last axis holds the K values of a variable, one of them 1 and the others 0.
        network: maps the context to the logits, [B, D], where D is the number of all entries.

    Raises:
        ValueError: the network has another number of outputs.

    Example:
        Eight latents of four values each, as the posterior of a VAE.

        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import ConditionalCategorical
        >>> encoder = ConditionalCategorical((8, 4), nn.Linear(3, 32))
        >>> z = encoder.sample(5, torch.zeros(5, 3))
        >>> z.shape, bool((z.sum(-1) == 1).all())
        (torch.Size([5, 8, 4]), True)
    """

    def __init__(self, event_shape: Sequence[int], network: nn.Module):
        super().__init__(event_shape, network)
        self.support = constraints.independent(constraints.one_hot, len(self.event_shape) - 1)

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The categorical variables at each row of the context."""
        (logits,) = self._outputs(context)
        return OneHots(logits, len(self.event_shape))


class _Factorised(Density):
    """Independent discrete variables with trainable logits."""

    ignores_context = True
    kind: type[Coins] | type[OneHots]

    def __init__(self, event_shape: Sequence[int]):
        super().__init__(event_shape)
        self.logits = nn.Parameter(torch.zeros(self.event_shape))

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The variables, in as many rows as a context has."""
        p = self.kind(self.logits, len(self.event_shape))
        return p if context is None else p.expand((len(context),))


class FactorisedBernoulli(_Factorised):
    r"""Independent coins with trainable probabilities, :math:`\prod_i \pi_i^{x_i} (1 - \pi_i)^{1 - x_i}`.

    The prior of binary latents. At first every :math:`\pi_i` is one half; ``prior.requires_grad_(False)`` keeps it so.

    Args:
        event_shape: shape of one example, values in {0, 1}.

    Example:
        >>> import torch
        >>> from lvmlib import FactorisedBernoulli
        >>> FactorisedBernoulli((3,)).log_prob(torch.ones(1, 3)).item()
        -2.0794...
    """

    support = constraints.boolean
    kind = Coins


class FactorisedCategorical(_Factorised):
    r"""Independent categorical variables with trainable probabilities, written as one-hot rows.

    The prior of categorical latents. At first all values are equally probable; ``prior.requires_grad_(False)`` keeps
    it so.

    Args:
        event_shape: [\*variables, K], as of `ConditionalCategorical`.

    Example:
        >>> import torch
        >>> from lvmlib import FactorisedCategorical
        >>> FactorisedCategorical((2, 4)).log_prob(torch.eye(4)[None, :2]).item()
        -2.7725...
    """

    kind = OneHots

    def __init__(self, event_shape: Sequence[int]):
        super().__init__(event_shape)
        self.support = constraints.independent(constraints.one_hot, len(self.event_shape) - 1)


class FactorisedCodes(Density):
    r"""Independent codes {0, ..., K - 1} with trainable probabilities, each written as the whole number that it is.

    The simplest prior over the codes of a `VQVAE`. At first all codes are equally probable, so that the rate of D of
    them is :math:`D \log K`; ``prior.requires_grad_(False)`` keeps it so.

    Args:
        event_shape: shape of one example, such as (1, h, w).
        levels: number of codes, K.

    Example:
        >>> import torch
        >>> from lvmlib import FactorisedCodes
        >>> codes = torch.tensor([[[[0.0, 7.0], [3.0, 3.0]]]])
        >>> FactorisedCodes((1, 2, 2), levels=8).log_prob(codes).item()
        -8.3177...
    """

    ignores_context = True

    def __init__(self, event_shape: Sequence[int], levels: int):
        super().__init__(event_shape)
        self.levels = check_count(levels, "levels", "counts codes", least=2)
        self.support = constraints.integer_interval(0, self.levels - 1)
        self.logits = nn.Parameter(torch.zeros(*self.event_shape, self.levels))

    def distribution(self, context: Tensor | None = None) -> Distribution:
        """The codes, in as many rows as a context has."""
        logits = at_least_float32(self.logits)
        logits = logits if context is None else logits.expand(len(context), *logits.shape)
        return Independent(Categorical(logits=logits, validate_args=False), len(self.event_shape))

    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw `n` examples: [n, \\*event_shape], whole numbers in the dtype of the weights (float32 at least)."""
        return super().sample(n, context, temperature).to(at_least_float32(self.logits).dtype)
