"""Every public door takes the numbers of Python, NumPy and torch alike, and refuses anything else in one sentence."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn

import lvmlib
from lvmlib import autoregressive as ar
from lvmlib import flows
from lvmlib.data import Data, mu_law_decode, mu_law_encode
from lvmlib.distributions import StandardNormal, StandardUniform
from lvmlib.generators import forked_generators
from lvmlib.networks import MLP, ConvDecoder, ConvEncoder, MaskedMLP
from lvmlib.toys import toy
from tests.flow_doors import FLOWS
from tests.latent_doors import LATENT

X = torch.tensor([[0.0, 1.0, 1.0, 0.0]] * 3)


def line():
    torch.manual_seed(0)
    layer = lvmlib.LinearGaussian(torch.tensor([[1.0]]), torch.zeros(1), 1.0)
    return lvmlib.Flow([layer], StandardNormal((1,)))


def bits():
    torch.manual_seed(0)
    encoder = lvmlib.ConditionalBernoulli((3,), nn.Linear(2, 3))
    return lvmlib.VAE(encoder, lvmlib.ConditionalNormal((2,), nn.Linear(3, 2), 1.0), lvmlib.FactorisedBernoulli((3,)))


def bits_of_bits():
    torch.manual_seed(0)
    encoder, decoder = (
        lvmlib.ConditionalNormal((1,), nn.Linear(2, 2)),
        lvmlib.ConditionalBernoulli((2,), nn.Linear(1, 2)),
    )
    return lvmlib.VAE(encoder, decoder, StandardNormal((1,)))


def autoencoder():
    return lvmlib.DensityAutoencoder(nn.Linear(2, 3), ar.FVSBN((2,), context=3))


def two_grids():
    top, bottom = ar.FVSBN((1, 1, 2)), told()
    return lvmlib.TwoLevelPrior(top, bottom, ar.CodeMap((1, 1, 2), 2, 2))


def bound_by(name, model, x):
    return lambda **options: vars(lvmlib)[name](model(), x, **options)


def controlled(estimator, network=None):
    return lambda k: estimator(bits(), torch.ones(2, 2), lvmlib.ControlVariate(network), k)


def noisy_gradient(n):
    m = torch.ones(1, requires_grad=True)
    return lvmlib.gradient_moments(lambda: m * torch.randn(1), [m], n).mean


def told(event_shape=(1, 4, 4)):
    return ar.GatedPixelCNN(event_shape, channels=4, layers=1, context=(2, 4, 4))


def fit(**options):
    torch.manual_seed(0)
    history = lvmlib.fit(ar.FVSBN((4,)), X, valid=X, progress=False, **options)
    return torch.tensor(history.loss + history.valid_loss)


def two_levels(build, **sizes):
    return build, {"event_shape": (1, 4, 4), "levels": 2, "logistics": 0, "context": 3, **sizes}


def loss_of_fork(seed):
    with forked_generators(seed):
        return torch.rand(2)


q = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2, 1), 1.0), 1)
p = torch.distributions.Independent(torch.distributions.Bernoulli(torch.full((2, 1), 0.5)), 1)
grey = Data(torch.arange(12, dtype=torch.uint8).view(6, 2) * 20, binarize="stochastic")
steps = {"steps": 4, "batch_size": 2, "lr": 0.125, "clip_norm": 0.5, "average": 0.5, "valid_every": 2}


# Of each door: what is called, and its arguments; those that are numbers are tried.
DOORS = {
    "FVSBN": two_levels(ar.FVSBN),
    "MADE": two_levels(ar.MADE, hidden=(8, 8), masks=2, seed=3),
    "RNN": two_levels(ar.RNN, hidden=4, layers=2),
    "CausalTransformer": two_levels(ar.CausalTransformer, channels=4, heads=2, layers=1, kernel=2, dropout=0.5),
    "PatchTransformer": two_levels(
        ar.PatchTransformer, patch=2, channels=4, heads=2, layers=1, hidden=(4,), kernel=2, dropout=0.5
    ),
    "WaveNet": two_levels(ar.WaveNet, channels=4, layers=2, stacks=2, kernel=3),
    "PixelCNN": two_levels(ar.PixelCNN, channels=4, layers=2, kernel=3),
    "GatedPixelCNN": two_levels(ar.GatedPixelCNN, channels=4, layers=2, kernel=3),
    "PixelRNN": two_levels(ar.PixelRNN, channels=4, layers=2, kernel=3),
    "PixelCNNpp": two_levels(ar.PixelCNNpp, channels=4, layers=1, halvings=1, dropout=0.5),
    "PixelSNAIL": two_levels(ar.PixelSNAIL, channels=4, blocks=1, layers=1, heads=2, dropout=0.5),
    "Autoregressive": two_levels(ar.Autoregressive),
    "raster_order": (ar.raster_order, {"event_shape": (2, 1, 3)}),
    "MaskedConv2d": (
        ar.MaskedConv2d,
        {"inputs": 2, "outputs": 4, "kernel": 3, "mask_type": "A", "colours": 2, "copies": 2},
    ),
    "Colourisation": (lambda **o: ar.Colourisation(told((3, 4, 4)), **o), {"width": 4, "layers": 1}),
    "Inpainting": (lambda **o: ar.Inpainting(told(), **o), {"width": 4, "layers": 1}),
    "SuperResolution": (lambda **o: ar.SuperResolution(told(), **o), {"factor": 2}),
    "MultiScale": (
        lambda **o: ar.MultiScale(ar.FVSBN((1, 2, 2)), **o),
        {"doublings": 1, "channels": 4, "layers": 1},
    ),
    "HierarchicalPixelModel": (
        lambda **o: ar.HierarchicalPixelModel(ar.FVSBN((1, 2, 2)), told(), **o),
        {"channels": 4},
    ),
    "CodeMap": (
        ar.CodeMap,
        {"event_shape": (1, 2, 3), "levels": 5, "features": 4, "scale": 2, "context": 3},
    ),
    "Codebook": (lvmlib.Codebook, {"size": 5, "width": 3, "decay": 0.5, "restart": 0.25}),
    "VQVAE": (
        lambda **o: lvmlib.VQVAE(nn.Conv2d(1, 3, 2, 2), told(), lvmlib.FactorisedCodes((1, 2, 2), 5), **o),
        {"width": 3, "commitment": 0.5, "decay": 0.5, "restart": 0.25},
    ),
    "VQVAE2": (
        lambda **o: lvmlib.VQVAE2(nn.Identity(), nn.Identity(), nn.Identity(), told(), two_grids(), **o),
        {"width": 3, "commitment": 0.5, "decay": 0.5, "restart": 0.25},
    ),
    "VQVAE.codes": (
        lambda rows: lvmlib.VQVAE(nn.Conv2d(1, 3, 2, 2), told(), lvmlib.FactorisedCodes((1, 2, 2), 5), 3).codes(
            torch.ones(3, 1, 4, 4), rows
        ),
        {"rows": 2},
    ),
    "DensityAutoencoder.draws": (lambda n: autoencoder().draws(torch.ones(3, 2), n), {"n": 4}),
    "DensityAutoencoder.mean": (lambda n: autoencoder().mean(torch.ones(3, 2), n), {"n": 4}),
    "perplexity": (lambda size: lvmlib.perplexity(torch.tensor([1, 2, 1]), size), {"size": 4}),
    "FactorisedCodes": (lvmlib.FactorisedCodes, {"event_shape": (1, 2), "levels": 3}),
    "bits_back_encode": (
        lambda **o: torch.tensor(list(lvmlib.bits_back_encode(bits_of_bits(), torch.ones(3, 2), **o))),
        {"bins": 16, "rows": 2},
    ),
    "bits_back_decode": (
        lambda **o: lvmlib.bits_back_decode(
            bits_of_bits(), lvmlib.bits_back_encode(bits_of_bits(), torch.ones(3, 2), 16, 2), **o
        )[0],
        {"bins": 16, "rows": 2},
    ),
    "Density": (lvmlib.Density, {"event_shape": (2, 3)}),
    "StandardNormal": (StandardNormal, {"event_shape": (2, 3)}),
    "StandardUniform": (StandardUniform, {"event_shape": (2, 3)}),
    "MixtureOfGaussians": (lvmlib.MixtureOfGaussians, {"event_shape": (2,), "components": 3, "floor": 0.25}),
    "ConditionalNormal": (
        lambda **o: lvmlib.ConditionalNormal(network=nn.Linear(1, 2), **o),
        {"event_shape": (2,), "scale": 0.5},
    ),
    "ConditionalBernoulli": (
        lambda **o: lvmlib.ConditionalBernoulli(network=nn.Linear(1, 2), **o),
        {"event_shape": (2,)},
    ),
    "ConditionalCategorical": (
        lambda **o: lvmlib.ConditionalCategorical(network=nn.Linear(1, 6), **o),
        {"event_shape": (2, 3)},
    ),
    "FactorisedBernoulli": (lvmlib.FactorisedBernoulli, {"event_shape": (2, 3)}),
    "FactorisedCategorical": (lvmlib.FactorisedCategorical, {"event_shape": (2, 3)}),
    "ConditionalDiscretizedLogistic": (
        lambda **o: lvmlib.ConditionalDiscretizedLogistic(network=nn.Linear(1, 4), **o),
        {"event_shape": (2,), "levels": 16},
    ),
    "DiscretizedLogistic": (
        lambda levels: lvmlib.DiscretizedLogistic(torch.ones(2), torch.ones(2), levels).log_prob(torch.ones(2)),
        {"levels": 16},
    ),
    "DiscretizedLogisticMixture": (
        lambda levels: lvmlib.DiscretizedLogisticMixture(torch.ones(2), torch.ones(2), torch.ones(2), levels).mean,
        {"levels": 16},
    ),
    "annealed_log_likelihood": (
        lambda **o: lvmlib.annealed_log_likelihood(line(), torch.ones(2, 1), **o),
        {"k": 3, "temperatures": 4, "leapfrog": 2, "step": 0.25},
    ),
    "MLP": (MLP, {"inputs": 3, "hidden": (4, 5), "outputs": 2}),
    "MaskedMLP": (
        MaskedMLP,
        {"dims": 4, "hidden": (4, 5), "outputs": 2, "context": 3, "masks": 2, "seed": 1, "degrees": "random"},
    ),
    "ConvEncoder": (ConvEncoder, {"event_shape": (1, 4, 4), "channels": (2, 3), "outputs": 2}),
    "ConvDecoder": (ConvDecoder, {"inputs": 2, "channels": (2, 3), "event_shape": (1, 4, 4)}),
    "Data": (lambda levels: grey.batch(slice(0, 2)) * 0 + Data(grey.x, levels=levels).levels, {"levels": 17}),
    "Data.subset": (lambda index: grey.subset(index).x, {"index": 4}),
    "Data.batch": (lambda index: grey.batch(index), {"index": 4}),
    "Data.fixed": (lambda seed: grey.fixed(seed).x, {"seed": 4}),
    "load": (lambda valid: lvmlib.load("digits", valid=valid)[1].x, {"valid": 7}),
    "mu_law_encode": (lambda levels: mu_law_encode(torch.linspace(-1, 1, 7), levels), {"levels": 17}),
    "mu_law_decode": (lambda levels: mu_law_decode(torch.arange(17), levels), {"levels": 17}),
    "bits_per_dim": (lambda event_shape: lvmlib.bits_per_dim(torch.ones(2), event_shape), {"event_shape": (2, 3)}),
    "seed_everything": (lambda seed: lvmlib.seed_everything(seed) or torch.rand(2), {"seed": 4}),
    "forked_generators": (loss_of_fork, {"seed": 4}),
    "draw": (lambda n: lvmlib.draw(q, n)[0], {"n": 3}),
    "draw_constant": (lambda n: lvmlib.draw_constant(p, n)[0], {"n": 3}),
    "elbo": (lambda **o: lvmlib.elbo(line(), torch.ones(2, 1), **o), {"k": 3, "beta": 0.5}),
    "iwae": (lambda **o: lvmlib.iwae(line(), torch.ones(2, 1), **o), {"k": 3}),
    "log_likelihood": (lambda **o: lvmlib.log_likelihood(line(), torch.ones(2, 1), **o), {"k": 3, "rows": 4}),
    **{
        name: (bound_by(name, line, torch.ones(2, 1)), {"k": 3})
        for name in ("reparameterization", "stl", "dreg", "single_backward_iwae")
    },
    **{
        name: (bound_by(name, bits, torch.ones(2, 2)), {"k": 3})
        for name in ("rloo", "vimco", "straight_through", "optimal_baseline")
    },
    "score_function": (
        lambda **o: lvmlib.score_function(bits(), torch.ones(2, 2), **o),
        {"k": 3, "baseline": torch.tensor(-2.0)},  # which may be negative
    ),
    "gumbel_softmax": (
        lambda **o: lvmlib.gumbel_softmax(bits(), torch.ones(2, 2), **o),
        {"k": 3, "temperature": 0.5},
    ),
    "nvil": (lambda k: lvmlib.nvil(bits(), torch.ones(2, 2), lvmlib.NVILBaseline(nn.Linear(2, 1)), k), {"k": 3}),
    "rebar": (controlled(lvmlib.rebar), {"k": 3}),
    "relax": (controlled(lvmlib.relax, nn.Linear(5, 1)), {"k": 3}),
    "RunningBaseline": (lvmlib.RunningBaseline, {"decay": 0.5}),
    "NVILBaseline": (lambda decay: lvmlib.NVILBaseline(nn.Linear(2, 1), decay), {"decay": 0.5}),
    "ControlVariate": (lvmlib.ControlVariate, {"temperature": 0.5, "scale": torch.tensor(-1.0)}),
    "gradient_moments": (noisy_gradient, {"n": 3}),
    "implicit_posterior": (
        lambda **o: lvmlib.implicit_posterior(line(), torch.ones(2, 1), **o),
        {"k": 3, "n": 2, "rows": 5},
    ),
    "inference_gaps": (
        lambda **o: lvmlib.inference_gaps(line(), torch.ones(2, 1), **o).best,
        {"steps": 2, "lr": 0.125, "k": 3, "draws": 4},
    ),
    "cosine": (
        lambda **o: torch.tensor(float(lvmlib.cosine(**o)(3))),
        {"peak": 0.5, "steps": 10, "warmup": 5},
    ),
    "arithmetic_decode": (
        lambda length: lvmlib.arithmetic_decode(lambda prefix: [0.5, 0.5], b"\xa0", length),
        {"length": 3},
    ),
    "fit": (fit, {**steps, "patience": 2, "checkpoint_every": 1, "seed": 3}),
    "Flow.trace": (lambda k: line().trace(torch.ones(2, 1), k=k).z, {"k": 3}),
    "Flow.log_weights": (lambda k: line().log_weights(torch.ones(2, 1), k), {"k": 3}),
    "Flow.sample": (lambda n, temperature: line().sample(n, None, temperature), {"n": 3, "temperature": 0.5}),
    "Density.log_weights": (lambda k: StandardNormal((2,)).log_weights(torch.ones(2, 2), k), {"k": 3}),
    "Density.sample": (
        lambda n, temperature: StandardNormal((2,)).sample(n, None, temperature),
        {"n": 3, "temperature": 0.5},
    ),
    "Density.rsample_with_log_prob": (lambda n: StandardNormal((2,)).rsample_with_log_prob(n)[0], {"n": 3}),
    "MixtureOfGaussians.sample": (
        lambda n, temperature: lvmlib.MixtureOfGaussians((2,)).sample(n, None, temperature),
        {"n": 3, "temperature": 0.5},
    ),
    "toy.sample": (lambda n: toy("rings").sample(n), {"n": 3}),
    "Autoregressive.sample": (
        lambda n, temperature: ar.FVSBN((4,)).sample(n, None, temperature),
        {"n": 3, "temperature": 0.5},
    ),
    "Autoregressive.complete": (
        lambda known, temperature: ar.FVSBN((4,)).complete(X, known, None, temperature),
        {"known": 2, "temperature": 0.5},
    ),
    "OrderingMixture": (
        lambda n, temperature: ar.OrderingMixture(ar.MADE((4,), (8,), masks=2)).sample(n, None, temperature),
        {"n": 3, "temperature": 0.5},
    ),
    "MADE.use": (lambda mask_set: ar.MADE((4,), (8,), masks=3).use(mask_set) or torch.zeros(1), {"mask_set": 2}),
    **FLOWS,
    **LATENT,
    "entropy": (lambda base: lvmlib.entropy(torch.tensor([0.25, 0.75]), base), {"base": 4.0}),
}
OTHER_BASES = {name for name in lvmlib.__all__ if name in lvmlib.information.__all__}


def result(door, **changed):
    call, arguments = DOORS[door]
    torch.manual_seed(0)
    value = call(**{**arguments, **changed})
    return list(value.state_dict().values()) if isinstance(value, nn.Module) else [value]


def cases(kind):
    return [
        pytest.param(door, name, value, id=f"{door}-{name}")
        for door, (_, arguments) in DOORS.items()
        for name, value in arguments.items()
        if type(value) is kind
    ]


@pytest.mark.parametrize(("door", "name", "value"), cases(int))
def test_whole_numbers(door, name, value):
    plain = result(door)
    for same in (np.int64(value), np.uint8(value), np.array(value), torch.tensor(value)):
        torch.testing.assert_close(result(door, **{name: same}), plain, rtol=0, atol=0)
    wrong = [value + 0.5, float(value), np.float32(value), True, "3", {3}]
    wrong += [] if door == "Data.batch" or name == "index" else [(2.5,), (value, "a")]
    for bad in wrong:
        with pytest.raises(ValueError, match=rf"{name}.* must be .*, but it is"):
            result(door, **{name: bad})


@pytest.mark.parametrize(("door", "name", "value"), cases(tuple))
def test_several_whole_numbers(door, name, value):
    plain = result(door)
    for same in (
        list(value),
        np.array(value),
        torch.tensor(value),
        tuple(np.int64(v) for v in value),
        torch.Size(value),
    ):
        torch.testing.assert_close(result(door, **{name: same}), plain, rtol=0, atol=0)
    nothing = [] if door == "Elementwise" else [None]  # which stands for any shape there
    for bad in (3, "ab", tuple(float(v) for v in value), (*value[1:], 0), (*value[1:], True), *nothing):
        with pytest.raises(ValueError, match=rf"{name}.* must be .*, but it is"):
            result(door, **{name: bad})


@pytest.mark.parametrize(("door", "name", "value"), cases(float))
def test_numbers(door, name, value):
    plain = result(door)
    for same in (np.float32(value), np.float64(value), np.array(value), torch.tensor(value)):
        if door == "entropy" and not isinstance(same, np.floating):
            continue  # the floor of pure functions takes numbers alone
        torch.testing.assert_close(result(door, **{name: same}), plain)
    for bad in (True, "0.5", (value,), float("nan"), -value):
        with pytest.raises(ValueError, match=name):
            result(door, **{name: bad})


def test_every_public_door_with_a_number_is_tried():
    for name in {*lvmlib.__all__, *ar.__all__, *flows.__all__} - OTHER_BASES:
        thing = vars(lvmlib).get(name) or vars(ar if name in ar.__all__ else flows)[name]
        numbers = {
            parameter.name
            for parameter in inspect.signature(thing).parameters.values()
            if any(word in str(parameter.annotation) for word in ("int", "float"))
            and parameter.name not in ("order", "p", "before_step")  # no numbers of this kind
        }
        assert numbers <= DOORS.get(name, (None, {}))[1].keys(), name
