"""The mixture of all rows of a batch of distributions, which is what an aggregated posterior is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.distributions import Distribution

from lvmlib.checks import check_count
from lvmlib.distributions.factorised import LOG_2PI, DiagonalNormal
from lvmlib.draws import Conditioned, Posterior, at_least_float32

PAIRS = 100_000
"""How many pairs of a point and a row have their log-density in memory at a time."""


class RowMixture(Distribution):
    r"""All rows of some posteriors, mixed with equal weights.

    .. math:: \log q(z) = \log \frac1N \sum_{j=1}^N q_j(z)

    The log-density is summed up over a part of the rows and of the points at a time. Without a gradient memory is
    bounded, however many there are; with one, everything is kept for the way back.

    Args:
        parts: posteriors over the same events, torch distributions of batch shape [B] or `Conditioned` densities; N is
            the number of their rows together.
        pairs: of a point and a row, in memory at a time, or the rows of one part where these are more.

    Raises:
        ValueError: no part, or fewer than one pair.

    Example:
        Two Gaussians far apart: at the centre of one the other counts for nothing.

        >>> import torch
        >>> from lvmlib.distributions import DiagonalNormal, RowMixture
        >>> rows = DiagonalNormal(torch.tensor([[-9.0], [9.0]]), torch.zeros(2, 1), 1)
        >>> two = RowMixture([rows])
        >>> value = two.log_prob(torch.tensor([9.0]))  # log 1/2 - log sqrt(2 pi)
        >>> value, two.sample((5,)).shape
        (tensor(-1.6121), torch.Size([5, 1]))
    """

    has_enumerate_support = False
    arg_constraints: dict[str, Any] = {}

    def __init__(self, parts: Sequence[Posterior], pairs: int = PAIRS):
        if not parts:
            raise ValueError("A mixture needs at least one part, but there is none.")
        self.parts, self.pairs = list(parts), check_count(pairs, "pairs", "counts points times rows")
        self.sizes = [part.batch_shape[0] for part in self.parts]
        first = self.parts[0]
        event = first.event_shape if isinstance(first, Distribution) else first.density.event_shape
        super().__init__(event_shape=event, validate_args=False)

    @property
    def rows(self) -> int:
        """How many examples there are, N."""
        return sum(self.sizes)

    def log_prob(self, value: Tensor, without: Tensor | None = None) -> Tensor:
        r"""Log-density of the mixture, or of what is left of it.

        Args:
            value: [..., \*event].
            without: [...], whole numbers; for each point the row that is left out of the mixture, of N - 1 rows then.

        Returns:
            [...], nats.

        Raises:
            ValueError: a row is left out of one.
        """
        batch = value.shape[: value.dim() - len(self.event_shape)]
        points = value.reshape(-1, *self.event_shape)
        at_once = max(1, self.pairs // max(self.sizes))
        left_out = [None] * len(points) if without is None else without.reshape(-1).split(at_once)
        sums = [self._log_sum(z, j) for z, j in zip(points.split(at_once), left_out)]
        rows = self.rows - (without is not None)
        if not rows:
            raise ValueError("Without its only row nothing is left of this mixture.")
        return (torch.cat(sums) - math.log(rows)).to(at_least_float32(value).dtype).view(batch)

    def _log_sum(self, z: Tensor, without: Tensor | None) -> Tensor:
        """Logarithm of the sum over the rows: [M, \\*event] -> [M]."""
        total, first = None, 0
        for part, size in zip(self.parts, self.sizes):
            each = log_prob_of_pairs(part, z)
            if without is not None:
                own = torch.arange(first, first + size, device=z.device) == without.to(z.device)[:, None]  # [M, B]
                each = each.masked_fill(own, -math.inf)
            some = each.logsumexp(1)
            total = some if total is None else torch.logaddexp(total, some)
            first += size
        return cast(Tensor, total)

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        r"""Choose a row, then draw from it: [\*sample_shape, \*event], without gradient."""
        n = math.prod(sample_shape)
        chosen, first, drawn, places = torch.randint(self.rows, (n,)), 0, [], []
        for part, size in zip(self.parts, self.sizes):
            here = ((chosen >= first) & (chosen < first + size)).nonzero()[:, 0]
            if len(here):
                drawn.append(_draw_of_rows(part, chosen[here] - first))
                places.append(here)
            first += size
        back = torch.cat(places).argsort()
        return torch.cat(drawn)[back].view(*sample_shape, *self.event_shape)


def log_prob_of_pairs(q: Posterior, z: Tensor) -> Tensor:
    """Log-density of every point under every row: z [M, \\*event], q of B rows -> [M, B], nats.

    Example:
        >>> import torch
        >>> from lvmlib.distributions import DiagonalNormal
        >>> from lvmlib.distributions.rows import log_prob_of_pairs
        >>> q = DiagonalNormal(torch.zeros(3, 2), torch.zeros(3, 2), 1)
        >>> log_prob_of_pairs(q, torch.zeros(5, 2)).shape
        torch.Size([5, 3])
    """
    if isinstance(q, Conditioned):  # which takes the rows one by one
        return q.log_prob(z[:, None].expand(-1, q.batch_shape[0], *z.shape[1:]))
    if isinstance(q, DiagonalNormal) and z.device.type != "mps":  # which has no double precision
        return _of_gaussians(q, z)
    return q.log_prob(z[:, None])


def _of_gaussians(q: DiagonalNormal, z: Tensor) -> Tensor:
    """The squares multiplied out: products of matrices, half the time at d = 50, and no tensor [M, B, d].

    What cancels then needs double precision, [M, B] in float64; of float32 it leaves more digits than the plain way.
    """
    z, loc, log_scale = (t.flatten(1).double() for t in (z, q.loc, q.log_scale))
    precision = (-2 * q.held.flatten(1).double()).exp()
    constant = (precision * loc.square() + 2 * log_scale).sum(1) + z.shape[1] * LOG_2PI
    return -0.5 * (z.square() @ precision.T - 2 * z @ (precision * loc).T + constant)


def _draw_of_rows(q: Posterior, rows: Tensor) -> Tensor:
    """One draw for each of these rows, some of which may be the same: [n] -> [n, \\*event]."""
    if isinstance(q, Conditioned):
        return Conditioned(q.density, q.context[rows.to(q.context.device)]).sample(1)[0]
    ordered, order = rows.sort(stable=True)
    turn = torch.arange(len(rows)) - torch.searchsorted(ordered, ordered)  # 0, 1, 2, ... among equal rows
    draws = q.sample(torch.Size((int(turn.max()) + 1,)))  # each row as often as the most frequent one
    return draws[turn[order.argsort()], rows]
