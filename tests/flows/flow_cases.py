"""Every transform of the library, small: what the tests of flows are run on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from lvmlib.base import Transform
from lvmlib.chain import Chain, Inverse
from lvmlib.flows import (
    ActNorm,
    AdditiveCoupling,
    Affine,
    AffineCoupling,
    ContinuousFlow,
    Elementwise,
    InverseAutoregressive,
    Invertible1x1Conv,
    Logit,
    MaskedAutoregressive,
    MixtureCDF,
    MixtureLogisticCoupling,
    Permutation,
    Reverse,
    SplineCoupling,
    Split,
    Squeeze,
    attention,
    bottleneck,
    convolutions,
    perceptron,
)
from lvmlib.flows.spline import Spline

SMALL, CONV = perceptron((8,), nn.Tanh), convolutions(4, 1)
SMOOTH = perceptron((6,), nn.Tanh)
VECTOR, PICTURE = (5,), (2, 4, 4)


@dataclass
class Case:
    """A transform, the shape of its data, and from where they come."""

    make: Callable[[], Transform]
    shape: tuple[int, ...] = VECTOR
    context: int | None = None
    data: str = "real"  # or "unit", "ball", "positive"
    far: bool = True  # takes 1e4

    def draw(self, n: int, **how) -> torch.Tensor:
        x = torch.randn(n, *self.shape, **how)
        return {"real": x, "unit": x.sigmoid(), "ball": x.tanh(), "positive": x.exp()}[self.data]

    def draw_context(self, n: int, **how) -> torch.Tensor | None:
        return None if self.context is None else torch.randn(n, self.context, **how)


def spline(**how):
    return MaskedAutoregressive(VECTOR, (8,), Spline(4, 3.0), activation=nn.Tanh, **how)


CASES = {
    "affine, full": Case(lambda: Affine(VECTOR)),
    "affine, triangular": Case(lambda: Affine(VECTOR, "triangular")),
    "affine, lu": Case(lambda: Affine(VECTOR, "lu")),
    "sigmoid": Case(lambda: Elementwise("sigmoid")),
    "logit": Case(lambda: Elementwise("logit", VECTOR), data="unit", far=False),
    "tanh": Case(lambda: Elementwise("tanh", PICTURE), PICTURE),
    "atanh": Case(lambda: Elementwise("atanh", VECTOR), data="ball", far=False),
    "softplus": Case(lambda: Elementwise("softplus", VECTOR)),
    "leaky relu": Case(lambda: Elementwise("leaky_relu", VECTOR)),
    "logit with room": Case(lambda: Logit(0.05), data="unit", far=False),
    "permutation": Case(lambda: Permutation([3, 0, 4, 1, 2])),
    "permutation, drawn": Case(lambda: Permutation(5)),
    "reverse": Case(lambda: Reverse(2), PICTURE),
    "actnorm of vectors": Case(lambda: ActNorm(VECTOR)),
    "actnorm of pictures": Case(lambda: ActNorm(PICTURE), PICTURE),
    "additive coupling": Case(lambda: AdditiveCoupling(VECTOR, SMALL)),
    "additive coupling of pictures": Case(lambda: AdditiveCoupling(PICTURE, CONV, "checkerboard"), PICTURE),
    "affine coupling": Case(lambda: AffineCoupling(VECTOR, SMALL)),
    "affine coupling, swapped": Case(lambda: AffineCoupling(VECTOR, SMALL, swap=True)),
    "affine coupling, every other": Case(lambda: AffineCoupling(VECTOR, SMALL, "checkerboard", context=3), context=3),
    "affine coupling, own mask": Case(lambda: AffineCoupling(VECTOR, SMALL, torch.tensor([1, 0, 0, 1, 1]))),
    "affine coupling, board": Case(lambda: AffineCoupling(PICTURE, CONV, "checkerboard", True, 3), PICTURE, 3),
    "affine coupling, channels": Case(lambda: AffineCoupling(PICTURE, bottleneck(4), "channel", context=2), PICTURE, 2),
    "spline coupling": Case(lambda: SplineCoupling(VECTOR, SMALL, bins=4, bound=3.0, context=2), context=2),
    "spline coupling of pictures": Case(lambda: SplineCoupling(PICTURE, CONV, "channel", bins=4), PICTURE),
    "masked autoregressive": Case(lambda: MaskedAutoregressive(VECTOR, (8, 8), activation=nn.Tanh)),
    "masked autoregressive, told": Case(
        lambda: MaskedAutoregressive(VECTOR, (8,), context=2, order=[4, 1, 3, 0, 2], activation=nn.Tanh), context=2
    ),
    "masked autoregressive spline": Case(spline),
    "inverse autoregressive": Case(
        lambda: InverseAutoregressive(VECTOR, (8,), context=2, activation=nn.Tanh), context=2
    ),
    "inverse autoregressive spline": Case(
        lambda: InverseAutoregressive(VECTOR, (8,), Spline(4, 3.0), activation=nn.Tanh)
    ),
    "invertible 1x1 convolution": Case(lambda: Invertible1x1Conv((4, 2, 3)), (4, 2, 3)),
    "squeeze": Case(lambda: Squeeze(PICTURE), PICTURE),
    "split": Case(lambda: Split(PICTURE, AffineCoupling((1, 4, 4), CONV, "checkerboard"), CONV), PICTURE),
    "split, told": Case(
        lambda: Split(PICTURE, Chain([Squeeze((1, 4, 4)), Invertible1x1Conv((4, 2, 2))]), CONV, 2), PICTURE, 2
    ),
    "mixture of gaussians": Case(lambda: MixtureCDF(VECTOR, 3)),
    "mixture of logistics": Case(lambda: MixtureCDF((2, 3), 4, "logistic"), (2, 3)),
    "mixture coupling": Case(lambda: MixtureLogisticCoupling(VECTOR, SMALL, context=2, components=3), context=2),
    "mixture coupling of pictures": Case(
        lambda: MixtureLogisticCoupling(PICTURE, attention(4, 1, 2), "checkerboard", True, 2, 2), PICTURE, 2
    ),
    "continuous": Case(lambda: ContinuousFlow((3,), SMOOTH, "exact", tolerance=1e-10, context=2), (3,), 2),
    "continuous, fixed steps": Case(lambda: ContinuousFlow((2,), SMOOTH, method="rk4", steps=32), (2,)),
    "a chain": Case(lambda: Chain([AffineCoupling(VECTOR, SMALL), Reverse(5), AffineCoupling(VECTOR, SMALL)])),
    "the inverse of a softplus": Case(lambda: Inverse(Elementwise("softplus", VECTOR)), data="positive"),
}


def perturbed(module, by: float = 0.3):
    """Away from the start, where many maps are nearly the identity."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(by * torch.randn_like(p))
    return module


def made(name: str, dtype=torch.float64):
    torch.manual_seed(0)
    case = CASES[name]
    x, context = case.draw(3, dtype=dtype), case.draw_context(3, dtype=dtype)
    return perturbed(case.make()).to(dtype), x, context
