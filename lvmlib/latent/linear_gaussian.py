"""A stochastic layer about which everything is known: linear maps and Gaussian noise."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from lvmlib.checks import check_positive
from lvmlib.stochastic import Stochastic


class LinearGaussian(Stochastic):
    r"""The linear-Gaussian layer, :math:`p(x \mid z) = \mathcal{N}(W z + b, \sigma^2 I)`, with a posterior that is
    linear-Gaussian too, :math:`q(z \mid x) = \mathcal{N}(A x + c, L L^\top)`.

    Under a Gaussian prior :math:`\mathcal{N}(m, C)` the exact posterior is of this form, so every bound can be held
    against a log-likelihood that is known. Chains of these layers stay Gaussian.

    Args:
        weight: W, [D, H].
        bias: b, [D].
        scale: :math:`\sigma > 0`.
        mean: m, [H]; the prior whose exact posterior q starts from. Zero by default.
        covariance: C, [H, H]; the identity by default.

    Raises:
        ValueError: weight and bias do not fit together, or the scale is not positive.

    Example:
        With the exact posterior every draw has the same weight, the likelihood itself.

        >>> import torch
        >>> from lvmlib import Flow, LinearGaussian, StandardNormal
        >>> layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
        >>> model = Flow([layer], StandardNormal((1,)))
        >>> log_w = model.log_weights(torch.ones(1, 1), k=3)
        >>> [round(w, 4) for w in log_w[:, 0].tolist()]
        [-1.5155, -1.5155, -1.5155]

    Source: Bishop 2006, *Pattern Recognition and Machine Learning*, equations 2.113 to 2.117.
    """

    weight: Tensor
    bias: Tensor
    ignores_context = True

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        scale: float,
        mean: Tensor | None = None,
        covariance: Tensor | None = None,
    ):
        super().__init__()
        if weight.dim() != 2 or bias.shape != weight.shape[:1]:
            raise ValueError(
                f"weight must be [D, H] and bias [D], but they are {list(weight.shape)}, {list(bias.shape)}."
            )
        scale = check_positive(scale, "scale", "is a standard deviation")
        self.event_shape, self.latent_shape = bias.shape, weight.shape[1:]
        self.scale = scale
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        hidden = weight.shape[1]
        mean = torch.zeros(hidden, dtype=weight.dtype) if mean is None else mean
        covariance = torch.eye(hidden, dtype=weight.dtype) if covariance is None else covariance
        gain, offset, tril = self._exact_posterior(mean, covariance)
        self.gain, self.offset, self.tril = (torch.nn.Parameter(t) for t in (gain, offset, tril))

    def _exact_posterior(self, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        precision = torch.linalg.inv(covariance) + self.weight.T @ self.weight / self.scale**2
        posterior_covariance = torch.linalg.inv(precision)
        gain = posterior_covariance @ self.weight.T / self.scale**2
        offset = posterior_covariance @ torch.linalg.solve(covariance, mean) - gain @ self.bias
        return gain, offset, torch.linalg.cholesky(posterior_covariance)

    def marginal(self, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [D] and covariance [D, D] of x when z has the given ones."""
        noise = self.scale**2 * torch.eye(len(self.bias), dtype=self.weight.dtype, device=self.weight.device)
        return self.weight @ mean + self.bias, self.weight @ covariance @ self.weight.T + noise

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        r""":math:`q(z \mid x) = \mathcal{N}(A x + c, L L^\top)`."""
        return MultivariateNormal(x @ self.gain.T + self.offset, scale_tril=self.tril.tril(), validate_args=False)

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        r""":math:`p(x \mid z) = \mathcal{N}(W z + b, \sigma^2 I)`."""
        loc = z @ self.weight.T + self.bias
        return Independent(Normal(loc, torch.full_like(loc, self.scale), validate_args=False), 1)
