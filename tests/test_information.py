"""Measures of discrete distributions. Oracles: scipy, torch.distributions, enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch.distributions import kl_divergence as torch_kl

from lvmlib import information as info
from lvmlib.information import checks
from lvmlib.information.checks import not_negative

BASES = [2, math.e, 10]


def dirichlet(*shape, seed=0, alpha=0.5):
    return np.random.default_rng(seed).dirichlet(np.full(shape[-1], alpha), size=shape[:-1])


@pytest.mark.parametrize("base", BASES)
def test_entropy_and_kl_equal_scipy(base):
    p, q = dirichlet(50, 7, seed=1), dirichlet(50, 7, seed=2)
    np.testing.assert_allclose(info.entropy(p, base), scipy.stats.entropy(p, axis=-1, base=base), rtol=1e-13)
    np.testing.assert_allclose(
        info.kl_divergence(p, q, base), scipy.stats.entropy(p, q, axis=-1, base=base), rtol=1e-12
    )
    expected = scipy.stats.entropy(p, axis=-1, base=base) + scipy.stats.entropy(p, q, axis=-1, base=base)
    np.testing.assert_allclose(info.cross_entropy(p, q, base), expected, rtol=1e-13)


@pytest.mark.parametrize("base", BASES)
def test_jensen_shannon_equals_scipy(base):
    from scipy.spatial.distance import jensenshannon

    p, q = dirichlet(6, seed=1), dirichlet(6, seed=2)
    assert info.js_divergence(p, q, base) == pytest.approx(jensenshannon(p, q, base) ** 2, rel=1e-12)
    assert info.js_divergence(p, q, base) == info.js_divergence(q, p, base)


def test_equal_torch_distributions():
    p, q = (torch.tensor(dirichlet(5, 9, seed=s)) for s in (1, 2))
    a, b = torch.distributions.Categorical(p), torch.distributions.Categorical(q)
    torch.testing.assert_close(info.entropy(p, math.e), a.entropy(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(info.kl_divergence(p, q, math.e), torch_kl(a, b), rtol=1e-6, atol=1e-6)


def test_values_known_by_hand():
    assert info.self_information(1.0) == 0 and math.copysign(1, info.self_information(1.0)) == 1
    assert info.self_information(0.0) == math.inf
    assert info.self_information(0.25) == 2 and info.self_information(1 / math.e, base=math.e) == pytest.approx(1)
    assert info.entropy([0.5, 0.5]) == 1 and info.entropy([1.0, 0.0]) == 0
    assert info.entropy(np.full(6, 1 / 6)) == pytest.approx(math.log2(6), rel=1e-14)
    assert info.self_information(1e-300) == pytest.approx(300 * math.log2(10), rel=1e-14)


def test_zeros():
    p, q = [0.5, 0.5, 0.0], [0.25, 0.75, 0.0]
    assert info.kl_divergence(p, q) == pytest.approx(info.kl_divergence(p[:2], q[:2]))
    assert info.kl_divergence(p, [1.0, 0.0, 0.0]) == math.inf and info.cross_entropy(p, [1.0, 0.0, 0.0]) == math.inf
    assert info.kl_divergence([1.0, 0.0, 0.0], p) == 1  # where p is 0, q may be what it likes
    assert info.js_divergence([1.0, 0.0], [0.0, 1.0]) == 1


@pytest.mark.parametrize("seed", range(5))
def test_joint_conditional_mutual_by_enumeration(seed):
    joint = dirichlet(3, 12, seed=seed).reshape(3, 3, 4)
    joint[0, 0, :] = 0.0  # one impossible row
    joint /= joint.sum((1, 2), keepdims=True)
    for p, h, hy, hx, mi in zip(
        joint,
        info.joint_entropy(joint),
        info.conditional_entropy(joint),
        info.conditional_entropy(joint, given=1),
        info.mutual_information(joint),
        strict=True,
    ):
        px, py = p.sum(1), p.sum(0)
        cells = [(x, y) for x in range(3) for y in range(4) if p[x, y] > 0]
        assert h == pytest.approx(-sum(p[c] * math.log2(p[c]) for c in cells), rel=1e-12)
        assert hy == pytest.approx(-sum(p[x, y] * math.log2(p[x, y] / px[x]) for x, y in cells), rel=1e-12)
        assert hx == pytest.approx(-sum(p[x, y] * math.log2(p[x, y] / py[y]) for x, y in cells), rel=1e-12)
        assert mi == pytest.approx(sum(p[x, y] * math.log2(p[x, y] / (px[x] * py[y])) for x, y in cells), rel=1e-12)


def test_mutual_information_survives_tiny_marginals():
    joint = np.array([[1e-200, 0.0], [0.0, 1.0]])  # the product of the marginals underflows, their logarithms do not
    assert np.isfinite(info.mutual_information(joint)) and info.mutual_information(joint) >= 0


def test_entropy_from_counts():
    counts = np.array([[3, 0, 5], [1, 1, 1]])
    np.testing.assert_allclose(
        info.entropy_from_counts(counts), scipy.stats.entropy(counts, axis=-1, base=2), rtol=1e-13
    )
    added = info.entropy_from_counts(counts, math.e, miller_madow=True) - info.entropy_from_counts(counts, math.e)
    np.testing.assert_allclose(added, [1 / 16, 2 / 6])
    tensor = info.entropy_from_counts(torch.tensor(counts), miller_madow=True)
    np.testing.assert_allclose(tensor, info.entropy_from_counts(counts, miller_madow=True), rtol=1e-6)


def test_miller_madow_removes_most_of_the_bias():
    rng, p = np.random.default_rng(0), dirichlet(10, seed=3, alpha=5.0)
    counts = rng.multinomial(100, p, size=20_000)
    plain = info.entropy_from_counts(counts, math.e).mean() - info.entropy(p, math.e)
    corrected = info.entropy_from_counts(counts, math.e, miller_madow=True).mean() - info.entropy(p, math.e)
    assert plain == pytest.approx(-9 / 200, rel=0.15)
    assert abs(corrected) < 0.2 * abs(plain)


DISCRETE = [
    (info.self_information, 1),
    (info.entropy, 1),
    (info.cross_entropy, 2),
    (info.kl_divergence, 2),
    (info.js_divergence, 2),
    (info.entropy_from_counts, 1),
]


@pytest.mark.parametrize(("function", "n"), DISCRETE, ids=lambda v: getattr(v, "__name__", ""))
def test_tensor_in_tensor_out(function, n):
    arrays = [dirichlet(4, 5, seed=s) for s in range(n)]
    expected = function(*arrays)
    for dtype, rtol in ((torch.float64, 1e-13), (torch.float32, 1e-4)):
        got = function(*(torch.tensor(a, dtype=dtype) for a in arrays))
        assert isinstance(got, torch.Tensor) and got.dtype == dtype
        np.testing.assert_allclose(got.numpy(), expected, rtol=rtol)
    assert isinstance(function(*(a.tolist() for a in arrays)), np.ndarray)
    if n == 2:  # one tensor is enough, and batch axes broadcast
        mixed = function(torch.tensor(arrays[0]), arrays[1][0])
        np.testing.assert_allclose(mixed.numpy(), function(arrays[0], arrays[1][0]), rtol=1e-13)


@pytest.mark.parametrize(
    "function",
    [info.entropy, lambda p: info.cross_entropy(p, p.flip(-1)), lambda p: info.kl_divergence(p, p.flip(-1))]
    + [lambda p: info.js_divergence(p, p.flip(-1)), lambda p: info.mutual_information(p.reshape(2, 3))]
    + [lambda p: info.conditional_entropy(p.reshape(2, 3)), lambda p: info.joint_entropy(p.reshape(2, 3))],
)
def test_gradients(function):
    logits = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: function(x.softmax(-1)), logits)


def test_gradient_is_finite_where_a_probability_is_zero():
    p = torch.tensor([0.25, 0.75, 0.0], dtype=torch.float64, requires_grad=True)
    for value in (info.entropy(p), info.kl_divergence(p, [0.5, 0.5, 0.0]), info.cross_entropy(p, [0.5, 0.5, 0.0])):
        (gradient,) = torch.autograd.grad(value, p)
        assert torch.isfinite(gradient).all() and gradient[2] == 0
    (gradient,) = torch.autograd.grad(info.mutual_information(torch.stack([p, p]) / 2), p)
    assert torch.isfinite(gradient).all()
    q = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(info.self_information(q, math.e).sum(), q)[0] == -1  # also at the corner


@pytest.mark.parametrize("kind", [np.asarray, lambda p: torch.tensor(p, dtype=torch.float64)], ids=["numpy", "torch"])
@pytest.mark.parametrize("bad", [[0.5, 0.6], [-0.5, 1.5], [math.nan, 1.0], [0.2, 0.2], [3.0, 4.0], []])
def test_no_distribution(kind, bad):
    with pytest.raises(ValueError, match="probabilities"):
        info.entropy(kind(bad))
    with pytest.raises(ValueError, match="probabilities"):
        info.cross_entropy(kind([0.5, 0.5]), kind(bad))
    with pytest.raises(ValueError, match="probabilities"):
        info.kl_divergence(kind(bad), kind([0.5, 0.5]))
    for function in (info.joint_entropy, info.conditional_entropy, info.mutual_information):
        with pytest.raises(ValueError, match="probabilities"):
            function(kind([bad]))


def test_other_errors():
    with pytest.raises(ValueError, match="same outcomes, got 2 and 3"):
        info.kl_divergence([0.5, 0.5], [0.5, 0.25, 0.25])
    with pytest.raises(ValueError, match="same outcomes"):
        info.js_divergence([1.0], [0.5, 0.5])  # an alphabet of one must not broadcast
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        info.self_information([0.5, 1.5])
    with pytest.raises(ValueError, match="shape"):
        info.entropy(1.0)
    with pytest.raises(ValueError, match="two axes"):
        info.mutual_information([0.5, 0.5])
    with pytest.raises(ValueError, match="given"):
        info.conditional_entropy([[1.0]], given=2)
    for base in (0, -2, 1):
        with pytest.raises(ValueError, match="base"):
            info.entropy([0.5, 0.5], base=base)
    for counts, message in (([0, 0], "all zero"), ([-1, 2], "not negative"), (3, "at least one axis")):
        with pytest.raises(ValueError, match=message):
            info.entropy_from_counts(counts)
    assert info.entropy(torch.softmax(torch.randn(100_000), -1)) > 0  # float32's rounding of the sum is forgiven


@pytest.mark.parametrize("kind", ["arrays", "float32", "float64"])
def test_what_cannot_be_negative_is_not(kind):
    """Between close or equal distributions rounding is larger than the measure; its square root must not be nan."""
    rng = np.random.default_rng(0)
    for i in range(300):
        p = rng.dirichlet(np.ones(2 + i % 8))
        q = p * (1 + 1e-7 * rng.standard_normal(len(p)))
        joint = np.outer(p, rng.dirichlet(np.ones(3)))
        cov = np.eye(3) + 1e-3 * (p[0] + np.ones((3, 3)))
        one = np.eye(len(p))[0] * (1 + 1e-7 if kind == "float32" else 1)
        parts = [p, q / q.sum(), joint / joint.sum(), cov, cov * (1 + 1e-9), one]
        if kind != "arrays":
            parts = [torch.tensor(part, dtype=getattr(torch, kind)) for part in parts]
        p, q, joint, cov, close, one = parts
        for value in (
            info.kl_divergence(p, q), info.js_divergence(p, q), info.mutual_information(joint),
            info.conditional_entropy(joint), info.entropy(one), info.cross_entropy(one, one),
            info.self_information(one[0]), info.joint_entropy(one[None]), info.gaussian_kl(p[0], cov, p[0], close),
            info.gaussian_kl(p[0], cov[0], p[0], close[0]), info.entropy_from_counts(one),
        ):  # fmt: skip
            assert float(value) >= 0 and float(value**0.5) >= 0


def test_a_measure_held_at_zero_keeps_its_gradient():
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)
    value = not_negative(weights @ logits - 1e-9)
    value.backward()
    assert value.item() == 0 and torch.equal(logits.grad, weights)
    assert not_negative(torch.tensor([math.inf, -1.0, 2.0])).tolist() == [math.inf, 0, 2]
    assert not_negative(torch.tensor(math.nan)).isnan() and math.isnan(not_negative(np.array(math.nan)))


@pytest.mark.parametrize("base", [1, 0.5, 0, -2, math.inf, math.nan, True, "2", None])
def test_a_base_that_would_turn_signs_round_is_refused(base):
    with pytest.raises(ValueError, match="base must be a number above 1"):
        info.self_information(0.5, base)


@pytest.mark.parametrize(
    ("dtype", "off"), [(torch.float64, 1e-6), (torch.float32, 1e-4), (torch.bfloat16, 2e-2), (torch.float16, 2e-2)]
)
def test_how_far_a_sum_may_be_from_one(dtype, off):
    """Rounding is forgiven and no more: a slip of a few times as much is refused."""
    assert checks.tolerance(torch.zeros(1, dtype=dtype)) == off
    info.entropy(torch.tensor([0.5, 0.5 + off / 2], dtype=dtype))
    with pytest.raises(ValueError, match="must sum to 1"):
        info.entropy(torch.tensor([0.5, 0.5 + 3 * off], dtype=dtype))


def test_arrays_are_held_to_float64():
    info.entropy([0.5, 0.5 + 5e-7])
    with pytest.raises(ValueError, match="must sum to 1"):
        info.entropy([0.5, 0.5 + 3e-6])
