"""Small layers written for tests of chains and draws: plain, without any check, and in any dtype."""

import math

import torch
from torch import nn
from torch.distributions import Distribution

from lvmlib.base import Transform
from lvmlib.networks import MaskedMLP


class Linear(Transform):
    """z = A x + b, with a full matrix."""

    def __init__(self, matrix, shift):
        super().__init__()
        self.matrix, self.shift = nn.Parameter(matrix), nn.Parameter(shift)
        self.event_shape = shift.shape

    def forward(self, x, context=None):
        return x @ self.matrix.T + self.shift, torch.linalg.slogdet(self.matrix)[1].expand(len(x))

    def inverse(self, z, context=None):
        x = torch.linalg.solve(self.matrix, (z - self.shift).T).T
        return x, -torch.linalg.slogdet(self.matrix)[1].expand(len(z))


class AffineCoupling(Transform):
    """Entries where the mask is 1 pass; they decide scale and shift of the others."""

    def __init__(self, mask, network):
        super().__init__()
        self.event_shape, self.network = mask.shape, network
        self.register_buffer("mask", mask)

    def scale_and_shift(self, kept):
        shift, raw = self.network(kept).reshape(len(kept), 2, *self.event_shape).unbind(1)
        return (1 - self.mask) * 2 * torch.tanh(raw / 2), (1 - self.mask) * shift

    def forward(self, x, context=None):
        log_scale, shift = self.scale_and_shift(self.mask * x)
        return x * log_scale.exp() + shift, log_scale.flatten(1).sum(1)

    def inverse(self, z, context=None):
        log_scale, shift = self.scale_and_shift(self.mask * z)
        return (z - shift) * (-log_scale).exp(), -log_scale.flatten(1).sum(1)


class MaskedAutoregressive(Transform):
    """Each entry is standardised given those before it; the way back fills them in one after another."""

    def __init__(self, dims, hidden=(16,), context=None):
        super().__init__()
        self.event_shape = torch.Size((dims,))
        self.net = MaskedMLP(dims, hidden, 2, context, activation=nn.Tanh)

    def forward(self, x, context=None):
        shift, raw = self.net(x, context).unbind(1)
        log_scale = 2 * torch.tanh(raw / 2)
        return (x - shift) * (-log_scale).exp(), -log_scale.sum(1)

    def inverse(self, z, context=None):
        step, x, total = self.net.steps(len(z), context), [], 0.0
        for t in range(z.shape[1]):
            shift, raw = step(t, x[-1] if x else None).unbind(1)
            log_scale = 2 * torch.tanh(raw / 2)
            x.append(z[:, t] * log_scale.exp() + shift)
            total = total + log_scale
        return torch.stack(x, 1), total


class Split(Transform):
    """Half of the channels go through `rest`, the others are standardised given them; the noise is flat."""

    def __init__(self, event_shape, rest):
        super().__init__()
        c = event_shape[0]
        self.event_shape, self.latent_shape = torch.Size(event_shape), torch.Size((math.prod(event_shape),))
        self.rest, self.network = rest, nn.Conv2d(c // 2, c, 3, padding=1)

    def scale_and_shift(self, kept):
        shift, raw = self.network(kept).chunk(2, 1)
        return 2 * torch.tanh(raw / 2), shift

    def forward(self, x, context=None):
        kept, other = x.chunk(2, 1)
        log_scale, shift = self.scale_and_shift(kept)
        z, log_det = self.rest(kept, context)
        noise = (other - shift) * (-log_scale).exp()
        return torch.cat([z.flatten(1), noise.flatten(1)], 1), log_det - log_scale.flatten(1).sum(1)

    def inverse(self, z, context=None):
        first, second = z.chunk(2, 1)
        shape = self.rest.latent_shape or self.rest.event_shape
        kept, log_det = self.rest.inverse(first.view(-1, *shape), context)
        log_scale, shift = self.scale_and_shift(kept)
        other = second.view_as(kept) * log_scale.exp() + shift
        return torch.cat([kept, other], 1), log_det + log_scale.flatten(1).sum(1)


class Delta(Distribution):
    """All mass on one value."""

    has_rsample, arg_constraints = True, {}

    def __init__(self, value):
        self.value = value
        super().__init__(value.shape[:1], value.shape[1:], validate_args=False)

    def rsample(self, shape=()):
        return self.value.expand(*shape, *self.value.shape)

    def log_prob(self, z):
        return torch.zeros(z.shape[: z.dim() - len(self.event_shape)], dtype=z.dtype)


class Continuous(Transform):
    """An ordinary differential equation from data to noise; nothing of a call is kept on the module."""

    def __init__(self, dims, network, tolerance=1e-9):
        super().__init__()
        self.event_shape, self.network, self.tolerance = torch.Size((dims,)), network, tolerance

    def run(self, x, start, end, probe=None):
        from torchdiffeq import odeint

        def field(t, state):
            with torch.enable_grad():
                at = state[0].requires_grad_()
                slope = self.network(torch.cat([at, t.expand(len(at), 1)], 1))
                if probe is None:  # the exact trace, entry by entry
                    rows = (torch.autograd.grad(s.sum(), at, create_graph=True)[0] for s in slope.unbind(1))
                    return slope, sum(row[:, i] for i, row in enumerate(rows))
                (product,) = torch.autograd.grad((slope * probe).sum(), at, create_graph=True)
                return slope, (product * probe).sum(1)

        times = torch.tensor([start, end], dtype=x.dtype)
        z, log_det = odeint(field, (x, x.new_zeros(len(x))), times, atol=self.tolerance, rtol=self.tolerance)
        return z[1], log_det[1]

    def forward(self, x, context=None):
        return self.run(x, 0.0, 1.0)

    def inverse(self, z, context=None):
        return self.run(z, 1.0, 0.0)
