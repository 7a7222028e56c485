"""Runs that are stopped, killed and resumed: they end where an undisturbed one ends."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lvmlib.base import seed_everything
from lvmlib.data import Data
from lvmlib.training import cosine, fit, negative_elbo
from tests.line import line, line_data, squared_error
from tests.runs.small_runs import FILES, names, small_vae


def test_an_interrupted_run_leaves_a_whole_checkpoint_a_closed_bar_and_a_model_to_use(tmp_path, capsys):
    path, whole, model, calls = tmp_path / "run.pt", line(), line(), []

    def interrupted(m, batch):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return squared_error(m, batch)

    arguments = dict(steps=20, batch_size=50, checkpoint=path, checkpoint_every=5)
    with pytest.raises(KeyboardInterrupt):
        fit(model, line_data(), interrupted, **arguments)
    assert not model.training and capsys.readouterr().err.endswith("\n")
    assert names(tmp_path) == FILES
    fit(model, line_data(), interrupted, resume=True, progress=False, **arguments)
    fit(whole, line_data(), squared_error, steps=20, batch_size=50, progress=False)
    assert torch.equal(whole.weight, model.weight)


@pytest.mark.parametrize("stop_at", [1, 14, 15, 37, 58])
def test_stopped_and_resumed_is_never_stopped(tmp_path, stop_at):
    """Everything that a run draws, averages and remembers: binarization, z, order, momenta, averages, best weights."""
    grey = torch.randint(0, 200, (100, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data = Data(grey, binarize="stochastic")

    def train(stop: int | None = None, **checkpoint):
        seed_everything(0)
        model, calls = small_vae(), []

        def loss(m, x):
            calls.append(1)
            if stop is not None and m.training and len(calls) > stop:
                raise KeyboardInterrupt
            return negative_elbo(m, x)

        history = fit(model, data, loss, steps=200, batch_size=16, lr=cosine(3e-2, 200), average=0.9, seed=3,
                      valid=data.subset(20), valid_every=5, patience=8, progress=False, **checkpoint)  # fmt: skip
        return model.state_dict(), history

    whole, history = train()
    assert history.stopped_early and history.valid_loss.index(min(history.valid_loss)) > 0
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        train(stop_at, checkpoint=path, checkpoint_every=7)
    for _ in range(2):  # continued to its end, then found at its end
        resumed, again = train(checkpoint=path, checkpoint_every=7, resume=True)
        assert again == history and torch.load(path)["step"] == len(history.loss)
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)


TRAINING = """
import sys, torch
from lvmlib.base import seed_everything
from lvmlib.data import Data
from lvmlib.training import cosine, fit
from tests.runs.small_runs import small_vae
torch.set_num_threads(1)
seed_everything(0)
model = small_vae()
generator = torch.Generator().manual_seed(0)
data = Data(torch.randint(0, 200, (300, 8), generator=generator, dtype=torch.uint8), binarize="stochastic")
history = fit(model, data, steps=400, batch_size=32, lr=cosine(1e-2, 400), average=0.99, clip_norm=1.0,
    valid=data.subset(50), valid_every=20, patience=12, progress=False,
    checkpoint=sys.argv[1], checkpoint_every=int(sys.argv[2]), resume=True)
assert history.stopped_early, "patience is to run out before the last step"
torch.save({**model.state_dict(), "losses": torch.tensor(history.loss)}, sys.argv[1] + ".done")
print("done")
"""


def run_training(checkpoint: Path, every: int, kill_after: float | None = None) -> bool:
    """Run the training in a process of its own, killed after some seconds; True if it reached its end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", TRAINING, str(checkpoint), str(every)], env=environment)
    if kill_after is not None:
        # The clock starts when the first checkpoint is there, so that the kill falls into training, not into imports.
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    return process.wait() == 0


def resumed_equals_uninterrupted(folder: Path, rounds: int, seed: int) -> int:
    random.seed(seed)
    assert run_training(folder / "whole.pt", every=400)
    whole = torch.load(folder / "whole.pt.done")
    kills = 0
    for i in range(rounds):
        checkpoint = folder / f"killed{i}.pt"
        every = random.choice([3, 7, 10, 25])
        while not run_training(checkpoint, every, kill_after=random.uniform(0.0, 0.5) if kills < 2 * (i + 1) else None):
            kills += 1
        resumed = torch.load(f"{checkpoint}.done")
        assert all(torch.equal(whole[name], resumed[name]) for name in whole), f"round {i} ended elsewhere"
    return kills


def test_killed_and_resumed_training_ends_with_the_same_weights(tmp_path):
    assert resumed_equals_uninterrupted(tmp_path, rounds=1, seed=0) >= 1


@pytest.mark.slow
def test_twenty_trainings_killed_at_random_moments(tmp_path):
    kills = resumed_equals_uninterrupted(tmp_path, rounds=20, seed=1)
    print(f"{kills} kills in 20 trainings, all ended with the same weights")
    assert kills >= 20


def test_resume_extends_a_finished_run(tmp_path, capsys):
    path = tmp_path / "run.pt"
    data = line_data()
    whole, parts = line(), line()
    fit(whole, data, squared_error, steps=30, batch_size=50, progress=False)
    fit(parts, data, squared_error, steps=10, batch_size=50, checkpoint=path, progress=False)
    parts = line()
    history = fit(parts, data, squared_error, steps=30, batch_size=50, checkpoint=path, resume=True)
    assert torch.equal(whole.weight, parts.weight) and len(history.loss) == 30
    assert "30/30" in capsys.readouterr().err
    again = line()
    fit(again, data, squared_error, steps=30, batch_size=50, checkpoint=path, resume=True, progress=False)
    assert torch.equal(again.weight, whole.weight)


def test_a_run_that_anneals_resumes_exactly(tmp_path):
    """beta follows from the step; what is set before the last step is set again where a run is over."""

    def train(steps, **checkpoint):
        seed_everything(0)
        model, seen = line(), []
        model.beta = 0.0

        def anneal(step):
            seen.append(step)
            model.beta = min(1.0, step / 15)

        def annealed(m, batch):  # draws from every generator that a loss may draw from
            noise = torch.rand(()) + random.random() + np.random.rand()  # noqa: NPY002
            return squared_error(m, batch) + m.beta * noise * m.weight.square().sum()

        history = fit(model, line_data(), annealed, steps=steps, batch_size=50, lr=0.1, before_step=anneal,
                      checkpoint_every=4, progress=False, **checkpoint)  # fmt: skip
        return model, history, seen

    whole, history, seen = train(20)
    assert seen == list(range(20))
    path = tmp_path / "run.pt"
    train(7, checkpoint=path)
    seed_everything(99)
    rest, again, seen = train(20, checkpoint=path, resume=True)
    assert seen == list(range(7, 20)) and again == history
    assert torch.equal(whole.weight, rest.weight) and torch.equal(whole.bias, rest.bias)
    over, again, seen = train(20, checkpoint=path, resume=True)
    assert seen == [19] and over.beta == whole.beta == 1.0 and again == history


def test_the_history_lies_beside_the_checkpoint_and_only_grows(tmp_path):
    path = tmp_path / "run.pt"
    arguments = dict(batch_size=50, valid=line_data(10), valid_every=3, checkpoint=path, resume=True, progress=False)
    short = fit(line(), line_data(), squared_error, steps=5, **arguments)
    size = path.stat().st_size
    first = (tmp_path / "run.pt.history.csv").read_text()
    long = fit(line(), line_data(), squared_error, steps=2000, checkpoint_every=500, **arguments)
    text = (tmp_path / "run.pt.history.csv").read_text()
    assert abs(path.stat().st_size - size) < 100, "the checkpoint of 2000 steps is as large as that of 5"
    assert text.startswith(first.rsplit("5,", 1)[0]) and len(text.splitlines()) == 2001
    rows = [row.split(",") for row in text.splitlines()]
    assert rows[0] == ["step", "loss", "valid"] and [float(row[1]) for row in rows[1:]] == long.loss
    assert {int(row[0]): float(row[2]) for row in rows[1:] if row[2]} == dict(zip(long.valid_steps, long.valid_loss))
    assert long.loss[:5] == short.loss and long.valid_steps[0] == 3


def test_what_a_killed_run_wrote_after_its_checkpoint_is_dropped(tmp_path):
    path, whole, rest = tmp_path / "run.pt", line(), line()
    arguments = dict(batch_size=50, checkpoint=path, resume=True, progress=False)
    fit(line(), line_data(), squared_error, steps=5, **arguments)
    with open(tmp_path / "run.pt.history.csv", "a") as file:
        file.write("6,0.5,\n" * 50 + "7,0.")
    (tmp_path / ".run.pt.0123abcd.partial").write_bytes(b"half")
    (tmp_path / ".run.pto.0123abcd.partial").write_bytes(b"another run's")
    history = fit(rest, line_data(), squared_error, steps=9, **arguments)
    assert history == fit(whole, line_data(), squared_error, steps=9, batch_size=50, progress=False)
    assert len((tmp_path / "run.pt.history.csv").read_text().splitlines()) == 10
    assert names(tmp_path) == sorted([*FILES, ".run.pto.0123abcd.partial"])
