"""Draws that are given, posteriors that are frozen or tempered."""

import math

import pytest
import torch
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
)

from lvmlib.distributions import Coins, DiagonalNormal
from lvmlib.draws import Conditioned, draw, draw_constant, frozen, tempered
from tests.draw_models import flow_posterior_model, gaussian_model, log_q, two_layers
from tests.precision import double_precision  # noqa: F401


def test_injected_draws_give_the_joint_density_with_a_gradient_in_z():
    model, _, _ = two_layers()
    given = [torch.randn(1, 5, 3, requires_grad=True), torch.randn(1, 5, 2)]
    x, turn = torch.randn(5, 4), iter(given)

    def injected(q, n):
        z = next(turn)
        return z, q.log_prob(z)

    trace = model.trace(x, draw=injected)
    lower, upper = model.transforms
    joint = lower.likelihood(given[0][0]).log_prob(x) + upper.likelihood(given[1][0]).log_prob(given[0][0])
    joint = joint + model.base.log_prob(given[1][0])
    torch.testing.assert_close((trace.log_weights + log_q(trace))[0], joint)
    (by_trace,) = torch.autograd.grad((trace.log_weights + log_q(trace)).sum(), given[0])
    (by_hand,) = torch.autograd.grad(joint.sum(), given[0])
    torch.testing.assert_close(by_trace, by_hand)


def test_a_draw_of_the_wrong_shape_is_refused():
    model, x, _ = gaussian_model()
    with pytest.raises(ValueError, match=r"must return z \[3, 1, ...\]"):
        model.trace(x, k=3, draw=lambda q, n: draw(q, 2))
    with pytest.raises(ValueError, match=r"log q \[3, 1\]"):
        model.trace(x, k=3, draw=lambda q, n: (draw(q, n)[0], draw(q, n)[1].sum(0)))


def parametrised(*shape):
    return torch.randn(*shape, requires_grad=True)


@pytest.mark.parametrize(
    "build",
    [
        lambda a, b: Independent(Normal(a, b.exp()), 1),
        lambda a, b: DiagonalNormal(a, b, 1),
        lambda a, b: MultivariateNormal(a, scale_tril=torch.diag_embed(b.exp())),
        lambda a, b: Independent(TransformedDistribution(Normal(a, 1.0), AffineTransform(b, 2 * b.exp())), 1),
        lambda a, b: Independent(
            MixtureSameFamily(Categorical(logits=torch.stack([a, b], -1)), Normal(torch.stack([a, b], -1), 1.0)), 1
        ),
    ],
)
def test_frozen_keeps_the_value_and_cuts_the_parameters_alone(build):
    a, b = parametrised(5, 2), parametrised(5, 2)
    q, z = build(a, b), parametrised(3, 5, 2)
    torch.testing.assert_close(frozen(q).log_prob(z), q.log_prob(z))
    grads = torch.autograd.grad(frozen(q).log_prob(z).sum(), [z, a, b], allow_unused=True)
    assert grads[0] is not None and grads[1] is None and grads[2] is None
    torch.testing.assert_close(grads[0], torch.autograd.grad(q.log_prob(z).sum(), z)[0])
    assert torch.autograd.grad(q.log_prob(z).sum(), a)[0].abs().sum() > 0  # q itself is as it was


def test_frozen_goes_through_a_flow_and_its_context():
    model, x, of = flow_posterior_model()
    q = model.posterior(x.expand(4, 3))
    assert isinstance(q, Conditioned) and q.batch_shape == (4,)
    z = parametrised(3, 4, 2)
    rest = frozen(q)
    torch.testing.assert_close(rest.log_prob(z), q.log_prob(z))
    grads = torch.autograd.grad(rest.log_prob(z).sum(), [z, *of], allow_unused=True)
    assert all(g is None for g in grads[1:])
    torch.testing.assert_close(grads[0], torch.autograd.grad(q.log_prob(z).sum(), z)[0])


def test_draw_constant_through_a_flow_cuts_the_draws_and_keeps_the_density():
    model, x, of = flow_posterior_model()
    z, density = draw_constant(model.posterior(x), 5)
    assert z.shape == (5, 1, 2) and density.shape == (5, 1) and not z.requires_grad
    assert all(g is not None for g in torch.autograd.grad(density.sum(), of))


def test_a_temperature_multiplies_scales_and_divides_logits():
    loc, raw = torch.randn(4, 2), torch.randn(4, 2)
    x, bits = torch.randn(4, 2), (torch.rand(4, 2) < 0.5).double()
    normal, coin = Independent(Normal(loc, 0.5 * raw.exp()), 1), Independent(Bernoulli(logits=raw / 0.5), 1)
    tril = torch.diag_embed(raw.exp())
    for ours, expected, value in [
        (Independent(Normal(loc, raw.exp()), 1), normal, x),
        (DiagonalNormal(loc, raw, 1), normal, x),
        (MultivariateNormal(loc, scale_tril=tril), normal, x),
        (Independent(Bernoulli(logits=raw), 1), coin, bits),
        (Coins(raw, 1), coin, bits),
        (Categorical(logits=raw), Categorical(logits=raw / 0.5), bits[:, 0]),
    ]:
        torch.testing.assert_close(tempered(ours, 0.5).log_prob(value), expected.log_prob(value))
        assert tempered(ours, 1.0) is ours
        bad = value + 0.5 if isinstance(ours, Categorical) else value * math.nan
        tempered(ours, 0.5).log_prob(bad)  # the door has looked at values already
    with pytest.raises(TypeError, match="not defined"):
        tempered(torch.distributions.Cauchy(0.0, 1.0), 0.5)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature must be positive"):
            tempered(coin, bad)
