"""What NumPy's ufuncs do to elements that are nodes: the same values as on floats.

On an array of objects NumPy compares and picks with Python's operators. These lose a NaN, give one
of two equal operands the whole gradient, and know no infinity. Here each ufunc has what it does
to elements, numbers and nodes alike.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy

from chainrule import math, rules
from chainrule.comparing import negated
from chainrule.node import Node


def objects(values: Sequence[Any]) -> Any:
    """An array of numbers and nodes."""
    return numpy.fromiter(values, dtype=object, count=len(values))


# What a ufunc does to elements


def is_nan(x: Any) -> bool:
    """Whether an element is NaN; a traced one is asked, which is a branch."""
    return bool(math.isnan(x))


def _equal(x: Any, y: Any) -> Any:
    """Whether the values are equal: ``==`` of two nodes can be whether they are the same node."""
    if isinstance(x, Node) and isinstance(y, Node):
        return (x <= y) & (x >= y)
    return x == y


def _not_equal(x: Any, y: Any) -> Any:
    if isinstance(x, Node) and isinstance(y, Node):
        return negated(_equal(x, y))
    return x != y


def _with_operator(of_nodes: Callable[[Any, Any], Any], of_numbers: Any) -> Any:
    """A division or power: the operator for nodes, for two numbers what IEEE 754 says."""

    def element(x: Any, y: Any) -> Any:
        return of_nodes(x, y) if isinstance(x, Node) or isinstance(y, Node) else of_numbers(x, y)

    return element


def _fmax(x: Any, y: Any) -> Any:
    return math.where(math.isnan(x), y, math.where(math.isnan(y), x, math.maximum(x, y)))


def _fmin(x: Any, y: Any) -> Any:
    return math.where(math.isnan(x), y, math.where(math.isnan(y), x, math.minimum(x, y)))


def _logaddexp(x: Any, y: Any) -> Any:
    return math.logsumexp((x, y))


def _logaddexp2(x: Any, y: Any) -> Any:
    return math.logsumexp((x * _LOG2, y * _LOG2)) / _LOG2


_LOG2: Final = math.log(2.0)


def _heaviside(x: Any, at_zero: Any) -> Any:
    return math.where(x == 0, at_zero, 0.5 * math.sign(x) + 0.5)


def _signbit(x: Any) -> Any:
    return math.copysign(1.0, x) < 0


ELEMENTS: Final[dict[Any, Callable[..., Any]]] = {
    numpy.add: operator.add,
    numpy.subtract: operator.sub,
    numpy.multiply: operator.mul,
    numpy.divide: _with_operator(operator.truediv, rules.divide),
    numpy.floor_divide: _with_operator(operator.floordiv, rules.floor_divide),
    numpy.remainder: _with_operator(operator.mod, rules.mod),
    numpy.power: _with_operator(operator.pow, rules.power),
    numpy.float_power: _with_operator(operator.pow, rules.power),
    numpy.negative: operator.neg,
    numpy.positive: operator.pos,
    numpy.absolute: operator.abs,
    numpy.fabs: operator.abs,
    numpy.square: lambda x: x * x,
    numpy.reciprocal: lambda x: rules.divide(1.0, x),
    numpy.less: operator.lt,
    numpy.less_equal: operator.le,
    numpy.greater: operator.gt,
    numpy.greater_equal: operator.ge,
    numpy.equal: _equal,
    numpy.not_equal: _not_equal,
    numpy.maximum: math.maximum,
    numpy.minimum: math.minimum,
    numpy.fmax: _fmax,
    numpy.fmin: _fmin,
    numpy.sign: math.sign,
    numpy.copysign: math.copysign,
    numpy.signbit: _signbit,
    numpy.isnan: math.isnan,
    numpy.isinf: math.isinf,
    numpy.isfinite: math.isfinite,
    numpy.floor: math.floor,
    numpy.ceil: math.ceil,
    numpy.trunc: math.trunc,
    numpy.rint: lambda x: rules.round_half_even(x, 0),
    numpy.fmod: math.fmod,
    numpy.divmod: lambda x, y: (numpy.floor_divide(x, y), numpy.remainder(x, y)),
    numpy.modf: math.modf,
    numpy.ldexp: math.ldexp,
    numpy.exp: math.exp,
    numpy.exp2: math.exp2,
    numpy.expm1: math.expm1,
    numpy.log: math.log,
    numpy.log2: math.log2,
    numpy.log10: math.log10,
    numpy.log1p: math.log1p,
    numpy.sqrt: math.sqrt,
    numpy.cbrt: math.cbrt,
    numpy.sin: math.sin,
    numpy.cos: math.cos,
    numpy.tan: math.tan,
    numpy.arcsin: math.asin,
    numpy.arccos: math.acos,
    numpy.arctan: math.atan,
    numpy.arctan2: math.atan2,
    numpy.sinh: math.sinh,
    numpy.cosh: math.cosh,
    numpy.tanh: math.tanh,
    numpy.arcsinh: math.asinh,
    numpy.arccosh: math.acosh,
    numpy.arctanh: math.atanh,
    numpy.hypot: math.hypot,
    numpy.degrees: math.degrees,
    numpy.rad2deg: math.degrees,
    numpy.radians: math.radians,
    numpy.deg2rad: math.radians,
    numpy.conjugate: operator.pos,
    numpy.logaddexp: _logaddexp,
    numpy.logaddexp2: _logaddexp2,
    numpy.heaviside: _heaviside,
}
"""What the ufuncs do to numbers and nodes."""

NATIVE: Final = frozenset(
    {
        numpy.add,
        numpy.subtract,
        numpy.multiply,
        numpy.negative,
        numpy.positive,
        numpy.absolute,
        numpy.square,
        numpy.less,
        numpy.less_equal,
        numpy.greater,
        numpy.greater_equal,
    }
)
"""Those of which NumPy's own loop over objects does the same."""

QUIET: Final = frozenset({numpy.add, numpy.subtract, numpy.multiply, numpy.negative})
"""Those of which NumPy's loop over objects never warns."""

TRUTHS: Final = frozenset(
    {
        numpy.equal,
        numpy.not_equal,
        numpy.isnan,
        numpy.isinf,
        numpy.isfinite,
        numpy.signbit,
    }
)
"""Those that give arrays of truth values."""

_OF_SCIPY: Final[dict[str, Callable[..., Any]]] = {
    "cbrt": math.cbrt,
    "digamma": math.digamma,
    "erf": math.erf,
    "erfc": math.erfc,
    "exp2": math.exp2,
    "expit": math.sigmoid,
    "expm1": math.expm1,
    "gamma": math.gamma,
    "gammaln": math.lgamma,
    "log1p": math.log1p,
    "ndtr": math.norm_cdf,
    "psi": math.digamma,
}
"""Ufuncs of ``scipy.special`` by name."""


def element_of(ufunc: Any) -> Callable[..., Any] | None:
    """What a ufunc does to numbers and nodes; None if that is not known."""
    found = ELEMENTS.get(ufunc)
    if found is None:
        special = sys.modules.get("scipy.special")
        name = ufunc.__name__
        if special is not None and getattr(special, name, None) is ufunc:
            return _OF_SCIPY.get(name)
    return found


@functools.cache
def loop_over(ufunc: Any) -> Any:
    """The ufunc that runs over arrays of objects in place of NumPy's or SciPy's own."""
    element = element_of(ufunc)
    if element is None or ufunc in NATIVE:
        return ufunc
    if ufunc in (numpy.maximum, numpy.minimum, numpy.fmax, numpy.fmin):
        return numpy.frompyfunc(element, 2, 1, identity=None)  # in any order
    if ufunc.identity is not None:
        return numpy.frompyfunc(element, ufunc.nin, ufunc.nout, identity=ufunc.identity)
    return numpy.frompyfunc(element, ufunc.nin, ufunc.nout)
