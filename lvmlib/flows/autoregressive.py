"""Autoregressive flows: each entry moves by an element whose parameters depend on the entries before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lvmlib.base import Transform
from lvmlib.chain import Inverse
from lvmlib.checks import check_sizes
from lvmlib.flows.door import check_input, context_entries, read_context
from lvmlib.flows.elements import Element, Scale, Standardise
from lvmlib.networks import MaskedMLP

# Rows times weights up to which rounds are tried first on a processor. Measured on one core with a trained MAF of 64
# entries: the rounds took a sixth of the time of the steps for 1 row, two fifths for 64 rows, and the same for 256.
LITTLE = 3_000_000


class MaskedAutoregressive(Transform):
    r"""Each entry moves given those before it: the density in one pass, the way back one entry after another.

    .. math:: z_t = g(x_t; \theta_t(x_1, \dots, x_{t-1})), \qquad
        \log \left| \det \frac{\partial z}{\partial x} \right| = \sum_t \log g'(x_t; \theta_t)

    With the default element, :math:`z_t = (x_t - \mu_t) e^{-\alpha_t}`, a draw from it is one from a chain of Gaussian
    conditionals :math:`\mathcal{N}(\mu_t, e^{2 \alpha_t})`.

    There are two ways back. In *steps*, entry by entry, each hidden unit is computed once, as soon as its inputs are
    known, and all D steps together do the arithmetic of one pass. *Parallel*, all entries are computed at once from
    those of the round before, until nothing changes: entry t is exact after t rounds, so D rounds are enough, and often
    far fewer are. With a gradient the way back goes in steps.

    Args:
        event_shape: shape of one example, with D entries in all.
        hidden: widths of the hidden layers.
        element: how entries move; `Standardise` by default, or `Spline`.
        context: number of entries of a context vector, or None.
        order: [D], the flat positions in the order in which they depend on each other; as they are stored by default.
        activation: makes the nonlinearity.
        residual: add to each hidden layer but the first the layer below it.
        way_back: "steps", "parallel", or "auto": parallel on an accelerator, where steps are short of work, and on a
            processor for D / 4 rounds where a pass is little work; if something still changes then, in steps.

    Raises:
        ValueError: an empty layer, an order that is no permutation, an unknown way back.

    Example:
        >>> import torch
        >>> from lvmlib import MaskedAutoregressive
        >>> layer = MaskedAutoregressive((4,), hidden=(16,))
        >>> x = torch.randn(3, 4)
        >>> torch.allclose(layer.inverse(layer(x)[0])[0], x, atol=1e-5)
        True

    Source: Papamakarios et al. 2017, *Masked Autoregressive Flow for Density Estimation*; for the parallel way back
    Song et al. 2021, *Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving*.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        hidden: Sequence[int] = (128, 128),
        element: Element | None = None,
        context: int | None = None,
        order: Sequence[int] | Tensor | None = None,
        activation: Callable[[], nn.Module] = nn.ReLU,
        residual: bool = False,
        way_back: str = "auto",
    ):
        super().__init__()
        if way_back not in ("auto", "steps", "parallel"):
            raise ValueError(f"way_back must be 'auto', 'steps' or 'parallel', but it is {way_back!r}.")
        self.event_shape, self.context, self.way_back = check_sizes(event_shape), context_entries(context), way_back
        self.element = Standardise() if element is None else element
        self.net = MaskedMLP(
            self.event_shape.numel(),
            hidden,
            self.element.size,
            self.context,
            order,
            activation=activation,
            residual=residual,
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x)
        flat, context = x.flatten(1), self._read(context, len(x))
        z, log_slope = self.element.forward(flat, self.net(flat, context))
        return z.view(x.shape), log_slope.sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, z, latent=True)
        flat, context = z.flatten(1), self._read(context, len(z))
        found = self._parallel(flat, context, self._rounds(flat))
        x, log_slope = self._in_steps(flat, context) if found is None else found
        return x.view(z.shape), log_slope.sum(1)

    def _read(self, context: Tensor | None, rows: int) -> Tensor | None:
        context = read_context(self, context, self.context, rows)
        return None if context is None else context.reshape(rows, -1)

    def _rounds(self, z: Tensor) -> int:
        """How many parallel rounds are worth a try."""
        if self.way_back == "steps" or torch.is_grad_enabled():
            return 0
        if self.way_back == "parallel" or z.device.type != "cpu":
            return z.shape[1]
        little = len(z) * sum(p.numel() for p in self.net.parameters()) <= LITTLE
        return max(z.shape[1] // 4, min(z.shape[1], 8)) if little else 0

    def _in_steps(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        step, order = self.net.steps(len(z), context), self.net.order
        last: Tensor | None = None
        entries, log_slopes = [], []
        for t, entry in enumerate(z.t().index_select(0, order).unbind()):  # rows lie in one stretch of memory
            last, log_slope = self.element.inverse(entry, step(t, last))
            entries.append(last)
            log_slopes.append(log_slope)
        x = torch.stack(entries).index_select(0, order.argsort())
        return x.t().contiguous(), torch.stack(log_slopes).t()

    def _parallel(self, z: Tensor, context: Tensor | None, rounds: int) -> tuple[Tensor, Tensor] | None:
        """All entries at once, until nothing changes; None where that takes more rounds."""
        x = torch.zeros_like(z)
        for i in range(rounds):
            before = x
            x, log_slope = self.element.inverse(z, self.net(x, context))
            if i + 1 == z.shape[1] or torch.equal(x, before):
                return x, log_slope
        return None


class InverseAutoregressive(Inverse):
    r"""A masked autoregressive layer walked the other way: drawing takes one pass, the density of given data D steps.

    .. math:: x_t = z_t\, e^{s_t(z_1, \dots, z_{t-1})} + m_t(z_1, \dots, z_{t-1})

    It knows the density of what it draws at no further cost, and so serves as a posterior.

    Args:
        event_shape, hidden, context, order, activation, residual, way_back: see `MaskedAutoregressive`.
        element: how entries move, from noise to data; `Scale` by default.

    Example:
        >>> import torch
        >>> from lvmlib import InverseAutoregressive
        >>> layer = InverseAutoregressive((4,), hidden=(16,))
        >>> layer.inverse(torch.zeros(3, 4))[0].shape
        torch.Size([3, 4])

    Source: Kingma et al. 2016, *Improved Variational Inference with Inverse Autoregressive Flow*.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        hidden: Sequence[int] = (128, 128),
        element: Element | None = None,
        context: int | None = None,
        order: Sequence[int] | Tensor | None = None,
        activation: Callable[[], nn.Module] = nn.ReLU,
        residual: bool = False,
        way_back: str = "auto",
    ):
        element = Scale() if element is None else element
        super().__init__(
            MaskedAutoregressive(event_shape, hidden, element, context, order, activation, residual, way_back)
        )
