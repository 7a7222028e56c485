"""Trained weights on disk: a safetensors file, and beside it a JSON record of how they came about."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_model
from torch import Tensor, nn

SHIPPED = Path(__file__).parent / "experiments" / "checkpoints"


def save_checkpoint(model: nn.Module, path: str | os.PathLike[str], record: dict[str, Any], half: bool = False) -> Path:
    """Write weights and record, each file atomically, the weights first.

    Args:
        model: any module; tensors that it holds twice, such as those of an encoder that the prior shares, are stored
            and counted once. Of a compiled or a distributed module the one inside is stored.
        path: where to; .safetensors is added, and .json for the record. ``~`` is expanded.
        record: what `provenance` returns, plus metrics; must be serialisable as JSON.
        half: store two bytes for each weight in place of four, in bfloat16, which has the range of float32. Measure the
            metrics with the rounded weights, which ``model.bfloat16().float()`` leaves in the model.

    Returns:
        Path of the weights.

    Raises:
        ValueError: with `half`, a weight is not what two bytes can hold: the model was not rounded before.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from lvmlib import load_checkpoint, save_checkpoint
        >>> folder = tempfile.mkdtemp()
        >>> path = save_checkpoint(nn.Linear(2, 1), f"{folder}/line", {"seed": 0})
        >>> load_checkpoint(nn.Linear(2, 1), path)["seed"]
        0
    """
    target, model = _weights(path), _inner(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    json.dumps(record)  # fails, if it must, before anything is written
    if half:
        model = _halved(model)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".saving-") as folder:
        weights = Path(folder) / "weights"
        save_model(model, str(weights))
        weights.chmod(0o644)  # safetensors writes for the owner alone; an installed library must be readable by all
        full = {
            **record,
            **({"weights": "bfloat16"} if half else {}),
            "weights_sha256": _sha256(weights),
            "parameters": sum(p.numel() for p in model.parameters()),
        }
        text = json.dumps(full, indent=2)
        (Path(folder) / "record").write_text(text + "\n", encoding="utf-8")
        os.replace(weights, target)
        os.replace(Path(folder) / "record", target.with_suffix(".json"))
    return target


def load_checkpoint(model: nn.Module, name: str | os.PathLike[str]) -> dict[str, Any]:
    """Load weights into a model of the same architecture and return their record.

    Args:
        model: receives the weights, on whatever device it is.
        name: a shipped checkpoint's name, such as ``"vae_mnist"``, or a path, in which ``~`` is expanded.

    Returns:
        The record, as written by `save_checkpoint`.

    Raises:
        FileNotFoundError: no such checkpoint; the message lists the shipped ones.
        ValueError: the weights have no record, do not match it, or belong to another architecture. The model is as it
            was before.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from lvmlib import load_checkpoint, save_checkpoint
        >>> folder = tempfile.mkdtemp()
        >>> path = save_checkpoint(nn.Linear(2, 1), f"{folder}/line", {"seed": 0})
        >>> load_checkpoint(nn.Linear(2, 1), path)["parameters"]
        3
    """
    path = _find(name)
    record, content = _record(path), path.read_bytes()
    if record.get("weights_sha256") != hashlib.sha256(content).hexdigest():
        raise ValueError(f"{path.name} does not match the checksum in its record; the file is damaged or was replaced.")
    try:
        stored = {_plain(name): tensor for name, tensor in load(content).items()}
    except SafetensorError as error:
        raise ValueError(f"{path.name} is no safetensors file, though its record fits: {error}.") from error
    model = _inner(model)
    _rename(model, stored)
    wrong = _misfits(model, stored)
    if wrong:
        raise ValueError(f"{path.name} holds the weights of another architecture: {wrong}.")
    own = {_plain(name): name for name in model.state_dict()}
    model.load_state_dict({own[name]: tensor for name, tensor in stored.items()}, strict=False)
    model.eval()
    return record


def provenance(**facts: Any) -> dict[str, Any]:
    """What a record says of every run: command, commit, versions, hardware; `facts` are added.

    Example:
        >>> from lvmlib.checkpoints import provenance
        >>> sorted(provenance(seed=0))
        ['command', 'commit', 'hardware', 'python', 'seed', 'threads', 'torch']
    """
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        "command": "python -m " + " ".join([_module(), *sys.argv[1:]]),
        "commit": _commit(),
        "hardware": f"{os.cpu_count()}-core CPU, {device}" if device == platform.machine() else device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **facts,
    }


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError(f"a record is an object of JSON, but this is a {type(record).__name__}")
    except (FileNotFoundError, ValueError, RecursionError) as error:  # ValueError: no JSON, or no text at all
        raise ValueError(f"{path.name} has no readable record beside it, {path.stem}.json: {error}.") from error
    return record


def _inner(model: nn.Module) -> nn.Module:
    """The module inside the wrappers of torch, which put a prefix before every name."""
    inner: Any = model
    while True:
        if hasattr(inner, "_orig_mod"):
            inner = inner._orig_mod
        elif isinstance(inner, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = inner.module
        else:
            return inner


def _plain(name: str) -> str:
    """A weight's name without what `torch.compile` puts into it, wherever a module inside was compiled."""
    return name.replace("_orig_mod.", "")


def _rename(model: nn.Module, stored: dict[str, Tensor]) -> None:
    """What parts of the model do to weights of older names when they are loaded, done before they are compared."""
    for name, part in model.named_modules():
        for hook in part._load_state_dict_pre_hooks.values():
            hook(stored, f"{name}." if name else "", {}, True, [], [], [])


def _misfits(model: nn.Module, stored: dict[str, Tensor]) -> str:
    """What of `stored` does not fit the model, in words; of a tensor that it holds twice one name is enough."""
    own = {_plain(name): tensor for name, tensor in model.state_dict().items()}
    there = {own[name].untyped_storage().data_ptr() for name in stored if name in own}
    missing = [name for name, t in own.items() if name not in stored and t.untyped_storage().data_ptr() not in there]
    wrong = [f"no {name} in the file" for name in missing]
    wrong += [f"no {name} in the model" for name in stored if name not in own]
    for name in stored.keys() & own.keys():
        given, wanted = stored[name], own[name]
        if given.shape != wanted.shape:
            wrong.append(f"{name} is {list(given.shape)} in the file and {list(wanted.shape)} in the model")
        elif given.is_floating_point() != wanted.is_floating_point():
            wrong.append(f"{name} is {given.dtype} in the file and {wanted.dtype} in the model")
    return "; ".join(sorted(wrong)[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def _halved(model: nn.Module) -> nn.Module:
    small = copy.deepcopy(model).bfloat16()
    for (name, weight), stored in zip(model.state_dict().items(), small.state_dict().values()):
        if not torch.equal(weight, stored.to(weight.dtype)):
            raise ValueError(f"{name} does not fit into bfloat16; round the model first with model.bfloat16().float().")
    return small


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else Path(sys.argv[0]).stem


def _commit() -> str | None:
    """The commit of the working tree, with a plus where the tree was changed since; None outside a repository."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "."], cwd=here)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.returncode else "")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _weights(path: str | os.PathLike[str]) -> Path:
    """The path with its suffix; the dot in a name such as beta_0.5 begins none. A link is followed, not replaced."""
    path = Path(os.path.expanduser(path))
    stem = path.stem if path.suffix in (".safetensors", ".json") else path.name
    return Path(os.path.realpath(path.with_name(f"{stem}.safetensors")))


def _find(name: str | os.PathLike[str]) -> Path:
    for path in (_weights(name), _weights(SHIPPED / name)):
        if path.exists():
            return path
    shipped = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.safetensors"))) or "none"
    raise FileNotFoundError(f"No checkpoint {str(name)!r}, neither as a file nor shipped. Shipped: {shipped}.")
