"""Bounds against the linear-Gaussian chain, whose log p(x) and posteriors are known."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence

from lvmlib.base import Density, Transform
from lvmlib.bounds import closed_form_kl, distortion_and_rate, effective_sample_size, elbo, iwae, log_likelihood
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalNormal, MixtureOfGaussians, StandardNormal
from lvmlib.latent import VAE, LinearGaussian, StochasticPair
from lvmlib.networks import MLP
from lvmlib.stochastic import Stochastic


def one_layer(shift: float = 0.5) -> tuple[Flow, MultivariateNormal]:
    torch.manual_seed(0)
    layer = LinearGaussian(torch.randn(3, 2).double(), torch.randn(3).double(), 0.8)
    exact = MultivariateNormal(*layer.marginal(torch.zeros(2).double(), torch.eye(2).double()))
    with torch.no_grad():
        layer.offset += shift
    return Flow([layer], StandardNormal((2,)).double()), exact


def gap(flow: Flow, x: torch.Tensor, shift: float) -> torch.Tensor:
    """KL(q || posterior): the same Gaussian, its mean moved by `shift` in every coordinate."""
    layer = flow.transforms[0]
    moved = layer.posterior(x)
    exact = MultivariateNormal(moved.mean - shift, scale_tril=layer.tril)
    return kl_divergence(moved, exact)


def test_elbo_misses_log_p_by_the_kl_to_the_posterior():
    flow, exact = one_layer()
    x = exact.sample((4,))
    draws = flow.log_weights(x, 200_000)
    expected = exact.log_prob(x) - gap(flow, x, 0.5)
    assert ((draws.mean(0) - expected).abs() < 5 * draws.std(0) / 200_000**0.5).all()
    assert ((elbo(flow, x, k=200_000) - expected).abs() < 5 * draws.std(0) / 200_000**0.5).all()


def test_iwae_rises_with_k_towards_log_p():
    flow, exact = one_layer()
    x = exact.sample((4,))
    bounds = [torch.stack([iwae(flow, x, k) for _ in range(2000)]).mean(0) for k in (1, 5, 50)]
    assert (bounds[0] < bounds[1]).all() and (bounds[1] < bounds[2]).all() and (bounds[2] < exact.log_prob(x)).all()
    torch.testing.assert_close(iwae(flow, x, 200_000), exact.log_prob(x), atol=0.02, rtol=0)


@pytest.mark.parametrize("rows", [1, 7, 100, 1000, 100_000])
def test_log_likelihood_does_not_depend_on_the_rows_held_at_a_time(rows):
    flow, exact = one_layer(shift=0.1)
    x = exact.sample((4,))
    if rows >= 100:
        torch.testing.assert_close(log_likelihood(flow, x, 20_000, rows), exact.log_prob(x), atol=0.02, rtol=0)
    torch.manual_seed(1)
    k = 20
    ours = log_likelihood(flow, x, k, rows)
    torch.manual_seed(1)  # a few examples with all their draws, as many draws at a time as fit
    examples, parts = max(1, rows // k), []
    for i in range(0, 4, examples):
        part = x[i : i + examples]
        at_once = max(1, rows // len(part))
        draws = [flow.log_weights(part, min(at_once, k - j)) for j in range(0, k, at_once)]
        parts.append(torch.logsumexp(torch.cat(draws), 0) - math.log(k))
    torch.testing.assert_close(ours, torch.cat(parts))


def test_log_likelihood_takes_k_draws_also_where_they_do_not_fit_evenly():
    flow, exact = one_layer(shift=0.0)  # the posterior is exact, so all weights are p(x)
    x = exact.sample((4,))
    for k, rows in ((5, 3), (5, 12), (3, 7)):
        torch.testing.assert_close(log_likelihood(flow, x, k=k, rows=rows), exact.log_prob(x))


@pytest.mark.parametrize(("examples", "k"), [(1, 5000), (300, 7), (50, 50)])
def test_log_likelihood_never_holds_more_rows_than_it_was_told(examples, k):
    seen = []
    flow, exact = one_layer(shift=0.0)
    log_weights = Flow.log_weights

    class Watched(Flow):
        def log_weights(self, x, k, context=None):
            seen.append(len(x) * k)
            return log_weights(self, x, k, context)

    x = exact.sample((examples,))
    torch.testing.assert_close(log_likelihood(Watched(flow.layers, flow.base), x, k, rows=100), exact.log_prob(x))
    assert max(seen) <= 100 and sum(seen) == examples * k


def test_log_likelihood_of_an_exact_density_is_bounded_too_and_takes_the_context_in_the_right_rows():
    seen = []

    class Exact(StandardNormal):
        def log_prob(self, x, context=None):
            seen.append(len(x))
            return super().log_prob(x - context)

    x, context = torch.randn(25, 3), torch.randn(25, 3)
    values = log_likelihood(Exact((3,)), x, rows=10, context=context)
    torch.testing.assert_close(values, StandardNormal((3,)).log_prob(x - context))
    assert seen == [10, 10, 5]


def test_log_likelihood_keeps_no_gradient():
    flow, exact = one_layer()
    x = exact.sample((4,))
    assert iwae(flow, x, 5).requires_grad and not log_likelihood(flow, x, 5).requires_grad


def vae() -> VAE:
    torch.manual_seed(0)
    encoder = ConditionalNormal((2,), MLP(3, (16,), 4))
    return VAE(encoder, ConditionalNormal((3,), MLP(2, (16,), 3), 0.7), StandardNormal((2,))).double()


def test_closed_form_kl_is_what_the_draws_average_to():
    model, x = vae(), torch.randn(5, 3).double()
    trace = model.trace(x, k=200_000)
    _, rate = distortion_and_rate(trace)
    draws = trace.steps[0].log_q - trace.log_base
    assert torch.equal(rate[0], rate[1])  # no sample in it
    assert ((draws.mean(0) - rate[0]).abs() < 5 * draws.std(0) / 200_000**0.5).all()


def test_rounding_makes_no_closed_form_kl_negative():
    """The formula of torch for coins that are nearly one falls below zero in single precision."""
    logits = torch.full((200, 5), 0.3)

    class Layer(Stochastic):
        def posterior(self, x, context=None):
            return Independent(Bernoulli(logits=logits * (1 + 1e-4 * x)), 1)

        def likelihood(self, z, context=None):
            return Independent(Normal(z, 1.0), 1)

    class Prior(Density):
        def distribution(self, context=None):
            return Independent(Bernoulli(logits=logits), 1)

    prior = Prior((5,))
    trace = Flow([Layer()], prior).trace(torch.linspace(-1, 1, 200)[:, None].expand(200, 5))
    assert kl_divergence(trace.steps[0].q, prior.distribution()).min() < 0
    assert closed_form_kl(trace).min() == 0


def test_beta_weighs_the_rate_alone():
    model, x = vae(), torch.randn(5, 3).double()
    bounds = []
    for beta in (0.0, 1.0, 3.0):
        torch.manual_seed(1)
        bounds.append(elbo(model, x, beta=beta))
    rate = kl_divergence(model.posterior(x), model.prior.distribution())
    torch.testing.assert_close(bounds[0] - bounds[1], rate)
    torch.testing.assert_close(bounds[0] - bounds[2], 3 * rate)


def test_lambda_below_one_is_no_bound():
    """z ~ N(0, 1), x | z ~ N(z, 1), x = 1: the exact posterior reaches -1.40 at lambda = 0.5, above log p = -1.52."""
    layer = LinearGaussian(torch.ones(1, 1).double(), torch.zeros(1).double(), 1.0)
    model, x = Flow([layer], StandardNormal((1,)).double()), torch.ones(1, 1).double()
    values = {}
    for beta in (0.5, 1.0):
        torch.manual_seed(0)
        values[beta] = elbo(model, x, k=400_000, beta=beta).item()
    assert values[1.0] == pytest.approx(-1.52, abs=0.005)
    assert values[0.5] == pytest.approx(-1.40, abs=0.006)


def test_two_layers_split_into_distortion_and_rate():
    torch.manual_seed(0)
    upper = LinearGaussian(torch.randn(3, 2).double(), torch.randn(3).double(), 0.7)
    mean, covariance = upper.marginal(torch.zeros(2).double(), torch.eye(2).double())
    lower = LinearGaussian(torch.randn(4, 3).double(), torch.randn(4).double(), 0.5, mean, covariance)
    flow = Flow([lower, upper], StandardNormal((2,)).double())
    x = torch.randn(5, 4).double()
    trace = flow.trace(x, k=3)
    distortion, rate = distortion_and_rate(trace)
    torch.testing.assert_close(-distortion - rate, trace.log_weights)
    torch.testing.assert_close(-distortion, trace.steps[0].log_p)
    torch.testing.assert_close(elbo(flow, x, k=200), flow.log_weights(x, 200).mean(0))  # exact posteriors


class Double(Transform):
    def forward(self, x, context=None):
        return 2 * x, torch.full((len(x),), x.shape[1] * math.log(2)).to(x)


def test_bijections_pay_in_the_distortion_before_the_first_stochastic_layer_and_in_the_rate_after_it():
    torch.manual_seed(0)
    lower = LinearGaussian(torch.randn(4, 3).double(), torch.randn(4).double(), 0.5)
    upper = StochasticPair(ConditionalNormal((2,), MLP(3, (), 4)), ConditionalNormal((3,), MLP(2, (), 3), 0.7)).double()
    flow = Flow([Double(), lower, Double(), upper], StandardNormal((2,)).double())
    x = torch.randn(5, 4).double()
    trace = flow.trace(x, k=3)
    distortion, rate = distortion_and_rate(trace)
    torch.testing.assert_close(distortion, -trace.steps[1].log_p - 4 * math.log(2))
    q = trace.steps[-1].q  # its row 5 i + j belongs to draw i of example j
    kl = 0.5 * (q.loc**2 + q.scale**2 - 1 - 2 * q.scale.log()).sum(1).view(3, 5)
    sampled = trace.steps[-1].log_q - trace.log_base
    torch.testing.assert_close(rate, kl - sampled - trace.log_weights - distortion)
    without_closed_form = Flow([lower, Double()], StandardNormal((3,)).double())
    trace = without_closed_form.trace(x, k=3)
    distortion, rate = distortion_and_rate(trace)
    torch.testing.assert_close(-distortion - rate, trace.log_weights)


def test_closed_form_kl_to_a_prior_that_depends_on_the_context():
    """Also in the second layer, where each row of the context stands beside k draws."""
    torch.manual_seed(0)
    pairs = [
        StochasticPair(ConditionalNormal((2,), MLP(rows + 1, (), 4)), ConditionalNormal((rows,), MLP(3, (), rows), 0.7))
        for rows in (3, 2)
    ]
    model = Flow(pairs, ConditionalNormal((2,), MLP(1, (), 4))).double()
    x, context = torch.randn(5, 3).double(), torch.randn(5, 1).double()
    trace = model.trace(x, context, k=4)
    _, rate = distortion_and_rate(trace)
    prior = model.base.distribution(context)
    q = trace.steps[-1].q
    q = Normal(q.loc.view(4, 5, 2), q.scale.view(4, 5, 2))
    expected = kl_divergence(q, Normal(prior.loc, prior.scale)).sum(2) + trace.steps[0].log_q - trace.steps[1].log_p
    torch.testing.assert_close(rate, expected)


def test_bad_arguments():
    model, x = vae(), torch.randn(5, 3).double()
    with pytest.raises(ValueError, match="beta"):
        elbo(model, x, beta=-1.0)
    with pytest.raises(ValueError, match="beta"):
        elbo(model, x, beta=math.nan)
    with pytest.raises(ValueError, match="counts draws and must be"):
        log_likelihood(model, x, k=0)
    with pytest.raises(ValueError, match="empty batch"):
        log_likelihood(model, x[:0])
    with pytest.raises(ValueError, match="one row per example, 5 in all, but it has 6"):
        log_likelihood(model, x, context=torch.zeros(6, 1))
    exact = Flow([], StandardNormal((3,)))
    trace = exact.trace(torch.zeros(1, 3))
    with pytest.raises(TypeError, match="layer with a code"):
        distortion_and_rate(trace)


def test_densities_that_are_no_flows_give_their_log_likelihood():
    density, x = StandardNormal((3,)), torch.randn(5, 3)
    for value in (elbo(density, x), iwae(density, x, 5), log_likelihood(density, x)):
        torch.testing.assert_close(value, density.log_prob(x))


def test_a_bug_in_a_prior_is_no_missing_closed_form():
    class Broken(StandardNormal):
        def distribution(self, context=None):
            raise TypeError("a genuine bug in a prior")

        def log_prob(self, z, context=None):  # so that a bound could be had without it
            return StandardNormal((2,)).log_prob(z)

    broken = VAE(ConditionalNormal((2,), MLP(3, (), 4)), ConditionalNormal((3,), MLP(2, (), 3), 0.7), Broken((2,)))
    with pytest.raises(TypeError, match="a genuine bug in a prior"):
        elbo(broken, torch.randn(5, 3))


def test_a_prior_without_a_closed_form_takes_the_log_ratio_at_the_draw():
    prior = MixtureOfGaussians((2,), 3)
    model = VAE(ConditionalNormal((2,), MLP(3, (), 4)), ConditionalNormal((3,), MLP(2, (), 3), 0.7), prior)
    x = torch.randn(5, 3)
    trace = model.trace(x, k=4)
    distortion, rate = distortion_and_rate(trace)
    torch.testing.assert_close(rate, trace.steps[0].log_q - prior.log_prob(trace.z.flatten(0, 1)).view(4, 5))
    torch.testing.assert_close(-distortion - rate, trace.log_weights)


def test_closed_form_kl_of_one_layer_to_a_prior_that_depends_on_the_context():
    """The encoder has one row for each example, what reaches the prior one for each draw."""
    prior = ConditionalNormal((2,), MLP(1, (), 4))
    decoder = ConditionalNormal((3,), MLP(3, (), 3), 0.7)
    model = VAE(ConditionalNormal((2,), MLP(4, (), 4)), decoder, prior).double()
    x, context = torch.randn(5, 3).double(), torch.randn(5, 1).double()
    _, rate = distortion_and_rate(model.trace(x, context, k=4))
    q, p = model.posterior(x, context), prior.distribution(context)
    expected = kl_divergence(Normal(q.loc, q.scale), Normal(p.loc, p.scale)).sum(1)
    torch.testing.assert_close(rate, expected.expand(4, 5))


def test_effective_sample_size_counts_equal_weights_and_expects_what_theory_says():
    log_w = torch.tensor([[0.0, 0.0, 3.0], [0.0, -1e4, 3.0], [0.0, -1e4, 3.0], [0.0, 0.0, 3.0]])
    torch.testing.assert_close(effective_sample_size(log_w), torch.tensor([4.0, 2.0, 4.0]))
    torch.testing.assert_close(effective_sample_size(log_w + 500), effective_sample_size(log_w))
    torch.manual_seed(0)
    noise = torch.randn(1_000_000)  # log-normal weights: E[w]^2 / E[w^2] = exp(-s^2)
    share = effective_sample_size(0.7 * noise).item() / len(noise)
    assert share == pytest.approx(math.exp(-0.49), rel=0.01)
