"""The variational autoencoder: a flow of one stochastic layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.distributions import Distribution

from lvmlib.base import Density
from lvmlib.chain import Flow
from lvmlib.checks import check_batch, check_context, check_no, check_type, entrance
from lvmlib.draws import Conditioned
from lvmlib.networks import join
from lvmlib.stochastic import Stochastic

Join = Callable[[Tensor, "Tensor | None"], Tensor]

_NETWORK_ALONE = "but it is a {}. A network becomes one inside ConditionalNormal or ConditionalBernoulli."


class StochasticPair(Stochastic):
    """An encoder and a decoder as one layer of a chain.

    Args:
        encoder: the approximate posterior q(z|x), a conditional density whose context is x (beside the model's own
            context, if any).
        decoder: p(x|z), a conditional density whose context is z.
        join: how the encoder is given x and the model's context: `lvmlib.networks.join` flattens both and lays them
            side by side; `planes` lays the context behind the channels of a picture, for convolutions. The decoder is
            given a code of channels, height and width with the context in the same way, any other code side by side.

    Raises:
        TypeError: encoder or decoder is no `Density`.

    Example:
        >>> import torch
        >>> from lvmlib import ConditionalNormal
        >>> from lvmlib.latent import StochasticPair
        >>> encoder, decoder = torch.nn.Linear(3, 4), torch.nn.Linear(2, 6)
        >>> posterior = ConditionalNormal((2,), encoder)
        >>> likelihood = ConditionalNormal((3,), decoder)
        >>> pair = StochasticPair(posterior, likelihood)
        >>> z, paid = pair(torch.zeros(5, 3))
        >>> z.shape, paid.shape
        (torch.Size([5, 2]), torch.Size([5]))

    Source: Kingma & Welling 2014; as a layer, Nielsen et al. 2020, section 3.
    """

    def __init__(self, encoder: Density, decoder: Density, join: Join = join):
        super().__init__()
        check_type(encoder, Density, "The encoder must be a Density, " + _NETWORK_ALONE)
        check_type(decoder, Density, "The decoder must be a Density, " + _NETWORK_ALONE)
        self.encoder, self.decoder, self.join = encoder, decoder, join
        self.event_shape, self.latent_shape, self.support = decoder.event_shape, encoder.event_shape, decoder.support

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """q(z|x) for each row of x."""
        return self.encoder.given(self.join(x, context))

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """p(x|z) for each row of z."""
        beside = self.join if len(self.encoder.event_shape) == 3 else join  # codes are pictures too, or vectors
        return self.decoder.given(beside(z, context))


class VAE(Flow):
    r"""A variational autoencoder, :math:`p(x) = \int p(x \mid z)\, p(z)\, dz` with the amortised approximate posterior
    :math:`q(z \mid x)`: a `Flow` of one stochastic layer.

    Args:
        encoder: q(z|x), such as `ConditionalNormal((50,), network)`.
        decoder: p(x|z), such as `ConditionalBernoulli((1, 28, 28), network)`.
        prior: p(z), any `Density` of the latents' shape; `lvmlib.latent.priors` lists some.
        join: see `StochasticPair`; `lvmlib.networks.planes` for a convolutional encoder that is told of a context.

    Raises:
        TypeError: encoder, decoder or prior is no `Density`.
        ValueError: encoder and prior disagree about the shape of z.

    Example:
        >>> import torch
        >>> from lvmlib import MLP, VAE, ConditionalBernoulli, ConditionalNormal, StandardNormal
        >>> encoder = ConditionalNormal((2,), MLP(784, (64,), 4))
        >>> decoder = ConditionalBernoulli((1, 28, 28), MLP(2, (64,), 784))
        >>> vae = VAE(encoder, decoder, StandardNormal((2,)))
        >>> vae.log_weights(torch.zeros(3, 1, 28, 28), k=5).shape
        torch.Size([5, 3])
        >>> vae.sample(4).shape
        torch.Size([4, 1, 28, 28])

    Source: Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014.
    """

    def __init__(self, encoder: Density, decoder: Density, prior: Density, join: Join = join):
        pair = StochasticPair(encoder, decoder, join)
        _check_latents(encoder, prior)
        super().__init__([pair], prior)

    @property
    def pair(self) -> StochasticPair:
        """The first layer of the chain."""
        return cast(StochasticPair, self.transforms[0])

    @property
    def prior(self) -> Density:
        """p(z), the base of the chain."""
        return self.base

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """The approximate posterior q(z|x), batch shape [B]; the exact one, p(z|x), is not to be had."""
        with entrance(self, x, context):
            return self.pair.posterior(x, context)

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """The decoder p(x|z), batch shape [B]; its `mean` is the picture usually shown."""
        check_batch(z, self.prior.event_shape, "z")
        check_context(context, len(z))
        return self.pair.likelihood(z, context)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Mean of p(x|z) at one draw z ~ q(z|x): [B, \\*event_shape]."""
        z = self.trace(x, context).steps[0].z[0]
        likelihood = self.likelihood(z, context)
        check_no(
            isinstance(likelihood, Conditioned),
            "This decoder has no mean to show; draw from likelihood(z) instead.",
        )
        return cast(Distribution, likelihood).mean


def _check_latents(encoder: Density, prior: Density) -> None:
    check_type(prior, Density, "The prior must be a Density, but it is a {}.")
    if encoder.event_shape != prior.event_shape:
        raise ValueError(
            f"encoder and prior must agree about z, but the encoder draws {list(encoder.event_shape)} "
            f"and the prior expects {list(prior.event_shape)}."
        )
