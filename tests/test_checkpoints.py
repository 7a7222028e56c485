import hashlib
import json
import os
import platform
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

from lvmlib import checkpoints
from lvmlib.checkpoints import SHIPPED, load_checkpoint, provenance, save_checkpoint
from lvmlib.distributions import ConditionalBernoulli, ConditionalNormal
from lvmlib.latent import VAE, VampPrior
from lvmlib.networks import MLP


def model(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))


def test_round_trip_with_record(tmp_path):
    first, second = model(), model()
    path = save_checkpoint(first, tmp_path / "small", provenance(seed=3, metric=1.5))
    record = load_checkpoint(second, path)
    assert record["seed"] == 3 and record["metric"] == 1.5 and record["parameters"] == 13
    for a, b in zip(first.parameters(), second.parameters()):
        assert torch.equal(a, b)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.json", "small.safetensors"]
    assert load_checkpoint(second, str(tmp_path / "small")) == record
    assert path.with_suffix(".json").read_text() == json.dumps(record, indent=2) + "\n"
    assert path.stat().st_mode & 0o044 == 0o044, "others must be able to read an installed checkpoint"


def test_a_link_is_followed_and_not_replaced(tmp_path):
    real = save_checkpoint(model(), tmp_path / "disk" / "real", {"seed": 0})
    link = tmp_path / "small.safetensors"
    link.symlink_to(real)
    first, second = model(), model()
    assert save_checkpoint(first, tmp_path / "small", {"seed": 1}) == real
    assert link.is_symlink() and load_checkpoint(second, link)["seed"] == load_checkpoint(second, real)["seed"] == 1
    assert torch.equal(first[0].weight, second[0].weight)


def test_loading_readies_a_model_for_use(tmp_path, monkeypatch):
    path = save_checkpoint(model(), tmp_path / "new" / "folder" / "small", {})
    fresh = model().train()
    load_checkpoint(fresh, path)
    assert not fresh.training
    monkeypatch.setattr(checkpoints, "SHIPPED", path.parent)
    assert load_checkpoint(model(), "small")["parameters"] == 13


def test_provenance_names_command_and_commit(monkeypatch):
    monkeypatch.setattr(checkpoints.sys, "argv", ["run.py", "--seed", "3"])
    for spec, name in ((SimpleNamespace(name="lvmlib.experiments.x"), "lvmlib.experiments.x"), (None, "run")):
        monkeypatch.setitem(checkpoints.sys.modules, "__main__", SimpleNamespace(__spec__=spec))
        assert provenance()["command"] == f"python -m {name} --seed 3"
    codes = {"rev-parse": 0}

    def git(command, **_):
        return CompletedProcess(command, codes[command[1]], stdout="abc\n")

    monkeypatch.setattr(checkpoints.subprocess, "run", git)
    for codes["diff"], commit in ((0, "abc"), (1, "abc+")):
        assert provenance()["commit"] == commit


def test_outside_a_repository_and_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / "checkpoints.py"))
    assert provenance()["commit"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance()["commit"] is None


def test_provenance_names_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert provenance()["hardware"] == f"{os.cpu_count()}-core CPU, {platform.machine()}"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Abacus 3000")
    assert provenance()["hardware"] == "Abacus 3000"


def test_files_are_made_beside_their_place_and_hidden(tmp_path, monkeypatch):
    """On the same disk, so that each is put in place in one go; what a killed process leaves is not taken for ours."""
    replaced = []
    monkeypatch.setattr(checkpoints.os, "replace", lambda a, b: replaced.append(Path(a)))
    save_checkpoint(model(), tmp_path / "small", {})
    assert [path.parent.parent for path in replaced] == [tmp_path, tmp_path]
    assert all(path.parent.name.startswith(".saving-") for path in replaced)


def test_a_part_that_had_another_name_takes_its_weights(tmp_path):
    class Renamed(nn.Linear):
        def __init__(self):
            super().__init__(2, 3)
            self._register_load_state_dict_pre_hook(self.rename)

        @staticmethod
        def rename(stored, prefix, *_):
            if f"{prefix}matrix" in stored:
                stored[f"{prefix}weight"] = stored.pop(f"{prefix}matrix")

    path, inner = save_checkpoint(model(), tmp_path / "small", {}), Renamed()
    weights = load_file(path)
    weights["0.matrix"] = weights.pop("0.weight")
    forged(path, save(weights))
    load_checkpoint(nn.Sequential(inner, nn.Linear(3, 1)), path)
    assert torch.equal(inner.weight, weights["0.matrix"])


def test_a_tensor_held_twice_is_stored_once(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3)
            self.b = self.a

    tied, again = Tied(), Tied()
    load_checkpoint(again, save_checkpoint(tied, tmp_path / "tied", {}))
    assert torch.equal(tied.a.weight, again.b.weight)


def test_damage_is_noticed(tmp_path):
    path = save_checkpoint(model(), tmp_path / "small", {})
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        load_checkpoint(model(), path)


def test_other_architecture_and_unknown_name(tmp_path):
    path = save_checkpoint(model(3), tmp_path / "small", {})
    with pytest.raises(ValueError, match="another architecture"):
        load_checkpoint(model(4), path)
    with pytest.raises(FileNotFoundError, match="Shipped: "):
        load_checkpoint(model(), "no-such-model")


def forged(path, weights: bytes) -> None:
    """Other weights, and a record that fits them."""
    path.write_bytes(weights)
    path.with_suffix(".json").write_text(json.dumps({"weights_sha256": hashlib.sha256(weights).hexdigest()}))


def test_weights_that_do_not_fit_change_nothing(tmp_path):
    """The first layer fits and the second does not; or a tensor is of another kind, missing, or one too many."""
    path, target = save_checkpoint(model(), tmp_path / "small", {}), model()
    before = {name: t.clone() for name, t in target.state_dict().items()}
    good = load_file(path)
    for change, message in (
        ({"1.weight": torch.zeros(2, 3)}, r"1.weight is \[2, 3\] in the file and \[1, 3\] in the model"),
        ({"1.bias": torch.zeros(1, dtype=torch.long)}, "1.bias is torch.int64 in the file and torch.float32"),
        ({"2.bias": torch.zeros(1)}, "no 2.bias in the model"),
        ({"1.bias": None}, "no 1.bias in the file"),
        ({f"{i}.weight": torch.zeros(1) for i in range(2, 5)}, "no 2[^;]*; no 3[^;]*; no 4[^;]* in the model.$"),
        ({f"{i}.weight": torch.zeros(1) for i in range(2, 6)}, "no 2[^;]*; no 3[^;]*; no 4[^;]*; and 1 more"),
    ):
        forged(path, save({name: t for name, t in {**good, **change}.items() if t is not None}))
        with pytest.raises(
            ValueError, match=rf"small.safetensors holds the weights of another architecture: .*{message}"
        ):
            load_checkpoint(target, path)
        assert all(torch.equal(t, before[name]) for name, t in target.state_dict().items())


def test_a_file_that_is_no_safetensors_file(tmp_path):
    path = save_checkpoint(model(), tmp_path / "small", {})
    for content in (b"", b"no weights", b"\xff" * 100, path.read_bytes()[:-4]):
        forged(path, content)
        with pytest.raises(ValueError, match="is no safetensors file"):
            load_checkpoint(model(), path)


def test_compiled_and_distributed_modules_are_stored_and_loaded_as_what_is_inside(tmp_path):
    inner = model()
    path = save_checkpoint(torch.compile(inner), tmp_path / "small", {})
    assert load_file(path).keys() == inner.state_dict().keys()
    for target in (model(), torch.compile(model()), nn.DataParallel(model())):
        load_checkpoint(target, path)
        assert all(torch.equal(a, b) for a, b in zip(target.parameters(), inner.parameters()))
    partly = nn.Sequential(torch.compile(inner[0]), inner[1])
    for first, second in ((partly, model()), (model(), nn.Sequential(torch.compile(nn.Linear(2, 3)), nn.Linear(3, 1)))):
        load_checkpoint(second, save_checkpoint(first, tmp_path / "partly", {}))
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    first, second = model(), model()
    path = save_checkpoint(first, "~/models/small", {})
    load_checkpoint(second, "~/models/small")
    assert path == tmp_path / "home" / "models" / "small.safetensors" and torch.equal(first[0].weight, second[0].weight)
    assert [p.name for p in tmp_path.iterdir()] == ["home"]


def test_a_prior_that_shares_the_encoder(tmp_path):
    def vae(half=False):
        encoder = ConditionalNormal((2,), MLP(4, (8,), 4))
        made = VAE(encoder, ConditionalBernoulli((4,), MLP(2, (8,), 4)), VampPrior(encoder, torch.randn(5, 4)))
        return made.bfloat16().float() if half else made

    for half in (False, True):
        first, second = vae(half), vae()
        path = save_checkpoint(first, tmp_path / "vamp", {}, half=half)
        unique = {id(p): p.numel() for p in first.parameters()}
        assert load_checkpoint(second, path)["parameters"] == sum(unique.values())
        assert second.prior.encoder is second.pair.encoder
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))
        assert sum(t.numel() for t in load_file(path).values()) == sum(unique.values())


def test_a_dot_in_the_name_is_kept(tmp_path):
    for name in ("beta_0.5", "beta_0.1"):
        path = save_checkpoint(model(), tmp_path / name, {"name": name})
        assert path.name == f"{name}.safetensors"
    assert load_checkpoint(model(), tmp_path / "beta_0.5")["name"] == "beta_0.5"
    assert load_checkpoint(model(), tmp_path / "beta_0.1.safetensors")["name"] == "beta_0.1"


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.unlink(),
        lambda record: record.write_text("{"),
        lambda record: record.write_text("[1, 2]"),
        lambda record: record.write_text("null"),
        lambda record: record.write_bytes(b"\xff\xfe\x00"),
        lambda record: record.write_text("[" * 100_000),
    ],
)
def test_weights_without_a_readable_record_are_refused(tmp_path, damage):
    path = save_checkpoint(model(), tmp_path / "small", {})
    damage(path.with_suffix(".json"))
    with pytest.raises(ValueError, match="no readable record beside it"):
        load_checkpoint(model(), path)


def test_a_record_that_is_no_json_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        save_checkpoint(model(), tmp_path / "small", {"data": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda p: p.stem)
def test_every_shipped_record_says_how_it_came_about(path):
    record = json.loads(path.read_text())
    assert record["command"].startswith("python -m lvmlib.experiments.")
    shipped = ["weights_sha256"] if path.with_suffix(".safetensors").exists() else []  # some records come alone
    for key in ("commit", "data", "seed", "hardware", "training_minutes", *shipped):
        assert record.get(key) is not None, f"{path.name} lacks {key}"


def test_two_bytes_a_weight(tmp_path):
    model = nn.Linear(300, 7)
    with pytest.raises(ValueError, match=r"round the model first with model.bfloat16\(\).float\(\)"):
        save_checkpoint(model, tmp_path / "line", {}, half=True)
    assert not list(tmp_path.iterdir())
    model.bfloat16().float()
    with torch.no_grad():
        model.weight[0, 0] = 2.0**-100  # the range is that of float32
    path = save_checkpoint(model, tmp_path / "line", {}, half=True)
    again = nn.Linear(300, 7)
    record = load_checkpoint(again, path)
    assert (record["parameters"], record["weights"]) == (300 * 7 + 7, "bfloat16")
    assert again.weight.dtype == torch.float32 and torch.equal(again.weight, model.weight)
    assert path.stat().st_size < 2.1 * (300 * 7 + 7) + 200
