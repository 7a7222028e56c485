"""CausalTransformer: attention against a loop by hand, the target position, every option through the cache."""

import itertools
import math
import time

import pytest
import torch
from torch import nn

from lvmlib.autoregressive import CausalTransformer
from lvmlib.autoregressive.attention import CausalAttention, TransformerBlock, TransformerBlocks
from lvmlib.autoregressive.tokens import PositionEmbedding, PositionWaves


def small(event_shape=(3, 4), seed=0, **options) -> CausalTransformer:
    torch.manual_seed(seed)
    model = CausalTransformer(event_shape, **{"channels": 8, "heads": 2, "layers": 2, **options}).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


def attention_by_hand(attention: CausalAttention, h: torch.Tensor) -> torch.Tensor:
    """One sequence [T, C], one head, one query and one key at a time."""
    T, C = h.shape
    d, kernel = C // attention.heads, attention.kernel
    weight, bias = attention.inputs.weight, attention.inputs.bias
    projected = []
    for t in range(T):
        q_k_v = bias
        for tap in range(kernel):  # the last tap is the token itself
            back = t - (kernel - 1 - tap)
            if back >= 0:
                q_k_v = q_k_v + weight[:, tap * C : (tap + 1) * C] @ h[back]
        projected.append(q_k_v)
    rows = []
    for t in range(T):
        heads = []
        for head in range(attention.heads):
            part = [slice(i * C + head * d, i * C + (head + 1) * d) for i in range(3)]
            scores = [math.exp(projected[t][part[0]] @ projected[s][part[1]] / math.sqrt(d)) for s in range(t + 1)]
            heads.append(sum(a * projected[s][part[2]] for s, a in enumerate(scores)) / sum(scores))
        rows.append(attention.output(torch.cat(heads)))
    return torch.stack(rows)


@pytest.mark.parametrize(("heads", "kernel"), [(1, 1), (4, 1), (2, 3)])
def test_attention_is_the_sum_that_its_formula_says(heads, kernel):
    torch.manual_seed(0)
    attention, h = CausalAttention(8, heads, kernel).double(), torch.randn(2, 7, 8).double()
    with torch.no_grad():
        expected = torch.stack([attention_by_hand(attention, row) for row in h])
        torch.testing.assert_close(attention(h), expected, rtol=1e-10, atol=1e-10)
        step = attention.steps(2, 7)
        torch.testing.assert_close(
            torch.stack([step(t, h[:, t]) for t in range(7)], 1), expected, rtol=1e-10, atol=1e-10
        )


def test_a_block_is_the_one_of_torch():
    """The same weights in nn.TransformerEncoderLayer with its normalisation first give the same numbers."""
    torch.manual_seed(0)
    block, h = TransformerBlock(8, 2).double(), torch.randn(3, 5, 8).double()
    rival = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True).double()
    pairs = [
        (block.attention.inputs.weight, rival.self_attn.in_proj_weight),
        (block.attention.inputs.bias, rival.self_attn.in_proj_bias),
        (block.attention.output, rival.self_attn.out_proj),
        (block.mlp[0], rival.linear1),
        (block.mlp[2], rival.linear2),
    ]
    with torch.no_grad():
        for ours, theirs in pairs:
            if isinstance(ours, nn.Module):
                theirs.load_state_dict(ours.state_dict())
            else:
                theirs.copy_(ours)
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    torch.testing.assert_close(block(h), rival(h, src_mask=mask, is_causal=True), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kernel", "positions", "levels"), list(itertools.product([1, 3], ["table", "axes", "waves"], [2, 6]))
)
def test_cache_and_one_pass_agree_for_every_option_and_order(kernel, positions, levels):
    order = torch.randperm(12, generator=torch.Generator().manual_seed(4))
    model = small(kernel=kernel, positions=positions, levels=levels, context=3, order=order)
    context, draws = torch.randn(4, 3).double(), []
    for cache in (True, False):
        torch.manual_seed(3)
        draws.append(model.sample(4, context, cache=cache))
    assert torch.equal(*draws)
    outputs, step = model.predict(draws[0], context).flatten(2), model.steps(4, context)
    with torch.no_grad():
        for t, position in enumerate(order.tolist()):
            got = step(t, draws[0].flatten(1))
            torch.testing.assert_close(got, outputs[:, :, position], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("positions", ["table", "axes", "waves"])
def test_the_network_is_told_where_the_next_position_lies(positions):
    """Orders that agree in their first five positions and not in the sixth: the sixth prediction differs."""
    first = list(range(5))
    one, other = (
        small(positions=positions, order=first + rest) for rest in (list(range(5, 12)), [9, 5, 6, 7, 8, 10, 11])
    )
    x = torch.randint(2, (3, 3, 4)).double()
    a, b = one.predict(x).flatten(2), other.predict(x).flatten(2)
    torch.testing.assert_close(a[..., :5], b[..., :5])
    assert (a[..., 5] - b[..., 9]).abs().min() > 1e-4
    assert other.places()[5].equal(other.source()[4] + other.target()[9])
    assert other.places()[6].equal(other.source()[9] + other.target()[5])


def test_every_earlier_position_is_seen_at_any_distance():
    model = small((60,))
    x = torch.randint(2, (1, 60)).double().requires_grad_()
    model.predict(x)[0, 0, 59].backward()
    assert (x.grad[0, :59] != 0).all() and x.grad[0, 59] == 0


def test_dropout_acts_in_training_only():
    model, x = small(dropout=0.5), torch.randint(2, (3, 3, 4)).double()
    assert torch.equal(model.predict(x), model.predict(x))
    model.train()
    assert not torch.allclose(model.predict(x), model.predict(x))


def test_waves_fit_another_length_and_a_table_does_not():
    short, long = small((12,), positions="waves"), small((20,), seed=1, positions="waves")
    long.load_state_dict(short.state_dict())
    x = torch.randint(2, (3, 20)).double()
    torch.testing.assert_close(long.predict(x)[..., :12], short.predict(x[:, :12]), rtol=1e-10, atol=1e-10)
    with pytest.raises(RuntimeError, match="size mismatch"):
        small((20,)).load_state_dict(small((12,)).state_dict())


def test_position_vectors():
    axes = PositionEmbedding((2, 3, 4), 5)
    channel, row, column = axes.tables
    torch.testing.assert_close(axes().view(2, 3, 4, 5)[1, 2, 3], channel[1] + row[2] + column[3])
    waves = PositionWaves(50, 6).waves
    torch.testing.assert_close(waves[7, 3], torch.tensor(math.cos(7 * 10000 ** (-2 / 6))), rtol=1e-6, atol=1e-6)
    assert len(waves.unique(dim=0)) == 50


def test_bad_sizes_are_stopped():
    for bad in ({"channels": 0}, {"heads": 0}, {"layers": 0}, {"kernel": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(bad))} must be a whole number, 1 or more"):
            CausalTransformer((9,), **bad)
    with pytest.raises(ValueError, match="heads must divide channels"):
        CausalTransformer((9,), heads=3)
    with pytest.raises(ValueError, match='positions must be "table"'):
        CausalTransformer((9,), positions="grid")
    with pytest.raises(ValueError, match="dropout is a share"):
        CausalTransformer((9,), dropout=1.0)


@pytest.mark.slow
def test_a_training_step_takes_no_longer_than_one_of_torch():
    blocks, h = TransformerBlocks(64, 4, 2), torch.randn(4, 784, 64)
    layer = nn.TransformerEncoderLayer(64, 4, 256, 0.0, "gelu", batch_first=True, norm_first=True)
    rival = nn.TransformerEncoder(layer, 2, nn.LayerNorm(64), enable_nested_tensor=False)
    mask = nn.Transformer.generate_square_subsequent_mask(784)
    seconds = {}
    for name, run in {"ours": lambda: blocks(h), "torch": lambda: rival(h, mask=mask, is_causal=True)}.items():
        times = []
        for _ in range(6):
            start = time.process_time()
            run().square().mean().backward()
            times.append(time.process_time() - start)
        seconds[name] = min(times)
    assert seconds["ours"] < 1.15 * seconds["torch"]


def test_the_start_is_drawn_like_an_embedding():
    torch.manual_seed(0)
    start = CausalTransformer((9,), channels=400, heads=2, layers=1).start
    assert abs(start.mean().item()) < 0.2 and 0.9 < start.std().item() < 1.1
