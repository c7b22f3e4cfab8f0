"""Numbers with gradient and Hessian: power series to second order, independent of the package.

Derivatives that a program itself takes are numbers with a slope, which are such series in turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

CLOSE = 1e-9
"""How near two numbers are that are told apart by rounding alone."""


class Unclear(Exception):
    """A comparison whose outcome, or an operation with a kink whose side, hangs on rounding."""


class Second:
    """value + gradient . d + d . hessian . d / 2."""

    __slots__ = ("gradient", "hessian", "value")

    def __init__(self, value: float, gradient: Any, hessian: Any) -> None:
        self.value = value
        self.gradient = gradient
        self.hessian = hessian

    def through(self, value: float, first: float, second: float) -> Second:
        """A function of it, by its derivatives."""
        outer = numpy.outer(self.gradient, self.gradient)
        return Second(value, first * self.gradient, first * self.hessian + second * outer)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Second):
            return Second(
                self.value + other.value,
                self.gradient + other.gradient,
                self.hessian + other.hessian,
            )
        if isinstance(other, (Dual, numpy.ndarray)):
            return NotImplemented
        return Second(self.value + other, self.gradient, self.hessian)

    __radd__ = __add__

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Second):
            cross = numpy.multiply.outer(self.gradient, other.gradient)
            return Second(
                self.value * other.value,
                self.gradient * other.value + other.gradient * self.value,
                self.hessian * other.value + other.hessian * self.value + cross + cross.T,
            )
        if isinstance(other, (Dual, numpy.ndarray)):
            return NotImplemented
        return Second(self.value * other, self.gradient * other, self.hessian * other)

    __rmul__ = __mul__

    def __neg__(self) -> Any:
        return self * -1.0

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __truediv__(self, other: Any) -> Any:
        if isinstance(other, (Dual, numpy.ndarray)):
            return NotImplemented
        return self * _reciprocal(other)

    def __rtruediv__(self, other: Any) -> Any:
        return _reciprocal(self) * other

    def __lt__(self, other: Any) -> bool:
        return _below(self, other)

    def __gt__(self, other: Any) -> bool:
        return _below(other, self)

    def __abs__(self) -> Any:
        return _absolute(self)


class Dual:
    """value + slope . t, of numbers or series."""

    __slots__ = ("slope", "value")

    def __init__(self, value: Any, slope: Any) -> None:
        self.value = value
        self.slope = slope

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Dual):
            return Dual(self.value + other.value, self.slope + other.slope)
        return Dual(self.value + other, self.slope)

    __radd__ = __add__

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Dual):
            return Dual(
                self.value * other.value, self.slope * other.value + self.value * other.slope
            )
        return Dual(self.value * other, self.slope * other)

    __rmul__ = __mul__

    def __neg__(self) -> Any:
        return self * -1.0

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __truediv__(self, other: Any) -> Any:
        return self * _reciprocal(other)

    def __rtruediv__(self, other: Any) -> Any:
        return _reciprocal(self) * other

    def __lt__(self, other: Any) -> bool:
        return _below(self, other)

    def __gt__(self, other: Any) -> bool:
        return _below(other, self)

    def __abs__(self) -> Any:
        return _absolute(self)


def _value(x: Any) -> float:
    while isinstance(x, (Second, Dual)):
        x = x.value
    return float(x)


def _below(x: Any, y: Any) -> bool:
    a, b = _value(x), _value(y)
    if 0.0 < abs(a - b) < CLOSE:
        raise Unclear
    return a < b


def second_variables(*xs: float) -> list[Second]:
    """The variables at a point."""
    eye = numpy.eye(len(xs))
    return [Second(x, eye[i], numpy.zeros_like(eye)) for i, x in enumerate(xs)]


# Smooth functions, from their derivatives


def _function(*derivatives: Callable[[float], float]) -> Any:
    """A function, of the derivatives of order 0 to 3."""
    value, first, second = derivatives[:3]

    def function(x: Any) -> Any:
        if isinstance(x, Dual):
            return Dual(function(x.value), slope(x.value) * x.slope)
        if isinstance(x, Second):
            return x.through(value(x.value), first(x.value), second(x.value))
        return value(x)

    if len(derivatives) > 3:
        slope = _function(*derivatives[1:])
    return function


def _tanh_second(x: float) -> float:
    return -2.0 * math.tanh(x) / math.cosh(x) ** 2


def _tanh_third(x: float) -> float:
    return (4.0 * math.tanh(x) ** 2 - 2.0 / math.cosh(x) ** 2) / math.cosh(x) ** 2


_reciprocal = _function(
    lambda x: 1.0 / x, lambda x: -1.0 / x**2, lambda x: 2.0 / x**3, lambda x: -6.0 / x**4
)
_sine = (math.sin, math.cos, lambda x: -math.sin(x), lambda x: -math.cos(x))


# Functions with kinks: what is equal has a part each, and what lies on the kink of one operand none


def _absolute(x: Any) -> Any:
    return x * float(_below(0.0, x) - _below(x, 0.0))


def _relu(x: Any) -> Any:
    return x * float(_below(0.0, x))


def _maximum(x: Any, y: Any) -> Any:
    if _below(x, y):
        return y
    return x if _below(y, x) else 0.5 * x + 0.5 * y


def _minimum(x: Any, y: Any) -> Any:
    return -_maximum(-x, -y)


# Derivatives inside


def _slope(f: Callable[[Any], Any], x: Any) -> Any:
    return _pushed(f, x)[1]


def _pushed(f: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    y = f(Dual(x, 1.0))
    return (y.value, y.slope) if isinstance(y, Dual) else (y, 0.0)


FUNCTIONS = {
    "sin": _function(*_sine),
    "cos": _function(*_sine[1:], math.sin),
    "exp": _function(math.exp, math.exp, math.exp, math.exp),
    "sqrt": _function(
        math.sqrt,
        lambda x: 0.5 / math.sqrt(x),
        lambda x: -0.25 / math.sqrt(x) ** 3,
        lambda x: 0.375 / math.sqrt(x) ** 5,
    ),
    "tanh": _function(math.tanh, lambda x: 1.0 / math.cosh(x) ** 2, _tanh_second, _tanh_third),
    "maximum": _maximum,
    "minimum": _minimum,
    "relu": _relu,
    "where": lambda condition, x, y: x if condition else y,
    "slope": _slope,
    "pushed": _pushed,
    "array": lambda *numbers: numpy.array(numbers, dtype=object),
}
"""What programs call."""
