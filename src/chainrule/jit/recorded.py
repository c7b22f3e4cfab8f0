"""What a run has recorded so far: rows, what its guards compare, and segments."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import count, repeat
from typing import Any, Final

from chainrule import rules
from chainrule.annotations import users_line
from chainrule.differentiation import fresh_inputs
from chainrule.node import Node
from chainrule.passes.roll import rolled
from chainrule.program.builder import Builder
from chainrule.program.form import Compute, Operand, Program, Statement
from chainrule.program.recording import (
    ABSENT,
    BEGIN,
    END,
    ENTER,
    GIVE,
    INPUT,
    LEAF,
    LEAVE,
    OPERATION_OF,
    POOLED,
    PULL,
    PUSH,
    RESULT,
    TABLE,
    USER,
    Recording,
    has_left,
    has_right,
)
from chainrule.tracing import LEFTOVER, TracedValueError, has_ended

_DIRECT: Final = {  # operations that are not simpler than they stand, of values that are plain
    code: operation
    for code, operation in OPERATION_OF.items()
    if operation in (rules.add, rules.subtract, rules.multiply, rules.divide)
    or operation in rules.COMPARISONS
    or operation in (rules.exp, rules.log, rules.sqrt, rules.sin, rules.cos, rules.tanh)
}
_SHIFTED: Final = frozenset(  # which take numbers that simplify nothing
    code
    for code, operation in _DIRECT.items()
    if operation in (rules.add, rules.subtract, rules.multiply)
)
_SIMPLIFYING: Final = frozenset([0.0, 1.0, -1.0])
_COMPARISONS: Final = frozenset(  # which take numbers as well
    code for code, operation in _DIRECT.items() if operation in rules.COMPARISONS
)


def _is_negative(x: Operand) -> bool:
    return isinstance(x, Compute) and x.operation is rules.negative


def _run(calls: Iterator[object]) -> None:
    """Make the calls of a ``map``."""
    deque(calls, maxlen=0)


class Recorded:
    """The recording of a run.

    What conditions depend on is entered into a program meanwhile: equal expressions are one value
    of it, so that what one outcome says about the next can be seen.

    Args:
        inputs: the input nodes of the trace, in order.
        level: the level of the trace.
        captured: nodes from outside that are known already; they come first.

    Attributes:
        captured: the nodes from outside that the graph uses; they are inputs after the given ones.
        guards: the outcomes of the guards.
        segments: how many there are.
    """

    def __init__(self, inputs: Sequence[Node], level: int, captured: Sequence[Node] = ()) -> None:
        self._recording = Recording(inputs, level, captured)
        self.captured: list[Node] = self._recording.captured
        self.guards: list[bool] = []
        self.segments = 0
        self._level = level
        self._followed = 0  # of the captured, those that can be
        self._builder = Builder(0, final=True)
        self._values: dict[int, Operand] = {}  # by row
        self._plain: dict[int, Operand] = {}  # the same, but for numbers and what is negated
        self._n_inputs = len(inputs)
        self._constants: list[float] = []
        self._known: dict[tuple[int, Operand, Operand | None], Operand] = {}  # by operation

    def record(self, root: object) -> int:
        """A number or node as an operand, recorded with all it depends on.

        Raises:
            TypeError: if it depends on a node whose value is computed in Python.
            TracedValueError: if it depends on a value of a transformation that has ended.
        """
        operand = self._recording.record(root)
        if len(self.captured) > self._followed:
            self._check_captured()
        return operand

    def record_all(self, roots: Sequence[object]) -> list[int]:
        """The same for several."""
        operands = list(map(self._recording.record, roots))
        self._check_captured()
        return operands

    def _check_captured(self) -> None:
        for node in self.captured[self._followed :]:
            if has_ended(node._level):
                raise TracedValueError(f"compile at {users_line()}: the function uses {LEFTOVER}")
            self._followed += 1

    # Guards

    def value(self, condition: Node) -> Operand:
        """What is known of a condition."""
        values, plain, known = self._values, self._plain, self._known
        first = len(self._recording)
        operand = self.record(condition)
        if operand < 0:
            return condition._number
        if not values:
            for number in range(self._n_inputs):
                values[number] = plain[number] = Statement()
        constants = self._constants
        rows, new = self._recording.after(first, len(constants))
        constants += new
        for row, (code, left, right) in enumerate(rows, first):
            if code in _DIRECT:
                a = plain.get(left) if left >= 0 else self._constant(code, left)
                if right >= 0:
                    b = plain.get(right)
                else:
                    b = None if right == ABSENT else self._constant(code, right)
                if a is not None and (b is not None or right == ABSENT):
                    name = (code, a, b)
                    value = known.get(name)
                    if value is None:
                        operands = (a,) if b is None else (a, b)
                        value = known[name] = Compute(_DIRECT[code], operands)
                    values[row] = plain[row] = value
                    continue
            self._enter(row)
        if operand not in values:
            self._enter(operand)
        return values[operand]

    def _constant(self, code: int, operand: int) -> float | None:
        """A number that a direct operation takes as it stands."""
        number = self._constants[~operand]
        if code in _COMPARISONS or (code in _SHIFTED and number not in _SIMPLIFYING):
            return number
        return None

    def _enter(self, row: int) -> None:
        """Give a row its value, and all rows that it depends on."""
        values = self._values
        waiting = [row]
        while waiting:
            row = waiting[-1]
            code, left, right = self._recording.row(row)
            operands: list[Operand] = []
            for x in self._given(code, left, right):
                if isinstance(x, float):
                    operands.append(x)
                elif x in values:
                    operands.append(values[x])
                else:
                    waiting.append(x)
                    break
            else:
                waiting.pop()
                value = values[row] = self._entered(row, code, left, operands)
                if not isinstance(value, float) and not _is_negative(value):
                    self._plain[row] = value

    def _given(self, code: int, left: int, right: int) -> list[int | float]:
        """The operands of a row."""
        if self._is_table(code, left):
            return []
        if code & POOLED:
            start = left + (code == USER)
            given = self._recording.pool[start : start + right].tolist()
            constants = self._recording.constants
            return [x if x >= 0 else constants[~x] for x in given]
        if not has_left(code):
            return []
        return [left] if right is None or not has_right(code) else [left, right]

    def _is_table(self, code: int, left: int) -> bool:
        recording = self._recording
        return code == USER and recording.operations[recording.pool[left]] is TABLE

    def _entered(self, row: int, code: int, left: int, operands: list[Operand]) -> Operand:
        """The value of a row whose operands are known."""
        if code in (INPUT, RESULT) or self._is_table(code, left):
            return Statement()  # all that is known is that it is a value
        if code in (LEAF, ENTER):
            return operands[0]
        recording = self._recording
        user = recording.operations[recording.pool[left]] if code == USER else None
        return self._builder.compute(user or OPERATION_OF[code & ~POOLED], operands)

    def guard(self, condition: Node, outcome: bool) -> None:
        """Let the program go on only with an outcome of a condition that was just asked for."""
        self._recording.guard(self._recording.record(condition), outcome)
        self.guards.append(outcome)

    # Segments

    def segment(self, began: Node, inputs: Sequence[Node], outputs: Sequence[Any]) -> int:
        """Note what stands between inputs and outputs as a segment; gives its number.

        Args:
            began: a node that was made just before the inputs.
            inputs: the nodes that stand for its inputs.
            outputs: nodes and numbers.
        """
        number = self.segments
        self.segments += 1
        mark = self._recording.mark
        stood_for = [x._number if x._a is None else x._a for x in inputs]
        entered = self.record_all(stood_for)
        mark(BEGIN, number, ABSENT, began)
        _run(map(mark, repeat(ENTER), entered, count(), inputs))
        left = self.record_all(outputs)
        _run(map(mark, repeat(LEAVE), left, count()))
        mark(END, number)
        return number

    def derived(
        self, segment: int, forward: bool, given: Sequence[Any], results: Sequence[Any]
    ) -> list[Node]:
        """Note that a derivative of a segment is taken; gives nodes of what comes.

        Args:
            segment: its number.
            forward: whether tangents are pushed forward; else cotangents are pulled back.
            given: these; None for no message.
            results: what comes: numbers, and nodes for what outer transformations are to follow.
        """
        mark = self._recording.mark
        places = [place for place, x in enumerate(given) if x is not None]
        operands = self.record_all([given[place] for place in places])
        _run(map(mark, repeat(GIVE), operands, places))
        mark(PUSH if forward else PULL, segment)
        nodes = fresh_inputs([*results], self._level)
        _run(map(mark, repeat(RESULT), count(), repeat(ABSENT), nodes))
        return nodes

    # The program

    def operands(self, outputs: Sequence[Any]) -> list[int | float]:
        """Nodes and numbers that the program is to give: numbers, and operands that are none.

        Raises:
            TracedValueError: if one belongs to a transformation that has ended.
        """
        if any(map(has_ended, {y._level for y in outputs if isinstance(y, Node)})):
            raise TracedValueError(f"compile at {users_line()}: the result is {LEFTOVER}")
        operands = self._recording.in_order(self.record_all(outputs))  # for good
        self._values, self._plain, self._known = {}, {}, {}  # nothing is asked any more
        constants = self._recording.constants
        return [x if x >= 0 else constants[~x] for x in operands]

    def program(self, outputs: Sequence[int | float], lanes: bool) -> Program:
        """The program that gives what :meth:`operands` gave, for lanes or a single point."""
        operands = [self.record(x) if isinstance(x, float) else x for x in outputs]
        return rolled(self._recording, operands, lanes)
