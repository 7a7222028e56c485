import itertools
import pickle

import pytest
import torch

from lvmlib.autoregressive import FVSBN, GatedPixelCNN, SuperResolution
from lvmlib.base import Given


def small() -> SuperResolution:
    torch.manual_seed(0)
    model = SuperResolution(GatedPixelCNN((1, 2, 4), channels=4, layers=1, context=(3, 2, 4)), factor=2).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def test_probabilities_given_a_small_picture_sum_to_one():
    model = small()
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=8))).double().view(-1, 1, 2, 4)
    totals, first = [], []
    for y in ((0.0, 1.0), (0.25, 0.5)):
        context = torch.tensor(y).double().view(1, 1, 1, 2).expand(256, -1, -1, -1)
        log_prob = model.log_prob(states, context)
        totals.append(log_prob.exp().sum().item())
        first.append(log_prob[3].item())
    assert totals == pytest.approx([1, 1], abs=1e-10)
    assert abs(first[0] - first[1]) > 1e-3  # the small picture matters


def test_shrinking_is_a_mean_over_blocks():
    model = small()
    x = torch.tensor([[1.0, 0, 1, 1], [0, 0, 1, 1]]).view(1, 1, 2, 4)
    assert model.shrink(x).flatten().tolist() == [0.25, 1.0]
    torch.testing.assert_close(model.log_prob(x), model.log_prob(x, model.shrink(x)))


def test_samples_agree_with_and_without_the_cache():
    model = small()
    context = torch.rand(6, 1, 1, 2).double()
    draws = []
    for cache in (True, False):
        torch.manual_seed(1)
        draws.append(model.sample(6, context, cache=cache))
    assert torch.equal(*draws) and draws[0].shape == (6, 1, 2, 4)


def test_gradients_reach_the_features():
    model = small()
    model.log_prob(torch.randint(2, (5, 1, 2, 4))).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.features.parameters())


def test_weights_of_the_time_when_the_parts_had_other_names_fit():
    model, other = small(), small()
    x = torch.randint(2, (3, 1, 2, 4)).double()
    expected = model.log_prob(x)
    old = {
        key.replace("density.", "model.", 1).replace("network.", "features.", 1): 2 * value
        for key, value in model.state_dict().items()
    }
    assert {key.split(".")[0] for key in old} == {"model", "features"}
    other.load_state_dict(old)
    assert all(torch.equal(2 * a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))
    holder = torch.nn.ModuleDict({"inner": other})
    holder.load_state_dict({f"inner.{key}": value / 2 for key, value in old.items()})
    assert torch.equal(pickle.loads(pickle.dumps(other)).log_prob(x), expected)


def test_it_is_the_pixel_model_given_what_a_network_makes_of_the_small_picture():
    model = small()
    x, told = torch.randint(2, (3, 1, 2, 4)).double(), torch.rand(3, 1, 1, 2).double()
    assert isinstance(model, Given)
    assert torch.equal(model.log_prob(x, told), model.model.log_prob(x, model.features(told)))
    prefix = torch.tensor([[1.0, 0.0]] * 3)
    assert torch.equal(model.sample(3, told, prefix=prefix).flatten(1)[:, :2].float(), prefix)


def test_the_door():
    model = small()
    with pytest.raises(ValueError, match="enlarges small pictures"):
        model.sample(3)
    with pytest.raises(ValueError, match="context must have shape"):
        model.sample(3, torch.zeros(3, 1, 2, 4))
    with pytest.raises(ValueError, match="one row per example"):
        model.sample(3, torch.zeros(2, 1, 1, 2))
    with pytest.raises(ValueError, match="must be built with a map"):
        SuperResolution(FVSBN((1, 2, 4)), factor=2)
    with pytest.raises(ValueError, match="divide height and width"):
        SuperResolution(model.model, factor=4)
