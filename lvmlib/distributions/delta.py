"""All probability on one event: what a deterministic encoder of discrete codes says of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from lvmlib.draws import at_least_float32


class Delta(Distribution):
    r"""The distribution of something that is certain: :math:`p(x) = 1` at one event and 0 at all others.

    It is of discrete events; a certain real number has no density. Draws carry no gradient, as they cannot move by a
    little.

    Args:
        value: the event, [\*batch, \*event].
        event_dims: how many of the last axes belong to the event, 1 or more.

    Example:
        >>> import torch
        >>> from lvmlib.distributions import Delta
        >>> q = Delta(torch.tensor([[3.0, 1.0]]), 1)
        >>> elsewhere = torch.tensor([[3.0, 2.0]])
        >>> q.sample(), q.log_prob(torch.tensor([[3.0, 1.0]])), q.log_prob(elsewhere)
        (tensor([[3., 1.]]), tensor([0.]), tensor([-inf]))
    """

    has_rsample = False
    has_enumerate_support = False
    arg_constraints = {"value": constraints.real}

    def __init__(self, value: Tensor, event_dims: int):
        self.value, self.event_dims = at_least_float32(value).detach(), event_dims
        batch = value.dim() - event_dims
        super().__init__(value.shape[:batch], value.shape[batch:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """All real events, of which one has all probability."""
        return constraints.independent(constraints.real, self.event_dims)

    @property
    def mean(self) -> Tensor:
        r"""The event itself, [\*batch, \*event]."""
        return self.value

    mode = mean

    def log_prob(self, x: Tensor) -> Tensor:
        r"""0 where x [..., \*batch, \*event] is the event and minus infinity elsewhere; [..., \*batch], nats."""
        equal = (x == self.value).flatten(-self.event_dims).all(-1)
        return torch.zeros_like(equal, dtype=self.value.dtype).masked_fill(~equal, -math.inf)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        r"""The event, so many times: [\*sample_shape, \*batch, \*event]."""
        return self.value.expand(*sample_shape, *self.value.shape)

    def entropy(self) -> Tensor:
        r"""0, [\*batch], nats."""
        return self.value.new_zeros(self.batch_shape)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Delta:
        """The same event spread over a larger batch shape."""
        return Delta(self.value.expand(torch.Size((*batch_shape, *self.event_shape))), self.event_dims)

    def in_copies(self, k: int) -> Delta:
        """With k copies of a batch below one another as an axis of their own: batch shape [k * B] -> [k, B]."""
        return Delta(self.value.unflatten(0, (k, -1)), self.event_dims)
