"""The attention inside of Flow++'s networks."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from lvmlib.flows.flowpp import Attention, _places


def test_it_is_a_weighted_mean_over_places_and_takes_the_fused_kernel():
    torch.manual_seed(0)
    layer, h = Attention(8, 2), torch.randn(3, 8, 4, 5)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # raises where the tensors do not allow it
        out = layer(h)
    query, key, value = layer.read(h + _places(h)).reshape(3, 3, 2, 4, 20).unbind(1)  # [B, heads, C / heads, places]
    weights = (torch.einsum("bhci,bhcj->bhij", query, key) / 2).softmax(3)
    expected = torch.einsum("bhij,bhcj->bhci", weights, value).reshape(h.shape)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
