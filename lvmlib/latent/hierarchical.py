"""Several stochastic layers, one above another: a hierarchical variational autoencoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from lvmlib.base import Density
from lvmlib.chain import Flow
from lvmlib.latent.vae import StochasticPair


class HierarchicalVAE(Flow):
    r"""A latent variable whose prior is a latent-variable model itself: a `Flow` of several stochastic layers.

    .. math:: p(x) = \int p(x \mid z_1)\, p(z_1 \mid z_2)\, p(z_2)\, dz_1\, dz_2, \qquad
        q(z_1, z_2 \mid x) = q(z_1 \mid x)\, q(z_2 \mid z_1)

    Inference goes bottom-up, along the chain. Bounds, traces and samples are those of every chain.

    Args:
        pairs: (encoder, decoder) of each layer, from the data on: ``[(q(z1|x), p(x|z1)), (q(z2|z1), p(z1|z2))]``.
        prior: p(z) of the topmost latent.

    Raises:
        TypeError: an encoder, a decoder or the prior is no `Density`.
        ValueError: no pair, or a layer gives another shape than the next one takes.

    Example:
        >>> import torch
        >>> from lvmlib import MLP, ConditionalBernoulli, ConditionalNormal, HierarchicalVAE
        >>> from lvmlib import StandardNormal
        >>> q1 = ConditionalNormal((4,), MLP(9, (16,), 8))
        >>> p1 = ConditionalBernoulli((9,), MLP(4, (16,), 9))
        >>> q2 = ConditionalNormal((2,), MLP(4, (16,), 4))
        >>> p2 = ConditionalNormal((4,), MLP(2, (16,), 8))
        >>> model = HierarchicalVAE([(q1, p1), (q2, p2)], StandardNormal((2,)))
        >>> model.log_weights(torch.zeros(3, 9), k=5).shape, model.sample(7).shape
        (torch.Size([5, 3]), torch.Size([7, 9]))

    Source: Rezende, Mohamed & Wierstra 2014, deep latent Gaussian models; as a chain, Nielsen et al. 2020.
    """

    def __init__(self, pairs: Iterable[tuple[Density, Density]], prior: Density):
        layers = [StochasticPair(encoder, decoder) for encoder, decoder in pairs]
        if not layers:
            raise ValueError("A hierarchical VAE needs at least one pair of encoder and decoder, but there is none.")
        super().__init__(layers, prior)

    @property
    def pairs(self) -> list[StochasticPair]:
        """The layers, from the data on."""
        return cast("list[StochasticPair]", list(self.transforms))

    @property
    def prior(self) -> Density:
        """p(z) of the topmost latent."""
        return self.base
