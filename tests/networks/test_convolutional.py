import pytest
import torch
from torch import nn

from lvmlib.networks import ConvDecoder, ConvEncoder


@pytest.mark.parametrize(("shape", "channels"), [((1, 28, 28), (5, 6)), ((3, 24, 16), (4, 5, 6))])
def test_convolutions_halve_and_double(shape, channels):
    encoder, decoder = ConvEncoder(shape, channels, 7), ConvDecoder(7, channels[::-1], shape)
    x, sizes = torch.randn(2, *shape), []
    for layer in encoder:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            sizes.append(tuple(x.shape[1:]))
    assert sizes == [(c, shape[1] >> i, shape[2] >> i) for i, c in enumerate(channels, 1)]
    assert x.shape == (2, 7)
    assert decoder(x).shape == (2, *shape)


def test_convolutions_use_every_pixel_and_every_code():
    encoder, decoder = ConvEncoder((1, 16, 16), (3, 4), 5), ConvDecoder(5, (4, 3), (1, 16, 16))
    x = torch.randn(1, 1, 16, 16, requires_grad=True)
    z = encoder(x)
    (gradient,) = torch.autograd.grad(z.sum(), x)
    assert (gradient != 0).all()
    jacobian = torch.autograd.functional.jacobian(lambda z: decoder(z).flatten(), z.detach()[0][None]).squeeze()
    assert jacobian.shape == (256, 5)
    assert (jacobian != 0).all()


@pytest.mark.parametrize("make", [lambda s, c: ConvEncoder(s, c, 2), lambda s, c: ConvDecoder(2, c, s)])
def test_convolutions_refuse_what_cannot_be_halved(make):
    with pytest.raises(ValueError, match="divisible by 8"):
        make((1, 28, 28), (4, 4, 4))
    for shape in ((1, 30, 32), (1, 32, 30)):
        with pytest.raises(ValueError, match="divisible by 4"):
            make(shape, (4, 4))
    with pytest.raises(ValueError, match="divisible by 2"):
        make((28, 28), (4,))
    with pytest.raises(ValueError, match="empty"):
        make((1, 28, 28), ())
