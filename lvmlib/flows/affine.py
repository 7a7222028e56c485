"""Affine maps of whole vectors: the simplest flows, and the whitening of data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lvmlib.base import Transform
from lvmlib.flows.door import check_input, check_vector


class Affine(Transform):
    r"""z = A x + b with a learned matrix and shift.

    .. math:: \log \left| \det \frac{\partial z}{\partial x} \right| = \log \lvert \det A \rvert

    A *full* matrix costs :math:`O(D^3)` for the determinant and again for its gradient; a *triangular* one, and a
    product of triangular ones, *lu*, pay the sum of the logarithms of a diagonal, :math:`O(D)`.

    Args:
        event_shape: (D,).
        kind: "full"; "triangular", lower with a positive diagonal; or "lu", see `LU`.

    Raises:
        ValueError: an event that is no vector, an unknown kind. On the way: a matrix that became singular.

    Example:
        >>> import torch
        >>> from lvmlib import Affine
        >>> z, log_det = Affine((3,), "triangular")(torch.ones(5, 3))
        >>> z.shape, log_det.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(self, event_shape: Sequence[int], kind: str = "full"):
        super().__init__()
        kinds = {"full": Full, "triangular": Triangular, "lu": LU}
        if kind not in kinds:
            raise ValueError(f"kind must be 'full', 'triangular' or 'lu', but it is {kind!r}.")
        self.event_shape = check_vector("Affine", event_shape)
        self.matrix: Full | Triangular | LU = kinds[kind](self.event_shape[0])  # type: ignore[assignment]
        self.shift = nn.Parameter(torch.zeros(self.event_shape))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, x)
        return torch.addmm(self.shift, x, self.matrix.whole().t()), self.matrix.log_det().expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_input(self, z, latent=True)
        log_det = self.matrix.log_det()  # first, for it knows a singular matrix
        return self.matrix.solve((z - self.shift).t()).t(), -log_det.expand(len(z))


class Full(nn.Module):
    """A matrix without structure, [D, D]; the identity at first.

    Example:
        >>> from lvmlib.flows.affine import Full
        >>> Full(2).log_det()
        tensor(0., grad_fn=<LinalgSlogdetBackward0>)
    """

    def __init__(self, dims: int):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dims))

    def whole(self) -> Tensor:
        """The matrix itself."""
        return self.weight

    def log_det(self) -> Tensor:
        """Log of the absolute value of the determinant, a scalar."""
        value = torch.linalg.slogdet(self.weight)[1]
        if not torch.compiler.is_compiling() and not bool(value.isfinite()):
            raise ValueError("The matrix of an Affine layer is singular, or no longer finite; it has no inverse.")
        return value

    def solve(self, y: Tensor) -> Tensor:
        """x of A x = y, for columns y [D, B]."""
        return torch.linalg.solve(self.weight, y)


class Triangular(nn.Module):
    """A lower triangular matrix with a positive diagonal, [D, D]; the identity at first.

    Example:
        >>> from lvmlib.flows.affine import Triangular
        >>> Triangular(2).whole()
        tensor([[1., 0.],
                [0., 1.]], grad_fn=<AddBackward0>)
    """

    def __init__(self, dims: int):
        super().__init__()
        self.lower, self.log_diagonal = nn.Parameter(torch.zeros(dims, dims)), nn.Parameter(torch.zeros(dims))

    def whole(self) -> Tensor:
        """The matrix itself."""
        return self.lower.tril(-1) + self.log_diagonal.exp().diag_embed()

    def log_det(self) -> Tensor:
        """Log of the determinant, a scalar."""
        return self.log_diagonal.sum()

    def solve(self, y: Tensor) -> Tensor:
        """x of A x = y, for columns y [D, B]."""
        return torch.linalg.solve_triangular(self.whole(), y, upper=False)


class LU(nn.Module):
    r"""A matrix kept as the product of a permutation and two triangular ones; a random rotation at first.

    .. math:: A = P L (U + \operatorname{diag}(s)), \qquad \log \lvert \det A \rvert = \sum_i \log |s_i|

    L has ones on its diagonal, U zeros. P and the signs of s stay as they were drawn.

    Args:
        dims: number of entries, D.

    Example:
        >>> from lvmlib.flows.affine import LU
        >>> bool(LU(3).log_det().abs() < 1e-5)           # a rotation keeps volumes
        True

    Source: Kingma & Dhariwal 2018, *Glow*, section 3.2.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, dims: int):
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(dims, dims))[0]
        p, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("permutation", p)
        self.register_buffer("sign", upper.diagonal().sign())
        self.lower, self.upper = nn.Parameter(lower.tril(-1)), nn.Parameter(upper.triu(1))
        self.log_size = nn.Parameter(upper.diagonal().abs().log())

    def factors(self) -> tuple[Tensor, Tensor]:
        """L and U + diag(s), [D, D] each."""
        ones = torch.ones_like(self.log_size).diag_embed()
        return self.lower.tril(-1) + ones, self.upper.triu(1) + (self.sign * self.log_size.exp()).diag_embed()

    def whole(self) -> Tensor:
        """The matrix itself."""
        lower, upper = self.factors()
        return self.permutation @ lower @ upper

    def log_det(self) -> Tensor:
        """Log of the absolute value of the determinant, a scalar."""
        return self.log_size.sum()

    def solve(self, y: Tensor) -> Tensor:
        """x of A x = y, for columns y [D, B]."""
        lower, upper = self.factors()
        y = torch.linalg.solve_triangular(lower, self.permutation.t() @ y, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, y, upper=True)
