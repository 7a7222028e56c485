"""The flow in one dimension: a learned distribution function maps any density onto the uniform one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lvmlib.base import Transform
from lvmlib.checks import check_count, check_sizes
from lvmlib.flows.door import Open, check_input, check_inside
from lvmlib.flows.mixture import Mixture


class MixtureCDF(Transform):
    r"""Each entry goes through the distribution function of a mixture of its own, into (0, 1).

    .. math:: z_i = F_i(x_i) = \sum_m \pi_{im}\, F\!\left(\frac{x_i - \mu_{im}}{s_{im}}\right), \qquad
        \log \left| \det \frac{\partial z}{\partial x} \right| = \sum_i \log F_i'(x_i)

    Under a uniform base the density of x is the mixture itself; behind `Elementwise("logit")` the base may be any on
    the real line. No formula gives the way back; Newton's method between the quantiles of the components finds it, to
    float precision.

    Args:
        event_shape: shape of one example.
        components: number of components, M.
        kind: "gaussian" or "logistic".

    Attributes:
        logits: [M, \*event_shape], of the components.
        loc: [M, \*event_shape]; spread over [-2, 2] at first.
        log_scale: [M, \*event_shape].

    Raises:
        ValueError: fewer than one component, an unknown kind. On the way back: a value that is not strictly between 0
            and 1, such as a 1 that F gave far out, where no digit is left.

    Example:
        >>> import torch
        >>> from lvmlib import MixtureCDF
        >>> layer = MixtureCDF((1,), components=3)
        >>> z, log_det = layer(torch.zeros(1, 1))
        >>> z                                               # symmetric at first
        tensor([[0.5000]], grad_fn=<ExpBackward0>)

    Source: Ho et al. 2019, *Flow++*, section 3.2; as a flow of its own, the inverse of inverse transform sampling.
    """

    event_shape: torch.Size

    def __init__(self, event_shape: Sequence[int], components: int = 5, kind: str = "gaussian"):
        super().__init__()
        if kind not in ("gaussian", "logistic"):
            raise ValueError(f"kind must be 'gaussian' or 'logistic', but it is {kind!r}.")
        components = check_count(components, "components", "counts parts of a mixture")
        self.event_shape, self.kind = check_sizes(event_shape), kind
        spread = torch.linspace(-2, 2, components) if components > 1 else torch.zeros(1)
        shape = (components, *self.event_shape)
        self.loc = nn.Parameter(spread.view(-1, *[1] * len(self.event_shape)).expand(shape).clone())
        self.logits, self.log_scale = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))

    @property
    def mixture(self) -> Mixture:
        """The mixtures of all entries."""
        return Mixture(self.logits[None], self.loc[None], self.log_scale[None], self.kind)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x)
        log_below, _, log_density = self.mixture.logs(x)
        return log_below.exp(), log_density.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, z, latent=True)
        check_inside(self, z, Open(0.0, 1.0), latent=True)
        mixture = self.mixture
        x = mixture.quantile(z.log() - torch.log1p(-z))
        return x, -mixture.logs(x)[2].flatten(1).sum(1)
