"""Networks that compute parameters: plain modules from tensors to tensors, without any probability in them."""

from lvmlib.networks.convolutional import ConvDecoder, ConvEncoder
from lvmlib.networks.masked import MaskedMLP
from lvmlib.networks.masked_linear import MaskedLinear
from lvmlib.networks.perceptron import MLP, join, planes

__all__ = ["MLP", "ConvDecoder", "ConvEncoder", "MaskedLinear", "MaskedMLP", "join", "planes"]
