import random

import numpy as np
import pytest
import torch

from lvmlib import generators
from lvmlib.base import seed_everything
from lvmlib.generators import forked_generators, generator_states, restore_generators


def draws():
    return torch.rand(3).tolist(), random.random(), np.random.rand(), random.gauss(0, 1), np.random.randn()  # noqa: NPY002


def test_all_generators_go_back_to_their_states(tmp_path):
    seed_everything(1)
    draws()
    torch.save(generator_states(), tmp_path / "states")
    first = draws()
    seed_everything(2)
    restore_generators(torch.load(tmp_path / "states", weights_only=True))
    assert draws() == first


def test_a_fork_repeats_itself_and_takes_nothing_from_outside():
    seed_everything(1)
    plain = [draws(), draws()]
    seed_everything(1)
    outside, inside = [draws()], []
    for _ in range(2):
        with forked_generators(5):
            inside.append(draws())
    with pytest.raises(ZeroDivisionError), forked_generators(5):
        draws()[0].append(1 / 0)
    outside.append(draws())
    assert outside == plain and inside[0] == inside[1]
    seed_everything(5)
    assert draws() == inside[0], "a fork starts where seed_everything starts"


def test_another_device_is_saved_seeded_and_restored_alike(monkeypatch):
    """A stand-in for a device that this machine lacks: its calls are written down."""
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: ["zero"])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda states: calls.append(states))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: calls.append(seed))
    with forked_generators(5):
        pass
    restore_generators({"cuda": ["one", "two"]})  # saved where there were two devices
    assert calls == [5, ["zero"], ["one"]]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert "cuda" not in generator_states(), "a device that nothing has used yet is not woken"
    assert set(generators.generator_states()) >= {"python", "numpy", "cpu"}
