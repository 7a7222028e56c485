"""What every autoregressive model must do, tried on each of them in float64."""

import math
import pickle

import pytest
import torch

from tests.autoregressive.cases import CASES, build
from tests.autoregressive.combinations import (
    EVERY_SHAPE_AND_FAMILY,
    FAMILIES,
    FAMILY_IDS,
    NAMES,
    all_states,
    examples,
    fits,
)

EVERY_FAMILY = [
    pytest.param(name, family, id=f"{name}-{key}")
    for name in NAMES
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
    scattered = torch.randperm(math.prod(shape), generator=torch.Generator().manual_seed(1))
    orders = [None, scattered] if CASES[name].ordered else [None]
    for order in orders:
        model = build(name, shape, **family, **({} if order is None else {"order": order}))
        x = examples(model, 8)  # one alone may leave the few units between two neighbours at zero
        jacobian = torch.autograd.functional.jacobian(lambda x: model.predict(x).flatten(2).sum(0), x)  # noqa: B023
        reach = jacobian.abs().sum((0, 2)).flatten(1)[model.order][:, model.order]  # [D, D]
        assert (reach.triu() == 0).all()
        assert (reach.diagonal(-1) > 0).float().mean() > 0.5 or model.dims == 1  # most see the one just before


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
