"""Baselines that learn while a model is trained: what the score function subtracts from its signal."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lvmlib.checks import check_share
from lvmlib.estimators.parts import carry


class Baseline(nn.Module):
    """What is subtracted from the signal of `score_function`; it must not depend on the draws that it is used for.

    A subclass defines `forward` and `lesson`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The baseline of each example: [B], or one number for all of them."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(x).")

    def lesson(self, signal: Tensor, value: Tensor) -> Tensor:
        """Learn from the signal [k, B], plain numbers, that `value` was set against, after it has been used.

        Returns:
            [B] or []: 0, with the gradient that training is to follow upwards.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define lesson(signal, value).")

    @property
    def learns(self) -> bool:
        """Whether this is a step of training; validation changes nothing."""
        return self.training and torch.is_grad_enabled()


class RunningBaseline(Baseline):
    r"""The running mean of the signal, over the batches before this one.

    .. math:: b \leftarrow \alpha\, b + (1 - \alpha)\, \overline{\log w}

    It starts at 0 and is divided by :math:`1 - \alpha^t` after t batches, so that it is a weighted mean from the first
    batch on.

    Args:
        decay: :math:`\alpha`, in [0, 1).

    Raises:
        ValueError: another decay.

    Example:
        >>> import torch
        >>> from lvmlib import RunningBaseline
        >>> baseline = RunningBaseline(decay=0.9)
        >>> _ = baseline.lesson(torch.full((1, 4), -3.0), torch.zeros(()))
        >>> round(baseline(torch.zeros(4, 2)).item(), 4)
        -3.0
    """

    mean: Tensor
    remains: Tensor

    def __init__(self, decay: float = 0.9):
        super().__init__()
        self.decay = check_share(decay, "decay")
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("remains", torch.ones(()))  # decay ** t, the weight that the start still has

    def forward(self, x: Tensor) -> Tensor:
        """The mean so far, one number."""
        return self.mean / (1 - self.remains).clamp(min=1 - self.decay)  # 0 before the first batch

    @torch.no_grad()
    def _average(self, signal: Tensor) -> None:
        self.mean.mul_(self.decay).add_((1 - self.decay) * signal.mean())
        self.remains.mul_(self.decay)

    def lesson(self, signal: Tensor, value: Tensor) -> Tensor:
        """Take a batch into the mean."""
        if self.learns:
            self._average(signal)
        return signal.new_zeros(())


class LearnedBaseline(Baseline):
    r"""A network of x that is trained, along with the model, to predict the signal.

    .. math:: \min_\psi \mathbb{E}\big(\log w - C_\psi(x)\big)^2

    Its parameters must be among those that are trained: ``fit(torch.nn.ModuleDict({"vae": vae, "baseline": b}), ...)``.

    Args:
        network: maps x [B, \*event_shape] to [B, 1] or [B].

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import LearnedBaseline
        >>> baseline = LearnedBaseline(nn.Linear(4, 1))
        >>> baseline(torch.zeros(3, 4)).shape
        torch.Size([3])

    Source: Mnih & Gregor 2014, section 2.3.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """What the network predicts, [B]."""
        value: Tensor = self.network(x)
        if value.numel() != len(x):
            raise ValueError(
                f"The network of a baseline gives one value per example, [{len(x)}, 1], but this one gave "
                f"{list(value.shape)}."
            )
        return value.reshape(len(x))

    def lesson(self, signal: Tensor, value: Tensor) -> Tensor:
        """Minus the squared error of the prediction."""
        return carry(-(signal - value).square().mean(0))


class NVILBaseline(LearnedBaseline):
    r"""A network of x beside the running mean and variance of what it leaves, :math:`C_\psi(x) + c` and v.

    Args:
        network: :math:`C_\psi`, maps x [B, \*event_shape] to [B, 1] or [B].
        decay: of the running estimates, in [0, 1).

    Raises:
        ValueError: another decay.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lvmlib import NVILBaseline
        >>> baseline = NVILBaseline(nn.Linear(4, 1))
        >>> baseline(torch.zeros(3, 4)).shape, baseline.scale.item()
        (torch.Size([3]), 1.0)

    Source: Mnih & Gregor 2014, section 2.3 and algorithm 1.
    """

    variance: Tensor

    def __init__(self, network: nn.Module, decay: float = 0.8):
        super().__init__(network)
        self.running = RunningBaseline(decay)
        self.register_buffer("variance", torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        r""":math:`\max(1, \sqrt v)`, what the signal is divided by."""
        return self.variance.sqrt().clamp(min=1)

    def forward(self, x: Tensor) -> Tensor:
        """Network and running mean together, [B]."""
        return super().forward(x) + self.running(x)

    def lesson(self, signal: Tensor, value: Tensor) -> Tensor:
        """Minus the squared error of the prediction; c and v take in what the network leaves."""
        lesson = super().lesson(signal, value)
        if self.learns:
            left = signal - (value - self.running(signal))
            self._spread(left)
            self.running.lesson(left, value)
        return lesson

    @torch.no_grad()
    def _spread(self, left: Tensor) -> None:
        decay: Any = self.running.decay
        self.variance.mul_(decay).add_((1 - decay) * left.var(correction=0))
