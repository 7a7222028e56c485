"""The plan of the book: its parts and chapters, what each is about and how many hours it takes.

The map of the models and the syllabus are drawn from here; which chapters exist, Sphinx knows.
"""

from __future__ import annotations

from dataclasses import dataclass

PARTS = {1: "Foundations", 2: "Everything observed", 3: "Latent variables", 4: "Beyond"}


@dataclass(frozen=True)
class Chapter:
    """One chapter: its name, a few words for the map, its part, hours of lecture and of study, and its contents."""

    name: str
    about: str
    part: int
    lecture: int
    study: int
    contents: str


CHAPTERS = {
    1: Chapter(
        "Information theory",
        "how many bits, how many nats",
        1,
        4,
        7,
        "Surprise and entropy; symbol codes, Kraft and Huffman; arithmetic coding; cross-entropy and divergence; "
        "maximum entropy; mutual information and its variational bound.",
    ),
    2: Chapter(
        "Generative modelling",
        "what a model of data owes us",
        1,
        3,
        7,
        "What a generative model is, its two objectives, the taxonomy; what joint models are good for; what a model "
        "owes; nats and bits per dimension; why counting, Bayes nets and mixtures fail on images.",
    ),
    3: Chapter(
        "Autoregressive models",
        "one coordinate after another",
        2,
        4,
        8,
        "The chain rule; recurrence, convolution and attention; MADE and its masks; the transformer; sampling with "
        "a cache; compression with a trained model.",
    ),
    4: Chapter(
        "Pixel models",
        "images by convolution",
        2,
        3,
        7,
        "PixelRNN and PixelCNN, the blind spot and its cure; mixtures of discretized logistics; attention; "
        "colour; super-resolution and completion.",
    ),
    5: Chapter(
        "Flows I",
        "change of variables",
        2,
        4,
        6,
        "Change of variables in one, two and many dimensions; which functions may be layers; universality; triangular "
        "maps; masked and inverse autoregressive flows, what each direction costs, and what they buy on real data.",
    ),
    6: Chapter(
        "Flows II",
        "deep bijections",
        2,
        4,
        6,
        "RealNVP, Glow, Flow++ and splines; continuous flows; dequantization; a flow as a VAE with deterministic "
        "encoder and decoder.",
    ),
    7: Chapter(
        "Latent-variable models",
        "the bound, and EM",
        3,
        3,
        6,
        "Why latent variables; Monte Carlo and importance sampling; the evidence lower bound three ways; EM; "
        "amortised inference and its gap.",
    ),
    8: Chapter(
        "Variational autoencoders",
        "amortised inference",
        3,
        4,
        6,
        "Autoencoders; a VAE by hand; the gap of its bound; rate and distortion; decoders; what codes and their axes "
        "mean; convolutions, conditions, richer posteriors.",
    ),
    9: Chapter(
        "Importance weights",
        "tighter bounds",
        3,
        2,
        4,
        "The importance-weighted bound and its gap; what the encoder learns; signal-to-noise of its gradient and the "
        "two estimators that mend it.",
    ),
    10: Chapter(
        "Gradient estimators",
        "through a draw",
        3,
        3,
        5,
        "Score function and pathwise derivative; baselines and control variates; discrete latents: NVIL, "
        "VIMCO, Gumbel-softmax, REBAR and RELAX.",
    ),
    11: Chapter(
        "ELBO surgery",
        "priors and collapse",
        3,
        3,
        5,
        "Aggregated posterior and mutual information; the optimal prior; VampPrior and learned priors; posterior "
        "collapse and its remedies.",
    ),
    12: Chapter(
        "Discrete codes, expressive decoders",
        "VQ-VAE, PixelVAE, bits-back coding",
        4,
        3,
        6,
        "VQ-VAE and VQ-VAE-2; PixelVAE; autoencoders with autoregressive decoders; bits-back coding.",
    ),
}
