"""Diagonal Gaussians and coins against torch's own Independent(Normal) and Independent(Bernoulli)."""

import math
import pickle

import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from lvmlib.distributions import Coins, DiagonalNormal, StandardNormal
from tests.precision import double_precision  # noqa: F401


def normal(*batch):
    loc, log_scale = torch.randn(*batch, 2, 3), torch.randn(*batch, 2, 3)
    return DiagonalNormal(loc, log_scale, 2), Independent(Normal(loc, log_scale.exp()), 2)


def coins(*batch):
    logits = torch.randn(*batch, 2, 3)
    return Coins(logits, 2), Independent(Bernoulli(logits=logits), 2)


@pytest.mark.parametrize("build", [normal, coins])
def test_everything_that_can_be_asked_is_what_torch_says(build):
    ours, oracle = build(5)
    for shape in ((5, 2, 3), (4, 5, 2, 3), (2, 3)):
        x = torch.randn(shape) if build is normal else (torch.rand(shape) < 0.5).double()
        torch.testing.assert_close(ours.log_prob(x), oracle.log_prob(x))
    for name in ("mean", "variance", "mode", "stddev"):
        torch.testing.assert_close(getattr(ours, name), getattr(oracle, name))
    torch.testing.assert_close(ours.entropy(), oracle.entropy())
    assert ours.batch_shape == oracle.batch_shape and ours.event_shape == oracle.event_shape
    assert ours.has_rsample == oracle.has_rsample
    x = ours.sample((7,))
    assert x.shape == (7, 5, 2, 3) and bool(ours.support.check(x).all())
    wide, expected = build()
    torch.testing.assert_close(wide.expand((6,)).log_prob(x[0, :1]), expected.expand((6,)).log_prob(x[0, :1]))
    torch.testing.assert_close(pickle.loads(pickle.dumps(ours)).log_prob(x), ours.log_prob(x))


@pytest.mark.parametrize("build", [normal, coins])
def test_draws_have_mean_and_variance(build):
    ours, oracle = build(2)
    x = ours.sample((100_000,))
    error = 5 * oracle.stddev / 100_000**0.5
    assert ((x.mean(0) - oracle.mean).abs() < error).all()
    torch.testing.assert_close(x.var(0), oracle.variance, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("build", [normal, coins])
def test_kl_between_ours_and_between_ours_and_torchs(build):
    (q, q_torch), (p, p_torch) = build(5), build(5)
    exact = kl_divergence(q_torch, p_torch)
    for left, right in ((q, p), (q, p_torch), (q_torch, p)):
        torch.testing.assert_close(kl_divergence(left, right), exact)
    with pytest.raises(NotImplementedError):
        kl_divergence(q, Coins(torch.zeros(5, 6), 1) if build is coins else StandardNormal((6,)).distribution())


def test_kl_to_standard_noise():
    q, oracle = normal(5)
    exact = kl_divergence(oracle, Independent(Normal(torch.zeros(2, 3), 1.0), 2))
    prior = StandardNormal((2, 3))
    torch.testing.assert_close(kl_divergence(q, prior.distribution()), exact)
    torch.testing.assert_close(kl_divergence(q, prior.distribution(torch.zeros(5, 1))), exact)
    assert prior.distribution().expand((4,)).log_prob(torch.zeros(2, 3)).shape == (4,)
    prior.float()
    assert prior.distribution().log_prob(torch.zeros(1, 2, 3, dtype=torch.float32)).dtype == torch.float32


def test_log_q_from_the_noise_has_the_value_and_the_gradient_of_log_q():
    loc, log_scale = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    q = DiagonalNormal(loc, log_scale, 1)
    z, log_q = q.rsample_with_log_prob(4)
    torch.testing.assert_close(log_q, q.log_prob(z))
    weigh = torch.randn(4, 5)
    by_noise = torch.autograd.grad((weigh * log_q).sum(), [loc, log_scale], retain_graph=True, allow_unused=True)
    by_draw = torch.autograd.grad((weigh * q.log_prob(z)).sum(), [loc, log_scale])
    assert by_noise[0] is None  # log q at its own draws does not depend on the mean
    torch.testing.assert_close(by_draw[0], torch.zeros(5, 3), atol=1e-12, rtol=0)
    torch.testing.assert_close(by_noise[1], by_draw[1])


def test_copies_become_an_axis_of_their_own():
    x = torch.randn(5, 2, 3)
    for q, at in ((normal(4 * 5)[0], x), (coins(4 * 5)[0], (x > 0).double())):
        torch.testing.assert_close(q.in_copies(4).log_prob(at).flatten(), q.log_prob(at.repeat(4, 1, 1)))


def test_a_very_small_scale_keeps_its_logarithm():
    q = DiagonalNormal(torch.zeros(1, 1, dtype=torch.float32), torch.full((1, 1), -60.0, dtype=torch.float32), 1)
    assert q.log_prob(torch.zeros(1, 1, dtype=torch.float32)).item() == pytest.approx(60 - 0.5 * math.log(2 * math.pi))
    kl = kl_divergence(q, StandardNormal((1,)).float().distribution())
    assert kl.item() == pytest.approx(60 - 0.5)


def test_coins_have_one_value_with_and_without_gradient():
    torch.manual_seed(0)
    logits, x = 30 * torch.randn(5, 7, 33), torch.randint(2, (3, 5, 7, 33)).float()  # 231 coins: three products
    logits[0, 0, 0], logits[1, 0, 0] = math.inf, -math.inf
    without = Coins(logits, 2).log_prob(x)
    torch.testing.assert_close(without, Coins(logits.clone().requires_grad_(), 2).log_prob(x).detach())
    exact = Independent(Bernoulli(logits=logits[2:].double()), 2).log_prob(x[:, 2:].double())
    torch.testing.assert_close(without[:, 2:].double(), exact, rtol=1e-6, atol=0)
    assert torch.equal(without[:, 0].isinf(), x[:, 0, 0, 0] == 0) and torch.equal(
        without[:, 1].isinf(), x[:, 1, 0, 0] == 1
    )
