"""Activation normalization: a scale and a shift that start from data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lvmlib.base import Transform
from lvmlib.checks import check_sizes
from lvmlib.flows.door import check_input


class ActNorm(Transform):
    r"""A scale and a shift for each channel of a picture, or each entry of a vector.

    .. math:: z = (x + b) \odot e^{s}, \qquad
        \log \left| \det \frac{\partial z}{\partial x} \right| = H W \sum_c s_c

    `start_from` sets both such that a first batch leaves with mean 0 and variance 1. It is an explicit call, of the
    layer or of the whole flow; before it the layer is the identity.

    Args:
        event_shape: (D,) or (C, H, W).

    Raises:
        ValueError: in `start_from`, a batch in which some channel does not vary.

    Example:
        >>> import torch
        >>> from lvmlib import ActNorm
        >>> layer, x = ActNorm((2,)), 3 + 5 * torch.randn(100, 2)
        >>> layer.start_from(x)
        >>> z, _ = layer(x)
        >>> bool((z.mean(0).abs() < 1e-5).all())
        True
        >>> bool(((z.std(0, correction=0) - 1).abs() < 1e-5).all())
        True

    Source: Kingma & Dhariwal 2018, *Glow*, section 3.1.
    """

    event_shape: torch.Size

    def __init__(self, event_shape: Sequence[int]):
        super().__init__()
        self.event_shape = check_sizes(event_shape)
        shape = (self.event_shape[0], *[1] * (len(self.event_shape) - 1))
        self.shift, self.log_scale = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x)
        return (x + self.shift) * self.log_scale.exp(), self._log_det(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, z, latent=True)
        return z * (-self.log_scale).exp() - self.shift, -self._log_det(len(z))

    @torch.no_grad()
    def start_from(self, x: Tensor, context: Tensor | None = None) -> None:
        """Let this batch leave with mean 0 and variance 1 in each channel."""
        check_input(self, x)
        axes = [0, *range(2, x.dim())]
        deviation, mean = torch.std_mean(x, axes, correction=0, keepdim=True)
        if not bool((deviation > 0).all() & deviation.isfinite().all()):
            raise ValueError(
                "ActNorm starts from a batch in which each channel varies, but in this one "
                f"{int((~(deviation > 0)).sum())} of {self.event_shape[0]} do not. Take a larger batch, or noise."
            )
        self.shift.copy_(-mean[0])
        self.log_scale.copy_(-deviation[0].log())

    def _log_det(self, rows: int) -> Tensor:
        places = self.event_shape.numel() // self.event_shape[0]
        return (places * self.log_scale.sum()).expand(rows)
