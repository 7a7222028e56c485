"""Gaps, moments of gradients and resampled posteriors against models whose posteriors are known."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from lvmlib.base import Given
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalNormal, StandardNormal
from lvmlib.evaluation import gradient_moments, implicit_posterior, inference_gaps
from lvmlib.flows import Dequantize
from lvmlib.latent import VAE, LinearGaussian
from lvmlib.stochastic import Stochastic
from tests.draw_models import two_layers
from tests.estimators.exact import LEVEL, coins, weights_of_all
from tests.precision import double_precision  # noqa: F401


def correlated():
    """x = z1 + z2 + noise: the posterior correlates the two latents, which mean-field q cannot."""
    true = LinearGaussian(torch.tensor([[1.0, 1.0]]), torch.zeros(1), 1.0)
    return true, torch.tensor([[0.5], [-1.2]]), MultivariateNormal(*true.marginal(torch.zeros(2), torch.eye(2)))


class Decoder(ConditionalNormal):
    def __init__(self, true):
        super().__init__((1,), nn.Identity())
        self.true = [true]

    def distribution(self, context=None):
        return self.true[0].likelihood(context)


def mean_field(true, shift=0.0):
    """The best factorised Gaussian is centred at the posterior's mean, with the diagonal of its precision."""
    read = nn.Linear(1, 4)
    precision = torch.eye(2) + true.weight.T @ true.weight
    with torch.no_grad():
        read.weight.copy_(torch.cat([true.gain, torch.zeros(2, 1)]))
        read.bias.copy_(torch.cat([torch.full((2,), shift), -0.5 * precision.diagonal().log()]))
    return VAE(ConditionalNormal((2,), read), Decoder(true), StandardNormal((2,)))


def exact_gap(true, q, x):
    """KL from q to the posterior."""
    q = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    return kl_divergence(q, true.posterior(x)).detach()


def test_the_gap_of_inference_falls_into_that_of_the_family_and_that_of_the_encoder():
    true, x, marginal = correlated()
    best, vae = mean_field(true), mean_field(true, shift=0.7)
    log_p = marginal.log_prob(x)
    weights = [p.clone() for p in vae.parameters()]
    gaps = inference_gaps(vae, x, steps=300, lr=0.05, draws=20_000)
    family, encoder = exact_gap(true, best.posterior(x), x), exact_gap(true, vae.posterior(x), x)
    torch.testing.assert_close(gaps.log_likelihood, log_p, atol=0.02, rtol=0)
    torch.testing.assert_close(gaps.approximation, family, atol=0.03, rtol=0)
    torch.testing.assert_close(gaps.amortisation, encoder - family, atol=0.06, rtol=0)
    torch.testing.assert_close(gaps.elbo, log_p - encoder, atol=0.05, rtol=0)
    assert family.min() > 0.1 and not gaps.best.requires_grad
    assert all(torch.equal(p, w) and p.grad is None for p, w in zip(vae.parameters(), weights))
    known = inference_gaps(vae, x, steps=1, k=2, draws=3, log_p=log_p)
    assert known.log_likelihood is log_p
    with torch.no_grad():
        assert inference_gaps(vae, x, steps=2, k=2, draws=1500).best.shape == (2,)


class TorchGaussian(Stochastic):
    """One whose posterior is torch's own, off by 1."""

    def __init__(self, true):
        super().__init__()
        self.true, self.event_shape, self.latent_shape = true, true.event_shape, true.latent_shape

    def posterior(self, x, context=None):
        q = self.true.posterior(x)
        return Independent(Normal(q.mean + 1, q.variance.sqrt()), 1)

    def likelihood(self, z, context=None):
        return self.true.likelihood(z)


def test_posteriors_of_every_kind_find_their_best():
    one = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
    full, x, _ = correlated()
    with torch.no_grad():
        full.offset += 0.8
        full.tril += 0.4 * torch.eye(2)
    base = ConditionalNormal((1,), nn.Linear(2, 2))
    told = Given(Flow([], base), nn.Linear(1, 2))
    with torch.no_grad():
        base.network.weight.copy_(torch.eye(2))
        base.network.bias.zero_()
    flow = VAE(told, ConditionalNormal((1,), one_to_one(), 1.0), StandardNormal((1,)))
    for model in (Flow([TorchGaussian(one)], StandardNormal((1,))), Flow([full], StandardNormal((2,))), flow):
        gaps = inference_gaps(model, x, steps=300, lr=0.05, draws=4000)
        assert gaps.approximation.abs().max() < 0.01 and gaps.amortisation.min() > 0.1


def one_to_one():
    line = nn.Linear(1, 1)
    with torch.no_grad():
        line.weight.fill_(1.0)
        line.bias.zero_()
    return line


def test_at_most_so_many_rows_are_held():
    seen = []

    class Watched(LinearGaussian):
        def likelihood(self, z, context=None):
            seen.append(len(z))
            return super().likelihood(z, context)

    model = Flow([Watched(torch.tensor([[1.0]]), torch.zeros(1), 1.0)], StandardNormal((1,)))
    inference_gaps(model, torch.zeros(3, 1), steps=1, k=2, draws=1001)
    assert max(seen) == 999 and sum(seen) == 3 + 6 + 2 * 3003
    seen.clear()
    implicit_posterior(model, torch.zeros(3, 1), k=10, n=70)
    assert max(seen) == 990 and sum(seen) == 2100
    seen.clear()
    assert implicit_posterior(model, torch.zeros(3, 1), k=500, n=2, rows=10).shape == (2, 3, 1)
    assert seen == [1500, 1500]


def test_the_implicit_posterior_is_what_the_sum_over_all_draws_says():
    vae, x, z = coins(2)
    log_w, log_q = (t.detach() for t in weights_of_all(vae, x, z))
    wanted = torch.zeros(4)
    for first in range(4):  # two draws, one of them kept
        for second in range(4):
            share = torch.stack([log_w[first], log_w[second]]).softmax(0)
            probability = (log_q[first] + log_q[second]).exp()
            wanted[first] += probability * share[0]
            wanted[second] += probability * share[1]
    draws = implicit_posterior(vae, x.expand(3, 2), k=2, n=20_000, rows=50_000)
    assert draws.shape == (20_000, 3, 2) and not draws.requires_grad
    seen = torch.stack([(draws == value).all(-1).double().mean(0) for value in z])  # [4, 3]
    error = (wanted * (1 - wanted) / 20_000).sqrt()[:, None]
    assert ((seen - wanted[:, None]).abs() < LEVEL * error).all()
    torch.manual_seed(0)
    alone = implicit_posterior(vae, x, k=1, n=20_000).mean(0)[0]
    q = vae.posterior(x).mean[0].detach()
    assert ((alone - q).abs() < LEVEL * (q * (1 - q) / 20_000).sqrt()).all()


def test_it_is_the_code_that_is_resampled_and_each_example_by_its_own_weights():
    model, x, _ = two_layers()
    assert implicit_posterior(model, x.expand(5, 4), k=3, n=7).shape == (7, 5, 3)
    layer = LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
    with torch.no_grad():
        layer.gain.zero_()
        layer.tril.fill_(1.5)
    model = Flow([layer], StandardNormal((1,)))
    x = torch.tensor([[-2.0], [2.0]])
    z = implicit_posterior(model, x, k=50, n=2000)
    torch.testing.assert_close(z.mean(0), x / 2, atol=0.15, rtol=0)
    torch.testing.assert_close(z.var(0), torch.full((2, 1), 0.5), atol=0.1, rtol=0)


def test_moments_of_a_gradient():
    m = torch.tensor([2.0, -1.0], requires_grad=True)
    unused = torch.zeros(3, requires_grad=True)
    torch.manual_seed(1)
    moments = gradient_moments(lambda: (m * torch.randn(2)).sum() * torch.ones(4), [m, unused], n=500)
    torch.manual_seed(1)
    draws = torch.stack([torch.randn(2) for _ in range(500)])
    torch.testing.assert_close(moments.mean[:2], draws.mean(0))
    torch.testing.assert_close(moments.variance[:2], draws.var(0))
    torch.testing.assert_close(moments.snr[:2], draws.mean(0).abs() / draws.std(0))
    torch.testing.assert_close(moments.standard_error[:2], draws.std(0) / 500**0.5)
    assert moments.mean[2:].tolist() == [0, 0, 0] and moments.n == 500 and not moments.mean.requires_grad
    line = nn.Linear(1, 1)
    assert gradient_moments(lambda: line(torch.randn(3, 1)), line.parameters(), n=2).mean.shape == (2,)


def test_bad_input_is_refused_at_the_door():
    vae, x, _ = coins()
    with pytest.raises(TypeError, match=r"optimises Gaussian posteriors and flows, .* but this one is Coins"):
        inference_gaps(vae, x)
    model, x, _ = two_layers()
    with pytest.raises(TypeError, match="one layer that draws, but this one has 2"):
        inference_gaps(model, x)
    with pytest.raises(TypeError, match="one layer that draws, but this one has 0"):
        inference_gaps(Flow([], StandardNormal((2,))), torch.zeros(1, 2))
    with pytest.raises(TypeError, match="implicit_posterior needs a layer with a code"):
        implicit_posterior(Flow([Dequantize((2,), 4)], StandardNormal((2,))), torch.zeros(1, 2), k=2)
    with pytest.raises(ValueError, match="no parameters to take a gradient in"):
        gradient_moments(lambda: torch.zeros(1), [])
    with pytest.raises(ValueError, match="n counts gradients and must be a whole number, 2 or more"):
        gradient_moments(lambda: torch.zeros(1), [torch.zeros(1)], n=1)
    for bad in ({"lr": 0.0}, {"lr": math.nan}, {"steps": 0}, {"k": 0}, {"draws": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            inference_gaps(model, x, **bad)


def test_a_context_is_handed_on():
    encoder = ConditionalNormal((1,), nn.Linear(3, 2))
    vae = VAE(encoder, ConditionalNormal((2,), nn.Linear(2, 2), 0.6), StandardNormal((1,)))
    x, context = torch.randn(4, 2), torch.randn(4, 1)
    assert implicit_posterior(vae, x, 3, context=context).shape == (1, 4, 1)
    assert inference_gaps(vae, x, steps=2, k=2, draws=3, context=context).best.shape == (4,)
