"""Score-function estimators against gradients that are summed over all draws."""

import pytest
import torch
from torch import nn

from lvmlib.chain import Flow
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalNormal,
    FactorisedBernoulli,
    StandardNormal,
)
from lvmlib.draws import draw_constant
from lvmlib.estimators import (
    LearnedBaseline,
    NVILBaseline,
    RunningBaseline,
    nvil,
    optimal_baseline,
    rloo,
    score_function,
    vimco,
)
from lvmlib.latent import StochasticPair
from tests.estimators.exact import (
    LEVEL,
    all_draws,
    categories,
    coins,
    decoder,
    deviations,
    exact_bound,
    gradient,
    line,
    quadrature_bound,
    weights_of_all,
)
from tests.precision import double_precision  # noqa: F401


class Told(RunningBaseline):
    """A running mean that starts from elsewhere."""

    def __init__(self):
        super().__init__(0.5)
        self.lesson(torch.full((1, 3), -2.5), torch.zeros(()))


ESTIMATORS = {  # name: the estimator, k, draws of the bound that it belongs to
    "score": (lambda vae, x: score_function(vae, x), 1, 1),
    "score of two draws": (lambda vae, x: score_function(vae, x, k=2), 2, 1),
    "constant baseline": (lambda vae, x: score_function(vae, x, baseline=-3.0), 1, 1),
    "a baseline for each": (lambda vae, x: score_function(vae, x, baseline=torch.full((len(x),), -1.5)), 1, 1),
    "running baseline": (lambda vae, x: score_function(vae, x, baseline=Told()), 1, 1),
    "learned baseline": (lambda vae, x: score_function(vae, x, baseline=LearnedBaseline(nn.Linear(2, 1))), 1, 1),
    "nvil": (lambda vae, x: nvil(vae, x, NVILBaseline(nn.Linear(2, 1))), 1, 1),
    "rloo": (lambda vae, x: rloo(vae, x, 2), 2, 1),
    "rloo of three": (lambda vae, x: rloo(vae, x, 3), 3, 1),
    "vimco": (lambda vae, x: vimco(vae, x, 2), 2, 2),
    "vimco of three": (lambda vae, x: vimco(vae, x, 3), 3, 3),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("build", [coins, categories])
def test_the_expectation_over_all_draws_is_the_gradient_of_the_bound(monkeypatch, build, name):
    estimator, k, bound = ESTIMATORS[name]
    vae, x, z = build()
    parameters = list(vae.parameters())
    exact = exact_bound(vae, x, z, bound)
    wanted = gradient(exact, parameters)
    rows, probability = all_draws(monkeypatch, vae, x, z, k)
    surrogate = (probability * estimator(vae, rows)).sum()
    torch.testing.assert_close(surrogate.detach(), exact.detach())
    torch.testing.assert_close(gradient(surrogate, parameters), wanted)


@pytest.mark.parametrize("name", ["score", "rloo", "vimco"])
def test_draws_as_they_come_agree_too_of_continuous_latents_among_them(name):
    estimator, _, bound = ESTIMATORS[name]
    vae, x, z = coins()
    parameters, rows = list(vae.parameters()), x.expand(1000, 2)
    assert deviations(lambda: estimator(vae, rows), exact_bound(vae, x, z, bound), parameters).abs().max() < LEVEL
    vae, x = line()
    parameters, rows = list(vae.parameters()), x.expand(1000, 1)
    assert deviations(lambda: estimator(vae, rows), quadrature_bound(vae, x, bound), parameters).abs().max() < LEVEL


def variance(monkeypatch, estimator, vae, x, z, k=1):
    """Of the gradient in the encoder, summed over its entries, exactly."""
    parameters = list(vae.pair.encoder.parameters())
    rows, probability = all_draws(monkeypatch, vae, x, z, k)
    surrogates = estimator(vae, rows)
    jacobian = torch.stack(
        [torch.cat([g.flatten() for g in torch.autograd.grad(s, parameters, retain_graph=True)]) for s in surrogates]
    )
    mean = probability @ jacobian
    return (probability @ (jacobian - mean).square()).sum()


def test_the_optimal_baseline_is_the_weighted_mean_and_no_constant_has_less_variance(monkeypatch):
    vae, x, z = coins()
    parameters = list(vae.pair.encoder.parameters())
    log_w, log_q = (t.detach() for t in weights_of_all(vae, x, z))
    squares = torch.stack(
        [gradient(vae.posterior(x).log_prob(value[None])[0], parameters).square().sum() for value in z]
    )
    q = log_q.exp()
    best = (q * log_w * squares).sum() / (q * squares).sum()
    estimated = optimal_baseline(vae, x.expand(20, 2), k=500)
    assert estimated.shape == (20,) and not estimated.requires_grad
    assert (estimated.mean() - best).abs() < LEVEL * estimated.std() / 20**0.5 < 0.1
    seen, likelihood = [], vae.pair.likelihood
    with torch.no_grad(), monkeypatch.context() as patch:
        patch.setattr(vae.pair, "likelihood", lambda z, context: seen.append(len(z)) or likelihood(z, context))
        assert optimal_baseline(vae, x.expand(3, 2), k=50).shape == (3,)
    assert sum(seen) == 150 and max(seen) <= 64
    around = [
        variance(monkeypatch, lambda vae, x, b=b: score_function(vae, x, baseline=b), vae, x, z)
        for b in (best.item() - 0.3, best.item(), best.item() + 0.3, 0.0)
    ]
    assert around[1] == min(around) and around[1] < 0.9 * around[3]


def test_baselines_take_variance_away(monkeypatch):
    vae, x, z = coins()
    plain = variance(monkeypatch, lambda vae, x: score_function(vae, x, k=2), vae, x, z, 2)
    assert variance(monkeypatch, lambda vae, x: rloo(vae, x, 2), vae, x, z, 2) < 0.5 * plain

    def without_baseline(vae, x):  # the bound's value is the signal of every draw
        trace = vae.trace(x, k=2, draw=draw_constant)
        bound = trace.log_weights.logsumexp(0)
        score = trace.steps[0].log_q.sum(0)
        return bound + bound.detach() * (score - score.detach())

    assert variance(monkeypatch, lambda vae, x: vimco(vae, x, 2), vae, x, z, 2) < 0.5 * variance(
        monkeypatch, without_baseline, vae, x, z, 2
    )


def test_signals_are_those_of_the_papers_draw_by_draw():
    vae, x, _ = coins()
    parameters, rows, k = list(vae.parameters()), x.expand(3, 2), 4
    torch.manual_seed(1)
    trace = vae.trace(rows, k=k, draw=draw_constant)
    log_w, log_q = trace.log_weights, trace.steps[0].log_q
    leave_one_out, against_bound = torch.zeros(k, 3), torch.zeros(k, 3)
    for i in range(k):
        others = torch.stack([log_w[j] for j in range(k) if j != i]).detach()
        leave_one_out[i] = log_w[i].detach() - others.mean(0)
        without = torch.cat([others, others.mean(0, keepdim=True)]).exp().mean(0).log()
        against_bound[i] = log_w.detach().exp().mean(0).log() - without
    bound = log_w.exp().mean(0).log()
    rloo_by_hand = ((log_w + log_q) + leave_one_out * log_q).mean(0)  # log w + log q = log p(x, z)
    vimco_by_hand = bound + (against_bound * log_q).sum(0)
    for by_hand, estimator in ((rloo_by_hand, rloo), (vimco_by_hand, vimco)):
        torch.manual_seed(1)
        seen = gradient(estimator(vae, rows, k).sum(), parameters)
        torch.testing.assert_close(seen, gradient(by_hand.sum(), parameters, retain_graph=True))


def test_two_layers_of_discrete_latents_are_unbiased():
    lower = StochasticPair(ConditionalBernoulli((2,), nn.Linear(2, 2)), decoder(2))
    upper = StochasticPair(ConditionalBernoulli((1,), nn.Linear(2, 1)), ConditionalBernoulli((2,), nn.Linear(1, 2)))
    model, x = Flow([lower, upper], FactorisedBernoulli((1,))), torch.randn(1, 2)
    z1 = torch.tensor([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0) for _ in range(2)])
    z2 = torch.tensor([[0.0], [1.0]] * 4)
    log_q = lower.posterior(x).log_prob(z1) + upper.posterior(z1).log_prob(z2)
    log_w = lower.likelihood(z1).log_prob(x) + upper.likelihood(z2).log_prob(z1) + model.base.log_prob(z2) - log_q
    elbo, parameters, rows = (log_q.exp() * log_w).sum(), list(model.parameters()), x.expand(1000, 2)
    for estimator in (lambda: score_function(model, rows, baseline=-4.0), lambda: rloo(model, rows, 3)):
        assert deviations(estimator, elbo, parameters).abs().max() < LEVEL


def test_nvil_divides_by_the_running_deviation_and_trains_its_network_by_least_squares(monkeypatch):
    vae, x, z = coins()
    baseline = NVILBaseline(nn.Linear(2, 1), decay=0.5)
    with torch.no_grad():
        baseline.variance.fill_(9.0)
        baseline.running.mean.fill_(-1.0)
        baseline.running.remains.fill_(0.5)  # so the mean is -2
    encoder, network = list(vae.pair.encoder.parameters()), list(baseline.network.parameters())
    wanted = gradient(exact_bound(vae, x, z, 1), [*encoder, *vae.pair.decoder.parameters()])
    rows, probability = all_draws(monkeypatch, vae, x, z, 1)
    signal = vae.trace(rows, draw=lambda q, n: (q.sample((n,)), q.log_prob(q.sample((n,))))).log_weights.detach()[0]
    error = signal - (baseline.network(x)[0, 0] - 2)
    lesson = gradient((probability * -error.square()).sum(), network)
    surrogate = (probability * nvil(vae, rows, baseline)).sum()
    parts = gradient(surrogate, [*encoder, *vae.pair.decoder.parameters()])
    size = sum(p.numel() for p in encoder)
    torch.testing.assert_close(parts[:size], wanted[:size] / 3)
    torch.testing.assert_close(parts[size:], wanted[size:])
    surrogate = (probability * nvil(vae, rows, fresh(baseline))).sum()
    torch.testing.assert_close(gradient(surrogate, network), lesson)
    left = signal - baseline.network(x)[0, 0].detach()  # the plain mean and variance of the rows
    torch.testing.assert_close(baseline.running(x).item(), ((0.5 * -1 + 0.5 * left.mean()) / 0.75).item())
    torch.testing.assert_close(baseline.variance, 0.5 * 9 + 0.5 * left.var(correction=0))


def fresh(baseline):
    """The baseline as it was before its lesson, with the same network."""
    with torch.no_grad():
        baseline.running.mean.fill_(-1.0)
        baseline.running.remains.fill_(0.5)
        baseline.variance.fill_(9.0)
    return baseline


def test_a_baseline_learns_after_the_gradient_and_only_in_training():
    vae, x, _ = coins()
    rows = x.expand(500, 2)
    running = RunningBaseline(0.9)
    assert running(x).item() == 0
    seen = [score_function(vae, rows, baseline=running).mean().item() for _ in range(3)]
    weights = torch.tensor([0.81, 0.9, 1.0])
    torch.testing.assert_close(running(x), (weights * torch.tensor(seen)).sum() / weights.sum())
    before = running(x).item()
    with torch.no_grad():
        score_function(vae, rows, baseline=running)
    running.eval()
    score_function(vae, rows, baseline=running)
    assert running(x).item() == before
    learned = LearnedBaseline(nn.Linear(2, 1))
    network = list(learned.network.parameters())
    torch.manual_seed(1)
    surrogate = score_function(vae, rows, k=3, baseline=learned)
    torch.manual_seed(1)
    signal = score_function(vae, rows, k=3).detach()  # its mean over the draws
    error = (signal - learned.network(x)[0, 0]).detach()
    wanted = gradient((2 * error * learned.network(rows)[:, 0]).mean(), network)
    torch.testing.assert_close(gradient(surrogate.mean(), network), wanted)


LEARNED = [
    (Told, score_function),
    (LearnedBaseline, score_function),
    (NVILBaseline, score_function),
    (NVILBaseline, nvil),
]


@pytest.mark.parametrize(("kind", "estimator"), LEARNED)
def test_a_baseline_that_learns_is_subtracted_like_a_number(kind, estimator):
    vae, x, _ = coins()
    baseline = Told() if kind is Told else kind(nn.Linear(2, 1))
    rows, encoder = x.expand(50, 2), list(vae.pair.encoder.parameters())
    value = baseline(rows).detach() - torch.zeros(50)
    torch.manual_seed(1)
    seen = gradient(estimator(vae, rows, baseline=baseline).sum(), encoder)
    torch.manual_seed(1)
    torch.testing.assert_close(seen, gradient(score_function(vae, rows, baseline=value).sum(), encoder))


def test_bad_input_is_refused_at_the_door():
    vae, x, _ = coins()
    for estimator in (rloo, vimco):
        with pytest.raises(ValueError, match="k must be 2 or more, but it is 1"):
            estimator(vae, x, 1)
    exact = Flow([], StandardNormal((2,)))
    for estimator in (lambda m: score_function(m, x), lambda m: rloo(m, x, 2), lambda m: vimco(m, x, 2)):
        with pytest.raises(TypeError, match="draws nothing"):
            estimator(exact)
        with pytest.raises(TypeError, match="draws nothing"):
            estimator(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="draws nothing"):
        nvil(exact, x, NVILBaseline(nn.Linear(2, 1)))
    with pytest.raises(TypeError, match="needs an NVILBaseline, but it was given a Linear"):
        nvil(vae, x, nn.Linear(2, 1))
    with pytest.raises(ValueError, match=r"one value per example, \[1\], but this one has shape \[2\]"):
        score_function(vae, x, baseline=torch.zeros(2))
    for bad in ("0.5", True, None, float("inf")):
        with pytest.raises(ValueError, match="baseline must be a number"):
            score_function(vae, x, baseline=bad)
    with pytest.raises(ValueError, match=r"\[3, 1\], but this one gave \[3, 2\]"):
        score_function(vae, x.expand(3, 2), baseline=LearnedBaseline(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="decay is a share"):
        RunningBaseline(1.0)
    with pytest.raises(ValueError, match="nothing to estimate"):
        optimal_baseline(vae.requires_grad_(False), x, k=3)
    assert score_function(vae, x, baseline=torch.tensor(1.0)).shape == (1,)


def test_a_context_is_handed_on():
    encoder = ConditionalBernoulli((2,), nn.Linear(3, 2))
    vae = type(coins()[0])(encoder, ConditionalNormal((2,), nn.Linear(3, 2), 0.6), FactorisedBernoulli((2,)))
    x, context = torch.randn(4, 2), torch.randn(4, 1)
    baseline = NVILBaseline(nn.Linear(2, 1))
    for surrogate in (
        score_function(vae, x, k=3, context=context),
        rloo(vae, x, 3, context),
        vimco(vae, x, 3, context),
        nvil(vae, x, baseline, 3, context),
    ):
        assert surrogate.shape == (4,)
    assert optimal_baseline(vae, x, 3, context).shape == (4,)
