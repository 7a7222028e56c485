"""The fully visible belief net: one logistic regression for each position, on all positions before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive, Step
from lvmlib.autoregressive.reading import vector_size


class FVSBN(Autoregressive):
    r"""A fully visible sigmoid belief net.

    .. math:: p(x_t = 1 \mid x_{<t}) = \sigma\Big(b_t + \sum_{s < t} W_{ts} x_s\Big)

    With more than two levels each position has one such linear map per parameter of its conditional.

    Args:
        event_shape: shape of one example, with D entries in all.
        levels, logistics, context, order: see `Autoregressive`.

    Example:
        >>> from lvmlib import FVSBN
        >>> FVSBN((1, 28, 28)).sample(2).shape
        torch.Size([2, 1, 28, 28])

    Source: Neal 1992, *Connectionist learning of belief networks*; Frey 1998.
    """

    mask: Tensor
    start_costs_a_pass = False

    def __init__(
        self,
        event_shape: Sequence[int],
        levels: int = 2,
        logistics: int = 0,
        context: int | None = None,
        order: Sequence[int] | Tensor | None = None,
    ):
        super().__init__(event_shape, levels, logistics, context, order)
        context = vector_size(self.context_shape, type(self).__name__)
        P, D = self.family.size, self.dims
        self.weight = nn.Parameter(0.01 * torch.randn(P, D, D))  # rows and columns in the order of drawing
        self.bias = nn.Parameter(torch.zeros(P, D))
        self.context_map = None if context is None else nn.Linear(context, P * D, bias=False)
        self.register_buffer("mask", torch.ones(D, D).tril(-1), persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        """Bits stay 0 and 1, so that a pixel of 0 adds nothing to the logits; more levels span [-1, 1]."""
        return x.to(self.dtype) if self.levels == 2 else super().encode(x)

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One masked linear map."""
        drawn = self.encode(x.flatten(1))[:, self.order]  # [B, D], first drawn first
        logits = torch.einsum("bs,pts->bpt", drawn, self.mask * self.weight) + self.offset(context)
        return logits[:, :, self.order.argsort()].unflatten(2, self.event_shape)

    def offset(self, context: Tensor | None) -> Tensor:
        """What does not depend on x: [1 or B, P, D], in the order of drawing."""
        if context is None or self.context_map is None:
            return self.bias[None]
        return self.bias + self.context_map(context).view(-1, *self.bias.shape)

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """Position t takes the t products that the masked map has in its row t; together they are that one map."""
        offset, rows = self.offset(context), self.weight[:, known:].movedim(1, 0).contiguous()  # [D - known, P, D]
        drawn = torch.zeros(n, self.dims, dtype=self.dtype, device=self.order.device)
        if x is not None and known:
            drawn[:, :known] = self.encode(x[:, self.order[:known]])
        order = self.order.tolist()

        def step(t: int, x: Tensor) -> Tensor:
            if t:
                drawn[:, t - 1] = self.encode(x[:, order[t - 1]])
            return F.linear(drawn[:, :t], rows[t - known, :, :t]) + offset[:, :, t]

        return step
