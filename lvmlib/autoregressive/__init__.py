"""Models whose likelihood is exact because they draw one position after another."""

from lvmlib.autoregressive.autoregressive import Autoregressive
from lvmlib.autoregressive.fvsbn import FVSBN
from lvmlib.autoregressive.made import MADE, OrderingMixture
from lvmlib.autoregressive.patch_transformer import PatchTransformer
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
from lvmlib.autoregressive.reading import raster_order
from lvmlib.autoregressive.rnn import RNN
from lvmlib.autoregressive.transformer import CausalTransformer
from lvmlib.autoregressive.wavenet import WaveNet

__all__ = [
    "FVSBN",
    "MADE",
    "RNN",
    "Autoregressive",
    "CausalTransformer",
    "CodeMap",
    "Colourisation",
    "GatedPixelCNN",
    "HierarchicalPixelModel",
    "Inpainting",
    "MaskedConv2d",
    "MultiScale",
    "OrderingMixture",
    "PatchTransformer",
    "PixelCNN",
    "PixelCNNpp",
    "PixelRNN",
    "PixelSNAIL",
    "SuperResolution",
    "WaveNet",
    "raster_order",
]
