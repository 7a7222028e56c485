"""PixelSNAIL: attention against a plain loop, what each pixel sees, and the cache with several heads and colours."""

import math

import pytest
import torch
import torch.nn.functional as F

from lvmlib.autoregressive.pixel.pixelsnail import Block, PixelSNAIL


def perturbed(event_shape, seed=0, **options):
    """A small model in float64 whose weights are away from their start."""
    torch.manual_seed(seed)
    model = PixelSNAIL(event_shape, **{"channels": 4, "blocks": 1, "layers": 1, **options}).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p) / max(1.0, p[0].numel() ** 0.5 if p.dim() > 1 else 1.0))
    return model


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_against_a_loop_over_the_pixels_before(heads):
    torch.manual_seed(0)
    block = Block(8, 1, heads, 2, 0, 0.0).double()
    v, z = torch.randn(2, 8, 3, 4).double(), torch.randn(2, 2, 3, 4).double()
    place = torch.randn(2, 2, 3, 4).double()
    near = block.near[0](v)
    a, b, p = (t.flatten(2).transpose(1, 2) for t in (near, z, place))
    offer = F.elu(block.offer(torch.cat((a, b, p), 2)))
    key, value = block.key_value(offer).split(4, -1)
    query = block.query(F.elu(block.ask(torch.cat((a, p), 2))))
    d, found = 4 // heads, torch.zeros(2, 12, 4).double()
    for n in range(2):
        for i in range(12):
            for h in range(heads):
                part = slice(h * d, (h + 1) * d)
                weights = [math.exp((query[n, i, part] @ key[n, j, part]).item() / math.sqrt(d)) for j in range(i)]
                for j in range(i):
                    found[n, i, part] += weights[j] / (1 + sum(weights)) * value[n, j, part].detach()
    expected = block.mix(near, found.transpose(1, 2).unflatten(2, (3, 4)))
    torch.testing.assert_close(block(v, z, place, None), expected, rtol=1e-10, atol=1e-10)


def seen(model, row, column):
    """Which pixels the outputs at (row, column) depend on, [H, W]."""
    x = torch.randint(model.levels, (1, *model.event_shape)).double().requires_grad_()
    model.predict(x)[0, :, 0, row, column].abs().sum().backward()
    return x.grad[0, 0] != 0


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 1), (2, 0), (4, 3), (7, 0), (7, 7)])
def test_one_block_sees_every_pixel_before_it_and_none_behind(row, column, blocks):
    model = perturbed((1, 8, 8), blocks=blocks)
    before = torch.arange(64) < 8 * row + column
    assert torch.equal(seen(model, row, column), before.view(8, 8))


def test_without_attention_the_far_pixels_are_out_of_reach():
    model = perturbed((1, 8, 8))
    with torch.no_grad():
        model.blocks[0].mix.sides[0].weight.zero_()
    reached = seen(model, 7, 4)
    assert not reached[:4].any() and reached[7, 3] and reached[6, 5]
    assert seen(perturbed((1, 8, 8)), 7, 4)[:4].all()


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("heads", [1, 2])
def test_cache_with_heads_colours_and_a_context_map(colours, heads):
    """The parameters of every step are those of the one pass."""
    shape = (colours, 4, 5)
    model = perturbed(shape, channels=8, blocks=2, heads=heads, levels=5, logistics=2, context=(3, 4, 5))
    x, context = torch.randint(5, (2, *shape)).double(), torch.randn(2, 3, 4, 5).double()
    expected = model.predict(x, context).flatten(2)
    assert (expected - model.predict(x).flatten(2)).abs().max() > 0.01
    step, partial = model.steps(2, context), torch.zeros(2, model.dims).double()
    with torch.no_grad():
        for t, position in enumerate(model.order.tolist()):
            torch.testing.assert_close(step(t, partial), expected[:, :, position], rtol=1e-9, atol=1e-9)
            partial[:, position] = x.flatten(1)[:, position]


def test_starts_at_about_the_uniform_distribution():
    torch.manual_seed(0)
    model = PixelSNAIL((1, 12, 12), channels=16)
    x = torch.randint(2, (8, 1, 12, 12))
    assert (-model.log_prob(x) / 144).mean().item() == pytest.approx(math.log(2), rel=0.02)


def test_learns_to_repeat_what_lies_out_of_reach_of_the_convolutions():
    """The last of six pixels below one another repeats the first; the convolutions see three of them."""
    torch.manual_seed(0)
    model = PixelSNAIL((1, 6, 1), channels=16, blocks=1, layers=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def pictures(n):
        x = torch.zeros(n, 1, 6, 1)
        x[:, :, 0] = x[:, :, 5] = torch.randint(2, (n, 1, 1)).float()
        return x

    for _ in range(100):
        loss = -model.log_prob(pictures(32)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    nats = -model.log_prob(pictures(200)).mean().item()
    assert nats < 1.3 * math.log(2)  # with no memory of the first it would be 2 log 2


@pytest.mark.parametrize(
    ("event_shape", "options", "message"),
    [
        ((36,), {}, "takes pictures"),
        ((1, 8, 8), {"channels": 0}, "channels must"),
        ((1, 8, 8), {"blocks": 0}, "blocks must"),
        ((1, 8, 8), {"layers": 0}, "layers must"),
        ((1, 8, 8), {"heads": 0}, "heads must"),
        ((1, 8, 8), {"channels": 12, "heads": 4}, "divisible by 2"),
        ((1, 8, 8), {"context": (2, 4, 4)}, "map over the picture"),
    ],
)
def test_refuses_what_it_cannot_take(event_shape, options, message):
    with pytest.raises(ValueError, match=message):
        PixelSNAIL(event_shape, **options)
