"""Where a training was: what it goes back to if it diverges.

Calls of ``fit`` with one optimizer are one training as long as nobody else sets the weights: what
counts as an explosion is measured from the first of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
from numpy.typing import NDArray

from .optimizers import Optimizer

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

    def sound_place(self, is_sound: Callable[[Array], bool]) -> tuple[str, Place]:
        """The last place with sound weights, in words and itself.

        An epoch of one step begins with the weights that its loss is of: these may be what has
        exploded. If none are sound it is the start of the epoch.
        """
        places = {
            "the start of the epoch": self.epoch,
            "the start of the epoch before": self.before,
            "the start of training": self.origin,
        }
        for name, place in places.items():
            if is_sound(place[0]):
                return name, place
        return "the start of the epoch", self.epoch


def course_of(optimizer: Optimizer, values: Array) -> Course:
    """The course of the training that goes on, with this optimizer, from these weights."""
    course: Course | None = optimizer.course
    if course is None or not numpy.array_equal(course.left, values):
        course = optimizer.course = Course(optimizer, values)
    return course
