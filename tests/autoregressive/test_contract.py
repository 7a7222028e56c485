"""What every autoregressive model must do, tried on each of them in float64."""

import itertools
import math
import pickle

import pytest
import torch

from lvmlib.autoregressive import Autoregressive
from tests.autoregressive.cases import CASES, build

NAMES = sorted(CASES)
FAMILIES = [{"levels": 2}, {"levels": 5}, {"levels": 7, "logistics": 2}]
FAMILY_IDS = ["binary", "categorical", "logistics"]


def fits(name: str, family: dict) -> bool:
    """Mixtures of logistics are of magnitudes, embeddings are of codes."""
    return not ("embedding" in name and "logistics" in family)


EVERY_FAMILY = [
    pytest.param(name, family, id=f"{name}-{key}")
    for name in NAMES
    for family, key in zip(FAMILIES, FAMILY_IDS, strict=True)
    if fits(name, family)
]


def examples(model: Autoregressive, n: int) -> torch.Tensor:
    return torch.randint(model.levels, (n, *model.event_shape)).double()


def all_states(model: Autoregressive) -> torch.Tensor:
    values = itertools.product(range(model.levels), repeat=model.dims)
    return torch.tensor(list(values), dtype=torch.float64).view(-1, *model.event_shape)


def shapes_of(name: str) -> list[tuple[int, ...]]:
    return [*CASES[name].shapes, *CASES[name].channels]


EVERY_SHAPE = [(name, shape) for name in NAMES for shape in shapes_of(name)]
EVERY_SHAPE_AND_FAMILY = [
    pytest.param(name, shape, family, id=f"{name}-{'x'.join(map(str, shape))}-{key}")
    for name, shape in EVERY_SHAPE
    for family, key in zip(FAMILIES, FAMILY_IDS, strict=True)
    if fits(name, family)
]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_probabilities_of_all_states_sum_to_one(name, seed):
    for shape in {CASES[name].shapes[0], *CASES[name].channels[:1]}:
        model = build(name, shape, seed)
        assert model.dims <= 12
        total = model.log_prob(all_states(model)).exp().sum().item()
        assert total == pytest.approx(1, abs=1e-10)
        assert model.log_prob(all_states(model)).std() > 0.1  # and it is not the uniform distribution


@pytest.mark.parametrize("name", [n for n in NAMES if CASES[n].ordered])
def test_any_order_sums_to_one(name):
    shape = CASES[name].shapes[0]
    for seed in (1, 2):
        order = torch.randperm(math.prod(shape), generator=torch.Generator().manual_seed(seed))
        model = build(name, shape, order=order)
        assert model.log_prob(all_states(model)).exp().sum().item() == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize(("name", "shape", "family"), EVERY_SHAPE_AND_FAMILY)
def test_each_position_depends_on_those_before_it_and_on_no_other(name, shape, family):
    """The Jacobian of all parameters by all inputs, in the order of drawing, is strictly lower triangular."""
    orders = [None, torch.randperm(math.prod(shape))] if CASES[name].ordered else [None]
    for order in orders:
        model = build(name, shape, **family, **({} if order is None else {"order": order}))
        x = examples(model, 1)
        jacobian = torch.autograd.functional.jacobian(lambda x: model.predict(x).flatten(2)[0], x)  # noqa: B023
        reach = jacobian.abs().sum(0).flatten(1)[model.order][:, model.order]  # [D, D]
        assert (reach.triu() == 0).all()
        assert (reach.diagonal(-1) > 0).float().mean() > 0.5 or model.dims == 1  # most see the one just before


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
def test_contexts(name):
    shape = CASES[name].shapes[-1]
    model = build(name, shape, context=3)
    x = examples(model, 4)
    labels = torch.tensor([0, 1, 2, 0])
    by_label = model.log_prob(x, labels)
    torch.testing.assert_close(by_label, model.log_prob(x, torch.nn.functional.one_hot(labels, 3)))
    assert not torch.allclose(by_label, model.log_prob(x, (labels + 1) % 3))
    for call in (model.log_prob, model.conditionals, lambda x: model.sample(4), lambda x: model.complete(x, 2)):
        with pytest.raises(ValueError, match="built with a context of shape"):
            call(x)
    draws = []
    for cache in (True, False):
        torch.manual_seed(3)
        draws.append(model.sample(4, labels, cache=cache))
    assert torch.equal(*draws)
    with pytest.raises(ValueError, match=r"labels must be 0 to 2"):
        model.log_prob(x, labels + 1)
    with pytest.raises(ValueError, match="context must have"):
        model.log_prob(x, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="one row per example"):
        model.log_prob(x, labels[:2])
    with pytest.raises(ValueError, match="built without a context"):
        build(name, shape).log_prob(x, labels)


@pytest.mark.parametrize(("name", "family"), EVERY_FAMILY)
def test_shapes_gradients_dtypes_and_pickles(name, family):
    shape = CASES[name].shapes[-1]
    model = build(name, shape, **family, context=3)
    x, context = examples(model, 3), torch.randn(3, 3).double()
    assert model.conditionals(x, context).batch_shape == (3,)
    assert model.conditionals(x, context).event_shape == shape
    log_prob = model.log_prob(x, context)
    assert log_prob.shape == (3,)
    torch.testing.assert_close(log_prob, model.conditionals(x, context).log_prob(x))
    log_prob.sum().backward()
    for key, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0, key
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again.log_prob(x, context), log_prob)
    assert type(model).__name__ in repr(model)
    single = model.float()
    torch.testing.assert_close(single.log_prob(x, context).double(), log_prob, rtol=1e-4, atol=1e-4)
    drawn = single.sample(3, context)
    assert drawn.dtype == torch.float32 and not drawn.requires_grad
    assert torch.equal(single.log_prob(x.to(torch.uint8), context), single.log_prob(x, context))


@pytest.mark.parametrize(("name", "family"), EVERY_FAMILY)
def test_short_weights_give_long_probabilities(name, family):
    """With weights in bfloat16, values and log-probabilities have float32, and what is kept is kept exactly."""
    model = build(name, CASES[name].shapes[-1], **family).bfloat16()
    x = examples(model, 4)
    x[0] = model.levels - 1
    log_prob = model.log_prob(x)
    assert log_prob.dtype == torch.float32
    outputs = model.predict(x.float())  # from here on by hand, in float64
    exact = model.family.log_prob(outputs.double(), x)
    torch.testing.assert_close(log_prob.double(), exact, rtol=1e-5, atol=1e-5)
    for cache in (True, False):
        drawn = model.complete(x, model.dims // 2, cache=cache)
        kept = model.order[: model.dims // 2]
        assert drawn.dtype == torch.float32 and torch.equal(drawn.flatten(1)[:, kept].double(), x.flatten(1)[:, kept])


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("LSTM", "GRU")])
def test_vmap_and_func_grad(name):
    """Checks of values step aside: one example at a time under vmap, and a gradient of each example alone.

    torch has no batching rule for its own recurrent networks.
    """
    model = build(name, CASES[name].shapes[-1])
    x, weights = examples(model, 3), dict(model.named_parameters())

    def log_prob(weights, x):
        return torch.func.functional_call(Called(model), {f"model.{k}": w for k, w in weights.items()}, (x[None],))[0]

    expected = model.log_prob(x)
    torch.testing.assert_close(torch.func.vmap(lambda x: model.log_prob(x[None])[0])(x), expected)
    each = torch.func.vmap(torch.func.grad(log_prob), in_dims=(None, 0))(weights, x)
    expected.sum().backward()
    for key, p in model.named_parameters():
        torch.testing.assert_close(each[key].sum(0), p.grad)
    with pytest.raises(ValueError, match="must have shape"):  # shapes are still looked at
        torch.func.vmap(model.log_prob)(x)


class Called(torch.nn.Module):
    """A model whose call is its log-probability."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.log_prob(x)


@pytest.mark.parametrize("name", ["MADE", "PixelCNN"])
def test_one_graph_under_compile(name):
    model = build(name, CASES[name].shapes[-1])
    x = examples(model, 3)
    torch._dynamo.reset()
    compiled = torch.compile(model.log_prob, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model.log_prob(x))


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


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_stopped_at_the_door(name):
    shape = CASES[name].shapes[0]
    model = build(name, shape)
    x = examples(model, 2)
    for bad, message in [
        (x[0], "must have shape"),
        (x + 1, "whole numbers from 0 to 1"),
        (x - 1, "whole numbers from 0 to 1"),
        (x + 0.5, "whole numbers from 0 to 1"),
        (x * math.nan, "whole numbers from 0 to 1"),
        (x + math.inf, "whole numbers from 0 to 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.log_prob(bad)
    with pytest.raises(ValueError, match="temperature must be positive"):
        model.sample(1, temperature=0.0)
    with pytest.raises(ValueError, match="n counts draws"):
        model.sample(0)
    with pytest.raises(ValueError, match="prefix must"):
        model.sample(2, prefix=torch.zeros(3, 1))
    with pytest.raises(ValueError, match="prefix must"):
        model.sample(2, prefix=torch.full((2, 1), 2.0))
    with pytest.raises(ValueError, match="known counts"):
        model.complete(x, model.dims + 1)
    with pytest.raises(ValueError, match="levels"):
        CASES[name].build(shape, levels=1)
    if CASES[name].ordered:
        with pytest.raises(ValueError, match="order must name each"):
            CASES[name].build(shape, order=[0] * model.dims)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_compiled_gives_the_same_numbers(name):
    model = build(name, CASES[name].shapes[-1], context=3)
    x, context = examples(model, 3), torch.randn(3, 3).double()
    compiled = torch.compile(model.predict)
    torch.testing.assert_close(compiled(x, context), model.predict(x, context), rtol=1e-9, atol=1e-9)


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
