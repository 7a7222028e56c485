"""Two levels of codes, few enough to be summed over."""

import itertools
import math

import pytest
import torch
from torch import nn

from lvmlib.autoregressive import CausalTransformer, CodeMap, GatedPixelCNN
from lvmlib.bounds import distortion_and_rate, elbo, iwae
from lvmlib.distributions import ConditionalBernoulli, FactorisedCodes
from lvmlib.latent import VQVAE2, TwoLevelPrior
from lvmlib.training import fit
from tests.precision import double_precision  # noqa: F401


def small_prior(context=None) -> TwoLevelPrior:
    """One upper code of three values, two by two lower ones of two values."""
    top = CausalTransformer((1, 1, 1), channels=4, heads=2, layers=1, levels=3, context=context)
    bottom = GatedPixelCNN((1, 2, 2), channels=4, layers=2, kernel=3, levels=2, embedding=True, context=(5, 2, 2))
    return TwoLevelPrior(top, bottom, CodeMap((1, 1, 1), levels=3, features=5, context=context))


def small(context=None) -> VQVAE2:
    torch.manual_seed(1)
    encoder, top = nn.Conv2d(1, 4, 2, 2), nn.Conv2d(4, 2, 2, 2)
    decoder = ConditionalBernoulli((1, 4, 4), nn.ConvTranspose2d(2 * 2, 1, 2, 2))
    model = VQVAE2(encoder, top, nn.Conv2d(4 + 2, 2, 1), decoder, small_prior(context), width=2)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.5 * torch.randn_like(p))
    return model


def binary(n: int) -> torch.Tensor:
    return (torch.rand(n, 1, 4, 4) < 0.5).double()


def all_codes() -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(3), *[range(2)] * 4))).double()  # [48, 5]


@torch.no_grad()
def test_the_prior_sums_to_one_over_all_codes_and_its_lower_level_to_one_given_the_upper():
    prior, z = small().prior, all_codes()
    p = prior.log_prob(z).exp()
    torch.testing.assert_close(p.sum(), torch.tensor(1.0))
    upper = prior.top.log_prob(torch.arange(3.0).view(3, 1, 1, 1)).exp()
    torch.testing.assert_close(p.view(3, 16).sum(1), upper)
    given = p.view(3, 16) / upper[:, None]
    assert (given[0] - given[1]).abs().max() > 0.01  # the lower codes depend on the upper one
    draws = prior.sample(4000).long()
    place = (draws * torch.tensor([16, 8, 4, 2, 1])).sum(1)
    seen = torch.bincount(place, minlength=48) / 4000
    assert ((seen - p).abs() < 4.5 * (p * (1 - p) / 4000).sqrt() + 1e-3).all()


@torch.no_grad()
def test_the_bound_is_one_term_of_the_sum_and_the_codes_are_chosen_from_the_top_down():
    model, x, z = small(), binary(6), all_codes()
    layer = model.quantizer
    upper, lower = model.codebooks
    f = layer.encoder(x)
    h1 = layer.top(f)  # [6, 2, 1, 1]
    z1 = (h1[..., 0, 0][:, None] - upper.vectors).square().sum(2).argmin(1)
    e1 = upper.vectors[z1][:, :, None, None].expand(-1, -1, 2, 2)
    h2 = layer.bottom(torch.cat([f, e1], 1))
    z2 = (h2[:, None] - lower.vectors[None, :, :, None, None]).square().sum(2).argmin(1)  # [6, 2, 2]
    assert torch.equal(model.codes(x).long(), torch.cat([z1[:, None], z2.flatten(1)], 1))
    logits = layer.decoder.network(
        torch.cat(
            [
                upper.vectors[z[:, 0].long()][:, :, None, None].expand(-1, -1, 2, 2),
                lower.vectors[z[:, 1:].long()].movedim(-1, 1).view(48, 2, 2, 2),
            ],
            1,
        )
    )
    log_p = (
        -nn.functional.binary_cross_entropy_with_logits(
            logits[:, None].expand(-1, 6, -1, -1, -1), x.expand(48, -1, -1, -1, -1), reduction="none"
        )
        .flatten(2)
        .sum(2)
    )
    joint = log_p + model.prior.log_prob(z)[:, None]  # [48, 6]
    place = (torch.cat([z1[:, None], z2.flatten(1)], 1) * torch.tensor([16, 8, 4, 2, 1])).sum(1)
    torch.testing.assert_close(elbo(model, x), joint[place, torch.arange(6)])
    torch.testing.assert_close(iwae(model, x, 7), elbo(model, x))
    assert (elbo(model, x) < joint.logsumexp(0)).all()
    torch.testing.assert_close(distortion_and_rate(model.trace(x))[1][0], -model.prior.log_prob(model.codes(x)))


def test_gradients_go_straight_through_both_levels():
    model, x = small(), binary(6)
    model.eval()
    layer = model.quantizer
    f = layer.encoder(x)
    h1 = layer.top(f)
    e1 = layer.books[0].embed(layer.books[0](h1))
    lifted = (h1 + (e1 - h1).detach()).expand(-1, -1, 2, 2)
    h2 = layer.bottom(torch.cat([f, lifted], 1))
    e2 = layer.books[1].embed(layer.books[1](h2))
    p = layer.decoder.distribution(torch.cat([lifted, h2 + (e2 - h2).detach()], 1))
    squares = sum((h - e).square().flatten(1).sum(1) for h, e in ((h1, e1), (h2, e2)))
    expected = -p.log_prob(x) + 0.25 * squares
    torch.testing.assert_close(model.loss(x), expected)
    parameters = [*layer.parameters()]
    for a, b in zip(
        torch.autograd.grad(model.loss(x).sum(), parameters),
        torch.autograd.grad(expected.sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
        assert a.abs().sum() > 0


def test_classes_tell_both_levels():
    model, labels = small(context=4), torch.arange(6) % 4
    x = binary(6)
    z = model.codes(x)
    top, bottom = model.prior.split(z)
    with torch.no_grad():
        expected = model.prior.top.log_prob(top, labels) + model.prior.bottom.log_prob(
            bottom, model.prior.features(top, torch.eye(4)[labels])
        )
        torch.testing.assert_close(model.prior.log_prob(z, labels), expected)
        other = labels.flip(0)
        difference = model.prior.log_prob(z, labels) - model.prior.log_prob(z, other)
        torch.testing.assert_close(elbo(model, x, context=labels) - elbo(model, x, context=other), difference)
        alike = top[:1].expand(4, -1, -1, -1)
        lower = model.prior.bottom.log_prob(bottom[:1].expand(4, -1, -1, -1), model.prior.features(alike, torch.eye(4)))
        assert lower.std() > 0.01  # the same codes on both levels, four classes
    assert model.sample(6, labels).shape == x.shape
    for call in (lambda: model.sample(6), lambda: model.prior.log_prob(z), lambda: fit(
        model.prior, z, steps=1, batch_size=2, progress=False)):  # fmt: skip
        with pytest.raises(ValueError, match="context"):
            call()
    fit(model.prior, (z, labels), steps=2, batch_size=3, progress=False)


def test_two_stages_of_training_lower_the_loss_and_then_the_rate():
    torch.manual_seed(0)
    model, x = small(), binary(64)
    model.start_from(x)
    history = fit(model, x, VQVAE2.loss, steps=200, batch_size=16, lr=0.02, progress=False)
    assert sum(history.loss[-20:]) < 0.9 * sum(history.loss[:20])
    z = model.codes(x)
    with torch.no_grad():
        before = elbo(model, x).mean()
    fit(model.prior, z, steps=100, batch_size=16, lr=0.02, progress=False)
    with torch.no_grad():
        assert elbo(model, x).mean() > before + 0.1
    assert model.reconstruct(x).shape == model.sample(64).shape == x.shape


def test_refusals():
    model = small()
    with pytest.raises(TypeError, match="TwoLevelPrior, but it is a FactorisedCodes"):
        VQVAE2(nn.Conv2d(1, 4, 2, 2), nn.Conv2d(4, 2, 2, 2), nn.Conv2d(6, 2, 1), model.quantizer.decoder,
               FactorisedCodes((5,), 3), width=2)  # fmt: skip
    with pytest.raises(TypeError, match="must be Autoregressive"):
        TwoLevelPrior(FactorisedCodes((1, 1, 1), 3), model.prior.bottom, nn.Identity())
    with pytest.raises(ValueError, match="top network must return features"):
        VQVAE2(nn.Conv2d(1, 4, 2, 2), nn.Conv2d(4, 2, 1), nn.Conv2d(6, 2, 1), model.quantizer.decoder,
               model.prior, width=2).loss(binary(2))  # fmt: skip
    with pytest.raises(TypeError, match="No gradient"):
        elbo(model, binary(2))
    assert math.prod(model.prior.event_shape) == 5
