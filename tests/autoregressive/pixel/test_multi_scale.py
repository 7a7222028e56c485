import itertools

import pytest
import torch

from lvmlib.autoregressive import FVSBN, MultiScale
from lvmlib.autoregressive.pixel.multi_scale import _merge, _split


def small(coarse=(1, 1, 2), doublings=1, **options) -> MultiScale:
    torch.manual_seed(0)
    model = MultiScale(FVSBN(coarse, **options), doublings, channels=4, layers=1).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


def states(shape: tuple[int, ...], levels: int) -> torch.Tensor:
    d = torch.Size(shape).numel()
    return torch.tensor(list(itertools.product(range(levels), repeat=d)), dtype=torch.float64).view(-1, *shape)


@pytest.mark.parametrize(
    ("coarse", "doublings", "options"),
    [
        ((1, 1, 2), 1, {}),
        ((1, 1, 1), 2, {}),
        ((2, 1, 1), 1, {}),
        ((1, 1, 1), 1, {"levels": 5}),
        ((1, 1, 1), 1, {"levels": 4, "logistics": 2}),
    ],
)
def test_probabilities_sum_to_one(coarse, doublings, options):
    model = small(coarse, doublings, **options)
    x = states(tuple(model.event_shape), model.coarse.levels)
    log_prob = model.log_prob(x)
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-10)
    assert log_prob.std() > 0.1
    assert model.steps == torch.Size(coarse).numel() + 3 * doublings


def test_groups_split_and_merge():
    x = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    groups = _split(x)
    assert torch.equal(_merge(groups), x)
    assert torch.equal(groups[1][..., 0, 0], x[..., 0, 1]) and torch.equal(groups[2][..., 0, 0], x[..., 1, 0])


def test_a_group_depends_on_the_groups_before_it_only():
    model = small((1, 2, 2), 1)
    x = torch.randint(2, (1, 1, 4, 4)).double().requires_grad_()
    groups = _split(x)
    for known in (1, 2, 3):
        outputs = model._outputs(0, groups[:known])
        (gradient,) = torch.autograd.grad(outputs.square().sum(), x, retain_graph=True)
        seen = [bool(g.abs().sum() > 0) for g in _split(gradient)]
        assert seen == [True] * known + [False] * (4 - known)


def test_samples_follow_the_probabilities():
    model, n = small(), 40_000
    x = states((1, 2, 4), 2)
    with torch.no_grad():
        p = model.log_prob(x).exp()
    torch.manual_seed(0)
    index = (model.sample(n).flatten(1).long() * 2 ** torch.arange(7, -1, -1)).sum(1)
    observed, expected = index.bincount(minlength=256).double(), n * p
    keep = expected > 1
    statistic = ((observed - expected)[keep] ** 2 / expected[keep]).sum().item()
    assert statistic < keep.sum() + 5 * (2 * keep.sum()) ** 0.5


def test_gradients_contexts_and_the_door():
    model = small((1, 2, 2), 2, context=3)
    x, labels = torch.randint(2, (3, 1, 8, 8)), torch.tensor([0, 1, 2])
    model.log_prob(x, labels).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in model.parameters())
    assert model.sample(3, labels).shape == (3, 1, 8, 8) and model.float().sample(3, labels).dtype == torch.float32
    with pytest.raises(ValueError, match="must have shape"):
        model.log_prob(x[..., :4])
    with pytest.raises(ValueError, match="whole numbers from 0 to 1"):
        model.log_prob(x + 1)
    with pytest.raises(ValueError, match="doubles pictures"):
        MultiScale(FVSBN((4,)))
    with pytest.raises(ValueError, match="doublings must be"):
        MultiScale(FVSBN((1, 2, 2)), doublings=0)
