"""Doors of models with latent variables and of what is asked of them; see test_doors."""

import torch
from torch import nn

import lvmlib
from lvmlib.distributions import StandardNormal


def line():
    layer = lvmlib.LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
    return lvmlib.Flow([layer], StandardNormal((1,)))


def vae(encoder):
    torch.manual_seed(0)
    decoder = lvmlib.ConditionalNormal((2,), nn.Linear(1, 2), 1.0)
    return lvmlib.VAE(encoder, decoder, StandardNormal((1,)))


def gaussian():
    return vae(lvmlib.ConditionalNormal((1,), nn.Linear(2, 2)))


def mixture():
    return vae(lvmlib.ConditionalMixture((1,), nn.Linear(2, 6), 2))


LATENT = {
    "LinearGaussian": (
        lambda scale: lvmlib.LinearGaussian(torch.ones(2, 1), torch.zeros(2), scale),
        {"scale": 0.5},
    ),
    "GaussianMixture": (lvmlib.GaussianMixture, {"event_shape": (2,), "components": 3, "floor": 0.25}),
    "PPCA": (lvmlib.PPCA, {"event_shape": (4,), "latents": 2, "scale": 0.5}),
    "PPCA.sample": (
        lambda n, temperature: lvmlib.PPCA((4,)).sample(n, None, temperature),
        {"n": 3, "temperature": 0.5},
    ),
    "em": (
        lambda rounds: torch.tensor([s[1:] for s in lvmlib.em(lvmlib.PPCA((4,), 1), torch.randn(9, 4), rounds)]),
        {"rounds": 2},
    ),
    "active_units": (
        lambda **o: torch.tensor(lvmlib.active_units(line(), torch.tensor([[-1.0], [1.0]]), **o)),
        {"k": 3, "threshold": 0.01, "rows": 10},
    ),
    "ConditionalMixture": (
        lambda **o: lvmlib.ConditionalMixture(network=nn.Linear(1, 15), **o),
        {"event_shape": (2,), "components": 3},
    ),
    "decompose": (
        lambda **o: torch.stack(lvmlib.decompose(line(), torch.ones(2, 1), **o)),
        {"k": 3, "layer": 0, "data_size": 5, "rows": 10},
    ),
    "aggregated_posterior": (
        lambda **o: lvmlib.aggregated_posterior(line(), torch.ones(2, 1), **o).log_prob(torch.ones(3, 1)),
        {"k": 3, "layer": 0, "rows": 10},
    ),
    "mutual_information_bound": (lambda n: lvmlib.mutual_information_bound(line(), n), {"n": 3}),
    "free_bits": (
        lambda **o: lvmlib.free_bits(gaussian(), torch.ones(2, 2), **o).detach(),
        {"floor": 0.5, "k": 3},
    ),
    "stratified_elbo": (lambda k: lvmlib.stratified_elbo(mixture(), torch.ones(2, 2), k).detach(), {"k": 3}),
    "VampPrior.sample": (
        lambda n, temperature: lvmlib.VampPrior(mixture().pair.encoder, torch.ones(2, 2)).sample(n, None, temperature),
        {"n": 3, "temperature": 0.5},
    ),
    "warmup": (lambda **o: torch.tensor(lvmlib.warmup(**o)(3)), {"steps": 10, "start": 0.25, "end": 0.5}),
    "cyclical": (
        lambda **o: torch.tensor(lvmlib.cyclical(**o)(3)),
        {"period": 10, "rise": 0.5, "start": 0.25, "end": 0.75},
    ),
}
