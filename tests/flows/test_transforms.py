"""What holds for every transform: the determinant, both directions, gradients, and how it behaves as a module."""

import copy
import pickle

import pytest
import torch

from lvmlib.chain import Flow
from lvmlib.distributions import StandardNormal
from lvmlib.flows import InverseAutoregressive, Permutation
from tests.flows.flow_cases import CASES, made


def latent(layer, x):
    return layer.latent_shape or layer.event_shape or x.shape[1:]


# Where they give a border of what they may give, from which no way leads back.
SATURATE = {"sigmoid": (-1, 1), "tanh": (-1, 1), "mixture of gaussians": (-1, 1), "mixture of logistics": (-1, 1)}
SATURATE["softplus"] = (-1,)


def one_pass(layer):
    """An inverse autoregressive layer the other way round, where it takes one pass and no steps."""
    return layer.transform if isinstance(layer, InverseAutoregressive) else layer


def jacobian(call, x):
    return torch.autograd.functional.jacobian(lambda v: call(v.view(1, *x.shape))[0].flatten(), x.flatten())


@pytest.mark.parametrize("name", CASES)
def test_log_determinant_is_that_of_autograds_jacobian(name):
    layer, x, context = made(name)
    z, log_det = layer(x, context)
    assert z.shape == (3, *latent(layer, x)) and log_det.shape == (3,)
    for i in range(3):
        row = None if context is None else context[i : i + 1]
        matrix = jacobian(lambda v, row=row: layer(v, row), x[i])
        assert torch.linalg.slogdet(matrix)[1].item() == pytest.approx(log_det[i].item(), rel=1e-8, abs=1e-12)
        back = jacobian(lambda v, row=row: layer.inverse(v, row), z[i].detach())
        torch.testing.assert_close(back @ matrix, torch.eye(len(matrix)).double(), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_the_inverse_leads_back_both_ways(name):
    layer, x, context = made(name)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            z, log_det = layer(x, context)
            back, paid = layer.inverse(z, context)
            torch.testing.assert_close(back, x, rtol=1e-8, atol=1e-9)
            torch.testing.assert_close(paid, -log_det, rtol=1e-8, atol=1e-9)
            other = layer.inverse(z.roll(1, 0), context)[0]
            torch.testing.assert_close(layer(other, context)[0], z.roll(1, 0), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_single_precision_leads_back_within_the_condition_of_the_map(name):
    exact, x, context = made(name)
    layer = copy.deepcopy(exact).float()
    single = None if context is None else context.float()
    z, log_det = layer(x.float(), single)
    assert z.dtype == log_det.dtype == torch.float32
    back, _ = layer.inverse(z, single)
    rows = [None if context is None else context[i : i + 1] for i in range(3)]
    slopes = [jacobian(lambda v, row=row: exact.inverse(v, row), z[i].double()) for i, row in enumerate(rows)]
    steepest = torch.stack(slopes).abs().max()
    scale = (1 + x.abs().max() + z.abs().max() * steepest).item()
    assert (back - x).abs().max().item() < 1e-5 * scale
    assert (log_det - exact(x, context)[1]).abs().max().item() < 1e-4 * scale


@pytest.mark.parametrize("name", [name for name in CASES if list(CASES[name].make().parameters())])
@pytest.mark.parametrize("way", ["forward", "inverse"])
def test_a_gradient_reaches_every_parameter(name, way):
    layer, x, context = made(name)
    start = x if way == "forward" else layer(x, context)[0].detach()
    moved, log_det = getattr(layer, way)(start.roll(1, 0), context)
    volume = 0 if name.startswith("additive") else log_det.sum()
    (moved.square().sum() + moved.sum() + volume).backward()
    for key, p in layer.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", [name for name in CASES if list(CASES[name].make().parameters())])
def test_the_gradient_through_the_inverse_is_that_of_finite_differences(name):
    layer, x, context = made(name)
    z = layer(x, context)[0].detach()
    direction = {key: torch.randn_like(p) for key, p in layer.named_parameters()}

    def value(step):
        weights = {key: p + step * direction[key] for key, p in layer.named_parameters()}
        with torch.nn.utils.stateless._reparametrize_module(layer, weights):
            moved, log_det = layer.inverse(z, context)
        return moved.sin().sum() + log_det.sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(step), step)
    with torch.no_grad():
        quotient = (value(1e-6) - value(-1e-6)) / 2e-6
    assert slope.item() == pytest.approx(quotient.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_copies_and_pickles_compute_the_same(name):
    layer, x, context = made(name)
    z = layer(x, context)[0]
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(x, context)[0], z, rtol=0, atol=0)
    fresh = CASES[name].make().double()
    fresh.load_state_dict(layer.state_dict())
    torch.testing.assert_close(fresh(x, context)[0], z, rtol=0, atol=0)
    assert type(layer).__name__ in repr(layer)


@pytest.mark.parametrize("name", CASES)
def test_compiled_it_gives_the_same_numbers(name):
    layer, x, context = made(name)
    layer = one_pass(layer)
    torch._dynamo.reset()
    z, log_det = torch.compile(layer, backend="eager")(x, context)
    torch.testing.assert_close((z, log_det), layer(x, context), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if "continuous" not in name])  # a solver looks at values
def test_on_another_device_nothing_is_left_behind(name):
    """The meta device refuses to meet a tensor that stayed on the processor."""
    layer, x, context = made(name)
    layer, x = one_pass(layer).to("meta"), x.to("meta")
    context = None if context is None else context.to("meta")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)  # values are not known there
        z, log_det = layer(x, context)
        assert z.device.type == log_det.device.type == "meta"


@pytest.mark.parametrize("name", CASES)
def test_wrong_shapes_are_refused_by_name(name):
    layer, x, context = made(name)
    called = type(layer).__name__
    if layer.event_shape is None and not isinstance(layer, Permutation):
        pytest.skip("takes any shape")
    if called in ("Chain", "Inverse", "InverseAutoregressive"):  # whose parts say it
        called = ""
    for bad in (x[:, :1], x[0], x[:0], x[..., None])[: 3 if isinstance(layer, Permutation) else 4]:
        if layer.event_shape is None and bad.dim() == x.dim() - 1 > 1:
            continue  # a permutation of channels takes events of any number of axes
        with pytest.raises(ValueError, match=f"(?s){called}.*(must have shape|empty batch)"):
            layer(bad, context)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].context])
def test_a_context_is_used_or_refused(name):
    layer, x, context = made(name)
    assert not torch.allclose(layer(x, context)[0], layer(x, context.roll(1, 0))[0])
    with pytest.raises(ValueError, match="pass context="):
        layer(x)
    with pytest.raises(ValueError, match="entries per example"):
        layer(x, context[:, :1])
    with pytest.raises(ValueError, match="one row per example"):
        layer(x, context[:2])


@pytest.mark.parametrize("name", ["affine coupling, board", "affine coupling, channels", "split, told"])
def test_a_context_may_be_a_picture_of_the_same_size(name):
    layer, x, context = made(name)
    wide = context[:, :, None, None].expand(-1, -1, 4, 4)
    if name != "split, told":  # whose inner layers see smaller pictures
        torch.testing.assert_close(layer(x, wide), layer(x, context))
    else:
        torch.testing.assert_close(layer.parameters_given(x[:, :1], wide), layer.parameters_given(x[:, :1], context))
    with pytest.raises(ValueError, match=rf"The context of {type(layer).__name__} must have height and width \[4, 4\]"):
        layer(x, wide[..., :2])


def test_a_context_that_nobody_asked_for_is_refused():
    layer, x, _ = made("affine coupling")
    with pytest.raises(ValueError, match="AffineCoupling was built without a context"):
        layer(x, torch.zeros(3, 2))


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].far])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_far_out_the_answer_is_finite_or_the_layer_says_why_not(name, size):
    layer, x, context = made(name, torch.float32)
    x = torch.full_like(x, abs(size) if CASES[name].data == "positive" else size)
    z, log_det = layer(x, context)
    assert z.isfinite().all() and log_det.isfinite().all()
    if layer.event_shape is not None and CASES[name].data == "real":
        flow = Flow([layer], StandardNormal(latent(layer, x)))
        assert flow.log_prob(x, context).isfinite().all()
    if (size > 0) - (size < 0) in SATURATE.get(name, ()):
        with pytest.raises(ValueError, match=rf"{type(layer).__name__}\.inverse takes .* no finite value"):
            layer.inverse(z, context)
    else:
        back, paid = layer.inverse(z, context)
        assert back.isfinite().all() and paid.isfinite().all()
