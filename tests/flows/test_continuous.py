"""Continuous flows: the estimate of the trace, the gradient backwards in time, and nothing kept of a call."""

import pytest
import torch
from torch import nn

from lvmlib.flows import ContinuousFlow, perceptron
from tests.flows.flow_cases import perturbed

SMOOTH = perceptron((8,), nn.Tanh)


def layer_of(dims=3, **how):
    torch.manual_seed(0)
    return perturbed(ContinuousFlow((dims,), SMOOTH, **how)).double()


def test_hutchinsons_estimate_is_unbiased_in_both_directions():
    exact = layer_of(trace="exact", method="rk4", steps=8)
    noisy = layer_of(trace="hutchinson", method="rk4", steps=8)
    x, n = torch.randn(4, 3).double(), 2000
    with torch.no_grad():
        for way in ("forward", "inverse"):
            expected = getattr(exact, way)(x)
            z, log_det = getattr(noisy, way)(x.repeat(n, 1))
            torch.testing.assert_close(z[:4], expected[0])
            log_det = log_det.view(n, 4)
            score = (log_det.mean(0) - expected[1]) / (log_det.std(0) / n**0.5)
            assert log_det.std(0).min() > 1e-3 and score.abs().max() < 4


def test_a_linear_field_has_the_matrix_exponential():
    layer = ContinuousFlow((3,), lambda inputs, outputs: nn.Linear(inputs, outputs), "exact", tolerance=1e-11).double()
    with torch.no_grad():
        layer.network.weight[:, 3] = 0  # no time
        layer.network.bias.zero_()
    a, x = layer.network.weight[:, :3].detach(), torch.randn(5, 3).double()
    z, log_det = layer(x)
    torch.testing.assert_close(z, x @ torch.linalg.matrix_exp(a).T, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(log_det, a.trace().expand(5), rtol=1e-8, atol=1e-9)


def test_times_in_between_add_up_and_lead_back():
    layer = layer_of(trace="exact", tolerance=1e-10)
    x = torch.randn(4, 3).double()
    z, log_det = layer(x)
    half, first = layer.between(x, 0, 0.5)
    end, second = layer.between(half, 0.5, 1.0)
    torch.testing.assert_close(end, z, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(first + second, log_det, rtol=1e-7, atol=1e-8)
    back, paid = layer.between(half, 0.5, 0.0)
    torch.testing.assert_close(back, x, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(paid, -first, rtol=1e-7, atol=1e-8)
    assert torch.equal(layer.between(x, 0.3, 0.3)[0], x) and (half - x).abs().max() > 1e-3
    with pytest.raises(ValueError, match=r"from time 0 \(data\) to 1 \(noise\), but a time is 1.5"):
        layer.between(x, 0, 1.5)


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_gradients_backwards_in_time_are_those_through_the_solver(method):
    """Of the weights, of x and of the context, which the second equation would lose if it were not told of it."""
    grads = []
    for adjoint in (False, True):
        layer = layer_of(2, trace="exact", method=method, steps=40, tolerance=1e-9, adjoint=adjoint, context=2)
        torch.manual_seed(1)
        x, context = (torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
        z, log_det = layer(x, 2 * context)
        (z.sin().sum() + log_det.sum()).backward()
        grads.append([x.grad, context.grad, *(p.grad for p in layer.parameters())])
    for one, other in zip(*grads):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_nothing_of_a_call_stays_on_the_module():
    layer = layer_of(trace="hutchinson", method="rk4", steps=2)
    before = set(vars(layer))
    with torch.no_grad():
        assert not layer(torch.randn(3, 3).double())[0].requires_grad
    layer(torch.randn(5, 3).double())[1].sum().backward()
    assert set(vars(layer)) == before


def test_what_cannot_be_solved_is_said():
    layer = layer_of()
    with torch.no_grad():
        layer.network[-1].bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="ContinuousFlow cannot be solved from here"):
        layer(torch.zeros(2, 3).double())
