"""Deep latent-variable and likelihood-based generative models, built from layers that each pay their share of log p."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lvmlib")
except PackageNotFoundError:  # imported from a folder that was never installed
    __version__ = "unknown"
