"""Functions on numbers and nodes, under the names of Python's ``math``.

Each takes numbers or nodes. Given only numbers it returns a float; given a node, a node. Values
follow IEEE 754 in both cases: ``log(0)`` is -inf, ``sqrt(-1)`` NaN, and nothing raises on a value
(see :func:`~chainrule.domain_errors`). ``comb``, ``factorial``, ``gcd``, ``isqrt``, ``lcm`` and
``perm`` are Python's, of whole numbers.

For arrays of nodes use NumPy's functions: ``np.exp(array_of_nodes)``.
"""

from __future__ import annotations

import math as _math
from collections.abc import Iterable
from functools import reduce
from math import comb, e, factorial, gcd, inf, isqrt, lcm, nan, perm, pi, tau
from typing import Any

from chainrule import rules as _rules
from chainrule.comparing import as_condition as _as_condition
from chainrule.comparing import compared as _compared
from chainrule.comparing import negated as _negated
from chainrule.node import Node as _Node
from chainrule.rules import to_float as _to_float
from chainrule.tracebacks import boundary as _boundary
from chainrule.tracebacks import keep_users_frames as _keep_users_frames

__all__ = [  # and the table's
    "clip",
    "comb",
    "degrees",
    "digamma",
    "dist",
    "dot",
    "e",
    "factorial",
    "fsum",
    "gcd",
    "inf",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isqrt",
    "lcm",
    "log",
    "logsumexp",
    "modf",
    "nan",
    "perm",
    "pi",
    "prod",
    "radians",
    "sumprod",
    "tau",
    "where",
]

# Functions made of elementary operations


def log(x: Any, base: Any = None) -> Any:
    """Logarithm of x, natural or to a base."""
    try:  # not a boundary, which costs a call
        if base is None:
            return _rules.log(x)
        return _rules.divide(_rules.log(x), _rules.log(base))
    except BaseException as error:
        _keep_users_frames(error)
        raise


@_boundary
def digamma(x: Any) -> Any:
    """Derivative of lgamma."""
    return _rules.polygamma(0.0, x)


@_boundary
def degrees(x: Any) -> Any:
    """Radians to degrees."""
    return _rules.multiply(x, 180.0 / _math.pi)


@_boundary
def radians(x: Any) -> Any:
    """Degrees to radians."""
    return _rules.multiply(x, _math.pi / 180.0)


@_boundary
def modf(x: Any) -> tuple[Any, Any]:
    """Fractional and whole part, both with the sign of x."""
    none = _rules.copysign(0.0, x)
    return where(isinf(x), none, _rules.fmod(x, 1.0)), _rules.trunc(x)


@_boundary
def fsum(xs: Iterable[Any]) -> Any:
    """The sum of numbers and nodes, rounded once."""
    return _rules.fsum(*xs)


@_boundary
def prod(xs: Iterable[Any], *, start: Any = 1.0) -> Any:
    """The product, from left to right, beginning with ``start``."""
    product = start
    for x in xs:
        product = _rules.multiply(product, x)
    return product if isinstance(product, _Node) else _to_float(product, "prod")


@_boundary
def dot(xs: Iterable[Any], ys: Iterable[Any]) -> Any:
    """x0 y0 + x1 y1 + …, from left to right; 0.0 for nothing.

    Raises:
        ValueError: if the lengths differ.
    """
    terms = [_rules.multiply(x, y) for x, y in _pairs(xs, ys, "dot")]
    total = terms[0] if terms else 0.0
    for term in terms[1:]:
        total = _rules.add(total, term)
    return total


sumprod = dot


@_boundary
def dist(p: Iterable[Any], q: Iterable[Any]) -> Any:
    """Euclidean distance of two points.

    Raises:
        ValueError: if their dimensions differ.
    """
    return _rules.hypot(*[_rules.subtract(x, y) for x, y in _pairs(p, q, "dist")])


def _pairs(xs: Iterable[Any], ys: Iterable[Any], name: str) -> list[tuple[Any, Any]]:
    left, right = list(xs), list(ys)
    if len(left) != len(right):
        raise ValueError(
            f"{name} takes two sequences of one length, not of {len(left)} and {len(right)}"
        )
    return list(zip(left, right, strict=True))


@_boundary
def logsumexp(xs: Iterable[Any]) -> Any:
    """log(exp(x0) + exp(x1) + …) without overflow; -inf for nothing."""
    terms = list(xs)
    if not terms:
        return -_math.inf
    largest = _rules.stop_gradient(reduce(_rules.maximum, terms))
    if isinf(largest):  # x - inf would be NaN
        if largest > 0 and sum(1 for x in terms if x == _math.inf) == 1:
            return reduce(_rules.maximum, terms)  # the others are nothing beside it
        return _rules.log(reduce(_rules.add, [_rules.exp(x) for x in terms]))  # gradients NaN
    total = reduce(_rules.add, [_rules.exp(_rules.subtract(x, largest)) for x in terms])
    return _rules.add(largest, _rules.log(total))


@_boundary
def clip(x: Any, low: Any, high: Any) -> Any:
    """x limited to [low, high]; at a limit the gradient is shared, as maximum and minimum do.

    Raises:
        ValueError: if low is larger than high.
    """
    if low > high:
        raise ValueError(f"clip takes low <= high, not {_shown(low)} > {_shown(high)}")
    return _rules.minimum(_rules.maximum(x, low), high)


def where(condition: bool, x: Any, y: Any) -> Any:
    """x if the condition holds, else y; the other has gradient 0, even where its own is not finite.

    Raises:
        TypeError: if the condition is not a truth value such as a comparison gives.
    """
    try:  # not a boundary, which costs a call
        picks = _as_condition(condition)
        if not isinstance(picks, _Node):
            picks = 1.0 if picks else 0.0
        return _rules.where(picks, x, y)
    except BaseException as error:
        _keep_users_frames(error)
        raise


# Questions about a value: truth values


@_boundary
def isnan(x: Any) -> Any:
    """Whether the value is NaN."""
    return _negated(_is(_rules.less_equal, _rules.absolute(x), _math.inf))


@_boundary
def isinf(x: Any) -> Any:
    """Whether the value is an infinity."""
    return _is(_rules.equal, _rules.absolute(x), _math.inf)


@_boundary
def isfinite(x: Any) -> Any:
    """Whether the value is neither NaN nor an infinity."""
    return _is(_rules.less, _rules.absolute(x), _math.inf)


@_boundary
def isclose(a: Any, b: Any, *, rel_tol: float = 1e-09, abs_tol: float = 0.0) -> Any:
    """Whether two values are close, as Python's ``math.isclose``.

    Raises:
        ValueError: if a tolerance is negative.
    """
    if rel_tol < 0 or abs_tol < 0:
        raise ValueError(f"isclose takes tolerances from 0 up, not {rel_tol} and {abs_tol}")
    largest = _rules.maximum(_rules.absolute(a), _rules.absolute(b))
    near = _is(
        _rules.less_equal,
        _rules.absolute(_rules.subtract(a, b)),
        _rules.maximum(_rules.multiply(rel_tol, largest), abs_tol),
    )
    same = _is(_rules.less_equal, a, b) & _is(_rules.less_equal, b, a)
    return same | (near & isfinite(largest))


def _is(operation: _rules.Operation, a: Any, b: Any) -> Any:
    """The outcome of a comparison of values."""
    if isinstance(a, _Node) or isinstance(b, _Node):
        return _compared(operation, a, b)
    return operation(a, b) != 0.0


def _shown(x: Any) -> float:
    return x._number if isinstance(x, _Node) else _to_float(x, "chainrule.math")


# Elementary operations, straight from the table of rules


def __getattr__(name: str) -> _rules.Operation:  # for type checkers: they cannot see the table
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_TABLE = {row.public: row for row in _rules.OPERATIONS.values() if row.public not in ("", *__all__)}
globals().update(_TABLE)
__all__ += _TABLE
__doc__ = f"""{__doc__}
From the table of operations:

{chr(10).join(f"- {name}: {row.summary}" for name, row in sorted(_TABLE.items()))}
"""
