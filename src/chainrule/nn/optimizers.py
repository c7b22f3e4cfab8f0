"""Optimizers: how parameters follow their gradients.

The state lies in flat arrays, one number for each parameter, and a step is a few operations on
whole arrays. :meth:`Optimizer.update` works on arrays, :meth:`Optimizer.step` on leaf nodes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy
from numpy.typing import NDArray

from chainrule.keywords import with_nearest_names
from chainrule.leaves import data_of
from chainrule.node import Node
from chainrule.tracebacks import boundary

from ._choices import chosen, not_negative, positive
from .schedules import Constant, Schedule, schedule

Array = NDArray[numpy.float64]
LONG: Final = 10_000
"""Numbers from which on a product of vectors may wait for threads."""
SMALLEST: Final = 1e-290
"""A number below it, or what it is the sum of, may have lost digits."""


class Optimizer(ABC):
    """What all optimizers share.

    Args:
        learning_rate: a number, or a schedule: a function of the number of the step, from 0.
        weight_decay: how strongly parameters are pulled to 0.
        clip_norm: the largest Euclidean norm of the gradient; a longer one is shortened.
        clip_value: the largest size of each of its elements; larger ones are cut.

    Attributes:
        steps: the number of steps so far.

    Raises:
        TypeError: if an argument is no number.
        ValueError: if it is negative or 0 where it can't be.
    """

    default_rate: ClassVar[float]
    _changing: ClassVar[tuple[str, ...] | None] = None
    """The attributes that steps change, besides their number; None for all, which takes longer."""

    def __init_subclass__(cls) -> None:
        if "_changing" not in vars(cls):  # what a subclass adds is part of its state
            cls._changing = None

    @boundary
    def __init__(
        self,
        learning_rate: float | Schedule | None = None,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.schedule = self.default_rate if learning_rate is None else learning_rate
        self.weight_decay = not_negative("weight_decay", weight_decay)
        self.clip_norm = None if clip_norm is None else positive("clip_norm", clip_norm)
        self.clip_value = None if clip_value is None else positive("clip_value", clip_value)
        self.reset()

    def reset(self) -> None:
        """Forget all steps."""
        self.steps = 0
        self._size = -1
        self.course: Any = None  # of the training: see course.py

    @property
    def schedule(self) -> Schedule:
        """The learning rate by the number of the step; a number may be set too."""
        return self._schedule

    @schedule.setter
    @boundary
    def schedule(self, rate: float | Schedule) -> None:
        self._schedule = schedule(rate)
        self._constant = isinstance(self._schedule, Constant)
        self._rate = self._schedule(0) if self._constant else 0.0

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self._rate if self._constant else self._schedule(self.steps)

    def state(self) -> dict[str, Any]:
        """A copy of all that steps change: :meth:`restore` goes back to it."""
        kept: dict[str, Any] = {"steps": self.steps, "_size": self._size}
        if self._changing is None:
            for name, value in vars(self).items():
                if name != "course":
                    kept[name] = _copied(value)
        elif self._size >= 0:
            for name in self._changing:
                kept[name] = getattr(self, name).copy()
        return kept

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where the optimizer was when :meth:`state` gave that."""
        for name, value in state.items():
            setattr(self, name, _copied(value))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "course": None}  # copies and pickles need not go back

    def overflowed(self) -> bool:
        """Whether the state is no longer finite: the parameters could not move again."""
        return False

    @boundary
    def update(self, values: Array, gradient: Array) -> None:
        """Move parameters, in place, by one step.

        Args:
            values: the parameters.
            gradient: of the loss by each; it may be overwritten.

        Raises:
            ValueError: if there are more or fewer parameters than in the step before.
        """
        if len(values) != self._size:
            if self._size >= 0:
                raise ValueError(
                    f"the optimizer keeps its state for {self._size} parameters, not"
                    f" {len(values)}; use another one, or reset() it"
                )
            self._size = len(values)
            self._start(len(values))
        if self.clip_value is not None:
            numpy.clip(gradient, -self.clip_value, self.clip_value, out=gradient)
        if self.clip_norm is not None:
            _shorten(gradient, self.clip_norm)
        rate = self._rate if self._constant else self._schedule(self.steps)
        self._move(values, gradient, rate)
        self.steps += 1

    @boundary
    def step(self, parameters: Sequence[Node]) -> None:
        """Move leaf nodes by one step, after ``backward``: read their gradients, set their data."""
        values = data_of([*parameters])
        self.update(values, numpy.array([node.grad for node in parameters]))
        for node, value in zip(parameters, values.tolist(), strict=True):
            node.data = value

    @abstractmethod
    def _start(self, size: int) -> None:
        """Make the state for so many parameters."""

    @abstractmethod
    def _move(self, values: Array, gradient: Array, rate: float) -> None:
        """Change the values in place; the gradient is free to be overwritten."""

    def __repr__(self) -> str:
        rate = f"{self._rate:g}" if self._constant else repr(self._schedule)
        return f"{type(self).__name__}({rate})"


class SGD(Optimizer):
    """Gradient descent, with momentum if asked: the step is a decaying sum of gradients.

    Args:
        learning_rate: a number or schedule (0.1).
        momentum: what is left of that sum after a step, from 0 up to 1.
        nesterov: look ahead along it (Nesterov, 1983).
        weight_decay: times the parameter it is added to the gradient.
        clip_norm: the largest norm of the gradient.
        clip_value: the largest size of each of its elements.
    """

    default_rate = 0.1
    _changing = ("_velocity",)

    @with_nearest_names
    def __init__(
        self,
        learning_rate: float | Schedule | None = None,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.momentum = _below_1("momentum", momentum)
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov needs a momentum above 0")
        super().__init__(
            learning_rate, weight_decay=weight_decay, clip_norm=clip_norm, clip_value=clip_value
        )

    def _start(self, size: int) -> None:
        self._velocity = numpy.zeros(size) if self.momentum else numpy.empty(0)

    def _move(self, values: Array, gradient: Array, rate: float) -> None:
        if self.weight_decay:
            gradient += self.weight_decay * values
        if self.momentum:
            velocity = self._velocity
            if len(velocity) != len(values):  # there was no momentum until now
                velocity = self._velocity = numpy.zeros(len(values))
            velocity *= self.momentum
            velocity += gradient
            gradient = gradient + self.momentum * velocity if self.nesterov else velocity
        values -= rate * gradient


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and its square (Kingma and Ba, 2015).

    Args:
        learning_rate: a number or schedule (0.001).
        betas: what is left of each mean after a step.
        epsilon: added to the root of the mean of squares.
        weight_decay: times the parameter it is added to the gradient.
        clip_norm: the largest norm of the gradient.
        clip_value: the largest size of each of its elements.
    """

    default_rate = 0.001
    _changing = ("_mean", "_square")
    _decoupled: ClassVar[bool] = False

    @with_nearest_names
    def __init__(
        self,
        learning_rate: float | Schedule | None = None,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        if len(betas) != 2:
            raise ValueError(f"{type(self).__name__}: betas are two numbers, not {len(betas)}")
        self.betas = _below_1("a beta", betas[0]), _below_1("a beta", betas[1])
        self.epsilon = positive("epsilon", epsilon)
        super().__init__(
            learning_rate, weight_decay=weight_decay, clip_norm=clip_norm, clip_value=clip_value
        )

    def _start(self, size: int) -> None:
        self._mean = numpy.zeros(size)
        self._square = numpy.zeros(size)
        self._scratch = numpy.empty(size)

    def overflowed(self) -> bool:
        """Whether the square of a gradient was infinite: divided by its root a step is 0."""
        return self._size > 0 and not all_finite(self._square)

    def _move(self, values: Array, gradient: Array, rate: float) -> None:
        beta, beta2 = self.betas
        mean, square, scratch = self._mean, self._square, self._scratch
        if self.weight_decay:
            numpy.multiply(values, self.weight_decay, out=scratch)
            if not self._decoupled:
                gradient += scratch
        step = self.steps + 1
        mean *= beta
        numpy.multiply(gradient, 1.0 - beta, out=scratch)
        mean += scratch
        square *= beta2
        gradient *= gradient
        gradient *= 1.0 - beta2
        square += gradient
        unbias = math.sqrt(1.0 - beta2**step)  # of the root: into the numbers, not the array
        numpy.sqrt(square, out=scratch)
        scratch += self.epsilon * unbias
        numpy.divide(mean, scratch, out=scratch)
        scratch *= rate * unbias / (1.0 - beta**step)
        if self._decoupled and self.weight_decay:
            scratch += (rate * self.weight_decay) * values
        values -= scratch


class AdamW(Adam):
    """Adam whose weight decay is apart from the gradient (Loshchilov and Hutter, 2019).

    The arguments are those of :class:`Adam`; the decay is 0.01 by default.
    """

    _decoupled = True
    _changing = Adam._changing

    @with_nearest_names
    def __init__(
        self,
        learning_rate: float | Schedule | None = None,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(
            learning_rate, betas=betas, epsilon=epsilon, weight_decay=weight_decay,
            clip_norm=clip_norm, clip_value=clip_value,
        )  # fmt: skip


OPTIMIZERS: Final[dict[str, type[Optimizer]]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}


def optimizer(choice: str | Optimizer, learning_rate: Any = None) -> Optimizer:
    """The optimizer of a name with a learning rate, or the optimizer itself.

    Raises:
        TypeError: if it is neither text nor an optimizer.
        ValueError: if there is no such name, or an optimizer was given with another rate.
    """
    if isinstance(choice, Optimizer):
        if learning_rate is not None:
            raise ValueError(f"{choice!r} has its own learning rate; give it there")
        return choice
    return chosen("optimizer", choice, OPTIMIZERS)(learning_rate)


def _below_1(what: str, value: Any) -> float:
    number = not_negative(what, value)
    if number >= 1.0:
        raise ValueError(f"{what} is below 1, not {number:g}")
    return number


def _copied(value: Any) -> Any:
    """A copy of an array, also in lists, tuples and dicts; other objects as they are."""
    if isinstance(value, numpy.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    if type(value) is dict:
        return {key: _copied(part) for key, part in value.items()}
    return value


def _shorten(gradient: Array, longest: float) -> None:
    """Scale a gradient, in place, to a norm of at most ``longest``."""
    square = float(numpy.vdot(gradient, gradient))  # unlike dot it overflows without a warning
    if SMALLEST < square < math.inf:
        ratio = longest / math.sqrt(square)
        if ratio >= 1.0:
            return
        if ratio > SMALLEST:
            gradient *= ratio
            return
    largest = float(numpy.abs(gradient).max(initial=0.0))
    if largest == 0.0 or not math.isfinite(largest):
        return  # a NaN or infinity stays, so that it is noticed
    scaled = gradient / largest
    norm = math.sqrt(float(scaled @ scaled))
    if norm > longest / largest:
        gradient[:] = scaled * (longest / norm)


def all_finite(array: Array) -> bool:
    """Whether no element is NaN or infinite."""
    if array.size > LONG:
        return bool(numpy.isfinite(array).all())
    # The sum of squares tells it faster, unless that overflows.
    return math.isfinite(numpy.vdot(array, array)) or bool(numpy.isfinite(array).all())
