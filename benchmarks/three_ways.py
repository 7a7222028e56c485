"""Recurrence, convolution and self-attention on the same sequence: work, depth, memory, reach and time against length.

    python -m benchmarks.three_ways

One layer of each at the same width, in plain PyTorch. Everything is measured: multiply-adds by counting what the
matrix products do, depth as the longest chain of matrix products in the graph of gradients, memory as the bytes that
this graph keeps for the backward pass, reach by finding the farthest input whose change arrives at the last output.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import Node, saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import digits, medians, options, spreads, take_turns, write

WIDTH = 64
# Nodes of the graph of gradients that stand for matrix products, and for how many one after another.
PRODUCTS = {"AddmmBackward": 1, "MmBackward": 1, "BmmBackward": 1, "ConvolutionBackward": 1, "ScaledDotProduct": 2}


def attention_flops(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...], *_: Any, **__: Any) -> int:
    """Scores and weighted sum of the fused kernel, from shapes [B, H, L, C]: what it replaces, two per multiply-add."""
    return 2 * (math.prod(q) * k[2] + math.prod(v) * q[2])


FLOPS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops}


class Recurrence(nn.Module):
    """A GRU, [B, L, C] -> [B, L, C]."""

    def __init__(self, width: int):
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x)[0]


class Convolution(nn.Module):
    """Causal convolutions, one for each dilation, [B, L, C] -> [B, L, C]."""

    def __init__(self, width: int, kernel: int, dilations: list[int]):
        super().__init__()
        self.past = [(kernel - 1) * d for d in dilations]
        self.layers = nn.ModuleList(nn.Conv1d(width, width, kernel, dilation=d) for d in dilations)

    def forward(self, x: Tensor) -> Tensor:
        h = x.transpose(1, 2)
        for conv, past in zip(self.layers, self.past):
            h = F.relu(conv(F.pad(h, (past, 0))))
        return h.transpose(1, 2)


class SelfAttention(nn.Module):
    """One causal self-attention of four heads, [B, L, C] -> [B, L, C], written out or by torch's fused kernel."""

    def __init__(self, width: int, fused: bool, heads: int = 4):
        super().__init__()
        self.fused, self.heads = fused, heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, L, C / H]
        if self.fused:
            h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(later, -math.inf)  # [B, H, L, L]
            h = scores.softmax(-1) @ v
        return self.out(h.transpose(1, 2).flatten(2))


WAYS: dict[str, Callable[[int], nn.Module]] = {
    "recurrence": lambda length: Recurrence(WIDTH),
    "convolution": lambda length: Convolution(WIDTH, 3, [1]),
    "dilated convolution": lambda length: Convolution(WIDTH, 2, [2**i for i in range(math.ceil(math.log2(length)))]),
    "self-attention": lambda length: SelfAttention(WIDTH, fused=False),
    "fused self-attention": lambda length: SelfAttention(WIDTH, fused=True),
}


def multiply_adds(net: nn.Module, x: Tensor) -> int:
    """Multiply-adds of all matrix products in a forward pass."""
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter:
        net(x)
    return counter.get_total_flops() // 2


def depth(net: nn.Module, x: Tensor) -> int:
    """Longest chain of matrix products, each of which has to wait for the one before."""
    longest: dict[Node, int] = {}
    todo = [net(x).grad_fn]
    while todo:
        node = todo[-1]
        before = [n for n, _ in node.next_functions if n is not None]
        missing = [n for n in before if n not in longest]
        if missing:
            todo += missing
            continue
        own = next((count for name, count in PRODUCTS.items() if type(node).__name__.startswith(name)), 0)
        longest[node] = max((longest[n] for n in before), default=0) + own
        todo.pop()
    return max(longest.values())


def kept_bytes(net: nn.Module, x: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, the weights not counted."""
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept: dict[int, int] = {}
    alive = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        net(x)
    return sum(kept.values())


@torch.no_grad()
def reach(net: nn.Module, x: Tensor) -> int:
    """How many positions back the last output can see: nan in all positions up to s arrives there if s is in reach."""
    last = x.shape[1] - 1

    def seen(s: int) -> bool:
        spoilt = x[:1].clone()
        spoilt[:, : s + 1] = math.nan
        return bool(net(spoilt)[0, last].isnan().any())

    low, high = -1, last  # not seen, seen
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return last - high


def measure(way: str, length: int, batch: int, repeats: int) -> dict[str, Any]:
    """All measurements of one way at one length."""
    torch.manual_seed(0)
    net, x = WAYS[way](length), torch.randn(batch, length, WIDTH)
    optimizer = torch.optim.Adam(net.parameters())

    @torch.no_grad()
    def forward() -> None:
        net(x)

    def train() -> None:
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()

    runs = take_turns({"forward_s": forward, "train_s": train}, repeats, shortest=0.01)
    seconds = medians(runs)
    return {
        "way": way,
        "length": length,
        "multiply_adds": multiply_adds(net, x[:1]),
        "depth": depth(net, x[:1]),
        "kept_bytes": kept_bytes(net, x) // batch,
        "reach": reach(net, x),
        **seconds,
        "spread": spreads(runs),
        "tokens_per_s": digits(batch * length / seconds["train_s"], 3),
    }


def main() -> None:
    """Measure every way at every length and write three_ways.json."""
    args = options(__doc__)
    began = time.perf_counter()
    lengths, batch = ([8, 16], 2) if args.quick else ([64, 128, 256, 512, 1024, 2048], 4)
    rows = []
    for length in lengths:
        for way in WAYS:
            rows.append(measure(way, length, batch, args.repeats))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    write(
        args.out,
        "three_ways",
        "Recurrence, convolution, self-attention",
        began,
        repeats=args.repeats,
        width=WIDTH,
        batch=batch,
        rows=rows,
    )


if __name__ == "__main__":
    main()
