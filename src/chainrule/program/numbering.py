"""Value numbering: which rows of a recording have the same value.

This file is the reference; the C engine has a twin.
"""

from __future__ import annotations

import struct
from array import array
from typing import Any

from chainrule.engine import ENGINE
from chainrule.rules import identity, stop_gradient

from .recording import ABSENT, KNOWN, OPERATION_OF, Recording, Row, given_to


class Numbering:
    """The values of a recording's rows; rows that do the same to the same values have the same one.

    It follows a recording that grows, as long as that is not put in order.

    Args:
        recording: what is numbered.
        apart: whether values in a segment are others than those around it, and a user's operation
            gives a new one each time. Else segments are looked through, and what is computed of
            constants is a constant; the recording is given these.
    """

    def __init__(self, recording: Recording, apart: bool = False) -> None:
        self._recording: Any = recording
        self._apart = apart
        self._values: list[int] = []  # of the rows: the first that has it, or a constant
        self._of_loops: list[bool] = []
        self._after_loop = False
        self._scopes = [-1]
        self._known: dict[tuple[object, ...], int] = {}

    def of(self, operand: int) -> int | float:
        """The value of an operand: the first row that has it, or a number.

        Raises:
            IndexError: if there is no such row or constant.
        """
        self._follow()
        return self._shown(self._value_of(operand))

    def row(self, number: int) -> tuple[int, Any, Any]:
        """What a row computes: its code and the values of its first two operands, None for none."""
        columns = self._recording
        code = columns.codes[number]
        given = given_to(code, columns.left[number], columns.right[number], columns.pool)
        shown = [self._shown(self._value_of(x)) for x in given[:2]]
        left, right = (*shown, None, None)[:2]
        return code, left, right

    def comes_of_loops(self, row: int) -> bool:
        """Whether it takes what loops compute to know the number of a row."""
        return self._of_loops[row]

    def values(self, most: int) -> bytes | None:
        """The values of all rows, as the bytes of int32; None if more than so many differ."""
        self._follow()
        differ = sum(1 for row, value in enumerate(self._values) if row == value)
        return array("i", self._values).tobytes() if differ <= most else None

    def _shown(self, value: int) -> int | float:
        return value if value >= 0 else self._recording.constants[~value]

    def _value_of(self, operand: int) -> int:
        return self._values[operand] if operand >= 0 else operand

    def _name(self, value: int) -> object:
        return value if value >= 0 else struct.pack("d", self._recording.constants[~value])

    def _follow(self) -> None:
        """Find the values of the rows that have come."""
        for row in range(len(self._values), len(self._recording)):
            self._values.append(row)
            self._of_loops.append(False)
            self._values[row] = self._find(row)

    def _find(self, row: int) -> int:
        columns = self._recording
        code, left = columns.codes[row], columns.left[row]
        if self._apart:
            if code == Row.BEGIN:
                self._scopes.append(row)
            elif code == Row.END:
                self._scopes.pop()
            if code & ~Row.POOLED >= Row.MARKS:
                return row
        self._after_loop |= code == Row.END_LOOP
        given = given_to(code, left, columns.right[row], columns.pool)
        self._of_loops[row] = any(self._of_loops[x] for x in given if x >= 0)
        values = [self._value_of(x) for x in given if x != ABSENT]
        operation = OPERATION_OF.get(code & ~Row.POOLED)
        user = columns.pool[left] if code == Row.USER else None
        if not self._apart:
            passes = operation is not None and operation.passes
            if code in (Row.LEAF, Row.ENTER) or passes or operation in (identity, stop_gradient):
                return values[0]
            if code in (Row.RESULT, Row.EACH):
                self._of_loops[row] = self._after_loop and columns.right[row] != KNOWN
            if operation is None and user is None:
                return row
            if max(values) < 0:
                return self._folded(operation or columns.operations[user], values)
        name = (self._scopes[-1], code, user, *map(self._name, values))
        return self._known.setdefault(name, row)

    def _folded(self, operation: Any, values: list[int]) -> int:
        """What an operation gives for constants, as a constant."""
        numbers = [self._recording.constants[~x] for x in values]
        number: int = self._recording.record(operation.evaluate(numbers))
        return number


if ENGINE is not None:
    Numbering = ENGINE.Numbering  # type: ignore[misc]
