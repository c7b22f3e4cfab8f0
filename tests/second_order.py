"""Numbers with gradient and Hessian: power series to second order, independent of the package."""

from __future__ import annotations

import math
from typing import Any

import numpy


class Second:
    """value + gradient . d + d . hessian . d / 2."""

    def __init__(self, value: float, gradient: Any, hessian: Any) -> None:
        self.value = value
        self.gradient = gradient
        self.hessian = hessian

    def through(self, value: float, first: float, second: float) -> Second:
        """A function of it, by its derivatives."""
        outer = numpy.outer(self.gradient, self.gradient)
        return Second(value, first * self.gradient, first * self.hessian + second * outer)

    def __add__(self, other: Any) -> Second:
        if not isinstance(other, Second):
            return Second(self.value + other, self.gradient, self.hessian)
        return Second(
            self.value + other.value, self.gradient + other.gradient, self.hessian + other.hessian
        )

    __radd__ = __add__

    def __mul__(self, other: Any) -> Second:
        if not isinstance(other, Second):
            return Second(self.value * other, self.gradient * other, self.hessian * other)
        cross = numpy.outer(self.gradient, other.gradient)
        return Second(
            self.value * other.value,
            self.gradient * other.value + other.gradient * self.value,
            self.hessian * other.value + other.hessian * self.value + cross + cross.T,
        )

    __rmul__ = __mul__

    def __neg__(self) -> Second:
        return self * -1.0

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __truediv__(self, other: Any) -> Any:
        if not isinstance(other, Second):
            return Second(self.value / other, self.gradient / other, self.hessian / other)
        v = other.value
        return self * other.through(1.0 / v, -1.0 / v**2, 2.0 / v**3)

    def __rtruediv__(self, other: Any) -> Any:
        v = self.value
        return self.through(1.0 / v, -1.0 / v**2, 2.0 / v**3) * other

    def __lt__(self, other: Any) -> bool:
        return self.value < _value(other)

    def __gt__(self, other: Any) -> bool:
        return self.value > _value(other)


def _value(x: Any) -> float:
    return x.value if isinstance(x, Second) else float(x)


def second_variables(*xs: float) -> list[Second]:
    """The variables at a point."""
    eye = numpy.eye(len(xs))
    return [Second(x, eye[i], numpy.zeros_like(eye)) for i, x in enumerate(xs)]


def _function(value: Any, first: Any, second: Any) -> Any:
    def function(x: Any) -> Any:
        if not isinstance(x, Second):
            return value(x)
        return x.through(value(x.value), first(x.value), second(x.value))

    return function


FUNCTIONS = {
    "sin": _function(math.sin, math.cos, lambda x: -math.sin(x)),
    "cos": _function(math.cos, lambda x: -math.sin(x), lambda x: -math.cos(x)),
    "exp": _function(math.exp, math.exp, math.exp),
    "sqrt": _function(math.sqrt, lambda x: 0.5 / math.sqrt(x), lambda x: -0.25 / math.sqrt(x) ** 3),
    "tanh": _function(
        math.tanh,
        lambda x: 1.0 / math.cosh(x) ** 2,
        lambda x: -2.0 * math.tanh(x) / math.cosh(x) ** 2,
    ),
}
