"""A transformer over patches of a picture, and a small masked network that draws the pixels of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive.attention import TransformerBlocks
from lvmlib.autoregressive.autoregressive import Autoregressive, Step
from lvmlib.autoregressive.reading import vector_size
from lvmlib.autoregressive.transformer import position_embedding
from lvmlib.autoregressive.watching import caught_up
from lvmlib.checks import check_counts, check_sizes
from lvmlib.networks import MaskedMLP


class PatchTransformer(Autoregressive):
    r"""A `CausalTransformer` whose tokens are patches of p x p pixels, drawn line by line.

    Attention costs the square of the number of tokens, and patches make them :math:`p^2` times fewer. The likelihood
    stays exact, because within a patch :math:`y_k` of m entries the chain rule goes on:

    .. math:: \log p(x) = \sum_k \sum_{j=1}^{m} \log p(y_{kj} \mid y_{k1}, \dots, y_{k,j-1}, s_k), \qquad
        s_k = \operatorname{transformer}(y_1, \dots, y_{k-1})

    The inner conditionals come from one `MaskedMLP`, the same for all patches, with the state :math:`s_k` [C] as its
    context.

    Cached sampling takes one step of the transformer for each patch, and for each pixel the few units of the masked
    network that have just become known.

    Args:
        event_shape: (C, H, W); H and W divisible by patch.
        patch: height and width of a patch, p.
        channels: width of a token.
        heads: of each block; a divisor of channels.
        layers: number of blocks.
        hidden: widths of the hidden layers of the masked network.
        kernel: of the causal convolution over patches that makes queries, keys and values; 1 is a linear map.
        positions: "axes", the sum of a learned vector for each row and column of patches; "table", one for each patch;
            "waves", sines and cosines.
        dropout: see `CausalTransformer`.
        levels: see `Autoregressive`; they are read as magnitudes, also by free tables.
        logistics, context: see `Autoregressive`.

    Raises:
        ValueError: an event shape that is not (C, H, W) or does not split into patches, and what `TransformerBlocks`
            and `MaskedMLP` stop.

    Example:
        >>> from lvmlib import PatchTransformer
        >>> model = PatchTransformer((1, 28, 28), patch=2)
        >>> model.patches  # the transformer's steps, for 784 pixels
        196

    Source: the tokens are those of Dosovitskiy et al. 2021, *An Image Is Worth 16x16 Words*; the inner network is
    Germain et al. 2015, *MADE*; a small model that finishes what a large one began is also in Yu et al. 2023,
    *MEGABYTE*.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        patch: int = 2,
        channels: int = 64,
        heads: int = 4,
        layers: int = 4,
        hidden: Sequence[int] = (64,),
        kernel: int = 1,
        positions: str = "axes",
        dropout: float = 0.0,
        levels: int = 2,
        logistics: int = 0,
        context: int | None = None,
    ):
        event_shape, patch, channels = check_sizes(event_shape), *check_counts(patch=patch, channels=channels)
        rows, columns = _split(event_shape, patch)
        super().__init__(event_shape, levels, logistics, context, order=patch_order(event_shape, patch))
        context = vector_size(self.context_shape, type(self).__name__)
        self.patches, self.entries = rows * columns, self.dims // (rows * columns)
        self.value = nn.Linear(self.entries, channels)
        self.place = position_embedding(positions, (rows, columns), channels)
        self.context_map = None if context is None else nn.Linear(context, channels, bias=False)
        self.blocks = TransformerBlocks(channels, heads, layers, kernel, dropout)
        self.inner = MaskedMLP(self.entries, hidden, self.family.size, context=channels, activation=nn.GELU)

    def places(self, context: Tensor | None) -> Tensor:
        """What is added to the tokens: [1 or B, patches, C]."""
        places = self.place()[None]
        if context is not None and self.context_map is not None:
            places = places + self.context_map(context)[:, None]
        return places

    def predict(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """One pass over the patches, moved back by one, and one over the pixels of all patches at once."""
        drawn = self.encode(x.flatten(1)[:, self.order]).unflatten(1, (self.patches, -1))  # [B, patches, m]
        states = self.blocks(self.tokens(drawn, context))  # [B, patches, C]
        outputs = self.inner(drawn.flatten(0, 1), states.flatten(0, 1))  # [B * patches, P, m]
        outputs = outputs.unflatten(0, (len(x), -1)).transpose(1, 2).flatten(2)  # [B, P, D]
        return outputs[:, :, self.order.argsort()].unflatten(2, self.event_shape)

    def tokens(self, drawn: Tensor, context: Tensor | None) -> Tensor:
        """What the blocks read, moved back by one patch: [B, patches, m] -> [B, patches, C]."""
        return F.pad(self.value(drawn[:, :-1]), (0, 0, 1, 0)) + self.places(context)

    def steps(self, n: int, context: Tensor | None = None, x: Tensor | None = None, known: int = 0) -> Step:
        """The transformer keeps keys and values; the masked network begins anew with each patch."""
        order, entries = self.order.tolist(), self.entries
        whole, past = known // entries, None  # patches that are known to the last pixel
        if x is not None and whole:
            past = self.tokens(self.encode(x[:, self.order]).unflatten(1, (self.patches, -1)), context)[:, :whole]
        advance, places = self.blocks.steps(n, self.patches, past), self.places(context).expand(n, -1, -1)
        inner_step: Callable[[int, Tensor | None], Tensor]

        def step(t: int, x: Tensor) -> Tensor:
            nonlocal inner_step
            k, j = divmod(t, entries)
            if j == 0:
                h = places[:, k]
                if k:
                    h = h + self.value(self.encode(x[:, self.order[t - entries : t]]))
                inner_step = self.inner.steps(n, advance(k, h))
            return inner_step(j, self.encode(x[:, order[t - 1]]) if j else None)

        return step if x is None else caught_up(step, x, whole * entries, known)


def patch_order(event_shape: Sequence[int], patch: int) -> Tensor:
    """Flat positions patch by patch; within a patch line by line, the channels of a pixel one after another; [D].

    Args:
        event_shape: (C, H, W).
        patch: height and width of a patch, which divides H and W.

    Example:
        >>> from lvmlib.autoregressive.patch_transformer import patch_order
        >>> patch_order((1, 2, 4), 2)
        tensor([0, 1, 4, 5, 2, 3, 6, 7])
    """
    rows, columns = _split(event_shape, patch)
    positions = torch.arange(math.prod(event_shape)).view(event_shape[0], rows, patch, columns, patch)
    return positions.permute(1, 3, 2, 4, 0).flatten()


def _split(event_shape: Sequence[int], patch: int) -> tuple[int, int]:
    """Rows and columns of patches."""
    if len(event_shape) != 3 or event_shape[1] % patch or event_shape[2] % patch:
        raise ValueError(
            f"Patches of {patch} x {patch} need an event shape (C, H, W) with H and W divisible by {patch}, but it is "
            f"{tuple(event_shape)}. Pad the pictures, or take another patch."
        )
    return event_shape[1] // patch, event_shape[2] // patch
