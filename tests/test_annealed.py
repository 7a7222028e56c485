import pytest
import torch

from lvmlib import annealed
from lvmlib.annealed import annealed_log_likelihood
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, MixtureOfGaussians, StandardNormal
from lvmlib.latent import PPCA, VAE, HierarchicalVAE, LinearGaussian
from lvmlib.networks import MLP


def linear(latents=5, d=12, scale=0.3):
    torch.manual_seed(0)
    ppca = PPCA((d,), latents, scale)
    return ppca, ppca.chain(), ppca.sample(4)


def test_exact_log_likelihood_of_a_linear_gaussian_model():
    ppca, chain, x = linear()
    torch.manual_seed(1)
    estimate = annealed_log_likelihood(chain, x, k=256, temperatures=100)
    torch.testing.assert_close(estimate, ppca.log_prob(x).detach(), atol=0.25, rtol=0)


def test_the_encoder_is_never_asked():
    _, chain, x = linear()
    torch.manual_seed(1)
    before = annealed_log_likelihood(chain, x, k=4, temperatures=20)
    with torch.no_grad():
        chain.layers[0].offset += 100.0
    torch.manual_seed(1)
    assert torch.equal(before, annealed_log_likelihood(chain, x, k=4, temperatures=20))


def test_the_mean_weight_is_unbiased_even_where_few_temperatures_make_it_noisy():
    """Many repetitions of a short run: their mean in p, not in log p, is p(x)."""
    layer = LinearGaussian(torch.tensor([[2.0]]), torch.zeros(1), 0.5)
    chain, x = Flow([layer], StandardNormal((1,))), torch.tensor([[3.0]]).expand(4000, 1)
    exact = torch.distributions.Normal(0.0, (4 + 0.25) ** 0.5).log_prob(torch.tensor(3.0))
    torch.manual_seed(0)
    log_w = annealed_log_likelihood(chain, x, k=1, temperatures=4, leapfrog=3)
    ratio = (log_w - exact).exp()
    assert ratio.std() > 0.3  # noisy enough to tell
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / 4000**0.5
    assert log_w.mean() < exact - 0.05


def test_a_prior_that_is_a_mixture_and_a_bernoulli_decoder_against_quadrature():
    torch.manual_seed(0)
    prior = MixtureOfGaussians((1,), 2)
    vae = VAE(ConditionalNormal((1,), MLP(6, (4,), 2)), ConditionalBernoulli((6,), MLP(1, (8,), 6)), prior)
    for p in vae.pair.decoder.parameters():
        p.data *= 3
    x = (torch.rand(3, 6) < 0.5).float()
    grid = torch.linspace(-12, 12, 8001)[:, None]
    log_joint = vae.prior.log_prob(grid)[:, None] + torch.stack(
        [vae.likelihood(grid).log_prob(row.expand(8001, 6)) for row in x], 1
    )
    log_p = torch.logsumexp(log_joint, 0) + torch.log(torch.tensor(24 / 8000))
    estimate = annealed_log_likelihood(vae, x, k=1000, temperatures=60)
    torch.testing.assert_close(estimate, log_p.detach(), atol=0.05, rtol=0)


def test_other_models_are_refused():
    lower = ConditionalNormal((4,), MLP(9, (8,), 8)), ConditionalBernoulli((9,), MLP(4, (8,), 9))
    upper = ConditionalNormal((2,), MLP(4, (8,), 4)), ConditionalNormal((4,), MLP(2, (8,), 8))
    for model in (StandardNormal((9,)), HierarchicalVAE([lower, upper], StandardNormal((2,)))):
        with pytest.raises(TypeError, match="one stochastic layer"):
            annealed_log_likelihood(model, torch.zeros(2, 9))
    with pytest.raises(ValueError, match=r"x must have shape"):
        annealed_log_likelihood(linear()[1], torch.zeros(2, 9))


def test_sizes_of_steps_are_tuned_in_one_run_and_held_in_the_next(monkeypatch):
    """Sizes that followed the very chains that they move would spoil the unbiasedness, by too little to be measured."""
    used, move = [], annealed._hamiltonian

    def watched(energy, z, step, leapfrog):
        used.append(step)
        return move(energy, z, step, leapfrog)

    monkeypatch.setattr(annealed, "_hamiltonian", watched)
    _, chain, x = linear()
    annealed_log_likelihood(chain, x, k=4, temperatures=20)
    tuning, counting = used[:19], used[19:]
    assert len(counting) == 19 and all(map(torch.equal, tuning, counting))
    assert not torch.equal(tuning[0], tuning[-1])
