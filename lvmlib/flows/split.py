"""Multi-scale flows: half of the channels leave for the noise early."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lvmlib.base import Transform
from lvmlib.checks import check_link
from lvmlib.flows.conditioners import Maker, convolutions
from lvmlib.flows.door import beside, check_input, check_picture, context_entries, read_context
from lvmlib.flows.elements import Standardise


class Split(Transform):
    r"""Half of the channels go on through `rest`; the others are standardised given them and join the noise.

    .. math:: z = \left(\text{rest}(x_a),\; (x_b - \mu(x_a))\, e^{-\alpha(x_a)}\right)

    Nothing is dropped, so this is a bijection like any other. The noise is flat, that of the coarsest scale first.

    Args:
        event_shape: (C, H, W), C even.
        rest: what happens to the first half of the channels: a bijection of (C/2, H, W).
        network: makes the network for :math:`\mu` and :math:`\alpha`; see `lvmlib.flows.conditioners`.
        context: number of entries of a context vector (of channels, for one of height H and width W), or None.

    Raises:
        ValueError: an odd number of channels, or a `rest` of another shape.

    Example:
        >>> import torch
        >>> from lvmlib import Split, Squeeze
        >>> Split((4, 8, 8), rest=Squeeze((2, 8, 8)))(torch.ones(5, 4, 8, 8))[0].shape
        torch.Size([5, 256])

    Source: Dinh et al. 2017, section 3.6; with a learned prior at each scale, Kingma & Dhariwal 2018, section 3.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        rest: Transform,
        network: Maker | None = None,
        context: int | None = None,
    ):
        super().__init__()
        c, h, w = self.event_shape = check_picture("Split", event_shape)
        if c % 2:
            raise ValueError(f"Split halves the channels, whose number must be even, but there are {c}.")
        self.latent_shape, self.context, self.rest = torch.Size((c * h * w,)), context_entries(context), rest
        half = torch.Size((c // 2, h, w))
        check_link(0, "the first half of Split", half, rest.event_shape)
        self.rest_shape = rest.latent_shape or rest.event_shape or half  # of what `rest` gives
        self.element = Standardise()
        maker = convolutions() if network is None else network
        self.network = maker(c // 2 + (self.context or 0), c)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x)
        kept, other = x.chunk(2, 1)
        noise, log_slope = self.element.forward(other, self.parameters_given(kept, context))
        z, log_det = self.rest(kept, context)
        return torch.cat([z.flatten(1), noise.flatten(1)], 1), log_det + log_slope.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, z, latent=True)
        first, noise = z.chunk(2, 1)
        kept, log_det = self.rest.inverse(first.reshape(-1, *self.rest_shape), context)
        other, log_slope = self.element.inverse(noise.view_as(kept), self.parameters_given(kept, context))
        return torch.cat([kept, other], 1), log_det + log_slope.flatten(1).sum(1)

    def parameters_given(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """Mean and log-scale of the channels that leave, [B, 2, C/2, H, W], given those that go on."""
        context = read_context(self, context, self.context, len(kept))
        return self.network(beside(self, kept, context)).unflatten(1, (2, -1))

    def start_from(self, x: Tensor, context: Tensor | None = None) -> None:
        self.rest.start_from(x.chunk(2, 1)[0], context)
