"""What a chain does with contexts, and what it refuses."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from lvmlib.base import Density, Given, Transform
from lvmlib.chain import Flow
from lvmlib.checks import check_batch
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, DiagonalNormal, StandardNormal
from lvmlib.draws import draw, draw_constant, draw_to_weigh
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.stochastic import Stochastic
from tests.gaussian_chain import Affine, two_layer_chain
from tests.precision import double_precision  # noqa: F401


def test_context_reaches_every_layer_in_the_right_rows():
    class Shift(Transform):
        def forward(self, x, context=None):
            return x - context, torch.zeros(len(x))

        def inverse(self, z, context=None):
            return z + context, torch.zeros(len(z))

    vae = VAE(
        ConditionalNormal((2,), MLP(5, (8,), 4)), ConditionalNormal((3,), MLP(4, (8,), 3), 1.0), StandardNormal((2,))
    )
    chain = Flow([Shift(), vae.pair, Shift()], StandardNormal((2,)))
    x, context = torch.randn(6, 3), torch.randn(6, 1)
    with pytest.raises(ValueError, match="cannot read"):  # widths: the pair expects 2 context entries
        chain.trace(x, context)
    vae = VAE(
        ConditionalNormal((2,), MLP(4, (8,), 4)), ConditionalNormal((3,), MLP(3, (8,), 3), 1.0), StandardNormal((2,))
    )
    chain = Flow([Shift(), vae.pair, Shift()], StandardNormal((2,)))
    trace = chain.trace(x, context, k=3)
    step = trace.steps[1]
    for i in range(3):  # draw by draw, the rows of x and of the context belong together
        likelihood = vae.likelihood(step.z[i], context)
        torch.testing.assert_close(step.log_p[i], likelihood.log_prob(x - context))
        torch.testing.assert_close(trace.steps[2].z[i], step.z[i] - context)
    assert chain.sample(6, context).shape == (6, 3)
    with pytest.raises(ValueError, match="one row per example"):
        chain.trace(x, context[:2])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(4), ValueError, r"Add a batch dimension"),
        (torch.zeros(2, 5), ValueError, r"\[B, 4\], but it has \[2, 5\]"),
        (torch.zeros(0, 4), ValueError, "empty batch"),
        ([0.0] * 4, TypeError, "it is a list"),
    ],
)
def test_bad_batches_are_told_what_came_and_what_was_expected(x, error, message):
    flow, _ = two_layer_chain()
    with pytest.raises(error, match=message):
        flow.log_prob(x)
    with pytest.raises(error, match=message):
        check_batch(x, (4,))


def test_bad_k_and_bad_values():
    flow, _ = two_layer_chain()
    with pytest.raises(ValueError, match="1 or more, but it is 0"):
        flow.log_weights(torch.zeros(1, 4), 0)
    with pytest.raises(ValueError, match="whole number"):
        flow.log_weights(torch.zeros(1, 4), 2.5)
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match=rf"4 of 4 values are not, such as {bad}"):
            flow.log_prob(torch.full((1, 4), bad))


def test_bad_contexts():
    flow, _ = two_layer_chain()
    for bad in ([1, 2], 3, torch.tensor(3.0)):
        with pytest.raises(TypeError, match=r"context must be a torch.Tensor of shape \[2, ...\]"):
            flow.log_prob(torch.zeros(2, 4), bad)


def test_one_row_of_a_context_is_not_spread_over_several_draws():
    class Shift(Transform):
        def inverse(self, z, context=None):
            return z + context, torch.zeros(len(z))

    class Trusting(Density):
        def sample(self, n, context=None, temperature=1.0):
            return torch.randn(n, 2)

        def rsample_with_log_prob(self, n, context=None):
            return torch.randn(n, 2), torch.zeros(n)

    flow = Flow([Shift()], Trusting((2,)))
    for way in (flow.sample, flow.rsample_with_log_prob):
        assert len(way(3, torch.zeros(3, 1))) > 0
        with pytest.raises(ValueError, match="one row per example, 3 in all, but it has 1"):
            way(3, torch.zeros(1, 1))


def test_a_chain_takes_transforms_and_ends_in_a_density():
    with pytest.raises(TypeError, match="Transforms, but it was given a Linear"):
        Flow([nn.Linear(2, 2)], StandardNormal((2,)))
    with pytest.raises(TypeError, match="Density, but it was given a Linear"):
        Flow([], nn.Linear(2, 2))
    with pytest.raises(TypeError, match="Given wraps a Density, but it was given a Linear"):
        Given(nn.Linear(2, 2), nn.Linear(3, 2))


def test_context_reaches_the_base():
    flow = Flow([Affine(2)], ConditionalNormal((2,), nn.Linear(1, 4)))
    x, context = torch.randn(3, 2), torch.randn(3, 1)
    z, log_det = flow.transforms[0](x)
    torch.testing.assert_close(flow.log_prob(x, context), flow.base.log_prob(z, context) + log_det)
    with torch.no_grad():
        flow.base.network.weight.fill_(0.0)
        flow.base.network.weight[0] = 1e6
    assert (flow.sample(2, torch.tensor([[1.0], [-1.0]]))[:, 0] > 0).tolist() == [True, False]
    for density in (flow, flow.base):
        assert not density.sample(2, context[:2]).requires_grad
        with pytest.raises(ValueError, match="one row per example"):
            density.sample(2, context)
        with pytest.raises(ValueError, match="one row per example"):
            density.log_prob(x, context[:2])
        with pytest.raises(ValueError, match=r"\[B, 2\], but it has \[3, 5\]"):
            density.log_prob(torch.zeros(3, 5), context)


def test_a_chain_without_layers_checks_values_for_its_base():
    base = ConditionalBernoulli((3,), nn.Linear(1, 3))
    with pytest.raises(ValueError, match="Boolean"):
        Flow([], base).log_prob(torch.full((1, 3), 0.5), torch.zeros(1, 1))


def test_a_chain_checks_values_for_its_first_layer():
    pair = VAE(
        ConditionalNormal((2,), MLP(3, (), 4)), ConditionalBernoulli((3,), MLP(2, (), 3)), StandardNormal((2,))
    ).pair
    with pytest.raises(ValueError, match="Boolean"):
        Flow([pair], StandardNormal((2,))).log_prob(torch.full((1, 3), 0.5))


def test_posterior_with_too_many_batch_dimensions_is_refused():
    zeros = torch.zeros(3, 2, 4)
    for way in (draw, draw_constant, draw_to_weigh):
        for q in (Independent(Normal(zeros, 1.0), 1), DiagonalNormal(zeros, zeros, 1)):
            with pytest.raises(ValueError, match="Independent"):
                way(q, 4)


def test_abstract_methods_say_what_is_missing():
    for call in (
        lambda: Transform()(torch.zeros(1, 1)),
        lambda: Transform().inverse(torch.zeros(1, 1)),
        lambda: Stochastic().posterior(torch.zeros(1, 1)),
        lambda: Stochastic().likelihood(torch.zeros(1, 1)),
        lambda: Flow([], StandardNormal((2,))).distribution(),
    ):
        with pytest.raises(TypeError, match=r"does not define|no torch distribution"):
            call()
