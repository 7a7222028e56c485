"""One plain training loop for every model: maximise a bound by stochastic gradient ascent."""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lvmlib.base import Density
from lvmlib.bounds import elbo

Loss = Callable[[Any, Any], Tensor]


@dataclass
class History:
    """What a training run went through.

    Attributes:
        loss: training loss of every step, in the loss's unit (nats by default).
        valid_steps: steps after which the validation loss was measured.
        valid_loss: the validation losses.
        stopped_early: True where patience ran out before the last step.
    """

    loss: list[float] = field(default_factory=list)
    valid_steps: list[int] = field(default_factory=list)
    valid_loss: list[float] = field(default_factory=list)
    stopped_early: bool = False


def negative_elbo(model: Any, x: Tensor) -> Tensor:
    """The default loss of `fit`: minus the ELBO, or minus the log-likelihood of an exact density; [B], nats."""
    return -elbo(model, x)


def adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam with all updates in one kernel: at batch size 20 a small VAE trains about twice as fast."""
    parameters = list(parameters)
    try:
        return torch.optim.Adam(parameters, lr=lr, fused=True)
    except RuntimeError:  # torch before 2.4 has no such kernel for the CPU
        return torch.optim.Adam(parameters, lr=lr)


def cosine(peak: float, steps: int, warmup: int = 0) -> Callable[[int], float]:
    r"""A learning rate that falls to 0 along half a cosine, after a linear rise of `warmup` steps.

    .. math:: \text{lr} = \min\!\left(1, \tfrac{\text{step} + 1}{\text{warmup}}\right) \tfrac12\, \text{peak}\,
        (1 + \cos \pi t), \qquad t = \text{step} / \text{steps}

    Args:
        peak: the largest learning rate.
        steps: number of steps of the run.
        warmup: number of steps of the rise.

    Returns:
        A function of the step for `fit`'s `lr`.

    Raises:
        ValueError: steps below 1, or a negative warmup.

    Example:
        >>> lr = cosine(1e-3, steps=100, warmup=10)
        >>> [round(lr(step), 6) for step in (0, 9, 50, 99)]
        [0.0001, 0.00098, 0.0005, 0.0]
    """

    if steps < 1 or warmup < 0:
        raise ValueError(f"steps must be 1 or more and warmup 0 or more, but they are {steps} and {warmup}.")

    def lr(step: int) -> float:
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return rise * peak * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))

    return lr


def fit(
    model: nn.Module,
    data: Any,
    loss: Loss | None = None,
    *,
    steps: int,
    batch_size: int,
    lr: float | Callable[[int], float] = 1e-3,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    clip_norm: float | None = None,
    average: float | None = None,
    valid: Any = None,
    valid_every: int | None = None,
    patience: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1000,
    resume: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> History:
    """Train a model in place.

    Batches are drawn without replacement, in an order that depends on `seed` and the pass alone. What the model itself
    draws comes from torch's global generator: call `seed_everything` before `fit` to repeat a run.

    Args:
        model: any module, usually a `Density`.
        data: a `lvmlib.data.Data` split, a tensor [N, ...], or a tuple of tensors with the same N. A batch is what
            `data.batch(index)` returns, or the rows of the tensors.
        loss: ``loss(model, batch)``, a scalar or one value per example, which is averaged; minus the ELBO by default,
            for which the model must be a `Density`.
        steps: number of gradient steps in all, those of a resumed run included.
        batch_size: examples per step. The examples left over at the end of a pass are dropped.
        lr: learning rate, or a function from the step (from 0) to it.
        optimizer: ``optimizer(parameters, lr=...)``; Adam by default.
        clip_norm: largest norm of the whole gradient; longer ones are scaled down.
        average: decay of an exponential moving average of the weights, such as 0.999. Validation uses the averaged
            weights and the model holds them at the end.
        valid: validation data, in the form of `data`.
        valid_every: steps between two validations; once per pass by default.
        patience: stop after so many validations without improvement, and go back to the best weights.
        checkpoint: file that holds everything needed to continue, written atomically every `checkpoint_every` steps.
        checkpoint_every: steps between two checkpoints.
        resume: continue from `checkpoint` if it exists, bit for bit as if the run had never stopped (on the same
            hardware with the same number of threads).
        seed: of the order of the batches.
        progress: show a bar on standard error.

    Returns:
        A `History`.

    Raises:
        TypeError: `model`, `data`, `valid` or what `loss` returns is of another kind.
        ValueError: arguments that do not fit together, fewer examples than a batch, nothing to train, a loss of
            another shape, a checkpoint of another run or another architecture.
        FileExistsError: `checkpoint` exists and `resume` is False.
        OSError: no checkpoint can be written there; found out before the first step.
        FloatingPointError: the training or the validation loss is not finite; the message names the step.

    Example:
        >>> from lvmlib.distributions import ConditionalNormal
        >>> x = 3 + torch.randn(256, 1)
        >>> line = nn.Linear(1, 1)
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]) ** 2
        >>> history = fit(line, (x, 2 * x), loss, steps=300, batch_size=64, lr=0.1, progress=False)
        >>> history.loss[-1] < 0.1 * history.loss[0]
        True
    """
    counts = {"steps": steps, "batch_size": batch_size, "valid_every": valid_every, "patience": patience}
    _check_counts({**counts, "checkpoint_every": checkpoint_every})
    _check_model(model, loss)
    _check_data(data, valid, batch_size)
    _check_options(valid, patience, average, clip_norm)
    loss = loss or negative_elbo
    device = next(model.parameters()).device
    make = optimizer or adam
    run = _Run(model, make(model.parameters(), lr=_rate(lr, 0)), average)
    path = None if checkpoint is None else Path(checkpoint)
    # What has to be the same for a resumed run to be the same run. Its length may be extended.
    identity = {
        "batch_size": batch_size,
        "seed": seed,
        "examples": _length(data),
        "average": average,
        "optimizer": type(run.optimizer).__name__,
        "early stopping": patience is not None,
    }
    if path is not None:
        _check_path(path, resume)
        if path.exists():
            run.load(path, identity, device)
            if run.step > steps:
                raise ValueError(f"{path} has {run.step} steps behind it, more than the {steps} asked for.")
    valid_every = valid_every or max(1, _length(data) // batch_size)

    bar = tqdm(total=steps, initial=run.step, disable=not progress, file=sys.stderr, mininterval=0.5, ascii=True)
    model.train()
    batches = _batches(data, batch_size, seed, run.step)
    try:
        while run.step < steps and not run.history.stopped_early:
            for group in run.optimizer.param_groups:
                group["lr"] = _rate(lr, run.step)
            batch = _to(_rows(data, next(batches)), device)
            value = _mean(loss(model, batch), batch_size)
            number = value.item()
            if not math.isfinite(number):
                raise FloatingPointError(
                    f"The loss is {number} at step {run.step}. The weights are those before this step; "
                    "a lower learning rate or clip_norm=1.0 often helps."
                )
            if not value.requires_grad:
                raise ValueError(
                    "The loss does not depend on the model's parameters, or was computed without gradient."
                )
            run.optimizer.zero_grad(set_to_none=True)
            value.backward()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            run.optimizer.step()
            run.finish_step(number)
            bar.update()
            if valid is not None and (run.step % valid_every == 0 or run.step == steps):
                run.validate(loss, valid, batch_size, device, seed, patience)
                bar.set_postfix_str(f"loss {number:.4g}, valid {run.history.valid_loss[-1]:.4g}", refresh=False)
            elif run.step % 50 == 0:
                bar.set_postfix_str(f"loss {number:.4g}", refresh=False)
            if path is not None and (
                run.step % checkpoint_every == 0 or run.step == steps or run.history.stopped_early
            ):
                run.save(path, identity)
    finally:  # also when interrupted: a model in eval mode, holding the weights of its last step
        bar.close()
        model.eval()
    run.finish(patience)
    return run.history


class _Run:
    """Everything that changes while training, so that it can be saved and loaded whole."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, average: float | None):
        self.model, self.optimizer, self.decay = model, optimizer, average
        self.step = 0
        self.history = History()
        self.averaged = None if average is None else [p.detach().clone() for p in model.parameters()]
        self.best: dict[str, Tensor] | None = None

    def finish_step(self, loss: float) -> None:
        self.step += 1
        self.history.loss.append(loss)
        if self.averaged is not None and self.decay is not None:
            decay = min(self.decay, self.step / (self.step + 9))  # early on, a shorter memory: no trace of the start
            torch._foreach_lerp_(self.averaged, [p.detach() for p in self.model.parameters()], 1 - decay)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The model holds its averaged weights inside the block."""
        own = [p.detach().clone() for p in self.model.parameters()]
        self._assign(self.averaged)
        try:
            yield
        finally:
            self._assign(own)

    def _assign(self, values: list[Tensor] | None) -> None:
        if values is not None:
            with torch.no_grad():
                for p, value in zip(self.model.parameters(), values):
                    p.copy_(value)

    def validate(
        self, loss: Loss, valid: Any, batch_size: int, device: torch.device, seed: int, patience: int | None
    ) -> None:
        devices = [device] if device.type == "cuda" else []
        # The same draws at every validation, and none taken from training's generator.
        with torch.random.fork_rng(devices), torch.no_grad(), self.averaged_weights():
            torch.manual_seed(seed)
            self.model.eval()
            value = _mean_loss(loss, self.model, valid, batch_size, device)
            self.model.train()
            if not math.isfinite(value):
                raise FloatingPointError(f"The validation loss is {value} after {self.step} steps.")
            if patience is not None and value < min(self.history.valid_loss, default=math.inf):
                self.best = {name: t.clone() for name, t in self.model.state_dict().items()}
        self.history.valid_steps.append(self.step)
        self.history.valid_loss.append(value)
        if patience is not None:
            since_best = len(self.history.valid_loss) - 1 - _argmin(self.history.valid_loss)
            self.history.stopped_early = since_best >= patience

    def finish(self, patience: int | None) -> None:
        if patience is not None and self.best is not None:
            self.model.load_state_dict(self.best)
        else:
            self._assign(self.averaged)

    def save(self, path: Path, identity: dict[str, Any]) -> None:
        state = {
            "identity": identity,
            "step": self.step,
            "history": asdict(self.history),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": self.averaged,
            "best": self.best,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        buffer = io.BytesIO()  # torch.save into a file on a full disk dies of "unexpected pos", not of the disk
        torch.save(state, buffer)
        # Written beside the target and renamed: whoever kills us finds the old file or the new one, never half of one.
        partial = _partial(path)
        try:
            with open(partial, "wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                message = (
                    f"{error.strerror}: {path} cannot be written at step {self.step}; what was there before is whole"
                )
                raise OSError(error.errno, message) from error
            raise

    def load(self, path: Path, identity: dict[str, Any], device: torch.device) -> None:
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            found, weights = state["identity"], state["model"]
        except Exception as error:
            raise ValueError(f"{path} is not a checkpoint of fit: {error}. Move it away to start anew.") from error
        if found != identity:
            differ = ", ".join(
                f"{key} {found.get(key)} (now {identity[key]})" for key in identity if found.get(key) != identity[key]
            )
            raise ValueError(f"{path} belongs to another run: {differ}. Use those values, or another file.")
        if _shapes(weights) != _shapes(self.model.state_dict()):
            raise ValueError(
                f"{path} holds the weights of another architecture than this {type(self.model).__name__}. "
                "Build the model as it was, or use another file."
            )
        self.model.load_state_dict(weights)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.history = state["step"], History(**state["history"])
        self.averaged, self.best = state["averaged"], state["best"]
        torch.set_rng_state(state["rng"].cpu())
        if state["cuda_rng"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda_rng"]])


def _batches(data: Any, batch_size: int, seed: int, start: int) -> Iterator[Tensor]:
    """Indices of batch `start`, `start + 1`, ...; each pass has its own order, computed from the seed alone."""
    n = _length(data)
    per_pass = n // batch_size
    step = start
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step // per_pass)
        order = torch.randperm(n, generator=generator)
        for i in range(step % per_pass, per_pass):
            yield order[i * batch_size : (i + 1) * batch_size]
            step += 1


def _mean_loss(loss: Loss, model: nn.Module, data: Any, batch_size: int, device: torch.device) -> float:
    n, total = _length(data), 0.0
    for start in range(0, n, batch_size):
        index = torch.arange(start, min(start + batch_size, n))
        total += _mean(loss(model, _to(_rows(data, index), device)), len(index)).item() * len(index)
    return total / n


def _length(data: Any) -> int:
    return len(data[0]) if isinstance(data, tuple) else len(data)


def _rows(data: Any, index: Tensor) -> Any:
    if isinstance(data, Tensor):
        return data[index.to(data.device)]
    if isinstance(data, tuple):
        return tuple(t[index.to(t.device)] for t in data)
    return data.batch(index)


def _to(batch: Any, device: torch.device) -> Any:
    return tuple(t.to(device) for t in batch) if isinstance(batch, tuple) else batch.to(device)


def _argmin(values: list[float]) -> int:
    return min(range(len(values)), key=values.__getitem__)


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _rate(lr: float | Callable[[int], float], step: int) -> float:
    rate = float(lr(step) if callable(lr) else lr)
    if not 0 <= rate < math.inf:
        raise ValueError(f"lr must be finite and not negative, but it is {rate} at step {step}.")
    return rate


def _mean(value: Any, examples: int) -> Tensor:
    """The mean of what a loss returned, which has to be a scalar or one value per example."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        what = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"loss must return a floating-point tensor, but it returned {what}.")
    if value.numel() not in (1, examples):  # [B] minus [B, 1] is [B, B], a slip that training would hide
        raise ValueError(
            f"loss must return a scalar or one value per example, {examples} in all, "
            f"but it returned shape {list(value.shape)}."
        )
    return value.mean()


def _check_counts(counts: dict[str, Any]) -> None:
    for name, count in counts.items():
        if count is not None and not (isinstance(count, Integral) and int(count) >= 1):
            raise ValueError(f"{name} must be a whole number, 1 or more, but it is {count!r}.")


def _check_model(model: Any, loss: Loss | None) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, but it is a {type(model).__name__}.")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"{type(model).__name__} has no parameter that requires a gradient: there is nothing to train."
        )
    if loss is None and not isinstance(model, Density):
        raise TypeError(f"Only a Density has a loss by default, and {type(model).__name__} is none: pass loss=...")


def _check_data(data: Any, valid: Any, batch_size: int) -> None:
    for name, split in (("data", data), ("valid", valid)):
        parts = split if isinstance(split, tuple) else (split,)
        tensors = len(parts) > 0 and all(isinstance(t, Tensor) and t.dim() > 0 for t in parts)
        if not tensors and not hasattr(split, "batch") and not (name == "valid" and split is None):
            what = f"({', '.join(type(t).__name__ for t in parts)})" if parts is split else type(split).__name__
            raise TypeError(
                f"{name} must be a lvmlib.data.Data, a tensor [N, ...] or a tuple of such tensors, but it is {what}. "
                "Arrays and lists become tensors with torch.as_tensor."
            )
        if isinstance(split, tuple) and len({len(t) for t in split}) > 1:
            raise ValueError(
                f"Tensors given together need the same length, but those of {name} have {[len(t) for t in split]}."
            )
    if _length(data) < batch_size:
        raise ValueError(f"A batch of {batch_size} needs at least as many examples, but the data have {_length(data)}.")
    if valid is not None and _length(valid) == 0:
        raise ValueError("valid holds no examples: set some aside, or leave it out.")


def _check_options(valid: Any, patience: int | None, average: float | None, clip_norm: float | None) -> None:
    if patience is not None and valid is None:
        raise ValueError("patience counts validations and needs validation data: pass valid=...")
    if average is not None and not 0 < average < 1:
        raise ValueError(f"average is the decay of a moving average, between 0 and 1, but it is {average}.")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm is the largest norm allowed and must be positive, but it is {clip_norm}.")


def _check_path(path: Path, resume: bool) -> None:
    """Find out now, not after an hour of training, that no checkpoint can be written."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file in it, such as {path / 'run.pt'}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _partial(path).touch()
        _partial(path).unlink()
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: no checkpoint can be written to {path}") from error
    if path.exists() and not resume:
        raise FileExistsError(f"{path} exists. Pass resume=True to continue that run, or move the file away.")
