"""Pixel models as decoders: a latent variable for the whole, and an autoregressive model for what is left."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lvmlib.autoregressive import Autoregressive
from lvmlib.base import Density, Given
from lvmlib.checks import check_batch, check_count, check_type, entrance
from lvmlib.draws import Conditioned
from lvmlib.latent.vae import VAE, Join
from lvmlib.networks import join as side_by_side
from lvmlib.stochastic import log_prob_rows


class PixelVAE(VAE):
    r"""A VAE whose decoder is a pixel model that is told z.

    .. math:: p(x) = \int p(z) \prod_t p(x_t \mid x_{<t}, z)\, dz

    The pixels need not be independent given z, so z can leave to the pixel model what lies near by; a pixel model that
    sees everything leaves nothing to z. All bounds are those of every chain.

    Args:
        encoder: q(z|x), such as `ConditionalNormal`.
        pixels: a pixel model with a context: a vector, as large as z, or a map of features.
        prior: p(z).
        features: network from z to what `pixels` takes as its context; None hands z on as it is.
        join: see `VAE`.

    Raises:
        TypeError: `pixels` is no `Autoregressive`, encoder or prior no `Density`.
        ValueError: encoder and prior disagree about the shape of z.

    Example:
        >>> import torch
        >>> from lvmlib import MLP, ConditionalNormal, PixelCNN, PixelVAE, StandardNormal
        >>> from lvmlib.networks import ConvDecoder
        >>> pixels = PixelCNN((1, 8, 8), channels=4, layers=1, kernel=3, context=(6, 8, 8))
        >>> encoder = ConditionalNormal((2,), MLP(64, (16,), 4))
        >>> decoder = ConvDecoder(2, (8, 8), (6, 8, 8))
        >>> vae = PixelVAE(encoder, pixels, StandardNormal((2,)), decoder)
        >>> x = torch.ones(3, 1, 8, 8)
        >>> vae.log_weights(x, k=5).shape, vae.reconstruct(x).shape, vae.sample(4).shape
        (torch.Size([5, 3]), torch.Size([3, 1, 8, 8]), torch.Size([4, 1, 8, 8]))

    Source: Gulrajani et al. 2017, *PixelVAE: A Latent Variable Model for Natural Images*; Chen et al. 2017,
    *Variational Lossy Autoencoder*.
    """

    def __init__(
        self,
        encoder: Density,
        pixels: Autoregressive,
        prior: Density,
        features: nn.Module | None = None,
        join: Join = side_by_side,
    ):
        check_type(pixels, Autoregressive, "A PixelVAE decodes with an Autoregressive model, but it was given a {}.")
        super().__init__(encoder, pixels if features is None else Given(pixels, features), prior, join)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """A draw from p(x|z) at one draw z ~ q(z|x), for a pixel model has no mean: [B, \\*event_shape]."""
        trace = self.trace(x, context)
        return self.decode(trace.steps[0].z[0], context)


class DensityAutoencoder(nn.Module):
    r"""An autoencoder whose decoder is a density: one network makes a code of x, and the decoder is told the code.

    .. math:: \text{loss} = -\log p(x \mid f(x))

    With a Gaussian of fixed scale for a decoder the loss is the squared error, up to a factor and a constant, and
    reconstructions are means. With a pixel model the same encoder and bottleneck give a PixelCNN autoencoder, whose
    reconstructions are draws: what the code does not fix, they vary. There is no prior over codes, so it is no density
    of x.

    Args:
        encoder: network, x -> code [B, d].
        decoder: p(x|code), a conditional density: ``ConditionalNormal(event_shape, network, scale=1.0)``, or a pixel
            model, inside a `Given` where a network makes its context.

    Raises:
        TypeError: the encoder is no network, or the decoder no `Density`.

    Example:
        >>> import torch
        >>> from lvmlib import MLP, ConditionalNormal, DensityAutoencoder, Given, PixelCNN
        >>> from lvmlib.networks import ConvDecoder
        >>> pixels = PixelCNN((1, 8, 8), channels=4, layers=1, kernel=3, context=(6, 8, 8))
        >>> decoder = Given(pixels, ConvDecoder(10, (8, 8), (6, 8, 8)))
        >>> sharp = DensityAutoencoder(MLP(64, (16,), 10), decoder)
        >>> decoder = ConditionalNormal((1, 8, 8), MLP(10, (16,), 64), 1.0)
        >>> blurred = DensityAutoencoder(MLP(64, (16,), 10), decoder)
        >>> x = torch.ones(3, 1, 8, 8)
        >>> sharp.loss(x).shape, sharp.draws(x, 5).shape, blurred.mean(x).shape
        (torch.Size([3]), torch.Size([5, 3, 1, 8, 8]), torch.Size([3, 1, 8, 8]))

    Source: van den Oord et al. 2016, *Conditional Image Generation with PixelCNN Decoders*, sections 2.4 and 3.4.
    """

    def __init__(self, encoder: nn.Module, decoder: Density):
        super().__init__()
        check_type(encoder, nn.Module, "The encoder must be a torch.nn.Module, but it is a {}.")
        check_type(decoder, Density, "The decoder must be a Density, but it is a {}.")
        self.encoder, self.decoder, self.event_shape = encoder, decoder, decoder.event_shape

    def forward(self, x: Tensor) -> Distribution | Conditioned:
        """p(x|code) at the code of each row of x."""
        check_batch(x, self.event_shape)
        return self.decoder.given(self.encoder(x))

    def loss(self, x: Tensor) -> Tensor:
        """Minus the log-likelihood of x given its own code: [B, \\*event_shape] -> [B], nats."""
        check_batch(x, self.event_shape)
        code = self.encoder(x)
        with entrance(self.decoder, x, code):
            return -log_prob_rows(self.decoder.given(code), x)

    @torch.no_grad()
    def draws(self, x: Tensor, n: int = 1) -> Tensor:
        """Draw `n` times from p(x|code) for each row of x, whose code is made once: [n, B, \\*event_shape]."""
        n = check_count(n, "n")
        p = self(x)
        return p.sample(n) if isinstance(p, Conditioned) else p.sample(torch.Size((n,)))

    @torch.no_grad()
    def mean(self, x: Tensor, n: int = 16) -> Tensor:
        """Mean of p(x|code), that of `n` draws where the decoder has none: [B, \\*event_shape]."""
        n, p = check_count(n, "n"), self(x)
        return p.sample(n).mean(0) if isinstance(p, Conditioned) else p.mean
