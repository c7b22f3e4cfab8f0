"""What a run has recorded so far, as a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from chainrule.annotations import users_line
from chainrule.node import Node
from chainrule.program.builder import Builder
from chainrule.program.form import Guard, Index, Operand, Program
from chainrule.program.live import without_dead
from chainrule.tracing import LEFTOVER, TracedValueError, has_ended

from .recording import (
    ABSENT,
    GUARD,
    INPUT,
    LEAF,
    OPERATION_OF,
    POOLED,
    USER,
    Recording,
)

_SAME: Final = frozenset([LEAF, GUARD])  # codes of rows that are what their operand is


class Recorded:
    """A recording, entered into a program as it grows; equal expressions are one value of it.

    Args:
        inputs: the input nodes of the trace, in order.
        level: the level of the trace.
        captured: nodes from outside that are known already; they come first.

    Attributes:
        captured: the nodes from outside that the graph uses; they are inputs after the given ones.
        guards: the outcomes of the guards.
        program: the program, once it is closed.
    """

    def __init__(self, inputs: Sequence[Node], level: int, captured: Sequence[Node] = ()) -> None:
        self._builder = Builder(len(inputs), final=True)
        self._recording = Recording(inputs, level, captured)
        self.captured: list[Node] = self._recording.captured
        self.guards: list[bool] = []
        self.program: Program
        self._followed = 0  # of the captured, those that can be
        self._values: list[Operand] = []  # by row
        self._numbers: list[float] = []
        self._enter()

    def value(self, root: object) -> Operand:
        """The value that a number or a node is, entered with all it depends on.

        Raises:
            TypeError: if it depends on a node whose value is computed in Python.
            TracedValueError: if it depends on a value of a transformation that has ended.
        """
        operand = self._recording.record(root)
        for node in self.captured[self._followed :]:
            if has_ended(node._level):
                raise TracedValueError(f"compile at {users_line()}: the function uses {LEFTOVER}")
            self._followed += 1
        self._enter()
        return self._values[operand] if operand >= 0 else self._numbers[~operand]

    def asked(self, condition: Node, outcome: bool) -> None:
        """Note that a condition has been asked, now."""
        operand = self._recording.record(condition)
        if operand >= 0:
            self._recording.guard(operand, outcome)

    def guard(self, condition: Operand, outcome: bool) -> None:
        """Let the program go on only with an outcome."""
        self._builder.guard(condition, outcome, Index(len(self.guards)))
        self.guards.append(outcome)

    def close(self, outputs: Sequence[Any]) -> None:
        """Say what the program gives: nodes and numbers."""
        for y in outputs:
            if isinstance(y, Node) and has_ended(y._level):
                raise TracedValueError(f"compile at {users_line()}: the result is {LEFTOVER}")
        self.program = self._builder.finish([self.value(y) for y in outputs])
        del self._recording, self._builder, self._values, self._numbers

    def _enter(self) -> None:
        """Enter what the recording has that is new."""
        values, numbers = self._values, self._numbers
        rows, constants = self._recording.after(len(values), len(numbers))
        numbers += constants
        compute = self._builder.compute
        inputs = self._builder.inputs
        for code, left, right in rows:
            if code & POOLED:
                given = self._recording.pool[left : left + right + (code == USER)].tolist()
                if code == USER:
                    operation = self._recording.operations[given.pop(0)]
                else:
                    operation = OPERATION_OF[code ^ POOLED]
                operands = [values[i] if i >= 0 else numbers[~i] for i in given]
                values.append(compute(operation, operands))
                continue
            if code == INPUT:
                inputs.size = max(inputs.size, left + 1)  # captured ones come to them
                values.append(self._builder.input(left))
                continue
            a = values[left] if left >= 0 else numbers[~left]
            if code in _SAME:
                values.append(a)
            elif right == ABSENT:
                values.append(compute(OPERATION_OF[code], (a,)))
            else:
                b = values[right] if right >= 0 else numbers[~right]
                values.append(compute(OPERATION_OF[code], (a, b)))


def going_on(program: Program, guards: int, outputs: Sequence[Any]) -> Program:
    """A program without its first guards, of which it is known that they hold.

    Args:
        program: a program without loops.
        guards: how many of them.
        outputs: those that are still wanted.
    """
    body = [
        statement
        for statement in program.body
        if not isinstance(statement, Guard) or statement.number.offset >= guards
    ]
    if len(body) == len(program.body) and outputs == program.outputs:
        return program
    shorter = Program(program.inputs, body, outputs)
    shorter.guards = program.guards
    return without_dead(shorter)
