"""The lower bound on mutual information against closed forms and enumeration."""

import itertools
import math

import pytest
import torch
from torch import nn

from lvmlib import information
from lvmlib.bounds import mutual_information_bound
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalNormal, StandardNormal
from lvmlib.flows import Dequantize, realnvp
from lvmlib.latent import VAE, LinearGaussian
from tests.discrete_vae import CODES, discrete_vae
from tests.gaussian_chain import two_layer_chain
from tests.precision import double_precision  # noqa: F401


def test_with_the_exact_posterior_it_is_the_mutual_information():
    weight, scale = torch.randn(3, 2), 0.8
    model = Flow([LinearGaussian(weight, torch.randn(3), scale)], StandardNormal((2,)))
    expected = 0.5 * torch.logdet(torch.eye(2) + weight.T @ weight / scale**2)
    values = mutual_information_bound(model, 20_000)
    assert abs(values.mean() - expected) < 4 * values.std() / math.sqrt(20_000)
    with torch.no_grad():
        model.layers[0].offset += 0.5  # KL(posterior || q) is then the same everywhere
    precision = torch.linalg.inv(model.layers[0].tril @ model.layers[0].tril.T)
    loss = 0.5 * (0.25 * precision).sum()
    values = mutual_information_bound(model, 20_000)
    assert abs(values.mean() - expected + loss) < 4 * values.std() / math.sqrt(20_000)


def test_in_a_chain_the_codes_of_all_layers_tell_what_the_first_tells():
    """x depends on z2 through z1 alone, so I(x; z1, z2) = I(x; z1) = H(x) - H(x | z1)."""
    model, exact = two_layer_chain()
    noise = 0.5 * 4 * math.log(2 * math.pi * math.e * 0.5**2)
    expected = exact.entropy() - noise
    values = mutual_information_bound(model, 20_000)
    assert abs(values.mean() - expected) < 4 * values.std() / math.sqrt(20_000)
    assert mutual_information_bound(two_layer_chain(0.3)[0], 20_000).shape == (20_000,)


def test_on_a_discrete_model_it_is_what_enumeration_gives():
    vae, _ = discrete_vae()
    every_x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))  # [64, 6]
    on = vae.prior.logits.sigmoid()
    p = torch.where(CODES == 1, on, 1 - on).prod(-1)  # [4]
    probs = vae.pair.decoder.network(CODES.to(on)).sigmoid()
    p_x = torch.where(every_x == 1, probs[:, None], 1 - probs[:, None]).prod(-1)  # [4, 64]
    joint = (p[:, None] * p_x).detach()
    coins = vae.pair.encoder.network(every_x).sigmoid()
    q = torch.where(CODES[:, None] == 1, coins, 1 - coins).prod(-1).detach()  # [4, 64]
    expected = (joint * (q / p.detach()[:, None]).log()).sum()
    assert expected < information.mutual_information(joint, base=math.e)
    values = mutual_information_bound(vae, 40_000)
    assert abs(values.mean() - expected) < 4 * values.std() / math.sqrt(40_000)
    assert values.std() > 0.1


def test_layers_that_carry_data_and_priors_that_are_flows():
    pair = LinearGaussian(torch.tensor([[1.0], [1.0]]), torch.zeros(2), 0.5)
    plain, dequantized = Flow([pair], StandardNormal((1,))), Flow([Dequantize((2,), 4), pair], StandardNormal((1,)))
    torch.manual_seed(0)
    expected = mutual_information_bound(plain, 100)
    torch.manual_seed(0)
    torch.testing.assert_close(mutual_information_bound(dequantized, 100), expected)
    prior = realnvp((2,), layers=2, hidden=(8,))
    model = Flow([LinearGaussian(torch.randn(3, 2), torch.zeros(3), 0.5)], prior)
    torch.manual_seed(0)
    values = mutual_information_bound(model, 5)
    torch.manual_seed(0)
    z = prior.sample(5)
    x = model.layers[0].generate(z)
    by_hand = model.layers[0].posterior(x).log_prob(z) - prior.log_prob(z)
    torch.testing.assert_close(values, by_hand.detach())


def test_a_context_goes_to_every_part():
    vae = VAE(
        ConditionalNormal((1,), nn.Linear(3, 2)),
        ConditionalNormal((1,), nn.Linear(3, 2)),
        ConditionalNormal((1,), nn.Linear(2, 2)),
    )
    assert mutual_information_bound(vae, 7, context=torch.eye(2)[:1].expand(7, 2)).shape == (7,)


def test_what_is_refused():
    for without in (StandardNormal((2,)), realnvp((2,), layers=1, hidden=(4,)), Flow([], StandardNormal((2,)))):
        with pytest.raises(TypeError, match="needs a layer with a code"):
            mutual_information_bound(without, 5)
