"""What is certain, and codes as whole numbers, against torch and by hand."""

import math

import torch
from torch.distributions import Categorical

from lvmlib.distributions import Delta, FactorisedCodes
from lvmlib.draws import draw, draw_constant, frozen
from tests.precision import double_precision  # noqa: F401


def test_all_probability_is_on_one_event():
    value = torch.randint(5, (4, 1, 2, 2)).double()
    q = Delta(value, 3)
    assert q.batch_shape == (4,) and q.event_shape == (1, 2, 2)
    assert torch.equal(q.sample((3,)), value.expand(3, -1, -1, -1, -1)) and torch.equal(q.mean, value)
    other = value.clone()
    other[1, 0, 0, 1] += 1
    assert q.log_prob(other).tolist() == [0, -math.inf, 0, 0]
    assert q.log_prob(torch.stack([other, value])).shape == (2, 4)
    assert q.entropy().tolist() == [0, 0, 0, 0]
    many = Delta(value, 3).in_copies(2)
    assert many.batch_shape == (2, 2) and many.log_prob(value[:2]).shape == (2, 2)
    assert torch.equal(q.expand((3, 4)).value[2], value)
    assert frozen(q).log_prob(value).tolist() == [0, 0, 0, 0]


def test_its_draws_are_constants():
    q = Delta(torch.ones(4, 2, requires_grad=True), 1)
    for take in (draw, draw_constant):
        z, log_q = take(q, 3)
        assert z.shape == (3, 4, 2) and log_q.shape == (3, 4) and not z.requires_grad and not log_q.requires_grad


def test_codes_are_independent_categorical_variables():
    prior = FactorisedCodes((1, 2), 4)
    prior.logits.data.normal_()
    z = torch.randint(4, (6, 1, 2)).double()
    tables = prior.logits.log_softmax(-1)[0]
    expected = torch.stack([tables[0, a] + tables[1, b] for a, b in z[:, 0].long().tolist()])
    torch.testing.assert_close(prior.log_prob(z), expected)
    draws = prior.sample(20_000)
    assert draws.dtype == torch.float64 and draws.shape == (20_000, 1, 2)
    seen = torch.bincount(draws[:, 0, 1].long(), minlength=4) / 20_000
    p = tables[1].exp()
    assert ((seen - p).abs() < 4.5 * (p * (1 - p) / 20_000).sqrt()).all()
    cold = torch.bincount(prior.sample(20_000, temperature=0.5)[:, 0, 1].long(), minlength=4) / 20_000
    p = Categorical(logits=2 * prior.logits[0, 1]).probs
    assert ((cold - p).abs() < 4.5 * (p * (1 - p) / 20_000).sqrt()).all()
    assert prior.half().sample(2).dtype == torch.float32
