"""Comparisons: bools, but where ``compile`` records them; conditions combined without a branch."""

from __future__ import annotations

import math
from typing import Any

from chainrule import rules
from chainrule.annotations import ACTIVE, asked_by_user, note_decision
from chainrule.engine import ENGINE
from chainrule.node import Node, level_of
from chainrule.rules import Operation
from chainrule.shortcuts import note_comparison
from chainrule.tracebacks import boundary
from chainrule.traced import leaving, recorded
from chainrule.tracing import PROGRESS, has_ended
from chainrule.whole import WholeNode


class ConditionNode(WholeNode):
    """A comparison that ``compile`` follows: the bool that it is in plain Python, 1.0 or 0.0.

    Where its truth is asked (``if``, ``while``, ``and``, ``not``) it becomes a guard: the trace
    holds for calls in which it comes out the same. As the condition of ``where``, or as a number,
    it is computed without a branch; ``&``, ``|``, ``^`` and ``~`` combine conditions without one.

    Attributes:
        asked: whether anything has used it.
        escaped: whether it was used where only a bool would do.
    """

    __slots__ = ("asked", "escaped") if ENGINE is None else ()  # in C they are marks of the node

    def __init__(
        self, operation: Operation, data: float, a: Node | None, b: Node | None, rest: object
    ) -> None:
        super().__init__(operation, data, a, b, rest)
        self.asked = False
        self.escaped = False

    @boundary
    def __bool__(self) -> bool:
        recorder = PROGRESS.recorder
        if recorder is None:
            raise leaving(self, "the truth value of")
        self.asked = True
        return bool(recorder.guard(self, self._number != 0.0))

    def __int__(self) -> int:
        return 1 if self else 0

    def __float__(self) -> float:
        return 1.0 if self else 0.0

    # As an index (NumPy takes a bool for a mask), a key or text it must be a bool: the trace starts
    # anew with one.

    @boundary
    def __index__(self) -> int:
        self.escaped = True
        raise TypeError("a traced comparison is no index")

    def __hash__(self) -> int:
        self.escaped = self.escaped or asked_by_user()
        return id(self) >> 4

    def __str__(self) -> str:
        self.escaped = self.escaped or asked_by_user()
        return super(WholeNode, self).__str__()

    def __repr__(self) -> str:
        self.escaped = self.escaped or asked_by_user()
        return super().__repr__()

    def __format__(self, spec: str) -> str:
        self.escaped = self.escaped or asked_by_user()
        return super(WholeNode, self).__format__(spec)

    def __round__(self, digits: Any = None) -> Any:
        return self + 0

    def __invert__(self) -> Any:
        return InvertedNode(rules.subtract, -1.0 - self._number, None, self, -1.0)

    def _bits(self, other: Any, symbol: str) -> Any:
        return _combined(self, other, symbol)


class InvertedNode(WholeNode):
    """``~`` of a comparison: as a number -2 or -1, as in Python; as a condition its negation."""

    __slots__ = ()

    def __invert__(self) -> Any:
        return self._b

    def _bits(self, other: Any, symbol: str) -> Any:
        return _combined(self, other, symbol)


def compared(operation: Operation, a: object, b: object) -> Any:
    """A comparison: a :class:`ConditionNode` where it is recorded, else a bool.

    Numbers that are no floats are compared exactly, as Python does.

    Raises:
        TracedValueError: in another thread than the transformation's, or after its end.
    """
    x = a if isinstance(a, Node) else None
    y = b if isinstance(b, Node) else None
    u = 0.0
    v = 0.0
    never_equal = False
    if x is not None:
        u = x._number
    else:
        below, u = _around(a, operation)
        never_equal = below != u
    if y is not None:
        v = y._number
    else:
        v, above = _around(b, operation)
        never_equal = above != v
    level = level_of((a, b))
    if level == 0 and x is not None and y is not None:
        if operation is rules.equal:
            return x is y
        if operation is rules.not_equal:
            return x is not y
    if level > 0:
        for operand in (x, y):
            if operand is not None and has_ended(operand._level):
                raise leaving(operand, "comparing")
    if never_equal and u == u and v == v:
        if operation is rules.equal or operation is rules.not_equal:
            return operation is rules.not_equal
        operation = rules.less_equal  # with the float next to the number
    value = operation.evaluate((u, v))
    if not recorded(level):
        held = held_equality(operation, value != 0.0, a, b)
        if level > 0 and (held or ACTIVE.contexts):
            note_comparison((a, b), held, 1)
        if level == 0:
            note_decision(operation, u if x is None else x, v if y is None else y, value != 0.0)
        return value != 0.0
    rest = u if x is None else v if y is None else None
    return _noted(ConditionNode(operation, value, x, y, rest))


def held_equality(operation: Operation | None, outcome: bool, a: Any, b: Any) -> bool:
    """Whether a comparison found values equal, but for ``x != 0``, which keeps clear of poles."""
    if operation is not rules.not_equal or outcome:
        return operation is rules.equal and outcome
    return all(isinstance(x, Node) or bool(x != 0.0) for x in (a, b))


def _around(number: Any, operation: Operation) -> tuple[float, float]:
    """The floats next to a number, below and above; the same twice if it is one itself."""
    if isinstance(number, float):
        return number, number
    try:
        near = float(number)
    except OverflowError:
        near = math.inf if number > 0 else -math.inf
    if type(number).__module__ == "numpy" or number != number or number == near:
        return near, near
    if number > near:
        return near, math.nextafter(near, math.inf)
    return math.nextafter(near, -math.inf), near


def _noted(condition: ConditionNode) -> Any:
    """A new condition, or its outcome where the trace has comparisons that are bools."""
    recorder = PROGRESS.recorder
    return condition if recorder is None else recorder.compared(condition)


if ENGINE is not None:
    ENGINE.set_context_hooks(condition=ConditionNode, noted=_noted)


def negated(condition: Any) -> Any:
    """``not`` of a comparison, without a branch."""
    if not isinstance(condition, ConditionNode):
        return not condition
    value = 1.0 - condition._number
    return _noted(ConditionNode(rules.subtract, value, None, condition, 1.0))


def is_truth(x: object) -> bool:
    """Whether it is a truth value, of Python or of NumPy, which is not imported for that."""
    kind = type(x)
    return kind is bool or (kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"))


def as_condition(x: object) -> Any:
    """What ``where`` picks by, for a comparison, or comparisons combined by ``& | ^ ~``.

    In Python ``~True`` is -2 and ``~False`` -1: of such numbers the last bit counts.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(x, (bool, ConditionNode)):
        return x
    if isinstance(x, InvertedNode):
        return negated(x._b)
    if type(x) is int and -2 <= x <= 1:
        return x % 2 == 1
    if is_truth(x):
        return bool(x)
    raise TypeError(
        f"where takes a comparison such as x > 0, not {type(x).__name__}; for arrays use np.where"
    )


def _combined(left: WholeNode, other: Any, symbol: str) -> Any:
    """``&``, ``|`` or ``^`` of conditions, without a branch; with others as of whole numbers."""
    try:
        a = as_condition(left)
        b = as_condition(other)
    except TypeError:
        return WholeNode._bits(left, other, symbol)
    inverted = isinstance(left, InvertedNode)
    below = isinstance(other, InvertedNode) or (isinstance(other, int) and other < 0)
    if symbol == "&":
        result, negative = _logic(rules.multiply, a, b), inverted and below
    elif symbol == "|":
        result, negative = _logic(rules.maximum, a, b), inverted or below
    else:
        result, negative = _logic(rules.not_equal, a, b), inverted != below
    return ~negated(result) if negative else result


def _logic(operation: Operation, a: Any, b: Any) -> Any:
    """Two conditions, or a condition and a bool, combined by an operation on 1.0 and 0.0."""
    if not isinstance(a, Node):
        a, b = b, a
    if not isinstance(a, Node):
        return operation.evaluate((1.0 if a else 0.0, 1.0 if b else 0.0)) != 0.0
    if isinstance(b, Node):
        condition = ConditionNode(operation, operation.evaluate((a._number, b._number)), a, b, None)
    else:
        number = 1.0 if b else 0.0
        condition = ConditionNode(
            operation, operation.evaluate((a._number, number)), a, None, number
        )
    return _noted(condition)
