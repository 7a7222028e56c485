"""One loop trains with every estimator; parameters that an estimator needs are trained along."""

import math

import pytest
import torch
from torch import nn

from lvmlib import estimators as e
from lvmlib.base import seed_everything
from lvmlib.bounds import log_likelihood
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, FactorisedBernoulli, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.training import fit

PATTERNS = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]])
DATA = PATTERNS.repeat(16, 1)  # log 4 = 1.386 nats at best; coins of their own need 4.16

DISCRETE = {
    "score_function": lambda m, x: -e.score_function(m["vae"], x, 4, m["running"]),
    "learned": lambda m, x: -e.score_function(m["vae"], x, 4, m["learned"]),
    "rloo": lambda m, x: -e.rloo(m["vae"], x, 4),
    "nvil": lambda m, x: -e.nvil(m["vae"], x, m["nvil"], 4),
    "vimco": lambda m, x: -e.vimco(m["vae"], x, 4),
    "gumbel_softmax": lambda m, x: -e.gumbel_softmax(m["vae"], x, 4, 0.5),
    "straight_through": lambda m, x: -e.straight_through(m["vae"], x, 4),
    "rebar": lambda m, x: -e.rebar(m["vae"], x, m["rebar"], 4),
    "relax": lambda m, x: -e.relax(m["vae"], x, m["relax"], 4),
}
CONTINUOUS = {
    "reparameterization": lambda m, x: -e.reparameterization(m["vae"], x, 4),
    "stl": lambda m, x: -e.stl(m["vae"], x),
    "dreg": lambda m, x: -e.dreg(m["vae"], x, 4),
    "single_backward_iwae": lambda m, x: -e.single_backward_iwae(m["vae"], x, 4),
}


def model(discrete):
    decoder = ConditionalBernoulli((6,), MLP(3, (16,), 6, nn.Tanh))
    if discrete:
        vae = VAE(ConditionalBernoulli((3,), MLP(6, (16,), 3)), decoder, FactorisedBernoulli((3,)))
    else:
        vae = VAE(ConditionalNormal((3,), MLP(6, (16,), 6)), decoder, StandardNormal((3,)))
    parts = {"vae": vae, "running": e.RunningBaseline(), "learned": e.LearnedBaseline(MLP(6, (8,), 1))}
    parts["nvil"] = e.NVILBaseline(MLP(6, (8,), 1))
    parts["rebar"], parts["relax"] = e.ControlVariate(), e.ControlVariate(MLP(9, (8,), 1))
    return nn.ModuleDict(parts)


@pytest.mark.parametrize("name", [*DISCRETE, *CONTINUOUS])
def test_training_reaches_far_below_what_pixels_alone_cost(name):
    seed_everything(0)
    m = model(name in DISCRETE)
    loss = {**DISCRETE, **CONTINUOUS}[name]
    before = {key: p.clone() for key, p in m.named_parameters()}
    fit(m, DATA, loss, steps=120, batch_size=16, lr=0.03, valid=DATA, progress=False)
    nll = -log_likelihood(m["vae"], PATTERNS, 200).mean().item()
    assert math.log(4) - 0.1 < nll < 2.8
    moved = {key.split(".")[0] for key, p in m.named_parameters() if not torch.equal(p, before[key])}
    assert moved == {"vae", *({name} & {"learned", "nvil", "rebar", "relax"})}
