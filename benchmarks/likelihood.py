"""The log-likelihood of a VAE by importance sampling, ours against plain PyTorch and pythae: seconds, and memory.

    python -m benchmarks.likelihood

All work in pieces of a thousand draws times pictures; plain PyTorch runs the encoder once and nothing besides what the
number needs, pythae takes one picture at a time. Memory is that of a process of its own: by how much the most that it
ever held rises above what it held after one picture. A second size shows whether it stays bounded.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import plain_vae
from benchmarks.common import digits, medians, options, spreads, take_turns, write
from benchmarks.rivals import load
from benchmarks.training_step import same_start
from lvmlib.bounds import log_likelihood
from lvmlib.experiments.vae_mnist import vae_mnist

WAYS = ("ours", "plain", "pythae")


def estimator(way: str) -> Callable[[Tensor, int], Tensor]:
    """One of `WAYS`, all of the same weights: from pictures and draws to nats, [B] or their mean."""
    torch.manual_seed(0)
    ours = vae_mnist().eval()
    plain: Any = same_start(plain_vae.PlainVAE(), ours)
    if way == "ours":
        return lambda x, k: log_likelihood(ours, x, k=k)
    if way == "plain":
        return lambda x, k: plain_vae.log_likelihood(plain, x, k)
    theirs = pythae_vae(plain)
    # What it calls NLL is log p(x); the largest piece that it is given must not exceed the number of draws.
    return torch.no_grad()(lambda x, k: torch.tensor(theirs.get_nll(x, n_samples=k, batch_size=min(k, 1000))))


def pythae_vae(plain: Any) -> Any:
    """pythae's VAE of binary pictures around the networks of the plain one."""
    models, parts = load("pythae.models"), load("pythae.models.nn")
    output = load("pythae.models.base.base_utils").ModelOutput

    class Encoder(parts.BaseEncoder):  # type: ignore[name-defined, misc]
        def forward(self, x: Tensor) -> Any:
            mean, log_scale = plain.encode(x)
            return output(embedding=mean, log_covariance=2 * log_scale)

    class Decoder(parts.BaseDecoder):  # type: ignore[name-defined, misc]
        def forward(self, z: Tensor) -> Any:
            return output(reconstruction=plain.decoder(z).sigmoid())

    config = models.VAEConfig(input_dim=(1, 28, 28), latent_dim=50, reconstruction_loss="bce")
    return models.VAE(config, encoder=Encoder(), decoder=Decoder()).eval()


def pictures(count: int) -> Tensor:
    """Binary noise; what it costs does not depend on what it shows."""
    return torch.randint(2, (count, 1, 28, 28)).float()


def most_memory() -> float:
    """Megabytes of the most that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux what getrusage says begins with what the parent held
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2 ** (20 if sys.platform == "darwin" else 10)  # bytes there, kilobytes elsewhere


def memory_here(way: str, count: int, k: int) -> float:
    """Megabytes by which one call raises the peak of this process."""
    torch.set_num_threads(1)
    estimate, x = estimator(way), pictures(count)
    estimate(x[:1], 2)  # what libraries load on first use is none of the estimate's
    before = most_memory()
    estimate(x, k)
    return most_memory() - before


def memory(way: str, count: int, k: int) -> float:
    """The same in a new process whose larger blocks go back to the system when they are freed.

    Otherwise holes in the heap, which come out differently in every run, count as memory that is held.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    env["MALLOC_MMAP_THRESHOLD_"] = "65536"
    code = f"from benchmarks.likelihood import memory_here; print(memory_here({way!r}, {count}, {k}))"
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return digits(float(run.stdout), 3)


def measure(count: int, k: int, repeats: int) -> dict[str, Any]:
    """Time and memory of each; a row of the table."""
    x = pictures(count)
    tasks = {way: partial(estimator(way), x, k) for way in WAYS}
    runs = take_turns(tasks, repeats)
    seconds = medians(runs)
    row = {
        "pictures": count,
        "k": k,
        "seconds": seconds,
        "ratio": digits(seconds["ours"] / seconds["plain"]),
        "speedup": digits(seconds["pythae"] / seconds["ours"]),
        "spread": spreads(runs),
        "runs": {way: [digits(value) for value in values] for way, values in runs.items()},
        "memory_mb": {way: memory(way, count, k) for way in WAYS},
    }
    print(
        "  ".join(f"{key} {row[key]}" for key in ("pictures", "k", "seconds", "ratio", "speedup", "memory_mb")),
        flush=True,
    )
    return row


def main() -> None:
    """Measure a small and a large batch and write likelihood.json."""
    args = options(__doc__)
    began = time.perf_counter()
    sizes = [(3, 5), (10, 5)] if args.quick else [(100, 500), (1000, 5000)]
    rows = [measure(count, k, args.repeats) for count, k in sizes]
    title = "Log-likelihood of a VAE by importance sampling"
    write(args.out, "likelihood", title, began, ["pythae"], repeats=args.repeats, rows=rows)


if __name__ == "__main__":
    main()
