"""The surgery of chapter 11 on six VAEs that pay different prices for their KL term.

    python -m lvmlib.experiments.surgery_terms

One small VAE for 20,000 images of binary MNIST, 784-200-10, trained with each beta. Each is one entry of
surgery_terms.json: the three terms over these images, rate and distortion on test images, what the aggregated posterior
of the training images would cost there as a prior, and the mutual information under the model's own joint. Entries that
are there are kept.
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.base import seed_everything
from lvmlib.bounds import distortion_and_rate, elbo, log_likelihood, mutual_information_bound
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.surgery import active_units, aggregated_posterior, decompose
from lvmlib.training import cosine, fit

BETAS, EXAMPLES, LATENTS, STEPS, RATE = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0), 20_000, 10, 2000, 3e-3
TEST, DRAWS, PAIRS = 1000, 200, 10_000  # test images, draws for their likelihood, pairs drawn from the model
OUT = SHIPPED / "surgery_terms.json"


def small_model() -> VAE:
    """A VAE for binary 28x28 images with one hidden layer of 200 on each side.

    Example:
        >>> from lvmlib.experiments.surgery_terms import small_model
        >>> small_model().sample(2).shape
        torch.Size([2, 1, 28, 28])
    """
    encoder = ConditionalNormal((LATENTS,), MLP(784, (200,), 2 * LATENTS, nn.SiLU))
    decoder = ConditionalBernoulli((1, 28, 28), MLP(LATENTS, (200,), 784, nn.SiLU))
    return VAE(encoder, decoder, StandardNormal((LATENTS,)))


def trained(beta: float, train: Data) -> VAE:
    """The same weights, batches and noise at first, whatever beta is."""
    seed_everything(0)
    model = small_model()
    loss = lambda model, x: -elbo(model, x, beta=beta)  # noqa: E731
    fit(model, train, loss, steps=STEPS, batch_size=100, lr=cosine(RATE, STEPS, warmup=100), progress=False)
    return model


@torch.no_grad()
def measured(model: VAE, train: Tensor, test: Tensor) -> dict[str, Any]:
    """All that the chapter prints of one model, in nats."""
    seed_everything(0)
    terms = decompose(model, train)
    own = {f"train_{name}": value.mean() for name, value in terms._asdict().items()}
    trace = model.trace(test, k=1)
    distortion, rate = distortion_and_rate(trace)
    fitted = trace.steps[0].log_q - aggregated_posterior(model, train).log_prob(trace.steps[0].z)
    nll = -log_likelihood(model, test, DRAWS)
    inside = mutual_information_bound(model, PAIRS)
    values = own | {
        "test_distortion": distortion.mean(),
        "test_rate": rate.mean(),
        "test_rate_of_the_aggregate": fitted.mean(),
        "test_nll": nll.mean(),
        "model_information": inside.mean(),
        "model_information_error": inside.std() / PAIRS**0.5,
    }
    found: dict[str, Any] = {name: round(value.item(), 3) for name, value in values.items()}
    return found | {"active_units": active_units(model, train)[0]}


def save(betas: dict[str, Any], examples: int) -> None:
    """Write the record: how the runs were made, and what each beta gave."""
    content = dict(
        **provenance(seed=0),
        training_minutes=round(sum(found["processor_minutes"] for found in betas.values()), 1),
        clock="processor time",
        data=f"MNIST, {examples:,} training images, fresh binarization at each use",
        examples=examples,
        protocol=f"{STEPS} steps of 100 images, Adam {RATE} with cosine decay; not converged",
        evaluation=f"surgery on all training images, one binary draw of seed 0, one code each; {TEST:,} test images; "
        f"likelihood from {DRAWS} draws; {PAIRS:,} pairs drawn from the model",
        betas=betas,
    )
    OUT.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Make the runs that the record does not have."""
    torch.set_num_threads(1)
    train, _, test = load("mnist", binarize="stochastic")
    train = train.subset(EXAMPLES)
    bits, few = train.fixed(seed=0).x, test.fixed(seed=0).x[:TEST]
    for beta in BETAS:
        betas = json.loads(OUT.read_text(encoding="utf-8"))["betas"] if OUT.exists() else {}
        if f"{beta:g}" not in betas:
            start = time.process_time()
            found = measured(trained(beta, train), bits, few)
            found["processor_minutes"] = round((time.process_time() - start) / 60, 2)
            save(betas | {f"{beta:g}": found}, len(train))
            print(beta, found, flush=True)


if __name__ == "__main__":
    main()
