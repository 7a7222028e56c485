"""What happened to a batch on its way from data to noise: one `Step` for each layer, a `Trace` of them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from lvmlib.base import Density, Transform
from lvmlib.checks import check_draws, trusted
from lvmlib.draws import Draw, Posterior, check_rows, repeat_rows
from lvmlib.draws import draw as pathwise
from lvmlib.stochastic import Stochastic, log_prob_rows

Size = tuple[int, int]  # k draws of each of B examples


class Step:
    """What one layer did to a batch of B examples, with k draws of each.

    Attributes:
        layer: the layer itself.
        q: the posterior that z was drawn from, over [B] rows (first stochastic layer) or [k * B]; None for a bijection.
        x: its input, [k, B, ...].
        z: its output, [k, B, ...].
        log_p: log p(x|z), [k, B], nats; 0 for a bijection.
        log_q: log q(z|x), [k, B], nats; 0 for a bijection. Computed when it is first read, where it can be.
        log_det: log|det dz/dx|, [k, B], nats; 0 for a stochastic layer.
    """

    def __init__(self, layer: Transform, q: Posterior | None, size: Size, **flat: Tensor | None):
        self.layer, self.q, self.size = layer, q, size
        self._flat = flat  # x, z, log_p, log_q, log_det: [B, ...] before the first draw, [k * B, ...] after it

    def _laid_out(self, name: str) -> Tensor:
        flat = self._flat.get(name)
        return _zeros(self._flat, self.size) if flat is None else _lay_out(flat, self.size)

    x = property(lambda self: self._laid_out("x"))
    z = property(lambda self: self._laid_out("z"))
    log_p = property(lambda self: self._laid_out("log_p"))
    log_det = property(lambda self: self._laid_out("log_det"))

    @property
    def log_q(self) -> Tensor:
        if self.q is not None and self._flat["log_q"] is None:
            self._flat["log_q"] = self.log_prob(self.q).flatten()
        return self._laid_out("log_q")

    @property
    def paid(self) -> Tensor:
        """The share of the log-weight that this layer pays, [k, B], nats."""
        return self.log_det if self.q is None else self.log_p - self.log_q

    def log_prob(self, q: Posterior) -> Tensor:
        """Log-density of the draws under `q`, which has as many rows as the step's own q: [k, B], nats."""
        k, rows = self.size
        with trusted():
            if q.batch_shape[0] == rows:
                return q.log_prob(self.z)
            return q.log_prob(self.z.flatten(0, 1)[None]).view(k, rows)


class Trace:
    """The whole way of a batch from data to noise, read by bounds, estimators and surgery.

    Attributes:
        steps: one per layer, from the data on.
        z: what reached the base density, [k, B, ...].
        log_base: its log-density there, [k, B], nats. Computed when it is first read, where it can be.
        log_weights: log p(x, z) - log q(z|x) of each draw, [k, B], nats.
        base: the density at the end.
        context: what it was given, [B, ...] before the first draw and [k * B, ...] after it, or None.
    """

    def __init__(self, steps: list[Step], walk: Walk, base: Density):
        self.steps, self.base, self.context = steps, base, walk.context
        self._z, self._size = walk.z, walk.size
        self._log_base: Tensor | None = None
        if base.is_bound:
            _ = self.log_base  # it draws, when its turn comes

    @property
    def z(self) -> Tensor:
        return _lay_out(self._z, self._size)

    @property
    def log_base(self) -> Tensor:
        if self._log_base is None:
            self._log_base = end_of_chain(self.base, self._z, self._size, self.context)
        return self._log_base

    @property
    def log_weights(self) -> Tensor:
        total: Any = sum(step.paid for step in self.steps)
        return total + self.log_base

    @property
    def latent(self) -> int | None:
        """Place of the first layer whose z is a code for the data; None where there is none."""
        for i, step in enumerate(self.steps):
            if isinstance(step.layer, Stochastic) and not step.layer.carries_data:
                return i
        return None


class Walk:
    """A batch on its way: each layer that it goes `through` moves z one step on towards the noise."""

    def __init__(self, x: Tensor, context: Tensor | None, k: int):
        self.z, self.context, self.size = x, context, (k, len(x))
        self.to_draw = k  # draws still to be taken of each row: k before the first stochastic layer, 1 after it

    def through(self, layers: Iterable[Transform], draw: Draw) -> Iterator[Step]:
        """Take one layer after another."""
        for layer in layers:
            x = self.z
            if isinstance(layer, Stochastic):
                yield self._draw(layer, x, draw)
            else:
                self.z, log_det = layer(x, self.context)
                yield Step(layer, None, self.size, x=x, z=self.z, log_det=log_det)

    def _draw(self, layer: Stochastic, x: Tensor, draw: Draw) -> Step:
        n, q = self.to_draw, layer.posterior(x, self.context)
        log_q: Tensor | None = None
        if draw is pathwise and isinstance(q, Distribution) and q.has_rsample:
            check_rows(q)
            # Its log q can be had later; a closed-form KL needs none.
            z = q.rsample() if n == 1 else q.rsample(torch.Size((n,))).flatten(0, 1)
        else:
            z, log_q = draw(q, n)  # [n, rows, ...], [n, rows]
            check_draws(z, log_q, n, len(x))
            z, log_q = z.flatten(0, 1), log_q.flatten()
        self.z, self.to_draw = z, 1
        if self.context is not None:
            self.context = repeat_rows(self.context, n)
        log_p = log_prob_rows(layer.likelihood(self.z, self.context), x, n)
        return Step(layer, q, self.size, x=x, z=self.z, log_p=log_p, log_q=log_q)


def end_of_chain(base: Density, z: Tensor, size: Size, context: Tensor | None) -> Tensor:
    """The log-density of z under the base, or where that is a bound its log-weights: [k, B], nats."""
    k, rows = size
    with trusted():
        if not base.is_bound:
            return _lay_out(base.log_prob(z, context), size)
        return base.log_weights(z, k * rows // len(z), context).view(size)


def _lay_out(t: Tensor, size: Size) -> Tensor:
    k, rows = size
    t = t.reshape(-1, rows, *t.shape[1:])  # [B, ...] or [k * B, ...] -> [1 or k, B, ...]
    return t if t.shape[0] == k else t.expand(k, *t.shape[1:])


def _zeros(flat: dict[str, Tensor | None], size: Size) -> Tensor:
    like = next(t for t in (flat.get("log_p"), flat.get("log_det")) if t is not None)
    return like.new_zeros(()).expand(size)
