"""Colourisation: the colours of a picture drawn pixel by pixel, given its brightness everywhere."""

from __future__ import annotations

import torch
from torch import Tensor

from lvmlib.autoregressive.autoregressive import Autoregressive
from lvmlib.autoregressive.pixel.context_map import looking_everywhere, map_shape
from lvmlib.base import Density, check_batch, check_context

BRIGHTNESS = (0.299, 0.587, 0.114)
"""What red, green and blue give to the brightness, by ITU-R Recommendation BT.601."""


class Colourisation(Density):
    r"""A pixel model that is told of the grey picture through a map of features.

    .. math:: \log p(x \mid y) = \sum_t \log p(x_t \mid x_{<t}, h(y))

    The grey picture :math:`y` passes through convolutions that look everywhere: it is given, so nothing has to be
    masked. Nothing forces the colours drawn to have exactly the brightness that was told either.

    Args:
        model: a pixel model of three colours built with ``context=(F, H, W)``, a map as large as its event.
        width: channels of the convolutions that compute the map.
        layers: how many of them there are, each with twice the dilation of the one before.

    Raises:
        ValueError: the model takes no map, or its pictures have no three colours.

    Example:
        >>> from lvmlib.autoregressive import PixelCNNpp
        >>> pixels = PixelCNNpp((3, 8, 8), channels=4, layers=1, halvings=1, logistics=2, context=(4, 8, 8))
        >>> model = Colourisation(pixels, width=8, layers=2)
        >>> told = model.grey(torch.full((5, 3, 8, 8), 200))           # [5, 1, 8, 8]
        >>> model.sample(5, told).shape
        torch.Size([5, 3, 8, 8])

    Source: Kolesnikov and Lampert 2017, *PixelCNN models with auxiliary variables for natural image modeling*.
    """

    def __init__(self, model: Autoregressive, width: int = 32, layers: int = 4):
        super().__init__(model.event_shape)
        features, height, width_of_x = map_shape(model)
        if self.event_shape[0] != 3:
            raise ValueError(f"Colourisation draws red, green and blue, but the event shape is {(*self.event_shape,)}.")
        self.model, self.support = model, model.support
        self.grey_shape = torch.Size((1, height, width_of_x))
        self.features = looking_everywhere(1, width, layers, features)

    def grey(self, x: Tensor) -> Tensor:
        """The brightness of colour pictures, spread over [-1, 1]: [B, 3, H, W] in {0..levels-1} -> [B, 1, H, W]."""
        check_batch(x, self.event_shape)
        weights = torch.tensor(BRIGHTNESS, dtype=self.model.dtype, device=x.device)[:, None, None]
        return (x * weights).sum(1, keepdim=True) * (2 / (self.model.levels - 1)) - 1

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-probability of colour pictures given grey ones.

        Args:
            x: [B, 3, H, W].
            context: [B, 1, H, W], between -1 (black) and 1 (white); None takes the brightness of `x` itself.

        Returns:
            [B], nats.

        Raises:
            ValueError: pictures of another shape, or grey levels outside [-1, 1].
        """
        if context is None:
            context = self.grey(x)
        return self.model.log_prob(x, self._map(context, len(x)))

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0, cache: bool = True) -> Tensor:
        """Draw one colour picture for each grey one.

        Args:
            n: number of grey pictures.
            context: [n, 1, H, W], between -1 (black) and 1 (white).
            temperature: as in `Autoregressive.sample`.
            cache: as in `Autoregressive.sample`.

        Returns:
            [n, 3, H, W].

        Raises:
            ValueError: no grey pictures, pictures of another shape, or grey levels outside [-1, 1].
        """
        if context is None:
            raise ValueError("Colourisation colours grey pictures: pass them as context, for example grey(x).")
        return self.model.sample(n, self._map(context, n), temperature, cache)

    def _map(self, grey: Tensor, rows: int) -> Tensor:
        check_context(grey, rows)
        check_batch(grey, self.grey_shape, "context")
        if not (grey.abs() <= 1 + 1e-5).all():  # white is 1 but for rounding; nan is at most nothing
            raise ValueError(
                "The grey picture must lie between -1 (black) and 1 (white), as grey(x) gives it, but it reaches from "
                f"{grey.min().item():g} to {grey.max().item():g}."
            )
        return self.features(grey.to(self.model.order.device, self.model.dtype))
