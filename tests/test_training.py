import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from lvmlib.base import seed_everything
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.training import _batches, cosine, fit


def line() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def squared_error(model, batch):
    x, y = batch
    return (model(x) - y) ** 2


def line_data(n: int = 200):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, generator=generator)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3


def test_fit_finds_the_line():
    model = line()
    history = fit(model, line_data(), squared_error, steps=1000, batch_size=50, lr=cosine(0.1, 1000), progress=False)
    torch.testing.assert_close(model.weight.detach(), torch.tensor([[1.0, -2.0, 0.5]]), atol=1e-3, rtol=0)
    assert len(history.loss) == 1000 and history.loss[-1] < 1e-5 and not history.stopped_early
    assert not model.training


def test_fit_is_the_loop_one_would_write():
    ours, theirs = line(), line()
    x, y = line_data()
    fit(ours, (x, y), squared_error, steps=9, batch_size=50, lr=0.05, clip_norm=0.5, seed=4, progress=False)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.05)
    batches = _batches((x, y), 50, 4, 0)
    for _ in range(9):
        index = next(batches)
        optimizer.zero_grad()
        squared_error(theirs, (x[index], y[index])).mean().backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_each_pass_shows_every_example_once_in_a_new_order():
    batches = _batches(torch.zeros(10), 5, seed=0, start=0)
    passes = [torch.cat([next(batches), next(batches)]) for _ in range(3)]
    for order in passes:
        assert sorted(order.tolist()) == list(range(10))
    assert not torch.equal(passes[0], passes[1])
    late = _batches(torch.zeros(10), 5, seed=0, start=3)
    assert torch.equal(next(late), passes[1][5:])


def test_default_loss_is_minus_the_elbo():
    torch.manual_seed(0)
    vae = VAE(
        ConditionalNormal((1,), MLP(2, (8,), 2)),
        ConditionalNormal((2,), MLP(1, (8,), 2), "learned"),
        StandardNormal((1,)),
    )
    t = torch.randn(500, 1)
    x = torch.cat([t, -t], 1) + 0.1 * torch.randn(500, 2)
    history = fit(vae, x, steps=1500, batch_size=100, lr=1e-2, progress=False)
    exact = -torch.distributions.MultivariateNormal(torch.zeros(2), x.T.cov()).log_prob(x).mean().item()
    recent = sum(history.loss[-100:]) / 100
    assert exact - 0.1 < recent < exact + 0.4


def test_averaged_weights_end_up_in_the_model():
    plain, averaged = line(), line()
    rough = dict(steps=300, batch_size=10, lr=0.3, progress=False)
    noisy = (line_data()[0], line_data()[1] + torch.randn(200, 1, generator=torch.Generator().manual_seed(2)))
    fit(plain, noisy, squared_error, **rough)
    fit(averaged, noisy, squared_error, average=0.98, **rough)
    best = torch.linalg.lstsq(torch.cat([noisy[0], torch.ones(200, 1)], 1), noisy[1]).solution[:3, 0]
    assert (averaged.weight[0] - best).norm() < (plain.weight[0] - best).norm()


def test_early_stopping_goes_back_to_the_best_weights():
    model = line()
    x, y = line_data(20)

    def worse_and_worse(m, batch):  # validation improves for three validations, then a larger bias makes it worse
        return (m.bias - 1.0) ** 2 if torch.is_grad_enabled() else (m.bias - 0.3) ** 2

    with torch.no_grad():
        model.bias.fill_(0.0)
    history = fit(
        model, (x, y), worse_and_worse, steps=500, batch_size=20, lr=0.1, valid=(x, y), valid_every=1, patience=3,
        optimizer=lambda p, lr: torch.optim.SGD(p, lr=lr), progress=False,
    )  # fmt: skip
    best = history.valid_loss.index(min(history.valid_loss))
    assert history.stopped_early and len(history.loss) == best + 4
    assert (model.bias.item() - 0.3) ** 2 == pytest.approx(min(history.valid_loss), abs=1e-7)


def test_validation_does_not_disturb_training_and_repeats_its_draws():
    def noisy_loss(model, batch):
        return squared_error(model, batch) * (1 + torch.rand(()))

    results = []
    for valid_every in (None, 1):
        model = line()
        seed_everything(0)
        valid = line_data(50) if valid_every else None
        history = fit(
            model,
            line_data(),
            noisy_loss,
            steps=20,
            batch_size=50,
            valid=valid,
            valid_every=valid_every,
            lr=0.0,
            progress=False,
        )
        results.append(history.loss)
    assert results[0] == results[1]
    assert len(set(history.valid_loss)) == 1  # lr 0, so the same weights, and the same draws


def test_a_loss_that_is_not_finite_stops_with_the_step():
    model = line()
    calls = []

    def broken(m, batch):
        calls.append(1)
        return squared_error(m, batch) * (math.nan if len(calls) == 8 else 1.0)

    with pytest.raises(FloatingPointError, match="nan at step 7"):
        fit(model, line_data(), broken, steps=20, batch_size=50, progress=False)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(steps=0, batch_size=5), "1 or more"),
        (dict(steps=1, batch_size=500), "at least as many examples"),
        (dict(steps=1, batch_size=5, patience=2), "needs validation data"),
        (dict(steps=1, batch_size=5, average=1.0), "between 0 and 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(line(), line_data(), squared_error, progress=False, **arguments)
    with pytest.raises(ValueError, match="same length"):
        fit(line(), (torch.zeros(5, 3), torch.zeros(4, 1)), squared_error, steps=1, batch_size=2)


def test_bar_goes_to_standard_error_as_plain_text(capsys):
    fit(line(), line_data(), squared_error, steps=5, batch_size=50, valid=line_data(10), valid_every=5)
    out, err = capsys.readouterr()
    assert out == "" and "5/5" in err and "valid" in err and err.isascii()


def small_vae() -> VAE:
    return VAE(
        ConditionalNormal((2,), MLP(8, (8,), 4)), ConditionalBernoulli((8,), MLP(2, (8,), 8)), StandardNormal((2,))
    )


TRAINING = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_training import *
torch.set_num_threads(1)
seed_everything(0)
model = small_vae()
generator = torch.Generator().manual_seed(0)
data = (torch.rand(300, 8, generator=generator) < 0.3).float()
fit(model, data, steps=400, batch_size=32, lr=cosine(1e-2, 400), average=0.99, clip_norm=1.0, valid=data[:50],
    valid_every=20, patience=15, checkpoint=sys.argv[1], checkpoint_every=int(sys.argv[2]), resume=True, progress=False)
torch.save(model.state_dict(), sys.argv[1] + ".done")
print("done")
"""


def run_training(checkpoint: Path, every: int, kill_after: float | None = None) -> bool:
    """Run the training in a process of its own, killed after some seconds; True if it reached its end."""
    code = TRAINING.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
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


def test_resume_extends_a_finished_run(tmp_path):
    path = tmp_path / "run.pt"
    data = line_data()
    whole, parts = line(), line()
    fit(whole, data, squared_error, steps=30, batch_size=50, progress=False)
    fit(parts, data, squared_error, steps=10, batch_size=50, checkpoint=path, progress=False)
    parts = line()
    history = fit(parts, data, squared_error, steps=30, batch_size=50, checkpoint=path, resume=True, progress=False)
    assert torch.equal(whole.weight, parts.weight) and len(history.loss) == 30
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
    with pytest.raises(ValueError, match=r"batch_size 50 \(now 40\)"):
        fit(line(), line_data(), squared_error, steps=5, batch_size=40, checkpoint=path, resume=True, progress=False)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="not a checkpoint"):
        fit(line(), line_data(), squared_error, steps=5, batch_size=50, checkpoint=path, resume=True, progress=False)


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    fit(line(), line_data(), squared_error, steps=5, batch_size=50, checkpoint=path, progress=False)
    before = path.read_bytes()

    def full(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        fit(line(), line_data(), squared_error, steps=9, batch_size=50, checkpoint=path, resume=True, progress=False)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["run.pt"]


def test_cosine_by_its_formula():
    lr = cosine(2.0, 100, warmup=4)
    assert [lr(s) for s in (0, 3, 50)] == pytest.approx([0.25 * (1 + 1), 1 + math.cos(0.03 * math.pi), 1.0], abs=1e-12)
    assert lr(100) == pytest.approx(0.0)
