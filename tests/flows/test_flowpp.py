"""The attention inside of Flow++'s networks, and where its mixtures start."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from lvmlib.flows import MixtureLogistic
from lvmlib.flows.elements import bounded
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


def test_components_start_side_by_side_and_can_tell_modes_apart():
    """Broad ones on top of one another cost 0.7 nats on the rings, whatever the rate and however many layers."""
    element, x = MixtureLogistic(5), torch.linspace(-2.5, 2.5, 1001, dtype=torch.float64)[None]
    _, log_slope = element.forward(x, torch.zeros(1, element.size, 1001, dtype=torch.float64))
    places = torch.linspace(-2, 2, 5, dtype=torch.float64)
    width = bounded(torch.tensor(0.5).double().log(), 5.0).exp()  # half of the distance between neighbours
    z = lambda x: torch.sigmoid((x - places[:, None]) / width).mean(0).logit()  # noqa: E731
    slope = torch.autograd.functional.jvp(z, x[0], torch.ones_like(x[0]))[1]
    torch.testing.assert_close(log_slope[0], slope.log())
