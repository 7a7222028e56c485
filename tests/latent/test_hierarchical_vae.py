import pytest
import torch
from torch import nn

from lvmlib.bounds import elbo
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import HierarchicalVAE
from lvmlib.networks import MLP
from tests.precision import double_precision  # noqa: F401


def line(slope: float, shift: float, scale: float) -> ConditionalNormal:
    layer = nn.Linear(1, 1)
    layer.weight.data.fill_(slope)
    layer.bias.data.fill_(shift)
    return ConditionalNormal((1,), layer, scale=scale)


def normal(value, loc, scale):
    return torch.distributions.Normal(loc, scale).log_prob(value)


def gaussian_ladder():
    """x = 2 z1 + 1 + noise 0.5, z1 = -z2 + 0.3 + noise 0.8: encoders from Bayes' theorem, log p(x) by hand."""
    var1 = 1 + 0.64  # z1 ~ N(0.3, var1)
    var_x = 4 * var1 + 0.25  # x ~ N(1.6, var_x)
    gain = 2 * var1 / var_x
    lower = line(gain, 0.3 - gain * 1.6, (var1 - gain * 2 * var1) ** 0.5)
    up = -1 / var1
    upper = line(up, -up * 0.3, (1 - 1 / var1) ** 0.5)
    pairs = [(lower, line(2.0, 1.0, 0.5)), (upper, line(-1.0, 0.3, 0.8))]
    return HierarchicalVAE(pairs, StandardNormal((1,))), torch.distributions.Normal(1.6, var_x**0.5)


def test_exact_encoders_give_the_same_weight_to_every_draw():
    model, exact = gaussian_ladder()
    x = torch.tensor([[-2.0], [0.0], [4.0]])
    torch.testing.assert_close(model.log_weights(x, 5), exact.log_prob(x)[:, 0].expand(5, 3))


def test_wrong_encoders_leave_a_bound_below_quadrature():
    model, exact = gaussian_ladder()
    model.pairs[1].encoder.network.bias.data += 0.5
    x = torch.tensor([[-2.0], [4.0]])
    z1 = torch.linspace(-12, 12, 1201)[:, None, None]
    z2 = torch.linspace(-8, 8, 801)[None, :, None]
    upper = normal(z2, 0.0, 1.0) + normal(z1, -z2 + 0.3, 0.8)  # [1201, 801, 1]
    log_joint = upper + normal(x[:, 0], 2 * z1 + 1, 0.5)  # [1201, 801, 2]
    log_p = torch.logsumexp(log_joint.flatten(0, 1), 0) + torch.log(torch.tensor(0.02 * 0.02))
    torch.testing.assert_close(log_p, exact.log_prob(x)[:, 0], atol=1e-4, rtol=0)
    torch.manual_seed(0)
    bound = elbo(model, x, k=20_000)
    shift = 0.5**2 / (2 * (1 - 1 / 1.64))  # KL of two Gaussians that differ in their mean
    torch.testing.assert_close(log_p - bound, torch.full((2,), shift), atol=0.02, rtol=0)


def test_two_stochastic_layers_are_one_flow_and_every_parameter_learns():
    lower = ConditionalNormal((4,), MLP(9, (8,), 8)), ConditionalBernoulli((9,), MLP(4, (8,), 9))
    upper = ConditionalNormal((2,), MLP(4, (8,), 4)), ConditionalNormal((4,), MLP(2, (8,), 8))
    model = HierarchicalVAE([lower, upper], StandardNormal((2,))).float()
    assert isinstance(model, Flow) and model.is_bound and model.prior is model.base
    trace = model.trace((torch.rand(6, 9) < 0.5).float(), k=3)
    assert [step.z.shape for step in trace.steps] == [(3, 6, 4), (3, 6, 2)]
    trace.log_weights.mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_refusals():
    with pytest.raises(ValueError, match="at least one pair"):
        HierarchicalVAE([], StandardNormal((2,)))
    lower = ConditionalNormal((4,), MLP(9, (8,), 8)), ConditionalBernoulli((9,), MLP(4, (8,), 9))
    with pytest.raises(ValueError, match=r"gives \[4\], but what follows takes \[2\]"):
        HierarchicalVAE([lower], StandardNormal((2,)))
    with pytest.raises(TypeError, match="encoder must be a Density"):
        HierarchicalVAE([(MLP(9, (8,), 8), lower[1])], StandardNormal((4,)))
