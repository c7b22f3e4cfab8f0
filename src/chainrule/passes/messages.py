"""Messages of derivatives: changes times local gradients, and their sums.

They are computed as in :mod:`chainrule.differentiation`: what was not picked gets nothing, and
where that hangs on values, the sum is 0 and comes with a condition.
"""

from __future__ import annotations

from typing import NamedTuple

from chainrule import rules
from chainrule.program.builder import Builder
from chainrule.program.form import Compute, Operand, Statement


class Message(NamedTuple):
    """What comes to a value, or has come to it so far.

    Attributes:
        value: a global gradient or tangent; 0 where nothing has come.
        condition: a value that is 0 where nothing has come; None if something always has.
    """

    value: Operand
    condition: Operand | None = None


def combined(builder: Builder, a: Message | None, b: Message) -> Message:
    """The sum of two messages."""
    if a is None:
        return b
    value = _plus(builder, a.value, b.value)
    if a.condition is None or b.condition is None:
        return Message(value)
    if a.condition is b.condition:
        return Message(value, a.condition)
    either = builder.compute(rules.where, (a.condition, 1.0, b.condition))
    return Message(value, None if isinstance(either, float) and either != 0.0 else either)


def total(builder: Builder, message: Message) -> Operand:
    """What has come in the end: 0 for nothing, never -0 where that is known."""
    if message.condition is not None or isinstance(message.value, float):
        return builder.compute(rules.add, (message.value, 0.0))
    return message.value


def sent(
    builder: Builder, message: Message, local: Operand, decider: Operand | None
) -> Message | None:
    """A message times a local gradient; None where it is known that nothing is sent.

    Args:
        builder: makes the statements.
        message: what has come to the statement.
        local: its local gradient.
        decider: what decides whether the operand is picked, of an operation that picks.
    """
    change, condition = message
    picking = False
    if isinstance(decider, float):
        if decider == 0.0:
            return None
    elif decider is not None:
        if condition is None:
            condition = decider
            picking = decider is local
        elif decider is not condition:
            condition = builder.compute(rules.where, (condition, decider, 0.0))
    if isinstance(condition, float):
        if condition == 0.0:
            return None
        condition = None
    if condition is None or _is_finite(local):  # 0 times it is 0
        return Message(_times(builder, change, local), condition)
    if picking and isinstance(change, float) and change == 1.0:
        return Message(local, condition)
    return Message(builder.compute(rules.message, (condition, change, local)), condition)


def flag(builder: Builder, condition: Operand | None) -> Operand:
    """A condition as 0 or 1, to be counted."""
    if condition is None:
        return 1.0
    if isinstance(condition, Compute) and condition.operation in rules.COMPARISONS:
        return condition
    return builder.compute(rules.not_equal, (condition, 0.0))


def _plus(builder: Builder, x: Operand, y: Operand) -> Operand:
    if isinstance(x, float) and x == 0.0:
        return y
    if isinstance(y, float) and y == 0.0:
        return x
    return builder.compute(rules.add, (x, y))


def _times(builder: Builder, change: Operand, local: Operand) -> Operand:
    if isinstance(change, float) and change == 1.0:
        return local
    if isinstance(local, float):
        if local == 1.0:
            return change
        if local == -1.0:
            return builder.compute(rules.negative, (change,))
    return builder.compute(rules.multiply, (change, local))


def _is_finite(x: Operand) -> bool:
    return not isinstance(x, Statement) and x - x == 0.0
