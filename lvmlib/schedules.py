"""What changes with the steps of a training run: the weight of a KL term, a temperature."""

from __future__ import annotations

from collections.abc import Callable

from lvmlib.checks import check_count, check_not_negative, check_share, number

Schedule = Callable[[int], float]
"""From the number of a step, 0 first, to the value that holds in it."""


class Scheduled:
    """A number that `fit` sets anew before each step, for a loss to read.

    It follows from the step alone, so that a resumed run is the run that never stopped; and its schedule is one of the
    settings that a resumed run is compared by.

    Args:
        schedule: such as `warmup(1000)`, or a function of one's own.

    Attributes:
        value: what holds now; at first, that of step 0.

    Example:
        KL annealing. Validation is of the bound itself, with the full KL term at every step.

        >>> import torch
        >>> from lvmlib import VAE, ConditionalBernoulli, ConditionalNormal, Scheduled
        >>> from lvmlib import StandardNormal, elbo, fit, warmup
        >>> from lvmlib.training import negative_elbo
        >>> encoder, decoder = torch.nn.Linear(9, 4), torch.nn.Linear(2, 9)
        >>> q, p = ConditionalNormal((2,), encoder), ConditionalBernoulli((9,), decoder)
        >>> vae = VAE(q, p, StandardNormal((2,)))
        >>> x, beta = torch.bernoulli(torch.full((100, 9), 0.5)), Scheduled(warmup(10))
        >>> loss = lambda vae, x: -elbo(vae, x, beta=beta.value)
        >>> history = fit(vae, x, loss, steps=5, batch_size=20, before_step=beta, valid=x,
        ...               valid_loss=negative_elbo, progress=False)
        >>> beta.value                                     # that of the last step, number 4
        0.4
    """

    def __init__(self, schedule: Schedule):
        self.schedule = schedule
        self.__name__ = f"Scheduled({getattr(schedule, '__name__', type(schedule).__name__)})"
        self.value = schedule(0)

    def __call__(self, step: int) -> None:
        """Set the value to that of a step."""
        self.value = self.schedule(step)


def warmup(steps: int, start: float = 0.0, end: float = 1.0) -> Schedule:
    r"""A value that rises, or falls, along a line and then stays.

    .. math:: a + (b - a) \min(1, \text{step} / \text{steps})

    Args:
        steps: how long the line is.
        start: the value at step 0, a.
        end: the value that it reaches and keeps, b.

    Raises:
        ValueError: steps below 1, or a negative value.

    Example:
        >>> from lvmlib import warmup
        >>> [warmup(4)(step) for step in (0, 1, 4, 9)], warmup(4, 1.0, 0.5)(2)
        ([0.0, 0.25, 1.0, 1.0], 0.75)

    Source: as KL annealing, Bowman et al. 2016, *Generating sentences from a continuous space*, section 3.1.
    """
    steps = check_count(steps, "steps", "")
    start, end = _weights(start, end)

    def value(step: int) -> float:
        return start + (end - start) * min(1.0, step / steps)

    value.__name__ = f"warmup({steps}, {start}, {end})"
    return value


def cyclical(period: int, rise: float = 0.5, start: float = 0.0, end: float = 1.0) -> Schedule:
    r"""A warm-up that begins anew in every period.

    Args:
        period: steps of a cycle.
        rise: which share of a cycle goes up; during the rest the value stays at `end`.
        start: the value at the beginning of a cycle.
        end: the value at its end.

    Raises:
        ValueError: a period below 1, a share outside of [0, 1), or a negative value.

    Example:
        >>> from lvmlib import cyclical
        >>> [cyclical(4)(step) for step in range(6)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]

    Source: Fu et al. 2019, *Cyclical annealing schedule*.
    """
    period, rise = check_count(period, "period", "counts steps"), check_share(rise, "rise")
    start, end = _weights(start, end)

    def value(step: int) -> float:
        share = step % period / period
        return end if share >= rise else start + (end - start) * share / rise

    value.__name__ = f"cyclical({period}, {rise}, {start}, {end})"
    return value


def _weights(start: float, end: float) -> tuple[float, float]:
    return number(check_not_negative(start, "start is a weight")), number(check_not_negative(end, "end is a weight"))
