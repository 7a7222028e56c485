"""The doors of flows for test_doors: of each what is called, and its arguments."""

import torch

from lvmlib import flows


def network(maker, **sizes):
    return maker(**sizes)(2, 4)


coupling = {"event_shape": (4,), "context": 3}
masked = {"event_shape": (4,), "hidden": (8, 8), "context": 3}
parts = {"components": 3}
FLOWS = {
    "ActNorm": (flows.ActNorm, {"event_shape": (2, 3)}),
    "AdditiveCoupling": (flows.AdditiveCoupling, coupling),
    "Affine": (flows.Affine, {"event_shape": (2,)}),
    "AffineCoupling": (flows.AffineCoupling, {**coupling, "bound": 0.5}),
    "ContinuousFlow": (flows.ContinuousFlow, {**coupling, "tolerance": 0.5, "steps": 3}),
    "Coupling": (lambda **o: flows.Coupling(element=flows.Shift(), **o), coupling),
    "Dequantize": (
        lambda **o: flows.Dequantize(**o).posterior(torch.ones(2, 2, 3)).sample(),
        {"event_shape": (2, 3), "levels": 4},
    ),
    "Elementwise": (
        lambda **o: flows.Elementwise("leaky_relu", **o)(-torch.ones(2, 3))[1],
        {"event_shape": (3,), "slope": 0.5},
    ),
    "InverseAutoregressive": (flows.InverseAutoregressive, masked),
    "Invertible1x1Conv": (flows.Invertible1x1Conv, {"event_shape": (2, 4, 4)}),
    "Logit": (lambda alpha: flows.Logit(alpha)(torch.full((2, 3), 0.5))[1], {"alpha": 0.25}),
    "MaskedAutoregressive": (flows.MaskedAutoregressive, masked),
    "MixtureCDF": (flows.MixtureCDF, {"event_shape": (2,), **parts}),
    "MixtureLogistic": (lambda **o: torch.ones(flows.MixtureLogistic(**o).size), parts),
    "MixtureLogisticCoupling": (flows.MixtureLogisticCoupling, {**coupling, **parts}),
    "Reverse": (flows.Reverse, {"count": 4}),
    "Scale": (lambda bound: torch.tensor(flows.Scale(bound).bound), {"bound": 0.5}),
    "Standardise": (lambda bound: torch.tensor(flows.Standardise(bound).bound), {"bound": 0.5}),
    "Spline": (lambda **o: torch.ones(flows.Spline(**o).size) * flows.Spline(**o).bound, {"bins": 4, "bound": 0.5}),
    "SplineCoupling": (flows.SplineCoupling, {**coupling, "bins": 4, "bound": 0.5}),
    "Split": (lambda **o: flows.Split(rest=flows.ActNorm((1, 4, 4)), **o), {"event_shape": (2, 4, 4), "context": 3}),
    "Squeeze": (lambda **o: flows.Squeeze(**o)(torch.ones(2, 1, 4, 6))[0], {"event_shape": (1, 4, 6)}),
    "VariationalDequantize": (
        lambda **o: flows.VariationalDequantize(noise=flows.nice((2,), 1, (4,)), **o),
        {"event_shape": (2,), "levels": 4},
    ),
    "attention": (lambda **o: network(flows.attention, **o), {"channels": 4, "blocks": 1, "heads": 2}),
    "bottleneck": (lambda **o: network(flows.bottleneck, **o), {"channels": 4}),
    "convolutions": (lambda **o: network(flows.convolutions, **o), {"channels": 4, "blocks": 1}),
    "perceptron": (lambda **o: network(flows.perceptron, **o), {"hidden": (4, 4)}),
    "nice": (flows.nice, {**masked, "layers": 2}),
    "maf": (flows.maf, {**masked, "layers": 2}),
    "iaf": (flows.iaf, {**masked, "layers": 2}),
    "nsf": (flows.nsf, {**masked, "layers": 2, "bins": 4, "bound": 0.5}),
    "ffjord": (flows.ffjord, {**masked, "layers": 2, "steps": 3, "tolerance": 0.5}),
    "realnvp": (
        flows.realnvp,
        {"event_shape": (1, 4, 4), "layers": 1, "hidden": (4,), "scales": 2, "channels": 4, "context": 3},
    ),
    "glow": (flows.glow, {"event_shape": (1, 4, 4), "scales": 2, "steps": 1, "channels": 4, "context": 3}),
    "flowpp": (
        flows.flowpp,
        {"event_shape": (4,), "layers": 1, **parts, "hidden": (4,), "channels": 4, "context": 3},
    ),
}
