"""Programs built again, statement by statement: what passes that change some of them start from."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.program.builder import Builder
from chainrule.program.form import (
    SUMS,
    Array,
    Compute,
    Derive,
    Enter,
    Gather,
    Guard,
    Index,
    Leave,
    Load,
    Loop,
    Operand,
    Program,
    Scatter,
    Segment,
    Slice,
    Statement,
    Store,
)


def rebuilt(program: Program) -> Program:
    """The program with constants folded, and loops left by what is constant.

    Args:
        program: one without carries; it stays as it is, but shares its arrays with the result.
    """
    return Rebuilding(program, Builder(program.inputs, program.guards)).finished()


class Rebuilding:
    """Builds the statements of a program with another builder.

    Args:
        program: the program; it stays as it is.
        builder: has the same inputs.

    Attributes:
        values: the new values, by the old ones.
        loops: the new loops, by the old ones; None for one that runs once.
        segments: the new segments, by the old ones.
        arrays: the new arrays, by the old ones, where they are others.
    """

    def __init__(self, program: Program, builder: Builder) -> None:
        self.program = program
        self.builder = builder
        self.values: dict[Statement, Operand] = {}
        self.loops: dict[Loop, Loop | None] = {}
        self.segments: dict[Segment, Segment] = {}
        self.arrays: dict[Array, Array] = {}

    def finished(self) -> Program:
        """The whole program, built again."""
        self.body(self.program.body)
        outputs: list[Operand | Slice] = []
        for output in self.program.outputs:
            if isinstance(output, Slice):
                outputs.append(output._replace(array=self.array(output.array)))
            else:
                outputs.append(self.value(output))
        return self.builder.finish(outputs)

    def value(self, x: Operand) -> Operand:
        """The new value of an old one."""
        return self.values[x] if isinstance(x, Statement) else x

    def array(self, array: Array) -> Array:
        """The new array in the place of an old one."""
        return self.arrays.get(array, array)

    def index(self, index: Index) -> Index:
        """An index, by the new loops."""
        if index.is_fixed:
            return index
        strides = tuple([(new, by) for loop, by in index.strides if (new := self.loops[loop])])
        tables = tuple([(table, self.index(inner)) for table, inner in index.tables])
        return Index(index.offset, strides, tables)

    def body(self, body: Sequence[Statement]) -> None:
        """Build the statements of a body."""
        for statement in body:
            self.builder.note = statement.note
            self.statement(statement)

    def statement(self, statement: Statement) -> None:
        """Build a statement."""
        builder = self.builder
        if isinstance(statement, Compute):
            operands = [self.value(x) for x in statement.operands]
            self.values[statement] = builder.compute(statement.operation, operands)
        elif isinstance(statement, Load):
            index = self.index(statement.index)
            self.values[statement] = builder.load(self.array(statement.array), index)
        elif isinstance(statement, Store):
            array, index = self.array(statement.array), self.index(statement.index)
            write = builder.add if array.kind == SUMS else builder.store
            write(array, index, self.value(statement.value))
        elif isinstance(statement, Gather):
            index, place = self.index(statement.index), self.value(statement.place)
            array = self.array(statement.array)
            self.values[statement] = builder.gather(array, index, statement.size, place)
        elif isinstance(statement, Scatter):
            index, place = self.index(statement.index), self.value(statement.place)
            array, value = self.array(statement.array), self.value(statement.value)
            builder.scatter(array, index, statement.size, place, value)
        elif isinstance(statement, Loop):
            self.loop(statement)
        elif isinstance(statement, Segment):
            self.segment(statement)
        elif isinstance(statement, Enter):
            self.enter(statement)
        elif isinstance(statement, Leave):
            self.leave(statement)
        elif isinstance(statement, Derive):
            self.derive(statement)
        elif isinstance(statement, Guard):
            condition = self.value(statement.condition)
            builder.guard(condition, statement.outcome, self.index(statement.number))
        else:
            raise TypeError(f"{type(statement).__name__} is not for programs that are rebuilt")

    def loop(self, loop: Loop) -> None:
        """Build a loop; of one that runs once, what is in it."""
        assert not loop.carries, "carries come in at the end"
        trips = self.index(loop.trips)
        if trips == Index(1):
            self.loops[loop] = None
            self.body(loop.body)
            return
        with self.builder.loop(trips) as new:
            new.name = loop.name
            self.loops[loop] = new
            self.body(loop.body)

    def segment(self, segment: Segment) -> None:
        """Build a segment."""
        with self.builder.segment(segment.name) as new:
            self.segments[segment] = new
            self.body(segment.body)

    def enter(self, enter: Enter) -> None:
        """Build an input of a segment."""
        segment = self.segments[enter.segment]
        value = self.value(enter.value)
        self.values[enter] = self.builder.enter(segment, self.index(enter.place), value)

    def leave(self, leave: Leave) -> None:
        """Build an output of a segment."""
        segment = self.segments[leave.segment]
        self.builder.leave(segment, self.index(leave.place), self.value(leave.value))

    def derive(self, derive: Derive) -> None:
        """Build what a transformation does with a segment."""
        self.builder.derive(
            self.segments[derive.segment],
            derive.forward,
            self.array(derive.given),
            self.index(derive.given_at),
            self.array(derive.results),
            self.index(derive.results_at),
            derive.diagonal,
        )
