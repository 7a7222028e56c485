"""Whole numbers become real ones: nothing falls out of its bin, and the bound is that of the integral over it."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from torch import nn

from lvmlib.bounds import elbo, iwae
from lvmlib.chain import Flow
from lvmlib.distributions import ConditionalNormal, StandardNormal
from lvmlib.draws import frozen
from lvmlib.flows import Affine, Dequantize, Logit, VariationalDequantize, iaf, perceptron, realnvp
from lvmlib.networks import MLP


def pair(levels: int, noise=None):
    """One entry behind a flow, and log P of every level by quadrature."""
    torch.manual_seed(0)
    inner = [Logit(0.1), Affine((1,))]
    with torch.no_grad():
        inner[1].matrix.weight.fill_(2.0), inner[1].shift.fill_(0.4)
    layer = Dequantize((1,), levels) if noise is None else VariationalDequantize((1,), noise, levels)
    density = Flow(inner, StandardNormal((1,))).double()
    points = (torch.arange(20_000).double() + 0.5) / 20_000 / levels
    with torch.no_grad():
        exact = [density.log_prob((points + i / levels)[:, None]).logsumexp(0) for i in range(levels)]
    flow = Flow([layer, *inner], StandardNormal((1,))).double()
    return flow, torch.arange(levels)[:, None], torch.stack(exact) - math.log(20_000 * levels)


@pytest.mark.parametrize("kind", ["uniform", "variational"])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_grey_levels_stay_in_their_bins_in_single_precision(kind, levels):
    torch.manual_seed(0)
    noise = ConditionalNormal((3,), nn.Linear(3, 6))
    with torch.no_grad():
        noise.network.weight.mul_(20)  # so wide that its sigmoid is 0 and 1 in float32
    layer = Dequantize((3,), levels) if kind == "uniform" else VariationalDequantize((3,), noise, levels)
    x = torch.tensor([[0, levels - 2, levels - 1]], dtype=torch.uint8).expand(100, 3)
    with torch.no_grad():
        for _ in range(1000):
            z, paid = layer(x)
            assert paid.isfinite().all()
            assert z.dtype == torch.float32 and z.min() >= 0 and z.max() < 1
            assert torch.equal((z * levels).floor(), x.float())
    if kind == "uniform":
        assert paid[0].item() == pytest.approx(-3 * math.log(levels))


def test_many_draws_give_the_integral_over_the_bin_and_fewer_less():
    flow, x, exact = pair(4)
    with torch.no_grad():
        torch.testing.assert_close(iwae(flow, x, 50_000), exact, atol=2e-2, rtol=0)
        assert (elbo(flow, x, k=50_000) < exact).all()
    assert set(flow.sample(300).flatten().tolist()) == {0.0, 1.0, 2.0, 3.0}
    with pytest.raises(ValueError, match="expects values in"):
        flow.log_prob(torch.tensor([[4.0]]))


def test_trained_noise_closes_the_gap():
    """The bound of uniform noise stays below log P; noise that is told of x comes near it, and never above."""
    torch.manual_seed(1)
    noise = Flow([Affine((1,))], ConditionalNormal((1,), MLP(1, (16,), 2, nn.Tanh)))
    flow, x, exact = pair(2, noise)
    uniform, _, _ = pair(2)
    optimizer = torch.optim.Adam(flow.transforms[0].parameters(), 2e-2)
    for _ in range(250):
        optimizer.zero_grad()
        (-elbo(flow, x, k=64).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        gap, before = exact - elbo(flow, x, k=20_000), exact - elbo(uniform, x, k=20_000)
        assert (gap > -1e-3).all() and gap.mean() < 0.2 * before.mean()


def test_what_variational_noise_is_worth_agrees_with_what_it_draws():
    torch.manual_seed(0)
    for noise in (realnvp((4,), 2, (8,), context=4), iaf((4,), 1, (8,), context=4)):
        layer = VariationalDequantize((4,), noise, 8).double()
        q = layer.posterior(torch.randint(8, (5, 4)))
        z, log_q = q.rsample_with_log_prob(3)
        torch.testing.assert_close(q.log_prob(z), log_q, rtol=1e-6, atol=1e-6)
        assert z.shape == (3, 5, 4) and q.sample(2).shape == (2, 5, 4)
        torch.testing.assert_close(frozen(q).log_prob(z), log_q, rtol=1e-6, atol=1e-6)


def test_the_density_of_noise_integrates_to_one_over_its_bin():
    torch.manual_seed(0)
    layer = VariationalDequantize((1,), ConditionalNormal((1,), nn.Linear(1, 2)), 4).double()
    points = (torch.arange(40_000).double() + 0.5) / 40_000 / 4
    for level in (0, 3):
        q = layer.posterior(torch.tensor([[level]]))
        with torch.no_grad():
            total = q.log_prob((points + level / 4).view(-1, 1, 1)).exp().mean() / 4
        assert total.item() == pytest.approx(1, abs=1e-4)


def test_the_encoder_of_noise_runs_once_however_many_draws_are_taken():
    rows, encoder = [], nn.Conv2d(1, 3, 3, padding=1)
    encoder.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    noise = realnvp((1, 4, 4), scales=1, channels=4, context=3)
    layer = VariationalDequantize((1, 4, 4), noise, 16, encoder)
    flow = Flow([layer, Logit(), *realnvp((1, 4, 4), scales=2, channels=4).layers], StandardNormal((16,)))
    x = torch.randint(16, (5, 1, 4, 4))
    loss = -flow.log_weights(x, 7)
    assert loss.shape == (7, 5) and rows == [5]
    loss.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in flow.parameters())
    assert flow.sample(3).shape == (3, 1, 4, 4)


def test_neither_code_nor_rate():
    flow, x, _ = pair(4)
    assert flow.is_bound and flow.trace(x).latent is None and flow.transforms[0].carries_data
    torch.manual_seed(0)
    first = elbo(flow, x, beta=0.0)
    torch.manual_seed(0)
    torch.testing.assert_close(elbo(flow, x, beta=5.0), first)


@pytest.mark.parametrize("variational", [False, True])
def test_copies_pickles_and_dtypes(variational):
    noise = realnvp((2,), 1, (4,), context=2)
    layer = VariationalDequantize((2,), noise, 4) if variational else Dequantize((2,), 4)
    x = torch.tensor(list(itertools.product(range(4), repeat=2)))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), layer):
        torch.manual_seed(0)
        z, paid = other(x)
        torch.manual_seed(0)
        torch.testing.assert_close(layer(x), (z, paid), rtol=0, atol=0)
    assert layer.double()(x)[0].dtype == torch.float64
    back, log_det = layer.inverse(z.double())
    assert torch.equal(back, x.double()) and log_det.isfinite().all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"levels .* 2 or more"):
        Dequantize((2,), 1)
    with pytest.raises(TypeError, match="draws its noise from a Density"):
        VariationalDequantize((2,), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"but it draws \[3\]"):
        VariationalDequantize((2,), StandardNormal((3,)))
    with pytest.raises(ValueError, match=r"(?s)Dequantize.*must have shape \[B, 2\]"):
        Dequantize((2,))(torch.zeros(3, 4))
    layer = VariationalDequantize((2,), realnvp((2,), 1, (4,), context=2), 4)
    with pytest.raises(ValueError, match=r"(?s)VariationalDequantize.*must have shape \[B, 2\]"):
        layer(torch.zeros(3, 4))
    assert isinstance(perceptron((4,))(2, 2), MLP)
