"""Inpainting: draw what is missing from a picture, wherever it is missing, given all that is there."""

from __future__ import annotations

import torch
from torch import Tensor

from lvmlib.autoregressive.autoregressive import Autoregressive
from lvmlib.autoregressive.pixel.context_map import looking_everywhere, map_shape
from lvmlib.base import Density
from lvmlib.checks import check_batch, check_context, check_count


class Inpainting(Density):
    r"""A pixel model that is told of all known pixels, those that come later in its order included.

    .. math:: \log p(x_M \mid x_K) = \sum_{t \in M} \log p(x_t \mid x_{<t}, h(x_K, K))

    K are the known positions and M the missing ones. A plain pixel model can complete a picture only where the known
    part comes first in its order; this one sees the rest through a map of features of the known pixels.

    Args:
        model: a pixel model built with ``context=(F, H, W)``, a map as large as its event.
        width: channels of the convolutions that compute the map.
        layers: how many of them there are, each with twice the dilation of the one before.

    Example:
        >>> import torch
        >>> from lvmlib import GatedPixelCNN
        >>> from lvmlib.autoregressive import Inpainting
        >>> pixels = GatedPixelCNN((1, 8, 8), channels=4, layers=1, context=(4, 8, 8))
        >>> model = Inpainting(pixels)
        >>> x, known = torch.ones(3, 1, 8, 8), torch.zeros(3, 1, 8, 8)
        >>> known[..., 4:, :] = 1                                  # the lower half is there
        >>> bool((model.fill(x, known)[..., 4:, :] == 1).all())
        True

    Source: the map is that of van den Oord et al. 2016, *Conditional image generation with PixelCNN decoders*.
    """

    def __init__(self, model: Autoregressive, width: int = 32, layers: int = 4):
        super().__init__(model.event_shape)
        features, _, _ = map_shape(model)
        self.model, self.support = model, model.support
        encoded = getattr(model, "inputs", self.event_shape[0])  # more than the colours where these are embedded codes
        self.features = looking_everywhere(encoded + 1, width, layers, features)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-probability of the missing pixels given the known ones.

        Args:
            x: [B, C, H, W], complete pictures.
            context: [B, 1, H, W], 1 where a pixel is known and 0 where it is missing; None, all are missing.

        Returns:
            [B], nats; 0 where nothing is missing.
        """
        known = self._known(context, x)
        conditionals = self.model.conditionals(x, self._map(x, known))
        each = conditionals.base_dist.log_prob(x.to(self.model.value_dtype))  # type: ignore[attr-defined]  # [B, C, H, W]
        return (each * (1 - known)).flatten(1).sum(1)

    @torch.no_grad()
    def fill(self, x: Tensor, known: Tensor, temperature: float = 1.0, cache: bool = True) -> Tensor:
        """Keep the known pixels and draw the missing ones.

        Args:
            x: [B, C, H, W]; what stands at missing pixels is not looked at.
            known: [B, 1, H, W], 1 where a pixel is known.
            temperature: as in `Autoregressive.sample`.
            cache: as in `Autoregressive.sample`.

        Returns:
            [B, C, H, W].
        """
        known = self._known(known, x)
        x = torch.where(known.bool(), x.to(self.model.value_dtype), 0)
        kept = known.bool().expand_as(x).flatten(1)
        return self.model.fill(self.model.check(x).flatten(1), kept, self._map(x, known), temperature, cache)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw `n` whole pictures, at a temperature; nothing is known.

        Raises:
            ValueError: a context is given; known pixels come with their values, so they belong to `fill`.
        """
        if context is not None:
            raise ValueError(
                "sample draws whole pictures and takes no context; to keep known pixels, use fill(x, known)."
            )
        shape, like = (check_count(n, "n"), *self.event_shape), self.model
        x = torch.zeros(shape, dtype=like.value_dtype, device=like.order.device)
        return self.fill(x, x[:, :1], temperature)

    def _known(self, known: Tensor | None, x: Tensor) -> Tensor:
        check_batch(x, self.event_shape)
        if known is None:
            known = torch.zeros_like(x[:, :1])
        check_context(known, len(x))
        check_batch(known, (1, *self.event_shape[1:]), "known")
        if not ((known == 0) | (known == 1)).all():
            raise ValueError("known must be 1 where a pixel is known and 0 where it is missing; it holds other values.")
        return known.to(self.model.order.device, self.model.value_dtype)

    def _map(self, x: Tensor, known: Tensor) -> Tensor:
        seen, told = self.model.encode(x.to(known)), known.to(self.model.dtype)
        return self.features(torch.cat([seen * told, told], 1))
