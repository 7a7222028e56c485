"""Flows of pictures at several scales; `realnvp` and `flowpp` build flows of vectors too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from lvmlib.base import Transform
from lvmlib.chain import Chain, Flow
from lvmlib.checks import check_count, check_counts, check_sizes
from lvmlib.distributions import StandardNormal
from lvmlib.flows.actnorm import ActNorm
from lvmlib.flows.affine import Affine
from lvmlib.flows.conditioners import Maker, bottleneck, convolutions, perceptron
from lvmlib.flows.convolution import Invertible1x1Conv
from lvmlib.flows.coupling import AffineCoupling
from lvmlib.flows.door import check_picture
from lvmlib.flows.flowpp import MixtureLogisticCoupling, attention
from lvmlib.flows.split import Split
from lvmlib.flows.squeeze import Squeeze

Shape = Sequence[int]
Scale = Callable[[Shape, bool], "list[Transform]"]
"""``scale(shape, last)`` -> what happens to pictures of this shape at one scale."""


def realnvp(
    event_shape: Shape,
    layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    scales: int = 2,
    channels: int = 32,
    context: int | None = None,
) -> Flow:
    """Affine couplings that take turns; for pictures at several scales.

    At each scale of a picture three couplings see a checkerboard; two by two pixels become channels, and three more see
    half of the channels; then half of these leave for the noise. The last scale has four couplings on a checkerboard.

    Args:
        event_shape: (D,) or (C, H, W).
        layers: number of couplings, for vectors.
        hidden: widths of their networks, for vectors.
        scales: number of scales, for pictures; H and W are halved at each but the last.
        channels: of the convolutions, for pictures.
        context: number of entries of a context vector, or None.

    Example:
        >>> from lvmlib import realnvp
        >>> realnvp((1, 8, 8), channels=8).sample(2).shape
        torch.Size([2, 1, 8, 8])

    Source: Dinh et al. 2017, *Density estimation using Real NVP*, sections 3.2 to 3.6; batch normalization left out.
    """
    layers, scales, channels = check_counts(layers=layers, scales=scales, channels=channels)
    hidden = check_sizes(hidden, "hidden")
    if len(shape := check_sizes(event_shape)) == 1:
        network = perceptron(hidden)
        couplings = [AffineCoupling(shape, network, swap=i % 2 == 1, context=context) for i in range(layers)]
        return Flow(couplings, StandardNormal(shape))

    def board(shape: Shape, count: int) -> list[Transform]:
        network = convolutions(channels)
        return [AffineCoupling(shape, network, "checkerboard", i % 2 == 1, context) for i in range(count)]

    def scale(shape: Shape, last: bool) -> list[Transform]:
        if last:
            return board(shape, 4)
        small, network = _squeezed(shape), convolutions(channels)
        by_channel = [AffineCoupling(small, network, "channel", i % 2 == 1, context) for i in range(3)]
        return [*board(shape, 3), Squeeze(shape), *by_channel]

    return _multi_scale(check_picture("realnvp", shape), scales, scale, convolutions(channels), context)


def glow(event_shape: Shape, scales: int = 3, steps: int = 8, channels: int = 128, context: int | None = None) -> Flow:
    """Steps of activation normalization, invertible 1x1 convolution and affine coupling, at several scales.

    Call `start_from` with a first batch, so that its activations are normalised.

    Args:
        event_shape: (C, H, W); H and W are halved at each scale.
        scales: number of scales; the paper has 3 for 32x32 pixels.
        steps: at each scale; the paper has 32.
        channels: of the networks in the couplings; the paper has 512.
        context: number of entries of a context vector, or None.

    Example:
        >>> from lvmlib import glow
        >>> glow((1, 8, 8), scales=2, steps=1, channels=8).sample(2).shape
        torch.Size([2, 1, 8, 8])

    Source: Kingma & Dhariwal 2018, *Glow: Generative Flow with Invertible 1x1 Convolutions*, section 3 and figure 2.
    """
    steps = check_count(steps, "steps", "counts steps at each scale")

    def scale(shape: Shape, last: bool) -> list[Transform]:
        small = _squeezed(shape)
        layers: list[Transform] = [Squeeze(shape)]
        for _ in range(steps):
            coupling = AffineCoupling(small, bottleneck(channels), "channel", context=context)
            layers += [ActNorm(small), Invertible1x1Conv(small), coupling]
        return layers

    return _multi_scale(check_picture("glow", event_shape), scales, scale, bottleneck(channels), context)


def flowpp(
    event_shape: Shape,
    layers: int = 4,
    components: int = 8,
    hidden: Sequence[int] = (128, 128),
    channels: int = 32,
    context: int | None = None,
) -> Flow:
    """Couplings by mixtures of logistics, with attention over pictures, each behind an activation normalization.

    A picture meets couplings on a checkerboard, then two by two pixels become channels, and as many couplings see half
    of these, behind invertible 1x1 convolutions. Put `VariationalDequantize` in front for whole-numbered data.

    Args:
        event_shape: (D,) or (C, H, W) with even H and W.
        layers: number of couplings, for pictures of each of the two kinds.
        components: of each mixture; the paper has 32.
        hidden: widths of the networks, for vectors.
        channels: of the networks, for pictures; the paper has 96.
        context: number of entries of a context vector, or None.

    Example:
        >>> from lvmlib import flowpp
        >>> flowpp((1, 4, 4), layers=1, channels=8).sample(2).shape
        torch.Size([2, 1, 4, 4])

    Source: Ho et al. 2019, *Flow++*, section 3 and appendix A.
    """
    layers, components, channels = check_counts(layers=layers, components=components, channels=channels)
    hidden = check_sizes(hidden, "hidden")
    if len(shape := check_sizes(event_shape)) == 1:
        couplings = _mixtures(shape, layers, perceptron(hidden), "half", components, context)
        return Flow(couplings, StandardNormal(shape))
    shape, network = check_picture("flowpp", shape), attention(channels)
    small = _squeezed(shape)
    first = _mixtures(shape, layers, network, "checkerboard", components, context)
    second = _mixtures(small, layers, network, "channel", components, context)
    return Flow([*first, Squeeze(shape), *second], StandardNormal(small))


def _squeezed(shape: Shape) -> torch.Size:
    c, h, w = shape
    return torch.Size((4 * c, h // 2, w // 2))


def _multi_scale(shape: Shape, scales: int, scale: Scale, network: Maker, context: int | None) -> Flow:
    layers = _scales(shape, check_count(scales, "scales", "counts scales"), scale, network, context)
    chain = Chain(layers)  # which knows the shape of the noise
    latent = chain.event_shape if chain.latent_shape is None else chain.latent_shape
    return Flow(layers, StandardNormal(latent or ()))


def _scales(shape: Shape, scales: int, scale: Scale, network: Maker, context: int | None) -> list[Transform]:
    """One scale, and behind it in half of the channels all others."""
    layers = scale(shape, scales == 1)
    if scales > 1:
        small = _squeezed(shape)
        half = (small[0] // 2, *small[1:])
        layers.append(Split(small, Chain(_scales(half, scales - 1, scale, network, context)), network, context))
    return layers


def _mixtures(
    shape: Shape, count: int, network: Maker, mask: str, components: int, context: int | None
) -> list[Transform]:
    layers: list[Transform] = []
    for i in range(count):
        # On a checkerboard of one channel there is nothing to mix.
        mixing = [] if shape[0] == 1 else [Invertible1x1Conv(shape) if len(shape) == 3 else Affine(shape, "lu")]
        coupling = MixtureLogisticCoupling(shape, network, mask, i % 2 == 1, context, components)
        layers += [ActNorm(shape), *mixing, coupling]
    return layers
