"""Checkpoints of other runs, damaged ones and numbers that are none: refused, and nothing is overwritten."""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn

from lvmlib.training import cosine, fit
from tests.line import line, line_data, squared_error


def absolute_error(model, batch):
    x, y = batch
    return (model(x) - y).abs()


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
    torch.rand(1), random.random()  # the generators have moved on since
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
