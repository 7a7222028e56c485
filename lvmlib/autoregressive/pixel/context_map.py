"""What tells a pixel model of something given: a map of features as large as its pictures."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from lvmlib.autoregressive.autoregressive import Autoregressive
from lvmlib.base import Given
from lvmlib.checks import check_count, check_counts


def map_shape(model: Autoregressive) -> tuple[int, int, int]:
    """(F, H, W) of the map that a pixel model was built to take; raises `ValueError` where it takes none."""
    shape = model.context_shape
    if shape is None or len(shape) != 3 or shape[1:] != model.event_shape[1:]:
        wanted = ", ".join(str(size) for size in model.event_shape[1:])
        raise ValueError(
            f"The pixel model must be built with a map as context, context=(features, {wanted}), but its context "
            f"is {None if shape is None else tuple(shape)}."
        )
    return shape[0], shape[1], shape[2]


def looking_everywhere(inputs: int, width: int, layers: int, outputs: int) -> nn.Sequential:
    """Convolutions without masks, for what is given: [B, inputs, H, W] -> [B, outputs, H, W].

    Each of the `layers` has twice the dilation of the one before, so that four of them see 16 pixels to every side.
    """
    (width,), layers = check_counts(width=width), check_count(layers, "layers", "", least=0)
    blocks: list[nn.Module] = [nn.Conv2d(inputs, width, 3, padding=1)]
    for layer in range(layers):
        blocks += [nn.SiLU(), nn.Conv2d(width, width, 3, padding=2**layer, dilation=2**layer)]
    return nn.Sequential(*blocks, nn.SiLU(), nn.Conv2d(width, outputs, 1))


class GivenMap(Given):
    """A pixel model that is told of something through a map of features, made by a network.

    Args:
        model: a pixel model built with ``context=(F, H, W)``.
        features: maps what is told to [B, F, H, W].
    """

    def __init__(self, model: Autoregressive, features: nn.Module):
        super().__init__(model, features)
        # Weights can be loaded that were saved when the parts had their names of here.
        self.register_load_state_dict_pre_hook(_rename)

    @property
    def model(self) -> Autoregressive:
        """The pixel model."""
        return cast("Autoregressive", self.density)

    @property
    def features(self) -> nn.Module:
        """What makes the map of features."""
        return self.network


def _rename(_: nn.Module, weights: dict[str, Any], prefix: str, *rest: Any) -> None:
    for old, new in (("model.", "density."), ("features.", "network.")):
        for key in [key for key in weights if key.startswith(prefix + old)]:
            weights[prefix + new + key.removeprefix(prefix + old)] = weights.pop(key)
