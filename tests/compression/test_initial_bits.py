"""Bits that a bits-back code is started with: enough of them, no more than that, and what happens without."""

import math

import pytest
import torch
from torch import nn

from lvmlib.autoregressive import FVSBN
from lvmlib.bounds import elbo
from lvmlib.compression import bits_back, bits_back_decode, bits_back_encode
from lvmlib.compression.bits_back import _Chain as chain_of
from lvmlib.compression.symbols import code_of
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from tests.compression.chains import livened, mlp
from tests.compression.test_bits_back import built


def lowest_of(monkeypatch, model, x, **options):
    """The code of x, and how few bits were on the stack after a draw of the encoding proper."""
    found, pop = [], bits_back.pop

    def watched(stack, p, bins):
        z = pop(stack, p, bins)
        found.append(stack.bits)
        return z

    with monkeypatch.context() as patch:
        patch.setattr(bits_back, "pop", watched)
        data = bits_back_encode(model, x, **options)
    draws = len(model.layers) * -(-len(x) // options.get("rows", 1))
    return data, min(found[-draws:])


@pytest.mark.parametrize("rows", [1, 40])
def test_initial_bits_are_those_by_which_draws_are_ahead_of_what_was_pushed(rows, monkeypatch):
    """Here the second layer takes more bits than x, twelve coins, has brought: it too asks for bits at first."""
    model, x = built("two_layers")
    x = x[:40]
    data, lowest = lowest_of(monkeypatch, model, x, rows=rows)
    back, initial = bits_back_decode(model, data, rows=rows)
    assert torch.equal(back, x) and 64 <= lowest < 64 + 32  # no draw ran dry, and no whole word lay idle
    chain = chain_of(model, 1024, None)
    with torch.no_grad():
        q = model.pairs[0].posterior(x[:rows])
        z = q.sample((300,)).flatten(0, 1)
        table = code_of(q, chain.bins[1])[0], code_of(model.pairs[1].posterior(z), chain.bins[2])[0]
        brought = -model.pairs[0].likelihood(z).log_prob(x[:rows].repeat(300, 1)).mean().item() * rows / math.log(2)
    first, second = (torch.special.entr(torch.from_numpy(p)).sum().item() / math.log(2) for p in table)
    ahead = first + max(0, second / 300 - brought)
    assert second / 300 - brought > 3 * rows  # the case at hand
    assert abs(8 * len(initial) - 64 - 20 - ahead) < 20 + 4 * math.sqrt(6 * 2 * rows)


def test_a_stack_that_runs_dry_makes_the_code_longer_and_no_less_exact():
    model, x = built("two_layers")
    x = x[:40]
    ideal = -elbo(model, x, k=500).sum().item() / math.log(2)
    _, enough = bits_back_decode(model, bits_back_encode(model, x, rows=40), rows=40)
    too_few = enough[-(len(enough) * 4) // 5 :]  # about what the first layer takes, and nothing for the second
    net = {}
    for initial in (enough, too_few):
        data = bits_back_encode(model, x, rows=40, initial=initial)
        back, returned = bits_back_decode(model, data, rows=40)
        assert torch.equal(back, x) and returned == initial
        net[initial] = 8 * (len(data) - len(returned)) - 8 - 7
    assert abs(net[enough] - ideal) < 40 and net[too_few] - ideal > 100


def test_an_autoregressive_posterior_gets_its_bits_too(monkeypatch):
    torch.manual_seed(0)
    encoder, network = livened(FVSBN((5,), context=12)), mlp(5, (8,), 12)
    vae = VAE(encoder, ConditionalBernoulli((12,), network), FVSBN((5,)))
    x = torch.randint(2, (30, 12)).float()
    data, lowest = lowest_of(monkeypatch, vae, x, rows=30)
    back, initial = bits_back_decode(vae, data, rows=30)
    assert torch.equal(back, x) and 64 <= lowest < 64 + 32 and len(initial) > 8 + 30 * 5 * 0.3 / 8


def test_more_bits_than_a_first_guess_are_found_by_trying_twice_as_many():
    encoder, decoder = ConditionalNormal((300,), nn.Linear(12, 600)), ConditionalBernoulli((12,), nn.Linear(300, 12))
    vae, x = VAE(encoder, decoder, StandardNormal((300,))), torch.ones(1, 12)
    _, initial = bits_back_decode(vae, bits_back_encode(vae, x, bins=65536), bins=65536)
    assert 8 * len(initial) > 300 * 13 > 256 * 8
