"""What the toy densities share: a plane, and where random numbers come from."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lvmlib.base import Density
from lvmlib.checks import check_context, check_count, check_no, check_wanted, entrance

LOG_2PI = math.log(2 * math.pi)


class _Toy(Density):
    """A density over the plane without parameters and without a context."""

    ignores_context = True
    origin: Tensor  # [2], zeros; it carries the device and the dtype

    def __init__(self) -> None:
        super().__init__((2,))
        self.register_buffer("origin", torch.zeros(2), persistent=False)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each point.

        Args:
            x: [B, 2].
            context: None; inside of a chain, ignored.

        Returns:
            [B], nats; :math:`-\\infty` where the density is zero.
        """
        with entrance(self, x, context):
            return self._log_prob(x)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Draw `n` points: [n, 2]; at temperature 1 only."""
        n = check_count(n, "n")
        check_context(context, n)
        check_wanted(self, context)
        check_no(temperature != 1, f"{type(self).__name__} is drawn from at temperature 1, not {temperature}.")
        return self._sample(n)

    def _log_prob(self, x: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not define _log_prob(x).")

    def _sample(self, n: int) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not define _sample(n).")

    def _choice(self, n: int, k: int) -> Tensor:
        return torch.randint(k, (n,), device=self.origin.device)

    def _uniform(self, n: int) -> Tensor:
        return torch.rand(n, device=self.origin.device, dtype=self.origin.dtype)

    def _normal(self, n: int) -> Tensor:
        return torch.randn(n, 2, device=self.origin.device, dtype=self.origin.dtype)
