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
from lvmlib.data import Data
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.training import _batches, cosine, fit, negative_elbo


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
    fit(ours, (x, y), squared_error, steps=9, batch_size=50, lr=lambda step: 0.1 / (1 + step), clip_norm=0.5, seed=4,
        progress=False)  # fmt: skip
    optimizer = torch.optim.Adam(theirs.parameters())
    batches = _batches((x, y), 50, 4, 0)
    for step in range(9):
        index = next(batches)
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
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


def test_averaged_weights_by_their_recursion():
    ours, theirs = line(), line()
    arguments = dict(batch_size=50, lr=0.1, progress=False)
    fit(ours, line_data(), squared_error, steps=12, average=0.5, **arguments)
    average = [p.detach().clone() for p in theirs.parameters()]
    for steps in range(1, 13):
        theirs = line()
        fit(theirs, line_data(), squared_error, steps=steps, **arguments)
        decay = min(0.5, steps / (steps + 9))
        average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, theirs.parameters())]
    for a, p in zip(average, ours.parameters()):
        torch.testing.assert_close(a, p.detach())


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


def test_validation_is_the_mean_over_all_examples_once_per_pass_and_at_the_end():
    model, valid, seen = line().eval(), line_data(53), []

    def watched(m, batch):
        seen.append((m.training, torch.is_grad_enabled()))
        return squared_error(m, batch)

    history = fit(model, line_data(), watched, steps=10, batch_size=50, valid=valid, progress=False)
    assert history.valid_steps == [4, 8, 10]
    assert seen.count((True, True)) == 10 and seen.count((False, False)) == 2 * 3 and len(seen) == 16
    assert history.valid_loss[-1] == pytest.approx(squared_error(model, valid).mean().item(), rel=1e-5)


def test_validation_sees_the_averaged_weights_and_training_its_own():
    plain, averaged = line(), line()
    arguments = dict(steps=20, batch_size=50, lr=0.1, valid=line_data(50), valid_every=4, progress=False)
    without = fit(plain, line_data(), squared_error, **arguments)
    history = fit(averaged, line_data(), squared_error, average=0.9, **arguments)
    assert history.loss == without.loss and history.valid_loss != without.valid_loss
    assert history.valid_loss[-1] == pytest.approx(squared_error(averaged, line_data(50)).mean().item(), rel=1e-5)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_the_step(number):
    model = line()
    calls = []

    def broken(m, batch):
        calls.append(1)
        return squared_error(m, batch) * (number if len(calls) == 8 else 1.0)

    with pytest.raises(FloatingPointError, match=f"{number} at step 7"):
        fit(model, line_data(), broken, steps=20, batch_size=50, progress=False)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(steps=0, batch_size=5), "steps must be a whole number, 1 or more, but it is 0"),
        (dict(steps=2.5, batch_size=5), "steps must be a whole number"),
        (dict(steps=1, batch_size=5, checkpoint_every=0), "checkpoint_every must be"),
        (dict(steps=1, batch_size=5, valid=line_data(10), valid_every=0), "valid_every must be"),
        (dict(steps=1, batch_size=5, valid=line_data(10), patience=0), "patience must be"),
        (dict(steps=1, batch_size=5, valid=line_data(0)), "valid holds no examples"),
        (dict(steps=1, batch_size=5, valid=(torch.zeros(5, 3), torch.zeros(4, 1))), "same length, but those of valid"),
        (dict(steps=1, batch_size=5, clip_norm=-1.0), "clip_norm is the largest norm"),
        (dict(steps=1, batch_size=5, lr=-0.1), "not negative, but it is -0.1 at step 0"),
        (dict(steps=9, batch_size=5, lr=lambda step: 0.2 - 0.1 * step), "not negative, but it is -0.1.* at step 3"),
        (dict(steps=1, batch_size=5, lr=math.nan), "it is nan at step 0"),
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


@pytest.mark.parametrize(
    ("data", "came"),
    [
        ([[1.0, 2.0, 3.0]] * 10, "list"),
        (torch.zeros(10, 3).numpy(), "ndarray"),
        (torch.utils.data.DataLoader(torch.zeros(10, 3)), "DataLoader"),
        ((torch.zeros(10, 3), [0.0] * 10), r"\(Tensor, list\)"),
        ((), r"\(\)"),
        (None, "NoneType"),
    ],
)
def test_data_of_another_kind(data, came):
    with pytest.raises(TypeError, match=f"data must be a lvmlib.data.Data.* but it is {came}"):
        fit(line(), data, squared_error, steps=1, batch_size=2, progress=False)
    if data is not None:
        with pytest.raises(TypeError, match=f"valid must be a lvmlib.data.Data.* but it is {came}"):
            fit(line(), line_data(), squared_error, steps=1, batch_size=2, valid=data, progress=False)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (lambda m, b: 1.0, TypeError, "it returned float"),
        (lambda m, b: torch.ones(5, dtype=torch.long), TypeError, "it returned torch.int64"),
        (lambda m, b: (m(b[0]) - b[1][:, 0]) ** 2, ValueError, r"5 in all, but it returned shape \[5, 5\]"),
        (lambda m, b: squared_error(m, b)[:0], ValueError, r"shape \[0, 1\]"),
        (lambda m, b: squared_error(m, b).detach(), ValueError, "does not depend on the model's parameters"),
        (None, TypeError, "Only a Density has a loss by default, and Linear is none"),
    ],
)
def test_bad_losses(loss, error, message):
    with pytest.raises(error, match=message):
        fit(line(), line_data(), loss, steps=1, batch_size=5, progress=False)


def test_models_without_anything_to_train():
    for model in (nn.Identity(), line().requires_grad_(False)):
        with pytest.raises(ValueError, match="nothing to train"):
            fit(model, line_data(), squared_error, steps=1, batch_size=5, progress=False)
    with pytest.raises(TypeError, match="it is a NoneType"):
        fit(None, line_data(), squared_error, steps=1, batch_size=5, progress=False)


def test_a_validation_loss_that_is_not_finite_stops_with_the_step():
    def broken(m, batch):
        return squared_error(m, batch) * (1.0 if torch.is_grad_enabled() else math.nan)

    with pytest.raises(FloatingPointError, match="validation loss is nan after 3 steps"):
        fit(line(), line_data(), broken, steps=9, batch_size=5, valid=line_data(10), valid_every=3, progress=False)


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
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]
    fit(model, line_data(), squared_error, resume=True, progress=False, **arguments)
    fit(whole, line_data(), squared_error, steps=20, batch_size=50, progress=False)
    assert torch.equal(whole.weight, model.weight)


def test_a_place_where_no_checkpoint_can_be_written_is_noticed_before_training(tmp_path):
    def never(m, batch):
        raise AssertionError("training began")

    (tmp_path / "file").write_text("")
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "file" / "run.pt", "no checkpoint can be written to")):
        with pytest.raises(OSError, match=message):
            fit(line(), line_data(), never, steps=1, batch_size=5, checkpoint=path, progress=False)


def test_bar_goes_to_standard_error_as_plain_text(capsys):
    fit(line(), line_data(), squared_error, steps=5, batch_size=50, valid=line_data(10), valid_every=5)
    out, err = capsys.readouterr()
    assert out == "" and "5/5" in err and "valid" in err and err.isascii()


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
from test_training import *
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
        (dict(valid=line_data(9), patience=2), r"early stopping False \(now True\)"),
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


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    fit(line(), line_data(), squared_error, steps=5, batch_size=50, checkpoint=path, progress=False)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*run\.pt cannot be written at step 9"):
        fit(line(), line_data(), squared_error, steps=9, batch_size=50, checkpoint=path, resume=True, progress=False)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["run.pt"]


def test_cosine_by_its_formula():
    lr = cosine(2.0, 100, warmup=4)
    assert [lr(s) for s in (0, 3, 50)] == pytest.approx([0.25 * (1 + 1), 1 + math.cos(0.03 * math.pi), 1.0], abs=1e-12)
    assert lr(100) == pytest.approx(0.0) and lr(150) == lr(100)
    with pytest.raises(ValueError, match="steps must be 1 or more"):
        cosine(1.0, 0)
