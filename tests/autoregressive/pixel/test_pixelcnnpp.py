"""PixelCNN++: the mixture against the joint formula, what each pixel sees, and the cache at every resolution."""

import math

import pytest
import torch

from lvmlib.autoregressive.pixel.pixelcnnpp import PixelCNNpp
from lvmlib.autoregressive.pixel.resolution import pyramid
from lvmlib.distributions import DiscretizedLogistic


def perturbed(event_shape, seed=0, **options):
    """A small model in float64 whose weights are away from their start."""
    torch.manual_seed(seed)
    model = PixelCNNpp(event_shape, **{"channels": 4, "layers": 1, "halvings": 1, **options}).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p) / max(1.0, p[0].numel() ** 0.5 if p.dim() > 1 else 1.0))
    return model


def raw_outputs(model, x, context=None):
    """What the last linear map gives, [B, H, W, outputs]."""
    caught = []
    handle = model.head.inner.register_forward_hook(lambda module, inputs, output: caught.append(output))
    model.predict(x, context)
    handle.remove()
    return caught[0]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_product_of_the_conditionals_is_the_joint_mixture_of_the_paper(channels):
    M, K = 3, 9
    model = perturbed((channels, 4, 4), levels=K, logistics=M)
    x = torch.randint(K, (5, channels, 4, 4)).double()
    raw = raw_outputs(model, x).detach()
    logits, rest = raw[..., :M].log_softmax(-1), raw[..., M:]
    loc, log_scale = rest[..., : channels * M], rest[..., channels * M : 2 * channels * M]
    alpha = rest[..., 2 * channels * M :].tanh()
    half = (K - 1) / 2
    total = logits
    for c in range(channels):
        centre = loc[..., c * M : (c + 1) * M]
        for b in range(c):
            pair = sum(range(c)) + b
            centre = centre + alpha[..., pair * M : (pair + 1) * M] * (x[:, b, ..., None] / half - 1)
        scale = half * log_scale[..., c * M : (c + 1) * M].exp()
        total = total + DiscretizedLogistic(half * (1 + centre), scale, K).log_prob(x[:, c, ..., None])
    joint = total.logsumexp(-1).sum((1, 2))  # one mixture for the whole pixel
    torch.testing.assert_close(model.log_prob(x), joint, rtol=1e-10, atol=1e-10)


def test_channels_share_their_component():
    """Two far components: once the first channel has chosen one, the second follows without being coupled to it."""
    model = PixelCNNpp((2, 1, 1), channels=2, layers=1, halvings=0, levels=256, logistics=2).double()
    with torch.no_grad():
        model.head.inner.weight.zero_()
        model.head.inner.bias.zero_()
        model.head.inner.bias[2:6] = torch.tensor([-0.5, 0.5, -0.5, 0.5])
        model.head.inner.bias[6:10] = -5.0
    x = torch.tensor([64.0, 64.0, 191.0, 191.0]).double().view(2, 2, 1, 1)
    mixed = x.flip(0).clone()
    mixed[:, 0] = x[:, 0]
    assert (model.log_prob(x) - model.log_prob(mixed) > 50).all()
    draws = model.sample(500).flatten(1)
    assert torch.equal(draws[:, 0] < 128, draws[:, 1] < 128) and 150 < (draws[:, 0] < 128).sum() < 350


def reach(model, row, column):
    """Which pixels the outputs at (row, column) depend on, [H, W]."""
    x = torch.randint(model.levels, (1, *model.event_shape)).double().requires_grad_()
    model.predict(x)[0, :, 0, row, column].abs().sum().backward()
    return x.grad[0, 0] != 0


@pytest.mark.parametrize("halvings", [0, 1, 2])
def test_every_pixel_before_it_is_seen_within_reach_and_none_behind(halvings):
    """There is no blind spot: all columns above, at once, and everything to the left."""
    model = perturbed((1, 8, 8), halvings=halvings, layers=2, levels=4, logistics=0)
    before = torch.zeros(64, dtype=torch.bool)
    for row, column in [(0, 0), (0, 5), (3, 2), (4, 4), (5, 1), (7, 7)]:
        before[:] = False
        before[: 8 * row + column] = True
        assert torch.equal(reach(model, row, column), before.view(8, 8))


def test_halving_widens_what_a_pixel_sees():
    widths = []
    for halvings in (0, 1, 2):
        model = perturbed((1, 32, 32), halvings=halvings, levels=2, logistics=0)
        seen = reach(model, 31, 16)
        widths.append(int(seen.any(1).sum()))
    assert widths[0] < widths[1] < widths[2]


@pytest.mark.parametrize("halvings", [0, 1, 2, 3])
@pytest.mark.parametrize("layers", [1, 2])
def test_cache_at_every_resolution(halvings, layers):
    """The parameters of every step are those of the one pass, with a context map that differs from pixel to pixel."""
    shape = (2, 8, 16)
    model = perturbed(shape, halvings=halvings, layers=layers, levels=5, logistics=2, context=(3, 8, 16))
    x, context = torch.randint(5, (2, *shape)).double(), torch.randn(2, 3, 8, 16).double()
    expected = model.predict(x, context).flatten(2)
    assert (expected - model.predict(x).flatten(2)).abs().max() > 0.01
    step, partial = model.steps(2, context), torch.zeros(2, model.dims).double()
    with torch.no_grad():
        for t, position in enumerate(model.order.tolist()):
            torch.testing.assert_close(step(t, partial), expected[:, :, position], rtol=1e-9, atol=1e-9)
            partial[:, position] = x.flatten(1)[:, position]


@pytest.mark.parametrize("logistics", [2, 5, 10])
def test_a_grey_picture_starts_at_about_the_uniform_distribution(logistics):
    torch.manual_seed(0)
    model = PixelCNNpp((1, 16, 16), channels=16, logistics=logistics)
    x = torch.randint(256, (8, 1, 16, 16))
    bits = -model.log_prob(x) / (256 * math.log(2))
    assert bits.mean() < 8.6


def test_half_precision_changes_little():
    torch.manual_seed(0)
    model = PixelCNNpp((3, 8, 8), channels=16)
    x = torch.randint(256, (4, 3, 8, 8))
    exact = model.log_prob(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.log_prob(x)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.01, atol=0)


def test_dropout_acts_while_training_only():
    model = perturbed((1, 4, 4), dropout=0.5, levels=2, logistics=0)
    x = torch.randint(2, (3, 1, 4, 4))
    assert torch.equal(model.log_prob(x), model.log_prob(x))
    model.train()
    assert not torch.equal(model.log_prob(x), model.log_prob(x))


def test_learns_what_a_pixel_owes_to_the_one_before_it():
    """Each pixel repeats its left neighbour; green repeats red. All that is left is the first red of each row."""
    torch.manual_seed(0)
    model = PixelCNNpp((2, 4, 4), channels=8, layers=1, halvings=1, levels=16, logistics=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        x = torch.randint(16, (32, 1, 4, 1)).expand(32, 2, 4, 4)
        loss = -model.log_prob(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.35 * 32 * math.log(16)  # the entropy itself is 0.125 of this
    draws = model.sample(200)
    assert ((draws[:, 0] - draws[:, 1]).abs() <= 1).float().mean() > 0.6


@pytest.mark.parametrize(
    ("event_shape", "options", "message"),
    [
        ((1, 6, 6), {"halvings": 2}, "divisible by 4"),
        ((36,), {}, "divisible by 4"),
        ((1, 8, 8), {"halvings": -1}, "halvings must"),
        ((1, 8, 8), {"channels": 0}, "channels must"),
        ((1, 8, 8), {"layers": 0}, "layers must"),
        ((1, 8, 8), {"context": (2, 4, 4)}, "map over the picture"),
        ((1, 8, 8), {"context": (2, 8)}, "map over the picture"),
    ],
)
def test_refuses_what_it_cannot_take(event_shape, options, message):
    with pytest.raises(ValueError, match=message):
        PixelCNNpp(event_shape, **options)


def test_a_context_map_is_averaged_over_squares():
    context = torch.arange(32.0).view(1, 2, 4, 4)
    whole, half, quarter = pyramid(context, 2)
    torch.testing.assert_close(half[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    assert torch.equal(whole, context) and quarter.flatten().tolist() == [7.5, 23.5]
    assert [c.shape for c in pyramid(torch.zeros(3, 5), 2)] == [(3, 5, 1, 1)] * 3


def test_dropout_is_everywhere():
    model = PixelCNNpp((1, 8, 8), channels=4, layers=2, halvings=1, dropout=0.3)
    rates = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    assert rates == [0.3] * 2 * (2 + 3 + 2 + 2)  # two streams; down, up with one more, and at half the resolution
