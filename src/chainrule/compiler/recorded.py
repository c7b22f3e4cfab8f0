"""What a run has recorded so far: rows, what its guards compare, and segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.annotations import users_line
from chainrule.differentiation import fresh_input
from chainrule.node import Node
from chainrule.passes.flat import flat
from chainrule.passes.roll import rolled
from chainrule.program.builder import Builder
from chainrule.program.form import VALUES, Array, Index, Operand, Program
from chainrule.tracing import LEFTOVER, TracedValueError, has_ended

from .recording import (
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
    USER,
    Recording,
    given_to,
)


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
        self._builder = Builder(len(inputs), final=True)
        self._results = Array(VALUES, 0)  # what stands for values of derivatives
        self._values: dict[int, Operand] = {}  # by row

    def record(self, root: object) -> int:
        """A number or node as an operand, recorded with all it depends on.

        Raises:
            TypeError: if it depends on a node whose value is computed in Python.
            TracedValueError: if it depends on a value of a transformation that has ended.
        """
        operand = self._recording.record(root)
        for node in self.captured[self._followed :]:
            if has_ended(node._level):
                raise TracedValueError(f"compile at {users_line()}: the function uses {LEFTOVER}")
            self._followed += 1
        return operand

    # Guards

    def value(self, condition: Node) -> Operand:
        """What is known of a condition."""
        operand = self.record(condition)
        recording = self._recording
        with (
            recording.codes as codes,
            recording.left as left,
            recording.right as right,
            recording.constants as constants,
            recording.pool as pool,
        ):
            values = self._values

            def value_of(x: int) -> Operand:
                return values[x] if x >= 0 else constants[~x]

            waiting = [operand] if operand >= 0 else []
            while waiting:
                row = waiting[-1]
                code = codes[row]
                given = given_to(code, left[row], right[row], pool)
                missing = [x for x in given if x >= 0 and x not in values]
                if missing:
                    waiting += missing
                    continue
                waiting.pop()
                if row in values:
                    continue
                if code == INPUT:
                    value = self._builder.input(left[row])
                elif code == RESULT:
                    value = self._builder.load(self._results, Index(row))
                elif code in (LEAF, ENTER):
                    value = value_of(given[0])
                else:
                    user = recording.operations[pool[left[row]]] if code == USER else None
                    operation = user or OPERATION_OF[code & ~POOLED]
                    value = self._builder.compute(operation, [value_of(x) for x in given])
                values[row] = value
            return value_of(operand)

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
        entered = [self.record(x.operands[0] if x.operands else x._number) for x in inputs]
        mark(BEGIN, number, ABSENT, began)
        for place, (x, operand) in enumerate(zip(inputs, entered, strict=True)):
            mark(ENTER, operand, place, x)
        left = [self.record(y) for y in outputs]
        for place, operand in enumerate(left):
            mark(LEAVE, operand, place)
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
        operands = [None if x is None else self.record(x) for x in given]
        for place, operand in enumerate(operands):
            if operand is not None:
                mark(GIVE, operand, place)
        mark(PUSH if forward else PULL, segment)
        nodes = [fresh_input(x, self._level) for x in results]
        for place, node in enumerate(nodes):
            mark(RESULT, place, ABSENT, node)
        return nodes

    # The program

    def program(self, outputs: Sequence[Any]) -> Program:
        """The program that gives nodes and numbers."""
        for y in outputs:
            if isinstance(y, Node) and has_ended(y._level):
                raise TracedValueError(f"compile at {users_line()}: the result is {LEFTOVER}")
        form = flat if self.segments else rolled
        return form(self._recording, [self.record(y) for y in outputs])
