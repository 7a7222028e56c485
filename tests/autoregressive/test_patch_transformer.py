"""PatchTransformer: which patch sees which, and that its pixels are drawn within the patch."""

import pytest
import torch

from lvmlib.autoregressive import PatchTransformer
from lvmlib.autoregressive.patch_transformer import patch_order


def small(event_shape=(1, 6, 6), seed=0, **options) -> PatchTransformer:
    torch.manual_seed(seed)
    sizes = {"patch": 2, "channels": 8, "heads": 2, "layers": 2, "hidden": (12,)}
    model = PatchTransformer(event_shape, **{**sizes, **options}).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


def test_patches_are_drawn_line_by_line_and_whole():
    order = patch_order((3, 4, 6), 2).view(6, 12)  # 2 x 3 patches of 12 entries
    pictures = torch.arange(72).view(3, 4, 6)
    for k in range(6):
        row, column = divmod(k, 3)
        patch = pictures[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert order[k].tolist() == patch.permute(1, 2, 0).flatten().tolist()


def test_one_pass_equals_the_patches_one_after_another():
    """The states from a run over the patches so far, and the inner network on one patch at a time."""
    model, context = small((2, 4, 4), levels=5, context=3), torch.randn(3, 3).double()
    x = torch.randint(5, (3, 2, 4, 4)).double()
    outputs = model.predict(x, context).flatten(2)[:, :, model.order].unflatten(2, (4, 8))  # [B, P, patches, m]
    y = (x / 2 - 1).flatten(1)[:, model.order].view(3, 4, 8)
    for k in range(4):
        tokens = [model.place()[i] + context @ model.context_map.weight.T for i in range(k + 1)]
        tokens = [h if i == 0 else h + model.value(y[:, i - 1]) for i, h in enumerate(tokens)]
        state = model.blocks(torch.stack(tokens, 1))[:, -1]
        torch.testing.assert_close(model.inner(y[:, k], state), outputs[:, :, k], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("patch", [1, 2, 3, 6])
@pytest.mark.parametrize("options", [{}, {"kernel": 3, "positions": "table"}, {"positions": "waves", "levels": 4}])
def test_cache_and_one_pass_agree_for_every_patch(patch, options):
    model = small(patch=patch, context=2, **options)
    context, draws = torch.randn(4, 2).double(), []
    for cache in (True, False):
        torch.manual_seed(3)
        draws.append(model.sample(4, context, cache=cache))
    assert torch.equal(*draws)
    outputs, step = model.predict(draws[0], context).flatten(2), model.steps(4, context)
    with torch.no_grad():
        for t, position in enumerate(model.order.tolist()):
            got = step(t, draws[0].flatten(1))
            torch.testing.assert_close(got, outputs[:, :, position], rtol=1e-10, atol=1e-10)


def test_pixels_of_a_patch_are_not_independent():
    """The last of its pixels depends on the three before it, given all earlier patches."""
    model = small()
    x = torch.randint(2, (8, 1, 6, 6)).double().requires_grad_()
    model.predict(x)[:, 0, 0, 3, 3].sum().backward()
    reach = x.grad.abs().sum(0)[0]
    seen = torch.zeros(6, 6, dtype=torch.bool)
    seen[:2], seen[2:4, :4] = True, True
    seen[3, 3] = False
    assert torch.equal(reach > 0, seen)


def test_pictures_that_do_not_split_are_stopped():
    for shape in [(1, 6, 7), (1, 7, 6), (36,)]:
        with pytest.raises(ValueError, match="Patches of 2 x 2 need an event shape"):
            PatchTransformer(shape)
    with pytest.raises(ValueError, match="patch must be a whole number"):
        PatchTransformer((1, 6, 6), patch=0)
