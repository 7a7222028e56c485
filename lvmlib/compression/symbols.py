"""Any variable of a chain on a stack coder: real numbers in bins, discrete ones one by one, pixels in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints

from lvmlib.autoregressive import Autoregressive
from lvmlib.compression.examples import walk
from lvmlib.compression.stack import Stack
from lvmlib.compression.tables import slots
from lvmlib.distributions import Coins, Delta, DiagonalNormal, OneHots
from lvmlib.draws import Conditioned, Posterior

Code = tuple[np.ndarray, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]
"""Probabilities [N, K] of N symbols, from events to symbols [N], and from symbols to events."""


_NOT_CODED = (
    "Bits-back coding needs Gaussians, discrete variables of finitely many values or autoregressive models, but a "
    "layer or the prior has a {}."
)


class Bins:
    r"""Cuts the real numbers into K intervals, which have equal mass under a Gaussian, for each entry of an event.

    In place of a number stands its interval's median. Both sides know the bins before anything is coded, so they must
    not depend on the data.

    Args:
        loc: mean of the Gaussian, [\*event], in the dtype that the numbers will have.
        scale: its standard deviation, [\*event].
        bins: how many, K.

    Attributes:
        edges: [D, K - 1], between one interval and the next; the outermost reach to infinity.
        medians: [D, K].

    Raises:
        ValueError: bins so narrow, so far from 0, that numbers of this dtype cannot tell them apart.
    """

    def __init__(self, loc: Tensor, scale: Tensor, bins: int):
        dtype = loc.dtype
        loc, scale = (t.double().cpu().flatten()[:, None] for t in (loc, scale))
        quantiles = torch.arange(1, 2 * bins, dtype=torch.float64) / (2 * bins)  # medians and edges by turns
        z = loc + scale * torch.special.ndtri(quantiles)
        self.medians, self.edges = z[:, ::2].contiguous(), z[:, 1::2].contiguous()
        if not (torch.searchsorted(self.edges, self.medians.to(dtype).double()) == torch.arange(bins)).all():
            raise ValueError(f"{bins} bins of a latent are closer to one another than numbers of {dtype}; take fewer.")

    def code(self, loc: Tensor, scale: Tensor) -> Code:
        """Of Gaussians with these means and standard deviations, [B, \\*event]."""
        shape, like = loc.shape, loc
        loc, scale = (t.detach().double().cpu().flatten(1)[..., None] for t in (loc, scale))  # [B, D, 1]
        below = torch.special.ndtr((self.edges - loc) / scale)  # [B, D, K - 1]
        zero, one = torch.zeros_like(loc), torch.ones_like(loc)
        p = torch.cat([zero, below, one], 2).diff(dim=2)

        def number(event: Tensor) -> Tensor:
            return torch.searchsorted(self.edges, event.double().cpu().flatten(1).T.contiguous()).T.flatten()

        def event(symbols: Tensor) -> Tensor:
            z = self.medians.T.gather(0, symbols.view(shape[0], -1))  # [B, D]
            return z.to(like).view(shape)

        return p.flatten(0, 1).numpy(), number, event


def push(stack: Stack, p: Posterior, event: Tensor, bins: Bins | None) -> None:
    """Encode events [B, \\*event] under a distribution of batch shape [B]."""
    if isinstance(p, Conditioned):
        _push_in_order(stack, p, event)
    elif not isinstance(p, Delta):  # what is certain takes no bits
        table, number, _ = code_of(p, bins)
        stack.push(number(event), slots(table))


def pop(stack: Stack, p: Posterior, bins: Bins | None) -> Tensor:
    """Decode events [B, \\*event], or draw them with the bits that are on the stack."""
    if isinstance(p, Conditioned):
        return _pop_in_order(stack, p)
    if isinstance(p, Delta):
        return p.value
    table, _, event = code_of(p, bins)
    return event(torch.from_numpy(stack.pop(slots(table))))


def code_of(p: Distribution, bins: Bins | None) -> Code:
    """Probabilities of the symbols of B events, and what stands for what.

    Raises:
        TypeError: a distribution that is no product of Gaussians or of discrete variables.
    """
    gaussian = gaussian_of(p)
    if gaussian is not None and bins is not None:
        return bins.code(*gaussian)
    if isinstance(p, OneHots):
        table, shape, like = p.probs.detach().double().flatten(0, -2), p.logits.shape, p.logits
        return (
            table.cpu().numpy(),
            lambda event: event.argmax(-1).flatten(),
            lambda symbols: F.one_hot(symbols, shape[-1]).to(like).view(shape),
        )
    table = _whole_numbers(p).detach()
    shape, like = torch.Size((*p.batch_shape, *p.event_shape)), table
    return (
        table.double().flatten(0, -2).cpu().numpy(),
        lambda event: event.flatten().long(),
        lambda symbols: symbols.to(like).view(shape),
    )


def gaussian_of(p: Any) -> tuple[Tensor, Tensor] | None:
    """Means and standard deviations [B, \\*event] of independent Gaussians; None of anything else."""
    base = p.base_dist if isinstance(p, Independent) else p
    return (base.mean, base.stddev) if isinstance(base, (DiagonalNormal, Normal)) else None


def levels_of(p: Any) -> int:
    """How many values each variable of a discrete distribution has.

    Raises:
        TypeError: there is no such number, or the variables are not independent.
    """
    if isinstance(p, OneHots):
        return p.event_shape[-1]
    if isinstance(p, Coins):
        return 2
    base = p.base_dist if isinstance(p, Independent) and not p.base_dist.event_shape else None
    support: Any = getattr(base, "support", None)
    last = 1 if support is constraints.boolean else getattr(support, "upper_bound", None)
    if last is None or not (support.is_discrete and getattr(support, "lower_bound", 0) == 0):
        raise TypeError(_NOT_CODED.format(type(p if base is None else base).__name__))
    return int(last) + 1


def _whole_numbers(p: Any) -> Tensor:
    """Probabilities of 0 to K - 1, [B, \\*event, K]."""
    if isinstance(p, Coins):
        return torch.stack([torch.sigmoid(-p.logits), torch.sigmoid(p.logits)], -1)
    values = torch.arange(levels_of(p), dtype=torch.get_default_dtype())
    values = values.view(-1, *[1] * len(p.base_dist.batch_shape))
    return p.base_dist.log_prob(values).exp().movedim(0, -1)


def _push_in_order(stack: Stack, p: Conditioned, event: Tensor) -> None:
    """All tables first, as the sampler computes them; then the symbols, the last one first."""
    model, steps = _autoregressive(p), []
    values = event.flatten(1)

    def code(rows: slice, position: int, starts: np.ndarray) -> Tensor:
        steps.append((values[rows, position], starts))
        return values[rows, position]

    walk(model, len(values), _context(p), code)
    for symbols, starts in reversed(steps):
        stack.push(symbols, starts)


def _pop_in_order(stack: Stack, p: Conditioned) -> Tensor:
    model = _autoregressive(p)

    def code(rows: slice, position: int, starts: np.ndarray) -> Tensor:
        return torch.from_numpy(stack.pop(starts))

    return walk(model, p.batch_shape[0], _context(p), code).view(-1, *model.event_shape)


def _autoregressive(p: Conditioned) -> Autoregressive:
    if not isinstance(p.density, Autoregressive):
        raise TypeError(_NOT_CODED.format(type(p.density).__name__))
    return p.density


def _context(p: Conditioned) -> Tensor | None:
    return p.context if p.density.context_shape is not None else None
