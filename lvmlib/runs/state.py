"""What changes while a model is trained: weights, their average, the optimizer, what was measured."""

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.generators import generator_states, restore_generators
from lvmlib.runs.checks import check_finite, check_gradients, check_weights

_HEADER = "step,loss,valid\n"


@dataclass
class History:
    """What a training run went through.

    Attributes:
        loss: training loss of every step, in the loss's unit (nats by default).
        valid_steps: steps after which the validation loss was measured.
        valid_loss: the validation losses.
        stopped_early: True where patience ran out before the last step.

    Example:
        >>> from lvmlib.runs import History
        >>> History([2.5, 1.5], valid_steps=[2], valid_loss=[1.25]).valid_loss[-1]
        1.25
    """

    loss: list[float] = field(default_factory=list)
    valid_steps: list[int] = field(default_factory=list)
    valid_loss: list[float] = field(default_factory=list)
    stopped_early: bool = False

    def lines(self, start: int) -> bytes:
        """The steps from `start` on as lines of the file."""
        first = bisect_right(self.valid_steps, start)
        valid = dict(zip(self.valid_steps[first:], self.valid_loss[first:]))
        rows = (f"{step},{loss!r},{valid.get(step, '')}\n" for step, loss in enumerate(self.loss[start:], start + 1))
        return ((_HEADER if start == 0 else "") + "".join(rows)).encode()

    @classmethod
    def parse(cls, text: str) -> History:
        """The history that `lines` wrote."""
        rows = [line.split(",") for line in text.splitlines()[1:]]
        valid = [(int(step), float(value)) for step, _, value in rows if value]
        return cls([float(loss) for _, loss, _ in rows], [step for step, _ in valid], [value for _, value in valid])


def live_buffers(model: nn.Module) -> list[str]:
    """Names of the buffers that may be learned: of floating point, saved with the model, without infinities."""
    saved = model.state_dict().keys()
    floating = ((name, b) for name, b in model.named_buffers() if name in saved and b.is_floating_point())
    return [name for name, buffer in floating if bool(buffer.isfinite().all())]


class Average:
    """An exponential moving average of a model's weights.

    Floating-point buffers are averaged like parameters: a codebook or the statistics of batch normalization belong to
    the weights they were measured under. Whole numbers, and buffers of infinities such as masks, stay the model's own.

    Args:
        model: whose weights.
        decay: share that the average keeps at each step; smaller in the first steps, so that no trace of the start
            remains.

    Example:
        >>> from torch import nn
        >>> from lvmlib.runs import Average
        >>> line = nn.Linear(1, 1, bias=False)
        >>> average = Average(line, 0.5)
        >>> start = line.weight.item()
        >>> _ = line.weight.data.add_(1.0)
        >>> average.update(step=100)
        >>> with average.in_use():
        ...     round(line.weight.item() - start, 4)
        0.5
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        self.parameters, self.buffers = dict(model.named_parameters()), live_buffers(model)
        # Two bytes cannot hold an average: what one step adds to it is lost in rounding.
        self.values = {name: t.to(torch.promote_types(t.dtype, torch.float32), copy=True) for name, t in self._own()}

    def _own(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self.parameters.items():
            yield name, parameter.detach()
        for name in self.buffers:  # asked for by name: a module may put a new tensor in the place of a buffer
            yield name, self.model.get_buffer(name).detach()

    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        decay = min(self.decay, step / (step + 9))
        values = list(self.values.values())
        torch._foreach_lerp_(values, [t.to(v.dtype) for (_, t), v in zip(self._own(), values)], 1 - decay)

    def assign(self) -> None:
        """Leave the model with the averaged weights."""
        _copy(self.values, self._own())

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The model holds its averaged weights inside the block."""
        own = {name: t.clone() for name, t in self._own()}
        self.assign()
        try:
            yield
        finally:
            _copy(own, self._own())


class Run:
    """Everything that changes while training, so that it can be saved and loaded whole.

    Args:
        model: what is trained.
        optimizer: makes one of its parameters and a learning rate.
        rate: learning rate of the first step. A parameter group that `optimizer` gives another one keeps it in
            proportion.
        average: decay of the averaged weights, or None.
        patience: validations without improvement before the run stops, or None.
        block: after how many steps the losses are fetched from the device; looking waits for it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer],
        rate: float,
        average: float | None = None,
        patience: int | None = None,
        block: int = 1,
    ):
        self.model, self.patience, self.block = model, patience, block
        rate = rate or 1.0  # of a schedule that begins at 0 a group's share could not be told
        self.optimizer = optimizer(model.parameters(), lr=rate)
        self.shares = [group["lr"] / rate for group in self.optimizer.param_groups]
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.step = 0
        self.history = History()
        self.average = None if average is None else Average(model, average)
        self.best: dict[str, Tensor] | None = None
        self.buffers = live_buffers(model)
        self.pending: list[Tensor] = []  # loss and gradient of steps that nobody has looked at

    def over(self, steps: int) -> bool:
        """Whether nothing is left to do of a run of `steps` steps."""
        return self.step >= steps or self.history.stopped_early

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next step, of each parameter group in its proportion."""
        for group, share in zip(self.optimizer.param_groups, self.shares):
            group["lr"] = share * rate

    def record(self, loss: Tensor, gradient: Tensor) -> None:
        """Take down the loss of a step, and a number that tells whether its gradient is finite, before the update."""
        self.pending += [loss.detach(), gradient]
        if len(self.pending) >= 2 * self.block:
            self.look()

    def look(self) -> None:
        """Fetch what was taken down.

        Raises:
            FloatingPointError: a loss or a gradient is not finite.
        """
        single = self.block == 1 or not self.pending  # on a CPU a number costs nothing to read
        numbers = [t.item() for t in self.pending] if single else torch.stack(self.pending).tolist()
        self.pending = []
        for loss, gradient in zip(numbers[::2], numbers[1::2]):
            step = len(self.history.loss)
            check_finite(loss, gradient, step, age=self.step - step)
            self.history.loss.append(loss)

    def finish_step(self) -> None:
        """Count the step whose update was just made."""
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)

    @contextmanager
    def weights_to_validate(self) -> Iterator[None]:
        """The weights that will be used: the averaged ones, if there are any."""
        if self.average is None:
            yield
        else:
            with self.average.in_use():
                yield

    def validated(self, value: float) -> None:
        """Take down a validation loss, called inside `weights_to_validate`."""
        if not math.isfinite(value):
            raise FloatingPointError(f"The validation loss is {value} after {self.step} steps.")
        losses = self.history.valid_loss
        if self.patience is not None and value < min(losses, default=math.inf):
            self.best = {name: t.clone() for name, t in self.model.state_dict().items()}
        self.history.valid_steps.append(self.step)
        losses.append(value)
        if self.patience is not None:
            self.history.stopped_early = len(losses) - 1 - losses.index(min(losses)) >= self.patience

    def finish(self) -> None:
        """Look at the last numbers, and leave the model with the weights to use: the best, the averaged, or its own."""
        self.look()
        check_weights(self._weights(), self.step)
        if self.best is not None:
            self.model.load_state_dict(self.best)
        elif self.average is not None:
            self.average.assign()

    def state(self) -> dict[str, Any]:
        """All of it but the history, for `RunFiles.save`.

        Raises:
            FloatingPointError: a weight or an average is not finite.
        """
        self.look()
        check_weights(self._weights(), self.step)
        return {
            "step": self.step,
            "stopped_early": self.history.stopped_early,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": None if self.average is None else self.average.values,
            "best": self.best,
            "generators": generator_states(),
        }

    def load(self, state: dict[str, Any], history: History) -> None:
        """Go on from what `state` returned; whatever is wrong with it, nothing is left half changed."""
        before = copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict())), generator_states()
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            restore_generators(state["generators"])
        except BaseException:
            self.model.load_state_dict(before[0][0])
            self.optimizer.load_state_dict(before[0][1])
            restore_generators(before[1])
            raise
        self.step, self.history, self.best = state["step"], history, state["best"]
        if self.average is not None:
            for name, value in self.average.values.items():
                value.copy_(state["averaged"][name])

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)
        yield from ((name, self.model.get_buffer(name)) for name in self.buffers)
        if self.average is not None:
            yield from ((f"the average of {name}", value) for name, value in self.average.values.items())
        for state in self.optimizer.state.values():
            yield from ((f"the optimizer's {key}", t) for key, t in state.items() if isinstance(t, Tensor))

    def fits(self, state: dict[str, Any]) -> bool:
        """Whether all weights in `state` have the names and shapes of this run's model."""
        best, own = state["best"], shapes(self.model.state_dict())
        averaged = None if self.average is None else shapes(self.average.values)
        return (shapes(state["model"]), shapes(state["averaged"])) == (own, averaged) and shapes(best) in (None, own)


def shapes(weights: Any) -> Any:
    """The shape of every tensor of a dictionary; None of None."""
    return None if weights is None else {name: getattr(tensor, "shape", None) for name, tensor in weights.items()}


def clipped(parameters: list[nn.Parameter], norm: float | None) -> Tensor:
    """Scale the gradient down to a norm, if one is given; return a number that is finite only if all of it is."""
    if norm is not None:
        return nn.utils.clip_grad_norm_(parameters, norm)
    gradients = [p.grad for p in parameters if p.grad is not None]
    check_gradients(gradients)
    return torch.stack([g.sum() for g in gradients]).sum()  # takes two thirds of the time of a norm


@torch.no_grad()
def _copy(values: dict[str, Tensor], into: Iterator[tuple[str, Tensor]]) -> None:
    for name, tensor in into:
        tensor.copy_(values[name])
