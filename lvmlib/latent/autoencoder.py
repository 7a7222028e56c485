"""The plain autoencoder: a code for each example, and no distribution over codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lvmlib.base import Density
from lvmlib.checks import check_batch, check_no, check_type
from lvmlib.draws import Conditioned


class Autoencoder(nn.Module):
    r"""A network that writes x down as a code z = f(x), and a decoder that has to find x in it.

    .. math:: \min_{f, \theta}\; -\log p_\theta(x \mid z = f(x))

    With a Gaussian decoder of fixed scale this is the squared error of the reconstruction, up to a factor and a
    constant. The decoder can be any conditional density, a pixel model too. It is no model of x: nothing says how z is
    distributed, and the loss is no bound on a likelihood.

    Args:
        encoder: a network from x to z, [B, ...].
        decoder: p(x|z), a conditional density whose context is z, such as `ConditionalNormal((784,), network, 1.0)`.

    Raises:
        TypeError: the encoder is no module, or the decoder no `Density`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import Autoencoder, ConditionalBernoulli, fit
        >>> x = torch.bernoulli(torch.full((100, 9), 0.5))
        >>> model = Autoencoder(nn.Linear(9, 2), ConditionalBernoulli((9,), nn.Linear(2, 9)))
        >>> history = fit(model, x, Autoencoder.loss, steps=3, batch_size=20, progress=False)
        >>> model.encode(x).shape, model.reconstruct(x).shape
        (torch.Size([100, 2]), torch.Size([100, 9]))

    Source: Hinton & Salakhutdinov 2006, *Reducing the dimensionality of data with neural networks*.
    """

    def __init__(self, encoder: nn.Module, decoder: Density):
        super().__init__()
        check_type(encoder, nn.Module, "The encoder must be a network, but it is a {}.")
        check_type(decoder, Density, "The decoder must be a Density, but it is a {}; put a network into one.")
        self.encoder, self.decoder = encoder, decoder
        self.event_shape = decoder.event_shape

    def encode(self, x: Tensor) -> Tensor:
        """The codes, [B, ...]."""
        check_batch(x, self.event_shape)
        z: Tensor = self.encoder(x)
        return z

    def decode(self, z: Tensor) -> Distribution | Conditioned:
        """p(x|z) for each row of z; its `mean` is the picture usually shown."""
        return self.decoder.given(z)

    def loss(self, x: Tensor) -> Tensor:
        """The reconstruction error, -log p(x|z) at the code of x: [B], nats."""
        return -self.decoder.log_prob(x, self.encode(x))

    forward = loss

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Mean of p(x|z) at the code of x: [B, \\*event_shape].

        Raises:
            TypeError: the decoder has no mean; draw from `decode` instead.
        """
        likelihood = self.decode(self.encode(x))
        check_no(isinstance(likelihood, Conditioned), "This decoder has no mean to show; draw from decode(z) instead.")
        assert isinstance(likelihood, Distribution)
        return likelihood.mean
