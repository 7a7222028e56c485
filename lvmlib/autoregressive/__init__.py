"""Models whose likelihood is exact because they draw one position after another."""

from lvmlib.autoregressive.autoregressive import Autoregressive, raster_order
from lvmlib.autoregressive.fvsbn import FVSBN

__all__ = [
    "FVSBN",
    "Autoregressive",
    "raster_order",
]
