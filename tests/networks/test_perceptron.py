import pytest
import torch
from torch import nn

from lvmlib.networks import MLP, ConvDecoder, ConvEncoder, join


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
def test_mlp_is_its_matrices(hidden):
    mlp = MLP(6, hidden, 2, nn.Tanh)
    x = torch.randn(3, 1, 2, 3)
    h = x.flatten(1)
    linears = [m for m in mlp if isinstance(m, nn.Linear)]
    assert len(linears) == len(hidden) + 1
    for i, linear in enumerate(linears):
        h = h @ linear.weight.T + linear.bias
        h = h.tanh() if i < len(hidden) else h
    torch.testing.assert_close(mlp(x), h)


def test_join():
    x, context = torch.randn(2, 1, 3), torch.tensor([[1], [2]])
    assert join(x, None) is x
    joined = torch.cat([x.flatten(1), context.float()], 1)
    torch.testing.assert_close(join(x, context), joined)
    torch.testing.assert_close(join(x, context[:, 0]), joined)  # one number per example


def test_a_nonlinearity_stands_between_any_two_layers_and_nowhere_else():
    kinds = [type(layer).__name__ for layer in ConvEncoder((1, 8, 8), (3, 4), 5, nn.Tanh)]
    assert kinds == ["Conv2d", "Tanh", "Conv2d", "Tanh", "Flatten", "Linear"]
    kinds = [type(layer).__name__ for layer in ConvDecoder(5, (4, 3), (1, 8, 8), nn.Tanh)]
    assert kinds == ["Linear", "Unflatten", "Tanh", "ConvTranspose2d", "Tanh", "ConvTranspose2d"]
