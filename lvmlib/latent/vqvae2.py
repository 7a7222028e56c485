"""Codes on two levels: the upper ones for the whole, the lower ones for details, given the upper ones."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from lvmlib.autoregressive import Autoregressive
from lvmlib.base import Density
from lvmlib.checks import check_batch, check_context, check_count, check_type
from lvmlib.latent.codebook import Codebook
from lvmlib.latent.vqvae import CodeModel, Quantizer, checked_features, grid_of


class TwoLevelPrior(Density):
    r"""A prior over the codes of two levels, :math:`\log p(z) = \log p(z_1) + \log p(z_2 \mid z_1)`.

    The upper codes :math:`z_1` come first, then the lower ones; z holds both, one behind the other, as whole numbers.

    Args:
        top: p(z1), an autoregressive model of the upper codes.
        bottom: p(z2|z1), a pixel model built with a map as context.
        features: network from upper codes, and the context of the model if there is one, to that map; a `CodeMap`.

    Raises:
        TypeError: `top` or `bottom` is no `Autoregressive`.

    Example:
        >>> import torch
        >>> from lvmlib import CausalTransformer, CodeMap, GatedPixelCNN, TwoLevelPrior
        >>> top = CausalTransformer((1, 2, 2), channels=8, heads=2, layers=1, levels=16)
        >>> sizes = {"channels": 8, "layers": 1, "levels": 32}
        >>> bottom = GatedPixelCNN((1, 4, 4), **sizes, embedding=True, context=(6, 4, 4))
        >>> prior = TwoLevelPrior(top, bottom, CodeMap((1, 2, 2), levels=16, features=6))
        >>> prior.log_prob(torch.zeros(5, 20)).shape, prior.sample(3).shape
        (torch.Size([5]), torch.Size([3, 20]))

    Source: Razavi, van den Oord & Vinyals 2019, section 3.2.
    """

    def __init__(self, top: Autoregressive, bottom: Autoregressive, features: nn.Module):
        for model in (top, bottom):
            check_type(model, Autoregressive, "Both levels of the prior must be Autoregressive, but one is a {}.")
        super().__init__((top.dims + bottom.dims,))
        self.top, self.bottom, self.features = top, bottom, features
        self.support = constraints.integer_interval(0, max(top.levels, bottom.levels) - 1)

    @property
    def context_shape(self) -> torch.Size | None:
        """Of the context, that of the upper level."""
        return self.top.context_shape

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of both levels [B, D1 + D2] -> upper [B, 1, h1, w1], lower [B, 1, h2, w2]."""
        check_batch(z, self.event_shape, "z")
        top, bottom = z.split([self.top.dims, self.bottom.dims], 1)
        return top.view(-1, *self.top.event_shape), bottom.view(-1, *self.bottom.event_shape)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-probability of codes of both levels.

        Args:
            x: [B, D1 + D2], the upper ones first.
            context: [B, ...] or None.

        Returns:
            [B], nats.
        """
        top, bottom = self.split(x)
        return self.top.log_prob(top, context) + self.bottom.log_prob(bottom, self._map(top, context))

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw the upper codes, then the lower ones given them: [n, D1 + D2]."""
        n = check_count(n, "n")
        check_context(context, n)
        top = self.top.sample(n, context, temperature)
        bottom = self.bottom.sample(n, self._map(top, context), temperature)
        return torch.cat([top.flatten(1), bottom.flatten(1)], 1)

    def _map(self, top: Tensor, context: Tensor | None) -> Tensor:
        out: Tensor = self.features(top) if context is None else self.features(top, context)
        return out


class TwoLevelQuantizer(Quantizer):
    r"""Features rounded on two levels: the upper ones first, the lower ones with the upper vectors in sight.

    .. math::
        f = f(x), \qquad z_1 = c_1(t(f)), \qquad z_2 = c_2\big(b(f, e_{z_1})\big), \qquad
        p(x \mid z_1, z_2) = p(x \mid e_{z_1}, e_{z_2})

    This is inference from the top down, so it is one layer whose z holds both codes, and no chain of two. Upper vectors
    are repeated up to the size of the lower grid wherever they meet lower features.

    Args:
        encoder: network f, x -> [B, F, h2, w2].
        top: network t, [B, F, h2, w2] -> [B, E, h1, w1].
        bottom: network b, [B, F + E, h2, w2] -> [B, E, h2, w2].
        decoder: p(x|z), a conditional density whose context is [B, 2E, h2, w2], the upper vectors first.
        codebooks: of the upper and of the lower level, with E entries each.
        prior: which knows the shapes of the codes.
        commitment: see `VQVAE`.

    Raises:
        TypeError: the decoder is no `Density`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import FVSBN, CodeMap, Codebook, ConditionalBernoulli, GatedPixelCNN
        >>> from lvmlib import TwoLevelPrior
        >>> from lvmlib.latent import TwoLevelQuantizer
        >>> fine = GatedPixelCNN((1, 4, 4), channels=4, layers=1, context=(2, 4, 4))
        >>> told = CodeMap((1, 2, 2), levels=2, features=2)
        >>> prior = TwoLevelPrior(FVSBN((1, 2, 2)), fine, told)
        >>> decoder = ConditionalBernoulli((1, 8, 8), nn.ConvTranspose2d(6, 1, 2, 2))
        >>> encoder, top = nn.Conv2d(1, 5, 2, 2), nn.Conv2d(5, 3, 2, 2)
        >>> bottom, books = nn.Conv2d(5 + 3, 3, 1), (Codebook(2, 3), Codebook(2, 3))
        >>> layer = TwoLevelQuantizer(encoder, top, bottom, decoder, books, prior)
        >>> codes, vectors, penalty = layer.read(torch.ones(5, 1, 8, 8))
        >>> codes.shape, vectors.shape, penalty.shape
        (torch.Size([5, 20]), torch.Size([5, 6, 4, 4]), torch.Size([5]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        top: nn.Module,
        bottom: nn.Module,
        decoder: Density,
        codebooks: tuple[Codebook, Codebook],
        prior: TwoLevelPrior,
        commitment: float = 0.25,
    ):
        super().__init__(decoder, prior.event_shape, commitment)
        self.encoder, self.top, self.bottom = encoder, top, bottom
        self.codebooks = nn.ModuleList(codebooks)
        self.grids = [grid_of(level.event_shape) for level in (prior.top, prior.bottom)]

    def read(self, x: Tensor, learn: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Codes [B, D1 + D2], vectors [B, 2E, h2, w2] with a straight-through gradient, and the penalty [B]."""
        upper, lower = self.books
        f = self.encoder(x)
        h = checked_features(self.top(f), upper, self.grids[0], "top network")
        z1, e1, penalty1 = upper.quantise(h, self.commitment, learn)
        e1 = self.lifted(e1)
        h = checked_features(self.bottom(torch.cat([f, e1], 1)), lower, self.grids[1], "bottom network")
        z2, e2, penalty2 = lower.quantise(h, self.commitment, learn)
        codes = torch.cat([z1.flatten(1), z2.flatten(1)], 1)
        return codes, torch.cat([e1, e2], 1), penalty1 + penalty2

    def embed(self, z: Tensor) -> Tensor:
        """Vectors [B, 2E, h2, w2] of codes [B, D1 + D2]."""
        upper, lower = (
            book.embed(codes.view(-1, *grid))
            for book, codes, grid in zip(self.books, z.split([math.prod(g) for g in self.grids], 1), self.grids)
        )
        return torch.cat([self.lifted(upper), lower], 1)

    def lifted(self, vectors: Tensor) -> Tensor:
        """Upper vectors, each repeated over the lower places that it stands for."""
        return F.interpolate(vectors, size=tuple(self.grids[1]), mode="nearest")

    @property
    def books(self) -> tuple[Codebook, Codebook]:
        """The upper and the lower codebook."""
        return cast("tuple[Codebook, Codebook]", tuple(self.codebooks))

    def start_from(self, x: Tensor, context: Tensor | None = None) -> None:
        """Put the vectors of both books on features of a batch, the upper ones first."""
        upper, lower = self.books
        f = self.encoder(x)
        h = self.top(f)
        upper.start_from(h)
        lower.start_from(self.bottom(torch.cat([f, self.lifted(upper.embed(upper(h)))], 1)))


class VQVAE2(CodeModel):
    r"""A VQ-VAE with codes on two grids, a coarse one for the whole and a fine one for details.

    .. math:: \log p(x) \;\ge\; \log p(x \mid z_1, z_2) + \log p(z_2 \mid z_1) + \log p(z_1)

    As in a `VQVAE` the codes of x are certain, and the bound is one term of the sum over all of them. Training takes
    two stages: ``fit(model, x, VQVAE2.loss, ...)``, then ``fit(model.prior, model.codes(x), ...)``, or with
    ``(codes, labels)`` for a prior that is told of classes.

    Args:
        encoder: network, x -> [B, F, h2, w2].
        top: network, [B, F, h2, w2] -> [B, E, h1, w1], the upper features.
        bottom: network, [B, F + E, h2, w2] -> [B, E, h2, w2], the lower features, given the upper vectors.
        decoder: p(x|z), a conditional density that is given [B, 2E, h2, w2], the upper vectors first.
        prior: a `TwoLevelPrior`.
        width: entries of a vector on either level, E.
        commitment, decay, restart: see `VQVAE`.

    Raises:
        TypeError: the decoder is no `Density`, or the prior no `TwoLevelPrior`.
        ValueError: a network gives features of another shape (found at the first batch), or a number out of range.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import VQVAE2, CausalTransformer, CodeMap, ConditionalBernoulli
        >>> from lvmlib import GatedPixelCNN, TwoLevelPrior
        >>> encoder = nn.Conv2d(1, 8, 2, 2)
        >>> top = nn.Sequential(nn.SiLU(), nn.Conv2d(8, 3, 2, 2))
        >>> bottom = nn.Conv2d(8 + 3, 3, 1)
        >>> decoder = ConditionalBernoulli((1, 8, 8), nn.ConvTranspose2d(2 * 3, 1, 2, 2))
        >>> sizes = {"channels": 8, "layers": 1, "levels": 32}
        >>> fine = GatedPixelCNN((1, 4, 4), **sizes, embedding=True, context=(6, 4, 4))
        >>> coarse = CausalTransformer((1, 2, 2), channels=8, heads=2, layers=1, levels=16)
        >>> prior = TwoLevelPrior(coarse, fine, CodeMap((1, 2, 2), levels=16, features=6))
        >>> model = VQVAE2(encoder, top, bottom, decoder, prior, width=3)
        >>> x = torch.ones(5, 1, 8, 8)
        >>> model.loss(x).shape, model.codes(x).shape, model.sample(3).shape
        (torch.Size([5]), torch.Size([5, 20]), torch.Size([3, 1, 8, 8]))

    Source: Razavi, van den Oord & Vinyals 2019, *Generating Diverse High-Fidelity Images with VQ-VAE-2*.
    """

    def __init__(
        self,
        encoder: nn.Module,
        top: nn.Module,
        bottom: nn.Module,
        decoder: Density,
        prior: TwoLevelPrior,
        width: int,
        commitment: float = 0.25,
        decay: float | None = 0.99,
        restart: float = 0.0,
    ):
        check_type(prior, TwoLevelPrior, "The prior must be a TwoLevelPrior, but it is a {}.")
        books = (
            Codebook(prior.top.levels, width, decay, restart),
            Codebook(prior.bottom.levels, width, decay, restart),
        )
        super().__init__([TwoLevelQuantizer(encoder, top, bottom, decoder, books, prior, commitment)], prior)

    @property
    def prior(self) -> TwoLevelPrior:
        """p(z) of the codes of both levels."""
        return cast(TwoLevelPrior, self.base)

    @property
    def codebooks(self) -> tuple[Codebook, Codebook]:
        """The vectors of the upper and of the lower level."""
        return cast(TwoLevelQuantizer, self.quantizer).books
