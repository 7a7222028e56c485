"""What `fit` asks of its arguments, of a loss and of the numbers that come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from lvmlib.base import Density
from lvmlib.checks import check_count, number


def whole_numbers(**numbers: Any) -> list[Any]:
    """Numbers as Python's own integers, 1 or more, NumPy's among them; None stays None."""
    return [None if number is None else check_count(number, name, "") for name, number in numbers.items()]


def check_model(model: Any, loss: Any) -> None:
    """A module with something to train, and a loss for it."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, but it is a {type(model).__name__}.")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"{type(model).__name__} has no parameter that requires a gradient: there is nothing to train."
        )
    if loss is None and not isinstance(model, Density):
        raise TypeError(f"Only a Density has a loss by default, and {type(model).__name__} is none: pass loss=...")


def check_data(data: Any, valid: Any, batch_size: int) -> None:
    """Data that batches can be drawn from, enough of them."""
    for name, split in (("data", data), ("valid", valid)):
        if name == "valid" and split is None:
            continue
        parts = split if isinstance(split, tuple) else (split,)
        if not parts or not all((isinstance(t, Tensor) and t.dim() > 0) or hasattr(t, "batch") for t in parts):
            what = f"({', '.join(type(t).__name__ for t in parts)})" if parts is split else type(split).__name__
            inside = hasattr(split, "dataset")  # fit shuffles and cuts batches itself
            raise TypeError(
                f"{name} must be a lvmlib.data.Data, a tensor [N, ...] or a tuple of these, but it is {what}. "
                + ("Give what it loads from." if inside else "Arrays and lists become tensors with torch.as_tensor.")
            )
        lengths = [len(part) for part in parts]
        if len(set(lengths)) > 1:
            raise ValueError(f"Tensors given together need the same length, but those of {name} have {lengths}.")
        if lengths[0] < (batch_size if name == "data" else 1):
            raise ValueError(
                f"A batch of {batch_size} needs at least as many examples, but the data have {lengths[0]}."
                if name == "data"
                else "valid holds no examples: set some aside, or leave it out."
            )


def check_options(
    valid: Any, valid_loss: Any, patience: int | None, average: Any, clip_norm: Any, before_step: Any
) -> tuple[float | None, float | None]:
    """Options in their range, and none that has no effect; average and clip_norm as Python's numbers."""
    for name, value in (("patience", patience), ("valid_loss", valid_loss)):
        if value is not None and valid is None:
            what = "counts validations" if name == "patience" else "is measured on validation data"
            raise ValueError(f"{name} {what} and needs validation data: pass valid=...")
    if average is not None and not 0 < number(average) < 1:
        raise ValueError(f"average is the decay of a moving average, between 0 and 1, but it is {average}.")
    if clip_norm is not None and not number(clip_norm) > 0:
        raise ValueError(f"clip_norm is the largest norm allowed and must be positive, but it is {clip_norm}.")
    if before_step is not None and not callable(before_step):
        raise TypeError(f"before_step must be a function of the step, but it is a {type(before_step).__name__}.")
    return (None if average is None else number(average)), (None if clip_norm is None else number(clip_norm))


def checked_rate(lr: float | Callable[[int], float], step: int) -> float:
    """The learning rate of a step."""
    rate = lr(step) if callable(lr) else lr
    if not 0 <= number(rate) < math.inf:
        raise ValueError(f"lr must be a number, finite and not negative, but it is {rate!r} at step {step}.")
    return number(rate)


def split_pair(model: Any, batch: Any) -> tuple[Any, Any]:
    """A batch as x and context; a context is never dropped, and never missing where a model says that it takes one."""
    if isinstance(batch, tuple):
        if len(batch) != 2:
            raise ValueError(
                f"The default loss takes x alone or pairs (x, context), but a batch has {len(batch)} parts: "
                "pass loss=..."
            )
        return batch
    shape = getattr(model, "context_shape", None)
    if shape is not None:
        raise ValueError(
            f"{type(model).__name__} takes a context of shape {list(shape)}, but the data are x alone. "
            "Give pairs, fit(model, (x, context), ...); the labels of a Data go in as (data, data.y)."
        )
    return batch, None


def mean_loss(value: Any, examples: int, trained: bool = True) -> Tensor:
    """The mean of what a loss returned, which has to be a scalar or one value per example."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        what = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"loss must return a floating-point tensor, but it returned {what}.")
    if value.numel() not in (1, examples):  # [B] minus [B, 1] is [B, B], a slip that training would hide
        raise ValueError(
            f"loss must return a scalar or one value per example, {examples} in all, "
            f"but it returned shape {list(value.shape)}."
        )
    if trained and not value.requires_grad:
        raise ValueError("The loss does not depend on the model's parameters, or was computed without gradient.")
    return value.mean()


def check_gradients(gradients: list[Tensor]) -> None:
    """Some gradient has arrived."""
    if not gradients:
        raise ValueError("The loss does not depend on any parameter that the optimizer has.")


def check_finite(loss: float, gradient: float, step: int, age: int) -> None:
    """Loss and gradient of a step, seen `age` updates of the weights after the loss was computed."""
    if math.isfinite(loss) and math.isfinite(gradient):
        return
    what = f"The loss is {loss} at step {step}"
    if math.isfinite(loss):
        what = f"The gradient is not finite at step {step}, though the loss is, {loss:g}"
    whose = "those before this step" if age == 0 else f"spoilt: this was seen {age} updates later, as on a GPU it is"
    raise FloatingPointError(f"{what}. The weights are {whose}; a lower learning rate or clip_norm=1.0 often helps.")


def check_weights(weights: Iterable[tuple[str, Tensor]], step: int) -> None:
    """Weights that may be used or stored: a good checkpoint is never overwritten with numbers that are none."""
    for name, tensor in weights:
        if not tensor.isfinite().all():
            raise FloatingPointError(
                f"After {step} steps, values of {name} are not finite; a lower learning rate often helps. "
                "They were not saved: a checkpoint that was there before is whole."
            )
