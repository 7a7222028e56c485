"""Mu-law: 256 codes for the amplitude of sound."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lvmlib.checks import check_count
from lvmlib.data.sets import describe


def mu_law_encode(x: Tensor, levels: int = 256) -> Tensor:
    r"""Quantize sound to `levels` codes whose spacing grows with the amplitude, as the ear's does.

    .. math::
        f(x) = \operatorname{sign}(x)\, \frac{\ln(1 + \mu |x|)}{\ln(1 + \mu)}, \qquad
        c = \left\lfloor \tfrac{\mu}{2} (f(x) + 1) + \tfrac12 \right\rfloor, \qquad \mu = \text{levels} - 1

    This is the formula of WaveNet, with no code for 0 itself when the number of levels is even. ITU-T G.711, the code
    of the telephone, approximates the same curve by straight pieces; its bytes are others.

    Args:
        x: floating point, any shape, in [-1, 1]; what lies beyond is clipped.
        levels: number of codes, 2 to 256.

    Returns:
        The codes, uint8 in {0..levels-1}, in the shape of `x`; decode them with `mu_law_decode`.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: `levels` is out of range, or `x` holds a NaN.

    Example:
        >>> import torch
        >>> from lvmlib.data import mu_law_encode
        >>> mu_law_encode(torch.tensor([-1.0, -0.01, 0.0, 0.01, 1.0])).tolist()
        [0, 98, 128, 157, 255]

    Source: van den Oord et al. 2016, *WaveNet: A Generative Model for Raw Audio*.
    """
    levels = _check_levels(levels)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"x must be a floating-point tensor with values in [-1, 1], but it is {describe(x)}.")
    if x.isnan().any():
        raise ValueError("x must hold amplitudes in [-1, 1], but some are NaN.")
    mu = levels - 1
    x = x.double().clamp(-1, 1)  # float32 would put amplitudes near a boundary into the neighbouring code
    curve = x.sign() * torch.log1p(mu * x.abs()) / math.log1p(mu)
    return torch.floor(mu * (curve + 1) / 2 + 0.5).to(torch.uint8)


def mu_law_decode(codes: Tensor, levels: int = 256) -> Tensor:
    r"""Return the amplitudes that mu-law codes stand for, the inverse of the curve of `mu_law_encode`.

    .. math::
        x = \operatorname{sign}(f)\, \frac{(1 + \mu)^{|f|} - 1}{\mu}, \qquad f = \frac{2 c}{\mu} - 1, \qquad
        \mu = \text{levels} - 1

    Args:
        codes: whole numbers in {0..levels-1}, any shape and dtype.
        levels: number of codes, 2 to 256.

    Returns:
        Amplitudes, float32 in [-1, 1], in the shape of `codes`. Encoding them gives the codes again.

    Raises:
        ValueError: `levels` is out of range, or a code is.

    Example:
        >>> import torch
        >>> from lvmlib import load
        >>> from lvmlib.data import mu_law_decode
        >>> mu_law_decode(torch.tensor([0, 64, 98, 157, 191, 255]))
        tensor([-1.0000, -0.0581, -0.0102,  0.0102,  0.0581,  1.0000])
        >>> sound = mu_law_decode(load("speech")[0].x[7])  # "seven", 5,000 samples at 8 kHz
    """
    levels = _check_levels(levels)
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < levels:
        raise ValueError(
            f"Codes of {levels} levels lie in 0..{levels - 1}, but these reach from {codes.min()} to {codes.max()}."
        )
    mu = levels - 1
    curve = 2 * codes.double() / mu - 1
    return (curve.sign() * torch.expm1(curve.abs() * math.log1p(mu)) / mu).float()


def _check_levels(levels: int) -> int:
    levels = check_count(levels, "levels", "counts codes", least=2)
    if levels > 256:
        raise ValueError(f"levels must be a whole number from 2 to 256, but it is {levels}.")
    return levels
