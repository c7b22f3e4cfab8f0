"""Whole numbers: what floor, ceil and round give, and what stays whole."""

from __future__ import annotations

import math
from typing import Any, Final

from chainrule import rules
from chainrule.annotations import ACTIVE, Annotation, here
from chainrule.engine import ENGINE
from chainrule.node import Node, OperationNode, operator_of, with_other
from chainrule.rules import Operation, to_float
from chainrule.shortcuts import note_comparison
from chainrule.tracebacks import boundaries
from chainrule.traced import leaving, recorded
from chainrule.tracing import PROGRESS, has_ended

LARGEST_WHOLE: Final = 2.0**53
"""Up to here every whole number is a float."""
SEQUENCES: Final = (str, bytes, list, tuple)
"""What is repeated by a whole number."""


@boundaries
class WholeNode(OperationNode):
    """A whole number without derivative, an int in Python: what floor, ceil and round give.

    Sums, differences, products, quotients by ``//`` and remainders of whole numbers are whole
    numbers, exact up to 2**53. It is an index where Python asks for one: the number itself eagerly;
    where ``compile`` traces, found by guards.
    """

    __slots__ = ()

    def __index__(self) -> int:
        return whole_part(self)

    def __int__(self) -> int:
        return self.__index__()

    def __float__(self) -> float:
        return float(self.__index__())

    # What it is as a key and in a text, and what only ints have, is that of the number itself

    def __hash__(self) -> int:
        return hash(self.__index__()) if self._level else super().__hash__()

    def __str__(self) -> str:
        return str(self.__index__()) if self._level else super().__str__()

    def __format__(self, specification: str) -> str:
        if self._level:
            return format(self.__index__(), specification)
        return super().__format__(specification)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not self._level or not hasattr(int, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.__index__(), name)

    def __add__(self, other: object) -> Any:
        return self._with(other, "+", False)

    def __radd__(self, other: object) -> Any:
        return self._with(other, "+", True)

    def __sub__(self, other: object) -> Any:
        return self._with(other, "-", False)

    def __rsub__(self, other: object) -> Any:
        return self._with(other, "-", True)

    def __mul__(self, other: object) -> Any:
        return self._with(other, "*", False)

    def __rmul__(self, other: object) -> Any:
        return self._with(other, "*", True)

    def __mod__(self, other: object) -> Any:
        return self._with(other, "%", False)

    def __rmod__(self, other: object) -> Any:
        return self._with(other, "%", True)

    def __floordiv__(self, other: object) -> Any:
        return self._with(other, "//", False)

    def __rfloordiv__(self, other: object) -> Any:
        return self._with(other, "//", True)

    def _with(self, other: Any, symbol: str, swapped: bool) -> Any:
        """An operator whose result is a whole number if the other operand is one."""
        if not is_whole(other):
            if symbol == "*" and isinstance(other, SEQUENCES):
                return NotImplemented  # so many times, which asks for an index
            return with_other(self, other, symbol, swapped)
        divisor = self if swapped else other
        if symbol in ("%", "//") and divisor == 0:
            raise ZeroDivisionError("integer division or modulo by zero")
        operation = operator_of(symbol)
        if isinstance(other, Node):
            second: Node | None = other
            numbers = [self._number, other._number]
            constant = None
        else:
            second = None
            constant = to_float(other, symbol)
            numbers = [self._number, constant]
        value = operation.evaluate(numbers[::-1] if swapped else numbers)
        a, b = (second, self) if swapped else (self, second)
        if PROGRESS.recorder is None and not abs(value) <= LARGEST_WHOLE:
            return OperationNode(operation, value, a, b, constant)  # no longer exact
        result = WholeNode(operation, value, a, b, constant)
        return result if symbol in ("+", "-") else without_sign(result)

    def __neg__(self) -> Node:
        return without_sign(WholeNode(rules.negative, -self._number, self, None, None))

    def __abs__(self) -> Node:
        return WholeNode(rules.absolute, abs(self._number), self, None, None)

    def __round__(self, digits: Any = None) -> Node:
        return self if digits is None or digits >= 0 else super().__round__(digits)

    def __floor__(self) -> Node:
        return self

    def __ceil__(self) -> Node:
        return self

    def __trunc__(self) -> Node:
        return self

    def __and__(self, other: object) -> Any:
        return self._bits(other, "&")

    def __or__(self, other: object) -> Any:
        return self._bits(other, "|")

    def __xor__(self, other: object) -> Any:
        return self._bits(other, "^")

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Any:
        return -self - 1

    def __lshift__(self, other: object) -> Any:
        return int(self) << other if is_whole(other) else NotImplemented  # type: ignore[operator]

    def __rlshift__(self, other: object) -> Any:
        return other << int(self) if is_whole(other) else NotImplemented  # type: ignore[operator]

    def __rshift__(self, other: object) -> Any:
        return int(self) >> other if is_whole(other) else NotImplemented  # type: ignore[operator]

    def __rrshift__(self, other: object) -> Any:
        return other >> int(self) if is_whole(other) else NotImplemented  # type: ignore[operator]

    def _bits(self, other: Any, symbol: str) -> Any:
        """``&``, ``|`` or ``^`` of two whole numbers."""
        if not is_whole(other):
            return NotImplemented
        u = int(self)
        v = int(other)
        return u & v if symbol == "&" else u | v if symbol == "|" else u ^ v


def rounded(operation: Operation, x: Node) -> WholeNode:
    """The whole number that floor, ceil or trunc gives: -0.0 where they do, as of floats."""
    return _with_line(WholeNode(operation, operation.evaluate((x._number,)), x, None, None))


def rounded_half_even(x: Node) -> WholeNode:
    """The nearest whole number."""
    operation = rules.round_half_even
    value = operation.evaluate((x._number, 0.0))
    return without_sign(_with_line(WholeNode(operation, value, x, None, 0.0)))


def without_sign(node: WholeNode) -> WholeNode:
    """A whole number as an int, 0.0 for -0.0; in a trace the number may be that later."""
    if not recorded(node._level) and (node._number or math.copysign(1.0, node._number) > 0.0):
        return node
    return WholeNode(rules.add, node._number + 0.0, node, None, 0.0)


def _with_line(node: WholeNode) -> WholeNode:
    """Where a transformation follows it, a step remembers its line: it ends a derivative."""
    if node._level > 0 and node.line is None:
        node._annotation = Annotation(node.name, node.groups, here())
    return node


def is_whole(x: object) -> bool:
    """Whether x is a whole number: an index, in Python's term."""
    return isinstance(x, int) or (  # arrays have the method, too
        hasattr(type(x), "__index__") and not hasattr(type(x), "__len__")
    )


def whole_part(node: Node) -> int:
    """The whole part of a value, as int() gives it; where a trace records, it is part of the trace.

    Raises:
        ValueError: if the value is NaN.
        OverflowError: if it is infinite.
        TracedValueError: if the value belongs to a transformation that has ended.
    """
    if has_ended(node._level):
        raise leaving(node, "int() of")
    if not recorded(node._level):
        if node._level > 0 and ACTIVE.contexts:
            note_comparison((node,), False, 1)
        return int(node._number)
    return found_by_guards(node)


def refuse_infinite(node: Node) -> None:
    """See that a value is finite.

    Raises:
        ValueError: if it is NaN.
        OverflowError: if it is infinite.
    """
    if not abs(node) < math.inf:
        raise (OverflowError if node == node else ValueError)(
            "int() of a traced value that is infinite or NaN"
        )


def found_by_guards(node: Node) -> int:
    """The whole part of a value, which comparisons make part of the trace.

    Raises:
        ValueError: if it is NaN.
        OverflowError: if it is infinite.
    """
    negative = bool(node <= -1.0)
    x = -node if negative else node
    high = 1
    while not x < high:
        if high == 2**64:
            refuse_infinite(node)
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if x < middle:
            high = middle
        else:
            low = middle
    return -low if negative else low


if ENGINE is not None:
    ENGINE.set_whole(WholeNode)
