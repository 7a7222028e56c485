"""Models of pictures, drawn pixel by pixel, and what is built around them."""

from lvmlib.autoregressive.pixel.code_map import CodeMap
from lvmlib.autoregressive.pixel.colourisation import Colourisation
from lvmlib.autoregressive.pixel.gated_pixelcnn import GatedPixelCNN
from lvmlib.autoregressive.pixel.hierarchical import HierarchicalPixelModel
from lvmlib.autoregressive.pixel.inpainting import Inpainting
from lvmlib.autoregressive.pixel.masked_conv import MaskedConv2d
from lvmlib.autoregressive.pixel.multi_scale import MultiScale
from lvmlib.autoregressive.pixel.pixelcnn import PixelCNN
from lvmlib.autoregressive.pixel.pixelcnnpp import PixelCNNpp
from lvmlib.autoregressive.pixel.pixelrnn import PixelRNN
from lvmlib.autoregressive.pixel.pixelsnail import PixelSNAIL
from lvmlib.autoregressive.pixel.super_resolution import SuperResolution

__all__ = [
    "CodeMap",
    "Colourisation",
    "GatedPixelCNN",
    "HierarchicalPixelModel",
    "Inpainting",
    "MaskedConv2d",
    "MultiScale",
    "PixelCNN",
    "PixelCNNpp",
    "PixelRNN",
    "PixelSNAIL",
    "SuperResolution",
]
