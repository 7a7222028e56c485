"""Layers that draw: they pay a likelihood ratio where a bijection pays a log-determinant."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from lvmlib.base import Transform
from lvmlib.checks import refuse
from lvmlib.draws import Conditioned, Posterior, draw, repeat_rows


class Stochastic(Transform):
    r"""A layer that draws, and so turns the likelihood of its chain into a bound.

    It pays :math:`\log p(x \mid z) - \log q(z \mid x)` for the :math:`z \sim q(z \mid x)` that it drew.

    Attributes:
        carries_data: True where z is the data in another form, as in dequantization, and not a code for them. What such
            a layer pays belongs to the distortion; the weight of a KL term and the count of active units pass it by.
        latent_shape: shape of z, or None where the layer does not say.
    """

    carries_data: bool = False

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """The (approximate) posterior q(z|x): a distribution of batch shape [B], or a `Conditioned` density."""
        refuse(f"{type(self).__name__} does not define posterior(x, context).")

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution | Conditioned:
        """The likelihood p(x|z): a distribution of batch shape [B], or a `Conditioned` density."""
        refuse(f"{type(self).__name__} does not define likelihood(z, context).")

    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Draw x ~ p(x|z), without gradient; sampling never runs the encoder."""
        likelihood = self.likelihood(z, context)
        with torch.no_grad():
            return likelihood.sample() if isinstance(likelihood, Distribution) else likelihood.sample(1)[0]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw z ~ q(z|x) and pay for it.

        Returns:
            z: [B, ...], log p(x|z) - log q(z|x): [B], nats.
        """
        z, log_q = draw(self.posterior(x, context), 1)
        z = z.flatten(0, 1)
        return z, log_prob_rows(self.likelihood(z, context), x) - log_q[0]

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw x ~ p(x|z) and pay for it.

        Returns:
            x: [B, ...], log q(z|x) - log p(x|z): [B], nats.
        """
        x = self.generate(z, context)
        return x, log_prob_rows(self.posterior(x, context), z) - log_prob_rows(self.likelihood(z, context), x)


def log_prob_rows(p: Posterior, x: Tensor, k: int = 1) -> Tensor:
    """Log-density of row i of `x` [B, ...] under the rows i, B + i, 2B + i, ... of `p`: [k * B], nats."""
    if k > 1 and hasattr(p, "in_copies"):  # a distribution of ours needs no copies of x
        return p.in_copies(k).log_prob(x).flatten()
    x = repeat_rows(x, k)
    return p.log_prob(x[None])[0] if isinstance(p, Conditioned) else p.log_prob(x)
