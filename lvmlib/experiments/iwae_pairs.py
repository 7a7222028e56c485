"""What the IWAE of chapter 09 loses at few draws, and why: three gradients, two encoders, and noise on digits.

    python -m lvmlib.experiments.iwae_pairs --seed 0

The two networks, data, steps and rate of chapter 09, k = 5. Trains by the VAE's bound, by the IWAE's, and by the IWAE's
with the doubly reparameterised gradient; then freezes the IWAE's decoder and trains copies of its encoder further, one
by L_1 and one by L_5. Every seed is one entry of iwae_pairs.json; seeds that are there are not run again.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.base import seed_everything
from lvmlib.bounds import effective_sample_size, iwae
from lvmlib.checkpoints import SHIPPED, provenance
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.estimators import dreg, single_backward_iwae
from lvmlib.evaluation import gradient_moments
from lvmlib.latent import VAE

Bound = Callable[[VAE, Tensor, int], Tensor]
K, STEPS, RATE, REFIT_STEPS, REFIT_RATE = 5, 2000, 5e-3, 1000, 1e-3
IMAGES, GRADIENTS = 500, 150
DRAWS = (1, 2, 5, 10, 20, 50, 100, 250, 500)  # in the evaluation; all of them divide the last
ESTIMATORS: dict[str, Bound] = {"IWAE": iwae, "DReG": dreg, "one draw": single_backward_iwae}
OUT = SHIPPED / "iwae_pairs.json"


def outside(model: VAE, x: Tensor, k: int) -> Tensor:
    """The VAE's bound with k draws: the mean of the log-weights."""
    return model.log_weights(x, k=k).mean(0)


def small_model() -> VAE:
    """The networks of chapter 09, made in its order, so that a seed gives the same weights."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 200), nn.SiLU(), nn.Linear(200, 40))
    decoder = nn.Sequential(nn.Linear(20, 200), nn.SiLU(), nn.Linear(200, 784))
    q, p = ConditionalNormal((20,), encoder), ConditionalBernoulli((1, 28, 28), decoder)
    return VAE(q, p, StandardNormal((20,)))


def climb(
    model: VAE, parameters: list[nn.Parameter], bound: Bound, k: int, data: Data, steps: int, rate: float
) -> None:
    """Adam with cosine decay on minus the bound, batches of 100."""
    optimizer = torch.optim.Adam(parameters, lr=rate)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = data.batch(torch.randint(len(data), (100,)))
        loss = -bound(model, x, k).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()


@torch.no_grad()
def bounds_of(model: VAE, x: Tensor) -> dict[int, Tensor]:
    """L_k of each image for every k in DRAWS, all from the same 500 draws."""
    seed_everything(0)
    log_w = torch.cat([model.log_weights(x, k=50) for _ in range(10)])  # [500, B]
    return {k: (log_w.view(-1, k, len(x)).logsumexp(1) - math.log(k)).mean(0) for k in DRAWS}


def means(of: dict[int, Tensor]) -> dict[str, float]:
    """Means over images, for the record."""
    return {f"L_{k}": round(values.mean().item(), 3) for k, values in of.items()}


def difference(of: dict[int, Tensor], other: dict[int, Tensor]) -> dict[str, list[float]]:
    """Mean over images of the first minus the second, and its standard error, at three numbers of draws."""
    pairs = {k: of[k] - other[k] for k in (1, K, 500)}
    return {f"L_{k}": [round(d.mean().item(), 3), round(d.std().item() / len(d) ** 0.5, 3)] for k, d in pairs.items()}


def noise(model: VAE, x: Tensor) -> dict[str, Any]:
    """Median signal-to-noise ratio of the last layers, encoder and decoder, by estimator and k."""
    encoder, decoder = (list(part.parameters())[-2:] for part in (model.pair.encoder, model.pair.decoder))
    split = sum(p.numel() for p in encoder)
    found: dict[str, Any] = {}
    for k in (1, 5, 50):
        for name, estimator in ESTIMATORS.items():
            ratios = gradient_moments(partial(estimator, model, x, k), encoder + decoder, n=GRADIENTS).snr
            halves = ratios[:split].nanmedian(), ratios[split:].nanmedian()
            found[f"{k}, {name}"] = [round(half.item(), 3) for half in halves]
    with torch.no_grad():
        ess = effective_sample_size(model.log_weights(x, k=50)).mean().item()
    return {"snr": found, "effective_draws_of_50": round(ess, 1)}


def perturbed(model: VAE) -> VAE:
    """A copy with N(0, 0.01^2) added to each parameter, as Rainforth et al. (2018) do."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for p in moved.parameters():
            p.add_(0.01 * torch.randn_like(p))
    return moved


def trained(seed: int, train: Data, test: Tensor) -> tuple[dict[str, VAE], dict[str, Any]]:
    """The models of one seed, and how their bounds compare."""
    models, of = {}, {}
    objectives: dict[str, Bound] = {"VAE": outside, "IWAE": iwae, "IWAE, DReG": dreg}
    for name, bound in objectives.items():
        seed_everything(seed)
        models[name] = small_model()
        climb(models[name], list(models[name].parameters()), bound, K, train, STEPS, RATE)
        of[name] = bounds_of(models[name], test)
        print(seed, name, means(of[name]), flush=True)
    for k in (1, K):  # a copy of the IWAE; its decoder stays
        name = f"IWAE, encoder further by L_{k}"
        models[name] = copy.deepcopy(models["IWAE"])
        seed_everything(seed)
        climb(models[name], list(models[name].pair.encoder.parameters()), iwae, k, train, REFIT_STEPS, REFIT_RATE)
        of[name] = bounds_of(models[name], test)
        print(seed, name, means(of[name]), flush=True)
    return models, {
        "bounds": {name: means(values) for name, values in of.items()},
        "minus_vae": {name: difference(of[name], of["VAE"]) for name in ("IWAE", "IWAE, DReG")},
        "minus_iwae": {name: difference(of[name], of["IWAE"]) for name in list(of)[2:]},
    }


def save(seeds: dict[str, Any]) -> None:
    """Writes the record: how the runs were made, and what every seed gave."""
    content = dict(
        **provenance(seed=sorted(map(int, seeds))),
        training_minutes=round(sum(found["processor_minutes"] for found in seeds.values()), 1),
        clock="processor time",
        data="MNIST, 50,000 training images, fresh binarization at each use",
        protocol=f"k = {K}, {STEPS} steps of 100 images, Adam {RATE} with cosine decay; not converged. "
        f"Encoders further: {REFIT_STEPS} steps, Adam {REFIT_RATE} with cosine decay, decoder frozen",
        evaluation=f"the first {IMAGES} test images, one binary draw of seed 0, 500 draws; errors over images",
        noise_protocol=f"{GRADIENTS} gradients at 10 test images; medians over the entries of the last layers",
        seeds=dict(sorted(seeds.items())),
    )
    OUT.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Runs one seed, unless the record has it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    seeds = json.loads(OUT.read_text(encoding="utf-8"))["seeds"] if OUT.exists() else {}
    if str(seed) in seeds:
        return
    train, _, test = load("mnist", binarize="stochastic")
    x, start = test.fixed(seed=0).x[:IMAGES], time.process_time()
    models, found = trained(seed, train, x)
    found["processor_minutes"] = round((time.process_time() - start) / 60, 1)
    save(seeds | {str(seed): found})
    seed_everything(seed)
    places = {"IWAE": models["IWAE"], "VAE": models["VAE"], "IWAE, perturbed": perturbed(models["IWAE"])}
    found["noise"] = {name: noise(model, x[:10]) for name, model in places.items()}
    save(seeds | {str(seed): found})


if __name__ == "__main__":
    main()
