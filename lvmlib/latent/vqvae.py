"""The vector-quantised variational autoencoder: discrete codes from a learned book, and a prior over them."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lvmlib.base import Density
from lvmlib.chain import Flow
from lvmlib.checks import check_batch, check_count, check_no, check_not_negative, check_type, entrance
from lvmlib.distributions import Delta
from lvmlib.draws import Conditioned
from lvmlib.latent.codebook import Codebook
from lvmlib.stochastic import Stochastic, log_prob_rows

_NO_GRADIENT = (
    "No gradient passes through the choice of a code, so the encoder would not learn. Train with the model's own loss, "
    "fit(model, data, type(model).loss, ...); freeze the encoder, model.quantizer.requires_grad_(False); or evaluate "
    "under torch.no_grad()."
)


class Quantizer(Stochastic):
    """A layer whose code for x is certain: what `VectorQuantizer` and `TwoLevelQuantizer` share.

    A subclass defines `read` and `embed`. The context of a model goes to the prior of the codes alone.
    """

    ignores_context = True
    latent_shape: torch.Size

    def __init__(self, decoder: Density, latent_shape: torch.Size, commitment: float):
        super().__init__()
        check_type(decoder, Density, "The decoder must be a Density, but it is a {}.")
        self.decoder, self.event_shape, self.support = decoder, decoder.event_shape, decoder.support
        self.latent_shape = latent_shape
        self.commitment = check_not_negative(commitment, "commitment weighs a squared distance")

    def read(self, x: Tensor, learn: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [B, \\*latent_shape], vectors with a straight-through gradient, and the penalty [B]."""
        raise TypeError(f"{type(self).__name__} does not define read(x, learn).")

    def embed(self, z: Tensor) -> Tensor:
        """What the decoder is told of codes [B, \\*latent_shape]."""
        raise TypeError(f"{type(self).__name__} does not define embed(z).")

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """q(z|x), with all probability on one code.

        Raises:
            TypeError: the encoder is to be trained by a gradient that does not exist.
        """
        codes, vectors, _ = self.read(x)
        check_no(vectors.requires_grad, _NO_GRADIENT)
        return Delta(codes, len(self.latent_shape))

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """p(x|z) for each row of codes."""
        return self.decoder.given(self.embed(z))


class VectorQuantizer(Quantizer):
    """Features of an encoder, each rounded to the nearest vector of a book, and a decoder that is told the vectors.

    Args:
        encoder: network, [B, ...] -> [B, E, h, w].
        decoder: p(x|z), a conditional density whose context is [B, E, h, w].
        codebook: of K vectors with E entries.
        latent_shape: of the codes, (1, h, w) or (h, w); (n,) for features [B, E, n].
        commitment: see `VQVAE`.

    Raises:
        TypeError: the decoder is no `Density`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import Codebook, ConditionalNormal
        >>> from lvmlib.latent import VectorQuantizer
        >>> decoder = ConditionalNormal((1, 4, 4), nn.ConvTranspose2d(3, 1, 2, 2), 1.0)
        >>> layer = VectorQuantizer(nn.Conv2d(1, 3, 2, 2), decoder, Codebook(8, 3), (1, 2, 2))
        >>> with torch.no_grad():
        ...     layer.posterior(torch.randn(5, 1, 4, 4)).sample().shape
        torch.Size([5, 1, 2, 2])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: Density,
        codebook: Codebook,
        latent_shape: tuple[int, ...] | torch.Size,
        commitment: float = 0.25,
    ):
        super().__init__(decoder, torch.Size(latent_shape), commitment)
        self.encoder, self.codebook = encoder, codebook
        self.grid = grid_of(self.latent_shape)

    def read(self, x: Tensor, learn: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [B, \\*latent_shape], vectors [B, E, h, w] with a straight-through gradient, and the penalty [B]."""
        features = checked_features(self.encoder(x), self.codebook, self.grid, "encoder")
        codes, vectors, penalty = self.codebook.quantise(features, self.commitment, learn)
        return codes.view(-1, *self.latent_shape), vectors, penalty

    def embed(self, z: Tensor) -> Tensor:
        """Vectors [B, E, h, w] of codes [B, \\*latent_shape]."""
        return self.codebook.embed(z.reshape(-1, *self.grid))

    def start_from(self, x: Tensor, context: Tensor | None = None) -> None:
        """Put the vectors of the book on features of a batch."""
        self.codebook.start_from(self.encoder(x))


class CodeModel(Flow):
    """What models with a `Quantizer` share: the loss that trains it, codes, and reconstructions."""

    @property
    def quantizer(self) -> Any:
        """The layer that draws the codes."""
        return self.transforms[0]

    @property
    def prior(self) -> Density:
        """p(z) of the codes."""
        return self.base

    def loss(self, x: Tensor) -> Tensor:
        r"""What trains encoder, decoder and book; the prior comes later.

        .. math::
            -\log p\big(x \mid h + \operatorname{stop}(e - h)\big) + \beta \lVert h - \operatorname{stop}(e) \rVert^2

        Each x is decoded from its vectors e, while the gradient goes on to the features h as if they were the
        features. In training mode the book learns with every call under grad.

        Args:
            x: [B, \*event_shape].

        Returns:
            [B], nats, with squared distances added to them.
        """
        with entrance(self, x):
            learn = self.training and torch.is_grad_enabled()
            _, vectors, penalty = self.quantizer.read(x, learn)
            return penalty - log_prob_rows(self.quantizer.decoder.given(vectors), x)

    @torch.no_grad()
    def codes(self, x: Tensor, rows: int = 1000) -> Tensor:
        """The codes of examples, on which the prior is trained: [B, \\*event_shape] -> [B, \\*latent_shape].

        Args:
            x: [B, \\*event_shape].
            rows: how many examples are encoded at a time.
        """
        rows = check_count(rows, "rows", "counts examples")
        check_batch(x, self.event_shape)
        parts = []
        for part in x.split(rows):
            with entrance(self, part):
                parts.append(self.quantizer.read(part)[0])
        return torch.cat(parts)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Mean of p(x|z) at the code of x, or a draw where the decoder has no mean: [B, \\*event_shape]."""
        p = self.quantizer.likelihood(self.codes(x))
        return p.sample(1)[0] if isinstance(p, Conditioned) else p.mean


class VQVAE(CodeModel):
    r"""A vector-quantised variational autoencoder: a `Flow` of one layer whose approximate posterior is certain.

    .. math:: \log p(x) \;\ge\; \log p(x \mid z) + \log p(z), \qquad z = c(f(x))

    The features :math:`f(x)` are rounded to the nearest vectors of a book, and z holds their numbers. The right-hand
    side is one term of the sum over all codes: `elbo` computes it without noise, and `iwae` is the same for every
    number of draws, as all of them are equal. With D codes of K values the rate under a uniform prior is
    :math:`D \log K`; a prior that is trained on the codes pays less.

    Training takes two stages: ``fit(model, x, VQVAE.loss, ...)`` for encoder, decoder and book, then
    ``fit(model.prior, model.codes(x), ...)``. A context, such as class labels, goes to the prior.

    Args:
        encoder: network, x -> features [B, E, h, w].
        decoder: p(x|z), a conditional density that is given vectors [B, E, h, w]; a pixel model among them.
        prior: p(z), a density of codes (1, h, w) with K levels: `FactorisedCodes`, `CausalTransformer`, `PixelCNN` or
            `GatedPixelCNN` with ``embedding=True``, for a code is a name and no magnitude.
        width: entries of a vector, E.
        commitment: :math:`\beta`, the weight of the term that holds the features close to their vectors.
        decay: :math:`\gamma` of the running means that the vectors are; None trains them by gradient. See `Codebook`.
        restart: uses per batch below which a code is put on a feature of the batch, 0 for never.

    Raises:
        TypeError: the decoder or the prior is no `Density`, or the prior has no levels.
        ValueError: the encoder gives features of another shape (found at the first batch), or a number out of range.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import VQVAE, ConditionalBernoulli, GatedPixelCNN
        >>> down, up = nn.Conv2d(1, 8, 4, 2, 1), nn.ConvTranspose2d(8, 1, 4, 2, 1)
        >>> encoder = nn.Sequential(down, nn.SiLU(), nn.Conv2d(8, 4, 4, 2, 1))
        >>> network = nn.Sequential(nn.ConvTranspose2d(4, 8, 4, 2, 1), nn.SiLU(), up)
        >>> prior = GatedPixelCNN((1, 2, 2), channels=4, layers=1, levels=16, embedding=True)
        >>> model = VQVAE(encoder, ConditionalBernoulli((1, 8, 8), network), prior, width=4)
        >>> x = torch.ones(5, 1, 8, 8)
        >>> model.loss(x).shape, model.codes(x).shape, model.sample(3).shape
        (torch.Size([5]), torch.Size([5, 1, 2, 2]), torch.Size([3, 1, 8, 8]))

    Source: van den Oord, Vinyals & Kavukcuoglu 2017, *Neural Discrete Representation Learning*.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: Density,
        prior: Density,
        width: int,
        commitment: float = 0.25,
        decay: float | None = 0.99,
        restart: float = 0.0,
    ):
        book = Codebook(levels_of(prior), width, decay, restart)
        super().__init__([VectorQuantizer(encoder, decoder, book, prior.event_shape, commitment)], prior)

    @property
    def codebook(self) -> Codebook:
        """The vectors."""
        return cast(Codebook, self.quantizer.codebook)


def levels_of(prior: Density) -> int:
    """How many codes a prior knows."""
    check_type(prior, Density, "The prior must be a Density, but it is a {}.")
    check_no(
        not isinstance(getattr(prior, "levels", None), int),
        f"The prior must be over codes that are whole numbers and say how many there are, in `levels`, but a "
        f"{type(prior).__name__} does not; FactorisedCodes and autoregressive models do.",
    )
    return cast(int, cast(Any, prior).levels)


def grid_of(latent_shape: torch.Size) -> torch.Size:
    """Places of the codes: (h, w) of (1, h, w), else the shape as it is."""
    return latent_shape[1:] if len(latent_shape) > 1 and latent_shape[0] == 1 else latent_shape


def checked_features(features: Tensor, book: Codebook, grid: torch.Size, name: str) -> Tensor:
    """The features [B, E, \\*grid]; raise `ValueError` where they have another shape."""
    if features.shape[1:] != (book.width, *grid):
        raise ValueError(
            f"The {name} must return features [B, {', '.join(map(str, (book.width, *grid)))}], a vector for each code, "
            f"but it returned {list(features.shape)}."
        )
    return features
