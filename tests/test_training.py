"""Training: what `fit` does, step by step."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lvmlib import training
from lvmlib.autoregressive import MADE
from lvmlib.bounds import elbo
from lvmlib.data import Data
from lvmlib.distributions import ConditionalNormal, StandardNormal
from lvmlib.latent import VAE
from lvmlib.networks import MLP
from lvmlib.runs.batches import batches
from lvmlib.runs.state import Run
from lvmlib.training import Objective, cosine, fit, negative_elbo
from tests.line import binary, line, line_data, squared_error


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


def test_bar_goes_to_standard_error_as_plain_text(capsys):
    fit(line(), line_data(), squared_error, steps=5, batch_size=50, valid=line_data(10), valid_every=5)
    out, err = capsys.readouterr()
    assert out == "" and "5/5" in err and "valid" in err and err.isascii()


def test_the_bar_names_losses_now_and_then_and_is_drawn_in_its_own_time(monkeypatch):
    said = []

    class Bar:
        def __init__(self, **_):
            self.step = 0

        def update(self):
            self.step += 1

        def set_postfix_str(self, text, refresh):
            said.append((self.step, text.count("valid"), refresh))

        def close(self):
            pass

    monkeypatch.setattr(training, "tqdm", Bar)
    fit(line(), line_data(), squared_error, steps=120, batch_size=10, valid=line_data(10), valid_every=70)
    assert said == [(step, int(step >= 70), False) for step in (50, 70, 100, 120)]


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


def test_a_parameter_group_at_rate_zero_does_not_move():
    model = line()
    start, bias = model.weight.detach().clone(), model.bias.detach().clone()

    def groups(parameters, lr):
        return torch.optim.Adam([{"params": model.weight, "lr": 0.0}, {"params": model.bias}], lr=lr)

    fit(model, line_data(), squared_error, steps=10, batch_size=50, lr=cosine(0.1, 10), optimizer=groups,
        progress=False)  # fmt: skip
    assert torch.equal(model.weight, start) and not torch.equal(model.bias, bias)


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
from lvmlib.training import Objective, fit
from tests.line import line, line_data, squared_error
rank, folder = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
half = tuple(t[rank::2] for t in line_data())
wrapped = DistributedDataParallel(Objective(line(), squared_error))
wrapped(half).mean().backward()
gradients = [p.grad.clone() for p in wrapped.parameters()]
wrapped = DistributedDataParallel(Objective(line(), squared_error))
history = fit(wrapped, half, lambda objective, batch: objective(batch), steps=15, batch_size=100, lr=0.1,
    average=0.9, progress=False)
torch.save({"gradients": gradients, "weights": [p.detach() for p in wrapped.parameters()]}, f"{folder}/{rank}.pt")
del wrapped
gc.collect()
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_the_whole_batch(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", PROCESSES]
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
