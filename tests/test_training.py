import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lvmlib import training
from lvmlib.autoregressive import MADE, OrderingMixture
from lvmlib.base import seed_everything
from lvmlib.bounds import elbo
from lvmlib.data import Data
from lvmlib.distributions import ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.runs.batches import batches
from lvmlib.runs.state import Run
from lvmlib.training import Objective, cosine, fit, negative_elbo


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
    order = batches((x, y), 50, 4)
    for step in range(9):
        index = next(order)
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
        optimizer.zero_grad()
        squared_error(theirs, (x[index], y[index])).mean().backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


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


def test_bar_goes_to_standard_error_as_plain_text(capsys):
    fit(line(), line_data(), squared_error, steps=5, batch_size=50, valid=line_data(10), valid_every=5)
    out, err = capsys.readouterr()
    assert out == "" and "5/5" in err and "valid" in err and err.isascii()


def test_cosine_by_its_formula():
    lr = cosine(2.0, 100, warmup=4)
    assert [lr(s) for s in (0, 3, 50)] == pytest.approx([0.25 * (1 + 1), 1 + math.cos(0.03 * math.pi), 1.0], abs=1e-12)
    assert lr(100) == pytest.approx(0.0) and lr(150) == lr(100)
    with pytest.raises(ValueError, match="steps must be a whole number, 1 or more"):
        cosine(1.0, 0)


def test_before_step_comes_before_each_step_with_its_number():
    model, seen = line(), []

    def before(step):
        seen.append(step)
        model.scale = 0.0 if step == 2 else 1.0

    def scaled(m, batch):
        return squared_error(m, batch) * m.scale + 0 * m.bias.sum()

    history = fit(model, line_data(), scaled, steps=4, batch_size=50, before_step=before, progress=False)
    assert seen == [0, 1, 2, 3] and [loss == 0 for loss in history.loss] == [False, False, True, False]
    with pytest.raises(TypeError, match="before_step must be a function of the step, but it is a int"):
        fit(model, line_data(), scaled, steps=4, batch_size=50, before_step=3, progress=False)


def binary(n=60, d=5):
    return torch.randint(0, 2, (n, d), generator=torch.Generator().manual_seed(0)).float()


def conditional_made():
    torch.manual_seed(0)
    return MADE((5,), hidden=(8,), context=3)


def test_a_pair_is_x_and_its_context():
    x, y = binary(), torch.arange(60) % 3
    by_default, by_hand = conditional_made(), conditional_made()
    arguments = dict(steps=5, batch_size=20, lr=0.1, progress=False)
    history = fit(by_default, (x, y), valid=(x[:9], y[:9]), **arguments)
    fit(by_hand, (x, y), lambda m, batch: -m.log_prob(batch[0], batch[1]), **arguments)
    for a, b in zip(by_default.parameters(), by_hand.parameters()):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        torch.testing.assert_close(history.valid_loss[-1], -by_hand.log_prob(x[:9], y[:9]).mean().item())


def test_labels_of_a_data_go_along_when_they_are_asked_to():
    grey = (binary() * 200).to(torch.uint8)
    data = Data(grey, torch.arange(60) % 3, binarize="stochastic")
    model = conditional_made()
    fit(model, (data, data.y), steps=5, batch_size=20, progress=False)
    assert model.net.context_map.weight.grad.abs().sum() > 0
    for alone in (data, binary()):
        with pytest.raises(ValueError, match=r"MADE takes a context of shape \[3\].*\(data, data.y\)"):
            fit(model, alone, steps=5, batch_size=20, progress=False)
    with pytest.raises(ValueError, match="a batch has 3 parts"):
        fit(model, (data, data.y, data.y), steps=5, batch_size=20, progress=False)
    unconditional = MADE((5,), hidden=(8,))
    with pytest.raises(ValueError, match="context"):  # labels where none are taken
        fit(unconditional, (data, data.y), steps=5, batch_size=20, progress=False)


def test_validation_of_what_will_be_used():
    """A MADE with several mask sets: one set is trained on at a time, the mixture is validated."""
    torch.manual_seed(0)
    made, x = MADE((5,), hidden=(16,), degrees="random", masks=4), binary()

    def mixture_loss(m, batch):
        assert not m.training
        return -OrderingMixture(m).log_prob(batch)

    history = fit(made, x, steps=40, batch_size=20, lr=0.05, valid=x, valid_loss=mixture_loss, valid_every=10,
                  patience=9, progress=False)  # fmt: skip
    with torch.no_grad():
        mixture = -OrderingMixture(made).log_prob(x).mean().item()
        in_use = -made.log_prob(x).mean().item()
    assert min(history.valid_loss) == pytest.approx(mixture, rel=1e-5) and abs(mixture - in_use) > 1e-3
    with pytest.raises(ValueError, match="valid_loss is measured on validation data"):
        fit(made, x, steps=4, batch_size=20, valid_loss=mixture_loss, progress=False)


def test_a_parameter_group_at_rate_zero_does_not_move():
    model = line()
    start, bias = model.weight.detach().clone(), model.bias.detach().clone()

    def groups(parameters, lr):
        return torch.optim.Adam([{"params": model.weight, "lr": 0.0}, {"params": model.bias}], lr=lr)

    fit(model, line_data(), squared_error, steps=10, batch_size=50, lr=cosine(0.1, 10), optimizer=groups,
        progress=False)  # fmt: skip
    assert torch.equal(model.weight, start) and not torch.equal(model.bias, bias)


def test_averaged_batch_statistics_end_up_in_the_model():
    averaged = nn.Sequential(line(), nn.BatchNorm1d(1))
    arguments = dict(batch_size=50, lr=0.1, progress=False)
    fit(averaged, line_data(), squared_error, steps=6, average=0.5, **arguments)
    mean = torch.zeros(1)
    for steps in range(1, 7):
        own = nn.Sequential(line(), nn.BatchNorm1d(1))
        fit(own, line_data(), squared_error, steps=steps, **arguments)
        decay = min(0.5, steps / (steps + 9))
        mean = decay * mean + (1 - decay) * own[1].running_mean
    torch.testing.assert_close(averaged[1].running_mean, mean)
    assert not torch.allclose(mean, own[1].running_mean) and averaged[1].num_batches_tracked == 6


def test_looking_every_few_steps_changes_nothing_but_the_time_of_an_error(tmp_path, monkeypatch):
    """What an accelerator does, done on the CPU: losses are fetched in blocks of seven."""
    arguments = dict(batch_size=50, lr=0.1, valid=line_data(20), valid_every=5, progress=False)
    each, blocks = line(), line()
    history = fit(each, line_data(), squared_error, steps=20, **arguments)
    monkeypatch.setattr(training, "Run", lambda *given: Run(*given[:-1], block=7))
    assert fit(blocks, line_data(), squared_error, steps=20, **arguments) == history
    assert torch.equal(each.weight, blocks.weight)

    calls = []

    def breaks(m, batch):
        calls.append(1)
        return squared_error(m, batch) * (math.nan if len(calls) == 10 else 1.0)

    path = tmp_path / "run.pt"
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 9\. .* spoilt: this was seen \d updates later"):
        fit(line(), line_data(), breaks, steps=20, batch_size=50, checkpoint=path, checkpoint_every=4, progress=False)
    state = torch.load(path)
    assert state["step"] == 8 and all(t.isfinite().all() for t in state["model"].values())


def test_an_objective_is_the_model_and_the_loss_as_one_module():
    model, (x, y) = line(), line_data(10)
    objective = Objective(model, squared_error)
    assert torch.equal(objective((x, y)), squared_error(model, (x, y)))
    assert list(objective.parameters()) == list(model.parameters())
    vae = VAE(ConditionalNormal((1,), nn.Linear(2, 2)), ConditionalNormal((2,), nn.Linear(1, 4)), StandardNormal((1,)))
    assert Objective(vae).loss is negative_elbo
    values = []
    for function in (Objective(vae), lambda x: -elbo(vae, x)):
        torch.manual_seed(0)
        values.append(function(torch.ones(3, 2)))
    assert torch.equal(*values)


PROCESSES = """
import gc, sys, torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
sys.path.insert(0, {tests!r})
from test_training import *
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{{folder}}/meeting", rank=rank, world_size=2)
half = tuple(t[rank::2] for t in line_data())
wrapped = DistributedDataParallel(Objective(line(), squared_error))
wrapped(half).mean().backward()
gradients = [p.grad.clone() for p in wrapped.parameters()]
wrapped = DistributedDataParallel(Objective(line(), squared_error))
history = fit(wrapped, half, lambda objective, batch: objective(batch), steps=15, batch_size=100, lr=0.1,
    average=0.9, progress=False)
torch.save({{"gradients": gradients, "weights": [p.detach() for p in wrapped.parameters()]}}, f"{{folder}}/{{rank}}.pt")
del wrapped
gc.collect()
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_the_whole_batch(tmp_path):
    code = PROCESSES.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment) for rank in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    model = line()
    squared_error(model, line_data()).mean().backward()
    for a, b, p in zip(first["gradients"], second["gradients"], model.parameters()):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, p.grad)
    model = line()
    fit(model, line_data(), squared_error, steps=15, batch_size=200, lr=0.1, average=0.9, progress=False)
    for a, b, p in zip(first["weights"], second["weights"], model.parameters()):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, p.detach())
