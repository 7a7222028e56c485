"""MADE against loops over its connections, and its mixture over orderings."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch

from lvmlib.autoregressive import MADE, OrderingMixture
from lvmlib.autoregressive.made import mixture_loss
from lvmlib.training import fit


def made(shape=(8,), seed=0, **options):
    """A float64 MADE whose conditionals are far from uniform."""
    torch.manual_seed(seed)
    model = MADE(shape, **{"hidden": (24, 20), "seed": seed, **options}).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return model


def states(dims, levels=2):
    return torch.tensor(list(itertools.product(range(levels), repeat=dims))).double()


def by_hand(model, x):
    """log p(x) unit by unit: a unit of degree m adds up the inputs whose place in the order is at most m."""
    order = model.order.tolist()
    place = {position: t + 1 for t, position in enumerate(order)}  # 1, ..., D
    values = {i: float(x[i]) for i in range(len(x))}
    below = [(place[i], values[i]) for i in range(len(x))]  # (degree, activation)
    degrees = model.net.degrees[int(model.net.mask_set)].tolist()
    for layer in model.net.layers:
        weight, bias = layer.weight.tolist(), layer.bias.tolist()
        own, degrees = degrees[: len(bias)], degrees[len(bias) :]
        above = []
        for k, m in enumerate(own):
            total = bias[k] + sum(weight[k][j] * h for j, (degree, h) in enumerate(below) if degree <= m)
            above.append((m, max(total, 0.0)))
        below = above
    total = 0.0
    weight, bias = model.net.output.weight.tolist(), model.net.output.bias.tolist()
    for i in range(len(x)):
        logit = bias[i] + sum(weight[i][j] * h for j, (degree, h) in enumerate(below) if degree < place[i])
        total += -math.log1p(math.exp(-logit if x[i] else logit))
    return total


@pytest.mark.parametrize("degrees", ["even", "random"])
def test_log_prob_is_the_sum_over_units_by_hand(degrees):
    model = made(degrees=degrees, masks=3)
    x = torch.randint(2, (4, 8)).double()
    for mask_set in range(3):
        model.use(mask_set)
        expected = [by_hand(model, row) for row in x]
        np.testing.assert_allclose(model.log_prob(x).detach(), expected, rtol=1e-10)


@pytest.mark.parametrize("hidden", [(), (15,), (24, 20), (12, 12, 12)])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_mask_set_and_the_mixture_sum_to_one(hidden, seed):
    for degrees in ("even", "random"):
        model = made(seed=seed, hidden=hidden, degrees=degrees, masks=4)
        x, each = states(8), []
        for mask_set in range(4):
            model.use(mask_set)
            each.append(model.log_prob(x))
            assert each[-1].exp().sum().item() == pytest.approx(1, abs=1e-10)
        assert min((a - b).abs().max() for a, b in itertools.combinations(each, 2)) > 0.01
        mixture = OrderingMixture(model).log_prob(x)
        assert mixture.exp().sum().item() == pytest.approx(1, abs=1e-10)
        torch.testing.assert_close(mixture.exp(), torch.stack(each).exp().mean(0))


def test_averaging_logits_over_orderings_is_no_density():
    model = made((4,), masks=4, seed=1)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    x, logits = states(4), []
    for mask_set in range(4):
        model.use(mask_set)
        logits.append(model.predict(x)[:, 0])
    mean = torch.stack(logits).mean(0)
    total = torch.distributions.Bernoulli(logits=mean).log_prob(x).sum(1).exp().sum().item()
    assert abs(total - 1) > 1e-3  # a density would give 1e-15


def test_the_mixture_draws_what_it_says():
    model = made((4,), masks=3)
    mixture, x, n = OrderingMixture(model), states(4), 20_000
    model.use(1)
    torch.manual_seed(0)
    counts = (mixture.sample(n) @ torch.tensor([8.0, 4, 2, 1]).double()).long().bincount(minlength=16)
    expected = n * mixture.log_prob(x).exp()
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    assert statistic < 15 + 5 * 30**0.5
    assert int(model.net.mask_set) == 1  # which was in use before
    model.use(0)
    alone = n * model.log_prob(x).exp()
    assert ((counts - alone) ** 2 / alone).sum().item() > 200  # and no single ordering would pass for it
    draws = []
    for cache in (True, False):
        torch.manual_seed(3)
        draws.append(mixture.sample(50, temperature=0.8, cache=cache))
    assert torch.equal(*draws)


def test_the_mixture_takes_contexts_and_refuses_a_single_mask():
    model = made((1, 2, 3), masks=3, context=4)
    mixture, x = OrderingMixture(model), torch.randint(2, (5, 1, 2, 3)).double()
    labels = torch.tensor([0, 1, 2, 3, 0])
    each = []
    for mask_set in range(3):
        model.use(mask_set)
        each.append(model.log_prob(x, labels).exp())
    torch.testing.assert_close(mixture.log_prob(x, labels).exp(), torch.stack(each).mean(0))
    assert not torch.allclose(mixture.log_prob(x, labels), mixture.log_prob(x, (labels + 1) % 4))
    with pytest.raises(ValueError, match="built with a context"):
        mixture.log_prob(x)
    certain = copy.deepcopy(model)
    with torch.no_grad():  # the label alone decides each pixel
        for p in certain.parameters():
            p.zero_()
        certain.net.context_map.weight[:, 0] = 1.0
        certain.net.layers[1].weight.fill_(1.0)
        certain.net.output.weight.fill_(100.0)
        certain.net.output.bias.fill_(-50.0)
    drawn = OrderingMixture(certain).sample(40, torch.arange(40) % 2)
    assert (drawn[::2] == 1).all() and (drawn[1::2] == 0).all()
    with pytest.raises(ValueError, match="whole numbers"):
        mixture.log_prob(x + 0.5)
    with pytest.raises(ValueError, match="two or more mask sets"):
        OrderingMixture(MADE((3,)))


def test_training_goes_round_the_mask_sets_and_evaluation_stays():
    model = made(masks=3)
    x = torch.randint(2, (2, 8)).double()
    seen = []
    model.train()
    for _ in range(6):
        model.log_prob(x).sum().backward()
        seen.append(int(model.net.mask_set))
        assert torch.equal(model.order, model.net.orders[seen[-1]])
    assert seen == [1, 2, 0, 1, 2, 0]
    model.use(2)
    model.eval()
    assert torch.equal(model.log_prob(x), model.log_prob(x)) and int(model.net.mask_set) == 2
    first, second = model.train().log_prob(x), model.log_prob(x)  # a step may add up several sets
    (first + second).sum().backward()
    kept = made(masks=3, order=list(range(8))[::-1])
    for mask_set in range(3):
        kept.use(mask_set)
        assert kept.order.tolist() == list(range(8))[::-1]


def test_the_mask_set_and_the_order_travel_with_the_weights():
    model = made((2, 3, 3), masks=3, degrees="random", seed=1)
    assert model.order.tolist() == MADE((2, 3, 3)).order.tolist()  # the first set draws pixel by pixel
    model.use(2)
    x = torch.randint(2, (3, 2, 3, 3)).double()
    other = made((2, 3, 3), masks=3, degrees="random", seed=2)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.log_prob(x), model.log_prob(x)) and torch.equal(other.order, model.order)
    torch.manual_seed(0)
    draws = model.sample(4)
    torch.manual_seed(0)
    assert torch.equal(other.sample(4), draws)


def test_trained_with_several_orderings_it_learns_under_each():
    torch.manual_seed(0)
    bit = torch.randint(2, (512, 1)).float()
    x = bit.expand(512, 6)  # all six bits agree: entropy log 2
    model = MADE((6,), hidden=(80, 80), masks=4)
    history = fit(model, x, steps=800, batch_size=64, lr=4e-3, progress=False)
    assert history.loss[0] > 3.5
    model.eval()
    for mask_set in range(4):
        model.use(mask_set)
        assert -model.log_prob(x).mean().item() < 0.75  # it began at 6 log 2 = 4.16
    assert (OrderingMixture(model).sample(50).float().var(1) == 0).float().mean() > 0.9


def test_a_rare_value_is_as_rare_with_short_weights():
    model = MADE((50,), hidden=(4,))
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.net.output.bias.fill_(math.log(0.001 / 0.999))
    model.bfloat16()
    p = torch.sigmoid(model.net.output.bias[0].double()).item()  # of the rounded log-odds
    torch.manual_seed(0)
    n = 2000 * 50
    ones = model.sample(2000).sum().item()
    assert abs(ones - n * p) < 5 * (n * p * (1 - p)) ** 0.5


@pytest.mark.parametrize("masks", [1, 3])
def test_what_was_built_or_loaded_for_inference_can_be_trained(masks):
    ordinary = MADE((6,), hidden=(8,), masks=masks, direct=True)
    with torch.inference_mode():
        built = MADE((6,), hidden=(8,), masks=masks, direct=True, seed=5)
        built.load_state_dict(ordinary.state_dict())
        ordinary.load_state_dict(built.state_dict())
        ordinary.use(masks - 1)
        ordinary.log_prob(torch.zeros(2, 6))
    for model in (built, ordinary):
        assert not any(t.is_inference() for t in [*model.parameters(), *model.buffers()])
        model.train().log_prob(torch.ones(2, 6)).sum().backward()
        assert all(p.grad is not None for p in model.parameters())


def test_few_positions_are_drawn_without_a_cache():
    """Whole passes were measured to be faster there, so the cached way is the other one."""
    for model, n, whole in [
        (MADE((8,), hidden=(32, 32)), 4, True),
        (MADE((8,), hidden=(32, 32)), 4000, False),
        (MADE((9,), hidden=(32, 32)), 4, False),
    ]:
        passes = []
        model.net.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        model.sample(n)
        assert len(passes) == (model.dims if whole else 0)


def test_the_mixture_can_be_validated_with():
    """The value does not depend on the mask set that training stands at, and leaves it where it is."""
    model = MADE((6,), hidden=(16,), masks=3, context=2)
    x, context = torch.randint(2, (4, 6)).float(), torch.randn(4, 2)
    values = []
    for mask_set in range(3):
        model.use(mask_set)
        values.append(mixture_loss(model.eval(), (x, context)))
        assert int(model.net.mask_set) == mask_set
        single = -model.log_prob(x, context)
        assert not torch.allclose(single, values[0])
    assert torch.equal(values[0], values[1]) and torch.equal(values[0], values[2])
    torch.testing.assert_close(values[0], -OrderingMixture(model).log_prob(x, context))
