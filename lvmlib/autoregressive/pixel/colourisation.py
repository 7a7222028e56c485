"""Colourisation: the colours of a picture drawn pixel by pixel, given its brightness everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive
from lvmlib.autoregressive.pixel.context_map import GivenMap, looking_everywhere, map_shape
from lvmlib.checks import check_batch, looks_at_values

BRIGHTNESS = (0.299, 0.587, 0.114)
"""What red, green and blue give to the brightness, by ITU-R Recommendation BT.601."""


class Colourisation(GivenMap):
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
        >>> import torch
        >>> from lvmlib import PixelCNNpp
        >>> from lvmlib.autoregressive import Colourisation
        >>> sizes = {"channels": 4, "layers": 1, "halvings": 1, "logistics": 2}
        >>> pixels = PixelCNNpp((3, 8, 8), **sizes, context=(4, 8, 8))
        >>> model = Colourisation(pixels, width=8, layers=2)
        >>> told = model.grey(torch.full((5, 3, 8, 8), 200))           # [5, 1, 8, 8]
        >>> model.sample(5, told).shape
        torch.Size([5, 3, 8, 8])

    Source: Kolesnikov and Lampert 2017, *PixelCNN models with auxiliary variables for natural image modeling*.
    """

    def __init__(self, model: Autoregressive, width: int = 32, layers: int = 4):
        features, height, width_of_x = map_shape(model)
        if model.event_shape[0] != 3:
            shape = tuple(model.event_shape)
            raise ValueError(f"Colourisation draws red, green and blue, but the event shape is {shape}.")
        super().__init__(model, GreyReader((1, height, width_of_x), width, layers, features))

    def grey(self, x: Tensor) -> Tensor:
        """The brightness of colour pictures, spread over [-1, 1]: [B, 3, H, W] in {0..levels-1} -> [B, 1, H, W]."""
        check_batch(x, self.event_shape)
        weights = torch.tensor(BRIGHTNESS, dtype=self.model.value_dtype, device=x.device)[:, None, None]
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
        return super().log_prob(x, self.grey(x) if context is None else context)

    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0, **options: Any) -> Tensor:
        """Draw one colour picture for each grey one.

        Args:
            n: number of grey pictures.
            context: [n, 1, H, W], between -1 (black) and 1 (white).
            temperature: as in `Autoregressive.sample`.
            options: `cache` and `prefix`, as in `Autoregressive.sample`.

        Returns:
            [n, 3, H, W].

        Raises:
            ValueError: no grey pictures, pictures of another shape, or grey levels outside [-1, 1].
        """
        if context is None:
            raise ValueError("Colourisation colours grey pictures: pass them as context, for example grey(x).")
        return super().sample(n, context, temperature, **options)


class GreyReader(nn.Sequential):
    """From a grey picture to a map of features, by convolutions that look everywhere.

    Args:
        grey_shape: (1, H, W).
        width: channels inside.
        layers: how many, each with twice the dilation of the one before.
        features: channels of the map, F.

    Returns:
        [B, F, H, W] for grey pictures [B, 1, H, W] between -1 and 1.
    """

    def __init__(self, grey_shape: Sequence[int], width: int, layers: int, features: int):
        super().__init__(*looking_everywhere(1, width, layers, features))
        self.grey_shape = torch.Size(grey_shape)

    def forward(self, grey: Tensor) -> Tensor:
        """Check grey pictures and compute their map."""
        check_batch(grey, self.grey_shape, "context")
        if looks_at_values(grey) and not (grey.abs() <= 1 + 1e-5).all():  # white is 1 but for rounding; nan is nothing
            raise ValueError(
                "The grey picture must lie between -1 (black) and 1 (white), as grey(x) gives it, but it reaches from "
                f"{grey.min().item():g} to {grey.max().item():g}."
            )
        return super().forward(grey.to(cast("Tensor", self[0].weight)))
