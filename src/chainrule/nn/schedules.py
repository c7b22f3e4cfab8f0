"""Learning rates that change: functions from the number of the step, from 0, to the rate."""

from __future__ import annotations

import math
from collections.abc import Callable

from chainrule.tracebacks import boundary

from ._choices import count, not_negative, positive

Schedule = Callable[[int], float]


class Constant:
    """Always the same rate."""

    @boundary
    def __init__(self, rate: float) -> None:
        self.rate = positive("a learning rate", rate)

    def __call__(self, step: int) -> float:
        """The rate at a step."""
        return self.rate


class Step:
    """A rate that is multiplied by a factor every so many steps."""

    @boundary
    def __init__(self, rate: float, every: int, factor: float = 0.1) -> None:
        self.rate = positive("a learning rate", rate)
        self.every = count("Step: every", every)
        self.factor = positive("Step: factor", factor)

    def __call__(self, step: int) -> float:
        """The rate at a step."""
        return self.rate * self.factor ** (step // self.every)


class Cosine:
    """A rate that falls along half a cosine to ``final``, and stays there."""

    @boundary
    def __init__(self, rate: float, steps: int, final: float = 0.0) -> None:
        self.rate = positive("a learning rate", rate)
        self.steps = count("Cosine: steps", steps)
        self.final = not_negative("Cosine: final", final)

    def __call__(self, step: int) -> float:
        """The rate at a step."""
        if step >= self.steps:
            return self.final
        share = 0.5 * (1.0 + math.cos(math.pi * step / self.steps))
        return self.final + (self.rate - self.final) * share


class WarmUp:
    """A rate that rises linearly for some steps, then follows another schedule from its start."""

    @boundary
    def __init__(self, steps: int, then: float | Schedule) -> None:
        self.steps = count("WarmUp: steps", steps)
        self.then = schedule(then)

    def __call__(self, step: int) -> float:
        """The rate at a step."""
        if step < self.steps:
            return self.then(0) * (step + 1) / self.steps
        return self.then(step - self.steps)


def schedule(rate: float | Schedule) -> Schedule:
    """A schedule, or a constant one of a number.

    Raises:
        TypeError: if it is neither a number nor a function.
        ValueError: if the number is not above 0.
    """
    return rate if callable(rate) else Constant(rate)
