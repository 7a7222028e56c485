"""Super-resolution: a large picture drawn pixel by pixel, given a small one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from lvmlib.autoregressive.autoregressive import Autoregressive
from lvmlib.autoregressive.pixel.context_map import GivenMap, map_shape
from lvmlib.checks import check_batch, check_count


class SuperResolution(GivenMap):
    r"""A pixel model that is told of a small picture through a map of features.

    .. math:: \log p(x \mid y) = \sum_t \log p(x_t \mid x_{<t}, h(y))

    The small picture :math:`y` is enlarged to the size of :math:`x` and passed through convolutions, which may look
    everywhere: it is given, so nothing has to be masked.

    Args:
        model: a pixel model built with ``context=(F, H, W)``, a map as large as its event.
        factor: how many times the small picture is smaller, in height and in width.

    Raises:
        ValueError: the model takes no map, or its pictures cannot be made smaller by that factor.

    Example:
        >>> import torch
        >>> from lvmlib import GatedPixelCNN
        >>> from lvmlib.autoregressive import SuperResolution
        >>> pixels = GatedPixelCNN((1, 8, 8), channels=4, layers=1, context=(4, 8, 8))
        >>> model = SuperResolution(pixels, factor=4)
        >>> small = model.shrink(torch.ones(3, 1, 8, 8))                      # [3, 1, 2, 2]
        >>> model.sample(3, small).shape
        torch.Size([3, 1, 8, 8])

    Source: van den Oord et al. 2016, *Conditional image generation with PixelCNN decoders*, section 2.3, for the map;
    Dahl et al. 2017, *Pixel recursive super resolution*.
    """

    def __init__(self, model: Autoregressive, factor: int):
        features, height, width = map_shape(model)
        factor = check_count(factor, "factor", "", least=2)
        if height % factor or width % factor:
            raise ValueError(f"factor must divide height and width, {height} and {width}, but it is {factor}.")
        super().__init__(model, Enlarger(model.event_shape, factor, features, model.levels))
        self.factor = factor

    def shrink(self, x: Tensor) -> Tensor:
        """The small picture that belongs to a large one, the mean over each block: [B, C, H, W] -> [B, C, h, w]."""
        check_batch(x, self.event_shape)
        return avg_pool2d(x.to(self.model.value_dtype), self.factor)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-probability of large pictures given small ones.

        Args:
            x: [B, C, H, W].
            context: [B, C, H / factor, W / factor], levels between 0 and levels - 1; None shrinks `x` itself.

        Returns:
            [B], nats.
        """
        return super().log_prob(x, self.shrink(x) if context is None else context)

    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0, **options: Any) -> Tensor:
        """Draw one large picture for each small one.

        Args:
            n: number of small pictures.
            context: [n, C, H / factor, W / factor].
            temperature: as in `Autoregressive.sample`.
            options: `cache` and `prefix`, as in `Autoregressive.sample`.

        Returns:
            [n, C, H, W].

        Raises:
            ValueError: no small pictures, or pictures of another shape.
        """
        if context is None:
            raise ValueError("SuperResolution enlarges small pictures: pass them as context, for example shrink(x).")
        return super().sample(n, context, temperature, **options)


class Enlarger(nn.Sequential):
    """From a small picture to a map of features as large as the large one.

    Args:
        event_shape: (C, H, W), of the large picture.
        factor: how many times the small one is smaller.
        features: channels of the map, F.
        levels: values of a pixel; those of a small picture lie between 0 and levels - 1.

    Returns:
        [B, F, H, W] for small pictures [B, C, H / factor, W / factor].
    """

    def __init__(self, event_shape: Sequence[int], factor: int, features: int, levels: int):
        colours, height, width = event_shape
        super().__init__(
            nn.Conv2d(colours, features, 3, padding=1),
            nn.SiLU(),
            nn.Upsample(scale_factor=factor, mode="nearest"),
            nn.Conv2d(features, features, 2 * factor + 1, padding=factor, groups=features),  # smooths the blocks
            nn.SiLU(),
            nn.Conv2d(features, features, 3, padding=1),
        )
        self.small_shape, self.levels = torch.Size((colours, height // factor, width // factor)), levels

    def forward(self, small: Tensor) -> Tensor:
        """Check small pictures, spread them over [-1, 1] and compute their map."""
        check_batch(small, self.small_shape, "context")
        return super().forward(small.to(cast("Tensor", self[0].weight)) / ((self.levels - 1) / 2) - 1)
