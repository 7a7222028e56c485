"""A transformer that samples by hand in plain PyTorch: keys and values of earlier tokens in buffers made beforehand.

The architecture is that of `CausalTransformer`; `same_weights` moves the weights over.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvmlib.autoregressive import CausalTransformer


class PlainBlock(nn.Module):
    """Attention and a two-layer perceptron, each behind a normalisation of its input."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, keys: Tensor, values: Tensor, t: int) -> Tensor:
        """One more token [n, C]; keys and values [n, heads, T, C / heads] are filled in before t, and at t here."""
        n, width = h.shape
        q, k, v = self.qkv(self.norm_1(h)).view(n, 3, self.heads, 1, -1).unbind(1)  # each [n, heads, 1, C / heads]
        keys[:, :, t : t + 1], values[:, :, t : t + 1] = k, v
        seen = F.scaled_dot_product_attention(q, keys[:, :, : t + 1], values[:, :, : t + 1])
        h = h + self.out(seen.reshape(n, width))
        return h + self.mlp(self.norm_2(h))


class PlainTransformer(nn.Module):
    """Binary sequences; a token is the last bit, where it stood, and where the next one will."""

    places: Tensor

    def __init__(self, length: int, width: int = 64, heads: int = 4, layers: int = 4):
        super().__init__()
        self.blocks = nn.ModuleList(PlainBlock(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1)
        self.value = nn.Linear(1, width)
        self.register_buffer("places", torch.zeros(length, width))  # what the positions add, start included

    @torch.inference_mode()
    def sample(self, n: int, given: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draw n sequences, or walk along given ones [n, T]: bits [n, T] and the logit of each [n, T]."""
        length, width = self.places.shape
        heads = self.blocks[0].heads  # type: ignore[union-attr]
        caches = torch.zeros(len(self.blocks), 2, n, heads, length, width // heads)
        x, logits = torch.zeros(n, length), torch.zeros(n, length)
        u = torch.rand(length, n)
        for t in range(length):
            h = self.places[t].expand(n, width)
            if t:
                h = h + self.value(2 * x[:, t - 1 : t] - 1)
            for block, (keys, values) in zip(self.blocks, caches):
                h = block(h, keys, values, t)
            logits[:, t] = self.head(self.norm(h))[:, 0]
            x[:, t] = given[:, t] if given is not None else (u[t] < logits[:, t].sigmoid()).float()
        return x, logits


@torch.no_grad()
def same_weights(ours: CausalTransformer) -> PlainTransformer:
    """The plain transformer with the weights of one of ours, of binary values in the order in which they are stored."""
    width, theirs = ours.head.in_features, ours.blocks.each()
    plain = PlainTransformer(ours.dims, width, theirs[0].attention.heads, len(theirs))
    for block, other in zip(plain.blocks, theirs):
        pairs = {
            "norm_1": other.norm_1,
            "norm_2": other.norm_2,
            "qkv": other.attention.inputs,
            "out": other.attention.output,
            "mlp": other.mlp,
        }
        for name, module in pairs.items():
            getattr(block, name).load_state_dict(module.state_dict())
    plain.norm.load_state_dict(ours.blocks.norm.state_dict())
    plain.head.load_state_dict(ours.head.state_dict())
    plain.value.weight.copy_(ours.value.weight.t())
    plain.value.bias.copy_(ours.value.bias)
    plain.places.copy_(ours.places())
    return plain.eval()
