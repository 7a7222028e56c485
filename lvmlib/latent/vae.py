"""The variational autoencoder: a flow of one stochastic layer."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.distributions import Distribution

from lvmlib.base import Conditioned, Density, Flow, Stochastic, check_batch, check_context
from lvmlib.networks import join


class StochasticPair(Stochastic):
    """An encoder and a decoder as one layer of a chain.

    Args:
        encoder: q(z|x), a conditional density whose context is x (beside the model's own context, if any).
        decoder: p(x|z), a conditional density whose context is z.

    Source: Kingma & Welling 2014; as a layer, Nielsen et al. 2020, section 3.
    """

    def __init__(self, encoder: Density, decoder: Density):
        super().__init__()
        for role, density in (("encoder", encoder), ("decoder", decoder)):
            if not isinstance(density, Density):
                raise TypeError(
                    f"The {role} must be a Density, but it is a {type(density).__name__}. "
                    "A network becomes one inside ConditionalNormal or ConditionalBernoulli."
                )
        self.encoder, self.decoder = encoder, decoder
        self.event_shape, self.support = decoder.event_shape, decoder.support

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """q(z|x) for each row of x."""
        return _conditioned(self.encoder, join(x, context))

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """p(x|z) for each row of z."""
        return _conditioned(self.decoder, join(z, context))


def _conditioned(density: Density, context: Tensor) -> Distribution | Conditioned:
    if type(density).distribution is Density.distribution:  # no torch distribution behind it: a flow, say
        return Conditioned(density, context)
    return density.distribution(context)


class VAE(Flow):
    r"""A variational autoencoder, :math:`p(x) = \int p(x \mid z)\, p(z)\, dz` with the amortised posterior
    :math:`q(z \mid x)`: a `Flow` of one stochastic layer.

    Args:
        encoder: q(z|x), such as `ConditionalNormal((50,), network)`.
        decoder: p(x|z), such as `ConditionalBernoulli((1, 28, 28), network)`.
        prior: p(z), any `Density` of the latents' shape; it may be a flow.

    Raises:
        TypeError: encoder, decoder or prior is no `Density`.
        ValueError: encoder and prior disagree about the shape of z.

    Example:
        >>> from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
        >>> from lvmlib.networks import MLP
        >>> encoder = ConditionalNormal((2,), MLP(784, (64,), 4))
        >>> decoder = ConditionalBernoulli((1, 28, 28), MLP(2, (64,), 784))
        >>> vae = VAE(encoder, decoder, StandardNormal((2,)))
        >>> vae.log_weights(torch.zeros(3, 1, 28, 28), k=5).shape
        torch.Size([5, 3])
        >>> vae.sample(4).shape
        torch.Size([4, 1, 28, 28])

    Source: Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014.
    """

    def __init__(self, encoder: Density, decoder: Density, prior: Density):
        super().__init__([StochasticPair(encoder, decoder)], prior)
        if encoder.event_shape != prior.event_shape:
            raise ValueError(
                f"encoder and prior must agree about z, but the encoder draws {list(encoder.event_shape)} "
                f"and the prior expects {list(prior.event_shape)}."
            )

    @property
    def pair(self) -> StochasticPair:
        """The one layer of the chain."""
        return cast(StochasticPair, self.transforms[0])

    @property
    def prior(self) -> Density:
        """p(z), the base of the chain."""
        return self.base

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """The approximate posterior q(z|x), batch shape [B]."""
        self._check(x, context, 1)
        return self.pair.posterior(x, context)

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """The likelihood p(x|z), batch shape [B]; its `mean` is the picture usually shown."""
        check_batch(z, self.prior.event_shape, "z")
        check_context(context, len(z))
        return self.pair.likelihood(z, context)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Mean of p(x|z) at one draw z ~ q(z|x): [B, \\*event_shape]."""
        z = self.trace(x, context).z[0]
        likelihood = self.likelihood(z, context)
        if isinstance(likelihood, Conditioned):
            raise TypeError("This decoder has no mean to show; draw from likelihood(z) instead.")
        return likelihood.mean
