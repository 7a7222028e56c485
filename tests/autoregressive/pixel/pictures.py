"""What the tests of pixel models share: which pixels an output sees, and how much work a pass does."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lvmlib.autoregressive import Autoregressive


def livened(model: Autoregressive, seed: int = 0) -> Autoregressive:
    """In float64, with biases that keep rectified units from being silent everywhere."""
    torch.manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p) / max(1.0, p[0].numel() ** 0.5 if p.dim() > 1 else 1.0))
    return model


def seen(model: Autoregressive, row: int, column: int, pictures: int = 8) -> Tensor:
    """Which inputs [C, H, W] the parameters of each channel of a pixel depend on, by gradient: [C, C, H, W], bool."""
    torch.manual_seed(0)
    x = torch.rand(pictures, *model.event_shape, dtype=torch.float64).requires_grad_()
    outputs = model.predict(x)[..., row, column]  # [B, P, C]
    rows = [torch.autograd.grad(outputs[:, :, c].square().sum(), x, retain_graph=True)[0] for c in range(x.shape[1])]
    return torch.stack(rows).abs().sum(1) > 0


def offsets_from(model: Autoregressive, row: int, column: int) -> tuple[Tensor, Tensor]:
    """How many rows each pixel lies above (row, column), and how many columns to the right of it; [H, W] each."""
    _, H, W = model.event_shape
    up, right = torch.meshgrid(row - torch.arange(H), torch.arange(W) - column, indexing="ij")
    return up, right


def check_seen(model: Autoregressive, row: int, column: int, expected: Tensor) -> None:
    """The inputs seen are those `expected` [H, W] in all channels, and at the pixel itself the earlier channels."""
    C = model.event_shape[0]
    found = seen(model, row, column)
    for c in range(C):
        own = found[c, :, row, column].tolist()
        assert own == [earlier < c for earlier in range(C)]
        others = found[c].clone()
        others[:, row, column] = False
        assert torch.equal(others, expected.expand(C, -1, -1))


def work_of_sampling(model: Autoregressive, n: int = 2) -> float:
    """Multiplications of cached sampling in units of one pass over as many pictures."""
    with torch.no_grad(), FlopCounterMode(display=False) as one_pass:
        model.predict(torch.zeros(n, *model.event_shape, dtype=model.dtype))
    with FlopCounterMode(display=False) as sampling:
        model.sample(n)
    return sampling.get_total_flops() / one_pass.get_total_flops()


def check_cached_parameters(model: Autoregressive, context: Tensor | None = None) -> None:
    """The cached parameters of all positions are those of the one pass."""
    n = 3
    x = torch.randint(model.levels, (n, *model.event_shape)).to(model.dtype)
    expected = model.predict(x, context).flatten(2)
    step, partial = model.steps(n, context), torch.zeros(n, model.dims, dtype=model.dtype)
    with torch.no_grad():
        for t, position in enumerate(model.order.tolist()):
            torch.testing.assert_close(step(t, partial), expected[:, :, position], rtol=1e-9, atol=1e-9)
            partial[:, position] = x.flatten(1)[:, position]
