"""What pixel models share: pictures as events, contexts that are vectors or maps, and coordinates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.autoregressive import Autoregressive
from lvmlib.autoregressive.pixel.masked_conv import in_rows, plus
from lvmlib.autoregressive.tokens import TokenEmbedding
from lvmlib.checks import check_sizes


class PixelModel(Autoregressive):
    """What pixel models share: pictures as events, contexts that are vectors or maps, and coordinates.

    Args:
        event_shape: (C, H, W).
        levels, logistics: see `Autoregressive`.
        context: number of classes or entries of a context vector, or the shape (c, H, W) of a map.
        embedding: how many features stand for a level that is a code; 0 where levels are magnitudes.

    Raises:
        ValueError: another kind of event or context.
    """

    planes: Tensor

    def __init__(
        self,
        event_shape: Sequence[int],
        levels: int = 2,
        logistics: int = 0,
        context: int | Sequence[int] | None = None,
        embedding: int = 0,
    ):
        name, event_shape = type(self).__name__, check_sizes(event_shape)
        if len(event_shape) != 3:
            raise ValueError(f"{name} models pictures of shape (C, H, W), but event_shape is {tuple(event_shape)}.")
        super().__init__(event_shape, levels, logistics, context)
        self.colours, self.height, self.width = self.event_shape
        if embedding and logistics:
            raise ValueError("embedding=True says that levels are codes, but a mixture of logistics takes magnitudes.")
        self.values = TokenEmbedding(embedding, self.family) if embedding else None
        self.inputs = self.colours * max(1, embedding)  # features of a pixel in the picture that the layers see
        shape = self.context_shape
        if shape is not None and len(shape) != 1 and (len(shape) != 3 or shape[1:] != self.event_shape[1:]):
            raise ValueError(
                f"The context of {name} must be a vector or a map of shape (c, {self.height}, {self.width}), "
                f"but it is {tuple(shape)}."
            )

    def encode(self, x: Tensor) -> Tensor:
        """Levels [B, C, ...] as numbers in [-1, 1] [B, C, ...], or codes as features [B, C * features, ...]."""
        if self.values is None:
            return super().encode(x)
        return self.values(x).movedim(-1, 2).flatten(1, 2)  # those of a colour one after another

    def add_maps(self, sizes: list[int], positions: bool) -> None:
        """Make the 1x1 convolutions from the context, and from two planes of coordinates, to features in some places.

        They have no bias, so that a context of zeros is no context.

        Args:
            sizes: how many features each place has.
            positions: whether the coordinates are added.
        """
        self.sizes, self.context_map, self.position_map = sizes, None, None
        if self.context_shape is not None:
            self.context_map = nn.Conv2d(self.context_shape[0], sum(sizes), 1, bias=False)
        if positions:
            self.position_map = nn.Conv2d(2, sum(sizes), 1, bias=False)
        rows, columns = (torch.linspace(-1, 1, side) for side in (self.height, self.width))
        self.register_buffer(
            "planes", torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None], persistent=False
        )

    def added(self, context: Tensor | None) -> Iterator[Tensor | None]:
        """What context and coordinates add, place by place: maps [B or 1, features, H or 1, W or 1], or None.

        They are computed when they are asked for: those of all layers together would fill more memory than the layers.
        """
        maps = context[:, :, None, None] if context is not None and context.dim() == 2 else context
        maps = None if maps is None else in_rows(maps)
        here = None if self.position_map is None else self.position_map.weight.split(self.sizes)
        told = None if maps is None or self.context_map is None else self.context_map.weight.split(self.sizes)
        for place in range(len(self.sizes)):
            extra = None if here is None else in_rows(F.conv2d(self.planes, here[place]))
            if maps is not None and told is not None:
                extra = plus(F.conv2d(maps, told[place]), extra)
            yield extra

    def parameters_map(self, outputs: Tensor) -> Tensor:
        """[B, C * P, H, W], the parameters of a colour one after another -> [B, P, C, H, W]."""
        return outputs.unflatten(1, (self.colours, self.family.size)).transpose(1, 2)


def rows_known(model: Autoregressive, known: int) -> tuple[int, int]:
    """How many rows the first `known` positions fill, and how many positions these rows have."""
    colours, _, width = model.event_shape
    rows = known // (colours * width)
    return rows, rows * colours * width
