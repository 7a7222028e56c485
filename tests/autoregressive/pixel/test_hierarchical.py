import itertools

import pytest
import torch

from lvmlib.autoregressive import FVSBN, GatedPixelCNN, HierarchicalPixelModel
from lvmlib.base import Density


def small() -> HierarchicalPixelModel:
    torch.manual_seed(0)
    pixels = GatedPixelCNN((1, 2, 4), channels=4, layers=1, context=(3, 2, 4))
    model = HierarchicalPixelModel(FVSBN((2, 1, 2)), pixels, channels=4).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def states(shape: tuple[int, ...]) -> torch.Tensor:
    d = torch.Size(shape).numel()
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=d))).double().view(-1, *shape)


def test_the_bound_against_the_sum_over_all_codes():
    """log p(x), by enumeration of the 16 codes, lies above the bound, and the exact probabilities sum to 1."""
    model = small()
    x, codes = states((1, 2, 4)), states((2, 1, 2))
    log_prior = model.prior.log_prob(codes)
    joint = torch.stack(
        [
            log_prior[i] + model.pixels.log_prob(x, model.features(2 * c[None] - 1).expand(len(x), -1, -1, -1))
            for i, c in enumerate(codes)
        ]
    )
    log_p, bound = joint.logsumexp(0), model.log_prob(x)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-10)
    assert (bound < log_p).all() and model.is_bound
    chosen = (codes[:, None] == model.codes(x).detach().round()[None]).flatten(2).all(2).long().argmax(0)
    torch.testing.assert_close(bound, joint.gather(0, chosen[None])[0])
    assert len(chosen.unique()) > 1


def test_each_loss_trains_its_own_half():
    model = small()
    x = torch.randint(2, (6, 1, 2, 4))
    first = {"encoder", "auxiliary"}
    for loss, trained in [(model.auxiliary_loss(x), first), (-model.log_prob(x), {"prior", "pixels", "features"})]:
        model.zero_grad()
        loss.sum().backward()
        reached = {
            name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
        }
        assert reached == trained


def test_auxiliary_loss_is_a_likelihood_of_independent_pixels():
    model = small()
    x = torch.randint(2, (3, 1, 2, 4)).double()
    p = model.auxiliary(2 * model.codes(x) - 1).sigmoid()
    expected = -(p**x * (1 - p) ** (1 - x)).log().flatten(1).sum(1)
    torch.testing.assert_close(model.auxiliary_loss(x), expected)


def test_samples_and_the_door():
    model = small()
    assert isinstance(model, Density) and model.sample(5).shape == (5, 1, 2, 4)
    assert model.decode(model.codes(torch.ones(3, 1, 2, 4)).detach().round()).shape == (3, 1, 2, 4)
    with pytest.raises(ValueError, match="binary codes"):
        HierarchicalPixelModel(FVSBN((2, 1, 1)), model.pixels)
    with pytest.raises(ValueError, match="binary codes"):
        HierarchicalPixelModel(FVSBN((2, 1, 2), levels=4), model.pixels)
    with pytest.raises(ValueError, match="codes must have shape"):
        model.decode(torch.zeros(3, 2, 2, 2))
