"""What the parameters of one position mean, at whatever precision they come."""

import math

import pytest
import torch

from lvmlib.autoregressive.families import BernoulliFamily, LogisticFamily, choose, family_of


@pytest.mark.parametrize(("levels", "logistics"), [(2, 0), (7, 0), (300, 0), (256, 3)])
@pytest.mark.parametrize("short", [torch.bfloat16, torch.float16])
def test_short_parameters_are_computed_with_in_float32(levels, logistics, short):
    """As if they had been brought into float32 by the caller."""
    family = family_of(levels, logistics)
    torch.manual_seed(0)
    outputs = torch.randn(5, family.size, 4).to(short)
    x, u = torch.randint(levels, (5, 4)).float(), torch.rand(5, 2)
    long = outputs.float()
    for got, expected in [
        (family.log_prob(outputs, x), family.log_prob(long, x)),
        (family.distribution(outputs).log_prob(x), family.distribution(long).log_prob(x)),
        (family.table(outputs[..., 0]), family.table(long[..., 0])),
        (family.draw(outputs[..., 0], u), family.draw(long[..., 0], u)),
    ]:
        assert got.dtype == torch.float32 and torch.equal(got, expected)


@pytest.mark.parametrize(("levels", "logistics"), [(2, 0), (7, 0), (9, 3)])
def test_long_parameters_stay_long(levels, logistics):
    family = family_of(levels, logistics)
    outputs = torch.randn(5, family.size, 4).double()
    assert family.log_prob(outputs, torch.zeros(5, 4).double()).dtype == torch.float64
    assert family.draw(outputs[..., 0], torch.rand(5, 2).double()).dtype == torch.float64


def test_a_value_of_probability_zero_is_never_drawn():
    """Also where the uniform number is 0, or as large as it can be."""
    logits = torch.tensor([[-math.inf, 0.0, 0.0, -math.inf]]).expand(2, -1)
    assert choose(logits, torch.tensor([0.0, 1 - 2**-24])).tolist() == [1, 2]


def test_scales_have_a_floor_and_a_ceiling_out_of_reach():
    family = LogisticFamily(levels=11, components=1)
    log_scales = torch.tensor([-7.0, -8.0, -60.0, 3.0, 19.0, 21.0])
    outputs = torch.stack([torch.zeros(6), torch.zeros(6), log_scales], 1)
    _, loc, scale = family.parts(outputs)
    torch.testing.assert_close(scale[:, 0] / 5, torch.tensor([-7.0, -7.0, -7.0, 3.0, 19.0, 20.0]).exp())
    assert (loc == 5).all()


def test_temperature_divides_the_logits_of_components_and_multiplies_their_scales():
    family = LogisticFamily(levels=101, components=2)
    outputs = torch.tensor([[0.0, 1.0, -0.5, 0.5, -2.0, -2.0]])  # components at 25 and 75, the second more probable
    u = torch.tensor([[0.1, 0.9]])  # 0.1 chooses the first, whose share is 0.27
    scale, noise = 50 * math.exp(-2), math.log(9)
    assert family.draw(outputs, u).item() == round(25 + scale * noise)
    assert family.draw(outputs, u, temperature=0.25).item() == round(75 + 0.25 * scale * noise)  # a share of 0.02 now


def test_a_coin_that_never_falls_on_one_never_does():
    """Not even at u = 0; and one that always does, does at the largest u there is."""
    u = torch.tensor([[0.0, 0.5], [1 - 2**-24, 0.5]])
    for outputs, value in ((-math.inf, 0), (-200.0, 0), (200.0, 1), (math.inf, 1)):
        assert BernoulliFamily().draw(torch.full((2, 1), outputs), u).tolist() == [value, value]
