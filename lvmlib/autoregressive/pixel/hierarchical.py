"""Hierarchical pixel models: codes for the whole, trained by an auxiliary decoder, and a pixel model for the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive
from lvmlib.autoregressive.pixel.context_map import map_shape
from lvmlib.base import Density
from lvmlib.checks import check_batch, check_counts


class HierarchicalPixelModel(Density):
    r"""A prior over binary codes, and a pixel model given them.

    .. math:: \log p(x) \;\ge\; \log p(c(x)) + \log p(x \mid c(x))

    The encoder :math:`c` is deterministic, so the right-hand side is one term of the sum over all codes: a bound, and
    `is_bound` is True. A pixel model strong enough for the whole picture leaves the codes nothing to say if all is
    trained together. So the encoder is trained with an auxiliary decoder that draws all pixels independently and
    therefore needs to be told as much as the codes can hold (`auxiliary_loss`); prior and pixel model follow with the
    encoder as it is (`log_prob`).

    Args:
        prior: an autoregressive model of the codes, event shape (b, h, w), two levels.
        pixels: a pixel model built with ``context=(F, H, W)``, where H / h = W / w is a power of two.
        channels: width of the encoder and of the auxiliary decoder.

    Raises:
        ValueError: the shapes of codes and pictures do not fit, or the codes are not binary.

    Example:
        >>> import torch
        >>> from lvmlib import FVSBN, GatedPixelCNN
        >>> from lvmlib.autoregressive import HierarchicalPixelModel
        >>> pixels = GatedPixelCNN((1, 8, 8), channels=4, layers=1, context=(4, 8, 8))
        >>> model = HierarchicalPixelModel(FVSBN((2, 2, 2)), pixels, channels=8)
        >>> model.sample(3).shape, model.codes(torch.ones(3, 1, 8, 8)).shape
        (torch.Size([3, 1, 8, 8]), torch.Size([3, 2, 2, 2]))

    Source: De Fauw, Dieleman and Simonyan 2019, *Hierarchical autoregressive image models with auxiliary decoders*;
    straight-through gradients: Bengio et al. 2013. Their codes are vectors from a learned book, these are bits.
    """

    is_bound = True

    def __init__(self, prior: Autoregressive, pixels: Autoregressive, channels: int = 32):
        super().__init__(pixels.event_shape)
        (channels,) = check_counts(channels=channels)
        features, height, width = map_shape(pixels)
        halvings = _halvings(prior, height, width)
        colours, bits = self.event_shape[0], prior.event_shape[0]
        self.prior, self.pixels, self.support = prior, pixels, pixels.support
        down: list[nn.Module] = [nn.Conv2d(colours, channels, 3, padding=1)]
        for _ in range(halvings):
            down += [nn.SiLU(), nn.Conv2d(channels, channels, 4, stride=2, padding=1)]
        self.encoder = nn.Sequential(*down, nn.SiLU(), nn.Conv2d(channels, bits, 3, padding=1))
        self.auxiliary = _grow(bits, channels, pixels.family.size * colours, halvings)
        self.features = _grow(bits, channels, features, halvings)

    def codes(self, x: Tensor) -> Tensor:
        """The bits of each picture: [B, C, H, W] -> [B, b, h, w], in {0, 1}, with a straight-through gradient."""
        logits = self.encoder(self.pixels.encode(self.pixels.check(x)))
        soft = logits.sigmoid()
        return (logits > 0).to(soft.dtype) + soft - soft.detach()

    def auxiliary_loss(self, x: Tensor) -> Tensor:
        """Minus the log-likelihood under the auxiliary decoder, whose pixels are independent given the codes.

        Returns:
            [B], nats; its gradient trains encoder and auxiliary decoder.
        """
        outputs = self.auxiliary(2 * self.codes(x) - 1).unflatten(1, (self.pixels.family.size, self.event_shape[0]))
        return -self.pixels.family.log_prob(outputs.to(self.pixels.value_dtype), x.to(self.pixels.value_dtype))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The bound, with no gradient into the encoder.

        Args:
            x: [B, C, H, W].
            context: [B, ...] for the prior, or None.

        Returns:
            [B], nats.
        """
        check_batch(x, self.event_shape)
        codes = self.codes(x).detach().round()
        return self.prior.log_prob(codes, context) + self.pixels.log_prob(x, self.features(2 * codes - 1))

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw codes, then pixels given them.

        Returns:
            [n, C, H, W].
        """
        return self.decode(self.prior.sample(n, context, temperature), temperature)

    @torch.no_grad()
    def decode(self, codes: Tensor, temperature: float = 1.0) -> Tensor:
        """Draw a picture for each row of codes: [B, b, h, w] -> [B, C, H, W]."""
        check_batch(codes, self.prior.event_shape, "codes")
        signs = (2 * self.prior.check(codes) - 1).to(self.pixels.dtype)
        return self.pixels.sample(len(codes), self.features(signs), temperature)


def _grow(bits: int, channels: int, outputs: int, doublings: int) -> nn.Sequential:
    """[B, bits, h, w] -> [B, outputs, H, W]."""
    layers: list[nn.Module] = [nn.Conv2d(bits, channels, 3, padding=1)]
    for _ in range(doublings):
        layers += [nn.SiLU(), nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)]
    return nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(channels, outputs, 3, padding=1))


def _halvings(prior: Autoregressive, height: int, width: int) -> int:
    """How often (H, W) must be halved to give (h, w)."""
    shape = tuple(prior.event_shape)
    if len(shape) == 3 and prior.levels == 2:
        for times in range(1, 8):
            if (shape[1] << times, shape[2] << times) == (height, width):
                return times
    raise ValueError(
        f"The prior must be over binary codes (b, h, w) such that doubling h and w some times gives {height} and "
        f"{width}, but its event shape is {shape} with {prior.levels} levels."
    )
