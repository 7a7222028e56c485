"""A condition is used or refused: never dropped, and asked for in words where it is missing."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import lvmlib
from lvmlib import autoregressive as ar
from lvmlib.base import Given
from lvmlib.chain import Flow
from lvmlib.data import Data
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalNormal,
    MixtureOfGaussians,
    StandardNormal,
    StandardUniform,
)
from lvmlib.latent import VAE, LinearGaussian
from lvmlib.networks import MLP, planes
from lvmlib.toys import toy

X = (torch.arange(24).view(4, 6) % 3 == 0).float()
LABELS = torch.tensor([0, 1, 2, 0])
CONTEXT = torch.eye(3)[LABELS]


def vae(context=0):
    encoder = ConditionalNormal((2,), MLP(6 + context, (8,), 4))
    return VAE(encoder, ConditionalBernoulli((6,), MLP(2 + context, (8,), 6)), StandardNormal((2,)))


def ask(model, context):
    """Everything that a latent model can be asked with or without a context."""
    return {
        "log_prob": lambda: model.log_prob(X, context),
        "elbo": lambda: lvmlib.elbo(model, X, context=context),
        "iwae": lambda: lvmlib.iwae(model, X, 3, context),
        "log_likelihood": lambda: lvmlib.log_likelihood(model, X, 9, context=context),
        "trace": lambda: model.trace(X, context),
        "posterior": lambda: model.posterior(X, context),
        "likelihood": lambda: model.likelihood(torch.zeros(4, 2), context),
        "reconstruct": lambda: model.reconstruct(X, context),
        "sample": lambda: model.sample(4, context),
        "fit": lambda: lvmlib.fit(model, X if context is None else (X, context), steps=1, batch_size=2, progress=False),
    }


WAYS = list(ask(vae(), None))


@pytest.mark.parametrize("way", WAYS)
def test_a_latent_model_uses_its_context_or_says_that_it_needs_one(way):
    ask(vae(3), CONTEXT)[way]()
    ask(vae(), None)[way]()
    for wrong in (ask(vae(3), None), ask(vae(), CONTEXT), ask(vae(3), LABELS), ask(vae(3), torch.zeros(4, 5))):
        with pytest.raises(
            ValueError, match=r"cannot read what it is given, .* built for a context needs it, context="
        ):
            wrong[way]()


def test_a_convolutional_encoder_and_a_network_in_front_of_a_density_say_so_too():
    encoder = ConditionalNormal((2,), nn.Sequential(nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(8, 4)))
    model = VAE(encoder, ConditionalBernoulli((1, 4, 4), nn.Linear(5, 16)), StandardNormal((2,)), join=planes)
    assert lvmlib.elbo(model, torch.zeros(4, 1, 4, 4), context=CONTEXT).shape == (4,)
    with pytest.raises(ValueError, match="cannot read what it is given"):
        lvmlib.elbo(model, torch.zeros(4, 1, 4, 4))
    told = Given(ConditionalNormal((6,), nn.Linear(8, 12)), nn.Linear(3, 8))
    assert told.log_prob(X, CONTEXT).shape == (4,)
    with pytest.raises(ValueError, match="The network of Given cannot read"):
        told.log_prob(X, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="pass context="):
        told.log_prob(X)


def test_another_error_of_a_network_stays_what_it_was():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("something else")

    for density in (ConditionalNormal((2,), Broken()), Given(ConditionalNormal((2,), nn.Linear(1, 4)), Broken())):
        with pytest.raises(RuntimeError, match="something else"):
            density.log_prob(torch.zeros(1, 2), torch.zeros(1, 1))


def indifferent():
    layer = LinearGaussian(torch.ones(6, 1), torch.zeros(6), 1.0)
    return {
        "normal": StandardNormal((6,)),
        "uniform": StandardUniform((6,)),
        "mixture": MixtureOfGaussians((6,), 2),
        "toy": toy("rings"),
        "empty chain": Flow([], Flow([], StandardNormal((6,)))),
        "linear chain": Flow([layer], StandardNormal((1,))),
        "FVSBN": ar.FVSBN((6,)),
        "mixture of orders": ar.OrderingMixture(ar.MADE((6,), (8,), masks=2)),
    }


@pytest.mark.parametrize("name", indifferent())
def test_a_context_that_nothing_would_look_at_is_refused(name):
    model = indifferent()[name]
    x = X[:, : model.event_shape[0]]
    ways = {
        "log_prob": lambda context: model.log_prob(x, context),
        "elbo": lambda context: lvmlib.elbo(model, x, context=context),
        "iwae": lambda context: lvmlib.iwae(model, x, 3, context),
        "sample": lambda context: model.sample(4, context),
    }
    if any(p.requires_grad for p in model.parameters()):
        ways["fit"] = lambda c: lvmlib.fit(model, x if c is None else (x, c), steps=1, batch_size=2, progress=False)
    for way in ways.values():
        way(None)
        with pytest.raises(ValueError, match=r"takes no context|was built without a context"):
            way(CONTEXT)


def test_inside_of_a_conditional_model_such_parts_serve():
    """A standard normal base is given the context of its chain, in log_prob and in sampling, and needs none."""
    model = vae(3)
    assert not model.ignores_context and model.prior.ignores_context
    assert model.sample(4, CONTEXT).shape == (4, 6) and lvmlib.iwae(model, X, 3, CONTEXT).shape == (4,)
    told = VAE(model.pair.encoder, model.pair.decoder, Flow([], MixtureOfGaussians((2,), 3)))
    assert told.sample(4, CONTEXT).shape == (4, 6) and lvmlib.elbo(told, X, context=CONTEXT).shape == (4,)


def test_labels_that_come_with_data_reach_a_model_as_a_pair():
    data = Data(X, LABELS)
    made = ar.MADE((6,), (8,), context=3)
    with pytest.raises(ValueError, match=r"the labels of a Data go in as \(data, data\.y\)"):
        lvmlib.fit(made, data, steps=1, batch_size=2, progress=False)
    lvmlib.fit(made, (data, data.y), steps=1, batch_size=2, progress=False)
    with pytest.raises(ValueError, match="without a context"):
        lvmlib.fit(ar.MADE((6,), (8,)), (data, data.y), steps=1, batch_size=2, progress=False)


def test_a_loader_reads_data_and_fit_says_what_it_takes():
    grey = torch.arange(12, dtype=torch.uint8).view(6, 2) * 20
    data = Data(grey, binarize="stochastic")
    batches = list(DataLoader(Data(grey), batch_size=4))
    assert torch.equal(torch.cat(batches), grey) and [len(b) for b in batches] == [4, 2]
    drawn = next(iter(DataLoader(data, batch_size=6)))
    assert drawn.dtype == torch.float32 and set(drawn.unique().tolist()) <= {0.0, 1.0}
    assert data[-1].shape == (2,) and data[2:4].shape == (2, 2) and len(list(data)) == 6
    for out in (6, -7):
        with pytest.raises(IndexError, match=f"6 examples, but number {out}"):
            data[out]
    with pytest.raises(TypeError, match=r"but it is DataLoader\. Give what it loads from\."):
        lvmlib.fit(vae(), DataLoader(X), steps=1, batch_size=2, progress=False)
