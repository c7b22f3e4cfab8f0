"""Where a training was, when it has diverged, and what it goes back to then.

Calls of ``fit`` with one optimizer are one training as long as nobody else sets the weights: what
counts as an explosion is measured from the first of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy
from numpy.typing import NDArray

from .optimizers import Optimizer, all_finite

EXPLODED: Final = 1e5
"""How many times its first value (or 1, if that is larger) the mean loss of an epoch may be."""

Array = NDArray[numpy.float64]
Place = tuple[Array, dict[str, Any]]
"""Weights, and the state of the optimizer with them."""


class Course:
    """The places that a training can go back to.

    Attributes:
        origin: where it began.
        before: the start of the epoch before.
        epoch: the start of the epoch.
        left: the weights at the end of a call.
    """

    def __init__(self, optimizer: Optimizer, values: Array) -> None:
        self.origin: Place = values.copy(), optimizer.state()
        self.before = self.epoch = self.origin
        self.left = self.origin[0]

    def begin_epoch(self, optimizer: Optimizer, values: Array) -> None:
        """Note the start of an epoch."""
        self.before = self.epoch
        self.epoch = values.copy(), optimizer.state()


def course_of(optimizer: Optimizer, values: Array) -> Course:
    """The course of the training that goes on, with this optimizer, from these weights."""
    course: Course | None = optimizer.course
    if course is None or not numpy.array_equal(course.left, values):
        course = optimizer.course = Course(optimizer, values)
    return course


class DivergenceCheck:
    """Whether a training has diverged, by its loss on the samples of one call.

    Args:
        course: where it was.
        values: the weights in use; to be changed in place.
        mean_loss: what gives their mean loss on all samples.
    """

    def __init__(self, course: Course, values: Array, mean_loss: Callable[[], float]) -> None:
        self.course = course
        self._values = values
        self._mean_loss = mean_loss
        self._first_loss: float | None = None

    def first_loss(self) -> float:
        """The mean loss of the weights that training began with."""
        if self._first_loss is None:
            self._first_loss = self._loss_of(self.course.origin[0])
        return self._first_loss

    def fault(self, loss: float, optimizer: Optimizer) -> str | None:
        """What is wrong after an epoch of that mean loss, in words; None if nothing is."""
        if math.isfinite(loss):
            if not all_finite(self._values):
                return "a weight is no longer finite"
            if optimizer.overflowed():
                return f"the loss is {loss:g}, and the square of a gradient infinite"
        return None if self._is_sound(loss) else f"the loss is {loss:g}"

    def sound_place(self) -> tuple[str, Place]:
        """The last place with weights of a sound loss, in words and itself.

        An epoch of one step begins with the weights that its loss is of: these may be what has
        exploded. If none are sound it is the start of the epoch.
        """
        places = {
            "the start of the epoch": self.course.epoch,
            "the start of the epoch before": self.course.before,
            "the start of training": self.course.origin,
        }
        for name, place in places.items():
            if self._is_sound(self._loss_of(place[0])):
                return name, place
        return "the start of the epoch", self.course.epoch

    def _is_sound(self, loss: float) -> bool:
        """Whether a loss is finite, and not far above the first one, if that is finite."""
        if not math.isfinite(loss):
            return False
        return loss <= EXPLODED or not loss > EXPLODED * abs(self.first_loss())

    def _loss_of(self, weights: Array) -> float:
        """The mean loss of some weights."""
        now = self._values.copy()
        self._values[:] = weights
        try:
            return self._mean_loss()
        finally:
            self._values[:] = now
