"""Masked convolutions against full kernels under masks built entry by entry."""

import pytest
import torch
import torch.nn.functional as F

from lvmlib.autoregressive import MaskedConv2d
from lvmlib.autoregressive.pixel.masked_conv import RowsAbove, group_ends, group_index
from lvmlib.autoregressive.pixel.masked_steps import PixelSteps, RowSteps

KINDS = [
    # inputs, outputs, kernel, mask type, colours, copies
    (1, 4, 7, "A", 1, 1),
    (4, 4, 3, "B", 1, 1),
    (3, 7, 5, "A", 3, 1),
    (5, 7, 3, "B", 3, 1),
    (5, 10, 1, "B", 3, 2),
    (2, 6, (1, 5), "A", 2, 2),
    (4, 20, (1, 3), "B", 2, 4),
]


def full_kernel(conv: MaskedConv2d, kernel, colours: int, copies: int) -> torch.Tensor:
    """The weights in a square kernel, each kept only if what it looks at is drawn before what it computes."""
    k = kernel if isinstance(kernel, int) else kernel[1]
    outputs, inputs, rows, width = conv.weight.shape
    full = torch.zeros(outputs, inputs, k, k, dtype=conv.weight.dtype)
    for o in range(outputs):
        drawn = o % (outputs // copies)
        for i in range(inputs):
            seeing = next(g for g, end in enumerate(group_ends(outputs // copies, colours)) if drawn < end)
            looked_at = next(g for g, end in enumerate(group_ends(inputs, colours)) if i < end)
            for a in range(rows):
                for b in range(width):
                    up, right = rows - 1 - a, b - k // 2
                    earlier_colour = looked_at < seeing or (conv.mask_type == "B" and looked_at == seeing)
                    if up > 0 or right < 0 or (right == 0 and earlier_colour):
                        full[o, i, k // 2 - up, b] = conv.weight[o, i, a, b]
    return full


@pytest.mark.parametrize(("inputs", "outputs", "kernel", "mask_type", "colours", "copies"), KINDS)
def test_as_a_full_kernel_under_a_mask_and_pixel_by_pixel(inputs, outputs, kernel, mask_type, colours, copies):
    torch.manual_seed(0)
    conv = MaskedConv2d(inputs, outputs, kernel, mask_type, colours, copies).double()
    torch.nn.init.normal_(conv.bias)
    for height, width in [(5, 6), (1, 4), (4, 1)]:
        x, extra = torch.randn(2, inputs, height, width).double(), torch.randn(2, outputs, height, width).double()
        full = full_kernel(conv, kernel, colours, copies)
        y = conv(x)
        torch.testing.assert_close(y, F.conv2d(x, full, conv.bias, padding=full.shape[-1] // 2))

        steps, ends = PixelSteps(conv, 2, height, width, extra), [0, *group_ends(inputs, colours)]
        belongs = group_index(outputs // copies, colours, copies)
        y = (y + extra).detach()
        for i in range(height):
            steps.begin_row(i)
            for j in range(width):
                for c in range(colours):
                    if mask_type == "B":  # what is at the pixel may be looked at
                        steps.put(j, c, x[:, ends[c] : ends[c + 1], i, j])
                    torch.testing.assert_close(steps.at(j, c), y[:, belongs == c, i, j])
                    if mask_type == "A":
                        steps.put(j, c, x[:, ends[c] : ends[c + 1], i, j])


@pytest.mark.parametrize(("kernel", "own_row"), [(3, False), (5, False), (3, True), (5, True)])
def test_rows_above_look_at_all_columns_of_the_rows_above(kernel, own_row):
    torch.manual_seed(0)
    conv, reach = RowsAbove(2, 3, kernel, own_row).double(), kernel // 2
    x = torch.randn(2, 2, 6, 5).double()
    full = torch.zeros(3, 2, kernel, kernel).double()
    full[:, :, : reach + own_row] = conv.weight.detach()  # the centre is row `reach`
    y = conv(x)
    torch.testing.assert_close(y, F.conv2d(x, full, conv.bias, padding=reach))

    steps = RowSteps(conv.weight, 2, 5)
    rows = x.permute(2, 0, 3, 1).flatten(2)  # [H, B, W * C]
    for i in range(6):
        if own_row or i:
            steps.push(rows[i if own_row else i - 1])
        torch.testing.assert_close(steps.outputs() + conv.bias, y[:, :, i].transpose(1, 2))


def test_features_are_shared_out_evenly_and_all_of_them():
    assert group_ends(7, 3) == [2, 4, 7]
    assert group_index(7, 3).bincount().tolist() == [2, 2, 3]
    assert group_index(3, 3, copies=2).tolist() == [0, 1, 2, 0, 1, 2]


def test_bad_kernels_are_stopped_at_the_door():
    with pytest.raises(ValueError, match="must be odd"):
        MaskedConv2d(1, 1, 4, "A")
    with pytest.raises(ValueError, match="mask_type must be"):
        MaskedConv2d(1, 1, 3, "C")
    with pytest.raises(ValueError, match="needs a channel of its own"):
        MaskedConv2d(2, 4, 3, "B", colours=3)
    with pytest.raises(ValueError, match="needs a channel of its own"):
        MaskedConv2d(3, 7, 3, "B", colours=3, copies=2)
    for kernel in (1, 4):
        with pytest.raises(ValueError, match="odd and 3 or more"):
            RowsAbove(1, 1, kernel)
