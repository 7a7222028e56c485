"""Models whose likelihood is exact because they draw one position after another."""

from lvmlib.autoregressive.autoregressive import Autoregressive, raster_order
from lvmlib.autoregressive.colourisation import Colourisation
from lvmlib.autoregressive.fvsbn import FVSBN
from lvmlib.autoregressive.gated_pixelcnn import GatedPixelCNN
from lvmlib.autoregressive.hierarchical import HierarchicalPixelModel
from lvmlib.autoregressive.inpainting import Inpainting
from lvmlib.autoregressive.made import MADE, OrderingMixture
from lvmlib.autoregressive.masked_conv import MaskedConv2d
from lvmlib.autoregressive.multi_scale import MultiScale
from lvmlib.autoregressive.patch_transformer import PatchTransformer
from lvmlib.autoregressive.pixelcnn import PixelCNN
from lvmlib.autoregressive.pixelcnnpp import PixelCNNpp
from lvmlib.autoregressive.pixelrnn import PixelRNN
from lvmlib.autoregressive.pixelsnail import PixelSNAIL
from lvmlib.autoregressive.rnn import RNN
from lvmlib.autoregressive.super_resolution import SuperResolution
from lvmlib.autoregressive.transformer import CausalTransformer
from lvmlib.autoregressive.wavenet import WaveNet

__all__ = [
    "FVSBN",
    "MADE",
    "RNN",
    "Autoregressive",
    "CausalTransformer",
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
