"""Each toy density integrates to one, and its samples are draws from it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from lvmlib.base import Density, seed_everything
from lvmlib.checks import trusted
from lvmlib.toys import TOYS, toy

HALF_WIDTH = 6.0
CELLS = 24  # the histogram's cells per side, 0.5 wide: edges fall on those of the checkerboard
FINE = 16  # grid points per cell and side


@pytest.fixture(scope="module", params=TOYS)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def cells(name) -> tuple[torch.Tensor, torch.Tensor]:
    """Probability of each cell, and its share of the entropy, by the midpoint rule: [24, 24] each."""
    n = CELLS * FINE
    step = 2 * HALF_WIDTH / n
    axis = -HALF_WIDTH + step * (torch.arange(n, dtype=torch.float64) + 0.5)
    grid = torch.cartesian_prod(axis, axis)
    density = toy(name).double()
    with torch.no_grad():
        log_p = torch.cat([density.log_prob(part) for part in grid.split(100_000)])
    p = log_p.exp() * step**2

    def per_cell(values: torch.Tensor) -> torch.Tensor:
        return values.view(CELLS, FINE, CELLS, FINE).sum((1, 3))

    return per_cell(p), per_cell(-torch.where(p > 0, p * log_p, 0.0))


@pytest.fixture(scope="module")
def draws(name) -> torch.Tensor:
    seed_everything(0)
    return toy(name).sample(200_000)


def test_it_integrates_to_one(cells):
    assert abs(cells[0].sum() - 1) < 2e-6


def test_samples_fill_the_cells_as_the_density_says(cells, draws):
    """Chi-square test over the cells that expect ten draws or more, the others taken together."""
    edges = np.linspace(-HALF_WIDTH, HALF_WIDTH, CELLS + 1)
    counts = np.histogram2d(*draws.numpy().astype(np.float64).T, bins=(edges, edges))[0].ravel()
    expected = cells[0].numpy().ravel() * len(draws)
    many = expected >= 10
    observed = np.append(counts[many], len(draws) - counts[many].sum())
    wanted = np.append(expected[many], len(draws) - expected[many].sum())
    if wanted[-1] < 5:  # too few outside for the test: leave the remainder out
        assert observed[-1] < 30
        observed, wanted = observed[:-1], wanted[:-1] * observed[:-1].sum() / wanted[:-1].sum()
    assert many.sum() > 50
    assert stats.chisquare(observed, wanted).pvalue > 1e-3


def test_the_mean_of_minus_log_p_is_the_entropy(name, cells, draws):
    with torch.no_grad():
        surprise = -toy(name).log_prob(draws[:50_000]).double()
    error = surprise.std() / math.sqrt(len(surprise))
    assert abs(surprise.mean() - cells[1].sum()) < 4 * error + 1e-5


@pytest.mark.parametrize(
    ("name", "entropy", "error"),
    [
        ("checkerboard", math.log(32), 1e-12),
        # ln 8 + ln(2 pi e sigma^2) = 2.8379 for eight Gaussians that do not touch; these overlap a little
        ("eight_gaussians", 2.83158, 1e-5),
    ],
    indirect=["name"],
)
def test_known_entropies(name, entropy, error, cells):
    assert abs(cells[1].sum() - entropy) < error


@pytest.mark.parametrize("point", [(0.3, 0.4), (-1.0, 1.7), (2.9, -0.6), (0.02, -0.01), (3.0, 0.8)])
def test_curves_against_adaptive_quadrature(point):
    """The Gauss-Legendre sums of moons and spirals, and the Bessel function of the rings, to nine digits."""
    x = np.array(point)

    def normal(mean, sigma):
        return math.exp(-((x - mean) ** 2).sum() / (2 * sigma**2)) / (2 * math.pi * sigma**2)

    def integral(f, low, high):
        pieces = np.linspace(low, high, 41)
        return sum(
            integrate.quad(f, a, b, epsabs=0, epsrel=1e-11)[0] for a, b in zip(pieces[:-1], pieces[1:], strict=True)
        )

    def moons(t):
        upper = normal([2 * math.cos(t) - 1, 2 * math.sin(t) - 0.2], 0.2)
        return (upper + normal([1 - 2 * math.cos(t), 0.8 - 2 * math.sin(t)], 0.2)) / (2 * math.pi)

    def spirals(t):  # t = s^2 is uniform
        angle = 3 * math.pi * math.sqrt(t)
        arm = angle / 3 * np.array([-math.cos(angle), math.sin(angle)])
        return (normal(arm, 0.1) + normal(-arm, 0.1)) / 2

    def rings(t):
        circle = np.array([math.cos(t), math.sin(t)])
        return sum(normal(r * circle, 0.08) for r in (0.75, 1.5, 2.25, 3.0)) / (4 * 2 * math.pi)

    wanted = {
        "two_moons": integral(moons, 0, math.pi),
        "two_spirals": integral(spirals, 0, 1),
        "rings": integral(rings, 0, 2 * math.pi),
    }
    torch.set_default_dtype(torch.float64)
    try:
        found = {name: toy(name).log_prob(torch.tensor([point])).item() for name in wanted}
    finally:
        torch.set_default_dtype(torch.float32)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(math.log(value), abs=1e-9), name


def test_the_contract_of_a_density(name):
    density = toy(name)
    assert isinstance(density, Density)
    assert density.event_shape == (2,)
    assert not density.is_bound
    seed_everything(1)
    x = density.sample(7)
    assert x.shape == (7, 2)
    assert not x.requires_grad
    context = torch.zeros(7, 3)
    log_p = density.log_prob(x)
    assert log_p.shape == (7,)
    with trusted():  # as inside of a chain
        assert torch.equal(density.log_prob(x, context), log_p)
        assert density.sample(7, context).shape == (7, 2)
    with pytest.raises(ValueError, match="n counts draws"):
        density.sample(0)
    assert density.double().sample(2).dtype == torch.float64
    assert (density.log_prob(x.double()) - log_p).abs().max() < 1e-3
    assert density.state_dict() == {}
    with pytest.raises(ValueError, match="shape"):
        density.log_prob(torch.zeros(7, 3))
    with pytest.raises(ValueError, match="context"):
        density.sample(3, context)


def test_gradients_flow_to_the_points(name):
    if name == "checkerboard":
        pytest.skip("its density is flat")
    x = toy(name).double().sample(20).requires_grad_()
    (gradient,) = torch.autograd.grad(toy(name).double().log_prob(x).sum(), x)
    step = 1e-5 * torch.tensor([1.0, 0.0], dtype=torch.float64)
    with torch.no_grad():
        slope = (toy(name).double().log_prob(x + step) - toy(name).double().log_prob(x - step)) / 2e-5
    assert torch.allclose(gradient[:, 0], slope, rtol=1e-4, atol=1e-4)


def test_an_unknown_name():
    with pytest.raises(
        ValueError, match="no toy density 'moons'; the names are eight_gaussians, checkerboard, two_moons"
    ):
        toy("moons")
