"""What chapter 11 shows of posterior collapse: one encoder, decoders that see more and more pixels, and cures.

    python -m lvmlib.experiments.collapse               every run that the record does not have yet
    python -m lvmlib.experiments.collapse "reach 13"    one of them, whose weights are kept if it is shipped

Binary MNIST, averaged down to 14x14. The decoder is a PixelCNN conditioned on z; with a first kernel of 1x1 it sees no
pixel at all, and the decoder factorises. All runs have the same steps, rate and batches. Without a code, the decoder is
given z = 0 for every image; "pixels first" is that run, continued for as many steps with its code, plain or cured, and
"twice" its rival, which has the code from the first step on.
Every run is one entry of collapse.json; runs that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lvmlib.autoregressive import PixelCNN
from lvmlib.base import seed_everything
from lvmlib.bounds import distortion_and_rate, elbo, log_likelihood
from lvmlib.checkpoints import SHIPPED, provenance, save_checkpoint
from lvmlib.data import Data, load
from lvmlib.distributions import ConditionalNormal, StandardNormal
from lvmlib.experiments.records import compact
from lvmlib.latent import PixelVAE
from lvmlib.networks import MLP
from lvmlib.objectives import free_bits
from lvmlib.schedules import Scheduled, cyclical, warmup
from lvmlib.surgery import active_units, decompose
from lvmlib.training import Loss, cosine, fit

SHAPE, LATENTS, STEPS, BATCH, RATE, FLOOR = (1, 14, 14), 8, 1500, 100, 3e-3, 0.5
TRAIN, TEST, DRAWS = 6000, 500, 100  # images of the surgery and of the test, draws for the likelihood
OUT = SHIPPED / "collapse.json"
DATA = "MNIST averaged down to 14x14, 50,000 training images, fresh binarization at each use"


class Setting(NamedTuple):
    """One run: first kernel and number of layers of the decoder, how it is trained, seed, and how many times STEPS."""

    kernel: int
    layers: int
    cure: str = "none"
    seed: int = 0
    times: float = 1.0


DECODERS = {0: (1, 2), 2: (3, 1), 4: (5, 2), 7: (7, 4), 13: (25, 4)}
"""How many rows up, and columns to either side, the decoder sees, 13 being all: kernel and layers."""

SETTINGS = {f"reach {reach}": Setting(*sizes) for reach, sizes in DECODERS.items()}
FIRST, TWICE = "pixels first", "twice"
CURES = ("no code", "annealing", "cycles", "free bits", FIRST, f"{FIRST}, annealing", f"{FIRST}, free bits", TWICE)
SETTINGS |= {f"reach 13, {cure}": Setting(*DECODERS[13], cure) for cure in CURES}
SETTINGS |= {f"reach {reach}, seed 1": Setting(*DECODERS[reach], seed=1) for reach in (0, 13)}
SETTINGS[f"reach 13, {FIRST}, seed 1"] = Setting(*DECODERS[13], FIRST, seed=1)
SETTINGS["reach 13, longer"] = Setting(*DECODERS[13], times=2.0)
NOTES = {
    "no code": "z = 0 for every image",
    "annealing": "beta rises over the first half",
    "cycles": "four, in each of which beta rises over the first half",
    "free bits": f"{FLOOR} nats for each of {LATENTS} units",
    FIRST: f"{STEPS} steps without a code before",
    TWICE: f"{STEPS} plain steps before",
}
"""What each way of training does, in the words of the record."""
KEPT = {"reach 0": "collapse_factorised", "reach 13, free bits": "collapse_free_bits"}


def small_digits() -> tuple[Data, Data]:
    """MNIST averaged over 2x2 pixels, binarized afresh at each use; training and test."""
    train, _, test = load("mnist")
    return _small(train), _small(test)


def _small(data: Data) -> Data:
    x = nn.functional.avg_pool2d(data.x.float(), 2).round().to(torch.uint8)
    return Data(x, data.y, "digits of 14x14", "stochastic")


def model_of(kernel: int, layers: int) -> PixelVAE:
    """Encoder 196-200-8, and a PixelCNN of 16 channels that four planes of features tell of z.

    Example:
        >>> from lvmlib.experiments.collapse import model_of
        >>> model_of(7, 1).sample(2).shape
        torch.Size([2, 1, 14, 14])
    """
    encoder = ConditionalNormal((LATENTS,), MLP(196, (200,), 2 * LATENTS, nn.SiLU))
    pixels = PixelCNN(SHAPE, channels=16, layers=layers, kernel=kernel, positions=True, context=(4, 14, 14))
    features = nn.Sequential(MLP(LATENTS, (200,), 4 * 196, nn.SiLU), nn.Unflatten(1, (4, 14, 14)))
    return PixelVAE(encoder, pixels, StandardNormal((LATENTS,)), features)


def objective(cure: str, steps: int) -> tuple[Loss, Callable[[int], Any] | None]:
    """The loss, and what sets the weight of its KL term before each step."""
    if cure == "free bits":
        return lambda model, x: -free_bits(model, x, FLOOR), None
    if cure == "no code":
        return lambda model, x: -without_code(model, x), None
    if cure in ("none", FIRST, TWICE):
        return lambda model, x: -elbo(model, x), None
    beta = Scheduled({"annealing": warmup(steps // 2), "cycles": cyclical(steps // 4)}[cure])
    return lambda model, x: -elbo(model, x, beta=beta.value), beta


def without_code(model: PixelVAE, x: Tensor) -> Tensor:
    """log p(x | z = 0): the decoder as a pixel model that is told nothing; [B]."""
    return model.pair.decoder.log_prob(x, torch.zeros(len(x), LATENTS))


@torch.no_grad()
def measured_without_code(model: PixelVAE, train: Data, test: Data) -> dict[str, Any]:
    """Exact likelihoods of the pixel model alone; it has no code, hence no rate."""
    x, y = train.fixed(seed=0).x[:TRAIN], test.fixed(seed=0).x[:TEST]
    fitted, nll = (torch.cat([without_code(model, part) for part in of.split(500)]) for of in (x, y))
    terms = {"mutual_information": 0.0, "marginal_kl": 0.0, "rate": 0.0}
    found = {"train": {"reconstruction": round(fitted.mean().item(), 3), **terms}, "test_rate": 0.0}
    return {**found, "test_elbo": round(nll.mean().item(), 3), **_likelihood(-nll), "active_units": 0}


@torch.no_grad()
def measured(model: PixelVAE, train: Data, test: Data) -> dict[str, Any]:
    """The terms of the surgery on training images, bound and likelihood on test images."""
    seed_everything(0)
    x, y = train.fixed(seed=0).x[:TRAIN], test.fixed(seed=0).x[:TEST]
    terms = {name: value.mean().item() for name, value in decompose(model, x, data_size=len(x))._asdict().items()}
    bounds = torch.cat([elbo(model, part, k=4) for part in y.split(100)])
    nll = -torch.cat([log_likelihood(model, part, DRAWS) for part in y.split(100)])
    rates = torch.cat([_rate(model, part) for part in y.split(100)])
    return {
        "train": {name: round(value, 3) for name, value in terms.items()},
        "test_elbo": round(bounds.mean().item(), 3),
        "test_rate": round(rates.mean().item(), 3),
        **_likelihood(nll),
        "active_units": active_units(model, x)[0],
    }


def _likelihood(nll: Tensor) -> dict[str, Any]:
    """Mean, error over images and every value, so that runs can be compared image by image."""
    return {
        "test_nll_nats": round(nll.mean().item(), 3),
        "test_nll_error": round(nll.std().item() / len(nll) ** 0.5, 3),
        "test_nll_each": [round(value, 2) for value in nll.tolist()],
    }


def _rate(model: PixelVAE, x: Tensor) -> Tensor:
    return distortion_and_rate(model.trace(x))[1].mean(0)


def train_model(model: PixelVAE, cure: str, setting: Setting, train: Data, few: Tensor) -> list[list[float]]:
    """One stretch of training; returns the rate of a few test images along the way."""
    steps = int(setting.times * STEPS)
    loss, beta = objective(cure, steps)
    curve: list[list[float]] = []

    def before(step: int) -> None:
        if beta is not None:
            beta(step)
        if step % (steps // 60) == 0 and cure != "no code":
            with torch.no_grad(), torch.random.fork_rng():
                curve.append([step, round(_rate(model, few).mean().item(), 3)])

    fit(
        model, train, loss, steps=steps, batch_size=BATCH, lr=cosine(RATE, steps, warmup=100), clip_norm=10.0,
        seed=setting.seed, before_step=before, progress=False,
    )  # fmt: skip
    return curve


def run(name: str, train: Data, test: Data) -> dict[str, Any]:
    """One training run: the rate along the way, and what is measured at its end."""
    setting, start = SETTINGS[name], time.process_time()
    seed_everything(setting.seed)
    model, few = model_of(setting.kernel, setting.layers), test.fixed(seed=0).x[:500]
    before = "no code" if setting.cure.startswith(FIRST) else "none" if setting.cure == TWICE else None
    if before is not None:
        train_model(model, before, setting, train, few)
        seed_everything(setting.seed)
    curve = train_model(model, setting.cure.removeprefix(f"{FIRST}, "), setting, train, few)
    model.bfloat16().float()  # what is evaluated is what is stored
    measure = measured_without_code if setting.cure == "no code" else measured
    found = dict(setting._asdict(), curve=curve, **measure(model, train, test))
    found["parameters"] = sum(p.numel() for p in model.pair.decoder.parameters())
    found["processor_minutes"] = round((time.process_time() - start) / 60, 2)
    if name in KEPT:
        facts = dict(run=name, data=DATA, training_minutes=found["processor_minutes"], test_protocol=test_protocol())
        facts["test_nll_nats"] = found["test_nll_nats"]
        save_checkpoint(model, OUT.with_name(KEPT[name]), dict(provenance(seed=setting.seed), **facts), half=True)
    return found


def test_protocol() -> str:
    """How the likelihood of test images was estimated."""
    images = f"the first {TEST:,} test images, one binary draw of seed 0"
    return f"{images}, {DRAWS} draws for the likelihood; errors over images"


def save(runs: dict[str, Any]) -> None:
    """Write the record: how the runs were made, and what each gave."""
    content = dict(
        **dict(provenance(seed=0), command="python -m lvmlib.experiments.collapse"),  # makes all, one by one or not
        training_minutes=round(sum(found["processor_minutes"] for found in runs.values()), 1),
        clock="processor time",
        data=DATA,
        protocol=f"{STEPS} steps of {BATCH} images, Adam {RATE} with cosine decay; not converged"
        + "".join(f"; {cure}: {note}" for cure, note in NOTES.items() if cure in {run["cure"] for run in runs.values()})
        + f"; longer: {2 * STEPS} steps" * ("reach 13, longer" in runs),
        evaluation=f"surgery on {TRAIN:,} training images, one draw each; {test_protocol()}",
        runs={name: runs[name] for name in SETTINGS if name in runs},
    )
    OUT.write_text(compact(content), encoding="utf-8")


def main() -> None:
    """Make the runs that the record does not have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", choices=[[], *SETTINGS], help="all of them by default")
    names = parser.parse_args().runs or list(SETTINGS)
    torch.set_num_threads(1)
    train, test = small_digits()
    for name in names:
        runs = json.loads(OUT.read_text(encoding="utf-8"))["runs"] if OUT.exists() else {}
        if name not in runs:
            runs[name] = run(name, train, test)
            save(runs)
            print(name, {key: value for key, value in runs[name].items() if key != "curve"}, flush=True)


if __name__ == "__main__":
    main()
