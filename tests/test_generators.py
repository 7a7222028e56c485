import random

import numpy as np
import pytest
import torch

from lvmlib import generators
from lvmlib.base import seed_everything
from lvmlib.generators import forked_generators, generator_states, restore_generators
from lvmlib.training import fit


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


class FakeDevice:
    """A kind of device with one generator or several, whose state is the number of draws since the seed."""

    def __init__(self, several):
        self.state, self.used = [0, 0], False
        if several:
            self.get_rng_state_all, self.set_rng_state_all = lambda: list(self.state), self.put
            self.manual_seed_all, self.device_count = lambda seed: self.put([seed, seed]), lambda: 2
            self.is_initialized = lambda: self.used
        else:
            self.get_rng_state, self.set_rng_state = lambda: list(self.state), self.put
            self.manual_seed = lambda seed: self.put([seed, seed])

    def put(self, state):
        self.state = list(state)

    def is_available(self):
        return True

    def draw(self):
        self.used = True
        self.state = [s + 1 for s in self.state]
        return self.state


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu", "other"])
def test_every_kind_of_device_is_forked_saved_and_seeded(kind, monkeypatch):
    device = FakeDevice(several=kind != "mps")
    monkeypatch.setattr(torch, kind, device, raising=False)
    monkeypatch.setattr(torch, "manual_seed", torch.default_generator.manual_seed)  # knows the real devices alone
    monkeypatch.setattr(torch._C, "_get_privateuse1_backend_name", lambda: "other")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: kind == "mps")
    device.draw()
    before = list(device.state)
    for _ in range(2):
        with forked_generators(5):
            assert device.draw() == [6, 6]
    assert device.state == before
    states = generator_states()
    seed_everything(9)
    assert device.state == [9, 9]
    restore_generators(states)
    assert device.state == before


def test_fit_validates_from_its_seed_and_takes_nothing_from_a_device(monkeypatch):
    """What a validation draws on another device is the same each time, and training there goes on as without it."""
    device = FakeDevice(several=False)
    monkeypatch.setattr(torch, "mps", device)
    monkeypatch.setattr(torch, "manual_seed", torch.default_generator.manual_seed)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    model, seen = torch.nn.Linear(1, 1), {True: [], False: []}

    def loss(model, x):
        seen[model.training].append(device.draw()[0])
        return model(x).square()

    fit(model, torch.ones(4, 1), loss, steps=4, batch_size=2, valid=torch.ones(2, 1), valid_every=1, progress=False)
    assert seen == {True: [1, 2, 3, 4], False: [1, 1, 1, 1]}


def test_a_fork_refuses_a_seed_that_one_generator_would_refuse():
    before = generator_states()
    for bad in (-1, 2**32, 1.0, "0", True):
        with pytest.raises(ValueError, match="seed must be"), forked_generators(bad):
            pass
    assert str(generator_states()) == str(before)
