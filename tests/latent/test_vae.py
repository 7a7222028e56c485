import pickle

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from lvmlib.base import Density
from lvmlib.bounds import elbo
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.draws import Conditioned
from lvmlib.latent import VAE
from lvmlib.networks import MLP


def small_vae(latents: int = 2) -> VAE:
    torch.manual_seed(0)
    return VAE(
        ConditionalNormal((latents,), MLP(12, (8,), 2 * latents, nn.Tanh)),
        ConditionalBernoulli((1, 3, 4), MLP(latents, (8,), 12, nn.Tanh)),
        StandardNormal((latents,)),
    )


def binary(n: int) -> torch.Tensor:
    return (torch.rand(n, 1, 3, 4) < 0.5).float()


def test_a_vae_is_a_flow_of_one_stochastic_layer():
    vae = small_vae()
    assert isinstance(vae, Flow) and len(vae.transforms) == 1 and vae.is_bound
    assert vae.event_shape == (1, 3, 4) and vae.prior is vae.base
    assert vae.posterior(binary(5)).batch_shape == (5,)
    assert vae.likelihood(torch.zeros(5, 2)).event_shape == (1, 3, 4)


def test_elbo_against_ten_lines_without_the_library():
    vae, x = small_vae(), binary(6)
    h = vae.pair.encoder.network(x)
    mu, log_sigma = h[:, :2], h[:, 2:]
    torch.manual_seed(1)
    z = mu + log_sigma.exp() * torch.randn(1, 6, 2)[0]
    logits = vae.pair.decoder.network(z)
    bce = nn.functional.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="none").sum(1)
    kl = 0.5 * (mu**2 + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1)
    torch.manual_seed(1)
    torch.testing.assert_close(elbo(vae, x), -bce - kl)
    torch.manual_seed(1)
    torch.testing.assert_close(elbo(vae, x, beta=0.3), -bce - 0.3 * kl)


def test_bound_holds_against_quadrature_over_the_latent():
    """One latent, so p(x) is an integral that a fine grid computes."""
    vae, x = small_vae(latents=1).double(), binary(5).double()
    grid = torch.linspace(-9, 9, 20_001).double()[:, None]
    logits = vae.pair.decoder.network(grid)  # [G, 12]
    log_joint = -nn.functional.binary_cross_entropy_with_logits(
        logits[:, None].expand(-1, 5, -1), x.flatten(1).expand(len(grid), -1, -1), reduction="none"
    ).sum(2) + Normal(0.0, 1.0).log_prob(grid)
    log_p = torch.logsumexp(log_joint, 0) + torch.log(torch.tensor(18 / 20_000))
    estimate = torch.logsumexp(vae.log_weights(x, 100_000), 0) - torch.log(torch.tensor(100_000.0))
    torch.testing.assert_close(estimate, log_p, atol=5e-3, rtol=0)
    assert (elbo(vae, x, k=1000) < log_p).all()


def test_a_gradient_reaches_every_parameter():
    vae = small_vae()
    elbo(vae, binary(6)).mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.parameters())


def test_grey_images_are_refused_by_a_bernoulli_decoder():
    with pytest.raises(ValueError, match="binarize='stochastic'"):
        elbo(small_vae(), torch.full((2, 1, 3, 4), 0.5))


def test_encoder_and_prior_must_agree():
    with pytest.raises(ValueError, match=r"draws \[2\] and the prior expects \[3\]"):
        VAE(ConditionalNormal((2,), nn.Linear(3, 4)), ConditionalBernoulli((3,), nn.Linear(2, 3)), StandardNormal((3,)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float64])
def test_another_dtype_than_the_networks_is_named(dtype):
    with pytest.raises(TypeError, match=f"computes in torch.float32, but it was given {dtype}"):
        elbo(small_vae(), binary(2).to(dtype))


def test_networks_alone_are_no_densities():
    with pytest.raises(TypeError, match="The encoder must be a Density, but it is a MLP"):
        VAE(MLP(3, (), 4), ConditionalBernoulli((3,), nn.Linear(2, 3)), StandardNormal((2,)))
    with pytest.raises(TypeError, match="The decoder must be a Density, but it is a MLP"):
        VAE(ConditionalNormal((2,), nn.Linear(3, 4)), MLP(2, (), 3), StandardNormal((2,)))


def test_likelihood_checks_codes_and_context():
    with pytest.raises(ValueError, match=r"z must have shape \[B, 2\], but it has \[7, 5, 2\]"):
        small_vae().likelihood(torch.zeros(7, 5, 2))
    with pytest.raises(ValueError, match="one row per example"):
        small_vae().likelihood(torch.zeros(7, 2), torch.zeros(5, 1))
    with pytest.raises(ValueError, match="Boolean"):
        small_vae().posterior(torch.full((7, 1, 3, 4), 0.5))


def test_context_conditions_both_halves():
    vae = VAE(
        ConditionalNormal((2,), MLP(3 + 4, (8,), 4)),
        ConditionalBernoulli((3,), MLP(2 + 4, (8,), 3)),
        StandardNormal((2,)),
    )
    x, context = (torch.rand(5, 3) < 0.5).float(), torch.eye(4)[:1].expand(5, 4)
    assert vae.log_weights(x, 3, context).shape == (3, 5)
    assert elbo(vae, x, k=2, context=context).shape == (5,)
    assert vae.sample(5, context).shape == vae.likelihood(torch.zeros(5, 2), context).mean.shape == (5, 3)
    torch.manual_seed(0)
    first = elbo(vae, x, context=context)
    torch.manual_seed(0)
    assert not torch.equal(first, elbo(vae, x, context=context.roll(1, dims=1)))


def test_reconstruct_shows_the_mean_of_the_likelihood():
    vae, x = small_vae(), binary(4)
    torch.manual_seed(3)
    picture = vae.reconstruct(x)
    torch.manual_seed(3)
    z = vae.trace(x).z[0]
    assert not picture.requires_grad
    torch.testing.assert_close(picture, torch.sigmoid(vae.pair.decoder.network(z)).view_as(x))


def test_decoder_without_a_torch_distribution():
    """A decoder may be any conditional density, such as a pixel model."""

    class Unit(Density):
        def __init__(self):
            super().__init__((3,))

        def log_prob(self, x, context=None):
            return Normal(context.mean(1, keepdim=True), 1.0).log_prob(x).sum(1)

        def sample(self, n, context=None):
            return context.mean(1, keepdim=True) + torch.randn(n, 3)

    vae = VAE(ConditionalNormal((2,), nn.Linear(3, 4)), Unit(), StandardNormal((2,)))
    x = torch.randn(5, 3)
    assert isinstance(vae.likelihood(torch.zeros(5, 2)), Conditioned)
    assert vae.log_weights(x, 7).shape == (7, 5) and vae.sample(4).shape == (4, 3)
    with pytest.raises(TypeError, match="no mean"):
        vae.reconstruct(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_parameters_and_input(dtype):
    vae = small_vae().to(dtype)
    x = binary(3).to(dtype)
    assert elbo(vae, x).dtype == vae.sample(2).dtype == vae.log_weights(x, 2).dtype == dtype


def test_pickle():
    vae, x = small_vae(), binary(3)
    again = pickle.loads(pickle.dumps(vae))
    torch.manual_seed(0)
    first = vae.log_prob(x)
    torch.manual_seed(0)
    assert torch.equal(first, again.log_prob(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda():
    vae, x = small_vae().cuda(), binary(3).cuda()
    assert elbo(vae, x).device.type == vae.sample(2).device.type == "cuda"
