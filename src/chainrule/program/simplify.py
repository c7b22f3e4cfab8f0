"""Simplifications: equal values that cost less.

Each leaves the result the same to the last bit, NaN, infinities and signed zeros included; only
small whole powers become products, which rounds once more than ``pow``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

from chainrule import rules
from chainrule.rules import Operation

from .form import Compute, Operand

Value: TypeAlias = Callable[[Operation, tuple[Operand, ...]], Operand]
"""Makes the value of an operation."""


def _negative(value: Value, x: Operand) -> Operand | None:
    return _negated(x)


def _multiply(value: Value, a: Operand, b: Operand) -> Operand | None:
    if isinstance(a, float):
        a, b = b, a
    x = _negated(a)
    if isinstance(b, float):
        if b == 1.0:
            return a
        if b == -1.0:
            return value(rules.negative, (a,))
        return None if x is None else value(rules.multiply, (x, -b))
    y = None if x is None else _negated(b)
    return None if x is None or y is None else value(rules.multiply, (x, y))


def _add(value: Value, a: Operand, b: Operand) -> Operand | None:
    y = _negated(b)
    if y is not None:
        return value(rules.subtract, (a, y))
    x = _negated(a)
    if x is not None:
        return value(rules.subtract, (b, x))
    if _is_zero(b, -1.0):
        return a
    return b if _is_zero(a, -1.0) else None


def _subtract(value: Value, a: Operand, b: Operand) -> Operand | None:
    y = _negated(b)
    if y is not None:
        return value(rules.add, (a, y))
    return a if _is_zero(b, 1.0) else None


def _divide(value: Value, a: Operand, b: Operand) -> Operand | None:
    if not isinstance(b, float):
        return None
    if b == 1.0:
        return a
    if b == -1.0:
        return value(rules.negative, (a,))
    if _is_power_of_two(b):
        return value(rules.multiply, (a, 1.0 / b))
    return None


def _azmul(value: Value, a: Operand, b: Operand) -> Operand | None:
    if (isinstance(a, float) and a != 0.0) or (isinstance(b, float) and math.isfinite(b)):
        return value(rules.multiply, (a, b))
    return None


def _where(value: Value, condition: Operand, a: Operand, b: Operand) -> Operand | None:
    if isinstance(condition, float):
        return a if condition else b
    if key(a) == key(b):
        return a
    if isinstance(condition, Compute) and condition.operation in (rules.equal, rules.not_equal):
        c, zero = condition.operands
        if isinstance(c, float):
            c, zero = zero, c
        if isinstance(zero, float) and zero == 0.0:  # c itself is as good a condition
            sides = (b, a) if condition.operation is rules.equal else (a, b)
            return value(rules.where, (c, *sides))
    return None


def _message(value: Value, reached: Operand, grad: Operand, local: Operand) -> Operand | None:
    if not isinstance(reached, float):
        return None
    # What is not reached has a global gradient of 0.
    return 0.0 if reached == 0.0 else value(rules.multiply, (grad, local))


def _gather(value: Value, index: Operand, *table: Operand) -> Operand | None:
    return table[int(index)] if isinstance(index, float) else None


def _power(value: Value, x: Operand, n: Operand) -> Operand | None:
    """By products."""
    if n == 0.0:
        return 1.0
    if n == 1.0:
        return x
    if n == -1.0:
        return value(rules.divide, (1.0, x))
    if n in (2.0, 3.0, 4.0):
        square = value(rules.multiply, (x, x))
        if n == 2.0:
            return square
        return value(rules.multiply, (square, x if n == 3.0 else square))
    return None


def _power_term(value: Value, c: Operand, x: Operand, n: Operand, k: Operand) -> Operand | None:
    """By products where c, in c x ** (n - k), is a moderate constant."""
    if not isinstance(c, float) or not isinstance(n, float) or not isinstance(k, float):
        return None
    if not 1e-100 < abs(c) < 1e100:
        return None
    if n - k == 0.0:
        return c
    if n - k == 1.0:
        return value(rules.multiply, (c, x))
    if n - k == 2.0:
        return value(rules.multiply, (value(rules.multiply, (c, x)), x))
    return None


SIMPLIFICATIONS: Final[dict[Operation, Callable[..., Operand | None]]] = {
    rules.negative: _negative,
    rules.multiply: _multiply,
    rules.add: _add,
    rules.subtract: _subtract,
    rules.divide: _divide,
    rules.azmul: _azmul,
    rules.where: _where,
    rules.message: _message,
    rules.gather: _gather,
}
"""By operation: from how values are made and the operands, not all constants, a value or None."""
FINAL_SIMPLIFICATIONS: Final[dict[Operation, Callable[..., Operand | None]]] = {
    **SIMPLIFICATIONS,
    rules.power: _power,
    rules.power_term: _power_term,
}
"""Those of programs of which no derivative is taken any more."""


def key(x: Operand) -> object:
    """What an operand is known by: signed zeros are told apart, all NaNs are one."""
    if isinstance(x, float):
        if x == 0.0:
            return ("zero", math.copysign(1.0, x))
        return x if x == x else "nan"
    return x


def _negated(x: Operand) -> Operand | None:
    """What x is the negative of, or None."""
    if isinstance(x, Compute) and x.operation is rules.negative:
        return x.operands[0]
    return None


def _is_zero(x: Operand, sign: float) -> bool:
    return isinstance(x, float) and x == 0.0 and math.copysign(1.0, x) == sign


def _is_power_of_two(x: float) -> bool:
    return math.frexp(x)[0] in (0.5, -0.5) and 2.0**-1000 < abs(x) < 2.0**1000
