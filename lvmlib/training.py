"""One plain training loop for every model: maximise a bound by stochastic gradient ascent."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from lvmlib.bounds import elbo
from lvmlib.checks import check_count, check_counts, check_not_negative, check_seed, trusted
from lvmlib.generators import forked_generators
from lvmlib.runs.batches import batches, in_order, length, moved, moved_to, rows
from lvmlib.runs.checks import (
    check_data,
    check_model,
    check_options,
    checked_rate,
    mean_loss,
    split_pair,
    whole_numbers,
)
from lvmlib.runs.files import kept
from lvmlib.runs.settings import run_settings
from lvmlib.runs.state import History, Run, clipped

Loss = Callable[[Any, Any], Tensor]

BLOCK = 20
"""After how many steps `fit` looks at the losses where looking means waiting for the device."""


def negative_elbo(model: Any, batch: Any) -> Tensor:
    """The default loss of `fit`: minus the ELBO, or minus the log-likelihood of an exact density.

    Args:
        model: a `Density`.
        batch: x, [B, \\*event_shape], or a pair (x, context).

    Returns:
        [B], nats.

    Raises:
        ValueError: a batch of more than two parts, or x alone for a model that says it takes a context (one whose
            `context_shape` is not None).
    """
    x, context = split_pair(model, batch)
    return -elbo(model, x, context=context)


class Objective(nn.Module):
    """A model and a loss as one module, whose `forward` takes a batch and returns what the loss returns.

    It is what `torch.compile` and `DistributedDataParallel` wrap, since both see to `forward` alone. `fit` trains the
    wrapped module like any other, with a loss that only calls it:
    ``fit(torch.compile(Objective(model)), data, lambda objective, batch: objective(batch), ...)``.

    Args:
        model: any module.
        loss: ``loss(model, batch)``, one value per example or a scalar; minus the ELBO by default.

    Example:
        >>> import torch
        >>> from lvmlib import Objective, StandardNormal
        >>> Objective(StandardNormal((2,)))(torch.zeros(3, 2))
        tensor([1.8379, 1.8379, 1.8379])
    """

    def __init__(self, model: nn.Module, loss: Loss | None = None):
        super().__init__()
        self.model = model
        self.loss = loss or negative_elbo

    def forward(self, batch: Any) -> Tensor:
        """The loss of a batch: [B], or a scalar."""
        return self.loss(self.model, batch)


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
        >>> from lvmlib import cosine
        >>> lr = cosine(1e-3, steps=100, warmup=10)
        >>> [round(lr(step), 6) for step in (0, 9, 50, 99)]
        [0.0001, 0.00098, 0.0005, 0.0]
    """
    peak, steps = check_not_negative(peak, "peak is the largest learning rate"), check_count(steps, "steps", "")
    warmup = check_count(warmup, "warmup", "", least=0)

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
    before_step: Callable[[int], Any] | None = None,
    valid: Any = None,
    valid_loss: Loss | None = None,
    valid_every: int | None = None,
    patience: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 1000,
    resume: bool = False,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> History:
    """Train a model in place.

    Batches are drawn without replacement, in an order that depends on `seed` and the pass alone. What the model itself
    draws comes from torch's global generator: call `seed_everything` before `fit` to repeat a run.

    Args:
        model: any module, usually a `Density`.
        data: a `lvmlib.data.Data` split, a tensor [N, ...], or a tuple of these with the same N. A batch is what
            `data.batch(index)` returns, the rows of the tensor, or a tuple of both. The labels of a `Data` stay where
            they are: ``(data, data.y)`` hands them on.
        loss: ``loss(model, batch)``, a scalar or one value per example, which is averaged. Minus the ELBO by default,
            for which the model must be a `Density` and a batch x or a pair (x, context). A pair's second part is always
            given to the model as its context; a model that has a `context_shape` refuses x alone.
        steps: number of gradient steps in all, those of a resumed run included.
        batch_size: examples per step. The examples left over at the end of a pass are dropped.
        lr: learning rate, or a function from the step (from 0) to it. A parameter group with a rate of its own keeps
            it in proportion: at half the rate that `optimizer` was called with it always has half, at 0 it stays.
        optimizer: ``optimizer(parameters, lr=...)``; Adam by default.
        clip_norm: largest norm of the whole gradient; longer ones are scaled down.
        average: decay of an exponential moving average of the weights, such as 0.999, floating-point buffers included.
            Validation uses the averaged weights and the model holds them at the end.
        before_step: ``before_step(step)`` is called before each step, with its number from 0: the place to set what
            changes during a run, such as beta or a temperature. What it sets must follow from the step alone; then a
            resumed run is the run that never stopped. If nothing is left to do it is called for the last step.
        valid: validation data, in the form of `data`.
        valid_loss: the loss on them, if it is another one: of what will be used, where that is not what is trained. A
            MADE with several mask sets is trained on one set at a time, while its mixture is used:
            ``valid_loss=lambda made, x: -OrderingMixture(made).log_prob(x)``.
        valid_every: steps between two validations; once per pass by default.
        patience: stop after so many validations without improvement, and go back to the best weights.
        checkpoint: file that holds everything needed to continue, written atomically every `checkpoint_every` steps.
            The history lies beside it, see `lvmlib.runs`.
        checkpoint_every: steps between two checkpoints.
        resume: continue from `checkpoint` if it exists, bit for bit as if the run had never stopped (on the same
            hardware with the same number of threads). Data, model and settings must be those of the run, as far as
            `lvmlib.runs.settings` can tell; `steps` may be more.
        seed: of the order of the batches.
        device: where to train, such as ``"cuda"``; the model is moved there and back again at the end. Without it
            training takes place where the model is. The data may stay where they are: batches are moved.
        progress: show a bar on standard error.

    Returns:
        A `History`.

    Raises:
        TypeError: `model`, `data`, `valid` or what `loss` returns is of another kind.
        ValueError: arguments that do not fit together, fewer examples than a batch, nothing to train, a device that
            is not there, a loss of another shape, a checkpoint that is damaged or of another run or architecture.
        FileExistsError: `checkpoint` exists and `resume` is False.
        OSError: no checkpoint can be written there, or another run is writing it; found out before the first step.
        FloatingPointError: the training or the validation loss or the gradient is not finite; the message names the
            step. On a CPU this is seen before the weights take the step, on a GPU within `BLOCK` steps; weights that
            are not finite are never saved.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import ConditionalNormal, fit
        >>> x = 3 + torch.randn(256, 1)
        >>> line = nn.Linear(1, 1)
        >>> loss = lambda model, batch: (model(batch[0]) - batch[1]) ** 2
        >>> quick = {"steps": 300, "batch_size": 64, "lr": 0.1, "progress": False}
        >>> history = fit(line, (x, 2 * x), loss, **quick)
        >>> history.loss[-1] < 0.1 * history.loss[0]
        True
    """
    seed = check_seed(seed)
    steps, batch_size, checkpoint_every = check_counts(
        steps=steps, batch_size=batch_size, checkpoint_every=checkpoint_every
    )
    valid_every, patience = whole_numbers(valid_every=valid_every, patience=patience)
    check_model(model, loss)
    check_data(data, valid, batch_size)
    average, clip_norm = check_options(valid, valid_loss, patience, average, clip_norm, before_step)
    with moved_to(device, model) as device:
        objective, validation = Objective(model, loss), Objective(model, valid_loss or loss)
        block = 1 if device.type == "cpu" else BLOCK
        run = Run(model, optimizer or adam, checked_rate(lr, 0), average, patience, block)
        valid_every = None if valid is None else valid_every or max(1, length(data) // batch_size)
        settings = partial(
            run_settings, run, data, valid, loss=loss, valid_loss=valid_loss, batch_size=batch_size, seed=seed, lr=lr,
            clip_norm=clip_norm, average=average, before_step=before_step, valid_every=valid_every, patience=patience,
        )  # fmt: skip

        with kept(run, checkpoint, resume, steps, settings) as save, _bar(run, steps, progress) as bar:
            if run.over(steps) and before_step is not None:
                before_step(run.step - 1)
            order = batches(data, batch_size, seed, run.step)
            model.train()
            while not run.over(steps):
                if before_step is not None:
                    before_step(run.step)
                run.set_rate(checked_rate(lr, run.step))
                batch = moved(rows(data, next(order)), device)
                with trusted() if run.step % block else nullcontext():  # a look at values waits for the device
                    value = mean_loss(objective(batch), batch_size)
                run.optimizer.zero_grad(set_to_none=True)
                value.backward()
                run.record(value, clipped(run.parameters, clip_norm))  # raises before the step if one is not finite
                run.optimizer.step()
                run.finish_step()
                if valid_every is not None and (run.step % valid_every == 0 or run.step == steps):
                    _validate(run, validation, valid, batch_size, device, seed)
                if run.step % checkpoint_every == 0 or run.over(steps):
                    save()
                bar()
        run.finish()
        return run.history


def _validate(run: Run, objective: Objective, valid: Any, batch_size: int, device: torch.device, seed: int) -> None:
    """The mean loss over all of `valid`, with the same draws at every validation and none taken from training's."""
    run.look()
    values, sizes = [], []
    with forked_generators(seed), torch.no_grad(), run.weights_to_validate():
        run.model.eval()
        for index in in_order(valid, batch_size):
            batch = moved(rows(valid, index), device)
            values.append(mean_loss(objective(batch), len(index), trained=False))
            sizes.append(len(index))
        run.model.train()
        means = torch.stack(values).tolist()
        run.validated(sum(mean * size for mean, size in zip(means, sizes)) / sum(sizes))


@contextmanager
def _bar(run: Run, steps: int, progress: bool) -> Iterator[Callable[[], None]]:
    """A bar on standard error, moved on by calling it. However it ends, it leaves the model in eval mode."""
    bar = tqdm(total=steps, initial=run.step, disable=not progress, file=sys.stderr, mininterval=0.5, ascii=True)

    def move() -> None:
        bar.update()
        if run.history.loss and (run.step % 50 == 0 or run.step == steps or run.history.valid_steps[-1:] == [run.step]):
            valid = f", valid {run.history.valid_loss[-1]:.4g}" if run.history.valid_loss else ""
            bar.set_postfix_str(f"loss {run.history.loss[-1]:.4g}{valid}", refresh=False)

    try:
        yield move
    finally:
        bar.close()
        run.model.eval()
