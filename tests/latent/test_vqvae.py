"""VQ-VAEs on books so small that every code can be summed over."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from lvmlib.autoregressive import CausalTransformer, GatedPixelCNN
from lvmlib.bounds import distortion_and_rate, elbo, iwae, log_likelihood
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, FactorisedCodes, StandardNormal
from lvmlib.latent import VQVAE
from lvmlib.training import fit
from tests.precision import double_precision  # noqa: F401


def small(prior=None, **options) -> VQVAE:
    """Pictures of 4 x 4 pixels, two codes of three values."""
    torch.manual_seed(1)
    encoder = nn.Conv2d(1, 2, (4, 2), (4, 2))  # [B, 2, 1, 2]
    decoder = ConditionalBernoulli((1, 4, 4), nn.ConvTranspose2d(2, 1, (4, 2), (4, 2)))
    prior = prior or GatedPixelCNN((1, 1, 2), channels=4, layers=2, kernel=3, levels=3, embedding=True)
    model = VQVAE(encoder, decoder, prior, width=2, **options)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return model


def all_codes(model) -> torch.Tensor:
    levels, dims = model.prior.levels, math.prod(model.prior.event_shape)
    return torch.tensor(list(itertools.product(range(levels), repeat=dims))).double().view(-1, *model.prior.event_shape)


def binary(n: int) -> torch.Tensor:
    return (torch.rand(n, 1, 4, 4) < 0.5).double()


def log_joint(model, x) -> torch.Tensor:
    """log p(x, z) of every code z, with networks and formulas alone: [codes, B]."""
    z = all_codes(model)
    e = model.codebook.vectors[z[:, 0].long()].movedim(-1, 1)
    logits = model.quantizer.decoder.network(e)
    log_p = (
        -nn.functional.binary_cross_entropy_with_logits(
            logits[:, None].expand(-1, len(x), -1, -1, -1), x.expand(len(z), -1, -1, -1, -1), reduction="none"
        )
        .flatten(2)
        .sum(2)
    )
    return log_p + model.prior.log_prob(z)[:, None]


@torch.no_grad()
def test_the_bound_is_one_term_of_the_sum_over_all_codes():
    model, x = small(), binary(6)
    joint = log_joint(model, x)  # [9, 6]
    features = model.quantizer.encoder(x)
    distances = (features[:, :, None] - model.codebook.vectors.T[None, :, :, None, None]).square().sum(1)
    chosen = distances.argmin(1)[:, 0]  # [6, 2]
    place = chosen[:, 0] * 3 + chosen[:, 1]
    assert len(set(place.tolist())) > 1
    bound = elbo(model, x)
    torch.testing.assert_close(bound, joint[place, torch.arange(6)])
    exact = joint.logsumexp(0)
    assert (bound < exact).all()
    gap = -(joint - exact)[place, torch.arange(6)]  # minus the log of the true posterior of the chosen code
    torch.testing.assert_close(exact - bound, gap)
    assert isinstance(model, Flow) and model.is_bound
    assert torch.equal(model.codes(x).flatten(1).long(), chosen) and torch.equal(model.codes(x, rows=4), model.codes(x))


@torch.no_grad()
def test_more_draws_of_a_certain_code_bring_nothing():
    model, x = small(), binary(6)
    once = elbo(model, x)
    for value in (iwae(model, x, 1), iwae(model, x, 50), log_likelihood(model, x, 50), elbo(model, x, k=3)):
        torch.testing.assert_close(value, once)
    distortion, rate = distortion_and_rate(model.trace(x))
    z = model.codes(x)
    torch.testing.assert_close(rate[0], -model.prior.log_prob(z))
    torch.testing.assert_close(distortion[0], -model.quantizer.likelihood(z).log_prob(x))


@torch.no_grad()
def test_a_uniform_prior_costs_the_same_for_every_code():
    model, x = small(FactorisedCodes((1, 1, 2), 3)), binary(6)
    model.prior.logits.zero_()
    _, rate = distortion_and_rate(model.trace(x))
    torch.testing.assert_close(rate[0], torch.full((6,), 2 * math.log(3)))
    joint = log_joint(model, x)
    torch.testing.assert_close(model.prior.log_prob(all_codes(model)).exp().sum(), torch.tensor(1.0))
    assert (elbo(model, x) < joint.logsumexp(0)).all()


def test_the_loss_is_the_reconstruction_of_the_vectors_and_its_gradient_goes_straight_through():
    model, x = small(commitment=0.7), binary(6)
    model.eval()
    h = model.quantizer.encoder(x)
    e = model.codebook.vectors[model.codes(x)[:, 0].long()].movedim(-1, 1).requires_grad_()
    reconstruction = -model.quantizer.decoder.distribution(e).log_prob(x)
    squares = (h - e.detach()).square().flatten(1).sum(1)
    loss = model.loss(x)
    assert loss.shape == (6,)
    torch.testing.assert_close(loss, reconstruction + 0.7 * squares)
    (g,) = torch.autograd.grad(reconstruction.sum(), e, retain_graph=True)
    weight = model.quantizer.encoder.weight
    (expected,) = torch.autograd.grad(h, weight, g + 1.4 * (h - e).detach(), retain_graph=True)
    (given,) = torch.autograd.grad(loss.sum(), weight)
    torch.testing.assert_close(given, expected)


def test_the_book_learns_in_training_under_grad_and_never_else():
    model, x = small(), binary(6)
    before = model.codebook.vectors.clone()
    model.eval()
    model.loss(x)
    model.train()
    with torch.no_grad():
        model.loss(x)
        elbo(model, x)
    model.codes(x)
    assert torch.equal(model.codebook.vectors, before)
    model.loss(x)
    assert not torch.equal(model.codebook.vectors, before)


def test_a_gradient_that_does_not_exist_is_refused():
    model, x = small(), binary(6)
    for loss in (lambda: elbo(model, x), lambda: iwae(model, x, 3), lambda: model.log_prob(x)):
        with pytest.raises(TypeError, match="No gradient passes through the choice of a code"):
            loss()
    with pytest.raises(TypeError, match=r"type\(model\).loss"):
        fit(model, x, steps=1, batch_size=2, progress=False)
    model.quantizer.requires_grad_(False)
    elbo(model, x).sum().backward()  # trains the prior
    assert all(p.grad is not None for p in model.prior.parameters())


@pytest.mark.parametrize("decay", [0.9, None])
def test_two_stages_of_training_learn_two_kinds_of_pictures(decay):
    """Halves that are black or white: one bit of each half, and the two always differ."""
    left = (torch.rand(256, 1, 1, 1) < 0.5).double().expand(-1, 1, 4, 2)
    x = torch.cat([left, 1 - left], 3).contiguous()
    model = small(decay=decay, restart=0.05)
    model.start_from(x)
    fit(model, x, VQVAE.loss, steps=300, batch_size=32, lr=0.05, progress=False)
    with torch.no_grad():
        uniform = elbo(model, x).mean()
        distortion, rate = distortion_and_rate(model.trace(x))
    assert distortion.mean() < 0.3
    fit(model.prior, model.codes(x), steps=300, batch_size=32, lr=0.02, progress=False)
    with torch.no_grad():
        trained, (_, less) = elbo(model, x).mean(), distortion_and_rate(model.trace(x))
    assert less.mean() < rate.mean() and trained > uniform
    torch.testing.assert_close(less.mean(), torch.tensor(math.log(2)), atol=0.1, rtol=0)  # one bit, as in the data
    torch.testing.assert_close(model.reconstruct(x).round(), x)
    draws = model.sample(64)
    assert (draws[..., :2].mean((1, 2, 3)).round() != draws[..., 2:].mean((1, 2, 3)).round()).double().mean() > 0.9


def test_a_run_that_stopped_and_went_on_is_the_run_that_never_stopped(tmp_path):
    x, models = binary(40), []
    for stops in ([12], [5, 12]):
        model = small(restart=0.3)
        torch.manual_seed(5)
        for steps in stops:
            fit(model, x, VQVAE.loss, steps=steps, batch_size=8, checkpoint=tmp_path / f"{len(stops)}.pt", resume=True,
                progress=False)  # fmt: skip
        models.append(model.state_dict())
    assert all(torch.equal(t, models[1][name]) for name, t in models[0].items())
    assert (models[0]["transforms.0.codebook.counts"] != 1).any()


def test_start_puts_the_vectors_on_features_and_uses_many_codes():
    model, x = small(), binary(20)
    model.start_from(x)
    rows = model.quantizer.encoder(x).movedim(1, -1).reshape(-1, 2)
    assert torch.cdist(model.codebook.vectors, rows).min(1).values.max() < 1e-12


def test_a_context_belongs_to_the_prior():
    prior = CausalTransformer((1, 1, 2), channels=4, heads=2, layers=1, levels=3, context=5)
    model, x = small(prior), binary(6)
    labels = torch.arange(6) % 5
    with torch.no_grad():
        torch.testing.assert_close(
            elbo(model, x, context=labels),
            model.prior.log_prob(model.codes(x), labels) + model.quantizer.likelihood(model.codes(x)).log_prob(x),
        )
    assert model.sample(3, labels[:3]).shape == (3, 1, 4, 4)
    with pytest.raises(ValueError, match="needs one"):
        model.sample(3)
    with pytest.raises(ValueError, match="built without a context"):
        small().sample(3, labels[:3])
    uniform = small(FactorisedCodes((1, 1, 2), 3))
    for call in (lambda: uniform.sample(3, labels[:3]), lambda: elbo(uniform, x, context=labels)):
        with pytest.raises(ValueError, match="takes no context"):
            call()


def test_codes_of_other_shapes():
    encoder, decoder = nn.Conv1d(1, 2, 3, 3), ConditionalNormal((1, 12), nn.ConvTranspose1d(2, 1, 3, 3), 0.5)
    model = VQVAE(encoder, decoder, FactorisedCodes((4,), 5), width=2)
    x = torch.randn(3, 1, 12)
    assert model.codes(x).shape == (3, 4) and model.loss(x).shape == (3,) and model.sample(2).shape == (2, 1, 12)


def test_weights_are_saved_and_loaded_with_the_book():
    model, x = small(), binary(6)
    model.loss(x)
    again = small()
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    with torch.no_grad():
        assert torch.equal(elbo(again, x), elbo(model, x))


def test_refusals():
    decoder = ConditionalBernoulli((1, 4, 4), nn.ConvTranspose2d(2, 1, (4, 2), (4, 2)))
    with pytest.raises(TypeError, match="`levels`, but a StandardNormal does not"):
        VQVAE(nn.Conv2d(1, 2, 4), decoder, StandardNormal((1, 1, 2)), width=2)
    with pytest.raises(TypeError, match="decoder must be a Density"):
        VQVAE(nn.Conv2d(1, 2, 4), nn.Linear(2, 3), FactorisedCodes((1, 1, 2), 3), width=2)
    model = VQVAE(nn.Conv2d(1, 2, 2, 2), decoder, FactorisedCodes((1, 1, 2), 3), width=2)
    with pytest.raises(ValueError, match=r"features \[B, 2, 1, 2\], a vector for each code"):
        model.loss(binary(3))
    with pytest.raises(ValueError, match="Boolean"):
        small().loss(binary(3) / 2)


def test_in_half_precision_every_code_is_still_told_from_its_neighbours():
    """bfloat16 has no 257."""
    torch.manual_seed(0)
    decoder = ConditionalBernoulli((1, 4, 4), nn.ConvTranspose2d(2, 1, 2, 2))
    model = VQVAE(nn.Conv2d(1, 2, 2, 2), decoder, FactorisedCodes((1, 2, 2), 400), width=2).float()
    model.codebook.vectors[:] = (400 - torch.arange(400.0)[:, None]) / 4  # bfloat16 tells those below 32 apart
    x = binary(8).float()
    model.quantizer.encoder.weight.data.copy_(16 * torch.randn(2, 1, 2, 2).abs())
    single = model.codes(x)
    assert single.max() > 256 and (single % 2 == 1).any()
    model.bfloat16()
    with torch.no_grad():
        codes, bound = model.codes(x.bfloat16()), elbo(model, x.bfloat16())
    assert codes.dtype == bound.dtype == torch.float32 and (codes[codes > 256] % 2 == 1).any()
    loss = model.loss(x.bfloat16())
    loss.sum().backward()
    assert loss.dtype == torch.float32 and model.quantizer.encoder.weight.grad.isfinite().all()


def test_under_autocast_codes_are_chosen_in_single_precision():
    torch.manual_seed(0)
    book = small().float().codebook
    rows = torch.randn(500, 2, 1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = book(rows)
    assert torch.equal(inside, torch.cdist(rows[..., 0], book.vectors).argmin(1, keepdim=True))
