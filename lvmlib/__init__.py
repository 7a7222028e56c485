"""Deep latent-variable and likelihood-based generative models, built from layers that each pay their share of log p.

The floors, from the ground up; a file imports only from floors below its own or from its own folder:

====== ============================================================ ====================================
floor  modules                                                      what for
====== ============================================================ ====================================
0      ``information``                                              pure functions of probabilities
1      ``checks``, ``draws``, ``base``, ``stochastic``,             the one idea, from density to chain;
       ``trace``, ``chain``, ``data``, ``downloads``,               data sets; random numbers
       ``generators``
2      ``distributions``, ``networks``, ``toys``                    the parts of models
3      ``autoregressive``, ``flows``                                models whose likelihood is exact
4      ``latent``                                                   models with stochastic layers
5      ``bounds``, ``annealed``, ``estimators``, ``objectives``,    what is asked of any model
       ``evaluation``, ``surgery``, ``compression``
6      ``training``, ``runs``, ``schedules``, ``checkpoints``,      what is done with a model
       ``plotting``
7      ``experiments``, ``homework``, ``cli``                       the runs behind the shipped weights;
                                                                    homework, its grader, its command
====== ============================================================ ====================================

``lvmlib.plotting`` needs matplotlib and is imported by name.
"""

from importlib.metadata import PackageNotFoundError, version

from lvmlib.annealed import annealed_log_likelihood
from lvmlib.autoregressive import (
    FVSBN,
    MADE,
    RNN,
    Autoregressive,
    CausalTransformer,
    CodeMap,
    GatedPixelCNN,
    MaskedConv2d,
    OrderingMixture,
    PatchTransformer,
    PixelCNN,
    PixelCNNpp,
    PixelRNN,
    PixelSNAIL,
    WaveNet,
)
from lvmlib.base import Density, Given, Transform, bits_per_dim, seed_everything
from lvmlib.bounds import effective_sample_size, elbo, iwae, log_likelihood, mutual_information_bound
from lvmlib.chain import Chain, Flow, Inverse
from lvmlib.checkpoints import load_checkpoint, save_checkpoint
from lvmlib.compression import arithmetic_decode, arithmetic_encode, bits_back_decode, bits_back_encode, huffman_code
from lvmlib.data import Data, load
from lvmlib.distributions import (
    ConditionalBernoulli,
    ConditionalCategorical,
    ConditionalDiscretizedLogistic,
    ConditionalMixture,
    ConditionalNormal,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    FactorisedBernoulli,
    FactorisedCategorical,
    FactorisedCodes,
    MixtureOfGaussians,
    StandardNormal,
    StandardUniform,
)
from lvmlib.draws import draw, draw_constant, frozen
from lvmlib.estimators import (
    ControlVariate,
    LearnedBaseline,
    NVILBaseline,
    RunningBaseline,
    dreg,
    gumbel_softmax,
    nvil,
    optimal_baseline,
    rebar,
    relax,
    reparameterization,
    rloo,
    score_function,
    single_backward_iwae,
    stl,
    straight_through,
    vimco,
)
from lvmlib.evaluation import gradient_moments, implicit_posterior, inference_gaps
from lvmlib.flows import (
    ActNorm,
    AdditiveCoupling,
    Affine,
    AffineCoupling,
    ContinuousFlow,
    Dequantize,
    Elementwise,
    InverseAutoregressive,
    Invertible1x1Conv,
    Logit,
    MaskedAutoregressive,
    MixtureCDF,
    MixtureLogisticCoupling,
    Permutation,
    Reverse,
    SplineCoupling,
    Split,
    Squeeze,
    VariationalDequantize,
    ffjord,
    flowpp,
    glow,
    iaf,
    maf,
    nice,
    nsf,
    realnvp,
)
from lvmlib.information import (
    cross_entropy,
    entropy,
    gaussian_entropy,
    gaussian_kl,
    js_divergence,
    kl_divergence,
    mutual_information,
    self_information,
)
from lvmlib.latent import (
    PPCA,
    VAE,
    VQVAE,
    VQVAE2,
    Autoencoder,
    Codebook,
    DensityAutoencoder,
    GaussianMixture,
    HierarchicalVAE,
    LinearGaussian,
    OneHotCodes,
    PixelVAE,
    TwoLevelPrior,
    VampPrior,
    em,
    perplexity,
)
from lvmlib.networks import MLP
from lvmlib.objectives import free_bits, stratified_elbo
from lvmlib.schedules import Scheduled, cyclical, warmup
from lvmlib.stochastic import Stochastic
from lvmlib.surgery import active_units, aggregated_posterior, decompose
from lvmlib.training import Objective, cosine, fit

try:
    __version__ = version("lvmlib")
except PackageNotFoundError:  # imported from a folder that was never installed
    __version__ = "unknown"

__all__ = [
    "FVSBN",
    "MADE",
    "MLP",
    "PPCA",
    "RNN",
    "VAE",
    "VQVAE",
    "VQVAE2",
    "ActNorm",
    "AdditiveCoupling",
    "Affine",
    "AffineCoupling",
    "Autoencoder",
    "Autoregressive",
    "CausalTransformer",
    "Chain",
    "CodeMap",
    "Codebook",
    "ConditionalBernoulli",
    "ConditionalCategorical",
    "ConditionalDiscretizedLogistic",
    "ConditionalMixture",
    "ConditionalNormal",
    "ContinuousFlow",
    "ControlVariate",
    "Data",
    "Density",
    "DensityAutoencoder",
    "Dequantize",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Elementwise",
    "FactorisedBernoulli",
    "FactorisedCategorical",
    "FactorisedCodes",
    "Flow",
    "GatedPixelCNN",
    "GaussianMixture",
    "Given",
    "HierarchicalVAE",
    "Inverse",
    "InverseAutoregressive",
    "Invertible1x1Conv",
    "LearnedBaseline",
    "LinearGaussian",
    "Logit",
    "MaskedAutoregressive",
    "MaskedConv2d",
    "MixtureCDF",
    "MixtureLogisticCoupling",
    "MixtureOfGaussians",
    "NVILBaseline",
    "Objective",
    "OneHotCodes",
    "OrderingMixture",
    "PatchTransformer",
    "Permutation",
    "PixelCNN",
    "PixelCNNpp",
    "PixelRNN",
    "PixelSNAIL",
    "PixelVAE",
    "Reverse",
    "RunningBaseline",
    "Scheduled",
    "SplineCoupling",
    "Split",
    "Squeeze",
    "StandardNormal",
    "StandardUniform",
    "Stochastic",
    "Transform",
    "TwoLevelPrior",
    "VampPrior",
    "VariationalDequantize",
    "WaveNet",
    "active_units",
    "aggregated_posterior",
    "annealed_log_likelihood",
    "arithmetic_decode",
    "arithmetic_encode",
    "bits_back_decode",
    "bits_back_encode",
    "bits_per_dim",
    "cosine",
    "cross_entropy",
    "cyclical",
    "decompose",
    "draw",
    "draw_constant",
    "dreg",
    "effective_sample_size",
    "elbo",
    "em",
    "entropy",
    "ffjord",
    "fit",
    "flowpp",
    "free_bits",
    "frozen",
    "gaussian_entropy",
    "gaussian_kl",
    "glow",
    "gradient_moments",
    "gumbel_softmax",
    "huffman_code",
    "iaf",
    "implicit_posterior",
    "inference_gaps",
    "iwae",
    "js_divergence",
    "kl_divergence",
    "load",
    "load_checkpoint",
    "log_likelihood",
    "maf",
    "mutual_information",
    "mutual_information_bound",
    "nice",
    "nsf",
    "nvil",
    "optimal_baseline",
    "perplexity",
    "realnvp",
    "rebar",
    "relax",
    "reparameterization",
    "rloo",
    "save_checkpoint",
    "score_function",
    "seed_everything",
    "self_information",
    "single_backward_iwae",
    "stl",
    "straight_through",
    "stratified_elbo",
    "vimco",
    "warmup",
]
