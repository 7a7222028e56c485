"""Continuous flows: an ordinary differential equation carries data to noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.base import Transform
from lvmlib.checks import check_count, check_positive, check_sizes
from lvmlib.flows.conditioners import Maker, perceptron
from lvmlib.flows.door import check_input, context_entries, read_context

Field = Callable[[Tensor, tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]


class ContinuousFlow(Transform):
    r"""Data move along a learned field for one unit of time, and the trace of its Jacobian is what volumes change by.

    .. math:: \frac{dx}{dt} = f(x, t), \qquad \log \left| \det \frac{\partial z}{\partial x} \right| =
        \int_0^1 \operatorname{tr} \frac{\partial f}{\partial x}\, dt

    The trace is exact, at the cost of D backward passes for each evaluation of f, or estimated by Hutchinson's
    :math:`\epsilon^\top \frac{\partial f}{\partial x} \epsilon` with random signs, drawn once for each call: unbiased,
    at the cost of one.

    Args:
        event_shape: shape of one example, with D entries in all.
        network: makes the network f, from x, t and the context side by side, ``network(D + 1 + context, D)``.
        trace: "exact", "hutchinson", or "auto": exact up to 4 dimensions.
        method: "dopri5", which chooses its steps, or "rk4".
        tolerance: of dopri5, absolute and relative; at least ten times the precision of the dtype.
        steps: of rk4.
        adjoint: compute gradients by a second equation backwards in time, in memory that does not grow with the number
            of evaluations, and no more precisely than the solver is.
        context: number of entries of a context vector, or None.

    Raises:
        ValueError: an unknown trace or method. On the way: an equation that the solver cannot follow.

    Example:
        >>> import torch
        >>> from lvmlib import ContinuousFlow
        >>> layer = ContinuousFlow((2,), method="rk4", steps=8)
        >>> z, log_det = layer(torch.zeros(5, 2))
        >>> z.shape, log_det.shape
        (torch.Size([5, 2]), torch.Size([5]))

    Source: Chen et al. 2018, *Neural Ordinary Differential Equations*, theorem 1; Grathwohl et al. 2019, *FFJORD*.
    """

    event_shape: torch.Size

    def __init__(
        self,
        event_shape: Sequence[int],
        network: Maker | None = None,
        trace: str = "auto",
        method: str = "dopri5",
        tolerance: float = 1e-5,
        steps: int = 20,
        adjoint: bool = False,
        context: int | None = None,
    ):
        super().__init__()
        if trace not in ("exact", "hutchinson", "auto"):
            raise ValueError(f"trace must be 'exact', 'hutchinson' or 'auto', but it is {trace!r}.")
        if method not in ("dopri5", "rk4"):
            raise ValueError(f"method must be 'dopri5' or 'rk4', but it is {method!r}.")
        self.event_shape, self.context, self.adjoint = check_sizes(event_shape), context_entries(context), adjoint
        dims = self.event_shape.numel()
        self.trace = trace if trace != "auto" else "exact" if dims <= 4 else "hutchinson"
        self.tolerance = check_positive(tolerance, "tolerance", "bounds the error of dopri5")
        self.solver: dict[str, Any] = {"method": method}
        steps = check_count(steps, "steps", "counts steps of rk4")
        if method == "rk4":
            self.solver["options"] = {"step_size": 1 / steps}
        maker = perceptron((64, 64), nn.Tanh) if network is None else network
        self.network = maker(dims + 1 + (self.context or 0), dims)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x)
        return self._solved(x, context, (0.0, 1.0))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, z, latent=True)
        return self._solved(z, context, (1.0, 0.0))

    def between(self, x: Tensor, start: float, end: float, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Where points of one time are at another, earlier or later; data are at time 0, noise is at 1.

        Args:
            x: [B, ...], positions at `start`.
            start: from 0 to 1.
            end: from 0 to 1, later or earlier.
            context: [B, ...] or None.

        Returns:
            Positions at `end`, and the integral of the trace from `start` to `end`: [B], nats.

        Raises:
            ValueError: a time below 0 or above 1.

        Example:
            >>> import torch
            >>> from lvmlib import ContinuousFlow
            >>> layer, x = ContinuousFlow((2,)), torch.randn(5, 2)
            >>> half, _ = layer.between(x, 0, 0.5)
            >>> torch.allclose(layer.between(half, 0.5, 1)[0], layer(x)[0], atol=1e-3)
            True
        """
        check_input(self, x)
        for t in (start, end):
            if not 0 <= t <= 1:
                raise ValueError(f"A continuous flow runs from time 0 (data) to 1 (noise), but a time is {t}.")
        return (x, x.new_zeros(len(x))) if start == end else self._solved(x, context, (float(start), float(end)))

    def _solved(self, x: Tensor, context: Tensor | None, times: tuple[float, float]) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_compiling():  # the solver chooses its steps by values, which no compiled graph knows
            return torch.compiler.disable(self._run)(x, context, times)
        return self._run(x, context, times)

    def _run(self, x: Tensor, context: Tensor | None, times: tuple[float, float]) -> tuple[Tensor, Tensor]:
        import torchdiffeq

        context = read_context(self, context, self.context, len(x))
        told = None if context is None else context.reshape(len(x), -1).to(x.dtype)
        flat = x.flatten(1)
        signs = None if self.trace == "exact" else torch.randint_like(flat, 2) * 2 - 1
        start, span = (flat, flat.new_zeros(len(flat))), flat.new_tensor(times)
        tolerance = max(self.tolerance, 10 * torch.finfo(x.dtype).eps)
        field, how = self._field(told, signs), {**self.solver, "atol": tolerance, "rtol": tolerance}
        if self.adjoint:
            weights = tuple(self.network.parameters()) + (() if told is None else (told,))
            how["adjoint_params"] = tuple(w for w in weights if w.requires_grad)
        try:
            z, log_det = (torchdiffeq.odeint_adjoint if self.adjoint else torchdiffeq.odeint)(field, start, span, **how)
        except AssertionError as error:
            raise ValueError(f"ContinuousFlow cannot be solved from here: {error}. Its field is too steep.") from error
        return z[1].view(x.shape), log_det[1]

    def _field(self, told: Tensor | None, signs: Tensor | None) -> Field:
        """Velocity and trace at a time, as the solver asks for them; what belongs to one call stays in here."""
        rest = () if told is None else (told,)

        def field(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            graph = torch.is_grad_enabled()
            with torch.enable_grad():
                x = state[0] if graph and state[0].requires_grad else state[0].detach().requires_grad_()
                speed = self.network(torch.cat([x, t.to(x).expand(len(x), 1), *rest], 1))
                trace = _exact(speed, x, graph) if signs is None else _estimate(speed, x, signs, graph)
            return (speed, trace) if graph else (speed.detach(), trace.detach())

        return field


def _exact(speed: Tensor, x: Tensor, graph: bool) -> Tensor:
    columns = speed.unbind(1)
    rows = (torch.autograd.grad(s.sum(), x, create_graph=graph, retain_graph=True)[0] for s in columns)
    return torch.stack([row[:, i] for i, row in enumerate(rows)]).sum(0)


def _estimate(speed: Tensor, x: Tensor, signs: Tensor, graph: bool) -> Tensor:
    (product,) = torch.autograd.grad((speed * signs).sum(), x, create_graph=graph, retain_graph=True)
    return (product * signs).sum(1)
