"""ELBO surgery against enumeration and quadrature."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from lvmlib import information
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, MixtureOfGaussians, StandardNormal
from lvmlib.draws import draw
from lvmlib.flows import Affine, Dequantize, iaf, realnvp
from lvmlib.latent import VAE, LinearGaussian, VampPrior
from lvmlib.networks import MLP
from lvmlib.surgery import aggregated_posterior, decompose
from lvmlib.training import fit
from tests.discrete_vae import discrete_vae, every_code, tables
from tests.gaussian_chain import two_layer_chain
from tests.precision import double_precision  # noqa: F401


def spread_out(q, n):
    """Draws of a two-dimensional Gaussian spread evenly, in all four quadrants alike and with variance 1: averages over
    them are almost expectations.
    """
    sobol = torch.quasirandom.SobolEngine(2, scramble=True, seed=0).draw(n // 4, dtype=torch.float64)
    noise = Normal(0.0, 1.0).icdf(sobol.clamp(1e-12, 1 - 1e-12))
    noise = torch.cat([noise * torch.tensor(signs) for signs in itertools.product([1.0, -1.0], repeat=2)])
    z = q.loc + q.stddev * (noise / noise.square().mean(0).sqrt())[:, None]
    return z, q.log_prob(z)


@pytest.fixture(scope="module")
def trained():
    """A VAE of two latents on 40 pictures of twelve bits, trained for a second."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    encoder = ConditionalNormal((2,), MLP(12, (16,), 4, nn.Tanh))
    vae = VAE(encoder, ConditionalBernoulli((12,), MLP(2, (16,), 12, nn.Tanh)), StandardNormal((2,)))
    x = (torch.rand(40, 1) + 0.5 * torch.rand(40, 12) < 0.75).double()
    fit(vae, x, steps=150, batch_size=20, lr=2e-2, progress=False)
    torch.set_default_dtype(torch.float32)
    return vae, x


def on_a_grid(vae, x):
    """Mutual information and marginal KL of two Gaussian latents by the trapezoidal rule."""
    axis = torch.linspace(-8, 8, 401)
    grid, area = torch.cartesian_prod(axis, axis), (axis[1] - axis[0]) ** 2
    with torch.no_grad():
        q = vae.posterior(x)
        log_q = torch.stack([Normal(m, s).log_prob(grid).sum(1) for m, s in zip(q.mean, q.stddev)])  # [N, G]
    log_marginal = log_q.logsumexp(0) - math.log(len(x))
    log_prior = Normal(0.0, 1.0).log_prob(grid).sum(1)
    information_ = (log_q.exp() * (log_q - log_marginal)).sum() * area / len(x)
    return information_, (log_marginal.exp() * (log_marginal - log_prior)).sum() * area


def test_on_a_discrete_model_all_terms_are_those_of_enumeration():
    vae, x = discrete_vae()
    terms = decompose(vae, x, k=16, draw=every_code)
    q, p, log_p = tables(vae, x)
    marginal = q.mean(0)
    expected = information.mutual_information(q / 6, base=math.e)
    torch.testing.assert_close(terms.mutual_information.mean(), expected)
    torch.testing.assert_close(terms.marginal_kl.mean(), information.kl_divergence(marginal, p, base=math.e))
    torch.testing.assert_close(terms.reconstruction, (q * log_p).sum(1))
    # The closed-form KL of coins knows nothing of q(z).
    torch.testing.assert_close(terms.rate.mean(), terms.mutual_information.mean() + terms.marginal_kl.mean())
    torch.testing.assert_close(terms.rate, (q * (q / p).log()).sum(1))
    per_example = information.kl_divergence(q, marginal.expand(6, 4), base=math.e)
    torch.testing.assert_close(terms.mutual_information, per_example)


def test_the_identity_on_a_trained_model_by_three_independent_ways(trained):
    vae, x = trained
    by_grid, marginal_by_grid = on_a_grid(vae, x)
    terms = decompose(vae, x, k=2**14, draw=spread_out, rows=2**18)
    q = vae.posterior(x)
    closed = 0.5 * (q.mean**2 + q.variance - 1 - q.variance.log()).sum(1).mean()
    assert by_grid > 0.5 and marginal_by_grid > 0.02  # there is something to tell apart
    assert abs(closed - by_grid - marginal_by_grid) < 1e-6
    assert abs(terms.rate.mean() - closed) < 1e-10
    assert abs(terms.mutual_information.mean() - by_grid) < 1e-4
    assert abs(terms.marginal_kl.mean() - marginal_by_grid) < 1e-4
    assert abs(terms.mutual_information.mean() + terms.marginal_kl.mean() - closed) < 1e-4
    assert terms.mutual_information.mean() < math.log(40)


def models():
    """Chains with all that can stand before and behind the latent layer."""
    encoder = ConditionalNormal((2,), nn.Linear(3, 4))
    decoder = ConditionalNormal((3,), nn.Linear(2, 6))
    pair = VAE(encoder, decoder, StandardNormal((2,))).pair
    return {
        "flow prior": VAE(encoder, decoder, realnvp((2,), layers=2, hidden=(8,))),
        "VampPrior": VAE(encoder, decoder, VampPrior(encoder, torch.randn(4, 3))),
        "mixture prior": VAE(encoder, decoder, MixtureOfGaussians((2,), components=3)),
        "flow posterior": VAE(iaf((2,), layers=1, hidden=(8,), context=3), decoder, StandardNormal((2,))),
        "bijection below": Flow([Affine((3,), "triangular"), pair], StandardNormal((2,))),
        "dequantized": Flow([Dequantize((3,), 4), pair], StandardNormal((2,))),
    }


@pytest.mark.parametrize("name", models())
def test_the_terms_add_up_to_the_bound_of_the_same_draws(name):
    model = models()[name]
    x = torch.randint(0, 4, (7, 3)).double()
    torch.manual_seed(1)
    terms = decompose(model, x, k=5)
    torch.manual_seed(1)
    bound = model.trace(x, k=5).log_weights.mean(0)
    torch.testing.assert_close(terms.reconstruction - terms.mutual_information - terms.marginal_kl, bound)
    assert not terms.mutual_information.requires_grad and terms.rate.shape == (7,)
    assert (terms.mutual_information <= math.log(5 * 7)).all()


def test_what_is_held_in_memory_at_a_time_changes_nothing(trained):
    vae, x = trained

    def fixed(q, n):  # the same draws of an example whatever stands beside it
        z = q.loc + q.stddev * torch.linspace(-1, 1, n).view(n, 1, 1)
        return z, q.log_prob(z)

    whole = decompose(vae, x, k=3, draw=fixed)
    for rows in (3, 7, 30):
        for a, b in zip(decompose(vae, x, k=3, draw=fixed, rows=rows), whole):
            torch.testing.assert_close(a, b)


def test_a_layer_of_several_is_named():
    """One Gaussian latent above another; the upper one sees draws of the lower, whose distribution is a mixture."""
    upper, lower = (LinearGaussian(torch.tensor([[w]]), torch.zeros(1), 0.8) for w in (1.2, 0.9))
    model, x = Flow([lower, upper], StandardNormal((1,))), torch.linspace(-3, 3, 20)[:, None]
    with pytest.raises(ValueError, match="2 layers of this chain draw codes: say which"):
        decompose(model, x)
    with pytest.raises(ValueError, match="say which"):
        aggregated_posterior(model, x)
    with pytest.raises(ValueError, match="layer is 2, but only 2"):
        decompose(model, x, layer=2)
    z = torch.linspace(-9, 9, 3001)[:, None]
    step = (z[1] - z[0]).item()
    first = lower.posterior(x)
    mean = first.mean @ upper.gain.T + upper.offset
    variance = upper.gain**2 * first.variance + upper.tril**2
    for layer, q, noise in ((0, first, first.variance), (1, Normal(mean, variance.sqrt()), upper.tril**2)):
        log_q = Normal(q.mean, q.variance.sqrt()).log_prob(z[:, None])[..., 0]  # [G, N]
        log_marginal = log_q.logsumexp(1) - math.log(20)
        entropy = -(log_marginal.exp() * log_marginal).sum() * step
        expected = entropy - 0.5 * (2 * math.pi * math.e * noise).log().mean()  # H(z) - H(z | layer's input)
        torch.manual_seed(2)
        terms = decompose(model, x, k=100, layer=layer, rows=2000)
        torch.manual_seed(2)
        bound = model.trace(x, k=100).log_weights.mean()
        total = terms.reconstruction - terms.mutual_information - terms.marginal_kl
        torch.testing.assert_close(total.mean(), bound)
        assert abs(terms.mutual_information.mean() - expected) < 0.03
        aggregate = aggregated_posterior(model, x, k=1 if layer == 0 else 200, layer=layer)
        assert (aggregate.log_prob(z).exp() - log_marginal.exp()).abs().sum() * step < (1e-9 if layer == 0 else 0.02)


def test_the_upper_marginal_kl_of_an_exact_chain_is_that_of_its_data():
    """With exact posteriors and data of the model itself q(z) is the prior, up to the chance of the data."""
    model, exact = two_layer_chain()
    x = exact.sample((1000,))
    terms = decompose(model, x, k=1, layer=0)
    assert abs(terms.marginal_kl.mean()) < 0.1 < terms.mutual_information.mean()


def parts_of(vae, x, size, data_size, parts):
    """The mutual information of many random parts of the data."""
    each = []
    for _ in range(parts):
        part = x[torch.randperm(len(x))[:size]]
        each.append(decompose(vae, part, k=10, data_size=data_size).mutual_information.mean())
    each = torch.stack(each)
    return each.mean(), each.std() / math.sqrt(parts)


def test_parts_of_the_data_hold_the_truth_between_them(trained):
    vae, x = trained
    truth, _ = on_a_grid(vae, x)
    small, error = parts_of(vae, x, 8, None, 100)
    large, error2 = parts_of(vae, x, 8, len(x), 100)
    assert small < truth - 5 * error and large > truth + 5 * error2
    assert small <= math.log(8) and large <= math.log(40)
    closer, _ = parts_of(vae, x, 30, None, 30)
    assert small < closer < truth
    for a, b in zip(decompose(vae, x, 4, draw=spread_out, data_size=40), decompose(vae, x, 4, draw=spread_out)):
        torch.testing.assert_close(a, b)


def test_stratified_estimate_of_the_aggregated_posterior_is_unbiased(trained):
    """Over all pairs of companions that an example can have among five, at one and the same draw."""
    vae, x = trained
    x, kept = x[:5], {}

    def same(q, n):
        z = q.loc[None] + 0.3 * q.stddev
        kept["log_q"] = q.log_prob(z)
        return z, kept["log_q"]

    estimates = []
    for others in itertools.combinations(range(1, 5), 2):
        terms = decompose(vae, x[[0, *others]], draw=same, data_size=5)
        estimates.append((kept["log_q"][0, 0] - terms.mutual_information[0]).exp())
    q = vae.posterior(x)
    expected = q.log_prob(q.loc[0] + 0.3 * q.stddev[0]).exp().mean()
    torch.testing.assert_close(torch.stack(estimates).mean(), expected.detach())
    assert torch.stack(estimates).std() > 0.01 * expected


@pytest.mark.parametrize("pairs", [None, 1600])
def test_aggregated_posterior_is_a_density_with_draws(trained, pairs):
    vae, x = trained
    q = aggregated_posterior(vae, x, rows=16)
    q.pairs = pairs or q.pairs
    axis = torch.linspace(-8, 8, 161)
    grid = torch.cartesian_prod(axis, axis)
    log_q = q.log_prob(grid.view(161, 161, 2))
    each = vae.posterior(x)
    torch.testing.assert_close(log_q.flatten(), each.log_prob(grid[:, None]).exp().mean(1).log().detach())
    assert abs(log_q.exp().sum() * (axis[1] - axis[0]) ** 2 - 1) < 1e-3
    z = q.sample((20_000,))
    spread = each.variance.mean(0) + each.mean.var(0, correction=0)
    torch.testing.assert_close(z.mean(0), each.mean.mean(0).detach(), atol=0.05, rtol=0)
    torch.testing.assert_close(z.var(0), spread.detach(), atol=0.05, rtol=0)


def test_aggregated_posterior_of_a_flow_posterior():
    encoder = iaf((2,), layers=1, hidden=(8,), context=3)
    vae = VAE(encoder, ConditionalNormal((3,), nn.Linear(2, 6)), StandardNormal((2,)))
    x, z = torch.randn(6, 3), torch.randn(4, 2)
    expected = torch.stack([encoder.log_prob(z, row.expand(4, 3)) for row in x]).logsumexp(0) - math.log(6)
    q = aggregated_posterior(vae, x, rows=4)
    torch.testing.assert_close(q.log_prob(z), expected.detach())
    assert q.sample((50,)).shape == (50, 2)


def test_what_is_refused(trained):
    vae, x = trained
    with pytest.raises(TypeError, match="needs a layer with a code"):
        decompose(Flow([], StandardNormal((12,))), x)
    with pytest.raises(ValueError, match="data_size is 39, but x has 40"):
        decompose(vae, x, data_size=39)
    with pytest.raises(ValueError, match="data_size is 40, but x has 1"):
        decompose(vae, x[:1], data_size=40)
    chain, _ = two_layer_chain()
    with pytest.raises(ValueError, match="k must be 1"):
        decompose(chain, torch.randn(5, 4), k=2, layer=1, data_size=9)
    assert decompose(chain, torch.randn(5, 4), layer=1, data_size=9).rate.shape == (5,)
    with pytest.raises(ValueError, match=r"x must have shape \[B, 12\]"):
        decompose(vae, x[0])
    with pytest.raises(ValueError, match="rows"):
        decompose(vae, x, rows=0, draw=draw)
