"""What tells a pixel model of codes on a coarser grid: a map of features made from their embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.families import CategoricalFamily
from lvmlib.autoregressive.reading import read_context
from lvmlib.autoregressive.tokens import TokenEmbedding
from lvmlib.checks import check_batch, check_counts, check_sizes


class CodeMap(nn.Module):
    """Codes on a grid as a map of features on a finer one, for a pixel model whose context is a map.

    Each code enters as a learned vector: a code is a name, and code 7 is no larger than code 3.

    Args:
        event_shape: of the codes, (1, h, w).
        levels: number of codes.
        features: of the map, F.
        scale: how many times finer the map is.
        context: number of classes or entries of a context vector, which is added to all places; None for none.

    Raises:
        ValueError: codes that are no grid, or sizes below 1.

    Example:
        >>> import torch
        >>> from lvmlib import CodeMap, GatedPixelCNN, Given
        >>> sizes = {"channels": 8, "layers": 1, "levels": 32}
        >>> fine = GatedPixelCNN((1, 4, 4), **sizes, embedding=True, context=(6, 4, 4))
        >>> told = Given(fine, CodeMap((1, 2, 2), levels=16, features=6))
        >>> told.sample(3, torch.tensor([[[[0, 7], [15, 3]]]]).expand(3, -1, -1, -1)).shape
        torch.Size([3, 1, 4, 4])

    Source: Razavi, van den Oord & Vinyals 2019, *Generating Diverse High-Fidelity Images with VQ-VAE-2*, section 3.2.
    """

    def __init__(
        self, event_shape: Sequence[int], levels: int, features: int, scale: int = 2, context: int | None = None
    ):
        super().__init__()
        self.event_shape = check_sizes(event_shape)
        if len(self.event_shape) != 3 or self.event_shape[0] != 1:
            raise ValueError(f"CodeMap takes codes of shape (1, h, w), but event_shape is {tuple(self.event_shape)}.")
        levels, features, self.scale = check_counts(levels=levels, features=features, scale=scale)
        self.values = TokenEmbedding(features, CategoricalFamily(levels))
        self.coarse = nn.Conv2d(features, features, 3, padding=1)
        self.fine = nn.Conv2d(features, features, 3, padding=1)
        self.context_shape: torch.Size | None = None
        self.context_map = None
        if context is not None:
            self.context_shape = check_sizes((context,), "context")
            self.context_map = nn.Linear(self.context_shape[0], features, bias=False)

    def forward(self, codes: Tensor, context: Tensor | None = None) -> Tensor:
        """Codes [B, 1, h, w], and a context [B, C] or class labels [B] -> [B, F, scale * h, scale * w]."""
        check_batch(codes, self.event_shape, "codes")
        maps = self.values(codes[:, 0]).movedim(-1, 1)  # [B, F, h, w]
        context = read_context(context, self.context_shape, len(codes), type(self).__name__)
        if context is not None and self.context_map is not None:
            maps = maps + self.context_map(context.to(maps.dtype))[:, :, None, None]
        maps = F.interpolate(self.coarse(F.silu(maps)), scale_factor=self.scale, mode="nearest")
        return self.fine(F.silu(maps))
