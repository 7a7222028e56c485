"""Priors of a VAE: each integrates to 1, draws from itself, and goes into a VAE without a word more."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from lvmlib.autoregressive import MADE
from lvmlib.bounds import elbo
from lvmlib.chain import Flow
from lvmlib.checkpoints import load_checkpoint, save_checkpoint
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalCategorical,
    ConditionalNormal,
    MixtureOfGaussians,
    StandardNormal,
)
from lvmlib.estimators import gumbel_softmax, vimco
from lvmlib.flows import MaskedAutoregressive, iaf, maf, realnvp
from lvmlib.flows.mixture import MixtureLogistic
from lvmlib.latent import VAE, OneHotCodes, VampPrior
from lvmlib.networks import MLP
from lvmlib.training import fit
from tests.precision import double_precision  # noqa: F401


def encoder(latents=2):
    return ConditionalNormal((latents,), MLP(6, (8,), 2 * latents, nn.Tanh))


def decoder(latents=2):
    return ConditionalBernoulli((6,), MLP(latents, (8,), 6, nn.Tanh))


def bits(n):
    return torch.bernoulli(torch.full((n, 6), 0.4))


def autoregressive(latents):
    return Flow([MaskedAutoregressive((latents,), (8,), MixtureLogistic(3))], StandardNormal((latents,)))


def moved(prior):
    """Away from where the weights start."""
    with torch.no_grad():
        for p in prior.parameters():
            p += 0.2 * torch.randn_like(p)
    return prior


PRIORS = {
    "VampPrior": lambda d: VampPrior(encoder(d), bits(5)),
    "VampPrior of a flow": lambda d: VampPrior(iaf((d,), layers=1, hidden=(8,), context=6), bits(5)),
    "mixture": lambda d: MixtureOfGaussians((d,), components=4),
    "flow": lambda d: realnvp((d,), layers=2, hidden=(8,)) if d > 1 else maf((d,), layers=2, hidden=(8,)),
    "autoregressive": autoregressive,
}


@pytest.mark.parametrize("latents", [1, 2])
@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_integrates_to_one_and_draws_from_its_density(name, latents):
    prior = moved(PRIORS[name](latents))
    axis = torch.linspace(-30, 30, 40_001) if latents == 1 else torch.linspace(-16, 16, 513)
    step = (axis[1] - axis[0]).item()
    grid = torch.cartesian_prod(*[axis] * latents).view(-1, latents)
    with torch.no_grad():
        mass = prior.log_prob(grid).exp() * step**latents
    assert abs(mass.sum() - 1) < 2e-3
    z = prior.sample(20_000)
    for inside in (lambda z: z[:, 0] > 0.2, lambda z: z.square().sum(1) < 1):  # two shares of the mass
        share = mass[inside(grid)].sum().item()
        error = math.sqrt(max(share * (1 - share), 1e-4) / 20_000)
        assert abs(inside(z).double().mean().item() - share) < 5 * error + 5e-3


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_goes_into_a_vae_and_is_trained_with_it(name):
    if name == "VampPrior":
        q = encoder()
        vae = VAE(q, decoder(), VampPrior(q, bits(5)))
    else:
        vae = VAE(encoder(), decoder(), PRIORS[name](2))
    elbo(vae, bits(20), k=2).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.prior.parameters())
    assert sum(p.grad.abs().sum() for p in vae.prior.parameters()) > 0
    assert vae.sample(3).shape == vae.sample(3, temperature=0.5).shape == (3, 6)
    assert vae.log_weights(bits(4), k=3).shape == (3, 4)


def shared():
    q = encoder()
    return VAE(q, decoder(), VampPrior(q, bits(5)))


def test_vamp_prior_is_the_mean_of_its_posteriors():
    vae, z = shared(), torch.randn(7, 2)
    q = vae.posterior(vae.prior.inputs)
    expected = torch.stack([q.log_prob(row.expand(5, 2)).exp().mean().log() for row in z])
    torch.testing.assert_close(vae.prior.log_prob(z), expected)
    given = torch.randn(3, 6)
    start = VampPrior(encoder(), given)
    assert torch.equal(start.inputs, given)
    given += 1  # a copy, not the data themselves
    assert not torch.equal(start.inputs, given)


def test_vamp_prior_shares_the_encoder():
    """Its gradient reaches the encoder through the pseudo-inputs, and the encoder's weights are counted once."""
    vae = shared()
    assert vae.prior.encoder is vae.pair.encoder
    numbers = sum(p.numel() for p in vae.parameters())
    assert numbers == sum(p.numel() for part in (vae.pair.encoder, vae.pair.decoder) for p in part.parameters()) + 30
    vae.prior.log_prob(torch.randn(3, 2)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in vae.pair.encoder.parameters())
    again = copy.deepcopy(vae)
    assert again.prior.encoder is again.pair.encoder


def test_a_checkpoint_holds_the_shared_encoder_once(tmp_path):
    vae, other, x = shared(), shared(), bits(4)
    path = save_checkpoint(vae, tmp_path / "vamp", {})
    assert load_checkpoint(other, path)["parameters"] == sum(p.numel() for p in vae.parameters())
    assert path.stat().st_size < 8 * sum(p.numel() for p in vae.parameters()) + 2000
    assert other.prior.encoder is other.pair.encoder
    torch.manual_seed(0)
    expected = vae.log_prob(x)
    torch.manual_seed(0)
    torch.testing.assert_close(other.log_prob(x), expected)


def test_a_run_with_a_vamp_prior_resumes_exactly(tmp_path):
    def train(steps, **checkpoint):
        torch.manual_seed(0)
        vae, x = shared(), bits(40)
        fit(vae, x, steps=steps, batch_size=10, lr=0.01, average=0.9, checkpoint_every=3, progress=False, **checkpoint)
        return list(vae.parameters())

    whole = train(8)
    train(4, checkpoint=tmp_path / "run.pt")
    rest = train(8, checkpoint=tmp_path / "run.pt", resume=True)
    assert len(whole) == len(rest) and all(torch.equal(a, b) for a, b in zip(whole, rest))


def test_a_temperature_narrows_the_posteriors_of_a_vamp_prior():
    prior = VampPrior(encoder(), bits(1))
    q = prior.encoder.distribution(prior.inputs)
    for temperature in (1.0, 0.5):
        z = prior.sample(20_000, temperature=temperature)
        torch.testing.assert_close(z.std(0), temperature * q.stddev[0].detach(), rtol=0.05, atol=0)


def test_one_hot_codes_are_what_they_number():
    made = moved(MADE((2,), (8,), levels=3))
    prior = OneHotCodes(made)
    codes = torch.tensor(list(itertools.product(range(3), repeat=2)))
    z = nn.functional.one_hot(codes, 3).double()
    assert prior.event_shape == (2, 3)
    torch.testing.assert_close(prior.log_prob(z), made.log_prob(codes))
    torch.testing.assert_close(prior.log_prob(z).exp().sum().item(), 1.0)
    drawn = prior.sample(20_000)
    counts = (drawn.flatten(1) @ z.flatten(1).T == 2).double().mean(0)
    assert drawn.dtype == torch.float64 and (counts - prior.log_prob(z).exp()).abs().max() < 0.02


def test_an_autoregressive_prior_over_codes_is_trained_by_estimators_of_discrete_draws():
    prior = OneHotCodes(MADE((2,), (8,), levels=3))
    vae = VAE(ConditionalCategorical((2, 3), MLP(6, (8,), 6)), decoder(6), prior)
    vimco(vae, bits(10), k=4).mean().backward()
    assert all(p.grad is not None for p in vae.parameters())
    with pytest.raises(TypeError, match="through which no gradient flows"):
        gumbel_softmax(vae, bits(10))
    with pytest.raises(ValueError, match="OneHot"):
        prior.log_prob(torch.full((1, 2, 3), 0.5))
    of_bits = VAE(ConditionalBernoulli((3,), MLP(6, (8,), 3)), decoder(3), MADE((3,), (8,)))
    vimco(of_bits, bits(10), k=4).mean().backward()
    assert all(p.grad is not None for p in of_bits.parameters()) and of_bits.sample(4).shape == (4, 6)


def test_what_is_refused():
    with pytest.raises(TypeError, match="VampPrior mixes posteriors of an encoder, a Density"):
        VampPrior(nn.Linear(6, 4), bits(3))
    with pytest.raises(ValueError, match="takes no context"):
        VampPrior(encoder(), bits(3)).log_prob(torch.zeros(2, 2), torch.zeros(2, 1))
    with pytest.raises(TypeError, match="OneHotCodes wraps a Density"):
        OneHotCodes(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="levels"):
        OneHotCodes(StandardNormal((2,)))
