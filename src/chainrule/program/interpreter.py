"""The reference interpreter: what a program means, one statement after another, for one lane.

It is written to be read and to be right, not to be fast: tests compare what passes and back ends
make of a program with what it gives. It also sees to the rules of arrays while it runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from .form import (
    CONSTANT,
    INPUT,
    SUMS,
    VALUES,
    Add,
    Array,
    Compute,
    Derive,
    Enter,
    Gather,
    Guard,
    Index,
    Last,
    Leave,
    Load,
    Loop,
    Operand,
    Program,
    ProgramError,
    Scatter,
    Segment,
    Slice,
    Statement,
    Store,
    chosen,
)


def interpret(program: Program, inputs: Sequence[float]) -> tuple[list[float], int | None]:
    """Run a program.

    Args:
        program: without ``Derive``; these are to be differentiated before.
        inputs: a number for each element of the INPUT array.

    Returns:
        The outputs and None; or, where a guard fails, no outputs and the number of the guard.

    Raises:
        ProgramError: if the program breaks a rule that shows in this run.
    """
    if len(inputs) != program.inputs.size:
        raise ProgramError(f"the program has {program.inputs.size} inputs, not {len(inputs)}")
    run = _Run(program, inputs)
    try:
        run.body(program.body)
    except _GuardFailedError as failed:
        return [], failed.number
    return run.outputs(program.outputs), None


class _GuardFailedError(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Elements:
    """The elements of an array during a run: None for one that has no value yet."""

    def __init__(self, array: Array, numbers: Sequence[float | None]) -> None:
        self.array = array
        self.numbers = list(numbers)
        self.are_read = bytearray(array.size)

    def check(self, place: int, what: str) -> None:
        """Raise an error if there is no such element."""
        if not 0 <= place < self.array.size:
            raise ProgramError(f"{what} {self.array.name}[{place}] of {self.array.size} elements")

    def read(self, place: int) -> float:
        self.check(place, "read of")
        number = self.numbers[place]
        if number is None:
            raise ProgramError(f"read of {self.array.name}[{place}], which is not stored yet")
        self.are_read[place] = True
        return number

    def store(self, place: int, number: float) -> None:
        self.check(place, "store to")
        if self.array.kind != VALUES:
            raise ProgramError(f"store to {self.array.name}, a {self.array.kind} array")
        if self.numbers[place] is not None:
            raise ProgramError(f"second store to {self.array.name}[{place}]")
        self.numbers[place] = number

    def add(self, place: int, number: float) -> None:
        self.check(place, "addition to")
        if self.array.kind != SUMS:
            raise ProgramError(f"addition to {self.array.name}, a {self.array.kind} array")
        if self.are_read[place]:
            raise ProgramError(f"addition to {self.array.name}[{place}] after it was read")
        before = self.numbers[place]
        assert before is not None
        self.numbers[place] = before + number


class _Run:
    """What is known in the middle of a run."""

    def __init__(self, program: Program, inputs: Sequence[float]) -> None:
        self._inputs = program.inputs
        self._values: dict[Statement, float] = {}
        self._iterations: dict[Loop, int] = {}
        self._arrays: dict[Array, _Elements] = {
            program.inputs: _Elements(program.inputs, [float(x) for x in inputs])
        }

    def outputs(self, outputs: Sequence[Operand | Slice]) -> list[float]:
        """The numbers that outputs stand for."""
        found = []
        for output in outputs:
            if isinstance(output, Slice):
                elements = self._elements(output.array)
                found += [elements.read(output.start + i) for i in range(output.size)]
            else:
                found.append(self._number(output))
        return found

    def body(self, body: Sequence[Statement]) -> None:
        """Run statements."""
        for statement in body:
            if isinstance(statement, Loop):
                self._loop(statement)
            elif isinstance(statement, Segment):
                self.body(statement.body)
            elif isinstance(statement, Add):
                elements = self._elements(statement.array)
                elements.add(self._place(statement.index), self._number(statement.value))
            elif isinstance(statement, Store):
                elements = self._elements(statement.array)
                elements.store(self._place(statement.index), self._number(statement.value))
            elif isinstance(statement, Scatter):
                elements = self._elements(statement.array)
                elements.add(self._chosen(statement), self._number(statement.value))
            elif isinstance(statement, Guard):
                if (self._number(statement.condition) != 0.0) != statement.outcome:
                    raise _GuardFailedError(self._place(statement.number))
            elif isinstance(statement, Leave):
                self._number(statement.value)
            elif isinstance(statement, Derive):
                raise ProgramError("a program with Derive has to be differentiated before it runs")
            else:
                self._values[statement] = self._value(statement)

    def _value(self, statement: Statement) -> float:
        """The number of a statement that is a value."""
        if isinstance(statement, Compute):
            return statement.operation.evaluate([self._number(x) for x in statement.operands])
        if isinstance(statement, Load):
            return self._elements(statement.array).read(self._place(statement.index))
        if isinstance(statement, Gather):
            return self._elements(statement.array).read(self._chosen(statement))
        if isinstance(statement, Enter):
            return self._number(statement.value)
        if isinstance(statement, Last):
            return self._number(statement.carry)
        raise ProgramError(f"{type(statement).__name__} can't stand in a body")

    def _loop(self, loop: Loop) -> None:
        values = self._values
        trips = self._place(loop.trips)
        if trips < 0:
            raise ProgramError(f"a loop of {trips} iterations")
        carried = [self._number(carry.initial) for carry in loop.carries]
        for iteration in range(trips):
            self._iterations[loop] = iteration
            values.update(zip(loop.carries, carried, strict=True))
            self.body(loop.body)
            carried = [self._number(carry.next) for carry in loop.carries]
        self._iterations.pop(loop, None)
        self._forget(loop.body)
        values.update(zip(loop.carries, carried, strict=True))  # for Last

    def _forget(self, body: Sequence[Statement]) -> None:
        """Leave a body, whose values can't be used any more."""
        for statement in body:
            self._values.pop(statement, None)
            if isinstance(statement, Segment):
                self._forget(statement.body)
            elif isinstance(statement, Loop):
                for carry in statement.carries:
                    self._values.pop(carry, None)

    def _number(self, operand: Operand) -> float:
        if isinstance(operand, Statement):
            number = self._values.get(operand)
            if number is None:
                raise ProgramError(
                    f"use of a {type(operand).__name__} that has not run, or whose loop is over"
                )
            return number
        return operand

    def _place(self, index: Index) -> int:
        """The whole number that an index is now."""
        place = index.offset
        try:
            for loop, stride in index.strides:
                place += stride * self._iterations[loop]
        except KeyError:
            raise ProgramError("an index depends on a loop that is not around it") from None
        for table, inner in index.tables:
            at = self._place(inner)
            if not 0 <= at < len(table.numbers):
                raise ProgramError(f"read of [{at}] of an index table of {len(table.numbers)}")
            place += int(table.numbers[at])
        return place

    def _chosen(self, statement: Gather | Scatter) -> int:
        """Which element is read or added to; all that it may be must be there."""
        first = self._place(statement.index)
        elements = self._elements(statement.array)
        for place in (first, first + statement.size - 1):
            elements.check(place, "access to")
        return first + chosen(self._number(statement.place), statement.size)

    def _elements(self, array: Array) -> _Elements:
        elements = self._arrays.get(array)
        if elements is None:
            numbers: Sequence[float | None]
            if array.kind == INPUT:
                raise ProgramError(f"{array.name} is not the program's array of inputs")
            if array.kind == CONSTANT:
                if array.data is None or len(array.data) != array.size:
                    raise ProgramError(f"the table {array.name} is not of {array.size} numbers")
                numbers = array.data.tolist()
            else:
                numbers = [None if array.kind == VALUES else array.start] * array.size
            elements = self._arrays[array] = _Elements(array, numbers)
        return elements
