import math
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
from torch import nn

from lvmlib.base import seed_everything
from lvmlib.data import Data
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.runs.files import RunFiles, remove_run
from lvmlib.training import cosine, fit, negative_elbo

FILES = [".run.pt.lock", "run.pt", "run.pt.history.csv"]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def line() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def squared_error(model, batch):
    x, y = batch
    return (model(x) - y) ** 2


def absolute_error(model, batch):
    x, y = batch
    return (model(x) - y).abs()


def line_data(n: int = 200):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, generator=generator)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3


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


def test_a_place_where_no_checkpoint_can_be_written_is_noticed_before_training(tmp_path):
    def never(m, batch):
        raise AssertionError("training began")

    (tmp_path / "file").write_text("")
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "file" / "run.pt", "no checkpoint can be written to")):
        with pytest.raises(OSError, match=message):
            fit(line(), line_data(), never, steps=1, batch_size=5, checkpoint=path, progress=False)


def small_vae() -> VAE:
    return VAE(
        ConditionalNormal((2,), MLP(8, (8,), 4)), ConditionalBernoulli((8,), MLP(2, (8,), 8)), StandardNormal((2,))
    )


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
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_files import *
torch.set_num_threads(1)
seed_everything(0)
model = small_vae()
generator = torch.Generator().manual_seed(0)
data = Data(torch.randint(0, 200, (300, 8), generator=generator, dtype=torch.uint8), binarize="stochastic")
history = fit(model, data, steps=400, batch_size=32, lr=cosine(1e-2, 400), average=0.99, clip_norm=1.0,
    valid=data.subset(50), valid_every=20, patience=12, progress=False,
    checkpoint=sys.argv[1], checkpoint_every=int(sys.argv[2]), resume=True)
assert history.stopped_early, "patience is to run out before the last step"
torch.save({{**model.state_dict(), "losses": torch.tensor(history.loss)}}, sys.argv[1] + ".done")
print("done")
"""


def run_training(checkpoint: Path, every: int, kill_after: float | None = None) -> bool:
    """Run the training in a process of its own, killed after some seconds; True if it reached its end."""
    code = TRAINING.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", code, str(checkpoint), str(every)], env=environment)
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


def test_an_existing_checkpoint_is_never_overwritten_unasked(tmp_path):
    path = tmp_path / "run.pt"
    arguments = dict(steps=5, batch_size=50, checkpoint=path, progress=False)
    fit(line(), line_data(), squared_error, **arguments)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="resume=True"):
        fit(line(), line_data(), squared_error, **arguments)
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_run_or_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    fit(line(), line_data(), squared_error, steps=5, batch_size=50, checkpoint=path, progress=False)
    for change, message in (
        (dict(batch_size=40), r"batch_size 50 \(now 40\)"),
        (dict(seed=1), r"seed 0 \(now 1\)"),
        (dict(data=line_data(199)), r"examples 200 \(now 199\)"),
        (dict(average=0.9), r"average None \(now 0.9\)"),
        (dict(valid=line_data(9), patience=2), r"patience None \(now 2\)"),
        (dict(data=tuple(t + 1 for t in line_data())), r"run: data \w+ \(now \w+\)\. Use those"),
        (dict(lr=0.1), r"lr 0.001 \(now 0.1\)"),
        (dict(lr=cosine(0.1, 5)), r"lr 0.001 \(now lr\)"),
        (dict(loss=absolute_error), r"loss squared_error \(now absolute_error\)"),
        (dict(clip_norm=1.0), r"clip_norm None \(now 1.0\)"),
        (dict(valid=line_data(9)), r"valid None \(now \w+\)"),
        (dict(before_step=print), r"before_step None \(now print\)"),
        (dict(optimizer=lambda p, lr: torch.optim.Adam(p, lr=lr, betas=(0.5, 0.9))), r"betas \(0.9, 0.999\) \(now"),
        (
            dict(optimizer=lambda p, lr: torch.optim.Adam([{"params": p, "lr": 0.0}], lr=lr)),
            r"share of lr 1.0 \(now 0.0",
        ),
    ):
        arguments = dict(data=line_data(), loss=squared_error, steps=5, batch_size=50, progress=False)
        with pytest.raises(ValueError, match=message):
            fit(line(), **{**arguments, **change}, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match=r"optimizer Adam \(now SGD\)"):
        fit(line(), line_data(), squared_error, steps=5, batch_size=50, checkpoint=path, resume=True, progress=False,
            optimizer=torch.optim.SGD)  # fmt: skip
    with pytest.raises(ValueError, match="5 steps behind it, more than the 4"):
        fit(line(), line_data(), squared_error, steps=4, batch_size=50, checkpoint=path, resume=True, progress=False)
    for other in (nn.Linear(3, 2), nn.Sequential(line(), nn.Linear(1, 1))):
        before = [p.clone() for p in other.parameters()]
        with pytest.raises(ValueError, match="another architecture"):
            fit(other, line_data(), squared_error, steps=5, batch_size=50, checkpoint=path, resume=True, progress=False)
        assert all(torch.equal(a, b) for a, b in zip(before, other.parameters()))
    torch.save({"identity": {}}, path.with_name("other.pt"))
    with pytest.raises(ValueError, match="not a checkpoint"):
        fit(line(), line_data(), squared_error, steps=5, batch_size=50, checkpoint=path.with_name("other.pt"),
            resume=True, progress=False)  # fmt: skip
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="not a checkpoint"):
        fit(line(), line_data(), squared_error, steps=5, batch_size=50, checkpoint=path, resume=True, progress=False)


def test_a_run_of_a_compiled_model_says_what_differs(tmp_path):
    compiled = torch.compile(nn.Sequential(line()), backend="eager")
    plain = nn.Sequential(line())
    for first, then, was in ((compiled, plain, "compiled"), (plain, compiled, "not compiled")):
        path = tmp_path / f"{was}.pt"
        fit(first, line_data(), squared_error, steps=2, batch_size=50, checkpoint=path, progress=False)
        with pytest.raises(ValueError, match=f"a model that was {was} by torch.compile"):
            fit(then, line_data(), squared_error, steps=3, batch_size=50, checkpoint=path, resume=True, progress=False)


def never(model, batch):
    raise AssertionError("no step is to be taken")


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    fit(line(), line_data(), squared_error, steps=5, batch_size=50, checkpoint=path, progress=False)
    before = path.read_bytes()

    room = iter([True])  # for the trial at the start

    def full(descriptor):
        if not next(room, False):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*run\.pt cannot be written at step 9"):
        fit(line(), line_data(), squared_error, steps=9, batch_size=50, checkpoint=path, resume=True, progress=False)
    assert path.read_bytes() == before and names(tmp_path) == FILES
    with pytest.raises(OSError, match=r"No space left on device: no checkpoint can be written to .*run\.pt"):
        fit(line(), line_data(), squared_error, steps=9, batch_size=50, checkpoint=path, resume=True, progress=False)
    with pytest.raises(OSError, match="No space left on device: no checkpoint can be written"):
        fit(line(), line_data(), never, steps=9, batch_size=50, checkpoint=tmp_path / "b.pt", progress=False)
    assert path.read_bytes() == before and not (tmp_path / "b.pt").exists()
    (tmp_path / ".b.pt.lock").unlink()
    assert names(tmp_path) == FILES
    monkeypatch.undo()
    whole, rest = line(), line()
    fit(whole, line_data(), squared_error, steps=9, batch_size=50, progress=False)
    fit(rest, line_data(), squared_error, steps=9, batch_size=50, checkpoint=path, resume=True, progress=False)
    assert torch.equal(whole.weight, rest.weight)


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


DAMAGES = {
    "step": lambda state: state.update(step=-3),
    "another step": lambda state: state.update(step=4),
    "no step": lambda state: state.pop("step"),
    "no optimizer": lambda state: state.pop("optimizer"),
    "optimizer": lambda state: state["optimizer"].pop("param_groups"),
    "groups": lambda state: state["optimizer"]["param_groups"].append({"params": [7]}),
    "generators": lambda state: state["generators"].update(cpu=torch.zeros(3, dtype=torch.uint8)),
    "numpy": lambda state: state["generators"].update(numpy=3),
    "averaged": lambda state: state["averaged"].pop("weight"),
    "best": lambda state: state.update(best={"weight": torch.zeros(2)}),
    "history": lambda state: state["history"].pop("bytes"),
    "crc": lambda state: state["history"].update(crc32=1),
    "weights": lambda state: state.update(model=[1]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_one_clear_error_and_changes_nothing(tmp_path, damage):
    path = tmp_path / "run.pt"
    arguments = dict(batch_size=50, average=0.9, checkpoint=path, resume=True, progress=False)
    fit(line(), line_data(), squared_error, steps=5, **arguments)
    state = torch.load(path)
    damage(state)
    torch.save(state, path)
    before, model = path.read_bytes(), line()
    weights = {name: t.clone() for name, t in model.state_dict().items()}
    draws = torch.get_rng_state(), random.getstate()
    with pytest.raises(ValueError, match=r"run\.pt is not a checkpoint of fit, or is damaged: .*start anew"):
        fit(model, line_data(), squared_error, steps=9, **arguments)
    assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), draws[0]) and random.getstate() == draws[1]
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_text(p.read_text().replace("3,", "4,"))])
def test_a_history_that_is_gone_or_another_is_noticed(tmp_path, damage):
    arguments = dict(batch_size=50, checkpoint=tmp_path / "run.pt", resume=True, progress=False)
    fit(line(), line_data(), squared_error, steps=5, **arguments)
    damage(tmp_path / "run.pt.history.csv")
    with pytest.raises(ValueError, match=r"run\.pt\.history\.csv"):
        fit(line(), line_data(), squared_error, steps=9, **arguments)


def test_a_checkpoint_of_an_earlier_version_says_so(tmp_path):
    torch.save({"identity": {}, "step": 3, "history": {"loss": []}, "rng": torch.get_rng_state()}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="written by an earlier version of lvmlib"):
        fit(line(), line_data(), squared_error, steps=9, batch_size=50, checkpoint=tmp_path / "run.pt", resume=True,
            progress=False)  # fmt: skip


def test_another_activation_is_another_run(tmp_path):
    arguments = dict(steps=3, batch_size=50, checkpoint=tmp_path / "run.pt", resume=True, progress=False)
    fit(nn.Sequential(line(), nn.Tanh()), line_data(), squared_error, **arguments)
    with pytest.raises(ValueError, match=r"run: module 1 Tanh \(now SiLU\)\. Use"):
        fit(nn.Sequential(line(), nn.SiLU()), line_data(), squared_error, **arguments)


def test_the_second_of_two_runs_on_one_path_is_told_so(tmp_path):
    path = tmp_path / "run.pt"
    arguments = dict(steps=3, batch_size=50, checkpoint=path, progress=False)

    def nested(m, batch):
        with pytest.raises(OSError, match=r"Another run is writing .*run\.pt\. Wait for it"):
            fit(line(), line_data(), squared_error, resume=True, **arguments)
        return squared_error(m, batch)

    fit(line(), line_data(), nested, **arguments)
    fit(line(), line_data(), nested, resume=True, **arguments)  # the lock is free again
    assert names(tmp_path) == FILES


def test_the_lock_of_a_run_that_failed_is_free_again(tmp_path):
    path = tmp_path / "run.pt"
    arguments = dict(steps=3, batch_size=50, checkpoint=path, progress=False)
    fit(line(), line_data(), squared_error, **arguments)
    for error in (FileExistsError, FileExistsError):
        with pytest.raises(error):
            fit(line(), line_data(), squared_error, **arguments)
    fit(line(), line_data(), squared_error, **{**arguments, "steps": 4}, resume=True)


def test_home_is_expanded_and_a_link_stays_a_link(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").mkdir()
    (tmp_path / "run.pt").symlink_to(tmp_path / "disk" / "real.pt")
    for checkpoint in ("~/runs/run.pt", "run.pt"):
        for steps in (3, 4):
            fit(line(), line_data(), squared_error, steps=steps, batch_size=50, checkpoint=checkpoint, resume=True,
                progress=False)  # fmt: skip
    assert names(tmp_path / "home" / "runs") == FILES and not (tmp_path / "~").exists()
    assert (tmp_path / "run.pt").is_symlink() and torch.load(tmp_path / "disk" / "real.pt")["step"] == 4
    assert "real.pt.history.csv" in names(tmp_path / "disk")


def test_a_finished_run_is_resumed_where_nothing_can_be_written(tmp_path, monkeypatch):
    path, whole, rest = tmp_path / "run.pt", line(), line()
    arguments = dict(batch_size=50, checkpoint=path, resume=True, progress=False)
    history = fit(whole, line_data(), squared_error, steps=5, **arguments)

    def read_only(self, *_, **__):  # as for anyone but root, for whom the tests may run
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", read_only)
    monkeypatch.setattr(Path, "touch", read_only)
    assert fit(rest, line_data(), squared_error, steps=5, **arguments) == history and torch.equal(
        whole.weight, rest.weight
    )
    with pytest.raises(PermissionError, match=r"Permission denied: no checkpoint can be written to .*run\.pt"):
        fit(line(), line_data(), squared_error, steps=6, **arguments)


def test_numbers_that_are_none_never_overwrite_a_checkpoint(tmp_path):
    """The loss is finite and its gradient is not: 0 times infinity behind a square root."""
    path, model = tmp_path / "run.pt", line()
    fit(model, line_data(), squared_error, steps=5, batch_size=50, checkpoint=path, checkpoint_every=1, progress=False)
    before, good = path.read_bytes(), model.weight.detach().clone()

    def squared_error_(m, batch):
        return squared_error(m, batch) + (m.weight * 0).abs().sqrt().sum()

    squared_error_.__name__ = "squared_error"
    for clip_norm in (None, 1.0):
        with pytest.raises(FloatingPointError, match=r"gradient is not finite at step 0.* those before this step"):
            fit(model, line_data(), squared_error_, steps=1, batch_size=50, clip_norm=clip_norm, progress=False)
        assert torch.equal(model.weight, good)
    with pytest.raises(FloatingPointError, match="gradient is not finite at step 5"):
        fit(model, line_data(), squared_error_, steps=7, batch_size=50, checkpoint=path, checkpoint_every=1,
            resume=True, progress=False)  # fmt: skip
    assert path.read_bytes() == before and torch.equal(model.weight, good)

    class Breaks(torch.optim.SGD):  # finite gradients, and an update that is not
        def step(self, closure=None):
            model.weight.data.fill_(math.inf)

    for checkpoint in (tmp_path / "new.pt", None):
        with pytest.raises(FloatingPointError, match="After 1 steps, values of weight are not finite"):
            fit(model, line_data(), squared_error, steps=1, batch_size=50, optimizer=Breaks, checkpoint=checkpoint,
                progress=False)  # fmt: skip
        assert not (tmp_path / "new.pt").exists()
        model.weight.data.copy_(good)


def test_numpy_numbers_are_numbers(tmp_path):
    results = []
    for whole, real in ((int, float), (np.int64, np.float64)):
        model = line()
        fit(model, line_data(), squared_error, steps=whole(5), batch_size=whole(50), lr=real(0.1), clip_norm=real(0.5),
            average=real(0.9), seed=whole(3), checkpoint=tmp_path / "run.pt", checkpoint_every=whole(2), resume=True,
            progress=False)  # fmt: skip
        results.append(model.weight.detach().clone())
    assert torch.equal(*results)


def test_remove_run(tmp_path):
    path = tmp_path / "run.pt"
    fit(line(), line_data(), squared_error, steps=2, batch_size=50, checkpoint=path, progress=False)
    with RunFiles(path, resume=True), pytest.raises(OSError, match="Another run is writing"):
        remove_run(path)
    remove_run(path)
    assert names(tmp_path) == []
