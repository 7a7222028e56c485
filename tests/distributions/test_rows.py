"""Mixtures of rows against torch's mixtures."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from lvmlib.distributions import Coins, ConditionalNormal, DiagonalNormal, OneHots, RowMixture
from lvmlib.distributions.rows import log_prob_of_pairs
from lvmlib.draws import Conditioned
from lvmlib.flows import maf


def gaussians(rows, d, dtype=torch.float64):
    torch.manual_seed(0)
    return DiagonalNormal(torch.randn(rows, d, dtype=dtype), torch.randn(rows, d, dtype=dtype) - 1, 1)


def test_against_torch_in_parts_of_any_size():
    q, z = gaussians(11, 3), torch.randn(2, 7, 3).double()
    expected = MixtureSameFamily(Categorical(torch.ones(11).double()), Independent(Normal(q.loc, q.stddev), 1))
    for sizes in ([11], [4, 4, 3], [1] * 11):
        parts = [DiagonalNormal(a, b, 1) for a, b in zip(q.loc.split(sizes), q.log_scale.split(sizes))]
        for pairs in (1, 20, 1000):
            mixture = RowMixture(parts, pairs)
            assert mixture.rows == 11 and mixture.event_shape == (3,) and mixture.batch_shape == ()
            torch.testing.assert_close(mixture.log_prob(z), expected.log_prob(z))
    torch.testing.assert_close(mixture.log_prob(z[0, 0]), expected.log_prob(z[0, 0]))


def test_without_a_row_of_its_own():
    q, z = gaussians(5, 2), torch.randn(6, 2).double()
    without = torch.tensor([0, 4, 2, 2, 1, 3])
    mixture = RowMixture([DiagonalNormal(q.loc[:2], q.log_scale[:2], 1), DiagonalNormal(q.loc[2:], q.log_scale[2:], 1)])
    each = q.log_prob(z[:, None]).exp()
    expected = [(each[i].sum() - each[i, j]).log() - math.log(4) for i, j in enumerate(without)]
    for mixture.pairs in (1, 1000):
        torch.testing.assert_close(mixture.log_prob(z, without), torch.stack(expected))
    with pytest.raises(ValueError, match="nothing is left"):
        RowMixture([gaussians(1, 2)]).log_prob(z, torch.zeros(6).long())


@pytest.mark.parametrize(
    "q",
    [
        MultivariateNormal(torch.randn(4, 2), torch.eye(2)),
        Independent(Normal(torch.randn(4, 2), 0.5), 1),
        Coins(torch.randn(4, 2), 1),
        OneHots(torch.randn(4, 2, 3), 2),
        DiagonalNormal(torch.randn(4, 1, 2, 2), torch.randn(4, 1, 2, 2), 3),
        Conditioned(ConditionalNormal((2,), nn.Linear(3, 4)), torch.randn(4, 3)),
        Conditioned(maf((2,), layers=1, hidden=(4,), context=3), torch.randn(4, 3)),
    ],
)
def test_pairs_of_every_kind_of_posterior(q):
    z = q.sample(1)[0].repeat(2, *[1] * 3)[:7] if isinstance(q, Conditioned) else q.sample((2,)).flatten(0, 1)[:7]
    z = z.reshape(-1, *RowMixture([q]).event_shape)
    pairs = log_prob_of_pairs(q, z)
    for i, point in enumerate(z):
        alone = point.expand(4, *point.shape)
        expected = q.log_prob(alone[None])[0] if isinstance(q, Conditioned) else q.log_prob(alone)
        torch.testing.assert_close(pairs[i].float(), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(RowMixture([q]).log_prob(z), (pairs.logsumexp(1) - math.log(4)).float())
    assert RowMixture([q]).sample((5, 2)).shape == (5, 2, *RowMixture([q]).event_shape)


def test_gaussians_in_float32_keep_more_digits_than_their_own_log_density():
    q, z = gaussians(300, 40, torch.float32), torch.randn(100, 40)
    exact = gaussians(300, 40, torch.float32)
    exact = DiagonalNormal(q.loc.double(), q.log_scale.double(), 1).log_prob(z[:, None].double())
    error = (log_prob_of_pairs(q, z) - exact).abs().max()
    assert error < 1e-6 < (q.log_prob(z[:, None]) - exact).abs().max()
    narrow = DiagonalNormal(torch.ones(1, 1), torch.full((1, 1), math.log(1e-4)), 1)
    near = torch.tensor([[1.0001]])
    exact = DiagonalNormal(narrow.loc.double(), narrow.log_scale.double(), 1).log_prob(near.double())
    torch.testing.assert_close(log_prob_of_pairs(narrow, near)[0], exact, atol=1e-6, rtol=0)
    assert RowMixture([q]).log_prob(z).dtype == torch.float32
    half = DiagonalNormal(torch.zeros(2, 1).bfloat16(), torch.zeros(2, 1).bfloat16(), 1)
    assert RowMixture([half]).log_prob(torch.zeros(3, 1).bfloat16()).dtype == torch.float32


def test_a_gradient_reaches_points_and_parameters():
    loc, log_scale, z = (t.requires_grad_() for t in (torch.randn(4, 2), torch.randn(4, 2), torch.randn(3, 2)))
    loc, log_scale, z = loc.double(), log_scale.double(), z.double()
    value = RowMixture([DiagonalNormal(loc, log_scale, 1)], pairs=4).log_prob(z).sum()
    plain = DiagonalNormal(loc, log_scale, 1).log_prob(z[:, None]).logsumexp(1).sum()
    for a, b in zip(*(torch.autograd.grad(v, (loc, log_scale, z), retain_graph=True) for v in (value, plain))):
        torch.testing.assert_close(a, b)


def test_draws_choose_rows_alike_and_are_independent():
    centres = torch.tensor([[-20.0], [0.0], [20.0]])
    mixture = RowMixture([DiagonalNormal(centres[:1], torch.zeros(1, 1), 1),
                          DiagonalNormal(centres[1:], torch.zeros(2, 1), 1)])  # fmt: skip
    torch.manual_seed(0)
    z = mixture.sample((9000,))
    for centre in centres:
        near = z[(z - centre).abs() < 8]
        assert abs(len(near) - 3000) < 5 * math.sqrt(2000)
        assert abs(near.mean() - centre) < 0.1 and abs(near.std() - 1) < 0.05
    assert len(z.unique()) > 8900
    runs = (z[1:] > 10) == (z[:-1] > 10)  # in no order: neighbours agree as often as strangers do
    assert abs(runs.double().mean() - 5 / 9) < 0.03


def test_no_more_pairs_are_in_memory_than_said():
    seen = []

    class Watched(MultivariateNormal):
        def log_prob(self, value):
            seen.append(super().log_prob(value))
            return seen[-1]

    parts = [Watched(torch.randn(n, 2), torch.eye(2)) for n in (30, 30, 7)]
    RowMixture(parts, pairs=100).log_prob(torch.randn(50, 2))
    assert max(t.numel() for t in seen) <= 100 and sum(t.numel() for t in seen) == 50 * 67


def test_what_is_refused():
    with pytest.raises(ValueError, match="at least one part"):
        RowMixture([])
    with pytest.raises(ValueError, match="pairs"):
        RowMixture([gaussians(2, 1)], pairs=0)
