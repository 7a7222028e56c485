r"""Bits-back coding: lossless compression with latent variables, at the price that the ELBO names.

To send x with a latent-variable model, one must send some z, for :math:`-\log_2 p(z)` bits, and then x, for
:math:`-\log_2 p(x \mid z)`. Many z would do, and the choice among them is worth :math:`-\log_2 q(z \mid x)` bits: let
bits that are to be sent anyway choose z. The receiver, who knows x in the end, finds out which z was chosen and so gets
these bits back. On a stack coder, "choose by bits" is to pop a symbol that nobody pushed:

1. pop :math:`z \sim q(z \mid x)`,
2. push x under :math:`p(x \mid z)`,
3. push z under :math:`p(z)`;

and the receiver does the opposite, the last first. On average an example makes the stack longer by

.. math:: \mathbb{E}_{q(z \mid x)}\left[-\log_2 p(x \mid z) - \log_2 p(z) + \log_2 q(z \mid x)\right],

which is minus the ELBO, in bits. The bits that choose z for the first example must come from somewhere; those for later
ones are the code of the examples before. They come back at the end of decoding, but they are part of the file: nothing
here is left out of its length.

In a chain of several layers each pushes as soon as it can (Bit-Swap): pop z1, push x, pop z2, push z1, ..., and push
the last one under the prior. So the bits that must lie there at first are those by which the draws are ever ahead of
what was pushed: those of z1 alone if each push brings as many as the next draw takes. It need not. In narrow bins a
draw of z2 may take more bits than x has brought, for one example as for many that go through the networks together.

Real numbers are sorted into bins, see :class:`~lvmlib.compression.symbols.Bins`: the prior pays
:math:`-\log_2` of a bin's mass under p and the posterior gets back that under q, so the width of the bins cancels as
long as it is small against both. What remains is that all z of a bin are decoded as its median.

Bits that nobody made random choose z only about as q would: those of a file's beginning, or the code of data that the
model does not fit. Such bits are called dirty. The code is as exact as ever, and a little longer or shorter than the
expectation above.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor

from lvmlib.base import Density
from lvmlib.chain import Flow
from lvmlib.checks import check_context, check_count, check_no, check_type, entrance, trusted
from lvmlib.compression.examples import SEALS, evaluation, seal
from lvmlib.compression.framing import CORRUPT, header, read_header
from lvmlib.compression.stack import Stack
from lvmlib.compression.symbols import Bins, gaussian_of, levels_of, pop, push
from lvmlib.compression.tables import slots
from lvmlib.draws import Conditioned, Posterior
from lvmlib.generators import forked_generators
from lvmlib.stochastic import Stochastic

__all__ = ["bits_back_decode", "bits_back_encode"]

DRAWS = 2000  # of the model, to find out where the numbers of a layer lie
SPARE = 64  # bits that are left after every draw: those that the coder has at hand


@torch.no_grad()
def bits_back_encode(
    model: Flow,
    x: Tensor,
    bins: int = 1024,
    rows: int = 1,
    initial: bytes | None = None,
    context: Tensor | None = None,
) -> bytes:
    """Compress examples with a latent-variable model.

    Every layer of the chain must draw, and all its parts must be products of Gaussians or of discrete variables of
    finitely many values, such as coins, or autoregressive models; data and likelihood are discrete. A posterior that is
    certain, as a VQ-VAE's is, takes no bits and gives none back.

    Decoding needs the same model, in the same dtype, with the same build of torch, number of threads and kind of
    processor: the tables of both sides must agree to the last bit, and a single slot that differs would garble all that
    follows. Seven bits at the end seal the code, so that decoding with anything else is nearly always found out.

    Args:
        model: a chain of stochastic layers, such as a `VAE` or `HierarchicalVAE`; it is run in evaluation mode.
        x: [n, \\*event_shape].
        bins: intervals that a real latent is sorted into. More of them follow the posterior closer and ask for more
            bits at first.
        rows: examples that go through the networks together. More of them run faster and ask for more bits at first.
        initial: bits that choose z for the first examples, any bytes that do not end in zero; they come back when
            decoding. None takes as many random ones as are needed, which encoding the first examples twice finds
            out. Where they run out, z is not drawn but the first of its values, which can be costly.
        context: [n, ...], or None. It is not stored: decoding needs it too.

    Returns:
        The code, the initial bits included, and the number of examples in front (1 byte below 64, 2 below 8192, ...).

    Raises:
        TypeError: the model is no chain of stochastic layers, or has parts of another kind.
        ValueError: x or the context does not fit, the bins are no number from 2 to 65536, or the initial bits end in a
            zero byte.

    Example:
        >>> import torch
        >>> from lvmlib import VAE, ConditionalBernoulli, ConditionalNormal, StandardNormal
        >>> from lvmlib import bits_back_decode, bits_back_encode
        >>> encoder, decoder = torch.nn.Linear(6, 4), torch.nn.Linear(2, 6)
        >>> q, p = ConditionalNormal((2,), encoder), ConditionalBernoulli((6,), decoder)
        >>> vae = VAE(q, p, StandardNormal((2,)))
        >>> x = vae.sample(20)
        >>> data = bits_back_encode(vae, x, initial=b"a letter to go with it")
        >>> back, initial = bits_back_decode(vae, data)
        >>> torch.equal(back, x), initial
        (True, b'a letter to go with it')

    Source: Townsend, Bird & Barber 2019, *Practical lossless compression with latent variables using bits back coding*;
    Kingma, Abbeel & Ho 2019, *Bit-Swap*; the argument, Hinton & van Camp 1993.
    """
    _check_chain(model)
    with entrance(model, x, context), evaluation(model):
        chain = _Chain(model, bins, context)
        rows = check_count(rows, "rows", "counts examples")
        x = chain.values(x)
        stack = Stack(chain.initial(x[:rows]) if initial is None else initial)
        for part in _parts(len(x), rows):
            chain.push(stack, x[part], part)
    stack.push(seal(x.flatten(1)), slots(np.full(SEALS, 1 / SEALS)))
    return header(len(x), context is not None) + stack.to_bytes()


@torch.no_grad()
def bits_back_decode(
    model: Flow, data: bytes, bins: int = 1024, rows: int = 1, context: Tensor | None = None
) -> tuple[Tensor, bytes]:
    """Recover what :func:`bits_back_encode` was given.

    Args:
        model: that of the encoding.
        data: the code.
        bins: that of the encoding.
        rows: that of the encoding.
        context: that of the encoding.

    Returns:
        x: [n, \\*event_shape], whole numbers in the dtype of the model, float32 at least; and the initial bits.

    Raises:
        TypeError: as in encoding.
        ValueError: the data cannot come from this model with these settings, or a context is missing or does not fit.

    Example:
        >>> import torch
        >>> from lvmlib import VAE, ConditionalBernoulli, ConditionalNormal, StandardNormal
        >>> from lvmlib import bits_back_decode, bits_back_encode
        >>> encoder, decoder = torch.nn.Linear(6, 4), torch.nn.Linear(2, 6)
        >>> q, p = ConditionalNormal((2,), encoder), ConditionalBernoulli((6,), decoder)
        >>> vae = VAE(q, p, StandardNormal((2,)))
        >>> x, initial = bits_back_decode(vae, bits_back_encode(vae, vae.sample(20)))
        >>> x.shape
        torch.Size([20, 6])
    """
    _check_chain(model)
    n, data = read_header(data, context is not None)
    check_context(context, n)
    rows = check_count(rows, "rows", "counts examples")
    try:
        stack = Stack(data)
    except ValueError as error:
        raise ValueError(CORRUPT) from error
    told = int(stack.pop(slots(np.full(SEALS, 1 / SEALS)))[0])
    found: list[Tensor] = []
    with trusted(), evaluation(model):
        chain = _Chain(model, bins, context)
        for part in reversed(list(_parts(n, rows))):
            if found and not stack.to_bytes():
                raise ValueError(CORRUPT)  # there is nothing left, and more to come
            found.append(chain.pop(stack, part))
    x = torch.cat(found[::-1])
    if seal(x.flatten(1)) != told:
        raise ValueError(CORRUPT)
    return x, stack.to_bytes()


def _check_chain(model: Flow) -> None:
    check_type(model, Flow, "Bits-back coding takes a chain of stochastic layers, but it was given a {}.")
    for layer in model.layers:
        check_type(layer, Stochastic, "In bits-back coding every layer of a chain must draw, but one is a {}.")
    check_no(not model.layers, "Bits-back coding needs a layer that draws, but this chain has none.")


class _Chain:
    """The layers of a model as steps of a stack coder, with the bins of their latents."""

    def __init__(self, model: Flow, bins: int, context: Tensor | None):
        bins = check_count(bins, "bins", "counts intervals", least=2)
        self.model, self.layers, self.context = model, cast("list[Stochastic]", model.layers), context
        self.bins: list[Bins | None] = [None, *self._find_bins(bins)]  # of x, which is discrete, and of all latents

    def values(self, x: Tensor) -> Tensor:
        """The data in the form in which decoding finds them, or the two sides might compute differently."""
        like = next((t for t in self.model.parameters() if t.is_floating_point()), torch.empty(0))
        return x.to(like.device, torch.promote_types(like.dtype, torch.float32)).contiguous()

    def initial(self, x: Tensor) -> bytes:
        """Random bits, as many as the draws for these examples are ever ahead of what was pushed.

        The examples are encoded on more than enough of them. Those at the bottom that no draw came near are left out,
        and the encoding proper repeats the same draws.
        """
        size, lowest = 128 * len(x), 0
        while lowest < SPARE:
            size *= 2
            bits = np.random.default_rng(0).bytes(size) + b"\1"
            stack = Stack(bits)
            start, lowest = stack.bits, self.push(stack, x, slice(0, len(x)))
        return bits[(lowest - SPARE) // 32 * 4 :] if lowest < start else b""

    def push(self, stack: Stack, x: Tensor, part: slice) -> int:
        """Encode some examples; the fewest bits that were on the stack after a draw."""
        context, after_draws = self._told(part), []
        for place, layer in enumerate(self.layers):
            z = pop(stack, layer.posterior(x, context), self.bins[place + 1])
            after_draws.append(stack.bits)
            push(stack, layer.likelihood(z, context), x, self.bins[place])
            x = z
        push(stack, self._prior(len(x), context), x, self.bins[-1])
        return min(after_draws)

    def pop(self, stack: Stack, part: slice) -> Tensor:
        """Decode some examples: the same steps, the last one first."""
        context = self._told(part)
        z = pop(stack, self._prior(part.stop - part.start, context), self.bins[-1])
        for place, layer in reversed(list(enumerate(self.layers))):
            x = pop(stack, layer.likelihood(z, context), self.bins[place])
            push(stack, layer.posterior(x, context), z, self.bins[place + 1])
            z = x
        return z

    def _prior(self, n: int, context: Tensor | None) -> Posterior:
        return _at(self.model.end, n, context)

    def _told(self, part: slice) -> Tensor | None:
        return None if self.context is None else self.context[part]

    def _find_bins(self, bins: int) -> list[Bins | None]:
        """Bins of equal mass under a Gaussian with the moments that a latent has under the model, from the data on."""
        context = self.context
        if context is not None:
            context = context[torch.arange(DRAWS, device=context.device) % len(context)]
        p, found = self._prior(DRAWS, context), []
        with forked_generators(0):
            for layer in self.layers[:0:-1]:
                z = _draw(p)
                found.append(_bins_of(p, z, bins))
                p = layer.likelihood(z, context)
            found.append(_bins_of(p, None, bins))
        return found[::-1]


def _draw(p: Posterior) -> Tensor:
    return p.sample(1)[0] if isinstance(p, Conditioned) else p.sample()


def _bins_of(p: Posterior, draws: Tensor | None, bins: int) -> Bins | None:
    """Where all rows have one Gaussian its own quantiles, else those of a Gaussian with the moments of the draws."""
    gaussian = gaussian_of(p)
    if gaussian is None:
        if not isinstance(p, Conditioned):
            levels_of(p)  # raises where there are none
        return None
    loc, scale = gaussian
    if bool((loc == loc[:1]).all() and (scale == scale[:1]).all()):
        return Bins(loc[0], scale[0], bins)
    draws = _draw(p) if draws is None else draws
    return Bins(draws.mean(0), draws.double().std(0), bins)


def _at(prior: Density, n: int, context: Tensor | None) -> Posterior:
    """The prior in n rows."""
    if not prior.has_distribution:
        return Conditioned(prior, torch.zeros(n, 0)) if context is None else prior.given(context)
    p = prior.distribution(context)
    return p if p.batch_shape else p.expand(torch.Size((n,)))


def _parts(n: int, rows: int) -> Iterator[slice]:
    return (slice(first, min(first + rows, n)) for first in range(0, n, rows))
