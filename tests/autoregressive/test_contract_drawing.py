"""What every autoregressive model must do when it draws and completes, with the cache and without."""

import pytest
import torch

from tests.autoregressive.cases import CASES, build
from tests.autoregressive.combinations import (
    EVERY_SHAPE,
    EVERY_SHAPE_AND_FAMILY,
    FAMILIES,
    NAMES,
    all_states,
    examples,
    fits,
)


@pytest.mark.parametrize(("name", "shape", "family"), EVERY_SHAPE_AND_FAMILY)
def test_cached_and_naive_samples_are_identical(name, shape, family):
    model = build(name, shape, **family)
    for temperature in (1.0, 0.7):
        draws = []
        for cache in (True, False):
            torch.manual_seed(3)
            draws.append(model.sample(5, temperature=temperature, cache=cache))
        assert torch.equal(*draws)
        assert len(draws[0].flatten(1).unique(dim=0)) > 1  # and not one picture five times


@pytest.mark.parametrize(("name", "shape"), EVERY_SHAPE)
def test_cached_parameters_are_those_of_the_one_pass(name, shape):
    for family in [family for family in FAMILIES if fits(name, family)]:
        model = build(name, shape, **family, context=3)
        x, context = examples(model, 4), torch.randn(4, 3).double()
        expected = model.predict(x, context).flatten(2)
        step, partial = model.steps(4, context), torch.zeros(4, model.dims).double()
        with torch.no_grad():
            for t, position in enumerate(model.order.tolist()):
                torch.testing.assert_close(step(t, partial), expected[:, :, position], rtol=1e-9, atol=1e-9)
                partial[:, position] = x.flatten(1)[:, position]


@pytest.mark.parametrize(("name", "shape"), EVERY_SHAPE)
def test_steps_may_begin_behind_any_known_positions(name, shape):
    """The parameters are those of the one pass, wherever the steps begin, and whatever stands at later positions."""
    model = build(name, shape, levels=5, context=3)
    x, context = examples(model, 3), torch.randn(3, 3).double()
    expected, flat = model.predict(x, context).flatten(2), x.flatten(1)
    with torch.no_grad():
        for known in range(model.dims):
            later = flat.clone()
            later[:, model.order[known:]] = 4 - flat[:, model.order[known:]]
            step = model.steps(3, context, later, known)
            for t, position in list(enumerate(model.order.tolist()))[known:]:
                torch.testing.assert_close(step(t, later), expected[:, :, position], rtol=1e-9, atol=1e-9)
                later[:, position] = flat[:, position]


@pytest.mark.parametrize("name", NAMES)
def test_a_known_beginning_is_read_in_one_pass(name, monkeypatch):
    """Whole passes and steps are counted: a row or a patch at most is walked again, and nothing without the cache."""
    shape = CASES[name].shapes[-1]
    model = build(name, shape)
    x, passes, steps = examples(model, 2), [], []
    predict, begin = model.predict, model.steps

    def counted(*args):
        step = begin(*args)
        return lambda t, x: steps.append(t) or step(t, x)

    monkeypatch.setattr(model, "predict", lambda *args: passes.append(1) or predict(*args))
    monkeypatch.setattr(model, "steps", counted)
    for rest in (1, 2, 5):
        for cache in (True, False):
            passes.clear()
            steps.clear()
            model.complete(x, model.dims - rest, cache=cache)
            if cache and (rest > 1 or not model.start_costs_a_pass):
                assert len(passes) <= 1 and steps == list(range(model.dims - rest, model.dims))
            else:
                assert len(passes) == rest and not steps
    passes.clear()
    assert torch.equal(model.complete(x, model.dims), x) and not passes  # nothing to draw, nothing to compute


@pytest.mark.parametrize("name", NAMES)
def test_the_same_uniform_numbers_are_used_behind_a_prefix(name):
    """A draw completed from its own beginning, with the same seed, is the same draw."""
    model = build(name, CASES[name].shapes[0], levels=5)
    torch.manual_seed(3)
    whole = model.sample(4)
    for known in range(0, model.dims + 1, 3):
        torch.manual_seed(3)
        assert torch.equal(model.complete(whole, known), whole)


@pytest.mark.parametrize(("name", "shape"), EVERY_SHAPE)
def test_completion_keeps_what_is_known_and_uses_the_cache(name, shape):
    model = build(name, shape)
    x, known = examples(model, 4), model.dims // 2
    draws = []
    for cache in (True, False):
        torch.manual_seed(3)
        draws.append(model.complete(x, known, cache=cache))
    assert torch.equal(*draws)
    kept = model.order[:known]
    assert torch.equal(draws[0].flatten(1)[:, kept], x.flatten(1)[:, kept])


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_frequencies_of_the_probabilities(name):
    """A chi-squared statistic over all states of a small model stays within 5 standard deviations of its mean."""
    shape = CASES[name].shapes[0]
    model = build(name, shape)
    n = 20_000
    with torch.no_grad():
        p = model.log_prob(all_states(model)).exp()
        torch.manual_seed(0)
        powers = 2 ** torch.arange(model.dims - 1, -1, -1)
        counts = (model.sample(n).flatten(1).long() * powers).sum(1).bincount(minlength=len(p))
    order = p.argsort(descending=True)
    big = order[: max(2, int((n * p > 5).sum()))]  # the many rare states form one class
    observed = torch.cat([counts[big], n - counts[big].sum(0, keepdim=True)]).double()
    expected = torch.cat([n * p[big], n * (1 - p[big].sum(0, keepdim=True))])
    keep = expected > 1
    statistic, freedom = ((observed - expected)[keep] ** 2 / expected[keep]).sum().item(), int(keep.sum()) - 1
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_off_while_a_model_draws(name):
    model = build(name, CASES[name].shapes[-1], **({"dropout": 0.5} if has_dropout(name) else {})).train()
    draws = []
    for cache in (True, False):
        torch.manual_seed(3)
        draws.append(model.sample(4, cache=cache))
    assert torch.equal(*draws)
    assert all(m.training for m in model.modules())


def has_dropout(name: str) -> bool:
    return name in ("CausalTransformer", "PatchTransformer", "PixelCNNpp", "PixelSNAIL")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_on_a_gpu(name):
    model = build(name, CASES[name].shapes[-1])
    x = examples(model, 3)
    on_cpu = model.log_prob(x)
    model.cuda()
    torch.testing.assert_close(model.log_prob(x.cuda()).cpu(), on_cpu, rtol=1e-8, atol=1e-8)
    draws = []
    for cache in (True, False):
        torch.manual_seed(3)
        draws.append(model.sample(4, cache=cache))
    assert torch.equal(*draws) and draws[0].is_cuda
