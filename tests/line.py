"""The smallest training there is: a line through points."""

import torch
from torch import nn


def line() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def squared_error(model, batch):
    x, y = batch
    return (model(x) - y) ** 2


def line_data(n: int = 200):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, generator=generator)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3


def binary(n=60, d=5):
    return torch.randint(0, 2, (n, d), generator=torch.Generator().manual_seed(0)).float()
