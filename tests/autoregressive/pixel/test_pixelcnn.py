"""PixelCNN and Gated PixelCNN: what they see, what sampling costs, which contexts they take."""

import math

import pytest
import torch

from lvmlib.autoregressive import GatedPixelCNN, PixelCNN, PixelRNN
from tests.autoregressive.pixel.pictures import (
    check_cached_parameters,
    check_seen,
    livened,
    offsets_from,
    work_of_sampling,
)

BOTH = [PixelCNN, GatedPixelCNN]


@pytest.mark.parametrize("shape", [(1, 8, 13), (3, 8, 13)], ids=["grey", "colour"])
@pytest.mark.parametrize("layers", [1, 4])
def test_pixelcnn_sees_all_but_its_blind_spot(shape, layers):
    """A kernel goes to the right on rows above only, so d rows above the r + d pixels to the right are out of sight."""
    model = livened(PixelCNN(shape, channels=15, layers=layers, kernel=5))
    row, column, r = 7, 4, 2
    up, right = offsets_from(model, row, column)
    within = (up <= r + layers) & (right >= -(r + layers))
    expected = within & (((up == 0) & (right < 0)) | ((up > 0) & (right <= r + (up - 1).clamp(max=layers))))
    check_seen(model, row, column, expected)
    blind = (up > 0) & (right > r + up - 1)
    assert blind.any() and not expected[blind].any()


@pytest.mark.parametrize("shape", [(1, 8, 13), (3, 8, 13)], ids=["grey", "colour"])
@pytest.mark.parametrize("layers", [1, 3, 9])
def test_gated_pixelcnn_sees_every_earlier_pixel_within_reach(shape, layers):
    model = livened(GatedPixelCNN(shape, channels=15, layers=layers, kernel=5))
    row, column, reach = 7, 4, 2 + layers - 1
    up, right = offsets_from(model, row, column)
    earlier = (up > 0) | ((up == 0) & (right < 0))
    check_seen(model, row, column, earlier & (up <= reach) & (right.abs() <= reach))
    if layers == 9:
        assert (up.max() <= reach) and (right.max() <= reach)  # so this was all that has been drawn


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 4, 4)], ids=["grey", "colour"])
def test_sampling_does_the_work_of_one_pass(model, shape):
    assert work_of_sampling(model(shape, channels=12, layers=2)) < 1.02


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize("shape", [(1, 1, 9), (1, 9, 1), (1, 1, 1), (3, 1, 4), (3, 4, 1)])
def test_pictures_of_one_row_or_column(model, shape):
    model = livened(model(shape, channels=6, layers=3, levels=3))
    assert model.log_prob(torch.zeros(2, *shape)).isfinite().all()
    check_cached_parameters(model)


@pytest.mark.parametrize("model", BOTH)
def test_a_map_as_context(model):
    model = livened(model((2, 4, 5), channels=6, layers=3, levels=3, context=(2, 4, 5)))
    check_cached_parameters(model, torch.randn(3, 2, 4, 5).double())
    x = torch.zeros(1, 2, 4, 5).double()
    torch.testing.assert_close(model.predict(x), model.predict(x, torch.zeros(1, 2, 4, 5).double()))
    context = torch.zeros(1, 2, 4, 5).double().requires_grad_()
    model.predict(x, context)[0, :, :, 2, 2].sum().backward()
    assert (context.grad[0, :, 2, 2] != 0).all()  # the context at the very pixel may be seen
    with pytest.raises(ValueError, match="context must have shape"):
        model.log_prob(x, torch.zeros(1, 2, 5, 4))


@pytest.mark.parametrize("model", BOTH)
def test_each_layer_takes_the_context(model):
    """With the weights of all other layers' contexts at zero, each one's own still moves the output."""
    torch.manual_seed(0)
    model = model((1, 4, 4), channels=6, layers=3, context=2).double()
    x, context = torch.zeros(1, 1, 4, 4).double(), torch.ones(1, 2).double()
    weight, plain = model.context_map.weight.data.clone(), model.predict(x)
    parts = [12, 6, 6, 6] if isinstance(model, PixelCNN) else [12] * 6
    assert sum(parts) == len(weight)
    start = 0
    for part in parts:
        model.context_map.weight.data.zero_()[start : start + part] = weight[start : start + part]
        assert not torch.allclose(model.predict(x, context), plain)
        start += part


@pytest.mark.parametrize("model", BOTH)
def test_training_starts_near_the_uniform_distribution(model):
    torch.manual_seed(0)
    for levels in (2, 8):
        x = torch.randint(levels, (4, 1, 28, 28))
        nats = -model((1, 28, 28), levels=levels).log_prob(x).mean().item() / 784
        assert math.log(levels) - 0.02 < nats < math.log(levels) + 0.3


@pytest.mark.parametrize("model", BOTH)
def test_a_few_steps_of_training_find_a_pattern(model):
    """Stripes whose phase is random: half a nat or so for a picture of 36 pixels, once the first pixels are known."""
    torch.manual_seed(0)
    model = model((1, 6, 6), channels=8, layers=2, kernel=3)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    columns = torch.arange(6)
    for _ in range(60):
        phase = torch.randint(2, (32, 1, 1, 1))
        loss = -model.log_prob(((columns + phase) % 2).float().expand(32, 1, 6, 6)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert math.log(2) - 0.1 < loss.item() < 2


@pytest.mark.parametrize("model", BOTH)
def test_bad_models_are_stopped_at_the_door(model):
    with pytest.raises(ValueError, match=r"pictures of shape \(C, H, W\)"):
        model((28, 28))
    with pytest.raises(ValueError, match="layers must be a whole number"):
        model((1, 4, 4), layers=0)
    with pytest.raises(ValueError, match="channels must be a whole number"):
        model((1, 4, 4), channels=0)
    with pytest.raises(ValueError, match="must be odd"):
        model((1, 4, 4), kernel=4)
    with pytest.raises(ValueError, match="needs a channel of its own"):
        model((3, 4, 4), channels=2)
    with pytest.raises(ValueError, match=r"a vector or a map of shape \(c, 4, 4\)"):
        model((1, 4, 4), context=(2, 8, 8))


@pytest.mark.parametrize("model_class", [*BOTH, PixelRNN])
def test_coordinates_are_a_context_of_two_planes(model_class):
    """A model that knows its positions is the one without that is given rows and columns, from -1 to 1, as a map."""
    sizes = {"channels": 6, "layers": 2, "kernel": 5}
    torch.manual_seed(0)
    knows = model_class((1, 5, 7), **sizes, positions=True).double()
    is_told = model_class((1, 5, 7), **sizes, context=(2, 5, 7)).double()
    is_told.load_state_dict({k.replace("position_map", "context_map"): v for k, v in knows.state_dict().items()})
    rows = torch.tensor([-1, -0.5, 0, 0.5, 1]).double()[:, None].expand(5, 7)
    columns = torch.tensor([-3, -2, -1, 0, 1, 2, 3]).double().expand(5, 7) / 3
    x = torch.randint(2, (4, 1, 5, 7)).double()
    planes = torch.stack([rows, columns]).expand(4, 2, 5, 7)
    torch.testing.assert_close(knows.log_prob(x), is_told.log_prob(x, planes))
    assert (knows.log_prob(x) - is_told.log_prob(x, 0 * planes)).abs().min() > 1e-6  # and they matter


def test_the_border_is_no_black_pixel():
    """With bits as 0 and 1 the first convolution would find an empty picture the same everywhere, as its border is."""
    torch.manual_seed(0)
    model = PixelCNN((1, 9, 9), channels=6, layers=1, kernel=5)
    maps = model.first(model.encode(torch.zeros(1, 1, 9, 9))).detach()[0]
    assert (maps[:, 0, 0] - maps[:, 8, 4]).abs().max() > 0.1
    torch.testing.assert_close(maps[:, 7, 4], maps[:, 8, 4])  # away from the border all places are alike


@pytest.mark.parametrize("kind", [PixelCNN, GatedPixelCNN])
def test_embedded_codes_have_no_order(kind):
    """Another alphabet, with the rows of the embedding and of the outputs to match, is the same model."""
    model = livened(kind((2, 4, 3), channels=6, layers=2, kernel=3, levels=7, embedding=True))
    x, new = torch.randint(7, (5, 2, 4, 3)), torch.tensor([3, 0, 6, 1, 5, 2, 4])  # code k is called new[k] from now on
    expected, told_by_size = model.log_prob(x), model.log_prob(new[x])
    assert not torch.allclose(expected, told_by_size)
    old = new.argsort()
    with torch.no_grad():
        model.values.weight.copy_(model.values.weight[old])
        for parameter in (model.last.weight, model.last.bias):
            parameter.copy_(parameter.unflatten(0, (2, 7))[:, old].flatten(0, 1))
    torch.testing.assert_close(model.log_prob(new[x]), expected)
    with pytest.raises(ValueError, match="levels are codes"):
        kind((1, 4, 4), levels=16, logistics=2, embedding=True)
