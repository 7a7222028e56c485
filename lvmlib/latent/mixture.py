"""A mixture of Gaussians as a latent-variable model: the latent is the number of the component."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical

from lvmlib.checks import entrance
from lvmlib.distributions import MixtureOfGaussians


class GaussianMixture(MixtureOfGaussians):
    r"""A mixture of Gaussians with its exact posterior, its ELBO for any q, and the M-step of EM.

    .. math:: p(x, z = k) = \pi_k\, \mathcal{N}(x; \mu_k, \Sigma_k), \qquad
        \mathcal{L}(\theta, q; x) = \sum_k q_k \big(\log p(x, z = k) - \log q_k\big)

    `lvmlib.latent.em` trains it by EM, `lvmlib.training.fit` by gradients of the exact log-likelihood. Arguments and
    attributes are those of `MixtureOfGaussians`; `start_from` makes a start from data.

    Args:
        event_shape: shape of one example, with D entries in all.
        components: number of components, K.
        covariance: ``"spherical"``, ``"diagonal"`` or ``"full"``.
        floor: smallest standard deviation (of the diagonal of the Cholesky factor for full covariances).

    Example:
        With the exact posterior the bound is the log-likelihood.

        >>> import torch
        >>> from lvmlib import GaussianMixture, seed_everything
        >>> seed_everything(0)
        >>> x = torch.randn(100, 2)
        >>> mixture = GaussianMixture((2,), components=3).start_from(x)
        >>> q = mixture.posterior(x)
        >>> torch.allclose(mixture.elbo(x, q), mixture.log_prob(x), atol=1e-5)
        True

    Source: Bishop 2006, *Pattern Recognition and Machine Learning*, sections 9.2 and 9.4.
    """

    def posterior(self, x: Tensor) -> Categorical:
        r"""The exact posterior :math:`p(z \mid x)` over the components, batch shape [B]."""
        with entrance(self, x):
            return Categorical(logits=self.component_log_prob(x), validate_args=False)

    def elbo(self, x: Tensor, q: Categorical) -> Tensor:
        """The evidence lower bound at any distribution over the components.

        Args:
            x: [B, \\*event_shape].
            q: batch shape [B], over K components.

        Returns:
            [B], nats.
        """
        with entrance(self, x):
            log_joint = self.component_log_prob(x)  # [B, K]
        used = q.probs > 0  # a component that q leaves out costs nothing, however improbable it is
        return torch.where(used, q.probs * log_joint, 0.0).sum(1) + q.entropy()

    @torch.no_grad()
    def m_step(self, x: Tensor, q: Categorical) -> None:
        r"""Set the parameters to those that maximise :math:`\sum_n \mathcal{L}(\theta, q_n; x_n)`, in closed form.

        Args:
            x: [N, \*event_shape].
            q: batch shape [N], over K components.

        Raises:
            ValueError: the covariance of a component is singular, so that the likelihood has no maximum.
        """
        with entrance(self, x):
            flat = x.flatten(1).to(self.loc)  # [N, D]
        r = q.probs.to(flat)
        n = r.sum(0).clamp(min=torch.finfo(r.dtype).tiny)  # [K]
        self.logits.copy_(n.log())
        self.loc.copy_(r.T @ flat / n[:, None])
        for k, share in enumerate((r / n).T):  # one component at a time: no tensor [N, K, D]
            self._set_spread(k, share, flat - self.loc[k])

    def _set_spread(self, k: int, share: Tensor, difference: Tensor) -> None:
        """Covariance of component k from weights [N] that sum to 1 and differences from its mean [N, D]."""
        if self.lower is None:
            variance = share @ difference.square()  # [D]
            scale = (variance.mean(0, keepdim=True) if self.covariance == "spherical" else variance).sqrt()
        else:
            tril, fault = torch.linalg.cholesky_ex(difference.T @ (share[:, None] * difference))
            if fault:
                raise ValueError(
                    f"The covariance of component {k} is singular: it holds too few different examples. Use fewer "
                    "components, or covariance='diagonal' with a floor."
                )
            scale = tril.diagonal()
            # The columns of the factor are regressions on earlier coordinates, which the floor leaves alone.
            self.lower[k] = tril * (scale.clamp(min=self.floor) / scale)
        self.log_scale[k] = (scale - self.floor).clamp(min=torch.finfo(scale.dtype).tiny).log()
