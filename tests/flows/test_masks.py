"""What a mask passes stays as it is, whatever the network says, and the rest moves."""

import pytest
import torch

from lvmlib.flows import AffineCoupling, SplineCoupling
from tests.flows.flow_cases import CONV, SMALL, perturbed

BOARD = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]]).repeat(2, 1).bool()
PASSES = {
    ("half", (5,)): torch.tensor([1, 1, 0, 0, 0]).bool(),
    ("checkerboard", (5,)): torch.tensor([1, 0, 1, 0, 1]).bool(),
    ("channel", (3, 4, 4)): torch.tensor([1, 0, 0]).bool()[:, None, None].expand(3, 4, 4),
    ("half", (2, 4, 4)): torch.tensor([1, 0]).bool()[:, None, None].expand(2, 4, 4),
    ("checkerboard", (2, 4, 4)): BOARD.expand(2, 4, 4),
}


@pytest.mark.parametrize("kind", [AffineCoupling, SplineCoupling])
@pytest.mark.parametrize(("name", "shape"), PASSES)
@pytest.mark.parametrize("swap", [False, True])
def test_a_mask_says_what_passes(kind, name, shape, swap):
    torch.manual_seed(0)
    layer = perturbed(kind(shape, SMALL if len(shape) == 1 else CONV, name, swap))
    x = torch.randn(4, *shape)
    z, _ = layer(x)
    passes = ~PASSES[name, shape] if swap else PASSES[name, shape]
    assert torch.equal(z == x, passes.expand_as(x))
    moved = x + passes * torch.randn_like(x)  # what passes decides how the others move
    assert not torch.isclose(layer(moved)[0] - moved, z - x)[:, ~passes].all()
    alone = torch.where(passes, x, 0.0).requires_grad_()
    layer.parameters_given(alone, layer._apart(alone.flatten(1))[0], None).sum().backward()
    assert (alone.grad != 0).equal((alone.grad != 0) & passes)  # and the network sees nothing else
