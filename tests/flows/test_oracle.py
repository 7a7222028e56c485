"""The same weights in an independent library give the same log-probabilities."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import AffineTransform

from lvmlib.chain import Flow
from lvmlib.distributions import StandardNormal
from lvmlib.flows import AffineCoupling, MaskedAutoregressive, Reverse, Spline, SplineCoupling, perceptron
from tests.flows.flow_cases import perturbed

zuko = pytest.importorskip("zuko")
from zuko.distributions import DiagNormal, NormalizingFlow  # noqa: E402
from zuko.transforms import (  # noqa: E402
    AutoregressiveTransform,
    ComposedTransform,
    CouplingTransform,
    DependentTransform,
    MonotonicRQSTransform,
    PermutationTransform,
)

DIMS, HIDDEN = 6, (16, 16)


def scale_and_shift(parameters, standardise=False):
    """zuko's map of each entry from our two numbers for it."""
    shift, raw = parameters.unbind(1)
    scale = (2 * torch.tanh(raw / 2)).exp()
    map_ = AffineTransform(-shift / scale, 1 / scale) if standardise else AffineTransform(shift, scale)
    return DependentTransform(map_, 1)


def spline(parameters, bins=8):
    """zuko's spline, told of the knots and slopes that ours has."""
    widths, heights, slopes = parameters.movedim(1, 2).split([bins, bins, bins - 1], 2)
    knots = MonotonicRQSTransform(widths, heights, slopes, bound=5.0)

    def ends(raw):
        shares = 1e-3 + (1 - 1e-3 * bins) * raw.softmax(2)
        return nn.functional.pad(10 * shares.cumsum(2) - 5, (1, 0), value=-5)

    inner = 1e-3 + nn.functional.softplus(slopes + math.log(math.expm1(1 - 1e-3)))
    knots.horizontal, knots.vertical = ends(widths), ends(heights)
    knots.derivatives = nn.functional.pad(inner, (1, 1), value=1)
    return DependentTransform(knots, 1)


def as_zuko(flow):
    parts = []
    for layer in flow.layers:
        element = getattr(layer, "element", None)
        univariate = spline if isinstance(element, Spline) else scale_and_shift
        if isinstance(layer, Reverse):
            parts.append(PermutationTransform(layer.order))
        elif isinstance(layer, MaskedAutoregressive):

            def of_all(x, layer=layer, univariate=univariate):
                out = layer.net(x)
                return spline(out) if univariate is spline else scale_and_shift(out, standardise=True)

            parts.append(AutoregressiveTransform(of_all, passes=DIMS))
        else:

            def of_rest(kept, layer=layer, univariate=univariate):
                return univariate(layer.network(kept).view(len(kept), layer.element.size, -1))

            parts.append(CouplingTransform(of_rest, layer.mask))
    return NormalizingFlow(ComposedTransform(*parts), DiagNormal(torch.zeros(DIMS).double(), torch.ones(DIMS).double()))


def flow_of(layers):
    return perturbed(Flow(layers, StandardNormal((DIMS,))), 0.2).double()


FLOWS = {
    "coupling": lambda: [AffineCoupling((DIMS,), perceptron(HIDDEN), swap=i % 2 == 1) for i in range(4)],
    "coupling, every other": lambda: [
        AffineCoupling((DIMS,), perceptron(HIDDEN), "checkerboard", i > 0) for i in (0, 1)
    ],
    "spline coupling": lambda: [SplineCoupling((DIMS,), perceptron(HIDDEN), swap=i % 2 == 1) for i in range(4)],
    "maf": lambda: [MaskedAutoregressive((DIMS,), HIDDEN), Reverse(DIMS), MaskedAutoregressive((DIMS,), HIDDEN)],
    "spline maf": lambda: [MaskedAutoregressive((DIMS,), HIDDEN, Spline()), Reverse(DIMS)],
}


@pytest.mark.parametrize("name", FLOWS)
def test_log_probabilities_are_those_of_zuko(name):
    torch.manual_seed(0)
    ours = flow_of(FLOWS[name]())
    theirs, x = as_zuko(ours), 2 * torch.randn(50, DIMS).double()
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-8, atol=1e-8)
    z = ours.trace(x).z[0]
    torch.testing.assert_close(ours.decode(z), theirs.transform.inv(z), rtol=1e-6, atol=1e-6)


def test_weights_of_a_zuko_maf_give_its_log_probabilities_in_ours():
    """Masks, degrees and all from there: only the arithmetic of the layer is ours."""
    torch.manual_seed(0)

    def univariate(shift, raw):
        scale = (2 * torch.tanh(raw / 2)).exp()
        return AffineTransform(-shift / scale, 1 / scale)

    theirs = zuko.flows.MAF(DIMS, transforms=1, hidden_features=HIDDEN, univariate=univariate, shapes=[(), ()]).double()
    net = theirs.transform.transforms[0].hyper
    layers = [part for part in net if hasattr(part, "mask")]
    ours = MaskedAutoregressive((DIMS,), HIDDEN).double()
    with torch.no_grad():
        for mine, part in zip(ours.net.layers, layers):
            mine.weight.copy_(part.weight), mine.bias.copy_(part.bias)
            mine.mask = part.mask.double()
        rows = torch.arange(2 * DIMS).view(DIMS, 2).T.flatten()  # theirs: entry by entry; ours: parameter by parameter
        ours.net.output.weight.copy_(layers[-1].weight[rows]), ours.net.output.bias.copy_(layers[-1].bias[rows])
        ours.net.output.mask = layers[-1].mask[rows][:DIMS].double()
    x = torch.randn(20, DIMS).double()
    flow = Flow([ours], StandardNormal((DIMS,))).double()
    torch.testing.assert_close(flow.log_prob(x), theirs().log_prob(x), rtol=1e-8, atol=1e-8)
