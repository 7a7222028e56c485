import itertools

import pytest
import torch

from lvmlib.autoregressive import Colourisation, GatedPixelCNN, PixelCNNpp


def small(shape=(3, 1, 2)) -> Colourisation:
    torch.manual_seed(0)
    pixels = GatedPixelCNN(shape, channels=6, layers=1, kernel=3, context=(4, *shape[1:]))
    model = Colourisation(pixels, width=4, layers=2).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def test_probabilities_given_a_grey_picture_sum_to_one():
    model = small()
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=6))).double().view(-1, 3, 1, 2)
    totals, first = [], []
    for grey in ((-1.0, 0.3), (0.5, 1.0)):
        log_prob = model.log_prob(states, torch.tensor(grey).double().expand(64, 1, 1, 2))
        totals.append(log_prob.exp().sum().item())
        first.append(log_prob[3].item())
    assert totals == pytest.approx([1, 1], abs=1e-10)
    assert abs(first[0] - first[1]) > 1e-3  # the grey picture matters


def test_brightness():
    model = Colourisation(PixelCNNpp((3, 4, 4), channels=4, layers=1, halvings=1, logistics=1, context=(2, 4, 4)))
    x = torch.zeros(5, 3, 4, 4, dtype=torch.uint8)
    x[0] = 255  # white
    x[2, 0], x[3, 1], x[4, 2] = 255, 255, 255  # red, green, blue
    grey = model.grey(x)
    assert grey.shape == (5, 1, 4, 4)
    expected = torch.tensor([1, -1, 2 * 0.299 - 1, 2 * 0.587 - 1, 2 * 0.114 - 1])
    torch.testing.assert_close(grey, expected.view(5, 1, 1, 1).expand(5, 1, 4, 4))
    torch.testing.assert_close(model.log_prob(x), model.log_prob(x, grey))


def test_the_first_pixel_is_told_of_what_lies_around_and_below():
    model = small((3, 9, 9))
    grey = torch.rand(4, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    x = torch.randint(2, (4, 3, 9, 9)).double()
    first = model.model.predict(x, model.features(grey))[..., 0, 0]
    (gradient,) = torch.autograd.grad(first.square().sum(), grey)
    told = gradient[:, 0].abs().sum(0) > 0
    assert told[:5, :5].all()  # kernels of 3 with dilations 1, 1 and 2 see 4 pixels to every side
    assert not told[5:].any() and not told[:, 5:].any()


def test_samples_agree_with_and_without_the_cache():
    model = small((3, 3, 4))
    told = torch.rand(6, 1, 3, 4).double()
    draws = []
    for cache in (True, False):
        torch.manual_seed(1)
        draws.append(model.sample(6, told, cache=cache))
    assert torch.equal(*draws) and draws[0].shape == (6, 3, 3, 4)


def test_gradients_reach_the_features():
    model = small()
    model.log_prob(torch.randint(2, (5, 3, 1, 2))).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.features.parameters())


def test_the_door():
    model = small()
    with pytest.raises(ValueError, match="colours grey pictures"):
        model.sample(3)
    with pytest.raises(ValueError, match="context must have shape"):
        model.sample(3, torch.zeros(3, 3, 1, 2))
    with pytest.raises(ValueError, match="one row per example"):
        model.sample(3, torch.zeros(2, 1, 1, 2))
    for bad in (torch.full((3, 1, 1, 2), 255.0), torch.full((3, 1, 1, 2), torch.nan)):
        with pytest.raises(ValueError, match="between -1"):
            model.sample(3, bad)
    with pytest.raises(ValueError, match="x must have shape"):
        model.grey(torch.zeros(2, 1, 1, 2))
    with pytest.raises(ValueError, match="must be built with a map"):
        Colourisation(GatedPixelCNN((3, 4, 4), channels=6, layers=1))
    with pytest.raises(ValueError, match="red, green and blue"):
        Colourisation(GatedPixelCNN((1, 4, 4), channels=4, layers=1, context=(2, 4, 4)))
