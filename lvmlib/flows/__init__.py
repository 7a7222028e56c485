"""Flows: bijections from data to noise, each of which pays its log-determinant."""

from lvmlib.flows.actnorm import ActNorm
from lvmlib.flows.affine import Affine
from lvmlib.flows.autoregressive import InverseAutoregressive, MaskedAutoregressive
from lvmlib.flows.builders import ffjord, iaf, maf, nice, nsf
from lvmlib.flows.conditioners import bottleneck, convolutions, perceptron
from lvmlib.flows.continuous import ContinuousFlow
from lvmlib.flows.convolution import Invertible1x1Conv
from lvmlib.flows.coupling import AdditiveCoupling, AffineCoupling, Coupling, SplineCoupling
from lvmlib.flows.dequantize import Dequantize
from lvmlib.flows.elements import Element, Scale, Shift, Standardise
from lvmlib.flows.elementwise import Elementwise, Logit
from lvmlib.flows.flowpp import MixtureLogisticCoupling, attention
from lvmlib.flows.mixture import MixtureLogistic
from lvmlib.flows.mixture_cdf import MixtureCDF
from lvmlib.flows.multi_scale import flowpp, glow, realnvp
from lvmlib.flows.permutation import Permutation, Reverse
from lvmlib.flows.spline import Spline
from lvmlib.flows.split import Split
from lvmlib.flows.squeeze import Squeeze
from lvmlib.flows.variational import VariationalDequantize

__all__ = [
    "ActNorm",
    "AdditiveCoupling",
    "Affine",
    "AffineCoupling",
    "ContinuousFlow",
    "Coupling",
    "Dequantize",
    "Element",
    "Elementwise",
    "InverseAutoregressive",
    "Invertible1x1Conv",
    "Logit",
    "MaskedAutoregressive",
    "MixtureCDF",
    "MixtureLogistic",
    "MixtureLogisticCoupling",
    "Permutation",
    "Reverse",
    "Scale",
    "Shift",
    "Spline",
    "SplineCoupling",
    "Split",
    "Squeeze",
    "Standardise",
    "VariationalDequantize",
    "attention",
    "bottleneck",
    "convolutions",
    "ffjord",
    "flowpp",
    "glow",
    "iaf",
    "maf",
    "nice",
    "nsf",
    "perceptron",
    "realnvp",
]
