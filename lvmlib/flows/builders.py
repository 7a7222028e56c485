"""Whole flows, each as its paper describes it; those of pictures are in `lvmlib.flows.multi_scale`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lvmlib.base import Transform
from lvmlib.chain import Flow
from lvmlib.checks import check_count, check_sizes
from lvmlib.distributions import StandardNormal
from lvmlib.flows.actnorm import ActNorm
from lvmlib.flows.affine import Affine
from lvmlib.flows.autoregressive import InverseAutoregressive, MaskedAutoregressive
from lvmlib.flows.conditioners import default_maker, perceptron
from lvmlib.flows.continuous import ContinuousFlow
from lvmlib.flows.coupling import AdditiveCoupling, SplineCoupling
from lvmlib.flows.door import check_vector
from lvmlib.flows.elements import Element
from lvmlib.flows.spline import Spline

Shape = Sequence[int]


def nice(event_shape: Shape, layers: int = 4, hidden: Sequence[int] = (128, 128), context: int | None = None) -> Flow:
    """Additive couplings that take turns, then a scale for each entry (each channel of a picture).

    Args:
        event_shape: (D,) or (C, H, W).
        layers: number of couplings.
        hidden: widths of their networks; for pictures, of convolutions, the first of them.
        context: number of entries of a context vector, or None.

    Example:
        >>> import torch
        >>> from lvmlib import nice
        >>> nice((4,)).log_prob(torch.zeros(5, 4)).shape
        torch.Size([5])

    Source: Dinh et al. 2015, *NICE: Non-linear Independent Components Estimation*, section 5.1.
    """
    shape, hidden = check_sizes(event_shape), check_sizes(hidden, "hidden")
    network = default_maker(shape, hidden, hidden[0])
    couplings = [AdditiveCoupling(shape, network, "checkerboard", i % 2 == 1, context) for i in range(_count(layers))]
    return Flow([*couplings, ActNorm(shape)], StandardNormal(shape))


def maf(event_shape: Shape, layers: int = 5, hidden: Sequence[int] = (128, 128), context: int | None = None) -> Flow:
    """Masked autoregressive layers, each of which takes the entries in the opposite order.

    Args:
        event_shape: shape of one example.
        layers: number of layers.
        hidden: widths of their networks.
        context: number of entries of a context vector, or None.

    Example:
        >>> import torch
        >>> from lvmlib import maf
        >>> maf((4,)).log_prob(torch.zeros(5, 4)).shape
        torch.Size([5])

    Source: Papamakarios et al. 2017, *Masked Autoregressive Flow for Density Estimation*; batch normalization left out.
    """
    orders = [_order(event_shape, i) for i in range(_count(layers))]
    steps = [MaskedAutoregressive(event_shape, hidden, context=context, order=order) for order in orders]
    return Flow(steps, StandardNormal(event_shape))


def iaf(event_shape: Shape, layers: int = 5, hidden: Sequence[int] = (128, 128), context: int | None = None) -> Flow:
    """Inverse autoregressive layers, each of which takes the entries in the opposite order: quick to draw from.

    Args:
        event_shape: shape of one example.
        layers: number of layers.
        hidden: widths of their networks.
        context: number of entries of a context vector, or None; a posterior is told of x by it.

    Example:
        >>> from lvmlib import iaf
        >>> iaf((4,)).rsample_with_log_prob(5)[0].shape
        torch.Size([5, 4])

    Source: Kingma et al. 2016, *Improved Variational Inference with Inverse Autoregressive Flow*.
    """
    orders = [_order(event_shape, i) for i in range(_count(layers))]
    steps = [InverseAutoregressive(event_shape, hidden, context=context, order=order) for order in orders]
    return Flow(steps, StandardNormal(event_shape))


def nsf(
    event_shape: Shape,
    layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    bins: int = 8,
    bound: float = 5.0,
    autoregressive: bool = False,
    context: int | None = None,
) -> Flow:
    """Rational-quadratic splines, behind linear layers that mix the entries.

    Args:
        event_shape: (D,).
        layers: number of splines and of linear layers.
        hidden: widths of the networks.
        bins: of each spline.
        bound: half the side of the box that splines are curved in.
        autoregressive: masked autoregressive layers instead of couplings, RQ-NSF (AR) instead of (C).
        context: number of entries of a context vector, or None.

    Example:
        >>> import torch
        >>> from lvmlib import nsf
        >>> nsf((4,), layers=2).log_prob(torch.zeros(5, 4)).shape
        torch.Size([5])

    Source: Durkan et al. 2019, *Neural Spline Flows*, sections 3.1 and 4.
    """
    shape, steps = check_vector("nsf", event_shape), list[Transform]()
    for i in range(_count(layers)):
        steps.append(Affine(shape, "lu"))
        if autoregressive:
            spline: Element = Spline(bins, bound)
            steps.append(MaskedAutoregressive(shape, hidden, spline, context, _order(shape, i)))
        else:
            steps.append(SplineCoupling(shape, perceptron(hidden), "half", i % 2 == 1, context, bins, bound))
    return Flow(steps, StandardNormal(shape))


def ffjord(
    event_shape: Shape,
    layers: int = 1,
    hidden: Sequence[int] = (64, 64),
    trace: str = "auto",
    method: str = "dopri5",
    tolerance: float = 1e-5,
    steps: int = 20,
    adjoint: bool = False,
    context: int | None = None,
) -> Flow:
    """Continuous flows, one after another.

    Args:
        event_shape: shape of one example.
        layers: number of fields.
        hidden: widths of their networks.
        trace: see `ContinuousFlow`, as all that follow.
        method: of the solver.
        tolerance: of dopri5.
        steps: of rk4.
        adjoint: compute gradients by a second equation.
        context: number of entries of a context vector, or None.

    Example:
        >>> import torch
        >>> from lvmlib import ffjord
        >>> ffjord((2,), method="rk4", steps=4).log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])

    Source: Grathwohl et al. 2019, *FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models*.
    """
    network = perceptron(hidden, nn.Tanh)
    count = _count(layers)
    fields = [
        ContinuousFlow(event_shape, network, trace, method, tolerance, steps, adjoint, context) for _ in range(count)
    ]
    return Flow(fields, StandardNormal(event_shape))


def _count(layers: int) -> int:
    return check_count(layers, "layers", "")


def _order(event_shape: Shape, layer: int) -> torch.Tensor:
    """As stored, and from last to first in every other layer."""
    places = torch.arange(check_sizes(event_shape).numel())
    return places.flip(0) if layer % 2 else places
