r"""Priors that are fitted to the codes; `VAE` takes every density of the latents' shape for its prior.

========================  ============================================================================================
prior                     which density
========================  ============================================================================================
mixture of Gaussians      ``MixtureOfGaussians((d,), components)``
VampPrior                 ``VampPrior(encoder, pseudo_inputs)``, a mixture of posteriors of the VAE's own encoder
flow                      ``realnvp((d,))``, ``maf((d,))``, ...: the bijections become layers of the chain
autoregressive            ``Flow([MaskedAutoregressive((d,), hidden, MixtureLogistic(8))], StandardNormal((d,)))``; for
                          codes of bits a ``MADE((d,))``, for one-hot codes ``OneHotCodes(model)``
of a condition            ``ConditionalNormal((d,), network)``, p(z|c) in a conditional VAE
========================  ============================================================================================
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from lvmlib.base import Density
from lvmlib.checks import check_context, check_count, check_no, check_type, check_wanted, entrance
from lvmlib.distributions import RowMixture


class VampPrior(Density):
    r"""The variational mixture of posteriors: the encoder's answers to K inputs that are learned.

    .. math:: p(z) = \frac1K \sum_{k=1}^K q(z \mid u_k)

    It has the form of the aggregated posterior, the best prior for a fixed encoder, with K pseudo-inputs in place of N
    examples; with all examples in their place it is the aggregated posterior. Prior and VAE share the encoder: it is
    trained by both and stored once.

    Args:
        encoder: q(z|x), the very module that the VAE encodes with.
        pseudo_inputs: u, [K, ...], to start from, such as examples; what the encoder is given, so in a conditional VAE
            x and the context side by side. They are trained without limits, so bits turn into other numbers.

    Attributes:
        inputs: the pseudo-inputs, [K, ...].

    Raises:
        TypeError: the encoder is no `Density`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import VAE, ConditionalBernoulli, ConditionalNormal, VampPrior
        >>> encoder = ConditionalNormal((2,), nn.Linear(9, 4))
        >>> decoder = ConditionalBernoulli((9,), nn.Linear(2, 9))
        >>> x = torch.bernoulli(torch.full((100, 9), 0.5))
        >>> vae = VAE(encoder, decoder, VampPrior(encoder, x[:20]))
        >>> vae.log_weights(x, k=3).shape, vae.sample(5).shape
        (torch.Size([3, 100]), torch.Size([5, 9]))

    Source: Tomczak & Welling 2018, *VAE with a VampPrior*, equation 9.
    """

    ignores_context = True

    def __init__(self, encoder: Density, pseudo_inputs: Tensor):
        check_type(encoder, Density, "VampPrior mixes posteriors of an encoder, a Density, but it was given a {}.")
        super().__init__(encoder.event_shape)
        self.encoder, self.support = encoder, encoder.support
        self.inputs = nn.Parameter(pseudo_inputs.detach().clone())

    def mixture(self) -> RowMixture:
        """The mixture as a torch distribution; the encoder reads the pseudo-inputs here, once."""
        return RowMixture([self.encoder.given(self.inputs)])

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each code; [B], nats. A context is nothing to it."""
        with entrance(self, z, context):
            return self.mixture().log_prob(z)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Choose a pseudo-input, then draw from its posterior, at a temperature; [n, \\*event_shape]."""
        n = check_count(n, "n")
        check_context(context, n)
        check_wanted(self, context)
        chosen = torch.randint(len(self.inputs), (n,), device=self.inputs.device)
        return self.encoder.sample(n, self.inputs[chosen], temperature=temperature)


class OneHotCodes(Density):
    r"""A model of whole numbers as a density over one-hot rows, the codes of a `ConditionalCategorical` posterior.

    .. math:: p(z) = p(c), \qquad z_{i} = e_{c_i}

    Args:
        model: of event shape [\*variables] and values {0, ..., K - 1}, such as a `MADE` of K levels.

    Raises:
        TypeError: the model is no `Density`, or does not say how many levels there are.

    Example:
        >>> from lvmlib import MADE, OneHotCodes
        >>> prior = OneHotCodes(MADE((8,), (32,), levels=4))
        >>> z = prior.sample(5)
        >>> z.shape, prior.log_prob(z).shape
        (torch.Size([5, 8, 4]), torch.Size([5]))
    """

    def __init__(self, model: Density):
        check_type(model, Density, "OneHotCodes wraps a Density, but it was given a {}.")
        levels = check_count(getattr(model, "levels", None), "levels", "counts the values of a code")
        super().__init__((*model.event_shape, levels))
        self.model = model
        self.support = constraints.independent(constraints.one_hot, len(model.event_shape))

    @property
    def ignores_context(self) -> bool:  # type: ignore[override]
        """Whether the model inside ignores it."""
        return self.model.ignores_context

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-probability of each code; [B], nats.

        Raises:
            TypeError: z asks for a gradient, as relaxed draws do. A code that is read whole has none to give.
        """
        check_no(
            z.requires_grad,
            "OneHotCodes reads the number of each code, through which no gradient flows. Train with an estimator that "
            "takes discrete draws, such as vimco or rloo.",
        )
        with entrance(self, z, context):
            return self.model.log_prob(z.argmax(-1).to(z.dtype), context)

    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw one-hot rows, without gradient; [n, \\*event_shape]."""
        codes = self.model.sample(n, context, temperature)
        return F.one_hot(codes.long(), self.event_shape[-1]).to(codes.dtype)
