import itertools

import pytest
import torch

from lvmlib.autoregressive import GatedPixelCNN, Inpainting


def small() -> Inpainting:
    torch.manual_seed(0)
    model = Inpainting(GatedPixelCNN((1, 2, 3), channels=4, layers=1, context=(3, 2, 3)), width=4, layers=2).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


MASKS = [
    [[0, 0, 0], [0, 0, 0]],
    [[1, 0, 1], [0, 0, 1]],
    [[0, 0, 1], [1, 1, 1]],
    [[1, 1, 1], [1, 1, 1]],
]


@pytest.mark.parametrize("mask", MASKS)
def test_probabilities_of_all_fillings_sum_to_one(mask):
    model = small()
    known = torch.tensor(mask).double().view(1, 1, 2, 3)
    picture = torch.tensor([[1.0, 0, 1], [1, 1, 0]]).double().view(1, 1, 2, 3)
    missing = int((1 - known).sum())
    fillings = torch.tensor(list(itertools.product((0.0, 1.0), repeat=missing))).double().view(2**missing, missing)
    x = picture.repeat(len(fillings), 1, 1, 1)
    x[:, known[0] == 0] = fillings
    log_prob = model.log_prob(x, known.expand(len(x), -1, -1, -1))
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-10)


def test_what_stands_at_missing_pixels_cannot_be_seen():
    """The first prediction is the same whatever the missing pixels hold, and depends on known ones that come later."""
    model = small()
    known = torch.tensor(MASKS[2]).double().view(1, 1, 2, 3)
    x = torch.randint(2, (1, 1, 2, 3)).double()
    changed = torch.where(known.bool(), x, 1 - x)
    for y in (x, changed):
        assert torch.equal(model._map(y, known), model._map(x, known))
    later = x.clone()
    later[..., -1] = 1 - later[..., -1]  # known, and last in the order
    first = [model.model.predict(y, model._map(y, known))[..., 0, 0] for y in (x, later)]
    assert not torch.allclose(*first)


def test_filling_keeps_what_is_known():
    model = small()
    known = torch.tensor(MASKS[1]).double().view(1, 1, 2, 3).expand(50, -1, -1, -1)
    x = torch.randint(2, (50, 1, 2, 3)).double()
    draws = []
    for cache in (True, False):
        torch.manual_seed(1)
        draws.append(model.fill(x, known, cache=cache))
    assert torch.equal(*draws)
    assert torch.equal(draws[0][known == 1], x[known == 1])
    assert len(draws[0][known == 0].view(50, -1).unique(dim=0)) > 3
    assert model.fill(x * torch.nan, torch.zeros_like(known)).isfinite().all()  # what is missing is not looked at
    assert model.sample(3).shape == (3, 1, 2, 3)


def test_the_door():
    model = small()
    x = torch.zeros(2, 1, 2, 3)
    with pytest.raises(ValueError, match="known must be 1"):
        model.log_prob(x, x + 0.5)
    with pytest.raises(ValueError, match="known must have shape"):
        model.log_prob(x, x[..., :2])
    with pytest.raises(ValueError, match="takes no context"):
        model.sample(2, x)
    with pytest.raises(ValueError, match="whole numbers"):
        model.fill(x + 3, torch.ones_like(x))


def test_codes_can_be_missing_too():
    pixels = GatedPixelCNN((1, 4, 4), channels=4, layers=1, kernel=3, levels=9, embedding=True, context=(2, 4, 4))
    model, x = Inpainting(pixels, width=4, layers=1), torch.randint(9, (3, 1, 4, 4)).float()
    known = torch.zeros(3, 1, 4, 4)
    known[..., :2] = 1
    assert torch.equal(model.fill(x, known)[..., :2], x[..., :2])
    assert model.log_prob(x, known).shape == (3,)
